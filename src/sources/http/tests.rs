//! Whatever a client sends, each of its records is an event, refused in the answer, or counted: requests of every format,
//! made of what is right and what is odd, read by a model of their own beside the format.
#![allow(clippy::unwrap_used)]
use super::format::{BodyPart, Format};
use super::openobserve::{self, Logs};
use super::plain::Plain;
use super::plain::tests::{request, said};
use super::{elasticsearch, signals};
use crate::decoding::otlp::Signal;
use proptest::prelude::*;
use serde_json::Value as Json;
use std::sync::Arc;

/// What became of a request.
#[derive(Debug)]
struct Outcome {
    status: u16,
    answer: Json,
    /// Texts of what goes to the workers.
    events: Vec<String>,
    /// Counted as dropped.
    dropped: u64,
    /// Counted as refused in the answer.
    refused: u64,
}

/// Gives a format a body of this content type, at a path with these variables.
fn give(format: &dyn Format, content_type: &str, variables: &[(&str, &str)], body: &[u8]) -> Outcome {
    let mut request = request(content_type, body);
    let head = Arc::get_mut(&mut request.head).unwrap();
    head.variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let parsed = |text: &str| serde_json::from_str(text).unwrap_or(Json::Null);
    let taken = match format.read(request) {
        Err(answer) => {
            let (status, text) = said(answer);
            return Outcome { status, answer: parsed(&text), events: Vec::new(), dropped: 0, refused: 0 };
        }
        Ok(taken) => taken,
    };
    let mut events = Vec::new();
    for part in taken.parts {
        match part {
            BodyPart::Lines(text) => events.extend(String::from_utf8_lossy(&text).lines().map(str::to_owned)),
            BodyPart::Json { text, frames, .. } => {
                let frame = |(from, to): &(u32, u32)| &text[*from as usize..*to as usize];
                events.extend(frames.iter().map(|f| String::from_utf8_lossy(frame(f)).into_owned()));
            }
            BodyPart::Events(batch) => events.extend(batch.iter().map(|event| {
                let mut json = Vec::new();
                event.write_json(&mut json);
                String::from_utf8(json).unwrap()
            })),
        }
    }
    let (status, text) = said((taken.answer)());
    let dropped = taken.dropped.iter().map(|d| d.1).sum();
    Outcome { status, answer: parsed(&text), events, dropped, refused: taken.refused }
}

/// Entries of a bulk answer that say no.
fn refused_items(answer: &Json) -> usize {
    let items = answer["items"].as_array().unwrap();
    items.iter().filter(|item| item.as_object().unwrap().values().any(|of| !of["error"].is_null())).count()
}

/// What a line of an action is to its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// Its document is taken.
    Takes,
    /// Its document is read, and refused with it.
    Refuses,
    /// A record of its own, refused.
    Alone,
    /// The request is refused.
    All,
}

/// Actions, and what they are to Elasticsearch 8, to Elasticsearch 9 and to OpenObserve.
const ACTIONS: &[(&str, [Line; 3])] = &[
    (r#"{"index":{"_index":"a"}}"#, [Line::Takes; 3]),
    (r#" { "create" : { "_index":"b", "_id":"1" , "routing":"x"} } "#, [Line::Takes; 3]),
    (r#"{"index":{"_index":"a"},"attempts":0}"#, [Line::Takes, Line::All, Line::Takes]),
    (r#"{"create":{"_index":"a"},"create":{"_index":"b"},"index":7}"#, [Line::Takes, Line::All, Line::Takes]),
    (r#"{"attempts":{},"index":{"_index":"a"}}"#, [Line::All, Line::All, Line::Takes]),
    (r#"{"index":{}}"#, [Line::Takes, Line::Takes, Line::Refuses]),
    (r#"{"update":{"_index":"a","_id":"1"}}"#, [Line::Refuses, Line::Refuses, Line::Takes]),
    (r#"{"delete":{"_index":"a","_id":"1"}}"#, [Line::Alone; 3]),
    (r#"{"upsert":{"_index":"a"}}"#, [Line::All, Line::All, Line::Alone]),
    (r#"{"index":"a"}"#, [Line::All, Line::All, Line::Alone]),
    (r#"{"message":"no action"}"#, [Line::All, Line::All, Line::Alone]),
    (r#"{"index":{"a":1},"message":"no action"}"#, [Line::Takes, Line::All, Line::Alone]),
    ("{}", [Line::All, Line::All, Line::Alone]),
    ("[1]", [Line::All, Line::All, Line::Alone]),
    ("null", [Line::All, Line::All, Line::Alone]),
    ("nope", [Line::All; 3]),
];

/// Documents, and whether they can be taken.
const DOCUMENTS: &[(&str, bool)] = &[
    (r#"{"n":1}"#, true),
    (r#"{"n":1}"#, true),
    (r#" {"n":1,"n":2,"index":{}} "#, true),
    ("{}", true),
    (r#"{"a":"\u00e9","b":[{}]}"#, true),
    ("[1]", false),
    ("null", false),
    ("nope", false),
    (r#"{"n":1"#, false),
];

/// A bulk body of these actions and documents, each a place in its table, with these line ends and empty lines between pairs.
fn bulk(pairs: &[(usize, usize)], reader: usize, end: &str, blank: usize) -> String {
    let mut body = String::new();
    for (n, (action, document)) in pairs.iter().enumerate() {
        let (text, kinds) = ACTIONS[*action];
        body.push_str(text);
        body.push_str(end);
        if matches!(kinds[reader], Line::Takes | Line::Refuses) {
            body.push_str(DOCUMENTS[*document].0);
            body.push_str(end);
        }
        if blank > 0 && n % blank == 0 {
            body.push_str(end);
        }
    }
    body
}

fn pairs(worse: bool) -> impl Strategy<Value = Vec<(usize, usize)>> {
    // Mostly such as do not refuse everything.
    let actions = if worse { ACTIONS.len() } else { 9 };
    let documents = if worse { DOCUMENTS.len() } else { 5 };
    prop::collection::vec((0..actions, 0..documents), 0..12)
}

proptest! {
    #[test]
    fn elasticsearch_bulk_loses_nothing(
        worse in any::<bool>(), pairs in (pairs(false), pairs(true)), newer in any::<bool>(),
        end in prop::sample::select(&["\n", "\r\n"][..]), blank in 0usize..4,
    ) {
        let pairs = if worse { pairs.1 } else { pairs.0 };
        let reader = usize::from(newer);
        let body = bulk(&pairs, reader, end, blank);
        let content_type = format!("application/vnd.elasticsearch+x-ndjson; compatible-with={}", 8 + reader);
        let outcome = give(&elasticsearch::Bulk, &content_type, &[("index", "i")], body.as_bytes());
        let kind = |p: &(usize, usize)| ACTIONS[p.0].1[reader];
        if body.is_empty() || pairs.iter().any(|p| kind(p) == Line::All) {
            prop_assert_eq!((outcome.status, outcome.events.len()), (400, 0), "{}", body);
            return Ok(());
        }
        let taken: Vec<_> = pairs.iter().filter(|p| kind(p) == Line::Takes && DOCUMENTS[p.1].1).collect();
        prop_assert_eq!(outcome.status, 200);
        prop_assert_eq!(outcome.events.len(), taken.len(), "{}", body);
        prop_assert_eq!(refused_items(&outcome.answer), pairs.len() - taken.len(), "{}", body);
        prop_assert_eq!(outcome.refused as usize, pairs.len() - taken.len());
        prop_assert_eq!(&outcome.answer["errors"], &Json::from(taken.len() < pairs.len()));
    }

    #[test]
    fn openobserve_bulk_loses_nothing(
        worse in any::<bool>(), pairs in (pairs(false), pairs(true)), end in prop::sample::select(&["\n", "\r\n"][..]), blank in 0usize..4,
        open in any::<bool>(), last_end in any::<bool>(),
    ) {
        let pairs = if worse { pairs.1 } else { pairs.0 };
        let mut body = bulk(&pairs, 2, end, blank);
        if open {
            body.push_str("{\"index\":{\"_index\":\"a\"}}");
            body.push_str(if last_end { end } else { "" });
        } else if !last_end {
            body.truncate(body.trim_end().len());
        }
        let outcome = give(&openobserve::Bulk, "application/json", &[("org", "o")], body.as_bytes());
        let kind = |p: &(usize, usize)| ACTIONS[p.0].1[2];
        let reads = |p: &(usize, usize)| matches!(kind(p), Line::Takes | Line::Refuses);
        if pairs.iter().any(|p| kind(p) == Line::All || reads(p) && !DOCUMENTS[p.1].1) {
            prop_assert_eq!((outcome.status, outcome.events.len()), (400, 0), "{}", body);
            return Ok(());
        }
        let taken = pairs.iter().filter(|p| kind(p) == Line::Takes).count();
        let refused = pairs.len() + usize::from(open) - taken;
        prop_assert_eq!(outcome.status, 200);
        prop_assert_eq!(outcome.events.len(), taken, "{}", body);
        prop_assert_eq!((refused_items(&outcome.answer), outcome.refused as usize), (refused, refused), "{}", body);
        prop_assert_eq!(&outcome.answer["errors"], &Json::from(refused > 0));
    }

    #[test]
    fn bodies_of_json_are_taken_whole_or_refused_whole(
        values in prop::collection::vec(prop::sample::select(&[
            "{\"a\":1}", "{}", "{ \"a\" : [1, {}] , \"a\":null }", "7", "null", "\"text\"", "[]", "[1,2]", "{\"a\":\"\\u0000\"}", "-1.5e3",
        ][..]), 0..8),
        form in 0usize..4, blank in any::<bool>(), bom in any::<bool>(), last_end in any::<bool>(),
        harm in prop::option::of(prop::sample::select(&["x", "{", "]", "}", ",", "\"", "\u{1}", "tru"][..])),
    ) {
        let gap = if blank { " \r\n\n" } else { "" };
        // An array stands for its elements, where it is not one itself.
        let array = form == 0;
        let elements = |v: &str| serde_json::from_str::<Json>(v).unwrap().as_array().map_or(1, Vec::len);
        let count: usize = if array { values.len() } else { values.iter().map(|v| elements(v)).sum() };
        let mut body = match form {
            0 => format!("[{}]", values.join(&format!("{gap},{gap}"))),
            1 => values.join(&format!("\n{gap}")),
            2 => values.join("\r\n"),
            _ => values.join(" "),
        };
        if last_end {
            body.push_str("\r\n");
        }
        let harmed = harm.is_some();
        if let Some(harm) = harm {
            body.push_str(harm);
        }
        if bom {
            body.insert(0, '\u{feff}');
        }
        for format in [Plain::Json, Plain::Auto] {
            let outcome = give(&format, "application/json", &[], body.as_bytes());
            if harmed {
                prop_assert_eq!((outcome.status, outcome.events.len()), (400, 0), "{}", body);
            } else {
                prop_assert_eq!((outcome.status, outcome.events.len()), (200, count), "{}", body);
                prop_assert_eq!(&outcome.answer["events"], &Json::from(count));
            }
        }
        // OpenObserve's own: what is no object is told, and counted.
        if bom || harmed {
            return Ok(());
        }
        for (logs, fits) in [(Logs::Json, array || values.len() == 1), (Logs::Multi, true)] {
            let outcome = give(&logs, "application/json", &[("stream", "s")], body.as_bytes());
            if !fits {
                continue;
            }
            let status = &outcome.answer["status"][0];
            let objects: Vec<Json> = outcome.events.iter().map(|e| serde_json::from_str(e).unwrap()).collect();
            prop_assert!(objects.iter().all(Json::is_object));
            prop_assert_eq!(outcome.status, 200, "{} {}", body, outcome.answer);
            prop_assert_eq!(status["successful"].as_u64(), Some(objects.len() as u64));
            prop_assert_eq!(status["failed"].as_u64(), Some((count - objects.len()) as u64), "{}", body);
            prop_assert_eq!(outcome.refused as usize, count - objects.len());
        }
    }

    #[test]
    fn lines_of_text_are_all_taken(
        texts in prop::collection::vec(prop::sample::select(&["one", "", " ", "{\"a\":1}", "{nope", "\u{0}x", "é\t"][..]), 0..20),
        ends in prop::collection::vec(prop::sample::select(&["\n", "\r\n"][..]), 20), last_end in any::<bool>(),
    ) {
        let mut body = String::new();
        for (n, (text, end)) in texts.iter().zip(&ends).enumerate() {
            body.push_str(text);
            if n + 1 < texts.len() || last_end {
                body.push_str(end);
            }
        }
        // A last line without an end and without text is no line.
        let count = texts.len() - usize::from(!last_end && texts.last().is_some_and(|t| t.is_empty()));
        let outcome = give(&Plain::Text, "text/plain", &[], body.as_bytes());
        prop_assert_eq!((outcome.status, outcome.events.len()), (200, count), "{:?}", body);
        prop_assert_eq!(&outcome.answer["events"], &Json::from(count));
    }

    /// A JSON request that is cut off anywhere is refused, whatever the format.
    #[test]
    fn what_is_cut_off_is_refused_whole(at in any::<prop::sample::Index>(), which in 0usize..5) {
        let logs = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"a"}},{"body":{"stringValue":"b"}}]}]}]}"#;
        let (format, body): (Box<dyn Format>, &str) = match which {
            0 => (Box::new(signals::Otlp(Signal::Logs)), logs),
            1 => (Box::new(signals::OpenObserveOtlp(Signal::Logs)), logs),
            2 => (Box::new(Plain::Json), r#"[{"a":1},{"a":2}]"#),
            3 => (Box::new(Logs::Json), r#"[{"a":1},{"a":2}]"#),
            // Without its last line's end.
            _ => (Box::new(elasticsearch::Bulk), "{\"index\":{\"_index\":\"a\"}}\n{\"a\":1}\n{\"index\":{\"_index\":\"a\"}}\n{\"a\":2}\n"),
        };
        let variables = [("stream", "s")];
        let whole = give(&*format, "application/json", &variables, body.as_bytes());
        prop_assert_eq!((whole.status, whole.events.len()), (200, 2));
        let at = 1 + at.index(body.len() - 1);
        let cut = give(&*format, "application/json", &variables, &body.as_bytes()[..at]);
        if which == 4 && body[..at].ends_with("1}\n") {
            // Nothing tells that more was to come.
            prop_assert_eq!((cut.status, cut.events.len()), (200, 1));
            return Ok(());
        }
        prop_assert_eq!((cut.status, cut.events.len(), cut.dropped), (400, 0, 0), "{}", &body[..at]);
    }
}

#[test]
fn a_body_that_is_neither_text_nor_json_is_refused() {
    let msgpack = b"\x92\xce\x6a\x0c\x3a\x00\x81\xa3log\xa5hello";
    for (content_type, body, status) in [
        ("application/octet-stream", &msgpack[..], 415),
        ("application/cbor", b"all ASCII", 415),
        ("application/x-protobuf", b"\x0a\x01x", 415),
        ("application/vnd.fancy", b"a\0b", 415),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\na\r\n--x--", 415),
        ("image/png", b"\x89PNG", 415),
        ("application/octet-stream", b"one\ntwo\tthree\r\n\x1b[1mfour", 200),
        ("application/xml", b"<a/>", 200),
        ("application/x-www-form-urlencoded", b"curl says so of any body", 200),
        ("text/csv", b"gr\xfcn", 200),
        ("", b"gr\xfcn", 200),
    ] {
        for format in [Plain::Auto, Plain::Text] {
            let outcome = give(&format, content_type, &[], body);
            assert_eq!(outcome.status, status, "{content_type} {body:?}");
            assert_eq!(outcome.events.is_empty(), status != 200, "{content_type}");
        }
    }
    // MessagePack is read where nothing else is asked for.
    let msgpack = b"\x81\xa3log\xa5hello";
    for (format, body, status) in [
        (Plain::Auto, &msgpack[..], 200),
        (Plain::Auto, b"all ASCII", 400),
        (Plain::Text, msgpack, 415),
        (Plain::Json, msgpack, 400),
    ] {
        assert_eq!(give(&format, "application/msgpack", &[], body).status, status, "{format:?} {body:?}");
    }
    // JSON is JSON where the path says so, and where it begins like it.
    assert_eq!(give(&Plain::Json, "application/octet-stream", &[], b"{}").status, 200);
    assert_eq!(give(&Plain::Auto, "application/octet-stream", &[], b"[{}]").status, 200);
}

#[test]
fn a_charset_is_read_as_such_or_refused() {
    let text = |charset: &str, body: &[u8]| {
        let outcome = give(&Plain::Auto, &format!("text/plain; charset={charset}"), &[], body);
        (outcome.status, outcome.events.join("|"))
    };
    assert_eq!(text("iso-8859-1", b"gr\xfcn\nblau"), (200, "gr\u{fc}n|blau".into()));
    assert_eq!(text("\"Windows-1252\"", b"\x80"), (200, "\u{20ac}".into()));
    assert_eq!(text("Shift_JIS", b"\x83e\x83X\x83g"), (200, "\u{30c6}\u{30b9}\u{30c8}".into()));
    assert_eq!(text("utf-16le", b"\xff\xfea\0\n\0b\0"), (200, "a|b".into()));
    assert_eq!(text("UTF-8", "\u{feff}\u{fc}".as_bytes()), (200, "\u{fc}".into()));
    assert_eq!(text("klingon", b"x").0, 415);
    let utf16: Vec<u8> = "\u{feff}\u{fc}\n".encode_utf16().flat_map(u16::to_be_bytes).collect();
    for content_type in ["text/plain", "text/plain; charset=utf-16", "text/plain; charset=latin1"] {
        assert_eq!(give(&Plain::Auto, content_type, &[], &utf16).events, ["\u{fc}"], "{content_type}");
    }
    let json = give(&Plain::Auto, "application/json; charset=latin1", &[], b"{\"a\":\"\xfc\"}");
    assert_eq!((json.status, json.events), (200, vec!["{\"a\":\"\u{fc}\"}".to_owned()]));
    // What grows beyond the limit is refused as any body that large.
    let mut large = request("text/plain; charset=windows-1252", &[0x80; 400_000]);
    large.max_event = 1 << 30;
    assert_eq!(said(Plain::Text.read(large).err().unwrap()).0, 413);
}

#[test]
fn values_behind_record_separators_are_taken() {
    let outcome = give(&Plain::Auto, "application/json-seq", &[], b"\x1e{\"a\":1}\n\x1e{\"a\":2}\n\x1e7\n");
    assert_eq!((outcome.status, outcome.events), (200, vec!["{\"a\":1}".into(), "{\"a\":2}".into(), "7".to_owned()]));
    assert_eq!(give(&Plain::Auto, "application/json-seq", &[], b"\x1e{\"a\":\"\x1e\"}\n").status, 400);
}

#[test]
fn a_client_of_version_9_is_read_as_by_version_9_unless_it_asks_for_8() {
    let status = |agent: &str, content_type: &str| {
        let body = b"{\"index\":{\"_index\":\"logs\"},\"attempts\":0}\n{\"message\":\"hello\"}\n";
        let mut request = request(content_type, body);
        Arc::get_mut(&mut request.head).unwrap().headers.insert("user-agent", agent.parse().unwrap());
        match elasticsearch::Bulk.read(request) {
            Ok(taken) => said((taken.answer)()).0,
            Err(answer) => said(answer).0,
        }
    };
    for (agent, content_type, expected) in [
        ("curl/8.5.0", "application/x-ndjson", 200),
        ("elasticsearch-js/8.19.2 (linux)", "application/vnd.elasticsearch+x-ndjson; compatible-with=8", 200),
        ("elasticsearch-py/7.17.9 (Python/3.11.2)", "application/x-ndjson", 200),
        ("elasticsearch-py/9.1.0 (Python/3.13.1)", "application/vnd.elasticsearch+x-ndjson; compatible-with=9", 400),
        ("elasticsearch-py/9.1.0 (Python/3.13.1)", "application/vnd.elasticsearch+x-ndjson; compatible-with=8", 200),
        ("elasticsearch-py/9.1.0 (Python/3.13.1)", "application/x-ndjson", 400),
    ] {
        assert_eq!(status(agent, content_type), expected, "{agent} {content_type}");
    }
}
