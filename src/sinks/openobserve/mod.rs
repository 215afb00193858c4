//! Sends logs, metrics and spans to OpenObserve.
//!
//! ```yaml
//! sinks:
//!   o2:
//!     type: openobserve
//!     inputs: [app]
//!     url: "http://localhost:5080"
//!     organization: default
//!     stream: "{{ service }}-logs"
//!     auth: {basic: {user: "${O2_USER}", password: "${O2_PASSWORD}"}}
//!     dead_letter: rejects
//! ```
//!
//! - **Delivery** is at least once. A 200 is not taken for success: the counts in its body must add up. Records that the
//!   server reports as failed are never sent again; they go to the dead letter with its words, or are dropped and counted.
//!   See [`answer`] for every case.
//! - **Time**: `timestamp_field` is read, `_timestamp` in microseconds is put behind the event's other fields, the original
//!   stays. The server drops what is outside its window behind a 200; `late` says what to do with that.
//! - **Streams**: events are batched by the name that the server will make of `stream`.
//! - **Poison**: a field that the server stores as `_id` is sent as a string (it crashes on others), and nothing but
//!   objects is sent.
//! - **Metrics** (events of kind metric) go to streams of their names by `metrics_api`, by default OTLP. There the parts of a
//!   histogram or a summary that come one behind the other are one data point again. **Spans** go by OTLP to the stream of
//!   traces that `stream` names. `api` is for logs.
//! - When the server is down or slow, the sink's buffer fills, and its policy holds.

pub mod answer;
mod auth;
mod config;
mod encode;
mod metrics;
mod stream_name;

pub use auth::AuthConfig;
pub use config::{Api, MetricsApi, OpenObserveConfig};

use crate::doctor::Finding;
use crate::encoding::object;
use crate::encoding::otlp::{MetricEncoder, OtlpEncoder, Unfit};
use crate::encoding::remote_write::{self, RemoteWriteEncoder};
use crate::error::BuildError;
use crate::event::{EventKind, EventRef};
use crate::settings::Reader;
use crate::sinks::delivery::{
    Answer, Draft, Framing, HttpSink, Judgement, Mask, NetworkSinkCommon, Protocol, Request, RequestBody, Target,
    Unsendable, address, below,
};
use crate::template::{NameTemplate, Values};
use crate::time::{NS_PER_SEC, TimestampReader, Zone};
use answer::{Judge, MaskOf, Verdict};
use encode::LogEncoder;
use hashbrown::HashMap;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

impl HttpSink for OpenObserveConfig {
    type Protocol = OpenObserve;
    type Auth = AuthConfig;

    fn shared(&self) -> (&NetworkSinkCommon, Option<&AuthConfig>) {
        (&self.common, self.auth.as_ref())
    }

    fn check_own(&self, cx: &mut Reader<'_>) {
        self.check_all(cx);
    }

    fn findings(&self) -> Vec<Finding> {
        let text = self.stream.value.text();
        match stream_name::renamed(text) {
            None => Vec::new(),
            Some(stored) => vec![Finding::warning(
                format!("the server will store the stream `{text}` under the name `{stored}`"),
                format!("`stream: \"{stored}\"`, so that searches and dashboards find what the configuration says"),
            )],
        }
    }

    fn servers(&self) -> Vec<Url> {
        address(&self.url).into_iter().collect()
    }

    fn connect(&self, server: &Url, zone: Zone, mask: &Mask) -> Result<OpenObserve, BuildError> {
        Ok(OpenObserve::new(self, server, zone, mask.clone()))
    }
}

/// A stream without events for this long makes place for another.
const STREAM_IDLE_NS: i64 = 3600 * NS_PER_SEC;

/// The server.
pub struct OpenObserve {
    /// `…/api/{organization}/`.
    base: Url,
    healthz: Url,
    api: Api,
    metrics_api: MetricsApi,
    stream: NameTemplate,
    /// The stream, where it is the same for all events.
    fixed: Option<Vec<u8>>,
    max_streams: usize,
    /// Streams and when they last had an event; not kept where the stream is fixed.
    streams: HashMap<Box<[u8]>, i64>,
    /// The stream of the event before.
    last: Vec<u8>,
    encoder: LogEncoder,
    logs: OtlpEncoder,
    spans: OtlpEncoder,
    points: MetricEncoder,
    series: RemoteWriteEncoder,
    /// Work space.
    name: Vec<u8>,
    judge: Judge,
    next_tag: u64,
}

/// What is known of a record.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mark {
    /// Where the event's own JSON begins in it.
    doc: u32,
    /// Bytes that the sink added before the last byte of the event's JSON.
    added: u32,
    /// The time that was sent, in microseconds since 1970 UTC.
    time: i64,
    /// What it is known by in answers; grows from record to record, or is a metric's stream.
    tag: u64,
}

/// First byte of a partition's name.
const LOGS: u8 = b'l';
const METRICS: u8 = b'm';
const TRACES: u8 = b't';

/// Content type and framing of bodies, and whether they are a block of snappy.
type Format = (&'static str, Framing, bool);
const ARRAY: Format = ("application/json", Framing::ARRAY, false);
const LINES: Format = ("application/x-ndjson", Framing::LINES, false);
const OTLP: Format = ("application/x-protobuf", Framing::FIELDS, false);
const SERIES: Format = (remote_write::CONTENT_TYPE, Framing::FIELDS, true);

/// The header that names the stream of an OTLP request.
const STREAM_NAME: HeaderName = HeaderName::from_static("stream-name");

impl OpenObserve {
    /// As configured, for the server at `url`.
    pub fn new(config: &OpenObserveConfig, url: &Url, zone: Zone, mask: Mask) -> Self {
        let organization = config.organization.value.trim();
        let fixed = config.stream.value.as_literal().map(|name| {
            let mut out = name.as_bytes().to_vec();
            stream_name::format(&mut out, 0);
            out
        });
        let judge = Judge {
            window: config.window.clone(),
            max_columns: config.max_columns.get(),
            check_counts: config.check_counts,
            api: config.api.value,
            nonce: format!("{:016x}", fastrand::u64(..)),
            mask: MaskOf(mask),
        };
        let reader = TimestampReader::new(zone, Vec::new());
        OpenObserve {
            base: below(url, &["api", organization, ""]),
            healthz: below(url, &["healthz"]),
            api: config.api.value,
            metrics_api: config.metrics_api,
            stream: config.stream.value.clone(),
            fixed,
            max_streams: config.max_streams.get(),
            streams: HashMap::new(),
            last: Vec::new(),
            logs: OtlpEncoder::logs(reader.clone()),
            spans: OtlpEncoder::spans(reader.clone()),
            points: MetricEncoder::new(reader.clone()),
            series: RemoteWriteEncoder::default(),
            name: Vec::new(),
            encoder: LogEncoder::new(config.timestamp_field.clone(), reader, config.window.clone(), config.late),
            judge,
            next_tag: 0,
        }
    }

    /// Notes that a stream has an event; `false` where it is one too many.
    fn admit(&mut self, name: &[u8], now_ns: i64) -> bool {
        if let Some(used) = self.streams.get_mut(name) {
            *used = now_ns;
            return true;
        }
        if self.streams.len() >= self.max_streams {
            self.streams.retain(|_, used| now_ns.saturating_sub(*used) < STREAM_IDLE_NS);
            if self.streams.len() >= self.max_streams {
                return false;
            }
        }
        self.streams.insert(name.into(), now_ns);
        true
    }

    fn action_line(&mut self, stream: &str, body: &mut Vec<u8>) {
        self.next_tag += 1;
        body.extend_from_slice(b"{\"index\":{\"_index\":\"");
        body.extend_from_slice(stream.as_bytes());
        body.extend_from_slice(b"\",\"_id\":\"");
        body.extend_from_slice(self.judge.nonce.as_bytes());
        body.push(b'-');
        body.extend_from_slice(itoa::Buffer::new().format(self.next_tag).as_bytes());
        body.extend_from_slice(b"\"}}\n");
    }
}

impl Protocol for OpenObserve {
    type Mark = Mark;

    fn partition(&mut self, event: EventRef<'_>, now: i64, name: &mut Vec<u8>) -> Result<(), Unsendable> {
        let kind = match event.kind() {
            EventKind::Log => LOGS,
            EventKind::Metric => {
                name.push(METRICS);
                return Ok(());
            }
            EventKind::Trace => TRACES,
        };
        name.push(kind);
        if let Some(fixed) = &self.fixed {
            name.extend_from_slice(fixed);
            return Ok(());
        }
        if let Err(missing) = self.stream.render_as(Values::Component, event, name) {
            return Err(Unsendable { reason: "template", detail: format!("`stream`: {missing}") });
        }
        stream_name::format(name, 1);
        if name.len() == 1 {
            name.push(b'_');
        }
        if *name == self.last {
            return Ok(());
        }
        if !self.admit(&name[1..], now) {
            let detail = format!("more than {} streams (`max_streams`)", self.max_streams);
            return Err(Unsendable { reason: "max_streams", detail });
        }
        self.last.clone_from(name);
        Ok(())
    }

    fn target(&self, partition: &[u8]) -> Target {
        let (kind, name) = match partition.split_first() {
            Some((&METRICS, _)) => (EventKind::Metric, "metrics".to_owned()),
            Some((&TRACES, name)) => (EventKind::Trace, String::from_utf8_lossy(name).into_owned()),
            Some((_, name)) => (EventKind::Log, String::from_utf8_lossy(name).into_owned()),
            None => (EventKind::Log, "_".to_owned()),
        };
        let mut url = self.base.clone();
        let (format, parts) = match (kind, self.api) {
            (EventKind::Metric, _) => match self.metrics_api {
                MetricsApi::Otlp => (OTLP, vec!["v1", "metrics"]),
                MetricsApi::RemoteWrite => (SERIES, vec!["prometheus", "api", "v1", "write"]),
                MetricsApi::Json => (ARRAY, vec!["ingest", "metrics", "_json"]),
            },
            (EventKind::Trace, _) => (OTLP, vec!["v1", "traces"]),
            (_, Api::Otlp) => (OTLP, vec!["v1", "logs"]),
            (_, Api::Bulk) => (LINES, vec!["_bulk"]),
            (_, Api::Multi) => (LINES, vec![name.as_str(), "_multi"]),
            (_, Api::Json) => (ARRAY, vec![name.as_str(), "_json"]),
        };
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        let (content_type, framing, snappy) = format;
        let mut headers = Vec::new();
        if snappy {
            let (name, version) = remote_write::VERSION;
            headers.push((HeaderName::from_static(name), HeaderValue::from_static(version)));
        } else if kind != EventKind::Metric
            && format == OTLP
            && let Ok(stream) = HeaderValue::from_str(&name)
        {
            headers.push((STREAM_NAME, stream));
        }
        Target { headers, framing, snappy, ..Target::post(name, kind, url, content_type) }
    }

    fn record(&mut self, event: EventRef<'_>, draft: &mut Draft<'_, Mark>) -> Result<(), Unsendable> {
        let (target, now) = (draft.target, draft.now);
        let unfit = |Unfit(detail): Unfit| Unsendable { reason: "encode", detail: detail.to_owned() };
        let mark = &mut draft.record.mark;
        if target.kind == EventKind::Metric {
            let ns = self.encoder.time_ns(event);
            mark.time = ns.div_euclid(1000);
            match self.metrics_api {
                MetricsApi::Otlp => draft.record.riders = self.points.write(event, ns, draft.body).map_err(unfit)?,
                MetricsApi::RemoteWrite => self.series.write(event, ns, now, draft.body).map_err(unfit)?,
                MetricsApi::Json => {
                    metrics::write(event, mark.time, draft.body)?;
                    mark.tag = metrics::tag(event, &mut self.name);
                }
            }
            draft.keep(event);
            return Ok(());
        }
        if target.kind == EventKind::Trace {
            let start = self.spans.start(event).unwrap_or(event.batch().received_at);
            mark.time = start.div_euclid(1000);
            self.encoder.check_window(mark.time, now)?;
            self.spans.write(event, start, draft.body).map_err(unfit)?;
            draft.keep(event);
            return Ok(());
        }
        let micros = self.encoder.time(event, now)?;
        mark.time = micros;
        if self.api == Api::Otlp {
            let ns = self.encoder.time_ns(event);
            // With all its digits, unless it is another time that is to be sent.
            let ns = if ns.div_euclid(1000) == micros { ns } else { micros.saturating_mul(1000) };
            self.logs.write(event, ns, draft.body).map_err(unfit)?;
            draft.keep(event);
            return Ok(());
        }
        if self.api == Api::Bulk {
            let before = draft.body.len();
            self.action_line(&target.name, draft.body);
            (draft.record.mark.tag, draft.record.mark.doc) = (self.next_tag, (draft.body.len() - before) as u32);
        }
        let start = draft.body.len();
        if self.encoder.needs_care(event) {
            draft.keep(event);
            self.encoder.write_carefully(event, draft.body);
        } else {
            object::write(event, draft.body);
        }
        draft.record.mark.added = encode::add_timestamp(micros, start, draft.body);
        if target.framing == Framing::LINES {
            object::on_one_line(&mut draft.body[start..]);
        }
        Ok(())
    }

    fn event_json(&self, load: &RequestBody<Mark>, n: usize, out: &mut Vec<u8>) {
        let mark = load.records[n].mark;
        object::without_added(&load.record(n)[mark.doc as usize..], mark.added, out);
    }

    fn judge(&self, answer: &Answer, load: &RequestBody<Mark>, now: i64) -> Judgement {
        let says = match (load.target.kind, self.api) {
            (EventKind::Metric, _) => match self.metrics_api {
                MetricsApi::Otlp => Verdict::Rejected,
                MetricsApi::RemoteWrite => Verdict::Nothing,
                MetricsApi::Json => Verdict::CountsOfMetrics,
            },
            (EventKind::Trace, _) | (EventKind::Log, Api::Otlp) => Verdict::Rejected,
            (EventKind::Log, Api::Bulk) => Verdict::Items,
            (EventKind::Log, Api::Json | Api::Multi) => Verdict::Counts,
        };
        self.judge.judge(answer, self, load, says, now)
    }

    fn max_answer(&self, records: usize) -> usize {
        self.judge.max_answer(records)
    }

    fn health_checks(&self) -> Vec<Request> {
        let get = |url: &Url| Request::get(url.clone(), HeaderMap::new());
        vec![get(&self.healthz), get(&self.base)]
    }
}
