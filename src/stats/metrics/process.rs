//! Processes, and the files they have open.

use crate::cgroup::Processes;

use super::family::Family;
use super::family::Value;
use super::family::one;

pub(super) const FAMILIES: &[Family<Processes>] = &[
    Family::gauge("container_processes", "Processes in the cgroup itself.", |all| one(all.processes)),
    Family::gauge("container_threads", "Threads, with those of the cgroups below.", |all| one(all.threads)),
    Family::gauge("container_threads_max", "Limit of threads; 0 for none.", |all| one(all.threads_limit)),
    Family::gauge("container_file_descriptors", "Files that the processes have open.", |all| one(all.open_files)),
    Family::gauge("container_sockets", "Sockets that the processes have open.", |all| one(all.sockets)),
    Family::<Processes>::gauge(
        "container_ulimits_soft",
        "Soft limits of the init process; left out where it has none.",
        |all| all.open_files_limit.map(|limit| Value::labelled(&["max_open_files"], limit)).into_iter().collect(),
    )
    .by(&["ulimit"]),
];
