//! The house: every path of the crate leads to a room further down, and no two files lead to each other.
//!
//! A path is what stands behind `crate::` or `super::`, in `use`, inline, in re-exports and in macros; what is only built for tests
//! may look anywhere. The picture in `docs/architecture.md` is drawn from the same table: `TIDEGATE_DRAW=1` writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The rooms, top floor first. A room may use those on the floors below it, and no other.
const FLOORS: &[&[&str]] = &[
    &["lib", "main"],
    &["cli", "embed"],
    &["api", "registry", "plan", "view"],
    &["topology", "sources", "transforms", "sinks"],
    &["pipeline"],
    &["component"],
    &["decoding", "encoding", "doctor", "openobserve", "kubernetes"],
    &["framing", "buffer", "template", "condition", "http", "ledger", "tap"],
    &["event", "net"],
    &["ack", "telemetry"],
    &["time", "storage"],
    &["settings", "error"],
    &["text", "sync", "process", "wire"],
];

/// Files that lead to each other, and why that stays: the names of a circle, sorted.
const CIRCLES: &[(&[&str], &str)] = &[
    (
        &["decoding::syslog::files", "decoding::syslog::front", "decoding::syslog::legacy"],
        "one grammar: a line of a file may have a header before it, and a header a header",
    ),
    (
        &["topology::build", "topology::change", "topology::running", "topology::supervision"],
        "the graph that runs is changed by graphs that are built, and a part that fails is built again",
    ),
    (&["topology::panicked", "topology::worker"], "a worker that looks for an event that panics runs a worker"),
    (
        &["transforms::normalize::engine", "transforms::normalize::producers"],
        "one table of names, and what reads by it",
    ),
    (&["transforms::redact::event", "transforms::redact::nested"], "events hold JSON, which is walked as events are"),
    (
        &[
            "transforms::redact::find::secrets::block",
            "transforms::redact::find::secrets::ends",
            "transforms::redact::find::secrets::header",
            "transforms::redact::find::secrets::shape",
            "transforms::redact::find::secrets::value",
        ],
        "one grammar: values hold headers, headers hold values",
    ),
    (
        &["transforms::redact::find::secrets::programs", "transforms::redact::find::secrets::words"],
        "one grammar: words of programs, programs by their words",
    ),
];

/// One file of the crate.
pub(super) struct File {
    /// `sinks::delivery::driver`; empty for `lib.rs`.
    pub(super) module: Vec<String>,
    pub(super) text: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Word(String),
    Colons,
    Other(char),
}

pub(super) fn tokens(text: &str) -> Vec<Token> {
    let bytes = text.as_bytes();
    let (mut out, mut i) = (Vec::new(), 0);
    while i < bytes.len() {
        let c = bytes[i];
        let rest = &text[i..];
        if rest.starts_with("//") {
            i += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            i += rest.find("*/").map_or(rest.len(), |n| n + 2);
        } else if let Some(end) = raw_string(rest) {
            i += end;
        } else if c == b'"' {
            i += 1 + quoted(&rest[1..], b'"');
        } else if c == b'\'' {
            // A character, or the name of a lifetime.
            let character = rest[1..].chars().nth(1) == Some('\'') || rest.starts_with("'\\");
            i += if character { 1 + quoted(&rest[1..], b'\'') } else { 1 };
        } else if c.is_ascii_alphanumeric() || c == b'_' {
            let len = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
            out.push(Token::Word(rest[..len].to_owned()));
            i += len;
        } else if rest.starts_with("::") {
            out.push(Token::Colons);
            i += 2;
        } else {
            let c = rest.chars().next().unwrap_or(' ');
            if !c.is_whitespace() {
                out.push(Token::Other(c));
            }
            i += c.len_utf8();
        }
    }
    out
}

/// Bytes up to and with the closing quote.
fn quoted(text: &str, quote: u8) -> usize {
    let mut escaped = false;
    for (i, b) in text.bytes().enumerate() {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b if b == quote => return i + 1,
            _ => {}
        }
    }
    text.len()
}

fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = after.bytes().take_while(|b| *b == b'#').count();
    let body = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let at = body.find(&end)?;
    Some(text.len() - body.len() + at + end.len())
}

/// The same text, lines where they were, without comments, what stands in strings, and items that are only built for tests.
pub(super) fn without_texts(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut i) = (String::with_capacity(text.len()), 0);
    while i < bytes.len() {
        let rest = &text[i..];
        let word = i > 0 && (bytes[i - 1].is_ascii_alphanumeric() || bytes[i - 1] == b'_');
        let len = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |n| n + 2)
        } else if let Some(end) = raw_string(rest).filter(|_| !word) {
            end
        } else if bytes[i] == b'"' {
            1 + quoted(&rest[1..], b'"')
        } else if bytes[i] == b'\'' && (rest[1..].chars().nth(1) == Some('\'') || rest.starts_with("'\\")) {
            1 + quoted(&rest[1..], b'\'')
        } else {
            let c = rest.chars().next().unwrap_or(' ');
            out.push(c);
            i += c.len_utf8();
            continue;
        };
        out.extend(rest[..len].chars().filter(|c| *c == '\n'));
        i += len;
    }
    while let Some((start, end)) = item_for_tests(&out) {
        let lines = "\n".repeat(out[start..end].matches('\n').count());
        out.replace_range(start..end, &lines);
    }
    out
}

/// Where the first item stands that is only built for tests.
fn item_for_tests(text: &str) -> Option<(usize, usize)> {
    text.match_indices("#[cfg(").find_map(|(start, _)| {
        let attribute = start + 1 + group_end(&text[start + 1..]);
        let mut words = text[start..attribute].split(|c: char| !c.is_alphanumeric() && c != '_');
        if !words.clone().any(|word| word == "test") || words.any(|word| word == "not") {
            return None;
        }
        // A variant or a field ends with a comma, in which a function may have many.
        let body = attribute + text[attribute..].find(['{', ';'])?;
        let comma = text[attribute..body].find(',').filter(|n| !text[attribute..attribute + n].contains("fn "));
        let body = comma.map_or(body, |n| attribute + n);
        Some((start, if text[body..].starts_with('{') { body + group_end(&text[body..]) } else { body + 1 }))
    })
}

/// Behind the bracket that closes the one at the beginning.
pub(super) fn group_end(text: &str) -> usize {
    let mut depth = 0_usize;
    for (n, c) in text.char_indices() {
        match c {
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => {
                depth -= 1;
                if depth == 0 {
                    return n + 1;
                }
            }
            _ => {}
        }
    }
    text.len()
}

/// Without items that are only built for tests; the names of modules among them that have files of their own.
pub(super) fn built(tokens: Vec<Token>) -> (Vec<Token>, Vec<String>) {
    let (mut out, mut modules, mut i) = (Vec::new(), Vec::new(), 0);
    while i < tokens.len() {
        if !tokens[i..].starts_with(&[Token::Other('#'), Token::Other('[')]) {
            out.push(tokens[i].clone());
            i += 1;
            continue;
        }
        let end = i + 1 + group(&tokens[i + 1..]);
        let words: Vec<&str> = tokens[i..end].iter().filter_map(word).collect();
        let for_tests = words.first() == Some(&"cfg") && words.contains(&"test") && !words.contains(&"not");
        i = end;
        if !for_tests {
            continue;
        }
        // Further attributes, then the item to its end.
        while tokens[i..].starts_with(&[Token::Other('#'), Token::Other('[')]) {
            i += 1 + group(&tokens[i + 1..]);
        }
        let start = i;
        while i < tokens.len() {
            match &tokens[i] {
                Token::Other(';') => break,
                Token::Other('{') => {
                    i += group(&tokens[i..]) - 1;
                    // A `use` goes on behind its braces.
                    if tokens.get(i + 1) != Some(&Token::Other(';')) {
                        break;
                    }
                }
                _ => {}
            }
            i += 1;
        }
        let item: Vec<&str> = tokens[start..i.min(tokens.len())].iter().filter_map(word).collect();
        if let (Some(at), Some(Token::Other(';'))) = (item.iter().position(|w| *w == "mod"), tokens.get(i)) {
            modules.extend(item.get(at + 1).map(|name| (*name).to_owned()));
        }
        i += 1;
    }
    (out, modules)
}

fn word(token: &Token) -> Option<&str> {
    match token {
        Token::Word(word) => Some(word),
        _ => None,
    }
}

/// Tokens of the group that begins here, its brackets included.
fn group(tokens: &[Token]) -> usize {
    let mut depth = 0_usize;
    for (i, token) in tokens.iter().enumerate() {
        match token {
            Token::Other('{' | '[' | '(') => depth += 1,
            Token::Other('}' | ']' | ')') => {
                depth -= 1;
                if depth == 0 {
                    return i + 1;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

/// All paths from the crate's root that stand in a module.
fn paths(module: &[String], tokens: &[Token]) -> BTreeSet<Vec<String>> {
    let mut out = BTreeSet::new();
    let mut i = 0;
    while i < tokens.len() {
        let behind_colons = i > 0 && tokens[i - 1] == Token::Colons;
        let mut at = i;
        let mut base = match word(&tokens[i]) {
            Some("crate") if !behind_colons => Vec::new(),
            Some("super") if !behind_colons => module[..module.len().saturating_sub(1)].to_vec(),
            _ => {
                i += 1;
                continue;
            }
        };
        while tokens.get(at + 1) == Some(&Token::Colons) && tokens.get(at + 2) == Some(&Token::Word("super".into())) {
            base.pop();
            at += 2;
        }
        if tokens.get(at + 1) == Some(&Token::Colons) {
            i = tree(&base, tokens, at + 2, &mut out);
        } else {
            i = at + 1;
        }
    }
    out
}

/// Reads what may stand behind `::`; where it ends.
fn tree(base: &[String], tokens: &[Token], mut at: usize, out: &mut BTreeSet<Vec<String>>) -> usize {
    let mut path = base.to_vec();
    loop {
        match tokens.get(at) {
            Some(Token::Word(name)) => {
                if name != "self" {
                    path.push(name.clone());
                }
                at += 1;
                if tokens.get(at) == Some(&Token::Colons) {
                    at += 1;
                    continue;
                }
                break;
            }
            Some(Token::Other('{')) => {
                let end = at + group(&tokens[at..]);
                at += 1;
                while at < end - 1 {
                    at = tree(&path, tokens, at, out);
                    // `as name`, then the comma.
                    while at < end - 1 && tokens[at] != Token::Other(',') {
                        at += 1;
                    }
                    at += 1;
                }
                return end;
            }
            _ => {
                at += 1;
                break;
            }
        }
    }
    out.insert(path);
    at
}

pub(super) fn files(root: &Path) -> Vec<File> {
    let (mut out, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let inner = path.strip_prefix(root).unwrap().with_extension("");
                let mut module: Vec<String> = inner.iter().map(|p| p.to_str().unwrap().to_owned()).collect();
                if module.last().is_some_and(|last| last == "mod") {
                    module.pop();
                }
                out.push(File { module, text: std::fs::read_to_string(&path).unwrap() });
            }
        }
    }
    out.sort_by(|a, b| a.module.cmp(&b.module));
    out
}

/// By module, the modules with a file that its paths lead to.
type Edges = BTreeMap<Vec<String>, BTreeSet<Vec<String>>>;

fn edges(files: &[File]) -> Edges {
    let mut known: BTreeSet<Vec<String>> = files.iter().map(|f| f.module.clone()).collect();
    let mut read = Vec::new();
    for file in files {
        let (tokens, for_tests) = built(tokens(&file.text));
        let home = if file.module == ["lib"] { &[][..] } else { &file.module };
        for name in for_tests {
            let test: Vec<String> = home.iter().cloned().chain([name]).collect();
            known.retain(|module| !module.starts_with(&test));
        }
        read.push((file.module.clone(), paths(home, &tokens)));
    }
    let mut out = Edges::new();
    for (module, paths) in read.into_iter().filter(|(module, _)| known.contains(module)) {
        let resolve =
            |path: &Vec<String>| (1..=path.len()).rev().map(|n| path[..n].to_vec()).find(|p| known.contains(p));
        let to = paths.iter().filter_map(resolve).filter(|to| *to != module).collect();
        out.insert(module, to);
    }
    out
}

/// Rooms that use one which is not below them, in words.
fn back_up(edges: &Edges, floors: &[&[&str]]) -> Vec<String> {
    let floor = |room: &str| floors.iter().position(|floor| floor.contains(&room));
    let mut wrong = Vec::new();
    for (from, to) in edges {
        let room = from.first().unwrap();
        let Some(own) = floor(room) else {
            wrong.push(format!("the room `{room}` has no floor"));
            continue;
        };
        for to in to.iter().filter(|to| to.first() != Some(room)) {
            if floor(to.first().unwrap()).is_none_or(|other| other <= own) {
                wrong.push(format!("{} uses {}, which is not below it", from.join("::"), to.join("::")));
            }
        }
    }
    wrong.dedup();
    wrong
}

/// Sets of files that lead to each other. A folder's head (`mod.rs`) and the files in it are at home with each other: paths
/// from a file to a head above it do not count.
fn circles(edges: &Edges) -> Vec<Vec<String>> {
    let next = |from: &Vec<String>| -> Vec<Vec<String>> {
        let to = edges.get(from).into_iter().flatten();
        to.filter(|to| !from.starts_with(to)).cloned().collect()
    };
    let reach = |from: &Vec<String>| {
        let (mut seen, mut open) = (BTreeSet::new(), next(from));
        while let Some(module) = open.pop() {
            if seen.insert(module.clone()) {
                open.extend(next(&module));
            }
        }
        seen
    };
    let reached: BTreeMap<&Vec<String>, BTreeSet<Vec<String>>> = edges.keys().map(|m| (m, reach(m))).collect();
    let mut out = BTreeSet::new();
    for (module, all) in &reached {
        if all.contains(*module) {
            let circle = all.iter().filter(|other| reached.get(*other).is_some_and(|back| back.contains(*module)));
            out.insert(circle.map(|m| m.join("::")).collect::<Vec<_>>());
        }
    }
    out.into_iter().collect()
}

pub(super) fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

#[test]
fn every_room_uses_only_rooms_below_it() {
    let edges = edges(&files(&source()));
    let wrong = back_up(&edges, FLOORS);
    assert!(wrong.is_empty(), "\n{}\nsee docs/architecture.md, \"The house\"", wrong.join("\n"));
    let rooms: BTreeSet<&str> = edges.keys().map(|module| module[0].as_str()).collect();
    for room in FLOORS.iter().flat_map(|floor| floor.iter()) {
        assert!(rooms.contains(room), "there is no room `{room}` any more");
    }
}

#[test]
fn no_files_lead_to_each_other() {
    let found = circles(&edges(&files(&source())));
    let known: Vec<Vec<String>> =
        CIRCLES.iter().map(|(names, _)| names.iter().map(|name| (*name).to_owned()).collect()).collect();
    let new: Vec<String> = found.iter().filter(|c| !known.contains(c)).map(|c| c.join(", ")).collect();
    assert!(new.is_empty(), "files that lead to each other:\n{}", new.join("\n"));
    let gone: Vec<String> = known.iter().filter(|c| !found.contains(c)).map(|c| c.join(", ")).collect();
    assert!(gone.is_empty(), "no circles any more, take them off the list:\n{}", gone.join("\n"));
}

#[test]
fn a_wrong_import_is_seen_however_it_is_written() {
    let file = |module: &str, text: &str| File {
        module: module.split("::").map(str::to_owned).collect(),
        text: text.to_owned(),
    };
    let floors: &[&[&str]] = &[&["upper"], &["lower", "beside"]];
    let wrong = |text: &str| {
        let files =
            [file("upper", ""), file("upper::x", ""), file("beside", ""), file("lower::y", text), file("lower", "")];
        back_up(&edges(&files), floors)
    };
    for bad in [
        "use crate::upper::x::Thing;",
        "use crate::{beside::A, lower::B};",
        "use crate::{\n    lower::{self, B as C},\n    upper::{x::{Y, Z}},\n};",
        "pub(crate) use super::super::upper::Thing as Other;",
        "fn f(a: &'static str) -> crate::upper::Thing { g('\\'', \"crate::lower\") }",
        "macro_rules! m { () => { $crate::upper::x::f() }; }",
        "#[cfg(not(test))]\nuse crate::upper::Thing;",
        "#[cfg(test)]\nuse crate::lower::{A, B};\nuse crate::upper::Thing;",
    ] {
        assert_eq!(wrong(bad).len(), 1, "{bad}");
    }
    for good in [
        "use crate::lower::Thing; // crate::upper",
        "fn f() -> &'static str { \"crate::upper::x\" }\nconst A: &str = r#\"\"crate::upper\"#;",
        "#[cfg(test)]\nmod tests {\n    use crate::upper::Thing;\n    fn f() { if true { g() } }\n}\nuse super::super::lower::A;",
        "#[cfg(all(test, feature = \"x\"))]\n#[allow(dead_code)]\nuse crate::upper::{A, B};",
    ] {
        assert_eq!(wrong(good), Vec::<String>::new(), "{good}");
    }
    let files =
        [file("a::b", "use super::c::X;"), file("a::c", "use crate::d::Y;"), file("d", "use crate::a::{b::Z, W};")];
    assert_eq!(circles(&edges(&files)), [["a::b", "a::c", "d"]]);
    let files = [file("a", "pub use self::b::B; use crate::a::b::C;"), file("a::b", "use super::D;")];
    assert_eq!(circles(&edges(&files)), Vec::<Vec<String>>::new());
}

#[test]
fn the_picture_of_the_house_is_drawn_from_these_floors() {
    let mut picture = String::from("```text\n");
    for floor in FLOORS.iter().skip(1) {
        for (n, room) in floor.iter().enumerate() {
            let head = ["", "/mod"]
                .iter()
                .find_map(|end| std::fs::read_to_string(source().join(format!("{room}{end}.rs"))).ok());
            let head = head.unwrap();
            let head: String = head.lines().map_while(|line| line.strip_prefix("//! ")).collect::<Vec<_>>().join(" ");
            let first = head.split(['.', ':']).next().unwrap_or_default().replace('`', "");
            let bar = if n == 0 { "─" } else { " " };
            writeln!(picture, "{bar} {room:<12}{}", first.chars().take(90).collect::<String>().trim_end()).unwrap();
        }
    }
    picture.push_str("```\n");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let (begin, end) = ("<!-- rooms -->\n", "<!-- end of rooms -->");
    let start = text.find(begin).expect("docs/architecture.md has a place for the rooms") + begin.len();
    let stop = start + text[start..].find(end).unwrap();
    if std::env::var_os("TIDEGATE_DRAW").is_some() {
        std::fs::write(&page, format!("{}{picture}{}", &text[..start], &text[stop..])).unwrap();
        return;
    }
    assert_eq!(&text[start..stop], picture, "draw it anew: TIDEGATE_DRAW=1 cargo test --test it rooms");
}

#[test]
fn modules_with_files_of_their_own_are_folders() {
    let mut folders = vec![source()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                assert!(
                    !path.with_extension("rs").exists(),
                    "{} stands beside its folder: make it mod.rs",
                    path.display()
                );
                folders.push(path);
            } else {
                let name = path.file_name().unwrap().to_str().unwrap();
                assert!(!name.ends_with(".pending-snap") && !name.ends_with(".snap.new"), "litter: {}", path.display());
            }
        }
    }
}
