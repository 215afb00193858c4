//! The ledger: what went in and out of each component, and why something did not.
//!
//! Every component has one [`Counters`]; it adds to all of its totals at once, once a batch, so that every snapshot
//! balances: `in + created = out + dropped + rejected + held`.

pub mod health;
mod held;
pub mod log_throttle;
pub mod panics;
pub(crate) mod remarks;
pub mod watchdog;

pub use health::Health;

use crate::sync::Locked;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ComponentKind {
    /// Makes events from outside.
    Source,
    /// Changes events.
    Transform,
    /// Takes events out.
    Sink,
}

impl ComponentKind {
    /// `source`, `transform` or `sink`.
    pub fn name(self) -> &'static str {
        match self {
            ComponentKind::Source => "source",
            ComponentKind::Transform => "transform",
            ComponentKind::Sink => "sink",
        }
    }

    /// The section of a configuration that they stand in.
    pub fn section(self) -> &'static str {
        match self {
            ComponentKind::Source => "sources",
            ComponentKind::Transform => "transforms",
            ComponentKind::Sink => "sinks",
        }
    }
}

/// What a disk buffer has on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BufferTotals {
    /// Events written to it, ever. Less than at the last look: some that were written are not there any more.
    pub written: u64,
    /// Of those: not delivered, dropped or otherwise settled.
    pub held: u64,
    /// Of those written: before the first that is not settled.
    pub settled: u64,
    /// What it had when it was opened.
    #[serde(skip)]
    pub opened: OpenedBuffer,
}

/// What a disk buffer found when it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenedBuffer {
    /// Events written to it, ever.
    pub written: u64,
    /// Where it did not find how far it was: events written before the first that is there. All from there on was taken for
    /// not settled.
    pub first: Option<u64>,
}

impl BufferTotals {
    /// Events that were there at this look and that a buffer which was opened since has not found, and knows nothing of.
    pub fn missing(&self, opened: OpenedBuffer) -> u64 {
        let end = self.written.saturating_sub(opened.written);
        // What was delivered since this look counts as missing then: nobody knows of it.
        let start = opened.first.map_or(0, |first| first.saturating_sub(self.settled));
        end.saturating_add(start).min(self.held)
    }
}

/// Totals of one component since start. Events unless said otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Taken in: read by a source, given to a transform or a sink.
    pub events_in: u64,
    /// Of those taken in: found in the disk buffer at the start, left there by a run before.
    pub events_resumed: u64,
    /// Made here beyond what came in: summaries, copies.
    pub events_created: u64,
    /// Put out, each once however many read it; of a sink: delivered.
    pub events_out: u64,
    /// Bytes read by a source, or given to a sink.
    pub bytes_in: u64,
    /// Bytes written or sent by a sink.
    pub bytes_out: u64,
    /// Gone by policy, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Sent to the `rejected` output or, by a sink, to its dead letter, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Accepted and not yet settled.
    pub held: u64,
    /// How often it was started again because it had failed.
    pub restarts: u64,
    /// How often it was started: with the agent, as a changed one, or again.
    pub starts: u64,
    /// All that it holds lies in a disk buffer.
    pub disk_buffer: bool,
    /// Its disk buffer, once that is open.
    pub buffer: Option<BufferTotals>,
    /// Mistakes that did not end an event, by kind.
    pub errors: BTreeMap<&'static str, u64>,
    /// Events put out by output; the default output is the empty name.
    pub outputs: BTreeMap<Arc<str>, u64>,
    /// Further counters: (metric, label value) → count. The label is called `rule`.
    pub rules: BTreeMap<(&'static str, Arc<str>), u64>,
    /// Gauges by name, such as `buffer_bytes`, `file_lag_bytes`.
    pub gauges: BTreeMap<&'static str, f64>,
    /// Seconds counters by name, such as `backpressure_seconds`.
    pub seconds: BTreeMap<&'static str, f64>,
}

impl Totals {
    /// `in + created - out - dropped - rejected - held`: 0 where the ledger balances.
    pub fn balance(&self) -> i128 {
        let sum = |m: &BTreeMap<&'static str, u64>| m.values().map(|&n| i128::from(n)).sum::<i128>();
        i128::from(self.events_in) + i128::from(self.events_created)
            - i128::from(self.events_out)
            - sum(&self.dropped)
            - sum(&self.rejected)
            - i128::from(self.held)
    }

    /// Of the events held: those that lie in a disk buffer.
    pub fn on_disk(&self) -> u64 {
        // Of a buffer that is on disk in part the disk's part is a gauge of its own.
        let gauge = if self.disk_buffer { "buffer_events" } else { "buffer_disk_events" };
        self.gauges.get(gauge).map_or(0, |n| *n as u64)
    }

    /// Adds to a map of reasons; nothing for 0.
    pub fn add(map: &mut BTreeMap<&'static str, u64>, reason: &'static str, n: u64) {
        if n > 0 {
            *map.entry(reason).or_default() += n;
        }
    }

    /// Counts `n` events as dropped.
    pub fn drop_events(&mut self, reason: &'static str, n: u64) {
        Self::add(&mut self.dropped, reason, n);
    }

    /// Adds to the time spent so: `busy`, `backpressure`.
    pub fn spend(&mut self, on: &'static str, seconds: f64) {
        *self.seconds.entry(on).or_default() += seconds;
    }

    /// Counts `n` events as rejected.
    pub fn reject_events(&mut self, reason: &'static str, n: u64) {
        Self::add(&mut self.rejected, reason, n);
    }

    /// Counts `n` mistakes of one kind.
    pub fn error(&mut self, kind: &'static str, n: u64) {
        Self::add(&mut self.errors, kind, n);
    }
}

/// The counters of one component.
pub struct Counters {
    /// Id of the component.
    pub id: Arc<str>,
    /// What it is.
    pub kind: ComponentKind,
    /// Its `type`.
    pub type_name: &'static str,
    totals: Mutex<Totals>,
    latency: Mutex<hdrhistogram::Histogram<u64>>,
    age: Mutex<hdrhistogram::Histogram<u64>>,
    /// When what it holds was received; of sinks.
    held: Mutex<held::Held>,
    /// One of each kind of error since it was last said.
    examples: Mutex<BTreeMap<&'static str, String>>,
}

/// Longest example of what went wrong, in bytes.
const MAX_EXAMPLE: usize = 160;

/// A text cut to the length of an example, and before the first value that is named like a secret.
pub fn example_of(text: &[u8]) -> String {
    let cut = &text[..text.len().min(MAX_EXAMPLE)];
    let mut out = match (std::str::from_utf8(cut), cut.len() < text.len()) {
        (Err(error), true) if error.error_len().is_none() => {
            String::from_utf8_lossy(&cut[..error.valid_up_to()]).into_owned()
        }
        _ => String::from_utf8_lossy(cut).into_owned(),
    };
    if let std::borrow::Cow::Owned(hidden) = crate::text::mask::before_secret(&out) {
        return hidden;
    }
    if cut.len() < text.len() {
        out.push('…');
    }
    out
}

impl Counters {
    /// Counters at zero.
    pub fn new(id: &str, kind: ComponentKind, type_name: &'static str) -> Arc<Self> {
        // Microseconds up to an hour (a day for ages), two digits: a few KiB each.
        let histogram = |max| {
            let h = hdrhistogram::Histogram::new_with_max(max, 2);
            #[allow(clippy::expect_used)]
            let h = h.expect("the bounds are constants that hdrhistogram accepts");
            Mutex::new(h)
        };
        Arc::new(Counters {
            id: id.into(),
            kind,
            type_name,
            totals: Mutex::default(),
            latency: histogram(3_600_000_000),
            age: histogram(86_400_000_000),
            held: Mutex::default(),
            examples: Mutex::default(),
        })
    }

    /// Keeps one error of a kind to be shown, where none is kept yet.
    pub fn example(&self, kind: &'static str, text: impl FnOnce() -> String) {
        self.examples.locked().entry(kind).or_insert_with(text);
    }

    /// The error that was kept.
    pub fn take_example(&self, kind: &'static str) -> Option<String> {
        self.examples.locked().remove(kind)
    }

    /// Changes the totals as one step; call it once a batch.
    pub fn update<R>(&self, change: impl FnOnce(&mut Totals) -> R) -> R {
        change(&mut self.totals.locked())
    }

    /// Counts a batch of events received at `received_at` as given to a sink, which holds them until they are settled.
    pub fn given(&self, events: u64, bytes: u64, received_at: i64) {
        let (taken, settled) = self.update(|t| {
            t.events_in += events;
            t.bytes_in += bytes;
            t.held += events;
            (t.events_in, t.events_in.saturating_sub(t.held))
        });
        self.held.locked().took(taken, settled, received_at);
    }

    /// When the oldest of the events that it holds was received, as far as that is known; see [`held`].
    pub fn oldest_held(&self, totals: &Totals) -> Option<i64> {
        self.held.locked().oldest(totals.events_in.saturating_sub(totals.held))
    }

    /// Counts time that was spent waiting because what follows was full.
    pub fn waited(&self, time: std::time::Duration) {
        self.update(|t| t.spend("backpressure", time.as_secs_f64()));
    }

    /// The totals as of now.
    pub fn snapshot(&self) -> Totals {
        self.update(|t| t.clone())
    }

    /// Takes over what `other` has counted of requests (errors, bytes, how long they took), which begins at zero again.
    pub fn absorb(&self, other: &Counters) {
        let (errors, bytes) = other.update(|t| (std::mem::take(&mut t.errors), std::mem::take(&mut t.bytes_out)));
        self.update(|t| {
            t.bytes_out += bytes;
            errors.into_iter().for_each(|(kind, n)| t.error(kind, n));
        });
        let mut theirs = other.latency.locked();
        // Both have the same bounds.
        let _added = self.latency.locked().add(&*theirs);
        theirs.reset();
    }

    /// Notes how long one request or write took.
    pub fn record_latency(&self, took: std::time::Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.latency.locked().saturating_record(micros);
    }

    /// Notes how old a batch was when it was delivered (received to delivered).
    pub fn record_age(&self, age: std::time::Duration) {
        let micros = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
        self.age.locked().saturating_record(micros);
    }

    /// Latencies so far, in microseconds.
    pub fn latency(&self) -> hdrhistogram::Histogram<u64> {
        self.latency.locked().clone()
    }

    /// Ages so far, in microseconds.
    pub fn age(&self) -> hdrhistogram::Histogram<u64> {
        self.age.locked().clone()
    }
}

/// All counters of a running topology, in the order of the file.
#[derive(Clone, Default)]
pub struct RunLedger {
    /// One entry per component.
    pub components: Vec<Arc<Counters>>,
    /// Edges: reader, the component it reads, the output (empty for the default one). Only of readers that have had the same
    /// ones since the beginning, so that what was put out for them is what must have come.
    pub edges: Vec<(Arc<str>, Arc<str>, Arc<str>)>,
    /// All edges as they are now.
    pub all_edges: Vec<(Arc<str>, Arc<str>, Arc<str>)>,
    /// Dead letters: the sink that takes them, and the sink whose they are.
    pub dead_letters: Vec<(Arc<str>, Arc<str>)>,
}

/// One line of the ledger.
#[derive(Clone, Debug, serde::Serialize)]
pub struct LedgerLine {
    /// Id of the component.
    pub component: String,
    /// source, transform or sink.
    pub kind: &'static str,
    /// Its `type`.
    pub r#type: &'static str,
    /// Events taken in.
    pub r#in: u64,
    /// Of those: found in the disk buffer at the start.
    pub resumed: u64,
    /// Events made.
    pub created: u64,
    /// Events put out or delivered.
    pub out: u64,
    /// Events dropped, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Events rejected or dead-lettered, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Events held.
    pub held: u64,
    /// Mistakes that did not end an event, by kind.
    pub errors: BTreeMap<&'static str, u64>,
    /// What does not add up: 0 where the ledger balances.
    pub difference: i128,
}

impl RunLedger {
    /// The ledger as of now.
    pub fn ledger(&self) -> Vec<LedgerLine> {
        self.components
            .iter()
            .map(|c| {
                let t = c.snapshot();
                LedgerLine {
                    component: c.id.to_string(),
                    kind: c.kind.name(),
                    r#type: c.type_name,
                    r#in: t.events_in,
                    resumed: t.events_resumed,
                    created: t.events_created,
                    out: t.events_out,
                    difference: t.balance(),
                    dropped: t.dropped,
                    rejected: t.rejected,
                    held: t.held,
                    errors: t.errors,
                }
            })
            .collect()
    }
}
