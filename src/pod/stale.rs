//! Stale attachments: those without a record. A damaged record or a lost state directory leaves them in the pod network,
//! where each keeps an address.

use std::sync::Arc;

use crate::error::Error;
use cni_runtime as cni;
use cni_runtime::Attachment;
use cni_runtime::CachedAttachment;

use super::Pods;
use super::network::blocking;
use super::network::key_of_netns;

impl Pods {
    /// Detaches stale attachments. To be called after the index was reconciled with Docker.
    ///
    /// An attachment is stale if Dockside made it, it has no record, Docker has no container for it, and no process is in
    /// its namespace. The CNI cache, the network and the directory of namespaces may be shared with other runtimes and
    /// with a second Dockside, so CNI GC, which removes everything that is not listed in the request, is not used.
    pub(crate) async fn detach_stale(&self) {
        let known = match self.cni.cached_attachments().await {
            Ok(known) => known,
            Err(error) => return tracing::warn!(%error, "could not look for stale attachments to the pod network"),
        };
        for attachment in known {
            let Some(key) = key_of_netns(&attachment.netns) else { continue };
            // A verb that is making this sandbox holds its lock.
            let Some(_guard) = self.store.try_lock(key) else { continue };
            let container = attachment.key.container_id.clone();
            match self.detach_if_stale(key, attachment.clone()).await {
                Ok(true) => tracing::info!(container, "detached a pod without a record from its network"),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(container, %error, "could not detach a pod without a record from its network")
                }
            }
        }
        tracing::debug!("looked for stale attachments to the pod network");
    }

    async fn detach_if_stale(
        &self,
        key: &str,
        CachedAttachment { key: id, netns }: CachedAttachment,
    ) -> Result<bool, Error> {
        if self.store.sandboxes.has_record(key) || self.unfinished.get(key).is_some() {
            return Ok(false);
        }
        match self.engine.inspect_container(&id.container_id).await {
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(false),
        }
        let path = netns.clone();
        if blocking(&netns, move || cni::is_inhabited(&path)).await? {
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
