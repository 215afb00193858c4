//! Settings of the agent itself that change while it runs, and graphs that change while something is full or stuck.

use crate::agent::{
    Agent, ask_with, assert_balanced, config, eventually, get, get_with, lines, nobody, output, tidegate,
};
use crate::wire::{Wire, reply};
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, Mutex};

struct Here {
    dir: tempfile::TempDir,
    tcp: u16,
    api: u16,
}

impl Here {
    fn new() -> Here {
        Here { dir: tempfile::tempdir().unwrap(), tcp: nobody().port(), api: nobody().port() }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A connection that must stay, and `own`: settings of the agent itself.
    fn yaml(&self, own: &str) -> String {
        format!(
            "data_dir: ./data
{own}
sources:
  stream: {{type: syslog, listen: [\"tcp://127.0.0.1:{}\"], decode: text}}
transforms:
  times: {{type: normalize, inputs: [stream], schema: log}}
sinks:
  out: {{type: file, inputs: [stream], path: out.log, encoding: text}}
  shaped: {{type: file, inputs: [times], path: shaped.log}}
",
            self.tcp
        )
    }

    fn api(&self, more: &str) -> String {
        format!("api: {{listen: \"127.0.0.1:{}\"{more}}}", self.api)
    }

    fn run(&self, own: &str) -> (Agent, TcpStream) {
        config(self.path(), &self.yaml(own));
        let agent = Agent::run(self.path(), &[]);
        eventually("it runs", || agent.said().contains(" running version="));
        let stream = TcpStream::connect(("127.0.0.1", self.tcp)).unwrap();
        (agent, stream)
    }

    fn reload(&self, own: &str) -> (Option<i32>, String) {
        config(self.path(), &self.yaml(own));
        let (code, out, said) = output(tidegate(self.path(), &["reload", "tidegate.yaml"]));
        (code, out + &said)
    }

    fn came(&self, stream: &mut TcpStream, text: &str) {
        writeln!(stream, "{text}").unwrap();
        eventually(text, || lines(&self.path().join("out.log")).iter().any(|line| line == text));
    }
}

/// All of it in the process that began, and in the graph that began.
fn ended_well(agent: Agent) -> String {
    let said = agent.stop();
    assert_balanced(&said);
    assert_eq!(said.matches(" running version=").count(), 1, "{said}");
    said
}

#[test]
fn another_data_dir_is_a_mistake_that_says_to_restart() {
    let here = Here::new();
    let api = here.api("");
    let (agent, mut stream) = here.run(&api);
    here.came(&mut stream, "one");
    std::fs::write(here.path().join("new.yaml"), here.yaml(&api).replace("./data", "./elsewhere")).unwrap();
    let before = here.yaml(&api);
    config(here.path(), &before.replace("./data", "./elsewhere"));
    let address = format!("127.0.0.1:{}", here.api);
    let (status, answer) = ask_with(&address, "POST", "/api/v1/reload", "");
    assert!(
        status == 422 && answer.contains("`data_dir` cannot change") && answer.contains("stop the agent"),
        "{answer}"
    );
    assert!(!here.path().join("elsewhere").exists());
    here.came(&mut stream, "two");
    assert_eq!(here.reload(&api).0, Some(0));
    ended_well(agent);
}

#[test]
fn the_memory_limit_changes_in_place() {
    let here = Here::new();
    let api = here.api("");
    let (agent, mut stream) = here.run(&api);
    here.came(&mut stream, "one");
    let most = || {
        let (_, page) = get(&format!("127.0.0.1:{}", here.api), "/metrics");
        let line =
            page.lines().find(|l| l.starts_with("tidegate_buffer_max_bytes{component_id=\"out\"")).unwrap().to_owned();
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64
    };
    assert_eq!(most(), 6 << 20);
    let (code, said) = here.reload(&format!("{api}\nmemory_limit: 8MiB"));
    assert!(code == Some(0) && said.contains("settings of the agent: memory_limit"), "{said}");
    assert_eq!(most(), 2 << 20);
    here.came(&mut stream, "two");
    let (code, said) = here.reload(&format!("{api}\nmemory_limit: 64MiB\nshutdown_timeout: 20s"));
    assert!(code == Some(0) && said.contains("memory_limit, shutdown_timeout"), "{said}");
    assert_eq!(most(), 8 << 20);
    here.came(&mut stream, "three");
    ended_well(agent);
}

#[test]
fn another_time_zone_changes_what_reads_times() {
    let here = Here::new();
    let api = here.api("");
    let (agent, mut stream) = here.run(&api);
    here.came(&mut stream, "one");
    let (code, said) = here.reload(&format!("{api}\ntimezone: Europe/Berlin"));
    assert!(code == Some(0) && said.contains("~ times") && said.contains("settings of the agent: timezone"), "{said}");
    // The same connection where the source reads no times; text names none.
    assert!(said.contains("2 kept") || said.contains("3 kept"), "{said}");
    ended_well(agent);
}

#[test]
fn the_api_changes_its_address_and_who_may_ask_in_place() {
    let here = Here::new();
    let (agent, mut stream) = here.run(&here.api(""));
    here.came(&mut stream, "one");
    let old = format!("127.0.0.1:{}", here.api);
    assert_eq!(get(&old, "/api/v1/config").0, 200);
    // Who may ask, on the same socket.
    let (code, said) = here.reload(&here.api(", auth: {bearer: [\"token-of-the-api\"]}"));
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(get(&old, "/api/v1/config").0, 401);
    assert_eq!(get_with(&old, "/api/v1/config", "Authorization: Bearer token-of-the-api\r\n").0, 200);
    // Another address.
    let other = nobody().port();
    let own = format!("api: {{listen: \"127.0.0.1:{other}\", auth: {{bearer: [\"token-of-the-api\"]}}}}");
    let (code, said) = here.reload(&own);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        get_with(&format!("127.0.0.1:{other}"), "/api/v1/config", "Authorization: Bearer token-of-the-api\r\n").0,
        200
    );
    eventually("nobody listens at the old one", || TcpStream::connect(&old).is_err());
    // One that somebody has: nothing changes.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (code, said) = here.reload(&own.replace(&other.to_string(), &taken.local_addr().unwrap().port().to_string()));
    assert!(code == Some(1) && said.contains("the API cannot listen on"), "{said}");
    assert_eq!(here.reload(&own).0, Some(0));
    here.came(&mut stream, "two");
    ended_well(agent);
}

/// One thread, four, one again: a file is read on from where it was.
#[test]
fn from_one_thread_to_four_and_back_nothing_is_lost_and_nothing_comes_twice() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let yaml = |threads: usize| {
        format!(
            "data_dir: ./data
threads: {threads}
sources: {{in: {{type: file, include: [in.log]}}}}
sinks: {{out: {{type: file, inputs: [in], path: out.log, encoding: text}}}}
"
        )
    };
    config(dir, &yaml(1));
    let mut file = std::fs::File::create(dir.join("in.log")).unwrap();
    let agent = Agent::run(dir, &[]);
    eventually("it runs", || agent.said().contains(" running version="));
    for (n, threads) in [4, 1, 2].into_iter().enumerate() {
        for line in n * 1000..(n + 1) * 1000 {
            writeln!(file, "{line}").unwrap();
        }
        config(dir, &yaml(threads));
        agent.signal(rustix::process::Signal::HUP);
        eventually("it has begun anew", || agent.said().matches(" running version=").count() == n + 2);
    }
    eventually("all is there", || lines(&dir.join("out.log")).len() >= 3000);
    let said = agent.stop();
    assert_balanced(&said);
    assert!(lines(&dir.join("out.log")).into_iter().eq((0..3000).map(|n| n.to_string())));
}

/// A sink whose server is dead, with a buffer that is full: the source waits. A change is done all the same, and the queue goes to
/// the address that was mended.
fn with_what_is_full(buffer: &str) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (dead, api) = (nobody(), nobody().port());
    let yaml = |address: &str, tag: u32| {
        format!(
            "data_dir: ./data
api: {{listen: \"127.0.0.1:{api}\"}}
sources: {{in: {{type: file, include: [in.log]}}}}
transforms: {{tag: {{type: edit, inputs: [in], set: {{tag: {tag}}}}}}}
sinks:
  out: {{type: http, inputs: [tag], url: \"http://{address}/\", encoding: text, buffer: {buffer}}}
"
        )
    };
    config(dir, &yaml(&dead.to_string(), 1));
    let pad = "x".repeat(1000);
    let text: String = (0..12_000).map(|n| format!("event-{n} {pad}\n")).collect();
    std::fs::write(dir.join("in.log"), text).unwrap();
    let agent = Agent::run(dir, &[]);
    eventually("the source waits", || {
        let said = agent.said();
        said.contains(" running version=") && {
            let (_, page) = get(&format!("127.0.0.1:{api}"), "/metrics");
            let lag =
                page.lines().find(|l| l.starts_with("tidegate_file_lag_bytes")).and_then(|l| l.rsplit(' ').next());
            let held = page.lines().any(|l| l.starts_with("tidegate_events_held{component_id=\"out\""));
            held && lag.is_some_and(|lag| lag.parse::<f64>().unwrap() > 0.0)
        }
    });
    config(dir, &yaml(&dead.to_string(), 2));
    let (code, out, said) = output(tidegate(dir, &["reload", "tidegate.yaml"]));
    assert!(code == Some(0) && out.contains("~ tag"), "{out}{said}");
    let got: Arc<Mutex<Vec<String>>> = Arc::default();
    let server = Wire::start({
        let got = got.clone();
        move |asked| {
            got.lock().unwrap().extend(asked.text().lines().map(|l| l.split(' ').next().unwrap_or(l).to_owned()));
            reply(200, "")
        }
    });
    config(dir, &yaml(&server.address.to_string(), 2));
    let (code, out, said) = output(tidegate(dir, &["reload", "tidegate.yaml"]));
    assert!(code == Some(0) && out.contains("~ out"), "{out}{said}");
    eventually("all is there", || got.lock().unwrap().len() >= 12_000);
    let said = agent.stop();
    assert_balanced(&said);
    let mut got = got.lock().unwrap().clone();
    got.sort_unstable();
    let before = got.len();
    got.dedup();
    assert_eq!((before, got.len()), (12_000, 12_000), "each of them once");
}

#[test]
fn with_a_full_disk_buffer_a_change_is_done_and_nothing_is_lost() {
    with_what_is_full("{type: disk, max_size: 4MiB}");
}

#[test]
fn with_a_source_that_waits_a_change_is_done_and_nothing_is_lost() {
    with_what_is_full("{type: memory, max_bytes: 1MiB}");
}
