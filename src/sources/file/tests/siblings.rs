//! What stands beside a file: generations that came and went, others that are none, copies written again, links.

use super::*;
use std::time::Duration;

fn gz_to(w: &World, from: &str, to: &str) {
    let text = std::fs::read(w.path(from)).unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&text).unwrap();
    std::fs::write(w.path(to), packed.finish().unwrap()).unwrap();
}

fn gz(w: &World, name: &str) {
    gz_to(w, name, &format!("{name}.gz"));
    let modified = std::fs::metadata(w.path(name)).unwrap().modified().unwrap();
    let packed = std::fs::File::options().write(true).open(w.path(&format!("{name}.gz"))).unwrap();
    packed.set_modified(modified).unwrap();
    w.remove(name);
}

#[test]
fn files_beside_a_rotated_one_that_are_no_generations_are_not_read() {
    for down in [false, true] {
        let mut w = World::reading("['a.log']", "");
        w.append("a.log", "1\n");
        w.read();
        tick();
        for name in ["a-error.log", "a_audit.log", "a.log.pos", "a-debug.log", "a.log.swp"] {
            w.append(name, "no line of ours\n");
        }
        if down {
            w.stop();
        }
        w.append("a.log", "2\n");
        w.rename("a.log", "a.log.1");
        tick();
        w.append("a.log", "3\n");
        if down {
            w.start();
        }
        w.read();
        assert_eq!(w.lines(), ["1", "2", "3"], "{down}");
        // Cut off, too.
        std::fs::copy(w.path("a.log"), w.path("a.log.2")).unwrap();
        tick();
        w.append("a-late.log", "no line of ours\n");
        std::fs::write(w.path("a.log"), "4\n").unwrap();
        w.read();
        assert_eq!(w.lines(), ["4"], "{down}");
    }
}

#[test]
fn generations_that_were_compressed_between_two_looks_are_read() {
    let mut w = World::reading("['a.log']", "");
    w.append("a.log", "1\n");
    w.read();
    w.append("a.log", "2\n");
    for n in 3..6 {
        tick();
        w.rename("a.log", &format!("a.log.{n}"));
        gz(&w, &format!("a.log.{n}"));
        w.append("a.log", &format!("{n}\n"));
    }
    w.read();
    w.pass(60);
    let mut lines = w.lines();
    lines.sort();
    assert_eq!(lines, ["1", "2", "3", "4", "5"]);
    w.restart();
    w.pass(60);
    assert_eq!(w.lines(), [""; 0]);
}

#[test]
fn what_is_rotated_beside_the_target_of_a_link_is_found() {
    for (down, copy) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut w = World::reading("['a.log']", "");
        std::fs::create_dir(w.path("real")).unwrap();
        w.append("real/0.log", "1\n");
        std::os::unix::fs::symlink("real/0.log", w.path("a.log")).unwrap();
        w.read();
        if down {
            w.stop();
        }
        w.append("real/0.log", "2\n");
        for n in 3..5 {
            tick();
            let aside = format!("real/0.log.2025010{n}-000000");
            if copy {
                std::fs::copy(w.path("real/0.log"), w.path(&aside)).unwrap();
                std::fs::write(w.path("real/0.log"), format!("{n}\n")).unwrap();
                // A copy that is not the last one is no longer the file's.
                break;
            }
            w.rename("real/0.log", &aside);
            w.append("real/0.log", &format!("{n}\n"));
        }
        if down {
            w.start();
        }
        w.read();
        let want: &[&str] = if copy { &["1", "2", "3"] } else { &["1", "2", "3", "4"] };
        assert_eq!(w.lines(), want, "{down} {copy}");
        assert_eq!(w.errors("rest_not_found"), 0);
    }
}

#[test]
fn a_copy_or_archive_that_was_written_anew_is_read_on() {
    for (down, packed) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut w = World::reading("['a.log']", "");
        let mut want = Vec::new();
        for n in 0..3 {
            w.append("a.log", &format!("read {n}\n"));
            w.read();
            if down {
                w.stop();
            }
            w.append("a.log", &format!("rest {n}\n"));
            tick();
            match packed {
                true => gz_to(&w, "a.log", "a.log.gz"),
                false => drop(std::fs::copy(w.path("a.log"), w.path("a.log.1")).unwrap()),
            }
            std::fs::write(w.path("a.log"), "").unwrap();
            if down {
                w.start();
            }
            w.read();
            want.extend([format!("read {n}"), format!("rest {n}")]);
        }
        w.pass(60);
        let mut lines = w.lines();
        lines.sort();
        lines.dedup();
        want.sort();
        assert_eq!(lines, want, "down {down}, packed {packed}");
    }
}

#[test]
fn a_dated_name_before_the_extension_and_compressed_is_found() {
    let mut w = World::reading("['a.log']", "");
    w.append("a.log", "1\n");
    w.read();
    w.stop();
    w.append("a.log", "2\n");
    w.rename("a.log", "a-20250101.log");
    gz(&w, "a-20250101.log");
    tick();
    w.append("a.log", "3\n");
    w.start();
    w.read();
    w.pass(60);
    let mut lines = w.lines();
    lines.sort();
    assert_eq!(lines, ["1", "2", "3"]);
    assert_eq!(w.errors("rest_not_found"), 0);
}

#[test]
fn names_that_are_not_utf8_are_names() {
    use std::os::unix::ffi::OsStrExt;
    for down in [false, true] {
        let mut w = World::new("");
        let name = w.logs().join(std::ffi::OsStr::from_bytes(b"prot\xf6koll.log"));
        let aside = w.logs().join(std::ffi::OsStr::from_bytes(b"prot\xf6koll.log.1"));
        std::fs::write(&name, "1\n").unwrap();
        w.read();
        if down {
            w.stop();
        }
        OpenOptions::new().append(true).open(&name).unwrap().write_all(b"2\n").unwrap();
        std::fs::rename(&name, aside).unwrap();
        tick();
        std::fs::write(&name, "3\n").unwrap();
        if down {
            w.start();
        }
        w.read();
        assert_eq!(w.lines(), ["1", "2", "3"], "{down}");
    }
}

#[test]
fn a_file_that_was_read_to_its_end_and_then_compressed_is_not_missed() {
    let mut w = World::reading("['a.log']", "");
    w.append("a.log", "1\n");
    w.read();
    w.stop();
    w.rename("a.log", "a.log.1");
    gz(&w, "a.log.1");
    tick();
    w.append("a.log", "2\n");
    w.start();
    w.read();
    w.pass(60);
    assert_eq!(w.lines(), ["1", "2"]);
    assert_eq!(w.errors("rest_not_found"), 0);
}

#[test]
fn whatever_is_renamed_while_the_folder_is_looked_into_no_generation_is_passed_over() {
    let mut w = World::reading("['a.log']", "");
    w.append("a.log", "0\n");
    w.read();
    for n in 0..500 {
        w.append(&format!("a.log.2024{n:04}"), "of before\n");
    }
    let dir = w.logs();
    let writer = std::thread::spawn(move || {
        for n in 1..400 {
            std::fs::rename(dir.join("a.log"), dir.join(format!("a.log.2025{n:04}"))).unwrap();
            std::fs::write(dir.join("a.log"), format!("{n}\n")).unwrap();
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    while !writer.is_finished() {
        w.pass(1);
    }
    writer.join().unwrap();
    w.pass(60);
    let mut lines: Vec<u32> = w.lines().iter().filter_map(|line| line.parse().ok()).collect();
    lines.sort_unstable();
    lines.dedup();
    let missing: Vec<u32> = (0..400).filter(|n| lines.binary_search(n).is_err()).collect();
    assert_eq!(missing, [0; 0]);
}
