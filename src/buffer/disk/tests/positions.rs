//! A file source, its checkpoint, a disk buffer and its sink together, ended between any two steps that last. What went into the
//! files is compared with what came to the sink.
#![allow(clippy::single_range_in_vec_init, reason = "lists of parts of files, also of one")]

use super::*;
use crate::ack::place::Place;
use crate::sources::file::tests::World;
use std::collections::BTreeMap;

/// What the sink was given.
#[derive(Default)]
struct Sink {
    /// How often each line was delivered.
    came: BTreeMap<String, u32>,
    /// Lines of requests that had no answer, or one that nobody lived to note, when everything ended.
    in_flight: BTreeSet<String>,
    open: Vec<Open>,
}

/// A batch that the sink delivers in several requests.
struct Open {
    batch: Batch,
    /// Its events that have not been answered for, by their places in it.
    left: Vec<(u32, String)>,
}

fn lines_of(batch: &Batch) -> Vec<String> {
    let text = |e: crate::event::EventRef<'_>| {
        String::from_utf8_lossy(e.field(Sym::MESSAGE).unwrap().as_str().unwrap().bytes).into_owned()
    };
    batch.iter().map(text).collect()
}

/// A chunk as the worker makes a batch of it, the only one that the sink is given of it, without what the sink holds.
fn batch_of(lines: &[(String, u64)], ack: Ack) -> Batch {
    let mut batch = Batch::new(Slab::default(), Origin::of_source("src"), 1_000, ack);
    let place = batch.ack.place().cloned();
    for (line, offset) in lines.iter().filter(|(_, offset)| !place.as_ref().is_some_and(|p| p.is_held_by(0, *offset))) {
        let row = batch.push_event(EventKind::Log);
        batch.event_mut(row).push(Sym::MESSAGE, Value::from(line.as_str()));
        batch.event_mut(row).set_offset(*offset);
    }
    (batch.whole, batch.alone) = (true, true);
    batch
}

/// Takes what the source has read into the buffer.
fn take(world: &mut World, rig: &mut Rig) {
    for (lines, ack) in world.take() {
        let mut batch = batch_of(&lines, ack);
        let n = batch.len() as u64;
        if n == 0 {
            batch.ack.take().settle(Verdict::Delivered);
            continue;
        }
        rig.counters.update(|t| {
            t.events_in += n;
            t.held += n;
        });
        rig.buffer.writer.accept(batch);
    }
}

impl Sink {
    fn read(&mut self, rig: &mut Rig) {
        let open = rig.read().map(|batch| {
            let left = lines_of(&batch).into_iter().enumerate().map(|(n, line)| (n as u32, line)).collect();
            Open { batch, left }
        });
        self.open.extend(open);
    }

    /// A request is answered: with some events of a batch that it has, or all.
    fn deliver(&mut self, rig: &Rig, random: &mut fastrand::Rng) {
        if self.open.is_empty() {
            return;
        }
        let n = random.usize(..self.open.len());
        let Open { batch, left } = &mut self.open[n];
        let from = random.usize(..left.len());
        let answered: Vec<(u32, String)> = match random.u8(..4) {
            0 | 1 => std::mem::take(left),
            // As of a stream, where others lie between.
            2 => left.extract_if(.., |(place, _)| *place % 2 == from as u32 % 2).collect(),
            _ => left.drain(from..random.usize(from..left.len()) + 1).collect(),
        };
        answered.iter().for_each(|(_, line)| *self.came.entry(line.clone()).or_default() += 1);
        let counted = !rig.sim.has_stopped();
        rig.settle_rows(batch, &answered.iter().map(|(place, _)| *place).collect::<Vec<_>>());
        if left.is_empty() {
            self.open.remove(n).batch.ack.take().settle(Verdict::Delivered);
        }
        if !counted || rig.sim.has_stopped() {
            // It ended before it could be noted: as if there had been no answer.
            self.in_flight.extend(answered.into_iter().map(|(_, line)| line));
        }
    }

    fn end(&mut self) {
        self.in_flight.extend(self.open.drain(..).flat_map(|open| open.left).map(|(_, line)| line));
    }
}

/// Lines come, are read, buffered, written or not, given to the sink, delivered in and out of turn; places are saved. A file is
/// renamed, and one cut off.
fn story(
    world: &mut World,
    rig: &mut Rig,
    sink: &mut Sink,
    written: &mut Vec<String>,
    random: &mut fastrand::Rng,
    rounds: usize,
) {
    for round in 0..rounds {
        if rig.sim.has_stopped() {
            return;
        }
        let name = ["a.log", "b.log"][random.usize(..2)];
        // Now and then many; in one record all the same.
        let lines = if round % 20 == 13 { 100 } else { random.usize(1..4) };
        for _ in 0..lines {
            let line = format!("line {} {}", written.len(), "x".repeat(random.usize(..400)));
            world.append(name, &format!("{line}\n"));
            written.push(line);
        }
        if round == 17 {
            world.rename("a.log", "a.log.1");
        }
        // Now and then so much time passes that places are saved.
        if random.u8(..3) == 0 {
            world.read()
        } else {
            world.settle()
        }
        take(world, rig);
        match random.u8(..8) {
            0..2 => rig.commit(),
            2..3 => drop(rig.buffer.writer.save_position()),
            3..4 => drop(rig.buffer.writer.reclaim()),
            _ => {}
        }
        for _ in 0..random.usize(..3) {
            sink.read(rig);
        }
        for _ in 0..random.usize(..3) {
            sink.deliver(rig, random);
        }
        rig.buffer.writer.commit_due(Instant::now() - GROUP_WAIT);
    }
}

/// Everything is read and delivered after a new start, with what the buffer says it holds.
fn finish(world: &mut World, rig: &mut Rig, sink: &mut Sink, random: &mut fastrand::Rng) {
    for _ in 0..4 {
        world.read();
        take(world, rig);
        rig.commit();
        loop {
            sink.read(rig);
            if sink.open.is_empty() {
                break;
            }
            sink.deliver(rig, random);
        }
    }
}

fn run(seed: u64, stop: Option<u64>, crash: Crash) -> u64 {
    let options = options(MIB);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world = World::reading("['*.log', '*.log.1']", "");
    world.keep_acks();
    let mut rig = Rig::open(&Sim::default(), &options);
    let (mut sink, mut written) = (Sink::default(), Vec::new());
    if let Some(stop) = stop {
        rig.sim.stop_after(stop);
    }
    story(&mut world, &mut rig, &mut sink, &mut written, &mut random, 40);
    let steps = rig.sim.steps();
    // Ended and begun anew twice: what was known of the first life is in the third.
    for rounds in [6, 0] {
        sink.end();
        world.kill();
        let sim = rig.sim.after(crash, &mut random);
        drop(rig);
        rig = Rig::open(&sim, &options);
        let told = rig.buffer.shared.lock().told();
        world.hold_told(vec![(0, told)]);
        story(&mut world, &mut rig, &mut sink, &mut written, &mut random, rounds);
    }
    finish(&mut world, &mut rig, &mut sink, &mut random);
    rig.check();
    let lost: Vec<&String> = written.iter().filter(|line| !sink.came.contains_key(*line)).collect();
    assert!(lost.is_empty(), "seed {seed}, stopped at {stop:?}, {crash:?}: lost are {lost:?}");
    if crash == Crash::Kill {
        let repeated = sink.came.iter().filter(|(line, n)| **n > 1 && !sink.in_flight.contains(*line));
        let repeated: Vec<_> = repeated.collect();
        assert!(
            repeated.is_empty(),
            "seed {seed}, stopped at {stop:?}: came twice and had been answered: {repeated:?}"
        );
    }
    steps
}

#[test]
fn ended_between_any_two_steps_nothing_is_lost_and_only_what_was_in_flight_comes_twice() {
    let long = std::env::var("TIDEGATE_SEEDS").ok().and_then(|n| n.parse::<u64>().ok());
    for seed in 0..long.unwrap_or(2) {
        let steps = run(seed, None, Crash::Kill);
        assert!(steps > 40, "{steps}");
        for stop in 0..steps {
            run(seed, Some(stop), Crash::Kill);
            if long.is_some() || stop % 5 == 0 {
                run(seed, Some(stop), Crash::Power);
            }
        }
    }
}

/// Requests of 125 events of three batches, of which nothing was written: the first had no answer, the others had.
#[test]
fn of_batches_that_were_never_written_only_what_had_no_answer_comes_again() {
    let mut rig = Rig::open(&Sim::default(), &options(64 * MIB));
    for n in 0..3u64 {
        rig.counters.update(|t| {
            t.events_in += 100;
            t.held += 100;
        });
        let place = Place { from: n * 1000, ..crate::ack::place::tests::place(1, n * 1000 + 1000) };
        let mut batch = batch(n * 100, 100, 10, Ack::placed(rig.source.clone(), n, place));
        (0..100).for_each(|row| batch.event_mut(row).set_offset(n * 1000 + row as u64 * 10));
        (batch.whole, batch.alone) = (true, true);
        rig.buffer.writer.accept(batch);
    }
    let [first, second, third] = [(); 3].map(|()| rig.read().unwrap());
    rig.settle_rows(&second, &(25..60).collect::<Vec<_>>());
    rig.settle_rows(&second, &(60..100).collect::<Vec<_>>());
    rig.settle(third, Verdict::Delivered);
    std::mem::forget((first, second));
    let mut sim = rig.kill();
    // Whatever is known is known in the run after the next, too.
    for _ in 0..3 {
        let rig = Rig::open(&sim, &options(64 * MIB));
        assert_eq!(rig.counters.snapshot().events_in, 0, "nothing was written");
        let told = rig.buffer.shared.lock().told();
        assert_eq!(told.places, []);
        let is_held = |n: &u64| told.islands.iter().flat_map(|i| &i.parts).any(|part| part.contains(&(n * 10)));
        assert_eq!((0..300).filter(is_held).collect::<Vec<_>>(), (125..300).collect::<Vec<_>>(), "{:?}", told.islands);
        sim = rig.kill();
    }
}

/// A segment is made in several steps, and what was noted before holds whichever of them was the last.
#[test]
fn notes_are_believed_wherever_the_making_of_a_segment_ended() {
    for step in 0.. {
        let mut rig = Rig::open(&Sim::default(), &options(MIB));
        rig.write(0, 10, 50);
        rig.commit();
        let first = rig.read().unwrap();
        rig.settle_rows(&first, &[1, 2]);
        std::mem::forget(first);
        let sim = rig.kill();
        let mut rig = Rig::open(&sim, &options(MIB));
        let first = rig.read().unwrap();
        rig.settle_rows(&first, &[0]);
        std::mem::forget(first);
        rig.write(10, 1, 50);
        rig.sim.stop_after(step);
        rig.commit();
        let done = !rig.sim.has_stopped();
        let mut rig = Rig::open(&rig.kill(), &options(MIB));
        rig.check();
        let came: Vec<u64> = rig.drain().into_iter().filter(|n| *n < 10).collect();
        assert_eq!(came, [3, 4, 5, 6, 7, 8, 9], "ended after step {step}");
        if done {
            assert!(step > 5, "{step}");
            return;
        }
    }
}

/// One batch in the buffer that is delivered out of turn.
#[test]
fn a_place_is_claimed_only_when_all_before_it_is_written_or_settled() {
    let place = |offset| crate::ack::place::tests::place(1, offset);
    for settle_first in [false, true] {
        let mut rig = Rig::open(&Sim::default(), &options(MIB));
        for n in 0..3u64 {
            rig.counters.update(|t| {
                t.events_in += 1;
                t.held += 1;
            });
            let mut batch = batch(n, 1, 10, Ack::placed(rig.source.clone(), n, Place { from: 7 + n, ..place(10 + n) }));
            (batch.whole, batch.alone) = (true, true);
            rig.buffer.writer.accept(batch);
        }
        let [first, second, third] = [(); 3].map(|()| rig.read().unwrap());
        rig.settle(second, Verdict::Delivered);
        rig.settle(third, Verdict::Delivered);
        if settle_first {
            rig.settle(first, Verdict::Delivered);
        }
        // Nothing was written.
        let sim = rig.kill();
        let rig = Rig::open(&sim, &options(MIB));
        let claims = rig.buffer.shared.lock().claims.to_vec();
        assert_eq!(claims, if settle_first { vec![place(12)] } else { vec![] });
        // What was settled behind the first is known as such.
        let islands: Vec<_> = rig.buffer.shared.lock().islands.iter().map(|island| island.parts.clone()).collect();
        assert_eq!(islands, if settle_first { vec![] } else { vec![vec![8..11], vec![9..12]] });
        assert_eq!(rig.counters.snapshot().events_in, 0);
    }
}

#[test]
fn ids_and_places_lie_in_records_and_survive_a_power_cut() {
    for compression in [DiskCompression::None, DiskCompression::Zstd] {
        let options = DiskOptions { compression, ..options(MIB) };
        let mut rig = Rig::open(&Sim::default(), &options);
        let mut sent = batch(0, 2, 10, Ack::placed(rig.source.clone(), 0, crate::ack::place::tests::place(1, 9)));
        sent.whole = true;
        let ids = sent.ids;
        rig.counters.update(|t| {
            t.events_in += 2;
            t.held += 2;
        });
        rig.buffer.writer.accept(sent);
        rig.commit();
        let mut rig = Rig::open(&rig.cut(1), &options);
        assert_eq!(rig.buffer.shared.lock().claims.to_vec(), [crate::ack::place::tests::place(1, 9)]);
        let batch = rig.read().unwrap();
        assert_eq!((batch.ids, batch.len()), (ids, 2));
        rig.settle(batch, Verdict::Delivered);
        rig.check();
    }
}

/// What was settled is known after a kill, though the position was not saved.
#[test]
fn what_was_settled_is_settled_after_a_kill_to_the_last_event() {
    let mut rig = Rig::open(&Sim::default(), &options(MIB));
    for n in 0..4 {
        rig.write(n * 10, 10, 50);
    }
    rig.commit();
    let batches: Vec<Batch> = std::iter::from_fn(|| rig.read()).collect();
    let mut batches = batches.into_iter();
    rig.settle(batches.next().unwrap(), Verdict::Delivered);
    let second = batches.next().unwrap();
    rig.settle_rows(&second, &[0, 1, 2, 7]);
    rig.settle(batches.next().unwrap(), Verdict::Delivered);
    let mut rig = Rig::open(&rig.kill(), &options(MIB));
    rig.check();
    let expected: Vec<u64> = [13, 14, 15, 16, 18, 19].into_iter().chain(30..40).collect();
    assert_eq!(rig.drain(), expected);
    rig.check();
}
