//! `tidegate backup restore`: rows back to a server, through the sink `openobserve` and with its answers.
//!
//! The oldest row of all goes first, alone: where the server drops rows that old, nothing else is begun.

use super::feed::{Outcome, Rows, through};
use super::store::{Lines, Manifest, State, Store, Stream};
use super::{RestoreArgs, time_text};
use crate::cli::openobserve::{Failed, Ready, out};
use crate::cli::{Exit, say_line};
use crate::event::EventKind;
use crate::openobserve::{metric_of, time_of};
use crate::pipeline::{Config, load_texts};
use crate::settings::{Node, NodeKind};
use crate::text::escape::Page;
use crate::time::clock;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Rows of one stream, from one or several backups.
struct Job {
    name: String,
    to: String,
    kind: String,
    metric_type: Option<String>,
    /// Where its rows are: backup and stream, what comes first at first.
    pieces: Vec<(String, Stream)>,
}

impl Job {
    fn rows(&self) -> u64 {
        self.pieces.iter().map(|(_, stream)| stream.rows).sum()
    }

    /// Time of the oldest row: of the first backup, or of a later one where that has none.
    fn oldest(&self) -> Option<i64> {
        self.pieces.iter().filter_map(|(_, stream)| stream.parts.first()).map(|part| part.first).min()
    }
}

/// Puts one back.
pub(super) async fn run(one: &Ready, store: &Store, args: &RestoreArgs, output: &Path) -> Result<Exit, Failed> {
    let manifest = store.read(&args.id)?;
    if manifest.state != State::Completed {
        return Err(format!(
            "{} is not completed: `backup create` with the same arguments goes on with it",
            manifest.id
        ));
    }
    let jobs = jobs(store, &manifest, args)?;
    let now = clock::now_ns() / 1000;
    let mut page = Page::new();
    for job in &jobs {
        let age = job.oldest().map(|first| hours(now, first));
        let age = age.map(|hours| format!(", up to {hours} h old")).unwrap_or_default();
        writeln!(page, "{}/{} to {}: {} rows{age}", job.kind, job.name, job.to, job.rows());
    }
    out(&page)?;
    if let Some(job) = jobs.iter().find(|job| job.kind == "traces" && job.rows() > 0) {
        return Err(format!(
            "traces/{}: spans cannot be put back, as the server takes them by OTLP only; name other streams with --stream",
            job.name
        ));
    }
    let logs = || jobs.iter().filter(|job| job.kind == "logs");
    let oldest = logs().filter_map(Job::oldest).min();
    if args.dry_run {
        if let Some(oldest) = oldest.filter(|oldest| hours(now, *oldest) > 5) {
            let hours = hours(now, oldest);
            say_line!("the server must have ZO_INGEST_ALLOWED_UPTO={hours} or more; nothing was sent");
        }
        return Ok(Exit::Done);
    }
    // A server that is not there is said at once.
    one.connect().await?;
    let letters = output.join(format!("{}.refused.ndjson", manifest.id));
    let first = logs().position(|job| oldest.is_some() && job.oldest() == oldest);
    let first = first.and_then(|n| logs().nth(n));
    if let Some((job, oldest)) = first.zip(oldest) {
        probe(one, store, job, oldest, now, &letters).await?;
    }
    let mut wrong = 0;
    let mut page = Page::new();
    for job in jobs.iter().filter(|job| job.rows() > 0) {
        let skip = first.is_some_and(|first| std::ptr::eq(first, job)).then_some(oldest).flatten();
        let outcome = send(one, job, Reading::new(store, job, skip), &letters).await?;
        let taken = outcome.taken + u64::from(skip.is_some());
        writeln!(page, "{}/{}: {taken} rows", job.kind, job.to);
        for (words, rows) in &outcome.refused {
            wrong += rows;
            writeln!(page, "WRONG   {rows} rows were refused: {}", crate::settings::mask_known(words));
        }
    }
    if wrong > 0 {
        writeln!(page, "refused rows are in {}, for `tidegate replay`", letters.display());
    }
    let resources = store.path(&manifest.id).join("resources.json");
    writeln!(page, "dashboards, alerts and settings: tidegate openobserve apply --config {}", resources.display());
    out(&page)?;
    Ok(if wrong == 0 { Exit::Done } else { Exit::Failed })
}

/// Whole hours from a time until now, rounded up.
fn hours(now: i64, then: i64) -> i64 {
    (now - then).max(0) / 3_600_000_000 + 1
}

/// What is to be sent where.
fn jobs(store: &Store, manifest: &Manifest, args: &RestoreArgs) -> Result<Vec<Job>, Failed> {
    let wanted: Vec<(&str, &str)> =
        args.stream.iter().map(|text| text.split_once('=').unwrap_or((text, text))).collect();
    let mut jobs = Vec::new();
    for stream in &manifest.streams {
        let to = match wanted.iter().find(|(name, _)| *name == stream.name) {
            Some((_, to)) => *to,
            None if wanted.is_empty() => stream.name.as_str(),
            None => continue,
        };
        if stream.r#type == "metrics" && to != stream.name {
            return Err(format!("metrics/{}: a stream of metrics is known by its name and keeps it", stream.name));
        }
        let mut pieces = vec![(manifest.id.clone(), stream.clone())];
        let mut base = stream.base.clone().filter(|_| !args.alone);
        while let Some(id) = base {
            let had = store.read(&id)?;
            let of = |s: &&Stream| s.name == stream.name && s.r#type == stream.r#type;
            let found = had.streams.iter().find(of).cloned();
            let found =
                found.ok_or_else(|| format!("{id} has no stream {}, upon which it was made", stream.shown()))?;
            base = found.base.clone();
            pieces.push((id, found));
        }
        pieces.reverse();
        jobs.push(Job {
            name: stream.name.clone(),
            to: to.to_owned(),
            kind: stream.r#type.clone(),
            metric_type: stream.metric_type.clone(),
            pieces,
        });
    }
    if let Some((name, _)) = wanted.iter().find(|(name, _)| !jobs.iter().any(|job| job.name == *name)) {
        return Err(format!("{} has no stream `{name}`", manifest.id));
    }
    Ok(jobs)
}

/// Sends the oldest row.
///
/// Errors: the server drops it; what to set.
async fn probe(one: &Ready, store: &Store, job: &Job, oldest: i64, now: i64, letters: &Path) -> Result<(), Failed> {
    let mut reading = Reading::new(store, job, None);
    let mut only = None;
    while let Some(row) = reading.next()? {
        if time_of(row) == Some(oldest) {
            only = Some(row.to_vec());
            break;
        }
    }
    let mut only = only.ok_or("the oldest row is not where the manifest says")?;
    open_rest(&mut only)?;
    let (to, mut sent) = (job.to.clone(), false);
    let rows: Rows = Box::new(move |text| {
        if std::mem::replace(&mut sent, true) {
            return Ok(false);
        }
        text.extend_from_slice(&only);
        Ok(true)
    });
    let outcome = through(sink(one, &to, "logs")?, SINK, EventKind::Log, rows, letters).await?;
    let Some(words) = outcome.refused.keys().next() else { return Ok(()) };
    drop(std::fs::remove_file(letters));
    let hours = hours(now, oldest);
    Err(format!(
        "nothing was put back: the server drops rows as old as {} ({}); start it with ZO_INGEST_ALLOWED_UPTO={hours} (hours) \
         or more, and try again",
        time_text(oldest),
        crate::settings::mask_known(words)
    ))
}

/// Sends the rows of a stream.
async fn send(one: &Ready, job: &Job, mut reading: Reading, letters: &Path) -> Result<Outcome, Failed> {
    let config = sink(one, &job.to, &job.kind)?;
    if job.kind == "metrics" {
        let kind = job.metric_type.as_deref().filter(|kind| *kind == "counter").unwrap_or("gauge").to_owned();
        let rows: Rows = Box::new(move |text| {
            let Some(row) = reading.next()? else { return Ok(false) };
            text.extend_from_slice(&metric_of(row, &kind)?);
            Ok(true)
        });
        return through(config, SINK, EventKind::Metric, rows, letters).await;
    }
    let mut line = Vec::new();
    let rows: Rows = Box::new(move |text| {
        let Some(row) = reading.next()? else { return Ok(false) };
        line.clear();
        line.extend_from_slice(row);
        open_rest(&mut line)?;
        text.extend_from_slice(&line);
        Ok(true)
    });
    through(config, SINK, EventKind::Log, rows, letters).await
}

/// What a stream with fields of its own keeps in one (`_all`) as fields again.
fn open_rest(row: &mut Vec<u8>) -> Result<(), String> {
    if memchr::memmem::find(row, b"\"_all\"").is_none() {
        return Ok(());
    }
    let mut fields: Map<String, Value> = serde_json::from_slice(row).map_err(|e| format!("a row is not JSON: {e}"))?;
    if let Some(Value::String(text)) = fields.get("_all")
        && let Ok(Value::Object(rest)) = serde_json::from_str::<Value>(text)
    {
        fields.shift_remove("_all");
        rest.into_iter().for_each(|(key, value)| {
            fields.entry(key).or_insert(value);
        });
        *row = Value::Object(fields).to_string().into_bytes();
    }
    Ok(())
}

/// The rows of a job, one after the other.
struct Reading {
    store: Store,
    /// Backup and part, in order.
    parts: std::vec::IntoIter<(String, super::store::Part)>,
    lines: Option<Lines>,
    /// The first row of this time is left out.
    skip: Option<i64>,
}

impl Reading {
    fn new(store: &Store, job: &Job, skip: Option<i64>) -> Reading {
        let of = |(id, stream): &(String, Stream)| {
            stream.parts.iter().map(|part| (id.clone(), part.clone())).collect::<Vec<_>>()
        };
        let parts: Vec<_> = job.pieces.iter().flat_map(of).collect();
        Reading { store: Store::new(&store.path("")), parts: parts.into_iter(), lines: None, skip }
    }

    fn next(&mut self) -> Result<Option<&[u8]>, String> {
        loop {
            let Some(lines) = &mut self.lines else {
                let Some((id, part)) = self.parts.next() else { return Ok(None) };
                self.lines = Some(self.store.lines(&id, &part)?);
                continue;
            };
            match lines.advance()? {
                false => self.lines = None,
                true if self.skip.is_some() && time_of(lines.line()) == self.skip => self.skip = None,
                true => break,
            }
        }
        Ok(self.lines.as_ref().map(Lines::line))
    }
}

/// Id of the sink.
const SINK: &str = "restore";

/// A pipeline with the sink into one stream: with the address, credentials and certificates of the server.
fn sink(one: &Ready, stream: &str, kind: &str) -> Result<Config, Failed> {
    let mut values = BTreeMap::new();
    let mut settings = match written(&one.node, &mut values) {
        Value::Object(settings) => settings,
        _ => Map::new(),
    };
    for section in crate::openobserve::Kind::ALL.map(crate::openobserve::Kind::section).into_iter().chain(["presets"]) {
        settings.shift_remove(section);
    }
    let time = if kind == "metrics" { "timestamp" } else { "_timestamp" };
    let own = json!({
        "type": "openobserve", "inputs": ["rows"], "stream": stream.replace('$', "$$"), "timestamp_field": time,
        "metrics_api": "json",
    });
    settings.extend(own.as_object().cloned().unwrap_or_default());
    let data_dir: PathBuf = one.data_dir.join("restore");
    let document = json!({
        "data_dir": data_dir.to_string_lossy().replace('$', "$$"),
        "sources": {"rows": {"type": "stdin"}}, "sinks": {(SINK): settings},
    });
    let text = format!("{document:#}");
    let loaded = load_texts(&[("restore", text.as_str())], &values, crate::registry::built_in());
    loaded.config.ok_or_else(|| {
        let why = loaded.report.render();
        format!("the sink `openobserve` cannot be made of the server's settings: {}", crate::settings::mask_known(&why))
    })
}

/// Settings as they were read, in text again: what was a text is a variable, so that nothing in it means anything.
fn written(node: &Node, values: &mut BTreeMap<String, String>) -> Value {
    let mut variable = |text: &str| {
        let name = format!("V{}", values.len());
        values.insert(name.clone(), text.to_owned());
        json!(format!("${{{name}}}"))
    };
    match &node.kind {
        NodeKind::Seq(items) => items.iter().map(|item| written(item, values)).collect(),
        NodeKind::Map(entries) => {
            let entries = entries.iter().map(|entry| (entry.key.clone(), written(&entry.value, values)));
            Value::Object(entries.collect())
        }
        _ if node.interpolated => variable(&node.text),
        NodeKind::Null => Value::Null,
        NodeKind::Bool(value) => json!(value),
        NodeKind::Int(value) => i64::try_from(*value).map_or(Value::Null, |value| json!(value)),
        NodeKind::Float(value) => json!(value),
        NodeKind::Str(text) => variable(text),
    }
}
