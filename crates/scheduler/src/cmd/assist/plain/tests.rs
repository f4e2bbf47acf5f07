//! Whole dialogues, with input and output in memory.

use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use tokio::sync::mpsc::channel;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::Instant;

use super::*;
use crate::cmd::assist::app::App;
use crate::cmd::assist::app::Receivers;
use crate::cmd::assist::prompt::Streams;
use crate::cmd::assist::prompt::run;
use crate::cmd::assist::testing::Fixture;
use crate::update::Change;
use crate::update::Update;

/// Standard output and standard error.
struct Output {
    out: String,
    errors: String,
}

/// Runs a dialogue with these answers. Every binding makes this progress; the updates in `later` arrive a minute apart,
/// after the initial list was printed.
async fn dialogue(fixture: Fixture, answers: &str, progress: &[Progress], later: Vec<Update>) -> Output {
    let (updates, updated) = unbounded_channel();
    let (send_progress, received_progress) = unbounded_channel();
    let (_notes, noted) = unbounded_channel();
    let (requests, mut requested) = unbounded_channel::<crate::cmd::assist::binder::BindRequest>();
    let receivers = Receivers { updates: updated, progress: received_progress, notes: noted };
    let mut app = App::new(fixture.store, receivers, requests);
    let progress = progress.to_vec();
    tokio::spawn(async move {
        while let Some(request) = requested.recv().await {
            progress.iter().for_each(|progress| drop(send_progress.send((request.pod.uid.clone(), progress.clone()))));
        }
    });
    // The dialogue starts with the first event.
    updates.send(Update::Namespace(Change::ListStarted)).unwrap();
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
    run(&mut app, "test".into(), said, &mut streams).await.unwrap();
    Output { out: String::from_utf8(streams.out).unwrap(), errors: String::from_utf8(streams.errors).unwrap() }
}

fn up() -> Vec<Progress> {
    vec![Progress::Bound, Progress::ContainersReady, Progress::Running("10.244.0.7".into())]
}

fn asks(cpu: &str) -> Value {
    json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}})
}

#[tokio::test(start_paused = true)]
async fn two_numbers_bind_a_pod_and_its_progress_is_printed() {
    let fixture = Fixture::with_nodes(&["n"]).pending("p", asks("500m"));
    let output = dialogue(fixture, "1\n1\n", &up(), vec![]).await;
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
    let lines: Vec<_> = output.out.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{}", output.out);
    for (line, beginning) in lines.iter().zip(expected) {
        assert!(line.starts_with(beginning), "{line:?} {beginning:?}");
    }
    assert!(lines[2].ends_with("old, priority 0, asks for 500m cpu."), "{}", lines[2]);
    assert!(lines[5].ends_with("Free: 4 of 4 cpu, 8Gi of 8Gi memory, 110 of 110 pods."), "{}", lines[5]);
    assert_eq!(output.errors, "");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_in_the_list_is_asked_again() {
    let fixture = Fixture::with_nodes(&["n"]).pending("p", json!({}));
    let output = dialogue(fixture, "0\nx\n2\n1\n7\n1\n", &up(), vec![]).await;
    let complaints: Vec<_> = output.errors.lines().collect();
    assert_eq!(complaints.len(), 4, "{}", output.errors);
    assert_eq!(complaints[1], "\"x\" is not in the list (1 to 1).");
    assert!(output.out.contains("is Running"));
}

#[tokio::test(start_paused = true)]
async fn names_are_answers_too() {
    let fixture = Fixture::with_nodes(&["n"]).pending("p", json!({})).pending("q", json!({}));
    let output = dialogue(fixture, "default/q\nn\n", &up(), vec![]).await;
    assert!(output.out.contains("Binding default/q to n."), "{}", output.out);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_input_quits_at_any_question() {
    let pod = || Fixture::with_nodes(&["n"]).pending("p", json!({}));
    for answers in ["", "1\n", "1\n\n", "q\n1\n1\n"] {
        let output = dialogue(pod(), answers, &up(), vec![]).await;
        assert!(!output.out.contains("Binding"), "{answers:?}: {}", output.out);
    }
    let output = dialogue(Fixture::with_nodes(&["n"]), "", &[], vec![]).await;
    assert!(output.out.ends_with("Waiting for the next one.\n"), "{}", output.out);
}

#[tokio::test(start_paused = true)]
async fn a_pod_without_progress_is_given_up_whatever_else_changes() {
    let started = Instant::now();
    let fixture = Fixture::with_nodes(&["n"]).pending("p", json!({}));
    let changes = (0..20).map(|_| Update::Namespace(Change::ListStarted)).collect();
    let output = dialogue(fixture, "1\n1\n", &[Progress::Bound], changes).await;
    assert!(output.out.contains("No progress of default/p for 5 minutes."), "{}", output.out);
    assert!(started.elapsed() < Duration::from_secs(310), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn early_answers_are_kept_until_a_pod_is_pending() {
    let fixture = Fixture::with_nodes(&["n"]);
    let pod = fixture.pod("late", json!({}));
    let output = dialogue(fixture, "1\n1\n", &up(), vec![Update::Pod(Change::Applied(pod))]).await;
    assert!(output.out.contains("default/late is Running"), "{}", output.out);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_fit_needs_confirmation() {
    let tight = || Fixture::with_nodes(&["n"]).pending("p", asks("9"));
    let output = dialogue(tight(), "1\n1\nn\n1\nperhaps\ny\n", &up(), vec![]).await;
    assert!(output.out.contains("n does not fit: NodeResourcesFit: Insufficient cpu. Bind it anyway? y or n."));
    assert_eq!(output.errors, "\"perhaps\" is neither y nor n.\n");
    assert!(output.out.contains("Binding default/p to n."), "{}", output.out);
    let output = dialogue(tight(), "1\n1\n", &up(), vec![]).await;
    assert!(!output.out.contains("Binding"), "{}", output.out);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_printed_and_the_dialogue_continues() {
    for (progress, message) in [
        (Progress::NotBound("the pod is gone".into()), "default/p is not bound: the pod is gone."),
        (Progress::Problem("c: ErrImagePull".into()), "default/p does not start: c: ErrImagePull. The kubelet keeps"),
        (Progress::Failed("OutOfcpu".into()), "default/p has Failed: OutOfcpu."),
        (Progress::Deleted, "default/p was deleted."),
    ] {
        let fixture = Fixture::with_nodes(&["n"]).pending("p", json!({})).pending("q", json!({}));
        let output = dialogue(fixture, "1\n1\n", &[progress], vec![]).await;
        assert!(output.out.contains(message), "{}", output.out);
        assert!(output.out.matches("Which pod?").count() == 2, "{}", output.out);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_without_progress_is_given_up() {
    let fixture = Fixture::with_nodes(&["n"]).pending("p", json!({}));
    let output = dialogue(fixture, "1\n1\n", &[Progress::Bound], vec![]).await;
    assert!(output.out.contains("No progress of default/p"), "{}", output.out);
}

#[tokio::test(start_paused = true)]
async fn a_node_is_explained_filter_by_filter() {
    let fixture = Fixture::with_nodes(&["n"]).pending("p", asks("9"));
    let output = dialogue(fixture, "1\ne 1\n", &[], vec![]).await;
    assert!(output.out.contains("Filter NodeResourcesFit rejects the node: Insufficient cpu."), "{}", output.out);
    assert!(output.out.contains("Filter NodeUnschedulable accepts the node."), "{}", output.out);
}

#[tokio::test(start_paused = true)]
async fn a_gated_pod_is_rejected_with_the_reason() {
    let gated = json!({"spec": {"schedulingGates": [{"name": "g"}]}});
    let output = dialogue(Fixture::with_nodes(&["n"]).pending("p", gated), "1\n", &[], vec![]).await;
    assert!(output.errors.contains("scheduling gates"), "{}", output.errors);
}
