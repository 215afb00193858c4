//! The books over all runs, since the `data_dir` was made: kept in `data_dir/ledger`, judged by `tidegate audit`.
//!
//! Each run's books balance by themselves ([`crate::telemetry`]). Over several runs two things are added: what a component
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
//! than was put out. After kill -9 the books end at the last snapshot, up to a second before: they balance, and know
//! nothing of what was done after it. A file that is damaged is set aside as `ledger.damaged`, said, and begun anew.

use crate::data_dir::replace_file;
use crate::telemetry::{Books, Totals};
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
/// And at first: runs that are killed soon after their start are in the books too.
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
}

impl Account {
    /// Over all runs.
    pub fn total(&self) -> Sums {
        let mut total = self.past.clone();
        total.add(&self.run);
        total
    }
}

/// The books over all runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// When it was begun: nanoseconds since 1970 UTC.
    pub since: i64,
    /// When it was last written.
    pub at: i64,
    /// Runs, the last one included.
    pub runs: u64,
    /// Runs that did not end in order.
    pub killed: u64,
    /// The last run has ended in order: everything was at rest.
    pub ended: bool,
    /// Accounts by id of the component; components that the configuration has no more stay.
    pub accounts: BTreeMap<String, Account>,
    /// Who reads what in the last run: reader, component, output.
    edges: Vec<(String, String, String)>,
    /// Dead letters in the last run: the sink that takes them, the sink whose they are.
    dead_letters: Vec<(String, String)>,
}

/// Why a ledger cannot be used.
#[derive(Debug)]
pub enum LedgerError {
    /// It cannot be read or written.
    Io(PathBuf, io::Error),
    /// It is not what was written.
    Damaged(PathBuf, String),
}

impl std::fmt::Display for LedgerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LedgerError::Io(path, error) => write!(f, "{}: {error}", path.display()),
            LedgerError::Damaged(path, why) => write!(f, "{} is damaged: {why}", path.display()),
        }
    }
}

impl std::error::Error for LedgerError {}

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
                return Err(LedgerError::Damaged(path, format!("{} bytes are too many", meta.len())));
            }
            Ok(_) => {}
        }
        let text = std::fs::read(&path).map_err(io)?;
        Ledger::parse(&text).map(Some).map_err(|why| LedgerError::Damaged(path, why))
    }

    fn parse(text: &[u8]) -> Result<Ledger, String> {
        let end = memchr::memchr(b'\n', text).ok_or("it has no first line")?;
        let (head, body) = (&text[..end], &text[end + 1..]);
        let sum =
            head.strip_prefix(MAGIC.as_bytes()).ok_or("the first line is not that of a ledger of this version")?;
        if sum != format!("{:08x}", crc32c::crc32c(body)).as_bytes() {
            return Err("the checksum does not fit".into());
        }
        serde_json::from_slice(body).map_err(|e| e.to_string())
    }

    fn write(&self, data_dir: &Path) -> io::Result<()> {
        let body = serde_json::to_string(self).map_err(io::Error::other)?;
        let text = format!("{MAGIC}{:08x}\n{body}", crc32c::crc32c(body.as_bytes()));
        replace_file(&Ledger::path(data_dir), text.as_bytes())
    }

    /// Ends the last run's part and begins a new one.
    fn begin(&mut self, books: &Books) {
        if self.runs > 0 {
            self.close_run();
        } else {
            self.since = clock::now_ns();
        }
        self.runs += 1;
        self.ended = false;
        let text = |s: &Arc<str>| s.to_string();
        self.edges = books.edges.iter().map(|(r, f, o)| (text(r), text(f), text(o))).collect();
        self.dead_letters = books.dead_letters.iter().map(|(to, from)| (text(to), text(from))).collect();
        self.enter(books);
    }

    /// What a run leaves: held events are left behind, and its edges are judged.
    fn close_run(&mut self) {
        self.killed += u64::from(!self.ended);
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
    fn enter(&mut self, books: &Books) {
        // Those that read first: what they have taken in was put out before.
        for counters in books.components.iter().rev() {
            let run = Sums::of(&counters.snapshot());
            let account = self.accounts.entry(counters.id.to_string()).or_default();
            account.kind = counters.kind.name().to_owned();
            account.r#type = counters.type_name.to_owned();
            account.run = run;
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

    /// Everything in it that does not add up, in words; empty where the books balance.
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
    books: Books,
    ledger: Mutex<Ledger>,
}

impl Keeper {
    /// Reads the ledger and begins a run in it. What is damaged is set aside and said.
    ///
    /// Errors: it cannot be read or written.
    pub fn open(data_dir: &Path, books: Books) -> Result<Arc<Keeper>, LedgerError> {
        let mut ledger = match Ledger::read(data_dir) {
            Ok(ledger) => ledger.unwrap_or_default(),
            Err(LedgerError::Damaged(path, why)) => {
                let aside = path.with_extension("damaged");
                std::fs::rename(&path, &aside).map_err(|e| LedgerError::Io(path.clone(), e))?;
                tracing::error!(file = %path.display(), why, aside = %aside.display(), "the ledger is damaged: set aside, and begun anew");
                Ledger::default()
            }
            Err(error) => return Err(error),
        };
        ledger.begin(&books);
        let io = |e| LedgerError::Io(Ledger::path(data_dir), e);
        ledger.write(data_dir).map_err(io)?;
        Ok(Arc::new(Keeper { data_dir: data_dir.to_owned(), books, ledger: Mutex::new(ledger) }))
    }

    fn with<R>(&self, what: impl FnOnce(&mut Ledger) -> R) -> R {
        what(&mut self.ledger.lock().unwrap_or_else(|e| e.into_inner()))
    }

    /// The ledger as of now.
    pub fn now(&self) -> Ledger {
        self.with(|ledger| {
            ledger.enter(&self.books);
            ledger.clone()
        })
    }

    /// Writes it every second where something has changed, until `stop` is disconnected. Blocks.
    pub fn run(&self, stop: &crossbeam_channel::Receiver<()>) {
        let mut written = BTreeMap::new();
        let mut failing = false;
        let mut rounds = 0;
        loop {
            let wait = if rounds < AT_FIRST { EVERY_AT_FIRST } else { EVERY };
            rounds += 1;
            if stop.recv_timeout(wait) != Err(crossbeam_channel::RecvTimeoutError::Timeout) {
                return;
            }
            let ledger = self.now();
            if ledger.accounts == written {
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

    /// The run is over: in order where everything is at rest.
    pub fn end(&self, in_order: bool) -> Result<Ledger, LedgerError> {
        let ledger = self.with(|ledger| {
            ledger.enter(&self.books);
            ledger.ended = in_order;
            ledger.clone()
        });
        ledger.write(&self.data_dir).map_err(|e| LedgerError::Io(Ledger::path(&self.data_dir), e))?;
        Ok(ledger)
    }
}

#[cfg(test)]
mod tests;
