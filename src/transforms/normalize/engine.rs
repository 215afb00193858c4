//! The transform: one pass over an event's keys finds what plays which part; then each part is put into shape.

use super::doubt::{note_doubt, say_doubt};
use super::level::{self, Level, Levels};
use super::producers::{Producers, SIGNS};
use super::{Case, KeepRest, NormalizeOptions, Schema, UnknownLevel};
use crate::component::{Emitter, Notes, Rule, Transform};
use crate::event::{Batch, EventKind, EventRef, Form, Str, Sym, Value, json};
use crate::text::snake_case;
use crate::time::{Doubt, Rfc3339Writer, Stamp, TimestampReader, is_normalized, parse_normalized};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use xxhash_rust::xxh3::xxh3_64;

/// A canonical field: its names, best first, and where an event has it.
pub(super) struct Part {
    pub(super) name: Sym,
    /// Its names, best first.
    pub(super) names: Vec<String>,
    /// Aliases with dots, as paths into nested objects: first key, the rest, and its place among the names.
    pub(super) nested: Vec<(Sym, Vec<crate::event::Segment>, usize)>,
}

/// Most canonical fields of a schema.
const MAX_PARTS: usize = 12;
pub(super) const NONE: u16 = u16::MAX;

/// Shapes events; see the module's docs.
pub struct Normalize {
    pub(super) options: NormalizeOptions,
    pub(super) parts: Vec<Part>,
    /// By symbol number: 0, or 1 + part << 8 + rank of the alias.
    class: Vec<u16>,
    /// One bit for each part that has nested aliases.
    nested: u16,
    pub(super) levels: Levels,
    pub(super) producers: Producers,
    /// For what a producer wrote.
    pub(super) scratch: Vec<u8>,
    status: Sym,
    reader: TimestampReader,
    writer: Rfc3339Writer,
    text: Vec<u8>,
    raw: Vec<u8>,
    taken: Taken,
    /// The first level of a batch that is not known, and its first time that cannot be read.
    odd_level: Vec<u8>,
    odd_time: Vec<u8>,
    /// The first date of a batch that may be another day, with its text.
    doubt: Option<(Doubt, String)>,
    /// Nothing has been said of such dates yet, as of this batch.
    looks_for_doubts: bool,
    doubt_said: Arc<AtomicBool>,
}

/// What one event's fields play: field number and rank per part.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) at: [u16; MAX_PARTS],
    rank: [u16; MAX_PARTS],
    /// Fields that carry a canonical name but do not win: nulls and duplicates, to be removed.
    losers: bool,
    /// One bit for each part that is there.
    pub(super) any: u16,
    /// Of them: under its canonical name, not an alias.
    named: u16,
}

const _: () = assert!(MAX_PARTS <= 16);

/// Numbers of the bits that are set, in order.
fn bits(mut set: u16) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let n = set.trailing_zeros() as usize;
        (set != 0).then(|| {
            set &= set - 1;
            n
        })
    })
}

// Parts of the schema `log`, in the listed order.
pub(super) const TIMESTAMP: usize = 0;
pub(super) const LEVEL: usize = 1;
const SERVICE: usize = 2;
pub(super) const MESSAGE: usize = 3;
const TAGS: usize = 9;
const METADATA: usize = 10;
/// Not a part: the fields by which a producer is known that has names of its own.
pub(super) const SIGN: usize = 11;
/// The parts that are looked for then.
const PRODUCED: u16 = 1 << TIMESTAMP | 1 << LEVEL | 1 << MESSAGE;

const TIME_ALIASES: &[&str] = &["@timestamp", "time", "ts", "_timestamp", "date", "datetime", "time_local", "@t"];

/// Canonical name in camel case, and its aliases.
type Names = (&'static str, &'static [&'static str]);

const LOG: &[Names] = &[
    ("timestamp", TIME_ALIASES),
    ("level", &["severity", "lvl", "loglevel", "log.level", "severity_text", "error_severity", "@level", "@l"]),
    ("service", &["service.name", "service_name", "app", "application", "appname"]),
    ("message", &["msg", "log", "body", "text", "@message", "@m", "@mt"]),
    ("traceId", &["trace_id", "trace.id", "traceID"]),
    ("spanId", &["span_id", "span.id", "spanID"]),
    ("userId", &["user_id"]),
    ("sessionId", &["session_id"]),
    ("requestId", &["request_id", "req_id"]),
    ("tags", &["labels"]),
    ("metadata", &[]),
];

const METRIC: &[Names] = &[
    ("name", &["metric", "__name__"]),
    ("value", &[]),
    ("type", &["__type__"]),
    ("labels", &["tags"]),
    ("unit", &[]),
    ("description", &[]),
    ("timestamp", TIME_ALIASES),
];
const M_NAME: usize = 0;
const M_VALUE: usize = 1;
const M_TYPE: usize = 2;
const M_LABELS: usize = 3;
const M_TIMESTAMP: usize = 6;

const TRACE: &[Names] = &[
    ("traceId", &["trace_id", "trace.id", "traceID"]),
    ("spanId", &["span_id", "span.id", "spanID"]),
    ("parentSpanId", &["parent_span_id", "parent_id", "parentId"]),
    ("operationName", &["operation_name", "name"]),
    ("startTime", &["start_time", "start"]),
    ("endTime", &["end_time", "end"]),
    ("duration", &["duration_ms"]),
    ("tags", &["attributes"]),
    ("logs", &["events"]),
    ("status", &[]),
];
const T_START: usize = 4;
const T_END: usize = 5;
const T_DURATION: usize = 6;
const T_LOGS: usize = 8;
const T_STATUS: usize = 9;

/// The canonical names of a schema in camel case, in order.
pub fn canonical_names(schema: Schema) -> impl Iterator<Item = &'static str> {
    names(schema).iter().map(|(name, _)| *name)
}

fn names(schema: Schema) -> &'static [Names] {
    match schema {
        Schema::Log => LOG,
        Schema::Metric => METRIC,
        Schema::Trace => TRACE,
    }
}

impl Normalize {
    /// A transform with these options.
    pub fn new(options: NormalizeOptions) -> Self {
        let mut parts = Vec::new();
        let mut class: Vec<u16> = Vec::new();
        for (n, (camel, aliases)) in names(options.schema).iter().enumerate() {
            let snaked = snake_case(camel);
            let (name, other) = match options.case {
                Case::Camel => ((*camel).to_owned(), snaked.clone()),
                Case::Snake => (snaked.clone(), (*camel).to_owned()),
            };
            let mut all = vec![name.clone(), other];
            all.extend(aliases.iter().map(|a| (*a).to_owned()));
            all.extend(options.fields.iter().filter(|(c, _)| snake_case(c) == snaked).flat_map(|(_, a)| a.clone()));
            let mut nested = Vec::new();
            for (rank, alias) in all.iter().enumerate() {
                let sym = Sym::from_config(alias);
                if class.len() <= sym.index() {
                    class.resize(sym.index() + 1, 0);
                }
                if class[sym.index()] == 0 {
                    class[sym.index()] = 1 + ((n as u16) << 8) + rank as u16;
                }
                if let Ok(path) = crate::event::FieldPath::parse(alias)
                    && let (Some(first), false) = (path.first(), path.rest().is_empty())
                {
                    nested.push((first, path.rest().to_vec(), rank));
                }
            }
            parts.push(Part { name: Sym::from_config(&name), names: all, nested });
        }
        if options.schema == Schema::Log {
            for (n, name) in SIGNS.iter().enumerate() {
                let sym = Sym::from_config(name);
                if class.len() <= sym.index() {
                    class.resize(sym.index() + 1, 0);
                }
                if class[sym.index()] == 0 {
                    class[sym.index()] = 2 + ((SIGN as u16) << 8) + n as u16;
                }
            }
        }
        let reader = TimestampReader::new(options.zone.clone(), options.formats.clone());
        let nested = (0..parts.len()).filter(|&n| !parts[n].nested.is_empty()).map(|n| 1 << n).sum();
        Normalize {
            levels: Levels::new(options.levels.clone(), options.numbers),
            producers: Producers::new(),
            scratch: Vec::new(),
            status: Sym::from_config("status"),
            options,
            parts,
            nested,
            class,
            reader,
            writer: Rfc3339Writer::new(),
            text: Vec::new(),
            raw: Vec::new(),
            taken: Taken::default(),
            odd_level: Vec::new(),
            odd_time: Vec::new(),
            doubt: None,
            looks_for_doubts: false,
            doubt_said: Arc::default(),
        }
    }

    #[inline(always)]
    pub(super) fn find(&self, event: EventRef<'_>) -> Found {
        let mut found = Found { at: [NONE; MAX_PARTS], rank: [NONE; MAX_PARTS], losers: false, any: 0, named: 0 };
        for (i, (key, null)) in event.key_indexes().enumerate() {
            let class = self.class.get(key).copied().unwrap_or(0);
            if class == 0 {
                continue;
            }
            let (part, rank) = (usize::from((class - 1) >> 8), (class - 1) & 0xff);
            if null {
                // As good as absent; under the canonical name it would clash with what takes its place.
                found.losers |= rank == 0;
            } else if rank <= found.rank[part] {
                // Equal rank is a duplicate key: the last one counts, as JSON readers take it.
                found.losers |= found.rank[part] == rank;
                found.rank[part] = rank;
                found.at[part] = i as u16;
                found.any |= 1 << part;
                found.named |= u16::from(rank == 0) << part;
            }
        }
        found
    }

    /// Removes canonical fields that are null, and all but the last of duplicate keys.
    #[cold]
    fn clear_losers(&self, batch: &mut Batch, row: usize) {
        for i in (0..batch.event(row).len()).rev() {
            let event = batch.event(row);
            let Some(key) = event.key_at(i) else { continue };
            let class = self.class.get(key.index()).copied().unwrap_or(0);
            if class == 0 {
                continue;
            }
            let duplicate = (i + 1..event.len()).any(|j| event.key_at(j) == Some(key));
            if duplicate || (class - 1) & 0xff == 0 && event.value_at(i) == Value::Null {
                batch.event_mut(row).remove_at(i);
            }
        }
    }

    /// Takes a missing part's value out of a nested object, where an alias with dots names one that is there.
    #[cold]
    fn lift_nested(&mut self, batch: &mut Batch, row: usize, part: usize) -> Option<usize> {
        for (first, rest, _) in &self.parts[part].nested {
            let event = batch.event(row);
            let Some(i) = event.position(*first) else { continue };
            let Value::Object(raw) = event.value_at(i) else { continue };
            let Some(value) = json::get(raw, rest).filter(|v| *v != b"null") else { continue };
            self.text.clear();
            self.text.extend_from_slice(value);
            self.raw.clear();
            json::remove(raw, rest, &mut self.raw);
            let mut event = batch.event_mut(row);
            if self.raw == b"{}" {
                event.remove_at(i);
            } else {
                event.set_at(i, Value::Object(&self.raw));
            }
            event.push(self.parts[part].name, json::value_of(&self.text));
            return Some(batch.event(row).len() - 1);
        }
        None
    }

    /// Finds the parts, with nulls and duplicates removed and nested aliases lifted where they are asked for.
    fn settle(&mut self, batch: &mut Batch, row: usize) -> Found {
        let mut found = self.find(batch.event(row));
        if found.losers {
            self.clear_losers(batch, row);
            found = self.find(batch.event(row));
        }
        let mut lifted = false;
        for part in bits(self.nested & !found.any) {
            lifted |= self.lift_nested(batch, row, part).is_some();
        }
        if lifted {
            found = self.find(batch.event(row));
        }
        if found.any & 1 << SIGN != 0
            && found.any & PRODUCED != PRODUCED
            && self.take_from_producer(batch, row, found.any)
        {
            found = self.find(batch.event(row));
        }
        for part in bits(found.any & !found.named & !(1 << SIGN)) {
            batch.event_mut(row).rename_at(usize::from(found.at[part]), self.parts[part].name);
        }
        found
    }

    /// The canonical name of a part.
    pub(super) fn name_of(&self, part: usize) -> Sym {
        self.parts[part].name
    }

    /// Reads a timestamp value.
    pub(super) fn stamp(&mut self, value: Value<'_>, now: i64) -> Option<Stamp> {
        match value {
            Value::Str(Str { bytes, form: Form::Clean | Form::Plain }) => {
                if self.looks_for_doubts && self.reader.may_doubt(bytes) {
                    note_doubt(&self.reader, bytes, &mut self.doubt);
                }
                self.reader.read(bytes.trim_ascii(), now)
            }
            Value::Str(s) => {
                let text = s.text(&mut self.text);
                if self.looks_for_doubts && self.reader.may_doubt(text) {
                    note_doubt(&self.reader, text, &mut self.doubt);
                }
                self.reader.read(text.trim_ascii(), now)
            }
            Value::Number(spelling) => self.reader.read(spelling, now),
            Value::I64(n) => self.reader.read_i64(n),
            Value::F64(x) => self.reader.read_f64(x),
            Value::Timestamp(ns) => Some(Stamp { ns, digits: 3 }),
            _ => None,
        }
    }

    /// Puts the timestamp in field `at` into shape (appends it where missing), and notes the event's time.
    ///
    /// Returns whether it could be read.
    #[inline(always)]
    fn shape_timestamp(&mut self, batch: &mut Batch, row: usize, at: u16, name: Sym) -> bool {
        let now = batch.received_at;
        if at == NONE {
            self.write_time(Stamp { ns: now, digits: 3 });
            let mut event = batch.event_mut(row);
            event.push(name, clean(&self.text));
            event.set_time(now);
            return true;
        }
        let i = usize::from(at);
        let value = batch.event(row).value_at(i);
        if let Value::Str(Str { bytes, form: Form::Clean }) = value
            && let Some(stamp) = parse_normalized(bytes)
        {
            batch.event_mut(row).set_time(stamp.ns);
            return true;
        }
        match self.stamp(value, now) {
            Some(stamp) => {
                self.write_time(stamp);
                let mut event = batch.event_mut(row);
                event.set_at(i, clean(&self.text));
                event.set_time(stamp.ns);
                true
            }
            None => {
                first_of(&mut self.odd_time, value);
                self.raw.clear();
                value.append_json(&mut self.raw);
                self.write_time(Stamp { ns: now, digits: 3 });
                let mut event = batch.event_mut(row);
                event.set_at(i, clean(&self.text));
                event.set_field(Sym::TIMESTAMP_ORIGINAL, json::value_of(&self.raw));
                event.set_time(now);
                false
            }
        }
    }

    fn write_time(&mut self, stamp: Stamp) {
        self.text.clear();
        self.writer.write(stamp.ns, stamp.digits.max(3), &mut self.text);
    }

    #[inline(always)]
    fn log(&mut self, batch: &mut Batch, row: usize, unreadable: &mut u64, unknown: &mut u64) {
        let found = self.settle(batch, row);
        if !self.shape_timestamp(batch, row, found.at[TIMESTAMP], self.parts[TIMESTAMP].name) {
            *unreadable += 1;
        }
        self.level(batch, row, found.at[LEVEL], unknown);
        if found.at[SERVICE] == NONE {
            batch.event_mut(row).push(self.parts[SERVICE].name, clean(b"unknown"));
        }
        match found.at[MESSAGE] {
            NONE => {
                batch.event_mut(row).push(self.parts[MESSAGE].name, clean(b""));
            }
            at => {
                let value = batch.event(row).value_at(usize::from(at));
                if !matches!(value, Value::Str(_)) {
                    self.text.clear();
                    value.append_text(&mut self.text);
                    batch.event_mut(row).set_at(usize::from(at), Value::from(&self.text[..]));
                }
            }
        }
        if found.at[TAGS] == NONE {
            batch.event_mut(row).push(self.parts[TAGS].name, Value::Object(b"{}"));
        }
        if self.options.keep_rest == KeepRest::Metadata {
            self.gather_rest(batch, row);
        }
    }

    #[inline(always)]
    fn level(&mut self, batch: &mut Batch, row: usize, at: u16, unknown: &mut u64) {
        if at == NONE {
            let level = self.level_of_status(batch.event(row)).unwrap_or(Level::Info);
            batch.event_mut(row).push(self.parts[LEVEL].name, clean(level.text()));
            return;
        }
        let i = usize::from(at);
        let value = batch.event(row).value_at(i);
        let level = match value {
            Value::Str(s) => {
                if s.form == Form::Clean && level::is_canonical(s.bytes) && !self.levels.has_own() {
                    return;
                }
                self.levels.of_text(s.text(&mut self.text))
            }
            value => value.as_f64().filter(|x| x.fract() == 0.0).and_then(|x| self.levels.of_number(x as i64)),
        };
        let level = match (level, self.options.unknown) {
            (Some(level), _) => level,
            (None, unknown_is) => {
                *unknown += 1;
                first_of(&mut self.odd_level, value);
                match unknown_is {
                    UnknownLevel::Keep => return,
                    UnknownLevel::Info => Level::Info,
                }
            }
        };
        batch.event_mut(row).set_at(i, clean(level.text()));
    }

    /// The level of an event that has none, where it is to be told from the status of an answer.
    fn level_of_status(&mut self, event: EventRef<'_>) -> Option<Level> {
        if !self.options.level_from_status {
            return None;
        }
        match event.field(self.status)? {
            Value::Str(s) => std::str::from_utf8(s.text(&mut self.text)).ok()?.trim().parse().ok(),
            value => value.as_f64().filter(|x| x.fract() == 0.0).map(|x| x as i64),
        }
        .and_then(Level::of_status)
    }

    /// Moves every field that is no part into the object `metadata`.
    fn gather_rest(&mut self, batch: &mut Batch, row: usize) {
        let metadata = (self.parts.len() > METADATA).then(|| self.parts[METADATA].name);
        let Some(metadata) = metadata else { return };
        let is_part = |key: Option<Sym>| key.is_some_and(|k| self.parts.iter().any(|p| p.name == k));
        let event = batch.event(row);
        let rest = (0..event.len()).filter(|&i| !is_part(event.key_at(i)) && !is_original(event.key_at(i))).count();
        let at = event.position(metadata);
        let existing = at.map(|i| event.value_at(i));
        if rest == 0 && !matches!(existing, Some(Value::Object(_)) | None) {
            return;
        }
        self.taken.names.clear();
        let out = &mut self.raw;
        out.clear();
        out.push(b'{');
        match existing {
            Some(Value::Object(raw)) => {
                for child in json::Children::new(raw) {
                    if out.len() > 1 {
                        out.push(b',');
                    }
                    self.taken.note(&raw[child.key.0..child.key.1], &mut self.text);
                    out.extend_from_slice(&raw[child.start..child.value.1]);
                }
            }
            Some(value) => {
                self.taken.note(b"metadata", &mut self.text);
                out.extend_from_slice(b"\"metadata\":");
                value.append_json(out);
            }
            None => {}
        }
        for i in 0..event.len() {
            if is_part(event.key_at(i)) || is_original(event.key_at(i)) {
                continue;
            }
            push_unclashed(event.key_text_at(i), event.value_at(i), out, &mut self.text, &mut self.taken);
        }
        out.push(b'}');
        let mut event = batch.event_mut(row);
        event.remove_fields(|key| !is_part(key) && !is_original(key) || key == Some(metadata) && out.len() == 2);
        if out.len() > 2 {
            match event.as_ref().position(metadata) {
                Some(i) => event.set_at(i, Value::Object(out)),
                None => {
                    event.push(metadata, Value::Object(out));
                }
            }
        }
    }

    fn drop_rest(&self, batch: &mut Batch, row: usize) {
        batch
            .event_mut(row)
            .remove_fields(|key| !key.is_some_and(|k| self.parts.iter().any(|p| p.name == k)) && !is_original(key));
    }

    fn metric(&mut self, batch: &mut Batch, row: usize, unreadable: &mut u64) -> Result<(), &'static str> {
        // What cannot be shaped leaves as it came: look before the first change.
        let found = self.find(batch.event(row));
        let event = batch.event(row);
        let value_of = |part: usize| (found.at[part] != NONE).then(|| event.value_at(usize::from(found.at[part])));
        match value_of(M_NAME) {
            Some(Value::Str(s)) if !s.bytes.is_empty() => {}
            _ => return Err("metric_without_name"),
        }
        let mut ends = false;
        let number = match value_of(M_VALUE) {
            Some(Value::Str(s)) => {
                let text = s.text(&mut self.text).trim_ascii();
                std::str::from_utf8(text).ok().and_then(|t| t.parse::<f64>().ok()).filter(|x| x.is_finite()).map(Some)
            }
            Some(Value::Number(_) | Value::I64(_)) => Some(None),
            Some(Value::F64(x)) if x.is_finite() => Some(None),
            // The end of a series has none.
            None | Some(Value::Null) if event.field(Sym::STALE) == Some(Value::Bool(true)) => {
                ends = true;
                Some(None)
            }
            _ => None,
        };
        let Some(number) = number else { return Err("metric_without_value") };
        if let Some(parsed) = number {
            // Keep the number's own spelling where that is valid JSON.
            let spelling = self.text.trim_ascii().to_vec();
            let spelling = if spelling.is_empty() {
                match value_of(M_VALUE) {
                    Some(Value::Str(s)) => s.bytes.trim_ascii().to_vec(),
                    _ => spelling,
                }
            } else {
                spelling
            };
            let at = usize::from(found.at[M_VALUE]);
            if json::is_number(&spelling) {
                batch.event_mut(row).set_at(at, Value::Number(&spelling));
            } else {
                batch.event_mut(row).set_at(at, Value::F64(parsed));
            }
        }
        if ends {
            batch.set_stale();
        }
        let found = self.settle(batch, row);
        if found.at[M_TYPE] == NONE {
            batch.event_mut(row).push(self.parts[M_TYPE].name, clean(b"gauge"));
        }
        if found.at[M_LABELS] != NONE {
            self.stringify_labels(batch, row, usize::from(found.at[M_LABELS]));
        }
        if !self.shape_timestamp(batch, row, found.at[M_TIMESTAMP], self.parts[M_TIMESTAMP].name) {
            *unreadable += 1;
        }
        batch.event_mut(row).set_kind(EventKind::Metric);
        Ok(())
    }

    /// Makes every value of the object in field `i` a string.
    fn stringify_labels(&mut self, batch: &mut Batch, row: usize, i: usize) {
        let Value::Object(raw) = batch.event(row).value_at(i) else { return };
        if json::Children::new(raw).all(|c| raw.get(c.value.0) == Some(&b'"')) {
            return;
        }
        let out = &mut self.raw;
        out.clear();
        out.push(b'{');
        for child in json::Children::new(raw) {
            if out.len() > 1 {
                out.push(b',');
            }
            out.extend_from_slice(&raw[child.start..child.value.0]);
            let value = &raw[child.value.0..child.value.1];
            if value.first() == Some(&b'"') {
                out.extend_from_slice(value);
            } else {
                out.push(b'"');
                json::escape(value, out);
                out.push(b'"');
            }
        }
        out.push(b'}');
        batch.event_mut(row).set_at(i, Value::Object(out));
    }

    fn trace(&mut self, batch: &mut Batch, row: usize, unreadable: &mut u64) {
        let found = self.settle(batch, row);
        let now = batch.received_at;
        let mut times = [None; 2];
        for (slot, part) in times.iter_mut().zip([T_START, T_END]) {
            if found.at[part] == NONE {
                continue;
            }
            let i = usize::from(found.at[part]);
            let value = batch.event(row).value_at(i);
            match self.stamp(value, now) {
                Some(stamp) => {
                    *slot = Some(stamp.ns);
                    let same = matches!(value, Value::Str(Str { bytes, form: Form::Clean }) if is_normalized(bytes));
                    if !same {
                        self.write_time(stamp);
                        batch.event_mut(row).set_at(i, clean(&self.text));
                    }
                }
                // Left as it is: `validate` tells what is wrong with it.
                None => {
                    *unreadable += 1;
                    first_of(&mut self.odd_time, value);
                }
            }
        }
        let mut event = batch.event_mut(row);
        if let Some(start) = times[0] {
            event.set_time(start);
        }
        if let [Some(start), Some(end)] = times {
            let ns = end.saturating_sub(start);
            let duration =
                if ns % 1_000_000 == 0 { Value::I64(ns / 1_000_000) } else { Value::F64(ns as f64 / 1_000_000.0) };
            event.set_field(self.parts[T_DURATION].name, duration);
        }
        if found.at[T_LOGS] == NONE {
            event.push(self.parts[T_LOGS].name, Value::Array(b"[]"));
        }
        if found.at[T_STATUS] == NONE {
            event.push(self.parts[T_STATUS].name, Value::Object(br#"{"code":0,"message":"OK"}"#));
        }
        event.set_kind(EventKind::Trace);
    }
}

/// `timestamp_original` is ours: it stays beside the timestamp.
fn is_original(key: Option<Sym>) -> bool {
    key == Some(Sym::TIMESTAMP_ORIGINAL)
}

/// Appends a member to an open object; where its name is taken, `_1`, `_2`… is added to it.
fn push_unclashed(name: &[u8], value: Value<'_>, out: &mut Vec<u8>, text: &mut Vec<u8>, taken: &mut Taken) {
    text.clear();
    text.extend_from_slice(name);
    taken.admit(text);
    if out.len() > 1 {
        out.push(b',');
    }
    out.push(b'"');
    json::escape(text, out);
    out.extend_from_slice(b"\":");
    value.append_json(out);
}

/// Names that an object has, by hash: of equal hashes of different names one gets a number it need not have.
#[derive(Default)]
struct Taken {
    /// Behind each name, the number that was given last to another one of it.
    names: hashbrown::HashMap<u64, u32>,
}

impl Taken {
    /// Notes a name as it stands in JSON.
    fn note(&mut self, key: &[u8], text: &mut Vec<u8>) {
        text.clear();
        json::unescape(key, text);
        self.names.insert(xxh3_64(text), 0);
    }

    /// Notes a name; gives it the next number that is free where it is there already.
    fn admit(&mut self, name: &mut Vec<u8>) {
        let hash = xxh3_64(name);
        let Some(mut n) = self.names.insert(hash, 0) else { return };
        let len = name.len();
        loop {
            n += 1;
            name.truncate(len);
            name.push(b'_');
            name.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
            if self.names.try_insert(xxh3_64(name), 0).is_ok() {
                break;
            }
        }
        self.names.insert(hash, n);
    }
}

/// Keeps the first of a batch.
#[cold]
fn first_of(kept: &mut Vec<u8>, value: Value<'_>) {
    if kept.is_empty() {
        value.append_text(kept);
    }
}

fn clean(text: &[u8]) -> Value<'_> {
    Value::Str(Str { bytes: text, form: Form::Clean })
}

impl Transform for Normalize {
    fn apply(&mut self, batch: &mut Batch, out: &mut Emitter<'_>) {
        let (mut unreadable, mut unknown) = (0, 0);
        self.looks_for_doubts = !self.doubt_said.load(Ordering::Relaxed);
        for row in 0..batch.rows() {
            if !batch.is_live(row) {
                continue;
            }
            match self.options.schema {
                Schema::Log => self.log(batch, row, &mut unreadable, &mut unknown),
                Schema::Metric => {
                    if let Err(reason) = self.metric(batch, row, &mut unreadable) {
                        let detail = match reason {
                            "metric_without_name" => "a metric needs a string `name`",
                            _ => "a metric needs a numeric `value`",
                        };
                        out.reject(batch, row, reason, detail);
                        continue;
                    }
                }
                Schema::Trace => self.trace(batch, row, &mut unreadable),
            }
            if self.options.keep_rest == KeepRest::Drop {
                self.drop_rest(batch, row);
            }
        }
        if let Some(doubt) = self.doubt.take()
            && !self.doubt_said.swap(true, Ordering::Relaxed)
        {
            say_doubt(out.component, &doubt);
        }
        crate::component::attach(batch, &self.options.attach);
        out.error("timestamp_unreadable", unreadable);
        out.error("level_unknown", unknown);
        for (kind, n, kept) in
            [("timestamp_unreadable", unreadable, &mut self.odd_time), ("level_unknown", unknown, &mut self.odd_level)]
        {
            if n > 0 {
                out.example(kind, kept);
                kept.clear();
            }
        }
    }

    fn fork(&self) -> Box<dyn Transform> {
        // What was said by one worker is said.
        Box::new(Normalize { doubt_said: self.doubt_said.clone(), ..Normalize::new(self.options.clone()) })
    }

    fn explain(&mut self, event: EventRef<'_>, notes: &mut Notes) {
        self.tell(event, notes);
    }

    fn rules(&self) -> Vec<Rule> {
        self.deciding()
    }
}
