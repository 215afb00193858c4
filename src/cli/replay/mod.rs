//! `tidegate replay`: feeds dead letters back in.
//!
//! Each line of the files is a letter as the agent writes it: `{"tidegate": {component, reason, …}, "event": {…}}`. The
//! event goes into the component named with `--to`, through everything behind it, once it has been put right what the letter
//! was about. The files are never changed. What is refused again lies, as letters, in a file of its own.

use super::{ConfigArgs, Exit, print, run, say};
use crate::ack::{Ack, Settled, Verdict};
use crate::component::{Chunk, Frames, Input, RunError, SinkRun, SourceContext, SourceRun};
use crate::config::Config;
use crate::data_dir::lock_data_dir;
use crate::event::{Batch, EventKind, FieldPath, JsonRows, Origin, Slab, Value};
use crate::time::{TimestampReader, clock};
use crate::topology::{self, LETTERS, REFUSED};
use clap::Args;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Arguments of `replay`.
#[derive(Args, Debug)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Files of dead letters, one a line; `.gz` and `.zst` are unpacked.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The component that takes the events; a source stands for whatever reads it.
    #[arg(long, value_name = "COMPONENT")]
    to: String,
    /// Only letters with this reason, such as `refused`; may be given several times.
    #[arg(long, value_name = "REASON")]
    reason: Vec<String>,
    /// Only letters of this component; may be given several times.
    #[arg(long, value_name = "COMPONENT")]
    from: Vec<String>,
    /// Where letters go whose event is refused again; default: the first FILE with `.refused` behind its name.
    #[arg(long, value_name = "FILE")]
    refused: Option<PathBuf>,
    /// Read and check the letters, say what would be done, deliver nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Events in a batch.
const BATCH_EVENTS: usize = 1000;
/// Bytes of a batch, about.
const BATCH_BYTES: usize = 256 << 10;
/// Longest line.
const MAX_LINE: usize = 64 << 20;
/// Mistakes that are shown one by one.
const SHOWN: u64 = 20;

/// Replays.
pub(super) fn run(args: ReplayArgs) -> Exit {
    let config = match args.config.load() {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let refused = args.refused.clone().unwrap_or_else(|| beside(&args.files[0]));
    if args.files.contains(&refused) {
        say(&format!("error: {} is read and would be written; name another with --refused\n", refused.display()));
        return Exit::Usage;
    }
    let found = Arc::new(Mutex::new(Found::default()));
    let reader = Reader { files: args.files.clone(), reasons: args.reason, from: args.from, found: found.clone() };
    if args.dry_run {
        return dry_run(config, &args.to, reader);
    }
    deliver(config, &args.to, reader, refused)
}

fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".refused");
    name.into()
}

/// What the files hold.
#[derive(Debug, Default)]
struct Found {
    letters: u64,
    skipped: u64,
    bad: u64,
    /// By component and reason.
    kinds: BTreeMap<(String, String), u64>,
    failed: Option<String>,
}

impl Found {
    fn bad(&mut self, file: &Path, line: u64, why: &str) {
        self.bad += 1;
        if self.bad <= SHOWN {
            say(&format!("{}:{line}: not a dead letter: {why}\n", file.display()));
        }
    }

    fn summary(&self) -> String {
        let n = |n: u64, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        let mut text = String::new();
        for ((component, reason), count) in &self.kinds {
            let _always = writeln!(text, "  {count:>10}  {component}: {reason}");
        }
        let mut line = n(self.letters, "letter");
        if self.skipped > 0 {
            let _always = write!(line, ", {} not asked for", self.skipped);
        }
        if self.bad > 0 {
            let _always = write!(line, ", {} that could not be read", n(self.bad, "line"));
        }
        format!("{line}\n{text}")
    }
}

/// Reads letters.
struct Reader {
    files: Vec<PathBuf>,
    reasons: Vec<String>,
    from: Vec<String>,
    found: Arc<Mutex<Found>>,
}

/// One letter.
struct Letter {
    component: String,
    reason: String,
    source: String,
    received_at: i64,
    kind: EventKind,
    event: Vec<u8>,
}

impl Reader {
    fn found<R>(&self, what: impl FnOnce(&mut Found) -> R) -> R {
        what(&mut self.found.lock().unwrap_or_else(|e| e.into_inner()))
    }

    /// Gives every letter to `each`, with its file and line, until that says stop. What cannot be read is noted.
    fn read(&self, mut each: impl FnMut(Letter, &Path, u64) -> bool) {
        let mut parser = Parser::default();
        for path in &self.files {
            let mut lines = match open(path) {
                Ok(lines) => lines,
                Err(error) => {
                    self.found(|f| f.failed = Some(format!("{}: {error}", path.display())));
                    return;
                }
            };
            let (mut line, mut number) = (Vec::new(), 0);
            loop {
                number += 1;
                match read_line(&mut lines, &mut line) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) => {
                        self.found(|f| f.failed = Some(format!("{}:{number}: {error}", path.display())));
                        return;
                    }
                }
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                let letter = match parser.parse(&line) {
                    Ok(letter) => letter,
                    Err(why) => {
                        self.found(|f| f.bad(path, number, &why));
                        continue;
                    }
                };
                let wanted = |list: &[String], name: &str| list.is_empty() || list.iter().any(|w| w == name);
                if !wanted(&self.reasons, &letter.reason) || !wanted(&self.from, &letter.component) {
                    self.found(|f| f.skipped += 1);
                    continue;
                }
                self.found(|f| {
                    f.letters += 1;
                    *f.kinds.entry((letter.component.clone(), letter.reason.clone())).or_default() += 1;
                });
                if !each(letter, path, number) {
                    return;
                }
            }
        }
    }
}

fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    let file = File::open(path)?;
    // What is appended while it is read was refused just now, by an agent that runs.
    let length = file.metadata()?.len();
    let file = BufReader::new(io::Read::take(file, length));
    Ok(match path.extension().and_then(|e| e.to_str()) {
        Some("gz") => Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(file))),
        Some("zst") => Box::new(BufReader::new(zstd::Decoder::with_buffer(file)?)),
        _ => Box::new(file),
    })
}

/// Reads a line without its end; how many bytes were taken.
fn read_line(lines: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    line.clear();
    let n = io::Read::take(&mut *lines, MAX_LINE as u64 + 1).read_until(b'\n', line)?;
    if n > MAX_LINE {
        return Err(io::Error::other(format!("a line of more than {MAX_LINE} bytes")));
    }
    while line.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
        line.pop();
    }
    Ok(n)
}

/// Takes lines apart without changing a byte of the event.
struct Parser {
    rows: JsonRows,
    paths: [FieldPath; 6],
    times: TimestampReader,
}

impl Default for Parser {
    fn default() -> Self {
        let path = |keys: [&str; 2]| {
            let text = if keys[1].is_empty() { keys[0].to_owned() } else { keys.join(".") };
            FieldPath::parse(&text).unwrap_or_else(|_| FieldPath::of_key(keys[0]))
        };
        let paths = [
            path(["event", ""]),
            path(["tidegate", "component"]),
            path(["tidegate", "reason"]),
            path(["tidegate", "source"]),
            path(["tidegate", "time"]),
            path(["tidegate", "kind"]),
        ];
        Parser { rows: JsonRows::default(), paths, times: TimestampReader::default() }
    }
}

impl Parser {
    fn parse(&mut self, line: &[u8]) -> Result<Letter, String> {
        if std::str::from_utf8(line).is_err() {
            return Err("it is not UTF-8".into());
        }
        let mut batch = Batch::new(Slab::from_vec(line.to_vec()), Origin::of_source(""), 0, Ack::none());
        self.rows.push(&mut batch, 0, line.len(), 0).map_err(|_| "it is not a JSON object".to_owned())?;
        let letter = batch.event(0);
        let text = |n: usize| -> Option<String> {
            let mut out = Vec::new();
            letter.get(&self.paths[n])?.append_text(&mut out);
            String::from_utf8(out).ok()
        };
        let event = match letter.get(&self.paths[0]) {
            Some(Value::Object(json)) => json.to_vec(),
            Some(_) => return Err("`event` is no object".into()),
            None => return Err("it has no `event`".into()),
        };
        let component = text(1).ok_or("it has no `tidegate.component`")?;
        let kind = match text(5).as_deref() {
            Some("metric") => EventKind::Metric,
            Some("trace") => EventKind::Trace,
            _ => EventKind::Log,
        };
        let now = clock::now_ns();
        let received_at = text(4).and_then(|t| self.times.read(t.as_bytes(), now)).map_or(now, |t| t.ns);
        let (reason, source) = (text(2).unwrap_or_default(), text(3).unwrap_or_default());
        Ok(Letter { component, reason, source, received_at, kind, event })
    }
}

// ---- dry run ---------------------------------------------------------------------------------------------------

fn dry_run(config: Config, to: &str, reader: Reader) -> Exit {
    let nothing = SourceRun::Thread(Box::new(|_| Ok(())));
    let nowhere = SinkRun::Thread(Box::new(|_| Ok(())));
    let alone = lock_data_dir(&config.globals.data_dir);
    let blueprint = match topology::assemble_replay(config, to, alone.is_ok(), nothing, nowhere) {
        Ok(blueprint) => blueprint,
        Err(errors) => return assemble_failed(&errors),
    };
    let mut rows = JsonRows::default();
    let found = reader.found.clone();
    reader.read(|letter, file, line| {
        let mut batch = Batch::new(Slab::from_vec(letter.event), Origin::of_source(""), 0, Ack::none());
        let end = batch.text().len();
        if rows.push(&mut batch, 0, end, 0).is_err() {
            found.lock().unwrap_or_else(|e| e.into_inner()).bad(file, line, "`event` is not valid");
        }
        true
    });
    let found = found.lock().unwrap_or_else(|e| e.into_inner());
    let through =
        blueprint.transforms.iter().map(|t| &t.counters.id).chain(blueprint.sinks.iter().map(|s| &s.counters.id));
    let through: Vec<&str> = through.map(|id| &**id).filter(|id| *id != REFUSED).collect();
    let text = format!("{}would go into `{to}`, through {}\n", found.summary(), through.join(", "));
    if let Some(error) = &found.failed {
        say(&format!("error: {error}\n"));
    }
    if print(&text).is_err() || found.failed.is_some() || found.bad > 0 { Exit::Failed } else { Exit::Done }
}

fn assemble_failed(errors: &[topology::AssembleError]) -> Exit {
    for error in errors {
        say(&format!("error: {error}\n"));
    }
    if errors.iter().any(|e| e.is_config) { Exit::BadConfig } else { Exit::Failed }
}

// ---- delivery --------------------------------------------------------------------------------------------------

fn deliver(config: Config, to: &str, reader: Reader, refused: PathBuf) -> Exit {
    let found = reader.found.clone();
    let lock = lock_data_dir(&config.globals.data_dir);
    let letters = SourceRun::Thread(Box::new(move |cx| feed(&reader, cx)));
    let again = {
        let refused = refused.clone();
        SinkRun::Thread(Box::new(move |input| keep(&refused, &input)))
    };
    let blueprint = match topology::assemble_replay(config, to, lock.is_ok(), letters, again) {
        Ok(blueprint) => blueprint,
        Err(errors) => return assemble_failed(&errors),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(8).build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("error: cannot start the runtime: {error}\n"));
            return Exit::Failed;
        }
    };
    let ended = runtime.block_on(async {
        let signals = Signals::new();
        let mut running = topology::start(blueprint)?;
        let signals = tokio::spawn(signals.watch(running.shutdown().clone(), running.deadline().clone()));
        let summary = running.wait().await;
        signals.abort();
        io::Result::Ok((running.books.clone(), summary))
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
    let (books, summary) = match ended {
        Ok(ended) => ended,
        Err(error) => {
            say(&format!("error: cannot start a thread: {error}\n"));
            return Exit::Failed;
        }
    };
    say(&run::ledger_table(&books.ledger()));
    let found = found.lock().unwrap_or_else(|e| e.into_inner());
    let totals = |id: &str| books.components.iter().find(|c| &*c.id == id).map(|c| c.snapshot()).unwrap_or_default();
    let again = totals(REFUSED).events_in;
    let held: u64 = books.components.iter().map(|c| c.snapshot().held).sum();
    let fed = totals(LETTERS).events_out;
    let ok = summary.failed.is_empty() && !summary.timed_out && held == 0 && fed == found.letters;
    let mut text = found.summary();
    let _always = writeln!(text, "{fed} went into `{to}`: {again} refused again, {held} not delivered");
    if again > 0 {
        let _always = writeln!(text, "what was refused again is in {}", refused.display());
    }
    for (id, error) in &summary.failed {
        say(&format!("error: `{id}`: {error}\n"));
    }
    if let Some(error) = &found.failed {
        say(&format!("error: {error}\n"));
    }
    let ok = ok && again == 0 && found.bad == 0 && found.failed.is_none();
    if print(&text).is_err() || !ok { Exit::Failed } else { Exit::Done }
}

/// SIGTERM and SIGINT stop; a second one ends at once.
struct Signals(std::io::Result<(Signal, Signal)>);

impl Signals {
    /// Takes them from now on. Must be called inside a runtime.
    fn new() -> Self {
        Signals(signal(SignalKind::terminate()).and_then(|term| Ok((term, signal(SignalKind::interrupt())?))))
    }

    /// Acts on them.
    async fn watch(self, shutdown: CancellationToken, deadline: CancellationToken) {
        let (mut term, mut int) = match self.0 {
            Ok(both) => both,
            Err(error) => {
                tracing::warn!(%error, "signals cannot be watched; the agent ends without draining when it is told to stop");
                return;
            }
        };
        one_of(&mut term, &mut int).await;
        tracing::info!("stopping: sources first, then what is on its way is delivered; a second signal ends at once");
        shutdown.cancel();
        one_of(&mut term, &mut int).await;
        tracing::warn!("ending at once");
        deadline.cancel();
    }
}

async fn one_of(a: &mut Signal, b: &mut Signal) {
    tokio::select! {
        _ = a.recv() => {}
        _ = b.recv() => {}
    }
}

/// Counts what the sinks have said of the batches.
#[derive(Default)]
struct Verdicts {
    open: Mutex<u64>,
    changed: std::sync::Condvar,
}

impl Settled for Verdicts {
    fn settled(&self, _token: u64, _verdict: Verdict) {
        *self.open.lock().unwrap_or_else(|e| e.into_inner()) -= 1;
        self.changed.notify_all();
    }
}

/// The source: letters of one origin and kind in a row make a batch.
fn feed(reader: &Reader, cx: SourceContext) -> Result<(), RunError> {
    let verdicts = Arc::new(Verdicts::default());
    let mut rows = JsonRows::default();
    let mut next: Vec<Letter> = Vec::new();
    let mut bytes = 0;
    let mut order = 0;
    let mut send = |letters: &mut Vec<Letter>| -> bool {
        let Some(source) = letters.first().map(|l| l.source.clone()) else { return true };
        let received_at = letters[0].received_at;
        let mut text = Vec::new();
        let mut spans = Vec::new();
        for letter in letters.iter() {
            let start = text.len();
            text.extend_from_slice(&letter.event);
            spans.push((start, text.len(), letter.kind));
        }
        letters.clear();
        let origin = Arc::new(Origin { source: source.as_str().into(), order, ..Origin::default() });
        let ack = Ack::new(verdicts.clone(), order);
        order += 1;
        *verdicts.open.lock().unwrap_or_else(|e| e.into_inner()) += 1;
        let mut batch = Batch::new(Slab::from_vec(text), origin.clone(), received_at, ack);
        for (start, end, kind) in spans {
            // The scanner has been over it as part of the letter.
            if rows.push(&mut batch, start, end, 0).is_ok() {
                let row = batch.rows() - 1;
                batch.event_mut(row).set_kind(kind);
            }
        }
        let (text, frames) = (Slab::default(), Frames::Decoded(batch));
        let chunk = Chunk { text, frames, origin, offset: 0, received_at, ack: Ack::none() };
        cx.output.send(chunk).is_ok()
    };
    let mut open = true;
    reader.read(|letter, _, _| {
        let differs = next.first().is_some_and(|l| l.source != letter.source);
        if next.len() >= BATCH_EVENTS || bytes >= BATCH_BYTES || differs {
            bytes = 0;
            open = send(&mut next);
        }
        bytes += letter.event.len();
        next.push(letter);
        open && !cx.shutdown.is_cancelled()
    });
    if open {
        send(&mut next);
    }
    drop(cx.output);
    let mut left = verdicts.open.lock().unwrap_or_else(|e| e.into_inner());
    while *left > 0 && !cx.deadline.is_cancelled() {
        let waited = verdicts.changed.wait_timeout(left, Duration::from_millis(100));
        left = waited.unwrap_or_else(|e| e.into_inner()).0;
    }
    Ok(())
}

/// The sink of what is refused again: the file is made with the first letter, and appended to where it is there.
fn keep(path: &Path, input: &Input) -> Result<(), RunError> {
    let mut file: Option<File> = None;
    let failed = |e: io::Error| RunError(format!("{}: {e}", path.display()));
    let mut text = Vec::new();
    loop {
        let mut batch = match input.recv_timeout(Duration::from_secs(3600)) {
            crate::buffer::Received::Batch(batch) => batch,
            crate::buffer::Received::Timeout => continue,
            crate::buffer::Received::Closed => break,
        };
        text.clear();
        for event in batch.iter() {
            event.write_json(&mut text);
            text.push(b'\n');
        }
        let file = match &mut file {
            Some(file) => file,
            None => file.insert(OpenOptions::new().create(true).append(true).open(path).map_err(failed)?),
        };
        file.write_all(&text).and_then(|()| file.sync_data()).map_err(failed)?;
        let (events, received_at) = (batch.len() as u64, batch.received_at);
        input.delivered(batch.ack.take(), events, text.len() as u64, received_at);
    }
    Ok(())
}
