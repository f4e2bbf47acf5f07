//! Measurements by contender and round, and their statistics.

use std::cell::Cell;
use std::cell::RefCell;
use std::time::Instant;

use serde::Deserialize;
use serde::Serialize;

/// Identifies a series of measurements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Key {
    /// The contender: `dockside`, `containerd`, ...
    pub contender: String,
    /// What is measured, such as an RPC.
    pub measure: String,
    /// `serial` or `parallel`; empty where it does not matter.
    pub mode: String,
    /// The number of pods; 0 where it does not matter.
    pub pods: usize,
}

/// All values of one measurement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Series {
    #[serde(flatten)]
    pub key: Key,
    pub unit: String,
    /// The values of each round.
    pub rounds: Vec<Vec<f64>>,
}

impl Series {
    /// The quantile of all values; the median at 0.5.
    pub(crate) fn at(&self, share: f64) -> f64 {
        quantile(&self.rounds.concat(), share)
    }

    /// The lowest and the highest of the rounds' medians.
    pub(crate) fn spread(&self) -> (f64, f64) {
        let medians: Vec<f64> =
            self.rounds.iter().filter(|values| !values.is_empty()).map(|values| quantile(values, 0.5)).collect();
        (quantile(&medians, 0.0), quantile(&medians, 1.0))
    }

    /// The number of values.
    pub(crate) fn count(&self) -> usize {
        self.rounds.iter().map(Vec::len).sum()
    }
}

fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}

/// The measurements of one contender under this name, if there are any.
pub(crate) fn find<'a>(
    series: &'a [Series],
    contender: &str,
    measure: &str,
    mode: &str,
    pods: usize,
) -> Option<&'a Series> {
    series.iter().find(|series| {
        let key = &series.key;
        key.contender == contender && key.measure == measure && key.mode == mode && key.pods == pods
    })
}

/// Records the measurements of one contender in one round.
pub(crate) struct Recorder<'a> {
    book: &'a RefCell<Vec<Series>>,
    contender: &'a str,
    round: usize,
    mode: Cell<&'static str>,
    pods: Cell<usize>,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(book: &'a RefCell<Vec<Series>>, contender: &'a str, round: usize) -> Recorder<'a> {
        Recorder { book, contender, round, mode: Cell::new(""), pods: Cell::new(0) }
    }

    /// Sets the mode and number of pods of the measurements that follow.
    pub(crate) fn set_context(&self, mode: &'static str, pods: usize) {
        self.mode.set(mode);
        self.pods.set(pods);
    }

    /// Records how long a call takes, in milliseconds. A failed call is not recorded.
    pub(crate) async fn time<T, E>(&self, measure: &str, call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let began = Instant::now();
        let answer = call.await?;
        self.record(measure, "ms", began.elapsed().as_secs_f64() * 1000.0);
        Ok(answer)
    }

    /// Records a value.
    pub(crate) fn record(&self, measure: &str, unit: &str, value: f64) {
        let key = Key {
            contender: self.contender.to_owned(),
            measure: measure.to_owned(),
            mode: self.mode.get().to_owned(),
            pods: self.pods.get(),
        };
        let mut book = self.book.borrow_mut();
        let place = book.iter().position(|series| series.key == key).unwrap_or_else(|| {
            book.push(Series { key, unit: unit.to_owned(), rounds: Vec::new() });
            book.len() - 1
        });
        let rounds = &mut book[place].rounds;
        if rounds.len() <= self.round {
            rounds.resize(self.round + 1, Vec::new());
        }
        // More digits than microseconds would only enlarge the file.
        rounds[self.round].push((value * 1000.0).round() / 1000.0);
    }
}
