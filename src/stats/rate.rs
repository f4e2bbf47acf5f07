//! How much processor time is used at present: from two samples of what was used in all.

use std::collections::HashMap;

use parking_lot::Mutex;

/// Samples that are closer together than this say little, in nanoseconds: the kernel counts in ticks.
const SHORTEST: i64 = 500_000_000;

/// The last samples.
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

    /// Notes that `id` has used so many nanoseconds until `at`; returns its use in nanoseconds per second, when it is
    /// known. A counter that went back is that of a new process, and a clock that did says nothing of the time between.
    pub(super) fn note(&self, id: &str, at: i64, used: u64) -> Option<u64> {
        let mut known = self.0.lock();
        let first = Last { at, used, rate: None };
        let last = *known.entry(id.to_owned()).or_insert(first);
        let elapsed = at - last.at;
        if used < last.used || elapsed < -SHORTEST {
            known.insert(id.to_owned(), first);
            return None;
        }
        if elapsed < SHORTEST {
            return last.rate;
        }
        let rate = u128::from(used - last.used) * 1_000_000_000 / elapsed.unsigned_abs().max(1) as u128;
        let rate = u64::try_from(rate).ok();
        known.insert(id.to_owned(), Last { at, used, rate });
        rate
    }

    /// Forgets what is not to be kept.
    pub(super) fn keep(&self, wanted: impl Fn(&str) -> bool) {
        self.0.lock().retain(|id, _| wanted(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn the_rate_is_known_from_the_second_sample_on() {
        let rates = Rates::new();
        assert_eq!(rates.note("a", 0, 100), None);
        assert_eq!(rates.note("a", 2 * SECOND, 1_000_000_100), Some(500_000_000));
        // Asked again at once, it is the same.
        assert_eq!(rates.note("a", 2 * SECOND + 5, 1_000_000_105), Some(500_000_000));
        assert_eq!(rates.note("b", 0, 0), None);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_stop_the_rate() {
        let rates = Rates::new();
        rates.note("a", 3600 * SECOND, 0);
        assert_eq!(rates.note("a", 3602 * SECOND, 2_000_000_000), Some(1_000_000_000));
        assert_eq!(rates.note("a", 4 * SECOND, 2_000_000_000), None);
        assert_eq!(rates.note("a", 6 * SECOND, 3_000_000_000), Some(500_000_000));
        // Two that look at the same time are no reason to begin anew.
        assert_eq!(rates.note("a", 6 * SECOND - 5, 3_000_000_000), Some(500_000_000));
    }

    #[test]
    fn a_restarted_process_begins_anew() {
        let rates = Rates::new();
        rates.note("a", 0, 100);
        assert_eq!(rates.note("a", 2 * SECOND, 50), None);
        assert_eq!(rates.note("a", 3 * SECOND, 50), Some(0));
        rates.keep(|id| id != "a");
        assert_eq!(rates.note("a", 4 * SECOND, 90), None);
    }
}
