//! One pass over a text: finds what is to be replaced, and writes the text without it.
//!
//! **Which hits**: leftmost first; at one place patterns before kinds, each in written order; the text of a hit is not
//! searched again. Every rule keeps its next hit; the first of all is taken, and the rules whose hit it runs into
//! search again behind it. So a rule passes over the text about once, however many rules and hits there are.

use super::find::secrets::{skip_space, space_before};
use super::find::{Finder, Found};
use super::gate::Gate;
use super::kinds::DetectKind;
use super::marks::Marks;
use super::patterns::{PatternCaches, PatternError, PatternSpec, Patterns};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;
use std::sync::Arc;

/// What stands in for a value that is masked.
pub const MASK: &[u8] = b"***";

/// What is done with a hit.
#[derive(Clone)]
pub enum Action {
    /// `***` instead.
    Mask,
    /// Nothing instead.
    Remove,
    /// The HMAC-SHA256 of the value with this key instead, as 64 hexadecimal digits.
    Hash(HashKey),
    /// `***` and the last characters; `***` alone where the value has no more than that.
    KeepLast(usize),
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mask => f.write_str("Mask"),
            Self::Remove => f.write_str("Remove"),
            Self::Hash(_) => f.write_str("Hash(***)"),
            Self::KeepLast(n) => write!(f, "KeepLast({n})"),
        }
    }
}

/// The key of a keyed hash, with its first blocks computed. Shown nowhere.
#[derive(Clone)]
pub struct HashKey(Hmac<Sha256>);

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl HashKey {
    /// Any length of key will do; an empty one is refused where settings are read.
    pub fn new(key: &[u8]) -> Option<Self> {
        Hmac::new_from_slice(key).ok().map(Self)
    }
}

impl Action {
    /// Appends what stands in for `value`.
    pub fn write(&self, value: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Mask => out.extend_from_slice(MASK),
            Self::Remove => {}
            Self::Hash(key) => {
                let mut mac = key.0.clone();
                mac.update(value);
                for b in mac.finalize().into_bytes() {
                    out.extend_from_slice(&[HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]]);
                }
            }
            Self::KeepLast(n) => {
                out.extend_from_slice(MASK);
                out.extend_from_slice(tail(value, *n));
            }
        }
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The last `n` characters of UTF-8, or none of them: where there are no more than `n`, and where they have a quote or
/// a backslash, of which half an escape might be left.
fn tail(value: &[u8], n: usize) -> &[u8] {
    let mut at = value.len();
    for _ in 0..n {
        if at == 0 {
            return &[];
        }
        at -= 1;
        while at > 0 && value[at] & 0xc0 == 0x80 {
            at -= 1;
        }
    }
    let tail = &value[at..];
    if at == 0 || tail.iter().any(|b| matches!(b, b'"' | b'\\' | b'\'')) { &[] } else { tail }
}

/// A place that is to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Where it begins, in bytes.
    pub start: usize,
    /// Where it ends, in bytes, exclusive.
    pub end: usize,
    /// Place of its rule in [`Rules::names`].
    pub rule: u16,
    /// Zero; or the replacement needs quotes around it, each after this many backslashes less one, because the hit is a
    /// number, array or object of JSON inside the text.
    pub wrap: u8,
}

/// A finder and what it finds.
struct Entry {
    gate: Gate,
    finder: Finder,
    /// Places of its rules in [`Rules::names`], by [`Found::which`].
    rules: Vec<u16>,
}

/// All that is looked for, compiled once and shared by the workers.
pub struct Rules {
    patterns: Patterns,
    /// How many of the rules are patterns: these come first.
    pattern_count: u16,
    finders: Vec<Entry>,
    names: Vec<String>,
    secrets: Option<u16>,
    in_numbers: bool,
    action: Action,
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules").field("names", &self.names).field("action", &self.action).finish_non_exhaustive()
    }
}

impl Rules {
    /// Compiles the rules; `detect` named twice counts once.
    ///
    /// Errors: every pattern that cannot be used, with its place.
    pub fn new(
        detect: &[DetectKind],
        patterns: &[PatternSpec],
        action: Action,
    ) -> Result<Self, Vec<(usize, PatternError)>> {
        let compiled = Patterns::new(patterns)?;
        let mut names: Vec<String> = patterns.iter().map(|p| p.name.clone()).collect();
        let pattern_count = patterns.len() as u16;
        let in_numbers = !patterns.is_empty() || detect.iter().any(|k| k.in_numbers());
        let mut kinds: Vec<(DetectKind, u16)> = Vec::new();
        let mut finders = Vec::new();
        for &kind in detect {
            if kinds.iter().any(|k| k.0 == kind) {
                continue;
            }
            let rule = names.len() as u16;
            let Some(of_kind) = Finder::of(kind) else {
                return Err(vec![(0, PatternError::Build(format!("no finder for `{}`", kind.word())))]);
            };
            kinds.push((kind, rule));
            names.push(kind.word().to_owned());
            let entry = |finder| Entry { gate: Gate::for_finder(kind, &finder), finder, rules: vec![rule] };
            finders.extend(of_kind.into_iter().map(entry));
        }
        let secrets = kinds.iter().find(|k| k.0 == DetectKind::Secrets).map(|k| k.1);
        if let Some((finder, rules)) = Finder::makers(&kinds) {
            finders.push(Entry { gate: Gate::for_finder(DetectKind::Secrets, &finder), finder, rules });
        }
        Ok(Self { patterns: compiled, pattern_count, finders, names, secrets, in_numbers, action })
    }

    /// How many of the rules are patterns.
    pub(super) fn pattern_count(&self) -> usize {
        usize::from(self.pattern_count)
    }

    /// The names of the rules, as counted: patterns first, then kinds.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The rule that masks fields by their key, where `secrets` is looked for.
    pub fn secrets_rule(&self) -> Option<u16> {
        self.secrets
    }

    /// Whether the text of a JSON number may hold a hit.
    pub fn in_numbers(&self) -> bool {
        self.in_numbers
    }

    /// Whether a key may hold a hit: a short one of letters and `_` cannot, unless there are patterns.
    pub(super) fn in_key(&self, key: &[u8]) -> bool {
        /// Shorter than every token of letters alone.
        const SHORT: usize = 16;
        self.pattern_count > 0 || key.len() > SHORT || !key.iter().all(|b| b.is_ascii_alphabetic() || *b == b'_')
    }

    /// What is done with hits that have no replacement of their own.
    pub fn action(&self) -> &Action {
        &self.action
    }

    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.finders.is_empty() && self.patterns.is_empty()
    }
}

/// A hit in a number of JSON that stands in the text, made to be all of it and to get quotes, so that JSON stays JSON.
#[cold]
fn in_json_number(text: &[u8], found: Found) -> Found {
    let number = |b: u8| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E');
    let end = found.end + text[found.end..].iter().take(32).take_while(|&&b| number(b)).count();
    let after = skip_space(text, end);
    if !matches!(text.get(after), Some(b',' | b'}' | b']')) {
        return found;
    }
    let start = found.start - text[..found.start].iter().rev().take(32).take_while(|&&b| number(b)).count();
    if !text[start..end].iter().all(|&b| number(b)) {
        return found;
    }
    // Back over other elements of the same array, to the colon behind a key.
    let list = |b: &&u8| {
        number(**b)
            || matches!(**b, b',' | b' ' | b'[' | b'"' | b'*' | b'\\' | b'n' | b'r' | b't' | b'\n' | b'\r' | b'\t')
    };
    let head = &text[..space_before(text, start)];
    let head = if head.ends_with(b":") {
        head
    } else {
        &text[..start - text[..start].iter().rev().take(512).take_while(list).count()]
    };
    // Not within a string of it.
    let array = &text[head.len()..start];
    let list = array.is_empty() || array[skip_space(array, 0)..].starts_with(b"[");
    let inside = array.iter().filter(|&&b| b == b'"').count() % 2 == 1;
    if inside || !(list || skip_space(array, 0) == array.len()) {
        return found;
    }
    let wrap = match head.strip_suffix(b":").map(|key| &key[..space_before(key, key.len())]) {
        Some(key) if key.ends_with(b"\"") => 1 + key[..key.len() - 1].iter().rev().take_while(|&&b| b == b'\\').count(),
        _ if head.is_empty() && text.first() == Some(&b'[') => 1,
        _ => return found,
    };
    u8::try_from(wrap).map_or(found, |wrap| Found { start, end, wrap, ..found })
}

/// A hit whose ends are moved outwards to where characters begin: finders look at bytes, and what is left of a text is text.
#[inline]
fn on_characters(text: &[u8], mut found: Found) -> Found {
    let within = |at: usize| text.get(at).is_some_and(|b| b & 0xc0 == 0x80);
    while found.start > 0 && within(found.start) {
        found.start -= 1;
    }
    while within(found.end) {
        found.end += 1;
    }
    found
}

/// The next hit of a rule, or that it has none.
const NONE: usize = usize::MAX;

/// Searches texts for the rules: one for each worker, since it owns the caches of the automata.
pub struct Scanner {
    rules: Arc<Rules>,
    caches: PatternCaches,
    /// What the text has that is searched.
    marks: Marks,
    /// The finders that found something, in their order: place and next hit; `start` is [`NONE`] where there is none.
    next: Vec<(u16, Found)>,
    /// Next hit of the patterns and which of them it is.
    next_pattern: (Found, u16),
}

impl fmt::Debug for Scanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scanner").field("rules", &self.rules).finish_non_exhaustive()
    }
}

const NO_HIT: Found = Found { start: NONE, end: NONE, wrap: 0, which: 0 };

impl Scanner {
    /// A scanner of these rules, with caches of its own.
    pub fn new(rules: Arc<Rules>) -> Self {
        let caches = rules.patterns.caches();
        let next = Vec::with_capacity(rules.finders.len());
        Self { rules, caches, marks: Marks::default(), next, next_pattern: (NO_HIT, 0) }
    }

    /// The rules it was made of.
    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// Appends the hits in `text` to `hits`, in order, none overlapping another.
    ///
    /// The text is UTF-8, unescaped; hits begin and end at characters.
    pub fn scan(&mut self, text: &[u8], hits: &mut Vec<Hit>) {
        self.marks.read(text);
        self.scan_marked(text, hits);
    }

    /// As [`scan`](Self::scan), with every finder run over all of the text: slow, and right whatever the marks say.
    #[cfg(test)]
    pub(super) fn scan_ungated(&mut self, text: &[u8], hits: &mut Vec<Hit>) {
        self.marks = Marks::all(text);
        self.scan_marked(text, hits);
    }

    #[inline]
    fn scan_marked(&mut self, text: &[u8], hits: &mut Vec<Hit>) {
        let rules = &*self.rules;
        self.next.clear();
        for (place, entry) in rules.finders.iter().enumerate() {
            if entry.gate.lets(text, &self.marks)
                && let Some(found) = entry.finder.find(text, 0, &self.marks)
            {
                self.next.push((place as u16, found));
            }
        }
        let mut any = !self.next.is_empty();
        if rules.pattern_count > 0 {
            self.next_pattern = rules.patterns.find(&mut self.caches, text, 0).unwrap_or((NO_HIT, 0));
            any |= self.next_pattern.0.start != NONE;
        }
        if any {
            self.merge(text, hits);
        }
    }

    /// Takes the first hit of all, again and again.
    fn merge(&mut self, text: &[u8], hits: &mut Vec<Hit>) {
        let rules = &*self.rules;
        let mut rest = false;
        loop {
            let (mut first, mut rule) = self.next_pattern;
            for (place, next) in &self.next {
                if next.start > first.start || next.start == NONE {
                    continue;
                }
                let own = rules.finders[usize::from(*place)].rules[usize::from(next.which)];
                // At one place the rule that is named first, and of its hits the longest.
                if next.start < first.start || own < rule || (own == rule && next.end > first.end) {
                    first = *next;
                    rule = own;
                }
            }
            if first.start == NONE {
                return;
            }
            // Who else found the whole of a value knows whether it needs quotes.
            let begin = first.start;
            for (_, next) in self.next.iter().filter(|(_, n)| n.start == begin && n.wrap > 0) {
                first = Found { end: first.end.max(next.end), wrap: next.wrap, ..first };
            }
            if first.wrap == 0 && text[begin].is_ascii_digit() {
                let whole = in_json_number(text, first);
                if hits.last().is_none_or(|h| h.end <= whole.start) {
                    first = whole;
                }
            }
            first = on_characters(text, first);
            let at = first.end;
            match hits.last_mut().filter(|h| rest && h.end == first.start && first.wrap == 0) {
                // What is left of a hit that another one ran into goes with that one: one placeholder, not two.
                Some(before) if before.rule >= rules.pattern_count => before.end = at,
                _ => hits.push(Hit { start: first.start, end: at, rule, wrap: first.wrap }),
            }
            rest = false;
            if self.next_pattern.0.start < at {
                self.next_pattern = rules.patterns.find(&mut self.caches, text, at).unwrap_or((NO_HIT, 0));
            }
            for (place, next) in &mut self.next {
                if next.start >= at {
                    continue;
                }
                let entry = &rules.finders[usize::from(*place)];
                if entry.finder.keeps_rest() && next.end > at {
                    // Not a whole value any more: no quotes around it.
                    *next = Found { start: at, wrap: 0, ..*next };
                    rest = true;
                } else {
                    *next = entry.finder.find(text, at, &self.marks).unwrap_or(NO_HIT);
                }
            }
        }
    }

    /// Appends `text` to `out` with its `hits` replaced.
    pub fn rewrite(&mut self, text: &[u8], hits: &[Hit], out: &mut Vec<u8>) {
        let rules = &*self.rules;
        let mut at = 0;
        for hit in hits {
            out.extend_from_slice(&text[at..hit.start]);
            for _ in 1..hit.wrap {
                out.push(b'\\');
            }
            if hit.wrap > 0 {
                out.push(b'"');
            }
            let own = rules.patterns.replace(&mut self.caches, hit.rule, text, hit.start..hit.end, out);
            if !own {
                let value = &text[hit.start..hit.end];
                match (&rules.action, hit.wrap) {
                    // The end of an array says nothing and would not be a string.
                    (Action::KeepLast(_), 1..) => out.extend_from_slice(MASK),
                    (action, _) => action.write(value, out),
                }
            }
            for _ in 1..hit.wrap {
                out.push(b'\\');
            }
            if hit.wrap > 0 {
                out.push(b'"');
            }
            at = hit.end;
        }
        out.extend_from_slice(&text[at..]);
    }
}
