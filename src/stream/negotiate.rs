//! Negotiates the protocol: the client's best one that this server supports.

use http::HeaderMap;
use http::HeaderValue;
use http::header;

use super::framing::Framing;
use super::status::StatusFormat;

/// The request header of SPDY clients: the protocols they support, the best first.
pub(super) const STREAM_PROTOCOL: &str = "x-stream-protocol-version";
/// The response header for a client without a common protocol: those that the server supports.
pub(super) const ACCEPTED_PROTOCOLS: &str = "x-accepted-stream-protocol-versions";
/// The value of the Upgrade header for SPDY.
pub(super) const SPDY: &str = "SPDY/3.1";

/// For exec and attach over SPDY.
pub(super) const REMOTE_COMMAND: [&str; 4] =
    ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
/// For port-forward over SPDY.
pub(super) const PORT_FORWARD: [&str; 1] = ["portforward.k8s.io"];
/// For exec and attach over WebSocket, the best first.
pub(super) const WEBSOCKET: [&str; 5] =
    ["v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io"];
/// SPDY inside WebSocket, for port-forward.
pub(super) const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// For port-forward over WebSocket, the best first.
pub(super) const WEBSOCKET_FORWARD: [&str; 3] = [TUNNEL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io"];

/// The upgrade that a client requests for its connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Upgrade {
    Spdy,
    WebSocket,
    /// None, or one that is not supported.
    None,
}

impl Upgrade {
    /// The upgrade that a request's headers ask for.
    pub(super) fn of(headers: &HeaderMap) -> Upgrade {
        let has =
            |name: header::HeaderName, word: &str| tokens(headers, name.as_str()).any(|t| t.eq_ignore_ascii_case(word));
        if !has(header::CONNECTION, "upgrade") {
            Upgrade::None
        } else if has(header::UPGRADE, SPDY) {
            Upgrade::Spdy
        } else if has(header::UPGRADE, "websocket") {
            Upgrade::WebSocket
        } else {
            Upgrade::None
        }
    }
}

/// Why the negotiation failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The client named no protocol.
    Missing,
    /// The client named only unsupported protocols.
    Unsupported,
}

/// The client's best protocol that is among `supported`.
///
/// # Errors
/// See [`Refusal`].
pub(super) fn spdy(headers: &HeaderMap, supported: &[&'static str]) -> Result<&'static str, Refusal> {
    let mut named = false;
    for offered in tokens(headers, STREAM_PROTOCOL) {
        named = true;
        if let Some(protocol) = supported.iter().find(|protocol| **protocol == offered) {
            return Ok(protocol);
        }
    }
    Err(if named { Refusal::Unsupported } else { Refusal::Missing })
}

/// The format of a session's status in a protocol for exec and attach.
pub(super) fn status_format(protocol: &str) -> StatusFormat {
    if protocol.starts_with("v4.") || protocol.starts_with("v5.") { StatusFormat::Json } else { StatusFormat::Plain }
}

/// Whether a SPDY client of this protocol opens a stream for its terminal's size.
pub(super) fn has_resize(protocol: &str) -> bool {
    protocol.starts_with("v4.") || protocol.starts_with("v3.")
}

/// The framing of a WebSocket protocol. An empty name stands for the oldest protocol.
pub(super) fn framing(protocol: &str) -> Framing {
    if protocol.contains("base64.") {
        Framing::Base64
    } else {
        Framing::Binary { half_close: protocol.starts_with("v5.") }
    }
}

/// The tokens of a header's comma-separated lists.
fn tokens<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().map(HeaderValue::to_str).filter_map(Result::ok);
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn an_upgrade_needs_both_headers() {
        let spdy = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "spdy/3.1")]);
        assert_eq!(Upgrade::of(&spdy), Upgrade::Spdy);
        assert_eq!(Upgrade::of(&headers(&[("upgrade", "websocket")])), Upgrade::None);
        assert_eq!(Upgrade::of(&headers(&[("connection", "upgrade"), ("upgrade", "h2c")])), Upgrade::None);
    }

    #[test]
    fn the_clients_first_supported_protocol_is_chosen() {
        let both =
            headers(&[(STREAM_PROTOCOL, "v9.channel.k8s.io, v3.channel.k8s.io"), (STREAM_PROTOCOL, "channel.k8s.io")]);
        assert_eq!(spdy(&both, &REMOTE_COMMAND), Ok("v3.channel.k8s.io"));
        assert_eq!(spdy(&both, &PORT_FORWARD), Err(Refusal::Unsupported));
        assert_eq!(spdy(&headers(&[]), &PORT_FORWARD), Err(Refusal::Missing));
    }
}
