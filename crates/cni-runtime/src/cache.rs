//! Remembers every attachment with the configuration it was made with, so that `DEL` undoes what `ADD` did
//! even when the configuration has changed since.
//!
//! The layout is libcni's (`<cache>/results/<network>-<container id>-<interface>`, kind `cniCacheV1`): a
//! node can change its container runtime without losing track of what is attached. An entry without a
//! result belongs to an `ADD` that has not finished. Files are replaced by rename and not synced: after a
//! power failure the namespaces are gone, and a damaged entry is treated like a missing one.

use std::fs;
use std::io;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;

use super::attachment::Parameters;
use super::conf::Network;
use super::conf::Source;
use super::error::Error;

const KIND: &str = "cniCacheV1";

/// One file of the cache, with libcni's names.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    kind: String,
    container_id: String,
    /// The network's configuration list, in base64.
    config: String,
    if_name: String,
    network_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    netns: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cni_args: Option<Vec<(String, String)>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    capability_args: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result: Option<Map<String, Value>>,
}

/// An attachment that was begun.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The network as it was configured then.
    pub network: Network,
    /// What the plugins were called with.
    pub parameters: Parameters,
    /// The result of the last plugin; `None` when `ADD` did not finish.
    pub result: Option<Map<String, Value>>,
    path: PathBuf,
}

/// What the cache knows about one attachment.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The entries that can be used: normally one.
    pub entries: Vec<Entry>,
    /// Files that bear the attachment's name but cannot be used, and why.
    pub damaged: Vec<(PathBuf, String)>,
    /// Entries whose writing was cut short.
    pub drafts: Vec<PathBuf>,
}

/// The directory of the entries. Calls block on the disk.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    results: PathBuf,
}

impl Cache {
    /// `dir` is the cache directory, such as `/var/lib/cni`.
    pub(crate) fn new(dir: &Path) -> Cache {
        Cache { results: dir.join("results") }
    }

    /// Writes the entry of an attachment; without a result before the first plugin runs, and with it after
    /// the last.
    pub(crate) fn store(
        &self,
        network: &Network,
        parameters: &Parameters,
        result: Option<&Map<String, Value>>,
    ) -> Result<(), Error> {
        let file = File {
            kind: KIND.to_owned(),
            container_id: parameters.container_id.clone(),
            config: STANDARD.encode(Value::Object(network.list.clone()).to_string()),
            if_name: parameters.ifname.clone(),
            network_name: network.name.clone(),
            netns: parameters.netns.clone(),
            cni_args: Some(parameters.args.clone()),
            capability_args: Some(parameters.capability_args.clone()).filter(|args| !args.is_empty()),
            result: result.cloned(),
        };
        let path = self.path(&network.name, parameters);
        let write = || -> io::Result<()> {
            let bytes = serde_json::to_vec(&file)?;
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.results)?;
            replace(&path, &bytes)
        };
        write().map_err(|source| Error::Cache { action: "write", path: path.clone(), source })
    }

    /// Removes the entry of an attachment, if it is there.
    pub(crate) fn remove(&self, network: &str, parameters: &Parameters) -> Result<(), Error> {
        remove(&self.path(network, parameters))
    }

    /// Everything that is known about one attachment.
    pub(crate) fn find(&self, container_id: &str, ifname: &str) -> Result<Found, Error> {
        let ending = format!("-{container_id}-{ifname}");
        let mut found = Found::default();
        for name in self.names()?.iter().filter(|name| name.ends_with(&ending)) {
            let path = self.results.join(name);
            if is_draft(name) {
                found.drafts.push(path);
                continue;
            }
            match read(&path) {
                Ok(Some(entry)) if entry.parameters.container_id == container_id => found.entries.push(entry),
                Ok(_) => {}
                Err(reason) => found.damaged.push((path, reason)),
            }
        }
        Ok(found)
    }

    /// All usable entries of one network.
    pub(crate) fn of_network(&self, network: &str) -> Result<Vec<Entry>, Error> {
        let beginning = format!("{network}-");
        let names = self.names()?;
        let ours = names.iter().filter(|name| name.starts_with(&beginning) && !is_draft(name));
        let entries = ours.filter_map(|name| read(&self.results.join(name)).ok().flatten());
        Ok(entries.filter(|entry| entry.network.name == network).collect())
    }

    /// All usable entries.
    pub(crate) fn all(&self) -> Result<Vec<Entry>, Error> {
        let names = self.names()?;
        let entries = names.iter().filter(|name| !is_draft(name));
        Ok(entries.filter_map(|name| read(&self.results.join(name)).ok().flatten()).collect())
    }

    fn path(&self, network: &str, parameters: &Parameters) -> PathBuf {
        self.results.join(format!("{network}-{}-{}", parameters.container_id, parameters.ifname))
    }

    fn names(&self) -> Result<Vec<String>, Error> {
        let list = || -> io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(&self.results)? {
                names.extend(entry?.file_name().into_string());
            }
            names.sort();
            Ok(names)
        };
        match list() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            outcome => outcome.map_err(|source| Error::Cache { action: "read", path: self.results.clone(), source }),
        }
    }
}

impl Entry {
    /// The entry's file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Removes a file of the cache, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome.map_err(|source| Error::Cache { action: "remove", path: path.to_owned(), source }),
    }
}

/// Whether this is an entry that is being written, or was when the process died.
fn is_draft(name: &str) -> bool {
    name.starts_with('.')
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Hidden, so that it is not taken for an entry. Only one operation at a time writes an attachment.
    let name = path.file_name().unwrap_or_default();
    let draft = path.with_file_name(format!(".{}", name.to_string_lossy()));
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written
}

/// Reads an entry. `None` when the file is gone; the text says why it cannot be used.
fn read(path: &Path) -> Result<Option<Entry>, String> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let file: File = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    if file.kind != KIND {
        return Err(format!("its kind is `{}`", file.kind));
    }
    let config = STANDARD.decode(&file.config).map_err(|error| format!("its config: {error}"))?;
    let list: Map<String, Value> = serde_json::from_slice(&config).map_err(|error| format!("its config: {error}"))?;
    // A single plugin's configuration is what an older libcni stores for a `.conf` file.
    let network = if list.contains_key("plugins") {
        Network::from_list(list, Source::Cache)
    } else {
        Network::from_plugin(list, Source::Cache)
    };
    let mut network = network.map_err(|reason| format!("its config: {reason}"))?;
    network.name = file.network_name;
    let parameters = Parameters {
        container_id: file.container_id,
        ifname: file.if_name,
        netns: file.netns,
        args: file.cni_args.unwrap_or_default(),
        capability_args: file.capability_args.unwrap_or_default(),
    };
    Ok(Some(Entry { network, parameters, result: file.result, path: path.to_owned() }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;

    use super::*;

    fn network(name: &str) -> Network {
        let list = json!({"name": name, "cniVersion": "1.0.0", "plugins": [{"type": "x", "key": 1}]});
        Network::from_list(list.as_object().unwrap().clone(), Source::BuiltIn).unwrap()
    }

    fn parameters(container_id: &str) -> Parameters {
        Parameters {
            container_id: container_id.to_owned(),
            ifname: "eth0".to_owned(),
            netns: Some("/run/netns/x".into()),
            args: vec![("K8S_POD_NAME".to_owned(), "web".to_owned())],
            capability_args: json!({"bandwidth": {"ingressRate": 1}}).as_object().unwrap().clone(),
        }
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn an_entry_is_what_libcni_writes() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(&dir.path().join("cni"));
        let result = json!({"cniVersion": "1.0.0", "ips": []}).as_object().unwrap().clone();
        cache.store(&network("net"), &parameters("c1"), None).unwrap();
        cache.store(&network("net"), &parameters("c1"), Some(&result)).unwrap();
        let path = dir.path().join("cni/results/net-c1-eth0");
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let expected = json!({
            "kind": "cniCacheV1", "containerId": "c1", "ifName": "eth0", "networkName": "net",
            "config": STANDARD.encode(Value::Object(network("net").list).to_string()),
            "netns": "/run/netns/x", "cniArgs": [["K8S_POD_NAME", "web"]],
            "capabilityArgs": {"bandwidth": {"ingressRate": 1}},
            "result": {"cniVersion": "1.0.0", "ips": []},
        });
        assert_eq!(file, expected);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left");

        let found = cache.find("c1", "eth0").unwrap();
        assert_eq!(found.entries.len(), 1);
        assert_eq!(found.entries[0].parameters, parameters("c1"));
        assert_eq!(found.entries[0].network.plugins, network("net").plugins);
        assert_eq!(found.entries[0].result.as_ref(), Some(&result));
    }

    #[test]
    fn entries_of_other_attachments_are_not_taken_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        for (net, id) in [("net", "c1"), ("net", "bb-c1"), ("other", "c1"), ("net-b", "c1"), ("net", "c2")] {
            cache.store(&network(net), &parameters(id), None).unwrap();
        }
        let found = cache.find("c1", "eth0").unwrap();
        let names: Vec<&str> = found.entries.iter().map(|entry| entry.network.name.as_str()).collect();
        assert_eq!(names, ["net-b", "net", "other"]);
        assert_eq!(cache.of_network("net").unwrap().len(), 3);
        for entry in &found.entries {
            remove(entry.path()).unwrap();
            remove(entry.path()).unwrap();
        }
        assert!(cache.find("c1", "eth0").unwrap().entries.is_empty());
    }

    #[test]
    fn damaged_files_are_reported_and_do_not_hide_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        cache.store(&network("net"), &parameters("c1"), None).unwrap();
        let results = dir.path().join("results");
        fs::write(results.join("a-c1-eth0"), "").unwrap();
        fs::write(results.join("b-c1-eth0"), r#"{"cniVersion":"0.3.1","ips":[]}"#).unwrap();
        fs::write(
            results.join("d-c1-eth0"),
            r#"{"kind":"cniCacheV1","containerId":"c1","ifName":"eth0","networkName":"d","config":"e30="}"#,
        )
        .unwrap();
        let found = cache.find("c1", "eth0").unwrap();
        assert_eq!((found.entries.len(), found.damaged.len()), (1, 3), "{found:?}");
    }

    #[test]
    fn a_draft_that_was_cut_short_is_no_entry_but_is_found_with_its_attachment() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        cache.store(&network("net"), &parameters("c1"), None).unwrap();
        let draft = dir.path().join("results/.net-c2-eth0");
        fs::write(&draft, "{").unwrap();
        assert!(cache.find("c1", "eth0").unwrap().drafts.is_empty());
        let found = cache.find("c2", "eth0").unwrap();
        assert_eq!((found.entries.len(), found.damaged.len(), found.drafts), (0, 0, vec![draft]));
        assert_eq!(cache.of_network("net").unwrap().len(), 1);
    }

    #[test]
    fn an_absent_cache_is_empty() {
        let cache = Cache::new(Path::new("/nonexistent/cni"));
        assert!(cache.find("c1", "eth0").unwrap().entries.is_empty());
        assert!(cache.of_network("net").unwrap().is_empty());
        cache.remove("net", &parameters("c1")).unwrap();
    }

    #[test]
    fn an_entry_of_a_single_plugin_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let results = dir.path().join("results");
        fs::create_dir(&results).unwrap();
        let config = STANDARD.encode(r#"{"name":"one","cniVersion":"0.3.1","type":"ptp"}"#);
        let file = json!({"kind": KIND, "containerId": "c1", "ifName": "eth0", "networkName": "one",
            "config": config, "cniArgs": null, "capabilityArgs": null, "result": null});
        fs::write(results.join("one-c1-eth0"), file.to_string()).unwrap();
        let found = Cache::new(dir.path()).find("c1", "eth0").unwrap();
        assert_eq!(found.entries[0].network.plugins[0].kind, "ptp");
    }
}
