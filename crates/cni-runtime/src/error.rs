//! What can go wrong in this room.

use std::io;
use std::path::PathBuf;

use super::failure::PluginError;

/// An operation on the pod network that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no network to attach to; the text is the one [`status`](super::Cni::status) shows.
    #[error("could not find a pod network: {reason}")]
    NoNetwork {
        /// Why there is none.
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

    /// Not a range (or one of each family) that pods can get addresses from.
    #[error("could not use pod CIDR `{value}`: {reason}")]
    PodCidr {
        /// What was given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },

    /// Host ports were asked for, and no plugin of the network can open them.
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

    /// A plugin could not be run, or reported an error.
    #[error(transparent)]
    Plugin(#[from] PluginError),

    /// The chain succeeded, but what it returned cannot be used.
    #[error("could not use the result of network {network}: {reason}")]
    Result {
        /// The network.
        network: String,
        /// What is wrong with the result.
        reason: String,
    },

    /// `ADD` failed after the first plugin was started, so that `DEL` was run over the whole chain.
    #[error("could not add container {container_id} to network {network}: {cause}{}", undo_text(.undo))]
    Add {
        /// The container.
        container_id: String,
        /// The network.
        network: String,
        /// Why it failed.
        cause: Box<Error>,
        /// Why the undo failed; `None` when it succeeded and nothing is left of the attempt.
        undo: Option<Box<Error>>,
    },

    /// Several things went wrong, each of which was reported and did not keep the others from being done.
    #[error("could not {action}: {}", joined(.causes))]
    Several {
        /// What was being done.
        action: String,
        /// Why it failed, one for each failure.
        causes: Vec<Error>,
    },

    /// `CHECK` needs an attachment that was added and not deleted.
    #[error("could not check container {container_id}: it is not attached to a network")]
    NotAttached {
        /// The container.
        container_id: String,
    },

    /// Garbage collection must have the network for itself (section 3), and did not get it in time.
    #[error("could not collect garbage: pods are being attached or detached")]
    Busy,

    /// A file of the result cache.
    #[error("could not {action} {path}: {source}", path = .path.display())]
    Cache {
        /// What was being done.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },

    /// A network namespace file.
    #[error("could not {action} {path}: {source}", path = .path.display())]
    Netns {
        /// What was being done.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },

    /// The process lives in Dockside's own network namespace: pinning that for a pod would let the
    /// plugins rewire the node.
    #[error("could not pin the network namespace of process {pid}: it is the node's own")]
    HostNamespace {
        /// The process.
        pid: u32,
    },
}

impl Error {
    /// Whether something may be left of the operation that failed, an address or a host port, so that
    /// [`del`](super::Cni::del) must still be called until it succeeds.
    pub fn may_have_left_something(&self) -> bool {
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
