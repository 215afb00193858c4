//! Logs of the program itself: to stderr, as text or JSON.

use clap::ValueEnum;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing_subscriber::EnvFilter;

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// One line for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is said goes out as JSON.
static JSON: AtomicBool = AtomicBool::new(false);

/// Whether the log is JSON.
pub(super) fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// The log's way out. Whoever reads it may be gone, or its disk full: then nobody hears it, and the work goes on.
struct Stderr;

impl std::io::Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        drop(std::io::stderr().write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Starts logging. `level` is a level or a filter such as `info,tidegate=debug`; without it `TIDEGATE_LOG` counts, then
/// `info`.
///
/// Errors: the filter cannot be read.
pub(super) fn start(format: LogFormat, level: Option<&str>) -> Result<(), String> {
    let from_env = std::env::var("TIDEGATE_LOG").ok();
    let text = level.or(from_env.as_deref()).unwrap_or("info");
    // Libraries below us speak only when something is wrong, unless the filter names them.
    let quiet = if text.contains(['=', ',']) { text.to_owned() } else { format!("warn,tidegate={text}") };
    let filter = EnvFilter::try_new(&quiet).map_err(|error| {
        format!("`{text}` is no log level or filter ({error}); try error, warn, info, debug or trace")
    })?;
    JSON.store(format == LogFormat::Json, Ordering::Relaxed);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Stderr);
    let result = match format {
        LogFormat::Text => builder.with_target(false).with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    // A second start in one process (tests) keeps the first one's settings.
    drop(result);
    Ok(())
}
