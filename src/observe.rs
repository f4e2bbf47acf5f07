//! Asks Docker what became of a process, and tells the store. Verbs use it after they changed something, and
//! `watch` when Docker says that something changed.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use jiff::Timestamp;

use crate::docker;
use crate::docker::ContainerDetails;
use crate::docker::Engine;
use crate::docker::parse_time;
use crate::logs::Logs;
use crate::state::Exit;
use crate::state::Process;
use crate::state::Store;
use cni_runtime as cni;

/// The exit code told for a process that somebody removed with its container: as if it was killed.
const GONE: i32 = 137;

/// The time now, in nanoseconds since 1970.
pub fn now_ns() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// Learns the state of container or sandbox `id` from Docker and stores it. An end is not stored before the container's
/// log is complete: Docker says that a container does not run only after it has closed its own.
///
/// # Errors
/// [`docker::Error::Unavailable`] when Docker does not answer; a container that is gone is a state, not an error.
pub async fn refresh(engine: &Engine, store: &Store, logs: &Logs, id: &str) -> Result<(), docker::Error> {
    match engine.inspect_container(id).await {
        Ok(details) => {
            let known = store.container(id).map(|container| container.process.clone()).unwrap_or_default();
            if after(&known, &details).exit().is_some() {
                logs.finish(id).await;
            }
            let network = PodNetwork::look(store, &details);
            if let PodNetwork::Lost = network {
                store.change_process(id, |known| known.exited(network_lost(known)));
            } else {
                store.change_process(id, |known| after(known, &details));
            }
            store.set_unsettled(id, false);
            if let PodNetwork::Unpinned = network {
                pin_again(store, id, details.state.pid).await;
            }
            Ok(())
        }
        Err(error) if error.is_not_found() => {
            gone(store, logs, id).await;
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// What became of the network of a pod whose pause container runs.
#[derive(Debug, PartialEq)]
enum PodNetwork {
    /// It is there, or there is none to look for.
    Kept,
    /// It is there, and nothing but the process keeps it: somebody has removed the file that did.
    Unpinned,
    /// Somebody has started the pause container again: it runs in a new network namespace, where the pod's interface
    /// is not.
    Lost,
}

impl PodNetwork {
    fn look(store: &Store, details: &ContainerDetails) -> PodNetwork {
        let Some(sandbox) = store.sandbox(&details.id).filter(|_| details.state.running) else {
            return PodNetwork::Kept;
        };
        let (Some(pin), Some(network)) = (&sandbox.record.netns, &sandbox.record.network) else {
            return PodNetwork::Kept;
        };
        let process = PathBuf::from(format!("/proc/{}", details.state.pid));
        let identity = |path: &Path| std::fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
        let Some(current) = identity(&process.join("ns/net")).filter(|_| !network.released) else {
            return PodNetwork::Kept;
        };
        if cni::is_pinned(pin) {
            return if identity(pin) == Some(current) { PodNetwork::Kept } else { PodNetwork::Lost };
        }
        if network.ips.iter().all(|ip| has_address(&process, *ip)) { PodNetwork::Unpinned } else { PodNetwork::Lost }
    }
}

/// Whether the network namespace of a process has this address; also if that cannot be told.
fn has_address(process: &Path, ip: IpAddr) -> bool {
    match ip {
        // The kernel's routing table has each address of its own as a leaf.
        IpAddr::V4(ip) => {
            let leaf = format!("|-- {ip}");
            std::fs::read_to_string(process.join("net/fib_trie"))
                .map_or(true, |text| text.lines().any(|line| line.trim() == leaf))
        }
        IpAddr::V6(ip) => {
            let digits = format!("{:032x}", u128::from(ip));
            std::fs::read_to_string(process.join("net/if_inet6")).map_or(true, |text| text.contains(&digits))
        }
    }
}

/// Keeps the network namespace of a pod under its name again. While a verb holds the sandbox it is left alone, as that
/// may be taking the network away.
async fn pin_again(store: &Store, id: &str, pid: i32) {
    let Some(sandbox) = store.sandbox(id) else { return };
    let Some(_guard) = store.try_lock(&sandbox.record.key) else { return };
    let Some(sandbox) = store.sandbox(id).filter(|sandbox| sandbox.is_ready() && !sandbox.stopping) else { return };
    let (Some(path), Ok(pid)) = (sandbox.record.netns.clone(), u32::try_from(pid)) else { return };
    match tokio::task::spawn_blocking(move || cni::pin_at(&path, pid)).await {
        Ok(Ok(())) => tracing::info!(sandbox = id, "kept the network namespace of a pod again that somebody let go"),
        Ok(Err(error)) => tracing::warn!(sandbox = id, %error, "could not keep the network namespace of a pod again"),
        Err(error) => tracing::error!(sandbox = id, %error, "could not keep the network namespace of a pod again"),
    }
}

/// The time now, for an end that Docker does not date. The clock may have been set back since the start, and an end
/// before that would be taken for one of an earlier run.
fn ended_now(known: &Process) -> i64 {
    now_ns().max(known.started_at())
}

fn network_lost(known: &Process) -> Exit {
    Exit {
        at: ended_now(known),
        code: 0,
        oom_killed: false,
        reason: "NetworkLost".to_owned(),
        message: "the pause container was started again by somebody else, without the pod's network".to_owned(),
    }
}

/// Stores that the container `id` does not exist in Docker any more. Its record stays until a client removes it.
pub async fn gone(store: &Store, logs: &Logs, id: &str) {
    // What Docker wrote can be read to its end: the files are held open.
    logs.finish(id).await;
    store.change_process(id, |known| match known {
        Process::Exited { .. } => known.clone(),
        _ => known.exited(Exit {
            at: ended_now(known),
            code: GONE,
            oom_killed: false,
            reason: "ContainerGone".to_owned(),
            message: "the container was removed from Docker by somebody else".to_owned(),
        }),
    });
}

/// What is known of a process once Docker has told its state.
fn after(known: &Process, details: &ContainerDetails) -> Process {
    let state = &details.state;
    if state.running {
        return known.started(parse_time(&state.started_at));
    }
    let ended_at = parse_time(&state.finished_at);
    if ended_at > 0 {
        // A client that connects later learns both times, even when the start was never seen.
        let known = if known.started_at() == 0 { known.started(parse_time(&state.started_at)) } else { known.clone() };
        return known.exited(Exit {
            // Docker notes the start after the fact, so a process that was quick has ended before it.
            at: ended_at.max(known.started_at()),
            code: state.exit_code,
            oom_killed: state.oom_killed,
            reason: String::new(),
            message: state.error.clone(),
        });
    }
    if state.exit_code != 0 || !state.error.is_empty() {
        return known.exited(cannot_run(parse_time(&details.created), state.exit_code, &state.error));
    }
    known.clone()
}

/// The end of a container that Docker could not start. `ContainerCannotRun` is the reason that keeps a kubelet
/// from looking for the cause in a log that was never written.
pub fn cannot_run(at: i64, code: i32, error: &str) -> Exit {
    Exit {
        at,
        code: if code == 0 { 128 } else { code },
        oom_killed: false,
        reason: "ContainerCannotRun".to_owned(),
        message: error.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::ContainerState;
    use crate::state::Sandbox;
    use crate::state::testing;

    fn details(state: ContainerState) -> ContainerDetails {
        ContainerDetails {
            id: "a".into(),
            name: String::new(),
            created: "2026-01-01T00:00:00Z".into(),
            image: String::new(),
            state,
            resolv_conf_path: Default::default(),
            log_path: Default::default(),
        }
    }

    #[test]
    fn an_address_is_found_in_the_tables_of_the_kernel() {
        let own = Path::new("/proc/self");
        assert!(has_address(own, "127.0.0.1".parse().unwrap()));
        assert!(!has_address(own, "192.0.2.77".parse().unwrap()));
        assert!(!has_address(own, "2001:db8::77".parse().unwrap()) || !own.join("net/if_inet6").exists());
        assert!(has_address(Path::new("/nowhere"), "192.0.2.77".parse().unwrap()));
    }

    #[test]
    fn dockers_year_one_is_never() {
        assert_eq!(parse_time("0001-01-01T00:00:00Z"), 0);
        assert_eq!(parse_time("1970-01-01T00:00:01.000000005Z"), 1_000_000_005);
        assert_eq!(parse_time(""), 0);
    }

    #[test]
    fn an_end_that_was_not_watched_is_told_whole() {
        let state = ContainerState {
            exit_code: 3,
            started_at: "2026-01-01T00:00:01Z".into(),
            finished_at: "2026-01-01T00:00:02Z".into(),
            ..Default::default()
        };
        let process = after(&Process::Created, &details(state));
        assert_eq!(process.exit().unwrap().code, 3);
        assert_eq!(process.exit().unwrap().at - process.started_at(), 1_000_000_000);
    }

    #[test]
    fn an_end_that_docker_dates_before_the_start_is_an_end() {
        let state = ContainerState {
            started_at: "2026-01-01T00:00:00.002Z".into(),
            finished_at: "2026-01-01T00:00:00.001Z".into(),
            ..Default::default()
        };
        let started = parse_time(&state.started_at);
        for known in [Process::Created, Process::Running { started_at: started }] {
            let process = after(&known, &details(state.clone()));
            assert_eq!((process.started_at(), process.exit().map(|exit| exit.at)), (started, Some(started)));
        }
    }

    #[tokio::test]
    async fn a_container_that_is_gone_has_ended_also_after_the_clock_was_set_back() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(&dir.path().join("state")).unwrap();
        let logs = Logs::open(dir.path().join("logs")).unwrap();
        let started_at = now_ns() + 3_600_000_000_000;
        store.put_sandbox(Sandbox::new(testing::sandbox("a"), Process::Running { started_at }));
        gone(&store, &logs, "a").await;
        let process = store.sandbox("a").unwrap().process.clone();
        assert_eq!(process.exit().map(|exit| (exit.at, exit.code)), Some((started_at, GONE)));
        let known = Process::Running { started_at };
        assert!(known.exited(network_lost(&known)).exit().is_some());
    }

    #[test]
    fn a_container_that_could_not_start_has_ended() {
        let state = ContainerState { exit_code: 127, error: "no such file".into(), ..Default::default() };
        let process = after(&Process::Created, &details(state));
        let exit = process.exit().unwrap();
        assert_eq!((exit.code, exit.reason.as_str()), (127, "ContainerCannotRun"));
    }

    #[test]
    fn a_container_that_was_only_created_stays_created() {
        assert_eq!(after(&Process::Created, &details(ContainerState::default())), Process::Created);
    }
}
