//! Encodes channels into WebSocket messages: the first byte is the channel's number, in the `base64.` protocols a digit
//! before base64 text. No I/O.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;

/// A channel's number.
type Channel = u32;

/// In version 5, the channel on which the client half-closes another one: the message is that one's number.
const CLOSE: u8 = 255;

/// How a channel's bytes become messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Binary {
        /// Whether the protocol has [`CLOSE`]: version 5.
        half_close: bool,
    },
    /// For clients that can only send text messages.
    Base64,
}

/// A message to send.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outgoing {
    Binary(Bytes),
    Text(String),
}

/// A decoded message of a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    Data(Channel, Bytes),
    HalfClose(Channel),
}

impl Framing {
    /// The message that carries `bytes` on a channel.
    pub(super) fn encode(self, channel: Channel, bytes: &[u8]) -> Outgoing {
        match self {
            Framing::Binary { .. } => {
                let mut message = BytesMut::with_capacity(1 + bytes.len());
                message.put_u8(u8::try_from(channel).unwrap_or(u8::MAX));
                message.put_slice(bytes);
                Outgoing::Binary(message.freeze())
            }
            Framing::Base64 => Outgoing::Text(format!("{channel}{}", STANDARD.encode(bytes))),
        }
    }

    /// Decodes a client's message.
    ///
    /// # Errors
    /// A description of the malformed message, to follow "the client sent".
    pub(super) fn decode(self, message: &Bytes) -> Result<Incoming, &'static str> {
        let Some(first) = message.first().copied() else { return Err("a message without a channel") };
        let rest = message.slice(1..);
        match self {
            Framing::Binary { half_close: true } if first == CLOSE => match *rest {
                [channel] => Ok(Incoming::HalfClose(channel.into())),
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

#[cfg(test)]
mod tests {
    use super::*;

    const V4: Framing = Framing::Binary { half_close: false };
    const V5: Framing = Framing::Binary { half_close: true };

    #[test]
    fn the_first_byte_is_the_channel() {
        assert_eq!(V4.encode(1, b"hi"), Outgoing::Binary(Bytes::from_static(b"\x01hi")));
        assert_eq!(V4.decode(&Bytes::from_static(b"\x00ls")), Ok(Incoming::Data(0, Bytes::from_static(b"ls"))));
        assert!(V4.decode(&Bytes::new()).is_err());
    }

    #[test]
    fn only_version_5_can_half_close_a_channel() {
        let close = Bytes::from_static(&[CLOSE, 0]);
        assert_eq!(V5.decode(&close), Ok(Incoming::HalfClose(0)));
        assert_eq!(V4.decode(&close), Ok(Incoming::Data(255, Bytes::from_static(&[0]))));
        assert!(V5.decode(&Bytes::from_static(&[CLOSE])).is_err());
    }

    #[test]
    fn text_is_base64_after_a_digit() {
        assert_eq!(Framing::Base64.encode(1, b"hi"), Outgoing::Text("1aGk=".into()));
        let incoming = Framing::Base64.decode(&Bytes::from_static(b"0aGk="));
        assert_eq!(incoming, Ok(Incoming::Data(0, Bytes::from_static(b"hi"))));
        assert!(Framing::Base64.decode(&Bytes::from_static(b"0***")).is_err());
        assert!(Framing::Base64.decode(&Bytes::from_static(b"xaGk=")).is_err());
    }
}
