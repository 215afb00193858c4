//! Questions of the double in SQL and PromQL: a child in Python, with SQLite, that lives as long as the tests.

use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

struct Engine {
    _child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

static ENGINE: Mutex<Option<Engine>> = Mutex::new(None);

/// The rows, or what is wrong with the question.
pub(crate) fn ask(question: &Value) -> Result<Vec<Value>, String> {
    let mut engine = ENGINE.lock().unwrap_or_else(|e| e.into_inner());
    let engine = engine.get_or_insert_with(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/openobserve_sql.py");
        let mut command = Command::new("python3");
        let mut child = command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Engine { _child: child, input, output }
    });
    writeln!(engine.input, "{question}").unwrap();
    let mut line = String::new();
    engine.output.read_line(&mut line).unwrap();
    let answer: Value = serde_json::from_str(&line).unwrap();
    match answer["error"].as_str() {
        Some(why) => Err(why.to_owned()),
        None => Ok(answer["rows"].as_array().unwrap().clone()),
    }
}
