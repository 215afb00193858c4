//! `join`: events of one line each, joined to events of several lines after decoding, as `multiline` joins lines of a file.
//!
//! ```yaml
//! whole: {type: join, inputs: [net], multiline: [java, python], by: [hostname, appname]}
//! ```
//!
//! The text looked at is that of `from`; what is joined stands there, in the first event, with its fields; the others end as
//! `dropped{reason="joined"}`. `by` tells streams apart. The order within a stream is kept; between streams it is not.
//!
//! An event is open until a line comes that is not its, until `timeout`, or until there are too many: `max_groups` open at
//! once or `max_held` bytes, whereupon the ones that were opened first are closed, counted as `join_limit`. One that reaches
//! `max_lines` or `max_bytes` goes on as a second event, counted as `multiline_limit`. Nothing is cut away.
//!
//! Guarantee: what was joined is acknowledged when what it was joined into is; a kill loses nothing. For that, sinks do not note
//! how far sources have come while there is a `join` in the graph: what is read again after a kill may be repeated.
//!
//! The time-out is counted while a worker looks, in steps: what waits behind a full sink is not late.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::ack::Ack;
use crate::component::plan::TransformPlan;
use crate::component::{BuildContext, Emitter, Notes, Rule, Transform};
use crate::condition::value_of;
use crate::error::BuildError;
use crate::event::{Batch, EventRef, FieldPath, Meta, Value};
use crate::framing::MultilineSetting;
use crate::framing::multiline::{Aggregator, Matcher};
use crate::settings::{Reader, Size, Spanned, config};
use crate::sync::Locked;
use xxhash_rust::xxh3::xxh3_128;

#[cfg(test)]
mod tests;

config! {
    /// Joins events of one line each to events of several lines, as `multiline` of the `file` source joins lines.
    pub struct JoinConfig {
        /// What it reads.
        pub inputs: Vec<Spanned<String>>,
        /// Which lines make one event.
        pub multiline: MultilineSetting,
        /// The field whose text is a line.
        pub from: FieldPath = FieldPath::of_key("message"),
        /// Fields and metadata whose values, together, tell streams apart; absent ones count.
        pub by: Vec<FieldPath> = default_by(),
        /// An open event is closed when no line came for this long; as `multiline` says, 1 s, where left out.
        pub timeout: Option<Duration> = None,
        /// Most lines of one event; as `multiline` says, 1000, where left out.
        pub max_lines: Option<u32> = None,
        /// Most bytes of one event; as `multiline` says, 1MiB, where left out.
        pub max_bytes: Option<Size> = None,
        /// Most open events at once; the one that was opened first is closed early, counted.
        pub max_groups: u32 = 1000,
        /// Most bytes of all open events; the ones that were opened first are closed early, counted.
        pub max_held: Size = Size::mib(4),
    }
}

/// What tells streams apart by itself: where they come from.
fn default_by() -> Vec<FieldPath> {
    vec![FieldPath::of_meta(Meta::Source), FieldPath::of_meta(Meta::File), FieldPath::of_meta(Meta::Peer)]
}

impl TransformPlan for JoinConfig {
    fn inputs(&self) -> &[Spanned<String>] {
        &self.inputs
    }

    fn check(&self, cx: &mut Reader<'_>) {
        if self.from.meta().is_some() {
            cx.error_at("from", format!("`from: {}` is metadata, whose text cannot be set{}", self.from, cx.place()));
        }
        for (key, zero) in [("max_groups", self.max_groups == 0), ("max_held", self.max_held.bytes() == 0)] {
            if zero {
                cx.error_at(key, format!("`{key}` must be above 0{}", cx.place()));
            }
        }
        if self.timeout.is_some_and(|timeout| timeout.is_zero()) {
            cx.error_at("timeout", format!("`timeout` must be above 0{}", cx.place()));
        }
    }

    fn when_changed(&self) -> Option<&'static str> {
        Some("the events that it has open are put out as they are")
    }

    fn build(self: Box<Self>, _cx: &BuildContext) -> Result<Box<dyn Transform>, BuildError> {
        let rule = self.multiline.build().map_err(BuildError::config)?;
        let mut limits = rule.limits();
        if let Some(timeout) = self.timeout {
            limits.timeout_nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        }
        limits.max_lines = self.max_lines.unwrap_or(limits.max_lines).max(1);
        limits.max_bytes = self.max_bytes.map_or(limits.max_bytes, |size| size.as_usize());
        let interval = Duration::from_nanos(limits.timeout_nanos / 4).clamp(LEAST_TICK, MOST_TICK);
        let shared = Shared {
            groups: Mutex::new(Groups {
                matcher: Matcher::new(Arc::new(rule.with_limits(limits))),
                open: hashbrown::HashMap::new(),
                order: VecDeque::new(),
                bytes: 0,
                opened: 0,
                batches: 0,
            }),
            workers: AtomicUsize::new(0),
            from: self.from,
            by: self.by,
            timeout: limits.timeout_nanos,
            interval,
            max_groups: self.max_groups as usize,
            max_held: self.max_held.as_usize(),
        };
        Ok(Box::new(Join::new(Arc::new(shared))))
    }
}

/// Steps in which time-outs are counted.
const LEAST_TICK: Duration = Duration::from_millis(10);
const MOST_TICK: Duration = Duration::from_millis(250);
/// What an open event costs beside its text, about.
const GROUP_BYTES: usize = 512;

/// What all workers share.
struct Shared {
    groups: Mutex<Groups>,
    /// Numbers for workers.
    workers: AtomicUsize,
    from: FieldPath,
    by: Vec<FieldPath>,
    timeout: u64,
    interval: Duration,
    max_groups: usize,
    max_held: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Groups> {
        self.groups.locked()
    }
}

/// Open events by the hash of their streams: 128 bits, so two streams are never taken for one.
struct Groups {
    matcher: Matcher,
    open: hashbrown::HashMap<u128, Group>,
    /// In the order in which they were opened, with their numbers; some are closed already.
    order: VecDeque<(u128, u64)>,
    /// Bytes of all of them.
    bytes: usize,
    opened: u64,
    /// Batches that were seen.
    batches: u64,
}

/// One open event.
struct Group {
    state: Aggregator,
    first: First,
    /// The lines so far; empty while there is one.
    text: Vec<u8>,
    /// Shares in the verdicts of the batches it has lines of, but for the one that it stands in.
    shares: Vec<Ack>,
    /// The last batch that it has a line of.
    batch: u64,
    number: u64,
    /// Who had a line of it last, and looks at its time-out.
    worker: usize,
    /// How long no line came: nanoseconds.
    waited: u64,
    bytes: usize,
}

/// Where the first line's event is.
enum First {
    /// In this row of the batch that is being worked on.
    Row(usize),
    Held(Box<Batch>),
}

/// The running transform.
struct Join {
    shared: Arc<Shared>,
    worker: usize,
    ticked: Option<i64>,
    line: Vec<u8>,
    identity: Vec<u8>,
}

impl Join {
    fn new(shared: Arc<Shared>) -> Join {
        let worker = shared.workers.fetch_add(1, Ordering::Relaxed);
        Join { shared, worker, ticked: None, line: Vec::new(), identity: Vec::new() }
    }

    /// The hash of what tells the event's stream.
    #[inline(always)]
    fn key(&mut self, event: EventRef<'_>) -> u128 {
        self.identity.clear();
        for path in &self.shared.by {
            let at = self.identity.len();
            self.identity.extend_from_slice(&[0; 8]);
            if let Some(value) = event.get(path) {
                value.append_text(&mut self.identity);
                let len = (self.identity.len() - at - 7) as u64;
                self.identity[at..at + 8].copy_from_slice(&len.to_le_bytes());
            }
        }
        xxh3_128(&self.identity)
    }
}

/// One batch that is being worked on.
struct Work<'a, 'b> {
    shared: &'a Shared,
    groups: &'a mut Groups,
    batch: &'a mut Batch,
    out: &'a mut Emitter<'b>,
    worker: usize,
    /// Streams whose event may begin in this batch.
    begun: Vec<u128>,
    joined: u64,
    splits: u64,
}

impl Work<'_, '_> {
    fn line(&mut self, key: u128, row: usize, line: &[u8]) {
        let Groups { matcher, open, batches, .. } = &mut *self.groups;
        // The matcher's own clock is not used.
        let (mut fresh, batches) = (Aggregator::default(), *batches);
        let action = match open.get_mut(&key) {
            Some(group) => {
                (group.worker, group.waited) = (self.worker, 0);
                let splits = group.state.splits();
                let action = group.state.push(matcher, line, 0);
                self.splits += group.state.splits() - splits;
                action
            }
            None => fresh.push(matcher, line, 0),
        };
        if action.flushes_before() {
            fresh = self.close(key).unwrap_or_default();
        }
        if action.joins() {
            self.append(key, row, line, batches);
            if action.flushes_after() {
                self.close(key);
            }
        } else if !action.flushes_after() {
            self.begin(key, row, line, fresh, batches);
        }
        while self.groups.open.len() > self.shared.max_groups || self.groups.bytes > self.shared.max_held {
            self.close_oldest();
        }
    }

    fn begin(&mut self, key: u128, row: usize, line: &[u8], state: Aggregator, batch: u64) {
        let number = self.groups.opened;
        let bytes = line.len() + GROUP_BYTES;
        self.groups.opened += 1;
        self.groups.bytes += bytes;
        self.groups.order.push_back((key, number));
        // Most that are in the list are closed.
        if self.groups.order.len() > 2 * self.groups.open.len() + 64 {
            let Groups { order, open, .. } = &mut *self.groups;
            let is_open = |key: &u128, open_number: u64| open.get(key).is_some_and(|group| group.number == open_number);
            order.retain(|(key, open_number)| *open_number == number || is_open(key, *open_number));
        }
        let (first, shares) = (First::Row(row), Vec::new());
        let worker = self.worker;
        let group = Group { state, first, text: Vec::new(), shares, batch, number, worker, waited: 0, bytes };
        self.groups.open.insert(key, group);
        self.begun.push(key);
    }

    fn append(&mut self, key: u128, row: usize, line: &[u8], batch: u64) {
        let Some(group) = self.groups.open.get_mut(&key) else { return };
        let before = group.text.len();
        if group.text.is_empty() {
            let first = match &group.first {
                First::Row(row) => self.batch.event(*row),
                First::Held(batch) => batch.event(0),
            };
            if let Some(value) = first.get(&self.shared.from) {
                value.append_text(&mut group.text);
            }
        }
        group.text.push(b'\n');
        group.text.extend_from_slice(line);
        let grown = group.text.len() - before;
        group.bytes += grown;
        if matches!(group.first, First::Held(_)) && group.batch != batch {
            group.shares.push(self.batch.ack.clone());
            group.batch = batch;
        }
        self.groups.bytes += grown;
        self.batch.drop_row(row);
        self.joined += 1;
    }

    /// Puts an open event out, and gives its state, in which another may be open.
    fn close(&mut self, key: u128) -> Option<Aggregator> {
        let group = self.groups.open.remove(&key)?;
        self.groups.bytes -= group.bytes;
        match group.first {
            First::Row(row) if !group.text.is_empty() => {
                self.batch.event_mut(row).set(&self.shared.from, Value::from(&group.text[..]));
            }
            First::Row(_) => {}
            First::Held(batch) => put_out(*batch, &group.text, group.shares, self.shared, self.out),
        }
        Some(group.state)
    }

    fn close_oldest(&mut self) {
        while let Some((key, number)) = self.groups.order.pop_front() {
            if self.groups.open.get(&key).is_some_and(|group| group.number == number) {
                self.close(key);
                self.out.error("join_limit", 1);
                return;
            }
        }
        debug_assert!(self.groups.open.is_empty(), "each open event is in the list");
    }

    /// Takes what is still open out of the batch.
    fn hold(&mut self) {
        for key in std::mem::take(&mut self.begun) {
            let Some(group) = self.groups.open.get_mut(&key) else { continue };
            let First::Row(row) = group.first else { continue };
            let mut held = self.batch.sibling();
            held.copy_event(self.batch, row);
            group.shares.push(held.ack.take());
            let bytes = held.pinned_bytes() + group.text.len() + GROUP_BYTES;
            self.groups.bytes = self.groups.bytes - group.bytes + bytes;
            group.bytes = bytes;
            group.first = First::Held(Box::new(held));
            self.batch.drop_row(row);
            self.out.held(1);
        }
    }
}

/// Puts out an event that was held.
fn put_out(mut batch: Batch, text: &[u8], shares: Vec<Ack>, shared: &Shared, out: &mut Emitter<'_>) {
    if !text.is_empty() {
        batch.event_mut(0).set(&shared.from, Value::from(text));
    }
    batch.ack = Ack::of_all(shares);
    out.held(-1);
    out.emit(0, batch);
}

impl Transform for Join {
    fn apply(&mut self, batch: &mut Batch, out: &mut Emitter<'_>) {
        if batch.ack.place().is_some_and(|place| place.held.is_some()) {
            // A sink that has the first line may not have the others.
            batch.ack = Ack::of_all(vec![batch.ack.take()]);
        }
        let shared = self.shared.clone();
        let mut groups = shared.lock();
        groups.batches += 1;
        let worker = self.worker;
        let mut work =
            Work { shared: &shared, groups: &mut groups, batch, out, worker, begun: Vec::new(), joined: 0, splits: 0 };
        let mut line = std::mem::take(&mut self.line);
        for row in 0..work.batch.rows() {
            if !work.batch.is_live(row) {
                continue;
            }
            let key = self.key(work.batch.event(row));
            line.clear();
            match work.batch.event(row).get(&shared.from) {
                Some(Value::Str(text)) => text.append_text(&mut line),
                // Not a line; it ends what is open all the same.
                _ => {
                    work.close(key);
                    continue;
                }
            }
            work.line(key, row, &line);
        }
        work.hold();
        // What is held takes more than what stood in the batch.
        while work.groups.bytes > shared.max_held {
            work.close_oldest();
        }
        let (joined, splits) = (work.joined, work.splits);
        out.dropped("joined", joined);
        out.error("multiline_limit", splits);
        self.line = line;
    }

    fn fork(&self) -> Box<dyn Transform> {
        Box::new(Join::new(self.shared.clone()))
    }

    fn explain(&mut self, event: EventRef<'_>, notes: &mut Notes) {
        let (key, shared) = (self.key(event), self.shared.clone());
        if !matches!(event.get(&shared.from), Some(Value::Str(_))) {
            notes.say(format!(
                "there is no text at `{}`: passes as it is, and ends what is open of its stream",
                shared.from
            ));
            return;
        }
        let value = |path: &FieldPath| value_of(event, path).map(|value| format!("`{path}` is {value}"));
        let stream: Vec<String> = shared.by.iter().filter_map(value).collect();
        let open = match shared.lock().open.get(&key) {
            Some(_) => "an event of its stream is open: the line is joined to it, or ends it and begins another",
            None => "nothing of its stream is open: the line begins an event, which waits for more",
        };
        notes.hit(Rule::at(&["multiline"]), format!("{open}; the stream: {}", stream.join(", ")));
    }

    fn rules(&self) -> Vec<Rule> {
        vec![Rule::at(&["multiline"])]
    }

    fn may_redo(&self) -> bool {
        false
    }

    fn keeps_events(&self) -> bool {
        true
    }

    fn tick_interval(&self) -> Option<Duration> {
        Some(self.shared.interval)
    }

    fn tick(&mut self, now: i64, out: &mut Emitter<'_>) {
        let most = 2 * self.shared.interval.as_nanos() as u64;
        let passed = self.ticked.replace(now).map_or(0, |before| now.saturating_sub(before).max(0).unsigned_abs());
        // A worker that was held up has lines to come.
        let passed = passed.min(most);
        let shared = self.shared.clone();
        let mut groups = shared.lock();
        let mut late = Vec::new();
        for (key, group) in &mut groups.open {
            if group.worker == self.worker {
                group.waited += passed;
                if group.waited >= shared.timeout {
                    late.push((group.number, *key));
                }
            }
        }
        late.sort_unstable();
        for (_, key) in late {
            groups.put_out(key, &shared, out);
        }
    }

    fn finish(&mut self, _now: i64, out: &mut Emitter<'_>) {
        let shared = self.shared.clone();
        let mut groups = shared.lock();
        let mut all: Vec<(u64, u128)> = groups.open.iter().map(|(key, group)| (group.number, *key)).collect();
        all.sort_unstable();
        for (_, key) in all {
            groups.put_out(key, &shared, out);
        }
    }
}

impl Groups {
    /// Puts out an event that is held.
    fn put_out(&mut self, key: u128, shared: &Shared, out: &mut Emitter<'_>) {
        if let Some(Group { first: First::Held(batch), text, shares, bytes, .. }) = self.open.remove(&key) {
            self.bytes -= bytes;
            put_out(*batch, &text, shares, shared, out);
        }
    }
}
