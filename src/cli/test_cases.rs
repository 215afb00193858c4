//! `tidegate test`: runs the unit tests under `tests:`. Delivers nothing, opens no socket.

use super::{ConfigArgs, Exit, print, say_line};
use crate::ack::Ack;
use crate::component::Chance;
use crate::condition::Faults;
use crate::event::{Batch, EventKind, EventRef, FieldPath, JsonRows, Origin, Slab};
use crate::pipeline::{TestCase, TestExpect, TestInput, TestKind, load};
use crate::settings::{Map, ProcessEnvironment};
use crate::telemetry::ComponentKind;
use crate::text::escape::Page;
use crate::time::parse_rfc3339;
use crate::topology::{Inline, Stage};
use clap::Args;
use serde_json::Value;
use std::sync::Arc;

/// Arguments of `test`.
#[derive(Args, Debug)]
pub(super) struct TestArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Only tests whose name contains this.
    filter: Option<String>,
}

/// 2025-01-01T00:00:00Z
const NOW: i64 = 1_735_689_600_000_000_000;

/// Runs the tests; fails when one does, or when there are none.
pub(super) fn run(args: &TestArgs) -> Exit {
    let tests = match args.config.load() {
        Ok(config) => config.tests,
        Err(exit) => return exit,
    };
    let wanted = |t: &&TestCase| args.filter.as_ref().is_none_or(|f| t.name.value.contains(f.as_str()));
    let (mut passed, mut failed) = (0, 0);
    for test in tests.iter().filter(wanted) {
        // Each test has components of its own, so that none sees what another left behind.
        let loaded = load(&args.config.config, &ProcessEnvironment, crate::registry::built_in());
        let Some(config) = loaded.config else { return Exit::BadConfig };
        let faults = match Inline::new(config, Chance::Kept) {
            Ok(mut inline) => one(&mut inline, test),
            Err(errors) => errors.iter().map(ToString::to_string).collect(),
        };
        let word = if faults.is_empty() { "ok" } else { "FAILED" };
        let mut page = Page::of_line(format_args!("test {} ... {word}", test.name.value));
        for line in faults.iter().flat_map(|fault| fault.lines()) {
            writeln!(page, "  {line}");
        }
        if faults.is_empty() {
            passed += 1
        } else {
            failed += 1
        }
        if print(&page).is_err() {
            return Exit::Failed;
        }
    }
    if passed + failed == 0 {
        match &args.filter {
            Some(filter) if !tests.is_empty() => {
                let names: Vec<&str> = tests.iter().map(|test| test.name.value.as_str()).collect();
                say_line!("error: no test's name contains `{filter}`; there are: {}", names.join(", "));
            }
            _ => say_line!("error: there are no tests; write some under `tests:`"),
        }
        return Exit::Failed;
    }
    drop(print(&Page::of_line(format_args!("{passed} passed, {failed} failed"))));
    if failed == 0 { Exit::Done } else { Exit::Failed }
}

/// Runs one test; what did not hold.
fn one(inline: &mut Inline, test: &TestCase) -> Vec<String> {
    let now = match &test.now {
        None => NOW,
        Some(text) => match parse_rfc3339(text.value.as_bytes()) {
            Some(stamp) => stamp.ns,
            None => return vec![format!("`now: {}` is not an RFC 3339 time", text.value)],
        },
    };
    let mut enter = Vec::new();
    for input in &test.input {
        if let Err(fault) = entering(inline, input, now, &mut enter) {
            return vec![fault];
        }
    }
    let stages = inline.run(enter, now, true);
    test.expect.iter().flat_map(|e| check(inline, &stages, e)).collect()
}

fn entering(inline: &mut Inline, input: &TestInput, now: i64, enter: &mut Vec<(String, Batch)>) -> Result<(), String> {
    let at = &input.at.value;
    let kind = inline.kind(at).ok_or_else(|| format!("`at: {at}`: there is no such component"))?;
    let origin = origin_of(at, &input.metadata);
    if let Some(fields) = &input.event {
        let object: serde_json::Map<String, Value> =
            fields.0.iter().map(|(k, v)| (k.value.clone(), v.clone())).collect();
        let text = Value::Object(object).to_string().into_bytes();
        let end = text.len();
        let mut batch = Batch::new(Slab::from_vec(text), origin, now, Ack::none());
        JsonRows::default().push(&mut batch, 0, end, 0).map_err(|e| format!("the event at `{at}`: {e}"))?;
        batch.event_mut(0).set_kind(match input.kind {
            TestKind::Log => EventKind::Log,
            TestKind::Metric => EventKind::Metric,
            TestKind::Trace => EventKind::Trace,
        });
        enter.push((at.clone(), batch));
        return Ok(());
    }
    if kind != ComponentKind::Source {
        return Err(format!("`at: {at}` takes an `event`; only a source takes a `line`"));
    }
    // Lines of a source that joins lines are what they would be in a file.
    let lines = input.lines.iter().flatten();
    let mut texts: Vec<String> = input.line.iter().cloned().collect();
    if inline.joins_lines(at) {
        let text: String = texts.drain(..).chain(lines.cloned()).map(|line| format!("{line}\n")).collect();
        let frames = inline.frames(at, text.as_bytes()).into_iter();
        texts.extend(frames.map(|(_, frame)| String::from_utf8_lossy(&frame).into_owned()));
    } else {
        texts.extend(lines.cloned());
    }
    for line in &texts {
        let Some((batch, rejected)) = inline.decode(at, line, origin.clone(), now) else { continue };
        enter.push((at.clone(), batch));
        enter.extend(rejected.map(|r| (format!("{at}.rejected"), r)));
    }
    Ok(())
}

fn origin_of(source: &str, metadata: &Map<Value>) -> Arc<Origin> {
    let text = |name: &str| -> Option<Arc<str>> {
        metadata.get(name).map(|v| v.as_str().map_or_else(|| v.to_string().into(), Arc::from))
    };
    Arc::new(Origin {
        source: text("source").unwrap_or_else(|| source.into()),
        file: text("file"),
        host: text("host"),
        peer: text("peer"),
        user: text("user"),
        ..Origin::default()
    })
}

fn json_of(event: EventRef<'_>) -> Value {
    let mut out = Vec::new();
    event.write_json(&mut out);
    serde_json::from_slice(&out).unwrap_or_default()
}

fn object_of(fields: &Map<Value>) -> Value {
    Value::Object(fields.0.iter().map(|(k, v)| (k.value.clone(), v.clone())).collect())
}

/// What of one expectation does not hold.
fn check(inline: &Inline, stages: &[Stage], expect: &TestExpect) -> Vec<String> {
    let at = &expect.at.value;
    let (id, output) = at.split_once('.').unwrap_or((at, ""));
    if inline.kind(id).is_none() {
        return vec![format!("`at: {at}`: there is no such component")];
    }
    let stage = stages.iter().find(|s| s.id == id);
    let batches = stage.into_iter().flat_map(|s| &s.out).filter(|o| o.name == output).flat_map(|o| &o.batches);
    let events: Vec<EventRef<'_>> = batches.flat_map(Batch::iter).collect();
    let values: Vec<Value> = events.iter().map(|e| json_of(*e)).collect();
    let seen = || {
        let lines: Vec<String> = values.iter().map(|v| format!("  {v}")).collect();
        if lines.is_empty() { "nothing was there".to_owned() } else { format!("there was\n{}", lines.join("\n")) }
    };
    let mut faults = Vec::new();
    if let Some(count) = expect.count
        && count != values.len() as u64
    {
        faults.push(format!("{at}: expected {count} events, {}", seen()));
    }
    if let Some(event) = &expect.event {
        let want = object_of(event);
        if !values.contains(&want) {
            faults.push(format!("{at}: expected the event\n  {want}\n{}", seen()));
        }
    }
    if let Some(list) = &expect.events {
        let want: Vec<Value> = list.iter().map(object_of).collect();
        if values != want {
            let lines: Vec<String> = want.iter().map(|v| format!("  {v}")).collect();
            faults.push(format!("{at}: expected exactly\n{}\n{}", lines.join("\n"), seen()));
        }
    }
    if let Some(fields) = &expect.fields {
        let holds = |event: &EventRef<'_>| {
            fields.0.iter().all(|(path, want)| at_path(*event, &path.value).as_ref() == Some(want))
        };
        if !events.iter().any(holds) {
            faults.push(format!("{at}: expected an event with {}, {}", object_of(fields), seen()));
        }
    }
    for path in expect.absent.iter().flatten() {
        if events.iter().any(|e| e.get(path).is_some()) {
            faults.push(format!("{at}: expected no `{path}`, {}", seen()));
        }
    }
    if let Some(condition) = &expect.condition {
        let mut condition = condition.clone();
        let mut unsaid = Faults::default();
        if events.is_empty() || !events.iter().all(|e| condition.holds(*e, &mut unsaid)) {
            faults.push(format!("{at}: expected `{}` of each event, {}", condition.text(), seen()));
        }
    }
    faults
}

fn at_path(event: EventRef<'_>, path: &str) -> Option<Value> {
    let path = FieldPath::parse(path).ok()?;
    let mut json = Vec::new();
    event.get(&path)?.append_json(&mut json);
    serde_json::from_slice(&json).ok()
}
