//! `dockside pod ls`: the Pods on this node, also those of a kubelet or of crictl.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde::Serialize;

use super::client::Client;
use super::target::Target;
use super::translate::INIT;
use super::up::ips;
use crate::proto::Container;
use crate::proto::ContainerState;
use crate::proto::NamespaceMode;
use crate::proto::PodSandbox;
use crate::proto::PodSandboxState;
use crate::proto::PodSandboxStatus;

/// A Pod in the list. Serialized, it is an element of `dockside pod ls -o json`.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    /// The Pod's namespace.
    pub namespace: String,
    /// The Pod's name.
    pub name: String,
    /// The Pod's UID.
    pub uid: String,
    /// The id of its latest sandbox.
    pub sandbox_id: String,
    /// `Ready` or `NotReady`.
    pub state: &'static str,
    /// Whether it is on the network of this node, and so has no addresses of its own.
    pub host_network: bool,
    /// Its addresses, the primary one first.
    pub ips: Vec<String>,
    /// Seconds since the Unix epoch.
    pub created_at: i64,
    /// Its containers by name, init containers included.
    pub containers: Vec<ContainerEntry>,
}

/// A container in the list: the latest of its name in the Pod's sandbox.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContainerEntry {
    /// The name in the Pod.
    pub name: String,
    /// The CRI's id.
    pub id: String,
    /// `Created`, `Running`, `Exited` or `Unknown`.
    pub state: &'static str,
    /// The CRI's attempt.
    pub attempt: u32,
    /// The image as the manifest names it, where that is known.
    pub image: String,
    /// Whether it is an init container of a Pod that Dockside created.
    pub init: bool,
}

/// Lists the runtime's Pods: all of them, or those in `targets`. An error names its call.
pub(super) async fn list(client: &Client, targets: &[Target]) -> Result<Vec<Row>, (&'static str, tonic::Status)> {
    let sandboxes = client.list_pod_sandbox(None).await.map_err(|status| ("ListPodSandbox", status))?;
    let containers = client.list_containers(None).await.map_err(|status| ("ListContainers", status))?;
    let newest = newest(sandboxes, targets);
    // Only ready sandboxes have addresses. One that was removed meanwhile is listed without.
    let statuses = join_all(newest.iter().map(|sandbox| async {
        match sandbox.state() {
            PodSandboxState::SandboxReady => client.pod_sandbox_status(&sandbox.id).await.ok(),
            PodSandboxState::SandboxNotready => None,
        }
    }));
    let statuses = statuses.await;
    Ok(newest.iter().zip(statuses).map(|(sandbox, status)| row(sandbox, status, &containers)).collect())
}

/// The latest sandbox of each Pod, ordered by namespace and name.
fn newest(sandboxes: Vec<PodSandbox>, targets: &[Target]) -> Vec<PodSandbox> {
    let mut newest: BTreeMap<(String, String, String), PodSandbox> = BTreeMap::new();
    for sandbox in sandboxes {
        let Some(metadata) = sandbox.metadata.clone() else { continue };
        let matches = |target: &Target| target.namespace == metadata.namespace && target.name == metadata.name;
        if !targets.is_empty() && !targets.iter().any(matches) {
            continue;
        }
        let key = (metadata.namespace, metadata.name, metadata.uid);
        if newest.get(&key).is_none_or(|other| other.created_at < sandbox.created_at) {
            newest.insert(key, sandbox);
        }
    }
    newest.into_values().collect()
}

fn row(sandbox: &PodSandbox, status: Option<PodSandboxStatus>, containers: &[Container]) -> Row {
    let metadata = sandbox.metadata.clone().unwrap_or_default();
    let options = status.as_ref().and_then(|status| status.linux.as_ref()?.namespaces.as_ref()?.options.as_ref());
    Row {
        namespace: metadata.namespace,
        name: metadata.name,
        uid: metadata.uid,
        sandbox_id: sandbox.id.clone(),
        state: match sandbox.state() {
            PodSandboxState::SandboxReady => "Ready",
            PodSandboxState::SandboxNotready => "NotReady",
        },
        host_network: options.is_some_and(|options| options.network() == NamespaceMode::Node),
        ips: status.as_ref().map(ips).unwrap_or_default(),
        created_at: sandbox.created_at / 1_000_000_000,
        containers: entries(&sandbox.id, containers),
    }
}

fn entries(sandbox: &str, containers: &[Container]) -> Vec<ContainerEntry> {
    let mut latest: BTreeMap<String, (u32, &Container)> = BTreeMap::new();
    for container in containers.iter().filter(|container| container.pod_sandbox_id == sandbox) {
        let Some(metadata) = &container.metadata else { continue };
        let entry = latest.entry(metadata.name.clone()).or_insert((metadata.attempt, container));
        if metadata.attempt > entry.0 {
            *entry = (metadata.attempt, container);
        }
    }
    let entry = |(name, (attempt, container)): (String, (u32, &Container))| ContainerEntry {
        name,
        id: container.id.clone(),
        state: match container.state() {
            ContainerState::ContainerCreated => "Created",
            ContainerState::ContainerRunning => "Running",
            ContainerState::ContainerExited => "Exited",
            ContainerState::ContainerUnknown => "Unknown",
        },
        attempt,
        image: image(container),
        init: container.annotations.contains_key(INIT),
    };
    latest.into_iter().map(entry).collect()
}

/// The image as the manifest names it, where that is known.
fn image(container: &Container) -> String {
    let Some(image) = &container.image else { return container.image_ref.clone() };
    let written = &image.user_specified_image;
    if written.is_empty() { image.image.clone() } else { written.clone() }
}

/// The list as a table. `now` is in seconds since the Unix epoch.
pub(crate) fn table(rows: &[Row], now: i64) -> String {
    let mut lines = vec![["NAMESPACE", "NAME", "STATE", "IP", "AGE", "CONTAINERS"].map(str::to_owned)];
    lines.extend(rows.iter().map(|row| cells(row, now)));
    let widths: Vec<usize> = (0..6)
        .map(|column| lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or_default())
        .collect();
    let mut text = String::new();
    for cells in lines {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(padded.join("   ").trim_end());
        text.push('\n');
    }
    text
}

fn cells(row: &Row, now: i64) -> [String; 6] {
    let ip = match row.ips.as_slice() {
        [] if row.host_network => "host".to_owned(),
        [] => "-".to_owned(),
        ips => ips.join(","),
    };
    // Init containers have completed when a Pod runs, so they are not counted.
    let containers: Vec<&ContainerEntry> = row.containers.iter().filter(|entry| !entry.init).collect();
    let running = containers.iter().filter(|entry| entry.state == "Running").count();
    let containers = format!("{running}/{}", containers.len());
    [row.namespace.clone(), row.name.clone(), row.state.to_owned(), ip, age(now - row.created_at), containers]
}

/// An age in kubectl's form: one unit, or two for small numbers.
fn age(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => format!("{minutes}m{}s", seconds % 60),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => format!("{hours}h{}m", minutes % 60),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => format!("{days}d{}h", hours % 24),
        _ => format!("{days}d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ContainerMetadata;
    use crate::proto::ImageSpec;
    use crate::proto::PodSandboxMetadata;
    use crate::proto::PodSandboxNetworkStatus;

    const SECOND: i64 = 1_000_000_000;

    fn sandbox(id: &str, name: &str, created: i64, state: PodSandboxState) -> PodSandbox {
        let metadata =
            PodSandboxMetadata { name: name.into(), namespace: "default".into(), uid: "u".into(), attempt: 0 };
        PodSandbox {
            id: id.into(),
            metadata: Some(metadata),
            created_at: created * SECOND,
            state: state.into(),
            ..Default::default()
        }
    }

    fn container(name: &str, attempt: u32, state: ContainerState, init: bool) -> Container {
        Container {
            id: format!("{name}-{attempt}"),
            pod_sandbox_id: "s".into(),
            metadata: Some(ContainerMetadata { name: name.into(), attempt }),
            image: Some(ImageSpec {
                image: "sha256:1".into(),
                user_specified_image: "nginx".into(),
                ..Default::default()
            }),
            state: state.into(),
            annotations: init.then(|| (INIT.to_owned(), "true".to_owned())).into_iter().collect(),
            ..Default::default()
        }
    }

    fn status(ip: &str) -> PodSandboxStatus {
        PodSandboxStatus {
            network: Some(PodSandboxNetworkStatus { ip: ip.into(), ..Default::default() }),
            ..Default::default()
        }
    }

    #[test]
    fn the_newest_sandbox_of_a_pod_is_listed() {
        let sandboxes = vec![
            sandbox("old", "web", 10, PodSandboxState::SandboxNotready),
            sandbox("new", "web", 20, PodSandboxState::SandboxReady),
            sandbox("other", "db", 5, PodSandboxState::SandboxReady),
        ];
        let ids = |targets: &[Target]| {
            newest(sandboxes.clone(), targets).into_iter().map(|sandbox| sandbox.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(&[]), ["other", "new"]);
        let web = Target { namespace: "default".into(), name: "web".into(), uid: None, grace: None };
        assert_eq!(ids(&[web]), ["new"]);
    }

    #[test]
    fn the_table_counts_running_containers_without_init_containers() {
        let containers = [
            container("setup", 0, ContainerState::ContainerExited, true),
            container("web", 0, ContainerState::ContainerExited, false),
            container("web", 1, ContainerState::ContainerRunning, false),
            container("log", 0, ContainerState::ContainerCreated, false),
        ];
        let rows = [
            row(&sandbox("s", "first-job", 100, PodSandboxState::SandboxReady), Some(status("10.88.0.5")), &containers),
            row(&sandbox("t", "x", 40, PodSandboxState::SandboxNotready), None, &containers),
        ];
        let expected = "\
NAMESPACE   NAME        STATE      IP          AGE     CONTAINERS
default     first-job   Ready      10.88.0.5   3m20s   1/2
default     x           NotReady   -           4m20s   0/0
";
        assert_eq!(table(&rows, 300), expected);
    }

    #[test]
    fn json_has_every_field_by_name() {
        let containers = [container("web", 1, ContainerState::ContainerRunning, false)];
        let row = row(&sandbox("s", "web", 100, PodSandboxState::SandboxReady), Some(status("10.88.0.5")), &containers);
        let expected = serde_json::json!({
            "namespace": "default", "name": "web", "uid": "u", "sandboxId": "s", "state": "Ready",
            "hostNetwork": false, "ips": ["10.88.0.5"], "createdAt": 100,
            "containers": [
                {"name": "web", "id": "web-1", "state": "Running", "attempt": 1, "image": "nginx", "init": false},
            ],
        });
        assert_eq!(serde_json::to_value(&row).unwrap(), expected);
    }

    #[test]
    fn ages_are_written_as_kubectl_writes_them() {
        for (seconds, text) in [
            (-5, "0s"),
            (0, "0s"),
            (119, "119s"),
            (125, "2m5s"),
            (659, "10m"),
            (11_000, "3h3m"),
            (90_000, "25h"),
            (180_000, "2d2h"),
            (900_000, "10d"),
        ] {
            assert_eq!(age(seconds), text);
        }
    }
}
