//! Where to ask, and with what credentials: the API server from within a pod, or a kubelet.
//!
//! The token is read before each request: the kubelet writes a new one every hour. Files of certificates are looked at again by
//! the client. No answer of a server makes anybody wait for longer than the time of the request.

use crate::error::BuildError;
use crate::http::{Answer, ClientConfig, Exchange, HttpExchange, LostKind, Mask, Opened, Request, sensitive};
use crate::settings::{Secret, Settings};
use reqwest::Url;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where a pod finds its credentials.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Longest answer that is read: some thousand pods.
const MAX_ANSWER: usize = 64 << 20;
/// A request must be answered within this.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What is written of where to ask; what is left out is what a pod is given.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Address of the server.
    pub url: Option<Url>,
    /// File with the token.
    pub token_file: Option<PathBuf>,
    /// File with the authorities.
    pub ca_file: Option<PathBuf>,
    /// Whether the server's certificate is checked.
    pub verify: bool,
}

/// Why a question had no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessError {
    /// No connection, or it broke, or it took too long.
    Lost(String),
    /// An answer that is none: its status, how long to wait, the server's words.
    Refused(u16, Option<Duration>, String),
}

impl AccessError {
    /// How long the server wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            AccessError::Refused(_, after, _) => *after,
            AccessError::Lost(_) => None,
        }
    }

    /// The status of the answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            AccessError::Refused(status, ..) => Some(*status),
            AccessError::Lost(_) => None,
        }
    }
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AccessError::Lost(why) => f.write_str(why),
            AccessError::Refused(status, _, words) if words.is_empty() => write!(f, "status {status}"),
            AccessError::Refused(status, _, words) => write!(f, "status {status}: {words}"),
        }
    }
}

impl std::error::Error for AccessError {}

/// A server, ready to be asked.
#[derive(Clone)]
pub struct Access {
    url: Url,
    exchange: HttpExchange,
    token_file: Option<PathBuf>,
}

impl Access {
    /// The API server of the cluster that this process runs in; `None` where there is no service account and nothing else is
    /// written.
    ///
    /// Errors: certificates that cannot be used.
    pub fn to_api(place: &Place) -> Result<Option<Access>, BuildError> {
        let token_file = place.token_file.clone().or_else(|| there(Path::new(ACCOUNT).join("token")));
        let url = match &place.url {
            Some(url) => url.clone(),
            None => match in_cluster(|name| std::env::var(name).ok()) {
                Some(url) if token_file.is_some() => url,
                _ => return Ok(None),
            },
        };
        Access::of(url, token_file, place).map(Some)
    }

    /// The kubelet of this node; `None` where nothing says where it is.
    ///
    /// Errors: certificates that cannot be used.
    pub fn to_kubelet(place: &Place) -> Result<Option<Access>, BuildError> {
        let token_file = place.token_file.clone().or_else(|| there(Path::new(ACCOUNT).join("token")));
        let url = match &place.url {
            Some(url) => Some(url.clone()),
            None => std::env::var("NODE_IP").ok().and_then(|ip| server(&ip, "10250")),
        };
        url.map(|url| Access::of(url, token_file, place)).transpose()
    }

    fn of(url: Url, token_file: Option<PathBuf>, place: &Place) -> Result<Access, BuildError> {
        let mut common = ClientConfig::defaults();
        // The server is within the cluster, whatever proxy leads out of it.
        common.proxy = Some(Secret::new("none"));
        common.tls.ca_file = place.ca_file.clone().or_else(|| there(Path::new(ACCOUNT).join("ca.crt")));
        common.tls.verify = place.verify;
        if url.scheme() == "http" {
            common.tls.ca_file = None;
        }
        let exchange = HttpExchange::build(&common, &url, Mask::default())
            .map_err(|e| BuildError::host(format!("cannot ask {url}: {}", crate::error::chain(&e))))?;
        Ok(Access { url, exchange, token_file })
    }

    /// Whether a connection can be made; nothing is asked.
    pub async fn is_there(&self, within: Duration) -> bool {
        let (Some(host), Some(port)) = (self.url.host_str(), self.url.port_or_known_default()) else { return false };
        let host = host.trim_matches(['[', ']']).to_owned();
        matches!(tokio::time::timeout(within, tokio::net::TcpStream::connect((host, port))).await, Ok(Ok(_)))
    }

    /// Asks once.
    ///
    /// Errors: no answer, or another than 200.
    pub async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Answer, AccessError> {
        let asked = self.exchange.send(self.request(path, query), MAX_ANSWER);
        let answer = match tokio::time::timeout(TIMEOUT, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(lost)) => return Err(AccessError::Lost(lost_words(lost.kind, lost.why))),
            Err(_) => return Err(AccessError::Lost("no answer in 30 s".into())),
        };
        if answer.status != 200 {
            return Err(AccessError::Refused(answer.status, answer.retry_after, words(&answer.body)));
        }
        if answer.cut {
            return Err(AccessError::Lost("the answer is longer than 64 MiB".into()));
        }
        Ok(answer)
    }

    /// Asks for a stream of lines.
    ///
    /// Errors: no head of an answer, or another status than 200.
    pub async fn stream(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Stream, AccessError> {
        let asked = self.exchange.open(self.request(path, query));
        let mut opened = match tokio::time::timeout(TIMEOUT, asked).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(lost)) => return Err(AccessError::Lost(lost_words(lost.kind, lost.why))),
            Err(_) => return Err(AccessError::Lost("no answer in 30 s".into())),
        };
        if opened.status != 200 {
            let body = tokio::time::timeout(TIMEOUT, opened.piece()).await;
            let body = body.ok().and_then(Result::ok).flatten().unwrap_or_default();
            return Err(AccessError::Refused(opened.status, opened.retry_after, words(&body)));
        }
        Ok(Stream { opened, rest: Vec::new(), at: 0 })
    }

    fn request(&self, path: &[&str], query: &[(&str, &str)]) -> Request {
        let mut url = crate::http::below(&self.url, path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let token = self.token_file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
        let token = token.as_deref().map(str::trim).filter(|token| !token.is_empty());
        if let Some(value) = token.and_then(|token| sensitive(&format!("Bearer {token}"))) {
            headers.insert(AUTHORIZATION, value);
        }
        Request::get(url, headers)
    }
}

/// The namespace of the pod that this process runs in.
pub fn own_namespace() -> Option<String> {
    let text = std::fs::read_to_string(Path::new(ACCOUNT).join("namespace")).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn there(path: PathBuf) -> Option<PathBuf> {
    path.exists().then_some(path)
}

fn in_cluster(get: impl Fn(&str) -> Option<String>) -> Option<Url> {
    server(&get("KUBERNETES_SERVICE_HOST")?, &get("KUBERNETES_SERVICE_PORT").unwrap_or_else(|| "443".into()))
}

fn server(host: &str, port: &str) -> Option<Url> {
    let host = host.trim();
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
    Url::parse(&format!("https://{host}:{port}/")).ok()
}

fn lost_words(kind: LostKind, why: String) -> String {
    match kind {
        LostKind::Connect => format!("no connection: {why}"),
        LostKind::Broken | LostKind::Timeout => why,
    }
}

/// What a server says of why: the `message` of a Status, or the beginning of its text.
fn words(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Status {
        message: String,
    }
    match serde_json::from_slice::<Status>(body) {
        Ok(status) => status.message,
        Err(_) => String::from_utf8_lossy(&body[..body.len().min(200)]).trim().to_owned(),
    }
}

/// Longest line of a stream.
const MAX_LINE: usize = 16 << 20;

/// Lines as they come.
pub struct Stream {
    opened: Opened,
    rest: Vec<u8>,
    /// Where the lines that were not given yet begin.
    at: usize,
}

impl Stream {
    /// The next line, without its end; `None` where the server has ended the stream. Cancelling it loses nothing.
    ///
    /// Errors: the connection broke, or a line is too long.
    pub async fn line(&mut self) -> Result<Option<Vec<u8>>, AccessError> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.rest[self.at..]) {
                let line = self.rest[self.at..self.at + end].to_vec();
                self.at += end + 1;
                if self.at == self.rest.len() {
                    self.rest.clear();
                    self.rest.shrink_to(64 << 10);
                    self.at = 0;
                }
                return Ok(Some(line));
            }
            if self.at > 0 {
                self.rest.drain(..self.at);
                self.at = 0;
            }
            if self.rest.len() > MAX_LINE {
                return Err(AccessError::Lost("a line of the watch is longer than 16 MiB".into()));
            }
            match self.opened.piece().await {
                Ok(Some(piece)) => self.rest.extend_from_slice(&piece),
                Ok(None) => return Ok(None),
                Err(lost) => return Err(AccessError::Lost(lost.why)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_pod_finds_its_server() {
        let of = |host: &str, port: Option<&str>| {
            in_cluster(|name| match name {
                "KUBERNETES_SERVICE_HOST" => Some(host.to_owned()).filter(|h| !h.is_empty()),
                _ => port.map(str::to_owned),
            })
            .map(|url| url.to_string())
        };
        assert_eq!(of("10.0.0.1", Some("6443")).unwrap(), "https://10.0.0.1:6443/");
        assert_eq!(of("fd00::1", None).unwrap(), "https://[fd00::1]/");
        assert_eq!(of("", Some("1")), None);
    }

    #[test]
    fn what_a_server_says_of_why_is_its_message() {
        assert_eq!(words(br#"{"kind":"Status","message":"pods is forbidden","code":403}"#), "pods is forbidden");
        assert_eq!(words(b"Unauthorized\n"), "Unauthorized");
    }
}
