//! Checkpoints on a filesystem that forgets, tears and fails, and files that are damaged or forged.
//!
//! `TIDEGATE_SEEDS=10000` runs it long, `TIDEGATE_SEED=7` one seed; a seed that fails is printed, and joins `SEEDS`.
#![allow(clippy::unwrap_used)]
use super::format::{HEADER_BYTES, checksum};
use super::*;
use crate::storage::sim::{Crash, Sim};
use std::collections::BTreeMap;

/// Seeds that failed once.
const SEEDS: &[u64] = &[];

const DIR: &str = "/data/in";

/// Generation and offset: what must not be ahead of the truth, and not behind what was saved.
type State = BTreeMap<u64, u64>;

fn state(store: &Store) -> State {
    store.iter().map(|(generation, known)| (generation, known.at.offset)).collect()
}

fn known(inode: u64) -> Known {
    let path: Arc<Path> = Path::new("/var/log/a.log").into();
    Known::new(Identity { device: 1, inode, birth: 3 }, &path, 1_000)
}

/// A source's life with checkpoints: files come and grow, checkpoints are written, some of them fail.
struct Life {
    sim: Sim,
    store: Store,
    random: fastrand::Rng,
    /// States that were given to be written, oldest first.
    given: Vec<State>,
    /// How many of them are behind the last that is known to be durable, itself included.
    safe: usize,
}

impl Life {
    fn new(sim: Sim, random: fastrand::Rng) -> Life {
        let store = Store::open_on(&sim, Path::new(DIR)).unwrap();
        let given = vec![state(&store)];
        Life { sim, store, random, given, safe: 1 }
    }

    fn change(&mut self) {
        for _ in 0..self.random.usize(1..4) {
            let generations: Vec<u64> = self.store.iter().map(|(g, _)| g).collect();
            if generations.is_empty() || self.random.u8(..8) == 0 {
                self.store.add(known(self.random.u64(0..6)));
            } else {
                let generation = generations[self.random.usize(..generations.len())];
                let more = self.random.u64(1..500);
                self.store.update(generation, |k| k.at.offset += more);
            }
        }
        if self.random.u8(..5) == 0 {
            self.store.whole = true;
        }
    }

    fn write(&mut self) {
        let Some(write) = self.store.next_write(1_000) else { return };
        self.given.push(state(&self.store));
        match write.perform_on(&self.sim) {
            Ok(()) => {
                self.store.written(&write);
                self.safe = self.given.len();
            }
            Err(_) => self.store.not_written(&write),
        }
    }

    /// Opens what a crash has left and compares it; the store that was read.
    fn check(&self, crash: Crash, random: &mut fastrand::Rng) -> Sim {
        let sim = self.sim.after(crash, random);
        let read = state(&Store::open_on(&sim, Path::new(DIR)).unwrap());
        let possible = &self.given[self.safe - 1..];
        assert!(possible.contains(&read), "{crash:?}: read {read:?}, given since the last success {possible:?}");
        sim
    }
}

fn seed(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut sim = Sim::default();
    for _ in 0..random.u32(1..5) {
        let mut life = Life::new(sim, random.fork());
        if random.bool() {
            life.sim.stop_after(random.u64(0..60));
        }
        for _ in 0..random.u32(1..40) {
            match random.u32(0..12) {
                0 => life.sim.fail_syncs(1),
                1 => life.sim.fail_writes(1),
                2 => life.sim.set_room(Some(life.sim.used())),
                3..5 => life.sim.set_room(None),
                _ => {}
            }
            life.change();
            life.write();
        }
        let crash = if random.bool() { Crash::Power } else { Crash::Kill };
        sim = life.check(crash, &mut random);
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|n| n.parse().ok())
}

#[test]
fn whatever_happens_to_the_disk_the_checkpoint_is_one_that_was_given_and_none_from_before_the_last_success() {
    if let Some(n) = number("TIDEGATE_SEED") {
        return seed(n);
    }
    for n in SEEDS.iter().copied().chain(0..number("TIDEGATE_SEEDS").unwrap_or(500)) {
        let result = std::panic::catch_unwind(|| seed(n));
        assert!(result.is_ok(), "seed {n} fails: TIDEGATE_SEED={n} runs it alone");
    }
}

/// Files, recents, both slots of each.
fn story(sim: &Sim) -> Life {
    let mut life = Life::new(sim.clone(), fastrand::Rng::with_seed(1));
    for step in 0..12 {
        life.change();
        life.store.whole = step % 5 == 0;
        life.write();
    }
    life
}

#[test]
fn stopped_at_every_step_the_checkpoint_before_or_after_it_is_read() {
    let steps = {
        let sim = Sim::default();
        story(&sim);
        sim.steps()
    };
    assert!(steps >= 12 * 5, "{steps}");
    for step in 0..=steps {
        let sim = Sim::default();
        sim.stop_after(step);
        let life = story(&sim);
        let mut random = fastrand::Rng::with_seed(step);
        life.check(Crash::Kill, &mut random);
        for _ in 0..20 {
            life.check(Crash::Power, &mut random);
        }
    }
}

#[test]
fn every_flipped_byte_and_every_truncation_of_every_file_gives_a_state_from_before() {
    let sim = Sim::default();
    let life = story(&sim);
    let truth = state(&life.store);
    let files = sim.files();
    assert_eq!(files.len(), 4);
    for (path, bytes) in files {
        let flipped = (0..bytes.len()).map(|at| {
            let mut bad = bytes.clone();
            bad[at] ^= 0x41;
            bad
        });
        for bad in flipped.chain((0..bytes.len()).map(|len| bytes[..len].to_vec())) {
            let sim = sim.after(Crash::Kill, &mut fastrand::Rng::with_seed(0));
            sim.put(&path, bad);
            let store = Store::open_on(&sim, Path::new(DIR)).unwrap();
            for entry in state(&store) {
                // Each file's own offset, not ahead of the truth; those of two files may be of different times.
                let given = life.given.iter().any(|state| state.get(&entry.0) == Some(&entry.1));
                assert!(given && entry.1 <= truth[&entry.0], "{}: {entry:?}", path.display());
            }
        }
    }
}

/// What has the right checksum may still say anything.
#[test]
fn forged_files_are_read_or_refused_and_nothing_else() {
    let sim = Sim::default();
    story(&sim);
    let files = sim.files();
    for n in 0..number("TIDEGATE_SEEDS").unwrap_or(3000) {
        let mut random = fastrand::Rng::with_seed(n);
        let (path, bytes) = &files[random.usize(..files.len())];
        let mut bad = bytes.clone();
        for _ in 0..random.usize(1..5) {
            let at = random.usize(..bad.len());
            match random.u8(..4) {
                0 => bad[at] = random.u8(..),
                1 => bad[at] = [0, 0xff, 0x7f, 0x80][random.usize(..4)],
                2 => bad.truncate(at.max(HEADER_BYTES)),
                _ => bad.extend((0..random.usize(..200)).map(|_| random.u8(..))),
            }
        }
        if random.bool() {
            let body = (bad.len() - HEADER_BYTES) as u64;
            bad[40..48].copy_from_slice(&body.to_le_bytes());
        }
        let sum = checksum(&bad, HEADER_BYTES);
        bad[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
        sim.put(path, bad);
        let mut store = Store::open_on(&sim, Path::new(DIR)).unwrap();
        // It goes on from whatever it read.
        store.add(known(9));
        let write = store.next_write(1_000).unwrap();
        store.written(&write);
        for (path, bytes) in &files {
            sim.put(path, bytes.clone());
        }
    }
}
