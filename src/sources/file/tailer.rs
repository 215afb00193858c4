//! The scheduler of a source: who is read when, when folders are looked through, when checkpoints are written.
//!
//! A [`Tailer`] has no thread and no clock of its own: [`turn`](Tailer::turn) does what is due and tells when to be
//! called again, so tests drive it step by step. Nothing in a turn costs time in proportion to the files known, except
//! the look through the folders, which is the rarer the more there are.

use super::checkpoint::Store;
use super::discovery::FoundFiles;
use super::files::Files;
use super::joined::AtEnd;
use super::life::Prompt;
use super::now::{MILLISECOND, Now, SECOND};
use super::plan::Plan;
use super::reader::{Out, Sent, Turn};
use super::saving::{Saver, Saving};
use super::schedule::Schedule;
use super::start::{RealDir, SAID_AT_FIRST};
use super::tail::{Tail, TailState};
use super::watch::Wake;
use crate::ack::Verdict;
use crate::telemetry::Counters;
use crate::time::clock;
use hashbrown::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Turns of reading before hints and verdicts are looked at again.
const STRETCH_TURNS: usize = 4;
/// Idle files that are looked at before it is the turn of busy ones again.
const LOOKS_A_TURN: usize = 1000;
/// With working notices, folders are looked through that many times less often.
const WATCHED_FACTOR: u64 = 10;
/// And the rarer the more files there are: it costs a microsecond for each, which is a hundredth of this.
const LOOK_PER_FILE: u64 = 100_000;
/// How often an archive asks whether it is its turn, where that is another source's.
const TURN_WAIT: u64 = 100 * MILLISECOND;
/// Longest wait of a caller, whatever is due.
const LONGEST_WAIT: u64 = 60 * SECOND;

/// See [the module](self).
pub(super) struct Tailer {
    pub(super) files: Files,
    saving: Saving,
    /// What the last look through the folders found, to be used again.
    found: FoundFiles,
    /// When that was: monotonic nanoseconds.
    last_scan: u64,
    /// Verdicts that were heard, to be used again.
    verdicts: Vec<(u64, Verdict)>,
    /// A verdict was `Failed`: the place of that file stays before it.
    pub(super) has_failed: bool,
    /// `file_lag_bytes` as it was published last.
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
            tracing::info!(source = %plan.id, files = further, "sinks hold more than the checkpoint has: reading goes on after that");
        }
        let saving = Saving::new(saver, plan.id.clone(), counters.clone());
        Ok(Tailer {
            files: Files::new(plan, counters, wake, store),
            saving,
            found: FoundFiles::default(),
            last_scan: 0,
            verdicts: Vec::new(),
            has_failed: false,
            published_lag: u64::MAX,
        })
    }

    /// Does what is due, and reads for a while.
    pub(super) fn turn(&mut self, now: Now, out: &mut dyn Out) -> Next {
        self.files.reader.mono = now.mono;
        self.hear_verdicts();
        self.files.hear_owners();
        self.take_hints(now);
        if self.files.handles.are_too_many() {
            self.files.spare_handles();
        }
        if now.mono >= self.files.schedule.next_scan() {
            self.scan(now);
        }
        self.look_at_due(now);
        self.files.look_at_all_pending(now);
        let proving = self.files.prove() || self.files.waiting.are_proving();
        match self.read_ready(now, out) {
            Turn::Closed => return Next::Closed,
            Turn::Blocked | Turn::More => {
                self.save(now);
                self.publish();
                return Next::Now;
            }
            _ => {}
        }
        if self.files.plan.once || self.files.start.is_over {
            self.files.tell_missing();
        }
        self.save(now);
        self.publish();
        if proving {
            return Next::Now;
        }
        let files = &mut self.files;
        let at_end = files.waiting.is_empty() && files.schedule.next_heavy().is_none();
        if files.plan.once && at_end && !files.tails.iter().any(|t| t.is_deciding() || t.attends) {
            return match files.give_rest(now, out) {
                None => Next::Done,
                Some(Turn::Closed) => Next::Closed,
                Some(_) => Next::Now,
            };
        }
        Next::After(self.next_due(now).saturating_sub(now.mono).max(MILLISECOND))
    }

    /// When something is due that has not to be asked for: monotonic nanoseconds.
    fn next_due(&self, now: Now) -> u64 {
        let files = &self.files;
        let saves = files.store.is_dirty() || files.reader.outstanding > 0;
        [
            Some(files.schedule.next_scan()),
            Some(now.mono + LONGEST_WAIT),
            files.schedule.next_heavy().map(|_| now.mono + TURN_WAIT),
            files.schedule.next_look(),
            files.waiting.next_look(),
            saves.then(|| now.mono + self.saving.interval(now)),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(now.mono)
    }

    /// Reads in turn, until nothing is ready, downstream is full, or it is time for other things.
    pub(super) fn read_ready(&mut self, now: Now, out: &mut dyn Out) -> Turn {
        if let Some(chunk) = self.files.reader.held.take() {
            match out.send(chunk) {
                Sent::Yes => {}
                Sent::Full(chunk) => {
                    self.files.reader.held = Some(chunk);
                    return Turn::Blocked;
                }
                Sent::Closed => return Turn::Closed,
            }
        }
        let mut passed_over = 0;
        for _ in 0..STRETCH_TURNS {
            self.ask_for_turn(now);
            let files = &mut self.files;
            let Some(key) = files.schedule.take_ready() else { return Turn::End };
            if files.families.waits(key, &mut files.tails, &mut files.schedule) || files.tails.must_wait(key) {
                files.schedule.pass_over(key);
                passed_over += 1;
                if passed_over >= files.schedule.ready() {
                    return Turn::End;
                }
                continue;
            }
            passed_over = 0;
            match self.read_one(key, now, out) {
                Turn::Blocked => return Turn::Blocked,
                Turn::Closed => return Turn::Closed,
                // The rest of a file that was cut off had no room either.
                _ if self.files.reader.held.is_some() => return Turn::Blocked,
                _ => {}
            }
        }
        if self.files.schedule.ready() == 0 { Turn::End } else { Turn::More }
    }

    /// Lets the archive that is next be read, where it is its turn.
    fn ask_for_turn(&mut self, now: Now) {
        let Some(key) = self.files.schedule.next_heavy() else { return };
        let packed = self.files.tails.get_mut(key).and_then(|t| t.packed.as_mut());
        if packed.is_none_or(|packed| packed.has_turn(now.mono)) {
            self.files.schedule.let_heavy_in();
        }
    }

    fn read_one(&mut self, key: usize, now: Now, out: &mut dyn Out) -> Turn {
        let files = &mut self.files;
        let Some(mut tail) = files.tails.take(key) else { return Turn::End };
        tail.due.is_taken();
        files.reader.mono = now.mono;
        files.reader.keys_kept = files.store.keys_kept;
        tail.for_sinks.set_stands_in(files.store.is_unsettled_copy(tail.generation));
        if tail.state == TailState::Closed {
            return files.give_closed(key, tail, now, out);
        }
        if files.handles.are_too_many() {
            files.spare_handles();
        }
        let before = (tail.reading(), tail.look.size());
        let opened = files.ensure_open(key, &mut tail);
        if matches!(opened, Ok(true)) && files.waits_for_owner(key, &mut tail, now) {
            files.tails.measure(&mut tail);
            files.tails.put(key, tail);
            return Turn::End;
        }
        let turn = match opened.and_then(|open| files.comparisons.compare_grown(&mut tail, now).map(|()| open)) {
            Ok(true) => {
                files.ensure_origin(&mut tail);
                let open = if files.plan.once { AtEnd::Finish } else { tail.ending.open() };
                files.reader.read(key, &mut tail, open, now.wall, out)
            }
            Ok(false) => {
                files.led_elsewhere(key, tail, now);
                return Turn::End;
            }
            Err(error) => Turn::Failed(error),
        };
        let grew = (tail.reading(), tail.look.size()) != before;
        if grew {
            tail.grown = now.mono;
        }
        for mark in files.reader.passed.drain(..) {
            files.store.settle(mark, &tail.seen());
        }
        files.tails.measure(&mut tail);
        if !matches!(turn, Turn::Failed(_)) && tail.failing {
            tail.failing = false;
            tracing::info!(source = %files.plan.id, file = %tail.paths.here().display(), "readable again");
        }
        match &turn {
            Turn::End => {
                let archive = tail.packed.as_ref().is_some_and(|packed| !packed.ended);
                if let TailState::Gone { read, .. } = &mut tail.state
                    && !archive
                {
                    *read = true;
                }
                files.ended(key, &mut tail, grew, now);
            }
            turn => self.after_turn(key, &mut tail, turn, now, out),
        }
        if let Some(packed) = tail.packed.as_mut().filter(|_| !matches!(turn, Turn::More | Turn::Waits)) {
            packed.rest();
        }
        let files = &mut self.files;
        let close = tail.state == TailState::Closed;
        let turn = files.spare_parts(key, &mut tail, now, out).unwrap_or(turn);
        files.tails.put(key, tail);
        files.settle_given(key);
        if close {
            files.close(key);
        }
        turn
    }

    /// What follows from how the turn of a file ended before its end.
    fn after_turn(&mut self, key: usize, tail: &mut Tail, turn: &Turn, now: Now, out: &mut dyn Out) {
        let files = &mut self.files;
        match turn {
            Turn::More | Turn::Blocked => files.schedule.queue(key, &mut tail.due),
            Turn::Waits => files.schedule.wait_for_turn(key, &mut tail.due),
            Turn::Replaced => files.replaced(key, tail, now, out),
            Turn::NoText => files.tell_kind(key, tail, now),
            Turn::Failed(error) => files.failed(key, tail, error, now),
            Turn::End | Turn::Closed => {}
        }
    }

    fn look_at_due(&mut self, now: Now) {
        for _ in 0..LOOKS_A_TURN {
            let Some((at, key)) = self.files.schedule.take_look(now.mono) else { return };
            if self.files.tails.get_mut(key).is_some_and(|tail| Schedule::is_due(&mut tail.due, at)) {
                self.files.check(key, now);
            }
        }
    }

    /// Takes in the verdicts heard, and moves checkpoints.
    pub(super) fn hear_verdicts(&mut self) {
        self.files.reader.verdicts.take(&mut self.verdicts);
        for (token, verdict) in self.verdicts.drain(..) {
            self.has_failed |= verdict == Verdict::Failed;
            self.files.hear(token, verdict);
        }
    }

    fn take_hints(&mut self, now: Now) {
        let files = &mut self.files;
        let Some(hints) = files.notices.take() else { return };
        if hints.all {
            files.schedule.begin_scan();
            files.schedule.scan_by(now.mono);
            files.schedule.forget_looks();
            for (key, tail) in files.tails.iter_mut() {
                files.schedule.look_anew(key, &mut tail.due, now.mono);
            }
        }
        for path in hints.paths {
            if let Some(link) = files.notices.link_to(&path) {
                files.examine(&link, now, Prompt::Hint);
            }
            if files.tails.at_path(&path).is_some() || files.plan.patterns.matches(&path) {
                files.examine(&path, now, Prompt::Hint);
            } else if files.notices.is_watched(&path) || path.is_dir() {
                // A folder that came or went: not more often than ten times a second.
                files.schedule.scan_by(now.mono.max(self.last_scan + 100 * MILLISECOND));
            }
        }
    }

    /// Looks through the folders.
    pub(super) fn scan(&mut self, now: Now) {
        let mut found = std::mem::take(&mut self.found);
        let files = &mut self.files;
        files.plan.patterns.walk(files.plan.links, &mut found);
        files.missed.tell(&mut found, &files.plan, &files.tails);
        files.notices.follow(&mut found, &files.tails, &files.plan.id);
        let count = found.entries.len();
        if !files.start.is_over {
            let mut dir = RealDir::default();
            found.entries.retain(|entry| !files.start_idle(entry, &mut dir, now));
            files.known_first(&mut found.entries);
        }
        // What is found may have to be looked at sooner than in the next round.
        files.schedule.begin_scan();
        self.examine_found(&found, now);
        self.look_after_lost(&found, now);
        let files = &mut self.files;
        let factor = if !files.notices.are_off() && found.complete { WATCHED_FACTOR } else { 1 };
        let interval = files.plan.glob_interval * factor;
        let interval = interval.max(count.max(files.rotations.lost()) as u64 * LOOK_PER_FILE);
        files.store.look_every = (interval / SECOND) as i64;
        self.last_scan = now.mono;
        files.schedule.scan_by(now.mono + interval);
        if !files.start.is_over {
            if files.tails.path_count() > SAID_AT_FIRST {
                tracing::info!(source = %files.plan.id, files = files.tails.path_count(), "all of them are found");
            }
            files.adopt_missing(now);
            files.start.is_over = true;
            files.start.nodes = None;
            files.store.make_known();
        }
        found.forget();
        self.found = found;
    }

    /// Looks at what was found where it is news, and at names that were not found any more.
    fn examine_found(&mut self, found: &FoundFiles, now: Now) {
        let files = &mut self.files;
        for entry in &found.entries {
            if let Some(key) = files.tails.at_path(&entry.path)
                && !entry.is_symlink
                && let Some(tail) = files.tails.get(key)
                && tail.node == (entry.device, entry.inode)
            {
                files.store.touch(tail.generation, now.seconds());
                continue;
            }
            files.examine(&entry.path, now, Prompt::Hint);
        }
        let still_there = found.entries.iter().filter(|e| files.tails.at_path(&e.path).is_some()).count();
        if files.start.is_over && still_there != files.tails.path_count() {
            let paths = found.paths();
            let lost = files.tails.paths().map(|(path, _)| path).filter(|path| !paths.contains(&***path));
            let lost: Vec<Arc<Path>> = lost.cloned().collect();
            for path in lost {
                files.examine(&path, now, Prompt::Hint);
            }
        }
    }

    /// Looks for what became of files that lost their names, and forgets what need not be remembered.
    fn look_after_lost(&mut self, found: &FoundFiles, now: Now) {
        let files = &mut self.files;
        files.look_at_renamed(now);
        files.rotations.forget(now);
        files.adopt_unlooked(now);
        files.adopt_all_missed(now);
        if files.start.is_over && files.rotations.are_sought() {
            files.adopt_missing(now);
        }
        if files.unreadable.count() > 0 {
            let paths = found.paths();
            let renamed: HashSet<&Path> = files.renamed.paths().collect();
            files.unreadable.retain(|path| paths.contains(path) || renamed.contains(path));
        }
        files.archives.forget(&files.store);
        files.renamed.seek_all_shut(found);
    }

    /// Writes a checkpoint where one is due.
    fn save(&mut self, now: Now) {
        if self.saving.is_due(&mut self.files.store, now) {
            self.files.touch_all(now);
            self.saving.begin(&mut self.files.store, now);
        }
    }

    /// Writes what is settled, now and in place. The last act.
    pub(super) fn save_all(&mut self, now: Now) -> io::Result<()> {
        self.hear_verdicts();
        let files = &mut self.files;
        self.saving.wait(&mut files.store);
        for tail in files.tails.iter() {
            files.store.note_size(tail.generation, tail.end());
            files.store.seen_whole(&tail.seen(), now.wall);
        }
        files.touch_all(now);
        match files.store.next_write(now.seconds()) {
            None => Ok(()),
            Some(write) => {
                write.perform()?;
                files.store.written(&write);
                Ok(())
            }
        }
    }

    fn publish(&mut self) {
        let lag = self.files.tails.lag() + self.files.renamed.lag();
        let age = self.saving.age();
        if lag == self.published_lag && age.is_none() {
            return;
        }
        self.published_lag = lag;
        self.files.counters.update(|t| {
            t.gauges.insert("file_lag_bytes", lag as f64);
            t.gauges.insert("checkpoint_age_seconds", age.unwrap_or(0) as f64 / SECOND as f64);
        });
    }
}
