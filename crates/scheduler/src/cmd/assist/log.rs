//! What came of the last bindings, and what else was to be told: a line each, the newest last.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;

use super::steps::Step;
use super::text::one_line;

/// Older lines are dropped.
const MOST_LINES: usize = 100;

#[derive(Default)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
}

enum Entry {
    Binding(Binding),
    Note(String),
}

/// A binding and what became of it, on one line.
struct Binding {
    uid: Arc<str>,
    pod: String,
    node: Arc<str>,
    steps: Vec<Step>,
    ordered: Timestamp,
    last: Timestamp,
}

/// A line in two parts: a name that may be cut, and what must be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LogLine {
    pub(super) name: String,
    pub(super) told: String,
}

impl Log {
    pub(super) fn ordered(&mut self, uid: &Arc<str>, pod: String, node: &Arc<str>, now: Timestamp) {
        let (uid, node) = (uid.clone(), node.clone());
        self.push(Entry::Binding(Binding { uid, pod, node, steps: Vec::new(), ordered: now, last: now }));
    }

    pub(super) fn step(&mut self, uid: &str, step: Step, now: Timestamp) {
        let bindings = self.entries.iter_mut().filter_map(|entry| match entry {
            Entry::Binding(binding) => Some(binding),
            Entry::Note(_) => None,
        });
        if let Some(binding) = bindings.rev().find(|binding| *binding.uid == *uid) {
            binding.steps.push(step);
            binding.last = now;
        }
    }

    /// Takes a note. Of several in a row only the last is kept: they must not push the bindings out of sight.
    pub(super) fn note(&mut self, note: &str) {
        if let Some(Entry::Note(_)) = self.entries.back() {
            self.entries.pop_back();
        }
        self.push(Entry::Note(one_line(note)));
    }

    fn push(&mut self, entry: Entry) {
        if self.entries.len() == MOST_LINES {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// The last lines, at most so many.
    pub(super) fn last(&self, number: usize) -> Vec<LogLine> {
        self.entries.iter().skip(self.entries.len().saturating_sub(number)).map(Entry::line).collect()
    }
}

impl Entry {
    fn line(&self) -> LogLine {
        match self {
            Entry::Note(note) => LogLine { name: String::new(), told: note.clone() },
            Entry::Binding(binding) => {
                LogLine { name: binding.pod.clone(), told: format!(" -> {}: {}", binding.node, binding.told()) }
            }
        }
    }
}

impl Binding {
    /// The steps so far, and how long they took. After a trouble only that is told: it is what has to be read.
    fn told(&self) -> String {
        let Some(last) = self.steps.last() else { return "binding...".to_owned() };
        let seconds = self.last.duration_since(self.ordered).as_secs_f64();
        match last {
            Step::Trouble(_) | Step::NotBound(_) | Step::Failed(_) => last.short(),
            _ => {
                let good = self.steps.iter().filter(|step| !matches!(step, Step::Trouble(_)));
                let steps: Vec<_> = good.map(Step::short).collect();
                format!("{} ({seconds:.1} s)", steps.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_binding_is_one_line_to_which_its_steps_are_added() {
        let (mut log, uid, node) = (Log::default(), Arc::from("u"), Arc::from("n"));
        let start = Timestamp::UNIX_EPOCH;
        let told = |log: &Log| log.last(9).pop().unwrap().told;
        log.ordered(&uid, "default/p".into(), &node, start);
        assert_eq!(told(&log), " -> n: binding...");
        log.step(&uid, Step::Bound, start);
        log.step(&uid, Step::Trouble("c: ErrImagePull".into()), start);
        assert_eq!(told(&log), " -> n: c: ErrImagePull");
        let later = start + SignedDuration::from_millis(1250);
        log.step(&uid, Step::Running("10.0.0.9".into()), later);
        assert_eq!(told(&log), " -> n: Bound, Running 10.0.0.9 (1.2 s)");
        assert_eq!(log.last(9).len(), 1);
    }

    #[test]
    fn a_pod_that_is_bound_again_gets_a_new_line() {
        let (mut log, uid, node) = (Log::default(), Arc::from("u"), Arc::from("n"));
        log.ordered(&uid, "p".into(), &node, Timestamp::UNIX_EPOCH);
        log.step(&uid, Step::NotBound("no".into()), Timestamp::UNIX_EPOCH);
        log.ordered(&uid, "p".into(), &node, Timestamp::UNIX_EPOCH);
        log.note("the server is away");
        log.note("the server\nis back");
        let lines: Vec<_> = log.last(9).into_iter().map(|line| line.told).collect();
        assert_eq!(lines, [" -> n: not bound: no", " -> n: binding...", "the server is back"]);
        assert_eq!(log.last(1).len(), 1);
    }

    #[test]
    fn old_lines_are_dropped() {
        let mut log = Log::default();
        let (uid, node) = (Arc::from("u"), Arc::from("n"));
        (0..2 * MOST_LINES).for_each(|number| log.ordered(&uid, number.to_string(), &node, Timestamp::UNIX_EPOCH));
        assert_eq!(log.last(usize::MAX).len(), MOST_LINES);
    }
}
