//! `tidegate plan`: what another configuration would change. Changes nothing.
//!
//! The agent that runs is asked with the new text, and tries both configurations on the last frames of its sources
//! ([`planner`]); without one, the newest configuration of the history, or a file, is compared here.

use super::errors::PathError;
use super::history::History;
use super::texts::{Texts, load_again};
use super::{ConfigFiles, Exit, agent, print, report_page, say, say_line};
use crate::api::Planner;
use crate::error::chain;
use crate::pipeline::{Globals, Loaded, load_texts, load_with_texts};
use crate::plan::report::Plan;
use crate::plan::{Against, Given, make, page};
use crate::settings::{ProcessEnvironment, mask_known};
use crate::storage::data_dir::is_in_use;
use crate::sync::live::Live;
use crate::telemetry::{ComponentKind, RunLedger};
use crate::text::escape::Page;
use crate::topology::Running;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{IsTerminal as _, Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Arguments of `plan`.
#[derive(Args, Debug)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    config: ConfigFiles,
    /// What it is compared with: the address of an agent's API, or a file. Else the agent that runs on its `data_dir`, else the
    /// newest of the history.
    #[arg(long, value_name = "URL|FILE")]
    against: Option<String>,
    /// Address of the API of an agent that it is compared with; as `--against URL`.
    #[arg(long, value_name = "URL", conflicts_with = "against")]
    url: Option<String>,
    /// Try the last lines of this file (`-`: standard input), 1,000 and 1 MiB at most, in place of what the agent has read last.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// The source that the lines are given to; else those that would read the file, or the only one.
    #[arg(long, value_name = "ID", requires = "input")]
    source: Option<String>,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// How a plan is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What an agent is asked.
#[derive(Debug, Serialize, Deserialize)]
struct Question {
    /// The files of the new configuration, as they are written.
    files: Vec<File>,
    /// What is tried in place of what sources have read last.
    #[serde(default)]
    input: Option<Input>,
}

#[derive(Debug, Serialize, Deserialize)]
struct File {
    name: String,
    text: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Input {
    #[serde(default)]
    source: Option<String>,
    file: String,
    text: String,
}

/// Most of a file that is tried.
const MAX_INPUT_LINES: usize = 1000;
const MAX_INPUT_BYTES: u64 = 1 << 20;
/// How long an agent may try.
const PATIENCE: Duration = Duration::from_secs(120);

/// How a plan was refused.
enum Refused {
    /// The new configuration has mistakes, in words.
    Mistakes(String),
    /// It could not be made: why.
    Failed(String),
}

/// 0 no difference, 3 differences, 78 mistakes, 1 it could not be told.
pub(super) fn run(args: &PlanArgs) -> Exit {
    match plan(args) {
        Ok(plan) => {
            let mut out = Page::new();
            match args.format {
                Format::Json => out.json(&format!("{:#}\n", json!(plan))),
                Format::Text => {
                    let colored = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
                    out = page::render(&plan, colored);
                }
            }
            match print(&out) {
                Ok(()) if plan.different => Exit::Differences,
                Ok(()) => Exit::Done,
                Err(_) => Exit::Failed,
            }
        }
        Err(Refused::Mistakes(words)) => {
            say(&report_page(words.trim_end()));
            say_line!("");
            Exit::BadConfig
        }
        Err(Refused::Failed(why)) => {
            say_line!("error: {why}");
            Exit::Failed
        }
    }
}

fn plan(args: &PlanArgs) -> Result<Plan, Refused> {
    let paths = args.config.args().config;
    let (new, files) = load_with_texts(&paths, &ProcessEnvironment, crate::registry::built_in());
    let input = args.input.as_deref().map(|path| read_input(path, args.source.clone())).transpose();
    let input = input.map_err(|error| Refused::Failed(chain(&error)))?;
    let mistakes = |loaded: &Loaded| Refused::Mistakes(loaded.report.render_within(super::columns()));
    let globals = new.globals.clone();
    match args.url.as_ref().or(args.against.as_ref()) {
        Some(url) if args.url.is_some() || url.contains("://") => {
            return ask(url.trim_end_matches('/'), globals.as_ref(), files, input);
        }
        Some(file) => {
            let (old, _) = load_with_texts(&[PathBuf::from(file)], &ProcessEnvironment, crate::registry::built_in());
            return here(
                file.clone(),
                old,
                new,
                input,
                "no agent was asked: give `--input FILE`".to_owned(),
                &mistakes,
            );
        }
        None => {}
    }
    let Some(globals) = globals else { return Err(mistakes(&new)) };
    let data_dir = globals.data_dir.clone();
    let runs = is_in_use(&data_dir);
    if runs && let Ok(base) = agent::base(None, Some(&globals)) {
        return ask(&base, Some(&globals), files, input);
    }
    let newest = History::of(&data_dir).newest().map_err(|error| Refused::Failed(chain(&error)))?;
    let Some((number, at, texts)) = newest else {
        let why = match runs {
            true => "the agent that runs on it has no `api`, and keeps no history",
            false => "no agent runs on it, and none has",
        };
        let words =
            format!("there is nothing to compare with on {}: {why}; name a file with `--against`", data_dir.display());
        return Err(Refused::Failed(words));
    };
    let why = match runs {
        true => "the agent that runs has no `api` to be asked by: give `--input FILE`",
        false => "no agent runs: give `--input FILE`",
    };
    let name = format!("configuration {number} of {at}");
    here(name, load_again(&texts).0, new, input, why.to_owned(), &mistakes)
}

/// Compares two configurations in this process.
fn here(
    name: String,
    old: Loaded,
    new: Loaded,
    input: Option<Input>,
    without: String,
    mistakes: &dyn Fn(&Loaded) -> Refused,
) -> Result<Plan, Refused> {
    if new.config.is_none() {
        return Err(mistakes(&new));
    }
    if old.config.is_none() {
        say(&report_page(&old.report.render()));
        return Err(Refused::Failed(format!("{name} has mistakes, see above: there is nothing to compare with")));
    }
    let against = Against { name, loaded: old, parts: None, held: HashMap::new() };
    make(against, new, given(input, || Given::Nothing(without))).map_err(Refused::Failed)
}

fn given(input: Option<Input>, without: impl FnOnce() -> Given) -> Given {
    match input {
        Some(Input { source, file, text }) => Given::Lines { source, file, text: text.into_bytes() },
        None => without(),
    }
}

/// The last lines of a file.
///
/// Errors: it cannot be read.
fn read_input(path: &Path, source: Option<String>) -> Result<Input, PathError> {
    let mut bytes = Vec::new();
    let read = match path.to_str() {
        Some("-") => std::io::stdin().lock().read_to_end(&mut bytes).map(|_| ()),
        _ => std::fs::File::open(path).and_then(|mut file| {
            let from = file.metadata()?.len().saturating_sub(MAX_INPUT_BYTES);
            file.seek(std::io::SeekFrom::Start(from))?;
            file.take(MAX_INPUT_BYTES).read_to_end(&mut bytes)?;
            if from > 0 {
                let first = memchr::memchr(b'\n', &bytes).map_or(bytes.len(), |n| n + 1);
                bytes.drain(..first);
            }
            Ok(())
        }),
    };
    read.map_err(PathError::at(path))?;
    let ends: Vec<usize> = memchr::memchr_iter(b'\n', &bytes).collect();
    let whole = bytes.last().is_some_and(|b| *b != b'\n');
    let too_many = (ends.len() + usize::from(whole)).saturating_sub(MAX_INPUT_LINES);
    let too_long = bytes.len().saturating_sub(MAX_INPUT_BYTES as usize);
    let skip = ends.iter().enumerate().find(|(n, end)| n + 1 >= too_many && **end + 1 >= too_long);
    if (too_many > 0 || too_long > 0)
        && let Some((_, end)) = skip
    {
        bytes.drain(..=*end);
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    // The agent may run in another folder.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    Ok(Input { source, file: path.display().to_string(), text })
}

/// Has an agent make the plan.
fn ask(
    base: &str,
    globals: Option<&Globals>,
    files: Vec<(String, String)>,
    input: Option<Input>,
) -> Result<Plan, Refused> {
    if files.is_empty() {
        return Err(Refused::Mistakes("error: the configuration cannot be read".to_owned()));
    }
    let files = files.into_iter().map(|(name, text)| File { name, text }).collect();
    let question = serde_json::to_vec(&Question { files, input }).map_err(|e| Refused::Failed(e.to_string()))?;
    let (status, body) = agent::post(base, "/api/v1/plan", question, globals, PATIENCE)
        .map_err(|error| Refused::Failed(chain(&error)))?;
    let words = || format!("{base}: HTTP {status}: {}", agent::words(&body));
    let answer: Value = serde_json::from_slice(&body).map_err(|_| Refused::Failed(words()))?;
    let detail = || answer["detail"].as_str().map_or_else(words, str::to_owned);
    match status {
        200 => serde_json::from_value(answer).map_err(|e| Refused::Failed(format!("{base}: {e}"))),
        422 => Err(Refused::Mistakes(detail())),
        _ => Err(Refused::Failed(detail())),
    }
}

/// What answers to `POST /api/v1/plan` of an agent whose configuration was read from `texts`.
pub(super) fn planner(texts: Live<Texts>, running: &Running) -> Planner {
    let (parts, run_ledger, recent) = (running.parts.clone(), running.ledger.clone(), running.recent.clone());
    Arc::new(move |question: &[u8]| {
        let refused =
            |status: u16, word: &str, detail: String| (status, json!({"result": word, "detail": mask_known(&detail)}));
        let question: Question = match serde_json::from_slice(question) {
            Ok(question) => question,
            Err(error) => return refused(400, "failed", format!("the question cannot be read: {error}")),
        };
        let files: Vec<(&str, &str)> = question.files.iter().map(|f| (&*f.name, &*f.text)).collect();
        let new = load_texts(&files, &ProcessEnvironment, crate::registry::built_in());
        let old = load_again(&texts.now()).0;
        let (Some(before), Some(after)) = (&old.config, &new.config) else {
            return match new.config {
                None => refused(422, "mistakes", new.report.render()),
                Some(_) => refused(409, "failed", "the configuration that runs cannot be read again".to_owned()),
            };
        };
        if before.globals.data_dir != after.globals.data_dir {
            return refused(422, "mistakes", data_dir_changed(&before.globals.data_dir, &after.globals.data_dir));
        }
        let against = Against {
            name: "the agent that runs".to_owned(),
            loaded: old,
            parts: Some((*parts.now()).clone()),
            held: held(&run_ledger.now()),
        };
        let frames = || {
            let mut all: Vec<_> = recent.now().iter().map(|(id, recent)| (id.to_string(), recent.all())).collect();
            all.sort_by(|a, b| a.0.cmp(&b.0));
            Given::Recent(all)
        };
        match make(against, new, given(question.input, frames)) {
            Ok(plan) => (200, json!(plan)),
            Err(why) => refused(409, "failed", why),
        }
    })
}

/// Events that each sink holds.
fn held(run_ledger: &RunLedger) -> HashMap<String, u64> {
    let sinks = run_ledger.components.iter().filter(|c| c.kind == ComponentKind::Sink);
    sinks.map(|c| (c.id.to_string(), c.snapshot().held)).collect()
}

/// Why a configuration with another `data_dir` cannot take over.
pub(super) fn data_dir_changed(before: &Path, after: &Path) -> String {
    format!(
        "error: `data_dir` cannot change while the agent runs: it is {}, and would be {}; stop the agent and start it with the new one",
        before.display(),
        after.display()
    )
}
