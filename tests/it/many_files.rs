//! Files that are known and idle cost next to nothing: counted in system calls and time on a processor.
//! `benches/files/many_files.py` measures it on a release build.

use crate::agent::{Agent, config, eventually, lines};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

const FILES: usize = 1000;

fn write_files(dir: &Path, watch: &str) {
    config(
        dir,
        &format!(
            "data_dir: ./data
sources:
  in: {{type: file, include: [in/*.log], watch: {watch}}}
sinks:
  out: {{type: file, inputs: [in], path: out.log, encoding: text}}
"
        ),
    );
    std::fs::create_dir(dir.join("in")).unwrap();
    for n in 0..FILES {
        std::fs::write(dir.join(format!("in/{n}.log")), format!("{n}\n")).unwrap();
    }
}

fn append(dir: &Path, name: &str, text: &str) {
    let mut file = std::fs::OpenOptions::new().append(true).open(dir.join("in").join(name)).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_thousand_idle_files_are_not_read_and_cost_little_time() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.log");
    write_files(dir.path(), "auto");
    let agent = Agent::run(dir.path(), &[]);
    eventually("every file is read", || lines(&out).len() == FILES);
    // Each is looked at a few times more before it counts as idle.
    let mut reads = agent.reads();
    eventually("it comes to rest", || {
        std::thread::sleep(Duration::from_secs(1));
        reads + 50 > std::mem::replace(&mut reads, agent.reads())
    });
    let (cpu, start) = (agent.cpu_seconds(), Instant::now());
    std::thread::sleep(Duration::from_secs(3));
    let (cpu, took) = (agent.cpu_seconds() - cpu, start.elapsed().as_secs_f64());
    let read = agent.reads() - reads;
    assert!(read < 100, "{read} reads of {FILES} idle files in {took:.1} s");
    // A release build takes a thousandth; this one is not optimised, and others run beside it.
    assert!(cpu < took / 5.0, "{cpu:.3} s of a processor in {took:.1} s");
    append(dir.path(), "500.log", "more\n");
    eventually("a line of one of them comes", || lines(&out).last().is_some_and(|l| l == "more"));
    agent.stop();
}

#[test]
fn a_start_does_not_read_files_that_are_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.log");
    // Without the system's notices: hearing of its own opening of a file takes reads too, how many is a matter of luck.
    write_files(dir.path(), "poll");
    let agent = Agent::run(dir.path(), &[]);
    eventually("every file is read", || lines(&out).len() == FILES);
    // What has just been written may be written again within the resolution of its time.
    std::thread::sleep(Duration::from_secs(3));
    agent.stop();

    append(dir.path(), "7.log", "more\n");
    std::fs::write(dir.path().join("in/8.log"), "x\n").unwrap();
    let agent = Agent::run(dir.path(), &[]);
    eventually("what changed meanwhile comes", || lines(&out).len() >= FILES + 2);
    // Whatever else would be read at the start would have been by then.
    std::thread::sleep(Duration::from_secs(1));
    let reads = agent.reads();
    assert!(reads < 200, "{reads} reads at a start among {FILES} known files");
    agent.stop();

    for n in 0..FILES {
        let file = std::fs::File::options().append(true).open(dir.path().join(format!("in/{n}.log"))).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap();
    }
    let agent = Agent::run(dir.path(), &[]);
    eventually("files with another time are looked into", || agent.reads() > FILES as u64);
    agent.stop();
    let mut new = lines(&out).split_off(FILES);
    new.sort();
    assert_eq!(new, ["more", "x"]);
}
