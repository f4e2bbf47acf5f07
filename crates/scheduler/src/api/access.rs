//! Where the API server is and who we are: from flags, a kubeconfig, or a pod's service account.

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

/// Where a pod finds its service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Flags that say which API server to talk to. Without any: $KUBECONFIG, the pod's service account, ~/.kube/config.
#[derive(Args, Clone, Debug, Default)]
pub struct AccessArgs {
    /// A kubeconfig file
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig [default: its current one]
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The API server's URL, instead of a kubeconfig
    #[arg(long, global = true, value_name = "URL")]
    pub server: Option<String>,
    /// The certificate that signed the API server's
    #[arg(long, global = true, value_name = "FILE")]
    pub certificate_authority: Option<PathBuf>,
    /// Our certificate
    #[arg(long, global = true, value_name = "FILE", requires = "client_key")]
    pub client_certificate: Option<PathBuf>,
    /// The key of our certificate
    #[arg(long, global = true, value_name = "FILE", requires = "client_certificate")]
    pub client_key: Option<PathBuf>,
    /// A file with a bearer token; it is read again from time to time
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// An API server, and how to be let in. Clients are made of it.
#[derive(Debug)]
pub struct Access {
    /// Without a slash at the end.
    server: String,
    pub(super) trust: Trust,
    /// The name in the server's certificate, where it is not that of the URL.
    pub(super) server_name: Option<String>,
    /// Certificate and key, in PEM.
    pub(super) certificate: Option<(Vec<u8>, Vec<u8>)>,
    credentials: Credentials,
}

/// Whom to believe to be the API server.
#[derive(Debug)]
pub(super) enum Trust {
    /// Certificates in PEM.
    These(Vec<u8>),
    /// What the machine trusts.
    System,
    Anybody,
}

impl AccessArgs {
    /// Finds out where the API server is.
    ///
    /// # Errors
    /// When nothing says so, or a file cannot be read.
    pub fn resolve(&self) -> Result<Access, Error> {
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
                    let told = "there is no API server to talk to: set --kubeconfig or --server, or run in a pod";
                    Error::Config(told.into())
                })?
                .context(self.context.as_deref())?
        };
        self.over(cluster, user)
    }

    fn kubeconfigs(&self) -> Option<Vec<PathBuf>> {
        if let Some(file) = &self.kubeconfig {
            return Some(vec![file.clone()]);
        }
        let files: Vec<_> = std::env::split_paths(&std::env::var_os("KUBECONFIG")?).collect();
        let named: Vec<_> = files.into_iter().filter(|file| !file.as_os_str().is_empty()).collect();
        (!named.is_empty()).then_some(named)
    }

    /// Flags win over what was found.
    fn over(&self, mut cluster: Cluster, mut user: User) -> Result<Access, Error> {
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

/// A pod's view of its cluster.
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
            let told = format!("kubeconfig: auth-provider {:?} is not supported, use exec", provider.name);
            return Err(Error::Config(told));
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
            _ if cluster.insecure_skip_tls_verify => Trust::Anybody,
            Some(certificates) => Trust::These(certificates),
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
    pub fn server(&self) -> &str {
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
    Err(Error::Config(format!("the API server's URL {url:?} has to begin with https:// or http://")))
}

/// What is in the file or, in base64, in the field.
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
    fn what_is_not_supported_is_told_by_name() {
        let cluster = Cluster { server: "https://a".into(), ..Cluster::default() };
        let proxied = Cluster { proxy_url: Some("socks5://p".into()), ..cluster.clone() };
        assert!(Access::new(&proxied, User::default()).unwrap_err().to_string().contains("proxy-url"));
        let bad = Cluster { certificate_authority_data: Some("%".into()), ..cluster };
        assert!(Access::new(&bad, User::default()).unwrap_err().to_string().contains("certificate-authority-data"));
    }
}
