//! Doors: whatever a client sends, each of its records is in the output, refused in the answer, or counted, as seen from
//! outside.

use crate::agent::{Agent, config, eventually, get, gives_reason, ledger, lines};
use crate::http::Receiver;
use serde_json::Value as Json;
use tidegate::internals::decoding::protobuf::{push_bytes, push_fixed64, push_message, push_number};

const JSON: (&str, &str) = ("content-type", "application/json");
const NDJSON_8: (&str, &str) = ("content-type", "application/vnd.elasticsearch+x-ndjson; compatible-with=8");
const NDJSON_9: (&str, &str) = ("content-type", "application/vnd.elasticsearch+x-ndjson; compatible-with=9");
const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

/// Records that an answer says were refused.
fn refused(path: &str, status: u16, body: &str, records: u64) -> u64 {
    if status >= 300 {
        return records;
    }
    let answer: Json = serde_json::from_str(body).unwrap_or(Json::Null);
    if let Some(items) = answer["items"].as_array() {
        let of_item = |item: &Json| item.as_object().unwrap().values().any(|of| !of["error"].is_null());
        return items.iter().filter(|item| of_item(item)).count() as u64;
    }
    if let Some(partial) = answer["partialSuccess"].as_object() {
        return partial.values().next().unwrap().as_str().unwrap().parse().unwrap();
    }
    let failed = answer["status"][0]["failed"].as_u64();
    assert!(failed.is_some() || !path.ends_with("_json"), "{path} {body}");
    failed.unwrap_or(0)
}

#[test]
fn every_record_is_stored_refused_in_the_answer_or_counted() {
    let receiver = Receiver::start("");
    let out = receiver.dir.path().join("out");
    let (mut sent, mut stored, mut told) = (0, 0, 0);
    // Path, content type, body, records in it, how many are stored, and the status.
    let requests: &[(&str, (&str, &str), &str, u64, u64, u16)] = &[
        ("/", JSON, "[{\"a\":1},7,null]", 3, 3, 200),
        ("/", JSON, "{\"a\":1}\r\n\r\n{\"a\":2}", 2, 2, 200),
        ("/", JSON, "\u{feff}{\"a\":1}", 1, 1, 200),
        ("/", JSON, "{\"a\":1}{\"b\":}", 2, 0, 400),
        ("/", JSON, "[{\"a\":1},{\"b\":2}", 2, 0, 400),
        ("/", ("content-type", "text/plain"), "one\n\ntwo", 3, 3, 200),
        ("/", ("content-type", "application/msgpack"), "x", 1, 0, 400),
        ("/", ("content-type", "application/msgpack"), "\u{1}", 1, 0, 400),
        ("/", ("content-type", "application/cbor"), "x", 1, 0, 415),
        ("/", ("content-type", "text/plain; charset=none-such"), "x", 1, 0, 415),
        ("/api/o/s/_json", JSON, "[{\"a\":1},7]", 2, 1, 200),
        ("/api/o/s/_json", JSON, "[{\"a\":1},{]", 2, 0, 400),
        ("/api/o/s/_multi", JSON, "{\"a\":1}\n\n7\n{\"a\":2}", 3, 2, 200),
        ("/api/o/_bulk", JSON, "{\"index\":{\"_index\":\"s\"},\"attempts\":0}\n{\"a\":1}\n", 1, 1, 200),
        ("/api/o/_bulk", JSON, "{\"a\":1}\n{\"a\":2}\n", 2, 0, 200),
        ("/api/o/_bulk", JSON, "{\"index\":{}}\n{\"a\":1}\n{\"delete\":{\"_index\":\"s\",\"_id\":\"1\"}}\n", 2, 0, 200),
        (
            "/api/o/_bulk",
            JSON,
            "{\"create\":{\"_index\":\"s\"}}\n\n{\"a\":1}\n{\"create\":{\"_index\":\"s\"}}",
            2,
            1,
            200,
        ),
        ("/_bulk", NDJSON_8, "{\"index\":{\"_index\":\"s\"},\"attempts\":0}\n{\"a\":1}\n", 1, 1, 200),
        ("/_bulk", NDJSON_9, "{\"index\":{\"_index\":\"s\"},\"attempts\":0}\n{\"a\":1}\n", 1, 0, 400),
        (
            "/s/_bulk",
            NDJSON_8,
            "{\"index\":{}}\n[1]\n{\"update\":{\"_id\":\"1\"}}\n{}\n{\"create\":{}}\n{}\n",
            3,
            1,
            200,
        ),
        ("/s/_bulk", NDJSON_8, "{\"index\":{}}\n{}\n{\"index\":{}}\n", 2, 0, 400),
        ("/v1/logs", JSON, r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{},{}]},{}]},{}],"x":1}"#, 2, 2, 200),
        ("/v1/logs", JSON, r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{}]}]}]}"#, 1, 0, 200),
        ("/v1/logs", JSON, r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{},null]}]}]}"#, 2, 0, 400),
        (
            "/v1/metrics",
            JSON,
            r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"a","gauge":{"dataPoints":[{},{"asInt":1},{"flags":1},{"asDouble":"NaN"}]}},{"name":"b"}]}]}]}"#,
            5,
            1,
            200,
        ),
        (
            "/v1/traces",
            JSON,
            r#"{"resourceSpans":[{"instrumentationLibrarySpans":[{"spans":[{}],"y":[{"z":1}]}]}]}"#,
            2,
            1,
            200,
        ),
    ];
    for (path, content_type, body, records, events, status) in requests {
        let before = lines(&out).len();
        let answer = receiver.post(path, &[*content_type], body.as_bytes());
        assert_eq!(answer.status, *status, "{path} {body}\n{}", answer.body);
        assert_eq!(lines(&out).len() - before, *events as usize, "{path} {body}");
        (sent, stored) = (sent + records, stored + events);
        told += refused(path, answer.status, &answer.body, *records);
    }
    // Remote write: a sample, its exemplar in an entry of its own, one whose series has no sample, values that are none.
    let mut request = Vec::new();
    let entry = |name: &str, values: &[f64], exemplars: usize, out: &mut Vec<u8>| {
        push_message(1, out, |out| {
            push_message(1, out, |out| {
                push_bytes(1, b"__name__", out);
                push_bytes(2, name.as_bytes(), out);
            });
            values.iter().for_each(|v| push_message(2, out, |out| push_fixed64(1, v.to_bits(), out)));
            (0..exemplars).for_each(|_| push_message(3, out, |out| push_fixed64(2, 1f64.to_bits(), out)));
        });
    };
    entry("reqs_total", &[5.0], 0, &mut request);
    entry("reqs_total", &[], 2, &mut request);
    entry("alone_total", &[], 1, &mut request);
    entry("odd", &[f64::NAN, 1.0], 0, &mut request);
    let packed = snap::raw::Encoder::new().compress_vec(&request).unwrap();
    let answer = receiver.post("/api/v1/write", &[PROTOBUF, ("content-encoding", "snappy")], &packed);
    assert_eq!(answer.status, 204);
    let with = lines(&out).iter().filter(|l| l.contains("\"exemplars\":[{") && l.contains("reqs_total")).count();
    assert_eq!(with, 1);
    // Two exemplars are in an event.
    (sent, stored) = (sent + 6, stored + 4);
    let said = receiver.agent.stop();
    let [came, _, delivered, dropped, ..] = ledger(&said)[0].1;
    assert_eq!(delivered + 2, stored);
    assert_eq!(came, delivered + dropped);
    assert_eq!(sent, stored + told + dropped, "{said}");
    assert!(gives_reason(&said, "no_sample", 1), "{said}");
}

#[test]
fn the_end_of_a_series_goes_through_to_the_page_and_no_further() {
    let dir = tempfile::tempdir().unwrap();
    config(
        dir.path(),
        "data_dir: ./data\nsources: {in: {type: http, listen: \"127.0.0.1:0\"}}\ntransforms:\n  shape: {type: normalize, inputs: [in], schema: metric}\n  \
         fit: {type: validate, inputs: [shape], schema: metric}\nsinks:\n  page: {type: prometheus, inputs: [fit], listen: \"127.0.0.1:0\"}\n  \
         out: {type: file, inputs: [fit], path: ./out}\n  bad: {type: file, inputs: [fit.rejected, shape.rejected], path: ./bad}\n",
    );
    let agent = Agent::run(dir.path(), &["--log-format", "json"]);
    let address = |component: &str| {
        let said = agent.said();
        let mut said = said.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok());
        let line = said.find(|l| l["component"] == component && l["address"].is_string())?;
        let address = line["address"].as_str().unwrap();
        Some(address.split_once("://").map_or(address, |(_, a)| a).to_owned())
    };
    eventually("both listen", || address("in").is_some() && address("page").is_some());
    let (page, receiver) = (address("page").unwrap(), Receiver { address: address("in").unwrap(), dir, agent });
    let post = |job: &str, value: f64| {
        let mut request = Vec::new();
        push_message(1, &mut request, |out| {
            for (key, text) in [("__name__", "up"), ("job", job)] {
                push_message(1, out, |out| {
                    push_bytes(1, key.as_bytes(), out);
                    push_bytes(2, text.as_bytes(), out);
                });
            }
            push_message(2, out, |out| {
                push_fixed64(1, value.to_bits(), out);
                push_number(2, 1_736_503_200_000, out);
            });
        });
        let packed = snap::raw::Encoder::new().compress_vec(&request).unwrap();
        assert_eq!(receiver.post("/api/v1/write", &[PROTOBUF], &packed).status, 204);
    };
    let shown = || {
        let text = get(&page, "/metrics").1;
        let mut series: Vec<String> = text.lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect();
        series.sort_unstable();
        series
    };
    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    post("a", 1.0);
    post("b", 1.0);
    assert_eq!(shown(), ["up{job=\"a\"} 1", "up{job=\"b\"} 1"]);
    post("a", stale);
    assert_eq!(shown(), ["up{job=\"b\"} 1"]);
    post("a", 0.0);
    assert_eq!(shown(), ["up{job=\"a\"} 0", "up{job=\"b\"} 1"]);
    let dir = receiver.dir.path().to_owned();
    assert_eq!(lines(&dir.join("out")).len(), 3);
    assert_eq!(lines(&dir.join("bad")), Vec::<String>::new());
    let said = receiver.agent.stop();
    let of = |id: &str| ledger(&said).into_iter().find(|l| l.0 == id).unwrap().1;
    assert_eq!((of("in"), of("page"), of("out")), ([4, 0, 4, 0, 0, 0], [4, 0, 4, 0, 0, 0], [4, 0, 3, 1, 0, 0]));
    assert!(gives_reason(&said, "stale", 1), "{said}");
}

/// One histogram, in both forms, and a summary as OTLP has them, at so many seconds; the exponential one of this scale.
fn otlp_metrics(seconds: u32, scale: i32, counts: &[u32]) -> String {
    let times =
        format!("\"timeUnixNano\":\"17365032{seconds:02}000000000\",\"startTimeUnixNano\":\"1736503200000000000\"");
    let exemplar = "\"exemplars\":[{\"timeUnixNano\":\"1736503200500000000\",\"asDouble\":1.5,\"traceId\":\"0af7651916cd43dd8448eb211c80319c\",\"spanId\":\"b7ad6b7169203331\"}]";
    let count: u32 = counts.iter().sum();
    let buckets = format!("{{\"offset\":0,\"bucketCounts\":{counts:?}}}");
    format!(
        "{{\"resourceMetrics\":[{{\"scopeMetrics\":[{{\"metrics\":[\
         {{\"name\":\"lat\",\"unit\":\"s\",\"description\":\"d\",\"histogram\":{{\"aggregationTemporality\":2,\"dataPoints\":[{{{times},\"count\":\"3\",\"sum\":6.5,\"bucketCounts\":[1,1,1],\"explicitBounds\":[1,2],{exemplar}}}]}}}},\
         {{\"name\":\"exp\",\"exponentialHistogram\":{{\"aggregationTemporality\":2,\"dataPoints\":[{{{times},\"count\":\"{count}\",\"sum\":6.5,\"scale\":{scale},\"positive\":{buckets}}}]}}}},\
         {{\"name\":\"rpc\",\"summary\":{{\"dataPoints\":[{{{times},\"count\":\"4\",\"sum\":20,\"quantileValues\":[{{\"quantile\":0.99,\"value\":9}},{{\"quantile\":0.5,\"value\":5}}]}}]}}}}]}}]}}]}}"
    )
}

#[test]
fn histograms_and_summaries_stand_on_the_page_as_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    config(
        dir.path(),
        "data_dir: ./data\nsources: {in: {type: http, listen: \"127.0.0.1:0\"}}\nsinks: {page: {type: prometheus, inputs: [in], listen: \"127.0.0.1:0\"}}\n",
    );
    let agent = Agent::run(dir.path(), &["--log-format", "json"]);
    let address = |component: &str| {
        let said = agent.said();
        let mut said = said.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok());
        let line = said.find(|l| l["component"] == component && l["address"].is_string())?;
        let address = line["address"].as_str().unwrap();
        Some(address.split_once("://").map_or(address, |(_, a)| a).to_owned())
    };
    eventually("both listen", || address("in").is_some() && address("page").is_some());
    let (page, receiver) = (address("page").unwrap(), Receiver { address: address("in").unwrap(), dir, agent });
    let send = |body: String| {
        let answer = receiver.post("/v1/metrics", &[("content-type", "application/json")], body.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    let of = |text: &str, name: &str| -> Vec<String> {
        text.lines().filter(|l| l.trim_start_matches("# TYPE ").starts_with(name)).map(str::to_owned).collect()
    };
    send(otlp_metrics(1, 1, &[1, 2, 3]));
    let text = get(&page, "/metrics").1;
    crate::contract::promtool_accepts("histograms and summaries of OTLP", &text, &[0, 3]);
    assert_eq!(
        of(&text, "lat"),
        [
            "# TYPE lat histogram",
            "lat_bucket{le=\"1\"} 1",
            "lat_bucket{le=\"2\"} 2",
            "lat_bucket{le=\"+Inf\"} 3",
            "lat_sum 6.5",
            "lat_count 3"
        ]
    );
    assert_eq!(
        of(&text, "rpc"),
        ["# TYPE rpc summary", "rpc{quantile=\"0.5\"} 5", "rpc{quantile=\"0.99\"} 9", "rpc_sum 20", "rpc_count 4"]
    );
    let bounds =
        |text: &str| of(text, "exp_bucket").iter().map(|l| l.split('"').nth(1).unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(bounds(&text), ["1", "1.4142135623730951", "2", "2.8284271247461903", "+Inf"]);
    let open = crate::agent::get_with(&page, "/metrics", "accept: application/openmetrics-text\r\n").1;
    let exemplar = r#"lat_bucket{le="2.0"} 2 # {trace_id="0af7651916cd43dd8448eb211c80319c",span_id="b7ad6b7169203331"} 1.5 1736503200.500000000"#;
    assert!(open.lines().any(|l| l == exemplar), "{open}");
    assert!(open.ends_with("# EOF\n") && open.contains("# TYPE exp histogram\n"), "{open}");
    // With half the scale, what was between the bounds is gone.
    send(otlp_metrics(2, 0, &[3, 4]));
    let text = get(&page, "/metrics").1;
    assert_eq!(bounds(&text), ["1", "2", "4", "+Inf"]);
    crate::contract::promtool_accepts("an exponential histogram that changed its scale", &text, &[0, 3]);
    // Parts that remote write brings, with the types that it tells.
    let series = |out: &mut Vec<u8>, labels: &[(&str, &str)], value: f64| {
        push_message(1, out, |out| {
            for (key, text) in labels {
                push_message(1, out, |out| {
                    push_bytes(1, key.as_bytes(), out);
                    push_bytes(2, text.as_bytes(), out);
                });
            }
            push_message(2, out, |out| {
                push_fixed64(1, value.to_bits(), out);
                push_number(2, 1_736_503_200_000, out);
            });
        });
    };
    let mut request = Vec::new();
    series(&mut request, &[("__name__", "pushed_count")], 7.0);
    series(&mut request, &[("__name__", "pushed_bucket"), ("le", "+Inf")], 7.0);
    series(&mut request, &[("__name__", "pushed_bucket"), ("le", "0.5")], 3.0);
    series(&mut request, &[("__name__", "pushed_sum")], 4.5);
    push_message(3, &mut request, |out| {
        push_number(1, 3, out);
        push_bytes(2, b"pushed", out);
        push_bytes(4, b"Help.", out);
    });
    let packed = snap::raw::Encoder::new().compress_vec(&request).unwrap();
    assert_eq!(receiver.post("/api/v1/write", &[PROTOBUF], &packed).status, 204);
    let text = get(&page, "/metrics").1;
    assert!(text.contains("# HELP pushed Help.\n"), "{text}");
    assert_eq!(
        of(&text, "pushed"),
        [
            "# TYPE pushed histogram",
            "pushed_bucket{le=\"0.5\"} 3",
            "pushed_bucket{le=\"+Inf\"} 7",
            "pushed_sum 4.5",
            "pushed_count 7"
        ]
    );
    receiver.agent.stop();
}
