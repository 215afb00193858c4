//! Signals, and a configuration that changes while the agent runs.
//!
//! SIGTERM and SIGINT stop; a second one ends at once. SIGHUP, a request to the API and, with `--watch-config`, a changed file read
//! the configuration again. One with mistakes changes nothing: they are printed, and the old one goes on. A good one takes over:
//! what has changed starts anew, and nothing else ([`crate::topology::compare`]). Where all of the graph has to, it does as at a
//! restart, in the same process, and where that cannot be started (a port in use, a folder that may not be written) the old one
//! is started again.
//!
//! Files that `${file:…}` takes secrets from are watched always: when their contents have changed, the configuration that runs
//! takes over from itself, as it was read, with the new values.

use super::history::History;
use super::service::Service;
use super::texts::{SecretFile, Texts, load_again};
use super::{ConfigArgs, report_page, say_errors, say_report};
use crate::api::Planner;
use crate::component::Successors;
use crate::error::chain;
use crate::pipeline::{AgentPrint, Config};
use crate::sync::live::Live;
use crate::telemetry::ComponentKind;
use crate::topology::reloads::{Asked, Outcome, Reload, Reloads};
use crate::topology::{Comparison, Remake, Running};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

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
    /// How reloads went, for whoever looks.
    pub(super) reloads: Reloads,
    asked: mpsc::Receiver<Asked>,
    /// Who waits for the result of the reload that is being done.
    waiting: Vec<Asked>,
    /// When that began.
    began: std::time::Instant,
    /// All of the graph starts anew for it: why.
    pub(super) anew: Option<String>,
    /// Of the settings of the agent itself that are in force.
    pub(super) agent: AgentPrint,
    /// Where its state is kept, for as long as the process lives.
    pub(super) data_dir: PathBuf,
    /// A configuration that was read and is to take over.
    pub(super) read: Option<(Config, Texts)>,
    stopping: Option<tokio::time::Instant>,
    /// What the configuration that runs was read from.
    pub(super) current: Texts,
    /// Of its names and texts.
    hash: String,
    /// The same, for whoever reads it once more.
    shared: Live<Texts>,
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
        let (reloads, asked) = Reloads::new();
        Ok(Control {
            reloads,
            asked,
            waiting: Vec::new(),
            began: std::time::Instant::now(),
            anew: None,
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            args,
            watch: watch && !once,
            once,
            service: Arc::new(Service::of_environment()),
            seen,
            agent: AgentPrint::default(),
            data_dir: PathBuf::new(),
            read: None,
            stopping: None,
            current: Texts::default(),
            hash: String::new(),
            shared: Live::default(),
            next: None,
        })
    }

    /// Watches a graph that runs; ends when a configuration [was read](Control::read).
    pub(super) async fn attend(
        &mut self,
        shutdown: CancellationToken,
        deadline: CancellationToken,
        successors: Successors,
    ) {
        let mut settled: Option<Vec<Stamp>> = None;
        let mut secrets = SecretWatch::new(&self.current);
        loop {
            let may_reload = self.stopping.is_none() && self.next.is_none();
            let looks = (self.watch || !self.current.secrets.is_empty() && !self.once) && may_reload;
            let reload = tokio::select! {
                _ = self.term.recv() => false,
                _ = self.int.recv() => false,
                _ = self.hup.recv() => true,
                Some(asked) = self.asked.recv(), if may_reload => {
                    self.waiting.push(asked);
                    // Those that came together are one.
                    while let Ok(asked) = self.asked.try_recv() {
                        self.waiting.push(asked);
                    }
                    true
                }
                () = tokio::time::sleep(LOOK_EVERY), if looks => {
                    let now = if self.watch { stamps(&self.args.config) } else { Vec::new() };
                    let changed = self.watch && now != self.seen && settled.as_ref() == Some(&now);
                    if !changed {
                        settled = Some(now);
                        if secrets.have_changed(&self.current) && self.take_secrets() {
                            return;
                        }
                        continue;
                    }
                    let files = named(&changed_between(&self.seen, &now));
                    settled = Some(now);
                    tracing::info!(%files, "the configuration has changed and is read again");
                    true
                }
            };
            match reload {
                true if self.once => {
                    tracing::info!("the configuration is not read again with --once");
                    self.waiting.clear();
                }
                true if may_reload => {
                    if self.read() {
                        return;
                    }
                }
                true => {}
                // One Ctrl-C may come twice: from the terminal and from what started us.
                false if self.stopping.is_some_and(|since| since.elapsed() < ONE_SIGNAL) => {}
                false if self.stopping.is_some() => {
                    tracing::warn!("ending at once");
                    deadline.cancel();
                }
                false => {
                    tracing::info!(
                        "stopping: sources first, then what is on its way is delivered; a second signal ends at once"
                    );
                    self.stopping = Some(tokio::time::Instant::now());
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

    /// Reads the configuration that runs once more, with the secrets as they are now; whether the graph is to be built anew.
    fn take_secrets(&mut self) -> bool {
        self.began = std::time::Instant::now();
        let (loaded, texts) = load_again(&self.current);
        let Some(config) = loaded.config else {
            let mistakes = loaded.report.render();
            say_report(&loaded.report, &mistakes);
            tracing::error!(
                "the configuration has mistakes with the new secrets, see above; still running the previous configuration"
            );
            self.done_without_change(Outcome::Mistakes, mistakes);
            return false;
        };
        tracing::info!("a file with a secret has changed: what takes its value from there starts anew");
        self.read = Some((config, texts));
        true
    }

    /// Reads the files again; whether the graph is to be built anew.
    fn read(&mut self) -> bool {
        self.seen = stamps(&self.args.config);
        self.began = std::time::Instant::now();
        let loaded = self.args.load_or_say_why().map_err(|mistakes| mistakes.0).and_then(|(config, texts)| {
            let data_dir = &config.globals.data_dir;
            if *data_dir != self.data_dir {
                let mistake = super::plan::data_dir_changed(&self.data_dir, data_dir);
                say_errors(&report_page(&format!("{mistake}\n")));
                return Err(mistake);
            }
            History::of(&config.globals.data_dir).in_place_of(config, texts).map_err(|error| chain(&error))
        });
        match loaded {
            Ok(loaded) => {
                self.service.reloading();
                self.read = Some(loaded);
                true
            }
            Err(mistakes) => {
                let files = named(&self.args.config);
                tracing::error!(
                    %files,
                    "the configuration has mistakes, see above; still running the previous configuration"
                );
                self.done_without_change(Outcome::Mistakes, mistakes);
                false
            }
        }
    }

    /// A reload is over: those that wait for it hear of it.
    fn done(&mut self, reload: Reload) {
        self.waiting.drain(..).for_each(|asked| drop(asked.send(reload.clone())));
        self.reloads.note(reload);
    }

    /// The same, of one that changed nothing.
    pub(super) fn done_without_change(&mut self, outcome: Outcome, detail: String) {
        self.done(Reload::without_change(outcome, self.began, detail));
    }

    /// A reload has taken over.
    pub(super) fn done_with(&mut self, comparison: &Comparison) {
        let list = |ids: &std::collections::BTreeSet<String>| ids.iter().cloned().collect::<Vec<_>>();
        let own = list(&comparison.agent).join(", ");
        let detail = if own.is_empty() { own } else { format!("settings of the agent: {own}") };
        self.done(Reload {
            kept: list(&comparison.kept),
            changed: comparison.changed.clone().into_iter().collect(),
            added: list(&comparison.added),
            removed: list(&comparison.removed),
            ..Reload::without_change(Outcome::Ok, self.began, detail)
        });
    }

    /// This configuration runs from now on.
    pub(super) fn runs(&mut self, texts: Texts) {
        let mut all = Vec::new();
        for (name, text) in &texts.files {
            for part in [name, text] {
                all.extend_from_slice(part.as_bytes());
                all.push(0);
            }
        }
        let hash = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&all));
        self.hash.clone_from(&hash);
        self.reloads.runs(hash, texts.files.iter().map(|(name, _)| name.clone()).collect());
        self.shared.set(texts.clone());
        self.current = texts;
    }

    /// Keeps the configuration that runs, for `tidegate config history`. The disk is waited for elsewhere: sockets are served
    /// meanwhile.
    pub(super) async fn keep(&self, data_dir: &Path) {
        if self.once {
            return;
        }
        let (history, texts, hash) = (History::of(data_dir), self.current.clone(), self.hash.clone());
        drop(tokio::task::spawn_blocking(move || history.keep(&texts, &hash)).await);
    }

    /// Makes plans of what would change of what runs.
    pub(super) fn planner(&self, running: &Running) -> Planner {
        super::plan::planner(self.shared.clone(), running)
    }

    /// Reads the configuration that runs once more, for a part of it that begins again; none where nothing does (`--once`).
    pub(super) fn remake(&self) -> Option<Remake> {
        let texts = self.shared.clone();
        let remake = move || {
            let loaded = load_again(&texts.now()).0;
            loaded.config.ok_or_else(|| loaded.report.render())
        };
        (!self.once).then(|| Arc::new(remake) as Remake)
    }
}

/// Notices when contents of files with secrets change.
struct SecretWatch {
    /// As they were at the last look.
    seen: Vec<Stamp>,
    /// The last look at which they were other than before, and have not been read since.
    unsettled: bool,
}

impl SecretWatch {
    /// Whatever has changed since they were read is noticed too.
    fn new(texts: &Texts) -> Self {
        SecretWatch { seen: SecretWatch::stamps(texts), unsettled: true }
    }

    fn stamps(texts: &Texts) -> Vec<Stamp> {
        texts.secrets.iter().map(|file| stamp(&file.path)).collect()
    }

    /// Whether the contents of one are others than those that are in use, and were the same at two looks. Told once.
    fn have_changed(&mut self, texts: &Texts) -> bool {
        let now = SecretWatch::stamps(texts);
        if now != self.seen {
            (self.seen, self.unsettled) = (now, true);
            return false;
        }
        std::mem::take(&mut self.unsettled) && texts.secrets.iter().any(SecretFile::has_changed)
    }
}

/// Id and type of each sink.
pub(super) fn sinks(config: &Config) -> impl Iterator<Item = (String, &'static str)> {
    let sinks = config.components.iter().filter(|c| c.kind == ComponentKind::Sink);
    sinks.map(|c| (c.id.value.clone(), c.type_name))
}

/// The files that are new, gone or other than they were.
fn changed_between(before: &[Stamp], now: &[Stamp]) -> Vec<PathBuf> {
    let missing = |these: &[Stamp], those: &[Stamp]| -> Vec<PathBuf> {
        these.iter().filter(|stamp| !those.contains(stamp)).map(|stamp| stamp.0.clone()).collect()
    };
    let mut all = [missing(now, before), missing(before, now)].concat();
    all.sort();
    all.dedup();
    all
}

/// Names of files, one behind the other.
fn named(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// The stamp of a file; links are followed.
fn stamp(path: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt as _;
    let of = |meta: std::fs::Metadata| (path.to_owned(), meta.modified().ok(), meta.len(), meta.ino());
    std::fs::metadata(path).map_or_else(|_| (path.to_owned(), None, 0, 0), of)
}

/// Stamps of the files, and of the files in folders.
fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push(stamp(path));
            continue;
        }
        let inside = std::fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path());
        let mut inside: Vec<PathBuf> =
            inside.filter(|p| p.extension().is_some_and(|e| e == "yaml" || e == "yml")).collect();
        inside.sort();
        found.extend(inside.iter().map(|p| stamp(p)));
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::texts::Remembering;
    use super::*;
    use crate::settings::Environment as _;

    #[test]
    fn a_secret_has_changed_when_its_contents_have_at_two_looks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let put = |text: &str| {
            std::fs::write(dir.path().join("new"), text).unwrap();
            std::fs::rename(dir.path().join("new"), &path).unwrap();
        };
        put("one");
        let environment = Remembering::default();
        assert_eq!(environment.file(&path).unwrap(), "one");
        assert!(environment.file(Path::new("/nowhere/at/all")).is_err());
        let texts = Texts { secrets: environment.into_files(), ..Texts::default() };
        assert_eq!(texts.secrets.len(), 2);
        let mut watch = SecretWatch::new(&texts);
        let mut look = || watch.have_changed(&texts);
        assert_eq!([look(), look()], [false, false]);
        // Another file with the same contents.
        put("one");
        assert_eq!([look(), look(), look()], [false, false, false]);
        put("two");
        assert_eq!([look(), look(), look()], [false, true, false], "told once, and when it stays as it is");
        std::fs::remove_file(&path).unwrap();
        assert_eq!([look(), look(), look()], [false, false, false]);
        // Changed between reading the configuration and the first look.
        put("three");
        assert!(SecretWatch::new(&texts).have_changed(&texts));
    }
}
