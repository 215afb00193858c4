//! RFC 3164, which describes what was seen and not what must be, and its relatives.

use super::super::span::Span;
use super::{Format, Line, Message, When};
use crate::time::{Civil, parse_rfc3339};

/// A message whose header stands at `at`, behind the priority. `None` where nothing of it looks like one.
pub(super) fn parse(line: &Line<'_>, pri: Option<u8>, at: usize) -> Option<Message> {
    let mut message = Message::new(Format::Rfc3164, pri);
    let from = line.skip_blanks(at);
    let (cisco, start) = cisco_front(line, from, &mut message);
    let Some((when, at)) = timestamp(line, start, cisco) else {
        return without_time(line, pri, from);
    };
    message.timestamp = Some(when);
    let mut at = line.skip_blanks(at);
    let word = line.word(at);
    if !cisco && is_host(line, word) {
        message.hostname = Some(word);
        at = line.skip_blanks(word.end);
        // `host : %ASA-6-302013: …`
        if line.rest(at).starts_with(b": %") {
            at += 2;
        }
    } else if let Some(host) = host_before_cisco_tag(line, word) {
        message.hostname = Some(host);
        at = line.skip_blanks(word.end);
    }
    content(line, at, true, &mut message);
    Some(message)
}

/// Priority and tag at once, as Python's handler and some daemons write; or nothing but a message.
fn without_time(line: &Line<'_>, pri: Option<u8>, at: usize) -> Option<Message> {
    pri?;
    let mut message = Message::new(Format::Rfc3164, pri);
    content(line, at, false, &mut message);
    message.appname.is_some().then_some(message)
}

/// `643: `, `105: 000104: `, `269614: myhostname: ` or `: ` in front of a time. Whether there was any, and where the time
/// begins. Nothing is noted unless a time follows.
fn cisco_front(line: &Line<'_>, from: usize, message: &mut Message) -> (bool, usize) {
    let mut numbers = [None; 2];
    let (mut host, mut at, mut seen) = (None, from, false);
    if line.rest(at).starts_with(b": ") {
        (at, seen) = (at + 2, true);
    }
    for place in &mut numbers {
        let word = line.word(at);
        let Some(digits) = word.of(line.text).strip_suffix(b":") else { break };
        if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
            break;
        }
        *place = Some(digits.iter().fold(0, |n, c| n * 10 + u64::from(c - b'0')));
        (at, seen) = (line.skip_blanks(word.end), true);
    }
    if seen && timestamp(line, at, true).is_none() {
        let word = line.word(at);
        if word.of(line.text).ends_with(b":") && word.len() > 1 {
            host = Some(Span::new(word.start, word.end - 1));
            at = line.skip_blanks(word.end);
        }
    }
    if !seen || timestamp(line, at, true).is_none() {
        return (false, from);
    }
    [message.message_counter, message.sequence] = numbers;
    message.hostname = host;
    (true, at)
}

/// The time at `at` and the position behind it and a colon that follows.
///
/// Shape: RFC 3339; the same without zone; `Mmm [d]d [yyyy] hh:mm:ss[.f]` in any case, on Cisco devices with `*` or `.` in
/// front (a clock that is not synchronised) and the name of a zone behind.
fn timestamp(line: &Line<'_>, at: usize, cisco: bool) -> Option<(When, usize)> {
    let mut at = at;
    if cisco && matches!(line.byte(at), Some(b'*' | b'.')) {
        at += 1;
    }
    let word = line.word(at);
    let bare = match word.of(line.text) {
        [.., b':'] => Span::new(word.start, word.end - 1),
        _ => word,
    };
    if parse_rfc3339(bare.of(line.text)).is_some() {
        return Some((When::Exact(bare), word.end));
    }
    if let Some(civil) = iso_without_zone(bare.of(line.text)) {
        return Some((When::Local { civil, has_year: true }, word.end));
    }
    let (when, mut end) = bsd(line, at)?;
    if cisco && line.byte(end) == Some(b' ') {
        let zone = line.word(end + 1);
        if matches!(zone.of(line.text), [name @ .., b':'] if (2..=5).contains(&name.len()) && name.iter().all(u8::is_ascii_uppercase))
        {
            return Some((when, zone.end));
        }
    }
    if line.byte(end) == Some(b':') {
        end += 1;
    }
    matches!(line.byte(end), None | Some(b' ')).then_some((when, end))
}

fn bsd(line: &Line<'_>, at: usize) -> Option<(When, usize)> {
    const MONTHS: [&[u8; 3]; 12] =
        [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];
    let name: [u8; 3] = line.text.get(at..at + 3)?.try_into().ok()?;
    let name = name.map(|c| c.to_ascii_lowercase());
    let month = MONTHS.iter().position(|m| **m == name)? as u8 + 1;
    if line.byte(at + 3) != Some(b' ') {
        return None;
    }
    let (day, at) = number(line, line.skip_blanks(at + 3), 2)?;
    if line.byte(at) != Some(b' ') {
        return None;
    }
    let mut at = line.skip_blanks(at);
    let mut year = None;
    if let Some((y, behind)) = number(line, at, 4)
        && behind == at + 4
        && line.byte(behind) == Some(b' ')
    {
        year = Some(y);
        at = line.skip_blanks(behind);
    }
    let (hour, minute, second, nanos, end) = clock(line, at)?;
    let civil = Civil { year: year.map_or(0, |y| y as i32), month, day: day as u8, hour, minute, second, nanos };
    // The year 2000 has every day a year can have.
    let possible = Civil { year: year.map_or(2000, |y| y as i32), ..civil }.is_real();
    possible.then_some((When::Local { civil, has_year: year.is_some() }, end))
}

fn iso_without_zone(text: &[u8]) -> Option<Civil> {
    let line = Line { text };
    let (year, at) = number(&line, 0, 4)?;
    let (month, at) = number(&line, (at == 4 && line.byte(4) == Some(b'-')).then_some(5)?, 2)?;
    let (day, at) = number(&line, (line.byte(at) == Some(b'-')).then_some(at + 1)?, 2)?;
    let (hour, minute, second, nanos, end) =
        clock(&line, matches!(line.byte(at), Some(b'T' | b't')).then_some(at + 1)?)?;
    let civil = Civil { year: year as i32, month: month as u8, day: day as u8, hour, minute, second, nanos };
    (end == text.len() && civil.is_real()).then_some(civil)
}

/// `hh:mm:ss[.f…]` and the position behind it.
fn clock(line: &Line<'_>, at: usize) -> Option<(u8, u8, u8, u32, usize)> {
    let (hour, at) = number(line, at, 2)?;
    let (minute, at) = number(line, (line.byte(at) == Some(b':')).then_some(at + 1)?, 2)?;
    let (second, mut at) = number(line, (line.byte(at) == Some(b':')).then_some(at + 1)?, 2)?;
    let mut nanos = 0;
    if matches!(line.byte(at), Some(b'.' | b',')) && line.byte(at + 1).is_some_and(|c| c.is_ascii_digit()) {
        at += 1;
        let mut unit = 100_000_000;
        while let Some(c) = line.byte(at).filter(u8::is_ascii_digit) {
            nanos += u32::from(c - b'0') * unit;
            unit /= 10;
            at += 1;
        }
    }
    Some((hour as u8, minute as u8, second as u8, nanos, at))
}

/// One to `most` digits.
fn number(line: &Line<'_>, at: usize, most: usize) -> Option<(u32, usize)> {
    let digits = line.rest(at).iter().take(most).take_while(|c| c.is_ascii_digit()).count();
    let value = line.rest(at).iter().take(digits).fold(0, |n, c| n * 10 + u32::from(c - b'0'));
    (digits > 0).then_some((value, at + digits))
}

/// Whether a word in the host's place is one: made of what names and addresses are made of, and no tag.
fn is_host(line: &Line<'_>, word: Span) -> bool {
    let text = word.of(line.text);
    !text.is_empty()
        && text.last() != Some(&b':')
        && text.iter().all(|c| {
            c.is_ascii_alphanumeric() || matches!(c, b'.' | b':' | b'-' | b'_' | b'/' | b'@' | b'%') || *c >= 0x80
        })
        && text.iter().any(|c| c.is_ascii_alphanumeric() || *c >= 0x80)
        && text.first() != Some(&b'%')
}

/// `host: %ASA-…`: a host that looks like a tag, in front of what can only be one.
fn host_before_cisco_tag(line: &Line<'_>, word: Span) -> Option<Span> {
    let name = word.of(line.text).strip_suffix(b":")?;
    let next = line.skip_blanks(word.end);
    (!name.is_empty() && name[0] != b'%' && line.byte(next) == Some(b'%')).then(|| Span::new(word.start, word.end - 1))
}

/// Tag and message from `at`.
fn content(line: &Line<'_>, at: usize, timed: bool, message: &mut Message) {
    let mut at = at;
    if let Some((app, pid, end)) = tag(line, at, timed) {
        message.appname = Some(app);
        message.procid = pid;
        at = end;
        if line.byte(at) == Some(b' ') {
            at += 1;
        }
    }
    message.message = line.message(at);
}

/// `app:`, `app[pid]:` or `app[pid]` at `at`, and the position behind.
fn tag(line: &Line<'_>, at: usize, timed: bool) -> Option<(Span, Option<Span>, usize)> {
    let rest = line.rest(at);
    let len = rest.iter().position(|c| matches!(c, b' ' | b':' | b'[' | b'\t'))?;
    let app = Span::new(at, at + len).non_empty()?;
    if !app.of(line.text).iter().any(u8::is_ascii_alphanumeric) || app.of(line.text).contains(&b'=') {
        return None;
    }
    let ends = |at: usize| matches!(line.byte(at), None | Some(b' '));
    match line.byte(app.end)? {
        b':' => {
            let end = app.end + 1;
            // `tag:text` is a tag only where a header says so, and never `http://…` or `12:30`.
            let glued = timed && line.byte(end) != Some(b'/') && !app.of(line.text).iter().all(u8::is_ascii_digit);
            (ends(end) || glued).then_some((app, None, end))
        }
        b'[' => {
            let close = app.end + 1 + memchr::memchr(b']', line.rest(app.end + 1))?;
            let pid = Span::new(app.end + 1, close).non_empty()?;
            if pid.of(line.text).contains(&b' ') {
                return None;
            }
            match line.byte(close + 1) {
                Some(b':') => Some((app, Some(pid), close + 2)),
                _ => None,
            }
        }
        _ => None,
    }
}
