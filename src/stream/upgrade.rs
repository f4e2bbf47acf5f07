//! From an HTTP request to the channels of a session.

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

use super::Streams;
use super::channels::Channel;
use super::channels::Driver;
use super::channels::Presence;
use super::channels::Sessions;
use super::channels::channels;
use super::forward;
use super::forward::Pair;
use super::negotiate;
use super::negotiate::Refusal;
use super::negotiate::Upgrade;
use super::session::Channels;
use super::spdy;
use super::spdy::Opened;
use super::websocket;

/// A WebSocket message: what kubelets and other runtimes take.
const MESSAGE_LIMIT: usize = 32 << 20;
/// A SPDY client has so long to open the streams that its request needs.
const STREAMS_LIMIT: Duration = Duration::from_secs(30);

/// Each has two channels, and in base64 a channel is one digit.
const PORTS_LIMIT: usize = 5;
/// The channels of WebSocket messages, for exec and attach.
const STDIN: Channel = 0;
const STDOUT: Channel = 1;
const STDERR: Channel = 2;
const ERROR: Channel = 3;
const RESIZE: Channel = 4;

/// One of the connections there may be at a time; a session keeps that of its own.
#[derive(Clone)]
pub(super) struct Place(#[expect(dead_code, reason = "held until it is dropped")] Arc<OwnedSemaphorePermit>);

impl Place {
    pub(super) fn new(permit: OwnedSemaphorePermit) -> Place {
        Place(Arc::new(permit))
    }
}

/// Upgrades an exec or attach request; `run` gets the client's channels.
pub(super) async fn remote_command<R: Future<Output = ()> + Send>(
    streams: Arc<Streams>,
    spec: ExecSpec,
    request: Request,
    run: impl FnOnce(ExecSpec, Channels) -> R + Send + 'static,
) -> Response {
    match Upgrade::of(request.headers()) {
        Upgrade::Spdy => match negotiate::spdy(request.headers(), &negotiate::REMOTE_COMMAND) {
            Ok(protocol) => to_spdy(&Arc::clone(&streams), request, protocol, async move |io| {
                let (driver, sessions, presence) = channels(&streams.stop);
                let (opened, arriving) = spdy::arrivals();
                let session = async move {
                    let channels = timeout(STREAMS_LIMIT, collect(&spec, protocol, arriving, presence)).await;
                    // From here on the channels keep the connection open.
                    drop(sessions);
                    match channels {
                        Ok(Some(channels)) => run(spec, channels).await,
                        _ => tracing::debug!("a client did not open the streams that it had asked for"),
                    }
                };
                tokio::join!(spdy::run(io, driver, opened, streams.idle), session);
            }),
            Err(refusal) => refused(&refusal, &negotiate::REMOTE_COMMAND),
        },
        Upgrade::WebSocket => {
            to_websocket(&Arc::clone(&streams), request, &negotiate::WEBSOCKET, async move |socket, protocol| {
                let (mut driver, sessions, presence) = channels(&streams.stop);
                let channels = numbered(&spec, &protocol, &mut driver, &sessions, presence).await;
                drop(sessions);
                let driving = websocket::run(socket, negotiate::framing(&protocol), driver, streams.idle);
                tokio::join!(driving, run(spec, channels));
            })
            .await
        }
        Upgrade::None => no_upgrade(),
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
            Ok(protocol) => to_spdy(&Arc::clone(&streams), request, protocol, async move |io| {
                forward_pairs(&streams, &sandbox, io).await;
            }),
            Err(refusal) => refused(&refusal, &negotiate::PORT_FORWARD),
        },
        Upgrade::WebSocket if ports.len() > PORTS_LIMIT => {
            let words = format!("at most {PORTS_LIMIT} ports can be forwarded on a WebSocket connection\n");
            (StatusCode::BAD_REQUEST, words).into_response()
        }
        Upgrade::WebSocket => {
            let protocols = &negotiate::WEBSOCKET_FORWARD;
            to_websocket(&Arc::clone(&streams), request, protocols, async move |socket, protocol| {
                if protocol == negotiate::TUNNEL {
                    forward_pairs(&streams, &sandbox, websocket::tunnel(socket)).await;
                } else {
                    forward_ports(&streams, &sandbox, &ports, socket, &protocol).await;
                }
            })
            .await
        }
        Upgrade::None => no_upgrade(),
    }
}

async fn forward_pairs(streams: &Streams, sandbox: &str, io: impl AsyncRead + AsyncWrite) {
    let (driver, sessions, presence) = channels(&streams.stop);
    let (opened, arriving) = spdy::arrivals();
    let serving = async {
        forward::spdy(&streams.pods, sandbox, arriving, &presence).await;
        drop(sessions);
    };
    tokio::join!(spdy::run(io, driver, opened, streams.idle), serving);
}

async fn forward_ports(streams: &Streams, sandbox: &str, ports: &[u16], socket: WebSocket, protocol: &str) {
    let (mut driver, sessions, presence) = channels(&streams.stop);
    let pairs = (0..).step_by(2).zip(ports).map(|(data, port)| Pair {
        port: *port,
        from_client: driver.inbound.open(data),
        to_client: sessions.writer(data),
        error: sessions.writer(data + 1),
    });
    let pairs: Vec<Pair> = pairs.collect();
    drop(sessions);
    let driving = websocket::run(socket, negotiate::framing(protocol), driver, streams.idle);
    tokio::join!(driving, forward::websocket(&streams.pods, sandbox, pairs, &presence));
}

/// Waits until a SPDY client has opened all streams that its request needs. `None` when it goes away before.
async fn collect(
    spec: &ExecSpec,
    protocol: &str,
    mut arriving: mpsc::Receiver<Opened>,
    presence: Presence,
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
                wording: negotiate::wording(protocol),
                presence,
            });
        }
        let Opened { headers, reader, writer, .. } = arriving.recv().await?;
        let answer = writer.clone();
        match headers.get("streamtype") {
            Some("stdin") if spec.stdin && stdin.is_none() => stdin = Some(reader),
            Some("stdout") if spec.stdout && stdout.is_none() => stdout = Some(writer),
            Some("stderr") if spec.stderr && stderr.is_none() => stderr = Some(writer),
            Some("error") if error.is_none() => error = Some(writer),
            Some("resize") if resizes && resize.is_none() => resize = Some(reader),
            kind => {
                tracing::debug!(kind, "a client opened a stream that it had not asked for");
                answer.reset().await;
                continue;
            }
        }
        answer.accept().await.ok()?;
    }
}

/// The channels of a WebSocket client, which are there from the beginning.
async fn numbered(
    spec: &ExecSpec,
    protocol: &str,
    driver: &mut Driver,
    sessions: &Sessions,
    presence: Presence,
) -> Channels {
    let stdin = spec.stdin.then(|| driver.inbound.open(STDIN));
    let resize = spec.terminal.then(|| driver.inbound.open(RESIZE));
    let stdout = spec.stdout.then(|| sessions.writer(STDOUT));
    let stderr = spec.stderr.then(|| sessions.writer(STDERR));
    let error = sessions.writer(ERROR);
    // An empty message first: by it, clients know that the server is there. There is room for it.
    let _ = stdout.as_ref().or(stderr.as_ref()).unwrap_or(&error).write(Vec::new()).await;
    Channels { stdin, stdout, stderr, resize, error, wording: negotiate::wording(protocol), presence }
}

/// Answers 101 and runs `work` on the connection.
fn to_spdy<W>(
    streams: &Streams,
    mut request: Request,
    protocol: &'static str,
    work: impl FnOnce(TokioIo<Upgraded>) -> W + Send + 'static,
) -> Response
where
    W: Future<Output = ()> + Send,
{
    let upgrade = hyper::upgrade::on(&mut request);
    let place = request.extensions().get::<Place>().cloned();
    streams.sessions.spawn(async move {
        let _place = place;
        match upgrade.await {
            Ok(connection) => work(TokioIo::new(connection)).await,
            Err(error) => tracing::debug!(%error, "a client went away before its connection was upgraded"),
        }
    });
    let headers = [
        (header::CONNECTION.as_str(), "Upgrade"),
        (header::UPGRADE.as_str(), negotiate::SPDY),
        (negotiate::STREAM_PROTOCOL, protocol),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// Answers 101 and runs `work` with the connection and the common protocol, which is empty when the client named none.
async fn to_websocket<W>(
    streams: &Streams,
    request: Request,
    protocols: &'static [&'static str],
    work: impl FnOnce(WebSocket, String) -> W + Send + 'static,
) -> Response
where
    W: Future<Output = ()> + Send,
{
    let place = request.extensions().get::<Place>().cloned();
    let named = request.headers().contains_key(header::SEC_WEBSOCKET_PROTOCOL);
    let (mut parts, _) = request.into_parts();
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    let upgrade =
        upgrade.protocols(protocols.iter().copied()).max_message_size(MESSAGE_LIMIT).max_frame_size(MESSAGE_LIMIT);
    let chosen = upgrade.selected_protocol().and_then(|name| name.to_str().ok()).map(str::to_owned);
    if named && chosen.is_none() {
        return refused(&Refusal::Unknown, protocols);
    }
    let sessions = streams.sessions.clone();
    upgrade.on_upgrade(move |socket| async move {
        let _place = place;
        // Counted, so that a stop waits for it.
        let _ = sessions.spawn(async move { work(socket, chosen.unwrap_or_default()).await }).await;
    })
}

fn refused(refusal: &Refusal, ours: &[&str]) -> Response {
    match refusal {
        Refusal::Unnamed => {
            let words = format!("the header {} is missing\n", negotiate::STREAM_PROTOCOL);
            (StatusCode::BAD_REQUEST, words).into_response()
        }
        Refusal::Unknown => {
            let words = format!("none of the client's protocols is served here; these are: {}\n", ours.join(", "));
            let mut response = (StatusCode::FORBIDDEN, words).into_response();
            for protocol in ours {
                if let Ok(value) = HeaderValue::from_str(protocol) {
                    response.headers_mut().append(negotiate::ACCEPTED_PROTOCOLS, value);
                }
            }
            response
        }
    }
}

fn no_upgrade() -> Response {
    (StatusCode::BAD_REQUEST, "only an upgrade to SPDY/3.1 or WebSocket is served here\n").into_response()
}
