//! What every kind has.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error;
use serde::de::IgnoredAny;
use serde::de::Visitor;

pub use crate::api::nullable;

/// Labels, annotations, a map selector.
pub type StringMap = BTreeMap<String, String>;
/// Amounts by resource name.
pub type Amounts = BTreeMap<String, Amount>;

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "3")]
    pub namespace: String,
    #[prost(string, tag = "5")]
    pub uid: String,
    #[prost(string, tag = "6")]
    pub resource_version: String,
    #[serde(deserialize_with = "nullable")]
    #[prost(btree_map = "string, string", tag = "11")]
    pub labels: StringMap,
    #[serde(deserialize_with = "nullable")]
    #[prost(btree_map = "string, string", tag = "12")]
    pub annotations: StringMap,
    #[prost(message, optional, tag = "9")]
    pub deletion_timestamp: Option<Time>,
    #[prost(message, optional, tag = "8")]
    pub creation_timestamp: Option<Time>,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "13")]
    pub owner_references: Vec<OwnerReference>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    #[prost(string, tag = "5")]
    pub api_version: String,
    #[prost(string, tag = "1")]
    pub kind: String,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub uid: String,
    #[prost(bool, optional, tag = "6")]
    pub controller: Option<bool>,
}

#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    #[serde(deserialize_with = "nullable")]
    #[prost(btree_map = "string, string", tag = "1")]
    pub match_labels: StringMap,
    #[serde(deserialize_with = "nullable")]
    #[prost(message, repeated, tag = "2")]
    pub match_expressions: Vec<SelectorRequirement>,
}

/// A condition on a label or a field, in label and in node selectors.
#[derive(Clone, PartialEq, Deserialize, prost::Message)]
#[serde(rename_all = "camelCase", default)]
pub struct SelectorRequirement {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub operator: String,
    #[serde(deserialize_with = "nullable")]
    #[prost(string, repeated, tag = "3")]
    pub values: Vec<String>,
}

/// A point in time, to the second.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Time {
    /// Since 1970.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Time, D::Error> {
        let text = Cow::<str>::deserialize(from)?;
        let at: Timestamp = text.parse().map_err(D::Error::custom)?;
        Ok(Time { seconds: at.as_second() })
    }
}

/// Something of which only matters that it is there.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Present {}

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Present, D::Error> {
        IgnoredAny::deserialize(from).map(|_| Present {})
    }
}

/// The text of a quantity, which may come as a number.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Amount(#[prost(string, tag = "1")] pub String);

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
    /// `namespace/name`, or the name of what has no namespace.
    pub fn address(&self) -> Cow<'_, str> {
        if self.namespace.is_empty() {
            Cow::Borrowed(&self.name)
        } else {
            Cow::Owned(format!("{}/{}", self.namespace, self.name))
        }
    }

    /// The owner that made it and looks after it.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|owner| owner.controller == Some(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_null_for_empty_and_numbers_for_quantities() {
        let meta: Meta = serde_json::from_str(r#"{"name":"a","labels":null,"creationTimestamp":null}"#).unwrap();
        assert_eq!(meta.address(), "a");
        let amounts: Amounts = serde_json::from_str(r#"{"cpu":2,"memory":"1Gi","x":0.5}"#).unwrap();
        let texts: Vec<_> = amounts.values().map(|amount| amount.0.as_str()).collect();
        assert_eq!(texts, ["2", "1Gi", "0.5"]);
    }
}
