//! What the scheduler thinks in: pods, nodes, volumes and policies, reduced to what a decision depends on.
//!
//! `read` makes these values from what the API server sends; `cluster` keeps them; filters and scores look at them.
//! They never change: whoever learns something new makes a new one. Selectors are compiled, amounts are whole numbers,
//! and strings and pod shapes that many have are kept once (see [`Intern`]).

mod affinity;
mod intern;
mod labels;
mod node;
mod pod;
mod policy;
mod resources;
mod storage;

pub use self::affinity::NodeSelector;
pub use self::affinity::NodeTerm;
pub use self::affinity::PodTerm;
pub use self::affinity::Spread;
pub use self::affinity::node_matches;
pub use self::intern::Intern;
pub use self::labels::Labels;
pub use self::labels::Requirement;
pub use self::labels::Selector;
pub use self::labels::Test;
pub use self::node::Effect;
pub use self::node::Node;
pub use self::node::Taint;
pub use self::node::Toleration;
pub use self::node::TolerationValue;
pub use self::node::forbidding;
pub use self::pod::ClaimRef;
pub use self::pod::Disk;
pub use self::pod::HostPort;
pub use self::pod::Owner;
pub use self::pod::OwnerKind;
pub use self::pod::Pod;
pub use self::pod::Rough;
pub use self::pod::Shape;
pub use self::pod::Standing;
pub use self::policy::Budget;
pub use self::policy::Group;
pub use self::policy::GroupKind;
pub use self::policy::Namespace;
pub use self::resources::Named;
pub use self::resources::Resources;
pub use self::resources::Total;
pub use self::resources::Totals;
pub use self::storage::AccessModes;
pub use self::storage::Attachment;
pub use self::storage::BoundClaim;
pub use self::storage::Capacity;
pub use self::storage::Claim;
pub use self::storage::Class;
pub use self::storage::CsiDriver;
pub use self::storage::CsiNode;
pub use self::storage::InTree;
pub use self::storage::Source;
pub use self::storage::TopologyRequirement;
pub use self::storage::Volume;
