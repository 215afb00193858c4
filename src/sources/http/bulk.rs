//! Elasticsearch's bulk body: lines in pairs, an action and the document it is for.
//!
//! The body is walked three times and never copied whole: to find mistakes before anything is taken, to hand over the
//! documents by index, and to answer item by item while the client reads the answer.

use super::format::Part;
use super::plain::{PART_BYTES, PART_EVENTS};
use crate::event::json::{self, Kind, Member, ScanError, Scanner};
use crate::event::{Origin, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// What is asked for with a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Index,
    Create,
    Update,
    Delete,
    /// A word that is none of these.
    Unknown,
}

impl Action {
    pub(super) fn word(self) -> &'static str {
        match self {
            Action::Index => "index",
            Action::Create => "create",
            Action::Update => "update",
            Action::Delete => "delete",
            Action::Unknown => "unknown",
        }
    }
}

/// One document with its action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item<'b> {
    pub(super) action: Action,
    /// The index it names, as it stands between quotes; empty where it names none.
    pub(super) index: &'b [u8],
    /// Its id, as JSON; empty where it has none.
    pub(super) id: &'b [u8],
    /// The document's line, without white space around it; empty for `delete`.
    pub(super) document: &'b [u8],
}

/// Why a body cannot be walked further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadLine<'b> {
    /// This line (from 1) is no action.
    Action(usize, &'b [u8]),
    /// The body ends where a document should stand.
    NoDocument,
}

/// What is done with a line of JSON that is no action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// It is a mistake, as to Elasticsearch.
    Strict,
    /// It is passed over, as OpenObserve does.
    Lenient,
}

/// Walks the items of a body.
pub(super) struct Items<'b> {
    body: &'b [u8],
    at: usize,
    line: usize,
    scanner: Scanner,
    style: Style,
    /// The action line before, and what it said: mostly they are all the same.
    last: Option<(&'b [u8], Item<'b>)>,
}

impl<'b> Items<'b> {
    pub(super) fn new(body: &'b [u8], style: Style) -> Self {
        Items::from(body, 0, style)
    }

    /// From a place where [`at`](Items::at) of another walk of the same body was.
    pub(super) fn from(body: &'b [u8], at: usize, style: Style) -> Self {
        Items { body, at, line: 0, scanner: Scanner::default(), style, last: None }
    }

    /// Where the next item begins.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    fn line(&mut self) -> Option<&'b [u8]> {
        let rest = self.body.get(self.at..).filter(|rest| !rest.is_empty())?;
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        self.at += (end + 1).min(rest.len());
        self.line += 1;
        Some(rest[..end].trim_ascii())
    }

    /// The next item; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Item<'b>>, BadLine<'b>> {
        let mut item = loop {
            let line = match self.line() {
                None => return Ok(None),
                // Clients end with empty lines.
                Some([]) => continue,
                Some(line) => line,
            };
            if let Some((last, item)) = self.last
                && last == line
            {
                break item;
            }
            match read_action(&mut self.scanner, line) {
                Some(item) if self.style == Style::Strict || item.action != Action::Unknown => {
                    self.last = Some((line, item));
                    break item;
                }
                _ if self.style == Style::Lenient && self.scanner.is_valid(line) => {}
                _ => return Err(BadLine::Action(self.line, line)),
            }
        };
        if item.action != Action::Delete {
            item.document = self.line().ok_or(BadLine::NoDocument)?;
        }
        Ok(Some(item))
    }
}

fn read_action<'b>(scanner: &mut Scanner, line: &'b [u8]) -> Option<Item<'b>> {
    let mut found: Option<Member> = None;
    let mut members = 0;
    let scanned = scanner.object(line, 0, line.len(), |member| {
        found = Some(member);
        members += 1;
    });
    let member = found.filter(|m| scanned.is_ok() && members == 1 && m.kind == Kind::Object)?;
    let action = match &line[member.key..member.key_end] {
        b"index" => Action::Index,
        b"create" => Action::Create,
        b"update" => Action::Update,
        b"delete" => Action::Delete,
        _ => Action::Unknown,
    };
    let mut item = Item { action, index: b"", id: b"", document: b"" };
    let inner = &line[member.value..member.value_end];
    for child in json::Children::new(inner) {
        let value = &inner[child.value.0..child.value.1];
        match &inner[child.key.0..child.key.1] {
            b"_index" => item.index = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or_default(),
            b"_id" if value != b"null" => item.id = value,
            _ => {}
        }
    }
    Some(item)
}

/// Whether a document can be taken.
pub(super) fn check_document(scanner: &mut Scanner, document: &[u8]) -> Result<(), ScanError> {
    scanner.object(document, 0, document.len(), |_| ())
}

/// The plain text of what stands between the quotes of a JSON string.
pub(super) fn plain(quoted: &[u8]) -> String {
    let mut text = Vec::with_capacity(quoted.len());
    json::unescape(quoted, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Whether to take a document.
type Keep = dyn FnMut(&Item<'_>) -> bool + Send;

/// The documents of a checked body, in parts of one index each; the order within an index is kept. An `_id` becomes a
/// field of its document.
pub(super) struct DocumentParts {
    body: Arc<Vec<u8>>,
    at: usize,
    style: Style,
    keep: Box<Keep>,
    /// Makes the origin of an index' events.
    origin_of: Box<dyn Fn(&[u8]) -> Arc<Origin> + Send>,
    origins: HashMap<Vec<u8>, Arc<Origin>>,
    ready: std::vec::IntoIter<Part>,
}

/// Origins remembered at once; one that was forgotten is made again.
const ORIGINS: usize = 1024;

impl DocumentParts {
    pub(super) fn new(
        body: Arc<Vec<u8>>,
        style: Style,
        keep: impl FnMut(&Item<'_>) -> bool + Send + 'static,
        origin_of: impl Fn(&[u8]) -> Arc<Origin> + Send + 'static,
    ) -> Self {
        let (keep, origin_of) = (Box::new(keep), Box::new(origin_of));
        DocumentParts { body, at: 0, style, keep, origin_of, origins: HashMap::new(), ready: Vec::new().into_iter() }
    }

    /// The documents of the next stretch of the body.
    fn gather(&mut self) -> Vec<Part> {
        let body = self.body.clone();
        let mut items = Items::from(&body, self.at, self.style);
        let mut groups: Vec<(&[u8], Vec<u8>, Vec<(u32, u32)>)> = Vec::new();
        let mut by_index: HashMap<&[u8], usize> = HashMap::new();
        let (mut bytes, mut count, mut last) = (0, 0, usize::MAX);
        while bytes < PART_BYTES && count < PART_EVENTS {
            let Ok(Some(item)) = items.next() else { break };
            self.at = items.at();
            if !(self.keep)(&item) {
                continue;
            }
            let n = match groups.get(last) {
                Some(group) if group.0 == item.index => last,
                _ => *by_index.entry(item.index).or_insert_with(|| {
                    groups.push((item.index, Vec::new(), Vec::new()));
                    groups.len() - 1
                }),
            };
            last = n;
            let (_, text, frames) = &mut groups[n];
            let from = text.len();
            push_document(&item, text);
            frames.push((from as u32, text.len() as u32));
            bytes += text.len() - from;
            count += 1;
        }
        if self.origins.len() + groups.len() > ORIGINS {
            self.origins.clear();
        }
        let parts = groups.into_iter().map(|(index, text, frames)| {
            let origin = match self.origins.get(index) {
                Some(origin) => origin.clone(),
                None => {
                    let origin = (self.origin_of)(index);
                    self.origins.insert(index.to_vec(), origin.clone());
                    origin
                }
            };
            Part::Json { text, frames, origin: Some(origin) }
        });
        parts.collect()
    }
}

impl Iterator for DocumentParts {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        loop {
            if let Some(part) = self.ready.next() {
                return Some(part);
            }
            let before = self.at;
            self.ready = self.gather().into_iter();
            if self.ready.len() == 0 && self.at == before {
                return None;
            }
        }
    }
}

/// Appends a document, with its id as the last field where it has one.
fn push_document(item: &Item<'_>, out: &mut Vec<u8>) {
    match item.document.strip_suffix(b"}") {
        Some(open) if !item.id.is_empty() => {
            let open = open.trim_ascii_end();
            out.extend_from_slice(open);
            out.extend_from_slice(if open.len() == 1 { b"\"_id\":" } else { b",\"_id\":" });
            match json::value_of(item.id) {
                // Ids are text, whatever was sent.
                Value::Str(_) => out.extend_from_slice(item.id),
                _ => {
                    out.push(b'"');
                    json::escape(item.id, out);
                    out.push(b'"');
                }
            }
            out.push(b'}');
        }
        _ => out.extend_from_slice(item.document),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn walk(body: &[u8]) -> Result<Vec<Item<'_>>, BadLine<'_>> {
        let (mut items, mut out) = (Items::new(body, Style::Strict), Vec::new());
        while let Some(item) = items.next()? {
            out.push(item);
        }
        Ok(out)
    }

    /// `index document` of every part, in order.
    fn parts(body: &str) -> Vec<String> {
        let origin_of = |index: &[u8]| Arc::new(Origin { source: plain(index).into(), ..Origin::default() });
        let parts = DocumentParts::new(Arc::new(body.as_bytes().to_vec()), Style::Strict, |_| true, origin_of);
        let mut out = Vec::new();
        for part in parts {
            let Part::Json { text, frames, origin } = part else { panic!("json") };
            let index = origin.unwrap().source.clone();
            out.extend(
                frames
                    .iter()
                    .map(|(a, b)| format!("{index} {}", String::from_utf8_lossy(&text[*a as usize..*b as usize]))),
            );
        }
        out
    }

    #[test]
    fn actions_name_index_and_id() {
        let body = b"{\"index\":{\"_index\":\"a\",\"_id\":\"1\"}}\n{\"x\":1}\r\n\n{ \"create\" : { } }\n {} \n{\"delete\":{\"_index\":\"a\",\"_id\":7}}\n{\"update\":{\"_index\":\"b\",\"_id\":null,\"routing\":\"_id\"}}\n{\"doc\":{}}";
        let items = walk(body).unwrap();
        let item = |action, index, id, document| Item { action, index, id, document };
        assert_eq!(
            items,
            [
                item(Action::Index, &b"a"[..], &b"\"1\""[..], &b"{\"x\":1}"[..]),
                item(Action::Create, b"", b"", b"{}"),
                item(Action::Delete, b"a", b"7", b""),
                item(Action::Update, b"b", b"", b"{\"doc\":{}}"),
            ]
        );
    }

    #[test]
    fn a_line_that_is_no_action_is_named() {
        for body in
            [&b"nope\n{}\n"[..], b"[]\n{}\n", b"{}\n{}\n", b"{\"index\":1}\n{}\n", b"{\"index\":{},\"a\":{}}\n{}\n"]
        {
            assert!(matches!(walk(body), Err(BadLine::Action(1, _))), "{}", String::from_utf8_lossy(body));
        }
        assert!(matches!(walk(b"{\"index\":{}}\n{}\n{\"a\":1}\n{\"b\":2}\n"), Err(BadLine::Action(3, b"{\"a\":1}"))));
        assert_eq!(walk(b"{\"index\":{}}\n"), Err(BadLine::NoDocument));
        assert_eq!(walk(b"\n\n").unwrap(), []);
    }

    #[test]
    fn lines_of_json_that_are_no_action_are_passed_over_where_that_is_the_custom() {
        let mut items = Items::new(b"{\"a\":1}\n{\"flush\":{}}\n[]\n{\"index\":{}}\n{\"x\":1}\nnope\n", Style::Lenient);
        assert_eq!(items.next().unwrap().unwrap().document, b"{\"x\":1}");
        assert_eq!(items.next(), Err(BadLine::Action(6, b"nope")));
    }

    #[test]
    fn documents_come_by_index_in_their_order_with_their_ids() {
        let body = "{\"index\":{\"_index\":\"a\",\"_id\":\"\\u0031\"}}\n{\"n\":1 }\n{\"index\":{\"_index\":\"b\",\"_id\":5}}\n{}\n{\"index\":{\"_index\":\"a\"}}\n{\"n\":3}\n";
        assert_eq!(parts(body), ["a {\"n\":1,\"_id\":\"\\u0031\"}", "a {\"n\":3}", "b {\"_id\":\"5\"}"]);
        let mut large = String::new();
        for n in 0..30_000 {
            large.push_str(&format!("{{\"create\":{{\"_index\":\"i{}\"}}}}\n{{\"n\":{n}}}\n", n % 3));
        }
        let mut all = parts(&large);
        assert_eq!(all.len(), 30_000);
        assert!((0..3).all(|i| {
            let mine: Vec<_> = all.iter().filter(|d| d.starts_with(&format!("i{i}"))).collect();
            mine.iter().enumerate().all(|(k, d)| **d == format!("i{i} {{\"n\":{}}}", 3 * k + i))
        }));
        all.dedup();
        assert_eq!(all.len(), 30_000);
    }

    proptest! {
        #[test]
        fn any_body_is_walked_to_its_end_or_to_a_bad_line(
            body in proptest::collection::vec(prop_oneof![
                Just("{\"index\":{}}".to_owned()), Just("{\"create\":{\"_index\":\"x\",\"_id\":\"1\"}}".to_owned()),
                Just("{}".to_owned()), Just("\n".to_owned()), Just("\n".to_owned()), "\\PC{0,6}",
            ], 0..30)
        ) {
            let body = body.concat();
            if let Ok(items) = walk(body.as_bytes()) {
                let count = body.lines().filter(|l| !l.trim_ascii().is_empty()).count();
                prop_assert!(items.len() <= count);
                prop_assert_eq!(parts(&body).len(), items.len());
            }
        }
    }
}
