//! Dead letters: an event that failed for good, in an envelope that says what of, why, and what it was beside its fields.
//!
//! ```json
//! {"tidegate":{"component":"o2","reason":"refused","detail":"…","time":"…","source":"door",
//!   "metadata":{"source":"door","received_at":"…","kind":"log","http.stream":"shop"}},"event":{…}}
//! ```
//!
//! `time` is that of the refusal. `metadata` is all that a template or a condition may ask for as `@name`, under these names,
//! and, as `time`, the event's own time where a component has read it: what is not there the event did not have. So
//! `tidegate replay` puts the event where it would have gone. `typed` is there where JSON cannot say what a field holds: a time
//! with more than three digits, a float that is not finite. Letters of earlier versions have neither.

mod verdict;

use crate::ack::Ack;
use crate::event::json::ScanError;
use crate::event::{Batch, EventKind, EventMut, EventRef, FieldPath, JsonRows, Meta, Origin, Slab, Sym, Value};
use crate::time::{TimestampReader, clock, parse_rfc3339, write_rfc3339_utc};
use std::sync::Arc;

type Members = serde_json::Map<String, serde_json::Value>;

/// Who refused an event, when and why.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// Id of the component.
    pub component: &'a str,
    /// The word for it in the counters.
    pub reason: &'a str,
    /// What was wrong.
    pub detail: &'a str,
    /// Nanoseconds since 1970 UTC.
    pub at: i64,
}

/// Appends to `to` the event in `from[row]` inside an envelope. `json` is work space.
pub fn push_envelope(to: &mut Batch, from: &Batch, row: usize, refused: Refused<'_>, json: &mut Vec<u8>) {
    let Refused { component, reason, detail, at: now } = refused;
    json.clear();
    let event = from.event(row);
    for (name, value) in [("component", component), ("reason", reason), ("detail", detail)] {
        json.extend_from_slice(if json.is_empty() { b"{" } else { b"," });
        json.push(b'"');
        json.extend_from_slice(name.as_bytes());
        json.extend_from_slice(b"\":");
        Value::from(value).append_json(json);
    }
    json.extend_from_slice(b",\"time\":");
    Value::Timestamp(now).append_json(json);
    json.extend_from_slice(b",\"source\":");
    Value::from(&*from.origin.source).append_json(json);
    if event.kind() != EventKind::Log {
        // Twice, for readers of letters that were there before `metadata`.
        json.extend_from_slice(b",\"kind\":\"");
        json.extend_from_slice(event.kind().name().as_bytes());
        json.push(b'"');
    }
    json.extend_from_slice(b",\"metadata\":");
    push_metadata(event, json);
    push_typed(event, json);
    json.push(b'}');
    let new = to.push_event(EventKind::Log);
    let mut envelope = to.event_mut(new);
    envelope.push(Sym::from_config("tidegate"), Value::Object(json));
    json.clear();
    event.write_json(json);
    envelope.push(Sym::from_config("event"), Value::Object(json));
    envelope.set_offset(event.offset());
    // What a letter is filed under is when it was written, not when the event was.
    envelope.set_time(now);
}

/// What an event is beside its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// What it shares with others; `order` is 0.
    pub origin: Origin,
    /// When the agent read it: nanoseconds since 1970 UTC.
    pub received_at: i64,
    /// What it is.
    pub kind: EventKind,
    /// Place in its file.
    pub offset: u64,
    /// Its time, where a component had read it: nanoseconds since 1970 UTC.
    pub time: Option<i64>,
}

/// Headers whose values are secrets: no letter has them, whatever a source lets through.
const SECRET_HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];

fn is_secret(variable: &str) -> bool {
    let header = variable.strip_prefix("header.").map(|name| name.replace('_', "-"));
    header.is_some_and(|name| SECRET_HEADERS.iter().any(|secret| name.eq_ignore_ascii_case(secret)))
}

/// Appends the metadata of an event as a JSON object.
fn push_metadata(event: EventRef<'_>, out: &mut Vec<u8>) {
    let member = |name: &str, out: &mut Vec<u8>| {
        out.push(if out.last() == Some(&b':') { b'{' } else { b',' });
        Value::from(name).append_json(out);
        out.push(b':');
    };
    // A letter has an id of its own.
    for name in Meta::NAMES.iter().filter(|name| **name != "id") {
        let Some(value) = Meta::from_name(name).as_ref().and_then(|meta| event.meta(meta)) else { continue };
        member(name, out);
        match value {
            Value::Timestamp(ns) => push_instant(ns, out),
            value => value.append_json(out),
        }
    }
    let variables = &event.batch().origin.http;
    for (i, (name, value)) in variables.iter().enumerate() {
        // Of a name given twice, the first counts.
        if !is_secret(name) && variables[..i].iter().all(|(before, _)| before != name) {
            member(&format!("http.{name}"), out);
            Value::from(&**value).append_json(out);
        }
    }
    if let Some(ns) = event.time() {
        member("time", out);
        push_instant(ns, out);
    }
    out.push(b'}');
}

/// Appends the fields whose JSON is less than their value, as a member `typed`.
fn push_typed(event: EventRef<'_>, out: &mut Vec<u8>) {
    let mut any = false;
    for (name, value) in event.fields() {
        let odd = match value {
            Value::Timestamp(ns) => {
                let mut text = Vec::new();
                write_rfc3339_utc(ns, 3, &mut text);
                parse_rfc3339(&text).map(|stamp| stamp.ns) != Some(ns)
            }
            Value::F64(x) => !x.is_finite(),
            _ => false,
        };
        if !odd {
            continue;
        }
        out.extend_from_slice(if any { b"," } else { b",\"typed\":{" });
        any = true;
        Value::from(name).append_json(out);
        out.push(b':');
        match value {
            Value::Timestamp(ns) => push_instant(ns, out),
            // The bits of a NaN may mean something: Prometheus ends series with one.
            Value::F64(x) => out.extend_from_slice(format!("\"float:{:016x}\"", x.to_bits()).as_bytes()),
            _ => {}
        }
    }
    if any {
        out.push(b'}');
    }
}

/// Gives a field its value back, where it still reads as [`push_typed`] left it.
fn restore(event: &mut EventMut<'_>, i: usize, typed: &serde_json::Value) {
    let bits = typed.as_str().and_then(|text| u64::from_str_radix(text.strip_prefix("float:")?, 16).ok());
    let value = match (bits, event.as_ref().value_at(i)) {
        (Some(bits), Value::Null) => Value::F64(f64::from_bits(bits)),
        (None, Value::Str(text)) => {
            let Some(ns) = instant(typed) else { return };
            let mut written = Vec::new();
            write_rfc3339_utc(ns, 3, &mut written);
            if !text.is(&written) {
                return;
            }
            Value::Timestamp(ns)
        }
        _ => return,
    };
    event.set_at(i, value);
}

/// Appends an instant with all its digits.
fn push_instant(ns: i64, out: &mut Vec<u8>) {
    let start = out.len();
    let digits = if ns % 1_000_000 == 0 { 3 } else { 9 };
    out.push(b'"');
    write_rfc3339_utc(ns, digits, out);
    out.push(b'"');
    // The first second that 64 bits reach has no date that could be read again.
    if parse_rfc3339(&out[start + 1..out.len() - 1]).map(|stamp| stamp.ns) != Some(ns) {
        out.truncate(start);
        out.extend_from_slice(itoa::Buffer::new().format(ns).as_bytes());
    }
}

fn instant(value: &serde_json::Value) -> Option<i64> {
    match value {
        serde_json::Value::String(text) => parse_rfc3339(text.as_bytes()).map(|stamp| stamp.ns),
        value => value.as_i64(),
    }
}

/// Why a line is no letter.
#[derive(Debug)]
pub enum LetterError {
    /// It is not UTF-8.
    NotUtf8,
    /// It is not a JSON object.
    NotAnObject,
    /// What stands under `tidegate` cannot be read.
    Head(serde_json::Error),
    /// It says nothing under this name.
    Missing(&'static str),
    /// What it says under this name is no object.
    NoObject(&'static str),
    /// What it says under this name is nothing that an agent has written.
    Odd(String, String),
}

impl std::fmt::Display for LetterError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LetterError::NotUtf8 => f.write_str("it is not UTF-8"),
            LetterError::NotAnObject => f.write_str("it is not a JSON object"),
            LetterError::Head(_) => f.write_str("`tidegate`"),
            LetterError::Missing(name) => write!(f, "it has no `{name}`"),
            LetterError::NoObject(name) => write!(f, "`{name}` is not an object"),
            LetterError::Odd(name, value) => write!(f, "`{name}` is odd: {value}"),
        }
    }
}

impl std::error::Error for LetterError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let LetterError::Head(error) = self { Some(error) } else { None }
    }
}

impl Metadata {
    /// Reads what a letter has under `metadata`. What this version does not know is passed over: nothing can ask for it.
    ///
    /// Errors: which of it is odd.
    pub fn read(json: &serde_json::Value) -> Result<Metadata, LetterError> {
        let members = json.as_object().ok_or(LetterError::NoObject("metadata"))?;
        let mut metadata = Metadata::default();
        for (name, value) in members {
            let odd = || LetterError::Odd(format!("metadata.{name}"), value.to_string());
            if name == "time" {
                metadata.time = Some(instant(value).ok_or_else(odd)?);
                continue;
            }
            let Some(meta) = Meta::from_name(name) else { continue };
            match (&meta, value) {
                (Meta::Offset, value) => metadata.offset = value.as_u64().ok_or_else(odd)?,
                (Meta::ReceivedAt, value) => metadata.received_at = instant(value).ok_or_else(odd)?,
                (Meta::Kind, value) => metadata.kind = value.as_str().and_then(kind).ok_or_else(odd)?,
                (_, serde_json::Value::String(text)) => metadata.set(&meta, text),
                _ => return Err(odd()),
            }
        }
        Ok(metadata)
    }

    /// Sets metadata that is a text. The others are fields of their own.
    pub fn set(&mut self, meta: &Meta, text: &str) {
        let origin = &mut self.origin;
        let text: Arc<str> = text.into();
        match meta {
            Meta::Source => origin.source = text,
            Meta::File => origin.file = Some(text),
            Meta::Host => origin.host = Some(text),
            Meta::Peer => origin.peer = Some(text),
            Meta::User => origin.user = Some(text),
            Meta::TlsSubject => origin.tls_subject = Some(text),
            Meta::Http(name) => origin.http.push((name.as_str().into(), text)),
            Meta::Offset | Meta::ReceivedAt | Meta::Kind | Meta::Id => {}
        }
    }
}

/// The kind of this name.
pub fn kind(name: &str) -> Option<EventKind> {
    [EventKind::Log, EventKind::Metric, EventKind::Trace].into_iter().find(|kind| kind.name() == name)
}

/// A letter that was read.
#[derive(Debug)]
pub struct Letter {
    /// Whose event failed.
    pub component: String,
    /// Why.
    pub reason: String,
    /// What the event is beside its fields.
    pub metadata: Metadata,
    /// The letter says all of `metadata`. An earlier version's says no more than source, time and kind.
    pub is_whole: bool,
    /// The event as JSON, byte for byte.
    pub event: Vec<u8>,
    typed: Members,
}

impl Letter {
    /// Appends the event, which stands in `batch`'s text at `start..end`.
    ///
    /// Errors: it is not the event of the letter.
    pub fn push(&self, rows: &mut JsonRows, batch: &mut Batch, start: usize, end: usize) -> Result<(), ScanError> {
        rows.push(batch, start, end, self.metadata.offset)?;
        let row = batch.rows() - 1;
        let mut event = batch.event_mut(row);
        event.set_kind(self.metadata.kind);
        if let Some(ns) = self.metadata.time {
            event.set_time(ns);
        }
        if !self.typed.is_empty() {
            for i in 0..event.as_ref().len() {
                let name = std::str::from_utf8(event.as_ref().key_text_at(i)).ok();
                if let Some(typed) = name.and_then(|name| self.typed.get(name)) {
                    restore(&mut event, i, typed);
                }
            }
        }
        Ok(())
    }
}

/// Takes letters apart without changing a byte of the event.
pub struct LetterReader {
    rows: JsonRows,
    head: FieldPath,
    event: FieldPath,
    times: TimestampReader,
}

impl Default for LetterReader {
    fn default() -> Self {
        LetterReader {
            rows: JsonRows::default(),
            head: FieldPath::of_key("tidegate"),
            event: FieldPath::of_key("event"),
            times: TimestampReader::default(),
        }
    }
}

impl LetterReader {
    /// Reads a line.
    ///
    /// Errors: why it is no letter.
    pub fn read(&mut self, line: &[u8]) -> Result<Letter, LetterError> {
        if std::str::from_utf8(line).is_err() {
            return Err(LetterError::NotUtf8);
        }
        let (head, event) = match self.parts(line)? {
            Some(parts) => parts,
            None => return Err(LetterError::NotAnObject),
        };
        let head: Members = match head {
            Some(json) => serde_json::from_slice(&json).map_err(LetterError::Head)?,
            None => Members::new(),
        };
        let text = |name: &str| head.get(name).and_then(|value| value.as_str()).map(str::to_owned);
        let component = text("component").ok_or(LetterError::Missing("tidegate.component"))?;
        let (metadata, is_whole) = match head.get("metadata") {
            Some(metadata) => (Metadata::read(metadata)?, true),
            None => (self.of_old(text("source"), text("time"), text("kind"))?, false),
        };
        let reason = text("reason").unwrap_or_default();
        let event = match &*reason {
            "validate" => verdict::without(event, &text("detail").unwrap_or_default()),
            _ => event,
        };
        let typed = head.get("typed").and_then(|typed| typed.as_object()).cloned().unwrap_or_default();
        Ok(Letter { component, reason, metadata, is_whole, event, typed })
    }

    /// The JSON of `tidegate`, if any, and of `event`; `None` where the line is not a JSON object.
    #[expect(clippy::type_complexity, reason = "two texts")]
    fn parts(&mut self, line: &[u8]) -> Result<Option<(Option<Vec<u8>>, Vec<u8>)>, LetterError> {
        let mut batch = Batch::new(Slab::from_vec(line.to_vec()), Origin::of_source(""), 0, Ack::none());
        if self.rows.push(&mut batch, 0, line.len(), 0).is_err() {
            return Ok(self.deep_parts(line).map(|(head, event)| (Some(head), event)));
        }
        let letter = batch.event(0);
        let head = match letter.get(&self.head) {
            Some(Value::Object(json)) => Some(json.to_vec()),
            _ => None,
        };
        match letter.get(&self.event) {
            Some(Value::Object(json)) => Ok(Some((head, json.to_vec()))),
            Some(_) => Err(LetterError::NoObject("event")),
            None => Err(LetterError::Missing("event")),
        }
    }

    /// As [`parts`](LetterReader::parts), for an event that is as deep as events may be, and so its letter deeper: as we
    /// write letters.
    fn deep_parts(&mut self, line: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let rest = line.strip_prefix(b"{\"tidegate\":")?;
        let mut heads = serde_json::Deserializer::from_slice(rest).into_iter::<Members>();
        heads.next()?.ok()?;
        let (head, rest) = rest.split_at(heads.byte_offset());
        let event = rest.strip_prefix(b",\"event\":")?.trim_ascii_end().strip_suffix(b"}")?;
        let mut batch = Batch::new(Slab::from_vec(event.to_vec()), Origin::of_source(""), 0, Ack::none());
        self.rows.push(&mut batch, 0, event.len(), 0).ok()?;
        Some((head.to_vec(), event.to_vec()))
    }

    /// What a letter says that was written without `metadata`; its time was that of the event's reading.
    fn of_old(
        &mut self,
        source: Option<String>,
        time: Option<String>,
        of: Option<String>,
    ) -> Result<Metadata, LetterError> {
        let now = clock::now_ns();
        let received_at = time.and_then(|t| self.times.read(t.as_bytes(), now)).map_or(now, |t| t.ns);
        let kind = match of.as_deref() {
            None => EventKind::Log,
            Some(name) => kind(name).ok_or_else(|| LetterError::Odd("tidegate.kind".to_owned(), name.to_owned()))?,
        };
        let origin = Origin { source: source.unwrap_or_default().into(), ..Origin::default() };
        Ok(Metadata { origin, received_at, kind, ..Metadata::default() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::template::Template;
    use proptest::prelude::*;

    fn letter(batch: &Batch, row: usize) -> String {
        let mut letters = batch.sibling();
        let refused = Refused { component: "o2", reason: "refused", detail: "no \"room\"\n", at: 86_400_000_000_000 };
        push_envelope(&mut letters, batch, row, refused, &mut Vec::new());
        let mut json = Vec::new();
        letters.event(0).write_json(&mut json);
        String::from_utf8(json).unwrap()
    }

    /// The event of a letter as `replay` puts it in.
    fn replayed(line: &str) -> Batch {
        let letter = LetterReader::default().read(line.as_bytes()).unwrap();
        assert_eq!((&*letter.component, &*letter.reason, letter.is_whole), ("o2", "refused", true));
        let text = Slab::from_vec(letter.event.clone());
        let origin = Arc::new(letter.metadata.origin.clone());
        let mut batch = Batch::new(text, origin, letter.metadata.received_at, Ack::none());
        letter.push(&mut JsonRows::default(), &mut batch, 0, letter.event.len()).unwrap();
        batch
    }

    /// All that a template, a condition or a sink can ask of an event.
    fn seen(event: EventRef<'_>) -> Vec<String> {
        let http = event.batch().origin.http.iter().map(|(name, _)| format!("http.{name}"));
        // Its id alone is the letter's own.
        let names = Meta::NAMES.iter().filter(|name| **name != "id").map(|name| (*name).to_owned()).chain(http);
        let mut all: Vec<String> = names
            .map(|name| format!("{name}: {:?}", Meta::from_name(&name).as_ref().and_then(|meta| event.meta(meta))))
            .collect();
        let templates = [
            "{{ @file | default(\"-\") }}/%Y-%m-%d/%H%M%S%f/{{ @kind }}",
            "{{ a | default(\"-\") }}-{{ @received_at }}",
        ];
        for template in templates {
            let mut out = Vec::new();
            Template::with_time(template).unwrap().render(event, &mut out).unwrap();
            all.push(String::from_utf8(out).unwrap());
        }
        let mut json = Vec::new();
        event.write_json(&mut json);
        all.push(String::from_utf8(json).unwrap());
        all.push(format!("{:?} {:?}", event.kind(), event.time()));
        for (_, value) in event.fields() {
            match value {
                Value::F64(x) if !x.is_finite() => all.push(format!("{:x}", x.to_bits())),
                Value::Timestamp(ns) if ns % 1_000_000 != 0 => all.push(format!("{ns} ns")),
                _ => {}
            }
        }
        all
    }

    fn text() -> impl Strategy<Value = Option<Arc<str>>> {
        prop::option::of("(\\PC|[\\x00-\\x1f\"\\\\/]){0,8}".prop_map(Arc::from))
    }

    prop_compose! {
        fn origin()(
            source in "[a-z_]{1,8}", texts in (text(), text(), text(), text(), text()),
            http in prop::collection::vec(("[a-zA-Z_]{1,3}|header\\.[a-z-]{1,5}", text()), 0..4), order in any::<u64>(),
        ) -> Origin {
            let (file, host, peer, user, tls_subject) = texts;
            let http = http.into_iter().map(|(name, value)| (name.into(), value.unwrap_or_default())).collect();
            Origin { source: source.into(), file, host, peer, user, tls_subject, http, shared: None, order }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever an event is, its letter gives it back, so that it goes where it would have gone.
        #[test]
        fn the_event_of_a_letter_is_the_event_that_was_refused(
            origin in origin(),
            received_at in any::<i64>(),
            events in prop::collection::vec((
                prop::collection::vec(("[ab\"\\\\é]{1,2}", "null|true|-?[1-9]{1,20}(\\.0)?|\"(x|\\\\u00e9|\\\\n)\"|\\{\"a\": \\[1, \\{\\}\\]\\}"), 0..4),
                0..3u8, prop::option::of(any::<i64>()), 0..1u64 << 63, any::<i64>(), 0..4u8,
            ), 1..4),
        ) {
            let lines: Vec<String> = events.iter().map(|(members, ..)| {
                let member = |(k, v): &(String, String)| format!("{} :{v}", serde_json::to_string(k).unwrap());
                format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(", "))
            }).collect();
            let text = Slab::from_vec(lines.concat().into_bytes());
            let mut batch = Batch::new(text, Arc::new(origin), received_at, Ack::none());
            let mut at = 0;
            for (row, (line, (_, kind, time, offset, n, change))) in lines.iter().zip(&events).enumerate() {
                JsonRows::default().push(&mut batch, at, at + line.len(), *offset).unwrap();
                at += line.len();
                let mut event = batch.event_mut(row);
                event.set_kind([EventKind::Log, EventKind::Metric, EventKind::Trace][usize::from(*kind)]);
                if let Some(ns) = time.filter(|ns| *ns != i64::MIN) {
                    event.set_time(ns);
                }
                match change {
                    0 => event.set_field(Sym::VALUE, Value::F64(f64::from_bits(0x7ff0_0000_0000_0000 | (*n as u64 >> 1)))),
                    1 => event.set_field(Sym::TIMESTAMP, Value::Timestamp(*n)),
                    2 => event.set_field(Sym::TIMESTAMP, Value::Timestamp(n / 1_000_000 * 1_000_000)),
                    _ => {}
                }
            }
            for row in 0..batch.rows() {
                let line = letter(&batch, row);
                let back = replayed(&line);
                // Of a variable given twice only the first can be asked for.
                let (before, after) = (seen(batch.event(row)), seen(back.event(0)));
                for part in &after {
                    prop_assert!(before.contains(part), "{} not in {:?}: {}", part, before, line);
                }
                for part in &before {
                    prop_assert!(after.contains(part), "{} not in {:?}: {}", part, after, line);
                }
                // Refused again: the same but for who, why and when.
                prop_assert_eq!(letter(&back, 0), line);
            }
        }

        #[test]
        fn any_line_is_a_letter_or_a_reason(line in "\\PC{0,60}", head in "\\PC{0,20}") {
            let mut reader = LetterReader::default();
            drop(reader.read(line.as_bytes()));
            for text in [head.clone(), format!("\"{head}\""), format!("{{\"time\":\"{head}\",\"offset\":{head}}}")] {
                drop(reader.read(format!("{{\"tidegate\":{{\"component\":\"c\",\"metadata\":{text}}},\"event\":{{}}}}").as_bytes()));
            }
        }
    }

    fn event(origin: Origin, line: &str) -> Batch {
        let mut batch = Batch::new(Slab::from_vec(line.into()), Arc::new(origin), 1_000_000, Ack::none());
        JsonRows::default().push(&mut batch, 0, line.len(), 0).unwrap();
        batch
    }

    #[test]
    fn a_letter_looks_as_documented_and_has_the_time_of_its_refusal() {
        let http = vec![("stream".into(), "shop".into()), ("stream".into(), "other".into())];
        let origin = Origin { source: "door".into(), peer: Some("::1".into()), http, ..Origin::default() };
        let mut batch = event(origin, r#"{"m":1}"#);
        batch.event_mut(0).set_kind(EventKind::Metric);
        let mut letters = batch.sibling();
        let refused = Refused { component: "o2", reason: "refused", detail: "", at: 86_400_000_000_000 };
        push_envelope(&mut letters, &batch, 0, refused, &mut Vec::new());
        assert_eq!(letters.event(0).time(), Some(86_400_000_000_000), "what it is filed under");
        assert_eq!(
            letter(&batch, 0),
            concat!(
                r#"{"tidegate":{"component":"o2","reason":"refused","detail":"no \"room\"\n","time":"1970-01-02T00:00:00.000Z","#,
                r#""source":"door","kind":"metric","metadata":{"source":"door","peer":"::1","received_at":"1970-01-01T00:00:00.001Z","#,
                r#""kind":"metric","http.stream":"shop"}},"event":{"m":1}}"#
            )
        );
    }

    /// A batch may have waited in a buffer, or be a replayed letter itself.
    #[test]
    fn what_a_transform_rejects_has_the_time_of_that_too() {
        let mut batch = event(Origin::default(), "{}");
        let (mut delta, mut json) = Default::default();
        let mut out = crate::component::Emitter::new("t", true, &mut delta, &mut json);
        let before = clock::now_ns();
        out.reject(&mut batch, 0, "template", "");
        let time = out.rejects.unwrap().event(0).time().unwrap();
        assert!(before <= time && time <= clock::now_ns(), "{time}");
    }

    #[test]
    fn no_letter_has_a_header_that_is_a_secret() {
        let names = ["Authorization", "proxy_authorization", "COOKIE", "set-cookie"];
        let http = names.iter().map(|name| (format!("header.{name}").into(), "hunter2".into()));
        let kept = ("header.x-request-id".into(), "7".into());
        let origin = Origin { http: http.chain([kept]).collect(), ..Origin::default() };
        let line = letter(&event(origin, "{}"), 0);
        assert!(!line.contains("hunter2") && line.contains(r#""http.header.x-request-id":"7""#), "{line}");
    }

    #[test]
    fn the_deepest_event_that_is_read_is_read_from_its_letter_too() {
        let depth = crate::event::json::MAX_DEPTH as usize;
        let line = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        let batch = event(Origin::default(), &line);
        let back = replayed(&letter(&batch, 0));
        assert_eq!(seen(back.event(0)), seen(batch.event(0)));
        // A letter that was refused by the sink of letters itself.
        let mut letters = batch.sibling();
        let refused = Refused { component: "a", reason: "b", detail: "", at: 0 };
        push_envelope(&mut letters, &batch, 0, refused, &mut Vec::new());
        let twice = letter(&letters, 0);
        let outer = LetterReader::default().read(twice.replace(&line, "{}").as_bytes()).unwrap();
        assert_eq!(outer.metadata.time, Some(0));
        assert!(outer.event.starts_with(br#"{"tidegate":{"component":"a""#));
    }

    #[test]
    fn a_letter_of_an_earlier_version_says_what_it_says() {
        let mut reader = LetterReader::default();
        let old = r#"{"tidegate":{"component":"o2","reason":"refused","detail":"","time":"2026-01-01T00:00:00.000Z","source":"app","kind":"trace"},"event":{"n":1}}"#;
        let letter = reader.read(old.as_bytes()).unwrap();
        let Metadata { origin, received_at, kind, .. } = &letter.metadata;
        assert!(!letter.is_whole);
        assert_eq!((&*origin.source, *received_at, *kind), ("app", 1_767_225_600_000_000_000, EventKind::Trace));
    }

    #[test]
    fn odd_metadata_is_no_guess() {
        for (metadata, want) in [
            ("7", "`metadata`"),
            (r#"{"kind":"span"}"#, "`metadata.kind` is odd"),
            (r#"{"received_at":"yesterday"}"#, "`metadata.received_at`"),
            (r#"{"offset":"7"}"#, "`metadata.offset`"),
            (r#"{"http.stream":7}"#, "`metadata.http.stream`"),
            (r#"{"time":null}"#, "`metadata.time`"),
        ] {
            let line = format!(r#"{{"tidegate":{{"component":"c","metadata":{metadata}}},"event":{{}}}}"#);
            let why = LetterReader::default().read(line.as_bytes()).unwrap_err();
            let why = crate::error::chain(&why);
            assert!(why.contains(want), "{why}");
        }
        let later = r#"{"tidegate":{"component":"c","metadata":{"shard":3}},"event":{}}"#;
        assert!(LetterReader::default().read(later.as_bytes()).unwrap().is_whole, "of a later version");
    }

    #[test]
    fn a_value_that_was_put_right_in_its_letter_stays_as_it_is() {
        let mut batch = event(Origin::default(), r#"{"a":1}"#);
        batch.event_mut(0).set_field(Sym::VALUE, Value::F64(f64::NAN));
        batch.event_mut(0).set_field(Sym::TIMESTAMP, Value::Timestamp(1_001));
        let line = letter(&batch, 0);
        assert!(line.contains(r#""typed":{"value":"float:"#) && line.contains(r#""value":null"#), "{line}");
        let mended =
            line.replace(r#""value":null"#, r#""value":5"#).replace(r#":"1970-01-01T00:00:00.000Z"}}"#, r#":"now"}}"#);
        let back = replayed(&mended);
        assert_eq!(back.event(0).field(Sym::VALUE).unwrap().as_i64(), Some(5));
        assert!(back.event(0).field(Sym::TIMESTAMP).unwrap().as_str().unwrap().is(b"now"), "{mended}");
    }
}
