//! The state of a container's init process, which reports can only move forward.

/// The exit status of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exit {
    /// When, in nanoseconds since 1970.
    pub at: i64,
    /// The exit code: 128 plus the signal's number for a process that a signal ended.
    pub code: i32,
    /// Whether an OOM kill ended it.
    pub oom_killed: bool,
    /// The CRI's reason if the code does not imply it, such as `ContainerCannotRun`; empty otherwise.
    pub reason: String,
    /// For the user.
    pub message: String,
}

/// The state of one process. A report that is older than the known state changes nothing, so it does not matter whether
/// a verb or Docker's event reports first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Process {
    /// Not started yet.
    #[default]
    Created,
    /// Started, and not known to have exited.
    Running {
        /// In nanoseconds since 1970.
        started_at: i64,
    },
    /// Exited, or could not be started.
    Exited {
        /// In nanoseconds since 1970; 0 if it never ran.
        started_at: i64,
        /// Its exit status.
        exit: Exit,
    },
}

impl Process {
    /// The state after a start at `at` (nanoseconds since 1970) was reported.
    #[must_use]
    pub(crate) fn started(&self, at: i64) -> Process {
        match self {
            Process::Exited { exit, .. } if exit.at >= at => self.clone(),
            Process::Running { started_at } => Process::Running { started_at: at.max(*started_at) },
            _ => Process::Running { started_at: at },
        }
    }

    /// The state after an exit was reported.
    #[must_use]
    pub(crate) fn exited(&self, exit: Exit) -> Process {
        match self {
            Process::Running { started_at } if *started_at > exit.at => self.clone(),
            Process::Running { started_at } => Process::Exited { started_at: *started_at, exit },
            Process::Created => Process::Exited { started_at: 0, exit },
            // The same exit reported twice: Docker sometimes knows of an OOM kill only the second time.
            Process::Exited { started_at, exit: known } => {
                let oom_killed = known.oom_killed || exit.oom_killed;
                let latest = if exit.at > known.at { exit } else { known.clone() };
                Process::Exited { started_at: *started_at, exit: Exit { oom_killed, ..latest } }
            }
        }
    }

    /// Whether it runs.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self, Process::Running { .. })
    }

    /// When it was started, in nanoseconds since 1970; 0 if never.
    pub(crate) fn started_at(&self) -> i64 {
        match self {
            Process::Created => 0,
            Process::Running { started_at } | Process::Exited { started_at, .. } => *started_at,
        }
    }

    /// Its exit status, once it has exited.
    pub(crate) fn exit(&self) -> Option<&Exit> {
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
    fn an_exit_that_was_reported_before_the_start_stays() {
        let ended = Process::Created.exited(exit(20));
        assert_eq!(ended.started(10), ended);
    }

    #[test]
    fn a_restarted_process_runs_and_a_late_report_of_its_first_exit_is_ignored() {
        let again = Process::Running { started_at: 10 }.exited(exit(20)).started(30);
        assert_eq!(again, Process::Running { started_at: 30 });
        assert_eq!(again.exited(exit(20)), again);
    }

    #[test]
    fn an_oom_kill_that_is_reported_late_is_kept() {
        let ended = Process::Running { started_at: 1 }.exited(exit(5)).exited(Exit { oom_killed: true, ..exit(5) });
        assert!(ended.exit().unwrap().oom_killed);
    }
}
