//! `tidegate config history | show | diff | rollback`.

use super::{Entry, History, HistoryError, Pin, VERSION, hash_of};
use crate::cli::errors::{PathError, failed};
use crate::cli::reload_command;
use crate::cli::{DEFAULT_CONFIG, Exit, agent, print, report_page, say, say_line};
use crate::error::chain;
use crate::pipeline::{Globals, load_texts, load_with_texts};
use crate::settings::ProcessEnvironment;
use crate::storage::data_dir::{create_dir, is_in_use};
use crate::text::escape::Page;
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;

/// Arguments of `config`.
#[derive(Args, Debug)]
pub(in crate::cli) struct HistoryArgs {
    #[command(subcommand)]
    command: HistoryCommand,
    /// A file of the configuration, or a folder of *.yaml files; may be given several times.
    #[arg(long, short, global = true, value_name = "PATH", default_value = DEFAULT_CONFIG)]
    config: Vec<PathBuf>,
    /// The agent's `data_dir`, in place of what the configuration says.
    #[arg(long, global = true, value_name = "PATH")]
    data_dir: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
enum HistoryCommand {
    /// List the configurations that ran, newest first.
    History {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Print one as it was written, without the secrets that stand in it.
    Show {
        /// Its number.
        number: u64,
    },
    /// Show what differs between two.
    Diff {
        /// Number of the first.
        from: u64,
        /// Number of the second; else the newest.
        to: Option<u64>,
    },
    /// Let the agent run one of them, whatever the files say, until one of them changes.
    Rollback {
        /// Its number.
        number: u64,
    },
}

/// Why a command of these could not do it.
#[derive(Debug)]
enum CommandError {
    History(HistoryError),
    Path(PathError),
    /// The configuration does not say where it is kept.
    NoDataDir,
    /// No files say what would run.
    NothingToPin,
    /// The configuration of this number is one of another `data_dir`.
    OtherDataDir(u64, PathBuf),
    Print(std::io::Error),
}

impl CommandError {
    fn at(history: &History, error: std::io::Error) -> CommandError {
        CommandError::Path(PathError::at(&history.dir)(error))
    }
}

impl From<HistoryError> for CommandError {
    fn from(error: HistoryError) -> Self {
        CommandError::History(error)
    }
}

impl std::fmt::Display for CommandError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CommandError::History(error) => error.fmt(f),
            CommandError::Path(error) => error.fmt(f),
            CommandError::NoDataDir => {
                f.write_str("the configuration does not say where the `data_dir` is: name it with --data-dir")
            }
            CommandError::NothingToPin => f.write_str(
                "the files of the configuration cannot be read, so there is nothing to pin another in place of",
            ),
            CommandError::OtherDataDir(number, dir) => {
                write!(f, "the `data_dir` of configuration {number} is another: {}", dir.display())
            }
            CommandError::Print(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CommandError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CommandError::History(error) => error.source(),
            CommandError::Path(error) => error.source(),
            CommandError::Print(error) => error.source(),
            _ => None,
        }
    }
}

/// 0 done, 1 not, 78 mistakes in the one that is to run.
pub(in crate::cli) fn run(args: &HistoryArgs) -> Exit {
    let result = match &args.command {
        HistoryCommand::History { json } => of(args).and_then(|history| list(&history, *json)),
        HistoryCommand::Show { number } => of(args).and_then(|history| show(&history.entry(*number)?)),
        HistoryCommand::Diff { from, to } => of(args).and_then(|history| diff(&history, *from, *to)),
        HistoryCommand::Rollback { number } => rollback(args, *number),
    };
    result.unwrap_or_else(|error| failed(&error))
}

/// Errors: it cannot be told where it is.
fn of(args: &HistoryArgs) -> Result<History, CommandError> {
    if let Some(data_dir) = &args.data_dir {
        return Ok(History::of(data_dir));
    }
    let loaded = crate::pipeline::load(&args.config, &ProcessEnvironment, crate::registry::built_in());
    match loaded.globals {
        Some(globals) => Ok(History::of(&globals.data_dir)),
        None => {
            say(&report_page(&loaded.report.render()));
            Err(CommandError::NoDataDir)
        }
    }
}

fn out(page: &Page) -> Result<(), CommandError> {
    print(page).map_err(CommandError::Print)
}

fn list(history: &History, as_json: bool) -> Result<Exit, CommandError> {
    let numbers = history.numbers().map_err(|e| CommandError::at(history, e))?;
    let pinned = history.pin()?.map(|pin| pin.number);
    let mut page = Page::new();
    if as_json {
        let entries: Vec<_> = numbers.iter().rev().map(|number| match history.entry(*number) {
            Ok(entry) => {
                let files: Vec<&str> = entry.files.iter().map(|file| &*file.name).collect();
                json!({"number": number, "loaded_at": entry.loaded_at, "hash": entry.hash, "files": files, "pinned": pinned == Some(*number)})
            }
            Err(error) => json!({"number": number, "error": chain(&error)}),
        }).collect();
        page.json(&format!("{:#}\n", json!(entries)));
        return out(&page).map(|()| Exit::Done);
    }
    if numbers.is_empty() {
        say_line!("no configuration is kept in `{}` yet: an agent keeps there what it runs", history.dir.display());
        return Ok(Exit::Done);
    }
    writeln!(page, "{:>6}  {:<24}  {:<8}  FILES", "NUMBER", "TOOK OVER", "HASH");
    for number in numbers.iter().rev() {
        let mark = if pinned == Some(*number) { "  (pinned)" } else { "" };
        match history.entry(*number) {
            Ok(entry) => {
                let files: Vec<&str> = entry.files.iter().map(|file| &*file.name).collect();
                let hash = entry.hash.get(..8).unwrap_or_default();
                writeln!(page, "{number:>6}  {:<24}  {hash:<8}  {}{mark}", entry.loaded_at, files.join(", "));
            }
            Err(error) => writeln!(page, "{number:>6}  {}{mark}", chain(&error)),
        }
    }
    out(&page).map(|()| Exit::Done)
}

/// Name and text of each file, with `***` in place of secrets that are written in plain text.
fn shown(entry: &Entry) -> Vec<(String, String)> {
    let texts: Vec<(&str, &str)> = entry.files.iter().map(|file| (&*file.name, &*file.text)).collect();
    let loaded = load_texts(&texts, &ProcessEnvironment, crate::registry::built_in());
    loaded.report.sources.files().iter().map(|file| (file.name().to_owned(), file.shown())).collect()
}

fn show(entry: &Entry) -> Result<Exit, CommandError> {
    let mut page = Page::new();
    for (name, text) in shown(entry) {
        writeln!(page, "# {name}, as it took over at {}", entry.loaded_at);
        page.text(text.trim_end());
        writeln!(page);
    }
    out(&page).map(|()| Exit::Done)
}

fn diff(history: &History, from: u64, to: Option<u64>) -> Result<Exit, CommandError> {
    let newest = || history.numbers().ok().and_then(|numbers| numbers.last().copied()).unwrap_or(from);
    let to = to.unwrap_or_else(newest);
    let (old, new) = (history.entry(from)?, history.entry(to)?);
    let (old_shown, new_shown) = (shown(&old), shown(&new));
    let find = |files: &[(String, String)], name: &str| {
        files.iter().find(|(n, _)| n == name).map(|(_, text)| text.clone()).unwrap_or_default()
    };
    let mut names: Vec<&String> = old_shown.iter().chain(&new_shown).map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    let mut page = Page::new();
    let mut any = false;
    for name in names {
        let (a, b) = (find(&old_shown, name), find(&new_shown, name));
        let text = |entry: &Entry| entry.files.iter().find(|file| file.name == *name).map(|file| file.text.clone());
        if text(&old) == text(&new) {
            continue;
        }
        any = true;
        let changes = similar::TextDiff::from_lines(&a, &b);
        let (a_name, b_name) = (format!("{name} ({from})"), format!("{name} ({to})"));
        match changes.ratio() {
            1.0 if a == b => writeln!(page, "{name}: only secrets differ, which are not shown"),
            _ => page.text(&changes.unified_diff().context_radius(3).header(&a_name, &b_name).to_string()),
        }
    }
    if !any {
        writeln!(page, "no difference");
    }
    out(&page).map(|()| Exit::Done)
}

/// Pins a configuration, and has the agent that runs take it over.
///
/// Errors: it cannot be pinned; nothing has changed then.
fn rollback(args: &HistoryArgs, number: u64) -> Result<Exit, CommandError> {
    let (loaded, files) = load_with_texts(&args.config, &ProcessEnvironment, crate::registry::built_in());
    let Some(globals) = loaded.globals else {
        say(&report_page(&loaded.report.render()));
        return Err(CommandError::NothingToPin);
    };
    let data_dir = args.data_dir.clone().unwrap_or_else(|| globals.data_dir.clone());
    let history = History::of(&data_dir);
    let entry = history.entry(number)?;
    let texts: Vec<(&str, &str)> = entry.files.iter().map(|file| (&*file.name, &*file.text)).collect();
    let old = load_texts(&texts, &ProcessEnvironment, crate::registry::built_in());
    let Some(config) = old.config else {
        say(&report_page(&old.report.render()));
        say_line!("error: configuration {number} has mistakes now, see above: it is not pinned");
        return Ok(Exit::BadConfig);
    };
    if config.globals.data_dir != globals.data_dir {
        return Err(CommandError::OtherDataDir(number, config.globals.data_dir));
    }
    let before = history.pin()?;
    let is_what_the_files_say = hash_of(&files) == hash_of(&entry.texts().files);
    let pin = Pin { version: VERSION, number, instead_of: hash_of(&files) };
    let wrong = |e: std::io::Error| CommandError::at(&history, e);
    create_dir(&history.dir).map_err(wrong)?;
    history.set_pin((!is_what_the_files_say).then_some(&pin)).map_err(wrong)?;
    match is_what_the_files_say {
        true => say_line!("configuration {number} is what the files say: none is pinned"),
        false => say_line!("configuration {number} is pinned until a file of the configuration changes"),
    }
    let exit = take_over(&globals, &data_dir);
    if exit != Exit::Done {
        history.set_pin(before.as_ref()).map_err(wrong)?;
        say_line!("the pin is as it was before");
    }
    Ok(exit)
}

/// Has the agent that runs on this `data_dir` read its configuration again, if there is one that can be asked.
fn take_over(globals: &Globals, data_dir: &std::path::Path) -> Exit {
    let globals = Globals { data_dir: data_dir.to_owned(), ..globals.clone() };
    match agent::base(None, Some(&globals)) {
        Ok(_) => match reload_command::ask(None, Some(&globals)) {
            Ok(result) => reload_command::tell(&result, false),
            Err(error) => failed(&error),
        },
        Err(_) if is_in_use(data_dir) => {
            say_line!("the agent that runs on it has no `api`: it takes it over at SIGHUP, or when it starts again");
            Exit::Done
        }
        Err(_) => {
            say_line!("no agent runs on {}: it is taken over when one starts", data_dir.display());
            Exit::Done
        }
    }
}
