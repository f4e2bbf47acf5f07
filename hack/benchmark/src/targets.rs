//! The rows of the table, and Dockside's targets, which hold at 60 pods.

use super::contender::RAW_DOCKER;
use super::samples::Series;
use super::samples::find;
use super::turn::PARALLEL_MODE;
use super::turn::SERIAL_MODE;

/// The number of pods that the targets are for.
const BAR: usize = 60;

/// The limit of Dockside's median.
#[derive(Clone, Copy)]
pub(crate) enum Limit {
    /// No limit.
    None,
    /// A fixed value.
    AtMost(f64),
    /// containerd's median.
    Containerd,
    /// A multiple of raw Docker's median.
    RawTimes(f64),
}

/// A row of the table, repeated for each number of pods that it depends on.
pub(crate) struct Row {
    pub measure: &'static str,
    pub mode: &'static str,
    pub limit: Limit,
}

const fn row(measure: &'static str, mode: &'static str, limit: Limit) -> Row {
    Row { measure, mode, limit }
}

pub(crate) const ROWS: &[Row] = &[
    row("RunPodSandbox", SERIAL_MODE, Limit::None),
    row("RunPodSandbox, Docker's part", SERIAL_MODE, Limit::None),
    row("RunPodSandbox, CNI's part", SERIAL_MODE, Limit::None),
    row("CreateContainer", SERIAL_MODE, Limit::None),
    row("StartContainer", SERIAL_MODE, Limit::None),
    row("StopContainer", SERIAL_MODE, Limit::None),
    row("StopPodSandbox", SERIAL_MODE, Limit::None),
    row("RemoveContainer", SERIAL_MODE, Limit::None),
    row("RemovePodSandbox", SERIAL_MODE, Limit::None),
    row("server CPU per pod start", SERIAL_MODE, Limit::AtMost(10.0)),
    row("and its children and shims", SERIAL_MODE, Limit::None),
    row("dockerd's CPU per pod start", SERIAL_MODE, Limit::None),
    row("CPU of everything per pod start", SERIAL_MODE, Limit::None),
    row("RunPodSandbox", PARALLEL_MODE, Limit::None),
    row("CreateContainer", PARALLEL_MODE, Limit::None),
    row("StartContainer", PARALLEL_MODE, Limit::None),
    row("StopContainer", PARALLEL_MODE, Limit::None),
    row("StopPodSandbox", PARALLEL_MODE, Limit::None),
    row("RemoveContainer", PARALLEL_MODE, Limit::None),
    row("RemovePodSandbox", PARALLEL_MODE, Limit::None),
    row("pods started", PARALLEL_MODE, Limit::None),
    row("server CPU per pod start", PARALLEL_MODE, Limit::None),
    row("CPU of everything per pod start", PARALLEL_MODE, Limit::None),
    row("ListPodSandbox", "", Limit::Containerd),
    row("ListContainers", "", Limit::Containerd),
    row("ContainerStatus", "", Limit::Containerd),
    row("PodSandboxStatus", "", Limit::Containerd),
    row("ImageStatus", "", Limit::Containerd),
    row("ListImages", "", Limit::Containerd),
    row("ListContainerStats", "", Limit::AtMost(15.0)),
    row("ListPodSandboxStats", "", Limit::None),
    row("ImageFsInfo", "", Limit::None),
    row("ExecSync", "", Limit::AtMost(35.0)),
    row("server CPU per ExecSync", "", Limit::None),
    row("server CPU while polled", "", Limit::AtMost(0.2)),
    row("and its children and shims, polled", "", Limit::None),
    row("dockerd's CPU while polled", "", Limit::None),
    row("resident memory", "", Limit::AtMost(20.0)),
    row("RunPodSandbox, beyond raw", "", Limit::AtMost(5.0)),
    row("CreateContainer, beyond raw", "", Limit::AtMost(5.0)),
    row("StartContainer, beyond raw", "", Limit::AtMost(5.0)),
    row("ExecSync, beyond raw", "", Limit::None),
    row("2 million log lines", "", Limit::RawTimes(1.1)),
    row("server CPU for them", "", Limit::None),
    row("resident memory after them", "", Limit::None),
    row("server CPU with 100 writers", "", Limit::None),
    row("resident memory with 100 writers", "", Limit::None),
    row("others' share of the machine", "", Limit::None),
];

/// Targets that are measured elsewhere, and where.
pub(crate) const ELSEWHERE: [(&str, &str); 3] = [
    ("critest's specs", "hack/conformance critest"),
    ("Binding to pod Ready", "needs a cluster: hack/cluster"),
    ("pods per second of the scheduler", "hack/bench scheduler"),
];

/// The number of pods at which the targets are checked.
pub(crate) fn bar_size(sizes: &[usize]) -> usize {
    if sizes.contains(&BAR) { BAR } else { sizes.iter().copied().max().unwrap_or(0) }
}

/// Whether a target is met.
pub(crate) struct Verdict {
    pub limit: f64,
    pub met: bool,
}

/// Checks a target; `None` if there is none, or if the contender to compare with has no value.
pub(crate) fn judge(row: &Row, series: &[Series], pods: usize, bar: usize) -> Option<Verdict> {
    if pods != 0 && pods != bar {
        return None;
    }
    let median = |who| find(series, who, row.measure, row.mode, pods).map(|series| series.at(0.5));
    let limit = match row.limit {
        Limit::None => return None,
        Limit::AtMost(limit) => limit,
        Limit::Containerd => median("containerd")?,
        Limit::RawTimes(times) => median(RAW_DOCKER)? * times,
    };
    let met = median("dockside")? <= limit;
    Some(Verdict { limit, met })
}

/// The source of the limit, for people.
pub(crate) fn why(limit: Limit) -> String {
    match limit {
        Limit::None => String::new(),
        Limit::AtMost(_) => "fixed".to_owned(),
        Limit::Containerd => "containerd's".to_owned(),
        Limit::RawTimes(times) => format!("{times} x raw"),
    }
}
