//! The reference of every setting as Markdown, from the definitions that read them.

use std::fmt::Write as _;

use super::TestCase;
use super::document::{Registry, global_docs, server_docs};
use crate::component::common::SinkCommon;
use crate::component::common::SourceCommon;
use crate::component::plan::ComponentType;
use crate::settings::{FieldDoc, Setting};
use crate::telemetry::ComponentKind;

/// How deep blocks inside blocks are listed.
const MAX_LEVELS: usize = 6;

/// The whole reference; with `only`, that of the component types of this name.
///
/// Shape: `None` where no type has that name.
pub fn markdown(registry: Registry<'_>, only: Option<&str>) -> Option<String> {
    let mut out = String::new();
    if only.is_none() {
        out.push_str("# Configuration reference\n\n");
        out.push_str("Written by `tidegate reference` from the definitions that read the configuration.\n\n");
        out.push_str("Sizes: `64KiB`, `10MB`, or bare bytes. Durations: `500ms`, `5s`, `10m`, `1h`, `30d`. ");
        out.push_str(
            "Any scalar may hold `${VAR}`, `${VAR:-default}`, `${VAR:?message}` or `${file:/path}`; `$$` is a `$`.\n\n",
        );
        out.push_str("## The agent\n\nTop-level keys, beside `sources`, `transforms`, `sinks` and `tests`.\n\n");
        table(&mut out, &global_docs());
    }
    let before = out.len();
    section(&mut out, ComponentKind::Source, registry.sources, &SourceCommon::fields(), only);
    section(&mut out, ComponentKind::Transform, registry.transforms, &[], only);
    section(&mut out, ComponentKind::Sink, registry.sinks, &SinkCommon::fields(), only);
    if only.is_some() && out.len() == before {
        return None;
    }
    if only.is_none() {
        out.push_str("## Tests\n\nEach entry of `tests:`, run by `tidegate test`.\n\n");
        table(&mut out, &TestCase::docs());
        let (about, fields) = server_docs();
        _ = write!(
            out,
            "## OpenObserve\n\nThe keys of `openobserve:`. {about} See [openobserve.md](openobserve.md).\n\n"
        );
        table(&mut out, &fields);
    }
    Some(out)
}

fn section<P: ?Sized>(
    out: &mut String,
    kind: ComponentKind,
    types: &[ComponentType<P>],
    common: &[FieldDoc],
    only: Option<&str>,
) {
    let word = kind.name();
    if only.is_none() {
        let mut title = kind.section().to_owned();
        title[..1].make_ascii_uppercase();
        _ = write!(out, "## {title}\n\n");
        if !common.is_empty() {
            _ = write!(out, "Keys of every {word}:\n\n");
            table(out, common);
        }
    }
    let mut sorted: Vec<&ComponentType<P>> = types.iter().filter(|t| only.is_none_or(|only| only == t.name)).collect();
    sorted.sort_by_key(|t| t.name);
    for component in sorted {
        _ = write!(out, "### {word} `{}`\n\n{}\n\n", component.name, (component.about)());
        let own: Vec<FieldDoc> =
            (component.fields)().into_iter().filter(|field| !common.iter().any(|c| same(c, field))).collect();
        if own.is_empty() {
            _ = write!(out, "No keys of its own.\n\n");
        } else {
            table(out, &own);
        }
        if !common.is_empty() && only.is_some() {
            _ = write!(out, "Keys of every {word}:\n\n");
            table(out, common);
        }
    }
}

fn same(a: &FieldDoc, b: &FieldDoc) -> bool {
    a.name == b.name && a.about == b.about && a.kind == b.kind
}

fn table(out: &mut String, fields: &[FieldDoc]) {
    out.push_str("| Key | Type | Default | Description |\n|---|---|---|---|\n");
    rows(out, "", fields, 0);
    out.push('\n');
}

fn rows(out: &mut String, prefix: &str, fields: &[FieldDoc], level: usize) {
    for field in fields {
        let form = field.name.starts_with("type: ");
        let name = match (prefix.is_empty(), form) {
            (true, _) => field.name.clone(),
            (false, true) => format!("{prefix} ({})", field.name),
            (false, false) => format!("{prefix}.{}", field.name),
        };
        let default = match (&field.default, field.required) {
            (Some(default), _) => format!("`{}`", cell(default).replace('`', "'")),
            (None, true) => "required".to_owned(),
            (None, false) => String::new(),
        };
        let nested = (field.nested)();
        let mut about = cell(&field.about);
        for (word, meaning) in &field.words {
            // What has keys of its own is explained there.
            let listed = nested.iter().any(|field| field.name == *word);
            if !meaning.is_empty() && !listed {
                _ = write!(about, "<br>`{word}`: {}", cell(meaning));
            }
        }
        _ = writeln!(out, "| `{}` | {} | {default} | {about} |", cell(&name), cell(&field.kind));
        if level < MAX_LEVELS {
            rows(out, &name, &nested, level + 1);
        }
    }
}

/// A text within a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace("\n\n", "<br>").replace('\n', " ")
}
