//! The lines of the graph: who reads whom, and whose dead letters go where. What every form of `tidegate graph` draws.

use crate::pipeline::Graph;

/// A line between two components.
pub(super) struct Line {
    pub(super) from: usize,
    pub(super) to: usize,
    /// The named output, or that it is a dead letter.
    pub(super) label: Option<String>,
    pub(super) dead_letter: bool,
}

pub(super) struct Lines(pub(super) Vec<Line>);

impl Lines {
    pub(super) fn of(graph: &Graph) -> Self {
        let index = |id: &str| graph.nodes.iter().position(|node| node.id.value == id);
        let mut lines = Vec::new();
        for to in 0..graph.nodes.len() {
            for edge in graph.inputs(to) {
                if let Some(from) = index(&edge.from) {
                    lines.push(Line { from, to, label: edge.output, dead_letter: false });
                }
            }
        }
        for from in 0..graph.nodes.len() {
            if let Some(to) = graph.dead_letter(from).and_then(index) {
                lines.push(Line { from, to, label: Some("dead letter".into()), dead_letter: true });
            }
        }
        Self(lines)
    }
}
