//! Reconciles the index with Docker by one listing, at the start of a session.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;

use crate::docker;
use crate::docker::ContainerEntry;
use crate::lifecycle::Lifecycle;
use crate::naming;
use crate::state::Process;
use crate::state::key_of;

use super::Watch;

/// How many containers are inspected concurrently.
const INSPECT_AT_ONCE: usize = 8;
/// For one inspect. Docker does not answer for a container while it starts it, which can hang on a dead file system.
const INSPECT_LIMIT: Duration = Duration::from_secs(10);
/// For the list of images, which the state of containers does not depend on.
const IMAGES_LIMIT: Duration = Duration::from_secs(30);

impl Watch {
    /// Makes the index agree with Docker. For a container that Docker cannot inspect, or not in time, the listing is
    /// applied, and the inspect repeated in the background. Images that cannot be listed are listed again later, too.
    ///
    /// # Errors
    /// When Docker does not answer at all, or does not answer for a container that has exited.
    pub(super) async fn reconcile(self: &Arc<Self>) -> Result<(), docker::Error> {
        self.list_images().await;
        // The ids are collected before the listing: a container created after it must not be taken for gone.
        let index = self.store.index();
        let sandboxes = index.sandboxes.list().into_iter().map(|sandbox| sandbox.record.id.clone());
        let containers = index.containers.list().into_iter().map(|container| container.record.id.clone());
        let known: Vec<String> = sandboxes.chain(containers).collect();
        let rows = self.engine.list_containers(naming::TYPE).await?;
        self.adopt_damaged(&rows);
        let present: HashSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        let (listed, gone): (Vec<String>, Vec<String>) =
            known.into_iter().partition(|id| present.contains(id.as_str()));
        // Concurrently: each may have to wait for its log.
        join_all(gone.iter().map(|id| self.refresher.mark_gone(id))).await;
        let refresher = &self.refresher.with_timeout(INSPECT_LIMIT);
        let refresh = |id: String| async move { (self.refresh(refresher, &id).await, id) };
        let mut refreshed = stream::iter(listed).map(refresh).buffer_unordered(INSPECT_AT_ONCE);
        while let Some((result, id)) = refreshed.next().await {
            let Err(error) = result else { continue };
            if !error.is_unanswered() {
                self.apply_listing(&rows, &id);
                self.refresh_in_background(id);
                continue;
            }
            // Docker may fail to answer for this container alone.
            self.within_ping_limit(self.engine.ping()).await?;
            tracing::warn!(container = id, %error, "could not refresh the state of a container yet");
            match rows.iter().find(|row| row.id == id).map(|row| row.state.as_str()) {
                Some("running" | "paused") => {
                    self.apply_listing(&rows, &id);
                    self.refresh_in_background(id);
                }
                // Docker may be starting it.
                Some("created") if index.containers.get(&id).is_some() => self.store.set_unsettled(&id, true),
                Some("created") => self.refresh_in_background(id),
                // Its exit code is not known, and a kubelet would run a completed job again.
                _ => return Err(error),
            }
        }
        Ok(())
    }

    /// Lists the images. One with damaged files can keep Docker from listing any, which must not keep the node down.
    async fn list_images(&self) {
        let listing = async {
            self.images.ensure_builtin_pause().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "could not load the pause image; the next pod tries again");
            });
            self.images.refresh().await
        };
        match tokio::time::timeout(IMAGES_LIMIT, listing).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => tracing::warn!(%error, "could not list the images yet"),
            Err(_) => tracing::warn!("could not list the images within {IMAGES_LIMIT:?}"),
        }
        self.images_changed.notify_one();
    }

    /// Stores that a container runs, by the listing alone, as Docker cannot inspect it: a kubelet must not take its pod
    /// for finished. The start time is not known, so the time of creation stands for it.
    fn apply_listing(&self, rows: &[ContainerEntry], id: &str) {
        if !rows.iter().any(|row| row.id == *id && matches!(row.state.as_str(), "running" | "paused")) {
            return;
        }
        let index = self.store.index();
        let created_at = index.containers.get(id).map(|container| container.record.created_at);
        let created_at = created_at.or_else(|| index.sandboxes.get(id).map(|sandbox| sandbox.record.created_at));
        self.store.update_process(id, |known| match known {
            Process::Running { .. } => known.clone(),
            _ => known.started(created_at.unwrap_or_default()),
        });
    }

    /// Hands containers with a damaged record to the rooms that remove them like unfinished ones, so that a client can
    /// create them again. They are recognized by name: the labels may be the image's.
    fn adopt_damaged(&self, rows: &[ContainerEntry]) {
        for row in rows
            .iter()
            .filter(|row| !self.store.index().contains(&row.id) && self.damaged.contains(&key_of(row.name())))
        {
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
