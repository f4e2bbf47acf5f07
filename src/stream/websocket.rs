//! WebSocket connections as kubectl, other Kubernetes clients and crictl make them: messages on numbered channels
//! (`v5.channel.k8s.io` down to `channel.k8s.io`), or a tunnel, whose messages are the bytes of another protocol.

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

use super::channels::Command;
use super::channels::Driver;
use super::channels::Inbound;
use super::framing::Framing;
use super::framing::Incoming;
use super::framing::Outgoing;

/// How long sessions that are cut off may take for their last words, and these to the client.
const FAREWELL: Duration = Duration::from_secs(5);
const DELIVERY: Duration = Duration::from_secs(1);

/// When something last came or went.
#[derive(Clone)]
struct Activity(Arc<Mutex<Instant>>);

impl Activity {
    fn note(&self) {
        *self.0.lock() = Instant::now();
    }

    /// Resolves when nothing came or went for `limit`.
    async fn none_for(&self, limit: Duration) {
        loop {
            let until = *self.0.lock() + limit;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

/// Serves a connection until all sessions have ended and the client has taken the rest, or the client is gone, or nothing
/// came or went for `idle`.
pub(super) async fn run(socket: WebSocket, framing: Framing, driver: Driver, idle: Duration) {
    let (sink, messages) = socket.split();
    // There are no windows here, so it does not matter what was taken.
    let Driver { commands, inbound, taken: _ } = driver;
    let presence = inbound.presence.clone();
    let activity = Activity(Arc::new(Mutex::new(Instant::now())));
    // Side by side: a client may send while it is slow to read.
    let writing = send(sink, framing, commands, activity.clone());
    let reading = receive(messages, framing, inbound, activity.clone());
    tokio::pin!(writing, reading);
    let there = tokio::select! {
        there = &mut reading => there,
        () = activity.none_for(idle) => {
            presence.cut_off(format!("nothing was sent for {idle:?}"));
            true
        }
        complete = &mut writing => {
            if complete {
                // A client closes its side when it has read everything, which may be long after. What it still sends must
                // be read until then, or the kernel would reset the connection and lose what is on its way.
                let _ = timeout(idle, reading).await;
            }
            return;
        }
    };
    tracing::debug!(reason = presence.reason(), "a WebSocket connection ended");
    // The sessions have heard of it, and may say a last word. What the client still sends is not read any more, so the
    // word has to reach it before the connection goes.
    if there && let Ok(true) = timeout(FAREWELL, writing).await {
        sleep(DELIVERY).await;
    }
}

/// Sends what the sessions ask for, and at their end the closing message. False when the client does not take it.
async fn send(
    mut sink: SplitSink<WebSocket, Message>,
    framing: Framing,
    mut commands: mpsc::Receiver<Command>,
    activity: Activity,
) -> bool {
    while let Some(command) = commands.recv().await {
        // A client cannot be told of a single channel's end.
        let Command::Write(channel, bytes) = command else { continue };
        let message = match framing.encode(channel, &bytes) {
            Outgoing::Binary(bytes) => Message::Binary(bytes),
            Outgoing::Text(text) => Message::Text(text.into()),
        };
        if sink.send(message).await.is_err() {
            return false;
        }
        activity.note();
    }
    // Clients take any other code, and none, for a failure.
    let farewell = CloseFrame { code: close_code::NORMAL, reason: "".into() };
    sink.send(Message::Close(Some(farewell))).await.is_ok() && sink.flush().await.is_ok()
}

/// Hands on what comes until there is no more, and tells the sessions why. True when the client may still hear of it.
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
                inbound.presence.cut_off("the client closed it".to_owned());
                return false;
            }
            Some(Err(error)) => break format!("could not read what the client sent: {error}"),
        };
        activity.note();
        // Clients may send one to see whether the connection works.
        if message.is_empty() {
            continue;
        }
        match framing.decode(&message) {
            Ok(Incoming::Data(channel, bytes)) => {
                let Some(room) = inbound.room(bytes.len()).await else { break "there is no room".to_owned() };
                inbound.deliver(channel, bytes, room);
            }
            Ok(Incoming::End(channel)) => inbound.end(channel),
            Err(fault) => break format!("the client sent {fault}"),
        }
    };
    inbound.presence.cut_off(reason);
    true
}

/// The bytes that a tunnel carries.
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
