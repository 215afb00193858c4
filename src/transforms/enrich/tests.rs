#![allow(clippy::unwrap_used, clippy::print_stderr)]
use super::super::harness::{self, run as apply};
use super::*;
use serde_json::{Value as Json, json};

fn build(settings: &str) -> Result<Box<dyn Transform>, BuildError> {
    harness::build::<EnrichConfig>(&format!("inputs: [x]\n{settings}"))
}

fn mistakes(settings: &str) -> String {
    harness::plan::<EnrichConfig>(&format!("inputs: [x]\n{settings}")).err().unwrap_or_default()
}

/// One event through a fresh transform, which must pass it on without a mistake.
fn one(settings: &str, line: &str) -> String {
    let ran = apply(&mut *build(settings).unwrap(), &[line]);
    assert_eq!((ran.delta.errors, ran.rejected), (vec![], vec![]));
    ran.out.into_iter().next().unwrap()
}

fn enriched(settings: &str, line: &str) -> Json {
    serde_json::from_str(&one(settings, line)).unwrap()
}

#[test]
fn constants_and_templates_are_set_in_order() {
    let got = one(
        "fields: {env: prod, n: 1.10, deep: {a: [1, {b: x}], t: '{{ a }}-{{ b.c | default(\"none\") }}'}, a: '{{ a }}!', 'x.y': null}",
        r#"{"a": "q\"","k":1}"#,
    );
    assert_eq!(
        got,
        r#"{"a":"q\"!","k":1,"env":"prod","n":1.10,"deep":{"a":[1,{"b":"x"}],"t":"q\"-none"},"x":{"y":null}}"#
    );
}

#[test]
fn a_template_whose_field_is_absent_sends_the_event_to_rejected() {
    let mut transform = build("fields: {env: dev, b: '{{ a }}'}").unwrap();
    let outcome = apply(&mut *transform, &[r#"{"x":1}"#, r#"{"a":2}"#]);
    assert_eq!(outcome.out, [r#"{"a":2,"env":"dev","b":"2"}"#]);
    // As it came, without what was added before.
    assert!(outcome.rejected[0].contains(r#""reason":"template","detail":"the event has no field `a`""#));
    assert!(outcome.rejected[0].contains(r#""event":{"x":1}"#));
}

#[test]
fn host_and_app_fill_in_and_leave_what_is_there() {
    let got = enriched(
        "host: true\napp: {name: shop, version: '1.0', environment: prod, pid: 7}",
        r#"{"host":{"name":"x","zone":1}}"#,
    );
    assert_eq!((&got["host"]["name"], &got["host"]["zone"]), (&json!("x"), &json!(1)));
    assert!(got["host"]["cpus"].as_u64().unwrap() > 0);
    assert_eq!(got["app"], json!({"name": "shop", "version": "1.0", "environment": "prod", "pid": 7}));
    let got = enriched("host: true", "{}");
    assert_eq!((&got["host"]["name"], &got["host"]["os"]), (&json!("h"), &json!(std::env::consts::OS)));
}

#[test]
fn a_target_that_is_no_object_is_left_alone_and_counted() {
    let mut transform = build("host: true").unwrap();
    let outcome = apply(&mut *transform, &[r#"{"host":"web9"}"#, r#"{"host":null}"#]);
    assert_eq!(outcome.out[0], r#"{"host":"web9"}"#);
    assert!(outcome.out[1].starts_with(r#"{"host":{"name":"h""#));
    assert_eq!(outcome.delta.errors, [("enrich_target", 1)]);
}

fn database(name: &str) -> Option<String> {
    let path = crate::test_data::shared_path(&format!("geo/{name}.mmdb"));
    path.exists().then(|| path.display().to_string()).or_else(|| {
        eprintln!("skipped: {}", path.display());
        None
    })
}

#[test]
fn places_and_networks_are_added_and_private_addresses_pass() {
    let (Some(city), Some(asn)) = (database("GeoIP2-City-Test"), database("GeoLite2-ASN-Test")) else { return };
    let settings = format!("geoip: [{{from: ip, database: {city}}}, {{from: ip, database: {asn}, to: geo}}]");
    let mut transform = build(&settings).unwrap();
    let lines = [
        r#"{"ip":"81.2.69.160"}"#,
        r#"{"ip":"1.128.0.1"}"#,
        r#"{"ip":"192.168.1.1"}"#,
        r#"{"ip":"none"}"#,
        r#"{"ip":7}"#,
        r#"{}"#,
        r#"{"ip":"81.2.69.160","geo":{"country_code":"XX","own":1}}"#,
    ];
    let mut fork = transform.fork();
    for transform in [&mut transform, &mut fork] {
        // The second time every answer comes from the cache.
        for _ in 0..2 {
            let outcome = apply(&mut **transform, &lines);
            let got: Vec<Json> = outcome.out.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!((&got[0]["geo"]["country_code"], &got[0]["geo"]["city_name"]), (&json!("GB"), &json!("London")));
            assert_eq!(got[1]["geo"]["asn"], 1221);
            assert_eq!(outcome.out[2..6], lines[2..6]);
            assert_eq!((&got[6]["geo"]["country_code"], &got[6]["geo"]["own"]), (&json!("XX"), &json!(1)));
            assert_eq!(got[6]["geo"]["city_name"], "London");
            assert_eq!(outcome.delta.errors, [("geoip_address", 2)]);
        }
    }
}

#[test]
fn a_database_that_is_missing_stops_the_start_and_names_the_file() {
    let error = build("geoip: {from: ip, database: /nonexistent/x.mmdb}").err().unwrap();
    assert!(error.to_string().contains("/nonexistent/x.mmdb"), "{error}");
}

#[test]
fn user_agents_are_taken_apart() {
    let got = enriched(
        "user_agent: {from: request.ua, to: ua}",
        r#"{"request":{"ua":"Mozilla\/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0"}}"#,
    );
    assert_eq!(got["ua"]["browser"], json!({"family": "Firefox", "major": "125", "minor": "0"}));
    assert_eq!(got["ua"]["engine"], "Gecko");
}

#[test]
fn records_of_tables_are_added_and_misses_go_as_they_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let table = dir.path().join("users.csv");
    std::fs::write(&table, "id,name,tier\n7,Ann,gold\n").unwrap();
    let table = table.display();
    let run = |settings: &str, lines: &[&str]| {
        let settings = settings.replace("TABLE", &table.to_string());
        apply(&mut *build(&settings).unwrap(), lines)
    };
    let outcome = run("lookup: {key: user, table: TABLE, to: customer}", &[r#"{"user":7}"#, r#"{"user":"8"}"#, "{}"]);
    assert_eq!(outcome.out, [r#"{"user":7,"customer":{"name":"Ann","tier":"gold"}}"#, r#"{"user":"8"}"#, "{}"]);
    assert_eq!(outcome.delta.errors, [("lookup_miss", 2)]);
    let outcome =
        run("lookup: {key: '{{ user }}', table: TABLE, fields: {tier: level}}", &[r#"{"user":"7","level":1}"#]);
    assert_eq!(outcome.out, [r#"{"user":"7","level":"gold"}"#]);
    let outcome = run(
        "lookup: {key: user, table: TABLE, fields: [name], to: u, on_miss: drop}",
        &[r#"{"user":"7","u":{"name":0,"z":1}}"#, r#"{"user":1}"#],
    );
    assert_eq!(outcome.out, [r#"{"user":"7","u":{"z":1,"name":"Ann"}}"#]);
    assert_eq!(outcome.delta.dropped, [("lookup_miss", 1)]);
    let outcome = run("lookup: {key: user, table: TABLE, on_miss: {default: {tier: free}}}", &[r#"{"user":"1"}"#]);
    assert_eq!(outcome.out, [r#"{"user":"1","tier":"free"}"#]);
    let outcome = run(
        "lookup: {when: 'user == \"9\"', key: user, table: TABLE, on_miss: reject}",
        &[r#"{"user":"7"}"#, r#"{"user":"9"}"#, "{}"],
    );
    assert_eq!(outcome.out, [r#"{"user":"7"}"#, "{}"]);
    assert!(outcome.rejected[0].contains("lookup_miss"));
    assert_eq!(outcome.delta.errors, [("condition_absent", 1)]);
}

#[test]
fn mistakes_are_found_when_the_file_is_read() {
    let report =
        mistakes("fields: {'a..b': 1, c: '{{ d'}\ngeoip: {from: 'x.'}\nlookup: {key: k, table: t.csv, on_mis: keep}");
    for part in ["bad template", "`database`", "from", "did you mean `on_miss`"] {
        assert!(report.contains(part), "{part}\n{report}");
    }
    let report = mistakes("fields: {'a..b': 1, '@file': x}");
    assert!(report.contains("`a..b` is not a field path") && report.contains("`@file` is metadata"), "{report}");
}

/// A file, replaced as a whole, and a transform that reads it again within milliseconds.
struct Reloading {
    dir: tempfile::TempDir,
    name: &'static str,
}

impl Reloading {
    fn new(name: &'static str, content: &[u8]) -> Reloading {
        let reloading = Reloading { dir: tempfile::tempdir().unwrap(), name };
        reloading.put(content);
        reloading
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(self.name)
    }

    fn put(&self, content: &[u8]) {
        std::fs::write(self.dir.path().join("new"), content).unwrap();
        std::fs::rename(self.dir.path().join("new"), self.path()).unwrap();
    }
}

const SOON: std::time::Duration = std::time::Duration::from_millis(3);

/// Waits until `done` holds.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = crate::time::clock::monotonic() + std::time::Duration::from_secs(20);
    while !done() {
        assert!(crate::time::clock::monotonic() < deadline, "{what}: nothing happened in 20 seconds");
        std::thread::sleep(SOON);
    }
}

/// Each of `bad` in turn is refused at the start and leaves what `good` gave in use later, once counted.
fn keeps_what_it_has<T: Send + Sync + 'static>(
    name: &'static str,
    good: &[u8],
    only_later: &[&[u8]],
    always: &[&[u8]],
    load: impl Fn(&std::path::Path, Option<&T>) -> Result<T, watched::FileError> + Send + Sync + Clone + 'static,
    is_good: impl Fn(&T) -> bool,
) {
    let file = Reloading::new(name, good);
    let mut watched = Watched::open(&file.path(), SOON, load.clone()).unwrap();
    for (n, bad) in only_later.iter().chain(always).enumerate() {
        let shown = String::from_utf8_lossy(&bad[..bad.len().min(60)]).into_owned();
        let fresh = Reloading::new(name, bad);
        assert_eq!(load(&fresh.path(), None).is_err(), n >= only_later.len(), "at the start: {shown}");
        file.put(bad);
        until(&shown, || watched.refused() == 1);
        assert!(!watched.refresh() && is_good(watched.value()), "{shown}");
    }
    std::fs::remove_file(file.path()).unwrap();
    until("gone", || watched.refused() == 1);
    assert!(!watched.refresh() && is_good(watched.value()));
    file.put(good);
    until("good again", || watched.refresh());
    assert!(is_good(watched.value()));
}

#[test]
fn a_table_that_became_less_does_not_take_the_place_of_the_good_one() {
    let form = |settings: &str| {
        let plan = harness::plan::<EnrichConfig>(&format!("inputs: [x]\nlookup: {{key: k, {settings}}}")).unwrap();
        let lookup = &plan.lookup.0[0];
        Form::of(&lookup.table, lookup.fields.as_ref())
    };
    let is_good = |key: &'static [u8]| move |table: &lookup::Table| table.get(key).is_some();
    let loading = |form: Form| move |path: &std::path::Path, old: Option<&lookup::Table>| form.load(path, old);
    // An empty file, only the columns, without a column of `fields`, cut in a record; the key's column elsewhere or gone, and
    // cut in a value, can be told only beside the table before.
    keeps_what_it_has(
        "t.csv",
        b"id,name,tier\nu1,Ann,gold\nu2,Bob,free\n",
        &[b"name,id,tier\nAnn,u1,gold\n", b"uid,name,tier\nu1,Ann,gold\n", b"id,name,tier\nu1,Ann,gold\nu2,Bob,fr"],
        &[b"", b"\n", b"id,name,tier\n", b"id,name\nu1,Ann\n", b"id,name,tier\nu1,Ann,gold\nu2,B"],
        loading(form("table: t.csv, fields: [name, tier]")),
        is_good(b"u1"),
    );
    keeps_what_it_has(
        "t.csv",
        b"name,id\nAnn,u1\n",
        &[],
        &[b"", b"name,id\n", b"name,uid\nAnn,u1\n", b"name\nAnn\n"],
        loading(form("table: {file: t.csv, key: id}")),
        is_good(b"u1"),
    );
    keeps_what_it_has(
        "t.ndjson",
        b"{\"id\":\"u1\",\"name\":\"Ann\"}\n{\"id\":\"u2\"}\n",
        &[b"{\"name\":\"Ann\",\"id\":\"u1\"}\n", b"{\"id\":\"u1\",\"name\":\"Ann\"}"],
        &[
            b"",
            b"\n\n",
            b"{\"id\":\"u1\"}\n",
            b"{\"id\":\"u1\",\"name\":\"Ann\"}\n{\"id\"",
            b"{\"id\":null,\"name\":\"Ann\"}\n",
        ],
        loading(form("table: t.ndjson, fields: {name: customer}")),
        is_good(b"u1"),
    );
    for good in [&b"{\"u1\":{\"name\":\"Ann\"}}"[..], b"[{\"id\":\"u1\",\"name\":\"Ann\"}]"] {
        keeps_what_it_has(
            "t.json",
            good,
            &[],
            &[b"", b"{}", b"[]", b"null", b"{\"u1\":{}}", &good[..good.len() - 1], b"[{\"id\":\"u1\"}]"],
            loading(form("table: t.json, fields: [name]")),
            is_good(b"u1"),
        );
    }
}

#[test]
fn a_table_that_may_be_empty_may_become_so() {
    let plan = harness::plan::<EnrichConfig>(
        "inputs: [x]\nlookup: {key: k, table: {file: t.csv, allow_empty: true}, fields: [why]}",
    )
    .unwrap();
    let form = Form::of(&plan.lookup.0[0].table, plan.lookup.0[0].fields.as_ref());
    let file = Reloading::new("t.csv", b"ip,why\n192.0.2.1,spam\n");
    let mut watched = Watched::open(&file.path(), SOON, move |path, old| form.load(path, old)).unwrap();
    file.put(b"ip,why\n");
    until("it is empty", || watched.refresh());
    assert!(watched.value().get(b"192.0.2.1").is_none());
    file.put(b"");
    until("not even columns", || watched.refused() == 1);
}

#[test]
fn patterns_that_became_less_do_not_take_the_place_of_the_good_ones() {
    let list = |name: &str, regex: &str| format!("{name}:\n  - regex: '{regex}'\n");
    let [browsers, systems, devices] = ["user_agent_parsers", "os_parsers", "device_parsers"].map(|n| list(n, "(Fox)"));
    let good = [&*browsers, &systems, &devices].concat();
    let none = "user_agent_parsers: []\nos_parsers: []\ndevice_parsers: []\n";
    let one = [&*browsers, "os_parsers: []\n", &devices].concat();
    let broken = [&*browsers, &systems, &list("device_parsers", "(Fox")].concat();
    keeps_what_it_has(
        "regexes.yaml",
        good.as_bytes(),
        &[one.as_bytes(), &good.as_bytes()[..good.len() - 1]],
        &[b"", none.as_bytes(), [&*browsers, &*systems].concat().as_bytes(), broken.as_bytes()],
        Table::load,
        |table| {
            let mut out = Vec::new();
            user_agent::describe(table, b"Fox", &mut Scratch::default(), &mut out);
            String::from_utf8(out).unwrap().contains(r#""os":{"family":"Fox""#)
        },
    );
}

#[test]
fn a_database_that_is_less_does_not_take_the_place_of_the_good_one() {
    let (Some(city), Some(asn)) = (database("GeoIP2-City-Test"), database("GeoLite2-ASN-Test")) else { return };
    let (city, asn) = (std::fs::read(city).unwrap(), std::fs::read(asn).unwrap());
    // In the middle of being written in its place: the metadata at its end is there, what lies before is not.
    let mut hollow = city.clone();
    let tree = hollow.len() / 2;
    hollow[..tree].fill(0xff);
    keeps_what_it_has(
        "x.mmdb",
        &city,
        &[&asn, &hollow],
        &[b"", &city[..city.len() / 2], b"not a database"],
        Database::open,
        |database| database.describe(b"81.2.69.160", &mut Vec::new()) == Answer::Found,
    );
}

#[test]
fn a_refused_change_is_counted_by_the_transform() {
    let file = Reloading::new("users.csv", b"id,name\n7,Ann\n");
    let settings = format!("lookup: {{key: user, table: {}, to: u}}", file.path().display());
    let mut transform = build(&settings).unwrap();
    file.put(b"");
    until("counted", || apply(&mut *transform, &[r#"{"user":7}"#]).delta.errors == [("reload", 1)]);
    let ran = apply(&mut *transform, &[r#"{"user":7}"#]);
    assert_eq!((ran.out, ran.delta.errors), (vec![r#"{"user":7,"u":{"name":"Ann"}}"#.to_owned()], vec![]));
}

#[test]
fn a_table_that_has_nothing_stops_the_start() {
    let file = Reloading::new("users.csv", b"id,name\n");
    let said = |fields: &str| {
        let settings = format!("lookup: {{key: user, table: {}{fields}}}", file.path().display());
        build(&settings).err().unwrap().words()
    };
    assert!(said("").contains("users.csv: it has no records"), "{}", said(""));
    file.put(b"id,name\n7,Ann\n");
    assert!(said(", fields: [nmae]").contains("there is no column `nmae`"), "{}", said(", fields: [nmae]"));
}
