//! What each stage made of an event, as JSON for programs.
//!
//! One object a line: `input` (`file`, `line`, `source`, `text`; absent for what was kept for later) and `stages`, each with `id`,
//! `type`, `kind`, `out` (events by output, the default one under `""`), `dropped` (numbers by reason), with `explain` `why` (`text`,
//! and as they apply `rule`, `at`, `outcome`, `place`), and of sinks `sends` (`to`, `series`, `text`, or `refused`).

use super::{Entered, Shower, Words};
use crate::component::trial::value_of_event;
use crate::event::Batch;
use crate::telemetry::ComponentKind;
use crate::text::escape::Page;
use crate::topology::Stage;
use serde_json::{Map, Value, json};

impl Shower {
    /// One line.
    pub(super) fn record(&mut self, entered: Option<&Entered<'_>>, stages: &[Stage]) -> Page {
        let mut record = Map::new();
        if let Some(Entered { name, number, source, text }) = entered {
            let text = String::from_utf8_lossy(text);
            record.insert("input".into(), json!({"file": name, "line": number, "source": source, "text": text}));
        }
        let stages: Vec<Value> = stages.iter().map(|stage| self.stage_record(stage)).collect();
        record.insert("stages".into(), stages.into());
        let mut page = Page::new();
        page.json(&Value::Object(record).to_string());
        page.text("\n");
        page
    }

    fn stage_record(&mut self, stage: &Stage) -> Value {
        let events =
            |batches: &[Batch]| -> Vec<Value> { batches.iter().flat_map(Batch::iter).map(value_of_event).collect() };
        let out: Map<String, Value> =
            stage.out.iter().map(|output| (output.name.clone(), events(&output.batches).into())).collect();
        let dropped: Map<String, Value> =
            stage.dropped.iter().map(|(reason, n)| ((*reason).to_owned(), (*n).into())).collect();
        let mut record = json!({
            "id": stage.id, "type": stage.type_name, "kind": stage.kind.name(), "out": out, "dropped": dropped,
        });
        if self.words == Words::Few {
            return record;
        }
        let why: Vec<Value> = stage
            .notes
            .iter()
            .map(|note| {
                let mut told = Map::new();
                told.insert("text".into(), note.text.as_str().into());
                if let Some(rule) = &note.rule {
                    told.insert("rule".into(), rule.name().into());
                    let at = self.places.of_rule(stage.kind, &stage.id, rule);
                    told.extend(at.map(|(file, line)| ("at".to_owned(), format!("{file}:{line}").into())));
                }
                told.extend(note.outcome.map(|outcome| ("outcome".to_owned(), outcome.into())));
                told.extend(note.place.as_ref().map(|place| ("place".to_owned(), place.as_str().into())));
                Value::Object(told)
            })
            .collect();
        record["why"] = why.into();
        if stage.kind == ComponentKind::Sink {
            let mut all = Vec::new();
            for event in stage.out.iter().flat_map(|o| &o.batches).flat_map(Batch::iter) {
                let sent = self.sent(&stage.id, event);
                let labels = |labels: Vec<(String, String)>| -> Map<String, Value> {
                    labels.into_iter().map(|(name, value)| (name, value.into())).collect()
                };
                let series: Vec<Map<String, Value>> = sent.series.into_iter().map(labels).collect();
                all.push(match sent.refused {
                    Some(why) => json!({"refused": why}),
                    None => json!({"to": sent.to, "series": series, "text": sent.text}),
                });
            }
            record["sends"] = all.into();
        }
        record
    }
}
