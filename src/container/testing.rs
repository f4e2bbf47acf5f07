//! Containers to write tests against, in a pod that is ready, on a Docker that the test speaks for.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::docker;
use crate::state::Process;
use crate::state::Sandbox;
use crate::state::testing;

pub(crate) const SANDBOX: &str = "pod1";

pub(crate) struct Bench {
    pub engine: Engine,
    pub store: Arc<Store>,
    pub images: Arc<Images>,
    pub containers: Arc<Containers>,
    _directories: [TempDir; 2],
}

impl Bench {
    /// Docker answers as in [`docker::testing::engine`], within `limit` or not at all.
    pub(crate) fn new(limit: Duration, answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static) -> Bench {
        let (engine, socket) = docker::testing::engine(answer);
        let engine = engine.with_timeout(limit);
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(&directory.path().join("state")).unwrap();
        let store = Arc::new(store);
        store.put_sandbox(Sandbox::new(testing::sandbox(SANDBOX), Process::Running { started_at: 1 }));
        let images = Arc::new(Images::new(engine.clone(), None, Duration::ZERO));
        let logs = Arc::new(Logs::open(directory.path().join("logs")).unwrap());
        let docker_log = DockerLog { max_size: "32m".to_owned(), max_files: 2 };
        let containers =
            Containers::new(engine.clone(), Arc::clone(&store), Arc::clone(&images), logs, docker_log, Vec::new());
        Bench { engine, store, images, containers: Arc::new(containers), _directories: [socket, directory] }
    }

    /// A container of the pod that was not started.
    pub(crate) fn put(&self, record: ContainerRecord) {
        self.store.put_container(Container::new(record, Process::Created));
    }

    pub(crate) fn process(&self, id: &str) -> Process {
        self.store.container(id).unwrap().process.clone()
    }
}
