//! What sinks hold already: the places that go with chunks, and at a start the way back from them.
//!
//! With each chunk goes the position behind it ([`Place`](crate::ack::place::Place)). At a start each sink says how far it holds each generation. What all of
//! them hold is where reading goes on, as if the checkpoint had been saved then; the checkpoint's own place counts for a sink that
//! says nothing or less, because what was saved had been acknowledged by all. Where some hold more than others, the file
//! is read from the least, and those that hold more are spared what they have ([`Place::held`](crate::ack::place::Place::held)): only after the bytes up to
//! there were compared with the running hash.
//!
//! A generation that the checkpoint does not know of was found in the run before and not saved any more: it is entered as the
//! sinks tell it. One that the checkpoint knew of once and has no more was forgotten by wish, and stays forgotten.

use super::checkpoint::{BySink, Known, Store};
use super::identity::{Ahead, Identity, MARK_BYTES, Position, Running, Sum, read_at};
use crate::ack::place::{At, FileOf, Held, Told, join};
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Sinks that hold a file further than it is read, until it is.
#[derive(Debug)]
pub(super) struct Spared {
    sinks: Arc<[Held]>,
    upto: u64,
    /// Where events ended that they were given, in order.
    ends: Vec<End>,
}

/// Where an event ended that a sink was given, whatever would be joined to it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) offset: u64,
    /// In stdout, in stderr; both where lines are no container's.
    pub(super) streams: [bool; 2],
}

impl End {
    /// The ends behind a place: where it was given further in one stream than in the other, each has its own.
    fn all_of(at: &Position) -> impl Iterator<Item = End> {
        let ends = if at.ahead.is_ahead() {
            let [stdout, stderr, _] = at.ahead.given.map(|given| given.max(at.offset));
            [(stdout, [true, false]), (stderr, [false, true])]
        } else {
            [(at.offset, [true, true]); 2]
        };
        ends.into_iter().map(|(offset, streams)| End { offset, streams })
    }

    /// In order, one for each offset.
    fn joined(mut ends: Vec<End>) -> Vec<End> {
        ends.sort_unstable_by_key(|end| end.offset);
        ends.dedup_by(|next, end| {
            let same = next.offset == end.offset;
            if same {
                (0..2).for_each(|n| end.streams[n] |= next.streams[n]);
            }
            same
        });
        ends
    }
}

impl Spared {
    /// The first end behind `from`, where it is at `upto` or before: taken once.
    pub(super) fn take_end(&mut self, from: u64, upto: u64) -> Option<End> {
        self.ends.retain(|end| end.offset > from);
        self.take_passed(upto)
    }

    /// As above, of lines that are held as soon as they are read: also one that was passed with a hole.
    pub(super) fn take_passed(&mut self, upto: u64) -> Option<End> {
        (self.ends.first()?.offset <= upto).then(|| self.ends.remove(0))
    }
}

/// What sinks are told of the places in one file.
#[derive(Debug, Default)]
pub(super) struct ForSinks {
    /// The generation as they were told of it last.
    file: Option<Arc<FileOf>>,
    /// Those that hold more of it than was read; none of them does once that is read.
    spared: Option<Spared>,
    /// It is a copy, or has one, of contents that are on their way from elsewhere: no place is told.
    stands_in: bool,
}

impl ForSinks {
    /// Whether no place can be told.
    pub(super) fn stands_in(&self) -> bool {
        self.stands_in
    }

    /// Says so, before a turn of reading.
    pub(super) fn set_stands_in(&mut self, stands_in: bool) {
        self.stands_in = stands_in;
    }

    /// These sinks are spared what they have; up to where there is such.
    pub(super) fn spare(&mut self, spared: Option<Spared>) -> Option<u64> {
        self.spared = spared;
        self.spared.as_ref().map(|spared| spared.upto)
    }

    /// See [`Spared::take_end`].
    pub(super) fn take_end(&mut self, from: u64, upto: u64) -> Option<End> {
        self.spared.as_mut()?.take_end(from, upto)
    }

    /// See [`Spared::take_passed`].
    pub(super) fn take_passed(&mut self, upto: u64) -> Option<End> {
        self.spared.as_mut()?.take_passed(upto)
    }

    /// The generation as sinks are told of it; made with the first chunk.
    pub(super) fn file(&mut self, generation: u64, make: impl FnOnce() -> FileOf) -> Arc<FileOf> {
        match &self.file {
            Some(file) if file.generation == generation => file.clone(),
            _ => self.file.insert(Arc::new(make())).clone(),
        }
    }

    /// What sinks have more than others, for a chunk that ends at `end`: with the last one of it they are spared no more.
    pub(super) fn held(&mut self, end: u64) -> Option<Arc<[Held]>> {
        let sinks = self.spared.as_ref()?.sinks.clone();
        self.spared.take_if(|spared| end >= spared.upto);
        Some(sinks)
    }
}

/// What a sink says of one generation.
struct Claim<'a> {
    sink: usize,
    file: &'a Arc<FileOf>,
    /// What it has of it; else all up to the position.
    parts: Option<&'a [Range<u64>]>,
    at: At,
}

/// A position as others keep it.
pub(super) fn told(at: &Position) -> At {
    let flags = u8::from(at.skipping) | at.ahead.flags() << 1;
    At { offset: at.offset, mark: at.mark, sum: at.sum.0, flags, given: at.ahead.given }
}

/// And back.
fn heard(at: &At) -> Position {
    let skipping = [at.flags >> 1 & 2 != 0, at.flags >> 1 & 4 != 0];
    let ahead = Ahead { given: at.given, skipping };
    Position { offset: at.offset, mark: at.mark, sum: Sum(at.sum), skipping: at.flags & 1 != 0, ahead }
}

impl Store {
    /// Takes over what the sinks that a source reaches hold; `now` in seconds since 1970. Gives for how many files that is further
    /// than the checkpoint.
    pub(super) fn take_over(&mut self, source: &str, told: &[(usize, Told)], now: i64) -> usize {
        let first_unknown = self.next_generation();
        let keys = self.hasher.keys;
        let is_of_us = |file: &FileOf| &*file.source == source && file.keys == keys;
        let mut all: HashMap<u64, Vec<Claim<'_>>> = HashMap::new();
        for (sink, Told { places, islands }) in told {
            let of_places = places.iter().map(|p| Claim { sink: *sink, file: &p.file, parts: None, at: p.at });
            let parts_of = |sink: usize| {
                islands.iter().map(move |i| Claim { sink, file: &i.file, parts: Some(&i.parts), at: i.at })
            };
            for claim in of_places.chain(parts_of(*sink)).filter(|claim| is_of_us(claim.file)) {
                all.entry(claim.file.generation).or_default().push(claim);
            }
        }
        let mut generations: Vec<u64> = all.keys().copied().collect();
        generations.sort_unstable();
        let mut further = 0;
        for generation in generations {
            let claims = &all[&generation];
            if self.get(generation).is_none() {
                let Some(claim) = claims.first().filter(|_| generation >= first_unknown) else { continue };
                self.enter(generation, claim.file, now);
            }
            further += usize::from(self.take_over_file(generation, claims, told));
        }
        further
    }

    /// Enters a generation that was found in the run before.
    fn enter(&mut self, generation: u64, file: &FileOf, now: i64) {
        let (device, inode, birth) = file.identity;
        let identity = Identity { device, inode, birth };
        // Nothing is known of when it was looked at: all that was made since it was may come after it.
        let touched = if birth == 0 { 0 } else { (birth / 1_000_000_000).min(now) };
        let known = Known { packed: file.packed, ..Known::new(identity, &file.path, touched) };
        self.number_from(generation + 1);
        self.add_as(generation, known);
    }

    fn take_over_file(&mut self, generation: u64, claims: &[Claim<'_>], told: &[(usize, Told)]) -> bool {
        let Some(known) = self.get(generation) else { return false };
        let (saved, packed) = (super::held::told(&known.at), known.packed);
        let held_by = |sink: usize| {
            let of = claims.iter().filter(|claim| claim.sink == sink && claim.parts.is_none()).map(|claim| claim.at);
            of.filter(|at| at.is_beyond(&saved)).fold(saved, |a, b| if b.is_beyond(&a) { b } else { a })
        };
        let mut by_sink: Vec<(usize, At)> = told.iter().map(|(sink, _)| (*sink, held_by(*sink))).collect();
        by_sink.sort_by_key(|(_, at)| at.offset);
        let Some((_, least)) = by_sink.iter().copied().reduce(|a, b| if a.1.is_beyond(&b.1) { b } else { a }) else {
            return false;
        };
        let moved = least.is_beyond(&saved);
        let islands = claims.iter().filter_map(|claim| Some((claim.sink, claim.parts?.to_vec(), claim.at)));
        let upto = |at: &At| std::iter::once(0..at.offset).collect();
        let all = by_sink.iter().map(|(n, at)| (*n, upto(at), *at)).chain(islands);
        let ahead = all.filter(|(_, _, at)| at.offset > least.offset);
        let mut ahead: BySink = ahead.map(|(n, parts, at)| (n, parts, heard(&at))).collect();
        ahead.sort_by_key(|(_, _, at)| at.offset);
        let most = ahead.last().map_or(least.offset, |(_, _, at)| at.offset);
        if moved || !ahead.is_empty() {
            self.update(generation, |k| {
                k.at = heard(&least);
                // It is not as it was when all in it was settled, as far as that is known.
                k.changed = 0;
                k.size = k.size.max(most);
            });
        }
        // Of what comes out of an archive nothing is compared here.
        if !ahead.is_empty() && !packed {
            self.ahead.insert(generation, ahead);
        }
        moved
    }
}

impl Store {
    /// At a start: the sinks that are spared what they have of a generation that is read from `from` on, because the bytes in
    /// `file` are proven to be those that they were given.
    ///
    /// Errors: the file cannot be read.
    pub(super) fn spare(&mut self, generation: u64, from: Position, file: &OwnedFd) -> io::Result<Option<Spared>> {
        let Some(ahead) = self.ahead.remove(&generation) else { return Ok(None) };
        if from.offset > 0 && !from.is_proof() {
            return Ok(None);
        }
        let mut before = vec![0; MARK_BYTES.min(from.mark_len())];
        let got = read_at(file, &mut before, from.offset - from.mark_len() as u64)?;
        if got < before.len() {
            return Ok(None);
        }
        let mut running = Running::from(self.hasher, from, before);
        let mut by_sink: BTreeMap<usize, Vec<Range<u64>>> = BTreeMap::new();
        let (mut ends, mut last) = (Vec::new(), None);
        for (sink, parts, at) in ahead {
            running.read(file, at.offset, u64::MAX)?;
            if !running.at.proves(&at) {
                break;
            }
            by_sink.entry(sink).or_default().extend(parts);
            ends.extend(End::all_of(&at));
            last = Some(at.offset);
        }
        let Some(upto) = last else { return Ok(None) };
        by_sink.values_mut().for_each(join);
        let of_sink = |(sink, parts): (usize, Vec<Range<u64>>)| {
            parts.into_iter().map(move |part| Held { sink, from: part.start, to: part.end })
        };
        Ok(Some(Spared { sinks: by_sink.into_iter().flat_map(of_sink).collect(), upto, ends: End::joined(ends) }))
    }
}
