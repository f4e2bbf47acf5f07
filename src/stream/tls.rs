//! TLS for the streaming server, where it is configured.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use super::error::Error;
use crate::config::StreamingConfig;

/// The acceptor of TLS connections; `None` when TLS is not configured.
///
/// # Errors
/// [`Error::Tls`] with the file that cannot be used; [`Error::HalfTls`].
pub(super) fn acceptor(config: &StreamingConfig) -> Result<Option<TlsAcceptor>, Error> {
    let (certificate, key) = match (&config.tls_certificate, &config.tls_key) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) => return Ok(None),
        _ => return Err(Error::HalfTls),
    };
    let failed = |path: &Path, reason: &dyn Display| Error::Tls { path: path.to_owned(), reason: reason.to_string() };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| failed(certificate, &error))?;
    let private_key = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, &error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private_key))
        .map_err(|error| failed(certificate, &error))?;
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}
