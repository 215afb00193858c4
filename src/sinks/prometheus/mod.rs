//! The `prometheus` sink: series counted from events, on a page that Prometheus scrapes.
//!
//! Log events (and traces) feed the metrics under `metrics:`; metric events are shown as they are. A page shows whole
//! batches only. What is counted lives in memory and begins at zero again with the process, as counters of any process do.
//!
//! An event is delivered, with a page alone, as soon as it is counted: whoever comes sees it, and nobody can know whether
//! somebody does. Where series are pushed (`remote_write`), page or not, it is delivered when the server has taken a push
//! with its counts ([`push`]); until then it is held, and a run that ends so has failed.
//!
//! | `type` | `value` | an event |
//! |---|---|---|
//! | `counter` | may be left out | adds 1 or the value, times 1 / `sample_rate` |
//! | `gauge` | needed | sets it |
//! | `histogram` | needed | is counted in its bucket, 1 / `sample_rate` times |
//! | `summary` | needed | is counted, 1 / `sample_rate` times; quantiles look back `max_age`, within 1 % |
//!
//! An absent, non-numeric or (for a counter) negative value skips that metric, counted as an error of kind `value`.
//! Numbers in text count as numbers. A metric event's value is its state; one with `temporality: delta` (or
//! `kind: incremental`) adds to what there is. Samples of somebody else's histogram or summary (names with `_bucket`, `_sum`,
//! `_count`, label `quantile`) stand together as one family of that type, with their exemplars in OpenMetrics; bounds that its
//! last point does not have any more leave. Names of metric events become allowed ones with `_`. The end of
//! a series (`stale: true` without a value, as remote write brings it) takes the series off.
//!
//! `listen` serves the page (pull), `remote_write` sends the same series at an interval (push); one of them or both.
//!
//! Memory: at most `max_series` series; label values are cut at 1 KiB. What comes beyond is counted (errors of kind
//! `max_series`; metric events are dropped with that reason) and said once a minute.

mod collect;
mod exemplar;
mod names;
mod page;
mod push;
mod registry;
mod sample;
mod serve;
mod sketch;
#[cfg(test)]
mod tests;
mod whole;

use crate::ack::Ack;
use crate::buffer::Received;
use crate::component::common::SinkCommon;
use crate::component::plan::{Preview, SinkPlan};
use crate::component::{BuildContext, Input, SinkRun};
use crate::error::{BuildError, RunError};
use crate::event::{Batch, EventRef, FieldPath, Slab};
use crate::net::sockets::ListenError;
use crate::settings::{Map, Reader, Span, Spanned, config, config_enum};
use crate::sync::Locked;
use crate::telemetry::log_throttle::LogThrottle;
use crate::template::Template;
use crate::time::clock;
use collect::{Collector, MetricOptions};
use names::Kind;
pub use push::RemoteWriteConfig;
use push::{Held, Push, Waiting};
use registry::{FamilyOptions, Registry};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

config_enum! {
    /// What a metric is.
    pub enum MetricType {
        /// Only grows.
        Counter = "counter",
        /// The last value.
        Gauge = "gauge",
        /// Counts by bucket.
        Histogram = "histogram",
        /// Quantiles.
        Summary = "summary",
    }
}

impl MetricType {
    fn kind(self) -> Kind {
        match self {
            MetricType::Counter => Kind::Counter,
            MetricType::Gauge => Kind::Gauge,
            MetricType::Histogram => Kind::Histogram,
            MetricType::Summary => Kind::Summary,
        }
    }
}

config! {
    /// A metric counted from log events.
    pub struct MetricConfig {
        /// Its name.
        pub name: Spanned<String>,
        /// What it is.
        pub r#type: Spanned<MetricType>,
        /// The field with the value. A counter without one counts events.
        pub value: Option<FieldPath> = None,
        /// Labels: texts that may hold `{{ field }}`; an absent field is the empty string.
        pub labels: Map<Template> = Map::default(),
        /// Upper bounds of a histogram's buckets, growing; +Inf is added.
        pub buckets: Vec<f64> = Vec::new(),
        /// Quantiles of a summary, 0 to 1.
        pub quantiles: Vec<f64> = Vec::new(),
        /// How far back a summary's quantiles look.
        pub max_age: Duration = Duration::from_secs(600),
        /// What it counts, for the page. Made up from type and field where it is left out.
        pub description: Option<String> = None,
        /// Its unit, such as `seconds`.
        pub unit: Option<String> = None,
    }
}

config! {
    /// Counts events and shows the counts to Prometheus.
    pub struct PrometheusConfig {
        /// Where the page is served: the server comes and takes it.
        pub listen: Option<Spanned<SocketAddr>> = None,
        /// Path of the page.
        pub path: Spanned<String> = Spanned::new("/metrics".to_owned(), Span::default()),
        /// A server that the series are sent to.
        pub remote_write: Option<RemoteWriteConfig> = None,
        /// What is counted from log events. Metric events are shown as they are.
        pub metrics: Vec<MetricConfig> = Vec::new(),
        /// Series that have not changed for so long are taken off the page. Never where it is left out.
        pub expire_after: Option<Duration> = None,
        /// Series at most. What comes beyond is counted and dropped.
        pub max_series: usize = 10_000,
        /// What all sinks have.
        flatten pub common: SinkCommon,
    }
}

/// Buckets where none are given: Prometheus' own, for seconds.
const DEFAULT_BUCKETS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Quantiles where none are given.
const DEFAULT_QUANTILES: &[f64] = &[0.5, 0.9, 0.99];
/// How far back summaries look whose metric comes with the event.
const DEFAULT_WINDOW: Duration = Duration::from_secs(600);

impl MetricConfig {
    fn check(&self, cx: &mut Reader<'_>) {
        let (name, span) = (&self.name.value, self.name.span);
        let kind = self.r#type.value;
        if !names::is_metric_name(name) {
            cx.error(span, format!("`{name}` cannot be the name of a metric"))
                .help("letters, digits, `_` and `:`, not beginning with a digit");
        }
        if kind != MetricType::Counter && self.value.is_none() {
            cx.error(self.r#type.span, format!("a {} needs a `value`: the field to take", kind.word()));
        }
        for (label, _) in self.labels.iter() {
            let reserved = match kind {
                MetricType::Histogram => label.value == "le",
                MetricType::Summary => label.value == "quantile",
                _ => false,
            };
            if reserved {
                cx.error(label.span, format!("the label `{}` is the {}'s own", label.value, kind.word()));
            } else if !names::is_label_name(&label.value) {
                cx.error(label.span, format!("`{}` cannot be the name of a label", label.value))
                    .help("letters, digits and `_`, not beginning with a digit or `__`");
            }
        }
        let growing = self.buckets.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
        if !growing || self.buckets.iter().any(|b| !b.is_finite()) {
            cx.error_at("buckets", format!("`buckets` of `{name}` must grow, each a finite number"));
        }
        if self.quantiles.iter().any(|q| !(0.0..=1.0).contains(q)) {
            cx.error_at("quantiles", format!("`quantiles` of `{name}` must lie between 0 and 1"));
        }
        for (key, given, of) in [
            ("buckets", !self.buckets.is_empty(), MetricType::Histogram),
            ("quantiles", !self.quantiles.is_empty(), MetricType::Summary),
        ] {
            if given && kind != of {
                cx.error_at(key, format!("`{key}` belong to a {}, and `{name}` is a {}", of.word(), kind.word()));
            }
        }
        if let Some(unit) = self.unit.as_ref().filter(|u| !names::is_label_name(u)) {
            cx.error_at("unit", format!("`{unit}` cannot be a unit"))
                .help("letters, digits and `_`: `seconds`, `bytes`");
        }
    }

    fn options(self) -> MetricOptions {
        let or = |given: Vec<f64>, default: &[f64]| if given.is_empty() { default.to_vec() } else { given };
        let help = self.description.unwrap_or_else(|| match (self.r#type.value, &self.value) {
            (_, None) => "Events.".to_owned(),
            (MetricType::Counter, Some(field)) => format!("Sum of the field {field}."),
            (MetricType::Gauge, Some(field)) => format!("Last value of the field {field}."),
            (_, Some(field)) => format!("Values of the field {field}."),
        });
        MetricOptions {
            family: FamilyOptions {
                name: self.name.value,
                kind: self.r#type.value.kind(),
                help,
                unit: self.unit.unwrap_or_default(),
                buckets: or(self.buckets, DEFAULT_BUCKETS),
                quantiles: or(self.quantiles, DEFAULT_QUANTILES),
                window_ns: window_ns(self.max_age),
                part: None,
            },
            value: self.value,
            labels: self.labels.into_iter().map(|(name, value)| (name.value, value)).collect(),
        }
    }
}

fn window_ns(window: Duration) -> u64 {
    u64::try_from(window.as_nanos()).unwrap_or(u64::MAX)
}

impl SinkPlan for PrometheusConfig {
    fn common(&self) -> &SinkCommon {
        &self.common
    }

    fn sends_requests(&self) -> bool {
        self.remote_write.is_some()
    }

    fn check(&self, cx: &mut Reader<'_>) {
        let mut claimed: HashMap<String, &str> = HashMap::new();
        for (n, metric) in self.metrics.iter().enumerate() {
            cx.within(&format!("metrics[{n}]"), |cx| metric.check(cx));
            let name = metric.name.value.as_str();
            for claim in metric.r#type.value.kind().claims(name) {
                let other = *claimed.entry(claim.clone()).or_insert(name);
                if std::ptr::eq(other, name) {
                    continue;
                }
                let message = if other == name {
                    format!("the metric `{name}` is given twice")
                } else {
                    format!("the metrics `{name}` and `{other}` both need the name `{claim}`")
                };
                cx.error(metric.name.span, message);
                break;
            }
        }
        match &self.remote_write {
            Some(push) => cx.within("remote_write", |cx| push.check(cx)),
            None if self.listen.is_none() => {
                let message =
                    format!("nobody sees the metrics{}: neither `listen` nor `remote_write` is set", cx.place());
                cx.error_at("", message).help("write `listen: \"127.0.0.1:9598\"`");
            }
            None => {}
        }
        if !self.path.value.starts_with('/') || self.path.value.contains(['{', '}', '*', '?', '#']) {
            cx.error(self.path.span, "`path` is a plain path such as `/metrics`");
        }
    }

    fn takes_stale(&self) -> bool {
        true
    }

    fn preview(&self, _zone: &jiff::tz::TimeZone) -> Option<Box<dyn Preview>> {
        let metrics = self.metrics.iter().cloned().map(MetricConfig::options).collect();
        Some(Box::new(Shown { metrics, max_series: self.max_series }))
    }

    fn when_changed(&self) -> Option<&'static str> {
        Some("its series begin anew, counters at 0")
    }

    fn listens(&self) -> Vec<Spanned<String>> {
        self.listen.iter().map(|l| Spanned::new(l.value.to_string(), l.span)).collect()
    }

    fn build(self: Box<Self>, cx: &BuildContext) -> Result<SinkRun, BuildError> {
        let listener = match &self.listen {
            None => None,
            Some(listen) => {
                let address = listen.value;
                let listener = crate::net::sockets::shared(&format!("tcp://{address}"), || {
                    let listener = std::net::TcpListener::bind(address)?;
                    listener.set_nonblocking(true)?;
                    Ok((listener, None))
                });
                Some(listener.map_err(|source| ListenError { address: address.to_string(), source })?)
            }
        };
        let push = self.remote_write.map(|push| Push::new(push, &cx.data_dir, &cx.id)).transpose()?;
        let options = Options {
            path: self.path.value,
            metrics: self.metrics.into_iter().map(MetricConfig::options).collect(),
            expire_after: self.expire_after,
            max_series: self.max_series,
        };
        run_on(listener, push, options)
    }
}

/// Shows the samples that one event alone makes.
struct Shown {
    metrics: Vec<MetricOptions>,
    max_series: usize,
}

impl Preview for Shown {
    fn show(&mut self, event: EventRef<'_>, out: &mut Vec<u8>) -> Result<Option<String>, String> {
        let mut registry = Registry::new(self.max_series, None);
        let mut collector = Collector::new(self.metrics.clone(), event_defaults(), &mut registry)
            .map_err(|taken| format!("two metrics need names of `{}`", taken.0))?;
        let from = event.batch();
        let mut alone = Batch::new(Slab::default(), from.origin.clone(), from.received_at, Ack::none());
        alone.copy_event(from, event.row());
        let registry = Mutex::new(registry);
        let outcome = collector.batch(&alone, &registry, 0);
        if let Some((_, why)) = outcome.refused.into_iter().next() {
            return Err(why);
        }
        let mut page = Vec::new();
        page::write(&registry.into_inner().unwrap_or_else(|e| e.into_inner()), sample::Format::Text, &mut page);
        let samples = page.split(|b| *b == b'\n').filter(|line| !line.is_empty() && line[0] != b'#');
        out.extend(samples.collect::<Vec<_>>().join(&b'\n'));
        Ok(None)
    }

    fn series(&mut self, event: EventRef<'_>) -> Vec<Vec<(String, String)>> {
        let mut samples = Vec::new();
        if self.show(event, &mut samples).is_err() {
            return Vec::new();
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let series = |line: &[u8]| {
            let end = line.iter().rposition(|b| *b == b' ').unwrap_or(line.len());
            let (name, labels) = match line[..end].iter().position(|b| *b == b'{') {
                Some(at) => (&line[..at], line.get(at + 1..end - 1).unwrap_or_default()),
                None => (&line[..end], &b""[..]),
            };
            let mut all = vec![("__name__".to_owned(), text(name))];
            sample::each_label(labels, |name, value| all.push((text(name), text(&value))));
            all
        };
        samples.split(|b| *b == b'\n').filter(|line| !line.is_empty()).map(series).collect()
    }
}

/// Of families that come with events.
fn event_defaults() -> FamilyOptions {
    FamilyOptions {
        name: String::new(),
        kind: Kind::Gauge,
        help: String::new(),
        unit: String::new(),
        buckets: DEFAULT_BUCKETS.to_vec(),
        quantiles: DEFAULT_QUANTILES.to_vec(),
        window_ns: window_ns(DEFAULT_WINDOW),
        part: None,
    }
}

/// What the sink does, besides listening.
struct Options {
    path: String,
    metrics: Vec<MetricOptions>,
    expire_after: Option<Duration>,
    max_series: usize,
}

/// The sink over a listening socket: pages are served and series pushed on the runtime, batches are counted on a thread of
/// their own.
fn run_on(
    listener: Option<(std::net::TcpListener, crate::net::sockets::Holder)>,
    push: Option<Push>,
    options: Options,
) -> Result<SinkRun, BuildError> {
    let mut registry = Registry::new(options.max_series, options.expire_after.map(window_ns));
    if let Some(push) = &push {
        registry.keep_until_sent();
        registry.describes = push.describes();
    }
    let collector = Collector::new(options.metrics, event_defaults(), &mut registry)
        .map_err(|taken| BuildError::config(format!("two metrics need names of `{}`", taken.0)))?;
    Ok(SinkRun::Task(Box::new(move |input| Box::pin(run(listener, push, options.path, collector, registry, input)))))
}

async fn run(
    listener: Option<(std::net::TcpListener, crate::net::sockets::Holder)>,
    push: Option<Push>,
    path: String,
    collector: Collector,
    registry: Registry,
    input: Input,
) -> Result<(), RunError> {
    let (listener, _holder) = listener.unzip();
    if let Some(address) = listener.as_ref().and_then(|l| l.local_addr().ok()) {
        tracing::info!(component = %input.counters().id, %address, path, "metrics are served");
    }
    let registry = Arc::new(Mutex::new(registry));
    let input = Arc::new(input);
    let (stop, counted_all) = (CancellationToken::new(), CancellationToken::new());
    let (tell, counted) = tokio::sync::oneshot::channel();
    let waiting = push.as_ref().map(|_| Arc::<Waiting>::default());
    let name: String = input.counters().id.chars().take(15).collect();
    let thread = std::thread::Builder::new().name(name).spawn({
        let (registry, waiting, input) = (registry.clone(), waiting.clone(), input.clone());
        move || {
            count(collector, &registry, waiting.as_deref(), &input);
            let _nobody_waits = tell.send(());
        }
    });
    thread.map_err(RunError::Thread)?;
    input.health().working();
    let page_only = push.is_none().then(|| input.clone());
    let pushed = push
        .zip(waiting)
        .map(|(push, waiting)| tokio::spawn(push.run(registry.clone(), waiting, input, counted_all.clone())));
    let served = async {
        match listener {
            Some(listener) => serve::serve(listener, &path, registry.clone(), stop.clone()).await,
            None => {
                stop.cancelled().await;
                Ok(())
            }
        }
    };
    tokio::pin!(served);
    let mut result = tokio::select! {
        ended = counted => {
            stop.cancel();
            // Requests that are being answered get their answer; idle connections are not waited for.
            let _in_time = tokio::time::timeout(Duration::from_secs(1), served).await;
            if let Some(input) = &page_only {
                say_unseen(&registry, input);
            }
            ended.map_err(|_| RunError::panicked("it"))
        }
        result = &mut served => {
            let why = result.err().unwrap_or_else(|| std::io::Error::other("the server ended"));
            Err(RunError::io("cannot serve metrics")(why))
        }
    };
    counted_all.cancel();
    if let Some(pushed) = pushed
        && pushed.await.is_err()
    {
        result = result.and(Err(RunError::panicked("remote write")));
    }
    result
}

/// Says how many events were counted since the page was fetched last: nobody will see them there any more.
fn say_unseen(registry: &Mutex<Registry>, input: &Input) {
    const WORDS: &str = "nobody has fetched the page since these events were counted; their counts end with it";
    let id = &input.counters().id;
    match registry.locked().unseen {
        (0, _) => {}
        (events, true) => tracing::info!(component = %id, events, "{WORDS}"),
        (events, false) => tracing::warn!(component = %id, events, "{WORDS}"),
    }
}

/// How often series grow old where nobody scrapes.
const AGE: Duration = Duration::from_secs(10);

/// Counts batches until no more come. Without anyone who waits for them to be sent they are delivered then.
fn count(mut collector: Collector, registry: &Mutex<Registry>, waiting: Option<&Waiting>, input: &Input) {
    let mut full = LogThrottle::default();
    let mut aged = clock::monotonic();
    loop {
        if waiting.is_some_and(|waiting| !waiting.wait_for_room(input.abort())) {
            return;
        }
        match input.recv_timeout(AGE) {
            Received::Batch(mut batch) => {
                let outcome = collector.batch(&batch, registry, clock::monotonic_ns());
                let events = batch.len() as u64;
                let refused = outcome.refused.len() as u64;
                for group in outcome.refused.chunk_by(|a, b| a.1 == b.1) {
                    let rows: Vec<usize> = group.iter().map(|r| r.0).collect();
                    input.refuse(&batch, &rows, "encode", &group[0].1);
                }
                if outcome.no_value + outcome.full + outcome.dropped > 0 {
                    input.count(|t| {
                        t.error("value", outcome.no_value);
                        t.error("max_series", outcome.full + outcome.dropped);
                    });
                }
                if let Some(series) = full.due(outcome.full + outcome.dropped) {
                    tracing::warn!(component = %input.counters().id, series, "more series than `max_series`; the rest is dropped");
                }
                if outcome.dropped > 0 {
                    input.dropped(crate::ack::Ack::none(), "max_series", outcome.dropped);
                }
                let (ack, left) = (batch.ack.take(), events - refused - outcome.dropped);
                let received_at = batch.received_at;
                match waiting {
                    Some(waiting) => waiting.add(Held { ack, events: left, received_at, refusals: 0 }),
                    None => input.delivered(ack, left, 0, received_at),
                }
                batch.recycle();
            }
            Received::Timeout => {}
            Received::Closed => return,
        }
        if aged.elapsed() >= AGE {
            aged = clock::monotonic();
            let mut registry = registry.locked();
            registry.age(clock::monotonic_ns());
            let series = registry.len() as f64;
            drop(registry);
            input.count(|t| t.gauges.insert("prometheus_series", series));
        }
    }
}
