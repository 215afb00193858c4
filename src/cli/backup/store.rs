//! A folder of backups.
//!
//! ```text
//! backups/
//!   lock                                   kept by who writes here
//!   20261201T013000Z-1f3a/
//!     manifest.json                        what is in it; replaced as a whole
//!     resources.json                       dashboards, alerts, functions, settings: for `openobserve apply`
//!     logs/application_logs/00001.ndjson.zst   rows in the order of their times
//! ```
//!
//! A part is written beside its name, synced, renamed, and then stands in the manifest, with how far the stream has come: whenever the
//! program ends, what the manifest names is whole, and the rest is written again. The manifest carries a hash of itself.

use crate::storage::data_dir::{create_dir, replace_file, sync_dir};
use crate::storage::{Disk, Storage};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// Version of the manifest.
const VERSION: u32 = 1;

/// How far a backup is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// It is being made, or who made it was ended.
    Running,
    /// All of it is there.
    Completed,
    /// It was given up; `reason` says why.
    Failed,
}

/// What is in a backup.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) version: u32,
    pub(super) id: String,
    /// `full` or `incremental`.
    pub(super) kind: String,
    pub(super) state: State,
    pub(super) reason: Option<String>,
    /// Address and organization.
    pub(super) server: String,
    pub(super) server_version: String,
    pub(super) tidegate: String,
    /// RFC 3339.
    pub(super) started_at: String,
    pub(super) ended_at: Option<String>,
    /// What was asked for: to tell whether a run that was ended is this one.
    pub(super) asked: Asked,
    pub(super) resources: Option<Piece>,
    pub(super) streams: Vec<Stream>,
    /// SHA-256 of all of the above.
    pub(super) sha256: String,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) streams: Vec<String>,
    pub(super) types: Vec<String>,
    pub(super) since: Option<String>,
    pub(super) until: Option<String>,
    pub(super) incremental: bool,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Piece {
    /// Below the folder of the backup.
    pub(super) file: String,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// A stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Stream {
    pub(super) name: String,
    pub(super) r#type: String,
    /// Microseconds since 1970 UTC: the first time that is asked for, and the first that is not.
    pub(super) from: i64,
    pub(super) until: i64,
    /// All before it is in `parts`.
    pub(super) next: i64,
    pub(super) done: bool,
    /// The backup that has what comes before, with which the rows of the overlap were compared.
    pub(super) base: Option<String>,
    pub(super) rows: u64,
    /// Of text.
    pub(super) bytes: u64,
    /// The type of a metric.
    pub(super) metric_type: Option<String>,
    pub(super) parts: Vec<Part>,
}

/// A file of rows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) piece: Piece,
    pub(super) rows: u64,
    /// Of the rows, microseconds.
    pub(super) first: i64,
    pub(super) last: i64,
}

impl Stream {
    /// Type and name, for people.
    pub(super) fn shown(&self) -> String {
        format!("{}/{}", self.r#type, self.name)
    }
}

impl Manifest {
    /// A new one, running.
    pub(super) fn new(id: String, server: String, server_version: String, asked: Asked) -> Manifest {
        Manifest {
            version: VERSION,
            id,
            kind: if asked.incremental { "incremental" } else { "full" }.to_owned(),
            state: State::Running,
            reason: None,
            server,
            server_version,
            tidegate: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: super::now_text(),
            ended_at: None,
            asked,
            resources: None,
            streams: Vec::new(),
            sha256: String::new(),
        }
    }

    /// Rows in it.
    pub(super) fn rows(&self) -> u64 {
        self.streams.iter().map(|stream| stream.rows).sum()
    }

    /// Bytes on disk.
    pub(super) fn bytes(&self) -> u64 {
        let parts = self.streams.iter().flat_map(|stream| &stream.parts).map(|part| part.piece.bytes);
        parts.chain(self.resources.iter().map(|piece| piece.bytes)).sum()
    }

    /// Backups that it needs to be whole.
    pub(super) fn bases(&self) -> impl Iterator<Item = &str> {
        self.streams.iter().filter_map(|stream| stream.base.as_deref())
    }

    fn hash(&self) -> Result<String, String> {
        let plain = Manifest { sha256: String::new(), ..self.clone() };
        serde_json::to_vec(&plain).map(|text| hex(&Sha256::digest(text))).map_err(|e| e.to_string())
    }
}

/// A folder of backups.
pub(super) struct Store {
    dir: PathBuf,
}

impl Store {
    pub(super) fn new(dir: &Path) -> Store {
        Store { dir: dir.to_owned() }
    }

    /// The folder of a backup.
    pub(super) fn path(&self, id: &str) -> PathBuf {
        self.dir.join(id)
    }

    /// Keeps others from writing here while what is returned lives.
    ///
    /// Errors: another does, or it cannot be made; in words.
    pub(super) fn lock(&self) -> Result<Box<dyn Send>, String> {
        let fail = |e: std::io::Error| format!("{}: {e}", self.dir.display());
        create_dir(&self.dir).map_err(fail)?;
        Disk.lock(&self.dir.join("lock")).map_err(|e| match e.kind() {
            std::io::ErrorKind::WouldBlock => format!("another backup writes to {}", self.dir.display()),
            _ => fail(e),
        })
    }

    /// All of them, the oldest first, and what is wrong with those that cannot be read.
    ///
    /// Errors: the folder cannot be read; in words.
    pub(super) fn all(&self) -> Result<(Vec<Manifest>, Vec<String>), String> {
        let (mut all, mut bad) = (Vec::new(), Vec::new());
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok((all, bad)),
            Err(e) => return Err(format!("{}: {e}", self.dir.display())),
        };
        for entry in entries.flatten() {
            if entry.path().join("manifest.json").is_file() {
                let id = entry.file_name().to_string_lossy().into_owned();
                match self.read(&id) {
                    Ok(manifest) => all.push(manifest),
                    Err(why) => bad.push(why),
                }
            }
        }
        all.sort_by(|a, b| a.id.cmp(&b.id));
        Ok((all, bad))
    }

    /// One of them; `latest` is the newest that is whole.
    ///
    /// Errors: there is none, or its manifest is not as it was written; in words.
    pub(super) fn read(&self, id: &str) -> Result<Manifest, String> {
        if id == "latest" {
            let all = self.all()?.0;
            let newest = all.into_iter().rfind(|one| one.state == State::Completed);
            return newest.ok_or_else(|| format!("{}: there is no backup that is completed", self.dir.display()));
        }
        if id.is_empty() || id.contains('/') || id.starts_with('.') {
            return Err(format!("`{id}` is not the id of a backup"));
        }
        let path = self.path(id).join("manifest.json");
        let fail = |why: &str| format!("{}: {why}", path.display());
        let text = std::fs::read(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => format!("there is no backup `{id}` in {}", self.dir.display()),
            _ => fail(&e.to_string()),
        })?;
        let manifest: Manifest = serde_json::from_slice(&text).map_err(|e| fail(&e.to_string()))?;
        if manifest.version > VERSION {
            return Err(fail("it was written by a newer version of tidegate"));
        }
        if manifest.hash()? != manifest.sha256 || manifest.id != id {
            return Err(fail("it is not as it was written: its hash does not fit"));
        }
        Ok(manifest)
    }

    /// Writes the manifest, durably.
    ///
    /// Errors: in words.
    pub(super) fn write(&self, manifest: &mut Manifest) -> Result<(), String> {
        manifest.sha256 = manifest.hash()?;
        let dir = self.path(&manifest.id);
        let fail = |e: std::io::Error| format!("{}: {e}", dir.display());
        create_dir(&dir).map_err(fail)?;
        let text = serde_json::to_vec_pretty(manifest).map_err(|e| e.to_string())?;
        replace_file(&dir.join("manifest.json"), &text).map_err(fail)
    }

    /// Writes a small file of a backup.
    ///
    /// Errors: in words.
    pub(super) fn put(&self, id: &str, name: &str, text: &[u8]) -> Result<Piece, String> {
        let path = self.path(id).join(name);
        replace_file(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Piece { file: name.to_owned(), bytes: text.len() as u64, sha256: hex(&Sha256::digest(text)) })
    }

    /// Begins a part.
    ///
    /// Errors: in words.
    pub(super) fn begin(&self, id: &str, stream: &Stream) -> Result<PartWriter, String> {
        let folder = format!("{}/{}", stream.r#type, file_name(&stream.name));
        let file = format!("{folder}/{:05}.ndjson.zst", stream.parts.len() + 1);
        let dir = self.path(id).join(&folder);
        let path = self.path(id).join(&file);
        let fail = |e: std::io::Error| format!("{}: {e}", path.display());
        create_dir(&dir).map_err(fail)?;
        let temporary = path.with_extension("tmp");
        let out = Hashed { file: File::create(&temporary).map_err(fail)?, hash: Sha256::new(), bytes: 0 };
        let encoder = zstd::Encoder::new(out, 3).map_err(fail)?;
        Ok(PartWriter { file, path, dir, temporary, encoder, rows: 0, text: 0, bounds: None })
    }

    /// Reads the lines of a part.
    ///
    /// Errors: in words.
    pub(super) fn lines(&self, id: &str, part: &Part) -> Result<Lines, String> {
        let path = self.path(id).join(&part.piece.file);
        let fail = |e: std::io::Error| format!("{}: {e}", path.display());
        let decoder = zstd::Decoder::new(File::open(&path).map_err(fail)?).map_err(fail)?;
        Ok(Lines { path, reader: BufReader::new(decoder), line: Vec::new() })
    }

    /// Removes one.
    ///
    /// Errors: in words.
    pub(super) fn remove(&self, id: &str) -> Result<(), String> {
        let path = self.path(id);
        let fail = |e: std::io::Error| format!("{}: {e}", path.display());
        // Without its manifest it is none any more, whatever is left of it.
        std::fs::remove_file(path.join("manifest.json")).map_err(fail)?;
        std::fs::remove_dir_all(&path).map_err(fail)
    }
}

/// A stream's name as one of a folder.
fn file_name(name: &str) -> String {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':');
    let one =
        |c: char| if fine(c) { c.to_string() } else { c.to_string().bytes().map(|b| format!("%{b:02x}")).collect() };
    name.chars().map(one).collect()
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A file whose bytes are hashed on their way.
struct Hashed {
    file: File,
    hash: Sha256,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        let n = self.file.write(buf)?;
        self.hash.update(&buf[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// A part that is being written.
pub(super) struct PartWriter {
    file: String,
    path: PathBuf,
    dir: PathBuf,
    temporary: PathBuf,
    encoder: zstd::Encoder<'static, Hashed>,
    pub(super) rows: u64,
    /// Bytes of text.
    pub(super) text: u64,
    bounds: Option<(i64, i64)>,
}

impl PartWriter {
    /// Appends a row with its time.
    ///
    /// Errors: in words.
    pub(super) fn row(&mut self, row: &[u8], time: i64) -> Result<(), String> {
        let written = self.encoder.write_all(row).and_then(|()| self.encoder.write_all(b"\n"));
        written.map_err(|e| format!("{}: {e}", self.path.display()))?;
        self.rows += 1;
        self.text += row.len() as u64 + 1;
        self.bounds = Some(self.bounds.map_or((time, time), |(first, _)| (first, time)));
        Ok(())
    }

    /// Ends it: it is on disk under its name then. `None` where it has no rows.
    ///
    /// Errors: in words.
    pub(super) fn end(self) -> Result<Option<Part>, String> {
        let fail = |e: std::io::Error| format!("{}: {e}", self.path.display());
        let Some((first, last)) = self.bounds else {
            return std::fs::remove_file(&self.temporary).map(|()| None).map_err(fail);
        };
        let out = self.encoder.finish().map_err(fail)?;
        out.file.sync_all().map_err(fail)?;
        std::fs::rename(&self.temporary, &self.path).and_then(|()| sync_dir(&self.dir)).map_err(fail)?;
        let piece = Piece { file: self.file, bytes: out.bytes, sha256: hex(&out.hash.finalize()) };
        Ok(Some(Part { piece, rows: self.rows, first, last }))
    }
}

/// Longest row that is read.
const MAX_ROW: u64 = 64 << 20;

/// The rows of a part.
pub(super) struct Lines {
    path: PathBuf,
    reader: BufReader<zstd::Decoder<'static, BufReader<File>>>,
    line: Vec<u8>,
}

impl Lines {
    /// The next row.
    ///
    /// Errors: the file is damaged; in words.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, String> {
        Ok(if self.advance()? { Some(&self.line) } else { None })
    }

    /// The row that was read last.
    pub(super) fn line(&self) -> &[u8] {
        &self.line
    }

    /// Reads one more row, where there is one.
    ///
    /// Errors: as [`next`](Self::next).
    pub(super) fn advance(&mut self) -> Result<bool, String> {
        self.line.clear();
        let read = self.reader.by_ref().take(MAX_ROW).read_until(b'\n', &mut self.line);
        let read = read.map_err(|e| format!("{}: {e}", self.path.display()))?;
        if read == 0 {
            return Ok(false);
        }
        if self.line.pop() != Some(b'\n') {
            return Err(format!("{}: a row is cut off, or longer than 64 MiB", self.path.display()));
        }
        Ok(true)
    }
}

/// SHA-256 of a file, and its size.
///
/// Errors: it cannot be read.
pub(super) fn hash_file(path: &Path) -> std::io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let (mut hash, mut bytes, mut buf) = (Sha256::new(), 0, vec![0; 256 << 10]);
    loop {
        match file.read(&mut buf)? {
            0 => return Ok((hex(&hash.finalize()), bytes)),
            n => {
                hash.update(&buf[..n]);
                bytes += n as u64;
            }
        }
    }
}
