//! Kubeconfig files.

use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;

use super::Error;

/// One or several kubeconfig files, merged: of entries with the same name the first counts.
#[derive(Debug, Default)]
pub(super) struct Kubeconfig {
    files: Vec<(PathBuf, File)>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct File {
    current_context: String,
    clusters: Vec<NamedCluster>,
    users: Vec<NamedUser>,
    contexts: Vec<NamedContext>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NamedUser {
    name: String,
    user: Option<User>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct Cluster {
    pub(super) server: String,
    pub(super) certificate_authority: Option<PathBuf>,
    pub(super) certificate_authority_data: Option<String>,
    pub(super) insecure_skip_tls_verify: bool,
    pub(super) tls_server_name: Option<String>,
    pub(super) proxy_url: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct User {
    pub(super) client_certificate: Option<PathBuf>,
    pub(super) client_certificate_data: Option<String>,
    pub(super) client_key: Option<PathBuf>,
    pub(super) client_key_data: Option<String>,
    pub(super) token: Option<String>,
    #[serde(rename = "tokenFile")]
    pub(super) token_file: Option<PathBuf>,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) exec: Option<Exec>,
    pub(super) auth_provider: Option<AuthProvider>,
}

/// A credential plugin.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Exec {
    pub(super) api_version: String,
    pub(super) command: String,
    pub(super) args: Option<Vec<String>>,
    pub(super) env: Option<Vec<ExecEnv>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ExecEnv {
    pub(super) name: String,
    pub(super) value: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AuthProvider {
    pub(super) name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Context {
    cluster: String,
    user: String,
}

impl Kubeconfig {
    /// Reads the files. A missing file is an error only if no other exists.
    pub(super) fn read(paths: &[PathBuf]) -> Result<Kubeconfig, Error> {
        let mut config = Kubeconfig::default();
        let mut missing = None;
        for path in paths {
            match std::fs::read_to_string(path) {
                Ok(text) => config.add(path, &text)?,
                Err(error) => missing = Some(Error::File { path: path.clone(), reason: error.to_string() }),
            }
        }
        match missing {
            Some(error) if config.files.is_empty() => Err(error),
            _ => Ok(config),
        }
    }

    fn add(&mut self, path: &Path, text: &str) -> Result<(), Error> {
        let file = serde_yaml_ng::from_str(text)
            .map_err(|error| Error::File { path: path.to_owned(), reason: error.to_string() })?;
        self.files.push((path.to_owned(), file));
        Ok(())
    }

    /// The cluster and the user of a context, by default of the current one. Their paths are made absolute.
    pub(super) fn context(&self, name: Option<&str>) -> Result<(Cluster, User), Error> {
        let current = self.files.iter().map(|(_, file)| file.current_context.as_str()).find(|name| !name.is_empty());
        let Some(name) = name.or(current) else {
            return Err(Error::Config("kubeconfig: current-context is not set: select one with --context".into()));
        };
        let missing = |kind: &str, name: &str| Error::Config(format!("kubeconfig: no {kind} {name:?}"));
        let context = self.find(|file| file.contexts.iter().find(|one| one.name == name));
        let (_, context) = context.ok_or_else(|| missing("context", name))?;
        let context = &context.context;
        let cluster = self.find(|file| file.clusters.iter().find(|one| one.name == context.cluster));
        let (directory, cluster) = cluster.ok_or_else(|| missing("cluster", &context.cluster))?;
        let mut cluster = cluster.cluster.clone();
        absolute(directory, [&mut cluster.certificate_authority]);
        if context.user.is_empty() {
            return Ok((cluster, User::default()));
        }
        let user = self.find(|file| file.users.iter().find(|one| one.name == context.user));
        let (directory, user) = user.ok_or_else(|| missing("user", &context.user))?;
        let mut user = user.user.clone().unwrap_or_default();
        absolute(directory, [&mut user.client_certificate, &mut user.client_key, &mut user.token_file]);
        Ok((cluster, user))
    }

    fn find<'a, T>(&'a self, find: impl Fn(&'a File) -> Option<&'a T>) -> Option<(&'a Path, &'a T)> {
        self.files.iter().find_map(|(path, file)| Some((path.parent()?, find(file)?)))
    }
}

/// Paths in a kubeconfig are relative to its directory.
fn absolute<const N: usize>(directory: &Path, paths: [&mut Option<PathBuf>; N]) {
    for path in paths.into_iter().flatten() {
        *path = directory.join(&*path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
current-context: one
clusters: [{name: c, cluster: {server: 'https://host:6443', certificate-authority: ca.crt}}]
users: [{name: u, user: {client-certificate: /pki/u.crt, client-key: u.key}}, {name: empty, user: null}]
contexts:
- {name: one, context: {cluster: c, user: u}}
- {name: two, context: {cluster: c, user: empty}}
- {name: broken, context: {cluster: c, user: nobody}}
";

    fn config() -> Kubeconfig {
        let mut config = Kubeconfig::default();
        config.add(Path::new("/etc/kube/config"), FILE).unwrap();
        config
    }

    #[test]
    fn the_current_context_names_cluster_and_user() {
        let (cluster, user) = config().context(None).unwrap();
        assert_eq!(cluster.server, "https://host:6443");
        assert_eq!(cluster.certificate_authority.as_deref(), Some(Path::new("/etc/kube/ca.crt")));
        assert_eq!(user.client_certificate.as_deref(), Some(Path::new("/pki/u.crt")));
        assert_eq!(user.client_key.as_deref(), Some(Path::new("/etc/kube/u.key")));
    }

    #[test]
    fn another_context_can_be_chosen() {
        assert!(config().context(Some("two")).unwrap().1.client_key.is_none());
        let error = |name| config().context(Some(name)).unwrap_err().to_string();
        assert_eq!(error("three"), "kubeconfig: no context \"three\"");
        assert_eq!(error("broken"), "kubeconfig: no user \"nobody\"");
    }

    #[test]
    fn the_first_of_several_files_wins() {
        let mut config = config();
        config.add(Path::new("/b"), "{current-context: two, contexts: [{name: b, context: {cluster: c}}]}").unwrap();
        assert_eq!(config.context(None).unwrap().1.client_key.as_deref(), Some(Path::new("/etc/kube/u.key")));
        assert_eq!(config.context(Some("b")).unwrap().0.server, "https://host:6443");
    }
}
