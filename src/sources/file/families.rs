//! What a rotated file has open at its end goes on in the file that took its name.
//!
//! A runtime rotates between any two lines: `0.log` becomes `0.log.20250101-000000`, and the next part of a message is the first
//! line of its stream in the new `0.log`, or in one still later where others came between. Files of one name make a family; of
//! each, what is read before it is what was made before it. A new file is read when those before it have been read to what
//! they had when it was found, and takes over what the last of them has open.
//!
//! Files are taken for a family where one had the other's name; or, where both were found as they are now, where one has
//! the other's name with a number or date behind it and was not modified after the other was made.

use super::checkpoint::Store;
use super::flight::Settlement;
use super::identity::{Predecessor, look_into};
use super::names::PACKED_ENDS;
use super::now::SECOND;
use super::parts::{Ancestor, Link, Parts};
use super::schedule::Schedule;
use super::tail::{Tail, TailState};
use super::tails::Tails;
use hashbrown::HashMap;
use std::path::{Path, PathBuf};

/// Files that were rotated away, by the name they had.
#[derive(Debug, Default)]
pub(super) struct Families {
    /// Of each name those that had it, in no order; some may be gone.
    members: HashMap<PathBuf, Vec<Predecessor>>,
    /// Number of names at which those are dropped whose files are gone.
    tidy_at: usize,
    /// Bytes of container lines that wait for others, of all files as they were measured last.
    held: usize,
}

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
    let name = tail.paths.here().file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let base = base_of(tail.paths.here());
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

impl Families {
    /// The file was found under another name than its present one, or the present one says that it had another.
    fn add(&mut self, base: PathBuf, who: Predecessor, tails: &Tails) {
        if self.members.len() >= self.tidy_at {
            self.members.retain(|_, list| {
                list.retain(|who| tails.of(*who).is_some());
                !list.is_empty()
            });
            self.tidy_at = (2 * self.members.len()).max(64);
        }
        let list = self.members.entry(base).or_default();
        if !list.contains(&who) {
            list.push(who);
        }
    }

    /// A file lost this name.
    pub(super) fn note_rotated(&mut self, path: &Path, who: Predecessor, tails: &Tails) {
        self.add(base_of(path).unwrap_or_else(|| path.to_owned()), who, tails);
    }

    /// A file is new here: what those before it have open may go on in it.
    pub(super) fn expect(&mut self, key: usize, tail: &mut Tail, tails: &Tails) {
        let mut parts = Parts::at(tail.at);
        parts.link = Link::Open;
        tail.parts = Some(Box::new(parts));
        // An archive that nobody knows is no reason to wait; one that is being compared may turn out to be known.
        if let Some(base) =
            base_of(tail.paths.here()).filter(|_| tail.packed.is_none() || tail.at.offset > 0 || tail.compares())
        {
            self.add(base, (key, tail.generation), tails);
        }
    }

    /// Nothing was read of an archive: no file goes on with what it has open.
    pub(super) fn leave(&mut self, tail: &Tail) {
        if let Some(list) = base_of(tail.paths.here()).and_then(|base| self.members.get_mut(&base)) {
            list.retain(|(_, generation)| *generation != tail.generation);
        }
    }

    /// Whether a file has to wait for those before it. Where it has not, it takes over what they have open.
    pub(super) fn waits(&mut self, key: usize, tails: &mut Tails, schedule: &mut Schedule) -> bool {
        let Some(tail) = tails.get_mut(key) else { return false };
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
            _ => self.before(key, tails, schedule),
        };
        let waits = before.iter().any(|(who, size)| is_unread(tails.of(*who), *size)) || tails.must_wait(key);
        if waits {
            if let Some(parts) = tails.get_mut(key).and_then(|t| t.parts.as_mut()) {
                parts.link = Link::Waits(before);
            }
        } else if let Some((last, _)) = before.last() {
            self.hand_over(*last, key, tails, schedule);
        }
        waits
    }

    /// Files of the same name that were made before this one, the newest last, with what they have now; they are read to that.
    fn before(&self, key: usize, tails: &mut Tails, schedule: &mut Schedule) -> Vec<(Predecessor, u64)> {
        let Some(tail) = tails.get(key) else { return Vec::new() };
        let base = base_of(tail.paths.first()).unwrap_or_else(|| tail.paths.first().to_path_buf());
        let mut list: Vec<Predecessor> = self.members.get(&*base).cloned().unwrap_or_default();
        list.retain(|who| {
            let Some(before) = tails.of(*who) else { return false };
            let had_the_name = **before.paths.first() == *base && before.paths.all().iter().all(|path| **path != *base);
            let (modified, birth) = (before.look.modified(), tail.identity.birth);
            let may_have = birth == 0 || before.packed.is_some() || modified <= birth + ROTATION_TIME;
            who.0 != key && age(before) < age(tail) && (had_the_name || may_have)
        });
        // A copy of what was cut off is younger, and comes before all the same.
        list.extend(tail.after.filter(|after| tails.of(*after).is_some() && !list.contains(after)));
        list.sort_by_key(|(key, _)| tails.get(*key).map(age));
        let mut before = Vec::new();
        for who in list {
            let Some(tail) = tails.get_mut(who.0) else { continue };
            let look = tail.handle.get().and_then(|file| look_into(file).ok());
            before.push((who, look.map_or(tail.look.size(), |look| look.size)));
            if tail.state != TailState::Closed {
                schedule.queue(who.0, &mut tail.due);
            }
        }
        before
    }

    /// What one file has open at its end goes on in another.
    fn hand_over(&mut self, from: Predecessor, to: usize, tails: &mut Tails, schedule: &mut Schedule) {
        let Some(mut old) = tails.take(from.0) else { return };
        let Some(mut new) = tails.take(to) else { return tails.put(from.0, old) };
        let at_end = match &old.packed {
            Some(packed) => packed.ended,
            None => old.reading().offset >= old.look.size(),
        };
        if let (true, Some(before), Some(parts)) = (at_end && old.generation == from.1, &mut old.parts, &mut new.parts)
        {
            for _ in 0..parts.inherit(before, from) {
                old.flight.hold();
                tracing::debug!(source = %old.origin.source, file = %old.paths.here().display(), to = %new.paths.here().display(),
                    "what is open at its end goes on in another file");
            }
            if old.state != TailState::Closed {
                schedule.queue(from.0, &mut old.due);
            }
        }
        self.measure(&mut old);
        self.measure(&mut new);
        tails.put(from.0, old);
        tails.put(to, new);
    }

    /// Counts what is open in a file; how many bytes that are.
    pub(super) fn measure(&mut self, tail: &mut Tail) -> usize {
        let Some(parts) = &mut tail.parts else { return 0 };
        let (held, before) = parts.measure();
        self.held = self.held - before + held;
        held
    }

    /// Bytes that are open in all files.
    pub(super) fn held(&self) -> usize {
        self.held
    }
}

/// Whether a file is still to be read up to there, or may turn out to be.
fn is_unread(tail: Option<&Tail>, size: u64) -> bool {
    tail.is_some_and(|tail| {
        let waits = tail.parts.as_ref().is_some_and(|parts| parts.link != Link::Done);
        tail.due.is_queued() && !tail.failing && (waits || tail.packed.is_some() || tail.reading().offset < size)
    })
}

/// Notes what was inherited by a file and is settled with its chunks; the slots of the files that it came from.
pub(super) fn settle_given(key: usize, tails: &mut Tails, store: &mut Store) -> Vec<usize> {
    let mut of = Vec::new();
    loop {
        let Some(Tail { parts: kept @ Some(_), flight, .. }) = tails.get_mut(key) else { return of };
        let Some(parts) = kept else { return of };
        let Some((n, ancestors)) = parts.next_settled(|number| flight.is_settled(number)) else {
            if parts.is_new() {
                *kept = None;
            }
            return of;
        };
        for ancestor in ancestors {
            if let Ancestor::File(who) = ancestor {
                settle_handed(who, n, tails, store);
                of.push(who.0);
            }
        }
    }
}

/// What a file handed on of stream `n` is settled.
fn settle_handed((key, generation): Predecessor, n: usize, tails: &mut Tails, store: &mut Store) {
    let Some(tail) = tails.get_mut(key) else { return };
    tail.flight.let_go();
    if tail.generation == generation
        && let Some(parts) = &mut tail.parts
    {
        parts.handed_is_settled(n);
        tail.at = parts.position();
        if let Some(mark) = tail.flight.pass(Settlement { generation, at: tail.at }) {
            store.settle(mark, &tail.seen());
        }
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
