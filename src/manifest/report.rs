//! The report that the user sees: a line for each step with its call and its time, and on a terminal a spinner while a step
//! runs.

use std::fmt;
use std::future::Future;
use std::io;
use std::io::IsTerminal as _;
use std::io::Write;
use std::time::Duration;
use std::time::Instant;

use indicatif::MultiProgress;
use indicatif::ProgressBar;
use indicatif::ProgressStyle;
use parking_lot::Mutex;

/// How long a step may take before its spinner is shown: a shorter step would only flicker.
const SPINNER_DELAY: Duration = Duration::from_millis(200);
/// How often the spinner moves.
const SPINNER_TICK: Duration = Duration::from_millis(100);

/// Writes the report. Steps may run concurrently.
pub(super) struct Report {
    out: Mutex<Box<dyn Write + Send>>,
    /// The spinners, on a terminal.
    spinners: Option<MultiProgress>,
}

impl Report {
    /// A report on standard output, with spinners if standard output and standard error are a terminal.
    pub(super) fn stdout() -> Report {
        let is_terminal = io::stdout().is_terminal() && io::stderr().is_terminal();
        Report { out: Mutex::new(Box::new(io::stdout())), spinners: is_terminal.then(MultiProgress::new) }
    }

    /// A report in plain lines.
    #[cfg(test)]
    pub(super) fn to(out: impl Write + Send + 'static) -> Report {
        Report { out: Mutex::new(Box::new(out)), spinners: None }
    }

    /// Writes a line at the margin.
    pub(super) fn line(&self, text: impl fmt::Display) {
        let write = || {
            // A reader that closed the pipe must not leave a pod unfinished.
            let mut out = self.out.lock();
            let _ = writeln!(out, "{text}").and_then(|()| out.flush());
        };
        match &self.spinners {
            Some(spinners) => spinners.suspend(write),
            None => write(),
        }
    }

    /// Writes an indented line, which belongs to the Pod above it.
    pub(super) fn note(&self, text: impl fmt::Display) {
        self.line(format_args!("  {text}"));
    }

    /// Runs a step and writes its line: the call, the time it took, and `describe` of the answer. While it runs, and when
    /// it fails, the line names `object` instead.
    ///
    /// # Errors
    /// That of the step.
    pub(super) async fn step<T, E>(
        &self,
        call: &str,
        object: &str,
        work: impl Future<Output = Result<T, E>>,
        describe: impl FnOnce(&T) -> String,
    ) -> Result<T, E> {
        let begin = Instant::now();
        let mut work = std::pin::pin!(work);
        let result = match tokio::time::timeout(SPINNER_DELAY, &mut work).await {
            Ok(result) => result,
            Err(_) => {
                let spinner = self.spinners.as_ref().map(|spinners| spinner(spinners, call, object));
                let result = work.await;
                if let Some(spinner) = spinner {
                    spinner.finish_and_clear();
                }
                result
            }
        };
        let seconds = begin.elapsed().as_secs_f64();
        let description = match &result {
            Ok(answer) => describe(answer),
            Err(_) => format!("{object}: FAILED"),
        };
        self.note(format_args!("{call:<20}{seconds:>10.3} s  {description}"));
        result
    }
}

fn spinner(spinners: &MultiProgress, call: &str, object: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_elapsed(SPINNER_DELAY).with_prefix(call.to_owned());
    let bar = spinners.add(bar.with_message(object.to_owned()));
    // The template is constant and valid; with the default style the line would only look different.
    if let Ok(style) = ProgressStyle::with_template("  {prefix:<20}{elapsed:>10} {spinner} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(SPINNER_TICK);
    bar
}

/// The first 12 characters of an id, which identify it for a person and for Docker.
pub(super) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// A runtime's error as the report shows it.
pub(super) fn describe_status(status: &tonic::Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    pub(in super::super) struct Output(Arc<Mutex<Vec<u8>>>);

    impl Output {
        pub(in super::super) fn text(&self) -> String {
            String::from_utf8(self.0.lock().clone()).unwrap()
        }
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_step_is_a_line_with_call_time_and_answer() {
        let output = Output::default();
        let report = Report::to(output.clone());
        report.line("pod default/first-job");
        let work = async { Ok::<_, ()>("3f2a") };
        report.step("RunPodSandbox", "pod", work, |id| format!("pod default/first-job, sandbox {id}…")).await.unwrap();
        let text = output.text();
        let (begin, end) =
            ("pod default/first-job\n  RunPodSandbox            0.", " s  pod default/first-job, sandbox 3f2a…\n");
        assert!(text.starts_with(begin) && text.ends_with(end), "{text}");
    }

    #[tokio::test]
    async fn a_step_that_fails_names_its_object() {
        let output = Output::default();
        let work = async { Err::<(), _>("no") };
        let result = Report::to(output.clone()).step("PullImage", "nginx:1.14", work, |()| String::new()).await;
        assert_eq!(result, Err("no"));
        assert!(output.text().ends_with(" s  nginx:1.14: FAILED\n"), "{}", output.text());
    }

    #[test]
    fn ids_are_cut_for_reading() {
        assert_eq!(short("0123456789abcdef"), "0123456789ab");
        assert_eq!(short("0123"), "0123");
    }
}
