//! `tidegate validate`.

use super::{ConfigArgs, Exit, print, say};
use crate::config::{AnyPlan, Component, Kind, Loaded, ProcessEnvironment, Registry, load};
use crate::topology;
use clap::Args;

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
    say(&report.render());
    let Some(config) = config else { return Exit::BadConfig };
    if args.deny_warnings && report.diagnostics.warning_count() > 0 {
        return Exit::BadConfig;
    }
    if let Err(message) = topology::check_memory(&config.components, config.globals.memory_limit.as_usize()) {
        say(&format!("error: {message}\n"));
        return Exit::BadConfig;
    }
    let count = |kind: Kind| config.components.iter().filter(|component| component.kind == kind).count();
    let counts = [Kind::Source, Kind::Transform, Kind::Sink].map(|kind| {
        let n = count(kind);
        format!("{n} {}{}", kind.word(), if n == 1 { "" } else { "s" })
    });
    if args.environment && !probe(&config.components) {
        return Exit::Failed;
    }
    if args.environment && warn(&config.components) && args.deny_warnings {
        return Exit::Failed;
    }
    if args.environment
        && let Err(errors) = topology::assemble(config, false)
    {
        for error in &errors {
            say(&format!("error: {error}\n"));
        }
        return if errors.iter().any(|error| error.is_config) { Exit::BadConfig } else { Exit::Failed };
    }
    match print(&format!("ok: {}\n", counts.join(", "))) {
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
            say(&format!("warning: `{}`: {}\n", component.id.value, finding.what));
            warned = true;
        }
    }
    warned
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
            say(&format!("error: cannot start: {error}\n"));
            return false;
        }
    };
    let mut fine = true;
    for (id, probe) in probes {
        if let Err(why) = runtime.block_on(probe) {
            say(&format!("error: `{id}`: {why}\n"));
            fine = false;
        }
    }
    fine
}
