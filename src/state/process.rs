//! What a container's process did, in an order that only goes forward.

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// In nanoseconds since 1970.
    pub at: i64,
    pub code: i32,
    pub oom_killed: bool,
    /// A reason that is not told by the code, such as `ContainerCannotRun`; empty otherwise.
    pub reason: String,
    /// For a person.
    pub message: String,
}

/// The life of one process. A report that is older than what is known changes nothing, whichever of a verb and
/// Docker's event arrives first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Process {
    #[default]
    Created,
    Running {
        /// In nanoseconds since 1970.
        started_at: i64,
    },
    Exited {
        /// In nanoseconds since 1970; 0 when it never ran.
        started_at: i64,
        exit: Exit,
    },
}

impl Process {
    /// The process after a start was reported.
    #[must_use]
    pub fn started(&self, at: i64) -> Process {
        match self {
            Process::Exited { exit, .. } if exit.at >= at => self.clone(),
            Process::Running { started_at } => Process::Running { started_at: at.max(*started_at) },
            _ => Process::Running { started_at: at },
        }
    }

    /// The process after an end was reported.
    #[must_use]
    pub fn exited(&self, exit: Exit) -> Process {
        match self {
            Process::Running { started_at } if *started_at > exit.at => self.clone(),
            Process::Running { started_at } => Process::Exited { started_at: *started_at, exit },
            Process::Created => Process::Exited { started_at: 0, exit },
            // The same end told twice: an out-of-memory kill is sometimes known only the second time.
            Process::Exited { started_at, exit: known } => {
                let oom_killed = known.oom_killed || exit.oom_killed;
                let latest = if exit.at > known.at { exit } else { known.clone() };
                Process::Exited { started_at: *started_at, exit: Exit { oom_killed, ..latest } }
            }
        }
    }

    pub fn is_running(&self) -> bool {
        matches!(self, Process::Running { .. })
    }

    /// When it was started, in nanoseconds since 1970; 0 for never.
    pub fn started_at(&self) -> i64 {
        match self {
            Process::Created => 0,
            Process::Running { started_at } | Process::Exited { started_at, .. } => *started_at,
        }
    }

    pub fn exit(&self) -> Option<&Exit> {
        match self {
            Process::Exited { exit, .. } => Some(exit),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(at: i64) -> Exit {
        Exit { at, code: 0, oom_killed: false, reason: String::new(), message: String::new() }
    }

    #[test]
    fn an_end_that_was_told_before_the_start_stays() {
        let ended = Process::Created.exited(exit(20));
        assert_eq!(ended.started(10), ended);
    }

    #[test]
    fn a_restart_by_hand_runs_again_and_a_late_report_of_the_first_end_does_not_stop_it() {
        let again = Process::Running { started_at: 10 }.exited(exit(20)).started(30);
        assert_eq!(again, Process::Running { started_at: 30 });
        assert_eq!(again.exited(exit(20)), again);
    }

    #[test]
    fn an_out_of_memory_kill_is_remembered_when_told_late() {
        let ended = Process::Running { started_at: 1 }.exited(exit(5)).exited(Exit { oom_killed: true, ..exit(5) });
        assert!(ended.exit().unwrap().oom_killed);
    }
}
