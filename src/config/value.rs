//! Values of flags and keys, and the parser of each kind. An error is the part of the message after the colon.

use std::fmt;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use super::LogFormat;
use super::LogLevel;

/// The longest path a unix socket can have, in bytes: `sun_path` has 108 with the final zero (unix(7)).
const SOCKET_PATH_MAX: usize = 107;

/// The kubelet assumes CRI-O behind a socket of this name, and collects its stats in another way.
const CRIO_SOCKET: &str = "run/crio/crio.sock";

/// The value of a flag or a key.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Of a flag, or a string, number or boolean of the file.
    Text(String),
    /// An array of strings of the file.
    List(Vec<String>),
}

impl Value {
    /// The text of a single value.
    pub(super) fn text(&self) -> Result<&str, String> {
        match self {
            Value::Text(text) => Ok(text),
            Value::List(_) => Err("one value is needed, not a list".into()),
        }
    }

    /// The items of an array, or of a comma-separated text.
    pub(super) fn list(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match self {
            Value::Text(text) if text.is_empty() => Box::new(std::iter::empty()),
            Value::Text(text) => Box::new(text.split(',').map(str::trim)),
            Value::List(items) => Box::new(items.iter().map(String::as_str)),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Value::Text(text) => text.is_empty(),
            Value::List(items) => items.is_empty(),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => f.write_str(text),
            Value::List(items) => f.write_str(&items.join(",")),
        }
    }
}

/// Reads a duration such as `1m30s`, `500ms`, `1.5h` or `0`, as Go programs do, so that cri-dockerd's values are accepted.
///
/// # Errors
/// How a duration is written.
pub fn duration(text: &str) -> Result<Duration, String> {
    // Go accepts zero without a unit, and no other number.
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let signed: Option<jiff::SignedDuration> = text.parse().ok();
    signed
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| "a duration is written as in 30s, 1m30s or 500ms".into())
}

/// Reads the address of the streaming server: `127.0.0.1:0`, `localhost:10010`, `[::1]`; without a port, a free one. Only
/// loopback addresses are accepted: a client with a token can run commands in pods, so other machines must not reach it.
///
/// # Errors
/// Which addresses are accepted.
pub(super) fn loopback(text: &str) -> Result<SocketAddr, String> {
    let host = |text: &str| match text.trim_start_matches('[').trim_end_matches(']') {
        "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        host => host.parse().ok(),
    };
    let address = match (host(text), text.rsplit_once(':')) {
        (Some(host), _) => Some(SocketAddr::new(host, 0)),
        (None, Some((first, port))) => host(first).zip(port.parse().ok()).map(SocketAddr::from),
        (None, None) => None,
    };
    address.filter(|address| address.ip().is_loopback()).ok_or_else(|| {
        "exec, attach and port-forward are served on loopback only, where the kubelet fetches them; \
         an address is written as in 127.0.0.1:0"
            .into()
    })
}

/// Checks a size such as `32m`, with the units of Docker's `max-size`, and returns it unchanged.
///
/// # Errors
/// How a size is written.
pub(super) fn size(text: &str) -> Result<String, String> {
    let number = text.strip_suffix(['k', 'm', 'g']).unwrap_or(text);
    match number.parse::<u32>() {
        Ok(1..) => Ok(text.to_owned()),
        _ => Err("a size is a number of bytes, with k, m or g for more: 32m".into()),
    }
}

/// Reads the path of a directory or file.
pub(super) fn absolute(text: &str) -> Result<PathBuf, String> {
    if !Path::new(text).is_absolute() {
        return Err("an absolute path is needed".into());
    }
    Ok(PathBuf::from(text))
}

/// Reads the address of a unix socket, such as `unix:///run/dockside/dockside.sock`, and returns its path.
///
/// # Errors
/// What is wrong with the address.
pub fn socket(text: &str) -> Result<PathBuf, String> {
    let Some(path) = text.strip_prefix("unix://") else {
        return Err(match text.split_once("://") {
            Some(("tcp" | "http" | "https", _)) => {
                "Dockside and Docker share processes, namespaces and files of one machine, so only unix:// is possible"
            }
            Some(_) => "only unix:// is possible",
            None => "the address of a socket is written as in unix:///var/run/docker.sock",
        }
        .into());
    };
    let path =
        absolute(path).map_err(|_| "after unix:// there has to be an absolute path, as in unix:///run/x.sock")?;
    if path.file_name().is_none() || text.ends_with('/') {
        return Err("this is a directory, not a socket".into());
    }
    if path.as_os_str().len() > SOCKET_PATH_MAX {
        return Err(format!("the path of a socket cannot be longer than {SOCKET_PATH_MAX} bytes"));
    }
    Ok(path)
}

/// Reads the address of the socket to listen on.
pub(super) fn listen(text: &str) -> Result<PathBuf, String> {
    if text.starts_with("fd://") {
        return Err("Dockside creates its socket itself; name it as in unix:///run/cri-dockerd.sock, \
                    and disable the socket unit"
            .into());
    }
    if text.starts_with("tcp://") {
        return Err("anyone who reaches the CRI is root on this machine, so only unix:// is possible".into());
    }
    let path = socket(text)?;
    if path.ends_with(CRIO_SOCKET) {
        return Err(format!("a kubelet would take Dockside for CRI-O at a socket called {CRIO_SOCKET}"));
    }
    Ok(path)
}

/// Reads a level; also those that only cri-dockerd's logger has.
pub(super) fn log_level(text: &str) -> Result<LogLevel, String> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "error" | "fatal" | "panic" => LogLevel::Error,
        "warn" | "warning" => LogLevel::Warn,
        "info" => LogLevel::Info,
        "debug" => LogLevel::Debug,
        "trace" => LogLevel::Trace,
        _ => return Err("it is one of error, warn, info, debug, trace".into()),
    })
}

/// Reads a log format.
pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("it is text or json".into()),
    }
}
