//! `tidegate reload`: the agent that runs reads its configuration again.
//!
//! Asked through its API, which answers with what came of it. systemd's `ExecReload=` names the process as well (`MAINPID`): one without an
//! API is sent SIGHUP.

use super::agent::AgentError;
use super::errors::failed;
use super::{ConfigFiles, Exit, agent, print, say_line};
use crate::pipeline::{Globals, load};
use crate::settings::ProcessEnvironment;
use crate::text::escape::Page;
use clap::{Args, ValueEnum};
use reqwest::Method;
use serde_json::Value;
use std::time::Duration;

/// Arguments of `reload`.
#[derive(Args, Debug)]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    config: ConfigFiles,
    /// Address of the agent's API; else that of the agent that runs on the `data_dir` of the configuration.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// For programs; as `--format json`.
    #[arg(long)]
    json: bool,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// How the result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// How often it is looked whether an agent that starts anew is there again.
const AGAIN: Duration = Duration::from_millis(100);
/// How long building may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Asks, waits, prints: 0 taken over or nothing to do, 78 mistakes, 1 could not be built or asked.
pub(super) fn run(args: &ReloadArgs) -> Exit {
    // Mistakes are the agent's to tell: here it only tells where that is.
    let loaded = load(&args.config.args().config, &ProcessEnvironment, crate::registry::built_in());
    let globals = loaded.globals.as_ref();
    match ask(args.url.as_deref(), globals) {
        Ok(result) => tell(&result, args.json || args.format == Format::Json),
        Err(error) => match told_by_signal(args.url.as_deref(), globals) {
            Some(process) => {
                say_line!(
                    "process {process} was told to read its configuration again; its log says what came of it, as it has no `api`"
                );
                Exit::Done
            }
            None => failed(&error),
        },
    }
}

/// As what systemd runs for `ExecReload=`, of an agent without an API: the signal, to the process that systemd names.
fn told_by_signal(url: Option<&str>, globals: Option<&Globals>) -> Option<u32> {
    if url.is_some() || globals?.api.is_some() {
        return None;
    }
    let process: u32 = std::env::var("MAINPID").ok()?.parse().ok()?;
    let pid = rustix::process::Pid::from_raw(i32::try_from(process).ok()?)?;
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).ok()?;
    Some(process)
}

/// Has the agent reload; how that went. Where all of the graph starts anew, its address may be another afterwards.
///
/// Errors: it cannot be found or asked.
pub(super) fn ask(url: Option<&str>, globals: Option<&Globals>) -> Result<Value, AgentError> {
    let last = || last_reload(&agent::base(url, globals)?, globals);
    let before = last()?;
    let base = agent::base(url, globals)?;
    // Where all of the graph starts anew, the API does too: then the answer is asked for there.
    let (status, body) = agent::ask(&base, Method::POST, "/api/v1/reload", globals, PATIENCE).or_else(|error| {
        let until = std::time::Instant::now() + PATIENCE;
        while std::time::Instant::now() < until {
            std::thread::sleep(AGAIN);
            if let Ok(now) = last()
                && now["at"] != before["at"]
            {
                return Ok((200, now.to_string().into_bytes()));
            }
        }
        Err(error)
    })?;
    serde_json::from_slice(&body).map_err(|_| AgentError::Answer(None, status, agent::words(&body)))
}

/// Prints how a reload went.
pub(super) fn tell(result: &Value, as_json: bool) -> Exit {
    let outcome = result["result"].as_str().unwrap_or_default();
    let mut page = Page::new();
    if as_json {
        page.json(&format!("{result:#}\n"));
    } else {
        write(&mut page, result, outcome);
    }
    let printed = print(&page);
    match outcome {
        "ok" | "unchanged" if printed.is_ok() => Exit::Done,
        "mistakes" => Exit::BadConfig,
        _ => Exit::Failed,
    }
}

/// How the last reload went; `null` where there was none.
fn last_reload(base: &str, globals: Option<&Globals>) -> Result<Value, AgentError> {
    let (status, body) = agent::ask(base, Method::GET, "/api/v1/config", globals, PATIENCE)?;
    match serde_json::from_slice::<Value>(&body) {
        Ok(state) if status == 200 => Ok(state["last_reload"].clone()),
        _ => Err(AgentError::Answer(Some(base.to_owned()), status, agent::words(&body))),
    }
}

fn write(page: &mut Page, result: &Value, outcome: &str) {
    let took = result["took_ms"].as_u64().unwrap_or(0);
    let list = |key: &str| -> Vec<String> {
        let items = result[key].as_array().cloned().unwrap_or_default();
        items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
    };
    match outcome {
        "ok" => {
            writeln!(page, "taken over in {took} ms");
            for changed in result["changed"].as_array().into_iter().flatten() {
                let why: Vec<&str> =
                    changed["why"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                writeln!(page, "  ~ {}  ({})", changed["id"].as_str().unwrap_or_default(), why.join(", "));
            }
            list("added").iter().for_each(|id| writeln!(page, "  + {id}"));
            list("removed").iter().for_each(|id| writeln!(page, "  - {id}"));
            writeln!(page, "  {} kept", list("kept").len());
        }
        "unchanged" => writeln!(page, "nothing to do: it means what it meant before"),
        "mistakes" => writeln!(page, "it has mistakes; still running the previous configuration"),
        _ => writeln!(page, "it cannot be built; still running the previous configuration"),
    }
    if let Some(detail) = result["detail"].as_str().filter(|detail| !detail.is_empty()) {
        page.text(detail.trim_end());
        writeln!(page);
    }
}
