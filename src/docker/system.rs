//! The engine as a whole: its properties and its event stream.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Once;

use bollard::errors::Error as Bollard;
use futures_util::StreamExt;
use http_body_util::BodyExt;
use http_body_util::BodyStream;
use serde::Deserialize;
use tokio_util::io::StreamReader;

use super::Cause;
use super::Engine;
use super::Error;
use super::transport::encode;
use super::transport::request;
use super::version::ApiVersion;
use super::version::Version;
use super::version::negotiate;

/// The position of CAP_SYS_RESOURCE in a capability set (capabilities(7)).
const CAP_SYS_RESOURCE: u32 = 24;
/// The data directory of the system's containerd by default.
const SYSTEM_CONTAINERD: &str = "/var/lib/containerd";

/// What manages the cgroups of containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupDriver {
    /// Docker makes directories in the cgroup file system.
    Cgroupfs,
    /// systemd, as scopes in slices.
    Systemd,
}

/// The engine's properties, from `GET /version` and `GET /info`.
#[derive(Debug, Clone)]
pub struct EngineInfo {
    /// Docker's version, such as `20.10.24`.
    pub version: String,
    /// The API version in use.
    pub api: ApiVersion,
    /// Where Docker keeps its data, such as `/var/lib/docker`.
    pub root_dir: PathBuf,
    /// Where Docker keeps images: the same directory, or containerd's with the containerd image store.
    pub image_dir: PathBuf,
    /// What manages the cgroups of containers.
    pub cgroup_driver: CgroupDriver,
    /// The version of the cgroup hierarchy: 1 or 2.
    pub cgroup_version: u8,
    /// The names of the OCI runtimes in Docker's configuration, sorted.
    pub runtimes: Vec<String>,
    /// The name of the OCI runtime for containers that name none.
    pub default_runtime: String,
    /// The kernel's release, such as `6.1.0-13-amd64`.
    pub kernel: String,
    /// Whether Docker uses AppArmor.
    pub apparmor: bool,
    /// Whether Docker uses SELinux.
    pub selinux: bool,
    /// Whether containers keep running while Docker restarts.
    pub live_restore: bool,
    /// The lowest `oom_score_adj` that Docker can set: `None` where it may set any, else the daemon's own value,
    /// because lowering it takes CAP_SYS_RESOURCE (proc(5)).
    pub oom_score_floor: Option<i64>,
}

impl EngineInfo {
    /// Whether the API version in use is at least 1.`minor`.
    pub fn has_api(&self, minor: u16) -> bool {
        self.api >= ApiVersion::v1(minor)
    }

    /// Where Docker keeps the files of one container, its log among them.
    pub fn container_directory(&self, id: &str) -> PathBuf {
        self.root_dir.join("containers").join(id)
    }

    /// `score`, or the lowest value that Docker can set if that is higher. Otherwise no guaranteed pod could start on a
    /// host that withholds CAP_SYS_RESOURCE.
    pub fn clamp_oom_score(&self, score: i64) -> i64 {
        self.oom_score_floor.map_or(score, |floor| score.max(floor))
    }
}

/// One message of Docker's event stream.
#[derive(Debug, Clone, Deserialize)]
pub struct Event {
    /// `container`, `image` or `daemon`.
    #[serde(rename = "Type", default)]
    pub kind: String,
    /// Such as `start`, `die` or `pull`.
    #[serde(rename = "Action", default)]
    pub action: String,
    /// The object.
    #[serde(rename = "Actor", default)]
    pub actor: EventActor,
}

/// The object an event is about.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct EventActor {
    /// The id of a container, or the name of an image.
    #[serde(rename = "ID", default)]
    pub id: String,
    /// Labels and details, such as `exitCode`.
    #[serde(rename = "Attributes", default)]
    pub attributes: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    docker_root_dir: PathBuf,
    #[serde(default)]
    cgroup_driver: String,
    #[serde(default)]
    cgroup_version: String,
    #[serde(default)]
    runtimes: BTreeMap<String, serde::de::IgnoredAny>,
    #[serde(default)]
    default_runtime: String,
    #[serde(default)]
    kernel_version: String,
    #[serde(default)]
    security_options: Option<Vec<String>>,
    #[serde(default)]
    live_restore_enabled: bool,
    /// Pairs of a name and a value.
    #[serde(default)]
    driver_status: Option<Vec<Vec<String>>>,
    #[serde(default)]
    containerd: Option<Containerd>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Containerd {
    address: String,
}

impl Engine {
    /// Negotiates the API version and reads the engine's properties. Works in every state of the connection.
    ///
    /// # Errors
    /// [`Cause::Unavailable`] when Docker does not answer, [`Cause::Failed`] when its API is too old or too new.
    pub async fn contact(&self) -> Result<EngineInfo, Error> {
        const OPERATION: &str = "read the version of Docker at";
        let at = self.socket().display().to_string();
        let version: Version = self.unguarded(OPERATION, &at, self.transport.get_json("/version")).await?;
        let api = negotiate(&version).map_err(|message| Error::failed(OPERATION, &at, message))?;
        self.transport.set_version(api);
        let info: Info =
            self.unguarded("read the properties of Docker at", &at, self.transport.get_json("/info")).await?;
        let security = info.security_options.clone().unwrap_or_default();
        let has =
            |name: &str| security.iter().any(|option| option.split(',').any(|part| part == format!("name={name}")));
        Ok(EngineInfo {
            version: version.version,
            api,
            image_dir: image_dir(&info, Path::new(SYSTEM_CONTAINERD)),
            root_dir: info.docker_root_dir,
            cgroup_driver: if info.cgroup_driver == "systemd" { CgroupDriver::Systemd } else { CgroupDriver::Cgroupfs },
            cgroup_version: if info.cgroup_version == "2" { 2 } else { 1 },
            runtimes: info.runtimes.into_keys().collect(),
            default_runtime: info.default_runtime,
            kernel: info.kernel_version,
            apparmor: has("apparmor"),
            selinux: has("selinux"),
            live_restore: info.live_restore_enabled,
            oom_score_floor: oom_score_floor(self.socket()).await,
        })
    }

    /// Checks that Docker answers. Works in every state of the connection.
    ///
    /// # Errors
    /// [`Cause::Unavailable`] when it does not answer.
    pub async fn ping(&self) -> Result<(), Error> {
        let at = self.socket().display().to_string();
        self.unguarded("ping Docker at", &at, async {
            let answer = self.transport.send(request("GET", "/_ping")?).await?;
            answer.into_body().collect().await?;
            Ok(())
        })
        .await
    }

    /// Docker's events from now on: of containers, images and the daemon. The stream ends with an error when the
    /// connection breaks. Works in every state of the connection.
    ///
    /// # Errors
    /// [`Cause::Unavailable`] when Docker does not answer.
    pub async fn events(&self) -> Result<impl futures_util::Stream<Item = Result<Event, Error>> + use<>, Error> {
        const OPERATION: &str = "follow the events of Docker at";
        let filters = r#"{"type":["container","image","daemon"]}"#;
        let at = self.socket().display().to_string();
        let path = format!("/events?filters={}", encode(filters));
        let answer = self.unguarded(OPERATION, &at, self.transport.get(&path)).await?;
        let reader = StreamReader::new(
            BodyStream::new(answer.into_body())
                .filter_map(async |frame| match frame {
                    Ok(frame) => frame.into_data().ok().map(Ok),
                    Err(source) => Some(Err(std::io::Error::other(source))),
                })
                .boxed(),
        );
        let lines = tokio_stream::wrappers::LinesStream::new(tokio::io::AsyncBufReadExt::lines(reader));
        Ok(lines.filter_map(move |line| {
            let event = match line {
                // A malformed event does not break the stream.
                Ok(line) => match serde_json::from_str::<Event>(&line) {
                    Ok(event) => Some(Ok(event)),
                    Err(error) => {
                        tracing::warn!(%error, "could not parse an event of Docker");
                        None
                    }
                },
                Err(source) => Some(Err(Error::unavailable(OPERATION, &at, source))),
            };
            std::future::ready(event)
        }))
    }

    /// As `call`, but in every state of the connection.
    async fn unguarded<T>(
        &self,
        operation: &'static str,
        object: &str,
        request: impl Future<Output = Result<T, Bollard>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(self.timeout, request).await {
            Ok(answer) => answer.map_err(|source| Error::from_bollard(operation, object, source)),
            Err(_) => Err(Error::new(operation, object, Cause::Timeout(self.timeout))),
        }
    }
}

/// The directory of the image store. Docker's API does not report containerd's data directory. Its socket shows whether
/// containerd is Docker's own or the system's; each has a usual data directory. If the images are in neither, the
/// result is Docker's own directory: a kubelet fails if the directory does not exist.
fn image_dir(info: &Info, system: &Path) -> PathBuf {
    static WARNED: Once = Once::new();
    let root = &info.docker_root_dir;
    let status = info.driver_status.as_deref().unwrap_or_default();
    if !status.iter().flatten().any(|word| word.starts_with("io.containerd.snapshotter")) {
        return root.clone();
    }
    let own = root.join("containerd/daemon");
    // Before API 1.46 Docker does not report the socket.
    let is_own = info.containerd.as_ref().is_some_and(|containerd| containerd.address.contains("/docker/containerd/"));
    let guesses = if is_own { [own, system.to_owned()] } else { [system.to_owned(), own] };
    let found = guesses.iter().find(|guess| guess.join("io.containerd.content.v1.content").is_dir());
    if found.is_none() {
        WARNED.call_once(|| tracing::warn!(instead = %root.display(), "could not find where containerd keeps images"));
    }
    found.unwrap_or(root).clone()
}

/// The `oom_score_adj` below which the process behind `socket` cannot set one, read from its /proc entry; `None` if it
/// has CAP_SYS_RESOURCE. With socket activation the peer is the service manager, which has it, as does the daemon it
/// starts.
async fn oom_score_floor(socket: &Path) -> Option<i64> {
    let stream = tokio::net::UnixStream::connect(socket).await.ok()?;
    let pid = stream.peer_cred().ok()?.pid()?;
    let status = tokio::fs::read_to_string(format!("/proc/{pid}/status")).await.ok()?;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    let effective = u64::from_str_radix(effective.trim(), 16).ok()?;
    if effective >> CAP_SYS_RESOURCE & 1 == 1 {
        return None;
    }
    let own = tokio::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).await.ok()?;
    own.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_directory_is_the_one_that_has_images() {
        let dir = tempfile::tempdir().unwrap();
        let [root, system] = ["docker", "containerd"].map(|name| dir.path().join(name));
        let own = root.join("containerd/daemon");
        let found = |more: &str| {
            let info = format!(r#"{{"DockerRootDir": "{}", {more}}}"#, root.display());
            image_dir(&serde_json::from_str(&info).unwrap(), &system)
        };
        let store = r#""DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]"#;
        let with_socket = |socket: &str| format!(r#"{store}, "Containerd": {{"Address": "{socket}"}}"#);
        let (own_socket, system_socket) =
            (with_socket("/var/run/docker/containerd/containerd.sock"), with_socket("/run/containerd/containerd.sock"));
        assert_eq!(found(r#""DriverStatus": [["Backing Filesystem", "extfs"]]"#), root);
        // containerd's data is in neither of the usual directories.
        std::fs::create_dir_all(&system).unwrap();
        for info in [store, &own_socket, &system_socket] {
            assert_eq!(found(info), root, "{info}");
        }
        std::fs::create_dir_all(own.join("io.containerd.content.v1.content")).unwrap();
        for info in [store, &own_socket, &system_socket] {
            assert_eq!(found(info), own, "{info}");
        }
        std::fs::create_dir_all(system.join("io.containerd.content.v1.content")).unwrap();
        assert_eq!((found(&own_socket), found(&system_socket), found(store)), (own, system.clone(), system.clone()));
    }
}
