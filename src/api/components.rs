//! `GET /api/v1/components`: what each component does now, in the order of the flow. What `tidegate top` shows.

use super::{Api, json};
use crate::telemetry::{ComponentKind, Counters};
use crate::time::{clock, write_rfc3339_utc};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json as object};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub(super) async fn components(State(api): State<Arc<Api>>) -> Response {
    let (ledger, health, queues) = (api.run_ledger.now(), api.health.now(), api.queues.now());
    let now = clock::now_ns();
    let inputs = |id: &str| -> Vec<String> {
        let of = ledger.all_edges.iter().filter(|(reader, ..)| **reader == *id);
        of.map(|(_, from, output)| if output.is_empty() { from.to_string() } else { format!("{from}.{output}") })
            .collect()
    };
    let mut all = Vec::new();
    // What is no part of the graph any more has no health.
    for (id, health) in health.iter() {
        let Some(counters) = ledger.components.iter().find(|c| c.id == *id) else { continue };
        let mut line = describe(counters);
        let is_down = line.get("gauges").and_then(|g| g["component_up"].as_f64()) == Some(0.0);
        let failing = health.failing_for(Duration::ZERO);
        let state = match (&failing, is_down, health.is_started()) {
            (_, true, _) => "down",
            (Some(_), ..) => "failing",
            (None, _, false) => "starting",
            _ => "running",
        };
        line.remove("gauges");
        line.insert("inputs".into(), inputs(id).into());
        line.insert("state".into(), state.into());
        line.insert("detail".into(), failing.into());
        let oldest = queues.get(id).and_then(|queue| queue.oldest());
        let age = oldest.map(|at| now.saturating_sub(at).max(0) as f64 / 1e9);
        line.insert("oldest_seconds".into(), age.into());
        all.push(Value::Object(line));
    }
    let mut at = Vec::new();
    write_rfc3339_utc(now, 3, &mut at);
    let answer = object!({
        "at": String::from_utf8_lossy(&at), "uptime_ms": clock::monotonic_ns() / 1_000_000, "ready": !api.shutdown.is_cancelled(),
        "components": all,
    });
    json(StatusCode::OK, &answer)
}

fn describe(counters: &Counters) -> Map<String, Value> {
    let t = counters.snapshot();
    let map = |map: &BTreeMap<&'static str, u64>| -> Value {
        map.iter().map(|(k, n)| ((*k).to_owned(), (*n).into())).collect::<Map<_, _>>().into()
    };
    let gauge = |name: &str| t.gauges.get(name).copied();
    let seconds = |name: &str| t.seconds.get(name).copied().unwrap_or(0.0);
    let buffer = gauge("buffer_max_bytes").filter(|_| counters.kind == ComponentKind::Sink).map(|max| {
        let part = |name: &str| gauge(name).unwrap_or(0.0) as u64;
        object!({"events": part("buffer_events"), "bytes": part("buffer_bytes"), "max_bytes": max as u64})
    });
    let outputs: Map<String, Value> = t.outputs.iter().map(|(name, n)| (name.to_string(), (*n).into())).collect();
    let value = object!({
        "id": &*counters.id, "kind": counters.kind.name(), "type": counters.type_name,
        "in": t.events_in, "out": t.events_out, "created": t.events_created, "held": t.held,
        "bytes_in": t.bytes_in, "bytes_out": t.bytes_out, "outputs": outputs,
        "dropped": map(&t.dropped), "rejected": map(&t.rejected), "errors": map(&t.errors),
        "busy_seconds": seconds("busy"), "backpressure_seconds": seconds("backpressure"),
        "buffer": buffer, "lag_bytes": gauge("file_lag_bytes").map(|n| n as u64), "restarts": t.restarts,
        "gauges": {"component_up": gauge("component_up")},
    });
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
