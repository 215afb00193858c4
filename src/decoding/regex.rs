//! `decode: {regex: {pattern}}`: named groups become fields, as text. Groups that took no part in the match are absent.

use std::ops::Range;
use std::sync::Arc;

use super::FrameDecoder;
use crate::event::{Batch, Sym};
use crate::settings::explain_pattern;
use regex_automata::Input;
use regex_automata::meta::{Cache, Regex};
use regex_automata::util::captures::Captures;

/// A pattern that cannot be used.
#[derive(Debug, PartialEq)]
pub enum PatternError {
    /// It does not compile.
    Syntax {
        /// Where in the pattern.
        at: Range<usize>,
        /// What is wrong, a lowercase fragment.
        message: String,
    },
    /// It names no group, so it would give no field.
    NoNames,
}

impl std::fmt::Display for PatternError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PatternError::Syntax { message, .. } => f.write_str(message),
            PatternError::NoNames => f.write_str("a pattern needs a named group, like `(?<level>\\w+)`"),
        }
    }
}

impl std::error::Error for PatternError {}

/// Decodes lines by a pattern.
pub struct RegexDecoder {
    regex: Regex,
    /// Groups and the fields they fill.
    groups: Arc<[(usize, Sym)]>,
    captures: Captures,
    cache: Cache,
}

impl RegexDecoder {
    /// Compiles a pattern; it is searched anywhere in the line.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        let config = Regex::config().nfa_size_limit(Some(10 << 20));
        let regex = Regex::builder().configure(config).build(pattern).map_err(|error| {
            let (at, message) = explain_pattern(pattern, &error);
            PatternError::Syntax { at, message }
        })?;
        let names = regex.group_info().pattern_names(regex_automata::PatternID::ZERO);
        let groups: Arc<[_]> = names.enumerate().filter_map(|(n, name)| Some((n, Sym::from_config(name?)))).collect();
        if groups.is_empty() {
            return Err(PatternError::NoNames);
        }
        let (captures, cache) = (regex.create_captures(), regex.create_cache());
        Ok(RegexDecoder { regex, groups, captures, cache })
    }
}

impl FrameDecoder for RegexDecoder {
    fn decode(&mut self, batch: &mut Batch, start: usize, end: usize, offset: u64) -> Result<(), &'static str> {
        let RegexDecoder { regex, groups, captures, cache } = self;
        regex.search_captures_with(cache, &Input::new(&batch.text()[start..end]), captures);
        if !captures.is_match() {
            return Err("the pattern does not match");
        }
        batch.push_line(start, end, offset);
        for &(group, key) in &**groups {
            if let Some(span) = captures.get_group(group) {
                batch.push_text_field(key, start + span.start, start + span.end);
            }
        }
        Ok(())
    }

    fn fork(&self) -> Box<dyn FrameDecoder> {
        Box::new(RegexDecoder {
            regex: self.regex.clone(),
            groups: self.groups.clone(),
            captures: self.regex.create_captures(),
            cache: self.regex.create_cache(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::testing::decode_line;
    use super::*;

    #[test]
    fn named_groups_become_fields_and_absent_ones_do_not() {
        let mut decoder = RegexDecoder::new(r"^(?<level>[A-Z]+)(?: \[(?<thread>\w+)\])? (?P<message>.*)$").unwrap();
        assert_eq!(
            decode_line(&mut decoder, b"WARN [t1] hi \"x\"").unwrap(),
            r#"{"level":"WARN","thread":"t1","message":"hi \"x\""}"#
        );
        let mut other = decoder.fork();
        assert_eq!(decode_line(&mut *other, b"WARN hi").unwrap(), r#"{"level":"WARN","message":"hi"}"#);
        assert_eq!(decode_line(&mut *other, b"nope"), Err("the pattern does not match".into()));
    }

    #[test]
    fn a_pattern_that_can_give_no_field_is_an_error() {
        assert!(matches!(RegexDecoder::new("a(b)"), Err(PatternError::NoNames)));
        assert!(RegexDecoder::new("a(").err().unwrap().to_string().contains("unclosed group"));
    }
}
