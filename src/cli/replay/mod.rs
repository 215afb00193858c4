//! `tidegate replay`: feeds dead letters back in.
//!
//! Each line of the files is a [letter](crate::component::letter) as the agent writes it: `{"tidegate": {component, reason, …}, "event":
//! {…}}`. The event goes, with its metadata, into the component named with `--to`, through everything behind it, once it has
//! been put right what the letter was about. The files are never changed. What is refused again lies, as letters, in a file
//! of its own. A letter without metadata, of an earlier version, is left where something asks for metadata.

mod files;

use super::terminal::{Progress, Stand};
use super::{ConfigArgs, Exit, print, run, say, say_line};
use crate::ack::{Ack, Settled, Verdict};
use crate::component::letter::Letter;
use crate::component::{Input, SinkRun, SourceContext, SourceRun};
use crate::encoding::{Encoder, Encoding};
use crate::error::RunError;
use crate::event::{Batch, JsonRows, Meta, Origin, Slab};
use crate::event::{Chunk, Frames};
use crate::pipeline::Config;
use crate::storage::data_dir::lock_data_dir;
use crate::sync::Locked;
use crate::sync::live::Live;
use crate::telemetry::RunLedger;
use crate::topology::{self, LETTERS, REFUSED};
use clap::Args;
use files::{FoundLetters, Reader};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
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
    /// Files of dead letters, one a line; gzip and zstd are unpacked.
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
    /// For letters that were written without metadata: what a template or condition asks for, such as `http.stream=shop`;
    /// with nothing behind `=` for none. May be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = files::parse_given)]
    metadata: Vec<(Meta, String)>,
    /// Read and check the letters, say what would be done, deliver nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Events in a batch.
const BATCH_EVENTS: usize = 1000;
/// Bytes of a batch, about.
const BATCH_BYTES: usize = 256 << 10;

/// Replays. Nothing is started before all files are known to be readable to their ends.
pub(super) fn run(args: ReplayArgs) -> Exit {
    let config = match args.config.load() {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let refused = args.refused.clone().unwrap_or_else(|| beside(&args.files[0]));
    if args.files.contains(&refused) {
        say_line!("error: {} is read and would be written; name another with --refused", refused.display());
        return Exit::Usage;
    }
    let mut reader = match Reader::open(&args.files, &refused) {
        Ok(reader) => reader,
        Err(error) => return super::errors::failed(&error),
    };
    let asked = match topology::metadata_asked(&config, &args.to) {
        Ok(asked) => asked,
        Err(errors) => return assemble_failed(&errors),
    };
    reader.only(args.reason, args.from);
    reader.asked(asked, args.metadata);
    let found = match reader.look(|words| say_line!("{words}")) {
        Ok(found) => found,
        Err(error) => return super::errors::failed(&error),
    };
    if found.left > 0 {
        say(&reader.wanting());
    }
    if args.dry_run {
        return dry_run(config, &args.to, &found);
    }
    if found.letters == 0 {
        let done = print(&found.summary()).is_ok() && found.bad == 0 && found.left == 0;
        return if done { Exit::Done } else { Exit::Failed };
    }
    deliver(config, &args.to, reader, &found, refused)
}

fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".refused");
    name.into()
}

// ---- dry run ---------------------------------------------------------------------------------------------------

fn dry_run(config: Config, to: &str, found: &FoundLetters) -> Exit {
    let nothing = SourceRun::Thread(Box::new(|_| Ok(())));
    let nowhere = SinkRun::Thread(Box::new(|_| Ok(())));
    let alone = lock_data_dir(&config.globals.data_dir);
    let blueprint = match topology::assemble_replay(config, to, alone.is_ok(), nothing, nowhere) {
        Ok(blueprint) => blueprint,
        Err(errors) => return assemble_failed(&errors),
    };
    let through =
        blueprint.transforms.iter().map(|t| &t.counters.id).chain(blueprint.sinks.iter().map(|s| &s.counters.id));
    let through: Vec<&str> = through.map(|id| &**id).filter(|id| *id != REFUSED).collect();
    let mut page = found.summary();
    writeln!(page, "would go into `{to}`, through {}", through.join(", "));
    if print(&page).is_err() || found.bad > 0 || found.left > 0 { Exit::Failed } else { Exit::Done }
}

fn assemble_failed(errors: &[topology::StartError]) -> Exit {
    for error in errors {
        say_line!("error: {error}");
    }
    if errors.iter().any(topology::StartError::is_config) { Exit::BadConfig } else { Exit::Failed }
}

// ---- delivery --------------------------------------------------------------------------------------------------

fn deliver(config: Config, to: &str, mut reader: Reader, found: &FoundLetters, refused: PathBuf) -> Exit {
    let lock = lock_data_dir(&config.globals.data_dir);
    let letters = SourceRun::Thread(Box::new(move |cx| feed(&mut reader, cx)));
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
            say_line!("error: cannot start the runtime: {error}");
            return Exit::Failed;
        }
    };
    let ended = runtime.block_on(async {
        let signals = Signals::new();
        let mut running = topology::start(blueprint)?;
        let signals = tokio::spawn(signals.watch(running.shutdown().clone(), running.deadline().clone()));
        let (ledger, mut progress) = (running.ledger.clone(), Progress::new(super::logging::is_json()));
        let summary = loop {
            tokio::select! {
                summary = running.wait() => break summary,
                () = show_progress(&mut progress, &ledger, found.letters) => {}
            }
        };
        drop(progress);
        signals.abort();
        io::Result::Ok((running.ledger.now(), summary))
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
    let (run_ledger, summary) = match ended {
        Ok(ended) => ended,
        Err(error) => {
            say_line!("error: cannot start a thread: {error}");
            return Exit::Failed;
        }
    };
    say(&run::ledger_table(&run_ledger.ledger()));
    let totals =
        |id: &str| run_ledger.components.iter().find(|c| &*c.id == id).map(|c| c.snapshot()).unwrap_or_default();
    let again = totals(REFUSED).events_in;
    let held: u64 = run_ledger.components.iter().map(|c| c.snapshot().held).sum();
    let fed = totals(LETTERS).events_out;
    let ok = summary.failed.is_empty() && summary.stuck == 0 && !summary.timed_out && held == 0 && fed == found.letters;
    let mut text = found.summary();
    writeln!(text, "{fed} went into `{to}`: {again} refused again, {held} not delivered");
    if again > 0 {
        writeln!(text, "what was refused again is in {}", refused.display());
    }
    for (id, error) in &summary.failed {
        say_line!("error: `{id}`: {error}");
    }
    let ok = ok && again == 0 && found.bad == 0 && found.left == 0;
    if print(&text).is_err() || !ok { Exit::Failed } else { Exit::Done }
}

/// Tells, on a terminal, how many letters are settled; never ends.
async fn show_progress(progress: &mut Progress, ledger: &Live<RunLedger>, letters: u64) {
    if !progress.shows() {
        std::future::pending::<()>().await;
    }
    loop {
        tokio::time::sleep(Progress::every()).await;
        progress.show("replaying", || {
            let ledger = ledger.now();
            let of =
                |id: &str| ledger.components.iter().find(|c| &*c.id == id).map(|c| c.snapshot()).unwrap_or_default();
            Stand { events: of(LETTERS).events_out, bytes: None, of_events: Some(letters) }
        });
    }
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
        *self.open.locked() -= 1;
        self.changed.notify_all();
    }
}

/// The source: letters in a row whose events were read together make a batch.
fn feed(reader: &mut Reader, cx: SourceContext) -> Result<(), RunError> {
    let verdicts = Arc::new(Verdicts::default());
    let mut rows = JsonRows::default();
    let mut next: Vec<Letter> = Vec::new();
    let mut bytes = 0;
    let mut token = 0;
    let mut send = |letters: &mut Vec<Letter>| -> bool {
        let Some(first) = letters.first() else { return true };
        let received_at = first.metadata.received_at;
        let origin = Arc::new(Origin { order: order_of(&first.metadata.origin), ..first.metadata.origin.clone() });
        let mut text = Vec::new();
        let mut spans = Vec::new();
        for letter in letters.iter() {
            let start = text.len();
            text.extend_from_slice(&letter.event);
            spans.push((start, text.len()));
        }
        let ack = Ack::new(verdicts.clone(), token);
        token += 1;
        *verdicts.open.locked() += 1;
        let mut batch = Batch::new(Slab::from_vec(text), origin.clone(), received_at, ack);
        for (letter, (start, end)) in letters.drain(..).zip(spans) {
            // The scanner has been over it when the letter was read.
            if letter.push(&mut rows, &mut batch, start, end).is_err() {
                tracing::error!(component = %letter.component, reason = %letter.reason, "a letter's event cannot be read");
            }
        }
        let (text, frames) = (Slab::default(), Frames::Decoded(batch));
        let chunk = Chunk { text, frames, origin, offset: 0, received_at, ack: Ack::none() };
        cx.output.send(chunk).is_ok()
    };
    let mut open = true;
    let read = reader.read(|letter| {
        let differs = next.first().is_some_and(|first| {
            let (a, b) = (&first.metadata, &letter.metadata);
            a.received_at != b.received_at || a.origin != b.origin
        });
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
    let mut left = verdicts.open.locked();
    while *left > 0 && !cx.deadline.is_cancelled() {
        let waited = verdicts.changed.wait_timeout(left, Duration::from_millis(100));
        left = waited.unwrap_or_else(|e| e.into_inner()).0;
    }
    read
}

/// Keeps the order of letters of one origin: all of it goes to one worker.
fn order_of(origin: &Origin) -> u64 {
    let texts = [Some(&origin.source), origin.file.as_ref(), origin.peer.as_ref()];
    let of = |text: Option<&Arc<str>>| text.map_or(0, |t| xxhash_rust::xxh3::xxh3_64(t.as_bytes()));
    texts.into_iter().fold(0, |order: u64, text| order.rotate_left(7) ^ of(text))
}

/// The sink of what is refused again: the file is made with the first letter, and appended to where it is there.
fn keep(path: &Path, input: &Input) -> Result<(), RunError> {
    let mut file: Option<File> = None;
    let failed = |source: io::Error| RunError::io(path.display().to_string())(source);
    let (mut encoder, mut text) = (Encoder::new(Encoding::Json), Vec::new());
    loop {
        let mut batch = match input.recv_timeout(Duration::from_secs(3600)) {
            crate::buffer::Received::Batch(batch) => batch,
            crate::buffer::Received::Timeout => continue,
            crate::buffer::Received::Closed => break,
        };
        text.clear();
        batch.iter().for_each(|event| encoder.event(event, &mut text));
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
