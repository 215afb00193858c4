//! The file source on real files, driven step by step: a [`World`] has a folder of logs, a folder of checkpoints, clocks
//! of its own, and takes chunks as a worker would.

#![allow(clippy::unwrap_used)]

mod changed;
mod containers;
mod held;
mod matrix;
mod missed;
mod model;
mod multiline;
mod packed;
mod proof;
mod rotation;
mod running;
mod siblings;
mod wide;

use super::config::FileConfig;
use super::now::{MILLISECOND, Now, SECOND};
use super::reader::{Out, Sent};
use super::saving::Saver;
use super::tailer::{Next, Tailer};
use super::watch::Wake;
use crate::ack::place::{Place, Told};
use crate::ack::{Ack, Verdict};
use crate::component::BuildContext;
use crate::event::{Chunk, Frames};
use crate::settings::read_text;
use crate::telemetry::{ComponentKind, Counters};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Waits until the clock by which files are stamped has gone on: what is stamped before it and behind it is told apart.
fn tick() {
    let stamp = || tempfile::tempfile().unwrap().metadata().unwrap().modified().unwrap();
    let began = stamp();
    while stamp() <= began {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// One line as it came out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    file: String,
    offset: u64,
    text: String,
}

/// Takes chunks and splits them as a worker does.
#[derive(Default)]
struct Taken {
    lines: Vec<Line>,
    acks: Vec<Ack>,
    /// Places of all chunks that came.
    places: Vec<Option<Place>>,
    /// Which lines came with the first, second, … of `acks`, where none of those was taken since they were all.
    unsettled: Vec<std::ops::Range<usize>>,
    /// It has no room.
    full: bool,
    /// Chunks are settled as soon as they come.
    settle: bool,
}

impl Out for Taken {
    fn send(&mut self, chunk: Chunk) -> Sent {
        if self.full {
            return Sent::Full(chunk);
        }
        self.places.push(chunk.ack.place().cloned());
        let from = self.lines.len();
        let name = chunk.origin.file.as_deref().unwrap();
        let file = Path::new(name).file_name().unwrap().to_str().unwrap().to_owned();
        let mut add = |bytes: &[u8], offset: u64| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.lines.push(Line { file: file.clone(), offset, text });
        };
        match &chunk.frames {
            Frames::Lines { start, end } => {
                let mut at = *start;
                for line in chunk.text[*start..*end].split_inclusive(|&b| b == b'\n') {
                    let bare = line.strip_suffix(b"\n").unwrap_or(line);
                    add(bare.strip_suffix(b"\r").unwrap_or(bare), chunk.offset + at as u64);
                    at += line.len();
                }
            }
            Frames::Spans(spans) | Frames::Utf8(spans) => {
                for &(from, to, offset) in spans {
                    add(&chunk.text[from as usize..to as usize], offset);
                }
            }
            Frames::Decoded(_) => panic!("a file source decodes nothing"),
        }
        if self.settle {
            chunk.ack.settle(Verdict::Delivered);
        } else {
            if self.acks.is_empty() {
                self.unsettled.clear();
            }
            self.unsettled.push(from..self.lines.len());
            self.acks.push(chunk.ack);
        }
        Sent::Yes
    }
}

fn context(id: &str, data_dir: PathBuf, once: bool) -> BuildContext {
    BuildContext {
        id: id.into(),
        data_dir,
        timezone: jiff::tz::TimeZone::UTC,
        counters: Counters::new(id, ComponentKind::Source, "file"),
        once,
        own_files: Arc::new(Vec::new()),
        host: "host".into(),
        memory_limit: 24 << 20,
        working_bytes: usize::MAX,
        connections: u32::MAX,
        handles: 1024,
        reads_access_logs: false,
        chance: Default::default(),
    }
}

fn config(yaml: &str) -> FileConfig {
    let (config, report) = read_text::<FileConfig>("test.yaml", yaml, &BTreeMap::new());
    config.unwrap_or_else(|| panic!("{}", report.render()))
}

pub(crate) struct World {
    dir: tempfile::TempDir,
    yaml: String,
    now: Now,
    tailer: Option<Tailer>,
    taken: Taken,
    counters: Arc<Counters>,
    once: bool,
    /// What sinks say at the next start.
    held: Vec<(usize, Told)>,
}

impl World {
    /// A source that reads `*.log` in a folder, with further settings as YAML lines.
    fn new(more: &str) -> Self {
        Self::reading("['*.log']", more)
    }

    /// `include` is relative to the folder of logs.
    pub(crate) fn reading(include: &str, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("logs")).unwrap();
        let logs = dir.path().join("logs");
        let include = include.replace("['", &format!("['{}/", logs.display()));
        let include = include.replace(", '", &format!(", '{}/", logs.display()));
        let yaml = format!("include: {include}\nwatch: poll\n{more}\n");
        let wall = crate::time::clock::now_ns();
        let mut world = World {
            dir,
            yaml,
            now: Now { mono: SECOND, wall },
            tailer: None,
            taken: Taken { settle: true, ..Taken::default() },
            counters: Counters::new("none", ComponentKind::Source, "file"),
            once: false,
            held: Vec::new(),
        };
        world.start();
        world
    }

    fn logs(&self) -> PathBuf {
        self.dir.path().join("logs")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.logs().join(name)
    }

    fn start(&mut self) {
        let mut cx = context("src", self.dir.path().join("data"), self.once);
        cx.own_files = Arc::new(vec![self.dir.path().join("logs/own.log")]);
        self.counters = cx.counters.clone();
        let mut plan = config(&self.yaml).plan(&cx).unwrap();
        // Its clock is its own.
        plan.heavy = Arc::default();
        let tailer = Tailer::new(plan, cx.counters, &Arc::new(Wake::default()), Saver::Inline, &self.held).unwrap();
        self.tailer = Some(tailer);
    }

    /// Stops as after SIGTERM: what was sent is delivered, positions are saved.
    fn stop(&mut self) {
        for ack in self.taken.acks.drain(..) {
            ack.settle(Verdict::Delivered);
        }
        let mut tailer = self.tailer.take().unwrap();
        let tries = std::cell::Cell::new(0);
        tailer.drain_deleted(
            || self.now,
            &mut self.taken,
            || {
                tries.set(tries.get() + 1);
                tries.get() > 1000
            },
        );
        for ack in self.taken.acks.drain(..) {
            ack.settle(Verdict::Delivered);
        }
        tailer.files.reader.held = None;
        tailer.hear_verdicts();
        assert_eq!(tailer.files.reader.outstanding, 0);
        tailer.save_all(self.now).unwrap();
    }

    fn restart(&mut self) {
        self.stop();
        self.start();
    }

    /// Ends without a word, as after kill -9.
    pub(crate) fn kill(&mut self) {
        self.tailer = None;
        self.taken.acks.clear();
    }

    /// As [`kill`](World::kill); what was not settled has not come: it was in memory.
    fn kill_before_delivery(&mut self) {
        if !self.taken.acks.is_empty() {
            for range in self.taken.unsettled.drain(..).rev() {
                self.taken.lines.drain(range);
            }
        }
        self.kill();
    }

    fn turn(&mut self) -> Next {
        self.tailer.as_mut().unwrap().turn(self.now, &mut self.taken)
    }

    /// Turns until there is nothing to do at this moment.
    pub(crate) fn settle(&mut self) {
        for _ in 0..100_000 {
            if self.turn() != Next::Now || self.taken.full {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// Lets time pass, in steps.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds * 4 {
            self.now.mono += 250 * MILLISECOND;
            self.now.wall += (250 * MILLISECOND) as i64;
            self.settle();
        }
    }

    /// Long enough for everything that is there to be found and read.
    pub(crate) fn read(&mut self) {
        self.settle();
        self.pass(2);
    }

    pub(crate) fn append(&self, name: &str, text: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).unwrap();
    }

    /// Whoever takes chunks settles them.
    pub(crate) fn keep_acks(&mut self) {
        self.taken.settle = false;
    }

    /// The chunks that came since the last call: their lines with their places.
    pub(crate) fn take(&mut self) -> Vec<(Vec<(String, u64)>, Ack)> {
        let lines: Vec<(String, u64)> = self.taken.lines.drain(..).map(|l| (l.text, l.offset)).collect();
        let ranges = std::mem::take(&mut self.taken.unsettled);
        let acks = std::mem::take(&mut self.taken.acks);
        ranges.into_iter().zip(acks).map(|(range, ack)| (lines[range].to_vec(), ack)).collect()
    }

    /// Starts again, with what sinks hold.
    pub(crate) fn hold_told(&mut self, held: Vec<(usize, Told)>) {
        self.held = held;
        self.start();
    }

    /// As [`hold_told`](World::hold_told), of places alone.
    fn hold(&mut self, held: Vec<(usize, Vec<Place>)>) {
        self.hold_told(held.into_iter().map(|(sink, places)| (sink, places.into())).collect());
    }

    /// The lines since the last call.
    fn lines(&mut self) -> Vec<String> {
        self.taken.lines.drain(..).map(|l| l.text).collect()
    }

    fn errors(&self, kind: &str) -> u64 {
        self.counters.snapshot().errors.get(kind).copied().unwrap_or(0)
    }
}
