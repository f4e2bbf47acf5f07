//! Records for tests.

use super::ContainerRecord;
use super::Phase;
use super::Record;
use super::SandboxRecord;

/// A sandbox on the host's network, with the same name and id.
pub(crate) fn sandbox(id: &str) -> SandboxRecord {
    let record = SandboxRecord::creating(id.to_owned(), 1, Default::default());
    SandboxRecord { id: id.to_owned(), phase: Phase::Live, ..record }
}

/// A container without a log, with the same name and id.
pub(crate) fn container(id: &str, sandbox_id: &str) -> ContainerRecord {
    let record = ContainerRecord::creating(id.to_owned(), 1, Default::default());
    ContainerRecord {
        id: id.to_owned(),
        sandbox_id: sandbox_id.to_owned(),
        phase: Phase::Live,
        image_id: "sha256:1".to_owned(),
        ..record
    }
}
