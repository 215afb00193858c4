//! The command line: one file per command.

mod agent;
mod audit;
mod backup;
mod buffer;
mod checkpoint;
mod doctor;
mod errors;
mod exit;
mod explain;
mod graph;
mod graph_lines;
mod graph_svg;
mod history;
mod logging;
mod memory;
mod openobserve;
mod places;
mod plan;
mod reload;
mod reload_command;
mod replay;
mod run;
mod schema;
mod served_api;
mod service;
mod tap;
mod terminal;
mod test_cases;
mod texts;
mod top;
mod validate;

pub use exit::Exit;

use crate::pipeline::{Config, Loaded, load_with_texts};
use crate::settings::{ProcessEnvironment, Report};
use crate::text::escape::Page;
use clap::{Args, CommandFactory, Parser, Subcommand};
use std::path::PathBuf;

/// A telemetry pipeline agent: tails, shapes and ships logs, metrics and traces.
#[derive(Parser, Debug)]
#[command(name = "tidegate", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Form of the agent's own log.
    #[arg(long, global = true, value_enum, default_value_t = logging::LogFormat::Text)]
    log_format: logging::LogFormat,
    /// Level of the agent's own log: error, warn, info, debug, trace, or a filter. Else TIDEGATE_LOG, else info.
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run a pipeline.
    Run(run::RunArgs),
    /// Check a configuration: every mistake at its place.
    Validate(validate::ValidateArgs),
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
    /// Print the reference of every setting, as Markdown.
    Reference(schema::ReferenceArgs),
    /// Show who reads whom.
    Graph(graph::GraphArgs),
    /// Pipe sample lines through the pipeline and show what each stage makes of them; delivers nothing.
    Try(explain::TryArgs),
    /// As `try`, and why: the rule, its place in the configuration and the values that decided; where each sink would put what.
    Explain(explain::ExplainArgs),
    /// Run the unit tests under `tests:`; delivers nothing.
    Test(test_cases::TestArgs),
    /// Look into disk buffers, mend or remove them.
    Buffer(buffer::BufferArgs),
    /// Show how far files were read, or have them read anew.
    Checkpoint(checkpoint::CheckpointArgs),
    /// Find what on this host will lose data, with the fix.
    Doctor(doctor::DoctorArgs),
    /// Feed dead letters back in.
    Replay(replay::ReplayArgs),
    /// Let the running agent take over its configuration as it is now: only what has changed starts anew.
    Reload(reload_command::ReloadArgs),
    /// Show what another configuration would change, and what it would do to events; changes nothing. Exits with 3 where there is a
    /// difference.
    Plan(plan::PlanArgs),
    /// Show events of the running agent as they pass.
    Tap(tap::TapArgs),
    /// Show what each component of the running agent does, live.
    Top(top::TopArgs),
    /// Show the configurations that ran, and go back to one.
    Config(history::HistoryArgs),
    /// Tell whether the ledger of all runs balance: 0, or 1 and what does not.
    Audit(audit::AuditArgs),
    /// Keep streams, alerts and dashboards of OpenObserve as code; ask it.
    #[command(name = "openobserve")]
    OpenObserve(openobserve::OpenObserveArgs),
    /// Copy streams of OpenObserve into files, check the copies and put them back.
    Backup(backup::BackupArgs),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Where the configuration is.
#[derive(Args, Debug, Clone)]
pub struct ConfigArgs {
    /// A file, or a folder of *.yaml files; may be given several times.
    #[arg(long, short, value_name = "PATH", default_value = DEFAULT_CONFIG)]
    pub config: Vec<PathBuf>,
}

const DEFAULT_CONFIG: &str = "/etc/tidegate/tidegate.yaml";

/// Where the configuration is, also without `--config`: `tidegate validate pipeline.yaml`.
#[derive(Args, Debug, Clone)]
pub struct ConfigFiles {
    /// Files, or folders of *.yaml files.
    #[arg(value_name = "PATH")]
    files: Vec<PathBuf>,
    /// The same by name; both may be given, and several times.
    #[arg(long, short, value_name = "PATH")]
    config: Vec<PathBuf>,
}

impl ConfigFiles {
    /// All that were given; the default one where there are none.
    pub fn args(&self) -> ConfigArgs {
        let given: Vec<PathBuf> = self.config.iter().chain(&self.files).cloned().collect();
        ConfigArgs { config: if given.is_empty() { vec![PathBuf::from(DEFAULT_CONFIG)] } else { given } }
    }
}

impl ConfigArgs {
    /// Reads the configuration and prints what was found in it.
    ///
    /// Errors: it has mistakes, which have been printed.
    pub fn load(&self) -> Result<Config, Exit> {
        self.load_with_texts().map(|(config, _)| config)
    }

    /// As [`load`](Self::load), with the places of its settings.
    ///
    /// Errors: it has mistakes, which have been printed.
    fn load_with_places(&self) -> Result<(Config, places::Places), Exit> {
        let mut loaded = crate::pipeline::load(&self.config, &ProcessEnvironment, crate::registry::built_in());
        let text = loaded.report.render_within(columns());
        match loaded.config.take() {
            None => {
                say_errors(&report_page(&text));
                Err(Exit::BadConfig)
            }
            Some(config) => {
                if !text.is_empty() {
                    say(&report_page(&text));
                }
                Ok((config, places::Places { tree: loaded.tree, sources: loaded.report.sources }))
            }
        }
    }

    /// The same once more, without a word.
    ///
    /// Errors: it has mistakes by now.
    fn load_again(&self) -> Result<Config, Exit> {
        let loaded = crate::pipeline::load(&self.config, &ProcessEnvironment, crate::registry::built_in());
        loaded.config.ok_or(Exit::BadConfig)
    }

    /// As [`load`](Self::load), with what it was read from.
    ///
    /// Errors: it has mistakes, which have been printed.
    fn load_with_texts(&self) -> Result<(Config, texts::Texts), Exit> {
        self.load_or_say_why().map_err(|_| Exit::BadConfig)
    }

    /// The same.
    ///
    /// Errors: it has mistakes, which have been printed.
    fn load_or_say_why(&self) -> Result<(Config, texts::Texts), errors::PrintedMistakes> {
        let environment = texts::Remembering::default();
        let (Loaded { config, report, .. }, files) =
            load_with_texts(&self.config, &environment, crate::registry::built_in());
        let texts = texts::Texts { files, secrets: environment.into_files(), pinned: None };
        let text = report.render_within(columns());
        say_report(&report, &text);
        config.map(|config| (config, texts)).ok_or(errors::PrintedMistakes(text))
    }
}

/// Runs the program.
pub fn main() -> Exit {
    main_with(std::env::args_os())
}

/// Runs the program with these arguments, its name first.
pub fn main_with(args: impl IntoIterator<Item = impl Into<std::ffi::OsString> + Clone>) -> Exit {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and are no mistake.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            // What was given may hold anything: the shell puts names of files there.
            match error.use_stderr() {
                true => say(&report_page(&error.render().to_string())),
                false => drop(error.print()),
            }
            return exit;
        }
    };
    if let Err(error) = logging::start(cli.log_format, cli.log_level.as_deref()) {
        errors::failed(&error);
        return Exit::Usage;
    }
    // A panic is a bug to be told of, with its place, but what it shows may hold anything.
    std::panic::set_hook(Box::new(|panic| {
        if crate::telemetry::panics::is_quiet() {
            return;
        }
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed").to_owned();
        tracing::error!(
            thread,
            "{}",
            crate::settings::mask_known(&format!("this is a bug, please report it: {panic}"))
        );
    }));
    match cli.command {
        Command::Run(args) => run::run(args),
        Command::Validate(args) => validate::run(&args),
        Command::Schema => schema::schema(),
        Command::Reference(args) => schema::reference(&args),
        Command::Graph(args) => graph::run(&args),
        Command::Try(args) => explain::run_try(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Test(args) => test_cases::run(&args),
        Command::Buffer(args) => buffer::run(&args),
        Command::Checkpoint(args) => checkpoint::run(args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Replay(args) => replay::run(args),
        Command::Reload(args) => reload_command::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Tap(args) => tap::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Config(args) => history::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::OpenObserve(args) => openobserve::run(&args),
        Command::Backup(args) => backup::run(&args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "tidegate", &mut std::io::stdout());
            Exit::Done
        }
    }
}

/// The width of the terminal that diagnostics go to, where they go to one.
pub(crate) fn columns() -> Option<usize> {
    terminal_size::terminal_size_of(std::io::stderr()).map(|(width, _)| usize::from(width.0))
}

/// Writes to stderr: diagnostics. A closed stderr is nobody's mistake.
pub(crate) fn say(page: &Page) {
    terminal::write_stderr(terminal::painted(page, logging::is_json()).as_bytes());
}

/// As [`say`], one line: `say_line!("error: {error}")`.
macro_rules! say_line {
    ($($words:tt)*) => { $crate::cli::say(&$crate::text::escape::Page::of_line(format_args!($($words)*))) };
}
use say_line;

/// Diagnostics of a configuration, or of the command line, whose lines are their own.
fn report_page(text: &str) -> Page {
    let mut page = Page::new();
    page.text(text);
    page
}

/// Says what was found in a configuration, which as text is `text`: where the log is JSON, a record for each, with its place and
/// what to do as fields.
pub(crate) fn say_report(report: &Report, text: &str) {
    if !logging::is_json() {
        if !text.is_empty() {
            say(&report_page(text));
        }
        return;
    }
    for found in report.to_json().as_array().into_iter().flatten() {
        let word = |key: &str| found[key].as_str().unwrap_or_default();
        let words = |key: &str| {
            let list = found[key].as_array().into_iter().flatten();
            list.filter_map(|one| one.as_str().or_else(|| one["message"].as_str())).collect::<Vec<_>>().join("; ")
        };
        let (file, line, column) = (word("file"), found["line"].as_u64(), found["column"].as_u64());
        let (help, notes) = (words("help"), words("notes"));
        match word("severity") {
            "error" => tracing::error!(file, line, column, help, notes, "{}", word("message")),
            _ => tracing::warn!(file, line, column, help, notes, "{}", word("message")),
        }
    }
}

/// Says what is wrong: on stderr, as a record where the log is JSON.
pub(crate) fn say_errors(page: &Page) {
    match logging::is_json() {
        true => tracing::error!("{}", page.as_str().trim_end()),
        false => say(page),
    }
}

/// Writes to stdout: data. A [`Page`] is the one thing that goes there, so that nothing that was read steers a terminal.
///
/// Errors: it is closed, as by `| head`.
pub(crate) fn print(page: &Page) -> std::io::Result<()> {
    use std::io::Write;
    std::io::stdout().write_all(page.as_str().as_bytes())
}
