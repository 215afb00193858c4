#![allow(clippy::unwrap_used, clippy::print_stderr)]
use super::super::testing::{decode_line, raw_of};
use super::super::{DecodeStats, Decoder, OnDecodeError};
use super::*;
use crate::ack::Ack;
use crate::event::{Chunk, Frames};
use crate::event::{Origin, Slab};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

/// What the parser found, in the words of the cases.
fn report(raw: &[u8]) -> Json {
    let found = parse(raw);
    let text = |span: Option<Span>| span.map_or(Json::Null, |s| String::from_utf8_lossy(s.of(raw)).into());
    let mut report = json!({
        "format": match found.format {
            Format::Rfc5424 => "rfc5424",
            Format::Rfc3164 => "rfc3164",
            Format::Unknown => "unknown",
        },
        "pri": found.pri,
        "facility": found.pri.map(|p| p >> 3),
        "severity": found.pri.map(|p| p & 7),
        "version": found.version,
        "hostname": text(found.hostname),
        "appname": text(found.appname),
        "procid": text(found.procid),
        "msgid": text(found.msgid),
        "message": text(found.message),
        "timestamp": null,
        "timestamp_bsd": null,
        "structured_data": {},
    });
    match found.timestamp {
        Some(When::Exact(span)) => report["timestamp"] = text(Some(span)),
        Some(When::Local { civil, year, .. }) => {
            let mut time = format!("{:02}:{:02}:{:02}", civil.hour, civil.minute, civil.second);
            if civil.nanos > 0 {
                time.push_str(&format!(".{:03}", civil.nanos / 1_000_000));
            }
            report["timestamp_bsd"] = json!({"month": civil.month, "day": civil.day, "time": time});
            if year == Year::Written {
                report["timestamp_bsd"]["year"] = civil.year.into();
            }
        }
        Some(When::Instant(ns)) => report["timestamp_ns"] = ns.into(),
        None => {}
    }
    if let Some(span) = found.structured_data {
        let mut out = Vec::new();
        write_structured_data(span.of(raw), &mut out);
        report["structured_data"] = serde_json::from_slice(&out).unwrap();
    }
    if let Some(n) = found.cisco.message_counter {
        report["cisco"]["message_counter"] = n.into();
    }
    if let Some(n) = found.cisco.sequence {
        report["cisco"]["sequence"] = n.into();
    }
    report
}

/// Which fields differ from what a case expects, disputes allowed for.
fn differences(case: &Json, raw: &[u8]) -> Vec<String> {
    let got = report(raw);
    let mut expected = case["expected"].clone();
    let expected = expected.as_object_mut().unwrap();
    let conforms = expected.remove("conforms").is_none_or(|c| c == true);
    if let Some(text) = expected.remove("message_base64") {
        let bytes = raw_of(&json!({"m_base64": text}), "m");
        expected.insert("message".into(), String::from_utf8_lossy(&bytes).into_owned().into());
    }
    let mut wrong = Vec::new();
    let mut used = false;
    for (key, want) in expected.iter() {
        // Of a text that breaks its RFC only fields are asserted, not which grammar it broke.
        if got[key] == *want || (!conforms && key == "format") {
            continue;
        }
        let dispute = case["disputed"].as_array().into_iter().flatten().find(|d| d["field"] == **key);
        match dispute {
            Some(dispute) if dispute["also"] == got[key] || dispute["also"].is_null() => used = true,
            // Another reading of the tag or host moves where the message begins; its text may only grow.
            _ if key == "message" && used => {
                let (got, want) = (got[key].as_str().unwrap_or_default(), want.as_str().unwrap_or_default());
                if !got.ends_with(want) {
                    wrong.push(format!("{key}: {got:?}, not {want:?}"));
                }
            }
            _ => wrong.push(format!("{key}: {}, not {want}", got[key])),
        }
    }
    wrong
}

#[test]
fn messages_of_standards_vendors_and_other_receivers_are_read() {
    let Some(text) = crate::test_data::shared("syslog/messages.jsonl") else { return };
    let (mut passed, mut total) = (0, 0);
    for case in text.lines() {
        let case: Json = serde_json::from_str(case).unwrap();
        let raw = raw_of(&case, "raw");
        let mut wrong = differences(&case, &raw);
        if case["id"] == "rfc3164-5.4-3" {
            // By the letter of RFC 3164 the zone in the host's place is the host; nobody wants that.
            assert_eq!(wrong.len(), 2, "{wrong:?}");
            wrong.clear();
        }
        total += 1;
        passed += u32::from(wrong.is_empty());
        if !wrong.is_empty() {
            eprintln!("{}: {wrong:?}\n    {}", case["id"], String::from_utf8_lossy(&raw));
        }
        assert_nothing_lost(&raw);
    }
    eprintln!("syslog: {passed} of {total} messages");
    assert!(passed >= 148, "{passed} of {total}");
}

#[test]
fn what_real_clients_send_is_read() {
    let Some(text) = crate::test_data::shared("syslog/client_bytes.jsonl") else { return };
    let (mut passed, mut total) = (0, 0);
    for case in text.lines() {
        let case: Json = serde_json::from_str(case).unwrap();
        let raw = raw_of(&case, "bytes");
        // Transport framing is the source's; here it is undone by hand.
        let messages: Vec<Vec<u8>> = match case["framing"].as_str().unwrap() {
            "datagram" => vec![raw],
            "lf" => raw.strip_suffix(b"\n").unwrap().split(|c| *c == b'\n').map(<[u8]>::to_vec).collect(),
            "nul" => raw.strip_suffix(b"\0").unwrap().split(|c| *c == 0).map(<[u8]>::to_vec).collect(),
            _ => {
                let (mut rest, mut out) = (&raw[..], Vec::new());
                while let Some(at) = memchr::memchr(b' ', rest) {
                    let len: usize = std::str::from_utf8(&rest[..at]).unwrap().parse().unwrap();
                    out.push(rest[at + 1..at + 1 + len].to_vec());
                    rest = &rest[at + 1 + len..];
                }
                out
            }
        };
        let expected = case["expected"].as_array().unwrap();
        assert_eq!(messages.len(), expected.len(), "{}", case["id"]);
        for (raw, want) in messages.iter().zip(expected) {
            let wrong = differences(&json!({"expected": want}), raw);
            total += 1;
            passed += u32::from(wrong.is_empty());
            if !wrong.is_empty() {
                eprintln!("{}: {wrong:?}", case["id"]);
            }
        }
    }
    eprintln!("syslog clients: {passed} of {total} messages");
    assert!(passed >= 18, "{passed} of {total}");
}

fn decoder(zone: &str) -> SyslogDecoder {
    SyslogDecoder::new(TimestampReader::new(crate::time::Zone::parse(zone).unwrap(), Vec::new()))
}

#[test]
fn fields_have_the_names_of_the_contract() {
    let line =
        r#"<165>1 2003-10-11T22:14:15.003Z host app 4711 ID47 [a@1 x="1" ip="::1" ip="::2" y="\"q\] \z"][b] text"#;
    assert_eq!(
        decode_line(&mut decoder("UTC"), line.as_bytes()).unwrap(),
        r#"{"timestamp":"2003-10-11T22:14:15.003Z","severity":5,"facility":20,"hostname":"host","appname":"app","procid":"4711","msgid":"ID47","structured_data":{"a@1":{"x":"1","ip":["::1","::2"],"y":"\"q] \\z"},"b":{}},"message":"text"}"#
    );
    let line = "<189>105: 000104: *Mar 12 07:12:10.295: %SYS-5-CONFIG_I: Configured";
    assert_eq!(
        decode_line(&mut decoder("+02:00"), line.as_bytes()).unwrap(),
        r#"{"timestamp":"2023-03-12T05:12:10.295Z","severity":5,"facility":23,"appname":"%SYS-5-CONFIG_I","cisco":{"message_counter":105,"sequence":104},"message":"Configured"}"#
    );
    assert_eq!(decode_line(&mut decoder("UTC"), b"no header at all"), Err("no syslog header".into()));
}

/// Event, errors and drops of one message, decoded as a source does.
fn decoded(line: &str, on_error: OnDecodeError) -> (Json, DecodeStats) {
    let chunk = Chunk {
        text: Slab::from_vec(line.as_bytes().to_vec()),
        frames: Frames::Spans(vec![(0, line.len() as u32, 0)]),
        origin: Origin::of_source("s"),
        offset: 0,
        received_at: 1_700_000_000_000_000_000,
        ack: Ack::none(),
    };
    let mut stats = DecodeStats::default();
    let batch = Decoder::new(Box::new(decoder("UTC")), on_error).decode(chunk, &mut stats);
    let mut out = Vec::new();
    if !batch.is_empty() {
        batch.event(0).write_json(&mut out);
    }
    (serde_json::from_slice(&out).unwrap_or_default(), stats)
}

#[test]
fn a_header_that_is_not_read_is_said_and_counted_and_keeps_its_severity() {
    for line in [
        "<11>Okt 13 14:04:23 web-1 app[7]: hello",
        "<11>core-1 Oct 13 14:04:23 %LINK-3-UPDOWN: down",
        "<11>Feb 30 10:00:00 web-1 app: hello",
        "<11>14:04:23 web-1 app: hello",
        "<11>13-10-2023 14:04:23 web-1 app: hello",
        "<11>[13.10.2023 14:04:23] web-1 hello",
        "<11>7 - web-1 app",
        "<11>1 2023-13-13T10:00:00Z web-1 app - - - hello",
        "<11>*Mar 41 00:01:02.123 hello",
        "<11>Oct 13 14:04 web-1 app: hello",
        "<11>1697378663 web-1 app: hello",
        "<11><14>Oct 13 14:04:23 web-1 app: hello",
        "<11>Nov 31 2026 10:00:00 web-1 app: hello",
        "<11>Nov 30 2026 25:00:00 web-1 : hello",
        "<11>Nov 30 2026 10:00 web-1 app: hello",
        "<11>1796029200123 web-1 app: hello",
        "<11>30/Nov/2026:10:00:00 +0100 web-1 app: hello",
        "<11>2026-W49-1 web-1 app: hello",
    ] {
        let (event, stats) = decoded(line, OnDecodeError::Keep);
        let text = &line["<11>".len()..];
        let want = json!({"severity": 3, "facility": 1, "message": text, "decode_error": "syslog header not read"});
        assert_eq!((event, stats.errors), (want, 1), "{line}");
    }
    // All text, and right.
    for text in [
        "hello",
        "the clock shows 14:04:23",
        "app: it is 14:04:23",
        "worker 7 done at 14:04:23",
        r#"{"time":"2023-10-13T14:04:23Z","message":"hello"}"#,
        "level=info ts=2023-10-13T14:04:23Z msg=hello",
        "CEF:0|a|b|c|d|e|5|rt=Oct 13 2023 14:04:23",
        "[Login Failed]: Authentication failed",
        "7 items",
        "10.0.0.1 2 3",
        "<info> 2.4.6 released",
        "42: done",
        "",
    ] {
        let (event, stats) = decoded(&format!("<11>{text}"), OnDecodeError::Keep);
        assert_eq!((stats.errors, &event["decode_error"], &event["severity"]), (0, &Json::Null, &json!(3)), "{text}");
    }
    let (event, stats) = decoded("no header at all", OnDecodeError::Keep);
    assert_eq!((event["decode_error"].as_str(), stats.errors), (Some("no syslog header"), 1));
}

#[test]
fn a_header_that_is_not_read_is_rejected_or_dropped_where_that_is_set() {
    let line = "<11>Okt 13 14:04:23 web-1 app[7]: hello";
    let (event, stats) = decoded(line, OnDecodeError::Reject);
    assert_eq!(event, json!({"severity": 3, "facility": 1, "message": &line[4..]}));
    assert_eq!(stats.rejects, [(0, "syslog header not read")]);
    let (event, stats) = decoded(line, OnDecodeError::Drop);
    assert_eq!((event, stats.errors, stats.dropped), (Json::Null, 1, 1));
}

#[test]
fn words_give_severity_and_facility_only_where_there_is_no_priority() {
    let event = |line: &str| decoded(line, OnDecodeError::Keep).0;
    let of = |line: &str| (event(line)["severity"].as_u64(), event(line)["facility"].as_u64());
    assert_eq!(of("Oct 13 14:04:23 web-1 err tmm[7]: x"), (Some(3), None));
    assert_eq!(of("Oct 13 14:04:23 <local7.err> web-1 tmm[7]: x"), (Some(3), Some(23)));
    assert_eq!(of("<30>Oct 13 14:04:23 <local7.err> web-1 tmm[7]: x"), (Some(6), Some(3)));
    // A level that says something else than the priority stays in the text.
    assert_eq!(event("<30>Oct 13 14:04:23 web-1 err tmm[7]: x")["message"], "err tmm[7]: x");
    assert_eq!(event("<27>Oct 13 14:04:23 web-1 err tmm[7]: x")["message"], "x");
}

#[test]
fn no_host_is_made_of_a_year_a_zone_or_english() {
    for line in [
        "<13>Oct 13 14:04:23 2023 hello there",
        "<13>Oct 13 14:04:23 UTC hello",
        "<13>Oct 13 14:04:23 CEST: hello there",
        "<13>Oct 13 2023 14:04:23 EST: %ASA-6-302013: Built",
        "<13>Oct 13 14:04:23 Failed password for root",
        "<13>Oct 13 14:04:23 last message repeated 2 times",
        "<13>Oct 13 14:04:23 message repeated 2 times: [ x]",
        "<13>Oct 13 14:04:23 Message forwarded to nobody",
        "<13>7: Oct 13 14:04:23.1 NZST: %SYS-5-X: text",
        "<13>Oct 13 14:04:23 user.info hello",
    ] {
        let host = &decoded(line, OnDecodeError::Keep).0["hostname"];
        // `hello` is one: nothing tells it from a name.
        assert!(host.is_null() || host == "hello", "{line}: {host}");
    }
}

#[test]
fn the_year_is_the_latest_that_does_not_lie_ahead() {
    // Received on 2023-11-14.
    let zone = crate::time::Zone::UTC;
    let now = 1_700_000_000_000_000_000;
    let time = |text: &str, now: i64| match parse(text.as_bytes()).timestamp {
        Some(When::Local { civil, year, zone: written }) => {
            instant(&zone, &civil, year, written, now).map(|ns| crate::time::Civil::from_ns(ns).year)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(time("<1>Nov 14 00:00:00 h a: b", now), Some(2023));
    assert_eq!(time("<1>Dec 31 23:59:59 h a: b", now), Some(2022));
    assert_eq!(time("<1>Feb 29 00:00:00 h a: b", now), Some(2020));
    assert_eq!(time("<1>Nov 15 00:00:00 1999 h a: b", now), Some(1999));
    // 2023-12-31T23:59:50: a clock some seconds ahead writes January.
    assert_eq!(time("<1>Jan  1 00:00:01 h a: b", 1_704_067_190_000_000_000), Some(2024));
}

#[test]
fn the_minute_before_helps_and_never_misleads() {
    let mut one = decoder("Europe/Berlin");
    let line = |text: &str| format!("<13>{text} h a: b");
    let written = |decoder: &mut SyslogDecoder, text: &str, now: i64| {
        let line = line(text);
        let mut batch = Batch::new(Slab::from_vec(line.clone().into_bytes()), Origin::of_source("s"), now, Ack::none());
        decoder.decode(&mut batch, 0, line.len(), 0).unwrap();
        let mut out = Vec::new();
        batch.event(0).write_json(&mut out);
        serde_json::from_slice::<Json>(&out).unwrap()["timestamp"].clone()
    };
    const DAY: i64 = 86_400 * 1_000_000_000;
    let start = 1_700_000_000_000_000_000;
    // The same minute again, over its hour that is there twice, by seconds that go back, and a year later.
    for days in [0, 0, 1, 300, 361, 362, 363, 364, 365, 366, 367, 368, 730, 731, 0] {
        for text in [
            "Nov 14 10:00:00",
            "Nov 14 10:00:59",
            "Nov 14 10:00:01.5",
            "Nov 14 10:00:01 2021",
            "Nov 14 10:00:02 EST",
            "Nov 14 10:01:00",
            "Oct 29 02:30:00",
            "Oct 29 02:30:59",
            "Feb 29 10:00:00",
            "Feb 29 10:00:01",
            "Nov 16 23:59:58",
            "Nov 16 23:59:59",
        ] {
            let now = start + days * DAY;
            assert_eq!(
                written(&mut one, text, now),
                written(&mut decoder("Europe/Berlin"), text, now),
                "{text} {days}"
            );
        }
    }
    let now = start + 2 * DAY;
    for step in 0..200 {
        let now = now + (step - 100) * 1_000_000_000;
        assert_eq!(
            written(&mut one, "Nov 18 22:13:20", now),
            written(&mut decoder("Europe/Berlin"), "Nov 18 22:13:20", now),
            "{step}"
        );
    }
}

#[test]
fn other_vendors_are_read_as_far_as_they_go() {
    for (raw, want) in [
        (
            "<166>2020-05-22T14:59:09.250Z esxi01.lab Hostd: info hostd[2099] [Originator@6876 sub=Vim] ok",
            json!({"hostname": "esxi01.lab", "appname": "Hostd", "message": "info hostd[2099] [Originator@6876 sub=Vim] ok"}),
        ),
        (
            "<166>Oct 10 2018 12:34:56 asa1 : %ASA-6-302013: Built outbound",
            json!({"hostname": "asa1", "appname": "%ASA-6-302013", "message": "Built outbound"}),
        ),
        (
            "<166>Oct 10 2018 12:34:56: %ASA-6-302013: Built outbound",
            json!({"hostname": null, "appname": "%ASA-6-302013", "message": "Built outbound"}),
        ),
        (
            "<187>45: sw1: Apr 11 10:02:08.123 CEST: %LINK-3-UPDOWN: down",
            json!({"hostname": "sw1", "appname": "%LINK-3-UPDOWN", "message": "down", "cisco": {"message_counter": 45}}),
        ),
        ("<13>Oct 11 22:14:15 h see http://x", json!({"hostname": "h", "appname": null, "message": "see http://x"})),
        ("<13>http://x", json!({"format": "unknown", "message": "http://x"})),
        ("<13>", json!({"format": "unknown", "pri": 13, "message": null})),
    ] {
        assert_eq!(differences(&json!({"expected": want}), raw.as_bytes()), [""; 0], "{raw}");
    }
}

/// Every byte but blanks, and the marks that the grammar gives a meaning, is in some field.
fn assert_nothing_lost(raw: &[u8]) {
    let found = parse(raw);
    let mut covered = vec![false; raw.len()];
    let when = match found.timestamp {
        Some(When::Exact(span)) => Some(span),
        _ => None,
    };
    for span in [when, found.hostname, found.appname, found.procid, found.msgid, found.structured_data, found.message] {
        let span = span.unwrap_or_default();
        assert!(span.end <= raw.len());
        covered[span.start..span.end].fill(true);
    }
    let last = covered.iter().rposition(|c| *c).map_or(0, |at| at + 1);
    // Behind the last field only line ends may stand, or the `-` of what is not there.
    let tail = &raw[last..];
    if found.message.is_some() {
        assert!(tail.iter().all(|c| c.is_ascii_whitespace() || *c == 0), "{:?}", String::from_utf8_lossy(raw));
    }
}

proptest! {
    #[test]
    fn no_message_panics_or_loses_text(
        raw in "(<[0-9]{1,3}>)?(1 |2003-10-11T22:14:15Z |Oct 11 22:14:15( |: | : )|- |h |h: |a\\[1\\]: |\\[i x=\"1\"\\]|[0-9]{1,3}: |\\*|\\.|%A-1-B: |RP/0/R/C:|CLC 6/0: |AM.1 |EST |user.info |<3.6> |err |\\[a:b:info\\]: |00179 |CEF:0|\\[10.0.0.1\\] |13w1d: |\t|date=2023-10-15 time=14:04:23 |\\PC|[ :\\[\\]\"\\\\]){0,12}"
    ) {
        assert_nothing_lost(raw.as_bytes());
        decode_line(&mut decoder("UTC"), raw.as_bytes()).ok();
    }

    #[test]
    fn a_well_formed_message_gives_back_its_fields(
        pri in 0u8..=191, host in "[a-z][a-z0-9.-]{0,20}", app in "[a-zA-Z][a-zA-Z/._]{0,19}", pid in "[0-9]{1,5}",
        value in "\\PC{0,20}", message in "[!-~][ -~]{0,40}",
    ) {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace(']', "\\]");
        let raw = format!("<{pri}>1 2003-10-11T22:14:15.003Z {host} {app} {pid} - [a@1 b=\"{escaped}\"] {message}");
        let got = report(raw.as_bytes());
        prop_assert_eq!(&got["hostname"], &host);
        prop_assert_eq!(&got["structured_data"]["a@1"]["b"], &value);
        prop_assert_eq!(&got["message"], &message);
        let raw = format!("<{pri}>Oct 11 22:14:15 {host} {app}[{pid}]: {message}");
        let got = report(raw.as_bytes());
        for (key, want) in [("hostname", &host), ("appname", &app), ("procid", &pid), ("message", &message)] {
            prop_assert_eq!(&got[key], want, "{}", raw);
        }
    }
}
