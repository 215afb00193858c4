//! `tidegate buffer`: looks into disk buffers, also those of a running agent (it only reads there), and mends or
//! removes them when none runs.

use super::terminal::{Progress, Stand};
use super::{Exit, print, report_page, say, say_line};
use crate::buffer::disk::tools;
use crate::ledger::{Ledger, Note};
use crate::pipeline::{Loaded, load};
use crate::settings::ProcessEnvironment;
use crate::telemetry::BufferTotals;
use crate::text::escape::{self, Form, Page};
use clap::{Args, Subcommand};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Arguments of `buffer`.
#[derive(Args, Debug)]
pub(super) struct BufferArgs {
    /// Folder of the agent's state; else the `data_dir` of --config, else ./data.
    #[arg(long, value_name = "PATH", global = true)]
    data_dir: Option<PathBuf>,
    /// A configuration whose `data_dir` is meant.
    #[arg(long, short, value_name = "PATH", global = true)]
    config: Vec<PathBuf>,
    #[command(subcommand)]
    command: BufferCommand,
}

#[derive(Subcommand, Debug)]
enum BufferCommand {
    /// List the buffers: events held, bytes, segments, whether an agent runs on them.
    Ls,
    /// Show the segments of a buffer.
    Inspect {
        /// Id of the sink.
        id: String,
    },
    /// Print the events of a buffer as JSON, one a line.
    Cat {
        /// Id of the sink.
        id: String,
        /// Events that the sink has settled too, as far as they are still there.
        #[arg(long)]
        all: bool,
        /// Stop after so many.
        #[arg(long, short = 'n', value_name = "N")]
        limit: Option<u64>,
    },
    /// Print the events of a buffer whose JSON matches a regular expression.
    Grep {
        /// Id of the sink.
        id: String,
        /// The regular expression.
        pattern: String,
        /// Events that the sink has settled too, as far as they are still there.
        #[arg(long)]
        all: bool,
    },
    /// Read every record of a buffer, or of all, and check it; exit 1 when something is damaged.
    Verify {
        /// Id of the sink; all where it is left out.
        id: Option<String>,
    },
    /// Set what is damaged aside and write down what is lost. No agent may run on the buffer.
    Repair {
        /// Id of the sink.
        id: String,
    },
    /// Write the events of a buffer to a file as JSON, one a line, and leave the buffer as it is.
    Export {
        /// Id of the sink.
        id: String,
        /// The file; it must not exist.
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
    /// Remove a buffer with all that is in it. No agent may run on it.
    Drop {
        /// Id of the sink.
        id: String,
        /// Really.
        #[arg(long)]
        yes: bool,
    },
}

/// Why a command ended early: what to say.
type Failure = String;

/// Runs the command.
pub(super) fn run(args: &BufferArgs) -> Exit {
    let data_dir = match data_dir(args) {
        Ok(data_dir) => data_dir,
        Err(exit) => return exit,
    };
    let result = match &args.command {
        BufferCommand::Ls => ls(&data_dir),
        BufferCommand::Inspect { id } => existing(&data_dir, id).and_then(|folder| inspect(&folder)),
        BufferCommand::Cat { id, all, limit } => {
            existing(&data_dir, id).and_then(|folder| cat(&folder, *all, *limit, None))
        }
        BufferCommand::Grep { id, pattern, all } => existing(&data_dir, id).and_then(|folder| {
            let regex =
                regex_automata::meta::Regex::new(pattern).map_err(|e| format!("the pattern is not a regex: {e}"))?;
            cat(&folder, *all, None, Some(&regex))
        }),
        BufferCommand::Verify { id } => verify(&data_dir, id.as_deref()),
        BufferCommand::Repair { id } => existing(&data_dir, id).and_then(|folder| repair(&data_dir, id, &folder)),
        BufferCommand::Export { id, output } => existing(&data_dir, id).and_then(|folder| export(&folder, output)),
        BufferCommand::Drop { id, yes } => {
            existing(&data_dir, id).and_then(|folder| remove(&data_dir, id, &folder, *yes))
        }
    };
    match result {
        Ok(exit) => exit,
        Err(failure) => {
            say_line!("error: {failure}");
            Exit::Failed
        }
    }
}

fn data_dir(args: &BufferArgs) -> Result<PathBuf, Exit> {
    if let Some(data_dir) = &args.data_dir {
        return Ok(data_dir.clone());
    }
    if args.config.is_empty() {
        return Ok(PathBuf::from("./data"));
    }
    let Loaded { config, report, .. } = load(&args.config, &ProcessEnvironment, crate::registry::built_in());
    match config {
        Some(config) => Ok(config.globals.data_dir),
        None => {
            say(&report_page(&report.render()));
            Err(Exit::BadConfig)
        }
    }
}

fn existing(data_dir: &Path, id: &str) -> Result<PathBuf, Failure> {
    let ids = tools::ids(data_dir).map_err(|e| format!("cannot list `{}`: {e}", data_dir.display()))?;
    if ids.iter().any(|known| known == id) {
        return Ok(tools::folder(data_dir, id));
    }
    let known = if ids.is_empty() { "there are none".to_owned() } else { format!("there are: {}", ids.join(", ")) };
    Err(format!("no buffer of a sink `{id}` under `{}`; {known}", data_dir.display()))
}

fn out(page: &Page) -> Result<(), Failure> {
    print(page).map_err(|e| e.to_string())
}

fn out_line(args: std::fmt::Arguments<'_>) -> Result<(), Failure> {
    out(&Page::of_line(args))
}

fn ls(data_dir: &Path) -> Result<Exit, Failure> {
    if !data_dir.is_dir() {
        return Err(format!(
            "there is no folder `{}`; name the agent's with --data-dir or --config",
            data_dir.display()
        ));
    }
    let ids = tools::ids(data_dir).map_err(|e| format!("cannot list `{}`: {e}", data_dir.display()))?;
    let mut text = Page::new();
    writeln!(text, "{:<24} {:>12} {:>14} {:>8}  STATE", "SINK", "EVENTS", "BYTES", "SEGMENTS");
    for id in ids {
        let folder = tools::folder(data_dir, &id);
        let state = if tools::is_live(&folder) { "in use" } else { "at rest" };
        let line = match (tools::held(&folder), tools::sizes(&folder)) {
            (Ok(held), Ok((segments, bytes))) => format!("{id:<24} {held:>12} {bytes:>14} {segments:>8}  {state}"),
            (Err(e), _) | (_, Err(e)) => format!("{id:<24} {e}"),
        };
        writeln!(text, "{line}");
    }
    out(&text)?;
    Ok(Exit::Done)
}

fn inspect(folder: &Path) -> Result<Exit, Failure> {
    let report = tools::inspect(folder).map_err(|e| e.to_string())?;
    let mut text = Page::new();
    let settled =
        report.settled_below.map_or("unknown: the position cannot be read".into(), |n| format!("below record {n}"));
    writeln!(text, "folder      {}", folder.display());
    writeln!(text, "events held {}", report.held);
    writeln!(text, "bytes       {}", report.bytes);
    writeln!(text, "settled     {settled}");
    writeln!(text, "spares      {} ({} bytes)", report.spares.0, report.spares.1);
    writeln!(text, "quarantine  {} ({} bytes)", report.quarantine.0, report.quarantine.1);
    writeln!(text);
    writeln!(
        text,
        "{:>20} {:>12} {:>10} {:>10} {:>10} {:>12} {:>12}  RECEIVED",
        "SEGMENT", "FIRST", "RECORDS", "EVENTS", "HELD", "BYTES", "UNPACKED"
    );
    for s in &report.segments {
        let mut received = Vec::new();
        if let Some((old, new)) = s.received {
            crate::time::write_rfc3339_utc(old, 0, &mut received);
            received.extend_from_slice(b" to ");
            crate::time::write_rfc3339_utc(new, 0, &mut received);
        }
        writeln!(
            text,
            "{:>20} {:>12} {:>10} {:>10} {:>10} {:>12} {:>12}  {}{}",
            s.epoch,
            s.first_record,
            s.records,
            s.events,
            s.held,
            s.body_bytes.0,
            s.body_bytes.1,
            String::from_utf8_lossy(&received),
            if s.header { "" } else { " (its header is damaged)" }
        );
    }
    text.append(&damaged(&report.damage));
    out(&text)?;
    Ok(Exit::Done)
}

fn damaged(damage: &[tools::Damage]) -> Page {
    let mut text = Page::new();
    for d in damage {
        let events = d.events.map_or(String::new(), |n| format!(", {n} events"));
        writeln!(text, "damaged: segment {}, {} bytes from {} on{events}: {}", d.epoch, d.bytes, d.at, d.what);
    }
    text
}

fn cat(
    folder: &Path,
    all: bool,
    limit: Option<u64>,
    pattern: Option<&regex_automata::meta::Regex>,
) -> Result<Exit, Failure> {
    // A pipe takes the events as they are; a terminal the same JSON with nothing in it that steers.
    let form = std::io::stdout().is_terminal().then_some(Form::Json);
    let mut stdout = std::io::BufWriter::with_capacity(1 << 18, std::io::stdout().lock());
    let (count, damage) = events(folder, all, limit, pattern, form, &mut stdout)?;
    say(&damage);
    // As grep does it.
    Ok(if pattern.is_some() && count == 0 { Exit::Failed } else { Exit::Done })
}

/// Writes events as JSON lines; how many they were, and what was damaged.
fn events(
    folder: &Path,
    all: bool,
    limit: Option<u64>,
    pattern: Option<&regex_automata::meta::Regex>,
    form: Option<Form>,
    to: &mut dyn std::io::Write,
) -> Result<(u64, Page), Failure> {
    let (mut line, mut shown) = (Vec::new(), Vec::new());
    let mut count = 0;
    let mut failed = None;
    let report = tools::read(folder, &mut |record| {
        if record.settled && !all {
            return true;
        }
        for row in 0..record.batch.rows() {
            if record.is_settled(row) && !all {
                continue;
            }
            let event = record.batch.event(row);
            if limit.is_some_and(|limit| count >= limit) {
                return false;
            }
            line.clear();
            event.write_json(&mut line);
            if pattern.is_some_and(|p| !p.is_match(&line)) {
                continue;
            }
            line.push(b'\n');
            if let Some(form) = form {
                shown.clear();
                escape::append(&line, form, &mut shown);
                std::mem::swap(&mut line, &mut shown);
            }
            if let Err(error) = to.write_all(&line) {
                failed = Some(error);
                return false;
            }
            count += 1;
        }
        true
    });
    let report = report.map_err(|e| e.to_string())?;
    match failed.map_or_else(|| to.flush(), Err) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(format!("cannot write: {e}")),
        _ => Ok((count, damaged(&report.damage))),
    }
}

fn verify(data_dir: &Path, id: Option<&str>) -> Result<Exit, Failure> {
    let ids = match id {
        Some(id) => {
            existing(data_dir, id)?;
            vec![id.to_owned()]
        }
        None => tools::ids(data_dir).map_err(|e| format!("cannot list `{}`: {e}", data_dir.display()))?,
    };
    let mut exit = Exit::Done;
    for id in ids {
        let report = tools::inspect(&tools::folder(data_dir, &id)).map_err(|e| e.to_string())?;
        let records: u64 = report.segments.iter().map(|s| s.records).sum();
        let verdict = if report.damage.is_empty() { "whole" } else { "DAMAGED" };
        let (segments, held) = (report.segments.len(), report.held);
        out_line(format_args!("{id}: {verdict}: {segments} segments, {records} records, {held} events held"))?;
        if !report.damage.is_empty() {
            out(&damaged(&report.damage))?;
            exit = Exit::Failed;
        }
    }
    Ok(exit)
}

fn repair(data_dir: &Path, id: &str, folder: &Path) -> Result<Exit, Failure> {
    let ledger = Ledger::read(data_dir).ok().flatten();
    let before = ledger.and_then(|ledger| ledger.accounts.get(id)?.buffer);
    let mut note = |events, left| note(data_dir, id, "corrupt", events, left);
    let (damage, lost) = tools::repair(folder, before, &mut note).map_err(|e| e.to_string())?;
    let bytes: u64 = damage.iter().map(|d| d.bytes).sum();
    out(&damaged(&damage))?;
    out_line(format_args!("{} damaged places, {bytes} bytes set aside, {lost} events lost", damage.len()))?;
    Ok(Exit::Done)
}

/// A file of lines that tells how far it is.
struct Followed<W> {
    to: W,
    progress: Progress,
    events: u64,
    of_events: Option<u64>,
}

impl<W: std::io::Write> std::io::Write for Followed<W> {
    /// Each event is one call.
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.events += u64::from(bytes[..written].ends_with(b"\n"));
        let (events, of_events) = (self.events, self.of_events);
        self.progress.show("writing", || Stand { events, bytes: None, of_events });
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

fn export(folder: &Path, output: &Path) -> Result<Exit, Failure> {
    let file = std::fs::File::create_new(output).map_err(|e| format!("cannot make `{}`: {e}", output.display()))?;
    let progress = Progress::new(super::logging::is_json());
    let of_events = if progress.shows() { tools::held(folder).ok() } else { None };
    let to = std::io::BufWriter::with_capacity(1 << 18, file);
    let mut file = Followed { to, progress, events: 0, of_events };
    let (count, damage) = events(folder, false, None, None, None, &mut file)?;
    let Followed { to: file, progress, .. } = file;
    drop(progress);
    let file = file.into_inner().map_err(|e| format!("cannot write `{}`: {e}", output.display()))?;
    file.sync_all().map_err(|e| format!("cannot write `{}`: {e}", output.display()))?;
    say(&damage);
    out_line(format_args!("{count} events written to {}", output.display()))?;
    Ok(Exit::Done)
}

fn remove(data_dir: &Path, id: &str, folder: &Path, yes: bool) -> Result<Exit, Failure> {
    if !yes {
        let held = tools::held(folder).map_err(|e| e.to_string())?;
        return Err(format!("this removes {held} events that were not delivered; say --yes where that is meant"));
    }
    let mut note = |events, left| note(data_dir, id, "removed", events, left);
    let held = tools::remove(folder, &mut note).map_err(|e| e.to_string())?;
    out_line(format_args!("removed, with {held} events that were not delivered"))?;
    Ok(Exit::Done)
}

/// For the ledger, which is the agent's own while one runs.
fn note(
    data_dir: &Path,
    id: &str,
    reason: &str,
    events: u64,
    buffer: Option<BufferTotals>,
) -> Result<(), (PathBuf, std::io::Error)> {
    let at = crate::time::clock::now_ns();
    Note { at, component: id.to_owned(), reason: reason.to_owned(), events, buffer }.append(data_dir)
}
