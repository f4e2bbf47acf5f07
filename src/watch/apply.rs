//! Applies Docker's events to the index.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::docker;
use crate::docker::ConnectionState;
use crate::docker::Event;
use crate::refresh::Refresher;

use super::Watch;
use super::kernel_log;

/// Between the first two attempts to refresh a container, doubled for each later one.
const FIRST_RETRY: Duration = Duration::from_millis(200);
/// Between two attempts to refresh a container, at most.
const LAST_RETRY: Duration = Duration::from_secs(10);
/// Between two searches for unsettled containers.
const UNSETTLED_INTERVAL: Duration = Duration::from_secs(2);
/// How long after `die` the `oom` event may arrive: 150 ms were seen on a busy machine with Docker 20.10.
const OOM_LAG: Duration = Duration::from_millis(250);
/// Between two checks for the `oom` event.
const OOM_POLL: Duration = Duration::from_millis(10);
/// The `exitCode` of a process that SIGKILL ended.
const KILLED: &str = "137";

impl Watch {
    pub(super) fn apply(self: &Arc<Self>, event: &Event) {
        let id = event.actor.id.as_str();
        match (event.kind.as_str(), event.action.as_str()) {
            ("container", "start") => self.apply_start(id),
            ("container", "oom") if self.store.index().contains(id) => self.refresher.record_oom_kill(id),
            ("container", "exec_die") => self.apply_exec_die(event),
            ("container", "die") if self.store.index().contains(id) => self.apply_die(event),
            ("container", "destroy") => self.apply_destroy(id.to_owned()),
            ("image", "pull" | "tag" | "untag" | "delete" | "import" | "load") => self.images_changed.notify_one(),
            ("daemon", "reload") => self.reloaded.notify_one(),
            _ => {}
        }
    }

    /// Refreshes an object by `refresher`, and follows the log of a container that runs.
    pub(super) async fn refresh(&self, refresher: &Refresher, id: &str) -> Result<(), docker::Error> {
        refresher.refresh(id).await?;
        self.containers.follow_running_log(id).await;
        Ok(())
    }

    /// Refreshes an object until that succeeds or Docker is down: the next session begins with all objects.
    pub(super) fn refresh_in_background(self: &Arc<Self>, id: String) {
        let watch = Arc::clone(self);
        tokio::spawn(async move {
            let mut pause = FIRST_RETRY;
            while let Err(error) = watch.refresh(&watch.refresher, &id).await {
                tracing::warn!(container = id, %error, "could not refresh the state of a container");
                if matches!(watch.engine.connection().state(), ConnectionState::Down(_)) {
                    return;
                }
                tokio::time::sleep(pause).await;
                pause = LAST_RETRY.min(pause * 2);
            }
        });
    }

    /// Refreshes unsettled containers until Docker reports what became of their start.
    pub(super) async fn refresh_unsettled(self: &Arc<Self>) {
        let mut begun = HashSet::new();
        loop {
            let mut unsettled = self.store.index().containers.list();
            unsettled.retain(|container| container.unsettled);
            begun.retain(|id| unsettled.iter().any(|container| container.record.id == *id));
            for container in unsettled {
                let id = &container.record.id;
                if begun.insert(id.clone()) {
                    self.refresh_in_background(id.clone());
                }
            }
            tokio::time::sleep(UNSETTLED_INTERVAL).await;
        }
    }

    /// A verb stores the start it makes. After any other start the container is inspected: the time of the event can be
    /// later than the exit of a short-lived process.
    fn apply_start(self: &Arc<Self>, id: &str) {
        let Some((key, false)) = self.key_and_running(id) else { return };
        let (watch, id) = (Arc::clone(self), id.to_owned());
        tokio::spawn(async move {
            let guard = watch.store.lock(&key).await;
            let stored = watch.key_and_running(&id).is_none_or(|(_, running)| running);
            drop(guard);
            if !stored {
                watch.containers.adopt_log(&id);
                watch.refresh_in_background(id);
            }
        });
    }

    fn key_and_running(&self, id: &str) -> Option<(String, bool)> {
        let index = self.store.index();
        let container = index.containers.get(id).map(|c| (c.record.key.clone(), c.process.is_running()));
        container.or_else(|| index.sandboxes.get(id).map(|s| (s.record.key.clone(), s.process.is_running())))
    }

    /// OOM events arrive separately from `die`: before it, after it, or, with containerd 1.x, not at all. A client
    /// reads the reason once, when the container is EXITED, so an exit by SIGKILL is stored only after a wait for the
    /// OOM event and a look into the kernel's log. If a verb has killed the container, it has stored the exit
    /// meanwhile.
    fn apply_die(self: &Arc<Self>, event: &Event) {
        let (watch, id) = (Arc::clone(self), event.actor.id.clone());
        if event.actor.attributes.get("exitCode").is_none_or(|code| code != KILLED) {
            return self.refresh_in_background(id);
        }
        tokio::spawn(async move {
            let until = tokio::time::Instant::now() + OOM_LAG;
            while tokio::time::Instant::now() < until && !watch.refresher.has_oom_kill(&id) {
                tokio::time::sleep(OOM_POLL).await;
            }
            if !watch.awaits_exit(&id) {
                return;
            }
            if !watch.refresher.has_oom_kill(&id) && oom_killed_in_kernel_log(&id).await {
                watch.refresher.record_oom_kill(&id);
            }
            watch.refresh_in_background(id);
        });
    }

    /// Whether this is a container or sandbox whose exit is not stored yet.
    fn awaits_exit(&self, id: &str) -> bool {
        let index = self.store.index();
        let container = index.containers.get(id).map(|c| c.process.exit().is_none());
        container.or_else(|| index.sandboxes.get(id).map(|s| s.process.exit().is_none())).unwrap_or(false)
    }

    fn apply_destroy(&self, id: String) {
        let refresher = self.refresher.clone();
        tokio::spawn(async move { refresher.mark_gone(&id).await });
    }

    fn apply_exec_die(&self, event: &Event) {
        let attributes = &event.actor.attributes;
        let code = attributes.get("exitCode").and_then(|code| code.parse().ok());
        if let (Some(id), Some(code)) = (attributes.get("execID"), code) {
            self.engine.record_exec_exit(id, code);
        }
    }
}

async fn oom_killed_in_kernel_log(id: &str) -> bool {
    let name = id.to_owned();
    let searched = tokio::task::spawn_blocking(move || kernel_log::has_oom_kill(&name)).await;
    searched.map_err(std::io::Error::other).and_then(std::convert::identity).unwrap_or_else(|error| {
        tracing::debug!(container = id, %error, "could not search the kernel's log for an OOM kill");
        false
    })
}
