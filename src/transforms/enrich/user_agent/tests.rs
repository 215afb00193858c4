#![allow(clippy::unwrap_used, clippy::print_stderr)]
use super::*;
use serde_json::Value as Json;
use std::sync::LazyLock;

static BUILTIN: LazyLock<Table> = LazyLock::new(|| Table::builtin().unwrap());

fn described(table: &Table, text: &str) -> Json {
    let mut out = Vec::new();
    describe(table, text.as_bytes(), &mut Scratch::default(), &mut out);
    serde_json::from_slice(&out).unwrap()
}

/// How many cases of a set have every asserted part right.
fn score(table: &Table, set: &str, part: &str, counts: impl Fn(&str) -> bool) -> Option<(usize, usize)> {
    let text = crate::test_data::shared(&format!("useragent/test_{set}_subset.jsonl"))?;
    let (mut passed, mut total) = (0, 0);
    for line in text.lines() {
        let case: Json = serde_json::from_str(line).unwrap();
        let text = case["user_agent"].as_str().unwrap();
        if !counts(text) {
            continue;
        }
        let got = described(table, text);
        let want = case["expected"].as_object().unwrap();
        // The fourth part of a version is not one of ours.
        let ok = want.iter().filter(|(key, _)| *key != "patch_minor").all(|(key, want)| got[part][key] == *want);
        passed += usize::from(ok);
        total += 1;
        if !ok && std::env::var_os("TIDEGATE_SHOW").is_some() {
            eprintln!("{set}: {} {} not {}", case["user_agent"], got[part], case["expected"]);
        }
    }
    Some((passed, total))
}

#[test]
fn uap_core_cases_pass_with_its_own_table() {
    let Some(text) = crate::test_data::shared("useragent/regexes.yaml") else { return };
    let table = Table::parse(&text).unwrap();
    eprintln!("user agents: patterns without literals {:?}", table.always());
    for (set, part, floor) in [("ua", "browser", 160), ("os", "os", 120), ("device", "device", 160)] {
        let Some((passed, total)) = score(&table, set, part, |_| true) else { return };
        eprintln!("user agents, regexes.yaml, {set}: {passed} of {total}");
        assert!(passed >= floor, "{set}: {passed} of {total}");
    }
}

#[test]
fn the_built_in_table_does_not_get_worse() {
    // The cases are picked at random from uap-core's, nearly all of them rare or long gone.
    for (set, part, floor) in [("ua", "browser", 133), ("os", "os", 93), ("device", "device", 18)] {
        let Some((passed, total)) = score(&BUILTIN, set, part, |_| true) else { return };
        eprintln!("user agents, built in, {set}: {passed} of {total}");
        assert!(passed >= floor, "{set}: {passed} of {total}");
    }
}

/// What names itself so was gone by 2020: browsers and systems whose last version is older than that, or which are so old a
/// version that hardly anyone had it still. All else counts as in use since then.
const GONE: &[&str] = &[
    r"MSIE",
    r"Trident",
    r"chromeframe",
    r"BREW",
    r"BMP/",
    r"Symbian",
    r"Series ?60",
    r"Nokia",
    r"MIDP",
    r"UP\.Browser",
    r"NetFront",
    r"Presto",
    r"Opera[/ ]",
    r"WebTV",
    r"Netscape",
    r"Win ?(9x|3\.1|95|98)",
    r"Windows (98|95|CE|XP)",
    r"Windows NT [45]\.",
    r"Android[ /-]?[1-6]\b",
    r"HbbTV/1\.[0-2]",
    r"Linux 2\.",
    r"rv:[0-9]\.",
    r"rv:2[0-9]\.",
    r"iPhone OS [1-9]_",
    r"iPhone OS 1[01]_",
    r"CPU OS [1-9]_",
    r"OS\+[1-9]_",
    r"CFNetwork/[1-9]\d\d[. ]",
    r"Darwin/1\d\.",
    r"Mac OS X[ /]10[._][0-9]\b",
    r"OS X[ /]10[._]10",
    r"Chrome/[1-7]\d?\.",
    r"Chrome/[1-9]\.",
    r"Firefox/[1-9]\.",
    r"Firefox/[1-6]\d\.",
    r"JUC",
    r"UCWEB",
    r"Kindle/[123]\.",
    r"GoogleTV",
    r"Darwin/10",
];

#[test]
fn of_browsers_and_systems_in_use_since_2020_most_are_known() {
    let gone = regex_automata::meta::Regex::new(&GONE.join("|")).unwrap();
    let (mut passed, mut total) = (0, 0);
    for (set, part) in [("ua", "browser"), ("os", "os")] {
        let Some(of_set) = score(&BUILTIN, set, part, |text| !gone.is_match(text)) else { return };
        eprintln!("user agents in use since 2020, built in, {set}: {} of {}", of_set.0, of_set.1);
        (passed, total) = (passed + of_set.0, total + of_set.1);
    }
    assert!(total >= 150 && passed * 100 >= total * 85, "{passed} of {total}");
}

#[test]
fn programs_of_apples_systems_are_told_by_their_kernel() {
    for (text, family, version) in [
        ("App/1 CFNetwork/1568.100.1 Darwin/24.0.0", "iOS", "18 0"),
        ("Bank/7.1 CFNetwork/3826.400.120 Darwin/24.3.0", "iOS", "18 3"),
        ("App/1 CFNetwork/1240.0.4 Darwin/20.6.0", "iOS", "14 8"),
        ("Mail/3731 CFNetwork/1494.0.7 Darwin/23.4.0 (x86_64)", "Mac OS X", "14 "),
        ("curl/8.7.1", "Other", " "),
    ] {
        let got = described(&BUILTIN, text);
        let part = |name: &str| got["os"][name].as_str().unwrap_or_default().to_owned();
        assert_eq!(
            (part("family"), part("major") + " " + &part("minor")),
            (family.to_owned(), version.to_owned()),
            "{text}"
        );
    }
}

#[test]
fn common_user_agents_are_known_without_a_file() {
    let cases = [
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.6367.91 Safari/537.36 Edg/124.0.2478.67",
            r#"{"browser":{"family":"Edge","major":"124","minor":"0","patch":"2478"},"os":{"family":"Windows","major":"10"},"device":{"family":"Other"},"engine":"Blink"}"#,
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Mobile/15E148 Safari/604.1",
            r#"{"browser":{"family":"Mobile Safari","major":"17","minor":"4"},"os":{"family":"iOS","major":"17","minor":"4","patch":"1"},"device":{"family":"iPhone","brand":"Apple","model":"iPhone"},"engine":"WebKit"}"#,
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
            r#"{"browser":{"family":"Chrome","major":"126","minor":"0","patch":"0"},"os":{"family":"Windows","major":"10"},"device":{"family":"Other"},"engine":"Blink"}"#,
        ),
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
            r#"{"browser":{"family":"Chrome","major":"126","minor":"0","patch":"0"},"os":{"family":"Linux"},"device":{"family":"Other"},"engine":"Blink"}"#,
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
            r#"{"browser":{"family":"Chrome","major":"126","minor":"0","patch":"0"},"os":{"family":"Mac OS X","major":"10","minor":"15","patch":"7"},"device":{"family":"Mac","brand":"Apple","model":"Mac"},"engine":"Blink"}"#,
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15",
            r#"{"browser":{"family":"Safari","major":"17","minor":"5"},"os":{"family":"Mac OS X","major":"10","minor":"15","patch":"7"},"device":{"family":"Mac","brand":"Apple","model":"Mac"},"engine":"WebKit"}"#,
        ),
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
            r#"{"browser":{"family":"Chrome","major":"126","minor":"0","patch":"0"},"os":{"family":"Android","major":"10"},"device":{"family":"K","brand":"Generic","model":"K"},"engine":"Blink"}"#,
        ),
        (
            "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0",
            r#"{"browser":{"family":"Firefox","major":"125","minor":"0"},"os":{"family":"Ubuntu"},"device":{"family":"Other"},"engine":"Gecko"}"#,
        ),
        (
            "Mozilla/5.0 (Linux; Android 14; SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Mobile Safari/537.36",
            r#"{"browser":{"family":"Chrome Mobile","major":"124","minor":"0","patch":"0"},"os":{"family":"Android","major":"14"},"device":{"family":"Samsung SM-S918B","brand":"Samsung","model":"SM-S918B"},"engine":"Blink"}"#,
        ),
        (
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            r#"{"browser":{"family":"Googlebot","major":"2","minor":"1"},"os":{"family":"Other"},"device":{"family":"Spider","brand":"Spider","model":"Desktop"}}"#,
        ),
        (
            "curl/8.5.0",
            r#"{"browser":{"family":"curl","major":"8","minor":"5","patch":"0"},"os":{"family":"Other"},"device":{"family":"Other"}}"#,
        ),
        ("", r#"{"browser":{"family":"Other"},"os":{"family":"Other"},"device":{"family":"Other"}}"#),
    ];
    for (text, want) in cases {
        let mut out = Vec::new();
        describe(&BUILTIN, text.as_bytes(), &mut Scratch::default(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), want, "{text}");
    }
}

#[test]
fn a_file_that_is_no_table_says_why() {
    for (text, want) in [
        ("a: [", "not a table"),
        ("user_agent_parsers: []\n", "os_parsers"),
        (
            "user_agent_parsers:\n  - regex: '('\nos_parsers: []\ndevice_parsers: []\n",
            "pattern 1 of `user_agent_parsers` is not usable",
        ),
        ("user_agent_parsers:\n  - family_replacement: x\nos_parsers: []\ndevice_parsers: []\n", "no `regex`"),
    ] {
        let why = Table::parse(text).unwrap_err().to_string();
        assert!(why.contains(want), "{why}");
    }
}

#[test]
fn a_hostile_text_is_cut_and_stays_valid() {
    let text = "Mozilla/5.0 (Linux; Android 9; é".to_owned() + &"\u{e9}".repeat(100_000) + " Build/x)";
    let got = described(&BUILTIN, &text);
    assert!(got["os"]["family"] == "Android" && got.to_string().len() < 8192);
}
