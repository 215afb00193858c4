//! Remote write against a server that is a function: what it has, what is settled, and what is said of the end of series.

use super::*;
use crate::encoding::remote_write::STALE;
use crate::sinks::delivery::{Answer, Judgement, Protocol};
use axum::http::{HeaderMap, StatusCode};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;
use tokio::task::JoinHandle;

/// What a server got: headers, series, and what it answered.
type Got = (HashMap<String, String>, Vec<Pushed>, u16);

/// A server whose answer to each request is what a function of its number says.
async fn server(answer: impl Fn(usize) -> u16 + Send + Sync + 'static) -> (String, Arc<Mutex<Vec<Got>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api/v1/write", listener.local_addr().unwrap());
    let taken: Arc<Mutex<Vec<Got>>> = Arc::default();
    let (seen, answer) = (taken.clone(), Arc::new(answer));
    let handle = move |headers: HeaderMap, body: axum::body::Bytes| {
        let (seen, answer) = (seen.clone(), answer.clone());
        async move {
            let mut seen = seen.lock().unwrap();
            let headers = headers.iter().map(|(k, v)| (k.to_string(), v.to_str().unwrap().to_owned())).collect();
            let status = answer(seen.len());
            let body = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
            seen.push((headers, read_write_request(&body), status));
            (StatusCode::from_u16(status).unwrap(), "words of the server, hunter22")
        }
    };
    let router = axum::Router::new().route("/api/v1/write", axum::routing::post(handle));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, taken)
}

/// Verdicts, by a source for which somebody waits or not.
#[derive(Default)]
struct Source {
    verdicts: Mutex<Vec<Verdict>>,
    waits: bool,
}

impl Settled for Source {
    fn settled(&self, _token: u64, verdict: Verdict) {
        self.verdicts.lock().unwrap().push(verdict);
    }

    fn waits(&self) -> bool {
        self.waits
    }
}

/// A running sink.
struct Rig {
    sender: Option<QueueSender>,
    counters: Arc<Counters>,
    successors: crate::component::Successors,
    abort: CancellationToken,
    source: Arc<Source>,
    task: JoinHandle<Result<(), RunError>>,
}

/// Waits that take no time, and a circuit that opens after a few failures.
const QUICK: &str = "retry: {initial: 1ms, max: 5ms}, circuit_breaker: {failures: 5}";

impl Rig {
    /// `push` and `more` are settings under `remote_write` and beside it.
    fn start(url: &str, push: &str, more: &str) -> Rig {
        Rig::start_as("stats", url, push, more, false)
    }

    fn start_as(id: &str, url: &str, push: &str, more: &str, waits: bool) -> Rig {
        let config = config(&format!(
            "remote_write: {{url: \"{url}\", {push}}}\nmetrics:\n- {{name: n_total, type: counter, labels: {{a: \"{{{{ a }}}}\"}}}}\n{more}"
        ));
        let options = Options {
            path: config.path.value,
            metrics: config.metrics.into_iter().map(MetricConfig::options).collect(),
            expire_after: config.expire_after,
            max_series: config.max_series,
        };
        let push = Push::new(config.remote_write.unwrap(), std::path::Path::new("/data"), id).unwrap();
        let SinkRun::Task(run) = run_on(None, Some(push), options).unwrap() else { panic!("a task") };
        let counters = Counters::new(id, ComponentKind::Sink, "prometheus");
        let queue = Queue::new(8 << 20, FullPolicy::Block, counters.clone());
        let (successors, abort) = (crate::component::Successors::default(), CancellationToken::new());
        let input = Input {
            queue: queue.clone(),
            counters: counters.clone(),
            dead_letter: None,
            abort: abort.clone(),
            shutdown_allowed: None,
            successors: successors.clone(),
            health: Arc::new(Health::default()),
            report: Default::default(),
            reader: 0,
            succession: Default::default(),
            call: Default::default(),
            requests: Default::default(),
        };
        let source = Arc::new(Source { waits, ..Source::default() });
        Rig { sender: Some(queue.sender()), counters, successors, abort, source, task: tokio::spawn(run(input)) }
    }

    fn feed(&self, lines: &str) {
        let ack = Ack::new(self.source.clone(), 0);
        self.sender.as_ref().unwrap().send(batch(lines, EventKind::Log, ack));
    }

    fn verdicts(&self) -> Vec<Verdict> {
        self.source.verdicts.lock().unwrap().clone()
    }

    /// The input ends; waits for the sink's end.
    async fn end(&mut self) {
        self.sender = None;
        // Long enough for a machine that does much else.
        let ended = tokio::time::timeout(Duration::from_secs(120), &mut self.task).await;
        ended.expect("it ends").unwrap().unwrap();
        assert_eq!(self.counters.snapshot().balance(), 0);
    }

    /// out, held, and what was dropped.
    fn ledger(&self) -> (u64, u64, BTreeMap<&'static str, u64>) {
        let totals = self.counters.snapshot();
        (totals.events_out, totals.held, totals.dropped)
    }
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Label `a` of a series.
fn a(series: &Pushed) -> String {
    series.0.iter().find(|l| l.0 == "a").map(|l| l.1.clone()).unwrap_or_default()
}

/// Values of the series with this label in what the server has taken, a stale marker as `None`, request by request.
fn taken(got: &Mutex<Vec<Got>>, label: &str) -> Vec<Vec<Option<f64>>> {
    let got = got.lock().unwrap();
    let requests = got.iter().filter(|g| (200..300).contains(&g.2));
    let samples = requests.map(|g| g.1.iter().filter(|s| a(s) == label).flat_map(|s| s.1.clone()));
    let value = |(bits, _): (u64, i64)| (bits != STALE).then_some(f64::from_bits(bits));
    samples.map(|s| s.map(value).collect::<Vec<_>>()).filter(|s| !s.is_empty()).collect()
}

#[tokio::test]
async fn an_event_is_delivered_when_the_server_has_its_counts() {
    let (url, got) = server(|n| if n < 3 { 503 } else { 204 }).await;
    let auth = "auth: {basic: {user: u, password: hunter22}}, headers: {X-Scope-OrgID: t1}";
    let mut rig = Rig::start(&url, &format!("interval: 20ms, {QUICK}, {auth}"), "");
    rig.feed("{\"a\":1}\n{\"a\":1}\n");
    until("it is settled", || {
        let sent = got.lock().unwrap().len();
        let verdicts = rig.verdicts();
        assert!(verdicts.is_empty() || sent > 3, "settled before the server had it");
        !verdicts.is_empty()
    })
    .await;
    assert_eq!((rig.verdicts(), rig.ledger()), (vec![Verdict::Delivered], (2, 0, BTreeMap::new())));
    rig.feed("{\"a\":1}\n");
    rig.end().await;
    assert_eq!((rig.verdicts().len(), rig.ledger()), (2, (3, 0, BTreeMap::new())));
    let last = taken(&got, "1").pop().unwrap();
    assert_eq!(last, [Some(3.0), None], "the last value, and that it is the last");
    let got = got.lock().unwrap();
    let headers = &got[0].0;
    assert_eq!(headers["content-encoding"], "snappy");
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert_eq!(headers["x-prometheus-remote-write-version"], "0.1.0");
    assert_eq!(headers["x-scope-orgid"], "t1");
    assert_eq!(headers["authorization"], "Basic dTpodW50ZXIyMg==");
    let totals = rig.counters.snapshot();
    assert!(totals.bytes_out > 0 && totals.errors["http_503"] == 3, "{totals:?}");
    assert!(!rig.counters.latency().is_empty());
}

#[tokio::test]
async fn what_never_gets_through_is_left_undelivered() {
    for status in [503, 429, 404] {
        let (url, got) = server(move |_| status).await;
        let mut rig =
            Rig::start(&url, "interval: 1h, retry: {initial: 50ms, max: 200ms}, circuit_breaker: {failures: 5}", "");
        rig.feed("{\"a\":1}\n{\"a\":2}\n");
        // What does not open the circuit is tried for the ten seconds that there are.
        let began = Instant::now();
        rig.end().await;
        assert!(began.elapsed() < Duration::from_secs(60));
        assert!(!got.lock().unwrap().is_empty());
        assert_eq!((rig.verdicts(), rig.ledger()), (vec![Verdict::Failed], (0, 2, BTreeMap::new())), "{status}");
        assert_eq!(rig.counters.snapshot().errors["stale_marker"], 2);
    }
}

/// At the end there is no time left to leave a server alone, unless it has asked for that.
#[tokio::test]
async fn the_last_state_is_tried_whatever_was_before() {
    let up = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_up = up.clone();
    let (url, got) = server(move |_| if is_up.load(std::sync::atomic::Ordering::SeqCst) { 204 } else { 503 }).await;
    let open = "retry: {initial: 1ms, max: 1ms}, circuit_breaker: {failures: 2, reset: 1h}";
    let waiting = "retry: {initial: 1h, max: 1h}, circuit_breaker: {failures: 100}";
    for (settings, failures) in [(open, 2), (waiting, 1)] {
        up.store(false, std::sync::atomic::Ordering::SeqCst);
        let mut rig = Rig::start(&url, &format!("interval: 20ms, {settings}"), "");
        rig.feed("{\"a\":1}\n");
        until("it has failed", || rig.counters.snapshot().errors.get("http_503") == Some(&failures)).await;
        up.store(true, std::sync::atomic::Ordering::SeqCst);
        let before = got.lock().unwrap().len();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(got.lock().unwrap().len(), before, "the server is left alone");
        rig.end().await;
        assert_eq!((rig.verdicts(), rig.ledger()), (vec![Verdict::Delivered], (1, 0, BTreeMap::new())));
    }
}

#[tokio::test]
async fn a_second_signal_leaves_it_at_once() {
    let (url, _got) = server(|_| 503).await;
    let mut rig = Rig::start(&url, "interval: 20ms, retry: {initial: 1h, max: 1h}", "");
    rig.feed("{\"a\":1}\n");
    until("it has tried", || rig.counters.snapshot().errors.contains_key("http_503")).await;
    rig.abort.cancel();
    let began = Instant::now();
    rig.end().await;
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!((rig.verdicts(), rig.ledger()), (vec![Verdict::Failed], (0, 1, BTreeMap::new())));
}

#[tokio::test]
async fn a_refused_push_is_not_repeated_and_the_next_has_its_counts() {
    let (url, got) = server(|n| if n < 2 { 400 } else { 200 }).await;
    let mut rig = Rig::start(&url, &format!("interval: 30ms, {QUICK}"), "");
    rig.feed("{\"a\":1}\n");
    until("it is settled", || !rig.verdicts().is_empty()).await;
    assert_eq!((rig.verdicts(), rig.ledger()), (vec![Verdict::Delivered], (1, 0, BTreeMap::new())));
    let times: Vec<i64> = got.lock().unwrap().iter().map(|g| g.1[0].1[0].1).collect();
    assert!(times.is_sorted_by(|a, b| a < b), "each is of its own time: {times:?}");
    rig.end().await;

    // Refused for ever: dropped after three.
    let (url, got) = server(|_| 400).await;
    let mut rig = Rig::start(&url, &format!("interval: 30ms, {QUICK}"), "");
    rig.feed("{\"a\":1}\n");
    until("it is settled", || !rig.verdicts().is_empty()).await;
    assert_eq!((rig.verdicts(), rig.ledger()), (vec![Verdict::Rejected], (0, 0, BTreeMap::from([("refused", 1)]))));
    assert!(got.lock().unwrap().len() >= 3);
    rig.feed("{\"a\":1}\n");
    rig.end().await;
    assert_eq!(rig.ledger(), (0, 0, BTreeMap::from([("refused", 2)])), "the last one is not followed by another");
}

#[tokio::test]
async fn after_max_elapsed_the_events_are_dropped_and_counted() {
    let (url, _got) = server(|_| 503).await;
    let settings =
        "interval: 20ms, retry: {initial: 1ms, max: 5ms, max_elapsed: 100ms}, circuit_breaker: {failures: 100000}";
    let mut rig = Rig::start(&url, settings, "");
    rig.feed("{\"a\":1}\n");
    until("it is settled", || !rig.verdicts().is_empty()).await;
    let dropped = BTreeMap::from([("retries_exhausted", 1)]);
    assert_eq!((rig.verdicts(), rig.ledger()), (vec![Verdict::Rejected], (0, 0, dropped)));
    rig.abort.cancel();
    rig.end().await;
}

/// Newer states take the place of older ones, and the waits go on growing over them.
#[tokio::test]
async fn waits_grow_from_state_to_state_and_what_is_given_up_is_counted() {
    let (url, got) = server(|n| if n < 6 { 503 } else { 204 }).await;
    let retry = "retry: {initial: 20ms, max: 10s, jitter: 0}, circuit_breaker: {failures: 100}";
    let mut rig = Rig::start(&url, &format!("interval: 10ms, {retry}"), "");
    let began = Instant::now();
    rig.feed("{\"a\":1}\n");
    until("it is settled", || !rig.verdicts().is_empty()).await;
    // 20 + 40 + 80 + 160 + 320 + 640 ms.
    assert!(began.elapsed() >= Duration::from_millis(1260), "{:?}", began.elapsed());
    {
        let got = got.lock().unwrap();
        assert_eq!(got.iter().filter(|g| g.2 == 503).count(), 6);
        let times: Vec<i64> = got.iter().map(|g| g.1[0].1[0].1).collect();
        assert!(times[6] - times[5] >= 500, "the newest state is sent, not that of the first attempt: {times:?}");
    }
    let totals = rig.counters.snapshot();
    assert!(totals.errors["superseded"] > 10, "{totals:?}");
    assert_eq!(rig.ledger(), (1, 0, BTreeMap::new()));
    rig.end().await;
}

#[tokio::test]
async fn the_end_of_a_series_is_said_until_the_server_has_it_and_once() {
    // The marker's first requests fail.
    let (url, got) = server(|n| if (4..9).contains(&n) { 503 } else { 204 }).await;
    let push = "interval: 20ms, retry: {initial: 1ms, max: 5ms}, circuit_breaker: {failures: 50}";
    let mut rig = Rig::start(&url, push, "expire_after: 60ms\n");
    rig.feed("{\"a\":1}\n");
    until("the marker is there", || taken(&got, "1").last().is_some_and(|s| s.last() == Some(&None))).await;
    let before = got.lock().unwrap().len();
    // Another series keeps the sink sending, until no request fails any more.
    let sent = async |rig: &Rig, requests: usize| {
        until("more was sent", || {
            rig.feed("{\"a\":2}\n");
            got.lock().unwrap().len() > requests
        })
        .await;
        taken(&got, "1").concat()
    };
    let of_1 = sent(&rig, before.max(9) + 2).await;
    // Twice where the next snapshot was taken before the answer came, and then no more.
    assert!((1..=2).contains(&of_1.iter().filter(|v| v.is_none()).count()), "{of_1:?}");
    assert_eq!(sent(&rig, before.max(9) + 8).await, of_1);
    // It comes again after its end.
    rig.feed("{\"a\":1}\n");
    rig.end().await;
    let of_1 = taken(&got, "1").concat();
    assert_eq!(of_1[of_1.len() - 3..], [None, Some(1.0), None], "{of_1:?}");
    assert_eq!(rig.ledger().1, 0);
}

/// A series that is over before it was sent at all: its value goes with its end.
#[tokio::test]
async fn no_count_is_lost_with_a_series_that_is_over() {
    let (url, got) = server(|_| 204).await;
    let mut rig = Rig::start(&url, "interval: 100ms", "expire_after: 1ms\n");
    rig.feed("{\"a\":1}\n{\"a\":1}\n");
    until("it is settled", || !rig.verdicts().is_empty()).await;
    assert_eq!(taken(&got, "1"), [[Some(2.0), None]]);
    rig.end().await;
    assert_eq!(taken(&got, "1").len(), 1, "nothing more of it");
}

#[tokio::test]
async fn series_go_on_when_the_configuration_is_read_again() {
    let (url, got) = server(|_| 204).await;
    let mut rig = Rig::start_as("going_on", &url, "interval: 20ms", "", false);
    rig.feed("{\"a\":1}\n{\"a\":2}\n");
    until("both are there", || !taken(&got, "2").is_empty()).await;
    rig.successors.set(vec![("going_on".to_owned(), "prometheus")]);
    rig.end().await;
    let all = |label: &str| taken(&got, label).concat();
    assert!(!all("1").contains(&None) && !all("2").contains(&None), "nothing ends");
    // One comes again, the other does not.
    let mut rig = Rig::start_as("going_on", &url, "interval: 50ms, stale_at_stop: false", "", false);
    rig.feed("{\"a\":1}\n");
    until("the other ends", || all("2").contains(&None)).await;
    rig.end().await;
    assert!(!all("1").contains(&None), "{:?}", all("1"));
    assert_eq!(all("2").iter().filter(|v| v.is_none()).count(), 1);
    assert_eq!(all("1").last(), Some(&Some(1.0)), "and with `stale_at_stop: false` nothing ends at the end");
}

/// A client that waits for its answer does not wait for the interval.
#[tokio::test]
async fn who_waits_for_the_verdict_has_it_soon() {
    let (url, got) = server(|_| 204).await;
    let mut rig = Rig::start_as("stats", &url, "interval: 1h", "", true);
    let began = Instant::now();
    rig.feed("{\"a\":1}\n");
    until("it is settled", || !rig.verdicts().is_empty()).await;
    assert!(began.elapsed() >= Duration::from_millis(900), "not for each event: {:?}", began.elapsed());
    rig.feed("{\"a\":2}\n");
    until("it is settled", || rig.verdicts().len() == 2).await;
    assert_eq!((taken(&got, "1").len(), taken(&got, "2").len()), (1, 1), "only what has changed is sent");
    rig.end().await;
}

/// A server that takes nothing for long does not fill the memory with verdicts that are owed.
#[tokio::test]
async fn what_is_owed_to_sources_is_bounded() {
    let open = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let taking = open.clone();
    let (url, got) = server(move |_| if taking.load(std::sync::atomic::Ordering::SeqCst) { 204 } else { 503 }).await;
    let settings = "interval: 20ms, retry: {initial: 1ms, max: 5ms}, circuit_breaker: {failures: 1000000}";
    let mut rig = Rig::start(&url, settings, "");
    for _ in 0..200 {
        rig.feed("{\"a\":1}\n");
    }
    let waiting = || rig.counters.snapshot().gauges["buffer_events"];
    until("the rest waits", || waiting() <= 136.0).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(waiting(), 136.0, "64 were taken");
    open.store(true, std::sync::atomic::Ordering::SeqCst);
    until("all are settled", || rig.verdicts().len() == 200).await;
    rig.end().await;
    assert_eq!(rig.ledger(), (200, 0, BTreeMap::new()));
    assert_eq!(taken(&got, "1").pop().unwrap(), [Some(200.0), None]);
}

#[tokio::test]
async fn events_whose_verdict_nobody_hears_are_counted_without_bound() {
    let (url, _got) = server(|_| 503).await;
    let mut rig = Rig::start(&url, &format!("interval: 1h, {QUICK}"), "");
    for _ in 0..200 {
        rig.sender.as_ref().unwrap().send(batch("{\"a\":1}\n", EventKind::Log, Ack::none()));
    }
    until("all are counted", || rig.counters.snapshot().gauges["buffer_events"] == 0.0).await;
    rig.end().await;
    assert_eq!(rig.ledger(), (0, 200, BTreeMap::new()));
}

/// What a receiver would show: the last value of each series, none for one that has ended.
#[derive(Default)]
struct Receiver(BTreeMap<String, Option<f64>>);

impl Receiver {
    fn take(&mut self, request: &[u8]) {
        for series in read_write_request(request) {
            for (bits, _) in &series.1 {
                self.0.insert(a(&series), (*bits != STALE).then_some(f64::from_bits(*bits)));
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// An event for this series.
    Count(u8),
    /// Somebody says that it is over.
    End(u8),
    /// Time goes by.
    Wait(u8),
    /// A snapshot is taken, and gets through, does not, or does though nobody learns of it.
    Push { all: bool, taken: bool, answered: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..4).prop_map(Step::Count),
        1 => (0u8..4).prop_map(Step::End),
        2 => (0u8..8).prop_map(Step::Wait),
        3 => any::<(bool, bool, bool)>().prop_map(|(all, taken, answered)| Step::Push { all, taken, answered }),
    ]
}

proptest! {
    /// Whatever gets lost on the way: a receiver that has the last snapshot shows what is counted and nothing that is over,
    /// and each count was in a snapshot that it has.
    #[test]
    fn a_receiver_of_some_snapshots_misses_nothing(steps in proptest::collection::vec(step(), 1..60)) {
        let mut bench = Setup::new("expire_after: 5s\nmetrics:\n- {name: n, type: counter, labels: {a: \"{{ a }}\"}}\n");
        bench.registry.lock().unwrap().keep_until_sent();
        let (mut receiver, mut ms) = (Receiver::default(), 0);
        // The highest value of each series that the receiver was ever shown, against what was counted of it.
        let mut shown = BTreeMap::<String, f64>::new();
        let push = |bench: &Setup, receiver: &mut Receiver, shown: &mut BTreeMap<String, f64>, all, taken, answered, ms: &mut i64| {
            let mut registry = bench.registry.lock().unwrap();
            registry.age(bench.now);
            *ms += 10;
            let which = if all { Which::All } else { Which::Unsent };
            let snapshot = Snapshot::take(&mut registry, which, *ms, &mut Heirless::default(), false);
            if taken {
                receiver.take(snapshot.request());
                for series in read_write_request(snapshot.request()) {
                    for (bits, _) in series.1.iter().filter(|s| s.0 != STALE) {
                        let value = shown.entry(a(&series)).or_default();
                        *value = value.max(f64::from_bits(*bits));
                    }
                }
                if answered {
                    registry.delivered(snapshot.number);
                }
            }
        };
        let mut counted = BTreeMap::<String, f64>::new();
        for step in steps {
            match step {
                Step::Count(n) => {
                    bench.logs(&format!("{{\"a\":{n}}}\n"));
                    // One that was forgotten begins anew; the receiver has seen all of what was before.
                    let text = bench.text();
                    let line = text.lines().find(|l| l.starts_with(&format!("n{{a=\"{n}\"}}"))).unwrap().to_owned();
                    let value: f64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
                    let before = counted.insert(n.to_string(), value).unwrap_or(0.0);
                    if value <= before {
                        prop_assert_eq!(value, 1.0);
                        prop_assert!(shown[&n.to_string()] >= before, "forgotten before it was sent");
                        shown.insert(n.to_string(), 0.0);
                    }
                }
                Step::End(n) => {
                    let mut registry = bench.registry.lock().unwrap();
                    _ = registry.end(0, format!("a=\"{n}\"").as_bytes());
                }
                Step::Wait(seconds) => bench.now += u64::from(seconds) * 1_000_000_000,
                Step::Push { all, taken, answered } => {
                    push(&bench, &mut receiver, &mut shown, all, taken, answered, &mut ms);
                }
            }
        }
        push(&bench, &mut receiver, &mut shown, true, true, true, &mut ms);
        let text = bench.text();
        let page: BTreeMap<String, f64> = text.lines().filter(|l| l.starts_with("n{")).map(|l| {
            let (labels, value) = l.rsplit_once(' ').unwrap();
            (labels[5..labels.len() - 2].to_owned(), value.parse().unwrap())
        }).collect();
        let receives: BTreeMap<String, f64> = receiver.0.iter().filter_map(|(k, v)| Some((k.clone(), (*v)?))).collect();
        prop_assert_eq!(page, receives);
        for (series, value) in counted {
            prop_assert!(shown[&series] >= value, "{} was counted up to {}, and {:?} shown", series, value, shown);
        }
        // What is over is forgotten once that is known.
        let mut registry = bench.registry.lock().unwrap();
        registry.age(bench.now);
        let left = registry.families[0].series.iter().filter(|s| registry.is_over(s)).count();
        prop_assert_eq!(left, 0);
    }
}

#[test]
fn series_that_wait_for_their_end_to_be_known_make_place_for_others() {
    let mut bench =
        Setup::new("max_series: 2\nexpire_after: 1s\nmetrics:\n- {name: n, type: counter, labels: {a: \"{{ a }}\"}}\n");
    bench.registry.lock().unwrap().keep_until_sent();
    let take = |bench: &Setup| {
        let mut registry = bench.registry.lock().unwrap();
        registry.age(bench.now);
        Snapshot::take(&mut registry, Which::All, 5, &mut Heirless::default(), false).number
    };
    assert_eq!(bench.logs("{\"a\":1}\n{\"a\":2}\n").full, 0);
    bench.now = 5_000_000_000;
    // Nobody has their values yet: they stay, and there is no room.
    assert_eq!(bench.logs("{\"a\":3}\n").full, 1);
    let number = take(&bench);
    bench.registry.lock().unwrap().delivered(number);
    assert_eq!(bench.logs("{\"a\":3}\n{\"a\":4}\n").full, 0, "the receiver knows of both that they have ended");
    // Values are known, ends are not.
    let number = take(&bench);
    bench.registry.lock().unwrap().delivered(number);
    bench.now = 10_000_000_000;
    take(&bench);
    assert_eq!(bench.logs("{\"a\":5}\n{\"a\":6}\n").full, 0);
    assert_eq!(bench.registry.lock().unwrap().sent.unwrap().given_up, 2, "which is counted");
}

/// What a request of version 2.0 says of a series: type, help, unit, and when it began.
type Said = (u64, String, String, i64);

/// Series of a request of version 2.0, as those of 1.0 are read.
fn read_version_2(body: &[u8]) -> Vec<Pushed> {
    read_version_2_whole(body).into_iter().map(|(series, _)| series).collect()
}

/// Those, and what they are.
fn read_version_2_whole(body: &[u8]) -> Vec<(Pushed, Said)> {
    use crate::wire::protobuf::{Fields, repeated_varint};
    let fields: Vec<_> = Fields::new(body).map(Result::unwrap).collect();
    let symbols: Vec<String> = fields
        .iter()
        .filter(|(number, _)| *number == 4)
        .map(|(_, symbol)| String::from_utf8(symbol.bytes().unwrap().to_vec()).unwrap())
        .collect();
    assert_eq!(symbols[0], "", "the first symbol is the empty text");
    assert_eq!(symbols.iter().collect::<BTreeSet<_>>().len(), symbols.len(), "each text once: {symbols:?}");
    let read = |series: &[u8]| {
        let (mut refs, mut samples, mut said) = (Vec::new(), Vec::new(), Said::default());
        let symbol = |n: u64| symbols[n as usize].clone();
        for field in Fields::new(series) {
            match field.unwrap() {
                (1, packed) => repeated_varint(packed, &mut refs).unwrap(),
                (2, sample) => {
                    let parts: Vec<_> = Fields::new(sample.bytes().unwrap()).map(|f| f.unwrap().1).collect();
                    samples.push((parts[0].u64().unwrap(), parts[1].i64().unwrap()));
                }
                (5, metadata) => {
                    for field in Fields::new(metadata.bytes().unwrap()) {
                        match field.unwrap() {
                            (1, kind) => said.0 = kind.u64().unwrap(),
                            (3, help) => said.1 = symbol(help.u64().unwrap()),
                            (4, unit) => said.2 = symbol(unit.u64().unwrap()),
                            other => panic!("{other:?}"),
                        }
                    }
                }
                (6, created) => said.3 = created.i64().unwrap(),
                other => panic!("{other:?}"),
            }
        }
        assert!(refs.len() % 2 == 0, "a name and a value each: {refs:?}");
        let labels: Vec<_> = refs.chunks(2).map(|pair| (symbol(pair[0]), symbol(pair[1]))).collect();
        assert!(labels.windows(2).all(|two| two[0].0 < two[1].0), "sorted, each name once: {labels:?}");
        assert!(labels.iter().all(|(name, value)| !name.is_empty() && !value.is_empty()), "no empty ones: {labels:?}");
        assert!(labels.iter().any(|(name, _)| name == "__name__"), "{labels:?}");
        assert!(!samples.is_empty() && samples.windows(2).all(|two| two[0].1 < two[1].1), "in order: {samples:?}");
        ((labels, samples), said)
    };
    fields.iter().filter(|(number, _)| *number == 5).map(|(_, series)| read(series.bytes().unwrap())).collect()
}

#[tokio::test]
async fn version_2_is_spoken_where_it_is_known_and_version_1_where_it_is_not() {
    // What a server does with version 2: it writes it, refuses it, or answers well and has nothing.
    for (status, says_written, versions) in [(204, true, "2"), (415, false, "21"), (204, false, "21")] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/api/v1/write", listener.local_addr().unwrap());
        let got: Arc<Mutex<Vec<(char, Vec<Pushed>)>>> = Arc::default();
        let seen = got.clone();
        let handle = move |headers: HeaderMap, body: axum::body::Bytes| {
            let seen = seen.clone();
            async move {
                let body = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
                let of = |name: &str| headers[name].to_str().unwrap().to_owned();
                let two = of("content-type") == "application/x-protobuf;proto=io.prometheus.write.v2.Request";
                assert_eq!(of("x-prometheus-remote-write-version"), if two { "2.0.0" } else { "0.1.0" });
                assert!(of("content-encoding") == "snappy" && of("user-agent").starts_with("tidegate/"));
                let series = if two { read_version_2(&body) } else { read_write_request(&body) };
                let mut out = HeaderMap::new();
                if two && says_written {
                    out.insert("x-prometheus-remote-write-samples-written", series.len().into());
                }
                seen.lock().unwrap().push((if two { '2' } else { '1' }, series));
                (StatusCode::from_u16(if two { status } else { 204 }).unwrap(), out)
            }
        };
        let router = axum::Router::new().route("/api/v1/write", axum::routing::post(handle));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let mut rig = Rig::start(&url, &format!("version: 2, interval: 1h, stale_at_stop: false, {QUICK}"), "");
        rig.feed("{\"a\":\"x\"}\n{\"a\":\"y \\\"é\\\"\"}\n{\"a\":\"x\"}");
        rig.end().await;
        let got = got.lock().unwrap();
        let spoken: String = got.iter().map(|(version, _)| *version).collect();
        assert_eq!(spoken, versions, "{status}");
        let series = &got.last().unwrap().1;
        let mut values: Vec<(String, f64)> = series.iter().map(|s| (a(s), f64::from_bits(s.1[0].0))).collect();
        values.sort_by(|x, y| x.0.cmp(&y.0));
        assert_eq!(values, [("x".to_owned(), 2.0), ("y \"é\"".to_owned(), 1.0)]);
        assert_eq!(rig.verdicts(), [Verdict::Delivered]);
    }
}

/// Type, help, unit and beginning of each series; a server of version 1 gets none of it.
#[test]
fn version_2_says_with_each_series_what_it_is() {
    let before = crate::time::clock::now_ns() / 1_000_000;
    let mut bench = Setup::new(concat!(
        "metrics:\n",
        "- {name: n_total, type: counter, description: \"How many.\"}\n",
        "- {name: depth_bytes, type: gauge, unit: bytes, value: v, description: \"Depth.\"}\n",
        "- {name: lat, type: histogram, buckets: [1], value: v, description: \"How long.\"}\n",
        "- {name: sizes, type: summary, quantiles: [0.5], value: v, description: \"Sizes.\"}\n",
    ));
    {
        let mut registry = bench.registry.lock().unwrap();
        registry.keep_until_sent();
        registry.describes = true;
    }
    bench.logs("{\"v\":1}\n");
    bench.metrics(concat!(
        r#"{"name":"theirs_total","value":5,"type":"counter","description":"Theirs.","startTimestamp":"2025-01-10T10:00:00Z"}"#,
        "\n",
        r#"{"name":"others_count","value":2,"type":"histogram","start_timestamp":1736503200,"temporality":"cumulative"}"#,
        "\n",
        r#"{"name":"unknown_total","value":5,"type":"counter"}"#,
        "\n",
    ));
    let snapshot = {
        let mut registry = bench.registry.lock().unwrap();
        registry.age(bench.now);
        Snapshot::take(&mut registry, Which::All, 5, &mut Heirless::default(), false)
    };
    let body = crate::encoding::remote_write::version_2(snapshot.request()).unwrap();
    let after = crate::time::clock::now_ns() / 1_000_000;
    let said: BTreeMap<String, Said> = read_version_2_whole(&body)
        .into_iter()
        .map(|((labels, _), said)| (labels.iter().find(|l| l.0 == "__name__").unwrap().1.clone(), said))
        .collect();
    let began = 1_736_503_200_000;
    // -1: since this test began.
    let want = [
        ("n_total", 1, "How many.", "", -1),
        ("depth_bytes", 2, "Depth.", "bytes", 0),
        ("lat_bucket", 3, "How long.", "", -1),
        ("lat_sum", 3, "How long.", "", -1),
        ("lat_count", 3, "How long.", "", -1),
        ("sizes", 5, "Sizes.", "", -1),
        ("sizes_sum", 5, "Sizes.", "", -1),
        ("sizes_count", 5, "Sizes.", "", -1),
        ("theirs_total", 1, "Theirs.", "", began),
        ("others_count", 3, "", "", began),
        ("unknown_total", 1, "", "", 0),
    ];
    assert_eq!(said.len(), want.len(), "{said:?}");
    for (name, kind, help, unit, created) in want {
        let (k, h, u, at) = &said[name];
        let at = if (before..=after).contains(at) { -1 } else { *at };
        assert_eq!((*k, h.as_str(), u.as_str(), at), (kind, help, unit, created), "{name}");
    }
    // Of version 1 it is the same without that.
    let plain = crate::encoding::remote_write::version_1(snapshot.request()).unwrap();
    assert_eq!(read_write_request(&plain), read_version_2(&body));
}

/// What the specification says of answers to requests of 2.0, a row each.
#[tokio::test]
async fn answers_of_version_2_are_judged_by_what_they_say_was_written() {
    // Samples, histograms and exemplars that the answer says were written; what becomes of a request with two samples.
    let rows: [(u16, [&str; 3], &str); 12] = [
        (204, ["2", "", ""], "delivered"),
        (200, ["2", "0", "0"], "delivered"),
        // More than one has sent is no reason to send it again.
        (204, ["3", "", ""], "delivered"),
        (204, ["1", "", ""], "refused: HTTP 204: the server has written 1 of 2 samples"),
        (204, ["0", "0", "0"], "refused: HTTP 204: the server has written 0 of 2 samples"),
        // A header that is missing says zero, where another shows that the server knows 2.0.
        (200, ["", "0", ""], "refused: HTTP 200: the server has written 0 of 2 samples"),
        (200, ["two", "", ""], "refused: HTTP 200: the server has written 0 of 2 samples"),
        // None: a server that did not look at what it got.
        (204, ["", "", ""], "again in version 1"),
        (415, ["", "", ""], "again in version 1"),
        // Some were written, some are bad: what was written is not sent again.
        (400, ["1", "0", "0"], "refused: HTTP 400: words (1 of 2 samples were written)"),
        (503, ["1", "0", "0"], "again"),
        (429, ["", "", ""], "again"),
    ];
    for (status, counts, want) in rows {
        let mut series = super::super::push::Series::of_version_2("http://h/api/v1/write");
        let mut text = Vec::new();
        for name in [&b"a"[..], b"b"] {
            let mut labels = Vec::new();
            crate::encoding::remote_write::push_labels([(&b"__name__"[..], name)], &mut labels);
            let sample = |out: &mut Vec<u8>| crate::encoding::remote_write::push_sample(7, 5, out);
            crate::encoding::remote_write::push_series(&labels, sample, &mut text);
        }
        let mut batch = Batch::new(Slab::from_vec(text.clone()), Origin::of_source("in"), 0, Ack::none());
        batch.push_event(EventKind::Metric);
        batch.push_text_field(Sym::MESSAGE, 0, text.len());
        let load = crate::sinks::delivery::bodies::of(&mut series, &[batch], 1 << 20).pop().unwrap();
        let mut headers = reqwest::header::HeaderMap::new();
        for (name, count) in
            ["samples", "histograms", "exemplars"].iter().zip(counts).filter(|(_, count)| !count.is_empty())
        {
            let name = format!("X-Prometheus-Remote-Write-{name}-Written");
            headers.insert(reqwest::header::HeaderName::from_bytes(name.as_bytes()).unwrap(), count.parse().unwrap());
        }
        let answer = Answer { status, body: "words".into(), headers, ..Answer::default() };
        series.heard(&answer);
        let got = match series.judge(&answer, &load, 0) {
            Judgement::Delivered => "delivered".to_owned(),
            Judgement::RefusedAll { reason, detail } => format!("{reason}: {detail}"),
            Judgement::Retry { kind: "version", .. } => "again in version 1".to_owned(),
            Judgement::Retry { .. } => "again".to_owned(),
            other => format!("{other:?}"),
        };
        assert_eq!(got, want, "{status} {counts:?}");
    }
}
