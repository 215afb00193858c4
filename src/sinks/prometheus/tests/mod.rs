#![allow(clippy::unwrap_used, clippy::float_cmp, clippy::print_stderr)]
mod checker;
mod pushing;

use super::push::{Heirless, Snapshot, Which};
use super::sample::Format;
use super::*;
use crate::ack::{Ack, Settled, Verdict};
use crate::buffer::{FullPolicy, Queue, QueueSender};
use crate::decoding::{DecodeStats, Decoder, JsonDecoder, OnDecodeError};
use crate::event::{Batch, EventKind, Origin, Slab, Sym};
use crate::event::{Chunk, Frames};
use crate::settings::ProcessEnvironment;
use crate::telemetry::Health;
use crate::telemetry::{ComponentKind, Counters};
use crate::time::parse_rfc3339;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::Instant;

fn config(yaml: &str) -> PrometheusConfig {
    let (config, report) = crate::settings::read_text::<PrometheusConfig>("t.yaml", yaml, &ProcessEnvironment);
    let mut report = report;
    let config = config.unwrap_or_else(|| panic!("{}", report.render()));
    config.check(&mut Reader::new(&mut report.sources, &mut report.diagnostics));
    assert!(!report.diagnostics.has_errors(), "{}", report.render());
    config
}

fn mistakes(yaml: &str) -> String {
    let (config, mut report) = crate::settings::read_text::<PrometheusConfig>("t.yaml", yaml, &ProcessEnvironment);
    if let Some(config) = config {
        config.check(&mut Reader::new(&mut report.sources, &mut report.diagnostics));
    }
    report.render()
}

fn batch(lines: &str, kind: EventKind, ack: Ack) -> Batch {
    let chunk = Chunk {
        text: Slab::from_vec(lines.as_bytes().to_vec()),
        frames: Frames::Lines { start: 0, end: lines.len() },
        origin: Origin::of_source("s"),
        offset: 0,
        received_at: 0,
        ack,
    };
    let mut batch =
        Decoder::new(Box::new(JsonDecoder::default()), OnDecodeError::Keep).decode(chunk, &mut DecodeStats::default());
    for row in 0..batch.rows() {
        let event = batch.event(row);
        let time = event.field(Sym::TIMESTAMP).and_then(|v| v.as_str()).and_then(|s| parse_rfc3339(s.bytes));
        let mut event = batch.event_mut(row);
        event.set_kind(kind);
        // As every source of metrics does.
        time.into_iter().for_each(|stamp| event.set_time(stamp.ns));
    }
    batch
}

/// Collector and registry without thread and server.
struct Setup {
    collector: Collector,
    registry: Mutex<Registry>,
    now: u64,
}

impl Setup {
    fn new(yaml: &str) -> Setup {
        let config = config(&format!("listen: 127.0.0.1:0\n{yaml}"));
        let mut registry = Registry::new(config.max_series, config.expire_after.map(window_ns));
        let metrics = config.metrics.into_iter().map(MetricConfig::options).collect();
        let collector = Collector::new(metrics, event_defaults(), &mut registry).unwrap();
        Setup { collector, registry: Mutex::new(registry), now: 0 }
    }

    fn logs(&mut self, lines: &str) -> collect::Outcome {
        self.collector.batch(&batch(lines, EventKind::Log, Ack::none()), &self.registry, self.now)
    }

    fn metrics(&mut self, lines: &str) -> collect::Outcome {
        self.collector.batch(&batch(lines, EventKind::Metric, Ack::none()), &self.registry, self.now)
    }

    /// The page in both formats, both found to be good.
    fn pages(&self) -> (String, String) {
        let mut registry = self.registry.lock().unwrap();
        registry.age(self.now);
        let page = |format| {
            let mut out = Vec::new();
            page::write(&registry, format, &mut out);
            String::from_utf8(out).unwrap()
        };
        let (text, open) = (page(Format::Text), page(Format::OpenMetrics));
        let of_text = checker::check(&text, false).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let of_open = checker::check(&open, true).unwrap_or_else(|e| panic!("{e}\n{open}"));
        let names = |samples: &[checker::Sample]| samples.iter().map(|s| s.0.clone()).collect::<Vec<_>>();
        if !text.contains("le=\"-") {
            assert_eq!(names(&of_text), names(&of_open), "the same series in both");
        }
        (text, open)
    }

    fn text(&self) -> String {
        self.pages().0
    }
}

#[test]
fn the_checker_agrees_with_the_openmetrics_cases() {
    let shared = std::env::var_os("TIDEGATE_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let Ok(cases) = std::fs::read_to_string(shared.join("data/metrics/openmetrics_cases.jsonl")) else {
        eprintln!("skipped: {} is not there", shared.display());
        return;
    };
    let mut wrong = Vec::new();
    let mut all = 0;
    for line in cases.lines() {
        let case: serde_json::Value = serde_json::from_str(line).unwrap();
        let result = checker::check(case["text"].as_str().unwrap(), true);
        all += 1;
        if result.is_ok() != case["should_parse"].as_bool().unwrap() {
            wrong.push(format!("{}: {:?}", case["id"], result.err()));
        }
    }
    assert!(wrong.is_empty() && all >= 43, "{} of {all}: {wrong:#?}", all - wrong.len());
}

#[test]
fn the_four_types_are_counted_from_log_events() {
    let mut bench = Setup::new(
        r#"metrics:
- {name: app_events_total, type: counter, labels: {service: "{{ service }}", level: "{{ level }}"}, description: "events\n\"all\""}
- {name: app_bytes_total, type: counter, value: bytes}
- {name: app_queue, type: gauge, value: q.depth}
- {name: app_duration_ms, type: histogram, value: duration, buckets: [10, 50, 100.5]}
- {name: app_size, type: summary, value: bytes, quantiles: [0.5, 1], labels: {service: "{{ service }}"}}
"#,
    );
    let outcome = bench.logs(concat!(
        "{\"service\":\"a\",\"level\":\"INFO\",\"duration\":10,\"bytes\":100,\"q\":{\"depth\":3}}\n",
        "{\"service\":\"a\",\"level\":\"INFO\",\"duration\":\"11.5\",\"bytes\":-5,\"q\":{\"depth\":2.5}}\n",
        "{\"service\":\"b\",\"duration\":1e3,\"bytes\":\"many\"}\n",
    ));
    // Bytes: -5 for the counter, "many" for counter and summary; one without q.
    assert_eq!((outcome.no_value, outcome.full, outcome.refused.len()), (4, 0, 0));
    let (text, open) = bench.pages();
    assert_eq!(
        text,
        r##"# HELP app_bytes_total Sum of the field bytes.
# TYPE app_bytes_total counter
app_bytes_total 100
# HELP app_duration_ms Values of the field duration.
# TYPE app_duration_ms histogram
app_duration_ms_bucket{le="10"} 1
app_duration_ms_bucket{le="50"} 2
app_duration_ms_bucket{le="100.5"} 2
app_duration_ms_bucket{le="+Inf"} 3
app_duration_ms_sum 1021.5
app_duration_ms_count 3
# HELP app_events_total events\n"all"
# TYPE app_events_total counter
app_events_total{service="a",level="INFO"} 2
app_events_total{service="b",level=""} 1
# HELP app_queue Last value of the field q.depth.
# TYPE app_queue gauge
app_queue 2.5
# HELP app_size Values of the field bytes.
# TYPE app_size summary
app_size{service="a",quantile="0.5"} -5
app_size{service="a",quantile="1"} 100
app_size_sum{service="a"} 95
app_size_count{service="a"} 2
"##
    );
    assert!(open.contains("# TYPE app_events counter\n") && open.contains("\\\"all\\\""));
    assert!(open.contains("app_duration_ms_bucket{le=\"10.0\"} 1\n") && open.ends_with("# EOF\n"));
}

#[test]
fn sampled_events_weigh_as_many_as_they_stand_for() {
    let mut bench = Setup::new(
        "metrics:\n- {name: n, type: counter}\n- {name: b, type: counter, value: x}\n- {name: g, type: gauge, value: x}\n- {name: h, type: histogram, value: x, buckets: [5]}\n- {name: s, type: summary, value: x, quantiles: [0.5]}\n",
    );
    bench
        .logs("{\"x\":2,\"sample_rate\":0.1}\n{\"x\":8,\"sample_rate\":0.3}\n{\"x\":1}\n{\"x\":1,\"sample_rate\":7}\n");
    let text = bench.text();
    for line in [
        "n 15.333333333333334",
        "b 48.66666666666667",
        "g 1",
        "h_bucket{le=\"5\"} 12",
        "h_bucket{le=\"+Inf\"} 15",
        "h_sum 48.66666666666667",
        "h_count 15",
        "s_count 15",
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line} in\n{text}");
    }
}

#[test]
fn hostile_labels_make_a_good_page() {
    let mut bench =
        Setup::new("metrics:\n- {name: n_total, type: counter, labels: {a: \"{{ a }}\", b: \"x {{ b }}\"}}\n");
    bench.logs(concat!(
        "{\"a\":\"q\\\"uote\",\"b\":\"back\\\\slash\"}\n",
        "{\"a\":\"line\\nend } # {\",\"b\":\"é☃\"}\n",
        "{\"a\":\"\\u0000\\u001b[31m\",\"b\":{\"deep\":[1]}}\n",
        "{\"a\":null,\"b\":1.50}\n",
    ));
    let text = bench.text();
    let samples = checker::check(&text, false).unwrap();
    assert_eq!(samples.len(), 4);
    let of = |b: &str| {
        samples.iter().find(|s| s.1["b"] == b).unwrap_or_else(|| panic!("{b} in {samples:?}")).1["a"].as_str()
    };
    assert_eq!(of("x back\\slash"), "q\"uote");
    assert_eq!(of("x é☃"), "line\nend } # {");
    assert_eq!(of("x {\"deep\":[1]}"), "\0\u{1b}[31m");
    assert_eq!(of("x 1.50"), "");
}

#[test]
fn steps_of_counters_gauges_and_parts_of_histograms_add_up() {
    let mut bench = Setup::new("metrics: []\n");
    let steps = concat!(
        "{\"name\":\"hits_total\",\"type\":\"counter\",\"value\":2,\"temporality\":\"delta\"}\n",
        "{\"name\":\"open\",\"type\":\"gauge\",\"value\":-1.5,\"temporality\":\"delta\"}\n",
        "{\"name\":\"lat_bucket\",\"type\":\"histogram\",\"value\":3,\"labels\":{\"le\":\"0.5\"},\"temporality\":\"delta\"}\n",
        "{\"name\":\"all_total\",\"type\":\"counter\",\"value\":7,\"temporality\":\"cumulative\"}\n",
    );
    for _ in 0..3 {
        assert!(bench.metrics(steps).refused.is_empty());
    }
    let page = bench.text();
    for line in ["hits_total 6", "open -4.5", "lat_bucket{le=\"0.5\"} 9", "all_total 7"] {
        assert!(page.lines().any(|l| l == line), "{line} in\n{page}");
    }
}

/// A histogram of somebody else's as OTLP brings it, at so many seconds.
fn histogram(seconds: u32, bounds: &[(&str, u32)], more: &str) -> String {
    let time = format!("2026-05-04T03:02:{seconds:02}.000Z");
    let part = |suffix: &str, labels: &str, value: u32, more: &str| {
        format!(
            "{{\"name\":\"lat_seconds{suffix}\",\"value\":{value},\"type\":\"histogram\",\"labels\":{{\"zone\":\"eu\"{labels}}},\"unit\":\"seconds\",\"description\":\"Took.\",\"timestamp\":\"{time}\",\"temporality\":\"cumulative\"{more}}}\n"
        )
    };
    let mut out: String = bounds.iter().map(|(le, n)| part("_bucket", &format!(",\"le\":\"{le}\""), *n, "")).collect();
    out.push_str(&part("_sum", "", 7, ""));
    out + &part("_count", "", bounds.last().unwrap().1, more)
}

#[test]
fn histograms_and_summaries_of_others_are_one_metric_of_their_type() {
    let mut bench = Setup::new("metrics: []\n");
    let exemplars = r#","exemplars":[{"timestamp":"2026-05-04T03:02:01.5Z","value":0.3,"traceId":"ab","spanId":"cd"},{"timestamp":"2026-05-04T03:02:00.5Z","value":0.2,"traceId":"old"},{"value":70,"attributes":{"user":"é"}}]"#;
    // In an order that none of the formats has.
    bench.metrics("{\"name\":\"zz\",\"value\":1}\n{\"name\":\"rpc_count\",\"type\":\"summary\",\"value\":4}\n");
    bench.metrics(&histogram(1, &[("10", 2), ("0.5", 1), ("+Inf", 3)], exemplars));
    bench.metrics(concat!(
        "{\"name\":\"rpc\",\"type\":\"summary\",\"value\":9,\"labels\":{\"quantile\":\"0.99\"}}\n",
        "{\"name\":\"rpc\",\"type\":\"summary\",\"value\":5,\"labels\":{\"quantile\":\"0.5\"}}\n",
        "{\"name\":\"rpc_sum\",\"type\":\"summary\",\"value\":20}\n",
        "{\"name\":\"rpc_created\",\"type\":\"summary\",\"value\":1700000000.5}\n",
        "{\"name\":\"hits_total\",\"type\":\"counter\",\"value\":3,\"exemplars\":[{\"labels\":{\"trace_id\":\"x\"},\"value\":1,\"timestamp\":\"1970-01-01T00:00:01.000Z\"}]}\n",
    ));
    let (text, open) = bench.pages();
    let histogram = |one: &str, ten: &str, exemplars: [&str; 2]| {
        format!(
            "lat_seconds_bucket{{zone=\"eu\",le=\"{one}\"}} 1{}\nlat_seconds_bucket{{zone=\"eu\",le=\"{ten}\"}} 2\nlat_seconds_bucket{{zone=\"eu\",le=\"+Inf\"}} 3{}\nlat_seconds_sum{{zone=\"eu\"}} 7\nlat_seconds_count{{zone=\"eu\"}} 3\n",
            exemplars[0], exemplars[1]
        )
    };
    let summary = "rpc{quantile=\"0.5\"} 5\nrpc{quantile=\"0.99\"} 9\nrpc_sum 20\nrpc_count 4\n";
    assert_eq!(
        text,
        format!(
            "# TYPE hits_total counter\nhits_total 3\n# HELP lat_seconds Took.\n# TYPE lat_seconds histogram\n{}# TYPE rpc summary\n{summary}# TYPE rpc_created gauge\nrpc_created 1700000000.5\n# TYPE zz gauge\nzz 1\n",
            histogram("0.5", "10", ["", ""])
        )
    );
    let shown = [" # {trace_id=\"ab\",span_id=\"cd\"} 0.3 1777863721.500000000", " # {user=\"é\"} 70"];
    assert_eq!(
        open,
        format!(
            "# TYPE hits counter\nhits_total 3 # {{trace_id=\"x\"}} 1 1.000000000\n# HELP lat_seconds Took.\n# TYPE lat_seconds histogram\n# UNIT lat_seconds seconds\n{}# TYPE rpc summary\n{summary}rpc_created 1700000000.5\n# TYPE zz gauge\nzz 1\n# EOF\n",
            histogram("0.5", "10.0", shown)
        )
    );
    let bad = bench
        .metrics("{\"name\":\"a_bucket\",\"type\":\"histogram\",\"value\":3,\"labels\":{\"x\":\",le=\\\"1\\\"\"}}\n");
    assert_eq!(bad.refused[0].1, "a bucket has no bound (the label `le`)");
}

#[test]
fn bounds_that_a_histogram_has_no_more_leave() {
    let mut bench = Setup::new("metrics: []\n");
    let bounds = |bench: &Setup| -> Vec<String> {
        let text = bench.text();
        let of = |line: &str| Some(line.split_once("le=\"")?.1.split_once('"')?.0.to_owned());
        text.lines().filter_map(of).collect()
    };
    bench.metrics(&histogram(1, &[("1", 1), ("1.41", 2), ("2", 3), ("+Inf", 3)], ""));
    assert_eq!(bounds(&bench), ["1", "1.41", "2", "+Inf"]);
    // The scale is halved.
    bench.metrics(&histogram(2, &[("1", 1), ("2", 4), ("4", 5), ("+Inf", 5)], ""));
    assert_eq!(bounds(&bench), ["1", "2", "4", "+Inf"]);
    // Series of a scrape come one by one: a bound that is late by one is still there.
    let scraped = |text: String| text.replace(",\"temporality\":\"cumulative\"", "");
    bench.metrics(&scraped(histogram(3, &[("1", 2), ("+Inf", 6)], "")));
    assert_eq!(bounds(&bench), ["1", "2", "4", "+Inf"]);
    bench.metrics(&scraped(histogram(4, &[("1", 2), ("+Inf", 6)], "")));
    assert_eq!(bounds(&bench), ["1", "+Inf"]);
    bench.metrics(&histogram(5, &[("1", 2), ("2", 6), ("+Inf", 6)], ""));
    assert_eq!(bounds(&bench), ["1", "2", "+Inf"], "one that comes again is shown again");
    // Steps have what they add to.
    let steps = |text: String| text.replace("cumulative", "delta");
    for seconds in 6..9 {
        bench.metrics(&steps(histogram(seconds, &[("1", 1), ("+Inf", 1)], "")));
    }
    assert_eq!(bounds(&bench), ["1", "2", "+Inf"]);
}

#[test]
fn a_metric_that_has_the_name_of_a_whole_takes_it_apart_and_nothing_is_lost() {
    for gauge_first in [true, false] {
        let mut bench = Setup::new("metrics: []\n");
        let mut steps =
            ["{\"name\":\"lat_seconds\",\"value\":8}\n".to_owned(), histogram(1, &[("1", 2), ("+Inf", 2)], "")];
        if !gauge_first {
            steps.reverse();
        }
        for step in steps {
            assert!(bench.metrics(&step).refused.is_empty());
        }
        let text = bench.text();
        for line in [
            "# TYPE lat_seconds gauge",
            "lat_seconds 8",
            "# TYPE lat_seconds_bucket untyped",
            "lat_seconds_count{zone=\"eu\"} 2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }
}

#[test]
fn metric_events_are_shown_as_they_are() {
    let mut bench = Setup::new("metrics: []\n");
    let outcome = bench.metrics(concat!(
        "{\"name\":\"http.requests_total\",\"type\":\"counter\",\"value\":5,\"labels\":{\"b\":\"2\",\"a.b\":\"x\",\"__z\":\"1\"},\"description\":\"all\"}\n",
        "{\"name\":\"http.requests_total\",\"type\":\"counter\",\"value\":7,\"labels\":{\"__z\":\"1\",\"a.b\":\"x\",\"b\":\"2\"}}\n",
        "{\"name\":\"hits\",\"type\":\"counter\",\"value\":2,\"temporality\":\"delta\"}\n",
        "{\"name\":\"hits\",\"type\":\"counter\",\"value\":3,\"temporality\":\"delta\"}\n",
        "{\"name\":\"temperature_celsius\",\"value\":\"-3.5\",\"unit\":\"celsius\"}\n",
        "{\"name\":\"took\",\"type\":\"histogram\",\"value\":0.2,\"labels\":{\"le\":\"mine\"}}\n",
        "{\"name\":\"their_bucket\",\"type\":\"histogram\",\"value\":3,\"labels\":{\"le\":\"0.5\"}}\n",
        "{\"name\":\"their\",\"type\":\"summary\",\"value\":3,\"labels\":{\"quantile\":\"0.5\"}}\n",
        "{\"name\":\"wait\",\"type\":\"summary\",\"value\":3}\n",
        "{\"value\":3}\n",
        "{\"name\":\"x\",\"value\":\"no\"}\n",
        "{\"name\":\"hits\",\"type\":\"gauge\",\"value\":3}\n",
        "{\"name\":\"took_sum\",\"type\":\"gauge\",\"value\":3}\n",
        "{\"name\":\"http_requests\",\"type\":\"gauge\",\"value\":3}\n",
        "{\"name\":\"neg_total\",\"type\":\"counter\",\"value\":-3}\n",
    ));
    let why: Vec<&str> = outcome.refused.iter().map(|r| r.1.as_str()).collect();
    assert_eq!(
        why,
        [
            "the metric has no name",
            "the metric has no numeric value",
            "the metric is a counter already, not a gauge",
            "the metric's name goes with `took`, which is another metric",
            "the metric's name goes with `http_requests_total`, which is another metric",
            "a counter cannot be below zero",
        ]
    );
    let (text, open) = bench.pages();
    for line in [
        "# HELP http_requests_total all",
        "http_requests_total{a_b=\"x\",b=\"2\",label__z=\"1\"} 7",
        "hits 5",
        "temperature_celsius -3.5",
        "took_bucket{le_=\"mine\",le=\"0.1\"} 0",
        "took_bucket{le_=\"mine\",le=\"0.25\"} 1",
        "# TYPE their_bucket untyped",
        "their_bucket{le=\"0.5\"} 3",
        "their{quantile=\"0.5\"} 3",
        "wait_count 1",
    ] {
        assert!(format!("\n{text}").contains(&format!("\n{line}\n")), "{line} in\n{text}");
    }
    assert!(open.contains("# UNIT temperature_celsius celsius\n"), "{open}");
    assert!(open.contains("# TYPE hits unknown\n"));
}

#[test]
fn the_end_of_a_series_takes_it_off_and_it_may_come_again() {
    let mut bench = Setup::new("");
    let histogram = |zone: &str| {
        let part = |name: &str, more: &str| {
            format!(
                "{{\"name\":\"lat{name}\",\"type\":\"histogram\",\"value\":3,\"labels\":{{{more}\"zone\":\"{zone}\"}}}}\n"
            )
        };
        ["0.5", "1", "+Inf"].map(|le| part("_bucket", &format!("\"le\":\"{le}\","))).concat()
            + &part("_sum", "")
            + &part("_count", "")
    };
    bench.metrics(concat!(
        "{\"name\":\"up\",\"type\":\"gauge\",\"value\":1,\"labels\":{\"job\":\"a\"}}\n",
        "{\"name\":\"up\",\"type\":\"gauge\",\"value\":0,\"labels\":{\"job\":\"b\"}}\n",
        "{\"name\":\"s\",\"type\":\"summary\",\"value\":2,\"labels\":{\"quantile\":\"0.5\"}}\n",
    ));
    bench.metrics(&(histogram("eu,le=\\\"x\\\"") + &histogram("us")));
    assert_eq!(bench.registry.lock().unwrap().len(), 13);
    let outcome = bench.metrics(concat!(
        "{\"name\":\"up\",\"stale\":true,\"type\":\"gauge\",\"labels\":{\"job\":\"a\"}}\n",
        "{\"name\":\"s\",\"stale\":true,\"type\":\"summary\",\"labels\":{\"quantile\":\"0.5\"}}\n",
        "{\"name\":\"lat\",\"stale\":true,\"type\":\"histogram\",\"labels\":{\"zone\":\"eu,le=\\\"x\\\"\"}}\n",
        "{\"name\":\"lat_count\",\"stale\":true,\"type\":\"histogram\",\"labels\":{\"zone\":\"us\"}}\n",
        "{\"name\":\"lat_bucket\",\"stale\":true,\"value\":null,\"type\":\"histogram\",\"labels\":{\"zone\":\"us\",\"le\":\"1\"}}\n",
        // Nobody has heard of these.
        "{\"name\":\"up\",\"stale\":true,\"type\":\"gauge\",\"labels\":{\"job\":\"c\"}}\n",
        "{\"name\":\"never\",\"stale\":true,\"type\":\"histogram\",\"labels\":{}}\n",
    ));
    assert_eq!((outcome.refused.len(), outcome.dropped), (0, 0));
    let text = bench.text();
    let series: Vec<&str> = text.lines().filter(|l| !l.starts_with('#')).collect();
    assert_eq!(
        series,
        [
            "lat_bucket{le=\"+Inf\",zone=\"us\"} 3",
            "lat_bucket{le=\"0.5\",zone=\"us\"} 3",
            "lat_sum{zone=\"us\"} 3",
            "up{job=\"b\"} 0",
        ]
    );
    assert_eq!(bench.registry.lock().unwrap().len(), 4);
    bench.metrics("{\"name\":\"up\",\"type\":\"gauge\",\"value\":1,\"labels\":{\"job\":\"a\"}}\n");
    assert!(bench.text().contains("up{job=\"a\"} 1\n"));
    // A value is a value, whatever stands beside it; neither is a mistake, as before.
    let outcome = bench.metrics("{\"name\":\"x\",\"value\":1,\"stale\":true}\n{\"name\":\"y\",\"stale\":false}\n");
    assert_eq!(outcome.refused.len(), 1);
    assert!(bench.text().contains("\nx 1\n"));
}

proptest::proptest! {
    /// Whatever comes, goes and comes again: the page has the last value of each series that has not ended.
    #[test]
    fn series_that_come_and_go_are_those_that_came_and_have_not_gone(
        steps in proptest::collection::vec((0u8..9, proptest::option::of(0u8..100)), 0..60),
    ) {
        let mut bench = Setup::new("");
        let mut model = std::collections::BTreeMap::new();
        for (series, value) in steps {
            let what = match value {
                Some(value) => format!("\"value\":{value}"),
                None => "\"stale\":true".to_owned(),
            };
            bench.metrics(&format!("{{\"name\":\"m\",{what},\"type\":\"gauge\",\"labels\":{{\"s\":\"{series}\"}}}}\n"));
            match value {
                Some(value) => _ = model.insert(format!("m{{s=\"{series}\"}}"), value.to_string()),
                None => _ = model.remove(&format!("m{{s=\"{series}\"}}")),
            }
        }
        let text = bench.text();
        let samples = text.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.split_once(' '));
        let page: std::collections::BTreeMap<String, String> = samples.map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
        proptest::prop_assert_eq!(page, model);
    }
}

#[test]
fn series_beyond_the_limit_are_counted_and_old_ones_expire() {
    let mut bench = Setup::new(
        "max_series: 3\nexpire_after: 10s\nmetrics:\n- {name: n, type: counter, labels: {a: \"{{ a }}\"}}\n",
    );
    let outcome = bench.logs("{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n{\"a\":4}\n{\"a\":1}\n{\"a\":4}\n");
    assert_eq!(outcome.full, 2);
    assert_eq!(bench.metrics("{\"name\":\"m\",\"value\":1}\n").dropped, 1);
    assert_eq!(bench.text().matches("n{").count(), 3);
    bench.now = 8_000_000_000;
    bench.logs("{\"a\":2}\n");
    bench.now = 12_000_000_000;
    let text = bench.text();
    assert_eq!(text, "# HELP n Events.\n# TYPE n counter\nn{a=\"2\"} 2\n");
    // There is room again, and those that stayed are still found.
    assert_eq!(bench.logs("{\"a\":4}\n{\"a\":2}\n").full, 0);
    assert_eq!(bench.text(), "# HELP n Events.\n# TYPE n counter\nn{a=\"2\"} 3\nn{a=\"4\"} 1\n");
    bench.now = 60_000_000_000;
    assert_eq!(bench.text(), "");
}

#[test]
fn a_summary_forgets_what_is_older_than_its_age() {
    let mut bench = Setup::new("metrics:\n- {name: s, type: summary, value: x, quantiles: [0.5], max_age: 10s}\n");
    bench.logs("{\"x\":100}\n");
    bench.now = 6_000_000_000;
    bench.logs("{\"x\":1}\n{\"x\":1}\n{\"x\":1}\n");
    bench.now = 11_500_000_000;
    assert!(bench.text().contains("s{quantile=\"0.5\"} 1\n"), "{}", bench.text());
    bench.now = 60_000_000_000;
    let text = bench.text();
    assert!(text.contains("s{quantile=\"0.5\"} NaN\ns_sum 103\ns_count 4\n"), "{text}");
}

#[test]
fn a_histogram_of_negative_values_has_no_sum_in_openmetrics() {
    let mut bench = Setup::new("metrics:\n- {name: h, type: histogram, value: x, buckets: [-1, 1]}\n");
    bench.logs("{\"x\":-1}\n{\"x\":0}\n");
    let (text, open) = bench.pages();
    assert!(text.contains("h_bucket{le=\"-1\"} 1\n") && text.contains("h_sum -1\n"));
    assert!(open.contains("h_bucket{le=\"-1.0\"} 1\n") && !open.contains("h_sum"));
}

#[test]
fn mistakes_are_found_when_the_file_is_read() {
    let all = mistakes(
        r#"listen: 127.0.0.1:0
path: metrics
metrics:
- {name: 9lives, type: counter}
- {name: a, type: gauge}
- {name: b, type: counter, labels: {__x: "1", "a-b": "2"}}
- {name: h, type: histogram, value: x, buckets: [1, 1], labels: {le: "1"}}
- {name: h_sum, type: gauge, value: x}
- {name: s, type: summary, value: x, quantiles: [1.5], buckets: [1]}
- {name: c_total, type: counter}
- {name: c, type: gauge, value: x}
- {name: c_total, type: counter}
"#,
    );
    for want in [
        "`9lives` cannot be the name of a metric",
        "a gauge needs a `value`",
        "`__x` cannot be the name of a label",
        "`a-b` cannot be the name of a label",
        "`buckets` of `h` must grow",
        "the label `le` is the histogram's own",
        "the metrics `h_sum` and `h` both need the name `h_sum`",
        "`quantiles` of `s` must lie between 0 and 1",
        "`buckets` belong to a histogram, and `s` is a summary",
        "the metrics `c` and `c_total` both need the name `c`",
        "the metric `c_total` is given twice",
        "`path` is a plain path",
    ] {
        assert!(all.contains(want), "{want} in\n{all}");
    }
}

#[test]
fn the_format_is_negotiated() {
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    for (accept, want) in [
        ("", Format::Text),
        ("*/*", Format::Text),
        ("text/plain", Format::Text),
        ("application/openmetrics-text", Format::OpenMetrics),
        (prometheus, Format::OpenMetrics),
        ("application/openmetrics-text; version=1.0.0; q=0.2, text/plain; q=0.5", Format::Text),
        ("application/openmetrics-text;version=9.0.0, text/plain;q=0.1", Format::Text),
        ("application/openmetrics-text;q=0", Format::Text),
        ("text/html", Format::Text),
    ] {
        assert_eq!(Format::accepted(accept), want, "{accept}");
    }
}

#[derive(Default)]
struct Verdicts(Mutex<Vec<Verdict>>);
impl Settled for Verdicts {
    fn settled(&self, _token: u64, verdict: Verdict) {
        self.0.lock().unwrap().push(verdict);
    }
}

fn get(address: SocketAddr, path: &str, headers: &str) -> (String, Vec<u8>) {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n").unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let at = memchr::memmem::find(&all, b"\r\n\r\n").unwrap();
    (String::from_utf8(all[..at].to_vec()).unwrap().to_ascii_lowercase(), all[at + 4..].to_vec())
}

async fn fetch(address: SocketAddr, path: &'static str, headers: &'static str) -> (String, Vec<u8>) {
    tokio::task::spawn_blocking(move || get(address, path, headers)).await.unwrap()
}

fn feed(queue: &QueueSender, verdicts: &Arc<Verdicts>, lines: &str, kind: EventKind) {
    queue.send(batch(lines, kind, Ack::new(verdicts.clone(), 0)));
}

#[tokio::test]
async fn the_page_is_served_while_events_come_and_everything_is_settled() {
    let config = config(
        "listen: 127.0.0.1:0\nmetrics:\n- {name: n_total, type: counter, labels: {a: \"{{ a }}\"}}\n- {name: m_total, type: counter, labels: {a: \"{{ a }}\"}}\n",
    );
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let options = Options {
        path: config.path.value,
        metrics: config.metrics.into_iter().map(MetricConfig::options).collect(),
        expire_after: None,
        max_series: 1000,
    };
    let SinkRun::Task(run) = run_on(
        Some((
            listener,
            crate::net::sockets::shared("tcp://x:0", || Ok((std::net::TcpListener::bind("127.0.0.1:0")?, None)))
                .unwrap()
                .1,
        )),
        None,
        options,
    )
    .unwrap() else {
        panic!("a task")
    };
    let counters = Counters::new("stats", ComponentKind::Sink, "prometheus");
    let queue = Queue::new(8 << 20, FullPolicy::Block, counters.clone());
    let sender = queue.sender();
    let input = Input {
        queue,
        counters: counters.clone(),
        dead_letter: None,
        abort: CancellationToken::new(),
        shutdown_allowed: None,
        successors: Default::default(),
        health: Arc::new(Health::default()),
        report: Default::default(),
        reader: 0,
        succession: Default::default(),
        call: Default::default(),
        requests: Default::default(),
    };
    let task = tokio::spawn(run(input));
    let verdicts = Arc::new(Verdicts::default());
    let feeder = {
        let verdicts = verdicts.clone();
        tokio::task::spawn_blocking(move || {
            let lines: String = (0..100).map(|n| format!("{{\"a\":{n}}}\n")).collect();
            for _ in 0..200 {
                feed(&sender, &verdicts, &lines, EventKind::Log);
            }
            feed(&sender, &verdicts, "{\"name\":\"bad\"}\n{\"name\":\"good\",\"value\":1}\n", EventKind::Metric);
            sender
        })
    };
    // While it counts, every page is of whole batches: each of a page's series of both metrics has the same count.
    for _ in 0..20 {
        let (head, body) = fetch(address, "/metrics", "Accept: application/openmetrics-text; version=1.0.0\r\n").await;
        assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
        let samples = checker::check(&String::from_utf8(body).unwrap(), true).unwrap();
        let counts: std::collections::HashSet<u64> =
            samples.iter().filter(|s| s.0 != "good").map(|s| s.2 as u64).collect();
        assert!(counts.len() <= 1, "{counts:?}");
    }
    let sender = feeder.await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while verdicts.0.lock().unwrap().len() < 201 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let (head, body) = fetch(address, "/metrics", "Accept-Encoding: gzip\r\n").await;
    assert!(head.contains("content-encoding: gzip") && head.contains("text/plain; version=0.0.4"), "{head}");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap();
    assert!(text.contains("\nn_total{a=\"99\"} 200\n") && text.contains("\ngood 1\n"), "{text}");
    let (head, body) = fetch(address, "/", "").await;
    assert!(head.starts_with("http/1.1 404") && body.starts_with(b"the metrics are at /metrics"));
    drop(sender);
    task.await.unwrap().unwrap();
    let totals = counters.snapshot();
    assert_eq!((totals.balance(), totals.events_out, totals.dropped["encode"]), (0, 20_001, 1));
    assert!(std::net::TcpStream::connect(address).is_err(), "the port is free again");
}

/// Label pairs of each series of a write request, and its samples: bits of the value and time.
type Pushed = (Vec<(String, String)>, Vec<(u64, i64)>);

/// Reads a `WriteRequest`, by hand and strictly.
fn read_write_request(mut body: &[u8]) -> Vec<Pushed> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut n = 0;
        for shift in (0..).step_by(7) {
            let (first, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            n |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return n;
            }
        }
        n
    }
    fn part<'a>(field: u8, bytes: &mut &'a [u8]) -> &'a [u8] {
        let (first, rest) = bytes.split_first().unwrap();
        assert_eq!(*first, field << 3 | 2);
        *bytes = rest;
        let len = varint(bytes) as usize;
        let (part, rest) = bytes.split_at(len);
        *bytes = rest;
        part
    }
    let mut all = Vec::new();
    while !body.is_empty() {
        let mut series = part(1, &mut body);
        let mut labels = Vec::new();
        while series[0] == 1 << 3 | 2 {
            let mut label = part(1, &mut series);
            let mut text = |field| String::from_utf8(part(field, &mut label).to_vec()).unwrap();
            labels.push((text(1), text(2)));
        }
        let mut samples = Vec::new();
        while !series.is_empty() {
            let mut sample = part(2, &mut series);
            assert_eq!(sample[0], 1 << 3 | 1);
            let bits = u64::from_le_bytes(sample[1..9].try_into().unwrap());
            assert_eq!(sample[9], 2 << 3);
            sample = &sample[10..];
            samples.push((bits, varint(&mut sample) as i64));
            assert!(sample.is_empty());
        }
        assert!(labels.is_sorted(), "{labels:?}");
        assert!(samples.is_sorted_by(|a, b| a.1 < b.1), "{samples:?}");
        all.push((labels, samples));
    }
    all
}

#[test]
fn a_write_request_holds_what_the_page_shows() {
    let mut bench = Setup::new(concat!(
        "metrics:\n",
        "- {name: n_total, type: counter, labels: {Z: \"{{ z }}\", a: \"{{ a }}\"}}\n",
        "- {name: h, type: histogram, value: x, buckets: [1, 2.5], labels: {a: \"{{ a }}\"}}\n",
        "- {name: s, type: summary, value: x, quantiles: [0.5]}\n",
    ));
    bench.logs("{\"a\":\"q\\\"u\\\\o\\nte,x=\\\"\",\"x\":2}\n{\"a\":\"b\",\"z\":\"1\",\"x\":-3}\n");
    let text = bench.text();
    let page = checker::check(&text, false).unwrap();
    let snapshot = {
        let mut registry = bench.registry.lock().unwrap();
        Snapshot::take(&mut registry, Which::All, 1_750_000_000_123, &mut Heirless::default(), false)
    };
    let pushed = read_write_request(snapshot.request());
    assert_eq!((pushed.len(), snapshot.len()), (page.len(), page.len()));
    for (name, shown, same) in &page {
        let mut want: Vec<(String, String)> =
            shown.iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (k.clone(), v.clone())).collect();
        want.push(("__name__".into(), name.clone()));
        want.sort();
        assert!(pushed.contains(&(want.clone(), vec![(same.to_bits(), 1_750_000_000_123)])), "{want:?} in {pushed:?}");
    }
    assert_eq!(pushed[0].0[1], ("a".to_owned(), "q\"u\\o\nte,x=\"".to_owned()));
}

#[test]
fn a_sink_that_nobody_sees_is_a_mistake() {
    assert!(mistakes("metrics: []\n").contains("neither `listen` nor `remote_write` is set"));
    let all = mistakes(
        "remote_write: {url: \"ftp://x\", interval: 0s, auth: {basic: {user: 'a:b', password: c}}, retry: {jitter: 2}}\n",
    );
    for want in [
        "must begin with `http://`",
        "must be more than 0",
        "a user's name has no `:`",
        "`retry.jitter` in `remote_write` must be from 0 to 1",
    ] {
        assert!(all.contains(want), "{want} in\n{all}");
    }
}
