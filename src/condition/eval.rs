//! Evaluation: a walk over the flat program. Work space is the worker's own and only ever grows.

use super::Fault;
use super::ast::{Compare, Junction};
use super::number::{Arith, Num};
use super::pattern::PatternCache;
use super::program::{Id, Node, Program};
use crate::event::json::{self, Children};
use crate::event::{EventRef, FieldPath, Form, Str, Value};
use std::cmp::Ordering;

/// Work space of one condition for one worker.
pub(super) struct Work {
    /// Texts made during one evaluation: unescaped, joined, converted.
    arena: Vec<u8>,
    caches: Vec<PatternCache>,
}

impl Work {
    pub(super) fn of(program: &Program) -> Work {
        Work { arena: Vec::new(), caches: program.patterns.iter().map(|p| p.cache()).collect() }
    }
}

/// A larger arena is not kept: one odd event must not pin memory for ever.
const KEPT_ARENA: usize = 64 << 10;

/// A text: of the event or the program, or made during this evaluation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Text<'a> {
    Borrowed(&'a [u8]),
    Made { start: usize, end: usize },
}

impl<'a> Text<'a> {
    pub(super) fn bytes<'b>(self, arena: &'b [u8]) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Text::Borrowed(bytes) => bytes,
            Text::Made { start, end } => &arena[start..end],
        }
    }
}

/// A value during evaluation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Val<'a> {
    Null,
    Bool(bool),
    Num(Num),
    Str(Text<'a>),
    /// A JSON array or object.
    Json(&'a [u8]),
    /// A list of the program.
    List(Id),
}

/// The truth of a program for an event.
#[inline]
pub(super) fn run(program: &Program, work: &mut Work, event: EventRef<'_>) -> Result<bool, Fault> {
    work.arena.clear();
    let truth =
        Run { program, event: Some(event), arena: &mut work.arena, caches: &mut work.caches }.truth(program.root);
    if work.arena.capacity() > KEPT_ARENA {
        work.arena = Vec::new();
    }
    truth
}

/// The value of a node that needs no event, and the arena that a text may stand in.
pub(super) fn constant(program: &Program, id: Id) -> Result<(Val<'_>, Vec<u8>), Fault> {
    let mut arena = Vec::new();
    let value = Run { program, event: None, arena: &mut arena, caches: &mut [] }.value(id)?;
    Ok((value, arena))
}

struct Run<'a, 'w> {
    program: &'a Program,
    /// `None` while constants are folded.
    event: Option<EventRef<'a>>,
    arena: &'w mut Vec<u8>,
    caches: &'w mut [PatternCache],
}

impl<'a> Run<'a, '_> {
    fn node(&self, id: Id) -> &'a Node {
        &self.program.nodes[id as usize]
    }

    fn path(&self, path: u32) -> &'a FieldPath {
        &self.program.paths[path as usize]
    }

    fn list(&self, range: &std::ops::Range<u32>) -> &'a [Id] {
        &self.program.lists[range.start as usize..range.end as usize]
    }

    #[inline]
    fn field(&self, path: u32) -> Result<Value<'a>, Fault> {
        self.event.and_then(|event| event.get(self.path(path))).ok_or(Fault::Absent)
    }

    /// A value of an event as a value here.
    fn load(&mut self, value: Value<'a>) -> Result<Val<'a>, Fault> {
        Ok(match value {
            Value::Null => Val::Null,
            Value::Bool(b) => Val::Bool(b),
            Value::I64(n) => Val::Num(Num::Int(n)),
            Value::F64(x) => Val::Num(Num::Float(x)),
            Value::Number(spelling) => Val::Num(Num::from_spelling(spelling).ok_or(Fault::Mismatch)?),
            Value::Str(text) => Val::Str(self.load_text(text)),
            Value::Timestamp(ns) => Val::Str(self.make(|out| crate::time::write_rfc3339_utc(ns, 3, out))),
            Value::Object(raw) | Value::Array(raw) => Val::Json(raw),
        })
    }

    #[inline]
    fn load_text(&mut self, text: Str<'a>) -> Text<'a> {
        match text.form {
            Form::Clean | Form::Plain => Text::Borrowed(text.bytes),
            Form::Escaped => self.make(|out| json::unescape(text.bytes, out)),
        }
    }

    fn make(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Text<'a> {
        let start = self.arena.len();
        write(self.arena);
        Text::Made { start, end: self.arena.len() }
    }

    /// The node's truth. Nodes that are no conditions have their value asked.
    fn truth(&mut self, id: Id) -> Result<bool, Fault> {
        match self.node(id) {
            Node::Bool(b) => Ok(*b),
            Node::FieldIs { path, text, negated } => self.field_is(*path, text, *negated),
            Node::FieldMatches { path, pattern } => {
                let text = self.field_text(*path)?;
                Ok(self.matches(*pattern, text))
            }
            Node::FieldIn { path, texts } => {
                let text = match self.field_text(*path) {
                    Ok(text) => text.bytes(self.arena),
                    Err(Fault::Mismatch) => return Ok(false), // another type is just none of them
                    Err(fault) => return Err(fault),
                };
                Ok(texts.iter().any(|t| **t == *text))
            }
            Node::And(range) => self.junction(range, Junction::All),
            Node::Or(range) => self.junction(range, Junction::Any),
            Node::Not(inner) => Ok(!self.truth(*inner)?),
            Node::Has(path) => Ok(self.event.is_some_and(|event| event.get(self.path(*path)).is_some())),
            Node::Compare(compare, a, b) => {
                let (a, b) = (self.value(*a)?, self.value(*b)?);
                self.compare(*compare, a, b)
            }
            Node::In(value, set) => self.is_in(*value, *set),
            Node::Matches(subject, pattern) => {
                let text = self.text(*subject)?;
                Ok(self.matches(*pattern, text))
            }
            Node::ContainsText(subject, finder) => {
                let text = self.text(*subject)?;
                Ok(self.program.finders[*finder as usize].find(text.bytes(self.arena)).is_some())
            }
            Node::Contains(a, b) => self.both(*a, *b, |a, b| memchr::memmem::find(a, b).is_some()),
            Node::StartsWith(a, b) => self.both(*a, *b, |a, b| a.starts_with(b)),
            Node::EndsWith(a, b) => self.both(*a, *b, |a, b| a.ends_with(b)),
            Node::If(condition, yes, no) => {
                let chosen = if self.truth(*condition)? { *yes } else { *no };
                self.truth(chosen)
            }
            Node::Path(path) => match self.field(*path)? {
                Value::Bool(b) => Ok(b),
                _ => Err(Fault::Mismatch),
            },
            // Evaluates to something else than a condition: only what has a value is left.
            Node::Null | Node::Num(_) | Node::Str(_) => Err(Fault::Mismatch),
            Node::List(_)
            | Node::Neg(_)
            | Node::Arith(..)
            | Node::Size(_)
            | Node::Int(_)
            | Node::Double(_)
            | Node::String(_)
            | Node::Lower(_)
            | Node::Upper(_) => {
                self.value(id)?;
                Err(Fault::Mismatch)
            }
        }
    }

    /// The node's value.
    fn value(&mut self, id: Id) -> Result<Val<'a>, Fault> {
        Ok(match self.node(id) {
            Node::Null => Val::Null,
            Node::Num(n) => Val::Num(*n),
            Node::Str(text) => Val::Str(Text::Borrowed(text)),
            Node::List(range) => {
                for item in self.list(range) {
                    self.value(*item)?;
                }
                Val::List(id)
            }
            Node::Path(path) => {
                let value = self.field(*path)?;
                self.load(value)?
            }
            Node::Neg(inner) => Val::Num(self.number(*inner)?.negate().ok_or(Fault::Arithmetic)?),
            Node::Arith(op, a, b) => self.arithmetic(*op, *a, *b)?,
            Node::If(condition, yes, no) => {
                let chosen = if self.truth(*condition)? { *yes } else { *no };
                self.value(chosen)?
            }
            Node::Size(inner) => {
                let value = self.value(*inner)?;
                Val::Num(Num::Int(self.size(value)?))
            }
            Node::Int(inner) => {
                let n = self.converted(*inner)?;
                Val::Num(n.truncate().ok_or(Fault::Arithmetic)?)
            }
            Node::Double(inner) => Val::Num(Num::Float(self.converted(*inner)?.as_f64())),
            Node::String(inner) => self.spelled(*inner)?,
            Node::Lower(inner) => self.mapped(*inner, |b| b.to_ascii_lowercase())?,
            Node::Upper(inner) => self.mapped(*inner, |b| b.to_ascii_uppercase())?,
            Node::Bool(_)
            | Node::FieldIs { .. }
            | Node::FieldIn { .. }
            | Node::FieldMatches { .. }
            | Node::And(_)
            | Node::Or(_)
            | Node::Not(_)
            | Node::Has(_)
            | Node::Compare(..)
            | Node::In(..)
            | Node::Matches(..)
            | Node::Contains(..)
            | Node::ContainsText(..)
            | Node::StartsWith(..)
            | Node::EndsWith(..) => Val::Bool(self.truth(id)?),
        })
    }

    fn text(&mut self, id: Id) -> Result<Text<'a>, Fault> {
        match self.value(id)? {
            Val::Str(text) => Ok(text),
            _ => Err(Fault::Mismatch),
        }
    }

    /// The text of a field.
    #[inline]
    fn field_text(&mut self, path: u32) -> Result<Text<'a>, Fault> {
        match self.field(path)? {
            Value::Str(text) => Ok(self.load_text(text)),
            Value::Timestamp(ns) => Ok(self.make(|out| crate::time::write_rfc3339_utc(ns, 3, out))),
            _ => Err(Fault::Mismatch),
        }
    }

    #[inline]
    fn matches(&mut self, pattern: u32, text: Text<'a>) -> bool {
        let pattern = pattern as usize;
        self.program.patterns[pattern].is_match(&mut self.caches[pattern], text.bytes(self.arena))
    }

    fn number(&mut self, id: Id) -> Result<Num, Fault> {
        match self.value(id)? {
            Val::Num(n) => Ok(n),
            _ => Err(Fault::Mismatch),
        }
    }

    fn both(&mut self, a: Id, b: Id, holds: impl FnOnce(&[u8], &[u8]) -> bool) -> Result<bool, Fault> {
        let (a, b) = (self.text(a)?, self.text(b)?);
        Ok(holds(a.bytes(self.arena), b.bytes(self.arena)))
    }

    fn field_is(&mut self, path: u32, text: &[u8], negated: bool) -> Result<bool, Fault> {
        match self.field(path)? {
            Value::Str(Str { bytes, form: Form::Clean | Form::Plain }) => Ok((bytes == text) != negated),
            Value::Null => Ok(negated),
            value => match self.load(value)? {
                Val::Str(value) => Ok((value.bytes(self.arena) == text) != negated),
                _ => Err(Fault::Mismatch),
            },
        }
    }

    /// `&&` and `||`: one operand that settles the whole is enough, faults of others or not.
    fn junction(&mut self, range: &std::ops::Range<u32>, of: Junction) -> Result<bool, Fault> {
        let mut fault = None;
        for id in self.list(range) {
            match self.truth(*id) {
                Ok(b) if b == of.neutral() => {}
                Ok(b) => return Ok(b),
                Err(f) => fault = fault.or(Some(f)),
            }
        }
        fault.map_or(Ok(of.neutral()), Err)
    }

    fn compare(&self, compare: Compare, a: Val<'a>, b: Val<'a>) -> Result<bool, Fault> {
        if let Compare::Eq | Compare::Ne = compare {
            return Ok(self.equal(a, b)? == (compare == Compare::Eq));
        }
        let order = match (a, b) {
            (Val::Num(a), Val::Num(b)) => match a.compare(b) {
                Some(order) => order,
                None => return Ok(false), // beside NaN
            },
            (Val::Str(a), Val::Str(b)) => a.bytes(self.arena).cmp(b.bytes(self.arena)),
            (Val::Bool(a), Val::Bool(b)) => a.cmp(&b),
            _ => return Err(Fault::Mismatch),
        };
        Ok(match compare {
            Compare::Lt => order == Ordering::Less,
            Compare::Le => order != Ordering::Greater,
            Compare::Gt => order == Ordering::Greater,
            Compare::Ge => order != Ordering::Less,
            Compare::Eq | Compare::Ne => order == Ordering::Equal,
        })
    }

    fn equal(&self, a: Val<'a>, b: Val<'a>) -> Result<bool, Fault> {
        match (a, b) {
            (Val::Null, Val::Null) => Ok(true),
            (Val::Null, _) | (_, Val::Null) => Ok(false),
            (Val::Bool(a), Val::Bool(b)) => Ok(a == b),
            (Val::Num(a), Val::Num(b)) => Ok(a.compare(b) == Some(Ordering::Equal)),
            (Val::Str(a), Val::Str(b)) => Ok(a.bytes(self.arena) == b.bytes(self.arena)),
            _ => Err(Fault::Mismatch),
        }
    }

    /// Membership: a value of another type is just not it.
    fn is_in(&mut self, value: Id, set: Id) -> Result<bool, Fault> {
        let value = self.value(value)?;
        if let Node::List(range) = self.node(set) {
            let mut fault = None;
            for item in self.list(range) {
                match self.value(*item) {
                    Ok(item) if self.equal(value, item) == Ok(true) => return Ok(true),
                    Ok(_) => {}
                    Err(f) => fault = fault.or(Some(f)),
                }
            }
            return fault.map_or(Ok(false), Err);
        }
        match self.value(set)? {
            Val::Json(raw) if raw.first() == Some(&b'[') => {
                let mark = self.arena.len();
                for child in Children::new(raw) {
                    self.arena.truncate(mark);
                    let item = self.load(json::value_of(&raw[child.value.0..child.value.1]))?;
                    if self.equal(value, item) == Ok(true) {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Val::Json(raw) => {
                let Val::Str(key) = value else {
                    return Err(Fault::Mismatch);
                };
                let mark = self.arena.len();
                for child in Children::new(raw) {
                    self.arena.truncate(mark);
                    let name = self.load_text(json::str_of(&raw[child.key.0..child.key.1]));
                    if name.bytes(self.arena) == key.bytes(self.arena) {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            _ => Err(Fault::Mismatch),
        }
    }

    fn arithmetic(&mut self, op: Arith, a: Id, b: Id) -> Result<Val<'a>, Fault> {
        match (self.value(a)?, self.value(b)?) {
            (Val::Num(a), Val::Num(b)) => {
                if op == Arith::Rem && (matches!(a, Num::Float(_)) || matches!(b, Num::Float(_))) {
                    return Err(Fault::Mismatch);
                }
                Ok(Val::Num(a.arithmetic(op, b).ok_or(Fault::Arithmetic)?))
            }
            (Val::Str(a), Val::Str(b)) if op == Arith::Add => {
                let start = self.arena.len();
                for part in [a, b] {
                    match part {
                        Text::Borrowed(bytes) => self.arena.extend_from_slice(bytes),
                        Text::Made { start, end } => self.arena.extend_from_within(start..end),
                    }
                }
                Ok(Val::Str(Text::Made { start, end: self.arena.len() }))
            }
            _ => Err(Fault::Mismatch),
        }
    }

    fn size(&self, value: Val<'a>) -> Result<i64, Fault> {
        let n = match value {
            // Every byte that does not continue a character begins one.
            Val::Str(text) => text.bytes(self.arena).iter().filter(|b| **b & 0xc0 != 0x80).count(),
            Val::Json(raw) => Children::new(raw).count(),
            Val::List(list) => match self.node(list) {
                Node::List(range) => range.len(),
                _ => 0,
            },
            _ => return Err(Fault::Mismatch),
        };
        Ok(n as i64)
    }

    /// A number, or a text that spells one.
    fn converted(&mut self, id: Id) -> Result<Num, Fault> {
        match self.value(id)? {
            Val::Num(n) => Ok(n),
            Val::Str(text) => {
                let text = text.bytes(self.arena).trim_ascii();
                json::is_number(text).then(|| Num::from_spelling(text)).flatten().ok_or(Fault::Mismatch)
            }
            _ => Err(Fault::Mismatch),
        }
    }

    fn spelled(&mut self, id: Id) -> Result<Val<'a>, Fault> {
        Ok(Val::Str(match self.value(id)? {
            Val::Str(text) => text,
            Val::Bool(true) => Text::Borrowed(b"true"),
            Val::Bool(false) => Text::Borrowed(b"false"),
            Val::Num(Num::Int(n)) => self.make(|out| out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes())),
            Val::Num(Num::Big(n)) => self.make(|out| out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes())),
            Val::Num(Num::Float(x)) => self.make(|out| json::write_f64(x, out)),
            Val::Json(raw) => Text::Borrowed(raw),
            Val::Null | Val::List(_) => return Err(Fault::Mismatch),
        }))
    }

    fn mapped(&mut self, id: Id, map: impl Fn(&u8) -> u8) -> Result<Val<'a>, Fault> {
        let text = self.text(id)?;
        let start = self.arena.len();
        match text {
            Text::Borrowed(bytes) => self.arena.extend(bytes.iter().map(map)),
            Text::Made { start: from, end } => {
                self.arena.extend_from_within(from..end);
                for byte in &mut self.arena[start..] {
                    *byte = map(byte);
                }
            }
        }
        Ok(Val::Str(Text::Made { start, end: self.arena.len() }))
    }
}
