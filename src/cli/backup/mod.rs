//! `tidegate backup`: copies of streams of OpenObserve, kept in a folder, checked and put back.

mod create;
mod feed;
mod keep;
mod restore;
mod store;

use super::openobserve::{At, Failed, Ready, only};
use super::{Exit, say_line};
use crate::time::{clock, write_rfc3339_utc};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use store::Store;

/// Arguments of `backup`.
#[derive(Args, Debug)]
pub(super) struct BackupArgs {
    #[command(subcommand)]
    command: Command,
    /// The folder of backups.
    #[arg(long, global = true, value_name = "DIR", default_value = "backups")]
    output: PathBuf,
    #[command(flatten)]
    at: At,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Copy all rows of streams, and what `openobserve import` prints. Goes on with the one before, where that was asked for the same and
    /// not completed.
    Create(CreateArgs),
    /// List the backups of the folder.
    List,
    /// Show what is in one: streams, rows, times.
    Show {
        /// Its id, or `latest`.
        id: String,
    },
    /// Read all of one, or of all, and compare it with its manifest: 0, or 1 and what is wrong.
    Verify {
        /// Its id, or `latest`; left out: all.
        id: Option<String>,
    },
    /// Put rows back through the sink `openobserve`; of an incremental one what it was made upon first.
    Restore(RestoreArgs),
    /// Remove one.
    Delete {
        /// Its id.
        id: String,
        /// Also where others are made upon it, which can then not be put back whole.
        #[arg(long)]
        force: bool,
    },
    /// Remove old ones, but for those that kept ones are made upon.
    Prune {
        /// Keep so many of the newest that are completed.
        #[arg(long, value_name = "COUNT", default_value_t = 7)]
        keep: usize,
        /// Of the others only what is older than this.
        #[arg(long, value_name = "TIME", default_value = "0s")]
        older: String,
        /// Say what would be removed.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Args, Debug)]
struct CreateArgs {
    /// This stream only; may be given several times.
    #[arg(long, value_name = "NAME")]
    stream: Vec<String>,
    /// Streams of this type only: logs, metrics or traces; may be given several times.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// From this time on: `-7d`, or as RFC 3339; left out: from the first row on.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// Up to this time, which does not belong to it; left out: now.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
    /// Only what has come since the last one that was completed, by stream.
    #[arg(long)]
    incremental: bool,
    /// How late rows may come: so much of the time before is asked again.
    #[arg(long, value_name = "TIME", default_value = "5h")]
    overlap: String,
    /// Bytes a second at most, such as `10MB`.
    #[arg(long, value_name = "SIZE")]
    rate: Option<String>,
    /// Bytes of text in a file.
    #[arg(long, value_name = "SIZE", default_value = "64MiB")]
    part: String,
    /// Begin anew, also where one was not completed.
    #[arg(long)]
    new: bool,
}

#[derive(Args, Debug)]
struct RestoreArgs {
    /// Its id, or `latest`.
    id: String,
    /// This stream only, as NAME, or into another one, as NAME=OTHER; may be given several times.
    #[arg(long, value_name = "NAME[=OTHER]")]
    stream: Vec<String>,
    /// Only the rows of this one, not of those that it was made upon.
    #[arg(long)]
    alone: bool,
    /// Say what would be done.
    #[arg(long)]
    dry_run: bool,
}

/// Runs one of the commands.
pub(super) fn run(args: &BackupArgs) -> Exit {
    let store = Store::new(&args.output);
    let asks_server = || -> Result<(Vec<Ready>, tokio::runtime::Runtime), Exit> {
        let (ready, _) = args.at.servers()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
            say_line!("error: cannot start: {error}");
            Exit::Failed
        })?;
        Ok((ready, runtime))
    };
    let result: Result<Exit, Failed> = match &args.command {
        Command::Create(create) => match asks_server() {
            Ok((ready, runtime)) => {
                only(&ready).and_then(|one| runtime.block_on(create::run(one, &store, create))).map(|()| Exit::Done)
            }
            Err(exit) => return exit,
        },
        Command::Restore(restore) => match asks_server() {
            Ok((ready, runtime)) => {
                only(&ready).and_then(|one| runtime.block_on(restore::run(one, &store, restore, &args.output)))
            }
            Err(exit) => return exit,
        },
        Command::List => keep::list(&store),
        Command::Show { id } => keep::show(&store, id),
        Command::Verify { id } => keep::verify(&store, id.as_deref()),
        Command::Delete { id, force } => keep::delete(&store, id, *force),
        Command::Prune { keep, older, dry_run } => keep::prune(&store, *keep, older, *dry_run),
    };
    result.unwrap_or_else(|why| {
        say_line!("error: {}", crate::settings::mask_known(&why));
        Exit::Failed
    })
}

/// The time of now, as RFC 3339.
fn now_text() -> String {
    time_text(clock::now_ns() / 1000)
}

/// A time as RFC 3339.
fn time_text(micros: i64) -> String {
    let mut text = Vec::new();
    write_rfc3339_utc(micros.saturating_mul(1000), 3, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Bytes for people.
fn size_text(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} B"),
        10_000..=9_999_999 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}
