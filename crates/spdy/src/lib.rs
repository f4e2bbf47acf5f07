//! SPDY/3.1 as Kubernetes speaks it (kubectl and the API server to a container runtime), without any I/O.
//!
//! [`Session`] is the server's side of one connection: bytes go in by [`Session::receive`], [`Event`]s come out, and what
//! must be written waits in [`Session::output`]. The caller owns the socket, the timers and the backpressure.
//! [`client::Client`] is the other end, for tests and examples.
//!
//! Only what Kubernetes uses is here: streams that the client opens, data, resets, pings, GOAWAY and flow control.

#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]

pub mod client;
mod dictionary;
mod frame;
mod headers;
mod session;
#[cfg(test)]
mod tests;

pub use self::frame::Error as FrameError;
pub use self::frame::Frame;
pub use self::frame::GoAwayStatus;
pub use self::frame::MAX_CONTROL;
pub use self::frame::MAX_DATA;
pub use self::frame::Parser;
pub use self::frame::ResetStatus;
pub use self::frame::StreamId;
pub use self::headers::Decoder;
pub use self::headers::Encoder;
pub use self::headers::Error as HeadersError;
pub use self::headers::Headers;
pub use self::headers::MAX_BLOCK;
pub use self::headers::MAX_HEADERS;
pub use self::session::Error as SessionError;
pub use self::session::Event;
pub use self::session::MAX_REPLIES;
pub use self::session::MAX_STREAMS;
pub use self::session::Session;
pub use self::session::WINDOW;
