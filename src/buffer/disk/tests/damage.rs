//! Every byte flipped, every length cut: no panic, no endless loop, no wrong event, and what is lost is counted.

use super::*;

fn folder(sim: &Sim) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    sim.files()
}

/// A closed buffer of small records, some of them settled, with one segment.
fn closed(compression: DiskCompression) -> (Sim, DiskOptions, Vec<u64>) {
    let options = DiskOptions { compression, ..options(MIB) };
    let mut rig = Rig::open(&Sim::default(), &options);
    for n in 0..8 {
        rig.write(n * 3, 3, 20);
        rig.commit();
    }
    let batches: Vec<Batch> = std::iter::from_fn(|| rig.read()).collect();
    for (n, batch) in batches.into_iter().enumerate() {
        // The first two records and one in the middle are delivered.
        rig.settle(batch, if n < 2 || n == 4 { Verdict::Delivered } else { Verdict::Failed });
    }
    let left = (0..24).filter(|n| !(0..6).contains(n) && !(12..15).contains(n)).collect();
    (rig.close(), options, left)
}

fn path_of(sim: &Sim, ending: &str) -> std::path::PathBuf {
    let mut paths = folder(sim).into_iter().map(|(path, _)| path).filter(|p| p.to_string_lossy().ends_with(ending));
    paths.next().unwrap()
}

fn bytes_of(sim: &Sim, path: &Path) -> Vec<u8> {
    folder(sim).into_iter().find(|(p, _)| p == path).unwrap().1
}

/// Opens, drains and checks; returns what came.
fn drained(sim: &Sim, options: &DiskOptions, left: &[u64], what: &str) -> (Vec<u64>, u64) {
    let mut rig = Rig::open(sim, options);
    let held = rig.counters.snapshot().events_in;
    let got = rig.drain();
    rig.check();
    assert!(got.windows(2).all(|w| w[0] < w[1]), "{what}: {got:?}");
    let lost = rig.dropped("corrupt");
    assert_eq!(got.len() as u64 + lost, held, "{what}: {got:?}");
    assert!(got.iter().all(|n| *n < 24), "{what}");
    // It goes on: what comes next is written, read and counted.
    rig.write(100, 3, 20);
    rig.commit();
    assert_eq!(rig.drain(), [100, 101, 102], "{what}");
    rig.write(103, 3, 20);
    let sim = rig.close();
    let mut rig = Rig::open(&sim, options);
    assert_eq!(rig.drain(), [103, 104, 105], "{what}");
    assert_eq!(rig.dropped("corrupt"), 0, "{what}: counted once only");
    assert!(got.iter().all(|n| left.contains(n)) || got.len() > left.len(), "{what}: {got:?}");
    (got, lost)
}

#[test]
fn every_flipped_byte_of_a_segment_costs_one_record_at_most() {
    for compression in [DiskCompression::None, DiskCompression::Zstd] {
        let (sim, options, left) = closed(compression);
        let path = path_of(&sim, ".seg");
        let bytes = bytes_of(&sim, &path);
        assert!(bytes.len() > 1000);
        for at in 0..bytes.len() {
            for mask in [0xff, 0x01] {
                let mut bad = bytes.clone();
                bad[at] ^= mask;
                let sim = sim.after(Crash::Kill, &mut fastrand::Rng::with_seed(0));
                sim.put(&path, bad);
                let (got, lost) = drained(&sim, &options, &left, &format!("byte {at}"));
                assert!(lost == 0 || lost == 3, "byte {at}: {lost} lost");
                assert_eq!(got.len() as u64 + lost, 15, "byte {at}");
            }
        }
    }
}

#[test]
fn every_truncation_of_a_segment_is_counted() {
    let (sim, options, left) = closed(DiskCompression::None);
    let path = path_of(&sim, ".seg");
    let bytes = bytes_of(&sim, &path);
    for len in 0..bytes.len() {
        let sim = sim.after(Crash::Kill, &mut fastrand::Rng::with_seed(0));
        sim.put(&path, bytes[..len].to_vec());
        let (got, lost) = drained(&sim, &options, &left, &format!("cut to {len}"));
        assert_eq!(got, left[..got.len()], "cut to {len}");
        assert_eq!(got.len() as u64 + lost, 15, "cut to {len}");
    }
    sim.take(&path);
    let (got, lost) = drained(&sim, &options, &left, "removed");
    assert_eq!((got.len(), lost), (0, 15));
}

#[test]
fn every_flipped_byte_and_truncation_of_the_position_gives_repeats_at_most() {
    let (sim, options, left) = closed(DiskCompression::None);
    let path = path_of(&sim, "/position");
    let bytes = bytes_of(&sim, &path);
    let mut files: Vec<(String, Vec<u8>)> = (0..bytes.len())
        .step_by(if std::env::var("TIDEGATE_SEEDS").is_ok() { 1 } else { 7 })
        .map(|at| {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            (format!("byte {at}"), bad)
        })
        .collect();
    files.extend((0..bytes.len()).step_by(97).map(|len| (format!("cut to {len}"), bytes[..len].to_vec())));
    files.push(("both slots".into(), vec![0x55; bytes.len()]));
    for (what, bad) in files {
        let sim = sim.after(Crash::Kill, &mut fastrand::Rng::with_seed(0));
        sim.put(&path, bad);
        let (got, lost) = drained(&sim, &options, &left, &what);
        assert_eq!(lost, 0, "{what}");
        assert!(left.iter().all(|n| got.contains(n)), "{what}: {got:?}");
    }
}

#[test]
fn any_bytes_in_any_file_are_survived() {
    let (sim, options, _) = closed(DiskCompression::None);
    let paths = [path_of(&sim, ".seg"), path_of(&sim, "/position")];
    let rounds = std::env::var("TIDEGATE_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    for seed in 0..rounds {
        let mut random = fastrand::Rng::with_seed(seed);
        let sim = sim.after(Crash::Kill, &mut random);
        for path in &paths {
            let mut bytes = bytes_of(&sim, path);
            for _ in 0..random.usize(0..6) {
                let at = random.usize(0..bytes.len());
                match random.u32(0..4) {
                    0 => bytes[at] = random.u8(..),
                    1 => bytes.truncate(at + 1),
                    2 => {
                        // A piece copied to somewhere else, headers and all.
                        let from = random.usize(0..bytes.len());
                        let n = random.usize(0..400).min(bytes.len() - from.max(at));
                        bytes.copy_within(from..from + n, at);
                    }
                    _ => bytes.extend((0..random.usize(0..200)).map(|_| random.u8(..))),
                }
            }
            sim.put(path, bytes);
        }
        let Ok(mut rig) = Rig::open_patient(&sim, &options) else { continue };
        rig.abort.cancel();
        let got = rig.drain();
        assert!(got.iter().all(|n| *n < 24), "seed {seed}: {got:?}");
        assert!(got.windows(2).all(|w| w[0] < w[1]), "seed {seed}: {got:?}");
        assert_eq!(rig.counters.snapshot().balance(), 0, "seed {seed}");
    }
}

#[test]
fn a_missing_segment_in_the_middle_is_counted_and_gone_on_behind() {
    let mut rig = Rig::open(&Sim::default(), &options(MIB));
    for n in 0..60 {
        rig.write(n, 1, 10_000);
        rig.commit();
    }
    let sim = rig.close();
    let segments: Vec<_> = folder(&sim).into_iter().filter(|(p, _)| p.to_string_lossy().ends_with(".seg")).collect();
    assert!(segments.len() > 4);
    sim.take(&segments[2].0);
    let mut bad = segments[1].1.clone();
    bad[30_000] ^= 1;
    sim.put(&segments[1].0, bad);
    let mut rig = Rig::open(&sim, &options(MIB));
    let got = rig.drain();
    rig.check();
    assert_eq!(got.len() as u64 + rig.dropped("corrupt"), 60);
    assert!(rig.dropped("corrupt") > 5 && rig.dropped("corrupt") < 20);
    let aside: Vec<_> = folder(&sim).into_iter().filter(|(p, _)| p.to_string_lossy().ends_with(".bad")).collect();
    assert_eq!(aside.len(), 1);
    assert!(aside[0].1.len() > 10_000);
}

#[test]
fn a_later_version_is_refused_and_left_as_it_is() {
    let (sim, options, _) = closed(DiskCompression::None);
    let path = path_of(&sim, ".seg");
    let mut bytes = bytes_of(&sim, &path);
    bytes[8] = 2;
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    sim.put(&path, bytes.clone());
    let error = Rig::open_patient(&sim, &options).err().unwrap();
    assert!(error.to_string().contains("has version 2 of the format"), "{error}");
    assert_eq!(bytes_of(&sim, &path), bytes);
}
