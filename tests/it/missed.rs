//! What `include` does not reach is told: once, with the reason, and when it has changed.

use crate::agent::{Agent, config, eventually, lines, output, tidegate};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Nobody.
const USER: u32 = 65534;

fn reading(dir: &Path, include: &str) {
    config(
        dir,
        &format!(
            "data_dir: ./data
sources: {{app: {{type: file, include: [{include}], glob_interval: 50ms}}}}
sinks: {{out: {{type: file, inputs: [app], path: ./out.log, encoding: text}}}}
"
        ),
    );
}

fn warnings(said: &str) -> Vec<&str> {
    said.lines().filter(|l| l.contains("WARN") || l.contains("ERROR") || l.starts_with("warning:")).collect()
}

#[test]
fn every_pattern_that_meets_no_file_is_warned_of_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::create_dir_all(dir.join("in/app")).unwrap();
    std::fs::write(dir.join("in/app/a.log"), "x\n").unwrap();
    assert!(Command::new("mkfifo").arg(dir.join("in/pipe.log")).status().unwrap().success());
    for (include, words) in [
        ("in/app", "is a folder; did you mean `in/app/*`?"),
        ("./in/*", "; did you mean `./in/*/*`?"),
        ("in/pipe.log", "is a FIFO"),
        ("in/app/A.LOG", "is not there; did you mean"),
        ("in/app/*.txt", "no name fits"),
        ("in/none/a.log", "in/none is not there"),
    ] {
        // A second pattern that meets a file changes nothing for the first.
        for more in ["", ", in/app/*.log"] {
            reading(dir, &format!("\"{include}\"{more}"));
            drop(std::fs::remove_dir_all(dir.join("data")));
            drop(std::fs::remove_file(dir.join("out.log")));
            let (code, _, said) = output(tidegate(dir, &["run", "--once", "--config", "tidegate.yaml"]));
            let told = warnings(&said);
            // What `./in/*` meets first is any of the two.
            let words = if include == "./in/*" && said.contains("FIFO") { "is a FIFO" } else { words };
            assert!(
                told.len() == 1 && told[0].contains(&format!("no file matches `{include}`: ")),
                "{include}: {said}"
            );
            assert!(told[0].contains(words) && code == Some(0), "{include}: {said}");
            assert_eq!(lines(&dir.join("out.log")).len(), usize::from(!more.is_empty()), "{include}");
            let (code, _, said) = output(tidegate(dir, &["validate", "--environment", "--config", "tidegate.yaml"]));
            assert!(code == Some(0) && warnings(&said).len() == 1 && said.contains(words), "{include}: {said}");
            let strict = ["validate", "--environment", "--deny-warnings", "--config", "tidegate.yaml"];
            assert_eq!(output(tidegate(dir, &strict)).0, Some(1), "{include}");
            let (code, said, _) = output(tidegate(dir, &["doctor", "--offline", "--config", "tidegate.yaml"]));
            assert!(code == Some(0) && said.contains(words), "{include}: {said}");
        }
    }
}

#[test]
fn a_file_that_comes_later_is_read_and_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::create_dir(dir.join("in")).unwrap();
    reading(dir, "in/app.log, in/*.txt");
    let agent = Agent::run(dir, &[]);
    eventually("both are warned of", || warnings(&agent.said()).len() == 2);
    std::fs::write(dir.join("in/app.log"), "one\n").unwrap();
    eventually("it is read", || lines(&dir.join("out.log")) == ["one"]);
    eventually("it is told", || agent.said().contains("files match `in/app.log` now"));
    let said = agent.stop();
    assert_eq!(warnings(&said).len(), 2, "{said}");
}

/// The program as a user whom permissions concern, in a folder of its own that is writable for it.
fn as_nobody(dir: &Path, args: &[&str]) -> Command {
    let mut command = tidegate(dir, args);
    if rustix::process::geteuid().is_root() {
        // The user may not be let to where it was built.
        let program = dir.join("tidegate");
        if !program.exists() {
            std::fs::copy(env!("CARGO_BIN_EXE_tidegate"), &program).unwrap();
            std::fs::set_permissions(dir, PermissionsExt::from_mode(0o755)).unwrap();
            chown(dir, Some(USER), Some(USER)).unwrap();
        }
        command = Command::new(program);
        command.args(args).current_dir(dir).env_remove("TIDEGATE_LOG").uid(USER).gid(USER);
    }
    command
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

#[test]
fn a_folder_that_may_not_be_read_is_warned_of_once_and_fails_a_run_to_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    // One may not be listed, one not be entered, and one is behind such a one.
    for folder in ["open", "unlisted", "unentered", "above/below"] {
        std::fs::create_dir_all(dir.join("in").join(folder)).unwrap();
        for name in ["a.log", "b.log"] {
            std::fs::write(dir.join("in").join(folder).join(name), "x\n").unwrap();
        }
    }
    mode(&dir.join("in/unlisted"), 0o311);
    mode(&dir.join("in/unentered"), 0o744);
    mode(&dir.join("in/above"), 0o700);
    if rustix::process::geteuid().is_root() {
        std::fs::write(dir.join("in/above/below/c.log"), "x\n").unwrap();
    } else {
        mode(&dir.join("in/unlisted"), 0o111);
        mode(&dir.join("in/unentered"), 0o444);
        mode(&dir.join("in/above"), 0o000);
    }
    reading(dir, "in/*/*.log, in/above/below/*.log, in/above/below/c.log");
    let (code, _, said) = output(as_nobody(dir, &["run", "--once", "--config", "tidegate.yaml"]));
    let told = warnings(&said);
    for (folder, words) in [("unlisted", ""), ("unentered", "; 2 files in it are not read"), ("above", "")] {
        let of_it = told.iter().filter(|l| l.contains(&format!("in/{folder}: Permission denied (os error 13){words}")));
        assert_eq!(of_it.count(), 1, "{folder}: {said}");
    }
    assert!(!said.contains("no file matches") && code == Some(1), "{said}");
    assert_eq!(lines(&dir.join("out.log")).len(), 2);
    let (code, said, _) = output(as_nobody(dir, &["doctor", "--offline", "--config", "tidegate.yaml"]));
    assert!(code == Some(1) && said.contains("this user cannot look into"), "{said}");
    for folder in ["unlisted", "unentered", "above"] {
        mode(&dir.join("in").join(folder), 0o755);
        assert!(said.contains(&format!("in/{folder}: ")), "{said}");
    }
}

#[test]
fn files_behind_a_closed_folder_are_not_taken_for_gone() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::create_dir_all(dir.join("in/app")).unwrap();
    let (log, out) = (dir.join("in/app/a.log"), dir.join("out.log"));
    std::fs::write(&log, "1\n").unwrap();
    reading(dir, "in/app/*.log");
    let run = || output(as_nobody(dir, &["run", "--once", "--config", "tidegate.yaml"]));
    assert_eq!(run().0, Some(0));
    std::fs::write(&log, "1\n2\n").unwrap();
    for closed in ["in", "in/app"] {
        mode(&dir.join(closed), 0o000);
        let (code, _, said) = run();
        mode(&dir.join(closed), 0o755);
        assert!(code == Some(1) && said.contains(&format!("{closed}: Permission denied")), "{said}");
        assert!(said.matches(" WARN ").count() == 1 && !said.contains("gone"), "{said}");
    }
    let (code, _, said) = run();
    assert!(code == Some(0) && warnings(&said).is_empty(), "{said}");
    assert_eq!(lines(&out), ["1", "2"]);
}

#[test]
fn a_folder_that_is_closed_later_is_warned_of_and_what_is_read_in_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::create_dir_all(dir.join("in/app")).unwrap();
    let log = dir.join("in/app/a.log");
    std::fs::write(&log, "1\n").unwrap();
    // One that is closed from the start does not take the others their notices.
    std::fs::create_dir(dir.join("in/shut")).unwrap();
    mode(&dir.join("in/shut"), 0o000);
    reading(dir, "in/*/*.log");
    let agent = Agent::start(as_nobody(dir, &["run", "--config", "tidegate.yaml"]));
    let out = dir.join("out.log");
    let written = std::fs::OpenOptions::new().append(true).open(&log).unwrap();
    let write = |text: &str| std::io::Write::write_all(&mut &written, text.as_bytes()).unwrap();
    eventually("it is read", || lines(&out) == ["1"]);
    for (round, closed) in [0o000, 0o644, 0o311].into_iter().enumerate() {
        mode(&dir.join("in/app"), closed);
        let in_it = |said: &str| said.matches("in/app: Permission denied (os error 13)").count();
        eventually("it is told of", || in_it(&agent.said()) == round + 1);
        write(&format!("{closed}\n"));
        eventually("what is added is read", || lines(&out).len() == 2 * round + 2);
        mode(&dir.join("in/app"), 0o755);
        std::fs::write(dir.join(format!("in/app/{round}.log")), "new\n").unwrap();
        eventually("new files are found again", || lines(&out).len() == 2 * round + 3);
        eventually("it is told of", || agent.said().matches("can be looked for again").count() == round + 1);
    }
    let said = agent.stop();
    assert_eq!(warnings(&said).len(), 4, "{said}");
    assert!(said.contains("in/shut: Permission denied") && !said.contains("polling"), "{said}");
}
