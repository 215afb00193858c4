//! Sends logs, metrics and spans by OTLP over HTTP: to an OpenTelemetry collector, another agent, or whatever takes it.
//!
//! ```yaml
//! sinks:
//!   collector:
//!     type: otlp
//!     inputs: [app]
//!     url: "http://collector:4318"
//!     resource: {service.name: "{{ service }}", deployment.environment: production}
//!     dead_letter: rejects
//! ```
//!
//! - **Where**: `v1/logs`, `v1/metrics` and `v1/traces` below `url`, by what the events are.
//! - **Grouped**: in a request, records of one resource stand together, and of one scope in it. A resource is the event's `resource`,
//!   `service` as its `service.name`, and what `resource` of the settings adds. A field that OTLP has no place for becomes an
//!   attribute of the record, so nothing is lost (see [`encoding::otlp`](crate::encoding::otlp)); the parts of a histogram or a
//!   summary that come one behind the other are one data point again.
//! - **Answers**: a partial success that rejects some sends the request to the dead letter as `uncertain` with the server's words, since
//!   it does not say which, and never again; one that rejects all as `refused`. The rest is judged by status
//!   (see [`delivery`](crate::sinks::delivery)).
//! - **Delivery** is at least once. When the server is down or slow, the sink's buffer fills, and its policy holds.

use crate::decoding::otlp::{Signal, to_json};
use crate::encoding::EventTime;
use crate::encoding::otlp::answer::{Exported, exported};
use crate::encoding::otlp::{Found, MetricEncoder, OtlpEncoder, Unfit};
use crate::error::BuildError;
use crate::event::{EventKind, EventRef, FieldPath};
use crate::settings::{Map, Reader, Spanned, config, config_enum};
use crate::sinks::delivery::{
    Answer, AuthConfig, Draft, Encoding, Groups, HttpSink, Judgement, Mask, NamedGroups, NetworkSinkCommon, Protocol,
    Request, RequestBody, Target, Unsendable, Values, address, below, body, byte_of, check_server, judge_status, room,
};
use crate::template::Template;
use crate::time::{TimestampReader, Zone};
use crate::wire::protobuf::{push_bytes, push_message};
use bytes::Bytes;
use hashbrown::HashMap;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};

config! {
    /// Sends logs, metrics and spans by OTLP over HTTP.
    pub struct OtlpConfig {
        /// Address of the server, such as `http://collector:4318`; `/v1/logs` and the like are appended to it.
        pub url: Spanned<String>,
        /// How requests are written.
        pub format: OtlpFormat = OtlpFormat::Protobuf,
        /// Attributes of resources, and what they are of an event: constants and templates. The event's own go first.
        pub resource: Map<Template> = Map::default(),
        /// The scope of events that have none.
        pub scope: Scope = Scope::defaults(),
        /// The field whose value is the body of log records; `message` is an attribute where this is another.
        pub keep: Spanned<FieldPath> = Spanned::new(FieldPath::of_key("message"), Default::default()),
        /// The field that the time of logs and metrics is read from; the time when they were received where that is absent or
        /// unreadable.
        pub timestamp_field: FieldPath = FieldPath::of_key("timestamp"),
        /// Credentials.
        pub auth: Option<AuthConfig> = None,
        /// Those of all sinks over the network.
        flatten pub common: NetworkSinkCommon,
    }
}

config! {
    /// Who made the records.
    pub struct Scope {
        /// Its name.
        pub name: Option<String> = None,
        /// Its version.
        pub version: Option<String> = None,
    }
}

config_enum! {
    /// How requests are written.
    pub enum OtlpFormat {
        /// Protocol buffers.
        Protobuf = "protobuf",
        /// JSON.
        Json = "json",
    }
}

impl HttpSink for OtlpConfig {
    type Protocol = Otlp;
    type Auth = AuthConfig;
    const AUTO: Encoding = Encoding::Gzip;

    fn shared(&self) -> (&NetworkSinkCommon, Option<&AuthConfig>) {
        (&self.common, self.auth.as_ref())
    }

    fn check_own(&self, cx: &mut Reader<'_>) {
        let own = &["/v1/logs", "/v1/metrics", "/v1/traces"][..];
        let made = "`/v1/logs`, `/v1/metrics` and `/v1/traces` are appended to it";
        check_server(cx, "url", &self.url, "http://collector:4318", (own, made));
        if self.keep.value.first().is_none() || !self.keep.value.rest().is_empty() {
            let message = format!("`keep`{} is the name of a field of the event itself", cx.place());
            cx.error(self.keep.span, message);
        }
    }

    fn servers(&self) -> Vec<Url> {
        address(&self.url).into_iter().collect()
    }

    fn connect(&self, server: &Url, zone: Zone, mask: &Mask) -> Result<Otlp, BuildError> {
        let reader = TimestampReader::new(zone, Vec::new());
        let mut scope = Vec::new();
        for (number, text) in [(1, &self.scope.name), (2, &self.scope.version)] {
            if let Some(text) = text {
                push_bytes(number, text.as_bytes(), &mut scope);
            }
        }
        let logs = OtlpEncoder::logs(reader.clone());
        Ok(Otlp {
            base: server.clone(),
            json: self.format == OtlpFormat::Json,
            resources: NamedGroups::new(Values::new(&self.resource)),
            scope,
            times: EventTime::new(self.timestamp_field.clone(), reader.clone()),
            logs: match self.keep.value.first() {
                Some(key) => logs.with_body(key),
                None => logs,
            },
            spans: OtlpEncoder::spans(reader.clone()),
            points: MetricEncoder::new(reader),
            mask: mask.clone(),
        })
    }
}

/// The server.
pub struct Otlp {
    base: Url,
    json: bool,
    /// By resource, with the attributes that it gets, and scope.
    resources: NamedGroups,
    /// The scope of events without one.
    scope: Vec<u8>,
    times: EventTime,
    logs: OtlpEncoder,
    spans: OtlpEncoder,
    points: MetricEncoder,
    mask: Mask,
}

impl Otlp {
    /// The group of an event in a body. Its name is its resource, behind its length, and its scope.
    fn group(&mut self, event: EventRef<'_>, found: &Found<'_>, groups: &mut Groups) -> u32 {
        let Otlp { resources, logs, spans, scope, .. } = self;
        let kind = event.kind();
        let encoder = if kind == EventKind::Trace { spans } else { logs };
        let tell_apart = |text: &mut Vec<u8>| {
            text.push(kind as u8);
            if kind != EventKind::Metric {
                found.shared_text(text);
            }
        };
        let make = |added: &Values, name: &mut Vec<u8>| {
            let more = added.each().map(|(_, name, value)| (name.as_bytes(), value));
            name.extend_from_slice(&[0; 4]);
            if kind == EventKind::Metric {
                for (key, value) in more {
                    push_message(1, name, |out| {
                        push_bytes(1, key, out);
                        push_message(2, out, |out| push_bytes(1, value, out));
                    });
                }
            } else {
                encoder.write_resource(found, more, name);
            }
            let len = (name.len() - 4) as u32;
            name[..4].copy_from_slice(&len.to_le_bytes());
            if kind == EventKind::Metric || !encoder.write_scope(found, name) {
                name.extend_from_slice(scope);
            }
            true
        };
        resources.of(event, groups, tell_apart, make).0
    }

    fn content_type(&self) -> &'static str {
        if self.json { "application/json" } else { "application/x-protobuf" }
    }
}

/// Resource and scope of a group.
fn parts(name: &[u8]) -> (&[u8], &[u8]) {
    match name.split_first_chunk::<4>() {
        Some((len, rest)) => rest.split_at((u32::from_le_bytes(*len) as usize).min(rest.len())),
        None => (&[], &[]),
    }
}

impl Protocol for Otlp {
    type Mark = ();

    fn partition(&mut self, event: EventRef<'_>, _now: i64, name: &mut Vec<u8>) -> Result<(), Unsendable> {
        name.push(byte_of(event.kind()));
        Ok(())
    }

    fn target(&self, partition: &[u8]) -> Target {
        let (kind, name) = match partition {
            b"m" => (EventKind::Metric, "metrics"),
            b"t" => (EventKind::Trace, "traces"),
            _ => (EventKind::Log, "logs"),
        };
        Target::post(name, kind, below(&self.base, &["v1", name]), self.content_type())
    }

    fn record(&mut self, event: EventRef<'_>, draft: &mut Draft<'_, ()>) -> Result<(), Unsendable> {
        let unfit = |Unfit(detail): Unfit| Unsendable { reason: "encode", detail: detail.to_owned() };
        let found = if event.kind() == EventKind::Trace { self.spans.look(event) } else { self.logs.look(event) };
        draft.record.group = self.group(event, &found, draft.groups);
        match draft.target.kind {
            EventKind::Log => self.logs.write_record(&found, self.times.ns(event), draft.body).map_err(unfit)?,
            EventKind::Trace => {
                self.spans.write_record(&found, event.batch().received_at, draft.body).map_err(unfit)?;
            }
            EventKind::Metric => {
                let written = self.points.write_record(event, self.times.ns(event), draft.body);
                draft.record.riders = written.map_err(unfit)?.0;
            }
        }
        draft.keep(event);
        Ok(())
    }

    fn finish(&self, load: &RequestBody<()>) -> Bytes {
        let groups = load.groups.clone();
        // Scopes by resource, both as they came.
        let mut resources: Vec<(&[u8], Vec<(&[u8], Vec<u32>)>)> = Vec::new();
        let mut places: HashMap<&[u8], usize> = HashMap::new();
        load.each_group(|number, records| {
            let (resource, scope) = parts(groups.name(number));
            let place = *places.entry(resource).or_insert(resources.len());
            if place == resources.len() {
                resources.push((resource, Vec::new()));
            }
            resources[place].1.push((scope, records.to_vec()));
        });
        let mut out = room(load.body.len() + load.groups.bytes() + 32 * load.groups.len());
        for (resource, scopes) in resources {
            push_message(1, &mut out, |out| {
                push_bytes(1, resource, out);
                for (scope, records) in scopes {
                    push_message(2, out, |out| {
                        if !scope.is_empty() {
                            push_bytes(1, scope, out);
                        }
                        records.iter().for_each(|n| out.extend_from_slice(load.record(*n as usize)));
                    });
                }
            });
        }
        let signal = match load.target.kind {
            EventKind::Log => Signal::Logs,
            EventKind::Metric => Signal::Metrics,
            EventKind::Trace => Signal::Traces,
        };
        // What was written here can be read; if it could not, the server would refuse it as no JSON.
        body(if self.json { to_json(signal, &out).unwrap_or(out) } else { out })
    }

    fn judge(&self, answer: &Answer, load: &RequestBody<()>, _now: i64) -> Judgement {
        if let Some(judgement) = judge_status(answer, &self.mask) {
            return judgement;
        }
        // Events that are one data point count as one.
        let sent = load.groups_of_riders().count() as u64;
        let (rejected, words) = match exported(&answer.body) {
            Exported::Rejected(0, _) => return Judgement::Delivered,
            Exported::Rejected(rejected, words) => (rejected.to_string(), words),
            Exported::Unreadable(words) => ("some".into(), words),
            Exported::Code(code, words) => {
                let inner = Answer { status: code, body: words.into(), ..answer.clone() };
                return judge_status(&inner, &self.mask).unwrap_or(Judgement::Delivered);
            }
            // Some answer with a text of their own.
            Exported::Counts | Exported::Foreign => return Judgement::Delivered,
        };
        let reason = if rejected == sent.to_string() { "refused" } else { "uncertain" };
        let detail = self.mask.text(&format!("sent {sent}, rejected {rejected}: {words}"));
        Judgement::RefusedAll { reason, detail }
    }

    fn health_checks(&self) -> Vec<Request> {
        // A request without records: all that such servers answer.
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(self.content_type()))]);
        let body = Some(Bytes::from_static(if self.json { b"{}" } else { b"" }));
        vec![Request { method: Method::POST, url: below(&self.base, &["v1", "logs"]), headers, body }]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::decoding::otlp::{Encoding as Coded, Request as Received};
    use crate::event::Origin;
    use crate::settings::read_text;
    use crate::sinks::delivery::bodies;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn sink() -> Otlp {
        let yaml = "{url: 'http://c:4318', inputs: [in], resource: {env: '{{ env }}', region: eu}, scope: {name: own}}";
        let (config, report) = read_text::<OtlpConfig>("t.yaml", yaml, &BTreeMap::new());
        let config = config.unwrap_or_else(|| panic!("{}", report.render()));
        config.connect(&"http://c:4318".parse().unwrap(), Zone::UTC, &Mask::new([])).unwrap()
    }

    /// The events of a request, each as JSON, in its order.
    fn read(body: Vec<u8>) -> Vec<String> {
        let request = Received::read(Signal::Logs, Coded::Protobuf, body, 1 << 20).unwrap();
        let mut events = Vec::new();
        for batch in request.into_batches(Origin::of_source("in"), 0) {
            for event in batch.iter() {
                let mut json = Vec::new();
                event.write_json(&mut json);
                events.push(String::from_utf8(json).unwrap());
            }
        }
        events
    }

    fn line() -> impl Strategy<Value = String> {
        let shared = proptest::sample::select(vec![
            r#""service":"shop""#,
            r#""service":"pay","env":"prod""#,
            r#""service":"pay","env":"test""#,
            r#""resource":{"service.name":"shop","env":"mine"},"service":"other""#,
            r#""resource":{"host":"h"},"scope":{"name":"lib"}"#,
            r#""resource":{"host":"h"},"scope":{"name":"lib2","version":"1"}"#,
            r#""seen":true"#,
        ]);
        (shared, 0..1000u32, "[a-z ]{0,40}", 0..2_000_000_000i64).prop_map(|(shared, seq, message, time)| {
            format!(r#"{{"timestamp":{},"seq":{seq},{shared},"message":"{message}"}}"#, time * 1000)
        })
    }

    proptest! {
        // Each case makes a sink for each of its events.
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Records of one resource stand together, and of one scope in it, all as they came; each is what it is in a request of
        /// its own.
        #[test]
        fn bodies_hold_each_event_in_its_group(
            lines in proptest::collection::vec(proptest::collection::vec(line(), 1..30), 1..5),
            max_bytes in 300usize..6000,
        ) {
            let mut protocol = sink();
            let batches: Vec<_> = lines.iter().map(|lines| bodies::batch(lines)).collect();
            let mut events = lines.iter().flatten();
            for load in bodies::of(&mut protocol, &batches, max_bytes) {
                // Resources, their scopes, their events, as they came.
                let mut groups: Vec<(String, Vec<(String, Vec<String>)>)> = Vec::new();
                for n in 0..load.len() {
                    let line = events.next().unwrap();
                    let mut back = Vec::new();
                    load.event_json(&protocol, n, &mut back);
                    prop_assert_eq!(&String::from_utf8(back).unwrap(), line);
                    let alone = bodies::of(&mut sink(), &[bodies::batch(std::slice::from_ref(line))], 1 << 20);
                    let alone = read(protocol.finish(&alone[0]).to_vec());
                    let event: serde_json::Value = serde_json::from_str(&alone[0]).unwrap();
                    let (resource, scope) = (event["resource"].to_string(), event["scope"].to_string());
                    let of_resource = match groups.iter().position(|(name, _)| *name == resource) {
                        Some(at) => at,
                        None => {
                            groups.push((resource, Vec::new()));
                            groups.len() - 1
                        }
                    };
                    let scopes = &mut groups[of_resource].1;
                    match scopes.iter_mut().find(|(name, _)| *name == scope) {
                        Some((_, events)) => events.extend(alone),
                        None => scopes.push((scope, alone)),
                    }
                }
                let want: Vec<String> = groups.into_iter().flat_map(|(_, s)| s).flat_map(|(_, events)| events).collect();
                prop_assert_eq!(read(protocol.finish(&load).to_vec()), want);
            }
            prop_assert_eq!(events.next(), None);
        }
    }
}
