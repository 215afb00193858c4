//! Where the settings of a configuration stand.

use crate::component::Rule;
use crate::settings::node::Node;
use crate::settings::{SourceMap, Span};
use crate::telemetry::ComponentKind;

/// A configuration as it was read.
pub(super) struct Places {
    pub(super) tree: Node,
    pub(super) sources: SourceMap,
}

impl Places {
    /// File and line of a setting of a component, or of the nearest one around it.
    pub(super) fn of_rule(&self, kind: ComponentKind, id: &str, rule: &Rule) -> Option<(&str, usize)> {
        let entry = self.tree.get(kind.section())?.entry(id)?;
        self.of_span(below(&entry.value, &rule.path).unwrap_or(entry.key_span))
    }

    /// File and line of a place.
    pub(super) fn of_span(&self, span: Span) -> Option<(&str, usize)> {
        let file = self.sources.file(span.file)?;
        Some((file.name(), file.position(span.start).0))
    }

    /// `file:line` of a place, or nothing.
    pub(super) fn text(&self, span: Span) -> String {
        self.of_span(span).map_or_else(String::new, |(file, line)| format!("{file}:{line}"))
    }

    /// The folder of the file in which a place is.
    pub(super) fn folder(&self, span: Span) -> std::path::PathBuf {
        let file = self.sources.file(span.file).map(|file| std::path::Path::new(file.name()));
        file.and_then(std::path::Path::parent).map(std::path::Path::to_path_buf).unwrap_or_default()
    }
}

/// The place of the last step of a path that is written.
fn below(node: &Node, path: &[String]) -> Option<Span> {
    let (mut node, mut span) = (node, None);
    for step in path {
        let place =
            step.strip_prefix('[').and_then(|step| step.strip_suffix(']')).and_then(|n| n.parse::<usize>().ok());
        match (place, node.as_seq()) {
            (Some(n), Some(items)) => {
                node = items.get(n)?;
                span = Some(node.span);
            }
            // A list of one may be written without brackets.
            (Some(0), None) => {}
            _ => {
                let Some(entry) = node.entry(step) else { break };
                (node, span) = (&entry.value, Some(entry.key_span));
            }
        }
    }
    span
}
