//! `tidegate openobserve`: what is kept on servers of OpenObserve, as code; questions to them.

mod cache;
mod import;
mod query;
mod render;
mod verify;

use super::{DEFAULT_CONFIG, Exit, columns, print, report_page, say, say_line};
use crate::openobserve::{
    Action, Client, Key, Plan, Preset, Scope, ServerConfig, State, World, apply, desired, plan, with_presets,
};
use crate::pipeline::{Config, load};
use crate::settings::{Node, ProcessEnvironment, Span, Spanned, parse_duration};
use crate::text::escape::Page;
use crate::time::clock;
use clap::{Args, Subcommand, ValueEnum};
pub(super) use import::document;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

/// Arguments of `openobserve`.
#[derive(Args, Debug)]
pub(super) struct OpenObserveArgs {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    at: At,
}

#[derive(Args, Debug)]
pub(super) struct At {
    /// A file with `openobserve:`, or a folder of *.yaml files; may be given several times.
    #[arg(long, short, global = true, value_name = "PATH", default_value = DEFAULT_CONFIG)]
    config: Vec<PathBuf>,
    /// The folder where it is kept what `apply` made, in place of the `data_dir` of the configuration.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// This server only, of several.
    #[arg(long, global = true, value_name = "NAME")]
    server: Option<String>,
    /// Also the dashboards that are shipped to start with, as `presets: {use: [starter]}` does.
    #[arg(long, global = true)]
    starter: bool,
    /// Also what is shipped under this name, as `presets: {use: [NAME]}` does; may be given several times.
    #[arg(long, global = true, value_name = "NAME")]
    preset: Vec<String>,
    /// Another name for a stream of theirs, as `presets: {streams: {STREAM: NAME}}` gives it; may be given several times.
    #[arg(long, global = true, value_name = "STREAM=NAME")]
    preset_stream: Vec<String>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Check what is to be kept on servers; asks none.
    Validate,
    /// Show what `apply` would do, by resource and field: 0 nothing, 3 differences, 1 what cannot be done.
    Plan {
        #[command(flatten)]
        what: What,
        /// For people, or for programs.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Put the server in the state of the configuration: one resource after the other, past those that fail.
    Apply {
        #[command(flatten)]
        what: What,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Stay until streams that only an event can make are there, and their settings set; so long at most.
        #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "10m")]
        wait: Option<String>,
    },
    /// Remove what `apply` made.
    Destroy {
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Of this resource only; may be given several times.
        #[arg(long, value_name = "KIND.NAME")]
        target: Vec<String>,
        /// Streams too, with their rows.
        #[arg(long)]
        streams: bool,
    },
    /// Print what is on the server as YAML; secrets as variables.
    Import,
    /// Ask in SQL: all rows, however many.
    Query(query::QueryArgs),
    /// Print new rows of a stream as they come, one JSON object a line.
    Tail(query::TailArgs),
    /// Send a probe through the pipeline's own sink, find it and compare it; also try credentials, role, clock, streams, and the
    /// queries of alerts and dashboards: 0, or 1 and what is wrong.
    Verify(verify::VerifyArgs),
    /// List dashboards, print one as JSON, or ask all of its panels.
    Dashboards(query::DashboardArgs),
}

#[derive(Args, Debug)]
struct What {
    /// This resource only, as `alert.errors`; may be given several times.
    #[arg(long, value_name = "KIND.NAME")]
    target: Vec<String>,
    /// Also remove what `apply` made and the configuration names no more.
    #[arg(long)]
    prune: bool,
    /// With --prune: streams too, with their rows.
    #[arg(long, requires = "prune")]
    streams: bool,
}

/// Forms of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for each resource and field.
    Text,
    /// `[{"server", "version", "applied", "problems", "changes": [{"kind", "name", "action", "fields": […]}]}]`.
    Json,
}

/// A server of the configuration.
pub(super) struct Ready {
    pub(super) config: ServerConfig,
    /// As it stands in the configuration.
    pub(super) node: Node,
    pub(super) data_dir: PathBuf,
}

/// Errors that end a command, in words.
pub(super) type Failed = String;

/// Runs one of the commands.
pub(super) fn run(args: &OpenObserveArgs) -> Exit {
    let (ready, config) = match args.at.servers() {
        Ok(ready) => ready,
        Err(exit) => return exit,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say_line!("error: cannot start: {error}");
            return Exit::Failed;
        }
    };
    let result = runtime.block_on(async {
        match &args.command {
            Command::Validate => validate(&ready),
            Command::Plan { what, format } => show_plan(&ready, &what.scope()?, *format).await,
            Command::Apply { what, yes, wait } => {
                let wait = wait
                    .as_deref()
                    .map(|text| parse_duration(text).ok_or(format!("`{text}` is not a time such as `10m`")));
                change(&ready, &what.scope()?, *yes, wait.transpose()?).await
            }
            Command::Destroy { yes, target, streams } => {
                let scope = Scope { targets: targets(target)?, destroy: true, streams: *streams, ..Scope::default() };
                change(&ready, &scope, *yes, None).await
            }
            Command::Import => import::run(&ready).await,
            Command::Query(args) => query::run(&ready, args).await,
            Command::Tail(args) => query::tail(&ready, args).await,
            Command::Verify(args) => verify::run(&ready, config, args).await,
            Command::Dashboards(args) => query::dashboards(&ready, args).await,
        }
    });
    result.unwrap_or_else(|why| {
        say_line!("error: {}", crate::settings::mask_known(&why));
        Exit::Failed
    })
}

impl At {
    /// The servers of the configuration, and the rest of it. Errors: mistakes, which have been printed.
    pub(super) fn servers(&self) -> Result<(Vec<Ready>, Config), Exit> {
        let loaded = load(&self.config, &ProcessEnvironment, crate::registry::built_in());
        say(&report_page(&loaded.report.render_within(columns())));
        let Some(config) = loaded.config else { return Err(Exit::BadConfig) };
        let mut servers = loaded.openobserve.unwrap_or_default().0;
        if let Some(wanted) = &self.server {
            let names: Vec<String> = servers.iter().map(|(name, _)| name.clone()).collect();
            servers.retain(|(name, _)| name == wanted);
            if servers.is_empty() {
                say_line!("error: there is no server `{wanted}` under `openobserve`; there are {}", names.join(", "));
                return Err(Exit::Usage);
            }
        }
        if servers.is_empty() {
            say_line!("error: the configuration has no `openobserve`: it needs a `url` and what is to be kept there");
            return Err(Exit::BadConfig);
        }
        let data_dir = self.data_dir.clone().unwrap_or(config.globals.data_dir.clone());
        let mut ready = Vec::new();
        let section = loaded.tree.get("openobserve");
        for (name, server) in servers {
            let node = section
                .and_then(|section| section.get(&name).filter(|_| section.get("url").is_none()).or(Some(section)));
            let node = node.cloned().unwrap_or_else(|| Node::empty_map(Span::default()));
            let server = self.with_presets(server).map_err(|why| {
                say_line!("error: {why}");
                Exit::BadConfig
            })?;
            ready.push(Ready { config: server, node, data_dir: data_dir.clone() });
        }
        Ok((ready, config))
    }

    /// The server with what the presets bring, those of the command line included.
    fn with_presets(&self, mut server: ServerConfig) -> Result<ServerConfig, Failed> {
        server.presets.r#use.extend(self.starter.then_some(Preset::Starter));
        for name in &self.preset {
            let words = || Preset::ALL.map(Preset::word).join(", ");
            let preset = Preset::ALL.into_iter().find(|preset| preset.word() == name);
            server.presets.r#use.push(preset.ok_or_else(|| format!("`{name}` is no preset; there are {}", words()))?);
        }
        for pair in &self.preset_stream {
            let (stream, name) = pair.split_once('=').ok_or_else(|| format!("`{pair}` is not STREAM=NAME"))?;
            let known: Vec<&str> = Preset::ALL.iter().flat_map(|preset| preset.streams()).copied().collect();
            if !known.contains(&stream) {
                return Err(format!("no preset has a stream `{stream}`; there are {}", known.join(", ")));
            }
            server.presets.streams.retain(|(known, _)| known.value != stream);
            let key = Spanned::new(stream.to_owned(), Span::default());
            server.presets.streams.push((key, name.to_owned()));
        }
        with_presets(server)
    }
}

impl What {
    fn scope(&self) -> Result<Scope, Failed> {
        Ok(Scope { targets: targets(&self.target)?, prune: self.prune, streams: self.streams, destroy: false })
    }
}

fn targets(texts: &[String]) -> Result<Vec<Key>, Failed> {
    let read = |text: &String| {
        Key::parse(text).ok_or_else(|| format!("`{text}` is not a resource such as `alert.errors` or `stream.logs`"))
    };
    texts.iter().map(read).collect()
}

impl Ready {
    pub(super) async fn connect(&self) -> Result<Client, Failed> {
        Client::connect(&self.config).await.map_err(|e| e.to_string())
    }
}

/// The one server that is asked. Errors: there are several.
pub(super) fn only(ready: &[Ready]) -> Result<&Ready, Failed> {
    match ready {
        [one] => Ok(one),
        _ => Err("there are several servers: name one with --server".into()),
    }
}

pub(super) fn out(page: &Page) -> Result<(), Failed> {
    print(page).map_err(|error| error.to_string())
}

fn validate(ready: &[Ready]) -> Result<Exit, Failed> {
    let mut page = Page::new();
    for one in ready {
        let (wanted, wrong) = desired(&one.config, crate::openobserve::Version::NEWEST);
        if let Some(why) = wrong.first() {
            return Err(why.clone());
        }
        let count = wanted.len();
        writeln!(page, "ok: {count} resource{} for {}", if count == 1 { "" } else { "s" }, one.config.url.value);
    }
    out(&page).map(|()| Exit::Done)
}

async fn planned(one: &Ready, client: &Client, state: &State, scope: &Scope) -> Result<(Plan, World), Failed> {
    plan(client, &one.config, state, scope).await.map_err(|e| e.to_string())
}

async fn show_plan(ready: &[Ready], scope: &Scope, format: Format) -> Result<Exit, Failed> {
    let mut plans = Vec::new();
    for one in ready {
        let client = one.connect().await?;
        let state = State::read(&one.data_dir, &client.name())?;
        plans.push(planned(one, &client, &state, scope).await?.0);
    }
    match format {
        Format::Text => {
            for plan in &plans {
                out(&render::plan(plan))?;
            }
        }
        Format::Json => out(&render::json(&plans))?,
    }
    let differs = plans.iter().any(|plan| plan.open().next().is_some());
    let lacks = plans.iter().any(|plan| !plan.problems.is_empty());
    Ok(match (differs, lacks) {
        (true, _) => Exit::Differences,
        (false, true) => Exit::Failed,
        (false, false) => Exit::Done,
    })
}

/// `apply` and `destroy`, server by server.
async fn change(ready: &[Ready], scope: &Scope, yes: bool, wait: Option<Duration>) -> Result<Exit, Failed> {
    let mut all = Exit::Done;
    for one in ready {
        match change_one(one, scope, yes, wait).await {
            Ok(Exit::Done) => {}
            Ok(exit) => all = exit,
            Err(why) => {
                say_line!("error: {}", crate::settings::mask_known(&why));
                all = Exit::Failed;
            }
        }
    }
    Ok(all)
}

async fn change_one(one: &Ready, scope: &Scope, yes: bool, wait: Option<Duration>) -> Result<Exit, Failed> {
    let client = one.connect().await?;
    let mut state = State::open(&one.data_dir, &client.name())?;
    let (mut plan, mut world) = planned(one, &client, &state, scope).await?;
    out(&render::plan(&plan))?;
    let has_work = |plan: &Plan| plan.open().any(|change| !matches!(change.action, Action::Wait(_)));
    if has_work(&plan) && !yes && !confirmed()? {
        return Ok(Exit::Usage);
    }
    let deadline = wait.map(|time| clock::monotonic() + time);
    let mut done = render::Report::default();
    loop {
        let mut tell = |change: &crate::openobserve::Change, result: &Result<(), crate::openobserve::ApplyError>| {
            done.add(change, result);
            drop(print(&render::step(change, result)));
        };
        apply(&client, &plan, world, &mut state, &mut tell).await?;
        let waiting = plan.open().any(|change| matches!(change.action, Action::Wait(_)));
        let Some(deadline) = deadline.filter(|_| waiting) else { break };
        if clock::monotonic() >= deadline {
            done.late = true;
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        // What failed is not tried again: only what was waited for.
        let failed = done.failed.clone();
        (plan, world) = planned(one, &client, &state, scope).await?;
        plan.changes.retain(|change| !failed.contains(&change.key));
    }
    out(&done.page(&plan))?;
    Ok(if done.failed.is_empty() && !done.late && plan.problems.is_empty() { Exit::Done } else { Exit::Failed })
}

/// Asks on the terminal.
///
/// Errors: there is none.
fn confirmed() -> Result<bool, Failed> {
    if !std::io::stdin().is_terminal() {
        return Err("nothing was done: there is no terminal to ask on; `--yes` does it without asking".into());
    }
    say(&Page::of_line(format_args!("do it? Type `yes`:")));
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(|e| e.to_string())?;
    let yes = line.trim() == "yes";
    if !yes {
        say_line!("nothing was done");
    }
    Ok(yes)
}
