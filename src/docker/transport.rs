//! A pooled HTTP transport to Docker's unix socket.
//!
//! bollard's own transport opens one connection per request, and does not put the negotiated API version into the path,
//! so that the daemon answers with its newest format. This one does both.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use bollard::BollardRequest;
use bollard::errors::Error as Bollard;
use bytes::Bytes;
use futures_util::Stream;
use http::HeaderValue;
use http::Response;
use http::Uri;
use http_body_util::BodyExt;
use http_body_util::Either;
use http_body_util::Full;
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use parking_lot::Mutex;
use percent_encoding::AsciiSet;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::PercentEncode;
use percent_encoding::utf8_percent_encode;
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tracing::Instrument;
use tracing::field::Empty;

use super::version::ApiVersion;
use crate::observability::SPANS;

/// How many requests of each kind (`POST /containers/{}/start`) were sent since the start.
pub type RequestCounts = BTreeMap<String, u64>;

/// The body of bollard's requests.
pub(super) type Body =
    Either<Full<Bytes>, StreamBody<Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, io::Error>> + Send>>>>;

/// How long an idle connection is kept: after a restart of the daemon it is of no use.
const POOL_IDLE: Duration = Duration::from_secs(30);
/// How many idle connections are kept: enough for a kubelet's bursts. Streams are not pooled.
const POOL_SIZE: usize = 32;

/// All but the unreserved characters (RFC 3986, section 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// The same in a reference of an image, whose port and digest stay readable.
const ESCAPED_IN_REFERENCE: &AsciiSet = &ESCAPED.remove(b':').remove(b'@');

/// The connections to one socket, and the API version that requests name.
pub(super) struct Transport {
    http: Client<UnixConnector, Body>,
    /// The negotiated API version as `major << 16 | minor`; 0 before the negotiation.
    version: AtomicU32,
    counts: Arc<Mutex<RequestCounts>>,
}

impl Transport {
    pub(super) fn new(socket: &Path) -> Transport {
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(POOL_IDLE).pool_max_idle_per_host(POOL_SIZE);
        let http = builder.build(UnixConnector { socket: Arc::new(socket.to_owned()) });
        Transport { http, version: AtomicU32::new(0), counts: Arc::default() }
    }

    /// Sets the API version for every later request.
    pub(super) fn set_version(&self, version: ApiVersion) {
        let packed = u32::from(version.major) << 16 | u32::from(version.minor);
        self.version.store(packed, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> RequestCounts {
        self.counts.lock().clone()
    }

    /// Sends one request, with the API version put before its path.
    pub(super) fn send(
        &self,
        mut request: BollardRequest,
    ) -> impl Future<Output = Result<Response<Incoming>, Bollard>> + Send + use<> {
        let kind = kind(request.method().as_str(), request.uri().path());
        let span = tracing::info_span!(
            target: SPANS,
            "docker",
            otel.name = kind,
            otel.kind = "client",
            url.path = request.uri().path(),
            http.response.status_code = Empty,
        );
        *self.counts.lock().entry(kind).or_default() += 1;
        let rewritten = versioned(request.uri(), self.version.load(Ordering::Relaxed));
        let http = self.http.clone();
        let answer = {
            let span = span.clone();
            async move {
                if let Some(uri) = rewritten? {
                    *request.uri_mut() = uri;
                }
                let answer = http.request(request).await?;
                span.record("http.response.status_code", answer.status().as_u16());
                Ok(answer)
            }
        };
        answer.instrument(span)
    }

    /// Sends a GET, and returns an answer with a status of success.
    pub(super) async fn get(&self, path_and_query: &str) -> Result<Response<Incoming>, Bollard> {
        success(self.send(request("GET", path_and_query)?).await?).await
    }

    /// Sends a GET, and parses the JSON of the answer.
    pub(super) async fn get_json<T: DeserializeOwned>(&self, path_and_query: &str) -> Result<T, Bollard> {
        parse(self.get(path_and_query).await?).await
    }

    /// Sends a POST with a JSON body, and parses the JSON of the answer.
    pub(super) async fn post_json<T: DeserializeOwned>(
        &self,
        path_and_query: &str,
        body: &impl Serialize,
    ) -> Result<T, Bollard> {
        let request = with_json(request("POST", path_and_query)?, serde_json::to_vec(body)?);
        parse(success(self.send(request).await?).await?).await
    }
}

/// A request without a body.
pub(super) fn request(method: &str, path_and_query: &str) -> Result<BollardRequest, Bollard> {
    Ok(http::Request::builder()
        .method(method)
        .uri(format!("http://docker{path_and_query}"))
        .body(Either::Left(Full::new(Bytes::new())))?)
}

/// `request` with a JSON body.
pub(super) fn with_json(mut request: BollardRequest, body: Vec<u8>) -> BollardRequest {
    request.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    *request.body_mut() = Either::Left(Full::new(Bytes::from(body)));
    request
}

/// Turns an HTTP error status into an error with Docker's message.
pub(super) async fn success(answer: Response<Incoming>) -> Result<Response<Incoming>, Bollard> {
    #[derive(Deserialize)]
    struct Message {
        message: String,
    }
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let body = answer.into_body().collect().await?.to_bytes();
    let message = match serde_json::from_slice::<Message>(&body) {
        Ok(parsed) => parsed.message,
        Err(_) => String::from_utf8_lossy(&body).into_owned(),
    };
    Err(Bollard::DockerResponseServerError { status_code: status.as_u16(), message })
}

async fn parse<T: DeserializeOwned>(answer: Response<Incoming>) -> Result<T, Bollard> {
    let body = answer.into_body().collect().await?.to_bytes();
    Ok(serde_json::from_slice(&body)?)
}

/// Percent-encodes a query value or one segment of a path.
pub(super) fn encode(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, ESCAPED)
}

/// Percent-encodes one segment of an image's reference; `:` and `@` stay as they are.
pub(super) fn encode_in_reference(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, ESCAPED_IN_REFERENCE)
}

/// The method and path with ids and names replaced, so that requests are counted by kind.
fn kind(method: &str, path: &str) -> String {
    const VERBS: [&str; 17] = [
        "json",
        "create",
        "start",
        "stop",
        "kill",
        "wait",
        "exec",
        "attach",
        "resize",
        "update",
        "load",
        "events",
        "info",
        "version",
        "_ping",
        "containers",
        "images",
    ];
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty())
        .map(|part| if VERBS.contains(&part) { part } else { "{}" })
        .collect();
    format!("{method} /{}", parts.join("/"))
}

fn versioned(uri: &Uri, packed: u32) -> Result<Option<Uri>, Bollard> {
    // A daemon must answer these two whatever version was negotiated: it may have been replaced since.
    if packed == 0 || matches!(uri.path(), "/version" | "/_ping") {
        return Ok(None);
    }
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let text = format!("http://docker/v{}.{}{path}", packed >> 16, packed & 0xffff);
    Ok(Some(Uri::try_from(text).map_err(http::Error::from)?))
}

/// Connects to the socket, whatever the host of the URI.
#[derive(Clone)]
struct UnixConnector {
    socket: Arc<PathBuf>,
}

impl tower::Service<Uri> for UnixConnector {
    type Response = TokioIo<UnixStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<UnixStream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let socket = Arc::clone(&self.socket);
        Box::pin(async move {
            let stream = UnixStream::connect(&*socket)
                .await
                .map_err(|source| io::Error::new(source.kind(), format!("{}: {source}", socket.display())))?;
            Ok(TokioIo::new(stream))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_values_are_percent_encoded() {
        assert_eq!(encode(r#"{"a":["b c"]}"#).to_string(), "%7B%22a%22%3A%5B%22b%20c%22%5D%7D");
        assert_eq!(encode("a-b_c.d~é").to_string(), "a-b_c.d~%C3%A9");
    }

    #[test]
    fn kinds_hide_ids_and_names() {
        assert_eq!(kind("POST", "/containers/0123abcd/start"), "POST /containers/{}/start");
        assert_eq!(kind("GET", "/images/docker.io/library/nginx/json"), "GET /images/{}/{}/{}/json");
        assert_eq!(kind("DELETE", "/containers/0123abcd"), "DELETE /containers/{}");
    }

    #[test]
    fn the_version_goes_before_the_path_and_keeps_the_query() {
        let uri = Uri::from_static("http://docker/containers/json?all=1");
        let versioned = versioned(&uri, 1 << 16 | 41).unwrap().unwrap();
        assert_eq!(versioned.to_string(), "http://docker/v1.41/containers/json?all=1");
    }
}
