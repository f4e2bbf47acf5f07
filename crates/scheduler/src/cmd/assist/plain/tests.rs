//! Whole conversations, with answers and sentences in memory.

use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use tokio::sync::mpsc::channel;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::Instant;

use super::*;
use crate::cmd::assist::desk::Desk;
use crate::cmd::assist::desk::Sources;
use crate::cmd::assist::prompt::Streams;
use crate::cmd::assist::prompt::talk;
use crate::cmd::assist::testing::Fixture;
use crate::update::Change;
use crate::update::Update;

/// What was said, and where errors are told.
struct Heard {
    out: String,
    errors: String,
}

/// Has a conversation with these answers. Every binding comes to these steps; `later` comes when the person has been
/// told that there is nothing, a minute between two.
async fn conversation(fixture: Fixture, answers: &str, steps: &[Step], later: Vec<Update>) -> Heard {
    let (updates, updated) = unbounded_channel();
    let (tell, told) = unbounded_channel();
    let (_notes, noted) = unbounded_channel();
    let (orders, mut ordered) = unbounded_channel::<crate::cmd::assist::clerk::Order>();
    let sources = Sources { updates: updated, steps: told, notes: noted };
    let mut desk = Desk::new(fixture.world, sources, orders);
    let steps = steps.to_vec();
    tokio::spawn(async move {
        while let Some(order) = ordered.recv().await {
            steps.iter().for_each(|step| drop(tell.send((order.pod.uid.clone(), step.clone()))));
        }
    });
    // Something has to be heard for the conversation to begin.
    updates.send(Update::Namespace(Change::Begin)).unwrap();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        for update in later {
            updates.send(update).unwrap();
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        std::future::pending::<()>().await;
    });
    let mut streams = Streams { out: Vec::new(), errors: Vec::new() };
    let (say, said) = channel(100);
    answers.lines().for_each(|line| say.try_send(Ok(line.to_owned())).unwrap());
    drop(say);
    talk(&mut desk, "test".into(), said, &mut streams).await.unwrap();
    Heard { out: String::from_utf8(streams.out).unwrap(), errors: String::from_utf8(streams.errors).unwrap() }
}

fn up() -> Vec<Step> {
    vec![Step::Bound, Step::ContainersReady, Step::Running("10.244.0.7".into())]
}

fn asks(cpu: &str) -> Value {
    json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}})
}

#[tokio::test(start_paused = true)]
async fn two_numbers_bind_a_pod_and_it_is_told_until_it_runs() {
    let fixture = Fixture::with_nodes(&["n"]).waits("p", asks("500m"));
    let heard = conversation(fixture, "1\n1\n", &up(), vec![]).await;
    let expected = [
        "test.",
        "1 pod waits for a node:",
        "1. default/p, ",
        "Which pod? ",
        "1 node for default/p:",
        "1. n fits, score ",
        "Which node? ",
        "Binding default/p to n.",
        "default/p is bound.",
        "All containers of default/p are ready.",
        "default/p is Running, with the address 10.244.0.7.",
        "No pod waits for a node. ",
    ];
    let lines: Vec<_> = heard.out.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{}", heard.out);
    for (line, beginning) in lines.iter().zip(expected) {
        assert!(line.starts_with(beginning), "{line:?} {beginning:?}");
    }
    assert!(lines[2].ends_with("old, priority 0, asks for 500m cpu."), "{}", lines[2]);
    assert!(lines[5].ends_with("Free: 4 of 4 cpu, 8Gi of 8Gi memory, 110 of 110 pods."), "{}", lines[5]);
    assert_eq!(heard.errors, "");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_in_the_list_is_asked_again() {
    let fixture = Fixture::with_nodes(&["n"]).waits("p", json!({}));
    let heard = conversation(fixture, "0\nx\n2\n1\n7\n1\n", &up(), vec![]).await;
    let complaints: Vec<_> = heard.errors.lines().collect();
    assert_eq!(complaints.len(), 4, "{}", heard.errors);
    assert_eq!(complaints[1], "\"x\" is not in the list, which goes from 1 to 1.");
    assert!(heard.out.contains("is Running"));
}

#[tokio::test(start_paused = true)]
async fn names_are_answers_too() {
    let fixture = Fixture::with_nodes(&["n"]).waits("p", json!({})).waits("q", json!({}));
    let heard = conversation(fixture, "default/q\nn\n", &up(), vec![]).await;
    assert!(heard.out.contains("Binding default/q to n."), "{}", heard.out);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_answers_is_the_end_wherever_it_comes() {
    let pod = || Fixture::with_nodes(&["n"]).waits("p", json!({}));
    for answers in ["", "1\n", "1\n\n", "q\n1\n1\n"] {
        let heard = conversation(pod(), answers, &up(), vec![]).await;
        assert!(!heard.out.contains("Binding"), "{answers:?}: {}", heard.out);
    }
    let heard = conversation(Fixture::with_nodes(&["n"]), "", &[], vec![]).await;
    assert!(heard.out.ends_with("I tell you when one comes.\n"), "{}", heard.out);
}

#[tokio::test(start_paused = true)]
async fn a_silent_pod_is_given_up_whatever_else_changes() {
    let begun = Instant::now();
    let fixture = Fixture::with_nodes(&["n"]).waits("p", json!({}));
    let changes = (0..20).map(|_| Update::Namespace(Change::Begin)).collect();
    let heard = conversation(fixture, "1\n1\n", &[Step::Bound], changes).await;
    assert!(heard.out.contains("Nothing has been heard of default/p for long."), "{}", heard.out);
    assert!(begun.elapsed() < Duration::from_secs(310), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn answers_that_come_early_are_kept_until_a_pod_comes() {
    let fixture = Fixture::with_nodes(&["n"]);
    let pod = fixture.pod("late", json!({}));
    let heard = conversation(fixture, "1\n1\n", &up(), vec![Update::Pod(Change::Put(pod))]).await;
    assert!(heard.out.contains("default/late is Running"), "{}", heard.out);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_fit_needs_a_yes() {
    let tight = || Fixture::with_nodes(&["n"]).waits("p", asks("9"));
    let heard = conversation(tight(), "1\n1\nn\n1\nperhaps\ny\n", &up(), vec![]).await;
    assert!(heard.out.contains("n does not fit: NodeResourcesFit: Insufficient cpu. Bind it all the same? y or n."));
    assert_eq!(heard.errors, "\"perhaps\" is neither y nor n.\n");
    assert!(heard.out.contains("Binding default/p to n."), "{}", heard.out);
    let heard = conversation(tight(), "1\n1\n", &up(), vec![]).await;
    assert!(!heard.out.contains("Binding"), "{}", heard.out);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_and_the_conversation_goes_on() {
    for (step, told) in [
        (Step::NotBound("the pod is gone".into()), "default/p is not bound: the pod is gone."),
        (Step::Trouble("c: ErrImagePull".into()), "default/p does not come up: c: ErrImagePull. The kubelet goes on"),
        (Step::Failed("OutOfcpu".into()), "default/p has Failed: OutOfcpu."),
        (Step::Gone, "default/p was deleted."),
    ] {
        let fixture = Fixture::with_nodes(&["n"]).waits("p", json!({})).waits("q", json!({}));
        let heard = conversation(fixture, "1\n1\n", &[step], vec![]).await;
        assert!(heard.out.contains(told), "{}", heard.out);
        assert!(heard.out.matches("Which pod?").count() == 2, "{}", heard.out);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_of_which_nothing_is_heard_is_waited_for_only_so_long() {
    let fixture = Fixture::with_nodes(&["n"]).waits("p", json!({}));
    let heard = conversation(fixture, "1\n1\n", &[Step::Bound], vec![]).await;
    assert!(heard.out.contains("Nothing has been heard of default/p"), "{}", heard.out);
}

#[tokio::test(start_paused = true)]
async fn a_node_is_explained_filter_by_filter() {
    let fixture = Fixture::with_nodes(&["n"]).waits("p", asks("9"));
    let heard = conversation(fixture, "1\ne 1\n", &[], vec![]).await;
    assert!(heard.out.contains("Filter NodeResourcesFit says no: Insufficient cpu."), "{}", heard.out);
    assert!(heard.out.contains("Filter NodeUnschedulable says that it fits."), "{}", heard.out);
}

#[tokio::test(start_paused = true)]
async fn a_gated_pod_is_refused_with_the_reason() {
    let gated = json!({"spec": {"schedulingGates": [{"name": "g"}]}});
    let heard = conversation(Fixture::with_nodes(&["n"]).waits("p", gated), "1\n", &[], vec![]).await;
    assert!(heard.errors.contains("scheduling gates"), "{}", heard.errors);
}
