//! The batch: an ordered group of events in flat tables over shared bytes.
//!
//! ```text
//! text     the read buffer, frozen and counted            "{"level":"info","seq":7}\n..."
//! scratch  bytes that components wrote, append only       "INFO2025-06-15T..."
//! fields   all events' fields back to back, 16 bytes each  (key, kind, span or value)
//! rows     per event: its range of fields, its line in `text`, its time
//! ```
//!
//! An event nobody changed is encoded as one copy of its line; a changed one as runs of its line and new values in
//! turn. Dropping an event sets a flag in its row.

use super::json::{self, Member, ValueKind};
use super::sym::RUN;
use super::{EventMut, EventRef, Form, Origin, Slab, Str, Sym, Value};
use crate::ack::Ack;
use crate::sync::Locked;
use std::sync::{Arc, Mutex, OnceLock};
use xxhash_rust::xxh3::xxh3_128;

/// What an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub enum EventKind {
    /// A log record.
    #[default]
    Log,
    /// A metric sample.
    Metric,
    /// A trace span.
    Trace,
}

impl EventKind {
    /// `log`, `metric` or `trace`.
    pub fn name(self) -> &'static str {
        match self {
            EventKind::Log => "log",
            EventKind::Metric => "metric",
            EventKind::Trace => "trace",
        }
    }
}

/// Set in [`Field::key`] where the key is no symbol but an entry of [`Batch::local_keys`].
const LOCAL_KEY: u32 = 1 << 31;

/// The value's bytes are in `scratch`, not in `text`.
const IN_SCRATCH: u8 = 1;
/// The member stands in `text` with its key `aux` bytes before the value: it can be copied as a whole.
const MEMBER: u8 = 2;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Tag {
    Null,
    False,
    True,
    I64,
    F64,
    Timestamp,
    Number,
    Clean,
    Plain,
    Escaped,
    Object,
    Array,
}

/// One field: 16 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    key: u32,
    tag: Tag,
    flags: u8,
    /// Bytes from the key's opening quote to the value's span, where `MEMBER` is set.
    aux: u16,
    /// A number's bits, or a span: position in the low half, length in the high one.
    bits: u64,
}

const _: () = assert!(size_of::<Field>() == 16);

/// The row is dropped: skipped by every reader.
const DEAD: u8 = 1;
/// Nothing was changed since the event was decoded from the JSON line in `text`.
const PRISTINE: u8 = 2;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    first: u32,
    len: u16,
    capacity: u16,
    /// The event's line in `text`.
    line: u32,
    line_len: u32,
    /// Nanoseconds since 1970 UTC; `NO_TIME` until someone knows.
    time: i64,
    /// Place in the file, of the line's first byte.
    offset: u64,
    flags: u8,
    kind: EventKind,
}

/// The time of an event whose timestamp nobody has read yet.
const NO_TIME: i64 = i64::MIN;

/// Room kept behind each decoded row for fields that transforms add.
const SLACK: u16 = 2;

/// Tables without a batch, kept so that steady work allocates nothing.
#[derive(Default)]
struct Tables {
    scratch: Vec<u8>,
    fields: Vec<Field>,
    rows: Vec<Row>,
    local_keys: Vec<(u32, u32)>,
}

static SPARE: Mutex<Vec<Tables>> = Mutex::new(Vec::new());

/// Most tables kept; more batches than that are seldom on their way at once.
const KEPT_TABLES: usize = 16;
/// Larger tables are given back to the system: one odd batch must not pin memory for ever.
const KEPT_FIELDS: usize = 1 << 16;
const KEPT_SCRATCH: usize = 1 << 20;

/// Bytes of an event's id as text.
const ID_BYTES: usize = 32;
/// By byte its two hexadecimal digits.
const HEX: [[u8; 2]; 256] = {
    let (digits, mut pairs, mut n) = (b"0123456789abcdef", [[0; 2]; 256], 0);
    while n < 256 {
        pairs[n] = [digits[n >> 4], digits[n & 15]];
        n += 1;
    }
    pairs
};

/// Most fields of one event.
pub const MAX_FIELDS: usize = 16_384;

/// An ordered group of events moved together; see the module's docs.
pub struct Batch {
    pub(crate) text: Slab,
    pub(crate) scratch: Vec<u8>,
    pub(crate) fields: Vec<Field>,
    pub(crate) rows: Vec<Row>,
    local_keys: Vec<(u32, u32)>,
    live: usize,
    /// Bytes of `text` that are the events' `message`s, one a line in order, as long as nobody has changed anything.
    plain_lines: Option<(u32, u32)>,
    /// Some of its events may be the ends of series.
    has_stale: bool,
    /// What its events share.
    pub origin: Arc<Origin>,
    /// When the agent read it: nanoseconds since 1970 UTC. The only clock of a transform.
    pub received_at: i64,
    /// Reports the verdict to the source.
    pub ack: Ack,
    /// It is the last that its sink is given of a chunk: with it, and all that the sink was given before, the sink has the
    /// file up to the [place](Ack::place) of the chunk, as far as it is the sink's. Set by the worker, for the way to the sink.
    pub whole: bool,
    /// It is the only one that its sink is given of the chunk.
    pub alone: bool,
    /// With the place of an event in it, what the event's `@id` is made of: of a file's generation, or random.
    pub ids: u128,
    /// The ids of all rows as text, once one was asked for.
    id_texts: OnceLock<Vec<u8>>,
    /// What the origin [shares](super::Shared), as fields that refer to one copy in `scratch`; empty until it is asked for.
    shared: Vec<Field>,
}

impl Batch {
    /// An empty batch over `text`.
    pub fn new(text: Slab, origin: Arc<Origin>, received_at: i64, ack: Ack) -> Self {
        Batch {
            text,
            scratch: Vec::new(),
            fields: Vec::new(),
            rows: Vec::new(),
            local_keys: Vec::new(),
            live: 0,
            plain_lines: None,
            has_stale: false,
            origin,
            received_at,
            ack,
            whole: false,
            alone: false,
            ids: fastrand::u128(..),
            id_texts: OnceLock::new(),
            shared: Vec::new(),
        }
    }

    /// Keeps the tables' memory for the next batch. The acknowledgement must have been taken and settled before.
    pub fn recycle(self) {
        let Batch { mut scratch, mut fields, mut rows, mut local_keys, text, ack, .. } = self;
        drop((text, ack));
        if fields.capacity() > KEPT_FIELDS || scratch.capacity() > KEPT_SCRATCH {
            return;
        }
        scratch.clear();
        fields.clear();
        rows.clear();
        local_keys.clear();
        let mut spare = SPARE.locked();
        if spare.len() < KEPT_TABLES {
            spare.push(Tables { scratch, fields, rows, local_keys });
        }
    }

    /// As [`new`](Batch::new), with tables of a batch that was [recycled](Batch::recycle) where there are some.
    pub fn recycled(text: Slab, origin: Arc<Origin>, received_at: i64, ack: Ack) -> Self {
        let spare = SPARE.locked().pop();
        let Tables { scratch, fields, rows, local_keys } = spare.unwrap_or_default();
        Batch { scratch, fields, rows, local_keys, ..Batch::new(text, origin, received_at, ack) }
    }

    /// An empty batch with the same origin, time and acknowledgement, for events that leave by another output.
    pub fn sibling(&self) -> Batch {
        let ids = self.ids;
        Batch { ids, ..Batch::new(Slab::default(), self.origin.clone(), self.received_at, self.ack.clone()) }
    }

    /// A second batch of the same events: tables are copied, `text` is shared.
    pub fn fork(&self) -> Batch {
        Batch { ack: self.ack.clone(), ..self.snapshot() }
    }

    /// A copy to look at, which has no part in the verdict.
    pub fn snapshot(&self) -> Batch {
        Batch {
            text: self.text.clone(),
            scratch: self.scratch.clone(),
            fields: self.fields.clone(),
            rows: self.rows.clone(),
            local_keys: self.local_keys.clone(),
            live: self.live,
            plain_lines: self.plain_lines,
            has_stale: self.has_stale,
            origin: self.origin.clone(),
            received_at: self.received_at,
            ack: Ack::none(),
            whole: false,
            alone: false,
            ids: self.ids,
            id_texts: OnceLock::new(),
            shared: Vec::new(),
        }
    }

    /// Events that are still there.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether no event is there.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Rows, those of dropped events included: the bound of [`event`](Batch::event)'s index.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Says that there is the end of a series among the events ([`EventRef::is_stale`]).
    pub fn set_stale(&mut self) {
        self.has_stale = true;
    }

    /// Whether some of the events may be ends of series: those of a batch that has been on disk are not known.
    pub fn may_have_stale(&self) -> bool {
        self.has_stale
    }

    /// Bytes of memory that the batch keeps in use.
    pub fn pinned_bytes(&self) -> usize {
        self.text.pinned_bytes() + self.table_bytes()
    }

    fn table_bytes(&self) -> usize {
        self.scratch.capacity() + self.fields.capacity() * size_of::<Field>() + self.rows.capacity() * size_of::<Row>()
    }

    /// Bytes that its live events refer to, about.
    pub fn live_bytes(&self) -> usize {
        let rows = self.rows.iter().filter(|r| r.flags & DEAD == 0);
        self.scratch.len()
            + rows
                .map(|r| r.line_len as usize + usize::from(r.len) * size_of::<Field>() + size_of::<Row>())
                .sum::<usize>()
    }

    /// The bytes that decoded events borrow from.
    pub fn text(&self) -> &Slab {
        &self.text
    }

    /// Whether row `row` is still there.
    pub fn is_live(&self, row: usize) -> bool {
        self.rows.get(row).is_some_and(|r| r.flags & DEAD == 0)
    }

    /// The event in row `row`, dropped or not.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn event(&self, row: usize) -> EventRef<'_> {
        EventRef { batch: self, row: &self.rows[row] }
    }

    /// The event in row `row`, to change it.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn event_mut(&mut self, row: usize) -> EventMut<'_> {
        assert!(row < self.rows.len(), "row {row} of {}", self.rows.len());
        self.plain_lines = None;
        EventMut { batch: self, row }
    }

    /// The live events in order.
    pub fn iter(&self) -> impl Iterator<Item = EventRef<'_>> {
        self.rows.iter().filter(|r| r.flags & DEAD == 0).map(|row| EventRef { batch: self, row })
    }

    /// Drops the event in row `row`; `false` where it was gone already.
    pub fn drop_row(&mut self, row: usize) -> bool {
        match self.rows.get_mut(row) {
            Some(r) if r.flags & DEAD == 0 => {
                r.flags |= DEAD;
                self.live -= 1;
                self.plain_lines = None;
                true
            }
            _ => false,
        }
    }

    /// Keeps the live events for which `keep` holds; returns how many it dropped.
    pub fn retain(&mut self, mut keep: impl FnMut(EventRef<'_>) -> bool) -> usize {
        let before = self.live;
        for row in 0..self.rows.len() {
            if self.rows[row].flags & DEAD == 0 && !keep(self.event(row)) {
                self.rows[row].flags |= DEAD;
                self.live -= 1;
                self.plain_lines = None;
            }
        }
        before - self.live
    }

    /// A copy of the live events with text of their own, no larger than they need: for batches that wait.
    pub fn compact(&self) -> Batch {
        let mut to = Batch { whole: self.whole, alone: self.alone, ..self.sibling() };
        to.reserve(self.live, self.live_bytes());
        for row in 0..self.rows.len() {
            if self.is_live(row) {
                to.copy_event(self, row);
            }
        }
        to
    }

    /// The event's id: 32 hex digits, of [`ids`](Batch::ids) and its place. Made for all rows together, when one is asked
    /// for first.
    pub(crate) fn id_of(&self, row: &Row) -> Option<&str> {
        let index = (std::ptr::from_ref(row).addr() - self.rows.as_ptr().addr()) / size_of::<Row>();
        let texts = self.id_texts.get_or_init(|| {
            let mut texts = Vec::with_capacity(self.rows.len() * ID_BYTES);
            let mut seed = [0; 24];
            seed[..16].copy_from_slice(&self.ids.to_le_bytes());
            for row in &self.rows {
                seed[16..].copy_from_slice(&row.offset.to_le_bytes());
                let id = xxh3_128(&seed).to_be_bytes();
                let mut text = [0; ID_BYTES];
                for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(id) {
                    *pair = HEX[usize::from(byte)];
                }
                texts.extend_from_slice(&text);
            }
            texts
        });
        std::str::from_utf8(texts.get(index * ID_BYTES..(index + 1) * ID_BYTES)?).ok()
    }

    fn reserve(&mut self, rows: usize, bytes: usize) {
        self.rows.reserve_exact(rows);
        self.scratch.reserve(bytes);
    }

    /// Appends a copy of another batch's event, bytes and all.
    pub fn copy_event(&mut self, from: &Batch, row: usize) {
        let old = from.rows[row];
        let mut new = Row { first: self.fields.len() as u32, capacity: old.len, ..old };
        new.flags &= !(DEAD | PRISTINE);
        (new.line, new.line_len) = (0, 0);
        for field in from.fields_of(&old) {
            let mut copy = Field { flags: IN_SCRATCH, aux: 0, ..*field };
            copy.key = self.copy_key(from, field.key);
            if let Some(bytes) = from.span(field) {
                copy.bits = self.append(bytes);
            }
            self.fields.push(copy);
        }
        self.rows.push(new);
        self.id_texts.take();
        self.live += 1;
        self.plain_lines = None;
        self.has_stale |= from.has_stale;
    }

    fn copy_key(&mut self, from: &Batch, key: u32) -> u32 {
        if key & LOCAL_KEY == 0 {
            return key;
        }
        let text = from.key_text(key);
        self.local_key(text)
    }

    fn local_key(&mut self, text: &[u8]) -> u32 {
        let at = self.scratch.len() as u32;
        self.scratch.extend_from_slice(text);
        self.local_keys.push((at, text.len() as u32));
        LOCAL_KEY | (self.local_keys.len() as u32 - 1)
    }

    /// Says that the live events are the lines of `text[start..end]`, in order and each with its line end, and have no
    /// field but the line in `message`. Forgotten at the first change.
    pub fn set_plain_lines(&mut self, start: usize, end: usize) {
        self.plain_lines = Some((start as u32, end as u32));
    }

    /// What [`set_plain_lines`](Batch::set_plain_lines) said, where it still holds: the text of all events without a look
    /// at one of them.
    pub fn plain_lines(&self) -> Option<&[u8]> {
        let (start, end) = self.plain_lines?;
        self.text.get(start as usize..end as usize)
    }

    /// Appends an event without fields, to be filled by [`EventMut::push`]; returns its row.
    pub fn push_event(&mut self, kind: EventKind) -> usize {
        let first = self.fields.len() as u32;
        self.id_texts.take();
        self.rows.push(Row {
            first,
            len: 0,
            capacity: 0,
            line: 0,
            line_len: 0,
            time: NO_TIME,
            // What tells it from others of the batch, where it has no place in a file.
            offset: if self.origin.file.is_none() { self.rows.len() as u64 } else { 0 },
            flags: 0,
            kind,
        });
        self.live += 1;
        self.plain_lines = None;
        self.rows.len() - 1
    }

    /// Appends an event for the line `text[start..end]` of the batch's text, with no fields yet.
    pub fn push_line(&mut self, start: usize, end: usize, offset: u64) -> usize {
        self.rows.push(Row {
            first: self.fields.len() as u32,
            len: 0,
            capacity: 0,
            line: start as u32,
            line_len: (end - start) as u32,
            time: NO_TIME,
            offset,
            flags: 0,
            kind: EventKind::Log,
        });
        self.live += 1;
        self.plain_lines = None;
        self.rows.len() - 1
    }

    /// Adds a string field whose bytes are `text[start..end]` of the batch's text to the last event, by reference.
    pub fn push_text_field(&mut self, key: Sym, start: usize, end: usize) {
        let bits = start as u64 | ((end - start) as u64) << 32;
        self.push_field(Field { key: key.0, tag: Tag::Plain, flags: 0, aux: 0, bits });
    }

    /// As [`push_text_field`](Batch::push_text_field), for a value in the form given by `kind` (JSON scanner's spans).
    pub fn push_span_field(&mut self, key: Sym, kind: ValueKind, start: usize, end: usize) {
        let bits = start as u64 | ((end - start) as u64) << 32;
        self.push_field(Field { key: key.0, tag: tag_of(kind), flags: 0, aux: 0, bits });
    }

    /// Puts what the origin [shares](super::Shared) behind the fields of the rows from `first` on, in place of fields of the
    /// same names. The text is in the batch once.
    pub fn push_shared_fields(&mut self, first: usize) {
        if self.shared.is_empty() {
            let Some(shared) = self.origin.shared.clone() else { return };
            for (key, value) in &shared.fields {
                let field = self.store(key.0, json::value_of(value));
                self.shared.push(field);
            }
        }
        for n in 0..self.shared.len() {
            let field = self.shared[n];
            for row in first..self.rows.len() {
                let mut event = self.event_mut(row);
                event.remove_field(Sym(field.key));
                event.push_stored(field);
            }
        }
    }

    fn push_field(&mut self, field: Field) {
        self.plain_lines = None;
        if let Some(row) = self.rows.last_mut()
            && usize::from(row.len) < MAX_FIELDS
        {
            self.fields.push(field);
            row.len += 1;
            row.capacity = row.capacity.max(row.len);
        }
    }

    pub(crate) fn fields_of(&self, row: &Row) -> &[Field] {
        &self.fields[row.first as usize..row.first as usize + usize::from(row.len)]
    }

    pub(crate) fn key_text(&self, key: u32) -> &[u8] {
        if key & LOCAL_KEY == 0 {
            return Sym(key).text().as_bytes();
        }
        let (at, len) = self.local_keys[(key & !LOCAL_KEY) as usize];
        &self.scratch[at as usize..(at + len) as usize]
    }

    #[inline(always)]
    pub(crate) fn bytes(&self, field: &Field) -> &[u8] {
        let (at, len) = (field.bits as u32 as usize, (field.bits >> 32) as usize);
        let from: &[u8] = if field.flags & IN_SCRATCH == 0 { &self.text } else { &self.scratch };
        &from[at..at + len]
    }

    fn span(&self, field: &Field) -> Option<&[u8]> {
        match field.tag {
            Tag::Number | Tag::Clean | Tag::Plain | Tag::Escaped | Tag::Object | Tag::Array => Some(self.bytes(field)),
            _ => None,
        }
    }

    #[inline(always)]
    pub(crate) fn value(&self, field: &Field) -> Value<'_> {
        let string = |form| Value::Str(Str { bytes: self.bytes(field), form });
        match field.tag {
            Tag::Clean => string(Form::Clean),
            Tag::Plain => string(Form::Plain),
            Tag::Escaped => string(Form::Escaped),
            Tag::Number => Value::Number(self.bytes(field)),
            Tag::Object => Value::Object(self.bytes(field)),
            Tag::Array => Value::Array(self.bytes(field)),
            Tag::Null => Value::Null,
            Tag::False => Value::Bool(false),
            Tag::True => Value::Bool(true),
            Tag::I64 => Value::I64(field.bits as i64),
            Tag::F64 => Value::F64(f64::from_bits(field.bits)),
            Tag::Timestamp => Value::Timestamp(field.bits as i64),
        }
    }

    /// Appends bytes to `scratch`; returns their span.
    fn append(&mut self, bytes: &[u8]) -> u64 {
        let at = self.scratch.len() as u64;
        self.scratch.extend_from_slice(bytes);
        at | (bytes.len() as u64) << 32
    }

    /// A field's tag, flags and bits for a value, whose bytes are copied to `scratch`.
    fn store(&mut self, key: u32, value: Value<'_>) -> Field {
        let (tag, bits) = match value {
            Value::Null => (Tag::Null, 0),
            Value::Bool(b) => (if b { Tag::True } else { Tag::False }, 0),
            Value::I64(n) => (Tag::I64, n as u64),
            Value::F64(x) => (Tag::F64, x.to_bits()),
            Value::Timestamp(ns) => (Tag::Timestamp, ns as u64),
            Value::Number(raw) => (Tag::Number, self.append(raw)),
            Value::Object(raw) => (Tag::Object, self.append(raw)),
            Value::Array(raw) => (Tag::Array, self.append(raw)),
            Value::Str(s) => {
                let tag = match s.form {
                    Form::Clean => Tag::Clean,
                    Form::Plain => Tag::Plain,
                    Form::Escaped => Tag::Escaped,
                };
                (tag, self.append(s.bytes))
            }
        };
        Field { key, tag, flags: IN_SCRATCH, aux: 0, bits }
    }

    /// Appends row `row` as one JSON object.
    pub(crate) fn write_json(&self, row: &Row, out: &mut Vec<u8>) {
        self.write_json_with(row, out, |_, value, out| value.append_json(out));
    }

    /// As [`write_json`](Batch::write_json), with `write` for the values that do not stand in `text` as members, strings
    /// that need no escapes aside: it is given the field's place in the row and its value.
    #[inline(always)]
    fn write_json_with(&self, row: &Row, out: &mut Vec<u8>, mut write: impl FnMut(usize, Value<'_>, &mut Vec<u8>)) {
        if row.flags & PRISTINE != 0 {
            out.extend_from_slice(&self.text[row.line as usize..(row.line + row.line_len) as usize]);
            return;
        }
        let text: &[u8] = &self.text;
        out.push(b'{');
        // The run of members of `text` that is to be copied next.
        let (mut from, mut to) = (0usize, 0usize);
        let mut comma = false;
        for (i, field) in self.fields_of(row).iter().enumerate() {
            if field.flags & MEMBER != 0 {
                let at = field.bits as u32 as usize;
                let start = at - usize::from(field.aux);
                let end =
                    at + (field.bits >> 32) as usize + usize::from(matches!(field.tag, Tag::Clean | Tag::Escaped));
                // Three bytes hold a comma and a blank, but no member (`"":1`): nothing was removed between.
                if to != 0 && start > to && start - to <= 3 {
                    to = end;
                    continue;
                }
                if to != 0 {
                    push_run(text, from, to, out);
                }
                if comma {
                    out.push(b',');
                }
                comma = true;
                (from, to) = (start, end);
                continue;
            }
            if to != 0 {
                push_run(text, from, to, out);
                to = 0;
            }
            let (member, len) = if field.key & LOCAL_KEY == 0 { Sym(field.key).member() } else { (&b""[..], 0) };
            if len == 0 {
                out.extend_from_slice(if comma { b",\"" } else { b"\"" });
                self.write_key(field.key, out);
                out.extend_from_slice(b"\":");
            } else {
                push_run(member, usize::from(!comma), len, out);
            }
            comma = true;
            if field.tag == Tag::Clean {
                let (at, len) = (field.bits as u32 as usize, (field.bits >> 32) as usize);
                out.push(b'"');
                push_run(if field.flags & IN_SCRATCH == 0 { text } else { &self.scratch }, at, at + len, out);
                out.push(b'"');
            } else {
                write(i, self.value(field), out);
            }
        }
        if to != 0 {
            push_run(text, from, to, out);
        }
        out.push(b'}');
    }

    fn write_key(&self, key: u32, out: &mut Vec<u8>) {
        json::escape(self.key_text(key), out);
    }
}

/// Appends `text[from..to]`. What is short is copied with the bytes behind it, where there are any, and these cut off again.
#[inline(always)]
pub(crate) fn push_run(text: &[u8], from: usize, to: usize, out: &mut Vec<u8>) {
    if to - from <= RUN
        && let Some(run) = text.get(from..from + RUN).and_then(|run| run.first_chunk::<RUN>())
    {
        let end = out.len() + (to - from);
        out.extend_from_slice(run);
        out.truncate(end);
    } else {
        out.extend_from_slice(&text[from..to]);
    }
}

fn tag_of(kind: ValueKind) -> Tag {
    match kind {
        ValueKind::Null => Tag::Null,
        ValueKind::True => Tag::True,
        ValueKind::False => Tag::False,
        ValueKind::Number => Tag::Number,
        ValueKind::Clean => Tag::Clean,
        ValueKind::Escaped => Tag::Escaped,
        ValueKind::Object => Tag::Object,
        ValueKind::Array => Tag::Array,
    }
}

/// Decodes JSON lines into rows; remembers the keys of the event before, since the next mostly has the same.
#[derive(Default)]
pub struct JsonRows {
    scanner: json::Scanner,
    /// Keys of the last event, in order.
    shape: Vec<Known>,
    known: hashbrown::HashMap<&'static [u8], Sym>,
    key: Vec<u8>,
}

impl JsonRows {
    /// Appends the JSON object in `text[start..end]` of the batch's text as an event.
    ///
    /// Errors: the batch is as before.
    pub fn push(&mut self, batch: &mut Batch, start: usize, end: usize, offset: u64) -> Result<(), json::ScanError> {
        let Batch { text, scratch, fields, rows, local_keys, .. } = batch;
        let text: &[u8] = text;
        let first = fields.len();
        let marks = (scratch.len(), local_keys.len());
        let JsonRows { scanner, shape, known, key: key_buf } = self;
        let mut n = 0;
        let result = scanner.object(text, start, end, |m: Member| {
            let plain: &[u8] = if m.key_escaped {
                key_buf.clear();
                json::unescape(&text[m.key..m.key_end], key_buf);
                key_buf
            } else {
                &text[m.key..m.key_end]
            };
            let key = match shape.get(n) {
                Some(known) if !m.key_escaped && known.is(text, m.key, m.key_end) => known.sym.0,
                _ => look_up(plain, n, shape, known, scratch, local_keys),
            };
            n += 1;
            let aux = m.value - (m.key - 1);
            let whole = aux <= usize::from(u16::MAX) && !m.key_escaped;
            fields.push(Field {
                key,
                tag: tag_of(m.kind),
                flags: if whole { MEMBER } else { 0 },
                aux: if whole { aux as u16 } else { 0 },
                bits: m.value as u64 | ((m.value_end - m.value) as u64) << 32,
            });
        });
        let len = fields.len() - first;
        let result = if len > MAX_FIELDS { Err(json::ScanError::TooManyFields) } else { result };
        if let Err(error) = result {
            fields.truncate(first);
            scratch.truncate(marks.0);
            local_keys.truncate(marks.1);
            return Err(error);
        }
        for _ in 0..SLACK {
            fields.push(Field { key: 0, tag: Tag::Null, flags: 0, aux: 0, bits: 0 });
        }
        rows.push(Row {
            first: first as u32,
            len: len as u16,
            capacity: len as u16 + SLACK,
            line: start as u32,
            line_len: (end - start) as u32,
            time: NO_TIME,
            offset,
            flags: PRISTINE,
            kind: EventKind::Log,
        });
        batch.live += 1;
        batch.plain_lines = None;
        Ok(())
    }
}

/// A key that the event before had.
#[derive(Clone, Copy)]
struct Known {
    sym: Sym,
    len: usize,
    text: &'static [u8],
    /// Its first 16 bytes, and the bits of them that are the key's.
    head: u128,
    mask: u128,
}

impl Known {
    fn new(sym: Sym) -> Known {
        let text = sym.text().as_bytes();
        let mut head = [0; 16];
        let short = text.len().min(16);
        head[..short].copy_from_slice(&text[..short]);
        let mask = u128::MAX.checked_shr(8 * (16 - short as u32)).unwrap_or(0);
        Known { sym, len: text.len(), text, head: u128::from_le_bytes(head), mask }
    }

    /// Whether `text[from..to]` is the key: one load and no call, as keys are short and something stands behind them.
    #[inline(always)]
    fn is(&self, text: &[u8], from: usize, to: usize) -> bool {
        if to - from != self.len {
            return false;
        }
        match text.get(from..from + 16).and_then(|head| head.first_chunk()) {
            Some(head) if self.len <= 16 => (u128::from_le_bytes(*head) ^ self.head) & self.mask == 0,
            _ => text[from..to] == *self.text,
        }
    }
}

#[cold]
fn look_up(
    plain: &[u8],
    n: usize,
    shape: &mut Vec<Known>,
    known: &mut hashbrown::HashMap<&'static [u8], Sym>,
    scratch: &mut Vec<u8>,
    local_keys: &mut Vec<(u32, u32)>,
) -> u32 {
    let sym = match known.get(plain) {
        Some(&sym) => Some(sym),
        None => {
            let sym = std::str::from_utf8(plain).ok().and_then(Sym::from_input);
            if let Some(sym) = sym {
                known.insert(sym.text().as_bytes(), sym);
            }
            sym
        }
    };
    let Some(sym) = sym else {
        let at = scratch.len() as u32;
        scratch.extend_from_slice(plain);
        local_keys.push((at, plain.len() as u32));
        return LOCAL_KEY | (local_keys.len() as u32 - 1);
    };
    if n < shape.len() {
        shape[n] = Known::new(sym);
    } else if n == shape.len() && n < 256 {
        shape.push(Known::new(sym));
    }
    sym.0
}

pub(crate) mod access;
mod pack;
mod places;

pub use pack::{Packer, Unpacker};
pub use places::Places;
