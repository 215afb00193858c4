//! What `apply` made: ids, hashes of fields, who and when; one file in `data_dir`, replaced as a whole and readable by its owner only.
//!
//! ```json
//! {"version": 1, "servers": {"http://o2:5080 default": {
//!   "applied": {"at": "2026-11-30T10:00:00Z", "by": "ops@build-1"},
//!   "resources": {"alert.errors": {"id": "2x…", "made": true, "pending": false, "fields": {"threshold": "5f…"}}}}}}
//! ```
//!
//! `pending` is written before a resource is made and taken away after: what exists at the next run, and did not at the time of
//! the intent, is ours, whenever the program ended. Hashes tell what the server changed from what the configuration changed;
//! values are not kept, as some are secrets.

use super::resource::{Key, hash, leaves};
use crate::storage::data_dir::{create_dir, replace_file};
use crate::storage::{Disk, Storage};
use crate::time::clock;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Version of the file.
const VERSION: u32 = 1;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct File {
    version: u32,
    servers: BTreeMap<String, ServerState>,
}

/// What is known of one server.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ServerState {
    /// The last `apply` that changed something.
    #[serde(default)]
    pub applied: Option<Applied>,
    /// By `alert.errors`.
    #[serde(default)]
    pub resources: BTreeMap<String, Known>,
}

/// Who applied, and when.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Applied {
    /// RFC 3339.
    pub at: String,
    /// `user@host`.
    pub by: String,
}

/// What is known of one resource.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq)]
pub struct Known {
    /// The server's id; a name for those that have none.
    #[serde(default)]
    pub id: String,
    /// `apply` has made it; else it was there before.
    #[serde(default)]
    pub made: bool,
    /// It is about to be made.
    #[serde(default)]
    pub pending: bool,
    /// Hashes of what was applied, by the paths of fields.
    #[serde(default)]
    pub fields: BTreeMap<String, String>,
}

impl Known {
    /// Notes what was applied.
    pub fn note(&mut self, fields: &Value) {
        self.fields = leaves(fields).into_iter().map(|(path, value)| (path, hash(value))).collect();
    }

    /// Whether a field was applied with this value: who sees another on the server sees what somebody did there.
    pub fn had(&self, path: &str, value: &Value) -> bool {
        let leaf = |(inner, value): (String, &Value)| {
            let path = match (path.is_empty(), inner.is_empty(), inner.starts_with('[')) {
                (_, true, _) => path.to_owned(),
                (true, ..) => inner,
                (_, _, true) => format!("{path}{inner}"),
                _ => format!("{path}.{inner}"),
            };
            self.fields.get(&path) == Some(&hash(value))
        };
        leaves(value).into_iter().all(leaf)
    }
}

/// The state, kept for as long as this lives.
pub struct State {
    path: PathBuf,
    server: String,
    file: File,
    /// Keeps a second `apply` out.
    _lock: Option<Box<dyn Send>>,
}

impl State {
    /// Reads it, to look at.
    ///
    /// Errors: it cannot be read; in words.
    pub fn read(data_dir: &Path, server: &str) -> Result<State, String> {
        let path = data_dir.join("openobserve.json");
        let file = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| {
                format!("{}: {e}; move it away to begin anew: what was made is then found by its mark", path.display())
            })?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => File::default(),
            Err(e) => return Err(format!("{}: {e}", path.display())),
        };
        if file.version > VERSION {
            return Err(format!("{}: it was written by a newer version of tidegate", path.display()));
        }
        Ok(State { path, server: server.to_owned(), file, _lock: None })
    }

    /// Reads it, to change it.
    ///
    /// Errors: it cannot be read, or another `apply` runs; in words.
    pub fn open(data_dir: &Path, server: &str) -> Result<State, String> {
        let fail = |e: std::io::Error| format!("data_dir {}: {e}", data_dir.display());
        create_dir(data_dir).map_err(fail)?;
        let lock = Disk.lock(&data_dir.join("openobserve.lock")).map_err(|e| match e.kind() {
            std::io::ErrorKind::WouldBlock => format!("another `apply` runs with data_dir {}", data_dir.display()),
            _ => fail(e),
        })?;
        Ok(State { _lock: Some(lock), ..State::read(data_dir, server)? })
    }

    /// What is known of the server.
    pub fn server(&self) -> ServerState {
        self.file.servers.get(&self.server).cloned().unwrap_or_default()
    }

    /// What is known of a resource.
    pub fn known(&self, key: &Key) -> Option<&Known> {
        self.file.servers.get(&self.server)?.resources.get(&key.to_string())
    }

    /// Notes, or forgets, a resource, durably.
    ///
    /// Errors: the file cannot be written; in words.
    pub fn set(&mut self, key: &Key, known: Option<Known>) -> Result<(), String> {
        let server = self.file.servers.entry(self.server.clone()).or_default();
        match known {
            Some(known) => drop(server.resources.insert(key.to_string(), known)),
            None => drop(server.resources.remove(&key.to_string())),
        }
        self.write()
    }

    /// Notes that something was applied.
    ///
    /// Errors: as [`set`](Self::set).
    pub fn applied(&mut self) -> Result<(), String> {
        let by = format!("{}@{}", std::env::var("USER").unwrap_or_else(|_| "?".into()), host());
        let mut at = Vec::new();
        crate::time::write_rfc3339_utc(clock::now_ns(), 3, &mut at);
        let at = String::from_utf8_lossy(&at).into_owned();
        self.file.servers.entry(self.server.clone()).or_default().applied = Some(Applied { at, by });
        self.write()
    }

    fn write(&mut self) -> Result<(), String> {
        self.file.version = VERSION;
        let text = serde_json::to_vec_pretty(&self.file).map_err(|e| e.to_string())?;
        replace_file(&self.path, &text).map_err(|e| format!("{}: {e}", self.path.display()))
    }
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
