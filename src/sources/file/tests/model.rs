//! Random actions beside a plain model: what a writer wrote comes out, each line once, whatever happened to the files.
//!
//! The short form runs in CI; `TIDEGATE_SEEDS=10000` runs as many seeds, `TIDEGATE_SEED=17` one. A failing seed is printed,
//! and joins [`SEEDS`].

use super::packed::{ENDS, pack};
use super::*;
use std::collections::{HashMap, HashSet};

/// Seeds that failed once.
const SEEDS: &[u64] = &[544, 713, 1839];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Action {
    Append,
    AppendPart,
    Read,
    Wait,
    Settle,
    Rename,
    CopyTruncate,
    Delete,
    Rewrite,
    Compress,
    Stop,
    Kill,
    Starve,
    RenameTwice,
    CopyTruncateTwice,
    DeleteRotated,
    Archive,
    Folder,
    Cp,
    RewriteAlike,
    Touch,
    AppendRotated,
}

struct Model {
    w: World,
    random: fastrand::Rng,
    later: fastrand::Rng,
    include_rotated: bool,
    /// Lines written whole, in order, by name.
    written: HashMap<String, Vec<String>>,
    /// The unfinished last line of each file that is there.
    open: HashMap<String, String>,
    /// Names whose file, or one before it, the reader has seen: it cannot know of others that went out of its sight.
    seen: HashSet<String>,
    /// Lines that were never finished: they come when nothing more is to be expected, after others.
    late: HashSet<String>,
    /// What each new generation of a file begins with: any length, so that they are alike for as long.
    banner: Vec<String>,
    /// Lines that stand in several files at the same time, and how often at the most.
    several: HashMap<String, i64>,
    /// Lines in files that are found under a name of their own.
    elsewhere: HashSet<String>,
    number: u64,
    /// The run has kills in it.
    may_kill: bool,
    kills: u64,
    /// Files were cut off while nobody looked: their copies are younger than what they hold, and a further start before all
    /// of it is read tells their order no more.
    cut_while_down: bool,
    log: Vec<String>,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let include_rotated = random.bool();
        let include = if include_rotated { "['*.log*']" } else { "['*.log']" };
        let mut w = World::reading(include, if random.bool() { "max_line_bytes: 256" } else { "" });
        w.taken.settle = random.bool();
        let lines = [0, 0, 1, 3, 40][random.usize(..5)];
        let banner = (0..lines).map(|n| format!("# banner {n} {}", "=".repeat(random.usize(..40)))).collect();
        Model {
            w,
            random,
            later: fastrand::Rng::with_seed(!seed),
            include_rotated,
            written: HashMap::new(),
            open: HashMap::new(),
            seen: HashSet::new(),
            late: HashSet::new(),
            banner,
            several: HashMap::new(),
            elsewhere: HashSet::new(),
            number: 0,
            may_kill: false,
            kills: 0,
            cut_while_down: false,
            log: Vec::new(),
        }
    }

    fn name(&mut self) -> String {
        format!("{}.log", ["a", "b", "c"][self.random.usize(..3)])
    }

    fn line(&mut self) -> String {
        self.number += 1;
        let padding = "x".repeat(if self.random.u8(..10) == 0 { 45 } else { self.random.usize(..10) });
        format!("line {} {padding}", self.number)
    }

    /// The writer begins each file with the same lines.
    fn begin(&mut self, name: &str) {
        if std::fs::metadata(self.w.path(name)).map_or(0, |m| m.len()) == 0 {
            let banner: String = self.banner.iter().map(|line| format!("{line}\n")).collect();
            if !banner.is_empty() {
                self.w.append(name, &banner);
            }
        }
    }

    fn append(&mut self, name: &str) {
        self.begin(name);
        for _ in 0..self.random.usize(1..5) {
            let rest = self.line();
            let begun = self.open.remove(name).unwrap_or_default();
            self.w.append(name, &format!("{rest}\n"));
            self.written.entry(name.to_owned()).or_default().push(format!("{begun}{rest}"));
        }
    }

    /// All that the writer wrote into the present file has been read and is on its way.
    fn is_read(&mut self) {
        let full = std::mem::replace(&mut self.w.taken.full, false);
        self.w.read();
        self.w.taken.full = full;
        for name in ["a.log", "b.log", "c.log"] {
            if std::fs::metadata(self.w.path(name)).is_ok_and(|m| m.len() > 0) {
                self.seen.insert(name.to_owned());
            }
        }
    }

    /// The unfinished line of a file that gets no more: it comes as it is.
    fn finish(&mut self, name: &str) {
        if let Some(begun) = self.open.remove(name) {
            self.late.insert(begun.clone());
            self.written.entry(name.to_owned()).or_default().push(begun);
        }
    }

    fn act(&mut self, action: Action) {
        let name = self.name();
        tracing::debug!(?action, name);
        let there = self.w.path(&name).exists();
        self.log.push(format!("{action:?} {name}"));
        match action {
            Action::Append => self.append(&name),
            Action::AppendPart => {
                self.begin(&name);
                let part = self.line();
                self.w.append(&name, &part);
                self.open.entry(name).or_default().push_str(&part);
                self.cap_open();
            }
            Action::Read => self.w.settle(),
            Action::Wait => {
                let seconds = self.random.u64(1..8);
                self.w.pass(seconds);
            }
            Action::Settle => self.settle(),
            Action::RenameTwice if there => {
                self.rename(&name);
                if self.w.path(&name).exists() {
                    self.rename(&name);
                }
            }
            Action::CopyTruncateTwice if there => {
                if self.w.tailer.is_some() {
                    self.append(&name);
                    self.is_read();
                } else if !self.seen.contains(&name) && !self.include_rotated {
                    return;
                }
                self.cut_while_down |= self.w.tailer.is_none();
                for _ in 0..2 {
                    // A finished line, so that what is in the copy is all that was written.
                    self.append(&name);
                    self.rotate(&name, 0);
                    std::fs::copy(self.w.path(&name), self.w.path(&format!("{name}.1"))).unwrap();
                    std::fs::write(self.w.path(&name), "").unwrap();
                    tick();
                    self.append(&name);
                }
                if self.w.tailer.is_some() {
                    self.is_read();
                }
            }
            Action::DeleteRotated => {
                for n in 1..4 {
                    let old = format!("{name}.{n}");
                    if self.w.path(&old).exists() {
                        if self.w.tailer.is_none() {
                            return;
                        }
                        // Deleting what was not found yet destroys it.
                        self.is_read();
                        self.w.pass(8);
                        self.is_read();
                        self.settle();
                        self.is_read();
                        self.w.taken.full &= !self.may_kill;
                        self.w.remove(&old);
                        self.settle();
                        return;
                    }
                }
            }
            Action::Archive if self.include_rotated => self.archive(&name),
            // What matches and is no file.
            Action::Folder => {
                let _made = std::fs::create_dir(self.w.path(&format!("folder-{}.log", self.number % 3)));
            }
            // Somebody keeps a copy: it is a file of its own, or what was read already.
            Action::Cp if there && self.include_rotated => {
                self.append(&name);
                self.number += 1;
                let copy = format!("copy-{}.log", self.number);
                let text = std::fs::read_to_string(self.w.path(&name)).unwrap();
                std::fs::write(self.w.path(&copy), &text).unwrap();
                text.lines().for_each(|line| *self.several.entry(line.to_owned()).or_default() += 1);
            }
            Action::Rename if there => self.rename(&name),
            Action::CopyTruncate if there => {
                if !self.include_rotated || self.random.bool() {
                    // The reader knows a copy by what it has seen of the original.
                    self.append(&name);
                    self.is_read();
                }
                // What is written between copying and cutting off would be lost; and the copy is finished.
                if self.open.contains_key(&name) || self.random.bool() {
                    self.append(&name);
                }
                self.rotate(&name, 0);
                std::fs::copy(self.w.path(&name), self.w.path(&format!("{name}.1"))).unwrap();
                std::fs::write(self.w.path(&name), "").unwrap();
                if self.random.bool() {
                    self.append(&name);
                }
                // The original is noticed before the names move on again.
                self.is_read();
            }
            Action::Delete if there => {
                self.settle();
                // What was not read when the name was lost is gone with the file, unless a handle was open.
                self.is_read();
                self.finish(&name);
                self.w.remove(&name);
                // Nor can its unfinished line outlive a kill while there is no room for it.
                self.w.taken.full &= !self.may_kill;
                self.w.pass(8);
                self.settle();
                self.seen.remove(&name);
            }
            Action::Rewrite if there => {
                self.is_read();
                self.settle();
                self.is_read();
                self.finish(&name);
                let text = self.line();
                std::fs::write(self.w.path(&name), format!("{text}\n")).unwrap();
                self.written.entry(name.clone()).or_default().push(text);
                self.append(&name);
                self.is_read();
                // The unfinished line of the old contents is nowhere else.
                self.settle();
            }
            Action::RewriteAlike if there && self.w.tailer.is_some() => self.rewrite_alike(&name),
            Action::Touch if there => {
                let file = OpenOptions::new().append(true).open(self.w.path(&name)).unwrap();
                let now = u64::try_from(crate::time::clock::now_ns()).unwrap();
                file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_nanos(now)).unwrap();
            }
            Action::AppendRotated if self.w.path(&format!("{name}.1")).exists() && self.w.tailer.is_some() => {
                // Long after it was closed.
                self.is_read();
                self.settle();
                self.w.pass(40);
                let line = self.line();
                self.w.append(&format!("{name}.1"), &format!("{line}\n"));
                self.late.insert(line.clone());
                self.written.entry(name.clone()).or_default().push(line);
                self.is_read();
                self.w.pass(12);
                self.is_read();
            }
            Action::Compress => self.compress(&format!("{name}.1")),
            Action::Stop => {
                self.w.taken.full = false;
                self.w.stop();
                if self.random.bool() {
                    self.act_while_down();
                }
                self.w.start();
            }
            Action::Kill => {
                self.w.taken.full = false;
                self.w.kill_before_delivery();
                self.kills += 1;
                if self.random.bool() {
                    self.act_while_down();
                }
                self.w.start();
            }
            Action::Starve => self.w.taken.full = !self.w.taken.full,
            _ => {}
        }
    }

    /// Written anew in place: as long as before, and with the same beginning.
    fn rewrite_alike(&mut self, name: &str) {
        if self.open.contains_key(name) {
            self.append(name);
        }
        self.is_read();
        self.settle();
        self.is_read();
        let text = std::fs::read_to_string(self.w.path(name)).unwrap();
        let mut to = String::new();
        for line in text.split_inclusive('\n') {
            if self.banner.iter().any(|b| b == line.trim_end()) || line.len() < 6 {
                to.push_str(line);
                continue;
            }
            self.number += 1;
            let line = format!("{:04x}{}", self.number, &line[4..]);
            to.push_str(&line);
            self.written.entry(name.to_owned()).or_default().push(line.trim_end_matches('\n').to_owned());
        }
        tick();
        // Not emptied in between.
        OpenOptions::new().write(true).open(self.w.path(name)).unwrap().write_all(to.as_bytes()).unwrap();
        self.is_read();
        self.settle();
    }

    fn rename(&mut self, name: &str) {
        if !self.seen.contains(name) && !self.include_rotated {
            if self.w.tailer.is_none() {
                return;
            }
            self.is_read();
        }
        self.finish(name);
        self.rotate(name, 0);
        let to = format!("{name}.1");
        self.w.rename(name, &to);
        tick();
        if self.random.bool() {
            self.append(name);
        }
    }

    /// An archive comes under a name of its own: it begins as a file does that is there, has all of it or a part, and mostly
    /// lines of its own.
    fn archive(&mut self, name: &str) {
        let text = std::fs::read_to_string(self.w.path(name)).unwrap_or_default();
        let lines: Vec<&str> = text.split_inclusive('\n').filter(|l| l.ends_with('\n')).collect();
        let keep = self.random.usize(..=lines.len());
        let mut text: String = if self.random.bool() { lines[..keep].concat() } else { String::new() };
        if text.is_empty() {
            text.extend(self.banner.iter().map(|line| format!("{line}\n")));
        }
        text.lines().for_each(|line| *self.several.entry(line.to_owned()).or_default() += 1);
        for _ in 0..self.random.usize(..3) {
            let line = self.line();
            text.push_str(&format!("{line}\n"));
            self.elsewhere.insert(line);
        }
        self.number += 1;
        let end = ENDS[self.random.usize(..ENDS.len())];
        let to = self.w.path(&format!("part-{}.log.{end}", self.number));
        // Written beside and moved, or written in place.
        let there = if self.random.bool() { self.w.dir.path().join("making") } else { to.clone() };
        std::fs::write(&there, pack(end, text.as_bytes())).unwrap();
        if there != to {
            std::fs::rename(there, to).unwrap();
        }
    }

    /// All that has come is delivered: what is not, and is gone with its file, is lost with a kill.
    fn settle(&mut self) {
        while let Some(ack) = self.w.taken.acks.pop() {
            ack.settle(Verdict::Delivered);
        }
    }

    fn act_while_down(&mut self) {
        for _ in 0..self.random.usize(1..4) {
            let action = [
                Action::Append,
                Action::AppendPart,
                Action::Rename,
                Action::RenameTwice,
                Action::CopyTruncateTwice,
                Action::Archive,
            ][self.random.usize(..6)];
            self.act(action);
        }
    }

    /// Lines must not grow past `max_line_bytes`: what the model joins would be cut.
    fn cap_open(&mut self) {
        let long: Vec<String> = self.open.iter().filter(|(_, l)| l.len() > 1).map(|(n, _)| n.clone()).collect();
        for name in long {
            if self.open[&name].len() > 20 {
                self.open.get_mut(&name).unwrap().push('.');
                self.w.append(&name, ".\n");
                let line = self.open.remove(&name).unwrap();
                self.written.entry(name).or_default().push(line);
            }
        }
    }

    /// Makes room for `name.1`.
    fn rotate(&mut self, name: &str, keep: u32) {
        for n in (1..=8 + keep).rev() {
            for end in ["", ".gz", ".zst", ".xz", ".bz2"] {
                let from = format!("{name}.{n}{end}");
                if self.w.path(&from).exists() {
                    self.w.rename(&from, &format!("{name}.{}{end}", n + 1));
                }
            }
        }
    }

    fn compress(&mut self, name: &str) {
        if !self.w.path(name).exists() {
            return;
        }
        // A compressor waits until nobody writes into the file; so does one who wants nothing lost.
        self.is_read();
        let text = std::fs::read(self.w.path(name)).unwrap();
        let end = ENDS[self.random.usize(..ENDS.len())];
        std::fs::write(self.w.path(&format!("{name}.{end}")), pack(end, &text)).unwrap();
        self.w.remove(name);
    }

    fn check(mut self, seed: u64) {
        self.w.taken.full = false;
        let names: Vec<String> = self.open.keys().cloned().collect();
        for name in names {
            self.append(&name);
        }
        self.w.pass(90);
        self.settle();
        self.w.taken.settle = true;
        // Unfinished lines of files that only have a number in their names are waited for.
        self.w.now.mono += 600 * SECOND;
        self.w.pass(90);
        let mut elsewhere = std::mem::take(&mut self.elsewhere);
        let mut places: HashMap<String, Vec<String>> = HashMap::new();
        let mut came: HashMap<String, Vec<String>> = HashMap::new();
        for line in std::mem::take(&mut self.w.taken.lines) {
            // Generations go by the name of the file they were, where the glob does not take them under their own.
            let name = line.file.split(".log").next().unwrap().to_owned() + ".log";
            elsewhere.remove(&line.text);
            places.entry(line.text.clone()).or_default().push(format!("{}:{}", line.file, line.offset));
            if name.starts_with("part-") || name.starts_with("copy-") {
                continue;
            }
            came.entry(name).or_default().push(line.text);
        }
        let mut wrong: Vec<String> = elsewhere.into_iter().map(|line| format!("in no archive: {line:?}")).collect();
        let banner: HashSet<&str> = self.banner.iter().map(|l| &**l).collect();
        for (name, written) in &self.written {
            let came = came.remove(name).unwrap_or_default();
            let mut count: HashMap<&str, i64> = HashMap::new();
            for line in came.iter().filter(|l| !banner.contains(&***l)) {
                *count.entry(line).or_default() += 1;
            }
            for line in written {
                let n = count.remove(line.as_str()).unwrap_or(0);
                // With a copy beside it, its rest may come from there.
                let most = 1 + self.several.get(line).copied().unwrap_or(0);
                // What was cut off while nobody looked is known where it is proven, else it comes again.
                let certain = self.kills == 0 && !(self.cut_while_down && self.include_rotated);
                if n < 1 || n > most && certain {
                    wrong.push(format!("{name}: {n} times {line:?}, {:?}", places.get(line)));
                }
            }
            if self.kills == 0 {
                wrong.extend(count.into_iter().map(|(line, n)| format!("{name}: {n} times {line:?}, never written")));
            }
            let in_order = |lines: &[String]| -> Vec<String> {
                let counts = |l: &&String| !self.late.contains(*l) && !banner.contains(&***l);
                lines.iter().filter(counts).cloned().collect()
            };
            let ordered = self.kills == 0 && !self.cut_while_down && !self.include_rotated;
            if ordered && wrong.is_empty() && in_order(&came) != in_order(written) {
                let first = in_order(&came).into_iter().zip(in_order(written)).find(|(came, written)| came != written);
                wrong.push(format!("{name}: out of order: {first:?} (what came, what was written); {came:?}"));
            }
        }
        assert!(
            wrong.is_empty(),
            "TIDEGATE_SEED={seed} (rotated files match: {}):\n{}\nafter\n{}",
            self.include_rotated,
            wrong.join("\n"),
            self.log.join("\n")
        );
    }
}

fn run(seed: u64) {
    let mut model = Model::new(seed);
    let steps = model.random.usize(5..60);
    let kill = model.random.u8(..3) == 0;
    model.may_kill = kill;
    for _ in 0..steps {
        let action = match model.random.u8(..100) {
            0..30 => Action::Append,
            30..40 => Action::AppendPart,
            40..55 => Action::Read,
            55..62 => Action::Wait,
            62..68 => Action::Settle,
            68..73 => Action::Rename,
            73..75 => Action::RenameTwice,
            75..78 => Action::CopyTruncate,
            78..80 => Action::CopyTruncateTwice,
            80..82 => Action::Delete,
            82..83 => Action::DeleteRotated,
            83..85 => Action::Rewrite,
            85..88 => Action::Compress,
            88..90 => Action::Archive,
            90..91 => Action::Folder,
            91..92 => Action::Cp,
            92..95 => Action::Stop,
            95..97 if kill => Action::Kill,
            _ => Action::Starve,
        };
        // What joined later: seeds of before keep their actions.
        let action = match (action, model.later.u8(..50)) {
            (Action::Read, 0..4) => Action::RewriteAlike,
            (Action::Read, 4..8) => Action::Touch,
            (Action::Read, 8..11) => Action::AppendRotated,
            (action, _) => action,
        };
        model.act(action);
    }
    model.check(seed);
}

#[test]
fn whatever_happens_to_the_files_each_line_comes_once() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    if let Some(seed) = number("TIDEGATE_SEED") {
        // Shown where the test fails.
        let log = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_test_writer().without_time();
        return tracing::subscriber::with_default(log.finish(), || run(seed));
    }
    for &seed in SEEDS {
        run(seed);
    }
    for seed in 0..number("TIDEGATE_SEEDS").unwrap_or(90) {
        run(seed);
    }
}
