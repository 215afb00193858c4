//! Test support: a sink fed by hand, outside any topology, and what becomes of each batch.
//!
//! [`Feed`] keeps the other end of everything that a sink is run with: what it counts, says of its health, puts into its dead
//! letter, and settles. [`Feed::start`] runs one on a thread, as the topology would. A server for sinks over HTTP is a function of the
//! request: [`Scripted`].
#![allow(clippy::unwrap_used)]

use crate::ack::{Ack, Settled, Verdict};
use crate::buffer::{FullPolicy, Queue, QueueSender, Received};
use crate::component::{BoxFuture, BuildContext, DeadLetter, Input, SinkRun, Successors};
use crate::error::RunError;
use crate::event::{Batch, JsonRows, Origin, Slab};
use crate::http::{Answer, Exchange, Lost, Request};
use crate::telemetry::{ComponentKind, Counters, Health};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was settled, in order: which batch, and how.
#[derive(Default)]
pub(crate) struct Verdicts {
    settled: Mutex<Vec<(u64, Verdict)>>,
}

impl Settled for Verdicts {
    fn settled(&self, token: u64, verdict: Verdict) {
        self.settled.lock().unwrap().push((token, verdict));
    }
}

impl Verdicts {
    /// All of them.
    pub(crate) fn all(&self) -> Vec<Verdict> {
        self.settled.lock().unwrap().iter().map(|(_, verdict)| *verdict).collect()
    }

    /// All of them, by batch.
    pub(crate) fn by_batch(&self) -> BTreeMap<u64, Vec<Verdict>> {
        let mut all: BTreeMap<u64, Vec<Verdict>> = BTreeMap::new();
        for (token, verdict) in self.settled.lock().unwrap().iter() {
            all.entry(*token).or_default().push(*verdict);
        }
        all
    }
}

/// The other end of a sink.
pub(crate) struct Feed {
    pub(crate) counters: Arc<Counters>,
    pub(crate) health: Arc<Health>,
    /// The time to drain is over.
    pub(crate) abort: CancellationToken,
    pub(crate) successors: Successors,
    pub(crate) verdicts: Arc<Verdicts>,
    /// The input is open as long as this is there.
    pub(crate) sender: Option<QueueSender>,
    letters: (Arc<Queue>, QueueSender),
    /// Batches that were sent.
    pub(crate) sent: u64,
}

impl Feed {
    /// The end of a sink of this `id` and `type`, which has a dead letter, and what that is run with.
    pub(crate) fn new(id: &str, type_name: &'static str) -> (Feed, Input) {
        let counters = Counters::new(id, ComponentKind::Sink, type_name);
        let queue = Queue::new(64 << 20, FullPolicy::Block, counters.clone());
        let letters = Queue::new(64 << 20, FullPolicy::Block, Counters::new("letters", ComponentKind::Sink, "test"));
        let feed = Feed {
            counters: counters.clone(),
            health: Arc::default(),
            abort: CancellationToken::new(),
            successors: Successors::default(),
            verdicts: Arc::default(),
            sender: Some(queue.sender()),
            letters: (letters.clone(), letters.sender()),
            sent: 0,
        };
        let input = Input {
            queue,
            counters,
            dead_letter: Some(DeadLetter { to: letters.sender(), point: Default::default() }),
            abort: feed.abort.clone(),
            shutdown_allowed: None,
            successors: feed.successors.clone(),
            health: feed.health.clone(),
            report: Default::default(),
            reader: 0,
            succession: Default::default(),
            call: Default::default(),
            requests: Default::default(),
        };
        (feed, input)
    }

    /// Runs a sink on a thread; how it ended.
    pub(crate) fn start(run: SinkRun, input: Input) -> JoinHandle<Result<(), RunError>> {
        std::thread::spawn(move || match run {
            SinkRun::Thread(run) => run(input),
            SinkRun::Task(run) => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(run(input))
            }
        })
    }

    /// Sends what is made with the next acknowledgement.
    pub(crate) fn send(&mut self, make: impl FnOnce(Ack) -> Batch) {
        let ack = Ack::new(self.verdicts.clone(), self.sent);
        self.sent += 1;
        self.sender.as_ref().unwrap().send(make(ack));
    }

    /// Sends events, each a line of JSON.
    pub(crate) fn put<L: AsRef<str>>(&mut self, lines: &[L]) {
        self.send(|ack| rows(lines, ack));
    }

    /// Waits until each batch has its verdict.
    #[track_caller]
    pub(crate) fn wait(&self) {
        until("settled", || self.verdicts.all().len() as u64 == self.sent);
    }

    /// Takes what the sink has put into its dead letter, as JSON; it is settled with that.
    pub(crate) fn letters(&self) -> Vec<String> {
        let mut out = Vec::new();
        while let Some(batch) = self.letters.0.try_recv() {
            take_letters(batch, Verdict::Delivered, &mut out);
        }
        out
    }

    /// Takes them on a thread, as soon as they come, for as long as there may be some. They are settled as rejected, so that
    /// the batch's verdict tells.
    pub(crate) fn take_letters(&self) -> Arc<Mutex<Vec<String>>> {
        let letters = Arc::new(Mutex::new(Vec::new()));
        let (queue, to) = (self.letters.0.clone(), letters.clone());
        std::thread::spawn(move || {
            while let Received::Batch(batch) = queue.recv_timeout(PATIENCE) {
                take_letters(batch, Verdict::Rejected, &mut to.lock().unwrap());
            }
        });
        letters
    }
}

fn take_letters(mut batch: Batch, verdict: Verdict, to: &mut Vec<String>) {
    for event in batch.iter() {
        let mut json = Vec::new();
        event.write_json(&mut json);
        to.push(String::from_utf8(json).unwrap());
    }
    batch.ack.take().settle(verdict);
}

/// Waits until something holds.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not {what} within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A batch of JSON lines.
pub(crate) fn rows<L: AsRef<str>>(lines: &[L], ack: Ack) -> Batch {
    let text = lines.iter().map(AsRef::as_ref).collect::<Vec<_>>().join("\n");
    let mut batch = Batch::new(Slab::from_vec(text.into_bytes()), Origin::of_source("in"), 1, ack);
    let (mut rows, mut at) = (JsonRows::default(), 0);
    for line in lines.iter().map(AsRef::as_ref) {
        rows.push(&mut batch, at, at + line.len(), at as u64).unwrap();
        at += line.len() + 1;
    }
    batch
}

/// What a sink called `out` is built with; its state is in `data` of this folder, which is made.
pub(crate) fn context(dir: &Path, counters: &Arc<Counters>) -> BuildContext {
    let data_dir = dir.join("data");
    std::fs::create_dir_all(&data_dir).unwrap();
    BuildContext {
        id: counters.id.clone(),
        data_dir,
        timezone: jiff::tz::TimeZone::UTC,
        counters: counters.clone(),
        once: false,
        own_files: Arc::default(),
        host: "h".into(),
        memory_limit: 24 << 20,
        working_bytes: usize::MAX,
        connections: u32::MAX,
        handles: 1024,
        reads_access_logs: false,
        chance: Default::default(),
    }
}

/// What a server answers: to which request, the first is 0, and what it was.
pub(crate) type Script = dyn Fn(usize, &Request) -> Result<Answer, Lost> + Send + Sync;

/// A server that answers as a function says, after a while.
pub(crate) struct Scripted {
    script: Box<Script>,
    delay: Duration,
    /// What came, and when.
    pub(crate) requests: Mutex<Vec<(Instant, Request)>>,
    in_flight: AtomicUsize,
    /// Most requests at once.
    pub(crate) most: AtomicUsize,
}

impl Scripted {
    pub(crate) fn new(delay: Duration, script: Box<Script>) -> Arc<Scripted> {
        let (requests, in_flight, most) = Default::default();
        Arc::new(Scripted { script, delay, requests, in_flight, most })
    }

    /// Bodies that came, as text.
    pub(crate) fn bodies(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        requests.iter().map(|(_, r)| String::from_utf8(r.body.clone().unwrap().to_vec()).unwrap()).collect()
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::plan::SinkPlan;
    use crate::settings::read_text;
    use crate::sinks::blackhole::BlackholeConfig;

    #[test]
    fn a_sink_is_fed_and_what_becomes_of_each_batch_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let (config, _) = read_text::<BlackholeConfig>("t.yaml", "inputs: [in]", &BTreeMap::<String, String>::new());
        let (mut feed, input) = Feed::new("out", "blackhole");
        let run = Box::new(config.unwrap()).build(&context(dir.path(), &feed.counters)).unwrap();
        let ended = Feed::start(run, input);
        feed.put(&["{\"n\":1}", "{\"n\":2}"]);
        feed.put(&["{\"n\":3}"]);
        feed.wait();
        assert_eq!(feed.verdicts.all(), [Verdict::Delivered; 2]);
        feed.sender = None;
        ended.join().unwrap().unwrap();
        let totals = feed.counters.snapshot();
        assert_eq!((totals.events_in, totals.events_out, totals.balance()), (3, 3, 0));
        assert_eq!(feed.letters(), Vec::<String>::new());
    }
}
