//! `tidegate top` in a terminal, as a person uses it: driven by tmux where that is installed.

use crate::agent::{Agent, config, eventually, get, output, tidegate};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A terminal of its own.
struct Terminal {
    socket: PathBuf,
    dir: PathBuf,
}

impl Terminal {
    /// A shell in `dir`; none where there is no tmux.
    fn open(dir: &Path, width: u16, height: u16) -> Option<Terminal> {
        let terminal = Terminal { socket: dir.join("tmux"), dir: dir.to_owned() };
        let (x, y) = (width.to_string(), height.to_string());
        let shell = ["new-session", "-d", "-x", &x, "-y", &y, "env -u ENV PS1='$ ' sh"];
        let out = terminal.command(&shell).output().ok()?;
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        Some(terminal)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket).args(["-f", "/dev/null"]).args(args).current_dir(&self.dir);
        command.env("TERM", "xterm-256color").env("LC_ALL", "C.UTF-8").env_remove("TMUX").env_remove("NO_COLOR");
        command
    }

    #[track_caller]
    fn tmux(&self, args: &[&str]) -> String {
        let (code, out, said) = output(self.command(args));
        assert_eq!(code, Some(0), "{args:?}: {said}");
        out
    }

    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    fn shown(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    #[track_caller]
    fn until(&self, what: &str, done: impl Fn(&str) -> bool) -> String {
        let mut shown = String::new();
        let ended = crate::agent::within_patience(|| {
            shown = self.shown();
            done(&shown)
        });
        assert!(ended, "{what}; there is\n{shown}");
        shown
    }

    /// Runs `top` from the shell, with settings of the terminal noted before and after.
    fn run(&self, before: &str, args: &str) {
        let program = std::env::var("TIDEGATE_PROGRAM").unwrap_or_else(|_| env!("CARGO_BIN_EXE_tidegate").to_owned());
        let line = format!(
            "clear; rm -f after; stty -g > before; {before} {program} top --config tidegate.yaml --interval 100ms {args}; \
             echo \"ended=\"$?; stty -g > after.new; mv after.new after"
        );
        self.keys(&["-l", &line]);
        self.keys(&["Enter"]);
        self.until("the table is there", |shown| shown.contains("q quit") && shown.contains("COMPONENT"));
    }

    /// The program has ended so, and the terminal is as it was.
    #[track_caller]
    fn has_ended(&self, code: &str) -> String {
        let shown = self.until("it has ended", |shown| shown.contains(&format!("ended={code}\n")));
        eventually("the shell goes on", || self.dir.join("after").exists());
        let read = |name: &str| std::fs::read_to_string(self.dir.join(name)).unwrap();
        assert_eq!(read("before"), read("after"), "settings of the terminal");
        let state = self.tmux(&["display", "-p", "#{alternate_on} #{cursor_flag} #{wrap_flag}"]);
        assert_eq!(state.trim(), "0 1 1", "screen, cursor, long lines");
        shown
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.command(&["kill-server"]).output());
    }
}

const YAML: &str = "data_dir: ./data
api: {listen: \"127.0.0.1:0\"}
sources:
  app: {type: demo, rate: 100}
transforms:
  keep-what-is-needed: {type: filter, inputs: [app], when: 'level == \"ERROR\"'}
sinks:
  all: {type: blackhole, inputs: [app]}
  out: {type: http, inputs: [keep-what-is-needed], url: \"http://127.0.0.1:9/in\"}
";

fn started(dir: &Path, yaml: &str) -> (Agent, String) {
    config(dir, yaml);
    let agent = Agent::run(dir, &[]);
    eventually("the API listens", || agent.addresses().len() == 1);
    let address = agent.addresses()[0].clone();
    (agent, address)
}

/// The terminal is whole after each end: a key, a signal, a panic, with the agent and without.
#[test]
fn a_person_looks_at_the_table() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (agent, _) = started(dir, YAML);
    let Some(terminal) = Terminal::open(dir, 80, 24) else {
        return println!("skipped: tmux is not installed");
    };
    terminal.run("", "");
    let shown = terminal.until("rates are there", |shown| {
        let app = shown.lines().find(|line| line.starts_with("app ")).unwrap_or_default();
        let rate = app.split_whitespace().nth(1).and_then(|n| n.parse::<f64>().ok());
        rate.is_some_and(|rate| (1.0..1000.0).contains(&rate))
    });
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    let ids: Vec<&str> = shown.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let at = |id: &str| ids.iter().position(|i| *i == id).unwrap_or_else(|| panic!("{id} in {shown}"));
    assert!(at("app") < at("keep-what-i…") && at("keep-what-i…") < at("out") && at("out") < ids.len() - 1, "{shown}");
    assert!(shown.lines().any(|line| line.starts_with("all ")) && shown.lines().count() == 24, "{shown}");
    terminal.keys(&["?"]);
    terminal.until("help", |shown| shown.contains("sums since the start, or rates"));
    terminal.keys(&["?", "s"]);
    terminal.until("another order", |shown| shown.contains("sorted by name") && !shown.contains("or rates"));
    terminal.keys(&["r"]);
    terminal.until("reasons", |shown| shown.contains("dropped: filtered"));
    terminal.keys(&["r", "/", "k", "e", "e", "p", "Enter"]);
    terminal.until("a filter", |shown| shown.contains("filter: keep") && !shown.contains("\napp "));
    terminal.keys(&["Escape"]);
    terminal.until("no filter", |shown| shown.contains("\napp "));
    terminal.keys(&["p"]);
    terminal.until("a pause", |shown| shown.contains("PAUSED"));
    terminal.keys(&["p", "Down", "t"]);
    terminal.until("events", |shown| shown.contains("── ") && shown.matches("{\"").count() >= 3);
    terminal.tmux(&["resize-window", "-x", "200", "-y", "60"]);
    let wide = terminal.until("more room", |shown| {
        shown.contains("keep-what-is-needed filter") && shown.lines().count() == 60 && shown.contains("q quit")
    });
    assert!(wide.lines().any(|line| line.chars().count() > 80), "{wide}");
    terminal.tmux(&["resize-window", "-x", "80", "-y", "24"]);
    terminal.until("less room", |shown| shown.lines().count() == 24 && shown.contains("keep-what-i…"));
    terminal.keys(&["t"]);
    terminal.until("no events", |shown| !shown.contains("── "));
    let colors = terminal.tmux(&["capture-pane", "-e", "-p"]);
    assert!(colors.contains("\u{1b}[32m"), "{colors}");
    terminal.keys(&["q"]);
    terminal.has_ended("0");
    terminal.run("NO_COLOR=1", "");
    let plain = terminal.tmux(&["capture-pane", "-e", "-p"]);
    assert!(!plain.contains("\u{1b}[3") && !plain.contains("\u{1b}[1m"), "{plain}");
    terminal.keys(&["C-\\"]);
    let shown = terminal.has_ended("1");
    assert!(shown.contains("this is a bug, please report it: as it was asked to"), "{shown}");
    terminal.run("", "");
    agent.kill();
    terminal.until("the agent is lost", |shown| shown.contains("the agent does not answer"));
    let (agent, _) = started(dir, YAML);
    terminal.until("it is back", |shown| !shown.contains("does not answer") && shown.contains("sorted by flow"));
    let pid = std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse::<i32>().ok()?;
        let command = std::fs::read(entry.path().join("cmdline")).ok()?;
        let is_top = command.windows(5).any(|w| w == b"\0top\0");
        (is_top && std::fs::read_link(entry.path().join("cwd")).ok()? == dir.canonicalize().unwrap()).then_some(pid)
    });
    let pid = rustix::process::Pid::from_raw(pid.unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    terminal.has_ended("0");
    drop(terminal);
    agent.kill();
}

/// Without a terminal the table is printed, and its numbers are those of the metrics.
#[test]
fn numbers_are_those_of_the_metrics() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let yaml = YAML.replace("rate: 100", "rate: 1000, count: 200").replace("http, ", "file, ");
    let yaml = yaml
        .replace("url: \"http://127.0.0.1:9/in\"", "path: out.log")
        .replace("app: {type: demo", "more: {type: stdin}\n  app: {type: demo");
    let yaml = yaml.replace("more: {type: stdin}", "more: {type: file, include: [more.log]}");
    let (agent, address) = started(dir, &yaml);
    let metric = |name: &str, id: &str| -> f64 {
        let (_, page) = get(&address, "/metrics");
        let of = page.lines().filter(|l| l.starts_with(name) && l.contains(&format!("component_id=\"{id}\"")));
        of.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    eventually("all is delivered", || metric("tidegate_events_out_total", "all") == 200.0);
    let out = metric("tidegate_events_in_total", "out");
    eventually("that too", || metric("tidegate_events_out_total", "out") == out);
    let (code, text, said) =
        output(tidegate(dir, &["top", "--config", "tidegate.yaml", "--once", "--totals", "--format", "json"]));
    assert_eq!(code, Some(0), "{said}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    let mut ids = Vec::new();
    for component in answer["components"].as_array().unwrap() {
        let id = component["id"].as_str().unwrap();
        ids.push(id.to_owned());
        for (key, name) in [
            ("in", "tidegate_events_in_total"),
            ("out", "tidegate_events_out_total"),
            ("bytes_in", "tidegate_bytes_in_total"),
            ("bytes_out", "tidegate_bytes_out_total"),
            ("held", "tidegate_events_held"),
            ("lag_bytes", "tidegate_file_lag_bytes"),
        ] {
            assert_eq!(component[key].as_f64().unwrap_or(0.0), metric(name, id), "{id} {key}");
        }
        for (key, name) in [("dropped", "tidegate_events_dropped_total"), ("errors", "tidegate_errors_total")] {
            let sum: f64 = component[key].as_object().unwrap().values().filter_map(Value::as_f64).sum();
            assert_eq!(sum, metric(name, id), "{id} {key}");
        }
        assert_eq!(component["state"], "running", "{component}");
    }
    assert_eq!(ids, ["more", "app", "keep-what-is-needed", "all", "out"]);
    let (code, text, said) = output(tidegate(dir, &["top", "--config", "tidegate.yaml", "--once", "--totals"]));
    assert!(code == Some(0) && text.lines().count() == 7, "{text}{said}");
    let (code, _, said) = output(tidegate(dir, &["top", "--config", "tidegate.yaml"]));
    assert!(code == Some(2) && said.contains("`--once` prints the table"), "{said}");
    let (code, _, said) = output(tidegate(dir, &["top", "--url", "http://127.0.0.1:9", "--once"]));
    assert!(code == Some(1) && said.contains("error: "), "{said}");
    agent.stop();
}
