//! Attachments that no record knows: what a damaged record or a lost state directory leaves in the pod network, such as
//! an address that no other pod gets.

use std::sync::Arc;

use crate::error::Error;
use cni_runtime as cni;
use cni_runtime::Attachment;
use cni_runtime::CachedAttachment;

use super::Pods;
use super::network::blocking;
use super::network::key_of_netns;

impl Pods {
    /// Detaches them. To be called when the records agree with Docker.
    ///
    /// Only what a Dockside has made, what no record speaks of, what Docker has no container for and where no process
    /// lives is touched: the cache, the network and the directory of namespaces may be shared with other runtimes and
    /// with a second Dockside. So the plugins' own garbage collection, which takes away all that it is not told of, is
    /// not asked for.
    pub async fn detach_stale(&self) {
        let known = match self.cni.cached_attachments().await {
            Ok(known) => known,
            Err(error) => return tracing::warn!(%error, "could not look for stale attachments to the pod network"),
        };
        for attachment in known {
            let Some(key) = key_of_netns(&attachment.netns) else { continue };
            // Whoever works on such a sandbox holds it.
            let Some(_guard) = self.store.try_lock(key) else { continue };
            let container = attachment.key.container_id.clone();
            match self.detach_if_stale(key, attachment.clone()).await {
                Ok(true) => tracing::info!(container, "detached a pod that no record knows from its network"),
                Ok(false) => {}
                Err(error) => tracing::warn!(container, %error, "could not detach a pod that no record knows"),
            }
        }
        tracing::debug!("looked for stale attachments to the pod network");
    }

    async fn detach_if_stale(
        &self,
        key: &str,
        CachedAttachment { key: id, netns }: CachedAttachment,
    ) -> Result<bool, Error> {
        if self.store.has_sandbox_record(key) || self.half_made.get(key).is_some() {
            return Ok(false);
        }
        match self.engine.inspect_container(&id.container_id).await {
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(false),
        }
        let looked_at = netns.clone();
        if blocking(&netns, move || cni::is_inhabited(&looked_at)).await? {
            return Ok(false);
        }
        let (container_id, ifname) = (id.container_id, id.ifname);
        let namespace = Some(netns.clone());
        self.cni.del(&Attachment { container_id, ifname, netns: namespace, ..Attachment::default() }).await?;
        let (cni, pinned) = (Arc::clone(&self.cni), netns.clone());
        blocking(&netns, move || cni.unpin_netns(&pinned)).await?;
        Ok(true)
    }
}
