//! Log paths that are refused, and logs that cannot be reopened.

use std::fs;
use std::path::Path;

use dockside::proto::*;
use tonic::Code;

use super::*;
use harness::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_log_path_outside_the_directory_is_refused_by_field() {
    let _alone = ALONE.lock().await;
    let node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let pod = pod("paths");
    let sandbox = run_pod(&mut runtime, &pod).await;
    let directory = Path::new(&pod.log_directory);
    let outside = node.dir.join("outside");
    fs::create_dir_all(directory.join("directory/0.log")).unwrap();
    fs::create_dir_all(directory.join("linked")).unwrap();
    fs::create_dir_all(&outside).unwrap();
    std::os::unix::fs::symlink(outside.join("victim"), directory.join("linked/0.log")).unwrap();
    std::os::unix::fs::symlink(&outside, directory.join("through")).unwrap();
    fs::create_dir_all(directory.join("pipe")).unwrap();
    run("mkfifo", &[directory.join("pipe/0.log").to_str().unwrap()]);
    for name in ["directory", "linked", "through", "pipe"] {
        let id = create(&mut runtime, &sandbox, &pod, &container(name, "echo hello")).await;
        let refused = runtime.start_container(StartContainerRequest { container_id: id }).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{name}: {refused}");
        assert!(refused.message().contains(&format!("container {name}: log_path: ")), "{refused}");
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "nothing was written outside");
    // Missing directories are created, as in other runtimes.
    let config = ContainerConfig { log_path: "new/and/deep.log".into(), ..container("deep", "echo hello") };
    let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
    ended(&mut runtime, &id).await;
    assert_eq!(parse(read(&[log_file(&pod, &config)]).trim_end()).text, "hello");
    remove_pod(&mut runtime, &sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reopening_the_log_of_a_container_that_is_not_running_is_refused() {
    let _alone = ALONE.lock().await;
    let node = Node::start(&[]).await;
    let mut runtime = node.runtime().await;
    let pod = pod("reopen");
    let sandbox = run_pod(&mut runtime, &pod).await;
    let created = container("created", "true");
    let id = create(&mut runtime, &sandbox, &pod, &created).await;
    assert_eq!(reopen(&mut runtime, &id).await.unwrap_err().code(), Code::FailedPrecondition);
    assert!(!log_file(&pod, &created).exists());
    let config = container("ended", "echo hello");
    let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
    ended(&mut runtime, &id).await;
    let file = log_file(&pod, &config);
    fs::remove_file(&file).unwrap();
    assert_eq!(reopen(&mut runtime, &id).await.unwrap_err().code(), Code::FailedPrecondition);
    assert!(!file.exists(), "an error leaves no new file");
    assert_eq!(reopen(&mut runtime, "no-such-container").await.unwrap_err().code(), Code::NotFound);
    // The path of a running container's log is not a regular file.
    let config = container("running", "while true; do echo hello; sleep 0.05; done");
    let id = run_container(&mut runtime, &sandbox, &pod, &config).await;
    let (file, aside) = (log_file(&pod, &config), log_file(&pod, &config).with_extension("aside"));
    fs::rename(&file, &aside).unwrap();
    fs::create_dir(&file).unwrap();
    assert_eq!(reopen(&mut runtime, &id).await.unwrap_err().code(), Code::InvalidArgument);
    fs::remove_dir(&file).unwrap();
    fs::rename(&aside, &file).unwrap();
    let before = size(&file);
    grows_to(&file, before + 1).await;
    reopen(&mut runtime, &id).await.unwrap();
    remove_pod(&mut runtime, &sandbox).await;
}
