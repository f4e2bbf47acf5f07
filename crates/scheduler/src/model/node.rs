//! What a scheduler has to know of a node.

use std::sync::Arc;

use super::labels::Labels;
use super::resources::Resources;

/// A node, without what runs on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    pub name: Arc<str>,
    pub labels: Labels,
    pub taints: Box<[Taint]>,
    pub unschedulable: bool,
    pub allocatable: Resources,
    /// How many pods may run here.
    pub max_pods: i64,
    /// Every name of every image that is here, with its size in bytes.
    pub images: Box<[(Arc<str>, i64)]>,
    /// Whether the kubelet says it is ready. Only people look at this: the taints keep pods away.
    pub ready: bool,
}

/// What keeps pods away from a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Taint {
    pub key: Arc<str>,
    pub value: Arc<str>,
    pub effect: Effect,
}

impl std::fmt::Display for Taint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Taint { key, value, effect } = self;
        let equals = if value.is_empty() { "" } else { "=" };
        write!(f, "{key}{equals}{value}:{}", effect.as_str())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

impl Effect {
    /// The effect of this name in the API.
    pub fn named(name: &str) -> Option<Effect> {
        [Effect::NoSchedule, Effect::PreferNoSchedule, Effect::NoExecute]
            .into_iter()
            .find(|known| known.as_str() == name)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Effect::NoSchedule => "NoSchedule",
            Effect::PreferNoSchedule => "PreferNoSchedule",
            Effect::NoExecute => "NoExecute",
        }
    }

    /// Whether an untolerated taint with this effect forbids the node.
    pub fn forbids(self) -> bool {
        self != Effect::PreferNoSchedule
    }
}

/// What lets a pod onto tainted nodes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Toleration {
    /// Empty: every key.
    pub key: Arc<str>,
    pub value: TolerationValue,
    /// `None`: every effect.
    pub effect: Option<Effect>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TolerationValue {
    Any,
    Equal(Arc<str>),
    /// An operator or an effect that this scheduler does not know: it tolerates nothing.
    Unknown,
}

impl Toleration {
    pub fn tolerates(&self, taint: &Taint) -> bool {
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

/// The first taint that forbids the node to a pod with these tolerations.
pub fn forbidding<'a>(taints: &'a [Taint], tolerations: &[Toleration]) -> Option<&'a Taint> {
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
    fn a_preference_forbids_nothing() {
        let taint = Taint { key: Arc::from("k"), value: Arc::from(""), effect: Effect::PreferNoSchedule };
        assert_eq!(forbidding(&[taint], &[]), None);
    }
}
