//! The scheduler's data model: pods, nodes, volumes and policies, reduced to what a decision depends on.
//!
//! `read` makes these values from wire types, `cluster` stores them, filters and scores use them. They are immutable:
//! an update is a new value. Selectors are compiled, amounts are integers, and strings and pod shapes that many objects
//! share are stored once (see [`Intern`]).

mod affinity;
mod intern;
mod labels;
mod node;
mod pod;
mod policy;
mod resources;
mod storage;

pub(crate) use self::affinity::NodeSelector;
pub(crate) use self::affinity::NodeTerm;
pub(crate) use self::affinity::PodTerm;
pub(crate) use self::affinity::Spread;
pub(crate) use self::intern::Intern;
pub(crate) use self::labels::Labels;
pub(crate) use self::labels::Operator;
pub(crate) use self::labels::Requirement;
pub(crate) use self::labels::Selector;
pub(crate) use self::node::Effect;
pub(crate) use self::node::Node;
pub(crate) use self::node::Taint;
pub(crate) use self::node::Toleration;
pub(crate) use self::node::TolerationValue;
pub(crate) use self::node::find_untolerated_taint;
pub(crate) use self::pod::ClaimRef;
pub(crate) use self::pod::Disk;
pub(crate) use self::pod::HostPort;
pub(crate) use self::pod::NonZeroRequests;
pub(crate) use self::pod::Owner;
pub(crate) use self::pod::OwnerKind;
pub(crate) use self::pod::PendingState;
pub(crate) use self::pod::Pod;
pub(crate) use self::pod::Shape;
pub(crate) use self::pod::node_matches;
pub(crate) use self::policy::Budget;
pub(crate) use self::policy::Group;
pub(crate) use self::policy::GroupKind;
pub(crate) use self::policy::Namespace;

pub(crate) use self::resources::Resources;
pub(crate) use self::resources::Total;
pub(crate) use self::resources::Totals;
pub(crate) use self::storage::AccessModes;
pub(crate) use self::storage::Attachment;
pub(crate) use self::storage::BoundClaim;
pub(crate) use self::storage::Capacity;
pub(crate) use self::storage::Claim;
pub(crate) use self::storage::Class;
pub(crate) use self::storage::CsiDriver;
pub(crate) use self::storage::CsiNode;
pub(crate) use self::storage::InTree;
pub(crate) use self::storage::Source;

pub(crate) use self::storage::Volume;
