//! The driver against a server that is a function: waits are milliseconds, nothing waits without a deadline.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::ack::{Ack, Settled, Verdict};
use crate::buffer::{FullPolicy, Queue, QueueSender};
use crate::component::{BoxFuture, DeadLetter, Input};
use crate::event::{Batch, EventKind, EventRef, JsonRows, Origin, Slab, Sym};
use crate::http::Constant;
use crate::http::{Answer, Exchange, Lost, LostKind, Request};
use crate::settings::read_text;
use crate::telemetry::Health;
use crate::telemetry::{ComponentKind, Counters};
use reqwest::Url;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Sends events as lines, all to one place.
struct Lines;

impl Protocol for Lines {
    type Mark = ();

    fn partition(&mut self, event: EventRef<'_>, _now: i64, name: &mut Vec<u8>) -> Result<(), Unsendable> {
        match event.field(Sym::STREAM) {
            None => name.push(b'x'),
            Some(stream) => stream.append_text(name),
        }
        if name == b"none" {
            return Err(Unsendable { reason: "template", detail: "no such stream".into() });
        }
        Ok(())
    }

    fn target(&self, partition: &[u8]) -> Target {
        let name = String::from_utf8_lossy(partition).into_owned();
        let url = Url::parse(&format!("http://server/{name}")).unwrap();
        let (content_type, headers, method) = ("application/json", Vec::new(), reqwest::Method::POST);
        Target {
            name,
            kind: EventKind::Log,
            method,
            url,
            content_type,
            headers,
            framing: Framing::LINES,
            snappy: false,
        }
    }

    fn record(&mut self, event: EventRef<'_>, draft: &mut Draft<'_, ()>) -> Result<(), Unsendable> {
        event.write_json(draft.body);
        assert!(event.field(Sym::from_config("panics")).is_none(), "on this record");
        Ok(())
    }

    fn judge(&self, answer: &Answer, _load: &RequestBody<()>, _now: i64) -> Judgement {
        if answer.status == 207 {
            return partial(&answer.body);
        }
        judge_status(answer, &Mask::default()).unwrap_or(Judgement::Delivered)
    }
}

/// `1 2/3`: records 1 and 2 are to go again, record 3 is refused.
fn partial(body: &[u8]) -> Judgement {
    let text = String::from_utf8(body.to_vec()).unwrap();
    let (again, refused) = text.split_once('/').unwrap();
    let places = |text: &str| text.split_whitespace().map(|n| n.parse().unwrap()).collect::<Vec<usize>>();
    let refusal = |record| Refusal { record, reason: "refused", detail: "bad".into() };
    Judgement::Partial {
        refused: places(refused).into_iter().map(refusal).collect(),
        again: places(again),
        kind: "items",
        detail: "busy".into(),
        pressure: true,
    }
}

type Script = dyn Fn(usize, &Request) -> Result<Answer, Lost> + Send + Sync;

/// Answers as a function says, after a while.
struct Scripted {
    script: Box<Script>,
    delay: Duration,
    requests: Mutex<Vec<(Instant, Request)>>,
    in_flight: AtomicUsize,
    most: AtomicUsize,
}

impl Exchange for Arc<Scripted> {
    fn send(&self, request: Request, _max: usize) -> BoxFuture<Result<Answer, Lost>> {
        let me = self.clone();
        let n = {
            let mut requests = me.requests.lock().unwrap();
            requests.push((Instant::now(), request.clone()));
            requests.len() - 1
        };
        let now = me.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        me.most.fetch_max(now, Ordering::SeqCst);
        Box::pin(async move {
            tokio::time::sleep(me.delay).await;
            me.in_flight.fetch_sub(1, Ordering::SeqCst);
            (me.script)(n, &request)
        })
    }
}

#[derive(Default)]
struct Verdicts(Mutex<BTreeMap<u64, Vec<Verdict>>>);
impl Settled for Verdicts {
    fn settled(&self, token: u64, verdict: Verdict) {
        self.0.lock().unwrap().entry(token).or_default().push(verdict);
    }
}

/// A batch of JSON lines.
fn rows(lines: &[String], ack: Ack) -> Batch {
    let mut batch = Batch::new(Slab::from_vec(lines.join("\n").into_bytes()), Origin::of_source("in"), 1, ack);
    let mut rows = JsonRows::default();
    let mut at = 0;
    for line in lines {
        rows.push(&mut batch, at, at + line.len(), at as u64).unwrap();
        at += line.len() + 1;
    }
    batch
}

struct Rig {
    server: Arc<Scripted>,
    sender: Option<QueueSender>,
    verdicts: Arc<Verdicts>,
    counters: Arc<Counters>,
    letters: Arc<Queue>,
    letters_open: QueueSender,
    abort: tokio_util::sync::CancellationToken,
    health: Arc<Health>,
    driver: Option<Driver<Lines>>,
    next: u64,
}

fn ok() -> Result<Answer, Lost> {
    Ok(Answer { status: 200, ..Answer::default() })
}

fn status(status: u16, body: &'static str) -> Result<Answer, Lost> {
    Ok(Answer { status, body: body.into(), ..Answer::default() })
}

const QUICK: &str = "compression: none, healthcheck: false, retry: {initial: 1ms, max: 5ms}";

impl Rig {
    fn new(settings: &str, script: impl Fn(usize, &Request) -> Result<Answer, Lost> + Send + Sync + 'static) -> Self {
        Self::build(settings, Duration::ZERO, true, Box::new(script))
    }

    fn build(settings: &str, delay: Duration, dead_letter: bool, script: Box<Script>) -> Self {
        let (common, report) = read_text::<NetworkSinkCommon>("t", &format!("{{{settings}}}"), &BTreeMap::new());
        let common = common.unwrap_or_else(|| panic!("{}", report.render()));
        let counters = Counters::new("net", ComponentKind::Sink, "test");
        let queue = Queue::new(64 << 20, FullPolicy::Block, counters.clone());
        let letters = Queue::new(64 << 20, FullPolicy::Block, Counters::new("letters", ComponentKind::Sink, "test"));
        let server = Arc::new(Scripted {
            script,
            delay,
            requests: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        });
        let (abort, health) = (tokio_util::sync::CancellationToken::new(), Arc::new(Health::default()));
        let input = Input {
            queue: queue.clone(),
            counters: counters.clone(),
            dead_letter: dead_letter.then(|| DeadLetter { to: letters.sender(), point: Default::default() }),
            abort: abort.clone(),
            shutdown_allowed: None,
            successors: Default::default(),
            health: health.clone(),
            report: Default::default(),
            reader: 0,
            succession: Default::default(),
            call: Default::default(),
            requests: Default::default(),
        };
        let driver = Driver::new(
            Lines,
            Plan::new(&common),
            input,
            Arc::new(server.clone()),
            Arc::new(Constant::default()),
            Mask::default(),
        );
        Rig {
            server,
            sender: Some(queue.sender()),
            verdicts: Arc::default(),
            counters,
            letters_open: letters.sender(),
            letters,
            abort,
            health,
            driver: Some(driver),
            next: 0,
        }
    }

    /// Puts a batch with these lines in, one token each.
    fn put(&mut self, lines: &[String]) {
        let ack = Ack::new(self.verdicts.clone(), self.next);
        self.next += 1;
        let batch = rows(lines, ack);
        self.sender.as_ref().unwrap().send(batch);
    }

    fn put_numbers(&mut self, numbers: std::ops::Range<u32>) {
        let lines: Vec<_> = numbers.map(|n| format!("{{\"n\":{n}}}")).collect();
        self.put(&lines);
    }

    /// Lets the input end and runs to the end.
    fn run(&mut self) {
        self.sender = None;
        let driver = self.driver.take().unwrap();
        runtime().block_on(async {
            tokio::time::timeout(Duration::from_secs(60), driver.run()).await.expect("it ends").unwrap();
        });
    }

    fn bodies(&self) -> Vec<String> {
        let requests = self.server.requests.lock().unwrap();
        requests.iter().map(|(_, r)| String::from_utf8(r.body.clone().unwrap().to_vec()).unwrap()).collect()
    }

    fn letters(&self) -> Vec<String> {
        let mut out = Vec::new();
        while let Some(mut batch) = self.letters.try_recv() {
            for event in batch.iter() {
                let mut json = Vec::new();
                event.write_json(&mut json);
                out.push(String::from_utf8(json).unwrap());
            }
            batch.ack.take().settle(Verdict::Delivered);
        }
        out
    }

    /// One verdict per batch, and ledger that balance with nothing held.
    #[track_caller]
    fn settled(&self, want: &[Verdict]) {
        let verdicts = self.verdicts.0.lock().unwrap();
        let got: Vec<_> = verdicts.values().map(|v| v.as_slice()).collect();
        let want: Vec<_> = want.iter().map(std::slice::from_ref).collect();
        assert_eq!(got, want);
        let totals = self.counters.snapshot();
        assert_eq!((totals.balance(), totals.held), (0, 0), "{totals:?}");
    }
}

#[test]
fn a_busy_sink_leaves_the_runtime_to_others_after_each_batch() {
    let mut rig = Rig::new(QUICK, |_, _| ok());
    for n in 0..100 {
        rig.put_numbers(n * 10..n * 10 + 10);
    }
    rig.sender = None;
    let waiting = || rig.counters.snapshot().gauges["buffer_events"];
    let driver = rig.driver.take().unwrap();
    let mut most: f64 = 0.0;
    runtime().block_on(async {
        let busy = tokio::spawn(driver.run());
        let mut before = waiting();
        assert_eq!(before, 1000.0);
        while before > 0.0 {
            tokio::task::yield_now().await;
            let now = waiting();
            most = most.max(before - now);
            before = now;
        }
        busy.await.unwrap().unwrap();
    });
    assert!(most <= 20.0, "{most} events were taken while others waited");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// What it had not delivered is in its queue again, but for the batch in its hand, which has failed.
#[test]
fn a_sink_that_panics_gives_back_what_it_had() {
    let mut rig = Rig::new(&format!("{QUICK}, concurrency: 1, batch: {{max_events: 2}}"), |_, _| status(503, ""));
    rig.put_numbers(0..5);
    rig.put_numbers(5..6);
    rig.put(&["{\"panics\":1}".to_owned()]);
    let driver = rig.driver.take().unwrap();
    let error = runtime().block_on(driver.run()).unwrap_err().to_string();
    assert!(error.contains("it panicked") && error.contains("on this record"), "{error}");
    assert_eq!(rig.verdicts.0.lock().unwrap().clone(), BTreeMap::from([(2, vec![Verdict::Failed])]));
    let queue = rig.sender.as_ref().unwrap().queue().clone();
    let mut numbers = Vec::new();
    while let Some(mut batch) = queue.try_recv() {
        numbers.extend(batch.iter().map(|event| event.field(Sym::from_config("n")).unwrap().as_i64().unwrap()));
        batch.ack.take().settle(Verdict::Delivered);
    }
    // What was on its way comes behind the rest.
    numbers.sort_unstable();
    assert_eq!(numbers, (0..6).collect::<Vec<_>>());
    let verdicts = rig.verdicts.0.lock().unwrap().clone();
    assert_eq!((&verdicts[&0], &verdicts[&1]), (&vec![Verdict::Delivered], &vec![Verdict::Delivered]));
}

#[test]
fn full_batches_leave_and_the_rest_with_the_end() {
    let mut rig = Rig::new(&format!("{QUICK}, batch: {{max_events: 3, timeout: 1h}}"), |_, _| ok());
    rig.put_numbers(0..4);
    rig.put_numbers(4..8);
    rig.run();
    let mut bodies = rig.bodies();
    bodies.sort();
    assert_eq!(
        bodies,
        ["{\"n\":0}\n{\"n\":1}\n{\"n\":2}\n", "{\"n\":3}\n{\"n\":4}\n{\"n\":5}\n", "{\"n\":6}\n{\"n\":7}\n"]
    );
    rig.settled(&[Verdict::Delivered; 2]);
    let totals = rig.counters.snapshot();
    assert_eq!((totals.events_in, totals.events_out, totals.bytes_out), (8, 8, 64));
}

#[test]
fn no_body_is_larger_than_max_bytes_unless_one_event_is() {
    let mut rig = Rig::new(&format!("{QUICK}, batch: {{max_bytes: 40}}"), |_, _| ok());
    let long = format!("{{\"n\":\"{}\"}}", "x".repeat(100));
    let lines: Vec<_> = (10..40).map(|n| if n == 20 { long.clone() } else { format!("{{\"n\":{n}}}") }).collect();
    rig.put(&lines);
    rig.run();
    let bodies = rig.bodies();
    for body in &bodies {
        assert!(body.len() <= 40 || body.lines().count() == 1, "{body}");
    }
    let mut sent: Vec<_> = bodies.iter().flat_map(|b| b.lines()).map(str::to_owned).collect();
    let mut want = lines;
    sent.sort();
    want.sort();
    assert_eq!(sent, want);
    rig.settled(&[Verdict::Delivered]);
}

/// Adds one event at each time of `at` (milliseconds); when loads left and with how many events, until `end`.
fn departures(timeout: u64, at: &[u64], end: u64) -> Vec<(u64, usize)> {
    let bounds =
        Bounds { max_events: 3.try_into().unwrap(), max_bytes: 1 << 20, timeout: Duration::from_millis(timeout) };
    let start = tokio::time::Instant::now();
    let (mut batcher, mut closed, mut left) = (Batcher::new(bounds), std::collections::VecDeque::new(), Vec::new());
    for ms in 0..=end {
        let now = start + Duration::from_millis(ms);
        if batcher.next_due().is_some_and(|at| at <= now) {
            batcher.close_due(now, &mut closed);
        }
        if at.contains(&ms) {
            let batch = rows(&["{\"n\":1}".to_owned()], Ack::none());
            batcher.add(&batch, &mut Lines, 0, now, &mut closed, &mut Vec::new());
        }
        left.extend(closed.drain(..).map(|load| (ms, load.records.len())));
    }
    left
}

#[test]
fn what_is_not_full_leaves_when_nothing_more_comes_and_once_a_timeout() {
    // A lone event does not wait, nor does the end of a burst.
    assert_eq!(departures(1000, &[0], 5000), [(10, 1)]);
    assert_eq!(departures(1000, &[0, 1, 2, 3], 5000), [(2, 3), (13, 1)]);
    assert_eq!(departures(1000, &[0, 2500], 5000), [(10, 1), (2510, 1)]);
    // What comes behind it within the time waits, and leaves when it is over.
    assert_eq!(departures(1000, &[0, 500, 600], 5000), [(10, 1), (1010, 2)]);
    // A trickle without a pause leaves once a timeout.
    let trickle: Vec<u64> = (0..10_000).step_by(400).collect();
    let left = departures(1000, &trickle, 9_999);
    let under_full: Vec<u64> = left.iter().filter(|(_, n)| *n < 3).map(|(ms, _)| *ms).collect();
    assert!(under_full.len() > 5, "{left:?}");
    // Between two of them there is the time, or a full one.
    for pair in left.windows(2) {
        let [(before, n), (after, m)] = pair else { unreachable!() };
        assert!(*n == 3 || *m == 3 || after - before >= 1000, "{left:?}");
    }
    // Nothing waits for longer than its time, even where something comes all the time.
    assert_eq!(departures(15, &(0..200).step_by(9).collect::<Vec<_>>(), 17)[0], (15, 2));
}

#[test]
fn partitions_have_batches_of_their_own() {
    let mut rig = Rig::new(QUICK, |_, _| ok());
    let lines: Vec<_> = (0..10).map(|n| format!("{{\"n\":{n},\"stream\":\"s{}\"}}", n % 3)).collect();
    rig.put(&lines);
    rig.run();
    let requests = rig.server.requests.lock().unwrap();
    let mut got: Vec<_> = requests
        .iter()
        .map(|(_, r)| (r.url.path().to_owned(), r.body.as_ref().unwrap().iter().filter(|b| **b == b'\n').count()))
        .collect();
    got.sort();
    assert_eq!(got, [("/s0".to_owned(), 4), ("/s1".to_owned(), 3), ("/s2".to_owned(), 3)]);
    drop(requests);
    rig.settled(&[Verdict::Delivered]);
}

#[test]
fn an_event_that_cannot_be_sent_goes_to_the_dead_letter_and_the_others_are_delivered() {
    let mut rig = Rig::new(QUICK, |_, _| ok());
    rig.put(&["{\"n\":1}".into(), "{\"n\":2,\"stream\":\"none\"}".into(), "{\"n\":3}".into()]);
    rig.run();
    let letters = rig.letters();
    assert_eq!(letters.len(), 1);
    assert!(letters[0].contains("\"reason\":\"template\"") && letters[0].contains("{\"n\":2,"), "{}", letters[0]);
    rig.settled(&[Verdict::Rejected]);
    assert_eq!(rig.counters.snapshot().events_out, 2);
}

#[test]
fn failures_are_tried_again_until_it_works() {
    for failure in [
        || status(500, ""),
        || status(502, "bad gateway"),
        || status(503, ""),
        || status(408, ""),
        || status(429, ""),
        || Err(Lost { kind: LostKind::Connect, why: "refused".into() }),
        || Err(Lost { kind: LostKind::Broken, why: "reset".into() }),
    ] {
        let settings = format!("{QUICK}, circuit_breaker: {{failures: 100}}");
        let mut rig = Rig::new(&settings, move |n, _| if n < 7 { failure() } else { ok() });
        rig.put_numbers(0..3);
        rig.run();
        assert_eq!(rig.bodies().len(), 8);
        rig.settled(&[Verdict::Delivered]);
        assert_eq!(rig.counters.snapshot().errors.values().sum::<u64>(), 7);
    }
}

/// As many attempts as a day has at the longest wait of 30 s, with the waits cut to a millisecond: nothing overflows, nothing
/// is given up, nothing grows, and what was held arrives once and in order.
#[test]
fn a_server_that_refuses_connections_for_a_day_gets_everything_in_the_end() {
    const ATTEMPTS: usize = 24 * 3600 / 30;
    let settings = "compression: none, healthcheck: false, concurrency: 1, retry: {initial: 1ms, max: 1ms}, circuit_breaker: {failures: 5, reset: 1ms}, batch: {max_events: 5}";
    let mut rig = Rig::new(settings, |n, _| {
        if n < ATTEMPTS { Err(Lost { kind: LostKind::Connect, why: "refused".into() }) } else { ok() }
    });
    rig.put_numbers(0..10);
    rig.put_numbers(10..20);
    rig.run();
    rig.settled(&[Verdict::Delivered; 2]);
    let totals = rig.counters.snapshot();
    assert_eq!((totals.errors["connect"], totals.events_out, totals.held), (ATTEMPTS as u64, 20, 0));
    let bodies = rig.bodies();
    assert_eq!(bodies.len(), ATTEMPTS + 4, "a call that the circuit turned away is no attempt");
    let order: Vec<String> = (0..20).map(|n| format!("{{\"n\":{n}}}")).collect();
    let arrived: Vec<String> =
        bodies[ATTEMPTS..].iter().flat_map(|b| b.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    assert_eq!(arrived, order);
}

#[test]
fn an_attempt_without_answer_ends_with_the_timeout() {
    let settings = format!("{QUICK}, timeout: 20ms");
    let mut rig = Rig::build(&settings, Duration::from_secs(3600), true, Box::new(|_, _| ok()));
    rig.put_numbers(0..1);
    let driver = rig.driver.take().unwrap();
    let (server, abort) = (rig.server.clone(), rig.abort.clone());
    runtime().block_on(async {
        let run = tokio::spawn(driver.run());
        let started = Instant::now();
        while server.requests.lock().unwrap().len() < 3 {
            assert!(started.elapsed() < Duration::from_secs(10), "it never tried again");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(started.elapsed() >= Duration::from_millis(40));
        abort.cancel();
        run.await.unwrap().unwrap();
    });
    assert_eq!(rig.counters.snapshot().errors.get("timeout").copied().unwrap_or(0), 2);
}

#[test]
fn retry_after_is_waited_for() {
    let mut rig = Rig::new(QUICK, |n, _| match n {
        0 => Ok(Answer { status: 429, retry_after: Some(Duration::from_millis(150)), ..Answer::default() }),
        _ => ok(),
    });
    rig.put_numbers(0..1);
    rig.run();
    let requests = rig.server.requests.lock().unwrap();
    assert!(requests[1].0 - requests[0].0 >= Duration::from_millis(149));
}

#[test]
fn after_max_elapsed_the_events_go_to_the_dead_letter_with_the_last_words() {
    let settings = "compression: none, healthcheck: false, retry: {initial: 5ms, max: 5ms, max_elapsed: 30ms}";
    let mut rig = Rig::new(settings, |_, _| status(500, "disk on fire"));
    rig.put_numbers(0..2);
    rig.run();
    let letters = rig.letters();
    assert_eq!(letters.len(), 2);
    assert!(
        letters[1].contains("\"reason\":\"retries_exhausted\",\"detail\":\"HTTP 500: disk on fire\""),
        "{letters:?}"
    );
    rig.settled(&[Verdict::Rejected]);
}

#[test]
fn one_poisonous_record_of_a_thousand_is_found_by_halving() {
    for (code, reason) in [(400, "refused"), (422, "refused"), (413, "too_large")] {
        let mut rig = Rig::new(QUICK, move |_, r| {
            let body = r.body.as_ref().unwrap();
            let poisoned = memchr::memmem::find(body, b"{\"n\":617}").is_some();
            if poisoned { status(code, "cannot digest 617") } else { ok() }
        });
        for start in (0..1000).step_by(100) {
            rig.put_numbers(start..start + 100);
        }
        rig.run();
        let letters = rig.letters();
        assert_eq!(letters.len(), 1, "{letters:?}");
        let want = format!("\"reason\":\"{reason}\",\"detail\":\"HTTP {code}: cannot digest 617\"");
        assert!(letters[0].contains(&want) && letters[0].contains("\"event\":{\"n\":617}"), "{}", letters[0]);
        let totals = rig.counters.snapshot();
        assert_eq!((totals.events_out, totals.rejected[reason]), (999, 1));
        let mut verdicts = [Verdict::Delivered; 10];
        verdicts[6] = Verdict::Rejected;
        rig.settled(&verdicts);
    }
}

#[test]
fn without_a_dead_letter_what_is_refused_is_dropped_and_counted() {
    let mut rig = Rig::build(QUICK, Duration::ZERO, false, Box::new(|_, _| status(400, "no")));
    rig.put_numbers(0..5);
    rig.run();
    assert_eq!(rig.counters.snapshot().dropped["refused"], 5);
    rig.settled(&[Verdict::Rejected]);
}

#[test]
fn a_configuration_fault_is_tried_one_by_one_and_ready_fails() {
    let health: Arc<Mutex<Option<Arc<Health>>>> = Arc::default();
    let seen = health.clone();
    let settings = format!("{QUICK}, batch: {{max_events: 1}}, concurrency: 4");
    let mut rig = Rig::new(&settings, move |n, _| {
        let health = seen.lock().unwrap().clone().unwrap();
        match n {
            0..=19 => status(401, "Unauthorized Access"),
            20 => {
                let why = health.failing_for(Duration::ZERO);
                assert_eq!(why.as_deref(), Some("HTTP 401: Unauthorized Access; check the credentials under `auth`"));
                ok()
            }
            _ => ok(),
        }
    });
    *health.lock().unwrap() = Some(rig.health.clone());
    rig.put_numbers(0..8);
    rig.run();
    assert_eq!(rig.health.failing_for(Duration::ZERO), None);
    assert_eq!(rig.bodies().len(), 28);
    assert_eq!(rig.counters.snapshot().errors["configuration"], 20);
    rig.settled(&[Verdict::Delivered]);
}

#[test]
fn compression_changes_when_the_server_does_not_take_it() {
    let settings = "compression: auto, healthcheck: false, concurrency: 1";
    let mut rig = Rig::new(settings, |_, r| match r.headers.get("content-encoding").map(|v| v.to_str().unwrap()) {
        Some("zstd") => status(415, ""),
        Some("gzip") => status(415, ""),
        _ => ok(),
    });
    rig.put_numbers(0..3);
    rig.run();
    let requests = rig.server.requests.lock().unwrap();
    let encodings: Vec<_> = requests.iter().map(|(_, r)| r.headers.get("content-encoding").cloned()).collect();
    assert_eq!(encodings, [Some("zstd".parse().unwrap()), Some("gzip".parse().unwrap()), None]);
    drop(requests);
    rig.settled(&[Verdict::Delivered]);
}

#[test]
fn with_concurrency_one_the_order_is_kept_through_failures_and_halving() {
    let settings = format!("{QUICK}, concurrency: 1, batch: {{max_events: 10}}, circuit_breaker: {{failures: 100}}");
    let order: Arc<Mutex<Vec<u32>>> = Arc::default();
    let seen = order.clone();
    let mut rig = Rig::new(&settings, move |n, r| {
        let body = String::from_utf8(r.body.clone().unwrap().to_vec()).unwrap();
        if n % 3 == 1 {
            return status(503, "");
        }
        if body.contains("{\"n\":23}") && body.lines().count() > 1 {
            return status(413, "");
        }
        let number = |l: &str| l.trim_matches(|c: char| !c.is_ascii_digit()).parse::<u32>().unwrap();
        seen.lock().unwrap().extend(body.lines().map(number));
        ok()
    });
    for start in (0..60).step_by(7) {
        rig.put_numbers(start..(start + 7).min(60));
    }
    rig.run();
    assert_eq!(*order.lock().unwrap(), (0..60).collect::<Vec<_>>());
    assert_eq!(rig.server.most.load(Ordering::SeqCst), 1);
    rig.settled(&[Verdict::Delivered; 9]);
}

#[test]
fn never_more_requests_at_a_time_than_configured() {
    let settings = format!("{QUICK}, concurrency: 3, batch: {{max_events: 1}}");
    let mut rig = Rig::build(&settings, Duration::from_millis(2), true, Box::new(|_, _| ok()));
    rig.put_numbers(0..40);
    rig.run();
    assert_eq!(rig.server.most.load(Ordering::SeqCst), 3);
    assert_eq!(rig.bodies().len(), 40);
}

#[test]
fn the_circuit_opens_after_five_failures_and_one_probe_closes_it() {
    let settings = "compression: none, healthcheck: false, retry: {initial: 1ms, max: 1ms}, concurrency: 4, \
                    batch: {max_events: 1}, circuit_breaker: {failures: 5, reset: 200ms}";
    let mut rig = Rig::build(
        settings,
        Duration::from_millis(1),
        true,
        Box::new(|n, _| if n < 9 { status(500, "") } else { ok() }),
    );
    rig.put_numbers(0..4);
    rig.run();
    let requests = rig.server.requests.lock().unwrap();
    let times: Vec<_> = requests.iter().map(|(at, _)| *at).collect();
    // Where the first long gap is: at least five before it, at most the three more that were on their way.
    let gap = times.windows(2).position(|w| w[1] - w[0] >= Duration::from_millis(190)).unwrap() + 1;
    assert!((5..=8).contains(&gap), "{gap}");
    // Probes that failed were alone.
    for n in gap..9 {
        assert!(times[n + 1] - times[n] >= Duration::from_millis(190), "{n}");
    }
    drop(requests);
    rig.settled(&[Verdict::Delivered]);
}

#[test]
fn the_rate_limit_spaces_requests() {
    let settings = format!("{QUICK}, rate_limit: 100, batch: {{max_events: 1}}");
    let mut rig = Rig::new(&settings, |_, _| ok());
    rig.put_numbers(0..6);
    rig.run();
    let requests = rig.server.requests.lock().unwrap();
    assert!(requests[5].0 - requests[0].0 >= Duration::from_millis(49));
}

#[test]
fn when_the_time_to_drain_is_over_it_leaves_at_once_and_the_source_keeps_its_place() {
    let mut rig = Rig::build(QUICK, Duration::from_secs(3600), true, Box::new(|_, _| ok()));
    rig.put_numbers(0..3);
    let driver = rig.driver.take().unwrap();
    let (server, abort) = (rig.server.clone(), rig.abort.clone());
    runtime().block_on(async {
        let run = tokio::spawn(driver.run());
        rig.sender = None;
        let started = Instant::now();
        while server.requests.lock().unwrap().is_empty() {
            assert!(started.elapsed() < Duration::from_secs(10));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        abort.cancel();
        tokio::time::timeout(Duration::from_secs(5), run).await.expect("at once").unwrap().unwrap();
    });
    assert_eq!(rig.verdicts.0.lock().unwrap().values().flatten().collect::<Vec<_>>(), [&Verdict::Failed]);
    assert_eq!(rig.counters.snapshot().held, 3);
}

#[test]
fn memory_is_bounded_while_the_server_is_down() {
    let settings = "compression: none, healthcheck: false, concurrency: 2, batch: {max_bytes: 10KiB}";
    let mut rig = Rig::build(settings, Duration::from_secs(3600), true, Box::new(|_, _| ok()));
    let line = format!("{{\"n\":\"{}\"}}", "x".repeat(90));
    for _ in 0..200 {
        rig.put(&vec![line.clone(); 10]);
    }
    let driver = rig.driver.take().unwrap();
    let (counters, abort) = (rig.counters.clone(), rig.abort.clone());
    runtime().block_on(async {
        let run = tokio::spawn(driver.run());
        tokio::time::sleep(Duration::from_millis(100)).await;
        let waiting = counters.snapshot().gauges["buffer_events"];
        // Three bodies of 10 KiB at most, and the batch that was being added.
        assert!(waiting >= 2000.0 - 330.0, "{waiting}");
        abort.cancel();
        run.await.unwrap().unwrap();
    });
    drop(rig.letters_open.clone());
}

#[test]
fn of_a_partial_answer_each_record_is_delivered_refused_or_sent_again_alone() {
    for concurrency in ["adaptive", "1"] {
        let settings = format!("{QUICK}, concurrency: {concurrency}, batch: {{max_events: 8, timeout: 1h}}");
        let mut rig = Rig::new(&settings, |n, _| match n {
            // Of 0 to 7 in two batches.
            0 => status(207, "1 3 4 7/0 5"),
            // Of 1, 3, 4, 7.
            1 => status(207, "0 1 2 3/"),
            2 => status(207, "1 3/2"),
            _ => ok(),
        });
        rig.put_numbers(0..5);
        rig.put_numbers(5..8);
        rig.run();
        let bodies = rig.bodies();
        let line = |n: &u32| format!("{{\"n\":{n}}}\n");
        let want: Vec<String> = [&[0, 1, 2, 3, 4, 5, 6, 7][..], &[1, 3, 4, 7], &[1, 3, 4, 7], &[3, 7]]
            .map(|b| b.iter().map(line).collect())
            .into();
        assert_eq!(bodies, want);
        let mut letters: Vec<u64> = rig.letters().iter().map(|l| number_in(l)).collect();
        letters.sort_unstable();
        assert_eq!(letters, [0, 4, 5]);
        let totals = rig.counters.snapshot();
        assert_eq!((totals.events_in, totals.events_out), (8, 5));
        assert_eq!(totals.errors["items"], 3);
        rig.settled(&[Verdict::Rejected, Verdict::Rejected]);
    }
}

/// The number of the event in a letter.
fn number_in(letter: &str) -> u64 {
    serde_json::from_str::<serde_json::Value>(letter).unwrap()["event"]["n"].as_u64().unwrap()
}

#[test]
fn what_is_sent_again_keeps_its_batch_open_until_it_is_through() {
    let mut rig = Rig::new(QUICK, |n, _| if n == 0 { status(207, "2/") } else { ok() });
    rig.put_numbers(0..3);
    rig.put_numbers(3..4);
    rig.run();
    rig.settled(&[Verdict::Delivered, Verdict::Delivered]);
    // The agent is stopped before the rest is through: that batch stays where it came from.
    let mut rig = Rig::new("compression: none, healthcheck: false, retry: {initial: 1h}", |n, _| {
        if n == 0 { status(207, "2/") } else { ok() }
    });
    rig.put_numbers(0..3);
    let abort = rig.abort.clone();
    let counters = rig.counters.clone();
    rig.sender = None;
    let driver = rig.driver.take().unwrap();
    runtime().block_on(async {
        let run = tokio::spawn(driver.run());
        tokio::time::timeout(Duration::from_secs(20), async {
            while counters.snapshot().events_out < 2 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        abort.cancel();
        run.await.unwrap().unwrap();
    });
    assert_eq!(rig.verdicts.0.lock().unwrap()[&0], [Verdict::Failed]);
}

/// Groups of records by `stream`, each begun with its name.
struct Grouped;

impl Protocol for Grouped {
    type Mark = ();

    fn partition(&mut self, _event: EventRef<'_>, _now: i64, _name: &mut Vec<u8>) -> Result<(), Unsendable> {
        Ok(())
    }

    fn target(&self, partition: &[u8]) -> Target {
        Target { framing: Framing::FIELDS, ..Lines.target(partition) }
    }

    fn record(&mut self, event: EventRef<'_>, draft: &mut Draft<'_, ()>) -> Result<(), Unsendable> {
        let mut name = Vec::new();
        event.field(Sym::STREAM).unwrap().append_text(&mut name);
        draft.record.group = draft.groups.of(&name);
        event.field(Sym::MESSAGE).unwrap().append_text(draft.body);
        draft.keep(event);
        if name == b"none" {
            return Err(Unsendable { reason: "template", detail: "no such stream".into() });
        }
        Ok(())
    }

    fn finish(&self, load: &RequestBody<()>) -> bytes::Bytes {
        let mut out = Vec::new();
        load.each_group(|group, places| {
            out.extend_from_slice(load.groups.name(group));
            out.push(b'=');
            places.iter().for_each(|n| out.extend_from_slice(load.record(*n as usize)));
            out.push(b';');
        });
        out.into()
    }

    fn judge(&self, _answer: &Answer, _load: &RequestBody<()>, _now: i64) -> Judgement {
        Judgement::Delivered
    }
}

#[test]
fn records_of_one_group_stand_together_in_whole_bodies_halves_and_remainders() {
    let bounds = |max_bytes| Bounds { max_events: 100.try_into().unwrap(), max_bytes, timeout: Duration::from_secs(1) };
    let lines: Vec<String> = [("a", "1"), ("b", "2"), ("none", "x"), ("a", "3"), ("c", "4"), ("b", "5"), ("a", "6")]
        .iter()
        .map(|(stream, text)| format!("{{\"stream\":\"{stream}\",\"message\":\"{text}\"}}"))
        .collect();
    let loads = |max_bytes| {
        let mut batcher = Batcher::new(bounds(max_bytes));
        let (mut closed, mut unsent) = (std::collections::VecDeque::new(), Vec::new());
        let batch = rows(&lines, Ack::none());
        batcher.add(&batch, &mut Grouped, 0, tokio::time::Instant::now(), &mut closed, &mut unsent);
        assert_eq!(unsent.len(), 1);
        batcher.close_all(&mut closed);
        assert_eq!(batcher.bytes(), 0, "every byte is given back");
        closed
    };
    let body = |load: &RequestBody<()>| String::from_utf8(Grouped.finish(load).to_vec()).unwrap();
    let mut whole = loads(1000);
    assert_eq!(body(&whole[0]), "a=136;b=25;c=4;");
    let rest = whole[0].pick([1, 4, 5], Vec::new());
    assert_eq!(body(&rest), "b=25;a=6;".replace("b=25;a=6;", "a=6;b=25;"));
    let mut json = Vec::new();
    rest.event_json(&Grouped, 1, &mut json);
    assert_eq!(json, lines[5].as_bytes());
    let (first, second) = whole.pop_front().unwrap().halves();
    assert_eq!((body(&first).as_str(), body(&second).as_str()), ("a=13;b=2;", "a=6;b=5;c=4;"));
    // Where a body is full, the event that is too much begins the next with its group.
    let bodies: Vec<String> = loads(5).iter().map(body).collect();
    assert_eq!(bodies.concat().replace(|c: char| !c.is_ascii_digit(), "").len(), 6);
    assert!(bodies.len() > 1 && bodies.iter().all(|b| !b.contains("none")), "{bodies:?}");
}
