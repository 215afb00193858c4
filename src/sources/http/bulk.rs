//! Elasticsearch's bulk body: lines in pairs, an action and the document it is for.
//!
//! The body is walked three times and never copied whole: to find mistakes before anything is taken, to hand over the
//! documents by index, and to answer item by item while the client reads the answer.

use super::format::BodyPart;
use super::format::{PART_BYTES, PART_EVENTS};

use crate::event::json::{self, Member, ScanError, Scanner, ValueKind};
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
    /// The line is no action; it stands as the document.
    Missing,
}

impl Action {
    pub(super) fn word(self) -> &'static str {
        match self {
            Action::Index => "index",
            Action::Create => "create",
            Action::Update => "update",
            Action::Delete => "delete",
            Action::Unknown => "unknown",
            Action::Missing => "index",
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
    /// The document's line, without white space around it; empty for `delete`, and where the body ends before it.
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

/// Who reads the lines of actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Elasticsearch 9: an action is alone in its object; another line is a mistake.
    Strict,
    /// Elasticsearch 7 and 8: keys behind the action are nothing; another line is a mistake.
    FurtherKeys,
    /// OpenObserve: the action is looked up by its name, whatever stands beside it. Another line is an item of its own
    /// ([`Action::Missing`]), and so is an action at the end without a document: nobody's line goes without a word.
    ByName,
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

    /// The next line that is not empty.
    fn filled_line(&mut self) -> Option<&'b [u8]> {
        loop {
            match self.line() {
                // Clients end with empty lines.
                Some([]) => {}
                line => return line,
            }
        }
    }

    /// The next item; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Item<'b>>, BadLine<'b>> {
        let Some(line) = self.filled_line() else { return Ok(None) };
        let by_name = self.style == Style::ByName;
        let mut item = match self.last {
            Some((last, item)) if last == line => item,
            _ => match read_action(&mut self.scanner, line, self.style) {
                Some(item) => {
                    self.last = Some((line, item));
                    item
                }
                None if by_name && self.scanner.is_valid(line) => {
                    return Ok(Some(Item { action: Action::Missing, index: b"", id: b"", document: line }));
                }
                None => return Err(BadLine::Action(self.line, line)),
            },
        };
        item.document = match item.action {
            Action::Delete => b"",
            _ if by_name => self.filled_line().unwrap_or_default(),
            _ => self.line().ok_or(BadLine::NoDocument)?,
        };
        Ok(Some(item))
    }
}

/// The item that begins with `line`, without its document; `None` where the line is not an action.
fn read_action<'b>(scanner: &mut Scanner, line: &'b [u8], style: Style) -> Option<Item<'b>> {
    let named = |member: &Member| match &line[member.key..member.key_end] {
        b"create" => Action::Create,
        b"index" => Action::Index,
        b"update" => Action::Update,
        b"delete" => Action::Delete,
        _ => Action::Unknown,
    };
    if style == Style::ByName {
        return read_action_by_name(scanner, line, named);
    }
    let mut first: Option<Member> = None;
    let mut members = 0;
    let scanned = scanner.object(line, 0, line.len(), |member| {
        first.get_or_insert(member);
        members += 1;
    });
    let member = first.filter(|m| scanned.is_ok() && m.kind == ValueKind::Object)?;
    let may_have_more = style == Style::FurtherKeys;
    (members == 1 || may_have_more).then(|| item_of(named(&member), &line[member.value..member.value_end]))
}

/// As OpenObserve does: the first of `create`, `index` and `update` that is an object with an `_index`. Beyond that, an
/// action that stands alone in its line is one, so that its document is not taken for a line of its own.
fn read_action_by_name<'b>(
    scanner: &mut Scanner,
    line: &'b [u8],
    named: impl Fn(&Member) -> Action,
) -> Option<Item<'b>> {
    const ORDER: [Action; 4] = [Action::Create, Action::Index, Action::Update, Action::Delete];
    let mut found: [Option<Member>; ORDER.len()] = [None; ORDER.len()];
    let mut members = 0;
    let scanned = scanner.object(line, 0, line.len(), |member| {
        members += 1;
        if member.kind == ValueKind::Object
            && let Some(place) = ORDER.iter().position(|action| *action == named(&member))
        {
            found[place] = Some(member);
        }
    });
    scanned.ok()?;
    let found = ORDER.into_iter().zip(found).filter_map(|(action, member)| Some((action, member?)));
    let mut items = found.map(|(action, m)| item_of(action, &line[m.value..m.value_end]));
    items.find(|item| members == 1 || !item.index.is_empty())
}

/// An action with what stands in its object.
fn item_of(action: Action, inner: &[u8]) -> Item<'_> {
    let mut item = Item { action, index: b"", id: b"", document: b"" };
    for child in json::Children::new(inner) {
        let value = &inner[child.value.0..child.value.1];
        match &inner[child.key.0..child.key.1] {
            b"_index" => item.index = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or_default(),
            b"_id" if value != b"null" => item.id = value,
            _ => {}
        }
    }
    item
}

/// Whether a document can be taken.
pub(super) fn check_document(scanner: &mut Scanner, document: &[u8]) -> Result<(), ScanError> {
    scanner.object(document, 0, document.len(), |_| ())
}

/// What stands in the document of an `update`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Update<'b> {
    doc: Option<&'b [u8]>,
    upsert: Option<&'b [u8]>,
    doc_as_upsert: bool,
}

/// Why an `update` adds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UpdateFault {
    /// The document cannot be read.
    Scan(ScanError),
    /// It is to be run, which nothing here does.
    Script,
    /// It has neither `doc` nor `upsert`, or they are no objects.
    NoDocument,
}

impl<'b> Update<'b> {
    pub(super) fn read(scanner: &mut Scanner, document: &'b [u8]) -> Result<Update<'b>, UpdateFault> {
        let (mut update, mut script, mut fine) = (Update::default(), false, true);
        let scanned = scanner.object(document, 0, document.len(), |member| {
            let value = &document[member.value..member.value_end];
            let mut object = || {
                fine &= member.kind == ValueKind::Object;
                Some(value)
            };
            match &document[member.key..member.key_end] {
                b"doc" => update.doc = object(),
                b"upsert" => update.upsert = object(),
                b"doc_as_upsert" => update.doc_as_upsert = member.kind == ValueKind::True,
                b"script" | b"scripted_upsert" => script |= member.kind != ValueKind::False,
                _ => {}
            }
        });
        scanned.map_err(UpdateFault::Scan)?;
        match update {
            _ if script => Err(UpdateFault::Script),
            Update { doc: None, upsert: None, .. } => Err(UpdateFault::NoDocument),
            _ if !fine => Err(UpdateFault::NoDocument),
            update => Ok(update),
        }
    }

    /// The document as it is once it has been inserted and updated: no document was there before. What `doc` has is not
    /// lost to an `upsert` that has other fields.
    fn document(&self) -> std::borrow::Cow<'b, [u8]> {
        match (self.doc, self.upsert) {
            (Some(doc), Some(upsert)) if !self.doc_as_upsert => merged(upsert, doc).into(),
            (Some(document), _) | (None, Some(document)) => document.into(),
            (None, None) => b"{}"[..].into(),
        }
    }
}

/// The members of `under` that `over` has not, and those of `over`.
fn merged(under: &[u8], over: &[u8]) -> Vec<u8> {
    let keys: Vec<&[u8]> = json::Children::new(over).map(|child| &over[child.key.0..child.key.1]).collect();
    let mut out = vec![b'{'];
    let mut push = |object: &[u8], child: json::Child| {
        if out.len() > 1 {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(&object[child.key.0..child.key.1]);
        out.extend_from_slice(b"\":");
        out.extend_from_slice(&object[child.value.0..child.value.1]);
    };
    json::Children::new(under).filter(|c| !keys.contains(&&under[c.key.0..c.key.1])).for_each(|c| push(under, c));
    json::Children::new(over).for_each(|c| push(over, c));
    out.push(b'}');
    out
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
    scanner: Scanner,
    ready: std::vec::IntoIter<BodyPart>,
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
        let (origins, scanner, ready) = (HashMap::new(), Scanner::default(), Vec::new().into_iter());
        DocumentParts { body, at: 0, style, keep, origin_of, origins, scanner, ready }
    }

    /// The documents of the next stretch of the body.
    fn gather(&mut self) -> Vec<BodyPart> {
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
            push_document(&item, self.style, &mut self.scanner, text);
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
            BodyPart::Json { text, frames, origin: Some(origin) }
        });
        parts.collect()
    }
}

impl Iterator for DocumentParts {
    type Item = BodyPart;

    fn next(&mut self) -> Option<BodyPart> {
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

/// Appends the document of an item that was found good, with its id as the last field where it has one. To Elasticsearch the
/// document of an `update` is what the update adds.
pub(super) fn push_document(item: &Item<'_>, style: Style, scanner: &mut Scanner, out: &mut Vec<u8>) {
    let is_update = item.action == Action::Update && style != Style::ByName;
    match is_update.then(|| Update::read(scanner, item.document)) {
        Some(Ok(update)) => push_with_id(&Item { document: &update.document(), ..*item }, out),
        _ => push_with_id(item, out),
    }
}

fn push_with_id(item: &Item<'_>, out: &mut Vec<u8>) {
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
            let BodyPart::Json { text, frames, origin } = part else { panic!("json") };
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
    fn keys_beside_an_action_are_nothing_to_version_8_and_a_mistake_to_9() {
        let body = b"{\"index\":{\"_index\":\"a\"},\"attempts\":0,\"more\":{\"create\":{}}}\n{\"x\":1}\n";
        let item = Items::new(body, Style::FurtherKeys).next().unwrap().unwrap();
        assert_eq!((item.action, item.index, item.document), (Action::Index, &b"a"[..], &b"{\"x\":1}"[..]));
        assert!(matches!(Items::new(body, Style::Strict).next(), Err(BadLine::Action(1, _))));
        // The action stands first, for both.
        let body = b"{\"attempts\":0,\"index\":{}}\n{\"x\":1}\n";
        assert!(matches!(Items::new(body, Style::FurtherKeys).next(), Err(BadLine::Action(1, _))));
        let body = b"{\"attempts\":{},\"index\":{}}\n{\"x\":1}\n";
        assert_eq!(Items::new(body, Style::FurtherKeys).next().unwrap().unwrap().action, Action::Unknown);
    }

    #[test]
    fn an_action_is_found_by_its_name_and_every_other_line_is_an_item_of_its_own() {
        let mut items = Items::new(
            b"{\"a\":1}\n{\"flush\":{}}\n[]\n{\"index\":{}}\n\n{\"x\":1}\n{\"n\":0,\"index\":{\"_index\":\"i\"},\"create\":{\"_index\":\"c\"}}\n{}\n\
              {\"update\":7}\n{\"index\":{\"y\":1},\"z\":2}\n{\"delete\":{\"_id\":\"1\"}}\n{\"create\":{\"_index\":\"e\"}}\n",
            Style::ByName,
        );
        let mut all = Vec::new();
        while let Some(item) = items.next().unwrap() {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            all.push(format!("{:?} {} {}", item.action, text(item.index), text(item.document)));
        }
        assert_eq!(
            all,
            [
                "Missing  {\"a\":1}",
                "Missing  {\"flush\":{}}",
                "Missing  []",
                "Index  {\"x\":1}",
                "Create c {}",
                "Missing  {\"update\":7}",
                "Missing  {\"index\":{\"y\":1},\"z\":2}",
                "Delete  ",
                "Create e ",
            ]
        );
        assert_eq!(Items::new(b"nope\n", Style::ByName).next(), Err(BadLine::Action(1, b"nope")));
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
