//! Nothing is lost, whatever the API server does.

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

fn line(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}

/// Follows namespaces; returns what is heard.
fn follow(api: &FakeApi) -> UnboundedReceiver<Update> {
    let (updates, heard) = unbounded_channel();
    let intern = Arc::new(Intern::default());
    let read: Read<crate::wire::Namespace, Namespace> = |wire, intern| Ok(read::namespace(wire, intern));
    let follower = Follower::new(&api.client, &intern, &updates, "/namespaces?", read, Update::Namespace);
    tokio::spawn(follower.run());
    heard
}

async fn hear(heard: &mut UnboundedReceiver<Update>, number: usize) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..number {
        told.push(match heard.recv().await.unwrap() {
            Update::Namespace(Change::Begin) => "begin".to_owned(),
            Update::Namespace(Change::Put(one)) => format!("put {}", one.name),
            Update::Namespace(Change::Gone(one)) => format!("gone {}", one.name),
            Update::Namespace(Change::Complete) => "complete".to_owned(),
            other => panic!("{other:?}"),
        });
    }
    told
}

#[tokio::test]
async fn a_list_comes_in_pages_and_the_watch_goes_on_from_it() {
    let api = FakeApi::start(|asked| {
        let text = if asked.path.contains("watch=true") {
            assert!(asked.path.contains("resourceVersion=7"), "{}", asked.path);
            line("ADDED", &namespace("c", 8)) + &line("DELETED", &namespace("a", 9))
        } else if asked.path.contains("continue=more") {
            json!({"metadata": {"resourceVersion": "7"}, "items": [namespace("b", 2)]}).to_string()
        } else {
            json!({"metadata": {"resourceVersion": "7", "continue": "more"}, "items": [namespace("a", 1)]}).to_string()
        };
        (200, text)
    })
    .await;
    let told = hear(&mut follow(&api), 6).await;
    assert_eq!(told, ["begin", "put a", "put b", "complete", "put c", "gone a"]);
}

#[tokio::test]
async fn a_watch_that_ends_goes_on_from_the_last_version() {
    let api = FakeApi::start(|asked| {
        let text = if !asked.path.contains("watch=true") {
            json!({"metadata": {"resourceVersion": "1"}, "items": null}).to_string()
        } else if asked.path.contains("resourceVersion=1") {
            line("ADDED", &namespace("a", 5)) + &line("BOOKMARK", &namespace("", 6))
        } else {
            assert!(asked.path.contains("resourceVersion=6"), "{}", asked.path);
            line("ADDED", &namespace("b", 6))
        };
        (200, text)
    })
    .await;
    assert_eq!(hear(&mut follow(&api), 4).await, ["begin", "complete", "put a", "put b"]);
}

#[tokio::test]
async fn a_version_that_is_forgotten_makes_a_new_list() {
    for in_stream in [true, false] {
        let lists = AtomicUsize::new(0);
        let api = FakeApi::start(move |asked| {
            let expired = json!({"kind": "Status", "status": "Failure", "code": 410, "message": "too old"});
            if !asked.path.contains("watch=true") {
                lists.fetch_add(1, Ordering::Relaxed);
                return (200, json!({"metadata": {"resourceVersion": "1"}, "items": []}).to_string());
            }
            if lists.load(Ordering::Relaxed) > 1 {
                (200, line("ADDED", &namespace("late", 2)))
            } else if in_stream {
                (200, line("ERROR", &expired))
            } else {
                (410, expired.to_string())
            }
        })
        .await;
        let told = hear(&mut follow(&api), 5).await;
        assert_eq!(told, ["begin", "complete", "begin", "complete", "put late"]);
    }
}

#[tokio::test]
async fn a_server_that_is_away_loses_nothing() {
    let requests = AtomicUsize::new(0);
    let api = FakeApi::start(move |asked| match requests.fetch_add(1, Ordering::Relaxed) {
        // The list fails once, and the watch once.
        0 | 2 => (503, String::new()),
        _ if asked.path.contains("watch=true") => {
            assert!(asked.path.contains("resourceVersion=1"), "{}", asked.path);
            (200, line("ADDED", &namespace("a", 1)))
        }
        _ => (200, json!({"metadata": {"resourceVersion": "1"}, "items": []}).to_string()),
    })
    .await;
    assert_eq!(hear(&mut follow(&api), 4).await, ["begin", "begin", "complete", "put a"]);
}

#[tokio::test]
async fn an_object_that_cannot_be_read_goes_all_the_same() {
    let node = |effect: &str| json!({"metadata": {"name": "a", "resourceVersion": "2"}, "spec": {"taints": [{"key": "k", "effect": effect}]}});
    let api = FakeApi::start(move |asked| {
        let text = if asked.path.contains("watch=true") {
            line("ADDED", &node("NoSchedule")) + &line("MODIFIED", &node("Maybe")) + &line("DELETED", &node("Maybe"))
        } else {
            json!({"metadata": {"resourceVersion": "1"}, "items": []}).to_string()
        };
        (200, text)
    })
    .await;
    let (updates, mut heard) = unbounded_channel();
    let intern = Arc::new(Intern::default());
    tokio::spawn(Follower::new(&api.client, &intern, &updates, "/nodes?", read::node, Update::Node).run());
    let mut told = Vec::new();
    while told.len() < 4 {
        told.push(match heard.recv().await.unwrap() {
            Update::Node(Change::Put(node)) => format!("put {}", node.name),
            Update::Node(Change::Gone(node)) => format!("gone {}", node.name),
            _ => "list".to_owned(),
        });
    }
    assert_eq!(told, ["list", "list", "put a", "gone a"]);
}

/// A part of a watch in Protobuf, of twelve bytes, whose object is none.
const ADDED_NONSENSE: &str = "\0\0\0\u{c}\n\u{5}ADDED\u{12}\u{3}\n\u{1}x";

#[tokio::test]
async fn what_cannot_be_read_in_protobuf_is_asked_for_in_json() {
    for in_list in [true, false] {
        let api = FakeApi::start(move |asked| {
            let in_json = asked.accept == "application/json";
            let text = if asked.path.contains("watch=true") {
                assert!(asked.path.contains("resourceVersion=1"), "{}", asked.path);
                if in_json { line("ADDED", &namespace("b", 2)) } else { ADDED_NONSENSE.to_owned() }
            } else if in_list && !in_json {
                "k8s\0not a list".to_owned()
            } else {
                json!({"metadata": {"resourceVersion": "1"}, "items": [namespace("a", 1)]}).to_string()
            };
            (200, text)
        })
        .await;
        let told = hear(&mut follow(&api), 4).await;
        assert_eq!(told, ["begin", "put a", "complete", "put b"]);
    }
}
