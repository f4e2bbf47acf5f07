//! Port-forward sessions: each connection of a client is a pair of channels, one for the bytes and one for complaints.

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

use super::channels::Piece;
use super::channels::Presence;
use super::channels::Reader;
use super::channels::Writer;
use super::spdy::Opened;
use ::spdy::MAX_STREAMS;

/// How much is read from a port at once.
const READ_SIZE: usize = 32 << 10;

/// How long a half waits for the other one.
const PAIR_LIMIT: Duration = Duration::from_secs(30);
/// How many may wait, and how long the word is by which the other half is known. A client may open all first halves
/// before it opens the others.
const PAIRS_LIMIT: usize = MAX_STREAMS / 2;
const ID_LIMIT: usize = 256;
/// How long a client that cannot be told where a port's bytes end may still send after that end.
const AFTER_END: Duration = Duration::from_secs(1);

/// One connection, with both its channels.
pub(super) struct Pair {
    pub(super) port: u16,
    pub(super) from_client: Reader,
    pub(super) to_client: Writer,
    pub(super) error: Writer,
}

/// One channel of a pair, as the client opened it.
enum Half {
    Data { port: u16, reader: Reader, writer: Writer },
    Error { port: u16, writer: Writer },
}

/// A half whose other one has not come yet.
struct Waiting {
    half: Half,
    since: Instant,
}

/// Serves the pairs that a client opens on a SPDY connection until it closes that.
pub(super) async fn spdy(pods: &Arc<Pods>, sandbox: &str, mut opened: mpsc::Receiver<Opened>, presence: &Presence) {
    let mut waiting: HashMap<String, Waiting> = HashMap::new();
    let mut pairs = JoinSet::new();
    let mut sweep = tokio::time::interval(PAIR_LIMIT);
    loop {
        let stream = tokio::select! {
            stream = opened.recv() => stream,
            Some(_) = pairs.join_next() => continue,
            _ = sweep.tick() => {
                give_up_late(&mut waiting).await;
                continue;
            }
            () = presence.lost() => return,
        };
        let Some(stream) = stream else { return };
        let writer = stream.writer.clone();
        let Some((id, half)) = half(stream) else {
            writer.reset().await;
            continue;
        };
        if writer.accept().await.is_err() {
            return;
        }
        match pair(&mut waiting, id, half) {
            Some(Ok(pair)) => {
                let (pods, sandbox) = (Arc::clone(pods), sandbox.to_owned());
                pairs.spawn(async move { serve(&pods, &sandbox, pair, None).await });
            }
            Some(Err(())) => writer.reset().await,
            None => {}
        }
    }
}

/// The other half is there: a pair; the same one is there already, or for another port, or too many wait: an error.
fn pair(waiting: &mut HashMap<String, Waiting>, id: String, half: Half) -> Option<Result<Pair, ()>> {
    match (waiting.remove(&id), half) {
        (None, _) if waiting.len() >= PAIRS_LIMIT || id.len() > ID_LIMIT => Some(Err(())),
        (None, half) => {
            waiting.insert(id, Waiting { half, since: Instant::now() });
            None
        }
        (
            Some(Waiting { half: Half::Data { port, reader, writer }, .. }),
            Half::Error { port: other, writer: error },
        )
        | (
            Some(Waiting { half: Half::Error { port: other, writer: error }, .. }),
            Half::Data { port, reader, writer },
        ) if port == other => Some(Ok(Pair { port, from_client: reader, to_client: writer, error })),
        (Some(first), _) => {
            waiting.insert(id, first);
            Some(Err(()))
        }
    }
}

/// Resets the halves whose other one did not come.
async fn give_up_late(waiting: &mut HashMap<String, Waiting>) {
    let late = waiting.extract_if(|_, half| half.since.elapsed() >= PAIR_LIMIT);
    for (_, Waiting { half: Half::Data { writer, .. } | Half::Error { writer, .. }, .. }) in late {
        writer.reset().await;
    }
}

/// What a stream's headers say; `None` when they make no sense. Old clients do not number their pairs: then the data
/// stream is the next one after the error stream.
fn half(stream: Opened) -> Option<(String, Half)> {
    let port = stream.headers.get("port")?.parse().ok().filter(|port| *port > 0)?;
    let kind = stream.headers.get("streamtype")?.to_owned();
    let id = stream.headers.get("requestid").map(str::to_owned);
    match kind.as_str() {
        "error" => Some((id.unwrap_or_else(|| stream.id.to_string()), Half::Error { port, writer: stream.writer })),
        "data" => {
            let id = id.unwrap_or_else(|| stream.id.saturating_sub(2).to_string());
            Some((id, Half::Data { port, reader: stream.reader, writer: stream.writer }))
        }
        _ => None,
    }
}

/// Connects and passes bytes both ways until both sides have ended; `after_end` limits how long the client may still send
/// when the port has. What goes wrong is told on the error channel.
async fn serve(pods: &Pods, sandbox: &str, pair: Pair, after_end: Option<Duration>) {
    match pods.connect(sandbox, pair.port).await {
        Ok(connection) => pass(connection, pair, after_end).await,
        Err(reason) => {
            tracing::debug!(sandbox, port = pair.port, %reason, "could not forward a connection");
            // A client that is gone needs no reason.
            let _ = pair.error.write(reason.to_string()).await;
            pair.error.finish().await;
            pair.to_client.reset().await;
        }
    }
}

async fn pass(connection: TcpStream, pair: Pair, after_end: Option<Duration>) {
    // Forwarded bytes are often short messages that are waited for.
    if let Err(error) = connection.set_nodelay(true) {
        tracing::debug!(%error, "could not send small packets at once");
    }
    let (read, write) = connection.into_split();
    let upward = up(pair.from_client, write);
    let downward = down(read, &pair.to_client);
    tokio::pin!(upward, downward);
    tokio::select! {
        whole = &mut upward => {
            if whole {
                downward.await;
            }
            pair.error.finish().await;
        }
        () = &mut downward => {
            // The port has said all. There are clients that wait for the end of both channels before they end their own.
            pair.error.finish().await;
            // Until then, or until they give it up, they may still send.
            match after_end {
                Some(limit) => drop(timeout(limit, upward).await),
                None => drop(upward.await),
            }
        }
    }
}

/// From the client to the port. False when the client gave the connection up in the middle.
async fn up(mut from_client: Reader, mut port: OwnedWriteHalf) -> bool {
    loop {
        match from_client.next().await {
            Piece::Data(bytes) => {
                if port.write_all(&bytes).await.is_err() {
                    return true;
                }
            }
            Piece::End => {
                // The port may have closed already.
                let _ = port.shutdown().await;
                return true;
            }
            Piece::Broken => return false,
        }
    }
}

/// From the port to the client.
async fn down(mut port: OwnedReadHalf, to_client: &Writer) {
    let mut bytes = bytes::BytesMut::with_capacity(READ_SIZE);
    loop {
        bytes.reserve(READ_SIZE);
        match port.read_buf(&mut bytes).await {
            Ok(0) => return to_client.finish().await,
            Err(error) => {
                tracing::debug!(%error, "a forwarded connection broke");
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

/// Serves the older WebSocket protocol: two channels for each port the client asked for, with one connection each. It
/// knows no end of a channel, so a client learns that all ports are done from the end of the connection.
pub(super) async fn websocket(pods: &Arc<Pods>, sandbox: &str, pairs: Vec<Pair>, presence: &Presence) {
    let errors: Vec<Writer> = pairs.iter().map(|pair| pair.error.clone()).collect();
    let mut serving = JoinSet::new();
    for pair in pairs {
        let (pods, sandbox) = (Arc::clone(pods), sandbox.to_owned());
        serving.spawn(async move {
            // The client learns from it which port the channels are for.
            let port = pair.port.to_le_bytes().to_vec();
            if pair.to_client.write(port.clone()).await.is_ok() && pair.error.write(port).await.is_ok() {
                serve(&pods, &sandbox, pair, Some(AFTER_END)).await;
            }
        });
    }
    tokio::select! {
        () = presence.lost() => {
            for error in errors {
                // One that has left does not hear it.
                let _ = error.write(format!("the connection was ended: {}", presence.reason())).await;
            }
        }
        () = async { while serving.join_next().await.is_some() {} } => {}
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    use super::super::channels::Command;
    use super::super::channels::Driver;
    use super::super::channels::channels;
    use super::*;

    const DATA: u32 = 3;
    const ERROR: u32 = 1;

    /// A connection that is forwarded: the client's side, the port's side, and what passes bytes between them.
    async fn forwarded(after_end: Option<Duration>) -> (Driver, TcpStream, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connection = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (port, _) = listener.accept().await.unwrap();
        let (mut driver, sessions, _) = channels(&CancellationToken::new());
        let pair = Pair {
            port: 80,
            from_client: driver.inbound.open(DATA),
            to_client: sessions.writer(DATA),
            error: sessions.writer(ERROR),
        };
        (driver, port, tokio::spawn(pass(connection, pair, after_end)))
    }

    /// What the client is sent next.
    async fn sent(driver: &mut Driver) -> Command {
        timeout(Duration::from_secs(10), driver.commands.recv()).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn both_channels_end_with_the_port_while_the_client_may_still_send() {
        let (mut driver, mut port, passing) = forwarded(None).await;
        port.write_all(b"all").await.unwrap();
        port.shutdown().await.unwrap();
        assert!(matches!(sent(&mut driver).await, Command::Write(DATA, bytes) if bytes == "all"));
        assert!(matches!(sent(&mut driver).await, Command::Finish(DATA)));
        assert!(matches!(sent(&mut driver).await, Command::Finish(ERROR)));
        let room = driver.inbound.try_room(4).unwrap();
        driver.inbound.deliver(DATA, "late".into(), room);
        driver.inbound.end(DATA);
        let mut received = String::new();
        timeout(Duration::from_secs(10), port.read_to_string(&mut received)).await.unwrap().unwrap();
        assert_eq!(received, "late");
        timeout(Duration::from_secs(10), passing).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn all_first_halves_may_come_before_the_second_ones() {
        let (mut driver, sessions, _) = channels(&CancellationToken::new());
        let mut waiting = HashMap::new();
        let ids = 0..u32::try_from(MAX_STREAMS / 2).unwrap();
        for id in ids.clone() {
            let half = Half::Error { port: 80, writer: sessions.writer(4 * id + 1) };
            assert!(pair(&mut waiting, id.to_string(), half).is_none());
        }
        for id in ids {
            let channel = 4 * id + 3;
            let half = Half::Data { port: 80, reader: driver.inbound.open(channel), writer: sessions.writer(channel) };
            assert!(matches!(pair(&mut waiting, id.to_string(), half), Some(Ok(_))));
        }
        assert!(waiting.is_empty());
    }

    #[tokio::test]
    async fn a_client_that_hears_of_no_end_is_not_waited_for() {
        let (_driver, port, passing) = forwarded(Some(AFTER_END)).await;
        drop(port);
        timeout(Duration::from_secs(10), passing).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_port_may_answer_after_the_clients_end() {
        let (mut driver, mut port, passing) = forwarded(Some(AFTER_END)).await;
        driver.inbound.end(DATA);
        let mut received = Vec::new();
        timeout(Duration::from_secs(10), port.read_to_end(&mut received)).await.unwrap().unwrap();
        port.write_all(b"answer").await.unwrap();
        drop(port);
        assert!(matches!(sent(&mut driver).await, Command::Write(DATA, bytes) if bytes == "answer"));
        assert!(matches!(sent(&mut driver).await, Command::Finish(DATA)));
        assert!(matches!(sent(&mut driver).await, Command::Finish(ERROR)));
        timeout(Duration::from_secs(10), passing).await.unwrap().unwrap();
    }
}
