//! From what the API server sends (`wire`) to what the scheduler thinks in (`model`).
//!
//! Each function takes one object. What an API server would not have accepted is refused with the object and the field
//! by name; what this scheduler does not know in an otherwise good object is either harmless or makes it refuse to
//! place the pod, never ignored.

mod affinity;
mod node;
mod pod;
mod policy;
mod resources;
mod selector;
mod storage;

use std::fmt;

pub use self::node::node;
pub use self::pod::pod;
pub use self::policy::budget;
pub use self::policy::group;
pub use self::policy::namespace;
pub use self::policy::service;
pub(crate) use self::storage::SELECTED_NODE;
pub use self::storage::attachment;
pub use self::storage::capacity;
pub use self::storage::claim;
pub use self::storage::class;
pub use self::storage::csi_driver;
pub use self::storage::csi_node;
pub use self::storage::volume;

/// A field that makes no sense.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("{object}: {field}: {reason}")]
pub struct Invalid {
    /// Kind and name.
    pub object: String,
    pub field: String,
    pub reason: String,
}

/// A field that makes no sense, before it is known of which object.
#[derive(Debug, PartialEq)]
struct BadField {
    field: String,
    reason: String,
}

impl BadField {
    fn new(field: impl Into<String>, reason: impl fmt::Display) -> BadField {
        BadField { field: field.into(), reason: reason.to_string() }
    }

    /// The same, with the path to it in front.
    fn within(self, outer: &str) -> BadField {
        BadField { field: format!("{outer}.{}", self.field), reason: self.reason }
    }

    fn of(self, kind: &str, meta: &super::wire::Meta) -> Invalid {
        Invalid { object: format!("{kind} {}", meta.address()), field: self.field, reason: self.reason }
    }
}
