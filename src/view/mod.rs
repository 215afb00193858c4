//! What is shown of events that pass.
//!
//! What [`crate::tap`] has copied is redacted as `api.tap` says, chosen by a condition, and written as lines of JSON: a fair sample of
//! each second.
//!
//! Each tap has a thread of its own, of the lowest priority, so that it takes what time the flow leaves: it redacts what was copied,
//! looks whether the condition holds for it as it is shown, and writes it. A reader that is slow misses events and is told how many;
//! one that has stopped reading for a minute is left.

mod cover;

use crate::condition::{Condition, Outcome};
use crate::event::{Batch, Value};
use crate::pipeline::Tap as Mode;
use crate::settings::mask_known;
use crate::tap::graph::{Patterns, input_point, output_point};
use crate::tap::{Asked, Candidate, Hub, Lines, Refused, Tap, What, bare_origin, sampler};
use crate::time::clock;
use base64::Engine;
use bytes::Bytes;
use cover::{Covers, covered, event_of};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::CancellationToken;

/// Events a second that are shown where nothing else is asked for, and at the most.
pub const DEFAULT_LIMIT: u64 = 100;
const MAX_LIMIT: u64 = 10_000;
/// Events a second of each point that a condition is tried on.
const EXAMINED: u64 = 4000;
/// Pieces of text on their way to the reader, and bytes of a piece.
const MAX_PIECES: usize = 64;
const PIECE: usize = 64 << 10;
/// Bytes of events that wait for the end of their second.
const MAX_POOL: usize = 4 << 20;
/// How long a reader may read nothing.
const PATIENCE: Duration = Duration::from_secs(60);
/// After the end of a window, so that what is on its way is there.
const GRACE_MS: u64 = 30;
/// How long what is left of a window is caught up with at its end.
const CATCHING_UP: Duration = Duration::from_millis(500);
/// How often it is looked whether anybody reads.
const LOOK: Duration = Duration::from_millis(200);
/// What was taken longer ago is not shown: what is known of the graph then may be forgotten.
const STALE_NS: i64 = 30_000_000_000;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    #[serde(default)]
    points: Vec<String>,
    #[serde(default, rename = "where")]
    condition: Option<String>,
    #[serde(default)]
    limit: Option<u64>,
    #[serde(default)]
    duration: Option<String>,
    #[serde(default)]
    pair: bool,
}

fn refused(status: u16, detail: String) -> (u16, Json) {
    (status, json!({"result": "failed", "detail": detail}))
}

/// Opens a tap as a question in JSON asks. `stalled` is cancelled when the reader has stopped reading for too long.
///
/// Errors: a status of HTTP, and words in JSON.
pub fn open(hub: &Arc<Hub>, mode: Mode, question: &[u8], stalled: CancellationToken) -> Result<Lines, (u16, Json)> {
    if mode == Mode::Off {
        return Err(refused(403, "`api.tap` is `off`: no event is shown".to_owned()));
    }
    let bad = |words: String| refused(400, words);
    let question: Question = match question.trim_ascii() {
        b"" => Question::default(),
        text => serde_json::from_slice(text).map_err(|e| bad(format!("the question cannot be read: {e}")))?,
    };
    let condition = question.condition.as_deref().filter(|text| !text.trim().is_empty());
    let condition = condition.map(Condition::parse).transpose().map_err(|e| {
        let help = e.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
        bad(format!("`where`: {e}{help}"))
    })?;
    let limit = question.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(bad(format!("`limit` is between 1 and {MAX_LIMIT}")));
    }
    let duration = question.duration.as_deref().map(|text| {
        crate::settings::parse_duration(text)
            .ok_or_else(|| bad(format!("`duration`: {text} is no duration such as 10s")))
    });
    let patterns = Patterns::new(&question.points).map_err(bad)?;
    let target = if condition.is_some() { EXAMINED } else { 4 * limit };
    let tap = hub.open(Asked { patterns, pairs: question.pair, target }).map_err(|why| match why {
        Refused::TooMany => refused(429, format!("there are {} taps already", crate::tap::MAX_TAPS)),
        Refused::NoPoints(unmet, points) => bad(no_points(&unmet, &points)),
    })?;
    let (to, lines) = mpsc::channel(MAX_PIECES);
    let until = duration.transpose()?.map(|duration| tap.began() + duration);
    let viewer = Viewer {
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
        mode,
        condition,
        covers: Covers::default(),
        points: BTreeMap::new(),
        window: 0,
        until,
        to,
        stalled,
        read_at: Instant::now(),
        tap,
    };
    let thread = std::thread::Builder::new().name("tap".into()).spawn(move || viewer.run());
    thread.map_err(|error| refused(503, format!("cannot start a thread: {error}")))?;
    Ok(lines)
}

fn no_points(unmet: &[String], points: &[String]) -> String {
    let near = |text: &String| {
        let best = points.iter().map(|point| (strsim::damerau_levenshtein(text, point), point)).min();
        best.filter(|(far, _)| *far <= 3).map(|(_, point)| format!(" (did you mean `{point}`?)")).unwrap_or_default()
    };
    let what: Vec<String> = unmet.iter().map(|text| format!("`{text}`{}", near(text))).collect();
    let what = if what.is_empty() { "nothing that was asked for".to_owned() } else { what.join(", ") };
    format!("{what} is no point of the graph that runs; there are: {}", points.join(", "))
}

/// A line that is to be shown.
struct Line {
    point: Arc<str>,
    at: i64,
    /// The share of events that was taken when it was.
    share: f64,
    text: Vec<u8>,
}

/// What is known of one point in the present second.
struct PointState {
    /// Events that passed.
    seen: u64,
    /// Of those: looked at.
    examined: u64,
    /// Of these the condition holds for.
    matched: u64,
    shown: u64,
    missed: u64,
    pool: Vec<Line>,
    pool_bytes: usize,
    /// All of the second before was shown: what comes is shown at once.
    is_quiet: bool,
    at_once: usize,
    /// The least share of the second.
    share: f64,
}

impl Default for PointState {
    fn default() -> PointState {
        PointState {
            seen: 0,
            examined: 0,
            matched: 0,
            shown: 0,
            missed: 0,
            pool: Vec::new(),
            pool_bytes: 0,
            is_quiet: false,
            at_once: 0,
            share: 1.0,
        }
    }
}

struct Viewer {
    tap: Tap,
    limit: usize,
    mode: Mode,
    condition: Option<Condition>,
    covers: Covers,
    points: BTreeMap<Arc<str>, PointState>,
    window: u64,
    until: Option<Instant>,
    to: mpsc::Sender<Bytes>,
    stalled: CancellationToken,
    /// When the reader had room last.
    read_at: Instant,
}

impl Viewer {
    fn run(mut self) {
        // Here that is the thread's own. Without it the tap is as quick, and disturbs more.
        #[cfg(target_os = "linux")]
        {
            _ = rustix::process::setpriority_process(None, 19);
        }
        loop {
            let now = Instant::now();
            let end = self.tap.began() + Duration::from_millis(sampler::end_of(self.window) + GRACE_MS);
            if self.until.is_some_and(|until| until <= now) || self.to.is_closed() || self.stalled.is_cancelled() {
                break;
            }
            let deadline = end.min(now + LOOK);
            if let Some(candidate) = self.tap.next(self.until.map_or(deadline, |until| until.min(deadline))) {
                if candidate.window > self.window {
                    self.end_window(candidate.window);
                }
                self.take(candidate);
            }
            if Instant::now() >= end {
                let later = self.take_waiting();
                self.end_window(self.window + 1);
                if let Some(later) = later {
                    if later.window > self.window {
                        self.end_window(later.window);
                    }
                    self.take(later);
                }
            }
        }
        if self.to.is_closed() || self.stalled.is_cancelled() {
            return;
        }
        // What was taken before the end.
        let until = Instant::now() + Duration::from_millis(GRACE_MS);
        while let Some(candidate) = if Instant::now() < until { self.tap.next(Instant::now()) } else { None } {
            self.take(candidate);
        }
        self.end_window(self.window + 1);
    }

    /// Takes what belongs to the window that ends, as far as there is time; gives the first that does not.
    fn take_waiting(&mut self) -> Option<Candidate> {
        let until = Instant::now() + CATCHING_UP;
        for _ in 0..self.tap.waiting() {
            if Instant::now() >= until {
                return None;
            }
            let candidate = self.tap.next(Instant::now())?;
            if candidate.window > self.window {
                return Some(candidate);
            }
            self.take(candidate);
        }
        None
    }

    /// Looks at what was taken.
    fn take(&mut self, candidate: Candidate) {
        let (point, share) = (candidate.point.clone(), candidate.share);
        if clock::now_ns().saturating_sub(candidate.at) > STALE_NS {
            self.points.entry(point).or_default().missed += 1;
            return;
        }
        let line = self.line(candidate);
        let part = self.limit.div_ceil(self.points.len().max(1));
        let state = self.points.entry(point).or_default();
        state.share = state.share.min(share);
        state.examined += 1;
        let Some(line) = line else { return };
        state.matched += 1;
        if state.is_quiet && share >= 1.0 && state.at_once < part.div_ceil(2) {
            state.at_once += 1;
            return self.send(vec![line]);
        }
        if state.pool_bytes + line.text.len() > MAX_POOL {
            state.missed += 1;
            return;
        }
        state.pool_bytes += line.text.len();
        state.pool.push(line);
    }

    /// The end of a second: what of it is shown, and how much there was.
    fn end_window(&mut self, next: u64) {
        self.window = next;
        let passed = self.tap.passed();
        for passed in &passed {
            let state = self.points.entry(passed.point.clone()).or_default();
            state.seen += passed.seen;
            state.missed += passed.lost;
        }
        let mut states: Vec<&mut PointState> = self.points.values_mut().collect();
        for state in &mut states {
            let least = state.share;
            // What was taken when more was taken counts for less.
            state.pool.retain(|line| line.share <= least || fastrand::f64() < least / line.share);
        }
        // Equal parts of the limit, and what one does not need goes to those that do.
        states.sort_by_key(|state| state.pool.len());
        let mut left = self.limit.saturating_sub(states.iter().map(|state| state.at_once).sum());
        let mut lines: Vec<Line> = Vec::new();
        let all = states.len();
        for (n, state) in states.into_iter().enumerate() {
            let part = left / (all - n);
            let is_whole = state.pool.len() <= part && state.share >= 1.0;
            if state.pool.len() > part {
                fastrand::shuffle(&mut state.pool);
                state.pool.truncate(part);
            }
            left -= state.pool.len();
            state.is_quiet = is_whole && state.seen <= self.limit as u64;
            lines.append(&mut state.pool);
        }
        lines.sort_by_key(|line| line.at);
        self.send(lines);
        self.tell_counts();
        self.points.retain(|point, state| state.missed > 0 || passed.iter().any(|p| p.point == *point));
    }

    fn tell_counts(&mut self) {
        let has_condition = self.condition.is_some();
        let mut text = Vec::new();
        for (point, state) in &self.points {
            let matched = if has_condition { state.matched } else { state.seen };
            let mut counts = json!({
                "point": &**point, "seen": state.seen, "matched": matched, "shown": state.shown, "missed": state.missed,
            });
            if has_condition && state.examined < state.seen {
                counts["examined"] = state.examined.into();
            }
            text.extend_from_slice(counts.to_string().as_bytes());
            text.push(b'\n');
        }
        let is_told = self.give(Bytes::from(text));
        for state in self.points.values_mut() {
            // What could not be told is told with the next.
            *state = match is_told {
                true => PointState { is_quiet: state.is_quiet, ..PointState::default() },
                false => {
                    PointState { pool: Vec::new(), pool_bytes: 0, at_once: 0, share: 1.0, ..std::mem::take(state) }
                }
            };
        }
    }

    /// Sends lines on; what the reader has no room for is missed.
    fn send(&mut self, lines: Vec<Line>) {
        let mut lines = lines.into_iter().peekable();
        while lines.peek().is_some() {
            let (mut piece, mut points) = (Vec::new(), Vec::new());
            while let Some(line) = lines.next_if(|_| piece.len() < PIECE) {
                piece.extend_from_slice(&line.text);
                points.push(line.point);
            }
            let is_sent = self.give(Bytes::from(piece));
            for point in points {
                let state = self.points.entry(point).or_default();
                if is_sent {
                    state.shown += 1;
                } else {
                    state.missed += 1;
                }
            }
        }
    }

    /// Whether there was room.
    fn give(&mut self, piece: Bytes) -> bool {
        if piece.is_empty() {
            return true;
        }
        match self.to.try_send(piece) {
            Ok(()) => {
                self.read_at = Instant::now();
                true
            }
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(_)) => {
                if self.read_at.elapsed() > PATIENCE {
                    self.stalled.cancel();
                }
                false
            }
        }
    }

    // ---- one event -------------------------------------------------------------------------------------------------

    /// What is shown of what was taken; none where the condition does not hold for it.
    fn line(&mut self, candidate: Candidate) -> Option<Line> {
        let Candidate { point, at, share, what, .. } = candidate;
        let mut text = b"{\"point\":".to_vec();
        Value::from(&*point).append_json(&mut text);
        text.extend_from_slice(b",\"at\":");
        Value::Timestamp(at).append_json(&mut text);
        let holds = match what {
            What::Event(event) => {
                let (event, json) = self.shown(&point, event)?;
                member("event", &json, &mut text);
                self.holds(&event)
            }
            What::Pair { before, after, output, dropped } => {
                let left = Arc::from(output_point(&point, &output));
                let (before, was) = self.shown(&Arc::from(input_point(&point)), before)?;
                let after = after.and_then(|after| self.shown(&left, after));
                member("before", &was, &mut text);
                member("after", after.as_ref().map_or(b"null", |(_, is)| is), &mut text);
                member("by", json!(&*point).to_string().as_bytes(), &mut text);
                if !output.is_empty() {
                    member("output", json!(&*output).to_string().as_bytes(), &mut text);
                }
                if !dropped.is_empty() {
                    member("dropped", json!(dropped.join(", ")).to_string().as_bytes(), &mut text);
                }
                self.holds(&before) || after.is_some_and(|(after, _)| self.holds(&after))
            }
            What::Body { method, url, body } => {
                let (event, json) = self.request(&point, &method, &url, &body);
                member("event", &json, &mut text);
                self.holds(&event)
            }
        };
        text.extend_from_slice(b"}\n");
        holds.then_some(Line { point, at, share, text })
    }

    /// An event as it is shown, and its JSON on one line; none where nothing of it is.
    fn shown(&mut self, point: &Arc<str>, mut event: Batch) -> Option<(Batch, Vec<u8>)> {
        if self.mode != Mode::Full {
            event.origin = bare_origin(&event.origin);
            let ways = self.tap.hub().ways();
            event = covered(event, self.covers.of(point, &ways));
        }
        let mut json = Vec::new();
        event.iter().next()?.write_json(&mut json);
        json.iter_mut().filter(|b| matches!(**b, b'\n' | b'\r')).for_each(|b| *b = b' ');
        if self.mode != Mode::Full {
            let text = String::from_utf8_lossy(&json);
            let masked = mask_known(&text);
            if masked != text {
                event = event_of(masked.as_bytes(), &event.origin, &event);
                json = masked.into_bytes();
            }
        }
        Some((event, json))
    }

    fn holds(&mut self, event: &Batch) -> bool {
        let Some(condition) = &mut self.condition else { return true };
        event.iter().next().is_some_and(|event| condition.evaluate(event) == Outcome::True)
    }

    /// A request as it is shown.
    fn request(&mut self, point: &Arc<str>, method: &str, url: &str, body: &Bytes) -> (Batch, Vec<u8>) {
        let origin = crate::event::Origin::of_source("");
        let empty = Batch::new(Default::default(), origin.clone(), clock::now_ns(), crate::ack::Ack::none());
        let mut shown = json!({"method": method, "url": url, "bytes": body.len()});
        match (std::str::from_utf8(body), self.mode) {
            (Ok(text), Mode::Full) => shown["body"] = text.into(),
            (Ok(text), _) => {
                let ways = self.tap.hub().ways();
                let redactors = self.covers.of(point, &ways);
                let mut redacted = |json: &[u8]| {
                    let event = covered(event_of(json, &origin, &empty), redactors);
                    let mut out = Vec::new();
                    event.iter().for_each(|event| event.write_json(&mut out));
                    out
                };
                shown["body"] = mask_known(&redacted_body(text, &mut redacted)).into();
                let url = redacted(json!({"message": url}).to_string().as_bytes());
                shown["url"] = mask_known(&message_of(&url)).into();
            }
            (Err(_), Mode::Full) => {
                shown["body"] = base64::engine::general_purpose::STANDARD.encode(body).into();
                shown["encoding"] = "base64".into();
            }
            (Err(_), _) => shown["body"] = "(not text: shown with `api.tap: full` alone)".into(),
        }
        let json = shown.to_string().into_bytes();
        (event_of(&json, &origin, &empty), json)
    }
}

/// A body of which each JSON object that is a line of its own, or else all of it, is redacted.
fn redacted_body(text: &str, redacted: &mut dyn FnMut(&[u8]) -> Vec<u8>) -> String {
    let is_object = |line: &str| line.starts_with('{') && line.ends_with('}');
    let lines = || text.split('\n');
    if lines().all(|line| line.is_empty() || is_object(line)) {
        let all: Vec<String> = lines()
            .map(|line| match line {
                "" => String::new(),
                line => String::from_utf8_lossy(&redacted(line.as_bytes())).into_owned(),
            })
            .collect();
        return all.join("\n");
    }
    match serde_json::from_str::<Json>(text) {
        Ok(Json::Array(items)) if items.iter().all(Json::is_object) => {
            let one = |item: &Json| String::from_utf8_lossy(&redacted(item.to_string().as_bytes())).into_owned();
            let all: Vec<String> = items.iter().map(one).collect();
            format!("[{}]", all.join(","))
        }
        Ok(value) => message_of(&redacted(json!({"message": value}).to_string().as_bytes())),
        Err(_) => message_of(&redacted(json!({"message": text}).to_string().as_bytes())),
    }
}

/// The text, or JSON, in an event's `message`.
fn message_of(json: &[u8]) -> String {
    let value: Json = serde_json::from_slice(json).unwrap_or_default();
    match value.get("message") {
        Some(Json::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

fn member(name: &str, json: &[u8], to: &mut Vec<u8>) {
    to.extend_from_slice(b",\"");
    to.extend_from_slice(name.as_bytes());
    to.extend_from_slice(b"\":");
    to.extend_from_slice(json);
}

#[cfg(test)]
mod tests;
