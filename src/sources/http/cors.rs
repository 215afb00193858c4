//! CORS: which pages in browsers may send.

use crate::settings::{Reader, config};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use std::time::Duration;

use super::format::Answer;

config! {
    /// Which pages in browsers may send: beacons and scripts of other sites.
    pub struct CorsConfig {
        /// Origins such as `https://shop.example`, or `*` for any.
        pub origins: Vec<String>,
        /// Headers that a page may set.
        pub headers: Vec<String> = vec!["authorization".to_owned(), "content-type".to_owned(), "content-encoding".to_owned()],
        /// Whether the browser may send its credentials along.
        pub credentials: bool = false,
        /// How long a browser may remember this.
        pub max_age: Duration = Duration::from_secs(3600),
    }
}

impl CorsConfig {
    /// Notes mistakes.
    pub(super) fn check(&self, cx: &mut Reader<'_>) {
        for (n, origin) in self.origins.iter().enumerate() {
            let fine = origin == "*"
                || (origin.contains("://") && !origin.ends_with('/') && HeaderValue::from_str(origin).is_ok());
            if !fine {
                let message =
                    format!("`{origin}` in `cors.origins` is not an origin; write `https://shop.example` or `*`");
                cx.error_at(&format!("origins[{n}]"), message);
            }
        }
        if self.credentials && self.origins.iter().any(|o| o == "*") {
            cx.error_at("credentials", "`cors` lets any page send with the browser's credentials; name the origins, or leave `credentials` out");
        }
        for (n, name) in self.headers.iter().enumerate() {
            if HeaderName::from_bytes(name.as_bytes()).is_err() {
                cx.error_at(&format!("headers[{n}]"), format!("`{name}` in `cors.headers` is not a header name"));
            }
        }
    }

    /// The origin to be let in, where the request comes from one that may.
    fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        let any = self.origins.iter().any(|o| o == "*");
        if any {
            return Some(HeaderValue::from_static("*"));
        }
        self.origins.iter().any(|o| o.as_bytes() == origin.as_bytes()).then(|| origin.clone())
    }

    /// Whether the page that sends this may.
    pub(super) fn allows(&self, headers: &HeaderMap) -> bool {
        self.allowed(headers).is_some()
    }

    /// The answer to a browser that asks whether a page may send.
    pub(super) fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<Answer> {
        if method != Method::OPTIONS || !headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
            return None;
        }
        if self.allowed(headers).is_none() {
            return Some(Answer::text(StatusCode::FORBIDDEN, "this origin may not send; see `cors`"));
        }
        let answer = Answer::empty(StatusCode::NO_CONTENT)
            .with(header::ACCESS_CONTROL_ALLOW_METHODS, "POST, PUT, GET, OPTIONS")
            .with(header::ACCESS_CONTROL_ALLOW_HEADERS, &self.headers.join(", "))
            .with(header::ACCESS_CONTROL_MAX_AGE, &self.max_age.as_secs().to_string());
        Some(answer)
    }

    /// Adds what lets the page see the answer.
    pub(super) fn mark(&self, asked: &HeaderMap, headers: &mut HeaderMap) {
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        let Some(origin) = self.allowed(asked) else { return };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
        if self.credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}
