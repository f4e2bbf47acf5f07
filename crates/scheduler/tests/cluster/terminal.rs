//! The program in a terminal of 80 columns and 24 lines.

use std::fs::File;
use std::io::Read;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Instant;

use nix::pty::Winsize;
use nix::pty::openpty;
use nix::sys::signal::Signal;
use nix::sys::signal::kill;
use nix::sys::termios::Termios;
use nix::sys::termios::tcgetattr;
use nix::unistd::Pid;
use parking_lot::Condvar;
use parking_lot::Mutex;

use crate::support::DEADLINE;
use crate::support::scheduler_path;

const SIZE: Winsize = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };

/// The screen, and whether the output has ended.
struct Painted {
    parser: vt100::Parser,
    ended: bool,
}

type Shown = Arc<(Mutex<Painted>, Condvar)>;

pub(crate) struct Terminal {
    keyboard: File,
    /// Kept open to check the terminal's mode after the program has exited.
    line: OwnedFd,
    before: Termios,
    shown: Shown,
    program: Child,
}

impl Terminal {
    /// Starts `dockside-scheduler assist` with more arguments.
    pub(crate) fn assist(term: &str, args: &[&str]) -> Terminal {
        let pty = openpty(Some(&SIZE), None).unwrap();
        let before = tcgetattr(&pty.slave).unwrap();
        let end = || pty.slave.try_clone().unwrap();
        let program = Command::new(scheduler_path())
            .arg("assist")
            .args(args)
            .env("TERM", term)
            .env("NO_COLOR", "1")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let painted = Painted { parser: vt100::Parser::new(SIZE.ws_row, SIZE.ws_col, 0), ended: false };
        let shown: Shown = Arc::new((Mutex::new(painted), Condvar::new()));
        let keyboard = File::from(pty.master);
        let screen = keyboard.try_clone().unwrap();
        std::thread::spawn({
            let shown = shown.clone();
            move || watch(screen, &shown)
        });
        Terminal { keyboard, line: pty.slave, before, shown, program }
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until the screen contains all these words, and returns it.
    pub(crate) fn shows(&mut self, words: &[&str]) -> String {
        let end = Instant::now() + DEADLINE;
        let (painted, changed) = &*self.shown;
        let mut painted = painted.lock();
        loop {
            let screen = painted.parser.screen().contents();
            if words.iter().all(|word| screen.contains(word)) {
                return screen;
            }
            let late = painted.ended || changed.wait_until(&mut painted, end).timed_out();
            assert!(!late, "waited in vain for {words:?} on the screen:\n{screen}\n{:?}", self.program.try_wait());
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.program.id().try_into().unwrap()), signal).unwrap();
    }

    /// Waits until the program exits, and checks that the terminal is restored.
    pub(crate) fn left_behind(mut self) -> ExitStatus {
        let status = self.program.wait().unwrap();
        assert!(tcgetattr(&self.line).unwrap() == self.before, "the terminal's settings are not what they were");
        // The last output may not have been read yet.
        let end = Instant::now() + DEADLINE;
        let (painted, changed) = &*self.shown;
        let mut painted = painted.lock();
        loop {
            let screen = painted.parser.screen();
            if !screen.alternate_screen() && !screen.hide_cursor() {
                return status;
            }
            assert!(!changed.wait_until(&mut painted, end).timed_out(), "the screen is not given back");
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn watch(mut screen: File, shown: &Shown) {
    let mut bytes = [0; 4096];
    loop {
        let read = screen.read(&mut bytes).unwrap_or(0);
        let mut painted = shown.0.lock();
        painted.ended = read == 0;
        painted.parser.process(&bytes[..read]);
        shown.1.notify_all();
        if read == 0 {
            return;
        }
    }
}
