//! CPU rates, from two samples of the total CPU time.

use std::collections::HashMap;

use parking_lot::Mutex;

/// The shortest time between two samples of a rate, in nanoseconds: the kernel counts in ticks.
const MIN_INTERVAL: i64 = 500_000_000;

/// The last sample of each container and sandbox.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<HashMap<String, Last>>);

#[derive(Debug, Clone, Copy)]
struct Last {
    at: i64,
    used: u64,
    rate: Option<u64>,
}

impl Rates {
    pub(super) fn new() -> Rates {
        Rates::default()
    }

    /// Records that `id` has used `used` nanoseconds in total until `at`, in nanoseconds since 1970. Returns the rate in
    /// nanoseconds per second; `None` after the first sample. A counter that decreased belongs to a new process, and a
    /// clock that was set back gives no interval: both start anew.
    pub(super) fn record(&self, id: &str, at: i64, used: u64) -> Option<u64> {
        let mut known = self.0.lock();
        let first = Last { at, used, rate: None };
        let last = *known.entry(id.to_owned()).or_insert(first);
        let elapsed = at - last.at;
        if used < last.used || elapsed < -MIN_INTERVAL {
            known.insert(id.to_owned(), first);
            return None;
        }
        if elapsed < MIN_INTERVAL {
            return last.rate;
        }
        let rate = u128::from(used - last.used) * 1_000_000_000 / elapsed.unsigned_abs().max(1) as u128;
        let rate = u64::try_from(rate).ok();
        known.insert(id.to_owned(), Last { at, used, rate });
        rate
    }

    /// Drops the samples of all ids for which `exists` is false.
    pub(super) fn retain(&self, exists: impl Fn(&str) -> bool) {
        self.0.lock().retain(|id, _| exists(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn the_rate_is_known_from_the_second_sample_on() {
        let rates = Rates::new();
        assert_eq!(rates.record("a", 0, 100), None);
        assert_eq!(rates.record("a", 2 * SECOND, 1_000_000_100), Some(500_000_000));
        // Too soon for a new rate: the last one.
        assert_eq!(rates.record("a", 2 * SECOND + 5, 1_000_000_105), Some(500_000_000));
        assert_eq!(rates.record("b", 0, 0), None);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_stop_the_rate() {
        let rates = Rates::new();
        rates.record("a", 3600 * SECOND, 0);
        assert_eq!(rates.record("a", 3602 * SECOND, 2_000_000_000), Some(1_000_000_000));
        assert_eq!(rates.record("a", 4 * SECOND, 2_000_000_000), None);
        assert_eq!(rates.record("a", 6 * SECOND, 3_000_000_000), Some(500_000_000));
        // Concurrent calls may record slightly out of order.
        assert_eq!(rates.record("a", 6 * SECOND - 5, 3_000_000_000), Some(500_000_000));
    }

    #[test]
    fn a_restarted_process_starts_anew() {
        let rates = Rates::new();
        rates.record("a", 0, 100);
        assert_eq!(rates.record("a", 2 * SECOND, 50), None);
        assert_eq!(rates.record("a", 3 * SECOND, 50), Some(0));
        rates.retain(|id| id != "a");
        assert_eq!(rates.record("a", 4 * SECOND, 90), None);
    }
}
