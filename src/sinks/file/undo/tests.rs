//! A step on real files, ended at every byte of its writes.

#![allow(clippy::unwrap_used)]
use super::super::journal::{Journal, Stand};
use super::*;
use crate::ack::place::tests::place;
use std::io::Write;
use std::path::PathBuf;

struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn append(&self, name: &str, text: &str) {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn journal(&self) -> Journal {
        Journal::open(self.dir.path(), "out").unwrap()
    }

    fn add(&self, journal: &mut Journal, name: &str) -> FileId {
        let path = self.path(name);
        let meta = std::fs::metadata(&path).unwrap();
        let known = Known {
            path: path.as_os_str().as_bytes().into(),
            dev: meta.dev(),
            ino: meta.ino(),
            len: meta.len(),
            created: 1,
            written: 1,
            boot: journal.boot,
            rotated: false,
        };
        journal.add(known).unwrap()
    }

    fn offset(&self) -> Option<u64> {
        self.journal().places().first().map(|place| place.at.offset)
    }
}

fn stand(again: bool, ends: Option<&Places>) -> Stand<'_> {
    Stand { again, ends, durable: false }
}

fn upto(offset: u64) -> Places {
    let mut places = Places::default();
    places.note(&place(1, offset));
    places
}

/// Two files have a step behind them that is done; the next one writes to both and is ended after `first` bytes of the first write
/// and `second` of the second.
fn ended_after(first: usize, second: Option<usize>, again: bool) -> World {
    let world = World { dir: tempfile::tempdir().unwrap() };
    world.append("a", "before\n");
    world.append("b", "before\n");
    let mut journal = world.journal();
    let (a, b) = (world.add(&mut journal, "a"), world.add(&mut journal, "b"));
    journal.announce(a, 7, b"done\n", 2, stand(again, Some(&upto(10)))).unwrap();
    world.append("a", "done\n");
    journal.announce(a, 12, b"first one\nfirst two\n", 2, stand(again, None)).unwrap();
    world.append("a", &"first one\nfirst two\n"[..first]);
    if let Some(second) = second {
        journal.announce(b, 7, b"second\n", 2, stand(again, Some(&upto(20)))).unwrap();
        world.append("b", &"second\n"[..second]);
    }
    world
}

#[test]
fn a_step_that_was_interrupted_is_undone_wherever_that_was_and_one_that_was_not_counts() {
    for first in 0..=20 {
        let world = ended_after(first, None, true);
        assert_eq!(world.offset(), Some(10), "{first}");
        // Of one line and a bit it cannot be told whether it is not somebody else's: it stays, and comes twice.
        let whole_lines = first == 10;
        let left = if whole_lines { "before\ndone\nfirst one\n" } else { "before\ndone\n" };
        assert_eq!(world.read("a"), left, "{first}");
    }
    for second in 0..7 {
        let world = ended_after(20, Some(second), true);
        assert_eq!(world.offset(), Some(10), "{second}");
        assert_eq!((&*world.read("a"), &*world.read("b")), ("before\ndone\n", "before\n"), "{second}");
    }
    let world = ended_after(20, Some(7), true);
    assert_eq!(world.offset(), Some(20));
    assert_eq!((&*world.read("a"), &*world.read("b")), ("before\ndone\nfirst one\nfirst two\n", "before\nsecond\n"));
    // And again, from the journal that was written anew.
    assert_eq!(world.offset(), Some(20));
}

#[test]
fn what_does_not_come_again_is_not_undone() {
    let world = ended_after(20, Some(3), false);
    assert_eq!(world.offset(), Some(10));
    assert_eq!((&*world.read("a"), &*world.read("b")), ("before\ndone\nfirst one\nfirst two\n", "before\nsec"));
}

#[test]
fn what_somebody_else_wrote_is_never_cut_off() {
    let world = ended_after(20, Some(7), true);
    world.append("b", "of another\n");
    assert_eq!((world.offset(), &*world.read("b")), (Some(20), "before\nsecond\nof another\n"));
    let world = ended_after(20, Some(3), true);
    world.append("b", "of another\n");
    assert_eq!((world.offset(), &*world.read("b")), (Some(10), "before\nsecof another\n"));
    let world = ended_after(20, Some(0), true);
    world.append("b", "of\n");
    assert_eq!((world.offset(), &*world.read("b")), (Some(10), "before\nof\n"));
}

#[test]
fn where_the_file_of_the_last_write_was_cut_or_removed_the_others_keep_what_may_have_been_acknowledged() {
    for remove in [true, false] {
        let world = ended_after(20, Some(7), true);
        if remove {
            std::fs::remove_file(world.path("b")).unwrap();
        } else {
            std::fs::write(world.path("b"), "").unwrap();
        }
        assert_eq!(world.offset(), Some(10));
        assert_eq!(world.read("a"), "before\ndone\nfirst one\nfirst two\n");
    }
}

#[test]
fn a_write_that_failed_and_went_on_is_a_part_of_its_step() {
    for goes_on in [false, true] {
        let world = World { dir: tempfile::tempdir().unwrap() };
        world.append("a", "");
        let mut journal = world.journal();
        let a = world.add(&mut journal, "a");
        journal.announce(a, 0, b"one\ntwo\n", 2, stand(true, Some(&upto(10)))).unwrap();
        world.append("a", "one\n");
        journal.failed(a, 4, 2);
        if goes_on {
            journal.announce(a, 4, b"two\n", 2, stand(true, Some(&upto(10)))).unwrap();
            world.append("a", "two\n");
        }
        drop(journal);
        assert_eq!(world.offset(), goes_on.then_some(10));
        assert_eq!(world.read("a"), if goes_on { "one\ntwo\n" } else { "" });
    }
}

#[test]
fn a_step_ends_without_a_write_too() {
    let world = ended_after(20, None, true);
    let mut journal = world.journal();
    drop(std::mem::replace(&mut journal, world.journal()));
    assert_eq!(world.read("a"), "before\ndone\n");
    let (a, _) = journal.by_path(world.path("a").as_os_str().as_bytes()).unwrap();
    journal.announce(a, 12, b"x\n", 2, stand(true, None)).unwrap();
    world.append("a", "x\n");
    assert!(journal.is_in_step());
    journal.end_step(&upto(30)).unwrap();
    drop(journal);
    assert_eq!((world.offset(), &*world.read("a")), (Some(30), "before\ndone\nx\n"));
}
