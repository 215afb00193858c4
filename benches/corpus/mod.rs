//! Log lines made for the benches: deterministic, shaped like an e-commerce back end's.
#![allow(dead_code, unused_imports, reason = "not every bench takes everything")]

mod lines;

pub(crate) use lines::{access, counted, cri, docker, java, logfmt, syslog_3164, syslog_5424};

/// `events` JSON objects of about 440 bytes, one a line.
pub(crate) fn app(events: usize) -> Vec<u8> {
    let levels = ["INFO", "info", "Information", "DEBUG", "trace", "WARN", "warning", "ERROR", "error", "FATAL"];
    let services = ["cart", "catalog", "checkout", "inventory", "orders", "payments", "search", "users"];
    let agents = [
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
        "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
        "curl/8.5.0",
    ];
    let mut random = fastrand::Rng::with_seed(7);
    let mut out = String::new();
    for i in 0..events {
        let (n, d, b) = (random.u32(..100_000), random.u32(..2_000), random.u8(..));
        let message = match random.u8(..8) {
            0 => format!("HTTP GET /api/v1/products/{n} completed with 200 in {d}ms"),
            1 => format!("order {n} created for customer, total {d}.99 EUR"),
            2 => format!("login attempt for user{n}@example.com password=sesame{n} accepted"),
            3 => format!("payment authorised with card 4111 1111 1111 1111 for order {n}"),
            4 => format!("upstream call failed: token: eyJhunter{n} rejected after {d}ms, will retry"),
            5 => format!("cache miss for key product:{n}:stock, loading from database took {d}ms"),
            6 => format!("session opened from 203.0.113.{b} by user {n}"),
            _ => format!("inventory reservation {n} expired; released {d} units \u{2014} rebalancing"),
        };
        let time = if i % 4 == 0 {
            (1_750_000_000_000u64 + i as u64 * 3).to_string()
        } else {
            format!("\"2025-06-15T15:{:02}:{:02}.{:03}Z\"", i / 60_000 % 60, i / 1_000 % 60, i % 1_000)
        };
        out.push_str(&format!(
            concat!(
                r#"{{"timestamp":{},"level":"{}","service":"{}","message":"{}","traceId":"{:032x}","spanId":"{:016x}","#,
                r#""userId":"u-{}","requestId":"{:016x}","seq":{},"tags":{{"region":"eu-west-1","version":"1.{}.{}"}},"#,
                r#""ip":"203.0.113.{}","userAgent":"{}","duration":{}}}"#,
                "\n"
            ),
            time,
            random.choice(levels).unwrap(),
            random.choice(services).unwrap(),
            message,
            random.u128(..),
            random.u64(..),
            n,
            random.u64(..),
            i,
            b % 9,
            n % 20,
            b,
            random.choice(agents).unwrap(),
            d
        ));
    }
    out.into_bytes()
}

/// The pipeline of the `main` benchmark: standard input, decoded, through the whole chain to a file.
#[allow(dead_code, reason = "not every bench runs the chain")]
pub(crate) const MAIN: &str = r#"
sources:
  in: {type: stdin, decode: json}
transforms:
  shape: {type: normalize, inputs: [in], schema: log, keep_rest: root}
  clean: {type: redact, inputs: [shape], in: [message], detect: [secrets, credit_card, email]}
  quality:
    type: validate
    inputs: [clean]
    schema: log
    rules:
      - {check: 'traceId.matches("^[0-9a-fA-F]{32}$")', error: "traceId is not 32 hex digits"}
  thin: {type: sample, inputs: [quality], by: level, rates: {DEBUG: 0.1, default: 1.0}}
sinks:
  out: {type: file, inputs: [thin], path: "out.ndjson"}
"#;
