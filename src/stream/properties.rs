//! Properties of WebSocket messages that hold for any bytes. `hack/fuzz streams` asserts them with generated inputs, the
//! tests here with a few.

use bytes::Bytes;

use super::framing::Framing;
use super::framing::Incoming;
use super::framing::Outgoing;

const FRAMINGS: [Framing; 3] =
    [Framing::Binary { half_close: false }, Framing::Binary { half_close: true }, Framing::Base64];

/// Decoding any message succeeds or returns an error, and decoding an encoded message gives its channel and bytes.
pub(crate) fn any_message_is_decoded_or_refused(bytes: &[u8], channel: u8) {
    for framing in FRAMINGS {
        if let Ok(Incoming::Data(_, data)) = framing.decode(&Bytes::copy_from_slice(bytes)) {
            assert!(data.len() < bytes.len());
        }
        let channel = u32::from(channel % 10);
        let sent = match framing.encode(channel, bytes) {
            Outgoing::Binary(message) => message,
            Outgoing::Text(message) => message.into(),
        };
        assert_eq!(framing.decode(&sent), Ok(Incoming::Data(channel, Bytes::copy_from_slice(bytes))));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_message(bytes in prop::collection::vec(any::<u8>(), 0..200), channel: u8) {
            any_message_is_decoded_or_refused(&bytes, channel);
        }
    }
}
