//! Reading and changing one event of a batch.

use super::super::path::{FieldPath, Meta};
use super::*;

/// One event, to read.
#[derive(Clone, Copy)]
pub struct EventRef<'a> {
    pub(crate) batch: &'a Batch,
    pub(crate) row: &'a Row,
}

/// One event, to change.
pub struct EventMut<'a> {
    pub(crate) batch: &'a mut Batch,
    pub(crate) row: usize,
}

/// Where a value's bytes stand, with what stands behind them: what is copied or searched in blocks needs no last one cut
/// short.
#[derive(Clone, Copy)]
pub(crate) enum Spot<'a> {
    /// Plain text: of these bytes, from here, to there.
    Text(&'a [u8], usize, usize),
    /// A JSON object that begins here.
    Object(&'a [u8], usize),
    /// Any other value.
    Other(Value<'a>),
}

/// The values of an event.
#[derive(Clone, Copy)]
pub(crate) struct Spots<'a> {
    batch: &'a Batch,
    fields: &'a [Field],
}

impl<'a> Spots<'a> {
    /// The value of field `i`, as it stands; null past the end.
    #[inline(always)]
    pub(crate) fn at(&self, i: usize) -> Spot<'a> {
        let Some(field) = self.fields.get(i) else { return Spot::Other(Value::Null) };
        let batch = self.batch;
        let from = || -> &'a [u8] { if field.flags & IN_SCRATCH == 0 { &batch.text } else { &batch.scratch } };
        let (at, len) = (field.bits as u32 as usize, (field.bits >> 32) as usize);
        match field.tag {
            Tag::Clean | Tag::Plain => Spot::Text(from(), at, at + len),
            Tag::Object => Spot::Object(from(), at),
            _ => Spot::Other(batch.value(field)),
        }
    }
}

impl<'a> EventRef<'a> {
    /// What the event is.
    pub fn kind(&self) -> EventKind {
        self.row.kind
    }

    /// Whether it is no sample but the end of a series: a metric without a value and with `stale: true`. Servers write such
    /// an end when a target or a series of it is gone.
    pub fn is_stale(&self) -> bool {
        self.row.kind == EventKind::Metric
            && matches!(self.field(Sym::VALUE), None | Some(Value::Null))
            && self.field(Sym::STALE) == Some(Value::Bool(true))
    }

    /// Whether the event is still in its batch.
    pub fn is_live(&self) -> bool {
        self.row.flags & DEAD == 0
    }

    /// The event's time in nanoseconds since 1970 UTC, where a component has read it.
    pub fn time(&self) -> Option<i64> {
        (self.row.time != NO_TIME).then_some(self.row.time)
    }

    /// Place of the event in its file, in bytes.
    pub fn offset(&self) -> u64 {
        self.row.offset
    }

    /// The batch it stands in.
    pub fn batch(&self) -> &'a Batch {
        self.batch
    }

    /// Its row in that.
    pub fn row(&self) -> usize {
        (std::ptr::from_ref(self.row) as usize - self.batch.rows.as_ptr() as usize) / size_of::<Row>()
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        usize::from(self.row.len)
    }

    /// Whether it has no fields.
    pub fn is_empty(&self) -> bool {
        self.row.len == 0
    }

    /// The value of the field `key`; of duplicates the last, as JSON readers take it.
    #[inline]
    pub fn field(&self, key: Sym) -> Option<Value<'a>> {
        let fields = self.batch.fields_of(self.row);
        last_of(fields, key.0).map(|(_, field)| self.batch.value(field))
    }

    /// The values of several fields, in one pass; of duplicates the last.
    #[inline]
    pub fn several<const N: usize>(&self, keys: [Sym; N]) -> [Option<Value<'a>>; N] {
        let fields = self.batch.fields_of(self.row);
        // One bit for each key, of which the lower six bits count: most fields are none of them.
        let any = keys.iter().fold(0u64, |any, key| any | 1 << (key.0 & 63));
        let mut found = [None; N];
        for field in fields {
            if any >> (field.key & 63) & 1 != 0 {
                for (found, key) in found.iter_mut().zip(keys) {
                    if field.key == key.0 {
                        *found = Some(field);
                    }
                }
            }
        }
        found.map(|field| field.map(|f| self.batch.value(f)))
    }

    /// Whether the event's keys are these, in this order, each as its number ([`key_indexes`](Self::key_indexes)).
    #[inline]
    pub fn has_keys(&self, numbers: &[u32]) -> bool {
        let fields = self.batch.fields_of(self.row);
        let differ = |(f, n): (&Field, &u32)| f.key ^ n;
        let ((fields, last), (numbers, last_numbers)) = (fields.as_chunks::<4>(), numbers.as_chunks::<4>());
        fields.len() == numbers.len()
            && last.len() == last_numbers.len()
            && last.iter().zip(last_numbers).map(differ).fold(0, |all, d| all | d) == 0
            && fields.iter().zip(numbers).all(|(f, n)| f.iter().zip(n).map(differ).fold(0, |all, d| all | d) == 0)
    }

    /// Place of the field `key` among the event's fields (the last of duplicates).
    #[inline]
    pub fn position(&self, key: Sym) -> Option<usize> {
        last_of(self.batch.fields_of(self.row), key.0).map(|(at, _)| at)
    }

    /// The symbol of field `i`; `None` for a key that has none.
    pub fn key_at(&self, i: usize) -> Option<Sym> {
        let key = self.batch.fields_of(self.row).get(i)?.key;
        (key & LOCAL_KEY == 0).then_some(Sym(key))
    }

    /// Numbers of the fields' symbols in order ([`Sym::index`]; larger than any symbol's for keys that have none), and
    /// whether the value is null.
    #[inline]
    pub fn key_indexes(&self) -> impl Iterator<Item = (usize, bool)> + use<'a> {
        self.batch.fields_of(self.row).iter().map(|f| (f.key as usize, f.tag == Tag::Null))
    }

    /// The name of field `i`, plain text; empty past the end.
    pub fn key_text_at(&self, i: usize) -> &'a [u8] {
        self.batch.fields_of(self.row).get(i).map_or(&[], |f| self.batch.key_text(f.key))
    }

    /// The value of field `i`; null past the end.
    #[inline(always)]
    pub fn value_at(&self, i: usize) -> Value<'a> {
        match self.batch.fields_of(self.row).get(i) {
            Some(field) => self.batch.value(field),
            None => Value::Null,
        }
    }

    /// Its values, as they stand.
    #[inline(always)]
    pub(crate) fn spots(&self) -> Spots<'a> {
        Spots { batch: self.batch, fields: self.batch.fields_of(self.row) }
    }

    /// Names and values in order.
    pub fn fields(&self) -> impl Iterator<Item = (&'a [u8], Value<'a>)> + use<'a> {
        let batch = self.batch;
        batch.fields_of(self.row).iter().map(move |f| (batch.key_text(f.key), batch.value(f)))
    }

    /// The value at `path`; the whole path as one literal key is tried first. Metadata too.
    pub fn get(&self, path: &'a FieldPath) -> Option<Value<'a>> {
        let Some(first) = path.first() else {
            return path.meta().and_then(|m| self.meta(m));
        };
        if path.rest().is_empty() {
            return self.field(first);
        }
        if let Some(value) = path.whole().and_then(|whole| self.field(whole)) {
            return Some(value);
        }
        match self.field(first)? {
            Value::Object(raw) | Value::Array(raw) => json::get(raw, path.rest()).map(json::value_of),
            _ => None,
        }
    }

    /// The metadata `meta`, where the event has it.
    pub fn meta(&self, meta: &Meta) -> Option<Value<'a>> {
        let origin: &'a Origin = &self.batch.origin;
        let text = |t: &'a Option<Arc<str>>| t.as_deref().map(Value::from);
        match meta {
            Meta::Source => Some(Value::from(&*origin.source)),
            Meta::File => text(&origin.file),
            Meta::Offset => origin.file.as_ref().map(|_| Value::I64(self.row.offset as i64)),
            Meta::Host => text(&origin.host),
            Meta::Peer => text(&origin.peer),
            Meta::ReceivedAt => Some(Value::Timestamp(self.batch.received_at)),
            Meta::Kind => Some(Value::from(self.row.kind.name())),
            Meta::Id => self.batch.id_of(self.row).map(Value::from),
            Meta::User => text(&origin.user),
            Meta::TlsSubject => text(&origin.tls_subject),
            Meta::Http(name) => origin.http.iter().find(|(k, _)| **k == **name).map(|(_, v)| Value::from(&**v)),
        }
    }

    /// Appends the event as one JSON object, without a line end.
    #[inline]
    pub fn write_json(&self, out: &mut Vec<u8>) {
        self.batch.write_json(self.row, out);
    }

    /// Where the event stands in the batch's text as the JSON that [`write_json`](EventRef::write_json) gives: the line it
    /// was decoded from, if nobody has changed it and it is one line.
    #[inline]
    pub fn json_span(&self) -> Option<std::ops::Range<usize>> {
        let row = self.row;
        let span = row.line as usize..(row.line + row.line_len) as usize;
        (row.flags & PRISTINE != 0 && memchr::memchr(b'\n', &self.batch.text[span.clone()]).is_none()).then_some(span)
    }

    /// Where the plain text of the string field `key` stands in the batch's text, if it does (the last of duplicates).
    #[inline]
    pub fn text_span(&self, key: Sym) -> Option<std::ops::Range<usize>> {
        let field = self.batch.fields_of(self.row).iter().rev().find(|f| f.key == key.0)?;
        if field.flags & IN_SCRATCH != 0 || !matches!(field.tag, Tag::Clean | Tag::Plain) {
            return None;
        }
        let at = field.bits as u32 as usize;
        Some(at..at + (field.bits >> 32) as usize)
    }

    /// The line it was decoded from, where its bytes still stand in the batch's text.
    pub fn line(&self) -> &'a [u8] {
        &self.batch.text[self.row.line as usize..(self.row.line + self.row.line_len) as usize]
    }
}

/// The last field with a key, and its place.
#[inline]
fn last_of(fields: &[Field], key: u32) -> Option<(usize, &Field)> {
    // Four at a time: most look-ups pass over a dozen fields.
    let (first, fours) = fields.as_rchunks::<4>();
    for (n, four) in fours.iter().enumerate().rev() {
        for i in (0..4).rev() {
            if four[i].key == key {
                return Some((first.len() + 4 * n + i, &four[i]));
            }
        }
    }
    first.iter().enumerate().rfind(|(_, f)| f.key == key)
}

impl EventMut<'_> {
    /// The event, to read.
    pub fn as_ref(&self) -> EventRef<'_> {
        self.batch.event(self.row)
    }

    /// Says what the event is.
    pub fn set_kind(&mut self, kind: EventKind) {
        self.batch.rows[self.row].kind = kind;
    }

    /// Notes the event's time, in nanoseconds since 1970 UTC; changes no field.
    pub fn set_time(&mut self, ns: i64) {
        self.batch.rows[self.row].time = ns;
    }

    /// Notes the place in the file.
    pub fn set_offset(&mut self, offset: u64) {
        self.batch.rows[self.row].offset = offset;
        self.batch.id_texts.take();
    }

    fn touch(&mut self) -> &mut Row {
        let row = &mut self.batch.rows[self.row];
        row.flags &= !PRISTINE;
        row
    }

    fn index(&self, i: usize) -> usize {
        let row = &self.batch.rows[self.row];
        assert!(i < usize::from(row.len), "field {i} of {}", row.len);
        row.first as usize + i
    }

    /// Sets the value of field `i`; its bytes are copied.
    ///
    /// # Panics
    /// When there is no field `i`.
    pub fn set_at(&mut self, i: usize, value: Value<'_>) {
        self.touch();
        let at = self.index(i);
        let key = self.batch.fields[at].key;
        self.batch.fields[at] = self.batch.store(key, value);
    }

    /// Renames field `i` in place.
    ///
    /// # Panics
    /// When there is no field `i`.
    pub fn rename_at(&mut self, i: usize, key: Sym) {
        let at = self.index(i);
        if self.batch.fields[at].key != key.0 {
            self.touch();
            let field = &mut self.batch.fields[at];
            field.key = key.0;
            field.flags &= !MEMBER;
        }
    }

    /// Renames field `i` in place, to a name that may have no symbol.
    pub fn rename_text_at(&mut self, i: usize, name: &[u8]) {
        let at = self.index(i);
        let key = self.key_for(name);
        self.touch();
        let field = &mut self.batch.fields[at];
        field.key = key;
        field.flags &= !MEMBER;
    }

    fn key_for(&mut self, name: &[u8]) -> u32 {
        match std::str::from_utf8(name).ok().and_then(Sym::from_input) {
            Some(sym) => sym.0,
            None => self.batch.local_key(name),
        }
    }

    /// Removes field `i`; later fields move up.
    ///
    /// # Panics
    /// When there is no field `i`.
    pub fn remove_at(&mut self, i: usize) {
        let at = self.index(i);
        let row = self.touch();
        row.len -= 1;
        let end = row.first as usize + usize::from(row.len);
        self.batch.fields.copy_within(at + 1..end + 1, at);
    }

    /// Adds a field behind the others, whether its key is there or not. Past [`MAX_FIELDS`]: `false`, nothing added.
    pub fn push(&mut self, key: Sym, value: Value<'_>) -> bool {
        self.push_key(key.0, value)
    }

    /// As [`push`](EventMut::push), for a name that may have no symbol.
    pub fn push_text(&mut self, name: &[u8], value: Value<'_>) -> bool {
        let key = self.key_for(name);
        self.push_key(key, value)
    }

    /// Adds a field with the value of field `i` of the event in `row` of the same batch; both refer to the same bytes.
    ///
    /// # Panics
    /// When there is no such row or field.
    pub fn push_shared(&mut self, key: Sym, row: usize, i: usize) -> bool {
        let from = &self.batch.rows[row];
        let field = self.batch.fields_of(from)[i];
        self.push_stored(Field { key: key.0, flags: field.flags & !MEMBER, aux: 0, ..field })
    }

    fn push_key(&mut self, key: u32, value: Value<'_>) -> bool {
        let field = self.batch.store(key, value);
        self.push_stored(field)
    }

    /// Adds a string field whose bytes are `text[start..end]` of the batch's text, by reference: text that JSON writes as it
    /// stands.
    pub fn push_clean(&mut self, key: Sym, start: usize, end: usize) -> bool {
        let bits = start as u64 | ((end - start) as u64) << 32;
        self.push_stored(Field { key: key.0, tag: Tag::Clean, flags: 0, aux: 0, bits })
    }

    pub(super) fn push_stored(&mut self, field: Field) -> bool {
        let row = *self.touch();
        let (first, len) = (row.first as usize, usize::from(row.len));
        if len >= MAX_FIELDS {
            return false;
        }
        let fields = &mut self.batch.fields;
        if row.len < row.capacity {
            fields[first + len] = field;
        } else if first + len == fields.len() {
            fields.push(field);
            self.batch.rows[self.row].capacity += 1;
        } else {
            // The row moves to the table's end, with room for more.
            let to = fields.len();
            fields.extend_from_within(first..first + len);
            fields.push(field);
            for _ in 0..3 {
                fields.push(Field { key: 0, tag: Tag::Null, flags: 0, aux: 0, bits: 0 });
            }
            let row = &mut self.batch.rows[self.row];
            row.first = to as u32;
            row.capacity = row.len + 4;
        }
        self.batch.rows[self.row].len += 1;
        true
    }

    /// Sets the field `key`: every duplicate where it is there, else it is added at the end.
    pub fn set_field(&mut self, key: Sym, value: Value<'_>) {
        let Some(mut i) = self.as_ref().position(key) else {
            self.push(key, value);
            return;
        };
        loop {
            self.set_at(i, value);
            match last_of(&self.batch.fields_of(&self.batch.rows[self.row])[..i], key.0) {
                Some((before, _)) => i = before,
                None => return,
            }
        }
    }

    /// Removes the field `key` with all duplicates; whether it was there.
    pub fn remove_field(&mut self, key: Sym) -> bool {
        self.remove_fields(|k| k == Some(key))
    }

    /// Removes every field whose key (`None`: one without symbol) is `gone`, in one pass; whether there was one.
    pub fn remove_fields(&mut self, gone: impl Fn(Option<Sym>) -> bool) -> bool {
        let row = self.batch.rows[self.row];
        let fields = &mut self.batch.fields[row.first as usize..row.first as usize + usize::from(row.len)];
        let is_gone = |field: &Field| gone((field.key & LOCAL_KEY == 0).then_some(Sym(field.key)));
        let Some(first) = fields.iter().position(is_gone) else { return false };
        let mut kept = first;
        for i in first + 1..fields.len() {
            if !is_gone(&fields[i]) {
                fields[kept] = fields[i];
                kept += 1;
            }
        }
        self.touch().len = kept as u16;
        true
    }

    /// Sets the value at `path`; objects that are missing on the way are made. Where the way leads through something
    /// that is no object, or into metadata: `false`, and nothing is changed.
    pub fn set(&mut self, path: &FieldPath, value: Value<'_>) -> bool {
        let Some(first) = path.first() else {
            return false;
        };
        if path.rest().is_empty() {
            self.set_field(first, value);
            return true;
        }
        if let Some(whole) = path.whole()
            && self.as_ref().position(whole).is_some()
        {
            self.set_field(whole, value);
            return true;
        }
        let mut raw = Vec::new();
        value.append_json(&mut raw);
        let mut found = false;
        let mut done = false;
        for i in 0..self.as_ref().len() {
            if self.as_ref().key_at(i) != Some(first) {
                continue;
            }
            found = true;
            let mut new = Vec::new();
            let event = self.as_ref();
            if let Value::Object(old) | Value::Array(old) = event.value_at(i)
                && json::set(old, path.rest(), &raw, &mut new)
            {
                self.set_at(i, json::value_of(&new));
                done = true;
            }
        }
        if !found && path.rest().iter().all(|s| matches!(s, super::super::path::Segment::Key(_))) {
            let mut new = Vec::new();
            json::push_nested(path.rest(), &raw, &mut new);
            self.push(first, Value::Object(&new));
            done = true;
        }
        done
    }

    /// Removes what stands at `path`, every duplicate; whether something was there.
    pub fn remove(&mut self, path: &FieldPath) -> bool {
        let Some(first) = path.first() else {
            return false;
        };
        if path.rest().is_empty() {
            return self.remove_field(first);
        }
        if let Some(whole) = path.whole()
            && self.remove_field(whole)
        {
            return true;
        }
        let mut done = false;
        for i in 0..self.as_ref().len() {
            let event = self.as_ref();
            if event.key_at(i) != Some(first) {
                continue;
            }
            let mut new = Vec::new();
            if let Value::Object(old) | Value::Array(old) = event.value_at(i)
                && json::remove(old, path.rest(), &mut new)
            {
                self.set_at(i, json::value_of(&new));
                done = true;
            }
        }
        done
    }

    /// Drops the event.
    pub fn drop_event(self) {
        self.batch.drop_row(self.row);
    }
}
