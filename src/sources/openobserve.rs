//! The `openobserve` source: rows of a stream of OpenObserve, or of a query, as events.
//!
//! ```yaml
//! sources: {old: {type: openobserve, url: "http://o2:5080", stream: shop_logs, from: "-1h", follow: true}}
//! ```
//!
//! **Time range.** From `from` to `to`, or to now, and then it ends; with `follow` it asks again `every` so often. Rows may come late:
//! with `follow` the last time of `late` is asked again each time, and of equal rows as many are left out as were there before.
//!
//! **Guarantee.** A page is asked for when all rows of the one before are settled; how far it is, and the rows of the time that is asked
//! again, are kept in `data_dir/<id>/openobserve.json`. After a stop nothing is lost and nothing comes twice; after a kill the
//! rows of the last second may come again. A time range that was read to its end is not read again, until its settings change.
//!
//! **Full downstream.** It waits. **A server that fails** is asked again until it answers; one that refuses the credentials or the query ends
//! the source with its words.

use crate::ack::{Ack, Settled, Verdict};
use crate::component::common::{Attach, CommonBy, SourceCommon};
use crate::component::plan::SourcePlan;
use crate::component::{BuildContext, SourceContext, SourceRun};
use crate::condition::Condition;
use crate::decoding::{DecodeSetting, InvalidUtf8, OnDecodeError};
use crate::error::{BuildError, RunError};
use crate::event::{Batch, Chunk, EventKind, Frames, JsonRows, Origin, Slab};
use crate::http::{AuthConfig, ClientConfig, Credentials as _, check_server};
use crate::openobserve::{
    Client, Export, Page, QueryError, Range, StreamType, all_columns, hash_of, metric_of, parse_time, sql, time_of,
};
use crate::settings::{Reader, Spanned, config};
use crate::storage::data_dir::{create_dir, replace_file};
use crate::sync::Locked;
use crate::time::clock;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

config! {
    /// Settings that all sources have.
    pub struct OpenObserveKeys {
        /// Metadata to copy into fields: `host`, `source`.
        pub attach: Vec<Attach> = Vec::new(),
        /// Keep only events for which this holds; others are dropped and counted.
        pub when: Option<Condition> = None,
    }
}

impl From<OpenObserveKeys> for SourceCommon {
    fn from(keys: OpenObserveKeys) -> Self {
        let OpenObserveKeys { attach, when } = keys;
        let (on_decode_error, invalid_utf8) = (OnDecodeError::Keep, InvalidUtf8::Replace);
        SourceCommon { decode: DecodeSetting::Text, on_decode_error, invalid_utf8, attach, when }
    }
}

config! {
    /// Rows of a stream of OpenObserve, or of a query, as events; those of a stream of metrics as metrics.
    pub struct OpenObserveSourceConfig {
        /// Address of the server, such as `http://localhost:5080`; with its prefix where it has one (`ZO_BASE_URI`).
        pub url: Spanned<String>,
        /// The organization.
        pub organization: Spanned<String> = Spanned::new("default".into(), Default::default()),
        /// Credentials of a user, not of an ingestion token.
        pub auth: Option<AuthConfig> = None,
        /// The stream, all of whose columns are read.
        pub stream: Option<Spanned<String>> = None,
        /// What the stream holds.
        pub stream_type: StreamType = StreamType::Logs,
        /// A query in place of a stream, whose rows are events: with `_timestamp`, without groups, sums, an order or a limit.
        pub query: Option<Spanned<String>> = None,
        /// Where the time range begins: `-1h`, `now`, or as RFC 3339.
        pub from: Spanned<String> = Spanned::new("-1h".into(), Default::default()),
        /// Where it ends; this time does not belong to it. Left out: now.
        pub to: Option<Spanned<String>> = None,
        /// Go on with rows as they come.
        pub follow: bool = false,
        /// With `follow`: how often it is asked.
        pub every: Duration = Duration::from_secs(10),
        /// With `follow`: how late rows may come.
        pub late: Duration = Duration::from_secs(300),
        /// What all sources have.
        flatten pub common: CommonBy<OpenObserveKeys>,
        /// How requests travel.
        flatten pub client: ClientConfig,
    }
}

impl SourcePlan for OpenObserveSourceConfig {
    fn common(&self) -> &SourceCommon {
        &self.common
    }

    fn check(&self, cx: &mut Reader<'_>) {
        let own = (&["/api", "/api/"][..], "the path `/api/…` is made of `organization`");
        check_server(cx, "url", &self.url, "http://localhost:5080", own);
        self.client.check(cx);
        self.client.check_headers(cx);
        if let Some(auth) = &self.auth {
            auth.check(cx);
        }
        match (&self.stream, &self.query) {
            (None, None) => {
                let what = format!("`stream` or `query` is missing{}", cx.place());
                cx.error_at("", what);
            }
            (Some(_), Some(query)) => {
                cx.error(query.span, format!("`query`{} stands beside `stream`: one of them", cx.place()));
            }
            (None, Some(query)) if !sql::is_of_events(&query.value) => {
                let what = format!(
                    "the rows of `query`{} are not events: it has groups, sums, an order or a limit",
                    cx.place()
                );
                cx.error(query.span, what).help("`SELECT * FROM \"logs\" WHERE level = 'error'` is one whose rows are");
            }
            _ => {}
        }
        let now = clock::now_ns() / 1000;
        for time in [Some(&self.from), self.to.as_ref()].into_iter().flatten() {
            if let Err(why) = parse_time(&time.value, now) {
                cx.error(time.span, why);
            }
        }
        if let Some(to) = self.to.as_ref().filter(|_| self.follow) {
            cx.error(to.span, format!("`to`{} does not go with `follow`, which has no end", cx.place()));
        }
    }

    fn build(self: Box<Self>, cx: &BuildContext) -> Result<SourceRun, BuildError> {
        if cx.once && self.follow {
            return Err(BuildError::config("it follows, so `--once` would run for ever; leave `follow` out"));
        }
        let mut secrets = self.auth.as_ref().map(|auth| auth.secrets()).unwrap_or_default();
        secrets.extend(self.client.secrets());
        let client = Client::prepare(&self.url, &self.organization, self.auth.as_ref(), &self.client, &secrets)?;
        let origin = Arc::new(Origin { source: cx.id.clone(), host: Some(cx.host.clone()), ..Origin::default() });
        let file = cx.data_dir.join(&*cx.id).join("openobserve.json");
        Ok(SourceRun::Thread(Box::new(move |cx| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|e| RunError::failed(format!("it cannot be started: {e}")))?;
            let place = Place::read(file, &self)?;
            let mut run = Run { config: &self, client: &client, cx: &cx, origin, place, saved: None };
            runtime.block_on(run.all())
        })))
    }
}

/// How far it is, as it is kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Kept {
    /// The settings that it is of.
    settings: String,
    /// Microseconds since 1970 UTC: the beginning, the end where there is one, and what was asked for.
    from: i64,
    to: Option<i64>,
    next: i64,
    /// Rows of the time that is asked again: hash, time and how often.
    seen: Vec<(String, i64, u32)>,
}

struct Place {
    file: PathBuf,
    kept: Kept,
    seen: HashMap<u128, (i64, u32)>,
}

impl Place {
    /// The place that was kept, or the beginning.
    ///
    /// Errors: the file cannot be read.
    fn read(file: PathBuf, config: &OpenObserveSourceConfig) -> Result<Place, RunError> {
        let OpenObserveSourceConfig { url, organization, stream, stream_type, query, from, to, follow, .. } = config;
        let text = |text: &Option<Spanned<String>>| text.as_ref().map(|text| text.value.clone());
        let settings = serde_json::json!([
            url.value,
            organization.value,
            text(stream),
            stream_type.word(),
            text(query),
            from.value,
            text(to),
            follow
        ]);
        let settings = settings.to_string();
        let fail = |why: String| RunError::failed(format!("{}: {why}", file.display()));
        let kept: Option<Kept> = match std::fs::read(&file) {
            Ok(text) => Some(serde_json::from_slice(&text).map_err(|e| fail(format!("{e}; remove it to begin anew")))?),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(fail(e.to_string())),
        };
        if let Some(kept) = kept.filter(|kept| kept.settings == settings) {
            let hash = |text: &str| u128::from_str_radix(text, 16).ok();
            let seen = kept.seen.iter().filter_map(|(h, time, count)| Some((hash(h)?, (*time, *count)))).collect();
            return Ok(Place { file, kept, seen });
        }
        let now = clock::now_ns() / 1000;
        let from = parse_time(&from.value, now).map_err(fail)?;
        let to = match (to, follow) {
            (_, true) => None,
            (Some(to), _) => Some(parse_time(&to.value, now).map_err(fail)?),
            (None, _) => Some(now),
        };
        let kept = Kept { settings, from, to, next: from, seen: Vec::new() };
        Ok(Place { file, kept, seen: HashMap::new() })
    }

    fn save(&mut self) -> Result<(), RunError> {
        self.kept.seen =
            self.seen.iter().map(|(hash, (time, count))| (format!("{hash:032x}"), *time, *count)).collect();
        let text = serde_json::to_vec(&self.kept).unwrap_or_default();
        let dir = self.file.parent().unwrap_or(&self.file);
        let written = create_dir(dir).and_then(|()| replace_file(&self.file, &text));
        written.map_err(|e| RunError::failed(format!("{}: {e}", self.file.display())))
    }
}

/// Waits for the verdicts on the rows of a page.
#[derive(Default)]
struct Verdicts {
    /// Chunks that are open, and whether one has failed.
    open: Mutex<(usize, bool)>,
    changed: Notify,
}

impl Settled for Verdicts {
    fn settled(&self, _token: u64, verdict: Verdict) {
        let mut open = self.open.locked();
        open.0 -= 1;
        open.1 |= verdict == Verdict::Failed;
        self.changed.notify_one();
    }
}

/// What ends the source before its end.
enum Ended {
    /// The agent stops.
    Stopped,
    Failed(RunError),
}

impl From<RunError> for Ended {
    fn from(error: RunError) -> Self {
        Ended::Failed(error)
    }
}

/// Rows in a batch, and bytes of them, about.
const BATCH_ROWS: usize = 1000;
const BATCH_BYTES: usize = 256 << 10;
/// How often the place is kept.
const SAVE: Duration = Duration::from_secs(1);
/// Longest wait for a server that fails.
const MAX_WAIT: Duration = Duration::from_secs(30);

struct Run<'r> {
    config: &'r OpenObserveSourceConfig,
    client: &'r Client,
    cx: &'r SourceContext,
    origin: Arc<Origin>,
    place: Place,
    /// When the place was kept.
    saved: Option<Instant>,
}

impl Run<'_> {
    async fn all(&mut self) -> Result<(), RunError> {
        let ended = self.rounds().await;
        self.place.save()?;
        match ended {
            Ok(()) | Err(Ended::Stopped) => Ok(()),
            Err(Ended::Failed(error)) => Err(error),
        }
    }

    /// Asks once, or again and again.
    async fn rounds(&mut self) -> Result<(), Ended> {
        let mut failed = 0u32;
        loop {
            let wait = match self.round().await {
                Ok(()) if !self.config.follow => return Ok(()),
                Ok(()) => {
                    failed = 0;
                    self.config.every
                }
                Err(Wrong::Ended(ended)) => return Err(ended),
                Err(Wrong::Query(error)) => {
                    let passes = matches!(&error, QueryError::Api(e) if e.status.is_none_or(|s| s >= 500 || matches!(s, 408 | 429)));
                    if !passes {
                        return Err(RunError::failed(error.to_string()).into());
                    }
                    failed += 1;
                    self.cx.counters.update(|t| t.error("query", 1));
                    tracing::warn!(source = %self.origin.source, %error, "the server is asked again");
                    MAX_WAIT.min(Duration::from_secs(1) * 2u32.saturating_pow(failed.min(6) - 1))
                }
            };
            tokio::select! {
                () = self.cx.shutdown.cancelled() => return Err(Ended::Stopped),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// From where it is to the end, or to now.
    async fn round(&mut self) -> Result<(), Wrong> {
        let kept = &self.place.kept;
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let (late, to) = match kept.to {
            Some(to) => (0, to),
            None => (micros(self.config.late), clock::now_ns() / 1000),
        };
        let range = Range { from: kept.next.saturating_sub(late).max(kept.from), to };
        if range.from >= range.to {
            return Ok(());
        }
        let Some(sql) = self.sql().await? else { return Ok(()) };
        let mut export = Export::new(self.client, &sql, self.config.stream_type.word(), range);
        loop {
            let page = tokio::select! {
                () = self.cx.shutdown.cancelled() => return Err(Ended::Stopped.into()),
                page = export.next() => page,
            };
            let page = match page {
                Ok(Some(page)) => page,
                Ok(None) => return Ok(()),
                // No event has made the stream yet.
                Err(QueryError::Api(error)) if error.code == Some(20002) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let here = self.give(&page).await?;
            self.place.kept.next = self.place.kept.next.max(page.next);
            if late > 0 {
                let oldest = self.place.kept.next.saturating_sub(late);
                self.place.seen.extend(here);
                self.place.seen.retain(|_, (time, _)| *time >= oldest);
            }
            if self.saved.is_none_or(|at| at.elapsed() >= SAVE) {
                self.place.save()?;
                self.saved = Some(clock::monotonic());
            }
        }
    }

    /// What is asked; `None` where the stream is not there, or has no columns.
    async fn sql(&self) -> Result<Option<String>, Wrong> {
        let Some(stream) = &self.config.stream else {
            let query = self.config.query.as_ref().map_or("", |query| query.value.as_str());
            return Ok(Some(sql::with_quoted_streams(query.trim().trim_end_matches(';'))));
        };
        let asked = [("type", self.config.stream_type.word())];
        match self.client.get(&["streams", &stream.value, "schema"], &asked).await {
            Ok(schema) => Ok(all_columns(&stream.value, &schema)),
            Err(error) if error.status == Some(404) => Ok(None),
            Err(error) => Err(QueryError::Api(error).into()),
        }
    }

    /// Hands on the rows of a page that are new, and waits until all are settled; how often each is there.
    async fn give(&mut self, page: &Page) -> Result<HashMap<u128, (i64, u32)>, Wrong> {
        let mut here: HashMap<u128, (i64, u32)> = HashMap::new();
        let verdicts = Arc::new(Verdicts::default());
        let (mut text, mut spans) = (Vec::new(), Vec::new());
        for row in page.rows() {
            if self.config.follow
                && let (Some(hash), Some(time)) = (hash_of(row), time_of(row))
            {
                let count = &mut here.entry(hash).or_insert((time, 0)).1;
                *count += 1;
                if self.place.seen.get(&hash).is_some_and(|(_, seen)| *count <= *seen) {
                    continue;
                }
            }
            let start = text.len();
            match self.config.stream_type {
                StreamType::Metrics if self.config.stream.is_some() => {
                    text.extend(metric_of(row, "gauge").map_err(RunError::failed)?);
                }
                _ => text.extend_from_slice(row),
            }
            spans.push((start, text.len()));
            if spans.len() >= BATCH_ROWS || text.len() >= BATCH_BYTES {
                self.send(std::mem::take(&mut text), &std::mem::take(&mut spans), &verdicts).await?;
            }
        }
        if !spans.is_empty() {
            self.send(text, &spans, &verdicts).await?;
        }
        loop {
            let (open, failed) = *verdicts.open.locked();
            match (open, failed) {
                (0, true) => return Err(RunError::failed("rows were not delivered; they are read again").into()),
                (0, false) => return Ok(here),
                _ => {}
            }
            tokio::select! {
                () = self.cx.deadline.cancelled() => return Err(Ended::Stopped.into()),
                () = verdicts.changed.notified() => {}
            }
        }
    }

    async fn send(&self, text: Vec<u8>, spans: &[(usize, usize)], verdicts: &Arc<Verdicts>) -> Result<(), Wrong> {
        verdicts.open.locked().0 += 1;
        let now = clock::now_ns();
        let mut batch = Batch::new(Slab::from_vec(text), self.origin.clone(), now, Ack::new(verdicts.clone(), 0));
        let mut rows = JsonRows::default();
        for (start, end) in spans {
            rows.push(&mut batch, *start, *end, 0).map_err(|_| RunError::failed("a row is not a JSON object"))?;
        }
        if self.config.stream_type == StreamType::Metrics && self.config.stream.is_some() {
            for row in 0..batch.rows() {
                batch.event_mut(row).set_kind(EventKind::Metric);
            }
        }
        let chunk = Chunk {
            text: Slab::default(),
            frames: Frames::Decoded(batch),
            origin: self.origin.clone(),
            offset: 0,
            received_at: now,
            ack: Ack::none(),
        };
        self.cx.output.send_async(chunk).await.map_err(|_| Ended::Stopped.into())
    }
}

/// What keeps a round from its end.
enum Wrong {
    Ended(Ended),
    Query(QueryError),
}

impl From<Ended> for Wrong {
    fn from(ended: Ended) -> Self {
        Wrong::Ended(ended)
    }
}

impl From<RunError> for Wrong {
    fn from(error: RunError) -> Self {
        Wrong::Ended(error.into())
    }
}

impl From<QueryError> for Wrong {
    fn from(error: QueryError) -> Self {
        Wrong::Query(error)
    }
}
