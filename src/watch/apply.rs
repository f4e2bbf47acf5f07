//! What Docker's events change.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::docker;
use crate::docker::ConnectionState;
use crate::docker::Engine;
use crate::docker::Event;
use crate::observe;
use crate::state::Exit;
use crate::state::Process;

use super::Watch;
use super::kernel_log;

/// Between the first two attempts to learn what became of a container, and between later ones.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(10);
/// Between two looks whether there are containers to ask for again.
const SETTLE_EVERY: Duration = Duration::from_secs(2);
/// How much later than the end of a container it may be told that memory was the cause: 150 ms were seen on a busy
/// machine with Docker 20.10.
const OUT_OF_MEMORY_LAG: Duration = Duration::from_millis(250);
/// Between two looks whether it was told.
const OUT_OF_MEMORY_POLL: Duration = Duration::from_millis(10);
/// The exit code of a process that SIGKILL ended.
const KILLED: i32 = 137;

impl Watch {
    pub(super) fn apply(self: &Arc<Self>, event: &Event) {
        let id = event.actor.id.as_str();
        match (event.kind.as_str(), event.action.as_str()) {
            ("container", "start") => self.note_start(id),
            ("container", "oom") if self.store.knows(id) => self.note_out_of_memory(id),
            ("container", "exec_die") => self.tell_exec_end(event),
            ("container", "die") if self.store.knows(id) => self.learn_end(event),
            ("container", "destroy") => {
                self.out_of_memory.lock().remove(id);
                self.learn_removal(id.to_owned());
            }
            ("image", "pull" | "tag" | "untag" | "delete" | "import" | "load") => self.images_changed.notify_one(),
            ("daemon", "reload") => self.reloaded.notify_one(),
            _ => {}
        }
    }

    pub(super) async fn refresh(&self, id: &str) -> Result<(), docker::Error> {
        self.refresh_by(&self.engine, id).await
    }

    /// The same by an engine that has less time.
    pub(super) async fn refresh_by(&self, engine: &Engine, id: &str) -> Result<(), docker::Error> {
        observe::refresh(engine, &self.store, self.containers.logs(), id).await?;
        if self.out_of_memory.lock().contains(id) {
            self.mark_out_of_memory(id);
        }
        self.containers.follow_running_log(id).await;
        Ok(())
    }

    fn learn_removal(self: &Arc<Self>, id: String) {
        let watch = Arc::clone(self);
        tokio::spawn(async move { observe::gone(&watch.store, watch.containers.logs(), &id).await });
    }

    /// A start by a verb is told by that verb; one by a person's hand is looked up, as the event's own time can be
    /// later than the end of a process that was quick.
    fn note_start(self: &Arc<Self>, id: &str) {
        let Some((key, false)) = self.key_and_running(id) else { return };
        let (watch, id) = (Arc::clone(self), id.to_owned());
        tokio::spawn(async move {
            let guard = watch.store.lock(&key).await;
            let told = watch.key_and_running(&id).is_none_or(|(_, running)| running);
            drop(guard);
            if !told {
                watch.containers.adopt_log(&id);
                watch.learn(id);
            }
        });
    }

    fn key_and_running(&self, id: &str) -> Option<(String, bool)> {
        let container = self.store.container(id).map(|c| (c.record.key.clone(), c.process.is_running()));
        container.or_else(|| self.store.sandbox(id).map(|s| (s.record.key.clone(), s.process.is_running())))
    }

    /// An end by SIGKILL may be for want of memory, which Docker hears of by another way than of the end, sometimes later,
    /// and sometimes never. A client reads the reason once, when it sees the end; so that waits. A verb that killed the
    /// container has told its end by itself.
    fn learn_end(self: &Arc<Self>, event: &Event) {
        let (watch, id) = (Arc::clone(self), event.actor.id.clone());
        if event.actor.attributes.get("exitCode").is_none_or(|code| *code != KILLED.to_string()) {
            return self.learn(id);
        }
        tokio::spawn(async move {
            let until = tokio::time::Instant::now() + OUT_OF_MEMORY_LAG;
            while tokio::time::Instant::now() < until && !watch.out_of_memory.lock().contains(&id) {
                tokio::time::sleep(OUT_OF_MEMORY_POLL).await;
            }
            if !watch.awaits_end(&id) {
                return;
            }
            if !watch.out_of_memory.lock().contains(&id) && was_killed_for_memory(&id).await {
                watch.out_of_memory.lock().insert(id.clone());
            }
            watch.learn(id);
        });
    }

    /// Whether this is a container or sandbox whose end is not known yet.
    fn awaits_end(&self, id: &str) -> bool {
        let container = self.store.container(id).map(|c| c.process.exit().is_none());
        container.or_else(|| self.store.sandbox(id).map(|s| s.process.exit().is_none())).unwrap_or(false)
    }

    /// An event has an exit code, but not the exact time, nor whether memory was the cause: Docker is asked, until it
    /// has answered or is gone; the next connection begins with a look at everything.
    pub(super) fn learn(self: &Arc<Self>, id: String) {
        let watch = Arc::clone(self);
        tokio::spawn(async move {
            let mut pause = FIRST_RETRY;
            while let Err(error) = watch.refresh(&id).await {
                tracing::warn!(container = id, %error, "could not learn the state of a container");
                if matches!(watch.engine.connection().state(), ConnectionState::Down(_)) {
                    return;
                }
                tokio::time::sleep(pause).await;
                pause = LAST_RETRY.min(pause * 2);
            }
        });
    }

    /// Asks again what became of containers that Docker told nothing of when it was to start them.
    pub(super) async fn keep_settling(self: &Arc<Self>) {
        let mut asked = HashSet::new();
        loop {
            let mut unsettled = self.store.containers();
            unsettled.retain(|container| container.unsettled);
            asked.retain(|id| unsettled.iter().any(|container| container.record.id == *id));
            for container in unsettled {
                let id = &container.record.id;
                if asked.insert(id.clone()) {
                    self.learn(id.clone());
                }
            }
            tokio::time::sleep(SETTLE_EVERY).await;
        }
    }

    fn tell_exec_end(&self, event: &Event) {
        let attributes = &event.actor.attributes;
        let code = attributes.get("exitCode").and_then(|code| code.parse().ok());
        if let (Some(id), Some(code)) = (attributes.get("execID"), code) {
            self.engine.note_exec_end(id, code);
        }
    }

    fn note_out_of_memory(&self, id: &str) {
        self.out_of_memory.lock().insert(id.to_owned());
        self.mark_out_of_memory(id);
    }

    /// The kernel may have killed any process of the container; it is the container's end only if that was by KILL.
    fn mark_out_of_memory(&self, id: &str) {
        self.store.change_process(id, |process| match process {
            Process::Exited { started_at, exit } if exit.code == KILLED => {
                Process::Exited { started_at: *started_at, exit: Exit { oom_killed: true, ..exit.clone() } }
            }
            other => other.clone(),
        });
    }
}

async fn was_killed_for_memory(id: &str) -> bool {
    let name = id.to_owned();
    let looked = tokio::task::spawn_blocking(move || kernel_log::killed_for_memory(&name)).await;
    looked.map_err(std::io::Error::other).and_then(std::convert::identity).unwrap_or_else(|error| {
        tracing::debug!(container = id, %error, "could not look for a reason in the kernel's log");
        false
    })
}
