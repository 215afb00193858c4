//! `tidegate backup create`: page by page, each part whole before it is named.
//!
//! An incremental backup asks again for the last five hours of what is there already, as rows may come that late: of equal rows as many
//! are left out as the backups before it have. Both sides are in the order of their times, so that only the rows of a page are
//! compared at once.

use super::store::{Asked, Lines, Manifest, PartWriter, State, Store, Stream};
use super::{CreateArgs, now_text};
use crate::cli::openobserve::{Failed, Ready, document, out};
use crate::cli::say_line;
use crate::openobserve::{Client, Export, Page as Rows, QueryError, Range, all_columns, hash_of, hits, list, search};
use crate::openobserve::{parse_time, sql, text, time_of};
use crate::settings::{Size, parse_duration};
use crate::text::escape::Page;
use crate::time::clock;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{IsTerminal, Write as _};
use std::time::Duration;

/// Earlier than any row, and a time that the server takes: 2000-01-01.
const EARLIEST: i64 = 946_684_800_000_000;
/// What a backup can hold.
const TYPES: [&str; 3] = ["logs", "metrics", "traces"];

/// Makes one, or goes on with one that was ended.
pub(super) async fn run(one: &Ready, store: &Store, args: &CreateArgs) -> Result<(), Failed> {
    let types: Vec<&str> = match args.types.is_empty() {
        true => TYPES.to_vec(),
        false => TYPES.into_iter().filter(|kind| args.types.iter().any(|t| t == kind)).collect(),
    };
    if let Some(wrong) = args.types.iter().find(|kind| !TYPES.contains(&kind.as_str())) {
        return Err(format!("`{wrong}` is no type of streams: logs, metrics or traces"));
    }
    let rate = args.rate.as_deref().map(|text| {
        let size = Size::parse(text.trim_end_matches("/s"));
        size.filter(|size| size.as_usize() > 0).ok_or_else(|| format!("`{text}` is not a size such as `10MB`"))
    });
    let rate = rate.transpose()?;
    let part = Size::parse(&args.part).filter(|size| size.bytes() > 0);
    let part = part.ok_or_else(|| format!("`{}` is not a size such as `64MiB`", args.part))?.bytes();
    let overlap = parse_duration(&args.overlap);
    let overlap = overlap.ok_or_else(|| format!("`{}` is not a time such as `5h`", args.overlap))?;
    let client = one.connect().await?;
    let _lock = store.lock()?;
    let asked = Asked {
        streams: args.stream.clone(),
        types: types.iter().map(|kind| (*kind).to_owned()).collect(),
        since: args.since.clone(),
        until: args.until.clone(),
        incremental: args.incremental,
    };
    let (all, bad) = store.all()?;
    bad.iter().for_each(|why| say_line!("warning: {why}"));
    let of_server: Vec<Manifest> = all.into_iter().filter(|one| one.server == client.name()).collect();
    let ended = |one: &&Manifest| one.state != State::Completed && one.asked == asked && !args.new;
    let mut manifest = match of_server.last().filter(ended) {
        Some(begun) => {
            say_line!("going on with {}, which was not completed", begun.id);
            Manifest { state: State::Running, reason: None, ..begun.clone() }
        }
        None => begin(&client, asked, &types, &of_server, overlap).await?,
    };
    store.write(&mut manifest)?;
    let work = Work { client: &client, store, before: &of_server, part, pace: Pace::new(rate) };
    let result = work.all(one, &mut manifest).await;
    manifest.ended_at = Some(now_text());
    match &result {
        Ok(()) => manifest.state = State::Completed,
        Err(why) => {
            manifest.state = State::Failed;
            manifest.reason = Some(why.clone());
        }
    }
    store.write(&mut manifest)?;
    result?;
    let mut page = Page::new();
    let (rows, bytes) = (manifest.rows(), super::size_text(manifest.bytes()));
    writeln!(page, "{}: {} of {} streams, {rows} rows, {bytes}", manifest.id, manifest.kind, manifest.streams.len());
    out(&page)
}

/// What is to be done, with the ends of time fixed.
async fn begin(
    client: &Client,
    asked: Asked,
    types: &[&str],
    before: &[Manifest],
    overlap: Duration,
) -> Result<Manifest, Failed> {
    let now = clock::now_ns() / 1000;
    let until = asked.until.as_deref().map_or(Ok(now), |text| parse_time(text, now))?;
    let since = asked.since.as_deref().map(|text| parse_time(text, now)).transpose()?;
    let mut missing: Vec<&String> = asked.streams.iter().collect();
    let mut streams = Vec::new();
    for kind in types {
        let answer = client.get(&["streams"], &[("type", kind)]).await.map_err(|e| e.to_string())?;
        for raw in list(&answer) {
            let name = text(&raw, "name");
            if !asked.streams.is_empty() && !asked.streams.contains(&name) {
                continue;
            }
            missing.retain(|wanted| **wanted != name);
            let base = before.iter().rev().filter(|_| asked.incremental && since.is_none()).find_map(|one| {
                let has = |s: &&Stream| s.name == name && s.r#type == *kind;
                Some((one, one.streams.iter().filter(|_| one.state == State::Completed).find(has)?))
            });
            let from = match (since, base) {
                (Some(since), _) => since,
                (None, Some((_, stream))) => stream.until.saturating_sub(micros(overlap)),
                (None, None) => first_time(client, &name, kind, &raw, until).await?.unwrap_or(until),
            };
            let metric_type = raw["metrics_meta"]["metric_type"].as_str().map(str::to_lowercase);
            streams.push(Stream {
                from: from.min(until),
                until,
                next: from.min(until),
                done: false,
                base: base.map(|(one, _)| one.id.clone()),
                rows: 0,
                bytes: 0,
                metric_type,
                parts: Vec::new(),
                name,
                r#type: (*kind).to_owned(),
            });
        }
    }
    if let Some(name) = missing.first() {
        return Err(format!("there is no stream `{name}` on the server"));
    }
    let mut at = super::now_text();
    at.retain(|c| c.is_ascii_alphanumeric());
    // Milliseconds of the time, and what tells two of them apart.
    let id = format!("{}Z-{:04x}", at.get(..18).unwrap_or(&at), fastrand::u16(..));
    let mut manifest = Manifest::new(id, client.name(), client.version().to_string(), asked);
    manifest.streams = streams;
    Ok(manifest)
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

/// The time of the first row before `until`; `None` where there is none.
async fn first_time(client: &Client, name: &str, kind: &str, raw: &Value, until: i64) -> Result<Option<i64>, Failed> {
    let sql = format!("SELECT min(_timestamp) AS first_time FROM {}", sql::identifier(name));
    let range = Range { from: EARLIEST, to: until.max(EARLIEST + 1) };
    let stats = raw["stats"]["doc_time_min"].as_i64().filter(|time| *time > 0);
    let answer = match search(client, &sql, kind, range, 1).await {
        Ok(answer) => answer,
        // Nothing was ever sent there.
        Err(error) if error.code == Some(20002) => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let cut = answer["is_partial"] == json!(true) || !answer["new_start_time"].is_null();
    if cut {
        let why = "its longest time range lets not ask for its first row, and the server does not know it";
        return stats.map(Some).ok_or_else(|| format!("stream `{name}`: {why}: name --since"));
    }
    let first = hits(answer).first().and_then(|row| row["first_time"].as_i64());
    Ok(first.map(|first| stats.map_or(first, |stats| stats.min(first))))
}

/// Making a backup.
struct Work<'w> {
    client: &'w Client,
    store: &'w Store,
    before: &'w [Manifest],
    /// Bytes of text in a part.
    part: u64,
    pace: Pace,
}

impl Work<'_> {
    async fn all(mut self, one: &Ready, manifest: &mut Manifest) -> Result<(), Failed> {
        if manifest.resources.is_none() {
            let (server, left_out) = document(self.client, &one.config.url.value).await?;
            left_out.iter().for_each(|name| say_line!("warning: left out, its name cannot be kept: {name}"));
            let text = format!("{:#}\n", json!({"openobserve": server}));
            manifest.resources = Some(self.store.put(&manifest.id, "resources.json", text.as_bytes())?);
        }
        for n in 0..manifest.streams.len() {
            self.stream(manifest, n).await?;
        }
        self.pace.end();
        Ok(())
    }

    /// One stream, from where it is.
    async fn stream(&mut self, manifest: &mut Manifest, n: usize) -> Result<(), Failed> {
        let stream = &manifest.streams[n];
        if stream.done {
            return Ok(());
        }
        let (name, kind) = (stream.name.clone(), stream.r#type.clone());
        let fail = |why: String| format!("stream `{kind}/{name}`: {why}");
        let range = Range { from: stream.next, to: stream.until };
        let schema = self.client.get(&["streams", &name, "schema"], &[("type", &kind)]).await;
        let schema = schema.map_err(|e| fail(e.to_string()))?;
        if let Some(sql) = all_columns(&name, &schema).filter(|_| range.from < range.to) {
            let mut known = Known::new(self.store, self.before, stream);
            let mut export = Export::new(self.client, &sql, &kind, range);
            let mut part = self.store.begin(&manifest.id, stream)?;
            let mut next = range.from;
            let begun = (range.from, range.to);
            loop {
                let page = match export.next().await {
                    Ok(Some(page)) => page,
                    Ok(None) => break,
                    // Removed since.
                    Err(QueryError::Api(error)) if error.code == Some(20002) => break,
                    Err(error) => return Err(fail(error.to_string())),
                };
                let fresh = known.left_out(&page)?;
                for (row, _) in page.rows().zip(fresh).filter(|(_, fresh)| *fresh) {
                    let time = time_of(row).unwrap_or(next);
                    // A part ends between two times: who goes on behind it has all rows before.
                    if part.text >= self.part && time > next {
                        keep(&mut manifest.streams[n], part, time)?;
                        self.store.write(manifest)?;
                        part = self.store.begin(&manifest.id, &manifest.streams[n])?;
                    }
                    next = next.max(time);
                    // A row is a line.
                    match memchr::memchr(b'\n', row) {
                        None => part.row(row, time)?,
                        Some(_) => {
                            let line: Vec<u8> = row.iter().map(|b| if *b == b'\n' { b' ' } else { *b }).collect();
                            part.row(&line, time)?;
                        }
                    }
                }
                next = page.next;
                let done = (next - begun.0) as f64 / (begun.1 - begun.0).max(1) as f64;
                self.pace.page(&name, page.count(), page.bytes(), done).await;
            }
            keep(&mut manifest.streams[n], part, next)?;
        }
        let stream = &mut manifest.streams[n];
        (stream.done, stream.next) = (true, stream.until);
        // Where there was nothing to copy there is nothing to keep.
        if stream.rows > 0 { self.store.write(manifest) } else { Ok(()) }
    }
}

/// Ends a part, and notes it with how far the stream is.
fn keep(stream: &mut Stream, part: PartWriter, next: i64) -> Result<(), Failed> {
    let (rows, text) = (part.rows, part.text);
    stream.parts.extend(part.end()?);
    stream.rows += rows;
    stream.bytes += text;
    stream.next = next;
    Ok(())
}

/// The rows that backups before this one have, in the order of their times.
struct Known<'k> {
    readers: Vec<Reader<'k>>,
}

/// The rows of one stream in one backup.
struct Reader<'k> {
    store: &'k Store,
    id: &'k str,
    parts: std::slice::Iter<'k, super::store::Part>,
    lines: Option<Lines>,
    /// Time and hash of the row that is next.
    ahead: Option<(i64, u128)>,
    from: i64,
}

impl<'k> Known<'k> {
    fn new(store: &'k Store, before: &'k [Manifest], stream: &Stream) -> Known<'k> {
        let mut readers = Vec::new();
        let mut base = stream.base.as_deref();
        while let Some(manifest) = base.and_then(|id| before.iter().find(|one| one.id == id)) {
            let has = |s: &&Stream| s.name == stream.name && s.r#type == stream.r#type;
            let Some(had) = manifest.streams.iter().find(has) else { break };
            // What ends before has nothing of the overlap, nor has what is before that.
            if had.until <= stream.from {
                break;
            }
            let parts = had.parts.iter();
            readers.push(Reader { store, id: &manifest.id, parts, lines: None, ahead: None, from: stream.next });
            base = had.base.as_deref();
        }
        Known { readers }
    }

    /// Which rows of a page are new.
    fn left_out(&mut self, page: &Rows) -> Result<Vec<bool>, Failed> {
        let mut counts: HashMap<u128, usize> = HashMap::new();
        for reader in &mut self.readers {
            reader.before(page.next, &mut counts)?;
        }
        let fresh = |row: &[u8]| {
            if counts.is_empty() {
                return true;
            }
            match hash_of(row).and_then(|hash| counts.get_mut(&hash)) {
                Some(count) if *count > 0 => {
                    *count -= 1;
                    false
                }
                _ => true,
            }
        };
        Ok(page.rows().map(fresh).collect())
    }
}

impl Reader<'_> {
    /// Counts all rows before a time that were not counted yet.
    fn before(&mut self, time: i64, counts: &mut HashMap<u128, usize>) -> Result<(), Failed> {
        loop {
            match self.ahead {
                Some((at, hash)) if at < time => *counts.entry(hash).or_default() += 1,
                Some(_) => return Ok(()),
                None => {}
            }
            self.ahead = self.row()?;
            if self.ahead.is_none() {
                return Ok(());
            }
        }
    }

    /// The next row from the beginning of the overlap on.
    fn row(&mut self) -> Result<Option<(i64, u128)>, Failed> {
        loop {
            if let Some(lines) = &mut self.lines {
                while let Some(row) = lines.next()? {
                    if let (Some(time), Some(hash)) = (time_of(row), hash_of(row))
                        && time >= self.from
                    {
                        return Ok(Some((time, hash)));
                    }
                }
            }
            let from = self.from;
            let Some(part) = self.parts.find(|part| part.last >= from) else { return Ok(None) };
            self.lines = Some(self.store.lines(self.id, part)?);
        }
    }
}

/// How fast it goes, and what a terminal is told of it.
struct Pace {
    /// Bytes a second at most.
    rate: Option<Size>,
    begun: std::time::Instant,
    bytes: u64,
    rows: u64,
    shows: bool,
}

impl Pace {
    fn new(rate: Option<Size>) -> Pace {
        Pace { rate, begun: clock::monotonic(), bytes: 0, rows: 0, shows: std::io::stderr().is_terminal() }
    }

    /// After a page: waits where that was too fast.
    async fn page(&mut self, name: &str, rows: usize, bytes: usize, done: f64) {
        self.bytes += bytes as u64;
        self.rows += rows as u64;
        let elapsed = self.begun.elapsed();
        if self.shows {
            let speed = self.bytes as f64 / elapsed.as_secs_f64().max(0.001) / 1e6;
            let line = format!("\r{name}: {:.0} %, {} rows, {speed:.1} MB/s\x1b[K", done * 100.0, self.rows);
            drop(std::io::stderr().write_all(line.as_bytes()));
        }
        if let Some(rate) = self.rate {
            let due = Duration::from_secs_f64(self.bytes as f64 / rate.as_usize() as f64);
            tokio::time::sleep(due.saturating_sub(elapsed)).await;
        }
    }

    fn end(&self) {
        if self.shows {
            drop(std::io::stderr().write_all(b"\r\x1b[K"));
        }
    }
}
