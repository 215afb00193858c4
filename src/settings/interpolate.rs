//! `${…}` in scalars, after the YAML is parsed: a value can never change the structure.
//!
//! | Written | Becomes |
//! |---|---|
//! | `${VAR}` | the variable; not set: an error here |
//! | `${VAR:-default}` | the variable, or `default` where it is not set or empty; may hold further `${…}` |
//! | `${VAR:?message}` | the variable; not set or empty: an error with that message |
//! | `${file:/path}` | the file's text without one trailing line end; always a secret |
//! | `$$` | `$` |
//! | any other `$` | itself |
//!
//! Keys are not interpolated.

use std::path::Path;

use super::diagnostic::{Diagnostic, Diagnostics, Severity};
use super::node::{Node, NodeKind, Style, plain_kind};
use super::source_map::SourceMap;
use crate::text::mask::is_secret_name;

/// Where `${…}` takes its values from: handed in, never global, so that two configurations can be read side by side.
pub trait Environment {
    /// The variable's value; `None` where it is not set.
    fn var(&self, name: &str) -> Option<String>;
    /// The file's text.
    ///
    /// # Errors
    /// Says why the file cannot be read.
    fn file(&self, path: &Path) -> std::io::Result<String>;
}

/// The variables and files of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessEnvironment;

/// The longest file `${file:…}` reads.
const MAX_FILE_VALUE_BYTES: u64 = 1 << 20;
/// The longest text a scalar may grow to.
const MAX_VALUE_BYTES: usize = 4 << 20;
/// How deep `${A:-${B:-…}}` may go.
const MAX_NESTING: usize = 8;

impl Environment for ProcessEnvironment {
    fn var(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &Path) -> std::io::Result<String> {
        use std::io::Read as _;
        let mut text = String::new();
        let file = std::fs::File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(std::io::Error::new(std::io::ErrorKind::IsADirectory, "is a folder"));
        }
        file.take(MAX_FILE_VALUE_BYTES + 1).read_to_string(&mut text)?;
        if text.len() as u64 > MAX_FILE_VALUE_BYTES {
            return Err(std::io::Error::other(format!("has more than {MAX_FILE_VALUE_BYTES} bytes")));
        }
        Ok(text)
    }
}

/// Variables from a list, and no files: for tests and for checking a file apart from this host.
impl Environment for std::collections::BTreeMap<String, String> {
    fn var(&self, name: &str) -> Option<String> {
        self.get(name).cloned()
    }

    fn file(&self, _: &Path) -> std::io::Result<String> {
        Err(std::io::Error::new(std::io::ErrorKind::NotFound, "no such file"))
    }
}

/// Replaces `${…}` in every scalar below `node`, and takes note of what no message may show.
pub(crate) fn interpolate(
    node: &mut Node,
    environment: &dyn Environment,
    sources: &mut SourceMap,
    out: &mut Diagnostics,
) {
    walk(node, true, environment, sources, out);
}

/// `weak`: nothing but where it stands says that a value is a secret: the bare name `key`, which as often names a field
/// (`sample`) as a secret (`hmac`), or a block of credentials, which also holds names. It is hidden where it stands, but
/// other messages may use the same word.
fn walk(node: &mut Node, weak: bool, environment: &dyn Environment, sources: &mut SourceMap, out: &mut Diagnostics) {
    match &mut node.kind {
        NodeKind::Seq(items) => items.iter_mut().for_each(|item| walk(item, weak, environment, sources, out)),
        NodeKind::Map(entries) => {
            for entry in entries {
                let weak = entry.key == "key" || weak && !is_secret_name(&entry.key);
                walk(&mut entry.value, weak, environment, sources, out);
            }
        }
        NodeKind::Str(text) if text.contains('$') => {
            let text = std::mem::take(text);
            scalar(node, &text, weak, environment, sources, out);
        }
        NodeKind::Null => {}
        _ if node.secret => hide(node, weak, out),
        _ => {}
    }
}

fn hide(node: &Node, weak: bool, out: &mut Diagnostics) {
    if weak {
        out.add_interpolated(node.span, &node.text, "***", Vec::new());
    } else {
        out.add_secret(&node.text);
    }
}

struct Expansion<'e> {
    environment: &'e dyn Environment,
    /// What was put in, with the expression it stands for.
    pieces: Vec<(String, String)>,
    replaced: bool,
    from_file: bool,
}

/// A mistake in an expression, at a byte range of the scalar's text.
struct Fault {
    at: std::ops::Range<usize>,
    message: String,
    help: Option<String>,
}

fn scalar(
    node: &mut Node,
    text: &str,
    weak: bool,
    environment: &dyn Environment,
    sources: &mut SourceMap,
    out: &mut Diagnostics,
) {
    let mut expansion = Expansion { environment, pieces: Vec::new(), replaced: false, from_file: false };
    let mut faults = Vec::new();
    let value = expansion.expand(text, 0, 0, &mut faults);
    for fault in faults {
        let span = node.span_within(fault.at, sources).unwrap_or(node.span);
        let diagnostic = out.push(Diagnostic::new(Severity::Error, Some(span), fault.message));
        diagnostic.helps.extend(fault.help);
        node.broken = true;
        out.add_broken(node.span);
    }
    if expansion.from_file {
        node.secret = true;
        for (piece, _) in &expansion.pieces {
            out.add_secret(piece);
        }
    }
    if node.secret {
        sources.mask(node.span);
    }
    if expansion.replaced {
        node.interpolated = true;
        out.add_interpolated(node.span, &value, text, expansion.pieces);
    }
    node.kind = match plain_kind(&value) {
        NodeKind::Null => NodeKind::Str(value.clone()),
        kind if node.style == Style::Plain && expansion.replaced => kind,
        _ => NodeKind::Str(value.clone()),
    };
    node.text = value;
    if node.secret {
        hide(node, weak && !expansion.from_file, out);
    }
}

impl Expansion<'_> {
    /// Expands `text`, which begins at `base` of the scalar.
    fn expand(&mut self, text: &str, base: usize, nesting: usize, faults: &mut Vec<Fault>) -> String {
        let mut value = String::with_capacity(text.len());
        let mut at = 0;
        while let Some(found) = text[at..].find('$') {
            value.push_str(&text[at..at + found]);
            at += found;
            let rest = &text[at + 1..];
            if rest.starts_with('$') {
                value.push('$');
                at += 2;
            } else if rest.starts_with('{') {
                let Some(close) = closing_brace(rest) else {
                    faults.push(Fault {
                        at: base + at..base + text.len(),
                        message: "`${` without its `}`".into(),
                        help: Some("write `$${` for a literal `${`".into()),
                    });
                    return value;
                };
                let expression = &rest[1..close];
                let whole = base + at..base + at + close + 2;
                let before = faults.len();
                let inner = self.expression(expression, base + at + 2, whole, nesting, faults);
                self.replaced = true;
                if faults.len() == before {
                    self.pieces.push((inner.clone(), format!("${{{expression}}}")));
                }
                value.push_str(&inner);
                at += close + 2;
            } else {
                value.push('$');
                at += 1;
            }
            if value.len() > MAX_VALUE_BYTES {
                faults.push(Fault {
                    at: base..base + text.len(),
                    message: format!("grows beyond {MAX_VALUE_BYTES} bytes"),
                    help: None,
                });
                return String::new();
            }
        }
        value.push_str(&text[at..]);
        value
    }

    fn expression(
        &mut self,
        expression: &str,
        base: usize,
        whole: std::ops::Range<usize>,
        nesting: usize,
        faults: &mut Vec<Fault>,
    ) -> String {
        let mut fault = |message: String, help: Option<String>| {
            faults.push(Fault { at: whole.clone(), message, help });
            String::new()
        };
        if nesting >= MAX_NESTING {
            return fault(format!("`${{` nested deeper than {MAX_NESTING} levels"), None);
        }
        if let Some(path) = expression.strip_prefix("file:") {
            self.from_file = true;
            return match self.environment.file(Path::new(path)) {
                Ok(mut text) => {
                    if text.ends_with('\n') {
                        text.pop();
                        if text.ends_with('\r') {
                            text.pop();
                        }
                    }
                    super::secret::remember(&text);
                    text
                }
                Err(error) => fault(format!("cannot read `{path}`: {error}"), None),
            };
        }
        let name_end = expression.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(expression.len());
        let (name, modifier) = expression.split_at(name_end);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            let help = format!("write `$${{{expression}}}` for a literal `${{{expression}}}`");
            return fault(format!("`{expression}` names no environment variable"), Some(help));
        }
        let value = self.environment.var(name);
        if modifier.is_empty() {
            let help = format!("set it, or give a default: `${{{name}:-default}}`");
            return match value {
                Some(value) => value,
                None => fault(format!("environment variable `{name}` is not set"), Some(help)),
            };
        }
        let value = value.filter(|value| !value.is_empty());
        if let Some(default) = modifier.strip_prefix(":-") {
            return match value {
                Some(value) => value,
                None => self.expand(default, base + name_end + 2, nesting + 1, faults),
            };
        }
        if let Some(message) = modifier.strip_prefix(":?") {
            let message = if message.is_empty() { "is not set or empty" } else { message };
            return match value {
                Some(value) => value,
                None => fault(format!("environment variable `{name}`: {message}"), None),
            };
        }
        let help = "forms: `${VAR}`, `${VAR:-default}`, `${VAR:?message}`, `${file:/path}`; `$${` for a literal `${`";
        fault(format!("`{modifier}` after the variable `{name}` means nothing"), Some(help.into()))
    }
}

/// Offset of the `}` that closes the `{` which `text` begins with.
fn closing_brace(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => open += 1,
            '}' => {
                open -= 1;
                if open == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}
