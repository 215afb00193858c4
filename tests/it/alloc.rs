//! Zero heap allocations per event in steady state, counted by the allocator itself.

use crate::corpus;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};
use tidegate::internals::ack::{Ack, Verdict};
use tidegate::internals::component::{Chunk, Frames};
use tidegate::internals::config::{ProcessEnvironment, built_in, load_texts};
use tidegate::internals::event::{Origin, Slab};
use tidegate::internals::topology;

struct Counting;

/// Bytes that are allocated and not freed, in all threads.
static LIVE: AtomicI64 = AtomicI64::new(0);

/// What is alive on the heap of this process, in bytes.
pub(crate) fn live_bytes() -> i64 {
    LIVE.load(Ordering::Relaxed)
}

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes on to the system's allocator unchanged; counting allocates nothing.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _gone_at_thread_exit = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        LIVE.fetch_add(layout.size() as i64, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        unsafe { System.dealloc(p, layout) }
    }
    unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let _gone_at_thread_exit = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        LIVE.fetch_add(size as i64 - layout.size() as i64, Ordering::Relaxed);
        unsafe { System.realloc(p, layout, size) }
    }
}

/// Allocations of this thread for one batch on its way through a pipeline from chunk to encoded bytes, once it is warm.
fn allocations_per_batch(pipeline: &str, lines: Vec<u8>) -> u64 {
    let events = lines.split(|c| *c == b'\n').count() - 1;
    let dir = tempfile::tempdir().unwrap();
    let yaml = format!("data_dir: {}\n{pipeline}", dir.path().display());
    let loaded = load_texts(&[("main.yaml", &yaml)], &ProcessEnvironment, built_in());
    let config = loaded.config.unwrap_or_else(|| panic!("{}", loaded.report.render()));
    let blueprint = topology::assemble(config, true).unwrap();
    let (mut worker, queues) = topology::single_worker(&blueprint);
    let text = Slab::from_vec(lines);
    let origin = Origin::of_source("in");
    let mut out = Vec::new();
    let mut pass = || {
        let chunk = Chunk {
            text: text.clone(),
            frames: Frames::Lines { start: 0, end: text.len() },
            origin: origin.clone(),
            offset: 0,
            received_at: 1_767_323_045_678_000_000,
            ack: Ack::none(),
        };
        worker.chunk(0, chunk);
        out.clear();
        while let Some(mut batch) = queues[0].1.try_recv() {
            for event in batch.iter() {
                event.write_json(&mut out);
                out.push(b'\n');
            }
            batch.ack.take().settle(Verdict::Delivered);
            batch.recycle();
        }
        assert!(out.len() > events * 100, "the events went through");
    };
    (0..20).for_each(|_| pass());
    // Tables are shared with tests that run beside this one, so a batch may have to grow a new one: the least of many
    // rounds is what the way itself costs.
    (0..50)
        .map(|_| {
            let before = ALLOCATIONS.with(Cell::get);
            pass();
            ALLOCATIONS.with(Cell::get) - before
        })
        .min()
        .unwrap()
}

#[test]
fn the_main_chain_allocates_nothing_per_event() {
    nothing_per_event("main", corpus::MAIN, corpus::app);
}

/// A pipeline costs no more for 600 lines than for 100.
fn nothing_per_event(name: &str, pipeline: &str, lines: impl Fn(usize) -> Vec<u8>) {
    let (small, large) = (allocations_per_batch(pipeline, lines(100)), allocations_per_batch(pipeline, lines(600)));
    println!("{name}: allocations a batch: {small} for 100 events, {large} for 600");
    assert!(large <= small, "{name}: 600 events cost {large} allocations, 100 cost {small}: some are made per event");
    assert!(small <= 24, "{name}: {small} allocations a batch");
}

#[test]
fn conditions_and_sampling_allocate_nothing_per_event() {
    let pipeline = r#"
sources:
  in: {type: stdin, decode: json}
transforms:
  some:
    type: filter
    inputs: [in]
    when: >-
      has(level) && (level.lowerAscii() in ["info", "warn", "error"] || tags.region.startsWith("eu-"))
      && !message.contains("nothing of the kind") && @source + "!" == "in!" && size(message) < 5000
      && (duration * 2 >= 0 || nope > 1) && userAgent.matches("^(Mozilla|curl).*[0-9]") && traceId.matches("^[0-9a-f]+$")
  folded: {type: sample, inputs: [some], always: 'level == "ERROR"', rate: 0.9, key: traceId}
  capped: {type: sample, inputs: [folded], limit: {events_per_second: 1e9, by: service}, rules: [{when: 'seq < 0', rate: 0.1}]}
  judged: {type: validate, inputs: [capped], rules: [{when: 'duration < 0', error: "took {{ duration }}"}]}
sinks:
  out: {type: file, inputs: [judged], path: "out.ndjson"}
"#;
    nothing_per_event("filter, sample, validate", pipeline, corpus::app);
}

#[test]
fn context_and_edits_allocate_nothing_per_event() {
    let table = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/customers.csv");
    let pipeline = format!(
        r#"
sources:
  in: {{type: stdin, decode: json}}
transforms:
  context:
    type: enrich
    inputs: [in]
    fields: {{env: test, n: 1, list: [1, 2], title: '{{{{ level | default("-") }}}} {{{{ service | default("-") }}}}'}}
    host: true
    app: {{name: shop}}
    user_agent: {{from: userAgent, to: agent}}
    lookup: [{{key: service, table: {table}, to: customer, on_miss: {{default: {{tier: none}}}}}}]
  text: {{type: edit, inputs: [context], set: {{line: 'a=1 b="x y" c={{{{ service | default("-") }}}}'}}}}
  inner: {{type: parse, inputs: [text], from: line, decode: logfmt}}
  tidy: {{type: edit, inputs: [inner], rename: {{title: heading}}, copy: {{c: d}}, remove: [b], convert: {{a: integer, n: string}}}}
sinks:
  out: {{type: file, inputs: [tidy], path: "out.ndjson"}}
"#
    );
    nothing_per_event("enrich, parse, edit", &pipeline, corpus::app);
}

#[test]
fn decoding_allocates_nothing_per_event() {
    let lines = |line: &'static str| move |events: usize| line.repeat(events).into_bytes();
    for (decode, line) in [
        (
            "logfmt",
            "level=info msg=\"user \\\"ada\\\" logged in\" user=42 debug path=/api/v1/products took=17ms trace=0123456789abcdef0123\n",
        ),
        (
            "access",
            "www.example.com:80 192.0.2.1 - ada [10/Oct/2025:13:55:36 +0000] \"GET /a?b=1 HTTP/1.1\" 200 512 \"-\" \"curl/8.5.0 (x)\"\n",
        ),
        (
            "syslog",
            "<165>1 2003-10-11T22:14:15.003Z host app 4711 ID47 [id@32473 iut=\"3\" x=\"\\\"\"] An application event log entry\n\
             <34>Oct 11 22:14:15 mymachine su[12]: 'su root' failed for lonvick on /dev/pts/8, which is a long text all in all\n",
        ),
        (
            "cri",
            "2016-10-06T00:17:09.669794202Z stdout F The content of the log entry, which is long enough to be one\n",
        ),
        (
            "docker",
            "{\"log\":\"The content of the log entry, with a \\t tab and an end\\n\",\"stream\":\"stderr\",\"time\":\"2016-10-05T00:00:30.082640485Z\"}\n",
        ),
        (
            "{regex: {pattern: '^(?<first>\\S+) (?<second>\\S+) (?<rest>.*)$'}}",
            "GET /index.html and the rest of the line, which must be long enough for the check that events went through\n",
        ),
    ] {
        let pipeline = format!(
            "sources:\n  in: {{type: stdin, decode: {decode}}}\nsinks:\n  out: {{type: file, inputs: [in], path: out.ndjson}}\n"
        );
        nothing_per_event(decode, &pipeline, lines(line));
    }
}

#[test]
fn redaction_of_whole_events_allocates_nothing_per_event() {
    let all = "secrets, url_credentials, email, credit_card, phone, ipv4, ipv6, mac_address, us_ssn, jwt, aws_key, github_token, \
               slack_token, stripe_key, sendgrid_key, private_key, iban, cn_id_card, cn_phone, high_entropy";
    let pipeline = format!(
        r#"
sources:
  in: {{type: stdin, decode: json}}
transforms:
  clean:
    type: redact
    inputs: [in]
    detect: [{all}]
    patterns: [{{name: id, regex: 'ID-(\d+)(?<last>\d)', replace: 'ID-*$last'}}, {{name: word, regex: 'sé\w+'}}]
    fields: {{drop: [a.cookies, '**.gone'], mask: ['**.pin'], hash: [user.id], keep_last: {{n: 4, of: ['a.*.pan']}}}}
    except: [trace]
    action: hash
    key: k
sinks:
  out: {{type: file, inputs: [clean], path: "out.ndjson"}}
"#
    );
    let line = concat!(
        r#"{"message":"login of ada@example.com from 192.0.2.1 password=hunter2 \u0022 ID-1234 séance","n":4111111111111111,"#,
        r#""a":{"cookies":{"x":1},"b.c":{"pan":"4111 1111 1111 1111","gone":1},"token":["x"],"pin":7,"l":[{"m":"x\u0040y.de"}]},"#,
        r#""user":{"id":"u-1","x@y.de":null},"json":"{\"password\":\"x\",\"u\":\"?token\\u003dx\"}","gone":1,"trace":"a@b.de"}"#,
        "\n"
    );
    nothing_per_event("redact", &pipeline, |events| line.repeat(events).into_bytes());
}
