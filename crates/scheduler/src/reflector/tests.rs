//! No change is lost, however the API server fails.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use serde_json::Value;
use serde_json::json;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::unbounded_channel;

use super::*;
use crate::api::fake::FakeApi;
use crate::model::Namespace;

fn namespace(name: &str, version: u32) -> Value {
    json!({"metadata": {"name": name, "resourceVersion": version.to_string()}})
}

fn event_line(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}

/// Starts a reflector of namespaces; returns its updates.
fn start_reflector(api: &FakeApi) -> UnboundedReceiver<Update> {
    let (updates, received) = unbounded_channel();
    let intern = Arc::new(Intern::default());
    let read: Read<crate::wire::Namespace, Namespace> = |wire, intern| Ok(read::namespace(wire, intern));
    let reflector = Reflector::new(&api.client, &intern, &updates, "/namespaces?", read, Update::Namespace);
    tokio::spawn(reflector.run());
    received
}

async fn receive(received: &mut UnboundedReceiver<Update>, number: usize) -> Vec<String> {
    let mut seen = Vec::new();
    for _ in 0..number {
        seen.push(match received.recv().await.unwrap() {
            Update::Namespace(Change::ListStarted) => "begin".to_owned(),
            Update::Namespace(Change::Applied(one)) => format!("put {}", one.name),
            Update::Namespace(Change::Deleted(one)) => format!("gone {}", one.name),
            Update::Namespace(Change::ListComplete) => "complete".to_owned(),
            other => panic!("{other:?}"),
        });
    }
    seen
}

#[tokio::test]
async fn a_list_is_paged_and_the_watch_starts_from_it() {
    let api = FakeApi::start(|request| {
        let text = if request.path.contains("watch=true") {
            assert!(request.path.contains("resourceVersion=7"), "{}", request.path);
            event_line("ADDED", &namespace("c", 8)) + &event_line("DELETED", &namespace("a", 9))
        } else if request.path.contains("continue=more") {
            json!({"metadata": {"resourceVersion": "7"}, "items": [namespace("b", 2)]}).to_string()
        } else {
            json!({"metadata": {"resourceVersion": "7", "continue": "more"}, "items": [namespace("a", 1)]}).to_string()
        };
        (200, text)
    })
    .await;
    let seen = receive(&mut start_reflector(&api), 6).await;
    assert_eq!(seen, ["begin", "put a", "put b", "complete", "put c", "gone a"]);
}

#[tokio::test]
async fn a_closed_watch_resumes_from_the_last_version() {
    let api = FakeApi::start(|request| {
        let text = if !request.path.contains("watch=true") {
            json!({"metadata": {"resourceVersion": "1"}, "items": null}).to_string()
        } else if request.path.contains("resourceVersion=1") {
            event_line("ADDED", &namespace("a", 5)) + &event_line("BOOKMARK", &namespace("", 6))
        } else {
            assert!(request.path.contains("resourceVersion=6"), "{}", request.path);
            event_line("ADDED", &namespace("b", 6))
        };
        (200, text)
    })
    .await;
    assert_eq!(receive(&mut start_reflector(&api), 4).await, ["begin", "complete", "put a", "put b"]);
}

#[tokio::test]
async fn an_expired_version_causes_a_new_list() {
    for in_stream in [true, false] {
        let lists = AtomicUsize::new(0);
        let api = FakeApi::start(move |request| {
            let expired = json!({"kind": "Status", "status": "Failure", "code": 410, "message": "too old"});
            if !request.path.contains("watch=true") {
                lists.fetch_add(1, Ordering::Relaxed);
                return (200, json!({"metadata": {"resourceVersion": "1"}, "items": []}).to_string());
            }
            if lists.load(Ordering::Relaxed) > 1 {
                (200, event_line("ADDED", &namespace("late", 2)))
            } else if in_stream {
                (200, event_line("ERROR", &expired))
            } else {
                (410, expired.to_string())
            }
        })
        .await;
        let seen = receive(&mut start_reflector(&api), 5).await;
        assert_eq!(seen, ["begin", "complete", "begin", "complete", "put late"]);
    }
}

#[tokio::test]
async fn an_unavailable_server_loses_no_change() {
    let requests = AtomicUsize::new(0);
    let api = FakeApi::start(move |request| match requests.fetch_add(1, Ordering::Relaxed) {
        // The first list fails, and so does the first watch.
        0 | 2 => (503, String::new()),
        _ if request.path.contains("watch=true") => {
            assert!(request.path.contains("resourceVersion=1"), "{}", request.path);
            (200, event_line("ADDED", &namespace("a", 1)))
        }
        _ => (200, json!({"metadata": {"resourceVersion": "1"}, "items": []}).to_string()),
    })
    .await;
    assert_eq!(receive(&mut start_reflector(&api), 4).await, ["begin", "begin", "complete", "put a"]);
}

#[tokio::test]
async fn an_object_that_cannot_be_converted_can_still_be_deleted() {
    let node = |effect: &str| json!({"metadata": {"name": "a", "resourceVersion": "2"}, "spec": {"taints": [{"key": "k", "effect": effect}]}});
    let api = FakeApi::start(move |request| {
        let text = if request.path.contains("watch=true") {
            event_line("ADDED", &node("NoSchedule"))
                + &event_line("MODIFIED", &node("Maybe"))
                + &event_line("DELETED", &node("Maybe"))
        } else {
            json!({"metadata": {"resourceVersion": "1"}, "items": []}).to_string()
        };
        (200, text)
    })
    .await;
    let (updates, mut received) = unbounded_channel();
    let intern = Arc::new(Intern::default());
    tokio::spawn(Reflector::new(&api.client, &intern, &updates, "/nodes?", read::node, Update::Node).run());
    let mut seen = Vec::new();
    while seen.len() < 4 {
        seen.push(match received.recv().await.unwrap() {
            Update::Node(Change::Applied(node)) => format!("put {}", node.name),
            Update::Node(Change::Deleted(node)) => format!("gone {}", node.name),
            _ => "list".to_owned(),
        });
    }
    assert_eq!(seen, ["list", "list", "put a", "gone a"]);
}

/// A Protobuf watch frame of twelve bytes whose object is invalid.
const ADDED_NONSENSE: &str = "\0\0\0\u{c}\n\u{5}ADDED\u{12}\u{3}\n\u{1}x";

#[tokio::test]
async fn undecodable_protobuf_falls_back_to_json() {
    for in_list in [true, false] {
        let api = FakeApi::start(move |request| {
            let in_json = request.accept == "application/json";
            let text = if request.path.contains("watch=true") {
                assert!(request.path.contains("resourceVersion=1"), "{}", request.path);
                if in_json { event_line("ADDED", &namespace("b", 2)) } else { ADDED_NONSENSE.to_owned() }
            } else if in_list && !in_json {
                "k8s\0not a list".to_owned()
            } else {
                json!({"metadata": {"resourceVersion": "1"}, "items": [namespace("a", 1)]}).to_string()
            };
            (200, text)
        })
        .await;
        let seen = receive(&mut start_reflector(&api), 4).await;
        assert_eq!(seen, ["begin", "put a", "complete", "put b"]);
    }
}
