//! From batches to loads: events are encoded straight into the body of their partition, which becomes a load when it is
//! full or old enough. Memory is reused; nothing is allocated per event.

use super::protocol::{Draft, Protocol, Unsendable};
use super::request_body::{BatchPart, Groups, Record, RequestBody, Target};
use crate::ack::Rows;
use crate::event::{Batch, EventRef};
use bytes::Bytes;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Bodies kept for reuse.
const SPARE: usize = 4;

/// No more is coming when nothing has come for so long.
const QUIET: Duration = Duration::from_millis(10);

/// When a load is full.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Events.
    pub max_events: NonZeroUsize,
    /// Bytes of the body; a larger event goes alone.
    pub max_bytes: usize,
    /// Time since the first event.
    pub timeout: Duration,
}

/// An event that cannot be sent.
#[derive(Debug)]
pub struct Unsent {
    /// Its row in the batch.
    pub row: usize,
    /// Its place among the live events of the batch.
    pub place: u32,
    /// Why.
    pub why: Unsendable,
}

/// Groups events by partition.
pub struct Batcher<M> {
    bounds: Bounds,
    partitions: Vec<Partition<M>>,
    by_name: HashMap<Box<[u8]>, usize>,
    /// Partitions in the order in which their first event came: all wait equally long.
    due: VecDeque<(Instant, usize, u64)>,
    /// When the last batch was added.
    last_add: Option<Instant>,
    /// A body went that was not full, and no full one since: others wait until then unless they are due.
    not_early_before: Option<Instant>,
    /// Bytes that the events in open bodies take.
    bytes: usize,
    /// Number of the batch that is being added.
    batch: u64,
    /// The partition of the event before.
    last: usize,
    name: Vec<u8>,
    spare: Vec<Spare<M>>,
}

struct Partition<M> {
    name: Box<[u8]>,
    target: Arc<Target>,
    open: Option<Open<M>>,
    /// Counts the loads of this partition: what is in `due` may be about one that is closed.
    generation: u64,
}

struct Open<M> {
    body: Vec<u8>,
    records: Vec<Record<M>>,
    groups: Groups,
    parts: Vec<BatchPart>,
    originals: Vec<u8>,
    original_ends: Vec<u32>,
    /// The batch that the last part is of.
    batch: u64,
    /// Records still to come that stand in the bytes of one that is there.
    riders: u32,
}

impl<M> Open<M> {
    /// Counts the record that was added last to the part of its batch, the one with this number.
    #[inline]
    fn note_part(&mut self, number: u64, pass: &Pass<'_, M>) {
        match self.parts.last_mut() {
            Some(part) if self.batch == number => part.records += 1,
            _ => {
                self.batch = number;
                let batch = pass.batch;
                let (ack, origin) = (batch.ack.clone(), batch.origin.clone());
                let (received_at, ids, rows) = (batch.received_at, batch.ids, Rows::default());
                self.parts.push(BatchPart { ack, origin, received_at, ids, records: 1, rows });
            }
        }
        if pass.hears_parts
            && let Some(part) = self.parts.last_mut()
        {
            part.rows.push(pass.place);
        }
    }
}

/// What stays the same while a batch is added.
struct Pass<'a, M> {
    batch: &'a Batch,
    /// The place of the event among the live ones.
    place: u32,
    /// Whether anyone wants to hear of parts of the batch.
    hears_parts: bool,
    now_ns: i64,
    now: Instant,
    closed: &'a mut VecDeque<RequestBody<M>>,
}

struct Spare<M> {
    body: Vec<u8>,
    records: Vec<Record<M>>,
    parts: Vec<BatchPart>,
    originals: Vec<u8>,
    original_ends: Vec<u32>,
}

impl<M> Default for Spare<M> {
    fn default() -> Self {
        let (body, originals, original_ends) = Default::default();
        Spare { body, records: Vec::new(), parts: Vec::new(), originals, original_ends }
    }
}

impl<M: Copy + Default> Batcher<M> {
    /// An empty one.
    pub fn new(bounds: Bounds) -> Self {
        Batcher {
            bounds,
            partitions: Vec::new(),
            by_name: HashMap::new(),
            due: VecDeque::new(),
            last_add: None,
            not_early_before: None,
            bytes: 0,
            batch: 0,
            last: usize::MAX,
            name: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// Bytes that the events in bodies take that are not closed yet.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// When a body that is not full is due: the oldest after `timeout`; all of them as soon as nothing more comes, where
    /// none has gone so early within the last `timeout` or since a full one. A lone event does not wait, a burst's end
    /// neither, and a trickle makes one request a `timeout`.
    pub fn next_due(&mut self) -> Option<Instant> {
        let oldest = self.oldest_due()?;
        Some(self.lull().map_or(oldest, |lull| lull.min(oldest)))
    }

    fn lull(&self) -> Option<Instant> {
        let quiet = self.last_add? + QUIET;
        Some(self.not_early_before.map_or(quiet, |at| at.max(quiet)))
    }

    fn oldest_due(&mut self) -> Option<Instant> {
        while let Some(&(at, n, generation)) = self.due.front() {
            let partition = &self.partitions[n];
            if partition.generation == generation && partition.open.as_ref().is_some_and(|o| !o.records.is_empty()) {
                return Some(at);
            }
            self.due.pop_front();
        }
        None
    }

    /// Adds a batch's events; full loads go to `closed`, what cannot be sent to `unsent`. Each load takes a share in the
    /// verdict; the batch's own stays with the caller, to be settled.
    pub fn add<P: Protocol<Mark = M>>(
        &mut self,
        batch: &Batch,
        protocol: &mut P,
        now_ns: i64,
        now: Instant,
        closed: &mut VecDeque<RequestBody<M>>,
        unsent: &mut Vec<Unsent>,
    ) {
        self.batch += 1;
        self.last_add = Some(now);
        // The body that is being written is held here while events of its partition follow each other.
        let mut held: Option<(usize, Open<M>)> = None;
        let mut pass = Pass { batch, place: 0, hears_parts: batch.ack.hears_parts(), now_ns, now, closed };
        let mut next_place = 0;
        for row in 0..batch.rows() {
            let event = batch.event(row);
            if !event.is_live() {
                continue;
            }
            pass.place = next_place;
            next_place += 1;
            self.name.clear();
            if let Err(why) = protocol.partition(event, now_ns, &mut self.name) {
                unsent.push(Unsent { row, place: pass.place, why });
                continue;
            }
            if self.partitions.len() >= KEPT_PARTITIONS {
                self.put_back(held.take()); // or it would look idle
            }
            self.last = self.find(protocol);
            let n = self.last;
            if held.as_ref().is_none_or(|(m, _)| *m != n) {
                self.put_back(held.take());
                held = Some((n, self.take_open(n)));
            }
            let Some((_, open)) = &mut held else { continue };
            if let Err(why) = self.encode(n, open, event, protocol, &mut pass) {
                unsent.push(Unsent { row, place: pass.place, why });
            }
        }
        self.put_back(held);
    }

    fn put_back(&mut self, held: Option<(usize, Open<M>)>) {
        if let Some((n, open)) = held {
            self.partitions[n].open = Some(open);
        }
    }

    fn take_open(&mut self, n: usize) -> Open<M> {
        match self.partitions[n].open.take() {
            Some(open) => open,
            None => self.open(n),
        }
    }

    /// The partition called `self.name`.
    fn find<P: Protocol<Mark = M>>(&mut self, protocol: &P) -> usize {
        if self.partitions.get(self.last).is_some_and(|p| *p.name == *self.name) {
            return self.last;
        }
        if let Some(&n) = self.by_name.get(self.name.as_slice()) {
            return n;
        }
        let name: Box<[u8]> = self.name.as_slice().into();
        let target = Arc::new(protocol.target(&name));
        let partition = Partition { name: name.clone(), target, open: None, generation: 0 };
        // A partition that holds nothing makes place: names with a date in them come and go.
        let n = match self.partitions.len() < KEPT_PARTITIONS {
            true => None,
            false => self.partitions.iter().position(|p| p.open.as_ref().is_none_or(|o| o.records.is_empty())),
        };
        let n = match n {
            Some(n) => {
                let old = std::mem::replace(&mut self.partitions[n], partition);
                self.partitions[n].generation = old.generation + 1;
                self.by_name.remove(&old.name);
                n
            }
            None => {
                self.partitions.push(partition);
                self.partitions.len() - 1
            }
        };
        self.by_name.insert(name, n);
        n
    }

    /// Appends an event to the body of partition `n`, which is `open`.
    fn encode<P: Protocol<Mark = M>>(
        &mut self,
        n: usize,
        open: &mut Open<M>,
        event: EventRef<'_>,
        protocol: &mut P,
        pass: &mut Pass<'_, M>,
    ) -> Result<(), Unsendable> {
        let framing = self.partitions[n].target.framing;
        let before = open.body.len();
        let marks = (open.originals.len(), open.original_ends.len());
        if !open.records.is_empty() {
            open.body.extend_from_slice(framing.between);
        }
        let start = open.body.len();
        let grouped_before = open.groups.bytes();
        let mut draft = Draft {
            body: &mut open.body,
            groups: &mut open.groups,
            record: Record::default(),
            target: &self.partitions[n].target,
            now: pass.now_ns,
            originals: &mut open.originals,
            original_ends: &mut open.original_ends,
        };
        let written = protocol.record(event, &mut draft);
        let mut record = draft.record;
        if let Err(why) = written {
            open.body.truncate(before);
            open.originals.truncate(marks.0);
            open.original_ends.truncate(marks.1);
            self.bytes += open.groups.bytes() - grouped_before;
            return Err(why);
        }
        (record.end, record.offset) = (open.body.len() as u32, event.offset());
        record.noted = event.time().unwrap_or(i64::MIN);
        let mut added = open.body.len() - before + open.groups.bytes() - grouped_before;
        let kept = open.originals.len() - marks.0;
        let rides = open.riders > 0;
        let too_large = open.body.len() + open.groups.bytes() + framing.close.len() > self.bounds.max_bytes;
        if too_large && !open.records.is_empty() && !rides {
            self.not_early_before = None;
            // The event begins the next load: its bytes move there.
            let mut next = self.open(n);
            let shift = (start - framing.open.len()) as u32;
            next.body.extend_from_slice(&open.body[start..]);
            record.end -= shift;
            if !open.groups.is_empty() {
                record.group = next.groups.of(open.groups.name(record.group));
            }
            added = open.body.len() - start + next.groups.bytes();
            // The name of its group may stay behind.
            self.bytes += open.groups.bytes() - grouped_before;
            if record.original > 0 {
                next.originals.extend_from_slice(&open.originals[marks.0..]);
                next.original_ends.push(next.originals.len() as u32);
                record.original = 1;
            }
            open.body.truncate(before);
            open.originals.truncate(marks.0);
            open.original_ends.truncate(marks.1);
            self.close(n, std::mem::replace(open, next), pass.closed);
        }
        if open.records.is_empty() {
            self.due.push_back((pass.now + self.bounds.timeout, n, self.partitions[n].generation));
        }
        self.bytes += added + size_of::<Record<M>>() + kept;
        open.riders = if rides { open.riders - 1 } else { record.riders };
        open.records.push(record);
        open.note_part(self.batch, pass);
        let full = open.body.len() + open.groups.bytes() + framing.close.len() >= self.bounds.max_bytes;
        if open.riders == 0 && (full || open.records.len() >= self.bounds.max_events.get()) {
            self.not_early_before = None;
            let next = self.open(n);
            self.close(n, std::mem::replace(open, next), pass.closed);
        }
        Ok(())
    }

    /// An empty body for partition `n`.
    fn open(&mut self, n: usize) -> Open<M> {
        let Spare { mut body, records, parts, originals, original_ends } = self.spare.pop().unwrap_or_default();
        body.extend_from_slice(self.partitions[n].target.framing.open);
        Open { body, records, groups: Groups::default(), parts, originals, original_ends, batch: 0, riders: 0 }
    }

    /// Makes a load of a body of partition `n`.
    fn close(&mut self, n: usize, open: Open<M>, closed: &mut VecDeque<RequestBody<M>>) {
        let partition = &mut self.partitions[n];
        partition.generation += 1;
        let Open { mut body, records, groups, parts, originals, original_ends, .. } = open;
        let framing = partition.target.framing;
        let bytes = body.len() - framing.open.len() + groups.bytes();
        let charged = bytes + records.len() * size_of::<Record<M>>() + originals.len();
        self.bytes = self.bytes.saturating_sub(charged);
        if records.is_empty() {
            return;
        }
        body.extend_from_slice(framing.close);
        closed.push_back(RequestBody {
            target: partition.target.clone(),
            body: Bytes::from(body),
            records,
            groups: Arc::new(groups),
            parts,
            originals,
            original_ends,
            failed: 0,
            first_attempt: None,
            words: String::new(),
        });
    }

    /// Closes what is due.
    pub fn close_due(&mut self, now: Instant, closed: &mut VecDeque<RequestBody<M>>) {
        if self.oldest_due().is_none() {
            return;
        }
        let before = closed.len();
        if self.lull().is_some_and(|at| at <= now) {
            self.close_all(closed);
        }
        while self.oldest_due().is_some_and(|at| at <= now) {
            self.close_oldest(closed);
        }
        if closed.len() > before {
            self.not_early_before = Some(now + self.bounds.timeout);
        }
    }

    /// Closes the body that has waited longest; `false` where none is open.
    pub fn close_oldest(&mut self, closed: &mut VecDeque<RequestBody<M>>) -> bool {
        if self.oldest_due().is_none() {
            return false;
        }
        if let Some((_, n, _)) = self.due.pop_front()
            && let Some(open) = self.partitions[n].open.take()
        {
            self.close(n, open, closed);
        }
        true
    }

    /// Closes everything.
    pub fn close_all(&mut self, closed: &mut VecDeque<RequestBody<M>>) {
        while self.close_oldest(closed) {}
    }

    /// Takes back the memory of a load that is done with.
    pub fn recycle(&mut self, load: RequestBody<M>) {
        let RequestBody { body, mut records, mut parts, mut originals, mut original_ends, .. } = load;
        let most = 2 * self.bounds.max_bytes.max(1 << 16);
        if self.spare.len() < SPARE
            && originals.capacity() <= most
            && body.is_unique()
            && let mut body = Vec::from(body)
            && body.capacity() <= most
        {
            body.clear();
            records.clear();
            parts.clear();
            originals.clear();
            original_ends.clear();
            self.spare.push(Spare { body, records, parts, originals, original_ends });
        }
    }
}

/// Partitions remembered; beyond, idle ones make place.
const KEPT_PARTITIONS: usize = 1024;
