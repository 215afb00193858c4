//! Reading values out of the tree, gathering every mistake.

use std::ops::Range;

use super::diagnostic::{Diagnostic, Diagnostics, Severity};
use super::foreign;
use super::node::{Entry, Node, NodeKind};
use super::source_map::{SourceMap, Span};

/// One step from the top of the document to the value being read.
#[derive(Debug, Clone)]
enum Step {
    /// A component: "source `app`".
    Component { kind: &'static str, id: String },
    /// A key of a block.
    Key(String),
    /// An element of a list, counted from 0.
    Index(usize),
}

/// Takes note of mistakes, and knows what is being read.
#[derive(Debug)]
pub struct Reader<'a> {
    sources: &'a mut SourceMap,
    out: &'a mut Diagnostics,
    path: Vec<Step>,
    /// Where the innermost block was opened: its key, or the block itself.
    opened: Vec<Span>,
    asked: Vec<Asked>,
    /// The block whose settings are checked together, and how many steps lead to it.
    checked: Option<(&'a Node, usize)>,
}

/// A setting of a component that asks for metadata: a template, a condition, a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Id of the component.
    pub component: String,
    /// The setting's keys: `stream`, `lookup[0].key`.
    pub setting: String,
    /// Name of what it asks for, without `@`.
    pub meta: String,
}

impl<'a> Reader<'a> {
    /// A reader that puts what it finds into `out`.
    pub fn new(sources: &'a mut SourceMap, out: &'a mut Diagnostics) -> Self {
        Self { sources, out, path: Vec::new(), opened: Vec::new(), asked: Vec::new(), checked: None }
    }

    /// Notes a mistake at `span`.
    pub fn error(&mut self, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        self.note(Severity::Error, span, message.into())
    }

    /// Notes something that is probably not meant.
    pub fn warn(&mut self, span: Span, message: impl Into<String>) -> &mut Diagnostic {
        self.note(Severity::Warning, span, message.into())
    }

    /// The keys and the id that were read on the way here are the agent's words in it.
    fn note(&mut self, severity: Severity, span: Span, message: String) -> &mut Diagnostic {
        if self.out.is_broken(span) {
            return self.out.discard();
        }
        let mut diagnostic = Diagnostic::new(severity, Some(span), message);
        diagnostic.own = self.own_words();
        self.out.push(diagnostic)
    }

    /// Whether this key of a component, or of a block read for itself, is being read.
    pub fn is_at(&self, key: &str) -> bool {
        let component = self.path.iter().rposition(|step| matches!(step, Step::Component { .. }));
        matches!(&self.path[component.map_or(0, |n| n + 1)..], [Step::Key(only)] if only == key)
    }

    /// Whether a key with one of these names was read on the way here.
    pub fn is_below(&self, keys: &[&str]) -> bool {
        self.path.iter().any(|step| matches!(step, Step::Key(key) if keys.contains(&key.as_str())))
    }

    fn own_words(&self) -> Vec<String> {
        let component = self.path.iter().rposition(|step| matches!(step, Step::Component { .. }));
        let steps = &self.path[component.map_or(0, |n| n + 1)..];
        let each = self.path.iter().filter_map(|step| match step {
            Step::Component { id, .. } => Some(id.clone()),
            Step::Key(key) => Some(key.clone()),
            Step::Index(_) => None,
        });
        each.chain([join(steps)]).filter(|word| !word.is_empty()).collect()
    }

    /// Notes a mistake at a byte range of the scalar's text, as the regex, template or condition parser counts it. In an
    /// interpolated scalar it points at the whole.
    pub fn error_in(&mut self, node: &Node, at: Range<usize>, message: impl Into<String>) -> &mut Diagnostic {
        if node.broken {
            return self.out.discard();
        }
        let span = node.span_within(at, self.sources).unwrap_or(node.span);
        self.error(span, message)
    }

    /// As [`error_in`](Self::error_in), something that is probably not meant.
    pub fn warn_in(&mut self, node: &Node, at: Range<usize>, message: impl Into<String>) -> &mut Diagnostic {
        let span = node.span_within(at, self.sources).unwrap_or(node.span);
        self.warn(span, message)
    }

    /// Notes that a value is not what it should be: "expected a size for `max` in source `app`, found the string `x`".
    pub fn expected(&mut self, node: &Node, what: &str) -> &mut Diagnostic {
        let message = format!("expected {what} for {}, found {}", self.subject(), found(node, self.sources));
        let what_is_quoted = matches!(node.kind, NodeKind::Seq(_) | NodeKind::Map(_));
        let span = if what_is_quoted { self.opened.last().copied().unwrap_or(node.span) } else { node.span };
        if node.broken {
            // What went wrong with its interpolation has been said; this would only confuse.
            return self.out.discard();
        }
        let diagnostic = self.error(span, message);
        diagnostic.as_written = true;
        diagnostic
    }

    /// Notes the metadata that the setting being read asks for, by name and without `@`.
    pub fn asks(&mut self, names: impl IntoIterator<Item = String>) {
        let Some(n) = self.path.iter().rposition(|step| matches!(step, Step::Component { .. })) else { return };
        let Step::Component { id, .. } = &self.path[n] else { return };
        for meta in names {
            let asked = Asked { component: id.clone(), setting: join(&self.path[n + 1..]), meta };
            if !self.asked.contains(&asked) {
                self.asked.push(asked);
            }
        }
    }

    /// What was noted by [`asks`](Reader::asks).
    pub fn take_asked(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.asked)
    }

    /// What is being read, in words: "`multiline.start` in source `app`".
    pub fn subject(&self) -> String {
        let component = self.path.iter().rposition(|step| matches!(step, Step::Component { .. }));
        let keys = join(&self.path[component.map_or(0, |n| n + 1)..]);
        let component = component.map(|n| component_words(&self.path[n]));
        match (keys.is_empty(), component) {
            (false, Some(component)) => format!("`{keys}` in {component}"),
            (false, None) => format!("`{keys}`"),
            (true, Some(component)) => component,
            (true, None) => "the configuration".into(),
        }
    }

    /// The block being read, with its preposition: " in source `app`", " in `multiline` of source `app`", "" at the top.
    pub fn place(&self) -> String {
        let component = self.path.iter().rposition(|step| matches!(step, Step::Component { .. }));
        let keys = join(&self.path[component.map_or(0, |n| n + 1)..]);
        let component = component.map(|n| component_words(&self.path[n]));
        match (keys.is_empty(), component) {
            (false, Some(component)) => format!(" in `{keys}` of {component}"),
            (false, None) => format!(" in `{keys}`"),
            (true, Some(component)) => format!(" in {component}"),
            (true, None) => String::new(),
        }
    }

    /// Reads something below the key at `entry`.
    pub fn under<T>(&mut self, entry: &Entry, read: impl FnOnce(&mut Self) -> T) -> T {
        self.step(Step::Key(entry.key.clone()), entry.key_span, read)
    }

    /// Reads an element of a list.
    pub fn element<T>(&mut self, index: usize, node: &Node, read: impl FnOnce(&mut Self) -> T) -> T {
        let start = Span { end: node.span.end.min(node.span.start + 1), ..node.span };
        self.step(Step::Index(index), start, read)
    }

    /// Reads a component; `kind` is "source", "transform" or "sink".
    pub fn component<T>(&mut self, kind: &'static str, entry: &Entry, read: impl FnOnce(&mut Self) -> T) -> T {
        self.step(Step::Component { kind, id: entry.key.clone() }, entry.key_span, read)
    }

    fn step<T>(&mut self, step: Step, opened: Span, read: impl FnOnce(&mut Self) -> T) -> T {
        self.enter(step, opened);
        let value = read(self);
        self.leave();
        value
    }

    #[inline(never)]
    fn enter(&mut self, step: Step, opened: Span) {
        self.path.push(step);
        self.opened.push(opened);
    }

    #[inline(never)]
    fn leave(&mut self) {
        self.opened.pop();
        self.path.pop();
    }

    /// Where the block being read begins: the key that opens it.
    pub fn block_span(&self, node: &Node) -> Span {
        self.opened_at(node.span)
    }

    pub(crate) fn opened_at(&self, span: Span) -> Span {
        self.opened.last().copied().unwrap_or(Span { end: span.start, ..span })
    }

    /// Never shows the value again: not in an excerpt, not in a message.
    pub fn hide(&mut self, node: &Node) {
        if let Some(text) = node.scalar_text() {
            self.sources.mask(node.span);
            self.out.add_secret(text);
        }
    }

    /// As [`hide`](Self::hide), with everything inside.
    pub fn hide_all(&mut self, node: &Node) {
        self.hide(node);
        node.as_seq().into_iter().flatten().for_each(|item| self.hide_all(item));
        node.as_map().into_iter().flatten().for_each(|entry| self.hide_all(&entry.value));
    }

    /// Never shows the value of a key that nobody knows in an excerpt, unless it is a key misspelt (`near`) that is no
    /// secret.
    pub(super) fn hide_unknown(&mut self, entry: &Entry, near: Option<&str>) {
        use super::node::is_secret_block;
        use crate::text::mask::is_secret_name;
        let of_secrets = |near: &str| is_secret_name(near) || is_secret_block(near);
        if near.is_none_or(of_secrets) || strsim::damerau_levenshtein(&entry.key, "key") <= 1 {
            self.hide_here(&entry.value);
        }
    }

    /// Never shows what stands here in an excerpt. Other messages may use the same words.
    fn hide_here(&mut self, node: &Node) {
        match &node.kind {
            NodeKind::Seq(items) => items.iter().for_each(|item| self.hide_here(item)),
            NodeKind::Map(entries) => entries.iter().for_each(|entry| self.hide_here(&entry.value)),
            NodeKind::Null | NodeKind::Bool(_) => {}
            _ => self.sources.mask(node.span),
        }
    }

    /// Checks together what was read of the block `node`: its mistakes are told [at their keys](Self::error_at).
    pub fn checking<T>(&mut self, node: &Node, check: impl FnOnce(&mut Reader<'_>) -> T) -> T {
        let steps = self.path.len();
        let mut inner = Reader {
            sources: self.sources,
            out: self.out,
            path: std::mem::take(&mut self.path),
            opened: std::mem::take(&mut self.opened),
            asked: std::mem::take(&mut self.asked),
            checked: Some((node, steps)),
        };
        let value = check(&mut inner);
        let Reader { path, opened, asked, .. } = inner;
        (self.path, self.opened, self.asked) = (path, opened, asked);
        value
    }

    /// Checks the block under `key` of the one that is checked: what is told there is told of keys in it.
    pub fn within<T>(&mut self, key: &str, check: impl FnOnce(&mut Self) -> T) -> T {
        let opened = self.span_of(key);
        self.step(Step::Key(key.to_owned()), opened, check)
    }

    /// Notes a mistake of the setting `key` of the block that is checked.
    ///
    /// Shape: `key` counts from that block, as in messages: `max_body`, `cors.origins[1]`. The place is the value where it is one
    /// scalar, else the key; what is not written is told at the innermost block that is.
    pub fn error_at(&mut self, key: &str, message: impl Into<String>) -> &mut Diagnostic {
        let span = self.span_of(key);
        self.error(span, message)
    }

    /// As [`error_at`](Self::error_at), something that is probably not meant.
    pub fn warn_at(&mut self, key: &str, message: impl Into<String>) -> &mut Diagnostic {
        let span = self.span_of(key);
        self.warn(span, message)
    }

    /// Where [`error_at`](Self::error_at) tells of `key`.
    fn span_of(&self, key: &str) -> Span {
        // Without a block, the beginning of the first text.
        let Some((mut node, steps)) = self.checked else { return self.opened_at(Span::default()) };
        let mut span = steps.checked_sub(1).and_then(|last| self.opened.get(last)).copied().unwrap_or(node.span);
        let mut keys = join(self.path.get(steps..).unwrap_or_default());
        if !keys.is_empty() && !key.is_empty() && !key.starts_with('[') {
            keys.push('.');
        }
        keys.push_str(key);
        for step in keys.split(['.', '[']).filter(|step| !step.is_empty()) {
            let index = step.strip_suffix(']').and_then(|index| index.parse::<usize>().ok());
            let next = match index {
                Some(index) => node.as_seq().and_then(|items| items.get(index)).map(|item| (item.span, item)),
                None => node.entry(step).map(|entry| (entry.key_span, &entry.value)),
            };
            // One value may stand where a list of them could.
            let Some((found, value)) = next else { break };
            let of_value = value.scalar_text().is_some() && !value.is_null();
            span = if of_value { value.span } else { found };
            if index.is_some() && !of_value {
                span.end = span.end.min(span.start + 1);
            }
            node = value;
        }
        span
    }

    /// Whether an error was noted so far.
    pub fn has_errors(&self) -> bool {
        self.out.has_errors()
    }

    /// The texts being read.
    pub fn sources(&self) -> &SourceMap {
        self.sources
    }

    /// The keys of a block, to take one after the other. Notes a mistake where `node` is no mapping.
    pub fn keys<'n>(&mut self, node: &'n Node, what: &str) -> Option<Keys<'n>> {
        match &node.kind {
            NodeKind::Map(entries) => Some(Keys { entries, used: vec![false; entries.len()], node_span: node.span }),
            _ => {
                self.expected(node, what);
                None
            }
        }
    }

    /// Notes the keys that nobody took as unknown, and says whether there were any; `known` are those that there are.
    pub fn unknown_keys(&mut self, keys: &Keys<'_>, known: &[String]) -> bool {
        let mut any = false;
        for entry in keys.rest() {
            any = true;
            let names = || known.iter().map(String::as_str);
            if let Some((name, value)) = foreign::glued(&entry.key, |key| known.iter().any(|name| name == key)) {
                self.glued_key(entry, name, value);
                continue;
            }
            let message = format!("unknown key `{}`{}", abridged(&entry.key), self.place());
            let near = foreign::key_here(&entry.key, names());
            let near = near.or_else(|| super::diagnostic::nearest(&entry.key, names()));
            match near {
                Some(near) if crate::text::mask::is_secret_name(near) => self.hide_all(&entry.value),
                _ => self.hide_unknown(entry, near),
            }
            if let Some(near) = near {
                let opened = self.opened_at(keys.span());
                self.out.retract_missing(opened, near);
            }
            let diagnostic = self.error(entry.key_span, message);
            match near {
                Some(near) => _ = diagnostic.help(format!("did you mean `{near}`?")),
                None if let Some(hint) = foreign::hint(&entry.key) => _ = diagnostic.help(hint),
                None if !known.is_empty() && known.len() <= 40 => {
                    let mut names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
                    names.sort_unstable();
                    diagnostic.help(format!("keys here: {}", names.join(", ")));
                }
                None => {}
            }
        }
        any
    }
}

impl Reader<'_> {
    /// Notes that a key and its value stand together without a blank.
    pub(crate) fn glued_key(&mut self, entry: &Entry, name: &str, value: &str) {
        let secret = crate::text::mask::is_secret_name(name) || super::node::is_secret_block(name);
        if secret {
            self.sources.mask(entry.key_span);
        }
        let opened = self.opened_at(entry.key_span);
        self.out.retract_missing(opened, name);
        let value = if secret { "…".to_owned() } else { abridged(value) };
        let message = format!("no blank after the colon of `{name}`{}", self.place());
        self.error(entry.key_span, message).help(format!("write `{name}: {value}`"));
    }
}

fn component_words(step: &Step) -> String {
    match step {
        Step::Component { kind, id } => format!("{kind} `{id}`"),
        Step::Key(_) | Step::Index(_) => String::new(),
    }
}

fn join(steps: &[Step]) -> String {
    let mut out = String::new();
    for step in steps {
        match step {
            Step::Key(key) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(key);
            }
            Step::Index(index) => out.push_str(&format!("[{index}]")),
            Step::Component { .. } => {}
        }
    }
    out
}

/// What stands there, in words and quoted; never a secret.
fn found(node: &Node, sources: &SourceMap) -> String {
    let kind = node.kind.in_words();
    match &node.kind {
        NodeKind::Null | NodeKind::Seq(_) | NodeKind::Map(_) => kind.to_owned(),
        _ if node.secret => "`***`".to_owned(),
        NodeKind::Str(text) if text.is_empty() && !node.interpolated => "an empty string".to_owned(),
        // As written: what was put in may be nobody's business.
        _ if node.interpolated => format!("`{}`", abridged(sources.text(node.span).trim_matches(['"', '\'']))),
        _ => format!("{kind} `{}`", abridged(&node.text)),
    }
}

/// At most 60 characters of one line.
pub(crate) fn abridged(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() > 60 || line.len() < text.trim_end().len() {
        format!("{}…", line.chars().take(60).collect::<String>())
    } else {
        line.to_owned()
    }
}

/// The entries of a block, each taken at most once; what is left over is unknown.
#[derive(Debug)]
pub struct Keys<'n> {
    entries: &'n [Entry],
    used: Vec<bool>,
    node_span: Span,
}

impl<'n> Keys<'n> {
    /// The entry with `key`, which is then no longer unknown.
    pub fn take(&mut self, key: &str) -> Option<&'n Entry> {
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        self.used[index] = true;
        Some(&self.entries[index])
    }

    /// The place of the block.
    pub fn span(&self) -> Span {
        self.node_span
    }

    /// What nobody took.
    pub fn rest(&self) -> impl Iterator<Item = &'n Entry> + '_ {
        self.entries.iter().zip(&self.used).filter(|(_, used)| !**used).map(|(entry, _)| entry)
    }
}
