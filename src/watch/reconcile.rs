//! What happened while nobody watched.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;

use crate::docker;
use crate::docker::ContainerEntry;
use crate::naming;
use crate::observe;
use crate::state::Process;
use crate::state::key_of;

use super::Watch;

/// How many containers are inspected at a time.
const INSPECT_AT_ONCE: usize = 8;
/// And for how long at most: Docker does not tell of a container that it is just starting, which may take for ever where a
/// file system does not answer.
const INSPECT_LIMIT: Duration = Duration::from_secs(10);
/// The images are waited for so long. No container is less true without them.
const IMAGES_LIMIT: Duration = Duration::from_secs(30);

impl Watch {
    /// Makes the index agree with Docker. A container that Docker cannot tell of, for a file of it that is damaged, or not
    /// soon, is as the listing says, and is asked for again later. So are the images.
    ///
    /// # Errors
    /// When Docker does not answer.
    pub(super) async fn reconcile(self: &Arc<Self>) -> Result<(), docker::Error> {
        self.look_at_images().await;
        // The ids are taken first: what is made after the listing must not seem to be gone.
        let sandboxes = self.store.sandboxes().into_iter().map(|sandbox| sandbox.record.id.clone());
        let containers = self.store.containers().into_iter().map(|container| container.record.id.clone());
        let known: Vec<String> = sandboxes.chain(containers).collect();
        let rows = self.engine.list_containers(naming::TYPE).await?;
        self.adopt_damaged(&rows);
        let present: HashSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        let (here, away): (Vec<String>, Vec<String>) = known.into_iter().partition(|id| present.contains(id.as_str()));
        // Side by side: each end may have to wait for its log.
        join_all(away.iter().map(|id| observe::gone(&self.store, self.containers.logs(), id))).await;
        let engine = &self.engine.with_timeout(INSPECT_LIMIT);
        let look = |id: String| async move { (self.refresh_by(engine, &id).await, id) };
        let mut looks = stream::iter(here).map(look).buffer_unordered(INSPECT_AT_ONCE);
        while let Some((seen, id)) = looks.next().await {
            let Err(error) = seen else { continue };
            if !error.is_unanswered() {
                self.believe_listing(&rows, &id);
                self.learn(id);
                continue;
            }
            // It may be for this container alone.
            self.within(self.engine.ping()).await?;
            tracing::warn!(container = id, %error, "could not learn the state of a container yet");
            match rows.iter().find(|row| row.id == id).map(|row| row.state.as_str()) {
                Some("running" | "paused") => {
                    self.believe_listing(&rows, &id);
                    self.learn(id);
                }
                // Docker may be just starting it.
                Some("created") if self.store.container(&id).is_some() => self.store.set_unsettled(&id, true),
                Some("created") => self.learn(id),
                // How it ended is not known, and a kubelet would run a job again that is done.
                _ => return Err(error),
            }
        }
        Ok(())
    }

    /// An image whose files are damaged can keep Docker from listing any; pods run all the same.
    async fn look_at_images(&self) {
        let looking = async {
            self.images.ensure_builtin_pause().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "the pause image is not ready; it is tried again with the first pod");
            });
            self.images.refresh().await
        };
        match tokio::time::timeout(IMAGES_LIMIT, looking).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => tracing::warn!(%error, "could not list the images yet"),
            Err(_) => tracing::warn!("could not list the images within {IMAGES_LIMIT:?}"),
        }
        self.images_changed.notify_one();
    }

    /// What the listing says of a container that Docker cannot tell more of: a pod that runs must not seem to be over.
    fn believe_listing(&self, rows: &[ContainerEntry], id: &str) {
        if !rows.iter().any(|row| row.id == *id && matches!(row.state.as_str(), "running" | "paused")) {
            return;
        }
        let made = self.store.container(id).map(|container| container.record.created_at);
        let made = made.or_else(|| self.store.sandbox(id).map(|sandbox| sandbox.record.created_at));
        self.store.change_process(id, |known| match known {
            Process::Running { .. } => known.clone(),
            _ => known.started(made.unwrap_or_default()),
        });
    }

    /// A container whose record cannot be read is nobody's any more: it is removed like a half-made one, so that its
    /// client can make it anew. The name tells, as the labels may be those of its image.
    fn adopt_damaged(&self, rows: &[ContainerEntry]) {
        for row in rows.iter().filter(|row| !self.store.knows(&row.id) && self.damaged.contains(&key_of(row.name()))) {
            tracing::error!(container = row.name(), "removing a container whose record is damaged");
            if row.name().starts_with(naming::SANDBOX_PREFIX) {
                self.pods.adopt_damaged(row.name(), &row.id);
            } else {
                self.containers.adopt_damaged(row.name(), &row.id);
            }
        }
    }
}

#[cfg(test)]
mod tests;
