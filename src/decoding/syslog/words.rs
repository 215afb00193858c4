//! Words of headers: levels and facilities by name, and English that is no host.

/// A level by its name: the severity of RFC 5424.
fn level(name: &[u8]) -> Option<u8> {
    Some(match name {
        b"emerg" | b"emergency" | b"panic" => 0,
        b"alert" => 1,
        b"crit" | b"critical" => 2,
        b"err" | b"error" => 3,
        b"warn" | b"warning" => 4,
        b"notice" => 5,
        b"info" => 6,
        b"debug" | b"verbose" => 7,
        _ => return None,
    })
}

/// A facility by its name: the code of RFC 5424.
fn facility(name: &[u8]) -> Option<u8> {
    Some(match name {
        b"kern" => 0,
        b"user" => 1,
        b"mail" => 2,
        b"daemon" => 3,
        b"auth" | b"security" => 4,
        b"syslog" => 5,
        b"lpr" => 6,
        b"news" => 7,
        b"uucp" => 8,
        b"cron" => 9,
        b"authpriv" => 10,
        b"ftp" => 11,
        b"ntp" => 12,
        b"audit" => 13,
        [b'l', b'o', b'c', b'a', b'l', n @ b'0'..=b'7'] => 16 + (n - b'0'),
        _ => return None,
    })
}

/// What a word says of level and facility.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Priority {
    pub(super) facility: Option<u8>,
    pub(super) severity: u8,
}

/// `user.notice` (BusyBox), `auth|security:info` (AIX), `<auth.info>` and `<3.6>` (FreeBSD): both, from sets that are closed.
pub(super) fn priority(word: &[u8]) -> Option<Priority> {
    // How levels end: cheaper than to look through the names of all hosts.
    const LAST: &[u8] = b"golrtenyc>";
    if word.len() > 24 || !word.last().is_some_and(|c| LAST.contains(c)) {
        return None;
    }
    let (word, bracketed) = match word {
        [b'<', inner @ .., b'>'] => (inner, true),
        _ => (word, false),
    };
    if let ([d @ b'0'..=b'9', b'.', severity @ b'0'..=b'7'], true) = (word, bracketed) {
        return Some(Priority { facility: Some(d - b'0'), severity: severity - b'0' });
    }
    if let ([t @ b'1'..=b'2', d @ b'0'..=b'9', b'.', severity @ b'0'..=b'7'], true) = (word, bracketed) {
        let code = (t - b'0') * 10 + (d - b'0');
        return (code <= 23).then_some(Priority { facility: Some(code), severity: severity - b'0' });
    }
    let mark = word.iter().rposition(|c| matches!(c, b'.' | b':'))?;
    let severity = level(&word[mark + 1..])?;
    let first = word[..mark].split(|c| *c == b'|').next()?;
    Some(Priority { facility: Some(facility(first)?), severity })
}

/// `info`: a level alone.
pub(super) fn bare_level(word: &[u8]) -> Option<Priority> {
    level(word).map(|severity| Priority { facility: None, severity })
}

/// Words that begin messages of devices and relays which write no host, sorted.
const ENGLISH: [&str; 103] = [
    "a",
    "above",
    "accepted",
    "access",
    "account",
    "added",
    "alarm",
    "alert",
    "all",
    "an",
    "and",
    "at",
    "attempt",
    "authentication",
    "cannot",
    "changed",
    "client",
    "closed",
    "closing",
    "command",
    "configuration",
    "connected",
    "connecting",
    "connection",
    "could",
    "created",
    "crit",
    "critical",
    "debug",
    "deleted",
    "denied",
    "detected",
    "disconnected",
    "dropped",
    "emerg",
    "emergency",
    "err",
    "error",
    "failed",
    "failure",
    "fatal",
    "for",
    "from",
    "info",
    "information",
    "interface",
    "invalid",
    "is",
    "it",
    "last",
    "link",
    "log",
    "logged",
    "login",
    "logout",
    "message",
    "new",
    "no",
    "not",
    "notice",
    "on",
    "packet",
    "panic",
    "password",
    "port",
    "previous",
    "received",
    "rejected",
    "removed",
    "request",
    "restart",
    "restarted",
    "restarting",
    "sending",
    "session",
    "shutdown",
    "shutting",
    "started",
    "starting",
    "stopped",
    "stopping",
    "successful",
    "successfully",
    "system",
    "test",
    "the",
    "this",
    "to",
    "trace",
    "unable",
    "unexpected",
    "unknown",
    "update",
    "updated",
    "updating",
    "user",
    "using",
    "verbose",
    "warn",
    "warning",
    "was",
    "we",
    "your",
];

/// Whether a word is a level in any case, as loggers write them, or the letter of one.
pub(super) fn is_level(word: &[u8]) -> bool {
    let mut low = [0; 16];
    let Some(low) = low.get_mut(..word.len()) else { return false };
    low.copy_from_slice(word);
    low.make_ascii_lowercase();
    level(low).is_some() || matches!(&*low, b"fatal" | b"trace") || matches!(word, [b'A'..=b'Z'])
}

/// Whether a word in a tag's place is a level, or says that one follows.
pub(super) fn is_level_word(word: &[u8]) -> bool {
    let mut low = [0; 13];
    let Some(low) = low.get_mut(..word.len()).filter(|low| low.len() > 2) else { return false };
    low.copy_from_slice(word);
    low.make_ascii_lowercase();
    level(low).is_some() || matches!(&*low, b"fatal" | b"trace" | b"severity" | b"information" | b"informational")
}

/// Whether a word is one of English that begins a text.
pub(super) fn is_english(word: &[u8]) -> bool {
    let mut low = [0; 16];
    let Some(low) = low.get_mut(..word.len()) else { return false };
    low.copy_from_slice(word);
    low.make_ascii_lowercase();
    ENGLISH.binary_search_by(|known| known.as_bytes().cmp(low)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn english_is_sorted() {
        assert!(ENGLISH.is_sorted());
        assert!(
            is_english(b"Last")
                && is_english(b"your")
                && !is_english(b"web")
                && !is_english(b"")
                && !is_english(&[b'a'; 17])
        );
    }

    #[test]
    fn priorities_are_of_closed_sets() {
        let read = |word: &str| priority(word.as_bytes()).map(|p| (p.facility, p.severity));
        assert_eq!(read("user.notice"), Some((Some(1), 5)));
        assert_eq!(read("auth|security:info"), Some((Some(4), 6)));
        assert_eq!(read("<local7.err>"), Some((Some(23), 3)));
        assert_eq!((read("<3.6>"), read("<23.0>"), read("<24.0>")), (Some((Some(3), 6)), Some((Some(23), 0)), None));
        for word in ["mail.example.org", "web.info", "3.6", "user.nobody", "info", "10.0.0.1", ""] {
            assert_eq!(read(word), None, "{word}");
        }
    }
}
