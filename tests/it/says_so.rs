//! Nothing goes wrong in silence: what is counted is said, `/ready` and `validate` know what takes nothing.

use crate::agent::{Agent, assert_balanced, config, eventually, get, gives_reason, ledger, lines, output, tidegate};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;

fn run(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let (code, stdout, stderr) = output(tidegate(dir, &[args, &["--config", "tidegate.yaml"]].concat()));
    (code, stdout + &stderr)
}

#[test]
fn what_could_not_be_read_is_said_once_with_count_component_and_example() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let text: String = (0..1000).map(|n| format!("no json {n}\n")).collect();
    std::fs::write(dir.join("in.log"), text).unwrap();
    std::fs::write(dir.join("odd.log"), "{\"time\":\"some day\",\"level\":\"BLURB\"}\n".repeat(3)).unwrap();
    std::fs::write(dir.join("dev.log"), "<13>%%% what a device says\n<13>Oct 11 22:14:15 host su: fine\n").unwrap();
    config(
        dir,
        "data_dir: ./data\nsources:\n  in: {type: file, include: [in.log], decode: json}\n  odd: {type: file, include: [odd.log], decode: json}\n  \
         dev: {type: file, include: [dev.log], decode: syslog}\n\
         transforms: {shape: {type: normalize, inputs: [odd]}}\nsinks: {out: {type: blackhole, inputs: [in, shape, dev]}}\n",
    );
    let (code, said) = run(dir, &["run", "--once"]);
    assert_eq!(code, Some(0), "{said}");
    let line = |component: &str, kind: &str| {
        let mut found = said.lines().filter(|l| l.contains(&format!("component={component} kind=\"{kind}\"")));
        let line = found.next().unwrap_or_else(|| panic!("{component} {kind}: {said}")).to_owned();
        assert_eq!(found.next(), None, "{said}");
        line
    };
    assert!(line("in", "decode").contains("count=1000 example=no json 0"), "{said}");
    assert!(line("shape", "timestamp_unreadable").contains("count=3 example=some day"), "{said}");
    assert!(line("shape", "level_unknown").contains("count=3 example=BLURB"), "{said}");
    assert!(line("dev", "header_unread").contains("count=1 example=<13>%%% what a device says"), "{said}");
    let table = said.lines().find(|l| l.starts_with("component")).unwrap();
    assert!(table.trim_end().ends_with("errors"), "{said}");
    assert!(said.contains("(errors: decode 1000)"), "{said}");
    assert!(said.contains("(errors: level_unknown 3, timestamp_unreadable 3)"), "{said}");
    // No column where there are none.
    config(
        dir,
        "data_dir: ./data2\nsources: {d: {type: demo, count: 1, decode: json}}\nsinks: {o: {type: blackhole, inputs: [d]}}\n",
    );
    assert!(!run(dir, &["run", "--once"]).1.contains("errors"));
}

#[test]
fn a_date_that_can_be_read_in_two_ways_is_said_once() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let events: String = (1..400).map(|n| format!("{{\"time\":\"{:02}/04/2026 10:00:00\"}}\n", 1 + n % 28)).collect();
    std::fs::write(dir.join("in.log"), events).unwrap();
    for (formats, words) in [
        (
            "['%m/%d/%Y %H:%M:%S', '%d/%m/%Y %H:%M:%S']",
            "taken as `%m/%d/%Y %H:%M:%S`, and `%d/%m/%Y %H:%M:%S` fits as well",
        ),
        ("[]", "are not read for that: say in `formats` whether it is `%d/%m/%Y` or `%m/%d/%Y`"),
        ("['%d/%m/%Y %H:%M:%S']", ""),
    ] {
        let data_dir = tempfile::tempdir_in(dir).unwrap();
        config(
            dir,
            &format!(
                "data_dir: {}\nsources: {{in: {{type: file, include: [in.log], decode: json}}}}\n\
                 transforms: {{shape: {{type: normalize, inputs: [in], formats: {formats}}}}}\nsinks: {{out: {{type: blackhole, inputs: [shape]}}}}\n",
                data_dir.path().display()
            ),
        );
        let (code, said) = run(dir, &["run", "--once"]);
        assert_eq!(code, Some(0), "{said}");
        let warned: Vec<&str> = said.lines().filter(|l| l.contains("can be read in two ways")).collect();
        assert_eq!(warned.len(), usize::from(!words.is_empty()), "{formats}: {said}");
        for line in warned {
            assert!(line.contains("WARN") && line.contains("component=") && line.contains("shape"), "{line}");
            assert!(line.contains("02/04/2026 10:00:00") && line.contains(words), "{line}");
        }
    }
}

#[test]
fn a_sink_that_takes_nothing_is_not_ready_at_once_and_found_before() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::write(dir.join("file"), "").unwrap();
    config(
        dir,
        "data_dir: ./data\napi: {listen: \"127.0.0.1:0\"}\nsources: {h: {type: http, listen: \"127.0.0.1:0\", acknowledge_timeout: 200ms}}\n\
         sinks: {f: {type: file, inputs: [h], path: ./file/nope/x}}\nshutdown_timeout: 1s\n",
    );
    let (code, said) = run(dir, &["validate", "--environment"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("error: `f`: cannot make the folder ./file/nope"), "{said}");
    let (code, said) = run(dir, &["doctor", "--offline"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("LOSES DATA: `f`: cannot make the folder ./file/nope"), "{said}");
    let agent = Agent::run(dir, &[]);
    eventually("it listens", || agent.addresses().len() == 2);
    let said = agent.said();
    let address = |word: &str| {
        let line = said.lines().find(|l| l.contains(word)).unwrap();
        let at = line.split_once("address=").unwrap().1;
        at.split(' ').next().unwrap().trim_start_matches("http://").to_owned()
    };
    let (api, web) = (address("API listening"), address("http://"));
    eventually("it runs", || get(&api, "/ready").0 == 200);
    let mut stream = TcpStream::connect(&web).unwrap();
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"m\":1}")
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 503"), "{text}");
    let (status, why) = get(&api, "/ready");
    assert_eq!(status, 503, "{why}");
    assert!(why.contains("f: ") && why.contains("file/nope"), "{why}");
    assert_eq!(get(&api, "/health").0, 200);
}

#[test]
fn a_port_that_is_taken_is_found_before_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let rest = "sources: {app: {type: demo, count: 3, decode: json}}";
    let api = format!(
        "data_dir: ./data\napi: {{listen: \"{address}\"}}\n{rest}\nsinks: {{out: {{type: console, inputs: [app]}}}}\n"
    );
    let page = format!(
        "data_dir: ./data\n{rest}\nsinks: {{out: {{type: prometheus, inputs: [app], listen: \"{address}\"}}}}\n"
    );
    for yaml in [&api, &page] {
        config(dir, yaml);
        for args in [&["validate", "--environment"][..], &["doctor", "--offline"]] {
            let (code, said) = run(dir, args);
            assert_eq!(code, Some(1), "{args:?}: {said}");
            assert!(said.contains(&format!("cannot listen on {address}")), "{args:?}: {said}");
        }
    }
    drop(taken);
    config(dir, &api);
    assert_eq!(run(dir, &["validate", "--environment"]).0, Some(0));
    assert_eq!(run(dir, &["doctor", "--offline"]).0, Some(0));
}

#[test]
fn a_forgotten_quote_is_warned_of_and_try_says_which_field_was_absent() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    config(
        dir,
        "data_dir: ./data\nsources: {in: {type: stdin, decode: json}}\ntransforms: {t: {type: filter, inputs: [in], when: 'level == ERROR'}}\n\
         sinks: {out: {type: console, inputs: [t]}}\n",
    );
    let (code, said) = run(dir, &["validate"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("warning: `ERROR` in the condition for `when` in transform `t` is read as the name of a field"),
        "{said}"
    );
    assert!(said.contains("a text stands in quotes: \"ERROR\""), "{said}");
    std::fs::write(dir.join("sample"), "{\"level\":\"ERROR\"}\n").unwrap();
    let (_, said) = run(dir, &["try", "sample"]);
    assert!(said.contains("dropped 1: filtered") && said.contains("no field `ERROR` in `level == ERROR`"), "{said}");
}

#[test]
fn datagrams_that_the_kernel_dropped_are_counted_and_said() {
    const SENT: u64 = 3000;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    config(
        dir,
        "data_dir: ./data\nsources: {in: {type: syslog, listen: \"udp://127.0.0.1:0\", receive_buffer: 8KiB}}\n\
         sinks: {out: {type: file, inputs: [in], path: ./out}}\n",
    );
    let agent = Agent::run(dir, &[]);
    eventually("it listens", || !agent.addresses().is_empty());
    let address = agent.addresses()[0].trim_matches('"').trim_start_matches("udp://").to_owned();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    // While it is stopped the kernel has room for a few of them.
    agent.signal(Signal::STOP);
    let text = format!("<13>1 2026-11-21T02:17:48Z h app - - - {}", "x".repeat(400));
    for _ in 0..SENT {
        socket.send_to(text.as_bytes(), &address).unwrap();
    }
    agent.signal(Signal::CONT);
    eventually("it is said", || agent.said().contains("component=in kind=\"kernel_buffer_full\""));
    let written = || lines(&dir.join("out")).len() as u64;
    eventually("what the kernel had is written", || written() > 0);
    let said = agent.stop();
    assert_balanced(&said);
    let (_, [came, _, out, dropped, ..]) = ledger(&said).into_iter().find(|(id, _)| id == "in").unwrap();
    assert_eq!((came, out), (SENT, written()), "{said}");
    assert!(dropped > SENT / 2 && gives_reason(&said, "kernel_buffer_full", dropped), "{said}");
    let line = said.lines().find(|l| l.contains("kernel_buffer_full")).unwrap();
    assert!(line.contains("raise `receive_buffer`"), "{line}");
}

#[test]
fn a_table_that_was_emptied_or_damaged_is_said_and_the_one_before_stays() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for name in ["a.csv", "b.csv"] {
        std::fs::write(dir.join(name), "user,tier\nada,gold\n").unwrap();
    }
    config(
        dir,
        "data_dir: ./data\nsources: {h: {type: file, include: [in.log], decode: json}}\ntransforms:\n  \
         a: {type: enrich, inputs: [h], lookup: [{key: user, table: a.csv, to: a}]}\n  \
         b: {type: enrich, inputs: [a], lookup: [{key: user, table: b.csv, to: b}]}\n\
         sinks: {out: {type: file, inputs: [b], path: ./out}}\n",
    );
    let mut input = std::fs::File::create(dir.join("in.log")).unwrap();
    let agent = Agent::run(dir, &[]);
    // A table is looked at where there are events.
    let mut send = || {
        writeln!(input, "{{\"user\":\"ada\"}}").unwrap();
        lines(&dir.join("out")).len()
    };
    eventually("events come out", || send() > 0);
    // At once, so that no half of it is read.
    for (name, text) in [("a.csv", "user,tier\n"), ("b.csv", "user\nbob\n")] {
        std::fs::write(dir.join("new"), text).unwrap();
        std::fs::rename(dir.join("new"), dir.join(name)).unwrap();
    }
    let said = |component: &str| agent.said().contains(&format!("component={component} kind=\"reload\""));
    eventually("both are said", || {
        send();
        said("a") && said("b")
    });
    let said = agent.stop();
    let line = |component: &str| {
        let find = format!("component={component} kind=\"reload\"");
        said.lines().find(|l| l.contains(&find)).unwrap().to_owned()
    };
    assert!(line("a").contains("it has no records"), "{said}");
    assert!(line("b").contains("`tier`"), "{said}");
    let out = lines(&dir.join("out"));
    assert!(
        out.iter().all(|l| l.contains("\"a\":{\"tier\":\"gold\"}") && l.contains("\"b\":{\"tier\":\"gold\"}")),
        "{out:?}"
    );
}
