//! Logs of the program itself: to stderr, as text or JSON.
//!
//! All of it leaves here, whoever wrote it: a record is one line, its fields steer no terminal (see [`crate::text::escape`]), and
//! no secret of the configuration is in it, whatever text a library or a server put together.

use super::terminal;
use crate::text::escape::{self, Form};
use clap::ValueEnum;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

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
        // One record a call: the formatter writes it whole.
        let form = if is_json() { Form::Json } else { Form::Text };
        let record = leaving(bytes, form);
        match form == Form::Text && terminal::colors_stderr() {
            true => terminal::write_stderr(terminal::record(&String::from_utf8_lossy(&record)).as_bytes()),
            false => terminal::write_stderr(&record),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A record as it goes out.
fn leaving(record: &[u8], form: Form) -> Vec<u8> {
    let text = String::from_utf8_lossy(record);
    let text = crate::settings::mask_log(&text);
    let mut out = Vec::with_capacity(text.len());
    escape::append(text.as_bytes(), form, &mut out);
    out
}

/// A field of a text record, on its line.
fn field(to: &mut Writer<'_>, field: &tracing::field::Field, value: &dyn std::fmt::Debug) -> std::fmt::Result {
    let text = format!("{value:?}");
    let text = escape::line(&text);
    match field.name() {
        "message" => write!(to, "{text}"),
        name => write!(to, "{}={text}", name.strip_prefix("r#").unwrap_or(name)),
    }
}

/// What was given is no level and no filter of the log.
#[derive(Debug)]
pub(super) struct FilterError {
    text: String,
    cause: crate::error::Cause,
}

impl std::fmt::Display for FilterError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let FilterError { text, cause } = self;
        write!(f, "`{text}` is not a log level or filter ({cause}); try error, warn, info, debug or trace")
    }
}

impl std::error::Error for FilterError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.cause)
    }
}

/// Starts logging. `level` is a level or a filter such as `info,tidegate=debug`; without it `TIDEGATE_LOG` counts, then
/// `info`.
///
/// Errors: the filter cannot be read.
pub(super) fn start(format: LogFormat, level: Option<&str>) -> Result<(), FilterError> {
    let from_env = std::env::var("TIDEGATE_LOG").ok();
    let text = level.or(from_env.as_deref()).unwrap_or("info");
    // Libraries below us speak only when something is wrong, unless the filter names them.
    let quiet = if text.contains(['=', ',']) { text.to_owned() } else { format!("warn,tidegate={text}") };
    let filter =
        EnvFilter::try_new(&quiet).map_err(|cause| FilterError { text: text.to_owned(), cause: cause.into() })?;
    JSON.store(format == LogFormat::Json, Ordering::Relaxed);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Stderr);
    let result = match format {
        LogFormat::Text => {
            builder.with_target(false).with_ansi(false).fmt_fields(debug_fn(field).delimited(" ")).try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    // A second start in one process (tests) keeps the first one's settings.
    drop(result);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(leaving(bytes, Form::Text));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_record_is_one_line_whatever_its_fields_hold() {
        let kept = Kept::default();
        let to = kept.clone();
        let log = tracing_subscriber::fmt()
            .with_writer(move || to.clone())
            .with_target(false)
            .with_ansi(false)
            .fmt_fields(debug_fn(field).delimited(" "))
            .finish();
        let evil = "a\n2026-01-01T00:00:00Z ERROR forged\r\u{1b}[31m\u{9b}7m\u{7f}\u{202e}";
        tracing::subscriber::with_default(log, || {
            tracing::info!(file = %evil, text = evil, r#in = 3, "found {evil}");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
        assert!(!text.trim_end().chars().any(|c| c.is_control() || c == '\u{202e}'), "{text:?}");
        assert!(
            text.contains(r"INFO found a\n2026") && text.contains(r" file=a\n2026") && text.contains(" in=3"),
            "{text}"
        );
    }
}
