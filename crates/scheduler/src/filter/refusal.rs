//! Why a node is refused.

use std::borrow::Cow;
use std::fmt;

/// What a filter says against a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    pub reasons: Reasons,
    /// Whether it could help if other pods went away.
    pub curable: bool,
}

/// The reasons, in kube-scheduler's words. Most refusals have one, which costs no memory.
#[derive(Clone, Debug, PartialEq)]
pub enum Reasons {
    One(Cow<'static, str>),
    Several(Vec<Cow<'static, str>>),
}

impl Reasons {
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let reasons = match self {
            Reasons::One(reason) => std::slice::from_ref(reason),
            Reasons::Several(reasons) => reasons,
        };
        reasons.iter().map(AsRef::as_ref)
    }
}

impl Refusal {
    /// A refusal that can end when other pods go away.
    pub fn curable(reason: &'static str) -> Refusal {
        Refusal { reasons: Reasons::One(Cow::Borrowed(reason)), curable: true }
    }

    /// A refusal about the node or the pod itself.
    pub fn lasting(reason: &'static str) -> Refusal {
        Refusal { reasons: Reasons::One(Cow::Borrowed(reason)), curable: false }
    }

    /// A lasting refusal that names something.
    pub fn told(reason: String) -> Refusal {
        Refusal { reasons: Reasons::One(Cow::Owned(reason)), curable: false }
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
