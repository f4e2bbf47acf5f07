//! What the index holds: a record with the state of its process.

use std::fmt;

use super::process::Process;
use super::record::ContainerRecord;
use super::record::Phase;
use super::record::Record;
use super::record::SandboxRecord;

/// The two kinds of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A pod sandbox.
    Sandbox,
    /// A container in a sandbox.
    Container,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Sandbox => "pod sandbox",
            Kind::Container => "container",
        })
    }
}

/// What sandboxes and containers have in common. A value in the index never changes: the writer swaps in a new one.
pub(crate) trait Object: Clone + Send + Sync + 'static {
    /// What is kept on disk.
    type Record: Record;

    /// For messages and errors.
    const KIND: Kind;

    /// An object whose process is in this state.
    fn new(record: Self::Record, process: Process) -> Self;

    /// Its identity.
    fn record(&self) -> &Self::Record;

    /// Its process: for a sandbox, the pause container's.
    fn process(&self) -> &Process;

    /// The id of the sandbox it belongs to: for a sandbox, its own.
    fn sandbox_id(&self) -> &str;
}

/// A pod sandbox as clients see it.
#[derive(Debug, Clone)]
pub(crate) struct Sandbox {
    /// Its identity.
    pub record: SandboxRecord,
    /// The pause container's process.
    pub process: Process,
    /// A StopPodSandbox or RemovePodSandbox is waiting for the lock or at work: CreateContainer and StartContainer
    /// are refused.
    pub stopping: bool,
}

impl Sandbox {
    /// READY in the sense of the CRI: completely made, its pause process runs, and it has its network.
    pub(crate) fn is_ready(&self) -> bool {
        let released = self.record.network.as_ref().is_some_and(|network| network.released);
        self.record.phase == Phase::Live && self.process.is_running() && !released
    }
}

impl Object for Sandbox {
    type Record = SandboxRecord;

    const KIND: Kind = Kind::Sandbox;

    fn new(record: SandboxRecord, process: Process) -> Sandbox {
        Sandbox { record, process, stopping: false }
    }

    fn record(&self) -> &SandboxRecord {
        &self.record
    }

    fn process(&self) -> &Process {
        &self.process
    }

    fn sandbox_id(&self) -> &str {
        &self.record.id
    }
}

/// A container as clients see it.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    /// Its identity.
    pub record: ContainerRecord,
    /// The init process.
    pub process: Process,
    /// Docker has not answered a start, and may still carry it out: CREATED would promise too much, so the CRI state
    /// is UNKNOWN.
    pub unsettled: bool,
}

impl Object for Container {
    type Record = ContainerRecord;

    const KIND: Kind = Kind::Container;

    fn new(record: ContainerRecord, process: Process) -> Container {
        Container { record, process, unsettled: false }
    }

    fn record(&self) -> &ContainerRecord {
        &self.record
    }

    fn process(&self) -> &Process {
        &self.process
    }

    fn sandbox_id(&self) -> &str {
        &self.record.sandbox_id
    }
}
