//! WebSocket as kubectl, other Kubernetes clients and crictl speak it: the first byte of each message is the number of its
//! channel (`v5.channel.k8s.io` down to `channel.k8s.io`, and the `base64.` forms, where it is a digit and the rest is
//! text). Or a tunnel, whose messages are the bytes of another protocol.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::CloseFrame;
use axum::extract::ws::Message;
use axum::extract::ws::WebSocket;
use axum::extract::ws::close_code;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;
use futures_util::SinkExt;
use futures_util::StreamExt;
use futures_util::stream::SplitSink;
use futures_util::stream::SplitStream;
use parking_lot::Mutex;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio::time::sleep_until;
use tokio::time::timeout;
use tokio_util::io::CopyToBytes;
use tokio_util::io::SinkWriter;
use tokio_util::io::StreamReader;

use super::channels::Channel;
use super::channels::Command;
use super::channels::Driver;
use super::channels::Inbound;

/// In version 5, the channel that says which other one the client will send no more on.
const CLOSE: u8 = 255;
/// How long a client has to close its side after the last message.
const LINGER: Duration = Duration::from_secs(5);

/// How channels and bytes make messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Binary {
        /// Whether [`CLOSE`] has a meaning.
        half_close: bool,
    },
    /// For clients that can only send text.
    Base64,
}

/// What a client's message says.
#[derive(Debug, PartialEq, Eq)]
enum Incoming {
    Data(Channel, Bytes),
    End(Channel),
}

impl Framing {
    fn encode(self, channel: Channel, bytes: &[u8]) -> Message {
        match self {
            Framing::Binary { .. } => {
                let mut message = BytesMut::with_capacity(1 + bytes.len());
                message.put_u8(u8::try_from(channel).unwrap_or(u8::MAX));
                message.put_slice(bytes);
                Message::Binary(message.freeze())
            }
            Framing::Base64 => Message::Text(format!("{channel}{}", STANDARD.encode(bytes)).into()),
        }
    }

    fn decode(self, message: &Bytes) -> Result<Incoming, &'static str> {
        let Some(first) = message.first().copied() else { return Err("a message without a channel") };
        let rest = message.slice(1..);
        match self {
            Framing::Binary { half_close: true } if first == CLOSE => match *rest {
                [channel] => Ok(Incoming::End(channel.into())),
                _ => Err("a close message that does not name one channel"),
            },
            Framing::Binary { .. } => Ok(Incoming::Data(first.into(), rest)),
            Framing::Base64 if !first.is_ascii_digit() => Err("a message whose channel is not a digit"),
            Framing::Base64 => match STANDARD.decode(rest) {
                Ok(bytes) => Ok(Incoming::Data((first - b'0').into(), bytes.into())),
                Err(_) => Err("a message that is not base64"),
            },
        }
    }
}

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

/// Serves a connection until all sessions have ended, or the client is gone, or nothing came or went for `idle`.
pub(super) async fn run(socket: WebSocket, framing: Framing, driver: Driver, idle: Duration) {
    let (sink, messages) = socket.split();
    let Driver { commands, inbound, .. } = driver;
    let activity = Activity(Arc::new(Mutex::new(Instant::now())));
    // Side by side: a client may send while it is slow to read.
    let writing = send(sink, framing, commands, activity.clone());
    let reading = receive(messages, framing, inbound, activity.clone());
    tokio::pin!(writing, reading);
    tokio::select! {
        reason = &mut reading => tracing::debug!(reason, "a WebSocket connection ended"),
        () = activity.none_for(idle) => tracing::info!(?idle, "closed a WebSocket connection on which nothing was sent"),
        () = &mut writing => {
            // Whether the client says good-bye makes no difference.
            let _ = timeout(LINGER, reading).await;
        }
    }
}

/// Sends what the sessions ask for, and at their end the closing message.
async fn send(
    mut sink: SplitSink<WebSocket, Message>,
    framing: Framing,
    mut commands: mpsc::Receiver<Command>,
    activity: Activity,
) {
    while let Some(command) = commands.recv().await {
        // A client cannot be told of a single channel's end.
        let Command::Write(channel, bytes) = command else { continue };
        activity.note();
        if sink.send(framing.encode(channel, &bytes)).await.is_err() {
            // The reading side finds out why.
            return std::future::pending().await;
        }
    }
    // Clients take any other code, and none, for a failure.
    let farewell = CloseFrame { code: close_code::NORMAL, reason: "".into() };
    let _ = sink.send(Message::Close(Some(farewell))).await;
    let _ = sink.close().await;
}

/// Hands on what comes; returns why that ended.
async fn receive(
    mut messages: SplitStream<WebSocket>,
    framing: Framing,
    mut inbound: Inbound,
    activity: Activity,
) -> String {
    loop {
        let message = match messages.next().await {
            Some(Ok(Message::Binary(bytes))) => bytes,
            Some(Ok(Message::Text(text))) => Bytes::from(text),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            Some(Ok(Message::Close(_))) | None => return "the client closed it".to_owned(),
            Some(Err(error)) => return error.to_string(),
        };
        activity.note();
        match framing.decode(&message) {
            Ok(Incoming::Data(channel, bytes)) => {
                let Some(room) = inbound.room(bytes.len()).await else { return "there is no room".to_owned() };
                inbound.deliver(channel, bytes, room);
            }
            Ok(Incoming::End(channel)) => inbound.end(channel),
            Err(reason) => return format!("the client sent {reason}"),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const V4: Framing = Framing::Binary { half_close: false };
    const V5: Framing = Framing::Binary { half_close: true };

    #[test]
    fn the_first_byte_is_the_channel() {
        assert_eq!(V4.encode(1, b"hi"), Message::Binary(Bytes::from_static(b"\x01hi")));
        assert_eq!(V4.decode(&Bytes::from_static(b"\x00ls")), Ok(Incoming::Data(0, Bytes::from_static(b"ls"))));
        assert!(V4.decode(&Bytes::new()).is_err());
    }

    #[test]
    fn only_version_5_can_close_a_channel() {
        let close = Bytes::from_static(&[CLOSE, 0]);
        assert_eq!(V5.decode(&close), Ok(Incoming::End(0)));
        assert_eq!(V4.decode(&close), Ok(Incoming::Data(255, Bytes::from_static(&[0]))));
        assert!(V5.decode(&Bytes::from_static(&[CLOSE])).is_err());
    }

    #[test]
    fn text_is_base64_after_a_digit() {
        assert_eq!(Framing::Base64.encode(1, b"hi"), Message::Text("1aGk=".into()));
        let incoming = Framing::Base64.decode(&Bytes::from_static(b"0aGk="));
        assert_eq!(incoming, Ok(Incoming::Data(0, Bytes::from_static(b"hi"))));
        assert!(Framing::Base64.decode(&Bytes::from_static(b"0***")).is_err());
        assert!(Framing::Base64.decode(&Bytes::from_static(b"xaGk=")).is_err());
    }
}
