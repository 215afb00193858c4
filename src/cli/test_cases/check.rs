//! Whether an expectation holds, and where not, how what is there differs.

use super::Fault;
use super::diff::{aligned, nearest, pretty, same, text_diff};
use crate::cli::places::Places;
use crate::component::plan::Preview;
use crate::component::trial::value_of_event;
use crate::condition::Faults;
use crate::event::{Batch, EventRef, FieldPath};
use crate::pipeline::TestExpect;
use crate::settings::Map;
use crate::topology::{Inline, Stage};
use serde_json::Value;
use std::path::Path;

/// What there is at the place of an expectation.
struct There<'a> {
    at: &'a str,
    events: Vec<EventRef<'a>>,
    values: Vec<Value>,
}

/// What of one expectation does not hold.
pub(super) fn check(
    inline: &Inline,
    stages: &[Stage],
    expect: &TestExpect,
    places: &Places,
    update: bool,
) -> Vec<Fault> {
    let at = &expect.at.value;
    let fault = |text: String| Fault { at: expect.at.span, text };
    let (id, output) = at.split_once('.').unwrap_or((at, ""));
    if inline.kind(id).is_none() {
        return vec![fault(format!("`at: {at}`: there is no such component"))];
    }
    let stage = stages.iter().find(|s| s.id == id);
    let batches = stage.into_iter().flat_map(|s| &s.out).filter(|o| o.name == output).flat_map(|o| &o.batches);
    let events: Vec<EventRef<'_>> = batches.flat_map(Batch::iter).collect();
    let values: Vec<Value> = events.iter().map(|e| value_of_event(*e)).collect();
    let there = There { at, events, values };
    let mut faults = Vec::new();
    if let Some(count) = expect.count
        && count != there.values.len() as u64
    {
        faults.push(format!("{at}: expected {count} events, {}", there.seen()));
    }
    faults.extend(expect.event.as_ref().and_then(|event| there.event(event)));
    faults.extend(expect.events.as_ref().and_then(|list| there.all(list)));
    faults.extend(expect.fields.as_ref().and_then(|fields| there.fields(fields)));
    for path in expect.absent.iter().flatten() {
        let with: Vec<&Value> =
            there.events.iter().zip(&there.values).filter(|(e, _)| e.get(path).is_some()).map(|(_, v)| v).collect();
        if let Some(first) = with.first() {
            faults.push(format!("{at}: expected no `{path}`, which {} of them have\n- {first}", with.len()));
        }
    }
    if let Some(condition) = &expect.condition {
        let mut condition = condition.clone();
        let mut unsaid = Faults::default();
        let failing = there.events.iter().find(|e| !condition.holds(**e, &mut unsaid));
        let text = condition.text();
        match failing {
            Some(event) => {
                let words = condition.story(*event).words(text);
                faults.push(format!("{at}: expected `{text}` of each event: {words}\n- {}", value_of_event(*event)));
            }
            None if there.events.is_empty() => {
                faults.push(format!("{at}: expected `{text}` of each event, {}", there.seen()))
            }
            None => {}
        }
    }
    if let Some(reason) = &expect.reason {
        faults.extend(of_reason(at, output, stage, reason));
    }
    if expect.path.is_some() || expect.labels.is_some() {
        match inline.preview(id) {
            Some(mut preview) => faults.extend(rendered(expect, &there, &mut *preview)),
            None => faults.push(format!("{at}: this sink has no `path` and no `labels`")),
        }
    }
    if let Some(snapshot) = &expect.snapshot {
        let path = places.folder(snapshot.span).join(&snapshot.value);
        faults.extend(there.snapshot(&path, update));
    }
    faults.into_iter().map(fault).collect()
}

impl There<'_> {
    fn seen(&self) -> String {
        let lines: Vec<String> = self.values.iter().map(|v| format!("  {v}")).collect();
        if lines.is_empty() { "nothing was there".to_owned() } else { format!("there was\n{}", lines.join("\n")) }
    }

    /// One event with exactly these fields.
    fn event(&self, fields: &Map<Value>) -> Option<String> {
        let want = object_of(fields);
        if self.values.iter().any(|value| same(&want, value)) {
            return None;
        }
        let at = self.at;
        Some(match nearest(&want, &self.values) {
            None => format!("{at}: expected the event\n  {want}\nnothing was there"),
            Some(value) => {
                let diff = text_diff(&pretty(&aligned(&want, value)), &pretty(value));
                format!("{at}: expected the event (-), there was (+)\n{diff}")
            }
        })
    }

    /// Exactly these events, in this order.
    fn all(&self, list: &[Map<Value>]) -> Option<String> {
        let want: Vec<Value> = list.iter().map(object_of).collect();
        if want.len() == self.values.len() && want.iter().zip(&self.values).all(|(want, value)| same(want, value)) {
            return None;
        }
        let line = |n: usize, want: &Value| match self.values.get(n) {
            Some(value) => pretty(&aligned(want, value)),
            None => pretty(want),
        };
        let wanted: String = want.iter().enumerate().map(|(n, want)| line(n, want)).collect();
        let seen: String = self.values.iter().map(pretty).collect();
        Some(format!("{}: expected exactly these events (-), there were (+)\n{}", self.at, text_diff(&wanted, &seen)))
    }

    /// One event with these values at these paths.
    fn fields(&self, fields: &Map<Value>) -> Option<String> {
        let found = |event: &EventRef<'_>| -> Vec<(String, Value, Option<Value>)> {
            let one = |(path, want): &(crate::settings::Spanned<String>, Value)| {
                (path.value.clone(), want.clone(), at_path(*event, &path.value))
            };
            fields.0.iter().map(one).collect()
        };
        let differ = |all: &[(String, Value, Option<Value>)]| -> usize {
            all.iter().filter(|(_, want, is)| is.as_ref().is_none_or(|is| !same(want, is))).count()
        };
        let all: Vec<_> = self.events.iter().map(found).collect();
        let best = all.iter().enumerate().min_by_key(|(_, found)| differ(found));
        let Some((n, best)) = best else {
            return Some(format!("{}: expected an event with {}, nothing was there", self.at, object_of(fields)));
        };
        if differ(best) == 0 {
            return None;
        }
        let mut diff = String::new();
        for (path, want, is) in best.iter().filter(|(_, want, is)| is.as_ref().is_none_or(|is| !same(want, is))) {
            diff.push_str(&format!("- {path}: {want}\n"));
            diff.push_str(&is.as_ref().map_or_else(|| format!("  (no `{path}`)\n"), |is| format!("+ {path}: {is}\n")));
        }
        let of = if self.events.len() > 1 {
            format!("the nearest of {} events", self.events.len())
        } else {
            "the event".into()
        };
        Some(format!("{}: expected these fields (-), there was (+)\n{diff}  in {of}: {}", self.at, self.values[n]))
    }

    /// The events as a file has them, a line each.
    fn snapshot(&self, path: &Path, update: bool) -> Option<String> {
        let mut now = Vec::new();
        for event in &self.events {
            event.write_json(&mut now);
            now.push(b'\n');
        }
        let now = String::from_utf8_lossy(&now).into_owned();
        let name = path.display();
        let before = match std::fs::read_to_string(path) {
            Ok(text) if text == now => return None,
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Some(format!("{}: cannot read {name}: {error}", self.at)),
        };
        if update {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let written = folder.map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(path, &now));
            return written.err().map(|error| format!("{}: cannot write {name}: {error}", self.at));
        }
        let at = self.at;
        Some(match before {
            None => format!(
                "{at}: there is no snapshot {name}; `tidegate test --update` writes it\n{}",
                text_diff("", &now)
            ),
            Some(before) => {
                format!(
                    "{at}: differs from {name} (-), `tidegate test --update` writes it anew\n{}",
                    text_diff(&before, &now)
                )
            }
        })
    }
}

/// What was dropped or rejected for a reason.
fn of_reason(at: &str, output: &str, stage: Option<&Stage>, want: &str) -> Option<String> {
    let mut reasons: Vec<String> = Vec::new();
    if let Some(stage) = stage {
        if output.is_empty() {
            reasons.extend(stage.dropped.iter().map(|(reason, _)| (*reason).to_owned()));
            reasons.extend(stage.unread.then(|| "rejected_unread".to_owned()));
        }
        let letters = stage.out.iter().filter(|o| o.name == "rejected" && (output.is_empty() || output == "rejected"));
        for letter in letters.flat_map(|o| &o.batches).flat_map(Batch::iter).map(value_of_event) {
            reasons.extend(letter["tidegate"]["reason"].as_str().map(str::to_owned));
        }
    }
    if reasons.iter().any(|reason| reason == want) {
        return None;
    }
    reasons.sort();
    reasons.dedup();
    Some(match reasons.is_empty() {
        true => format!("{at}: expected a drop or a rejection\n- reason: {want}\n  (nothing was dropped or rejected)"),
        false => format!("{at}: expected a drop or a rejection\n- reason: {want}\n+ reason: {}", reasons.join(", ")),
    })
}

/// What a sink makes of where events go.
fn rendered(expect: &TestExpect, there: &There<'_>, preview: &mut dyn Preview) -> Vec<String> {
    let at = there.at;
    let (mut paths, mut series, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for event in &there.events {
        match preview.show(*event, &mut Vec::new()) {
            Ok(to) => paths.extend(to),
            Err(why) => refused.push(format!("  (not taken: {why})")),
        }
        series.extend(preview.series(*event));
    }
    let mut faults = Vec::new();
    let mut fail = |what: &str, want: String, seen: Vec<String>| {
        let seen = if seen.is_empty() && refused.is_empty() { vec!["  (nothing)".to_owned()] } else { seen };
        let lines: Vec<String> = std::iter::once(want).chain(seen).chain(refused.iter().cloned()).collect();
        faults.push(format!("{at}: expected an event {what}\n{}", lines.join("\n")));
    };
    if let Some(want) = &expect.path
        && !paths.contains(want)
    {
        paths.sort();
        paths.dedup();
        fail("that goes there", format!("- path: {want}"), paths.iter().map(|to| format!("+ path: {to}")).collect());
    }
    if let Some(labels) = &expect.labels {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let has = |series: &Vec<(String, String)>| {
            labels.0.iter().all(|(name, value)| series.iter().any(|(n, v)| *n == name.value && *v == text(value)))
        };
        if !series.iter().any(has) {
            let line = |labels: &Vec<(String, String)>| {
                labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>().join(", ")
            };
            let want: Vec<(String, String)> =
                labels.0.iter().map(|(name, value)| (name.value.clone(), text(value))).collect();
            series.sort();
            series.dedup();
            let seen = series.iter().map(|labels| format!("+ labels: {}", line(labels))).collect();
            fail("with these labels", format!("- labels: {}", line(&want)), seen);
        }
    }
    faults
}

fn object_of(fields: &Map<Value>) -> Value {
    Value::Object(fields.0.iter().map(|(k, v)| (k.value.clone(), v.clone())).collect())
}

fn at_path(event: EventRef<'_>, path: &str) -> Option<Value> {
    let path = FieldPath::parse(path).ok()?;
    let mut json = Vec::new();
    event.get(&path)?.append_json(&mut json);
    serde_json::from_slice(&json).ok()
}
