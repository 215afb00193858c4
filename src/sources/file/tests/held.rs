//! What sinks hold of files at a start: where reading goes on, who is spared, and what is not believed.
#![allow(clippy::single_range_in_vec_init, reason = "lists of parts of files, also of one")]

use super::*;
use crate::ack::place::{Island, Places};

/// The places that came, each with all before it: what a sink holds that has so many chunks.
fn held(w: &World, chunks: usize) -> Vec<Place> {
    let mut places = Places::default();
    places.note_all(w.taken.places[..chunks].iter().flatten());
    places.to_vec()
}

/// Up to where the first sink is spared what it has.
fn held_by_first(place: &Place) -> u64 {
    place.held.iter().flat_map(|held| held.iter()).filter(|held| held.sink == 0).map(|held| held.to).max().unwrap_or(0)
}

/// A world whose source has read three chunks of a file, of which nothing is saved or settled.
fn three_chunks() -> World {
    let mut w = World::new("");
    w.keep_acks();
    for text in ["one\ntwo\n", "three\n", "four\nfive\n"] {
        w.append("a.log", text);
        w.read();
    }
    assert_eq!(w.lines(), ["one", "two", "three", "four", "five"]);
    assert_eq!(w.taken.places.iter().flatten().map(|p| p.at.offset).collect::<Vec<_>>(), [8, 14, 24]);
    w
}

#[test]
fn reading_goes_on_behind_what_all_sinks_hold() {
    for (sinks, came) in [
        (vec![3, 3], vec![""; 0]),
        (vec![3], vec![]),
        (vec![2, 1], vec!["three", "four", "five"]),
        (vec![2, 0], vec!["one", "two", "three", "four", "five"]),
        (vec![], vec!["one", "two", "three", "four", "five"]),
    ] {
        let mut w = three_chunks();
        w.kill();
        let all = sinks.iter().enumerate().map(|(n, chunks)| (n, held(&w, *chunks))).collect();
        w.taken.places.clear();
        w.hold(all);
        w.read();
        assert_eq!(w.lines(), came, "{sinks:?}");
        // Who holds more is spared as far as it does.
        let spared: Vec<u64> = w.taken.places.iter().flatten().map(held_by_first).collect();
        let expected: &[u64] = match &sinks[..] {
            [2, 1 | 0] => &[14],
            [] => &[0],
            _ => &[],
        };
        assert_eq!(spared, expected, "{sinks:?}");
        w.append("a.log", "six\n");
        w.read();
        assert_eq!(w.lines(), ["six"]);
        assert!(w.taken.places.last().unwrap().as_ref().unwrap().held.is_none());
    }
}

#[test]
fn a_part_that_a_sink_settled_out_of_turn_is_spared_it() {
    for (proven, part) in [(true, false), (true, true), (false, false), (false, true)] {
        let mut w = three_chunks();
        w.kill();
        let places = held(&w, 1);
        // Of the second chunk it has nothing.
        let third = w.taken.places[2].clone().unwrap();
        let mut island = Island::of(&third).unwrap();
        assert_eq!((island.parts.as_slice(), island.at.offset), (&[14..24][..], 24));
        if !proven {
            island.at.sum[0] ^= 1;
        }
        // Of that, one of two events.
        if part {
            island.parts = vec![19..20];
        }
        w.taken.places.clear();
        w.hold_told(vec![(0, Told { places, islands: vec![island] })]);
        w.read();
        assert_eq!(w.lines(), ["three", "four", "five"]);
        let spared: Vec<_> =
            w.taken.places.iter().flatten().flat_map(|p| p.held.iter().flat_map(|h| h.to_vec())).collect();
        let (from, to) = if part { (19, 20) } else { (14, 24) };
        let expected = crate::ack::place::Held { sink: 0, from, to };
        assert_eq!(spared, if proven { vec![expected] } else { vec![] });
    }
}

/// An event of several lines that was closed because nothing more came, and to which something would be joined now.
#[test]
fn lines_behind_what_a_sink_holds_are_given_to_it_whatever_they_would_be_joined_to() {
    let mut w = World::new("multiline: indent");
    w.keep_acks();
    w.append("a.log", "one\n  more\n");
    w.read();
    w.pass(3);
    assert_eq!(w.lines(), ["one\n  more"]);
    w.kill();
    let quick = held(&w, 1);
    w.taken.places.clear();
    w.append("a.log", "  and more\ntwo\n");
    w.hold(vec![(0, quick), (1, Vec::new())]);
    w.read();
    w.pass(3);
    assert_eq!(w.lines(), ["one\n  more", "  and more", "two"]);
    let spared: Vec<_> = w.taken.places.iter().flatten().flat_map(|p| p.held.iter().flat_map(|h| h.to_vec())).collect();
    assert!(
        spared.iter().all(|held| (held.sink, held.from, held.to) == (0, 0, 11)) && !spared.is_empty(),
        "{spared:?}"
    );
}

#[test]
fn what_was_saved_counts_for_a_sink_that_says_nothing() {
    let mut w = three_chunks();
    let sent: Vec<_> = w.taken.acks.drain(..2).collect();
    sent.into_iter().for_each(|ack| ack.settle(Verdict::Delivered));
    w.read();
    w.kill();
    let quick = held(&w, 3);
    w.hold(vec![(0, quick), (1, Vec::new())]);
    w.read();
    assert_eq!(w.lines(), ["four", "five"]);
}

#[test]
fn contents_that_are_not_proven_are_read_whatever_sinks_say() {
    for text in ["one\ntwo\nthree\nfoxr\nfive\nmore\n", "xne\ntwo\nthree\nfour\nfive\nmore\n", "one\n"] {
        for sinks in [[3, 3], [3, 0], [1, 0]] {
            let mut w = three_chunks();
            let all = vec![(0, held(&w, sinks[0])), (1, held(&w, sinks[1]))];
            w.kill();
            // The same file by device, inode and birth.
            std::fs::write(w.path("a.log"), text).unwrap();
            w.taken.places.clear();
            w.hold(all);
            w.read();
            let came = w.lines();
            let whole: Vec<&str> = text.lines().collect();
            let begins_alike = sinks == [1, 0] && text.starts_with("one\ntwo\n");
            assert_eq!(came, whole, "{text:?} {sinks:?}");
            let spared = w.taken.places.iter().flatten().map(held_by_first).max();
            assert_eq!(spared, Some(if begins_alike { 8 } else { 0 }), "{text:?} {sinks:?}");
        }
    }
}

#[test]
fn after_a_reset_nothing_is_believed() {
    for all in [true, false] {
        let mut w = three_chunks();
        w.pass(3);
        w.kill();
        let places = held(&w, 3);
        let dir = w.dir.path().join("data/src");
        let files = if all { Vec::new() } else { vec![w.path("a.log")] };
        crate::sources::file::forget_places(&dir, &files).unwrap();
        w.hold(vec![(0, places)]);
        w.read();
        assert_eq!(w.lines().len(), 5, "{all}");
    }
}

#[test]
fn another_source_and_another_folder_of_checkpoints_say_nothing() {
    let mut w = three_chunks();
    w.kill();
    let of_another = |change: fn(&mut crate::ack::place::FileOf)| {
        let mut places = held(&w, 3);
        for place in &mut places {
            change(Arc::make_mut(&mut place.file));
        }
        places
    };
    let other_source = of_another(|file| file.source = "other".into());
    let other_keys = of_another(|file| file.keys[0] ^= 1);
    for places in [other_source, other_keys] {
        w.hold(vec![(0, places)]);
        w.read();
        assert_eq!(w.lines().len(), 5);
        w.kill();
    }
}

#[test]
fn generations_that_were_never_saved_are_known_as_sinks_tell_them() {
    let mut w = World::new("");
    w.keep_acks();
    w.settle();
    w.append("a.log", "one\n");
    w.settle();
    w.pass(2);
    // Cut off and written anew: another generation of the same file.
    std::fs::write(w.path("a.log"), "").unwrap();
    w.settle();
    w.append("a.log", "two\n");
    w.read();
    w.append("gone.log", "three\n");
    w.read();
    assert_eq!(w.lines(), ["one", "two", "three"]);
    let places = held(&w, w.taken.places.len());
    assert_eq!(places.len(), 3);
    w.kill();
    // As if nothing had ever been saved but the keys.
    let dir = w.dir.path().join("data/src");
    for entry in std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()) {
        if !entry.ends_with("files.0") {
            std::fs::remove_file(entry).unwrap();
        }
    }
    w.remove("gone.log");
    w.hold(vec![(0, places)]);
    w.append("a.log", "four\n");
    w.append("new.log", "five\n");
    w.pass(8);
    let mut lines = w.lines();
    lines.sort();
    assert_eq!(lines, ["five", "four"]);
    assert_eq!(w.errors("rest_not_found"), 0);
}

#[test]
fn keys_are_on_disk_before_anything_is_told_and_a_first_start_stays_one() {
    let w = World::new("start_at: end");
    let store = w.tailer.as_ref().map(|t| (t.files.store.keys_kept, t.files.store.hasher.keys)).unwrap();
    assert!(store.0);
    let mut again = World { tailer: None, ..w };
    again.append("a.log", "of before\n");
    again.start();
    assert_eq!(again.tailer.as_ref().map(|t| t.files.store.hasher.keys), Some(store.1));
    again.read();
    assert_eq!(again.lines(), [""; 0]);
}

/// A line of a container's log.
fn cri(stream: &str, tag: &str, text: &str) -> String {
    format!("2025-01-01T00:00:00Z {stream} {tag} {text}\n")
}

/// The texts of a container's messages.
fn texts(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| line.splitn(4, ' ').nth(3).unwrap().to_owned()).collect()
}

/// A part that waited for long enough was given as it is to one sink and not yet to the other; its rest comes after a kill.
#[test]
fn a_part_that_was_given_alone_is_given_once_to_each_sink_and_so_is_its_rest() {
    for (first, second) in [("stdout", "stderr"), ("stderr", "stdout")] {
        // With a line of the other stream behind it, or a message of it that is still open.
        for between in ["", "F", "P"] {
            let mut w = World::new("decode: cri\npartial_timeout: 5s");
            w.keep_acks();
            w.append("a.log", &cri(first, "P", "half"));
            if !between.is_empty() {
                w.append("a.log", &cri(second, "F", "between"));
            }
            w.pass(4);
            if between == "P" {
                w.append("a.log", &cri(second, "P", "open"));
            }
            w.pass(3);
            let came = texts(&w.lines());
            assert_eq!(came.last().map(String::as_str), Some("half"), "{came:?}");
            w.kill();
            let quick = held(&w, w.taken.places.len());
            w.taken.places.clear();
            w.append("a.log", &[cri(first, "F", "rest"), cri(second, "F", "other")].concat());
            w.hold(vec![(0, quick), (1, Vec::new())]);
            w.pass(12);
            let all = w.taken.lines.clone();
            let spared = w.taken.places.iter().flatten().map(held_by_first).max().unwrap();
            let given = |least: u64| -> Vec<String> {
                let mine = all.iter().filter(|line| line.offset >= least).map(|line| line.text.clone());
                let mut mine = texts(&mine.collect::<Vec<_>>());
                mine.sort();
                mine
            };
            let other = if between == "P" { "openother" } else { "other" };
            let sorted = |mut all: Vec<&'static str>| {
                all.sort_unstable();
                all
            };
            let quick = sorted(vec!["rest", other]);
            assert_eq!(given(spared), quick, "{first} {between}: what the quick sink is given");
            let mut slow = vec!["half", "rest", other];
            if !between.is_empty() {
                slow.push("between");
            }
            assert_eq!(given(0), sorted(slow), "{first} {between}: what the other sink is given");
        }
    }
}

/// Parts of two streams, with pauses in which what waits is given; two sinks that have come differently far; a kill; more of the same.
fn containers_of_two_sinks(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let multiline = if random.bool() { "\nmultiline: indent" } else { "" };
    let mut w = World::new(&format!("decode: cri\npartial_timeout: 5s{multiline}"));
    w.keep_acks();
    let mut words = 0;
    let mut write = |w: &mut World, random: &mut fastrand::Rng| {
        for _ in 0..random.usize(1..12) {
            let stream = ["stdout", "stderr"][random.usize(..2)];
            let (tag, blank) = (["P", "F"][random.usize(..2)], ["", " "][random.usize(..2)]);
            w.append("a.log", &cri(stream, tag, &format!("{blank}<{words}>")));
            words += 1;
            match random.u8(..6) {
                0 => w.pass(6),
                1..4 => w.pass(1),
                _ => {}
            }
        }
        words
    };
    write(&mut w, &mut random);
    w.read();
    let chunks = w.taken.places.len();
    let (one, two) = (random.usize(..=chunks), random.usize(..=chunks));
    let before = std::mem::take(&mut w.taken.unsettled);
    let lines = std::mem::take(&mut w.taken.lines);
    // What a sink had of before, by its number of chunks.
    let had = |n: usize| -> Vec<String> {
        before[..n].iter().flat_map(|range| lines[range.clone()].iter().map(|line| line.text.clone())).collect()
    };
    let all = vec![(0, held(&w, one)), (1, held(&w, two))];
    w.kill();
    w.taken.places.clear();
    w.hold(all);
    let words = write(&mut w, &mut random);
    w.pass(15);
    for (sink, chunks) in [(0, one), (1, two)] {
        let mut came = had(chunks);
        for (range, place) in w.taken.unsettled.iter().zip(&w.taken.places) {
            let place = place.as_ref().unwrap();
            let mine = w.taken.lines[range.clone()].iter().filter(|line| !place.is_held_by(sink, line.offset));
            came.extend(mine.map(|line| line.text.clone()));
        }
        let lost: Vec<u64> = (0..words).filter(|n| !came.iter().any(|text| text.contains(&format!("<{n}>")))).collect();
        assert!(lost.is_empty(), "seed {seed}, sink {sink}: {lost:?} of {words} lost in {came:#?}");
    }
}

#[test]
fn no_part_is_lost_to_any_sink_whatever_waited_and_however_far_each_has_come() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse().ok());
    if let Some(seed) = number("TIDEGATE_SEED") {
        return containers_of_two_sinks(seed);
    }
    for seed in 0..number("TIDEGATE_SEEDS").unwrap_or(150) {
        let result = std::panic::catch_unwind(|| containers_of_two_sinks(seed));
        assert!(result.is_ok(), "seed {seed} fails: TIDEGATE_SEED={seed} runs it alone");
    }
}
