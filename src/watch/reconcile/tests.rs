use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use super::*;
use crate::container::testing::Bench;
use crate::container::testing::SANDBOX;
use crate::docker::testing::NEVER;
use crate::pod;
use crate::pod::Pods;
use crate::state::testing;
use crate::watch::Dependencies;
use cni_runtime as cni;
use cni_runtime::Cni;

const SHORT: Duration = Duration::from_secs(1);

fn watch(bench: &Bench) -> Arc<Watch> {
    let settings = cni::Config { conf_dir: "/nowhere".into(), cache_dir: "/nowhere".into(), ..cni::Config::default() };
    let pods = Arc::new(Pods::new(pod::Dependencies {
        engine: bench.engine.clone(),
        store: Arc::clone(&bench.store),
        cni: Arc::new(Cni::new(settings, None)),
        images: Arc::clone(&bench.images),
        containers: Arc::clone(&bench.containers),
        unfinished: Vec::new(),
    }));
    Arc::new(Watch::new(Dependencies {
        engine: bench.engine.clone(),
        store: Arc::clone(&bench.store),
        images: Arc::clone(&bench.images),
        containers: Arc::clone(&bench.containers),
        pods,
        damaged: HashSet::new(),
    }))
}

fn row(id: &str, state: &str) -> String {
    format!(r#"{{"Id": "{id}", "Names": ["/{id}"], "State": "{state}"}}"#)
}

fn running(id: &str) -> (u16, String) {
    let state = r#"{"Status": "running", "Running": true, "Pid": 1, "StartedAt": "2026-01-01T00:00:01Z"}"#;
    (200, format!(r#"{{"Id": "{id}", "State": {state}}}"#))
}

/// A Docker that lists `slow` in a state, and does not answer its inspect until `answering`.
fn slow_and(state: &'static str, answering: Arc<AtomicBool>) -> Bench {
    let bench = Bench::new(SHORT, move |request| match request {
        "GET /_ping" => (200, "OK".to_owned()),
        "GET /images/json" => (200, "[]".to_owned()),
        "GET /containers/json" => (200, format!("[{}, {}]", row(SANDBOX, "running"), row("slow", state))),
        "GET /containers/slow/json" if !answering.load(Ordering::Relaxed) => (NEVER, String::new()),
        "GET /containers/slow/json" | "GET /containers/pod1/json" => running(request.split('/').nth(2).unwrap()),
        _ => (500, r#"{"message": "unexpected EOF"}"#.to_owned()),
    });
    bench.put(testing::container("slow", SANDBOX));
    bench
}

/// A Docker that does not answer an inspect of `slow`, and cannot list its images until they are `repaired`. It does
/// not answer pings unless `alive`.
fn troubled(repaired: Arc<AtomicBool>, alive: Arc<AtomicBool>) -> Bench {
    let bench = Bench::new(SHORT, move |request| match request {
        "GET /_ping" if !alive.load(Ordering::Relaxed) => (NEVER, String::new()),
        "GET /_ping" => (200, "OK".to_owned()),
        "GET /images/json" if repaired.load(Ordering::Relaxed) => (200, r#"[{"Id": "sha256:1"}]"#.to_owned()),
        "GET /images/sha256:1/json" => (200, r#"{"Id": "sha256:1"}"#.to_owned()),
        "GET /containers/json" => {
            let rows = [row(SANDBOX, "running"), row("quick", "running"), row("slow", "running")];
            (200, format!("[{}]", rows.join(",")))
        }
        "GET /containers/slow/json" => (NEVER, String::new()),
        "GET /containers/quick/json" | "GET /containers/pod1/json" => running(request.split('/').nth(2).unwrap()),
        _ => (500, r#"{"message": "unexpected EOF"}"#.to_owned()),
    });
    for id in ["quick", "slow"] {
        bench.put(testing::container(id, SANDBOX));
    }
    bench
}

#[tokio::test]
async fn a_container_and_images_that_docker_cannot_read_do_not_keep_the_node_down() {
    let repaired = Arc::new(AtomicBool::new(false));
    let bench = troubled(Arc::clone(&repaired), Arc::new(AtomicBool::new(true)));
    let watch = watch(&bench);
    watch.reconcile().await.unwrap();
    assert!(bench.process("quick").is_running() && bench.process("slow").is_running());
    // The images are listed again, as soon as that succeeds.
    repaired.store(true, Ordering::Relaxed);
    let refreshing = Arc::clone(&watch);
    let task = tokio::spawn(async move { refreshing.refresh_images().await });
    tokio::time::timeout(Duration::from_secs(10), async {
        while bench.images.list("").is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the images are listed");
    task.abort();
}

#[tokio::test]
async fn a_container_that_docker_may_be_starting_is_unsettled_until_docker_answers() {
    let answering = Arc::new(AtomicBool::new(false));
    let bench = slow_and("created", Arc::clone(&answering));
    let watch = watch(&bench);
    watch.reconcile().await.unwrap();
    let unsettled = || bench.store.index().containers.get("slow").unwrap().unsettled;
    assert!(unsettled());
    answering.store(true, Ordering::Relaxed);
    tokio::select! {
        () = watch.refresh_unsettled() => {}
        () = async {
            while unsettled() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        } => {}
    }
    assert!(bench.process("slow").is_running());
}

#[tokio::test]
async fn only_a_container_that_docker_may_be_starting_is_unsettled() {
    let bench = slow_and("paused", Arc::default());
    watch(&bench).reconcile().await.unwrap();
    let slow = bench.store.index().containers.get("slow").unwrap();
    assert!(slow.process.is_running() && !slow.unsettled);
    // A completed job must not be run again because its exit code is not known.
    let bench = slow_and("exited", Arc::default());
    assert!(watch(&bench).reconcile().await.is_err());
    assert!(!bench.store.index().containers.get("slow").unwrap().unsettled);
}

#[tokio::test]
async fn a_list_of_images_that_failed_is_repeated() {
    let repaired = Arc::new(AtomicBool::new(false));
    let bench = troubled(Arc::clone(&repaired), Arc::new(AtomicBool::new(true)));
    let watch = watch(&bench);
    watch.images_changed.notify_one();
    let refreshing = Arc::clone(&watch);
    let task = tokio::spawn(async move { refreshing.refresh_images().await });
    let failed = || bench.engine.request_counts().get("GET /images/json").copied().unwrap_or_default() > 0;
    tokio::time::timeout(Duration::from_secs(10), async {
        while bench.images.list("").is_empty() {
            repaired.store(failed(), Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the images are listed");
    task.abort();
}

#[tokio::test]
async fn a_docker_that_does_not_answer_pings_is_not_joined() {
    let alive = Arc::new(AtomicBool::new(true));
    let bench = troubled(Arc::new(AtomicBool::new(true)), Arc::clone(&alive));
    let watch = watch(&bench);
    alive.store(false, Ordering::Relaxed);
    assert!(watch.reconcile().await.is_err());
}
