//! A plan for people: what changes, what is left behind, what it does to events.

use super::report::{Component, Events, Group, Orphan, Pair, Plan, Shown, SinkEffect};
use crate::text::escape::{Color, Page};

/// Widest text of an example.
const MAX_TEXT: usize = 400;

/// The page; `colored` for a terminal.
pub fn render(plan: &Plan, colored: bool) -> Page {
    let mut out = Out { page: Page::new(), colored };
    if !plan.different {
        writeln!(out.page, "no difference to {}", plan.against);
        return out.page;
    }
    writeln!(out.page, "compared with {}", plan.against);
    out.components(plan);
    out.orphans(&plan.orphaned);
    match (&plan.events, &plan.no_events) {
        (Some(events), _) => out.events(events),
        (None, Some(why)) => {
            out.head("events");
            writeln!(out.page, "  not tried: {why}");
        }
        (None, None) => {}
    }
    out.page
}

struct Out {
    page: Page,
    colored: bool,
}

fn events(n: u64) -> String {
    if n == 1 { "1 event".to_owned() } else { format!("{n} events") }
}

impl Out {
    fn head(&mut self, text: &str) {
        writeln!(self.page);
        self.paint(Color::Bold, text);
    }

    /// A line in a colour.
    fn paint(&mut self, color: Color, text: &str) {
        let color = if self.colored { Some(color) } else { None };
        self.page.colored_line(color, text);
    }

    fn components(&mut self, plan: &Plan) {
        self.head("components");
        if let Some(why) = &plan.anew {
            self.paint(
                Color::Yellow,
                &format!("  ! all of the graph starts anew: {why}; sockets and connections close for a moment"),
            );
        }
        for setting in &plan.agent {
            self.paint(Color::Yellow, &format!("  ~ {}", line(&setting.key, &setting.before, &setting.after)));
        }
        let name = |c: &Component| format!("{} ({}, {})", c.id, c.kind, c.r#type);
        for c in &plan.added {
            self.paint(Color::Green, &format!("  + {}", name(c)));
            self.effects(c);
        }
        for c in &plan.changed {
            self.paint(Color::Yellow, &format!("  ~ {}", name(c)));
            for setting in &c.settings {
                writeln!(self.page, "      {}", line(&setting.key, &setting.before, &setting.after));
            }
            self.effects(c);
        }
        for c in &plan.removed {
            self.paint(Color::Red, &format!("  - {}", name(c)));
            self.effects(c);
        }
        for inputs in &plan.inputs {
            let (before, after) = (inputs.before.join(", "), inputs.after.join(", "));
            self.paint(Color::Yellow, &format!("  ~ {} reads [{before}] → [{after}]", inputs.id));
        }
        writeln!(self.page, "  {} kept", plan.kept.len());
    }

    fn effects(&mut self, c: &Component) {
        for effect in &c.effects {
            writeln!(self.page, "      ({effect})");
        }
    }

    fn orphans(&mut self, orphans: &[Orphan]) {
        if orphans.is_empty() {
            return;
        }
        self.head("left behind");
        for orphan in orphans {
            let what = match orphan.what.as_str() {
                "disk_buffer" => "disk buffer",
                "dead_letters" => "dead letters",
                other => other,
            };
            let many = match (orphan.events, orphan.files) {
                (Some(n), _) => format!(": {}", events(n)),
                (_, Some(1)) => ": 1 file".to_owned(),
                (_, Some(n)) => format!(": {n} files"),
                _ => String::new(),
            };
            let at = if orphan.path.is_empty() { String::new() } else { format!(" in {}", orphan.path) };
            self.paint(Color::Red, &format!("  {what} of {}{many}{at}", orphan.id));
            writeln!(self.page, "      ({})", orphan.detail);
        }
    }

    fn events(&mut self, all: &Events) {
        self.head("events");
        let tried: Vec<String> = all.sources.iter().map(|s| format!("{} {}", s.frames, s.id)).collect();
        let sum: u64 = all.sources.iter().map(|s| s.frames).sum();
        match (sum, tried.len()) {
            (0, _) => return writeln!(self.page, "  none tried: {} are none", all.from),
            (_, 0 | 1) => writeln!(self.page, "  tried {sum}: {}", all.from),
            _ => writeln!(self.page, "  tried {sum} ({}): {}", tried.join(", "), all.from),
        }
        if all.cut_short {
            writeln!(self.page, "  not all of them were tried: it took too long");
        }
        let width = all.sinks.iter().map(|sink| sink.id.len()).max().unwrap_or(0);
        for sink in &all.sinks {
            self.sink(sink, width);
        }
    }

    fn sink(&mut self, sink: &SinkEffect, width: usize) {
        let sum = |groups: &[Group]| groups.iter().map(|g| g.events).sum::<u64>();
        let (lost, new) = (sum(&sink.lost), sum(&sink.new));
        let mut said: Vec<String> = Vec::new();
        let numbers =
            [(lost, "lost"), (new, "new"), (sink.differ, "differ"), (sink.written_otherwise, "written otherwise")];
        said.extend(numbers.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")));
        let said = if said.is_empty() { "the same".to_owned() } else { said.join(", ") };
        let color = match (lost, new + sink.differ + sink.written_otherwise) {
            (0, 0) => Color::Plain,
            (0, _) => Color::Yellow,
            _ => Color::Red,
        };
        self.paint(color, &format!("  {:width$}  {} → {}   {said}", sink.id, sink.before, sink.after));
        for group in &sink.lost {
            self.group("lost", group);
        }
        for group in &sink.new {
            self.group("new", group);
        }
        if !sink.fields.is_empty() {
            let field = |f: &super::report::FieldChange| {
                let sign = match f.how.as_str() {
                    "added" => "+",
                    "removed" => "-",
                    _ => "~",
                };
                format!("{sign} {} ({})", f.path, f.events)
            };
            let fields: Vec<String> = sink.fields.iter().map(field).collect();
            writeln!(self.page, "    {} differ in {}", sink.differ, fields.join(", "));
        }
        for pair in &sink.pairs {
            self.pair(pair);
        }
    }

    fn group(&mut self, word: &str, group: &Group) {
        let rule = group.rule.as_ref().map(|rule| format!(": {rule}")).unwrap_or_default();
        let reason = match (word, group.reason.as_str()) {
            ("lost", "removed") => "it would be no more".to_owned(),
            ("new", "added") => "it is new".to_owned(),
            ("new", reason) => format!("{reason} until now"),
            (_, reason) => reason.to_owned(),
        };
        writeln!(self.page, "    {} {word} by {} ({}), {reason}{rule}", group.events, group.component, group.r#type);
        for shown in &group.examples {
            self.shown("      ", shown);
        }
    }

    fn pair(&mut self, pair: &Pair) {
        self.shown("      - ", &pair.before);
        self.shown("      + ", &pair.after);
    }

    fn shown(&mut self, before: &str, shown: &Shown) {
        let to = shown.to.as_ref().map(|to| format!("{to}: ")).unwrap_or_default();
        let text = shown.text.trim_end();
        let text = match text.char_indices().nth(MAX_TEXT) {
            Some((at, _)) => format!("{}…", &text[..at]),
            None => text.to_owned(),
        };
        let text = if text.is_empty() { "(nothing)".to_owned() } else { text };
        let color = match before.trim() {
            "-" => Color::Red,
            "+" => Color::Green,
            _ => Color::Plain,
        };
        self.paint(color, &format!("{before}{to}{text}"));
    }
}

/// A setting on one line.
fn line(key: &str, before: &Option<String>, after: &Option<String>) -> String {
    let not_set = || "not set".to_owned();
    match (before, after) {
        (None, None) => format!("({key} changed)"),
        (Some(a), Some(b)) if a == b => format!("{key}: {a} → {b} (another value)"),
        (a, b) => format!("{key}: {} → {}", a.clone().unwrap_or_else(not_set), b.clone().unwrap_or_else(not_set)),
    }
}
