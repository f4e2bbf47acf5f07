//! Progress of the last bindings, and messages: a line each, the newest last.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;

use super::progress::Progress;
use super::text::one_line;

/// Older lines are dropped.
const MAX_LINES: usize = 100;

#[derive(Default)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
}

enum Entry {
    Binding(Binding),
    Note(String),
}

/// A binding and its progress, on one line.
struct Binding {
    uid: Arc<str>,
    pod: String,
    node: Arc<str>,
    progress: Vec<Progress>,
    started: Timestamp,
    last: Timestamp,
}

/// A line in two parts: a name that may be shortened, and text that should not be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LogLine {
    pub(super) name: String,
    pub(super) text: String,
}

impl Log {
    pub(super) fn started(&mut self, uid: &Arc<str>, pod: String, node: &Arc<str>, now: Timestamp) {
        let (uid, node) = (uid.clone(), node.clone());
        self.push(Entry::Binding(Binding { uid, pod, node, progress: Vec::new(), started: now, last: now }));
    }

    pub(super) fn progress(&mut self, uid: &str, progress: Progress, now: Timestamp) {
        let bindings = self.entries.iter_mut().filter_map(|entry| match entry {
            Entry::Binding(binding) => Some(binding),
            Entry::Note(_) => None,
        });
        if let Some(binding) = bindings.rev().find(|binding| *binding.uid == *uid) {
            binding.progress.push(progress);
            binding.last = now;
        }
    }

    /// Adds a message. Of consecutive ones only the last is kept, so that they do not push bindings out of view.
    pub(super) fn note(&mut self, note: &str) {
        if let Some(Entry::Note(_)) = self.entries.back() {
            self.entries.pop_back();
        }
        self.push(Entry::Note(one_line(note)));
    }

    fn push(&mut self, entry: Entry) {
        if self.entries.len() == MAX_LINES {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// The last `number` lines.
    pub(super) fn last(&self, number: usize) -> Vec<LogLine> {
        self.entries.iter().skip(self.entries.len().saturating_sub(number)).map(Entry::line).collect()
    }
}

impl Entry {
    fn line(&self) -> LogLine {
        match self {
            Entry::Note(note) => LogLine { name: String::new(), text: note.clone() },
            Entry::Binding(binding) => {
                LogLine { name: binding.pod.clone(), text: format!(" -> {}: {}", binding.node, binding.summary()) }
            }
        }
    }
}

impl Binding {
    /// The progress so far and its duration. After a problem only that is shown: it has to be read.
    fn summary(&self) -> String {
        let Some(last) = self.progress.last() else { return "binding...".to_owned() };
        let seconds = self.last.duration_since(self.started).as_secs_f64();
        match last {
            Progress::Problem(_) | Progress::NotBound(_) | Progress::Failed(_) => last.short(),
            _ => {
                let good = self.progress.iter().filter(|progress| !matches!(progress, Progress::Problem(_)));
                let progress: Vec<_> = good.map(Progress::short).collect();
                format!("{} ({seconds:.1} s)", progress.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_binding_is_one_line_that_shows_its_progress() {
        let (mut log, uid, node) = (Log::default(), Arc::from("u"), Arc::from("n"));
        let start = Timestamp::UNIX_EPOCH;
        let text = |log: &Log| log.last(9).pop().unwrap().text;
        log.started(&uid, "default/p".into(), &node, start);
        assert_eq!(text(&log), " -> n: binding...");
        log.progress(&uid, Progress::Bound, start);
        log.progress(&uid, Progress::Problem("c: ErrImagePull".into()), start);
        assert_eq!(text(&log), " -> n: c: ErrImagePull");
        let later = start + SignedDuration::from_millis(1250);
        log.progress(&uid, Progress::Running("10.0.0.9".into()), later);
        assert_eq!(text(&log), " -> n: Bound, Running 10.0.0.9 (1.2 s)");
        assert_eq!(log.last(9).len(), 1);
    }

    #[test]
    fn a_pod_that_is_bound_again_gets_a_new_line() {
        let (mut log, uid, node) = (Log::default(), Arc::from("u"), Arc::from("n"));
        log.started(&uid, "p".into(), &node, Timestamp::UNIX_EPOCH);
        log.progress(&uid, Progress::NotBound("no".into()), Timestamp::UNIX_EPOCH);
        log.started(&uid, "p".into(), &node, Timestamp::UNIX_EPOCH);
        log.note("the server is away");
        log.note("the server\nis back");
        let lines: Vec<_> = log.last(9).into_iter().map(|line| line.text).collect();
        assert_eq!(lines, [" -> n: not bound: no", " -> n: binding...", "the server is back"]);
        assert_eq!(log.last(1).len(), 1);
    }

    #[test]
    fn old_lines_are_dropped() {
        let mut log = Log::default();
        let (uid, node) = (Arc::from("u"), Arc::from("n"));
        (0..2 * MAX_LINES).for_each(|number| log.started(&uid, number.to_string(), &node, Timestamp::UNIX_EPOCH));
        assert_eq!(log.last(usize::MAX).len(), MAX_LINES);
    }
}
