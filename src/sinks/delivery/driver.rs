//! The loop of a network sink: batches in, requests out, answers judged, every event settled exactly once.
//!
//! ```text
//! input ─► batcher ─► ready ─► flights ─► judged ─► delivered | dead letter | dropped
//!                       ▲                    │
//!                       └──── waiting ◄──────┘ tried again
//! ```
//!
//! One task, no locks. What bounds it: bodies that are open, ready, waiting or on their way hold at most
//! [`Plan::max_bytes_held`] bytes (one more batch of the input at the most); beyond that nothing is taken from the input, so
//! its buffer fills and the buffer's own policy holds.
//!
//! When the input ends, partial bodies are sent at once, and it goes on until all is settled. When the time to drain is over
//! it leaves at once: what is not settled counts as failed at its source and stays there.

use super::batcher::{Batcher, Bounds, Unsent};
use super::breaker::Breaker;
use super::compression::{Encoding, Packers};
use super::concurrency::{Limit, Outcome};
use super::protocol::{Judgement, Protocol, Refusal};
use super::rate::RateLimit;
use super::request_body::{BatchPart, RequestBody};
use super::settings::{Compression, NetworkSinkCommon};
use super::status::{judge_lost, judge_status};
use crate::ack::{Ack, Rows, Verdict};
use crate::component::probe::ProbeError;
use crate::component::{BoxFuture, Input};
use crate::error::RunError;
use crate::event::Batch;
use crate::http::{Answer, Backoff, Exchange, Lost, LostKind, MAX_RETRY_AFTER, Mask, Request, Sign, Signed, Unsigned};
use crate::telemetry::log_throttle::LogThrottle;
use crate::telemetry::panics::words;
use crate::time::clock;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use reqwest::header::CONTENT_ENCODING;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// Bytes in bodies that an adaptive sink may hold, where its batches are small.
const ADAPTIVE_BYTES: usize = 8 << 20;

/// How long a stopping sink with a disk buffer goes on sending to a server that has not failed, and how long after its last
/// request it waits for the answers: what is left in the buffer then is not sent twice.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// How long after the end of the input the last state of a [superseding](Protocol::supersedes) protocol is tried. Its records
/// are of that moment, and nobody waits for them for ever.
const LAST_STATE: Duration = Duration::from_secs(10);

/// The settings, checked.
#[derive(Debug, Clone)]
pub struct Plan {
    bounds: Bounds,
    common: NetworkSinkCommon,
    /// Bytes of bodies that `memory_limit` leaves it.
    working_bytes: usize,
    /// What `compression: auto` begins with.
    auto: Encoding,
}

impl Plan {
    /// As configured.
    pub fn new(common: &NetworkSinkCommon) -> Self {
        let bounds = Bounds {
            max_events: common.batch.max_events,
            max_bytes: common.batch.max_bytes.as_usize(),
            timeout: common.batch.timeout,
        };
        Plan { bounds, common: common.clone(), working_bytes: usize::MAX, auto: Encoding::Zstd }
    }

    /// One event a request.
    pub fn one_event(mut self) -> Self {
        self.bounds.max_events = NonZeroUsize::MIN;
        self
    }

    /// `compression: auto` begins with this.
    pub fn auto(self, auto: Encoding) -> Self {
        Plan { auto, ..self }
    }

    /// Holds no more than so many bytes in bodies; one larger event goes alone.
    pub fn within(self, working_bytes: usize) -> Self {
        Plan { working_bytes, ..self }
    }

    /// Bytes of bodies that it would hold with enough memory.
    pub fn wanted_bytes(&self) -> usize {
        self.max_bytes_held(&Limit::new(&self.common.concurrency))
    }

    /// Bytes in bodies that it may hold: for a number of requests these and one being filled; adaptive 8 MiB, or three
    /// batches where those are large.
    fn max_bytes_held(&self, limit: &Limit) -> usize {
        let batch = self.bounds.max_bytes;
        match limit.most() {
            _ if !limit.is_fixed() => ADAPTIVE_BYTES.max(3 * batch),
            n => batch.saturating_mul(n.saturating_add(1)),
        }
        .min(self.working_bytes)
    }
}

/// When what is ready may go, where only time is in its way: what is `blocked` until then, and whether the circuit breaker lets it
/// pass. At once where nothing is in its way any more: that ended after the last look at what may go, and nothing else would
/// wake us.
fn goes_at(now: Instant, blocked: &[Option<Instant>], breaker_allows: bool) -> Option<Instant> {
    let until = blocked.iter().flatten().copied().filter(|at| *at > now).max();
    until.or_else(|| breaker_allows.then_some(now))
}

/// A request that has ended.
struct Landed<M> {
    load: RequestBody<M>,
    encoding: Encoding,
    result: Result<Answer, Unsigned>,
    /// Which credentials it was signed with.
    stamp: u64,
    /// Bytes sent.
    sent: usize,
    took: Duration,
}

/// What runs.
pub struct Driver<P: Protocol> {
    protocol: P,
    plan: Plan,
    input: Input,
    exchange: Arc<dyn Exchange>,
    signer: Arc<dyn Sign>,
    mask: Mask,
    batcher: Batcher<P::Mark>,
    ready: VecDeque<RequestBody<P::Mark>>,
    /// Request bodies to be tried again, and when.
    waiting: Vec<(Instant, RequestBody<P::Mark>)>,
    flights: FuturesUnordered<BoxFuture<Landed<P::Mark>>>,
    /// Bytes in bodies that are closed and not settled.
    closed_bytes: usize,
    max_held: usize,
    limit: Limit,
    breaker: Breaker,
    /// The state of it that is shown.
    circuit: u8,
    rate: RateLimit,
    backoff: Backoff,
    encoding: Encoding,
    packers: Arc<Packers>,
    /// Nothing is sent before.
    paused_until: Option<Instant>,
    /// Of that: what the server asked for.
    asked_until: Option<Instant>,
    /// Answers in a row that blame the configuration.
    misconfigured: u32,
    /// `/ready` has been told that it fails.
    failing: bool,
    faults: LogThrottle,
    retries: LogThrottle,
    refusals: LogThrottle,
    /// No more will come.
    ended: bool,
    /// The agent stops and a disk buffer keeps what is not delivered: since when.
    stopping: Option<Instant>,
    /// The input has ended, and what is left is a state: no attempt begins after this.
    last_attempt: Option<Instant>,
    /// When the last request was sent.
    last_sent: Option<Instant>,
    /// Another sink has its place.
    replaced: bool,
    /// Requests are not waited for any more.
    give_up: CancellationToken,
}

/// What was tried of loads that others take the place of.
#[derive(Default)]
struct Tried {
    failed: u32,
    first_attempt: Option<Instant>,
    words: String,
}

impl<P: Protocol> Driver<P> {
    /// Everything it needs: what it says, whom to and as whom, and what is never shown.
    pub fn new(
        protocol: P,
        plan: Plan,
        input: Input,
        exchange: Arc<dyn Exchange>,
        signer: Arc<dyn Sign>,
        mask: Mask,
    ) -> Self {
        let common = &plan.common;
        let limit = Limit::new(&common.concurrency);
        Driver {
            batcher: Batcher::new(plan.bounds),
            ready: VecDeque::new(),
            waiting: Vec::new(),
            flights: FuturesUnordered::new(),
            closed_bytes: 0,
            max_held: plan.max_bytes_held(&limit),
            limit,
            breaker: Breaker::new(&common.circuit_breaker),
            circuit: u8::MAX,
            rate: RateLimit::new(common.rate_limit),
            backoff: Backoff::new(&common.retry),
            encoding: Encoding::first(common.compression, plan.auto),
            packers: Packers::shared(),
            paused_until: None,
            asked_until: None,
            misconfigured: 0,
            failing: false,
            faults: LogThrottle::default(),
            retries: LogThrottle::default(),
            refusals: LogThrottle::default(),
            ended: false,
            stopping: None,
            last_attempt: None,
            last_sent: None,
            replaced: false,
            give_up: CancellationToken::new(),
            protocol,
            plan,
            input,
            exchange,
            signer,
            mask,
        }
    }

    /// Runs until the input has ended and all is settled, or the time to drain is over.
    pub async fn run(mut self) -> Result<(), RunError> {
        let abort = self.input.abort().clone();
        self.input.health().started();
        self.show_circuit();
        let drive = AssertUnwindSafe(self.drive()).catch_unwind();
        let (aborted, panicked) = tokio::select! {
            biased;
            // First: what is left must not be sent any more.
            () = abort.cancelled() => (true, None),
            ended = drive => (false, ended.err()),
        };
        if let Some(panic) = panicked {
            // What it has is given back, for the one that begins again in its place.
            _ = AssertUnwindSafe(self.give_up_flights()).catch_unwind().await;
            return Err(RunError::Panicked { who: "it", words: words(&*panic) });
        }
        if aborted && self.input.is_replaced() {
            self.give_up_flights().await;
        }
        if aborted || self.replaced {
            return Ok(());
        }
        if self.is_leaving() {
            // The verdict on all of it is `Failed`: the disk buffer gives it again at the next start.
            self.ready.clear();
            self.waiting.clear();
            self.flights.clear();
            self.batcher = Batcher::new(self.plan.bounds);
            tokio::select! {
                () = abort.cancelled() => {}
                () = async { while self.input.recv().await.is_some() {} } => {}
            }
        }
        Ok(())
    }

    /// Whether what is left is to stay in the disk buffer: the agent stops, and the server does not take it just now.
    fn is_leaving(&self) -> bool {
        self.leaves_last_state() || self.leaves_to_disk()
    }

    /// Whether the time for the last state is over, or will be before it can be tried again.
    fn leaves_last_state(&self) -> bool {
        let Some(until) = self.last_attempt.filter(|_| self.flights.is_empty() && !self.ready.is_empty()) else {
            return false;
        };
        let now = Instant::now();
        let blocked = [self.paused_until, self.breaker.opens_at(), self.rate.waits_until(now)];
        blocked.into_iter().flatten().fold(now, Instant::max) > until
    }

    /// Whether it winds down and every request is answered, or none of them in time.
    fn leaves_to_disk(&self) -> bool {
        let overdue = self.last_sent.is_none_or(|at| at.elapsed() >= LAST_ANSWERS);
        self.winds_down() && (self.flights.is_empty() || overdue)
    }

    /// Whether nothing more is sent: the agent stops, and what is left stays in the disk buffer.
    fn winds_down(&self) -> bool {
        let Some(since) = self.stopping else { return false };
        let tried = |load: &RequestBody<P::Mark>| load.failed > 0;
        self.misconfigured > 0
            || self.failing
            || self.waiting.iter().any(|(_, load)| tried(load))
            || self.ready.iter().any(tried)
            || since.elapsed() >= LAST_ANSWERS
    }

    async fn drive(&mut self) {
        let mut health = self.health_check();
        loop {
            if self.input.is_replaced() {
                self.make_room();
                if self.flights.is_empty() {
                    return;
                }
            }
            self.give_up_late().await;
            let winds_down = self.winds_down();
            if !winds_down && !self.replaced {
                self.send_what_may_go();
            }
            if self.is_leaving() {
                return;
            }
            if self.ended && self.flights.is_empty() && self.ready.is_empty() && self.waiting.is_empty() {
                return;
            }
            let wake = self.next_wake();
            // Where the agent stops: when nothing more is sent, then when no answer is waited for.
            let last_answers = self.stopping.map(|since| if winds_down { self.last_sent } else { Some(since) });
            let last_answers = last_answers.flatten().map(|at| at + LAST_ANSWERS);
            let wake = if winds_down { last_answers } else { [wake, last_answers].into_iter().flatten().min() };
            let room = self.protocol.supersedes() || self.batcher.bytes() + self.closed_bytes < self.max_held;
            let room = room && !winds_down && !self.ended;
            tokio::select! {
                Some(landed) = self.flights.next(), if !self.flights.is_empty() => self.landed(landed).await,
                batch = self.input.recv(), if room => {
                    self.take(batch).await;
                    // Its input is mostly full where it is busy: others on this thread have their turn after each batch.
                    tokio::task::yield_now().await;
                }
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => self.woken(),
                () = self.input.replaced(), if !self.replaced => {}
                () = self.input.shutdown_allowed(), if self.stopping.is_none() => self.stopping = Some(Instant::now()),
                result = &mut health => {
                    self.health_checked(result);
                    health = Box::pin(std::future::pending());
                }
            }
        }
    }

    // ---- a successor -------------------------------------------------------------------------------------------

    /// Gives back what is not on its way, and lets the sink begin that takes this one's place.
    fn make_room(&mut self) {
        if !self.replaced {
            self.replaced = true;
            self.ended = true;
            self.close(|batcher, closed| batcher.close_all(closed));
        }
        // Tried before, mostly the older; then in order. What is given back last is taken first.
        self.waiting.sort_by_key(|(due, _)| *due);
        let mut loads: Vec<RequestBody<P::Mark>> = self.waiting.drain(..).map(|(_, load)| load).collect();
        loads.extend(self.ready.drain(..));
        for load in loads.into_iter().rev() {
            self.give_back(load);
        }
        self.input.let_go();
    }

    fn give_back(&mut self, mut load: RequestBody<P::Mark>) {
        self.closed_bytes = self.closed_bytes.saturating_sub(load.bytes());
        let parts = std::mem::take(&mut load.parts);
        let mut behind = load.len();
        for mut part in parts.into_iter().rev() {
            let first = behind.saturating_sub(part.records as usize);
            let rows: Vec<usize> = (first..behind).collect();
            behind = first;
            let ack = part.ack.take();
            let offsets = rows.iter().map(|row| load.records.get(*row).map_or(0, |record| record.offset)).collect();
            // The successor is given other rows: of which events of the first batch they are, this share knows.
            let ack = if part.rows.is_empty() { ack } else { ack.for_rows(std::mem::take(&mut part.rows), offsets) };
            let batch = load.read_back(&self.protocol, &part, &rows, ack);
            self.input.give_back(batch);
        }
    }

    /// Gives back what has no answer: the server may have it all the same, so that it comes twice there.
    async fn give_up_flights(&mut self) {
        self.give_up.cancel();
        let mut unanswered = 0;
        while let Some(landed) = self.flights.next().await {
            if landed.result.is_ok() {
                self.landed(landed).await;
                continue;
            }
            unanswered += landed.load.len() as u64;
            self.ready.push_back(landed.load);
        }
        if unanswered > 0 {
            self.input.count(|t| t.error("unanswered", unanswered));
            tracing::warn!(
                component = %self.input.counters().id, events = unanswered,
                "requests had no answer in time: their events are sent again by the sink with the new settings"
            );
        }
        self.make_room();
    }

    // ---- in ----------------------------------------------------------------------------------------------------

    async fn take(&mut self, batch: Option<Batch>) {
        let Some(mut batch) = batch else {
            self.ended = true;
            self.close(|batcher, closed| batcher.close_all(closed));
            if self.protocol.supersedes() {
                // There is time for some attempts, and the first is now, unless the server wants to be left alone.
                let now = Instant::now();
                self.last_attempt = Some(now + LAST_STATE);
                self.paused_until = self.asked_until;
                self.breaker.probe(now);
            }
            return;
        };
        let tried = if self.protocol.supersedes() { self.supersede() } else { Tried::default() };
        let mut unsent = Vec::new();
        let (now_ns, now) = (clock::now_ns(), Instant::now());
        let before = self.ready.len();
        let Driver { batcher, protocol, ready, .. } = self;
        batcher.add(&batch, protocol, now_ns, now, ready, &mut unsent);
        self.closed_bytes += self.ready.iter().skip(before).map(|load| load.bytes()).sum::<usize>();
        if self.protocol.supersedes() {
            self.close(|batcher, closed| batcher.close_all(closed));
            for load in self.ready.iter_mut().skip(before) {
                (load.failed, load.first_attempt) = (tried.failed, tried.first_attempt);
                load.words.clone_from(&tried.words);
            }
        }
        let input = &self.input;
        self.protocol.faults(&mut |kind, n| input.count(|t| t.error(kind, n)));
        let verdict = if unsent.is_empty() { Verdict::Delivered } else { Verdict::Rejected };
        self.refuse_rows(&mut batch, unsent).await;
        // The loads have shares of their own; a verdict of theirs that is worse counts.
        batch.ack.take().settle(verdict);
        batch.recycle();
    }

    /// Gives up what waits to be sent, since newer records take its place; what was tried of it counts for those.
    fn supersede(&mut self) -> Tried {
        let mut tried = Tried::default();
        for mut load in self.ready.drain(..).chain(self.waiting.drain(..).map(|(_, load)| load)) {
            self.closed_bytes = self.closed_bytes.saturating_sub(load.bytes());
            tried.failed = tried.failed.max(load.failed);
            tried.first_attempt = [tried.first_attempt, load.first_attempt].into_iter().flatten().min();
            if !load.words.is_empty() {
                tried.words = std::mem::take(&mut load.words);
            }
            for part in std::mem::take(&mut load.parts) {
                self.input.dropped(part.ack, "superseded", part.records.into());
            }
            self.batcher.recycle(load);
        }
        tried
    }

    async fn refuse_rows(&mut self, batch: &mut Batch, unsent: Vec<Unsent>) {
        let mut unsent = unsent.into_iter().peekable();
        let whole = batch.ack.take();
        let hears_parts = whole.hears_parts();
        let mut rows = Vec::new();
        while let Some(first) = unsent.next() {
            rows.clear();
            rows.push(first.row);
            let mut part = Rows::default();
            part.push(first.place);
            while let Some(next) = unsent.next_if(|u| u.why == first.why) {
                rows.push(next.row);
                part.push(next.place);
            }
            let offsets = || rows.iter().map(|row| batch.event(*row).offset()).collect();
            batch.ack = if hears_parts { whole.clone().for_rows(part, offsets()) } else { whole.clone() };
            let detail = self.mask.text(&first.why.detail);
            self.say_refused(rows.len(), first.why.reason, &detail);
            self.input.refuse_async(batch, &rows, first.why.reason, &detail).await;
            batch.ack.take().settle(Verdict::Rejected);
        }
        batch.ack = whole;
    }

    fn close(&mut self, close: impl FnOnce(&mut Batcher<P::Mark>, &mut VecDeque<RequestBody<P::Mark>>)) {
        let before = self.ready.len();
        close(&mut self.batcher, &mut self.ready);
        self.closed_bytes += self.ready.iter().skip(before).map(|load| load.bytes()).sum::<usize>();
    }

    // ---- out ---------------------------------------------------------------------------------------------------

    /// When something is to be done that no answer and no batch brings about.
    fn next_wake(&mut self) -> Option<Instant> {
        let waiting = self.waiting.iter().map(|(due, _)| *due).min();
        let patience =
            self.ready.iter().chain(self.waiting.iter().map(|(_, l)| l)).filter_map(|l| self.patience(l)).min();
        let mut wake = [self.batcher.next_due(), waiting, patience].into_iter().flatten().min();
        if !self.ready.is_empty() && self.flights.len() < self.places() {
            let now = Instant::now();
            let blocked = [self.paused_until, self.breaker.opens_at(), self.rate.waits_until(now)];
            let free = goes_at(now, &blocked, self.breaker.allows(now));
            wake = [wake, free].into_iter().flatten().min();
        }
        wake
    }

    fn woken(&mut self) {
        let now = Instant::now();
        self.close(|batcher, closed| batcher.close_due(now, closed));
        let mut n = 0;
        while n < self.waiting.len() {
            if self.waiting[n].0 <= now {
                let (_, load) = self.waiting.swap_remove(n);
                self.ready.push_back(load);
            } else {
                n += 1;
            }
        }
    }

    fn send_what_may_go(&mut self) {
        // All the room may be in bodies that are not full; then the oldest goes now.
        if self.ready.is_empty()
            && self.waiting.is_empty()
            && self.flights.is_empty()
            && self.batcher.bytes() >= self.max_held
        {
            self.close(|batcher, closed| _ = batcher.close_oldest(closed));
        }
        let now = Instant::now();
        while self.flights.len() < self.places()
            && !self.ready.is_empty()
            && self.paused_until.is_none_or(|at| at <= now)
            && self.breaker.allows(now)
            && self.rate.waits_until(now).is_none()
        {
            let Some(load) = self.ready.pop_front() else { break };
            self.send(load, now);
        }
    }

    /// Requests at a time now: one while the configuration is at fault.
    fn places(&self) -> usize {
        if self.misconfigured > 0 { 1 } else { self.limit.now() }
    }

    /// Shows the state of the circuit where it is another than it was.
    fn show_circuit(&mut self) {
        let state = self.breaker.shown();
        if std::mem::replace(&mut self.circuit, state) != state {
            self.input.count(|t| _ = t.gauges.insert("circuit_state", f64::from(state)));
        }
    }

    fn send(&mut self, mut load: RequestBody<P::Mark>, now: Instant) {
        load.first_attempt.get_or_insert(now);
        self.breaker.sent();
        self.show_circuit();
        self.last_sent = Some(now);
        self.rate.sent(now);
        self.limit.sent(self.flights.len() + 1);
        let request = self.protocol.request(&load.target);
        let body = self.protocol.finish(&load);
        if self.input.requests().is_watched() {
            self.input.requests().sent(request.method.as_str(), request.url.as_str(), &body, load.len() as u64);
        }
        let encoding = match (load.target.snappy, self.plan.common.compression) {
            (true, Compression::None) => Encoding::StoredSnappy,
            (true, _) => Encoding::Snappy,
            (false, _) => self.encoding,
        };
        let (exchange, signer, packers) = (self.exchange.clone(), self.signer.clone(), self.packers.clone());
        let patience = self.plan.common.client.timeout;
        let give_up = self.give_up.clone();
        let max_answer = self.protocol.max_answer(load.len());
        self.flights.push(Box::pin(async move {
            let mut request = request;
            let (encoding, body) = packers.encoded(encoding, body).await;
            if let Some(header) = encoding.header() {
                request.headers.insert(CONTENT_ENCODING, header);
            }
            let sent = body.len();
            request.body = Some(body);
            let started = Instant::now();
            let mut stamp = 0;
            let way = async {
                let signed = signer.sign(request).await?;
                stamp = signed.stamp;
                exchange.send(signed.request, max_answer).await.map_err(Unsigned::Lost)
            };
            let result = tokio::select! {
                result = within(patience, way) => result,
                () = give_up.cancelled() => {
                    Err(Unsigned::Lost(Lost { kind: LostKind::Timeout, why: "it was given up".to_owned() }))
                }
            };
            Landed { load, encoding, result, stamp, sent, took: started.elapsed() }
        }));
    }

    // ---- answers -----------------------------------------------------------------------------------------------

    async fn landed(&mut self, landed: Landed<P::Mark>) {
        let Landed { load, encoding, result, stamp, sent, took } = landed;
        let mut after = None;
        let judgement = match &result {
            Err(Unsigned::Lost(lost)) => judge_lost(lost),
            Err(Unsigned::Refused(detail)) => Judgement::Misconfigured { detail: self.mask.text(detail) },
            Ok(answer) => {
                after = answer.retry_after;
                self.input.counters().record_latency(took);
                if self.signer.heard(stamp, answer.status) {
                    // The credentials are no longer good, and there are others.
                    self.input.count(|t| t.error("credentials", 1));
                    self.breaker.worked();
                    self.show_circuit();
                    self.ready.push_front(load);
                    return;
                }
                self.protocol.heard(answer);
                self.protocol.judge(answer, &load, clock::now_ns())
            }
        };
        self.note_health(&judgement, took);
        self.show_circuit();
        match judgement {
            Judgement::Delivered => self.settle(load, sent, Vec::new()).await,
            Judgement::Refused(refusals) => self.settle(load, sent, refusals).await,
            Judgement::Partial { refused, again, kind, detail, .. } => {
                self.partial(load, sent, refused, again, (kind, detail, after)).await;
            }
            Judgement::RefusedAll { reason, detail } => self.refuse_all(load, reason, detail).await,
            Judgement::Halve { reason, detail } => self.halve(load, reason, detail).await,
            Judgement::Retry { detail, tries: Some(tries), .. } if load.failed >= tries => {
                self.refuse_all(load, "refused", detail).await;
            }
            Judgement::Retry { kind, detail, .. } => self.retry(load, kind, detail, after).await,
            Judgement::Misconfigured { detail } => self.misconfigured(load, detail, after).await,
            Judgement::Uncompressible { detail } => self.uncompressible(load, encoding, detail).await,
        }
    }

    /// What an answer says about the server, whatever it says about the records.
    fn note_health(&mut self, judgement: &Judgement, took: Duration) {
        let (broken, pressure) = match judgement {
            Judgement::Retry { broken, pressure, .. } => (*broken, *pressure),
            Judgement::Partial { pressure, .. } => (false, *pressure),
            _ => (false, false),
        };
        let load = match (pressure, judgement) {
            (true, _) => Outcome::Pressure,
            (false, Judgement::Retry { .. } | Judgement::Misconfigured { .. }) => Outcome::Unknown,
            (false, _) => Outcome::Normal,
        };
        self.limit.ended(load, took);
        let now = Instant::now();
        if broken {
            if self.breaker.failed(now) {
                let Judgement::Retry { detail, .. } = judgement else { return };
                let reset = self.plan.common.circuit_breaker.reset;
                tracing::error!(
                    component = %self.input.counters().id,
                    error = %detail,
                    "the server keeps failing: circuit open; one probe after {}", crate::settings::duration_text(reset)
                );
                self.failing = true;
                self.input.health().failing(&format!("circuit open: {detail}"));
            }
            return;
        }
        let was_open = self.breaker.worked();
        if matches!(judgement, Judgement::Misconfigured { .. } | Judgement::Retry { .. }) {
            return;
        }
        self.misconfigured = 0;
        if self.failing || was_open {
            self.failing = false;
            self.faults.ended();
            self.retries.ended();
            self.input.health().working();
            tracing::info!(component = %self.input.counters().id, "the server works again");
        }
    }

    async fn retry(
        &mut self,
        mut load: RequestBody<P::Mark>,
        kind: &'static str,
        detail: String,
        after: Option<Duration>,
    ) {
        load.failed = load.failed.saturating_add(1);
        self.input.count(|t| t.error(kind, 1));
        let now = Instant::now();
        if let Some(times) = self.retries.due_at(now.into_std(), 1) {
            let suppressed = times - 1;
            tracing::warn!(
                component = %self.input.counters().id, error = %detail, attempts = load.failed, suppressed,
                "a request failed and is tried again"
            );
        }
        load.words = detail;
        let wait = self.backoff.wait(load.failed);
        if let Some(after) = after {
            // What the server asks for holds for all requests.
            let until = now + after.min(MAX_RETRY_AFTER);
            self.asked_until = self.asked_until.max(Some(until));
            self.paused_until = self.paused_until.max(Some(until));
        }
        if self.limit.keeps_order() {
            self.paused_until = self.paused_until.max(Some(now + wait));
            self.ready.push_front(load);
        } else {
            self.waiting.push((now + after.map_or(wait, |a| wait.max(a.min(MAX_RETRY_AFTER))), load));
        }
    }

    /// Settles what was delivered and refused; what was not taken now goes again alone.
    async fn partial(
        &mut self,
        mut load: RequestBody<P::Mark>,
        sent: usize,
        refused: Vec<Refusal>,
        again: Vec<usize>,
        (kind, detail, after): (&'static str, String, Option<Duration>),
    ) {
        if again.len() == load.len() {
            return self.retry(load, kind, detail, after).await;
        }
        let mut parts = Vec::new();
        let mut places = again.iter().copied().peekable();
        let mut first = 0;
        for part in &load.parts {
            let end = first + part.records as usize;
            let mut of_part = Vec::new();
            while let Some(place) = places.next_if(|place| *place < end) {
                of_part.push(place - first);
            }
            if !of_part.is_empty() {
                let (records, rows) = (of_part.len() as u32, part.rows.without(&of_part).1);
                parts.push(BatchPart { ack: part.ack.clone(), origin: part.origin.clone(), records, rows, ..*part });
            }
            first = end;
        }
        let mut rest = load.pick(again.iter().copied(), parts);
        (rest.failed, rest.first_attempt) = (load.failed, load.first_attempt);
        self.closed_bytes += rest.bytes();
        // They are settled with the others of their load in name only: their shares are those of `rest`.
        let kept = std::mem::take(&mut load.parts);
        self.settle_all_but(load, kept, sent, refused, &again).await;
        self.retry(rest, kind, detail, after).await;
    }

    /// Nothing will get through: everything waits, and one request at a time looks whether it has been put right.
    async fn misconfigured(&mut self, mut load: RequestBody<P::Mark>, detail: String, after: Option<Duration>) {
        load.failed = load.failed.saturating_add(1);
        self.misconfigured = self.misconfigured.saturating_add(1);
        self.input.count(|t| t.error("configuration", 1));
        let now = Instant::now();
        self.failing = true;
        self.input.health().failing(&detail);
        if let Some(times) = self.faults.due_at(now.into_std(), 1) {
            let suppressed = times - 1;
            tracing::error!(
                component = %self.input.counters().id, error = %detail, suppressed,
                "the server refuses all requests; they are kept and tried again"
            );
        }
        load.words = detail;
        if let Some(after) = after {
            self.asked_until = self.asked_until.max(Some(now + after.min(MAX_RETRY_AFTER)));
        }
        let wait = self.backoff.wait(self.misconfigured).max(after.unwrap_or_default().min(MAX_RETRY_AFTER));
        self.paused_until = self.paused_until.max(Some(now + wait));
        self.ready.push_front(load);
    }

    async fn uncompressible(&mut self, load: RequestBody<P::Mark>, encoding: Encoding, detail: String) {
        if load.target.snappy {
            return self.misconfigured(load, detail, None).await;
        }
        if encoding != self.encoding {
            // Another request has found out before.
            self.ready.push_front(load);
            return;
        }
        match encoding.next() {
            Some(next) => {
                tracing::warn!(
                    component = %self.input.counters().id, refused = encoding.name(), next = next.name(),
                    "the server does not take this compression; the next one is used from now on"
                );
                self.encoding = next;
                self.ready.push_front(load);
            }
            None => {
                let detail = format!("{detail}; the server does not take uncompressed bodies of this type either");
                self.misconfigured(load, detail, None).await;
            }
        }
    }

    /// Until when a load that has been tried is tried again; `None` for ever.
    fn patience(&self, load: &RequestBody<P::Mark>) -> Option<Instant> {
        Some(load.first_attempt? + self.plan.common.retry.max_elapsed?)
    }

    /// Refuses what has been tried for too long, also while the circuit is open.
    async fn give_up_late(&mut self) {
        if self.plan.common.retry.max_elapsed.is_none() {
            return;
        }
        let now = Instant::now();
        let mut late = Vec::new();
        for n in (0..self.waiting.len()).rev() {
            if self.patience(&self.waiting[n].1).is_some_and(|at| at <= now) {
                late.push(self.waiting.swap_remove(n).1);
            }
        }
        for n in (0..self.ready.len()).rev() {
            if self.patience(&self.ready[n]).is_some_and(|at| at <= now) {
                late.extend(self.ready.remove(n));
            }
        }
        for mut load in late.into_iter().rev() {
            let words = std::mem::take(&mut load.words);
            self.refuse_all(load, "retries_exhausted", words).await;
        }
    }

    async fn halve(&mut self, load: RequestBody<P::Mark>, reason: &'static str, detail: String) {
        if !load.is_divisible() {
            return self.refuse_all(load, reason, detail).await;
        }
        self.input.count(|t| t.error("halved", 1));
        self.closed_bytes = self.closed_bytes.saturating_sub(load.bytes());
        let (first, second) = load.halves();
        self.closed_bytes += first.bytes() + second.bytes();
        self.ready.push_front(second);
        self.ready.push_front(first);
    }

    async fn refuse_all(&mut self, load: RequestBody<P::Mark>, reason: &'static str, detail: String) {
        let refusals = (0..load.len()).map(|record| Refusal { record, reason, detail: detail.clone() }).collect();
        self.settle(load, 0, refusals).await;
    }

    /// Ends a load: what is not refused is delivered.
    async fn settle(&mut self, mut load: RequestBody<P::Mark>, sent: usize, refusals: Vec<Refusal>) {
        let parts = std::mem::take(&mut load.parts);
        self.settle_all_but(load, parts, sent, refusals, &[]).await;
    }

    /// Ends a load of these parts: what is neither refused nor in `again` (places, ascending) is delivered. Of what is in
    /// `again` others hold shares.
    async fn settle_all_but(
        &mut self,
        load: RequestBody<P::Mark>,
        parts: Vec<BatchPart>,
        sent: usize,
        refusals: Vec<Refusal>,
        again: &[usize],
    ) {
        self.closed_bytes = self.closed_bytes.saturating_sub(load.bytes());
        let mut refusals = refusals.into_iter().peekable();
        let mut again = again.iter().copied().peekable();
        let mut bytes = sent as u64;
        let mut first = 0;
        for part in parts {
            let end = first + part.records as usize;
            let mut refused = Vec::new();
            while let Some(refusal) = refusals.next_if(|r| r.record < end) {
                let mut rows = vec![refusal.record];
                while let Some(same) = refusals.next_if(|r| r.record < end && same_words(r, &refusal)) {
                    rows.push(same.record);
                }
                self.refuse(&load, &part, first, &rows, &refusal).await;
                refused.extend(rows.iter().map(|row| row - first));
            }
            let was_refused = !refused.is_empty();
            let mut not_delivered = refused;
            while let Some(place) = again.next_if(|place| *place < end) {
                not_delivered.push(place - first);
            }
            not_delivered.sort_unstable();
            let delivered = (part.records as usize - not_delivered.len()) as u64;
            let offset_of = |n: usize| load.records.get(first + n).map_or(0, |record| record.offset);
            if not_delivered.is_empty() {
                part.ack.settle_rows(&part.rows, &offset_of);
                self.input.delivered(part.ack, delivered, std::mem::take(&mut bytes), part.received_at);
            } else {
                let taken: Vec<usize> =
                    (0..part.records as usize).filter(|n| not_delivered.binary_search(n).is_err()).collect();
                part.ack
                    .settle_rows(&part.rows.without(&not_delivered).0, &|n| taken.get(n).map_or(0, |n| offset_of(*n)));
                if delivered > 0 {
                    self.input.delivered(Ack::none(), delivered, std::mem::take(&mut bytes), part.received_at);
                }
                part.ack.settle(if was_refused { Verdict::Rejected } else { Verdict::Delivered });
            }
            first = end;
        }
        self.batcher.recycle(load);
    }

    /// Refuses records of a part, whose first record is `first`.
    async fn refuse(
        &mut self,
        load: &RequestBody<P::Mark>,
        part: &BatchPart,
        first: usize,
        rows: &[usize],
        refusal: &Refusal,
    ) {
        self.say_refused(rows.len(), refusal.reason, &refusal.detail);
        let places: Vec<usize> = rows.iter().map(|row| row - first).collect();
        let offsets = rows.iter().map(|row| load.records.get(*row).map_or(0, |record| record.offset)).collect();
        let ack = part.ack.clone().for_rows(part.rows.without(&places).1, offsets);
        let mut batch = load.read_back(&self.protocol, part, rows, ack);
        let all: Vec<usize> = (0..batch.rows()).collect();
        self.input.refuse_async(&batch, &all, refusal.reason, &refusal.detail).await;
        batch.ack.take().settle(Verdict::Rejected);
    }

    fn say_refused(&mut self, events: usize, reason: &str, detail: &str) {
        if let Some(times) = self.refusals.due_at(Instant::now().into_std(), 1) {
            let suppressed = times - 1;
            let to = if self.input.has_dead_letter() { "sent to the dead letter" } else { "dropped" };
            tracing::error!(
                component = %self.input.counters().id, reason, error = %detail, events, suppressed,
                "{} were refused for good and are {to}", self.protocol.records_are()
            );
        }
    }

    // ---- health ------------------------------------------------------------------------------------------------

    fn health_check(&mut self) -> BoxFuture<Result<(), ProbeError>> {
        if !self.plan.common.healthcheck {
            return Box::pin(std::future::pending());
        }
        let checks = self.protocol.health_checks();
        let (exchange, signer) = (self.exchange.clone(), self.signer.clone());
        Box::pin(check_health(exchange, checks, signer, self.plan.common.client.timeout, self.mask.clone()))
    }

    fn health_checked(&mut self, result: Result<(), ProbeError>) {
        match result {
            Ok(()) => tracing::debug!(component = %self.input.counters().id, "the health check passed"),
            Err(error) => tracing::warn!(component = %self.input.counters().id, %error, "the health check failed"),
        }
    }
}

/// Asks a server, one request after the other, whether it is there and takes the credentials.
///
/// Errors: what the first that failed brought.
pub async fn check_health(
    exchange: Arc<dyn Exchange>,
    checks: Vec<Request>,
    signer: Arc<dyn Sign>,
    patience: Duration,
    mask: Mask,
) -> Result<(), ProbeError> {
    for check in checks {
        let what = format!("{} {}", check.method, check.url.path());
        let way = async {
            let Signed { request, .. } = signer.sign(check).await?;
            exchange.send(request, 4096).await.map_err(Unsigned::Lost)
        };
        let failed = |why: String| ProbeError::Request(Some(what.clone()), why);
        let answer = within(patience, way).await.map_err(|why| failed(mask.text(why.words())))?;
        match judge_status(&answer, &mask) {
            None => {}
            Some(Judgement::Misconfigured { detail } | Judgement::Retry { detail, .. }) => {
                return Err(failed(detail));
            }
            Some(_) => return Err(failed(format!("HTTP {}", answer.status))),
        }
    }
    Ok(())
}

/// What comes in time.
async fn within(patience: Duration, way: impl Future<Output = Result<Answer, Unsigned>>) -> Result<Answer, Unsigned> {
    timeout(patience, way).await.unwrap_or_else(|_| {
        let why = format!("no answer within {}", crate::settings::duration_text(patience));
        Err(Unsigned::Lost(Lost { kind: LostKind::Timeout, why }))
    })
}

fn same_words(a: &Refusal, b: &Refusal) -> bool {
    a.reason == b.reason && a.detail == b.detail
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pause that ends between the look at what may go and the question when to wake is no reason to sleep for ever.
    #[test]
    fn whatever_time_it_is_something_wakes_what_only_waits_for_time() {
        let start = Instant::now();
        let at = |n: u64| start + Duration::from_millis(n);
        for now in 0..30 {
            let blocked = [Some(at(10)), None, Some(at(20))];
            assert_eq!(goes_at(at(now), &blocked, true), Some(at(now.max(if now < 20 { 20 } else { 0 }))), "{now}");
        }
        assert_eq!(goes_at(at(30), &[Some(at(10)), None], false), None, "the end of a probe wakes it");
        assert_eq!(goes_at(at(5), &[Some(at(10)), None], false), Some(at(10)));
    }
}
