//! Credentials sent in the Authorization header: a token or password, and how it is refreshed.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Error;
use super::kubeconfig::Exec;
use super::kubeconfig::User;

/// A token file is reread after this; the kubelet rotates it every hour.
const FILE_LIFETIME: Duration = Duration::from_secs(60);
/// A token is refreshed this long before it expires.
const MARGIN: Duration = Duration::from_secs(30);
/// How long a credential plugin may run.
const PLUGIN_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Credentials {
    source: Source,
    /// The header, and until when it is valid.
    current: Mutex<Option<(HeaderValue, Option<Instant>)>>,
}

#[derive(Debug)]
enum Source {
    /// A client certificate, or nothing.
    None,
    Header(String),
    File(PathBuf),
    Plugin(Exec),
}

impl Credentials {
    pub(super) fn new(user: User) -> Credentials {
        let source = if let Some(file) = user.token_file {
            Source::File(file)
        } else if let Some(token) = user.token {
            Source::Header(format!("Bearer {token}"))
        } else if let Some(name) = user.username {
            let password = user.password.unwrap_or_default();
            Source::Header(format!("Basic {}", STANDARD.encode(format!("{name}:{password}"))))
        } else if let Some(exec) = user.exec {
            Source::Plugin(exec)
        } else {
            Source::None
        };
        Credentials { source, current: Mutex::default() }
    }

    /// The value of the Authorization header, if there is one.
    pub(super) async fn header(&self) -> Result<Option<HeaderValue>, Error> {
        if let Source::None = self.source {
            return Ok(None);
        }
        let mut current = self.current.lock().await;
        if let Some((header, end)) = &*current
            && end.is_none_or(|end| Instant::now() < end)
        {
            return Ok(Some(header.clone()));
        }
        let (text, lifetime) = match &self.source {
            Source::None => return Ok(None),
            Source::Header(text) => (text.clone(), None),
            Source::File(path) => {
                let token = tokio::fs::read_to_string(path).await;
                let token = token.map_err(|error| Error::File { path: path.clone(), reason: error.to_string() })?;
                (format!("Bearer {}", token.trim()), Some(FILE_LIFETIME))
            }
            Source::Plugin(exec) => exec.token().await?,
        };
        let mut header = HeaderValue::from_str(&text)
            .map_err(|_| Error::Config("the token contains characters that are not allowed in a header".into()))?;
        header.set_sensitive(true);
        *current = Some((header.clone(), lifetime.map(|lifetime| Instant::now() + lifetime)));
        Ok(Some(header))
    }
}

/// The output of a credential plugin.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ExecCredential {
    status: ExecStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ExecStatus {
    token: Option<String>,
    expiration_timestamp: Option<String>,
}

impl Exec {
    /// Runs the plugin; returns the header and its remaining validity.
    async fn token(&self) -> Result<(String, Option<Duration>), Error> {
        let failed = |reason: String| Error::Plugin { command: self.command.clone(), reason };
        let info = serde_json::json!({"apiVersion": self.api_version, "kind": "ExecCredential",
            "spec": {"interactive": false}});
        let mut command = Command::new(&self.command);
        command.args(self.args.iter().flatten()).env("KUBERNETES_EXEC_INFO", info.to_string()).kill_on_drop(true);
        command.envs(self.env.iter().flatten().map(|variable| (&variable.name, &variable.value)));
        let output = tokio::time::timeout(PLUGIN_TIMEOUT, command.output()).await;
        let output =
            output.map_err(|_| failed("it did not exit in time".into()))?.map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            return Err(failed(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())));
        }
        let printed: ExecCredential =
            serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))?;
        let token = printed.status.token.ok_or_else(|| failed("it printed no status.token".into()))?;
        let end = printed.status.expiration_timestamp.map(|end| end.parse::<Timestamp>());
        let end = end.transpose().map_err(|error| failed(format!("status.expirationTimestamp: {error}")))?;
        let left = |end: Timestamp| Duration::try_from(end.duration_since(Timestamp::now())).unwrap_or_default();
        Ok((format!("Bearer {token}"), end.map(|end| left(end).saturating_sub(MARGIN))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn header(user: User) -> String {
        let header = Credentials::new(user).header().await.unwrap().unwrap();
        header.to_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn tokens_come_from_the_field_a_file_or_a_plugin() {
        assert_eq!(header(User { token: Some("a".into()), ..User::default() }).await, "Bearer a");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        std::fs::write(&file, "b\n").unwrap();
        assert_eq!(header(User { token_file: Some(file), ..User::default() }).await, "Bearer b");
        let printed = r#"{"status": {"token": "c", "expirationTimestamp": "2036-01-01T00:00:00Z"}}"#;
        let exec = Exec { command: "echo".into(), args: Some(vec![printed.into()]), ..Exec::default() };
        assert_eq!(header(User { exec: Some(exec), ..User::default() }).await, "Bearer c");
        let user = User { username: Some("u".into()), password: Some("p".into()), ..User::default() };
        assert_eq!(header(user).await, "Basic dTpw");
    }

    #[tokio::test]
    async fn a_failing_plugin_is_reported_with_its_output() {
        let exec = Exec { command: "false".into(), ..Exec::default() };
        let error = Credentials::new(User { exec: Some(exec), ..User::default() }).header().await.unwrap_err();
        assert!(error.to_string().starts_with("could not run false for a token: exit status: 1"));
    }
}
