//! Events of several lines.

use super::*;

#[test]
fn joined_lines_wait_for_their_time_and_come_once() {
    let mut w = World::new("multiline: indent");
    w.append("a.log", "one\n  more\ntwo\n  and\n");
    w.settle();
    assert_eq!(w.lines(), ["one\n  more"]);
    w.append("a.log", "  even more\n");
    w.pass(1);
    assert_eq!(w.lines(), [""; 0], "it went on");
    w.pass(2);
    assert_eq!(w.lines(), ["two\n  and\n  even more"]);
    w.pass(20);
    w.restart();
    w.pass(20);
    assert_eq!(w.lines(), [""; 0]);
}

#[test]
fn an_open_event_is_given_whole_after_a_restart_and_after_a_kill() {
    let mut w = World::new("multiline: indent");
    w.append("a.log", "one\n  more\n");
    w.settle();
    w.restart();
    w.append("a.log", "  still\ntwo\n");
    w.settle();
    assert_eq!(w.lines(), ["one\n  more\n  still"]);
    w.pass(2);
    w.kill();
    w.start();
    w.append("a.log", "  end\n");
    w.pass(5);
    // It had been given by its time when the rest came.
    assert_eq!(w.lines(), ["two", "  end"]);
}

#[test]
fn the_end_of_a_file_ends_its_event() {
    let mut w = World::new("multiline: {start: '^a', mode: halt_before, condition: '^a', timeout: 1h}");
    w.append("a.log", "a1\nb\na2\nb\nunfinished");
    w.pass(20);
    assert_eq!(w.lines(), ["a1\nb"]);
    w.remove("a.log");
    w.pass(20);
    assert_eq!(w.lines(), ["a2\nb\nunfinished"]);
    w.append("b.log", "a1\nb\na2\nb\nunfinished");
    w.stop();
    w.once = true;
    w.start();
    w.settle();
    assert_eq!(w.lines(), ["a1\nb", "a2\nb\nunfinished"]);
}

#[test]
fn what_a_truncation_takes_from_an_open_event_is_given_as_one() {
    let mut w = World::new("multiline: {start: '^a', mode: halt_before, condition: '^a', timeout: 1h}");
    w.append("a.log", "a1\nb\nhalf");
    w.read();
    std::fs::write(w.path("a.log"), "a2\n").unwrap();
    w.read();
    assert_eq!(w.lines(), ["a1\nb\nhalf"]);
}
