//! ExecSync, exec, attach and port-forward on a real Docker, with crictl and client-go as clients.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod backpressure;
mod crictl;
mod exec_sync;
mod kube_client;
mod port_forward;
mod protocols;
mod server;

use std::sync::OnceLock;
use std::time::Duration;

use dockside::proto::*;
use harness::*;
use tonic::Status;

/// The Dockside that the tests share.
fn node() -> &'static Node {
    static NODE: OnceLock<Node> = OnceLock::new();
    NODE.get_or_init(|| Node::start_unready(&[]))
}

/// A container in a pod of its own, and its client.
struct TestPod {
    runtime: Runtime,
    sandbox: String,
    container: String,
}

impl TestPod {
    /// With a container that does nothing until it gets SIGTERM.
    async fn new(name: &str) -> TestPod {
        TestPod::with(name, &container("main", UNTIL_TERM)).await
    }

    /// With this container.
    async fn with(name: &str, config: &ContainerConfig) -> TestPod {
        node().wait_ready().await;
        let mut runtime = node().runtime().await;
        let pod = pod(name);
        let sandbox = run_pod(&mut runtime, &pod).await;
        let container = run_container(&mut runtime, &sandbox, &pod, config).await;
        TestPod { runtime, sandbox, container }
    }

    async fn exec_sync(&mut self, script: &str, timeout: i64) -> Result<ExecSyncResponse, Status> {
        let cmd = ["sh", "-c", script].map(str::to_owned).to_vec();
        let request = ExecSyncRequest { container_id: self.container.clone(), cmd, timeout };
        let mut runtime = self.runtime.clone().max_decoding_message_size(16 << 20);
        Ok(runtime.exec_sync(request).await?.into_inner())
    }

    /// The URL of an exec session with these streams.
    async fn exec(&mut self, cmd: &[&str], request: ExecRequest) -> String {
        let cmd = cmd.iter().map(|word| (*word).to_owned()).collect();
        let request = ExecRequest { container_id: self.container.clone(), cmd, ..request };
        self.runtime.exec(request).await.unwrap().into_inner().url
    }

    async fn attach(&mut self, request: AttachRequest) -> String {
        let request = AttachRequest { container_id: self.container.clone(), ..request };
        self.runtime.attach(request).await.unwrap().into_inner().url
    }

    async fn port_forward(&mut self) -> String {
        let request = PortForwardRequest { pod_sandbox_id: self.sandbox.clone(), port: vec![] };
        self.runtime.port_forward(request).await.unwrap().into_inner().url
    }

    /// The container's processes whose command line contains `word`, except shells, as seen from the host.
    fn processes(&self, word: &str) -> Vec<String> {
        let all = docker(&["top", &self.container, "-eo", "pid,stat,args"]);
        let found = all.lines().skip(1).filter(|line| line.contains(word) && !line.contains("sh -c"));
        found.map(str::to_owned).collect()
    }

    async fn remove(mut self) {
        remove_pod(&mut self.runtime, &self.sandbox).await;
    }
}

/// The usual streams of a session without a terminal.
fn all_streams() -> ExecRequest {
    ExecRequest { stdin: true, stdout: true, stderr: true, ..Default::default() }
}

/// The usual streams of a session without input.
fn output_only() -> ExecRequest {
    ExecRequest { stdout: true, stderr: true, ..Default::default() }
}

/// The usual streams of a session with a terminal.
fn terminal() -> ExecRequest {
    ExecRequest { stdin: true, stdout: true, tty: true, ..Default::default() }
}

/// Fails when `work` takes longer than `limit`; `what` names what it waits for.
async fn within<T>(limit: Duration, what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| panic!("took longer than {limit:?}: {what}"))
}
