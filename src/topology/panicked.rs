//! What a worker does where a transform panics: nothing is passed on unprocessed, and the transform goes on, as a fresh instance.
//!
//! A batch that a copy was kept of is given to fresh instances again, in halves, until the event that panics stands alone: it leaves
//! by `rejected`, reason `panic`, or is dropped with that reason where nobody reads that; all others are processed as ever. Copies
//! are kept for transforms of the embedding program, and for each transform that has panicked before. Of the first batch that one of
//! this crate panics on there is none: where its origin gives it again (a file, a client that waits for an answer) it fails, and is
//! processed when it comes again; else all that is left of it goes the way of the one event. So does the batch where the transform
//! keeps what lets it see repeats ([`Transform::may_redo`](crate::component::Transform::may_redo)): given again, its events would be
//! repeats of themselves.

use super::worker::Worker;
use crate::ack::{Attempt, Verdict};
use crate::component::{Delta, Emitter};
use crate::event::Batch;
use crate::telemetry::example_of;
use crate::telemetry::panics::{caught, caught_quietly};
use std::time::Instant;

/// Reason of events that a panic has cost.
pub(super) const PANIC: &str = "panic";

/// What a call that panicked has left.
pub(super) struct Left {
    /// Events that came.
    pub(super) came: u64,
    /// The batch, as it is now.
    pub(super) batch: Option<Batch>,
    /// The same before the transform changed it, where it kept that for letters.
    pub(super) originals: Option<Batch>,
    pub(super) rejects: Option<Batch>,
    pub(super) outputs: Vec<(usize, Batch)>,
    pub(super) busy: f64,
    /// The words of the panic.
    pub(super) words: String,
}

/// Two batches with a half of the events each, the earlier ones first.
fn halves(mut batch: Batch) -> (Batch, Batch) {
    if batch.len() * 4 < batch.rows() {
        let ack = batch.ack.take();
        let small = batch.compact();
        batch.recycle();
        batch = small;
        batch.ack = ack;
    }
    let live: Vec<usize> = (0..batch.rows()).filter(|row| batch.is_live(*row)).collect();
    let (front, back) = live.split_at(live.len() / 2);
    let mut first = batch.fork();
    back.iter().for_each(|row| _ = first.drop_row(*row));
    front.iter().for_each(|row| _ = batch.drop_row(*row));
    (first, batch)
}

impl Worker {
    /// Gives transform `n` a batch of which a copy is kept.
    pub(super) fn transform_carefully(&mut self, batch: Batch, n: usize) {
        let mut open = vec![batch];
        let mut is_first = true;
        while let Some(batch) = open.pop() {
            let panicked = self.attempt(batch, n, !is_first);
            is_first = false;
            match panicked {
                None => {}
                Some((batch, words)) if batch.len() <= 1 => self.refuse_panicked(n, batch, &words),
                Some((batch, _)) => {
                    self.renew(n);
                    let (first, second) = halves(batch);
                    open.extend([second, first]);
                }
            }
        }
    }

    /// One try; the batch as it was, and the words of the panic, where there was one.
    fn attempt(&mut self, mut batch: Batch, n: usize, quietly: bool) -> Option<(Batch, String)> {
        let came = batch.len() as u64;
        let Some(Some(lane)) = self.transforms.get_mut(n) else { return None };
        let mut copy = batch.snapshot();
        let (share, attempt) = Attempt::with(batch.ack.take());
        batch.ack = share;
        let id = lane.counters.id.clone();
        let mut emitter = lane.emitter(&id, &mut self.delta, &mut self.json);
        let began = Instant::now();
        lane.call.begin();
        let apply = || lane.transform.apply(&mut batch, &mut emitter);
        let result = if quietly { caught_quietly(apply) } else { caught(apply) };
        lane.call.end();
        let busy = began.elapsed().as_secs_f64();
        let (rejects, outputs) = (emitter.rejects.take(), std::mem::take(&mut emitter.outputs));
        let Err(words) = result else {
            copy.recycle();
            self.publish(n, came, batch.len() as u64, &outputs, busy);
            self.emitted(n, rejects, outputs);
            self.put_out(n, 0, batch);
            return None;
        };
        self.delta = Delta::default();
        copy.ack = attempt.give_up();
        Some((copy, words))
    }

    /// A fresh instance takes the place of transform `n`.
    fn renew(&mut self, n: usize) {
        if let Some(Some(lane)) = self.transforms.get_mut(n)
            && let Ok(fresh) = caught_quietly(|| lane.seed.fork())
        {
            lane.transform = fresh;
        }
    }

    /// The same, counted and said.
    fn renew_and_say(&mut self, n: usize, words: &str) {
        self.renew(n);
        let Some(Some(lane)) = self.transforms.get_mut(n) else { return };
        lane.careful = lane.transform.may_redo();
        lane.counters.update(|t| t.error(PANIC, 1));
        lane.counters.example(PANIC, || example_of(words.as_bytes()));
        if !std::mem::replace(&mut lane.has_panicked, true) {
            tracing::error!(
                component = %lane.counters.id, panic = %example_of(words.as_bytes()),
                "a transform panicked, which is a bug; it goes on, and what it panics on leaves by `rejected` or is dropped, reason `panic`"
            );
        }
    }

    /// Ends the one event that the transform panics on.
    fn refuse_panicked(&mut self, n: usize, mut batch: Batch, words: &str) {
        self.renew_and_say(n, words);
        let came = batch.len() as u64;
        let rejects = self.refuse_rows(n, &mut batch, None, None, words);
        self.publish(n, came, 0, &[], 0.0);
        self.emitted(n, rejects, Vec::new());
        batch.ack.take().settle(Verdict::Rejected);
        batch.recycle();
    }

    /// Sends all events that are left in a batch to `rejected`, or drops them where nobody reads that.
    fn refuse_rows(
        &mut self,
        n: usize,
        batch: &mut Batch,
        originals: Option<Batch>,
        rejects: Option<Batch>,
        words: &str,
    ) -> Option<Batch> {
        let Some(Some(lane)) = self.transforms.get_mut(n) else { return rejects };
        let id = lane.counters.id.clone();
        let is_read = lane.reads_rejected();
        let mut emitter = Emitter::new(&id, is_read, &mut self.delta, &mut self.json);
        (emitter.originals, emitter.rejects) = (originals, rejects);
        let detail = example_of(words.as_bytes());
        for row in 0..batch.rows() {
            match (batch.is_live(row), is_read) {
                (false, _) => {}
                (true, true) => emitter.reject(batch, row, PANIC, &detail),
                (true, false) => {
                    batch.drop_row(row);
                    emitter.dropped(PANIC, 1);
                }
            }
        }
        emitter.rejects.take()
    }

    /// Ends what a call of transform `n` has left, of which no copy was kept.
    pub(super) fn panicked(&mut self, n: usize, left: Left) {
        let Left { came, batch, originals, mut rejects, outputs, busy, words } = left;
        self.renew_and_say(n, &words);
        let Some(Some(lane)) = self.transforms.get_mut(n) else { return };
        let comes_again = |batch: &Batch| batch.ack.place().is_some() || batch.ack.is_waited_for();
        if lane.origins_give_again && lane.careful && batch.as_ref().is_some_and(comes_again) {
            // Shares without a verdict: all of it comes again, and then a copy is kept.
            drop((batch, rejects, outputs));
            self.delta = Delta::default();
            self.delta.dropped.push((PANIC, came));
            return self.publish(n, came, 0, &[], busy);
        }
        let mut batch = batch;
        if let Some(batch) = &mut batch {
            rejects = self.refuse_rows(n, batch, originals, rejects, &words);
        }
        // What was put out is done; what is neither there nor accounted for was lost on the way.
        let sum = |list: &[(&'static str, u64)]| list.iter().map(|(_, n)| n).sum::<u64>();
        let emitted: u64 = outputs.iter().map(|(_, b)| b.len() as u64).sum();
        let delta = &mut self.delta;
        let ended = emitted + sum(&delta.dropped) + sum(&delta.rejected);
        let lost = i128::from(came) + i128::from(delta.created) - i128::from(ended) - i128::from(delta.held);
        match u64::try_from(lost) {
            Ok(0) => {}
            Ok(lost) => delta.dropped.push((PANIC, lost)),
            Err(_) => delta.created += u64::try_from(-lost).unwrap_or_default(),
        }
        self.publish(n, came, 0, &outputs, busy);
        self.emitted(n, rejects, outputs);
        if let Some(mut batch) = batch {
            batch.ack.take().settle(Verdict::Rejected);
        }
    }
}
