//! Requests on images.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE;
use bollard::query_parameters::ImportImageOptions;
use bollard::query_parameters::RemoveImageOptions;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::StreamExt;
use futures_util::TryStreamExt;
use http::HeaderValue;
use http_body_util::BodyStream;
use http_body_util::Either;
use http_body_util::Full;
use serde::Deserialize;
use serde::Serialize;
use tokio_util::io::StreamReader;

use super::Engine;
use super::Error;
use super::transport::encode;
use super::transport::encode_in_reference;
use super::transport::request;
use super::transport::success;

/// Removing an image with many layers takes its time.
const REMOVE_LIMIT: Duration = Duration::from_secs(600);

/// One row of `GET /images/json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageEntry {
    pub id: String,
    #[serde(default)]
    pub repo_tags: Option<Vec<String>>,
    #[serde(default)]
    pub repo_digests: Option<Vec<String>>,
    /// In bytes, shared layers included.
    #[serde(default)]
    pub size: i64,
}

/// The parts of `GET /images/{name}/json` that Dockside reads.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageDetails {
    pub id: String,
    #[serde(default)]
    pub repo_tags: Option<Vec<String>>,
    #[serde(default)]
    pub repo_digests: Option<Vec<String>>,
    #[serde(default)]
    pub size: i64,
    #[serde(default)]
    pub config: Option<ImageConfig>,
}

/// The configuration inside an image.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// `USER` of the image: `name`, `uid`, `name:group` or `uid:gid`.
    pub user: String,
    /// `STOPSIGNAL` of the image: a name with or without `SIG`, or a number.
    pub stop_signal: String,
}

/// Credentials for a registry, as Docker's `X-Registry-Auth` header carries them.
#[derive(Clone, Default, Serialize)]
pub struct Credentials {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub password: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub serveraddress: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub identitytoken: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub registrytoken: String,
}

/// One message of a running pull.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PullProgress {
    /// The layer, if the message is about one.
    pub id: String,
    /// Docker's words, such as `Downloading` or `Extracting`.
    pub status: String,
    #[serde(rename = "progressDetail")]
    pub detail: PullDetail,
    #[serde(rename = "error")]
    error: String,
}

/// How far one layer is, in bytes.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct PullDetail {
    pub current: u64,
    pub total: u64,
}

impl Engine {
    /// All images, dangling ones included.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when Docker does not answer.
    pub async fn list_images(&self) -> Result<Vec<ImageEntry>, Error> {
        self.call("list images at", &self.socket().display().to_string(), self.transport.get_json("/images/json")).await
    }

    /// One image by any reference Docker understands.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such image.
    pub async fn inspect_image(&self, reference: &str) -> Result<ImageDetails, Error> {
        const DOING: &str = "inspect image";
        let path = format!("/images/{}/json", encode_reference(DOING, reference)?);
        self.call(DOING, reference, self.transport.get_json(&path)).await
    }

    /// Starts to pull `repository:tag` or `repository@digest`. Dropping the stream cancels the pull in Docker. Docker
    /// answers with its first message, for which it may have to wait for the registry: for `patience` at most.
    ///
    /// # Errors
    /// Any, with Docker's words; an error of the registry often comes as an item of the stream.
    pub async fn pull_image(
        &self,
        repository: &str,
        tag_or_digest: &str,
        credentials: Option<&Credentials>,
        patience: Duration,
    ) -> Result<impl Stream<Item = Result<PullProgress, Error>> + use<>, Error> {
        const DOING: &str = "pull image";
        let object = format!("{repository} ({tag_or_digest})");
        let path = format!("/images/create?fromImage={}&tag={}", encode(repository), encode(tag_or_digest));
        let pulling = async {
            let mut request = request("POST", &path)?;
            if let Some(credentials) = credentials {
                let header = BASE64_URL_SAFE.encode(serde_json::to_vec(credentials)?);
                let mut value = HeaderValue::try_from(header).map_err(http::Error::from)?;
                value.set_sensitive(true);
                request.headers_mut().insert("X-Registry-Auth", value);
            }
            success(self.transport.send(request).await?).await
        };
        let answer = self.call_within(patience, DOING, &object, pulling).await?;
        let frames = BodyStream::new(answer.into_body())
            .try_filter_map(async |frame| Ok(frame.into_data().ok()))
            .map_err(std::io::Error::other)
            .boxed();
        let lines =
            tokio_stream::wrappers::LinesStream::new(tokio::io::AsyncBufReadExt::lines(StreamReader::new(frames)));
        Ok(lines.map(move |line| {
            let line = line.map_err(|source| Error::unavailable(DOING, &object, source))?;
            let message: PullProgress = serde_json::from_str(&line).unwrap_or_default();
            if message.error.is_empty() {
                Ok(message)
            } else {
                Err(Error::Failed { doing: DOING, object: object.clone(), message: message.error })
            }
        }))
    }

    /// Removes an image; `force` also removes one that several names point to.
    ///
    /// # Errors
    /// [`Error::Conflict`] when a container uses it, [`Error::NotFound`] when it is gone.
    pub async fn remove_image(&self, reference: &str, force: bool) -> Result<(), Error> {
        const DOING: &str = "remove image";
        let options = RemoveImageOptions { force, noprune: false, platforms: None };
        let name = encode_reference(DOING, reference)?;
        let request = self.api.remove_image(&name, Some(options), None);
        self.call_within(REMOVE_LIMIT, DOING, reference, request).await.map(|_| ())
    }

    /// Loads a docker-archive.
    ///
    /// # Errors
    /// [`Error::Failed`] with Docker's words.
    pub async fn load_image(&self, what: &str, archive: Vec<u8>) -> Result<(), Error> {
        let options = ImportImageOptions { quiet: true, platform: None };
        let body = Either::Left(Full::new(Bytes::from(archive)));
        let messages = self.api.import_image(options, body, None).try_collect::<Vec<_>>();
        self.call("load image", what, messages).await.map(|_| ())
    }
}

/// A reference in a path keeps its slashes and colons; everything that could change the path is encoded, and what is
/// a step to another path is refused, as Docker refuses it elsewhere.
fn encode_reference(doing: &'static str, reference: &str) -> Result<String, Error> {
    let parts: Vec<&str> = reference.split('/').collect();
    if parts.iter().any(|part| matches!(*part, "" | "." | "..")) {
        let message = "invalid reference format".to_owned();
        return Err(Error::Invalid { doing, object: reference.to_owned(), message });
    }
    Ok(parts.iter().map(|part| encode_in_reference(part).to_string()).collect::<Vec<_>>().join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_keeps_its_shape_in_a_path_but_cannot_leave_it() {
        let encoded = |reference| encode_reference("inspect image", reference).unwrap();
        assert_eq!(encoded("localhost:5000/a/b@sha256:12"), "localhost:5000/a/b@sha256:12");
        assert_eq!(encoded("a?b#c d"), "a%3Fb%23c%20d");
        for elsewhere in ["../containers/x", "a/./b", "a//b", "/a", "a/"] {
            assert!(matches!(encode_reference("inspect image", elsewhere), Err(Error::Invalid { .. })), "{elsewhere}");
        }
    }

    #[test]
    fn an_error_in_the_pull_stream_is_seen() {
        let message: PullProgress = serde_json::from_str(r#"{"errorDetail":{"message":"no"},"error":"no"}"#).unwrap();
        assert_eq!(message.error, "no");
    }
}
