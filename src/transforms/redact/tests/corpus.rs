//! The corpus of leaks and innocents in `tests/fixtures/redact`, each with its right result; recall and precision by kind.

use super::engine::mask;
use crate::transforms::redact::{Action, DetectKind, Rules, Scanner};
use std::collections::BTreeMap;
use std::sync::Arc;

const LEAKS: &str = include_str!("../../../../tests/fixtures/redact/leaks.txt");
const INNOCENTS: &str = include_str!("../../../../tests/fixtures/redact/innocents.txt");
const PAGE: &str = include_str!("../../../../docs/redact.md");

/// Least shares of leaks that are masked, and of what is masked that is a leak, by kind.
const RECALL: f64 = 0.98;
const PRECISION: f64 = 0.97;

/// Leaks that still come through and innocents that are touched, on purpose. Each says why.
const EXCEPTIONS: &[&str] = &[];

#[derive(Default)]
struct Counts {
    leaks: usize,
    masked: usize,
    innocents: usize,
    touched: usize,
}

impl Counts {
    fn recall(&self) -> f64 {
        if self.leaks == 0 { 1.0 } else { self.masked as f64 / self.leaks as f64 }
    }

    fn precision(&self) -> f64 {
        let all = self.masked + self.touched;
        if all == 0 { 1.0 } else { self.masked as f64 / all as f64 }
    }
}

/// Kinds of tokens that are told by their prefix.
fn makers() -> Vec<DetectKind> {
    use DetectKind::*;
    let mut kinds = vec![Jwt, GithubToken, SlackToken, StripeKey, SendgridKey];
    kinds.extend(DetectKind::ALL.iter().skip_while(|k| **k != HighEntropy).skip(1));
    kinds
}

fn kind(word: &str) -> DetectKind {
    *DetectKind::ALL.iter().find(|k| k.word() == word).unwrap_or_else(|| panic!("a kind that there is not: {word}"))
}

/// The kinds that stand for these words of the files.
fn kinds(words: &str) -> Vec<DetectKind> {
    match words {
        "usual" => vec![DetectKind::Secrets, DetectKind::Email, DetectKind::CreditCard],
        "makers" => makers(),
        word => vec![kind(word)],
    }
}

/// The text with `{20}` and the like made up, and with its line ends and tabs.
fn text(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(open) = rest.find('{') {
        let (before, braced) = rest.split_at(open);
        out.push_str(before);
        let close = braced.find('}').map_or(braced.len(), |c| c + 1);
        let inside = braced[1..close].trim_end_matches('}');
        let digits = inside.trim_end_matches(['h', 'u', 'l', 'd']);
        match digits.parse::<usize>() {
            Ok(n) if inside.len() <= digits.len() + 1 => {
                let made_up = match &inside[digits.len()..] {
                    "h" => "fa0e0dec0de5badc0ffee",
                    "u" => "FAKE7",
                    "l" => "fak3",
                    "d" => "12345678",
                    _ => "Fak3",
                };
                out.extend(made_up.chars().cycle().take(n));
                rest = &braced[close..];
            }
            _ => {
                out.push('{');
                rest = &braced[1..];
            }
        }
    }
    out.push_str(rest);
    out.replace('␤', "\n").replace('␉', "\t")
}

fn lines(file: &'static str) -> impl Iterator<Item = (&'static str, String)> {
    file.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).map(|line| {
        let (kinds, line) = line.split_once(" | ").unwrap_or_else(|| panic!("no kind: {line}"));
        (kinds, text(line))
    })
}

/// What goes in, what must come out, and the secrets in it.
fn marked(text: &str) -> (String, String, Vec<String>) {
    let (mut given, mut wanted, mut secrets) = (String::new(), String::new(), Vec::new());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('⟦') {
        let (secret, after) = after.split_once('⟧').unwrap();
        given.push_str(before);
        wanted.push_str(before);
        given.push_str(secret);
        wanted.push_str("***");
        secrets.push(secret.to_owned());
        rest = after;
    }
    given.push_str(rest);
    wanted.push_str(rest);
    (given, wanted, secrets)
}

/// The texts that leak, without marks.
pub(super) fn leaking() -> Vec<String> {
    lines(LEAKS).map(|(_, text)| marked(&text).0).collect()
}

/// The counts by kind, and what differs from the right result.
fn measured() -> (BTreeMap<&'static str, Counts>, Vec<String>) {
    let mut counts: BTreeMap<&'static str, Counts> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (kind, text) in lines(LEAKS) {
        let (given, wanted, secrets) = marked(&text);
        let got = mask(&kinds(kind), &given);
        let of = counts.entry(kind).or_default();
        of.leaks += 1;
        // Where it differs, nothing of a secret may be left; short ones may be part of what stays.
        if got == wanted || (secrets.iter().all(|s| !got.contains(s.as_str())) && got.contains("***")) {
            of.masked += 1;
        }
        if got != wanted && !EXCEPTIONS.contains(&given.as_str()) {
            wrong.push(format!("{kind}: {given:?}\n  wanted {wanted:?}\n  got    {got:?}"));
        }
    }
    for (words, text) in lines(INNOCENTS) {
        for kind in kinds(words) {
            let got = mask(&[kind], &text);
            let of = counts.entry(kind.word()).or_default();
            of.innocents += 1;
            if got != text {
                of.touched += 1;
                if !EXCEPTIONS.contains(&text.as_str()) {
                    wrong.push(format!("{}: {text:?}\n  got {got:?}", kind.word()));
                }
            }
        }
    }
    (counts, wrong)
}

#[test]
fn every_leak_and_every_innocent_has_its_right_result() {
    let (counts, wrong) = measured();
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    for (kind, of) in &counts {
        assert!(of.recall() >= RECALL, "{kind}: {} of {} leaks are masked", of.masked, of.leaks);
        assert!(of.precision() >= PRECISION, "{kind}: {} of {} innocents are touched", of.touched, of.innocents);
    }
    for kind in DetectKind::ALL {
        assert!(counts.get(kind.word()).is_some_and(|c| c.leaks > 0), "no leak of {}", kind.word());
    }
    assert!(lines(LEAKS).count() >= 300 && lines(INNOCENTS).count() >= 200);
}

#[test]
fn the_table_of_the_page_is_what_is_measured() {
    let (counts, _) = measured();
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let makers: Vec<&str> = makers().iter().map(|k| k.word()).collect();
    let mut of_makers = Counts::default();
    let mut rows = Vec::new();
    for kind in DetectKind::ALL {
        let Some(of) = counts.get(kind.word()) else { continue };
        if makers.contains(&kind.word()) {
            of_makers.leaks += of.leaks;
            of_makers.masked += of.masked;
            of_makers.innocents = of_makers.innocents.max(of.innocents);
            of_makers.touched += of.touched;
        } else {
            rows.push((format!("`{}`", kind.word()), of.leaks, of.innocents, of.recall(), of.precision()));
        }
    }
    let name = format!("tokens of makers, {} kinds", makers.len());
    rows.push((name, of_makers.leaks, of_makers.innocents, of_makers.recall(), of_makers.precision()));
    let table: String = rows
        .iter()
        .map(|(name, leaks, innocents, recall, precision)| {
            format!("| {name} | {leaks} | {innocents} | {} | {} |\n", percent(*recall), percent(*precision))
        })
        .collect();
    assert!(PAGE.contains(&table), "docs/redact.md should have this table:\n{table}");
    for maker in makers {
        assert!(PAGE.contains(&format!("`{maker}`")), "docs/redact.md does not name `{maker}`");
    }
}

/// Texts of the corpus, cut, joined and with some bytes changed, from a seed.
fn mutated(seed: u64) -> Vec<u8> {
    const SIGNS: &[&str] = &[
        "\"", "'", "`", "\\", ":", "=", "%", "@", "-", "_", ".", ",", "<", ">", "(", ")", "[", "]", "{", "}", "&", "|",
        "/", " ", "  ", "\t", "\n", "1", "4111", "a", "k", "p", " --", "-p", "&gt;", "密", "码", "é", "%25", "%3D",
        "\u{a0}", "word ",
    ];
    let all: Vec<String> = leaking().into_iter().chain(lines(INNOCENTS).map(|(_, text)| text)).collect();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut text = random.choice(&all).unwrap().clone();
    let place = |text: &str, at: usize| (0..=at).rev().find(|&i| text.is_char_boundary(i)).unwrap();
    if random.bool() {
        text.truncate(place(&text, random.usize(..=text.len())));
        let other = random.choice(&all).unwrap();
        text.push_str(&other[place(other, random.usize(..=other.len()))..]);
    }
    for _ in 0..random.usize(..6) {
        let at = place(&text, random.usize(..=text.len()));
        match text[at..].chars().next().filter(|_| random.bool()) {
            Some(c) => drop(text.drain(at..at + c.len_utf8())),
            None => text.insert_str(at, random.choice(SIGNS).unwrap()),
        }
    }
    text.into_bytes()
}

/// What the marks of a text say makes the search quicker and nothing else: with every finder run over all of it the hits are
/// the same.
#[test]
fn no_finder_is_left_out_that_would_find_something() {
    let scanner = |kinds: &[DetectKind]| Scanner::new(Arc::new(Rules::new(kinds, &[], Action::Mask).unwrap()));
    let mut scanners = [scanner(&kinds("usual")), scanner(&DetectKind::ALL)];
    let texts = leaking().into_iter().chain(lines(INNOCENTS).map(|(_, text)| text)).map(String::into_bytes);
    let mut found = 0;
    for text in texts.chain((0..3000).map(mutated)) {
        for scanner in &mut scanners {
            let (mut quick, mut full) = (Vec::new(), Vec::new());
            scanner.scan(&text, &mut quick);
            scanner.scan_ungated(&text, &mut full);
            assert_eq!(quick, full, "{:?}", String::from_utf8_lossy(&text));
            found += quick.len();
        }
    }
    assert!(found > 2000, "{found}");
}

#[test]
fn a_second_pass_changes_nothing() {
    for (kind, text) in lines(LEAKS) {
        let (given, ..) = marked(&text);
        let once = mask(&kinds(kind), &given);
        assert_eq!(mask(&kinds(kind), &once), once, "{kind}: {given:?}");
        // Nor does one of all kinds tear a placeholder.
        let all = mask(&DetectKind::ALL, &given);
        assert_eq!(mask(&DetectKind::ALL, &all), all, "all: {given:?}");
        assert!(!all.contains("****"), "{all:?}");
    }
}
