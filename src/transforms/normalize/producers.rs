//! Times, levels and messages of producers whose names mean something only in their company, or only in their form.
//!
//! | producer | what is taken | where |
//! | --- | --- | --- |
//! | MongoDB ≥ 4.4 | `t.$date`, `s` | both are there |
//! | log4j 2, `JsonLayout` | `instant: {epochSecond, nanoOfSecond}`, `timeMillis` | they are that |
//! | MySQL 8, `log_sink_json` | `label` | `prio` is there |
//! | Okta | `published`, `displayMessage` | both are there |
//! | NXLog, NLog, Serilog, .NET | `EventTime`, `Timestamp`, `Severity`, `Level`, `LogLevel`, `Message` | a time that is read, a level that is known, a text |
//! | Grafana | `t` | a date with a clock |
//! | GELF | `short_message` | a text |
//!
//! Only what an event has under no other name is looked for, and nothing is taken that cannot be read: it stays where it is.

use super::engine::{LEVEL, MESSAGE, Normalize, TIMESTAMP};
use crate::event::{Batch, EventRef, Sym, Value, json};
use crate::time::write_rfc3339_utc;

/// Fields by which such an event is known.
pub(super) const SIGNS: [&str; 13] = [
    "t",
    "instant",
    "timeMillis",
    "prio",
    "published",
    "displayMessage",
    "EventTime",
    "Timestamp",
    "Severity",
    "Level",
    "LogLevel",
    "Message",
    "short_message",
];

/// Names that are looked for.
pub(super) struct Producers {
    t: Sym,
    s: Sym,
    instant: Sym,
    prio: Sym,
    label: Sym,
    published: Sym,
    display_message: Sym,
    /// Taken where they can be read.
    times: [Sym; 3],
    levels: [Sym; 3],
    messages: [Sym; 3],
}

impl Producers {
    pub(super) fn new() -> Self {
        let key = Sym::from_config;
        Producers {
            t: key("t"),
            s: key("s"),
            instant: key("instant"),
            prio: key("prio"),
            label: key("label"),
            published: key("published"),
            display_message: key("displayMessage"),
            times: [key("EventTime"), key("Timestamp"), key("timeMillis")],
            levels: [key("Severity"), key("Level"), key("LogLevel")],
            messages: [key("Message"), key("short_message"), key("displayMessage")],
        }
    }
}

impl Normalize {
    /// Gives canonical names to what such a producer wrote, as far as the event has no such field; `any`: which it has, a bit
    /// each. Whether something was changed.
    #[cold]
    pub(super) fn take_from_producer(&mut self, batch: &mut Batch, row: usize, any: u16) -> bool {
        let missing = |part: usize| any & (1 << part) == 0;
        let is_mongod = self.is_mongod(batch.event(row));
        let mut changed = false;
        if missing(LEVEL) {
            changed |= self.take_level(batch, row, is_mongod);
        }
        if missing(TIMESTAMP) {
            changed |= self.take_time(batch, row, is_mongod);
        }
        if missing(MESSAGE) {
            changed |= self.take_message(batch, row);
        }
        changed
    }

    /// `{"t": {"$date": "…"}, "s": "I", …}`
    fn is_mongod(&self, event: EventRef<'_>) -> bool {
        let letters = match event.field(self.producers.s) {
            Some(Value::Str(s)) => s.bytes,
            _ => return false,
        };
        let is_level = matches!(letters, [b'F' | b'E' | b'W' | b'I' | b'D'] | [b'D', b'1'..=b'5']);
        is_level && matches!(event.field(self.producers.t), Some(Value::Object(raw)) if member(raw, b"$date").is_some())
    }

    fn take_level(&mut self, batch: &mut Batch, row: usize, is_mongod: bool) -> bool {
        let event = batch.event(row);
        let found = if is_mongod {
            event.position(self.producers.s)
        } else {
            let label = event.position(self.producers.prio).and_then(|_| event.position(self.producers.label));
            let names = self.producers.levels;
            label.into_iter().chain(names.into_iter().filter_map(|name| event.position(name))).find(|&at| {
                // A word: numbers in these places are counted in ways of their own.
                match event.value_at(at) {
                    Value::Str(s) => {
                        self.scratch.clear();
                        self.levels.of_text(s.text(&mut self.scratch)).is_some()
                    }
                    _ => false,
                }
            })
        };
        let Some(at) = found else { return false };
        let mut event = batch.event_mut(row);
        if is_mongod && matches!(event.as_ref().value_at(at), Value::Str(s) if s.bytes.first() == Some(&b'D')) {
            // `D1` to `D5`.
            event.set_at(at, Value::from("DEBUG"));
        }
        event.rename_at(at, self.name_of(LEVEL));
        true
    }

    fn take_message(&mut self, batch: &mut Batch, row: usize) -> bool {
        let event = batch.event(row);
        let names = self.producers.messages;
        let is_text = |at: &usize| matches!(event.value_at(*at), Value::Str(_));
        let Some(at) = names.into_iter().filter_map(|name| event.position(name)).find(is_text) else { return false };
        batch.event_mut(row).rename_at(at, self.name_of(MESSAGE));
        true
    }

    fn take_time(&mut self, batch: &mut Batch, row: usize, is_mongod: bool) -> bool {
        let name = self.name_of(TIMESTAMP);
        let event = batch.event(row);
        let object = |name: Sym| {
            let at = event.position(name)?;
            match event.value_at(at) {
                Value::Object(raw) => Some((at, raw)),
                _ => None,
            }
        };
        self.scratch.clear();
        let mongod = object(self.producers.t).filter(|_| is_mongod).and_then(|(at, raw)| {
            let date = member(raw, b"$date").filter(|date| date.first() == Some(&b'"'))?;
            self.scratch.extend_from_slice(date);
            Some((at, raw))
        });
        let written = mongod.or_else(|| {
            let (at, raw) = object(self.producers.instant)?;
            let number = |name: &[u8]| std::str::from_utf8(member(raw, name)?).ok()?.parse::<i64>().ok();
            let nanos = number(b"nanoOfSecond").filter(|nanos| (0..1_000_000_000).contains(nanos))?;
            let ns = number(b"epochSecond")?.checked_mul(1_000_000_000)?.checked_add(nanos)?;
            self.scratch.push(b'"');
            write_rfc3339_utc(ns, if nanos % 1_000_000 == 0 { 3 } else { 9 }, &mut self.scratch);
            self.scratch.push(b'"');
            Some((at, raw))
        });
        if let Some((at, raw)) = written {
            // What else stands in the object stays.
            let whole = json::Children::new(raw).count() == if is_mongod { 1 } else { 2 };
            let mut event = batch.event_mut(row);
            match whole {
                true => {
                    event.set_at(at, json::value_of(&self.scratch));
                    event.rename_at(at, name);
                }
                false => {
                    event.push(name, json::value_of(&self.scratch));
                }
            }
            return true;
        }
        let published =
            event.position(self.producers.display_message).and_then(|_| event.position(self.producers.published));
        // A date, since a number may count anything.
        let dated = event.position(self.producers.t).filter(|at| match event.value_at(*at) {
            Value::Str(s) => {
                matches!(s.bytes, [b'1' | b'2', _, _, _, b'-', _, _, b'-', _, _, b'T' | b' ', _, _, b':', ..])
            }
            _ => false,
        });
        let names = self.producers.times;
        let found: Vec<usize> =
            names.into_iter().filter_map(|name| event.position(name)).chain(published).chain(dated).collect();
        let now = batch.received_at;
        for at in found {
            if self.stamp(batch.event(row).value_at(at), now).is_some() {
                batch.event_mut(row).rename_at(at, name);
                return true;
            }
        }
        false
    }
}

/// The member of an object, as it stands there.
fn member<'a>(raw: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    json::Children::new(raw)
        .find(|child| raw.get(child.key.0..child.key.1) == Some(name))
        .and_then(|child| raw.get(child.value.0..child.value.1))
}
