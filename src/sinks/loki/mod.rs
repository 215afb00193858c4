//! Sends events to Grafana Loki.
//!
//! ```yaml
//! sinks:
//!   loki:
//!     type: loki
//!     inputs: [app]
//!     url: "http://loki:3100"
//!     labels: {service: "{{ service }}", level: "{{ level }}"}
//!     dead_letter: rejects
//! ```
//!
//! - **Streams** are named by `labels`; lines of one stream stand together in a request, in their order. An event without the
//!   fields of a label has no such label; one without any gets `job="tidegate"`, since Loki wants one. More than
//!   `max_label_values` values of a label make too many streams: the value of further ones is `overflow`, counted (errors of kind
//!   `label_overflow`) and said. Values count from the start of the sink.
//! - **Delivery** is at least once, and Loki drops a line that it has already (same stream, time and text).
//! - **Answers**: 204 is delivered. Of a request with lines that are too old Loki takes the others and answers 400: it is halved down to
//!   these, which go to the dead letter as `late`; other 400 likewise, as `refused`. The rest is judged by status
//!   (see [`delivery`](crate::sinks::delivery)).
//! - **Order**: Loki takes lines out of order since 2.4; `concurrency: 1` keeps the order of each origin.
//! - When the server is down or slow, the sink's buffer fills, and its policy holds.

mod streams;
#[cfg(test)]
mod tests;

use crate::encoding::{EventTime, Line, LineWord, LineWriter};
use crate::error::BuildError;
use crate::event::{EventRef, FieldPath, Value, json};
use crate::settings::{Map, Reader, Spanned, config, config_enum};
use crate::sinks::delivery::{
    Answer, AuthConfig, Draft, Encoding, HttpSink, Judgement, Mask, NamedGroups, NetworkSinkCommon, Protocol, Request,
    RequestBody, Target, Unsendable, Values, address, below, body, byte_of, check_server, judge_status, kind_of, room,
};
use crate::template::Template;
use crate::time::{NS_PER_SEC, Zone};
use crate::wire::protobuf::{push_bytes, push_message, push_number};
use bytes::Bytes;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use std::num::NonZeroUsize;
use streams::Streams;

config! {
    /// Sends events to Grafana Loki.
    pub struct LokiConfig {
        /// Address of the server, such as `http://loki:3100`; `/loki/api/v1/push` is appended to it.
        pub url: Spanned<String>,
        /// Labels of streams, and what they are of an event; 15 at most. Few values each: what has many belongs into the line or
        /// into `structured_metadata`.
        pub labels: Map<Template>,
        /// Values of a label at most; further ones are put under `overflow`, counted and said.
        pub max_label_values: NonZeroUsize = NonZeroUsize::MIN.saturating_add(999),
        /// Fields that are sent beside the line, for Loki from 2.9 on. They are in the line too.
        pub structured_metadata: Vec<FieldPath> = Vec::new(),
        /// What the line is.
        pub line: Line = Line::Word(LineWord::Json),
        /// The tenant (`X-Scope-OrgID`).
        pub tenant: Option<Spanned<Template>> = None,
        /// How requests are written.
        pub format: LokiFormat = LokiFormat::Protobuf,
        /// The field that the event's time is read from; the time when it was received where that is absent or unreadable.
        pub timestamp_field: FieldPath = FieldPath::of_key("timestamp"),
        /// Credentials.
        pub auth: Option<AuthConfig> = None,
        /// Those of all sinks over the network.
        flatten pub common: NetworkSinkCommon,
    }
}

config_enum! {
    /// How requests are written.
    pub enum LokiFormat {
        /// Protocol buffers, as a block of snappy.
        Protobuf = "protobuf",
        /// JSON.
        Json = "json",
    }
}

/// Labels that Loki takes of a stream, as it is set up by itself.
const MAX_LABELS: usize = 15;
/// The header that names the tenant.
const TENANT: HeaderName = HeaderName::from_static("x-scope-orgid");

/// Whether Loki takes this name of a label.
fn is_label(name: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let good_start = !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && !name.starts_with("__");
    good_start && name.chars().all(fine)
}

impl HttpSink for LokiConfig {
    type Protocol = Loki;
    type Auth = AuthConfig;
    const AUTO: Encoding = Encoding::Gzip;

    fn shared(&self) -> (&NetworkSinkCommon, Option<&AuthConfig>) {
        (&self.common, self.auth.as_ref())
    }

    fn check_own(&self, cx: &mut Reader<'_>) {
        let own = (&["/push"][..], "`/loki/api/v1/push` is appended to it");
        check_server(cx, "url", &self.url, "http://loki:3100", own);
        let (place, count) = (cx.place(), self.labels.len());
        if count == 0 || count > MAX_LABELS {
            cx.error_at(
                "labels",
                format!("`labels`{place} are {count}; Loki wants at least one and takes {MAX_LABELS}"),
            );
        }
        for (name, _) in self.labels.iter().filter(|(name, _)| !is_label(name)) {
            let message = format!("`{}` in `labels`{place} is not a label name", name.value);
            cx.error(name.span, message).help("letters, digits and `_`, no digit and no `__` in front");
        }
    }

    fn servers(&self) -> Vec<Url> {
        address(&self.url).into_iter().collect()
    }

    fn connect(&self, server: &Url, zone: Zone, mask: &Mask) -> Result<Loki, BuildError> {
        let json = self.format == LokiFormat::Json;
        let metadata_name = |path: &FieldPath| {
            let name = path.text().trim_start_matches('@');
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect::<String>()
        };
        Ok(Loki {
            server: server.clone(),
            // Two orders of labels would be two streams.
            streams: NamedGroups::new(Values::new(&self.labels).sorted()),
            names: Streams::new(self.labels.len(), self.max_label_values.get(), json),
            overflows: 0,
            metadata: self.structured_metadata.iter().map(|path| (metadata_name(path), path.clone())).collect(),
            writer: LineWriter::new(&self.line),
            tenant: self.tenant.as_ref().map(|tenant| tenant.value.clone()),
            json,
            times: EventTime::of(&self.timestamp_field, zone),
            line: Vec::new(),
            value: Vec::new(),
            mask: mask.clone(),
        })
    }
}

/// The server.
pub struct Loki {
    server: Url,
    streams: NamedGroups,
    names: Streams,
    /// Events with a label under `overflow` that are not counted yet.
    overflows: u64,
    metadata: Vec<(String, FieldPath)>,
    writer: LineWriter,
    tenant: Option<Template>,
    json: bool,
    times: EventTime,
    /// The line at hand where it is written as JSON, and a value of its metadata.
    line: Vec<u8>,
    value: Vec<u8>,
    mask: Mask,
}

impl Loki {
    /// Gives name and text of each of the event's metadata.
    fn each_metadata(&mut self, event: EventRef<'_>, mut give: impl FnMut(&str, &[u8])) {
        for (name, path) in &self.metadata {
            if let Some(value) = event.get(path).filter(|value| *value != Value::Null) {
                self.value.clear();
                value.append_text(&mut self.value);
                give(name, &self.value);
            }
        }
    }

    /// Appends an entry of a stream: time, line and metadata. Where in it the line stands.
    fn entry(&mut self, ns: i64, event: EventRef<'_>, body: &mut Vec<u8>) -> Mark {
        let start = body.len();
        push_message(2, body, |body| {
            push_message(1, body, |body| {
                push_number(1, ns.div_euclid(NS_PER_SEC) as u64, body);
                push_number(2, ns.rem_euclid(NS_PER_SEC) as u64, body);
            });
            let line = push_message(2, body, |body| {
                let line = body.len();
                self.writer.append(event, body);
                line
            });
            let mark = Mark { line: (line - start) as u32, len: (body.len() - line) as u32 };
            self.each_metadata(event, |name, value| {
                push_message(3, body, |body| {
                    push_bytes(1, name.as_bytes(), body);
                    push_bytes(2, value, body);
                });
            });
            mark
        })
    }

    /// The same as JSON.
    fn json_entry(&mut self, ns: i64, event: EventRef<'_>, body: &mut Vec<u8>) {
        body.push(b'[');
        self.writer.write(event, &mut self.line);
        json::quote(itoa::Buffer::new().format(ns).as_bytes(), body);
        body.push(b',');
        json::quote(&self.line, body);
        let mut any = false;
        self.each_metadata(event, |name, value| {
            body.extend_from_slice(if std::mem::replace(&mut any, true) { b"," } else { b",{" });
            json::quote(name.as_bytes(), body);
            body.push(b':');
            json::quote(value, body);
        });
        body.extend_from_slice(if any { b"}]" } else { b"]" });
    }
}

/// Where in a record the line stands, where that is the event.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mark {
    line: u32,
    len: u32,
}

impl Protocol for Loki {
    type Mark = Mark;

    /// What the events are, and the tenant.
    fn partition(&mut self, event: EventRef<'_>, _now: i64, name: &mut Vec<u8>) -> Result<(), Unsendable> {
        name.push(byte_of(event.kind()));
        if let Some(tenant) = &self.tenant {
            tenant.render(event, name).map_err(|why| Unsendable::template("tenant", why))?;
        }
        Ok(())
    }

    fn target(&self, partition: &[u8]) -> Target {
        let (kind, tenant) = kind_of(partition);
        let plain: Vec<u8> = tenant.iter().map(|b| if *b < b' ' || *b == 0x7f { b'_' } else { *b }).collect();
        let value = HeaderValue::from_bytes(&plain).ok().filter(|value| !value.is_empty());
        let content_type = if self.json { "application/json" } else { "application/x-protobuf" };
        let push = below(&self.server, &["loki", "api", "v1", "push"]);
        Target {
            headers: value.map(|value| (TENANT, value)).into_iter().collect(),
            snappy: !self.json,
            ..Target::post(String::from_utf8_lossy(tenant), kind, push, content_type)
        }
    }

    fn record(&mut self, event: EventRef<'_>, draft: &mut Draft<'_, Mark>) -> Result<(), Unsendable> {
        let Loki { streams, names, .. } = self;
        let (group, known) = streams.of(event, draft.groups, |_| {}, |labels, name| names.name(labels, name));
        (draft.record.group, self.overflows) = (group, self.overflows + u64::from(!known));
        let ns = self.times.ns(event);
        if self.json {
            self.json_entry(ns, event, draft.body);
        } else {
            draft.record.mark = self.entry(ns, event, draft.body);
        }
        if self.json || !self.writer.is_whole() {
            draft.keep(event);
        }
        Ok(())
    }

    fn event_json(&self, load: &RequestBody<Mark>, n: usize, out: &mut Vec<u8>) {
        let Mark { line, len } = load.records[n].mark;
        out.extend_from_slice(&load.record(n)[line as usize..(line + len) as usize]);
    }

    fn labels(&mut self, event: EventRef<'_>) -> Option<Vec<(String, String)>> {
        let Loki { streams, names, .. } = self;
        let values = streams.look(event, |_| {}, |labels, name| names.name(labels, name));
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let labels: Vec<_> = values.each().map(|(_, label, value)| (label.to_owned(), text(value))).collect();
        Some(if labels.is_empty() { vec![("job".to_owned(), "tidegate".to_owned())] } else { labels })
    }

    fn faults(&mut self, count: &mut dyn FnMut(&'static str, u64)) {
        count("label_overflow", std::mem::take(&mut self.overflows));
    }

    fn finish(&self, load: &RequestBody<Mark>) -> Bytes {
        let mut out = room(load.body.len() + load.groups.bytes() + 64 * load.groups.len());
        if !self.json {
            load.each_group(|group, places| {
                push_message(1, &mut out, |out| {
                    push_bytes(1, load.groups.name(group), out);
                    places.iter().for_each(|place| out.extend_from_slice(load.record(*place as usize)));
                });
            });
            return body(out);
        }
        load.each_group(|group, places| {
            out.extend_from_slice(if out.is_empty() { b"{\"streams\":[{\"stream\":" } else { b",{\"stream\":" });
            out.extend_from_slice(load.groups.name(group));
            out.extend_from_slice(b",\"values\":");
            for (n, place) in places.iter().enumerate() {
                out.push(if n == 0 { b'[' } else { b',' });
                out.extend_from_slice(load.record(*place as usize));
            }
            out.extend_from_slice(b"]}");
        });
        out.extend_from_slice(b"]}");
        body(out)
    }

    fn judge(&self, answer: &Answer, _load: &RequestBody<Mark>, _now: i64) -> Judgement {
        let is_late = |detail: &str| ["too far behind", "too old"].iter().any(|late| detail.contains(late));
        match judge_status(answer, &self.mask) {
            None => Judgement::Delivered,
            Some(Judgement::Halve { detail, .. }) if answer.status == 400 && is_late(&detail) => {
                Judgement::Halve { reason: "late", detail }
            }
            Some(judgement) => judgement,
        }
    }

    fn health_checks(&self) -> Vec<Request> {
        vec![Request::get(below(&self.server, &["ready"]), HeaderMap::new())]
    }
}
