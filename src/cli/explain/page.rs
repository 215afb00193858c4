//! What each stage made of an event, as lines for people.

use super::{Shower, Words};
use crate::cli::terminal;
use crate::component::Note;
use crate::event::{Batch, EventRef};
use crate::telemetry::ComponentKind;
use crate::text::escape::{Color, Form, Page, escaped};
use crate::topology::Stage;

impl Shower {
    /// Shows one stage, its name in a column of this width.
    pub(super) fn stage(&mut self, stage: &Stage, width: usize, out: &mut Page) {
        let name = format!("{} ({})", stage.id, stage.type_name);
        let line = |out: &mut Page, label: &str, text: &str| put(out, Color::Plain, width, label, text);
        let warn = |out: &mut Page, text: &str| put(out, Color::Yellow, width, &name, text);
        if stage.kind == ComponentKind::Sink {
            for field in &stage.absent {
                warn(out, &format!("no field {field}"));
            }
            self.sink(stage, &name, width, out);
            return;
        }
        let came: Vec<String> = stage.came.iter().flat_map(lines_of).collect();
        let mut first = true;
        for output in &stage.out {
            for event in output.batches.iter().flat_map(lines_of) {
                let label = match (output.name.is_empty(), first) {
                    (true, true) => name.clone(),
                    (true, false) => String::new(),
                    (false, _) => format!("{}.{}", stage.id, output.name),
                };
                first = false;
                let same = stage.kind == ComponentKind::Transform && output.name.is_empty() && came.contains(&event);
                line(out, &label, if same { "unchanged" } else { &event });
            }
        }
        for (reason, n) in &stage.dropped {
            warn(out, &format!("dropped {n}: {reason}"));
        }
        for field in &stage.absent {
            warn(out, &format!("no field {field}"));
        }
        if first && stage.dropped.is_empty() {
            line(out, &name, "nothing (held, or counted as unread)");
        }
        self.notes(stage, width, out);
    }

    fn sink(&mut self, stage: &Stage, name: &str, width: usize, out: &mut Page) {
        let events = || stage.out.iter().flat_map(|o| &o.batches).flat_map(Batch::iter);
        let said = match events().count() {
            // As `try` has always shown it: what came, whatever the sink's own `when` says.
            _ if self.words == Words::Few => {
                let came: usize = stage.came.iter().map(Batch::len).sum();
                if came == 1 { "reached" } else { "reached by several" }
            }
            0 => "takes nothing",
            1 => "reached",
            _ => "reached by several",
        };
        let color = if said.starts_with("reached") { Color::Green } else { Color::Plain };
        put(out, color, width, name, said);
        for (reason, n) in &stage.dropped {
            put(out, Color::Yellow, width, name, &format!("dropped {n}: {reason}"));
        }
        self.notes(stage, width, out);
        if self.words == Words::All {
            for event in events() {
                for text in self.sent(&stage.id, event).lines() {
                    put(out, Color::Plain, width, "", &format!("- {text}"));
                }
            }
        }
    }

    fn notes(&self, stage: &Stage, width: usize, out: &mut Page) {
        for note in &stage.notes {
            writeln!(out, "  {:width$}  - {}", "", self.note(stage, note));
        }
    }

    fn note(&self, stage: &Stage, note: &Note) -> String {
        let named = |place: &&String| !note.text.contains(&format!("`{place}`"));
        let at = note.place.as_ref().filter(named).map(|place| format!("at `{place}`: ")).unwrap_or_default();
        let rule = note.rule.as_ref().map(|rule| match self.places.of_rule(stage.kind, &stage.id, rule) {
            Some((file, line)) => format!("  [{}, {file}:{line}]", rule.name()),
            None => format!("  [{}]", rule.name()),
        });
        format!("{at}{}{}", note.text, rule.unwrap_or_default())
    }

    /// What a sink would do with an event.
    pub(super) fn sent(&mut self, sink: &str, event: EventRef<'_>) -> Sent {
        let mut text = Vec::new();
        if self.inline.throws_away(sink) {
            return Sent::default();
        }
        let Some(preview) = self.preview(sink) else {
            event.write_json(&mut text);
            return Sent { text: String::from_utf8_lossy(&text).into_owned(), ..Sent::default() };
        };
        match preview.show(event, &mut text) {
            Ok(to) => {
                let series = preview.series(event);
                Sent { to, series, text: String::from_utf8_lossy(&text).into_owned(), refused: None }
            }
            Err(why) => Sent { refused: Some(why), ..Sent::default() },
        }
    }
}

/// What a sink would do with one event.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Where it would go: a path, a stream, an address.
    pub(super) to: Option<String>,
    /// Labels of the streams or series.
    pub(super) series: Vec<Vec<(String, String)>>,
    /// What it would send.
    pub(super) text: String,
    /// Why it would not take it.
    pub(super) refused: Option<String>,
}

impl Sent {
    fn lines(&self) -> Vec<String> {
        if self.to.is_none() && self.refused.is_none() && self.text.is_empty() {
            return vec!["sends nothing".to_owned()];
        }
        if let Some(why) = &self.refused {
            return vec![format!("is not taken: {why}")];
        }
        let label = |(name, value): &(String, String)| format!("{name}={value:?}");
        let series = |labels: &Vec<(String, String)>| {
            format!("series {{{}}}", labels.iter().map(label).collect::<Vec<_>>().join(", "))
        };
        let to = self.to.iter().map(|to| format!("goes to {to}"));
        let sends = self.text.lines().map(|line| format!("sends {}", escaped(line, Form::Json)));
        to.chain(self.series.iter().map(series)).chain(sends).collect()
    }
}

/// A line with a label in a column of this width; in a colour on a terminal.
fn put(out: &mut Page, color: Color, width: usize, label: &str, text: &str) {
    out.colored_line(terminal::colors_stdout().then_some(color), &format!("  {label:width$}  {text}"));
}

/// The live events of a batch as JSON.
pub(super) fn lines_of(batch: &Batch) -> Vec<String> {
    let json = |event: EventRef<'_>| {
        let mut out = Vec::new();
        event.write_json(&mut out);
        escaped(&String::from_utf8_lossy(&out), Form::Json).into_owned()
    };
    batch.iter().map(json).collect()
}
