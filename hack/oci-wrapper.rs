//! An OCI runtime for test machines whose root lacks capabilities, most often `CAP_SYS_RESOURCE`: it removes the missing
//! capabilities from a container's configuration, raises its `oomScoreAdj` to the allowed minimum, and execs the real runc.
//!
//! Without it runc refuses `--privileged`, `--cap-add ALL` and a negative `oom_score_adj` on such a machine. `hack/box`
//! registers it as Docker's runtime `wrapped`; Dockside itself never uses it. The path of the real runc is in the file
//! `oci-wrapper.runc` beside this program, because a containerd shim does not pass on its environment.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde_json::Value;

/// Names by bit number, from `linux/capability.h`.
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

fn main() -> ExitCode {
    match run() {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("oci-wrapper: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<std::convert::Infallible> {
    let args: Vec<OsString> = env::args_os().skip(1).collect();
    let host = Host::read()?;
    if let Some(path) = process_file(&args) {
        rewrite(&path, &host).map_err(|e| with_path(&path, e))?;
    }
    let pointer = env::current_exe()?.with_file_name("oci-wrapper.runc");
    let runc = fs::read_to_string(&pointer).map_err(|e| with_path(&pointer, e))?;
    Err(Command::new(runc.trim()).args(args).exec())
}

fn with_path(path: &Path, error: io::Error) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}

/// The path of the JSON file with the process to start, if this runc command starts one.
fn process_file(args: &[OsString]) -> Option<PathBuf> {
    let is = |name: &str| args.iter().any(|arg| arg == name);
    if is("create") || is("run") {
        let bundle = option(args, &["--bundle", "-b"]).unwrap_or_default();
        Some(bundle.join("config.json"))
    } else if is("exec") {
        option(args, &["--process", "-p"])
    } else {
        None
    }
}

fn option(args: &[OsString], names: &[&str]) -> Option<PathBuf> {
    args.iter().enumerate().find_map(|(at, arg)| {
        let arg = arg.to_str()?;
        match arg.split_once('=') {
            Some((name, value)) if names.contains(&name) => Some(value.into()),
            None if names.contains(&arg) => args.get(at + 1).map(PathBuf::from),
            _ => None,
        }
    })
}

/// The limits of root on this machine.
struct Host {
    bounding_set: u64,
    lowest_oom_score_adj: i64,
}

impl Host {
    fn read() -> io::Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let bounding_set = status
            .lines()
            .find_map(|line| line.strip_prefix("CapBnd:"))
            .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
            .ok_or_else(|| io::Error::other("no CapBnd in /proc/self/status"))?;
        let mut host = Self { bounding_set, lowest_oom_score_adj: -1000 };
        if !host.has("CAP_SYS_RESOURCE") {
            let current = fs::read_to_string("/proc/self/oom_score_adj")?;
            host.lowest_oom_score_adj = current.trim().parse().map_err(io::Error::other)?;
        }
        Ok(host)
    }

    fn has(&self, capability: &str) -> bool {
        CAPABILITIES.iter().position(|name| *name == capability).is_none_or(|bit| self.bounding_set & (1 << bit) != 0)
    }
}

/// Adapts the file in place. `config.json` has the process under `process`; the file of `exec` is the process itself.
fn rewrite(path: &Path, host: &Host) -> io::Result<()> {
    let mut config: Value = serde_json::from_slice(&fs::read(path)?)?;
    let process = match config.get("process") {
        Some(_) => &mut config["process"],
        None => &mut config,
    };
    if let Some(Value::Object(sets)) = process.get_mut("capabilities") {
        for set in sets.values_mut().filter_map(Value::as_array_mut) {
            set.retain(|name| name.as_str().is_none_or(|name| host.has(name)));
        }
    }
    if let Some(score) = process.get_mut("oomScoreAdj") {
        *score = score.as_i64().unwrap_or_default().max(host.lowest_oom_score_adj).into();
    }
    fs::write(path, serde_json::to_vec(&config)?)
}
