//! The measurements of one lane, as `run` writes them and `report` reads them.

use serde::Deserialize;
use serde::Serialize;

use super::samples::Series;
use super::targets;

/// The measurements of one lane.
#[derive(Serialize, Deserialize)]
pub(crate) struct Lane {
    pub lane: String,
    /// The measured contenders with their versions.
    pub contenders: Vec<Named>,
    /// The contenders that were left out, with the reasons.
    pub absent: Vec<Named>,
    /// Whether containers ran by `hack/oci-wrapper.rs`.
    pub wrapped: bool,
    pub processors: usize,
    /// The load average before the first round.
    pub load_before: String,
    /// CPU time used outside of the box, in percent of the machine.
    pub others: f64,
    pub seconds: f64,
    pub rounds: usize,
    pub sizes: Vec<usize>,
    pub series: Vec<Series>,
}

/// A text about a contender.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Named {
    pub name: String,
    pub text: String,
}

impl Named {
    pub(crate) fn new(name: &str, text: &str) -> Named {
        Named { name: name.to_owned(), text: text.to_owned() }
    }

    /// From NAME=TEXT.
    pub(crate) fn parse(argument: &str) -> Named {
        let (name, text) = argument.split_once('=').unwrap_or((argument, ""));
        Named::new(name, text)
    }
}

impl Lane {
    /// The conditions of the measurement, in sentences.
    pub(crate) fn circumstances(&self) -> Vec<String> {
        let mut lines = vec![
            format!(
                "{} processors, {} rounds in {:.0} s; load average at the start: {}; others used {:.0} % of the machine meanwhile",
                self.processors, self.rounds, self.seconds, self.load_before, self.others
            ),
            "of each size, half of the new pods (at most 30) came one by one, the others 8 at a time; sizes above 60: in the first round only"
                .to_owned(),
        ];
        if self.wrapped {
            lines.push(
                "this machine's root lacks a capability: all containers ran by hack/oci-wrapper, which costs all the same"
                    .to_owned(),
            );
        }
        lines.extend(self.contenders.iter().map(|who| format!("{}: {}", who.name, who.text)));
        lines.extend(self.absent.iter().map(|who| format!("{} is left out: {}", who.name, who.text)));
        lines
    }

    /// The number of pods at which the targets are checked.
    pub(crate) fn bar(&self) -> usize {
        targets::bar_size(&self.sizes)
    }
}

/// A number with three significant digits.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
