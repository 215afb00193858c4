//! What another configuration changes in a graph that runs.
//!
//! A component's identity is its id, kind and type; its [`Fingerprint`] what its settings come to, after interpolation, and what
//! else decides how it works. Same identity and fingerprint: it is kept, whoever it reads. What cannot be changed in a graph that
//! runs makes all of it start anew, and is named.

use super::Blueprint;
use super::StartError;
use super::build::{Reuse, assemble_with, below_access_logs, own_files};
use super::running::Running;
use super::wiring::Node;
use crate::pipeline::{AgentPrint, AnyPlan, Component, Config, Fingerprint};
use crate::telemetry::{ComponentKind, Counters};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// What is the same, and what is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Ids of components that go on as they are.
    pub kept: BTreeSet<String>,
    /// Ids of components with other settings, and which.
    pub changed: BTreeMap<String, Vec<String>>,
    /// Ids of new components.
    pub added: BTreeSet<String>,
    /// Ids of components that are no more.
    pub removed: BTreeSet<String>,
    /// Who reads whom is not the same.
    pub is_rewired: bool,
    /// Settings of the agent itself that are others, by key.
    pub agent: BTreeSet<String>,
    /// Why the whole graph has to start anew, where it has.
    pub anew: Option<String>,
}

impl Comparison {
    /// Of a graph with nothing.
    pub(super) fn all_new() -> Comparison {
        Comparison::default()
    }

    pub(super) fn is_kept(&self, id: &str) -> bool {
        self.kept.contains(id)
    }

    pub(super) fn is_changed(&self, id: &str) -> bool {
        self.changed.contains_key(id)
    }

    /// Whether nothing is to be done.
    pub fn is_nothing(&self) -> bool {
        let none = self.changed.is_empty() && self.added.is_empty() && self.removed.is_empty();
        none && !self.is_rewired && self.agent.is_empty() && self.anew.is_none()
    }
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |ids: &BTreeSet<String>| ids.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ");
        let mut said = Vec::new();
        if !self.changed.is_empty() {
            let changed = self.changed.iter().map(|(id, why)| format!("`{id}` ({})", why.join(", ")));
            said.push(format!("changed {}", changed.collect::<Vec<_>>().join(", ")));
        }
        if !self.agent.is_empty() {
            said.push(format!("settings of the agent: {}", list(&self.agent)));
        }
        let parts = [("added", &self.added), ("removed", &self.removed)];
        said.extend(parts.iter().filter(|(_, ids)| !ids.is_empty()).map(|(word, ids)| format!("{word} {}", list(ids))));
        if said.is_empty() && self.is_rewired {
            said.push("other inputs".to_owned());
        }
        said.push(format!("{} kept", self.kept.len()));
        f.write_str(&said.join("; "))
    }
}

/// Fingerprints of a configuration's components: of what they are told, and of what they are told of each other.
pub(super) fn fingerprints(config: &Config) -> HashMap<Arc<str>, Fingerprint> {
    let access = below_access_logs(&config.components);
    let own = own_files(config);
    let of = |c: &Component| {
        let mut print = c.fingerprint.clone();
        let told = match &c.plan {
            AnyPlan::Source(plan) if plan.reads_files() => {
                own.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join("\n")
            }
            AnyPlan::Transform(plan) => {
                let hash = |path| std::fs::read(path).map_or(0, |bytes| xxhash_rust::xxh3::xxh3_128(&bytes));
                plan.reads_once().iter().map(|path| format!("{:x}", hash(path))).collect::<Vec<_>>().join("\n")
            }
            _ => String::new(),
        };
        let reads_times = match &c.plan {
            AnyPlan::Source(plan) => plan.reads_times(),
            AnyPlan::Transform(plan) => plan.reads_times(),
            AnyPlan::Sink(plan) => plan.reads_times(),
        };
        let zone = &config.globals.timezone;
        let zone = zone.iana_name().map_or_else(|| format!("{zone:?}"), str::to_owned);
        let zone = if reads_times { zone } else { String::new() };
        let told = format!("{told}\n{}\n{zone}", access.contains(&c.id.value));
        print.settings ^= xxhash_rust::xxh3::xxh3_128(told.as_bytes());
        (Arc::from(&*c.id.value), print)
    };
    config.components.iter().map(of).collect()
}

fn kind_of(component: &Component) -> ComponentKind {
    component.kind
}

/// What a graph is made of, by id: kind, type and fingerprint.
pub type Parts = HashMap<Arc<str>, (ComponentKind, &'static str, Fingerprint)>;

/// Compares a configuration with what runs, which was made from settings of the agent with the fingerprints `agent`.
pub fn compare(running: &Running, agent: &AgentPrint, config: &Config) -> Comparison {
    let ledger = running.ledger.now();
    let edges = ledger.all_edges.iter().map(|(r, f, o)| (r.to_string(), f.to_string(), o.to_string())).collect();
    compare_with((*running.parts.now()).clone(), edges, (agent, running.memory_limit()), config)
}

/// Compares a configuration with another, whose parts run with the fingerprints `parts`, where it does.
pub fn compare_configs(before: &Config, parts: Option<Parts>, after: &Config) -> Comparison {
    let parts = parts.unwrap_or_else(|| {
        let mut prints = fingerprints(before);
        let part = |c: &Component| {
            let id: Arc<str> = Arc::from(&*c.id.value);
            let print = prints.remove(&id).unwrap_or_default();
            (id, (kind_of(c), c.type_name, print))
        };
        before.components.iter().map(part).collect()
    });
    compare_with(parts, edges_of(before), (&before.agent, before.globals.memory_limit.as_usize()), after)
}

/// Reader, the component it reads, the output.
type Edges = BTreeSet<(String, String, String)>;

fn edges_of(config: &Config) -> Edges {
    let of = |c: &Component| {
        let edge =
            |e: &crate::pipeline::Edge| (c.id.value.clone(), e.from.clone(), e.output.clone().unwrap_or_default());
        c.inputs.iter().map(edge).collect::<Vec<_>>()
    };
    config.components.iter().flat_map(of).collect()
}

fn compare_with(
    mut parts: Parts,
    edges: Edges,
    (agent, memory_limit): (&AgentPrint, usize),
    config: &Config,
) -> Comparison {
    let prints = fingerprints(config);
    let mut comparison = Comparison::default();
    let keys: BTreeSet<&String> = agent.keys().chain(config.agent.keys()).collect();
    comparison.agent = keys.into_iter().filter(|key| agent.get(*key) != config.agent.get(*key)).cloned().collect();
    // Workers have lanes of their own in everything.
    if comparison.agent.contains("threads") {
        comparison.anew = Some("`threads` has changed".to_owned());
    }
    let allotted = super::build::allotted_otherwise(config, memory_limit);
    for component in &config.components {
        let id = &*component.id.value;
        let print = prints.get(id).cloned().unwrap_or_default();
        match parts.remove(id) {
            None => _ = comparison.added.insert(id.to_owned()),
            Some((kind, ..)) if kind != kind_of(component) => {
                comparison.anew = Some(format!("`{id}` is a {} now", component.kind.name()));
            }
            // The one goes, and another comes under its id.
            Some((_, type_name, _)) if type_name != component.type_name => {
                comparison.added.insert(id.to_owned());
                comparison.removed.insert(id.to_owned());
            }
            Some((.., before)) if before.buffer != print.buffer => {
                comparison.anew = Some(format!("the buffer of `{id}` has changed"));
            }
            Some((.., before)) if before == print && allotted.contains(id) => {
                comparison.changed.insert(id.to_owned(), vec!["its part of `memory_limit`".to_owned()]);
            }
            Some((.., before)) if before == print => _ = comparison.kept.insert(id.to_owned()),
            Some((.., before)) => _ = comparison.changed.insert(id.to_owned(), before.differences(&print)),
        }
    }
    comparison.removed.extend(parts.into_keys().map(|id| id.to_string()));
    comparison.is_rewired = edges_of(config) != edges;
    comparison
}

/// The counters of a configuration's components that run, or ran, in this graph.
pub fn counters_of(running: &Running, config: &Config) -> HashMap<String, Arc<Counters>> {
    let of = |c: &Component| Some((c.id.value.clone(), running.counters(&c.id.value, kind_of(c), c.type_name)?));
    config.components.iter().filter_map(of).collect()
}

/// What is built beside a graph that runs.
pub struct Beside {
    /// All components in the order of the graph.
    pub(super) nodes: Vec<Node>,
    /// Those that are new or changed.
    pub(super) built: Blueprint,
    pub(super) comparison: Comparison,
}

impl Beside {
    /// What is the same, and what is not.
    pub fn comparison(&self) -> &Comparison {
        &self.comparison
    }
}

/// Builds what is new or changed. `counters` gives those that go on. Touches nothing that runs.
///
/// Errors: all that could not be built.
pub fn build_beside(
    config: Config,
    comparison: Comparison,
    counters: HashMap<String, Arc<Counters>>,
) -> Result<Beside, Vec<StartError>> {
    let nodes = config
        .components
        .iter()
        .map(|c| Node {
            id: Arc::from(&*c.id.value),
            kind: kind_of(c),
            inputs: super::build::inputs(c),
            dead_letter: match &c.plan {
                AnyPlan::Sink(plan) => plan.common().dead_letter.as_ref().map(|d| Arc::from(&*d.value)),
                _ => None,
            },
        })
        .collect();
    let kept = comparison.kept.clone();
    let reuse = Reuse { kept: &|id| kept.contains(id), counters: &|id| counters.get(id).cloned() };
    let built = assemble_with(config, false, &reuse)?;
    Ok(Beside { nodes, built, comparison })
}
