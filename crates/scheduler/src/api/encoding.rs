//! How the API server encodes objects, and how lists and watch events are decoded.
//!
//! Protobuf is requested, as Kubernetes' own components do: it costs both sides a fraction of JSON, and the server
//! encodes an object once for all watches in the same encoding. JSON is accepted from a server or proxy that sends
//! nothing else, and requested after an object could not be decoded in Protobuf: its strings may be invalid UTF-8,
//! which nothing validates on write, and in JSON the server replaces the invalid bytes.

use std::fmt::Debug;

use bytes::Buf;
use bytes::Bytes;
use http::HeaderValue;
use http::Response;
use http::header::CONTENT_TYPE;
use prost::Message;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::Error;

/// The encoding of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// `application/json`.
    Json,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

/// Can be decoded from both encodings.
pub(crate) trait Decode: DeserializeOwned + Message + Default + Debug {}

impl<T: DeserializeOwned + Message + Default + Debug> Decode for T {}

/// A page of a list.
#[derive(Deserialize, Message)]
pub(crate) struct Page<T: Message + Default + Debug> {
    /// The list's metadata.
    #[serde(default)]
    #[prost(message, required, tag = "1")]
    pub(crate) metadata: PageMeta,
    /// The objects.
    #[serde(default = "Vec::new", deserialize_with = "nullable", bound(deserialize = "T: Deserialize<'de>"))]
    #[prost(message, repeated, tag = "2")]
    pub(crate) items: Vec<T>,
}

/// A list's metadata.
#[derive(Deserialize, Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PageMeta {
    /// Where a watch continues.
    #[prost(string, tag = "2")]
    pub(crate) resource_version: String,
    /// The token of the next page; empty for the last page.
    #[serde(rename = "continue")]
    #[prost(string, tag = "3")]
    pub(crate) next: String,
}

/// An event of a watch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    pub(crate) kind: String,
    /// The object; for `ERROR`, a Status.
    pub(crate) object: Bytes,
}

/// The API's Status of a failed request.
#[derive(Deserialize, Message)]
#[serde(default)]
pub(crate) struct Status {
    /// What went wrong.
    #[prost(string, tag = "3")]
    pub(crate) message: String,
    /// The HTTP status code.
    #[prost(uint32, tag = "6")]
    pub(crate) code: u32,
}

/// `runtime.Unknown`: the envelope around every Protobuf object.
#[derive(Message)]
struct Envelope {
    #[prost(bytes = "bytes", tag = "2")]
    raw: Bytes,
}

/// Precedes every envelope.
const MAGIC: &[u8] = b"k8s\0";

#[derive(Message)]
struct WireEvent {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(message, required, tag = "2")]
    object: WireObject,
}

#[derive(Message)]
struct WireObject {
    #[prost(bytes = "bytes", tag = "1")]
    raw: Bytes,
}

#[derive(Deserialize)]
struct JsonEvent<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

impl Encoding {
    /// The media types to accept, best first.
    pub(super) fn accept(self) -> &'static str {
        match self {
            Encoding::Json => "application/json",
            Encoding::Protobuf => "application/vnd.kubernetes.protobuf,application/json",
        }
    }

    /// The encoding of a response.
    pub(super) fn of<B>(response: &Response<B>) -> Encoding {
        let kind = response.headers().get(CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
        if kind.starts_with(b"application/vnd.kubernetes.protobuf") { Encoding::Protobuf } else { Encoding::Json }
    }

    /// Decodes a page of a list.
    ///
    /// # Errors
    /// It is invalid; `path` is for the message.
    pub(super) fn page<T: Decode>(self, path: &str, bytes: Bytes) -> Result<Page<T>, Error> {
        match self {
            Encoding::Json => from_json(path, &bytes),
            Encoding::Protobuf => open(bytes).map_err(|reason| Error::DecodeProtobuf { path: path.to_owned(), reason }),
        }
    }

    /// Decodes a watch event, without the object in it.
    ///
    /// # Errors
    /// Why it is invalid.
    pub(crate) fn event(self, frame: &Bytes) -> Result<Event, String> {
        match self {
            Encoding::Json => {
                let event: JsonEvent = serde_json::from_slice(frame).map_err(|error| error.to_string())?;
                Ok(Event { kind: event.kind.to_owned(), object: frame.slice_ref(event.object.get().as_bytes()) })
            }
            Encoding::Protobuf => {
                let event = WireEvent::decode(frame.clone()).map_err(|error| error.to_string())?;
                Ok(Event { kind: event.kind, object: event.object.raw })
            }
        }
    }

    /// Decodes an object.
    ///
    /// # Errors
    /// Why it is invalid.
    pub(crate) fn object<T: Decode>(self, bytes: &Bytes) -> Result<T, String> {
        match self {
            Encoding::Json => serde_json::from_slice(bytes).map_err(|error| error.to_string()),
            Encoding::Protobuf => open(bytes.clone()),
        }
    }

    /// Decodes a Status, if it is one.
    pub(super) fn status(self, bytes: &Bytes) -> Option<Status> {
        self.object(bytes).ok()
    }
}

/// Decodes a JSON response; `path` is for the error message.
pub(super) fn from_json<T: DeserializeOwned>(path: &str, bytes: &Bytes) -> Result<T, Error> {
    let json = &mut serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(json).map_err(|source| Error::Decode { path: path.to_owned(), source })
}

/// Decodes the content of an envelope.
fn open<T: Message + Default>(mut bytes: Bytes) -> Result<T, String> {
    if !bytes.starts_with(MAGIC) {
        return Err("it is not Kubernetes Protobuf".to_owned());
    }
    bytes.advance(MAGIC.len());
    let envelope = Envelope::decode(bytes).map_err(|error| error.to_string())?;
    T::decode(envelope.raw).map_err(|error| error.to_string())
}

/// Decodes null as the default: Go encodes an empty list as null.
pub(crate) fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_envelope(message: &impl Message) -> Bytes {
        let envelope = Envelope { raw: message.encode_to_vec().into() };
        [MAGIC, &envelope.encode_to_vec()].concat().into()
    }

    fn status() -> Status {
        Status { message: "too old".into(), code: 410 }
    }

    #[test]
    fn a_page_decodes_equally_from_both_encodings() {
        let page =
            Page { metadata: PageMeta { resource_version: "7".into(), next: "more".into() }, items: vec![status()] };
        let json =
            r#"{"metadata":{"resourceVersion":"7","continue":"more"},"items":[{"message":"too old","code":410}]}"#;
        for (encoding, bytes) in [(Encoding::Protobuf, in_envelope(&page)), (Encoding::Json, json.into())] {
            let read: Page<Status> = encoding.page("/x", bytes).unwrap();
            assert_eq!((read.metadata.resource_version, read.metadata.next), ("7".to_owned(), "more".to_owned()));
            assert_eq!(read.items[0].message, "too old");
        }
    }

    #[test]
    fn an_empty_list_may_be_null_or_absent() {
        for json in [r#"{"metadata":{},"items":null}"#, "{}"] {
            assert!(Encoding::Json.page::<Status>("/x", json.into()).unwrap().items.is_empty());
        }
    }

    #[test]
    fn an_event_decodes_equally_from_both_encodings() {
        let event = WireEvent { kind: "ERROR".into(), object: WireObject { raw: in_envelope(&status()) } };
        let json = r#"{"type":"ERROR","object":{"message":"too old","code":410}}"#;
        for (encoding, bytes) in [(Encoding::Protobuf, event.encode_to_vec().into()), (Encoding::Json, json.into())] {
            let event = encoding.event(&bytes).unwrap();
            assert_eq!(event.kind, "ERROR");
            assert_eq!(encoding.status(&event.object).unwrap().code, 410);
        }
    }

    #[test]
    fn other_content_is_not_decoded_as_an_object() {
        let error = Encoding::Protobuf.page::<Status>("/x", "<html>".into()).map(drop).unwrap_err();
        assert_eq!(error.to_string(), "/x: could not decode the response: it is not Kubernetes Protobuf");
        assert!(Encoding::Protobuf.event(&Bytes::from_static(b"\xff")).is_err());
    }
}
