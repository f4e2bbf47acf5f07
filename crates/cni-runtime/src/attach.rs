//! ADD and DEL: attaching a container to the network, and detaching it.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use serde_json::Map;
use serde_json::Value;

use super::Cni;
use super::attachment::Attachment;
use super::attachment::BANDWIDTH;
use super::attachment::PORT_MAPPINGS;
use super::attachment::Parameters;
use super::builtin;
use super::cache;
use super::cache::Cache;
use super::cache::Entry;
use super::chain::Chain;
use super::conf::Network;
use super::error::Error;
use super::netns;
use super::result::AddResult;

/// The outcome of an ADD.
#[derive(Clone, Debug, PartialEq)]
pub struct Attached {
    /// The name of the network.
    pub network: String,
    /// The addresses of the container's interface, the primary one first; never empty.
    pub ips: Vec<IpAddr>,
    /// The result of the last plugin.
    pub result: AddResult,
    /// The result as JSON, with keys that this crate does not know.
    pub raw: Map<String, Value>,
}

impl Cni {
    /// ADD: attaches a container to the network. If a plugin fails, DEL is run over the whole chain.
    ///
    /// # Errors
    /// [`Error::NoNetwork`], [`Error::Parameter`], [`Error::HostPorts`] and [`Error::Cache`] before any plugin ran;
    /// [`Error::Add`] afterwards, which says whether the undo succeeded.
    pub async fn add(&self, attachment: &Attachment) -> Result<Attached, Error> {
        let network = self.usable_network()?;
        let parameters = self.parameters(attachment)?;
        if parameters.netns.is_none() {
            let reason = "it is needed to attach the container";
            return Err(Error::Parameter { what: "network namespace", value: String::new(), reason });
        }
        check_capabilities(&network, attachment)?;
        let network = builtin::for_attachment(network, &parameters.capability_args);
        let _shared = self.operations.read().await;
        // Before the first plugin runs, so that DEL finds the configuration even if this process is killed.
        self.store(&network, &parameters, None).await?;
        let chain = Chain { network: &network, runner: &self.runner, parameters: &parameters };
        let mut last = None;
        let outcome = match chain.add(&mut last).await {
            Ok(()) => self.finish(&network, &parameters, last.as_ref()).await,
            Err(error) => Err(Error::Plugin(error)),
        };
        match outcome {
            Ok(attached) => Ok(attached),
            Err(cause) => Err(self.undo(&chain, last, cause).await),
        }
    }

    async fn finish(
        &self,
        network: &Network,
        parameters: &Parameters,
        raw: Option<&Map<String, Value>>,
    ) -> Result<Attached, Error> {
        let unusable = |reason| Error::Result { network: network.name.clone(), reason };
        let raw = raw.cloned().unwrap_or_default();
        let result = AddResult::parse(&raw).map_err(unusable)?;
        let ips = result.pod_ips(&parameters.ifname);
        if ips.is_empty() {
            return Err(unusable("it has no IP address".to_owned()));
        }
        self.store(network, parameters, Some(&raw)).await?;
        Ok(Attached { network: network.name.clone(), ips, result, raw })
    }

    async fn undo(&self, chain: &Chain<'_>, last: Option<Map<String, Value>>, cause: Error) -> Error {
        let (network, parameters) = (chain.network, chain.parameters);
        let failures = chain.undo(last.as_ref()).await;
        let undo = several("delete it", failures.into_iter().map(Error::Plugin).collect()).err();
        let noted = match &undo {
            None => self.forget(network, parameters).await,
            // Kept until DEL succeeds; with the result, DEL knows what to remove.
            Some(_) => self.store(network, parameters, last.as_ref()).await,
        };
        if let Err(error) = noted {
            tracing::warn!(container = parameters.container_id, %error, "result cache not updated");
        }
        Error::Add {
            container_id: parameters.container_id.clone(),
            network: network.name.clone(),
            cause: Box::new(cause),
            undo: undo.map(Box::new),
        }
    }

    /// DEL: detaches a container, with the configuration it was attached with. Can be repeated. A namespace that does not
    /// exist any more is not passed to the plugins.
    ///
    /// # Errors
    /// [`Error::Plugin`] when a plugin failed: the caller must repeat DEL until it succeeds. [`Error::Parameter`],
    /// [`Error::Cache`].
    pub async fn del(&self, attachment: &Attachment) -> Result<(), Error> {
        let mut parameters = self.parameters(attachment)?;
        parameters.netns = parameters.netns.filter(|path| netns::is_pinned(path));
        let _shared = self.operations.read().await;
        let found = {
            let (id, ifname) = (parameters.container_id.clone(), parameters.ifname.clone());
            self.with_cache(move |cache| cache.find(&id, &ifname)).await?
        };
        for entry in found.entries.iter() {
            self.del_entry(entry, parameters.netns.clone()).await?;
        }
        if found.entries.is_empty() {
            self.del_unknown(&parameters).await?;
        }
        for (path, reason) in found.damaged {
            tracing::warn!(path = %path.display(), reason, "removing a damaged entry of the result cache");
            self.with_cache(move |_| cache::remove(&path)).await?;
        }
        self.with_cache(move |_| found.drafts.iter().try_for_each(|path| cache::remove(path))).await
    }

    pub(super) async fn del_entry(&self, entry: &Entry, netns: Option<PathBuf>) -> Result<(), Error> {
        let parameters = Parameters { netns, ..entry.parameters.clone() };
        let chain = Chain { network: &entry.network, runner: &self.runner, parameters: &parameters };
        chain.del(entry.result.as_ref()).await?;
        let path = entry.path().to_owned();
        self.with_cache(move |_| cache::remove(&path)).await
    }

    /// DEL for a container without a cache entry: with the current network's plugins, in case the cache was lost.
    async fn del_unknown(&self, parameters: &Parameters) -> Result<(), Error> {
        let network = match self.usable_network() {
            Ok(network) => network,
            Err(error) => {
                tracing::warn!(
                    container = parameters.container_id,
                    %error,
                    "no cached attachment and no network: assuming that the container is detached"
                );
                return Ok(());
            }
        };
        let chain = Chain { network: &network, runner: &self.runner, parameters };
        Ok(chain.del(None).await?)
    }

    pub(super) fn parameters(&self, attachment: &Attachment) -> Result<Parameters, Error> {
        attachment.parameters(self.pod_cidrs.read().as_ref())
    }

    async fn store(
        &self,
        network: &Network,
        parameters: &Parameters,
        result: Option<&Map<String, Value>>,
    ) -> Result<(), Error> {
        let (network, parameters, result) = (network.clone(), parameters.clone(), result.cloned());
        self.with_cache(move |cache| cache.store(&network, &parameters, result.as_ref())).await
    }

    async fn forget(&self, network: &Network, parameters: &Parameters) -> Result<(), Error> {
        let (network, parameters) = (network.name.clone(), parameters.clone());
        self.with_cache(move |cache| cache.remove(&network, &parameters)).await
    }

    /// Runs `work` on a thread for blocking I/O.
    pub(super) async fn with_cache<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Cache) -> Result<T, Error> + Send + 'static,
    {
        let cache = self.cache.clone();
        match tokio::task::spawn_blocking(move || work(&cache)).await {
            Ok(outcome) => outcome,
            Err(error) => Err(Error::Cache {
                action: "use",
                path: self.config.cache_dir.clone(),
                source: io::Error::other(error),
            }),
        }
    }
}

/// Refuses host ports that no plugin would open, and warns about bandwidth limits without a plugin.
fn check_capabilities(network: &Network, attachment: &Attachment) -> Result<(), Error> {
    if let Some(port) = attachment.first_host_port()
        && !network.has_capability(PORT_MAPPINGS)
    {
        let (network, from) = (network.name.clone(), network.source.to_string());
        return Err(Error::HostPorts { port, network, from });
    }
    if attachment.bandwidth.is_some() && !network.has_capability(BANDWIDTH) {
        tracing::warn!(
            container = attachment.container_id,
            network = network.name,
            "the pod's bandwidth limit has no effect: the network has no plugin with the capability"
        );
    }
    Ok(())
}

/// Combines any number of failures into one result.
pub(super) fn several(action: &str, mut causes: Vec<Error>) -> Result<(), Error> {
    match causes.len() {
        0 => Ok(()),
        1 => Err(causes.remove(0)),
        _ => Err(Error::Several { action: action.to_owned(), causes }),
    }
}

#[cfg(test)]
mod tests;
