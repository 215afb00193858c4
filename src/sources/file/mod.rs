//! The `file` source: lines of files, through rotation and restarts.
//!
//! ```yaml
//! sources:
//!   app:
//!     type: file
//!     include: ["/var/log/app/*.log"]
//!     exclude: ["*.tmp"]
//!     decode: json
//! ```
//!
//! One thread reads all files of a source in turn (at most 1 MiB each), into buffers of 256 KiB that workers split into
//! lines. Kernel notices wake it; a slow sweep covers what notices miss.
//!
//! **Which file it is.** Device, inode and time of birth say where a file is; a hash of its beginning (up to 1 KiB of what was
//! read) and of the 64 bytes before our place in it say, as far as can be told at once, that it is still the one we read. What
//! has the name, but not the identity, is another file: the old one is read to its end first. What has the identity, but not the
//! contents, was replaced in place (copytruncate, a rewrite): it starts anew under a new generation.
//!
//! **What is passed over.** Only bytes of which it is proven that they were read: a running hash goes over all that is read
//! ([`identity`]), and is compared at its length. Copies ([`pending`], [`rotation`]), archives ([`packed`]) and, after a
//! start, the file itself ([`proof`]). What is not proven is read; repeats are allowed, gaps are not, and neither is silence.
//!
//! **What is promised.** A place in a file is saved only when all before it was delivered or ended by policy. After SIGTERM and
//! a start no line is lost and none comes twice; after kill -9 none is lost, and what no sink holds durably and was in flight
//! or not saved yet (a second's work) may come twice: [`held`]. Lines that were written between the last look and a truncation are gone, as the writer
//! destroyed them. What went with a file whose rest is nowhere is told as an error, with the bytes known of.
//!
//! **Container lines** (`decode: cri`, `docker`). The parts of a message are joined in one stream whatever the other writes in
//! between, and over a rotation: a file that ends in a part goes on in the file that took its name. A place in the file is not
//! passed before what is open there was delivered, and what was delivered behind it is not read again. A message that lacks a
//! part is given as it is `partial_timeout` after its last part, when a line comes that is none of a container's, or when its
//! file is gone for good (30 s after it grew last; 10 minutes for a deleted one whose writer went on in it).
//!
//! **UTF-16** is told by the mark at a file's beginning, or by `charset`. Places stay those of bytes; the texts of lines are put into
//! UTF-8 as they are sent ([`wide`]).
//!
//! **When downstream is full** nothing more is read; files that appear are still opened, so that deleting them loses nothing.
//!
//! **Many files.** Kernel notices come for folders, so idle files cost nothing by themselves. What notices might miss is covered
//! by looks at each file, every 10 s or 1000 files a second, and by looks through the folders, every ten `glob_interval`s or
//! 10,000 entries a second, whichever is rarer. After a restart a file whose size and time of change (ctime, which nobody can
//! set) are those of when all in it was settled (and that had been quiet for 2 s by then) is taken as it was, without being
//! read; of any other all that was read is compared: its beginning and the place at once, the rest beside other work.
//!
//! **Limits.** Memory: a read buffer in use and 2 MiB on their way to the workers, `max_line_bytes` for an unfinished line,
//! about 1 KB per file, 1.5 KB more for one that was read in this run. Handles: three quarters of the process's limit, which is raised as far as allowed; idle
//! files' handles are closed first and opened again when there is something to read.

mod archive;
mod archives;
mod attending;
mod beginning;
mod checkpoint;
mod comparing;
mod comparisons;
mod config;
mod discovery;
mod doubt;
mod drain_deleted;
mod ending;
mod examine;
mod families;
mod files;
mod flight;
mod formats;
mod giving;
mod handle;
mod handles;
mod heavy;
mod held;
mod identity;
mod joined;
mod life;
mod looked;
mod missed;
mod names;
mod notices;
mod now;
mod owners;
mod packed;
mod parts;
mod passed;
mod paths;
mod pending;
mod plan;
mod proof;
mod reader;
mod renamed;
mod rotation;
mod rotations;
mod saving;
mod schedule;
mod siblings;
mod start;
mod tail;
mod tailer;
mod tails;
mod unpack;
mod unreadable;
mod waiting;
mod watch;
mod wide;
mod window;

#[cfg(test)]
pub(crate) mod tests;

pub use crate::framing::LongLines;
pub use checkpoint::{FilePlace, forget_places, places};
pub use config::{Compressed, FileConfig, Fingerprint, StartAt, WatchMode};
pub(crate) use owners::{Bell, Limit, Owner, Owners};

pub(crate) use self::discovery::LeavesOut;
use self::discovery::Patterns;
use self::heavy::Heavy;
use self::now::Now;
use self::plan::Plan;
use self::reader::{Out, Sent};
use self::saving::Saver;
use self::tailer::{Next, Tailer};
use self::watch::Wake;
use crate::component::common::SourceCommon;
use crate::component::plan::SourcePlan;
use crate::component::{BuildContext, NotSent, Output, SourceContext, SourceRun};
use crate::decoding::Charset;
use crate::doctor::{Finding, Host};
use crate::error::{BuildError, RunError};
use crate::event::Chunk;
use crate::framing::container::{Rule, TooLong};
use crate::framing::lines::{self, Lines};
use crate::framing::{Framing, PartLimits, framing};
use crate::settings::{Reader, Span, Spanned};
use crate::time::clock;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

impl SourcePlan for FileConfig {
    fn common(&self) -> &SourceCommon {
        &self.common
    }

    fn check(&self, cx: &mut Reader<'_>) {
        self.note_mistakes(cx);
    }

    fn reads(&self, path: &Path) -> Option<Span> {
        let exclude: Vec<String> = self.exclude.iter().map(|p| p.value.clone()).collect();
        let matches = |include: &&Spanned<String>| {
            Patterns::new(std::slice::from_ref(&include.value), &exclude).is_ok_and(|patterns| patterns.matches(path))
        };
        self.include.iter().find(matches).map(|include| include.span)
    }

    fn examine(&self, host: &Host) -> Vec<Finding> {
        self.look_around(host)
    }

    fn unread_now(&self) -> Vec<Finding> {
        FileConfig::unread_now(self)
    }

    fn charset(&self) -> Option<Charset> {
        // UTF-16 is put into UTF-8 where its lines are found.
        self.charset.filter(|charset| charset.wide().is_none())
    }

    fn framing(&self) -> Result<Option<Framing>, BuildError> {
        let too_long = match self.long_lines {
            LongLines::Truncate => TooLong::Truncate,
            LongLines::Skip => TooLong::Skip,
            LongLines::Split => TooLong::Split,
        };
        let max_bytes = self.max_line_bytes.as_usize();
        let parts = PartLimits { timeout: self.partial_timeout, max_bytes, too_long };
        framing(self.multiline.as_ref(), self.common.decode.container(), parts)
    }

    fn reads_files(&self) -> bool {
        true
    }

    fn files_now(&self) -> Vec<PathBuf> {
        FileConfig::files_now(self)
    }

    fn text_of(&self, path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
        let wide = self.charset.and_then(Charset::wide).filter(|_| self.common.decode.container().is_none());
        unpack::text_of(path, wide, most)
    }

    fn when_changed(&self) -> Option<&'static str> {
        Some("goes on from its places; no file is read anew")
    }

    fn build(self: Box<Self>, cx: &BuildContext) -> Result<SourceRun, BuildError> {
        self.source(cx, None)
    }
}

/// Makes the owners of a source's files, when it begins; the bell wakes it.
pub(crate) type Attend = Box<dyn FnOnce(Bell) -> Result<Box<dyn Owners>, RunError> + Send>;

/// What the owners of files have of a source that stands on this one.
pub(crate) struct Attended {
    /// Makes them.
    pub(crate) attend: Attend,
    /// Whether a file is not theirs, by its path alone: always the same answer.
    pub(crate) leaves_out: LeavesOut,
    /// How lines are joined.
    pub(crate) rule: Arc<Rule>,
}

impl FileConfig {
    /// The source, with owners of its files where another source stands on it.
    ///
    /// Errors: patterns that cannot be read, or what the agent writes itself.
    pub(crate) fn source(self: Box<Self>, cx: &BuildContext, owned: Option<Attended>) -> Result<SourceRun, BuildError> {
        let mut plan = self.plan(cx)?;
        let attend = owned.map(|owned| {
            plan.patterns.leave_out(owned.leaves_out);
            (plan.multiline, plan.containers) = (None, Some(owned.rule));
            owned.attend
        });
        let counters = cx.counters.clone();
        Ok(SourceRun::Thread(Box::new(move |cx| {
            let wake = Arc::new(Wake::default());
            let held = cx.holdings.wait(|| cx.shutdown.is_cancelled());
            let mut tailer = Tailer::new(plan, counters, &wake, saver()?, &held)
                .map_err(RunError::io("cannot use the folder of checkpoints"))?;
            tailer.files.owners = attend.map(|attend| attend(Bell(wake.clone()))).transpose()?;
            run(tailer, cx, &wake)
        })))
    }

    fn plan(&self, cx: &BuildContext) -> Result<Plan, BuildError> {
        let texts = |list: &[Spanned<String>]| list.iter().map(|p| p.value.clone()).collect::<Vec<_>>();
        let patterns = Patterns::new(&texts(&self.include), &texts(&self.exclude)).map_err(BuildError::config)?;
        let rotated_to = Patterns::new(&texts(&self.rotated_to), &[])
            .map_err(|e| BuildError::config(format!("`rotated_to`: {e}")))?;
        let own = own_paths(cx);
        for path in patterns.literals() {
            if let Some(own) = own.iter().find(|own| path.starts_with(own) || real(path).starts_with(own)) {
                return Err(BuildError::config(format!(
                    "include {} is written by the agent itself (in {}): reading it would never end",
                    path.display(),
                    own.display()
                )));
            }
        }
        let (multiline, containers) = match self.framing()? {
            None => (None, None),
            Some(Framing::Lines(rule)) => (Some(rule), None),
            Some(Framing::Containers(rule)) => (None, Some(rule)),
        };
        let identity_bytes = match &self.fingerprint {
            Fingerprint::Bytes(n) => Some(n.as_usize()),
            _ => None,
        };
        Ok(Plan {
            id: cx.id.clone(),
            host: cx.host.clone(),
            patterns,
            rotated_to,
            from_end: self.start_at == StartAt::End && !cx.once,
            wide: self.charset.and_then(Charset::wide),
            lines: Lines { max_bytes: self.max_line_bytes.as_usize(), long: self.long_lines },
            multiline,
            containers,
            ignore_older: self.ignore_older,
            remove_after: self.remove_after,
            compressed: self.compressed == Compressed::Auto,
            identity_bytes,
            check_contents: !matches!(self.fingerprint, Fingerprint::Inode),
            glob_interval: u64::try_from(self.glob_interval.as_nanos()).unwrap_or(u64::MAX).max(now::MILLISECOND),
            watch: self.watch == WatchMode::Auto,
            links: self.links(),
            once: cx.once,
            heavy: Heavy::of_process(),
            own,
            max_open: max_open(cx.handles),
            dir: cx.data_dir.join(&*cx.id),
        })
    }
}

/// What a path really is, as far as it is there.
fn real(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    match (path.parent().map(real), path.file_name()) {
        (Some(dir), Some(name)) => dir.join(name),
        _ => path.to_owned(),
    }
}

/// Files and folders that the agent writes, under each name they go by.
fn own_paths(cx: &BuildContext) -> Vec<PathBuf> {
    let mut own = Vec::new();
    for path in cx.own_files.iter().chain([&cx.data_dir]) {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        own.push(real(&path));
        own.push(path);
    }
    own.dedup();
    own
}

/// How many files this source may have open, of the handles that connections leave.
fn max_open(handles: u64) -> usize {
    usable_handles(handles) as usize
}

/// How many files a source may have open where it and all else may have `limit`: three quarters, and what is left is enough
/// for all else that the agent opens.
fn usable_handles(limit: u64) -> u64 {
    (limit / 4 * 3).min(limit.saturating_sub(64)).clamp(16, 1 << 20)
}

/// A thread that writes checkpoints; it ends with the source.
fn saver() -> Result<Saver, RunError> {
    let (jobs, work) = crossbeam_channel::bounded::<checkpoint::Write>(1);
    let (report, done) = crossbeam_channel::bounded(1);
    std::thread::Builder::new()
        .name("checkpoints".into())
        .spawn(move || {
            for write in work {
                let result = write.perform();
                if report.send((write, result)).is_err() {
                    return;
                }
            }
        })
        .map_err(RunError::Thread)?;
    Ok(Saver::Thread { jobs, done })
}

/// How long a chunk waits for room before other things are done.
const ROOM_WAIT: Duration = Duration::from_millis(100);

/// The way out, until the agent stops; then until it may wait no longer.
struct WorkerOutput {
    output: Output,
    until: CancellationToken,
}

impl Out for WorkerOutput {
    fn send(&mut self, chunk: Chunk) -> Sent {
        if self.until.is_cancelled() {
            return Sent::Full(chunk);
        }
        match self.output.send_timeout(chunk, ROOM_WAIT) {
            Ok(()) => Sent::Yes,
            Err(NotSent::Full(chunk)) => Sent::Full(chunk),
            Err(NotSent::Closed) => Sent::Closed,
        }
    }
}

fn now() -> Now {
    Now { mono: clock::monotonic_ns(), wall: clock::now_ns() }
}

/// Rings `wake` when `token` is cancelled, for as long as what is returned lives.
fn ring_on(token: &CancellationToken, wake: &Arc<Wake>) -> impl Future<Output = ()> + use<> {
    let mut cancelled = Box::pin(token.clone().cancelled_owned());
    let waker = Waker::from(wake.clone());
    if cancelled.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
        wake.wake();
    }
    cancelled
}

/// Reads until told to stop, then waits for verdicts and saves.
fn run(mut tailer: Tailer, cx: SourceContext, wake: &Arc<Wake>) -> Result<(), RunError> {
    let SourceContext { output, shutdown, deadline, call, begins_again, .. } = cx;
    let mut worker = WorkerOutput { output, until: shutdown.clone() };
    let _rings = ring_on(&shutdown, wake);
    // What has failed is read again by the next life of the source, from where all is settled.
    while !shutdown.is_cancelled() && !(begins_again && tailer.has_failed) {
        match call.within(|| tailer.turn(now(), &mut worker)) {
            Next::Now => {}
            Next::After(wait) => wake.wait(Duration::from_nanos(wait)),
            Next::Done | Next::Closed => break,
        }
    }
    if shutdown.is_cancelled() {
        worker.until = deadline.clone();
        tailer.drain_deleted(now, &mut worker, || deadline.is_cancelled());
    }
    // The held chunk was promised a verdict: dropping it says that it failed, and its place is not passed.
    tailer.files.reader.held = None;
    // One that begins again is not at its end: workers go on.
    let reads_again = begins_again && tailer.has_failed && !shutdown.is_cancelled();
    let worker = Some(worker).filter(|_| reads_again);
    tailer.files.reader.verdicts.wake_on_each();
    let _rings = ring_on(&deadline, wake);
    loop {
        tailer.hear_verdicts();
        if tailer.files.reader.outstanding == 0 || deadline.is_cancelled() {
            break;
        }
        wake.wait(Duration::from_secs(1));
    }
    tailer.save_all(now()).map_err(RunError::io("cannot write the checkpoint"))?;
    if worker.is_some() && !shutdown.is_cancelled() {
        return Err(RunError::failed("a part of what was read could not be delivered and is read again"));
    }
    match tailer.files.unread() {
        0 => Ok(()),
        1 => Err(RunError::failed("1 file or folder could not be read")),
        n => Err(RunError::failed(format!("{n} files and folders could not be read"))),
    }
}
