//! The wall clock.

use jiff::Timestamp;

/// The time now, in nanoseconds since 1970: the unit of the CRI and of the records.
pub(crate) fn now_ns() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}
