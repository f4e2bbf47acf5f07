//! Keeps the configuration current: reads the configuration directory again whenever something in it
//! changes.
//!
//! The directory may be absent, made later, removed and made again. While it is absent, the closest
//! directory above it that exists is watched instead.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use inotify::EventStream;
use inotify::Inotify;
use inotify::WatchDescriptor;
use inotify::WatchMask;
use tokio::time::sleep;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Cni;

/// A change is over when nothing has happened for this long: a configuration is often several files, or
/// one that is written in several steps.
const QUIET: Duration = Duration::from_millis(50);
/// The longest to wait for quiet.
const QUIET_LIMIT: Duration = Duration::from_secs(1);
/// The directory is read again after this time in any case: there are changes the kernel does not report,
/// such as a file system mounted over it, or the target of a symbolic link in its path.
const RESCAN: Duration = Duration::from_secs(60);
/// The same when the kernel reports nothing at all, for lack of inotify instances.
const POLL: Duration = Duration::from_secs(5);

impl Cni {
    /// Keeps the configuration current until `shutdown`.
    pub async fn watch(self: Arc<Self>, shutdown: CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(self: Arc<Self>) {
        let mut watcher = match Watcher::new(&self.config.conf_dir) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(%error, "could not watch the network configuration; reading it every 5 s");
                None
            }
        };
        loop {
            if let Some(watcher) = &mut watcher {
                // Before reading: a change in between is then reported.
                watcher.aim();
            }
            let cni = Arc::clone(&self);
            if tokio::task::spawn_blocking(move || cni.reload()).await.is_err() {
                return;
            }
            match &mut watcher {
                Some(watcher) => watcher.changed().await,
                None => sleep(POLL).await,
            }
        }
    }
}

struct Watcher {
    conf_dir: PathBuf,
    events: EventStream<Vec<u8>>,
    held: Vec<WatchDescriptor>,
}

impl Watcher {
    fn new(conf_dir: &Path) -> io::Result<Watcher> {
        let events = Inotify::init()?.into_event_stream(vec![0; 4096])?;
        Ok(Watcher { conf_dir: conf_dir.to_owned(), events, held: Vec::new() })
    }

    /// Watches what there is to watch now, and nothing else.
    fn aim(&mut self) {
        loop {
            let targets = targets(&self.conf_dir);
            let mut held = Vec::new();
            for (path, mask) in &targets {
                // A directory that vanished in between changes the targets.
                if let Ok(descriptor) = self.events.watches().add(path, *mask) {
                    held.push(descriptor);
                }
            }
            for descriptor in std::mem::replace(&mut self.held, held) {
                if !self.held.contains(&descriptor) {
                    // Fails when the kernel has removed it with its directory.
                    let _ = self.events.watches().remove(descriptor);
                }
            }
            if targets == self::targets(&self.conf_dir) {
                return;
            }
        }
    }

    /// Waits for a change to happen and to be over.
    async fn changed(&mut self) {
        let first = timeout(RESCAN, self.events.next()).await;
        match first {
            Err(_) => return,
            // Cannot be read any more: do not spin.
            Ok(None | Some(Err(_))) => return sleep(POLL).await,
            Ok(Some(Ok(_))) => {}
        }
        let settle = async { while timeout(QUIET, self.events.next()).await.is_ok() {} };
        let _ = timeout(QUIET_LIMIT, settle).await;
    }
}

/// The configuration directory and the folders in it, which may hold plugins of a network; or the closest
/// directory above it.
fn targets(conf_dir: &Path) -> Vec<(PathBuf, WatchMask)> {
    let gone = WatchMask::DELETE_SELF | WatchMask::MOVE_SELF;
    let appears = WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::ONLYDIR;
    let changes = WatchMask::CLOSE_WRITE | WatchMask::ATTRIB | WatchMask::DELETE | WatchMask::MOVED_FROM;
    if let Ok(entries) = conf_dir.read_dir() {
        let mut targets = vec![(conf_dir.to_owned(), gone | appears | changes)];
        let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        targets.extend(paths.filter(|path| path.is_dir()).map(|path| (path, gone | appears | changes)));
        targets.sort();
        return targets;
    }
    let above = conf_dir.ancestors().skip(1).find(|path| path.is_dir());
    above.map(|path| vec![(path.to_owned(), gone | appears)]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use super::*;
    use crate::testing::Node;

    const NET: &str = r#"{"cniVersion":"1.0.0","name":"net","type":"a"}"#;

    /// Watches the node's configuration while `story` runs.
    fn watched(node: &Node, story: impl FnOnce(&Cni)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let cni = Arc::new(node.cni());
        let shutdown = CancellationToken::new();
        let watch = runtime.spawn(Arc::clone(&cni).watch(shutdown.clone()));
        story(&cni);
        shutdown.cancel();
        runtime.block_on(async { timeout(Duration::from_secs(5), watch).await }).unwrap().unwrap();
    }

    fn await_network(cni: &Cni, name: Option<&str>) {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let status = cni.status();
            let found = status.network.map(|network| network.name);
            if found.as_deref() == name && status.ready == name.is_some() {
                return;
            }
            assert!(Instant::now() < end, "not in ten seconds: {name:?}, but {found:?}: {}", status.message);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn the_directory_may_be_made_later_and_vanish_and_return() {
        let node = Node::new();
        node.install_plugin("a");
        watched(&node, |cni| {
            await_network(cni, None);
            node.configure("10.conf", NET);
            await_network(cni, Some("net"));
            fs::remove_dir_all(node.path("net.d")).unwrap();
            await_network(cni, None);
            node.configure("10.conf", NET);
            await_network(cni, Some("net"));
            fs::rename(node.path("net.d"), node.path("old.d")).unwrap();
            await_network(cni, None);
            fs::rename(node.path("old.d"), node.path("net.d")).unwrap();
            await_network(cni, Some("net"));
        });
    }

    #[test]
    fn directories_above_may_be_made_later_too() {
        let node = Node::new();
        node.install_plugin("a");
        let mut config = node.config();
        config.conf_dir = node.path("etc/cni/net.d");
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let cni = Arc::new(Cni::new(config, None));
        runtime.spawn(Arc::clone(&cni).watch(CancellationToken::new()));
        for part in ["etc", "etc/cni", "etc/cni/net.d"] {
            std::thread::sleep(QUIET * 2);
            fs::create_dir(node.path(part)).unwrap();
        }
        fs::write(node.path("etc/cni/net.d/1.conf"), NET).unwrap();
        await_network(&cni, Some("net"));
    }

    #[test]
    fn files_that_come_change_and_go_are_noticed() {
        let node = Node::new();
        for plugin in ["a", "b"] {
            node.install_plugin(plugin);
        }
        fs::create_dir(node.path("net.d")).unwrap();
        watched(&node, |cni| {
            await_network(cni, None);
            node.configure("10.conf", NET);
            await_network(cni, Some("net"));
            node.configure("10.conf", &NET.replace("net", "changed"));
            await_network(cni, Some("changed"));
            node.configure("05.conf.new", &NET.replace("net", "first"));
            fs::rename(node.path("net.d/05.conf.new"), node.path("net.d/05.conf")).unwrap();
            await_network(cni, Some("first"));
            fs::remove_file(node.path("net.d/05.conf")).unwrap();
            await_network(cni, Some("changed"));
            fs::write(node.path("elsewhere"), NET).unwrap();
            std::os::unix::fs::symlink(node.path("elsewhere"), node.path("net.d/01.conf")).unwrap();
            await_network(cni, Some("net"));
            fs::remove_file(node.path("net.d/01.conf")).unwrap();
            node.configure("10.conf", "{");
            await_network(cni, None);
            assert!(cni.status().message.contains("10.conf: it is not JSON"), "{}", cni.status().message);
        });
    }

    #[test]
    fn plugins_in_the_networks_folder_are_noticed() {
        let node = Node::new();
        node.install_plugin("a");
        node.configure("10.conflist", r#"{"cniVersion":"1.1.0","name":"net","plugins":[{"type":"a"}]}"#);
        watched(&node, |cni| {
            await_network(cni, Some("net"));
            fs::create_dir(node.path("net.d/net")).unwrap();
            fs::write(node.path("net.d/net/1.conf"), r#"{"type":"a","more":1}"#).unwrap();
            crate::testing::eventually("two plugins", || {
                cni.status().network.is_some_and(|network| network.plugins.len() == 2)
            });
            fs::write(node.path("net.d/net/2.conf"), r#"{"type":"a","more":2}"#).unwrap();
            crate::testing::eventually("three plugins", || {
                cni.status().network.is_some_and(|network| network.plugins.len() == 3)
            });
        });
    }

    #[tokio::test]
    async fn only_what_exists_is_watched() {
        let node = Node::new();
        let dir = node.path("net.d");
        let names = |targets: Vec<(PathBuf, WatchMask)>| -> Vec<PathBuf> {
            targets.into_iter().map(|(path, _)| path).collect()
        };
        assert_eq!(names(targets(&dir.join("a/b"))), [node.path("")]);
        fs::create_dir_all(dir.join("net")).unwrap();
        assert_eq!(names(targets(&dir)), [dir.clone(), dir.join("net")]);
        let mut watcher = Watcher::new(&dir).unwrap();
        watcher.aim();
        assert_eq!(watcher.held.len(), 2);
        fs::remove_dir(dir.join("net")).unwrap();
        watcher.aim();
        watcher.aim();
        assert_eq!(watcher.held.len(), 1);
    }
}
