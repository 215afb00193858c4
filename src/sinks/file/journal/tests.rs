//! What was recorded is there, whatever is torn, of another version or another boot.
#![allow(clippy::unwrap_used)]
use super::*;

fn known(path: &str, len: u64) -> Known {
    let path = path.as_bytes().into();
    Known { path, dev: 1, ino: 2, len, created: 3, written: 4, boot: 5, rotated: false }
}

fn lengths(journal: &Journal) -> Vec<(String, u64)> {
    let mut all: Vec<_> =
        journal.files().map(|(_, f)| (String::from_utf8_lossy(&f.path).into_owned(), f.len)).collect();
    all.sort();
    all
}

#[test]
fn what_was_recorded_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path(), "out").unwrap();
    let a = journal.add(known("a", 1)).unwrap();
    let b = journal.add(known("b", 1)).unwrap();
    journal.grew(a, 10, 9).unwrap();
    journal.grew(a, 20, 10).unwrap();
    journal.rotated(b, b"b.1").unwrap();
    journal.add(known("b", 0)).unwrap();
    let gone = journal.add(known("c", 0)).unwrap();
    journal.forget(gone).unwrap();
    let want = [("a".to_owned(), 20), ("b".to_owned(), 0), ("b.1".to_owned(), 1)];
    assert_eq!(lengths(&journal), want);
    let again = Journal::open(dir.path(), "out").unwrap();
    assert_eq!(lengths(&again), want);
    assert!(again.by_path(b"b.1").unwrap().1.rotated);
    assert_eq!(again.by_path(b"a").unwrap().1.boot, again.boot);
    assert_eq!(again.by_path(b"a").unwrap().1.written, 10);
    assert_eq!(lengths(&Journal::open(dir.path(), "other").unwrap()), []);
}

#[test]
fn every_truncation_and_every_flipped_byte_leaves_a_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path(), "out").unwrap();
    let a = journal.add(known("a", 1)).unwrap();
    for len in 2..6 {
        journal.grew(a, len, 0).unwrap();
    }
    let bytes = std::fs::read(dir.path().join("file_sinks/out.journal")).unwrap();
    let len_of = |bytes: &[u8]| read(bytes).files.get(&a).map_or(0, |f| f.len);
    assert_eq!(len_of(&bytes), 5);
    let mut last = 0;
    for cut in 0..bytes.len() {
        let len = len_of(&bytes[..cut]);
        assert!(len >= last && len <= 5, "{cut}");
        last = len;
    }
    for i in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[i] ^= 0x41;
        let Read { files, rest, .. } = read(&damaged);
        assert!(rest > 0, "{i}");
        assert!(files.get(&a).is_none_or(|f| f.len <= 5 && *f.path == *b"a"));
    }
}

#[test]
fn a_journal_that_was_deleted_is_written_anew_with_all_that_was_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path(), "out").unwrap();
    let a = journal.add(known("a", 1)).unwrap();
    journal.keep().unwrap();
    std::fs::remove_dir_all(dir.path().join("file_sinks")).unwrap();
    journal.grew(a, 5, 0).unwrap();
    journal.keep().unwrap();
    journal.grew(a, 6, 0).unwrap();
    assert_eq!(lengths(&Journal::open(dir.path(), "out").unwrap()), [("a".to_owned(), 6)]);
}

#[test]
fn a_journal_of_version_1_is_read_and_one_of_a_later_version_is_refused_and_left() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file_sinks/out.journal");
    std::fs::create_dir_all(dir.path().join("file_sinks")).unwrap();
    // As the program before wrote it.
    let (mut v1, mut record) = (Vec::new(), Vec::new());
    put_boot(boot_id(), &mut v1);
    put_known(3, &known("a", 7), &mut record);
    v1.extend_from_slice(&record);
    put_length(GREW, 3, 9, 4, &mut record);
    v1.extend_from_slice(&record);
    std::fs::write(&path, &v1).unwrap();
    assert_eq!(lengths(&Journal::open(dir.path(), "out").unwrap()), [("a".to_owned(), 9)]);
    let mut later = Vec::new();
    frame(&mut later, |out| {
        out.push(VERSIONED);
        out.extend_from_slice(&(VERSION + 1).to_le_bytes());
    });
    later.extend_from_slice(b"something");
    std::fs::write(&path, &later).unwrap();
    let error = Journal::open(dir.path(), "out").err().unwrap();
    assert!(error.to_string().contains("has version 3 of the format, this program knows 2"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), later);
}

/// What files of sources are called is in memory for the last of them only, and each place is known after a restart.
#[test]
fn files_of_sources_come_and_go_and_those_that_came_last_have_their_places() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path(), "out").unwrap();
    let written = dir.path().join("a");
    std::fs::write(&written, "").unwrap();
    let meta = std::fs::metadata(&written).unwrap();
    let a = Known { dev: meta.dev(), ino: meta.ino(), ..known(written.as_os_str().to_str().unwrap(), 0) };
    let a = journal.add(a).unwrap();
    let mut from = 0;
    for generation in 0..5_000 {
        let mut places = Places::default();
        // One that comes again and again, one that comes after long, and a new one.
        for generation in [10_000, 20_000 + generation % 2_000, generation] {
            places.note(&crate::ack::place::tests::place(generation, generation + 1));
        }
        std::fs::OpenOptions::new().append(true).open(&written).unwrap().write_all(b"one\n").unwrap();
        let stand = Stand { again: true, ends: Some(&places), durable: false };
        journal.announce(a, from, b"one\n", 1, stand).unwrap();
        from += 4;
        assert!(journal.sources.numbers.len() <= MOST_NUMBERS);
    }
    let mut before = journal.places();
    let mut after = Journal::open(dir.path(), "out").unwrap().places();
    for places in [&mut before, &mut after] {
        places.sort_by_key(|place| place.file.generation);
        assert!(places.iter().any(|place| place.file.generation == 4_999));
        assert!(places.iter().any(|place| place.file.generation == 10_000));
    }
    let last = |places: &[Place]| places.iter().filter(|p| p.file.generation > 4_500).cloned().collect::<Vec<_>>();
    assert_eq!(last(&before), last(&after));
}

#[test]
fn places_are_there_after_a_restart_in_this_boot_and_as_far_as_they_are_durable_in_another() {
    let upto = |generation, offset| {
        let mut places = Places::default();
        places.note(&crate::ack::place::tests::place(generation, offset));
        places
    };
    for durable in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let written = dir.path().join("a");
        std::fs::write(&written, "one\ntwo\n").unwrap();
        let meta = std::fs::metadata(&written).unwrap();
        let mut journal = Journal::open(dir.path(), "out").unwrap();
        let path = written.as_os_str().to_str().unwrap();
        let a = journal.add(Known { dev: meta.dev(), ino: meta.ino(), ..known(path, 0) }).unwrap();
        for (n, (from, data)) in [(0, b"one\n"), (4, b"two\n")].into_iter().enumerate() {
            let places = upto(1 + n as u64, 5);
            let stand = Stand { again: true, ends: Some(&places), durable };
            journal.announce(a, from, data, 1, stand).unwrap();
        }
        let mut generations: Vec<u64> =
            Journal::open(dir.path(), "out").unwrap().places().iter().map(|p| p.file.generation).collect();
        generations.sort_unstable();
        assert_eq!(generations, [1, 2]);
        // As if the machine had been started again: what was synced before the last write was announced.
        let sources = read(&std::fs::read(dir.path().join("file_sinks/out.journal")).unwrap()).sources.of_boot(1, 2);
        assert_eq!(
            sources.places.iter().map(|p| p.file.generation).collect::<Vec<_>>(),
            if durable { vec![1] } else { vec![] }
        );
    }
}

#[test]
fn a_journal_that_is_mostly_out_of_date_is_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path(), "out").unwrap();
    let a = journal.add(known("a", 1)).unwrap();
    for len in 0..60_000 {
        journal.grew(a, len, 0).unwrap();
    }
    let size = std::fs::metadata(dir.path().join("file_sinks/out.journal")).unwrap().len();
    assert!(size <= SMALL_JOURNAL_BYTES + 64, "{size}");
    assert_eq!(lengths(&Journal::open(dir.path(), "out").unwrap()), [("a".to_owned(), 59_999)]);
}
