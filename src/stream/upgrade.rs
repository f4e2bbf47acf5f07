//! Upgrades an HTTP request to SPDY or WebSocket and opens the channels of its session.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::extract::Request;
use axum::extract::ws::WebSocket;
use axum::extract::ws::WebSocketUpgrade;
use axum::response::IntoResponse;
use axum::response::Response;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::docker::ExecSpec;

use super::channels::Channel;
use super::channels::CloseSignal;
use super::channels::ConnectionHandle;
use super::channels::Driver;
use super::channels::channels;
use super::forward;
use super::forward::ChannelPair;
use super::negotiate;
use super::negotiate::Refusal;
use super::negotiate::Upgrade;
use super::requests::Streams;
use super::session::Channels;
use super::spdy;
use super::spdy::OpenedStream;
use super::websocket;

/// The length of a WebSocket message, in bytes; the limit of kubelets and other runtimes.
const MAX_MESSAGE_SIZE: usize = 32 << 20;
/// How long a SPDY client may take to open the streams that its request needs.
const OPEN_STREAMS_TIMEOUT: Duration = Duration::from_secs(30);
/// Ports of one WebSocket port-forward: each has two channels, and in base64 a channel is one digit.
const MAX_WEBSOCKET_PORTS: usize = 5;

// The channels of WebSocket messages, for exec and attach.
const STDIN: Channel = 0;
const STDOUT: Channel = 1;
const STDERR: Channel = 2;
const ERROR: Channel = 3;
const RESIZE: Channel = 4;

/// Counts a connection against the server's limit until its session has ended.
#[derive(Clone)]
pub(super) struct ConnectionPermit(#[expect(dead_code, reason = "held until it is dropped")] Arc<OwnedSemaphorePermit>);

impl ConnectionPermit {
    pub(super) fn new(permit: OwnedSemaphorePermit) -> ConnectionPermit {
        ConnectionPermit(Arc::new(permit))
    }
}

/// Upgrades an exec or attach request and calls `run` with the client's channels.
pub(super) async fn remote_command<R: Future<Output = ()> + Send>(
    streams: Arc<Streams>,
    spec: ExecSpec,
    request: Request,
    run: impl FnOnce(ExecSpec, Channels) -> R + Send + 'static,
) -> Response {
    match Upgrade::of(request.headers()) {
        Upgrade::Spdy => match negotiate::spdy(request.headers(), &negotiate::REMOTE_COMMAND) {
            Ok(protocol) => upgrade_to_spdy(&Arc::clone(&streams), request, protocol, async move |io| {
                let (driver, connection, close_signal) = channels(&streams.stop);
                let (opened, incoming) = spdy::opened_streams();
                let session = async move {
                    let channels =
                        timeout(OPEN_STREAMS_TIMEOUT, open_spdy_channels(&spec, protocol, incoming, close_signal))
                            .await;
                    // From here on the channels keep the connection open.
                    drop(connection);
                    match channels {
                        Ok(Some(channels)) => run(spec, channels).await,
                        _ => tracing::debug!("a client did not open the streams that it had requested"),
                    }
                };
                tokio::join!(spdy::run(io, driver, opened, streams.idle), session);
            }),
            Err(refusal) => refuse(&refusal, &negotiate::REMOTE_COMMAND),
        },
        Upgrade::WebSocket => {
            upgrade_to_websocket(
                &Arc::clone(&streams),
                request,
                &negotiate::WEBSOCKET,
                async move |socket, protocol| {
                    let (mut driver, connection, close_signal) = channels(&streams.stop);
                    let channels =
                        open_websocket_channels(&spec, &protocol, &mut driver, &connection, close_signal).await;
                    drop(connection);
                    let driving = websocket::run(socket, negotiate::framing(&protocol), driver, streams.idle);
                    tokio::join!(driving, run(spec, channels));
                },
            )
            .await
        }
        Upgrade::None => refuse_without_upgrade(),
    }
}

/// Upgrades a port-forward request and serves its connections.
pub(super) async fn port_forward(
    streams: Arc<Streams>,
    sandbox: String,
    ports: Vec<u16>,
    request: Request,
) -> Response {
    match Upgrade::of(request.headers()) {
        Upgrade::Spdy => match negotiate::spdy(request.headers(), &negotiate::PORT_FORWARD) {
            Ok(protocol) => upgrade_to_spdy(&Arc::clone(&streams), request, protocol, async move |io| {
                forward_spdy(&streams, &sandbox, io).await;
            }),
            Err(refusal) => refuse(&refusal, &negotiate::PORT_FORWARD),
        },
        Upgrade::WebSocket if ports.len() > MAX_WEBSOCKET_PORTS => {
            let message = format!("at most {MAX_WEBSOCKET_PORTS} ports can be forwarded on a WebSocket connection\n");
            (StatusCode::BAD_REQUEST, message).into_response()
        }
        Upgrade::WebSocket => {
            let protocols = &negotiate::WEBSOCKET_FORWARD;
            upgrade_to_websocket(&Arc::clone(&streams), request, protocols, async move |socket, protocol| {
                if protocol == negotiate::TUNNEL {
                    forward_spdy(&streams, &sandbox, websocket::tunnel(socket)).await;
                } else {
                    forward_websocket(&streams, &sandbox, &ports, socket, &protocol).await;
                }
            })
            .await
        }
        Upgrade::None => refuse_without_upgrade(),
    }
}

async fn forward_spdy(streams: &Streams, sandbox: &str, io: impl AsyncRead + AsyncWrite) {
    let (driver, connection, close_signal) = channels(&streams.stop);
    let (opened, incoming) = spdy::opened_streams();
    let serving = async {
        forward::serve_spdy(&streams.pods, sandbox, incoming, &close_signal).await;
        drop(connection);
    };
    tokio::join!(spdy::run(io, driver, opened, streams.idle), serving);
}

async fn forward_websocket(streams: &Streams, sandbox: &str, ports: &[u16], socket: WebSocket, protocol: &str) {
    let (mut driver, connection, close_signal) = channels(&streams.stop);
    let pairs = (0..).step_by(2).zip(ports).map(|(data, port)| ChannelPair {
        port: *port,
        from_client: driver.inbound.open(data),
        to_client: connection.writer(data),
        error: connection.writer(data + 1),
    });
    let pairs: Vec<ChannelPair> = pairs.collect();
    drop(connection);
    let driving = websocket::run(socket, negotiate::framing(protocol), driver, streams.idle);
    tokio::join!(driving, forward::serve_websocket(&streams.pods, sandbox, pairs, &close_signal));
}

/// Waits until a SPDY client has opened all streams that its request needs. `None` when it disconnects before.
async fn open_spdy_channels(
    spec: &ExecSpec,
    protocol: &str,
    mut incoming: mpsc::Receiver<OpenedStream>,
    close_signal: CloseSignal,
) -> Option<Channels> {
    let (mut stdin, mut stdout, mut stderr, mut error, mut resize) = (None, None, None, None, None);
    let resizes = spec.terminal && negotiate::has_resize(protocol);
    loop {
        let complete = (stdin.is_some() || !spec.stdin)
            && (stdout.is_some() || !spec.stdout)
            && (stderr.is_some() || !spec.stderr)
            && (resize.is_some() || !resizes);
        if complete && let Some(error) = error.take() {
            return Some(Channels {
                stdin,
                stdout,
                stderr,
                resize,
                error,
                status_format: negotiate::status_format(protocol),
                close_signal,
            });
        }
        let OpenedStream { headers, reader, writer, .. } = incoming.recv().await?;
        let reply = writer.clone();
        match headers.get("streamtype") {
            Some("stdin") if spec.stdin && stdin.is_none() => stdin = Some(reader),
            Some("stdout") if spec.stdout && stdout.is_none() => stdout = Some(writer),
            Some("stderr") if spec.stderr && stderr.is_none() => stderr = Some(writer),
            Some("error") if error.is_none() => error = Some(writer),
            Some("resize") if resizes && resize.is_none() => resize = Some(reader),
            kind => {
                tracing::debug!(kind, "a client opened a stream that it had not requested");
                reply.reset().await;
                continue;
            }
        }
        reply.accept().await.ok()?;
    }
}

/// Opens the channels of a WebSocket client, which have fixed numbers.
async fn open_websocket_channels(
    spec: &ExecSpec,
    protocol: &str,
    driver: &mut Driver,
    connection: &ConnectionHandle,
    close_signal: CloseSignal,
) -> Channels {
    let stdin = spec.stdin.then(|| driver.inbound.open(STDIN));
    let resize = spec.terminal.then(|| driver.inbound.open(RESIZE));
    let stdout = spec.stdout.then(|| connection.writer(STDOUT));
    let stderr = spec.stderr.then(|| connection.writer(STDERR));
    let error = connection.writer(ERROR);
    // Clients wait for a first, empty message from the server. The queue has room for it.
    let _ = stdout.as_ref().or(stderr.as_ref()).unwrap_or(&error).write(Vec::new()).await;
    Channels { stdin, stdout, stderr, resize, error, status_format: negotiate::status_format(protocol), close_signal }
}

/// Responds with 101 and runs `work` on the upgraded connection.
fn upgrade_to_spdy<W>(
    streams: &Streams,
    mut request: Request,
    protocol: &'static str,
    work: impl FnOnce(TokioIo<Upgraded>) -> W + Send + 'static,
) -> Response
where
    W: Future<Output = ()> + Send,
{
    let upgrade = hyper::upgrade::on(&mut request);
    let permit = request.extensions().get::<ConnectionPermit>().cloned();
    streams.sessions.spawn(async move {
        let _permit = permit;
        match upgrade.await {
            Ok(connection) => work(TokioIo::new(connection)).await,
            Err(error) => tracing::debug!(%error, "could not upgrade a connection"),
        }
    });
    let headers = [
        (header::CONNECTION.as_str(), "Upgrade"),
        (header::UPGRADE.as_str(), negotiate::SPDY),
        (negotiate::STREAM_PROTOCOL, protocol),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// Responds with 101 and runs `work` with the connection and the chosen protocol, which is empty when the client named none.
async fn upgrade_to_websocket<W>(
    streams: &Streams,
    request: Request,
    protocols: &'static [&'static str],
    work: impl FnOnce(WebSocket, String) -> W + Send + 'static,
) -> Response
where
    W: Future<Output = ()> + Send,
{
    let permit = request.extensions().get::<ConnectionPermit>().cloned();
    let named = request.headers().contains_key(header::SEC_WEBSOCKET_PROTOCOL);
    let (mut parts, _) = request.into_parts();
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    let upgrade = upgrade
        .protocols(protocols.iter().copied())
        .max_message_size(MAX_MESSAGE_SIZE)
        .max_frame_size(MAX_MESSAGE_SIZE);
    let chosen = upgrade.selected_protocol().and_then(|name| name.to_str().ok()).map(str::to_owned);
    if named && chosen.is_none() {
        return refuse(&Refusal::Unsupported, protocols);
    }
    let sessions = streams.sessions.clone();
    upgrade.on_upgrade(move |socket| async move {
        let _permit = permit;
        // Tracked, so that shutdown waits for the session.
        let _ = sessions.spawn(async move { work(socket, chosen.unwrap_or_default()).await }).await;
    })
}

fn refuse(refusal: &Refusal, supported: &[&str]) -> Response {
    match refusal {
        Refusal::Missing => {
            let message = format!("the header {} is missing\n", negotiate::STREAM_PROTOCOL);
            (StatusCode::BAD_REQUEST, message).into_response()
        }
        Refusal::Unsupported => {
            let message =
                format!("none of the client's protocols is supported; supported are {}\n", supported.join(", "));
            let mut response = (StatusCode::FORBIDDEN, message).into_response();
            for protocol in supported {
                if let Ok(value) = HeaderValue::from_str(protocol) {
                    response.headers_mut().append(negotiate::ACCEPTED_PROTOCOLS, value);
                }
            }
            response
        }
    }
}

fn refuse_without_upgrade() -> Response {
    (StatusCode::BAD_REQUEST, "only upgrades to SPDY/3.1 or WebSocket are supported\n").into_response()
}
