//! Settings with a unit: sizes and durations.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::node::{Node, NodeKind};
use super::reader::Reader;
use super::schema::SchemaBuilder;
use super::setting::Setting;

/// A number of bytes: `64KiB`, `10MB`, or bare bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Size(u64);

const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

impl Size {
    /// `n` bytes.
    pub const fn from_bytes(n: u64) -> Self {
        Self(n)
    }

    /// `n` times 1,024 bytes.
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// `n` times 1,048,576 bytes.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// `n` times 1,073,741,824 bytes.
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }

    /// In bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// In bytes; the largest `usize` where it does not fit.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// Reads `64KiB` and its like. `None` where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = (&text[..digits], text[digits..].trim_start());
        let factor = if unit.is_empty() {
            1
        } else {
            SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, factor)| *factor)?
        };
        scaled(number, u128::from(factor)).and_then(|bytes| u64::try_from(bytes).ok()).map(Self)
    }
}

/// A decimal number times `factor`, exactly; `None` where that is no whole number.
fn scaled(number: &str, factor: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || whole.len() > 20 || fraction.len() > 12 || (number.contains('.') && fraction.is_empty()) {
        return None;
    }
    let mut value = whole.parse::<u128>().ok()?.checked_mul(factor)?;
    if !fraction.is_empty() {
        let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
        let part = fraction.parse::<u128>().ok()?.checked_mul(factor)?;
        if part % scale != 0 {
            return None;
        }
        value += part / scale;
    }
    Some(value)
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = SIZE_UNITS.iter().rev().filter(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor));
        match unit.max_by_key(|(_, factor)| *factor) {
            Some((name, factor)) if *factor > 1 => write!(f, "{}{name}", self.0 / factor),
            _ => write!(f, "{}", self.0),
        }
    }
}

impl Setting for Size {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let size = match node.resolved() {
            NodeKind::Int(value) => u64::try_from(value).ok().map(Self),
            NodeKind::Str(text) => Self::parse(&text),
            _ => None,
        };
        if size.is_none() {
            let unit = node.scalar_text().and_then(|text| {
                let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|&n| n > 0)?;
                let unit = text[digits..].trim().to_ascii_lowercase();
                let meant = match unit.as_str() {
                    "k" | "ki" => "KiB",
                    "m" | "mi" => "MiB",
                    "g" | "gi" => "GiB",
                    "t" | "ti" => "TiB",
                    _ => return Some("units: B, kB, MB, GB, TB, KiB, MiB, GiB, TiB".to_owned()),
                };
                Some(format!("did you mean `{}{meant}`?", &text[..digits]))
            });
            cx.expected(node, &Self::describe()).helps.extend(unit);
        }
        size
    }

    fn schema(g: &mut SchemaBuilder) -> Value {
        let schema = g.define::<Self>("size", |_| {
            json!({
                "anyOf": [
                    {"type": "string", "pattern": "^\\s*[0-9]+(\\.[0-9]+)?\\s*([kKmMgGtT][iI]?[bB]|[bB])?\\s*$", "patternErrorMessage": "not a size such as 64KiB or 10MB"},
                    {"type": "integer", "minimum": 0}
                ],
                "description": "A number of bytes: 64KiB, 10MB, or bare bytes."
            })
        });
        g.interpolated(schema)
    }

    fn describe() -> String {
        "a size such as `64KiB` or `10MB`".into()
    }

    fn default_text(&self) -> Option<String> {
        Some(self.to_string())
    }

    fn accepts(node: &Node) -> bool {
        match node.resolved() {
            NodeKind::Int(_) => true,
            NodeKind::Str(text) => text.starts_with(|c: char| c.is_ascii_digit()),
            _ => false,
        }
    }
}

const DURATION_UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
    ("w", 604_800_000_000_000),
];

/// The longest duration: beyond it, sums with clocks overflow.
const MAX_DURATION: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Reads `500ms`, `5s`, `1h30m`. `None` where it is none.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total: u128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let unit = after[..end].trim();
        let (_, factor) = DURATION_UNITS.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(scaled(number, *factor)?)?;
        rest = &after[end..];
    }
    let duration =
        Duration::new(u64::try_from(total / 1_000_000_000).ok()?, u32::try_from(total % 1_000_000_000).ok()?);
    (duration <= MAX_DURATION).then_some(duration)
}

/// Writes a duration as [`parse_duration`] reads it, in the largest unit that is exact.
pub fn duration_text(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".into();
    }
    let unit = DURATION_UNITS.iter().rev().filter(|(name, _)| *name != "w").find(|(_, f)| nanos.is_multiple_of(*f));
    let (name, factor) = unit.unwrap_or(&DURATION_UNITS[0]);
    format!("{}{name}", nanos / factor)
}

impl Setting for Duration {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let kind = node.resolved();
        if let NodeKind::Int(_) | NodeKind::Float(_) = kind {
            let what = cx.subject();
            let text = if node.interpolated { "5".to_owned() } else { node.text.clone() };
            let message = format!("missing unit: {what} is a duration, found the number `{}`", node.text);
            let help = format!("write `{text}s` for seconds, `{text}ms` for milliseconds, `{text}m` for minutes");
            if !node.secret {
                cx.error_in(node, 0..node.text.len(), message).help(help);
            } else {
                cx.expected(node, &Self::describe());
            }
            return None;
        }
        let duration = if let NodeKind::Str(text) = &kind { parse_duration(text) } else { None };
        if duration.is_none() {
            cx.expected(node, &Self::describe()).help("units: ms, s, m, h, d");
        }
        duration
    }

    fn schema(g: &mut SchemaBuilder) -> Value {
        let schema = g.define::<Self>("duration", |_| {
            json!({
                "type": "string",
                "pattern": "^\\s*([0-9]+(\\.[0-9]+)?\\s*(ns|us|ms|s|m|h|d|w)\\s*)+$",
                "patternErrorMessage": "not a duration with its unit, such as 500ms, 5s or 10m",
                "description": "A duration with its unit: 500ms, 5s, 10m, 1h, 30d."
            })
        });
        g.interpolated(schema)
    }

    fn describe() -> String {
        "a duration such as `500ms`, `5s` or `10m`".into()
    }

    fn default_text(&self) -> Option<String> {
        Some(duration_text(*self))
    }

    fn accepts(node: &Node) -> bool {
        match node.resolved() {
            NodeKind::Int(_) | NodeKind::Float(_) => true,
            NodeKind::Str(text) => text.starts_with(|c: char| c.is_ascii_digit()),
            _ => false,
        }
    }
}
