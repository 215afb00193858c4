//! What is done to files behind our back: rewritten in place, taken apart by their names, deleted, left without handles.

use super::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::time::{Duration, SystemTime};

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut to = GzEncoder::new(Vec::new(), Compression::fast());
    to.write_all(text).unwrap();
    to.finish().unwrap()
}

fn numbered(tag: &str, to: usize) -> String {
    (0..to).map(|n| format!("{tag} {n:04}\n")).collect()
}

/// More than the head and the mark cover.
fn head() -> String {
    (0..60).map(|n| format!("# line {n:04} of the header\n")).collect()
}

fn foot() -> String {
    format!("{}\n", "-".repeat(70))
}

/// An archive damaged in its middle, so that wrong lines come out of it before it is noticed.
fn damaged(whole: &[u8], text: &str) -> Vec<u8> {
    let spoilt = |at: usize| {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 0x55;
        let mut out = Vec::new();
        let ended = std::io::Read::read_to_end(&mut flate2::bufread::GzDecoder::new(&bytes[..]), &mut out);
        let same = out.iter().zip(text.as_bytes()).take_while(|(a, b)| a == b).count();
        let wrong = out[same..].iter().filter(|b| **b == b'\n').count();
        (ended.is_err() && (3..1000).contains(&wrong)).then_some(bytes)
    };
    (whole.len() / 2..whole.len()).find_map(spoilt).unwrap()
}

/// The lines with this tag.
fn tagged(lines: &[String], tag: &str) -> usize {
    lines.iter().filter(|l| l.starts_with(tag)).count()
}

fn sparse_time(w: &World, name: &str, seconds: u64) {
    let file = OpenOptions::new().append(true).open(w.path(name)).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
}

#[test]
fn contents_changed_in_place_are_seen_though_beginning_end_and_size_are_the_same() {
    let mut w = World::new("");
    let text = |tag: &str| format!("{}{}{}", head(), numbered(tag, 100), foot());
    w.append("a.log", &text("a"));
    w.pass(3);
    assert_eq!(w.lines().len(), 161);
    tick();
    std::fs::write(w.path("a.log"), text("b")).unwrap();
    w.pass(15);
    assert_eq!(w.lines().len(), 161, "written anew, as long as before");
    tick();
    // Longer than before.
    std::fs::write(w.path("a.log"), text("c") + &numbered("more", 5)).unwrap();
    w.pass(15);
    let lines = w.lines();
    assert_eq!((tagged(&lines, "c"), tagged(&lines, "more")), (100, 5));
    // The time of modification is set back, as some tools do.
    w.pass(5);
    sparse_time(&w, "a.log", 1_700_000_000);
    w.pass(30);
    assert_eq!(w.lines(), [""; 0], "only its times changed");
    tick();
    let now = text("d") + &numbered("more", 5);
    OpenOptions::new().write(true).open(w.path("a.log")).unwrap().write_all(now.as_bytes()).unwrap();
    sparse_time(&w, "a.log", 1_700_000_000);
    w.pass(30);
    assert_eq!(tagged(&w.lines(), "d"), 100, "neither its size nor its time of modification changed");
}

#[test]
fn a_long_file_written_anew_and_longer_is_seen_by_the_places_that_were_passed() {
    let mut w = World::new("");
    let text = |tag: &str| format!("{}{}{}", head(), numbered(tag, 400_000), foot());
    w.append("a.log", &text("a"));
    w.pass(3);
    assert_eq!(w.lines().len(), 400_061);
    tick();
    std::fs::write(w.path("a.log"), text("b") + "more\n").unwrap();
    w.pass(15);
    let lines = w.lines();
    assert_eq!((tagged(&lines, "b"), tagged(&lines, "more")), (400_000, 1));
}

#[test]
fn what_was_seen_shorter_than_what_was_read_is_new_whatever_it_is_when_it_is_read() {
    let mut w = World::new("");
    let text = |tag: &str| format!("{}{}{}", head(), numbered(tag, 100), foot());
    w.append("a.log", &text("a"));
    w.append("b.log", "1\n");
    w.pass(3);
    w.lines();
    w.taken.full = true;
    w.append("b.log", "2\n");
    w.pass(1);
    // Nothing is read, as there is no room; but it is looked at.
    std::fs::write(w.path("a.log"), "").unwrap();
    w.pass(2);
    std::fs::write(w.path("a.log"), text("b") + "more\n").unwrap();
    w.taken.full = false;
    // And it is not compared for having grown.
    let tailer = w.tailer.as_mut().unwrap();
    tailer.files.comparisons.use_up();
    w.settle();
    assert_eq!(tagged(&w.lines(), "b"), 100);
}

#[test]
fn a_file_that_only_grows_is_not_read_again() {
    let mut w = World::new("");
    w.append("a.log", &numbered("a", 400_000));
    w.pass(3);
    let before = w.tailer.as_ref().unwrap().files.comparisons.bytes();
    for n in 0..20 {
        w.append("a.log", &format!("{n}\n"));
        w.settle();
    }
    assert_eq!(w.tailer.as_ref().unwrap().files.comparisons.bytes(), before);
    // Nor when it is renamed.
    w.rename("a.log", "b.log");
    w.pass(20);
    w.rename("b.log", "b.old");
    w.pass(60);
    assert_eq!(w.tailer.as_ref().unwrap().files.comparisons.bytes(), before);
    assert_eq!(w.lines().len(), 400_020);
}

#[test]
fn small_files_are_compared_within_bounds() {
    let mut w = World::new("");
    let names: Vec<String> = (0..100).map(|n| format!("{n}.log")).collect();
    for name in &names {
        w.append(name, &"x".repeat(99_999));
        w.append(name, "\n");
    }
    w.pass(10);
    let before = w.tailer.as_ref().unwrap().files.comparisons.bytes();
    for _ in 0..10 {
        names.iter().for_each(|name| w.append(name, "more\n"));
        w.pass(1);
    }
    let compared = w.tailer.as_ref().unwrap().files.comparisons.bytes() - before;
    assert!(compared > 10 << 20 && compared <= (64 + 11 * 4) << 20, "{compared} bytes");
    assert_eq!(w.lines().len(), 1100);
}

#[test]
fn an_archive_replaced_in_place_by_one_of_the_same_length_and_end_is_read() {
    let mut w = World::reading("['*.gz']", "");
    let text = |tag: &str| gzip(format!("{}{}{}", head(), numbered(tag, 100), foot()).as_bytes());
    std::fs::write(w.path("x.gz"), text("a")).unwrap();
    w.pass(5);
    assert_eq!(w.lines().len(), 161);
    tick();
    std::fs::write(w.path("x.gz"), text("b")).unwrap();
    w.pass(15);
    assert_eq!(tagged(&w.lines(), "b"), 100);
}

#[test]
fn with_once_an_archive_that_changed_is_read_on_or_anew() {
    let mut w = World::reading("['*.gz']", "");
    w.stop();
    w.once = true;
    let mut once = |bytes: &[u8]| {
        tick();
        std::fs::write(w.path("x.gz"), bytes).unwrap();
        w.start();
        while w.turn() != Next::Done {
            w.now.mono += 100 * MILLISECOND;
        }
        let unread = w.tailer.as_ref().unwrap().files.unread();
        w.stop();
        (w.lines(), unread)
    };
    let (a, b) = (gzip(numbered("a", 100).as_bytes()), gzip(numbered("b", 50).as_bytes()));
    assert_eq!(once(&a).0.len(), 100);
    let lines = once(&[&a[..], &b].concat()).0;
    assert_eq!((lines.len(), tagged(&lines, "b")), (50, 50), "grown by a member");
    assert_eq!(tagged(&once(&gzip(numbered("c", 300).as_bytes())).0, "c"), 300, "replaced in place");
    // Damaged in its middle, so that wrong bytes come out of it, and then as it should be.
    let text: String = (0..30_000).map(|n| format!("line {}\n", n * 7919)).collect();
    let whole = gzip(text.as_bytes());
    assert_eq!(once(&damaged(&whole, &text)).1, 1);
    let lines = once(&whole).0;
    assert!(text.lines().skip(29_000).all(|l| lines.iter().any(|c| c == l)), "{}", lines.len());
}

#[test]
fn a_damaged_archive_that_is_repaired_gives_all_its_lines() {
    let mut w = World::reading("['*.gz']", "");
    let text: String = (0..30_000).map(|n| format!("line {}\n", n * 7919)).collect();
    let whole = gzip(text.as_bytes());
    std::fs::write(w.path("x.gz"), damaged(&whole, &text)).unwrap();
    w.pass(5);
    let mut lines = w.lines();
    assert!(lines.len() < 30_000);
    tick();
    std::fs::write(w.path("x.gz"), &whole).unwrap();
    w.pass(15);
    lines.extend(w.lines());
    let came: std::collections::HashSet<&str> = lines.iter().map(String::as_str).collect();
    let missing: Vec<&str> = text.lines().filter(|l| !came.contains(l)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn what_a_file_is_can_be_told_only_when_something_is_in_it() {
    let mut w = World::reading("['*']", "");
    std::fs::write(w.path("x.log.gz"), "").unwrap();
    std::fs::write(w.path("y"), "").unwrap();
    std::fs::write(w.path("z.log"), "").unwrap();
    w.append("a.log", &numbered("a", 50));
    w.pass(8);
    assert_eq!(w.lines().len(), 50);
    for (name, tag) in [("x.log.gz", "x"), ("y", "y"), ("a.log", "b")] {
        // Longer than what was read, and no text.
        let mut text = String::new();
        (0..3000).for_each(|n| text.push_str(&format!("{tag} {}\n", n * 7919)));
        std::fs::write(w.path(name), gzip(text.as_bytes())).unwrap();
    }
    std::fs::write(w.path("z.log"), b"7z\xbc\xaf\x27\x1c\0\x04\x7f\x44\xf4\xac\n\n\n\n\n\n\n\n\n\n\n\n\n").unwrap();
    w.pass(20);
    let lines = w.lines();
    assert_eq!((tagged(&lines, "x"), tagged(&lines, "y"), tagged(&lines, "b")), (3000, 3000, 3000));
    assert_eq!((lines.len(), w.errors("unknown_compression")), (9000, 1));
    // And the other way.
    tick();
    std::fs::write(w.path("x.log.gz"), "plain text\n").unwrap();
    std::fs::write(w.path("z.log"), "plain text\n").unwrap();
    w.pass(20);
    assert_eq!(w.lines(), ["plain text", "plain text"]);
    w.restart();
    w.pass(20);
    assert_eq!(w.lines(), [""; 0]);
}

#[test]
fn compressed_files_are_left_alone_where_that_is_wanted_when_they_were_empty_at_first_too() {
    let mut w = World::reading("['*']", "compressed: ignore");
    std::fs::write(w.path("x"), "").unwrap();
    w.pass(8);
    std::fs::write(w.path("x"), gzip(numbered("x", 3000).as_bytes())).unwrap();
    w.pass(20);
    assert_eq!(w.lines(), [""; 0]);
}

#[test]
fn start_at_end_holds_for_the_first_start_and_not_where_checkpoints_are_damaged() {
    let mut w = World::new("start_at: end");
    w.append("a.log", "old\n");
    w.read();
    w.append("a.log", "1\n");
    w.read();
    w.stop();
    w.append("a.log", "2\n");
    for entry in std::fs::read_dir(w.dir.path().join("data/src")).unwrap() {
        std::fs::write(entry.unwrap().path(), "").unwrap();
    }
    w.start();
    w.read();
    assert_eq!(w.lines(), ["1", "old", "1", "2"]);
}

#[test]
fn ignore_older_does_not_hold_for_what_was_being_read() {
    for more in ["", "fingerprint: {bytes: 2}"] {
        let mut w = World::new(&format!("ignore_older: 1h\n{more}"));
        w.append("a.log", "1\n");
        w.append("empty.log", "");
        w.read();
        assert_eq!(w.lines(), ["1"]);
        w.stop();
        w.append("a.log", "2\n");
        w.append("new.log", "3\n");
        let now = crate::time::clock::now_ns() as u64 / 1_000_000_000;
        sparse_time(&w, "a.log", now - 7200);
        sparse_time(&w, "new.log", now - 7200);
        w.start();
        w.read();
        assert_eq!(w.lines(), ["2"], "{more}");
    }
}

#[test]
fn only_what_was_delivered_from_its_first_byte_on_is_removed() {
    let mut w = World::new("start_at: end\nremove_after: 5s");
    w.append("a.log", "old\n");
    w.append("empty.log", "");
    w.pass(20);
    w.append("a.log", "new\n");
    w.append("b.log", "new\n");
    w.pass(60);
    w.restart();
    w.pass(60);
    let left = |name: &str| w.path(name).exists();
    assert!(left("a.log"), "its first line was never delivered");
    assert!(left("empty.log"), "there was nothing in it that could be delivered");
    assert!(!left("b.log"));
}

#[test]
fn a_deleted_file_whose_writer_pauses_is_read_on() {
    let mut w = World::new("");
    let mut file = OpenOptions::new().create(true).append(true).open(w.path("a.log")).unwrap();
    file.write_all(b"1\n").unwrap();
    w.read();
    w.remove("a.log");
    w.pass(20);
    file.write_all(b"2\n").unwrap();
    // It has a writer, and that has all the time.
    for _ in 0..3 {
        w.pass(300);
        file.write_all(b"3\n").unwrap();
    }
    w.pass(1);
    assert_eq!(w.lines(), ["1", "2", "3", "3", "3"]);
    w.pass(700);
    assert_eq!((w.tailer.as_ref().unwrap().files.handles.open(), w.errors("closed_deleted")), (0, 1));
}

#[test]
fn handles_of_files_that_are_gone_are_closed_where_others_need_them() {
    let mut w = World::new("");
    w.tailer.as_mut().unwrap().files.handles.limit_to(16);
    for n in 0..60 {
        w.append(&format!("{n}.log"), "1\n");
    }
    w.read();
    for n in 0..60 {
        w.append(&format!("{n}.log"), "2\n");
        w.rename(&format!("{n}.log"), &format!("{n}.log.1"));
        w.append(&format!("{n}.log"), "3\n");
    }
    for _ in 0..20 {
        w.pass(1);
        assert!(
            w.tailer.as_ref().unwrap().files.handles.open() <= 20,
            "{}",
            w.tailer.as_ref().unwrap().files.handles.open()
        );
    }
    for n in 0..60 {
        w.append(&format!("{n}.log.1"), "4\n");
    }
    w.pass(60);
    assert_eq!(w.lines().len(), 240);
}

#[test]
fn what_could_not_be_opened_is_tried_again_though_it_does_not_change() {
    let mut w = World::new("");
    w.append("a.log", "1\n");
    w.taken.full = true;
    w.turn();
    let tailer = w.tailer.as_mut().unwrap();
    // As where no handle was left when it was its turn.
    let files = &mut tailer.files;
    files.reader.held = None;
    files.schedule.stop();
    let (key, _) = files.tails.with_keys().next().unwrap();
    let mut tail = files.tails.take(key).unwrap();
    tail.due.is_taken();
    (tail.at, tail.stash) = (files.store.hasher.start(), Box::default());
    files.failed(key, &mut tail, &std::io::Error::from_raw_os_error(24), w.now);
    files.tails.put(key, tail);
    w.taken.full = false;
    w.pass(15);
    assert_eq!(w.lines(), ["1"]);
}

#[test]
fn a_number_in_its_name_alone_does_not_make_a_file_a_rotated_one() {
    let mut w = World::new("");
    w.append("worker.log", "1\n");
    w.append("worker-1.log", "1\nbeg");
    w.append("other-2.log", "2\nbeg");
    w.pass(60);
    let mut lines = w.lines();
    lines.sort();
    assert_eq!(lines, ["1", "1", "2"]);
    w.append("worker-1.log", "un\n");
    w.append("other-2.log", "un\n");
    w.pass(3);
    assert_eq!(w.lines(), ["begun", "begun"]);
    // One that was there before the file that has its name now was made.
    w.append("old-1.log", "3\nlast");
    tick();
    w.append("old.log", "4\n");
    w.pass(6);
    let mut lines = w.lines();
    lines.sort();
    assert_eq!(lines, ["3", "4", "last"]);
    // Or nobody goes on with it for very long.
    w.append("other-2.log", "never finished");
    w.pass(30);
    assert_eq!(w.lines(), [""; 0]);
    w.pass(600);
    assert_eq!(w.lines(), ["never finished"]);
}

#[test]
fn a_cut_archive_that_was_deleted_is_not_held() {
    let mut w = World::reading("['*.gz']", "");
    let packed = gzip((0..40_000).map(|n| format!("line {}\n", n * 7919)).collect::<String>().as_bytes());
    std::fs::write(w.path("a.gz"), &packed[..packed.len() / 2]).unwrap();
    w.pass(30);
    assert!(w.lines().len() > 1000);
    w.remove("a.gz");
    w.pass(60);
    assert_eq!(w.tailer.as_ref().unwrap().files.handles.open(), 0);
}

#[test]
fn what_was_added_to_a_renamed_file_before_it_was_compressed_is_found_in_the_archive() {
    let mut w = World::reading("['app.log']", "");
    w.append("app.log", &numbered("a", 50));
    w.read();
    w.rename("app.log", "app.log.1");
    w.append("app.log", &numbered("b", 50));
    w.pass(40);
    assert_eq!(w.lines().len(), 100);
    for (tag, count) in [("c", 50), ("", 0)] {
        tick();
        w.append("app.log.1", &numbered(tag, count));
        let text = std::fs::read(w.path("app.log.1")).unwrap();
        std::fs::write(w.path("app.log.1.gz"), gzip(&text)).unwrap();
        w.remove("app.log.1");
        w.pass(30);
        let lines = w.lines();
        assert_eq!((lines.len(), tagged(&lines, tag)), (count, count));
        // And the next one, to which nothing is added.
        if count == 0 {
            break;
        }
        w.rename("app.log.1.gz", "app.log.2.gz");
        w.rename("app.log", "app.log.1");
        w.pass(60);
    }
}

#[test]
fn with_start_at_end_a_copy_of_what_was_passed_over_is_known() {
    let mut w = World::reading("['app.log']", "start_at: end");
    w.append("app.log", &numbered("old", 300_000));
    w.read();
    w.append("app.log", &numbered("a", 50));
    w.read();
    assert_eq!(w.lines().len(), 50);
    tick();
    std::fs::copy(w.path("app.log"), w.path("app.log.1")).unwrap();
    std::fs::write(w.path("app.log"), numbered("b", 50)).unwrap();
    w.pass(20);
    let lines = w.lines();
    assert_eq!((lines.len(), tagged(&lines, "b")), (50, 50));
}

#[test]
fn with_once_what_is_too_short_for_its_fingerprint_is_a_failure() {
    let mut w = World::new("fingerprint: {bytes: 1KiB}");
    w.stop();
    w.once = true;
    w.append("a.log", "short\n");
    w.append("empty.log", "");
    w.start();
    w.settle();
    assert_eq!((w.turn(), w.lines().len()), (Next::Done, 0));
    assert_eq!(w.tailer.as_ref().unwrap().files.unread(), 1);
}

#[test]
fn what_could_not_be_opened_before_it_was_renamed_is_read_when_it_can_be() {
    use std::os::unix::fs::PermissionsExt;
    let shut = |w: &World, name: &str, mode: u32| {
        std::fs::set_permissions(w.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for known in [false, true] {
        let mut w = World::new("");
        w.append("a.log", "1\n");
        if known {
            w.read();
            w.stop();
            w.append("a.log", "2\n");
        }
        shut(&w, "a.log", 0);
        if std::fs::File::open(w.path("a.log")).is_ok() {
            println!("skipped: this user may read everything");
            return;
        }
        if known {
            w.start();
        }
        w.pass(3);
        w.rename("a.log", "a.log.1");
        w.append("a.log", "3\n");
        w.pass(3);
        shut(&w, "a.log.1", 0o600);
        w.pass(15);
        let mut lines = w.lines();
        lines.sort();
        assert_eq!(lines, if known { vec!["1", "2", "3"] } else { vec!["1", "3"] });
    }
}

#[test]
fn zeros_at_the_start_of_lines_are_no_part_of_them_wherever_they_stand() {
    use std::os::unix::fs::FileExt;
    let mut w = World::new("");
    // Fewer than 64, left by a writer that went on where it was, over a restart.
    w.append("a.log", "0123456789\n");
    w.read();
    let file = OpenOptions::new().write(true).open(w.path("a.log")).unwrap();
    file.set_len(0).unwrap();
    w.read();
    w.restart();
    file.write_all_at(b"next\n", 11).unwrap();
    w.read();
    assert_eq!(w.lines(), ["0123456789", "next"]);
    // In the middle of what is read at once.
    w.append(
        "b.log",
        &format!("1\n{}2\n{}3\nun{}4\nkept \0\0 zeros\n", "\0".repeat(5000), "\0".repeat(100), "\0".repeat(9000)),
    );
    w.read();
    assert_eq!(w.lines(), ["1", "2", "3", "un", "4", "kept \0\0 zeros"]);
    w.append("b.log", "5\n");
    w.restart();
    w.read();
    assert_eq!(w.lines(), ["5"]);
}

#[test]
fn a_line_over_two_members_of_an_archive_that_grows_is_whole() {
    let mut w = World::reading("['*']", "");
    let text = numbered("a", 100);
    let mut file = OpenOptions::new().create(true).append(true).open(w.path("x.gz")).unwrap();
    for piece in text.as_bytes().chunks(250) {
        file.write_all(&gzip(piece)).unwrap();
        w.pass(2);
    }
    assert_eq!(w.lines().join("\n") + "\n", text);
    // Its last line is given when nothing more came.
    file.write_all(&gzip(b"last")).unwrap();
    w.pass(3);
    assert_eq!(w.lines(), [""; 0]);
    w.pass(20);
    assert_eq!((w.lines(), w.errors("corrupt")), (vec!["last".to_owned()], 0));
}

#[test]
fn zeros_behind_an_archive_are_padding_and_a_large_window_is_said_to_be_one() {
    let mut w = World::reading("['*']", "");
    std::fs::write(w.path("x.gz"), [&gzip(b"1\n")[..], &gzip(b"2\n"), &[0; 512]].concat()).unwrap();
    w.pass(20);
    assert_eq!((w.lines(), w.errors("corrupt")), (vec!["1".to_owned(), "2".to_owned()], 0));
    std::fs::write(w.path("y.gz"), [&gzip(b"3\n")[..], &[0; 512], b"x"].concat()).unwrap();
    w.pass(20);
    assert_eq!((w.lines(), w.errors("corrupt")), (vec!["3".to_owned()], 1));
    let mut packer = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    packer.window_log(30).unwrap();
    packer.write_all(b"4\n").unwrap();
    std::fs::write(w.path("z.zst"), packer.finish().unwrap()).unwrap();
    w.pass(20);
    assert_eq!((w.lines(), w.errors("window_too_large"), w.errors("corrupt")), (vec![], 1, 1));
}
