//! Forms that files and single makers have, beside RFC 3164.
//!
//! ```text
//! 2026-10-15T14:04:23.123Z In(166) Hostd[2099]: text                  ESXi 8: level, and facility times 8 plus severity
//! 2026-10-15T14:04:23.123Z cpu5:2097246)ScsiDeviceIO: 4124: text      ESXi up to 7: vmkernel.log
//! [2026-10-15 14:04:23] NOTICE[1234][C-00000001]: chan_sip.c: text    Asterisk
//! [Sun Oct 15 14:04:23 2026] usb 1-1: text                            dmesg -T
//! 1790000000.123456 web-1 sshd[7]: text                               journalctl -o short-unix
//! <30>Oct 15 14:04:23 hap-1 system,info,account user admin logged in  MikroTik: topics
//! <30>Oct 15 14:04:23 axis-1 [ INFO    ] systemd[1]: text             Axis
//! <134>Oct 15 14:04:23 sua [1013:1013]: text                          Yealink: a blank in the tag
//! ```

use super::legacy::{Header, content, is_host, note_priority, tag};
use super::when::{epoch, header_time};
use super::words::{Priority, bare_level};
use super::{Format, Line, Message};
use crate::framing::span::Span;

/// `[2026-10-15 14:04:23] EFW: text`; without a priority what `dmesg -T` and Asterisk write, where no tag follows.
pub(super) fn bracketed(line: &Line<'_>, pri: Option<u8>, at: usize) -> Option<Message> {
    let head = line.rest(at).strip_prefix(b"[")?;
    let close = memchr::memchr(b']', &head[..head.len().min(40)])? + 1;
    let inner = Line { text: line.text.get(..at + close)? };
    let time = header_time(&inner, at + 1).filter(|time| time.end == at + close)?;
    let mut message = Message::new(Format::Rfc3164, pri);
    message.timestamp = Some(time.when);
    let at = line.skip_blanks(at + close + 1);
    if let Some(end) = asterisk(line, at, &mut message) {
        message.message = line.message(line.skip_blanks(end));
    } else if pri.is_some() {
        content(line, at, Header::Timed, &mut message);
    } else {
        message.message = line.message(at);
    }
    Some(message)
}

/// `NOTICE[1234][C-00000001]: `: level, thread and call; the position behind.
fn asterisk(line: &Line<'_>, at: usize, message: &mut Message) -> Option<usize> {
    let rest = line.rest(at);
    let len = rest.iter().take_while(|c| c.is_ascii_uppercase()).count();
    let severity = match &rest[..len] {
        b"ERROR" => 3,
        b"WARNING" => 4,
        b"NOTICE" | b"SECURITY" => 5,
        b"VERBOSE" | b"DTMF" | b"FAX" => 6,
        b"DEBUG" => 7,
        _ => return None,
    };
    let (thread, mut end) = in_brackets(line, at + len)?;
    if !thread.of(line.text).iter().all(u8::is_ascii_digit) {
        return None;
    }
    if let Some((call, behind)) = in_brackets(line, end) {
        message.msgid = Some(call);
        end = behind;
    }
    message.procid = Some(thread);
    note_priority(message, Priority { facility: None, severity });
    Some(end + usize::from(line.byte(end) == Some(b':')))
}

/// A word in brackets at `at`, and the position behind.
fn in_brackets(line: &Line<'_>, at: usize) -> Option<(Span, usize)> {
    let rest = line.rest(at).strip_prefix(b"[")?;
    let len = rest.iter().position(|c| matches!(c, b']' | b' '))?;
    let word = Span::new(at + 1, at + 1 + len).non_empty()?;
    (rest[len] == b']').then_some((word, word.end + 1))
}

/// `1790000000.123456 host app[7]: text`: with a fraction, and a tag behind the host.
pub(super) fn since_1970(line: &Line<'_>, pri: Option<u8>, at: usize) -> Option<Message> {
    if pri.is_some() || !line.word(at).of(line.text).contains(&b'.') {
        return None;
    }
    let (when, end) = epoch(line, at)?;
    let host = line.word(line.skip_blanks(end));
    let next = line.skip_blanks(host.end);
    if !is_host(line, host) || tag(line, next, Header::Timed).is_none() {
        return None;
    }
    let mut message = Message::new(Format::Rfc3164, pri);
    message.timestamp = Some(when);
    message.hostname = Some(host);
    content(line, next, Header::Timed, &mut message);
    Some(message)
}

/// `In(166)`: what ESXi 8 writes in front of its tags.
pub(super) fn esxi_priority(word: &[u8]) -> Option<Priority> {
    let [a, b, b'(', digits @ .., b')'] = word else { return None };
    let severity = match [*a, *b] {
        [b'E', b'm'] => 0,
        [b'A', b'l'] => 1,
        [b'C', b'r'] => 2,
        [b'E', b'r'] => 3,
        [b'W', b'a'] => 4,
        [b'N', b'o'] => 5,
        [b'I', b'n'] => 6,
        [b'D', b'b'] => 7,
        _ => return None,
    };
    let number = (1..=3).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let n = digits.iter().fold(0u16, |n, c| n * 10 + u16::from(c.wrapping_sub(b'0')));
    let facility = u8::try_from(n >> 3).ok().filter(|facility| *facility <= 23);
    number.then_some(Priority { facility, severity })
}

/// `cpu5:2097246)` at `at`, which is no tag; its level, where one stands behind it.
pub(super) fn vmkernel(line: &Line<'_>, at: usize) -> Option<Option<Priority>> {
    let digits = |text: &[u8]| text.iter().take_while(|c| c.is_ascii_digit()).count();
    let rest = line.rest(at).strip_prefix(b"cpu")?;
    let rest = &rest[digits(rest)..];
    let rest = rest.strip_prefix(b":")?;
    let world = digits(rest);
    let text = rest[world..].strip_prefix(b")").filter(|_| world > 0)?;
    let severity = match text {
        _ if text.starts_with(b"WARNING: ") => Some(4),
        _ if text.starts_with(b"ALERT: ") => Some(1),
        _ => None,
    };
    Some(severity.map(|severity| Priority { facility: None, severity }))
}

/// `sua [1013:1013]:` at `at`, whose first word this is: the process, and the position behind.
pub(super) fn spaced_tag(line: &Line<'_>, word: Span) -> Option<(Span, Option<Span>, usize)> {
    let at = line.skip_blanks(word.end);
    let (pid, end) = in_brackets(line, at)?;
    let is_pid = pid.of(line.text).iter().all(|c| c.is_ascii_digit() || *c == b':');
    (is_pid && line.byte(word.end) == Some(b' ') && line.byte(end) == Some(b':')).then_some((word, Some(pid), end + 1))
}

/// Whether a word in a host's place is such a tag: with two numbers, or several blanks, since a host may stand before `[1234]:`.
pub(super) fn is_spaced_tag(line: &Line<'_>, word: Span) -> bool {
    let is_pair = |pid: Span| pid.start > word.end + 2 || pid.of(line.text).contains(&b':');
    spaced_tag(line, word).is_some_and(|(_, pid, _)| pid.is_some_and(is_pair))
}

/// `[ INFO    ]` at `at`: the level, and where what is behind it begins.
pub(super) fn padded_level(line: &Line<'_>, at: usize) -> Option<(Priority, usize)> {
    let rest = line.rest(at).strip_prefix(b"[")?;
    let close = memchr::memchr(b']', &rest[..rest.len().min(16)])?;
    let level = bare_level(&rest[..close].trim_ascii().to_ascii_lowercase())?;
    Some((level, line.skip_blanks(at + close + 2)))
}

/// Topics of RouterOS, sorted.
const TOPICS: [&str; 79] = [
    "account",
    "async",
    "backup",
    "bfd",
    "bgp",
    "bridge",
    "calc",
    "caps",
    "certificate",
    "container",
    "ddns",
    "dhcp",
    "disk",
    "dns",
    "dot1x",
    "dude",
    "e-mail",
    "event",
    "fetch",
    "firewall",
    "gps",
    "gsm",
    "health",
    "hotspot",
    "igmp-proxy",
    "interface",
    "ipsec",
    "iscsi",
    "isdn",
    "isis",
    "kvm",
    "l2tp",
    "ldp",
    "lora",
    "lte",
    "manager",
    "mme",
    "modbus",
    "mpls",
    "mqtt",
    "mvrp",
    "netinstall",
    "netwatch",
    "ntp",
    "ospf",
    "ovpn",
    "pim",
    "poe-out",
    "ppp",
    "pppoe",
    "pptp",
    "ptp",
    "queue",
    "radius",
    "radvd",
    "read",
    "rip",
    "route",
    "rpki",
    "rsvp",
    "script",
    "sertcp",
    "smb",
    "snmp",
    "ssh",
    "sstp",
    "state",
    "store",
    "stp",
    "system",
    "telephony",
    "tftp",
    "timer",
    "ups",
    "vpls",
    "vrrp",
    "watchdog",
    "web-proxy",
    "wireless",
];

/// Whether a word is topics of RouterOS, one of them a level: `system,info,account`.
pub(super) fn is_topics(word: &[u8]) -> bool {
    if word.len() > 64 || !word.contains(&b',') {
        return false;
    }
    let is_topic = |part: &[u8]| TOPICS.binary_search_by(|topic| topic.as_bytes().cmp(part)).is_ok();
    let is_level =
        |part: &[u8]| matches!(part, b"info" | b"warning" | b"error" | b"critical" | b"debug" | b"packet" | b"raw");
    word.split(|c| *c == b',').next().is_some_and(is_topic) && word.split(|c| *c == b',').any(is_level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_sorted_and_have_a_level() {
        assert!(TOPICS.is_sorted());
        assert!(is_topics(b"system,info,account") && is_topics(b"wireless,debug") && is_topics(b"web-proxy,error"));
        for word in ["system", "system,account", "system,", "info,system", "a,info", ",", "System,Info"] {
            assert!(!is_topics(word.as_bytes()), "{word}");
        }
    }

    #[test]
    fn levels_of_esxi_are_two_letters_and_a_priority() {
        let read = |word: &str| esxi_priority(word.as_bytes()).map(|p| (p.facility, p.severity));
        assert_eq!(
            (read("In(166)"), read("Wa(180)"), read("Db(7)")),
            (Some((Some(20), 6)), Some((Some(22), 4)), Some((Some(0), 7)))
        );
        assert_eq!(read("Er(999)"), Some((None, 3)));
        for word in ["In()", "in(166)", "In(1666)", "In(16x)", "Xx(1)", "In166", "In(166"] {
            assert_eq!(read(word), None, "{word}");
        }
    }
}
