//! How the API server writes objects, and how they are taken out of what it writes: lists, and what watches tell.
//!
//! Protobuf is asked for, as Kubernetes' own components do. It takes both sides a fraction of the time that JSON takes,
//! and an object that several watch in the same encoding is written once for all of them. JSON is understood where a
//! server, or somebody on the way, gives nothing else, and asked for where an object cannot be read in Protobuf: its
//! strings need not be UTF-8, as nobody checks that, and in JSON the server makes them so.

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

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Json,
    Protobuf,
}

/// What can be read in both encodings.
pub trait Decode: DeserializeOwned + Message + Default + Debug {}

impl<T: DeserializeOwned + Message + Default + Debug> Decode for T {}

/// A page of a list.
#[derive(Deserialize, Message)]
pub struct Page<T: Message + Default + Debug> {
    #[serde(default)]
    #[prost(message, required, tag = "1")]
    pub metadata: PageMeta,
    #[serde(default = "Vec::new", deserialize_with = "nullable", bound(deserialize = "T: Deserialize<'de>"))]
    #[prost(message, repeated, tag = "2")]
    pub items: Vec<T>,
}

/// Where a list stands.
#[derive(Deserialize, Message)]
#[serde(rename_all = "camelCase", default)]
pub struct PageMeta {
    #[prost(string, tag = "2")]
    pub resource_version: String,
    /// Asks for the next page; empty: this was the last.
    #[serde(rename = "continue")]
    #[prost(string, tag = "3")]
    pub next: String,
}

/// One thing that a watch tells.
#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    pub kind: String,
    /// The object, or the status that is the error.
    pub object: Bytes,
}

/// The API's own words about an error.
#[derive(Deserialize, Message)]
#[serde(default)]
pub struct Status {
    #[prost(string, tag = "3")]
    pub message: String,
    #[prost(uint32, tag = "6")]
    pub code: u32,
}

/// What is around every object: what kind it is, and then the object.
#[derive(Message)]
struct Envelope {
    #[prost(bytes = "bytes", tag = "2")]
    raw: Bytes,
}

/// In front of an envelope.
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
    /// The media types to ask for, best first.
    pub(super) fn accept(self) -> &'static str {
        match self {
            Encoding::Json => "application/json",
            Encoding::Protobuf => "application/vnd.kubernetes.protobuf,application/json",
        }
    }

    /// How an answer is written.
    pub(super) fn of<B>(answer: &Response<B>) -> Encoding {
        let kind = answer.headers().get(CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
        if kind.starts_with(b"application/vnd.kubernetes.protobuf") { Encoding::Protobuf } else { Encoding::Json }
    }

    /// Reads a page of a list.
    ///
    /// # Errors
    /// When it is none; `path` is where it came from.
    pub(super) fn page<T: Decode>(self, path: &str, bytes: Bytes) -> Result<Page<T>, Error> {
        match self {
            Encoding::Json => from_json(path, &bytes),
            Encoding::Protobuf => open(bytes).map_err(|reason| Error::Garbled { path: path.to_owned(), reason }),
        }
    }

    /// Reads what a watch tells, but for the object in it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn event(self, part: &Bytes) -> Result<Event, String> {
        match self {
            Encoding::Json => {
                let event: JsonEvent = serde_json::from_slice(part).map_err(|error| error.to_string())?;
                Ok(Event { kind: event.kind.to_owned(), object: part.slice_ref(event.object.get().as_bytes()) })
            }
            Encoding::Protobuf => {
                let event = WireEvent::decode(part.clone()).map_err(|error| error.to_string())?;
                Ok(Event { kind: event.kind, object: event.object.raw })
            }
        }
    }

    /// Reads an object.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn object<T: Decode>(self, bytes: &Bytes) -> Result<T, String> {
        match self {
            Encoding::Json => serde_json::from_slice(bytes).map_err(|error| error.to_string()),
            Encoding::Protobuf => open(bytes.clone()),
        }
    }

    /// Reads what is said about an error, if it can be read.
    pub(super) fn status(self, bytes: &Bytes) -> Option<Status> {
        self.object(bytes).ok()
    }
}

/// Reads an answer in JSON; `path` is where it came from.
pub(super) fn from_json<T: DeserializeOwned>(path: &str, bytes: &Bytes) -> Result<T, Error> {
    let json = &mut serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(json).map_err(|source| Error::Decode { path: path.to_owned(), source })
}

/// Reads what is in an envelope.
fn open<T: Message + Default>(mut bytes: Bytes) -> Result<T, String> {
    if !bytes.starts_with(MAGIC) {
        return Err("this is no Protobuf of Kubernetes".to_owned());
    }
    bytes.advance(MAGIC.len());
    let envelope = Envelope::decode(bytes).map_err(|error| error.to_string())?;
    T::decode(envelope.raw).map_err(|error| error.to_string())
}

/// Reads null as the empty value: Go writes an empty list so.
pub fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
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
    fn a_page_says_the_same_in_both_encodings() {
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
    fn a_list_of_nothing_may_be_null_or_absent() {
        for json in [r#"{"metadata":{},"items":null}"#, "{}"] {
            assert!(Encoding::Json.page::<Status>("/x", json.into()).unwrap().items.is_empty());
        }
    }

    #[test]
    fn an_event_says_the_same_in_both_encodings() {
        let event = WireEvent { kind: "ERROR".into(), object: WireObject { raw: in_envelope(&status()) } };
        let json = r#"{"type":"ERROR","object":{"message":"too old","code":410}}"#;
        for (encoding, bytes) in [(Encoding::Protobuf, event.encode_to_vec().into()), (Encoding::Json, json.into())] {
            let event = encoding.event(&bytes).unwrap();
            assert_eq!(event.kind, "ERROR");
            assert_eq!(encoding.status(&event.object).unwrap().code, 410);
        }
    }

    #[test]
    fn what_is_something_else_is_not_taken_for_an_object() {
        let error = Encoding::Protobuf.page::<Status>("/x", "<html>".into()).map(drop).unwrap_err();
        assert_eq!(error.to_string(), "/x: could not understand the answer: this is no Protobuf of Kubernetes");
        assert!(Encoding::Protobuf.event(&Bytes::from_static(b"\xff")).is_err());
    }
}
