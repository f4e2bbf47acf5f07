//! The driver of a WebSocket connection: messages on numbered channels (`v5.channel.k8s.io` down to `channel.k8s.io`), or a
//! tunnel, whose messages carry the bytes of another protocol.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::CloseFrame;
use axum::extract::ws::Message;
use axum::extract::ws::WebSocket;
use axum::extract::ws::close_code;
use bytes::Bytes;
use futures_util::SinkExt;
use futures_util::StreamExt;
use futures_util::stream::SplitSink;
use futures_util::stream::SplitStream;
use parking_lot::Mutex;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::sleep_until;
use tokio::time::timeout;
use tokio_util::io::CopyToBytes;
use tokio_util::io::SinkWriter;
use tokio_util::io::StreamReader;

use super::channels::Driver;
use super::channels::Frame;
use super::channels::Inbound;
use super::framing::Framing;
use super::framing::Incoming;
use super::framing::Outgoing;

/// How long the sessions of a connection that closes may take to send their last status.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a last status has to reach the client before the socket is closed.
const DELIVERY_TIME: Duration = Duration::from_secs(1);

/// When a message was last received or sent.
#[derive(Clone)]
struct Activity(Arc<Mutex<Instant>>);

impl Activity {
    fn note(&self) {
        *self.0.lock() = Instant::now();
    }

    /// Resolves when no message was received or sent for `limit`.
    async fn idle_for(&self, limit: Duration) {
        loop {
            let until = *self.0.lock() + limit;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

/// Serves a connection until all sessions have ended and the client has received their last messages, or the client has
/// disconnected, or nothing was received or sent for `idle`.
pub(super) async fn run(socket: WebSocket, framing: Framing, driver: Driver, idle: Duration) {
    let (sink, messages) = socket.split();
    // WebSocket has no flow control windows, so the consumed bytes are not reported.
    let Driver { frames, inbound, consumed: _ } = driver;
    let close_signal = inbound.close_signal.clone();
    let activity = Activity(Arc::new(Mutex::new(Instant::now())));
    // Concurrent, because a client may send while it reads slowly.
    let writing = send(sink, framing, frames, activity.clone());
    let reading = receive(messages, framing, inbound, activity.clone());
    tokio::pin!(writing, reading);
    let client_connected = tokio::select! {
        client_connected = &mut reading => client_connected,
        () = activity.idle_for(idle) => {
            close_signal.close(format!("nothing was sent for {idle:?}"));
            true
        }
        complete = &mut writing => {
            if complete {
                // A client closes its side when it has read everything, which may be much later. Until then its messages
                // must be read, or the kernel would reset the connection and drop what is still in flight.
                let _ = timeout(idle, reading).await;
            }
            return;
        }
    };
    tracing::debug!(reason = close_signal.reason(), "a WebSocket connection closed");
    // The sessions may still send a last status. The client's messages are no longer read, so closing the socket resets the
    // connection: the status must reach the client before.
    if client_connected && let Ok(true) = timeout(CLOSE_TIMEOUT, writing).await {
        sleep(DELIVERY_TIME).await;
    }
}

/// Sends the sessions' frames, then the Close message. False when the client has disconnected.
async fn send(
    mut sink: SplitSink<WebSocket, Message>,
    framing: Framing,
    mut frames: mpsc::Receiver<Frame>,
    activity: Activity,
) -> bool {
    while let Some(frame) = frames.recv().await {
        // The protocol cannot close a single channel towards the client.
        let Frame::Data(channel, bytes) = frame else { continue };
        let message = match framing.encode(channel, &bytes) {
            Outgoing::Binary(bytes) => Message::Binary(bytes),
            Outgoing::Text(text) => Message::Text(text.into()),
        };
        if sink.send(message).await.is_err() {
            return false;
        }
        activity.note();
    }
    // Clients report a failure on any other code, and without one.
    let close = CloseFrame { code: close_code::NORMAL, reason: "".into() };
    sink.send(Message::Close(Some(close))).await.is_ok() && sink.flush().await.is_ok()
}

/// Delivers the client's messages to the sessions until the connection closes, then closes the sessions with the reason.
/// True when the client may still be connected.
async fn receive(
    mut messages: SplitStream<WebSocket>,
    framing: Framing,
    mut inbound: Inbound,
    activity: Activity,
) -> bool {
    let reason = loop {
        let message = match messages.next().await {
            Some(Ok(Message::Binary(bytes))) => bytes,
            Some(Ok(Message::Text(text))) => Bytes::from(text),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                activity.note();
                continue;
            }
            Some(Ok(Message::Close(_))) | None => {
                inbound.close_signal.close("the client closed the connection".to_owned());
                return false;
            }
            Some(Err(error)) => break format!("could not read what the client sent: {error}"),
        };
        activity.note();
        // Clients may send an empty message to test the connection.
        if message.is_empty() {
            continue;
        }
        match framing.decode(&message) {
            Ok(Incoming::Data(channel, bytes)) => {
                let Some(room) = inbound.reserve(bytes.len()).await else {
                    break "the connection is closed".to_owned();
                };
                inbound.deliver(channel, bytes, room);
            }
            Ok(Incoming::HalfClose(channel)) => inbound.half_close(channel),
            Err(fault) => break format!("the client sent {fault}"),
        }
    };
    inbound.close_signal.close(reason);
    true
}

/// The byte stream that a tunnel carries.
pub(super) fn tunnel(socket: WebSocket) -> impl AsyncRead + AsyncWrite {
    let (sink, messages) = socket.split();
    let bytes = messages.filter_map(async |message| match message {
        Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
        Ok(Message::Text(_)) => Some(Err(io::Error::new(io::ErrorKind::InvalidData, "text in a tunnel"))),
        Ok(_) => None,
        Err(error) => Some(Err(io::Error::other(error))),
    });
    let sink =
        sink.with(async |bytes| Ok(Message::Binary(bytes))).sink_map_err(|error: axum::Error| io::Error::other(error));
    tokio::io::join(StreamReader::new(Box::pin(bytes)), SinkWriter::new(CopyToBytes::new(Box::pin(sink))))
}
