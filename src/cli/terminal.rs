//! What goes to a terminal only: colours, and one line that tells how far a long command has come.
//!
//! Promises: where stderr (stdout for data) is a pipe or a file, with `NO_COLOR` set or `TERM=dumb`, not one byte of either goes
//! out. Colours are put on texts whose data is escaped already, and change nothing but colours. The line of progress is the last
//! one of the screen: whatever else goes to stderr takes it away first and has it put back behind it.

use crate::sync::Locked;
use crate::text::escape::{Page, line};
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// How often the line of progress changes.
const EVERY: Duration = Duration::from_millis(500);

/// Whether colours are wanted where a terminal is: <https://no-color.org>.
fn wanted() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    !no_color && !dumb
}

/// Whether diagnostics may be coloured.
pub(super) fn colors_stderr() -> bool {
    static COLORS: OnceLock<bool> = OnceLock::new();
    *COLORS.get_or_init(|| std::io::stderr().is_terminal() && wanted())
}

/// Whether data may be coloured.
pub(super) fn colors_stdout() -> bool {
    static COLORS: OnceLock<bool> = OnceLock::new();
    *COLORS.get_or_init(|| std::io::stdout().is_terminal() && wanted())
}

const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[1;33m";
const BLUE: &str = "\x1b[34m";
const CYAN: &str = "\x1b[36m";
const GREEN: &str = "\x1b[32m";
const DIM: &str = "\x1b[2m";
const OFF: &str = "\x1b[0m";

/// `text` with `word` at its beginning in a colour.
fn lead<'t>(text: &'t str, word: &str, color: &str) -> Option<(String, &'t str)> {
    let rest = text.strip_prefix(word)?;
    Some((format!("{color}{word}{OFF}"), rest))
}

/// A report of mistakes in colours, which must be escaped already: what kind each is, the place, what is marked, what to do.
pub(super) fn report(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for line in text.split_inclusive('\n') {
        let (body, end) = line.strip_suffix('\n').map_or((line, ""), |body| (body, "\n"));
        out.push_str(&report_line(body).unwrap_or_else(|| body.to_owned()));
        out.push_str(end);
    }
    out
}

fn report_line(body: &str) -> Option<String> {
    if let Some((lead, rest)) = lead(body, "error:", RED).or_else(|| lead(body, "warning:", YELLOW)) {
        return Some(format!("{lead}{rest}"));
    }
    let trimmed = body.trim_start();
    let indent = &body[..body.len() - trimmed.len()];
    let arrow = lead(trimmed, "-->", BLUE).or_else(|| lead(trimmed, ":::", BLUE));
    if let Some((arrow, rest)) = arrow.or_else(|| lead(trimmed, "= help:", CYAN)) {
        return Some(format!("{indent}{arrow}{rest}"));
    }
    // What is marked stands below its line, whose number is not repeated.
    let marks = trimmed.strip_prefix('|')?;
    let at = marks.trim_start();
    let blank = &marks[..marks.len() - at.len()];
    let color = if at.starts_with('^') { RED } else { BLUE };
    Some(if at.is_empty() {
        format!("{indent}{BLUE}|{OFF}")
    } else {
        format!("{indent}{BLUE}|{OFF}{blank}{color}{at}{OFF}")
    })
}

/// A record of the text log in colours: its time fainter, its level as bad as it is. Records whose form is another stay as they are.
pub(super) fn record(text: &str) -> String {
    let parts = text.split_once('Z').filter(|(time, _)| time.starts_with(|c: char| c.is_ascii_digit()));
    let Some((time, rest)) = parts else { return text.to_owned() };
    let level = rest.trim_start();
    let blank = &rest[..rest.len() - level.len()];
    let colors = [("ERROR", RED), ("WARN", YELLOW), ("INFO", GREEN), ("DEBUG", BLUE), ("TRACE", DIM)];
    match colors.into_iter().find_map(|(word, color)| lead(level, word, color)) {
        Some((level, rest)) => format!("{DIM}{time}Z{OFF}{blank}{level}{rest}"),
        None => text.to_owned(),
    }
}

/// The line of progress that is on the screen; empty where there is none.
static SHOWN: Mutex<String> = Mutex::new(String::new());

/// Writes to stderr, around the line of progress.
pub(super) fn write_stderr(bytes: &[u8]) {
    let shown = SHOWN.locked();
    let mut stderr = std::io::stderr().lock();
    if shown.is_empty() {
        drop(stderr.write_all(bytes));
        return;
    }
    drop(stderr.write_all(&[b"\r\x1b[K", bytes, shown.as_bytes()].concat()));
}

/// Tells how far a command has come, on a terminal; nothing anywhere else.
pub(super) struct Progress {
    shows: bool,
    began: Instant,
    said: Option<Instant>,
}

/// How far a command has come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Stand {
    /// Events done.
    pub(super) events: u64,
    /// Bytes done, and of how many, where that is known.
    pub(super) bytes: Option<(u64, u64)>,
    /// Events of how many, where that is known.
    pub(super) of_events: Option<u64>,
}

impl Progress {
    /// A command begins; where the log is JSON nothing is shown.
    pub(super) fn new(is_json: bool) -> Self {
        let shows = std::io::stderr().is_terminal() && wanted() && !is_json;
        Progress { shows, began: Instant::now(), said: None }
    }

    /// Whether somebody sees it.
    pub(super) fn shows(&self) -> bool {
        self.shows
    }

    /// When the line is to be shown next.
    pub(super) fn every() -> Duration {
        EVERY
    }

    /// Shows how far it is, at most twice a second.
    pub(super) fn show(&mut self, what: &str, stand: impl FnOnce() -> Stand) {
        if !self.shows {
            return;
        }
        let now = Instant::now();
        if self.said.is_some_and(|said| now - said < EVERY) {
            return;
        }
        self.said = Some(now);
        self.put(&words(what, stand(), self.began.elapsed()));
    }

    /// Shows these words.
    pub(super) fn put(&self, words: &str) {
        if !self.shows {
            return;
        }
        let columns = super::columns().unwrap_or(80).saturating_sub(1);
        let text: String = line(words).chars().take(columns).collect();
        let mut shown = SHOWN.locked();
        *shown = text;
        drop(std::io::stderr().write_all(format!("\r\x1b[K{shown}").as_bytes()));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let mut shown = SHOWN.locked();
        if !shown.is_empty() {
            shown.clear();
            drop(std::io::stderr().write_all(b"\r\x1b[K"));
        }
    }
}

/// `reading: 12.0 of 48.0 MiB, 1234567 events, 410000 events/s, 9 s left`.
fn words(what: &str, stand: Stand, took: Duration) -> String {
    let seconds = took.as_secs_f64().max(1e-3);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let mut parts = Vec::new();
    if let Some((done, of)) = stand.bytes {
        parts.push(format!("{:.1} of {:.1} MiB", mib(done), mib(of)));
    }
    parts.push(match stand.of_events {
        Some(of) => format!("{} of {of} events", stand.events),
        None => format!("{} events", stand.events),
    });
    parts.push(format!("{:.0} events/s", stand.events as f64 / seconds));
    let share = match (stand.bytes, stand.of_events) {
        (Some((done, of)), _) => Some((done as f64, of as f64)),
        (None, Some(of)) => Some((stand.events as f64, of as f64)),
        (None, None) => None,
    };
    if let Some((done, of)) = share.filter(|(done, of)| *done > 0.0 && of > done) {
        parts.push(format!("{:.0} s left", (seconds * (of - done) / done).ceil()));
    }
    format!("{what}: {}", parts.join(", "))
}

/// A page for stderr, with its mistakes coloured where that is a terminal and the log is not JSON.
pub(super) fn painted(page: &Page, is_json: bool) -> String {
    match colors_stderr() && !is_json {
        true => report(page.as_str()),
        false => page.as_str().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Without what colours it.
    fn plain(text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('\x1b') {
            out.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        out + rest
    }

    #[test]
    fn colours_change_nothing_but_colours() {
        let text = "error: unknown key `a`\n  --> t.yaml:2:3\n   |\n 2 |   a: | x\n   |   ^\n   = help: b\n\nwarning: c\n1 error\n";
        let painted = report(text);
        assert_eq!(plain(&painted), text);
        for part in ["\x1b[1;31merror:", "\x1b[1;33mwarning:", "\x1b[1;31m^\x1b[0m", "\x1b[36m= help:", "\x1b[34m-->"] {
            assert!(painted.contains(part), "{part}: {painted:?}");
        }
        assert!(painted.contains(" 2 |   a: | x\n"), "a line of the file stays: {painted:?}");
        for text in ["2026-01-01T00:00:00.1Z  WARN it is a=1\n", "no time\n", "", "2026Z else\n"] {
            assert_eq!(plain(&record(text)), text);
        }
        assert!(record("2026-01-01T00:00:00.1Z ERROR x\n").contains("\x1b[1;31mERROR\x1b[0m x"));
    }

    #[test]
    fn progress_tells_bytes_speed_and_what_is_left() {
        let took = Duration::from_secs(10);
        let stand = Stand { events: 1000, bytes: Some((1 << 20, 4 << 20)), of_events: None };
        assert_eq!(words("reading", stand, took), "reading: 1.0 of 4.0 MiB, 1000 events, 100 events/s, 30 s left");
        let stand = Stand { events: 500, bytes: None, of_events: Some(1000) };
        assert_eq!(words("replaying", stand, took), "replaying: 500 of 1000 events, 50 events/s, 10 s left");
        let stand = Stand { events: 0, ..Stand::default() };
        assert_eq!(words("writing", stand, took), "writing: 0 events, 0 events/s");
    }
}
