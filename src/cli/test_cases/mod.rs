//! `tidegate test`: runs the unit tests under `tests:`. Delivers nothing, opens no socket; writes snapshots where it is told to.

mod check;
mod coverage;
mod diff;
mod junit;
mod watch;

use super::places::Places;
use super::{ConfigArgs, Exit, print, say_line};
use crate::component::Chance;
use crate::event::{Batch, EventKind, JsonRows, Meta, Origin, Slab};
use crate::pipeline::{TestCase, TestInput, TestKind};
use crate::settings::{Map, Span};
use crate::telemetry::ComponentKind;
use crate::text::escape::Page;
use crate::time::parse_rfc3339;
use crate::topology::recent::Frame;
use crate::topology::{Inline, Tells};
use clap::Args;
use coverage::Coverage;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use watch::Seen;

/// Arguments of `test`.
#[derive(Args, Debug)]
pub(super) struct TestArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Only tests whose name contains this; `*` stands for anything.
    pattern: Option<String>,
    /// Write snapshots as they are now.
    #[arg(long)]
    update: bool,
    /// Tell which conditions were true and false, and which routes, rules, rates, patterns and checks played no part.
    #[arg(long)]
    coverage: bool,
    /// Fail where less than so many of 100 of these were covered.
    #[arg(long, value_name = "PERCENT")]
    min_coverage: Option<f64>,
    /// Write the results as JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Run them again whenever the configuration, or a file that a test names, changes.
    #[arg(long)]
    watch: bool,
}

/// 2025-01-01T00:00:00Z
const NOW: i64 = 1_735_689_600_000_000_000;
/// Bytes of a file, decompressed, that are given to a source at most.
const MAX_BYTES: u64 = 64 << 20;

/// Something that does not hold.
#[derive(Debug)]
pub(super) struct Fault {
    /// Where it is expected.
    pub(super) at: Span,
    /// What, and the difference.
    pub(super) text: String,
}

/// What one test came to.
pub(super) struct Outcome {
    pub(super) name: String,
    /// `file:line`.
    pub(super) at: Option<(String, usize)>,
    /// What does not hold, each with `file:line`.
    pub(super) faults: Vec<String>,
    pub(super) took: Duration,
}

/// Runs the tests; fails when one does, or when there are none.
pub(super) fn run(args: &TestArgs) -> Exit {
    loop {
        let mut seen = Seen::of(&args.config.config);
        let exit = once(args, &mut seen).unwrap_or_else(|exit| exit);
        if !args.watch {
            return exit;
        }
        let changed = seen.until_changed();
        if print(&Page::of_line(format_args!("\n{} has changed", changed.display()))).is_err() {
            return exit;
        }
    }
}

fn once(args: &TestArgs, seen: &mut Seen) -> Result<Exit, Exit> {
    let (config, places) = args.config.load_with_places()?;
    seen.add(config.tests.iter().flat_map(|test| files_of(test, &places)));
    all(args, &config.tests, &places)
}

/// The files that a test names.
fn files_of(test: &TestCase, places: &Places) -> Vec<PathBuf> {
    let given = test.input.iter().filter_map(|input| input.file.as_ref());
    let shot = test.expect.iter().filter_map(|expect| expect.snapshot.as_ref());
    given.chain(shot).map(|path| places.folder(path.span).join(&path.value)).collect()
}

fn all(args: &TestArgs, tests: &[TestCase], places: &Places) -> Result<Exit, Exit> {
    let wanted = |t: &&TestCase| args.pattern.as_ref().is_none_or(|pattern| matches(pattern, &t.name.value));
    let chosen: Vec<&TestCase> = tests.iter().filter(wanted).collect();
    if chosen.is_empty() {
        match &args.pattern {
            Some(pattern) if !tests.is_empty() => {
                let names: Vec<&str> = tests.iter().map(|test| test.name.value.as_str()).collect();
                say_line!("error: no test's name contains `{pattern}`; there are: {}", names.join(", "));
            }
            _ => say_line!("error: there are no tests; write some under `tests:`"),
        }
        return Err(Exit::Failed);
    }
    let asked = args.coverage || args.min_coverage.is_some();
    let mut covered = asked.then(Coverage::default);
    let mut outcomes = Vec::new();
    for test in chosen {
        let outcome = one(args, test, places, covered.as_mut())?;
        let word = if outcome.faults.is_empty() { "ok" } else { "FAILED" };
        let mut page = Page::of_line(format_args!("test {} ... {word}", outcome.name));
        for line in outcome.faults.iter().flat_map(|fault| fault.lines()) {
            writeln!(page, "  {line}");
        }
        print(&page).map_err(|_| Exit::Failed)?;
        outcomes.push(outcome);
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.faults.is_empty()).count();
    let mut page = Page::of_line(format_args!("{} passed, {failed} failed", outcomes.len() - failed));
    let mut exit = if failed == 0 { Exit::Done } else { Exit::Failed };
    if let Some(covered) = &covered {
        covered.show(places, &mut page);
        let percent = covered.percent();
        if let Some(least) = args.min_coverage.filter(|least| percent < *least) {
            writeln!(page, "error: {percent:.1} % is covered, {least} % are asked for");
            exit = Exit::Failed;
        }
    }
    drop(print(&page));
    if let Some(path) = &args.junit {
        let text = junit::write(&outcomes);
        if let Err(error) = std::fs::write(path, text) {
            say_line!("error: cannot write {}: {error}", path.display());
            exit = Exit::Failed;
        }
    }
    Ok(exit)
}

/// Whether a name contains the pattern, in which `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    let mut rest = name;
    pattern.split('*').all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

/// Runs one test, with components of its own, so that none sees what another left behind.
fn one(args: &TestArgs, test: &TestCase, places: &Places, covered: Option<&mut Coverage>) -> Result<Outcome, Exit> {
    let began = Instant::now();
    let config = args.config.load_again()?;
    let tells = if covered.is_some() { Tells::Reasons } else { Tells::Drops };
    let faults = match Inline::new(config, Chance::Kept) {
        Ok(inline) => {
            let mut inline = inline.telling(tells);
            if let Some(covered) = covered {
                covered.know(&inline);
                let (faults, stages) = events(&mut inline, test, places, args.update);
                covered.add(&stages);
                faults
            } else {
                events(&mut inline, test, places, args.update).0
            }
        }
        Err(errors) => errors.iter().map(|e| Fault { at: test.name.span, text: e.to_string() }).collect(),
    };
    let placed = |fault: Fault| match places.text(fault.at) {
        at if at.is_empty() => fault.text,
        at => format!("{at}: {}", fault.text),
    };
    let at = places.of_span(test.name.span).map(|(file, line)| (file.to_owned(), line));
    let faults = faults.into_iter().map(placed).collect();
    Ok(Outcome { name: test.name.value.clone(), at, faults, took: began.elapsed() })
}

/// Lets the input in; what does not hold of what comes of it.
fn events(
    inline: &mut Inline,
    test: &TestCase,
    places: &Places,
    update: bool,
) -> (Vec<Fault>, Vec<crate::topology::Stage>) {
    let now = match &test.now {
        None => NOW,
        Some(text) => match parse_rfc3339(text.value.as_bytes()) {
            Some(stamp) => stamp.ns,
            None => {
                let text_of = format!("`now: {}` is not an RFC 3339 time", text.value);
                return (vec![Fault { at: text.span, text: text_of }], Vec::new());
            }
        },
    };
    let mut enter = Vec::new();
    for input in &test.input {
        if let Err(text) = entering(inline, input, now, places, &mut enter) {
            return (vec![Fault { at: input.at.span, text }], Vec::new());
        }
    }
    let stages = inline.run(enter, now, true);
    let faults = test.expect.iter().flat_map(|e| check::check(inline, &stages, e, places, update)).collect();
    (faults, stages)
}

fn entering(
    inline: &mut Inline,
    input: &TestInput,
    now: i64,
    places: &Places,
    enter: &mut Vec<(String, Batch)>,
) -> Result<(), String> {
    let at = &input.at.value;
    let kind = inline.kind(at).ok_or_else(|| format!("`at: {at}`: there is no such component"))?;
    if let Some(fields) = &input.event {
        let object: serde_json::Map<String, Value> =
            fields.0.iter().map(|(k, v)| (k.value.clone(), v.clone())).collect();
        let text = Value::Object(object).to_string().into_bytes();
        let end = text.len();
        let mut batch =
            Batch::new(Slab::from_vec(text), origin_of(at, &input.metadata, None), now, crate::ack::Ack::none());
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
    let (frames, origin) = match &input.file {
        Some(file) => {
            let path = places.folder(file.span).join(&file.value);
            let text = inline.text_of(at, &path, MAX_BYTES).map_err(|error| format!("{}: {error}", path.display()))?;
            let mut starts = vec![0];
            starts.extend(memchr::memchr_iter(b'\n', &text).map(|end| end as u64 + 1));
            let frame = |(number, text): (u64, Vec<u8>)| {
                Frame::Text(text, starts.get(number as usize - 1).copied().unwrap_or_default(), false)
            };
            let frames: Vec<Frame> = inline.frames(at, &text).into_iter().map(frame).collect();
            (frames, origin_of(at, &input.metadata, Some(&path.display().to_string())))
        }
        None => (lines(inline, input), origin_of(at, &input.metadata, None)),
    };
    for frame in frames {
        let Some(made) = inline.take(at, frame, origin.clone(), now) else { continue };
        enter.push((at.clone(), made.events));
        enter.extend(made.rejected.map(|batch| (format!("{at}.rejected"), batch)));
    }
    Ok(())
}

/// Lines as the source cuts and joins them.
fn lines(inline: &Inline, input: &TestInput) -> Vec<Frame> {
    let lines = input.line.iter().chain(input.lines.iter().flatten());
    let frame = |text: Vec<u8>| Frame::Text(text, 0, true);
    if !inline.joins_lines(&input.at.value) {
        return lines.map(|line| frame(line.clone().into_bytes())).collect();
    }
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    inline.frames(&input.at.value, text.as_bytes()).into_iter().map(|(_, text)| frame(text)).collect()
}

fn origin_of(source: &str, metadata: &Map<Value>, file: Option<&str>) -> Arc<Origin> {
    let text = |value: &Value| -> Arc<str> { value.as_str().map_or_else(|| value.to_string().into(), Arc::from) };
    let mut origin = Origin { source: source.into(), file: file.map(Arc::from), ..Origin::default() };
    for (name, value) in &metadata.0 {
        let value = text(value);
        match Meta::from_config(&name.value) {
            Some(Meta::Source) => origin.source = value,
            Some(Meta::File) => origin.file = Some(value),
            Some(Meta::Host) => origin.host = Some(value),
            Some(Meta::Peer) => origin.peer = Some(value),
            Some(Meta::User) => origin.user = Some(value),
            Some(Meta::TlsSubject) => origin.tls_subject = Some(value),
            Some(Meta::Http(variable)) => origin.http.push((variable.into(), value)),
            // Refused when the file is read.
            _ => {}
        }
    }
    Arc::new(origin)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_are_parts_of_names() {
        for (pattern, is) in [("log", true), ("l*n", true), ("", true), ("*in*", true), ("n*l", false), ("x", false)] {
            assert_eq!(matches(pattern, "login"), is, "{pattern}");
        }
    }
}
