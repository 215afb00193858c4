//! `tidegate checkpoint show|reset`: how far files were read, and to begin anew.

use super::errors::{PathError, failed};
use super::{ConfigArgs, Exit, print};
use crate::error::Cause;
use crate::sources::file::{FilePlace, forget_places, places};
use crate::storage::data_dir::lock_data_dir;
use crate::text::escape::Page;
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

/// Arguments of `checkpoint`.
#[derive(Args, Debug)]
pub(super) struct CheckpointArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Show how far each file was read and settled.
    Show {
        #[command(flatten)]
        at: At,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Forget how far files were read: at the next start they are read as `start_at` says. The agent must be stopped.
    Reset {
        #[command(flatten)]
        at: At,
        /// Of this file only, under any name it had; may be given several times.
        #[arg(long, value_name = "PATH")]
        file: Vec<PathBuf>,
        /// Of all files of all sources.
        #[arg(long, conflicts_with_all = ["source", "file"])]
        all: bool,
    },
}

#[derive(Args, Debug)]
struct At {
    #[command(flatten)]
    config: ConfigArgs,
    /// The folder of state, in place of the one that the configuration names; needs no configuration.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Of this source only.
    #[arg(long, value_name = "ID")]
    source: Option<String>,
}

impl At {
    fn dir(&self) -> Result<PathBuf, Exit> {
        match &self.data_dir {
            Some(dir) => Ok(dir.clone()),
            None => Ok(self.config.load()?.globals.data_dir),
        }
    }

    /// The sources that have checkpoints, with the places in their files.
    fn sources(&self, dir: &Path) -> Result<Vec<(String, Vec<FilePlace>)>, CheckpointError> {
        let fail = |path: &Path, error: std::io::Error| CheckpointError::Path(PathError::at(path)(error));
        let mut sources = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(|e| fail(dir, e))? {
            let path = entry.map_err(|e| fail(dir, e))?.path();
            let Some(id) = path.file_name().and_then(|n| n.to_str()).map(str::to_owned) else { continue };
            if self.source.as_ref().is_some_and(|wanted| *wanted != id) || !path.is_dir() {
                continue;
            }
            if let Some(places) = places(&path).map_err(|e| fail(&path, e))? {
                sources.push((id, places));
            }
        }
        sources.sort_by(|a, b| a.0.cmp(&b.0));
        match &self.source {
            Some(id) if sources.is_empty() => Err(CheckpointError::OfNoSource(dir.to_owned(), id.clone())),
            _ => Ok(sources),
        }
    }
}

/// Why checkpoints cannot be shown or forgotten.
#[derive(Debug)]
enum CheckpointError {
    /// A folder or file of theirs cannot be used.
    Path(PathError),
    /// In this folder there are none of this source.
    OfNoSource(PathBuf, String),
    /// It was not said which.
    OfWhat,
    /// Another process has the folder.
    Locked(Cause),
    /// No source knows one of the files.
    Unknown,
}

impl std::fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CheckpointError::Path(error) => error.fmt(f),
            CheckpointError::OfNoSource(dir, id) => write!(f, "{}: source `{id}` has no checkpoint", dir.display()),
            CheckpointError::OfWhat => f.write_str("name a --source, a --file, or --all"),
            CheckpointError::Locked(error) => error.fmt(f),
            CheckpointError::Unknown => {
                f.write_str("no source knows such a file; `checkpoint show` lists those that are known")
            }
        }
    }
}

impl std::error::Error for CheckpointError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CheckpointError::Path(error) => error.source(),
            CheckpointError::Locked(error) => error.source(),
            _ => None,
        }
    }
}

/// Shows or resets.
pub(super) fn run(args: CheckpointArgs) -> Exit {
    let result = match &args.command {
        Command::Show { at, json } => at.dir().map(|dir| show(at, &dir, *json)),
        Command::Reset { at, file, all } => at.dir().map(|dir| reset(at, &dir, file, *all)),
    };
    match result {
        Ok(Ok(page)) => match print(&page) {
            Ok(()) => Exit::Done,
            Err(_) => Exit::Failed,
        },
        Ok(Err(error)) => failed(&error),
        Err(exit) => exit,
    }
}

fn show(at: &At, dir: &Path, json: bool) -> Result<Page, CheckpointError> {
    let sources = at.sources(dir)?;
    if json {
        let list: Vec<_> = sources
            .iter()
            .flat_map(|(id, places)| {
                places.iter().map(move |p| {
                    serde_json::json!({
                        "source": id, "file": p.path, "offset": p.offset, "size": p.size, "device": p.device,
                        "inode": p.inode, "generation": p.generation, "current": p.current,
                    })
                })
            })
            .collect();
        let mut page = Page::new();
        page.json(&format!("{:#}\n", serde_json::Value::Array(list)));
        return Ok(page);
    }
    let mut out = Page::new();
    for (id, places) in sources {
        let s = if places.len() == 1 { "" } else { "s" };
        writeln!(out, "{id}: {} file{s}", places.len());
        writeln!(out, "{:>14} {:>14} {:>12}  file", "offset", "size", "left");
        for p in places {
            let size = p.size.map_or("-".to_owned(), |n| n.to_string());
            let left = p.size.map_or("-".to_owned(), |n| n.saturating_sub(p.offset).to_string());
            let gone = if p.current && p.size.is_some() { "" } else { "  (gone or rotated)" };
            writeln!(out, "{:>14} {size:>14} {left:>12}  {}{gone}", p.offset, p.path.display());
        }
    }
    Ok(out)
}

fn reset(at: &At, dir: &Path, files: &[PathBuf], all: bool) -> Result<Page, CheckpointError> {
    if !all && at.source.is_none() && files.is_empty() {
        return Err(CheckpointError::OfWhat);
    }
    let _lock = lock_data_dir(dir).map_err(|error| CheckpointError::Locked(error.into()))?;
    let mut wanted = Vec::new();
    for file in files {
        wanted.push(std::path::absolute(file).map_err(|e| CheckpointError::Path(PathError::at(file)(e)))?);
    }
    let mut out = Page::new();
    let mut sum = 0;
    for (id, _) in at.sources(dir)? {
        let folder = dir.join(&id);
        let n = forget_places(&folder, &wanted).map_err(|e| CheckpointError::Path(PathError::at(&folder)(e)))?;
        sum += n;
        let s = if n == 1 { "" } else { "s" };
        writeln!(out, "{id}: {n} place{s} forgotten");
    }
    if sum == 0 && !files.is_empty() {
        return Err(CheckpointError::Unknown);
    }
    Ok(out)
}
