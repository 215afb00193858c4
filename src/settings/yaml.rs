//! YAML text to a [`Node`] tree.
//!
//! Limits: a file has at most [`MAX_FILE_BYTES`]; nesting is at most [`MAX_DEPTH`]; aliases may add at most
//! [`MAX_ALIAS_NODES`] values in all, so that a few lines cannot grow into gigabytes. One document a file. Keys are scalars and
//! distinct. Tags other than `!!str` and its like are refused, so are merge keys (`<<`), which YAML 1.2 does not have.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::diagnostic::{Diagnostic, Diagnostics, Severity};
use super::node::{Entry, Node, NodeKind, Style, is_secret_block, plain_kind};
use super::source_map::{SourceMap, Span};
use crate::text::mask::is_secret_name;

/// The longest text of one file.
pub const MAX_FILE_BYTES: usize = 4 << 20;
/// The deepest nesting.
pub const MAX_DEPTH: usize = 64;
/// How many values aliases may repeat in one file.
pub const MAX_ALIAS_NODES: usize = 10_000;

/// Reads one file's text. `None` where the text is no YAML; an empty file is an empty mapping.
pub(crate) fn parse(file: u32, sources: &mut SourceMap, out: &mut Diagnostics) -> Option<Node> {
    let text = sources.file(file)?.text().to_owned();
    if text.len() > MAX_FILE_BYTES {
        let message = format!("the file has {} bytes, the limit is {MAX_FILE_BYTES}", text.len());
        out.push(Diagnostic::new(Severity::Error, Some(Span::new(file, 0, 0)), message));
        return None;
    }
    let mut builder = Builder::new(file, &text);
    let root = builder.build();
    for diagnostic in builder.diagnostics {
        out.push(diagnostic);
    }
    for (mut node, secret) in builder.repeated {
        mark_secrets(&mut node, secret, Level::Setting, sources);
    }
    match root {
        Ok(mut root) => {
            mark_secrets(&mut root, false, Level::Top, sources);
            Some(root)
        }
        Err(mut diagnostic) => {
            mask_unread(file, &text, sources);
            if sources.is_masked(Span::new(file, 0, text.len())) && diagnostic.message.contains('`') {
                // A quoted character may be part of a secret.
                let end = diagnostic.message.find('`').unwrap_or(0);
                diagnostic.message.truncate(end);
                diagnostic.message = diagnostic.message.trim_end_matches([' ', ':']).to_owned();
            }
            out.push(diagnostic);
            None
        }
    }
}

/// A key that waits for its value.
struct Key {
    text: String,
    span: Span,
    /// The mapping has it already: its value is left out.
    repeated: bool,
}

/// A collection that is still open.
struct Open {
    node: Node,
    anchor: usize,
    /// Mapping: the key that waits for its value.
    key: Option<Key>,
    /// Mapping: where each key was first seen.
    seen: HashMap<String, Span>,
}

struct Builder<'t> {
    file: u32,
    text: &'t str,
    /// Byte offset of each character; empty for ASCII texts, where they are the same.
    offsets: Vec<u32>,
    stack: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    alias_nodes: usize,
    /// Values under repeated keys, and whether the key is named like a secret: not in the tree, but in the text.
    repeated: Vec<(Node, bool)>,
    diagnostics: Vec<Diagnostic>,
}

impl<'t> Builder<'t> {
    fn new(file: u32, text: &'t str) -> Self {
        let offsets = if text.is_ascii() {
            Vec::new()
        } else {
            text.char_indices().map(|(at, _)| u32::try_from(at).unwrap_or(u32::MAX)).collect()
        };
        Self {
            file,
            text,
            offsets,
            stack: Vec::new(),
            anchors: HashMap::new(),
            alias_nodes: 0,
            repeated: Vec::new(),
            diagnostics: Vec::new(),
        }
    }

    fn offset(&self, index: usize) -> usize {
        if self.offsets.is_empty() {
            return index.min(self.text.len());
        }
        self.offsets.get(index).map_or(self.text.len(), |&at| at as usize)
    }

    fn span(&self, span: saphyr_parser::Span) -> Span {
        Span::new(self.file, self.offset(span.start.index()), self.offset(span.end.index()))
    }

    fn error(&self, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Severity::Error, Some(span), message)
    }

    fn build(&mut self) -> Result<Node, Diagnostic> {
        let mut parser = Parser::new_from_str(self.text);
        let mut root = None;
        let mut documents = 0;
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| self.syntax_error(&error))?;
            let span = self.span(span);
            let done = match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        let mut error = self.error(span, "a second document begins here: one file has one document");
                        error.help("put it into a file of its own and give `--config` twice, or name the folder");
                        return Err(error);
                    }
                    None
                }
                Event::Alias(id) => Some(self.alias(id, span)?),
                Event::Scalar(value, style, anchor, tag) => {
                    let node = self.scalar(value.into_owned(), style, span, tag.as_deref())?;
                    if anchor > 0 {
                        self.anchors.insert(anchor, (node.clone(), 1));
                    }
                    Some(node)
                }
                Event::SequenceStart(anchor, tag) => {
                    self.open(NodeKind::Seq(Vec::new()), anchor, span, tag.as_deref())?;
                    None
                }
                Event::MappingStart(anchor, tag) => {
                    self.open(NodeKind::Map(Vec::new()), anchor, span, tag.as_deref())?;
                    None
                }
                Event::SequenceEnd | Event::MappingEnd => self.close(span),
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => None,
            };
            if let Some(node) = done
                && let Some(node) = self.place(node)?
            {
                root = Some(node);
            }
        }
        Ok(match root {
            Some(node) if !node.is_null() => node,
            _ => Node::empty_map(Span::new(self.file, 0, 0)),
        })
    }

    fn open(
        &mut self,
        kind: NodeKind,
        anchor: usize,
        span: Span,
        tag: Option<&saphyr_parser::Tag>,
    ) -> Result<(), Diagnostic> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(self.error(span, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        if let Some(tag) = tag
            && !(tag.is_yaml_core_schema() && matches!(tag.suffix.as_str(), "map" | "seq"))
        {
            return Err(self.error(span, format!("the tag `{tag}` is not known here")));
        }
        if let Some(open) = self.stack.last()
            && matches!(open.node.kind, NodeKind::Map(_))
            && open.key.is_none()
        {
            return Err(self.key_error(span));
        }
        let flow = self.text[span.range()].trim_start().starts_with(['[', '{']);
        let style = if flow { Style::Flow } else { Style::Plain };
        let node = Node::collection(kind, Span { end: span.start, ..span }, style);
        self.stack.push(Open { node, anchor, key: None, seen: HashMap::new() });
        Ok(())
    }

    fn key_error(&self, span: Span) -> Diagnostic {
        let mut error = self.error(span, "a key must be a scalar, not a list or a mapping");
        error.help("a template that begins with `{{` must be quoted: \"{{ field }}\"");
        error
    }

    fn close(&mut self, span: Span) -> Option<Node> {
        let mut open = self.stack.pop()?;
        let end = match &open.node.kind {
            _ if open.node.style == Style::Flow => span.end,
            NodeKind::Seq(items) => items.last().map_or(open.node.span.start, |last| last.span.end),
            NodeKind::Map(entries) => {
                entries.last().map_or(open.node.span.start, |last| last.key_span.to(last.value.span).end)
            }
            _ => span.end,
        };
        // An alias as last element points back to where its anchor is; the block still ends at or after its start.
        open.node.span.end = end.max(open.node.span.start);
        if open.anchor > 0 {
            let count = count(&open.node);
            self.anchors.insert(open.anchor, (open.node.clone(), count));
        }
        Some(open.node)
    }

    /// Puts a finished value where it belongs; gives it back where it is the root.
    fn place(&mut self, node: Node) -> Result<Option<Node>, Diagnostic> {
        let Some(mut open) = self.stack.pop() else { return Ok(Some(node)) };
        let result = self.place_in(&mut open, node);
        self.stack.push(open);
        result.map(|()| None)
    }

    fn place_in(&mut self, open: &mut Open, node: Node) -> Result<(), Diagnostic> {
        match &mut open.node.kind {
            NodeKind::Seq(items) => items.push(node),
            NodeKind::Map(entries) => match open.key.take() {
                None => {
                    if matches!(node.kind, NodeKind::Seq(_) | NodeKind::Map(_)) {
                        return Err(self.key_error(node.span));
                    }
                    if node.kind == NodeKind::Str("<<".into()) && node.style == Style::Plain {
                        let mut error = self.error(node.span, "merge keys (`<<`) are not part of YAML 1.2");
                        error.help("write the keys out, or give the whole block an anchor and use its alias");
                        self.diagnostics.push(error);
                    }
                    let key = node.text;
                    let repeated = open.seen.contains_key(&key);
                    match open.seen.get(&key) {
                        Some(&first) => {
                            let mut error = self.error(node.span, format!("key `{key}` is given twice"));
                            error.note(first, "first given here");
                            self.diagnostics.push(error);
                        }
                        None => _ = open.seen.insert(key.clone(), node.span),
                    }
                    open.key = Some(Key { text: key, span: node.span, repeated });
                }
                // What it hides stays hidden: the excerpt of the mistake shows the line.
                Some(Key { repeated: true, text, .. }) => {
                    self.repeated.push((node, is_secret_name(&text) || is_secret_block(&text)));
                }
                Some(Key { text: key, span: key_span, .. }) => entries.push(Entry { key, key_span, value: node }),
            },
            _ => {}
        }
        Ok(())
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<Node, Diagnostic> {
        let Some((node, count)) = self.anchors.get(&id) else {
            return Err(self.error(span, "an alias inside the block that it names"));
        };
        self.alias_nodes += count;
        if self.alias_nodes > MAX_ALIAS_NODES {
            let message = format!("aliases repeat more than {MAX_ALIAS_NODES} values");
            return Err(self.error(span, message));
        }
        let depth = depth(node);
        if self.stack.len() + depth > MAX_DEPTH {
            return Err(self.error(span, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(node.clone())
    }

    fn scalar(
        &mut self,
        value: String,
        style: ScalarStyle,
        span: Span,
        tag: Option<&saphyr_parser::Tag>,
    ) -> Result<Node, Diagnostic> {
        let style = match style {
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::SingleQuoted => Style::Single,
            ScalarStyle::DoubleQuoted => Style::Double,
            ScalarStyle::Literal => Style::Literal,
            ScalarStyle::Folded => Style::Folded,
        };
        let span = self.scalar_span(span, style, value.is_empty());
        let mut node = Node::scalar(value, style, span);
        let Some(tag) = tag else { return Ok(node) };
        let fits = tag.is_yaml_core_schema()
            && match tag.suffix.as_str() {
                "str" => {
                    node.kind = NodeKind::Str(node.text.clone());
                    true
                }
                "int" | "float" | "bool" | "null" => {
                    node.kind = plain_kind(&node.text);
                    !matches!(node.kind, NodeKind::Str(_))
                }
                _ => false,
            }
            || tag.handle == "!" && tag.suffix.is_empty();
        if !fits {
            return Err(self.error(span, format!("the tag `{tag}` does not fit here")));
        }
        Ok(node)
    }

    /// The parser's span without an anchor, a tag and blanks around the scalar.
    fn scalar_span(&self, span: Span, style: Style, empty: bool) -> Span {
        let raw = &self.text[span.range()];
        if empty && style == Style::Plain {
            return Span { end: span.start, ..span };
        }
        let trimmed = match style {
            Style::Literal | Style::Folded => raw.trim_end(),
            Style::Single => raw.rfind('\'').map_or(raw, |end| &raw[..=end]),
            Style::Double => raw.rfind('"').map_or(raw, |end| &raw[..=end]),
            Style::Plain | Style::Flow => raw.trim_end(),
        };
        let mut rest = trimmed;
        while !matches!(style, Style::Literal | Style::Folded) && rest.starts_with(['&', '!']) {
            let word = rest.find([' ', '\n', '\t']).unwrap_or(rest.len());
            let after = rest[word..].trim_start();
            if after.is_empty() {
                break;
            }
            rest = after;
        }
        let start = span.start as usize + (trimmed.len() - rest.len());
        Span::new(self.file, start, start + rest.len())
    }

    fn syntax_error(&self, error: &saphyr_parser::ScanError) -> Diagnostic {
        let at = self.offset(error.marker().index());
        let end = self.text[at..].chars().next().map_or(at, |c| at + c.len_utf8());
        let info = error.info();
        if let Some((span, name)) = self.glued(at) {
            let mut diagnostic = self.error(span, format!("no blank after the colon of `{name}`"));
            diagnostic.help(format!("write `{name}: `, a blank and then the value"));
            return diagnostic;
        }
        let (message, help) = plain_words(info, self.text, at);
        let mut diagnostic = self.error(Span::new(self.file, at, end), message);
        if let Some(help) = help {
            diagnostic.help(help);
        }
        if info.contains("bracket") || info.contains("flow") || info.contains("invalid indentation") {
            self.explain_bracket(&mut diagnostic, at);
        }
        diagnostic
    }

    /// A key whose value stands behind its colon without a blank, where that may be why the text at `at` cannot be read: just
    /// there, or alone on the line before.
    fn glued(&self, at: usize) -> Option<(Span, &'t str)> {
        let is_key = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let head = &self.text[..at];
        let bytes = self.text.as_bytes();
        let opens = |n: usize| bytes.get(n) == Some(&b':') && bytes.get(n + 1).is_some_and(|b| b"[{\"'".contains(b));
        let colon = [Some(at), at.checked_sub(1)].into_iter().flatten().find(|&n| opens(n));
        if let Some(colon) = colon {
            let begin = self.text[..colon].trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '_').len();
            let name = &self.text[begin..colon];
            return is_key(name).then(|| (Span::new(self.file, begin, colon + 1), name));
        }
        let before = head[..head.rfind('\n')?].trim_end();
        let begin = before.rfind('\n').map_or(0, |n| n + 1);
        let line = before[begin..].trim_start();
        let (name, value) = line.split_once(':')?;
        let glued = is_key(name) && value.starts_with(|c: char| !c.is_whitespace()) && !value.contains(": ");
        let start = before.len() - line.len();
        glued.then(|| (Span::new(self.file, start, start + name.len() + 1), name))
    }

    /// Names the quote or bracket that is open at `at`.
    fn explain_bracket(&self, diagnostic: &mut Diagnostic, at: usize) {
        let (brackets, quote) = open_at_end(&self.text[..at + usize::from(self.text[at..].starts_with(['"', '\'']))]);
        if let Some((open, quote)) = quote {
            diagnostic.note(Span::new(self.file, open, open + 1), format!("this `{quote}` is not closed"));
            return;
        }
        let Some(&(open, bracket)) = brackets.last() else { return };
        let close = if bracket == '[' { ']' } else { '}' };
        diagnostic.note(Span::new(self.file, open, open + 1), format!("this `{bracket}` is open"));
        match self.text[at..].chars().next().filter(|c| matches!(c, ']' | '}') && *c != close) {
            Some(wrong) => diagnostic.message = format!("`{wrong}` where `{close}` is expected"),
            None => _ = diagnostic.help(format!("close `{bracket}` with `{close}`")),
        }
    }
}

/// The parser's words in the words of someone who writes a configuration.
fn plain_words(info: &str, text: &str, at: usize) -> (String, Option<&'static str>) {
    let line_start = text[..at].rfind('\n').map_or(0, |n| n + 1);
    let before = &text[line_start..at];
    let rest = &text[at..];
    if let Some(c) = rest.chars().next().filter(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r')) {
        let message = format!("the character U+{:04X}, which YAML does not allow", u32::from(c));
        return (message, Some("write it as an escape in double quotes, such as \"\\x1b\""));
    }
    if before.trim().is_empty() && (before.contains('\t') || rest.starts_with('\t')) || info.contains("tab") {
        return ("a tab character where YAML allows only spaces".into(), Some("indent with spaces"));
    }
    if info.contains("mapping values are not allowed") {
        return (
            "a `:` where no key can be".into(),
            Some("quote a value that contains `: `, and check that the line is indented like its neighbours"),
        );
    }
    if info.contains("did not find expected key") || info.contains("expected '-' indicator") {
        return (
            "this line does not fit the block it is in".into(),
            Some("keys of one block begin in the same column, and lists begin with `- `"),
        );
    }
    if info.contains("quoted scalar") && info.contains("end of stream") {
        return ("a quoted string that is never closed".into(), None);
    }
    if info.contains("unknown escape") {
        return (
            "an unknown escape in a double-quoted string".into(),
            Some("in double quotes a backslash must be doubled; in single quotes it is itself: '\\d+'"),
        );
    }
    if info.contains("unknown anchor") {
        return (
            "an alias to an anchor that is not there".into(),
            Some("a value that begins with `*` must be quoted: \"*.log\""),
        );
    }
    if info.contains("unexpected character") || rest.starts_with(['@', '`', '%']) {
        return (
            format!("a value cannot begin with `{}`", rest.chars().next().unwrap_or(' ')),
            Some("put the value in quotes"),
        );
    }
    if info.contains("recursion limit") {
        return (format!("nested deeper than {MAX_DEPTH} levels"), None);
    }
    if info.contains("invalid indentation") {
        return ("this line is indented too little, or a `[`, `{` or quote above it is not closed".into(), None);
    }
    if info.contains("bracket") || info.contains("flow") {
        let what = match rest.chars().next() {
            Some(c @ (']' | '}')) => format!("`{c}` closes what is not open"),
            _ => "a `[` or `{` is not closed, or a `,` is missing".to_owned(),
        };
        return (what, None);
    }
    (format!("this is not YAML: {info}"), None)
}

/// The brackets of lists and mappings, and the quote, that are open at the end of a text: where, and which. What stands in quotes
/// and comments opens none.
fn open_at_end(text: &str) -> (Vec<(usize, char)>, Option<(usize, char)>) {
    let mut open = Vec::new();
    let mut quote: Option<(usize, char)> = None;
    let (mut comment, mut before) = (false, ' ');
    for (at, c) in text.char_indices() {
        let begins = before.is_whitespace() || "[{,:".contains(before);
        match (quote, c) {
            _ if comment => comment = c != '\n',
            (Some((_, '"')), _) if before == '\\' => {
                before = ' ';
                continue;
            }
            (Some((_, mark)), _) => quote = quote.filter(|_| mark != c),
            (None, '#') => comment = before.is_whitespace(),
            (None, '"' | '\'') if begins => quote = Some((at, c)),
            (None, '[' | '{') if !open.is_empty() || begins => open.push((at, c)),
            (None, ']' | '}') => _ = open.pop(),
            _ => {}
        }
        before = c;
    }
    (open, quote)
}

fn count(node: &Node) -> usize {
    1 + match &node.kind {
        NodeKind::Seq(items) => items.iter().map(count).sum(),
        NodeKind::Map(entries) => entries.iter().map(|entry| count(&entry.value)).sum(),
        _ => 0,
    }
}

fn depth(node: &Node) -> usize {
    match &node.kind {
        NodeKind::Seq(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        NodeKind::Map(entries) => 1 + entries.iter().map(|entry| depth(&entry.value)).max().unwrap_or(0),
        _ => 0,
    }
}

/// What the keys of a mapping are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    /// Sections and settings of the agent.
    Top,
    /// Ids of components: a mapping under one is not hidden for its name.
    Ids,
    /// Settings.
    Setting,
}

/// Marks what stands under a key named like a secret, and all that a block of credentials holds: where it is written in a
/// wrong shape, nothing else tells the secret from the rest.
fn mark_secrets(node: &mut Node, secret: bool, level: Level, sources: &mut SourceMap) {
    match &mut node.kind {
        NodeKind::Seq(items) => items.iter_mut().for_each(|item| mark_secrets(item, secret, level, sources)),
        NodeKind::Map(entries) => {
            for entry in entries {
                let block = matches!(entry.value.kind, NodeKind::Map(_));
                let named =
                    (is_secret_name(&entry.key) || is_secret_block(&entry.key)) && !(block && level == Level::Ids);
                let below = match &*entry.key {
                    "sources" | "transforms" | "sinks" if level == Level::Top => Level::Ids,
                    _ => Level::Setting,
                };
                mark_secrets(&mut entry.value, secret || named, below, sources);
            }
        }
        NodeKind::Null => {}
        _ if secret => {
            node.secret = true;
            sources.mask(node.span);
        }
        _ => {}
    }
}

/// Masks by appearance in a text that could not be read as YAML: from a key named like a secret to the end of its block.
pub(crate) fn mask_unread(file: u32, text: &str, sources: &mut SourceMap) {
    let mut at = 0;
    // Indentation of the secret key whose block is being masked, and the quote that is still open in it.
    let mut inside: Option<usize> = None;
    let mut quote: Option<char> = None;
    for line in text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start().len();
        let span = |from: usize| Span::new(file, at + from, at + line.trim_end().len().max(from));
        if let Some(open) = quote {
            sources.mask(span(indent.min(line.trim_end().len())));
            if line.contains(open) {
                quote = None;
            }
        } else if inside.is_some_and(|outer| indent > outer || line.trim().is_empty()) {
            sources.mask(span(indent.min(line.trim_end().len())));
        } else {
            inside = None;
            if let Some(value) = secret_value_start(line) {
                sources.mask(span(value));
                inside = Some(indent);
                let rest = line[value..].trim();
                quote = rest.chars().next().filter(|&c| matches!(c, '"' | '\'') && !rest[1..].contains(c));
            }
        }
        at += line.len();
    }
}

/// Where the value of the first key named like a secret begins in a line.
fn secret_value_start(line: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(found) = line[from..].find([':', '=']) {
        let at = from + found;
        let key_end = line[..at].trim_end().trim_end_matches(['"', '\'']);
        let start = key_end
            .rfind(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.')))
            .map_or(0, |n| n + key_end[n..].chars().next().map_or(1, char::len_utf8));
        if is_secret_name(&key_end[start..]) || is_secret_block(&key_end[start..]) {
            let rest = &line[at + 1..];
            return Some(at + 1 + (rest.len() - rest.trim_start_matches([' ', '\t']).len()));
        }
        from = at + 1;
    }
    None
}
