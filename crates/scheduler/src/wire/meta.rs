//! Metadata and other types shared by all kinds.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error;
use serde::de::IgnoredAny;
use serde::de::Visitor;

pub(crate) use crate::api::nullable;

/// Labels, annotations, or a map selector.
pub(crate) type StringMap = BTreeMap<String, String>;
/// Quantities by resource name.
pub(crate) type Amounts = BTreeMap<String, Amount>;

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Meta {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "3")]
    pub(crate) namespace: String,
    #[prost(string, tag = "5")]
    pub(crate) uid: String,
    #[prost(string, tag = "6")]
    pub(crate) resource_version: String,
    #[serde(deserialize_with = "nullable")]
    #[prost(btree_map = "string, string", tag = "11")]
    pub(crate) labels: StringMap,
    #[serde(deserialize_with = "nullable")]
    #[prost(btree_map = "string, string", tag = "12")]
    pub(crate) annotations: StringMap,
    #[prost(message, optional, tag = "9")]
    pub(crate) deletion_timestamp: Option<Time>,
    #[prost(message, optional, tag = "8")]
    pub(crate) creation_timestamp: Option<Time>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "13")]
    pub(crate) owner_references: Vec<OwnerReference>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct OwnerReference {
    #[prost(string, tag = "5")]
    pub(crate) api_version: String,
    #[prost(string, tag = "1")]
    pub(crate) kind: String,
    #[prost(string, tag = "3")]
    pub(crate) name: String,
    #[prost(string, tag = "4")]
    pub(crate) uid: String,
    #[prost(bool, optional, tag = "6")]
    pub(crate) controller: Option<bool>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct LabelSelector {
    #[serde(deserialize_with = "nullable")]
    #[prost(btree_map = "string, string", tag = "1")]
    pub(crate) match_labels: StringMap,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "2")]
    pub(crate) match_expressions: Vec<SelectorRequirement>,
}

/// A requirement of a label selector or a node selector.
#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct SelectorRequirement {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(string, tag = "2")]
    pub(crate) operator: String,
    #[serde(deserialize_with = "nullable")]
    #[prost(string, repeated, tag = "3")]
    pub(crate) values: Vec<String>,
}

/// A point in time, to the second.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Time {
    /// Seconds since 1970.
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Time, D::Error> {
        let text = Cow::<str>::deserialize(from)?;
        let at: Timestamp = text.parse().map_err(D::Error::custom)?;
        Ok(Time { seconds: at.as_second() })
    }
}

/// A message of which only the presence matters.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Present {}

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Present, D::Error> {
        IgnoredAny::deserialize(from).map(|_| Present {})
    }
}

/// A quantity's text. JSON allows a number as well.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Amount(#[prost(string, tag = "1")] pub(crate) String);

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Amount, D::Error> {
        struct TextOrNumber;
        impl Visitor<'_> for TextOrNumber {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Amount, E> {
                Ok(Amount(text.to_owned()))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Amount, E> {
                Ok(Amount(number.to_string()))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Amount, E> {
                Ok(Amount(number.to_string()))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Amount, E> {
                Ok(Amount(number.to_string()))
            }
        }
        from.deserialize_any(TextOrNumber)
    }
}

impl Meta {
    /// `namespace/name`, or the name of a cluster-scoped object.
    pub(crate) fn address(&self) -> Cow<'_, str> {
        if self.namespace.is_empty() {
            Cow::Borrowed(&self.name)
        } else {
            Cow::Owned(format!("{}/{}", self.namespace, self.name))
        }
    }

    /// The owner reference with `controller: true`.
    pub(crate) fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|owner| owner.controller == Some(true))
    }
}

/// A condition of a status.
#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(default)]
pub(crate) struct Condition {
    #[serde(rename = "type")]
    #[prost(string, tag = "1")]
    pub(crate) kind: String,
    #[prost(string, tag = "2")]
    pub(crate) status: String,
    #[prost(string, tag = "5")]
    pub(crate) reason: String,
    #[prost(string, tag = "6")]
    pub(crate) message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_null_as_empty_and_numbers_as_quantities() {
        let meta: Meta = serde_json::from_str(r#"{"name":"a","labels":null,"creationTimestamp":null}"#).unwrap();
        assert_eq!(meta.address(), "a");
        let amounts: Amounts = serde_json::from_str(r#"{"cpu":2,"memory":"1Gi","x":0.5}"#).unwrap();
        let texts: Vec<_> = amounts.values().map(|amount| amount.0.as_str()).collect();
        assert_eq!(texts, ["2", "1Gi", "0.5"]);
    }
}
