//! Conditions: CEL expressions about one event.
//!
//! ```text
//! level == "ERROR" && duration > 500
//! @file.endsWith(".err") || status in [500, 502, 503]
//! has(user.id) ? user.id.startsWith("u-") : false
//! ```
//!
//! # What there is
//!
//! - Fields as paths (`a.b[0]`, `a["odd.key"]`, `` `odd-key` ``, `a."odd.key"`), metadata as `@name`.
//! - `true`, `false`, `null`, integers, floats, strings in single, double or triple quotes with CEL's escapes, raw strings
//!   (`r"\d"`), lists.
//! - `? :`, `||`, `&&`, `!`, `==`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `+`, `-`, `*`, `/`, `%`.
//! - `size(x)`, `x.contains(y)`, `x.startsWith(y)`, `x.endsWith(y)`, `x.matches("regex")`, `has(path)`, and the
//!   conversions `int(x)`, `double(x)`, `string(x)`, `x.lowerAscii()`, `x.upperAscii()`. The first five may be written
//!   as functions or as methods.
//!
//! Integers have 64 bits and floats are doubles; the two compare by value, without rounding, and mix in arithmetic.
//! Strings order by their bytes; times are strings in RFC 3339. `size` counts characters, elements or members. A regex
//! is a literal, finds a match anywhere (anchor it with `^` and `$`), and means ASCII by `\d`, `\w`, `\s` and `\b`, as
//! RE2 does. `x in list` and `"key" in object` look inside JSON arrays and objects of the event too.
//!
//! # Three outcomes
//!
//! An absent field, a value of the wrong type, overflow and division by zero are neither true nor false:
//! [`Outcome::Fault`]. As in CEL, `&&` and `||` are settled by whichever side settles them: `false && fault` and `fault
//! && false` are false. `== null` and `!= null` go with any type. The caller decides what a fault means (false for
//! `when`, failed for `check`) and counts it ([`Faults`]).
//!
//! # Cost
//!
//! Parsed, checked and folded once; evaluation walks a flat table, looks up no string and allocates nothing once its
//! work space has grown. Regexes of fixed shape, like `^[0-9a-f]{32}$`, become loops over bytes.

pub mod absent;
mod ast;
mod compile;
mod eval;
mod lexer;
mod number;
mod parser;
mod pattern;
mod program;
mod setting;
mod story;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::event::{EventRef, FieldPath};
use eval::Work;

pub use story::{shortened, value_of};

#[cfg(test)]
mod tests;

/// Longest condition, in bytes.
pub const MAX_CONDITION_BYTES: usize = 16 << 10;
/// Deepest nesting of a condition.
pub const MAX_CONDITION_DEPTH: usize = 64;

/// A compiled condition, with the work space to evaluate it: each worker has a clone of its own.
pub struct Condition {
    program: Arc<program::Program>,
    work: Work,
}

/// What a condition says of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It cannot be evaluated.
    Fault(Fault),
}

/// Why a condition has no truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A field is absent.
    Absent,
    /// A value is not of the type that an operator takes.
    Mismatch,
    /// Overflow or division by zero.
    Arithmetic,
}

impl Fault {
    /// Its name as the `kind` of an error counter.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Fault::Absent => "condition_absent",
            Fault::Mismatch => "condition_type",
            Fault::Arithmetic => "condition_arithmetic",
        }
    }
}

/// Counts of faults, gathered over a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    counts: [u64; 3],
}

impl Faults {
    /// Counts one.
    #[inline]
    pub fn note(&mut self, fault: Fault) {
        self.counts[fault as usize] += 1;
    }

    /// Hands over the counts that are not zero, and begins again.
    pub fn drain(&mut self, mut count: impl FnMut(&'static str, u64)) {
        for fault in [Fault::Absent, Fault::Mismatch, Fault::Arithmetic] {
            let n = std::mem::take(&mut self.counts[fault as usize]);
            if n > 0 {
                count(fault.kind(), n);
            }
        }
    }
}

/// A mistake in a condition, and the bytes of it that are at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionError {
    /// Bytes of the condition's text.
    pub at: Range<usize>,
    /// What is wrong, as a lowercase fragment.
    pub message: String,
    /// What to write instead, where that is known.
    pub help: Option<String>,
}

impl fmt::Display for ConditionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConditionError {}

impl ConditionError {
    fn new(at: Range<usize>, message: impl Into<String>) -> Self {
        ConditionError { at, message: message.into(), help: None }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl Condition {
    /// Parses, checks and compiles a condition.
    ///
    /// Errors: the first mistake, with its place.
    pub fn parse(text: &str) -> Result<Condition, ConditionError> {
        let program = Arc::new(compile::compile(text)?);
        let work = Work::of(&program);
        Ok(Condition { program, work })
    }

    /// What it says of an event.
    #[inline]
    pub fn evaluate(&mut self, event: EventRef<'_>) -> Outcome {
        match eval::run(&self.program, &mut self.work, event) {
            Ok(true) => Outcome::True,
            Ok(false) => Outcome::False,
            Err(fault) => {
                if fault == Fault::Absent && absent::is_asked_for() {
                    self.note_absent(event);
                }
                Outcome::Fault(fault)
            }
        }
    }

    #[cold]
    fn note_absent(&self, event: EventRef<'_>) {
        let absent = self.paths().iter().filter(|path| event.get(path).is_none());
        absent::note(absent.map(|path| format!("`{path}` in `{}`", self.text())));
    }

    /// Whether it holds; a fault is noted and does not.
    #[inline]
    pub fn holds(&mut self, event: EventRef<'_>, faults: &mut Faults) -> bool {
        match eval::run(&self.program, &mut self.work, event) {
            Ok(truth) => truth,
            Err(fault) => {
                if fault == Fault::Absent && absent::is_asked_for() {
                    self.note_absent(event);
                }
                faults.note(fault);
                false
            }
        }
    }

    /// As written.
    #[must_use]
    pub fn text(&self) -> &str {
        self.program.text()
    }

    /// The fields and metadata it looks at.
    #[must_use]
    pub fn paths(&self) -> &[FieldPath] {
        self.program.paths()
    }

    /// Fields that are most likely meant as texts (`level == ERROR`), with their places in the text.
    pub fn suspects(&self) -> &[(Range<usize>, String)] {
        self.program.suspects()
    }

    /// Its truth, where that is the same for every event.
    #[must_use]
    pub fn constant(&self) -> Option<bool> {
        self.program.constant()
    }
}

impl Clone for Condition {
    /// The same program with work space of its own.
    fn clone(&self) -> Self {
        Condition { program: self.program.clone(), work: Work::of(&self.program) }
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.text()).finish()
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Condition {}
