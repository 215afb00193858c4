//! The transform: whole events, as lines in and lines out.

use crate::component::plan::TransformPlan;
use crate::component::{Delta, Emitter, Transform};
use crate::event::{Sym, Value};
use crate::settings::read_and_check;
use crate::transforms::harness;
use crate::transforms::redact::RedactConfig;
use std::collections::BTreeMap;

/// The transform of this configuration; panics with the report where it has mistakes.
pub(super) fn transform(yaml: &str) -> Box<dyn Transform> {
    harness::build::<RedactConfig>(&format!("inputs: [app]\n{yaml}")).unwrap()
}

/// What is said of a configuration.
fn said(yaml: &str) -> String {
    let yaml = format!("inputs: [app]\n{yaml}");
    let environment = BTreeMap::<String, String>::new();
    read_and_check::<RedactConfig>("t.yaml", &yaml, &environment, |config, cx| config.check(cx)).1.render()
}

/// The lines that come out, and the hits by rule.
pub(super) fn apply(transform: &mut dyn Transform, lines: &[&str]) -> (Vec<String>, BTreeMap<String, u64>) {
    let ran = harness::run(transform, lines);
    (ran.out, ran.delta.rules.iter().map(|(_, rule, n)| (rule.to_string(), *n)).collect())
}

fn one(yaml: &str, line: &str) -> String {
    apply(&mut *transform(yaml), &[line]).0.remove(0)
}

#[test]
fn every_string_number_and_key_is_searched_at_any_depth() {
    let yaml = "detect: [email, credit_card]";
    for (line, expected) in [
        (r#"{"a":"mail x@y.de","n":4111111111111111,"m":1.10}"#, r#"{"a":"mail ***","n":"***","m":1.10}"#),
        (
            r#"{"a":{"b":[1,{"c":"x@y.de"}, 4111111111111111 ]},"z":null}"#,
            r#"{"a":{"b":[1,{"c":"***"}, "***" ]},"z":null}"#,
        ),
        (r#"{"x@y.de":null,"a":{"k x@y.de":1}}"#, r#"{"***":null,"a":{"k ***":1}}"#),
        (r#"{"a":"x\u0040y.de \"q\" \u00e9"}"#, r#"{"a":"*** \"q\" é"}"#),
        (r#"{"a":{"b\u0040c.de":"x\u0040y.de\n"}}"#, r#"{"a":{"***":"***\n"}}"#),
        (
            r#"{"a":"x@y.de","a":"z@y.de","b":{"c":"x@y.de","c":"x@y.de"}}"#,
            r#"{"a":"***","a":"***","b":{"c":"***","c":"***"}}"#,
        ),
    ] {
        assert_eq!(one(yaml, line), expected);
    }
}

#[test]
fn escapes_of_json_inside_strings_hide_nothing() {
    let yaml = "detect: [secrets, email]";
    for (inner, expected) in [
        (r#"{"u":"/x?token\u003dabc\u0026b\u003d2"}"#, r#"{"u":"/x?token=***&b=2"}"#),
        (r#"{"pass\u0077ord":"x","a":"\u0022"}"#, r#"{"password":"***","a":"\""}"#),
        (r#"{\u0022password\u0022:\u0022x\u0022}"#, r#"{\"password\":\"***\"}"#),
        (r#"{\\u0022password\\u0022:\\u0022x\\u0022}"#, r#"{\\\"password\\\":\\\"***\\\"}"#),
        (r#"{\"\u5bc6\u7801\":\"x\",\"\u540d\":1}"#, r#"{\"密码\":\"***\",\"名\":1}"#),
        (r#"{\u005cu0022token\u005cu0022:1}"#, r#"{\\\"token\\\":\\\"***\\\"}"#),
        (r#"{"a":"{\"m\":\"x\\u0040y.de\"}"}"#, r#"{"a":"{\"m\":\"***\"}"}"#),
        (r"C:\u0041 \u00e9", r"C:\u0041 \u00e9"),
    ] {
        let line = serde_json::json!({"m": inner, "o": {"m": inner}}).to_string();
        let expected = serde_json::json!({"m": expected, "o": {"m": expected}}).to_string();
        assert_eq!(one(yaml, &line), expected);
    }
}

#[test]
fn many_names_of_fields_are_all_searched() {
    let mut transform = transform("detect: [email]");
    for n in 0..3000 {
        let line = format!("{{\"k{n}@x.de\":\"v@x.de\",\"l{n}\":\"v@x.de\"}}");
        let (out, counts) = apply(&mut *transform, &[&line]);
        assert_eq!(out[0], format!("{{\"***\":\"***\",\"l{n}\":\"***\"}}"));
        assert_eq!(counts["email"], 3);
    }
}

#[test]
fn an_event_without_hits_is_the_same_bytes() {
    let line = "{ \"a\" : \"caf\\u00e9 \\/ x\" ,\"n\":1.10, \"o\": {\"k\" :[ 1e5,\"\\n\"] } , \"o\":{}}";
    assert_eq!(one("detect: [secrets, email, credit_card, phone]\nfields: {drop: ['**.q']}", line), line);
}

#[test]
fn fields_whose_key_is_a_secret_are_masked_whole() {
    let yaml = "detect: [secrets]";
    for (line, expected) in [
        (
            r#"{"password":"x y","apiKey":5,"a":{"client_secret":{"k":"v"},"token":[1,2]},"token":null}"#,
            r#"{"password":"***","apiKey":"***","a":{"client_secret":"***","token":"***"},"token":null}"#,
        ),
        (r#"{"pass\u0077ord":"x","a":{"pass\u0077ord":"x"}}"#, r#"{"password":"***","a":{"pass\u0077ord":"***"}}"#),
        (r#"{"user.password":"x","tokens":5,"key":"v"}"#, r#"{"user.password":"***","tokens":5,"key":"v"}"#),
        (
            r#"{"auth":"ok","jwt":"x","cookie":"sid=x","signature":"f(x)","a":{"auth":"failed","bearer":"x"}}"#,
            r#"{"auth":"ok","jwt":"***","cookie":"***","signature":"f(x)","a":{"auth":"failed","bearer":"***"}}"#,
        ),
        (
            r#"{"password ":"x","passwordValue":"x","DB_PASS_OLD":1}"#,
            r#"{"password ":"***","passwordValue":"***","DB_PASS_OLD":"***"}"#,
        ),
        (
            r#"{"password_length":8,"tokenType":"x","secretName":"y"}"#,
            r#"{"password_length":8,"tokenType":"x","secretName":"y"}"#,
        ),
        (r#"{"m":"{\"password\":\"x\",\"a\":[1]}"}"#, r#"{"m":"{\"password\":\"***\",\"a\":[1]}"}"#),
    ] {
        assert_eq!(one(yaml, line), expected);
    }
    assert_eq!(
        one("detect: [secrets]\naction: remove", r#"{"a":1,"password":"x","b":{"token":1,"c":2,"secret":3}}"#),
        r#"{"a":1,"b":{"c":2}}"#
    );
    assert_eq!(
        one("detect: [secrets]\nin: [message]", r#"{"password":"x","message":"token=x"}"#),
        r#"{"password":"x","message":"token=***"}"#
    );
}

#[test]
fn fields_are_dropped_masked_hashed_and_cut_by_path() {
    let yaml = "fields:\n  drop: [request.cookies, 'list[1]', '**.gone']\n  mask: ['**.password']\n  hash: [user.id]\n  \
                keep_last: {n: 4, of: [phone, '*.pan']}\nkey: k";
    for (line, expected) in [
        (r#"{"request":{"cookies":{"a":1},"b":2,"cookies":3},"x":1}"#, r#"{"request":{"b":2},"x":1}"#),
        (r#"{"request.cookies":1,"x":1}"#, r#"{"x":1}"#),
        (r#"{"request":{"cookies":1}}"#, r#"{"request":{}}"#),
        (r#"{"list":[1,2,3],"gone":1}"#, r#"{"list":[1,3]}"#),
        (r#"{"list":[{"gone":1},{"gone":1},{"x":1, "gone":1}]}"#, r#"{"list":[{},{"x":1}]}"#),
        (r#"{"a":{"gone":1, "gone":2 ,"b":3,"gone":4,"gone":5,"c":6}}"#, r#"{"a":{"b":3,"c":6}}"#),
        (
            r#"{"password":1,"a":{"b":{"password":"x"}},"c":[{"password":[1]}]}"#,
            r#"{"password":"***","a":{"b":{"password":"***"}},"c":[{"password":"***"}]}"#,
        ),
        (
            r#"{"phone":"+1 415 555 0132","card":{"pan":4111111111111111,"cvv":"12"},"x":{"pan":{"a":1}}}"#,
            r#"{"phone":"***0132","card":{"pan":"***1111","cvv":"12"},"x":{"pan":"***"}}"#,
        ),
        (r#"{"phone":null,"x":{"pan":"123"}}"#, r#"{"phone":null,"x":{"pan":"***"}}"#),
        (
            r#"{"user":{"id":"é"}}"#,
            r#"{"user":{"id":"3557d7f9a66d0ad76d6ad8a5c0ac1a43cd6ff8ae0b0c6cdbbe2a7d5ca6c1b0b1"}}"#,
        ),
    ] {
        let got = one(yaml, line);
        if line.contains("\"id\"") {
            assert_eq!(got.len(), expected.len(), "{got}");
            assert_eq!(
                got,
                one(yaml, line.replace('é', "\\u00e9").as_str()),
                "the hash is of the text, not of its spelling"
            );
        } else {
            assert_eq!(got, expected);
        }
    }
}

#[test]
fn values_are_masked_that_belong_to_the_name_of_a_secret() {
    for (line, expected) in [
        (r#"{"name":"DB_PASSWORD","value":"x"}"#, r#"{"name":"DB_PASSWORD","value":"***"}"#),
        (r#"{"value":{"a":1},"x":1,"key":"token"}"#, r#"{"value":"***","x":1,"key":"token"}"#),
        (r#"{"name":"bob","value":"x"}"#, r#"{"name":"bob","value":"x"}"#),
        (
            r#"{"env":[{"name":"DB_PASSWORD","value":"x y"},{"name":"A","value":"x"}]}"#,
            r#"{"env":[{"name":"DB_PASSWORD","value":"***"},{"name":"A","value":"x"}]}"#,
        ),
        (r#"{"a":[{"key":"api_key","value":{"stringValue":"x"}}]}"#, r#"{"a":[{"key":"api_key","value":"***"}]}"#),
        (r#"{"h":[["Authorization","Bearer x"],["Host","h"]]}"#, r#"{"h":[["Authorization","***"],["Host","h"]]}"#),
        (r#"{"h":[["password",5],["a",5]]}"#, r#"{"h":[["password","***"],["a",5]]}"#),
        (r#"{"required":["user","password","email"]}"#, r#"{"required":["user","password","email"]}"#),
    ] {
        assert_eq!(one("detect: [secrets]", line), expected);
    }
    let line = r#"{"name":"token","value":"x","a":{"name":"token","value":"x"}}"#;
    assert_eq!(one("detect: [secrets]\naction: remove", line), r#"{"name":"token","a":{"name":"token"}}"#);
    assert_eq!(one("detect: [secrets]\nin: [message]", line), line);
}

#[test]
fn only_what_is_in_and_not_excepted_is_searched() {
    let line = r#"{"a":"x@y.de","b":{"c":"x@y.de","d":{"e":"x@y.de","x@y.de":1}},"f":["x@y.de"]}"#;
    assert_eq!(
        one("detect: [email]\nin: [a, b.d]", line),
        r#"{"a":"***","b":{"c":"x@y.de","d":{"e":"***","***":1}},"f":["x@y.de"]}"#
    );
    assert_eq!(
        one("detect: [email]\nexcept: [a, b.d]", line),
        r#"{"a":"x@y.de","b":{"c":"***","d":{"e":"x@y.de","x@y.de":1}},"f":["***"]}"#
    );
    assert_eq!(
        one("detect: [email]\nin: [b]\nexcept: ['**.e']", line),
        r#"{"a":"x@y.de","b":{"c":"***","d":{"e":"x@y.de","***":1}},"f":["x@y.de"]}"#
    );
    assert_eq!(
        one("detect: [email]\nin: ['f[0]']", line),
        r#"{"a":"x@y.de","b":{"c":"x@y.de","d":{"e":"x@y.de","x@y.de":1}},"f":["***"]}"#
    );
}

#[test]
fn values_made_by_other_components_are_searched_too() {
    let mut batch = harness::batch_at(&[r#"{"a":1}"#], 0);
    let mut event = batch.event_mut(0);
    event.push(Sym::from_config("n"), Value::I64(4_111_111_111_111_111));
    event.push(Sym::from_config("s"), Value::from("say \"x@y.de\""));
    event.push(Sym::from_config("t"), Value::Timestamp(0));
    let (mut delta, mut json) = (Delta::default(), Vec::new());
    let mut transform = transform("detect: [credit_card, email]\nfields: {mask: [t]}");
    transform.apply(&mut batch, &mut Emitter::new("clean", true, &mut delta, &mut json));
    let mut out = Vec::new();
    batch.event(0).write_json(&mut out);
    assert_eq!(String::from_utf8(out).unwrap(), r#"{"a":1,"n":"***","s":"say \"***\"","t":"***"}"#);
}

#[test]
fn what_was_found_is_counted_by_rule() {
    let yaml = "detect: [email, secrets]\npatterns: [{name: badge, regex: 'B-\\d+', replace: B}, {regex: 'C-\\d+'}]\nfields: {drop: [d]}";
    let mut transform = transform(yaml);
    let lines = [r#"{"a":"x@y.de B-1 B-2 C-3","d":1,"password":"p"}"#, r#"{"b":["x@y.de","token=t"]}"#, r#"{"c":1}"#];
    let (texts, counts) = apply(&mut *transform, &lines);
    assert_eq!(texts, [r#"{"a":"*** B B ***","password":"***"}"#, r#"{"b":["***","token=***"]}"#, r#"{"c":1}"#]);
    let wanted = [("badge", 2), ("email", 2), ("fields.drop", 1), ("pattern_2", 1), ("secrets", 2)];
    assert_eq!(counts, wanted.map(|(k, n)| (k.to_owned(), n)).into());
    assert_eq!(apply(&mut *transform, &[r#"{"c":1}"#]).1, BTreeMap::new());
    assert_eq!(apply(&mut *transform.fork(), &[r#"{"c":"x@y.de"}"#]).1, [("email".to_owned(), 1)].into());
}

#[test]
fn deep_nesting_needs_no_stack() {
    let line = format!("{}\"x@y.de\"{}", "{\"a\":".repeat(120), "}".repeat(120));
    assert_eq!(one("detect: [email]", &line), line.replace("x@y.de", "***"));
    assert_eq!(one("fields: {mask: ['**.a']}", &line), r#"{"a":"***"}"#);
}

#[test]
fn mistakes_in_the_configuration_are_all_placed() {
    let yaml = r#"detect: [secrets, emial]
patterns:
  - {name: a, regex: '[0-9'}
  - {name: b, regex: '(x)', replace: '$2'}
  - {name: c, regex: '\w{1000}{100}'}
fields: {drop: ['a..b', '@file'], hsah: [x], keep_last: {n: 4}}
"#;
    insta::assert_snapshot!(said(yaml));
    insta::assert_snapshot!(said(
        "action: hash\nfields: {hash: [a]}\nkey: ''\npatterns: [{regex: '(x)', replace: '$2'}]"
    ));
    insta::assert_snapshot!(said("except: [a]"));
}

/// A number to log in with has four to eight digits; a pin of a chip or a board has fewer, or is not a number.
#[test]
fn pins_in_fields_are_masked_where_they_are_numbers_to_log_in_with() {
    let yaml = "detect: [secrets]";
    for (line, expected) in [
        (r#"{"pin":"4821","n":1}"#, r#"{"pin":"***","n":1}"#),
        (r#"{"pin":4821,"n":1}"#, r#"{"pin":"***","n":1}"#),
        (r#"{"user":{"card_pin":"48217"}}"#, r#"{"user":{"card_pin":"***"}}"#),
        (r#"{"pin":13,"n":1}"#, r#"{"pin":13,"n":1}"#),
        (r#"{"led":{"pin":13},"pin":true}"#, r#"{"led":{"pin":13},"pin":true}"#),
        (r#"{"pin":"to top"}"#, r#"{"pin":"to top"}"#),
    ] {
        assert_eq!(one(yaml, line), expected);
    }
}

/// Each argument is an element of its own: that behind an option, the rest of one, and what a variable is set to.
#[test]
fn arguments_in_lists_of_an_event_are_masked() {
    for (line, expected) in [
        (r#"{"a":["job","--api-token","x-1","-v"]}"#, r#"{"a":["job","--api-token","***","-v"]}"#),
        (
            r#"{"p":{"argv":["mysql","-uroot","-pSesame 1","shop"]}}"#,
            r#"{"p":{"argv":["mysql","-uroot","-p***","shop"]}}"#,
        ),
        (r#"{"a":["curl","-u","bob@x.de:pw-1","https://h"]}"#, r#"{"a":["curl","-u","***:***","https://h"]}"#),
        (r#"{"a":["redis-server", "--requirepass", "x-2"]}"#, r#"{"a":["redis-server", "--requirepass", "***"]}"#),
        (r#"{"env":["PATH=/bin","DB_PASSWORD=Oak Barrel=7&x"]}"#, r#"{"env":["PATH=/bin","DB_PASSWORD=***"]}"#),
        (r#"{"a":["app","--db-password=a b&\"c"]}"#, r#"{"a":["app","--db-password=***"]}"#),
        (r#"{"a":["app","--password","--verbose"]}"#, r#"{"a":["app","--password","--verbose"]}"#),
        (r#"{"a":["ssh","-p","2222","h"],"b":"--password"}"#, r#"{"a":["ssh","-p","2222","h"],"b":"--password"}"#),
    ] {
        assert_eq!(one("detect: [secrets, email]", line), expected);
    }
}

#[test]
fn what_says_that_there_is_no_secret_stays_in_fields_too() {
    for line in [
        r#"{"password":false,"auth":true,"secret":"","token":null}"#,
        r#"{"password":"[REDACTED]","a":{"authorization":"Bearer [REDACTED]","secret":"***"}}"#,
        r#"{"secret_id":"my-secret","n":1}"#,
    ] {
        assert_eq!(one("detect: [secrets]", line), line);
    }
    let line = r#"{"field":"password","old":"x","new":"y","secret_id":"c891f813-a9df-632f-3f60-d7c98cf16c35"}"#;
    assert_eq!(one("detect: [secrets]", line), r#"{"field":"password","old":"***","new":"***","secret_id":"***"}"#);
}
