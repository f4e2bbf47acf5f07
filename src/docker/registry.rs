//! Docker's messages about registries that do not answer.

/// Messages of Go's network packages, wherever they occur.
const NETWORK: [&str; 10] = [
    "connection refused",
    "no such host",
    "i/o timeout",
    "TLS handshake timeout",
    "network is unreachable",
    "no route to host",
    "connection reset",
    "Client.Timeout exceeded",
    "server misbehaving",
    "Temporary failure in name resolution",
];
/// Messages that also occur while a layer is unpacked, so that they count only for a request to a registry.
const IN_REQUEST: [&str; 2] = [": EOF", ": context deadline exceeded"];
/// How Go's messages about a failed request begin.
const REQUESTS: [&str; 3] = ["Get \"http", "Head \"http", "Post \"http"];
/// What precedes an unexpected status: in Docker's messages and in containerd's.
const UNEXPECTED_STATUS: [&str; 2] = ["unexpected HTTP status", "unexpected status"];

/// Whether a failed pull's message means that the registry could not be reached or failed itself.
pub(super) fn is_unavailable(message: &str) -> bool {
    let has_any = |phrases: &[&str]| phrases.iter().any(|phrase| message.contains(phrase));
    has_any(&NETWORK)
        || (has_any(&REQUESTS) && has_any(&IN_REQUEST))
        || UNEXPECTED_STATUS
            .iter()
            .filter_map(|words| message.split_once(words))
            .any(|(_, rest)| has_server_error(rest))
}

/// Whether a text contains a status such as `: 503 Service Unavailable`.
fn has_server_error(text: &str) -> bool {
    text.split(": ").skip(1).any(|part| {
        let code = part.split(' ').next().unwrap_or_default();
        code.len() == 3 && code.starts_with('5') && code.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_that_does_not_answer_differs_from_one_that_refuses() {
        for unavailable in [
            "dial tcp: connection refused",
            "received unexpected HTTP status: 503 Service Unavailable",
            "failed to resolve reference \"r/x:1\": unexpected status from HEAD request to http://r:80/v2/: 502 Bad Gateway",
            "Get \"https://r/v2/\": EOF",
            "failed to do request: Head \"https://r/v2/x/manifests/1\": context deadline exceeded",
        ] {
            assert!(is_unavailable(unavailable), "{unavailable}");
        }
        for other in [
            "manifest unknown",
            "received unexpected HTTP status: 418 I'm a teapot",
            "unexpected status from HEAD request to http://r:500/v2/x/manifests/1: 401 Unauthorized",
            "failed to register layer: unexpected EOF",
            "failed to register layer: write /x: context deadline exceeded",
        ] {
            assert!(!is_unavailable(other), "{other}");
        }
    }
}
