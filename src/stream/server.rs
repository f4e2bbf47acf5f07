//! The HTTP side: accepts connections, finds what a token stands for, upgrades, and starts the session.

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

use super::Config;
use super::Error;
use super::Promise;
use super::Streams;
use super::session;
use super::tls;
use super::tokens::Tokens;
use super::upgrade;
use super::upgrade::Place;

/// Connections at a time, sessions included; more wait to be accepted.
const CONNECTIONS: usize = 1000;
/// A client has so long for its request's headers.
const HEADER_LIMIT: Duration = Duration::from_secs(10);
/// And for so many of them, and so many bytes.
const HEADERS: usize = 64;
const HEADER_BYTES: usize = 16 << 10;
/// The TLS handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Between accepting again after the process ran out of files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long sessions have to end when the process stops.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// A listening server.
pub struct Server {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    streams: Arc<Streams>,
}

impl Server {
    /// Listens, and returns what `cri` registers requests with.
    ///
    /// # Errors
    /// When the address or a TLS file cannot be used.
    pub async fn bind(
        config: &Config,
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

    /// Serves until the process stops; then clients are let go, and commands with a terminal are hung up.
    pub async fn serve(self) {
        let methods = MethodFilter::GET.or(MethodFilter::POST);
        let router = Router::new()
            .route("/exec/{token}", on(methods, exec))
            .route("/attach/{token}", on(methods, attach))
            .route("/portforward/{token}", on(methods, port_forward))
            .with_state(Arc::clone(&self.streams));
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let stop = self.streams.stop.clone();
        let accepting = async {
            loop {
                // It is never closed.
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                match self.listener.accept().await {
                    Ok((connection, _)) => {
                        // Sessions keep the place of their connection.
                        let router = router.clone().layer(Extension(Place::new(place)));
                        tokio::spawn(greet(connection, self.tls.clone(), router));
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
        let _ = timeout(STOP_LIMIT, self.streams.sessions.wait()).await;
    }
}

/// A new connection, which may begin with a TLS handshake.
async fn greet(connection: TcpStream, tls: Option<TlsAcceptor>, router: Router) {
    // Keys, and requests through a forwarded port, are small and waited for.
    if let Err(error) = connection.set_nodelay(true) {
        tracing::debug!(%error, "could not send small packets at once");
    }
    match tls {
        None => answer(connection, router).await,
        Some(tls) => match timeout(HANDSHAKE_LIMIT, tls.accept(connection)).await {
            Ok(Ok(connection)) => answer(connection, router).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        },
    }
}

/// One connection: requests, until one of them upgrades it.
async fn answer(connection: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .max_headers(HEADERS)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(connection), TowerToHyperService::new(router))
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a streaming connection ended");
    }
}

async fn exec(State(streams): State<Arc<Streams>>, Path(token): Path<String>, request: Request) -> Response {
    let Some(Promise::Exec { container, spec }) = streams.tokens.take(&token) else { return unknown_token() };
    let containers = Arc::clone(&streams.containers);
    upgrade::remote_command(streams, spec, request, move |spec, channels| async move {
        session::exec(&containers, &container, &spec, channels).await;
    })
    .await
}

async fn attach(State(streams): State<Arc<Streams>>, Path(token): Path<String>, request: Request) -> Response {
    let Some(Promise::Attach { container, spec }) = streams.tokens.take(&token) else { return unknown_token() };
    let containers = Arc::clone(&streams.containers);
    upgrade::remote_command(streams, spec, request, move |spec, channels| async move {
        session::attach(&containers, &container, &spec, channels).await;
    })
    .await
}

async fn port_forward(State(streams): State<Arc<Streams>>, Path(token): Path<String>, request: Request) -> Response {
    let Some(Promise::PortForward { sandbox, ports }) = streams.tokens.take(&token) else { return unknown_token() };
    upgrade::port_forward(streams, sandbox, ports, request).await
}

fn unknown_token() -> Response {
    let words = "this address was used already, has expired, or was never given out\n";
    (StatusCode::NOT_FOUND, words).into_response()
}
