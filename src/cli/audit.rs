//! `tidegate audit`: whether the ledger of all runs balance.

use super::agent::AgentError;
use super::errors::failed;
use super::{ConfigArgs, Exit, agent, print};
use crate::ledger::{Ledger, LedgerError, Sums};
use crate::pipeline::{Config, Globals};
use crate::text::escape::Page;
use crate::time::write_rfc3339_utc;
use clap::{Args, ValueEnum};
use reqwest::Method;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Arguments of `audit`.
#[derive(Args, Debug)]
pub(super) struct AuditArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The folder of state, in place of the one that the configuration names; needs no configuration.
    #[arg(long, value_name = "DIR", conflicts_with = "api")]
    data_dir: Option<PathBuf>,
    /// Ask a running agent for its ledger as of now, in place of reading those of the last second.
    #[arg(long, visible_alias = "url", value_name = "URL", num_args = 0..=1, default_missing_value = "")]
    api: Option<String>,
    /// For programs; as `--format json`.
    #[arg(long)]
    json: bool,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// How it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Longest wait for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is nothing to be judged in a folder.
#[derive(Debug)]
enum AuditError {
    /// No ledger was ever kept there.
    None(PathBuf),
    /// It cannot be used.
    Ledger(LedgerError),
}

impl std::fmt::Display for AuditError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AuditError::None(dir) => {
                write!(f, "{}: there is no ledger; was this folder used by `tidegate run`?", dir.display())
            }
            AuditError::Ledger(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for AuditError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let AuditError::Ledger(error) = self { error.source() } else { None }
    }
}

/// Reads the ledger and judges it.
pub(super) fn run(args: &AuditArgs) -> Exit {
    let (ledger, from) = match find(args) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let faults = ledger.faults();
    let is_whole = faults.is_empty() && ledger.lost().is_empty();
    let text =
        if args.json || args.format == Format::Json { json(&ledger, &faults) } else { report(&ledger, &faults, &from) };
    if print(&text).is_err() || !is_whole { Exit::Failed } else { Exit::Done }
}

fn find(args: &AuditArgs) -> Result<(Ledger, String), Exit> {
    let fail = |error: AuditError| failed(&error);
    if let Some(dir) = &args.data_dir {
        return read(dir).map_err(fail);
    }
    let url = args.api.as_deref().unwrap_or_default();
    if args.api.is_none() {
        let config = args.config.load()?;
        return read(&config.globals.data_dir).map_err(fail);
    }
    // Where and with which credentials is what the agent's own configuration says.
    let config =
        if url.is_empty() || args.config.config.iter().all(|p| p.exists()) { Some(args.config.load()?) } else { None };
    ask(url, config).map_err(|error| failed(&error))
}

fn read(dir: &Path) -> Result<(Ledger, String), AuditError> {
    match Ledger::read(dir) {
        Ok(Some(ledger)) => Ok((ledger, dir.display().to_string())),
        Ok(None) => Err(AuditError::None(dir.to_owned())),
        Err(error) => Err(AuditError::Ledger(error)),
    }
}

fn ask(url: &str, config: Option<Config>) -> Result<(Ledger, String), AgentError> {
    let globals: Option<Globals> = config.map(|c| c.globals);
    let api = globals.as_ref().and_then(|g| g.api.as_ref());
    let base = match (url, api) {
        ("", None) => return Err(AgentError::NoApi),
        ("", Some(api)) => agent::address_of(api),
        (url, _) => url.trim_end_matches('/').to_owned(),
    };
    let (status, body) = agent::ask(&base, Method::GET, "/api/v1/audit", globals.as_ref(), PATIENCE)?;
    if status != 200 {
        return Err(AgentError::Answer(Some(base), status, agent::words(&body)));
    }
    let ledger = serde_json::from_slice(&body).map_err(|e| AgentError::NotThat(base.clone(), "a ledger", e))?;
    Ok((ledger, base))
}

fn json(ledger: &Ledger, faults: &[String]) -> Page {
    let accounts: serde_json::Map<String, serde_json::Value> = ledger
        .accounts
        .iter()
        .map(|(id, account)| {
            let total = serde_json::to_value(account.total()).unwrap_or_default();
            let account = serde_json::json!({
                "kind": account.kind, "type": account.r#type, "total": total,
                "unmatched": account.unmatched, "on_its_way": account.on_its_way,
            });
            (id.clone(), account)
        })
        .collect();
    let lost: BTreeMap<&str, u64> = ledger.lost().into_iter().collect();
    let all = serde_json::json!({
        "balanced": faults.is_empty(), "faults": faults, "lost": lost, "since": time(ledger.since), "at": time(ledger.at),
        "runs": ledger.runs, "killed": ledger.killed, "ended": ledger.ended, "stopped": ledger.stopped, "components": accounts,
    });
    let mut page = Page::new();
    page.json(&format!("{all:#}\n"));
    page
}

fn report(ledger: &Ledger, faults: &[String], from: &str) -> Page {
    let width = ledger.accounts.keys().map(String::len).max().unwrap_or(0).max("component".len());
    let mut out = Page::new();
    let header = ["in", "created", "resumed", "out", "dropped", "rejected", "held", "left"];
    write!(out, "{:width$}  {:9}", "component", "kind");
    for name in header {
        write!(out, " {name:>10}");
    }
    writeln!(out);
    for (id, account) in &ledger.accounts {
        let total = account.total();
        let Sums { r#in, created, resumed, out: put_out, held, left, .. } = total;
        let (dropped, rejected) = (total.dropped.values().sum::<u64>(), total.rejected.values().sum::<u64>());
        write!(out, "{id:width$}  {:9}", account.kind);
        for n in [r#in, created, resumed, put_out, dropped, rejected, held, left] {
            write!(out, " {n:>10}");
        }
        let why: Vec<String> = total.dropped.iter().chain(&total.rejected).map(|(r, n)| format!("{r} {n}")).collect();
        if !why.is_empty() {
            write!(out, "  ({})", why.join(", "));
        }
        writeln!(out);
    }
    let n = |n: u64, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    writeln!(
        out,
        "{from}: {} since {}, {} killed; as of {}{}",
        n(ledger.runs, "run"),
        time(ledger.since),
        ledger.killed,
        time(ledger.at),
        match (ledger.ended, ledger.stopped) {
            (true, _) => "",
            (false, true) => ", stopped before all was delivered",
            (false, false) => ", while it ran",
        }
    );
    for fault in faults {
        writeln!(out, "fault: {fault}");
    }
    let lost = ledger.lost();
    for (id, events) in &lost {
        writeln!(
            out,
            "lost: `{id}`: {} of its disk buffer {} damaged or missing (corrupt): the log says which",
            n(*events, "event"),
            if *events == 1 { "was" } else { "were" }
        );
    }
    writeln!(
        out,
        "{}",
        if faults.is_empty() { "the ledger balances" } else { "THE BOOKS DO NOT BALANCE: this is a bug" }
    );
    out
}

fn time(ns: i64) -> String {
    let mut text = Vec::new();
    write_rfc3339_utc(ns, 3, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}
