//! Control groups and `/proc`: where the cgroup of a pod or container is, which processes it holds, and what they have
//! used. This is the one reader of cgroup v1, cgroup v2 and `/proc/PID`.
//!
//! `pod`, `container`, `stats` and `observability` call in. Nothing here changes the index or asks Docker; of Docker it
//! needs only the cgroup driver and version.

mod cpu;
mod file;
mod io;
mod memory;
mod path;
mod proc;
pub(crate) mod process_tree;
mod processes;
mod snapshot;
mod unified;

pub(crate) use self::cpu::CpuDetails;
pub(crate) use self::file::Pressure;
pub(crate) use self::file::Stall;
pub(crate) use self::io::Io;
pub(crate) use self::io::IoCounts;
pub(crate) use self::memory::MemoryDetails;
pub(crate) use self::memory::Swap;
pub(crate) use self::path::Cgroup;
pub(crate) use self::path::ROOT;
pub(crate) use self::path::docker_parent;
pub(crate) use self::proc::InterfaceCounter;
pub(crate) use self::proc::InterfaceCounters;
pub(crate) use self::proc::Mount;
pub(crate) use self::proc::MountInfo;
pub(crate) use self::proc::ProcessStat;
pub(crate) use self::processes::Processes;
pub(crate) use self::processes::thread_count;
pub(crate) use self::snapshot::Snapshot;
pub(crate) use self::unified::check_unified;
