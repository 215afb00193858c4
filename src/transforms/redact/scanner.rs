//! One pass over a text: finds what is to be replaced, and writes the text without it.
//!
//! **Which hits**: leftmost first; at one place patterns before kinds, each in written order; the text of a hit is not
//! searched again. Every rule keeps its next hit; the first of all is taken, and the rules whose hit it runs into
//! search again behind it. So a rule passes over the text about once, however many rules and hits there are.

use super::find::{Finder, Found};
use super::gate::{Gate, Presence};
use super::kinds::DetectKind;
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

/// All that is looked for, compiled once and shared by the workers.
pub struct Rules {
    patterns: Patterns,
    /// How many of the rules are patterns: these come first.
    pattern_count: u16,
    finders: Vec<(Gate, Finder)>,
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
        let mut finders = Vec::new();
        let mut secrets = None;
        let in_numbers = !patterns.is_empty() || detect.iter().any(|k| k.in_numbers());
        let mut seen = Vec::new();
        for &kind in detect {
            if seen.contains(&kind) {
                continue;
            }
            seen.push(kind);
            let Some(finder) = Finder::new(kind) else {
                return Err(vec![(0, PatternError::Build(format!("no prefilter for `{}`", kind.word())))]);
            };
            if kind == DetectKind::Secrets {
                secrets = Some(names.len() as u16);
            }
            finders.push((Gate::of(kind), finder));
            names.push(kind.word().to_owned());
        }
        Ok(Self { patterns: compiled, pattern_count, finders, names, secrets, in_numbers, action })
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

/// From so many finders on it pays to look at the bytes of a text first, and to ask each whether it need run.
const MANY_FINDERS: usize = 6;
/// In texts up to so many bytes it always does.
const SHORT_TEXT: usize = 24;

/// The next hit of a rule, or that it has none.
const NONE: usize = usize::MAX;

/// Searches texts for the rules: one for each worker, since it owns the caches of the automata.
pub struct Scanner {
    rules: Arc<Rules>,
    caches: PatternCaches,
    /// Next hit of each finder; `start` is [`NONE`] where there is none.
    next: Vec<Found>,
    /// Next hit of the patterns and which of them it is.
    next_pattern: (Found, u16),
}

impl fmt::Debug for Scanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scanner").field("rules", &self.rules).finish_non_exhaustive()
    }
}

const NO_HIT: Found = Found { start: NONE, end: NONE, wrap: 0 };

impl Scanner {
    /// A scanner of these rules, with caches of its own.
    pub fn new(rules: Arc<Rules>) -> Self {
        let caches = rules.patterns.caches();
        let next = vec![NO_HIT; rules.finders.len()];
        Self { rules, caches, next, next_pattern: (NO_HIT, 0) }
    }

    /// The rules it was made of.
    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// Appends the hits in `text` to `hits`, in order, none overlapping another.
    ///
    /// The text is UTF-8, unescaped; hits begin and end at characters.
    pub fn scan(&mut self, text: &[u8], hits: &mut Vec<Hit>) {
        let rules = &*self.rules;
        let mut any = false;
        if rules.finders.len() >= MANY_FINDERS || text.len() <= SHORT_TEXT {
            let presence = Presence::of(text);
            for ((gate, finder), next) in rules.finders.iter().zip(&mut self.next) {
                *next = NO_HIT;
                if gate.lets(text, presence) {
                    *next = finder.find(text, 0).unwrap_or(NO_HIT);
                    any |= next.start != NONE;
                }
            }
        } else {
            for ((_, finder), next) in rules.finders.iter().zip(&mut self.next) {
                *next = finder.find(text, 0).unwrap_or(NO_HIT);
                any |= next.start != NONE;
            }
        }
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
        loop {
            let (mut first, mut rule) = self.next_pattern;
            for (i, next) in self.next.iter().enumerate() {
                if next.start < first.start {
                    first = *next;
                    rule = rules.pattern_count + i as u16;
                }
            }
            if first.start == NONE {
                return;
            }
            hits.push(Hit { start: first.start, end: first.end, rule, wrap: first.wrap });
            let at = first.end;
            if self.next_pattern.0.start < at {
                self.next_pattern = rules.patterns.find(&mut self.caches, text, at).unwrap_or((NO_HIT, 0));
            }
            for ((_, finder), next) in rules.finders.iter().zip(&mut self.next) {
                if next.start >= at {
                    continue;
                }
                if finder.keeps_rest() && next.end > at {
                    // Not a whole value any more: no quotes around it.
                    *next = Found { start: at, end: next.end, wrap: 0 };
                } else {
                    *next = finder.find(text, at).unwrap_or(NO_HIT);
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
