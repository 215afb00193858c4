//! Regular expressions of users: compiled once, searched together with a cache of their own.

use super::find::Found;
use regex_automata::meta::{Cache, Config, Regex};
use regex_automata::util::primitives::NonMaxUsize;
use regex_automata::{Input, PatternID};
use regex_syntax::Parser;
use std::fmt;

/// The largest automaton that one pattern may compile to.
const MAX_AUTOMATON_BYTES: usize = 4 << 20;
/// What all patterns together may compile to.
const MAX_TOGETHER_BYTES: usize = 32 << 20;
/// How much the lazily built states of a search may take, per worker.
const MAX_CACHE_BYTES: usize = 1 << 20;

/// A user's pattern.
#[derive(Clone, Debug)]
pub struct PatternSpec {
    /// The name its hits are counted under.
    pub name: String,
    /// The expression, with Unicode classes.
    pub regex: String,
    /// What stands in for a hit, with `$1` or `${name}` for groups; the action of the transform when absent.
    pub replace: Option<String>,
}

/// Why a pattern cannot be used.
#[derive(Debug)]
pub enum PatternError {
    /// The expression does not parse; the text shows where.
    Syntax(Box<regex_syntax::Error>),
    /// It compiles to more than the limit.
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// It cannot be compiled for another reason.
    Build(String),
    /// `replace` names a group that the expression does not have.
    UnknownGroup(String),
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(e) => write!(f, "{}", syntax_message(e)),
            Self::TooLarge { limit } => {
                write!(f, "the regular expression is too large: it compiles to more than {} MiB", limit >> 20)
            }
            Self::Build(e) => write!(f, "the regular expression cannot be compiled: {e}"),
            Self::UnknownGroup(g) => {
                write!(f, "`replace` names the group `{g}`, which the regular expression does not have")
            }
        }
    }
}

impl std::error::Error for PatternError {}

impl PatternError {
    /// The part of the expression that is wrong, where one is.
    pub fn at(&self) -> Option<std::ops::Range<usize>> {
        let Self::Syntax(e) = self else { return None };
        let span = match e.as_ref() {
            regex_syntax::Error::Parse(e) => e.span(),
            regex_syntax::Error::Translate(e) => e.span(),
            _ => return None,
        };
        Some(span.start.offset..span.end.offset)
    }
}

/// The reason and the column, in one line.
fn syntax_message(e: &regex_syntax::Error) -> String {
    let (kind, span) = match e {
        regex_syntax::Error::Parse(e) => (e.kind().to_string(), e.span()),
        regex_syntax::Error::Translate(e) => (e.kind().to_string(), e.span()),
        other => return other.to_string(),
    };
    format!("not a regular expression: {kind} at character {}", span.start.column)
}

/// A part of a replacement text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Group(usize),
}

/// What stands in for a hit of a pattern.
#[derive(Debug)]
struct Template {
    parts: Vec<Part>,
    /// Compiled alone, to find its groups; absent where no group is named.
    groups: Option<Regex>,
}

/// All patterns of a transform, compiled.
#[derive(Debug)]
pub(super) struct Patterns {
    /// All those that match no empty text, together; with their places in the written order.
    together: Option<(Regex, Vec<u16>)>,
    /// Those that may match the empty text, each alone: an empty match would hide others.
    alone: Vec<(Regex, u16)>,
    templates: Vec<Option<Template>>,
}

/// What a search needs of its own.
#[derive(Debug)]
pub(super) struct PatternCaches {
    together: Option<Cache>,
    alone: Vec<Cache>,
    groups: Vec<Option<Cache>>,
    slots: Vec<Option<NonMaxUsize>>,
}

fn config(limit: usize) -> Config {
    Regex::config().nfa_size_limit(Some(limit)).hybrid_cache_capacity(MAX_CACHE_BYTES)
}

fn build(exprs: &[&str], limit: usize) -> Result<Regex, PatternError> {
    Regex::builder().configure(config(limit)).build_many(exprs).map_err(|e| match e.size_limit() {
        Some(limit) => PatternError::TooLarge { limit },
        None => PatternError::Build(e.to_string()),
    })
}

impl PatternSpec {
    /// Compiles the pattern alone, to see whether it can be used.
    pub fn check(&self) -> Result<(), PatternError> {
        Patterns::one(self).map(|_| ())
    }
}

impl Patterns {
    /// Compiles the patterns. All mistakes are returned, with the places of their patterns.
    pub(super) fn new(specs: &[PatternSpec]) -> Result<Self, Vec<(usize, PatternError)>> {
        let mut errors = Vec::new();
        let mut together = Vec::new();
        let mut alone = Vec::new();
        let mut templates = Vec::new();
        for (i, spec) in specs.iter().enumerate() {
            match Self::one(spec) {
                Ok((regex, empty, template)) => {
                    templates.push(template);
                    // The number of rules is checked where they are read.
                    let place = i as u16;
                    if empty {
                        alone.push((regex, place));
                    } else {
                        together.push((spec.regex.as_str(), place));
                    }
                }
                Err(e) => errors.push((i, e)),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let exprs: Vec<&str> = together.iter().map(|p| p.0).collect();
        let together = if exprs.is_empty() {
            None
        } else {
            let regex = build(&exprs, MAX_TOGETHER_BYTES).map_err(|e| vec![(0, e)])?;
            Some((regex, together.iter().map(|p| p.1).collect()))
        };
        Ok(Self { together, alone, templates })
    }

    fn one(spec: &PatternSpec) -> Result<(Regex, bool, Option<Template>), PatternError> {
        let hir = Parser::new().parse(&spec.regex).map_err(|e| PatternError::Syntax(Box::new(e)))?;
        let empty = hir.properties().minimum_len() == Some(0);
        let regex = build(&[&spec.regex], MAX_AUTOMATON_BYTES)?;
        let template = match &spec.replace {
            None => None,
            Some(text) => {
                let parts = parse_template(text, &regex)?;
                let groups = parts.iter().any(|p| matches!(p, Part::Group(_))).then(|| regex.clone());
                Some(Template { parts, groups })
            }
        };
        Ok((regex, empty, template))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.together.is_none() && self.alone.is_empty()
    }

    pub(super) fn caches(&self) -> PatternCaches {
        let groups = |t: &Option<Template>| t.as_ref().and_then(|t| t.groups.as_ref()).map(Regex::create_cache);
        let slots =
            self.templates.iter().flatten().filter_map(|t| t.groups.as_ref()).map(|r| r.captures_len() * 2).max();
        PatternCaches {
            together: self.together.as_ref().map(|(r, _)| r.create_cache()),
            alone: self.alone.iter().map(|(r, _)| r.create_cache()).collect(),
            groups: self.templates.iter().map(groups).collect(),
            slots: vec![None; slots.unwrap_or(0)],
        }
    }

    /// The leftmost match at or after `from` that is not empty; of those at one place, that of the first pattern.
    pub(super) fn find(&self, caches: &mut PatternCaches, text: &[u8], from: usize) -> Option<(Found, u16)> {
        let mut best: Option<(Found, u16)> = None;
        if let (Some((regex, places)), Some(cache)) = (&self.together, &mut caches.together)
            && let Some(m) = regex.search_with(cache, &Input::new(text).range(from..))
        {
            best = Some((Found::plain(m.start(), m.end()), places[m.pattern().as_usize()]));
        }
        for ((regex, place), cache) in self.alone.iter().zip(&mut caches.alone) {
            let mut at = from;
            while at < text.len() {
                let Some(m) = regex.search_with(cache, &Input::new(text).range(at..)) else { break };
                if m.is_empty() {
                    at = m.end() + 1;
                    continue;
                }
                if best.is_none_or(|(b, p)| (m.start(), *place) < (b.start, p)) {
                    best = Some((Found::plain(m.start(), m.end()), *place));
                }
                break;
            }
        }
        best
    }

    /// Appends what stands in for the hit of a pattern. `false` where the pattern has no replacement of its own.
    pub(super) fn replace(
        &self,
        caches: &mut PatternCaches,
        place: u16,
        text: &[u8],
        hit: std::ops::Range<usize>,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(template) = self.templates.get(usize::from(place)).and_then(Option::as_ref) else { return false };
        let mut slots = &mut caches.slots[..0];
        if let (Some(regex), Some(cache)) = (&template.groups, &mut caches.groups[usize::from(place)]) {
            slots = &mut caches.slots[..regex.captures_len() * 2];
            slots.fill(None);
            let input = Input::new(text).range(hit).anchored(regex_automata::Anchored::Pattern(PatternID::ZERO));
            regex.search_slots_with(cache, &input, slots);
        }
        for part in &template.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Group(g) => {
                    if let (Some(Some(a)), Some(Some(b))) = (slots.get(2 * g), slots.get(2 * g + 1)) {
                        out.extend_from_slice(&text[a.get()..b.get()]);
                    }
                }
            }
        }
        true
    }
}

/// Reads a replacement: `$1`, `$name`, `${1}`, `${name}` are groups, `$$` a dollar sign, any other `$` itself.
///
/// A name goes as far as letters, digits and `_` do; a number as far as digits do.
fn parse_template(text: &str, regex: &Regex) -> Result<Vec<Part>, PatternError> {
    let bytes = text.as_bytes();
    let mut parts = Vec::new();
    let mut literal = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'$' {
            literal.push(bytes[at]);
            at += 1;
            continue;
        }
        let rest = &text[at + 1..];
        let (name, used) = if rest.starts_with('$') {
            literal.push(b'$');
            at += 2;
            continue;
        } else if let Some(braced) = rest.strip_prefix('{') {
            match braced.find('}') {
                Some(end) => (&braced[..end], end + 3),
                None => ("", 0),
            }
        } else {
            let numeric = rest.starts_with(|c: char| c.is_ascii_digit());
            let part = |c: char| if numeric { c.is_ascii_digit() } else { c.is_ascii_alphanumeric() || c == '_' };
            let end = rest.find(|c| !part(c)).unwrap_or(rest.len());
            (&rest[..end], end + 1)
        };
        if name.is_empty() {
            literal.push(b'$');
            at += 1;
            continue;
        }
        let group = match name.parse::<usize>() {
            Ok(n) => Some(n).filter(|&n| n < regex.captures_len()),
            Err(_) => regex.group_info().to_index(PatternID::ZERO, name),
        };
        let Some(group) = group else { return Err(PatternError::UnknownGroup(name.to_owned())) };
        if !literal.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut literal)));
        }
        parts.push(Part::Group(group));
        at += used;
    }
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    Ok(parts)
}
