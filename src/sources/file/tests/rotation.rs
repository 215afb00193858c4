//! Generations under names that match no pattern, copies, and compressed ones.

use super::super::identity::HEAD_BYTES;
use super::*;
use flate2::Compression;
use flate2::write::GzEncoder;

fn gz(w: &World, name: &str) {
    let text = std::fs::read(w.path(name)).unwrap();
    let mut to = GzEncoder::new(std::fs::File::create(w.path(&format!("{name}.gz"))).unwrap(), Compression::fast());
    to.write_all(&text).unwrap();
    to.finish().unwrap();
    w.remove(name);
}

#[test]
fn a_file_rotated_while_the_agent_was_down_is_read_to_its_end_first() {
    let mut w = World::new("");
    w.append("a.log", "1\n2\n");
    w.read();
    w.stop();
    w.append("a.log", "3\n");
    w.rename("a.log", "a.log.1");
    w.append("a.log", "4\n");
    w.start();
    w.settle();
    assert_eq!(w.lines(), ["1", "2", "3", "4"]);
    w.restart();
    w.read();
    assert_eq!(w.lines(), [""; 0]);
}

#[test]
fn several_generations_that_came_and_went_while_the_agent_was_down_are_read_in_order() {
    let mut w = World::new("");
    w.append("a.log", "1\n");
    w.read();
    w.stop();
    w.append("a.log", "2\n");
    for n in 3..6 {
        for i in (1..n).rev() {
            if w.path(&format!("a.log.{i}")).exists() {
                w.rename(&format!("a.log.{i}"), &format!("a.log.{}", i + 1));
            }
        }
        w.rename("a.log", "a.log.1");
        tick();
        w.append("a.log", &format!("{n}\n"));
    }
    w.start();
    w.settle();
    assert_eq!(w.lines(), ["1", "2", "3", "4", "5"]);
    w.restart();
    w.pass(60);
    w.restart();
    w.read();
    assert_eq!(w.lines(), [""; 0]);
}

#[test]
fn generations_that_pass_between_two_looks_are_read_in_order() {
    let mut w = World::new("");
    w.append("a.log", "1\n");
    w.read();
    for n in 2..6 {
        for i in (1..n).rev() {
            if w.path(&format!("a.log.{i}")).exists() {
                w.rename(&format!("a.log.{i}"), &format!("a.log.{}", i + 1));
            }
        }
        w.rename("a.log", "a.log.1");
        tick();
        w.append("a.log", &format!("{n}\n"));
    }
    w.read();
    assert_eq!(w.lines(), ["1", "2", "3", "4", "5"]);
}

#[test]
fn rotated_files_of_before_the_first_start_are_not_read() {
    let mut w = World::new("");
    w.append("a.log.1", "old\n");
    // Files with the same time of birth, of a clock of some milliseconds, may be generations of one another.
    tick();
    w.append("a.log", "1\n");
    w.read();
    w.rename("a.log.1", "a.log.2");
    w.rename("a.log", "a.log.1");
    w.append("a.log", "2\n");
    w.read();
    w.restart();
    w.read();
    assert_eq!(w.lines(), ["1", "2"]);
}

#[test]
fn what_was_written_before_a_copytruncate_and_not_read_is_taken_from_the_copy() {
    let mut w = World::new("");
    w.append("a.log", "1\n2\nbeg");
    w.read();
    w.append("a.log", "un\n3\n");
    tick();
    std::fs::copy(w.path("a.log"), w.path("a.log.1")).unwrap();
    std::fs::write(w.path("a.log"), "new\n").unwrap();
    w.read();
    assert_eq!(w.lines(), ["1", "2", "begun", "3", "new"]);
    w.stop();
    w.append("a.log", "4\n");
    w.rename("a.log.1", "a.log.2");
    tick();
    std::fs::copy(w.path("a.log"), w.path("a.log.1")).unwrap();
    std::fs::write(w.path("a.log"), "again\n").unwrap();
    w.start();
    w.read();
    w.restart();
    w.read();
    assert_eq!(w.lines(), ["4", "again"]);
}

#[test]
fn a_copy_that_matches_the_glob_is_not_read_twice() {
    for down in [false, true] {
        let mut w = World::reading("['a.log*']", "");
        w.append("a.log", "1\n2\n");
        w.read();
        if down {
            w.stop();
        }
        w.append("a.log", "3\n");
        tick();
        std::fs::copy(w.path("a.log"), w.path("a.log.1")).unwrap();
        if !down {
            w.pass(1);
        }
        std::fs::write(w.path("a.log"), "new\n").unwrap();
        if down {
            w.start();
        }
        w.pass(60);
        assert_eq!(w.lines(), ["1", "2", "3", "new"], "down: {down}");
    }
}

#[test]
fn a_copy_that_stays_one_is_a_file_of_its_own() {
    let mut w = World::reading("['a.log*']", "");
    w.append("a.log", "1\n");
    w.read();
    std::fs::copy(w.path("a.log"), w.path("a.log.bak")).unwrap();
    w.read();
    assert_eq!(w.lines(), ["1"]);
    w.pass(20);
    assert_eq!(w.lines(), ["1"]);
}

#[test]
fn a_compressed_generation_gives_only_what_was_not_read_before() {
    let mut w = World::reading("['a.log*']", "");
    w.append("a.log", "1\n2\n");
    w.read();
    w.stop();
    w.append("a.log", "3\n");
    w.rename("a.log", "a.log.1");
    gz(&w, "a.log.1");
    w.append("a.log", "4\n");
    w.start();
    w.read();
    let mut lines = w.lines();
    lines.sort();
    assert_eq!(lines, ["1", "2", "3", "4"]);
    w.rename("a.log.1.gz", "a.log.2.gz");
    w.rename("a.log", "a.log.1");
    w.append("a.log", "5\n");
    w.read();
    gz(&w, "a.log.1");
    w.pass(60);
    w.restart();
    w.pass(60);
    assert_eq!(w.lines(), ["5"]);
}

#[test]
fn a_rest_that_was_compressed_away_from_the_glob_while_the_agent_was_down_is_read() {
    let mut w = World::new("");
    w.append("a.log", "1\n2\n");
    w.read();
    w.stop();
    w.append("a.log", "3\n");
    w.rename("a.log", "a.log.1");
    gz(&w, "a.log.1");
    w.append("a.log", "4\n");
    w.start();
    w.read();
    assert_eq!(w.lines(), ["1", "2", "3", "4"]);
    w.restart();
    w.read();
    assert_eq!(w.lines(), [""; 0]);
}

#[test]
fn compressed_files_not_known_are_read_once() {
    let mut w = World::reading("['*.gz', '*.zst']", "");
    let text: String = (0..50_000).map(|n| format!("line {n}\n")).collect();
    std::fs::write(w.path("a"), &text).unwrap();
    gz(&w, "a");
    std::fs::write(w.path("b.zst"), zstd::encode_all(text.as_bytes(), 1).unwrap()).unwrap();
    std::fs::write(w.path("c.gz"), "not compressed\n").unwrap();
    w.read();
    let lines = w.lines();
    assert_eq!(lines.len(), 50_001, "the two have the same contents, of which one was read by then");
    w.restart();
    w.read();
    assert_eq!(w.lines(), [""; 0]);
    assert_eq!(w.tailer.as_ref().unwrap().files.handles.open(), 1);
}

#[test]
fn a_restart_within_a_compressed_file_goes_on_where_it_was() {
    let mut w = World::reading("['*.gz']", "");
    let text: String = (0..300_000).map(|n| format!("line {n} {}\n", "and so on ".repeat(8))).collect();
    std::fs::write(w.path("a"), &text).unwrap();
    gz(&w, "a");
    let mut lines = Vec::new();
    let mut starts = 0;
    while lines.len() < 300_000 && starts < 100 {
        w.turn();
        lines.extend(w.lines());
        w.restart();
        starts += 1;
    }
    assert!(starts > 1);
    assert!(lines.join("\n") + "\n" == text, "{} lines", lines.len());
}

#[test]
fn a_compressed_file_still_being_written_is_read_when_it_is_whole() {
    let mut w = World::reading("['*.gz']", "");
    let text: String = (0..100_000).map(|n| format!("line {}\n", n * 7919)).collect();
    std::fs::write(w.path("a"), &text).unwrap();
    gz(&w, "a");
    let bytes = std::fs::read(w.path("a.gz")).unwrap();
    w.remove("a.gz");
    for end in [1, 5, 100, bytes.len() / 2, bytes.len() - 1, bytes.len()] {
        let mut file = OpenOptions::new().create(true).append(true).open(w.path("a.gz")).unwrap();
        let there = file.metadata().unwrap().len() as usize;
        file.write_all(&bytes[there..end]).unwrap();
        w.pass(5);
    }
    let lines = w.lines();
    assert!(lines.join("\n") + "\n" == text, "{} lines", lines.len());
    assert_eq!(w.errors("corrupt"), 0);
}

#[test]
fn a_damaged_compressed_file_is_said_and_the_rest_goes_on() {
    let mut w = World::reading("['*.gz', '*.log']", "");
    let text: String = (0..100_000).map(|n| format!("line {}\n", n * 7919)).collect();
    std::fs::write(w.path("a"), &text).unwrap();
    gz(&w, "a");
    let mut bytes = std::fs::read(w.path("a.gz")).unwrap();
    let half = bytes.len() / 2;
    bytes[half..half + 100].fill(0xff);
    std::fs::write(w.path("a.gz"), bytes).unwrap();
    w.append("b.log", "fine\n");
    w.pass(30);
    let lines = w.lines();
    assert!(lines.contains(&"fine".to_owned()) && lines.len() > 1000);
    assert_eq!(w.errors("corrupt"), 1);
}

#[test]
fn a_file_without_handle_that_was_renamed_is_found_beside_its_name() {
    let mut w = World::new("");
    w.append("a.log", "1\n");
    w.append("b.log", "1\n");
    w.read();
    w.lines();
    let t = w.tailer.as_mut().unwrap();
    for (_, tail) in t.files.tails.iter_mut() {
        t.files.handles.close(tail);
    }
    w.append("a.log", "2\n");
    w.rename("a.log", "a.log.1");
    w.append("a.log", "3\n");
    w.read();
    assert_eq!(w.lines(), ["2", "3"]);
}

#[test]
fn a_busy_neighbour_that_begins_alike_is_no_copy() {
    let mut w = World::new("");
    w.append("api.log", "# banner\n");
    w.read();
    assert_eq!(w.lines(), ["# banner"]);
    // It is never quiet, but longer than what it would be a copy of.
    w.append("api-worker.log", "# banner\n");
    let mut came = Vec::new();
    for n in 0..70 {
        w.append("api-worker.log", &format!("{n}\n"));
        w.pass(1);
        came.extend(w.lines());
    }
    assert_eq!((came.len(), came.last().map(String::as_str)), (71, Some("69")), "{came:?}");
}

/// The copy is there when the agent starts, the original is cut a moment later.
#[test]
fn a_copy_found_at_a_start_before_its_original_is_cut_is_not_read_twice() {
    let mut w = World::reading("['a.log*']", "");
    w.append("a.log", "1\n2\n");
    w.read();
    w.stop();
    tick();
    std::fs::copy(w.path("a.log"), w.path("a.log.1")).unwrap();
    w.start();
    w.pass(1);
    std::fs::write(w.path("a.log"), "new\n").unwrap();
    w.pass(60);
    assert_eq!(w.lines(), ["1", "2", "new"]);
    w.restart();
    w.pass(60);
    assert_eq!(w.lines(), [""; 0]);
}

/// The writer goes on between the copy and the cut, and the reader is quick: the copy is shorter than what was read.
#[test]
fn a_copy_that_is_shorter_than_what_was_read_is_not_read_again() {
    for down in [false, true] {
        let mut w = World::reading("['a.log*']", "");
        let long = "x".repeat(HEAD_BYTES);
        w.append("a.log", &format!("{long}\n2\n"));
        w.read();
        tick();
        std::fs::copy(w.path("a.log"), w.path("a.log.1")).unwrap();
        w.append("a.log", "3\n");
        w.pass(1);
        if down {
            w.stop();
        }
        std::fs::write(w.path("a.log"), "new\n").unwrap();
        if down {
            w.start();
        }
        w.pass(60);
        // What was hashed on the way is known only as long as the agent runs: repeats are allowed, gaps are not.
        let again = if down { vec![&*long, "2"] } else { vec![] };
        let mut lines = w.lines();
        lines[3..].sort();
        let mut right = [vec![&*long, "2", "3"], again, vec!["new"]].concat();
        right[3..].sort();
        assert_eq!(lines, right, "down: {down}");
        w.restart();
        w.pass(60);
        assert_eq!(w.lines(), [""; 0], "down: {down}");
    }
}

/// What was on its way when a file was cut off stands in the copy: a kill loses none of it.
#[test]
fn what_was_not_settled_when_a_file_was_cut_off_is_read_from_its_copy_after_a_kill() {
    for include in ["['a.log']", "['a.log*']"] {
        for settled in [0, 1, 2] {
            let mut w = World::reading(include, "");
            w.append("a.log", "1\n");
            w.read();
            w.taken.settle = false;
            w.append("a.log", "2\n");
            w.read();
            w.append("a.log", "3\n");
            w.read();
            assert_eq!(w.lines(), ["1", "2", "3"]);
            tick();
            std::fs::copy(w.path("a.log"), w.path("a.log.1")).unwrap();
            w.append("a.log.1", "4\n");
            std::fs::write(w.path("a.log"), "new\n").unwrap();
            w.pass(10);
            // What stands behind in the copy may be settled first.
            assert_eq!(w.lines(), ["4", "new"]);
            let later = w.taken.acks.split_off(2);
            later.into_iter().for_each(|ack| ack.settle(Verdict::Delivered));
            w.pass(10);
            w.taken.acks.drain(..settled).for_each(|ack| ack.settle(Verdict::Delivered));
            w.pass(10);
            w.kill();
            w.taken.settle = true;
            w.start();
            w.pass(60);
            let mut lines = w.lines();
            lines.sort();
            // The new contents came behind what is not settled.
            let again = [vec!["2", "3", "4", "new"], vec!["3", "4", "new"], vec![]];
            assert_eq!(lines, again[settled], "{include}, {settled} settled");
        }
    }
}

/// The writer goes on in a file that was renamed and is being compressed: the compressed one is shorter than what was read.
#[test]
fn a_compressed_file_that_is_shorter_than_what_was_read_is_not_read_again() {
    let mut w = World::reading("['a.log*']", "");
    let long = "x".repeat(HEAD_BYTES);
    w.append("a.log", &format!("{long}\n2\n"));
    w.read();
    w.rename("a.log", "a.log.1");
    let text = std::fs::read(w.path("a.log.1")).unwrap();
    w.append("a.log.1", "3\n");
    w.append("a.log", "new\n");
    w.read();
    std::fs::write(w.path("a.log.2"), text).unwrap();
    gz(&w, "a.log.2");
    w.rename("a.log.2.gz", "a.log.1.gz");
    w.read();
    w.remove("a.log.1");
    w.pass(60);
    let mut lines = w.lines();
    lines.sort();
    assert_eq!(lines, ["2", "3", "new", &*long]);
    w.restart();
    w.pass(60);
    assert_eq!(w.lines(), [""; 0]);
}

/// As above, where the copy is shorter than what was read: it has nothing new, but what is not settled stands in it.
#[test]
fn what_was_not_settled_stands_in_a_copy_that_is_shorter_than_what_was_read() {
    for settled in [0, 1, 2] {
        let mut w = World::reading("['a.log*']", "");
        w.append("a.log", &format!("{}\n", "x".repeat(HEAD_BYTES)));
        w.read();
        w.taken.settle = false;
        w.append("a.log", "2\n");
        w.read();
        tick();
        std::fs::copy(w.path("a.log"), w.path("a.log.1")).unwrap();
        w.append("a.log", "3\n");
        w.read();
        std::fs::write(w.path("a.log"), "new\n").unwrap();
        w.pass(10);
        assert_eq!(w.lines()[1..], ["2", "3", "new"]);
        w.taken.acks.drain(..settled).for_each(|ack| ack.settle(Verdict::Delivered));
        w.pass(10);
        assert_eq!(w.lines(), [""; 0]);
        w.kill();
        w.taken.settle = true;
        w.start();
        w.pass(60);
        let mut lines = w.lines();
        lines.sort();
        // What was written between the copy and the cut is nowhere any more.
        let again: &[&str] = if settled == 0 { &["2", "new"] } else { &["new"] };
        assert_eq!(lines, again, "{settled} settled");
    }
}

/// Files that come and go for most of an hour: what is remembered of them has its bound, and so has what was said of them.
#[test]
fn of_files_that_come_and_go_the_last_are_remembered() {
    let mut w = World::new("remove_after: 10s");
    for round in 0..16 {
        for file in 0..100 {
            w.append(&format!("{round}-{file}.log"), "a line\n");
            // Which is not read.
            w.append(&format!("{round}-{file}.lz.log"), "LZIP\u{1}\u{14}\0and more of it");
        }
        w.read();
        for file in 0..100 {
            // One that is read is removed by others, one by the agent itself.
            if file % 2 == 0 {
                w.remove(&format!("{round}-{file}.log"));
            }
            w.remove(&format!("{round}-{file}.lz.log"));
        }
        for _ in 0..18 {
            w.now.mono += 10 * SECOND;
            w.now.wall += 10 * SECOND as i64;
            w.settle();
        }
    }
    assert_eq!(w.lines().len(), 1_600);
    let tailer = w.tailer.as_ref().unwrap();
    // Counted when 256 more are known.
    let files = &tailer.files;
    let known = files.store.len();
    assert!((1_000..=1_000 + 256 + 200).contains(&known), "{known}");
    let (foreign, removable) = files.archives.remembered();
    assert!(foreign <= 1_100, "{foreign}");
    assert_eq!((removable, files.tails.path_count(), files.unreadable.count()), (0, 0, 0));
    assert!(files.rotations.lost() <= 4_000, "{}", files.rotations.lost());
}
