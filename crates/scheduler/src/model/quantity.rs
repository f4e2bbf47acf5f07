//! Kubernetes' quantities (`100m`, `1.5Gi`, `2e3`), exactly: sums are made before anything is rounded, as the API does.

use std::fmt;
use std::iter::Sum;
use std::ops::Add;

/// Billionths in one.
const NANO: i128 = 1_000_000_000;
/// No quantity is larger than this, in Kubernetes neither.
const MAX: i128 = i64::MAX as i128 * NANO;

/// An amount, in billionths: the finest that Kubernetes keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity(i128);

/// A text that is no quantity.
#[derive(Debug, PartialEq, Eq)]
pub struct NotAQuantity(pub String);

impl fmt::Display for NotAQuantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a quantity, such as 500m, 2 or 1.5Gi", self.0)
    }
}

impl Quantity {
    pub const ZERO: Quantity = Quantity(0);

    /// So many whole ones.
    pub const fn whole(value: i64) -> Quantity {
        Quantity(value as i128 * NANO)
    }

    /// So many thousandths.
    pub const fn thousandths(value: i64) -> Quantity {
        Quantity(value as i128 * (NANO / 1000))
    }

    /// Reads a quantity as the API writes it.
    ///
    /// # Errors
    /// When it has no digits, an unknown suffix, or anything after it.
    pub fn parse(text: &str) -> Result<Quantity, NotAQuantity> {
        read(text).ok_or_else(|| NotAQuantity(text.to_owned()))
    }

    /// In whole ones, rounded up. Larger than what fits is the largest that fits.
    pub fn value(self) -> i64 {
        clamp(div_up(self.0, NANO))
    }

    /// In thousandths, rounded up.
    pub fn milli(self) -> i64 {
        clamp(div_up(self.0, NANO / 1000))
    }
}

impl Add for Quantity {
    type Output = Quantity;

    fn add(self, other: Quantity) -> Quantity {
        Quantity(self.0.saturating_add(other.0))
    }
}

impl Sum for Quantity {
    fn sum<I: Iterator<Item = Quantity>>(amounts: I) -> Quantity {
        amounts.fold(Quantity::ZERO, Add::add)
    }
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// Away from zero, as Kubernetes rounds: who asks for a little gets a little.
fn div_up(value: i128, by: i128) -> i128 {
    let up = if value < 0 { -(by - 1) } else { by - 1 };
    value.saturating_add(up) / by
}

fn read(text: &str) -> Option<Quantity> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let number_end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(number_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let nanos = scaled(whole, fraction, Scale::of(suffix)?).min(MAX);
    Some(Quantity(if negative { -nanos } else { nanos }))
}

/// What a suffix multiplies by.
enum Scale {
    Decimal(i32),
    Binary(u32),
}

impl Scale {
    fn of(suffix: &str) -> Option<Scale> {
        Some(match suffix {
            "n" => Scale::Decimal(-9),
            "u" => Scale::Decimal(-6),
            "m" => Scale::Decimal(-3),
            "" => Scale::Decimal(0),
            "k" => Scale::Decimal(3),
            "M" => Scale::Decimal(6),
            "G" => Scale::Decimal(9),
            "T" => Scale::Decimal(12),
            "P" => Scale::Decimal(15),
            "E" => Scale::Decimal(18),
            "Ki" => Scale::Binary(10),
            "Mi" => Scale::Binary(20),
            "Gi" => Scale::Binary(30),
            "Ti" => Scale::Binary(40),
            "Pi" => Scale::Binary(50),
            "Ei" => Scale::Binary(60),
            exponent => {
                let digits = exponent.strip_prefix(['e', 'E'])?;
                // More is beyond the largest or the smallest amount anyway.
                Scale::Decimal(digits.parse::<i32>().ok()?.clamp(-100, 100))
            }
        })
    }
}

/// `whole.fraction` times the scale in billionths, rounded up, at most [`MAX`].
fn scaled(whole: &str, fraction: &str, scale: Scale) -> i128 {
    // A fraction of 40 digits is finer than a billionth of any suffix; what is cut off only rounds up.
    let kept = &fraction[..fraction.len().min(18)];
    let cut = fraction[kept.len()..].bytes().any(|digit| digit != b'0');
    let digits = whole.trim_start_matches('0');
    if digits.len() + kept.len() > 37 {
        return MAX;
    }
    let Ok(mantissa) = format!("0{digits}{kept}").parse::<i128>() else { return MAX };
    let places = i32::try_from(kept.len()).unwrap_or(i32::MAX);
    let (multiplier, exponent) = match scale {
        Scale::Decimal(exponent) => (1, exponent + 9 - places),
        Scale::Binary(bits) => (1_i128 << bits, 9 - places),
    };
    let Some(amount) = mantissa.checked_mul(multiplier) else { return MAX };
    let rounded = if exponent >= 0 {
        10_i128
            .checked_pow(exponent.unsigned_abs())
            .and_then(|power| amount.checked_mul(power))
            .unwrap_or(if amount == 0 { 0 } else { MAX })
    } else {
        match 10_i128.checked_pow(exponent.unsigned_abs()) {
            Some(power) => div_up(amount, power),
            None => i128::from(amount > 0),
        }
    };
    rounded + i128::from(cut && rounded < MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_suffix() {
        for (text, milli) in [
            ("0", 0),
            ("1", 1000),
            ("100m", 100),
            ("1500u", 2),
            ("1n", 1),
            ("0.5", 500),
            (".5", 500),
            ("5.", 5000),
            ("2k", 2_000_000),
            ("1Ki", 1_024_000),
            ("1.5Gi", 1_610_612_736_000),
            ("1e3", 1_000_000),
            ("1E3", 1_000_000),
            ("12E-1", 1200),
            ("1E", 1_000_000_000_000_000_000_000_i128.min(i64::MAX.into())),
            ("-1", -1000),
            ("+3", 3000),
        ] {
            assert_eq!(Quantity::parse(text).map(Quantity::milli), Ok(clamp(milli)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_quantity() {
        for text in ["", "m", "1x", "1.2.3", "1 Gi", "1Gib", "e3", "--1", "1ee3", "٣"] {
            assert!(Quantity::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rounds_up_only_at_the_end() {
        let small = Quantity::parse("100u").unwrap();
        assert_eq!((small + small).milli(), 1);
        assert_eq!(Quantity::parse("1.0000000001").unwrap().value(), 2);
        assert_eq!(Quantity::parse("100m").unwrap().value(), 1);
    }

    #[test]
    fn keeps_the_largest_when_there_is_more() {
        for text in ["99999999999999999999999999999999999999999", "9e90", "16Ei"] {
            assert_eq!(Quantity::parse(text).unwrap().value(), i64::MAX, "{text}");
        }
        assert_eq!(Quantity::parse("1e-90").unwrap().value(), 1);
        assert_eq!(Quantity::parse("0e90").unwrap().value(), 0);
    }
}
