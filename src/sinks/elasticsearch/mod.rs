//! Sends events to Elasticsearch, OpenSearch and what takes their bulk interface, such as ZincSearch.
//!
//! ```yaml
//! sinks:
//!   es:
//!     type: elasticsearch
//!     inputs: [app]
//!     endpoints: ["https://es-1:9200", "https://es-2:9200"]
//!     index: "logs-{{ service }}-%Y.%m.%d"
//!     auth: {basic: {user: "${ES_USER}", password: "${ES_PASSWORD}"}}
//!     dead_letter: rejects
//! ```
//!
//! - **Delivery** is at least once, and with `id: auto` once: each document's `_id` is made of the event's origin and place, or
//!   kept with the event in the buffer, so that one sent again is no second document.
//! - **Answers** are read item by item, which come in the order of the request. 2xx is delivered, and so is a 409 of a
//!   `create`, which is there already. 429, 5xx and a blocked index (`cluster_block_exception`) are sent again alone; the others go
//!   to the dead letter with `error.type: error.reason`. An answer without an item for each document sends the request to the
//!   dead letter as `uncertain`.
//! - **Servers** take turns; one that fails is left alone for a while (see `turns.rs` of [`delivery`](crate::sinks::delivery)).
//! - **Time**: documents without `@timestamp` get one, from `timestamp_field`; nothing else is changed.
//! - **Versions**: 6 wants a type with each document, which is learnt from its first answer where `api_version` does not say so.
//! - When the servers are down or slow, the sink's buffer fills, and its policy holds.

mod items;

use crate::encoding::{EventTime, object};
use crate::error::BuildError;
use crate::event::{EventRef, FieldPath, Meta, Sym, Value, json};
use crate::http::{ClientConfig, ClientError};
use crate::settings::{OneOrMany, Reader, Secret, Spanned, config, config_choice, config_enum, config_union};
use crate::sinks::delivery::{
    Answer, BasicAuth, Credentials, Draft, Encoding, Framing, HttpSink, Judgement, Mask, NetworkSinkCommon, Protocol,
    Refusal, Request, RequestBody, Sign, Target, Unsendable, address, authorization, bearer, below, byte_of,
    check_server, judge_status, kind_of,
};
use crate::template::{NameTemplate, Template, Values};
use crate::time::{Rfc3339Writer, Zone};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use reqwest::header::HeaderMap;
use std::sync::Arc;

config! {
    /// Sends events to Elasticsearch, OpenSearch and what takes their bulk interface.
    pub struct ElasticsearchConfig {
        /// Addresses of the servers, such as `https://es:9200`; several take turns.
        pub endpoints: OneOrMany<Spanned<String>>,
        /// Whether documents go to an index or to a data stream.
        pub mode: EsMode = EsMode::Bulk,
        /// Name of the index. Made one that the server takes: small letters, `_` for what may not stand in it.
        pub index: Option<Spanned<NameTemplate>> = None,
        /// Parts of the data stream's name, for `mode: data_stream`.
        pub data_stream: DataStream = DataStream::defaults(),
        /// What is done with a document. Data streams take `create` only.
        pub op: Spanned<EsOp> = Spanned::new(EsOp::Index, Default::default()),
        /// The document's `_id`: `auto` (the event's own `_id`, else `@id`), `none` (the server makes one), or a template.
        pub id: EsId = EsId::Word(EsIdWord::Auto),
        /// Name of the ingest pipeline.
        pub pipeline: Option<String> = None,
        /// Version of the interface. `auto` learns from answers what 6 wants otherwise.
        pub api_version: ApiVersion = ApiVersion::Auto,
        /// The field that the event's time is read from; the time when it was received where that is absent or unreadable.
        /// It is sent as `@timestamp` with documents that have none; the field itself is sent too.
        pub timestamp_field: FieldPath = FieldPath::of_key("timestamp"),
        /// Credentials.
        pub auth: Option<EsAuth> = None,
        /// Those of all sinks over the network.
        flatten pub common: NetworkSinkCommon,
    }
}

config! {
    /// Parts of a data stream's name: `{type}-{dataset}-{namespace}`.
    pub struct DataStream {
        /// `logs`, `metrics` or `traces`.
        pub r#type: NameTemplate = NameTemplate(Template::literal("logs")),
        /// What the events are.
        pub dataset: NameTemplate = NameTemplate(Template::literal("generic")),
        /// Where they are from.
        pub namespace: NameTemplate = NameTemplate(Template::literal("default")),
    }
}

config_enum! {
    /// Whether documents go to an index or to a data stream.
    pub enum EsMode {
        /// To the index `index`.
        Bulk = "bulk",
        /// To the data stream that `data_stream` names.
        DataStream = "data_stream",
    }
}

config_enum! {
    /// What is done with a document.
    pub enum EsOp {
        /// It is put in place of one with its `_id`.
        Index = "index",
        /// It is added unless there is one with its `_id`.
        Create = "create",
    }
}

config_enum! {
    /// The words for it.
    pub enum EsIdWord {
        /// The event's field `_id` where it is a text, which is no part of the document then; else `@id`, made of its origin and place.
        Auto = "auto",
        /// The server makes one; an event that is sent again may then be there twice.
        None = "none",
    }
}

config_union! {
    /// The document's `_id`.
    pub enum EsId {
        /// A word.
        Word(EsIdWord),
        /// A template.
        Template(Template),
    }
}

config_enum! {
    /// Version of the interface.
    pub enum ApiVersion {
        /// As answers show.
        Auto = "auto",
        /// Documents have a type.
        V6 = "6",
        /// As OpenSearch too.
        V7 = "7",
        /// Asked for as compatible with 8.
        V8 = "8",
        /// Asked for as compatible with 9.
        V9 = "9",
    }
}

config_choice! {
    /// How the sink proves who it is.
    pub enum EsAuth {
        /// User and password.
        Basic(BasicAuth) = "basic",
        /// An API key: `id:key`, or both encoded as the server gives it.
        ApiKey(Secret) = "api_key",
        /// A token, sent as `Bearer`.
        Bearer(Secret) = "bearer",
    }
}

impl Credentials for EsAuth {
    fn check(&self, cx: &mut Reader<'_>) {
        if let EsAuth::Basic(basic) = self {
            basic.check(cx);
        }
    }

    fn secrets(&self) -> Vec<String> {
        match self {
            EsAuth::Basic(basic) => basic.secrets(),
            EsAuth::ApiKey(key) | EsAuth::Bearer(key) => vec![key.reveal().to_owned()],
        }
    }

    fn signer(&self, _client: &ClientConfig, _mask: &Mask) -> Result<Arc<dyn Sign>, ClientError> {
        authorization(&match self {
            EsAuth::Basic(basic) => basic.header(),
            EsAuth::ApiKey(key) if key.reveal().contains(':') => format!("ApiKey {}", STANDARD.encode(key.reveal())),
            EsAuth::ApiKey(key) => format!("ApiKey {}", key.reveal()),
            EsAuth::Bearer(token) => bearer(token.reveal()),
        })
    }
}

impl HttpSink for ElasticsearchConfig {
    type Protocol = Elasticsearch;
    type Auth = EsAuth;
    const AUTO: Encoding = Encoding::Gzip;

    fn shared(&self) -> (&NetworkSinkCommon, Option<&EsAuth>) {
        (&self.common, self.auth.as_ref())
    }

    fn check_own(&self, cx: &mut Reader<'_>) {
        if self.endpoints.is_empty() {
            cx.error_at("endpoints", format!("`endpoints`{} has no address", cx.place()));
        }
        for url in self.endpoints.iter() {
            let own = (&["/_bulk"][..], "`/{index}/_bulk` is appended to it");
            check_server(cx, "endpoints", url, "https://es:9200", own);
        }
        match (self.mode, &self.index) {
            (EsMode::Bulk, None) => {
                cx.error_at("mode", format!("`mode: bulk`{} needs an `index`", cx.place()));
            }
            (EsMode::DataStream, Some(index)) => {
                cx.error(index.span, format!("`mode: data_stream`{} has no `index`", cx.place()))
                    .help("write `data_stream: {dataset: …}`");
            }
            (EsMode::Bulk, Some(index)) if index.value.text().is_empty() => {
                cx.error(index.span, format!("`index`{} is empty", cx.place()));
            }
            _ => {}
        }
    }

    fn servers(&self) -> Vec<Url> {
        self.endpoints.iter().filter_map(address).collect()
    }

    fn connect(&self, server: &Url, zone: Zone, mask: &Mask) -> Result<Elasticsearch, BuildError> {
        let name = match (&self.index, self.mode) {
            (Some(index), EsMode::Bulk) => vec![index.value.clone()],
            _ => {
                let DataStream { r#type, dataset, namespace } = &self.data_stream;
                vec![r#type.clone(), dataset.clone(), namespace.clone()]
            }
        };
        let create = self.op.value == EsOp::Create || self.mode == EsMode::DataStream;
        let action = if create { &b"{\"create\":{"[..] } else { b"{\"index\":{" };
        let content_type = match self.api_version {
            ApiVersion::V8 => "application/vnd.elasticsearch+x-ndjson; compatible-with=8",
            ApiVersion::V9 => "application/vnd.elasticsearch+x-ndjson; compatible-with=9",
            _ => "application/x-ndjson",
        };
        let fixed = name.iter().map(|part| part.as_literal()).collect::<Option<Vec<_>>>().map(|texts| {
            let mut fixed = Vec::new();
            for (n, text) in texts.iter().enumerate() {
                fixed.extend_from_slice(if n > 0 { b"-" } else { b"" });
                let from = fixed.len();
                fixed.extend_from_slice(text.as_bytes());
                format_name(&mut fixed, from, texts.len() > 1);
            }
            fixed
        });
        Ok(Elasticsearch {
            base: server.clone(),
            name,
            fixed,
            action,
            create,
            id: self.id.clone(),
            pipeline: self.pipeline.clone(),
            typed: self.api_version == ApiVersion::V6,
            learns: self.api_version == ApiVersion::Auto,
            content_type,
            times: EventTime::of(&self.timestamp_field, zone),
            writer: Rfc3339Writer::new(),
            at_timestamp: Sym::from_config("@timestamp"),
            id_field: Sym::from_config("_id"),
            work: Vec::new(),
            mask: mask.clone(),
        })
    }
}

/// What is known of a record.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mark {
    /// Where the document begins, behind its action.
    doc: u32,
    /// Bytes that the sink added before the document's last one.
    added: u32,
}

/// The servers.
pub struct Elasticsearch {
    base: Url,
    /// Parts of the index' name, with `-` between them.
    name: Vec<NameTemplate>,
    /// The name as the server takes it, where it is the same for all events.
    fixed: Option<Vec<u8>>,
    action: &'static [u8],
    create: bool,
    id: EsId,
    pipeline: Option<String>,
    /// Documents have a type.
    typed: bool,
    /// Whether they do is learnt.
    learns: bool,
    content_type: &'static str,
    times: EventTime,
    writer: Rfc3339Writer,
    at_timestamp: Sym,
    id_field: Sym,
    /// Work space.
    work: Vec<u8>,
    mask: Mask,
}

/// What the answer of version 6 has to say of documents without a type.
const NO_TYPE: &[u8] = b"type is missing";
/// Longest name of an index, in bytes.
const MAX_NAME: usize = 255;

/// Makes `name[from..]` one that the server takes for an index, or (`part`) for a part of a data stream's. Works in place: the
/// result is no longer.
///
/// Source: the limitations under "Create index API" in Elasticsearch's reference.
fn format_name(name: &mut Vec<u8>, from: usize, part: bool) {
    for byte in &mut name[from..] {
        *byte = match *byte {
            b'\\' | b'/' | b'*' | b'?' | b'"' | b'<' | b'>' | b'|' | b' ' | b',' | b'#' | b':' | 0..b' ' => b'_',
            b'-' if part => b'_',
            byte => byte.to_ascii_lowercase(),
        };
    }
    if !part {
        let bad = name[from..].iter().take_while(|b| matches!(b, b'-' | b'_' | b'+')).count();
        name.drain(from..from + bad);
        if matches!(&name[from..], b"." | b".." | b"") {
            name.truncate(from);
            name.extend_from_slice(b"unnamed");
        }
    }
    let mut end = name.len().min(from + MAX_NAME);
    while end < name.len() && end > from && name[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    name.truncate(end);
}

impl Elasticsearch {
    fn action_line(&mut self, event: EventRef<'_>, body: &mut Vec<u8>) -> Result<(), Unsendable> {
        body.extend_from_slice(self.action);
        self.work.clear();
        match &self.id {
            EsId::Word(EsIdWord::None) => {}
            EsId::Word(EsIdWord::Auto) => {
                let own =
                    event.field(self.id_field).filter(|id| matches!(id, Value::Str(text) if !text.bytes.is_empty()));
                if let Some(Value::Str(id)) = own.or_else(|| event.meta(&Meta::Id)) {
                    id.append_text(&mut self.work);
                }
            }
            EsId::Template(id) => {
                id.render(event, &mut self.work).map_err(|why| Unsendable::template("id", why))?;
                if self.work.is_empty() || self.work.len() > 512 {
                    return Err(Unsendable::template("id", "an `_id` has from 1 to 512 bytes"));
                }
            }
        }
        if !self.work.is_empty() {
            body.extend_from_slice(b"\"_id\":\"");
            json::escape(&self.work, body);
            body.push(b'"');
        }
        body.extend_from_slice(b"}}\n");
        Ok(())
    }

    fn write_without_id(&self, event: EventRef<'_>, body: &mut Vec<u8>) {
        body.push(b'{');
        let mut comma = false;
        for (i, (key, value)) in event.fields().enumerate() {
            if event.key_at(i) == Some(self.id_field) {
                continue;
            }
            if std::mem::replace(&mut comma, true) {
                body.push(b',');
            }
            body.push(b'"');
            json::escape(key, body);
            body.extend_from_slice(b"\":");
            value.append_json(body);
        }
        body.push(b'}');
    }

    fn not_ours(&self, answer: &Answer) -> Judgement {
        let words = self.mask.words(&answer.body);
        Judgement::Misconfigured {
            detail: format!(
                "HTTP {}, but what answers is not Elasticsearch's bulk interface; check `endpoints`. It said: {words}",
                answer.status
            ),
        }
    }

    /// What an answer with items means.
    fn judge_items(&self, answer: &Answer, load: &RequestBody<Mark>) -> Judgement {
        if answer.cut {
            let detail = format!("sent {}; the answer was too long to be read", load.len());
            return Judgement::RefusedAll { reason: "uncertain", detail };
        }
        let Some(items) = items::read(&answer.body) else { return self.not_ours(answer) };
        if items.len() != load.len() {
            let detail = format!("sent {}, and the answer has {} items", load.len(), items.len());
            return Judgement::RefusedAll { reason: "uncertain", detail };
        }
        let (mut refused, mut again) = (Vec::new(), Vec::new());
        let (mut detail, mut pressure) = (String::new(), false);
        for (record, item) in items.iter().enumerate() {
            let status = item.status;
            if (200..300).contains(&status) || status == 409 && self.create {
                continue;
            }
            let (kind, reason) = item.words();
            match status {
                429 | 500..600 => again.push(record),
                403 if kind == "cluster_block_exception" => again.push(record),
                _ => {
                    let detail = self.mask.text(&format!("{kind}: {reason}"));
                    refused.push(Refusal { record, reason: "refused", detail });
                }
            }
            if again.last() == Some(&record) {
                pressure |= status == 429;
                if detail.is_empty() {
                    detail = self.mask.text(&format!("item with status {status}: {kind}: {reason}"));
                }
            }
        }
        match (again.is_empty(), refused.is_empty()) {
            (true, true) => Judgement::Delivered,
            (true, false) => Judgement::Refused(refused),
            (false, _) => Judgement::Partial { refused, again, kind: "items", detail, pressure },
        }
    }
}

impl Protocol for Elasticsearch {
    type Mark = Mark;

    /// What the events are, and the index.
    fn partition(&mut self, event: EventRef<'_>, _now: i64, name: &mut Vec<u8>) -> Result<(), Unsendable> {
        name.push(byte_of(event.kind()));
        if let Some(fixed) = &self.fixed {
            name.extend_from_slice(fixed);
            return Ok(());
        }
        for (n, part) in self.name.iter().enumerate() {
            if n > 0 {
                name.push(b'-');
            }
            let from = name.len();
            part.render_as(Values::Component, event, name).map_err(|why| Unsendable::template("index", why))?;
            format_name(name, from, self.name.len() > 1);
        }
        Ok(())
    }

    fn target(&self, partition: &[u8]) -> Target {
        let (kind, name) = kind_of(partition);
        let name = String::from_utf8_lossy(name).into_owned();
        let mut url = below(&self.base, &[&name, "_bulk"]);
        // Which is all that is read of the answer.
        url.query_pairs_mut().append_pair("filter_path", "errors,items.*.status,items.*.error");
        if let Some(pipeline) = &self.pipeline {
            url.query_pairs_mut().append_pair("pipeline", pipeline);
        }
        Target { framing: Framing::LINES, ..Target::post(name, kind, url, self.content_type) }
    }

    fn request(&self, target: &Target) -> Request {
        let mut request = target.request();
        if self.typed {
            // The type of all documents of the request.
            let path = request.url.path().strip_suffix("/_bulk").map(|index| format!("{index}/_doc/_bulk"));
            request.url.set_path(&path.unwrap_or_default());
        }
        request
    }

    fn record(&mut self, event: EventRef<'_>, draft: &mut Draft<'_, Mark>) -> Result<(), Unsendable> {
        let before = draft.body.len();
        self.action_line(event, draft.body)?;
        let start = draft.body.len();
        draft.record.mark.doc = (start - before) as u32;
        let takes_id = matches!(self.id, EsId::Word(EsIdWord::Auto));
        if takes_id && matches!(event.field(self.id_field), Some(Value::Str(_))) {
            // The server takes no document with such a field.
            draft.keep(event);
            self.write_without_id(event, draft.body);
        } else {
            object::write(event, draft.body);
        }
        if event.position(self.at_timestamp).is_none() {
            let (ns, writer) = (self.times.ns(event), &mut self.writer);
            draft.record.mark.added = object::add(start, draft.body, |body| {
                body.extend_from_slice(b"\"@timestamp\":\"");
                writer.write(ns, 3, body);
                body.push(b'"');
            });
        }
        object::on_one_line(&mut draft.body[start..]);
        Ok(())
    }

    fn event_json(&self, load: &RequestBody<Mark>, n: usize, out: &mut Vec<u8>) {
        let Mark { doc, added } = load.records[n].mark;
        object::without_added(&load.record(n)[doc as usize..], added, out);
    }

    fn heard(&mut self, answer: &Answer) {
        if self.learns && answer.status == 400 && memchr::memmem::find(&answer.body, NO_TYPE).is_some() {
            self.typed = true;
        }
    }

    fn judge(&self, answer: &Answer, load: &RequestBody<Mark>, _now: i64) -> Judgement {
        if self.learns && answer.status == 400 && memchr::memmem::find(&answer.body, NO_TYPE).is_some() {
            let detail = "documents need a type: the server is of version 6".into();
            return Judgement::Retry { kind: "api_version", detail, broken: false, pressure: false, tries: Some(3) };
        }
        judge_status(answer, &self.mask).unwrap_or_else(|| self.judge_items(answer, load))
    }

    fn max_answer(&self, records: usize) -> usize {
        // An item has some 30 bytes, with a long error 600; servers that ignore `filter_path` send 200.
        (64 << 10) + records * 1024
    }

    fn health_checks(&self) -> Vec<Request> {
        vec![Request::get(self.base.clone(), HeaderMap::new())]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_become_what_the_server_takes() {
        let made = |text: &str, part| {
            let mut name = [b"x", text.as_bytes()].concat();
            format_name(&mut name, 1, part);
            String::from_utf8(name[1..].to_vec()).unwrap()
        };
        for (name, want) in [
            ("Logs-2026.01.02", "logs-2026.01.02"),
            ("a b/c:d#e,f*?\"<>|\\", "a_b_c_d_e_f_______"),
            ("-_+x", "x"),
            ("..", "unnamed"),
            ("", "unnamed"),
            ("日志", "日志"),
        ] {
            assert_eq!(made(name, false), want, "{name}");
        }
        assert_eq!(made("My-App", true), "my_app");
        assert_eq!(made(&"é".repeat(200), false).len(), 254);
    }
}
