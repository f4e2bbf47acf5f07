//! SPDY/3.1 as kubelets and kubectl speak it to a runtime: the server's side, over any connection.
//!
//! [`session`] is the protocol without any I/O; [`connection`] joins it to a socket and to the sessions' channels.

#[cfg(test)]
mod client;
mod connection;
mod dictionary;
mod frame;
mod headers;
mod session;
#[cfg(test)]
mod tests;

pub(super) use self::connection::Opened;
pub(super) use self::connection::arrivals;
pub(super) use self::connection::run;
pub(super) use self::frame::ResetStatus;
pub(super) use self::frame::StreamId;
pub(super) use self::headers::Headers;
pub(super) use self::session::Event;
pub(super) use self::session::MAX_STREAMS;
pub(super) use self::session::Session;
