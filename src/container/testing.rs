//! A fixture for tests: containers in a ready pod, with a fake Docker.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::docker;
use crate::state::Object;
use crate::state::Process;
use crate::state::Sandbox;
use crate::state::testing;

pub(crate) const SANDBOX: &str = "pod1";

/// The rooms around one ready sandbox.
pub(crate) struct Bench {
    pub engine: Engine,
    pub store: Arc<Store>,
    pub images: Arc<Images>,
    pub containers: Arc<Containers>,
    _directories: [TempDir; 2],
}

impl Bench {
    /// The fake Docker answers as in [`docker::testing::engine`]; requests time out after `timeout`.
    pub(crate) fn new(timeout: Duration, answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static) -> Bench {
        let (engine, socket) = docker::testing::engine(answer);
        let engine = engine.with_timeout(timeout);
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(&directory.path().join("state")).unwrap();
        let store = Arc::new(store);
        store.sandboxes.insert(Sandbox::new(testing::sandbox(SANDBOX), Process::Running { started_at: 1 }));
        let images = Arc::new(Images::new(engine.clone(), None, Duration::ZERO));
        let logs = Arc::new(Logs::open(directory.path().join("logs")).unwrap());
        let docker_log = DockerLog { max_size: "32m".to_owned(), max_files: 2 };
        let containers = Arc::new(Containers::new(Dependencies {
            engine: engine.clone(),
            store: Arc::clone(&store),
            images: Arc::clone(&images),
            logs,
            docker_log,
            unfinished: Vec::new(),
        }));
        Bench { engine, store, images, containers, _directories: [socket, directory] }
    }

    /// Adds a container of the pod that was not started.
    pub(crate) fn put(&self, record: ContainerRecord) {
        self.store.containers.insert(Container::new(record, Process::Created));
    }

    /// The state of a container's process.
    pub(crate) fn process(&self, id: &str) -> Process {
        self.store.index().containers.get(id).unwrap().process.clone()
    }
}
