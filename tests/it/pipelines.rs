//! Every file under `pipelines/` loads, its own tests pass, and the JSON schema accepts it.

use crate::agent::{output, tidegate};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use tidegate::internals::config::{built_in, load_texts};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file under `pipelines/`, those of its folders too.
fn files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root().join("pipelines")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "yaml") {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(files.iter().any(|file| file.ends_with("pipelines/recipes/nginx.yaml")), "{files:?}");
    files
}

fn with_environment(mut command: Command) -> Command {
    command.env("O2_USER", "agent@example.com").env("O2_PASSWORD", "not-a-real-password").env("REDACT_KEY", "k3y");
    command
}

/// The schema that the first line of every pipeline names is the one of this program.
#[test]
fn the_schema_beside_the_pipelines_is_what_the_command_prints() {
    let (code, schema, _) = output(tidegate(root(), &["schema"]));
    assert_eq!(code, Some(0));
    let kept = std::fs::read_to_string(root().join("pipelines/schema.json")).unwrap();
    assert!(kept == schema, "make it anew: tidegate schema > pipelines/schema.json");
}

#[test]
fn every_pipeline_is_valid() {
    for file in files() {
        let path = file.to_str().unwrap();
        let (code, _, said) = output(with_environment(tidegate(root(), &["validate", "--config", path])));
        assert_eq!(code, Some(0), "{path}:\n{said}");
    }
}

#[test]
fn every_type_of_component_has_a_pipeline_that_shows_it() {
    let environment: BTreeMap<String, String> =
        ["O2_USER", "O2_PASSWORD", "REDACT_KEY"].map(|name| (name.to_owned(), "a-value-of-it".to_owned())).into();
    let mut shown = BTreeSet::new();
    for file in files() {
        let text = std::fs::read_to_string(&file).unwrap();
        let loaded = load_texts(&[(file.to_str().unwrap(), &text)], &environment, built_in());
        let config = loaded.config.unwrap_or_else(|| panic!("{}", loaded.report.render()));
        shown.extend(config.components.iter().map(|c| (c.kind.name(), c.type_name)));
    }
    let all = built_in().names().into_iter().map(|(kind, name)| (kind.name(), name));
    let missing: Vec<_> = all.filter(|of| !shown.contains(of)).collect();
    assert!(missing.is_empty(), "no file under pipelines/ has {missing:?}");
}

#[test]
fn every_pipelines_own_tests_pass() {
    let mut tested = 0;
    for file in files() {
        if !std::fs::read_to_string(&file).unwrap().lines().any(|l| l.starts_with("tests:")) {
            continue;
        }
        let path = file.to_str().unwrap();
        let (code, stdout, said) = output(with_environment(tidegate(root(), &["test", "--config", path])));
        assert_eq!(code, Some(0), "{path}:\n{stdout}{said}");
        tested += 1;
    }
    assert!(tested > 0, "no pipeline has tests");
}

#[test]
fn the_schema_accepts_every_pipeline() {
    if Command::new("check-jsonschema").arg("--version").output().is_err() {
        println!("skipped: check-jsonschema is not installed (pip install check-jsonschema)");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let schema = dir.path().join("schema.json");
    let (code, stdout, said) = output(tidegate(root(), &["schema"]));
    assert_eq!(code, Some(0), "{said}");
    std::fs::write(&schema, stdout).unwrap();
    let mut check = Command::new("check-jsonschema");
    check.arg("--schemafile").arg(&schema).args(files());
    let (code, stdout, said) = output(check);
    assert_eq!(code, Some(0), "{stdout}{said}");
    // And it refuses what `validate` refuses.
    let wrong = dir.path().join("wrong.yaml");
    std::fs::write(&wrong, "sources:\n  a: {type: stdin, decod: json}\n").unwrap();
    let mut check = Command::new("check-jsonschema");
    check.arg("--schemafile").arg(&schema).arg(&wrong);
    assert_ne!(output(check).0, Some(0));
}
