//! Where a container's cgroup is, and the cgroup v2 settings that Docker's API has no field for.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::path::Path;
use std::path::PathBuf;

use crate::docker::CgroupDriver;
use crate::docker::EngineInfo;
use crate::error::Error;

use super::tree;

const CGROUP_ROOT: &str = "/sys/fs/cgroup";
/// Where every container has a directory with cgroup v1: the trees that Docker always uses.
const VERSION_1_ROOTS: [&str; 2] = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup/memory"];
/// In how many cgroups below a container's own its processes are looked for. The first process is in one of the highest.
const MOST_CHILDREN: usize = 256;

/// Docker's `CgroupParent` for the parent a kubelet gives. With systemd the kubelet sends the whole path of slices
/// while Docker wants the last one's name.
pub fn parent(object: &str, parent: &str, info: &EngineInfo) -> Result<Option<String>, Error> {
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

/// Checks the names of cgroup v2 settings.
pub(super) fn check_unified(object: &str, unified: &BTreeMap<String, String>, info: &EngineInfo) -> Result<(), Error> {
    const FIELD: &str = "linux.resources.unified";
    if unified.is_empty() {
        return Ok(());
    }
    if info.cgroup_version < 2 {
        return Err(Error::unsupported(object, FIELD, "this host has cgroup v1, which knows no unified settings"));
    }
    let wrong = unified.keys().find(|key| key.contains('/') || !key.contains('.') || key.starts_with("cgroup."));
    match wrong {
        Some(key) => Err(Error::invalid(object, FIELD, format!("{key:?} is not a setting of a cgroup v2 controller"))),
        None => Ok(()),
    }
}

/// Writes cgroup v2 settings into the cgroup of a container that was just started.
///
/// # Errors
/// The setting that could not be written; those before it are in force.
pub(super) async fn write_unified(
    info: &EngineInfo,
    parent: &str,
    id: &str,
    unified: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let directory = directory(Path::new(CGROUP_ROOT), info.cgroup_driver, parent, id);
    for (key, value) in unified {
        let path = directory.join(key);
        tokio::fs::write(&path, value).await.map_err(|source| Error::Io {
            doing: "write the cgroup setting",
            path,
            source,
        })?;
    }
    Ok(())
}

/// The first process of a running container, by the host's number; `None` when it cannot be told. It is the one that was
/// there first: what a person runs in the container comes later. A container that runs containers or systemd keeps its
/// processes in cgroups below its own, as version 2 wants it.
pub fn first_process(info: &EngineInfo, parent: &str, id: &str) -> Option<i32> {
    let (directory, own) = processes(info, parent, id)?;
    let pids = if own.is_empty() { processes_below(&directory) } else { own };
    match *pids {
        [only] => Some(only),
        _ => pids.into_iter().filter_map(|pid| Some((tree::began(pid)?, pid))).min().map(|(_, pid)| pid),
    }
}

/// The process of a running container, by the host's number; `None` when there are more, or it cannot be told. One that
/// is not in the container's own cgroup is not it.
pub fn only_process(info: &EngineInfo, parent: &str, id: &str) -> Option<i32> {
    match *processes(info, parent, id)?.1 {
        [only] => Some(only),
        _ => None,
    }
}

/// A container's cgroup, and the processes that are in it and not below.
fn processes(info: &EngineInfo, parent: &str, id: &str) -> Option<(PathBuf, Vec<i32>)> {
    let roots: &[&str] = if info.cgroup_version >= 2 { &[CGROUP_ROOT] } else { &VERSION_1_ROOTS };
    let mut directories = roots.iter().map(|root| directory(Path::new(root), info.cgroup_driver, parent, id));
    directories.find_map(|directory| processes_in(&directory).map(|pids| (directory, pids)))
}

fn processes_in(directory: &Path) -> Option<Vec<i32>> {
    let pids = std::fs::read_to_string(directory.join("cgroup.procs")).ok()?;
    Some(pids.lines().filter_map(|pid| pid.parse().ok()).collect())
}

/// The processes in the cgroups below a directory, the highest first.
fn processes_below(directory: &Path) -> Vec<i32> {
    let mut pids = Vec::new();
    let mut waiting = VecDeque::from([directory.to_owned()]);
    let mut found = 0;
    while let Some(next) = waiting.pop_front() {
        pids.extend(processes_in(&next).unwrap_or_default());
        let Ok(entries) = std::fs::read_dir(&next) else { continue };
        let children = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let before = waiting.len();
        waiting.extend(children.take(MOST_CHILDREN - found).map(|entry| entry.path()));
        found += waiting.len() - before;
    }
    pids
}

/// The directory of a container in the cgroup tree at `root`, by the rules of Docker's drivers.
pub fn directory(root: &Path, driver: CgroupDriver, parent: &str, id: &str) -> PathBuf {
    let own = match driver {
        CgroupDriver::Cgroupfs => id.to_owned(),
        CgroupDriver::Systemd => format!("docker-{id}.scope"),
    };
    parent_directory(root, driver, parent).join(own)
}

/// The directory that the cgroups of a pod's containers are in.
pub fn parent_directory(root: &Path, driver: CgroupDriver, parent: &str) -> PathBuf {
    match driver {
        CgroupDriver::Cgroupfs => root.join(if parent.is_empty() { "docker" } else { parent.trim_matches('/') }),
        CgroupDriver::Systemd => {
            root.join(slice_path(parent.rsplit('/').find(|part| !part.is_empty()).unwrap_or("system.slice")))
        }
    }
}

/// systemd nests `a-b.slice` in `a.slice` (systemd.slice(5)).
fn slice_path(slice: &str) -> PathBuf {
    let name = slice.trim_end_matches(".slice");
    let mut path = PathBuf::new();
    let mut so_far = String::new();
    for part in name.split('-') {
        if !so_far.is_empty() {
            so_far.push('-');
        }
        so_far += part;
        path.push(format!("{so_far}.slice"));
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
        assert_eq!(parent("pod", path, &systemd).unwrap().unwrap(), "kubepods-burstable-pod1.slice");
        assert_eq!(parent("pod", "/kubepods/pod1", &engine_info(41)).unwrap().unwrap(), "/kubepods/pod1");
        assert!(parent("pod", "/kubepods/pod1", &systemd).is_err());
        assert!(parent("pod", "/../x", &engine_info(41)).is_err());
    }

    #[test]
    fn a_scope_lies_in_its_nested_slices() {
        let found =
            directory(Path::new(CGROUP_ROOT), CgroupDriver::Systemd, "/kubepods.slice/kubepods-pod1.slice", "abc");
        assert_eq!(found, Path::new("/sys/fs/cgroup/kubepods.slice/kubepods-pod1.slice/docker-abc.scope"));
    }

    #[test]
    fn processes_are_found_in_the_cgroups_below() {
        let dir = tempfile::tempdir().unwrap();
        let cgroup = |path: &str, processes: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("cgroup.procs"), processes).unwrap();
        };
        cgroup("", "");
        cgroup("init.scope", "41\n");
        cgroup("system.slice/a.service", "43\n44\n");
        assert_eq!(processes_in(dir.path()), Some(Vec::new()));
        let mut found = processes_below(dir.path());
        found.sort_unstable();
        assert_eq!(found, [41, 43, 44]);
        for number in 0..2 * MOST_CHILDREN {
            cgroup(&format!("many/{number}"), "50\n");
        }
        let found = processes_below(dir.path());
        assert!(found.contains(&41) && found.len() <= MOST_CHILDREN + 2, "{}", found.len());
        assert_eq!(processes_in(&dir.path().join("gone")), None);
    }

    #[test]
    fn unified_settings_need_cgroup_v2_and_cannot_leave_the_directory() {
        let v2 = EngineInfo { cgroup_version: 2, ..engine_info(41) };
        let key = |key: &str| BTreeMap::from([(key.to_owned(), "1".to_owned())]);
        assert!(check_unified("c", &key("memory.oom.group"), &v2).is_ok());
        assert!(check_unified("c", &key("memory.oom.group"), &engine_info(41)).is_err());
        assert!(check_unified("c", &key("../memory.max"), &v2).is_err());
        assert!(check_unified("c", &key("cgroup.procs"), &v2).is_err());
    }
}
