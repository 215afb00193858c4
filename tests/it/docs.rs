//! What the pages say holds: links lead somewhere, commands and their flags exist, configurations have no unknown keys.

use crate::agent::{output, tidegate};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README.md, CONTRIBUTING.md and all of docs/, from the top of the repository, with their text.
fn pages() -> Vec<(PathBuf, String)> {
    let mut pages = vec![root().join("README.md"), root().join("CONTRIBUTING.md")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    assert!(pages.len() > 20, "{pages:?}");
    pages.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

/// A block of code: what stands behind its fence, and its lines.
struct Block {
    info: String,
    lines: Vec<String>,
}

/// The lines of a page that are text, and its blocks of code.
fn parts(page: &str) -> (Vec<String>, Vec<Block>) {
    let mut text = Vec::new();
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for line in page.lines() {
        let fence = line.trim_start().strip_prefix("```");
        match (open, fence) {
            (false, Some(info)) => {
                blocks.push(Block { info: info.trim().to_owned(), lines: Vec::new() });
                open = true;
            }
            (true, Some(rest)) if rest.trim().is_empty() => open = false,
            (true, _) => {
                if let Some(block) = blocks.last_mut() {
                    block.lines.push(line.to_owned());
                }
            }
            (false, None) => text.push(line.to_owned()),
        }
    }
    assert!(!open, "a block of code has no end:\n{page}");
    (text, blocks)
}

/// A line without what stands between backticks.
fn without_code(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('`') {
        out.push_str(before);
        let more = after.len() - after.trim_start_matches('`').len();
        let ticks = "`".repeat(more + 1);
        let inner = after.trim_start_matches('`');
        rest = match inner.split_once(ticks.as_str()) {
            Some((_, behind)) => behind,
            None => inner,
        };
        out.push('x');
    }
    out.push_str(rest);
    out
}

/// Where the links of a line lead: what stands in `](…)`.
fn targets(line: &str) -> Vec<String> {
    let line = without_code(line);
    line.split("](").skip(1).filter_map(|part| part.split_once(')')).map(|(target, _)| target.to_owned()).collect()
}

/// The anchors of a page's headings, by GitHub's rule: small letters, blanks as dashes, other signs left out, `-1` and so on
/// behind what is there already.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut out = BTreeSet::new();
    for line in parts(page).0 {
        let title = line.trim_start_matches('#');
        let level = line.len() - title.len();
        if !(1..=6).contains(&level) || !title.starts_with(' ') {
            continue;
        }
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let lower = title.trim().trim_end_matches('#').trim_end().to_lowercase();
        let anchor: String = lower.chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect();
        let times = seen.entry(anchor.clone()).or_default();
        out.insert(if *times == 0 { anchor } else { format!("{anchor}-{times}") });
        *times += 1;
    }
    out
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut links = 0;
    let mut faults = Vec::new();
    for (path, page) in pages() {
        for target in parts(&page).0.iter().flat_map(|line| targets(line)) {
            // `https:`, `mailto:`.
            if target.split_once(':').is_some_and(|(scheme, _)| scheme.chars().all(|c| c.is_ascii_alphabetic())) {
                continue;
            }
            links += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target.as_str(), ""));
            let there = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            if !there.exists() {
                faults.push(format!("{}: there is no {target}", path.display()));
            } else if !anchor.is_empty() && there.extension().is_some_and(|e| e == "md") {
                let text = std::fs::read_to_string(&there).unwrap();
                if !anchors(&text).contains(anchor) {
                    faults.push(format!("{}: no heading for {target}", path.display()));
                }
            }
        }
    }
    assert!(links > 100, "{links}");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The calls of `tidegate` in a block of commands, each without its first word.
fn calls(block: &Block) -> Vec<Vec<String>> {
    let mut calls = Vec::new();
    for line in &block.lines {
        let line = match block.info.as_str() {
            "sh" => line.as_str(),
            // What does not begin so is what a command wrote.
            "console" | "" => match line.strip_prefix("$ ") {
                Some(command) => command,
                None => continue,
            },
            _ => continue,
        };
        let line = line.split(" #").next().unwrap_or_default();
        for command in line.replace("&&", ";").replace("$(", ";").split(['|', ';']) {
            let mut words = command.split_whitespace().peekable();
            while let Some(word) = words.peek().copied() {
                let variable = word.split_once('=').is_some_and(|(name, _)| {
                    !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
                });
                if word == "-u" {
                    words.next();
                } else if !variable && !["sudo", "nice", "time"].contains(&word) {
                    break;
                }
                words.next();
            }
            if words.next().is_some_and(|word| word == "tidegate" || word.ends_with("/tidegate")) {
                calls.push(words.map(str::to_owned).collect());
            }
        }
    }
    calls
}

/// The help of a command; none where there is no such command.
fn help(helps: &mut BTreeMap<Vec<String>, Option<String>>, command: &[String]) -> Option<String> {
    let of = |command: &[String]| {
        let mut words: Vec<&str> = command.iter().map(String::as_str).collect();
        words.push("--help");
        let (code, stdout, _) = output(tidegate(root(), &words));
        (code == Some(0)).then_some(stdout)
    };
    helps.entry(command.to_vec()).or_insert_with(|| of(command)).clone()
}

/// Whether the help names a flag: `--once`, `-c`.
fn knows(help: &str, flag: &str) -> bool {
    let ends = |c: char| c.is_whitespace() || matches!(c, ',' | '=' | '[' | '<' | '`' | '.');
    help.split(ends).any(|word| word == flag)
}

#[test]
fn every_command_and_flag_that_is_shown_exists() {
    let mut helps = BTreeMap::new();
    let mut faults = Vec::new();
    let mut seen = 0;
    for (path, page) in pages() {
        for call in parts(&page).1.iter().flat_map(calls) {
            seen += 1;
            let shown = format!("{}: tidegate {}", path.display(), call.join(" "));
            // `buffer ls`, `config history`: as long as the help lists commands, the next word is one.
            let mut command: Vec<String> = Vec::new();
            let mut words = call.iter().take_while(|word| !word.starts_with('-'));
            let text = loop {
                let text = help(&mut helps, &command);
                let further = text.as_ref().is_some_and(|text| text.contains("\nCommands:\n"));
                match words.next() {
                    Some(word) if further => command.push(word.clone()),
                    _ => break text,
                }
            };
            let Some(text) = text else {
                faults.push(format!("{shown}: there is no such command"));
                continue;
            };
            for word in call.iter().filter(|word| word.starts_with('-')) {
                let flag = word.split('=').next().unwrap_or_default();
                let is_flag = flag.trim_start_matches('-').starts_with(|c: char| c.is_ascii_alphabetic());
                if is_flag && !knows(&text, flag) {
                    faults.push(format!("{shown}: there is no {flag}"));
                }
            }
        }
    }
    assert!(seen > 20, "{seen}");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_configuration_that_is_shown_has_known_keys_and_values() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("shown.yaml");
    let mut faults = Vec::new();
    let mut seen = 0;
    for (path, page) in pages() {
        // `yaml,ignore`: of another agent, or wrong on purpose.
        for block in parts(&page).1.iter().filter(|block| block.info == "yaml") {
            let first = block.lines.iter().find(|line| !line.is_empty() && !line.starts_with('#'));
            let keys = ["sources:", "transforms:", "sinks:", "data_dir:"];
            if !first.is_some_and(|line| keys.iter().any(|key| line.starts_with(key))) {
                continue;
            }
            seen += 1;
            std::fs::write(&file, block.lines.join("\n") + "\n").unwrap();
            let mut command = tidegate(root(), &["validate", "--format", "json", file.to_str().unwrap()]);
            command.env("O2_USER", "agent@example.com").env("O2_PASSWORD", "not-a-real-password");
            command.env("REDACT_KEY", "k3y");
            let (_, stdout, said) = output(command);
            let report: serde_json::Value =
                serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("{e}: {stdout}{said}"));
            for fault in report["diagnostics"].as_array().into_iter().flatten() {
                let message = fault["message"].as_str().unwrap_or_default();
                // A part of a configuration may read what it does not show.
                let partial = message.contains("there is no component") || message == "the configuration has no sinks";
                if fault["severity"] == "error" && !partial {
                    faults.push(format!("{}: {message}\n{}", path.display(), block.lines.join("\n")));
                }
            }
        }
    }
    assert!(seen > 20, "{seen}");
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

#[test]
fn every_recipe_is_on_the_page_of_recipes() {
    let page = std::fs::read_to_string(root().join("docs/recipes.md")).unwrap();
    for entry in std::fs::read_dir(root().join("pipelines/recipes")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(page.contains(&format!("(../pipelines/recipes/{name})")), "docs/recipes.md does not name {name}");
    }
}
