//! Nothing is passed over on a guess: files that begin alike, archives, holes, what is renamed and what is gone.

use super::*;
use flate2::Compression;
use flate2::write::GzEncoder;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut to = GzEncoder::new(Vec::new(), Compression::fast());
    to.write_all(text).unwrap();
    to.finish().unwrap()
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

fn numbered(from: usize, to: usize) -> String {
    (from..to).map(|n| format!("line {n}\n")).collect()
}

const BANNER: &str = "# the same lines at the beginning of each file\n# and one more\n";

#[test]
fn a_new_file_beside_a_live_one_is_read_at_once_whatever_its_name() {
    let mut w = World::new("");
    w.append("app.log", "one\ntwo\n");
    w.read();
    w.lines();
    // Shorter than what was read of the live one, and of names that a rotation gives.
    for name in ["app-error.log", "app.1.log", "app-20260101.log"] {
        w.append(name, "other\n");
        w.pass(1);
        assert_eq!(w.lines(), ["other"], "{name}");
    }
    // What is removed while it is not yet clear whether it is a copy was opened, and is read.
    w.append("app-2.log", "one\n");
    w.pass(1);
    assert_eq!(w.lines(), [""; 0], "it may be a copy in the making");
    w.append("app-2.log", "last words\n");
    w.remove("app-2.log");
    w.pass(1);
    assert_eq!(w.lines(), ["one", "last words"]);
}

#[test]
fn a_file_with_the_same_banner_is_no_copy_of_one_that_is_cut_off_meanwhile() {
    for include in ["['*.log']", "['app.log']"] {
        let mut w = World::reading(include, "");
        w.append("app.log", BANNER);
        w.append("app.log", "1\n2\n");
        w.read();
        let older = if include == "['*.log']" { "app-20260101.log" } else { "other" };
        w.append(older, BANNER);
        w.append(older, "of its own\n");
        std::fs::write(w.path("app.log"), format!("{BANNER}3\n")).unwrap();
        w.pass(20);
        let lines = w.lines();
        let own = lines.iter().filter(|l| !l.starts_with('#')).map(String::as_str).collect::<Vec<_>>();
        let right: &[&str] = if include == "['*.log']" { &["1", "2", "of its own", "3"] } else { &["1", "2", "3"] };
        assert_eq!(
            sorted(own.iter().map(|l| l.to_string()).collect()),
            sorted(right.iter().map(|l| l.to_string()).collect())
        );
        let files = if include == "['*.log']" { 3 } else { 2 };
        assert_eq!(lines.iter().filter(|l| l.starts_with('#')).count(), 2 * files, "{include}: {lines:?}");
    }
}

#[test]
fn generations_whose_predecessor_was_its_banner_alone_are_all_read() {
    for include in ["['a.log']", "['a.log*']"] {
        let mut w = World::reading(include, "");
        w.append("a.log", BANNER);
        w.read();
        w.stop();
        w.append("a.log", "1\n");
        for n in 2..4 {
            if w.path("a.log.1").exists() {
                w.rename("a.log.1", "a.log.2");
            }
            w.rename("a.log", "a.log.1");
            tick();
            w.append("a.log", &format!("{BANNER}{n}\n"));
        }
        w.start();
        w.pass(10);
        let own: Vec<String> = w.lines().into_iter().filter(|l| !l.starts_with('#')).collect();
        assert_eq!(sorted(own), ["1", "2", "3"], "{include}");
    }
}

#[test]
fn a_file_cut_off_while_nobody_looked_is_seen_though_it_begins_with_all_that_was_read() {
    let mut w = World::reading("['a.log']", "");
    w.append("a.log", BANNER);
    w.read();
    w.stop();
    w.append("a.log", "1\n");
    std::fs::copy(w.path("a.log"), w.path("a.log.1")).unwrap();
    std::fs::write(w.path("a.log"), format!("{BANNER}2\n")).unwrap();
    w.start();
    w.pass(10);
    let own: Vec<String> = w.lines().into_iter().filter(|l| !l.starts_with('#')).collect();
    assert_eq!(own, ["1", "2"]);
}

#[test]
fn an_archive_that_goes_on_behind_what_a_file_holds_is_a_file_of_its_own() {
    let mut w = World::reading("['*']", "");
    w.append("current.csv", "id,name\n");
    w.read();
    for n in 1..4 {
        let text = format!("id,name\n{n},\n{}", numbered(0, 50));
        std::fs::write(w.path("making"), gzip(text.as_bytes())).unwrap();
        w.rename("making", &format!("part-{n}.csv.gz"));
    }
    w.pass(5);
    let lines = w.lines();
    assert_eq!(lines.len(), 1 + 3 * 52);
    w.restart();
    w.pass(5);
    assert_eq!(w.lines(), [""; 0]);
}

#[test]
fn archives_that_share_their_beginning_are_all_read_and_a_second_one_of_the_same_is_not() {
    let header = format!("{}\n", "column,".repeat(300));
    let mut w = World::reading("['*.gz']", "");
    for n in 0..3 {
        let text = format!("{header}{}", numbered(n * 100, n * 100 + 100));
        std::fs::write(w.path(&format!("{n}.gz")), gzip(text.as_bytes())).unwrap();
    }
    w.pass(5);
    assert_eq!(w.lines().len(), 303);
    let text = format!("{header}{}", numbered(100, 200));
    std::fs::write(w.path("again.gz"), gzip(text.as_bytes())).unwrap();
    w.pass(5);
    assert_eq!(w.lines(), [""; 0], "it is proven that its bytes were read");
    // The same up to one byte.
    std::fs::write(w.path("other.gz"), gzip(text.replace("line 150", "line 15x").as_bytes())).unwrap();
    w.pass(5);
    assert_eq!(w.lines().len(), 101);
}

#[test]
fn what_comes_out_of_an_archive_again_was_read() {
    let mut w = World::reading("['*']", "");
    let text = numbered(0, 3000);
    w.append("a.log", &text);
    w.read();
    assert_eq!(w.lines().len(), 3000);
    std::fs::write(w.path("making"), gzip(text.as_bytes())).unwrap();
    w.rename("making", "a.log.gz");
    w.remove("a.log");
    w.pass(10);
    // Unpacked piece by piece, as gunzip does, which removes the archive then.
    for piece in text.as_bytes().chunks(7000) {
        w.append("a.log", std::str::from_utf8(piece).unwrap());
        w.pass(1);
    }
    w.remove("a.log.gz");
    w.pass(10);
    assert_eq!(w.lines(), [""; 0]);
    w.append("a.log", "new\n");
    w.pass(2);
    assert_eq!(w.lines(), ["new"]);
}

#[test]
fn zeros_at_the_end_are_room_and_no_line() {
    for more in ["", "fingerprint: {bytes: 4}", "fingerprint: inode", "multiline: indent"] {
        use std::os::unix::fs::FileExt;
        let mut w = World::new(more);
        let put = |w: &World, text: &str, at: u64| {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(w.path("a.log")).unwrap();
            file.write_all_at(text.as_bytes(), at).unwrap();
        };
        put(&w, "one\ntwo\n", 0);
        OpenOptions::new().append(true).open(w.path("a.log")).unwrap().write_all(&[0; 5000]).unwrap();
        w.pass(3);
        put(&w, "three\n", 8);
        w.pass(3);
        put(&w, "fo", 14);
        w.pass(3);
        put(&w, "ur\n", 16);
        w.pass(3);
        assert_eq!(w.lines(), ["one", "two", "three", "four"], "{more}");
        assert_eq!(w.tailer.as_ref().unwrap().files.tails.lag(), 0, "room is not lag");
        w.restart();
        w.pass(5);
        // The writer goes on behind the room.
        w.append("a.log", "five\n");
        w.pass(5);
        assert_eq!(w.lines(), ["five"], "{more}");
    }
}

#[test]
fn holes_are_not_read() {
    let mut w = World::new("");
    let start = std::time::Instant::now();
    std::fs::write(w.path("a.log"), "one\nunfinished").unwrap();
    let file = OpenOptions::new().write(true).open(w.path("a.log")).unwrap();
    file.set_len(64 << 20).unwrap();
    w.append("a.log", "two\n");
    w.pass(3);
    assert_eq!(w.lines(), ["one", "unfinished", "two"]);
    assert!(start.elapsed().as_secs() < 60);
}

#[test]
fn what_is_written_to_a_renamed_file_later_is_read_and_counts_as_lag_until_then() {
    let mut w = World::reading("['a.log']", "");
    w.append("a.log", "1\n");
    w.read();
    w.rename("a.log", "a.log.1");
    w.append("a.log", "new\n");
    w.pass(60);
    assert_eq!(w.lines(), ["1", "new"]);
    assert_eq!(w.tailer.as_ref().unwrap().files.handles.open(), 1, "its handle is closed");
    w.append("a.log.1", "the writer goes on\n");
    w.pass(3);
    assert_eq!(w.lines(), ["the writer goes on"]);
    w.pass(60);
    // Also after another rotation, and into a name of its own.
    w.rename("a.log.1", "a.log.2");
    w.append("a.log.2", "and on\n");
    w.pass(3);
    assert_eq!(w.lines(), ["and on"]);
    w.pass(60);
    w.rename("a.log.2", "kept");
    w.pass(3);
    w.append("kept", "and on and on\n");
    w.restart();
    w.pass(3);
    assert_eq!(w.lines(), ["and on and on"]);
    w.pass(60);
    w.remove("kept");
    w.restart();
    w.pass(3);
    assert_eq!((w.lines(), w.errors("rest_not_found")), (vec![], 0));
}

#[test]
fn a_rest_in_another_folder_is_found_where_rotated_to_says_so_and_told_elsewhere() {
    for (more, found) in [("rotated_to: ['DIR/old/*']", true), ("", false)] {
        for packed in [false, true] {
            let mut w = World::reading("['a.log']", "");
            w.yaml += &more.replace("DIR", &w.logs().display().to_string());
            w.stop();
            w.start();
            std::fs::create_dir(w.path("old")).unwrap();
            w.append("a.log", &numbered(0, 100));
            w.read();
            w.stop();
            w.append("a.log", &numbered(100, 150));
            if packed {
                std::fs::write(w.path("old/a.log-20260101.gz"), gzip(&std::fs::read(w.path("a.log")).unwrap()))
                    .unwrap();
                w.remove("a.log");
            } else {
                w.rename("a.log", "old/a.log-20260101");
            }
            w.append("a.log", "new\n");
            w.lines();
            w.start();
            w.pass(5);
            let lines = w.lines();
            assert_eq!(lines.len(), if found { 51 } else { 1 }, "{more} {packed}: {lines:?}");
            assert_eq!(lines.last().map(String::as_str), Some("new"));
            assert_eq!(w.errors("rest_not_found"), u64::from(!found), "{more} {packed}");
            w.restart();
            w.pass(5);
            assert_eq!((w.lines(), w.errors("rest_not_found")), (vec![], 0), "told once");
        }
    }
}

#[test]
fn a_cut_archive_is_told_with_its_place_and_read_on_when_it_grows() {
    let text = numbered(0, 40_000);
    let packed = gzip(text.as_bytes());
    let mut w = World::reading("['*.gz']", "");
    std::fs::write(w.path("a.gz"), &packed[..packed.len() / 2]).unwrap();
    w.pass(3);
    assert_eq!(w.errors("corrupt"), 0, "it may be growing");
    w.pass(30);
    assert_eq!(w.errors("corrupt"), 1);
    let some = w.lines().len();
    assert!(some > 1000 && some < 40_000, "{some}");
    std::fs::write(w.path("a.gz"), &packed).unwrap();
    w.pass(30);
    assert_eq!(some + w.lines().len(), 40_000);
    // Once: at the end, and it is a failure.
    for (name, bytes) in [
        ("cut.gz", packed[..packed.len() / 2].to_vec()),
        ("damaged.gz", {
            let mut bytes = packed.clone();
            let middle = bytes.len() / 2;
            bytes[middle..middle + 300].fill(0x55);
            bytes
        }),
    ] {
        let mut w = World::reading("['*.gz']", "");
        w.tailer = None;
        w.once = true;
        std::fs::write(w.path(name), bytes).unwrap();
        w.start();
        while w.turn() != Next::Done {
            w.now.mono += 100 * MILLISECOND;
        }
        let some = w.lines().len();
        assert!(some > 1000 && some < 40_000, "{name}: {some}");
        assert_eq!((w.errors("corrupt"), w.tailer.as_ref().unwrap().files.unread()), (1, 1), "{name}");
    }
}

#[test]
fn what_a_file_is_its_first_bytes_tell() {
    let mut w = World::reading("['*']", "");
    std::fs::write(w.path("messages"), gzip(b"packed\n")).unwrap();
    std::fs::write(w.path("plain.gz"), "no archive at all\n").unwrap();
    std::fs::write(w.path("messages.7z"), b"7z\xbc\xaf\x27\x1c\0\x04\x7f\x44\xf4\xac").unwrap();
    w.pass(10);
    assert_eq!(sorted(w.lines()), ["no archive at all", "packed"]);
    assert_eq!(w.errors("unknown_compression"), 1);
    w.pass(60);
    assert_eq!(w.errors("unknown_compression"), 1, "told once");
}

#[test]
fn remove_after_holds_for_archives() {
    let mut w = World::reading("['*']", "remove_after: 5s");
    w.append("plain.csv", "a\n");
    std::fs::write(w.path("part.csv.gz"), gzip(b"b\n")).unwrap();
    std::fs::write(w.path("part.zst"), zstd::encode_all(&b"c\n"[..], 1).unwrap()).unwrap();
    w.taken.settle = false;
    w.pass(20);
    assert_eq!(sorted(w.lines()), ["a", "b", "c"]);
    assert!(w.path("part.csv.gz").exists() && w.path("part.zst").exists(), "not delivered yet");
    w.taken.acks.drain(..).for_each(|ack| ack.settle(Verdict::Delivered));
    w.pass(30);
    assert_eq!(std::fs::read_dir(w.logs()).unwrap().count(), 0);
}

#[test]
fn what_lies_before_the_place_is_compared_in_full_after_a_start() {
    let mut w = World::new("");
    // Its beginning, its size and what stands before any place are the same everywhere.
    let ping = "ping\n".repeat(1 << 19);
    w.append("a.log", &ping);
    w.read();
    assert_eq!(w.lines().len(), 1 << 19);
    w.stop();
    let mut other = ping.clone().into_bytes();
    other[1_000_000..1_000_005].copy_from_slice(b"pong\n");
    // Written anew in place, and longer.
    std::fs::write(w.path("a.log"), [&other[..], b"new\n"].concat()).unwrap();
    w.start();
    w.pass(5);
    let lines = w.lines();
    assert!(lines.contains(&"pong".to_owned()) || lines.len() > 1 << 19, "{}", lines.len());
    assert_eq!(lines.iter().filter(|l| *l == "ping").count(), (1 << 19) - 1);
    // What is the same is not read again.
    w.restart();
    w.append("a.log", "more\n");
    w.pass(5);
    assert_eq!(w.lines(), ["more"]);
}

#[test]
fn a_checkpoint_of_each_version_before_is_read() {
    for version in [1, 2] {
        let mut w = World::reading("['*']", "");
        w.append("a.log", "1\n");
        std::fs::write(w.path("b.gz"), gzip(b"packed\n")).unwrap();
        w.read();
        w.stop();
        w.lines();
        let data = w.dir.path().join("data/src");
        let mut changed = 0;
        for name in ["files.0", "files.1", "recent.0", "recent.1"] {
            if let Ok(bytes) = std::fs::read(data.join(name)) {
                std::fs::write(data.join(name), crate::sources::file::checkpoint::as_version(&bytes, version)).unwrap();
                changed += 1;
            }
        }
        assert!(changed > 0);
        w.append("a.log", "2\n");
        w.start();
        w.read();
        assert_eq!(w.lines(), ["2"], "version {version}");
        w.append("a.log", "3\n");
        w.restart();
        w.read();
        assert_eq!(w.lines(), ["3"], "version {version}");
    }
}

#[test]
fn more_files_than_handles_are_told_and_none_is_lost() {
    let mut w = World::new("");
    w.tailer.as_mut().unwrap().files.handles.limit_to(8);
    for n in 0..30 {
        w.append(&format!("{n}.log"), "1\n");
    }
    w.read();
    assert!(w.tailer.as_ref().unwrap().files.handles.were_told());
    for n in 0..30 {
        w.append(&format!("{n}.log"), "2\n");
    }
    w.pass(30);
    assert_eq!(w.lines().len(), 60);
}
