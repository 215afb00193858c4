//! The expression as written: a tree with places.

use std::ops::Range;

use super::number::{Arith, Num};
use crate::event::FieldPath;

/// One expression.
#[derive(Clone, Debug)]
pub(super) struct Expr {
    pub(super) kind: ExprKind,
    /// Bytes of the source.
    pub(super) span: Range<usize>,
    /// Levels of nesting below and including this one.
    pub(super) height: usize,
}

/// How operands in a row hold together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Junction {
    /// `&&`: one that is false settles it.
    All,
    /// `||`: one that is true settles it.
    Any,
}

impl Junction {
    /// As it is written.
    pub(super) fn sign(self) -> &'static str {
        match self {
            Junction::All => "&&",
            Junction::Any => "||",
        }
    }

    /// What it is without operands: what an operand must be to settle nothing.
    pub(super) fn neutral(self) -> bool {
        self == Junction::All
    }
}

#[derive(Clone, Debug)]
pub(super) enum ExprKind {
    Null,
    Bool(bool),
    Num(Num),
    /// The text, and where it begins in the source if it stands there unchanged.
    Str(String, Option<usize>),
    List(Vec<Expr>),
    Path(FieldPath),
    Has(FieldPath),
    Not(Box<Expr>),
    Neg(Box<Expr>),
    /// Two or more.
    And(Vec<Expr>),
    /// Two or more.
    Or(Vec<Expr>),
    Compare(Compare, Box<[Expr; 2]>),
    In(Box<[Expr; 2]>),
    Arith(Arith, Box<[Expr; 2]>),
    /// Condition, then, else.
    If(Box<[Expr; 3]>),
    /// As many arguments as the function takes, the receiver first.
    Call(Function, Vec<Expr>),
}

/// The comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Compare {
    pub(super) fn sign(self) -> &'static str {
        match self {
            Compare::Eq => "==",
            Compare::Ne => "!=",
            Compare::Lt => "<",
            Compare::Le => "<=",
            Compare::Gt => ">",
            Compare::Ge => ">=",
        }
    }
}

/// The functions, but for `has`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Matches,
    Int,
    Double,
    String,
    LowerAscii,
    UpperAscii,
}

/// How a function may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// `f(x)` and `x.f()`.
    Both,
    /// `f(x)` only.
    Function,
    /// `x.f()` only.
    Method,
}

impl Function {
    /// Name, function, arguments with the receiver, and how it is written.
    pub(super) const ALL: [(&'static str, Function, usize, Style); 10] = [
        ("size", Function::Size, 1, Style::Both),
        ("contains", Function::Contains, 2, Style::Both),
        ("startsWith", Function::StartsWith, 2, Style::Both),
        ("endsWith", Function::EndsWith, 2, Style::Both),
        ("matches", Function::Matches, 2, Style::Both),
        ("int", Function::Int, 1, Style::Function),
        ("double", Function::Double, 1, Style::Function),
        ("string", Function::String, 1, Style::Function),
        ("lowerAscii", Function::LowerAscii, 1, Style::Method),
        ("upperAscii", Function::UpperAscii, 1, Style::Method),
    ];

    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, f, ..)| *f == self).map_or("", |(name, ..)| name)
    }
}
