//! What a program that embeds the crate is given: pipelines from YAML or from code, components of its own in them, a run that
//! can be stopped, and the transforms over lines in memory. All else is the crate's own.

mod event;
mod own;

pub use event::{Event, EventChange, Events, Field};
pub use own::{Components, Fate, Feed, Sink, Source, Transform};

use crate::component::Chance;
use crate::error::chain;
use crate::event::Origin;
use crate::pipeline::{Config, Loaded, load_texts};
use crate::settings::{ProcessEnvironment, Report};
use crate::storage::data_dir::lock_data_dir;
use crate::sync::live::Live;
use crate::telemetry::RunLedger;
use crate::time::clock;
use crate::topology::{self, Inline, Remake};
use serde_json::{Map, Value as Json};
use std::fmt;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What keeps a configuration from being a pipeline: every mistake at its place, as `tidegate validate` shows them.
#[derive(Debug)]
pub struct Mistakes(Report);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.render())
    }
}

impl std::error::Error for Mistakes {}

/// What keeps a pipeline without mistakes from running here, in words, a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartError {
    /// The pipeline asks for what cannot be, on any host.
    Config(String),
    /// This host does not give what the pipeline asks for: a file, an address, a right, a thread.
    Host(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (StartError::Config(words) | StartError::Host(words)) = self;
        f.write_str(words)
    }
}

impl std::error::Error for StartError {}

impl From<Vec<topology::StartError>> for StartError {
    fn from(errors: Vec<topology::StartError>) -> Self {
        let words = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        match errors.iter().any(topology::StartError::is_config) {
            true => StartError::Config(words),
            false => StartError::Host(words),
        }
    }
}

/// A checked pipeline, ready to run.
#[derive(Debug)]
pub struct Pipeline {
    config: Config,
    once: bool,
    again: Again,
    stalled_after: Duration,
}

/// Reads the configuration once more.
struct Again(Remake);

impl fmt::Debug for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Again")
    }
}

impl Pipeline {
    /// Reads a configuration as `tidegate run` does; `${…}` is filled from the environment. Touches nothing outside but what
    /// `${file:…}` names.
    ///
    /// Errors: all mistakes, at their places.
    pub fn from_yaml(text: &str, components: &Components) -> Result<Pipeline, Mistakes> {
        Pipeline::read("pipeline.yaml", text, components)
    }

    /// Begins a pipeline in code.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn read(name: &str, text: &str, components: &Components) -> Result<Pipeline, Mistakes> {
        let Loaded { config, report, .. } = load_texts(&[(name, text)], &ProcessEnvironment, components.registry());
        let (name, text, components) = (name.to_owned(), text.to_owned(), components.clone());
        let again = move || {
            let Loaded { config, report, .. } =
                load_texts(&[(&name, &text)], &ProcessEnvironment, components.registry());
            config.ok_or_else(|| report.render())
        };
        let (again, stalled_after) = (Again(Arc::new(again)), crate::telemetry::watchdog::STALLED);
        config.map(|config| Pipeline { config, once: false, again, stalled_after }).ok_or(Mistakes(report))
    }

    /// A call of a component that has not returned for so long is named in the log; 60 s where this is left out.
    #[must_use]
    pub fn stalled_after(mut self, time: Duration) -> Self {
        self.stalled_after = time;
        self
    }

    /// Sources read what is there to its end and stop, as with `tidegate run --once`. Then the first component that fails ends
    /// the run.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.once = true;
        self
    }

    /// Runs the pipeline on threads of its own. Creates and locks `data_dir`. The agent's API and the ledger over restarts are the
    /// program's, not the library's; nor are signals watched.
    ///
    /// Errors: `data_dir` is in use, a component cannot start, or `api` is set.
    pub fn start(self) -> Result<Running, StartError> {
        if self.config.globals.api.is_some() {
            return Err(StartError::Config("`api` is served by the program `tidegate`; leave it out".into()));
        }
        let lock = lock_data_dir(&self.config.globals.data_dir).map_err(|e| StartError::Host(chain(&e)))?;
        let mut blueprint = topology::assemble(self.config, self.once)?;
        blueprint.upkeep.stalled_after = self.stalled_after;
        let remake = (!self.once).then_some(self.again.0);
        let (tell, told) = mpsc::channel();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(8).build();
            let ended = runtime.and_then(|runtime| {
                let ended = runtime.block_on(async {
                    let mut running = topology::start_supervised(blueprint, remake)?;
                    let tokens = (running.shutdown().clone(), running.deadline().clone());
                    // Nobody waits any more: then nobody wants to know.
                    drop(tell.send(Ok((tokens, running.ledger.clone()))));
                    Ok(running.wait().await)
                });
                runtime.shutdown_timeout(std::time::Duration::from_millis(100));
                ended
            });
            drop(lock);
            ended.unwrap_or_else(|error| {
                drop(tell.send(Err(error)));
                topology::Summary::default()
            })
        };
        let cannot = |error: std::io::Error| StartError::Host(format!("cannot start a thread: {error}"));
        let thread = std::thread::Builder::new().name("tidegate".into()).spawn(run).map_err(cannot)?;
        match told.recv() {
            Ok(Ok(((stop, leave), run_ledger))) => Ok(Running { stop, leave, run_ledger, thread }),
            Ok(Err(error)) => Err(cannot(error)),
            Err(_) => Err(StartError::Host("it ended at its start; this is a bug".into())),
        }
    }

    /// The pipeline without its sources and sinks: lines in, what reaches the sinks out. Reads the files that transforms name, and
    /// touches nothing else.
    ///
    /// Errors: a transform cannot be made.
    pub fn in_memory(self) -> Result<InMemory, StartError> {
        Ok(InMemory { inline: Inline::new(self.config, Chance::Random)? })
    }
}

/// A pipeline that is written in code. Settings are as in YAML: `json!({"type": "filter", "inputs": ["in"], "when": "n > 1"})`.
#[derive(Debug, Default, Clone)]
#[must_use]
pub struct Builder(Map<String, Json>);

impl Builder {
    /// A setting of the agent itself: `data_dir`, `memory_limit`, `threads`, …
    pub fn set(mut self, key: &str, value: impl Into<Json>) -> Self {
        self.0.insert(key.into(), value.into());
        self
    }

    /// A source with this id.
    pub fn source(self, id: &str, settings: Json) -> Self {
        self.component("sources", id, settings)
    }

    /// A transform with this id.
    pub fn transform(self, id: &str, settings: Json) -> Self {
        self.component("transforms", id, settings)
    }

    /// A sink with this id.
    pub fn sink(self, id: &str, settings: Json) -> Self {
        self.component("sinks", id, settings)
    }

    fn component(mut self, section: &str, id: &str, settings: Json) -> Self {
        if let Json::Object(components) = self.0.entry(section).or_insert_with(|| Json::Object(Map::new())) {
            components.insert(id.into(), settings);
        }
        self
    }

    /// Checks the pipeline.
    ///
    /// Errors: all mistakes, at their places in the pipeline as JSON.
    pub fn build(self, components: &Components) -> Result<Pipeline, Mistakes> {
        // JSON is YAML; with its lines, so that a mistake is shown with what stands around it.
        Pipeline::read("pipeline.json", &format!("{:#}", Json::Object(self.0)), components)
    }
}

/// A pipeline that runs. Dropped, it goes on until it comes to its end by itself.
pub struct Running {
    stop: CancellationToken,
    leave: CancellationToken,
    run_ledger: Live<RunLedger>,
    thread: JoinHandle<topology::Summary>,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.totals()).finish()
    }
}

impl Running {
    /// Tells the sources to stop; what is on its way is delivered, for `shutdown_timeout` at most. Does not wait.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Leaves at once what is not delivered. Does not wait.
    pub fn abort(&self) {
        self.stop.cancel();
        self.leave.cancel();
    }

    /// What each component has counted so far, in the order of the graph.
    pub fn totals(&self) -> Vec<Totals> {
        totals(&self.run_ledger.now())
    }

    /// Waits for the end: all sources have come to theirs, or [`stop`](Running::stop) was called.
    pub fn wait(self) -> Outcome {
        let summary = self.thread.join().unwrap_or_else(|_| topology::Summary {
            failed: vec![("pipeline".into(), "it panicked; this is a bug".into())],
            ..topology::Summary::default()
        });
        Outcome {
            failed: summary.failed,
            timed_out: summary.timed_out || summary.stuck > 0,
            totals: totals(&self.run_ledger.now()),
        }
    }
}

/// What a component has counted: `in + created = out + dropped + rejected + held`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Its id.
    pub component: String,
    /// Events taken in.
    pub events_in: u64,
    /// Events made beyond those.
    pub created: u64,
    /// Events put out, or delivered.
    pub out: u64,
    /// Events that ended by policy, or were given up.
    pub dropped: u64,
    /// Events that left by `rejected`, or went to a dead letter.
    pub rejected: u64,
    /// Events that it has and is not done with.
    pub held: u64,
}

fn totals(run_ledger: &RunLedger) -> Vec<Totals> {
    let total = |line: crate::telemetry::LedgerLine| Totals {
        events_in: line.r#in,
        created: line.created,
        out: line.out,
        dropped: line.dropped.values().sum(),
        rejected: line.rejected.values().sum(),
        held: line.held,
        component: line.component,
    };
    run_ledger.ledger().into_iter().map(total).collect()
}

/// How a run ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Outcome {
    /// Components that failed, and why.
    pub failed: Vec<(String, String)>,
    /// Draining took longer than allowed, or was ended.
    pub timed_out: bool,
    /// What each component has counted.
    pub totals: Vec<Totals>,
}

impl Outcome {
    /// Whether nothing failed and nothing is left undelivered.
    pub fn is_good(&self) -> bool {
        self.failed.is_empty() && !self.timed_out && self.totals.iter().all(|totals| totals.held == 0)
    }
}

/// A pipeline over lines in memory: each line goes the whole way before the next.
pub struct InMemory {
    inline: Inline,
}

impl fmt::Debug for InMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.inline.sources()).finish()
    }
}

/// Events that reached a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// The sink's id.
    pub sink: String,
    /// The events as JSON, in order.
    pub events: Vec<String>,
}

impl InMemory {
    /// What reaches the sinks of a line of this source, in the order of the graph; `None` where there is no such source. A sink's
    /// `when` counts, its `dead_letter` does not.
    pub fn line(&mut self, source: &str, line: &str) -> Option<Vec<Reached>> {
        let now = clock::now_ns();
        let (batch, rejected) = self.inline.decode(source, line, Origin::of_source(source), now)?;
        let mut enter = vec![(source.to_owned(), batch)];
        enter.extend(rejected.map(|batch| (format!("{source}.rejected"), batch)));
        Some(reached(self.inline.run(enter, now, false)))
    }

    /// What reaches the sinks of what transforms still hold (`join`).
    pub fn finish(&mut self) -> Vec<Reached> {
        reached(self.inline.run(Vec::new(), clock::now_ns(), true))
    }
}

/// What came to the sinks.
fn reached(stages: Vec<topology::Stage>) -> Vec<Reached> {
    let sinks = stages.into_iter().filter(|stage| stage.kind == crate::telemetry::ComponentKind::Sink);
    let reached = sinks.map(|stage| Reached {
        events: stage.out.iter().flat_map(|out| out.batches.iter().flat_map(own::texts)).collect(),
        sink: stage.id,
    });
    reached.filter(|reached| !reached.events.is_empty()).collect()
}
