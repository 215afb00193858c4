//! Paths with wildcards, matched while walking down an event.
//!
//! `request.cookies`, `**.password` (at any depth), `*.id` (one level), `x_*`, `a[0]`, `a[*]`, `"odd.key"`. Since a
//! path that misses is a leak, matching is generous: it goes through arrays as if they were not there
//! (`users.email` is the `email` of each of `users`), and a key with dots counts as itself and as the path it spells.

use crate::settings::{Node, Reader, SchemaBuilder, Setting, read_string};
use std::ops::Range;

/// A path with wildcards, as written in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathGlob {
    text: String,
    segments: Vec<Segment>,
}

/// The paths of `fields`, as written: those of `drop`, `mask`, `hash` and `keep_last`.
#[derive(Clone, Debug, Default)]
pub(super) struct WrittenPaths(pub(super) [Vec<PathGlob>; 4]);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// A key: the parts between its stars; one part where it has none.
    Key(Vec<Vec<u8>>),
    /// An element; `None` for any.
    Index(Option<usize>),
    /// Any number of levels, none too.
    Deep,
}

impl PathGlob {
    /// Parses a path; the error has its place in the text.
    pub fn parse(text: &str) -> Result<Self, (Range<usize>, String)> {
        let fail = |at: usize, message: &str| {
            let end = text[at..].chars().next().map_or(at, |c| at + c.len_utf8());
            Err((at..end, message.to_owned()))
        };
        let bytes = text.as_bytes();
        let mut segments = Vec::new();
        let mut at = 0;
        loop {
            if bytes.get(at) == Some(&b'"') {
                let mut name = Vec::new();
                let mut i = at + 1;
                loop {
                    match bytes.get(i) {
                        None => return fail(at, "this quote is never closed"),
                        Some(b'"') => break,
                        Some(b'\\') if matches!(bytes.get(i + 1), Some(b'"' | b'\\')) => {
                            name.push(bytes[i + 1]);
                            i += 2;
                        }
                        Some(&b) => {
                            name.push(b);
                            i += 1;
                        }
                    }
                }
                segments.push(Segment::Key(vec![name]));
                at = i + 1;
            } else {
                let end = text[at..].find(['.', '[']).map_or(text.len(), |i| at + i);
                let name = &text[at..end];
                if name.is_empty() {
                    return fail(at.min(text.len()), "a field's name is missing here");
                }
                if let Some(i) = name.find(|c: char| c.is_whitespace() || matches!(c, '"' | ']' | '{' | '}' | '|')) {
                    return fail(at + i, "a name with this character needs quotes: `\"odd name\"`");
                }
                if name == "**" {
                    segments.push(Segment::Deep);
                } else if let Some(i) = name.find("**") {
                    return fail(at + i, "`**` stands alone between dots; `*` is for a part of a name");
                } else {
                    segments.push(Segment::Key(name.split('*').map(|p| p.as_bytes().to_vec()).collect()));
                }
                at = end;
            }
            while bytes.get(at) == Some(&b'[') {
                let Some(end) = text[at..].find(']').map(|i| at + i) else {
                    return fail(at, "this bracket is never closed");
                };
                let index = match &text[at + 1..end] {
                    "*" => None,
                    number => match number.parse() {
                        Ok(n) => Some(n),
                        Err(_) => return fail(at + 1, "an index is a number from 0, or `*`"),
                    },
                };
                segments.push(Segment::Index(index));
                at = end + 1;
            }
            match bytes.get(at) {
                None => return Ok(Self { text: text.to_owned(), segments }),
                Some(b'.') => at += 1,
                Some(_) => return fail(at, "expected `.` or `[` here"),
            }
        }
    }
}

impl Setting for PathGlob {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let text = read_string(node, cx, &Self::describe())?;
        if text.starts_with('@') {
            cx.error_in(node, 0..text.len(), "metadata is not a field: copy it into one with `attach` first");
            return None;
        }
        match Self::parse(text) {
            Ok(path) => Some(path),
            Err((at, message)) => {
                let message = format!("{}: {message}", cx.subject());
                cx.error_in(node, at, message);
                None
            }
        }
    }

    fn schema(_: &mut SchemaBuilder) -> serde_json::Value {
        serde_json::json!({"type": "string", "minLength": 1})
    }

    fn describe() -> String {
        "a field path such as `request.cookies` or `**.password`".into()
    }

    fn default_text(&self) -> Option<String> {
        Some(self.text.clone())
    }

    fn accepts(node: &Node) -> bool {
        node.as_str().is_some()
    }

    fn lone() -> bool {
        true
    }
}

fn key_matches(parts: &[Vec<u8>], key: &[u8]) -> bool {
    let [first, rest @ ..] = parts else { return false };
    let Some((last, middle)) = rest.split_last() else { return first == key };
    let Some(mut key) = key.strip_prefix(first.as_slice()) else { return false };
    for part in middle {
        match memchr::memmem::find(key, part) {
            Some(at) => key = &key[at + part.len()..],
            None => return false,
        }
    }
    key.ends_with(last)
}

/// What a path is for: bits, since several may match at one place.
pub(super) type Purposes = u8;
pub(super) const DROP: Purposes = 1;
pub(super) const MASK: Purposes = 2;
pub(super) const HASH: Purposes = 4;
pub(super) const KEEP_LAST: Purposes = 8;
pub(super) const IN: Purposes = 16;
pub(super) const EXCEPT: Purposes = 32;

/// Positions in all paths at once: where matching stands at one place of an event. Sorted, no duplicates.
pub(super) type Places = Vec<u16>;

/// All paths of a transform.
#[derive(Clone, Debug, Default)]
pub(super) struct Paths {
    /// Segments of all paths, each path's followed by its end.
    steps: Vec<Step>,
    start: Places,
    /// Whether `in` was given.
    restricted: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Segment(Segment),
    End(Purposes),
}

impl Paths {
    /// Puts the paths together. Beyond 65,535 segments in all there is no room: `None`.
    pub(super) fn new<'a>(lists: impl IntoIterator<Item = (&'a [PathGlob], Purposes)>) -> Option<Self> {
        let mut paths = Self::default();
        for (list, purpose) in lists {
            for path in list {
                paths.restricted |= purpose == IN;
                let first = u16::try_from(paths.steps.len()).ok()?;
                paths.steps.extend(path.segments.iter().cloned().map(Step::Segment));
                paths.steps.push(Step::End(purpose));
                u16::try_from(paths.steps.len()).ok()?;
                let mut start = std::mem::take(&mut paths.start);
                paths.add(first, &mut start, 0);
                paths.start = start;
            }
        }
        Some(paths)
    }

    /// Where matching stands at the root of an event.
    pub(super) fn start(&self) -> &[u16] {
        &self.start
    }

    /// Whether only some places are searched.
    pub(super) fn restricted(&self) -> bool {
        self.restricted
    }

    /// Adds a place, and what lies behind it where it may be skipped, to those of `to` from `from` on.
    fn add(&self, place: u16, to: &mut Places, from: usize) {
        let mut place = place;
        loop {
            if !to[from..].contains(&place) {
                to.push(place);
            }
            match self.steps.get(usize::from(place)) {
                Some(Step::Segment(Segment::Deep)) => place += 1,
                _ => return,
            }
        }
    }

    /// Steps into the member `key`, appending where that leads to `to`; returns what ends there.
    ///
    /// `key` is plain text.
    pub(super) fn key(&self, here: &[u16], key: &[u8], to: &mut Places) -> Purposes {
        let from = to.len();
        self.one_key(here, key, to, from);
        if memchr::memchr(b'.', key).is_some() && !here.is_empty() {
            self.dotted_key(here, key, to, from);
        }
        self.ends(&to[from..])
    }

    /// Steps along the path that a key with dots spells. `to` is work space behind the places that are in it.
    fn dotted_key(&self, here: &[u16], key: &[u8], to: &mut Places, from: usize) {
        let mut end = to.len();
        let mut places = end;
        to.extend_from_slice(here);
        for part in key.split(|&b| b == b'.') {
            let next = to.len();
            for i in places..next {
                self.step_key(to[i], part, to, next);
            }
            places = next;
        }
        for i in places..to.len() {
            let place = to[i];
            if !to[from..end].contains(&place) {
                to[end] = place;
                end += 1;
            }
        }
        to.truncate(end);
    }

    fn one_key(&self, here: &[u16], key: &[u8], to: &mut Places, from: usize) {
        for &place in here {
            self.step_key(place, key, to, from);
        }
    }

    fn step_key(&self, place: u16, key: &[u8], to: &mut Places, from: usize) {
        match self.steps.get(usize::from(place)) {
            Some(Step::Segment(Segment::Deep)) => self.add(place, to, from),
            Some(Step::Segment(Segment::Key(parts))) if key_matches(parts, key) => self.add(place + 1, to, from),
            _ => {}
        }
    }

    /// Steps into element `index`; as [`key`](Self::key).
    pub(super) fn index(&self, here: &[u16], index: usize, to: &mut Places) -> Purposes {
        let from = to.len();
        let mut ends = 0;
        for &place in here {
            match self.steps.get(usize::from(place)) {
                Some(Step::Segment(segment)) => {
                    self.add(place, to, from);
                    if matches!(segment, Segment::Index(i) if i.is_none_or(|i| i == index)) {
                        let before = to.len();
                        self.add(place + 1, to, from);
                        ends |= self.ends(&to[before..]);
                    }
                }
                // What ended at the array itself was seen there.
                Some(Step::End(_)) | None => {}
            }
        }
        ends
    }

    fn ends(&self, places: &[u16]) -> Purposes {
        places.iter().fold(0, |ends, &p| match self.steps.get(usize::from(p)) {
            Some(Step::End(purpose)) => ends | purpose,
            _ => ends,
        })
    }

    /// Whether something other than ends is among the places: whether it is worth going on.
    pub(super) fn goes_on(&self, places: &[u16]) -> bool {
        places.iter().any(|&p| matches!(self.steps.get(usize::from(p)), Some(Step::Segment(_))))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Keys, or `[n]` for elements.
    fn matches(glob: &str, way: &[&str]) -> bool {
        let paths = Paths::new([(&[PathGlob::parse(glob).unwrap()][..], MASK)]).unwrap();
        let mut here = paths.start().to_vec();
        let mut ends = 0;
        for step in way {
            let mut next = Vec::new();
            ends = match step.strip_prefix('[').and_then(|s| s.strip_suffix(']')) {
                Some(n) => paths.index(&here, n.parse().unwrap(), &mut next),
                None => paths.key(&here, step.as_bytes(), &mut next),
            };
            here = next;
        }
        ends == MASK
    }

    #[test]
    fn paths_match_what_they_say() {
        for (glob, way, wanted) in [
            ("a", &["a"][..], true),
            ("a", &["b"], false),
            ("a", &["a", "a"], false),
            ("a.b", &["a", "b"], true),
            ("a.b", &["a.b"], true),
            ("a.b", &["a", "[3]", "b"], true),
            ("a.b", &["[0]", "a", "b"], true),
            ("\"a.b\"", &["a.b"], true),
            ("\"a.b\"", &["a", "b"], false),
            ("**.password", &["password"], true),
            ("**.password", &["a", "b", "[1]", "c", "password"], true),
            ("**.password", &["a.b.password"], true),
            ("**.password", &["a", "password", "x"], false),
            ("a.**.z", &["a", "z"], true),
            ("a.**.z", &["a", "b", "c", "z"], true),
            ("a.**", &["a"], true),
            ("*.id", &["x", "id"], true),
            ("*.id", &["id"], false),
            ("x_*", &["x_token"], true),
            ("*tok*n", &["x_token"], true),
            ("*tok*n", &["x_toke"], false),
            ("a[0]", &["a", "[0]"], true),
            ("a[0]", &["a", "[1]"], false),
            ("a[*].b", &["a", "[7]", "b"], true),
        ] {
            assert_eq!(matches(glob, way), wanted, "{glob} {way:?}");
        }
    }

    #[test]
    fn mistakes_are_placed() {
        for (text, at) in [("", 0), ("a..b", 2), ("a[x]", 2), ("a.b**", 3), ("a b", 1), ("\"a", 0), ("a[0]b", 4)] {
            assert_eq!(PathGlob::parse(text).map_err(|e| e.0.start), Err(at), "{text}");
        }
    }
}
