//! All files of a source: who is read when, what is watched, what is saved.
//!
//! A [`Tailer`] has no thread and no clock of its own: [`turn`](Tailer::turn) does what is due and tells when to be
//! called again, so tests drive it step by step. Nothing in a turn costs time in proportion to the files known, except
//! the look through the folders, which is the rarer the more there are.

use super::chain::Families;
use super::checkpoint::{Store, Write};
use super::discovery::{Found, Patterns};
use super::files::{PROVEN_STARTS, SAID_AT_FIRST};
use super::flight::Verdicts;
use super::heavy::Heavy;
use super::identity::Identity;
use super::idle::RealDir;
use super::joined::Open;
use super::lines::Lines;
use super::missed::Missed;
use super::pending::Pending;
use super::renamed::Renamed;
use super::rotation::{Lost, Missing};
use super::tail::{Out, Place, Reader, SLAB_BYTES, Sent, Tail, Turn};
use super::watch::{Wake, Watch, concerns_folder};
use crate::ack::Verdict;
use crate::event::{Origin, SlabPool};
use crate::framing::container;
use crate::framing::multiline::{Matcher, Multiline};
use crate::framing::wide::Wide;
use crate::telemetry::Counters;
use crate::time::clock;
use hashbrown::{HashMap, HashSet};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The two clocks, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Now {
    /// Since some point.
    pub(super) mono: u64,
    /// Since 1970 UTC.
    pub(super) wall: i64,
}

impl Now {
    pub(super) fn seconds(self) -> i64 {
        self.wall / 1_000_000_000
    }
}

pub(super) const MILLISECOND: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000_000_000;

/// What a source is told, checked.
pub(super) struct Plan {
    pub(super) id: Arc<str>,
    pub(super) host: Arc<str>,
    pub(super) patterns: Patterns,
    /// Where the rest of a rotated file is looked for besides.
    pub(super) rotated_to: Patterns,
    pub(super) from_end: bool,
    /// `charset` says that files are in UTF-16.
    pub(super) wide: Option<Wide>,
    pub(super) lines: Lines,
    pub(super) multiline: Option<Arc<Multiline>>,
    /// How container lines are joined, where the files have such.
    pub(super) containers: Option<Arc<container::Rule>>,
    pub(super) ignore_older: Option<Duration>,
    pub(super) remove_after: Option<Duration>,
    /// Compressed files are read.
    pub(super) compressed: bool,
    /// Hash of the first bytes alone, that many, in place of the inode.
    pub(super) identity_bytes: Option<usize>,
    pub(super) check_contents: bool,
    pub(super) glob_interval: u64,
    pub(super) watch: bool,
    pub(super) follow_symlinks: bool,
    pub(super) once: bool,
    /// Whose turn it is of the archives that take much memory.
    pub(super) heavy: Arc<Heavy>,
    /// Files and folders that the agent writes.
    pub(super) own: Vec<PathBuf>,
    /// Handles open at once.
    pub(super) max_open: usize,
    /// Where checkpoints are kept.
    pub(super) dir: PathBuf,
}

/// Writes checkpoints: in place, or on a thread of its own so that reading does not wait for the disk.
pub(super) enum Saver {
    #[cfg(test)]
    Inline,
    Thread {
        jobs: crossbeam_channel::Sender<Write>,
        done: crossbeam_channel::Receiver<(Write, io::Result<()>)>,
    },
}

/// Chunks of read buffers kept for reuse.
const KEEP_SLABS: usize = 8;
/// Turns of reading before hints and verdicts are looked at again.
const STRETCH_TURNS: usize = 4;
/// Idle files that are looked at before it is the turn of busy ones again.
const LOOKS_A_TURN: usize = 1000;
/// Checkpoints are written that often at most.
const SAVE_EVERY: u64 = SECOND;
/// And in the first seconds: an agent that is killed again and again soon after its start still gets on, and does not fill a
/// disk buffer with the same lines each time.
const SAVE_EVERY_AT_FIRST: u64 = 100 * MILLISECOND;
/// How long that is.
const AT_FIRST: u64 = 2 * SECOND;
/// With working notices, folders are looked through that many times less often.
const WATCHED_FACTOR: u64 = 10;
/// And the rarer the more files there are: it costs a microsecond for each, which is a hundredth of this.
const LOOK_PER_FILE: u64 = 100_000;
/// How long the last file of a path that leads nowhere is remembered.
const KEEP_LOST: u64 = 3600 * SECOND;
/// And of how many such paths at most: those that were lost last.
const MOST_LOST: usize = 4000;
/// Files in formats that are not read, by their paths: of more, those that are gone are forgotten.
const MOST_FOREIGN: usize = 1000;
/// How often an archive asks whether it is its turn, where that is another source's.
const TURN_WAIT: u64 = 100 * MILLISECOND;
/// Longest wait of a caller, whatever is due.
const LONGEST_WAIT: u64 = 60 * SECOND;

/// See [the module](self).
pub(super) struct Tailer {
    pub(super) plan: Plan,
    pub(super) reader: Reader,
    pub(super) store: Store,
    pub(super) tails: Vec<Option<Box<Tail>>>,
    pub(super) free: Vec<usize>,
    pub(super) by_path: HashMap<Arc<Path>, usize>,
    pub(super) by_identity: HashMap<Identity, usize>,
    /// Files to be read now, in turn.
    pub(super) ready: VecDeque<usize>,
    /// Archives to be read when it is their turn, the next first.
    pub(super) heavy: VecDeque<usize>,
    /// Files to be looked at later: when, which.
    pub(super) timers: BinaryHeap<Reverse<(u64, usize)>>,
    pub(super) open: usize,
    /// Files with a handle, as their last use was when they were put here: those to be closed first come first.
    pub(super) handles: VecDeque<(usize, u64)>,
    /// Stands in for the origin of a file that was not read yet.
    pub(super) nameless: Arc<Origin>,
    pub(super) uses: u64,
    /// What a symlink leads to, and the path it was found at.
    pub(super) linked: HashMap<PathBuf, Arc<Path>>,
    /// Paths that could not be opened, said once.
    pub(super) unreadable: HashSet<PathBuf>,
    /// What `include` does not reach.
    pub(super) missed: Missed,
    pub(super) counters: Arc<Counters>,
    /// There was no checkpoint at all.
    pub(super) first_start: bool,
    pub(super) scanned: bool,
    pub(super) lag: u64,
    verdicts: Vec<(u64, Verdict)>,
    /// A verdict was `Failed`: the place of that file stays before it.
    pub(super) has_failed: bool,
    found: Found,
    watch: Option<Watch>,
    watched: HashMap<PathBuf, (u64, u64)>,
    pub(super) next_scan: u64,
    /// New files of which it is not known yet where to begin in them.
    pub(super) pending: HashMap<Identity, Pending>,
    /// When they are looked at next.
    pub(super) next_pending: u64,
    /// Files whose bytes before our place are being compared with what was read.
    pub(super) proofs: VecDeque<usize>,
    /// Bytes that may be compared now of files that grew, and as of when: monotonic nanoseconds.
    pub(super) proofs_left: u64,
    pub(super) proofs_since: u64,
    /// Bytes that were compared in this run, of files that were being read.
    pub(super) compared_bytes: u64,
    /// Bytes that may still be hashed of what `start_at: end` passes over.
    pub(super) start_bytes: u64,
    /// When handles of files without a name are looked for again: monotonic nanoseconds.
    pub(super) next_spare: u64,
    /// And from how many open ones on.
    pub(super) spare_from: usize,
    /// Files that could not be opened, as they were found at their paths: their generation and identity.
    pub(super) shut: HashMap<PathBuf, (u64, Identity)>,
    /// Files that lost their name, were read to their end, and are still there.
    pub(super) renamed: VecDeque<Renamed>,
    /// Generations whose rest is looked for.
    pub(super) missing: Vec<Missing>,
    /// A folder could not be looked into when they were sought.
    pub(super) missing_again: bool,
    /// Paths in whose folders generations in between are still to be looked for; birth of the file that the path leads to.
    pub(super) unlooked: Vec<(PathBuf, Lost, i64)>,
    /// At the first look: generations by device and inode alone, once they are asked for.
    pub(super) nodes: Option<HashMap<(u64, u64), u64>>,
    /// Archives that were read to their end, about: whether it is worth looking for one.
    pub(super) packed_known: usize,
    /// Since when archives, all of which was delivered, are there: monotonic nanoseconds.
    pub(super) packed_since: HashMap<Identity, u64>,
    /// Files in formats of compression that are not read here.
    pub(super) foreign: HashSet<PathBuf>,
    /// It was said that there are too few handles.
    pub(super) handles_told: bool,
    /// Paths that led to a file before, and may again.
    pub(super) lost: BTreeMap<PathBuf, Lost>,
    /// Files that were rotated away, by the name they had.
    pub(super) families: Families,
    /// Bytes of container lines that wait for others.
    pub(super) held_parts: usize,
    /// Generations from here on were found in this run.
    pub(super) first_new: u64,
    last_scan: u64,
    saver: Saver,
    saving: bool,
    last_save: u64,
    first_save: Option<u64>,
    /// Since when something is settled that is not on disk.
    unsaved_since: Option<u64>,
    save_failing: bool,
    published_lag: u64,
}

/// How a turn of the whole source ended.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// There is more to do now.
    Now,
    /// Nothing to do for that many nanoseconds, unless the bell rings.
    After(u64),
    /// With `once`: all was read to its end.
    Done,
    /// Downstream is gone.
    Closed,
}

impl Tailer {
    /// `held`: what the sinks that the source reaches hold, by number.
    ///
    /// Errors: the folder of checkpoints cannot be used.
    pub(super) fn new(
        plan: Plan,
        counters: Arc<Counters>,
        wake: &Arc<Wake>,
        saver: Saver,
        held: &[(usize, crate::ack::place::Told)],
    ) -> io::Result<Self> {
        let mut store = Store::open(&plan.dir)?;
        store.keep_keys();
        let further = store.take_over(&plan.id, held, clock::now_ns() / SECOND as i64);
        if further > 0 {
            tracing::info!(source = %plan.id, files = further, "sinks hold more than the checkpoint says: reading goes on after that");
        }
        let watch = if plan.watch && !plan.once {
            Watch::new(wake.clone())
                .map_err(|error| tracing::warn!(source = %plan.id, %error, "no notices of changes; polling instead"))
                .ok()
        } else {
            None
        };
        let reader = Reader {
            pool: SlabPool::new(SLAB_BYTES, KEEP_SLABS),
            lines: plan.lines,
            wide: plan.wide,
            matcher: plan.multiline.clone().map(Matcher::new),
            judge: plan.containers.clone().map(container::Judge::new),
            mono: 0,
            max_event_bytes: plan.multiline.as_ref().map_or(0, |m| m.limits().max_bytes),
            verdicts: Verdicts::new(wake.clone()),
            counters: counters.clone(),
            check_contents: plan.check_contents,
            once: plan.once,
            hasher: store.hasher,
            source: plan.id.clone(),
            keys_kept: store.keys_kept,
            held: None,
            outstanding: 0,
            damaged: 0,
            passed: Vec::new(),
        };
        let first_new = store.next_generation();
        let packed_known = store.iter().filter(|(_, k)| k.packed && k.finished).count();
        Ok(Tailer {
            first_start: store.is_new(),
            plan,
            reader,
            store,
            tails: Vec::new(),
            free: Vec::new(),
            by_path: HashMap::new(),
            by_identity: HashMap::new(),
            ready: VecDeque::new(),
            heavy: VecDeque::new(),
            timers: BinaryHeap::new(),
            open: 0,
            handles: VecDeque::new(),
            nameless: Arc::default(),
            uses: 0,
            linked: HashMap::new(),
            unreadable: HashSet::new(),
            missed: Missed::default(),
            counters,
            scanned: false,
            lag: 0,
            verdicts: Vec::new(),
            has_failed: false,
            found: Found::default(),
            watch,
            watched: HashMap::new(),
            next_scan: 0,
            pending: HashMap::new(),
            next_pending: 0,
            proofs: VecDeque::new(),
            proofs_left: 0,
            proofs_since: 0,
            compared_bytes: 0,
            start_bytes: PROVEN_STARTS,
            next_spare: 0,
            spare_from: 0,
            shut: HashMap::new(),
            renamed: VecDeque::new(),
            missing: Vec::new(),
            missing_again: false,
            unlooked: Vec::new(),
            nodes: None,
            packed_known,
            packed_since: HashMap::new(),
            foreign: HashSet::new(),
            handles_told: false,
            lost: BTreeMap::new(),
            families: Families::default(),
            held_parts: 0,
            first_new,
            last_scan: 0,
            saver,
            saving: false,
            last_save: 0,
            first_save: None,
            unsaved_since: None,
            save_failing: false,
            published_lag: u64::MAX,
        })
    }

    /// Does what is due, and reads for a while.
    pub(super) fn turn(&mut self, now: Now, out: &mut dyn Out) -> Next {
        self.reader.mono = now.mono;
        self.hear_verdicts();
        self.take_hints(now);
        if self.open > self.plan.max_open {
            self.spare_handles();
        }
        if now.mono >= self.next_scan {
            self.scan(now);
        }
        self.look_at_due(now);
        self.look_at_all_pending(now);
        let proving = self.prove() || self.is_proving();
        match self.read_ready(now, out) {
            Turn::Closed => return Next::Closed,
            Turn::Blocked | Turn::More => {
                self.save(now);
                self.publish();
                return Next::Now;
            }
            _ => {}
        }
        if self.plan.once || self.scanned {
            self.tell_missing();
        }
        self.save(now);
        self.publish();
        if proving {
            return Next::Now;
        }
        let at_end = self.pending.is_empty() && self.heavy.is_empty();
        if self.plan.once && at_end && !self.tails.iter().flatten().any(|t| t.is_deciding()) {
            return self.give_rest(now, out);
        }
        let mut until = self.next_scan.min(now.mono + LONGEST_WAIT);
        if !self.heavy.is_empty() {
            until = until.min(now.mono + TURN_WAIT);
        }
        if let Some(Reverse((at, _))) = self.timers.peek() {
            until = until.min(*at);
        }
        if !self.pending.is_empty() {
            until = until.min(self.next_pending);
        }
        if self.store.is_dirty() || self.reader.outstanding > 0 {
            until = until.min(now.mono + self.save_every(now));
        }
        Next::After(until.saturating_sub(now.mono).max(MILLISECOND))
    }

    /// Reads in turn, until nothing is ready, downstream is full, or it is time for other things.
    pub(super) fn read_ready(&mut self, now: Now, out: &mut dyn Out) -> Turn {
        if let Some(chunk) = self.reader.held.take() {
            match out.send(chunk) {
                Sent::Yes => {}
                Sent::Full(chunk) => {
                    self.reader.held = Some(chunk);
                    return Turn::Blocked;
                }
                Sent::Closed => return Turn::Closed,
            }
        }
        let mut passed_over = 0;
        for _ in 0..STRETCH_TURNS {
            self.ask_for_turn(now);
            let Some(key) = self.ready.pop_front() else { return Turn::End };
            if self.waits_for_parts(key) || self.must_wait(key) {
                self.ready.push_back(key);
                passed_over += 1;
                if passed_over >= self.ready.len() {
                    return Turn::End;
                }
                continue;
            }
            passed_over = 0;
            match self.read_one(key, now, out) {
                Turn::Blocked => return Turn::Blocked,
                Turn::Closed => return Turn::Closed,
                // The rest of a file that was cut off had no room either.
                _ if self.reader.held.is_some() => return Turn::Blocked,
                _ => {}
            }
        }
        if self.ready.is_empty() { Turn::End } else { Turn::More }
    }

    /// Lets the archive that is next be read, where it is its turn.
    fn ask_for_turn(&mut self, now: Now) {
        let Some(&key) = self.heavy.front() else { return };
        let packed = self.tails[key].as_mut().and_then(|t| t.packed.as_mut());
        if packed.is_none_or(|packed| packed.has_turn(now.mono)) {
            self.heavy.pop_front();
            self.ready.push_front(key);
        }
    }

    /// Whether the file that had the name before is to be read first.
    pub(super) fn must_wait(&mut self, key: usize) -> bool {
        let Some((old, generation)) = self.tails[key].as_ref().and_then(|t| t.after) else { return false };
        let waiting = self.tails[old].as_ref().is_some_and(|old| {
            old.generation == generation
                && !old.failing
                && !old.waits()
                && matches!(old.place, Place::Gone { read: false, .. })
        });
        if !waiting && let Some(tail) = &mut self.tails[key] {
            tail.after = None;
        }
        waiting
    }

    fn read_one(&mut self, key: usize, now: Now, out: &mut dyn Out) -> Turn {
        let Some(mut tail) = self.tails[key].take() else { return Turn::End };
        tail.queued = false;
        self.reader.mono = now.mono;
        self.reader.keys_kept = self.store.keys_kept;
        tail.stands_in = self.store.is_unsettled_copy(tail.generation);
        if tail.place == Place::Closed {
            return self.give_closed(key, tail, now, out);
        }
        if self.open > self.plan.max_open {
            self.spare_handles();
        }
        let before = (tail.reading(), tail.looked.0);
        let opened = self.ensure_open(key, &mut tail);
        let turn = match opened.and_then(|open| self.compare_grown(&mut tail, now).map(|()| open)) {
            Ok(true) => {
                self.ensure_origin(&mut tail);
                let open = if self.plan.once { Open::Finish } else { tail.open };
                self.reader.read(key, &mut tail, open, now.wall, out)
            }
            Ok(false) => {
                // Another file has the name; the next look sorts it out.
                let path = tail.path.clone();
                self.tails[key] = Some(tail);
                self.examine(&path, now, false);
                if let Some(tail) = self.tails[key].as_mut()
                    && tail.file.is_none()
                    && tail.place != Place::Present
                {
                    self.gone_without_handle(key, now);
                    self.read_next(key);
                }
                return Turn::End;
            }
            Err(error) => Turn::Failed(error),
        };
        let grew = (tail.reading(), tail.looked.0) != before;
        if grew {
            tail.grown = now.mono;
        }
        for mark in self.reader.passed.drain(..) {
            self.store.settle(mark, &tail);
        }
        self.measure(&mut tail);
        if !matches!(turn, Turn::Failed(_)) && tail.failing {
            tail.failing = false;
            tracing::info!(source = %self.plan.id, file = %tail.path.display(), "readable again");
        }
        match &turn {
            Turn::End => {
                let archive = tail.packed.as_ref().is_some_and(|packed| !packed.ended);
                if let Place::Gone { read, .. } = &mut tail.place
                    && !archive
                {
                    *read = true;
                }
                self.ended(key, &mut tail, grew, now);
            }
            Turn::More | Turn::Blocked => self.queue(key, &mut tail),
            Turn::Waits => {
                tail.queued = true;
                self.heavy.push_back(key);
            }
            Turn::Replaced => self.replaced(key, &mut tail, now, out),
            Turn::NoText => self.tell_kind(key, &mut tail, now),
            Turn::Failed(error) => self.failed(key, &mut tail, error, now),
            Turn::Closed => {}
        }
        if let Some(packed) = tail.packed.as_mut().filter(|_| !matches!(turn, Turn::More | Turn::Waits)) {
            packed.rest();
        }
        let close = tail.place == Place::Closed;
        let turn = self.spare_parts(key, &mut tail, now, out).unwrap_or(turn);
        self.tails[key] = Some(tail);
        self.settle_given(key);
        if close {
            self.close(key);
        }
        turn
    }

    /// A file that was queued just now is read before the others: its handle can be spared then.
    fn read_next(&mut self, key: usize) {
        if self.ready.back() == Some(&key) {
            self.ready.pop_back();
            self.ready.push_front(key);
        }
    }

    pub(super) fn queue(&mut self, key: usize, tail: &mut Tail) {
        if !tail.queued {
            tail.queued = true;
            self.ready.push_back(key);
        }
    }

    /// Has the file looked at again at `at`, or earlier where that is due already.
    pub(super) fn schedule(&mut self, key: usize, tail: &mut Tail, at: u64) {
        if tail.check_at == 0 || at < tail.check_at {
            tail.check_at = at;
            self.timers.push(Reverse((at, key)));
        }
    }

    fn look_at_due(&mut self, now: Now) {
        for _ in 0..LOOKS_A_TURN {
            let Some(&Reverse((at, key))) = self.timers.peek() else { return };
            if at > now.mono {
                return;
            }
            self.timers.pop();
            let Some(tail) = self.tails[key].as_mut() else { continue };
            if tail.check_at == at {
                tail.check_at = 0;
                self.check(key, now);
            }
        }
    }

    /// Counts what the file adds to `file_lag_bytes`.
    pub(super) fn measure(&mut self, tail: &mut Tail) {
        let lag = if tail.place == Place::Closed || tail.packed.is_some() { 0 } else { tail.unread() };
        self.lag = self.lag - tail.lag + lag;
        tail.lag = lag;
    }

    /// Takes in the verdicts heard, and moves checkpoints.
    pub(super) fn hear_verdicts(&mut self) {
        let mut verdicts = std::mem::take(&mut self.verdicts);
        self.reader.verdicts.take(&mut verdicts);
        for (token, verdict) in verdicts.drain(..) {
            self.reader.outstanding = self.reader.outstanding.saturating_sub(1);
            self.has_failed |= verdict == Verdict::Failed;
            let key = (token >> 32) as usize;
            let Some(tail) = self.tails.get_mut(key).and_then(|t| t.as_mut()) else { continue };
            let mut flight = std::mem::take(&mut tail.flight);
            flight.settle(token as u32, verdict, |mark| self.store.settle(mark, tail));
            self.store.settle_copies(tail.identity, &flight);
            tail.flight = flight;
            self.settle_given(key);
            self.release_settled(key);
        }
        self.verdicts = verdicts;
    }

    fn take_hints(&mut self, now: Now) {
        let Some(watch) = &self.watch else { return };
        let hints = watch.take();
        if hints.all {
            self.next_scan = now.mono;
            self.timers.clear();
            for key in 0..self.tails.len() {
                if let Some(mut tail) = self.tails[key].take() {
                    tail.check_at = 0;
                    self.schedule(key, &mut tail, now.mono);
                    self.tails[key] = Some(tail);
                }
            }
        }
        for path in hints.paths {
            if let Some(link) = self.linked.get(&path).cloned() {
                self.examine(&link, now, true);
            }
            if self.by_path.contains_key(&*path) || self.plan.patterns.matches(&path) {
                self.examine(&path, now, true);
            } else if self.watched.contains_key(&path) || path.is_dir() {
                // A folder that came or went: not more often than ten times a second.
                self.next_scan = self.next_scan.min(now.mono.max(self.last_scan + 100 * MILLISECOND));
            }
        }
    }

    /// Forgets paths that were lost long ago, and those lost first of more than are remembered.
    pub(super) fn forget_lost(&mut self, now: Now) {
        self.lost.retain(|_, lost| now.mono - lost.at < KEEP_LOST);
        let more = self.lost.len().saturating_sub(MOST_LOST);
        if more > 0 {
            let mut all: Vec<(u64, PathBuf)> = self.lost.iter().map(|(path, lost)| (lost.at, path.clone())).collect();
            all.sort_unstable();
            for (_, path) in all.iter().take(more) {
                self.lost.remove(path);
            }
        }
    }

    /// Forgets what was said or noted of archives that are gone.
    fn forget_told(&mut self) {
        self.packed_since.retain(|identity, _| self.store.find(*identity).is_some());
        if self.foreign.len() > MOST_FOREIGN {
            self.foreign.retain(|path| path.symlink_metadata().is_ok());
        }
    }

    /// Looks through the folders.
    pub(super) fn scan(&mut self, now: Now) {
        let mut found = std::mem::take(&mut self.found);
        self.plan.patterns.walk(self.plan.follow_symlinks, &mut found);
        self.tell_missed(&mut found);
        self.watch_dirs(&mut found);
        let files = found.entries.len();
        if !self.scanned {
            let mut dir = RealDir::default();
            found.entries.retain(|entry| !self.start_idle(entry, &mut dir, now));
            self.known_first(&mut found.entries);
        }
        // What is found may have to be looked at sooner than in the next round.
        self.next_scan = u64::MAX;
        for entry in &found.entries {
            if let Some(&key) = self.by_path.get(&*entry.path)
                && !entry.is_symlink
                && let Some(tail) = &self.tails[key]
                && tail.node == (entry.device, entry.inode)
            {
                self.store.touch(tail.generation, now.seconds());
                continue;
            }
            self.examine(&entry.path, now, true);
        }
        let still_there = found.entries.iter().filter(|e| self.by_path.contains_key(&*e.path)).count();
        if self.scanned && still_there != self.by_path.len() {
            let paths = found.paths();
            let lost: Vec<Arc<Path>> = self.by_path.keys().filter(|p| !paths.contains(&***p)).cloned().collect();
            for path in lost {
                self.examine(&path, now, true);
            }
        }
        self.look_at_renamed(now);
        self.forget_lost(now);
        self.adopt_unlooked(now);
        self.adopt_all_missed(now);
        if self.scanned && self.missing_again {
            self.adopt_missing(now);
        }
        if !self.unreadable.is_empty() {
            let paths = found.paths();
            let renamed: HashSet<&Path> = self.renamed.iter().map(Renamed::path).collect();
            self.unreadable.retain(|p| paths.contains(p.as_path()) || renamed.contains(p.as_path()));
        }
        self.forget_told();
        self.seek_all_shut(&found);
        let factor = if self.watch.is_some() && found.complete { WATCHED_FACTOR } else { 1 };
        let interval = self.plan.glob_interval * factor;
        let interval = interval.max(files.max(self.lost.len()) as u64 * LOOK_PER_FILE);
        self.store.look_every = (interval / SECOND) as i64;
        self.last_scan = now.mono;
        self.next_scan = self.next_scan.min(now.mono + interval);
        if !self.scanned {
            if self.by_path.len() > SAID_AT_FIRST {
                tracing::info!(source = %self.plan.id, files = self.by_path.len(), "all of them are found");
            }
            self.adopt_missing(now);
            self.scanned = true;
            self.nodes = None;
            self.store.make_known();
        }
        found.forget();
        self.found = found;
    }

    /// Watches the folders found, and those that links lead into.
    fn watch_dirs(&mut self, found: &mut Found) {
        let Some(watch) = &mut self.watch else { return };
        self.linked.retain(|_, link| self.by_path.contains_key(link));
        let mut wanted: HashMap<PathBuf, (u64, u64)> = HashMap::with_capacity(found.dirs.len());
        wanted.extend(found.dirs.iter().map(|d| (d.path.clone(), (d.device, d.inode))));
        for dir in self.linked.keys().filter_map(|p| p.parent()) {
            if !wanted.contains_key(dir)
                && let Ok(look) = super::identity::look_at(dir, true)
            {
                wanted.insert(dir.to_owned(), (look.identity.device, look.identity.inode));
            }
        }
        self.watched.retain(|dir, node| {
            let keep = wanted.get(dir) == Some(node);
            if !keep {
                watch.remove(dir);
            }
            keep
        });
        for (dir, node) in wanted {
            if self.watched.contains_key(&dir) {
                continue;
            }
            match watch.add(&dir) {
                Ok(()) => {
                    self.watched.insert(dir, node);
                }
                // It is looked through as if there were no notices.
                Err(error) if concerns_folder(&error) => found.complete = false,
                Err(error) => {
                    tracing::warn!(source = %self.plan.id, dir = %dir.display(), %error, "no notices of changes; polling \
                        instead. Raising fs.inotify.max_user_watches or max_user_instances helps");
                    self.watch = None;
                    self.watched.clear();
                    return;
                }
            }
        }
    }

    /// Whether a sweep is the only way to see growth.
    pub(super) fn polls(&self) -> bool {
        self.watch.is_none()
    }

    /// Writes a checkpoint where one is due.
    fn save(&mut self, now: Now) {
        self.hear_saver();
        if !self.store.is_dirty() {
            self.unsaved_since = None;
            return;
        }
        self.unsaved_since.get_or_insert(now.mono);
        if self.saving || now.mono < self.last_save + self.save_every(now) && self.last_save != 0 {
            return;
        }
        self.last_save = now.mono.max(1);
        self.first_save.get_or_insert(now.mono);
        self.touch_all(now);
        let Some(write) = self.store.next_write(now.seconds()) else { return };
        match &self.saver {
            #[cfg(test)]
            Saver::Inline => {
                let result = write.perform();
                self.saved(&write, result);
            }
            Saver::Thread { jobs, .. } => {
                self.saving = true;
                if let Err(e) = jobs.send(write) {
                    let write = e.into_inner();
                    self.saved(&write, Err(io::Error::other("its thread is gone")));
                }
            }
        }
    }

    /// What is read is there: not to be forgotten, however long ago the last look through the folders was.
    fn touch_all(&mut self, now: Now) {
        if self.store.next_is_whole() {
            for tail in self.tails.iter().flatten().filter(|t| t.place == Place::Present) {
                self.store.touch(tail.generation, now.seconds());
            }
        }
    }

    fn save_every(&self, now: Now) -> u64 {
        match self.first_save {
            Some(first) if now.mono >= first + AT_FIRST => SAVE_EVERY,
            _ => SAVE_EVERY_AT_FIRST,
        }
    }

    fn hear_saver(&mut self) {
        if let Saver::Thread { done, .. } = &self.saver
            && let Ok((write, result)) = done.try_recv()
        {
            self.saved(&write, result);
        }
    }

    fn saved(&mut self, write: &Write, result: io::Result<()>) {
        self.saving = false;
        match result {
            Ok(()) => {
                self.store.written(write);
                if self.save_failing {
                    self.save_failing = false;
                    tracing::info!(source = %self.plan.id, "checkpoints are written again");
                }
            }
            Err(error) => {
                self.store.not_written(write);
                self.counters.update(|t| t.error("checkpoint", 1));
                if !self.save_failing {
                    self.save_failing = true;
                    tracing::error!(source = %self.plan.id, file = %write.path.display(), %error,
                        "cannot write a checkpoint; trying again every second");
                }
            }
        }
    }

    /// Writes what is settled, now and in place. The last act.
    pub(super) fn save_all(&mut self, now: Now) -> io::Result<()> {
        self.hear_verdicts();
        if self.saving
            && let Saver::Thread { done, .. } = &self.saver
            && let Ok((write, result)) = done.recv()
        {
            self.saved(&write, result);
        }
        for tail in self.tails.iter().flatten() {
            self.store.note_size(tail.generation, tail.end());
            self.store.seen_whole(tail, now.wall);
        }
        self.touch_all(now);
        match self.store.next_write(now.seconds()) {
            None => Ok(()),
            Some(write) => {
                write.perform()?;
                self.store.written(&write);
                Ok(())
            }
        }
    }

    fn publish(&mut self) {
        let lag = self.lag;
        if lag == self.published_lag && self.unsaved_since.is_none() {
            return;
        }
        self.published_lag = lag;
        let age = self.unsaved_since.map_or(0, |since| self.last_save.saturating_sub(since).max(1));
        self.counters.update(|t| {
            t.gauges.insert("file_lag_bytes", lag as f64);
            t.gauges.insert("checkpoint_age_seconds", age as f64 / SECOND as f64);
        });
    }
}
