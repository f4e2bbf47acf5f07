//! Kubernetes' quantities (`100m`, `1.5Gi`, `2e3`), exact to a billionth: sums are made before anything is rounded, as the
//! Kubernetes API does.
//!
//! The rules are those of `resource.Quantity` in k8s.io/apimachinery: a sign, digits with an optional point, and one suffix
//! (`n u m k M G T P E`, `Ki Mi Gi Ti Pi Ei`, or an exponent such as `e3`). What is finer than a billionth is rounded away
//! from zero.

#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use std::error::Error;
use std::fmt;
use std::iter::Sum;
use std::ops::Add;
use std::str::FromStr;

/// Billionths in one unit.
const NANO: i128 = 1_000_000_000;
/// The largest quantity, in billionths. The API server caps at 2^63 - 1 units, too.
const MAX: i128 = i64::MAX as i128 * NANO;
/// Digits after the point that are kept; any beyond them only round up.
const MAX_FRACTION_DIGITS: usize = 18;
/// Digits that an `i128` holds whatever they are.
const MAX_DIGITS: usize = 37;

/// An amount of something: processors, bytes, pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity {
    billionths: i128,
}

/// Why a text could not be read as a quantity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// It has no digits, an unknown suffix, or anything after it.
    Syntax(String),
    /// It is more than 2^63 - 1 units, or less than the negative of that. From [`Quantity::parse_exact`] alone.
    TooLarge(String),
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParseError::Syntax(text) => write!(f, "{text:?} is not a quantity, such as 500m, 2 or 1.5Gi"),
            ParseError::TooLarge(text) => write!(f, "{text:?} is more than the largest quantity, 2^63 - 1"),
        }
    }
}

impl Error for ParseError {}

impl Quantity {
    /// Nothing.
    pub const ZERO: Quantity = Quantity { billionths: 0 };

    /// The quantity of `value` units.
    pub const fn whole(value: i64) -> Quantity {
        Quantity { billionths: value as i128 * NANO }
    }

    /// The quantity of `value` thousandths of a unit.
    pub const fn thousandths(value: i64) -> Quantity {
        Quantity { billionths: value as i128 * (NANO / 1000) }
    }

    /// Reads a quantity as the API server does: an amount beyond ±(2^63 - 1) units becomes that limit.
    ///
    /// # Errors
    /// [`ParseError::Syntax`].
    pub fn parse(text: &str) -> Result<Quantity, ParseError> {
        match Quantity::parse_exact(text) {
            Err(ParseError::TooLarge(text)) if text.starts_with('-') => Ok(Quantity { billionths: -MAX }),
            Err(ParseError::TooLarge(_)) => Ok(Quantity { billionths: MAX }),
            other => other,
        }
    }

    /// Reads a quantity that has to be at most 2^63 - 1 units.
    ///
    /// # Errors
    /// Either [`ParseError`].
    pub fn parse_exact(text: &str) -> Result<Quantity, ParseError> {
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let number = Number::split(unsigned).ok_or_else(|| ParseError::Syntax(text.to_owned()))?;
        let billionths = number.billionths().ok_or_else(|| ParseError::TooLarge(text.to_owned()))?;
        Ok(Quantity { billionths: if negative { -billionths } else { billionths } })
    }

    /// Whole units, rounded away from zero; more than an `i64` holds becomes its limit.
    pub fn value(self) -> i64 {
        clamp(div_away_from_zero(self.billionths, NANO))
    }

    /// Thousandths of a unit, rounded away from zero; more than an `i64` holds becomes its limit.
    pub fn milli(self) -> i64 {
        clamp(div_away_from_zero(self.billionths, NANO / 1000))
    }

    /// Whether it is exactly zero.
    pub fn is_zero(self) -> bool {
        self == Quantity::ZERO
    }
}

impl FromStr for Quantity {
    type Err = ParseError;

    /// [`Quantity::parse`].
    fn from_str(text: &str) -> Result<Quantity, ParseError> {
        Quantity::parse(text)
    }
}

impl Add for Quantity {
    type Output = Quantity;

    fn add(self, other: Quantity) -> Quantity {
        Quantity { billionths: self.billionths.saturating_add(other.billionths) }
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

fn div_away_from_zero(value: i128, by: i128) -> i128 {
    let up = if value < 0 { -(by - 1) } else { by - 1 };
    value.saturating_add(up) / by
}

/// The parts of a quantity without its sign.
struct Number<'a> {
    /// Digits before the point.
    whole: &'a str,
    /// Digits after it.
    fraction: &'a str,
    scale: Scale,
}

/// What a suffix multiplies by.
enum Scale {
    /// A power of ten.
    Decimal(i32),
    /// A power of two.
    Binary(u32),
}

impl Number<'_> {
    fn split(unsigned: &str) -> Option<Number<'_>> {
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        Some(Number { whole, fraction, scale: Scale::of(suffix)? })
    }

    /// The amount in billionths, rounded up; none if it is more than [`MAX`].
    fn billionths(&self) -> Option<i128> {
        let (kept, cut) = self.fraction.split_at(self.fraction.len().min(MAX_FRACTION_DIGITS));
        let digits = self.whole.trim_start_matches('0');
        if digits.len() + kept.len() > MAX_DIGITS {
            return None;
        }
        let mantissa: i128 = format!("0{digits}{kept}").parse().ok()?;
        let places = i32::try_from(kept.len()).ok()?;
        let (multiplier, exponent) = match self.scale {
            Scale::Decimal(exponent) => (1, exponent + 9 - places),
            Scale::Binary(bits) => (1_i128 << bits, 9 - places),
        };
        let amount = mantissa.checked_mul(multiplier)?;
        let rounded = match (10_i128.checked_pow(exponent.unsigned_abs()), exponent >= 0) {
            (Some(power), true) => amount.checked_mul(power)?,
            (None, true) if amount == 0 => 0,
            (None, true) => return None,
            (Some(power), false) => div_away_from_zero(amount, power),
            (None, false) => i128::from(amount > 0),
        };
        let more = cut.bytes().any(|digit| digit != b'0');
        rounded.checked_add(i128::from(more)).filter(|amount| *amount <= MAX)
    }
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
                // Larger exponents are beyond the largest and the smallest amount anyway.
                Scale::Decimal(digits.parse::<i32>().ok()?.clamp(-100, 100))
            }
        })
    }
}

/// Tests the example in the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
