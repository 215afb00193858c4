//! The `demo` source: log lines made up, for trying pipelines out.
//!
//! ```yaml
//! sources: {shop: {type: demo, format: json, rate: 50, decode: json}}
//! ```
//!
//! Guarantee: none needed. Waits while the workers have enough.

use crate::ack::Ack;
use crate::component::common::SourceCommon;
use crate::component::plan::SourcePlan;
use crate::component::{BuildContext, SourceContext, SourceRun};
use crate::error::BuildError;
use crate::event::{Chunk, Frames};
use crate::event::{Origin, Slab};
use crate::settings::{config, config_enum};
use crate::time::{clock, write_rfc3339_utc};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

config_enum! {
    /// What the lines look like.
    pub enum DemoFormat {
        /// JSON of a shop's back end, with some secrets in it.
        Json = "json",
        /// A web server's combined access log.
        Access = "access",
        /// RFC 5424 syslog.
        Syslog = "syslog",
        /// `key=value` pairs.
        Logfmt = "logfmt",
        /// Java exceptions over several lines.
        Java = "java",
        /// Plain sentences.
        Text = "text",
        /// JSON of a shop's front end: requests, pages, steps to a purchase, payments and orders.
        Shop = "shop",
    }
}

config! {
    /// Log lines made up, for trying pipelines out.
    pub struct DemoConfig {
        /// What the lines look like.
        pub format: DemoFormat = DemoFormat::Json,
        /// Lines a second; 0 for as many as the pipeline takes.
        pub rate: u32 = 10,
        /// Lines in all; without it there is no end.
        pub count: Option<u64> = None,
        /// Another seed makes other lines.
        pub seed: u64 = 1,
        /// What all sources have.
        flatten pub common: SourceCommon,
    }
}

impl SourcePlan for DemoConfig {
    fn common(&self) -> &SourceCommon {
        &self.common
    }

    fn build(self: Box<Self>, cx: &BuildContext) -> Result<SourceRun, BuildError> {
        if cx.once && self.count.is_none() {
            return Err(BuildError::config("it has no end, so `--once` would run for ever; give it a `count`"));
        }
        let origin = Arc::new(Origin { source: cx.id.clone(), host: Some(cx.host.clone()), ..Origin::default() });
        Ok(SourceRun::Thread(Box::new(move |cx| {
            run(&self, &cx, &origin);
            Ok(())
        })))
    }
}

/// Lines are sent this often, so that 10,000 a second do not mean 10,000 batches.
const TICK: Duration = Duration::from_millis(20);
/// Most lines of one batch.
const MOST: u64 = 500;

fn run(config: &DemoConfig, cx: &SourceContext, origin: &Arc<Origin>) {
    let mut random = fastrand::Rng::with_seed(config.seed);
    let started = clock::monotonic_ns();
    let mut made = 0u64;
    let count = config.count.unwrap_or(u64::MAX);
    while made < count && !cx.shutdown.is_cancelled() {
        let due = match config.rate {
            0 => made + MOST,
            rate => {
                let elapsed = clock::monotonic_ns().saturating_sub(started);
                1 + (u128::from(elapsed) * u128::from(rate) / 1_000_000_000) as u64
            }
        };
        let due = due.min(count).min(made + MOST);
        if due <= made {
            std::thread::park_timeout(TICK);
            continue;
        }
        let now = clock::now_ns();
        let mut text = Vec::new();
        while made < due {
            line(config.format, now, made, &mut random, &mut text);
            made += 1;
        }
        let chunk = Chunk {
            frames: Frames::Lines { start: 0, end: text.len() },
            text: Slab::from_vec(text),
            origin: origin.clone(),
            offset: 0,
            received_at: now,
            ack: Ack::none(),
        };
        if cx.output.send(chunk).is_err() {
            return;
        }
    }
}

const SERVICES: [&str; 4] = ["checkout", "payments", "catalog", "search"];
const PEOPLE: [&str; 4] = ["ada", "grace", "linus", "edsger"];
const LEVELS: [&str; 12] =
    ["info", "info", "info", "info", "DEBUG", "DEBUG", "debug", "notice", "WARN", "warning", "error", "FATAL"];

fn message(n: u64, random: &mut fastrand::Rng) -> String {
    let who = PEOPLE[random.usize(..4)];
    let ms = random.u32(..2_000);
    match random.u8(..7) {
        0 => format!("GET /api/v1/products/{n} took {ms} ms"),
        1 => format!("order {n} created for {who}@example.com"),
        2 => format!("login of {who} with password=correct-horse-{n} accepted"),
        3 => format!("payment with card 4111 1111 1111 1111 accepted for order {n}"),
        4 => format!("upstream timed out after {ms} ms, token: abc{n}def, will retry"),
        5 => format!("cache miss for product {n}"),
        _ => format!("session of {who} opened from 203.0.113.{}", random.u8(..)),
    }
}

/// Visitors of the shop at a time, and what each of them does one after the other.
const SESSIONS: u64 = 50;
const SHOP_STEPS: u64 = 12;

/// What happens in the shop, as fields of JSON: of those that look at a product half put it into the cart, half of these go on, and one
/// payment of five fails.
fn shop(n: u64, status: u16, ms: u32) -> String {
    let (session, order) = (n % SESSIONS, n / (SESSIONS * SHOP_STEPS) * SESSIONS + n % SESSIONS);
    let amount = format!("{}.90", 10 + order * 37 % 200);
    let (carts, pays, fails) = (session.is_multiple_of(2), session.is_multiple_of(4), order.is_multiple_of(20));
    let page = |page: &str| format!(r#""event":"page","page":"{page}","msg":"page {page}""#);
    let step = |step: &str| format!(r#""event":"{step}","product_id":{},"msg":"{step} of product {0}""#, order % 30);
    let ordered = |state: &str| {
        format!(
            r#""event":"order","order_id":"o-{order}","state":"{state}","amount":{amount},"msg":"order o-{order} {state}""#
        )
    };
    match n / SESSIONS % SHOP_STEPS {
        1 => page("/"),
        2 => page("/products"),
        3 => step("view"),
        4 if carts => step("cart"),
        6 if pays => step("checkout"),
        7 if pays && fails => {
            let reason = if order.is_multiple_of(40) { "card declined" } else { "timeout" };
            format!(
                r#""event":"payment","order_id":"o-{order}","result":"failed","reason":"{reason}","amount":{amount},"msg":"payment failed""#
            )
        }
        7 if pays => {
            format!(r#""event":"payment","order_id":"o-{order}","result":"ok","amount":{amount},"msg":"payment taken""#)
        }
        8 if pays && !fails => step("purchase"),
        9 if pays && !fails => ordered("created"),
        10 if pays && fails => ordered("cancelled"),
        11 if pays && !fails => ordered("shipped"),
        _ => {
            let path = ["/", "/products", "/cart", "/checkout", "/api/v1/search"][(n % 5) as usize];
            format!(
                r#""event":"request","method":"GET","path":"{path}","status":{status},"duration":{ms},"msg":"GET {path} {status}""#
            )
        }
    }
}

/// Appends one event's line or lines. Writing to a `Vec` does not fail.
fn line(format: DemoFormat, now: i64, n: u64, random: &mut fastrand::Rng, out: &mut Vec<u8>) {
    let mut time = Vec::new();
    write_rfc3339_utc(now, 3, &mut time);
    let time = String::from_utf8_lossy(&time);
    let (service, level) = (SERVICES[random.usize(..4)], LEVELS[random.usize(..LEVELS.len())]);
    let (trace, ms) = (random.u128(..), random.u32(..2_000));
    let text = message(n, random);
    let result = match format {
        DemoFormat::Json => writeln!(
            out,
            r#"{{"time":"{time}","level":"{level}","service":"{service}","msg":"{text}","trace_id":"{trace:032x}","user_id":"u-{}","duration":{ms},"userAgent":"curl/8.5.0"}}"#,
            n % 50
        ),
        DemoFormat::Access => {
            let at = now.div_euclid(1_000_000_000);
            let at = jiff::Timestamp::from_second(at).unwrap_or_default();
            let at = at.strftime("%d/%b/%Y:%H:%M:%S +0000");
            let status = [200, 200, 200, 304, 404, 500][random.usize(..6)];
            writeln!(
                out,
                r#"203.0.113.{} - {} [{at}] "GET /api/v1/products/{n} HTTP/1.1" {status} {} "-" "curl/8.5.0""#,
                random.u8(..),
                PEOPLE[random.usize(..4)],
                random.u32(..90_000)
            )
        }
        DemoFormat::Syslog => writeln!(
            out,
            "<{}>1 {time} host-{}.example.com {service} {} ID{} [shop@32473 n=\"{n}\"] {text}",
            [134, 135, 131, 132, 14][random.usize(..5)],
            n % 7,
            1000 + n % 50,
            n % 90
        ),
        DemoFormat::Logfmt => {
            writeln!(out, "time={time} level={level} service={service} msg=\"{text}\" duration={ms} n={n}")
        }
        DemoFormat::Java => writeln!(
            out,
            "{time} ERROR {service} order {n} failed\njava.lang.IllegalStateException: order {n}\n\tat com.example.shop.Orders.place(Orders.java:{})\n\tat com.example.shop.Main.main(Main.java:14)",
            20 + n % 80
        ),
        DemoFormat::Text => writeln!(out, "{time} {level} {service}: {text}"),
        DemoFormat::Shop => {
            let status = [200, 200, 200, 200, 200, 200, 304, 404, 404, 500][random.usize(..10)];
            let what = shop(n, status, ms);
            let session = n % SESSIONS;
            writeln!(
                out,
                r#"{{"time":"{time}","level":"{level}","service":"{service}","session_id":"s-{}-{session}","user_id":"u-{session}","trace_id":"{trace:032x}",{what}}}"#,
                n / (SESSIONS * SHOP_STEPS),
            )
        }
    };
    debug_assert!(result.is_ok());
}
