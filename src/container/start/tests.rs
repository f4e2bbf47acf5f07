use std::sync::Arc;

use parking_lot::Mutex;

use super::*;
use crate::container::testing::Bench;
use crate::container::testing::SANDBOX;
use crate::proto::LinuxContainerConfig;
use crate::proto::LinuxContainerResources;
use crate::state::testing;

const SHORT: Duration = Duration::from_millis(200);

/// A container with a setting of cgroup v2; there is no cgroup of this name.
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
const ENDED: &str = r#"{"Status": "exited", "ExitCode": 3, "StartedAt": "2026-01-01T00:00:01Z",
    "FinishedAt": "2026-01-01T00:00:02Z"}"#;

/// A Docker whose container has ended with the inspection of this number; what it is asked is noted.
fn ending_at(looks: usize) -> (Bench, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&asked);
    let bench = Bench::new(SHORT, move |request| {
        let mut notes = notes.lock();
        notes.push(request.to_owned());
        let looked = notes.iter().filter(|note| *note == "GET /containers/c1/json").count();
        match request {
            "GET /containers/c1/json" => details(if looked < looks { RUNNING } else { ENDED }),
            _ => (204, String::new()),
        }
    });
    bench.put(limited());
    (bench, asked)
}

fn kills(asked: &Mutex<Vec<String>>) -> usize {
    asked.lock().iter().filter(|request| request.ends_with("/kill")).count()
}

#[tokio::test]
async fn a_container_that_ends_before_its_cgroup_can_be_written_was_started() {
    let (bench, asked) = ending_at(3);
    bench.engine.link().set_suspect("slow");
    bench.containers.start("c1").await.unwrap();
    assert_eq!(bench.process("c1").exit().map(|exit| exit.code), Some(3));
    assert_eq!(kills(&asked), 0);
}

#[tokio::test]
async fn a_container_that_runs_without_its_limits_is_ended() {
    let (bench, asked) = ending_at(1_000);
    let refused = bench.containers.start("c1").await.unwrap_err().to_string();
    assert!(refused.contains("memory.oom.group"), "{refused}");
    assert_eq!(kills(&asked), 1);
}
