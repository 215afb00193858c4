//! `remote_write`: the state of all series, sent to a server at an interval.
//!
//! Protocol: Prometheus remote write 1.0 (protobuf `WriteRequest`, snappy block format), or 2.0 with `version: 2`: then each series comes with
//! its type, help, unit and, where it is known, its beginning, and what the answer says was written is held against what was
//! sent. By the delivery of all sinks over
//! the network (see [`delivery`](crate::sinks::delivery)): waits that grow, `Retry-After`, circuit breaker. Only one thing is its own:
//! a snapshot has the values of its moment, so a newer one takes the place of one that did not get through. What was tried of
//! that counts for the newer one. Samples given up like this are counted (errors of kind `superseded`).
//!
//! **Delivered** is an event when the receiver has taken a snapshot with its counts; until then it is held, and its source
//! keeps its place. A snapshot is taken at every `interval`, and where a client waits for the verdict on an event (`http` with
//! `acknowledge: delivered`) [`EARLY`] after it came, with the series that have changed. What the receiver refuses for good is
//! not sent again; the events go with the next snapshot, which has their counts too, and are dropped as `refused` where that
//! happens [`REFUSALS`] times in a row. Nothing of all that goes to a dead letter: what is sent are not the events.
//!
//! **The end** of a series is said to the receiver (stale marker), with each snapshot until it has one of them: where a series
//! is over, and, unless `stale_at_stop` is off, for all of them where the agent stops. When the configuration is read again the
//! series go on (see [`handover`]).
//!
//! While the server does not take anything, events go on being counted until verdicts on [so many](waiting) batches are owed to
//! their sources; then nothing more is taken and the buffer fills.
//!
//! When the input ends a last snapshot is tried for ten seconds; what then is not delivered is left undelivered, and the run
//! has failed.

mod handover;
mod snapshot;
mod waiting;

use super::registry::Registry;
use crate::ack::{Ack, Verdict};
use crate::buffer::{FullPolicy, Queue, QueueSender};
use crate::component::Input;
use crate::encoding::remote_write;
use crate::error::{BuildError, SettingError};
use crate::event::{EventKind, EventRef, Origin, Sym, Value};
use crate::http::ClientConfig;
use crate::settings::{Map, Reader, Secret, Settings, Spanned, config, config_enum};
use crate::sinks::delivery::{
    Answer, AuthConfig, BatchConfig, BreakerConfig, Concurrency, Credentials, Draft, Driver, Exchange, HttpExchange,
    Judgement, Mask, NetworkSinkCommon, Plan, Protocol, Request, RequestBody, RetryConfig, Sign, Target, TlsConfig,
    Unsendable, check_address, judge_remote_write, secrets_of, signer_of,
};
use crate::sync::Locked;
use crate::telemetry::{ComponentKind, Counters};
use crate::time::clock;
use bytes::Bytes;
use handover::Whose;
use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
pub(super) use snapshot::{Heirless, Snapshot, Which};
use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use waiting::Verdicts;
pub(super) use waiting::{Held, Waiting};

config! {
    /// Sends the series to a server that takes Prometheus remote write.
    pub struct RemoteWriteConfig {
        /// Where to: `http://prometheus:9090/api/v1/write`.
        pub url: Spanned<String>,
        /// Version of the protocol. A server that turns out not to know 2 gets 1 from then on.
        pub version: PushVersion = PushVersion::One,
        /// How often.
        pub interval: Duration = Duration::from_secs(15),
        /// How long one attempt may take.
        pub timeout: Duration = Duration::from_secs(30),
        /// Waits between attempts. They go on growing from one state to the next; where `max_elapsed` is set, events whose
        /// counts did not get through for so long are dropped and counted.
        pub retry: RetryConfig = RetryConfig::defaults(),
        /// When to leave a server alone that does not work.
        pub circuit_breaker: BreakerConfig = BreakerConfig::defaults(),
        /// Whether series end at the server when the agent stops (stale markers), so that their last values are not shown
        /// for five more minutes.
        pub stale_at_stop: bool = true,
        /// Credentials.
        pub auth: Option<AuthConfig> = None,
        /// Headers sent with every request.
        pub headers: Map<Secret> = Map::default(),
        /// Proxy, such as `http://proxy:3128`, whatever the environment says; without it what `HTTP_PROXY`, `HTTPS_PROXY`,
        /// `ALL_PROXY` and `NO_PROXY` say. `none`: no proxy.
        pub proxy: Option<Secret> = None,
        /// Certificates and names of https.
        pub tls: TlsConfig = TlsConfig::defaults(),
    }
}

config_enum! {
    /// Version of the protocol.
    pub enum PushVersion {
        /// 1.0.
        One = "1",
        /// 2.0: texts once a request; type, help, unit and beginning with each series.
        Two = "2",
    }
}

impl RemoteWriteConfig {
    pub(super) fn check(&self, cx: &mut Reader<'_>) {
        check_address(cx, "url", &self.url, "http://prometheus:9090/api/v1/write");
        if self.interval.is_zero() {
            cx.error_at("interval", "`interval` of `remote_write` must be more than 0");
        }
        let common = self.common();
        common.check(cx);
        common.client.check_headers(cx);
        if let Some(auth) = &self.auth {
            cx.within("auth", |cx| auth.check(cx));
        }
    }

    /// As settings of a sink over the network.
    fn common(&self) -> NetworkSinkCommon {
        let batch = BatchConfig { max_events: SERIES_PER_REQUEST, timeout: Duration::ZERO, ..BatchConfig::defaults() };
        NetworkSinkCommon {
            batch,
            retry: self.retry.clone(),
            // One request after the other: samples of a series must come in order.
            concurrency: Concurrency::Fixed(NonZeroUsize::MIN),
            circuit_breaker: self.circuit_breaker.clone(),
            client: ClientConfig {
                timeout: self.timeout,
                headers: self.headers.clone(),
                proxy: self.proxy.clone(),
                tls: self.tls.clone(),
            },
            ..NetworkSinkCommon::defaults()
        }
    }
}

/// Series of one request.
const SERIES_PER_REQUEST: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1_999);
/// How long a client waits for the verdict on an event before a snapshot is taken for it.
const EARLY: Duration = Duration::from_secs(1);
/// Snapshots in a row that may be refused before the events in them are dropped.
const REFUSALS: u32 = 3;
/// Intervals after which series that somebody before has sent end where they have not come again.
const HEIR_INTERVALS: u32 = 2;

/// Sends the registry's state.
pub(super) struct Push {
    exchange: Arc<dyn Exchange>,
    signer: Arc<dyn Sign>,
    protocol: Series,
    plan: Plan,
    interval: Duration,
    stale_at_stop: bool,
    whose: Whose,
}

impl Push {
    /// `id` is the sink's, `data_dir` the agent's.
    pub(super) fn new(config: RemoteWriteConfig, data_dir: &Path, id: &str) -> Result<Push, BuildError> {
        let url = Url::parse(&config.url.value)
            .map_err(|e| BuildError::config(SettingError { setting: "url", cause: e.into() }))?;
        let common = config.common();
        let mut secrets = common.client.secrets();
        secrets.extend(config.auth.iter().flat_map(Credentials::secrets));
        secrets.extend(secrets_of(&url));
        let mask = Mask::new(secrets.iter().map(String::as_str));
        let signer = signer_of(config.auth.as_ref(), &common.client, &mask)?;
        let exchange = Arc::new(HttpExchange::build(&common.client, &url, mask.clone())?);
        let whose = Whose { data_dir: data_dir.to_owned(), id: id.to_owned(), url: url.to_string() };
        let two = config.version == PushVersion::Two;
        let protocol = Series { url, two, describes: two, turned: false, mask };
        let plan = Plan::new(&common);
        Ok(Push {
            exchange,
            signer,
            protocol,
            plan,
            interval: config.interval,
            stale_at_stop: config.stale_at_stop,
            whose,
        })
    }

    /// Whether it is sent with the series what they are.
    pub(super) fn describes(&self) -> bool {
        self.protocol.describes
    }

    /// Pushes until `ended`, then once more; settles what [`Waiting`] is given.
    pub(super) async fn run(
        self,
        registry: Arc<Mutex<Registry>>,
        waiting: Arc<Waiting>,
        input: Arc<Input>,
        ended: CancellationToken,
    ) {
        let Push { exchange, signer, protocol, plan, interval, stale_at_stop, whose } = self;
        // Samples are counted apart from the sink's events.
        let samples = Counters::new(&whose.id, ComponentKind::Sink, "prometheus");
        let queue = Queue::new(usize::MAX, FullPolicy::Block, samples.clone());
        let sender = queue.sender();
        let mask = protocol.mask.clone();
        let inner = Input {
            queue,
            counters: samples.clone(),
            dead_letter: None,
            abort: input.abort().clone(),
            shutdown_allowed: None,
            successors: input.successors.clone(),
            health: input.health().clone(),
            report: Default::default(),
            reader: 0,
            succession: Default::default(),
            call: Default::default(),
            requests: input.requests.clone(),
        };
        let driver = tokio::spawn(Driver::new(protocol, plan, inner, exchange, signer, mask).run());
        let names = handover::take_up(&whose);
        let now = Instant::now();
        let pusher = Pusher {
            registry,
            waiting,
            input,
            samples,
            sender: Some(sender),
            verdicts: Verdicts::new(),
            origin: Origin::of_source(&whose.id),
            interval,
            next: now + interval,
            heirless: Heirless { names, ended_by: 0 },
            heirs_until: now + interval * HEIR_INTERVALS,
            last_ms: 0,
            covers: VecDeque::new(),
            gone: BTreeMap::new(),
            superseded: 0,
        };
        pusher.run(driver, ended, stale_at_stop, &whose).await;
    }
}

/// Events whose counts are in a snapshot.
struct Cover {
    number: u64,
    held: Vec<Held>,
}

/// What runs.
struct Pusher {
    registry: Arc<Mutex<Registry>>,
    waiting: Arc<Waiting>,
    input: Arc<Input>,
    /// Counts of what is sent, apart from the events.
    samples: Arc<Counters>,
    /// `None` when no more comes.
    sender: Option<QueueSender>,
    verdicts: Arc<Verdicts>,
    origin: Arc<Origin>,
    interval: Duration,
    /// When the next snapshot of all series is due.
    next: Instant,
    heirless: Heirless,
    /// When those that have no heir end.
    heirs_until: Instant,
    /// The time of the snapshot before.
    last_ms: i64,
    /// Snapshots without a verdict, ascending by number.
    covers: VecDeque<Cover>,
    /// What had been given up of the samples, by reason, when that was looked at last.
    gone: BTreeMap<&'static str, u64>,
    /// Samples given up for newer ones since a snapshot was delivered.
    superseded: u64,
}

/// What is known of a snapshot that was refused or given up.
#[derive(Clone, Copy)]
struct Rejection {
    /// Something of it was refused.
    refused: bool,
    /// Its retries are exhausted.
    exhausted: bool,
    /// None will follow it.
    last: bool,
}

impl Pusher {
    async fn run(
        mut self,
        driver: tokio::task::JoinHandle<Result<(), crate::error::RunError>>,
        ended: CancellationToken,
        stale_at_stop: bool,
        whose: &Whose,
    ) {
        let abort = self.input.abort().clone();
        loop {
            let early = self.early();
            tokio::select! {
                biased;
                () = abort.cancelled() => break,
                () = ended.cancelled() => {
                    let goes_on = self.input.successors.has(&whose.id, "prometheus");
                    self.push(if stale_at_stop && !goes_on { Which::Last } else { Which::All });
                    break;
                }
                () = self.verdicts.came() => self.observe(None),
                () = self.waiting.asked.notified() => {}
                () = sleep_until(self.next) => {
                    self.push(Which::All);
                    self.next = (self.next + self.interval).max(Instant::now());
                }
                () = sleep_until(early.unwrap_or(self.next)), if early.is_some() => self.push(Which::Unsent),
            }
        }
        let last = self.covers.back().map(|cover| cover.number);
        // It ends once all is settled, or the time for that is over.
        self.sender = None;
        if let Ok(Err(error)) = driver.await {
            tracing::error!(component = %self.input.counters().id, %error, "remote write has failed");
        }
        self.observe(last);
        self.leave(stale_at_stop, whose);
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.locked()
    }

    /// When a snapshot is taken because somebody waits: not while another is on its way.
    fn early(&self) -> Option<Instant> {
        self.covers.is_empty().then(|| self.waiting.asked_at())?.map(|at| at + EARLY).filter(|at| *at < self.next)
    }

    /// Takes a snapshot and has it sent.
    fn push(&mut self, which: Which) {
        // Of what was counted from here on the snapshot may have some; the next one certainly has.
        let mut held = self.waiting.take();
        // The mark behind a value is a millisecond later, and the next value must be later than that.
        self.last_ms = (clock::now_ns() / 1_000_000).max(self.last_ms + 2);
        let end_heirless = Instant::now() >= self.heirs_until || which == Which::Last;
        let (snapshot, given_up) = {
            let mut registry = self.registry.locked();
            registry.age(clock::monotonic_ns());
            let given_up = registry.sent.as_mut().map_or(0, |sent| std::mem::take(&mut sent.given_up));
            (Snapshot::take(&mut registry, which, self.last_ms, &mut self.heirless, end_heirless), given_up)
        };
        let number = snapshot.number;
        if given_up > 0 {
            tracing::warn!(
                component = %self.input.counters().id, series = given_up,
                "more series than `max_series`: series were forgotten before the server knew that they have ended"
            );
            self.input.count(|t| t.error("stale_marker", given_up));
        }
        if snapshot.len() == 0 {
            // There is nothing that could be sent. Where some are on their way, those have their counts.
            match self.covers.back_mut() {
                Some(cover) => cover.held.append(&mut held),
                None => {
                    self.covers.push_back(Cover { number, held });
                    self.delivered(number);
                }
            }
            return;
        }
        self.covers.push_back(Cover { number, held });
        let ack = Ack::new(self.verdicts.clone(), number);
        if let Some(sender) = &self.sender {
            sender.send(snapshot.into_batch(ack, self.origin.clone(), clock::now_ns()));
        }
    }

    /// Acts on verdicts. `last`: the number of the last snapshot, where none will follow it.
    fn observe(&mut self, last: Option<u64>) {
        self.input.counters().absorb(&self.samples);
        let now = self.samples.snapshot().dropped;
        let more = |reason: &str| now.get(reason).copied().unwrap_or(0) - self.gone.get(reason).copied().unwrap_or(0);
        let superseded = more("superseded");
        let exhausted = more("retries_exhausted") > 0;
        let refused =
            now.keys().any(|reason| !matches!(*reason, "superseded" | "retries_exhausted") && more(reason) > 0);
        self.gone = now;
        self.superseded += superseded;
        self.input.count(|t| t.error("superseded", superseded));
        for (number, verdict) in self.verdicts.take() {
            match verdict {
                Verdict::Delivered => self.delivered(number),
                Verdict::Rejected => {
                    self.rejected(number, Rejection { refused, exhausted, last: last == Some(number) })
                }
                // Nobody is there any more who would send it.
                Verdict::Failed => {}
            }
        }
    }

    /// The receiver has a snapshot, and with it the counts of all before.
    fn delivered(&mut self, number: u64) {
        self.lock().delivered(number);
        if (1..=number).contains(&self.heirless.ended_by) {
            self.heirless = Heirless::default();
        }
        while let Some(cover) = self.covers.pop_front_if(|cover| cover.number <= number) {
            let owed = cover.held.iter().filter(|held| !held.ack.is_unheard()).count();
            for Held { ack, events, received_at, .. } in cover.held {
                self.input.delivered(ack, events, 0, received_at);
            }
            self.waiting.given(owed);
        }
        let samples = std::mem::take(&mut self.superseded);
        if samples > 0 {
            tracing::info!(
                component = %self.input.counters().id, samples,
                "the newest state of the series is delivered; samples of states in between were given up for it"
            );
        }
    }

    /// A snapshot was refused or given up, all of it or a part. The next has its counts too, where one comes.
    fn rejected(&mut self, number: u64, Rejection { refused, exhausted, last }: Rejection) {
        let Some(at) = self.covers.iter().position(|cover| cover.number == number) else { return };
        let Some(cover) = self.covers.remove(at) else { return };
        let (mut again, mut given) = (Vec::new(), 0);
        for mut held in cover.held {
            held.refusals += u32::from(refused);
            let reason = match () {
                () if exhausted => "retries_exhausted",
                () if refused && (last || held.refusals >= REFUSALS) => "refused",
                () => {
                    again.push(held);
                    continue;
                }
            };
            given += usize::from(!held.ack.is_unheard());
            self.input.dropped(held.ack, reason, held.events);
        }
        self.waiting.given(given);
        match self.covers.get_mut(at) {
            Some(next) => _ = next.held.splice(0..0, again),
            None => self.waiting.put_back(again),
        }
    }

    /// Ends: what is not delivered stays held, its verdict `Failed`.
    fn leave(self, stale_at_stop: bool, whose: &Whose) {
        let Pusher { registry, input, covers, mut heirless, .. } = self;
        let mut registry = registry.locked();
        registry.age(clock::monotonic_ns());
        if input.successors.has(&whose.id, "prometheus") {
            heirless.names.extend(snapshot::names(&registry));
            handover::leave(whose, heirless.names);
        } else if stale_at_stop && !covers.is_empty() && registry.len() > 0 {
            let series = registry.len() as u64;
            input.count(|t| t.error("stale_marker", series));
            tracing::warn!(
                component = %input.counters().id, series,
                "the server does not know that the series have ended: it goes on showing their last values for a while"
            );
        }
    }
}

/// Series as they are, to one server.
pub(super) struct Series {
    url: Url,
    /// In version 2.0.
    two: bool,
    /// They come with what 2.0 says of them, and 1.0 does not.
    describes: bool,
    /// The answer at hand has shown that it is not known.
    turned: bool,
    mask: Mask,
}

/// Whether an answer to a request of version 2.0 is that of a server that does not know it: it refuses the content type, or takes
/// all and does not say how much it has written.
fn knows_only_one(answer: &Answer) -> bool {
    answer.status == 415 || (200..300).contains(&answer.status) && written(answer).is_none()
}

/// In which an answer of version 2.0 says how much was written: samples, native histograms, exemplars.
const WRITTEN: [HeaderName; 3] = [
    HeaderName::from_static("x-prometheus-remote-write-samples-written"),
    HeaderName::from_static("x-prometheus-remote-write-histograms-written"),
    HeaderName::from_static("x-prometheus-remote-write-exemplars-written"),
];

/// How many samples were written, as an answer of version 2.0 says it: none where it speaks of other things only. `None` where it
/// says nothing of the kind.
fn written(answer: &Answer) -> Option<u64> {
    if !WRITTEN.iter().any(|name| answer.headers.contains_key(name)) {
        return None;
    }
    let samples = answer.headers.get(&WRITTEN[0]).and_then(|count| count.to_str().ok()?.trim().parse().ok());
    Some(samples.unwrap_or(0))
}

#[cfg(test)]
impl Series {
    pub(super) fn of_version_2(url: &str) -> Series {
        let url = url.parse().expect("an address");
        Series { url, two: true, describes: true, turned: false, mask: Mask::new([]) }
    }
}

impl Protocol for Series {
    type Mark = ();

    fn partition(&mut self, _event: EventRef<'_>, _now: i64, _name: &mut Vec<u8>) -> Result<(), Unsendable> {
        Ok(())
    }

    fn target(&self, _partition: &[u8]) -> Target {
        let (version, is) = remote_write::VERSION;
        Target {
            headers: vec![(HeaderName::from_static(version), HeaderValue::from_static(is))],
            snappy: true,
            ..Target::post("", EventKind::Metric, self.url.clone(), remote_write::CONTENT_TYPE)
        }
    }

    fn record(&mut self, event: EventRef<'_>, draft: &mut Draft<'_, ()>) -> Result<(), Unsendable> {
        if let Some(Value::Str(series)) = event.field(Sym::MESSAGE) {
            draft.body.extend_from_slice(series.bytes);
        }
        Ok(())
    }

    fn request(&self, target: &Target) -> Request {
        let mut request = target.request();
        if self.two {
            let (version, is) = remote_write::VERSION_2;
            request.headers.insert(CONTENT_TYPE, HeaderValue::from_static(remote_write::CONTENT_TYPE_2));
            request.headers.insert(HeaderName::from_static(version), HeaderValue::from_static(is));
        }
        request
    }

    fn finish(&self, load: &RequestBody<()>) -> Bytes {
        let body = match (self.two, self.describes) {
            (true, _) => remote_write::version_2(&load.body),
            (false, true) => remote_write::version_1(&load.body),
            (false, false) => return load.body.clone(),
        };
        // What was written here can be read.
        body.map_or_else(|_| load.body.clone(), Bytes::from)
    }

    fn heard(&mut self, answer: &Answer) {
        // One request after the other: the answer is to the last one.
        self.turned = self.two && knows_only_one(answer);
        if self.turned {
            tracing::warn!(
                url = %self.url.host_str().unwrap_or_default(), status = answer.status,
                "the server does not know version 2 of remote write: it gets version 1 from now on"
            );
            self.two = false;
        }
    }

    fn supersedes(&self) -> bool {
        true
    }

    fn records_are(&self) -> &'static str {
        "samples"
    }

    fn judge(&self, answer: &Answer, load: &RequestBody<()>, _now: i64) -> Judgement {
        if self.turned {
            // It may have taken nothing of what it does not know.
            let detail = format!("HTTP {}: the server does not know version 2 of remote write", answer.status);
            return Judgement::Retry { kind: "version", detail, broken: false, pressure: false, tries: None };
        }
        let written = if self.two { written(answer) } else { None };
        let part = written.map(|written| (written, remote_write::samples(&load.body)));
        match judge_remote_write(answer, &self.mask) {
            None => match part {
                // 2xx is for what was written whole. The next snapshot has all of it again.
                Some((written, sent)) if written < sent => {
                    let status = answer.status;
                    let detail = format!("HTTP {status}: the server has written {written} of {sent} samples");
                    Judgement::RefusedAll { reason: "refused", detail }
                }
                _ => Judgement::Delivered,
            },
            // Which sample it is is not looked for: the next snapshot has all of them again.
            Some(Judgement::Halve { reason, mut detail }) if answer.status != 413 => {
                if let Some((written, sent)) = part {
                    detail.push_str(&format!(" ({written} of {sent} samples were written)"));
                }
                Judgement::RefusedAll { reason, detail }
            }
            Some(judgement) => judgement,
        }
    }
}
