//! Many patterns, of which the first that matches counts, in little memory.
//!
//! A table of user agents has a thousand patterns, few of which are ever needed. So none is compiled until a text may
//! match it: each pattern's required literals (one of which any match must contain) are found from its syntax tree, one
//! automaton looks for all of them at once, and only patterns whose literal is there are compiled, once for all
//! workers, and tried in order. Matching is by bounded backtracking, whose memory belongs to the worker.

use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind, MatchKind};
use regex_automata::Input;
use regex_automata::nfa::thompson::{NFA, WhichCaptures, backtrack, pikevm};
use regex_automata::util::primitives::NonMaxUsize;
use regex_automata::util::syntax;
use regex_syntax::hir::{Class, Hir, HirKind};

/// Literals shorter than this rule out too little to be looked for.
const SHORTEST: usize = 2;
/// Most literals that stand for one pattern.
const MOST: usize = 48;

/// A pattern as it is written in a table.
#[derive(Debug, Clone, Default)]
pub(super) struct Source {
    pub(super) regex: String,
    pub(super) case_insensitive: bool,
}

/// An ordered list of patterns.
#[derive(Debug)]
pub(super) struct PatternSet {
    sources: Vec<Source>,
    compiled: Vec<OnceLock<Option<Box<Compiled>>>>,
    literals: AhoCorasick,
    /// Patterns of literal `n`: `owners[firsts[n]..firsts[n + 1]]`.
    owners: Vec<u32>,
    firsts: Vec<u32>,
    /// Patterns that any text may match.
    always: Vec<u32>,
}

#[derive(Debug)]
struct Compiled {
    backtrack: backtrack::BoundedBacktracker,
    nfa: NFA,
}

/// Work space for one worker.
#[derive(Debug, Default)]
pub(in super::super) struct Scratch {
    candidates: Vec<u64>,
    slots: Vec<Option<NonMaxUsize>>,
    backtrack: Option<backtrack::Cache>,
    pike: Option<pikevm::Cache>,
}

/// A match: which pattern, and its groups as pairs of positions, the whole match first.
#[derive(Debug)]
pub(super) struct FoundAgent<'s> {
    pub(super) pattern: usize,
    slots: &'s [Option<NonMaxUsize>],
}

impl FoundAgent<'_> {
    /// The bytes of group `n` in `text`; empty where it took no part.
    pub(super) fn group<'t>(&self, n: usize, text: &'t [u8]) -> &'t [u8] {
        match (self.slots.get(2 * n), self.slots.get(2 * n + 1)) {
            (Some(Some(from)), Some(Some(to))) => text.get(from.get()..to.get()).unwrap_or_default(),
            _ => &[],
        }
    }
}

fn syntax(case_insensitive: bool) -> syntax::Config {
    // Tables mean ASCII by `\d` and `\w`, and texts are taken as bytes.
    syntax::Config::new().unicode(false).utf8(false).case_insensitive(case_insensitive)
}

impl PatternSet {
    /// Makes a set. Errors: the first pattern that is not a regular expression, and why.
    pub(super) fn new(sources: Vec<Source>) -> Result<Self, (usize, String)> {
        let mut literals: Vec<Vec<u8>> = Vec::new();
        let mut owners: Vec<Vec<u32>> = Vec::new();
        let mut known = hashbrown::HashMap::new();
        let mut always = Vec::new();
        for (n, source) in sources.iter().enumerate() {
            let hir = syntax::parse_with(&source.regex, &syntax(source.case_insensitive))
                .map_err(|error| (n, error.to_string()))?;
            match required(&hir).filter(|set| is_useful(set)) {
                None => always.push(n as u32),
                Some(set) => {
                    for literal in set {
                        let at = *known.entry(literal.clone()).or_insert_with(|| {
                            literals.push(literal);
                            owners.push(Vec::new());
                            literals.len() - 1
                        });
                        if owners[at].last() != Some(&(n as u32)) {
                            owners[at].push(n as u32);
                        }
                    }
                }
            }
        }
        let literals = AhoCorasickBuilder::new()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(&literals)
            .map_err(|error| (0, error.to_string()))?;
        let mut firsts = vec![0];
        let mut flat = Vec::new();
        for list in owners {
            flat.extend(list);
            firsts.push(flat.len() as u32);
        }
        let compiled = sources.iter().map(|_| OnceLock::new()).collect();
        Ok(PatternSet { sources, compiled, literals, owners: flat, firsts, always })
    }

    /// The first pattern that matches somewhere in `text`.
    pub(super) fn find<'s>(&self, text: &[u8], scratch: &'s mut Scratch) -> Option<FoundAgent<'s>> {
        let Scratch { candidates, slots, backtrack, pike } = scratch;
        candidates.clear();
        candidates.resize(self.sources.len().div_ceil(64), 0);
        let mut mark = |n: u32| candidates[n as usize / 64] |= 1 << (n % 64);
        self.always.iter().for_each(|n| mark(*n));
        for found in self.literals.find_overlapping_iter(text) {
            let literal = found.pattern().as_usize();
            let (from, to) = (self.firsts[literal] as usize, self.firsts[literal + 1] as usize);
            self.owners[from..to].iter().for_each(|n| mark(*n));
        }
        for (word, bits) in candidates.iter().enumerate() {
            let mut bits = *bits;
            while bits != 0 {
                let pattern = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                if let Some(compiled) = self.compiled(pattern)
                    && compiled.search(text, slots, backtrack, pike)
                {
                    return Some(FoundAgent { pattern, slots });
                }
            }
        }
        None
    }

    fn compiled(&self, pattern: usize) -> Option<&Compiled> {
        let compile = || {
            let source = &self.sources[pattern];
            let config = NFA::config().utf8(false).nfa_size_limit(Some(4 << 20)).which_captures(WhichCaptures::All);
            let nfa =
                NFA::compiler().syntax(syntax(source.case_insensitive)).configure(config).build(&source.regex).ok()?;
            let backtrack = backtrack::BoundedBacktracker::new_from_nfa(nfa.clone()).ok()?;
            Some(Box::new(Compiled { backtrack, nfa }))
        };
        self.compiled[pattern].get_or_init(compile).as_deref()
    }

    /// Patterns of the set that every text has to be tried against.
    #[cfg(test)]
    pub(super) fn always(&self) -> usize {
        self.always.len()
    }
}

impl Compiled {
    fn search(
        &self,
        text: &[u8],
        slots: &mut Vec<Option<NonMaxUsize>>,
        backtrack: &mut Option<backtrack::Cache>,
        pike: &mut Option<pikevm::Cache>,
    ) -> bool {
        slots.clear();
        slots.resize(self.nfa.group_info().slot_len(), None);
        let input = Input::new(text);
        let cache = backtrack.get_or_insert_with(|| self.backtrack.create_cache());
        cache.reset(&self.backtrack);
        if let Ok(found) = self.backtrack.try_search_slots(cache, &input, slots) {
            return found.is_some();
        }
        // The text is too long for this pattern's table of visited places.
        let Ok(vm) = pikevm::PikeVM::new_from_nfa(self.nfa.clone()) else { return false };
        let cache = pike.get_or_insert_with(|| vm.create_cache());
        cache.reset(&vm);
        vm.search_slots(cache, &input, slots).is_some()
    }
}

fn is_useful(set: &[Vec<u8>]) -> bool {
    set.len() <= MOST && set.iter().all(|literal| literal.len() >= SHORTEST)
}

/// Literals, in lower case, of which every match contains at least one; `None` where there are none to name.
fn required(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Literal(literal) => Some(vec![literal.0.to_ascii_lowercase()]),
        HirKind::Capture(capture) => required(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => required(&repetition.sub),
        HirKind::Alternation(branches) => {
            let mut set = Vec::new();
            for branch in branches {
                set.extend(required(branch)?);
            }
            (set.len() <= MOST).then_some(set)
        }
        HirKind::Concat(parts) => {
            let mut best: Option<Vec<Vec<u8>>> = None;
            let mut consider = |set: Vec<Vec<u8>>| {
                let better = match &best {
                    None => true,
                    Some(old) => worth(&set) > worth(old),
                };
                if better && !set.is_empty() {
                    best = Some(set);
                }
            };
            let mut run = Vec::new();
            for part in parts {
                match part.kind() {
                    HirKind::Literal(literal) => run.extend(literal.0.to_ascii_lowercase()),
                    HirKind::Class(class) if one_letter(class).is_some() => run.extend(one_letter(class)),
                    HirKind::Look(_) | HirKind::Empty => {}
                    _ => {
                        consider(vec![std::mem::take(&mut run)]);
                        if let Some(set) = required(part) {
                            consider(set);
                        }
                    }
                }
            }
            consider(vec![run]);
            best
        }
        _ => None,
    }
}

/// What so many user agents have in them that looking for it rules out little.
const COMMON: &[u8] =
    b"mozilla/5.0 (linux; u; android 4.4.4; windows nt 10.0; build/) applewebkit/537.36 (khtml, like gecko) \
    version/4.0 chrome/ mobile safari/537.36 iphone os like mac os x";

/// How much a set rules out: the shortest literal decides, then how few there are.
fn worth(set: &[Vec<u8>]) -> (usize, std::cmp::Reverse<usize>) {
    let literal = |literal: &Vec<u8>| match memchr::memmem::find(COMMON, literal) {
        Some(_) => usize::from(literal.len() >= SHORTEST),
        None => literal.len().min(8) * usize::from(literal.len() >= SHORTEST),
    };
    (set.iter().map(literal).min().unwrap_or(0), std::cmp::Reverse(set.len()))
}

/// The letter of a class that is one letter in both cases, as case-insensitive patterns have them.
fn one_letter(class: &Class) -> Option<u8> {
    let Class::Bytes(class) = class else { return None };
    let [upper, lower] = class.ranges() else { return None };
    let single = upper.start() == upper.end() && lower.start() == lower.end();
    (single && upper.start().is_ascii_uppercase() && upper.start().to_ascii_lowercase() == lower.start())
        .then_some(lower.start())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn literals(regex: &str, case_insensitive: bool) -> Option<Vec<String>> {
        let hir = syntax::parse_with(regex, &syntax(case_insensitive)).unwrap();
        let set = required(&hir).filter(|set| is_useful(set))?;
        Some(set.into_iter().map(|literal| String::from_utf8(literal).unwrap()).collect())
    }

    #[test]
    fn required_literals_are_found() {
        assert_eq!(literals(r"(Fire(?:fox|bird))/(\d+)", false), Some(vec!["fire".into()]));
        assert_eq!(literals(r"; *(HTC[ _-]Desire).* Build", false), Some(vec!["desire".into()]));
        assert_eq!(literals(r"\bgoogle ?bot\b", true), Some(vec!["google".into()]));
        assert_eq!(literals(r"(\d+)\.(\d+)|x", false), None);
    }

    proptest! {
        /// Looking for literals first never changes which pattern matches.
        #[test]
        fn the_set_finds_what_trying_each_pattern_would(
            patterns in prop::collection::vec("(ab|c?d+|a[bB]c|(x|yz)w|[0-9]+z|b\\.d|(?:ab)*cd)( ?)(ab|c?d+|xw|\\.[0-9]+){0,2}", 1..8),
            flags in prop::collection::vec(any::<bool>(), 8),
            text in "[abcdxyzwABCD0-9. ]{0,24}",
        ) {
            let sources: Vec<Source> = patterns
                .iter()
                .zip(&flags)
                .map(|(regex, flag)| Source { regex: regex.clone(), case_insensitive: *flag })
                .collect();
            let each = sources.iter().position(|source| {
                let regex = regex_automata::meta::Regex::builder()
                    .syntax(syntax(source.case_insensitive))
                    .build(&source.regex)
                    .unwrap();
                regex.is_match(&text)
            });
            let set = PatternSet::new(sources).unwrap();
            let mut scratch = Scratch::default();
            let found = set.find(text.as_bytes(), &mut scratch).map(|found| found.pattern);
            prop_assert_eq!(found, each);
        }
    }
}
