//! The baseline: the same pods by raw Docker calls and CNI plugins. A CRI server on Docker can be faster than this only by
//! doing steps in parallel.

use std::path::Path;
use std::time::Duration;

use dockside::docker::Engine;
use dockside::docker::Error;
use dockside::docker::ExecSpec;
use dockside::docker::request::ContainerRequest;
use dockside::docker::request::HostConfig;
use dockside::docker::request::LogConfig;

use super::cni;
use super::cri::cgroup_of;
use super::pod::IMAGE;
use super::pod::MAIN;
use super::pod::Pod;
use super::samples::Recorder;
use super::server::PAUSE;

const SOCKET: &str = "/run/docker.sock";
const LABEL: &str = "bench.floor";
const GRACE: Duration = Duration::from_secs(10);

pub(crate) struct RawDocker {
    pub docker: Engine,
}

impl RawDocker {
    /// # Errors
    /// When Docker does not answer.
    pub(crate) async fn connect() -> Result<RawDocker, String> {
        let docker = Engine::new(Path::new(SOCKET), Duration::from_secs(120)).map_err(|error| error.to_string())?;
        let info = docker.contact().await.map_err(|error| error.to_string())?;
        docker.connection().set_up(info);
        Ok(RawDocker { docker })
    }

    pub(crate) async fn version(&self) -> Result<String, String> {
        let info = self.docker.contact().await.map_err(|error| error.to_string())?;
        Ok(format!("Docker {}", info.version))
    }

    pub(crate) async fn start(&self, number: usize, recorder: &Recorder<'_>) -> Result<Pod, String> {
        let (sandbox, network) = recorder.time("RunPodSandbox", self.pause(number, recorder)).await?;
        let name = format!("floor-{number}");
        let body = container(number, &sandbox, MAIN);
        let create = async { self.docker.create_container(&name, &body).await.map_err(|error| error.to_string()) };
        let container = recorder.time("CreateContainer", create).await?;
        let start = self.docker.start_container(&container);
        recorder.time("StartContainer", start).await.map_err(|error| error.to_string())?;
        Ok(Pod { sandbox, container, network: Some(network) })
    }

    /// Creates and starts the pause container, inspects it for its pid, and runs the CNI plugins.
    async fn pause(&self, number: usize, recorder: &Recorder<'_>) -> Result<(String, serde_json::Value), String> {
        let message = |error: Error| error.to_string();
        let docker = async {
            let id = self.docker.create_container(&format!("floor-pause-{number}"), &pause(number)).await?;
            self.docker.start_container(&id).await?;
            let pid = self.docker.inspect_container(&id).await?.state.pid;
            Ok((id, pid))
        };
        let (id, pid) = recorder.time("RunPodSandbox, Docker's part", docker).await.map_err(message)?;
        let netns = format!("/proc/{pid}/ns/net");
        let result = recorder.time("RunPodSandbox, CNI's part", cni::attach(&id, &netns)).await?;
        Ok((id, serde_json::json!({"netns": netns, "result": result})))
    }

    pub(crate) async fn stop(&self, pod_handle: &Pod, recorder: &Recorder<'_>) -> Result<(), String> {
        let message = |error: Error| error.to_string();
        recorder
            .time("StopContainer", self.docker.stop_container(&pod_handle.container, GRACE))
            .await
            .map_err(message)?;
        let stop_pod = async {
            let network = pod_handle.network.clone().unwrap_or_default();
            let netns = network["netns"].as_str().unwrap_or_default();
            cni::detach(&pod_handle.sandbox, netns, &network["result"]).await?;
            self.docker.stop_container(&pod_handle.sandbox, GRACE).await.map_err(message)
        };
        recorder.time("StopPodSandbox", stop_pod).await?;
        recorder.time("RemoveContainer", self.docker.remove_container(&pod_handle.container)).await.map_err(message)?;
        recorder.time("RemovePodSandbox", self.docker.remove_container(&pod_handle.sandbox)).await.map_err(message)?;
        Ok(())
    }

    /// The Docker call that corresponds to a read of the CRI. Returns false when there is none.
    pub(crate) async fn read(&self, call: &str, pod_handle: &Pod) -> Result<bool, Error> {
        match call {
            "ListPodSandbox" | "ListContainers" => drop(self.docker.list_containers(LABEL).await?),
            "PodSandboxStatus" => drop(self.docker.inspect_container(&pod_handle.sandbox).await?),
            "ContainerStatus" => drop(self.docker.inspect_container(&pod_handle.container).await?),
            "ImageStatus" => drop(self.docker.inspect_image(IMAGE).await?),
            "ListImages" => drop(self.docker.list_images().await?),
            "ExecSync" => self.exec(&pod_handle.container).await?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Creates and starts an exec, reads its output, and inspects it until it has an exit code.
    async fn exec(&self, id: &str) -> Result<(), Error> {
        let spec = ExecSpec { command: vec!["true".to_owned()], stdout: true, stderr: true, ..Default::default() };
        let exec = self.docker.create_exec(id, &spec).await?;
        let mut io = self.docker.start_exec(&exec, false).await?;
        while io.output.next().await?.is_some() {}
        while self.docker.inspect_exec(&exec).await?.exit_code.is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }
}

fn labels() -> Option<std::collections::HashMap<String, String>> {
    Some([(LABEL.to_owned(), "true".to_owned())].into())
}

fn pause(number: usize) -> ContainerRequest {
    let host = HostConfig {
        network_mode: Some("none".to_owned()),
        ipc_mode: Some("shareable".to_owned()),
        cgroup_parent: Some(cgroup_of(number)),
        ..Default::default()
    };
    ContainerRequest { image: Some(PAUSE.to_owned()), labels: labels(), host_config: Some(host), ..Default::default() }
}

/// A container in a pod, with the log settings that Dockside has by default.
pub(crate) fn container<const N: usize>(number: usize, pause: &str, command: [&str; N]) -> ContainerRequest {
    let join = format!("container:{pause}");
    let options = [("max-size", "32m"), ("max-file", "3"), ("compress", "false")];
    let options = options.map(|(key, value)| (key.to_owned(), value.to_owned()));
    ContainerRequest {
        image: Some(IMAGE.to_owned()),
        labels: labels(),
        entrypoint: Some(command.map(str::to_owned).to_vec()),
        host_config: Some(HostConfig {
            network_mode: Some(join.clone()),
            ipc_mode: Some(join),
            cgroup_parent: Some(cgroup_of(number)),
            security_opt: Some(vec!["seccomp=unconfined".to_owned()]),
            log_config: Some(LogConfig { driver: "json-file".to_owned(), config: options.into_iter().collect() }),
            ..Default::default()
        }),
        ..Default::default()
    }
}
