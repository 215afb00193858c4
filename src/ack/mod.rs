//! Acknowledgement: what became of a batch, reported once to the source that made it.
//!
//! A source makes one [`Ack`] per batch. Copies, splits and merges clone it; each clone is settled by whoever ends its
//! way ([`Ack::settle`]). When the last clone is gone, the source hears the worst verdict of all. A clone that is
//! dropped without a verdict counts as [`Verdict::Failed`]: forgetting cannot turn into loss.

//!
//! Who keeps a batch (a disk buffer) may want to know which of its events have ended before all have
//! ([`Ack::hears_parts`]): a sink that delivers a batch in several pieces says so with [`Ack::settle_rows`].

pub mod place;

use self::place::Place;
use crate::sync::AtomicU8;
use crate::sync::Locked;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What became of a batch, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Verdict {
    /// Every sink has it, or it ended by policy (sampled, filtered, dropped by `drop_*`).
    Delivered = 0,
    /// Settled too, but something went to a `rejected` output, a dead letter, or was refused for good.
    Rejected = 1,
    /// Not delivered: the source must keep its place.
    Failed = 2,
}

/// Hears verdicts. Called on whatever thread settles last; must not block.
pub trait Settled: Send + Sync {
    /// The batch that was given `token` has ended with `verdict`. Called exactly once per batch.
    fn settled(&self, token: u64, verdict: Verdict);

    /// Whether somebody waits for the verdict and has nothing else to do: a client for its answer.
    fn waits(&self) -> bool {
        false
    }
    /// Whether it wants to hear which events of a batch have ended before all have.
    fn hears_parts(&self) -> bool {
        false
    }

    /// These events of the batch that was given `token` are delivered or rejected, whatever becomes of the others; the
    /// `n`th of them begins at `offset_of(n)` of its file, as its batch says. Called before [`settled`](Settled::settled), never after.
    fn part_settled(&self, _token: u64, _rows: &Rows, _offset_of: &dyn Fn(usize) -> u64) {}
}

/// Events of one batch, by their place among those that were live when the sink was given it. Grows upwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows(Vec<Range<u32>>);

impl Rows {
    /// Adds an event, which must be above all that are there.
    #[inline]
    pub fn push(&mut self, row: u32) {
        match self.0.last_mut() {
            Some(last) if last.end == row => last.end += 1,
            _ => self.0.push(row..row + 1),
        }
    }

    /// The runs of neighbours among them, in order.
    pub fn runs(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        self.0.iter().cloned()
    }

    /// The events in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.runs().flatten()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the first `n` events out.
    pub fn split_to(&mut self, n: usize) -> Rows {
        let mut left = u32::try_from(n).unwrap_or(u32::MAX);
        let mut head = Vec::new();
        let mut tail = Vec::new();
        for run in std::mem::take(&mut self.0) {
            let cut = run.start + left.min(run.end - run.start);
            left -= cut - run.start;
            if run.start < cut {
                head.push(run.start..cut);
            }
            if cut < run.end {
                tail.push(cut..run.end);
            }
        }
        self.0 = tail;
        Rows(head)
    }

    /// Those whose places in the list are not in `places`, and those whose are; `places` grows upwards.
    pub fn without(&self, places: &[usize]) -> (Rows, Rows) {
        let (mut rest, mut taken) = (Rows::default(), Rows::default());
        let mut places = places.iter().copied().peekable();
        for (place, row) in self.iter().enumerate() {
            if places.next_if_eq(&place).is_some() { taken.push(row) } else { rest.push(row) }
        }
        (rest, taken)
    }
}

/// A share in the verdict on one batch.
pub struct Ack {
    shared: Option<Arc<Shared>>,
    verdict: Verdict,
}

struct Shared {
    worst: AtomicU8,
    token: u64,
    source: Arc<dyn Settled>,
    /// Up to where its source has come with the batch, where that can be read again.
    place: Option<Place>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        let verdict = match *self.worst.get_mut() {
            0 => Verdict::Delivered,
            1 => Verdict::Rejected,
            _ => Verdict::Failed,
        };
        self.source.settled(self.token, verdict);
    }
}

impl Ack {
    /// A handle whose verdict goes to `source` under `token`.
    pub fn new(source: Arc<dyn Settled>, token: u64) -> Self {
        Ack::made(source, token, None)
    }

    /// As [`new`](Ack::new), of a batch with which its source comes up to `place`, and which it reads again where the verdict
    /// does not come.
    pub fn placed(source: Arc<dyn Settled>, token: u64, place: Place) -> Self {
        Ack::made(source, token, Some(place))
    }

    fn made(source: Arc<dyn Settled>, token: u64, place: Option<Place>) -> Self {
        let shared = Shared { worst: AtomicU8::new(0), token, source, place };
        Ack { shared: Some(Arc::new(shared)), verdict: Verdict::Failed }
    }

    /// Up to where the source comes with the batch. Whoever has one knows that the batch is read again where it is not settled.
    pub fn place(&self) -> Option<&Place> {
        self.shared.as_ref()?.place.as_ref()
    }

    /// A handle nobody listens to: for events that the agent makes itself, and for tests.
    pub fn none() -> Self {
        Ack { shared: None, verdict: Verdict::Failed }
    }

    /// Ends this share with `verdict`.
    pub fn settle(mut self, verdict: Verdict) {
        self.verdict = verdict;
    }

    /// Whether nobody hears the verdict.
    pub fn is_unheard(&self) -> bool {
        self.shared.is_none()
    }

    /// Whether somebody waits for the verdict, so that it should not be long in coming.
    pub fn is_waited_for(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.source.waits())
    }

    /// Whether someone wants to hear of parts of the batch: else nobody needs to count which they are.
    pub fn hears_parts(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.source.hears_parts())
    }

    /// Says that these events are delivered or rejected, the `n`th of which begins at `offset_of(n)` of its file. The share
    /// itself stays to be settled.
    pub fn settle_rows(&self, rows: &Rows, offset_of: &dyn Fn(usize) -> u64) {
        if let Some(shared) = self.shared.as_ref().filter(|_| !rows.is_empty()) {
            shared.source.part_settled(shared.token, rows, offset_of);
        }
    }

    /// A share for these events only, which begin at these offsets of their file: once it and all its copies have ended well,
    /// they are said to have ended.
    pub fn for_rows(self, rows: Rows, offsets: Vec<u64>) -> Ack {
        if rows.is_empty() {
            return self;
        }
        Ack::new(Arc::new(ForRows { share: std::sync::Mutex::new(self), rows, offsets }), 0)
    }

    /// One share for all of these, which tells no place: each ends with its verdict.
    pub fn of_all(mut shares: Vec<Ack>) -> Ack {
        shares.retain(|share| !share.is_unheard());
        if shares.is_empty() {
            return Ack::none();
        }
        Ack::new(Arc::new(All(std::sync::Mutex::new(shares))), 0)
    }

    /// Takes the share out, leaving one that nobody listens to.
    pub fn take(&mut self) -> Ack {
        std::mem::replace(self, Ack::none())
    }
}

/// A share that others stand in for while something is tried with a batch.
pub struct Attempt(Arc<Tried>);

struct Tried(std::sync::Mutex<Ack>);

impl Tried {
    fn share(&self) -> std::sync::MutexGuard<'_, Ack> {
        self.0.locked()
    }
}

impl Settled for Tried {
    fn settled(&self, _token: u64, verdict: Verdict) {
        let share = self.share().take();
        share.settle(verdict);
    }

    fn waits(&self) -> bool {
        self.share().is_waited_for()
    }
}

impl Attempt {
    /// Tries something with this share: what is given stands in for it, and ends with whatever that ends with.
    pub fn with(share: Ack) -> (Ack, Attempt) {
        let place = share.place().cloned();
        let tried = Arc::new(Tried(std::sync::Mutex::new(share)));
        (Ack::made(tried.clone(), 0, place), Attempt(tried))
    }

    /// It has come to nothing: gives the share back. What stands in for it says nothing any more.
    pub fn give_up(self) -> Ack {
        self.0.share().take()
    }
}

/// See [`Ack::for_rows`].
struct ForRows {
    share: std::sync::Mutex<Ack>,
    rows: Rows,
    offsets: Vec<u64>,
}

impl Settled for ForRows {
    fn settled(&self, _token: u64, verdict: Verdict) {
        let share = self.share.locked().take();
        if verdict != Verdict::Failed {
            share.settle_rows(&self.rows, &|n| self.offsets.get(n).copied().unwrap_or_default());
        }
        share.settle(verdict);
    }

    fn waits(&self) -> bool {
        self.share.locked().is_waited_for()
    }
}

/// See [`Ack::of_all`].
struct All(std::sync::Mutex<Vec<Ack>>);

impl Settled for All {
    fn settled(&self, _token: u64, verdict: Verdict) {
        let shares = std::mem::take(&mut *self.0.locked());
        shares.into_iter().for_each(|share| share.settle(verdict));
    }

    fn waits(&self) -> bool {
        self.0.locked().iter().any(Ack::is_waited_for)
    }
}

/// Letters of refused events that nobody has settled yet: as long as there are some, nobody who refused them may say that all
/// before a place is kept.
#[derive(Default)]
pub struct Letters(std::sync::atomic::AtomicUsize);

/// A share that counts as such a letter until it is settled well.
struct Letter {
    share: std::sync::Mutex<Ack>,
    letters: Arc<Letters>,
}

impl Letters {
    /// A share in a verdict, for a letter.
    pub fn share(self: &Arc<Self>, share: Ack) -> Ack {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ack::new(Arc::new(Letter { share: std::sync::Mutex::new(share), letters: self.clone() }), 0)
    }

    /// Whether all are settled well.
    pub fn are_settled(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }
}

impl Settled for Letter {
    fn settled(&self, _token: u64, verdict: Verdict) {
        if verdict != Verdict::Failed {
            self.letters.0.fetch_sub(1, Ordering::SeqCst);
        }
        self.share.locked().take().settle(verdict);
    }
}

impl Clone for Ack {
    /// One more share, itself without a verdict yet.
    fn clone(&self) -> Self {
        Ack { shared: self.shared.clone(), verdict: Verdict::Failed }
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            // Release: what this share did happens before the verdict is read, which the Arc's own count orders.
            shared.worst.fetch_max(self.verdict as u8, Ordering::Release);
        }
    }
}

impl std::fmt::Debug for Ack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ack")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Log(Mutex<Vec<(u64, Verdict)>>);
    impl Settled for Log {
        fn settled(&self, token: u64, verdict: Verdict) {
            self.0.lock().unwrap().push((token, verdict));
        }
    }

    #[test]
    fn the_last_share_reports_the_worst_verdict_once() {
        let log = Arc::new(Log::default());
        let ack = Ack::new(log.clone(), 7);
        let (b, c) = (ack.clone(), ack.clone());
        ack.settle(Verdict::Delivered);
        b.settle(Verdict::Rejected);
        assert!(log.0.lock().unwrap().is_empty());
        c.settle(Verdict::Delivered);
        assert_eq!(*log.0.lock().unwrap(), [(7, Verdict::Rejected)]);
    }

    #[test]
    fn an_attempt_that_is_given_up_has_no_part_in_the_verdict() {
        let log = Arc::new(Log::default());
        let (stands_in, attempt) = Attempt::with(Ack::new(log.clone(), 1));
        let made_of_it = stands_in.clone();
        let share = attempt.give_up();
        drop((stands_in, made_of_it));
        assert!(log.0.lock().unwrap().is_empty());
        let (stands_in, attempt) = Attempt::with(share);
        drop(attempt);
        stands_in.clone().settle(Verdict::Rejected);
        stands_in.settle(Verdict::Delivered);
        assert_eq!(*log.0.lock().unwrap(), [(1, Verdict::Rejected)]);
    }

    /// Notes the parts of a batch, and its end.
    #[derive(Default)]
    struct Parts(Mutex<(Vec<u32>, Option<Verdict>)>);
    impl Settled for Parts {
        fn settled(&self, _token: u64, verdict: Verdict) {
            self.0.lock().unwrap().1 = Some(verdict);
        }
        fn hears_parts(&self) -> bool {
            true
        }
        fn part_settled(&self, token: u64, rows: &Rows, offset_of: &dyn Fn(usize) -> u64) {
            assert_eq!(token, 7);
            assert!(rows.iter().enumerate().all(|(n, row)| offset_of(n) == offset(row)));
            self.0.lock().unwrap().0.extend(rows.iter());
        }
    }

    /// Where a row's event begins.
    fn offset(row: u32) -> u64 {
        u64::from(row) * 10
    }

    fn rows(all: &[u32]) -> Rows {
        let mut rows = Rows::default();
        all.iter().for_each(|row| rows.push(*row));
        rows
    }

    #[test]
    fn a_part_is_heard_of_when_all_its_shares_have_ended_well_and_a_failed_one_never() {
        let parts = Arc::new(Parts::default());
        let ack = Ack::new(parts.clone(), 7);
        assert!(ack.hears_parts() && !Ack::none().hears_parts());
        ack.settle_rows(&rows(&[0, 1, 5]), &|n| [0, 10, 50][n]);
        let part = ack.clone().for_rows(rows(&[2, 3]), vec![20, 30]);
        let letter = part.clone();
        part.settle(Verdict::Rejected);
        assert_eq!(parts.0.lock().unwrap().0, [0, 1, 5]);
        letter.settle(Verdict::Delivered);
        assert_eq!(parts.0.lock().unwrap().0, [0, 1, 5, 2, 3]);
        drop(ack.clone().for_rows(rows(&[4]), vec![40]));
        ack.settle(Verdict::Delivered);
        assert_eq!(*parts.0.lock().unwrap(), (vec![0, 1, 5, 2, 3], Some(Verdict::Failed)));
    }

    #[test]
    fn rows_are_split_and_picked_from() {
        let all = [0, 1, 2, 7, 9, 10, 11];
        for n in 0..=all.len() + 1 {
            let mut tail = rows(&all);
            let head = tail.split_to(n);
            let n = n.min(all.len());
            assert_eq!((head, tail), (rows(&all[..n]), rows(&all[n..])));
        }
        assert_eq!(rows(&all).without(&[0, 3, 6]), (rows(&[1, 2, 9, 10]), rows(&[0, 7, 11])));
    }

    #[test]
    fn a_share_that_is_forgotten_counts_as_failed() {
        let log = Arc::new(Log::default());
        let ack = Ack::new(log.clone(), 1);
        drop(ack.clone());
        ack.settle(Verdict::Delivered);
        assert_eq!(*log.0.lock().unwrap(), [(1, Verdict::Failed)]);
    }
}
