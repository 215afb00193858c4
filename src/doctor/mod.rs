//! What on this host will lose data, and the fix: what `tidegate doctor` asks for.
//!
//! Each component examines what it knows of ([`SourcePlan::examine`](crate::component::plan::SourcePlan::examine),
//! [`SinkPlan::examine`](crate::component::plan::SinkPlan::examine)); what concerns the agent as a whole is in [`general`]. What is
//! made to try a folder is taken away again; nothing else is changed, and nothing is asked over the network but the clocks of
//! servers.

pub mod general;
pub mod logrotate;

use std::path::{Path, PathBuf};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Something will not work as it is meant to; nothing is lost by it alone.
    Warning,
    /// Data will be lost.
    Loss,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What is the matter, with names and numbers.
    pub what: String,
    /// What to do.
    pub fix: String,
}

impl Finding {
    /// Data will be lost.
    pub fn loss(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Finding { severity: Severity::Loss, what: what.into(), fix: fix.into() }
    }

    /// Something will not work as it is meant to.
    pub fn warning(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Finding { severity: Severity::Warning, what: what.into(), fix: fix.into() }
    }

    /// Worth knowing.
    pub fn note(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Finding { severity: Severity::Note, what: what.into(), fix: fix.into() }
    }
}

/// Facts of the host, read when asked for.
#[derive(Clone, Debug)]
pub struct Host {
    /// What stands for `/`: the host's own root where the agent runs in a container, a folder in tests.
    root: PathBuf,
    /// Most open files that the process may have.
    open_files: u64,
    /// Rules of logrotate, and mistakes in reading them.
    rotations: logrotate::Rotations,
}

impl Host {
    /// The host whose files are below `root`.
    pub fn read(root: &Path) -> Host {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        // The agent raises its own limit as far as it may.
        let open_files = limit.maximum.unwrap_or(u64::MAX);
        Host { root: root.to_owned(), open_files, rotations: logrotate::Rotations::read(root) }
    }

    /// The same with another limit of open files.
    #[must_use]
    pub fn with_open_files(self, open_files: u64) -> Host {
        Host { open_files, ..self }
    }

    /// Most open files that the process may have.
    pub fn open_files(&self) -> u64 {
        self.open_files
    }

    /// What logrotate is told.
    pub fn rotations(&self) -> &logrotate::Rotations {
        &self.rotations
    }

    /// The number in a file such as `/proc/sys/fs/inotify/max_user_watches`.
    pub fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.trim().parse().ok()
    }

    /// The text of a file.
    pub fn text(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.root.join(path.trim_start_matches('/'))).ok()
    }
}
