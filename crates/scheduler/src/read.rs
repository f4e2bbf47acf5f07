//! Converts wire types (`wire`) to the scheduler's model (`model`).
//!
//! Each function converts one object. Fields that the API server would not accept are errors that name the object and
//! the field. Unknown values in a valid object are either harmless or make the pod unschedulable; they are never
//! ignored silently.

mod affinity;
mod node;
mod pod;
mod policy;
mod resources;
mod selector;
mod storage;

use std::fmt;

pub(crate) use self::node::node;
pub(crate) use self::pod::pod;
pub(crate) use self::policy::budget;
pub(crate) use self::policy::group;
pub(crate) use self::policy::namespace;
pub(crate) use self::policy::service;
pub(crate) use self::storage::SELECTED_NODE;
pub(crate) use self::storage::attachment;
pub(crate) use self::storage::capacity;
pub(crate) use self::storage::claim;
pub(crate) use self::storage::class;
pub(crate) use self::storage::csi_driver;
pub(crate) use self::storage::csi_node;
pub(crate) use self::storage::volume;

/// A field with an invalid value.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("{object}: {field}: {reason}")]
pub(crate) struct Invalid {
    /// Kind and name.
    pub(crate) object: String,
    /// The path of the field.
    pub(crate) field: String,
    /// What is wrong with it.
    pub(crate) reason: String,
}

/// An invalid field, before its object is known.
#[derive(Debug, PartialEq)]
struct BadField {
    field: String,
    reason: String,
}

impl BadField {
    fn new(field: impl Into<String>, reason: impl fmt::Display) -> BadField {
        BadField { field: field.into(), reason: reason.to_string() }
    }

    /// Prepends the path of the enclosing field.
    fn within(self, outer: &str) -> BadField {
        BadField { field: format!("{outer}.{}", self.field), reason: self.reason }
    }

    fn of(self, kind: &str, meta: &super::wire::Meta) -> Invalid {
        Invalid { object: format!("{kind} {}", meta.address()), field: self.field, reason: self.reason }
    }
}
