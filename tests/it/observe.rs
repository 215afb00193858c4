//! What is shipped for watching the agent: its rules are rules, and they and the dashboard ask for metrics that there are.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/observe")
}

#[test]
fn the_rules_are_read_by_prometheus_and_their_alerts_come_when_they_should() {
    for arguments in [["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]] {
        let out = match Command::new("promtool").args(arguments).current_dir(folder()).output() {
            Ok(out) => out,
            Err(_) => return println!("skipped: promtool is not installed"),
        };
        let said = [out.stdout, out.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(out.status.success(), "{said}");
    }
}

/// Names that begin with one of ours, without the ends of a histogram's parts.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let ours = words.filter(|word| word.starts_with("tidegate_") || word.starts_with("process_"));
    ours.map(|word| word.trim_end_matches("_bucket").to_owned()).collect()
}

#[test]
fn what_rules_and_dashboard_ask_for_is_on_the_agents_page() {
    let documented = std::fs::read_to_string(folder().join("../../docs/metrics.md")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("in.log"), "{\"level\":\"INFO\"}\nno json\n").unwrap();
    crate::agent::config(
        dir.path(),
        "data_dir: ./data
api: {listen: \"127.0.0.1:0\"}
sources: {in: {type: file, include: [in.log], decode: json}}
transforms:
  few: {type: filter, inputs: [in], when: \"false\"}
sinks:
  out: {type: file, inputs: [in], path: out.log}
  none: {type: blackhole, inputs: [few]}
",
    );
    let agent = crate::agent::Agent::run(dir.path(), &[]);
    crate::agent::eventually("the API listens", || !agent.addresses().is_empty());
    let page = || crate::agent::get(&agent.addresses()[0], "/metrics").1;
    crate::agent::eventually("all kinds of figures are there", || {
        let names = names(&page());
        names.contains("tidegate_event_age_seconds") && names.contains("tidegate_events_dropped_total")
    });
    let there = names(&page());
    for file in ["alerts.yaml", "dashboard.json"] {
        let asked = names(&std::fs::read_to_string(folder().join(file)).unwrap());
        assert!(asked.len() > 8, "{asked:?}");
        for name in asked {
            assert!(documented.contains(&name), "{file}: docs/metrics.md has no {name}");
            // Those come only where there is something to count.
            let rare =
                ["tidegate_events_rejected_total", "tidegate_backpressure_seconds_total", "tidegate_circuit_state"];
            assert!(there.contains(&name) || rare.contains(&&*name), "{file}: nobody shows {name}");
        }
    }
    agent.kill();
}
