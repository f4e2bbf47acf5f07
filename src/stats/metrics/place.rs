//! Where the files of one cgroup are.

use std::path::Path;
use std::path::PathBuf;

use crate::container::cgroup as place;
use crate::docker::EngineInfo;

use super::super::cgroup::ROOT;

/// Names under which a host mounts a controller of version 1; some mount two as one.
const CPU: [&str; 2] = ["cpu", "cpu,cpuacct"];
const CPUACCT: [&str; 2] = ["cpuacct", "cpu,cpuacct"];

/// A cgroup.
pub(super) struct Place {
    /// Where the trees are: one for each controller in version 1.
    root: PathBuf,
    /// Within a tree.
    path: PathBuf,
    pub(super) is_version_2: bool,
}

impl Place {
    /// The cgroup that all others are in.
    pub(super) fn root() -> Place {
        let is_version_2 = Path::new(ROOT).join("cgroup.controllers").exists();
        Place::new(ROOT, PathBuf::new(), is_version_2)
    }

    pub(super) fn of_container(info: &EngineInfo, parent: &str, id: &str) -> Place {
        Place::new(ROOT, place::directory(Path::new(""), info.cgroup_driver, parent, id), info.cgroup_version >= 2)
    }

    /// The cgroup that the kubelet made for a pod.
    pub(super) fn of_pod(info: &EngineInfo, parent: &str) -> Place {
        Place::new(ROOT, place::parent_directory(Path::new(""), info.cgroup_driver, parent), info.cgroup_version >= 2)
    }

    pub(super) fn new(root: impl Into<PathBuf>, path: impl Into<PathBuf>, is_version_2: bool) -> Place {
        Place { root: root.into(), path: path.into(), is_version_2 }
    }

    /// As cAdvisor's label `id` has it.
    pub(super) fn id(&self) -> String {
        Path::new("/").join(&self.path).display().to_string()
    }

    /// The directory of version 2, which has the files of all controllers.
    pub(super) fn unified(&self) -> PathBuf {
        self.root.join(&self.path)
    }

    /// The directory in a tree of version 1.
    pub(super) fn tree(&self, controller: &str) -> PathBuf {
        self.root.join(controller).join(&self.path)
    }

    pub(super) fn cpu(&self) -> PathBuf {
        self.first(&CPU)
    }

    pub(super) fn cpuacct(&self) -> PathBuf {
        self.first(&CPUACCT)
    }

    fn first(&self, names: &[&str; 2]) -> PathBuf {
        let [usual, other] = names.map(|name| self.tree(name));
        if usual.exists() { usual } else { other }
    }
}
