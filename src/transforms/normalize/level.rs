//! Severity words and numbers to the four levels.

/// The four levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    pub(crate) fn text(self) -> &'static [u8] {
        match self {
            Level::Debug => b"DEBUG",
            Level::Info => b"INFO",
            Level::Warn => b"WARN",
            Level::Error => b"ERROR",
        }
    }
}

/// Whether a text is one of the four already.
#[inline]
pub(crate) fn is_canonical(text: &[u8]) -> bool {
    matches!(text, b"INFO" | b"DEBUG" | b"WARN" | b"ERROR")
}

/// The level that a word (any case, trimmed) or a number in digits stands for.
pub(crate) fn of_text(text: &[u8]) -> Option<Level> {
    let text = text.trim_ascii();
    if text.len() > 16 || text.is_empty() {
        return None;
    }
    if text[0].is_ascii_digit() {
        return std::str::from_utf8(text).ok()?.parse().ok().and_then(of_number);
    }
    let mut upper = [0u8; 16];
    for (to, from) in upper.iter_mut().zip(text) {
        *to = from.to_ascii_uppercase();
    }
    Some(match &upper[..text.len()] {
        b"DEBUG" | b"TRACE" => Level::Debug,
        b"INFO" | b"INFORMATION" | b"NOTICE" => Level::Info,
        b"WARN" | b"WARNING" => Level::Warn,
        b"ERROR" | b"FATAL" | b"CRITICAL" | b"ERR" | b"CRIT" | b"ALERT" | b"EMERG" | b"PANIC" | b"SEVERE" => {
            Level::Error
        }
        _ => return None,
    })
}

/// The level of a number: syslog's 0 to 7; 10 to 60 as pino and bunyan count.
pub(crate) fn of_number(n: i64) -> Option<Level> {
    Some(match n {
        0..=3 => Level::Error,
        4 => Level::Warn,
        5 | 6 | 30 => Level::Info,
        7 | 10 | 20 => Level::Debug,
        40 => Level::Warn,
        50.. => Level::Error,
        _ => return None,
    })
}
