//! Settings of cgroup v2 that Docker's API has no field for: the CRI's `linux.resources.unified`.

use std::collections::BTreeMap;

use crate::docker::EngineInfo;
use crate::error::Error;

use super::path::Cgroup;

/// Checks the names of `linux.resources.unified`.
///
/// # Errors
/// [`Error::Unsupported`] on cgroup v1; [`Error::Invalid`] for a name that is not a controller's setting. `object` names
/// the container in the message.
pub(crate) fn check_unified(object: &str, unified: &BTreeMap<String, String>, info: &EngineInfo) -> Result<(), Error> {
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

impl Cgroup {
    /// Writes settings that [`check_unified`] accepted into this cgroup.
    ///
    /// # Errors
    /// [`Error::Io`] for the first setting that could not be written; those before it are in force.
    pub(crate) async fn write_unified(&self, unified: &BTreeMap<String, String>) -> Result<(), Error> {
        for (key, value) in unified {
            let path = self.controller("").join(key);
            tokio::fs::write(&path, value).await.map_err(|source| Error::Io {
                doing: "write the cgroup setting",
                path,
                source,
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::testing::engine_info;

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
