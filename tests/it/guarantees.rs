//! The page of what is promised names tests that are there, in each row one.

use std::collections::BTreeSet;
use std::path::Path;

fn names_of_tests(dir: &Path, into: &mut BTreeSet<String>) {
    for path in std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()) {
        if path.is_dir() {
            names_of_tests(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let mut lines = text.lines().map(str::trim);
            while let Some(line) = lines.next() {
                if !line.starts_with("#[test]") {
                    continue;
                }
                let name = lines.find_map(|line| line.strip_prefix("fn ")?.split('(').next().map(str::to_owned));
                into.extend(name);
            }
        }
    }
}

/// Words in backticks that look like the name of a test.
fn names_in(text: &str) -> Vec<&str> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| {
            word.matches('_').count() > 3
                && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
        })
        .collect()
}

#[test]
fn each_guarantee_names_a_test_that_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = BTreeSet::new();
    names_of_tests(&root.join("src"), &mut tests);
    names_of_tests(&root.join("tests"), &mut tests);
    assert!(tests.len() > 500, "{}", tests.len());
    let page = std::fs::read_to_string(root.join("docs/guarantees.md")).unwrap();
    let named = names_in(&page);
    let missing: Vec<&&str> = named.iter().filter(|name| !tests.contains(**name)).collect();
    assert!(missing.is_empty(), "docs/guarantees.md names tests that are not there: {missing:?}");
    let rows =
        page.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---") && !line.starts_with("| to "));
    let bare: Vec<&str> = rows.filter(|row| names_in(row).is_empty()).collect();
    assert!(bare.is_empty(), "rows without a test: {bare:?}");
    assert!(named.len() > 12, "{named:?}");
}
