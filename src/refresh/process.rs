//! From Docker's state of a container to the index's [`Process`].

use crate::clock::now_ns;
use crate::docker::ContainerDetails;
use crate::docker::parse_time;
use crate::state::Exit;
use crate::state::Process;

/// The exit code of a process that SIGKILL ended (128 + 9), also for one that was removed together with its container.
const KILLED: i32 = 137;
/// The exit code of a container that did not start and for which Docker has none (docker-run(1) uses 125 to 127).
const NOT_STARTED: i32 = 128;

/// The process after an inspect that returned `details`.
pub(super) fn inspected(known: &Process, details: &ContainerDetails) -> Process {
    let state = &details.state;
    if state.running {
        return known.started(parse_time(&state.started_at));
    }
    let finished_at = parse_time(&state.finished_at);
    if finished_at > 0 {
        // Both times are stored even when the start was never seen.
        let known = if known.started_at() == 0 { known.started(parse_time(&state.started_at)) } else { known.clone() };
        return known.exited(Exit {
            // Docker takes the start time after the process has started, so a short-lived process exits before it.
            at: finished_at.max(known.started_at()),
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

/// The process of a container that Docker does not have any more.
pub(super) fn gone(known: &Process) -> Process {
    match known {
        Process::Exited { .. } => known.clone(),
        _ => known.exited(Exit {
            at: exited_now(known),
            code: KILLED,
            oom_killed: false,
            reason: "ContainerGone".to_owned(),
            message: "the container was removed from Docker by another client".to_owned(),
        }),
    }
}

/// The pause process of a pod whose network namespace is not the one that was set up.
pub(super) fn network_lost(known: &Process) -> Process {
    known.exited(Exit {
        at: exited_now(known),
        code: 0,
        oom_killed: false,
        reason: "NetworkLost".to_owned(),
        message: "the pause container was restarted by another client, without the pod's network".to_owned(),
    })
}

/// The process of a container in which an OOM kill happened. The kernel may have killed any process of the container;
/// it is the cause of the container's exit only when that was by SIGKILL.
pub(super) fn oom_killed(known: &Process) -> Process {
    match known {
        Process::Exited { started_at, exit } if exit.code == KILLED => {
            Process::Exited { started_at: *started_at, exit: Exit { oom_killed: true, ..exit.clone() } }
        }
        other => other.clone(),
    }
}

/// The exit, at `at` (nanoseconds since 1970), of a container that Docker could not start. The reason
/// `ContainerCannotRun` keeps a kubelet from looking for the cause in a log that was never written.
pub(crate) fn cannot_run(at: i64, code: i32, error: &str) -> Exit {
    Exit {
        at,
        code: if code == 0 { NOT_STARTED } else { code },
        oom_killed: false,
        reason: "ContainerCannotRun".to_owned(),
        message: error.to_owned(),
    }
}

/// The time now, for an exit that Docker does not date. The clock may have been set back since the start, and an exit
/// before the start would be taken for one of an earlier run.
fn exited_now(known: &Process) -> i64 {
    now_ns().max(known.started_at())
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
    fn an_unseen_start_and_exit_are_stored_together() {
        let state = ContainerState {
            exit_code: 3,
            started_at: "2026-01-01T00:00:01Z".into(),
            finished_at: "2026-01-01T00:00:02Z".into(),
            ..Default::default()
        };
        let process = inspected(&Process::Created, &details(state));
        assert_eq!(process.exit().unwrap().code, 3);
        assert_eq!(process.exit().unwrap().at - process.started_at(), 1_000_000_000);
    }

    #[test]
    fn an_exit_that_docker_dates_before_the_start_is_an_exit() {
        let state = ContainerState {
            started_at: "2026-01-01T00:00:00.002Z".into(),
            finished_at: "2026-01-01T00:00:00.001Z".into(),
            ..Default::default()
        };
        let started = parse_time(&state.started_at);
        for known in [Process::Created, Process::Running { started_at: started }] {
            let process = inspected(&known, &details(state.clone()));
            assert_eq!((process.started_at(), process.exit().map(|exit| exit.at)), (started, Some(started)));
        }
    }

    #[test]
    fn a_container_that_could_not_start_has_exited() {
        let state = ContainerState { exit_code: 127, error: "no such file".into(), ..Default::default() };
        let process = inspected(&Process::Created, &details(state));
        let exit = process.exit().unwrap();
        assert_eq!((exit.code, exit.reason.as_str()), (127, "ContainerCannotRun"));
    }

    #[test]
    fn a_container_that_was_only_created_stays_created() {
        assert_eq!(inspected(&Process::Created, &details(ContainerState::default())), Process::Created);
    }

    #[test]
    fn an_oom_kill_is_the_cause_of_an_exit_by_sigkill_alone() {
        let exited = |code| {
            let exit = Exit { at: 2, code, oom_killed: false, reason: String::new(), message: String::new() };
            Process::Exited { started_at: 1, exit }
        };
        assert!(oom_killed(&exited(KILLED)).exit().unwrap().oom_killed);
        assert!(!oom_killed(&exited(1)).exit().unwrap().oom_killed);
        assert!(oom_killed(&Process::Running { started_at: 1 }).is_running());
    }
}
