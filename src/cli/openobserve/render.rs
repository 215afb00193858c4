//! Plans and reports, for people and programs.

use crate::openobserve::{Action, ApplyError, Change, FieldChange, Key, Plan};
use crate::settings::mask_known;
use crate::text::escape::Page;
use serde_json::{Value, json};

/// Longest value that is shown.
const MAX_SHOWN: usize = 100;

/// The word for an action, in JSON.
fn word(action: &Action) -> &'static str {
    match action {
        Action::Nothing => "nothing",
        Action::Create => "create",
        Action::Update => "change",
        Action::Delete => "remove",
        Action::Wait(_) => "wait",
        Action::Keep(_) => "keep",
        Action::Forget => "forget",
    }
}

fn value(field: &FieldChange, value: &Value) -> String {
    if field.secret && !value.is_null() {
        return "***".into();
    }
    let text = mask_known(&value.to_string());
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A plan for people.
pub(super) fn plan(plan: &Plan) -> Page {
    let mut page = Page::new();
    let (url, organization) = plan.server.split_once(' ').unwrap_or((&plan.server, ""));
    writeln!(page, "{url}, organization {organization}, OpenObserve {}", plan.version);
    if let Some(applied) = &plan.applied {
        writeln!(page, "last applied {} by {}", applied.at, applied.by);
    }
    for problem in &plan.problems {
        writeln!(page, "! {}", mask_known(problem));
    }
    let mut counts = [0; 5];
    for change in &plan.changes {
        let key = &change.key;
        let (slot, line) = match &change.action {
            Action::Create => (0, format!("+ {key}")),
            Action::Update => (1, format!("~ {key}")),
            Action::Delete => (2, format!("- {key}")),
            Action::Wait(why) => (3, format!("? {key}: {why}")),
            Action::Keep(why) => (4, format!("= {key} stays: {why}")),
            Action::Nothing => (4, String::new()),
            Action::Forget => continue,
        };
        counts[slot] += 1;
        if !line.is_empty() {
            writeln!(page, "{line}");
        }
        fields(change, &mut page);
    }
    let [create, update, remove, wait, same] = counts;
    let waiting = if wait > 0 { format!(", {wait} waiting") } else { String::new() };
    writeln!(page, "plan: {create} to create, {update} to change, {remove} to remove{waiting}, {same} to leave");
    page
}

fn fields(change: &Change, page: &mut Page) {
    for field in &change.fields {
        let path = &field.difference.path;
        let to = value(field, &field.difference.to);
        match change.action {
            Action::Create => writeln!(page, "    {path}: {to}"),
            Action::Update => {
                let drift = if field.drift { "  (changed on the server)" } else { "" };
                writeln!(page, "    {path}: {} -> {to}{drift}", value(field, &field.difference.from));
            }
            _ => {}
        }
    }
}

/// Plans for programs.
pub(super) fn json(plans: &[Plan]) -> Page {
    let field = |f: &FieldChange| {
        let shown = |value: &Value| if f.secret && !value.is_null() { json!("***") } else { value.clone() };
        let difference = &f.difference;
        json!({"path": difference.path, "from": shown(&difference.from), "to": shown(&difference.to), "drift": f.drift})
    };
    let change = |c: &Change| {
        let mut out = json!({
            "kind": c.key.kind.word(), "name": c.key.name, "action": word(&c.action),
            "fields": c.fields.iter().map(field).collect::<Vec<_>>(),
        });
        if let Action::Wait(why) | Action::Keep(why) = &c.action {
            out["reason"] = json!(why);
        }
        out
    };
    let plan = |p: &Plan| {
        let (url, organization) = p.server.split_once(' ').unwrap_or((&p.server, ""));
        json!({
            "server": url, "organization": organization, "version": p.version.to_string(),
            "applied": p.applied.as_ref().map(|a| json!({"at": a.at, "by": a.by})),
            "problems": p.problems,
            "changes": p.changes.iter().filter(|c| c.action != Action::Forget).map(change).collect::<Vec<_>>(),
        })
    };
    let mut page = Page::new();
    let list = Value::Array(plans.iter().map(plan).collect());
    page.json(&mask_known(&format!("{list:#}\n")));
    page
}

/// What was done with one resource.
pub(super) fn step(change: &Change, result: &Result<(), ApplyError>) -> Page {
    let done = match change.action {
        Action::Create => "created",
        Action::Delete => "removed",
        _ => "changed",
    };
    match result {
        Ok(()) => Page::of_line(format_args!("{done} {}", change.key)),
        Err(error) => Page::of_line(format_args!("FAILED {}: {}", change.key, mask_known(&error.to_string()))),
    }
}

/// What was done with all of them.
#[derive(Default)]
pub(super) struct Report {
    created: usize,
    changed: usize,
    removed: usize,
    /// What failed.
    pub(super) failed: Vec<Key>,
    /// What was waited for did not come in time.
    pub(super) late: bool,
}

impl Report {
    pub(super) fn add(&mut self, change: &Change, result: &Result<(), ApplyError>) {
        match (result, &change.action) {
            (Err(_), _) => self.failed.push(change.key.clone()),
            (_, Action::Create) => self.created += 1,
            (_, Action::Delete) => self.removed += 1,
            _ => self.changed += 1,
        }
    }

    pub(super) fn page(&self, plan: &Plan) -> Page {
        let waiting = plan.open().filter(|change| matches!(change.action, Action::Wait(_))).count();
        let waiting = match (waiting, self.late) {
            (0, _) => String::new(),
            (n, true) => format!(", {n} still waiting when the time was over"),
            (n, false) => format!(", {n} waiting"),
        };
        let Report { created, changed, removed, failed, .. } = self;
        Page::of_line(format_args!(
            "apply: {created} created, {changed} changed, {removed} removed, {} failed{waiting}",
            failed.len()
        ))
    }
}
