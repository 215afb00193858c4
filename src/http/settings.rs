//! How requests travel: settings of every HTTP client in the agent, and addresses of servers.

use super::proxy::proxy_at;
use crate::settings::{Map, Reader, Secret, Span, Spanned, config};
use crate::text::mask::is_secret_name;
use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use std::path::PathBuf;
use std::time::Duration;

config! {
    /// How requests travel.
    pub struct ClientConfig {
        /// How long one attempt may take, from connecting to the last byte of the answer.
        pub timeout: Duration = Duration::from_secs(30),
        /// Headers sent with every request.
        pub headers: Map<Secret> = Map::default(),
        /// Proxy, such as `http://proxy:3128`, whatever the environment says; without it what `HTTP_PROXY`, `HTTPS_PROXY`,
        /// `ALL_PROXY` and `NO_PROXY` say. `none`: no proxy.
        pub proxy: Option<Secret> = None,
        /// Certificates and names of https.
        pub tls: TlsConfig = TlsConfig::defaults(),
    }
}

impl ClientConfig {
    /// Notes mistakes, but for those in `headers`.
    pub fn check(&self, cx: &mut Reader<'_>) {
        if let Some(proxy) = &self.proxy
            && proxy.reveal().trim() != "none"
            && proxy_at(proxy.reveal().trim()).is_none()
        {
            let message = format!("`proxy`{} is not a URL such as `http://proxy:3128`, and not `none`", cx.place());
            cx.error_at("proxy", message).own_word("http://proxy:3128");
        }
        if self.tls.key.is_some() && self.tls.cert.is_none() {
            cx.error_at("tls.key", format!("`tls.key`{} needs `tls.cert`", cx.place()));
        }
    }

    /// Notes `headers` that cannot be sent as they are.
    pub fn check_headers(&self, cx: &mut Reader<'_>) {
        for (name, value) in self.headers.iter() {
            let what = match header(name, value) {
                Ok(_) => continue,
                Err(BadHeader::Name) => "is not a header name",
                Err(BadHeader::Value) => "has characters that no header may have",
            };
            cx.error(name.span, format!("the header `{}`{} {what}", name.value, cx.place()));
        }
    }

    /// Texts in them that must never be shown.
    pub fn secrets(&self) -> Vec<String> {
        let headers = self.headers.iter().map(|(_, value)| value);
        let proxy = self.proxy.iter().filter(|p| p.reveal().contains('@'));
        headers.chain(proxy).map(|secret| secret.reveal().to_owned()).collect()
    }
}

/// What keeps a header from being sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// Its name is not one.
    Name,
    /// Its value has characters that no header may have.
    Value,
}

/// An entry of `headers`, ready to be sent; its value is never shown.
pub(super) fn header(name: &str, value: &Secret) -> Result<(HeaderName, HeaderValue), BadHeader> {
    let name = HeaderName::try_from(name).map_err(|_| BadHeader::Name)?;
    let mut value = HeaderValue::try_from(value.reveal()).map_err(|_| BadHeader::Value)?;
    value.set_sensitive(true);
    Ok((name, value))
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

/// The address of a server, where the setting is one.
pub fn address(url: &Spanned<String>) -> Option<Url> {
    Url::parse(url.value.trim_end_matches('/')).ok()
}

/// As [`check_address`], of a server whose path the sink completes: by what ends so (`/push`) or has such a part in it
/// (`/api/`). `made` says what is appended to it.
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
            let diagnostic = cx.error(url.span, format!("`{key}`{place} must begin with `http://` or `https://`"));
            if !url.value.contains("://") {
                diagnostic.help(format!("write http:// or https:// before it, as in `{like}`")).own_word(like);
            }
            None
        }
        Ok(url_) if !url_.username().is_empty() || url_.password().is_some() => {
            cx.error(url.span, format!("`{key}`{place} holds credentials, which would be shown"))
                .help("write them under `auth: {basic: {user: …, password: …}}`");
            None
        }
        Ok(url_) => Some(url_),
        Err(_) => {
            cx.error(url.span, format!("`{key}`{place} is not an address such as `{like}`")).own_word(like);
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
