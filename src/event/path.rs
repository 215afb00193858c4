//! Field paths: `a.b[0]."odd.key"`, and `@name` for metadata. Parsed once at start.

use super::Sym;
use std::fmt;

/// One step into a nested value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// A member of an object.
    Key(String),
    /// An element of an array, from 0.
    Index(usize),
}

/// Metadata that travels beside the fields.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Meta {
    /// `@source`: id of the source.
    Source,
    /// `@file`: path of the file.
    File,
    /// `@offset`: where the event begins in its file, in bytes.
    Offset,
    /// `@host`: name of the host.
    Host,
    /// `@peer`: address of the sender.
    Peer,
    /// `@received_at`: when the agent read it.
    ReceivedAt,
    /// `@kind`: log, metric or trace.
    Kind,
    /// `@id`: 32 hex digits that are the event's own: of the file's generation and the place in it, the same whenever it is
    /// read; random for others, and kept on the way.
    Id,
    /// `@user`: authenticated user.
    User,
    /// `@tls.subject`: subject of the client's certificate.
    TlsSubject,
    /// `@http.<variable>`: a variable of the request's path, or `@http.header.<name>`, a header that the source keeps.
    Http(String),
}

impl Meta {
    /// Names that stand alone, for messages and suggestions.
    pub const NAMES: &[&str] =
        &["source", "file", "offset", "host", "peer", "received_at", "kind", "id", "user", "tls.subject"];

    /// The metadata called `name` (without `@`).
    pub fn from_name(name: &str) -> Option<Meta> {
        Some(match name {
            "source" => Meta::Source,
            "file" => Meta::File,
            "offset" => Meta::Offset,
            "host" => Meta::Host,
            "peer" => Meta::Peer,
            "received_at" => Meta::ReceivedAt,
            "kind" => Meta::Kind,
            "id" => Meta::Id,
            "user" => Meta::User,
            "tls.subject" => Meta::TlsSubject,
            _ => Meta::Http(name.strip_prefix("http.").filter(|v| !v.is_empty())?.to_owned()),
        })
    }

    /// As [`from_name`](Meta::from_name), of a name as somebody writes it: headers have no case, and are spelled as fields are.
    pub fn from_config(name: &str) -> Option<Meta> {
        Some(match Meta::from_name(name)? {
            Meta::Http(variable) if variable.starts_with("header.") => {
                Meta::Http(variable.to_ascii_lowercase().replace('-', "_"))
            }
            meta => meta,
        })
    }

    /// Names of the metadata among these paths.
    pub fn names_in<'p>(paths: impl IntoIterator<Item = &'p FieldPath>) -> impl Iterator<Item = String> {
        paths.into_iter().filter_map(FieldPath::meta).map(Meta::name)
    }

    /// Its name, without `@`.
    pub fn name(&self) -> String {
        match self {
            Meta::Source => "source".into(),
            Meta::File => "file".into(),
            Meta::Offset => "offset".into(),
            Meta::Host => "host".into(),
            Meta::Peer => "peer".into(),
            Meta::ReceivedAt => "received_at".into(),
            Meta::Kind => "kind".into(),
            Meta::Id => "id".into(),
            Meta::User => "user".into(),
            Meta::TlsSubject => "tls.subject".into(),
            Meta::Http(name) => format!("http.{name}"),
        }
    }

    /// The field that `attach` copies it into.
    pub fn field_name(&self) -> String {
        match self {
            Meta::Source => "source".into(),
            Meta::File => "file".into(),
            Meta::Offset => "offset".into(),
            Meta::Host => "host_name".into(),
            Meta::Peer => "peer".into(),
            Meta::ReceivedAt => "received_at".into(),
            Meta::Kind => "kind".into(),
            Meta::Id => "id".into(),
            Meta::User => "user_name".into(),
            Meta::TlsSubject => "tls_subject".into(),
            Meta::Http(name) => format!("http_{}", name.replace('.', "_")),
        }
    }
}

/// Where a value stands in an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldPath {
    text: String,
    root: Root,
    rest: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Root {
    Meta(Meta),
    Field {
        /// The first key.
        first: Sym,
        /// The whole path as one key, where it has several: it is taken first where it exists.
        whole: Option<Sym>,
    },
}

/// Why a text is not a field path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathError {
    /// Byte in the text at which it went wrong.
    pub at: usize,
    /// What is wrong, a lowercase fragment.
    pub message: String,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for PathError {}

impl FieldPath {
    /// Parses a path.
    pub fn parse(text: &str) -> Result<FieldPath, PathError> {
        if let Some(name) = text.strip_prefix('@') {
            let meta = Meta::from_config(name).ok_or_else(|| PathError {
                at: 1,
                message: format!(
                    "unknown metadata `@{name}`; known: {}, @http.<variable>",
                    Meta::NAMES.iter().map(|n| format!("@{n}")).collect::<Vec<_>>().join(", ")
                ),
            })?;
            return Ok(FieldPath { text: text.into(), root: Root::Meta(meta), rest: Vec::new() });
        }
        let mut segments = parse_segments(text)?;
        let Segment::Key(first) = segments.remove(0) else {
            return Err(PathError { at: 0, message: "a path begins with a field's name".into() });
        };
        let whole = (!segments.is_empty()).then(|| Sym::from_config(text));
        let root = Root::Field { first: Sym::from_config(&first), whole };
        Ok(FieldPath { text: text.into(), root, rest: segments })
    }

    /// The path of one top-level field, whatever characters its name has.
    pub fn of_key(name: &str) -> FieldPath {
        let root = Root::Field { first: Sym::from_config(name), whole: None };
        FieldPath { text: name.into(), root, rest: Vec::new() }
    }

    /// The path of metadata.
    pub fn of_meta(meta: Meta) -> FieldPath {
        FieldPath { text: format!("@{}", meta.name()), root: Root::Meta(meta), rest: Vec::new() }
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The metadata it names, where it begins with `@`.
    pub fn meta(&self) -> Option<&Meta> {
        match &self.root {
            Root::Meta(meta) => Some(meta),
            Root::Field { .. } => None,
        }
    }

    /// The first key; `None` for metadata.
    pub fn first(&self) -> Option<Sym> {
        match self.root {
            Root::Meta(_) => None,
            Root::Field { first, .. } => Some(first),
        }
    }

    /// The whole path as one literal key, where it has several segments.
    pub fn whole(&self) -> Option<Sym> {
        match self.root {
            Root::Meta(_) => None,
            Root::Field { whole, .. } => whole,
        }
    }

    /// The segments behind the first key.
    pub fn rest(&self) -> &[Segment] {
        &self.rest
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn parse_segments(text: &str) -> Result<Vec<Segment>, PathError> {
    let fail = |at: usize, message: &str| Err(PathError { at, message: message.into() });
    let bytes = text.as_bytes();
    let mut segments = Vec::new();
    let mut at = 0;
    loop {
        match bytes.get(at) {
            None => return fail(at, "a field's name is missing here"),
            Some(b'"') => {
                let mut name = String::new();
                let mut chars = text[at + 1..].char_indices();
                let end = loop {
                    match chars.next() {
                        None => return fail(at, "this quote is never closed"),
                        Some((i, '"')) => break at + 1 + i + 1,
                        Some((_, '\\')) => match chars.next() {
                            Some((_, c @ ('"' | '\\'))) => name.push(c),
                            _ => return fail(at, "only `\\\"` and `\\\\` are escapes in a quoted name"),
                        },
                        Some((_, c)) => name.push(c),
                    }
                };
                segments.push(Segment::Key(name));
                at = end;
            }
            Some(_) => {
                let end = text[at..].find(['.', '[']).map_or(text.len(), |i| at + i);
                let name = &text[at..end];
                if name.is_empty() {
                    return fail(at, "a field's name is missing here");
                }
                if let Some(i) = name.find(|c: char| c.is_whitespace() || matches!(c, '"' | ']' | '{' | '}' | '|')) {
                    return fail(at + i, "a name with this character needs quotes: `\"odd name\"`");
                }
                segments.push(Segment::Key(name.into()));
                at = end;
            }
        }
        while bytes.get(at) == Some(&b'[') {
            let Some(end) = text[at..].find(']').map(|i| at + i) else {
                return fail(at, "this bracket is never closed");
            };
            let Ok(index) = text[at + 1..end].parse() else {
                return fail(at + 1, "an index is a number from 0");
            };
            segments.push(Segment::Index(index));
            at = end + 1;
        }
        match bytes.get(at) {
            None => return Ok(segments),
            Some(b'.') => at += 1,
            Some(_) => return fail(at, "expected `.` or `[` here"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths_parse_into_segments() {
        let path = FieldPath::parse(r#"a.b[0]."odd.key""#).unwrap();
        assert_eq!(path.first(), Some(Sym::from_config("a")));
        assert_eq!(path.rest(), [Segment::Key("b".into()), Segment::Index(0), Segment::Key("odd.key".into())]);
        assert_eq!(path.whole(), Some(Sym::from_config(r#"a.b[0]."odd.key""#)));
        assert_eq!(FieldPath::parse("@tls.subject").unwrap().meta(), Some(&Meta::TlsSubject));
        assert_eq!(FieldPath::parse("@http.stream").unwrap().meta(), Some(&Meta::Http("stream".into())));
    }

    #[test]
    fn mistakes_are_placed() {
        for (text, at) in [
            ("", 0),
            ("a..b", 2),
            ("a[x]", 2),
            ("a.", 2),
            ("a[0", 1),
            ("\"a", 0),
            ("@nope", 1),
            ("a b", 1),
            ("a[0]b", 4),
        ] {
            assert_eq!(FieldPath::parse(text).map_err(|e| e.at), Err(at), "{text}");
        }
    }
}
