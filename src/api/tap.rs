//! `POST /api/v1/tap`: events as they pass, as lines of JSON without an end.

use super::{Api, json};
use crate::http::server::OpenEnd;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::convert::Infallible;
use std::sync::Arc;

/// Longest question.
const MAX_QUESTION: usize = 64 << 10;

/// Not for pages of a browser: these name their origin.
pub(super) async fn tap(State(api): State<Arc<Api>>, request: Request) -> Response {
    let Some(tapper) = &api.tapper else {
        return (StatusCode::NOT_FOUND, "this agent shows no events\n").into_response();
    };
    if request.headers().contains_key(header::ORIGIN) {
        return (StatusCode::FORBIDDEN, "a page of a browser may not ask for this\n").into_response();
    }
    let open_end = request.extensions().get::<OpenEnd>().cloned().unwrap_or_default();
    let Ok(question) = axum::body::to_bytes(request.into_body(), MAX_QUESTION).await else {
        let answer = serde_json::json!({"result": "failed", "detail": "the question is too long"});
        return json(StatusCode::PAYLOAD_TOO_LARGE, &answer);
    };
    let lines = match tapper(&question, open_end.cut()) {
        Ok(lines) => lines,
        Err((status, answer)) => {
            return json(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &answer);
        }
    };
    open_end.begin();
    let stop = api.stop.clone();
    let lines = futures::stream::unfold((lines, stop), |(mut lines, stop)| async move {
        tokio::select! {
            biased;
            piece = lines.recv() => piece.map(|piece| (Ok::<_, Infallible>(piece), (lines, stop))),
            () = stop.cancelled() => None,
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONNECTION, "close"),
    ];
    (headers, Body::from_stream(lines)).into_response()
}
