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

/// How often the progress of a pull is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// No limit: longer than any pull.
const UNLIMITED: Duration = Duration::from_secs(u32::MAX as u64);

impl Images {
    /// Pulls an image and returns its id. Dropping the future cancels the pull.
    ///
    /// # Errors
    /// [`Error::RegistryUnavailable`] when the registry does not answer, [`Error::DeadlineExceeded`] when the pull
    /// stalls, [`Error::Invalid`] for an empty reference or the name of the built-in pause image, otherwise
    /// Docker's error.
    pub(crate) async fn pull(&self, reference: &str, auth: Option<&AuthConfig>) -> Result<String, Error> {
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
        let started = Instant::now();
        let messages = self
            .engine
            .pull_image(&parsed.repository, parsed.target(), credentials.as_ref(), self.progress_limit())
            .await
            .map_err(|error| classify(reference, error))?;
        self.follow(reference, messages).await?;
        self.refresh().await?;
        let (id, _) = self.identify(&parsed.familiar()).await?;
        tracing::info!(image = reference, id, seconds = started.elapsed().as_secs_f32(), "pulled an image");
        Ok(id)
    }

    /// How long a pull may go without progress.
    fn progress_limit(&self) -> Duration {
        if self.stall_limit.is_zero() { UNLIMITED } else { self.stall_limit }
    }

    /// Reads the messages of a pull until it finishes, and fails when there is no progress.
    async fn follow(
        &self,
        reference: &str,
        messages: impl futures_util::Stream<Item = Result<PullProgress, docker::Error>>,
    ) -> Result<(), Error> {
        let mut messages = std::pin::pin!(messages);
        let mut layers = Layers::default();
        let (mut last_log, mut last_progress) = (Instant::now(), tokio::time::Instant::now());
        loop {
            // Docker reports nothing while it unpacks, which may take long without a stalled network.
            let limit = if layers.is_unpacking() { UNLIMITED } else { self.progress_limit() };
            let message = match tokio::time::timeout_at(last_progress + limit, messages.next()).await {
                Err(_) => return Err(stalled(reference, limit)),
                Ok(None) => return Ok(()),
                Ok(Some(message)) => message.map_err(|error| classify(reference, error))?,
            };
            if layers.record(&message) {
                last_progress = tokio::time::Instant::now();
            }
            if last_log.elapsed() >= LOG_INTERVAL {
                last_log = Instant::now();
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

/// The progress of each layer.
#[derive(Default)]
struct Layers {
    layers: HashMap<String, PullProgress>,
    /// The last message that is not about a layer.
    status: String,
}

impl Layers {
    /// Records a message, and returns whether it shows progress: with containerd's image store Docker repeats the position
    /// of every download, also of a stalled one.
    fn record(&mut self, message: &PullProgress) -> bool {
        if message.id.is_empty() {
            let new = self.status != message.status;
            self.status.clone_from(&message.status);
            return new;
        }
        let known = self.layers.insert(message.id.clone(), message.clone());
        known.is_none_or(|known| known.status != message.status || known.detail.current != message.detail.current)
    }

    /// Whether every layer is downloaded, so that only unpacking is left.
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

/// Translates the CRI's credentials into Docker's. `auth` is `user:password` in base64.
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

fn classify(reference: &str, error: docker::Error) -> Error {
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
    fn credentials_in_one_string_are_split() {
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
        layers.record(&message("a", "Downloading"));
        layers.record(&message("b", "Extracting"));
        assert!(!layers.is_unpacking());
        layers.record(&message("a", "Download complete"));
        assert!(layers.is_unpacking());
    }

    #[test]
    fn only_what_is_new_is_progress() {
        let mut layers = Layers::default();
        let mut download = message("a", "Downloading");
        download.detail.current = 5;
        assert!(layers.record(&download) && !layers.record(&download));
        download.detail.current = 6;
        assert!(layers.record(&download));
        assert!(layers.record(&message("a", "Download complete")) && layers.record(&message("b", "Waiting")));
        assert!(layers.record(&message("", "Digest: x")) && !layers.record(&message("", "Digest: x")));
    }
}
