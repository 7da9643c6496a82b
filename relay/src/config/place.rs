//! Where something was written, and in which order what is wrong is told: as the file has it, then the environment and the
//! defaults as the manual has them.

use super::Config;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// File and line, or the environment variable.
    pub(super) text: String,
    /// The line. None for a variable.
    line: Option<usize>,
}

/// Problems are told from the lowest to the highest.
pub(super) type Rank = (u8, usize);

impl Place {
    /// A line of a file.
    pub(super) fn line(file: &str, line: usize) -> Self {
        Self { text: format!("{file}:{line}"), line: Some(line) }
    }

    /// A file as a whole.
    pub(super) fn file(name: String) -> Self {
        Self { text: name, line: Some(0) }
    }

    /// An environment variable.
    pub(super) fn variable(name: &str) -> Self {
        Self { text: name.to_owned(), line: None }
    }
}

/// The rank of a problem with this option, written there.
pub(super) fn rank(place: Option<&Place>, key: &str) -> Rank {
    match place.map(|place| place.line) {
        Some(Some(line)) => (0, line),
        Some(None) => (1, position(key)),
        None => (2, position(key)),
    }
}

/// Where an option, or else its section, stands among all.
fn position(key: &str) -> usize {
    let all = toml::to_string(&Config::default()).unwrap_or_default();
    let (section, name) = key.split_once('.').unwrap_or((key, ""));
    let is_header = |line: &str| line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) == Some(section);
    let Some(header) = all.lines().position(is_header) else { return usize::MAX };
    let options = all.lines().skip(header + 1).take_while(|line| !line.starts_with('['));
    let is_option = |line: &str| line.split_once(" = ").is_some_and(|(option, _)| option == name);
    header + options.into_iter().position(is_option).map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stand_as_in_the_manual() {
        let keys = ["server", "server.listen", "server.data", "info.name", "limits.limit_default", "pico.rooms_max"];
        assert!(keys.iter().map(|key| position(key)).is_sorted_by(|a, b| a < b));
        assert_eq!(position("pico.room"), position("pico"));
        assert_eq!(position("unknown"), usize::MAX);
    }
}
