//! OpenObserve's interfaces for logs: `_json`, `_multi` and `_bulk`, answered as version 0.93 does.
//!
//! An application that sends to OpenObserve changes only its URL. `@http.org` and `@http.stream` are the organization
//! and the stream as sent. What OpenObserve itself does to records (flattening, the window of times) is left to it. What it
//! passes over without a word in a `_bulk` body gets an entry in the answer.

use super::bulk::{self, Action, BadLine, DocumentParts, Item, Items, Style};
use super::elasticsearch::{ItemPieces, push_valid, version, with_variables};
use super::format::{Answer, AnswerBody, Format, Head, Refusal, Request, Taken};
use super::plain::{Fault, JsonParts, check};
use crate::event::json::Scanner;
use hyper::StatusCode;
use hyper::header::{self, HeaderName};
use std::sync::Arc;

/// A request of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Logs {
    /// An array, or one object.
    Json,
    /// An object a line.
    Multi,
}

/// Requests that name a stream with each record.
pub(super) struct Bulk;

/// The name as the server keeps it: each run of other characters than `[A-Za-z0-9_:]` is one `_`, in lower case.
fn stream_name(raw: &str) -> String {
    let mut name = String::with_capacity(raw.len());
    let mut other = false;
    for c in raw.chars() {
        let fine = c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
        if fine {
            name.push(c.to_ascii_lowercase());
        } else if !other {
            name.push('_');
        }
        other = !fine;
    }
    name
}

impl Format for Logs {
    fn read(&self, request: Request) -> Result<Taken, Answer> {
        let Request { head, body, max_event, .. } = request;
        let stream = head.variable("stream").unwrap_or_default();
        if stream.is_empty() {
            return Err(code(StatusCode::BAD_REQUEST, "Error# Stream name is empty"));
        }
        let name = stream_name(stream);
        let (mut good, mut bad) = (0usize, 0usize);
        let checked = check(&body, max_event, |value| match body[value.start] {
            b'{' => good += 1,
            _ => bad += 1,
        });
        let one_too_many =
            *self == Logs::Json && checked.is_ok() && good + bad != 1 && body.trim_ascii_start().first() != Some(&b'[');
        let checked = checked.map_err(|fault| self.refused(fault, &body, max_event))?;
        if one_too_many {
            return Err(self.refused(Fault::Invalid(0), &body, max_event));
        }
        let parts = JsonParts::new(body, checked, max_event, |value: &[u8]| value.first() == Some(&b'{'));
        let mut status = serde_json::json!({"name": name, "successful": good, "failed": bad});
        if bad > 0 {
            status["error"] = "flatten value must be an object".into();
        }
        let answer = serde_json::json!({"code": 200, "status": [status]}).to_string();
        let taken = Taken::parts(parts, move || Answer::json(StatusCode::OK, answer));
        Ok(Taken { refused: bad as u64, ..taken })
    }

    fn refuse(&self, _head: &Head, refusal: &Refusal) -> Answer {
        refuse(refusal)
    }
}

impl Logs {
    fn refused(self, fault: Fault, body: &[u8], max_event: usize) -> Answer {
        let message = match (self, fault) {
            (_, Fault::TooLong(_)) => return too_large(),
            (Logs::Json, Fault::Invalid(_) | Fault::TooDeep(_)) => {
                let error = serde_json::from_slice::<serde::de::IgnoredAny>(body).err();
                let text = error.map_or_else(|| fault.explain(body, max_event), |error| error.to_string());
                format!("SerdeJsonError# {text}")
            }
            (Logs::Multi, Fault::Invalid(at) | Fault::TooDeep(at)) => {
                let rest = &body[at.min(body.len())..];
                let line = rest.split(|c| *c == b'\n').next().unwrap_or_default();
                let error = serde_json::from_slice::<serde::de::IgnoredAny>(line).err();
                let text = error.map_or_else(|| fault.explain(body, max_event), |error| format!("{error:?}"));
                format!("Error# Failed processing: JsonError({text})")
            }
        };
        code(StatusCode::BAD_REQUEST, &message)
    }
}

impl Format for Bulk {
    fn read(&self, request: Request) -> Result<Taken, Answer> {
        let Request { head: _, body, origin, max_event, .. } = request;
        let (mut items, mut scanner, mut faults) = (Items::new(&body, Style::ByName), Scanner::default(), 0usize);
        loop {
            let item = match items.next() {
                Ok(None) => break,
                Ok(Some(item)) => item,
                Err(BadLine::Action(_, line)) => return Err(not_json(line)),
                Err(BadLine::NoDocument) => return Err(not_json(b"")),
            };
            let has_document = !matches!(item.action, Action::Delete | Action::Missing) && !item.document.is_empty();
            if has_document && item.document.len() > max_event {
                return Err(too_large());
            }
            if has_document && bulk::check_document(&mut scanner, item.document).is_err() {
                return Err(not_json(item.document));
            }
            faults += usize::from(item_fault(&item).is_some());
        }
        let body = Arc::new(body);
        let keep = |item: &Item<'_>| item_fault(item).is_none();
        let origin_of = move |index: &[u8]| with_variables(&origin, &[("stream", &bulk::plain(index))]);
        let parts = DocumentParts::new(body.clone(), Style::ByName, keep, origin_of);
        let answer = move || {
            let begin = format!("{{\"took\":0,\"errors\":{},\"items\":[", faults > 0);
            let write = |item: &Item<'_>, _: u64, out: &mut Vec<u8>| write_item(item, out);
            let pieces =
                ItemPieces { body, at: 0, n: 0, style: Style::ByName, begin: Some(begin), ended: false, write };
            let body = AnswerBody::Pieces(Box::new(pieces));
            Answer { status: StatusCode::OK, headers: Vec::new(), body }
                .with(header::CONTENT_TYPE, "application/json")
                .with(HeaderName::from_static("x-elastic-product"), "Elasticsearch")
        };
        Ok(Taken { keeps_body: true, refused: faults as u64, ..Taken::parts(parts, answer) })
    }

    fn refuse(&self, _head: &Head, refusal: &Refusal) -> Answer {
        refuse(refusal)
    }
}

/// Why an item is not taken: status, kind and reason. The server passes over what is no action, a `delete` and an action
/// without document, and calls the request a success; here the answer says what was left out.
fn item_fault(item: &Item<'_>) -> Option<(u16, String, String)> {
    let fault = |reason: &str| Some((400, "illegal_argument_exception".to_owned(), reason.to_owned()));
    match item.action {
        Action::Missing => fault("the line is not an action: expected an object with `create`, `index` or `update`"),
        Action::Delete => fault("delete is not supported: events are only ever added"),
        _ if item.document.is_empty() => fault("the last action has no document"),
        _ if matches!(item.index, b"" | b"_" | b"/") => {
            let text = format!("Invalid stream name: {}", bulk::plain(item.index));
            Some((422, text.clone(), text))
        }
        _ => None,
    }
}

fn not_json(line: &[u8]) -> Answer {
    let error = serde_json::from_slice::<serde::de::IgnoredAny>(line).err();
    let text = error.map_or_else(|| "expected a JSON object".to_owned(), |error| error.to_string());
    code(StatusCode::BAD_REQUEST, &format!("SerdeJsonError# {text}"))
}

fn write_item(item: &Item<'_>, out: &mut Vec<u8>) {
    let fault = item_fault(item);
    let index = serde_json::Value::from(stream_name(&bulk::plain(item.index)));
    let word = if fault.is_none() { "index" } else { item.action.word() };
    out.extend_from_slice(format!("{{\"{word}\":{{\"_index\":{index},\"_id\":").as_bytes());
    match item.id {
        b"" => out.extend_from_slice(b"\"\""),
        id => push_valid(id, out),
    }
    let Some((status, kind, reason)) = fault else {
        out.extend_from_slice(b",\"_version\":1,\"result\":\"created\",\"_shards\":{\"total\":1,\"successful\":1,\"failed\":0},\"_seq_no\":1,\"_primary_term\":1,\"status\":200}}");
        return;
    };
    let error = serde_json::json!({
        "type": kind, "reason": reason, "index_uuid": "0", "shard": "1", "index": bulk::plain(item.index),
    });
    out.extend_from_slice(format!(",\"status\":{status},\"error\":{error},\"originalRecord\":null}}}}").as_bytes());
}

/// An error as the server writes most of them.
pub(super) fn code(status: StatusCode, message: &str) -> Answer {
    Answer::json(status, serde_json::json!({"code": status.as_u16(), "message": message}).to_string())
}

/// A line of text without an end, as the server's framework writes it.
fn text(status: StatusCode, text: &str) -> Answer {
    Answer::of(status, "text/plain; charset=utf-8", text)
}

fn too_large() -> Answer {
    text(StatusCode::PAYLOAD_TOO_LARGE, "Failed to buffer the request body: length limit exceeded")
}

/// What the server says to requests that it does not look into.
pub(super) fn refuse(refusal: &Refusal) -> Answer {
    match refusal {
        Refusal::Unauthorized { shown: false } => code(refusal.status(), "Unauthorized Access"),
        Refusal::Unauthorized { shown: true } => {
            text(refusal.status(), "Unauthorized Access").with(header::WWW_AUTHENTICATE, "Bearer realm=\"openobserve\"")
        }
        Refusal::TooLarge(_) => too_large(),
        Refusal::Encoding(_) => Answer::empty(refusal.status()).with(header::ACCEPT_ENCODING, "gzip,deflate,zstd"),
        Refusal::Corrupt(why) => text(refusal.status(), &format!("Failed to buffer the request body: {why}")),
        Refusal::Slow => text(refusal.status(), &refusal.to_string()),
        // The words its clients know for "later".
        Refusal::Busy | Refusal::NotDelivered | Refusal::Stopping => {
            code(refusal.status(), "Error# MemoryTableOverflowError")
        }
    }
}

/// `GET /healthz`.
pub(super) fn health(_: &Head) -> Answer {
    Answer::json(StatusCode::OK, "{\"status\":\"ok\"}")
}

/// `GET /api/{org}/`: the banner for Elastic clients, and the cheapest check of credentials.
pub(super) fn banner(head: &Head) -> Answer {
    let body = serde_json::json!({
        "name": "opensearch",
        "cluster_name": "tidegate",
        "cluster_uuid": "tidegate",
        "version": {
            "number": version(head),
            "build_flavor": "default",
            "build_type": "rpm",
            "minimum_wire_compatibility_version": "6.8.0",
            "minimum_index_compatibility_version": "6.0.0-beta1",
        },
        "tagline": "You Know, for Search",
    });
    stub(&body.to_string())
}

/// `GET /api/{org}/_license`.
pub(super) fn license(_: &Head) -> Answer {
    stub("{\"status\":\"active\"}")
}

/// What Elastic clients ask for besides: there is nothing, and nothing that is put is kept.
pub(super) fn setup(head: &Head) -> Answer {
    stub(if head.method == hyper::Method::GET { "{}" } else { "{\"acknowledged\":true}" })
}

fn stub(body: &str) -> Answer {
    Answer::json(StatusCode::OK, body).with(HeaderName::from_static("x-elastic-product"), "Elasticsearch")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::format::BodyPart;
    use super::super::plain::tests::{request, said};
    use super::*;
    use serde_json::{Value, json};

    /// What of a body is taken (`stream document` for bulk), and the answer.
    fn taken(format: &dyn Format, stream: &str, body: &str) -> (Vec<String>, u16, Value) {
        let mut request = request("application/json", body.as_bytes());
        Arc::get_mut(&mut request.head).unwrap().variables =
            vec![("org".into(), "default".into()), ("stream".into(), stream.into())];
        let (out, answer) = match format.read(request) {
            Err(answer) => (Vec::new(), answer),
            Ok(taken) => {
                let mut out = Vec::new();
                for part in taken.parts {
                    let BodyPart::Json { text, frames, origin } = part else { panic!("json") };
                    let of = origin.map_or_else(String::new, |o| format!("{} ", o.http[0].1));
                    out.extend(frames.iter().map(|(a, b)| {
                        format!("{of}{}", std::str::from_utf8(&text[*a as usize..*b as usize]).unwrap())
                    }));
                }
                (out, (taken.answer)())
            }
        };
        let (status, text) = said(answer);
        (out, status, serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn json_is_an_array_or_one_object() {
        let ok = |n: u32| json!({"code": 200, "status": [{"name": "app_logs", "successful": n, "failed": 0}]});
        assert_eq!(
            taken(&Logs::Json, "App.logs", "[{\"a\":1},{}]"),
            (vec!["{\"a\":1}".into(), "{}".into()], 200, ok(2))
        );
        assert_eq!(taken(&Logs::Json, "app-logs", " {\"a\":1} "), (vec!["{\"a\":1}".into()], 200, ok(1)));
        assert_eq!(taken(&Logs::Json, "app logs", "[]"), (vec![], 200, ok(0)));
        let (out, status, answer) = taken(&Logs::Json, "s", "[{\"a\":1},7]");
        assert_eq!((out.len(), status), (1, 200));
        let wanted = json!({"name": "s", "successful": 1, "failed": 1, "error": "flatten value must be an object"});
        assert_eq!(answer["status"][0], wanted);
        let message = |body: &str| {
            let (out, status, answer) = taken(&Logs::Json, "s", body);
            assert_eq!((out.len(), status, &answer["code"]), (0, 400, &json!(400)), "{body}");
            answer["message"].as_str().unwrap().to_owned()
        };
        assert_eq!(message("[{\"a\":x}]"), "SerdeJsonError# expected value at line 1 column 7");
        assert_eq!(message(""), "SerdeJsonError# EOF while parsing a value at line 1 column 0");
        assert_eq!(message("{}\n{}"), "SerdeJsonError# trailing characters at line 2 column 1");
        assert_eq!(taken(&Logs::Json, "", "[]").2["message"], "Error# Stream name is empty");
    }

    #[test]
    fn multi_is_an_object_a_line() {
        let (out, status, answer) = taken(&Logs::Multi, "s", "{\"a\":1}\n\n{\"b\":2}\n");
        assert_eq!((out.len(), status), (2, 200));
        assert_eq!(answer["status"][0]["successful"], 2);
        assert_eq!(taken(&Logs::Multi, "s", "").2["status"][0]["successful"], 0);
        let (out, status, answer) = taken(&Logs::Multi, "s", "{\"a\":1}\n{nope}\n");
        assert_eq!((out.len(), status), (0, 400));
        let want = "Error# Failed processing: JsonError(Error(\"key must be a string\", line: 1, column: 2))";
        assert_eq!(answer["message"], want);
    }

    #[test]
    fn bulk_is_answered_as_the_server_does() {
        let body = "{\"create\":{\"_index\":\"S1\",\"_id\":\"7\"}}\n{\"a\":1}\n{\"delete\":{\"_index\":\"s1\",\"_id\":\"7\"}}\n{\"index\":{\"_index\":\"\"}}\n{\"b\":1}\n{\"update\":{\"_index\":\"s2\"}}\n{\"c\":1}\n";
        let (out, status, answer) = taken(&Bulk, "", body);
        assert_eq!(out, ["S1 {\"a\":1,\"_id\":\"7\"}", "s2 {\"c\":1}"]);
        assert_eq!((status, &answer["took"], &answer["errors"]), (200, &json!(0), &json!(true)));
        let shards = json!({"total": 1, "successful": 1, "failed": 0});
        let created = json!({"_index": "s1", "_id": "7", "_version": 1, "result": "created", "_shards": shards, "_seq_no": 1, "_primary_term": 1, "status": 200});
        assert_eq!(answer["items"][0], json!({"index": created}));
        assert_eq!(answer["items"][1]["delete"]["status"], 400);
        assert_eq!(answer["items"][2]["index"]["status"], 422);
        assert_eq!(answer["items"][2]["index"]["error"]["type"], "Invalid stream name: ");
        assert_eq!(answer["items"].as_array().unwrap().len(), 4);
        let (out, status, answer) =
            taken(&Bulk, "", "{\"index\":{\"_index\":\"s\"}}\n{\"a\":1}\n{\"index\":{\"_index\":\"s\"}}\nnope\n");
        assert_eq!((out.len(), status), (0, 400));
        assert_eq!(answer["message"], "SerdeJsonError# expected ident at line 1 column 2");
    }

    #[test]
    fn refusals_are_in_the_servers_words() {
        let of = |refusal: Refusal| said(refuse(&refusal));
        assert_eq!(
            of(Refusal::Unauthorized { shown: false }),
            (401, "{\"code\":401,\"message\":\"Unauthorized Access\"}".into())
        );
        assert_eq!(of(Refusal::Unauthorized { shown: true }), (401, "Unauthorized Access".into()));
        assert_eq!(of(Refusal::Encoding("snappy".into())), (415, String::new()));
        assert_eq!(of(Refusal::Busy), (503, "{\"code\":503,\"message\":\"Error# MemoryTableOverflowError\"}".into()));
        assert_eq!(of(Refusal::TooLarge(5)).1, "Failed to buffer the request body: length limit exceeded");
    }

    #[test]
    fn names_of_streams_are_those_the_server_makes() {
        for (raw, name) in
            [("Auth-Service.logs", "auth_service_logs"), ("****", "_"), ("a:b_c", "a:b_c"), ("日志x", "_x")]
        {
            assert_eq!(stream_name(raw), name);
        }
    }
}
