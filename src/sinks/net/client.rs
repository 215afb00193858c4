//! The HTTP client: certificates, proxy, headers; how errors of the library are told without credentials.

use super::exchange::{Answer, Exchange, Lost, LostKind, Request};
use super::mask::Mask;
use super::retry::retry_after;
use super::settings::{NetworkSinkCommon, TlsConfig};
use crate::component::{BoxFuture, BuildError};
use crate::config::{Secret, Settings};
use crate::time::{TimestampReader, clock};
use bytes::{Bytes, BytesMut};
use reqwest::header::{DATE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Certificate, Client, Identity, Method, NoProxy, Proxy, Url, redirect};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A connection must stand within this; `timeout` bounds the whole.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Servers and proxies close idle connections, many after 60 s; ours are closed before.
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);

/// Sends requests over HTTP/1.1, or HTTP/2 where a TLS server offers it.
#[derive(Clone)]
pub struct HttpExchange {
    client: Client,
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
    pub fn build(common: &NetworkSinkCommon, url: &Url, mask: Mask) -> Result<Self, BuildError> {
        // The first sink installs it; later ones find it there, which is the same.
        _ = rustls::crypto::ring::default_provider().install_default();
        let proxy = proxy(common)?;
        let mut builder = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT.min(common.timeout))
            .pool_idle_timeout(IDLE_TIMEOUT)
            .tcp_nodelay(true)
            .retry(reqwest::retry::never())
            .redirect(redirect::Policy::none())
            .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")));
        let plain = url.scheme() == "http" && common.proxy.as_ref().is_none_or(|p| !p.reveal().starts_with("https"));
        builder = match plain {
            // Nothing will be trusted, so that no certificate store is loaded (or missed in an empty container).
            true => builder.tls_certs_only(Vec::new()),
            false => tls(builder, &common.tls)?,
        };
        builder = match proxy {
            ProxyChoice::Environment => builder,
            ProxyChoice::None => builder.no_proxy(),
            ProxyChoice::Use(proxy) => builder.proxy(*proxy),
        };
        let server_name = common.tls.server_name.as_deref().filter(|_| !plain);
        if let Some(name) = server_name {
            let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            builder = builder.dns_resolver(Renamed { name: name.into(), host: host.into() });
        }
        let client = builder.build().map_err(|e| BuildError(format!("HTTP client: {}", mask.text(&chain(&e)))))?;
        Ok(HttpExchange { client, headers: Arc::new(headers(common)?), server_name: server_name.map(Arc::from), mask })
    }

    /// A client with the settings that sinks have by default, for the server at `url`, without a proxy; trusts the
    /// certificates in `ca` besides the system's.
    pub fn plain(url: &Url, ca: Option<&Path>) -> Result<Self, BuildError> {
        let mut common = NetworkSinkCommon::defaults();
        common.proxy = Some(Secret::new("none"));
        common.tls.ca_file = ca.map(Path::to_owned);
        Self::build(&common, url, Mask::default())
    }

    fn prepare(&self, request: Request) -> reqwest::RequestBuilder {
        let Request { mut url, headers, body } = request;
        let method = if body.is_some() { Method::POST } else { Method::GET };
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
        let mut out = self.client.request(method, url).headers(headers).headers((*self.headers).clone());
        if let Some(host) = host {
            out = out.header(HOST, host);
        }
        match body {
            Some(body) => out.body(body),
            None => out,
        }
    }
}

/// The server's clock, from `Date`: nanoseconds since 1970 UTC.
fn date(value: &str) -> Option<i64> {
    value.ends_with("GMT").then(|| TimestampReader::default().read(value.as_bytes(), clock::now_ns()).map(|t| t.ns))?
}

impl Exchange for HttpExchange {
    fn send(&self, request: Request, max_answer: usize) -> BoxFuture<Result<Answer, Lost>> {
        let request = self.prepare(request);
        let mask = self.mask.clone();
        Box::pin(async move {
            let lost = |e: reqwest::Error| lost(&e, &mask);
            let mut response = request.send().await.map_err(lost)?;
            let text = |name: HeaderName| response.headers().get(name).and_then(|v| v.to_str().ok());
            let mut answer = Answer {
                status: response.status().as_u16(),
                retry_after: text(RETRY_AFTER).and_then(retry_after),
                location: text(LOCATION).map(str::to_owned),
                date: text(DATE).and_then(date),
                ..Answer::default()
            };
            let mut body = BytesMut::new();
            while let Some(chunk) = response.chunk().await.map_err(lost)? {
                let room = max_answer - body.len();
                if body.is_empty() && chunk.len() <= room && response.content_length() == Some(chunk.len() as u64) {
                    answer.body = chunk;
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

fn headers(common: &NetworkSinkCommon) -> Result<HeaderMap, BuildError> {
    let mut headers = HeaderMap::new();
    for (name, value) in common.headers.iter() {
        let name = name.as_str();
        let name = HeaderName::try_from(name)
            .map_err(|_| BuildError(format!("`headers`: `{name}` is no name of a header")))?;
        let mut text = HeaderValue::try_from(value.reveal()).map_err(|_| {
            BuildError(format!("`headers`: the value of `{name}` has characters that no header may have"))
        })?;
        text.set_sensitive(true);
        headers.insert(name, text);
    }
    Ok(headers)
}

enum ProxyChoice {
    Environment,
    None,
    Use(Box<Proxy>),
}

fn proxy(common: &NetworkSinkCommon) -> Result<ProxyChoice, BuildError> {
    let Some(text) = common.proxy.as_ref().map(|p| p.reveal().trim()) else { return Ok(ProxyChoice::Environment) };
    if text == "none" {
        return Ok(ProxyChoice::None);
    }
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let proxy = Proxy::all(whole)
        .map_err(|_| BuildError("`proxy` is no URL such as `http://proxy:3128`, and not `none`".into()))?;
    Ok(ProxyChoice::Use(Box::new(proxy.no_proxy(NoProxy::from_env()))))
}

fn tls(mut builder: reqwest::ClientBuilder, config: &TlsConfig) -> Result<reqwest::ClientBuilder, BuildError> {
    if let Some(path) = &config.ca_file {
        let certificates = Certificate::from_pem_bundle(&read(path, "tls.ca_file")?).unwrap_or_default();
        if certificates.is_empty() {
            return Err(BuildError(format!("`tls.ca_file`: {} holds no PEM certificate", path.display())));
        }
        builder = builder.tls_certs_merge(certificates);
    }
    match (&config.cert, &config.key) {
        (None, None) => {}
        (Some(cert), key) => {
            // Certificate and key may stand in one file.
            let mut pem = read(cert, "tls.cert")?;
            if let Some(key) = key {
                pem.push(b'\n');
                pem.extend_from_slice(&read(key, "tls.key")?);
            }
            let identity = Identity::from_pem(&pem).map_err(|_| {
                BuildError(format!("`tls.cert`, `tls.key`: no PEM certificate with its key in {}", cert.display()))
            })?;
            builder = builder.identity(identity);
        }
        (None, Some(_)) => return Err(BuildError("`tls.key` needs `tls.cert`".into())),
    }
    if !config.verify {
        tracing::warn!("tls.verify is false: the server's certificate is not checked");
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    Ok(builder)
}

fn read(path: &Path, key: &str) -> Result<Vec<u8>, BuildError> {
    std::fs::read(path).map_err(|e| BuildError(format!("`{key}`: cannot read {}: {e}", path.display())))
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
