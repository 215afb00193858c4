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

use crate::component::BuildError;
use crate::config::{Map, Reader, Spanned, config, config_enum, config_union};
use crate::decoding::protobuf::{push_bytes, push_message, push_number};
use crate::encoding::{Encoder, Encoding, EventTime};
use crate::event::{EventRef, FieldPath, Value, json};
use crate::sinks::delivery::{
    self, Answer, AuthConfig, Draft, Framing, HttpSink, Judgement, Load, Mask, NetworkSinkCommon, Protocol, Record,
    Request, Sign, Target, Unsendable, below, byte_of, check_address, judge_status, kind_of,
};
use crate::template::Template;
use crate::time::{NS_PER_SEC, TimestampReader, Zone};
use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use std::num::NonZeroUsize;
use std::sync::Arc;
use streams::Streams;

config! {
    /// Sends events to Grafana Loki.
    pub struct LokiConfig {
        /// Address of the server, such as `http://loki:3100`; `/loki/api/v1/push` is put behind it.
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
    /// The words for it.
    pub enum LineWord {
        /// The event as JSON.
        Json = "json",
        /// `key=value` pairs.
        Logfmt = "logfmt",
        /// The plain text of `message`; an event without one as JSON.
        Text = "text",
    }
}

config_union! {
    /// What the line is.
    pub enum Line {
        /// A word.
        Word(LineWord),
        /// A template.
        Template(Template),
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
    name.chars().all(fine)
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.starts_with("__")
        && !name.is_empty()
}

impl HttpSink for LokiConfig {
    type Protocol = Loki;
    const AUTO: delivery::Encoding = delivery::Encoding::Gzip;

    fn network(&self) -> &NetworkSinkCommon {
        &self.common
    }

    fn check_own(&self, cx: &mut Reader<'_>) {
        let place = cx.place();
        if let Some(url) = check_address(cx, "url", &self.url, "http://loki:3100") {
            let path = url.path().trim_end_matches('/');
            if url.query().is_some() || url.fragment().is_some() || path.ends_with("/push") {
                cx.error(self.url.span, format!("`url`{place} is the server's address only"))
                    .help("`/loki/api/v1/push` is put behind it");
            }
        }
        if self.labels.is_empty() || self.labels.len() > MAX_LABELS {
            let count = self.labels.len();
            cx.error_nowhere(format!("`labels`{place} are {count}; Loki wants at least one and takes {MAX_LABELS}"));
        }
        for (name, _) in self.labels.iter().filter(|(name, _)| !is_label(name)) {
            let message = format!("`{}` in `labels`{place} is no name of a label", name.value);
            cx.error(name.span, message).help("letters, digits and `_`, no digit and no `__` in front");
        }
        if let Some(auth) = &self.auth {
            auth.check(cx);
        }
    }

    fn servers(&self) -> Vec<Url> {
        Url::parse(self.url.value.trim_end_matches('/')).into_iter().collect()
    }

    fn secrets(&self) -> Vec<String> {
        self.auth.iter().flat_map(AuthConfig::secrets).collect()
    }

    fn connect(&self, zone: Zone, mask: &Mask) -> Result<(Loki, Arc<dyn Sign>), BuildError> {
        let signer = AuthConfig::signer_of(self.auth.as_ref(), &self.common, mask)?;
        let base = self.servers().into_iter().next().ok_or_else(|| BuildError("`url` is no address".into()))?;
        let labels = self.labels.iter().map(|(name, value)| (name.value.clone(), value.clone())).collect();
        let line = match &self.line {
            Line::Word(LineWord::Json) => Writer::Encoded(Encoder::new(Encoding::Json)),
            Line::Word(LineWord::Logfmt) => Writer::Encoded(Encoder::new(Encoding::Logfmt)),
            Line::Word(LineWord::Text) => Writer::Encoded(Encoder::new(Encoding::Text)),
            Line::Template(template) => Writer::Template(template.clone()),
        };
        let metadata_name = |path: &FieldPath| {
            let name = path.text().trim_start_matches('@');
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect::<String>()
        };
        let loki = Loki {
            push: below(&base, &["loki", "api", "v1", "push"]).unwrap_or_else(|| base.clone()),
            ready: below(&base, &["ready"]).unwrap_or(base),
            streams: Streams::new(labels, self.max_label_values.get(), self.format == LokiFormat::Json),
            metadata: self.structured_metadata.iter().map(|path| (metadata_name(path), path.clone())).collect(),
            line,
            tenant: self.tenant.as_ref().map(|tenant| tenant.value.clone()),
            json: self.format == LokiFormat::Json,
            times: EventTime::new(self.timestamp_field.clone(), TimestampReader::new(zone, Vec::new())),
            work: Vec::new(),
            mask: mask.clone(),
        };
        Ok((loki, signer))
    }
}

enum Writer {
    Encoded(Encoder),
    Template(Template),
}

/// The server.
pub struct Loki {
    push: Url,
    ready: Url,
    streams: Streams,
    metadata: Vec<(String, FieldPath)>,
    line: Writer,
    tenant: Option<Template>,
    json: bool,
    times: EventTime,
    work: Vec<u8>,
    mask: Mask,
}

impl Loki {
    /// Appends an entry of a stream: time, line and metadata.
    fn entry(&self, ns: i64, event: EventRef<'_>, body: &mut Vec<u8>) {
        let values = || {
            self.metadata.iter().filter_map(|(name, path)| {
                let value = event.get(path).filter(|value| *value != Value::Null)?;
                let mut text = Vec::new();
                value.append_text(&mut text);
                Some((name, text))
            })
        };
        if self.json {
            body.extend_from_slice(b"[\"");
            body.extend_from_slice(itoa::Buffer::new().format(ns).as_bytes());
            body.extend_from_slice(b"\",\"");
            json::escape(&self.work, body);
            body.push(b'"');
            for (n, (name, value)) in values().enumerate() {
                body.extend_from_slice(if n == 0 { b",{\"" } else { b",\"" });
                body.extend_from_slice(name.as_bytes());
                body.extend_from_slice(b"\":\"");
                json::escape(&value, body);
                body.push(b'"');
            }
            if body.last() == Some(&b'"') && values().next().is_some() {
                body.push(b'}');
            }
            body.push(b']');
            return;
        }
        push_message(2, body, |body| {
            push_message(1, body, |body| {
                push_number(1, ns.div_euclid(NS_PER_SEC) as u64, body);
                push_number(2, ns.rem_euclid(NS_PER_SEC) as u64, body);
            });
            push_bytes(2, &self.work, body);
            for (name, value) in values() {
                push_message(3, body, |body| {
                    push_bytes(1, name.as_bytes(), body);
                    push_bytes(2, &value, body);
                });
            }
        });
    }
}

impl Protocol for Loki {
    type Mark = ();

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
        Target {
            name: String::from_utf8_lossy(tenant).into_owned(),
            kind,
            method: Method::POST,
            url: self.push.clone(),
            content_type: if self.json { "application/json" } else { "application/x-protobuf" },
            headers: value.map(|value| (TENANT, value)).into_iter().collect(),
            framing: Framing::FIELDS,
            snappy: !self.json,
        }
    }

    fn record(
        &mut self,
        event: EventRef<'_>,
        _target: &Target,
        _now: i64,
        draft: &mut Draft<'_>,
        record: &mut Record<()>,
    ) -> Result<(), Unsendable> {
        self.work.clear();
        match &mut self.line {
            Writer::Encoded(encoder) => {
                encoder.event(event, &mut self.work);
                self.work.pop();
            }
            Writer::Template(template) => template.render_or_empty(event, &mut self.work),
        }
        record.group = draft.groups.of(self.streams.name(event));
        self.entry(self.times.ns(event), event, draft.body);
        record.original = draft.keep(event);
        Ok(())
    }

    fn faults(&mut self, count: &mut dyn FnMut(&'static str, u64)) {
        match self.streams.take_overflows() {
            0 => {}
            n => count("label_overflow", n),
        }
    }

    fn finish(&self, load: &Load<()>) -> Bytes {
        let mut out = Vec::with_capacity(load.body.len() + load.groups.bytes() + 64 * load.groups.len());
        if self.json {
            out.extend_from_slice(b"{\"streams\":[");
            load.each_group(|group, places| {
                if out.last() == Some(&b'}') {
                    out.push(b',');
                }
                out.extend_from_slice(b"{\"stream\":");
                out.extend_from_slice(load.groups.name(group));
                for (n, place) in places.iter().enumerate() {
                    out.extend_from_slice(if n == 0 { b",\"values\":[" } else { b"," });
                    out.extend_from_slice(load.record(*place as usize));
                }
                out.extend_from_slice(b"]}");
            });
            out.extend_from_slice(b"]}");
        } else {
            load.each_group(|group, places| {
                push_message(1, &mut out, |out| {
                    push_bytes(1, load.groups.name(group), out);
                    places.iter().for_each(|place| out.extend_from_slice(load.record(*place as usize)));
                });
            });
        }
        Bytes::from(out)
    }

    fn judge(&self, answer: &Answer, _load: &Load<()>, _now: i64) -> Judgement {
        match judge_status(answer, &self.mask) {
            None => Judgement::Delivered,
            Some(Judgement::Halve { detail, .. })
                if answer.status == 400 && ["too far behind", "too old"].iter().any(|late| detail.contains(late)) =>
            {
                Judgement::Halve { reason: "late", detail }
            }
            Some(judgement) => judgement,
        }
    }

    fn health_checks(&self) -> Vec<Request> {
        vec![Request::get(self.ready.clone(), HeaderMap::new())]
    }
}
