//! A configuration that changes while the program runs: SIGHUP, a watched file, one with mistakes, one that cannot start.

use crate::agent::{Agent, assert_balanced, config, eventually, ledger, lines, nobody};
use rustix::process::Signal;
use std::io::Write;
use std::path::Path;

fn yaml(out: &str) -> String {
    format!(
        "data_dir: ./data
sources: {{in: {{type: file, include: [in.log]}}}}
sinks: {{out: {{type: file, inputs: [in], path: {out}, encoding: text}}}}
"
    )
}

fn write(dir: &Path, from: u32, to: u32) {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("in.log")).unwrap();
    for n in from..to {
        writeln!(file, "{n}").unwrap();
    }
}

fn numbers(dir: &Path, name: &str) -> Vec<u32> {
    lines(&dir.join(name)).iter().map(|l| l.parse().unwrap()).collect()
}

/// All ledgers it printed: each run of a graph ends with one.
fn read_in_all(said: &str) -> u64 {
    said.lines()
        .filter(|l| l.starts_with("in "))
        .map(|l| l.split_whitespace().nth(2).unwrap().parse::<u64>().unwrap())
        .sum()
}

#[test]
fn a_changed_configuration_takes_over_and_no_line_is_lost_or_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    config(dir, &yaml("a.log"));
    write(dir, 0, 50_000);
    let agent = Agent::run(dir, &[]);
    // In the middle of its work.
    eventually("it reads", || !numbers_or_none(dir, "a.log").is_empty());
    config(dir, &yaml("b.log"));
    agent.signal(Signal::HUP);
    eventually("the new one runs", || agent.said().contains("has taken over"));
    write(dir, 50_000, 60_000);
    eventually("everything is there", || lines(&dir.join("a.log")).len() + lines(&dir.join("b.log")).len() == 60_000);
    let said = agent.stop();
    let mut all = numbers(dir, "a.log");
    all.extend(numbers(dir, "b.log"));
    assert!(all.into_iter().eq(0..60_000), "each line once, in order");
    assert_eq!(read_in_all(&said), 60_000, "{said}");
}

/// While a line is being written its number is not whole.
fn numbers_or_none(dir: &Path, name: &str) -> String {
    std::fs::read_to_string(dir.join(name)).unwrap_or_default()
}

#[test]
fn the_api_keeps_its_address_and_one_that_is_taken_gives_way_to_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let port = nobody().port();
    let with_api = |port: u16| format!("api: {{listen: \"127.0.0.1:{port}\"}}\n{}", yaml("a.log"));
    config(dir, &with_api(port));
    write(dir, 0, 10);
    let agent = Agent::run(dir, &[]);
    let ready = |port: u16| crate::agent::get(&format!("127.0.0.1:{port}"), "/ready").0;
    eventually("it reads", || lines(&dir.join("a.log")).len() == 10);
    // A client that keeps its connection open does not hold the address.
    let _open = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    agent.signal(Signal::HUP);
    eventually("it has looked", || agent.said().contains("nothing changes"));
    eventually("it is ready", || ready(port) == 200);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    config(dir, &with_api(taken.local_addr().unwrap().port()));
    agent.signal(Signal::HUP);
    eventually("it says so", || agent.said().contains("still running the previous configuration"));
    assert!(agent.said().contains("the API cannot listen on"), "{}", agent.said());
    assert_eq!(ready(port), 200, "it has not stopped for a moment");
    let said = agent.stop();
    assert_eq!(said.matches(" running version=").count(), 1, "{said}");
}

#[test]
fn a_configuration_with_mistakes_leaves_the_old_one_running_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    config(dir, &yaml("a.log"));
    write(dir, 0, 10);
    let agent = Agent::run(dir, &[]);
    eventually("it reads", || lines(&dir.join("a.log")).len() == 10);
    config(dir, &yaml("b.log").replace("encoding", "encodng"));
    agent.signal(Signal::HUP);
    eventually("it says so", || agent.said().contains("still running the previous configuration"));
    assert!(agent.said().contains("did you mean `encoding`?"), "{}", agent.said());
    write(dir, 10, 20);
    eventually("the old one goes on", || lines(&dir.join("a.log")).len() == 20);
    let said = agent.stop();
    assert_balanced(&said);
    assert_eq!(said.matches(" running version=").count(), 1, "{said}");
    assert_eq!(ledger(&said)[0].1[0], 20);
}

#[test]
fn a_configuration_that_cannot_start_gives_way_to_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    config(dir, &yaml("a.log"));
    write(dir, 0, 10);
    let agent = Agent::run(dir, &[]);
    eventually("it reads", || lines(&dir.join("a.log")).len() == 10);
    // No mistake in the file, but somebody has the address; with other `threads` all of the graph starts anew.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let web = format!("sources: {{web: {{type: http, listen: \"{}\"}}, ", taken.local_addr().unwrap());
    config(dir, &(yaml("b.log").replace("sources: {", &web) + "threads: 1\n"));
    agent.signal(Signal::HUP);
    eventually("the old one runs again", || agent.said().matches(" running version=").count() == 2);
    assert!(agent.said().contains("still running the previous configuration"), "{}", agent.said());
    write(dir, 10, 20);
    eventually("it reads on", || lines(&dir.join("a.log")).len() == 20);
    assert!(numbers(dir, "a.log").into_iter().eq(0..20));
    agent.stop();
}

#[test]
fn a_watched_file_is_read_again_when_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    config(dir, &yaml("a.log"));
    write(dir, 0, 10);
    let agent = Agent::run(dir, &["--watch-config"]);
    eventually("it reads", || lines(&dir.join("a.log")).len() == 10);
    // As an editor does it: a new file takes the name.
    std::fs::write(dir.join("new"), yaml("b.log")).unwrap();
    std::fs::rename(dir.join("new"), dir.join("tidegate.yaml")).unwrap();
    eventually("the new one runs", || agent.said().contains("has taken over"));
    write(dir, 10, 20);
    eventually("into the new file", || lines(&dir.join("b.log")).len() == 10);
    agent.stop();
}

#[test]
fn a_secret_whose_file_changes_is_used_without_being_asked() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let secret = |text: &str| {
        std::fs::write(dir.join("new"), text).unwrap();
        std::fs::rename(dir.join("new"), dir.join("token")).unwrap();
    };
    secret("first-token\n");
    let port = nobody().port();
    config(
        dir,
        &format!(
            "data_dir: ./data\nsources: {{in: {{type: http, listen: \"127.0.0.1:{port}\", auth: {{bearer: [\"${{file:./token}}\"]}}}}}}\nsinks: {{out: {{type: file, inputs: [in], path: out}}}}\n"
        ),
    );
    let agent = Agent::run(dir, &[]);
    let status = |token: &str| {
        let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else { return 0 };
        let auth = format!("Bearer {token}");
        let headers = [("authorization", &*auth), ("content-type", "application/json")];
        crate::http::request(&mut stream, "POST", "/", &headers, b"{\"n\":1}").status
    };
    eventually("it runs", || agent.said().contains(" running version="));
    assert_eq!((status("first-token"), status("second-token")), (200, 401));
    // A change of the configuration itself waits to be asked for.
    config(dir, &std::fs::read_to_string(dir.join("tidegate.yaml")).unwrap().replace("path: out", "path: elsewhere"));
    secret("second-token\n");
    eventually("the new one runs", || agent.said().matches("has taken over").count() == 1);
    assert_eq!((status("first-token"), status("second-token")), (401, 200));
    assert!(!dir.join("elsewhere").exists() && lines(&dir.join("out")).len() == 2);
    // What is gone leaves the one before in use until there is another.
    std::fs::remove_file(dir.join("token")).unwrap();
    assert_eq!(status("second-token"), 200);
    secret("third-token\n");
    eventually("the third one runs", || agent.said().matches("has taken over").count() == 2);
    assert_eq!((status("second-token"), status("third-token")), (401, 200));
    let said = agent.stop();
    assert!(!said.contains("-token"), "{said}");
}
