//! A file of a container's image that is copied up to another layer when it is first written to. Needs the right to mount.

use crate::agent::{Agent, config, eventually, lines};
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// A mounted overlay, until dropped.
struct Overlay<'a>(&'a Path);

impl Drop for Overlay<'_> {
    fn drop(&mut self) {
        let _done = Command::new("umount").arg(self.0).output();
    }
}

fn append(path: &Path, text: &str) {
    std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_file_that_is_copied_up_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    for name in ["lower", "upper", "work", "merged"] {
        std::fs::create_dir(dir.join(name)).unwrap();
    }
    std::fs::write(dir.join("lower/empty.log"), "").unwrap();
    std::fs::write(dir.join("lower/full.log"), "of the image\n").unwrap();
    std::fs::write(dir.join("lower/down.log"), "read before the stop\n").unwrap();
    let merged = dir.join("merged");
    let options = format!("lowerdir={0}/lower,upperdir={0}/upper,workdir={0}/work", dir.display());
    let mounted = Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(&merged).output();
    if !mounted.is_ok_and(|out| out.status.success()) {
        println!("skipped: no overlay can be mounted here");
        return;
    }
    let _mounted = Overlay(&merged);
    let yaml = "data_dir: ./data
sources: {in: {type: file, include: ['merged/*.log']}}
sinks: {out: {type: file, inputs: [in], path: out.log, encoding: text}}
";
    config(dir, yaml);
    let out = || lines(&dir.join("out.log"));
    let agent = Agent::run(dir, &[]);
    eventually("what the image has is read", || out().len() == 2);
    for n in 1..4 {
        append(&merged.join("empty.log"), &format!("empty {n}\n"));
        append(&merged.join("full.log"), &format!("full {n}\n"));
        eventually("what is appended is read", || out().len() == 2 + 2 * n);
    }
    agent.stop();
    append(&merged.join("down.log"), "appended while nobody looked\n");
    let agent = Agent::run(dir, &[]);
    append(&merged.join("empty.log"), "empty 4\n");
    eventually("the rest is read", || out().len() >= 10);
    agent.stop();
    let mut all = out();
    all.sort();
    let mut right = vec!["appended while nobody looked", "of the image", "read before the stop"];
    right.extend(["empty 1", "empty 2", "empty 3", "empty 4", "full 1", "full 2", "full 3"]);
    right.sort_unstable();
    assert_eq!(all, right);
}
