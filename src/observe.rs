//! Asks Docker what became of a process, and tells the store. Verbs use it after they changed something, and
//! `watch` when Docker says that something changed.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use jiff::Timestamp;

use crate::docker;
use crate::docker::ContainerDetails;
use crate::docker::Engine;
use crate::docker::parse_time;
use crate::logs::Logs;
use crate::state::Exit;
use crate::state::Process;
use crate::state::Store;

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
            if has_lost_network(store, &details) {
                store.change_process(id, |known| known.exited(network_lost()));
            } else {
                store.change_process(id, |known| after(known, &details));
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

/// Whether this is a pause container that somebody started again: it runs in a new network namespace, where the pod's
/// interface is not.
fn has_lost_network(store: &Store, details: &ContainerDetails) -> bool {
    let pinned = store.sandbox(&details.id).and_then(|sandbox| sandbox.record.netns.clone());
    let Some(pinned) = pinned.filter(|_| details.state.running) else { return false };
    let identity = |path: &Path| std::fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    let current = identity(Path::new(&format!("/proc/{}/ns/net", details.state.pid)));
    current.is_some() && current != identity(&pinned)
}

fn network_lost() -> Exit {
    Exit {
        at: now_ns(),
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
            at: now_ns(),
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
