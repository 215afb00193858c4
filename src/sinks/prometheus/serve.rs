//! The page over HTTP.

use super::super::pack::Gzip;
use super::page;
use super::registry::Registry;
use super::sample::Format;
use crate::sync::Locked;
use crate::time::clock;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;

/// Smaller pages are not compressed.
const COMPRESSED_FROM_BYTES: usize = 1024;

/// Level of gzip: pages are asked for every few seconds, mostly from near by.
const GZIP_LEVEL: u32 = 1;

/// What answers need.
struct Shared {
    registry: Arc<Mutex<Registry>>,
    /// Made for the first page that is compressed, and kept.
    gzip: Mutex<Option<Gzip>>,
}

/// Serves the registry's page at `path` until `stop`.
pub(super) async fn serve(
    listener: std::net::TcpListener,
    path: &str,
    registry: Arc<Mutex<Registry>>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let path_text: Arc<str> = path.into();
    let shared = Arc::new(Shared { registry, gzip: Mutex::default() });
    let router = Router::new().route(path, get(scrape)).with_state(shared).fallback(move || {
        let path = path_text.clone();
        async move { (StatusCode::NOT_FOUND, format!("the metrics are at {path}\n")) }
    });
    crate::http::server::serve(listener, None, router, stop).await;
    Ok(())
}

async fn scrape(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(text(header::ACCEPT));
    let mut body = Vec::new();
    {
        let mut registry = shared.registry.locked();
        registry.age(clock::monotonic_ns());
        registry.unseen = (0, true);
        page::write(&registry, format, &mut body);
    }
    let gzip = body.len() >= COMPRESSED_FROM_BYTES && accepts_gzip(text(header::ACCEPT_ENCODING));
    let kind = (header::CONTENT_TYPE, format.content_type());
    let vary = (header::VARY, "Accept, Accept-Encoding");
    if gzip {
        let mut packed = Vec::new();
        let mut gzip = shared.gzip.locked();
        let done = gzip.get_or_insert_with(|| Gzip::new(GZIP_LEVEL)).pack(&body, &mut packed);
        drop(gzip);
        if done.is_ok() {
            return ([kind, vary, (header::CONTENT_ENCODING, "gzip")], packed).into_response();
        }
    }
    ([kind, vary], body).into_response()
}

fn accepts_gzip(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let (coding, rest) = range.trim().split_once(';').unwrap_or((range.trim(), ""));
        coding == "gzip" && !rest.trim().strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0))
    })
}
