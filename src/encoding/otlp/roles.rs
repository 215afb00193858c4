//! What the fields of an event are to a record: looked up once for each order of keys.

use super::head::Head;
use super::ids::read_id;
use super::time_of;
use crate::event::{EventRef, MAX_SYMBOLS, Sym, Value};
use crate::text::snake_case;
use crate::time::TimestampReader;

/// What a field is to the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Role {
    Time,
    EndTime,
    Observed,
    Duration,
    Level,
    SeverityNumber,
    Body,
    TraceId,
    SpanId,
    ParentId,
    Name,
    SpanKind,
    Flags,
    TraceState,
    EventName,
    Attributes,
    Dropped,
    Events,
    Links,
    Status,
    Service,
    Resource,
    Scope,
}

impl Role {
    /// Whether a field of such a name is an attribute where its value is not what the role wants.
    fn may_be_attribute(self) -> bool {
        use Role::{Attributes, Events, Links, ParentId, Resource, Scope, SpanId, TraceId};
        matches!(self, Attributes | Resource | Scope | Events | Links | TraceId | SpanId | ParentId)
    }
}

/// How many roles there are.
pub(super) const ROLES: usize = Role::Scope as usize + 1;

/// All of them, by their numbers.
const ALL: [Role; ROLES] = [
    Role::Time,
    Role::EndTime,
    Role::Observed,
    Role::Duration,
    Role::Level,
    Role::SeverityNumber,
    Role::Body,
    Role::TraceId,
    Role::SpanId,
    Role::ParentId,
    Role::Name,
    Role::SpanKind,
    Role::Flags,
    Role::TraceState,
    Role::EventName,
    Role::Attributes,
    Role::Dropped,
    Role::Events,
    Role::Links,
    Role::Status,
    Role::Service,
    Role::Resource,
    Role::Scope,
];

pub(super) const LOG: &[(&str, Role)] = &[
    ("timestamp", Role::Time),
    ("observedTimestamp", Role::Observed),
    ("level", Role::Level),
    ("severityNumber", Role::SeverityNumber),
    ("service", Role::Service),
    ("message", Role::Body),
    ("traceId", Role::TraceId),
    ("spanId", Role::SpanId),
    ("flags", Role::Flags),
    ("eventName", Role::EventName),
    ("attributes", Role::Attributes),
    ("droppedAttributesCount", Role::Dropped),
    ("resource", Role::Resource),
    ("scope", Role::Scope),
];

pub(super) const SPAN: &[(&str, Role)] = &[
    ("traceId", Role::TraceId),
    ("spanId", Role::SpanId),
    ("parentSpanId", Role::ParentId),
    ("operationName", Role::Name),
    ("startTime", Role::Time),
    ("endTime", Role::EndTime),
    ("duration", Role::Duration),
    ("tags", Role::Attributes),
    ("attributes", Role::Attributes),
    ("droppedAttributesCount", Role::Dropped),
    ("logs", Role::Events),
    ("status", Role::Status),
    ("service", Role::Service),
    ("kind", Role::SpanKind),
    ("links", Role::Links),
    ("traceState", Role::TraceState),
    ("flags", Role::Flags),
    ("resource", Role::Resource),
    ("scope", Role::Scope),
];

/// Set in a code for names that count only where the other is absent.
const SECOND: u8 = 0x80;

/// Shapes remembered.
const SHAPES: usize = 8;

/// An event and which of its fields stand for which roles.
#[derive(Clone, Copy)]
pub struct Found<'e> {
    pub(super) event: EventRef<'e>,
    /// By role the field's place, from 1; 0 for none.
    at: [u16; ROLES],
    /// A bit for each role that a field has.
    present: u32,
    /// Its shape's place and number.
    shape: (usize, u64),
}

impl<'e> Found<'e> {
    /// Whether a field has one of these roles.
    #[inline(always)]
    pub(super) fn has_any<const N: usize>(&self, roles: [Role; N]) -> bool {
        self.present & roles.iter().fold(0, |bits, role| bits | 1 << *role as u32) != 0
    }

    #[inline(always)]
    pub(super) fn place(&self, role: Role) -> u16 {
        self.at[role as usize]
    }

    #[inline]
    pub(super) fn get(&self, role: Role) -> Option<Value<'e>> {
        let place = usize::from(self.place(role)).checked_sub(1)?;
        Some(self.event.value_at(place)).filter(|value| !matches!(value, Value::Null))
    }

    #[inline]
    pub(super) fn int(&self, role: Role) -> Option<i64> {
        self.get(role)?.as_i64()
    }

    #[inline]
    pub(super) fn id<const N: usize>(&self, role: Role) -> Option<[u8; N]> {
        match self.get(role)? {
            Value::Str(id) => read_id(id.bytes),
            _ => None,
        }
    }

    /// What resource and scope of an event are made of, one behind the other: two events of which it is the same have the same.
    #[inline]
    pub fn shared_text(&self, out: &mut Vec<u8>) {
        for role in [Role::Resource, Role::Service, Role::Scope] {
            if self.has_any([role])
                && let Some(value) = self.get(role)
            {
                value.append_json(out);
            }
            out.push(0);
        }
    }

    pub(super) fn time(&self, role: Role, reader: &TimestampReader) -> Option<i64> {
        time_of(self.get(role)?, reader, self.event.batch().received_at)
    }
}

/// A field that is an attribute, or may be one by what its value is.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) place: u16,
    /// The role that it has where its value fits.
    pub(super) role: Option<Role>,
    /// How its attribute begins.
    pub(super) head: Head,
}

/// Keys in an order, and what the fields are.
#[derive(Debug, Default)]
struct Shape {
    keys: Vec<u32>,
    /// Another each time the shape is made anew.
    number: u64,
    at: [u16; ROLES],
    /// A bit for each role that a field has.
    present: u32,
    rest: Vec<Rest>,
}

/// What names mean.
#[derive(Debug)]
pub(super) struct Roles {
    /// By number of symbol what the field is: 0 for nothing, else its role's number from 1; [`SECOND`] may be set.
    codes: Vec<u8>,
    /// The field that is the body of log records where it has another role too.
    body: Option<Sym>,
    /// Number of the field of a record that attributes are.
    attributes: u32,
    shapes: Vec<Shape>,
    /// The shape of the event before, and how many were made.
    last: usize,
    made: u64,
}

impl Roles {
    /// Of these names, in both spellings.
    pub(super) fn new(names: &[(&str, Role)], attributes: u32) -> Self {
        let mut roles = Roles { codes: Vec::new(), body: None, attributes, shapes: Vec::new(), last: 0, made: 0 };
        for (camel, role) in names {
            roles.name(Sym::from_config(camel), *role, 0);
            roles.name(Sym::from_config(&snake_case(camel)), *role, SECOND);
        }
        roles
    }

    /// Gives a name its role, unless it has one.
    fn name(&mut self, name: Sym, role: Role, second: u8) {
        if self.codes.len() <= name.index() {
            self.codes.resize(name.index() + 1, 0);
        }
        let of_name = &mut self.codes[name.index()];
        if *of_name == 0 {
            *of_name = (role as u8 + 1) | second;
        }
    }

    /// Makes `key` the body, in place of `message`.
    pub(super) fn set_body(&mut self, key: Sym) {
        self.codes.iter_mut().filter(|code| **code & !SECOND == Role::Body as u8 + 1).for_each(|code| *code = 0);
        self.name(key, Role::Body, 0);
        self.body = (self.role_of(key.index()) != Some(Role::Body)).then_some(key);
    }

    fn role_of(&self, key: usize) -> Option<Role> {
        let code = usize::from(self.codes.get(key)? & !SECOND);
        code.checked_sub(1).map(|n| ALL[n])
    }

    /// Looks up what the fields of an event are.
    #[inline]
    pub(super) fn look<'e>(&mut self, event: EventRef<'e>) -> Found<'e> {
        let n = match self.shapes.get(self.last) {
            Some(shape) if event.has_keys(&shape.keys) => self.last,
            _ => self.find(event),
        };
        let shape = &self.shapes[n];
        Found { event, at: shape.at, present: shape.present, shape: (n, shape.number) }
    }

    fn find(&mut self, event: EventRef<'_>) -> usize {
        self.last = match self.shapes.iter().position(|shape| event.has_keys(&shape.keys)) {
            Some(n) => n,
            None => self.make(event),
        };
        self.last
    }

    fn make(&mut self, event: EventRef<'_>) -> usize {
        let n = self.made as usize % SHAPES;
        self.made += 1;
        if n == self.shapes.len() {
            self.shapes.push(Shape::default());
        }
        let Shape { mut keys, mut rest, .. } = std::mem::take(&mut self.shapes[n]);
        keys.clear();
        rest.clear();
        let (mut at, mut firsts) = ([0; ROLES], 0u32);
        for (i, (key, _)) in event.key_indexes().enumerate() {
            keys.push(key as u32);
            let code = self.codes.get(key).copied().unwrap_or(0);
            let role = self.role_of(key);
            if role.is_none_or(Role::may_be_attribute) {
                let head = Head::new(self.attributes, event.key_text_at(i));
                // An event has fewer fields than this number holds.
                rest.push(Rest { place: i as u16, role, head });
            }
            let Some(role) = role else { continue };
            if code & SECOND == 0 {
                firsts |= 1 << role as u32;
            } else if firsts >> role as u32 & 1 != 0 {
                continue;
            }
            // Of duplicates the last.
            at[role as usize] = i as u16 + 1;
        }
        if let Some(body) = self.body {
            at[Role::Body as usize] = event.position(body).map_or(0, |i| i as u16 + 1);
        }
        if keys.iter().any(|key| *key as usize >= MAX_SYMBOLS) {
            // Keys that have no symbol are another batch's under the same number: no event has this one.
            keys.clear();
            keys.push(u32::MAX);
        }
        let present = (0..ROLES).fold(0, |bits, role| bits | u32::from(at[role] != 0) << role);
        self.shapes[n] = Shape { keys, number: self.made, at, present, rest };
        n
    }

    /// The fields of an event that are attributes or may be.
    #[inline]
    pub(super) fn rest(&mut self, found: &Found<'_>) -> &[Rest] {
        let (n, number) = found.shape;
        let n = match self.shapes.get(n) {
            Some(shape) if shape.number == number => n,
            // Others were looked at in between.
            _ => self.make(found.event),
        };
        &self.shapes[n].rest
    }
}
