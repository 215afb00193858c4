//! The graph as a picture: SVG with no script and no font of its own, readable on light and dark pages.
//!
//! Layers from left to right: whoever reads is to the right of whom it reads. In a layer components are ordered by where those stand that
//! they read, which is looked at twice. A line over several layers has a place of its own in each of them, so that it runs beside
//! components and not behind them.

use super::graph_lines::{Line, Lines};
use crate::pipeline::Graph;
use crate::telemetry::ComponentKind;
use std::fmt::Write as _;

/// A component.
const BOX: (f64, f64) = (132.0, 44.0);
/// From the left side of a layer to that of the next.
const STEP: f64 = 196.0;
/// From the top of a component to that of the next; a line alone needs less.
const ROW: f64 = 60.0;
const LANE: f64 = 26.0;
const MARGIN: f64 = 12.0;

const STYLE: &str = "\
text{font:13px system-ui,-apple-system,Segoe UI,sans-serif;text-anchor:middle;fill:#1f2933}\
.t{font-size:11px;fill:#52606d}.l{font-size:11px;fill:#52606d;paint-order:stroke;stroke:#fff;stroke-width:4px}\
rect{stroke-width:1.5}.source{fill:#e3f9e5;stroke:#3f9142}.transform{fill:#e6f6ff;stroke:#2b6cb0}.sink{fill:#fff3e0;stroke:#b7791f}\
path{fill:none;stroke:#7b8794;stroke-width:1.5}marker path{fill:#7b8794;stroke:none}.dead{stroke-dasharray:5 4}\
@media(prefers-color-scheme:dark){text{fill:#e4e7eb}.t,.l{fill:#9aa5b1}.l{stroke:#0d1117}\
.source{fill:#123d1b}.transform{fill:#12304d}.sink{fill:#4a3410}}";

/// What stands at one place of a layer: a component, or a line that passes.
#[derive(Clone, Copy, PartialEq)]
enum Spot {
    Component(usize),
    /// The line's number.
    Passing(usize),
}

struct Layout {
    /// The layer of each component.
    layer: Vec<usize>,
    /// From top to bottom.
    layers: Vec<Vec<Spot>>,
}

impl Layout {
    fn of(components: usize, lines: &Lines) -> Layout {
        // The longest way here; a graph that was checked has no cycle.
        let mut layer = vec![0; components];
        for _ in 0..components {
            for line in &lines.0 {
                layer[line.to] = layer[line.to].max((layer[line.from] + 1).min(components));
            }
        }
        let last = layer.iter().copied().max().unwrap_or(0);
        let mut layers = vec![Vec::new(); last + 1];
        for (component, &at) in layer.iter().enumerate() {
            layers[at].push(Spot::Component(component));
        }
        for (number, line) in lines.0.iter().enumerate() {
            for at in &mut layers[layer[line.from] + 1..layer[line.to]] {
                at.push(Spot::Passing(number));
            }
        }
        let mut layout = Layout { layer, layers };
        for _ in 0..2 {
            layout.order(lines);
        }
        layout
    }

    /// Orders each layer by where that stands which leads into it.
    fn order(&mut self, lines: &Lines) {
        for at in 1..self.layers.len() {
            let before = self.layers[at - 1].clone();
            let place = |spot: Spot| before.iter().position(|s| *s == spot).unwrap_or(0) as f64;
            let from = |line: usize| match self.layer[lines.0[line].from] + 1 == at {
                true => place(Spot::Component(lines.0[line].from)),
                false => place(Spot::Passing(line)),
            };
            let mean = |spot: &Spot| match *spot {
                Spot::Passing(line) => from(line),
                Spot::Component(component) => {
                    let leads = (0..lines.0.len()).filter(|line| lines.0[*line].to == component);
                    let places: Vec<f64> = leads.map(from).collect();
                    places.iter().sum::<f64>() / places.len().max(1) as f64
                }
            };
            let mut ordered: Vec<(f64, Spot)> = self.layers[at].iter().map(|spot| (mean(spot), *spot)).collect();
            ordered.sort_by(|a, b| a.0.total_cmp(&b.0));
            self.layers[at] = ordered.into_iter().map(|(_, spot)| spot).collect();
        }
    }

    /// Middles of all that stands in a layer, and how high the layer is.
    fn middles(layer: &[Spot]) -> (Vec<f64>, f64) {
        let mut top = 0.0;
        let middles = layer.iter().map(|spot| {
            let height = if matches!(spot, Spot::Component(_)) { ROW } else { LANE };
            top += height;
            top - height / 2.0
        });
        (middles.collect(), top)
    }
}

/// Draws the graph.
pub(super) fn svg(graph: &Graph, lines: &Lines) -> String {
    let layout = Layout::of(graph.nodes.len(), lines);
    let placed: Vec<(Vec<f64>, f64)> = layout.layers.iter().map(|layer| Layout::middles(layer)).collect();
    let height = placed.iter().map(|(_, height)| *height).fold(0.0, f64::max) + 2.0 * MARGIN;
    let width = STEP * layout.layers.len().saturating_sub(1) as f64 + BOX.0 + 2.0 * MARGIN;
    // The middle of the left side of what stands there.
    let place = |at: usize, spot: Spot| -> (f64, f64) {
        let row = layout.layers[at].iter().position(|s| *s == spot).unwrap_or(0);
        let (middles, own) = &placed[at];
        (MARGIN + STEP * at as f64, (height - own) / 2.0 + middles.get(row).copied().unwrap_or(0.0))
    };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" \
         role=\"img\">\n<title>{}</title>\n<style>{STYLE}</style>\n<defs><marker id=\"a\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" \
         markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\"/></marker></defs>\n",
        title(graph)
    );
    for (number, line) in lines.0.iter().enumerate() {
        draw(&mut out, (graph, &layout), (number, line), &place);
    }
    for (component, node) in graph.nodes.iter().enumerate() {
        let (x, y) = place(layout.layer[component], Spot::Component(component));
        let (class, round) = match node.kind {
            ComponentKind::Source => ("source", BOX.1 / 2.0),
            ComponentKind::Transform => ("transform", 3.0),
            ComponentKind::Sink => ("sink", 12.0),
        };
        let (middle, top) = (x + BOX.0 / 2.0, y - BOX.1 / 2.0);
        _ = writeln!(
            out,
            "<rect class=\"{class}\" x=\"{x:.0}\" y=\"{top:.0}\" width=\"{:.0}\" height=\"{:.0}\" rx=\"{round:.0}\"/>\
             <text x=\"{middle:.0}\" y=\"{:.0}\">{}</text><text class=\"t\" x=\"{middle:.0}\" y=\"{:.0}\">{}</text>",
            BOX.0,
            BOX.1,
            y - 3.0,
            escaped(&shortened(&node.id.value)),
            y + 13.0,
            node.type_name.unwrap_or("?"),
        );
    }
    out.push_str("</svg>\n");
    out
}

/// One line, past the places that it has in the layers between, with its label before its end.
fn draw(
    out: &mut String,
    (graph, layout): (&Graph, &Layout),
    (number, line): (usize, &Line),
    place: &impl Fn(usize, Spot) -> (f64, f64),
) {
    let (from, to) = (layout.layer[line.from], layout.layer[line.to]);
    let (x, y) = place(from, Spot::Component(line.from));
    let mut at = (x + BOX.0, y);
    let mut path = format!("M{:.0} {:.0}", at.0, at.1);
    let mut curve = |at: (f64, f64), next: (f64, f64)| {
        let half = (next.0 - at.0) / 2.0;
        _ = write!(
            path,
            "C{:.0} {:.0} {:.0} {:.0} {:.0} {:.0}",
            at.0 + half,
            at.1,
            next.0 - half,
            next.1,
            next.0,
            next.1
        );
    };
    for between in from + 1..to {
        let (left, y) = place(between, Spot::Passing(number));
        curve(at, (left, y));
        curve((left, y), (left + BOX.0, y));
        at = (left + BOX.0, y);
    }
    let end = place(to, Spot::Component(line.to));
    curve(at, end);
    let class = if line.dead_letter { " class=\"dead\"" } else { "" };
    let title = format!("{} to {}", graph.nodes[line.from].id.value, graph.nodes[line.to].id.value);
    _ = writeln!(out, "<path{class} d=\"{path}\" marker-end=\"url(#a)\"><title>{}</title></path>", escaped(&title));
    if let Some(label) = &line.label {
        let (x, y) = (at.0 + (end.0 - at.0) / 2.0, at.1 + (end.1 - at.1) / 2.0);
        _ = writeln!(out, "<text class=\"l\" x=\"{x:.0}\" y=\"{y:.0}\">{}</text>", escaped(label));
    }
}

/// What the picture shows, for those who do not see it.
fn title(graph: &Graph) -> String {
    let names = |kind: ComponentKind| {
        let ids: Vec<&str> = graph.nodes.iter().filter(|n| n.kind == kind).map(|n| n.id.value.as_str()).collect();
        ids.join(", ")
    };
    escaped(&format!(
        "sources {}; transforms {}; sinks {}",
        names(ComponentKind::Source),
        names(ComponentKind::Transform),
        names(ComponentKind::Sink)
    ))
}

/// As much of an id as a component has room for.
fn shortened(id: &str) -> String {
    const ROOM: usize = 17;
    match id.chars().count() > ROOM {
        true => format!("{}…", id.chars().take(ROOM - 1).collect::<String>()),
        false => id.to_owned(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn loaded(text: &str) -> Graph {
        crate::pipeline::load_texts(
            &[("t.yaml", text)],
            &std::collections::BTreeMap::new(),
            crate::registry::built_in(),
        )
        .graph
    }

    #[test]
    fn components_of_a_layer_have_places_of_their_own_and_lines_pass_beside_them() {
        let graph = loaded(
            "sources: {a: {type: demo}, b: {type: demo}}\n\
             transforms:\n  t: {type: filter, inputs: [a], when: 'x > 1'}\n  u: {type: validate, inputs: [t, b]}\n\
             sinks:\n  o: {type: file, inputs: [a, u], path: o, dead_letter: r}\n  r: {type: file, inputs: [u.rejected], path: r}\n",
        );
        let lines = Lines::of(&graph);
        let layout = Layout::of(graph.nodes.len(), &lines);
        // a and b; t; u; o; and r behind o, whose letters it takes.
        assert_eq!(layout.layer, [0, 0, 1, 2, 3, 4]);
        let passing = |layer: usize| layout.layers[layer].iter().filter(|s| matches!(s, Spot::Passing(_))).count();
        // From a to o beside t and u, from b to u beside t, from u to r beside o.
        assert_eq!([0, 1, 2, 3, 4].map(passing), [0, 2, 1, 1, 0]);
        let text = svg(&graph, &lines);
        assert_eq!(text.matches("<rect").count(), 6);
        assert_eq!(text.matches("marker-end").count(), lines.0.len());
        assert!(text.contains(">rejected</text>") && text.contains("class=\"dead\""), "{text}");
        let mut tops: Vec<&str> =
            text.split("<rect").skip(1).map(|rect| rect.split(" width").next().unwrap()).collect();
        tops.sort_unstable();
        tops.dedup();
        assert_eq!(tops.len(), 6, "two components on one place");
    }

    /// `tidegate graph --format svg pipelines/quickstart.yaml > docs/figures/quickstart.svg` makes it anew.
    #[test]
    fn the_picture_in_the_readme_is_that_of_the_quickstart() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let graph = loaded(&std::fs::read_to_string(root.join("pipelines/quickstart.yaml")).unwrap());
        let picture = std::fs::read_to_string(root.join("docs/figures/quickstart.svg")).unwrap();
        assert_eq!(picture, svg(&graph, &Lines::of(&graph)));
    }
}
