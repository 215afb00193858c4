//! What reaches a terminal or the text log: names, letters, events and servers' answers are data, and data steers nothing.
//!
//! Promises: no C0 character but those of the agent's own line ends and tabs, no DEL, no C1 and no character that turns
//! the direction of text goes out as it is; each stands as `\x1b`, `\n` or `\u{202e}` in text and as `\u001b` in JSON,
//! which stays the same JSON. A line that the agent writes stays one line: a name with a line end forges no second one.
//!
//! [`Page`] is the one way from the command line to a terminal; the text log has the same rule for each of its fields.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// How a character that must not go out is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `\x1b`, `\u{202e}`; line ends and tabs stay, for text whose lines are its own.
    Text,
    /// As `Text`, line ends, carriage returns and tabs too: `\n`, `\r`, `\t`. For what must stay on one line.
    Line,
    /// `\u001b`, in a text that is JSON; line ends and tabs stay.
    Json,
}

/// Appends `text` with what must not go out escaped. Bytes that are not UTF-8 stay, C1 as a single byte among them: they
/// are no characters of a terminal that reads UTF-8.
pub fn append(text: &[u8], form: Form, out: &mut Vec<u8>) {
    let mut from = 0;
    let mut i = 0;
    while i < text.len() {
        let (code, len) = steering(text, i);
        let stays = matches!(code, Some(0x0a | 0x09)) && form != Form::Line;
        if let Some(code) = code.filter(|_| !stays) {
            out.extend_from_slice(&text[from..i]);
            write_code(code, form, out);
            from = i + len;
        }
        i += len;
    }
    out.extend_from_slice(text.get(from..).unwrap_or_default());
}

/// The character at `i` where it steers a terminal, and its length in bytes; 1 for every other byte.
fn steering(text: &[u8], i: usize) -> (Option<u32>, usize) {
    let at = |n: usize| text.get(i + n).copied().unwrap_or(0);
    match text[i] {
        c @ (0x00..=0x1f | 0x7f) => (Some(u32::from(c)), 1),
        0xc2 if (0x80..=0x9f).contains(&at(1)) => (Some(u32::from(at(1))), 2),
        // U+061C
        0xd8 if at(1) == 0x9c => (Some(0x61c), 2),
        0xe2 => match (at(1), at(2)) {
            // U+200E, U+200F, U+2028 to U+202E, U+2066 to U+2069
            (0x80, c @ (0x8e | 0x8f | 0xa8..=0xae)) => (Some(0x2000 | u32::from(c & 0x3f)), 3),
            (0x81, c @ 0xa6..=0xa9) => (Some(0x2040 | u32::from(c & 0x3f)), 3),
            _ => (None, 1),
        },
        _ => (None, 1),
    }
}

#[cold]
fn write_code(code: u32, form: Form, out: &mut Vec<u8>) {
    let text = match (form, code) {
        (Form::Json, _) => format!("\\u{code:04x}"),
        (_, 0x0a) => "\\n".to_owned(),
        (Form::Line, 0x0d) => "\\r".to_owned(),
        (_, 0x09) => "\\t".to_owned(),
        (_, 0..=0xff) => format!("\\x{code:02x}"),
        _ => format!("\\u{{{code:x}}}"),
    };
    out.extend_from_slice(text.as_bytes());
}

/// `text` with what must not go out escaped; borrowed where there is nothing.
pub fn escaped(text: &str, form: Form) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let keeps = |c: u32| form != Form::Line && matches!(c, 0x0a | 0x09);
    if !(0..bytes.len()).any(|i| steering(bytes, i).0.is_some_and(|c| !keeps(c))) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len() + 16);
    append(bytes, form, &mut out);
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// `text` on one line.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, Form::Line)
}

/// A word for a POSIX shell that stands for exactly `text`: quoted where it must be, `$'…'` where it holds what a
/// terminal must not be sent.
pub fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:=@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    if let Cow::Borrowed(text) = line(text) {
        return format!("'{}'", text.replace('\'', "'\\''"));
    }
    let mut out = String::from("$'");
    for c in text.chars() {
        let mut bytes = [0; 4];
        let encoded = c.encode_utf8(&mut bytes);
        match c {
            '\'' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            _ if steering(encoded.as_bytes(), 0).0.is_some() => {
                // Octal has three digits at most, where `\x` takes what follows along.
                encoded.bytes().for_each(|b| _ = write!(out, "\\{b:03o}"));
            }
            _ => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// The colour of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// None.
    Plain,
    /// A heading.
    Bold,
    /// What goes.
    Red,
    /// What comes.
    Green,
    /// What changes.
    Yellow,
}

/// Lines for a terminal. `writeln!` adds one line, `write!` a part of one: whatever is formatted into it stays on that
/// line and steers nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page(String);

impl Page {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// One line.
    pub fn of_line(args: fmt::Arguments<'_>) -> Self {
        let mut page = Self::new();
        page.write_fmt(format_args!("{args}\n"));
        page
    }

    /// What `write!` and `writeln!` call.
    pub fn write_fmt(&mut self, args: fmt::Arguments<'_>) {
        let text = args.to_string();
        let (text, end) = text.strip_suffix('\n').map_or((&*text, ""), |text| (text, "\n"));
        self.0.push_str(&line(text));
        self.0.push_str(end);
    }

    /// Adds text whose line ends are its own, as those of a generated document.
    pub fn text(&mut self, text: &str) {
        self.0.push_str(&escaped(text, Form::Text));
    }

    /// Adds JSON: it stays the same JSON.
    pub fn json(&mut self, text: &str) {
        self.0.push_str(&escaped(text, Form::Json));
    }

    /// Adds another page.
    pub fn append(&mut self, other: &Page) {
        self.0.push_str(&other.0);
    }

    /// Adds one line in a colour of ours; `None` for none. What is in it steers nothing.
    pub fn colored_line(&mut self, color: Option<Color>, text: &str) {
        let (on, off) = match color {
            None | Some(Color::Plain) => ("", ""),
            Some(Color::Bold) => ("\x1b[1m", "\x1b[0m"),
            Some(Color::Red) => ("\x1b[31m", "\x1b[0m"),
            Some(Color::Green) => ("\x1b[32m", "\x1b[0m"),
            Some(Color::Yellow) => ("\x1b[33m", "\x1b[0m"),
        };
        self.0.push_str(on);
        self.0.push_str(&line(text));
        self.0.push_str(off);
        self.0.push('\n');
    }

    /// As it goes out.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const EVIL: &str = "a\u{1b}]0;x\u{7}\r\u{9b}31m\tb\u{7f}é\u{a0}\u{202e}\u{2066}\nc 👩\u{200d}🚀 \u{61c}";

    #[test]
    fn each_form_writes_what_steers_a_terminal_and_keeps_the_rest() {
        assert_eq!(
            escaped(EVIL, Form::Text),
            "a\\x1b]0;x\\x07\\x0d\\x9b31m\tb\\x7fé\u{a0}\\u{202e}\\u{2066}\nc 👩\u{200d}🚀 \\u{61c}"
        );
        assert!(line(EVIL).contains("\\x07\\r\\x9b31m\\tb"), "{}", line(EVIL));
        assert!(line(EVIL).contains("\\nc"));
        assert!(matches!(line("plain é"), Cow::Borrowed(_)));
        let json = serde_json::to_string(EVIL).unwrap();
        let shown = escaped(&json, Form::Json);
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), EVIL);
    }

    #[test]
    fn a_page_has_as_many_lines_as_were_written() {
        let mut page = Page::new();
        write!(page, "{:<4}", "a\nb");
        let evil = "\u{1b}[31m\n";
        writeln!(page, " {evil}");
        writeln!(page);
        page.text("two\nlines\u{9b}\n");
        assert_eq!(page.as_str(), "a\\nb  \\x1b[31m\\n\n\ntwo\nlines\\x9b\n");
        let mut page = Page::new();
        page.colored_line(Some(Color::Red), evil);
        page.colored_line(None, evil);
        assert_eq!(page.as_str(), "\x1b[31m\\x1b[31m\\n\x1b[0m\n\\x1b[31m\\n\n");
    }

    #[test]
    fn words_for_a_shell_mean_what_they_say() {
        let words = ["a", "", "a b", "it's", "$(id)", "-n", "é", "a\nb", "\u{1b}1", "\\'\n", "*", "~", "\u{9b}7"];
        for word in words {
            let script = format!("printf %s {}", shell_word(word));
            assert_eq!(line(&script), script, "{word:?}");
            let out = std::process::Command::new("bash").args(["-c", &script]).output();
            let Ok(out) = out else { continue };
            assert_eq!(String::from_utf8_lossy(&out.stdout), word.trim_start_matches("--"), "{script}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_goes_out_steers(text in any::<String>()) {
            for form in [Form::Text, Form::Line, Form::Json] {
                let shown = escaped(&text, form);
                let stays = |c: char| form != Form::Line && matches!(c, '\n' | '\t');
                prop_assert!(!shown.chars().any(|c| c.is_control() && !stays(c)));
                let turns = |c| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}');
                prop_assert!(!shown.chars().any(turns));
            }
        }
    }
}
