//! Rows on their way through a sink: in batches, each settled, those that the server refuses told with its words.

use crate::ack::{Ack, Settled, Verdict};
use crate::buffer::Received;
use crate::cli::openobserve::Failed;
use crate::component::{Input, SinkRun, SourceContext, SourceRun};
use crate::encoding::{Encoder, Encoding};
use crate::error::RunError;
use crate::event::{Batch, Chunk, EventKind, Frames, JsonRows, Origin, Slab};
use crate::pipeline::Config;
use crate::sync::Locked;
use crate::time::clock;
use crate::topology;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Rows in a batch, and bytes of them, about.
const BATCH_ROWS: usize = 1000;
const BATCH_BYTES: usize = 256 << 10;

/// Gives the rows one after the other: appends one to the text and says so, or has none left.
pub(super) type Rows = Box<dyn FnMut(&mut Vec<u8>) -> Result<bool, String> + Send>;

/// What became of rows.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Those that the server has.
    pub(super) taken: u64,
    /// Those that it refused, by its words.
    pub(super) refused: BTreeMap<String, u64>,
}

/// Counts batches, and waits for the last.
#[derive(Default)]
struct Ledger {
    /// Sent and not settled yet.
    open: Mutex<usize>,
}

impl Settled for Ledger {
    fn settled(&self, _token: u64, _verdict: Verdict) {
        *self.open.locked() -= 1;
    }
}

/// Sends rows through the sink `to` of a configuration; refused ones go, as letters, to the end of a file.
///
/// Errors: the sink cannot be started or fails; rows cannot be read; in words.
pub(super) async fn through(
    config: Config,
    to: &str,
    kind: EventKind,
    rows: Rows,
    letters: &Path,
) -> Result<Outcome, Failed> {
    let outcome: Arc<Mutex<Outcome>> = Arc::default();
    let failed: Arc<Mutex<Option<String>>> = Arc::default();
    let why = failed.clone();
    let sent = Arc::new(Mutex::new(0));
    let count = sent.clone();
    let source = SourceRun::Thread(Box::new(move |cx| {
        if let Err(words) = feed(rows, kind, &cx, &count) {
            *why.locked() = Some(words);
        }
        Ok(())
    }));
    let mut refused = Refused { outcome: outcome.clone(), path: letters.to_owned(), file: None };
    let refused = SinkRun::Thread(Box::new(move |input| refused.run(&input)));
    let blueprint = topology::assemble_replay(config, to, true, source, refused)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    let mut running = topology::start(blueprint).map_err(|e| format!("cannot start a thread: {e}"))?;
    let summary = running.wait().await;
    if let Some((id, error)) = summary.failed.first() {
        return Err(format!("`{id}`: {error}"));
    }
    if let Some(words) = failed.locked().take() {
        return Err(words);
    }
    let mut outcome = std::mem::take(&mut *outcome.locked());
    outcome.taken = sent.locked().saturating_sub(outcome.refused.values().sum());
    Ok(outcome)
}

/// The source: batches of rows until there are none, and until all are settled.
fn feed(mut rows: Rows, kind: EventKind, cx: &SourceContext, sent: &Mutex<u64>) -> Result<(), String> {
    let ledger = Arc::new(Ledger::default());
    let origin = Arc::new(Origin::default());
    let mut more = true;
    while more && !cx.shutdown.is_cancelled() {
        let (mut text, mut spans) = (Vec::new(), Vec::new());
        while spans.len() < BATCH_ROWS && text.len() < BATCH_BYTES {
            let start = text.len();
            more = rows(&mut text)?;
            if !more {
                break;
            }
            spans.push((start, text.len()));
        }
        if spans.is_empty() {
            break;
        }
        *ledger.open.locked() += 1;
        let now = clock::now_ns();
        let mut batch = Batch::new(Slab::from_vec(text), origin.clone(), now, Ack::new(ledger.clone(), 0));
        let mut json = JsonRows::default();
        for (start, end) in &spans {
            json.push(&mut batch, *start, *end, 0).map_err(|_| "a row is not a JSON object".to_owned())?;
        }
        for row in 0..batch.rows() {
            batch.event_mut(row).set_kind(kind);
        }
        *sent.locked() += spans.len() as u64;
        let frames = Frames::Decoded(batch);
        let chunk = Chunk {
            text: Slab::default(),
            frames,
            origin: origin.clone(),
            offset: 0,
            received_at: now,
            ack: Ack::none(),
        };
        if cx.output.send(chunk).is_err() {
            return Err("it was stopped before its end".into());
        }
    }
    while *ledger.open.locked() > 0 && !cx.deadline.is_cancelled() {
        std::thread::park_timeout(Duration::from_millis(5));
    }
    Ok(())
}

/// Where refused rows go.
struct Refused {
    outcome: Arc<Mutex<Outcome>>,
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Refused {
    fn run(&mut self, input: &Input) -> Result<(), RunError> {
        let (mut encoder, mut text) = (Encoder::new(Encoding::Json), Vec::new());
        loop {
            let mut batch = match input.recv_timeout(Duration::from_secs(3600)) {
                Received::Batch(batch) => batch,
                Received::Timeout => continue,
                Received::Closed => return self.file.as_mut().map_or(Ok(()), |file| file.flush()).map_err(failed),
            };
            text.clear();
            batch.iter().for_each(|event| encoder.event(event, &mut text));
            for line in text.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
                let letter: Value = serde_json::from_slice(line).unwrap_or_default();
                let words = ["detail", "reason"].iter().find_map(|key| letter["tidegate"][*key].as_str());
                let words = words.unwrap_or("no words").to_owned();
                *self.outcome.locked().refused.entry(words).or_default() += 1;
                self.write(line).map_err(failed)?;
            }
            let (events, received_at) = (batch.len() as u64, batch.received_at);
            input.delivered(batch.ack.take(), events, text.len() as u64, received_at);
        }
    }

    fn write(&mut self, line: &[u8]) -> std::io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)?;
                self.file.insert(BufWriter::new(file))
            }
        };
        file.write_all(line)?;
        file.write_all(b"\n")
    }
}

fn failed(error: std::io::Error) -> RunError {
    RunError::failed(error.to_string())
}
