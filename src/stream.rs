//! Exec, attach and port-forward sessions: an HTTP server on the loopback address.
//!
//! `cri` calls [`Streams`], which validates a request and returns a URL with a one-time token. The kubelet, or crictl,
//! connects there and upgrades to SPDY/3.1 or WebSocket. The protocols follow client-go's remotecommand and portforward
//! packages and the kubelet's streaming server.
//!
//! From the outside in:
//!
//! * `config`: the server's configuration; `requests` and `tokens`: the CRI calls and the requests that wait for clients.
//! * `server`, `tls`: accepts connections and finds the request of a token.
//! * `upgrade`, `negotiate`: chooses the protocol, upgrades the connection and opens its channels.
//! * `session`: joins the channels of exec and attach to a process (`container`); `status`: what the client gets at the end.
//! * `forward`: joins the channels of port-forward to ports (`pod`).
//! * `channels`: the byte streams between sessions and connections; `backpressure`: their limits.
//! * `spdy`, `websocket`, `framing`: the drivers, which carry channels over a socket.

mod backpressure;
mod channels;
mod error;
mod forward;
mod framing;
mod negotiate;
#[cfg(any(test, fuzzing, clippy))]
pub(crate) mod properties;
mod requests;
mod server;
mod session;
mod spdy;
mod status;
mod tls;
mod tokens;
mod upgrade;
mod websocket;

pub(crate) use self::error::Error;
pub(crate) use self::requests::Streams;
pub(crate) use self::server::Server;
