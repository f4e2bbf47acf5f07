//! Running programs and fetching pages.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::time::Duration;

/// In every box: /bin/sh and the usual tools.
pub const BUSYBOX: &str = "dockside.test/busybox:1";

/// A variable that the scripts in hack/ set.
pub fn environment(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run these tests by hack/test, or see its head"))
}

/// Runs a program with `input` on stdin, and waits for it.
pub fn try_run(program: &str, args: &[&str], input: &str) -> Output {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    // A program that does not read its input may have exited by now.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// What a program prints on stdout; panics with its stderr if it fails.
pub fn run_with(program: &str, args: &[&str], input: &str) -> String {
    let output = try_run(program, args, input);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {}: {stdout} {stderr}", output.status);
    stdout
}

/// The same without input, and with the output trimmed.
pub fn run(program: &str, args: &[&str]) -> String {
    run_with(program, args, "").trim().to_owned()
}

/// `docker` in the box.
pub fn docker(args: &[&str]) -> String {
    run("docker", args)
}

/// `kubectl` as the administrator of the box's cluster.
pub fn kubectl(args: &[&str]) -> String {
    run_with("kubectl", args, "").trim_end().to_owned()
}

/// Sends one HTTP GET request.
pub fn http_get(address: SocketAddr, path: &str) -> io::Result<String> {
    let limit = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: pod\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
