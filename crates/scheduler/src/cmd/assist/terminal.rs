//! Runs the full screen on a terminal: reads keys, draws, and restores the terminal on every exit.

use std::io;

use crossterm::event;
use crossterm::event::Event;
use crossterm::event::KeyCode;
use crossterm::event::KeyEvent;
use crossterm::event::KeyEventKind;
use crossterm::event::KeyModifiers;
use jiff::Timestamp;
use ratatui::DefaultTerminal;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::Duration;
use tokio::time::MissedTickBehavior;

use super::app::App;
use super::app::AppEvent;
use super::draw::draw;
use super::screen::Key;
use super::screen::Screen;
use super::screen::ScreenAction;

/// The interval at which ages are redrawn.
const TICK: Duration = Duration::from_secs(1);

/// Runs until the user quits or a signal arrives.
///
/// # Errors
/// The terminal cannot be used.
pub(super) async fn run(app: &mut App, title: String, shutdown_signal: impl Future<Output = ()>) -> io::Result<()> {
    let mut terminal = TerminalGuard::enter()?;
    let mut events = read_events();
    let mut screen = Screen::new(title);
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    tokio::pin!(shutdown_signal);
    loop {
        terminal.0.draw(|frame| draw(frame, &screen, Timestamp::now().as_second()))?;
        tokio::select! {
            () = &mut shutdown_signal => return Ok(()),
            event = events.recv() => match event {
                Some(event) => {
                    if handle_event(event?, app, &mut screen, &mut terminal.0)? {
                        return Ok(());
                    }
                }
                None => return Ok(()),
            },
            event = app.next() => {
                match event {
                    AppEvent::Changed => {}
                    AppEvent::Progress(uid, progress) => screen.progress(&uid, progress, Timestamp::now()),
                    AppEvent::Note(note) => screen.log.note(&note),
                }
                screen.refresh(&mut app.store);
            }
            _ = ticks.tick() => {}
        }
    }
}

/// Handles a terminal event; returns true to quit.
fn handle_event(event: Event, app: &mut App, screen: &mut Screen, terminal: &mut DefaultTerminal) -> io::Result<bool> {
    let Event::Key(event) = event else { return Ok(false) };
    let Some(key) = key(event) else { return Ok(false) };
    match screen.key(key, &mut app.store) {
        None => {}
        Some(ScreenAction::Quit) => return Ok(true),
        Some(ScreenAction::Repaint) => terminal.clear()?,
        Some(ScreenAction::Bind(pod, node)) => {
            app.bind(&pod, &node);
            screen.refresh(&mut app.store);
        }
    }
    Ok(false)
}

/// The terminal in raw mode, restored on drop. A panic restores it before its message is printed.
struct TerminalGuard(DefaultTerminal);

impl TerminalGuard {
    fn enter() -> io::Result<TerminalGuard> {
        ratatui::try_init().map(TerminalGuard)
    }
}

impl Drop for TerminalGuard {
    fn drop(&mut self) {
        // Fails only if the terminal is gone.
        let _ = ratatui::try_restore();
    }
}

/// Reads events in a thread, which blocks on the next event until the process exits.
fn read_events() -> UnboundedReceiver<io::Result<Event>> {
    let (sender, receiver) = unbounded_channel();
    std::thread::spawn(move || {
        loop {
            let event = event::read();
            let failed = event.is_err();
            if sender.send(event).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

fn key(event: KeyEvent) -> Option<Key> {
    if event.kind == KeyEventKind::Release {
        return None;
    }
    let control = event.modifiers.contains(KeyModifiers::CONTROL);
    Some(match event.code {
        KeyCode::Char('c' | 'd') if control => Key::Interrupt,
        KeyCode::Char('n') if control => Key::Down,
        KeyCode::Char('p') if control => Key::Up,
        KeyCode::Char(_) if event.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => return None,
        KeyCode::Char(char) => Key::Char(char),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Enter => Key::Enter,
        KeyCode::Tab | KeyCode::BackTab => Key::Tab,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_with_control_are_not_typed() {
        let press = |char, modifiers| key(KeyEvent::new(KeyCode::Char(char), modifiers));
        assert_eq!(press('c', KeyModifiers::CONTROL), Some(Key::Interrupt));
        assert_eq!(press('s', KeyModifiers::CONTROL), None);
        assert_eq!(press('G', KeyModifiers::SHIFT), Some(Key::Char('G')));
    }
}
