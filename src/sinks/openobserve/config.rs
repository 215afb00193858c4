//! Settings of the sink.

use super::auth::AuthConfig;
use crate::event::FieldPath;
use crate::settings::{Reader, Spanned, config, config_enum};
use crate::sinks::delivery::{NetworkSinkCommon, check_server};
use crate::template::NameTemplate;
use std::num::NonZeroUsize;
use std::time::Duration;

config! {
    /// Sends logs, metrics and spans to OpenObserve, and reads in its answers what became of them.
    pub struct OpenObserveConfig {
        /// Address of the server, such as `http://localhost:5080`; with its prefix where it has one (`ZO_BASE_URI`).
        pub url: Spanned<String>,
        /// The organization.
        pub organization: Spanned<String> = Spanned::new("default".into(), Default::default()),
        /// Name of the stream of logs, and of traces. Formatted as the server does: small letters, `_` for what is no letter, digit, `_` or `:`.
        pub stream: Spanned<NameTemplate>,
        /// Streams at most; events of others are refused. One that had no event for an hour makes place.
        pub max_streams: NonZeroUsize = NonZeroUsize::MIN.saturating_add(999),
        /// The interface used for logs.
        pub api: Spanned<Api> = Spanned::new(Api::Json, Default::default()),
        /// The interface used for metrics.
        pub metrics_api: MetricsApi = MetricsApi::Otlp,
        /// Credentials.
        pub auth: Option<AuthConfig> = None,
        /// The field that the event's time is read from; the time when it was received where that is absent or
        /// unreadable. It is sent as `_timestamp` in microseconds; the field itself is sent too.
        pub timestamp_field: FieldPath = FieldPath::of_key("timestamp"),
        /// What the server takes: it drops older and later events with a 200.
        pub window: Window = Window::default(),
        /// What to do with events outside the window.
        pub late: Late = Late::Send,
        /// The server's `ZO_COLS_PER_RECORD_LIMIT`: columns that the records of one request may have together.
        pub max_columns: NonZeroUsize = NonZeroUsize::MIN.saturating_add(999),
        /// Whether the counts in an answer must add up to what was sent. With a pipeline on the server after the stream
        /// they need not.
        pub check_counts: bool = true,
        /// Those of all sinks over the network.
        flatten pub common: NetworkSinkCommon,
    }
}

config! {
    /// How far an event's time may be from now.
    pub struct Window {
        /// Back: the server's `ZO_INGEST_ALLOWED_UPTO`.
        pub past: Duration = Duration::from_secs(5 * 3600),
        /// Ahead: the server's `ZO_INGEST_ALLOWED_IN_FUTURE`.
        pub future: Duration = Duration::from_secs(24 * 3600),
    }
}

impl Default for Window {
    fn default() -> Self {
        <Self as crate::settings::Settings>::defaults()
    }
}

config_enum! {
    /// The interface used for logs.
    pub enum Api {
        /// `_json`: one array a request.
        Json = "json",
        /// `_multi`: one object a line.
        Multi = "multi",
        /// `_bulk`: says which record it refused.
        Bulk = "bulk",
        /// OTLP over HTTP.
        Otlp = "otlp",
    }
}

config_enum! {
    /// The interface used for metrics.
    pub enum MetricsApi {
        /// OTLP over HTTP: all types, on every version of the server.
        Otlp = "otlp",
        /// Prometheus remote write: states only, no steps (`temporality: delta`).
        RemoteWrite = "remote_write",
        /// `ingest/metrics/_json`. A server of version 0.8 drops histograms and summaries on it.
        Json = "json",
    }
}

config_enum! {
    /// What to do with events outside the window.
    pub enum Late {
        /// Send them; those that the server drops go to the dead letter.
        Send = "send",
        /// Send logs with the time of now; the original field is kept. Spans are sent as they are.
        Restamp = "restamp",
        /// Send them to the dead letter without asking the server.
        DeadLetter = "dead_letter",
    }
}

impl OpenObserveConfig {
    pub(super) fn check_all(&self, cx: &mut Reader<'_>) {
        let own = (&["/_json", "/api/"][..], "the path `/api/…` is made of `organization` and `stream`");
        check_server(cx, "url", &self.url, "http://localhost:5080", own);
        let organization = self.organization.value.trim();
        if organization.is_empty() || organization.contains(['/', '?', '#']) {
            cx.error(
                self.organization.span,
                format!("`organization`{} must not be empty or contain `/`, `?` or `#`", cx.place()),
            );
        }
        if self.stream.value.text().is_empty() {
            cx.error(self.stream.span, format!("`stream`{} is empty", cx.place()));
        }
    }
}
