//! Severity words and numbers to the four levels.
//!
//! Words in any case, with what loggers put around them: colours (`ESC [31m`), brackets, a colon, slog's distance
//! (`ERROR+2`), OpenTelemetry's and PostgreSQL's number (`INFO3`, `DEBUG1`). Whole words, the forms of three and four letters
//! of console writers, and single letters (klog, logcat). Words and numbers of the user's own go first.
//!
//! Sources of the words: syslog (RFC 5424), log4j, java.util.logging, .NET, Python, Go's slog and zap, zerolog, Serilog,
//! logrus, loguru, klog, logcat, nginx, Apache, PostgreSQL, MySQL, Redis, Monolog, OpenTelemetry.

use crate::settings::config_enum;

config_enum! {
    /// The four levels.
    pub enum Level {
        /// Debugging and tracing.
        Debug = "DEBUG",
        /// What happens as it should.
        Info = "INFO",
        /// Warnings.
        Warn = "WARN",
        /// Errors and worse.
        Error = "ERROR",
    }
}

config_enum! {
    /// What numbers in the place of a level mean.
    pub enum LevelNumbers {
        /// 0 to 7 as syslog counts, 10, 20, … 60 as pino and bunyan do; other numbers are unknown.
        Auto = "auto",
        /// 100 to 600, as Monolog counts.
        Monolog = "monolog",
        /// 1 to 24, as OpenTelemetry counts.
        Otel = "otel",
    }
}

/// How levels are read.
#[derive(Clone, Debug)]
pub(crate) struct Levels {
    /// Words and numbers of the user's own, in capitals.
    own: Vec<(String, Level)>,
    numbers: LevelNumbers,
}

/// Longer texts are no level, colours and brackets included.
const MAX_LEN: usize = 64;
/// No word is longer.
const MAX_WORD: usize = 16;

impl Level {
    pub(crate) fn text(self) -> &'static [u8] {
        self.word().as_bytes()
    }

    /// What the status of an answer says: 5xx and 4xx.
    pub(crate) fn of_status(status: i64) -> Option<Level> {
        match status {
            500..=599 => Some(Level::Error),
            400..=499 => Some(Level::Warn),
            100..=399 => Some(Level::Info),
            _ => None,
        }
    }
}

/// Whether a text is one of the four already.
#[inline]
pub(crate) fn is_canonical(text: &[u8]) -> bool {
    matches!(text, b"INFO" | b"DEBUG" | b"WARN" | b"ERROR")
}

impl Levels {
    /// `own`: words and numbers (as text) that go first.
    pub(crate) fn new(own: impl IntoIterator<Item = (String, Level)>, numbers: LevelNumbers) -> Levels {
        Levels { own: own.into_iter().map(|(word, level)| (word.trim().to_uppercase(), level)).collect(), numbers }
    }

    /// Whether words of the four levels may mean something else.
    pub(crate) fn has_own(&self) -> bool {
        !self.own.is_empty()
    }

    /// The level that a word or a number in digits stands for.
    pub(crate) fn of_text(&self, text: &[u8]) -> Option<Level> {
        if text.len() > MAX_LEN {
            return self.own(text.trim_ascii());
        }
        if let Some(level) = self.own(text.trim_ascii()) {
            return Some(level);
        }
        let text = bare(text);
        let mut upper = [0u8; MAX_WORD];
        let word = upper.get_mut(..text.len()).filter(|word| !word.is_empty())?;
        word.copy_from_slice(text);
        word.make_ascii_uppercase();
        if let Some(level) = self.own(word) {
            return Some(level);
        }
        if word.iter().all(u8::is_ascii_digit) {
            return std::str::from_utf8(word).ok()?.parse().ok().and_then(|n| number(n, self.numbers));
        }
        word_level(word).or_else(|| word_level(without_distance(word)?))
    }

    /// The level of a number.
    pub(crate) fn of_number(&self, n: i64) -> Option<Level> {
        if self.has_own()
            && let Some(level) = self.own(n.to_string().as_bytes())
        {
            return Some(level);
        }
        number(n, self.numbers)
    }

    fn own(&self, word: &[u8]) -> Option<Level> {
        if self.own.is_empty() {
            return None;
        }
        let text = String::from_utf8_lossy(word).to_uppercase();
        self.own.iter().find(|(own, _)| *own == text).map(|(_, level)| *level)
    }
}

/// The text without blanks, colours, brackets, quotes and a colon around it.
fn bare(mut text: &[u8]) -> &[u8] {
    loop {
        let before = text.len();
        text = text.trim_ascii();
        text = text.strip_suffix(b":").unwrap_or(text);
        // A colour: escape, bracket, digits and semicolons, m.
        if let Some(rest) = text.strip_prefix(b"\x1b[") {
            text = end_of_colour(rest).unwrap_or(text);
        }
        if let Some(rest) = text.strip_suffix(b"m")
            && let Some(start) = rest.iter().rposition(|b| !b.is_ascii_digit() && *b != b';')
            && rest[..=start].ends_with(b"\x1b[")
        {
            text = &text[..start - 1];
        }
        text = match text {
            [b'[', inner @ .., b']']
            | [b'(', inner @ .., b')']
            | [b'<', inner @ .., b'>']
            | [b'|', inner @ .., b'|']
            | [b'"', inner @ .., b'"']
            | [b'\'', inner @ .., b'\''] => inner,
            text => text,
        };
        if text.len() == before {
            return text;
        }
    }
}

/// What follows a colour of which the escape and bracket are gone.
fn end_of_colour(rest: &[u8]) -> Option<&[u8]> {
    let end = rest.iter().position(|b| !b.is_ascii_digit() && *b != b';')?;
    rest[end..].strip_prefix(b"m")
}

/// `ERROR` of `ERROR+2`, `INFO-1` and `ERROR2`.
fn without_distance(word: &[u8]) -> Option<&[u8]> {
    let end = word.iter().rposition(|b| !b.is_ascii_digit())? + 1;
    match &word[..end] {
        _ if end == word.len() => None,
        [head @ .., b'+' | b'-'] => Some(head),
        // One digit: `DEBUG5`, `ERROR4`.
        head if word.len() - end == 1 && head.len() > 1 => Some(head),
        _ => None,
    }
}

fn word_level(word: &[u8]) -> Option<Level> {
    Some(match word {
        b"DEBUG" | b"TRACE" | b"VERBOSE" | b"FINE" | b"FINER" | b"FINEST" | b"CONFIG" | b"ALL" => Level::Debug,
        b"DBG" | b"DEB" | b"TRC" | b"TRA" | b"VRB" | b"DBUG" | b"DEBU" | b"TRAC" | b"TRCE" | b"VERB" => Level::Debug,
        b"INFO" | b"INFORMATION" | b"INFORMATIONAL" | b"NOTICE" | b"NOTE" | b"SUCCESS" | b"LOG" | b"SYSTEM" => {
            Level::Info
        }
        b"INF" | b"NOT" | b"NTC" | b"NOTI" | b"INFORM" => Level::Info,
        b"WARN" | b"WARNING" | b"WRN" | b"WAR" | b"WARNI" => Level::Warn,
        b"ERROR" | b"FATAL" | b"CRITICAL" | b"ERR" | b"CRIT" | b"ALERT" | b"EMERG" | b"EMERGENCY" | b"PANIC"
        | b"DPANIC" | b"SEVERE" | b"FAIL" | b"FAILURE" | b"ASSERT" => Level::Error,
        b"FTL" | b"FAT" | b"CRT" | b"CRI" | b"ALR" | b"EMG" | b"EME" | b"PNC" | b"PAN" | b"ERRO" | b"FATA"
        | b"PANI" | b"SEV" => Level::Error,
        b"D" | b"T" | b"V" => Level::Debug,
        b"I" | b"N" => Level::Info,
        b"W" => Level::Warn,
        b"E" | b"F" | b"C" | b"A" | b"P" => Level::Error,
        _ => return None,
    })
}

fn number(n: i64, numbers: LevelNumbers) -> Option<Level> {
    Some(match (numbers, n) {
        (LevelNumbers::Auto, 0..=3 | 50 | 60) => Level::Error,
        (LevelNumbers::Auto, 4 | 40) => Level::Warn,
        (LevelNumbers::Auto, 5 | 6 | 30) => Level::Info,
        (LevelNumbers::Auto, 7 | 10 | 20) => Level::Debug,
        (LevelNumbers::Monolog, 100) | (LevelNumbers::Otel, 1..=8) => Level::Debug,
        (LevelNumbers::Monolog, 200 | 250) | (LevelNumbers::Otel, 9..=12) => Level::Info,
        (LevelNumbers::Monolog, 300) | (LevelNumbers::Otel, 13..=16) => Level::Warn,
        (LevelNumbers::Monolog, 400 | 500 | 550 | 600) | (LevelNumbers::Otel, 17..=24) => Level::Error,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auto() -> Levels {
        Levels::new([], LevelNumbers::Auto)
    }

    #[test]
    fn words_of_loggers_with_what_they_put_around_them() {
        let rows: &[(Level, &[&str])] = &[
            (
                Level::Debug,
                &["debug", "TRACE", "Verbose", "DBG", "trce", "dbug", "FINEST", "D", "v", "DEBUG1", "TRACE4"],
            ),
            (
                Level::Info,
                &["info", "Information", "NOTICE", "INF", "i", "N", "Note", "LOG", "INFO+3", "INFO2", "success"],
            ),
            (Level::Warn, &["warn", "Warning", "WRN", "W", "WARN-1", "warning:", "(warn)"]),
            (
                Level::Error,
                &["error", "E", "FTL", "F", "ERROR+2", "[ERROR]", "\x1b[31mERROR\x1b[0m", "DPANIC", "emergency"],
            ),
            (
                Level::Error,
                &["\x1b[1;31m[ error ]\x1b[0m:", "<Error>", "|ERROR|", " crit ", "ERRO", "PANI", "fail", "fail:"],
            ),
            (Level::Error, &["ERROR4", "FATAL2", "\"error\"", "ALERT", "SEVERE", "Critical", "emerg", "A", "C"]),
        ];
        for (level, words) in rows {
            for word in *words {
                assert_eq!(auto().of_text(word.as_bytes()), Some(*level), "{word:?}");
            }
        }
    }

    #[test]
    fn what_is_no_level_is_unknown() {
        for word in
            ["", " ", "[]", "high", "B", "ERRORS", "INFO12", "E2", "+2", "\x1b[31m", "\x1b[31", "mERROR m", "1e1", "-1"]
        {
            assert_eq!(auto().of_text(word.as_bytes()), None, "{word:?}");
        }
        for n in [-1, 8, 9, 15, 70, 100, 200, 400, i64::MAX] {
            assert_eq!(auto().of_number(n), None, "{n}");
            assert_eq!(auto().of_text(n.to_string().as_bytes()), None, "{n}");
        }
    }

    #[test]
    fn numbers_mean_what_their_counting_says() {
        let of = |numbers, n| Levels::new([], numbers).of_number(n);
        for (n, level) in
            [(100, Level::Debug), (200, Level::Info), (250, Level::Info), (300, Level::Warn), (550, Level::Error)]
        {
            assert_eq!(of(LevelNumbers::Monolog, n), Some(level), "{n}");
        }
        for (n, level) in
            [(1, Level::Debug), (8, Level::Debug), (9, Level::Info), (13, Level::Warn), (17, Level::Error)]
        {
            assert_eq!(of(LevelNumbers::Otel, n), Some(level), "{n}");
        }
        assert_eq!((of(LevelNumbers::Otel, 0), of(LevelNumbers::Otel, 25)), (None, None));
        assert_eq!((of(LevelNumbers::Monolog, 4), of(LevelNumbers::Auto, 60)), (None, Some(Level::Error)));
    }

    #[test]
    fn words_of_the_users_own_go_first() {
        let own = [("e", Level::Info), ("200", Level::Warn), ("größer", Level::Error), ("[odd]", Level::Debug)];
        let levels = Levels::new(own.map(|(word, level)| (word.to_owned(), level)), LevelNumbers::Auto);
        for (word, level) in
            [("E", Level::Info), ("200", Level::Warn), ("GRÖßER", Level::Error), ("[odd]", Level::Debug)]
        {
            assert_eq!(levels.of_text(word.as_bytes()), Some(level), "{word}");
        }
        assert_eq!((levels.of_number(200), levels.of_number(3)), (Some(Level::Warn), Some(Level::Error)));
        assert_eq!(levels.of_text("[E]".as_bytes()), Some(Level::Info), "in brackets");
    }
}
