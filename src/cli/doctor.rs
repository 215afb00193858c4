//! `tidegate doctor`: what on this host will lose data, and the fix.

use super::{ConfigArgs, Exit, print, say_line};
use crate::buffer::BufferConfig;
use crate::doctor::general::{self, DiskBuffer};
use crate::doctor::{Finding, Host, Severity};
use crate::error::chain;
use crate::pipeline::{AnyPlan, ApiListen, Component, Config};
use crate::storage::data_dir::is_in_use;
use crate::telemetry::ComponentKind;
use crate::text::escape::Page;
use crate::time::clock;
use clap::Args;
use std::path::PathBuf;

/// Arguments of `doctor`.
#[derive(Args, Debug)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Where the host's root is, in a container that has it mounted: /etc/logrotate.d, /proc and /sys are looked for there.
    #[arg(long, value_name = "DIR", default_value = "/")]
    host_root: PathBuf,
    /// Ask no server for its clock.
    #[arg(long)]
    offline: bool,
    /// For programs.
    #[arg(long)]
    json: bool,
}

/// Examines everything; 1 where something will lose data.
pub(super) fn run(args: &DoctorArgs) -> Exit {
    let config = match args.config.load() {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let host = Host::read(&args.host_root);
    let mut findings = examine(&config, &host);
    if !args.offline {
        match clocks(&config.components) {
            Ok(found) => findings.extend(found),
            Err(error) => say_line!("error: cannot start: {error}"),
        }
    }
    findings.sort_by_key(|(_, f)| std::cmp::Reverse(f.severity));
    let loses = findings.iter().filter(|(_, f)| f.severity == Severity::Loss).count();
    let text = if args.json { json(&findings) } else { report(&findings, loses) };
    if print(&text).is_err() || loses > 0 { Exit::Failed } else { Exit::Done }
}

type Found = Vec<(Option<String>, Finding)>;

fn examine(config: &Config, host: &Host) -> Found {
    let globals = &config.globals;
    let mut findings: Found = Vec::new();
    let mut agent = general::data_dir(&globals.data_dir);
    agent.extend(general::memory(host, globals.memory_limit.bytes()));
    let mut buffers = Vec::new();
    for component in &config.components {
        let id = component.id.value.clone();
        let found = match &component.plan {
            AnyPlan::Source(plan) => plan.examine(host),
            AnyPlan::Transform(_) => Vec::new(),
            AnyPlan::Sink(plan) => {
                if let Some(disk) = plan.common().buffer.disk() {
                    let options = disk.options(&globals.data_dir, &id);
                    let (folder, max_bytes) = (options.folder, options.max_bytes);
                    buffers.push(DiskBuffer { sink: id.clone(), folder, max_bytes });
                }
                let mut found = plan.examine(host);
                found.extend(unkept(component, config));
                found
            }
        };
        findings.extend(found.into_iter().map(|f| (Some(id.clone()), f)));
    }
    agent.extend(general::space(&buffers));
    findings.extend(taken_addresses(config));
    findings.extend(agent.into_iter().map(|f| (None, f)));
    findings
}

/// Addresses that others have. Those of an agent that runs with this `data_dir` are its own.
fn taken_addresses(config: &Config) -> Found {
    if is_in_use(&config.globals.data_dir) {
        return Vec::new();
    }
    let api = config.globals.api.iter().filter_map(|api| match api.listen.value {
        ApiListen::Tcp(address) => Some((None, address.to_string())),
        ApiListen::Unix(_) => None,
    });
    let listens = |component: &Component| match &component.plan {
        AnyPlan::Source(plan) => plan.listens(),
        AnyPlan::Sink(plan) => plan.listens(),
        AnyPlan::Transform(_) => Vec::new(),
    };
    let of_components = config.components.iter().flat_map(|component| {
        listens(component).into_iter().map(|listen| (Some(component.id.value.clone()), listen.value))
    });
    let fault = |(id, address): (Option<String>, String)| {
        let why = general::try_address(&address).err()?;
        let of = if id.is_none() { "the API " } else { "" };
        Some((id, Finding::loss(format!("{of}{}", chain(&why)), "stop what has it, or set another `listen`")))
    };
    api.chain(of_components).filter_map(fault).collect()
}

/// What a sink would drop by its configuration.
fn unkept(component: &Component, config: &Config) -> Vec<Finding> {
    let AnyPlan::Sink(plan) = &component.plan else { return Vec::new() };
    let mut findings = Vec::new();
    let is_letter_box = config.components.iter().any(|c| match &c.plan {
        AnyPlan::Sink(other) => other.common().dead_letter.as_ref().is_some_and(|d| d.value == component.id.value),
        _ => false,
    });
    if plan.working_bytes() > 0 && plan.common().dead_letter.is_none() && !is_letter_box {
        findings.push(Finding::warning(
            "it has no dead letter: what the server refuses for good is dropped and counted",
            "`dead_letter: <id of a file sink>`",
        ));
    }
    if let BufferConfig::Memory(memory) = &plan.common().buffer
        && memory.when_full.policy() != crate::buffer::FullPolicy::Block
    {
        findings.push(Finding::warning(
            "its memory buffer drops events when it is full, as `when_full` says",
            "`buffer: {type: disk, max_size: …}`, or `when_full: block`",
        ));
    }
    findings
}

/// Asks servers for their clocks.
fn clocks(components: &[Component]) -> std::io::Result<Found> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut findings = Vec::new();
    for component in components {
        let AnyPlan::Sink(plan) = &component.plan else { continue };
        debug_assert_eq!(component.kind, ComponentKind::Sink);
        let Some(asking) = plan.server_clock() else { continue };
        let found = match runtime.block_on(asking) {
            Ok(Some(server)) => general::clock(server, clock::now_ns()),
            Ok(None) => Vec::new(),
            Err(why) => vec![Finding::warning(
                format!("its server does not answer: {}", chain(&why)),
                "`tidegate validate --environment` says what a request to it brings",
            )],
        };
        findings.extend(found.into_iter().map(|f| (Some(component.id.value.clone()), f)));
    }
    Ok(findings)
}

fn report(findings: &Found, loses: usize) -> Page {
    let mut out = Page::new();
    for (component, finding) in findings {
        let word = match finding.severity {
            Severity::Loss => "LOSES DATA",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        let of = component.as_ref().map_or_else(String::new, |id| format!("`{id}`: "));
        writeln!(out, "{word}: {of}{}", finding.what);
        writeln!(out, "  fix: {}", finding.fix);
    }
    let n = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    match (loses, findings.len()) {
        (0, 0) => writeln!(out, "nothing found that loses data"),
        (0, all) => writeln!(out, "nothing found that loses data; {}", n(all, "remark")),
        (loses, all) => {
            writeln!(out, "{} that will lose data, {}", n(loses, "finding"), n(all - loses, "remark"));
        }
    }
    out
}

fn json(findings: &Found) -> Page {
    let list: Vec<_> = findings
        .iter()
        .map(|(component, f)| {
            serde_json::json!({"component": component, "severity": f.severity, "what": f.what, "fix": f.fix})
        })
        .collect();
    let mut page = Page::new();
    page.json(&format!("{:#}\n", serde_json::Value::Array(list)));
    page
}
