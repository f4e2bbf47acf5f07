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

use super::Cause;
use super::Engine;
use super::Error;
use super::transport::encode;
use super::transport::encode_in_reference;
use super::transport::request;
use super::transport::success;

/// For a removal: an image may have many layers.
const REMOVE_LIMIT: Duration = Duration::from_secs(600);

/// One row of `GET /images/json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageEntry {
    /// `sha256:...`.
    pub id: String,
    /// `repository:tag`; `None` and empty mean the same.
    #[serde(default)]
    pub repo_tags: Option<Vec<String>>,
    /// `repository@digest`.
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
    /// `sha256:...`.
    pub id: String,
    /// `repository:tag`; `None` and empty mean the same.
    #[serde(default)]
    pub repo_tags: Option<Vec<String>>,
    /// `repository@digest`.
    #[serde(default)]
    pub repo_digests: Option<Vec<String>>,
    /// In bytes, shared layers included.
    #[serde(default)]
    pub size: i64,
    /// Absent for an image without a configuration.
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
    /// Empty when a token is used.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// Empty when a token is used.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub password: String,
    /// The registry that the credentials are for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub serveraddress: String,
    /// A refresh token of the registry's authorization service.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub identitytoken: String,
    /// A bearer token, sent to the registry as it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub registrytoken: String,
}

/// One message of a running pull.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PullProgress {
    /// The layer's short id; empty when the message is not about a layer.
    pub id: String,
    /// Such as `Downloading` or `Extracting`.
    pub status: String,
    /// How far the layer is; zero when the message does not say.
    #[serde(rename = "progressDetail")]
    pub detail: PullDetail,
    #[serde(rename = "error")]
    error: String,
}

/// How far one layer is, in bytes.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct PullDetail {
    /// Downloaded or unpacked so far.
    pub current: u64,
    /// In all; 0 when unknown.
    pub total: u64,
}

impl Engine {
    /// All images, dangling ones included.
    ///
    /// # Errors
    /// [`Cause::Unavailable`] when Docker does not answer.
    pub async fn list_images(&self) -> Result<Vec<ImageEntry>, Error> {
        self.call("list images at", &self.socket().display().to_string(), self.transport.get_json("/images/json")).await
    }

    /// One image, by a name, a digest or an id.
    ///
    /// # Errors
    /// [`Cause::NotFound`] when no such image exists.
    pub async fn inspect_image(&self, reference: &str) -> Result<ImageDetails, Error> {
        const OPERATION: &str = "inspect image";
        let path = format!("/images/{}/json", encode_reference(OPERATION, reference)?);
        self.call(OPERATION, reference, self.transport.get_json(&path)).await
    }

    /// Starts to pull `repository:tag` or `repository@digest`. Dropping the stream cancels the pull in Docker. Docker
    /// answers with its first message, which may depend on the registry: that takes at most `limit`.
    ///
    /// # Errors
    /// Any; an error of the registry often arrives as an item of the stream.
    pub async fn pull_image(
        &self,
        repository: &str,
        tag_or_digest: &str,
        credentials: Option<&Credentials>,
        limit: Duration,
    ) -> Result<impl Stream<Item = Result<PullProgress, Error>> + use<>, Error> {
        const OPERATION: &str = "pull image";
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
        let answer = self.call_within(limit, OPERATION, &object, pulling).await?;
        let frames = BodyStream::new(answer.into_body())
            .try_filter_map(async |frame| Ok(frame.into_data().ok()))
            .map_err(std::io::Error::other)
            .boxed();
        let lines =
            tokio_stream::wrappers::LinesStream::new(tokio::io::AsyncBufReadExt::lines(StreamReader::new(frames)));
        Ok(lines.map(move |line| {
            let line = line.map_err(|source| Error::unavailable(OPERATION, &object, source))?;
            let message: PullProgress = serde_json::from_str(&line).unwrap_or_default();
            if message.error.is_empty() { Ok(message) } else { Err(Error::failed(OPERATION, &object, message.error)) }
        }))
    }

    /// Removes an image; `force` also removes one with several names.
    ///
    /// # Errors
    /// [`Cause::Conflict`] when a container uses it, [`Cause::NotFound`] when it does not exist.
    pub async fn remove_image(&self, reference: &str, force: bool) -> Result<(), Error> {
        const OPERATION: &str = "remove image";
        let options = RemoveImageOptions { force, noprune: false, platforms: None };
        let name = encode_reference(OPERATION, reference)?;
        let request = self.api.remove_image(&name, Some(options), None);
        self.call_within(REMOVE_LIMIT, OPERATION, reference, request).await.map(|_| ())
    }

    /// Loads an image from a docker-archive (the format of `docker save`). `name` is for messages.
    ///
    /// # Errors
    /// [`Cause::Failed`] when the archive is not valid.
    pub async fn load_image(&self, name: &str, archive: Vec<u8>) -> Result<(), Error> {
        let options = ImportImageOptions { quiet: true, platform: None };
        let body = Either::Left(Full::new(Bytes::from(archive)));
        let messages = self.api.import_image(options, body, None).try_collect::<Vec<_>>();
        self.call("load image", name, messages).await.map(|_| ())
    }
}

/// A reference as a part of a path. Its `/`, `:` and `@` stay; everything else that is special in a URL is encoded, and
/// segments that could lead to another path are refused, with Docker's message for malformed references.
fn encode_reference(operation: &'static str, reference: &str) -> Result<String, Error> {
    let parts: Vec<&str> = reference.split('/').collect();
    if parts.iter().any(|part| matches!(*part, "" | "." | "..")) {
        let cause = Cause::Invalid("invalid reference format".to_owned());
        return Err(Error::new(operation, reference, cause));
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
            assert!(
                matches!(encode_reference("inspect image", elsewhere), Err(error) if error.is_invalid()),
                "{elsewhere}"
            );
        }
    }

    #[test]
    fn an_error_in_the_pull_stream_is_parsed() {
        let message: PullProgress = serde_json::from_str(r#"{"errorDetail":{"message":"no"},"error":"no"}"#).unwrap();
        assert_eq!(message.error, "no");
    }
}
