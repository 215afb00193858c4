//! The graph that a configuration declares, and what can be wrong with it.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use globset::{Glob, GlobMatcher};

use super::config::{AnyPlan, ApiListen, Edge, Globals};
use crate::decoding::OnDecodeError;
use crate::settings::Reader;
use crate::settings::Span;
use crate::settings::nearest;
use crate::settings::node::Entry;
use crate::settings::{Node, Spanned};
use crate::telemetry::ComponentKind;

/// A component as the graph sees it.
#[derive(Debug, Clone)]
pub struct GraphNode {
    /// What it is.
    pub kind: ComponentKind,
    /// Its id, and where that stands.
    pub id: Spanned<String>,
    /// The word behind `type:`, where there is such a type.
    pub type_name: Option<&'static str>,
    /// What it reads, as written.
    written: Vec<Spanned<String>>,
    /// Where `inputs` stands.
    inputs_span: Option<Span>,
    dead_letter: Option<Spanned<String>>,
    /// The buffer's settings, as written.
    buffer: Option<Node>,
    /// What only its settings tell; `None` where they have mistakes.
    facts: Option<Facts>,
    /// Resolved inputs: node, output, and the place that asked for it.
    edges: Vec<(usize, Option<String>, Span)>,
}

#[derive(Debug, Clone, Default)]
struct Facts {
    outputs: Vec<String>,
    default_output: bool,
    redacts: bool,
    exposes: bool,
    listens: Vec<Spanned<String>>,
    /// What the buffer's settings say together and cannot mean: setting, message, help.
    buffer_mistake: Option<(&'static str, String, &'static str)>,
}

impl GraphNode {
    /// What the tree alone tells, so that a component with a mistake in its settings is still part of the graph.
    pub(crate) fn new(kind: ComponentKind, entry: &Entry) -> Self {
        let spanned = |node: &Node| node.as_str().map(|text| Spanned::new(text.to_owned(), node.span));
        let inputs = entry.value.entry("inputs").filter(|_| kind != ComponentKind::Source);
        let written = inputs.and_then(|inputs| inputs.value.as_seq()).unwrap_or_default();
        Self {
            kind,
            id: Spanned::new(entry.key.clone(), entry.key_span),
            type_name: None,
            written: written.iter().filter_map(spanned).collect(),
            inputs_span: inputs.map(|inputs| inputs.key_span),
            dead_letter: entry.value.get("dead_letter").filter(|_| kind == ComponentKind::Sink).and_then(spanned),
            buffer: entry.value.get("buffer").filter(|_| kind == ComponentKind::Sink).cloned(),
            facts: None,
            edges: Vec::new(),
        }
    }

    /// Takes over what the settings tell.
    pub(crate) fn learn(&mut self, plan: &AnyPlan) {
        self.facts = Some(match plan {
            AnyPlan::Source(plan) => Facts {
                default_output: true,
                outputs: match plan.common().on_decode_error {
                    OnDecodeError::Reject => vec!["rejected".to_owned()],
                    OnDecodeError::Keep | OnDecodeError::Drop => Vec::new(),
                },
                listens: plan.listens(),
                ..Facts::default()
            },
            AnyPlan::Transform(plan) => Facts {
                outputs: plan.outputs(),
                default_output: plan.has_default_output(),
                redacts: plan.redacts(),
                ..Facts::default()
            },
            AnyPlan::Sink(plan) => Facts {
                exposes: plan.exposes(),
                listens: plan.listens(),
                buffer_mistake: plan.common().buffer.mistake(),
                ..Facts::default()
            },
        });
    }

    fn name(&self) -> String {
        format!("{} `{}`", self.kind.name(), self.id.value)
    }

    fn has_default_output(&self) -> bool {
        self.kind != ComponentKind::Sink && self.facts.as_ref().is_none_or(|facts| facts.default_output)
    }
}

/// The components and who reads whom.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// The components: sources, transforms, sinks, each as written.
    pub nodes: Vec<GraphNode>,
}

impl Graph {
    /// The component with that id.
    pub fn find(&self, id: &str) -> Option<&GraphNode> {
        self.index(id).map(|index| &self.nodes[index])
    }

    fn index(&self, id: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.id.value == id)
    }

    /// What node number `index` reads.
    pub fn inputs(&self, index: usize) -> Vec<Edge> {
        let edges = self.nodes.get(index).map(|node| node.edges.as_slice()).unwrap_or_default();
        edges
            .iter()
            .map(|(from, output, _)| Edge { from: self.nodes[*from].id.value.clone(), output: output.clone() })
            .collect()
    }

    /// The sink that takes what node number `index` cannot deliver.
    pub fn dead_letter(&self, index: usize) -> Option<&str> {
        self.nodes.get(index)?.dead_letter.as_ref().map(|to| to.value.as_str())
    }

    /// Named outputs of node number `index`.
    pub fn outputs(&self, index: usize) -> &[String] {
        self.nodes
            .get(index)
            .and_then(|node| node.facts.as_ref())
            .map(|facts| facts.outputs.as_slice())
            .unwrap_or_default()
    }

    /// Checks everything and resolves the edges.
    pub(crate) fn check(&mut self, cx: &mut Reader<'_>, globals: Option<&Globals>) {
        self.check_ids(cx);
        self.resolve(cx);
        self.check_dead_letters(cx);
        self.check_buffers(cx);
        self.check_presence(cx);
        self.check_cycles(cx);
        self.check_ports(cx, globals);
        self.warn_unread(cx);
        self.warn_unredacted(cx);
    }

    fn check_ids(&self, cx: &mut Reader<'_>) {
        let mut seen: HashMap<&str, &GraphNode> = HashMap::new();
        for node in &self.nodes {
            match seen.get(node.id.value.as_str()) {
                Some(first) => {
                    let message = format!("{} has the id of {}", node.name(), first.name());
                    cx.error(node.id.span, message)
                        .note(first.id.span, "the id is taken here")
                        .help("ids of sources, transforms and sinks are one namespace");
                }
                None => _ = seen.insert(&node.id.value, node),
            }
        }
    }

    fn resolve(&mut self, cx: &mut Reader<'_>) {
        for index in 0..self.nodes.len() {
            let mut edges: Vec<(usize, Option<String>, Span)> = Vec::new();
            let written = self.nodes[index].written.clone();
            for (position, input) in written.iter().enumerate() {
                if let Some(first) = written[..position].iter().find(|first| first.value == input.value) {
                    let message = format!("{} reads `{}` twice", self.nodes[index].name(), input.value);
                    cx.warn(input.span, message).note(first.span, "first given here");
                }
                for (from, output) in self.resolve_one(index, input, cx) {
                    if !edges.iter().any(|(known, name, _)| *known == from && *name == output) {
                        edges.push((from, output, input.span));
                    }
                }
            }
            self.nodes[index].edges = edges;
        }
    }

    fn resolve_one(&self, reader: usize, input: &Spanned<String>, cx: &mut Reader<'_>) -> Vec<(usize, Option<String>)> {
        let text = input.value.as_str();
        if text.contains(['*', '?', '[', '{']) {
            return self.resolve_glob(reader, input, cx);
        }
        let (id, output) = match text.split_once('.') {
            Some((id, output)) => (id, Some(output)),
            None => (text, None),
        };
        let Some(from) = self.index(id) else {
            if output.is_some() && self.index(text).is_some() {
                // That an id has a dot was said.
                return Vec::new();
            }
            let message = format!("{} reads `{text}`, but there is no component `{id}`", self.nodes[reader].name());
            let names = self.readable_names(reader);
            cx.error(input.span, message).suggest(text, names.iter().map(String::as_str));
            return Vec::new();
        };
        let node = &self.nodes[from];
        if node.kind == ComponentKind::Sink {
            let message = format!("{} reads `{id}`, which is a sink", self.nodes[reader].name());
            cx.error(input.span, message).help("what a sink cannot deliver goes to its `dead_letter`");
            return Vec::new();
        }
        let outputs = node.facts.as_ref().map(|facts| facts.outputs.as_slice());
        match (output, outputs) {
            (Some(output), Some(outputs)) if !outputs.iter().any(|name| name == output) => {
                let message = format!("{} has no output `{output}`", node.name());
                let diagnostic = cx.error(input.span, message);
                match nearest(output, outputs.iter().map(String::as_str)) {
                    Some(near) => _ = diagnostic.help(format!("did you mean `{id}.{near}`?")),
                    None if outputs.is_empty() => {
                        diagnostic.help(format!("it has no named outputs; write `{id}` for what it passes on"));
                    }
                    None => {
                        let names: Vec<String> = outputs.iter().map(|name| format!("`{id}.{name}`")).collect();
                        diagnostic.help(format!("its named outputs: {}", names.join(", ")));
                    }
                }
                Vec::new()
            }
            (None, Some(outputs)) if !node.has_default_output() => {
                let names: Vec<String> = outputs.iter().map(|name| format!("`{id}.{name}`")).collect();
                let message = format!("{} has named outputs only", node.name());
                cx.error(input.span, message).help(format!("read one of {}", names.join(", ")));
                Vec::new()
            }
            _ => vec![(from, output.map(str::to_owned))],
        }
    }

    fn resolve_glob(
        &self,
        reader: usize,
        input: &Spanned<String>,
        cx: &mut Reader<'_>,
    ) -> Vec<(usize, Option<String>)> {
        let matcher: GlobMatcher = match Glob::new(&input.value) {
            Ok(glob) => glob.compile_matcher(),
            Err(error) => {
                cx.error(input.span, format!("`{}` is not a glob: {}", input.value, error.kind()));
                return Vec::new();
            }
        };
        let matches = |node: &GraphNode| node.has_default_output() && matcher.is_match(&node.id.value);
        let found: Vec<_> = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(index, node)| *index != reader && matches(node))
            .map(|(index, _)| (index, None))
            .collect();
        if found.is_empty() {
            let message = format!("{} reads `{}`, which matches no component", self.nodes[reader].name(), input.value);
            cx.error(input.span, message)
                .help("a glob is over ids: never named outputs, sinks, or the component itself");
        }
        found
    }

    /// What node number `reader` could have meant.
    fn readable_names(&self, reader: usize) -> Vec<String> {
        let mut names = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            if index == reader || node.kind == ComponentKind::Sink {
                continue;
            }
            if node.has_default_output() {
                names.push(node.id.value.clone());
            }
            names.extend(self.outputs(index).iter().map(|output| format!("{}.{output}", node.id.value)));
        }
        names
    }

    fn check_dead_letters(&self, cx: &mut Reader<'_>) {
        for node in &self.nodes {
            let Some(to) = &node.dead_letter else { continue };
            let sinks =
                self.nodes.iter().filter(|sink| sink.kind == ComponentKind::Sink && sink.id.value != node.id.value);
            match self.find(&to.value) {
                Some(found) if found.kind == ComponentKind::Sink => {}
                Some(found) => {
                    let message = format!("the dead letter of {} is {}, not a sink", node.name(), found.name());
                    cx.error(to.span, message);
                }
                None => {
                    let message = format!("the dead letter of {} is `{}`, which is not a sink", node.name(), to.value);
                    let diagnostic = cx.error(to.span, message);
                    diagnostic.suggest(&to.value, sinks.map(|sink| sink.id.value.as_str()));
                    if diagnostic.helps.is_empty() {
                        let id = &to.value;
                        diagnostic.help(format!("put one under `sinks`: {id}: {{type: file, path: ./{id}.ndjson}}"));
                    }
                }
            }
        }
    }

    /// What the settings of a sink's buffer say together.
    fn check_buffers(&self, cx: &mut Reader<'_>) {
        for node in &self.nodes {
            let Some((setting, message, help)) = node.facts.as_ref().and_then(|f| f.buffer_mistake.as_ref()) else {
                continue;
            };
            let buffer = node.buffer.as_ref();
            let place = buffer.and_then(|b| b.get(setting).or_else(|| b.get("overflow")?.get(setting)));
            let span = place.or(buffer).map_or(node.id.span, |place| place.span);
            cx.error(span, message.clone()).help(*help);
        }
    }

    /// Components without inputs, and graphs without ends.
    fn check_presence(&self, cx: &mut Reader<'_>) {
        for node in &self.nodes {
            let wanted = self.nodes.iter().any(|sink| {
                sink.id.value != node.id.value && sink.dead_letter.as_ref().is_some_and(|to| to.value == node.id.value)
            });
            let read = node.facts.is_some() && node.written.is_empty();
            if read && node.kind == ComponentKind::Sink && !wanted {
                let span = node.inputs_span.unwrap_or(node.id.span);
                cx.error(span, format!("{} reads nothing and is nobody's dead letter", node.name()))
                    .help("name what it reads: inputs: [id]");
            } else if read && node.kind == ComponentKind::Transform {
                let span = node.inputs_span.unwrap_or(node.id.span);
                cx.error(span, format!("{} reads nothing", node.name())).help("name what it reads: inputs: [id]");
            }
        }
        for (kind, section) in [(ComponentKind::Source, "sources"), (ComponentKind::Sink, "sinks")] {
            if !self.nodes.iter().any(|node| node.kind == kind) && !cx.has_errors() {
                let shown = match kind {
                    ComponentKind::Sink => "sinks: {out: {type: console, inputs: [app]}}",
                    _ => "sources: {app: {type: file, include: [\"/var/log/app/*.log\"]}}",
                };
                cx.error_at("", format!("the configuration has no {section}")).help(format!("for example `{shown}`"));
            }
        }
    }

    /// Indices that node number `index` gives events to, besides those that read it.
    fn dead_letter_index(&self, index: usize) -> Option<usize> {
        let to = self.nodes[index].dead_letter.as_ref().and_then(|to| self.index(&to.value))?;
        (self.nodes[to].kind == ComponentKind::Sink).then_some(to)
    }

    /// What each node depends on: its inputs, and for a dead letter the sinks that use it.
    fn upstream(&self) -> Vec<Vec<(usize, Span)>> {
        let mut upstream: Vec<Vec<(usize, Span)>> =
            self.nodes.iter().map(|node| node.edges.iter().map(|(from, _, span)| (*from, *span)).collect()).collect();
        for (index, node) in self.nodes.iter().enumerate() {
            if let (Some(to), Some(letter)) = (self.dead_letter_index(index), &node.dead_letter) {
                upstream[to].push((index, letter.span));
            }
        }
        upstream
    }

    fn check_cycles(&self, cx: &mut Reader<'_>) {
        let upstream = self.upstream();
        let mut state = vec![0_u8; self.nodes.len()];
        for start in 0..self.nodes.len() {
            if state[start] != 0 {
                continue;
            }
            // Depth first without recursion: (node, next edge to look at).
            let mut path: Vec<(usize, usize)> = vec![(start, 0)];
            state[start] = 1;
            while let Some((node, next)) = path.last_mut() {
                let Some(&(from, span)) = upstream[*node].get(*next) else {
                    state[*node] = 2;
                    path.pop();
                    continue;
                };
                *next += 1;
                match state[from] {
                    0 => {
                        state[from] = 1;
                        path.push((from, 0));
                    }
                    1 => self.report_cycle(&path, from, span, cx),
                    _ => {}
                }
            }
        }
    }

    fn report_cycle(&self, path: &[(usize, usize)], back_to: usize, span: Span, cx: &mut Reader<'_>) {
        let start = path.iter().position(|(node, _)| *node == back_to).unwrap_or(0);
        // The path runs against the flow.
        let mut ids: Vec<&str> = path[start..].iter().map(|(node, _)| self.nodes[*node].id.value.as_str()).collect();
        ids.reverse();
        // Begin with the component that is written first, whatever the search began with.
        let first = ids.iter().enumerate().min_by_key(|(_, id)| self.find(id).map(|node| node.id.span));
        let first = first.map_or(0, |(n, _)| n);
        ids.rotate_left(first);
        let first = ids.first().copied().unwrap_or_default();
        let words: Vec<String> = ids.iter().chain([&first]).map(|id| format!("`{id}`")).collect();
        cx.error(span, format!("a cycle: {}", words.join(" → ")))
            .help("a component cannot read what it has put out, dead letters included");
    }

    fn check_ports(&self, cx: &mut Reader<'_>, globals: Option<&Globals>) {
        let mut taken: Vec<(Address, String, Span)> = Vec::new();
        if let Some(api) = globals.and_then(|globals| globals.api.as_ref())
            && let ApiListen::Tcp(address) = api.listen.value
        {
            taken.push((Address::Tcp(address), "the API".into(), api.listen.span));
        }
        for node in &self.nodes {
            for listen in node.facts.iter().flat_map(|facts| &facts.listens) {
                let Some(address) = Address::parse(&listen.value) else { continue };
                if let Some((_, first, span)) = taken.iter().find(|(other, ..)| other.clashes(&address)) {
                    let message = format!("{} listens on `{}`, as {first} does", node.name(), listen.value);
                    cx.error(listen.span, message).note(*span, "taken here");
                }
                taken.push((address, node.name(), listen.span));
            }
        }
    }

    fn is_read(&self, index: usize, output: Option<&str>) -> bool {
        self.nodes
            .iter()
            .any(|node| node.edges.iter().any(|(from, name, _)| *from == index && name.as_deref() == output))
    }

    fn warn_unread(&self, cx: &mut Reader<'_>) {
        // A reader whose inputs could not be resolved may well read what seems unread.
        let complete =
            self.nodes.iter().all(|node| node.facts.is_some() && node.written.is_empty() == node.edges.is_empty());
        // Where there is nowhere to go that has been said.
        if !complete || !self.nodes.iter().any(|node| node.kind == ComponentKind::Sink) {
            return;
        }
        for (index, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.kind != ComponentKind::Sink) {
            let id = &node.id.value;
            if node.has_default_output() && !self.is_read(index, None) {
                cx.warn(node.id.span, format!("nothing reads {}", node.name()))
                    .help(format!("add `{id}` to the `inputs` of a sink or transform, or take it out"));
            }
            for output in self.outputs(index).iter().filter(|output| !self.is_read(index, Some(output))) {
                let fate = if output == "rejected" { "what it rejects" } else { "what goes there" };
                cx.warn(node.id.span, format!("nothing reads `{id}.{output}`: {fate} is dropped and counted"))
                    .help(format!("add `{id}.{output}` to the `inputs` of a sink"));
            }
        }
    }

    /// Sinks that get events of a source both around and, elsewhere, through a `redact`.
    fn warn_unredacted(&self, cx: &mut Reader<'_>) {
        let redacts = |index: usize| self.nodes[index].facts.as_ref().is_some_and(|facts| facts.redacts);
        if !(0..self.nodes.len()).any(redacts) {
            return;
        }
        let mut downstream: Vec<Vec<(usize, bool)>> = vec![Vec::new(); self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            for (from, output, _) in &node.edges {
                // What a redact puts out by name (rejects) has not been redacted.
                downstream[*from].push((index, redacts(*from) && output.is_none()));
            }
            if let Some(to) = self.dead_letter_index(index) {
                downstream[index].push((to, false));
            }
        }
        let mut warned = HashSet::new();
        for source in (0..self.nodes.len()).filter(|index| self.nodes[*index].kind == ComponentKind::Source) {
            let mut came_from: HashMap<usize, usize> = HashMap::from([(source, source)]);
            let mut queue = vec![source];
            let mut redact = None;
            while let Some(index) = queue.pop() {
                if redacts(index) {
                    redact = redact.or(Some(index));
                }
                for &(to, clean) in &downstream[index] {
                    if !clean && !came_from.contains_key(&to) {
                        came_from.insert(to, index);
                        queue.push(to);
                    }
                }
            }
            let Some(redact) = redact else { continue };
            let mut sinks: Vec<usize> = came_from.keys().copied().collect();
            sinks.sort_unstable();
            for sink in sinks {
                let exposes = self.nodes[sink].facts.as_ref().is_some_and(|facts| facts.exposes);
                if self.nodes[sink].kind != ComponentKind::Sink || !exposes || !warned.insert(sink) {
                    continue;
                }
                let mut path = vec![sink];
                while let Some(&last) = path.last().filter(|last| **last != source) {
                    path.push(came_from[&last]);
                }
                let words: Vec<String> = path.iter().rev().map(|n| format!("`{}`", self.nodes[*n].id.value)).collect();
                let message = format!(
                    "{} gets events that did not pass redact `{}`: {}",
                    self.nodes[sink].name(),
                    self.nodes[redact].id.value,
                    words.join(" → ")
                );
                let span = self.nodes[sink].edges.first().map_or(self.nodes[sink].id.span, |(.., span)| *span);
                cx.warn(span, message);
            }
        }
    }

    /// Checks a place that a test names: an id or `id.output`.
    pub(crate) fn check_place(&self, at: &Spanned<String>, cx: &mut Reader<'_>) {
        let (id, output) = match at.value.split_once('.') {
            Some((id, output)) => (id, Some(output)),
            None => (at.value.as_str(), None),
        };
        let Some(index) = self.index(id) else {
            let mut names = self.readable_names(usize::MAX);
            names.extend(self.nodes.iter().filter(|n| n.kind == ComponentKind::Sink).map(|n| n.id.value.clone()));
            cx.error(at.span, format!("there is no component `{id}`"))
                .suggest(&at.value, names.iter().map(String::as_str));
            return;
        };
        let known = self.nodes[index].facts.is_some();
        if let Some(output) = output.filter(|output| known && !self.outputs(index).iter().any(|name| name == output)) {
            let names: Vec<String> = self.outputs(index).iter().map(|name| format!("{id}.{name}")).collect();
            cx.error(at.span, format!("{} has no output `{output}`", self.nodes[index].name()))
                .suggest(&at.value, names.iter().map(String::as_str));
        }
    }

    /// Indices of the nodes, each behind those it reads and behind the sinks whose dead letter it is. Nodes on a cycle come last.
    pub fn order(&self) -> Vec<usize> {
        let upstream = self.upstream();
        let mut done = vec![false; self.nodes.len()];
        let mut order = Vec::with_capacity(self.nodes.len());
        loop {
            let before = order.len();
            for index in 0..self.nodes.len() {
                if !done[index] && upstream[index].iter().all(|(from, _)| done[*from]) {
                    done[index] = true;
                    order.push(index);
                }
            }
            if order.len() == before {
                break;
            }
        }
        order.extend((0..self.nodes.len()).filter(|index| !done[*index]));
        order
    }
}

/// Something that only one component can listen on.
#[derive(Debug, Clone, PartialEq)]
enum Address {
    Tcp(SocketAddr),
    Udp(SocketAddr),
    Unix(String),
}

impl Address {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
        let socket = || rest.replace("localhost:", "127.0.0.1:").parse().ok();
        match scheme {
            "udp" => socket().map(Self::Udp),
            "unix" | "unixgram" => Some(Self::Unix(rest.to_owned())),
            _ => socket().map(Self::Tcp),
        }
    }

    fn clashes(&self, other: &Self) -> bool {
        let same = |a: &SocketAddr, b: &SocketAddr| {
            a.port() == b.port()
                && a.port() != 0
                && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
        };
        match (self, other) {
            (Self::Tcp(a), Self::Tcp(b)) | (Self::Udp(a), Self::Udp(b)) => same(a, b),
            (Self::Unix(a), Self::Unix(b)) => a == b,
            _ => false,
        }
    }
}
