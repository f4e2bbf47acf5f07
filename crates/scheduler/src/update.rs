//! News from the API server.

use super::model::Attachment;
use super::model::Budget;
use super::model::Capacity;
use super::model::Claim;
use super::model::Class;
use super::model::CsiDriver;
use super::model::CsiNode;
use super::model::Group;
use super::model::GroupKind;
use super::model::Namespace;
use super::model::Node;
use super::model::Pod;
use super::model::Volume;

/// News of one kind.
#[derive(Debug)]
pub enum Change<T> {
    /// A list begins: everything there is will be put.
    Begin,
    /// There is this, new or changed.
    Put(T),
    /// There was this.
    Gone(T),
    /// The list is complete: what has not been put since it began is gone.
    Complete,
}

/// News of any kind.
#[derive(Debug)]
pub enum Update {
    Pod(Change<Pod>),
    Node(Change<Node>),
    Namespace(Change<Namespace>),
    Claim(Change<Claim>),
    Volume(Change<Volume>),
    Class(Change<Class>),
    CsiNode(Change<CsiNode>),
    CsiDriver(Change<CsiDriver>),
    Capacity(Change<Capacity>),
    Attachment(Change<Attachment>),
    Budget(Change<Budget>),
    Group(GroupKind, Change<Group>),
}
