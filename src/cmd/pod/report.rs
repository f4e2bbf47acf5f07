//! What the person sees: a line for each step with its call and its time, and on a terminal a sign of life while one runs.

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

/// How long a step may take before there is a sign of life: what is faster would only flicker.
const PATIENCE: Duration = Duration::from_millis(200);
/// How often the sign of life moves.
const TICK: Duration = Duration::from_millis(100);

/// Writes the report. Steps may run side by side.
pub struct Report {
    out: Mutex<Box<dyn Write + Send>>,
    /// On a terminal.
    live: Option<MultiProgress>,
}

impl Report {
    /// To standard output; with a sign of life if a person is watching.
    pub fn stdout() -> Report {
        let watched = io::stdout().is_terminal() && io::stderr().is_terminal();
        Report { out: Mutex::new(Box::new(io::stdout())), live: watched.then(MultiProgress::new) }
    }

    /// To somewhere else, in plain lines.
    #[cfg(test)]
    pub fn to(out: impl Write + Send + 'static) -> Report {
        Report { out: Mutex::new(Box::new(out)), live: None }
    }

    /// A line at the margin.
    pub fn line(&self, text: impl fmt::Display) {
        let write = || {
            // A report nobody reads any more is no reason to leave a pod half made.
            let mut out = self.out.lock();
            let _ = writeln!(out, "{text}").and_then(|()| out.flush());
        };
        match &self.live {
            Some(live) => live.suspend(write),
            None => write(),
        }
    }

    /// A line that belongs to the Pod above it.
    pub fn note(&self, text: impl fmt::Display) {
        self.line(format_args!("  {text}"));
    }

    /// Runs a step and writes its line: the call, the time it took, and what `told` makes of the answer. While it runs,
    /// and when it fails, `object` says what it is about.
    ///
    /// # Errors
    /// That of the step.
    pub async fn step<T, E>(
        &self,
        call: &str,
        object: &str,
        work: impl Future<Output = Result<T, E>>,
        told: impl FnOnce(&T) -> String,
    ) -> Result<T, E> {
        let begin = Instant::now();
        let mut work = std::pin::pin!(work);
        let result = match tokio::time::timeout(PATIENCE, &mut work).await {
            Ok(result) => result,
            Err(_) => {
                let sign = self.live.as_ref().map(|live| sign_of_life(live, call, object));
                let result = work.await;
                if let Some(sign) = sign {
                    sign.finish_and_clear();
                }
                result
            }
        };
        let seconds = begin.elapsed().as_secs_f64();
        let told = match &result {
            Ok(answer) => told(answer),
            Err(_) => format!("{object}: FAILED"),
        };
        self.note(format_args!("{call:<20}{seconds:>10.3} s  {told}"));
        result
    }
}

fn sign_of_life(live: &MultiProgress, call: &str, object: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_elapsed(PATIENCE).with_prefix(call.to_owned());
    let bar = live.add(bar.with_message(object.to_owned()));
    // The template is ours and has no error in it; with the default style the line would only look different.
    if let Ok(style) = ProgressStyle::with_template("  {prefix:<20}{elapsed:>10} {spinner} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}

/// The beginning of an id, which is enough for a person and for Docker.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// What a server said went wrong.
pub fn told(status: &tonic::Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

#[cfg(test)]
pub mod tests {
    use std::sync::Arc;

    use super::*;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    pub struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Paper {
        pub fn text(&self) -> String {
            String::from_utf8(self.0.lock().clone()).unwrap()
        }
    }

    impl Write for Paper {
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
        let paper = Paper::default();
        let report = Report::to(paper.clone());
        report.line("pod default/first-job");
        let work = async { Ok::<_, ()>("3f2a") };
        report.step("RunPodSandbox", "pod", work, |id| format!("pod default/first-job, sandbox {id}…")).await.unwrap();
        let text = paper.text();
        let (begin, end) =
            ("pod default/first-job\n  RunPodSandbox            0.", " s  pod default/first-job, sandbox 3f2a…\n");
        assert!(text.starts_with(begin) && text.ends_with(end), "{text}");
    }

    #[tokio::test]
    async fn a_step_that_fails_names_its_object() {
        let paper = Paper::default();
        let work = async { Err::<(), _>("no") };
        let result = Report::to(paper.clone()).step("PullImage", "nginx:1.14", work, |()| String::new()).await;
        assert_eq!(result, Err("no"));
        assert!(paper.text().ends_with(" s  nginx:1.14: FAILED\n"), "{}", paper.text());
    }

    #[test]
    fn ids_are_cut_for_reading() {
        assert_eq!(short("0123456789abcdef"), "0123456789ab");
        assert_eq!(short("0123"), "0123");
    }
}
