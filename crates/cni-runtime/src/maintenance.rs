//! CHECK, GC and STATUS.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::timeout;

use super::Cni;
use super::attach::several;
use super::attachment::Attachment;
use super::attachment::Parameters;
use super::chain;
use super::chain::AttachmentKey;
use super::chain::Chain;
use super::error::Error;
use super::netns;
use super::version::Version;

/// How long GC waits for ADDs and DELs in progress. New ones wait for GC.
const GC_WAIT: Duration = Duration::from_secs(3);

/// An attachment in the result cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedAttachment {
    /// Its container id and interface.
    pub key: AttachmentKey,
    /// The network namespace it was made in.
    pub netns: PathBuf,
}

impl Cni {
    /// All attachments in the cache, also of previous networks. If the cache directory is shared with another runtime,
    /// its attachments are among them.
    ///
    /// # Errors
    /// [`Error::Cache`].
    pub async fn cached_attachments(&self) -> Result<Vec<CachedAttachment>, Error> {
        let entries = self.with_cache(|cache| cache.all()).await?;
        let attachments = entries.into_iter().filter_map(|entry| {
            let Parameters { container_id, ifname, netns, .. } = entry.parameters;
            Some(CachedAttachment { key: AttachmentKey { container_id, ifname }, netns: netns? })
        });
        Ok(attachments.collect())
    }

    /// CHECK: asks the plugins whether an attachment is intact. Returns false without asking if the network's version has
    /// no CHECK or its `disableCheck` is set.
    ///
    /// # Errors
    /// [`Error::NotAttached`]; [`Error::Plugin`] when a plugin finds the attachment broken; [`Error::Parameter`],
    /// [`Error::Cache`].
    pub async fn check(&self, attachment: &Attachment) -> Result<bool, Error> {
        let Parameters { container_id, ifname, .. } = self.parameters(attachment)?;
        let _shared = self.operations.read().await;
        let id = container_id.clone();
        let found = self.with_cache(move |cache| cache.find(&id, &ifname)).await?;
        let attached = found.entries.iter().find_map(|entry| Some((entry, entry.result.as_ref()?)));
        let Some((entry, result)) = attached else {
            return Err(Error::NotAttached { container_id });
        };
        let network = &entry.network;
        if network.version < Version::WITH_CHECK || network.disable_check {
            return Ok(false);
        }
        // The parameters of ADD, as section 2 requires.
        let chain = Chain { network, runner: &self.runner, parameters: &entry.parameters };
        chain.check(result).await?;
        Ok(true)
    }

    /// GC: removes stale attachments of the current network, by DEL for those in the cache and then by the plugins' GC.
    /// Does nothing if the network's `disableGC` is set.
    ///
    /// `valid` returns the attachments to keep. It is called while no ADD or DEL is in progress, and must include every
    /// container for which an ADD may have begun.
    ///
    /// # Errors
    /// [`Error::Busy`] when an ADD or DEL in progress did not finish in time; [`Error::Several`] with every failure.
    pub async fn gc(&self, valid: impl FnOnce() -> Vec<AttachmentKey>) -> Result<(), Error> {
        let Ok(network) = self.usable_network() else {
            return Ok(());
        };
        if network.disable_gc {
            return Ok(());
        }
        let _exclusive = timeout(GC_WAIT, self.operations.write()).await.map_err(|_| Error::Busy)?;
        let valid = valid();
        let name = network.name.clone();
        let entries = self.with_cache(move |cache| cache.of_network(&name)).await?;
        let mut errors = Vec::new();
        for entry in entries {
            let Parameters { container_id, ifname, netns, .. } = entry.parameters.clone();
            if valid.contains(&AttachmentKey { container_id: container_id.clone(), ifname }) {
                continue;
            }
            tracing::info!(container = container_id, network = network.name, "detaching a stale container");
            // The pid in `/proc/<pid>/ns/net` may have been reused by another container.
            let netns = netns.filter(|path| netns::is_pinned(path) && !path.starts_with("/proc"));
            errors.extend(self.del_entry(&entry, netns).await.err());
        }
        errors.extend(chain::gc(&network, &self.runner, &valid).await.into_iter().map(Error::Plugin));
        several("collect garbage", errors)
    }

    /// STATUS: asks the plugins whether they can serve an ADD. Succeeds without asking for networks before version 1.1.0,
    /// which have no STATUS.
    ///
    /// # Errors
    /// [`Error::NoNetwork`]; [`Error::Plugin`] of the first plugin that reports a problem. Code 50 means that ADD would
    /// fail, 51 that attached containers may have limited connectivity as well.
    pub async fn plugin_status(&self) -> Result<(), Error> {
        let network = self.usable_network()?;
        Ok(chain::status(&network, &self.runner).await?)
    }
}

#[cfg(test)]
mod tests;
