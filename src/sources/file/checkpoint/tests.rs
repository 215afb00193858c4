//! What is saved is there, whatever is damaged, and what is forgotten.
#![allow(clippy::unwrap_used)]
use super::super::identity::Ahead;
use super::*;

fn known(inode: u64, offset: u64) -> Known {
    Known {
        identity: Identity { device: 1, inode, birth: -5 },
        head: Head::of(b"head"),
        at: Position {
            offset,
            mark: 9,
            skipping: offset % 2 == 1,
            sum: Sum([offset, 7]),
            ahead: match offset % 3 {
                0 => Ahead::default(),
                1 => Ahead { given: [offset, offset + 5, offset + 9], skipping: [false, true] },
                _ => Ahead { given: [0; 3], skipping: [true, false] },
            },
        },
        path: Path::new("/var/log/a.log").into(),
        touched: 1_000_000,
        changed: 77 + offset as i64,
        modified: 78,
        size: offset + 3,
        current: true,
        finished: false,
        packed: offset.is_multiple_of(3),
        left: offset.is_multiple_of(5),
        partial: offset.is_multiple_of(7),
    }
}

fn save(store: &mut Store, now: i64) {
    let write = store.next_write(now).unwrap();
    write.perform().unwrap();
    store.written(&write);
}

fn sorted(store: &Store) -> Vec<(u64, Known)> {
    let mut all: Vec<(u64, Known)> = store.iter().map(|(g, k)| (g, k.clone())).collect();
    all.sort_by_key(|(g, _)| *g);
    all
}

#[test]
fn what_was_saved_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let a = store.add(known(1, 10));
    store.add(known(2, 21));
    save(&mut store, 1_000_000);
    assert!(store.next_write(1_000_000).is_none());
    store.update(a, |k| k.at.offset = 30);
    save(&mut store, 1_000_000);
    store.add(known(1, 0));
    save(&mut store, 1_000_000);
    let again = Store::open(dir.path()).unwrap();
    assert_eq!(sorted(&again), sorted(&store));
    assert_eq!(again.find(known(1, 0).identity).unwrap().0, 3);
    assert!(!again.get(a).unwrap().current);
    assert_eq!(again.next_generation, 4);
}

#[test]
fn any_damage_to_the_newest_file_falls_back_to_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let a = store.add(known(1, 10));
    save(&mut store, 0);
    for offset in [20, 30] {
        store.update(a, |k| k.at.offset = offset);
        save(&mut store, 0);
    }
    let newest = dir.path().join("recent.0");
    let good = std::fs::read(&newest).unwrap();
    for i in 0..good.len() {
        let mut bad = good.clone();
        bad[i] ^= 0x41;
        std::fs::write(&newest, &bad).unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.get(a).unwrap().at.offset, 20, "byte {i}");
        std::fs::write(&newest, &good[..i]).unwrap();
        assert_eq!(Store::open(dir.path()).unwrap().get(a).unwrap().at.offset, 20, "cut at {i}");
    }
    std::fs::write(&newest, &good).unwrap();
    assert_eq!(Store::open(dir.path()).unwrap().get(a).unwrap().at.offset, 30);
}

#[test]
fn a_crash_after_any_durable_step_leaves_the_state_before_or_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let a = store.add(known(1, 0));
    for step in 1..200u64 {
        store.update(a, |k| k.at = Position { offset: step, mark: step, ..Position::default() });
        if step % 7 == 0 {
            store.whole = true;
        }
        let write = store.next_write(0).unwrap();
        // Before the rename: half of the new file lies beside the old one.
        std::fs::write(write.path.with_extension("x.tmp"), &write.bytes[..write.bytes.len() / 2]).unwrap();
        let before = Store::open(dir.path()).unwrap();
        assert_eq!(before.get(a).map_or(0, |k| k.at.offset), step - 1);
        write.perform().unwrap();
        let after = Store::open(dir.path()).unwrap();
        assert_eq!(after.get(a).unwrap().at.offset, step);
        if step % 5 == 0 {
            store = after;
        } else {
            store.written(&write);
        }
    }
}

#[test]
fn files_that_are_long_gone_are_forgotten_and_present_ones_never() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let (old, present) = (store.add(known(1, 10)), store.add(known(2, 10)));
    let now = 1_000_000 + FORGET_AFTER + 1;
    store.touch(present, now);
    store.whole = true;
    save(&mut store, now);
    let store = Store::open(dir.path()).unwrap();
    assert!(store.get(old).is_none() && store.find(known(1, 0).identity).is_none());
    assert!(store.get(present).is_some());
}

/// As files come and go for ever, what is known of those that are gone has its bound in number, whatever is written.
#[test]
fn what_is_remembered_of_files_that_are_gone_has_a_bound() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let mut most = 0;
    for inode in 0..45_000 {
        // Each is seen for the last time in the second in which it came.
        let second = 1_000_000 + inode as i64 / 100;
        store.add(Known { touched: second, ..known(inode, 10) });
        if inode % 100 == 0
            && let Some(write) = store.next_write(second)
        {
            store.written(&write);
        }
        most = most.max(store.len());
    }
    // Those of the last minute are not known to be gone.
    let bound = MAX_GONE + 62 * 100;
    assert!(most <= bound + bound / 64 + 100, "{most} of {bound}");
    assert!(most > MAX_GONE && store.by_identity.len() == store.len());
}

/// A rotation every second for hours, in a folder that is there: few are remembered, and those of another filesystem all.
#[test]
fn of_files_that_their_folder_lacks_few_are_remembered_and_those_of_the_last_minutes() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let device = std::fs::metadata(dir.path()).unwrap().dev();
    let mut store = Store::open(&dir.path().join("data")).unwrap();
    let in_a_folder_that_went_too: Arc<Path> = dir.path().join("pod/7/0.log").into();
    let mut elsewhere = Vec::new();
    let mut most = 0;
    for second in 0..10_000 {
        let now = 1_000_000 + second as i64;
        let mut known = Known { touched: now, path: in_a_folder_that_went_too.clone(), ..known(second, 10) };
        known.identity.device = device + u64::from(second % 1000 == 0);
        let generation = store.add(known);
        if second % 1000 == 0 {
            elsewhere.push(generation);
        }
        if second % 20 == 0
            && let Some(write) = store.next_write(now)
        {
            store.written(&write);
        }
        if second > 2 * SOON as u64 {
            most = most.max(store.len());
        }
    }
    // Those of the last minute are not known to be gone; they are counted when so many more are known.
    let bound = MAX_DELETED + elsewhere.len() + GONE_AFTER as usize + COUNT_EVERY + 40;
    assert!(most >= MAX_DELETED && most <= bound, "{most} of {bound}");
    assert!(elsewhere.iter().all(|generation| store.get(*generation).is_some()));
    assert_eq!(store.by_identity.len(), store.len());
}

/// A hundred rotations a second: not even those of the last minutes are all remembered.
#[test]
fn of_very_many_files_that_went_within_minutes_the_last_are_remembered() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let device = std::fs::metadata(dir.path()).unwrap().dev();
    let path: Arc<Path> = dir.path().join("a.log").into();
    let mut store = Store::open(&dir.path().join("data")).unwrap();
    let mut most = 0;
    for inode in 0..30_000 {
        let now = 1_000_000 + inode as i64 / 100;
        let mut known = Known { touched: now, path: path.clone(), ..known(inode, 10) };
        known.identity.device = device;
        store.add(known);
        if inode % 100 == 0
            && let Some(write) = store.next_write(now)
        {
            store.written(&write);
        }
        most = most.max(store.len());
    }
    // Those of the last minute are not known to be gone.
    let bound = MAX_SOON + 62 * 100;
    assert!(most > MAX_SOON && most <= bound + bound / 64 + COUNT_EVERY + 100, "{most} of {bound}");
}

/// After a start nobody knows yet what became of the files that were rotated meanwhile.
#[test]
fn soon_after_a_start_all_that_were_there_before_are_known() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let device = std::fs::metadata(dir.path()).unwrap().dev();
    let path: Arc<Path> = dir.path().join("a.log").into();
    let mut store = Store::open(&dir.path().join("data")).unwrap();
    for inode in 0..5_000 {
        let mut known = Known { path: path.clone(), ..known(inode, 10) };
        known.identity.device = device;
        store.add(known);
    }
    save(&mut store, 1_000_000);
    let mut store = Store::open(&dir.path().join("data")).unwrap();
    for (later, remembered) in [(0, 5_000), (SOON, 5_000), (SOON + 1, MAX_DELETED)] {
        store.whole = true;
        store.changes += 1;
        save(&mut store, 1_100_000 + later);
        assert_eq!(store.len(), remembered, "{later} s after the start");
    }
}

#[test]
fn half_a_million_files_are_read_in_seconds_and_one_change_costs_little() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    for inode in 0..500_000 {
        store.add(known(inode, 10));
    }
    save(&mut store, 1_000_000);
    let start = std::time::Instant::now();
    let mut store = Store::open(dir.path()).unwrap();
    // A build without optimization on a busy machine; a release build takes a quarter of a second.
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    assert_eq!(store.len(), 500_000);
    store.update(7, |k| k.at.offset = 12);
    assert!(store.next_write(1_000_000).unwrap().bytes.len() < 1000);
}
