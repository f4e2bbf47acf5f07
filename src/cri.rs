//! The CRI's two services on a unix socket.
//!
//! Each RPC is one short method in `runtime` or `image`: it calls a verb of `pod`, `container`, `image`, `stats` or
//! `stream` and wraps the result. No logic lives here.
//!
//! * `server`: serves the socket, and drains verbs at shutdown; `socket`: the socket's file.
//! * `service`: what the RPCs work with, and jobs, which outlive their client.
//! * `runtime`, `image`: the RPCs; `status`, `events`, `chunks`: Version and Status, container events, streamed lists.
//! * `log`, `trace`, `deadline`: tower layers around every RPC.

mod chunks;
mod deadline;
mod events;
mod image;
mod log;
mod runtime;
mod server;
mod service;
mod socket;
mod status;
mod trace;

pub(crate) use self::log::Calls;
pub(crate) use self::server::DRAIN_LIMIT;
pub(crate) use self::server::serve;
pub(crate) use self::service::Service;
pub(crate) use self::service::Settings;
pub(crate) use self::socket::BindError;
pub(crate) use self::socket::Socket;
