//! Settings that are one value: booleans, numbers, texts, paths, addresses, time zones.

use std::net::SocketAddr;
use std::num::{NonZeroU8, NonZeroU16, NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::node::{Node, NodeKind};
use super::reader::Reader;
use super::schema::SchemaBuilder;
use super::setting::Setting;

impl Setting for bool {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        if let NodeKind::Bool(value) = node.resolved() {
            return Some(value);
        }
        let text = node.scalar_text().map(str::to_ascii_lowercase);
        let diagnostic = cx.expected(node, &Self::describe());
        match text.as_deref() {
            Some("yes" | "on" | "y" | "1") => _ = diagnostic.help("write `true`"),
            Some("no" | "off" | "n" | "0") => _ = diagnostic.help("write `false`"),
            _ => {}
        }
        None
    }

    fn schema(g: &mut SchemaBuilder) -> Value {
        g.interpolated(json!({"type": "boolean"}))
    }

    fn describe() -> String {
        "`true` or `false`".into()
    }

    fn default_text(&self) -> Option<String> {
        Some(self.to_string())
    }

    fn default_json(&self) -> Option<Value> {
        Some(Value::Bool(*self))
    }

    fn accepts(node: &Node) -> bool {
        matches!(node.resolved(), NodeKind::Bool(_))
    }
}

/// A whole number from `min` to `max`.
fn read_integer(node: &Node, cx: &mut Reader<'_>, what: &str, min: i128, max: i128) -> Option<i128> {
    match node.resolved() {
        NodeKind::Int(value) if (min..=max).contains(&value) => Some(value),
        NodeKind::Float(value)
            if value.fract() == 0.0 && value.abs() < 1e15 && (min..=max).contains(&(value as i128)) =>
        {
            Some(value as i128)
        }
        NodeKind::Str(text) if !node.interpolated && matches!(super::node::plain_kind(&text), NodeKind::Int(_)) => {
            cx.expected(node, what).help("leave the quotes out");
            None
        }
        _ => {
            cx.expected(node, what);
            None
        }
    }
}

fn range_words(min: i128, max: i128) -> String {
    match (min, max) {
        (0, max) if max > i128::from(u32::MAX) => "a whole number of 0 or more".into(),
        (1, max) if max > i128::from(u32::MAX) => "a whole number of 1 or more".into(),
        (min, max) if max > i128::from(u32::MAX) && min < -i128::from(u32::MAX) => "a whole number".into(),
        (min, max) => format!("a whole number from {min} to {max}"),
    }
}

macro_rules! integers {
    ($($type:ident: $min:expr, $max:expr, |$value:ident| $from:expr;)*) => { $(
        impl Setting for $type {
            fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
                let $value = read_integer(node, cx, &Self::describe(), $min, $max)?;
                $from
            }

            fn schema(g: &mut SchemaBuilder) -> Value {
                let schema = integer_schema($min, $max);
                g.interpolated(schema)
            }

            fn describe() -> String {
                range_words($min, $max)
            }

            fn default_text(&self) -> Option<String> {
                Some(self.to_string())
            }

            fn default_json(&self) -> Option<Value> {
                serde_json::from_str(&self.to_string()).ok()
            }

            fn accepts(node: &Node) -> bool {
                matches!(node.resolved(), NodeKind::Int(_) | NodeKind::Float(_))
            }
        }
    )* };
}

integers! {
    u8: 0, u8::MAX as i128, |v| Self::try_from(v).ok();
    u16: 0, u16::MAX as i128, |v| Self::try_from(v).ok();
    u32: 0, u32::MAX as i128, |v| Self::try_from(v).ok();
    u64: 0, u64::MAX as i128, |v| Self::try_from(v).ok();
    usize: 0, usize::MAX as i128, |v| Self::try_from(v).ok();
    i32: i32::MIN as i128, i32::MAX as i128, |v| Self::try_from(v).ok();
    i64: i64::MIN as i128, i64::MAX as i128, |v| Self::try_from(v).ok();
    NonZeroU8: 1, u8::MAX as i128, |v| u8::try_from(v).ok().and_then(Self::new);
    NonZeroU16: 1, u16::MAX as i128, |v| u16::try_from(v).ok().and_then(Self::new);
    NonZeroU32: 1, u32::MAX as i128, |v| u32::try_from(v).ok().and_then(Self::new);
    NonZeroU64: 1, u64::MAX as i128, |v| u64::try_from(v).ok().and_then(Self::new);
    NonZeroUsize: 1, usize::MAX as i128, |v| usize::try_from(v).ok().and_then(Self::new);
}

/// The schema of a whole number; limits beyond 32 bits are left to the reader.
fn integer_schema(min: i128, max: i128) -> Value {
    let mut schema = serde_json::Map::new();
    schema.insert("type".into(), "integer".into());
    if let Ok(min) = i32::try_from(min) {
        schema.insert("minimum".into(), min.into());
    }
    if let Ok(max) = u32::try_from(max) {
        schema.insert("maximum".into(), max.into());
    }
    Value::Object(schema)
}

impl Setting for f64 {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        match node.resolved() {
            NodeKind::Int(value) => Some(value as f64),
            NodeKind::Float(value) if value.is_finite() => Some(value),
            _ => {
                cx.expected(node, &Self::describe());
                None
            }
        }
    }

    fn schema(g: &mut SchemaBuilder) -> Value {
        g.interpolated(json!({"type": "number"}))
    }

    fn describe() -> String {
        "a number".into()
    }

    fn default_text(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }

    fn default_json(&self) -> Option<Value> {
        serde_json::Number::from_f64(*self).map(Value::Number)
    }

    fn accepts(node: &Node) -> bool {
        matches!(node.resolved(), NodeKind::Int(_) | NodeKind::Float(_))
    }
}

/// The text of a string setting; a bare number or boolean is refused, as its spelling would be guessed.
pub fn read_string<'n>(node: &'n Node, cx: &mut Reader<'_>, what: &str) -> Option<&'n str> {
    if let Some(text) = node.as_str() {
        return Some(text);
    }
    let quoted = node.scalar_text().filter(|_| !node.secret).map(|text| format!("put it in quotes: \"{text}\""));
    let diagnostic = cx.expected(node, what);
    diagnostic.helps.extend(quoted);
    None
}

impl Setting for String {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        read_string(node, cx, &Self::describe()).map(str::to_owned)
    }

    fn schema(_: &mut SchemaBuilder) -> Value {
        json!({"type": "string"})
    }

    fn describe() -> String {
        "a string".into()
    }

    fn default_text(&self) -> Option<String> {
        Some(Value::String(self.clone()).to_string())
    }

    fn default_json(&self) -> Option<Value> {
        Some(Value::String(self.clone()))
    }

    fn accepts(node: &Node) -> bool {
        node.as_str().is_some()
    }
}

impl Setting for PathBuf {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let text = read_string(node, cx, &Self::describe())?;
        if text.is_empty() || text.contains('\0') {
            cx.expected(node, &Self::describe());
            return None;
        }
        Some(Self::from(text))
    }

    fn schema(_: &mut SchemaBuilder) -> Value {
        json!({"type": "string", "minLength": 1})
    }

    fn describe() -> String {
        "a path".into()
    }

    fn default_text(&self) -> Option<String> {
        Some(self.display().to_string())
    }

    fn accepts(node: &Node) -> bool {
        node.as_str().is_some()
    }
}

impl Setting for SocketAddr {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let port = |text: &str| text.strip_prefix(':').unwrap_or(text).parse::<u16>().ok();
        let both = |port| format!("for this machine only: \"127.0.0.1:{port}\"; for all: \"0.0.0.0:{port}\"");
        if let NodeKind::Int(number) = node.resolved()
            && let Ok(number) = u16::try_from(number)
        {
            cx.expected(node, &Self::describe()).help(both(number));
            return None;
        }
        let text = read_string(node, cx, &Self::describe())?;
        let parsed = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}").parse(),
            None => text.parse(),
        };
        if let Ok(address) = parsed {
            return Some(address);
        }
        // An address of a page is one with something around it.
        let bare = text.split_once("://").and_then(|(_, rest)| rest.split('/').next()?.parse::<SocketAddr>().ok());
        let help = port(text).map(both).or_else(|| bare.map(|address| format!("write \"{address}\"")));
        cx.expected(node, &Self::describe()).helps.extend(help);
        None
    }

    fn schema(g: &mut SchemaBuilder) -> Value {
        let schema = g.define::<Self>("address_and_port", |_| {
            let host = r"([0-9]{1,3}(\.[0-9]{1,3}){3}|\[[0-9a-fA-F:.%a-z]+\]|localhost)";
            let pattern = format!("^{host}:[0-9]{{1,5}}$");
            json!({"type": "string", "pattern": pattern, "patternErrorMessage": "not an address and port such as 127.0.0.1:8686"})
        });
        g.interpolated(schema)
    }

    fn describe() -> String {
        "an address and port such as `127.0.0.1:8686`".into()
    }

    fn default_text(&self) -> Option<String> {
        Some(self.to_string())
    }

    fn accepts(node: &Node) -> bool {
        node.as_str().is_some()
    }
}

impl Setting for jiff::tz::TimeZone {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let text = read_string(node, cx, &Self::describe())?;
        if matches!(text, "UTC" | "utc" | "Z") {
            return Some(Self::UTC);
        }
        if let Ok(zone) = Self::get(text) {
            return Some(zone);
        }
        if let Some(offset) = fixed_offset(text) {
            return Some(Self::fixed(offset));
        }
        let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
        cx.expected(node, &Self::describe()).suggest(text, names.iter().map(String::as_str));
        None
    }

    fn schema(_: &mut SchemaBuilder) -> Value {
        json!({"type": "string"})
    }

    fn describe() -> String {
        "a time zone such as `Europe/Berlin`, `UTC` or `+02:00`".into()
    }

    fn default_text(&self) -> Option<String> {
        self.iana_name().map(str::to_owned)
    }

    fn accepts(node: &Node) -> bool {
        node.as_str().is_some()
    }
}

/// `+hh:mm` or `-hh:mm`.
fn fixed_offset(text: &str) -> Option<jiff::tz::Offset> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text[1..].split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes) = (hours.parse::<i32>().ok()?, minutes.parse::<i32>().ok().filter(|m| (0..60).contains(m))?);
    jiff::tz::Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()
}
