//! The configurations that ran, and going back to one: `tidegate config`.

use crate::agent::{Agent, config, eventually, lines, output, tidegate};
use std::io::Write as _;
use std::path::Path;

fn yaml(out: &str) -> String {
    format!(
        "data_dir: ./data
api: {{listen: \"127.0.0.1:0\", auth: {{bearer: [\"canary-plain-7711\", \"${{TOKEN_OF_API}}\"]}}}}
sources: {{in: {{type: file, include: [in.log]}}}}
sinks: {{out: {{type: file, inputs: [in], path: {out}, encoding: text}}}}
"
    )
}

fn write(dir: &Path, text: &str) {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("in.log")).unwrap();
    writeln!(file, "{text}").unwrap();
}

/// Exit code, stdout and stderr of a command about the configuration in `dir`.
fn ask(dir: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = tidegate(dir, arguments);
    command.args(["--config", "tidegate.yaml"]).env("TOKEN_OF_API", "token-of-the-environment");
    output(command)
}

fn run(dir: &Path) -> Agent {
    let mut command = tidegate(dir, &["run", "--config", "tidegate.yaml"]);
    command.env("TOKEN_OF_API", "token-of-the-environment");
    Agent::start(command)
}

fn arrives(dir: &Path, file: &str, line: &str) {
    write(dir, line);
    eventually(&format!("{line} is in {file}"), || lines(&dir.join(file)).iter().any(|l| l == line));
}

#[test]
fn an_earlier_configuration_runs_again_over_kills_until_a_file_changes() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    config(dir, &yaml("a.log"));
    let agent = run(dir);
    arrives(dir, "a.log", "one");
    config(dir, &yaml("b.log"));
    let (code, said, error) = ask(dir, &["reload"]);
    assert_eq!(code, Some(0), "{said}{error}");
    arrives(dir, "b.log", "two");

    let (code, list, error) = ask(dir, &["config", "history"]);
    assert_eq!(code, Some(0), "{error}");
    let numbers: Vec<&str> = list.lines().skip(1).filter_map(|l| l.split_whitespace().next()).collect();
    assert_eq!(numbers, ["2", "1"], "{list}");
    let (_, shown, _) = ask(dir, &["config", "show", "1"]);
    assert!(shown.contains("path: a.log") && shown.contains("${TOKEN_OF_API}") && shown.contains("***"), "{shown}");
    assert!(!shown.contains("canary-plain") && !shown.contains("token-of-the"), "{shown}");
    let (_, difference, _) = ask(dir, &["config", "diff", "1", "2"]);
    assert!(difference.contains("-sinks:") && difference.contains("path: b.log"), "{difference}");
    assert!(!difference.contains("canary-plain"), "{difference}");
    let (code, _, error) = ask(dir, &["config", "show", "7"]);
    assert!(code == Some(1) && error.contains("there are 1, 2"), "{error}");

    let (code, said, error) = ask(dir, &["config", "rollback", "1"]);
    assert_eq!(code, Some(0), "{said}{error}");
    assert!(said.contains("taken over") && error.contains("configuration 1 is pinned"), "{said}{error}");
    arrives(dir, "a.log", "three");
    assert_eq!(
        std::fs::read_to_string(dir.join("tidegate.yaml")).unwrap(),
        yaml("b.log"),
        "the user's files are theirs"
    );
    // A reload reads the files, and they have not changed.
    let (code, said, _) = ask(dir, &["reload"]);
    assert!(code == Some(0) && said.contains("nothing to do"), "{said}");
    agent.kill();

    let agent = run(dir);
    arrives(dir, "a.log", "four");
    eventually("it is said at each start", || agent.said().contains("pinned by `tidegate config rollback`"));
    let (_, list, _) = ask(dir, &["config", "history"]);
    assert!(list.lines().any(|l| l.contains(" 1 ") && l.contains("(pinned)")), "{list}");
    assert_eq!(list.lines().count(), 3, "the pinned one is not kept twice: {list}");

    config(dir, &yaml("c.log"));
    let (code, said, error) = ask(dir, &["reload"]);
    assert_eq!(code, Some(0), "{said}{error}");
    arrives(dir, "c.log", "five");
    assert!(agent.said().contains("it is pinned to no other any more"), "{}", agent.said());
    agent.stop();
    let agent = run(dir);
    arrives(dir, "c.log", "six");
    agent.stop();
    let all: Vec<String> = ["a.log", "b.log", "c.log"].iter().flat_map(|f| lines(&dir.join(f))).collect();
    assert_eq!(all, ["one", "three", "four", "two", "five", "six"], "each line once");
}

#[test]
fn what_cannot_run_any_more_is_not_pinned() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::write(dir.join("secret"), "a-secret-of-a-file\n").unwrap();
    config(dir, &yaml("a.log").replace("${TOKEN_OF_API}", "${file:./secret}"));
    let agent = run(dir);
    arrives(dir, "a.log", "one");
    config(dir, &yaml("b.log"));
    let (code, said, error) = ask(dir, &["reload"]);
    assert_eq!(code, Some(0), "{said}{error}");
    arrives(dir, "b.log", "two");
    std::fs::remove_file(dir.join("secret")).unwrap();
    let (code, said, error) = ask(dir, &["config", "rollback", "1"]);
    assert_eq!(code, Some(78), "{said}{error}");
    assert!(error.contains("it is not pinned"), "{error}");
    arrives(dir, "b.log", "three");
    agent.stop();

    // Without an agent it waits for one; what the files say cannot be pinned.
    std::fs::write(dir.join("secret"), "a-secret-of-a-file\n").unwrap();
    let (code, _, error) = ask(dir, &["config", "rollback", "1"]);
    assert!(code == Some(0) && error.contains("it is taken over when one starts"), "{error}");
    let (code, _, error) = ask(dir, &["config", "rollback", "2"]);
    assert!(code == Some(0) && error.contains("none is pinned"), "{error}");
    let agent = run(dir);
    arrives(dir, "b.log", "four");
    agent.stop();
    // Pinned, and then of no use: the start says so, and with which step.
    ask(dir, &["config", "rollback", "1"]);
    std::fs::remove_file(dir.join("secret")).unwrap();
    let (code, _, error) = ask(dir, &["run"]);
    assert_eq!(code, Some(78), "{error}");
    assert!(error.contains("pin.json to run what the files say"), "{error}");
}
