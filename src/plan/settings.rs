//! Settings that two configurations do not share, as they are written: secrets as `***`, `${NAME}` as it stands.

use super::report::Setting;
use crate::settings::{Node, NodeKind, SourceMap, hide_named};

/// A tree, and the texts that it was read from.
#[derive(Clone, Copy)]
pub(super) struct Written<'a> {
    pub(super) tree: &'a Node,
    pub(super) sources: &'a SourceMap,
}

impl<'a> Written<'a> {
    pub(super) fn get(self, key: &str) -> Option<Written<'a>> {
        Some(Written { tree: self.tree.get(key)?, ..self })
    }

    /// On one line, in YAML's flow style.
    pub(super) fn text(self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        shorten(hide_named(&out))
    }

    fn write(self, out: &mut String) {
        let of = |tree| Written { tree, ..self };
        match &self.tree.kind {
            NodeKind::Seq(items) => {
                out.push('[');
                for (n, item) in items.iter().enumerate() {
                    out.push_str(if n > 0 { ", " } else { "" });
                    of(item).write(out);
                }
                out.push(']');
            }
            NodeKind::Map(entries) => {
                out.push('{');
                for (n, entry) in entries.iter().enumerate() {
                    out.push_str(if n > 0 { ", " } else { "" });
                    out.push_str(&entry.key);
                    out.push_str(": ");
                    of(&entry.value).write(out);
                }
                out.push('}');
            }
            NodeKind::Null => out.push_str("null"),
            _ if self.tree.secret || self.sources.is_masked(self.tree.span) => out.push_str("***"),
            _ if self.tree.interpolated => out.push_str(self.sources.text(self.tree.span)),
            _ => out.push_str(&self.tree.text),
        }
    }
}

/// Longest value that is shown.
const MAX_SHOWN: usize = 300;

fn shorten(text: String) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// What differs, by path; keys `without` at the top are left out.
pub(super) fn differences(before: Option<Written<'_>>, after: Option<Written<'_>>, without: &[&str]) -> Vec<Setting> {
    let mut out = Vec::new();
    walk("", before, after, without, &mut out);
    out
}

fn walk(path: &str, before: Option<Written<'_>>, after: Option<Written<'_>>, without: &[&str], out: &mut Vec<Setting>) {
    let print = |written: Option<Written<'_>>| written.map(|w| w.tree.fingerprint(without));
    if print(before) == print(after) {
        return;
    }
    let is_map = |w: Option<Written<'_>>| w.and_then(|w| w.tree.as_map()).is_some();
    // Of the component itself all keys are told apart, also where it is not there on one side.
    if (is_map(before) && is_map(after)) || path.is_empty() {
        let keys = |w: Option<Written<'_>>| -> Vec<String> {
            let entries = w.and_then(|w| w.tree.as_map()).unwrap_or_default();
            entries.iter().map(|entry| entry.key.clone()).collect()
        };
        let mut all = keys(before);
        let more: Vec<String> = keys(after).into_iter().filter(|key| !all.contains(key)).collect();
        all.extend(more);
        for key in all.iter().filter(|key| !without.contains(&key.as_str())) {
            let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            walk(&below, before.and_then(|w| w.get(key)), after.and_then(|w| w.get(key)), &[], out);
        }
        return;
    }
    out.push(Setting { key: path.to_owned(), before: before.map(Written::text), after: after.map(Written::text) });
}
