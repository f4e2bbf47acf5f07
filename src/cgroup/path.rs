//! Where cgroups are, by the rules of the kubelet and of Docker's two cgroup drivers.

use std::path::Path;
use std::path::PathBuf;

use crate::docker::CgroupDriver;
use crate::docker::EngineInfo;
use crate::error::Error;

/// Where the host mounts cgroup v2, or the hierarchies of cgroup v1.
pub(crate) const ROOT: &str = "/sys/fs/cgroup";
/// Names under which hosts mount the cgroup v1 controller `cpu`: some mount two controllers together.
const CPU: [&str; 2] = ["cpu", "cpu,cpuacct"];
/// The same for `cpuacct`.
pub(super) const CPUACCT: [&str; 2] = ["cpuacct", "cpu,cpuacct"];

/// The cgroup of a pod or container. It need not exist.
#[derive(Debug, Clone)]
pub(crate) struct Cgroup {
    /// The mount point of cgroup v2, or the directory with the mount points of cgroup v1.
    root: PathBuf,
    /// The path within a hierarchy, without a leading slash.
    path: PathBuf,
    is_v2: bool,
}

impl Cgroup {
    /// The root cgroup of the host.
    pub(crate) fn root() -> Cgroup {
        Cgroup::new(ROOT, PathBuf::new(), Path::new(ROOT).join("cgroup.controllers").exists())
    }

    /// The cgroup of the Docker container `id`. `parent` is the cgroup parent of its sandbox, empty for Docker's default.
    pub(crate) fn of_container(info: &EngineInfo, parent: &str, id: &str) -> Cgroup {
        Cgroup::new(ROOT, container_path(info.cgroup_driver, parent, id), info.cgroup_version >= 2)
    }

    /// The cgroup that the kubelet made for a pod: the parent of its containers' cgroups.
    pub(crate) fn of_pod(info: &EngineInfo, parent: &str) -> Cgroup {
        Cgroup::new(ROOT, parent_path(info.cgroup_driver, parent), info.cgroup_version >= 2)
    }

    /// The cgroup `path` in the tree at `root`.
    pub(crate) fn new(root: impl Into<PathBuf>, path: impl Into<PathBuf>, is_v2: bool) -> Cgroup {
        Cgroup { root: root.into(), path: path.into(), is_v2 }
    }

    /// Whether this is a cgroup of version 2.
    pub(crate) fn is_v2(&self) -> bool {
        self.is_v2
    }

    /// The absolute path within a hierarchy: cAdvisor's label `id`.
    pub(crate) fn id(&self) -> String {
        Path::new("/").join(&self.path).display().to_string()
    }

    /// The directory with the files of this controller. With cgroup v2 it is the same for all.
    pub(crate) fn controller(&self, name: &str) -> PathBuf {
        if self.is_v2 { self.root.join(&self.path) } else { self.root.join(name).join(&self.path) }
    }

    /// The directory with the files of the controller `cpu`.
    pub(crate) fn cpu(&self) -> PathBuf {
        self.first_existing(CPU)
    }

    /// The directory with the files of the controller `cpuacct`.
    pub(crate) fn cpuacct(&self) -> PathBuf {
        self.first_existing(CPUACCT)
    }

    fn first_existing(&self, names: [&str; 2]) -> PathBuf {
        let [separate, joint] = names.map(|name| self.controller(name));
        if self.is_v2 || separate.exists() { separate } else { joint }
    }
}

/// Docker's `CgroupParent` for the parent a kubelet gives; `None` for Docker's default. With systemd the kubelet sends
/// the whole path of slices, and Docker takes the name of the last one.
///
/// # Errors
/// [`Error::Invalid`] for a path with `..`, and with systemd for one that does not end in a slice. `object` names the
/// pod or container in the message.
pub(crate) fn docker_parent(object: &str, parent: &str, info: &EngineInfo) -> Result<Option<String>, Error> {
    const FIELD: &str = "linux.cgroup_parent";
    if parent.is_empty() {
        return Ok(None);
    }
    if parent.split('/').any(|part| part == "..") {
        return Err(Error::invalid(object, FIELD, format!("{parent:?} must not contain \"..\"")));
    }
    match info.cgroup_driver {
        CgroupDriver::Cgroupfs => Ok(Some(parent.to_owned())),
        CgroupDriver::Systemd => {
            let slice = parent.rsplit('/').find(|part| !part.is_empty()).unwrap_or_default();
            if !slice.ends_with(".slice") {
                let reason = format!("{parent:?} must end in a systemd slice, as Docker's cgroup driver is systemd");
                return Err(Error::invalid(object, FIELD, reason));
            }
            Ok(Some(slice.to_owned()))
        }
    }
}

fn container_path(driver: CgroupDriver, parent: &str, id: &str) -> PathBuf {
    parent_path(driver, parent).join(match driver {
        CgroupDriver::Cgroupfs => id.to_owned(),
        CgroupDriver::Systemd => format!("docker-{id}.scope"),
    })
}

fn parent_path(driver: CgroupDriver, parent: &str) -> PathBuf {
    match driver {
        CgroupDriver::Cgroupfs => PathBuf::from(if parent.is_empty() { "docker" } else { parent.trim_matches('/') }),
        CgroupDriver::Systemd => slice_path(parent.rsplit('/').find(|part| !part.is_empty()).unwrap_or("system.slice")),
    }
}

/// systemd nests `a-b.slice` in `a.slice` (systemd.slice(5)).
fn slice_path(slice: &str) -> PathBuf {
    let name = slice.trim_end_matches(".slice");
    let mut path = PathBuf::new();
    let mut prefix = String::new();
    for part in name.split('-') {
        if !prefix.is_empty() {
            prefix.push('-');
        }
        prefix += part;
        path.push(format!("{prefix}.slice"));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::testing::engine_info;

    #[test]
    fn systemd_gets_the_name_of_the_slice_and_cgroupfs_the_path() {
        let path = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice";
        let systemd = EngineInfo { cgroup_driver: CgroupDriver::Systemd, ..engine_info(41) };
        assert_eq!(docker_parent("pod", path, &systemd).unwrap().unwrap(), "kubepods-burstable-pod1.slice");
        assert_eq!(docker_parent("pod", "/kubepods/pod1", &engine_info(41)).unwrap().unwrap(), "/kubepods/pod1");
        assert!(docker_parent("pod", "/kubepods/pod1", &systemd).is_err());
        assert!(docker_parent("pod", "/../x", &engine_info(41)).is_err());
    }

    #[test]
    fn a_scope_lies_in_its_nested_slices() {
        let info = EngineInfo { cgroup_driver: CgroupDriver::Systemd, cgroup_version: 2, ..engine_info(41) };
        let cgroup = Cgroup::of_container(&info, "/kubepods.slice/kubepods-pod1.slice", "abc");
        let expected = "/kubepods.slice/kubepods-pod1.slice/docker-abc.scope";
        assert_eq!(cgroup.id(), expected);
        assert_eq!(cgroup.controller("memory"), Path::new(&format!("/sys/fs/cgroup{expected}")));
    }

    #[test]
    fn cgroupfs_puts_a_container_below_its_parent_in_each_hierarchy() {
        let cgroup = Cgroup::of_container(&engine_info(41), "/kubepods/pod1/", "abc");
        assert_eq!(cgroup.controller("pids"), Path::new("/sys/fs/cgroup/pids/kubepods/pod1/abc"));
        assert_eq!(Cgroup::of_container(&engine_info(41), "", "abc").id(), "/docker/abc");
    }
}
