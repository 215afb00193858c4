//! The transforms over lines in memory: what a web server has written is parsed, secrets go out of it, and a transform of one's own
//! adds a field. Nothing is read, sent or started.
//!
//! `cargo run --example lines_in_memory`

use serde_json::json;
use std::error::Error;
use std::io::Write;
use tidegate::{Components, EventChange, Fate, Field, Pipeline, Transform};

const LINES: [&str; 3] = [
    r#"{"path":"/cart","status":200,"message":"ok"}"#,
    r#"{"path":"/login","status":500,"message":"no such user password=hunter2"}"#,
    r#"{"path":"/health","status":200,"message":"ok"}"#,
];

/// Says whose fault a status is; drops what asks for the health.
#[derive(Clone)]
struct Blame {
    path: Field,
    status: Field,
    fault: Field,
}

impl Transform for Blame {
    fn apply(&mut self, event: &mut EventChange<'_>) -> Fate {
        if event.get(&self.path).is_some_and(|path| path == "/health") {
            return Fate::Drop;
        }
        match event.get(&self.status).and_then(|status| status.as_u64()) {
            Some(400..500) => event.set(&self.fault, "client"),
            Some(500..) => event.set(&self.fault, "server"),
            Some(_) => true,
            None => return Fate::Reject("there is no status".into()),
        };
        Fate::Keep
    }
}

/// Sends the lines through and writes what reaches the sink.
pub fn run(out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let components = Components::built_in().transform("blame", |_| {
        Ok(Blame { path: Field::new("path")?, status: Field::new("status")?, fault: Field::new("fault")? })
    });
    let pipeline = Pipeline::builder()
        .source("web", json!({"type": "stdin", "decode": "json"}))
        .transform("clean", json!({"type": "redact", "inputs": ["web"], "detect": ["secrets"]}))
        .transform("judged", json!({"type": "blame", "inputs": ["clean"]}))
        .sink("out", json!({"type": "blackhole", "inputs": ["judged"]}))
        .build(&components)?;
    let mut lines = pipeline.in_memory()?;
    for line in LINES {
        for reached in lines.line("web", line).unwrap_or_default() {
            for event in reached.events {
                writeln!(out, "{}: {event}", reached.sink)?;
            }
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    run(&mut std::io::stdout().lock())
}
