//! Kubernetes' quantities: numbers such as `100m`, `1.5`, `128Mi` or `1e3`.

use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error as _;

/// A quantity that is not negative, exact to a billionth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity {
    billionths: i128,
}

/// The largest quantity that is useful: more bytes than this do not fit the CRI's fields.
const MAX: i128 = (i64::MAX as i128) * ONE;
const ONE: i128 = 1_000_000_000;

impl Quantity {
    /// Whole units, rounded up: bytes of memory.
    pub fn value(self) -> i64 {
        self.in_units_of(ONE)
    }

    /// Thousandths, rounded up: of a processor.
    pub fn milli(self) -> i64 {
        self.in_units_of(ONE / 1000)
    }

    /// Whether it is nothing.
    pub fn is_zero(self) -> bool {
        self.billionths == 0
    }

    fn in_units_of(self, unit: i128) -> i64 {
        i64::try_from(self.billionths.div_euclid(unit) + i128::from(self.billionths % unit != 0)).unwrap_or(i64::MAX)
    }
}

/// What one unit of each suffix is, as a fraction: numerator and denominator.
fn suffix(text: &str) -> Option<(i128, i128)> {
    Some(match text {
        "n" => (1, ONE),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "" => (1, 1),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => return exponent(text),
    })
}

/// `e3`, `E-2`. No more than 18 places, which is what the largest suffix moves.
fn exponent(text: &str) -> Option<(i128, i128)> {
    let places: i32 = text.strip_prefix(['e', 'E'])?.parse().ok()?;
    let factor = 10_i128.checked_pow(places.unsigned_abs()).filter(|_| places.abs() <= 18)?;
    Some(if places < 0 { (1, factor) } else { (factor, 1) })
}

impl FromStr for Quantity {
    type Err = String;

    fn from_str(text: &str) -> Result<Quantity, String> {
        read(text).ok_or_else(|| format!("`{text}` is not a quantity such as 100m, 0.5 or 128Mi"))
    }
}

fn read(text: &str) -> Option<Quantity> {
    let number = text.strip_prefix('+').unwrap_or(text);
    let end = number.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(number.len());
    let (digits, unit) = number.split_at(end);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    // A second point stays in the fraction, which then does not parse.
    if whole.is_empty() && fraction.is_empty() || whole.len() + fraction.len() > 30 {
        return None;
    }
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (numerator, denominator) = suffix(unit)?;
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?.checked_mul(denominator)?;
    let scaled = mantissa.checked_mul(numerator)?;
    // Multiplied in two parts, so that an exabyte does not overflow on the way.
    let (quotient, rest) = (scaled / scale, scaled % scale);
    let small = rest.checked_mul(ONE)?;
    let billionths = quotient.checked_mul(ONE)? + small / scale + i128::from(small % scale != 0);
    (billionths <= MAX).then_some(Quantity { billionths })
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Quantity, D::Error> {
        // YAML reads `cpu: 1` and `cpu: 0.5` as numbers.
        let text = match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => text,
            serde_json::Value::Number(number) => number.to_string(),
            _ => return Err(D::Error::custom("a quantity is needed, such as 100m, 0.5 or 128Mi")),
        };
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_read() {
        for (text, milli, value) in [
            ("0", 0, 0),
            ("1", 1000, 1),
            ("+2", 2000, 2),
            ("100m", 100, 1),
            ("0.1", 100, 1),
            (".5", 500, 1),
            ("5.", 5000, 5),
            ("1500m", 1500, 2),
            ("1u", 1, 1),
            ("1n", 1, 1),
            ("0.0000000001", 1, 1),
            ("1k", 1_000_000, 1000),
            ("1Ki", 1_024_000, 1024),
            ("1.5Ki", 1_536_000, 1536),
            ("128Mi", 134_217_728_000, 134_217_728),
            ("129M", 129_000_000_000, 129_000_000),
            ("1e3", 1_000_000, 1000),
            ("1E3", 1_000_000, 1000),
            ("12e-1", 1200, 2),
            ("1E", i64::MAX, 1_000_000_000_000_000_000),
            ("7Ei", i64::MAX, 7 << 60),
        ] {
            let quantity: Quantity = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((quantity.milli(), quantity.value()), (milli, value), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "-1", "1,5", "1.2.3", "Mi", ".", "1mi", "1 Mi", "1KI", "1e", "1e99", "9Ei", "inf", "0x10"] {
            assert!(text.parse::<Quantity>().is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_of_yaml_are_quantities_too() {
        for (yaml, milli) in [("1", 1000), ("0.25", 250), ("'250m'", 250), ("2e3", 2_000_000)] {
            assert_eq!(serde_yaml_ng::from_str::<Quantity>(yaml).unwrap().milli(), milli, "{yaml}");
        }
        assert!(serde_yaml_ng::from_str::<Quantity>("true").is_err());
    }

    #[test]
    fn quantities_compare_by_what_they_are_worth() {
        let of = |text: &str| text.parse::<Quantity>().unwrap();
        assert_eq!(of("1000m"), of("1"));
        assert!(of("1Ki") > of("1k"));
        assert!(of("0").is_zero());
    }
}
