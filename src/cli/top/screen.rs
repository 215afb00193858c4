//! The terminal while `top` has it: raw, on its other screen, and as it was when this is dropped, by a panic too.
//!
//! What is written here is our own: whatever else goes into a frame has been through [`crate::text::escape`].

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{IsTerminal as _, Write as _};

/// Other screen, no cursor, lines that are too long are cut.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
/// The reverse.
const LEAVE: &str = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";

/// The terminal.
pub(super) struct Screen {
    was: Termios,
    last: String,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// Errors: there is none.
    pub(super) fn take() -> std::io::Result<Screen> {
        if !std::io::stdout().is_terminal() {
            return Err(std::io::Error::other("standard output is no terminal"));
        }
        let was = tcgetattr(std::io::stdin())?;
        let mut raw = was.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw)?;
        let screen = Screen { was, last: String::new() };
        write(ENTER);
        Ok(screen)
    }

    /// Shows a frame, where it is another than before.
    pub(super) fn show(&mut self, lines: &[String]) {
        let mut frame = String::from("\x1b[H");
        for (n, line) in lines.iter().enumerate() {
            if n > 0 {
                frame.push_str("\r\n");
            }
            frame.push_str(line);
            frame.push_str("\x1b[0m\x1b[K");
        }
        frame.push_str("\x1b[J");
        if frame != self.last {
            write(&frame);
            self.last = frame;
        }
    }

    /// The next frame is shown as a whole: the terminal has another size.
    pub(super) fn forget(&mut self) {
        self.last.clear();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        write(LEAVE);
        _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.was);
    }
}

/// A terminal that is gone is nobody's mistake.
fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text.as_bytes()));
    drop(out.flush());
}

/// Columns and rows.
pub(super) fn size() -> (usize, usize) {
    let size = terminal_size::terminal_size_of(std::io::stdout());
    size.map_or((80, 24), |(width, height)| (usize::from(width.0), usize::from(height.0)))
}

/// What was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Enter,
    Escape,
    Back,
    Up,
    Down,
    PageUp,
    PageDown,
    Interrupt,
    /// Makes the program panic where it is built for tests.
    Bug,
}

/// The keys in bytes that were read at once.
pub(super) fn keys(bytes: &[u8]) -> Vec<Key> {
    let text = String::from_utf8_lossy(bytes);
    let mut rest: &str = &text;
    let mut keys = Vec::new();
    while let Some(first) = rest.chars().next() {
        let sequences = [
            ("\x1b[A", Key::Up),
            ("\x1bOA", Key::Up),
            ("\x1b[B", Key::Down),
            ("\x1bOB", Key::Down),
            ("\x1b[5~", Key::PageUp),
            ("\x1b[6~", Key::PageDown),
        ];
        if let Some((sequence, key)) = sequences.iter().find(|(sequence, _)| rest.starts_with(sequence)) {
            keys.push(*key);
            rest = &rest[sequence.len()..];
            continue;
        }
        if let Some(after) = rest.strip_prefix("\x1b[") {
            // A key that means nothing here.
            let end = after.find(|c: char| ('\x40'..='\x7e').contains(&c)).map_or(after.len(), |n| n + 1);
            rest = &after[end..];
            continue;
        }
        keys.extend(match first {
            '\r' | '\n' => Some(Key::Enter),
            '\x1b' => Some(Key::Escape),
            '\x7f' | '\x08' => Some(Key::Back),
            '\x03' => Some(Key::Interrupt),
            '\x1c' => Some(Key::Bug),
            c if c.is_control() => None,
            c => Some(Key::Char(c)),
        });
        rest = &rest[first.len_utf8()..];
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart() {
        assert_eq!(keys(b"q\x1b[A\x1b[B\r"), [Key::Char('q'), Key::Up, Key::Down, Key::Enter]);
        assert_eq!(keys(b"\x1b"), [Key::Escape]);
        assert_eq!(keys(b"\x1b[15~\x1b[1;5Cx"), [Key::Char('x')], "what means nothing is passed over");
        assert_eq!(keys("ä\x7f\x03".as_bytes()), [Key::Char('ä'), Key::Back, Key::Interrupt]);
    }
}
