//! A sink that delivers a batch in several requests, and is stopped in the middle of it.

use super::*;

/// What a sink takes in part comes again without that part, whether it was in memory or on disk, and however often the
/// process ends between.
#[test]
fn a_record_that_was_settled_in_part_goes_on_in_its_middle() {
    for (compression, kill) in
        [(DiskCompression::None, false), (DiskCompression::Zstd, false), (DiskCompression::None, true)]
    {
        let options = DiskOptions { compression, ..options(MIB) };
        let mut rig = Rig::open(&Sim::default(), &options);
        rig.write(0, 100, 50);
        rig.write(100, 50, 50);
        rig.commit();
        let first = rig.read().unwrap();
        rig.settle_rows(&first, &(0..30).collect::<Vec<_>>());
        rig.settle_rows(&first, &(50..60).collect::<Vec<_>>());
        rig.check();
        rig.settle(first, Verdict::Failed);
        let second = rig.read().unwrap();
        rig.settle_rows(&second, &[0, 49]);
        rig.check();
        std::mem::forget(second); // no verdict, as with a kill
        rig.buffer.writer.save_position().unwrap();
        let sim = if kill { rig.kill() } else { rig.close() };

        let mut rig = Rig::open(&sim, &options);
        assert_eq!(rig.counters.snapshot().events_in, 108);
        rig.check();
        let first = rig.read().unwrap();
        assert_eq!(numbers(&first), (30..50).chain(60..100).collect::<Vec<_>>());
        // By their places among those that came: 31, 49, 60 and 99.
        rig.settle_rows(&first, &[1, 19, 20, 59]);
        rig.check();
        rig.settle(first, Verdict::Failed);
        let sim = rig.close();

        let mut rig = Rig::open(&sim, &options);
        rig.check();
        let left: Vec<u64> = [30].into_iter().chain(32..49).chain(61..99).chain(101..149).collect();
        assert_eq!(rig.drain(), left);
        rig.check();
        let sim = rig.close();
        assert_eq!(Rig::open(&sim, &options).drain(), [0u64; 0]);
    }
}

/// Settled before it is written, in part: what is written then is known to be settled in part.
#[test]
fn what_was_settled_of_a_record_before_it_was_written_is_not_delivered_again() {
    let mut rig = Rig::open(&Sim::default(), &options(MIB));
    rig.write(0, 10, 50);
    let batch = rig.read().unwrap();
    rig.settle_rows(&batch, &[3, 4]);
    rig.check();
    // The position is saved when the record has no place yet: another may come to have its number.
    rig.buffer.writer.save_position().unwrap();
    let early = rig.sim.after(Crash::Kill, &mut fastrand::Rng::with_seed(0));
    rig.commit();
    rig.check();
    rig.settle(batch, Verdict::Failed);
    let sim = rig.close();
    assert_eq!(Rig::open(&sim, &options(MIB)).drain(), [0, 1, 2, 5, 6, 7, 8, 9]);
    let mut rig = Rig::open(&early, &options(MIB));
    rig.write(20, 10, 50);
    rig.commit();
    let sim = rig.close();
    assert_eq!(Rig::open(&sim, &options(MIB)).drain(), (20..30).collect::<Vec<_>>());
}

#[test]
fn a_damaged_record_that_was_settled_in_part_costs_the_rest_of_it() {
    let mut rig = Rig::open(&Sim::default(), &options(MIB));
    rig.write(0, 10, 50);
    rig.write(10, 10, 50);
    rig.commit();
    let batch = rig.read().unwrap();
    rig.settle_rows(&batch, &[0, 1, 2, 9]);
    rig.settle(batch, Verdict::Failed);
    let sim = rig.close();
    let path = Path::new("/data/buffer/out/00000000000000000001.seg");
    let mut bytes = sim.files().into_iter().find(|(p, _)| p == path).unwrap().1;
    bytes[200] ^= 1;
    sim.put(path, bytes);
    let mut rig = Rig::open(&sim, &options(MIB));
    assert_eq!(rig.counters.snapshot().events_in, 16);
    assert_eq!(rig.drain(), (10..20).collect::<Vec<_>>());
    assert_eq!(rig.dropped("corrupt"), 6);
    rig.check();
}

/// More than the position file has room for, and a record all of whose parts have ended though its verdict is a failure.
#[test]
fn what_has_no_place_in_the_position_gives_repeats() {
    const EACH: u64 = 10_000;
    let mut rig = Rig::open(&Sim::default(), &options(16 * MIB));
    let every_other: Vec<u32> = (0..EACH as u32).step_by(2).collect();
    for n in 0..9 {
        rig.write(n * EACH, EACH, 0);
    }
    rig.commit();
    let batches: Vec<Batch> = std::iter::from_fn(|| rig.read()).collect();
    assert_eq!(batches.len(), 9);
    for (n, batch) in batches.into_iter().enumerate() {
        let all: Vec<u32> = (0..EACH as u32).collect();
        rig.settle_rows(&batch, if n == 0 { &all } else { &every_other });
        rig.settle(batch, Verdict::Failed);
    }
    rig.check();
    let sim = rig.close();
    sim.take(std::path::Path::new("/data/buffer/out/settled"));
    let mut rig = Rig::open(&sim, &options(16 * MIB));
    rig.check();
    let got = rig.drain();
    // Six of eight fit, with a bit for each event.
    assert_eq!(got.len() as u64, 6 * EACH / 2 + 2 * EACH);
    assert!(got.iter().all(|n| *n >= EACH));
    assert!((EACH..9 * EACH).filter(|n| n % 2 == 1).all(|n| got.binary_search(&n).is_ok()));
    rig.check();
}
