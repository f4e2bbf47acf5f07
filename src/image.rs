//! Images: pulled, listed and removed through Docker, with an index in memory that answers List and Status.
//!
//! `cri` calls in; `watch` refreshes the index on Docker's image events. Docker's image id identifies an image, whichever
//! reference it was found by: `Image.id`, `PullImageResponse.image_ref` and every `image_id` of a container are the same
//! string, as CRI 1.36 requires.

mod index;
pub(crate) mod pause;
mod pull;
mod reference;
mod remove;
mod users;

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use parking_lot::RwLock;
use serde_json::json;
use tokio::sync::Mutex;

use crate::clock::now_ns;
use crate::docker;
use crate::docker::Engine;
use crate::docker::ImageDetails;
use crate::error::Error;
use crate::proto;
use crate::proto::FilesystemIdentifier;
use crate::proto::FilesystemUsage;
use crate::proto::UInt64Value;
use crate::state::ImageSettings;

use self::index::Image;
use self::index::Index;
use self::users::Users;

/// Docker's default data directory.
const DEFAULT_ROOT: &str = "/var/lib/docker";

/// The verbs on images, and the index of images.
pub(crate) struct Images {
    engine: Engine,
    index: RwLock<Index>,
    /// Users of the images that containers were created from, by image id.
    users: RwLock<HashMap<String, Arc<Users>>>,
    /// Held by a refresh, so that an older listing never replaces a newer one.
    refreshing: Mutex<()>,
    /// Held by a removal: with two at a time of one image, Docker fails or answers before the image is gone.
    removing: Mutex<()>,
    /// After this long without progress a pull is cancelled; zero for never.
    stall_limit: Duration,
    /// The pause image, if it is not the built-in one.
    pause: Option<String>,
}

impl Images {
    /// `pause` is the sandbox image, `None` for the built-in one. `stall_limit` is how long a pull may go without progress,
    /// zero for any time.
    pub(crate) fn new(engine: Engine, pause: Option<String>, stall_limit: Duration) -> Images {
        Images {
            engine,
            index: RwLock::default(),
            users: RwLock::default(),
            refreshing: Mutex::default(),
            removing: Mutex::default(),
            stall_limit,
            pause,
        }
    }

    /// Brings the index up to date with Docker.
    ///
    /// # Errors
    /// When Docker does not answer; the index stays as it was.
    pub(crate) async fn refresh(&self) -> Result<(), docker::Error> {
        let _guard = self.refreshing.lock().await;
        let mut images = Vec::new();
        for entry in self.engine.list_images().await? {
            let known = self.index.read().by_id(&entry.id).map(|image| image.settings.clone());
            let settings = match known {
                Some(settings) => settings,
                None => match self.engine.inspect_image(&entry.id).await {
                    Ok(details) => settings(details),
                    // Removed since the listing.
                    Err(error) if error.is_not_found() => continue,
                    Err(error) if error.is_unanswered() => return Err(error),
                    // A damaged image must not hide the others. The next refresh inspects it again.
                    Err(error) => {
                        tracing::warn!(image = entry.id, %error, "could not inspect an image; it is left out of the list");
                        continue;
                    }
                },
            };
            images.push(Image::new(entry, settings, self.pause_reference()));
        }
        self.users.write().retain(|id, _| images.iter().any(|image| image.id == *id));
        *self.index.write() = Index::new(images);
        Ok(())
    }

    /// The id of the image with this reference, and the settings that its containers inherit. Docker is asked when the
    /// index does not have it: the image may have been built a moment ago.
    ///
    /// # Errors
    /// A [`docker::Error`] with the cause `NotFound` when there is no such image.
    pub(crate) async fn identify(&self, reference: &str) -> Result<(String, ImageSettings), Error> {
        if let Some(image) = self.index.read().find(reference) {
            return Ok((image.id.clone(), image.settings.clone()));
        }
        let details = self.engine.inspect_image(reference).await?;
        Ok((details.id.clone(), settings(details)))
    }

    /// All images, or the one with the reference `filter`.
    pub(crate) fn list(&self, filter: &str) -> Vec<proto::Image> {
        let index = self.index.read();
        if filter.is_empty() {
            return index.all().map(|image| image.message.clone()).collect();
        }
        index.find(filter).map(|image| image.message.clone()).into_iter().collect()
    }

    /// One image, with the CRI's verbose information if `verbose`; `None` when there is no such image. Docker is asked when
    /// the index does not have it: the image may have been built a moment ago.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty reference; [`Error::Docker`] when Docker has to be asked and does not answer.
    pub(crate) async fn status(
        &self,
        reference: &str,
        verbose: bool,
    ) -> Result<Option<(proto::Image, BTreeMap<String, String>)>, Error> {
        if reference.is_empty() {
            return Err(Error::invalid("image", "image.image", "is missing"));
        }
        let found = |images: &Images| images.index.read().find(reference).map(|image| image.as_ref().clone());
        let image = match found(self) {
            Some(image) => image,
            None => match self.engine.inspect_image(reference).await {
                Ok(details) => {
                    self.refresh().await?;
                    // Docker may resolve a name that its listing does not have.
                    let by_id = || self.index.read().by_id(&details.id).map(|image| image.as_ref().clone());
                    match found(self).or_else(by_id) {
                        Some(image) => image,
                        None => return Ok(None),
                    }
                }
                Err(error) if error.is_not_found() || error.is_invalid() => return Ok(None),
                Err(error) => return Err(error.into()),
            },
        };
        let info = if verbose { BTreeMap::from([("info".to_owned(), info(&image))]) } else { BTreeMap::new() };
        Ok(Some((image.message, info)))
    }

    /// How much space images take, and where they are.
    ///
    /// The bytes are the sum over images, so a layer that several images share counts for each of them. Before the first
    /// connection to Docker its default directory is returned: a kubelet calls this when it starts, and exits on an error.
    pub(crate) fn filesystem(&self) -> FilesystemUsage {
        let info = self.engine.connection().info();
        let root = info.map_or_else(|| PathBuf::from(DEFAULT_ROOT), |info| info.image_dir.clone());
        let used = self.index.read().all().map(|image| image.message.size).sum();
        let inodes = statvfs(&root).ok().map(|fs| fs.files().saturating_sub(fs.files_free()));
        FilesystemUsage {
            timestamp: now_ns(),
            fs_id: Some(FilesystemIdentifier { mountpoint: root.display().to_string() }),
            used_bytes: Some(UInt64Value { value: used }),
            inodes_used: inodes.map(|value| UInt64Value { value }),
        }
    }

    /// The name of the pause image.
    pub(crate) fn pause_reference(&self) -> &str {
        self.pause.as_deref().unwrap_or(pause::REFERENCE)
    }

    /// The reference to create pause containers from. That of the built-in image is verified to be the built-in image: an
    /// image that was tagged with it would run in every pod.
    ///
    /// # Errors
    /// When the built-in image has to be loaded and Docker fails to.
    pub(crate) async fn pause_image(&self) -> Result<&str, Error> {
        let known =
            |images: &Images| images.index.read().find(pause::REFERENCE).is_some_and(|i| is_builtin_pause(&i.id));
        if self.pause.is_none() && !known(self) {
            self.ensure_builtin_pause().await?;
        }
        Ok(self.pause_reference())
    }

    /// Makes the pause image available: loads the built-in one, pulls another.
    ///
    /// # Errors
    /// When Docker fails to load or pull it.
    pub(crate) async fn ensure_pause(&self) -> Result<(), Error> {
        if self.pause.is_none() {
            return self.ensure_builtin_pause().await;
        }
        self.pull(self.pause_reference(), None).await.map(|_| ())
    }

    /// Loads the built-in pause image if it is missing. Does nothing if another one is used: that is pulled for the first
    /// pod, as its registry may be slow.
    ///
    /// # Errors
    /// When Docker fails to load it.
    pub(crate) async fn ensure_builtin_pause(&self) -> Result<(), Error> {
        if self.pause.is_some() {
            return Ok(());
        }
        match self.engine.inspect_image(pause::REFERENCE).await {
            Ok(found) if is_builtin_pause(&found.id) => return Ok(self.refresh().await?),
            Ok(found) => {
                tracing::warn!(
                    image = pause::REFERENCE,
                    id = found.id,
                    "another image has the name of the built-in pause image; loading the built-in one again"
                );
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
        self.engine.load_image(pause::REFERENCE, pause::archive()).await?;
        tracing::info!(image = pause::REFERENCE, "loaded the built-in pause image");
        Ok(self.refresh().await?)
    }
}

/// Whether this is the id of the built-in pause image: with graph drivers the digest of its configuration, with
/// containerd's image store that of its manifest.
fn is_builtin_pause(id: &str) -> bool {
    static IDS: OnceLock<[String; 2]> = OnceLock::new();
    IDS.get_or_init(|| [pause::config_digest(), pause::manifest_digest()]).iter().any(|ours| ours == id)
}

fn settings(details: ImageDetails) -> ImageSettings {
    let config = details.config.unwrap_or_default();
    ImageSettings { user: config.user, stop_signal: config.stop_signal }
}

/// The verbose information of ImageStatus, as JSON.
fn info(image: &Image) -> String {
    json!({ "id": image.id, "user": image.settings.user, "pinned": image.message.pinned }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::testing;

    #[tokio::test]
    async fn an_image_that_cannot_be_inspected_does_not_hide_the_others() {
        let (engine, _docker) = testing::engine(|request| match request {
            "GET /images/json" => (200, r#"[{"Id": "sha256:bad"}, {"Id": "sha256:good"}]"#.to_owned()),
            "GET /images/sha256:good/json" => (200, r#"{"Id": "sha256:good", "Config": {"User": "7"}}"#.to_owned()),
            _ => (500, r#"{"message": "layer does not exist"}"#.to_owned()),
        });
        let images = Images::new(engine.clone(), None, Duration::ZERO);
        images.refresh().await.unwrap();
        let ids: Vec<String> = images.list("").into_iter().map(|image| image.id).collect();
        assert_eq!(ids, ["sha256:good"]);
        engine.connection().set_down("gone");
        assert!(images.refresh().await.is_err());
    }

    #[tokio::test]
    async fn an_image_is_found_by_a_name_that_only_docker_resolves() {
        let (engine, _docker) = testing::engine(|request| match request {
            "GET /images/json" => (200, r#"[{"Id": "sha256:good"}]"#.to_owned()),
            "GET /images/sha256:good/json" | "GET /images/a/b@sha256:12/json" => {
                (200, r#"{"Id": "sha256:good"}"#.to_owned())
            }
            _ => (404, r#"{"message": "No such image"}"#.to_owned()),
        });
        let images = Images::new(engine, None, Duration::ZERO);
        let (image, _) = images.status("a/b@sha256:12", false).await.unwrap().unwrap();
        assert_eq!(image.id, "sha256:good");
        assert!(images.status("a/c@sha256:12", false).await.unwrap().is_none());
    }
}
