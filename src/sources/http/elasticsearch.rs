//! The interfaces of Elasticsearch that take documents, in bulk and singly, and what its clients ask before they use them.
//!
//! Events are only ever added: `index`, `create` and what an `update` would insert (`doc`, `upsert`) are taken, scripts and
//! `delete` get an error of their own in the answer. A document that is not a JSON object gets one too; the others of the request
//! are taken. `@http.index` (and
//! `@http.stream`) is the index; an `_id` becomes a field of its document. Lines of actions are read as the version reads
//! them that the client speaks: [`style`].

use super::bulk::{self, Action, BadLine, DocumentParts, Item, Items, Style, Update, UpdateFault};
use super::format::{Answer, AnswerBody, BodyPart, Format, Head, Refusal, Request, Taken};
use crate::event::Origin;
use crate::event::json::{Scanner, escape};
use crate::time::clock;
use base64::Engine;
use hyper::StatusCode;
use hyper::header::{self, HeaderName};
use std::sync::Arc;

/// The version clients are shown that do not say their own.
const VERSION: &str = "8.15.0";
/// Bytes of one piece of an answer.
const PIECE: usize = 16 << 10;

/// `POST /_bulk` and `POST /{index}/_bulk`.
pub(super) struct Bulk;

/// What is wrong with one item.
struct ItemFault {
    status: u16,
    kind: &'static str,
    reason: String,
}

fn item_fault(item: &Item<'_>, scanner: &mut Scanner, max_event: usize) -> Option<ItemFault> {
    let fault = |status, kind, reason| Some(ItemFault { status, kind, reason });
    if !matches!(item.action, Action::Index | Action::Create | Action::Update) {
        let reason = format!("{} is not supported: events are only ever added", item.action.word());
        return fault(400, "illegal_argument_exception", reason);
    }
    if item.document.len() > max_event {
        return fault(413, "illegal_argument_exception", format!("the document is larger than {max_event} bytes"));
    }
    let error = match item.action {
        Action::Update => match Update::read(scanner, item.document).err()? {
            UpdateFault::Scan(error) => error,
            UpdateFault::Script => {
                let reason = "a script cannot be run here: send `doc` or `upsert` alone";
                return fault(400, "illegal_argument_exception", reason.to_owned());
            }
            UpdateFault::NoDocument => {
                let reason = "Validation Failed: 1: doc or upsert is missing;";
                return fault(400, "action_request_validation_exception", reason.to_owned());
            }
        },
        _ => bulk::check_document(scanner, item.document).err()?,
    };
    fault(400, "document_parsing_exception", format!("failed to parse: {error}"))
}

/// One document a request: `POST {index}/_doc`, and with an id `_doc`, `_create` and `_update`.
pub(super) struct Single(pub(super) Action);

impl Format for Single {
    fn read(&self, request: Request) -> Result<Taken, Answer> {
        let Request { head, body, origin, max_event, .. } = request;
        let document = body.trim_ascii();
        if document.is_empty() {
            return Err(error(&head, StatusCode::BAD_REQUEST, "parse_exception", "request body is required"));
        }
        let index = head.variable("index").unwrap_or_default().to_owned();
        let id = head.variable("id").map(|id| serde_json::Value::from(id).to_string()).unwrap_or_default();
        let item = Item { action: self.0, index: b"", id: id.as_bytes(), document };
        let mut scanner = Scanner::default();
        if let Some(ItemFault { status, kind, reason }) = item_fault(&item, &mut scanner, max_event) {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
            return Err(error(&head, status, kind, &reason));
        }
        let mut text = Vec::with_capacity(document.len() + id.len() + 8);
        bulk::push_document(&item, Style::FurtherKeys, &mut scanner, &mut text);
        let frames = vec![(0, text.len() as u32)];
        let origin = with_variables(&origin, &[("index", &index), ("stream", &index)]);
        let part = BodyPart::Json { text, frames, origin: Some(origin) };
        let answer = move || {
            let id = if id.is_empty() { format!("\"{}\"", new_id((fastrand::u64(..), 0))) } else { id };
            let name = serde_json::Value::from(index.as_str());
            let body = format!("{{\"_index\":{name},\"_id\":{id},{CREATED}0,\"_primary_term\":1}}");
            say(&head, StatusCode::CREATED, &body)
        };
        Ok(Taken::parts(std::iter::once(part), answer))
    }

    fn refuse(&self, head: &Head, refusal: &Refusal) -> Answer {
        Bulk.refuse(head, refusal)
    }
}

/// What an answer says of a document that was taken, up to its number.
const CREATED: &str =
    "\"_version\":1,\"result\":\"created\",\"_shards\":{\"total\":1,\"successful\":1,\"failed\":0},\"_seq_no\":";

/// An id as Elasticsearch makes them.
fn new_id(id: (u64, u64)) -> String {
    let mut bytes = [0; 15];
    bytes[..8].copy_from_slice(&id.0.to_le_bytes());
    bytes[8..].copy_from_slice(&id.1.to_le_bytes()[..7]);
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

impl Format for Bulk {
    fn read(&self, request: Request) -> Result<Taken, Answer> {
        let Request { head, body, origin, received_at, max_event, .. } = request;
        let refuse = |kind: &str, reason: &str| Err(error(&head, StatusCode::BAD_REQUEST, kind, reason));
        if body.is_empty() {
            return refuse("parse_exception", "request body is required");
        }
        if body.last() != Some(&b'\n') {
            return refuse("illegal_argument_exception", "The bulk request must be terminated by a newline [\\n]");
        }
        let default_index = head.variable("index").unwrap_or_default().to_owned();
        let style = style(&head);
        let (mut items, mut scanner, mut faults) = (Items::new(&body, style), Scanner::default(), 0usize);
        loop {
            let item = match items.next() {
                Ok(None) => break,
                Ok(Some(item)) => item,
                Err(bad) => return refuse("illegal_argument_exception", &explain(bad)),
            };
            if item.action == Action::Unknown {
                let reason = "Malformed action/metadata line, expected field [create], [delete], [index] or [update]";
                return refuse("illegal_argument_exception", reason);
            }
            if item.index.is_empty() && default_index.is_empty() {
                return refuse("action_request_validation_exception", "Validation Failed: 1: index is missing;");
            }
            faults += usize::from(item_fault(&item, &mut scanner, max_event).is_some());
        }
        let body = Arc::new(body);
        let mut check = (faults > 0).then(Scanner::default);
        let keep =
            move |item: &Item<'_>| check.as_mut().is_none_or(|scanner| item_fault(item, scanner, max_event).is_none());
        let index = default_index.clone();
        let origin_of = move |named: &[u8]| {
            let index = if named.is_empty() { index.clone() } else { bulk::plain(named) };
            with_variables(&origin, &[("index", &index), ("stream", &index)])
        };
        let parts = DocumentParts::new(body.clone(), style, keep, origin_of);
        let content_type = content_type(&head);
        let answer = move || {
            let took = clock::now_ns().saturating_sub(received_at).max(0) / 1_000_000;
            let begin = format!("{{\"took\":{took},\"errors\":{},\"items\":[", faults > 0);
            let seed = fastrand::u64(..);
            let mut scanner = Scanner::default();
            let write = move |item: &Item<'_>, n: u64, out: &mut Vec<u8>| {
                write_item(item, item_fault(item, &mut scanner, max_event), &default_index, (seed, n), out);
            };
            let pieces = ItemPieces { body, at: 0, n: 0, style, begin: Some(begin), ended: false, write };
            let answer =
                Answer { status: StatusCode::OK, headers: Vec::new(), body: AnswerBody::Pieces(Box::new(pieces)) };
            product(answer.with(header::CONTENT_TYPE, &content_type))
        };
        Ok(Taken { keeps_body: true, refused: faults as u64, ..Taken::parts(parts, answer) })
    }

    fn refuse(&self, head: &Head, refusal: &Refusal) -> Answer {
        let text = refusal.to_string();
        match refusal {
            Refusal::Unauthorized { shown } => {
                let what =
                    if *shown { "unable to authenticate user for" } else { "missing authentication credentials for" };
                let reason = format!("{what} REST request [{}]", head.path);
                error(head, refusal.status(), "security_exception", &reason)
                    .with(header::WWW_AUTHENTICATE, "Basic realm=\"security\" charset=\"UTF-8\"")
            }
            Refusal::Busy | Refusal::NotDelivered => {
                error(head, StatusCode::TOO_MANY_REQUESTS, "es_rejected_execution_exception", &text)
            }
            Refusal::TooLarge(_) => error(head, refusal.status(), "content_too_long_exception", &text),
            Refusal::Stopping => error(head, refusal.status(), "cluster_block_exception", &text),
            _ => error(head, refusal.status(), "illegal_argument_exception", &text),
        }
    }
}

fn explain(bad: BadLine<'_>) -> String {
    match bad {
        BadLine::Action(line, _) => {
            format!("Malformed action/metadata line [{line}], expected START_OBJECT or END_OBJECT")
        }
        BadLine::NoDocument => "Malformed content: the last action has no document".into(),
    }
}

/// The origin with variables of its own instead of those of the same name.
pub(super) fn with_variables(origin: &Origin, variables: &[(&str, &str)]) -> Arc<Origin> {
    let mut origin = origin.clone();
    for (name, value) in variables {
        origin.http.retain(|(n, _)| &**n != *name);
        origin.http.push(((*name).into(), (*value).into()));
    }
    Arc::new(origin)
}

/// An answer with one entry for each item, written as the client reads it.
pub(super) struct ItemPieces<W> {
    pub(super) body: Arc<Vec<u8>>,
    pub(super) at: usize,
    pub(super) n: u64,
    pub(super) style: Style,
    pub(super) begin: Option<String>,
    pub(super) ended: bool,
    /// Appends the entry of the item with this number; nothing where it has none.
    pub(super) write: W,
}

impl<W: FnMut(&Item<'_>, u64, &mut Vec<u8>)> Iterator for ItemPieces<W> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if self.ended {
            return None;
        }
        let mut piece = self.begin.take().unwrap_or_default().into_bytes();
        let body = self.body.clone();
        let mut items = Items::from(&body, self.at, self.style);
        while piece.len() < PIECE {
            let Ok(Some(item)) = items.next() else {
                piece.extend_from_slice(b"]}");
                self.ended = true;
                break;
            };
            self.at = items.at();
            let before = piece.len();
            if self.n > 0 {
                piece.push(b',');
            }
            let comma = piece.len();
            (self.write)(&item, self.n, &mut piece);
            if piece.len() == comma {
                piece.truncate(before);
            } else {
                self.n += 1;
            }
        }
        Some(piece)
    }
}

fn write_item(item: &Item<'_>, fault: Option<ItemFault>, default_index: &str, id: (u64, u64), out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"");
    out.extend_from_slice(item.action.word().as_bytes());
    out.extend_from_slice(b"\":{\"_index\":\"");
    if item.index.is_empty() {
        escape(default_index.as_bytes(), out);
    } else {
        push_valid(item.index, out);
    }
    out.extend_from_slice(b"\",\"_id\":");
    if item.id.is_empty() && fault.is_none() {
        out.extend_from_slice(format!("\"{}\"", new_id(id)).as_bytes());
    } else if item.id.is_empty() {
        out.extend_from_slice(b"null");
    } else {
        push_valid(item.id, out);
    }
    match fault {
        None => out.extend_from_slice(format!(",{CREATED}{},\"_primary_term\":1,\"status\":201}}}}", id.1).as_bytes()),
        Some(ItemFault { status, kind, reason }) => {
            let error = serde_json::json!({"type": kind, "reason": reason});
            out.extend_from_slice(format!(",\"status\":{status},\"error\":{error}}}}}").as_bytes());
        }
    }
}

/// Appends a piece of a JSON body, made valid UTF-8 where it is not.
pub(super) fn push_valid(json: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(String::from_utf8_lossy(json).as_bytes());
}

/// An error in Elasticsearch's words.
fn error(head: &Head, status: StatusCode, kind: &str, reason: &str) -> Answer {
    let cause = serde_json::json!({"type": kind, "reason": reason});
    let body = serde_json::json!({
        "error": {"root_cause": [cause], "type": kind, "reason": reason},
        "status": status.as_u16(),
    });
    say(head, status, &body.to_string())
}

fn say(head: &Head, status: StatusCode, body: &str) -> Answer {
    product(Answer::json(status, body).with(header::CONTENT_TYPE, &content_type(head)))
}

/// Clients refuse to talk to what does not say that it is the product.
fn product(answer: Answer) -> Answer {
    answer.with(HeaderName::from_static("x-elastic-product"), "Elasticsearch")
}

/// JSON, in the version that the client asks to be answered in.
fn content_type(head: &Head) -> String {
    match compatible_with(head) {
        Some(version) => format!("application/vnd.elasticsearch+json;compatible-with={version}"),
        None => "application/json".into(),
    }
}

/// The major version that the client asks to be served as.
fn compatible_with(head: &Head) -> Option<String> {
    let asked = [head.header(header::ACCEPT), head.header(header::CONTENT_TYPE)];
    asked.into_iter().flatten().find_map(|text| {
        let rest = text.strip_prefix("application/vnd.elasticsearch+")?;
        let (_, version) = rest.split_once("compatible-with=")?;
        let version = version.trim_start().trim_start_matches('"');
        let digits: String = version.chars().take_while(char::is_ascii_digit).take(3).collect();
        (!digits.is_empty()).then_some(digits)
    })
}

/// How the version that is spoken reads lines of actions: keys beside the action are nothing up to version 8, and a mistake
/// from version 9 on unless it is asked to be compatible with 8.
/// Source: <https://github.com/elastic/elasticsearch/pull/115923>.
fn style(head: &Head) -> Style {
    let version = compatible_with(head).unwrap_or_else(|| version(head));
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major >= 9) { Style::Strict } else { Style::FurtherKeys }
}

/// The version to show: that of the client, whose own checks it then passes.
pub(super) fn version(head: &Head) -> String {
    let agent = head.header(header::USER_AGENT).unwrap_or_default();
    let is_elastic = agent.to_ascii_lowercase();
    let of_the_stack = ["elastic", "beat", "logstash"].iter().any(|name| is_elastic.contains(name));
    let words = agent.split(['/', ' ', '(', ';']);
    let version = words.map(str::trim).find(|word| {
        let parts: Vec<&str> = word.split('.').collect();
        parts.len() == 3 && parts.iter().all(|p| !p.is_empty() && p.len() < 4 && p.bytes().all(|c| c.is_ascii_digit()))
    });
    version.filter(|_| of_the_stack).unwrap_or(VERSION).to_owned()
}

/// `GET /`: who is there.
pub(super) fn banner(head: &Head) -> Answer {
    let version = version(head);
    let body = serde_json::json!({
        "name": "tidegate",
        "cluster_name": "tidegate",
        "cluster_uuid": "AAAAAAAAAAAAAAAAAAAAAA",
        "version": {
            "number": version,
            "build_flavor": "default",
            "build_type": "tar",
            "build_hash": "0000000000000000000000000000000000000000",
            "build_date": "1970-01-01T00:00:00.000000000Z",
            "build_snapshot": false,
            "lucene_version": "9.11.1",
            "minimum_wire_compatibility_version": "7.17.0",
            "minimum_index_compatibility_version": "7.0.0",
        },
        "tagline": "You Know, for Search",
    });
    say(head, StatusCode::OK, &body.to_string())
}

/// `GET /_license`, which Logstash and Beats ask for.
pub(super) fn license(head: &Head) -> Answer {
    let license =
        serde_json::json!({"license": {"status": "active", "uid": "tidegate", "type": "basic", "mode": "basic"}});
    say(head, StatusCode::OK, &license.to_string())
}

/// `GET /_xpack`.
pub(super) fn xpack(head: &Head) -> Answer {
    let body = serde_json::json!({"license": {"status": "active", "type": "basic", "mode": "basic"}, "features": {}});
    say(head, StatusCode::OK, &body.to_string())
}

/// `GET /_cluster/health`.
pub(super) fn health(head: &Head) -> Answer {
    let body =
        serde_json::json!({"cluster_name": "tidegate", "status": "green", "timed_out": false, "number_of_nodes": 1});
    say(head, StatusCode::OK, &body.to_string())
}

/// Templates, policies and pipelines: there are none, and those that are put are not kept.
pub(super) fn setup(head: &Head) -> Answer {
    match head.method.as_str() {
        "PUT" | "POST" | "DELETE" => say(head, StatusCode::OK, "{\"acknowledged\":true}"),
        "HEAD" => say(head, StatusCode::OK, ""),
        _ => say(head, StatusCode::OK, "{}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::plain::tests::{request, said};
    use super::*;
    use serde_json::Value;

    /// What of a body is taken (`index document`), and the answer.
    fn taken(path_index: Option<&str>, body: &str) -> (Vec<String>, u16, Value) {
        let mut request = request("application/vnd.elasticsearch+x-ndjson; compatible-with=8", body.as_bytes());
        if let Some(index) = path_index {
            Arc::get_mut(&mut request.head).unwrap().variables.push(("index".into(), index.into()));
        }
        let (out, answer) = match Bulk.read(request) {
            Err(answer) => (Vec::new(), answer),
            Ok(taken) => {
                let mut out = Vec::new();
                for part in taken.parts {
                    let BodyPart::Json { text, frames, origin } = part else { panic!("json") };
                    let origin = origin.unwrap();
                    let index = &origin.http.iter().find(|(n, _)| &**n == "index").unwrap().1;
                    out.extend(frames.iter().map(|(a, b)| {
                        format!("{index} {}", std::str::from_utf8(&text[*a as usize..*b as usize]).unwrap())
                    }));
                }
                (out, (taken.answer)())
            }
        };
        let headers: Vec<String> =
            answer.headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        assert!(headers.contains(&"x-elastic-product: Elasticsearch".to_owned()), "{headers:?}");
        assert!(
            headers.contains(&"content-type: application/vnd.elasticsearch+json;compatible-with=8".to_owned()),
            "{headers:?}"
        );
        let (status, text) = said(answer);
        (out, status, serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn each_item_is_answered_in_order() {
        let body = "{\"index\":{\"_id\":\"a\"}}\n{\"n\":1}\n{\"create\":{\"_index\":\"other\"}}\n{\"n\":2}\n{\"delete\":{\"_id\":\"a\"}}\n{\"index\":{}}\nnope\n{\"update\":{\"_id\":\"b\"}}\n{\"script\":{}}\n{\"index\":{}}\n[1]\n";
        let (out, status, answer) = taken(Some("logs"), body);
        assert_eq!(out, ["logs {\"n\":1,\"_id\":\"a\"}", "other {\"n\":2}"]);
        assert_eq!(status, 200);
        assert_eq!(answer["errors"], true);
        let items: Vec<String> = answer["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| {
                let (action, of) = item.as_object().unwrap().iter().next().unwrap();
                format!("{action} {} {} {}", of["_index"].as_str().unwrap(), of["status"], of["error"]["type"])
            })
            .collect();
        assert_eq!(
            items,
            [
                "index logs 201 null",
                "create other 201 null",
                "delete logs 400 \"illegal_argument_exception\"",
                "index logs 400 \"document_parsing_exception\"",
                "update logs 400 \"illegal_argument_exception\"",
                "index logs 400 \"document_parsing_exception\"",
            ]
        );
        assert_eq!(answer["items"][0]["index"]["_id"], "a");
        assert_eq!(answer["items"][1]["create"]["_id"].as_str().unwrap().len(), 20);
    }

    /// Status and, where it is none of ours to make up, reason of each item.
    fn updated(document: &str) -> (Vec<String>, String) {
        let (out, status, answer) = taken(Some("logs"), &format!("{{\"update\":{{\"_id\":\"b\"}}}}\n{document}\n"));
        assert_eq!(status, 200);
        let item = &answer["items"][0]["update"];
        assert_eq!(item["status"] == 201, item["result"] == "created");
        (out, format!("{} {}", item["status"], item["error"]["reason"]))
    }

    #[test]
    fn an_update_adds_what_it_would_insert() {
        for (document, event) in [
            (r#"{"doc":{"n":1}}"#, r#"logs {"n":1,"_id":"b"}"#),
            (r#"{"doc_as_upsert":true,"doc":{"n":1},"upsert":{"m":2}}"#, r#"logs {"n":1,"_id":"b"}"#),
            (r#"{ "upsert" : { } }"#, r#"logs {"_id":"b"}"#),
            (
                r#"{"upsert":{"m":2,"n":0,"t":"a\n"},"doc":{"n":{"x":[1.10]}}}"#,
                r#"logs {"m":2,"t":"a\n","n":{"x":[1.10]},"_id":"b"}"#,
            ),
            (r#"{"doc":{"n":1},"detect_noop":true,"scripted_upsert":false}"#, r#"logs {"n":1,"_id":"b"}"#),
        ] {
            assert_eq!(updated(document), (vec![event.to_owned()], "201 null".to_owned()), "{document}");
        }
        for (document, reason) in [
            (r#"{"script":{"source":"ctx._source.n++"},"upsert":{"n":1}}"#, "a script cannot be run here"),
            (r#"{"script":"x","doc":{}}"#, "a script cannot be run here"),
            (r#"{"a":1}"#, "doc or upsert is missing"),
            (r#"{"doc":[1]}"#, "doc or upsert is missing"),
            (r#"{"doc":}"#, "failed to parse: not valid JSON"),
            ("[1]", "failed to parse: not a JSON object"),
        ] {
            let (out, said) = updated(document);
            assert!(out.is_empty() && said.starts_with("400") && said.contains(reason), "{document}: {said}");
        }
        let (_, said) = updated(&format!("{{\"doc\":{}{}}}", "{\"a\":".repeat(200), "1".to_owned() + &"}".repeat(200)));
        assert!(said.contains("JSON nested deeper than 128 levels"), "{said}");
    }

    #[test]
    fn single_documents_are_taken_and_answered() {
        let ask = |action: Action, id: Option<&str>, body: &str| {
            let mut request = request("application/json", body.as_bytes());
            let variables = &mut Arc::get_mut(&mut request.head).unwrap().variables;
            variables.push(("index".into(), "lo\"gs".into()));
            variables.extend(id.map(|id| ("id".into(), id.into())));
            match Single(action).read(request) {
                Err(answer) => (String::new(), said(answer)),
                Ok(taken) => {
                    let mut parts = taken.parts;
                    let Some(BodyPart::Json { text, frames, origin }) = parts.next() else { panic!("json") };
                    assert!(parts.next().is_none() && frames == [(0, text.len() as u32)]);
                    assert_eq!(&*origin.unwrap().http[0].1, "lo\"gs");
                    (String::from_utf8(text).unwrap(), said((taken.answer)()))
                }
            }
        };
        let (event, (status, answer)) = ask(Action::Index, None, "\n{\n  \"n\": 1.10\n}\n");
        assert_eq!((&*event, status), ("{\n  \"n\": 1.10\n}", 201));
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((&answer["_index"], &answer["result"]), (&"lo\"gs".into(), &"created".into()));
        assert_eq!(answer["_id"].as_str().unwrap().len(), 20);
        let (event, (status, answer)) = ask(Action::Create, Some("a\"b"), "{}");
        assert_eq!((&*event, status), ("{\"_id\":\"a\\\"b\"}", 201));
        assert_eq!(serde_json::from_str::<Value>(&answer).unwrap()["_id"], "a\"b");
        assert_eq!(ask(Action::Update, Some("7"), r#"{"doc":{"n":1}}"#).0, r#"{"n":1,"_id":"7"}"#);
        for (action, body, kind) in [
            (Action::Index, " ", "parse_exception"),
            (Action::Index, "[{}]", "document_parsing_exception"),
            (Action::Index, "{} {}", "document_parsing_exception"),
            (Action::Update, "{\"n\":1}", "action_request_validation_exception"),
            (Action::Update, "{\"script\":\"x\"}", "illegal_argument_exception"),
        ] {
            let (event, (status, answer)) = ask(action, Some("1"), body);
            assert!(event.is_empty() && status == 400 && answer.contains(kind), "{body}: {answer}");
        }
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(70_000));
        assert_eq!(ask(Action::Index, None, &long).1.0, 413);
    }

    #[test]
    fn a_body_that_is_no_bulk_is_refused_whole() {
        for (index, body, kind) in [
            (Some("i"), "", "parse_exception"),
            (Some("i"), "{\"index\":{}}\n{}", "illegal_argument_exception"),
            (Some("i"), "{\"index\":{}}\n{}\nnope\n{}\n", "illegal_argument_exception"),
            (Some("i"), "{\"index\":{}}\n", "illegal_argument_exception"),
            (Some("i"), "{\"drop\":{}}\n{}\n", "illegal_argument_exception"),
            (None, "{\"index\":{}}\n{}\n", "action_request_validation_exception"),
        ] {
            let (out, status, answer) = taken(index, body);
            assert_eq!((out.len(), status), (0, 400), "{body}");
            assert_eq!(answer["error"]["type"], kind, "{body}");
            assert_eq!(answer["error"]["root_cause"][0]["type"], kind);
        }
    }

    proptest::proptest! {
        /// What is answered as created is what was taken, and each action has its entry.
        #[test]
        fn answers_and_events_are_the_same_in_number(
            lines in proptest::collection::vec(
                proptest::sample::select(&[
                    "{\"index\":{}}", "{\"create\":{\"_index\":\"a\"}}", "{\"delete\":{\"_id\":\"1\"}}", "{\"update\":{}}",
                    "{\"n\":1}", "{\"doc\":{}}", "{\"n\":1}", "{}", "nope", "[]", "", "{\"index\":{\"_index\":\"b\",\"_id\":\"\\u00e9\"}}",
                ][..]),
                0..40,
            )
        ) {
            let body = lines.join("\n") + "\n";
            let (out, status, answer) = taken(Some("i"), &body);
            if status == 200 {
                let items = answer["items"].as_array().unwrap();
                let created = items.iter().filter(|i| i.as_object().unwrap().values().all(|v| v["status"] == 201)).count();
                proptest::prop_assert_eq!(created, out.len());
                proptest::prop_assert_eq!(answer["errors"] == true, created < items.len());
            } else {
                proptest::prop_assert_eq!((status, out.len()), (400, 0));
            }
        }
    }

    #[test]
    fn a_long_answer_comes_in_pieces_and_is_whole() {
        let body = "{\"index\":{\"_index\":\"q\\\"x\"}}\n{}\n".repeat(5_000);
        let (out, _, answer) = taken(None, &body);
        assert_eq!(out.len(), 5_000);
        let items = answer["items"].as_array().unwrap();
        assert_eq!((items.len(), &answer["errors"]), (5_000, &Value::Bool(false)));
        let ids: std::collections::HashSet<&str> = items.iter().map(|i| i["index"]["_id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), 5_000);
        assert_eq!(items[7]["index"]["_index"], "q\"x");
    }

    #[test]
    fn the_version_is_the_clients_where_it_is_of_the_stack() {
        let with = |agent: &str| {
            let mut request = request("", b"");
            Arc::get_mut(&mut request.head).unwrap().headers.insert(header::USER_AGENT, agent.parse().unwrap());
            version(&request.head)
        };
        assert_eq!(with("elasticsearch-py/9.1.2 (Python/3.13.1; elastic-transport/9.1.0)"), "9.1.2");
        assert_eq!(with("Elastic-filebeat/8.17.3 (linux; amd64; x)"), "8.17.3");
        assert_eq!(with("curl/8.5.0"), VERSION);
        assert_eq!(with(""), VERSION);
    }

    #[test]
    fn refusals_are_in_the_systems_words() {
        let head = request("", b"").head;
        let status = |refusal: &Refusal| said(Bulk.refuse(&head, refusal)).0;
        assert_eq!(status(&Refusal::Busy), 429);
        assert_eq!(status(&Refusal::NotDelivered), 429);
        assert_eq!(status(&Refusal::Stopping), 503);
        assert_eq!(status(&Refusal::Unauthorized { shown: false }), 401);
        assert_eq!(status(&Refusal::TooLarge(1)), 413);
    }
}
