//! Who reads whom, by the numbers of lanes.

use super::Blueprint;
use super::worker::{OutputReaders, SourceReaders, Target};
use crate::telemetry::ComponentKind;
use std::collections::HashMap;
use std::sync::Arc;

/// A component and what it reads.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) id: Arc<str>,
    pub(super) kind: ComponentKind,
    /// Component id and output (empty for the default one).
    pub(super) inputs: Vec<(Arc<str>, Arc<str>)>,
    pub(super) dead_letter: Option<Arc<str>>,
}

impl Node {
    /// Those of a blueprint, in its order.
    pub(super) fn all(blueprint: &Blueprint) -> Vec<Node> {
        let node = |id: &Arc<str>, kind, inputs: &[(Arc<str>, Arc<str>)]| Node {
            id: id.clone(),
            kind,
            inputs: inputs.to_vec(),
            dead_letter: None,
        };
        let sources = blueprint.sources.iter().map(|s| node(&s.counters.id, ComponentKind::Source, &[]));
        let transforms = blueprint.transforms.iter().map(|t| node(&t.counters.id, ComponentKind::Transform, &t.inputs));
        let sinks = blueprint.sinks.iter().map(|s| Node {
            dead_letter: s.dead_letter.clone(),
            ..node(&s.counters.id, ComponentKind::Sink, &s.inputs)
        });
        sources.chain(transforms).chain(sinks).collect()
    }
}

/// Reader, the component it reads, the output.
pub(super) type Edge = (Arc<str>, Arc<str>, Arc<str>);

/// Who reads which output.
#[derive(Default)]
pub(super) struct Readers {
    by_output: HashMap<(Arc<str>, Arc<str>), Vec<Target>>,
}

/// All edges of these components, each once.
pub(super) fn edges(nodes: &[Node]) -> Vec<Edge> {
    let mut edges = Vec::new();
    for node in nodes {
        for (from, output) in &node.inputs {
            let edge = (node.id.clone(), from.clone(), output.clone());
            if !edges.contains(&edge) {
                edges.push(edge);
            }
        }
    }
    edges
}

/// The sinks that take dead letters, and the sinks whose they are.
pub(super) fn dead_letters(nodes: &[Node]) -> Vec<(Arc<str>, Arc<str>)> {
    nodes.iter().filter_map(|node| Some((node.dead_letter.clone()?, node.id.clone()))).collect()
}

impl Readers {
    /// Of these components; `number` gives the lane of one that reads.
    pub(super) fn new(nodes: &[Node], number: impl Fn(&Node) -> usize) -> Readers {
        let mut readers = Readers::default();
        for node in nodes {
            let target = match node.kind {
                ComponentKind::Source => continue,
                ComponentKind::Transform => Target::Transform(number(node)),
                ComponentKind::Sink => Target::Sink(number(node)),
            };
            for (from, output) in &node.inputs {
                let targets = readers.by_output.entry((from.clone(), output.clone())).or_default();
                if !targets.contains(&target) {
                    targets.push(target);
                }
            }
        }
        readers
    }

    fn of(&self, id: &Arc<str>, output: &str) -> Vec<Target> {
        self.by_output.get(&(id.clone(), Arc::from(output))).cloned().unwrap_or_default()
    }

    /// Readers of a source.
    pub(super) fn of_source(&self, id: &Arc<str>) -> SourceReaders {
        (self.of(id, ""), self.of(id, "rejected"))
    }

    /// Readers of a transform with these outputs.
    pub(super) fn of_transform(&self, id: &Arc<str>, outputs: &[Arc<str>]) -> OutputReaders {
        let named = outputs.iter().map(|o| (o.clone(), self.of(id, o)));
        std::iter::once((Arc::from(""), self.of(id, ""))).chain(named).collect()
    }
}
