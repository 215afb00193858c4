//! `tidegate run`.

use super::history::History;
use super::reload::Control;
use super::served_api::{ReadyApi, ServedApi};
use super::terminal::{Progress, Stand};
use super::texts::{Texts, load_again};
use super::{ConfigFiles, Exit, memory, say, say_errors, say_line};
use crate::api::{Api, ApiAuth};
use crate::buffer::disk::tools;
use crate::error::chain;
use crate::http::{KnownText, basic};
use crate::ledger::{Keeper, RunEnd};
use crate::pipeline::{AnyPlan, Config, Globals, Loaded};
use crate::storage::data_dir::{Lock, lock_data_dir};
use crate::sync::live::Live;
use crate::telemetry::remarks::Remarks;
use crate::telemetry::{ComponentKind, LedgerLine, RunLedger, Totals};
use crate::text::escape::{Color, Page};
use crate::topology::reloads::Outcome;
use crate::topology::{self, Running, StartError, Summary};
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Arguments of `run`.
#[derive(Args, Debug)]
pub(super) struct RunArgs {
    #[command(flatten)]
    config: ConfigFiles,
    /// Read every source to its end, deliver, and exit: 0, or 1 if anything failed.
    #[arg(long)]
    once: bool,
    /// Read the configuration again when a file of it changes, as SIGHUP does.
    #[arg(long)]
    watch_config: bool,
}

/// Runs until told to stop, or until every source has ended.
pub(super) fn run(args: RunArgs) -> Exit {
    memory::few_heaps();
    let mut current = match args.config.args().load_with_texts() {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    if !args.once {
        current = match pinned(current) {
            Ok(loaded) => loaded,
            Err(exit) => return exit,
        };
    }
    // Sockets, timers and signals share one thread; work on events has its own threads.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(8).build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say_line!("error: cannot start the runtime: {error}");
            return Exit::Failed;
        }
    };
    let control = {
        let _inside = runtime.enter();
        Control::new(args.config.args(), args.watch_config, args.once)
    };
    let mut control = match control {
        Ok(control) => control,
        Err(error) => {
            say_line!("error: cannot watch signals: {error}");
            return Exit::Failed;
        }
    };
    // What ran before, should the configuration that takes over not start.
    let mut before: Option<Texts> = None;
    let mut lock: Option<(PathBuf, Arc<Lock>)> = None;
    let exit = loop {
        let (config, texts) = current;
        control.runs(texts);
        control.agent.clone_from(&config.agent);
        control.data_dir.clone_from(&config.globals.data_dir);
        let globals = config.globals.clone();
        report_orphans(&config);
        let ready = take_data_dir(&globals, &mut lock).and_then(|()| assembled(config, args.once));
        let ran = ready.and_then(|blueprint| {
            let lock = lock.as_ref().map(|(_, lock)| lock.clone());
            runtime.block_on(drive(blueprint, &globals, lock, &mut control)).map_err(|errors| (errors, false))
        });
        let exit = match ran {
            Ok((exit, run_ledger)) => {
                say_ledger(&run_ledger.ledger());
                exit
            }
            Err((errors, bad_config)) => {
                say_errors(&errors);
                if let Some(texts) = before.take()
                    && let (Loaded { config: Some(config), .. }, texts) = load_again(&texts)
                {
                    tracing::error!(
                        "the new configuration cannot be started; still running the previous configuration"
                    );
                    control.anew = None;
                    control.done_without_change(Outcome::Failed, errors.as_str().to_owned());
                    current = (config, texts);
                    continue;
                }
                break if bad_config { Exit::BadConfig } else { Exit::Failed };
            }
        };
        match control.next.take() {
            None => break exit,
            Some(next) => {
                before = Some(std::mem::take(&mut control.current));
                current = next;
                memory::give_back();
            }
        }
    };
    runtime.shutdown_timeout(std::time::Duration::from_millis(100));
    exit
}

/// The graph, ready to be started.
///
/// Errors: what is wrong, and whether it is the configuration.
fn assembled(config: Config, once: bool) -> Result<topology::Blueprint, (Page, bool)> {
    topology::assemble(config, once).map_err(|errors| {
        let bad_config = errors.iter().any(StartError::is_config);
        let mut page = Page::new();
        errors.iter().for_each(|error| writeln!(page, "error: {error}"));
        (page, bad_config)
    })
}

/// The configuration that is pinned in place of this one, or this one.
///
/// Errors: it has mistakes now, or cannot be read; that has been printed.
fn pinned((config, texts): (Config, Texts)) -> Result<(Config, Texts), Exit> {
    let data_dir = config.globals.data_dir.clone();
    History::of(&data_dir).in_place_of(config, texts).map_err(|_| {
        let pin = data_dir.join("config/pin.json");
        say_line!(
            "error: the pinned configuration cannot be used, see above; remove {} to run what the files say",
            pin.display()
        );
        Exit::BadConfig
    })
}

/// Makes the `data_dir` this agent's own, before anything opens what is in it; keeps the lock where it has it already.
fn take_data_dir(globals: &Globals, lock: &mut Option<(PathBuf, Arc<Lock>)>) -> Result<(), (Page, bool)> {
    if lock.as_ref().is_some_and(|(dir, _)| *dir == globals.data_dir) {
        return Ok(());
    }
    let taken = lock_data_dir(&globals.data_dir)
        .map_err(|error| (Page::of_line(format_args!("error: {}", chain(&error))), false))?;
    *lock = Some((globals.data_dir.clone(), Arc::new(taken)));
    Ok(())
}

/// Says which disk buffers in `data_dir` hold events that no sink will deliver.
fn report_orphans(config: &Config) {
    let owners: Vec<&str> = config
        .components
        .iter()
        .filter(|c| matches!(&c.plan, AnyPlan::Sink(plan) if plan.common().buffer.disk().is_some()))
        .map(|c| &*c.id.value)
        .collect();
    let data_dir = &config.globals.data_dir;
    match tools::orphans(data_dir, &owners) {
        Ok(orphans) => {
            for (id, events) in orphans {
                tracing::warn!(
                    sink = %id, events, data_dir = %data_dir.display(),
                    "a disk buffer belongs to no sink: its events are not delivered; give a sink this id and a disk \
                     buffer, or look into it with `tidegate buffer` (cat, export, drop)"
                );
            }
        }
        Err(error) => {
            tracing::warn!(data_dir = %data_dir.display(), %error, "cannot look for disk buffers without a sink")
        }
    }
}

/// Runs a graph to its end.
///
/// Errors: it could not be started.
async fn drive(
    blueprint: topology::Blueprint,
    globals: &Globals,
    lock: Option<Arc<Lock>>,
    control: &mut Control,
) -> Result<(Exit, Arc<RunLedger>), Page> {
    // A port in use must not be found out when events are on their way.
    let ready = globals.api.as_ref().map(|api| ReadyApi::new(api, None)).transpose();
    let ready = ready.map_err(|error| Page::of_line(format_args!("error: {}", chain(&error))))?;
    let mut running = topology::start_supervised(blueprint, control.remake())
        .map_err(|error| Page::of_line(format_args!("error: cannot start a thread: {error}")))?;
    let ledger = keep_ledger(&globals.data_dir, running.ledger.clone(), lock);
    let served = ready.zip(globals.api.as_ref()).map(|(ready, config)| {
        ServedApi::start(ready, api_of(&running, config, ledger.as_ref(), control), &globals.data_dir)
    });
    let mut served = served.transpose().map_err(|error| Page::of_line(format_args!("error: the API: {error}")))?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), components = running.ledger.now().components.len(), "running");
    control.keep(&globals.data_dir).await;
    let service = control.service.clone();
    service.ready();
    if let Some(why) = control.anew.take() {
        control.done_without_change(Outcome::Ok, format!("all of the graph started anew: {why}"));
    }
    let (run_ledger, mut remarks) = (running.ledger.clone(), Remarks::default());
    let (mut progress, followed) =
        (Progress::new(super::logging::is_json()), (control.is_once(), globals.shutdown_timeout));
    let summary = loop {
        let (shutdown, deadline) = (running.shutdown().clone(), running.deadline().clone());
        let stops = shutdown.clone();
        let successors = running.successors().clone();
        tokio::select! {
            summary = running.wait() => break summary,
            () = control.attend(shutdown, deadline, successors) => {}
            () = remarks.run(&run_ledger) => {}
            () = service.run(&run_ledger) => {}
            () = show_progress(&mut progress, &run_ledger, &stops, followed) => {}
        }
        if let Some(next) = control.read.take() {
            take_over(&mut running, next, control, (&mut served, ledger.as_ref())).await;
            service.ready();
        }
    };
    drop(progress);
    let run_ledger = run_ledger.now();
    remarks.finish(&run_ledger);
    if let Some(served) = served {
        served.end().await;
    }
    if let Some(ledger) = &ledger {
        // What a disk buffer has lost without knowing it is counted by then, however short the run was.
        ledger.keeper.now();
    }
    let exit = judge(&summary, &run_ledger, control.is_once());
    if let Some(ledger) = ledger {
        ledger.end(if summary.failed.is_empty() && !summary.timed_out { RunEnd::AtRest } else { RunEnd::Early });
    }
    Ok((exit, run_ledger))
}

/// Lets the graph that runs take over another configuration: only what has changed starts anew. Where that cannot be, all of it
/// does, which stops this graph. What cannot be built changes nothing.
async fn take_over(
    running: &mut Running,
    (config, texts): (Config, Texts),
    control: &mut Control,
    (served, ledger): (&mut Option<ServedApi>, Option<&Kept>),
) {
    let data_dir = control.data_dir.clone();
    let data_dir = data_dir.as_path();
    let began = std::time::Instant::now();
    let comparison = topology::compare(running, &control.agent, &config);
    let agent = config.agent.clone();
    if comparison.is_nothing() {
        tracing::info!("the configuration means what it meant before: nothing changes");
        control.runs(texts);
        control.keep(data_dir).await;
        control.done_without_change(Outcome::Unchanged, String::new());
        return;
    }
    if let Some(why) = &comparison.anew {
        tracing::info!(why, "all of the graph starts anew");
        control.anew = Some(why.clone());
        running.successors().set(super::reload::sinks(&config).collect());
        control.next = Some((config, texts));
        running.shutdown().cancel();
        return;
    }
    let (compared, api_config) = (comparison.clone(), config.globals.api.clone());
    let is_new_api = comparison.agent.contains("api");
    let ready = api_config.as_ref().filter(|_| is_new_api).map(|api| ReadyApi::new(api, served.as_ref())).transpose();
    let ready = match ready {
        Ok(ready) => ready,
        Err(error) => return refused(control, Page::of_line(format_args!("error: {}", chain(&error)))),
    };
    let sinks = super::reload::sinks(&config).collect();
    let counters = topology::counters_of(running, &config);
    // Tables and patterns take time to build, and sockets are served meanwhile.
    let built = tokio::task::spawn_blocking(move || topology::build_beside(config, comparison, counters)).await;
    let beside = match built {
        Ok(Ok(beside)) => beside,
        Ok(Err(errors)) => {
            let mut page = Page::new();
            errors.iter().for_each(|error| writeln!(page, "error: {error}"));
            say_errors(&page);
            tracing::error!(
                "the new configuration cannot be started, see above; still running the previous configuration"
            );
            control.done_without_change(Outcome::Failed, page.as_str().to_owned());
            return;
        }
        Err(error) => {
            tracing::error!(%error, "the new configuration cannot be built: this is a bug; still running the previous configuration");
            control.done_without_change(Outcome::Failed, error.to_string());
            return;
        }
    };
    running.successors().set(sinks);
    match running.change(beside) {
        Ok(()) => {
            tracing::info!(took_ms = began.elapsed().as_millis(), "the configuration has taken over: {compared}");
            control.agent = agent;
            if is_new_api {
                let api = ready.zip(api_config).map(|(ready, config)| {
                    ServedApi::start(ready, api_of(running, &config, ledger, control), data_dir)
                });
                swap_api(served, api);
            }
            control.runs(texts);
            control.keep(data_dir).await;
            control.done_with(&compared);
        }
        Err(error) => {
            tracing::error!(%error, "a thread cannot be started; the agent stops");
            control.done_without_change(Outcome::Failed, error.to_string());
            running.shutdown().cancel();
        }
    }
}

/// Says why a configuration cannot take over. Nothing has changed.
fn refused(control: &mut Control, page: Page) {
    say_errors(&page);
    tracing::error!("the new configuration cannot be started, see above; still running the previous configuration");
    control.done_without_change(Outcome::Failed, page.as_str().to_owned());
}

/// Serves another API in the place of one, or none.
fn swap_api(served: &mut Option<ServedApi>, next: Option<std::io::Result<ServedApi>>) {
    let next = next.transpose().unwrap_or_else(|error| {
        tracing::error!(%error, "the API cannot be served");
        None
    });
    let is_replaced = next.is_some();
    match std::mem::replace(served, next) {
        Some(before) if is_replaced => before.replaced(),
        Some(before) => drop(tokio::spawn(before.end())),
        None => {}
    }
}

/// The ledger, and the thread that writes it.
struct Kept {
    keeper: Arc<Keeper>,
    stop: crossbeam_channel::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Kept {
    fn end(self, how: RunEnd) {
        drop(self.stop);
        drop(self.thread.join());
        match self.keeper.end(how) {
            Ok(ledger) => {
                for fault in ledger.faults() {
                    tracing::error!(%fault, "the ledger does not balance: this is a bug; `tidegate audit` shows all of it");
                }
            }
            Err(error) => tracing::error!(%error, "the ledger cannot be written"),
        }
    }
}

/// Begins a run in the ledger. An agent whose ledger cannot be written runs all the same.
fn keep_ledger(data_dir: &std::path::Path, run_ledger: Live<RunLedger>, lock: Option<Arc<Lock>>) -> Option<Kept> {
    let keeper = match Keeper::open(data_dir, run_ledger, lock) {
        Ok(keeper) => keeper,
        Err(error) => {
            tracing::error!(%error, "no ledger is kept over restarts");
            return None;
        }
    };
    let (stop, stopped) = crossbeam_channel::bounded(0);
    let writing = keeper.clone();
    let thread = std::thread::Builder::new().name("ledger".into()).spawn(move || writing.run(&stopped));
    match thread {
        Ok(thread) => Some(Kept { keeper, stop, thread }),
        Err(error) => {
            tracing::error!(%error, "no ledger is kept over restarts");
            None
        }
    }
}

/// Whether the run was a success, and says what was left and what was lost. `once`: it was to deliver everything.
fn judge(summary: &Summary, run_ledger: &RunLedger, once: bool) -> Exit {
    for (component, error) in &summary.failed {
        tracing::error!(%component, %error, "failed");
    }
    if summary.stuck > 0 {
        tracing::error!(
            parts = summary.stuck,
            "parts of the agent do not end and are left behind; what they hold is not delivered"
        );
    }
    let mut good = summary.failed.is_empty() && summary.stuck == 0;
    for counters in &run_ledger.components {
        let totals = counters.snapshot();
        // What a disk buffer has is safe and goes out after the next start; the rest is in memory and ends with it.
        let on_disk = totals.on_disk().min(totals.held);
        let in_memory = totals.held - on_disk;
        good &= in_memory == 0;
        if in_memory > 0 || summary.timed_out && on_disk > 0 {
            tracing::warn!(
                component = %counters.id, events = totals.held, on_disk, in_memory,
                "left undelivered at shutdown: what is on disk goes out after the next start; of what was in memory, sources read again what they can"
            );
        }
        let lost = lost(counters.kind, &totals);
        if once && lost > 0 {
            good = false;
            tracing::error!(component = %counters.id, events = lost, "could not be delivered, and there is no `dead_letter` to keep it");
        }
    }
    // Found damaged or missing in a disk buffer: said when it was found.
    let corrupt = run_ledger.components.iter().any(|c| c.snapshot().dropped.contains_key("corrupt"));
    if good && !corrupt { Exit::Done } else { Exit::Failed }
}

/// Events that a sink gave up, where nobody has asked for that.
fn lost(kind: ComponentKind, totals: &Totals) -> u64 {
    let asked_for = |reason: &str| matches!(reason, "filtered" | "buffer_full" | "max_age" | "stale" | "already_held");
    let given_up = totals.dropped.iter().filter(|(reason, _)| !asked_for(reason));
    if kind == ComponentKind::Sink { given_up.map(|(_, events)| events).sum() } else { 0 }
}

fn api_of(running: &Running, config: &crate::pipeline::ApiConfig, ledger: Option<&Kept>, control: &Control) -> Api {
    let auth = config.auth.as_ref().map_or_else(ApiAuth::default, |auth| ApiAuth {
        basic: auth.basic.as_ref().map(|b| KnownText::of(basic(&b.user, b.password.reveal()).as_bytes())),
        bearer: auth.bearer.iter().map(|t| KnownText::of(t.reveal().as_bytes())).collect(),
    });
    Api {
        run_ledger: running.ledger.clone(),
        health: running.health.clone(),
        auth,
        allowed_hosts: config.allowed_hosts.clone(),
        shutdown: running.shutdown().clone(),
        ledger: ledger.map(|l| l.keeper.clone()),
        reloads: Some(control.reloads.clone()),
        planner: Some(control.planner(running)),
        tapper: Some(tapper(running, config.tap.value)),
        queues: running.queues.clone(),
        stop: tokio_util::sync::CancellationToken::new(),
        own_token: None,
        planning: Arc::default(),
        scraped: Arc::default(),
    }
}

/// Opens taps on what runs.
fn tapper(running: &Running, mode: crate::pipeline::Tap) -> crate::api::Tapper {
    let hub = running.hub.clone();
    Arc::new(move |question, stalled| crate::view::open(&hub, mode, question, stalled))
}

/// Says the ledger: as a table, or, where the log is JSON, as a record of it for each component.
fn say_ledger(lines: &[LedgerLine]) {
    if !super::logging::is_json() {
        return say(&ledger_table(lines));
    }
    for line in lines {
        let text = |map: &std::collections::BTreeMap<&'static str, u64>| serde_json::to_string(map).unwrap_or_default();
        let (dropped, rejected, errors) = (text(&line.dropped), text(&line.rejected), text(&line.errors));
        let difference = line.difference as i64;
        tracing::info!(
            component = %line.component, kind = line.kind, r#in = line.r#in, created = line.created, out = line.out,
            dropped, rejected, errors, held = line.held, difference, "ledger"
        );
    }
}

/// The ledger as a table; on a terminal what to look at is coloured.
pub(super) fn ledger_table(lines: &[LedgerLine]) -> Page {
    let reasons = |map: &std::collections::BTreeMap<&'static str, u64>| {
        map.iter().map(|(reason, n)| format!("{reason} {n}")).collect::<Vec<_>>().join(", ")
    };
    let color = |color: Color| super::terminal::colors_stderr().then_some(color);
    let width = lines.iter().map(|l| l.component.len()).max().unwrap_or(0).max("component".len());
    let mut out = Page::new();
    let header = ["in", "created", "out", "dropped", "rejected", "held"];
    let has_errors = lines.iter().any(|l| l.errors.values().any(|n| *n > 0));
    let mut row = format!("{:width$}  {:9}", "component", "kind");
    for name in header.into_iter().chain(has_errors.then_some("errors")) {
        row.push_str(&format!(" {name:>10}"));
    }
    out.colored_line(color(Color::Bold), &row);
    for line in lines {
        let (dropped, rejected) = (line.dropped.values().sum::<u64>(), line.rejected.values().sum::<u64>());
        let mut row = format!("{:width$}  {:9}", line.component, line.kind);
        let errors = has_errors.then(|| line.errors.values().sum::<u64>());
        for n in [line.r#in, line.created, line.out, dropped, rejected, line.held].into_iter().chain(errors) {
            row.push_str(&format!(" {n:>10}"));
        }
        let kinds = reasons(&line.errors);
        let kinds = if kinds.is_empty() { kinds } else { format!("errors: {kinds}") };
        let why = [reasons(&line.dropped), reasons(&line.rejected), kinds];
        let why: Vec<&str> = why.iter().filter(|w| !w.is_empty()).map(String::as_str).collect();
        if !why.is_empty() {
            row.push_str(&format!("  ({})", why.join("; ")));
        }
        if line.difference != 0 {
            row.push_str(&format!("  DIFFERENCE {}: this is a bug", line.difference));
        }
        let worth = match line {
            _ if line.difference != 0 => Color::Red,
            _ if line.held > 0 || rejected > 0 => Color::Yellow,
            _ => Color::Plain,
        };
        out.colored_line(color(worth), &row);
    }
    out
}

/// Tells, on a terminal, how far a run to the end of everything has come, or a stop that waits; never ends.
async fn show_progress(
    progress: &mut Progress,
    run_ledger: &Live<RunLedger>,
    shutdown: &CancellationToken,
    (once, patience): (bool, Duration),
) {
    if !progress.shows() {
        std::future::pending::<()>().await;
    }
    let mut stopping = None;
    loop {
        tokio::time::sleep(Progress::every()).await;
        if shutdown.is_cancelled() {
            let since: std::time::Instant = *stopping.get_or_insert_with(std::time::Instant::now);
            let left = patience.saturating_sub(since.elapsed()).as_secs();
            let held: u64 = run_ledger.now().components.iter().map(|c| c.snapshot().held).sum();
            progress
                .put(&format!("stopping: {held} events are on their way, {left} s left; a second signal ends at once"));
        } else if once {
            progress.show("reading", || stand(&run_ledger.now()));
        }
    }
}

/// How far sources have come.
fn stand(run_ledger: &RunLedger) -> Stand {
    let mut stand = Stand::default();
    let (mut read, mut left) = (0, None);
    for counters in run_ledger.components.iter().filter(|c| c.kind == ComponentKind::Source) {
        let totals = counters.snapshot();
        stand.events += totals.events_out;
        if let Some(lag) = totals.gauges.get("file_lag_bytes") {
            read += totals.bytes_in;
            left = Some(left.unwrap_or(0) + *lag as u64);
        }
    }
    stand.bytes = left.map(|left| (read, read + left));
    stand
}
