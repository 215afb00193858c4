//! Questions of the double in SQL and PromQL: a child in Python, with SQLite, that lives as long as the tests.

use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

struct Engine {
    _child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Names of rows that it has.
    known: HashSet<String>,
}

static ENGINE: Mutex<Option<Engine>> = Mutex::new(None);

/// A stream's rows as the engine is to know them: two of one name are the same.
pub(crate) struct Rows<'a> {
    pub(crate) name: String,
    pub(crate) rows: &'a Vec<Map<String, Value>>,
}

/// The rows, or what is wrong with the question, which has under `rows` the names of those streams that it asks.
pub(crate) fn ask(question: &Value, streams: &[Rows<'_>]) -> Result<Vec<Value>, String> {
    let mut engine = ENGINE.lock().unwrap_or_else(|e| e.into_inner());
    let engine = engine.get_or_insert_with(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/openobserve_sql.py");
        let mut command = Command::new("python3");
        let mut child = command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Engine { _child: child, input, output, known: HashSet::new() }
    });
    for Rows { name, rows } in streams {
        if engine.known.insert(name.clone()) {
            writeln!(engine.input, "{}", json!({"keep": name, "rows": rows})).unwrap();
        }
    }
    writeln!(engine.input, "{question}").unwrap();
    let mut line = String::new();
    engine.output.read_line(&mut line).unwrap();
    let answer: Value = serde_json::from_str(&line).unwrap();
    match answer["error"].as_str() {
        Some(why) => Err(why.to_owned()),
        None => Ok(answer["rows"].as_array().unwrap().clone()),
    }
}
