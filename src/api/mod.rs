//! The agent's own HTTP API: `/health`, `/ready`, `/metrics`, and under `/api/v1/` what the agent is, does and shows. `docs/api.md` and
//! `docs/openapi.json` say what each call is.
//!
//! The Host header is checked against DNS rebinding, no CORS headers are sent. On a non-loopback address
//! without `auth` only the first three are served.

mod components;
mod tap;

use crate::buffer::Queue;
use crate::http::KnownText;
use crate::http::origin::host_is_ours;
use crate::http::server::Listener;
use crate::ledger::Keeper;
use crate::sync::Locked;
use crate::sync::live::Live;
use crate::tap::Lines;
use crate::telemetry::{ComponentKind, Counters, Health, RunLedger};
use crate::time::clock;
use crate::topology::reloads::{Outcome, Reloads};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use metrics::{Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::PrometheusRecorder;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Makes a plan of a question, both in JSON: status and answer. Takes its time, and is called on a thread of its own.
pub type Planner = Arc<dyn Fn(&[u8]) -> (u16, serde_json::Value) + Send + Sync>;

/// Opens a tap as a question in JSON asks; status and answer where it is refused. The token is cancelled when the reader has stopped
/// reading.
pub type Tapper = Arc<dyn Fn(&[u8], CancellationToken) -> Result<Lines, (u16, serde_json::Value)> + Send + Sync>;

/// The header in which the agent's own user shows the token of `agent.json`.
pub const OWN_TOKEN: &str = "x-tidegate-token";

/// Longest question: a configuration, and lines to try.
const MAX_QUESTION: usize = 16 << 20;

/// How long a sink may fail before `/ready` says so.
const GRACE: Duration = Duration::from_secs(60);

/// Who may ask.
#[derive(Clone, Default)]
pub struct ApiAuth {
    /// What `Authorization` is of the user who may.
    pub basic: Option<KnownText>,
    /// Bearer tokens.
    pub bearer: Vec<KnownText>,
}

impl ApiAuth {
    fn is_empty(&self) -> bool {
        self.basic.is_none() && self.bearer.is_empty()
    }

    fn allows(&self, headers: &HeaderMap) -> bool {
        let Some(given) = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()) else { return false };
        if let Some(token) = given.strip_prefix("Bearer ") {
            return KnownText::of(token.as_bytes()).is_one_of(&self.bearer);
        }
        self.basic.as_ref().is_some_and(|pair| pair.is(&KnownText::of(given.as_bytes())))
    }
}

/// What the API serves.
#[derive(Clone)]
pub struct Api {
    /// The ledger.
    pub run_ledger: Live<RunLedger>,
    /// Health by component.
    pub health: Live<Vec<(Arc<str>, Arc<Health>)>>,
    /// Who may ask.
    pub auth: ApiAuth,
    /// Host names accepted besides addresses and `localhost`.
    pub allowed_hosts: Vec<String>,
    /// Set while the agent stops: not ready any more.
    pub shutdown: CancellationToken,
    /// The ledger over all runs.
    pub ledger: Option<Arc<Keeper>>,
    /// What it runs from, and who to ask for a reload.
    pub reloads: Option<Reloads>,
    /// Makes plans, one at a time.
    pub planner: Option<Planner>,
    /// Opens taps.
    pub tapper: Option<Tapper>,
    /// What sinks read, by id.
    pub queues: Live<HashMap<Arc<str>, Arc<Queue>>>,
    /// Set when it is not served any more: answers without an end come to one.
    pub stop: CancellationToken,
    /// What the agent's own user shows, who can read it in `data_dir`, where no `auth` is set.
    pub own_token: Option<String>,
    /// Held while a plan is made.
    pub planning: Arc<tokio::sync::Mutex<()>>,
    /// Busy seconds by component at pages before this one: what `tidegate_utilization` is over.
    pub scraped: Arc<Mutex<Scraped>>,
}

/// What pages before this one knew. However many scrape: the share is over no less than [`WINDOW`] and, with one who asks less
/// often, over the time since they asked last.
#[derive(Default)]
pub struct Scraped {
    /// The sample that shares are over.
    before: BusySample,
    /// The latest one, [`WINDOW`] after that before it.
    latest: BusySample,
}

/// Busy seconds by component at a time.
#[derive(Default)]
struct BusySample {
    at: u64,
    seconds: HashMap<Arc<str>, f64>,
}

/// Shares are over no less than this.
const WINDOW: Duration = Duration::from_secs(5);

impl Scraped {
    /// What a page made `now` compares with.
    fn base(&mut self, now: u64, run_ledger: &RunLedger) -> &BusySample {
        let window = WINDOW.as_nanos() as u64;
        if now.saturating_sub(self.latest.at) >= window {
            let busy = |c: &Counters| c.snapshot().seconds.get("busy").copied();
            let seconds = run_ledger.components.iter().filter_map(|c| Some((c.id.clone(), busy(c)?))).collect();
            self.before = std::mem::replace(&mut self.latest, BusySample { at: now, seconds });
        }
        &self.before
    }
}

impl Api {
    /// Binds the address. Errors: it is taken, or not ours.
    #[cfg(test)]
    pub async fn bind(listen: std::net::SocketAddr) -> std::io::Result<tokio::net::TcpListener> {
        tokio::net::TcpListener::bind(listen).await
    }

    /// Serves until `stop` resolves, over TLS where there is a `tls`.
    pub async fn serve(
        mut self,
        listener: impl Into<Listener>,
        tls: Option<Arc<crate::net::tls::TlsServer>>,
        stop: CancellationToken,
    ) -> std::io::Result<()> {
        let listener = listener.into();
        let is_near = match &listener {
            Listener::Tcp(listener) => listener.local_addr()?.ip().is_loopback(),
            // Whoever may open its file.
            Listener::Unix(_) => true,
        };
        let open = is_near || !self.auth.is_empty();
        self.stop = stop.clone();
        let api = Arc::new(self);
        let mut router = Router::new()
            .route("/health", get(|| async { "ok\n" }))
            .route("/ready", get(ready))
            .route("/metrics", get(metrics));
        if open {
            router = router
                .route("/api/v1/ledger", get(ledger))
                .route("/api/v1/audit", get(audit))
                .route("/api/v1/config", get(config))
                .route("/api/v1/reload", post(reload))
                .route("/api/v1/plan", post(plan))
                .route("/api/v1/tap", post(tap::tap))
                .route("/api/v1/components", get(components::components))
                .route("/api/v1/openapi.json", get(openapi));
        }
        let router = router.layer(middleware::from_fn_with_state(api.clone(), guard)).with_state(api);
        crate::http::server::serve(listener, tls, router, stop).await;
        Ok(())
    }

    /// The ledger as a page in Prometheus' text format.
    pub fn metrics_page(&self) -> String {
        let mut page = exposition(&self.run_ledger.now(), &mut self.scraped.locked());
        if let Some(reloads) = &self.reloads {
            page.push_str(&reloads.now().page());
        }
        page
    }
}

/// Checks the Host header and, where there is `auth`, who asks; probes of liveness need no password.
async fn guard(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    if !host_is_ours(host, &api.allowed_hosts) {
        let text = "this Host is not allowed; add it to api.allowed_hosts\n";
        return (StatusCode::MISDIRECTED_REQUEST, text).into_response();
    }
    let open = matches!(request.uri().path(), "/health" | "/ready");
    if !open && !api.auth.is_empty() && !api.auth.allows(request.headers()) {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Basic realm=\"tidegate\"")], "unauthorized\n")
            .into_response();
    }
    next.run(request).await
}

async fn ready(State(api): State<Arc<Api>>) -> Response {
    let mut why = String::new();
    if api.shutdown.is_cancelled() {
        why.push_str("stopping\n");
    }
    for (id, health) in api.health.now().iter() {
        if !health.is_started() {
            let _always = writeln!(why, "{id}: not started yet");
        } else if let Some(reason) = health.failing_for(GRACE) {
            let _always = writeln!(why, "{id}: {reason}");
        }
    }
    if why.is_empty() { "ready\n".into_response() } else { (StatusCode::SERVICE_UNAVAILABLE, why).into_response() }
}

async fn metrics(State(api): State<Arc<Api>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], api.metrics_page()).into_response()
}

async fn ledger(State(api): State<Arc<Api>>) -> Response {
    let text = serde_json::to_string_pretty(&api.run_ledger.now().ledger()).unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// What the agent runs from.
async fn config(State(api): State<Arc<Api>>) -> Response {
    match &api.reloads {
        Some(reloads) => json(StatusCode::OK, &reloads.now().to_json()),
        None => (StatusCode::NOT_FOUND, "this agent's configuration cannot change\n").into_response(),
    }
}

/// Reads the configuration again and answers with what came of it. Not for pages of a browser: these name their origin.
async fn reload(State(api): State<Arc<Api>>, headers: axum::http::HeaderMap) -> Response {
    let Some(reloads) = &api.reloads else {
        return (StatusCode::NOT_FOUND, "this agent's configuration cannot change\n").into_response();
    };
    if headers.contains_key(header::ORIGIN) {
        return (StatusCode::FORBIDDEN, "a page of a browser may not ask for this\n").into_response();
    }
    match reloads.ask().await {
        Some(result) => {
            let status = match result.outcome {
                Outcome::Ok | Outcome::Unchanged => StatusCode::OK,
                Outcome::Mistakes => StatusCode::UNPROCESSABLE_ENTITY,
                Outcome::Failed => StatusCode::CONFLICT,
            };
            json(status, &result.to_json())
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, "the agent stops\n").into_response(),
    }
}

/// Says what another configuration would change. What is given is tried with the agent's rights, its environment among them, so only
/// who has credentials may ask, or who can read `agent.json`.
async fn plan(State(api): State<Arc<Api>>, request: Request) -> Response {
    let Some(planner) = api.planner.clone() else {
        return (StatusCode::NOT_FOUND, "this agent's configuration cannot change\n").into_response();
    };
    let headers = request.headers();
    if headers.contains_key(header::ORIGIN) {
        return (StatusCode::FORBIDDEN, "a page of a browser may not ask for this\n").into_response();
    }
    let shown = headers.get(OWN_TOKEN).map_or(&b""[..], |value| value.as_bytes());
    let is_own = api.own_token.as_ref().is_some_and(|token| KnownText::of(token.as_bytes()).is(&KnownText::of(shown)));
    if api.auth.is_empty() && !is_own {
        let detail = "set `api.auth`, or ask as a user who can read `agent.json` in the agent's `data_dir`, with its token in X-Tidegate-Token";
        return json(StatusCode::FORBIDDEN, &serde_json::json!({"result": "failed", "detail": detail}));
    }
    // Before its body is read: those that wait hold none.
    let _one = api.planning.lock().await;
    let Ok(question) = axum::body::to_bytes(request.into_body(), MAX_QUESTION).await else {
        return json(
            StatusCode::PAYLOAD_TOO_LARGE,
            &serde_json::json!({"result": "failed", "detail": "the question is too long"}),
        );
    };
    match tokio::task::spawn_blocking(move || planner(&question)).await {
        Ok((status, answer)) => {
            json(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &answer)
        }
        Err(_) => json(
            StatusCode::INTERNAL_SERVER_ERROR,
            &serde_json::json!({"result": "failed", "detail": "it panicked: this is a bug"}),
        ),
    }
}

/// What each call is.
async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("../../docs/openapi.json")).into_response()
}

fn json(status: StatusCode, value: &serde_json::Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

async fn audit(State(api): State<Arc<Api>>) -> Response {
    let Some(keeper) = &api.ledger else {
        return (StatusCode::NOT_FOUND, "no ledger is kept\n").into_response();
    };
    let text = serde_json::to_string(&keeper.now()).unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// The ledger in Prometheus' text format, rendered by the `metrics` exporter.
///
/// `tidegate_utilization` is the share of the time since a page before that a component's work took on one worker, for
/// sources (decoding) and transforms.
pub fn exposition(run_ledger: &RunLedger, scraped: &mut Scraped) -> String {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    for (name, help) in HELP {
        recorder.describe_counter((*name).into(), None, (*help).into());
        recorder.describe_gauge((*name).into(), None, (*help).into());
    }
    let mut histograms = [String::new(), String::new()];
    let (now, wall) = (clock::monotonic_ns(), clock::now_ns());
    let before = scraped.base(now, run_ledger);
    let seconds = now.saturating_sub(before.at) as f64 / 1e9;
    for component in &run_ledger.components {
        let totals = component.snapshot();
        let labels = |extra: Option<(&'static str, String)>| {
            let mut all = labels_of(component);
            all.extend(extra.map(|(k, v)| Label::new(k, v)));
            all
        };
        let count = |name: &str, extra: Option<(&'static str, String)>, n: u64| {
            set(&recorder, name, labels(extra), Value::Count(n));
        };
        let gauge = |name: String, extra: Option<(&'static str, String)>, x: f64| {
            set(&recorder, &name, labels(extra), Value::Gauge(x));
        };
        count("tidegate_events_in_total", None, totals.events_in);
        count("tidegate_events_out_total", None, totals.events_out);
        count("tidegate_events_created_total", None, totals.events_created);
        count("tidegate_bytes_in_total", None, totals.bytes_in);
        count("tidegate_bytes_out_total", None, totals.bytes_out);
        gauge("tidegate_events_held".into(), None, totals.held as f64);
        if component.kind == ComponentKind::Sink {
            let since = component.oldest_held(&totals).unwrap_or(wall);
            gauge("tidegate_oldest_held_seconds".into(), None, wall.saturating_sub(since).max(0) as f64 / 1e9);
        }
        count("tidegate_component_starts_total", None, totals.starts);
        if component.kind != ComponentKind::Transform {
            count("tidegate_component_restarts_total", None, totals.restarts);
        }
        for (reason, n) in &totals.dropped {
            count("tidegate_events_dropped_total", Some(("reason", (*reason).into())), *n);
        }
        for (reason, n) in &totals.rejected {
            count("tidegate_events_rejected_total", Some(("reason", (*reason).into())), *n);
        }
        for (kind, n) in &totals.errors {
            count("tidegate_errors_total", Some(("kind", (*kind).into())), *n);
        }
        for ((metric, rule), n) in &totals.rules {
            count(&format!("tidegate_{metric}_total"), Some(("rule", rule.to_string())), *n);
        }
        for (name, x) in &totals.gauges {
            gauge(format!("tidegate_{name}"), None, *x);
        }
        for (name, seconds) in &totals.seconds {
            gauge(format!("tidegate_{name}_seconds_total"), None, *seconds);
        }
        if let Some(&busy) = totals.seconds.get("busy") {
            let last = before.seconds.get(&component.id).copied().unwrap_or(0.0);
            gauge("tidegate_utilization".into(), None, ((busy - last) / seconds.max(1e-3)).clamp(0.0, 1.0));
        }
        for ((name, _, bounds), (lines, histogram)) in
            HISTOGRAMS.iter().zip(histograms.iter_mut().zip([component.latency(), component.age()]))
        {
            if !histogram.is_empty() {
                write_histogram(lines, name, component, bounds, &histogram);
            }
        }
    }
    // The exporter's counters are integers; seconds are not, and go through it as gauges.
    let mut page = recorder.handle().render().replace("_seconds_total gauge\n", "_seconds_total counter\n");
    for ((name, help, _), lines) in HISTOGRAMS.iter().zip(histograms) {
        if !lines.is_empty() {
            page.push_str(&format!("# HELP {name} {help}\n# TYPE {name} histogram\n{lines}\n"));
        }
    }
    let version = env!("CARGO_PKG_VERSION");
    page.push_str("# HELP tidegate_build_info The program that runs\n# TYPE tidegate_build_info gauge\n");
    page.push_str(&format!("tidegate_build_info{{version=\"{version}\"}} 1\n"));
    page.push_str(&crate::process::page());
    page
}

#[inline(never)]
fn labels_of(component: &Counters) -> Vec<Label> {
    vec![
        Label::new("component_id", component.id.to_string()),
        Label::new("component_type", component.type_name),
        Label::new("component_kind", component.kind.name()),
    ]
}

enum Value {
    Count(u64),
    Gauge(f64),
}

#[inline(never)]
fn set(recorder: &PrometheusRecorder, name: &str, labels: Vec<Label>, value: Value) {
    let key = Key::from_parts(name.to_owned(), labels);
    let metadata = Metadata::new("tidegate", Level::INFO, None);
    match value {
        Value::Count(n) => recorder.register_counter(&key, &metadata).absolute(n),
        Value::Gauge(x) => recorder.register_gauge(&key, &metadata).set(x),
    }
}

/// Buckets, sum and count of microseconds, in seconds. Ids have no character that must be escaped.
fn write_histogram(
    to: &mut String,
    name: &str,
    component: &Counters,
    bounds: &[f64],
    histogram: &hdrhistogram::Histogram<u64>,
) {
    let labels = format!(
        "component_id=\"{}\",component_type=\"{}\",component_kind=\"{}\"",
        component.id,
        component.type_name,
        component.kind.name()
    );
    for bound in bounds {
        let below = histogram.count_between(0, (bound * 1e6) as u64);
        to.push_str(&format!("{name}_bucket{{{labels},le=\"{bound}\"}} {below}\n"));
    }
    let count = histogram.len();
    let sum = histogram.mean() * count as f64 / 1e6;
    to.push_str(&format!("{name}_bucket{{{labels},le=\"+Inf\"}} {count}\n"));
    to.push_str(&format!("{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {count}\n"));
}

/// Distributions since the start: name, words, upper bounds of the buckets in seconds.
const HISTOGRAMS: [(&str, &str, &[f64]); 2] = [
    (
        "tidegate_send_latency_seconds",
        "From a request's start to its answer, or of a write",
        &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0],
    ),
    (
        "tidegate_event_age_seconds",
        "From where an event began, or was received, to its delivery",
        &[
            0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
            21600.0, 86400.0,
        ],
    ),
];

/// What each number says, shown as `# HELP`.
const HELP: &[(&str, &str)] = &[
    ("tidegate_events_in_total", "Events taken in"),
    ("tidegate_events_out_total", "Events put out; of a sink, delivered"),
    ("tidegate_events_created_total", "Events made beyond those taken in"),
    ("tidegate_bytes_in_total", "Bytes read, or given to a sink"),
    ("tidegate_bytes_out_total", "Bytes written or sent"),
    ("tidegate_events_dropped_total", "Events gone by policy, by reason"),
    ("tidegate_events_rejected_total", "Events sent to a rejected output or a dead letter, by reason"),
    ("tidegate_errors_total", "Mistakes that did not end an event, by kind"),
    ("tidegate_events_held", "Events taken in and not settled yet"),
    ("tidegate_oldest_held_seconds", "Age of the oldest event that the sink holds; 0 where it holds none"),
    (
        "tidegate_circuit_state",
        "The circuit to the sink's server: 0 closed, 1 half open (one request probes it), 2 open",
    ),
    ("tidegate_component_up", "Whether the component runs: 0 while one that has failed waits to be started again"),
    (
        "tidegate_component_starts_total",
        "How often the component was started: with the agent, changed by a reload, or again",
    ),
    ("tidegate_component_restarts_total", "How often the component was started again because it had failed"),
    ("tidegate_stalled", "Whether a call of the component does not return"),
    ("tidegate_buffer_events", "Events in the buffer"),
    ("tidegate_buffer_bytes", "Bytes that the buffer takes"),
    ("tidegate_buffer_max_bytes", "Bytes that the buffer may take"),
    ("tidegate_utilization", "Share of the last seconds (5 at least) that the component's work took on one worker"),
    ("tidegate_busy_seconds_total", "Time that the component's work took"),
    ("tidegate_backpressure_seconds_total", "Time that the component waited for room downstream"),
    ("tidegate_file_lag_bytes", "Bytes in the files that are not read yet"),
    ("tidegate_checkpoint_age_seconds", "Time since the oldest settled position that is not on disk; 0 when all are"),
    ("tidegate_redacted_total", "Texts replaced, by rule"),
    ("tidegate_validate_errors_total", "Events with this error, by rule"),
    ("tidegate_validate_warnings_total", "Events with this warning, by rule"),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn api() -> Api {
        let counters = Counters::new("app", ComponentKind::Source, "file");
        counters.update(|t| {
            t.events_in = 3;
            t.events_out = 2;
            t.drop_events("filtered", 1);
            t.spend("backpressure", 1.5);
        });
        Api {
            run_ledger: RunLedger { components: vec![counters], ..RunLedger::default() }.into(),
            health: Live::default(),
            auth: ApiAuth::default(),
            allowed_hosts: vec!["agent.example".into()],
            shutdown: CancellationToken::new(),
            ledger: None,
            reloads: None,
            planner: None,
            tapper: None,
            queues: Live::default(),
            stop: CancellationToken::new(),
            own_token: None,
            planning: Arc::default(),
            scraped: Arc::default(),
        }
    }

    #[test]
    fn the_page_names_every_counter_with_its_component() {
        let page = api().metrics_page();
        let labels = r#"component_id="app",component_type="file",component_kind="source""#;
        assert!(page.contains(&format!("tidegate_events_in_total{{{labels}}} 3\n")), "{page}");
        assert!(page.contains(&format!("tidegate_events_dropped_total{{{labels},reason=\"filtered\"}} 1\n")), "{page}");
        assert!(page.contains("# TYPE tidegate_backpressure_seconds_total counter\n"), "{page}");
        assert!(page.contains(&format!("tidegate_backpressure_seconds_total{{{labels}}} 1.5\n")), "{page}");
    }

    /// Whoever else asks, and however often, the share is over some seconds.
    #[test]
    fn two_scrapers_do_not_disturb_each_others_shares() {
        let api = api();
        let second = 1_000_000_000;
        let component = &api.run_ledger.now().components[0].clone();
        let mut scraped = Scraped::default();
        let mut share = |at: u64| {
            let busy = component.snapshot().seconds.get("busy").copied().unwrap_or(0.0);
            let base = scraped.base(at, &api.run_ledger.now());
            (busy - base.seconds.get(&component.id).copied().unwrap_or(0.0)) / ((at - base.at) as f64 / 1e9)
        };
        for n in 1..60 {
            component.update(|t| t.spend("busy", 0.5));
            let now = n * second;
            let shares = [share(now), share(now + 1), share(now + 2)];
            assert!(shares.iter().all(|s| (s - 0.5).abs() < 0.01), "{n}: {shares:?}");
        }
    }

    #[test]
    fn distributions_are_classic_histograms_and_the_program_tells_of_itself() {
        let counters = Counters::new("out", ComponentKind::Sink, "http");
        for micros in [400, 900, 4_000, 70_000, 2_000_000, 90_000_000] {
            counters.record_latency(Duration::from_micros(micros));
        }
        let page =
            exposition(&RunLedger { components: vec![counters], ..RunLedger::default() }, &mut Scraped::default());
        let bucket = |le: &str| {
            let label = format!("le=\"{le}\"}} ");
            let line = page
                .lines()
                .find(|line| line.starts_with("tidegate_send_latency_seconds_bucket") && line.contains(&label));
            line.unwrap().rsplit(' ').next().unwrap().parse::<u64>().unwrap()
        };
        assert_eq!(
            ["0.0005", "0.001", "0.005", "0.1", "2.5", "60", "+Inf"].map(bucket),
            [1, 2, 3, 4, 5, 5, 6],
            "{page}"
        );
        assert!(page.contains("# TYPE tidegate_send_latency_seconds histogram\n"), "{page}");
        assert!(
            page.contains(&format!("tidegate_build_info{{version=\"{}\"}} 1\n", env!("CARGO_PKG_VERSION"))),
            "{page}"
        );
        assert!(page.contains("\nprocess_start_time_seconds "), "{page}");
    }

    #[test]
    fn hosts_are_checked() {
        let allowed = ["agent.example".to_owned()];
        for good in ["127.0.0.1:8686", "localhost", "[::1]:8686", "agent.example:1", "AGENT.example"] {
            assert!(host_is_ours(good, &allowed), "{good}");
        }
        for bad in ["evil.example", "", "localhost.evil.example:80"] {
            assert!(!host_is_ours(bad, &allowed), "{bad}");
        }
    }

    #[tokio::test]
    async fn it_answers_and_guards() {
        let mut api = api();
        api.auth.bearer.push(KnownText::of(b"t0ken"));
        let listener = Api::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let server = tokio::spawn(api.serve(listener, None, stop.clone()));
        let _other_test_may_have = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::new();
        let status = |r: reqwest::RequestBuilder| async { r.send().await.unwrap().status().as_u16() };
        assert_eq!(status(client.get(format!("{base}/health"))).await, 200);
        assert_eq!(status(client.get(format!("{base}/ready"))).await, 200);
        assert_eq!(status(client.get(format!("{base}/metrics"))).await, 401);
        assert_eq!(status(client.get(format!("{base}/metrics")).bearer_auth("t0ken")).await, 200);
        assert_eq!(status(client.get(format!("{base}/api/v1/ledger")).bearer_auth("wrong")).await, 401);
        assert_eq!(status(client.get(format!("{base}/health")).header("host", "evil.example")).await, 421);
        let ledger = client.get(format!("{base}/api/v1/ledger")).bearer_auth("t0ken").send().await.unwrap();
        let ledger: serde_json::Value = serde_json::from_str(&ledger.text().await.unwrap()).unwrap();
        assert_eq!(ledger[0]["difference"].to_string(), "0");
        stop.cancel();
        server.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn it_speaks_tls() {
        let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls");
        let cert = fixtures.join("cert.pem");
        let tls = crate::net::tls::TlsServer::open(&crate::net::tls::tests::settings("cert", "key")).unwrap();
        let listener = Api::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = format!("https://localhost:{}/health", listener.local_addr().unwrap().port());
        let stop = CancellationToken::new();
        let server = tokio::spawn(api().serve(listener, Some(tls), stop.clone()));
        let _other_test_may_have = rustls::crypto::ring::default_provider().install_default();
        let pem = std::fs::read(&cert).unwrap();
        let client =
            reqwest::Client::builder().tls_certs_only([reqwest::Certificate::from_pem(&pem).unwrap()]).build().unwrap();
        assert_eq!(client.get(&url).send().await.unwrap().status().as_u16(), 200);
        drop(client);
        stop.cancel();
        server.await.unwrap().unwrap();
    }
}
