//! Nodes, as far as scheduling depends on them.

use std::sync::Arc;

use super::labels::Labels;
use super::resources::Resources;

/// A node, without its pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Node {
    /// `metadata.name`.
    pub(crate) name: Arc<str>,
    /// `metadata.labels`.
    pub(crate) labels: Labels,
    /// `spec.taints`.
    pub(crate) taints: Box<[Taint]>,
    /// Cordoned (`spec.unschedulable`).
    pub(crate) unschedulable: bool,
    /// What pods may request in total.
    pub(crate) allocatable: Resources,
    /// The most pods that may run here.
    pub(crate) max_pods: i64,
    /// Every name of every image on the node, with its size in bytes.
    pub(crate) images: Box<[(Arc<str>, i64)]>,
    /// The Ready condition, for display only: taints keep pods away from a node that is not ready.
    pub(crate) ready: bool,
}

/// A taint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Taint {
    /// The key.
    pub(crate) key: Arc<str>,
    /// The value; may be empty.
    pub(crate) value: Arc<str>,
    /// What it does to pods without a matching toleration.
    pub(crate) effect: Effect,
}

impl std::fmt::Display for Taint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Taint { key, value, effect } = self;
        let equals = if value.is_empty() { "" } else { "=" };
        write!(f, "{key}{equals}{value}:{}", effect.as_str())
    }
}

/// The effect of a taint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Effect {
    /// Such pods are not scheduled here.
    NoSchedule,
    /// Such pods are scheduled elsewhere if possible.
    PreferNoSchedule,
    /// Such pods are not scheduled here, and evicted.
    NoExecute,
}

impl Effect {
    /// The effect with this name in the API.
    pub(crate) fn named(name: &str) -> Option<Effect> {
        [Effect::NoSchedule, Effect::PreferNoSchedule, Effect::NoExecute]
            .into_iter()
            .find(|known| known.as_str() == name)
    }

    /// The name in the API.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Effect::NoSchedule => "NoSchedule",
            Effect::PreferNoSchedule => "PreferNoSchedule",
            Effect::NoExecute => "NoExecute",
        }
    }

    /// Whether an untolerated taint with this effect rejects the node.
    pub(crate) fn forbids(self) -> bool {
        self != Effect::PreferNoSchedule
    }
}

/// A toleration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Toleration {
    /// Empty: every key.
    pub(crate) key: Arc<str>,
    /// The values it tolerates.
    pub(crate) value: TolerationValue,
    /// `None`: every effect.
    pub(crate) effect: Option<Effect>,
}

/// The taint values a toleration matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TolerationValue {
    /// Operator Exists: every value.
    Any,
    /// Operator Equal: this value.
    Equal(Arc<str>),
    /// An unknown operator or effect: the toleration matches no taint.
    Unknown,
}

impl Toleration {
    /// Whether it matches a taint.
    pub(crate) fn tolerates(&self, taint: &Taint) -> bool {
        let value = match &self.value {
            TolerationValue::Any => true,
            TolerationValue::Equal(value) => *value == taint.value,
            TolerationValue::Unknown => false,
        };
        value
            && self.effect.is_none_or(|effect| effect == taint.effect)
            && (self.key.is_empty() || self.key == taint.key)
    }
}

/// The first NoSchedule or NoExecute taint that none of the tolerations matches.
pub(crate) fn find_untolerated_taint<'a>(taints: &'a [Taint], tolerations: &[Toleration]) -> Option<&'a Taint> {
    let tolerated = |taint: &Taint| tolerations.iter().any(|toleration| toleration.tolerates(taint));
    taints.iter().find(|taint| taint.effect.forbids() && !tolerated(taint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_match_by_key_value_and_effect() {
        let taint = Taint { key: Arc::from("team"), value: Arc::from("a"), effect: Effect::NoSchedule };
        let equal = |value: &str| TolerationValue::Equal(Arc::from(value));
        for (key, value, effect, tolerates) in [
            ("team", equal("a"), None, true),
            ("team", equal("b"), None, false),
            ("team", TolerationValue::Any, Some(Effect::NoSchedule), true),
            ("team", TolerationValue::Any, Some(Effect::NoExecute), false),
            ("", TolerationValue::Any, None, true),
            ("other", TolerationValue::Any, None, false),
            ("team", TolerationValue::Unknown, None, false),
        ] {
            let toleration = Toleration { key: Arc::from(key), value, effect };
            assert_eq!(toleration.tolerates(&taint), tolerates, "{toleration:?}");
        }
    }

    #[test]
    fn a_prefer_no_schedule_taint_rejects_nothing() {
        let taint = Taint { key: Arc::from("k"), value: Arc::from(""), effect: Effect::PreferNoSchedule };
        assert_eq!(find_untolerated_taint(&[taint], &[]), None);
    }
}
