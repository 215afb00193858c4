//! RFC 3164, which describes what was seen and not what must be, and its relatives.
//!
//! ```text
//! <34>Oct 11 22:14:15 host su[231]: text             <38>Sep 22 10:11:56 Message forwarded from aix: sshd[6]: text
//! <189>Oct 11 22:14:15 2026 sw1 %%10SHELL/5/X: text  <30>2026:10:15-14:04:23 utm ulogd[5157]: text
//! <134>1 1790000000.77 mx flows src=10.0.0.1         <134>[2026-10-15 14:04:23] EFW: text
//! Oct 15 14:04:23 aix6 auth|security:info sshd[3]: … Sun Oct 15 14:04:23 2026 daemon.info dnsmasq[1]: text
//! ```
//!
//! A host is what stands behind the time; never a year, the name of a zone, or an English word that no tag follows. `CEF:`,
//! `LEEF:` and `@cee:` begin a text and are no tags. Words for level and facility give them where there is no priority, and
//! are passed over.

use super::files::{
    bracketed, esxi_priority, is_spaced_tag, is_topics, padded_level, since_1970, spaced_tag, vmkernel,
};
use super::front::{front, is_mnemonic};
use super::keyed::keyed;
use super::when::{epoch, header_time, is_year};
use super::words::{Priority, bare_level, is_english, is_level, is_level_word, priority};
use super::{Format, Line, Message, When, data};
use crate::framing::span::Span;
use crate::time::Year;

/// A message whose header stands at `at`, behind the priority, in place of what `message` is. `false` where nothing of it looks
/// like one.
pub(super) fn parse(line: &Line<'_>, pri: Option<u8>, at: usize, message: &mut Message) -> bool {
    let from = line.skip_blanks(at);
    let Some(time) = header_time(line, from) else {
        let found = without_time_first(line, pri, from);
        return found.map(|found| *message = found).is_some();
    };
    *message = Message::new(Format::Rfc3164, pri);
    message.timestamp = Some(time.when);
    let at = line.skip_blanks(time.end);
    if matches!(time.when, When::Exact(_))
        && pri.is_some()
        && let Some(fields) = whole_fields(line, message, at)
    {
        *message = fields;
        return true;
    }
    let behind = host(line, at, message);
    let nested = matches!(line.byte(behind), Some(b'0'..=b'9' | b'*' | b'.' | b':'));
    let behind = if nested { front(line, behind, message).unwrap_or(behind) } else { behind };
    content(line, behind, Header::Timed, message);
    if pri.is_none() {
        no_host_by_a_date(line, at, message);
    }
    true
}

/// Behind a date and a clock alone, without priority, zone and tag, a first word is no host: so the logs of many programs begin.
#[cold]
fn no_host_by_a_date(line: &Line<'_>, at: usize, message: &mut Message) {
    let is_date = matches!(message.timestamp, Some(When::Local { year: Year::Written, zone: None, .. }));
    if is_date && message.appname.is_none() && message.severity.is_none() && message.hostname.take().is_some() {
        message.message = line.message(at);
    }
}

/// What does not begin with a time.
#[cold]
fn without_time_first(line: &Line<'_>, pri: Option<u8>, at: usize) -> Option<Message> {
    let mut message = Message::new(Format::Rfc3164, pri);
    if let Some(at) = front(line, at, &mut message) {
        content(line, at, Header::Timed, &mut message);
        return Some(message);
    }
    if let Some(message) = forwarded(line, pri, at) {
        return Some(message);
    }
    bracketed(line, pri, at)
        .or_else(|| since_1970(line, pri, at))
        .or_else(|| versioned(line, pri, at))
        .or_else(|| keyed(line, pri, at))
        .or_else(|| without_time(line, pri, at))
}

/// `Original Address=192.0.2.1 Oct 11 22:14:15 host app: text`: what a relay of Kiwi puts in front.
fn forwarded(line: &Line<'_>, pri: Option<u8>, at: usize) -> Option<Message> {
    const FRONT: &[u8] = b"Original Address=";
    if !line.rest(at).starts_with(FRONT) {
        return None;
    }
    let address = line.word(at + FRONT.len());
    let from = line.skip_blanks(address.end);
    header_time(line, from)?;
    let mut message = Message::new(Format::Rfc3164, pri);
    parse(line, pri, from, &mut message);
    message.hostname = message.hostname.or(Some(address).filter(|address| is_address(address.of(line.text))));
    Some(message)
}

/// Priority and tag at once, as Python's handler and some daemons write; or nothing but a message.
fn without_time(line: &Line<'_>, pri: Option<u8>, at: usize) -> Option<Message> {
    pri?;
    let mut message = Message::new(Format::Rfc3164, pri);
    content(line, at, Header::Bare, &mut message);
    message.appname.is_some().then_some(message)
}

/// RFC 5424's version before a time that is not its, or before a text that is not: `1 1790000000.774 host app text` (Meraki,
/// who leave the version out too), `1 Oct 12 10:00:00 host app: text`, `1 2026-10-01 10:00:00 host app 123 - - text`.
fn versioned(line: &Line<'_>, pri: Option<u8>, at: usize) -> Option<Message> {
    pri?;
    let mut message = Message::new(Format::Rfc3164, pri);
    let mut from = at;
    if line.rest(at).starts_with(b"1 ") {
        message.version = Some(1);
        from = line.skip_blanks(at + 1);
    } else if !line.word(at).of(line.text).contains(&b'.') {
        return None;
    }
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
            None => content(line, app.start, Header::Timed, &mut message),
        }
        return Some(message);
    }
    message.version?;
    let time = header_time(line, from)?;
    message.timestamp = Some(time.when);
    let at = line.skip_blanks(time.end);
    if let Some(fields) = whole_fields(line, &message, at) {
        return Some(fields);
    }
    let at = host(line, at, &mut message);
    content(line, at, Header::Timed, &mut message);
    Some(message)
}

/// Host, application, process, message id and data as in RFC 5424, behind a time that is not its: `host app 123 ID - text`.
fn whole_fields(line: &Line<'_>, message: &Message, at: usize) -> Option<Message> {
    let mut rest = at;
    let mut words = [Span::default(); 5];
    for word in &mut words {
        *word = line.word(rest);
        rest = word.non_empty()?.end + 1;
    }
    let [_, _, procid, _, data] = words.map(|word| word.of(line.text));
    // With a version, data may break its grammar, as Check Point's does.
    let whole = || message.version.is_some() || data::end(line.text, words[4].start).is_some();
    let is_data = data == b"-" || data.starts_with(b"[") && whole();
    let is_procid = procid == b"-" || procid.iter().all(u8::is_ascii_digit);
    if !is_data || !is_procid {
        return None;
    }
    let mut whole = Message { format: Format::Rfc5424, ..*message };
    line.fields(&mut whole, at.checked_sub(1)?)?;
    Some(whole)
}

/// The host at `at`, noted; where what follows it begins.
fn host(line: &Line<'_>, at: usize, message: &mut Message) -> usize {
    let word = line.word(at);
    let behind = line.skip_blanks(word.end);
    let text = word.of(line.text);
    if let Some(written) = priority(text) {
        note_priority(message, written);
        return host(line, behind, message);
    }
    if is_host(line, word)
        && !is_english_text(line, word, behind)
        && (line.byte(behind) != Some(b'[') || !is_spaced_tag(line, word))
    {
        message.hostname = Some(word);
        // `host : %ASA-6-302013: …`
        return if line.rest(behind).starts_with(b": ") { line.skip_blanks(behind + 2) } else { behind };
    }
    odd_host(line, word, behind, message)
}

/// A host that is not made of what hosts are made of, or none.
#[cold]
fn odd_host(line: &Line<'_>, word: Span, behind: usize, message: &mut Message) -> usize {
    let at = word.start;
    let text = word.of(line.text);
    if let Some(written) = esxi_priority(text) {
        note_priority(message, written);
        return behind;
    }
    // `30-Nov-2026 10:00:00 :%LINK-I-Up:  gi5`
    if text.starts_with(b":%") {
        return at + 1;
    }
    let rest = line.rest(at);
    if let Some(relayed) = rest.strip_prefix(b"Message forwarded from ") {
        let from = line.word(at + rest.len() - relayed.len());
        if let Some(name) = from.of(line.text).strip_suffix(b":").filter(|name| !name.is_empty()) {
            message.hostname = Some(Span::new(from.start, from.start + name.len()));
            return line.skip_blanks(from.end);
        }
    }
    if let Some(host) = host_before_cisco_tag(line, word) {
        message.hostname = Some(host);
        return behind;
    }
    if let Some((host, end)) = host_as_tag(line, word, behind) {
        message.hostname = Some(host);
        return end;
    }
    // No host, as RFC 5424 and as Linux says it.
    if matches!(text, b"-" | b"(none)") && tag(line, behind, Header::Timed).is_some() {
        return behind;
    }
    // `host<TAB>MSWinEventLog<TAB>…`
    if let Some(tab) = memchr::memchr(b'\t', text) {
        let host = Span::new(at, at + tab);
        if is_host(line, host) {
            message.hostname = Some(host);
            return host.end + 1;
        }
    }
    let inner = match text {
        // `("U7LT,7483c2,v4.3") hostapd: …`
        [b'(', b'"', .., b'"', b')'] => Span::new(word.start + 2, word.end - 2),
        // `[10.0.0.143] ZscalerNSS: …`
        [b'[', inner @ .., b']'] if is_address(inner) => Span::new(word.start + 1, word.end - 1),
        // `U7PG2,788a20,v4.0: logread[5]: …`
        [.., b':'] => Span::new(word.start, word.end - 1),
        _ => word,
    };
    let name = inner.of(line.text);
    let part = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b',' | b'.' | b'-' | b'_' | b'+');
    let is_access_point = name.contains(&b',') && name.iter().all(part);
    if (is_access_point || is_address(name)) && tag(line, behind, Header::Timed).is_some() {
        message.hostname = Some(inner);
        return behind;
    }
    at
}

fn is_address(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<std::net::IpAddr>().is_ok())
}

/// Whether a word in the host's place is one: made of what names and addresses are made of, and no tag or year.
pub(super) fn is_host(line: &Line<'_>, word: Span) -> bool {
    let text = word.of(line.text);
    let colons = || text.contains(&b':') && is_address(text);
    let (Some(first), Some(last)) = (text.first(), text.last()) else { return false };
    ((*first != b':' && *last != b':') || colons())
        && text.iter().all(|c| {
            c.is_ascii_alphanumeric() || matches!(c, b'.' | b':' | b'-' | b'_' | b'/' | b'@' | b'%') || *c >= 0x80
        })
        && text.iter().any(|c| c.is_ascii_alphanumeric() || *c >= 0x80)
        && *first != b'%'
        && !is_year(text)
}

/// Whether a word in the host's place is a word of English that begins a text: no tag follows it, unless it is a level (`ERROR
/// app.db: gone`), which is never a host, as a letter alone (`I app.db: …`) is none.
fn is_english_text(line: &Line<'_>, word: Span, behind: usize) -> bool {
    let text = word.of(line.text);
    text.len() <= 14
        && text.iter().all(u8::is_ascii_alphabetic)
        && (is_english(text) || matches!(text, [b'A'..=b'Z']))
        && (is_level(text)
            || tag(line, behind, Header::Timed).is_none()
            || line.rest(word.start).starts_with(b"last message repeated "))
}

/// `host: %ASA-…`: a host that looks like a tag, in front of what can only be one.
fn host_before_cisco_tag(line: &Line<'_>, word: Span) -> Option<Span> {
    let name = word.of(line.text).strip_suffix(b":")?;
    let next = line.skip_blanks(word.end);
    let is_name = !name.is_empty() && name[0] != b'%' && !name.contains(&b'[');
    (is_name && line.byte(next) == Some(b'%')).then(|| Span::new(word.start, word.end - 1))
}

/// `host-1: app[7]: text`, `cl1-01: cl1-01: text`: a host that is written as a tag, with a tag that has a process behind it, or
/// twice; where what follows begins.
fn host_as_tag(line: &Line<'_>, word: Span, behind: usize) -> Option<(Span, usize)> {
    let host = Span::new(word.start, word.end.saturating_sub(1));
    if !word.of(line.text).ends_with(b":") || !is_host(line, host) || host.of(line.text) == b"kernel" {
        return None;
    }
    // `wlc-1: *Dot1x_NW_MsgTask_3: Nov 30 10:00:00.120: %DOT1X-3-X: text`
    if line.byte(behind) == Some(b'*') {
        return Some((host, behind));
    }
    let again = line.word(behind);
    if again.of(line.text) == word.of(line.text) {
        return Some((host, line.skip_blanks(again.end)));
    }
    let (_, pid, end) = tag(line, behind, Header::Timed)?;
    let is_number = pid.is_some_and(|pid| pid.of(line.text).iter().all(u8::is_ascii_digit));
    (is_number && line.byte(end - 1) == Some(b':')).then_some((host, behind))
}

/// What stands before a tag: how sure it is that one follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// A time.
    Timed,
    /// None.
    Bare,
}

/// Tag and message from `at`.
pub(super) fn content(line: &Line<'_>, at: usize, header: Header, message: &mut Message) {
    match read_tag(line, at, header) {
        // `CEF:0|…` is no tag, `daemon|x:info app[1]:` no common one.
        Some((app, pid, end))
            if line.byte(end) == Some(b' ')
                && !is_payload(app.of(line.text))
                && (pid.is_some() || !is_level_word(app.of(line.text))) =>
        {
            message.appname = Some(app);
            message.procid = pid.or(message.procid);
            message.message = line.message(end + 1);
        }
        found => odd_content(line, at, header, found, message),
    }
}

type Tag = (Span, Option<Span>, usize);

#[cold]
fn odd_content(line: &Line<'_>, at: usize, header: Header, found: Option<Tag>, message: &mut Message) {
    let (mut at, mut found) = (at, found);
    if found.is_some_and(|(app, ..)| is_payload(app.of(line.text))) || is_payload(line.rest(at)) {
        message.message = line.message(at);
        return;
    }
    if let Some(level) = vmkernel(line, at) {
        if let Some(level) = level {
            note_priority(message, level);
        }
        message.message = line.message(at);
        return;
    }
    // `Severity: Informational, Category: Audit, …` (iDRAC), `Warning: battery low`: words of the text.
    found = found.filter(|(app, pid, _)| pid.is_some() || !is_level_word(app.of(line.text)));
    if found.is_none() && is_topics(line.word(at).of(line.text)) {
        let word = line.word(at);
        found = Some((word, None, word.end));
    }
    if header == Header::Timed {
        let word = line.word(at);
        let text = word.of(line.text);
        let next = line.skip_blanks(word.end);
        let behind = tag(line, next, Header::Timed);
        if let Some(written) = priority(text) {
            note_priority(message, written);
            (at, found) = (next, behind);
        } else if let Some(written) = bare_level(text).filter(|_| matches!(behind, Some((_, Some(_), _)))) {
            // `info tmm[1234]:` (F5); what says something else than the priority stays.
            if message.pri.is_none_or(|pri| pri & 7 == written.severity) {
                note_priority(message, written);
                (at, found) = (next, behind);
            }
        } else if let Some((level, next)) = padded_level(line, at) {
            if let Some(behind) = tag(line, next, Header::Timed)
                && message.pri.is_none_or(|pri| pri & 7 == level.severity)
            {
                note_priority(message, level);
                (at, found) = (next, Some(behind));
            }
        } else if let Some(spaced) = spaced_tag(line, word) {
            found = Some(spaced);
        } else if let Some((host, event, end)) = netapp(line, word).filter(|_| message.hostname.is_none()) {
            (message.hostname, found) = (Some(host), Some((event, None, end)));
        } else if (3..=8).contains(&text.len()) && text.iter().all(u8::is_ascii_digit) && behind.is_some() {
            // `00179 mgr:  text` (ProCurve): the number of the event.
            message.msgid = Some(word);
            found = behind;
        } else if found.is_none() && is_mnemonic(text) && !text.ends_with(b":") {
            // `%LOG_LOCAL0-2-SYSTEM_MSG [F0110] text`
            found = Some((word, None, word.end));
        }
    }
    if let Some((app, pid, end)) = found {
        message.appname = Some(app);
        message.procid = pid.or(message.procid);
        at = end + usize::from(line.byte(end) == Some(b' '));
    }
    message.message = line.message(at);
}

/// What names the format of the text behind it: no tag.
fn is_payload(text: &[u8]) -> bool {
    match text.first() {
        Some(b'C' | b'L') => {
            matches!(text, b"CEF" | b"LEEF") || text.starts_with(b"CEF:") || text.starts_with(b"LEEF:")
        }
        Some(b'@') => text == b"@cee" || text.starts_with(b"@cee:"),
        _ => false,
    }
}

/// `[host:event:level]:` of ONTAP: host, event and the position behind.
fn netapp(line: &Line<'_>, word: Span) -> Option<(Span, Span, usize)> {
    let inner = word.of(line.text).strip_prefix(b"[")?.strip_suffix(b"]:")?;
    let mut parts = inner.split(|c| *c == b':');
    let (host, event, level, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else { return None };
    let is_level = !level.is_empty() && level.iter().all(u8::is_ascii_lowercase);
    let host = Span::new(word.start + 1, word.start + 1 + host.len());
    let event = Span::new(host.end + 1, host.end + 1 + event.len());
    (is_level && is_host(line, host) && !event.is_empty()).then_some((host, event, word.end))
}

/// Takes severity and facility from words where no priority gives them.
pub(super) fn note_priority(message: &mut Message, written: Priority) {
    if message.pri.is_none() {
        message.severity = Some(written.severity);
        message.facility = written.facility;
    }
}

/// `app:`, `app[pid]:` or `app[pid]` at `at`, and the position behind.
#[inline(never)]
pub(super) fn tag(line: &Line<'_>, at: usize, header: Header) -> Option<Tag> {
    read_tag(line, at, header)
}

/// The same, in the place where all messages come by.
#[inline(always)]
fn read_tag(line: &Line<'_>, at: usize, header: Header) -> Option<Tag> {
    let rest = line.rest(at);
    let len = rest.iter().position(|c| matches!(c, b' ' | b':' | b'[' | b'\t'))?;
    let app = Span::new(at, at + len).non_empty()?;
    let text = app.of(line.text);
    if !text.iter().any(u8::is_ascii_alphanumeric)
        || text.iter().take_while(|c| **c != b'(').any(|c| *c == b'=')
        // `(sd-pam)[1234]: text`: a process that has not begun its program yet.
        || text[0] == b'(' && !(text.ends_with(b")") && line.byte(app.end) == Some(b'['))
        || matches!(text[0], b'"' | b'{' | b'<' | b'\'')
    {
        return None;
    }
    let ends = |at: usize| matches!(line.byte(at), None | Some(b' '));
    match line.byte(app.end)? {
        b':' => {
            let end = app.end + 1;
            // `tag:text` is a tag only where a header says so, and never `http://…` or `12:30`.
            let glued = header == Header::Timed
                && line.byte(end) != Some(b'/')
                && !text.iter().all(u8::is_ascii_digit)
                && (text[0] != b'%' || text[1..].starts_with(b"%") || is_mnemonic(text));
            let is_number = header == Header::Bare && text.iter().all(u8::is_ascii_digit);
            ((ends(end) && !is_number) || glued).then_some((app, None, end))
        }
        b'[' => {
            let close = app.end + 1 + memchr::memchr(b']', line.rest(app.end + 1))?;
            let pid = Span::new(app.end + 1, close).non_empty()?;
            if pid.of(line.text).contains(&b' ') {
                return None;
            }
            match line.byte(close + 1) {
                Some(b':') => Some((app, Some(pid), close + 2)),
                // `tag[1234] text`, `tag[1234] : text`
                None | Some(b' ') if header == Header::Timed && pid.of(line.text).iter().all(u8::is_ascii_digit) => {
                    let colon = usize::from(line.rest(close + 1).starts_with(b" : ")) * 2;
                    Some((app, Some(pid), close + 1 + colon))
                }
                _ => None,
            }
        }
        _ => None,
    }
}
