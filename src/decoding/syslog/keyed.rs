//! Firewalls that name everything, their time as well.
//!
//! ```text
//! <189>date=2026-10-01 time=10:00:00 devname="fw1" tz="+0200" …    FortiGate
//! <30>device="SFW" date=2026-10-01 time=10:00:00 timezone="CDT" …  Sophos XG
//! <189>date=2026-10-01,time=10:00:00,devname="fw1",tz="+0200",…    FortiGate, `set format csv`
//! <134>id=firewall sn=… time="2026-10-01 10:00:00 UTC" fw=10.0.0.1 SonicWall
//! <13>id=firewall time="2026-10-01 10:00:00" fw="fw1" tz=+0200 …   Stormshield
//! <134>time=1790000000|hostname=gw-1|product=Firewall|…            Check Point
//! ```
//!
//! Time and host are taken from it, and all of the text is the message.

use super::when::{epoch, header_time, iso_word};
use super::{Format, Line, Message, When};
use crate::framing::span::Span;

/// How far keys are looked for.
const HEAD: usize = 512;

/// The text at `at`, if a time is in it.
pub(super) fn keyed(line: &Line<'_>, pri: Option<u8>, at: usize) -> Option<Message> {
    pri?;
    let commas = memchr::memmem::find(line.word(at).of(line.text), b",time=").is_some();
    let keys = Keys { line, at, commas };
    if !memchr::memchr(b'=', line.word(at).of(line.text)).is_some_and(|n| n > 0) {
        return None;
    }
    let mut message = Message::new(Format::Rfc3164, pri);
    message.timestamp = Some(keys.time()?);
    message.hostname = ["devname=", "device_name=", "hostname=", "fw="]
        .iter()
        .find_map(|key| keys.value(key.as_bytes()))
        .and_then(Span::non_empty);
    message.message = line.message(at);
    Some(message)
}

struct Keys<'a> {
    line: &'a Line<'a>,
    at: usize,
    /// Commas stand between the pairs.
    commas: bool,
}

impl Keys<'_> {
    /// The value behind `key`, which ends in `=`, without its quotes.
    fn value(&self, key: &[u8]) -> Option<Span> {
        let head = self.line.rest(self.at);
        let head = &head[..head.len().min(HEAD)];
        let found =
            memchr::memmem::find_iter(head, key).find(|&n| n == 0 || matches!(head[n - 1], b' ' | b'|' | b','))?;
        let from = self.at + found + key.len();
        if self.line.byte(from)? == b'"' {
            return Some(Span::new(from + 1, from + 1 + memchr::memchr(b'"', self.line.rest(from + 1))?));
        }
        let rest = self.line.rest(from);
        let len = match self.commas {
            true => memchr::memchr(b',', rest),
            false => memchr::memchr2(b' ', b'|', rest),
        };
        Some(Span::new(from, from + len.unwrap_or(rest.len())))
    }

    fn text(&self, key: &[u8]) -> Option<&[u8]> {
        self.value(key).map(|span| span.of(self.line.text))
    }

    fn time(&self) -> Option<When> {
        if let Some(date) = self.text(b"date=") {
            // `date=2026-10-01 time=10:00:00 tz="+0200"`
            let zone = self.text(b"tz=").or_else(|| self.text(b"timezone=")).unwrap_or_default();
            return local(&[date, b" ", self.text(b"time=")?, b" ", bare_zone(zone)].concat());
        }
        if let Some(time) = self.value(b"timestamp=") {
            return iso_word(self.line, time);
        }
        let time = self.value(b"time=")?;
        if let Some(zone) = self.text(b"tz=") {
            // `time="2026-10-01 10:00:00" fw="fw1" tz=+0200`
            let zoned = local(&[time.of(self.line.text), b" ", bare_zone(zone)].concat());
            if zoned.is_some() {
                return zoned;
            }
        }
        if let Some(when) = iso_word(self.line, time) {
            return Some(when);
        }
        let time = time.of(self.line.text);
        let written = Line { text: time };
        epoch(&written, 0).filter(|(_, end)| *end == time.len()).map(|(when, _)| when).or_else(|| local(time))
    }
}

/// A time in a text of its own: one with places, which mean nothing elsewhere, is none.
fn local(text: &[u8]) -> Option<When> {
    let time = header_time(&Line { text: text.trim_ascii_end() }, 0)?;
    Some(time.when).filter(|when| !matches!(when, When::Exact(_)))
}

/// `(GMT-5:00)Eastern Time` is `GMT-5:00`.
fn bare_zone(zone: &[u8]) -> &[u8] {
    match zone.strip_prefix(b"(") {
        Some(rest) => rest.split(|c| *c == b')').next().unwrap_or_default(),
        None => zone,
    }
}
