//! The HTTP client: certificates, proxy, headers; how errors of the library are told without credentials.
//!
//! **Connections that the server closed.** Servers close idle connections, some without a word, and a request that is written
//! at that moment is lost with the connection. That says nothing about the server: such a request goes out once more at
//! once, over a connection of its own, and only what becomes of that is told. It holds for a request that was closed upon
//! before any answer while connections from before may have been in use; the server may have taken it nevertheless, which is
//! no more than what trying again always risks.
//!
//! **Certificates that change.** Files of `tls` are looked at every two seconds while requests are sent. When they have changed
//! and two looks agree, a new client takes over, with connections of its own; files that cannot be read leave the old one.

use super::exchange::{Answer, Exchange, Lost, LostKind, Request};
use super::failure::ClientError;
use super::mask::Mask;
use super::proxy::{from_environment, proxy_at};
use super::retry::retry_after;
use super::settings::{BadHeader, ClientConfig, header};
use super::tls;
use crate::net::tls::{LOOK, Signature, signature};
use crate::settings::{Secret, Settings};
use crate::sync::BoxFuture;
use crate::sync::Locked;
use crate::time::{TimestampReader, clock};
use bytes::{Bytes, BytesMut};
use reqwest::header::{DATE, HOST, HeaderMap, HeaderName, LOCATION, RETRY_AFTER};
use reqwest::{Client, Proxy, Url, redirect};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// A connection must stand within this; `timeout` bounds the whole.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Servers and proxies close idle connections, many after 60 s; ours are closed before.
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);

/// Sends requests over HTTP/1.1.
#[derive(Clone)]
pub struct HttpExchange {
    clients: Arc<Clients>,
    /// Sent with every request.
    headers: Arc<HeaderMap>,
    /// Put in place of the URL's host, which then goes into `Host`.
    server_name: Option<Arc<str>>,
    mask: Mask,
}

impl HttpExchange {
    /// A client as configured, for the server at `url`. Reads the certificate files.
    ///
    /// Errors: a file cannot be read or holds no certificate, a header or the proxy is none.
    pub fn build(common: &ClientConfig, url: &Url, mask: Mask) -> Result<Self, ClientError> {
        HttpExchange::looking(common, url, mask, LOOK)
    }

    /// As [`build`](Self::build), with so long between two looks at the files.
    pub(super) fn looking(common: &ClientConfig, url: &Url, mask: Mask, look: Duration) -> Result<Self, ClientError> {
        let server_name = server_name(common, url).map(Arc::from);
        let clients = Clients::build(common, url, &mask, look)?;
        Ok(HttpExchange { clients: Arc::new(clients), headers: Arc::new(headers(common)?), server_name, mask })
    }

    /// A client with the settings that sinks have by default, for the server at `url`, without a proxy; trusts the
    /// certificates in `ca` besides the system's.
    pub fn plain(url: &Url, ca: Option<&Path>) -> Result<Self, ClientError> {
        let mut common = ClientConfig::defaults();
        common.proxy = Some(Secret::new("none"));
        common.tls.ca_file = ca.map(Path::to_owned);
        Self::build(&common, url, Mask::default())
    }

    /// As [`plain`](Self::plain), at a socket of this host.
    pub fn at_socket(url: &Url, socket: &Path) -> Result<Self, ClientError> {
        let exchange = HttpExchange::plain(url, None)?;
        let builder = Client::builder().unix_socket(socket).no_proxy().tls_certs_only(Vec::new());
        let client = builder.build().map_err(|e| ClientError::Library(chain(&e)))?;
        *exchange.clients.current.locked() = Arc::new(Pair { client, again: OnceLock::new() });
        Ok(exchange)
    }

    /// Sends a request whose answer is read piece by piece, as it comes.
    ///
    /// Errors: no head of an answer came. Nothing bounds the time; dropping the future gives the request up.
    pub async fn open(&self, request: Request) -> Result<Opened, Lost> {
        let response = self.start(request).await?;
        let text = |name: HeaderName| response.headers().get(name).and_then(|v| v.to_str().ok());
        let retry_after = text(RETRY_AFTER).and_then(retry_after);
        Ok(Opened { status: response.status().as_u16(), retry_after, response, mask: self.mask.clone() })
    }

    /// Sends a request, once more where it met the closing of a used connection; the head of its answer.
    async fn start(&self, request: Request) -> Result<reqwest::Response, Lost> {
        let lost = |e: reqwest::Error| lost(&e, &self.mask);
        let pair = self.clients.for_request();
        let spare = self.clients.may_reuse().then(|| request.clone());
        match self.prepare(&pair.client, request).send().await {
            Ok(response) => Ok(response),
            Err(error) => match (spare, self.clients.again(&pair, &error)) {
                (Some(request), Some(client)) => {
                    tracing::debug!(error = %self.mask.text(&chain(&error)), "a connection was closed: sent once more");
                    self.prepare(client, request).send().await.map_err(lost)
                }
                _ => Err(lost(error)),
            },
        }
    }

    fn prepare(&self, client: &Client, request: Request) -> reqwest::RequestBuilder {
        let Request { method, mut url, headers, body } = request;
        let mut host = None;
        if let Some(name) = &self.server_name {
            host = url.host_str().map(|h| match url.port() {
                Some(port) => format!("{h}:{port}"),
                None => h.to_owned(),
            });
            if url.set_host(Some(name)).is_err() {
                host = None;
            }
        }
        let mut out = client.request(method, url).headers(headers).headers((*self.headers).clone());
        if let Some(host) = host {
            out = out.header(HOST, host);
        }
        match body {
            Some(body) => out.body(body),
            None => out,
        }
    }
}

/// An answer whose head has come.
pub struct Opened {
    /// The status.
    pub status: u16,
    /// How long the server wants to be left alone.
    pub retry_after: Option<Duration>,
    response: reqwest::Response,
    mask: Mask,
}

impl Opened {
    /// The next piece of the body; `None` at its end.
    ///
    /// Errors: the connection broke.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, Lost> {
        self.response.chunk().await.map_err(|e| lost(&e, &self.mask))
    }
}

/// Whether nothing is said over TLS, to the server or the proxy.
fn is_plain(common: &ClientConfig, url: &Url) -> bool {
    url.scheme() == "http" && common.proxy.as_ref().is_none_or(|p| !p.reveal().starts_with("https"))
}

/// The name that TLS asks for, where it is not the URL's host.
fn server_name<'c>(common: &'c ClientConfig, url: &Url) -> Option<&'c str> {
    common.tls.server_name.as_deref().filter(|_| !is_plain(common, url))
}

/// Whether a connection serves more than one request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Connections {
    Pooled,
    OnceEach,
}

/// A client of the library.
fn client(common: &ClientConfig, url: &Url, mask: &Mask, connections: Connections) -> Result<Client, ClientError> {
    // The first sink installs it; later ones find it there, which is the same.
    _ = rustls::crypto::ring::default_provider().install_default();
    let proxy = proxy(common, url)?;
    let mut builder = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT.min(common.timeout))
        .pool_idle_timeout(IDLE_TIMEOUT)
        .tcp_nodelay(true)
        .retry(reqwest::retry::never())
        .redirect(redirect::Policy::none())
        .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")));
    builder = match is_plain(common, url) {
        // Nothing will be trusted, so that no certificate store is loaded (or missed in an empty container).
        true => builder.tls_certs_only(Vec::new()),
        false => builder.tls_backend_preconfigured(tls::client_config(&common.tls)?),
    };
    builder = match proxy {
        None => builder.no_proxy(),
        Some(proxy) => builder.proxy(proxy),
    };
    if let Some(name) = server_name(common, url) {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        builder = builder.dns_resolver(Renamed { name: name.into(), host: host.into() });
    }
    if connections == Connections::OnceEach {
        builder = builder.pool_max_idle_per_host(0);
    }
    builder.build().map_err(|e| ClientError::Library(mask.text(&chain(&e))))
}

/// The clients of one sink, made anew when the files of its certificates change.
struct Clients {
    common: ClientConfig,
    url: Url,
    mask: Mask,
    current: Mutex<Arc<Pair>>,
    /// `None` where there are no files.
    watch: Option<Mutex<Watch>>,
    /// Between two looks.
    look: Duration,
    /// When the last answer came, in monotonic nanoseconds; 0 for never. Its connection may be waiting for reuse.
    answered: AtomicU64,
}

/// Clients of one state of the files.
struct Pair {
    client: Client,
    /// A second way to the server, for requests that met a closed connection. Made when it is first needed; `None` where that
    /// failed.
    again: OnceLock<Option<Client>>,
}

/// The files of a client's certificates.
struct Watch {
    files: Vec<PathBuf>,
    /// As the clients in use have them.
    loaded: Vec<Signature>,
    /// As they were at the last look.
    seen: Vec<Signature>,
    looked_at: Instant,
}

impl Clients {
    fn build(common: &ClientConfig, url: &Url, mask: &Mask, look: Duration) -> Result<Clients, ClientError> {
        let files = if is_plain(common, url) { Vec::new() } else { tls::files(&common.tls) };
        let loaded: Vec<Signature> = files.iter().map(|file| signature(file)).collect();
        let pair = Pair { client: client(common, url, mask, Connections::Pooled)?, again: OnceLock::new() };
        let watch = Watch { files, seen: loaded.clone(), loaded, looked_at: clock::monotonic() };
        Ok(Clients {
            common: common.clone(),
            url: url.clone(),
            mask: mask.clone(),
            current: Mutex::new(Arc::new(pair)),
            watch: Some(watch).filter(|watch| !watch.files.is_empty()).map(Mutex::new),
            look,
            answered: AtomicU64::new(0),
        })
    }

    fn current(&self) -> Arc<Pair> {
        self.current.locked().clone()
    }

    /// What the next request is sent with. Where it is time, the files are looked at meanwhile.
    fn for_request(self: &Arc<Self>) -> Arc<Pair> {
        if let Some(watch) = &self.watch {
            let mut watch = watch.locked();
            if watch.looked_at.elapsed() >= self.look {
                watch.looked_at = clock::monotonic();
                let this = self.clone();
                drop(tokio::task::spawn_blocking(move || this.look_again()));
            }
        }
        self.current()
    }

    /// Looks at the files, and makes new clients where they have changed. Files that are still being written are left alone
    /// for one more look.
    fn look_again(&self) {
        let Some(watch) = &self.watch else { return };
        let file = {
            let mut watch = watch.locked();
            let now: Vec<Signature> = watch.files.iter().map(|file| signature(file)).collect();
            if now == watch.loaded || now != watch.seen {
                watch.seen = now;
                return;
            }
            watch.loaded = now;
            watch.files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
        };
        match client(&self.common, &self.url, &self.mask, Connections::Pooled) {
            Ok(client) => {
                let pair = Pair { client, again: OnceLock::new() };
                *self.current.locked() = Arc::new(pair);
                tracing::info!(%file, "certificates were read again");
            }
            Err(error) => {
                tracing::error!(%file, %error, "changed certificates cannot be used; the old ones stay in use");
            }
        }
    }

    /// An answer has come to its end.
    fn answered(&self) {
        self.answered.store(clock::monotonic_ns().max(1), Ordering::Relaxed);
    }

    /// Whether a request may meet a connection that was used before.
    fn may_reuse(&self) -> bool {
        let answered = self.answered.load(Ordering::Relaxed);
        answered > 0 && u128::from(clock::monotonic_ns().saturating_sub(answered)) <= IDLE_TIMEOUT.as_nanos()
    }

    /// The client for a request that failed like this, where it is to go out once more.
    fn again<'p>(&self, pair: &'p Pair, error: &reqwest::Error) -> Option<&'p Client> {
        if !was_closed(error) {
            return None;
        }
        let client = || {
            client(&self.common, &self.url, &self.mask, Connections::OnceEach)
                .map_err(|error| tracing::debug!(%error, "no second client"))
                .ok()
        };
        pair.again.get_or_init(client).as_ref()
    }
}

/// Whether the connection was closed before anything was answered.
fn was_closed(error: &reqwest::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    if error.is_connect() || error.is_timeout() || !error.is_request() {
        return false;
    }
    let mut next: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && (error.is_incomplete_message() || error.is_closed() || error.is_canceled())
        {
            return true;
        }
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof)
        {
            return true;
        }
        next = error.source();
    }
    false
}

/// The server's clock, from `Date`: nanoseconds since 1970 UTC.
fn date(value: &str) -> Option<i64> {
    value.ends_with("GMT").then(|| TimestampReader::default().read(value.as_bytes(), clock::now_ns()).map(|t| t.ns))?
}

impl Exchange for HttpExchange {
    fn send(&self, request: Request, max_answer: usize) -> BoxFuture<Result<Answer, Lost>> {
        let this = self.clone();
        Box::pin(async move {
            let lost = |e: reqwest::Error| lost(&e, &this.mask);
            let mut response = this.start(request).await?;
            let length = response.content_length();
            let headers = std::mem::take(response.headers_mut());
            let text = |name: HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
            let mut answer = Answer {
                status: response.status().as_u16(),
                retry_after: text(RETRY_AFTER).and_then(retry_after),
                location: text(LOCATION).map(str::to_owned),
                date: text(DATE).and_then(date),
                ..Answer::default()
            };
            answer.headers = headers;
            let mut body = BytesMut::new();
            while let Some(chunk) = response.chunk().await.map_err(lost)? {
                let room = max_answer - body.len();
                if body.is_empty() && chunk.len() <= room && length == Some(chunk.len() as u64) {
                    answer.body = chunk;
                    this.clients.answered();
                    return Ok(answer);
                }
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() > room {
                    // The rest is of no use: the connection is given up.
                    answer.cut = true;
                    break;
                }
            }
            answer.body = Bytes::from(body);
            this.clients.answered();
            Ok(answer)
        })
    }
}

fn lost(error: &reqwest::Error, mask: &Mask) -> Lost {
    let kind = match error {
        e if e.is_timeout() && !e.is_connect() => LostKind::Timeout,
        e if e.is_connect() => LostKind::Connect,
        _ => LostKind::Broken,
    };
    Lost { kind, why: mask.text(&chain(error)) }
}

/// An error with its causes in one line, without the URL, each text once.
fn chain(error: &reqwest::Error) -> String {
    let mut out = String::new();
    let mut next: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !out.contains(&text) {
            if !out.is_empty() {
                out.push_str(": ");
            }
            out.push_str(&text);
        }
        next = error.source();
    }
    if out.is_empty() { "the request failed".to_owned() } else { out }
}

fn headers(common: &ClientConfig) -> Result<HeaderMap, ClientError> {
    let mut headers = HeaderMap::new();
    for (name, value) in common.headers.iter() {
        let (name, value) = header(name, value).map_err(|bad| {
            let name = name.value.clone();
            match bad {
                BadHeader::Name => ClientError::HeaderName(name),
                BadHeader::Value => ClientError::HeaderValue(name),
            }
        })?;
        headers.insert(name, value);
    }
    Ok(headers)
}

/// The proxy to use; `None` for none.
fn proxy(common: &ClientConfig, url: &Url) -> Result<Option<Proxy>, ClientError> {
    let (setting, text) = match &common.proxy {
        Some(text) => ("proxy", text.reveal().trim().to_owned()),
        None => match from_environment(url, |name| std::env::var(name).ok()) {
            Some((name, text)) => (name, text.trim().to_owned()),
            None => return Ok(None),
        },
    };
    if text == "none" && setting == "proxy" {
        return Ok(None);
    }
    // `NO_PROXY` has been heard where it counts, and the library would hear it once more in its own way.
    let proxy = proxy_at(&text).ok_or(ClientError::Proxy { setting })?;
    Ok(Some(proxy))
}

/// Finds the address of `host` when asked for `name`, so that the URL can carry the name that TLS asks for.
struct Renamed {
    name: Arc<str>,
    host: Arc<str>,
}

impl reqwest::dns::Resolve for Renamed {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let host: Arc<str> =
            if name.as_str().eq_ignore_ascii_case(&self.name) { self.host.clone() } else { name.as_str().into() };
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((&*host, 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use reqwest::Method;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    /// Answers one request.
    async fn answer(stream: &mut TcpStream) {
        let mut request = Vec::new();
        while !request.ends_with(b"end of body") {
            assert!(stream.read_buf(&mut request).await.unwrap() > 0);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
    }

    /// Waits for the beginning of a request, and closes the connection.
    async fn close_upon_request(mut stream: TcpStream) {
        assert!(stream.read(&mut [0; 4]).await.unwrap() > 0);
    }

    async fn exchange() -> (TcpListener, HttpExchange, Request) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let exchange = HttpExchange::plain(&url, None).unwrap();
        let body = Some(Bytes::from_static(b"end of body"));
        (listener, exchange, Request { method: Method::POST, url, headers: HeaderMap::new(), body })
    }

    #[tokio::test]
    async fn a_request_that_meets_the_closing_of_a_used_connection_goes_out_again_at_once() {
        let (listener, exchange, request) = exchange().await;
        let server = async {
            // Every connection serves one request and is closed upon the next.
            for _ in 0..6 {
                let mut stream = listener.accept().await.unwrap().0;
                answer(&mut stream).await;
                tokio::spawn(close_upon_request(stream));
            }
        };
        let client = async {
            for _ in 0..6 {
                let answer = exchange.send(request.clone(), 100).await.unwrap();
                assert_eq!((answer.status, &*answer.body), (200, &b"ok"[..]));
            }
        };
        tokio::join!(client, server);
    }

    #[tokio::test]
    async fn a_server_that_closes_new_connections_has_failed() {
        let (listener, exchange, request) = exchange().await;
        let server = async {
            close_upon_request(listener.accept().await.unwrap().0).await;
            let mut stream = listener.accept().await.unwrap().0;
            answer(&mut stream).await;
            close_upon_request(stream).await;
            close_upon_request(listener.accept().await.unwrap().0).await;
            // A third attempt would find this.
            let mut stream = listener.accept().await.unwrap().0;
            answer(&mut stream).await;
        };
        let client = async {
            let lost = exchange.send(request.clone(), 100).await.unwrap_err();
            assert_eq!(lost.kind, LostKind::Broken, "nothing was answered before: {}", lost.why);
            exchange.send(request.clone(), 100).await.unwrap();
            let lost = exchange.send(request.clone(), 100).await.unwrap_err();
            assert_eq!(lost.kind, LostKind::Broken, "used and new connection were closed: {}", lost.why);
            exchange.send(request.clone(), 100).await.unwrap();
        };
        tokio::join!(client, server);
    }
}
