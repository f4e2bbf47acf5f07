use std::sync::Arc;

use parking_lot::Mutex;

use super::*;
use crate::container::testing::Bench;
use crate::container::testing::SANDBOX;
use crate::docker::testing::NEVER;
use crate::proto::ContainerState;
use crate::proto::LinuxContainerConfig;
use crate::proto::LinuxContainerResources;
use crate::state::testing;

const SHORT: Duration = Duration::from_secs(1);

/// A container with a cgroup v2 setting, whose cgroup does not exist.
fn limited() -> ContainerRecord {
    let mut record = testing::container("c1", SANDBOX);
    let unified = BTreeMap::from([("memory.oom.group".to_owned(), "1".to_owned())]);
    let resources = LinuxContainerResources { unified, ..Default::default() };
    record.config.linux = Some(LinuxContainerConfig { resources: Some(resources), ..Default::default() });
    record
}

fn details(state: &str) -> (u16, String) {
    (200, format!(r#"{{"Id": "c1", "Created": "2026-01-01T00:00:00Z", "State": {state}}}"#))
}

const RUNNING: &str = r#"{"Status": "running", "Running": true, "Pid": 1, "StartedAt": "2026-01-01T00:00:01Z"}"#;
const EXITED: &str = r#"{"Status": "exited", "ExitCode": 3, "StartedAt": "2026-01-01T00:00:01Z",
    "FinishedAt": "2026-01-01T00:00:02Z"}"#;

/// A fake Docker whose container has exited at the inspect of this number, and the requests it got.
fn exiting_at(inspects: usize) -> (Bench, Arc<Mutex<Vec<String>>>) {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&requests);
    let bench = Bench::new(SHORT, move |request| {
        let mut log = log.lock();
        log.push(request.to_owned());
        let inspected = log.iter().filter(|request| *request == "GET /containers/c1/json").count();
        match request {
            "GET /containers/c1/json" => details(if inspected < inspects { RUNNING } else { EXITED }),
            _ => (204, String::new()),
        }
    });
    bench.put(limited());
    (bench, requests)
}

fn kills(requests: &Mutex<Vec<String>>) -> usize {
    requests.lock().iter().filter(|request| request.ends_with("/kill")).count()
}

#[tokio::test]
async fn a_container_that_exits_before_its_cgroup_can_be_written_was_started() {
    let (bench, requests) = exiting_at(3);
    bench.engine.connection().set_suspect("slow");
    bench.containers.start("c1").await.unwrap();
    assert_eq!(bench.process("c1").exit().map(|exit| exit.code), Some(3));
    assert_eq!(kills(&requests), 0);
}

#[tokio::test]
async fn a_container_that_runs_without_its_limits_is_killed() {
    let (bench, requests) = exiting_at(1_000);
    let refused = bench.containers.start("c1").await.unwrap_err().to_string();
    assert!(refused.contains("memory.oom.group"), "{refused}");
    assert_eq!(kills(&requests), 1);
}

fn state_of(bench: &Bench) -> ContainerState {
    bench.containers.list(None).unwrap()[0].state()
}

/// A fake Docker whose start, and every inspect meanwhile, blocks until the returned state is set.
fn slow() -> (Bench, Arc<Mutex<Option<&'static str>>>) {
    let started = Arc::new(Mutex::new(None));
    let state = Arc::clone(&started);
    let bench = Bench::new(SHORT, move |request| {
        let mut state = state.lock();
        match (request, *state) {
            (_, None) => (NEVER, String::new()),
            ("GET /containers/c1/json", Some(state)) => details(state),
            ("POST /containers/c1/kill", Some(_)) => {
                *state = Some(EXITED);
                (204, String::new())
            }
            _ => (204, String::new()),
        }
    });
    bench.store.set_synced();
    bench.put(testing::container("c1", SANDBOX));
    (bench, started)
}

#[tokio::test]
async fn a_container_whose_start_gets_no_answer_is_unknown_until_an_inspect_answers() {
    for (state, expected) in [
        (RUNNING, ContainerState::ContainerRunning),
        (EXITED, ContainerState::ContainerExited),
        (r#"{"Status": "created"}"#, ContainerState::ContainerCreated),
    ] {
        let (bench, started) = slow();
        let refused = bench.containers.start("c1").await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::DeadlineExceeded, "{refused}");
        assert_eq!(state_of(&bench), ContainerState::ContainerUnknown);
        *started.lock() = Some(state);
        bench.containers.refresher().refresh("c1").await.unwrap();
        assert_eq!(state_of(&bench), expected);
    }
}

#[tokio::test]
async fn a_container_of_unknown_state_can_be_stopped_once_docker_answers() {
    let (bench, started) = slow();
    bench.containers.start("c1").await.unwrap_err();
    assert!(bench.containers.stop("c1", Duration::ZERO).await.is_err());
    assert_eq!(state_of(&bench), ContainerState::ContainerUnknown);
    *started.lock() = Some(RUNNING);
    bench.containers.stop("c1", Duration::ZERO).await.unwrap();
    assert_eq!(state_of(&bench), ContainerState::ContainerExited);
}

#[tokio::test]
async fn a_stop_also_kills_what_docker_was_starting_meanwhile() {
    let kills = Mutex::new(0);
    let bench = Bench::new(SHORT, move |request| match request {
        "POST /containers/c1/kill" => {
            *kills.lock() += 1;
            match *kills.lock() {
                1 => (409, r#"{"message": "container c1 is not running"}"#.to_owned()),
                _ => (204, String::new()),
            }
        }
        "GET /containers/c1/json" if *kills.lock() < 2 => details(RUNNING),
        _ => details(EXITED),
    });
    bench.store.set_synced();
    bench.put(testing::container("c1", SANDBOX));
    bench.store.set_unsettled("c1", true);
    bench.containers.stop("c1", Duration::ZERO).await.unwrap();
    assert_eq!(state_of(&bench), ContainerState::ContainerExited);
}
