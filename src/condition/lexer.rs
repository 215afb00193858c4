//! Text to tokens. Every token keeps its place.

use std::ops::Range;

use super::ConditionError;
use super::number::Num;

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A name, bare or in backticks.
    Name(String),
    /// A name that cannot be a word of the language, for it stood in backticks.
    Quoted(String),
    /// A string literal; the place of its first character where its content is as in the source, so that a place inside
    /// it can be shown.
    Str { text: String, inner: Option<usize> },
    /// A number literal.
    Num(Num),
    /// An operator or bracket.
    Sign(&'static str),
    /// The end of the text.
    End,
}

impl PartialEq for Num {
    fn eq(&self, other: &Num) -> bool {
        self.compare(*other) == Some(std::cmp::Ordering::Equal)
    }
}

/// Signs, longest first; those marked with a hint are mistakes.
const SIGNS: &[(&str, Option<&str>)] = &[
    ("===", Some("write `==`")),
    ("!==", Some("write `!=`")),
    ("=~", Some("write `field.matches(\"regex\")`")),
    ("!~", Some("write `!field.matches(\"regex\")`")),
    ("=>", Some("write `>=`")),
    ("=<", Some("write `<=`")),
    ("<>", Some("write `!=`")),
    ("&&", None),
    ("||", None),
    ("==", None),
    ("!=", None),
    ("<=", None),
    (">=", None),
    ("=", Some("did you mean `==`?")),
    ("&", Some("did you mean `&&`?")),
    ("|", Some("did you mean `||`?")),
    ("<", None),
    (">", None),
    ("!", None),
    ("+", None),
    ("-", None),
    ("*", None),
    ("/", None),
    ("%", None),
    ("?", None),
    (":", None),
    (".", None),
    (",", None),
    ("(", None),
    (")", None),
    ("[", None),
    ("]", None),
    ("@", None),
    ("{", Some("there are no maps in conditions")),
    ("}", Some("there are no maps in conditions")),
    (";", Some("a condition is one expression: join two with `&&` or `||`")),
    ("~", Some("write `field.matches(\"regex\")`")),
    ("^", Some("there is no operator `^`; in a regex it belongs inside the quotes")),
];

/// All tokens of a text, the end last.
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, Range<usize>)>, ConditionError> {
    let mut lexer = Lexer { text, at: 0 };
    let mut out = Vec::new();
    loop {
        let token = lexer.next()?;
        let end = token.0 == Token::End;
        out.push(token);
        if end {
            return Ok(out);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Takes bytes while they are of this kind.
    fn run(&mut self, keep: impl Fn(u8) -> bool) -> &'a str {
        let rest = self.rest();
        let n = rest.bytes().take_while(|b| keep(*b)).count();
        self.at += n;
        &rest[..n]
    }

    fn skip_space(&mut self) {
        loop {
            let before = self.at;
            self.run(|b| b.is_ascii_whitespace());
            if self.rest().starts_with("//") {
                self.run(|b| b != b'\n');
            }
            if self.at == before {
                return;
            }
        }
    }

    fn next(&mut self) -> Result<(Token, Range<usize>), ConditionError> {
        self.skip_space();
        let start = self.at;
        let token = match self.rest().as_bytes() {
            [] => Token::End,
            [b'"' | b'\'', ..] => self.string(start, false)?,
            [b'r' | b'R', b'"' | b'\'', ..] => {
                self.at += 1;
                self.string(start, true)?
            }
            [b'b' | b'B', b'"' | b'\'', ..] => {
                let error = ConditionError::new(start..start + 1, "there are no byte strings in conditions");
                return Err(error.help("leave the `b` out"));
            }
            [b'`', ..] => self.backticks(start)?,
            [b'0'..=b'9', ..] => self.number(start)?,
            [b'.', b'0'..=b'9', ..] if !self.follows_value() => self.number(start)?,
            [b'a'..=b'z' | b'A'..=b'Z' | b'_', ..] => {
                Token::Name(self.run(|b| b.is_ascii_alphanumeric() || b == b'_').to_owned())
            }
            _ => self.sign(start)?,
        };
        Ok((token, start..self.at))
    }

    /// Whether the byte before makes `.5` an index-like step rather than a number.
    fn follows_value(&self) -> bool {
        self.text[..self.at]
            .bytes()
            .next_back()
            .is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b']' | b')' | b'`' | b'"'))
    }

    fn sign(&mut self, start: usize) -> Result<Token, ConditionError> {
        let rest = self.rest();
        for (sign, hint) in SIGNS {
            if rest.starts_with(sign) {
                self.at += sign.len();
                return match hint {
                    None => Ok(Token::Sign(sign)),
                    Some(hint) => Err(ConditionError::new(start..self.at, format!("unexpected `{sign}`")).help(*hint)),
                };
            }
        }
        let c = rest.chars().next().unwrap_or_default();
        let error = ConditionError::new(start..start + c.len_utf8(), format!("unexpected character `{c}`"));
        Err(if c.is_alphabetic() || c == '$' || c == '#' {
            error.help("a field's name with such a character stands in backticks: `` `name` ``")
        } else if matches!(c, '“' | '”' | '‘' | '’' | '„') {
            error.help("strings stand in plain quotes: `\"text\"`")
        } else {
            error
        })
    }

    fn backticks(&mut self, start: usize) -> Result<Token, ConditionError> {
        self.at += 1;
        let name = self.run(|b| b != b'`' && b != b'\n');
        if !self.rest().starts_with('`') {
            return Err(ConditionError::new(start..start + 1, "this backtick is never closed"));
        }
        self.at += 1;
        if name.is_empty() {
            return Err(ConditionError::new(start..self.at, "a field's name is missing here"));
        }
        Ok(Token::Quoted(name.to_owned()))
    }

    fn number(&mut self, start: usize) -> Result<Token, ConditionError> {
        let bytes = self.text.as_bytes();
        if self.rest().starts_with("0x") || self.rest().starts_with("0X") {
            self.at += 2;
            let digits = self.run(|b| b.is_ascii_hexdigit());
            let value = i128::from_str_radix(digits, 16).ok().and_then(Num::of_i128);
            return self.end_number(start, value);
        }
        self.run(|b| b.is_ascii_digit());
        let mut float = false;
        if bytes.get(self.at) == Some(&b'.') && bytes.get(self.at + 1).is_some_and(u8::is_ascii_digit) {
            float = true;
            self.at += 1;
            self.run(|b| b.is_ascii_digit());
        }
        if matches!(bytes.get(self.at), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(self.at + 1), Some(b'+' | b'-')));
            if bytes.get(self.at + 1 + sign).is_some_and(u8::is_ascii_digit) {
                float = true;
                self.at += 1 + sign;
                self.run(|b| b.is_ascii_digit());
            }
        }
        let spelled = &self.text[start..self.at];
        let value = if float {
            spelled.parse().ok().filter(|x: &f64| x.is_finite()).map(Num::Float)
        } else {
            spelled.parse().ok().and_then(Num::of_i128)
        };
        self.end_number(start, value)
    }

    fn end_number(&mut self, start: usize, value: Option<Num>) -> Result<Token, ConditionError> {
        let digits = self.at;
        // CEL's unsigned integers; the type makes no difference here.
        if matches!(self.rest().as_bytes(), [b'u' | b'U', ..]) {
            self.at += 1;
        }
        let tail = self.run(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !tail.is_empty() {
            let error =
                ConditionError::new(start..self.at, format!("`{}` is not a number", &self.text[start..self.at]));
            return Err(match tail {
                "ms" | "s" | "m" | "h" | "d" => error.help("numbers have no units here: compare with the field's own"),
                _ => error.help("a name cannot begin with a digit; such a field stands in backticks: `` `name` ``"),
            });
        }
        match value {
            Some(value) => Ok(Token::Num(value)),
            None => Err(ConditionError::new(start..digits, "this number is too large")),
        }
    }

    fn string(&mut self, start: usize, raw: bool) -> Result<Token, ConditionError> {
        let open = self.at;
        let quote = self.rest().as_bytes()[0] as char;
        let triple = self.rest().starts_with(&quote.to_string().repeat(3));
        self.at += if triple { 3 } else { 1 };
        let inner = self.at;
        let mut text = String::new();
        let mut escaped = false;
        loop {
            let rest = self.rest();
            let Some(c) = rest.chars().next() else {
                return Err(ConditionError::new(start..open + 1, "this quote is never closed"));
            };
            if c == quote && (!triple || rest.starts_with(&quote.to_string().repeat(3))) {
                self.at += if triple { 3 } else { 1 };
                break;
            }
            if c == '\n' && !triple {
                return Err(ConditionError::new(start..open + 1, "this quote is not closed on its line"));
            }
            if c == '\\' && !raw {
                escaped = true;
                text.push(self.escape()?);
                continue;
            }
            self.at += c.len_utf8();
            text.push(c);
        }
        Ok(Token::Str { text, inner: (!escaped).then_some(inner) })
    }

    /// Takes one escape of CEL's.
    fn escape(&mut self) -> Result<char, ConditionError> {
        let start = self.at;
        self.at += 1;
        let code = self.rest().chars().next();
        self.at += code.map_or(0, char::len_utf8);
        let simple = match code {
            Some('n') => Some('\n'),
            Some('t') => Some('\t'),
            Some('r') => Some('\r'),
            Some('a') => Some('\x07'),
            Some('b') => Some('\x08'),
            Some('f') => Some('\x0c'),
            Some('v') => Some('\x0b'),
            Some(c @ ('\\' | '"' | '\'' | '`' | '?')) => Some(c),
            _ => None,
        };
        if let Some(c) = simple {
            return Ok(c);
        }
        let (digits, radix) = match code {
            Some('x' | 'X') => (2, 16),
            Some('u') => (4, 16),
            Some('U') => (8, 16),
            Some('0'..='3') => {
                self.at -= 1;
                (3, 8)
            }
            _ => (0, 0),
        };
        let number = self.rest().get(..digits).filter(|d| digits > 0 && d.chars().all(|c| c.is_digit(radix)));
        if let Some(c) = number.and_then(|d| u32::from_str_radix(d, radix).ok()).and_then(char::from_u32) {
            self.at += digits;
            return Ok(c);
        }
        let shown = &self.text[start..self.at];
        let error = ConditionError::new(start..self.at.max(start + 1), format!("unknown escape `{shown}` in a string"));
        Err(error.help("a backslash itself is `\\\\`; in a regex, a raw string needs none: r\"\\d\""))
    }
}
