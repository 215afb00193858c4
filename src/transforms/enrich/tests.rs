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
    assert!(report.contains("`a..b` is no field path") && report.contains("`@file` is metadata"), "{report}");
}
