//! The crate in other programs: the examples, which are compiled in here and say what they should, and what the examples leave out.

use crate::agent::eventually;
use serde_json::{Value as Json, json};
use std::sync::{Arc, Mutex};
use tidegate::{Components, Events, Fate, Feed, Field, Pipeline, Sink, Source};

#[allow(dead_code, reason = "its `main` is for the program")]
#[path = "../../examples/lines_in_memory.rs"]
mod lines_in_memory;
#[allow(dead_code, reason = "its `main` is for the program")]
#[path = "../../examples/own_components.rs"]
mod own_components;

#[test]
fn a_pipeline_with_a_source_and_a_sink_of_ones_own_says_its_sum() {
    let mut out = Vec::new();
    own_components::run(&mut out).unwrap();
    let want = "shop: 1000 in, 1000 out, 0 dropped
large: 1000 in, 100 out, 900 dropped
total: 100 in, 100 out, 0 dropped
sum of the large orders: 95050
";
    assert_eq!(String::from_utf8(out).unwrap(), want);
}

#[test]
fn the_transforms_over_lines_in_memory_say_what_reaches_the_sink() {
    let mut out = Vec::new();
    lines_in_memory::run(&mut out).unwrap();
    let want = r#"out: {"path":"/cart","status":200,"message":"ok"}
out: {"path":"/login","status":500,"message":"no such user password=***","fault":"server"}
"#;
    assert_eq!(String::from_utf8(out).unwrap(), want);
}

/// Puts out numbered lines until it is told to stop, and hears what becomes of each.
struct Counting {
    verdicts: Arc<Mutex<Vec<bool>>>,
}

impl Source for Counting {
    fn run(self: Box<Self>, feed: &Feed) -> Result<(), String> {
        let mut n = 0;
        while !feed.is_stopping() {
            let verdicts = self.verdicts.clone();
            if !feed.send_then(format!("{{\"n\":{n}}}\n"), move |good| verdicts.lock().unwrap().push(good)) {
                break;
            }
            n += 1;
            std::thread::park_timeout(std::time::Duration::from_millis(1));
        }
        Ok(())
    }
}

/// Keeps the events; refuses what has the number 3.
struct Keeping {
    n: Field,
    events: Arc<Mutex<Vec<Json>>>,
}

impl Sink for Keeping {
    fn take(&mut self, events: Events<'_>) -> Result<(), String> {
        if events.iter().any(|event| event.get(&self.n) == Some(json!(3))) {
            return Err("three is not taken".into());
        }
        let mut kept = self.events.lock().unwrap();
        kept.extend(events.iter().map(|event| serde_json::from_str::<Json>(&event.json()).unwrap()));
        Ok(())
    }
}

#[test]
fn a_run_is_stopped_its_source_hears_the_verdicts_and_what_is_refused_is_a_letter() {
    let dir = tempfile::tempdir().unwrap();
    let (verdicts, events, letters) = (Arc::default(), Arc::new(Mutex::default()), Arc::new(Mutex::default()));
    let (heard, kept, refused): (Arc<Mutex<Vec<bool>>>, _, _) =
        (Arc::clone(&verdicts), events.clone(), letters.clone());
    let keeping = move |settings: Json| {
        let events = if settings["letters"] == true { refused.clone() } else { kept.clone() };
        Ok(Keeping { n: Field::new("n")?, events })
    };
    let components = Components::built_in()
        .source("counting", move |_| Ok(Counting { verdicts: heard.clone() }))
        .sink("keeping", keeping);
    let running = Pipeline::builder()
        .set("data_dir", dir.path().display().to_string())
        .source("in", json!({"type": "counting", "decode": "json"}))
        .sink("out", json!({"type": "keeping", "inputs": ["in"], "dead_letter": "refused"}))
        .sink("refused", json!({"type": "keeping", "letters": true}))
        .build(&components)
        .unwrap()
        .start()
        .unwrap();
    eventually("ten are there", || events.lock().unwrap().len() >= 10);
    let second = Pipeline::builder()
        .set("data_dir", dir.path().display().to_string())
        .source("in", json!({"type": "demo"}))
        .sink("out", json!({"type": "blackhole", "inputs": ["in"]}))
        .build(&Components::built_in())
        .unwrap();
    assert!(second.start().unwrap_err().to_string().contains("data_dir"), "two have not one folder");
    running.stop();
    let outcome = running.wait();
    assert!(outcome.is_good(), "{outcome:?}");
    let events = events.lock().unwrap();
    let letters: Vec<Json> = letters.lock().unwrap().clone();
    let sent = outcome.totals[0].out;
    assert_eq!((events.len() as u64 + letters.len() as u64, verdicts.lock().unwrap().len() as u64), (sent, sent));
    assert!(verdicts.lock().unwrap().iter().all(|good| *good));
    let three = letters.iter().find(|letter| letter["event"]["n"] == 3).unwrap();
    assert_eq!(
        (&three["tidegate"]["reason"], &three["tidegate"]["detail"]),
        (&json!("refused"), &json!("three is not taken"))
    );
}

#[test]
fn mistakes_of_ones_own_settings_are_shown_with_all_others() {
    #[derive(Clone)]
    struct Nothing;
    impl tidegate::Transform for Nothing {
        fn apply(&mut self, _event: &mut tidegate::EventChange<'_>) -> Fate {
            Fate::Keep
        }
    }
    let components = Components::built_in().transform("mine", |settings: Json| match settings.as_object() {
        Some(settings) if settings.is_empty() => Ok(Nothing),
        _ => Err("there are no settings".into()),
    });
    let said = Pipeline::from_yaml(
        "sources: {in: {type: demo, rat: 1}}\ntransforms: {t: {type: mine, inputs: [in], x: 1}}\nsinks: {out: {type: blackhole, inputs: [t]}}\n",
        &components,
    )
    .unwrap_err()
    .to_string();
    assert!(said.contains("unknown key `rat`") && said.contains("there are no settings in transform `t`"), "{said}");
    assert!(said.contains("pipeline.yaml:2:17"), "{said}");
}
