//! The ledger over all runs, since the `data_dir` was made: kept in `data_dir/ledger`, judged by `tidegate audit`.
//!
//! Each run's ledgers balance by themselves ([`crate::telemetry`]). Over several runs two things are added: what a component
//! held when a run ended is `left` (a source that can read it again will, so it comes in a second time; what lies in a disk
//! buffer does not), and what a disk buffer had at a start is `resumed`:
//!
//! ```text
//! in + created + resumed = out + dropped + rejected + held + left
//! ```
//!
//! and, along the edges of each run, what was put out for a component is what came into it.
//!
//! **The file** has two lines: `tidegate-ledger 1 crc32c=<8 hex digits of the second line>`, and JSON. It is replaced as a
//! whole ([`replace_file`]) when something has changed, at most once a second (ten times a second in the first two), and at
//! the end of the run. What is written is
//! one snapshot of all components, those that read before those that are read, so that an edge never shows more coming in
//! than was put out. After kill -9 the ledger end at the last snapshot, up to a second before: they balance, and know
//! nothing of what was done after it. A file that is damaged is set aside as `ledger.damaged`, said, and begun anew.
//!
//! **What lies in disk buffers** is noted too ([`BufferTotals`]). A buffer that at a start has fewer events than were written to
//! it by the last snapshot has lost some, also where its whole folder is gone: they are counted as resumed and dropped as
//! `corrupt`, as what a buffer finds damaged itself.
//!
//! **Notes.** What `tidegate buffer` gives up for lost while no agent runs on a buffer stands in `ledger.notes`, one line each,
//! only appended to: `<8 hex digits: CRC-32C of the rest> <JSON>`. The ledger says how many of them it has taken over.

use crate::storage::data_dir::{Lock, replace_file};
use crate::storage::{Disk, Storage, make_again};
use crate::sync::Locked;
use crate::sync::live::Live;
use crate::telemetry::{BufferTotals, RunLedger, Totals};
use crate::time::clock;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const MAGIC: &str = "tidegate-ledger 1 crc32c=";
/// Largest file that is read: some hundred thousand components.
const MAX_BYTES: u64 = 64 << 20;
/// Between two writes.
const EVERY: Duration = Duration::from_secs(1);
/// And at first: runs that are killed soon after their start are in the ledger too.
const EVERY_AT_FIRST: Duration = Duration::from_millis(100);
/// Writes at that pace.
const AT_FIRST: u32 = 20;

/// Sums of one component, over one run or several.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    /// Events taken in, without those resumed.
    pub r#in: u64,
    /// Events made.
    pub created: u64,
    /// Events found in the disk buffer at starts.
    pub resumed: u64,
    /// Events put out or delivered.
    pub out: u64,
    /// Events dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Events rejected or dead-lettered, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Events held now; 0 for runs that are over.
    pub held: u64,
    /// Events held when runs ended.
    pub left: u64,
    /// Events put out by output; the default output is the empty name.
    pub outputs: BTreeMap<String, u64>,
}

impl Sums {
    fn of(totals: &Totals) -> Self {
        let owned = |map: &BTreeMap<&'static str, u64>| map.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect();
        Sums {
            r#in: totals.events_in.saturating_sub(totals.events_resumed),
            created: totals.events_created,
            resumed: totals.events_resumed,
            out: totals.events_out,
            dropped: owned(&totals.dropped),
            rejected: owned(&totals.rejected),
            held: totals.held,
            left: 0,
            outputs: totals.outputs.iter().map(|(k, n)| (k.to_string(), *n)).collect(),
        }
    }

    /// Adds another run's sums.
    fn add(&mut self, other: &Sums) {
        let maps = [
            (&mut self.dropped, &other.dropped),
            (&mut self.rejected, &other.rejected),
            (&mut self.outputs, &other.outputs),
        ];
        for (to, from) in maps {
            for (key, n) in from {
                *to.entry(key.clone()).or_default() += n;
            }
        }
        self.r#in += other.r#in;
        self.created += other.created;
        self.resumed += other.resumed;
        self.out += other.out;
        self.held += other.held;
        self.left += other.left;
    }

    /// Both sides of the equation.
    fn sides(&self) -> (u128, u128) {
        let sum = |map: &BTreeMap<String, u64>| map.values().map(|&n| u128::from(n)).sum::<u128>();
        let came = u128::from(self.r#in) + u128::from(self.created) + u128::from(self.resumed);
        let went = u128::from(self.out) + sum(&self.dropped) + sum(&self.rejected);
        (came, went + u128::from(self.held) + u128::from(self.left))
    }

    /// Events rejected, for whatever reason.
    fn rejected_events(&self) -> u64 {
        self.rejected.values().sum()
    }
}

/// One component's account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// source, transform or sink.
    pub kind: String,
    /// Its `type`.
    pub r#type: String,
    /// Of the runs that are over.
    pub past: Sums,
    /// Of the last run, or the one that goes on.
    pub run: Sums,
    /// What was put out for it and did not come in, over the runs that ended in order: 0, or there is a bug.
    pub unmatched: i64,
    /// The same over the runs that were killed: on its way at the last snapshot.
    pub on_its_way: u64,
    /// What its disk buffer had at the last snapshot.
    #[serde(default)]
    pub buffer: Option<BufferTotals>,
}

impl Account {
    /// Over all runs.
    pub fn total(&self) -> Sums {
        let mut total = self.past.clone();
        total.add(&self.run);
        total
    }
}

/// The ledger over all runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// When it was begun: nanoseconds since 1970 UTC.
    pub since: i64,
    /// When it was last written.
    pub at: i64,
    /// Runs, the last one included.
    pub runs: u64,
    /// Runs that did not end by themselves.
    pub killed: u64,
    /// The last run has ended in order: everything was at rest.
    pub ended: bool,
    /// The last run has ended by itself, whatever was left.
    #[serde(default)]
    pub stopped: bool,
    /// Accounts by id of the component; components that the configuration has no more stay.
    pub accounts: BTreeMap<String, Account>,
    /// Who reads what in the last run: reader, component, output.
    edges: Vec<(String, String, String)>,
    /// Dead letters in the last run: the sink that takes them, the sink whose they are.
    dead_letters: Vec<(String, String)>,
    /// Notes taken over.
    #[serde(default)]
    notes: u64,
}

/// The reason of events that a disk buffer has lost.
const CORRUPT: &str = "corrupt";

/// What was done to a disk buffer on which no agent ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// When: nanoseconds since 1970 UTC.
    pub at: i64,
    /// The sink whose buffer it is.
    pub component: String,
    /// Why its events are gone.
    pub reason: String,
    /// How many.
    pub events: u64,
    /// What is left of the buffer, where something is.
    pub buffer: Option<BufferTotals>,
}

impl Note {
    /// Where they lie.
    fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("ledger.notes")
    }

    /// Writes it down.
    ///
    /// Errors: with the path of the file.
    pub fn append(&self, data_dir: &Path) -> Result<(), (PathBuf, io::Error)> {
        let path = Note::path(data_dir);
        let write = || {
            let body = serde_json::to_string(self).map_err(io::Error::other)?;
            // On a line of its own, even if the one before was torn.
            let line = format!("\n{:08x} {body}\n", crc32c::crc32c(body.as_bytes()));
            let mut options = std::fs::OpenOptions::new();
            options.append(true).create(true);
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, crate::storage::NO_LINKS);
            let mut file = options.open(&path)?;
            io::Write::write_all(&mut file, line.as_bytes())?;
            file.sync_all()?;
            crate::storage::data_dir::sync_dir(data_dir)
        };
        write().map_err(|e| (path.clone(), e))
    }

    /// All that can be read, in order.
    fn all(data_dir: &Path) -> io::Result<Vec<Note>> {
        let text = match std::fs::read(Note::path(data_dir)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            text => text?,
        };
        let parse = |line: &[u8]| {
            let (sum, body) = line.split_at_checked(9)?;
            let fits = *sum == *format!("{:08x} ", crc32c::crc32c(body)).as_bytes();
            fits.then(|| serde_json::from_slice(body).ok())?
        };
        Ok(text.split(|&b| b == b'\n').filter_map(parse).collect())
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// In order: everything was at rest.
    AtRest,
    /// Before all was delivered.
    Early,
}

/// Why a ledger cannot be used.
#[derive(Debug)]
pub enum LedgerError {
    /// It cannot be read or written.
    Io(PathBuf, io::Error),
    /// It is not what was written.
    Damaged(PathBuf, Damage),
}

/// What is wrong with the text of a ledger.
#[derive(Debug)]
pub enum Damage {
    /// It has more bytes than a ledger may have.
    TooLong(u64),
    /// It has no line to begin with.
    NoHead,
    /// The first line is another one, or that of another version.
    OtherHead,
    /// Something of it is not what was written.
    Checksum,
    /// It is not what this version writes.
    Json(serde_json::Error),
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Damage::TooLong(bytes) => write!(f, "{bytes} bytes are too many"),
            Damage::NoHead => f.write_str("it has no first line"),
            Damage::OtherHead => f.write_str("the first line is not that of a ledger of this version"),
            Damage::Checksum => f.write_str("the checksum does not fit"),
            Damage::Json(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Damage {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // It is said in its own words.
        if let Damage::Json(error) = self { error.source() } else { None }
    }
}

impl std::fmt::Display for LedgerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LedgerError::Io(path, error) => write!(f, "{}: {error}", path.display()),
            LedgerError::Damaged(path, why) => write!(f, "{} is damaged: {why}", path.display()),
        }
    }
}

impl std::error::Error for LedgerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LedgerError::Io(_, error) => Some(error),
            LedgerError::Damaged(_, damage) => Some(damage),
        }
    }
}

impl Ledger {
    /// Where it lies.
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("ledger")
    }

    /// Reads it; `None` where there is none yet. Changes nothing.
    pub fn read(data_dir: &Path) -> Result<Option<Ledger>, LedgerError> {
        let path = Ledger::path(data_dir);
        let io = |e| LedgerError::Io(path.clone(), e);
        match std::fs::metadata(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io(e)),
            Ok(meta) if meta.len() > MAX_BYTES => {
                return Err(LedgerError::Damaged(path, Damage::TooLong(meta.len())));
            }
            Ok(_) => {}
        }
        let text = std::fs::read(&path).map_err(io)?;
        let mut ledger = Ledger::parse(&text).map_err(|why| LedgerError::Damaged(path.clone(), why))?;
        ledger.take_notes(Note::all(data_dir).map_err(|e| LedgerError::Io(Note::path(data_dir), e))?);
        Ok(Some(ledger))
    }

    /// Counts what commands have given up for lost: as if a run had found it so.
    fn take_notes(&mut self, all: Vec<Note>) {
        let taken = usize::try_from(self.notes).unwrap_or(usize::MAX);
        self.notes = self.notes.max(all.len() as u64);
        for note in all.into_iter().skip(taken) {
            let account = self.accounts.entry(note.component).or_insert_with(|| {
                let kind = crate::telemetry::ComponentKind::Sink.name().to_owned();
                Account { kind, ..Account::default() }
            });
            account.past.resumed += note.events;
            *account.past.dropped.entry(note.reason).or_default() += note.events;
            account.buffer = note.buffer;
        }
    }

    fn parse(text: &[u8]) -> Result<Ledger, Damage> {
        let end = memchr::memchr(b'\n', text).ok_or(Damage::NoHead)?;
        let (head, body) = (&text[..end], &text[end + 1..]);
        let sum = head.strip_prefix(MAGIC.as_bytes()).ok_or(Damage::OtherHead)?;
        if sum != format!("{:08x}", crc32c::crc32c(body)).as_bytes() {
            return Err(Damage::Checksum);
        }
        serde_json::from_slice(body).map_err(Damage::Json)
    }

    fn write(&self, data_dir: &Path) -> io::Result<()> {
        let body = serde_json::to_string(self).map_err(io::Error::other)?;
        let text = format!("{MAGIC}{:08x}\n{body}", crc32c::crc32c(body.as_bytes()));
        replace_file(&Ledger::path(data_dir), text.as_bytes())
    }

    /// Ends the last run's part and begins a new one.
    fn begin(&mut self, run_ledger: &RunLedger) {
        if self.runs > 0 {
            self.close_run();
        } else {
            self.since = clock::now_ns();
        }
        self.runs += 1;
        (self.ended, self.stopped) = (false, false);
        self.enter(run_ledger);
    }

    /// What a run leaves: held events are left behind, and its edges are judged.
    fn close_run(&mut self) {
        self.killed += u64::from(!self.ended && !self.stopped);
        let gaps = self.gaps();
        let ended = self.ended;
        for (id, account) in &mut self.accounts {
            let mut run = std::mem::take(&mut account.run);
            run.left = std::mem::take(&mut run.held);
            account.past.add(&run);
            let gap = gaps.get(id).copied().unwrap_or(0);
            match u64::try_from(gap) {
                Ok(gap) if !ended => account.on_its_way += gap,
                _ => account.unmatched += gap,
            }
        }
    }

    /// Takes over what the components count now.
    fn enter(&mut self, run_ledger: &RunLedger) {
        let text = |id: &Arc<str>| id.to_string();
        self.edges = run_ledger.edges.iter().map(|(r, f, o)| (text(r), text(f), text(o))).collect();
        self.dead_letters = run_ledger.dead_letters.iter().map(|(to, from)| (text(to), text(from))).collect();
        // Those that read first: what they have taken in was put out before.
        let mut entered: std::collections::BTreeSet<&str> = std::collections::BTreeSet::new();
        for counters in run_ledger.components.iter().rev() {
            let totals = counters.snapshot();
            let mut run = Sums::of(&totals);
            if !entered.insert(&counters.id) {
                // Another had its id before, with another type.
                run.add(&self.accounts.get(&*counters.id).map(|account| account.run.clone()).unwrap_or_default());
            }
            let account = self.accounts.entry(counters.id.to_string()).or_default();
            account.kind = counters.kind.name().to_owned();
            account.r#type = counters.type_name.to_owned();
            account.run = run;
            // Until it is open it has what it had.
            account.buffer = totals.buffer.or(account.buffer);
        }
        self.at = clock::now_ns();
    }

    /// In the last run: what was put out for each reader, less what came into it.
    fn gaps(&self) -> BTreeMap<String, i64> {
        let mut put_out: BTreeMap<&str, u64> = BTreeMap::new();
        for (reader, from, output) in &self.edges {
            let n = self.accounts.get(from).and_then(|a| a.run.outputs.get(output)).copied().unwrap_or(0);
            *put_out.entry(reader).or_default() += n;
        }
        for (to, from) in &self.dead_letters {
            let n = self.accounts.get(from).map_or(0, |a| a.run.rejected_events());
            *put_out.entry(to).or_default() += n;
        }
        let gap = |(reader, n): (&str, u64)| {
            let came = self.accounts.get(reader).map_or(0, |a| a.run.r#in);
            let gap = i128::from(n) - i128::from(came);
            (reader.to_owned(), i64::try_from(gap).unwrap_or(i64::MAX))
        };
        put_out.into_iter().map(gap).collect()
    }

    /// Components whose disk buffer has lost events for good, and how many.
    pub fn lost(&self) -> Vec<(&str, u64)> {
        let lost = |account: &Account| account.total().dropped.get(CORRUPT).copied().filter(|&n| n > 0);
        self.accounts.iter().filter_map(|(id, account)| Some((&**id, lost(account)?))).collect()
    }

    /// Everything in it that does not add up, in words; empty where the ledger balances.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let gaps = self.gaps();
        for (id, account) in &self.accounts {
            let total = account.total();
            let (came, went) = total.sides();
            if came != went {
                faults.push(format!(
                    "`{id}`: in {} + created {} + resumed {} = {came}, but out {} + dropped {} + rejected {} + held {} + left {} = {went}: {} events {}",
                    total.r#in,
                    total.created,
                    total.resumed,
                    total.out,
                    total.dropped.values().sum::<u64>(),
                    total.rejected_events(),
                    total.held,
                    total.left,
                    came.abs_diff(went),
                    if came > went { "are not accounted for" } else { "are accounted for that never came" },
                ));
            }
            let gap = gaps.get(id).copied().unwrap_or(0);
            // What is put out may be on its way while the run goes on, never the other way round.
            let gap = if gap > 0 && !self.ended { 0 } else { gap };
            let unmatched = account.unmatched.saturating_add(gap);
            if unmatched != 0 {
                faults.push(format!(
                    "`{id}`: {} events {}",
                    unmatched.unsigned_abs(),
                    if unmatched > 0 {
                        "were put out for it and did not come in"
                    } else {
                        "came in that nobody has put out for it"
                    }
                ));
            }
        }
        faults
    }
}

/// Keeps the ledger of a running topology.
pub struct Keeper {
    data_dir: PathBuf,
    run_ledger: Live<RunLedger>,
    kept: Mutex<Kept>,
    /// The lock of the folder, where this process has it, and the filesystem that the folder is on.
    lock: Option<Arc<Lock>>,
    device: Option<u64>,
}

struct Kept {
    ledger: Ledger,
    /// What disk buffers had at the end of the run before, by component, until they are open.
    before: BTreeMap<String, BufferTotals>,
}

impl Keeper {
    /// Reads the ledger and begins a run in it. What is damaged is set aside and said. Where the folder is deleted while it
    /// runs it is made again and `lock` is taken again.
    ///
    /// One that cannot be written yet (a full disk) is kept in memory and tried again by [`run`](Self::run).
    ///
    /// Errors: it cannot be read.
    pub fn open(
        data_dir: &Path,
        run_ledger: impl Into<Live<RunLedger>>,
        lock: Option<Arc<Lock>>,
    ) -> Result<Arc<Keeper>, LedgerError> {
        let run_ledger = run_ledger.into();
        let anew = || {
            let notes = Note::all(data_dir).map_err(|e| LedgerError::Io(Note::path(data_dir), e))?.len() as u64;
            Ok(Ledger { notes, ..Ledger::default() })
        };
        let mut ledger = match Ledger::read(data_dir) {
            Ok(Some(ledger)) => ledger,
            Ok(None) => anew()?,
            Err(LedgerError::Damaged(path, why)) => {
                let aside = path.with_extension("damaged");
                std::fs::rename(&path, &aside).map_err(|e| LedgerError::Io(path.clone(), e))?;
                tracing::error!(file = %path.display(), why = &*why.to_string(), aside = %aside.display(), "the ledger is damaged: set aside, and begun anew");
                anew()?
            }
            Err(error) => return Err(error),
        };
        let had = |(id, account): (&String, &Account)| Some((id.clone(), account.buffer?));
        let before = ledger.accounts.iter().filter_map(had).collect();
        ledger.begin(&run_ledger.now());
        if let Err(error) = ledger.write(data_dir) {
            tracing::error!(file = %Ledger::path(data_dir).display(), %error, "the ledger cannot be written; it is tried again every second");
        }
        let device = Disk.identity(data_dir).ok().map(|id| id.device);
        let kept = Mutex::new(Kept { ledger, before });
        Ok(Arc::new(Keeper { data_dir: data_dir.to_owned(), run_ledger, kept, lock, device }))
    }

    fn with<R>(&self, what: impl FnOnce(&mut Ledger) -> R) -> R {
        let mut kept = self.kept.locked();
        self.compare(&mut kept);
        what(&mut kept.ledger)
    }

    /// Counts what disk buffers that have been opened since the last look have lost without knowing it.
    fn compare(&self, kept: &mut Kept) {
        if kept.before.is_empty() {
            return;
        }
        for counters in &self.run_ledger.now().components {
            let Some(before) = kept.before.get(&*counters.id).copied() else { continue };
            let Some(now) = counters.snapshot().buffer else { continue };
            kept.before.remove(&*counters.id);
            let lost = before.missing(now.opened);
            if lost == 0 {
                continue;
            }
            counters.update(|t| {
                t.events_in += lost;
                t.events_resumed += lost;
                t.drop_events(CORRUPT, lost);
            });
            tracing::error!(
                component = &*counters.id,
                events = lost,
                held = before.held,
                "events that the disk buffer held when the ledger was last written are not there any more: they are lost"
            );
        }
    }

    /// Makes the folder anew where it was deleted, and takes its lock again.
    fn look_after_folder(&self) -> io::Result<()> {
        if let (Some(device), false) = (self.device, self.data_dir.exists()) {
            make_again(&Disk, &self.data_dir, device)?;
            let dir = self.data_dir.display();
            tracing::error!(data_dir = %dir, "the data_dir was deleted or moved away while it was in use; made anew");
        }
        match &self.lock {
            Some(lock) => lock.renew(),
            None => Ok(()),
        }
    }

    /// The ledger as of now.
    pub fn now(&self) -> Ledger {
        self.with(|ledger| {
            ledger.enter(&self.run_ledger.now());
            ledger.clone()
        })
    }

    /// Writes it every second where something has changed, until `stop` is disconnected. Blocks.
    pub fn run(&self, stop: &crossbeam_channel::Receiver<()>) {
        let mut written = BTreeMap::new();
        let mut failing = false;
        let mut rounds = 0;
        loop {
            if let Err(error) = self.look_after_folder()
                && !failing
            {
                failing = true;
                tracing::error!(data_dir = %self.data_dir.display(), %error, "the data_dir is not there, or another agent has it");
            }
            let wait = if rounds < AT_FIRST { EVERY_AT_FIRST } else { EVERY };
            rounds += 1;
            if stop.recv_timeout(wait) != Err(crossbeam_channel::RecvTimeoutError::Timeout) {
                return;
            }
            let ledger = self.now();
            if ledger.accounts == written && Ledger::path(&self.data_dir).exists() {
                continue;
            }
            match ledger.write(&self.data_dir) {
                Ok(()) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!("the ledger is written again");
                    }
                    written = ledger.accounts;
                }
                Err(error) if !failing => {
                    failing = true;
                    tracing::error!(%error, "the ledger cannot be written; it is tried again every second");
                }
                Err(_) => {}
            }
        }
    }

    /// The run is over.
    pub fn end(&self, how: RunEnd) -> Result<Ledger, LedgerError> {
        let ledger = self.with(|ledger| {
            ledger.enter(&self.run_ledger.now());
            (ledger.ended, ledger.stopped) = (how == RunEnd::AtRest, true);
            ledger.clone()
        });
        ledger.write(&self.data_dir).map_err(|e| LedgerError::Io(Ledger::path(&self.data_dir), e))?;
        Ok(ledger)
    }
}

#[cfg(test)]
mod tests;
