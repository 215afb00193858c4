//! Rows of questions that were asked a moment ago (`query --cache`).
//!
//! A file for each question in `data_dir/openobserve-cache`, readable by its owner only: a line that says when it was asked, then the rows.
//! A question is the server, the organization, the user's credentials, the query, the kind of stream and the time range as they were
//! written. What is older than an hour, and than what is asked for, is removed; answers of more than 64 MiB are not kept.

use super::{Failed, Ready};
use crate::http::Credentials as _;
use crate::openobserve::Question;
use crate::storage::data_dir::{create_dir, replace_file};
use crate::time::clock;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Most bytes of an answer that is kept.
const MAX_KEPT: usize = 64 << 20;
/// What is older is removed, whatever is asked for.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// Where the rows of one question are kept.
pub(super) struct Cache {
    data_dir: PathBuf,
    file: PathBuf,
    age: Duration,
    asked_at: i64,
    /// The rows so far; `None` where they are too many.
    lines: Option<Vec<u8>>,
}

impl Cache {
    /// Of a question; `when` is the time range as it was written.
    pub(super) fn new(one: &Ready, question: &Question, when: [&str; 2], age: Duration) -> Cache {
        let secrets = one.config.auth.as_ref().map(|auth| auth.secrets()).unwrap_or_default();
        let asked = json!([
            one.config.url.value,
            one.config.organization.value,
            secrets,
            question.sql,
            question.stream_type,
            when
        ]);
        let name = xxhash_rust::xxh3::xxh3_128(asked.to_string().as_bytes());
        let dir = one.data_dir.join("openobserve-cache");
        let file = dir.join(format!("{name:032x}.ndjson"));
        Cache { data_dir: one.data_dir.clone(), file, age, asked_at: clock::now_ns(), lines: Some(Vec::new()) }
    }

    /// How long ago it was asked, and the rows, where that is within the time.
    pub(super) fn rows(&self) -> Option<(Duration, Vec<Value>)> {
        let age = age_of(&self.file, self.asked_at)?;
        if age > self.age {
            return None;
        }
        let text = std::fs::read(&self.file).ok()?;
        let rows = text.split(|b| *b == b'\n').skip(1).filter(|line| !line.is_empty()).map(serde_json::from_slice);
        // A file that cannot be read is asked for anew.
        Some((Duration::from_secs(age.as_secs()), rows.collect::<Result<_, _>>().ok()?))
    }

    /// Takes the rows of a page.
    pub(super) fn take(&mut self, rows: &[Value]) {
        let Some(lines) = &mut self.lines else { return };
        for row in rows {
            lines.extend_from_slice(row.to_string().as_bytes());
            lines.push(b'\n');
        }
        if lines.len() > MAX_KEPT {
            self.lines = None;
        }
    }

    /// Keeps them.
    ///
    /// Errors: the folder cannot be written; in words.
    pub(super) fn keep(self) -> Result<(), Failed> {
        let Some(dir) = self.file.parent() else { return Ok(()) };
        let fail = |e: std::io::Error| format!("{}: {e}", dir.display());
        create_dir(&self.data_dir).and_then(|()| create_dir(dir)).map_err(fail)?;
        let oldest = self.age.max(MAX_AGE);
        for entry in std::fs::read_dir(dir).map_err(fail)?.flatten() {
            let old = age_of(&entry.path(), self.asked_at).is_some_and(|age| age > oldest);
            // One that another process removes is gone.
            drop(old.then(|| std::fs::remove_file(entry.path())));
        }
        let Some(lines) = self.lines else { return Ok(()) };
        let mut text = format!("{}\n", json!({"asked_at": self.asked_at})).into_bytes();
        text.extend_from_slice(&lines);
        replace_file(&self.file, &text).map_err(fail)
    }
}

/// How long ago a file was asked for; `None` where it does not say so, or is of the future.
fn age_of(file: &Path, now: i64) -> Option<Duration> {
    use std::io::BufRead as _;
    let mut first = String::new();
    std::io::BufReader::new(std::fs::File::open(file).ok()?).read_line(&mut first).ok()?;
    let head: Value = serde_json::from_str(&first).ok()?;
    let asked_at = head.get("asked_at")?.as_i64()?;
    u64::try_from(now - asked_at).ok().map(Duration::from_nanos)
}
