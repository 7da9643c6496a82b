//! Reads the configuration: file, then environment. Every problem is found, not only the first, each with its place.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::place::{Place, Rank, rank};
use super::{Config, check};

/// The file that is read when none is named.
pub const FILE: &str = "picorelay.toml";
/// The environment variable that names the file.
pub const FILE_VARIABLE: &str = "PICORELAY_CONFIG";
/// Environment variables with this prefix are options.
pub const PREFIX: &str = "PICORELAY_";

/// For tests of what happens after hours and days: milliseconds by which the clock is ahead. No option: only programs
/// that are built for tests know it.
pub const TEST_CLOCK_VARIABLE: &str = "PICORELAY_TEST_CLOCK_MS";

/// Lists of sections, which may be absent: `[[pico.room]]`.
const LISTS: [&str; 2] = ["pico.room", "bridge.upstream"];

/// Kubernetes gives these to every pod beside a service called picorelay. They are not meant for us.
const SERVICE_LINKS: [&str; 2] = ["PICORELAY_SERVICE_", "PICORELAY_PORT"];

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written: file and line, or the environment variable. None: it is a default, or the sum of several.
    pub place: Option<String>,
    /// The option, such as `server.listen`. Empty for the file as a whole.
    pub key: String,
    /// What is wrong with it.
    pub what: String,
    rank: Rank,
}

/// The configuration cannot be used; `Display` is one line for each problem.
#[derive(Debug, thiserror::Error)]
#[error("{}", lines(.problems))]
pub struct ConfigError {
    /// All that is wrong, at least one: in the order of the file, then of the sections.
    pub problems: Vec<Problem>,
}

/// What is wrong with the program of `policy.plugin`: it is missing, or cannot be executed. None if there is none to start.
pub fn plugin_problem(config: &Config) -> Option<String> {
    let name = Path::new(config.policy.plugin.first()?);
    if name.components().count() > 1 {
        return program_problem(name).map(|what| format!("policy.plugin: {} {what}", name.display()));
    }
    // Without PATH the system looks in these.
    let folders = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    let mut found = std::env::split_paths(&folders).map(|folder| program_problem(&folder.join(name)));
    let is_there = found.any(|problem| problem.is_none());
    (!is_there).then(|| format!("policy.plugin: {} is not an executable file in any folder of PATH", name.display()))
}

fn program_problem(path: &Path) -> Option<&'static str> {
    let Ok(about) = path.metadata() else { return Some("does not exist, or cannot be reached") };
    if !about.is_file() {
        return Some("is not a file");
    }
    #[cfg(unix)]
    if std::os::unix::fs::PermissionsExt::mode(&about.permissions()) & 0o111 == 0 {
        return Some("is not executable");
    }
    None
}

impl Config {
    /// Reads `file` or, if there is none, the file named by `PICORELAY_CONFIG` or `./picorelay.toml` if it exists, and the
    /// environment of this process.
    pub fn load_default(file: Option<&Path>) -> Result<Self, ConfigError> {
        let env = || std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        let named = env().find(|(name, value)| name == FILE_VARIABLE && !value.is_empty()).map(|(_, value)| value);
        let usual = Path::new(FILE);
        let file = file.or(named.as_deref().map(Path::new)).or(usual.exists().then_some(usual));
        // A released program has the clock of its machine.
        let ahead = env().find(|(name, _)| cfg!(debug_assertions) && name == TEST_CLOCK_VARIABLE);
        if let Some((_, ahead)) = ahead {
            crate::clock::shift(ahead.to_string_lossy().parse().unwrap_or(0));
        }
        Self::load(file, env().map(|(name, value)| (name, value.to_string_lossy().into_owned())))
    }

    /// Reads `file`, if any, then those of the environment variables that have our prefix, and checks the result.
    pub fn load(file: Option<&Path>, env: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut layers = Layers::new();
        if let Some(path) = file {
            layers.file(path);
        }
        for (name, value) in env {
            let is_link = SERVICE_LINKS.iter().any(|link| name.starts_with(link));
            let is_clock = cfg!(debug_assertions) && name == TEST_CLOCK_VARIABLE;
            if name.starts_with(PREFIX) && name != FILE_VARIABLE && !is_clock && !is_link {
                layers.variable(&name, &value);
            }
        }
        layers.finish()
    }
}

/// The options so far. Each value is tried by itself, so that one that is wrong does not hide the others.
struct Layers {
    merged: Table,
    places: BTreeMap<String, Place>,
    problems: Vec<Problem>,
}

impl Layers {
    fn new() -> Self {
        Self { merged: table(&Config::default()), places: BTreeMap::new(), problems: Vec::new() }
    }

    fn file(&mut self, path: &Path) {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => self.text(&name, &text),
            Err(error) => self.problem(Some(Place::file(name)), "", format!("cannot be read: {error}")),
        }
    }

    fn text(&mut self, name: &str, text: &str) {
        let place = |span: Option<std::ops::Range<usize>>| Place::line(name, line(text, span.map_or(0, |s| s.start)));
        match (DeTable::parse(text), text.parse::<Table>()) {
            (Ok(spans), Ok(values)) => self.section("", spans.get_ref(), &values, &|start| place(Some(start..start))),
            (Err(error), _) | (_, Err(error)) => {
                self.problem(Some(place(error.span())), "", error.message().to_owned());
            }
        }
    }

    fn section(&mut self, path: &str, spans: &DeTable<'_>, values: &Table, place: &dyn Fn(usize) -> Place) {
        for (key, span) in spans {
            let path = if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
            let place_here = place(key.span().start);
            match (lookup(&self.merged, &path), span.get_ref(), values.get(key.get_ref().as_ref())) {
                (None, _, Some(value)) if LISTS.contains(&path.as_str()) => {
                    self.set(place_here, &path, std::slice::from_ref(value));
                }
                (None, _, _) => self.unknown(place_here, &path),
                (Some(Value::Table(_)), DeValue::Table(inner), Some(Value::Table(values))) => {
                    self.section(&path, inner, values, place);
                }
                (Some(Value::Table(_)), _, _) => {
                    self.problem(Some(place_here), &path, "is a section, not a value".to_owned());
                }
                (Some(_), _, Some(value)) => self.set(place_here, &path, std::slice::from_ref(value)),
                (Some(_), _, None) => {}
            }
        }
    }

    fn variable(&mut self, name: &str, value: &str) {
        let path = name.trim_start_matches(PREFIX).to_lowercase().replace("__", ".");
        let (text, place) = (Value::String(value.to_owned()), Place::variable(name));
        match lookup(&self.merged, &path) {
            None if !LISTS.contains(&path.as_str()) => self.unknown(place, &path),
            Some(Value::Table(_)) => {
                self.problem(Some(place), &path, "is a section, not a value".to_owned());
            }
            Some(Value::String(_)) => self.set(place, &path, &[text]),
            Some(_) | None => match value.parse::<Value>() {
                Ok(parsed) => self.set(place, &path, &[parsed, text]),
                Err(_) => self.set(place, &path, &[text]),
            },
        }
    }

    /// Takes the first of `values` that fits. If none does, the problem of the first is told.
    fn set(&mut self, place: Place, path: &str, values: &[Value]) {
        let mut first = None;
        for value in values {
            let mut trial = self.merged.clone();
            put(&mut trial, path, value.clone());
            match trial.clone().try_into::<Config>() {
                Ok(_) => {
                    self.merged = trial;
                    self.places.insert(path.to_owned(), place);
                    return;
                }
                Err(error) => first = first.or_else(|| Some(error.message().to_owned())),
            }
        }
        self.problem(Some(place), path, first.unwrap_or_default());
    }

    fn unknown(&mut self, place: Place, path: &str) {
        let what = match nearest(&self.merged, path) {
            Some(known) => format!("unknown option, did you mean `{known}`?"),
            None => "unknown option".to_owned(),
        };
        self.problem(Some(place), path, what);
    }

    fn problem(&mut self, place: Option<Place>, key: &str, what: String) {
        let rank = rank(place.as_ref(), key);
        self.problems.push(Problem { place: place.map(|place| place.text), key: key.to_owned(), what, rank });
    }

    fn finish(mut self) -> Result<Config, ConfigError> {
        let mut config: Config = match self.merged.clone().try_into() {
            Ok(config) => config,
            Err(error) => {
                self.problem(None, "", error.message().to_owned());
                return Err(ConfigError { problems: self.problems });
            }
        };
        check::tidy(&mut config);
        for (key, what) in check::check(&config) {
            self.problem(self.places.get(key.as_str()).cloned(), &key, what);
        }
        self.problems.sort_by_key(|problem| problem.rank);
        if self.problems.is_empty() { Ok(config) } else { Err(ConfigError { problems: self.problems }) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [self.place.as_deref().unwrap_or(""), &self.key, &self.what];
        for (index, part) in parts.iter().filter(|part| !part.is_empty()).enumerate() {
            write!(f, "{}{part}", if index == 0 { "" } else { ": " })?;
        }
        Ok(())
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

/// A network as `10.0.0.0/8`, or one address.
pub(super) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let network = |text: &String| match text.parse::<std::net::IpAddr>() {
        Ok(address) => Ok(IpNet::from(address)),
        Err(_) => text
            .parse()
            .map_err(|_| serde::de::Error::custom(format!("`{text}` is no address and no network such as 10.0.0.0/8"))),
    };
    texts.iter().map(network).collect()
}

/// Every option with its value, as the file would have it.
pub(super) fn table(config: &Config) -> Table {
    Table::try_from(config).unwrap_or_default()
}

/// Every leaf of a table, as `section.field`.
pub(super) fn leaves(table: &Table) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) => {
                found.extend(leaves(inner).into_iter().map(|(rest, value)| (format!("{key}.{rest}"), value)));
            }
            _ => found.push((key.clone(), value)),
        }
    }
    found
}

fn lookup<'t>(table: &'t Table, path: &str) -> Option<&'t Value> {
    match path.split_once('.') {
        None => table.get(path),
        Some((section, rest)) => lookup(table.get(section)?.as_table()?, rest),
    }
}

fn put(table: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            table.insert(path.to_owned(), value);
        }
        Some((section, rest)) => {
            if let Some(Value::Table(inner)) = table.get_mut(section) {
                put(inner, rest, value);
            }
        }
    }
}

/// The option that was probably meant: one of the same name elsewhere, or one that differs by a few letters.
fn nearest(table: &Table, path: &str) -> Option<String> {
    let name = |path: &str| path.rsplit('.').next().map(str::to_owned);
    let known: Vec<String> = leaves(table).into_iter().map(|(key, _)| key).collect();
    if let Some(key) = known.iter().find(|key| name(key) == name(path)) {
        return Some(key.clone());
    }
    let near = known.into_iter().chain(table.keys().cloned()).map(|key| (distance(&key, path), key)).min()?;
    (near.0 <= 1 + path.len() / 5).then_some(near.1)
}

/// Letters to insert, remove or replace to get from one text to the other (Levenshtein).
pub(super) fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, from) in from.chars().enumerate() {
        let mut next = vec![index + 1];
        for ((above_left, above), to) in row.iter().zip(row.iter().skip(1)).zip(&to) {
            let left = next.last().copied().unwrap_or_default();
            next.push((above_left + usize::from(from != *to)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

fn line(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, env: &[(&str, &str)]) -> Result<Config, String> {
        let mut layers = Layers::new();
        layers.text("relay.toml", file);
        env.iter().for_each(|(name, value)| layers.variable(name, value));
        layers.finish().map_err(|error| error.to_string())
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let config = load(
            "[server]\nlisten = '127.0.0.1:1'\ndata = '/a'\n[storage]\ndurability = 'normal'",
            &[
                ("PICORELAY_SERVER__LISTEN", "[::1]:2"),
                ("PICORELAY_SERVER__METRICS", "false"),
                ("PICORELAY_SERVER__TRUSTED_PROXIES", "['127.0.0.1', '10.0.0.0/8']"),
                ("PICORELAY_INFO__NAME", "7420"),
                ("PICORELAY_AUTH__RESTRICTED_KINDS", "[1059, 4, 30078]"),
                ("PICORELAY_LIMITS__POW_MIN", "8"),
            ],
        )
        .unwrap();
        assert_eq!(config.server.listen, "[::1]:2".parse().unwrap());
        assert_eq!(config.server.data, Path::new("/a"));
        assert!(!config.server.metrics);
        assert_eq!(config.server.trusted_proxies.len(), 2);
        assert_eq!(config.info.name, "7420");
        assert_eq!(config.storage.durability, crate::config::Durability::Normal);
        assert_eq!(config.auth.restricted_kinds, [4, 1059, 30078]);
        assert_eq!(config.limits.pow_min, 8);
    }

    #[test]
    fn public_urls_are_one_or_several() {
        let urls = |file: &str, env: &[(&str, &str)]| -> Vec<String> {
            load(file, env).unwrap().server.public_url.iter().map(str::to_owned).collect()
        };
        let variable = "PICORELAY_SERVER__PUBLIC_URL";
        let two = ["wss://relay.example", "ws://box.local:7420"];
        assert_eq!(urls("", &[]), [""; 0]);
        assert_eq!(urls("[server]\npublic_url = ''", &[]), [""; 0]);
        assert_eq!(urls("[server]\npublic_url = 'wss://relay.example'", &[]), two[..1]);
        assert_eq!(urls("[server]\npublic_url = ['wss://relay.example', 'ws://box.local:7420']", &[]), two);
        assert_eq!(urls("", &[(variable, "wss://relay.example")]), two[..1]);
        assert_eq!(urls("", &[(variable, "wss://relay.example, ws://box.local:7420")]), two);
        assert_eq!(urls("", &[(variable, "['wss://relay.example', 'ws://box.local:7420']")]), two);
        assert_eq!(urls("[server]\npublic_url = ['ws://a', 'ws://b']", &[(variable, "ws://c")]), ["ws://c"]);
        assert_eq!(
            urls("[server]\npublic_url = ['ws://a', 'ws://b']", &[(variable, "ws://c,ws://d")]),
            ["ws://c", "ws://d"]
        );
        let wrong = load("[server]\npublic_url = 1", &[]).unwrap_err();
        assert!(wrong.starts_with("relay.toml:2: server.public_url: "), "{wrong}");
        assert!(load("", &[(variable, "[1]")]).is_err() && load("", &[(variable, "['ws://a'")]).is_err());
    }

    #[test]
    fn every_problem_is_told_with_its_place() {
        let file = "\
[server]
listen = 'here'
listn = '127.0.0.1:7420'
log = 3
trusted_proxies = ['10.0.0.0/33']

[limit]
pow_min = 1

[limits]
pow_min = 300
limit_max = 10
retention = 1
filters_max = -1

[storage]
durability = 'maybe'
search = { a = 1 }
";
        let env = [
            ("PICORELAY_LISTEN", "127.0.0.1:1"),
            ("PICORELAY_AUTH", "true"),
            ("PICORELAY_AUTH__REQUIRED", "perhaps"),
            ("PICORELAY_INFO__CONTACT", "me"),
        ];
        let error = load(file, &env).unwrap_err();
        // As the file has them, then the environment, then the defaults.
        let lines = [
            "relay.toml:2: server.listen: invalid socket address syntax",
            "relay.toml:3: server.listn: unknown option, did you mean `server.listen`?",
            "relay.toml:4: server.log: invalid type: integer `3`, expected a string",
            "relay.toml:5: server.trusted_proxies: `10.0.0.0/33` is no address and no network such as 10.0.0.0/8",
            "relay.toml:7: limit: unknown option, did you mean `limits`?",
            "relay.toml:11: limits.pow_min: invalid value: integer `300`, expected u8",
            "relay.toml:13: limits.retention: unknown option",
            "relay.toml:14: limits.filters_max: invalid value: integer `-1`, expected usize",
            "relay.toml:17: storage.durability: unknown variant `maybe`, expected `full` or `normal`",
            "relay.toml:18: storage.search: unknown option",
            "PICORELAY_INFO__CONTACT: info.contact: must be a URI such as mailto:me@example.com or https://example.com",
            "PICORELAY_AUTH: auth: is a section, not a value",
            "PICORELAY_AUTH__REQUIRED: auth.required: invalid type: string \"perhaps\", expected a boolean",
            "PICORELAY_LISTEN: listen: unknown option, did you mean `server.listen`?",
            "limits.limit_default: is more than limits.limit_max, which is 10",
        ];
        assert_eq!(error.lines().collect::<Vec<_>>(), lines, "{error}");
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_line() {
        for (file, start) in [
            ("[server]\nlisten 1", "relay.toml:2: "),
            ("a = 1\na = 2", "relay.toml:2: "),
            ("server = 1", "relay.toml:1: server: is a section"),
            ("[server]\n[server]\n", "relay.toml:2: "),
            ("[[server]]\n", "relay.toml:1: server: is a section"),
            ("[server.listen]\n", "relay.toml:1: server.listen: "),
        ] {
            let error = load(file, &[]).unwrap_err();
            assert!(error.starts_with(start), "{file}: {error}");
        }
        let missing = Config::load(Some(Path::new("/nowhere/relay.toml")), std::iter::empty()).unwrap_err();
        assert!(missing.to_string().starts_with("/nowhere/relay.toml: cannot be read: "), "{missing}");
    }

    #[test]
    fn other_variables_are_none_of_our_business() {
        let env = [
            ("PATH", "/bin"),
            ("PICORELAYS", "1"),
            (FILE_VARIABLE, "x.toml"),
            ("PICORELAY_PORT", "tcp://10.0.0.1:7420"),
        ];
        let env = env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(Config::load(None, env).unwrap(), Config::default());
    }

    const MANUAL: &str = include_str!("../../../deploy/picorelay.toml");

    #[test]
    fn the_manual_equals_the_defaults() {
        assert_eq!(load(MANUAL, &[]).unwrap(), Config::default());
        assert_eq!(MANUAL.parse::<Table>().unwrap(), table(&Config::default()), "an option is missing");
    }

    /// What is said of an option in the code is said in the file: its comment above its line.
    #[test]
    fn the_manual_says_what_the_code_says() {
        let mut comment = String::new();
        let sources = [
            include_str!("mod.rs"),
            include_str!("../../crates/store/src/config.rs"),
            include_str!("../../crates/script/src/config.rs"),
            include_str!("../../crates/pico/src/config.rs"),
            include_str!("../../crates/engine/src/config.rs"),
            include_str!("policy.rs"),
            include_str!("bridge.rs"),
            include_str!("sync.rs"),
        ];
        for line in sources.iter().flat_map(|source| source.lines()).map(str::trim) {
            if let Some(text) = line.strip_prefix("///") {
                comment += &format!("#{text}\n");
                continue;
            }
            let field = line.strip_prefix("pub ").and_then(|rest| rest.split_once(": ")).map(|(name, _)| name);
            let is_option = |name: &&str| {
                !name.starts_with("fn ")
                    && !name.starts_with("const ")
                    && !["room", "upstream"].contains(name)
                    && !table(&Config::default()).contains_key(*name)
            };
            if let Some(name) = field.filter(is_option) {
                // Sections that are a list have no default: the file shows their options commented out.
                let shown = ["", "# "].iter().any(|lead| MANUAL.contains(&format!("{comment}{lead}{name} = ")));
                assert!(shown, "deploy/picorelay.toml lacks:\n{comment}{name} =");
            }
            comment.clear();
        }
    }
}
