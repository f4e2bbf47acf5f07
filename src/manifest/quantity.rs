//! Quantities in a manifest. They are stricter than Kubernetes' in general: not negative, and at most 2^63 - 1, which is
//! what the CRI's fields hold.

use kubernetes_quantity::Quantity;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error as _;
use serde_json::Value;

/// A field that may be absent or null.
pub(super) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Quantity>, D::Error> {
    let text = match Option::<Value>::deserialize(deserializer)? {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text,
        // YAML reads `cpu: 1` and `cpu: 0.5` as numbers.
        Some(Value::Number(number)) => number.to_string(),
        Some(_) => return Err(D::Error::custom("a quantity is needed, such as 100m, 0.5 or 128Mi")),
    };
    parse(&text).map(Some).map_err(D::Error::custom)
}

fn parse(text: &str) -> Result<Quantity, String> {
    let quantity = Quantity::parse_exact(text).ok().filter(|_| !text.starts_with('-'));
    quantity.ok_or_else(|| format!("`{text}` is not a quantity such as 100m, 0.5 or 128Mi"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<Option<Quantity>, serde_yaml_ng::Error> {
        optional(serde_yaml_ng::Deserializer::from_str(yaml))
    }

    #[test]
    fn quantities_that_no_field_of_the_cri_holds_are_refused() {
        for text in ["", "-1", "-0", "9Ei", "1e99", "9223372036854775808", "lots"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse("7Ei").map(Quantity::value), Ok(7 << 60));
        assert_eq!(parse("9223372036854775807").map(Quantity::value), Ok(i64::MAX));
    }

    #[test]
    fn numbers_of_yaml_are_quantities_too() {
        for (yaml, milli) in [("1", 1000), ("0.25", 250), ("'250m'", 250), ("2e3", 2_000_000)] {
            assert_eq!(read(yaml).unwrap().map(Quantity::milli), Some(milli), "{yaml}");
        }
        assert!(read("true").is_err());
        assert!(read("-1").is_err());
        assert_eq!(read("null").unwrap(), None);
    }
}
