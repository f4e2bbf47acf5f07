//! Why a filter rejects a node.

use std::borrow::Cow;
use std::fmt;

/// A filter's rejection of a node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refusal {
    /// What people read.
    pub(crate) reasons: Reasons,
    /// Whether preempting pods may help. If not, kube-scheduler calls it UnschedulableAndUnresolvable.
    pub(crate) resolvable: bool,
}

/// The reasons, in kube-scheduler's words. Most refusals have a static one, which needs no allocation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reasons {
    /// The usual case.
    One(Cow<'static, str>),
    /// For example one per missing resource.
    Several(Vec<Cow<'static, str>>),
}

impl Reasons {
    /// The reasons in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        let reasons = match self {
            Reasons::One(reason) => std::slice::from_ref(reason),
            Reasons::Several(reasons) => reasons,
        };
        reasons.iter().map(AsRef::as_ref)
    }
}

impl Refusal {
    /// A refusal that preemption may resolve.
    pub(crate) fn resolvable(reason: &'static str) -> Refusal {
        Refusal { reasons: Reasons::One(Cow::Borrowed(reason)), resolvable: true }
    }

    /// A refusal because of the node or the pod itself: preemption does not help.
    pub(crate) fn unresolvable(reason: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { reasons: Reasons::One(reason.into()), resolvable: false }
    }
}

/// All reasons, separated by commas.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, reason) in self.reasons.iter().enumerate() {
            write!(f, "{}{reason}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
