//! Address and credentials of the API server: from flags, a kubeconfig, or a pod's service account.

use std::path::Path;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use http::HeaderValue;

use super::Error;
use super::credentials::Credentials;
use super::kubeconfig::Cluster;
use super::kubeconfig::Kubeconfig;
use super::kubeconfig::User;

/// Where a pod's service account is mounted.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Flags that select the API server. Without any: $KUBECONFIG, the pod's service account, ~/.kube/config.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct AccessArgs {
    /// A kubeconfig file
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The kubeconfig context [default: current-context]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// The API server's URL, instead of a kubeconfig
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// The CA certificate that signed the API server's certificate
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) certificate_authority: Option<PathBuf>,
    /// The client certificate
    #[arg(long, global = true, value_name = "FILE", requires = "client_key")]
    pub(crate) client_certificate: Option<PathBuf>,
    /// The key of the client certificate
    #[arg(long, global = true, value_name = "FILE", requires = "client_certificate")]
    pub(crate) client_key: Option<PathBuf>,
    /// A file with a bearer token; it is reread every minute
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

/// Address, trusted CAs and credentials of an API server.
#[derive(Debug)]
pub(crate) struct Access {
    /// Without a trailing slash.
    server: String,
    pub(super) trust: Trust,
    /// The name in the server's certificate, if it differs from the URL's host.
    pub(super) server_name: Option<String>,
    /// Client certificate and key in PEM.
    pub(super) certificate: Option<(Vec<u8>, Vec<u8>)>,
    credentials: Credentials,
}

/// How the API server's certificate is verified.
#[derive(Debug)]
pub(super) enum Trust {
    /// CA certificates in PEM.
    Roots(Vec<u8>),
    /// The CAs of the operating system.
    System,
    /// Not at all (`insecure-skip-tls-verify`).
    SkipVerify,
}

impl AccessArgs {
    /// Resolves the flags.
    ///
    /// # Errors
    /// No source names an API server, or a file cannot be read.
    pub(crate) fn resolve(&self) -> Result<Access, Error> {
        let (cluster, user) = if self.server.is_some() {
            (Cluster::default(), User::default())
        } else if let Some(files) = self.kubeconfigs() {
            Kubeconfig::read(&files)?.context(self.context.as_deref())?
        } else if let Ok(host) = std::env::var("KUBERNETES_SERVICE_HOST") {
            in_cluster(&host)
        } else {
            let home = std::env::var("HOME").unwrap_or_default();
            Kubeconfig::read(&[Path::new(&home).join(".kube/config")])
                .map_err(|_| {
                    let message = "no API server is configured: set --kubeconfig or --server, or run in a pod";
                    Error::Config(message.into())
                })?
                .context(self.context.as_deref())?
        };
        self.with_flags(cluster, user)
    }

    fn kubeconfigs(&self) -> Option<Vec<PathBuf>> {
        if let Some(file) = &self.kubeconfig {
            return Some(vec![file.clone()]);
        }
        let files: Vec<_> = std::env::split_paths(&std::env::var_os("KUBECONFIG")?).collect();
        let named: Vec<_> = files.into_iter().filter(|file| !file.as_os_str().is_empty()).collect();
        (!named.is_empty()).then_some(named)
    }

    /// Flags override what was found.
    fn with_flags(&self, mut cluster: Cluster, mut user: User) -> Result<Access, Error> {
        if let Some(server) = &self.server {
            cluster.server.clone_from(server);
        }
        if let Some(file) = &self.certificate_authority {
            (cluster.certificate_authority, cluster.certificate_authority_data) = (Some(file.clone()), None);
        }
        if let (Some(certificate), Some(key)) = (&self.client_certificate, &self.client_key) {
            user = User {
                client_certificate: Some(certificate.clone()),
                client_key: Some(key.clone()),
                ..User::default()
            };
        }
        if let Some(file) = &self.token_file {
            user = User { token_file: Some(file.clone()), ..User::default() };
        }
        Access::new(&cluster, user)
    }
}

/// The cluster as seen from a pod.
fn in_cluster(host: &str) -> (Cluster, User) {
    let port = std::env::var("KUBERNETES_SERVICE_PORT").unwrap_or_else(|_| "443".into());
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let directory = Path::new(SERVICE_ACCOUNT);
    let cluster = Cluster {
        server: format!("https://{host}:{port}"),
        certificate_authority: Some(directory.join("ca.crt")),
        ..Cluster::default()
    };
    (cluster, User { token_file: Some(directory.join("token")), ..User::default() })
}

impl Access {
    fn new(cluster: &Cluster, user: User) -> Result<Access, Error> {
        if let Some(provider) = &user.auth_provider {
            let message = format!("kubeconfig: auth-provider {:?} is not supported, use exec", provider.name);
            return Err(Error::Config(message));
        }
        if let Some(proxy) = &cluster.proxy_url {
            return Err(Error::Config(format!("kubeconfig: proxy-url {proxy:?} is not supported")));
        }
        let authority = pem(
            "certificate-authority-data",
            cluster.certificate_authority.as_deref(),
            cluster.certificate_authority_data.as_deref(),
        )?;
        let trust = match authority {
            _ if cluster.insecure_skip_tls_verify => Trust::SkipVerify,
            Some(certificates) => Trust::Roots(certificates),
            None => Trust::System,
        };
        let certificate = pem(
            "client-certificate-data",
            user.client_certificate.as_deref(),
            user.client_certificate_data.as_deref(),
        )?;
        let key = pem("client-key-data", user.client_key.as_deref(), user.client_key_data.as_deref())?;
        Ok(Access {
            server: server(&cluster.server)?,
            trust,
            server_name: cluster.tls_server_name.clone(),
            certificate: certificate.zip(key),
            credentials: Credentials::new(user),
        })
    }

    pub(super) fn is_tls(&self) -> bool {
        self.server.starts_with("https:")
    }

    /// The server's URL.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server)
    }

    pub(super) async fn authorization(&self) -> Result<Option<HeaderValue>, Error> {
        self.credentials.header().await
    }
}

fn server(url: &str) -> Result<String, Error> {
    let bare = url.trim_end_matches('/');
    if bare.starts_with("https://") || bare.starts_with("http://") {
        return Ok(bare.to_owned());
    }
    Err(Error::Config(format!("the API server's URL {url:?} must start with https:// or http://")))
}

/// The content of the file, or of the field in base64.
fn pem(field: &str, file: Option<&Path>, data: Option<&str>) -> Result<Option<Vec<u8>>, Error> {
    if let Some(data) = data {
        let decoded = STANDARD.decode(data.trim());
        return decoded.map(Some).map_err(|error| Error::Config(format!("kubeconfig: {field}: {error}")));
    }
    let Some(path) = file else { return Ok(None) };
    let read = std::fs::read(path);
    read.map(Some).map_err(|error| Error::File { path: path.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_needs_a_scheme_and_no_slash() {
        assert_eq!(server("https://host:6443/").unwrap(), "https://host:6443");
        assert!(server("host:6443").is_err());
    }

    #[test]
    fn flags_win_over_a_kubeconfig() {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("config");
        let text = "{current-context: c, contexts: [{name: c, context: {cluster: c}}], \
                    clusters: [{name: c, cluster: {server: 'https://a'}}]}";
        std::fs::write(&config, text).unwrap();
        let args = AccessArgs { kubeconfig: Some(config.clone()), ..AccessArgs::default() };
        assert_eq!(args.resolve().unwrap().server(), "https://a");
        let args = AccessArgs { server: Some("http://b".into()), ..args };
        assert_eq!(args.resolve().unwrap().server(), "http://b");
    }

    #[test]
    fn unsupported_fields_are_named() {
        let cluster = Cluster { server: "https://a".into(), ..Cluster::default() };
        let proxied = Cluster { proxy_url: Some("socks5://p".into()), ..cluster.clone() };
        assert!(Access::new(&proxied, User::default()).unwrap_err().to_string().contains("proxy-url"));
        let bad = Cluster { certificate_authority_data: Some("%".into()), ..cluster };
        assert!(Access::new(&bad, User::default()).unwrap_err().to_string().contains("certificate-authority-data"));
    }
}
