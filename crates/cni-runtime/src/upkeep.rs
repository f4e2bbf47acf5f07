//! Looking after what is attached: checking it, collecting garbage, asking the plugins how they are.

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

/// How long garbage collection waits for the attachments that are under way. New ones wait behind it.
const GC_PATIENCE: Duration = Duration::from_secs(3);

/// An attachment that the cache knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub key: AttachmentKey,
    /// The network namespace that it was made in.
    pub netns: PathBuf,
}

impl Cni {
    /// All attachments in the cache, of this network and of former ones. With a cache that is shared with another
    /// runtime, they need not be ours.
    ///
    /// # Errors
    /// [`Error::Cache`].
    pub async fn known(&self) -> Result<Vec<Known>, Error> {
        let entries = self.with_cache(|cache| cache.all()).await?;
        let known = entries.into_iter().filter_map(|entry| {
            let Parameters { container_id, ifname, netns, .. } = entry.parameters;
            Some(Known { key: AttachmentKey { container_id, ifname }, netns: netns? })
        });
        Ok(known.collect())
    }

    /// Asks the plugins whether an attachment is as it should be: `CHECK`. False when the network's version
    /// or its `disableCheck` forbids asking.
    ///
    /// # Errors
    /// [`Error::NotAttached`]; [`Error::Plugin`] when something is wrong with the attachment;
    /// [`Error::Parameter`], [`Error::Cache`].
    pub async fn check(&self, attachment: &Attachment) -> Result<bool, Error> {
        let Parameters { container_id, ifname, .. } = self.parameters(attachment)?;
        let _turn = self.turns.read().await;
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
        // With the parameters of ADD, as section 2 demands.
        let chain = Chain { network, runner: &self.runner, parameters: &entry.parameters };
        chain.check(result).await?;
        Ok(true)
    }

    /// Cleans up after attachments that nobody detached: `DEL` for those in the cache, then `GC`. Only
    /// attachments to the current network are looked at. Does nothing when its `disableGC` forbids it.
    ///
    /// `valid` tells which attachments may stay. It is asked when no `add` or `del` is under way, so that it
    /// must name every sandbox for which an `add` may have been begun.
    ///
    /// # Errors
    /// [`Error::Busy`] when attachments under way did not end in time; [`Error::Several`] with everything
    /// that failed.
    pub async fn gc(&self, valid: impl FnOnce() -> Vec<AttachmentKey>) -> Result<(), Error> {
        let Ok(network) = self.usable_network() else {
            return Ok(());
        };
        if network.disable_gc {
            return Ok(());
        }
        let _alone = timeout(GC_PATIENCE, self.turns.write()).await.map_err(|_| Error::Busy)?;
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
            // The number in `/proc/<pid>/ns/net` may belong to another pod by now.
            let netns = netns.filter(|path| netns::is_pinned(path) && !path.starts_with("/proc"));
            errors.extend(self.del_entry(&entry, netns).await.err());
        }
        errors.extend(chain::gc(&network, &self.runner, &valid).await.into_iter().map(Error::Plugin));
        several("collect garbage", errors)
    }

    /// Asks the plugins whether they could attach a container now: `STATUS`. Without a question to ask,
    /// before version 1.1.0, the answer is yes.
    ///
    /// # Errors
    /// [`Error::NoNetwork`]; [`Error::Plugin`] of the first plugin that could not. Code 50 means that `ADD`
    /// would fail, 51 that attached containers may have trouble too.
    pub async fn plugin_status(&self) -> Result<(), Error> {
        let network = self.usable_network()?;
        Ok(chain::status(&network, &self.runner).await?)
    }
}

#[cfg(test)]
mod tests;
