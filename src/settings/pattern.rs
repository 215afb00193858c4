//! Mistakes in regular expressions, with their places.

use regex_automata::meta::BuildError;
use std::ops::Range;

/// Where a pattern is wrong, and what is; for one that is right but too large, all of it.
pub fn explain_pattern(pattern: &str, error: &BuildError) -> (Range<usize>, String) {
    let (at, message) = match regex_syntax::Parser::new().parse(pattern) {
        Err(regex_syntax::Error::Parse(error)) => (*error.span(), error.kind().to_string()),
        Err(regex_syntax::Error::Translate(error)) => (*error.span(), error.kind().to_string()),
        _ => return (0..pattern.len(), error.to_string()),
    };
    (at.start.offset..at.end.offset, message)
}
