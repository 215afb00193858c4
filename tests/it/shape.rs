//! The house in the small: functions of 80 lines and six parameters at the most, files of 800 lines.
//!
//! What is longer holds a second idea, or says here why not. Tests are not counted: neither files nor modules that are only built
//! for them, nor `tests/`.

use super::rooms::{File, built, files, group_end, source, tokens, without_texts};
use std::collections::BTreeSet;

/// Most lines of a function, from its `fn` to its closing brace.
const MOST_LINES: usize = 80;
/// Most parameters of a function, `self` not counted.
const MOST_PARAMETERS: usize = 6;
/// Most lines of a file.
const MOST_FILE_LINES: usize = 800;

/// Functions that are longer: `module::function`, and why.
const LONG_FUNCTIONS: &[(&str, &str)] =
    &[("topology::running::take_up", "a sequence in which each step says why it comes before the next")];

/// Functions that have more parameters, and why.
const WIDE_FUNCTIONS: &[(&str, &str)] = &[
    ("event::json::simd::run", "what a block of a text needs, in registers"),
    ("framing::container::judge", "a line, where it is and what is made of it, in registers"),
    ("framing::container::line", "a line, where it is and what is made of it, in registers"),
    ("framing::framer::line", "all of them are places in one buffer, in registers"),
];

/// Files that are longer, and why.
const LONG_FILES: &[(&str, &str)] = &[
    ("event::batch", "half of it is what the fields of the tables mean"),
    ("framing::container", "to be parted: the rule, and the joining of parts"),
    ("sinks::delivery::driver", "to be parted: the loop, and what becomes of an answer"),
    ("topology::running", "to be parted: seats, starting, changing, stopping"),
    ("transforms::redact::find::secrets::key", "one grammar, and a third of it tables"),
    ("transforms::redact::find::secrets::words", "tables of words"),
];

/// One function as it stands in the source.
#[derive(Debug, PartialEq)]
struct Function {
    name: String,
    line: usize,
    lines: usize,
    parameters: usize,
}

/// The functions of a text that has neither comments nor strings any more, and nothing that is only built for tests.
fn functions(text: &str) -> Vec<Function> {
    let mut out = Vec::new();
    for (at, _) in text.match_indices("fn ") {
        let begins = text[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_');
        let name: String = text[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let Some(open) = text[at..].find('(').map(|n| at + parameters_after(&text[at..], n)) else { continue };
        if !begins || name.is_empty() {
            continue;
        }
        let close = open + group_end(&text[open..]);
        let Some(body) = text[close..].find(['{', ';']).map(|n| close + n) else { continue };
        let end = if text[body..].starts_with('{') { body + group_end(&text[body..]) } else { body };
        let line = text[..at].matches('\n').count() + 1;
        let lines = text[at..end].matches('\n').count() + 1;
        let parameters = parameters(&text[open + 1..close - 1]);
        out.push(Function { name, line, lines, parameters });
    }
    out
}

/// Where the parameters begin: behind those of types, in which there may be brackets too (`fn f<T: Fn(u8)>(…)`).
fn parameters_after(text: &str, first: usize) -> usize {
    let Some(types) = text[..first].find('<') else { return first };
    let (mut depth, mut before) = (0_usize, ' ');
    for (n, c) in text.char_indices().skip_while(|(n, _)| *n < types) {
        match c {
            '<' => depth += 1,
            '>' if before != '-' && before != '=' => depth -= 1,
            '(' if depth == 0 => return n,
            _ => {}
        }
        before = c;
    }
    first
}

/// How many there are in a list, `self` not counted.
fn parameters(list: &str) -> usize {
    let (mut depth, mut before, mut all, mut one) = (0_i32, ' ', Vec::new(), String::new());
    for c in list.chars() {
        match c {
            '(' | '[' | '{' | '<' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            '>' if before != '-' && before != '=' => depth -= 1,
            ',' if depth == 0 => all.push(std::mem::take(&mut one)),
            _ => {}
        }
        if depth > 0 || c != ',' {
            one.push(c);
        }
        before = c;
    }
    all.push(one);
    let is_self = |one: &str| one.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "self");
    let own =
        |(n, one): &(usize, String)| !one.trim().is_empty() && !(*n == 0 && is_self(one.split(':').next().unwrap()));
    all.into_iter().enumerate().filter(own).count()
}

/// All files of the crate that are not only built for tests.
fn shipped() -> Vec<File> {
    let all = files(&source());
    let mut for_tests: BTreeSet<Vec<String>> = BTreeSet::new();
    for file in &all {
        let home = if file.module == ["lib"] { &[][..] } else { &file.module };
        let names = built(tokens(&file.text)).1;
        for_tests.extend(names.into_iter().map(|name| home.iter().cloned().chain([name]).collect()));
    }
    let is_for_tests = |module: &[String]| (1..=module.len()).any(|n| for_tests.contains(&module[..n]));
    all.into_iter().filter(|file| !is_for_tests(&file.module)).collect()
}

/// All functions, as `module::function`.
fn all_functions() -> Vec<(String, Function)> {
    let of = |file: File| {
        let functions = functions(&without_texts(&file.text));
        functions.into_iter().map(move |f| (format!("{}::{}", file.module.join("::"), f.name), f)).collect::<Vec<_>>()
    };
    shipped().into_iter().flat_map(of).collect()
}

/// Compares what is found with a list of exceptions: nothing else may be there, and nothing on the list in vain.
fn held_to(what: &str, found: &[(String, String)], exceptions: &[(&str, &str)]) {
    let known = |name: &str| exceptions.iter().any(|(exception, _)| *exception == name);
    let new: Vec<String> =
        found.iter().filter(|(name, _)| !known(name)).map(|(n, how)| format!("{n}: {how}")).collect();
    assert!(new.is_empty(), "{what}:\n{}", new.join("\n"));
    for (exception, reason) in exceptions {
        assert!(!reason.is_empty(), "{exception} needs a reason");
        assert!(found.iter().any(|(name, _)| name == exception), "{exception} needs no exception any more");
    }
}

#[test]
fn no_function_is_longer_than_a_screen() {
    let long = all_functions().into_iter().filter(|(_, f)| f.lines > MOST_LINES);
    let long: Vec<_> = long.map(|(name, f)| (name, format!("{} lines, from line {}", f.lines, f.line))).collect();
    held_to("functions that hold a second idea", &long, LONG_FUNCTIONS);
}

#[test]
fn no_function_has_more_parameters_than_a_reader_can_keep_apart() {
    let wide = all_functions().into_iter().filter(|(_, f)| f.parameters > MOST_PARAMETERS);
    let wide: Vec<_> = wide.map(|(name, f)| (name, format!("{} parameters, line {}", f.parameters, f.line))).collect();
    held_to("functions with parameters that belong together", &wide, WIDE_FUNCTIONS);
}

#[test]
fn no_file_is_longer_than_one_sitting() {
    let long = shipped().into_iter().map(|file| (file.module.join("::"), file.text.lines().count()));
    let long: Vec<_> = long.filter(|(_, n)| *n > MOST_FILE_LINES).map(|(m, n)| (m, format!("{n} lines"))).collect();
    held_to("files that hold a second idea", &long, LONG_FILES);
}

#[test]
fn functions_are_found_however_they_are_written() {
    let text = "impl A {\n    pub(super) fn a<T: Fn(u8) -> (u8, u8)>(&self, b: &[u8; 3], c: impl Fn(u8, u8) -> u8,\n    ) -> u8\n    where\n        T: X,\n    {\n        \"fn x(\"; // fn y() {}\n        '{'\n    }\n}\ntrait B { fn c(self: Box<Self>, d: HashMap<u8, u8>); }\n#[cfg(test)]\nmod tests { fn e() {} }\nfn f() { g(fn_h(1, 2)) }\n";
    let found = functions(&without_texts(text));
    let found: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.line, f.lines, f.parameters)).collect();
    assert_eq!(found, [("a", 2, 8, 2), ("c", 11, 1, 1), ("f", 14, 1, 0)]);
}
