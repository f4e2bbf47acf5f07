//! Network configurations: the files of the configuration directory (section 1).
//!
//! Configurations are kept as JSON, because plugins must receive all their keys unchanged.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use serde_json::Map;
use serde_json::Value;

use super::version::Version;

/// The largest file that is read, in bytes: a configuration has a few hundred.
const FILE_LIMIT: u64 = 1024 * 1024;

/// Where a network's configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file of the configuration directory.
    File(PathBuf),
    /// Made from the node's pod CIDR, because there is no file.
    BuiltIn,
    /// Stored when the container was attached.
    Cache,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::File(path) => write!(f, "{}", path.display()),
            Source::BuiltIn => f.write_str("the built-in configuration"),
            Source::Cache => f.write_str("the result cache"),
        }
    }
}

/// One network: a chain of plugins under a name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Network {
    /// Its name. The result cache and host-local's address files are named after it.
    pub name: String,
    /// The CNI version to use: the highest one offered that this crate supports.
    pub version: Version,
    /// Where it was configured.
    pub source: Source,
    /// The plugins, in the order of `ADD`. At least one.
    pub plugins: Vec<Plugin>,
    /// `CHECK` must not be called.
    pub disable_check: bool,
    /// `GC` must not be called.
    pub disable_gc: bool,
    /// The whole configuration as a list, the plugins from other files included: what the cache keeps.
    pub list: Map<String, Value>,
}

/// One plugin of a network.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plugin {
    /// The name of its executable.
    pub kind: String,
    /// The capability arguments it asks for.
    pub capabilities: BTreeSet<String>,
    /// The executable it delegates address management to.
    pub ipam: Option<String>,
    /// Its configuration as written.
    pub raw: Map<String, Value>,
}

impl Network {
    /// Whether any plugin asks for this capability argument.
    pub(crate) fn has_capability(&self, capability: &str) -> bool {
        self.plugins.iter().any(|plugin| plugin.capabilities.contains(capability))
    }

    /// Whether a plugin of this type is in the chain.
    pub(crate) fn has_plugin(&self, kind: &str) -> bool {
        self.plugins.iter().any(|plugin| plugin.kind == kind)
    }

    /// Reads a configuration list, as in a `.conflist` file.
    pub(crate) fn from_list(list: Map<String, Value>, source: Source) -> Result<Network, String> {
        Network::assemble(list, Vec::new(), source)
    }

    /// Reads a single plugin's configuration, as in a `.conf` or `.json` file: a list of one.
    pub(crate) fn from_plugin(plugin: Map<String, Value>, source: Source) -> Result<Network, String> {
        if plugin.contains_key("plugins") {
            return Err("it holds a list of plugins: such a file must be named *.conflist".to_owned());
        }
        let mut list = Map::new();
        for key in ["name", "cniVersion", "cniVersions"] {
            if let Some(value) = plugin.get(key) {
                list.insert(key.to_owned(), value.clone());
            }
        }
        list.insert("plugins".to_owned(), Value::Array(vec![Value::Object(plugin)]));
        Network::assemble(list, Vec::new(), source)
    }

    /// `more` are plugin configurations from other files, which go to the end of the chain.
    fn assemble(mut list: Map<String, Value>, more: Vec<Value>, source: Source) -> Result<Network, String> {
        let name = string(&list, "name")?.ok_or("it has no `name`")?.to_owned();
        if !is_cni_name(&name) {
            return Err(format!("its name `{name}` has characters other than letters, digits, `_`, `.` and `-`"));
        }
        let version = select_version(&list)?;
        let mut configs = match list.get("plugins") {
            Some(Value::Array(plugins)) => plugins.clone(),
            None | Some(Value::Null) => Vec::new(),
            Some(_) => return Err("its `plugins` is not a list".to_owned()),
        };
        configs.extend(more);
        let plugins = configs
            .iter()
            .enumerate()
            .map(|(place, config)| Plugin::parse(config).map_err(|reason| format!("plugin {place}: {reason}")))
            .collect::<Result<Vec<Plugin>, String>>()?;
        if plugins.is_empty() {
            return Err("it has no plugins".to_owned());
        }
        let (disable_check, disable_gc) = (flag(&list, "disableCheck")?, flag(&list, "disableGC")?);
        list.insert("plugins".to_owned(), Value::Array(configs));
        Ok(Network { name, version, source, plugins, disable_check, disable_gc, list })
    }
}

impl Plugin {
    fn parse(config: &Value) -> Result<Plugin, String> {
        let raw = config.as_object().ok_or("it is not a JSON object")?.clone();
        let kind = string(&raw, "type")?.unwrap_or_default().to_owned();
        if kind.is_empty() {
            return Err("it has no `type`".to_owned());
        }
        if !is_file_name(&kind) {
            return Err(format!("its type `{kind}` is not the name of a file"));
        }
        let capabilities = match raw.get("capabilities") {
            Some(Value::Object(given)) => {
                given.iter().filter(|(_, on)| **on == Value::Bool(true)).map(|(key, _)| key.clone()).collect()
            }
            None | Some(Value::Null) => BTreeSet::new(),
            Some(_) => return Err("its `capabilities` is not a JSON object".to_owned()),
        };
        let ipam = raw.get("ipam").and_then(|ipam| ipam.get("type")).and_then(Value::as_str);
        let ipam = ipam.filter(|kind| is_file_name(kind)).map(str::to_owned);
        Ok(Plugin { kind, capabilities, ipam, raw })
    }
}

/// The highest offered version that this crate supports (section 1, version considerations).
fn select_version(list: &Map<String, Value>) -> Result<Version, String> {
    let mut offered = Vec::new();
    if let Some(text) = string(list, "cniVersion")?.filter(|text| !text.is_empty()) {
        offered.push(text.parse::<Version>()?);
    }
    match list.get("cniVersions") {
        Some(Value::Array(texts)) => {
            for text in texts {
                let text = text.as_str().ok_or("its `cniVersions` has an entry that is not a string")?;
                offered.push(text.parse::<Version>()?);
            }
        }
        None | Some(Value::Null) => {}
        Some(_) => return Err("its `cniVersions` is not a list".to_owned()),
    }
    if offered.is_empty() {
        return Ok(Version::OLDEST);
    }
    offered.iter().copied().filter(|version| version.is_supported()).max().ok_or_else(|| {
        let texts: Vec<String> = offered.iter().map(Version::to_string).collect();
        format!(
            "it needs CNI {}, and this runtime supports {} to {}",
            texts.join(" or "),
            Version::OLDEST,
            Version::NEWEST
        )
    })
}

fn string<'a>(object: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>, String> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("its `{key}` is not a string")),
    }
}

/// A boolean. Strings are accepted too, as other runtimes do, although the specification has none.
fn flag(object: &Map<String, Value>, key: &str) -> Result<bool, String> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(on)) => Ok(*on),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(_) => Err(format!("its `{key}` is neither true nor false")),
    }
}

/// The rule for network names and container ids (sections 1 and 2).
pub(crate) fn is_cni_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.chars().all(|char| char.is_ascii_alphanumeric() || "_.-".contains(char))
}

fn is_file_name(text: &str) -> bool {
    !text.is_empty() && text != "." && text != ".." && !text.contains(['/', '\\', '\0'])
}

/// What a configuration directory has to offer.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// The network of the first valid file.
    pub network: Option<Network>,
    /// The files that were passed over, and why.
    pub warnings: Vec<String>,
}

/// Loads the network of the first valid file of the directory, by name, as all runtimes do: `*.conflist`
/// files hold lists, `*.conf` and `*.json` files a single plugin. Hidden files are ignored: they may be incomplete.
pub(crate) fn load_dir(dir: &Path) -> Loaded {
    let mut loaded = Loaded::default();
    let names = match file_names(dir, &["conf", "conflist", "json"]) {
        Ok(names) => names,
        Err(error) => {
            loaded.warnings.push(format!("could not read {}: {error}", dir.display()));
            return loaded;
        }
    };
    for name in names {
        let path = dir.join(name);
        match load_file(dir, &path) {
            Ok(network) => {
                loaded.network = Some(network);
                break;
            }
            Err(reason) => loaded.warnings.push(format!("could not use {}: {reason}", path.display())),
        }
    }
    loaded
}

fn load_file(dir: &Path, path: &Path) -> Result<Network, String> {
    let object = read_object(path)?;
    let source = Source::File(path.to_owned());
    if path.extension().is_none_or(|extension| extension != "conflist") {
        return Network::from_plugin(object, source);
    }
    let mut more = Vec::new();
    if !flag(&object, "loadOnlyInlinedPlugins")?
        && let Some(name) = string(&object, "name")?.filter(|name| is_cni_name(name))
    {
        more = aggregated_plugins(&dir.join(name))?;
    } else if !object.contains_key("plugins") {
        return Err("it has no `plugins`".to_owned());
    }
    Network::assemble(object, more, source)
}

/// Plugin configurations outside the list: the `*.conf` files of the sibling folder that has the network's
/// name (section 1, `loadOnlyInlinedPlugins`).
fn aggregated_plugins(dir: &Path) -> Result<Vec<Value>, String> {
    let names = file_names(dir, &["conf"]).map_err(|error| format!("{}: {error}", dir.display()))?;
    let read = |name: &String| read_object(&dir.join(name)).map(Value::Object);
    names.iter().map(|name| read(name).map_err(|reason| format!("{name}: {reason}"))).collect()
}

/// The sorted names of the visible files with one of these endings. A directory that is absent is empty.
fn file_names(dir: &Path, endings: &[&str]) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        let Ok(name) = entry?.file_name().into_string() else {
            continue;
        };
        let ending = Path::new(&name).extension().and_then(|ending| ending.to_str());
        let wanted = ending.is_some_and(|ending| endings.contains(&ending)) && !name.starts_with('.');
        if wanted && !dir.join(&name).is_dir() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn read_object(path: &Path) -> Result<Map<String, Value>, String> {
    let found = path.metadata().map_err(|error| error.to_string())?;
    if !found.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    if found.len() > FILE_LIMIT {
        return Err(format!("it has more than {FILE_LIMIT} bytes"));
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("it is not a JSON object".to_owned()),
        Err(error) => Err(format!("it is not JSON: {error}")),
    }
}

#[cfg(test)]
mod tests;
