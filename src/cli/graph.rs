//! `tidegate graph`: who reads whom. Shows ids and types, never settings, so nothing secret.

use super::graph_lines::{Line, Lines};
use super::{ConfigFiles, Exit, print, report_page, say};
use crate::pipeline::{Graph, Loaded, load};
use crate::settings::ProcessEnvironment;
use crate::telemetry::ComponentKind;
use clap::{Args, ValueEnum};
use std::fmt::Write as _;

/// Arguments of `graph`.
#[derive(Args, Debug)]
pub(super) struct GraphArgs {
    #[command(flatten)]
    config: ConfigFiles,
    /// What to write.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Forms of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Trees, for a terminal.
    Text,
    /// For Markdown.
    Mermaid,
    /// For Graphviz.
    Dot,
    /// A picture.
    Svg,
}

/// Prints the graph.
pub(super) fn run(args: &GraphArgs) -> Exit {
    let Loaded { config, graph, report, .. } =
        load(&args.config.args().config, &ProcessEnvironment, crate::registry::built_in());
    if config.is_none() {
        say(&report_page(&report.render_within(super::columns())));
        return Exit::BadConfig;
    }
    let lines = Lines::of(&graph);
    let text = match args.format {
        Format::Text => text(&graph, &lines),
        Format::Mermaid => mermaid(&graph, &lines),
        Format::Dot => dot(&graph, &lines),
        Format::Svg => super::graph_svg::svg(&graph, &lines),
    };
    match print(&report_page(&text)) {
        Ok(()) => Exit::Done,
        Err(_) => Exit::Failed,
    }
}

fn type_name(graph: &Graph, index: usize) -> &'static str {
    graph.nodes[index].type_name.unwrap_or("?")
}

fn text(graph: &Graph, lines: &Lines) -> String {
    let mut out = String::new();
    let mut shown = vec![false; graph.nodes.len()];
    for root in 0..graph.nodes.len() {
        if lines.0.iter().any(|line| line.to == root) {
            continue;
        }
        _ = writeln!(out, "{} ({})", graph.nodes[root].id.value, type_name(graph, root));
        shown[root] = true;
        branches(&mut out, graph, lines, root, "", &mut shown);
    }
    out
}

fn branches(out: &mut String, graph: &Graph, lines: &Lines, from: usize, indent: &str, shown: &mut [bool]) {
    let branches: Vec<&Line> = lines.0.iter().filter(|line| line.from == from).collect();
    for (n, line) in branches.iter().enumerate() {
        let last = n + 1 == branches.len();
        let label = match &line.label {
            Some(label) if line.dead_letter => format!("[{label}] "),
            Some(label) => format!("[.{label}] "),
            None => String::new(),
        };
        let again = shown[line.to] && lines.0.iter().any(|next| next.from == line.to);
        _ = writeln!(
            out,
            "{indent}{} {label}{} ({}){}",
            if last { "└─" } else { "├─" },
            graph.nodes[line.to].id.value,
            type_name(graph, line.to),
            if again { " …" } else { "" },
        );
        if !shown[line.to] {
            shown[line.to] = true;
            let deeper = format!("{indent}{}", if last { "   " } else { "│  " });
            self::branches(out, graph, lines, line.to, &deeper, shown);
        }
    }
}

fn mermaid(graph: &Graph, lines: &Lines) -> String {
    let mut out = String::from("flowchart LR\n");
    for (index, node) in graph.nodes.iter().enumerate() {
        let (open, close) = match node.kind {
            ComponentKind::Source => ("([", "])"),
            ComponentKind::Transform => ("[", "]"),
            ComponentKind::Sink => ("[(", ")]"),
        };
        _ = writeln!(out, "  n{index}{open}\"{}<br/>{}\"{close}", node.id.value, type_name(graph, index));
    }
    for line in &lines.0 {
        let arrow = if line.dead_letter { "-.->" } else { "-->" };
        match &line.label {
            Some(label) => _ = writeln!(out, "  n{} {arrow}|{label}| n{}", line.from, line.to),
            None => _ = writeln!(out, "  n{} {arrow} n{}", line.from, line.to),
        }
    }
    out
}

fn dot(graph: &Graph, lines: &Lines) -> String {
    let mut out = String::from("digraph tidegate {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n");
    for (index, node) in graph.nodes.iter().enumerate() {
        let shape = match node.kind {
            ComponentKind::Source => "oval",
            ComponentKind::Transform => "box",
            ComponentKind::Sink => "cylinder",
        };
        _ = writeln!(
            out,
            "  \"{}\" [shape={shape}, label=\"{}\\n{}\"];",
            node.id.value,
            node.id.value,
            type_name(graph, index)
        );
    }
    for line in &lines.0 {
        let mut attributes = Vec::new();
        if let Some(label) = &line.label {
            attributes.push(format!("label=\"{}\"", label.replace('"', "\\\"")));
        }
        if line.dead_letter {
            attributes.push("style=dashed".into());
        }
        let (from, to) = (&graph.nodes[line.from].id.value, &graph.nodes[line.to].id.value);
        let attributes = if attributes.is_empty() { String::new() } else { format!(" [{}]", attributes.join(", ")) };
        _ = writeln!(out, "  \"{from}\" -> \"{to}\"{attributes};");
    }
    out.push_str("}\n");
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::pipeline::tests_registry;

    #[test]
    fn three_forms_of_one_graph() {
        let text_of = "\
sources:
  app: {type: file, include: [a]}
  web: {type: http, listen: '127.0.0.1:0', bearer: [canary]}
transforms:
  clean: {type: redact, inputs: [app, web]}
  quality: {type: validate, inputs: [clean]}
sinks:
  rejects: {type: out, inputs: [quality.rejected]}
  main: {type: out, inputs: [quality], dead_letter: rejects, password: canary}
  copy: {type: out, inputs: [clean]}
";
        let loaded =
            crate::pipeline::load_texts(&[("t.yaml", text_of)], &std::collections::BTreeMap::new(), tests_registry());
        let graph = loaded.graph;
        let lines = Lines::of(&graph);
        let all = [text(&graph, &lines), mermaid(&graph, &lines), dot(&graph, &lines)].join("\n");
        assert!(!all.contains("canary"));
        insta::assert_snapshot!(all);
    }
}
