//! What another configuration would change, before it does: components and their settings, what stops or is read anew, what would
//! be left behind, and what it would do to events. Changes nothing.
//!
//! [`make`] compares two configurations; where it is given frames ([`Given`]) it tries them in both ([`effect`]). What it finds is a
//! [`Plan`], which travels as JSON and is shown as a [`page`].

mod effect;
mod orphans;
pub mod page;
pub mod report;
mod settings;

use crate::component::Chance;
use crate::event::Origin;
use crate::pipeline::{AnyPlan, Config, Loaded, Tap};
use crate::telemetry::ComponentKind;
use crate::time::clock;
use crate::topology::recent::Taken;
use crate::topology::{Comparison, Inline, Parts, compare_configs};
use effect::{Node, Side, Trial};
use report::{Component, Inputs, Plan, Setting};
use settings::{Written, differences};
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

/// What a configuration is compared with.
pub struct Against {
    /// What it is, in words.
    pub name: String,
    /// What it says; without mistakes.
    pub loaded: Loaded,
    /// What runs of it.
    pub parts: Option<Parts>,
    /// Events that its sinks hold, by id.
    pub held: HashMap<String, u64>,
}

/// What is tried.
pub enum Given {
    /// Nothing: why.
    Nothing(String),
    /// The last frames of each source, by id.
    Recent(Vec<(String, Vec<Taken>)>),
    /// Lines of a file.
    Lines {
        /// The source that they are given to; else those that read the file, or the only one.
        source: Option<String>,
        /// Path of the file.
        file: String,
        /// Its text.
        text: Vec<u8>,
    },
}

/// Compares a configuration without mistakes with another.
///
/// Errors: one of them cannot be built here to be tried, or lines have no source that takes them: in words.
pub fn make(against: Against, new: Loaded, given: Given) -> Result<Plan, String> {
    let Against { name, loaded: old, parts, held } = against;
    let (Some(before), Some(after)) = (&old.config, &new.config) else {
        return Err("the configuration has mistakes".to_owned());
    };
    let comparison = compare_configs(before, parts, after);
    let was = Written { tree: &old.tree, sources: &old.report.sources };
    let is = Written { tree: &new.tree, sources: &new.report.sources };
    let mut plan = Plan { against: name, different: !comparison.is_nothing(), ..Plan::default() };
    plan.anew.clone_from(&comparison.anew);
    plan.agent = differences(Some(was), Some(is), &["sources", "transforms", "sinks", "tests"]);
    plan.different |= !plan.agent.is_empty();
    plan.kept = comparison.kept.iter().cloned().collect();
    describe(&mut plan, &comparison, (before, was), (after, is));
    plan.inputs = inputs(before, after);
    plan.orphaned = orphans::find(before, after, &held);
    let tap = before.globals.api.as_ref().map_or(Tap::Redacted, |api| api.tap.value);
    match given {
        Given::Nothing(why) => plan.no_events = Some(why),
        given => {
            let (before_nodes, after_nodes) = (nodes(before), nodes(after));
            let build = |config: Config, which: &str| {
                let words = |errors: Vec<crate::topology::StartError>| {
                    let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
                    format!("{which} cannot be tried here: {}", all.join("; "))
                };
                Inline::new(config, Chance::ByEvent).map_err(words)
            };
            let (Some(before), Some(after)) = (old.config, new.config) else { return Ok(plan) };
            let old = Side::new(build(before, "the configuration that runs")?, before_nodes, was);
            let new = Side::new(build(after, "the new configuration")?, after_nodes, is);
            plan.events = Some(try_frames(old, new, comparison.kept, tap, given)?);
        }
    }
    Ok(plan)
}

fn try_frames(
    old: Side<'_>,
    new: Side<'_>,
    kept: BTreeSet<String>,
    tap: Tap,
    given: Given,
) -> Result<report::Events, String> {
    let (recent, from, as_lines) = match given {
        Given::Nothing(why) => return Err(why),
        Given::Recent(recent) => (recent, "the last frames of each source".to_owned(), false),
        Given::Lines { source, file, text } => {
            let id = source.unwrap_or_default();
            let path = std::path::absolute(&file).unwrap_or_else(|_| PathBuf::from(&file));
            let (was, is) = effect::given(&old, &new, &id, &path);
            if was.is_empty() && is.is_empty() {
                return Err(match id.is_empty() {
                    true => format!("no source reads {file}: name the one that its lines are given to with `--source`"),
                    false => format!("there is no source `{id}`"),
                });
            }
            let name: Arc<str> = path.display().to_string().into();
            let origin = Arc::new(Origin { file: Some(name), ..Origin::default() });
            let taken = Taken::of_lines(origin, clock::now_ns(), text);
            (vec![(id, vec![taken])], format!("lines of {file}"), true)
        }
    };
    Ok(Trial::new(old, new, kept, tap).run(recent, from, as_lines))
}

fn nodes(config: &Config) -> Vec<Node> {
    let node = |c: &crate::pipeline::Component| Node {
        id: c.id.value.clone(),
        kind: c.kind,
        type_name: c.type_name,
        inputs: c.inputs.clone(),
        redacts: matches!(&c.plan, AnyPlan::Transform(plan) if plan.redacts()),
    };
    config.components.iter().map(node).collect()
}

fn find<'c>(config: &'c Config, id: &str) -> Option<&'c crate::pipeline::Component> {
    config.components.iter().find(|c| c.id.value == id)
}

/// Says what is added, changed and removed.
fn describe(
    plan: &mut Plan,
    comparison: &Comparison,
    (before, was): (&Config, Written<'_>),
    (after, is): (&Config, Written<'_>),
) {
    let settings = |kind: ComponentKind, id: &str, without: &[&str]| -> Vec<Setting> {
        let old = was.get(kind.section()).and_then(|section| section.get(id));
        let new = is.get(kind.section()).and_then(|section| section.get(id));
        differences(old, new, without)
    };
    let component = |c: &crate::pipeline::Component| Component {
        id: c.id.value.clone(),
        kind: c.kind.name().to_owned(),
        r#type: c.type_name.to_owned(),
        ..Component::default()
    };
    for c in &after.components {
        let id = c.id.value.as_str();
        if comparison.added.contains(id) {
            let effects = of_added(c);
            plan.added.push(Component { effects, ..component(c) });
        } else if !comparison.kept.contains(id) {
            let old = find(before, id);
            let mut settings = settings(c.kind, id, &["inputs"]);
            if settings.is_empty() {
                let why = comparison.changed.get(id).map(|why| why.join(", ")).unwrap_or_default();
                settings.push(Setting { key: why, ..Setting::default() });
            }
            plan.changed.push(Component { settings, effects: of_changed(old, c), ..component(c) });
        }
    }
    for c in &before.components {
        let id = c.id.value.as_str();
        if comparison.removed.contains(id) || find(after, id).is_none() {
            plan.removed.push(Component { effects: of_removed(c), ..component(c) });
        }
    }
}

fn list(paths: &[PathBuf]) -> String {
    const SHOWN: usize = 5;
    let mut names: Vec<String> = paths.iter().take(SHOWN).map(|p| p.display().to_string()).collect();
    if paths.len() > SHOWN {
        names.push(format!("{} more", paths.len() - SHOWN));
    }
    names.join(", ")
}

fn files(n: usize) -> String {
    if n == 1 { "1 file".to_owned() } else { format!("{n} files") }
}

fn of_added(c: &crate::pipeline::Component) -> Vec<String> {
    let mut out = Vec::new();
    match &c.plan {
        AnyPlan::Source(plan) => {
            let now = plan.files_now();
            if plan.reads_files() {
                out.push(match now.is_empty() {
                    true => "no file is there for it now".to_owned(),
                    false => format!("reads {} anew: {}", files(now.len()), list(&now)),
                });
            }
            out.extend(listens(&plan.listens(), "listens on"));
        }
        AnyPlan::Sink(plan) => out.extend(listens(&plan.listens(), "listens on")),
        AnyPlan::Transform(_) => {}
    }
    out
}

fn listens(addresses: &[crate::settings::Spanned<String>], word: &str) -> Option<String> {
    let all: Vec<&str> = addresses.iter().map(|a| a.value.as_str()).collect();
    (!all.is_empty()).then(|| format!("{word} {}", all.join(", ")))
}

fn of_changed(old: Option<&crate::pipeline::Component>, new: &crate::pipeline::Component) -> Vec<String> {
    let mut out = Vec::new();
    let when = match &new.plan {
        AnyPlan::Source(plan) => plan.when_changed(),
        AnyPlan::Transform(plan) => plan.when_changed(),
        AnyPlan::Sink(plan) => plan.when_changed(),
    };
    out.extend(when.map(str::to_owned));
    if let (Some(AnyPlan::Source(was)), AnyPlan::Source(is)) = (old.map(|c| &c.plan), &new.plan) {
        let (had, has): (BTreeSet<_>, BTreeSet<_>) =
            (was.files_now().into_iter().collect(), is.files_now().into_iter().collect());
        let more: Vec<PathBuf> = has.difference(&had).cloned().collect();
        let less: Vec<PathBuf> = had.difference(&has).cloned().collect();
        if !more.is_empty() {
            out.push(format!("reads {} more: {}", files(more.len()), list(&more)));
        }
        if !less.is_empty() {
            out.push(format!("does not read {} any more: {}", files(less.len()), list(&less)));
        }
    }
    let addresses = |plan: &AnyPlan| -> BTreeSet<String> {
        let all = match plan {
            AnyPlan::Source(plan) => plan.listens(),
            AnyPlan::Sink(plan) => plan.listens(),
            AnyPlan::Transform(_) => Vec::new(),
        };
        all.into_iter().map(|a| a.value).collect()
    };
    let (had, has) = (old.map(|c| addresses(&c.plan)).unwrap_or_default(), addresses(&new.plan));
    let closed: Vec<&str> = had.difference(&has).map(String::as_str).collect();
    if !closed.is_empty() {
        out.push(format!("stops listening on {}: its clients are refused there", closed.join(", ")));
    }
    out
}

fn of_removed(c: &crate::pipeline::Component) -> Vec<String> {
    let mut out = Vec::new();
    match &c.plan {
        AnyPlan::Source(plan) => {
            let stops = listens(&plan.listens(), "stops listening on");
            out.extend(stops.map(|text| format!("{text}: its connections end, its clients are refused")));
        }
        AnyPlan::Sink(plan) => {
            out.extend(listens(&plan.listens(), "stops listening on"));
            out.push("has `shutdown_timeout` to deliver what it holds".to_owned());
        }
        AnyPlan::Transform(plan) => out.extend(plan.when_changed().map(str::to_owned)),
    }
    out
}

/// Who would read others; of those that are in both.
fn inputs(before: &Config, after: &Config) -> Vec<Inputs> {
    let texts = |c: &crate::pipeline::Component| c.inputs.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut out = Vec::new();
    for c in &after.components {
        let Some(old) = find(before, &c.id.value) else { continue };
        let (before, after) = (texts(old), texts(c));
        if before.iter().collect::<BTreeSet<_>>() != after.iter().collect::<BTreeSet<_>>() {
            out.push(Inputs { id: c.id.value.clone(), before, after });
        }
    }
    out
}
