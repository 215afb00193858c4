//! The sink's thread: takes batches, gathers lines, writes, acknowledges.

use super::files::{Files, FoundFile};
use super::folder::Problem;
use super::journal::Stand;
use super::{Compression, FileSinkOptions, Fsync};
use crate::ack::place::Places;
use crate::ack::{Ack, Letters, Verdict};
use crate::buffer::Received;
use crate::component::{BuildContext, Input};
use crate::encoding::Encoder;
use crate::error::RunError;
use crate::event::Batch;
use crate::telemetry::log_throttle::LogThrottle;
use crate::template::Values;
use crate::time::clock;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Lines of one write, about: larger writes gain nothing and fall out of the cache.
const WRITE_BYTES: usize = 256 << 10;
/// Lines that stand in place are written from there from this size on; fewer are gathered.
const DIRECT_BYTES: usize = 32 << 10;
/// How often files are looked after when nothing comes; also the period of `fsync: interval`.
const CARE: Duration = Duration::from_secs(1);
/// How often old files are looked for.
const CLEAN: Duration = Duration::from_secs(600);
/// How long it waits before it tries again, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// So often in a row it tries in a run that is to end (`--once`): about seven seconds.
const TRIES: u32 = 10;

/// Why it leaves, with everything unwritten unacknowledged.
enum Leave {
    /// The time to drain is over.
    Told,
    /// In a run that is to end nothing could be written again and again: why.
    GaveUp(String),
}

impl Leave {
    /// What it tried for the `tries`th time in a row did not work: whether there is a next time.
    fn after(tries: u32, once: bool, what: &str) -> Result<(), Leave> {
        if once && tries >= TRIES {
            let words = format!("{what}; given up after {tries} tries, because a run with `--once` is to end");
            return Err(Leave::GaveUp(words));
        }
        Ok(())
    }
}

/// A batch whose lines are not all written.
struct Pending {
    ack: Ack,
    events: u64,
    bytes: u64,
    received_at: i64,
}

struct Runner {
    input: Input,
    options: FileSinkOptions,
    /// The path, where it is the same for every event.
    constant: Option<Vec<u8>>,
    encoder: Encoder,
    files: Files,
    pending: Vec<Pending>,
    /// Slots with lines.
    filled: Vec<usize>,
    filled_bytes: usize,
    /// When the oldest lines that wait have to be written.
    due: Option<Instant>,
    /// The slot of the last event.
    last: usize,
    path: Vec<u8>,
    refused: Vec<(usize, &'static str, String)>,
    /// All that is pending comes again where it is not acknowledged.
    again: bool,
    /// How far sources' files are written once all that is pending is, and was not told to the journal yet.
    places: Places,
    letters: Arc<Letters>,
    said: LogThrottle,
    /// Tries in a row that did not work.
    tries: u32,
    /// The run is to end.
    once: bool,
    cared: Instant,
    cleaned: Option<Instant>,
}

pub(super) fn run(options: FileSinkOptions, context: &BuildContext, input: Input) -> Result<(), RunError> {
    let (mut said, mut tries) = (LogThrottle::default(), 0);
    let files = loop {
        match Files::new(options.clone(), &context.data_dir, &context.id, |places| input.report().tell(places)) {
            Ok(files) => break files,
            Err(error) => {
                let what = format!("cannot open the journal of its files in `{}`: {error}", context.data_dir.display());
                complain(&input, &what, &mut said, context.once);
                tries += 1;
                if let Err(leave) = Leave::after(tries, context.once, &what).and_then(|()| wait(&input, RETRY.1)) {
                    return left(leave);
                }
            }
        }
    };
    input.health().working();
    let runner = Runner {
        constant: options.path.as_literal().map(|p| p.as_bytes().to_vec()),
        encoder: Encoder::new(options.encoding.clone()),
        input,
        options,
        files,
        pending: Vec::new(),
        filled: Vec::new(),
        filled_bytes: 0,
        due: None,
        last: usize::MAX,
        path: Vec::new(),
        refused: Vec::new(),
        again: true,
        places: Places::default(),
        letters: Arc::default(),
        said,
        tries: 0,
        once: context.once,
        cared: clock::monotonic(),
        cleaned: None,
    };
    // Whoever leaves early drops the acknowledgements without a verdict: the origins keep their places.
    runner.run().or_else(left)
}

/// How it ends, where it leaves early.
fn left(leave: Leave) -> Result<(), RunError> {
    match leave {
        Leave::Told => Ok(()),
        Leave::GaveUp(why) => Err(RunError::failed(why)),
    }
}

impl Runner {
    fn run(mut self) -> Result<(), Leave> {
        let compressed = self.options.compression != Compression::None;
        let most = if compressed { self.options.member_bytes.max(1) } else { WRITE_BYTES };
        loop {
            let wait = match self.due {
                None => CARE,
                Some(due) if compressed => due.saturating_duration_since(clock::monotonic()),
                Some(_) => Duration::ZERO,
            };
            match self.input.recv_timeout(wait) {
                Received::Batch(batch) => {
                    self.take(batch)?;
                    let overdue = compressed && self.due.is_some_and(|due| clock::monotonic() >= due);
                    if self.filled_bytes >= most || overdue {
                        self.flush()?;
                    }
                }
                Received::Timeout => self.flush()?,
                Received::Closed => {
                    self.flush()?;
                    if self.options.fsync == Fsync::Interval {
                        self.files.sync_all().unwrap_or_else(|problem| tracing::warn!("{}", problem.text()));
                    }
                    return Ok(());
                }
            }
            self.care();
        }
    }

    fn take(&mut self, mut batch: Batch) -> Result<(), Leave> {
        let events = batch.len() as u64;
        let now = batch.received_at;
        // What comes again is not written together with what does not: only the former is undone where it is interrupted.
        let again = batch.ack.place().is_some();
        if again != self.again {
            if !self.pending.is_empty() {
                self.flush()?;
            }
            self.again = again;
        }
        let bytes = match self.constant.take() {
            Some(path) => {
                let result = self.take_constant(&batch, &path, now);
                self.constant = Some(path);
                result?
            }
            None => self.take_each(&batch, now)?,
        };
        let refused = self.refused.len() as u64;
        self.refuse(&mut batch);
        let bytes = if self.options.compression == Compression::None { bytes as u64 } else { 0 };
        self.note_place(&batch);
        let pending = Pending { ack: batch.ack.take(), events: events - refused, bytes, received_at: now };
        batch.recycle();
        self.pending.push(pending);
        if self.filled.is_empty() {
            self.settle()?;
        } else if self.due.is_none() {
            self.due = Some(clock::monotonic() + self.options.member_timeout);
        }
        Ok(())
    }

    /// A batch whose lines all go to one file.
    fn take_constant(&mut self, batch: &Batch, path: &[u8], now: i64) -> Result<usize, Leave> {
        if !self.files.is_at(self.last, path) {
            let mut attempt = RETRY.0;
            self.last = loop {
                match self.files.find(path, now) {
                    Ok(FoundFile::Slot(slot)) => {
                        self.tries = 0;
                        break slot;
                    }
                    Ok(FoundFile::Full) => self.flush()?,
                    Err(problem) => self.hold(&problem, &mut attempt)?,
                }
            };
        }
        if self.options.compression == Compression::None
            && let Some(lines) = self.encoder.in_place(batch)
            && lines.len() >= DIRECT_BYTES
        {
            self.flush()?;
            let began = clock::monotonic();
            let mut done = 0;
            // No event of it is refused.
            self.note_place(batch);
            self.write(
                |files, slot, stand| files.write(slot, lines, &mut done, now, stand).map(|_| ()),
                self.last,
                true,
            )?;
            self.input.counters().record_latency(began.elapsed());
            return Ok(lines.len());
        }
        let buf = self.files.buffer(self.last);
        let before = buf.len();
        self.input.call().within(|| self.encoder.batch(batch, buf));
        let bytes = buf.len() - before;
        self.filled(self.last, before, bytes);
        Ok(bytes)
    }

    /// A batch whose events each have a path of their own; mostly that of the event before.
    fn take_each(&mut self, batch: &Batch, now: i64) -> Result<usize, Leave> {
        let mut total = 0;
        for row in 0..batch.rows() {
            if !batch.is_live(row) {
                continue;
            }
            let event = batch.event(row);
            self.path.clear();
            if let Err(missing) = self.options.path.render_as(Values::Component, event, &mut self.path) {
                self.refused.push((row, "template", missing.to_string()));
                continue;
            }
            if !self.files.is_at(self.last, &self.path) && !self.look_up(row, now)? {
                continue;
            }
            // Before the first line of the next write: a file that can be written no more takes only its own events with it.
            if self.files.buffer(self.last).is_empty() && !self.look_again(row, now)? {
                continue;
            }
            let buf = self.files.buffer(self.last);
            let before = buf.len();
            self.encoder.event(event, buf);
            let bytes = buf.len() - before;
            total += bytes;
            self.filled(self.last, before, bytes);
        }
        Ok(total)
    }

    /// Makes `last` the slot of `path`; `false` where the event in `row` cannot be written there.
    fn look_up(&mut self, row: usize, now: i64) -> Result<bool, Leave> {
        let mut attempt = RETRY.0;
        loop {
            match self.files.find(&self.path, now) {
                Ok(FoundFile::Slot(slot)) => {
                    (self.last, self.tries) = (slot, 0);
                    return Ok(true);
                }
                // Of this batch only a part is written: the step goes on.
                Ok(FoundFile::Full) => self.flush_files(false)?,
                Err(Problem::Path(detail)) => {
                    self.refused.push((row, "path", detail));
                    return Ok(false);
                }
                Err(problem) => self.hold(&problem, &mut attempt)?,
            }
        }
    }

    /// Opens the file of `last` again where it is not the one under its name any more; `false` where the event in `row` cannot
    /// be written there.
    fn look_again(&mut self, row: usize, now: i64) -> Result<bool, Leave> {
        let mut attempt = RETRY.0;
        loop {
            match self.files.reopen(self.last, now) {
                Ok(()) => return Ok(true),
                Err(Problem::Path(detail)) => {
                    self.refused.push((row, "path", detail));
                    return Ok(false);
                }
                Err(problem) => self.hold(&problem, &mut attempt)?,
            }
        }
    }

    /// Notes that lines were added to a slot's buffer, which held `before` bytes.
    #[inline]
    fn filled(&mut self, slot: usize, before: usize, bytes: usize) {
        if before == 0 && bytes > 0 {
            self.filled.push(slot);
        }
        self.filled_bytes += bytes;
    }

    /// Gives the refused events of a batch to the dead letter, those with one reason together.
    fn refuse(&mut self, batch: &mut Batch) {
        if self.refused.is_empty() {
            return;
        }
        let refused = std::mem::take(&mut self.refused);
        let ack = batch.ack.take();
        batch.ack = self.letters.share(ack.clone());
        for group in refused.chunk_by(|a, b| (a.1, &a.2) == (b.1, &b.2)) {
            let rows: Vec<usize> = group.iter().map(|r| r.0).collect();
            if let [first, ..] = group {
                self.input.refuse(&*batch, &rows, first.1, &first.2);
            }
        }
        std::mem::replace(&mut batch.ack, ack).settle(Verdict::Delivered);
        self.refused = refused;
        self.refused.clear();
    }

    /// Writes everything that waits and acknowledges it.
    fn flush(&mut self) -> Result<(), Leave> {
        self.flush_files(true)?;
        self.settle()
    }

    /// `ends`: all that is pending is written then.
    fn flush_files(&mut self, ends: bool) -> Result<(), Leave> {
        if self.filled.is_empty() {
            return Ok(());
        }
        let began = clock::monotonic();
        let now = clock::now_ns();
        let mut bytes = 0;
        while let Some(slot) = self.filled.last().copied() {
            let is_last = ends && self.filled.len() == 1;
            self.write(
                |files, slot, stand| {
                    bytes += files.flush(slot, now, stand)?;
                    Ok(())
                },
                slot,
                is_last,
            )?;
            self.filled.pop();
        }
        self.filled_bytes = 0;
        self.due = None;
        self.input.counters().record_latency(began.elapsed());
        if self.options.compression != Compression::None {
            self.input.count(|t| t.bytes_out += bytes);
        }
        Ok(())
    }

    /// Notes how far a source's file is written once what the sink was given up to this batch is.
    fn note_place(&mut self, batch: &Batch) {
        if let Some(place) = batch.ack.place().filter(|_| batch.whole) {
            self.places.note(place);
        }
    }

    /// Tries until it works. `ends`: then all that is pending is written.
    fn write(
        &mut self,
        mut attempt: impl FnMut(&mut Files, usize, Stand<'_>) -> Result<(), Problem>,
        slot: usize,
        ends: bool,
    ) -> Result<(), Leave> {
        let mut pause = RETRY.0;
        loop {
            // What was refused and is not kept elsewhere yet would be passed over.
            let complete = self.letters.are_settled();
            let none = Places::default();
            let places = if complete { &self.places } else { &none };
            let durable = self.options.fsync == Fsync::Batch;
            let stand = Stand { again: self.again, ends: ends.then_some(places), durable };
            match self.input.call().within(|| attempt(&mut self.files, slot, stand)) {
                Ok(()) => {
                    self.tries = 0;
                    if ends && complete {
                        self.places.clear();
                    }
                    break;
                }
                Err(problem) => self.hold(&problem, &mut pause)?,
            }
        }
        if self.said.ended() {
            tracing::info!(component = %self.input.counters().id, "files can be written again");
            self.input.health().working();
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<(), Leave> {
        if self.files.is_in_step() {
            self.write(|files, _, stand| files.end_step(stand), self.last, true)?;
        }
        for p in self.pending.drain(..) {
            self.input.delivered(p.ack, p.events, p.bytes, p.received_at);
        }
        Ok(())
    }

    /// Something does not work that may work later: says so, and waits.
    fn hold(&mut self, problem: &Problem, pause: &mut Duration) -> Result<(), Leave> {
        complain(&self.input, problem.text(), &mut self.said, self.once);
        self.tries += 1;
        Leave::after(self.tries, self.once, problem.text())?;
        wait(&self.input, *pause)?;
        *pause = (*pause * 2).min(RETRY.1);
        Ok(())
    }

    /// What is done about once a second.
    fn care(&mut self) {
        if self.cared.elapsed() < CARE {
            return;
        }
        self.cared = clock::monotonic();
        let now = clock::now_ns();
        if let Err(error) = self.files.keep_journal() {
            let what = format!("cannot write the journal of its files anew: {error}");
            complain(&self.input, &what, &mut self.said, self.once);
        }
        if self.options.fsync == Fsync::Interval
            && let Err(problem) = self.files.sync_all()
        {
            complain(&self.input, problem.text(), &mut self.said, self.once);
        }
        if self.cleaned.is_none_or(|at| at.elapsed() >= CLEAN) {
            self.cleaned = Some(self.cared);
            self.files.clean(now, None);
            self.files.close_idle(now);
        }
    }
}

/// Says once a minute what does not work. `once`: it is tried some times, and not for ever.
fn complain(input: &Input, what: &str, said: &mut LogThrottle, once: bool) {
    input.health().takes_nothing(what);
    input.count(|t| t.error("write", 1));
    if said.due(1).is_some() {
        let next =
            if once { format!("tried {TRIES} times in all") } else { "waiting until it can be written".to_owned() };
        tracing::error!(component = %input.counters().id, "{what}; {next}");
    }
}

/// Waits; ends early where the agent has to leave.
fn wait(input: &Input, time: Duration) -> Result<(), Leave> {
    let until = clock::monotonic() + time;
    loop {
        if input.abort().is_cancelled() {
            return Err(Leave::Told);
        }
        let left = until.saturating_duration_since(clock::monotonic());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(20)));
    }
}
