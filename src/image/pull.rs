//! PullImage.

use std::collections::HashMap;
use std::time::Duration;
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::StreamExt;

use crate::docker;
use crate::docker::Credentials;
use crate::docker::PullProgress;
use crate::error::Error;
use crate::proto::AuthConfig;

use super::Images;
use super::pause;
use super::reference::Reference;

/// How often a long pull tells of its progress in the log.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// What the daemon says when the registry itself could not be asked; the kubelet tells these apart from an image
/// that does not exist.
const REGISTRY_TROUBLE: [&str; 10] = [
    "connection refused",
    "no such host",
    "i/o timeout",
    "TLS handshake timeout",
    "network is unreachable",
    "no route to host",
    "connection reset",
    "Client.Timeout exceeded",
    "server misbehaving",
    "Temporary failure in name resolution",
];

impl Images {
    /// Pulls an image and returns its id. A caller that goes away cancels the pull.
    ///
    /// # Errors
    /// [`Error::RegistryUnavailable`] when the registry does not answer, [`Error::DeadlineExceeded`] when the pull
    /// stalls, otherwise Docker's words.
    pub async fn pull(&self, reference: &str, auth: Option<&AuthConfig>) -> Result<String, Error> {
        if reference.is_empty() {
            return Err(Error::invalid("image", "image.image", "is missing"));
        }
        let parsed = Reference::parse(reference);
        if self.pause.is_none() && parsed.repository == Reference::parse(pause::REFERENCE).repository {
            return Err(Error::invalid(
                format!("image {reference}"),
                "image.image",
                "is the name of the built-in pause image",
            ));
        }
        let credentials = auth.map(|auth| credentials(reference, auth)).transpose()?;
        let began = Instant::now();
        let messages = self
            .engine
            .pull_image(&parsed.repository, parsed.target(), credentials.as_ref())
            .await
            .map_err(|error| sort(reference, error))?;
        self.follow(reference, messages).await?;
        self.refresh().await?;
        let id = self.id_of(&parsed.familiar()).await?;
        tracing::info!(image = reference, id, seconds = began.elapsed().as_secs_f32(), "pulled an image");
        Ok(id)
    }

    /// Reads a pull's messages to their end, watching that it gets on.
    async fn follow(
        &self,
        reference: &str,
        messages: impl futures_util::Stream<Item = Result<PullProgress, docker::Error>>,
    ) -> Result<(), Error> {
        let mut messages = std::pin::pin!(messages);
        let mut layers = Layers::default();
        let mut reported = Instant::now();
        loop {
            // Unpacking tells nothing for as long as it takes, and is not the network's fault.
            let limit =
                if self.stall_limit.is_zero() || layers.is_unpacking() { Duration::MAX } else { self.stall_limit };
            let message = match tokio::time::timeout(limit, messages.next()).await {
                Err(_) => {
                    return Err(Error::DeadlineExceeded(format!(
                        "pulling image {reference}: no progress for {limit:?}"
                    )));
                }
                Ok(None) => return Ok(()),
                Ok(Some(message)) => message.map_err(|error| sort(reference, error))?,
            };
            layers.note(&message);
            if reported.elapsed() >= REPORT_EVERY {
                reported = Instant::now();
                let (current, total) = layers.bytes();
                tracing::info!(
                    image = reference,
                    layers = layers.0.len(),
                    bytes = current,
                    of = total,
                    "pulling an image"
                );
            }
        }
    }
}

/// How far each layer is.
#[derive(Default)]
struct Layers(HashMap<String, PullProgress>);

impl Layers {
    fn note(&mut self, message: &PullProgress) {
        if !message.id.is_empty() {
            self.0.insert(message.id.clone(), message.clone());
        }
    }

    /// Whether the bytes of every layer are here, so that only unpacking can be going on.
    fn is_unpacking(&self) -> bool {
        const LOCAL: [&str; 6] = [
            "Download complete",
            "Verifying Checksum",
            "Extracting",
            "Pull complete",
            "Already exists",
            "Pulling from",
        ];
        !self.0.is_empty()
            && self.0.values().all(|layer| LOCAL.iter().any(|status| layer.status.starts_with(status)))
            && self
                .0
                .values()
                .any(|layer| layer.status.starts_with("Extracting") || layer.status.starts_with("Download complete"))
    }

    fn bytes(&self) -> (u64, u64) {
        let downloads = self.0.values().filter(|layer| layer.status.starts_with("Downloading"));
        downloads.fold((0, 0), |(current, total), layer| (current + layer.detail.current, total + layer.detail.total))
    }
}

/// The CRI's credentials in Docker's terms. `auth` is `user:password` in base64.
fn credentials(reference: &str, auth: &AuthConfig) -> Result<Credentials, Error> {
    let (mut username, mut password) = (auth.username.clone(), auth.password.clone());
    if username.is_empty() && !auth.auth.is_empty() {
        let decoded = BASE64_STANDARD.decode(auth.auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
        let Some((user, secret)) = pair else {
            return Err(Error::invalid(format!("image {reference}"), "auth.auth", "is not user:password in base64"));
        };
        username = user.to_owned();
        // Some writers pad the decoded text with NULs.
        password = secret.trim_end_matches('\0').to_owned();
    }
    Ok(Credentials {
        username,
        password,
        serveraddress: auth.server_address.clone(),
        identitytoken: auth.identity_token.clone(),
        registrytoken: auth.registry_token.clone(),
    })
}

fn sort(reference: &str, error: docker::Error) -> Error {
    let message = error.message();
    match error {
        docker::Error::Failed { .. } | docker::Error::NotFound { .. } => {
            if REGISTRY_TROUBLE.iter().any(|trouble| message.contains(trouble)) {
                return Error::RegistryUnavailable(format!("pulling image {reference}: {message}"));
            }
            error.into()
        }
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::field_reassign_with_default)] // one field is private to the room that reads the stream
    fn message(id: &str, status: &str) -> PullProgress {
        let mut message = PullProgress::default();
        message.id = id.into();
        message.status = status.into();
        message
    }

    #[test]
    fn credentials_in_one_string_are_taken_apart() {
        let auth = AuthConfig { auth: BASE64_STANDARD.encode("me:se:cret"), ..Default::default() };
        let taken = credentials("x", &auth).unwrap();
        assert_eq!((taken.username.as_str(), taken.password.as_str()), ("me", "se:cret"));
        let broken = AuthConfig { auth: "%%".into(), ..Default::default() };
        assert!(credentials("x", &broken).is_err());
    }

    #[test]
    fn only_unpacking_may_be_silent() {
        let mut layers = Layers::default();
        assert!(!layers.is_unpacking());
        layers.note(&message("a", "Downloading"));
        layers.note(&message("b", "Extracting"));
        assert!(!layers.is_unpacking());
        layers.note(&message("a", "Download complete"));
        assert!(layers.is_unpacking());
    }

    #[test]
    fn a_registry_that_does_not_answer_is_told_apart() {
        let failed =
            |message: &str| docker::Error::Failed { doing: "pull image", object: "x".into(), message: message.into() };
        assert!(matches!(sort("x", failed("dial tcp: connection refused")), Error::RegistryUnavailable(_)));
        assert!(matches!(sort("x", failed("manifest unknown")), Error::Docker(_)));
    }
}
