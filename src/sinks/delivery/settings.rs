//! Settings that all sinks over the network have.

use super::sign::basic;
use crate::component::common::SinkCommon;
use crate::settings::{Map, Reader, Secret, Size, Span, Spanned, config, config_enum, config_union};
use crate::text::mask::is_secret_name;
use reqwest::Url;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

config! {
    /// Settings that all sinks over the network have.
    pub struct NetworkSinkCommon {
        /// Those of all sinks.
        flatten pub sink: SinkCommon,
        /// How request bodies are compressed. A server that answers 415 gets the next one: zstd, gzip, none. `auto` begins with
        /// what such servers are known to take.
        pub compression: Compression = Compression::Auto,
        /// When a request is full.
        pub batch: BatchConfig = BatchConfig::defaults(),
        /// Waits between attempts.
        pub retry: RetryConfig = RetryConfig::defaults(),
        /// Requests at a time: as many as the server answers without slowing down, or a number. `1` keeps the order of
        /// each origin.
        pub concurrency: Concurrency = Concurrency::Adaptive(AdaptiveWord::Adaptive),
        /// Requests a second at most, attempts included.
        pub rate_limit: Option<f64> = None,
        /// How long one attempt may take, from connecting to the last byte of the answer.
        pub timeout: Duration = Duration::from_secs(30),
        /// When to leave a server alone that does not work.
        pub circuit_breaker: BreakerConfig = BreakerConfig::defaults(),
        /// Ask the server at start whether it is there and takes the credentials; a failure is said, and nothing waits for it.
        pub healthcheck: bool = true,
        /// Headers sent with every request.
        pub headers: Map<Secret> = Map::default(),
        /// Proxy, such as `http://proxy:3128`, whatever the environment says; without it what `HTTP_PROXY`, `HTTPS_PROXY`,
        /// `ALL_PROXY` and `NO_PROXY` say. `none`: no proxy.
        pub proxy: Option<Secret> = None,
        /// Certificates and names of https.
        pub tls: TlsConfig = TlsConfig::defaults(),
    }
}

config! {
    /// When a request is full. What comes first counts.
    pub struct BatchConfig {
        /// Events in it.
        pub max_events: NonZeroUsize = NonZeroUsize::MIN.saturating_add(9_999),
        /// Bytes of its body before compression. A larger event goes alone.
        pub max_bytes: Spanned<Size> = Spanned::new(Size::mib(1), Span::default()),
        /// Time since its first event. Where no request has left before it was full for so long, one leaves as soon as
        /// nothing more comes.
        pub timeout: Duration = Duration::from_secs(1),
    }
}

config! {
    /// Waits between attempts: each twice as long as the one before. `Retry-After` of an answer goes first.
    pub struct RetryConfig {
        /// The first wait.
        pub initial: Duration = Duration::from_millis(500),
        /// The longest wait.
        pub max: Duration = Duration::from_secs(30),
        /// Time since the first attempt after which the events go to the dead letter, or are dropped and counted. Left
        /// out: tried for ever.
        pub max_elapsed: Option<Duration> = None,
        /// Share of each wait that is left to chance, from 0 to 1, so that agents do not all come back at once.
        pub jitter: Spanned<f64> = Spanned::new(0.5, Span::default()),
    }
}

config! {
    /// After so many failures in a row the server is left alone for a while; then one request probes it.
    pub struct BreakerConfig {
        /// Failures in a row: connections, time-outs, 408 and 5xx.
        pub failures: NonZeroU32 = NonZeroU32::MIN.saturating_add(4),
        /// How long it is left alone.
        pub reset: Duration = Duration::from_secs(60),
    }
}

config! {
    /// Certificates and names of https. The files are read again when they change; what cannot be read leaves the old ones in use.
    pub struct TlsConfig {
        /// PEM file of certificate authorities to trust besides the system's, or of the server's own certificate.
        pub ca_file: Option<PathBuf> = None,
        /// PEM file of the client's certificate, with its chain.
        pub cert: Option<PathBuf> = None,
        /// PEM file of the client's private key.
        pub key: Option<PathBuf> = None,
        /// Whether the server's certificate is checked. `false` lets anyone read and change what is sent.
        pub verify: bool = true,
        /// Name that is asked for and must stand in the server's certificate, where it is not the URL's host.
        pub server_name: Option<String> = None,
    }
}

config_enum! {
    /// How request bodies are compressed.
    pub enum Compression {
        /// What such servers are known to take, and what else this one takes.
        Auto = "auto",
        /// zstd at level 1.
        Zstd = "zstd",
        /// gzip at a low level.
        Gzip = "gzip",
        /// Not at all.
        None = "none",
    }
}

config_enum! {
    /// The word for it.
    pub enum AdaptiveWord {
        /// As many as the server answers without slowing down.
        Adaptive = "adaptive",
    }
}

config_union! {
    /// Requests at a time.
    pub enum Concurrency {
        /// As many as the server answers without slowing down.
        Adaptive(AdaptiveWord),
        /// So many.
        Fixed(NonZeroUsize),
    }
}

config! {
    /// User and password.
    pub struct BasicAuth {
        /// The user.
        pub user: Spanned<String>,
        /// The password.
        pub password: Secret,
    }
}

impl BasicAuth {
    /// Notes mistakes.
    pub fn check(&self, cx: &mut Reader<'_>) {
        if self.user.value.contains(':') {
            cx.error(self.user.span, "a user's name has no `:`; the server would split it there".to_owned());
        }
    }

    /// The `Authorization` made of them.
    pub fn header(&self) -> String {
        basic(&self.user.value, self.password.reveal())
    }

    /// Texts that must never be shown.
    pub fn secrets(&self) -> Vec<String> {
        vec![self.password.reveal().to_owned(), format!("{}:{}", self.user.value, self.password.reveal())]
    }
}

/// The address of a server, where the setting is one.
pub fn address(url: &Spanned<String>) -> Option<Url> {
    Url::parse(url.value.trim_end_matches('/')).ok()
}

/// As [`check_address`], of a server whose path the sink completes: by what ends so (`/push`) or has such a part in it
/// (`/api/`). `made` says what is put behind it.
pub fn check_server(cx: &mut Reader<'_>, key: &str, url: &Spanned<String>, like: &str, (own, made): (&[&str], &str)) {
    let Some(parsed) = check_address(cx, key, url, like) else { return };
    let path = parsed.path().trim_end_matches('/');
    let is_own = |part: &&str| path.ends_with(*part) || part.ends_with('/') && path.contains(*part);
    if parsed.query().is_some() || parsed.fragment().is_some() || own.iter().any(is_own) {
        cx.error(url.span, format!("`{key}`{} is the server's address only", cx.place())).help(made);
    }
}

/// Notes what keeps `key` from being a server's address; the address where nothing does.
pub fn check_address(cx: &mut Reader<'_>, key: &str, url: &Spanned<String>, like: &str) -> Option<Url> {
    let place = cx.place();
    match Url::parse(url.value.trim_end_matches('/')) {
        Ok(url_) if !matches!(url_.scheme(), "http" | "https") || url_.host_str().is_none() => {
            cx.error(url.span, format!("`{key}`{place} must begin with `http://` or `https://`"));
            None
        }
        Ok(url_) if !url_.username().is_empty() || url_.password().is_some() => {
            cx.error(url.span, format!("`{key}`{place} holds credentials, which would be shown"))
                .help("write them under `auth: {basic: {user: …, password: …}}`");
            None
        }
        Ok(url_) => Some(url_),
        Err(_) => {
            cx.error(url.span, format!("`{key}`{place} is no address such as `{like}`"));
            None
        }
    }
}

/// Values in a URL's query that may be keys: all but plain words under names that are none of a secret.
pub fn secrets_of(url: &Url) -> Vec<String> {
    let is_word = |value: &str| value.bytes().all(|b| b.is_ascii_alphabetic());
    let secret = url.query_pairs().filter(|(name, value)| is_secret_name(name) || !is_word(value));
    secret.map(|(_, value)| value.into_owned()).collect()
}

/// An address of http with further parts behind its path.
pub fn below(url: &Url, parts: &[&str]) -> Url {
    let mut url = url.clone();
    // Others than such of http may have no path to be continued.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(parts);
    }
    url
}

/// Largest `batch.max_bytes`: places in a body are 32-bit numbers.
const MAX_BATCH_BYTES: u64 = 1 << 30;

impl NetworkSinkCommon {
    /// Texts in them that must never be shown.
    pub fn secrets(&self) -> Vec<String> {
        let headers = self.headers.iter().map(|(_, value)| value);
        let proxy = self.proxy.iter().filter(|p| p.reveal().contains('@'));
        headers.chain(proxy).map(|secret| secret.reveal().to_owned()).collect()
    }

    /// Notes mistakes between several keys.
    pub fn check(&self, cx: &mut Reader<'_>) {
        if self.batch.max_bytes.value.bytes() == 0 || self.batch.max_bytes.value.bytes() > MAX_BATCH_BYTES {
            cx.error(self.batch.max_bytes.span, format!("`batch.max_bytes`{} must be from 1 to 1GiB", cx.place()));
        }
        if !(0.0..=1.0).contains(&self.retry.jitter.value) {
            cx.error(self.retry.jitter.span, format!("`retry.jitter`{} must be from 0 to 1", cx.place()));
        }
    }
}
