//! The agent as a service of systemd: what it tells the manager, and the unit that is shipped.

use crate::agent::{Agent, config, eventually, lines, tidegate};
use rustix::process::Signal;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The next notification that has `what` in it; others in between are passed over.
#[track_caller]
fn next(manager: &UnixDatagram, what: &str) -> String {
    let mut buf = [0; 4096];
    loop {
        let n = manager.recv(&mut buf).unwrap_or_else(|error| panic!("{what}: {error}"));
        let text = String::from_utf8_lossy(&buf[..n]).into_owned();
        if text.lines().any(|line| line.starts_with(what)) {
            return text;
        }
    }
}

#[test]
fn the_manager_hears_of_start_life_reload_and_stop() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let manager = UnixDatagram::bind(dir.join("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let yaml = |more: &str| {
        format!(
            "data_dir: ./data\nsources: {{in: {{type: file, include: [in.log]}}}}\nsinks: {{out: {{type: file, inputs: [in], path: out.log, encoding: text}}}}\n{more}"
        )
    };
    config(dir, &yaml(""));
    std::fs::write(dir.join("in.log"), "one\n").unwrap();
    // As the unit does: checked first, then run with what the manager sets.
    let mut check = tidegate(dir, &["validate", "tidegate.yaml"]);
    assert!(check.status().unwrap().success());
    let mut command = tidegate(dir, &["run", "tidegate.yaml"]);
    command.env("NOTIFY_SOCKET", dir.join("notify")).env("WATCHDOG_USEC", "200000");
    let mut agent = Agent::start(command);
    next(&manager, "READY=1");
    // Alive, again and again, with words for `systemctl status`.
    for _ in 0..3 {
        let text = next(&manager, "WATCHDOG=1");
        assert!(text.contains("STATUS=") && text.contains("events/s read"), "{text}");
    }
    eventually("the line is through", || lines(&dir.join("out.log")) == ["one"]);
    // A good configuration takes over; one with mistakes is not told as a reload, since nothing changes.
    config(dir, &yaml("threads: x\n"));
    agent.signal(Signal::HUP);
    eventually("the mistake is said", || agent.said().contains("has mistakes"));
    config(dir, &yaml("threads: 1\n"));
    agent.signal(Signal::HUP);
    let text = next(&manager, "RELOADING=1");
    assert!(text.contains("MONOTONIC_USEC="), "{text}");
    next(&manager, "READY=1");
    agent.signal(Signal::TERM);
    next(&manager, "STOPPING=1");
    let (status, said) = agent.wait();
    assert!(status.success(), "{said}");
}

#[test]
fn a_manager_that_is_not_there_disturbs_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    config(dir, "data_dir: ./data\nsources: {a: {type: demo, count: 5}}\nsinks: {o: {type: blackhole, inputs: [a]}}\n");
    for socket in ["relative", "/nowhere/at/all", "", "@tidegate-of-nobody"] {
        let mut command = tidegate(dir, &["run", "--once", "tidegate.yaml"]);
        command.env("NOTIFY_SOCKET", socket).env("WATCHDOG_USEC", "1000");
        let (code, _, said) = crate::agent::output(command);
        assert_eq!(code, Some(0), "{socket}: {said}");
        assert!(!said.contains("WARN") && !said.contains("ERROR"), "{socket}: {said}");
    }
}

#[test]
fn the_unit_is_one_and_gives_the_agent_little() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/systemd/tidegate.service");
    let text = std::fs::read_to_string(&unit).unwrap();
    for part in [
        "LoadCredential=",
        "Type=notify",
        "ExecStartPre=",
        "WatchdogSec=",
        "StateDirectory=tidegate",
        "ExecReload=/usr/local/bin/tidegate reload",
    ] {
        assert!(text.contains(part), "{part}");
    }
    // More than the 30s that a stop may take by default.
    assert!(text.contains("TimeoutStopSec=45"));
    // The unit alone, and with what ports below 1024 and the journal need.
    let dir = tempfile::tempdir().unwrap();
    for more in ["", "tidegate-journal.conf", "tidegate-syslog.conf"] {
        let more = match more {
            "" => String::new(),
            name => std::fs::read_to_string(unit.with_file_name(name)).unwrap(),
        };
        let whole = dir.path().join("tidegate.service");
        std::fs::write(&whole, format!("{text}\n{more}")).unwrap();
        let out = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--threshold=22", "--no-pager"])
            .arg(&whole)
            .output();
        match out {
            Ok(out) => assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout)),
            Err(_) => println!("skipped: systemd-analyze is not installed"),
        }
    }
}

/// What `ExecReload=` runs: with an API it waits for what comes of it, without one it sends the signal.
#[test]
fn a_reload_as_the_unit_does_it_waits_or_signals_and_a_credential_is_read() {
    for api in ["", "api: {listen: \"127.0.0.1:0\"}\n"] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        // As LoadCredential= leaves it: a folder that only the agent may read.
        let credentials = dir.join("credentials");
        std::fs::create_dir(&credentials).unwrap();
        let secret = credentials.join("o2-password");
        std::fs::write(&secret, "from-a-credential\n").unwrap();
        std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
        let yaml = |level: &str| {
            format!(
                "data_dir: ./data\n{api}sources: {{in: {{type: file, include: [in.log], decode: json}}}}\n\
                 transforms: {{t: {{type: edit, inputs: [in], set: {{level: {level}, from: \"${{file:{}}}\"}}}}}}\n\
                 sinks: {{out: {{type: file, inputs: [t], path: out.log}}}}\n",
                secret.display()
            )
        };
        config(dir, &yaml("a"));
        std::fs::write(dir.join("in.log"), "{\"n\":1}\n").unwrap();
        let agent = Agent::run(dir, &[]);
        eventually("the line is through", || lines(&dir.join("out.log")).len() == 1);
        if !api.is_empty() {
            eventually("the API listens", || !agent.addresses().is_empty());
        }
        config(dir, &yaml("b"));
        let mut reload = tidegate(dir, &["reload", "tidegate.yaml"]);
        reload.env("MAINPID", agent.pid().to_string());
        let (code, out, said) = crate::agent::output(reload);
        assert_eq!(code, Some(0), "{out} {said}");
        match api.is_empty() {
            true => assert!(said.contains("was told to read"), "{said}"),
            false => assert!(out.contains("~ t"), "{out} {said}"),
        }
        eventually("the configuration has taken over", || agent.said().contains("has taken over"));
        let mut file = std::fs::OpenOptions::new().append(true).open(dir.join("in.log")).unwrap();
        std::io::Write::write_all(&mut file, b"{\"n\":2}\n").unwrap();
        eventually("the next line is through", || lines(&dir.join("out.log")).len() == 2);
        let read = lines(&dir.join("out.log"));
        assert!(read[0].contains("\"a\"") && read[1].contains("\"b\""), "{read:?}");
        assert!(read.iter().all(|line| line.contains("from-a-credential")), "{read:?}");
        agent.stop();
    }
}
