//! What Cisco's devices put in front of a time, or in its place.
//!
//! ```text
//! <189>643: *Oct  4 19:46:03.295: %SYS-5-CONFIG_I: text        <189>105: 000104: Oct  4 07:12:10: %SYS-5-CONFIG_I: text
//! <189>sw-1: 001122: .Oct 12 10:00:00.123 UTC: %LINK-3-X: text <187>: 2026 Oct 25 11:27:28 GMT: %AUTHPRIV-3-X: text
//! <187>138: RP/0/RP0/CPU0:Oct 11 12:43:29.2 EST: snmpd[10]: …  <187>34: CLC 6/0: Oct 11 13:31:14.214 EST: %PKI-3-X: text
//! <131>wlc: *spamApTask1: Oct 26 18:52:01.9: %CAPWAP-4-X: text <45>912: wan-2: 008944: 13w1d: %HSRP-5-X: text
//! ```
//!
//! A number is the counter of messages, behind it or behind a host the sequence number; `*` and `.` say that the clock is
//! not synchronised. In place of the time may stand how long the device is up, or nothing, in front of what can only be
//! Cisco's `%FACILITY-SEVERITY-MNEMONIC`. Where a relay put its own header in front, the device's time counts, unless `*`
//! says that it was never set. A front is one only if a colon ends its time, or such a word follows.

use super::legacy::is_host;
use super::when::{FoundTime, header_time};
use super::{Line, Message};
use crate::framing::span::Span;

/// Most parts of a front: a host, two counters, a mark, a node.
const MOST_PARTS: usize = 6;

/// What is gathered of a front until it is known to be one.
#[derive(Default)]
struct Parts {
    counter: Option<u64>,
    sequence: Option<u64>,
    host: Option<Span>,
    node: Option<Span>,
    task: Option<Span>,
    uptime: Option<Span>,
    /// There was a `*`.
    never_set: bool,
}

/// A front at `from`, noted in `message`; where what follows it begins.
#[cold]
pub(super) fn front(line: &Line<'_>, from: usize, message: &mut Message) -> Option<usize> {
    let mut parts = Parts::default();
    let mut at = from;
    for count in 0..=MOST_PARTS {
        at = line.skip_blanks(at);
        if count > 0 {
            if let Some(time) = header_time(line, at).filter(|_| parts.uptime.is_none()) {
                return timed(line, &time, parts, message);
            }
            if is_mnemonic(line.word(at).of(line.text)) {
                message.pri?;
                note(parts, message);
                return Some(at);
            }
        }
        at = part(line, at, &mut parts)?;
    }
    None
}

/// The part at `at`; the position behind it.
fn part(line: &Line<'_>, at: usize, parts: &mut Parts) -> Option<usize> {
    let word = line.word(at);
    let text = word.of(line.text);
    let name = text.strip_suffix(b":").unwrap_or_default();
    match text.first()? {
        b'*' if name.len() > 1 && name[1..].iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-')) => {
            parts.task = Some(Span::new(word.start + 1, word.end - 1));
            return Some(word.end);
        }
        b'*' | b'.' | b':' => {
            parts.never_set |= text[0] == b'*';
            return Some(at + 1);
        }
        b'%' => return None,
        _ => {}
    }
    if let Some(node) = node_before_time(line, word) {
        parts.node = Some(node);
        return Some(node.end + 1);
    }
    let body = Span::new(word.start, word.end.saturating_sub(1));
    if is_uptime(name) {
        parts.uptime = Some(body);
    } else if name.is_empty() {
        return blanked(line, word, parts);
    } else if name.len() <= 18 && name.iter().all(u8::is_ascii_digit) {
        let number = name.iter().fold(0, |n, c| n * 10 + u64::from(c - b'0'));
        let place = match parts.counter.is_none() && parts.host.is_none() {
            true => &mut parts.counter,
            false => &mut parts.sequence,
        };
        if place.replace(number).is_some() {
            return None;
        }
    } else if parts.host.replace(body).is_some() {
        return None;
    }
    Some(word.end)
}

/// `CLC 6/0:`, or a host in front of the node of an IOS-XR or of `%FACILITY-…`: parts without a colon of their own.
fn blanked(line: &Line<'_>, word: Span, parts: &mut Parts) -> Option<usize> {
    let next = line.word(line.skip_blanks(word.end));
    let slot = next.of(line.text).strip_suffix(b":").unwrap_or_default();
    let is_slot = slot.contains(&b'/') && slot.iter().all(|c| c.is_ascii_digit() || *c == b'/');
    if is_slot && parts.node.is_none() && word.of(line.text).iter().all(u8::is_ascii_uppercase) {
        parts.node = Some(Span::new(word.start, next.end - 1));
        return Some(next.end);
    }
    if parts.host.is_some() || !is_host(line, word) || word.of(line.text).iter().all(u8::is_ascii_digit) {
        return None;
    }
    if !is_mnemonic(next.of(line.text)) {
        node_before_time(line, next)?;
    }
    parts.host = Some(word);
    Some(word.end)
}

/// The end of a front with a time.
fn timed(line: &Line<'_>, time: &FoundTime, parts: Parts, message: &mut Message) -> Option<usize> {
    let mut at = line.skip_blanks(time.end);
    let mut zone = None;
    if !time.ended && !is_mnemonic(line.word(at).of(line.text)) {
        // A zone that an operator named.
        let word = line.word(at);
        let name = word.of(line.text).strip_suffix(b":").filter(|name| name.len() <= 7)?;
        at = line.skip_blanks(word.end);
        if !name.iter().all(u8::is_ascii_alphabetic) || line.byte(at) != Some(b'%') {
            return None;
        }
        zone = Some(Span::new(word.start, word.end - 1));
    }
    if message.timestamp.is_none() || !parts.never_set {
        message.timestamp = Some(time.when);
    }
    message.cisco.zone = zone;
    let mut parts = parts;
    let word = line.word(at);
    let behind = line.skip_blanks(word.end);
    let name = word.of(line.text).strip_suffix(b":").unwrap_or(word.of(line.text));
    let host = Span::new(word.start, word.start + name.len());
    // `91: *Oct 07 03:10:04: vpn1.example.net %CRYPTO-4-X: text`
    if parts.host.is_none() && is_mnemonic(line.word(behind).of(line.text)) && is_host(line, host) {
        parts.host = Some(host);
        at = behind;
    }
    note(parts, message);
    Some(at)
}

fn note(parts: Parts, message: &mut Message) {
    if let Some(host) = parts.host {
        message.cisco.relay = message.hostname.replace(host);
    }
    message.procid = parts.task;
    message.cisco.message_counter = parts.counter;
    message.cisco.sequence = parts.sequence;
    message.cisco.node = parts.node;
    message.cisco.uptime = parts.uptime;
    message.has_cisco = true;
}

/// `RP/0/RSP0/CPU0:Oct 12 10:00:00`: the node that is glued to the time.
fn node_before_time(line: &Line<'_>, word: Span) -> Option<Span> {
    let text = word.of(line.text);
    let colon = memchr::memchr(b':', text)?;
    let is_node = text[..colon].iter().filter(|c| **c == b'/').count() >= 2;
    let node = Span::new(word.start, word.start + colon);
    (is_node && header_time(line, node.end + 1).is_some()).then_some(node)
}

/// `00:01:01`, `1d02h`, `13w1d`: how long the device is up.
fn is_uptime(name: &[u8]) -> bool {
    if let [a, b, b':', c, d, b':', e, f] = name {
        return [a, b, c, d, e, f].iter().all(|c| c.is_ascii_digit());
    }
    let mut parts = name.split_inclusive(u8::is_ascii_alphabetic);
    name.len() >= 4
        && parts.all(|part| matches!(part, [digits @ .., b'y' | b'w' | b'd' | b'h'] if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)))
}

/// `%FACILITY-SEVERITY-MNEMONIC`, with a colon behind it or without.
pub(super) fn is_mnemonic(word: &[u8]) -> bool {
    let Some(name) = word.strip_prefix(b"%") else { return false };
    let name = name.split(|c| *c == b':').next().unwrap_or_default();
    let is_name = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'/');
    let severity = name.windows(3).position(|three| matches!(three, [b'-', b'0'..=b'7', b'-']));
    severity.is_some_and(|at| at > 0) && name.iter().all(is_name)
}
