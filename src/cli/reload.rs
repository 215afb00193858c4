//! Signals, and a configuration that changes while the agent runs.
//!
//! SIGTERM and SIGINT stop; a second one ends at once. SIGHUP, and with `--watch-config` a changed file, read the
//! configuration again. One with mistakes changes nothing: they are printed, and the old one goes on. A good one takes over as
//! at a restart: sources stop, what is on its way is delivered within `shutdown_timeout`, checkpoints and disk buffers are
//! kept, and the new graph goes on from there, in the same process. If it cannot be started (a port in use, a folder that may
//! not be written) the old one is started again.

use super::ConfigArgs;
use super::service::Service;
use crate::component::Successors;
use crate::config::{Config, Kind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Name and text of each file.
pub(super) type Texts = Vec<(String, String)>;

/// How often a watched configuration is looked at. A change counts when two looks agree, so that a file is whole.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Signals to stop that come so soon one after the other are one.
const ONE_SIGNAL: Duration = Duration::from_millis(300);

/// What the agent is told from outside while it runs.
pub(super) struct Control {
    term: Signal,
    int: Signal,
    hup: Signal,
    args: ConfigArgs,
    watch: bool,
    once: bool,
    /// Who is told what happens.
    pub(super) service: Arc<Service>,
    /// As the files were when they were read last.
    seen: Vec<Stamp>,
    /// The configuration to go on with.
    pub(super) next: Option<(Config, Texts)>,
}

/// What of a file changes with its contents: path, time, size, inode.
type Stamp = (PathBuf, Option<SystemTime>, u64, u64);

impl Control {
    /// Takes over the signals. Must be called within the runtime.
    ///
    /// Errors: a signal cannot be watched.
    pub(super) fn new(args: ConfigArgs, watch: bool, once: bool) -> std::io::Result<Self> {
        let seen = stamps(&args.config);
        Ok(Control {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            args,
            watch: watch && !once,
            once,
            service: Arc::new(Service::of_environment()),
            seen,
            next: None,
        })
    }

    /// Watches one run of a graph; never ends by itself.
    pub(super) async fn attend(
        &mut self,
        shutdown: CancellationToken,
        deadline: CancellationToken,
        successors: Successors,
    ) {
        let mut stopping: Option<tokio::time::Instant> = None;
        let mut settled: Option<Vec<Stamp>> = None;
        loop {
            let may_reload = stopping.is_none() && self.next.is_none();
            let reload = tokio::select! {
                _ = self.term.recv() => false,
                _ = self.int.recv() => false,
                _ = self.hup.recv() => true,
                () = tokio::time::sleep(LOOK_EVERY), if self.watch && may_reload => {
                    let now = stamps(&self.args.config);
                    let changed = now != self.seen && settled.as_ref() == Some(&now);
                    settled = Some(now);
                    if !changed {
                        continue;
                    }
                    true
                }
            };
            match reload {
                true if self.once => tracing::info!("the configuration is not read again with --once"),
                true if may_reload => {
                    if self.read() {
                        successors.set(self.next.iter().flat_map(|(config, _)| sinks(config)).collect());
                        shutdown.cancel();
                    }
                }
                true => {}
                // One Ctrl-C may come twice: from the terminal and from what started us.
                false if stopping.is_some_and(|since| since.elapsed() < ONE_SIGNAL) => {}
                false if stopping.is_some() => {
                    tracing::warn!("ending at once");
                    deadline.cancel();
                }
                false => {
                    tracing::info!(
                        "stopping: sources first, then what is on its way is delivered; a second signal ends at once"
                    );
                    stopping = Some(tokio::time::Instant::now());
                    self.service.stopping();
                    self.next = None;
                    successors.set(Vec::new());
                    shutdown.cancel();
                }
            }
        }
    }

    /// Whether the run ends by itself once everything is delivered.
    pub(super) fn is_once(&self) -> bool {
        self.once
    }

    /// Reads the files again; whether the graph is to be built anew.
    fn read(&mut self) -> bool {
        self.seen = stamps(&self.args.config);
        match self.args.load_with_texts() {
            Ok(loaded) => {
                tracing::info!("the configuration is good and takes over");
                self.service.reloading();
                self.next = Some(loaded);
                true
            }
            Err(_) => {
                tracing::error!("the configuration has mistakes, see above; the one before goes on");
                false
            }
        }
    }
}

/// Id and type of each sink.
fn sinks(config: &Config) -> impl Iterator<Item = (String, &'static str)> {
    let sinks = config.components.iter().filter(|c| c.kind == Kind::Sink);
    sinks.map(|c| (c.id.value.clone(), c.type_name))
}

/// Stamps of the files, and of the files in folders.
fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    fn add(path: &Path, deep: bool, to: &mut Vec<Stamp>) {
        use std::os::unix::fs::MetadataExt as _;
        let meta = std::fs::metadata(path).ok();
        if deep && meta.as_ref().is_some_and(std::fs::Metadata::is_dir) {
            let mut inside: Vec<PathBuf> =
                std::fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path()).collect();
            inside.retain(|p| p.extension().is_some_and(|e| e == "yaml" || e == "yml"));
            inside.sort();
            inside.iter().for_each(|p| add(p, false, to));
            return;
        }
        let of = |meta: std::fs::Metadata| (path.to_owned(), meta.modified().ok(), meta.len(), meta.ino());
        to.push(meta.map_or_else(|| (path.to_owned(), None, 0, 0), of));
    }
    let mut found = Vec::new();
    paths.iter().for_each(|path| add(path, true, &mut found));
    found
}
