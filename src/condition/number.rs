//! Numbers that compare by value: a 64-bit integer loses nothing beside a float.

use std::cmp::Ordering;

/// A number.
#[derive(Clone, Copy, Debug)]
pub enum Num {
    /// A signed integer.
    Int(i64),
    /// An integer past [`i64::MAX`].
    Big(u64),
    /// A float.
    Float(f64),
}

impl Num {
    /// An integer, wherever it fits.
    pub(super) fn of_i128(n: i128) -> Option<Num> {
        if let Ok(n) = i64::try_from(n) {
            return Some(Num::Int(n));
        }
        u64::try_from(n).ok().map(Num::Big)
    }

    fn int(self) -> Option<i128> {
        match self {
            Num::Int(n) => Some(i128::from(n)),
            Num::Big(n) => Some(i128::from(n)),
            Num::Float(_) => None,
        }
    }

    /// The nearest float.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        match self {
            Num::Int(n) => n as f64,
            Num::Big(n) => n as f64,
            Num::Float(x) => x,
        }
    }

    /// A JSON number's own spelling. Integers of any spelling that fit 64 bits stay integers.
    #[inline]
    #[must_use]
    pub fn from_spelling(text: &[u8]) -> Option<Num> {
        let (negative, digits) = match text {
            [b'-', rest @ ..] => (true, rest),
            _ => (false, text),
        };
        if digits.is_empty() || digits.len() > 18 {
            return slow(text);
        }
        let mut n = 0i64;
        for &c in digits {
            if !c.is_ascii_digit() {
                return slow(text);
            }
            n = n * 10 + i64::from(c - b'0');
        }
        Some(Num::Int(if negative { -n } else { n }))
    }

    /// The order by value; `None` beside NaN.
    #[must_use]
    pub fn compare(self, other: Num) -> Option<Ordering> {
        match (self, other) {
            (Num::Int(a), Num::Int(b)) => Some(a.cmp(&b)),
            (Num::Float(a), Num::Float(b)) => a.partial_cmp(&b),
            (Num::Float(a), b) => compare_int(b.int()?, a).map(Ordering::reverse),
            (a, Num::Float(b)) => compare_int(a.int()?, b),
            (a, b) => Some(a.int()?.cmp(&b.int()?)),
        }
    }

    /// `+`, `-`, `*`, `/`, `%` as CEL has them; `None` is overflow or division by zero. An integer beside a float
    /// becomes one; division of integers cuts off; `%` is for integers.
    pub(super) fn arithmetic(self, op: Arith, other: Num) -> Option<Num> {
        if let (Some(a), Some(b)) = (self.int(), other.int()) {
            // Two 64-bit integers fit any of these in 128 bits, so only the result can overflow.
            return Num::of_i128(match op {
                Arith::Add => a + b,
                Arith::Sub => a - b,
                Arith::Mul => a.checked_mul(b)?,
                Arith::Div => a.checked_div(b)?,
                Arith::Rem => a.checked_rem(b)?,
            });
        }
        let (a, b) = (self.as_f64(), other.as_f64());
        Some(Num::Float(match op {
            Arith::Add => a + b,
            Arith::Sub => a - b,
            Arith::Mul => a * b,
            Arith::Div => a / b,
            Arith::Rem => return None,
        }))
    }

    /// The number with its sign changed; `None` is overflow.
    pub(super) fn negate(self) -> Option<Num> {
        match self {
            Num::Float(x) => Some(Num::Float(-x)),
            n => Num::of_i128(-n.int()?),
        }
    }

    /// `int(x)`: a float loses its fraction; `None` is overflow or NaN.
    pub(super) fn truncate(self) -> Option<Num> {
        match self {
            // Both bounds are exact as floats; 2^63 itself does not fit.
            Num::Float(x) if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&x) => {
                Some(Num::Int(x as i64))
            }
            Num::Float(_) => None,
            n => Some(n),
        }
    }
}

/// Spellings with a point or an exponent, and integers of 19 digits or more.
#[cold]
fn slow(text: &[u8]) -> Option<Num> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(n) = text.parse::<i64>() {
        return Some(Num::Int(n));
    }
    if let Ok(n) = text.parse::<u64>() {
        return Some(Num::Big(n));
    }
    // Words that Rust reads as floats (`inf`, `nan`) are no numbers here.
    if text.bytes().any(|b| b.is_ascii_alphabetic() && b != b'e' && b != b'E') {
        return None;
    }
    text.parse::<f64>().ok().map(Num::Float)
}

/// An integer beside a float, exactly.
fn compare_int(a: i128, b: f64) -> Option<Ordering> {
    if b.is_nan() {
        return None;
    }
    // Past these the float is larger or smaller than any integer here; below, its whole part fits.
    if b >= 36_893_488_147_419_103_232.0 {
        return Some(Ordering::Less);
    }
    if b <= -36_893_488_147_419_103_232.0 {
        return Some(Ordering::Greater);
    }
    let whole = b.trunc();
    let order = a.cmp(&(whole as i128));
    Some(order.then_with(|| 0.0f64.partial_cmp(&(b - whole)).unwrap_or(Ordering::Equal)))
}

/// The operators of arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arith {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
}

impl Arith {
    pub(super) fn sign(self) -> &'static str {
        match self {
            Arith::Add => "+",
            Arith::Sub => "-",
            Arith::Mul => "*",
            Arith::Div => "/",
            Arith::Rem => "%",
        }
    }
}
