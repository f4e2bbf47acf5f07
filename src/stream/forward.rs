//! Port-forward sessions: each forwarded connection is a pair of channels, one for its bytes and one for an error.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::timeout;

use crate::pod::Pods;

use super::backpressure::PORT_READ_SIZE;
use super::channels::CloseSignal;
use super::channels::Reader;
use super::channels::Received;
use super::channels::Writer;
use super::spdy::OpenedStream;
use ::spdy::MAX_STREAMS;

/// How long the first stream of a pair waits for the second one.
const PAIR_TIMEOUT: Duration = Duration::from_secs(30);
/// Streams that may wait for their second one. A client may open the first streams of all pairs before the others.
const MAX_UNPAIRED: usize = MAX_STREAMS / 2;
/// The length of a `requestid` header, in bytes.
const MAX_REQUEST_ID: usize = 256;
/// How long a client may still send after the port has closed its side, where the protocol cannot half-close a channel.
const SEND_TIMEOUT_AFTER_CLOSE: Duration = Duration::from_secs(1);

/// The channels of one forwarded connection.
pub(super) struct ChannelPair {
    pub(super) port: u16,
    pub(super) from_client: Reader,
    pub(super) to_client: Writer,
    pub(super) error: Writer,
}

/// One of a pair's two SPDY streams.
enum PairMember {
    Data { port: u16, reader: Reader, writer: Writer },
    Error { port: u16, writer: Writer },
}

/// A stream whose pair is not complete yet.
struct Unpaired {
    member: PairMember,
    since: Instant,
}

/// Serves the pairs of streams that a client opens on a SPDY connection, until the connection closes.
pub(super) async fn serve_spdy(
    pods: &Arc<Pods>,
    sandbox: &str,
    mut opened: mpsc::Receiver<OpenedStream>,
    close_signal: &CloseSignal,
) {
    let mut unpaired: HashMap<String, Unpaired> = HashMap::new();
    let mut pairs = JoinSet::new();
    let mut sweep = tokio::time::interval(PAIR_TIMEOUT);
    loop {
        let stream = tokio::select! {
            stream = opened.recv() => stream,
            Some(_) = pairs.join_next() => continue,
            _ = sweep.tick() => {
                reset_unpaired(&mut unpaired).await;
                continue;
            }
            () = close_signal.closed() => return,
        };
        let Some(stream) = stream else { return };
        let writer = stream.writer.clone();
        let Some((id, member)) = parse_stream(stream) else {
            writer.reset().await;
            continue;
        };
        if writer.accept().await.is_err() {
            return;
        }
        match add_to_pair(&mut unpaired, id, member) {
            Some(Ok(pair)) => {
                let (pods, sandbox) = (Arc::clone(pods), sandbox.to_owned());
                pairs.spawn(async move { serve_pair(&pods, &sandbox, pair, None).await });
            }
            Some(Err(())) => writer.reset().await,
            None => {}
        }
    }
}

/// Adds a stream to the pair with its request id. Returns the pair when it is complete; an error when the stream belongs to
/// another port than the first one, was opened before, or when too many streams are unpaired.
fn add_to_pair(
    unpaired: &mut HashMap<String, Unpaired>,
    id: String,
    member: PairMember,
) -> Option<Result<ChannelPair, ()>> {
    match (unpaired.remove(&id), member) {
        (None, _) if unpaired.len() >= MAX_UNPAIRED || id.len() > MAX_REQUEST_ID => Some(Err(())),
        (None, member) => {
            unpaired.insert(id, Unpaired { member, since: Instant::now() });
            None
        }
        (
            Some(Unpaired { member: PairMember::Data { port, reader, writer }, .. }),
            PairMember::Error { port: other, writer: error },
        )
        | (
            Some(Unpaired { member: PairMember::Error { port: other, writer: error }, .. }),
            PairMember::Data { port, reader, writer },
        ) if port == other => Some(Ok(ChannelPair { port, from_client: reader, to_client: writer, error })),
        (Some(first), _) => {
            unpaired.insert(id, first);
            Some(Err(()))
        }
    }
}

/// Resets the streams whose second one was not opened in time.
async fn reset_unpaired(unpaired: &mut HashMap<String, Unpaired>) {
    let late = unpaired.extract_if(|_, stream| stream.since.elapsed() >= PAIR_TIMEOUT);
    for (_, Unpaired { member: PairMember::Data { writer, .. } | PairMember::Error { writer, .. }, .. }) in late {
        writer.reset().await;
    }
}

/// Reads a stream's headers; `None` when they are invalid. Old clients send no request id: then the data stream is the
/// next one after the error stream, and the error stream's number is the id.
fn parse_stream(stream: OpenedStream) -> Option<(String, PairMember)> {
    let port = stream.headers.get("port")?.parse().ok().filter(|port| *port > 0)?;
    let kind = stream.headers.get("streamtype")?.to_owned();
    let id = stream.headers.get("requestid").map(str::to_owned);
    match kind.as_str() {
        "error" => {
            Some((id.unwrap_or_else(|| stream.id.to_string()), PairMember::Error { port, writer: stream.writer }))
        }
        "data" => {
            let id = id.unwrap_or_else(|| stream.id.saturating_sub(2).to_string());
            Some((id, PairMember::Data { port, reader: stream.reader, writer: stream.writer }))
        }
        _ => None,
    }
}

/// Connects to the port and forwards bytes until both sides are closed. `send_timeout` limits how long the client may still
/// send when the port has closed its side. A failure to connect is sent on the error channel.
async fn serve_pair(pods: &Pods, sandbox: &str, pair: ChannelPair, send_timeout: Option<Duration>) {
    match pods.connect(sandbox, pair.port).await {
        Ok(connection) => forward(connection, pair, send_timeout).await,
        Err(reason) => {
            tracing::debug!(sandbox, port = pair.port, %reason, "could not forward a connection");
            // Fails only when the client has disconnected.
            let _ = pair.error.write(reason.to_string()).await;
            pair.error.half_close().await;
            pair.to_client.reset().await;
        }
    }
}

async fn forward(connection: TcpStream, pair: ChannelPair, send_timeout: Option<Duration>) {
    // Forwarded messages are often short and must not be delayed.
    if let Err(error) = connection.set_nodelay(true) {
        tracing::debug!(%error, "could not set TCP_NODELAY");
    }
    let (read, write) = connection.into_split();
    let to_port = forward_to_port(pair.from_client, write);
    let to_client = forward_to_client(read, &pair.to_client);
    tokio::pin!(to_port, to_client);
    tokio::select! {
        complete = &mut to_port => {
            if complete {
                to_client.await;
            }
            pair.error.half_close().await;
        }
        () = &mut to_client => {
            // The port has closed its side. Some clients close theirs only when both channels are half-closed; until then
            // they may still send.
            pair.error.half_close().await;
            match send_timeout {
                Some(limit) => drop(timeout(limit, to_port).await),
                None => drop(to_port.await),
            }
        }
    }
}

/// Forwards bytes from the client to the port. False when the client aborted the connection.
async fn forward_to_port(mut from_client: Reader, mut port: OwnedWriteHalf) -> bool {
    loop {
        match from_client.next().await {
            Received::Data(bytes) => {
                if port.write_all(&bytes).await.is_err() {
                    return true;
                }
            }
            Received::HalfClosed => {
                // Fails only when the port has closed the connection.
                let _ = port.shutdown().await;
                return true;
            }
            Received::Aborted => return false,
        }
    }
}

/// Forwards bytes from the port to the client.
async fn forward_to_client(mut port: OwnedReadHalf, to_client: &Writer) {
    let mut bytes = bytes::BytesMut::with_capacity(PORT_READ_SIZE);
    loop {
        bytes.reserve(PORT_READ_SIZE);
        match port.read_buf(&mut bytes).await {
            Ok(0) => return to_client.half_close().await,
            Err(error) => {
                tracing::debug!(%error, "could not read from a forwarded port");
                return to_client.reset().await;
            }
            Ok(_) => {
                if to_client.write(bytes.split().freeze()).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Serves the older WebSocket protocol: two channels and one connection for each requested port. The protocol cannot
/// half-close a channel, so the WebSocket is closed when all ports have closed.
pub(super) async fn serve_websocket(
    pods: &Arc<Pods>,
    sandbox: &str,
    pairs: Vec<ChannelPair>,
    close_signal: &CloseSignal,
) {
    let errors: Vec<Writer> = pairs.iter().map(|pair| pair.error.clone()).collect();
    let mut serving = JoinSet::new();
    for pair in pairs {
        let (pods, sandbox) = (Arc::clone(pods), sandbox.to_owned());
        serving.spawn(async move {
            // Each channel begins with its port, little-endian.
            let port = pair.port.to_le_bytes().to_vec();
            if pair.to_client.write(port.clone()).await.is_ok() && pair.error.write(port).await.is_ok() {
                serve_pair(&pods, &sandbox, pair, Some(SEND_TIMEOUT_AFTER_CLOSE)).await;
            }
        });
    }
    tokio::select! {
        () = close_signal.closed() => {
            for error in errors {
                // Fails only when the client has disconnected.
                let _ = error.write(format!("the connection was closed: {}", close_signal.reason())).await;
            }
        }
        () = async { while serving.join_next().await.is_some() {} } => {}
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    use super::super::channels::Driver;
    use super::super::channels::Frame;
    use super::super::channels::channels;
    use super::*;

    const DATA: u32 = 3;
    const ERROR: u32 = 1;

    /// A forwarded connection: the client's side, the port's side, and the task between them.
    async fn forwarded(send_timeout: Option<Duration>) -> (Driver, TcpStream, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connection = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (port, _) = listener.accept().await.unwrap();
        let (mut driver, handle, _) = channels(&CancellationToken::new());
        let pair = ChannelPair {
            port: 80,
            from_client: driver.inbound.open(DATA),
            to_client: handle.writer(DATA),
            error: handle.writer(ERROR),
        };
        (driver, port, tokio::spawn(forward(connection, pair, send_timeout)))
    }

    /// The next frame to the client.
    async fn sent(driver: &mut Driver) -> Frame {
        timeout(Duration::from_secs(10), driver.frames.recv()).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_port_that_closes_half_closes_both_channels_and_still_receives() {
        let (mut driver, mut port, forwarding) = forwarded(None).await;
        port.write_all(b"all").await.unwrap();
        port.shutdown().await.unwrap();
        assert!(matches!(sent(&mut driver).await, Frame::Data(DATA, bytes) if bytes == "all"));
        assert!(matches!(sent(&mut driver).await, Frame::HalfClose(DATA)));
        assert!(matches!(sent(&mut driver).await, Frame::HalfClose(ERROR)));
        let room = driver.inbound.try_reserve(4).unwrap();
        driver.inbound.deliver(DATA, "late".into(), room);
        driver.inbound.half_close(DATA);
        let mut received = String::new();
        timeout(Duration::from_secs(10), port.read_to_string(&mut received)).await.unwrap().unwrap();
        assert_eq!(received, "late");
        timeout(Duration::from_secs(10), forwarding).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn the_first_streams_of_all_pairs_may_be_opened_before_the_second_ones() {
        let (mut driver, handle, _) = channels(&CancellationToken::new());
        let mut unpaired = HashMap::new();
        let ids = 0..u32::try_from(MAX_STREAMS / 2).unwrap();
        for id in ids.clone() {
            let member = PairMember::Error { port: 80, writer: handle.writer(4 * id + 1) };
            assert!(add_to_pair(&mut unpaired, id.to_string(), member).is_none());
        }
        for id in ids {
            let channel = 4 * id + 3;
            let member =
                PairMember::Data { port: 80, reader: driver.inbound.open(channel), writer: handle.writer(channel) };
            assert!(matches!(add_to_pair(&mut unpaired, id.to_string(), member), Some(Ok(_))));
        }
        assert!(unpaired.is_empty());
    }

    #[tokio::test]
    async fn a_client_without_half_close_does_not_keep_a_closed_connection() {
        let (_driver, port, forwarding) = forwarded(Some(SEND_TIMEOUT_AFTER_CLOSE)).await;
        drop(port);
        timeout(Duration::from_secs(10), forwarding).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_port_may_answer_after_the_client_half_closed() {
        let (mut driver, mut port, forwarding) = forwarded(Some(SEND_TIMEOUT_AFTER_CLOSE)).await;
        driver.inbound.half_close(DATA);
        let mut received = Vec::new();
        timeout(Duration::from_secs(10), port.read_to_end(&mut received)).await.unwrap().unwrap();
        port.write_all(b"answer").await.unwrap();
        drop(port);
        assert!(matches!(sent(&mut driver).await, Frame::Data(DATA, bytes) if bytes == "answer"));
        assert!(matches!(sent(&mut driver).await, Frame::HalfClose(DATA)));
        assert!(matches!(sent(&mut driver).await, Frame::HalfClose(ERROR)));
        timeout(Duration::from_secs(10), forwarding).await.unwrap().unwrap();
    }
}
