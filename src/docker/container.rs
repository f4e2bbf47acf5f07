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

/// What Docker needs, beyond the grace period, to kill a container and tell of it.
const STOP_MARGIN: Duration = Duration::from_secs(120);

/// Docker's drivers that are no overlays look at every file to find out how large a layer is.
const SIZE_LIMIT: Duration = Duration::from_secs(600);

/// How long a removal that somebody else began is waited for, and the pause between two looks.
const OTHERS_REMOVAL_LIMIT: Duration = Duration::from_secs(30);
const OTHERS_REMOVAL_POLL: Duration = Duration::from_millis(50);

/// The parts of `GET /containers/{id}/json` that Dockside reads.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerDetails {
    pub id: String,
    /// With Docker's leading slash.
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub created: String,
    /// The id of the image.
    #[serde(default)]
    pub image: String,
    pub state: ContainerState,
    /// The resolv.conf of the container and of all that join its network; empty before the first start.
    #[serde(default)]
    pub resolv_conf_path: PathBuf,
    /// Docker's json-file log; empty before the first start.
    #[serde(default)]
    pub log_path: PathBuf,
}

/// What Docker knows of a container's process.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerState {
    /// `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
    pub status: String,
    pub running: bool,
    pub pid: i32,
    pub exit_code: i32,
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// Why the last start failed, if it did.
    pub error: String,
    /// RFC 3339 with nanoseconds; the year 1 means never.
    pub started_at: String,
    pub finished_at: String,
}

/// One row of `GET /containers/json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerEntry {
    pub id: String,
    /// With Docker's leading slash.
    #[serde(default)]
    pub names: Vec<String>,
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub state: String,
}

impl ContainerEntry {
    /// The container's name, as it was given.
    pub fn name(&self) -> &str {
        self.names.first().map_or("", |name| name.trim_start_matches('/'))
    }
}

/// Docker's RFC 3339 time in nanoseconds since 1970; 0 for "never", which Docker writes as the year 1.
pub fn parse_time(text: &str) -> i64 {
    text.parse::<Timestamp>().ok().and_then(|t| i64::try_from(t.as_nanosecond()).ok()).map_or(0, |ns| ns.max(0))
}

impl Engine {
    /// Creates a container and returns its id.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the name is taken, [`Error::NotFound`] when the image is not there.
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
            tracing::debug!(container = name, %warning, "Docker warns");
        }
        Ok(answer.id)
    }

    /// Starts a container; one that runs already is left as it is.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::Failed`] with the OCI runtime's words when the process cannot be started.
    pub async fn start_container(&self, id: &str) -> Result<(), Error> {
        self.call("start container", id, self.api.start_container(id, None)).await
    }

    /// Sends the stop signal, and SIGKILL after `grace`; returns once the container has ended.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such container.
    pub async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), Error> {
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptions { t: Some(seconds), ..Default::default() };
        let limit = grace.saturating_add(STOP_MARGIN);
        self.call_within(limit, "stop container", id, self.api.stop_container(id, Some(options))).await
    }

    /// Sends SIGKILL and waits for the end; a container that does not run is left as it is.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such container.
    pub async fn kill_container(&self, id: &str) -> Result<(), Error> {
        let options = KillContainerOptions { signal: "KILL".to_owned() };
        match self.call("kill container", id, self.api.kill_container(id, Some(options))).await {
            // Docker answers 409 for a container that does not run.
            Err(Error::Conflict { message, .. }) if message.contains("is not running") => Ok(()),
            other => other,
        }
    }

    /// Removes a container with its anonymous volumes, killing it first if it runs. One that is gone already counts as
    /// removed; the end of a removal by somebody else is waited for, as its name and its layer are taken until then.
    ///
    /// # Errors
    /// [`Error::Failed`] when Docker cannot remove it, [`Error::Conflict`] when somebody else's removal takes too long.
    pub async fn remove_container(&self, id: &str) -> Result<(), Error> {
        let until = Instant::now() + OTHERS_REMOVAL_LIMIT;
        loop {
            let options = RemoveContainerOptions { v: true, force: true, link: false };
            match self.call("remove container", id, self.api.remove_container(id, Some(options))).await {
                Err(Error::NotFound { .. }) => return Ok(()),
                // Asked again, and not only looked at, as the other one's removal may fail.
                Err(Error::Conflict { message, .. })
                    if message.contains("already in progress") && Instant::now() < until =>
                {
                    tokio::time::sleep(OTHERS_REMOVAL_POLL).await;
                }
                other => return other,
            }
        }
    }

    /// A file of a container, running or not, if it is a plain one and not larger than 1 MiB. A file that is missing is
    /// empty.
    ///
    /// # Errors
    /// When Docker does not answer, or answers with no archive.
    pub async fn read_container_file(&self, id: &str, path: &str) -> Result<Option<Vec<u8>>, Error> {
        const LARGEST: usize = 1024 * 1024;
        let options = DownloadFromContainerOptions { path: path.to_owned() };
        let stream = self.api.download_from_container(id, Some(options));
        // One more block for the header, and as many as an archive may end with.
        let reading = stream.try_fold(Vec::new(), |mut all, bytes| async move {
            if all.len() < LARGEST * 2 {
                all.extend_from_slice(&bytes);
            }
            Ok(all)
        });
        let archive = match self.call("read a file of container", id, reading).await {
            Err(Error::NotFound { .. }) => return Ok(Some(Vec::new())),
            other => other?,
        };
        let failed = |error: std::io::Error| Error::Failed {
            doing: "read a file of container",
            object: id.to_owned(),
            message: format!("{path}: {error}"),
        };
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
    /// [`Error::Failed`] with Docker's words when a value is refused.
    pub async fn update_container(&self, id: &str, resources: &Resources) -> Result<(), Error> {
        let path = format!("/containers/{}/update", encode(id));
        self.call("update container", id, self.transport.post_json::<IgnoredAny>(&path, resources)).await.map(|_| ())
    }

    /// Everything about one container, by id or name.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such container.
    pub async fn inspect_container(&self, id: &str) -> Result<ContainerDetails, Error> {
        let path = format!("/containers/{}/json", encode(id));
        self.call("inspect container", id, self.transport.get_json(&path)).await
    }

    /// How many bytes a container has written over its image; `None` when Docker cannot tell.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such container.
    pub async fn layer_size(&self, id: &str) -> Result<Option<u64>, Error> {
        #[derive(Deserialize)]
        struct Size {
            /// -1 when Docker's driver fails.
            #[serde(rename = "SizeRw", default)]
            written: Option<i64>,
        }
        let path = format!("/containers/{}/json?size=1", encode(id));
        let size: Size = self.call_within(SIZE_LIMIT, "measure container", id, self.transport.get_json(&path)).await?;
        Ok(size.written.and_then(|bytes| u64::try_from(bytes).ok()))
    }

    /// The id of the container called `name`, if it was made at `since` (nanoseconds since 1970) or later. An older one
    /// is somebody else's.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when Docker does not answer.
    pub async fn find_made_since(&self, name: &str, since: i64) -> Result<Option<String>, Error> {
        match self.inspect_container(name).await {
            Ok(details) => Ok((parse_time(&details.created) >= since).then_some(details.id)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes the container called `name` unless it runs; the id of one that does is returned.
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

    /// All containers, in every state, that carry `label`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when Docker does not answer.
    pub async fn list_containers(&self, label: &str) -> Result<Vec<ContainerEntry>, Error> {
        let filters = serde_json::json!({ "label": [label] }).to_string();
        let path = format!("/containers/json?all=1&filters={}", encode(&filters));
        self.call("list containers with label", label, self.transport.get_json(&path)).await
    }

    /// The names of running containers made from an image.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when Docker does not answer.
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

    use crate::docker::testing;

    #[tokio::test]
    async fn a_removal_by_somebody_else_is_over_when_the_container_is_gone() {
        let asked = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&asked);
        let (engine, _docker) = testing::engine(move |request| {
            assert_eq!(request, "DELETE /containers/c1");
            match counter.fetch_add(1, Ordering::Relaxed) {
                0..3 => (409, r#"{"message": "removal of container c1 is already in progress"}"#.to_owned()),
                _ => (404, r#"{"message": "No such container: c1"}"#.to_owned()),
            }
        });
        engine.remove_container("c1").await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 4);
    }
}
