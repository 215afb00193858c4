//! `doctor` and `checkpoint`: what will lose data is found, with the fix and the exit code.

use crate::agent::{config, output, tidegate};
use crate::openobserve_double::{Double, Setup};
use std::path::Path;

/// The exit code and what was found.
fn doctor(dir: &Path, more: &[&str]) -> (Option<i32>, String) {
    let args: Vec<&str> =
        ["doctor", "--config", "tidegate.yaml", "--host-root", "host"].iter().chain(more).copied().collect();
    let (code, stdout, stderr) = output(tidegate(dir, &args));
    (code, stdout + &stderr)
}

fn logrotate(dir: &Path, text: &str) {
    let folder = dir.join("host/etc/logrotate.d");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("app"), text).unwrap();
}

fn tailing(dir: &Path, include: &str) {
    std::fs::create_dir_all(dir.join("logs")).unwrap();
    std::fs::write(dir.join("logs/app.log"), "one\n").unwrap();
    config(
        dir,
        &format!(
            "data_dir: ./data\nsources: {{app: {{type: file, include: [{include}]}}}}\nsinks: {{out: {{type: file, inputs: [app], path: ./out.log}}}}\n"
        ),
    );
}

#[test]
fn logrotate_settings_that_lose_lines_are_found_with_their_fix() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    tailing(dir, "\"./logs/*.log\"");
    let logs = dir.join("logs").display().to_string();
    for (rule, finding, fix) in [
        ("rotate 4\n copytruncate", "rotates", "replace `copytruncate` by `create`"),
        ("rotate 4\n compress\n compressext .lz4", "`compress` without `delaycompress`", "or compress with gzip"),
        ("copytruncate\n nocopytruncate\n rotate 0", "`rotate 0`", "set `rotate 2`"),
        ("rotate 4\n olddir /srv/old", "moves rotated", "remove `olddir`"),
    ] {
        logrotate(dir, &format!("# by the package\n{logs}/*.log {{\n {rule}\n}}\n"));
        let (code, said) = doctor(dir, &[]);
        assert_eq!(code, Some(1), "{rule}: {said}");
        assert!(said.contains("LOSES DATA: `app`: /etc/logrotate.d/app:2"), "{said}");
        assert!(said.contains(finding) && said.contains(&format!("{logs}/app.log")), "{said}");
        assert!(said.contains("fix: ") && said.contains(fix), "{said}");
        assert!(said.contains("1 finding that will lose data"), "{said}");
    }
    // What loses nothing is not complained of.
    for rule in [
        "rotate 4\n compress",
        "rotate 4\n compress\n delaycompress\n create",
        "rotate 4\n olddir .",
        "daily\n rotate -1",
    ] {
        logrotate(dir, &format!("{logs}/*.log {{\n {rule}\n}}\n"));
        let (code, said) = doctor(dir, &[]);
        assert_eq!(code, Some(0), "{rule}: {said}");
        assert!(said.contains("nothing found that loses data"), "{said}");
    }
    // Files that are not tailed are nobody's business.
    logrotate(dir, "/var/log/other.log {\n rotate 0\n copytruncate\n}\n");
    assert_eq!(doctor(dir, &[]).0, Some(0));
    logrotate(dir, &format!("{logs}/*.log {{\n rotate 4\n compress\n}}\n"));
    tailing(dir, "\"./logs/*.log\"], compressed: ignore, exclude: [\"x\"");
    let (code, said) = doctor(dir, &[]);
    assert!(code == Some(1) && said.contains("`compressed: auto`"), "{said}");
    // A folder for rotated files is fine where `rotated_to` covers what is in it, compressed or not.
    let olddir = format!("{logs}/*.log {{\n rotate 4\n compress\n olddir old\n}}\n");
    for (rule, rotated_to, code) in [
        (&olddir, "./logs/old/*", 0),
        (&olddir, "./logs/old/*.gz", 0),
        (&olddir, "./logs/old/*.log", 1),
        (&olddir.replace("compress\n", "compress\n delaycompress\n"), "./logs/old/*.gz", 1),
        (&olddir.replace("compress\n", ""), "./logs/old/*.gz", 1),
        (&olddir.replace("compress\n", ""), "./logs/old/*.log*", 0),
        (&olddir, "./logs/other/*", 1),
    ] {
        logrotate(dir, rule);
        tailing(dir, &format!("\"./logs/*.log\"], rotated_to: [\"{rotated_to}\""));
        let (found, said) = doctor(dir, &[]);
        assert_eq!(found, Some(code), "{rotated_to}: {said}");
        assert_eq!(said.contains(&format!("`rotated_to: [\"{logs}/old/*\"]`")), code == 1, "{said}");
    }
    tailing(dir, "\"./logs/*.log\"");
    // A file that is not there yet.
    std::fs::remove_file(dir.join("logs/app.log")).unwrap();
    logrotate(dir, &format!("{logs}/new.log {{\n rotate 4\n copytruncate\n}}\n"));
    assert_eq!(doctor(dir, &[]).0, Some(1));
}

#[test]
fn permissions_limits_space_and_stream_names_are_looked_at() {
    let server = Double::start(Setup::default());
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::create_dir_all(dir.join("host/proc/sys/fs/inotify")).unwrap();
    std::fs::write(dir.join("host/proc/sys/fs/inotify/max_user_watches"), "0\n").unwrap();
    std::fs::create_dir_all(dir.join("logs")).unwrap();
    let yaml = |stream: &str, buffer: &str| {
        format!(
            "data_dir: ./data
sources: {{app: {{type: file, include: [\"./logs/*.log\"]}}}}
sinks:
  o2: {{type: openobserve, inputs: [app], url: \"{}\", stream: \"{stream}\", buffer: {{type: disk, max_size: {buffer}}}, dead_letter: rejects}}
  rejects: {{type: file, path: ./rejects.ndjson}}
",
            server.url()
        )
    };
    config(dir, &yaml("App-Logs", "1000TiB"));
    let (code, said) = doctor(dir, &["--offline"]);
    assert_eq!(code, Some(1), "{said}");
    for part in [
        "LOSES DATA: the disk buffers of o2 may grow by",
        "warning: `o2`: the server will store the stream `App-Logs` under the name `app_logs`",
        "warning: `app`: 1 folders are to be watched, but the system allows 0 watches",
        "fix: sysctl -w fs.inotify.max_user_watches=",
        "note: `app`: no file matches `./logs/*.log`: no name fits",
    ] {
        assert!(said.contains(part), "{part} in:\n{said}");
    }
    config(dir, &yaml("app_logs", "1MiB"));
    std::fs::write(dir.join("host/proc/sys/fs/inotify/max_user_watches"), "10000\n").unwrap();
    std::fs::write(dir.join("logs/a.log"), "x\n").unwrap();
    let (code, said) = doctor(dir, &["--json"]);
    assert_eq!(code, Some(0), "{said}");
    let found: serde_json::Value = serde_json::from_str(&said).unwrap();
    let severe = found.as_array().unwrap().iter().filter(|f| f["severity"] == "loss");
    assert_eq!(severe.count(), 0, "{said}");
    // Whoever is not root may meet files that it may not read.
    if !rustix::process::geteuid().is_root() {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(dir.join("logs/a.log"), PermissionsExt::from_mode(0o000)).unwrap();
        let (code, said) = doctor(dir, &["--offline"]);
        assert!(code == Some(1) && said.contains("this user cannot read"), "{said}");
    }
}

#[test]
fn the_servers_clock_is_compared() {
    for (shift, code, words) in [
        (0, 0, "nothing found"),
        (-7 * 3600, 1, "the clock of this host is 7 h ahead of the server's"),
        (300, 0, "the clock of this host is 5 min behind the server's"),
    ] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            use std::io::{Read, Write};
            for mut stream in listener.incoming().flatten() {
                let mut head = [0; 4096];
                _ = stream.read(&mut head);
                let now = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(shift + 2);
                let date = now.to_zoned(jiff::tz::TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S GMT");
                _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
                );
            }
        });
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("host")).unwrap();
        config(
            dir.path(),
            &format!(
                "data_dir: ./data\nsources: {{in: {{type: stdin}}}}\nsinks: {{o2: {{type: openobserve, inputs: [in], url: \"http://{address}\", stream: s, dead_letter: r}}, r: {{type: file, path: r}}}}\n"
            ),
        );
        let (got, said) = doctor(dir.path(), &[]);
        assert!(got == Some(code) && said.contains(words), "{shift}: {said}");
    }
}

#[test]
fn checkpoints_are_shown_and_reset() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    tailing(dir, "\"./logs/*.log\"");
    std::fs::write(dir.join("logs/b.log"), "two\n").unwrap();
    let once = || {
        let (code, _, said) = output(tidegate(dir, &["run", "--once", "--config", "tidegate.yaml"]));
        assert_eq!(code, Some(0), "{said}");
        crate::agent::lines(&dir.join("out.log")).len()
    };
    assert_eq!(once(), 2);
    std::fs::OpenOptions::new()
        .append(true)
        .open(dir.join("logs/b.log"))
        .and_then(|mut f| std::io::Write::write_all(&mut f, b"three\n"))
        .unwrap();
    let checkpoint = |args: &[&str]| {
        let args: Vec<&str> = ["checkpoint"].iter().chain(args).copied().collect();
        let (code, stdout, stderr) = output(tidegate(dir, &args));
        (code, stdout + &stderr)
    };
    let (code, said) = checkpoint(&["show", "--config", "tidegate.yaml"]);
    assert_eq!(code, Some(0), "{said}");
    let words = |name: &str| -> Vec<String> {
        let line = said.lines().find(|l| l.ends_with(name)).unwrap_or_else(|| panic!("{name} in {said}"));
        line.split_whitespace().take(3).map(str::to_owned).collect()
    };
    assert_eq!(words("logs/app.log"), ["4", "4", "0"]);
    assert_eq!(words("logs/b.log"), ["4", "10", "6"]);
    let (code, said) = checkpoint(&["show", "--data-dir", "data", "--json"]);
    let places: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(code == Some(0) && places.as_array().unwrap().len() == 2, "{said}");
    let (code, said) = checkpoint(&["reset", "--data-dir", "data"]);
    assert!(code == Some(1) && said.contains("name a --source"), "{said}");
    let (code, said) = checkpoint(&["reset", "--data-dir", "data", "--file", "logs/b.log"]);
    assert!(code == Some(0) && said.contains("app: 1 place forgotten"), "{said}");
    assert_eq!(once(), 4, "b.log is read anew, app.log is not");
    let (code, said) = checkpoint(&["reset", "--data-dir", "data", "--all"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(once(), 7);
    let agent = crate::agent::Agent::run(dir, &[]);
    crate::agent::eventually("it runs", || agent.said().contains("running"));
    let (code, said) = checkpoint(&["reset", "--data-dir", "data", "--all"]);
    assert!(code == Some(1) && said.contains("another agent uses data_dir"), "{said}");
    agent.stop();
}
