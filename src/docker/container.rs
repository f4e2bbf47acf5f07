//! Requests on containers.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use bollard::query_parameters::DownloadFromContainerOptions;
use bollard::query_parameters::KillContainerOptions;
use bollard::query_parameters::RemoveContainerOptions;
use bollard::query_parameters::StopContainerOptions;
use futures_util::TryStreamExt;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::time::Instant;

use super::Engine;
use super::Error;
use super::request::ContainerRequest;
use super::request::Resources;
use super::transport::encode;

/// For what Docker does after the grace period: SIGKILL, and the wait for the exit.
const STOP_MARGIN: Duration = Duration::from_secs(120);

/// For measuring a layer: graph drivers other than overlay2 read the metadata of every file.
const SIZE_LIMIT: Duration = Duration::from_secs(600);

/// How long to wait for a removal by another client.
const CONCURRENT_REMOVAL_LIMIT: Duration = Duration::from_secs(30);
/// The pause between two attempts to remove a container that another client is removing.
const CONCURRENT_REMOVAL_POLL: Duration = Duration::from_millis(50);

/// The parts of `GET /containers/{id}/json` that Dockside reads.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerDetails {
    /// 64 hexadecimal digits.
    pub id: String,
    /// With Docker's leading slash.
    #[serde(default)]
    pub name: String,
    /// RFC 3339 with nanoseconds.
    #[serde(default)]
    pub created: String,
    /// The id of the image.
    #[serde(default)]
    pub image: String,
    /// The container's process.
    pub state: ContainerState,
    /// The resolv.conf of the container and of all that join its network; empty before the first start.
    #[serde(default)]
    pub resolv_conf_path: PathBuf,
    /// Docker's json-file log; empty before the first start.
    #[serde(default)]
    pub log_path: PathBuf,
}

/// A container's process, or the last one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerState {
    /// `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
    pub status: String,
    /// Also true for a paused container.
    pub running: bool,
    /// In Docker's PID namespace; 0 when the container does not run.
    pub pid: i32,
    /// Of the last run; 0 before the first exit.
    pub exit_code: i32,
    /// Whether the kernel killed a process of the container for want of memory.
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// Why the last start failed, if it did.
    pub error: String,
    /// RFC 3339 with nanoseconds; the year 1 means never.
    pub started_at: String,
    /// The same for the exit.
    pub finished_at: String,
}

/// One row of `GET /containers/json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerEntry {
    /// 64 hexadecimal digits.
    pub id: String,
    /// With Docker's leading slash.
    #[serde(default)]
    pub names: Vec<String>,
    /// The image's and the container's.
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
    /// As [`ContainerState::status`].
    #[serde(default)]
    pub state: String,
}

impl ContainerEntry {
    /// The container's name, without Docker's slash.
    pub fn name(&self) -> &str {
        self.names.first().map_or("", |name| name.trim_start_matches('/'))
    }
}

/// An RFC 3339 time of Docker's as nanoseconds since 1970; 0 for "never", which Docker writes as the year 1.
pub fn parse_time(text: &str) -> i64 {
    text.parse::<Timestamp>().ok().and_then(|t| i64::try_from(t.as_nanosecond()).ok()).map_or(0, |ns| ns.max(0))
}

impl Engine {
    /// Creates a container and returns its id.
    ///
    /// # Errors
    /// [`Cause::Conflict`](super::Cause::Conflict) when the name is taken, [`Cause::NotFound`](super::Cause::NotFound) when the image does not exist.
    pub async fn create_container(&self, name: &str, request: &ContainerRequest) -> Result<String, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Created {
            id: String,
            #[serde(default)]
            warnings: Option<Vec<String>>,
        }
        let path = format!("/containers/create?name={}", encode(name));
        let answer: Created = self.call("create container", name, self.transport.post_json(&path, request)).await?;
        for warning in answer.warnings.iter().flatten() {
            tracing::debug!(container = name, %warning, "Docker warned about a new container");
        }
        Ok(answer.id)
    }

    /// Starts a container; one that runs is left as it is.
    ///
    /// # Errors
    /// [`Cause::Invalid`](super::Cause::Invalid) or [`Cause::Failed`](super::Cause::Failed) with the OCI runtime's message when the process cannot be started.
    pub async fn start_container(&self, id: &str) -> Result<(), Error> {
        self.call("start container", id, self.api.start_container(id, None)).await
    }

    /// Sends the stop signal, and SIGKILL after the grace period; returns once the container has exited.
    ///
    /// # Errors
    /// [`Cause::NotFound`](super::Cause::NotFound) when no such container exists.
    pub async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), Error> {
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptions { t: Some(seconds), ..Default::default() };
        let limit = grace.saturating_add(STOP_MARGIN);
        self.call_within(limit, "stop container", id, self.api.stop_container(id, Some(options))).await
    }

    /// Sends SIGKILL and waits for the exit; a container that does not run is left as it is.
    ///
    /// # Errors
    /// [`Cause::NotFound`](super::Cause::NotFound) when no such container exists.
    pub async fn kill_container(&self, id: &str) -> Result<(), Error> {
        let options = KillContainerOptions { signal: "KILL".to_owned() };
        match self.call("kill container", id, self.api.kill_container(id, Some(options))).await {
            Err(error) if error.is_not_running() => Ok(()),
            other => other,
        }
    }

    /// Removes a container with its anonymous volumes, killing it first if it runs. One that does not exist counts as
    /// removed. If another client is removing it, this waits for that, as its name and layer are in use until then.
    ///
    /// # Errors
    /// [`Cause::Failed`](super::Cause::Failed) when Docker cannot remove it, [`Cause::Conflict`](super::Cause::Conflict) when the other client's removal takes too
    /// long.
    pub async fn remove_container(&self, id: &str) -> Result<(), Error> {
        let until = Instant::now() + CONCURRENT_REMOVAL_LIMIT;
        loop {
            let options = RemoveContainerOptions { v: true, force: true, link: false };
            match self.call("remove container", id, self.api.remove_container(id, Some(options))).await {
                Err(error) if error.is_not_found() => return Ok(()),
                // The removal is repeated, as the other client's may fail.
                Err(error) if error.is_removal_in_progress() && Instant::now() < until => {
                    tokio::time::sleep(CONCURRENT_REMOVAL_POLL).await;
                }
                other => return other,
            }
        }
    }

    /// The content of a file in a container, running or not. `None` when it is not a regular file, or larger than 1
    /// MiB; empty when it does not exist.
    ///
    /// # Errors
    /// When Docker does not answer, or not with an archive.
    pub async fn read_container_file(&self, id: &str, path: &str) -> Result<Option<Vec<u8>>, Error> {
        const OPERATION: &str = "read a file of container";
        const LARGEST: usize = 1024 * 1024;
        let options = DownloadFromContainerOptions { path: path.to_owned() };
        let stream = self.api.download_from_container(id, Some(options));
        // Twice the limit leaves room for the archive's header and padding.
        let reading = stream.try_fold(Vec::new(), |mut all, bytes| async move {
            if all.len() < LARGEST * 2 {
                all.extend_from_slice(&bytes);
            }
            Ok(all)
        });
        let archive = match self.call(OPERATION, id, reading).await {
            Err(error) if error.is_not_found() => return Ok(Some(Vec::new())),
            other => other?,
        };
        let failed = |error: std::io::Error| Error::failed(OPERATION, id, format!("{path}: {error}"));
        let mut archive = tar::Archive::new(archive.as_slice());
        let Some(entry) = archive.entries().map_err(failed)?.next() else { return Ok(None) };
        let mut entry = entry.map_err(failed)?;
        if !entry.header().entry_type().is_file() || entry.size() > LARGEST as u64 {
            return Ok(None);
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(failed)?;
        Ok(Some(content))
    }

    /// Changes the resources of a container.
    ///
    /// # Errors
    /// [`Cause::Failed`](super::Cause::Failed) with Docker's or the kernel's reason when a value is refused.
    pub async fn update_container(&self, id: &str, resources: &Resources) -> Result<(), Error> {
        let path = format!("/containers/{}/update", encode(id));
        self.call("update container", id, self.transport.post_json::<IgnoredAny>(&path, resources)).await.map(|_| ())
    }

    /// One container, by id or name.
    ///
    /// # Errors
    /// [`Cause::NotFound`](super::Cause::NotFound) when no such container exists.
    pub async fn inspect_container(&self, id: &str) -> Result<ContainerDetails, Error> {
        let path = format!("/containers/{}/json", encode(id));
        self.call("inspect container", id, self.transport.get_json(&path)).await
    }

    /// The size in bytes of a container's writable layer; `None` when Docker's graph driver cannot measure it.
    ///
    /// # Errors
    /// [`Cause::NotFound`](super::Cause::NotFound) when no such container exists.
    pub async fn layer_size(&self, id: &str) -> Result<Option<u64>, Error> {
        #[derive(Deserialize)]
        struct Size {
            /// -1 when the graph driver fails.
            #[serde(rename = "SizeRw", default)]
            written: Option<i64>,
        }
        let path = format!("/containers/{}/json?size=1", encode(id));
        let size: Size = self.call_within(SIZE_LIMIT, "measure container", id, self.transport.get_json(&path)).await?;
        Ok(size.written.and_then(|bytes| u64::try_from(bytes).ok()))
    }

    /// The id of the container called `name`, if it was created at `since` (nanoseconds since 1970) or later: an older
    /// one is another client's.
    ///
    /// # Errors
    /// [`Cause::Unavailable`](super::Cause::Unavailable) when Docker does not answer.
    pub async fn find_created_since(&self, name: &str, since: i64) -> Result<Option<String>, Error> {
        match self.inspect_container(name).await {
            Ok(details) => Ok((parse_time(&details.created) >= since).then_some(details.id)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes the container called `name`, unless it runs: then it is left, and its id returned.
    ///
    /// # Errors
    /// When Docker cannot remove it.
    pub async fn remove_unless_running(&self, name: &str) -> Result<Option<String>, Error> {
        match self.inspect_container(name).await {
            Ok(details) if details.state.running => Ok(Some(details.id)),
            Ok(details) => self.remove_container(&details.id).await.map(|()| None),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All containers, in every state, that have the label `label`.
    ///
    /// # Errors
    /// [`Cause::Unavailable`](super::Cause::Unavailable) when Docker does not answer.
    pub async fn list_containers(&self, label: &str) -> Result<Vec<ContainerEntry>, Error> {
        let filters = serde_json::json!({ "label": [label] }).to_string();
        let path = format!("/containers/json?all=1&filters={}", encode(&filters));
        self.call("list containers with label", label, self.transport.get_json(&path)).await
    }

    /// The names of running and paused containers of an image.
    ///
    /// # Errors
    /// [`Cause::Unavailable`](super::Cause::Unavailable) when Docker does not answer.
    pub async fn running_containers_of(&self, image: &str) -> Result<Vec<String>, Error> {
        let filters = serde_json::json!({ "ancestor": [image], "status": ["running", "paused"] }).to_string();
        let path = format!("/containers/json?filters={}", encode(&filters));
        let rows: Vec<ContainerEntry> =
            self.call("list containers of image", image, self.transport.get_json(&path)).await?;
        Ok(rows.iter().map(|row| row.name().to_owned()).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::Ordering;

    use crate::docker::parse_time;
    use crate::docker::testing;

    #[test]
    fn dockers_year_one_is_never() {
        assert_eq!(parse_time("0001-01-01T00:00:00Z"), 0);
        assert_eq!(parse_time("1970-01-01T00:00:01.000000005Z"), 1_000_000_005);
        assert_eq!(parse_time(""), 0);
    }

    #[tokio::test]
    async fn a_removal_by_another_client_is_waited_for() {
        let requests = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&requests);
        let (engine, _docker) = testing::engine(move |request| {
            assert_eq!(request, "DELETE /containers/c1");
            match counter.fetch_add(1, Ordering::Relaxed) {
                0..3 => (409, r#"{"message": "removal of container c1 is already in progress"}"#.to_owned()),
                _ => (404, r#"{"message": "No such container: c1"}"#.to_owned()),
            }
        });
        engine.remove_container("c1").await.unwrap();
        assert_eq!(requests.load(Ordering::Relaxed), 4);
    }
}
