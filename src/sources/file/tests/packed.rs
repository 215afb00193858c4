//! Compressed files of each format: where reading begins and goes on in them, what is damaged, and memory.

use super::super::unpack::{MOST_XZ_BYTES, MOST_ZSTD_BYTES};
use super::*;
use bzip2::write::BzEncoder;
use flate2::write::GzEncoder;
use lzma_rust2::{XzOptions, XzWriter};

/// How names end, by format.
pub(super) const ENDS: [&str; 4] = ["gz", "zst", "xz", "bz2"];

/// What a tool makes of `text`, by the ending of the name it gives.
pub(super) fn pack(end: &str, text: &[u8]) -> Vec<u8> {
    match end {
        "gz" => {
            let mut to = GzEncoder::new(Vec::new(), flate2::Compression::fast());
            to.write_all(text).unwrap();
            to.finish().unwrap()
        }
        "zst" => {
            // As the tool does.
            let mut to = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            to.include_checksum(true).unwrap();
            to.write_all(text).unwrap();
            to.finish().unwrap()
        }
        "xz" => xz(0, text),
        "bz2" => bzip2(1, text),
        _ => panic!("{end}"),
    }
}

fn xz(preset: u32, text: &[u8]) -> Vec<u8> {
    let mut to = XzWriter::new(Vec::new(), XzOptions::with_preset(preset)).unwrap();
    to.write_all(text).unwrap();
    to.finish().unwrap()
}

fn bzip2(level: u32, text: &[u8]) -> Vec<u8> {
    let mut to = BzEncoder::new(Vec::new(), bzip2::Compression::new(level));
    to.write_all(text).unwrap();
    to.finish().unwrap()
}

/// The same archive with a dictionary of another size in the header of its first block. Source: xz-file-format 1.2.1, 3.1.
fn with_dictionary(mut archive: Vec<u8>, code: u8) -> Vec<u8> {
    let len = (usize::from(archive[12]) + 1) * 4;
    let header = &mut archive[12..12 + len];
    // No sizes, and LZMA2 alone: its id, one byte of settings, which is the size.
    assert_eq!(header[1..4], [0, 0x21, 1]);
    header[4] = code;
    let sum = crc32(&header[..len - 4]);
    header[len - 4..].copy_from_slice(&sum.to_le_bytes());
    archive
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = flate2::Crc::new();
    sum.update(bytes);
    sum.sum()
}

/// Lines that do not repeat each other too much.
fn text(lines: usize) -> String {
    (0..lines).map(|n| format!("line {n} {:x}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect()
}

fn is(lines: &[String], text: &str) -> bool {
    lines.join("\n") + "\n" == text
}

#[test]
fn archives_of_all_formats_are_read_once() {
    for end in ENDS {
        let mut w = World::reading("['*']", "");
        let text = text(50_000);
        std::fs::write(w.path(&format!("a.{end}")), pack(end, text.as_bytes())).unwrap();
        std::fs::write(w.path(&format!("empty.{end}")), pack(end, b"")).unwrap();
        std::fs::write(w.path(&format!("named.{end}")), "not compressed\n").unwrap();
        w.read();
        let (plain, lines): (Vec<String>, _) = w.lines().into_iter().partition(|line| line == "not compressed");
        assert!(plain.len() == 1 && is(&lines, &text), "{end}: {}", lines.len());
        w.restart();
        w.pass(30);
        assert_eq!((w.lines(), w.errors("corrupt")), (vec![], 0), "{end}");
    }
}

#[test]
fn kills_within_an_archive_of_any_format_lose_and_repeat_nothing() {
    for end in ENDS {
        let mut w = World::reading("['*']", "");
        let text: String = (0..150_000).map(|n| format!("line {n} {}\n", "and so on ".repeat(8))).collect();
        std::fs::write(w.path("a"), pack(end, text.as_bytes())).unwrap();
        let (mut lines, mut starts) = (Vec::new(), 0);
        while lines.len() < 150_000 && starts < 200 {
            w.turn();
            // What was taken is saved, and then it is killed.
            let tailer = w.tailer.as_mut().unwrap();
            tailer.hear_verdicts();
            tailer.save_all(w.now).unwrap();
            lines.extend(w.lines());
            w.kill();
            w.start();
            starts += 1;
        }
        assert!(starts > 2, "{end}: {starts}");
        assert!(is(&lines, &text), "{end}: {}", lines.len());
    }
}

#[test]
fn members_streams_and_padding_follow_each_other() {
    for end in ENDS {
        let one = |n: usize| pack(end, format!("{n}\n").as_bytes());
        let mut w = World::reading("['*']", "");
        std::fs::write(w.path("a"), [one(1), pack(end, b""), one(2), one(3)].concat()).unwrap();
        w.pass(20);
        assert_eq!((w.lines(), w.errors("corrupt")), (vec!["1".into(), "2".into(), "3".into()], 0), "{end}");
        if end == "zst" {
            continue;
        }
        // Zeros behind the last are padding; rubbish is damage, and what is before it is read.
        let behind: [(&[u8], u64); 4] = [(&[0; 512], 0), (&[0; 7], 0), (b"\0\0\0\0xx", 1), (b"rubbish", 1)];
        for (n, (behind, corrupt)) in behind.into_iter().enumerate() {
            let mut w = World::reading("['*']", "");
            std::fs::write(w.path("a"), [&one(n)[..], &one(n + 1), behind].concat()).unwrap();
            w.pass(20);
            let lines = vec![n.to_string(), (n + 1).to_string()];
            assert_eq!((w.lines(), w.errors("corrupt")), (lines, corrupt), "{end} {n}");
        }
    }
    // Streams of xz may have padding between them.
    let mut w = World::reading("['*']", "");
    std::fs::write(w.path("a"), [pack("xz", b"1\n"), vec![0; 8], pack("xz", b"2\n"), vec![0; 4]].concat()).unwrap();
    w.pass(20);
    assert_eq!((w.lines(), w.errors("corrupt")), (vec!["1".into(), "2".into()], 0));
}

#[test]
fn an_archive_of_any_format_that_is_still_written_is_read_when_it_is_whole() {
    for end in ENDS {
        let mut w = World::reading("['*']", "");
        let text = text(60_000);
        let bytes = [pack(end, text.as_bytes()), pack(end, b"last\n")].concat();
        let second = bytes.len() - pack(end, b"last\n").len();
        for to in [5, 100, second / 2, second - 1, second, second + 2, second + 9, bytes.len()] {
            std::fs::write(w.path("a"), &bytes[..to]).unwrap();
            w.pass(5);
        }
        let lines = w.lines();
        assert!(is(&lines, &(text + "last\n")), "{end}: {} lines", lines.len());
        assert_eq!(w.errors("corrupt"), 0, "{end}");
    }
}

#[test]
fn a_cut_archive_of_any_format_is_told_and_read_on_when_it_grows() {
    for end in ENDS {
        let mut w = World::reading("['*']", "");
        let text = text(60_000);
        let bytes = pack(end, text.as_bytes());
        std::fs::write(w.path("a"), &bytes[..bytes.len() / 2]).unwrap();
        w.pass(5);
        assert_eq!(w.errors("corrupt"), 0, "{end}: it may be growing");
        w.pass(30);
        assert_eq!(w.errors("corrupt"), 1, "{end}");
        let mut lines = w.lines();
        assert!(lines.len() > 1000 && lines.len() < 60_000, "{end}: {}", lines.len());
        std::fs::write(w.path("a"), &bytes).unwrap();
        w.pass(30);
        lines.extend(w.lines());
        assert!(is(&lines, &text), "{end}: {}", lines.len());
    }
}

#[test]
fn damage_in_an_archive_of_any_format_is_told_once_and_the_rest_goes_on() {
    for end in ENDS {
        for wrong in ["middle", "checksum"] {
            let mut w = World::reading("['*']", "remove_after: 5s");
            let text = text(60_000);
            let mut bytes = pack(end, text.as_bytes());
            let len = bytes.len();
            let at = match (wrong, end) {
                ("middle", _) => len / 2..len / 2 + 200,
                (_, "gz") => len - 8..len - 6,
                (_, "zst") => continue,
                // Before the index of two records at most and the footer; the last bits of bzip2 are the sum.
                (_, "xz") => len - 12 - 8 - 12..len - 12 - 8 - 4,
                _ => len - 5..len - 3,
            };
            bytes[at].iter_mut().for_each(|byte| *byte ^= 0x55);
            std::fs::write(w.path("a"), bytes).unwrap();
            w.append("b.log", "fine\n");
            w.pass(30);
            let lines = w.lines();
            let least = if wrong == "middle" { 1000 } else { 59_000 };
            assert!(lines.contains(&"fine".to_owned()) && lines.len() > least, "{end} {wrong}: {}", lines.len());
            assert_eq!(w.errors("corrupt"), 1, "{end} {wrong}");
            // Not all of it was delivered, whatever was told.
            w.pass(60);
            assert!(w.path("a").exists() && !w.path("b.log").exists(), "{end} {wrong}");
            w.restart();
            w.pass(60);
            assert!(w.path("a").exists(), "{end} {wrong}");
            assert_eq!(w.lines(), [""; 0], "{end} {wrong}");
        }
    }
}

#[test]
fn a_generation_compressed_in_any_format_gives_only_what_was_not_read() {
    for end in ENDS {
        for include in ["['a.log*']", "['a.log']"] {
            let mut w = World::reading(include, "");
            w.append("a.log", "1\n2\n");
            w.read();
            w.stop();
            w.append("a.log", "3\n");
            let whole = std::fs::read(w.path("a.log")).unwrap();
            w.remove("a.log");
            std::fs::write(w.path(&format!("a.log.1.{end}")), pack(end, &whole)).unwrap();
            w.append("a.log", "4\n");
            w.start();
            w.read();
            let mut lines = w.lines();
            lines.sort();
            assert_eq!(lines, ["1", "2", "3", "4"], "{end} {include}");
            // While it runs, and all was read.
            let whole = std::fs::read(w.path("a.log")).unwrap();
            w.rename("a.log", "a.log.1");
            w.append("a.log", "5\n");
            w.read();
            std::fs::write(w.path(&format!("a.log.2.{end}")), pack(end, &whole)).unwrap();
            w.remove("a.log.1");
            w.pass(60);
            w.restart();
            w.pass(60);
            assert_eq!(w.lines(), ["5"], "{end} {include}");
        }
    }
}

/// How many archives have a stream open that takes much memory.
fn heavy_streams(w: &World) -> usize {
    let tails = w.tailer.as_ref().unwrap().files.tails.iter();
    tails.filter(|tail| tail.packed.as_ref().is_some_and(|packed| packed.is_heavy_and_open())).count()
}

#[test]
fn archives_that_take_much_memory_are_read_one_at_a_time() {
    let mut w = World::reading("['*']", "");
    let mut all = Vec::new();
    for n in 0..6 {
        let text: String = (0..60_000).map(|i| format!("file {n} line {i} and some more of it\n")).collect();
        // 8 MiB, 1 MiB and blocks of 900 kB.
        let (name, bytes) = match n % 3 {
            0 => (format!("{n}.xz"), with_dictionary(xz(0, text.as_bytes()), 22)),
            1 => (format!("{n}.bz2"), bzip2(9, text.as_bytes())),
            _ => {
                let mut packer = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
                packer.window_log(23).unwrap();
                packer.write_all(text.as_bytes()).unwrap();
                (format!("{n}.zst"), packer.finish().unwrap())
            }
        };
        std::fs::write(w.path(&name), bytes).unwrap();
        all.extend(text.lines().map(str::to_owned));
    }
    let (mut most, mut turns) = (0, 0);
    while w.taken.lines.len() < all.len() && turns < 1000 {
        if w.turn() != Next::Now {
            w.now.mono += 100 * MILLISECOND;
        }
        most = most.max(heavy_streams(&w));
        turns += 1;
    }
    assert_eq!(most, 1, "in {turns} turns");
    w.pass(10);
    assert_eq!(heavy_streams(&w), 0);
    let mut lines = w.lines();
    lines.sort();
    all.sort();
    assert!(lines == all, "{}", lines.len());
    // One after the other: not a piece of each in turn.
    assert_eq!(w.errors("corrupt"), 0);
}

#[test]
fn an_archive_that_takes_much_memory_waits_for_that_of_another_source() {
    let mut w = World::reading("['*']", "");
    let other = w.tailer.as_ref().unwrap().files.plan.heavy.pass();
    let text: String = (0..60_000).map(|i| format!("line {i} and some more of it\n")).collect();
    std::fs::write(w.path("a.xz"), with_dictionary(xz(0, text.as_bytes()), 22)).unwrap();
    w.append("b.log", "read at once\n");
    for _ in 0..20 {
        assert!(other.take(w.now.mono));
        w.pass(1);
    }
    assert_eq!(w.lines(), ["read at once"]);
    other.give_back();
    w.pass(2);
    assert!(is(&w.lines(), &text));
    // A light one does not wait.
    assert!(other.take(w.now.mono));
    std::fs::write(w.path("c.gz"), pack("gz", b"light\n")).unwrap();
    w.pass(2);
    assert_eq!(w.lines(), ["light"]);
    // And whoever has the turn and does not get on holds nobody up.
    std::fs::write(w.path("d.bz2"), bzip2(9, b"heavy\n")).unwrap();
    w.pass(5);
    assert_eq!(w.lines(), [""; 0]);
    w.pass(10);
    assert_eq!(w.lines(), ["heavy"]);
}

#[test]
fn a_dictionary_that_is_too_large_is_refused_once_and_the_archive_is_left() {
    // More than is granted, and more than the dictionary of `xz -9`.
    let line = format!("{}\n", "x".repeat(1 << 20));
    let big = line.repeat((MOST_XZ_BYTES >> 20) as usize + 1);
    for once in [false, true] {
        let mut w = World::reading("['*']", "remove_after: 5s\nmax_line_bytes: 2MiB");
        w.tailer = None;
        w.once = once;
        w.append("b.log", "fine\n");
        let bytes = xz(0, big.as_bytes());
        // 96 MiB, and 4 GiB less one.
        std::fs::write(w.path("a.xz"), with_dictionary(bytes.clone(), 29)).unwrap();
        std::fs::write(w.path("c.xz"), with_dictionary(bytes.clone(), 40)).unwrap();
        // Where there is no index yet, nobody knows better than the header.
        let small = xz(0, b"small\n");
        std::fs::write(w.path("cut.xz"), &with_dictionary(small.clone(), 40)[..small.len() - 12]).unwrap();
        w.start();
        for _ in 0..1000 {
            if w.turn() == Next::Done {
                break;
            }
            w.now.mono += 100 * MILLISECOND;
        }
        assert_eq!(
            (w.lines(), w.errors("window_too_large"), w.errors("corrupt")),
            (vec!["fine".into()], 3, 0),
            "{once}"
        );
        assert!(w.path("a.xz").exists() && w.path("cut.xz").exists());
        if once {
            assert_eq!(w.tailer.as_ref().unwrap().files.unread(), 3);
            continue;
        }
        // Compressed again, it is read; the other is told at each start.
        std::fs::write(w.path("a.xz"), pack("xz", b"again\n")).unwrap();
        w.pass(30);
        assert_eq!(w.lines(), ["again"]);
        w.restart();
        w.pass(5);
        assert_eq!((w.lines(), w.errors("window_too_large")), (vec![], 2));
    }
}

#[test]
fn a_dictionary_is_no_larger_than_its_contents_unless_the_index_lies() {
    let mut w = World::reading("['*']", "");
    // 4 GiB less one is asked for, and 6 bytes are there.
    std::fs::write(w.path("a.xz"), with_dictionary(xz(0, b"small\n"), 40)).unwrap();
    w.pass(5);
    assert_eq!((w.lines(), w.errors("window_too_large")), (vec!["small".into()], 0));
    // The index says that nothing is there, and there is something.
    let text = text(60_000);
    let bytes = with_dictionary(xz(0, text.as_bytes()), 40);
    let nothing = xz(0, b"");
    let one = xz(0, b"1\n");
    // Its block, behind which another's index stands.
    let end = bytes.len() - 12 - (one.len() - nothing.len()).min(8);
    let lie = [&bytes[..end], &one[one.len() - 12 - 8..]].concat();
    std::fs::write(w.path("b.xz"), lie).unwrap();
    w.pass(30);
    assert_eq!(w.errors("window_too_large") + w.errors("corrupt"), 1);
    assert!(w.lines().len() < 60_000);
}

#[test]
fn a_window_of_zstd_that_is_too_large_is_told_with_its_size() {
    let mut w = World::reading("['*']", "");
    let mut packer = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    packer.window_log(MOST_ZSTD_BYTES.ilog2() + 1).unwrap();
    packer.write_all(b"1\n").unwrap();
    std::fs::write(w.path("a.zst"), packer.finish().unwrap()).unwrap();
    w.pass(20);
    assert_eq!((w.lines(), w.errors("window_too_large"), w.errors("corrupt")), (vec![], 1, 0));
}

#[test]
fn rubbish_behind_a_signature_is_told_and_harms_nobody() {
    for (end, head) in [
        ("gz", &b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"[..]),
        ("zst", b"\x28\xb5\x2f\xfd\x24"),
        ("xz", b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4\x46"),
        ("bz2", b"BZh91AY&SY\x8c\x77\xbf\xde\x00"),
    ] {
        for seed in 0..20u64 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut bytes = head.to_vec();
            bytes.extend((0..5000).map(|_| random.u8(..)));
            let mut w = World::reading("['*']", "");
            std::fs::write(w.path("a"), bytes).unwrap();
            w.append("b.log", "fine\n");
            w.pass(15);
            assert!(w.lines().contains(&"fine".to_owned()), "{end} {seed}");
            assert_eq!(w.errors("corrupt") + w.errors("window_too_large"), 1, "{end} {seed}");
        }
    }
}
