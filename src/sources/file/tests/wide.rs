//! Files in UTF-16: found out by their mark or told, at places that are bytes of the file, over all that happens to files.

use super::*;
use flate2::Compression;
use flate2::write::GzEncoder;

fn little(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn big(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

const BOM: &str = "\u{feff}";

impl World {
    fn append_bytes(&self, name: &str, bytes: &[u8]) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap();
        file.write_all(bytes).unwrap();
    }

    fn places(&mut self) -> Vec<(u64, String)> {
        self.taken.lines.drain(..).map(|line| (line.offset, line.text)).collect()
    }
}

fn at(places: &[(u64, &str)]) -> Vec<(u64, String)> {
    places.iter().map(|(at, text)| (*at, (*text).to_owned())).collect()
}

const NONE: [&str; 0] = [];

#[test]
fn a_file_with_a_mark_is_read_byte_by_byte_and_on_after_restarts_and_kills() {
    for (encode, charset) in
        [(little as fn(&str) -> Vec<u8>, ""), (big, ""), (little, "charset: latin1"), (big, "charset: utf-16")]
    {
        let mut w = World::new(charset);
        let bytes = encode(&format!("{BOM}one \u{fc}\r\ntwo\u{a0d}\u{10a}\r\n\n\u{1f600}\r\n"));
        for byte in &bytes {
            w.append_bytes("a.log", &[*byte]);
            w.settle();
            w.pass(1);
        }
        assert_eq!(
            w.places(),
            at(&[(2, "one \u{fc}"), (16, "two\u{a0d}\u{10a}"), (30, ""), (32, "\u{1f600}")]),
            "{charset}"
        );
        w.append_bytes("a.log", &encode("three"));
        w.read();
        w.restart();
        w.append_bytes("a.log", &encode("\nfour\n"));
        w.read();
        assert_eq!(w.places(), at(&[(40, "three"), (52, "four")]));
        w.kill();
        w.start();
        w.append_bytes("a.log", &encode("five\n"));
        w.read();
        assert_eq!(w.places().last().cloned(), Some((62, "five".to_owned())));
        assert_eq!(w.errors("invalid_utf8"), 0);
    }
}

#[test]
fn without_a_mark_the_charset_says_so() {
    let mut w = World::new("charset: utf-16le");
    w.append_bytes("a.log", &little("one\ntwo\n"));
    w.read();
    assert_eq!(w.places(), at(&[(0, "one"), (8, "two")]));
    // Other files of the source have a mark of their own.
    w.append_bytes("b.log", &big(&format!("{BOM}three\n")));
    w.read();
    assert_eq!(w.places(), at(&[(2, "three")]));
    let mut w = World::new("");
    w.append_bytes("a.log", b"\xff\xfa no mark\n\xff\xfe\n");
    w.read();
    assert_eq!(w.lines().len(), 2);
}

#[test]
fn lines_are_joined_and_long_ones_cut_between_characters() {
    let mut w = World::new("multiline: indent");
    w.append_bytes("a.log", &little(&format!("{BOM}one\r\n \u{fc}\r\ntwo\r\n")));
    w.settle();
    assert_eq!(w.places(), at(&[(2, "one\r\n \u{fc}")]));
    w.restart();
    w.pass(5);
    assert_eq!(w.places(), at(&[(20, "two")]));
    let mut w = World::new("max_line_bytes: 10\nlong_lines: split");
    w.append_bytes("a.log", &little(&format!("{BOM}abcd\u{1f600}efg\nxy\n")));
    w.read();
    assert_eq!(w.lines(), ["abcd", "\u{1f600}efg", "xy"]);
    assert_eq!(w.errors("long_lines"), 1);
}

#[test]
fn rotation_ends_a_line_and_half_a_character_is_said() {
    let mut w = World::new("");
    w.append_bytes("a.log", &little(&format!("{BOM}one\nrest")));
    w.append_bytes("a.log", b"\xfc");
    w.read();
    w.rename("a.log", "a.log.1");
    // The next generation is in another charset.
    w.append("a.log", "plain \u{fc}\n");
    w.pass(5);
    let mut lines = w.lines();
    lines.sort_unstable();
    assert_eq!(lines, ["one", "plain \u{fc}", "rest\u{fffd}"]);
    assert_eq!(w.errors("invalid_utf8"), 1);
}

#[test]
fn a_file_that_is_written_anew_is_what_its_new_beginning_says() {
    let mut w = World::new("");
    w.append_bytes("a.log", &little(&format!("{BOM}one\nhalf")));
    w.read();
    std::fs::write(w.path("a.log"), "two\n").unwrap();
    w.read();
    assert_eq!(w.lines(), ["one", "half", "two"]);
    std::fs::write(w.path("a.log"), big(&format!("{BOM}3\n"))).unwrap();
    w.append_bytes("a.log", &big("four\n"));
    w.read();
    assert_eq!(w.lines(), ["3", "four"]);
}

#[test]
fn room_that_was_laid_out_is_no_text() {
    for encode in [little as fn(&str) -> Vec<u8>, big] {
        let mut w = World::new("");
        let mut bytes = encode(&format!("{BOM}one\ntwo"));
        let len = bytes.len();
        bytes.resize(len + 6000, 0);
        std::fs::write(w.path("a.log"), &bytes).unwrap();
        w.read();
        assert_eq!(w.lines(), ["one"]);
        bytes[len..len + 12].copy_from_slice(&encode("!\nmore"));
        std::fs::write(w.path("a.log"), &bytes).unwrap();
        w.read();
        assert_eq!(w.lines(), ["two!"]);
        // A hole ends a line; what follows it is read.
        bytes.extend(encode("after\n"));
        std::fs::write(w.path("a.log"), &bytes).unwrap();
        w.read();
        assert_eq!(w.lines(), ["more", "after"]);
    }
}

#[test]
fn archives_are_read_by_their_mark_and_by_charset() {
    let gzip = |bytes: &[u8]| {
        let mut to = GzEncoder::new(Vec::new(), Compression::fast());
        to.write_all(bytes).unwrap();
        to.finish().unwrap()
    };
    let mut w = World::reading("['*']", "");
    std::fs::write(w.path("a.log.gz"), gzip(&little(&format!("{BOM}one\r\ntwo\n")))).unwrap();
    w.read();
    assert_eq!(w.places(), at(&[(2, "one"), (12, "two")]));
    // What was read of it is not given again, and the rest is.
    let mut w = World::reading("['b.log']", "");
    let numbered = |from: u32| (from..from + 50).map(|n| format!("a line with the number {n}\n")).collect::<String>();
    w.append_bytes("b.log", &big(&format!("{BOM}{}", numbered(0))));
    w.read();
    w.rename("b.log", "b.log.1");
    w.append_bytes("b.log", &little(&format!("{BOM}new\n")));
    w.pass(40);
    assert_eq!(w.lines().len(), 51);
    w.append_bytes("b.log.1", &big(&numbered(50)));
    let text = std::fs::read(w.path("b.log.1")).unwrap();
    std::fs::write(w.path("b.log.1.gz"), gzip(&text)).unwrap();
    w.remove("b.log.1");
    w.pass(30);
    let lines = w.lines();
    assert_eq!((lines.len(), lines.concat()), (50, numbered(50).replace('\n', "")));
}

#[test]
fn from_the_end_means_behind_the_last_whole_line() {
    let mut w = World::new("");
    w.stop();
    std::fs::remove_dir_all(w.dir.path().join("data")).unwrap();
    w.yaml.push_str("start_at: end\n");
    w.append_bytes("a.log", &little(&format!("{BOM}one\nha\u{a0a}")));
    w.start();
    w.read();
    assert_eq!(w.lines(), NONE);
    w.append_bytes("a.log", &little("lf\n"));
    w.read();
    assert_eq!(w.places(), at(&[(10, "ha\u{a0a}lf")]));
}
