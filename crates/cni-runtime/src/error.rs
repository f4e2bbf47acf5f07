//! The errors of [`Cni`](super::Cni).

use std::io;
use std::path::PathBuf;

use super::failure::PluginError;

/// An operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No usable network; the reason is the message of [`status`](super::Cni::status).
    #[error("could not find a pod network: {reason}")]
    NoNetwork {
        /// Why.
        reason: String,
    },

    /// A parameter breaks a rule of the CNI specification (section 3, attachment parameters).
    #[error("could not use {what} `{value}`: {reason}")]
    Parameter {
        /// Which parameter.
        what: &'static str,
        /// What was given.
        value: String,
        /// The rule.
        reason: &'static str,
    },

    /// Not one range, or one per address family, that can serve pods.
    #[error("could not use pod CIDR `{value}`: {reason}")]
    PodCidr {
        /// What was given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },

    /// Host ports were requested, and no plugin of the network can open them.
    #[error(
        "could not open host port {port}: network {network} has no plugin with the capability `portMappings`; \
         add the plugin `portmap` to {from}"
    )]
    HostPorts {
        /// The first host port asked for.
        port: u16,
        /// The network.
        network: String,
        /// Where the network was configured.
        from: String,
    },

    /// A plugin could not be run or failed.
    #[error(transparent)]
    Plugin(#[from] PluginError),

    /// All plugins succeeded, but the result is unusable.
    #[error("could not use the result of network {network}: {reason}")]
    Result {
        /// The network.
        network: String,
        /// What is wrong with the result.
        reason: String,
    },

    /// ADD failed after the first plugin was started; DEL was run over the whole chain.
    #[error("could not add container {container_id} to network {network}: {cause}{}", undo_text(.undo))]
    Add {
        /// The container.
        container_id: String,
        /// The network.
        network: String,
        /// Why it failed.
        cause: Box<Error>,
        /// Why DEL failed; `None` if it succeeded and no leftovers remain.
        undo: Option<Box<Error>>,
    },

    /// Several independent steps failed.
    #[error("could not {action}: {}", joined(.causes))]
    Several {
        /// What was being done.
        action: String,
        /// Why it failed, one for each failure.
        causes: Vec<Error>,
    },

    /// CHECK for a container that is not attached.
    #[error("could not check container {container_id}: it is not attached to a network")]
    NotAttached {
        /// The container.
        container_id: String,
    },

    /// GC must run alone (section 3), and an ADD or DEL in progress did not finish in time.
    #[error("could not collect garbage: pods are being attached or detached")]
    Busy,

    /// A file of the result cache could not be read or written.
    #[error("could not {action} {path}: {source}", path = .path.display())]
    Cache {
        /// What was being done.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },

    /// A network namespace could not be pinned, inspected or unpinned.
    #[error("could not {action} {path}: {source}", path = .path.display())]
    Netns {
        /// What was being done.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },

    /// The process is in the caller's own network namespace: plugins would reconfigure the node.
    #[error("could not pin the network namespace of process {pid}: it is the node's own")]
    HostNamespace {
        /// The process.
        pid: u32,
    },
}

impl Error {
    /// Whether leftovers such as an address or a host port may remain, so that [`del`](super::Cni::del) must be called
    /// until it succeeds.
    pub fn may_have_leftovers(&self) -> bool {
        matches!(self, Error::Add { undo: Some(_), .. })
    }
}

fn undo_text(undo: &Option<Box<Error>>) -> String {
    match undo {
        Some(error) => format!("; and could not undo it: {error}"),
        None => String::new(),
    }
}

fn joined(causes: &[Error]) -> String {
    let texts: Vec<String> = causes.iter().map(Error::to_string).collect();
    texts.join("; ")
}
