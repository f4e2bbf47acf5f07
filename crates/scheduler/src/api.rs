//! The Kubernetes API client: requests, responses and watches over a few persistent connections.
//!
//! It is not the kube crate: this scheduler watches a dozen kinds and makes five kinds of writes with its own partial
//! types (see `wire`). kube's watcher requires the whole metadata of every type, including the managed fields that are
//! half of a pod, and k8s-openapi's complete types would double what has to be compiled.
//!
//! Callers: everything that talks to the cluster. Nothing here depends on the kind of an object.

mod access;
mod connect;
mod credentials;
mod encoding;
mod error;
#[cfg(test)]
pub(crate) mod fake;
mod kubeconfig;
mod watch_stream;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::Request;
use http::Response;
use http::header;
use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioTimer;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use self::access::Access;
pub(crate) use self::access::AccessArgs;
use self::connect::Connector;
pub(crate) use self::encoding::Decode;
pub(crate) use self::encoding::Encoding;
pub(crate) use self::encoding::Page;
pub(crate) use self::encoding::nullable;
pub(crate) use self::error::Error;
pub(crate) use self::watch_stream::WatchStream;

/// Identifies the scheduler in the API server's logs.
const USER_AGENT: &str = concat!("dockside-scheduler/", env!("CARGO_PKG_VERSION"));
/// The timeout of every request except a watch.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often a request is sent in total while the server answers 429.
const ATTEMPTS: u32 = 4;
/// The pause before a retry, if a 429 has no Retry-After.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The interval of HTTP/2 pings on a silent connection.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// HTTP/2 stream window: large lists arrive faster when the server need not wait for window updates.
const WINDOW: u32 = 1 << 20;

/// The connection pool a request uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pool {
    /// Lists and watches.
    Watch,
    /// Short requests.
    Call,
    /// Requests that may be delayed: events and conditions.
    Report,
}

/// The format of a request body.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Format {
    /// A complete object.
    Json,
    /// JSON merge patch (RFC 7386).
    MergePatch,
    /// Kubernetes' strategic merge patch.
    StrategicMergePatch,
}

/// A client of one API server. Clones share its connections.
#[derive(Clone)]
pub(crate) struct Client(Arc<Inner>);

struct Inner {
    access: Access,
    watches: legacy::Client<Connector, Full<Bytes>>,
    calls: legacy::Client<Connector, Full<Bytes>>,
    reports: legacy::Client<Connector, Full<Bytes>>,
}

impl Client {
    /// A client; it connects with the first request.
    ///
    /// # Errors
    /// A certificate or a key cannot be used.
    pub(crate) fn new(access: Access) -> Result<Client, Error> {
        let connector = Connector::new(&access)?;
        let pool = || {
            legacy::Client::builder(TokioExecutor::new())
                .timer(TokioTimer::new())
                .pool_timer(TokioTimer::new())
                .http2_only(access.is_tls())
                .http2_keep_alive_interval(KEEP_ALIVE)
                .http2_keep_alive_while_idle(true)
                .http2_initial_stream_window_size(WINDOW)
                .http2_initial_connection_window_size(WINDOW * 4)
                .build(connector.clone())
        };
        let (watches, calls, reports) = (pool(), pool(), pool());
        Ok(Client(Arc::new(Inner { access, watches, calls, reports })))
    }

    /// Gets an object.
    ///
    /// # Errors
    /// See [`Error`].
    pub(crate) async fn get<T: DeserializeOwned>(&self, pool: Pool, path: &str) -> Result<T, Error> {
        let response = self.send_with_retry(pool, Method::GET, path, Encoding::Json, None).await?;
        encoding::from_json(path, &read(response, path).await?)
    }

    /// Gets a page of a list, in this encoding if the server supports it.
    ///
    /// # Errors
    /// See [`Error`].
    pub(crate) async fn page<T: Decode>(&self, path: &str, encoding: Encoding) -> Result<Page<T>, Error> {
        let response = self.send_with_retry(Pool::Watch, Method::GET, path, encoding, None).await?;
        let encoding = Encoding::of(&response);
        encoding.page(path, read(response, path).await?)
    }

    /// Creates an object.
    ///
    /// # Errors
    /// See [`Error`].
    pub(crate) async fn post(&self, pool: Pool, path: &str, body: &Value) -> Result<(), Error> {
        self.write(pool, Method::POST, path, (Format::Json, body)).await
    }

    /// Replaces an object.
    ///
    /// # Errors
    /// See [`Error`].
    pub(crate) async fn put(&self, pool: Pool, path: &str, body: &Value) -> Result<(), Error> {
        self.write(pool, Method::PUT, path, (Format::Json, body)).await
    }

    /// Patches an object.
    ///
    /// # Errors
    /// See [`Error`].
    pub(crate) async fn patch(&self, pool: Pool, path: &str, format: Format, body: &Value) -> Result<(), Error> {
        self.write(pool, Method::PATCH, path, (format, body)).await
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// See [`Error`].
    pub(crate) async fn delete(&self, pool: Pool, path: &str, body: &Value) -> Result<(), Error> {
        self.write(pool, Method::DELETE, path, (Format::Json, body)).await
    }

    /// Opens a watch, in this encoding if the server supports it. It fails when nothing is received for `idle_timeout`.
    ///
    /// # Errors
    /// See [`Error`].
    pub(crate) async fn watch(
        &self,
        path: &str,
        encoding: Encoding,
        idle_timeout: Duration,
    ) -> Result<WatchStream, Error> {
        let request = self.request(&Method::GET, path, encoding, None).await?;
        let response = self.send_once(Pool::Watch, request, path).await?;
        if !response.status().is_success() {
            return Err(refusal(response, path).await);
        }
        let encoding = Encoding::of(&response);
        Ok(WatchStream::new(response.into_body(), encoding, path, idle_timeout))
    }

    /// Sends a request that changes something.
    async fn write(&self, pool: Pool, method: Method, path: &str, body: (Format, &Value)) -> Result<(), Error> {
        let response = self.send_with_retry(pool, method, path, Encoding::Json, Some(body)).await?;
        read(response, path).await.map(drop)
    }

    /// Sends a request until it succeeds or fails; repeats it while the server is overloaded (429).
    async fn send_with_retry(
        &self,
        pool: Pool,
        method: Method,
        path: &str,
        encoding: Encoding,
        body: Option<(Format, &Value)>,
    ) -> Result<Response<Incoming>, Error> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let request = self.request(&method, path, encoding, body).await?;
            let response = self.send_once(pool, request, path).await?;
            if response.status().is_success() {
                return Ok(response);
            }
            let after = retry_after(&response).filter(|_| attempts < ATTEMPTS);
            let error = refusal(response, path).await;
            match after {
                Some(after) => tokio::time::sleep(after).await,
                None => return Err(error),
            }
        }
    }

    async fn request(
        &self,
        method: &Method,
        path: &str,
        encoding: Encoding,
        body: Option<(Format, &Value)>,
    ) -> Result<Request<Full<Bytes>>, Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(self.0.access.url(path))
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::ACCEPT, encoding.accept());
        if let Some(authorization) = self.0.access.authorization().await? {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let bytes = match body {
            None => Bytes::new(),
            Some((format, body)) => {
                request = request.header(header::CONTENT_TYPE, format.media_type());
                Bytes::from(body.to_string())
            }
        };
        request.body(Full::new(bytes)).map_err(|source| Error::Request { path: path.to_owned(), source })
    }

    async fn send_once(
        &self,
        pool: Pool,
        request: Request<Full<Bytes>>,
        path: &str,
    ) -> Result<Response<Incoming>, Error> {
        let client = match pool {
            Pool::Watch => &self.0.watches,
            Pool::Call => &self.0.calls,
            Pool::Report => &self.0.reports,
        };
        match tokio::time::timeout(TIMEOUT, client.request(request)).await {
            Ok(response) => response.map_err(|error| Error::unreachable(self.0.access.server(), &error)),
            Err(_) => Err(Error::Timeout { path: path.to_owned() }),
        }
    }
}

impl Format {
    fn media_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::MergePatch => "application/merge-patch+json",
            Format::StrategicMergePatch => "application/strategic-merge-patch+json",
        }
    }
}

async fn read(response: Response<Incoming>, path: &str) -> Result<Bytes, Error> {
    match tokio::time::timeout(TIMEOUT, response.into_body().collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) => Err(Error::Broken { path: path.to_owned(), reason: error.to_string() }),
        Err(_) => Err(Error::Timeout { path: path.to_owned() }),
    }
}

/// The error in a response without success.
async fn refusal(response: Response<Incoming>, path: &str) -> Error {
    let (code, encoding) = (response.status().as_u16(), Encoding::of(&response));
    let body = match read(response, path).await {
        Ok(body) => body,
        Err(error) => return error,
    };
    Error::refused(code, path, encoding, &body)
}

/// When to retry, if the server was too busy to process the request.
fn retry_after(response: &Response<Incoming>) -> Option<Duration> {
    let overloaded = response.status() == http::StatusCode::TOO_MANY_REQUESTS;
    let said = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    overloaded.then(|| said.map_or(RETRY_AFTER, |seconds: u64| Duration::from_secs(seconds.clamp(1, 10))))
}
