//! `tidegate validate`.

use super::{ConfigArgs, Exit, print, report_page, say, say_line};
use crate::config::{AnyPlan, Component, Config, Kind, Loaded, ProcessEnvironment, Registry, load};
use crate::data_dir::is_in_use;
use crate::doctor::general::try_address;
use crate::doctor::{Host, Severity};
use crate::escape::Page;
use crate::topology;
use clap::Args;
use std::path::Path;

/// Arguments of `validate`.
#[derive(Args, Debug)]
pub(super) struct ValidateArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Also build every component and ask every server: tries folders, files, addresses, hosts and credentials; warns of
    /// patterns of files that meet none.
    #[arg(long)]
    environment: bool,
    /// Warnings are mistakes too.
    #[arg(long)]
    deny_warnings: bool,
}

/// Says everything that is wrong with a configuration.
pub(super) fn run(args: &ValidateArgs) -> Exit {
    let Loaded { config, report, .. } = load(&args.config.config, &ProcessEnvironment, Registry::built_in());
    say(&report_page(&report.render()));
    let Some(config) = config else { return Exit::BadConfig };
    if args.deny_warnings && report.diagnostics.warning_count() > 0 {
        return Exit::BadConfig;
    }
    let limit = config.globals.memory_limit.as_usize();
    let fits = topology::check_memory(&config.components, limit);
    if let Err(message) = fits.and_then(|()| topology::check_connections(&config.components, limit)) {
        say_line!("error: {message}");
        return Exit::BadConfig;
    }
    let count = |kind: Kind| config.components.iter().filter(|component| component.kind == kind).count();
    let counts = [Kind::Source, Kind::Transform, Kind::Sink].map(|kind| {
        let n = count(kind);
        format!("{n} {}{}", kind.word(), if n == 1 { "" } else { "s" })
    });
    if args.environment && !(here(&config) & probe(&config.components)) {
        return Exit::Failed;
    }
    if args.environment && warn(&config.components) && args.deny_warnings {
        return Exit::Failed;
    }
    if args.environment
        && let Err(errors) = topology::assemble(config, false)
    {
        for error in &errors {
            say_line!("error: {error}");
        }
        return if errors.iter().any(|error| error.is_config) { Exit::BadConfig } else { Exit::Failed };
    }
    match print(&Page::of_line(format_args!("ok: {}", counts.join(", ")))) {
        Ok(()) => Exit::Done,
        Err(_) => Exit::Failed,
    }
}

/// Says what sources would not read as things are now; whether there is something.
fn warn(components: &[Component]) -> bool {
    let mut warned = false;
    for component in components {
        let AnyPlan::Source(plan) = &component.plan else { continue };
        for finding in plan.unread_now() {
            say_line!("warning: `{}`: {}", component.id.value, finding.what);
            warned = true;
        }
    }
    warned
}

/// Says what this host does not give: folders of sinks, the API's address. Other addresses are found out when everything is
/// built.
fn here(config: &Config) -> bool {
    let host = Host::read(Path::new("/"));
    let mut fine = true;
    for component in &config.components {
        let AnyPlan::Sink(plan) = &component.plan else { continue };
        for finding in plan.examine(&host).iter().filter(|f| f.severity == Severity::Loss) {
            say_line!("error: `{}`: {}; {}", component.id.value, finding.what, finding.fix);
            fine = false;
        }
    }
    if let Some(api) = &config.globals.api
        && let Err(why) = try_address(&api.listen.value.to_string())
    {
        let hint = match is_in_use(&config.globals.data_dir) {
            true => "an agent runs with this `data_dir` and may have it",
            false => "stop what has it, or set another `listen`",
        };
        say_line!("error: the API {why}; {hint}");
        fine = false;
    }
    fine
}

/// Asks every sink's server; says what failed.
fn probe(components: &[Component]) -> bool {
    let probes: Vec<_> = components
        .iter()
        .filter_map(|component| match &component.plan {
            AnyPlan::Sink(plan) => Some((&component.id.value, plan.probe()?)),
            _ => None,
        })
        .collect();
    if probes.is_empty() {
        return true;
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say_line!("error: cannot start: {error}");
            return false;
        }
    };
    let mut fine = true;
    for (id, probe) in probes {
        if let Err(why) = runtime.block_on(probe) {
            say_line!("error: `{id}`: {why}");
            fine = false;
        }
    }
    fine
}
