//! `docs/openapi.json` is what the API does: its paths, and, by schemathesis where that is installed, what each call takes and answers.

use crate::agent::{Agent, config, eventually, get_with};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn document() -> Value {
    serde_json::from_str(include_str!("../../docs/openapi.json")).unwrap()
}

#[test]
fn every_call_is_in_the_document_and_on_the_page() {
    let code = include_str!("../../src/api/mod.rs");
    let routes = code.split(".route(\"").skip(1).map(|rest| {
        let (path, rest) = rest.split_once('"').unwrap();
        let method = if rest.trim_start_matches(", ").starts_with("post(") { "post" } else { "get" };
        format!("{method} {path}")
    });
    let routes: BTreeSet<String> = routes.collect();
    let document = document();
    let paths = document["paths"].as_object().unwrap().iter();
    let described: BTreeSet<String> =
        paths.flat_map(|(path, calls)| calls.as_object().unwrap().keys().map(move |m| format!("{m} {path}"))).collect();
    assert_eq!(routes, described);
    let page = include_str!("../../docs/api.md");
    for call in routes {
        let (method, path) = call.split_once(' ').unwrap();
        assert!(page.contains(&format!("`{} {path}`", method.to_uppercase())), "{call} is not on docs/api.md");
    }
}

fn schemathesis() -> Option<PathBuf> {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/ci-venv/bin/schemathesis");
    let on_path =
        std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    std::iter::once(installed).chain(on_path.map(|dir| dir.join("schemathesis"))).find(|path| path.exists())
}

/// The document that is served holds for the agent that serves it.
#[test]
fn the_agent_does_what_the_document_says() {
    let Some(program) = schemathesis() else {
        return println!("skipped: schemathesis is not installed");
    };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    config(
        dir,
        "data_dir: ./data\napi: {listen: \"127.0.0.1:0\", auth: {bearer: [a-token]}}\nsources:\n  app: {type: demo, rate: 100}\n\
         transforms:\n  keep: {type: filter, inputs: [app], when: 'level == \"ERROR\"'}\nsinks:\n  out: {type: blackhole, inputs: [keep]}\n",
    );
    let agent = Agent::run(dir, &[]);
    eventually("the API listens", || agent.addresses().len() == 1);
    let address = agent.addresses()[0].clone();
    let (status, served) = get_with(&address, "/api/v1/openapi.json", "Authorization: Bearer a-token\r\n");
    let mut served: Value = serde_json::from_str(&served).unwrap();
    assert_eq!((status, &served), (200, &document()));
    // What has no end is given one.
    let tap = &mut served["components"]["schemas"]["TapQuestion"];
    tap["required"] = json!(["duration"]);
    tap["properties"]["duration"] = json!({"type": "string", "enum": ["1ms"]});
    served["paths"]["/api/v1/tap"]["post"]["requestBody"]["required"] = true.into();
    std::fs::write(dir.join("openapi.json"), served.to_string()).unwrap();
    let run = |more: &[&str]| {
        let mut command = Command::new(&program);
        command.args(["run", "openapi.json", "--url", &format!("http://{address}")]).args(more);
        command.args(["-H", "Authorization: Bearer a-token", "--max-examples", "3", "--generation-deterministic"]);
        // What is well formed may still be no configuration, or no point.
        command.args(["--exclude-checks", "positive_data_acceptance", "--no-color"]);
        command.current_dir(dir).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let tap = "/api/v1/tap";
    // A question that is wrong may be one for events without an end.
    let both = [
        run(&["--exclude-path", tap, "--phases", "coverage,fuzzing"]),
        run(&["--include-path", tap, "--phases", "fuzzing", "--mode", "positive"]),
    ];
    for child in both {
        let out = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && text.contains(" passed"), "{text}");
    }
    agent.stop();
}
