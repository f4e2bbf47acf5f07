//! Why the streaming server could not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("could not serve exec, attach and port-forward on {address}: {source}")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// The error of the system call.
        source: io::Error,
    },
    /// Only one of certificate and key is configured.
    #[error("streaming-tls-cert-file and streaming-tls-key-file must be set together: one of them is missing")]
    HalfTls,
    /// A TLS file cannot be read or used.
    #[error("could not use {} for TLS: {reason}", path.display())]
    Tls {
        /// The certificate's or the key's file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}
