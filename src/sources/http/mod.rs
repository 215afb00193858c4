//! The `http` source: bodies of JSON and text, and the interfaces of systems whose clients exist.
//!
//! ```yaml
//! sources:
//!   in: {type: http, listen: "127.0.0.1:5080", auth: {basic: {user: app, password: "${APP_PASSWORD}"}}}
//! ```
//!
//! A path per format: `paths: {"/logs/{app}": json, "/es": elasticsearch}`. Without `paths`, everything is where clients
//! expect it: `POST /` takes JSON and lines; OpenObserve's and Elasticsearch's interfaces, OTLP (`/v1/logs`, …) and
//! Prometheus remote write (`/api/v1/write`) stand below it. A path's variables are metadata, `@http.app`, as are `@peer`, `@user`,
//! `@tls.subject` and the headers that are listed.
//!
//! Guarantee: with `acknowledge: delivered` (the default) a request is answered with success when every sink (or its
//! disk buffer) has its events. Past `acknowledge_timeout` it is refused, as it is when a sink gives up; its events may
//! still arrive. A request is taken whole or refused whole, or item by item where its format answers so; one whose
//! client goes away before its end leaves nothing behind.
//!
//! Downstream full: requests wait for room up to `acknowledge_timeout`, then are refused with `Retry-After`: 503, or
//! 429 where the system that is stood in for says so. So are those over `max_in_flight`.
//!
//! Connections: those that ask nothing give way when there are no places left, the longest idle first. One costs about 2 KiB
//! before its first byte, 40 KiB at most before its client has shown who it is (64 over TLS).
//!
//! Limits: `max_body` bytes of a body, compressed and decompressed; `max_event` of one event; heads of 16 KiB; time for
//! head, body and silence. Bodies being read hold a quarter of `memory_limit` together, and one request at a time may go
//! beyond it, up to its `max_body`.

mod auth;
mod body;
mod bulk;
mod connection;
mod cors;
mod decode;
mod elasticsearch;
pub mod format;
mod forwarded;
mod handle;
mod headers;
mod msgpack;
mod openobserve;
mod peer;
mod plain;
mod route;
mod settings;
mod signals;
#[cfg(test)]
mod tests;

pub use auth::AuthConfig;
pub use cors::CorsConfig;
pub use headers::KeptHeader;
pub use route::Paths;
pub use settings::HttpCommon;

use crate::component::WantedConnections;
use crate::component::common::{SourceCommon, say_cut};
use crate::component::plan::SourcePlan;
use crate::component::{BuildContext, Output, SourceContext, SourceRun};
use crate::decoding::{FrameDecoder, JsonDecoder};
use crate::error::{BuildError, RunError, SettingError};
use crate::net::connections::{Limits, Places};
use crate::net::proxy_protocol::ProxyProtocol;
use crate::net::sockets::{self, Holder, ListenError};
use crate::net::tls::{ClientAuth, ServerTls, TlsServer};
use crate::settings::{Network, OneOrMany, Reader, Size, Spanned, config, config_enum};
use crate::sync::Locked;
use crate::telemetry::Counters;
use crate::telemetry::log_throttle::LogThrottle;
use auth::Auth;
use body::Budget;
use decode::HttpDecoder;
use route::Routes;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

config_enum! {
    /// When a request is answered with success.
    pub enum Acknowledge {
        /// When every sink, or its disk buffer, has its events.
        Delivered = "delivered",
        /// When its events are on their way; what is in memory then is lost in a crash.
        Received = "received",
    }
}

config! {
    /// Bodies over HTTP: JSON, text, and what clients of OpenObserve, Elasticsearch, OpenTelemetry and Prometheus send.
    pub struct HttpConfig {
        /// Addresses and ports, one or several.
        pub listen: OneOrMany<Spanned<SocketAddr>>,
        /// Certificate and key, to serve HTTPS, and whose certificates are taken.
        pub tls: Option<ServerTls> = None,
        /// Whether connections begin with a header of the PROXY protocol, whose address is `@peer` then.
        pub proxy_protocol: ProxyProtocol = ProxyProtocol::Off,
        /// Who may send; without it everybody.
        pub auth: Option<AuthConfig> = None,
        /// What each path is for; `{name}` in a path is a variable, `@http.name`.
        pub paths: Paths = route::default_paths(),
        /// Headers that are metadata of a request's events: `x-request-id` is `@http.header.x_request_id`. Never those that
        /// carry credentials.
        pub headers: Vec<KeptHeader> = Vec::new(),
        /// Addresses and networks (`10.0.0.0/8`) of proxies whose `X-Forwarded-For` is believed: `@peer` is the last address
        /// in it that is none of theirs. Without it `@peer` is who connects.
        pub trusted_proxies: Vec<Network> = Vec::new(),
        /// When a request is answered with success.
        pub acknowledge: Acknowledge = Acknowledge::Delivered,
        /// Longest wait for that; then 503 (429 to Elasticsearch's clients) with `Retry-After`.
        pub acknowledge_timeout: Duration = Duration::from_secs(30),
        /// Longest body, in decompressed bytes.
        pub max_body: Size = Size::mib(20),
        /// Longest single event of a body, in bytes.
        pub max_event: Size = Size::mib(4),
        /// Most requests handled at once; further ones are refused with `Retry-After`.
        pub max_in_flight: u32 = 1024,
        /// Most connections at once. Beyond them, those that ask nothing give way to new ones; where all are within requests,
        /// new ones wait in the system's queue. Without it 2048, or as many as fit a quarter of `memory_limit` (40 KiB each,
        /// over TLS 64) and half of the files that the process may have open; fewer are said at the start.
        pub max_connections: Option<u32> = None,
        /// A head must be whole in this time from its first byte.
        pub header_timeout: Duration = Duration::from_secs(10),
        /// A body must be whole in this time.
        pub body_timeout: Duration = Duration::from_secs(60),
        /// Longest silence: within a body, or of a connection between requests.
        pub idle_timeout: Duration = Duration::from_secs(60),
        /// Which pages in browsers may send; without it none.
        pub cors: Option<CorsConfig> = None,
        /// What all sources have.
        flatten pub common: HttpCommon,
    }
}

impl HttpConfig {
    /// Whether nobody gets in without a client certificate.
    fn asks_for_certificates(&self) -> bool {
        let required = |tls: &ServerTls| tls.client_ca_file.is_some() && tls.client_auth == ClientAuth::Required;
        self.tls.as_ref().is_some_and(required)
    }
}

impl SourcePlan for HttpConfig {
    fn common(&self) -> &SourceCommon {
        &self.common
    }

    fn check(&self, cx: &mut Reader<'_>) {
        if self.listen.is_empty() {
            cx.error_at("listen", "`listen` of an http source is empty; it needs one address at least");
        }
        route::check(&self.paths, cx);
        match &self.auth {
            Some(auth) => cx.within("auth", |cx| auth.check(cx)),
            None if self.asks_for_certificates() => {}
            None => {
                if let Some(open) = self.listen.iter().find(|listen| !listen.ip().is_loopback()) {
                    let message = format!("anybody who reaches `{}` may send, since there is no `auth`", open.value);
                    cx.warn(open.span, message);
                }
            }
        }
        if let Some(cors) = &self.cors {
            cx.within("cors", |cx| cors.check(cx));
        }
        let zero = [
            ("max_body", self.max_body.as_usize() == 0),
            ("max_event", self.max_event.as_usize() == 0),
            ("max_in_flight", self.max_in_flight == 0),
            ("max_connections", self.max_connections == Some(0)),
            ("header_timeout", self.header_timeout.is_zero()),
            ("body_timeout", self.body_timeout.is_zero()),
            ("idle_timeout", self.idle_timeout.is_zero()),
        ];
        for (key, _) in zero.iter().filter(|(_, zero)| *zero) {
            cx.error_at(key, format!("`{key}` of an http source is 0; nothing could come in"));
        }
        if self.max_body.as_usize() > MAX_BODY {
            cx.error_at("max_body", format!("`max_body` of an http source is over {} MiB", MAX_BODY >> 20));
        }
    }

    fn listens(&self) -> Vec<Spanned<String>> {
        self.listen.iter().map(|listen| Spanned::new(listen.value.to_string(), listen.span)).collect()
    }

    fn connections(&self) -> Option<WantedConnections> {
        Some(WantedConnections {
            connections: self.max_connections.unwrap_or(DEFAULT_CONNECTIONS),
            is_explicit: self.max_connections.is_some(),
            bytes_each: if self.tls.is_some() { connection::TLS_BYTES_EACH } else { connection::BYTES_EACH },
        })
    }

    fn decoder(&self, cx: &BuildContext) -> Result<Box<dyn FrameDecoder>, BuildError> {
        Ok(Box::new(HttpDecoder { lines: self.common.decode.build(&cx.timezone)?, json: JsonDecoder::default() }))
    }

    fn overlaps(&self) -> bool {
        true
    }

    fn when_changed(&self) -> Option<&'static str> {
        Some("its socket goes on; each client is told to close with its next answer, and connects again")
    }

    fn build(self: Box<Self>, cx: &BuildContext) -> Result<SourceRun, BuildError> {
        if cx.once {
            return Err(BuildError::config("it has no end, so `--once` would run for ever; leave `--once` out"));
        }
        let listeners: Result<Vec<_>, _> = self.listen.iter().map(|listen| bind(listen.value)).collect();
        let tls = self
            .tls
            .as_ref()
            .map(TlsServer::open)
            .transpose()
            .map_err(|error| BuildError::host(SettingError { setting: "tls", cause: error.into() }))?;
        let (listeners, cx) = (listeners?, cx.clone());
        Ok(SourceRun::Thread(Box::new(move |run| serve(&self, listeners, tls, &cx, run))))
    }
}

/// As far as memory and handles allow.
const DEFAULT_CONNECTIONS: u32 = 2048;

/// Frames are found by places of 32 bits.
const MAX_BODY: usize = 1 << 30;

fn bind(address: SocketAddr) -> Result<(TcpListener, Holder), ListenError> {
    let listener = sockets::shared(&format!("tcp://{address}"), || {
        let listener = TcpListener::bind(address)?;
        // Thousands of clients that come at once find room in the system's queue.
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::MAXALLOWABLE)?;
        listener.set_nonblocking(true)?;
        Ok((listener, None))
    });
    listener.map_err(|source| ListenError { address: address.to_string(), source })
}

/// What all connections of one source share.
struct Shared {
    source: Arc<str>,
    host: Arc<str>,
    counters: Arc<Counters>,
    tls: Option<Arc<TlsServer>>,
    proxy_protocol: ProxyProtocol,
    routes: Routes,
    auth: Auth,
    cors: Option<CorsConfig>,
    headers: Vec<KeptHeader>,
    trusted_proxies: Vec<Network>,
    wait_for_delivery: bool,
    acknowledge_timeout: Duration,
    header_timeout: Duration,
    body_timeout: Duration,
    idle_timeout: Duration,
    max_body: usize,
    max_event: usize,
    budget: Arc<Budget>,
    in_flight: Arc<Semaphore>,
    places: Arc<Places>,
    accept_failed: Mutex<LogThrottle>,
    /// Number of the next connection.
    next: AtomicU64,
    /// Gone once the agent stops: workers end when requests that are being handed over are through.
    output: Mutex<Option<Arc<Output>>>,
    shutdown: CancellationToken,
    /// Another source has the address: each client is told to close with its next answer.
    leave: CancellationToken,
    deadline: CancellationToken,
}

impl Shared {
    fn output(&self) -> Option<Arc<Output>> {
        self.output.locked().clone()
    }

    /// Notes clients that found no place free.
    fn count_waited(&self, last: SocketAddr) {
        let waited = self.places.take_waited();
        if waited > 0 {
            self.counters.update(|t| t.error("connections_at_limit", waited));
            self.counters.example("connections_at_limit", || last.to_string());
        }
    }

    fn count_connection(&self, by: f64) {
        self.counters.update(|t| *t.gauges.entry("connections").or_default() += by);
    }
}

/// Threads that read and answer; workers do the decoding.
const THREADS: usize = 2;

fn serve(
    config: &HttpConfig,
    listeners: Vec<(TcpListener, Holder)>,
    tls: Option<Arc<TlsServer>>,
    cx: &BuildContext,
    run: SourceContext,
) -> Result<(), RunError> {
    let SourceContext { output, shutdown, leave, deadline, counters, .. } = run;
    // Those who come next find the socket open.
    let (listeners, _holders): (Vec<TcpListener>, Vec<Holder>) = listeners.into_iter().unzip();
    let permits = |n: u32| Arc::new(Semaphore::new((n as usize).min(Semaphore::MAX_PERMITS)));
    let shared = Arc::new(Shared {
        source: cx.id.clone(),
        host: cx.host.clone(),
        counters,
        tls,
        proxy_protocol: config.proxy_protocol,
        routes: Routes::new(&config.paths),
        auth: Auth::new(config.auth.as_ref()).map_err(RunError::failed)?,
        cors: config.cors.clone(),
        headers: config.headers.clone(),
        trusted_proxies: config.trusted_proxies.clone(),
        wait_for_delivery: config.acknowledge == Acknowledge::Delivered,
        acknowledge_timeout: config.acknowledge_timeout,
        header_timeout: config.header_timeout,
        body_timeout: config.body_timeout,
        idle_timeout: config.idle_timeout,
        max_body: config.max_body.as_usize(),
        max_event: config.max_event.as_usize(),
        budget: Budget::new(cx.memory_limit / 4),
        in_flight: permits(config.max_in_flight),
        places: {
            let connections = cx.connections as usize;
            Places::new(Limits { connections, silent: usize::MAX, silent_of_peer: usize::MAX })
        },
        accept_failed: Mutex::default(),
        next: AtomicU64::new(0),
        output: Mutex::new(Some(Arc::new(output))),
        shutdown,
        leave,
        deadline,
    });
    if let Some(wanted) = config.connections().filter(|wanted| !wanted.is_explicit) {
        say_cut(&cx.id, cx.connections, wanted.connections, wanted.bytes_each);
    }
    for listener in &listeners {
        let address = listener.local_addr().map_err(RunError::io("cannot tell the address"))?;
        let scheme = if shared.tls.is_some() { "https" } else { "http" };
        tracing::info!(component = %shared.source, address = %format_args!("{scheme}://{address}"), "listening");
    }
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        let mut result = Ok(());
        for n in 0..THREADS {
            let clones: Result<Vec<_>, _> = listeners.iter().map(TcpListener::try_clone).collect();
            let shared = &shared;
            let thread = clones.and_then(|listeners| {
                std::thread::Builder::new()
                    .name(format!("http-{n}"))
                    .spawn_scoped(scope, move || run_acceptor(listeners, shared))
            });
            match thread {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    shared.shutdown.cancel();
                    result = Err(RunError::Thread(error));
                }
            }
        }
        for thread in threads {
            let ended = thread.join().unwrap_or_else(|_| Err(RunError::panicked("a thread")));
            if ended.is_err() {
                shared.shutdown.cancel();
            }
            result = result.and(ended);
        }
        result
    })
}

/// One thread with a runtime of its own, accepting on all listeners.
fn run_acceptor(listeners: Vec<TcpListener>, shared: &Arc<Shared>) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(RunError::io("cannot start a runtime"))?;
    runtime.block_on(async {
        let mut accepting = tokio::task::JoinSet::new();
        for listener in listeners {
            accepting.spawn(connection::accept(listener, shared.clone()));
        }
        let at_the_end = tokio::spawn({
            let shared = shared.clone();
            async move {
                shared.shutdown.cancelled().await;
                drop(shared.output.locked().take());
            }
        });
        let mut result = Ok(());
        while let Some(ended) = accepting.join_next().await {
            let ended = match ended {
                Ok(ended) => ended.map_err(RunError::io("cannot accept")),
                Err(_) => Err(RunError::panicked("accepting")),
            };
            if ended.is_err() {
                shared.shutdown.cancel();
                result = ended;
            }
        }
        // Where another has its place, it ends with its last connection.
        at_the_end.abort();
        result
    })
}
