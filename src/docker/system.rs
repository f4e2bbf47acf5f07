//! The engine as a whole: its version, what it can do, and its event stream.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Once;

use bollard::errors::Error as Bollard;
use futures_util::StreamExt;
use http_body_util::BodyExt;
use http_body_util::BodyStream;
use serde::Deserialize;
use tokio_util::io::StreamReader;

use super::Engine;
use super::Error;
use super::transport::encode;
use super::transport::request;

/// The newest API that Dockside was tested with.
const OUR_NEWEST: ApiVersion = ApiVersion { major: 1, minor: 56 };
/// Docker 20.10, the oldest engine supported.
const OUR_OLDEST: ApiVersion = ApiVersion { major: 1, minor: 41 };
/// The position of CAP_SYS_RESOURCE in a capability set (capabilities(7)).
const CAP_SYS_RESOURCE: u32 = 24;
/// Where the system's containerd keeps its data unless it is told otherwise.
const SYSTEM_CONTAINERD: &str = "/var/lib/containerd";

/// A version of Docker's API, such as 1.41.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    pub major: u16,
    pub minor: u16,
}

impl ApiVersion {
    /// API 1.`minor`.
    pub const fn v1(minor: u16) -> ApiVersion {
        ApiVersion { major: 1, minor }
    }

    fn parse(text: &str) -> Option<ApiVersion> {
        let (major, minor) = text.split_once('.')?;
        Some(ApiVersion { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Who keeps the cgroups of containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupDriver {
    Cgroupfs,
    Systemd,
}

/// What Docker said of itself when the connection was made.
#[derive(Debug, Clone)]
pub struct EngineInfo {
    /// Docker's version, such as `20.10.24`.
    pub version: String,
    /// The API version in use.
    pub api: ApiVersion,
    /// Where Docker keeps its data, such as `/var/lib/docker`.
    pub root_dir: PathBuf,
    /// Where images are: the same, or containerd's directory where Docker uses containerd's image store.
    pub image_dir: PathBuf,
    pub cgroup_driver: CgroupDriver,
    /// 1 or 2.
    pub cgroup_version: u8,
    /// Names of the OCI runtimes that Docker offers, sorted.
    pub runtimes: Vec<String>,
    pub default_runtime: String,
    pub kernel: String,
    pub apparmor: bool,
    pub selinux: bool,
    pub live_restore: bool,
    /// The lowest `oom_score_adj` Docker can give a process: `None` where it may set any, else the daemon's own
    /// value, because lowering it takes CAP_SYS_RESOURCE.
    pub oom_score_floor: Option<i64>,
}

impl EngineInfo {
    /// Whether the API version in use is at least 1.`minor`.
    pub fn has_api(&self, minor: u16) -> bool {
        self.api >= ApiVersion::v1(minor)
    }

    /// Where Docker keeps the files of one container.
    pub fn container_directory(&self, id: &str) -> PathBuf {
        self.root_dir.join("containers").join(id)
    }

    /// `score` raised to the lowest that Docker can set here. Without this, a host that withholds
    /// CAP_SYS_RESOURCE could run no guaranteed pod at all.
    pub fn clamp_oom_score(&self, score: i64) -> i64 {
        self.oom_score_floor.map_or(score, |floor| score.max(floor))
    }
}

/// One message of Docker's event stream that concerns us.
#[derive(Debug, Clone, Deserialize)]
pub struct Event {
    /// `container`, `image` or `daemon`.
    #[serde(rename = "Type", default)]
    pub kind: String,
    #[serde(rename = "Action", default)]
    pub action: String,
    #[serde(rename = "Actor", default)]
    pub actor: EventActor,
}

/// The object an event is about.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct EventActor {
    #[serde(rename = "ID", default)]
    pub id: String,
    #[serde(rename = "Attributes", default)]
    pub attributes: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    version: String,
    api_version: String,
    #[serde(rename = "MinAPIVersion", default)]
    min_api_version: String,
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
    /// Pairs of words on the storage driver.
    #[serde(default)]
    driver_status: Option<Vec<Vec<String>>>,
    #[serde(default)]
    containerd: Option<Containerd>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Containerd {
    address: String,
}

impl Engine {
    /// Agrees on an API version and learns what this Docker is. Asked before the link counts as up, so it does
    /// not look at the link's state.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when Docker does not answer, [`Error::Failed`] when it is too old or too new.
    pub async fn contact(&self) -> Result<EngineInfo, Error> {
        const DOING: &str = "ask Docker for its version at";
        let at = self.socket().display().to_string();
        let version: Version = self.unguarded(DOING, &at, self.transport.get_json("/version")).await?;
        let api = agree(&version).map_err(|message| Error::Failed { doing: DOING, object: at.clone(), message })?;
        self.transport.set_version(api);
        let info: Info =
            self.unguarded("ask Docker for its information at", &at, self.transport.get_json("/info")).await?;
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

    /// Asks whether Docker is alive.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it does not answer.
    pub async fn ping(&self) -> Result<(), Error> {
        let at = self.socket().display().to_string();
        self.unguarded("ping Docker at", &at, async {
            let answer = self.transport.send(request("GET", "/_ping")?).await?;
            answer.into_body().collect().await?;
            Ok(())
        })
        .await
    }

    /// Docker's events from now on: containers, images and the daemon itself. The stream ends with an error
    /// when Docker goes away.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when Docker does not answer.
    pub async fn events(&self) -> Result<impl futures_util::Stream<Item = Result<Event, Error>> + use<>, Error> {
        const DOING: &str = "follow the events of Docker at";
        let filters = r#"{"type":["container","image","daemon"]}"#;
        let at = self.socket().display().to_string();
        let path = format!("/events?filters={}", encode(filters));
        let answer = self.unguarded(DOING, &at, self.transport.get(&path)).await?;
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
                // One message that is not understood is not worth losing the stream for.
                Ok(line) => match serde_json::from_str::<Event>(&line) {
                    Ok(event) => Some(Ok(event)),
                    Err(error) => {
                        tracing::warn!(%error, "Docker sent an event that is not understood");
                        None
                    }
                },
                Err(source) => Some(Err(Error::unavailable(DOING, &at, source))),
            };
            std::future::ready(event)
        }))
    }

    /// As `call`, but also while the link counts as down.
    async fn unguarded<T>(
        &self,
        doing: &'static str,
        object: &str,
        request: impl Future<Output = Result<T, Bollard>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(self.timeout, request).await {
            Ok(answer) => answer.map_err(|source| Error::from_bollard(doing, object, source)),
            Err(_) => Err(Error::Timeout { doing, object: object.to_owned(), limit: self.timeout }),
        }
    }
}

/// The newest API version that both sides speak.
fn agree(server: &Version) -> Result<ApiVersion, String> {
    let newest = ApiVersion::parse(&server.api_version)
        .ok_or_else(|| format!("API version {:?} is not understood", server.api_version))?;
    let oldest = ApiVersion::parse(&server.min_api_version).unwrap_or(ApiVersion::v1(12));
    if newest < OUR_OLDEST {
        return Err(format!(
            "Docker {} speaks API {newest}; at least {OUR_OLDEST} (Docker 20.10) is needed",
            server.version
        ));
    }
    if oldest > OUR_NEWEST {
        return Err(format!(
            "Docker {} needs API {oldest} or newer; Dockside speaks up to {OUR_NEWEST}",
            server.version
        ));
    }
    Ok(newest.min(OUR_NEWEST))
}

/// Where the image store is. Docker does not say where containerd keeps its data, but by its socket it can be told
/// whether that is the one Docker runs itself or the system's, and both have a usual place. Where images are in neither,
/// Docker's own directory is told: a kubelet fails altogether when it is told of one that does not exist.
fn image_dir(info: &Info, system: &Path) -> PathBuf {
    static TOLD: Once = Once::new();
    let root = &info.docker_root_dir;
    let status = info.driver_status.as_deref().unwrap_or_default();
    if !status.iter().flatten().any(|word| word.starts_with("io.containerd.snapshotter")) {
        return root.clone();
    }
    let own = root.join("containerd/daemon");
    // Before API 1.46 Docker does not tell the socket.
    let is_own = info.containerd.as_ref().is_some_and(|containerd| containerd.address.contains("/docker/containerd/"));
    let guesses = if is_own { [own, system.to_owned()] } else { [system.to_owned(), own] };
    let found = guesses.iter().find(|guess| guess.join("io.containerd.content.v1.content").is_dir());
    if found.is_none() {
        TOLD.call_once(|| tracing::warn!(instead = %root.display(), "could not find where containerd keeps images"));
    }
    found.unwrap_or(root).clone()
}

/// What keeps the process behind `socket` from lowering `oom_score_adj`, read from its own /proc entry. With
/// socket activation the peer is the service manager, which may do anything, and so may the daemon it started.
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

    fn server(newest: &str, oldest: &str) -> Version {
        Version { version: "x".into(), api_version: newest.into(), min_api_version: oldest.into() }
    }

    #[test]
    fn the_newest_common_api_version_is_chosen() {
        assert_eq!(agree(&server("1.41", "1.12")), Ok(ApiVersion::v1(41)));
        assert_eq!(agree(&server("1.56", "1.44")), Ok(ApiVersion::v1(56)));
        assert_eq!(agree(&server("1.99", "1.44")), Ok(OUR_NEWEST));
    }

    #[test]
    fn an_engine_that_is_too_old_or_too_new_is_refused_with_both_versions() {
        assert!(agree(&server("1.40", "1.12")).unwrap_err().contains("at least 1.41"));
        assert!(agree(&server("2.3", "2.0")).unwrap_err().contains("up to 1.56"));
    }

    #[test]
    fn images_are_said_to_be_where_they_are() {
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
        // No containerd has its data in a usual place.
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
