//! The way to the API server: requests, answers and watches over a few kept connections.
//!
//! This is a small client of our own and not the kube crate. What this scheduler does is a dozen kinds to watch and
//! five kinds of writes, with its own structures (see `wire`): kube's watcher asks of every type that it keeps the
//! whole metadata, with the managed fields which are half of a pod, and brings Kubernetes' complete types, which would
//! double what everybody who builds Dockside has to compile.
//!
//! Who calls in: everything of the scheduler that talks to a cluster. Nothing here knows what a pod is.

mod access;
mod connect;
mod credentials;
mod encoding;
mod error;
#[cfg(test)]
pub(crate) mod fake;
mod kubeconfig;
mod parts;

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

pub use self::access::Access;
pub use self::access::AccessArgs;
use self::connect::Connector;
pub use self::encoding::Decode;
pub use self::encoding::Encoding;
pub use self::encoding::Page;
pub use self::encoding::nullable;
pub use self::error::Error;
pub use self::parts::Parts;

/// What the API server writes in its logs about who asks.
const USER_AGENT: &str = concat!("dockside-scheduler/", env!("CARGO_PKG_VERSION"));
/// Nothing but a watch takes longer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A server that is overloaded says when to come again; so often we do.
const ATTEMPTS: u32 = 4;
/// How long to wait when it does not say.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// So long a connection may be silent before it is asked whether it still lives.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// A list of large objects comes quicker when the server does not have to wait for us.
const WINDOW: u32 = 1 << 20;

/// Which of the connections a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Lists and watches.
    Watch,
    /// Short calls.
    Call,
    /// What may come late: events, conditions.
    Report,
}

/// How a body is written.
#[derive(Clone, Copy, Debug)]
pub enum Format {
    Json,
    MergePatch,
    StrategicMergePatch,
}

/// A client of one API server. Clones share its connections.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    access: Access,
    watches: legacy::Client<Connector, Full<Bytes>>,
    calls: legacy::Client<Connector, Full<Bytes>>,
    reports: legacy::Client<Connector, Full<Bytes>>,
}

impl Client {
    /// A client; nothing is connected before the first request.
    ///
    /// # Errors
    /// When a certificate or a key cannot be used.
    pub fn new(access: Access) -> Result<Client, Error> {
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

    /// Reads an object.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get<T: DeserializeOwned>(&self, lane: Lane, path: &str) -> Result<T, Error> {
        let answer = self.send(lane, Method::GET, path, Encoding::Json, None).await?;
        encoding::from_json(path, &read(answer, path).await?)
    }

    /// Reads a page of a list, in this encoding if the server can.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn page<T: Decode>(&self, path: &str, wanted: Encoding) -> Result<Page<T>, Error> {
        let answer = self.send(Lane::Watch, Method::GET, path, wanted, None).await?;
        let encoding = Encoding::of(&answer);
        encoding.page(path, read(answer, path).await?)
    }

    /// Makes an object.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn post(&self, lane: Lane, path: &str, body: &Value) -> Result<(), Error> {
        self.write(lane, Method::POST, path, (Format::Json, body)).await
    }

    /// Replaces an object.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn put(&self, lane: Lane, path: &str, body: &Value) -> Result<(), Error> {
        self.write(lane, Method::PUT, path, (Format::Json, body)).await
    }

    /// Changes an object.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn patch(&self, lane: Lane, path: &str, format: Format, body: &Value) -> Result<(), Error> {
        self.write(lane, Method::PATCH, path, (format, body)).await
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete(&self, lane: Lane, path: &str, body: &Value) -> Result<(), Error> {
        self.write(lane, Method::DELETE, path, (Format::Json, body)).await
    }

    /// Opens an answer that does not end, in this encoding if the server can. It is dead when nothing was heard for as
    /// long as `silence`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn watch(&self, path: &str, wanted: Encoding, silence: Duration) -> Result<Parts, Error> {
        let request = self.request(&Method::GET, path, wanted, None).await?;
        let answer = self.exchange(Lane::Watch, request, path).await?;
        if !answer.status().is_success() {
            return Err(refusal(answer, path).await);
        }
        let encoding = Encoding::of(&answer);
        Ok(Parts::new(answer.into_body(), encoding, path, silence))
    }

    /// Sends a request that changes something.
    async fn write(&self, lane: Lane, method: Method, path: &str, body: (Format, &Value)) -> Result<(), Error> {
        let answer = self.send(lane, method, path, Encoding::Json, Some(body)).await?;
        read(answer, path).await.map(drop)
    }

    /// Sends a request, again if the server is overloaded, until there is an answer that is no refusal.
    async fn send(
        &self,
        lane: Lane,
        method: Method,
        path: &str,
        wanted: Encoding,
        body: Option<(Format, &Value)>,
    ) -> Result<Response<Incoming>, Error> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let request = self.request(&method, path, wanted, body).await?;
            let answer = self.exchange(lane, request, path).await?;
            if answer.status().is_success() {
                return Ok(answer);
            }
            let after = retry_after(&answer).filter(|_| attempts < ATTEMPTS);
            let error = refusal(answer, path).await;
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
        wanted: Encoding,
        body: Option<(Format, &Value)>,
    ) -> Result<Request<Full<Bytes>>, Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(self.0.access.url(path))
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::ACCEPT, wanted.accept());
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

    async fn exchange(
        &self,
        lane: Lane,
        request: Request<Full<Bytes>>,
        path: &str,
    ) -> Result<Response<Incoming>, Error> {
        let client = match lane {
            Lane::Watch => &self.0.watches,
            Lane::Call => &self.0.calls,
            Lane::Report => &self.0.reports,
        };
        match tokio::time::timeout(TIMEOUT, client.request(request)).await {
            Ok(answer) => answer.map_err(|error| Error::unreachable(self.0.access.server(), &error)),
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

async fn read(answer: Response<Incoming>, path: &str) -> Result<Bytes, Error> {
    match tokio::time::timeout(TIMEOUT, answer.into_body().collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) => Err(Error::Broken { path: path.to_owned(), reason: error.to_string() }),
        Err(_) => Err(Error::Timeout { path: path.to_owned() }),
    }
}

/// What the server said instead of doing what it was asked.
async fn refusal(answer: Response<Incoming>, path: &str) -> Error {
    let (code, encoding) = (answer.status().as_u16(), Encoding::of(&answer));
    let body = match read(answer, path).await {
        Ok(body) => body,
        Err(error) => return error,
    };
    Error::refused(code, path, encoding, &body)
}

/// When to come again, if the server is overloaded and the request has not been looked at.
fn retry_after(answer: &Response<Incoming>) -> Option<Duration> {
    let overloaded = answer.status() == http::StatusCode::TOO_MANY_REQUESTS;
    let said = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    overloaded.then(|| said.map_or(RETRY_AFTER, |seconds: u64| Duration::from_secs(seconds.clamp(1, 10))))
}
