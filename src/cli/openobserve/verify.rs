//! `tidegate openobserve verify`: whether events come through, and whether what is asked of them can be asked.
//!
//! A probe goes through a sink of the pipeline, is searched for, and compared field by field. What the sink would put into a dead letter
//! comes here.

use super::{Failed, Ready, only, out};
use crate::ack::{Ack, Settled, Verdict};
use crate::buffer::Received;
use crate::cli::Exit;
use crate::component::{SinkRun, SourceContext, SourceRun};
use crate::encoding::{Encoder, Encoding};
use crate::error::RunError;
use crate::event::{Batch, Chunk, Frames, JsonRows, Origin, Slab};
use crate::openobserve::dashboard::queries;
use crate::openobserve::{
    ApiError, Client, Kind, Range, World, desired, hits, list, observe, promql, search, sql, text,
};
use crate::pipeline::Config;
use crate::settings::{duration_text, mask_known, parse_duration};
use crate::storage::data_dir::lock_data_dir;
use crate::telemetry::ComponentKind;
use crate::text::escape::Page;
use crate::time::{clock, write_rfc3339_utc};
use crate::topology;
use clap::Args;
use serde_json::{Value, json};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Arguments of `verify`.
#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    /// The sink that the probe goes through; needed where several are of type `openobserve`.
    #[arg(long, value_name = "ID")]
    sink: Option<String>,
    /// The stream of logs that the probe must be found in; left out: any.
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    /// How long the probe is searched for.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    timeout: String,
}

/// A clock that is off by less is right: a request takes time, and the server tells whole seconds.
const CLOCK_MAY_DIFFER: Duration = Duration::from_secs(30);
/// Streams at most that a probe is searched in.
const MAX_STREAMS: usize = 200;

/// What was found.
#[derive(Default)]
struct Findings {
    page: Page,
    wrong: usize,
}

impl Findings {
    fn fine(&mut self, words: &str) {
        writeln!(self.page, "ok      {}", mask_known(words));
    }

    fn wrong(&mut self, words: &str) {
        self.wrong += 1;
        writeln!(self.page, "WRONG   {}", mask_known(words));
    }

    fn end(self) -> Result<Exit, Failed> {
        out(&self.page)?;
        Ok(if self.wrong == 0 { Exit::Done } else { Exit::Failed })
    }
}

/// Looks at everything, and says what is wrong.
pub(super) async fn run(ready: &[Ready], config: Config, args: &VerifyArgs) -> Result<Exit, Failed> {
    let one = only(ready)?;
    let timeout =
        parse_duration(&args.timeout).ok_or_else(|| format!("`{}` is not a time such as `30s`", args.timeout))?;
    let mut found = Findings::default();
    let client = one.connect().await?;
    found.fine(&format!("{}: OpenObserve {}", one.config.url.value, client.version()));
    if let Err(error) = client.get(&["streams"], &[("type", "logs")]).await {
        found.wrong(&error.to_string());
        return found.end();
    }
    found.fine("the credentials are taken");
    clock_of(&client, &mut found);
    if let Some(world) = look(&client, &mut found).await {
        streams(one, &client, &world, &mut found).await;
    }
    ask_all(one, &client, &mut found).await;
    probes(one, &client, config, args, timeout, &mut found).await?;
    found.end()
}

fn clock_of(client: &Client, found: &mut Findings) {
    match client.clock_offset() {
        Some(ns) if ns.unsigned_abs() > CLOCK_MAY_DIFFER.as_nanos() as u64 => {
            let ahead = if ns > 0 { "ahead of" } else { "behind" };
            let off = Duration::from_secs(ns.unsigned_abs() / 1_000_000_000);
            found.wrong(&format!("the server's clock is {} {ahead} this host's", duration_text(off)));
        }
        Some(_) => found.fine("the clocks agree"),
        None => found.fine("the server does not tell its time"),
    }
}

/// Whether the user may see what `apply` keeps.
async fn look(client: &Client, found: &mut Findings) -> Option<World> {
    let before = found.wrong;
    for kind in Kind::ALL {
        if let Err(error) = observe(client, &[kind]).await {
            found.wrong(&format!("{}: the user's role does not let see them: {error}", kind.section()));
        }
    }
    if found.wrong > before {
        return None;
    }
    found.fine("the user's role lets see all that `apply` keeps");
    observe(client, &[Kind::Stream]).await.ok()
}

async fn streams(one: &Ready, client: &Client, world: &World, found: &mut Findings) {
    for (name, config) in one.config.streams.iter() {
        let kind = config.r#type.word();
        let there = world.of(Kind::Stream).iter().any(|o| o.name == name.value && o.fields["type"] == kind);
        let name = &name.value;
        if !there {
            found.wrong(&format!("stream `{name}` of {kind} is not on the server: no event has made it"));
            continue;
        }
        found.fine(&format!("stream `{name}` is there"));
        columns_of(client, name, kind, found).await;
    }
}

/// Columns from which on a `SELECT *` gives a part of them (`ZO_QUICK_MODE_NUM_FIELDS`).
const ALL_SHOWN: usize = 500;
/// Columns of one request from which on the server drops its events without a word (`ZO_COLS_PER_RECORD_LIMIT`).
const ALL_TAKEN: usize = 1000;

/// Whether a stream has more columns than the server shows, or takes.
async fn columns_of(client: &Client, name: &str, kind: &str, found: &mut Findings) {
    let schema = match client.get(&["streams", name, "schema"], &[("type", kind)]).await {
        Ok(schema) => schema,
        Err(error) => return found.wrong(&format!("the columns of stream `{name}` cannot be read: {error}")),
    };
    let count = |key: &str| schema.get(key).and_then(Value::as_array).map_or(0, Vec::len);
    let total = schema.get("total_fields").and_then(Value::as_u64).map_or(0, |n| n as usize).max(count("schema"));
    // Where fields are named that have columns, all others share one.
    let columns = if count("uds_schema") > 0 { count("uds_schema") } else { total };
    if columns > ALL_TAKEN {
        found.wrong(&format!(
            "stream `{name}` has {columns} columns: a request with more than {ALL_TAKEN} is dropped without a word \
             (ZO_COLS_PER_RECORD_LIMIT); name `schema_fields`, or send fewer fields"
        ));
    } else if columns > ALL_SHOWN {
        found.wrong(&format!(
            "stream `{name}` has {columns} columns: `SELECT *` gives {ALL_SHOWN} of them at most (ZO_QUICK_MODE_NUM_FIELDS)"
        ));
    } else {
        found.fine(&format!("stream `{name}` has {columns} columns, which all are shown and taken"));
    }
}

/// Asks what alerts and dashboards ask.
async fn ask_all(one: &Ready, client: &Client, found: &mut Findings) {
    let (wanted, wrong) = desired(&one.config, client.version());
    wrong.iter().for_each(|why| found.wrong(why));
    let now = clock::now_ns() / 1000;
    let range = Range { from: now - 3_600_000_000, to: now };
    let mut tell = |what: String, result: Result<Value, ApiError>| match result {
        Ok(_) => found.fine(&format!("{what} runs")),
        Err(error) => found.wrong(&format!("{what} fails: {error}")),
    };
    for desired in &wanted {
        match desired.key.kind {
            Kind::Alert => {
                let query = &desired.fields["query"];
                let what = format!("the query of {}", desired.key);
                if let Some(sql) = query["sql"].as_str() {
                    tell(what, search(client, sql, &text(&desired.fields, "stream_type"), range, 1).await);
                } else if let Some(query) = query["promql"].as_str() {
                    tell(what, promql(client, query, range, 60).await);
                }
            }
            Kind::Dashboard => {
                for panel in queries(&desired.fields["dashboard"]) {
                    let what = format!("panel `{}` of {}", panel.title, desired.key);
                    // Which values a variable has only its user knows: none will do.
                    let empty: Vec<(String, String)> =
                        sql::variables(&panel.query).into_iter().map(|name| (name, String::new())).collect();
                    let query = sql::with_values(&panel.query, &empty).unwrap_or_default();
                    let result = match panel.promql {
                        true => promql(client, &panel.query, range, 60).await,
                        false => search(client, &query, &panel.stream_type, range, 1).await,
                    };
                    tell(what, result);
                }
            }
            _ => {}
        }
    }
}

/// An event that is sent to be found.
struct Probe {
    id: String,
    event: Value,
    micros: i64,
}

impl Probe {
    /// With a time so long ago.
    fn new(ago: Duration) -> Probe {
        let id = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let ns = clock::now_ns() / 1_000_000 * 1_000_000 - i64::try_from(ago.as_nanos()).unwrap_or(0);
        let mut time = Vec::new();
        write_rfc3339_utc(ns, 3, &mut time);
        let event = json!({
            "timestamp": String::from_utf8_lossy(&time), "message": "a probe of tidegate openobserve verify",
            "level": "info", "tidegate_probe": id, "probe_digits": "00123", "probe_number": 42, "probe_float": 1.5,
            "probe_yes": true, "probe_text": "é \"quoted\" 'twice'",
        });
        Probe { id, event, micros: ns / 1000 }
    }
}

async fn probes(
    one: &Ready,
    client: &Client,
    config: Config,
    args: &VerifyArgs,
    timeout: Duration,
    found: &mut Findings,
) -> Result<(), Failed> {
    let sinks: Vec<&str> = config
        .components
        .iter()
        .filter(|c| c.kind == ComponentKind::Sink && c.type_name == "openobserve")
        .map(|c| c.id.value.as_str())
        .collect();
    let sink = match (&args.sink, &sinks[..]) {
        (Some(named), _) => named.clone(),
        (None, [one]) => (*one).to_owned(),
        (None, []) => {
            found.fine("the configuration has no sink of type `openobserve`: no probe was sent");
            return Ok(());
        }
        (None, _) => {
            return Err(format!("several sinks could take the probe: name one with --sink ({})", sinks.join(", ")));
        }
    };
    // How late events may come; a minute is given for the way.
    let late = one.config.streams.iter().filter_map(|(_, stream)| stream.allow_late).max();
    let late = late.map(|time| Probe::new(time.saturating_sub(Duration::from_secs(60))));
    let probe = Probe::new(Duration::ZERO);
    let events: Vec<&Probe> = [&probe].into_iter().chain(&late).collect();
    let started = clock::monotonic();
    let refused = send(config, &sink, &events).await?;
    for letter in &refused {
        let (why, id) = (&letter["tidegate"], text(&letter["event"], "tidegate_probe"));
        let words = ["detail", "reason"].iter().map(|key| text(why, key)).find(|t| !t.is_empty()).unwrap_or_default();
        match late.as_ref().is_some_and(|late| late.id == id) {
            true => found.wrong(&format!(
                "an event as late as `allow_late` says is refused: {words}; raise ZO_INGEST_ALLOWED_UPTO on the server"
            )),
            false => found.wrong(&format!("the probe is refused by the server: {words}")),
        }
    }
    if late
        .as_ref()
        .is_some_and(|late| !refused.iter().any(|letter| text(&letter["event"], "tidegate_probe") == late.id))
    {
        found.fine("an event as late as `allow_late` says is taken");
    }
    if !refused.iter().any(|letter| text(&letter["event"], "tidegate_probe") == probe.id) {
        match search_for(client, &probe, args.stream.as_deref(), timeout).await? {
            None => {
                found.wrong(&format!("the probe was sent through `{sink}` and is not found within {}", args.timeout))
            }
            Some((stream, hit)) => {
                let took = started.elapsed().as_millis();
                found.fine(&format!("the probe came through `{sink}` into stream `{stream}` within {took} ms"));
                compare(&probe, &hit, found);
                if let Some(wanted) = &args.stream
                    && *wanted != stream
                {
                    found.wrong(&format!("stream `{wanted}` is `{stream}` on the server: write it so"));
                }
            }
        }
    }
    Ok(())
}

/// Compares the probe with what the server has of it.
fn compare(probe: &Probe, hit: &Value, found: &mut Findings) {
    let before = found.wrong;
    let kind = |value: &Value| match value {
        Value::String(_) => "a text",
        Value::Number(_) => "a number",
        Value::Bool(_) => "a boolean",
        _ => "nothing",
    };
    for (name, sent) in probe.event.as_object().into_iter().flatten() {
        let has = hit.get(name).unwrap_or(&Value::Null);
        let equal = sent == has || sent.is_number() && sent.as_f64() == has.as_f64();
        if has.is_null() {
            found.wrong(&format!("field `{name}` is not on the server, or under another name"));
        } else if kind(sent) != kind(has) {
            found.wrong(&format!("field `{name}` was sent as {} and is {}: {sent} is {has}", kind(sent), kind(has)));
        } else if !equal {
            found.wrong(&format!("field `{name}` was sent as {sent} and is {has}"));
        }
    }
    match hit.get("_timestamp").and_then(Value::as_i64) {
        Some(time) if time == probe.micros => {}
        Some(time) => {
            let off = Duration::from_micros(time.abs_diff(probe.micros));
            found.wrong(&format!("the time of the event is off by {} ms", off.as_millis()));
        }
        None => found.wrong("the event has no `_timestamp`"),
    }
    if found.wrong == before {
        found.fine("all of its fields and its time are as they were sent");
    }
}

/// The stream and the row of a probe.
async fn search_for(
    client: &Client,
    probe: &Probe,
    first: Option<&str>,
    timeout: Duration,
) -> Result<Option<(String, Value)>, Failed> {
    let deadline = clock::monotonic() + timeout;
    let day = 86_400_000_000;
    let range = Range { from: probe.micros - day, to: probe.micros + day };
    loop {
        let answer = client.get(&["streams"], &[("type", "logs")]).await.map_err(|e| e.to_string())?;
        let mut names: Vec<String> = list(&answer).iter().map(|stream| text(stream, "name")).collect();
        names.sort_by_key(|name| Some(name.as_str()) != first);
        for name in names.iter().take(MAX_STREAMS) {
            let sql = format!(
                "SELECT * FROM {} WHERE \"tidegate_probe\" = {}",
                sql::identifier(name),
                sql::literal(&probe.id)
            );
            // A stream that never had such a field says so.
            if let Ok(answer) = search(client, &sql, "logs", range, 1).await
                && let Some(hit) = hits(answer).into_iter().next()
            {
                return Ok(Some((name.clone(), hit)));
            }
        }
        if clock::monotonic() >= deadline {
            return Ok(None);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Waits for the verdict of the sink.
#[derive(Default)]
struct Settlement {
    done: Mutex<bool>,
    changed: Condvar,
}

impl Settled for Settlement {
    fn settled(&self, _token: u64, _verdict: Verdict) {
        *self.done.lock().unwrap_or_else(|e| e.into_inner()) = true;
        self.changed.notify_all();
    }
}

/// Sends the probes through a sink; what it refuses, as letters.
async fn send(config: Config, sink: &str, probes: &[&Probe]) -> Result<Vec<Value>, Failed> {
    let lock = lock_data_dir(&config.globals.data_dir);
    let texts: Vec<String> = probes.iter().map(|probe| probe.event.to_string()).collect();
    let source = SourceRun::Thread(Box::new(move |cx| feed(&texts, &cx)));
    let letters: Arc<Mutex<Vec<Value>>> = Arc::default();
    let kept = letters.clone();
    let refused = SinkRun::Thread(Box::new(move |input| {
        let (mut encoder, mut text) = (Encoder::new(Encoding::Json), Vec::new());
        loop {
            let mut batch = match input.recv_timeout(Duration::from_secs(3600)) {
                Received::Batch(batch) => batch,
                Received::Timeout => continue,
                Received::Closed => return Ok(()),
            };
            text.clear();
            batch.iter().for_each(|event| encoder.event(event, &mut text));
            let lines = text.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
            kept.lock().unwrap_or_else(|e| e.into_inner()).extend(lines);
            let (events, received_at) = (batch.len() as u64, batch.received_at);
            input.delivered(batch.ack.take(), events, text.len() as u64, received_at);
        }
    }));
    let blueprint = topology::assemble_replay(config, sink, lock.is_ok(), source, refused)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    let mut running = topology::start(blueprint).map_err(|e| format!("cannot start a thread: {e}"))?;
    let deadline = running.deadline().clone();
    let watch = tokio::spawn(async move {
        // A server that is gone is asked again for ever.
        tokio::time::sleep(Duration::from_secs(60)).await;
        deadline.cancel();
    });
    let summary = running.wait().await;
    watch.abort();
    if let Some((id, error)) = summary.failed.first() {
        return Err(format!("`{id}`: {error}"));
    }
    let mut letters = letters.lock().unwrap_or_else(|e| e.into_inner());
    Ok(std::mem::take(&mut *letters))
}

/// The source: one batch.
fn feed(texts: &[String], cx: &SourceContext) -> Result<(), RunError> {
    let settlement = Arc::new(Settlement::default());
    let origin = Arc::new(Origin::default());
    let mut text = Vec::new();
    let mut spans = Vec::new();
    for one in texts {
        let start = text.len();
        text.extend_from_slice(one.as_bytes());
        spans.push((start, text.len()));
    }
    let now = clock::now_ns();
    let mut batch = Batch::new(Slab::from_vec(text), origin.clone(), now, Ack::new(settlement.clone(), 0));
    let mut rows = JsonRows::default();
    for (start, end) in spans {
        rows.push(&mut batch, start, end, 0).map_err(|_| RunError::failed("the probe is not JSON"))?;
    }
    let chunk = Chunk {
        text: Slab::default(),
        frames: Frames::Decoded(batch),
        origin,
        offset: 0,
        received_at: now,
        ack: Ack::none(),
    };
    if cx.output.send(chunk).is_err() {
        return Ok(());
    }
    let mut done = settlement.done.lock().unwrap_or_else(|e| e.into_inner());
    while !*done && !cx.deadline.is_cancelled() {
        let waited = settlement.changed.wait_timeout(done, Duration::from_millis(100));
        done = waited.unwrap_or_else(|e| e.into_inner()).0;
    }
    Ok(())
}
