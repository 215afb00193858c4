//! A condition, compiled: operations in the order in which they are done.

use super::ast::Compare;
use super::number::{Arith, Num};
use super::pattern::Pattern;
use crate::event::FieldPath;
use std::ops::Range;

/// A node's place in [`Program::nodes`].
pub(super) type Id = u32;

/// A compiled condition.
#[derive(Debug, Default)]
pub(super) struct Program {
    pub(super) nodes: Vec<Node>,
    /// Operands of the nodes that have many.
    pub(super) lists: Vec<Id>,
    pub(super) paths: Vec<FieldPath>,
    pub(super) patterns: Vec<Pattern>,
    pub(super) finders: Vec<memchr::memmem::Finder<'static>>,
    pub(super) root: Id,
    pub(super) text: String,
    pub(super) suspects: Vec<(Range<usize>, String)>,
}

/// One operation; its operands stand before it.
#[derive(Debug)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Num(Num),
    Str(Box<[u8]>),
    List(Range<u32>),
    Path(u32),
    Has(u32),
    Not(Id),
    Neg(Id),
    And(Range<u32>),
    Or(Range<u32>),
    Compare(Compare, Id, Id),
    /// A field against a text: the most frequent of all.
    FieldIs {
        path: u32,
        text: Box<[u8]>,
        negated: bool,
    },
    In(Id, Id),
    /// A field among texts.
    FieldIn {
        path: u32,
        texts: Box<[Box<[u8]>]>,
    },
    Arith(Arith, Id, Id),
    If(Id, Id, Id),
    Size(Id),
    Contains(Id, Id),
    /// A value that contains a constant text.
    ContainsText(Id, u32),
    StartsWith(Id, Id),
    EndsWith(Id, Id),
    Matches(Id, u32),
    /// A field against a regex.
    FieldMatches {
        path: u32,
        pattern: u32,
    },
    Int(Id),
    Double(Id),
    String(Id),
    Lower(Id),
    Upper(Id),
}
