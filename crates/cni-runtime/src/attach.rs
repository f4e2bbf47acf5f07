//! Attaching a container to the pod network, and detaching it.

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

/// A container that is attached to a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Attached {
    /// The name of the network.
    pub network: String,
    /// The addresses of the container's interface, the primary one first. At least one.
    pub ips: Vec<IpAddr>,
    /// The network's answer.
    pub result: AddResult,
    /// The network's answer as it was given.
    pub raw: Map<String, Value>,
}

impl Cni {
    /// Attaches a container to the pod network: `ADD`.
    ///
    /// # Errors
    /// [`Error::NoNetwork`], [`Error::Parameter`], [`Error::HostPorts`] and [`Error::Cache`] before anything
    /// was done; [`Error::Add`] when it was begun and undone, with a note if the undo failed too.
    pub async fn add(&self, attachment: &Attachment) -> Result<Attached, Error> {
        let network = self.usable_network()?;
        let parameters = self.parameters(attachment)?;
        if parameters.netns.is_none() {
            let reason = "it is needed to attach the container";
            return Err(Error::Parameter { what: "network namespace", value: String::new(), reason });
        }
        check_capabilities(&network, attachment)?;
        let network = builtin::for_attachment(network, &parameters.capability_args);
        let _turn = self.turns.read().await;
        // Before the first plugin: should Dockside be killed now, DEL still knows the configuration.
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
            // Stays until DEL succeeds, and with the result DEL knows what to look for.
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

    /// Detaches a container: `DEL`, with the configuration it was attached with, also if that was another
    /// network's. Repeating it is fine. A namespace that is absent or has vanished is left out.
    ///
    /// # Errors
    /// [`Error::Plugin`] when a plugin failed: it must be repeated until it succeeds. [`Error::Parameter`],
    /// [`Error::Cache`].
    pub async fn del(&self, attachment: &Attachment) -> Result<(), Error> {
        let mut parameters = self.parameters(attachment)?;
        parameters.netns = parameters.netns.filter(|path| netns::is_pinned(path));
        let _turn = self.turns.read().await;
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

    /// Detaches a container that was, as far as the cache knows, never attached. The plugins of the current
    /// network are asked in case the cache was lost.
    async fn del_unknown(&self, parameters: &Parameters) -> Result<(), Error> {
        let network = match self.usable_network() {
            Ok(network) => network,
            Err(error) => {
                tracing::warn!(
                    container = parameters.container_id,
                    %error,
                    "nothing is known of the container's network: taken to be detached"
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

    /// Works on the cache where it may block on the disk.
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

/// Refuses what would otherwise be dropped in silence.
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

/// No error, the only one, or all of them in one.
pub(super) fn several(action: &str, mut causes: Vec<Error>) -> Result<(), Error> {
    match causes.len() {
        0 => Ok(()),
        1 => Err(causes.remove(0)),
        _ => Err(Error::Several { action: action.to_owned(), causes }),
    }
}

#[cfg(test)]
mod tests;
