//! What the agent runs from, and how the last change of that went: shared by whoever changes it, the API and the metrics.

use crate::sync::live::Live;
use crate::time::{clock, write_rfc3339_utc};
use serde_json::{Value, json};
use std::fmt::Write as _;
use tokio::sync::{mpsc, oneshot};

/// How a reload went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// It has taken over.
    Ok,
    /// It means what it meant before.
    Unchanged,
    /// It has mistakes.
    Mistakes,
    /// It cannot be built on this host.
    Failed,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Outcome; 4] = [Outcome::Ok, Outcome::Unchanged, Outcome::Mistakes, Outcome::Failed];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Unchanged => "unchanged",
            Outcome::Mistakes => "mistakes",
            Outcome::Failed => "failed",
        }
    }
}

/// The last reload.
#[derive(Clone, Debug)]
pub struct Reload {
    /// When: nanoseconds since 1970 UTC.
    pub at: i64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// How it went.
    pub outcome: Outcome,
    /// In words: mistakes with their places, or why it could not be built.
    pub detail: String,
    /// Ids of components that go on.
    pub kept: Vec<String>,
    /// Ids of components with other settings, and which.
    pub changed: Vec<(String, Vec<String>)>,
    /// Ids of new ones.
    pub added: Vec<String>,
    /// Ids of those that are no more.
    pub removed: Vec<String>,
}

impl Reload {
    /// One that changed nothing.
    pub fn without_change(outcome: Outcome, began: std::time::Instant, detail: String) -> Reload {
        Reload {
            at: clock::now_ns(),
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            outcome,
            detail,
            kept: Vec::new(),
            changed: Vec::new(),
            added: Vec::new(),
            removed: Vec::new(),
        }
    }

    /// As the API says it.
    pub fn to_json(&self) -> Value {
        let changed: Vec<Value> = self.changed.iter().map(|(id, why)| json!({"id": id, "why": why})).collect();
        json!({
            "at": time(self.at), "took_ms": self.took_ms, "result": self.outcome.word(), "detail": self.detail,
            "kept": self.kept, "changed": changed, "added": self.added, "removed": self.removed,
        })
    }
}

fn time(ns: i64) -> String {
    let mut text = Vec::new();
    write_rfc3339_utc(ns, 3, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// What is known.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Hash of the configuration's text as it is written.
    pub hash: String,
    /// When it took over: nanoseconds since 1970 UTC.
    pub loaded_at: i64,
    /// The files it was read from.
    pub files: Vec<String>,
    /// The last reload.
    pub last: Option<Reload>,
    /// How many there were, by outcome, in the order of [`Outcome::ALL`].
    pub counts: [u64; 4],
}

impl State {
    /// As `GET /api/v1/config` says it.
    pub fn to_json(&self) -> Value {
        json!({
            "hash": self.hash, "loaded_at": time(self.loaded_at), "files": self.files,
            "last_reload": self.last.as_ref().map(Reload::to_json),
        })
    }

    /// As a part of the page of metrics.
    pub fn page(&self) -> String {
        let mut page = String::new();
        let head = |page: &mut String, name: &str, kind: &str, help: &str| {
            _ = writeln!(page, "# HELP tidegate_config_{name} {help}\n# TYPE tidegate_config_{name} {kind}");
        };
        head(&mut page, "info", "gauge", "The configuration that runs, by the hash of its text");
        _ = writeln!(page, "tidegate_config_info{{hash=\"{}\"}} 1", self.hash);
        if let Some(last) = &self.last {
            let good = u8::from(matches!(last.outcome, Outcome::Ok | Outcome::Unchanged));
            head(&mut page, "last_reload_success", "gauge", "Whether the last reload went well");
            _ = writeln!(page, "tidegate_config_last_reload_success {good}");
            head(&mut page, "last_reload_timestamp_seconds", "gauge", "When the last reload was");
            _ = writeln!(page, "tidegate_config_last_reload_timestamp_seconds {}", last.at as f64 / 1e9);
        }
        head(&mut page, "reloads_total", "counter", "Reloads, by result");
        for (outcome, n) in Outcome::ALL.iter().zip(self.counts) {
            _ = writeln!(page, "tidegate_config_reloads_total{{result=\"{}\"}} {n}", outcome.word());
        }
        page
    }
}

/// Who asks for a reload gets the result here.
pub type Asked = oneshot::Sender<Reload>;

/// Asks for reloads, and knows how they went.
#[derive(Clone)]
pub struct Reloads {
    state: Live<State>,
    ask: mpsc::Sender<Asked>,
}

/// Requests that may wait for their turn.
const WAITING: usize = 64;

impl Reloads {
    /// And where what is asked comes out.
    pub fn new() -> (Reloads, mpsc::Receiver<Asked>) {
        let (ask, asked) = mpsc::channel(WAITING);
        (Reloads { state: Live::default(), ask }, asked)
    }

    /// What is known now.
    pub fn now(&self) -> std::sync::Arc<State> {
        self.state.now()
    }

    /// Another configuration runs.
    pub fn runs(&self, hash: String, files: Vec<String>) {
        let state = State { hash, files, loaded_at: clock::now_ns(), ..(*self.now()).clone() };
        self.state.set(state);
    }

    /// A reload is over.
    pub fn note(&self, reload: Reload) {
        let mut state = (*self.now()).clone();
        if let Some(n) = Outcome::ALL.iter().position(|o| *o == reload.outcome) {
            state.counts[n] += 1;
        }
        state.last = Some(reload);
        self.state.set(state);
    }

    /// Asks for one and waits for its result; `None` where the agent stops meanwhile.
    pub async fn ask(&self) -> Option<Reload> {
        let (to, result) = oneshot::channel();
        self.ask.send(to).await.ok()?;
        result.await.ok()
    }
}
