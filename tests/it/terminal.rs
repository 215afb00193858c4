//! What goes to a terminal and to nobody else, and what somebody reads who was woken up by it.

use crate::agent::{Agent, config, eventually, nobody, output, tidegate};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Command;

/// Runs it on a terminal; what that shows, and the exit code. `None` where there is no python to make one.
fn on_a_terminal(dir: &Path, args: &[&str], environment: &[(&str, &str)]) -> Option<(String, i32)> {
    let program = tidegate(dir, args);
    let mut command = Command::new("python3");
    let script = "import os,pty,sys\nsys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    command.args(["-c", script]).arg(program.get_program()).args(program.get_args()).current_dir(dir);
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
        .env_remove("NO_COLOR")
        .env("TERM", "xterm")
        .envs(environment.iter().copied())
        .stdin(std::process::Stdio::null());
    match command.output() {
        Ok(out) => Some((String::from_utf8_lossy(&out.stdout).into_owned(), out.status.code().unwrap_or(-1))),
        Err(_) => {
            println!("skipped: python3 is not installed");
            None
        }
    }
}

#[test]
fn colours_go_to_a_terminal_alone_and_only_where_they_are_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    config(dir, "sources:\n  a: {type: demo, cuont: 1}\nsinks:\n  o: {type: console, inputs: [a]}\n");
    let args = ["validate", "tidegate.yaml"];
    let Some((shown, code)) = on_a_terminal(dir, &args, &[]) else { return };
    assert_eq!(code, 78, "{shown}");
    for part in ["\x1b[1;31merror:\x1b[0m unknown key `cuont`", "\x1b[1;31m^^^^^\x1b[0m", "\x1b[36m= help:\x1b[0m"] {
        assert!(shown.contains(part), "{part:?}: {shown:?}");
    }
    for environment in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let (shown, _) = on_a_terminal(dir, &args, &[environment]).unwrap();
        assert!(shown.contains("unknown key") && !shown.contains('\x1b'), "{environment:?}: {shown:?}");
    }
    let (_, _, piped) = output(tidegate(dir, &args));
    assert!(piped.contains("unknown key") && !piped.contains('\x1b'), "{piped:?}");
}

#[test]
fn a_run_to_the_end_tells_a_terminal_how_far_it_is_and_a_pipe_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let server = nobody();
    // It waits for a server that is not there, long enough for the line to show, and gives up.
    let waits_for = |seconds: u32| {
        let retry = format!("retry: {{max_elapsed: {seconds}s}}");
        let yaml = format!(
            "data_dir: ./data\nsources: {{in: {{type: file, include: [in.log]}}}}\n\
             sinks: {{o: {{type: http, inputs: [in], url: \"http://{server}/\", {retry}}}}}\n"
        );
        config(dir, &yaml);
    };
    waits_for(4);
    std::fs::write(dir.join("in.log"), "a\nb\n").unwrap();
    let args = ["run", "--once", "tidegate.yaml"];
    let Some((shown, code)) = on_a_terminal(dir, &args, &[]) else { return };
    assert_eq!(code, 1, "{shown}");
    assert!(shown.contains("reading: ") && shown.contains("2 events, "), "{shown:?}");
    assert!(shown.contains("\x1b[1;33mWARN\x1b[0m") && shown.contains("\x1b[1mcomponent "), "{shown:?}");
    // Its last words stand on an empty line.
    let ledger = shown.rfind("component  kind").unwrap();
    assert!(!shown[ledger..].contains("reading: "), "{shown:?}");
    std::fs::remove_dir_all(dir.join("data")).unwrap();
    waits_for(1);
    let (code, _, piped) = output(tidegate(dir, &args));
    assert_eq!(code, Some(1), "{piped}");
    assert!(!piped.contains("reading: ") && !piped.contains(['\x1b', '\r']), "{piped:?}");
}

#[test]
fn mistakes_in_a_json_log_are_records_with_their_place_and_no_drawings() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    config(dir, "sources:\n  a: {type: demo, cuont: 1}\nsinks:\n  o: {type: console, inputs: [b]}\n");
    let (code, _, said) = output(tidegate(dir, &["run", "--log-format", "json", "tidegate.yaml"]));
    assert_eq!(code, Some(78), "{said}");
    let records: Vec<serde_json::Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |what: &str| records.iter().find(|r| r["message"].as_str().unwrap().contains(what)).unwrap();
    let first = of("unknown key `cuont`");
    assert_eq!((&first["file"], &first["line"], &first["column"]), (&"tidegate.yaml".into(), &2.into(), &19.into()));
    assert_eq!((first["level"].as_str(), first["help"].as_str()), (Some("ERROR"), Some("did you mean `count`?")));
    assert_eq!(of("there is no component `b`")["line"], 4);
    assert!(!said.contains("-->") && !said.contains("^^") && !said.contains("\\n"), "{said}");
}

#[test]
fn a_watched_configuration_that_changes_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let folder = dir.join("conf");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a.yaml"), "data_dir: ./data\nsources: {a: {type: demo, rate: 1}}\n").unwrap();
    std::fs::write(folder.join("b.yaml"), "sinks: {o: {type: blackhole, inputs: [a]}}\n").unwrap();
    let agent = Agent::start(tidegate(dir, &["run", "--watch-config", "conf"]));
    eventually("it runs", || agent.said().contains(" running "));
    std::fs::write(
        folder.join("b.yaml"),
        "sinks: {o: {type: blackhole, inputs: [a]}, p: {type: blackhole, inputs: [a]}}\n",
    )
    .unwrap();
    eventually("it has taken over", || agent.said().contains("has taken over"));
    let said = agent.stop();
    let line = said.lines().find(|line| line.contains("has changed and is read again")).unwrap();
    assert!(line.contains("files=conf/b.yaml") && !line.contains("a.yaml"), "{line}");
}

/// A run that is to end does so where a folder cannot be made, and says why; what it had is read again by the next one.
#[test]
fn a_run_to_the_end_gives_up_a_folder_that_cannot_be_made() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let yaml = |path: &str| {
        format!(
            "data_dir: ./data\nsources: {{in: {{type: file, include: [in.log]}}}}\nsinks: {{o: {{type: file, inputs: [in], path: {path}}}}}\n"
        )
    };
    config(dir, &yaml("/proc/nowhere/out.log"));
    std::fs::write(dir.join("in.log"), "a\nb\n").unwrap();
    // With a deadline: it waited for ever.
    let run = || {
        let (status, said) = Agent::start(tidegate(dir, &["run", "--once", "tidegate.yaml"])).wait();
        (status.code(), said)
    };
    let (code, said) = run();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("cannot make the folder `/proc/nowhere/`") && said.contains("tried 10 times in all"),
        "{said}"
    );
    assert!(said.contains("given up after 10 tries"), "{said}");
    config(dir, &yaml("./out.log"));
    let (code, said) = run();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(crate::agent::lines(&dir.join("out.log")).len(), 2, "{said}");
}

/// Of a server of which nothing else may be asked it is known whether anybody answers.
#[test]
fn validate_environment_says_when_nobody_answers_at_the_address_of_an_http_sink() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let validate = |address: &str| {
        config(
            dir,
            &format!(
                "data_dir: ./data\nsources: {{a: {{type: demo}}}}\nsinks: {{o: {{type: http, inputs: [a], url: \"http://{address}/{{{{ x }}}}?k=v\"}}}}\n"
            ),
        );
        output(tidegate(dir, &["validate", "--environment", "tidegate.yaml"]))
    };
    let (code, _, said) = validate(&nobody().to_string());
    assert!(code == Some(1) && said.contains("error: `o`: ") && said.contains("refused"), "{code:?} {said}");
    // One that answers, whatever it answers, and is asked for nothing but its root.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        let mut byte = [0];
        while !asked.ends_with(b"\r\n\r\n") && client.read(&mut byte).unwrap() == 1 {
            asked.push(byte[0]);
        }
        client.write_all(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        String::from_utf8(asked).unwrap()
    });
    let (code, out, said) = validate(&address);
    assert_eq!(code, Some(0), "{out} {said}");
    let asked = server.join().unwrap();
    assert!(asked.starts_with("HEAD / HTTP/1.1\r\n") && !asked.to_lowercase().contains("authorization"), "{asked}");
}

/// A test that cannot fail is none, and a name that no test has is told with those that there are.
#[test]
fn unit_tests_that_test_nothing_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let yaml = |metadata: &str, expect: &str| {
        format!(
            "sources: {{app: {{type: stdin, decode: json, attach: [file]}}}}\n\
             sinks: {{out: {{type: console, inputs: [app]}}}}\n\
             tests:\n  - {{name: one, input: [{{at: app, line: '{{}}', metadata: {metadata}}}], expect: [{expect}]}}\n"
        )
    };
    config(dir, &yaml("{fil: /a.err}", ""));
    let (code, _, said) = output(tidegate(dir, &["test", "--config", "tidegate.yaml"]));
    assert_eq!(code, Some(78), "{said}");
    assert!(
        said.contains("there is no metadata `fil` that could be given") && said.contains("did you mean `file`?"),
        "{said}"
    );
    assert!(said.contains("test `one` expects nothing"), "{said}");
    config(dir, &yaml("{file: /a.err}", "{at: out, count: 1}"));
    let test = |filter: &str| output(tidegate(dir, &["test", "--config", "tidegate.yaml", filter]));
    assert_eq!(test("on").0, Some(0));
    let (code, _, said) = test("zzz");
    assert!(code == Some(1) && said.contains("no test's name contains `zzz`; there are: one"), "{code:?} {said}");
}
