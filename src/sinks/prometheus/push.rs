//! `remote_write`: the state of all series, sent to a server at an interval.
//!
//! Protocol: Prometheus remote write 1.0 (protobuf `WriteRequest`, snappy block format). Each push carries the values of
//! now, so one that failed is not sent again: the next holds all that is counted. 429, 5xx and lost answers are tried again
//! until the next push is due. The last push is made when the sink ends.

use super::names::Kind;
use super::page;
use super::registry::{Data, Registry};
use crate::component::{BuildError, Health};
use crate::config::{Map, Reader, Secret, Settings, Spanned, config};
use crate::sinks::net::{Exchange, HttpExchange, Mask, NetworkSinkCommon, Request, TlsConfig};
use crate::telemetry::Counters;
use crate::time::clock;
use base64::Engine;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

config! {
    /// Sends the series to a server that takes Prometheus remote write.
    pub struct RemoteWriteConfig {
        /// Where to: `http://prometheus:9090/api/v1/write`.
        pub url: Spanned<String>,
        /// How often.
        pub interval: Duration = Duration::from_secs(15),
        /// How long one attempt may take.
        pub timeout: Duration = Duration::from_secs(30),
        /// Credentials.
        pub auth: Option<PushAuth> = None,
        /// Headers sent with every request.
        pub headers: Map<Secret> = Map::default(),
        /// Proxy, such as `http://proxy:3128`; else what `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` say. `none`: no proxy.
        pub proxy: Option<Secret> = None,
        /// Certificates and names of https.
        pub tls: TlsConfig = TlsConfig::defaults(),
    }
}

config! {
    /// Credentials, of one kind.
    pub struct PushAuth {
        /// User and password.
        pub basic: Option<PushBasic> = None,
        /// A bearer token.
        pub bearer: Option<Secret> = None,
    }
}

config! {
    /// User and password.
    pub struct PushBasic {
        /// The user.
        pub user: String,
        /// The password.
        pub password: Secret,
    }
}

impl RemoteWriteConfig {
    pub(super) fn check(&self, cx: &mut Reader<'_>) {
        let span = self.url.span;
        match Url::parse(&self.url.value) {
            Ok(url) if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() => {
                cx.error(span, "`url` must begin with `http://` or `https://`");
            }
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                cx.error(span, "`url` holds credentials, which would be shown")
                    .help("write them under `auth: {basic: {user: …, password: …}}`");
            }
            Ok(_) => {}
            Err(_) => {
                cx.error(span, "`url` is no address such as `http://prometheus:9090/api/v1/write`");
            }
        }
        if self.interval.is_zero() {
            cx.error(span, "`interval` of `remote_write` must be more than 0");
        }
        if self.auth.as_ref().is_some_and(|a| a.basic.is_some() == a.bearer.is_some()) {
            cx.error(span, "`auth` of `remote_write` needs one of `basic` and `bearer`");
        }
    }
}

/// Series of one request.
const SERIES_PER_REQUEST: usize = 2_000;
/// Bytes of an answer that are read.
const MAX_ANSWER: usize = 8 << 10;
/// How often a failure that goes on is said.
const SAY: Duration = Duration::from_secs(60);
/// Wait before an attempt that follows a failed one.
const RETRY: Duration = Duration::from_secs(1);

/// Sends the registry's state.
pub(super) struct Push {
    exchange: Arc<dyn Exchange>,
    url: Url,
    headers: HeaderMap,
    interval: Duration,
    mask: Mask,
}

impl Push {
    pub(super) fn new(config: RemoteWriteConfig) -> Result<Push, BuildError> {
        let url = Url::parse(&config.url.value).map_err(|e| BuildError(format!("`{}`: {e}", config.url.value)))?;
        let auth = config.auth.as_ref();
        let basic = auth.and_then(|a| a.basic.as_ref());
        let bearer = auth.and_then(|a| a.bearer.as_ref());
        let mut secrets: Vec<&str> = config.headers.iter().map(|(_, v)| v.reveal()).collect();
        secrets.extend(basic.map(|b| b.password.reveal()));
        secrets.extend(bearer.map(|b| b.reveal()));
        let mask = Mask::new(secrets);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        let version = HeaderName::from_static("x-prometheus-remote-write-version");
        headers.insert(version, HeaderValue::from_static("0.1.0"));
        let credentials = basic
            .map(|b| {
                let pair = format!("{}:{}", b.user, b.password.reveal());
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
            })
            .or_else(|| bearer.map(|b| format!("Bearer {}", b.reveal())));
        if let Some(text) = credentials {
            let mut value = HeaderValue::from_str(&text)
                .map_err(|_| BuildError("the credentials hold characters that a header cannot".into()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let common = NetworkSinkCommon {
            timeout: config.timeout,
            headers: config.headers,
            proxy: config.proxy,
            tls: config.tls,
            ..NetworkSinkCommon::defaults()
        };
        let exchange = Arc::new(HttpExchange::build(&common, &url, mask.clone())?);
        let exchange: Arc<dyn Exchange> = Arc::new(TimedOut { exchange, timeout: config.timeout });
        Ok(Push { exchange, url, headers, interval: config.interval, mask })
    }

    /// Pushes until `stop`, then once more.
    pub(super) async fn run(
        self,
        registry: Arc<Mutex<Registry>>,
        health: Arc<Health>,
        counters: Arc<Counters>,
        stop: CancellationToken,
    ) {
        let mut said: Option<Instant> = None;
        loop {
            let last = tokio::select! {
                () = stop.cancelled() => true,
                () = tokio::time::sleep(self.interval) => false,
            };
            match self.push(&registry, &counters, last).await {
                Ok(()) => {
                    health.working();
                    if said.take().is_some() {
                        tracing::info!(component = %counters.id, "remote write works again");
                    }
                }
                Err(why) => {
                    counters.update(|t| t.error("remote_write", 1));
                    health.failing(&why);
                    if last || said.is_none_or(|at| at.elapsed() >= SAY) {
                        said = Some(clock::monotonic());
                        tracing::error!(component = %counters.id, "remote write to {}: {why}", self.url);
                    }
                }
            }
            if last {
                return;
            }
        }
    }

    async fn push(&self, registry: &Mutex<Registry>, counters: &Counters, last: bool) -> Result<(), String> {
        let requests = {
            let mut registry = registry.lock().unwrap_or_else(|e| e.into_inner());
            registry.age(clock::monotonic_ns());
            requests(&registry, clock::now_ns() / 1_000_000)
        };
        let until = clock::monotonic() + self.interval;
        for body in requests {
            loop {
                match self.send(&body, counters).await {
                    Ok(()) => break,
                    Err((why, again)) => {
                        if !again || last || clock::monotonic() + RETRY >= until {
                            return Err(why);
                        }
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        }
        Ok(())
    }

    /// One attempt. Errors: why, and whether to try again.
    async fn send(&self, body: &[u8], counters: &Counters) -> Result<(), (String, bool)> {
        let packed = snap::raw::Encoder::new().compress_vec(body).map_err(|e| (e.to_string(), false))?;
        let bytes = packed.len() as u64;
        let request = Request { url: self.url.clone(), headers: self.headers.clone(), body: Some(packed.into()) };
        let began = clock::monotonic();
        let answer = self.exchange.send(request, MAX_ANSWER).await.map_err(|lost| (lost.why, true))?;
        counters.record_latency(began.elapsed());
        match answer.status {
            200..300 => {
                counters.update(|t| t.bytes_out += bytes);
                Ok(())
            }
            status => {
                let words = self.mask.text(&String::from_utf8_lossy(&answer.body));
                Err((format!("the server answers {status}: {words}"), status == 429 || status >= 500))
            }
        }
    }
}

/// An exchange whose attempts end in time.
struct TimedOut {
    exchange: Arc<HttpExchange>,
    timeout: Duration,
}

impl Exchange for TimedOut {
    fn send(
        &self,
        request: Request,
        max_answer: usize,
    ) -> crate::component::BoxFuture<Result<crate::sinks::net::Answer, crate::sinks::net::Lost>> {
        let (answer, timeout) = (self.exchange.send(request, max_answer), self.timeout);
        Box::pin(async move {
            tokio::time::timeout(timeout, answer).await.unwrap_or_else(|_| {
                let why = format!("no answer within {} s", timeout.as_secs_f64());
                Err(crate::sinks::net::Lost { kind: crate::sinks::net::LostKind::Timeout, why })
            })
        })
    }
}

/// Write requests with the state of all series, `time` in milliseconds since 1970 UTC.
pub(super) fn requests(registry: &Registry, time: i64) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    let mut body = Vec::new();
    let mut n = 0;
    let mut labels: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for family in &registry.families {
        let o = &family.options;
        for series in &family.series {
            let mut sample = |suffix: &str, extra: Option<(&str, f64)>, value: f64| {
                labels.clear();
                labels.push((b"__name__".to_vec(), [o.name.as_bytes(), suffix.as_bytes()].concat()));
                page::each_label(&series.labels, |name, value| {
                    // An empty label is no label.
                    if !value.is_empty() {
                        labels.push((name.to_vec(), value));
                    }
                });
                if let Some((name, bound)) = extra {
                    let mut text = Vec::new();
                    page::write_number(bound, &mut text);
                    labels.push((name.as_bytes().to_vec(), text));
                }
                labels.sort_unstable();
                put_series(&labels, value, time, &mut body);
                n += 1;
            };
            match &series.data {
                Data::Number(x) => sample("", None, *x),
                Data::Histogram { counts, sum } => {
                    let mut count = 0.0;
                    for (bound, more) in o.buckets.iter().copied().chain([f64::INFINITY]).zip(counts) {
                        count += more;
                        sample("_bucket", Some(("le", bound)), count.round());
                    }
                    sample("_sum", None, *sum);
                    sample("_count", None, count.round());
                }
                Data::Summary(summary) => {
                    for &q in &o.quantiles {
                        sample("", Some(("quantile", q)), summary.quantile(q).unwrap_or(f64::NAN));
                    }
                    sample("_sum", None, summary.sum);
                    sample("_count", None, summary.count.round());
                }
            }
            debug_assert!(o.kind != Kind::Unknown || matches!(series.data, Data::Number(_)));
            if n >= SERIES_PER_REQUEST {
                all.push(std::mem::take(&mut body));
                n = 0;
            }
        }
    }
    if !body.is_empty() {
        all.push(body);
    }
    all
}

/// Appends field 1 of `WriteRequest`: a `TimeSeries` of one sample.
fn put_series(labels: &[(Vec<u8>, Vec<u8>)], value: f64, time: i64, out: &mut Vec<u8>) {
    let mut series = Vec::new();
    let mut label = Vec::new();
    for (name, value) in labels {
        label.clear();
        put_bytes(1, name, &mut label);
        put_bytes(2, value, &mut label);
        put_bytes(1, &label, &mut series);
    }
    // Field 1, eight bytes: the value. Field 2, a varint: the time.
    let mut sample = vec![1 << 3 | 1];
    sample.extend_from_slice(&value.to_le_bytes());
    sample.push(2 << 3);
    put_varint(time as u64, &mut sample);
    put_bytes(2, &sample, &mut series);
    put_bytes(1, &series, out);
}

fn put_bytes(field: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(field << 3 | 2);
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn put_varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}
