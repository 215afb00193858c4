//! `tidegate validate`.

use super::{ConfigFiles, Exit, columns, print, report_page, say, say_line};
use crate::doctor::general::try_address;
use crate::doctor::{self, Host};
use crate::error::chain;
use crate::pipeline::{AnyPlan, ApiListen, Component, Config, Loaded, load};
use crate::settings::{Diagnostic, ProcessEnvironment, Report, Severity, Span, mask_known};
use crate::storage::data_dir::is_in_use;
use crate::telemetry::ComponentKind;
use crate::text::escape::Page;
use crate::topology::{self, LimitError};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::path::Path;

/// Arguments of `validate`.
#[derive(Args, Debug)]
pub(super) struct ValidateArgs {
    #[command(flatten)]
    config: ConfigFiles,
    /// Also build every component and ask every server: tries folders, files, addresses, hosts and credentials; warns of
    /// patterns of files that meet none.
    #[arg(long)]
    environment: bool,
    /// Warnings are mistakes too.
    #[arg(long)]
    deny_warnings: bool,
    /// For people, on stderr, or for programs: one JSON object on stdout.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Forms of what is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Each mistake with its line.
    Text,
    /// `{"ok", "sources", "transforms", "sinks", "diagnostics": [{"severity", "message", "help", "file", "line", …}]}`.
    Json,
}

/// What was found: said at once as text, gathered for JSON.
struct Findings {
    format: Format,
    gathered: Vec<Value>,
    errors: usize,
    warnings: usize,
}

impl Findings {
    /// Those of the reading.
    fn of(report: &Report, format: Format) -> Self {
        let gathered = match (format, report.to_json()) {
            (Format::Json, Value::Array(list)) => list,
            _ => Vec::new(),
        };
        if format == Format::Text {
            say(&report_page(&report.render_within(columns())));
        }
        let (errors, warnings) = (report.diagnostics.error_count(), report.diagnostics.warning_count());
        Findings { format, gathered, errors, warnings }
    }

    /// One that has no place in a file.
    fn add(&mut self, severity: Severity, component: Option<&str>, message: &str, fix: &str) {
        let word = match severity {
            Severity::Error => {
                self.errors += 1;
                "error"
            }
            Severity::Warning => {
                self.warnings += 1;
                "warning"
            }
        };
        let message = mask_known(message);
        if self.format == Format::Json {
            let help = if fix.is_empty() { json!([]) } else { json!([fix]) };
            self.gathered
                .push(json!({"severity": word, "component": component, "message": message, "help": help, "notes": []}));
            return;
        }
        let who = component.map(|id| format!("`{id}`: ")).unwrap_or_default();
        let fix = if fix.is_empty() { String::new() } else { format!("; {fix}") };
        say_line!("{word}: {who}{message}{fix}");
    }

    /// An error at a place of what was read.
    fn add_at(&mut self, read: &Report, place: Span, message: &str) {
        let mut report = Report { sources: read.sources.clone(), ..Report::default() };
        report.diagnostics.push(Diagnostic::new(Severity::Error, Some(place), message));
        let Findings { gathered, errors, .. } = Findings::of(&report, self.format);
        self.gathered.extend(gathered);
        self.errors += errors;
    }

    fn error(&mut self, component: Option<&str>, message: &str) {
        self.add(Severity::Error, component, message, "");
    }

    /// Prints the result; `exit` where it can be written.
    fn end(self, config: Option<[usize; 3]>, exit: Exit) -> Exit {
        let printed = match (self.format, config) {
            (Format::Json, counts) => {
                let [sources, transforms, sinks] = counts.unwrap_or_default();
                let ok = exit == Exit::Done;
                let all = json!({
                    "ok": ok, "sources": sources, "transforms": transforms, "sinks": sinks, "diagnostics": self.gathered,
                });
                print(&Page::of_line(format_args!("{all}")))
            }
            (Format::Text, Some(counts)) if exit == Exit::Done => {
                let words = ["source", "transform", "sink"];
                let counts: Vec<String> = counts
                    .iter()
                    .zip(words)
                    .map(|(n, word)| format!("{n} {word}{}", if *n == 1 { "" } else { "s" }))
                    .collect();
                print(&Page::of_line(format_args!("ok: {}", counts.join(", "))))
            }
            _ => Ok(()),
        };
        if printed.is_ok() { exit } else { Exit::Failed }
    }
}

/// Says everything that is wrong with a configuration.
pub(super) fn run(args: &ValidateArgs) -> Exit {
    let paths = args.config.args().config;
    let Loaded { config, report, .. } = load(&paths, &ProcessEnvironment, crate::registry::built_in());
    let mut found = Findings::of(&report, args.format);
    let Some(config) = config else { return found.end(None, Exit::BadConfig) };
    let count = |kind: ComponentKind| config.components.iter().filter(|component| component.kind == kind).count();
    let counts = [ComponentKind::Source, ComponentKind::Transform, ComponentKind::Sink].map(count);
    if args.deny_warnings && found.warnings > 0 {
        return found.end(Some(counts), Exit::BadConfig);
    }
    let limit = config.globals.memory_limit.as_usize();
    let fits = topology::check_memory(&config.components, limit);
    if let Err(error) = fits.and_then(|()| topology::check_connections(&config.components, limit)) {
        found.add_at(&report, place_of(&error, &config), &error.to_string());
        return found.end(Some(counts), Exit::BadConfig);
    }
    let exit = if args.environment { environment(config, args.deny_warnings, &mut found) } else { Exit::Done };
    found.end(Some(counts), exit)
}

/// Where what does not fit is told: at the limit, if it is written, else at a component that asks for much.
fn place_of(error: &LimitError, config: &Config) -> Span {
    let limit = config.globals.memory_limit.span;
    if limit != Span::default() {
        return limit;
    }
    let asks = |c: &&Component| match error.component() {
        Some(id) => c.id.value == id,
        None => c.kind == ComponentKind::Sink,
    };
    config.components.iter().find(asks).map_or(limit, |component| component.id.span)
}

/// Tries what the configuration asks of this host and of servers.
fn environment(config: Config, deny_warnings: bool, found: &mut Findings) -> Exit {
    here(&config, found);
    probe(&config.components, found);
    if found.errors > 0 {
        return Exit::Failed;
    }
    if warn(&config.components, found) && deny_warnings {
        return Exit::Failed;
    }
    let Err(errors) = topology::assemble(config, false) else { return Exit::Done };
    for error in &errors {
        found.error(None, &error.to_string());
    }
    if errors.iter().any(topology::StartError::is_config) { Exit::BadConfig } else { Exit::Failed }
}

/// Says what sources would not read as things are now; whether there is something.
fn warn(components: &[Component], found: &mut Findings) -> bool {
    let before = found.warnings;
    for component in components {
        let AnyPlan::Source(plan) = &component.plan else { continue };
        for finding in plan.unread_now() {
            found.add(Severity::Warning, Some(&component.id.value), &finding.what, "");
        }
    }
    found.warnings > before
}

/// Says what this host does not give: folders of sinks, the API's address. Other addresses are found out when everything is
/// built.
fn here(config: &Config, found: &mut Findings) {
    let host = Host::read(Path::new("/"));
    for component in &config.components {
        let AnyPlan::Sink(plan) = &component.plan else { continue };
        for finding in plan.examine(&host).iter().filter(|f| f.severity == doctor::Severity::Loss) {
            found.add(Severity::Error, Some(&component.id.value), &finding.what, &finding.fix);
        }
    }
    if let Some(api) = &config.globals.api
        && let ApiListen::Tcp(address) = api.listen.value
        && let Err(why) = try_address(&address.to_string())
    {
        let hint = match is_in_use(&config.globals.data_dir) {
            true => "an agent runs with this `data_dir` and may have it",
            false => "stop what has it, or set another `listen`",
        };
        found.add(Severity::Error, None, &format!("the API {}", chain(&why)), hint);
    }
}

/// Asks every sink's server; says what failed.
fn probe(components: &[Component], found: &mut Findings) {
    let probes: Vec<_> = components
        .iter()
        .filter_map(|component| match &component.plan {
            AnyPlan::Sink(plan) => Some((&component.id.value, plan.probe()?)),
            _ => None,
        })
        .collect();
    if probes.is_empty() {
        return;
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return found.error(None, &format!("cannot start: {error}")),
    };
    for (id, probe) in probes {
        if let Err(why) = runtime.block_on(probe) {
            found.error(Some(id), &chain(&why));
        }
    }
}
