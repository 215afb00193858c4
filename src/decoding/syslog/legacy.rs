//! RFC 3164, which describes what was seen and not what must be, and its relatives.
//!
//! ```text
//! <34>Oct 11 22:14:15 host su[231]: text             <189>105: 000104: *Mar 12 07:12:10.295: %SYS-5-CONFIG_I: text
//! <189>: 2026 Oct  1 09:46:57 CET: %ETH-5-X: text    <189>sw-1: 001122: Oct 12 10:00:00.123 UTC: %LINK-3-X: text
//! <134>1 1790000000.77 mx flows src=10.0.0.1         <38>Sep 22 10:11:56 Message forwarded from aix: sshd[6]: text
//! <189>date=2026-10-01 time=10:00:00 devname="fw1"   <189>1234: RP/0/RSP0/CPU0:Oct 12 10:00:00.1 UTC: config[6]: text
//! ```
//!
//! A host is what stands behind the time; never a year, the name of a zone, or an English word that no tag follows.

use super::super::span::Span;
use super::when::{Found, epoch, header_time, is_year};
use super::{Format, Line, Message, When};

/// Words in front of a time: a host and two counters.
const MOST_FRONT: usize = 4;

/// A message whose header stands at `at`, behind the priority. `None` where nothing of it looks like one.
pub(super) fn parse(line: &Line<'_>, pri: Option<u8>, at: usize) -> Option<Message> {
    let mut message = Message::new(Format::Rfc3164, pri);
    let from = line.skip_blanks(at);
    let Some((cisco, time)) = front(line, from, &mut message) else {
        return versioned(line, pri, from).or_else(|| keyed(line, pri, from)).or_else(|| without_time(line, pri, from));
    };
    message.timestamp = Some(time.when);
    let mut at = line.skip_blanks(time.end);
    if !cisco {
        if let Some(fields) = without_version(line, &message, at) {
            return Some(fields);
        }
        at = host(line, at, &mut message);
    } else if let Some(host) = host_before_cisco_tag(line, line.word(at)) {
        message.hostname = Some(host);
        at = line.skip_blanks(host.end + 1);
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

/// RFC 5424's version before a time that is not its: `1 1790000000.774 host app text` (Meraki), `1 Oct 12 10:00:00 host …`.
fn versioned(line: &Line<'_>, pri: Option<u8>, at: usize) -> Option<Message> {
    if pri.is_none() || !line.rest(at).starts_with(b"1 ") {
        return None;
    }
    let mut message = Message::new(Format::Rfc3164, pri);
    message.version = Some(1);
    let from = line.skip_blanks(at + 1);
    if let Some((when, end)) = epoch(line, from) {
        message.timestamp = Some(when);
        let host = line.word(line.skip_blanks(end));
        if !is_host(line, host) {
            return None;
        }
        message.hostname = Some(host);
        let app = line.word(line.skip_blanks(host.end));
        let plain = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'.');
        match app.non_empty().filter(|app| app.of(line.text).iter().all(plain)) {
            Some(app) => {
                message.appname = Some(app);
                message.message = line.message(line.skip_blanks(app.end));
            }
            None => content(line, app.start, true, &mut message),
        }
        return Some(message);
    }
    let time = header_time(line, from)?;
    message.timestamp = Some(time.when);
    let at = host(line, line.skip_blanks(time.end), &mut message);
    content(line, at, true, &mut message);
    Some(message)
}

/// RFC 5424 without its version: `2026-10-01T10:00:00Z host app 123 ID - text`.
fn without_version(line: &Line<'_>, message: &Message, at: usize) -> Option<Message> {
    let Some(When::Exact(_)) = message.timestamp else { return None };
    message.pri?;
    let mut rest = at;
    let mut words = [Span::default(); 5];
    for word in &mut words {
        *word = line.word(rest);
        rest = word.non_empty()?.end + 1;
    }
    let [_, _, procid, _, data] = words.map(|word| word.of(line.text));
    let is_data = data == b"-" || data.starts_with(b"[") && super::data::end(line.text, words[4].start).is_some();
    let is_procid = procid == b"-" || procid.iter().all(u8::is_ascii_digit);
    if !is_data || !is_procid {
        return None;
    }
    line.fields(Message { format: Format::Rfc5424, ..*message }, at.checked_sub(1)?)
}

/// Firewalls that name everything (FortiGate, Sophos, SonicWall): time and host are taken, and all of the text is the message.
fn keyed(line: &Line<'_>, pri: Option<u8>, at: usize) -> Option<Message> {
    pri?;
    let head = &line.rest(at)[..line.rest(at).len().min(512)];
    let value = |key: &[u8]| {
        let found = memchr::memmem::find_iter(head, key).find(|&n| n == 0 || head[n - 1] == b' ')?;
        let from = at + found + key.len();
        match line.byte(from)? {
            b'"' => Some(Span::new(from + 1, from + 1 + memchr::memchr(b'"', line.rest(from + 1))?)),
            _ => Some(line.word(from)),
        }
    };
    let first = line.word(at);
    if !memchr::memchr(b'=', first.of(line.text)).is_some_and(|n| n > 0) {
        return None;
    }
    let time = match value(b"date=") {
        // `date=2026-10-01 time=10:00:00 tz="+0200"`
        Some(date) => {
            let clock = value(b"time=")?;
            let zone = value(b"tz=").or_else(|| value(b"timezone=")).map(|zone| zone.of(line.text)).unwrap_or_default();
            let text = [date.of(line.text), b" ", clock.of(line.text), b" ", zone].concat();
            header_time(&Line { text: text.trim_ascii_end() }, 0)?
        }
        None => header_time(&Line { text: value(b"time=").map(|time| time.of(line.text))? }, 0)?,
    };
    // Places of a text that was put together mean nothing here.
    let when = Some(time.when).filter(|when| !matches!(when, When::Exact(_)))?;
    let mut message = Message::new(Format::Rfc3164, pri);
    message.timestamp = Some(when);
    message.hostname = value(b"devname=").or_else(|| value(b"device_name=")).and_then(Span::non_empty);
    message.message = line.message(at);
    Some(message)
}

/// The time, with what devices put in front of it: `: `, `643: `, `105: 000104: `, `269614: host: `, `host: 000104: `,
/// `*` or `.` (a clock that is not synchronised), the node of an IOS-XR. Whether there was any of it. Nothing is noted unless
/// a time follows.
fn front(line: &Line<'_>, from: usize, message: &mut Message) -> Option<(bool, Found)> {
    if let Some(time) = header_time(line, from) {
        return Some((false, time));
    }
    let (mut counter, mut sequence, mut host) = (None, None, None);
    let (mut at, mut words) = (from, 0);
    let time = loop {
        at = line.skip_blanks(at);
        if words > 0
            && let Some(time) = header_time(line, at)
        {
            break time;
        }
        if matches!(line.byte(at), Some(b'*' | b'.' | b':')) {
            (at, words) = (at + 1, words + 1);
        } else {
            let word = line.word(at);
            let text = word.of(line.text);
            if let Some(node) = node_before_time(line, word) {
                host = host.or(Some(node));
                at = node.end + 1;
                words += 1;
            } else if let Some(name) = text.strip_suffix(b":").filter(|name| !name.is_empty()) {
                let is_number = name.len() <= 18 && name.iter().all(u8::is_ascii_digit);
                let number = is_number.then(|| name.iter().fold(0, |n, c| n * 10 + u64::from(c - b'0')));
                match number {
                    Some(n) if counter.is_none() && host.is_none() => counter = Some(n),
                    Some(n) if sequence.is_none() => sequence = Some(n),
                    None if host.is_none() && name[0] != b'%' => host = Some(Span::new(word.start, word.end - 1)),
                    _ => return None,
                }
                (at, words) = (word.end, words + 1);
            } else if counter.is_some() && host.is_none() && is_host(line, word) {
                // `1234: host RP/0/RSP0/CPU0:Oct 12 …`
                let next = line.word(line.skip_blanks(word.end));
                node_before_time(line, next)?;
                host = Some(word);
                (at, words) = (word.end, words + 1);
            } else {
                return None;
            }
        }
        if words > MOST_FRONT || line.byte(at).is_none() {
            return None;
        }
    };
    (message.message_counter, message.sequence, message.hostname) = (counter, sequence, host);
    Some((true, time))
}

/// `RP/0/RSP0/CPU0:Oct 12 10:00:00`: the node that is glued to the time.
fn node_before_time(line: &Line<'_>, word: Span) -> Option<Span> {
    let text = word.of(line.text);
    let colon = memchr::memchr(b':', text)?;
    let is_node = text[..colon].iter().filter(|c| **c == b'/').count() >= 2;
    let node = Span::new(word.start, word.start + colon);
    (is_node && header_time(line, node.end + 1).is_some()).then_some(node)
}

/// The host at `at`, noted; where what follows it begins.
fn host(line: &Line<'_>, at: usize, message: &mut Message) -> usize {
    let rest = line.rest(at);
    if let Some(relayed) = rest.strip_prefix(b"Message forwarded from ") {
        let from = line.word(at + rest.len() - relayed.len());
        if let Some(name) = from.of(line.text).strip_suffix(b":").filter(|name| !name.is_empty()) {
            message.hostname = Some(Span::new(from.start, from.start + name.len()));
            return line.skip_blanks(from.end);
        }
    }
    if rest.starts_with(b"last message repeated ") {
        return at;
    }
    let word = line.word(at);
    let behind = line.skip_blanks(word.end);
    if let Some(host) = host_before_cisco_tag(line, word) {
        message.hostname = Some(host);
        return behind;
    }
    // `("U7LT,7483c2,v4.3") hostapd: …`, `UAP-AC-Pro,788a20,v4.0 hostapd: …`
    let inner = match word.of(line.text) {
        [b'(', b'"', .., b'"', b')'] => Span::new(word.start + 2, word.end - 2),
        _ => word,
    };
    let access_point = inner.of(line.text).contains(&b',')
        && inner
            .of(line.text)
            .iter()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b',' | b'.' | b'-' | b'_' | b':' | b'+'))
        && tag(line, behind, true).is_some();
    if !access_point && (!is_host(line, word) || is_english(line, word, behind)) {
        return at;
    }
    message.hostname = Some(inner);
    // `host : %ASA-6-302013: …`
    if line.rest(behind).starts_with(b": %") { behind + 2 } else { behind }
}

/// Whether a word in the host's place is one: made of what names and addresses are made of, and no tag or year.
fn is_host(line: &Line<'_>, word: Span) -> bool {
    let text = word.of(line.text);
    let is_address = |text: &[u8]| {
        text.contains(&b':') && std::str::from_utf8(text).is_ok_and(|t| t.parse::<std::net::Ipv6Addr>().is_ok())
    };
    !text.is_empty()
        && (text.last() != Some(&b':') || is_address(text))
        && text.iter().all(|c| {
            c.is_ascii_alphanumeric() || matches!(c, b'.' | b':' | b'-' | b'_' | b'/' | b'@' | b'%') || *c >= 0x80
        })
        && text.iter().any(|c| c.is_ascii_alphanumeric() || *c >= 0x80)
        && text.first() != Some(&b'%')
        && !is_year(text)
}

/// Words that begin messages of devices and relays which write no host.
const ENGLISH: [&[u8]; 75] = [
    b"a",
    b"accepted",
    b"access",
    b"account",
    b"all",
    b"alarm",
    b"alert",
    b"an",
    b"and",
    b"attempt",
    b"authentication",
    b"cannot",
    b"client",
    b"closed",
    b"closing",
    b"command",
    b"configuration",
    b"connected",
    b"connecting",
    b"connection",
    b"could",
    b"critical",
    b"debug",
    b"denied",
    b"disconnected",
    b"error",
    b"failed",
    b"failure",
    b"fatal",
    b"for",
    b"from",
    b"info",
    b"interface",
    b"invalid",
    b"is",
    b"it",
    b"last",
    b"link",
    b"log",
    b"logged",
    b"login",
    b"logout",
    b"message",
    b"new",
    b"no",
    b"not",
    b"notice",
    b"on",
    b"packet",
    b"password",
    b"port",
    b"received",
    b"rejected",
    b"removed",
    b"request",
    b"restart",
    b"restarted",
    b"restarting",
    b"sending",
    b"session",
    b"shutdown",
    b"shutting",
    b"started",
    b"starting",
    b"stopped",
    b"stopping",
    b"system",
    b"the",
    b"this",
    b"to",
    b"unable",
    b"unknown",
    b"user",
    b"warning",
    b"was",
];

/// Whether a word in the host's place is a word of English that begins a text: no tag follows it.
fn is_english(line: &Line<'_>, word: Span, behind: usize) -> bool {
    let text = word.of(line.text);
    text.len() <= 14
        && text.iter().all(u8::is_ascii_alphabetic)
        && ENGLISH.iter().any(|known| known.eq_ignore_ascii_case(text))
        && tag(line, behind, true).is_none()
}

/// `host: %ASA-…`: a host that looks like a tag, in front of what can only be one.
fn host_before_cisco_tag(line: &Line<'_>, word: Span) -> Option<Span> {
    let name = word.of(line.text).strip_suffix(b":")?;
    let next = line.skip_blanks(word.end);
    (!name.is_empty() && name[0] != b'%' && line.byte(next) == Some(b'%')).then(|| Span::new(word.start, word.end - 1))
}

/// Tag and message from `at`.
fn content(line: &Line<'_>, at: usize, timed: bool, message: &mut Message) {
    let mut at = if timed { behind_level(line, at) } else { at };
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

/// Behind a level that the priority repeats, before a tag with a process: `info tmm[1234]:` (F5), `auth|security:info
/// sshd[6]:` (AIX).
fn behind_level(line: &Line<'_>, at: usize) -> usize {
    const LEVELS: [&[u8]; 12] = [
        b"debug",
        b"info",
        b"notice",
        b"warn",
        b"warning",
        b"err",
        b"error",
        b"crit",
        b"critical",
        b"alert",
        b"emerg",
        b"emergency",
    ];
    let word = line.word(at);
    let text = word.of(line.text);
    if text.len() > 32 {
        return at;
    }
    let level = match memchr::memrchr(b':', text) {
        Some(colon) if text[..colon].iter().all(|c| c.is_ascii_alphanumeric() || *c == b'|') => &text[colon + 1..],
        Some(_) => return at,
        None => text,
    };
    let next = line.skip_blanks(word.end);
    match LEVELS.contains(&level) && matches!(tag(line, next, true), Some((_, Some(_), _))) {
        true => next,
        false => at,
    }
}

/// `app:`, `app[pid]:` or `app[pid]` at `at`, and the position behind.
fn tag(line: &Line<'_>, at: usize, timed: bool) -> Option<(Span, Option<Span>, usize)> {
    let rest = line.rest(at);
    let len = rest.iter().position(|c| matches!(c, b' ' | b':' | b'[' | b'\t'))?;
    let app = Span::new(at, at + len).non_empty()?;
    let text = app.of(line.text);
    if !text.iter().any(u8::is_ascii_alphanumeric)
        || text.contains(&b'=')
        || matches!(text[0], b'(' | b'"' | b'{' | b'<' | b'\'')
    {
        return None;
    }
    let ends = |at: usize| matches!(line.byte(at), None | Some(b' '));
    match line.byte(app.end)? {
        b':' => {
            let end = app.end + 1;
            // `tag:text` is a tag only where a header says so, and never `http://…` or `12:30`.
            let glued = timed && line.byte(end) != Some(b'/') && !text.iter().all(u8::is_ascii_digit);
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
                // `tag[1234] text`
                None | Some(b' ') if timed && pid.of(line.text).iter().all(u8::is_ascii_digit) => {
                    Some((app, Some(pid), close + 1))
                }
                _ => None,
            }
        }
        _ => None,
    }
}
