//! Which protocol a client and this server have in common.

use http::HeaderMap;
use http::HeaderValue;
use http::header;

use super::framing::Framing;
use super::verdict::Wording;

/// The header of SPDY clients: the protocols they know, the best first.
pub(super) const STREAM_PROTOCOL: &str = "x-stream-protocol-version";
/// What a SPDY client without a common protocol is told.
pub(super) const ACCEPTED_PROTOCOLS: &str = "x-accepted-stream-protocol-versions";
/// The value of the Upgrade header.
pub(super) const SPDY: &str = "SPDY/3.1";

/// For exec and attach over SPDY.
pub(super) const REMOTE_COMMAND: [&str; 4] =
    ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
/// For port-forward over SPDY.
pub(super) const PORT_FORWARD: [&str; 1] = ["portforward.k8s.io"];
/// For exec and attach over WebSocket, the best first.
pub(super) const WEBSOCKET: [&str; 5] =
    ["v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io"];
/// SPDY inside of WebSocket, for port-forward.
pub(super) const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// For port-forward over WebSocket, the best first.
pub(super) const WEBSOCKET_FORWARD: [&str; 3] = [TUNNEL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io"];

/// What a client wants to make of its connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Upgrade {
    Spdy,
    WebSocket,
    /// Nothing that is served here.
    None,
}

impl Upgrade {
    pub(super) fn of(headers: &HeaderMap) -> Upgrade {
        let wants =
            |name: header::HeaderName, word: &str| tokens(headers, name.as_str()).any(|t| t.eq_ignore_ascii_case(word));
        if !wants(header::CONNECTION, "upgrade") {
            Upgrade::None
        } else if wants(header::UPGRADE, SPDY) {
            Upgrade::Spdy
        } else if wants(header::UPGRADE, "websocket") {
            Upgrade::WebSocket
        } else {
            Upgrade::None
        }
    }
}

/// Why there is no common protocol.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The client named none.
    Unnamed,
    /// It named others.
    Unknown,
}

/// The client's best protocol that is among `ours`.
///
/// # Errors
/// As described at [`Refusal`].
pub(super) fn spdy(headers: &HeaderMap, ours: &[&'static str]) -> Result<&'static str, Refusal> {
    let mut named = false;
    for theirs in tokens(headers, STREAM_PROTOCOL) {
        named = true;
        if let Some(common) = ours.iter().find(|protocol| **protocol == theirs) {
            return Ok(common);
        }
    }
    Err(if named { Refusal::Unknown } else { Refusal::Unnamed })
}

/// How outcomes are worded in a protocol for exec and attach.
pub(super) fn wording(protocol: &str) -> Wording {
    if protocol.starts_with("v4.") || protocol.starts_with("v5.") { Wording::Json } else { Wording::Plain }
}

/// Whether a SPDY client of this protocol opens a stream for the sizes of its terminal.
pub(super) fn has_resize(protocol: &str) -> bool {
    protocol.starts_with("v4.") || protocol.starts_with("v3.")
}

/// How messages are made in a WebSocket protocol. Without one, as in the oldest.
pub(super) fn framing(protocol: &str) -> Framing {
    if protocol.contains("base64.") {
        Framing::Base64
    } else {
        Framing::Binary { half_close: protocol.starts_with("v5.") }
    }
}

/// The words of a header's comma-separated lists.
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
    fn the_clients_first_protocol_that_is_known_is_taken() {
        let both =
            headers(&[(STREAM_PROTOCOL, "v9.channel.k8s.io, v3.channel.k8s.io"), (STREAM_PROTOCOL, "channel.k8s.io")]);
        assert_eq!(spdy(&both, &REMOTE_COMMAND), Ok("v3.channel.k8s.io"));
        assert_eq!(spdy(&both, &PORT_FORWARD), Err(Refusal::Unknown));
        assert_eq!(spdy(&headers(&[]), &PORT_FORWARD), Err(Refusal::Unnamed));
    }
}
