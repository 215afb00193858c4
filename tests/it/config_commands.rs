//! `validate`, `schema`, `reference` and `graph` from outside: what is on which stream, and the exit codes.

use std::path::Path;
use std::process::{Command, Output};

fn tidegate(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(arguments)
        .current_dir(folder)
        .env("CANARY", "canary-51c2")
        .output()
        .expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_wrong_file_is_said_on_stderr_and_exits_with_78() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = "sources:\n  a: {type: stdn}\nsinks:\n  o: {type: file, inputs: [b], path: x, password: '${CANARY}'}\nshutdown_timeout: 5\n";
    std::fs::write(dir.path().join("t.yaml"), file).expect("written");
    for command in ["validate", "graph", "run"] {
        let out = tidegate(&[command, "--config", "t.yaml"], dir.path());
        let (stdout, stderr) = (text(&out.stdout), text(&out.stderr));
        assert_eq!(out.status.code(), Some(78), "{command}: {stderr}");
        assert_eq!(stdout, "", "{command}");
        for what in ["there is no source type `stdn`", "did you mean `stdin`?", "--> t.yaml:2:13", "missing unit"] {
            assert!(stderr.contains(what), "{command} does not say {what}: {stderr}");
        }
        assert!(stderr.contains("unknown key `password`") && !stderr.contains("canary"), "{stderr}");
        assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 1, "checking touches nothing");
    }
}

#[test]
fn a_missing_file_and_a_wrong_command_line_are_told_apart() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = tidegate(&["validate", "--config", "nope.yaml"], dir.path());
    assert_eq!(out.status.code(), Some(78));
    assert!(text(&out.stderr).contains("cannot read `nope.yaml`"));
    assert_eq!(tidegate(&["validate", "--nope"], dir.path()).status.code(), Some(2));
    assert_eq!(tidegate(&["reference", "nope"], dir.path()).status.code(), Some(2));
}

#[test]
fn files_are_taken_without_a_flag() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("a.yaml"), "sources: {a: {type: demo, count: 3}}\n").expect("written");
    std::fs::write(dir.path().join("b.yaml"), "sinks: {o: {type: blackhole, inputs: [a]}}\n").expect("written");
    for files in [["a.yaml", "b.yaml"].as_slice(), &["--config", "a.yaml", "b.yaml"], &["."]] {
        for command in [["validate"].as_slice(), &["graph"], &["run", "--once"]] {
            let out = tidegate(&[command, files].concat(), dir.path());
            assert_eq!(out.status.code(), Some(0), "{command:?} {files:?}: {}", text(&out.stderr));
        }
    }
    let out = tidegate(&["validate", "a.yaml"], dir.path());
    assert_eq!(out.status.code(), Some(78), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("no sinks"));
}

#[test]
fn what_validate_finds_is_told_to_programs_as_json() {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |file: &str| std::fs::write(dir.path().join("t.yaml"), file).expect("written");
    let validate = |more: &[&str]| {
        let out = tidegate(&[&["validate", "t.yaml", "--format", "json"], more].concat(), dir.path());
        assert_eq!(text(&out.stderr), "", "it is all on stdout");
        let found: serde_json::Value = serde_json::from_slice(&out.stdout).expect("one JSON object");
        (out.status.code(), found)
    };
    write("sources:\n  a: {type: stdn}\nsinks:\n  o: {type: blackhole, inputs: [b], password: '${CANARY}'}\n");
    let (code, found) = validate(&[]);
    let places: Vec<String> = found["diagnostics"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| format!("{}:{}:{} {}", one["severity"], one["line"], one["column"], one["help"][0]))
        .collect();
    assert_eq!((code, &found["ok"], places.len()), (Some(78), &false.into(), 3), "{found}");
    assert!(places[0].starts_with("\"error\":2:13 \"did you mean `stdin`?\""), "{places:?}");
    assert!(!found.to_string().contains("canary"), "{found}");
    // What has no place in the file is there as well, and what is fine is said to be.
    write(
        "sources: {a: {type: file, include: [none.log]}}\nsinks: {o: {type: file, inputs: [a], path: /proc/x/y.log}}\n",
    );
    let (code, found) = validate(&["--environment"]);
    let first = &found["diagnostics"][0];
    assert_eq!((code, &found["ok"], &first["component"]), (Some(1), &false.into(), &"o".into()), "{found}");
    assert!(first.get("line").is_none() && first["help"][0].is_string(), "{found}");
    write("sources: {a: {type: file, include: [none.log]}}\nsinks: {o: {type: blackhole, inputs: [a]}}\n");
    let (code, found) = validate(&["--environment"]);
    assert_eq!((code, &found["ok"], &found["sources"]), (Some(0), &true.into(), &1.into()), "{found}");
    assert_eq!(found["diagnostics"][0]["severity"], "warning", "{found}");
    let (code, _) = validate(&["--environment", "--deny-warnings"]);
    assert_eq!(code, Some(1));
}

#[test]
fn schema_and_reference_are_data_on_stdout() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = tidegate(&["schema"], dir.path());
    assert_eq!((out.status.code(), text(&out.stderr).as_str()), (Some(0), ""));
    let schema: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert!(schema["properties"]["transforms"]["additionalProperties"]["properties"]["type"]["enum"].is_array());
    let out = tidegate(&["reference", "normalize"], dir.path());
    assert_eq!(out.status.code(), Some(0));
    assert!(text(&out.stdout).contains("### transform `normalize`"));
}

#[test]
fn the_reference_in_the_docs_is_that_of_this_build() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let now = text(&tidegate(&["reference"], root).stdout);
    let kept = std::fs::read_to_string(root.join("docs/reference.md")).expect("docs/reference.md");
    let differs = now.lines().zip(kept.lines()).find(|(now, kept)| now != kept);
    assert!(now == kept, "run `cargo run -- reference > docs/reference.md`; first difference: {differs:?}");
}
