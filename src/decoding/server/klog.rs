//! klog, as Kubernetes writes it, and glog.
//!
//! ```text
//! I0505 17:59:40.692994   28133 klog.go:70] hello from klog
//! E0505 17:59:40.692994       1 controller.go:116] "Pod status updated" pod="kube-system/dns" status="ready"
//! W20240505 17:59:40.692994 28133 a.cc:7] glog has a year
//! ```
//!
//! Source: klog's `klog.go`, `formatHeader` and `serialize.KVListFormat`; glog's `logging.cc`.

use super::{Cursor, Found, Name, Span};

const REFUSED: &str = "not a line of klog";

pub(super) fn parse(line: &[u8], found: &mut Found) -> Result<(), &'static str> {
    head(line, found).ok_or(REFUSED)
}

fn head(line: &[u8], found: &mut Found) -> Option<()> {
    let mut cursor = Cursor::new(line);
    cursor.blanks();
    let level = match line.get(cursor.at)? {
        b'I' => "info",
        b'W' => "warning",
        b'E' => "error",
        b'F' => "fatal",
        _ => return None,
    };
    cursor.at += 1;
    let day = cursor.digits()?;
    cursor.eat(b" ")?;
    let time = cursor.word()?;
    if !matches!(time.of(line), [b'0'..=b'9', _, b':', _, _, b':', ..]) {
        return None;
    }
    match day.len() {
        4 => {
            // Without a year, as other logs write it: `May 05 17:59:40.692994`.
            const MONTHS: [&[u8]; 12] = [
                b"Jan ", b"Feb ", b"Mar ", b"Apr ", b"May ", b"Jun ", b"Jul ", b"Aug ", b"Sep ", b"Oct ", b"Nov ",
                b"Dec ",
            ];
            let month = super::integer(&day.of(line)[..2]).and_then(|month| usize::try_from(month - 1).ok())?;
            found.at(MONTHS.get(month)?);
            found.at(&day.of(line)[2..]);
        }
        8 => found.at(day.of(line)),
        _ => return None,
    }
    found.at(b" ");
    found.at(time.of(line));
    let pid = cursor.digits()?;
    cursor.blanks();
    let place = cursor.until(b"]")?;
    let colon = memchr::memrchr(b':', place.of(line))?;
    found.word(Name::Level, level);
    found.number(Name::Pid, line, pid);
    found.text(Name::File, Span::new(place.start, place.start + colon));
    found.number(Name::Line, line, Span::new(place.start + colon + 1, place.end));
    cursor.eat(b" ");
    message(line, &cursor, found);
    Some(())
}

/// The message, or a quoted one with pairs behind it.
fn message(line: &[u8], cursor: &Cursor<'_>, found: &mut Found) {
    let all = cursor.rest_span();
    let structured = || {
        let rest = all.of(line).strip_prefix(b"\"")?;
        let end = (0..rest.len()).find(|at| {
            let slashes = rest[..*at].iter().rev().take_while(|c| **c == b'\\').count();
            rest[*at] == b'"' && slashes % 2 == 0
        })?;
        let pairs = Span::new(all.start + end + 2, all.end);
        let text = Span::new(all.start + 1, all.start + 1 + end);
        // An escaped message stays as it is.
        let plain = !text.of(line).contains(&b'\\');
        (plain && (pairs.is_empty() || pairs.of(line).starts_with(b" ")) && is_pairs(pairs.of(line)))
            .then_some((text, pairs))
    };
    match structured() {
        Some((text, pairs)) => {
            found.text(Name::Message, text);
            found.pairs = pairs.non_empty();
        }
        None => found.text(Name::Message, all),
    }
}

fn is_pairs(text: &[u8]) -> bool {
    let mut pairs = Vec::new();
    let own = |key: &[u8]| matches!(key, b"timestamp" | b"level" | b"pid" | b"file" | b"line" | b"message");
    text.trim_ascii().is_empty()
        || (crate::decoding::logfmt::parse(text, &mut pairs).is_ok()
            && pairs
                .iter()
                .all(|pair| !own(pair.key.of(text)) && !matches!(pair.value, crate::decoding::logfmt::PairValue::Flag)))
}
