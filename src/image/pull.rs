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
/// Longer than any pull.
const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);

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
            .pull_image(&parsed.repository, parsed.target(), credentials.as_ref(), self.patience())
            .await
            .map_err(|error| sort(reference, error))?;
        self.follow(reference, messages).await?;
        self.refresh().await?;
        let (id, _) = self.identify(&parsed.familiar()).await?;
        tracing::info!(image = reference, id, seconds = began.elapsed().as_secs_f32(), "pulled an image");
        Ok(id)
    }

    /// How long a pull may go without progress.
    fn patience(&self) -> Duration {
        if self.stall_limit.is_zero() { FOR_EVER } else { self.stall_limit }
    }

    /// Reads a pull's messages to their end, watching that it gets on.
    async fn follow(
        &self,
        reference: &str,
        messages: impl futures_util::Stream<Item = Result<PullProgress, docker::Error>>,
    ) -> Result<(), Error> {
        let mut messages = std::pin::pin!(messages);
        let mut layers = Layers::default();
        let (mut reported, mut moved) = (Instant::now(), tokio::time::Instant::now());
        loop {
            // Unpacking tells nothing for as long as it takes, and is not the network's fault.
            let limit = if layers.is_unpacking() { FOR_EVER } else { self.patience() };
            let message = match tokio::time::timeout_at(moved + limit, messages.next()).await {
                Err(_) => return Err(stalled(reference, limit)),
                Ok(None) => return Ok(()),
                Ok(Some(message)) => message.map_err(|error| sort(reference, error))?,
            };
            if layers.note(&message) {
                moved = tokio::time::Instant::now();
            }
            if reported.elapsed() >= REPORT_EVERY {
                reported = Instant::now();
                let (current, total) = layers.bytes();
                tracing::info!(
                    image = reference,
                    layers = layers.layers.len(),
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
struct Layers {
    layers: HashMap<String, PullProgress>,
    /// The last message that is not about a layer.
    said: String,
}

impl Layers {
    /// Takes a message in, and tells whether it says anything new: Docker with containerd's image store repeats how far
    /// each download is, even when it stands still.
    fn note(&mut self, message: &PullProgress) -> bool {
        if message.id.is_empty() {
            let new = self.said != message.status;
            self.said.clone_from(&message.status);
            return new;
        }
        let known = self.layers.insert(message.id.clone(), message.clone());
        known.is_none_or(|known| known.status != message.status || known.detail.current != message.detail.current)
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
        !self.layers.is_empty()
            && self.layers.values().all(|layer| LOCAL.iter().any(|status| layer.status.starts_with(status)))
            && self
                .layers
                .values()
                .any(|layer| layer.status.starts_with("Extracting") || layer.status.starts_with("Download complete"))
    }

    fn bytes(&self) -> (u64, u64) {
        let downloads = self.layers.values().filter(|layer| layer.status.starts_with("Downloading"));
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

fn stalled(reference: &str, limit: Duration) -> Error {
    Error::DeadlineExceeded(format!("pulling image {reference}: no progress for {limit:?}"))
}

fn sort(reference: &str, error: docker::Error) -> Error {
    match error.cause {
        docker::Cause::Timeout(limit) => stalled(reference, limit),
        _ if error.is_registry_unavailable() => {
            Error::RegistryUnavailable(format!("pulling image {reference}: {}", error.message()))
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
    fn only_what_is_new_is_progress() {
        let mut layers = Layers::default();
        let mut download = message("a", "Downloading");
        download.detail.current = 5;
        assert!(layers.note(&download) && !layers.note(&download));
        download.detail.current = 6;
        assert!(layers.note(&download));
        assert!(layers.note(&message("a", "Download complete")) && layers.note(&message("b", "Waiting")));
        assert!(layers.note(&message("", "Digest: x")) && !layers.note(&message("", "Digest: x")));
    }
}
