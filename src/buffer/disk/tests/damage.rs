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
    // All that is not 0, and some of what is.
    let places = || (0..bytes.len()).filter(|at| bytes[*at] != 0 || at % 61 == 0);
    let mut files: Vec<(String, Vec<u8>)> = places()
        .map(|at| {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            (format!("byte {at}"), bad)
        })
        .collect();
    files.extend(places().map(|len| (format!("cut to {len}"), bytes[..len].to_vec())));
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
    bytes[8] = 4;
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    sim.put(&path, bytes.clone());
    let error = Rig::open_patient(&sim, &options).err().unwrap();
    assert!(error.to_string().contains("has version 4 of the format"), "{error}");
    assert_eq!(bytes_of(&sim, &path), bytes);
}

/// Puts right checksums on whatever looks like a header of a segment or a record.
fn forge(bytes: &mut [u8]) {
    let sum_of = |bytes: &[u8]| crc32c::crc32c(bytes).to_le_bytes();
    if bytes.len() >= 64 {
        let sum = sum_of(&bytes[..60]);
        bytes[60..64].copy_from_slice(&sum);
    }
    let mut records: Vec<usize> = memchr::memmem::find_iter(bytes, b"TgRc").collect();
    records.retain(|at| at + 68 <= bytes.len());
    for at in records {
        let len = u32::from_le_bytes(bytes[at + 56..at + 60].try_into().unwrap()) as usize;
        if let Some(body) = bytes.get(at + 68..).and_then(|rest| rest.get(..len)) {
            let sum = sum_of(body);
            bytes[at + 60..at + 64].copy_from_slice(&sum);
        }
        let sum = sum_of(&bytes[at..at + 64]);
        bytes[at + 64..at + 68].copy_from_slice(&sum);
    }
}

fn forge_position(bytes: &mut [u8]) {
    for (at, len) in [(0, 8192), (8192, 8192), (16384, 48), (16384 + 512, 48)] {
        let whole = &mut bytes[at..at + len];
        let sum = crc32c::crc32c(&whole[..len - 4]).to_le_bytes();
        whole[len - 4..].copy_from_slice(&sum);
    }
}

/// Writes numbers that nobody would write over fields, or bytes over bytes.
fn corrupt(bytes: &mut Vec<u8>, fields: &[usize], random: &mut fastrand::Rng) {
    for _ in 0..random.usize(1..5) {
        let at = if random.bool() { fields[random.usize(..fields.len())] } else { random.usize(..bytes.len()) };
        let width = [1, 4, 8][random.usize(..3)];
        let value = match random.u8(..5) {
            0 => 0,
            1 => u64::MAX,
            2 => random.u64(..40),
            3 => 1 << random.u32(..64),
            _ => random.u64(..),
        };
        if let Some(to) = bytes.get_mut(at..at + width) {
            to.copy_from_slice(&value.to_le_bytes()[..width]);
        }
    }
    if random.u8(..6) == 0 {
        let len = random.usize(64..=bytes.len().max(65));
        bytes.resize(len, 0x54);
    }
}

/// Delivers everything, whatever it is.
fn drain_any(rig: &mut Rig) {
    while let Some(batch) = rig.read() {
        for event in batch.iter() {
            event.write_json(&mut Vec::new());
        }
        rig.settle(batch, Verdict::Delivered);
    }
}

/// What has the right checksums may still say anything: nothing panics, nothing goes on for ever.
#[test]
fn forged_segments_and_positions_are_survived() {
    let closed = [closed(DiskCompression::None), closed(DiskCompression::Zstd)];
    let rounds = std::env::var("TIDEGATE_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(800);
    let only = std::env::var("TIDEGATE_SEED").ok().and_then(|n| n.parse::<u64>().ok());
    for seed in only.map_or(0..rounds, |n| n..n + 1) {
        let result = std::panic::catch_unwind(|| {
            let mut random = fastrand::Rng::with_seed(seed);
            let (sim, options, _) = &closed[random.usize(..2)];
            let sim = sim.after(Crash::Kill, &mut random);
            let (segment, position) = (path_of(&sim, ".seg"), path_of(&sim, "/position"));
            if random.u8(..4) > 0 {
                let mut bytes = bytes_of(&sim, &segment);
                let records = memchr::memmem::find_iter(&bytes, b"TgRc");
                let mut fields: Vec<usize> = vec![16, 24, 32, 40];
                fields.extend(records.flat_map(|at| (at + 8..at + 64).step_by(4)));
                corrupt(&mut bytes, &fields, &mut random);
                forge(&mut bytes);
                sim.put(&segment, bytes);
            }
            if random.u8(..3) > 0 {
                let mut bytes = bytes_of(&sim, &position);
                let slots = [0, 8192, 16384, 16384 + 512];
                let fields: Vec<usize> = slots.iter().flat_map(|at| (at + 8..at + 160).step_by(4)).collect();
                bytes.resize(20480, 0);
                corrupt(&mut bytes, &fields, &mut random);
                bytes.resize(20480, 0);
                forge_position(&mut bytes);
                sim.put(&position, bytes);
            }
            let Ok(mut rig) = Rig::open_patient(&sim, options) else { return };
            rig.abort.cancel();
            drain_any(&mut rig);
            rig.write(100, 3, 20);
            rig.commit();
            drain_any(&mut rig);
            let _saved = rig.buffer.writer.reclaim().and_then(|()| rig.buffer.writer.save_position());
        });
        assert!(result.is_ok(), "seed {seed} fails: TIDEGATE_SEED={seed} runs it alone");
    }
}

#[test]
fn the_committed_buffer_of_version_1_is_read() {
    read_fixture("v1", 13);
}

/// Written once with `TIDEGATE_WRITE_FIXTURE=1` by the last program of its version and never again: later ones read it too.
#[test]
fn the_committed_buffer_of_version_3_is_read() {
    if std::env::var_os("TIDEGATE_WRITE_FIXTURE").is_some() {
        write_fixture(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/disk-buffer/v3"));
    }
    read_fixture("v3", 12);
}

#[test]
fn the_committed_buffer_of_version_2_is_read() {
    read_fixture("v2", 12);
}

fn read_fixture(version: &str, events: u64) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/disk-buffer").join(version);
    let sim = Sim::default();
    for name in ["00000000000000000001.seg", "00000000000000000002.seg", "position"] {
        sim.put(&Path::new("/data/buffer/out").join(name), std::fs::read(folder.join(name)).unwrap());
    }
    let mut rig = Rig::open(&sim, &options(MIB));
    assert_eq!(rig.counters.snapshot().events_in, events);
    let mut all = Vec::new();
    while let Some(batch) = rig.read() {
        let origin = &batch.origin;
        assert_eq!((&*origin.source, batch.received_at), ("s", 1_000));
        for event in batch.iter() {
            let mut json = Vec::new();
            event.write_json(&mut json);
            all.push(String::from_utf8(json).unwrap());
        }
        rig.settle(batch, Verdict::Delivered);
    }
    rig.check();
    let expected = std::fs::read_to_string(folder.join("expected.ndjson")).unwrap();
    assert_eq!(all, expected.lines().collect::<Vec<_>>());
    // It goes on, in this version, and all of it is found again.
    rig.write(100, 3, 20);
    let sim = rig.close();
    let mut rig = Rig::open(&sim, &options(MIB));
    assert_eq!(rig.drain(), [100, 101, 102]);
    rig.check();
}

/// Two segments, the second compressed; eight records, three of them settled, and one in part.
fn write_fixture(folder: &Path) {
    let mut sim = Sim::default();
    for (run, compression) in [DiskCompression::None, DiskCompression::Zstd].into_iter().enumerate() {
        let mut rig = Rig::open(&sim, &DiskOptions { compression, ..options(MIB) });
        for n in 0..4 {
            let first = (run as u64 * 4 + n) * 3;
            let count = if first == 9 { 1 } else { 3 };
            rig.counters.update(|t| {
                t.events_in += count;
                t.held += count;
            });
            let mut batch = batch(first, count, 20, Ack::none());
            let mut event = batch.event_mut(0);
            event.push(Sym::from_config("float"), Value::F64(1.0 / 3.0));
            event.push(Sym::from_config("nothing"), Value::Null);
            event.push(Sym::from_config("time"), Value::Timestamp(1_700_000_000_123_456_789));
            event.push(Sym::from_config("text"), Value::from("\u{1F600} \"quoted\"\n"));
            rig.buffer.writer.accept(batch);
            rig.commit();
        }
        let batches: Vec<Batch> = std::iter::from_fn(|| rig.read()).collect();
        for batch in batches {
            let delivered = [0, 6, 15].contains(&numbers(&batch)[0]);
            if numbers(&batch)[0] == 12 {
                rig.settle_rows(&batch, &[1]);
            }
            rig.settle(batch, if delivered { Verdict::Delivered } else { Verdict::Failed });
        }
        sim = rig.close();
    }
    std::fs::create_dir_all(folder).unwrap();
    for (path, bytes) in sim.files() {
        std::fs::write(folder.join(path.file_name().unwrap()), bytes).unwrap();
    }
    let mut rig = Rig::open(&sim, &options(MIB));
    let mut expected = Vec::new();
    while let Some(batch) = rig.read() {
        for event in batch.iter() {
            event.write_json(&mut expected);
            expected.push(b'\n');
        }
        rig.settle(batch, Verdict::Delivered);
    }
    std::fs::write(folder.join("expected.ndjson"), expected).unwrap();
}
