//! Batches as bytes that outlive the process: what a disk buffer keeps.
//!
//! Events are kept as the JSON they would be sent as, one a line, which is a copy for what nobody changed, and what
//! JSON cannot say (kind, time, place in the file, origin, values of types that have no JSON) stands behind it. So the
//! bytes know nothing of symbols or spans of the process that wrote them, and whoever reads them checks them with the
//! same scanner that checks input.
//!
//! ```text
//! text length   u32
//! text          per event: its JSON object, "\n"
//! tables        rows          varint
//!               received_at   i64     nanoseconds since 1970 UTC
//!               order         u64
//!               present       u8      1 file, 2 host, 4 peer, 8 user, 16 tls_subject
//!               source, then those present: varint length, UTF-8
//!               http          varint count, then per variable two texts
//!               per event:    varint length of its JSON, u8 kind (0 log, 1 metric, 2 trace; +4: a time follows),
//!                             [zigzag varint: time less the time before], zigzag varint: offset less the offset before
//!               typed         varint count, then per value:
//!                             varint row less the row before, varint field, u8 type,
//!                             [8 bytes, for 0 integer, 1 float, 2 timestamp; none for 3 nested]
//! ```
//!
//! Integers are little-endian; a varint has seven bits a byte, lowest first, at most ten bytes. A typed value stands in
//! the text as `0`, one of type 3 (an object or array so deep that its event could not be scanned) as a string of its
//! JSON. The bytes carry no checksum: their keeper's does.

use super::*;
use std::ops::Range;

const WITH_TIME: u8 = 4;
const KINDS: [EventKind; 3] = [EventKind::Log, EventKind::Metric, EventKind::Trace];
const TYPE_INTEGER: u8 = 0;
const TYPE_FLOAT: u8 = 1;
const TYPE_TIMESTAMP: u8 = 2;
const TYPE_NESTED: u8 = 3;

/// Most variables `@http.<name>` of one origin.
const MAX_HTTP_VARIABLES: u64 = 4096;

/// Writes batches as bytes; keeps its work space between calls.
#[derive(Default)]
pub struct Packer {
    rows: Vec<u8>,
    typed: Vec<u8>,
    json: Vec<u8>,
}

impl Packer {
    /// Appends the live events among `rows` of `batch`; returns how many they are.
    ///
    /// # Panics
    /// When `rows` reaches past the batch's rows.
    pub fn pack(&mut self, batch: &Batch, rows: Range<usize>, out: &mut Vec<u8>) -> usize {
        let Packer { rows: table, typed, json } = self;
        table.clear();
        typed.clear();
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        let (mut events, mut last_typed, mut typed_count) = (0usize, 0usize, 0u64);
        let (mut last_time, mut last_offset) = (0i64, 0u64);
        for row in &batch.rows[rows] {
            if row.flags & DEAD != 0 {
                continue;
            }
            let from = out.len();
            batch.write_json_with(row, out, |field, value, out| {
                let (of_type, bits) = match value {
                    Value::I64(n) => (TYPE_INTEGER, n as u64),
                    Value::F64(x) => (TYPE_FLOAT, x.to_bits()),
                    Value::Timestamp(ns) => (TYPE_TIMESTAMP, ns as u64),
                    Value::Object(raw) | Value::Array(raw) if may_be_too_deep(raw) => {
                        json.clear();
                        json::escape(raw, json);
                        out.push(b'"');
                        out.extend_from_slice(json);
                        out.push(b'"');
                        (TYPE_NESTED, 0)
                    }
                    value => return value.append_json(out),
                };
                put_varint(typed, (events - last_typed) as u64);
                put_varint(typed, field as u64);
                typed.push(of_type);
                if of_type != TYPE_NESTED {
                    typed.extend_from_slice(&bits.to_le_bytes());
                    out.push(b'0');
                }
                last_typed = events;
                typed_count += 1;
            });
            put_varint(table, (out.len() - from) as u64);
            out.push(b'\n');
            let kind = match row.kind {
                EventKind::Log => 0,
                EventKind::Metric => 1,
                EventKind::Trace => 2,
            };
            if row.time == NO_TIME {
                table.push(kind);
            } else {
                table.push(kind | WITH_TIME);
                put_varint(table, zigzag(row.time.wrapping_sub(last_time)));
                last_time = row.time;
            }
            put_varint(table, zigzag(row.offset.wrapping_sub(last_offset) as i64));
            last_offset = row.offset;
            events += 1;
        }
        let text = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&text.to_le_bytes());
        put_varint(out, events as u64);
        put_origin(batch, out);
        out.extend_from_slice(table);
        put_varint(out, typed_count);
        out.extend_from_slice(typed);
        events
    }
}

/// Whether a nested value may be so deep that the event around it is past the scanner's bound. May say yes too often.
fn may_be_too_deep(raw: &[u8]) -> bool {
    // Every level takes two bytes at least.
    let bound = json::MAX_DEPTH as usize - 1;
    raw.len() >= bound * 2 && memchr::memchr2_iter(b'{', b'[', raw).take(bound).count() == bound
}

fn put_origin(batch: &Batch, out: &mut Vec<u8>) {
    let origin = &*batch.origin;
    out.extend_from_slice(&batch.received_at.to_le_bytes());
    out.extend_from_slice(&origin.order.to_le_bytes());
    let optional = [&origin.file, &origin.host, &origin.peer, &origin.user, &origin.tls_subject];
    out.push(optional.iter().enumerate().map(|(i, o)| u8::from(o.is_some()) << i).sum());
    put_text(&origin.source, out);
    for text in optional.into_iter().flatten() {
        put_text(text, out);
    }
    put_varint(out, origin.http.len() as u64);
    for (name, value) in &origin.http {
        put_text(name, out);
        put_text(value, out);
    }
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

#[inline]
fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn zigzag(n: i64) -> u64 {
    (n << 1 ^ n >> 63) as u64
}

/// Bytes that are no batch. Says what is wrong with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnpackError(&'static str);

impl std::fmt::Display for UnpackError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for UnpackError {}

/// Reads batches from bytes that may be anything; keeps its work space between calls.
#[derive(Default)]
pub struct Unpacker {
    rows: JsonRows,
    scanner: json::Scanner,
    /// The origin before: mostly the next one's too.
    origin: Option<(Vec<u8>, Arc<Origin>)>,
    plain: Vec<u8>,
}

struct Bytes<'a> {
    left: &'a [u8],
}

const SHORT: UnpackError = UnpackError("it ends too early");

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], UnpackError> {
        let (head, rest) = self.left.split_at_checked(n).ok_or(SHORT)?;
        self.left = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], UnpackError> {
        let (head, rest) = self.left.split_first_chunk().ok_or(SHORT)?;
        self.left = rest;
        Ok(*head)
    }

    fn byte(&mut self) -> Result<u8, UnpackError> {
        self.array::<1>().map(|[b]| b)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, UnpackError> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(n);
            }
        }
        Err(UnpackError("a number in it is too long"))
    }

    fn signed(&mut self) -> Result<i64, UnpackError> {
        let n = self.varint()?;
        Ok((n >> 1) as i64 ^ -((n & 1) as i64))
    }

    fn size(&mut self) -> Result<usize, UnpackError> {
        usize::try_from(self.varint()?).map_err(|_| SHORT)
    }

    fn text(&mut self) -> Result<Arc<str>, UnpackError> {
        let n = self.size()?;
        std::str::from_utf8(self.take(n)?).map(Arc::from).map_err(|_| UnpackError("its origin is not UTF-8"))
    }
}

impl Unpacker {
    /// The batch that [`Packer::pack`] wrote as `body`; its events borrow from `body`.
    ///
    /// Errors: the bytes are no batch. Whatever they are, this neither panics nor takes more memory than some times
    /// their length.
    pub fn unpack(&mut self, body: Slab, ack: Ack) -> Result<Batch, UnpackError> {
        let mut head = Bytes { left: &body };
        let text_len = u32::from_le_bytes(head.array()?) as usize;
        let text = head.take(text_len)?;
        if simdutf8::basic::from_utf8(text).is_err() {
            return Err(UnpackError("its text is not UTF-8"));
        }
        let mut tables = Bytes { left: head.left };
        let rows = tables.size()?;
        // An event takes three bytes of text ("{}" and a line end) and two of tables at least.
        if rows > text_len / 3 {
            return Err(UnpackError("it counts more events than it has"));
        }
        let received_at = i64::from_le_bytes(tables.array()?);
        let origin = self.origin(&mut tables)?;
        let left = tables.left.len();
        let mut batch = Batch::recycled(body.clone(), origin, received_at, ack);
        let mut tables = Bytes { left: &body[body.len() - left..] };
        let result = self.events(&mut batch, rows, &mut tables);
        match result {
            Ok(()) => Ok(batch),
            Err(error) => {
                batch.recycle();
                Err(error)
            }
        }
    }

    fn origin(&mut self, tables: &mut Bytes<'_>) -> Result<Arc<Origin>, UnpackError> {
        let start = tables.left;
        if let Some((bytes, origin)) = &self.origin
            && start.starts_with(bytes)
        {
            tables.take(bytes.len())?;
            return Ok(origin.clone());
        }
        let order = u64::from_le_bytes(tables.array()?);
        let present = tables.byte()?;
        let source = tables.text()?;
        let mut optional = |bit: u8| if present & bit != 0 { tables.text().map(Some) } else { Ok(None) };
        let (file, host, peer) = (optional(1)?, optional(2)?, optional(4)?);
        let (user, tls_subject) = (optional(8)?, optional(16)?);
        let count = tables.varint()?;
        if present >= 32 || count > MAX_HTTP_VARIABLES {
            return Err(UnpackError("its origin is odd"));
        }
        let http = (0..count).map(|_| Ok((tables.text()?, tables.text()?))).collect::<Result<_, _>>()?;
        let origin = Arc::new(Origin { source, file, host, peer, user, tls_subject, http, shared: None, order });
        self.origin = Some((start[..start.len() - tables.left.len()].to_vec(), origin.clone()));
        Ok(origin)
    }

    fn events(&mut self, batch: &mut Batch, rows: usize, tables: &mut Bytes<'_>) -> Result<(), UnpackError> {
        let (mut at, mut time, mut offset) = (4usize, 0i64, 0u64);
        let text_end = 4 + u32::from_le_bytes(*batch.text.first_chunk().ok_or(SHORT)?) as usize;
        for row in 0..rows {
            let len = tables.size()?;
            let end = at.checked_add(len).filter(|&end| end < text_end).ok_or(UnpackError("a line leaves the text"))?;
            if batch.text[end] != b'\n' {
                return Err(UnpackError("a line has no end"));
            }
            let flags = tables.byte()?;
            let kind = *KINDS.get(usize::from(flags & 3)).ok_or(UnpackError("an event is of no kind"))?;
            if flags >= 8 {
                return Err(UnpackError("an event is of no kind"));
            }
            if flags & WITH_TIME != 0 {
                time = time.wrapping_add(tables.signed()?);
            }
            offset = offset.wrapping_add(tables.signed()? as u64);
            self.rows.push(batch, at, end, offset).map_err(|_| UnpackError("an event is not a JSON object"))?;
            let r = &mut batch.rows[row];
            r.kind = kind;
            if flags & WITH_TIME != 0 {
                r.time = time;
            }
            at = end + 1;
        }
        if at != text_end {
            return Err(UnpackError("it has more text than events"));
        }
        self.typed(batch, tables)?;
        if tables.left.is_empty() { Ok(()) } else { Err(UnpackError("it is followed by something")) }
    }

    fn typed(&mut self, batch: &mut Batch, tables: &mut Bytes<'_>) -> Result<(), UnpackError> {
        let mut row = 0usize;
        for _ in 0..tables.varint()? {
            row = row.checked_add(tables.size()?).filter(|&r| r < batch.rows()).ok_or(UnpackError("a row is odd"))?;
            let field = tables.size()?;
            if field >= batch.event(row).len() {
                return Err(UnpackError("a field is odd"));
            }
            match tables.byte()? {
                TYPE_INTEGER => batch.event_mut(row).set_at(field, Value::I64(i64::from_le_bytes(tables.array()?))),
                TYPE_FLOAT => batch.event_mut(row).set_at(field, Value::F64(f64::from_le_bytes(tables.array()?))),
                TYPE_TIMESTAMP => {
                    batch.event_mut(row).set_at(field, Value::Timestamp(i64::from_le_bytes(tables.array()?)));
                }
                TYPE_NESTED => {
                    let Value::Str(nested) = batch.event(row).value_at(field) else {
                        return Err(UnpackError("a nested value is odd"));
                    };
                    self.plain.clear();
                    nested.append_text(&mut self.plain);
                    let ends = (self.plain.first(), self.plain.last());
                    let container = matches!(ends, (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']')));
                    // What even alone is past the scanner's bound stays the text that it is: odd, but not lost.
                    if container && self.scanner.is_valid(&self.plain) {
                        batch.event_mut(row).set_at(field, json::value_of(&self.plain));
                    }
                }
                _ => return Err(UnpackError("a value is of no type")),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
