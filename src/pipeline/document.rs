//! The whole configuration: files merged, settings of the agent, components by kind, checked graph.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Fingerprint;
use super::cases::TestCase;
use super::config::{AgentPrint, AnyPlan, Component, Config, Globals};
use super::graph::{Graph, GraphNode};
use crate::component::plan::{ComponentType, SinkType, SourceType, TransformType};
use crate::openobserve::Servers;
use crate::settings::interpolate::{Environment, interpolate};
use crate::settings::node::{Entry, Node, NodeKind, Style};
use crate::settings::{Diagnostic, Severity};
use crate::settings::{FieldDoc, Setting, Settings};
use crate::settings::{Keys, Reader};
use crate::settings::{Properties, SchemaBuilder};
use crate::settings::{Report, Span, Spanned, yaml};
use crate::telemetry::ComponentKind;

/// The types of components there are.
#[derive(Clone, Copy)]
pub struct Registry<'r> {
    /// Types of sources.
    pub sources: &'r [SourceType],
    /// Types of transforms.
    pub transforms: &'r [TransformType],
    /// Types of sinks.
    pub sinks: &'r [SinkType],
}

impl Registry<'_> {
    /// Name and kind of every type.
    pub fn names(&self) -> Vec<(ComponentKind, &'static str)> {
        let sources = self.sources.iter().map(|t| (ComponentKind::Source, t.name));
        let transforms = self.transforms.iter().map(|t| (ComponentKind::Transform, t.name));
        sources.chain(transforms).chain(self.sinks.iter().map(|t| (ComponentKind::Sink, t.name))).collect()
    }
}

/// What reading a configuration gave.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration; `None` where something is wrong.
    pub config: Option<Config>,
    /// Settings of the agent itself, where these are without mistakes, whatever the rest is.
    pub globals: Option<Globals>,
    /// What is kept on servers of OpenObserve, where that is without mistakes, whatever the rest is.
    pub openobserve: Option<Servers>,
    /// The graph as far as it can be told.
    pub graph: Graph,
    /// What was found.
    pub report: Report,
    /// The files as one tree, after interpolation; where a secret stands is [masked](Report::sources).
    pub tree: Node,
}

const SECTIONS: [(&str, ComponentKind, &str); 3] = [
    ("sources", ComponentKind::Source, "Where events come from, by id."),
    ("transforms", ComponentKind::Transform, "What is done to events, by id."),
    ("sinks", ComponentKind::Sink, "Where events go, by id."),
];

/// Reads files, and folders' `*.yaml` and `*.yml` files in order of their names.
///
/// Shape: `config` is there if and only if the report has no error.
pub fn load(paths: &[PathBuf], environment: &dyn Environment, registry: Registry<'_>) -> Loaded {
    load_with_texts(paths, environment, registry).0
}

/// As [`load`], with the name and the text of each file.
pub fn load_with_texts(
    paths: &[PathBuf],
    environment: &dyn Environment,
    registry: Registry<'_>,
) -> (Loaded, Vec<(String, String)>) {
    let mut report = Report::default();
    let mut texts = Vec::new();
    for path in paths {
        read_path(path, &mut texts, &mut report);
    }
    (load_from(texts.clone(), environment, registry, report), texts)
}

/// Reads texts, each with the name it is reported under.
pub fn load_texts(texts: &[(&str, &str)], environment: &dyn Environment, registry: Registry<'_>) -> Loaded {
    let texts = texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    load_from(texts, environment, registry, Report::default())
}

fn read_path(path: &Path, texts: &mut Vec<(String, String)>, report: &mut Report) {
    let mut fail = |path: &Path, what: &str| {
        let message = format!("cannot read `{}`: {what}", path.display());
        _ = report.diagnostics.push(Diagnostic::new(Severity::Error, None, message));
    };
    if path.is_dir() {
        let files = std::fs::read_dir(path).and_then(|entries| {
            let mut files = Vec::new();
            for entry in entries {
                let path = entry?.path();
                let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
                if !hidden && path.extension().is_some_and(|e| e == "yaml" || e == "yml") && !path.is_dir() {
                    files.push(path);
                }
            }
            files.sort();
            Ok(files)
        });
        match files {
            Ok(files) if files.is_empty() => fail(path, "the folder has no `*.yaml` file"),
            Ok(files) => files.iter().for_each(|file| read_path(file, texts, report)),
            Err(error) => fail(path, &error.to_string()),
        }
        return;
    }
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let limit = yaml::MAX_FILE_BYTES as u64 + 1;
    match std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)) {
        Err(error) => fail(path, &error.to_string()),
        Ok(_) => match String::from_utf8(bytes) {
            Ok(text) => texts.push((path.display().to_string(), text)),
            Err(error) if error.as_bytes().len() as u64 == limit => fail(path, "the file is too large"),
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                let line = error.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1;
                fail(path, &format!("line {line} is not UTF-8"));
            }
        },
    }
}

fn load_from(
    texts: Vec<(String, String)>,
    environment: &dyn Environment,
    registry: Registry<'_>,
    mut report: Report,
) -> Loaded {
    let mut roots = Vec::new();
    for (name, text) in texts {
        let foreign = crate::settings::foreign::recognise(&name, &text);
        let file = report.sources.add(name, text.clone());
        if let Some(foreign) = foreign {
            yaml::mask_unread(file, &text, &mut report.sources);
            let span = Span::new(file, foreign.shown_by.start, foreign.shown_by.end);
            let message = format!("this is {}; tidegate reads YAML of its own", foreign.what);
            report.diagnostics.push(Diagnostic::new(Severity::Error, Some(span), message)).help(foreign.help);
            continue;
        }
        if let Some(mut root) = yaml::parse(file, &mut report.sources, &mut report.diagnostics) {
            interpolate(&mut root, environment, &mut report.sources, &mut report.diagnostics);
            roots.push(root);
        }
    }
    // A file that is no YAML takes its components along: what the others say about them would be wrong.
    let whole = !report.diagnostics.has_errors() || roots.len() == report.sources.files().len();
    let mut cx = Reader::new(&mut report.sources, &mut report.diagnostics);
    let root = merge(roots, &mut cx);
    let mut document = read(&root, &mut cx, registry);
    let asked = cx.take_asked();
    if whole && document.whole && !document.is_of_servers(&root) {
        document.graph.check(&mut cx, document.globals.as_ref());
        document.check_tests(&mut cx);
        document.check_own_output(&mut cx);
        document.check_files_of_sinks(&root, &mut cx);
    }
    let Document { globals, plans, graph, tests, openobserve, .. } = document;
    let agent = globals.clone();
    let complete = !report.diagnostics.has_errors();
    let prints = |kind: ComponentKind, id: &str| {
        let Some(node) = root.get(kind.section()).and_then(|section| section.get(id)) else {
            return Fingerprint::default();
        };
        let buffer = node.get("buffer").filter(|_| kind == ComponentKind::Sink).map_or(0, |node| node.fingerprint(&[]));
        let left_out: &[&str] = match kind {
            ComponentKind::Source => &[],
            ComponentKind::Transform => &["inputs"],
            ComponentKind::Sink => &["inputs", "buffer"],
        };
        let keys = node.as_map().unwrap_or_default().iter().filter(|entry| !left_out.contains(&&*entry.key));
        let keys = keys.map(|entry| (entry.key.clone(), entry.value.fingerprint(&[]))).collect();
        Fingerprint { settings: node.fingerprint(left_out), buffer, keys }
    };
    let own = root
        .as_map()
        .unwrap_or_default()
        .iter()
        .filter(|e| !matches!(&*e.key, "sources" | "transforms" | "sinks" | "tests" | "openobserve"));
    let own: AgentPrint = own.map(|e| (e.key.clone(), e.value.fingerprint(&[]))).collect();
    let config = globals.filter(|_| complete).map(|globals| {
        let mut slots: Vec<Option<AnyPlan>> = plans;
        let components = graph
            .order()
            .into_iter()
            .filter_map(|index| {
                let node = graph.nodes.get(index)?;
                Some(Component {
                    kind: node.kind,
                    id: node.id.clone(),
                    type_name: node.type_name?,
                    inputs: graph.inputs(index),
                    plan: slots.get_mut(index)?.take()?,
                    fingerprint: prints(node.kind, &node.id.value),
                    asks: asked.iter().filter(|asked| asked.component == node.id.value).cloned().collect(),
                })
            })
            .collect();
        Config { globals, components, tests, agent: own }
    });
    Loaded { config, globals: agent, openobserve, graph, report, tree: root }
}

/// Merges the files: sections by id, `tests` end to end, every other key once.
fn merge(roots: Vec<Node>, cx: &mut Reader<'_>) -> Node {
    let mut merged: Vec<Entry> = Vec::new();
    let span = roots.first().map(|root| root.span).unwrap_or_default();
    for root in roots {
        let NodeKind::Map(entries) = root.kind else {
            cx.expected(&root, "a mapping of `sources`, `transforms` and `sinks`")
                .help("for example `sources: {app: {type: demo}}` and `sinks: {out: {type: console, inputs: [app]}}`");
            continue;
        };
        for entry in entries {
            let Some(known) = merged.iter_mut().find(|known| known.key == entry.key) else {
                merged.push(entry);
                continue;
            };
            let section = SECTIONS.iter().any(|(name, ..)| *name == entry.key);
            match (&mut known.value.kind, entry.value.kind) {
                (NodeKind::Map(have), NodeKind::Map(more)) if entry.key == SERVERS => merge_servers(have, more, cx),
                (NodeKind::Map(have), NodeKind::Map(more)) if section => {
                    for component in more {
                        match have.iter().find(|known| known.key == component.key) {
                            Some(first) => twice(cx, &component, first.key_span),
                            None => have.push(component),
                        }
                    }
                }
                (NodeKind::Seq(have), NodeKind::Seq(more)) if entry.key == "tests" => have.extend(more),
                (NodeKind::Null, kind) if section || entry.key == "tests" => {
                    known.value = Node { kind, ..entry.value };
                    known.key_span = entry.key_span;
                }
                (_, NodeKind::Null) if section || entry.key == "tests" => {}
                (_, kind) => {
                    let entry = Entry { value: Node { kind, ..entry.value }, ..entry };
                    let first = known.key_span;
                    twice(cx, &entry, first);
                }
            }
        }
    }
    Node::collection(NodeKind::Map(merged), span, Style::Plain)
}

/// Merges what files keep on servers: servers and kinds of resources by name, each resource once.
fn merge_servers(have: &mut Vec<Entry>, more: Vec<Entry>, cx: &mut Reader<'_>) {
    for entry in more {
        let Some(known) = have.iter_mut().find(|known| known.key == entry.key) else {
            have.push(entry);
            continue;
        };
        let is_kind = crate::openobserve::Kind::ALL.iter().any(|kind| kind.section() == entry.key);
        match (&mut known.value.kind, entry.value.kind) {
            (NodeKind::Map(have), NodeKind::Map(more)) if is_kind => {
                for resource in more {
                    match have.iter().find(|known| known.key == resource.key) {
                        Some(first) => twice(cx, &resource, first.key_span),
                        None => have.push(resource),
                    }
                }
            }
            (NodeKind::Map(have), NodeKind::Map(more))
                if more.iter().any(|e| e.key == "url" || e.value.as_map().is_some()) =>
            {
                merge_servers(have, more, cx);
            }
            (_, kind) => {
                let entry = Entry { value: Node { kind, ..entry.value }, ..entry };
                let first = known.key_span;
                twice(cx, &entry, first);
            }
        }
    }
}

fn twice(cx: &mut Reader<'_>, entry: &Entry, first: Span) {
    cx.error(entry.key_span, format!("key `{}` is given twice", entry.key)).note(first, "first given here");
}

/// The section of what is kept on servers of OpenObserve.
const SERVERS: &str = "openobserve";
const ABOUT_SERVERS: &str = "What is kept on a server of OpenObserve by `tidegate openobserve apply`: one server, which has a `url`, or \
                             several by name.";

struct Document {
    globals: Option<Globals>,
    openobserve: Option<Servers>,
    /// Settings of the graph's nodes; `None` where they have mistakes.
    plans: Vec<Option<AnyPlan>>,
    graph: Graph,
    tests: Vec<TestCase>,
    places: Vec<TestPlace>,
    /// Every section could be read, so that what reads what can be told.
    whole: bool,
}

/// A place that a test names, told by the tree alone: a mistake elsewhere in the test does not hide one here.
struct TestPlace {
    at: Spanned<String>,
    /// Something enters there; else something is expected there.
    enters: bool,
    /// What enters is an event, not a line.
    event: bool,
    /// A key that only sinks know.
    of_sinks: Option<&'static str>,
}

/// The places that one test names.
fn test_places(case: &Node, places: &mut Vec<TestPlace>) {
    for (key, enters) in [("input", true), ("expect", false)] {
        for item in case.get(key).and_then(Node::as_seq).unwrap_or_default() {
            let Some((at, text)) = item.get("at").and_then(|at| Some((at, at.as_str()?))) else { continue };
            let event = item.get("event").is_some();
            let of_sinks = ["path", "labels"].into_iter().find(|key| !enters && item.get(key).is_some());
            places.push(TestPlace { at: Spanned::new(text.to_owned(), at.span), enters, event, of_sinks });
        }
    }
}

fn read(root: &Node, cx: &mut Reader<'_>, registry: Registry<'_>) -> Document {
    let mut document = Document {
        globals: None,
        openobserve: None,
        plans: Vec::new(),
        graph: Graph::default(),
        tests: Vec::new(),
        places: Vec::new(),
        whole: true,
    };
    let Some(mut keys) = cx.keys(root, "a mapping") else { return document };
    document.globals = Globals::read_keys(&mut keys, cx);
    let api = document.globals.as_ref().and_then(|globals| globals.api.as_ref());
    if let Some(api) = api {
        api.check(cx);
    }
    if let Some(auth) = api.and_then(|api| api.auth.as_ref()) {
        let at = root.get("api").and_then(|api| api.entry("auth"));
        auth.check(at.map_or(root.span, |entry| entry.key_span), cx);
    }
    for (section, kind, _) in SECTIONS {
        read_section(section, kind, &mut keys, cx, registry, &mut document);
    }
    if let Some(entry) = keys.take(SERVERS).filter(|entry| !entry.value.is_null()) {
        document.openobserve = cx.under(entry, |cx| Servers::read(&entry.value, cx));
    }
    if let Some(entry) = keys.take("tests").filter(|entry| !entry.value.is_null()) {
        cx.under(entry, |cx| match &entry.value.kind {
            NodeKind::Seq(items) => {
                for (index, item) in items.iter().enumerate() {
                    test_places(item, &mut document.places);
                    if let Some(case) = cx.element(index, item, |cx| TestCase::read(item, cx)) {
                        case.check(cx);
                        document.tests.push(case);
                    }
                }
            }
            _ => _ = cx.expected(&entry.value, "a list of tests"),
        });
    }
    let mut known: Vec<String> = Globals::fields().into_iter().map(|doc| doc.name).collect();
    known.extend(SECTIONS.iter().map(|(name, ..)| (*name).to_owned()));
    known.extend(["tests".into(), SERVERS.into()]);
    // What stands under a misspelt section is not part of the graph, and what reads it would be told of too.
    let sections = || SECTIONS.iter().map(|(name, ..)| *name);
    document.whole &= !keys
        .rest()
        .any(|entry| entry.value.as_map().is_some() && crate::settings::nearest(&entry.key, sections()).is_some());
    cx.unknown_keys(&keys, &known);
    document
}

fn read_section(
    section: &str,
    kind: ComponentKind,
    keys: &mut Keys<'_>,
    cx: &mut Reader<'_>,
    registry: Registry<'_>,
    document: &mut Document,
) {
    let Some(entry) = keys.take(section).filter(|entry| !entry.value.is_null()) else { return };
    let NodeKind::Map(components) = &entry.value.kind else {
        cx.under(entry, |cx| {
            let what = format!("a mapping of ids, each to a {}", kind.name());
            cx.expected(&entry.value, &what)
                .help(format!("each {} has a name: {section}: {{app: {{…}}}}", kind.name()));
        });
        document.whole = false;
        return;
    };
    for component in components {
        let mut node = GraphNode::new(kind, component);
        check_id(component, cx);
        let plan = cx.component(kind.name(), component, |cx| match kind {
            ComponentKind::Source => {
                read_component(component, cx, kind, registry, registry.sources, &mut node).map(AnyPlan::Source)
            }
            ComponentKind::Transform => {
                read_component(component, cx, kind, registry, registry.transforms, &mut node).map(AnyPlan::Transform)
            }
            ComponentKind::Sink => {
                read_component(component, cx, kind, registry, registry.sinks, &mut node).map(AnyPlan::Sink)
            }
        });
        if let Some(plan) = &plan {
            node.learn(plan);
        }
        document.graph.nodes.push(node);
        document.plans.push(plan);
    }
}

/// Longest id: it becomes part of file names.
const MAX_ID_BYTES: usize = 100;

fn check_id(component: &Entry, cx: &mut Reader<'_>) {
    let id = component.key.as_str();
    let what = if id.is_empty() {
        "an id is empty".to_owned()
    } else if id.contains('.') {
        format!("id `{id}` has a dot, which separates an id from its output")
    } else if id.len() > MAX_ID_BYTES {
        format!("an id has more than {MAX_ID_BYTES} bytes")
    } else if !id.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-')) {
        format!("id `{id}` has other characters than letters, digits, `_` and `-`")
    } else {
        return;
    };
    let better: String = id.chars().map(|c| if c.is_alphanumeric() || c == '-' { c } else { '_' }).collect();
    let diagnostic = cx.error(component.key_span, what);
    if better != id {
        diagnostic.help(format!("for example `{better}`"));
    }
}

fn read_component<P: ?Sized>(
    component: &Entry,
    cx: &mut Reader<'_>,
    kind: ComponentKind,
    registry: Registry<'_>,
    types: &[ComponentType<P>],
    node: &mut GraphNode,
) -> Option<Box<P>> {
    let value = &component.value;
    let word = kind.name();
    if value.as_map().is_none() {
        cx.expected(value, &format!("a {word}'s settings"));
        return None;
    }
    let Some(named) = value.entry("type") else {
        let glued = |entry: &&Entry| crate::settings::foreign::glued(&entry.key, |name| name == "type").is_some();
        if let Some(entry) = value.as_map().into_iter().flatten().find(glued) {
            cx.glued_key(entry, "type", entry.key.split_once(':').map_or("", |(_, name)| name));
            return None;
        }
        let message = format!("missing key `type` in {word} `{}`", component.key);
        let near =
            value.as_map().into_iter().flatten().find(|entry| matches!(entry.key.as_str(), "kind" | "typ" | "Type"));
        let diagnostic = cx.error(component.key_span, message);
        let names: Vec<String> = types.iter().map(|t| format!("`{}`", t.name)).collect();
        diagnostic.help(match near {
            Some(near) => format!("write `type` in place of `{}`", near.key),
            None => format!("types: {}", names.join(", ")),
        });
        return None;
    };
    let Some(name) = named.value.as_str() else {
        cx.under(named, |cx| _ = cx.expected(&named.value, &format!("a type of {word}")));
        return None;
    };
    if let Some(found) = types.iter().find(|t| t.name == name) {
        node.type_name = Some(found.name);
        return found.read(value, cx);
    }
    let all = registry.names();
    let elsewhere = all.iter().find(|(other, known)| *other != kind && *known == name).map(|(other, _)| *other);
    let near = crate::settings::foreign::type_here(name, types.iter().map(|t| t.name));
    let near = near.or_else(|| crate::settings::nearest(name, types.iter().map(|t| t.name)));
    let names: Vec<String> = types.iter().map(|t| format!("`{}`", t.name)).collect();
    let message = format!("there is no {word} type `{}`", crate::settings::abridged(name));
    let diagnostic = cx.error(named.value.span, message);
    if let Some(hint) = crate::settings::foreign::type_hint(name) {
        diagnostic.help(hint);
        return None;
    }
    match (elsewhere, near) {
        (Some(other), _) => {
            diagnostic.help(format!("`{name}` is a {}: put it under `{}`", other.name(), other.section()))
        }
        (None, Some(near)) => diagnostic.help(format!("did you mean `{near}`?")),
        (None, None) => diagnostic.help(format!("types: {}", names.join(", "))),
    };
    None
}

impl Document {
    /// The files are about servers only: there is no graph.
    fn is_of_servers(&self, root: &Node) -> bool {
        root.get(SERVERS).is_some() && SECTIONS.iter().all(|(name, ..)| root.get(name).is_none())
    }

    /// No source may read what the agent itself writes.
    fn check_own_output(&self, cx: &mut Reader<'_>) {
        let nodes = || self.graph.nodes.iter().zip(&self.plans);
        let mut written: Vec<(String, PathBuf)> = Vec::new();
        for (node, plan) in nodes() {
            if let Some(AnyPlan::Sink(plan)) = plan
                && let Some(path) = plan.writes_like()
            {
                written.push((format!("sink `{}` writes", node.id.value), path));
            }
        }
        if let Some(globals) = &self.globals {
            for name in ["x", "x.log", "x/x"] {
                written.push(("the agent keeps in `data_dir`".into(), globals.data_dir.join(name)));
            }
        }
        for (node, plan) in nodes() {
            let Some(AnyPlan::Source(plan)) = plan else { continue };
            let reads = |(_, path): &&(String, PathBuf)| {
                std::path::absolute(path).is_ok_and(|path| plan.reads(&path).is_some())
            };
            if let Some((who, path)) = written.iter().find(reads)
                && let Some(span) = std::path::absolute(path).ok().and_then(|path| plan.reads(&path))
            {
                let what = format!("source `{}` would read what {who}", node.id.value);
                cx.error(span, what).help("put the two in different folders, or name what is written under `exclude`");
            }
        }
    }

    /// One sink writes a file: another that would append to it waits for ever.
    fn check_files_of_sinks(&self, root: &Node, cx: &mut Reader<'_>) {
        let mut seen: Vec<(PathBuf, bool, &str, Span)> = Vec::new();
        for (node, plan) in self.graph.nodes.iter().zip(&self.plans) {
            let Some(AnyPlan::Sink(plan)) = plan else { continue };
            let id = node.id.value.as_str();
            let written = root.get("sinks").and_then(|sinks| sinks.get(id)).and_then(|sink| sink.get("path"));
            let (Some(like), Some(written)) = (plan.writes_like(), written) else { continue };
            let is_one = plan.writes() == std::slice::from_ref(&like);
            let (path, span) = (std::path::absolute(&like).unwrap_or(like), written.span);
            if let Some((_, other_is_one, other, first)) = seen.iter().find(|(other, ..)| *other == path) {
                let help = "let one sink read what both do, or give each a path of its own";
                let diagnostic = match is_one && *other_is_one {
                    true => cx.error(
                        span,
                        format!("sinks `{other}` and `{id}` write the same file; the second could not open it"),
                    ),
                    false => cx.warn(
                        span,
                        format!("sinks `{other}` and `{id}` may write the same files; the second could not open them"),
                    ),
                };
                diagnostic.note(*first, format!("`{other}` writes here")).help(help);
                continue;
            }
            seen.push((path, is_one, id, span));
        }
    }

    /// The places that tests name.
    fn check_tests(&self, cx: &mut Reader<'_>) {
        for place in &self.places {
            let at = &place.at;
            if !place.enters {
                self.graph.check_place(at, cx);
                let id = at.value.split('.').next().unwrap_or_default();
                let node = self.graph.find(id).filter(|node| node.kind != ComponentKind::Sink);
                if let (Some(node), Some(key)) = (node, place.of_sinks) {
                    let kind = node.kind.name();
                    cx.error(at.span, format!("`{}` is a {kind}: `{key}` is what a sink makes of an event", at.value));
                }
                continue;
            }
            let node = self.graph.find(&at.value);
            let message = match node.map(|node| node.kind) {
                Some(ComponentKind::Source) => continue,
                Some(ComponentKind::Transform) if place.event => continue,
                Some(ComponentKind::Transform) => format!("`{}` is a transform: lines enter at a source", at.value),
                Some(ComponentKind::Sink) => format!("`{}` is a sink: events enter at a source or transform", at.value),
                None => format!("there is no component `{}`", at.value),
            };
            let ids = self.graph.nodes.iter().map(|node| node.id.value.as_str());
            let diagnostic = cx.error(at.span, message);
            if node.is_none() {
                diagnostic.suggest(&at.value, ids);
            }
        }
    }
}

/// The JSON Schema (draft 7) of a configuration file.
///
/// A file alone may hold any part of a configuration, so no top-level key is required.
pub fn json_schema(registry: Registry<'_>) -> Value {
    let mut g = SchemaBuilder::default();
    let mut properties = Properties::default();
    Globals::properties(&mut g, &mut properties);
    let sections = [
        component_schema(&mut g, registry.sources),
        component_schema(&mut g, registry.transforms),
        component_schema(&mut g, registry.sinks),
    ];
    for ((name, _, about), component) in SECTIONS.into_iter().zip(sections) {
        let schema = json!({
            "type": ["object", "null"],
            "propertyNames": {"pattern": "^[^.*?\\[\\]{}\\s/]+$", "maxLength": MAX_ID_BYTES},
            "additionalProperties": component,
        });
        properties.add(name, schema, about, None, false);
    }
    let tests = <Vec<TestCase>>::schema(&mut g);
    properties.add("tests", tests, "Unit tests of the pipeline, run by `tidegate test`.", None, false);
    let servers = Servers::schema(&mut g);
    properties.add(SERVERS, servers, ABOUT_SERVERS, None, false);
    let schema = properties.into_schema("A tidegate configuration.");
    let mut out = serde_json::Map::new();
    out.insert("$schema".into(), "http://json-schema.org/draft-07/schema#".into());
    if let Value::Object(map) = schema {
        out.extend(map);
    }
    out.insert("definitions".into(), Value::Object(g.into_definitions()));
    let mut schema = Value::Object(out);
    crate::settings::dress(&mut schema);
    schema
}

fn component_schema<P: ?Sized>(g: &mut SchemaBuilder, types: &[ComponentType<P>]) -> Value {
    let forms = types.iter().map(|t| (t.schema)(g, t.name)).collect();
    crate::settings::by_type_schema("", forms)
}

/// The settings of what is kept on servers of OpenObserve, for the reference: what they are, and each.
pub fn server_docs() -> (&'static str, Vec<FieldDoc>) {
    (ABOUT_SERVERS, Servers::fields())
}

/// The agent's own settings, for the reference.
pub fn global_docs() -> Vec<FieldDoc> {
    Globals::fields()
}
