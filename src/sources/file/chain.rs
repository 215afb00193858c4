//! What a rotated file has open at its end goes on in the file that took its name.
//!
//! A runtime rotates between any two lines: `0.log` becomes `0.log.20250101-000000`, and the next part of a message is the first
//! line of its stream in the new `0.log`, or in one still later where others came between. Files of one name make a family; of
//! each, what is read before it is what was made before it. A new file is read when those before it have been read to what
//! they had when it was found, and takes over what the last of them has open.
//!
//! Files are taken for a family where one had the other's name; or, where both were found as they are now, where one has
//! the other's name with a number or date behind it and was not modified after the other was made.

use super::drain_deleted::is_deleted;
use super::identity::look_into;
use super::parts::{Ancestor, Give, Link, Parts};
use super::rotation::{PACKED_ENDS, Predecessor};
use super::tail::{Out, Place, Sent, Tail, Turn};
use super::tailer::{Next, Now, SECOND, Tailer};
use crate::event::Chunk;
use hashbrown::HashMap;
use std::path::{Path, PathBuf};

/// Files that were rotated away, by the name they had.
#[derive(Debug, Default)]
pub(super) struct Families {
    members: HashMap<PathBuf, Vec<Predecessor>>,
    /// Number of names at which those are dropped whose files are gone.
    tidy_at: usize,
}

/// Bytes that open container lines of all files of a source may take, or what one file may need where that is more.
const PARTS_ROOM_BYTES: usize = 4 << 20;
/// What is open in one file is left alone up to this.
const SMALL_PARTS_BYTES: usize = 16 << 10;
/// A file that was modified so much later than another was made does not come before it.
const ROTATION_TIME: i64 = 2 * SECOND as i64;

/// Digits that a number in the middle of a name has at least where it is a date: `app-1.log` is no generation of `app.log`.
const DATE_DIGITS: usize = 6;

/// The name that a file had before a rotation gave it this one, where it is such a name: `0.log` of `0.log.20250101-000000` and
/// `0.log.1.gz`, `app.log` of `app-2025-01-01.log`.
fn base_of(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let name = PACKED_ENDS.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    // Behind a divider, digits and dividers alone.
    let base = |name: &str, digits: usize| {
        let counts = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '_' | ':' | 'T' | 'Z');
        let letters = name.trim_end_matches(counts);
        let divider = name[letters.len()..].find(['.', '-', '_'])? + letters.len();
        let found = name[divider..].bytes().filter(u8::is_ascii_digit).count();
        (divider > 0 && found >= digits).then(|| name[..divider].to_owned())
    };
    let between = || {
        let (stem, extension) = name.rsplit_once('.')?;
        base(stem, DATE_DIGITS).map(|stem| format!("{stem}.{extension}"))
    };
    Some(path.with_file_name(base(name, 1).or_else(between)?))
}

/// What was made before what, of one family: compressed files when they still had their names, so before all others, and in
/// the order that their names say.
fn age(tail: &Tail) -> (bool, u128, i64, u64) {
    let name = tail.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let base = base_of(&tail.path);
    let base = base.as_ref().and_then(|base| base.file_name()?.to_str()).unwrap_or_default();
    let digits = name.bytes().skip(base.len()).filter(u8::is_ascii_digit);
    let (count, number) = digits.fold((0, 0u128), |(n, sum), c| (n + 1, sum.wrapping_mul(10) + u128::from(c - b'0')));
    // Dates grow, and numbers count backwards.
    let number = if count < DATE_DIGITS { u128::MAX - number } else { number };
    match tail.packed {
        Some(_) => (false, number, 0, tail.generation),
        None => (true, 0, tail.identity.birth, tail.generation),
    }
}

impl Tailer {
    /// The file was found under another name than its present one, or the present one says that it had another.
    fn add_to_family(&mut self, base: PathBuf, who: Predecessor) {
        if self.families.members.len() >= self.families.tidy_at {
            let mut members = std::mem::take(&mut self.families.members);
            members.retain(|_, list| {
                list.retain(|who| self.is_generation(*who));
                !list.is_empty()
            });
            self.families.tidy_at = (2 * members.len()).max(64);
            self.families.members = members;
        }
        let list = self.families.members.entry(base).or_default();
        if !list.contains(&who) {
            list.push(who);
        }
    }

    fn is_generation(&self, (key, generation): Predecessor) -> bool {
        self.tails.get(key).and_then(|t| t.as_ref()).is_some_and(|t| t.generation == generation)
    }

    /// A file lost this name.
    pub(super) fn note_rotated(&mut self, path: &Path, who: Predecessor) {
        if self.reader.judge.is_some() {
            self.add_to_family(base_of(path).unwrap_or_else(|| path.to_owned()), who);
        }
    }

    /// A file is new here: what those before it have open may go on in it.
    pub(super) fn expect_parts(&mut self, key: usize, tail: &mut Tail) {
        if self.reader.judge.is_none() {
            return;
        }
        let mut parts = Parts::at(tail.at);
        parts.link = Link::Open;
        tail.parts = Some(Box::new(parts));
        // An archive that nobody knows is no reason to wait; one that is being compared may turn out to be known.
        if let Some(base) =
            base_of(&tail.path).filter(|_| tail.packed.is_none() || tail.at.offset > 0 || tail.compares())
        {
            self.add_to_family(base, (key, tail.generation));
        }
    }

    /// Nothing was read of an archive: no file goes on with what it has open.
    pub(super) fn leave_family(&mut self, tail: &Tail) {
        if let Some(list) = base_of(&tail.path).and_then(|base| self.families.members.get_mut(&base)) {
            list.retain(|(_, generation)| *generation != tail.generation);
        }
    }

    /// Whether a file has to wait for those before it. Where it has not, it takes over what they have open.
    pub(super) fn waits_for_parts(&mut self, key: usize) -> bool {
        let Some(tail) = self.tails[key].as_mut() else { return false };
        // Comparing comes before reading.
        if tail.is_deciding() {
            return false;
        }
        let link = match tail.parts.as_mut() {
            Some(parts) if parts.link != Link::Done => std::mem::take(&mut parts.link),
            _ => return false,
        };
        let before = match link {
            Link::Waits(before) => before,
            _ => self.files_before(key),
        };
        let waits = before.iter().any(|(who, size)| self.is_unread(*who, *size)) || self.must_wait(key);
        if waits {
            if let Some(parts) = self.tails[key].as_mut().and_then(|t| t.parts.as_mut()) {
                parts.link = Link::Waits(before);
            }
        } else if let Some((last, _)) = before.last() {
            self.hand_over(*last, key);
        }
        waits
    }

    /// Files of the same name that were made before this one, the newest last, with what they have now; they are read to that.
    fn files_before(&mut self, key: usize) -> Vec<(Predecessor, u64)> {
        let Some(tail) = &self.tails[key] else { return Vec::new() };
        let base = base_of(&tail.name).unwrap_or_else(|| tail.name.to_path_buf());
        let mut list: Vec<Predecessor> = self.families.members.get(&*base).cloned().unwrap_or_default();
        list.retain(|&(other, generation)| {
            let Some(before) = self.tails[other].as_ref().filter(|t| t.generation == generation) else { return false };
            let had_the_name = *before.name == *base && before.paths.iter().all(|path| **path != *base);
            let (modified, birth) = (before.looked.1, tail.identity.birth);
            let may_have = birth == 0 || before.packed.is_some() || modified <= birth + ROTATION_TIME;
            other != key && age(before) < age(tail) && (had_the_name || may_have)
        });
        // A copy of what was cut off is younger, and comes before all the same.
        list.extend(tail.after.filter(|after| self.is_generation(*after) && !list.contains(after)));
        list.sort_by_key(|(key, _)| self.tails[*key].as_deref().map(age));
        let mut before = Vec::new();
        for who in list {
            let Some(mut tail) = self.tails[who.0].take() else { continue };
            let look = tail.file.as_ref().and_then(|file| look_into(file).ok());
            before.push((who, look.map_or(tail.looked.0, |look| look.size)));
            if tail.place != Place::Closed {
                self.queue(who.0, &mut tail);
            }
            self.tails[who.0] = Some(tail);
        }
        before
    }

    /// Whether a file is still to be read up to there, or may turn out to be.
    fn is_unread(&self, who: Predecessor, size: u64) -> bool {
        let tail = self.tails[who.0].as_ref().filter(|t| t.generation == who.1);
        tail.is_some_and(|tail| {
            let waits = tail.parts.as_ref().is_some_and(|parts| parts.link != Link::Done);
            tail.queued && !tail.failing && (waits || tail.packed.is_some() || tail.reading().offset < size)
        })
    }

    /// What one file has open at its end goes on in another.
    fn hand_over(&mut self, from: Predecessor, to: usize) {
        let (Some(mut old), Some(mut new)) = (self.tails[from.0].take(), self.tails[to].take()) else { return };
        let at_end = match &old.packed {
            Some(packed) => packed.ended,
            None => old.reading().offset >= old.looked.0,
        };
        if let (true, Some(before), Some(parts)) = (at_end && old.generation == from.1, &mut old.parts, &mut new.parts)
        {
            for _ in 0..parts.inherit(before, from) {
                old.flight.hold();
                tracing::debug!(source = %self.plan.id, file = %old.path.display(), to = %new.path.display(),
                    "what is open at its end goes on in another file");
            }
            if old.place != Place::Closed {
                self.queue(from.0, &mut old);
            }
        }
        self.measure_parts(&mut old);
        self.measure_parts(&mut new);
        (self.tails[from.0], self.tails[to]) = (Some(old), Some(new));
    }

    /// Notes what was inherited by a file and is settled with its chunks.
    pub(super) fn settle_given(&mut self, key: usize) {
        loop {
            let Some(Tail { parts: kept @ Some(_), flight, .. }) = self.tails[key].as_deref_mut() else { return };
            let Some(parts) = kept else { return };
            let Some((n, ancestors)) = parts.next_settled(|number| flight.is_settled(number)) else {
                if parts.is_new() {
                    *kept = None;
                }
                return;
            };
            for ancestor in ancestors {
                if let Ancestor::File(who) = ancestor {
                    self.settle_handed(who, n);
                }
            }
        }
    }

    /// What a file handed on of stream `n` is settled.
    fn settle_handed(&mut self, (key, generation): Predecessor, n: usize) {
        let Some(mut tail) = self.tails[key].take() else { return };
        tail.flight.let_go();
        if tail.generation == generation
            && let Some(parts) = &mut tail.parts
        {
            parts.handed_is_settled(n);
            tail.at = parts.position();
            let mark = super::flight::Settlement { generation, at: tail.at };
            if let Some(mark) = tail.flight.pass(mark) {
                self.store.settle(mark, &tail);
            }
        }
        self.tails[key] = Some(tail);
        self.release_settled(key);
    }

    /// Forgets a closed file of which nothing is on its way.
    pub(super) fn release_settled(&mut self, key: usize) {
        if let Some(tail) = &self.tails[key]
            && tail.place == Place::Closed
            && tail.flight.outstanding() == 0
            && !tail.has_open_parts()
        {
            self.release(key);
        }
    }

    /// Whether something that is open has waited for long enough.
    pub(super) fn parts_are_due(&self, tail: &Tail, now: Now) -> bool {
        self.parts_due(tail).is_some_and(|due| due <= now.mono)
    }

    fn parts_due(&self, tail: &Tail) -> Option<u64> {
        tail.parts.as_ref()?.due(self.reader.judge.as_ref()?)
    }

    /// Has a file looked at when what is open has waited for long enough.
    pub(super) fn schedule_parts(&mut self, key: usize, tail: &mut Tail) {
        if let Some(due) = self.parts_due(tail) {
            self.schedule(key, tail, due);
        }
    }

    /// What is open of contents that are gone stands in a copy, which is read.
    pub(super) fn forget_parts(&mut self, key: usize, tail: &mut Tail, now: Now, out: &mut dyn Out) {
        if (0..2).any(|n| tail.parts.as_ref().is_some_and(|parts| parts.ancestors(n).next().is_some())) {
            // But not its beginning.
            self.reader.send_parts(key, tail, Give::All, now.wall, out);
        }
        tail.parts.iter_mut().for_each(|parts| parts.forget_open());
    }

    /// Gives what a closed file has open; nothing is read any more.
    pub(super) fn give_closed(&mut self, key: usize, mut tail: Box<Tail>, now: Now, out: &mut dyn Out) -> Turn {
        let turn = self.reader.send_parts(key, &mut tail, Give::All, now.wall, out).unwrap_or(Turn::End);
        self.measure_parts(&mut tail);
        self.tails[key] = Some(tail);
        self.settle_given(key);
        self.release_settled(key);
        turn
    }

    /// With `once`, when all was read: gives what is open.
    pub(super) fn give_rest(&mut self, now: Now, out: &mut dyn Out) -> Next {
        for key in 0..self.tails.len() {
            let Some(mut tail) = self.tails[key].take() else { continue };
            let turn = self.reader.send_parts(key, &mut tail, Give::All, now.wall, out);
            self.measure_parts(&mut tail);
            self.tails[key] = Some(tail);
            match turn {
                Some(Turn::Closed) => return Next::Closed,
                Some(_) => return Next::Now,
                None => {}
            }
        }
        Next::Done
    }

    /// Gives what is open and stands nowhere any more, before the agent stops: files that were deleted, contents that are gone.
    pub(super) fn give_orphans(&mut self, now: &impl Fn() -> Now, out: &mut dyn Out, late: &impl Fn() -> bool) {
        for key in 0..self.tails.len() {
            for n in 0..2 {
                let Some(tail) = &self.tails[key] else { continue };
                let Some(parts) = &tail.parts else { continue };
                let gone = |ancestor: &Ancestor| match ancestor {
                    Ancestor::Gone => true,
                    Ancestor::File((key, _)) => self.tails[*key].as_ref().is_none_or(|old| is_deleted(old)),
                };
                if !(tail.place == Place::Closed || parts.ancestors(n).any(gone)) {
                    continue;
                }
                while let Some(chunk) = self.reader.held.take() {
                    self.send_again(chunk, out);
                    if late() {
                        return;
                    }
                }
                if let Some(mut tail) = self.tails[key].take() {
                    self.reader.send_parts(key, &mut tail, Give::Stream(n), now().wall, out);
                    self.tails[key] = Some(tail);
                }
            }
        }
    }

    fn send_again(&mut self, chunk: Chunk, out: &mut dyn Out) {
        if let Sent::Full(chunk) = out.send(chunk) {
            self.reader.held = Some(chunk);
        }
    }

    fn measure_parts(&mut self, tail: &mut Tail) -> usize {
        let Some(parts) = &mut tail.parts else { return 0 };
        let (held, before) = parts.measure();
        self.held_parts = self.held_parts - before + held;
        held
    }

    /// Where all files together have more open than there is room for, the one that has most gives what it has.
    pub(super) fn spare_parts(&mut self, key: usize, tail: &mut Tail, now: Now, out: &mut dyn Out) -> Option<Turn> {
        let held = self.measure_parts(tail);
        let most = self.reader.judge.as_ref().map_or(0, |judge| judge.rule().most_open_bytes());
        if self.held_parts <= PARTS_ROOM_BYTES.max(most) || held <= SMALL_PARTS_BYTES || self.reader.held.is_some() {
            return None;
        }
        let measured = |t: &Option<Box<Tail>>| t.as_ref()?.parts.as_ref().map(|parts| parts.measured());
        let most = self.tails.iter().enumerate().filter_map(|(key, t)| Some((measured(t)?, key))).max();
        if let Some((_, other)) = most.filter(|(most, _)| *most > held) {
            if let Some(mut other_tail) = self.tails[other].take() {
                self.queue(other, &mut other_tail);
                self.tails[other] = Some(other_tail);
            }
            return None;
        }
        self.counters.update(|t| t.error("multiline_limit", 1));
        let turn = self.reader.send_parts(key, tail, Give::All, now.wall, out);
        self.measure_parts(tail);
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_generations_are_told_from_others() {
        for name in ["0.log.20250101-000000", "0.log.20250101-000000.gz", "0.log.1", "0.log-20250101", "0.log.1.zst"] {
            assert_eq!(base_of(Path::new("/a").join(name).as_path()), Some("/a/0.log".into()), "{name}");
        }
        assert_eq!(base_of(Path::new("app-2025-01-01.log")), Some("app.log".into()));
        for name in ["0.log", "app-1.log", "app.log", "1-2.log", "app.log.old", "-1"] {
            assert_eq!(base_of(Path::new(name)), None, "{name}");
        }
    }
}
