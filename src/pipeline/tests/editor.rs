//! The schema in an editor: yaml-language-server over stdio, driven as an editor does. Where node or the server is missing (`.ci/run`
//! puts it under `target/`) nothing is tested.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::super::*;
use super::schema::{as_json, mistakes};
use crate::settings::*;

/// A language server with our schema.
struct Server {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    settings: Value,
    asked: i64,
    /// What it found in documents, by name.
    found: BTreeMap<String, Vec<String>>,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start(schema: &Value) -> Option<Server> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let program =
            root.join("target/yaml-language-server/node_modules/yaml-language-server/bin/yaml-language-server");
        if !program.exists() {
            println!("skipped: yaml-language-server is not installed");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("schema.json"), schema.to_string()).unwrap();
        let mut command = Command::new("node");
        command.arg(program).arg("--stdio").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(_) => {
                println!("skipped: node is not installed");
                return None;
            }
        };
        let url = format!("file://{}", folder.path().join("schema.json").display());
        let settings = json!({
            "schemas": {url: ["*.yaml"]}, "validate": true, "hover": true, "completion": true,
            "schemaStore": {"enable": false}, "kubernetesCRDStore": {"enable": false},
        });
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut server = Server { child, to, from, settings, asked: 0, found: BTreeMap::new(), _folder: folder };
        let markdown = json!({"contentFormat": ["markdown"]});
        let capabilities = json!({
            "workspace": {"configuration": true},
            "textDocument": {
                "hover": markdown,
                "completion": {"completionItem": {"documentationFormat": ["markdown"], "snippetSupport": true}},
            },
        });
        server.ask(
            "initialize",
            json!({"processId": std::process::id(), "rootUri": "file:///pipelines", "capabilities": capabilities}),
        );
        server.tell("initialized", json!({}));
        let settings = server.settings.clone();
        server.tell("workspace/didChangeConfiguration", json!({"settings": {"yaml": settings}}));
        Some(server)
    }

    fn write(&mut self, message: &Value) {
        let text = message.to_string();
        write!(self.to, "Content-Length: {}\r\n\r\n{text}", text.len()).unwrap();
        self.to.flush().unwrap();
    }

    fn tell(&mut self, method: &str, params: Value) {
        self.write(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let id = self.asked;
        self.write(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        loop {
            let message = self.next();
            if message["id"] == id && message.get("method").is_none() {
                return message["result"].clone();
            }
            self.take(&message);
        }
    }

    fn next(&mut self) -> Value {
        let mut length = 0;
        loop {
            let mut line = String::new();
            assert!(self.from.read_line(&mut line).unwrap() > 0, "the language server has ended");
            match line.trim().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().unwrap(),
                Some(_) => {}
                None => break,
            }
        }
        let mut text = vec![0; length];
        self.from.read_exact(&mut text).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// Answers what the server asks, and keeps what it found.
    fn take(&mut self, message: &Value) {
        match (message["method"].as_str(), message.get("id")) {
            (Some("workspace/configuration"), Some(id)) => {
                let items = message["params"]["items"].as_array().unwrap();
                let of = |item: &Value| if item["section"] == "yaml" { self.settings.clone() } else { json!({}) };
                let answer = json!({"jsonrpc": "2.0", "id": id, "result": items.iter().map(of).collect::<Vec<_>>()});
                self.write(&answer);
            }
            (Some(_), Some(id)) => {
                let answer = json!({"jsonrpc": "2.0", "id": id, "result": null});
                self.write(&answer);
            }
            (Some("textDocument/publishDiagnostics"), None) => {
                let all = message["params"]["diagnostics"].as_array().unwrap();
                let words = all.iter().map(|found| found["message"].as_str().unwrap().to_owned()).collect();
                let name = message["params"]["uri"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
                self.found.insert(name, words);
            }
            _ => {}
        }
    }

    fn open(&mut self, name: &str, text: &str) -> String {
        let uri = format!("file:///pipelines/{name}");
        self.tell(
            "textDocument/didOpen",
            json!({"textDocument": {"uri": uri, "languageId": "yaml", "version": 1, "text": text}}),
        );
        uri
    }

    /// What it found in documents that are open, once it has looked at them.
    fn found(&mut self, names: &[String]) -> Vec<Vec<String>> {
        while names.iter().any(|name| !self.found.contains_key(name)) {
            let message = self.next();
            self.take(&message);
        }
        names.iter().map(|name| self.found[name].clone()).collect()
    }

    fn hover(&mut self, uri: &str, (line, character): (usize, usize)) -> String {
        self.found(&[uri.rsplit('/').next().unwrap().to_owned()]);
        let at = json!({"textDocument": {"uri": uri}, "position": {"line": line, "character": character}});
        let answer = self.ask("textDocument/hover", at);
        answer["contents"]["value"].as_str().unwrap_or_default().to_owned()
    }

    /// Label and text of what may be put in there.
    fn completions(&mut self, uri: &str, (line, character): (usize, usize)) -> Vec<(String, String)> {
        // It has the schema then.
        self.found(&[uri.rsplit('/').next().unwrap().to_owned()]);
        let at = json!({"textDocument": {"uri": uri}, "position": {"line": line, "character": character}});
        let answer = self.ask("textDocument/completion", at);
        let items = answer["items"].as_array().or(answer.as_array()).cloned().unwrap_or_default();
        let text = |item: &Value| {
            item["textEdit"]["newText"].as_str().or(item["insertText"].as_str()).unwrap_or_default().to_owned()
        };
        items.iter().map(|item| (item["label"].as_str().unwrap().to_owned(), text(item))).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn schema() -> Value {
    json_schema(crate::registry::built_in())
}

#[test]
fn an_editor_completes_keys_with_their_colon_and_shows_text_default_and_example() {
    let schema = schema();
    let Some(mut server) = Server::start(&schema) else { return };
    let mut opened = Vec::new();
    for (kind, name) in crate::registry::built_in().names() {
        let section = kind.section();
        let uri = server.open(&format!("{section}-{name}.yaml"), &format!("{section}:\n  it:\n    type: {name}\n    "));
        opened.push((uri, section, name, (3, 4), true));
        // In flow style, once a key is begun. (The server puts the colon in only where the line has none yet.)
        if ["file", "normalize", "openobserve"].contains(&name) {
            let text = format!("{section}:\n  it: {{type: {name}, w}}\n");
            let uri = server.open(&format!("flow-{section}-{name}.yaml"), &text);
            opened.push((uri, section, name, (1, 16 + name.len()), false));
        }
    }
    for (uri, section, name, place, with_colon) in opened {
        let offered = server.completions(&uri, place);
        let forms = schema["properties"][section]["additionalProperties"]["allOf"].as_array().unwrap();
        let form = forms.iter().find(|form| form["if"]["properties"]["type"]["const"] == name).unwrap();
        for key in form["then"]["properties"].as_object().unwrap().keys().filter(|key| *key != "type") {
            let found = offered.iter().find(|(label, _)| label == key);
            let (_, text) = found.unwrap_or_else(|| panic!("{name}: {key}: {offered:?}"));
            assert!(!with_colon || text.starts_with(&format!("{key}:")), "{name}: {key}: {text:?}");
        }
    }
    let text = "sources:\n  app: {type: file, include: [x], watch: auto, decode: json, max_line_bytes: 64KiB}\n\
                transforms:\n  shape:\n    type: normalize\n    inputs: [app]\n    keep_rest: root\n\
                sinks:\n  out:\n    type: openobserve\n    inputs: [shape]\n    url: http://localhost:5080\n    stream: a\n    batch: {max_events: 5}\n";
    let uri = server.open("hovers.yaml", text);
    for (key, parts) in [
        ("watch", ["How changes are noticed.", "Default: `auto`", "Example: `watch: auto`"].as_slice()),
        ("decode", &["How frames become events.", "Default: `text`", "Example: `decode: "]),
        ("max_line_bytes", &["Longest line", "Default: `1MiB`", "Example: `max_line_bytes: "]),
        ("include", &["Files to read", "Example: `include: [\"/var/log/app/*.log\"]`"]),
        ("keep_rest", &["Example: `keep_rest: "]),
        ("url", &["Example: `url: \"http://localhost:5080\"`"]),
        ("batch", &["Example: `batch: {"]),
    ] {
        let (line, column) =
            text.lines().enumerate().find_map(|(n, line)| Some((n, line.find(&format!("{key}:"))?))).unwrap();
        let shown = server.hover(&uri, (line, column + 1));
        for part in parts {
            assert!(shown.contains(part), "{key}: {part}: {shown}");
        }
        assert!(!shown.contains("Config") && !shown.contains("Setting") && !shown.contains("####"), "{key}: {shown}");
    }
}

/// A place in a document: keys and indices from the top.
type Place = Vec<String>;

fn places(value: &Value, here: &mut Place, out: &mut Vec<Place>) {
    let below: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(n, value)| (n.to_string(), value)).collect(),
        _ => return,
    };
    for (step, value) in below {
        here.push(step);
        out.push(here.clone());
        places(value, here, out);
        here.pop();
    }
}

fn at<'v>(document: &'v mut Value, place: &[String]) -> Option<&'v mut Value> {
    place.iter().try_fold(document, |value, step| match value {
        Value::Object(map) => map.get_mut(step),
        Value::Array(list) => list.get_mut(step.parse::<usize>().ok()?),
        _ => None,
    })
}

/// One change somewhere; what it was.
fn change(document: &mut Value, rng: &mut fastrand::Rng) -> Option<String> {
    let mut all = Vec::new();
    places(document, &mut Place::new(), &mut all);
    let place = all.get(rng.usize(..all.len()))?.clone();
    let (last, before) = place.split_last()?;
    let words = place.join(".");
    let values = [
        json!(null),
        json!(true),
        json!(-1),
        json!(0.5),
        json!(7),
        json!("x"),
        json!(""),
        json!([]),
        json!({}),
        json!("16Mi"),
        json!("5"),
        json!("5 parsecs"),
        json!(["x"]),
        json!({"x": 1}),
        json!("50%"),
        json!(8686),
        json!("${X"),
        json!("64KiB"),
        json!("5s"),
    ];
    match rng.usize(..4) {
        // Another value.
        0 | 1 => {
            let value = values[rng.usize(..values.len())].clone();
            let what = format!("{words} becomes {value}");
            *at(document, &place)? = value;
            Some(what)
        }
        // Another name, or none.
        2 => {
            let Value::Object(map) = at(document, before)? else { return None };
            let value = map.remove(last)?;
            let name = format!("{last}{}", ["e", "_", ""][rng.usize(..3)]);
            let what = format!("{words} is called {name:?}");
            if name != *last {
                map.insert(name, value);
            }
            Some(what)
        }
        // One more key.
        _ => {
            let Value::Object(map) = at(document, before)? else { return None };
            let name = ["x", "type", "inputs", "when", "buffer", "listen", "codec"][rng.usize(..7)];
            let value = values[rng.usize(..values.len())].clone();
            let what = format!("{} gets {name}: {value}", before.join("."));
            map.insert(name.to_owned(), value);
            Some(what)
        }
    }
}

/// Documents that are good as they are.
fn pipelines(environment: &BTreeMap<String, String>) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let texts = files.iter().filter(|path| path.extension().is_some_and(|e| e == "yaml"));
    let documents = texts.map(|path| as_json(&std::fs::read_to_string(path).unwrap()));
    documents.filter(|document| errors(document, environment).is_empty()).collect()
}

fn errors(document: &Value, environment: &BTreeMap<String, String>) -> Vec<String> {
    let text = format!("{document:#}");
    let loaded = load_texts(&[("t.json", &text)], environment, crate::registry::built_in());
    let found = loaded.report.diagnostics.sorted().into_iter().filter(|d| d.severity == Severity::Error);
    found.map(|d| d.message).collect()
}

/// What the shape of a document tells, and so a schema.
fn is_of_the_shape(message: &str) -> bool {
    // What is a language of its own, or is known to the program alone.
    let own = [
        "expected a time zone",
        "expected a condition",
        "expected a regular expression",
        "expected a field",
        "expected a text",
        "expected a charset",
        "expected a label",
        "expected one label",
    ];
    let of_shape = [
        "unknown key",
        "missing key",
        "there is no source type",
        "there is no transform type",
        "there is no sink type",
        "expected ",
    ];
    of_shape.iter().any(|start| message.starts_with(start)) && !own.iter().any(|start| message.starts_with(start))
}

#[test]
fn schema_editor_and_validate_agree_on_single_changes_but_for_what_a_schema_cannot_know() {
    let schema = schema();
    let environment: BTreeMap<String, String> =
        ["O2_USER", "O2_PASSWORD", "REDACT_KEY"].map(|name| (name.to_owned(), "a-value-of-it".to_owned())).into();
    let good = pipelines(&environment);
    assert!(good.len() > 30, "{}", good.len());
    let mut rng = fastrand::Rng::with_seed(21);
    let mut changed: Vec<(String, Value)> = Vec::new();
    while changed.len() < 300 {
        let mut document = good[rng.usize(..good.len())].clone();
        if let Some(what) = change(&mut document, &mut rng) {
            changed.push((what, document));
        }
    }
    let shown = Server::start(&schema).map(|mut server| {
        let names: Vec<String> = (0..changed.len()).map(|n| format!("{n}.yaml")).collect();
        for (name, (_, document)) in names.iter().zip(&changed) {
            server.open(name, &format!("{document:#}"));
        }
        server.found(&names)
    });
    let (mut wrong, mut refused, mut kinds) = (Vec::new(), 0, BTreeSet::new());
    for (n, (what, document)) in changed.iter().enumerate() {
        let mut by_schema = Vec::new();
        mistakes(&schema, document, &schema, "", &mut by_schema);
        let by_reader = errors(document, &environment);
        refused += usize::from(!by_reader.is_empty());
        kinds.extend(
            by_reader
                .iter()
                .filter(|m| by_schema.is_empty() && !is_of_the_shape(m))
                .map(|m| m.split('`').next().unwrap_or_default().to_owned()),
        );
        if let Some(shown) = &shown
            && shown[n].is_empty() != by_schema.is_empty()
        {
            wrong.push(format!("{what}: the schema says {by_schema:?}, the editor {:?}", shown[n]));
        }
        if !by_schema.is_empty() && by_reader.is_empty() {
            wrong.push(format!("{what}: the schema alone says {by_schema:?}"));
        }
        if by_schema.is_empty()
            && let Some(message) = by_reader.iter().find(|message| is_of_the_shape(message))
        {
            wrong.push(format!("{what}: the reader alone says {message}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), changed.len(), wrong.join("\n"));
    // Changes that change nothing would agree as well.
    assert!(refused > 150, "{refused} are refused; not of the shape: {kinds:?}");
}
