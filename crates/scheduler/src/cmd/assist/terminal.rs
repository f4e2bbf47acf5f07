//! The full screen on a real terminal: reads keys, paints, and gives the terminal back as it was however it ends.

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

use super::desk::Desk;
use super::desk::Heard;
use super::draw::draw;
use super::screen::Command;
use super::screen::Key;
use super::screen::Screen;

/// Ages are painted anew this often.
const TICK: Duration = Duration::from_secs(1);

/// Works until the person or a signal ends it.
///
/// # Errors
/// When the terminal cannot be used.
pub(super) async fn work(desk: &mut Desk, title: String, asked_to_stop: impl Future<Output = ()>) -> io::Result<()> {
    let mut terminal = Borrowed::take()?;
    let mut events = read_events();
    let mut screen = Screen::new(title);
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    tokio::pin!(asked_to_stop);
    loop {
        terminal.0.draw(|frame| draw(frame, &screen, Timestamp::now().as_second()))?;
        tokio::select! {
            () = &mut asked_to_stop => return Ok(()),
            event = events.recv() => match event {
                Some(event) => {
                    if is_last(event?, desk, &mut screen, &mut terminal.0)? {
                        return Ok(());
                    }
                }
                None => return Ok(()),
            },
            heard = desk.next() => {
                match heard {
                    Heard::Changed => {}
                    Heard::Step(uid, step) => screen.step(&uid, step, Timestamp::now()),
                    Heard::Note(note) => screen.log.note(&note),
                }
                screen.refresh(&mut desk.world);
            }
            _ = ticks.tick() => {}
        }
    }
}

/// Does what an event says; true at the end.
fn is_last(event: Event, desk: &mut Desk, screen: &mut Screen, terminal: &mut DefaultTerminal) -> io::Result<bool> {
    let Event::Key(event) = event else { return Ok(false) };
    let Some(key) = key(event) else { return Ok(false) };
    match screen.key(key, &mut desk.world) {
        None => {}
        Some(Command::Quit) => return Ok(true),
        Some(Command::Repaint) => terminal.clear()?,
        Some(Command::Bind(pod, node)) => {
            desk.bind(&pod, &node);
            screen.refresh(&mut desk.world);
        }
    }
    Ok(false)
}

/// The terminal, until it is dropped; after a panic it is given back before the words about it are printed.
struct Borrowed(DefaultTerminal);

impl Borrowed {
    fn take() -> io::Result<Borrowed> {
        ratatui::try_init().map(Borrowed)
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        // Where this fails there is no terminal any more.
        let _ = ratatui::try_restore();
    }
}

/// Reads events in a thread of its own, which waits for the next one until the process ends.
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
