//! Tokens to an expression, by precedence. Recursion is capped, and so is the height of the tree.

use std::ops::Range;

use super::ast::{Compare, Expr, ExprKind, Function, Junction, Style};
use super::lexer::{Token, tokens};
use super::number::{Arith, Num};
use super::{ConditionError, MAX_CONDITION_BYTES, MAX_CONDITION_DEPTH};
use crate::event::FieldPath;

type Result<T> = std::result::Result<T, ConditionError>;

/// Reads a whole text as one expression.
pub(super) fn parse(text: &str) -> Result<Expr> {
    if text.len() > MAX_CONDITION_BYTES {
        let message = format!("a condition has at most {MAX_CONDITION_BYTES} bytes, this one has {}", text.len());
        return Err(ConditionError::new(0..0, message));
    }
    let mut parser = Parser { text, tokens: tokens(text)?, at: 0, depth: 0 };
    if parser.peek() == &Token::End {
        return Err(ConditionError::new(0..text.len(), "this condition is empty"));
    }
    let expr = parser.expression()?;
    match parser.peek() {
        Token::End => Ok(expr),
        _ => Err(parser.unexpected_after_operand()),
    }
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(Token, Range<usize>)>,
    at: usize,
    depth: usize,
}

/// What a binary operator makes of its sides.
#[derive(Clone, Copy, PartialEq)]
enum Binary {
    Or,
    And,
    Compare(Compare),
    In,
    Arith(Arith),
}

impl Binary {
    /// How tightly it binds.
    fn level(self) -> u8 {
        match self {
            Binary::Or => 1,
            Binary::And => 2,
            Binary::Compare(_) | Binary::In => 3,
            Binary::Arith(Arith::Add | Arith::Sub) => 4,
            Binary::Arith(_) => 5,
        }
    }
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |t| &t.0)
    }

    fn span(&self) -> Range<usize> {
        self.tokens.get(self.at).map_or(self.text.len()..self.text.len(), |t| t.1.clone())
    }

    fn next(&mut self) -> (Token, Range<usize>) {
        let span = self.span();
        let token = self.peek().clone();
        self.at += 1;
        (token, span)
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Sign(s) if *s == sign)
    }

    fn eat(&mut self, sign: &str) -> bool {
        let hit = self.is(sign);
        self.at += usize::from(hit);
        hit
    }

    /// The place to show for what is missing: the next token, or the last character of the text.
    fn here(&self) -> Range<usize> {
        let span = self.span();
        if !span.is_empty() {
            return span;
        }
        self.text.trim_end().char_indices().next_back().map_or(0..0, |(i, c)| i..i + c.len_utf8())
    }

    fn close(&mut self, sign: &str, open: Range<usize>) -> Result<Range<usize>> {
        if self.is(sign) {
            return Ok(self.next().1);
        }
        if self.peek() == &Token::End {
            let shown = &self.text[open.clone()];
            return Err(ConditionError::new(open, format!("this `{shown}` is never closed"))
                .help(format!("a `{sign}` is missing at the end")));
        }
        Err(self.unexpected_after_operand())
    }

    /// A message for a token that stands where an operator or the end should.
    fn unexpected_after_operand(&self) -> ConditionError {
        let span = self.here();
        let shown = &self.text[span.clone()];
        let error = ConditionError::new(span.clone(), format!("unexpected `{shown}` here, expected an operator"));
        match self.peek() {
            Token::Name(name) => match name.to_ascii_lowercase().as_str() {
                "and" => error.help("write `&&`"),
                "or" => error.help("write `||`"),
                "not" => error.help("write `!`, as in `!(a in b)`"),
                "is" | "eq" | "equals" => error.help("write `==`"),
                "like" => error.help("write `.contains(\"text\")` or `.matches(\"regex\")`"),
                "contains" | "matches" | "startswith" | "endswith" => {
                    error.help(format!("write `field.{shown}(\"text\")`"))
                }
                _ => error.help("a string stands in quotes; two conditions are joined with `&&` or `||`"),
            },
            Token::Sign(")" | "]") => {
                ConditionError::new(span, format!("this `{shown}` closes nothing")).help("leave it out")
            }
            _ => error,
        }
    }

    fn make(&self, kind: ExprKind, span: Range<usize>, height: usize) -> Result<Expr> {
        if height > MAX_CONDITION_DEPTH {
            return Err(too_deep(span));
        }
        Ok(Expr { kind, span, height })
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= MAX_CONDITION_DEPTH {
            return Err(too_deep(self.here()));
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    /// `a ? b : c`, or less.
    fn expression(&mut self) -> Result<Expr> {
        let condition = self.binary(1)?;
        if !self.is("?") {
            return Ok(condition);
        }
        let question = self.next().1;
        let yes = self.deeper(Self::expression)?;
        if !self.eat(":") {
            let error = ConditionError::new(question, "this `?` has no `:`");
            return Err(error.help("write `condition ? value : other value`"));
        }
        let no = self.deeper(Self::expression)?;
        let span = condition.span.start..no.span.end;
        let height = 1 + condition.height.max(yes.height).max(no.height);
        self.make(ExprKind::If(Box::new([condition, yes, no])), span, height)
    }

    fn operator(&self) -> Option<Binary> {
        Some(match self.peek() {
            Token::Sign(sign) => match *sign {
                "||" => Binary::Or,
                "&&" => Binary::And,
                "==" => Binary::Compare(Compare::Eq),
                "!=" => Binary::Compare(Compare::Ne),
                "<" => Binary::Compare(Compare::Lt),
                "<=" => Binary::Compare(Compare::Le),
                ">" => Binary::Compare(Compare::Gt),
                ">=" => Binary::Compare(Compare::Ge),
                "+" => Binary::Arith(Arith::Add),
                "-" => Binary::Arith(Arith::Sub),
                "*" => Binary::Arith(Arith::Mul),
                "/" => Binary::Arith(Arith::Div),
                "%" => Binary::Arith(Arith::Rem),
                _ => return None,
            },
            Token::Name(name) if name == "in" => Binary::In,
            _ => return None,
        })
    }

    /// Operators that bind at least as tightly as `level`, from left to right.
    fn binary(&mut self, level: u8) -> Result<Expr> {
        let mut left = self.unary()?;
        while let Some(op) = self.operator().filter(|op| op.level() >= level) {
            let sign = self.next().1;
            let right = self.deeper(|p| p.binary(op.level() + 1))?;
            let span = left.span.start..right.span.end;
            let height = 1 + left.height.max(right.height);
            left = match op {
                Binary::And => self.joined(Junction::All, left, right, span)?,
                Binary::Or => self.joined(Junction::Any, left, right, span)?,
                Binary::Compare(compare) => {
                    if matches!(left.kind, ExprKind::Compare(..)) && !self.text[..sign.start].trim_end().ends_with(')')
                    {
                        let error = ConditionError::new(sign, "comparisons cannot be chained");
                        return Err(error.help("write `a < b && b < c`"));
                    }
                    self.make(ExprKind::Compare(compare, Box::new([left, right])), span, height)?
                }
                Binary::In => self.make(ExprKind::In(Box::new([left, right])), span, height)?,
                Binary::Arith(arith) => self.make(ExprKind::Arith(arith, Box::new([left, right])), span, height)?,
            };
        }
        Ok(left)
    }

    /// `&&` and `||` in a row are one node, however many there are.
    fn joined(&self, of: Junction, left: Expr, right: Expr, span: Range<usize>) -> Result<Expr> {
        let height = left.height.max(1 + right.height);
        let mut list = match (of, left.kind) {
            (Junction::All, ExprKind::And(list)) | (Junction::Any, ExprKind::Or(list)) => list,
            (_, kind) => {
                let left = Expr { kind, span: left.span, height: left.height };
                let height = 1 + left.height.max(right.height);
                let list = vec![left, right];
                return self.make(junction(of, list), span, height);
            }
        };
        list.push(right);
        self.make(junction(of, list), span, height)
    }

    fn unary(&mut self) -> Result<Expr> {
        if self.is("!") || self.is("-") {
            let (sign, start) = self.next();
            let operand = self.deeper(Self::unary)?;
            let span = start.start..operand.span.end;
            let height = 1 + operand.height;
            let kind = match (sign, operand.kind) {
                // So that -9223372036854775808 is a number.
                (Token::Sign("-"), ExprKind::Num(n)) => match n.negate() {
                    Some(n) => ExprKind::Num(n),
                    None => return Err(ConditionError::new(span, "this number is too large")),
                },
                (Token::Sign("-"), kind) => ExprKind::Neg(Box::new(Expr { kind, ..operand })),
                (_, kind) => ExprKind::Not(Box::new(Expr { kind, ..operand })),
            };
            return self.make(kind, span, height);
        }
        self.member()
    }

    /// A value and what is called on it.
    fn member(&mut self) -> Result<Expr> {
        let mut expr = self.primary()?;
        while self.is(".") {
            let dot = self.next().1;
            let (token, span) = self.next();
            let Token::Name(name) = token else {
                return Err(ConditionError::new(dot, "expected a method's name after this `.`"));
            };
            if !self.is("(") {
                let error = ConditionError::new(span, format!("`.{name}` can only follow a field's path"));
                return Err(error.help(format!("to call it, write `.{name}(…)`")));
            }
            expr = self.method(expr, &name, span)?;
        }
        if self.is("[") {
            let error = ConditionError::new(self.span(), "an index can only follow a field's path");
            return Err(error);
        }
        Ok(expr)
    }

    fn primary(&mut self) -> Result<Expr> {
        let (token, span) = self.next();
        let simple = |kind| Ok(Expr { kind, span: span.clone(), height: 1 });
        match token {
            Token::Num(n) => simple(ExprKind::Num(n)),
            Token::Str { text, inner } => simple(ExprKind::Str(text, inner)),
            Token::Quoted(name) => self.path(name, span),
            Token::Name(name) => match name.as_str() {
                "true" => simple(ExprKind::Bool(true)),
                "false" => simple(ExprKind::Bool(false)),
                "null" => simple(ExprKind::Null),
                "in" => Err(ConditionError::new(span, "`in` has nothing before it")
                    .help("a field of that name stands in backticks: `` `in` ``")),
                _ if self.is("(") => self.function(&name, span),
                "not" | "NOT" if !matches!(self.peek(), Token::Sign(_) | Token::End) => {
                    Err(ConditionError::new(span, format!("unexpected `{name}`")).help("write `!`"))
                }
                _ => self.path(name, span),
            },
            Token::Sign("@") => self.metadata(span),
            Token::Sign("(") => {
                let inner = self.deeper(Self::expression)?;
                let close = self.close(")", span.clone())?;
                Ok(Expr { span: span.start..close.end, ..inner })
            }
            Token::Sign("[") => {
                let items = self.arguments("]", span.clone())?;
                let height = 1 + items.iter().map(|e| e.height).max().unwrap_or(0);
                let end = self.before();
                self.make(ExprKind::List(items), span.start..end, height)
            }
            token => {
                self.at -= 1;
                let at = self.here();
                Err(match token {
                    Token::End => ConditionError::new(at, "the condition ends here, a value is missing"),
                    _ => {
                        let shown = &self.text[at.clone()];
                        let error = ConditionError::new(at.clone(), format!("unexpected `{shown}`, expected a value"));
                        match shown {
                            "." => error.help("the name of a field begins without a dot: `level`, `http.status`"),
                            _ => error,
                        }
                    }
                })
            }
        }
    }

    /// Where the token before ends.
    fn before(&self) -> usize {
        self.tokens.get(self.at.wrapping_sub(1)).map_or(0, |t| t.1.end)
    }

    /// Expressions up to `close`, which is taken too; a comma may stand behind the last.
    fn arguments(&mut self, close: &str, open: Range<usize>) -> Result<Vec<Expr>> {
        let mut list = Vec::new();
        loop {
            if self.eat(close) {
                return Ok(list);
            }
            if self.peek() == &Token::End {
                self.close(close, open.clone())?;
            }
            list.push(self.deeper(Self::expression)?);
            if !self.eat(",") {
                self.close(close, open)?;
                return Ok(list);
            }
        }
    }

    fn method(&mut self, receiver: Expr, name: &str, at: Range<usize>) -> Result<Expr> {
        let open = self.next().1;
        let start = receiver.span.start;
        let arguments = self.arguments(")", open)?;
        let mut all = vec![receiver];
        all.extend(arguments);
        self.call(name, at, start, all, Style::Method)
    }

    fn function(&mut self, name: &str, at: Range<usize>) -> Result<Expr> {
        let open = self.next().1;
        let arguments = self.arguments(")", open)?;
        let start = at.start;
        if name == "has" {
            let span = start..self.before();
            return match <[Expr; 1]>::try_from(arguments) {
                Ok([Expr { kind: ExprKind::Path(path), .. }]) => {
                    Ok(Expr { kind: ExprKind::Has(path), span, height: 1 })
                }
                _ => Err(ConditionError::new(span, "`has` takes one field's path").help("write `has(a.b)`")),
            };
        }
        self.call(name, at, start, arguments, Style::Function)
    }

    fn call(&self, name: &str, at: Range<usize>, start: usize, arguments: Vec<Expr>, style: Style) -> Result<Expr> {
        let Some((_, function, arity, styles)) = Function::ALL.into_iter().find(|(known, ..)| *known == name) else {
            return Err(unknown_function(name, at));
        };
        if styles != Style::Both && styles != style {
            let write = if styles == Style::Method { format!("x.{name}()") } else { format!("{name}(x)") };
            return Err(
                ConditionError::new(at, format!("`{name}` is not called like this")).help(format!("write `{write}`"))
            );
        }
        if arguments.len() != arity {
            let receiver = usize::from(style == Style::Method);
            let (wanted, found) = (arity - receiver, arguments.len() - receiver);
            let message = format!("`{name}` takes {}, found {found}", count(wanted));
            return Err(ConditionError::new(at, message));
        }
        let height = 1 + arguments.iter().map(|e| e.height).max().unwrap_or(0);
        self.make(ExprKind::Call(function, arguments), start..self.before(), height)
    }

    /// A field's path: the first name has been taken.
    fn path(&mut self, first: String, span: Range<usize>) -> Result<Expr> {
        let start = span.start;
        let mut text = String::new();
        push_key(&first, &mut text);
        loop {
            if self.is(".") {
                // A name with a parenthesis behind it is a method.
                let calls = matches!(self.tokens.get(self.at + 2), Some((Token::Sign("("), _)));
                match self.tokens.get(self.at + 1).map(|t| t.0.clone()) {
                    Some(Token::Name(_)) if calls => break,
                    Some(Token::Name(name) | Token::Quoted(name) | Token::Str { text: name, .. }) => {
                        text.push('.');
                        push_key(&name, &mut text);
                        self.at += 2;
                    }
                    _ => return Err(ConditionError::new(self.span(), "expected a field's name after this `.`")),
                }
                continue;
            }
            if !self.is("[") {
                break;
            }
            let open = self.next().1;
            let (token, at) = self.next();
            match token {
                Token::Str { text: name, .. } => {
                    text.push('.');
                    push_key(&name, &mut text);
                }
                Token::Num(Num::Int(n)) if n >= 0 => text.push_str(&format!("[{n}]")),
                Token::End => {
                    self.at -= 1;
                    self.close("]", open.clone())?;
                }
                _ => {
                    let error = ConditionError::new(at, "an index is a number from 0 or a name in quotes");
                    return Err(error.help("write `a[0]` or `a[\"name\"]`"));
                }
            }
            self.close("]", open)?;
        }
        let span = start..self.before();
        match FieldPath::parse(&text) {
            Ok(path) => Ok(Expr { kind: ExprKind::Path(path), span, height: 1 }),
            Err(e) => Err(ConditionError::new(span, e.message)),
        }
    }

    /// `@name`: the sign has been taken.
    fn metadata(&mut self, sign: Range<usize>) -> Result<Expr> {
        let (token, span) = self.next();
        let Token::Name(mut name) = token else {
            let error = ConditionError::new(sign, "expected a name after this `@`");
            return Err(error.help("write `@file`, `@source`, `@host`, …"));
        };
        if span.start != sign.end {
            return Err(ConditionError::new(sign.start..span.end, "`@` must not be followed by a space"));
        }
        let calls = matches!(self.tokens.get(self.at + 2), Some((Token::Sign("("), _)));
        if (name == "tls" || name == "http")
            && self.is(".")
            && !calls
            && let Some((Token::Name(more) | Token::Quoted(more), _)) = self.tokens.get(self.at + 1).cloned()
        {
            name = format!("{name}.{more}");
            self.at += 2;
            let calls = matches!(self.tokens.get(self.at + 2), Some((Token::Sign("("), _)));
            if name == "http.header"
                && self.is(".")
                && !calls
                && let Some((Token::Name(more) | Token::Quoted(more), _)) = self.tokens.get(self.at + 1).cloned()
            {
                name = format!("{name}.{more}");
                self.at += 2;
            }
        }
        let span = sign.start..self.before();
        match FieldPath::parse(&format!("@{name}")) {
            Ok(path) => Ok(Expr { kind: ExprKind::Path(path), span, height: 1 }),
            Err(e) => {
                let near = crate::event::Meta::NAMES.iter().find(|n| strsim::damerau_levenshtein(n, &name) <= 2);
                let error = ConditionError::new(span, e.message);
                Err(match near {
                    Some(near) => error.help(format!("did you mean `@{near}`?")),
                    None => error,
                })
            }
        }
    }
}

/// Appends a key as a path spells it.
fn push_key(key: &str, out: &mut String) {
    let plain = !key.is_empty()
        && !key.starts_with('@')
        && !key.contains(|c: char| c.is_whitespace() || matches!(c, '.' | '[' | ']' | '"' | '{' | '}' | '|'));
    if plain {
        out.push_str(key);
        return;
    }
    out.push('"');
    for c in key.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

fn count(n: usize) -> String {
    match n {
        0 => "no argument".into(),
        1 => "one argument".into(),
        n => format!("{n} arguments"),
    }
}

fn too_deep(at: Range<usize>) -> ConditionError {
    ConditionError::new(at, format!("a condition may be nested {MAX_CONDITION_DEPTH} deep at most"))
}

fn unknown_function(name: &str, at: Range<usize>) -> ConditionError {
    let error = ConditionError::new(at, format!("unknown function `{name}`"));
    let lower = name.to_ascii_lowercase();
    let known = Function::ALL.iter().map(|(name, ..)| *name).chain(["has"]);
    // Other languages' names for what there is.
    let other = match lower.as_str() {
        "exists" | "defined" | "present" | "isset" => Some("has"),
        "includes" | "include" | "in" => Some("contains"),
        "match" | "regex" | "regexp" | "re_match" | "test" => Some("matches"),
        "len" | "length" | "count" => Some("size"),
        "lower" | "tolower" | "downcase" | "lowercase" => Some("lowerAscii"),
        "upper" | "toupper" | "upcase" | "uppercase" => Some("upperAscii"),
        "float" | "number" | "to_float" => Some("double"),
        "str" | "to_string" | "tostring" => Some("string"),
        "to_int" | "toint" | "uint" => Some("int"),
        "hasprefix" | "starts_with" | "prefix" => Some("startsWith"),
        "hassuffix" | "ends_with" | "suffix" => Some("endsWith"),
        _ => None,
    };
    let near = other.map(str::to_owned).or_else(|| {
        known
            .clone()
            .map(|k| (strsim::damerau_levenshtein(&k.to_ascii_lowercase(), &lower), k))
            .min()
            .filter(|(distance, _)| *distance <= 2)
            .map(|(_, k)| k.to_owned())
    });
    match near {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => {
            let list: Vec<String> = known.map(|k| format!("`{k}`")).collect();
            error.help(format!("functions: {}", list.join(", ")))
        }
    }
}

fn junction(of: Junction, operands: Vec<Expr>) -> ExprKind {
    match of {
        Junction::All => ExprKind::And(operands),
        Junction::Any => ExprKind::Or(operands),
    }
}
