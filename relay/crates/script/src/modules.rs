//! Which modules a script finds: the files of its folder, and our own small versions of the packages that slices use.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use rquickjs::loader::{ImportAttributes, Loader, Resolver};
use rquickjs::module::Declared;
use rquickjs::{Ctx, Error, Module, Result};

/// Modules that are part of the relay. Only they may import those whose names are not of packages.
const HOST: &[(&str, &str)] = &[
    ("host:realm.js", include_str!("host/realm.js")),
    ("host:buffer.js", include_str!("host/buffer.js")),
    ("host:nostr.js", include_str!("host/nostr.js")),
    ("host:pico.js", include_str!("host/pico.js")),
    ("host:picostore.js", include_str!("host/picostore.js")),
    ("host:picofeed.js", include_str!("host/picofeed.js")),
    ("host:picostack.js", include_str!("host/picostack.js")),
    ("host:cborg.js", include_str!("host/cborg.js")),
    ("host:msgpackr.js", include_str!("host/msgpackr.js")),
];

/// Packages by the names that slices import.
const PACKAGES: &[(&str, &str)] = &[
    ("@telamon/picostore", "host:picostore.js"),
    ("picostore", "host:picostore.js"),
    ("picofeed", "host:picofeed.js"),
    ("picostack", "host:picostack.js"),
    ("cborg", "host:cborg.js"),
    ("msgpackr", "host:msgpackr.js"),
    ("buffer", "host:buffer.js"),
];

/// The files of one script, as they were when it was first loaded. Clones share their texts.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The folder that imports may name files of.
    folder: PathBuf,
    /// Name of the file that registers the slices.
    main: String,
    texts: BTreeMap<String, Arc<str>>,
    bytes_max: usize,
    /// Nothing is read any more.
    sealed: bool,
}

impl Sources {
    /// A file in its folder; nothing is read yet.
    pub fn file(path: &Path, bytes_max: usize) -> Self {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let main = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { folder, main, texts: BTreeMap::new(), bytes_max, sealed: false }
    }

    /// A text that is no file. It can import packages only.
    pub fn text(name: &str, text: &str) -> Self {
        let texts = BTreeMap::from([(name.to_owned(), Arc::from(text))]);
        Self { folder: PathBuf::new(), main: name.to_owned(), texts, bytes_max: text.len(), sealed: true }
    }

    /// The name of the main file.
    pub fn main(&self) -> &str {
        &self.main
    }

    /// All files that were read, to see whether they change.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.texts.keys().map(|name| self.folder.join(name))
    }

    /// The text of a file, or what is wrong with it.
    fn get(&mut self, name: &str) -> std::result::Result<Arc<str>, String> {
        if let Some(text) = self.texts.get(name) {
            return Ok(Arc::clone(text));
        }
        if self.sealed {
            return Err("there is no such file".to_owned());
        }
        let mut text = String::new();
        let used: usize = self.texts.values().map(|text| text.len()).sum();
        let room = self.bytes_max.saturating_sub(used);
        self.open(name)?.take(room as u64 + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
        if text.len() > room {
            return Err(format!("the files have more than {} bytes (script.source_bytes_max)", self.bytes_max));
        }
        let text: Arc<str> = text.into();
        self.texts.insert(name.to_owned(), Arc::clone(&text));
        Ok(text)
    }

    /// Opens a file of the folder. The main file may be a link to elsewhere, as whoever runs the relay named it; what it
    /// imports may not, and nothing may be a device or a pipe.
    fn open(&self, name: &str) -> std::result::Result<std::fs::File, String> {
        let say = |error: std::io::Error| error.to_string();
        let path = self.folder.join(name).canonicalize().map_err(say)?;
        let folder = if self.folder.as_os_str().is_empty() { Path::new(".") } else { &self.folder };
        if name != self.main && !path.starts_with(folder.canonicalize().map_err(say)?) {
            return Err("it is a link to outside of the folder".to_owned());
        }
        if !path.is_file() {
            return Err("it is no file".to_owned());
        }
        std::fs::File::open(path).map_err(say)
    }

    /// From now on nothing is read that was not read before.
    pub fn seal(&mut self) {
        self.sealed = true;
    }
}

/// Finds modules for one script.
#[derive(Clone)]
pub struct Modules(pub(super) Rc<RefCell<Sources>>);

impl Resolver for Modules {
    fn resolve(&mut self, _: &Ctx<'_>, base: &str, name: &str, _: Option<ImportAttributes<'_>>) -> Result<String> {
        if let Some((_, module)) = PACKAGES.iter().find(|(package, _)| *package == name) {
            return Ok((*module).to_owned());
        }
        if base.starts_with("host:") && (name.starts_with("host:") || base == MAIN) {
            return Ok(name.to_owned());
        }
        if !name.starts_with("./") && !name.starts_with("../") {
            let known: Vec<&str> = PACKAGES.iter().map(|(package, _)| *package).collect();
            let why = format!("only {} and files such as ./more.js can be imported", known.join(", "));
            return Err(Error::new_resolving_message(base, name, why));
        }
        let folder = base.rsplit_once('/').map_or("", |(folder, _)| folder);
        if name.contains(':') {
            return Err(Error::new_resolving_message(base, name, "names of files have no ':' here"));
        }
        inside(folder, name).ok_or_else(|| Error::new_resolving_message(base, name, "it lies outside of the folder"))
    }
}

/// The module that loads a script: written by us, and yet it names the file.
pub const MAIN: &str = "host:main.js";

impl Loader for Modules {
    fn load<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        name: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> Result<Module<'js, Declared>> {
        if let Some((_, text)) = HOST.iter().find(|(module, _)| *module == name) {
            return Module::declare(ctx.clone(), name, *text);
        }
        // Declaring a module loads what it imports, through here: the borrow must have ended.
        let text = self.0.borrow_mut().get(name);
        match text {
            Ok(text) => Module::declare(ctx.clone(), name, text.as_bytes()),
            Err(why) => Err(Error::new_loading_message(name, why)),
        }
    }
}

/// A path relative to the folder of the script, without `..`; none if it leaves that folder.
fn inside(folder: &str, name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn links_do_not_lead_out_of_the_folder() {
        use std::os::unix::fs::symlink;

        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret.js"), "export const secret = 1").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("lib")).unwrap();
        std::fs::write(at("lib/more.js"), "export const more = 1").unwrap();
        symlink(at("lib/more.js"), at("inside.js")).unwrap();
        symlink(outside.path().join("secret.js"), at("outside.js")).unwrap();
        symlink(outside.path(), at("away")).unwrap();
        symlink("/dev/zero", at("endless.js")).unwrap();
        let mut sources = Sources::file(&at("outside.js"), 1_000);
        // Whoever runs the relay chose the main file.
        sources.get("outside.js").unwrap();
        let mut sources = Sources::file(&at("main.js"), 1_000);
        sources.get("lib/more.js").unwrap();
        sources.get("inside.js").unwrap();
        for name in ["outside.js", "away/secret.js", "endless.js"] {
            assert!(sources.get(name).unwrap_err().contains("outside"), "{name}");
        }
        assert_eq!(Sources::file(&at("lib"), 1_000).get("lib").unwrap_err(), "it is no file");
    }

    #[test]
    fn imports_stay_in_the_folder() {
        for (folder, name, found) in [
            ("", "./a.js", Some("a.js")),
            ("", "./lib/a.js", Some("lib/a.js")),
            ("lib", "./b.js", Some("lib/b.js")),
            ("lib", "../a.js", Some("a.js")),
            ("lib/x", "../../a.js", Some("a.js")),
            ("", "../a.js", None),
            ("lib", "../../a.js", None),
            ("", "./lib/../../a.js", None),
        ] {
            assert_eq!(inside(folder, name).as_deref(), found, "{folder} {name}");
        }
    }
}
