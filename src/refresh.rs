//! Brings one sandbox or container of the index up to date with one inspect of Docker.
//!
//! The verbs call it after they changed something, and `watch` when Docker reports a change or the index may be stale.
//! Only here does Docker's state of a container become a [`Process`].

mod network;
mod process;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::docker;
use crate::docker::Engine;
use crate::logs::Logs;
use crate::state::Process;
use crate::state::Store;

use self::network::PodNetwork;

pub(crate) use self::process::cannot_run;

/// Refreshes objects of the index. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Refresher {
    engine: Engine,
    store: Arc<Store>,
    logs: Arc<Logs>,
    /// Containers in which the kernel killed a process for want of memory: Docker reports that separately from `die`.
    oom_kills: Arc<Mutex<HashSet<String>>>,
}

impl Refresher {
    /// Refreshes the objects of `store` from `engine`.
    pub(crate) fn new(engine: Engine, store: Arc<Store>, logs: Arc<Logs>) -> Refresher {
        Refresher { engine, store, logs, oom_kills: Arc::default() }
    }

    /// The same with at most `limit` for one request.
    #[must_use]
    pub(crate) fn with_timeout(&self, limit: Duration) -> Refresher {
        Refresher { engine: self.engine.with_timeout(limit), ..self.clone() }
    }

    /// Inspects container or sandbox `id` and stores its state. An exit is stored only after the container's log is
    /// complete: Docker closes its log before it reports that a container does not run.
    ///
    /// # Errors
    /// When Docker does not answer, or cannot inspect the container. A container that Docker does not have is marked as
    /// gone, which is no error.
    pub(crate) async fn refresh(&self, id: &str) -> Result<(), docker::Error> {
        let details = match self.engine.inspect_container(id).await {
            Ok(details) => details,
            Err(error) if error.is_not_found() => {
                // What Docker wrote can still be read: the log files are held open.
                self.logs.finish(id).await;
                self.change_process(id, process::gone);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let known =
            self.store.index().containers.get(id).map(|container| container.process.clone()).unwrap_or_default();
        if process::inspected(&known, &details).exit().is_some() {
            self.logs.finish(id).await;
        }
        let network = PodNetwork::of(&self.store, &details);
        self.change_process(id, |known| match network {
            PodNetwork::Lost => process::network_lost(known),
            PodNetwork::Kept | PodNetwork::Unpinned => process::inspected(known, &details),
        });
        self.store.set_unsettled(id, false);
        if network == PodNetwork::Unpinned {
            network::pin_again(&self.store, id, details.state.pid).await;
        }
        Ok(())
    }

    /// Stores that Docker does not have the container `id` any more. Its record stays until a client removes it.
    pub(crate) async fn mark_gone(&self, id: &str) {
        self.oom_kills.lock().remove(id);
        self.logs.finish(id).await;
        self.store.update_process(id, process::gone);
    }

    /// Records that the kernel killed a process of the container `id` for want of memory, be it before or after its
    /// exit is known.
    pub(crate) fn record_oom_kill(&self, id: &str) {
        self.oom_kills.lock().insert(id.to_owned());
        self.store.update_process(id, process::oom_killed);
    }

    /// Whether an OOM kill was recorded for the container `id`.
    pub(crate) fn has_oom_kill(&self, id: &str) -> bool {
        self.oom_kills.lock().contains(id)
    }

    /// Changes a process once, with the OOM kill that is recorded for it.
    fn change_process(&self, id: &str, next: impl Fn(&Process) -> Process) {
        self.store.update_process(id, |known| {
            let next = next(known);
            // Looked up inside the change: an OOM kill recorded after this one changes the stored process itself.
            if self.has_oom_kill(id) { process::oom_killed(&next) } else { next }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now_ns;
    use crate::docker::testing;
    use crate::state::Object;
    use crate::state::Sandbox;
    use crate::state::testing::sandbox;

    const HOUR_NS: i64 = 3_600_000_000_000;

    /// A refresher of the sandbox `a`, which was started at the time given, with Docker's answer to its inspect.
    fn refresher(started_at: i64, status: u16, details: &'static str) -> (Refresher, Vec<tempfile::TempDir>) {
        let (engine, socket) = testing::engine(move |_| (status, details.to_owned()));
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(&directory.path().join("state")).unwrap();
        let logs = Logs::open(directory.path().join("logs")).unwrap();
        store.sandboxes.insert(Sandbox::new(sandbox("a"), Process::Running { started_at }));
        (Refresher::new(engine, Arc::new(store), Arc::new(logs)), vec![socket, directory])
    }

    fn exit(refresher: &Refresher) -> Option<(i64, i32, bool)> {
        let process = refresher.store.index().sandboxes.get("a").unwrap().process.clone();
        process.exit().map(|exit| (exit.at, exit.code, exit.oom_killed))
    }

    #[tokio::test]
    async fn a_container_that_is_gone_has_exited_even_after_the_clock_was_set_back() {
        let started_at = now_ns() + HOUR_NS;
        let (refresher, _directories) = refresher(started_at, 404, r#"{"message": "No such container: a"}"#);
        refresher.mark_gone("a").await;
        assert_eq!(exit(&refresher), Some((started_at, 137, false)));
        let known = Process::Running { started_at };
        assert!(process::network_lost(&known).exit().is_some());
    }

    #[tokio::test]
    async fn an_oom_kill_is_stored_whether_it_is_reported_before_or_after_the_exit() {
        let exited = r#"{"Id": "a", "State": {"ExitCode": 137, "FinishedAt": "2026-01-01T00:00:00Z"}}"#;
        for kill_first in [true, false] {
            let (refresher, _directories) = refresher(1, 200, exited);
            if kill_first {
                refresher.record_oom_kill("a");
                assert_eq!(exit(&refresher), None);
            }
            refresher.refresh("a").await.unwrap();
            assert_eq!(exit(&refresher).map(|(_, code, oom_killed)| (code, oom_killed)), Some((137, kill_first)));
            refresher.record_oom_kill("a");
            assert_eq!(exit(&refresher).map(|(_, _, oom_killed)| oom_killed), Some(true));
        }
    }
}
