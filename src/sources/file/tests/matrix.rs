//! The rotation matrix, and what else happens to files.

use super::*;

#[test]
fn lines_come_with_their_file_and_place_and_only_whole() {
    let mut w = World::new("");
    w.append("a.log", "one\r\n\ntwo\nunfini");
    w.read();
    let line = |offset, text: &str| Line { file: "a.log".into(), offset, text: text.into() };
    assert_eq!(w.taken.lines, [line(0, "one"), line(5, ""), line(6, "two")]);
    w.taken.lines.clear();
    w.append("a.log", "shed\n");
    w.read();
    assert_eq!(w.taken.lines, [line(10, "unfinished")]);
}

#[test]
fn rename_and_create_reads_the_old_file_to_its_end_first() {
    let mut w = World::new("");
    w.append("a.log", "1\n2\n");
    w.read();
    w.append("a.log", "3\n");
    w.rename("a.log", "a.log.1");
    w.append("a.log", "4\n");
    w.append("a.log.1", "3b\n");
    w.read();
    assert_eq!(w.lines(), ["1", "2", "3", "3b", "4"]);
    // The writer goes on for a while in the renamed file.
    w.append("a.log.1", "late\n");
    w.append("a.log", "5\n");
    w.read();
    let mut lines = w.lines();
    lines.sort();
    assert_eq!(lines, ["5", "late"]);
}

#[test]
fn a_rename_within_the_glob_repeats_nothing() {
    let mut w = World::reading("['*.log*']", "");
    w.append("a.log", "1\n2\n");
    w.read();
    for n in 0..3u32 {
        for i in (0..n).rev() {
            w.rename(&format!("a.log.{i}"), &format!("a.log.{}", i + 1));
        }
        w.rename("a.log", "a.log.0");
        w.append("a.log", &format!("new {n}\n"));
        w.read();
    }
    assert_eq!(w.lines(), ["1", "2", "new 0", "new 1", "new 2"]);
    w.restart();
    w.read();
    assert_eq!(w.lines(), [""; 0]);
}

#[test]
fn copytruncate_goes_on_at_the_new_beginning() {
    let mut w = World::new("");
    w.append("a.log", "first line\nsecond line\n");
    w.read();
    std::fs::copy(w.path("a.log"), w.path("a.log.1")).unwrap();
    std::fs::write(w.path("a.log"), "").unwrap();
    w.append("a.log", "3\n");
    w.read();
    assert_eq!(w.lines(), ["first line", "second line", "3"]);
    assert_eq!(w.errors("truncated"), 1);
    w.restart();
    w.read();
    assert_eq!(w.lines(), [""; 0]);
}

#[test]
fn an_unfinished_line_seen_before_a_truncation_is_not_lost() {
    let mut w = World::new("");
    w.append("a.log", "whole\nhalf");
    w.read();
    std::fs::write(w.path("a.log"), "new\n").unwrap();
    w.read();
    assert_eq!(w.lines(), ["whole", "half", "new"]);
}

#[test]
fn a_truncated_file_that_grew_longer_than_before_is_read_from_its_beginning() {
    for (old, new) in [("1\n2\n", "other 1\nother 2\nother 3\n"), ("same\nx\n", "same\ny\nz\nlonger\n")] {
        let mut w = World::new("");
        w.append("a.log", old);
        w.read();
        w.lines();
        std::fs::write(w.path("a.log"), new).unwrap();
        w.read();
        assert_eq!(w.lines().join("\n") + "\n", new);
        // The same while nobody looks.
        w.stop();
        std::fs::write(w.path("a.log"), format!("again {new}and more\n")).unwrap();
        w.start();
        w.read();
        assert_eq!(w.lines().join("\n") + "\n", format!("again {new}and more\n"));
    }
}

#[test]
fn a_rewrite_that_keeps_the_first_kilobyte_is_seen_by_what_stood_before_our_place() {
    let head = "x".repeat(2000);
    let mut w = World::new("");
    w.append("a.log", &format!("{head}\nold\n"));
    w.read();
    w.lines();
    std::fs::write(w.path("a.log"), format!("{head}\nnew and longer\n")).unwrap();
    w.read();
    assert_eq!(w.lines(), [head, "new and longer".into()]);
}

#[test]
fn the_rest_of_a_truncated_file_that_finds_no_room_is_not_lost() {
    let mut w = World::new("");
    w.append("a.log", "1\nunfinished");
    w.read();
    w.taken.full = true;
    std::fs::write(w.path("a.log"), "").unwrap();
    w.append("a.log", "new\n");
    w.read();
    w.append("a.log", "newer\n");
    w.read();
    assert_eq!(w.lines(), ["1"]);
    w.taken.full = false;
    w.read();
    assert_eq!(w.lines(), ["unfinished", "new", "newer"]);
    w.restart();
    w.append("a.log", "last\n");
    w.read();
    assert_eq!(w.lines(), ["last"], "the checkpoint moved with them");
}

#[test]
fn zeros_that_a_writer_without_append_leaves_after_a_truncation_are_passed_over() {
    use std::os::unix::fs::FileExt;
    let mut w = World::new("");
    w.append("a.log", "0123456789\n");
    w.read();
    let file = OpenOptions::new().write(true).open(w.path("a.log")).unwrap();
    file.set_len(0).unwrap();
    file.write_all_at(b"next\n", 11).unwrap();
    w.read();
    assert_eq!(w.lines(), ["0123456789", "next"]);
}

#[test]
fn a_deleted_file_is_read_to_its_end_and_its_last_line_needs_no_end() {
    let mut w = World::new("");
    w.append("a.log", "1\n");
    w.read();
    w.append("a.log", "2\nlast");
    w.remove("a.log");
    w.read();
    assert_eq!(w.lines(), ["1", "2"]);
    w.pass(3);
    assert_eq!(w.lines(), ["last"]);
    w.pass(30);
    assert_eq!(w.tailer.as_ref().unwrap().files.handles.open(), 0, "its space is held");
    assert_eq!(w.lines(), [""; 0]);
    w.append("a.log", "1\n");
    w.read();
    assert_eq!(w.lines(), ["1"], "a new file of the same name and beginning is another file");
}

#[test]
fn a_deleted_file_is_read_to_its_end_before_the_agent_stops() {
    let mut w = World::new("");
    w.append("a.log", "1\n");
    w.append("b.log", "1\n");
    w.read();
    w.taken.full = true;
    w.append("a.log", &"more\n".repeat(100_000));
    w.append("a.log", "last");
    w.append("b.log", "kept for later\n");
    w.remove("a.log");
    w.taken.full = false;
    w.stop();
    let lines = w.lines();
    assert_eq!((lines.len(), lines.last().map(String::as_str)), (100_003, Some("last")));
    w.start();
    w.read();
    assert_eq!(w.lines(), ["kept for later"]);
}

#[test]
fn what_must_be_left_in_a_deleted_file_is_said_and_counted() {
    let mut w = World::new("");
    w.append("a.log", "1\n");
    w.read();
    w.taken.full = true;
    w.append("a.log", "2\n");
    w.read();
    w.remove("a.log");
    w.stop();
    assert_eq!((w.lines(), w.errors("lost_deleted")), (vec!["1".to_owned()], 1));
}

#[test]
fn the_last_line_of_a_renamed_file_needs_no_end_and_comes_once() {
    let mut w = World::new("");
    w.append("a.log", "1\nlast");
    w.read();
    w.rename("a.log", "a.old");
    w.append("a.log", "new\n");
    w.pass(5);
    assert_eq!(w.lines(), ["1", "new", "last"]);
    w.pass(60);
    w.restart();
    w.pass(60);
    assert_eq!(w.lines(), [""; 0]);
}

#[test]
fn a_link_that_is_swapped_leads_to_another_file() {
    use std::os::unix::fs::symlink;
    let mut w = World::reading("['current']", "");
    w.append("one", "1\n");
    w.append("two", "2\n");
    symlink(w.path("one"), w.path("current")).unwrap();
    w.read();
    w.append("one", "1b\n");
    symlink(w.path("two"), w.path("tmp")).unwrap();
    w.rename("tmp", "current");
    w.read();
    assert_eq!(w.lines(), ["1", "1b", "2"]);
    symlink(w.path("one"), w.path("tmp")).unwrap();
    w.rename("tmp", "current");
    w.append("one", "1c\n");
    w.pass(60);
    assert_eq!(w.lines(), ["1c"], "swapped back: what is new only");
}

#[test]
fn links_are_not_followed_where_that_is_not_wanted() {
    let mut w = World::new("follow_symlinks: false");
    w.append("target", "1\n");
    std::os::unix::fs::symlink(w.path("target"), w.path("a.log")).unwrap();
    w.read();
    assert_eq!(w.lines(), [""; 0]);
}

#[test]
fn a_reused_inode_is_another_file_even_with_the_same_beginning() {
    let mut w = World::new("");
    // Until the file system gives an inode again.
    for n in 0..50 {
        w.append("a.log", "same beginning\n");
        w.read();
        assert_eq!(w.lines(), ["same beginning"], "file {n}");
        w.stop();
        w.remove("a.log");
        w.append("a.log", "same beginning\n");
        w.append("a.log", &format!("{n}\n"));
        w.start();
        w.read();
        assert_eq!(w.lines(), ["same beginning".to_owned(), n.to_string()]);
        w.remove("a.log");
        w.pass(10);
    }
}

#[test]
fn files_with_the_same_first_kilobyte_are_told_apart() {
    let head = format!("{}\n", "h".repeat(1500));
    let mut w = World::new("");
    for name in ["a.log", "b.log"] {
        w.append(name, &head);
    }
    w.read();
    assert_eq!(w.lines().len(), 2);
    w.append("b.log", "b\n");
    w.restart();
    w.append("a.log", "a\n");
    w.read();
    let mut lines = w.lines();
    lines.sort();
    assert_eq!(lines, ["a", "b"]);
}

#[test]
fn a_file_that_leaves_the_glob_and_comes_back_goes_on_where_it_was() {
    let mut w = World::new("");
    w.append("a.log", "1\n");
    w.read();
    w.rename("a.log", "a.hidden");
    w.pass(120);
    w.append("a.hidden", "2\n");
    w.pass(5);
    w.rename("a.hidden", "b.log");
    w.append("b.log", "3\n");
    w.read();
    assert_eq!(w.lines(), ["1", "2", "3"]);
}

#[test]
fn patterns_and_links_that_meet_in_one_file_read_it_once() {
    let mut w = World::reading("['*.log', 'a*', 'a.log']", "");
    w.append("a.log", "1\n");
    std::fs::hard_link(w.path("a.log"), w.path("a-hard.log")).unwrap();
    std::os::unix::fs::symlink(w.path("a.log"), w.path("a-soft.log")).unwrap();
    w.read();
    assert_eq!(w.lines(), ["1"]);
    w.append("a.log", "2\n");
    w.remove("a.log");
    w.append("a-hard.log", "3\n");
    w.read();
    assert_eq!(w.lines(), ["2", "3"]);
}

#[test]
fn only_regular_files_are_opened_and_never_the_agents_own() {
    let mut w = World::new("");
    rustix::fs::mknodat(rustix::fs::CWD, w.path("fifo.log"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    std::fs::create_dir(w.path("dir.log")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", w.path("zero.log")).unwrap();
    std::os::unix::fs::symlink(w.path("nowhere"), w.path("broken.log")).unwrap();
    std::os::unix::fs::symlink(w.dir.path().join("data/src/files.1"), w.path("data.log")).unwrap();
    w.append("own.log", "never\n");
    w.append("a.log", "1\n");
    w.read();
    w.read();
    assert_eq!(w.lines(), ["1"]);
}

#[test]
fn a_literal_path_that_the_agent_writes_is_a_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let mut cx = context("src", dir.path().join("data"), false);
    cx.own_files = Arc::new(vec![dir.path().join("out")]);
    for path in ["out/x.ndjson", "data/src/files.0"] {
        let config = config(&format!("include: ['{}/{path}']", dir.path().display()));
        let error = config.plan(&cx).err().expect("refused");
        assert!(error.to_string().contains("written by the agent itself"), "{error}");
    }
}

#[test]
fn an_unreadable_file_is_said_once_and_read_when_it_can_be() {
    use std::os::unix::fs::PermissionsExt;
    let mut w = World::new("");
    w.append("a.log", "1\n");
    std::fs::set_permissions(w.path("a.log"), std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::File::open(w.path("a.log")).is_ok() {
        println!("skipped: this user may read everything");
        return;
    }
    w.pass(10);
    assert_eq!((w.lines().len(), w.errors("open")), (0, 1));
    std::fs::set_permissions(w.path("a.log"), std::fs::Permissions::from_mode(0o600)).unwrap();
    w.pass(2);
    assert_eq!(w.lines(), ["1"]);
}

#[test]
fn start_at_end_passes_over_what_is_there_at_the_first_start_only() {
    let mut w = World::new("start_at: end");
    w.append("a.log", "old\nbegun");
    w.read();
    w.append("a.log", " and ended\n");
    w.append("b.log", "appeared later\n");
    w.read();
    let mut lines = w.lines();
    lines.sort();
    assert_eq!(lines, ["appeared later", "begun and ended"]);
    w.stop();
    w.append("a.log", "while away\n");
    w.append("c.log", "new while away\n");
    w.start();
    w.read();
    let mut lines = w.lines();
    lines.sort();
    assert_eq!(lines, ["new while away", "while away"]);
}

#[test]
fn old_files_are_ignored_until_they_change() {
    let mut w = World::new("ignore_older: 1h");
    w.append("a.log", "old\n");
    let file = OpenOptions::new().append(true).open(w.path("a.log")).unwrap();
    let now = std::time::Duration::from_nanos(crate::time::clock::now_ns() as u64);
    file.set_modified(std::time::UNIX_EPOCH + now - std::time::Duration::from_secs(7200)).unwrap();
    w.read();
    assert_eq!(w.lines(), [""; 0]);
    w.append("a.log", "new\n");
    w.read();
    assert_eq!(w.lines(), ["old", "new"]);
}

#[test]
fn a_delivered_file_is_removed_only_once_everything_in_it_is_acknowledged() {
    let mut w = World::new("remove_after: 5s");
    w.taken.settle = false;
    w.append("a.log", "1\n");
    w.pass(60);
    assert!(w.path("a.log").exists(), "not acknowledged");
    for ack in w.taken.acks.drain(..) {
        ack.settle(Verdict::Delivered);
    }
    w.pass(10);
    assert!(!w.path("a.log").exists());
    w.append("b.log", "no line end");
    w.pass(60);
    assert!(w.path("b.log").exists(), "its line is not finished");
}

#[test]
fn long_lines_are_cut_and_counted_and_a_restart_within_one_goes_on_behind_it() {
    let mut w = World::new("max_line_bytes: 10\nlong_lines: truncate");
    w.append("a.log", "short\n0123456789abc");
    w.read();
    assert_eq!(w.lines(), ["short", "0123456789"]);
    w.restart();
    w.append("a.log", "def\nnext\n");
    w.read();
    assert_eq!(w.lines(), ["next"]);
    let mut w = World::new("max_line_bytes: 10\nlong_lines: skip");
    w.append("a.log", "0123456789abc");
    w.read();
    w.restart();
    w.append("a.log", "def\nnext\n0123456789a\n");
    w.read();
    assert_eq!(w.lines(), ["next"]);
    let totals = w.counters.snapshot();
    assert_eq!((totals.errors["long_lines"], totals.dropped["long_line"], totals.balance()), (1, 1, 0));
}

#[test]
fn a_file_without_any_line_end_takes_bounded_memory() {
    let mut w = World::new("max_line_bytes: 300KiB\nlong_lines: split");
    let text = "abcdefgh".repeat(1 << 17);
    w.append("a.log", &text);
    w.read();
    w.append("a.log", "\n");
    w.read();
    let lines = w.lines();
    assert!(lines.iter().all(|l| l.len() <= 300 << 10));
    assert_eq!(lines.concat(), text);
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_line() {
    let mut w = World::new("");
    w.append("a.log", "\u{feff}{}\n\u{feff}\n");
    w.read();
    assert_eq!(w.lines(), ["{}", "\u{feff}"]);
}

#[test]
fn nothing_is_read_while_downstream_is_full_but_new_files_are_held() {
    let mut w = World::new("");
    w.append("a.log", "1\n");
    w.read();
    w.taken.full = true;
    w.append("a.log", "2\n");
    w.read();
    w.append("b.log", "deleted before there was room\n");
    w.read();
    w.remove("b.log");
    w.read();
    w.taken.full = false;
    w.read();
    let mut lines = w.lines();
    lines.sort();
    assert_eq!(lines, ["1", "2", "deleted before there was room"]);
}

#[test]
fn a_big_file_does_not_keep_the_others_waiting() {
    let mut w = World::new("");
    w.append("a.log", &format!("{}\n", "a".repeat(99)).repeat(100_000));
    for n in 0..5 {
        w.append(&format!("b{n}.log"), "small\n");
    }
    w.settle();
    let order: Vec<&str> = w.taken.lines.iter().map(|l| l.file.as_str()).collect();
    let last_small = order.iter().rposition(|f| f.starts_with('b')).unwrap();
    assert_eq!(order.len(), 100_005);
    assert!(last_small < 30_000, "line {last_small}");
}

#[test]
fn checkpoints_hold_what_is_settled_and_nothing_else() {
    let mut w = World::new("");
    w.taken.settle = false;
    w.append("a.log", "1\n");
    w.read();
    w.append("a.log", "2\n");
    w.read();
    w.append("a.log", "3\n");
    w.read();
    assert_eq!(w.lines(), ["1", "2", "3"]);
    // The second one stays open.
    let mut acks: Vec<Ack> = w.taken.acks.drain(..).collect();
    acks.remove(2).settle(Verdict::Delivered);
    acks.remove(0).settle(Verdict::Rejected);
    w.pass(2);
    w.kill();
    w.start();
    w.read();
    assert_eq!(w.lines(), ["2", "3"]);
    drop(acks);
}

#[test]
fn once_reads_to_the_end_with_the_last_line_and_the_next_run_goes_on_there() {
    let mut w = World::new("");
    w.stop();
    w.once = true;
    w.append("a.log", "1\nlast");
    w.append("b.log", "");
    w.start();
    w.settle();
    assert_eq!(w.turn(), Next::Done);
    assert_eq!(w.lines(), ["1", "last"]);
    w.restart();
    w.settle();
    assert_eq!(w.lines(), [""; 0]);
    w.append("a.log", "\nnew\n");
    w.restart();
    w.settle();
    assert_eq!(w.lines(), ["", "new"]);
}

#[test]
fn ten_thousand_files_are_read_with_few_handles() {
    let mut w = World::reading("['*/*.log']", "");
    w.tailer.as_mut().unwrap().files.handles.limit_to(100);
    for dir in 0..10 {
        std::fs::create_dir(w.path(&format!("d{dir}"))).unwrap();
        for n in 0..1000 {
            std::fs::write(w.path(&format!("d{dir}/{n}.log")), format!("{dir}/{n}\n")).unwrap();
        }
    }
    w.settle();
    assert_eq!(w.lines().len(), 10_000);
    for n in (0..1000).step_by(10) {
        w.append(&format!("d3/{n}.log"), "more\n");
    }
    w.pass(12);
    assert_eq!(w.lines(), vec!["more"; 100]);
    assert!(w.tailer.as_ref().unwrap().files.handles.open() <= 101);
    w.restart();
    w.settle();
    assert_eq!(w.lines(), [""; 0]);
}

#[test]
fn a_fingerprint_of_bytes_knows_a_file_by_its_contents_alone() {
    let mut w = World::new("fingerprint: {bytes: 8}");
    w.append("a.log", "short");
    w.read();
    assert_eq!(w.lines(), [""; 0], "too short to tell");
    w.append("a.log", "er\n1\n");
    w.read();
    assert_eq!(w.lines(), ["shorter", "1"]);
    w.stop();
    // Another inode with the same contents, as network file systems have it.
    std::fs::copy(w.path("a.log"), w.path("copy")).unwrap();
    w.rename("copy", "a.log");
    w.append("a.log", "2\n");
    w.start();
    w.read();
    assert_eq!(w.lines(), ["2"]);
}

#[test]
fn a_fingerprint_of_the_inode_alone_allows_a_beginning_that_changes() {
    use std::os::unix::fs::FileExt;
    let mut w = World::new("fingerprint: inode");
    w.append("a.log", "count 1\nx\n");
    w.read();
    OpenOptions::new().write(true).open(w.path("a.log")).unwrap().write_all_at(b"count 2", 0).unwrap();
    w.append("a.log", "y\n");
    w.read();
    assert_eq!(w.lines(), ["count 1", "x", "y"]);
}

#[test]
fn a_start_reads_only_what_changed_meanwhile() {
    use std::os::unix::fs::FileExt;
    let mut w = World::new("");
    for name in ["same", "longer", "rewritten", "shorter", "deleted", "renamed"] {
        w.append(&format!("{name}.log"), &format!("{name}\n"));
    }
    w.read();
    w.pass(3);
    w.stop();
    w.lines();
    w.append("longer.log", "more\n");
    OpenOptions::new().write(true).open(w.path("rewritten.log")).unwrap().write_all_at(b"anew.....", 0).unwrap();
    std::fs::write(w.path("shorter.log"), "s\n").unwrap();
    w.remove("deleted.log");
    w.rename("renamed.log", "other.log");
    w.start();
    w.settle();
    let mut lines = w.lines();
    lines.sort();
    assert_eq!(lines, ["anew.....", "more", "s"]);
    let tailer = w.tailer.as_ref().unwrap();
    let read = |name: &str| {
        let tail = tailer.files.tails.get(tailer.files.tails.at_path(&w.path(name)).unwrap()).unwrap();
        assert!(tail.handle.is_open(), "{name} could be deleted unread");
        !Arc::ptr_eq(&tail.origin, &tailer.files.nameless)
    };
    // A new name counts as a change: that nothing else changed is proven by its bytes.
    assert_eq!(["same.log", "other.log", "longer.log", "rewritten.log"].map(read), [false, true, true, true]);
    // What was not read at the start goes on as any other.
    w.append("same.log", "1\n");
    w.append("other.log", "2\n");
    w.pass(12);
    let mut lines = w.lines();
    lines.sort();
    assert_eq!(lines, ["1", "2"]);
}

#[test]
fn a_checkpoint_file_of_the_version_before_is_read() {
    let mut w = World::new("");
    w.append("a.log", "1\n");
    w.read();
    w.stop();
    w.lines();
    let data = w.dir.path().join("data/src");
    let mut changed = 0;
    for name in ["files.0", "files.1", "recent.0", "recent.1"] {
        if let Ok(bytes) = std::fs::read(data.join(name)) {
            std::fs::write(data.join(name), crate::sources::file::checkpoint::as_version(&bytes, 1)).unwrap();
            changed += 1;
        }
    }
    assert!(changed > 0);
    w.append("a.log", "2\n");
    w.start();
    w.read();
    assert_eq!(w.lines(), ["2"]);
}
