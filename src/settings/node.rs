//! The tree a configuration text becomes: YAML values that know where they stood.

use super::source_map::Span;

/// What a value is, by the YAML 1.2 core schema.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeKind {
    /// `null`, `~` or nothing at all.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// A number with a fraction or an exponent.
    Float(f64),
    /// Any other scalar, and every quoted one.
    Str(String),
    /// A list.
    Seq(Vec<Node>),
    /// A mapping, in written order. Keys are distinct.
    Map(Vec<Entry>),
}

/// How a value was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A bare scalar, or a collection by indentation.
    Plain,
    /// `'…'`
    Single,
    /// `"…"`
    Double,
    /// `|`
    Literal,
    /// `>`
    Folded,
    /// `[…]` or `{…}`
    Flow,
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key's text.
    pub key: String,
    /// Where the key is.
    pub key_span: Span,
    /// The value.
    pub value: Node,
}

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Where it is. Scalars: with their quotes. Collections: first to last element.
    pub span: Span,
    /// How it was written.
    pub style: Style,
    /// A scalar's text, after interpolation: `0x10` for the number 16. Empty for collections.
    pub text: String,
    /// The scalar held `${…}` that was replaced.
    pub interpolated: bool,
    /// Never to be shown: holds `${file:…}`, or stands under a key named like a secret.
    pub secret: bool,
    /// Its interpolation failed, which has been said: no further mistake is reported for it.
    pub(crate) broken: bool,
}

impl Node {
    /// An empty mapping at `span`, to read a block of nothing but defaults from.
    pub fn empty_map(span: Span) -> Self {
        Self::collection(NodeKind::Map(Vec::new()), span, Style::Flow)
    }

    pub(crate) fn collection(kind: NodeKind, span: Span, style: Style) -> Self {
        Self { kind, span, style, text: String::new(), interpolated: false, secret: false, broken: false }
    }

    /// A scalar as it stands in the text.
    pub(crate) fn scalar(text: String, style: Style, span: Span) -> Self {
        let kind = if style == Style::Plain { plain_kind(&text) } else { NodeKind::Str(text.clone()) };
        Self { kind, span, style, text, interpolated: false, secret: false, broken: false }
    }

    /// What the value is where a number, boolean, size or duration is expected: an interpolated scalar is resolved as
    /// if it had been written bare, so that `"${PORT}"` may fill a number.
    pub fn resolved(&self) -> NodeKind {
        match (&self.kind, self.interpolated) {
            (NodeKind::Str(_), true) => plain_kind(self.text.trim()),
            (kind, _) => kind.clone(),
        }
    }

    /// The text of a string: a string as written, or whatever an interpolated scalar holds.
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Str(text) => Some(text),
            NodeKind::Seq(_) | NodeKind::Map(_) => None,
            _ if self.interpolated => Some(&self.text),
            _ => None,
        }
    }

    /// The text of any scalar but null.
    pub fn scalar_text(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Null | NodeKind::Seq(_) | NodeKind::Map(_) => None,
            _ => Some(&self.text),
        }
    }

    /// The list's elements.
    pub fn as_seq(&self) -> Option<&[Node]> {
        if let NodeKind::Seq(items) = &self.kind { Some(items) } else { None }
    }

    /// The mapping's entries.
    pub fn as_map(&self) -> Option<&[Entry]> {
        if let NodeKind::Map(entries) = &self.kind { Some(entries) } else { None }
    }

    /// A hash of the value: of what it says, after interpolation, not of how it is written. Of a mapping without these keys.
    pub fn fingerprint(&self, without: &[&str]) -> u128 {
        fn put(node: &Node, without: &[&str], out: &mut Vec<u8>) {
            let mut text = |tag: u8, text: &str| {
                out.push(tag);
                out.extend_from_slice(&(text.len() as u64).to_le_bytes());
                out.extend_from_slice(text.as_bytes());
            };
            match &node.kind {
                NodeKind::Null => text(0, ""),
                NodeKind::Seq(items) => {
                    text(1, &items.len().to_string());
                    items.iter().for_each(|item| put(item, &[], out));
                }
                NodeKind::Map(entries) => {
                    let entries = entries.iter().filter(|e| !without.contains(&&*e.key));
                    text(2, &entries.clone().count().to_string());
                    for entry in entries {
                        out.push(3);
                        out.extend_from_slice(&(entry.key.len() as u64).to_le_bytes());
                        out.extend_from_slice(entry.key.as_bytes());
                        put(&entry.value, &[], out);
                    }
                }
                // A quoted number is another value than a bare one for some settings.
                NodeKind::Str(_) if !node.interpolated => text(4, &node.text),
                _ => text(5, &node.text),
            }
        }
        let mut out = Vec::new();
        put(self, without, &mut out);
        xxhash_rust::xxh3::xxh3_128(&out)
    }

    /// The value under `key` of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The entry with `key` of a mapping.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.as_map()?.iter().find(|entry| entry.key == key)
    }

    /// Whether it is `null` or nothing at all.
    pub fn is_null(&self) -> bool {
        self.kind == NodeKind::Null
    }
}

impl NodeKind {
    /// The kind in words, with its article: "a string".
    pub fn in_words(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "the boolean",
            Self::Int(_) | Self::Float(_) => "the number",
            Self::Str(_) => "the string",
            Self::Seq(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// Resolves a bare scalar by the core schema (YAML 1.2.2, section 10.3.2).
pub(crate) fn plain_kind(text: &str) -> NodeKind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return NodeKind::Null,
        "true" | "True" | "TRUE" => return NodeKind::Bool(true),
        "false" | "False" | "FALSE" => return NodeKind::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return NodeKind::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return NodeKind::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return NodeKind::Float(f64::NEG_INFINITY),
        _ => {}
    }
    number(text).unwrap_or_else(|| NodeKind::Str(text.to_owned()))
}

fn number(text: &str) -> Option<NodeKind> {
    if let Some(digits) = text.strip_prefix("0x")
        && digits.bytes().all(|b| b.is_ascii_hexdigit())
        && let Ok(value) = i128::from_str_radix(digits, 16)
    {
        return Some(NodeKind::Int(value));
    }
    if let Some(digits) = text.strip_prefix("0o")
        && digits.bytes().all(|b| (b'0'..=b'7').contains(&b))
        && let Ok(value) = i128::from_str_radix(digits, 8)
    {
        return Some(NodeKind::Int(value));
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return match text.parse() {
            Ok(value) => Some(NodeKind::Int(value)),
            Err(_) => text.parse().ok().map(NodeKind::Float),
        };
    }
    // [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let mantissa_ok = match mantissa.split_once('.') {
        Some(("", fraction)) => digits(fraction),
        Some((whole, fraction)) => digits(whole) && (fraction.is_empty() || digits(fraction)),
        None => digits(mantissa),
    };
    let exponent_ok = exponent.is_none_or(|e| digits(e.strip_prefix(['+', '-']).unwrap_or(e)));
    if mantissa_ok && exponent_ok { text.parse().ok().map(NodeKind::Float) } else { None }
}

/// Whether a block under this key holds credentials: every scalar in it is hidden where it stands.
pub(crate) fn is_secret_block(key: &str) -> bool {
    const NAMES: [&str; 9] =
        ["auth", "authn", "authentication", "authorization", "headers", "header", "hmac", "basic", "credentials"];
    let key = key.to_ascii_lowercase().replace('-', "_");
    let nearly = |name: &str| {
        let allowed = if name.len() >= 6 { 2 } else { 1 };
        key.len() >= 4 && name.len() >= 4 && strsim::damerau_levenshtein(&key, name) <= allowed
    };
    key.split('_').any(|word| NAMES.contains(&word)) || NAMES.iter().any(|name| nearly(name))
}
