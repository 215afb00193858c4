//! Literal regexes, compiled once: simple shapes into loops over bytes, everything else into an automaton whose cache the
//! caller owns (no shared pool, no lock).
//!
//! Simple is: anchored at both ends, a row of literals and of ASCII classes, repeated any fixed number of times, and at
//! most one of them a variable number of times. `^[0-9a-fA-F]{32}$`, `^v[0-9]+\.0$`, UUIDs and `^[^ ]+$` are of this
//! shape. Where each piece lies follows from the length alone, so the loops find exactly what the automaton would.

use std::fmt;
use std::ops::Range;

use regex_automata::meta;
use regex_automata::{Input, MatchKind};
use regex_syntax::hir::{Class, Hir, HirKind, Look};

/// Largest automaton, in bytes.
const MAX_REGEX_BYTES: usize = 4 << 20;
/// Most memory of the lazy automaton of one worker.
const MAX_CACHE_BYTES: usize = 1 << 20;

/// A compiled regex.
#[derive(Debug)]
pub struct Pattern(Matcher);

#[derive(Debug)]
enum Matcher {
    /// One class over the whole text.
    Class {
        class: ByteClass,
        min: usize,
        max: Option<usize>,
    },
    Pieces {
        pieces: Vec<Piece>,
        fixed: usize,
        variable: Option<(usize, Option<usize>)>,
    },
    Regex(Box<meta::Regex>),
}

/// Work space of one [`Pattern`] for one worker.
#[derive(Debug, Clone, Default)]
pub struct PatternCache(Option<Box<meta::Cache>>);

/// A mistake in a regex, and the bytes of it that are at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    /// Bytes of the pattern.
    pub at: Range<usize>,
    /// What is wrong, as a lowercase fragment.
    pub message: String,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for PatternError {}

/// A part of a simple pattern.
#[derive(Debug)]
enum Piece {
    Literal(Box<[u8]>),
    /// So many bytes of a class; `None` is the variable one.
    Class(ByteClass, Option<usize>),
}

impl Pattern {
    /// Compiles a regex; `\d`, `\w`, `\s` and `\b` mean ASCII, as RE2 has them.
    ///
    /// Errors: its first mistake, or an automaton that would be too large.
    pub fn parse(text: &str) -> Result<Pattern, PatternError> {
        let whole = 0..text.len();
        // The text as written, so that places in errors are right.
        regex_syntax::parse(text).map_err(|e| syntax_error(&e, whole.clone()))?;
        let hir = regex_syntax::parse(&with_ascii_classes(text))
            .map_err(|e| PatternError { at: whole.clone(), message: syntax_error(&e, whole.clone()).message })?;
        if let Some(matcher) = pieces(&hir) {
            return Ok(Pattern(matcher));
        }
        let config = meta::Config::new()
            .match_kind(MatchKind::LeftmostFirst)
            .nfa_size_limit(Some(MAX_REGEX_BYTES))
            .hybrid_cache_capacity(MAX_CACHE_BYTES)
            .which_captures(regex_automata::nfa::thompson::WhichCaptures::Implicit);
        match meta::Builder::new().configure(config).build_from_hir(&hir) {
            Ok(regex) => Ok(Pattern(Matcher::Regex(Box::new(regex)))),
            Err(_) => Err(PatternError {
                at: whole,
                message: format!("this regex needs more than {} MiB", MAX_REGEX_BYTES >> 20),
            }),
        }
    }

    /// Work space for it.
    #[must_use]
    pub fn cache(&self) -> PatternCache {
        match &self.0 {
            Matcher::Class { .. } | Matcher::Pieces { .. } => PatternCache(None),
            Matcher::Regex(regex) => PatternCache(Some(Box::new(regex.create_cache()))),
        }
    }

    /// Whether it matches anywhere in a text. `cache` is this pattern's own ([`Pattern::cache`]).
    #[inline]
    #[must_use]
    pub fn is_match(&self, cache: &mut PatternCache, text: &[u8]) -> bool {
        match &self.0 {
            Matcher::Class { class, min, max } => {
                text.len() >= *min && max.is_none_or(|max| text.len() <= max) && class.has_all(text)
            }
            Matcher::Pieces { pieces, fixed, variable } => {
                let Some(rest) = text.len().checked_sub(*fixed) else {
                    return false;
                };
                let fits = match variable {
                    None => rest == 0,
                    Some((min, max)) => rest >= *min && max.is_none_or(|max| rest <= max),
                };
                fits && all_pieces(pieces, rest, text)
            }
            Matcher::Regex(regex) => {
                let input = Input::new(text).earliest(true);
                let cache = cache.0.get_or_insert_with(|| Box::new(regex.create_cache()));
                regex.search_half_with(cache, &input).is_some()
            }
        }
    }
}

#[inline]
fn all_pieces(pieces: &[Piece], variable: usize, text: &[u8]) -> bool {
    let mut at = 0;
    for piece in pieces {
        match piece {
            Piece::Literal(bytes) => {
                if text.get(at..at + bytes.len()) != Some(&**bytes) {
                    return false;
                }
                at += bytes.len();
            }
            Piece::Class(class, count) => {
                let n = count.unwrap_or(variable);
                if !text.get(at..at + n).is_some_and(|part| class.has_all(part)) {
                    return false;
                }
                at += n;
            }
        }
    }
    at == text.len()
}

fn syntax_error(error: &regex_syntax::Error, whole: Range<usize>) -> PatternError {
    let (message, span) = match error {
        regex_syntax::Error::Parse(e) => (e.kind().to_string(), Some(*e.span())),
        regex_syntax::Error::Translate(e) => (e.kind().to_string(), Some(*e.span())),
        other => (other.to_string(), None),
    };
    let at = span.map_or(whole.clone(), |s| s.start.offset..s.end.offset.max(s.start.offset));
    let at = if at.is_empty() { at.start.saturating_sub(usize::from(at.start == whole.end))..at.end } else { at };
    PatternError { at, message }
}

/// The pattern with ASCII written out for Perl's classes.
fn with_ascii_classes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    let mut brackets = 0usize;
    while let Some(c) = chars.next() {
        if c != '\\' {
            match c {
                '[' => brackets += 1,
                ']' => brackets = brackets.saturating_sub(1),
                _ => {}
            }
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('d') => out.push_str("[0-9]"),
            Some('D') => out.push_str("[^0-9]"),
            Some('w') => out.push_str("[0-9A-Za-z_]"),
            Some('W') => out.push_str("[^0-9A-Za-z_]"),
            Some('s') => out.push_str(r"[\t\n\x0B\f\r\x20]"),
            Some('S') => out.push_str(r"[^\t\n\x0B\f\r\x20]"),
            Some('b') if brackets == 0 => out.push_str(r"(?-u:\b)"),
            other => {
                out.push('\\');
                out.extend(other);
            }
        }
    }
    out
}

/// The pieces of a simple pattern.
fn pieces(hir: &Hir) -> Option<Matcher> {
    let HirKind::Concat(parts) = hir.kind() else {
        return None;
    };
    let [first, inner @ .., last] = parts.as_slice() else {
        return None;
    };
    if !matches!(first.kind(), HirKind::Look(Look::Start)) || !matches!(last.kind(), HirKind::Look(Look::End)) {
        return None;
    }
    let (mut pieces, mut fixed, mut variable) = (Vec::new(), 0usize, None);
    for part in inner {
        match part.kind() {
            HirKind::Literal(literal) => {
                fixed += literal.0.len();
                pieces.push(Piece::Literal(literal.0.clone()));
            }
            HirKind::Class(class) => {
                fixed += 1;
                pieces.push(Piece::Class(ByteClass::new(class, false)?, Some(1)));
            }
            HirKind::Repetition(repetition) => {
                let (min, max) = (repetition.min as usize, repetition.max.map(|n| n as usize));
                // A run of any length may hold characters of several bytes; a counted one may not.
                let any_length = max.is_none() && min <= 1;
                let class = match repetition.sub.kind() {
                    HirKind::Class(class) => ByteClass::new(class, any_length)?,
                    HirKind::Literal(literal) => match *literal.0 {
                        [byte] => ByteClass::of_ranges(&[(byte, byte)])?,
                        _ => return None,
                    },
                    _ => return None,
                };
                if max == Some(min) {
                    fixed = fixed.checked_add(min)?;
                    pieces.push(Piece::Class(class, Some(min)));
                } else if variable.is_none() {
                    variable = Some((min, max));
                    pieces.push(Piece::Class(class, None));
                } else {
                    return None;
                }
            }
            _ => return None,
        }
    }
    if let [Piece::Class(_, count)] = pieces.as_slice() {
        let (min, max) = count.map_or_else(|| variable.unwrap_or_default(), |n| (n, Some(n)));
        if let Some(Piece::Class(class, _)) = pieces.pop() {
            return Some(Matcher::Class { class, min, max });
        }
    }
    Some(Matcher::Pieces { pieces, fixed, variable })
}

/// A set of bytes.
#[derive(Debug)]
enum ByteClass {
    /// First byte and length less one, four of them (repeated where there are fewer).
    Ranges([(u8, u8); 4], usize),
    Table(Box<[bool; 256]>),
}

impl ByteClass {
    /// The bytes of a class. Shape: ASCII, or with `wide` also every character that is not.
    fn new(class: &Class, wide: bool) -> Option<ByteClass> {
        let mut ranges = Vec::new();
        match class {
            Class::Bytes(class) => ranges.extend(class.iter().map(|r| (r.start(), r.end()))),
            Class::Unicode(class) => {
                for range in class.iter() {
                    let (start, end) = (u32::from(range.start()), u32::from(range.end()));
                    if end < 0x80 {
                        ranges.push((start as u8, end as u8));
                    } else if wide && start <= 0x80 && end == 0x10_ffff {
                        ranges.push((start as u8, 0xff));
                    } else {
                        return None;
                    }
                }
            }
        }
        Self::of_ranges(&ranges)
    }

    fn of_ranges(ranges: &[(u8, u8)]) -> Option<ByteClass> {
        let first = *ranges.first()?;
        if ranges.len() <= 4 {
            let mut all = [first; 4];
            all[..ranges.len()].copy_from_slice(ranges);
            return Some(ByteClass::Ranges(all.map(|(lo, hi)| (lo, hi - lo)), ranges.len()));
        }
        let mut table = Box::new([false; 256]);
        for &(lo, hi) in ranges {
            table[usize::from(lo)..=usize::from(hi)].fill(true);
        }
        Some(ByteClass::Table(table))
    }

    #[inline]
    fn has_all(&self, text: &[u8]) -> bool {
        match self {
            ByteClass::Ranges([a, ..], 1) => all_in(&[*a], text),
            ByteClass::Ranges([a, b, ..], 2) => all_in(&[*a, *b], text),
            ByteClass::Ranges([a, b, c, _], 3) => all_in(&[*a, *b, *c], text),
            ByteClass::Ranges(all, _) => all_in(all, text),
            ByteClass::Table(table) => text.iter().all(|b| table[usize::from(*b)]),
        }
    }
}

/// Whether every byte is in one of the ranges; written so that it becomes vector code.
#[inline]
fn all_in<const N: usize>(ranges: &[(u8, u8); N], text: &[u8]) -> bool {
    let outside = |byte: u8| {
        let mut inside = 0u8;
        for (lo, width) in ranges {
            inside |= u8::from(byte.wrapping_sub(*lo) <= *width);
        }
        inside ^ 1
    };
    let (chunks, rest) = text.as_chunks::<16>();
    let mut bad = 0u8;
    for chunk in chunks {
        bad |= chunk.iter().fold(0, |bad, byte| bad | outside(*byte));
    }
    for byte in rest {
        bad |= outside(*byte);
    }
    bad == 0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    fn is_match(pattern: &str, text: &str) -> bool {
        let pattern = Pattern::parse(pattern).unwrap();
        pattern.is_match(&mut pattern.cache(), text.as_bytes())
    }

    /// What the automaton alone says.
    fn oracle(pattern: &str, text: &str) -> bool {
        meta::Regex::new(&with_ascii_classes(pattern)).unwrap().is_match(text)
    }

    /// Whether it becomes a loop over bytes.
    fn is_loop(pattern: &str) -> bool {
        !matches!(Pattern::parse(pattern).unwrap().0, Matcher::Regex(_))
    }

    #[test]
    fn simple_shapes_become_loops() {
        for pattern in [
            "^[0-9a-fA-F]{32}$",
            "^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
            r"^v\d+\.0$",
            "^[^ ]+$",
            "^a{2,5}$",
            r"^[\w.-]*$",
            "^(?:abc)$",
            "^é[0-9]$",
            r"^\S+$",
        ] {
            assert!(is_loop(pattern), "{pattern}");
        }
        for pattern in ["abc", "^abc", "abc$", "^(a|bc)$", "^[0-9]+-[0-9]+$", "^[^ ]{3}$", "^é+$", r"^\bx$", "(?m)^a$"]
        {
            assert!(!is_loop(pattern), "{pattern}");
        }
    }

    #[test]
    fn hex_digits_are_counted_and_checked() {
        let hex = "^[0-9a-fA-F]{32}$";
        assert!(is_match(hex, "0123456789abcdefABCDEF0123456789"));
        for bad in [
            "0123456789abcdefABCDEF012345678",
            "0123456789abcdefABCDEF01234567890",
            "0123456789abcdefABCDEF012345678g",
            "g123456789abcdefABCDEF0123456789",
            "0123456789abcdefABCDEF012345678\n",
            "0123456789abcdefABCDEF01234567é",
            "",
        ] {
            assert!(!is_match(hex, bad), "{bad}");
        }
    }

    #[test]
    fn perl_classes_are_ascii() {
        assert!(is_match(r"^\d$", "7") && !is_match(r"^\d$", "٣"));
        assert!(is_match(r"^[\d\s]+$", "1 2") && is_match(r"\D", "é") && !is_match(r"^\w+$", "é"));
        assert!(is_match(r"\bfoo\b", "éfooé") && is_match(r"\\d", r"\d") && is_match(r"[\]\d]", "]"));
    }

    #[test]
    fn mistakes_are_placed() {
        let at = |text: &str| Pattern::parse(text).unwrap_err().at;
        assert_eq!(at("ab(c"), 2..3);
        assert_eq!(at("a[z-a]"), 2..5);
        assert_eq!(at("*a"), 0..0);
        assert!(Pattern::parse("(?:a{1000}){1000}").unwrap_err().message.contains("MiB"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn loops_find_what_the_automaton_finds(
            pattern in r"\^(a|é|\[a-c\]|\[\^a\]|\\d|\\w|[.])(\{[0-3]\}|\{[0-2],[2-3]\}|[*+?])?([b-]|\\s|\[ab0-9_zA-FX\])(\{2\}|[*+?])?\$?",
            text in "[abcé0 -]{0,8}",
        ) {
            prop_assert_eq!(is_match(&pattern, &text), oracle(&pattern, &text), "{} {}", pattern, text);
        }

        #[test]
        fn no_pattern_panics(text in "([\\[\\]^$*+?{}()|\\\\dwsbé0-9a,-]){0,16}") {
            if let Err(e) = Pattern::parse(&text) {
                prop_assert!(text.get(e.at.clone()).is_some(), "{:?}", e.at);
            }
        }
    }
}
