//! The HTTP server: accepts connections, finds the request of a token, upgrades the connection and starts the session.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::Router;
use axum::extract::Path;
use axum::extract::Request;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::MethodFilter;
use axum::routing::on;
use http::StatusCode;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::container::Containers;
use crate::pod::Pods;

use super::error::Error;
use super::requests::PendingRequest;
use super::requests::Streams;
use super::session;
use super::tls;
use super::tokens::Tokens;
use super::upgrade;
use super::upgrade::ConnectionPermit;
use crate::config::StreamingConfig;

/// Open connections, sessions included; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 1000;
/// How long a client may take to send a request's headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Headers of a request.
const MAX_HEADERS: usize = 64;
/// Bytes of a request's headers.
const MAX_HEADER_BYTES: usize = 16 << 10;
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a connection could not be accepted, which happens when the process has no free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long sessions have to end when the process stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// A listening server.
pub(crate) struct Server {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    streams: Arc<Streams>,
}

impl Server {
    /// Listens, and returns the server with the [`Streams`] that `cri` registers requests with.
    ///
    /// # Errors
    /// See [`Error`].
    pub(crate) async fn bind(
        config: &StreamingConfig,
        containers: Arc<Containers>,
        pods: Arc<Pods>,
        stop: CancellationToken,
    ) -> Result<(Server, Arc<Streams>), Error> {
        let failed = |source| Error::Listen { address: config.address, source };
        let tls = tls::acceptor(config)?;
        let listener = TcpListener::bind(config.address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let streams = Arc::new(Streams {
            containers,
            pods,
            tokens: Tokens::new(),
            base: format!("{scheme}://{address}"),
            idle: config.idle,
            sessions: TaskTracker::new(),
            stop,
        });
        Ok((Server { listener, tls, streams: Arc::clone(&streams) }, streams))
    }

    /// Serves until the process stops. Then sessions are closed, and exec'd processes with a terminal get SIGHUP.
    pub(crate) async fn serve(self) {
        let methods = MethodFilter::GET.or(MethodFilter::POST);
        let router = Router::new()
            .route("/exec/{token}", on(methods, exec))
            .route("/attach/{token}", on(methods, attach))
            .route("/portforward/{token}", on(methods, port_forward))
            .with_state(Arc::clone(&self.streams));
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let stop = self.streams.stop.clone();
        let accepting = async {
            loop {
                // Fails only when the semaphore is closed, which it never is.
                let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
                match self.listener.accept().await {
                    Ok((connection, _)) => {
                        // A session keeps its connection's permit.
                        let router = router.clone().layer(Extension(ConnectionPermit::new(permit)));
                        tokio::spawn(handle_connection(connection, self.tls.clone(), router));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "could not accept a streaming connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            () = accepting => {}
            () = stop.cancelled() => {}
        }
        self.streams.sessions.close();
        let _ = timeout(STOP_TIMEOUT, self.streams.sessions.wait()).await;
    }
}

/// Serves a new connection, after a TLS handshake where TLS is configured.
async fn handle_connection(connection: TcpStream, tls: Option<TlsAcceptor>, router: Router) {
    // Keystrokes and forwarded requests are small and must not be delayed.
    if let Err(error) = connection.set_nodelay(true) {
        tracing::debug!(%error, "could not set TCP_NODELAY");
    }
    match tls {
        None => serve_http(connection, router).await,
        Some(tls) => match timeout(HANDSHAKE_TIMEOUT, tls.accept(connection)).await {
            Ok(Ok(connection)) => serve_http(connection, router).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake timed out"),
        },
    }
}

/// Serves the requests on a connection until one of them upgrades it.
async fn serve_http(connection: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(connection), TowerToHyperService::new(router))
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a streaming connection failed");
    }
}

async fn exec(State(streams): State<Arc<Streams>>, Path(token): Path<String>, request: Request) -> Response {
    let Some(PendingRequest::Exec { container, spec }) = streams.tokens.take(&token) else { return unknown_token() };
    let containers = Arc::clone(&streams.containers);
    upgrade::remote_command(streams, spec, request, move |spec, channels| async move {
        session::exec(&containers, &container, &spec, channels).await;
    })
    .await
}

async fn attach(State(streams): State<Arc<Streams>>, Path(token): Path<String>, request: Request) -> Response {
    let Some(PendingRequest::Attach { container, spec }) = streams.tokens.take(&token) else { return unknown_token() };
    let containers = Arc::clone(&streams.containers);
    upgrade::remote_command(streams, spec, request, move |spec, channels| async move {
        session::attach(&containers, &container, &spec, channels).await;
    })
    .await
}

async fn port_forward(State(streams): State<Arc<Streams>>, Path(token): Path<String>, request: Request) -> Response {
    let Some(PendingRequest::PortForward { sandbox, ports }) = streams.tokens.take(&token) else {
        return unknown_token();
    };
    upgrade::port_forward(streams, sandbox, ports, request).await
}

fn unknown_token() -> Response {
    let message = "this URL was already used, has expired or was never issued\n";
    (StatusCode::NOT_FOUND, message).into_response()
}
