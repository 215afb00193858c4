//! Expression to program: types are checked where they are known, constants folded, and the tree laid out flat.

use std::ops::Range;

use super::ast::{Compare, Expr, ExprKind, Function, Junction};
use super::eval::{self, Val};
use super::number::Arith;
use super::pattern::Pattern;
use super::program::{Id, Node, Program};
use super::{ConditionError, parser};
use crate::event::FieldPath;

/// What is known of a value before it is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Any,
    Null,
    Bool,
    Num,
    Str,
    List,
}

impl Type {
    fn words(self) -> &'static str {
        match self {
            Type::Any => "a value",
            Type::Null => "null",
            Type::Bool => "true or false",
            Type::Num => "a number",
            Type::Str => "a string",
            Type::List => "a list",
        }
    }

    fn may_be(self, other: Type) -> bool {
        self == Type::Any || other == Type::Any || self == other
    }
}

type Result<T> = std::result::Result<T, ConditionError>;

/// Compiles a text.
pub(super) fn compile(text: &str) -> Result<Program> {
    let expr = parser::parse(text)?;
    let mut program = Program { text: text.to_owned(), ..Program::default() };
    let (root, kind) = program.add(&expr)?;
    if !kind.may_be(Type::Bool) {
        let message = format!("a condition is true or false, this is {}", kind.words());
        let error = ConditionError::new(expr.span.clone(), message);
        return Err(match kind {
            Type::Num => error.help("compare it with something, as in `… > 0`"),
            _ => error.help("compare it with a field, as in `field == …`"),
        });
    }
    program.root = root;
    Ok(program)
}

impl Program {
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn paths(&self) -> &[FieldPath] {
        &self.paths
    }

    pub(super) fn suspects(&self) -> &[(Range<usize>, String)] {
        &self.suspects
    }

    /// Notes a field that is compared with `other` and looks like a text whose quotes were forgotten: `ERROR`, or a level's
    /// name beside a field of levels.
    fn suspect(&mut self, expr: &Expr, other: &Expr) {
        const LEVELS: [&str; 10] =
            ["trace", "debug", "info", "notice", "warn", "warning", "error", "err", "fatal", "critical"];
        let (ExprKind::Path(path), ExprKind::Path(beside)) = (&expr.kind, &other.kind) else { return };
        let (word, beside) = (path.text(), beside.text().to_ascii_lowercase());
        let capitals = word.len() > 1
            && word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
            && word.starts_with(|c: char| c.is_ascii_uppercase());
        let level = LEVELS.contains(&word.to_ascii_lowercase().as_str())
            && ["level", "severity", "lvl"].iter().any(|name| beside.ends_with(name));
        if path.meta().is_none() && (capitals || level) {
            self.suspects.push((expr.span.clone(), word.to_owned()));
        }
    }

    pub(super) fn constant(&self) -> Option<bool> {
        match self.nodes.get(self.root as usize) {
            Some(Node::Bool(value)) => Some(*value),
            _ => None,
        }
    }

    fn push(&mut self, node: Node) -> Id {
        self.nodes.push(node);
        self.nodes.len() as Id - 1
    }

    fn path(&mut self, path: &FieldPath) -> u32 {
        if let Some(at) = self.paths.iter().position(|p| p == path) {
            return at as u32;
        }
        self.paths.push(path.clone());
        self.paths.len() as u32 - 1
    }

    fn list(&mut self, ids: &[Id]) -> Range<u32> {
        let start = self.lists.len() as u32;
        self.lists.extend_from_slice(ids);
        start..self.lists.len() as u32
    }

    fn is_constant(&self, id: Id) -> bool {
        matches!(self.nodes[id as usize], Node::Null | Node::Bool(_) | Node::Num(_) | Node::Str(_))
    }

    /// Adds a node, and where all its operands are constants, its value instead. What has no value (1 / 0) stays: it may
    /// never be asked for.
    fn fold(&mut self, node: Node, operands: &[Id], kind: Type) -> (Id, Type) {
        let id = self.push(node);
        if !operands.iter().all(|o| self.is_constant(*o)) {
            return (id, kind);
        }
        let constant = match eval::constant(self, id) {
            Ok((Val::Bool(b), _)) => Node::Bool(b),
            Ok((Val::Num(n), _)) => Node::Num(n),
            Ok((Val::Str(text), arena)) => Node::Str(text.bytes(&arena).into()),
            _ => return (id, kind),
        };
        self.nodes[id as usize] = constant;
        (id, kind)
    }

    fn add(&mut self, expr: &Expr) -> Result<(Id, Type)> {
        Ok(match &expr.kind {
            ExprKind::Null => (self.push(Node::Null), Type::Null),
            ExprKind::Bool(b) => (self.push(Node::Bool(*b)), Type::Bool),
            ExprKind::Num(n) => (self.push(Node::Num(*n)), Type::Num),
            ExprKind::Str(text, _) => (self.push(Node::Str(text.as_bytes().into())), Type::Str),
            ExprKind::List(items) => {
                let mut ids = Vec::new();
                for item in items {
                    ids.push(self.add(item)?.0);
                }
                let range = self.list(&ids);
                (self.push(Node::List(range)), Type::List)
            }
            ExprKind::Path(path) => {
                let path = self.path(path);
                (self.push(Node::Path(path)), Type::Any)
            }
            ExprKind::Has(path) => {
                let path = self.path(path);
                (self.push(Node::Has(path)), Type::Bool)
            }
            ExprKind::Not(inner) => {
                let inner = self.operand(inner, "!", Type::Bool)?;
                self.fold(Node::Not(inner), &[inner], Type::Bool)
            }
            ExprKind::Neg(inner) => {
                let inner = self.operand(inner, "-", Type::Num)?;
                self.fold(Node::Neg(inner), &[inner], Type::Num)
            }
            ExprKind::And(items) => self.junction(items, Junction::All)?,
            ExprKind::Or(items) => self.junction(items, Junction::Any)?,
            ExprKind::Compare(compare, sides) => self.compare(*compare, sides, &expr.span)?,
            ExprKind::In(sides) => self.contained(sides)?,
            ExprKind::Arith(op, sides) => self.arithmetic(*op, sides)?,
            ExprKind::If(parts) => {
                let [condition, yes, no] = &**parts;
                let condition = self.operand(condition, "?", Type::Bool)?;
                let ((yes, a), (no, b)) = (self.add(yes)?, self.add(no)?);
                let kind = if a == b { a } else { Type::Any };
                match self.nodes[condition as usize] {
                    Node::Bool(true) => (yes, a),
                    Node::Bool(false) => (no, b),
                    _ => (self.push(Node::If(condition, yes, no)), kind),
                }
            }
            ExprKind::Call(function, arguments) => self.call(*function, arguments)?,
        })
    }

    /// An operand that has to be of a type.
    fn operand(&mut self, expr: &Expr, of: &str, wanted: Type) -> Result<Id> {
        let (id, kind) = self.add(expr)?;
        if kind.may_be(wanted) {
            return Ok(id);
        }
        let message = format!("`{of}` takes {}, this is {}", wanted.words(), kind.words());
        let error = ConditionError::new(expr.span.clone(), message);
        Err(match (of, wanted, kind) {
            ("&&" | "||", _, Type::Str) => {
                error.help("each side is a condition of its own: `a == \"x\" || a == \"y\"`, or `a in [\"x\", \"y\"]`")
            }
            (_, Type::Str, Type::Num) => error.help("put it in quotes"),
            _ => error,
        })
    }

    /// `&&` and `||`: what cannot change the result is left out.
    fn junction(&mut self, items: &[Expr], of: Junction) -> Result<(Id, Type)> {
        let mut ids = Vec::new();
        let mut settled = false;
        for item in items {
            let id = self.operand(item, of.sign(), Type::Bool)?;
            match self.nodes[id as usize] {
                Node::Bool(b) if b == of.neutral() => {}
                // Settles the whole, faults of the others included.
                Node::Bool(_) => settled = true,
                _ => ids.push(id),
            }
        }
        if settled || ids.is_empty() {
            return Ok((self.push(Node::Bool(of.neutral() != settled)), Type::Bool));
        }
        let range = self.list(&ids);
        let node = match of {
            Junction::All => Node::And(range),
            Junction::Any => Node::Or(range),
        };
        Ok((self.push(node), Type::Bool))
    }

    fn compare(&mut self, compare: Compare, sides: &[Expr; 2], span: &Range<usize>) -> Result<(Id, Type)> {
        let [left, right] = sides;
        let before = self.suspects.len();
        self.suspect(right, left);
        if self.suspects.len() == before {
            self.suspect(left, right);
        }
        let ((a, left_type), (b, right_type)) = (self.add(left)?, self.add(right)?);
        let sign = compare.sign();
        for (side, kind) in [(left, left_type), (right, right_type)] {
            if kind == Type::List {
                let error = ConditionError::new(side.span.clone(), format!("`{sign}` does not take a list"));
                return Err(error.help("write `field in [\"a\", \"b\"]`"));
            }
            if kind == Type::Null && !matches!(compare, Compare::Eq | Compare::Ne) {
                return Err(ConditionError::new(side.span.clone(), format!("`{sign}` does not take null")));
            }
        }
        let with_null = left_type == Type::Null || right_type == Type::Null;
        if !left_type.may_be(right_type) && !with_null {
            let message = format!("{} and {} cannot be compared", left_type.words(), right_type.words());
            return Err(ConditionError::new(span.clone(), message));
        }
        if let Some(node) = self.field_is(compare, a, b).or_else(|| self.field_is(compare, b, a)) {
            return Ok((self.push(node), Type::Bool));
        }
        Ok(self.fold(Node::Compare(compare, a, b), &[a, b], Type::Bool))
    }

    fn field_is(&self, compare: Compare, field: Id, text: Id) -> Option<Node> {
        let negated = match compare {
            Compare::Eq => false,
            Compare::Ne => true,
            _ => return None,
        };
        match (&self.nodes[field as usize], &self.nodes[text as usize]) {
            (Node::Path(path), Node::Str(text)) => Some(Node::FieldIs { path: *path, text: text.clone(), negated }),
            _ => None,
        }
    }

    fn field_in(&self, field: Id, set: Id) -> Option<Node> {
        let (Node::Path(path), Node::List(items)) = (&self.nodes[field as usize], &self.nodes[set as usize]) else {
            return None;
        };
        let items = &self.lists[items.start as usize..items.end as usize];
        let text = |id: &Id| match &self.nodes[*id as usize] {
            Node::Str(text) => Some(text.clone()),
            _ => None,
        };
        let texts = items.iter().map(text).collect::<Option<Vec<_>>>()?;
        Some(Node::FieldIn { path: *path, texts: texts.into() })
    }

    fn contained(&mut self, sides: &[Expr; 2]) -> Result<(Id, Type)> {
        let [value, set] = sides;
        if let ExprKind::List(items) = &set.kind {
            items.iter().for_each(|item| self.suspect(item, value));
        }
        let (value, _) = self.add(value)?;
        let (id, kind) = self.add(set)?;
        if !kind.may_be(Type::List) {
            let message = format!("`in` takes a list after it, this is {}", kind.words());
            let error = ConditionError::new(set.span.clone(), message);
            return Err(match kind {
                Type::Str => error.help("to find a text in a field, write `field.contains(\"text\")`"),
                _ => error.help("write `field in [1, 2]`"),
            });
        }
        let node = self.field_in(value, id).unwrap_or(Node::In(value, id));
        Ok((self.push(node), Type::Bool))
    }

    fn arithmetic(&mut self, op: Arith, sides: &[Expr; 2]) -> Result<(Id, Type)> {
        let [left, right] = sides;
        let ((a, left_type), (b, right_type)) = (self.add(left)?, self.add(right)?);
        let text = op == Arith::Add && (left_type == Type::Str || right_type == Type::Str);
        let wanted = if text { Type::Str } else { Type::Num };
        for (side, kind) in [(left, left_type), (right, right_type)] {
            if !kind.may_be(wanted) {
                let message = format!("`{}` takes {} here, this is {}", op.sign(), wanted.words(), kind.words());
                return Err(ConditionError::new(side.span.clone(), message));
            }
        }
        let known = left_type != Type::Any || right_type != Type::Any || op != Arith::Add;
        Ok(self.fold(Node::Arith(op, a, b), &[a, b], if known { wanted } else { Type::Any }))
    }

    fn call(&mut self, function: Function, arguments: &[Expr]) -> Result<(Id, Type)> {
        let name = function.name();
        let (first, second) = match arguments {
            [first] => (first, None),
            [first, second, ..] => (first, Some(second)),
            [] => return Err(ConditionError::new(0..0, format!("`{name}` has no argument"))),
        };
        if function == Function::Matches {
            let subject = self.operand(first, name, Type::Str)?;
            let pattern = self.pattern(second.unwrap_or(first))?;
            let node = match self.nodes[subject as usize] {
                Node::Path(path) => Node::FieldMatches { path, pattern },
                _ => Node::Matches(subject, pattern),
            };
            return Ok((self.push(node), Type::Bool));
        }
        if function == Function::Size {
            let (id, kind) = self.add(first)?;
            if matches!(kind, Type::Num | Type::Bool | Type::Null) {
                let message = format!("`size` takes a string, a list or an object, this is {}", kind.words());
                return Err(ConditionError::new(first.span.clone(), message));
            }
            return Ok(self.fold(Node::Size(id), &[id], Type::Num));
        }
        if matches!(function, Function::Int | Function::Double | Function::String) {
            let (id, _) = self.add(first)?;
            let (node, kind) = match function {
                Function::Int => (Node::Int(id), Type::Num),
                Function::Double => (Node::Double(id), Type::Num),
                _ => (Node::String(id), Type::Str),
            };
            return Ok(self.fold(node, &[id], kind));
        }
        let subject = self.operand(first, name, Type::Str)?;
        let argument = match second {
            Some(expr) => self.operand(expr, name, Type::Str)?,
            None => subject,
        };
        let (node, kind) = match function {
            Function::Contains => match &self.nodes[argument as usize] {
                Node::Str(text) if !self.is_constant(subject) => {
                    self.finders.push(memchr::memmem::Finder::new(text).into_owned());
                    (Node::ContainsText(subject, self.finders.len() as u32 - 1), Type::Bool)
                }
                _ => (Node::Contains(subject, argument), Type::Bool),
            },
            Function::StartsWith => (Node::StartsWith(subject, argument), Type::Bool),
            Function::EndsWith => (Node::EndsWith(subject, argument), Type::Bool),
            Function::UpperAscii => (Node::Upper(subject), Type::Str),
            _ => (Node::Lower(subject), Type::Str),
        };
        Ok(self.fold(node, &[subject, argument], kind))
    }

    /// The regex of `matches`, which has to be there now.
    fn pattern(&mut self, expr: &Expr) -> Result<u32> {
        let ExprKind::Str(text, inner) = &expr.kind else {
            let error = ConditionError::new(expr.span.clone(), "the regex of `matches` has to be a literal");
            return Err(error.help("write it in quotes; it is compiled once, when the configuration is read"));
        };
        let pattern = Pattern::parse(text).map_err(|e| {
            let at = match inner {
                Some(start) => start + e.at.start..start + e.at.end,
                None => expr.span.clone(),
            };
            let at = if at.is_empty() { expr.span.clone() } else { at };
            ConditionError::new(at, format!("bad regex: {}", e.message))
        })?;
        self.patterns.push(pattern);
        Ok(self.patterns.len() as u32 - 1)
    }
}
