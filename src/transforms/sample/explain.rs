//! Why an event is kept, folded, sampled or turned away.

use super::share::{Share, with_text};
use super::{Choice, Sample, lock};
use crate::component::{Chance, Notes, Rule};
use crate::condition::value_of;
use crate::event::{EventRef, FieldPath, Value};

/// Fields with their values.
fn values(event: EventRef<'_>, fields: &[FieldPath]) -> String {
    let value = |path: &FieldPath| match value_of(event, path) {
        Some(value) => format!("`{path}` is {value}"),
        None => format!("there is no `{path}`"),
    };
    fields.iter().map(value).collect::<Vec<_>>().join(", ")
}

impl Sample {
    /// The settings that decide.
    pub(super) fn deciding(&self) -> Vec<Rule> {
        let mut out = Vec::new();
        out.extend(self.always.as_ref().map(|_| Rule::condition(&["always"])));
        out.extend(self.dedupe.as_ref().map(|_| Rule::at(&["dedupe"])));
        match &self.choice {
            Choice::All(share) if share.is_all() => {}
            Choice::All(_) => out.push(Rule::at(&["rate"])),
            Choice::By(_, rates) => out.extend(rates.written.iter().map(|(name, _)| Rule::at(&["rates", name]))),
            Choice::Rules(rules) => {
                let rule = |n: usize| Rule::condition(&["rules", &format!("[{n}]"), "when"]);
                out.extend((0..rules.len()).map(rule));
            }
        }
        out.extend(self.limit.as_ref().map(|_| Rule::at(&["limit"])));
        out
    }

    /// Tells what becomes of an event, in the order of the steps.
    pub(super) fn tell(&mut self, event: EventRef<'_>, notes: &mut Notes) {
        let now = event.batch().received_at;
        let kept = ("kept, whatever else is said", "");
        if let Some(always) = &self.always
            && notes.condition(Rule::condition(&["always"]), always, event, kept)
        {
            return;
        }
        if let Some(folder) = &self.dedupe {
            let mut folder = lock(folder);
            let (repeats, fields) = (folder.repeats(event, now), values(event, folder.fields()));
            let what = match repeats {
                true => "repeats an event of its window and goes into the sum of that (folded)",
                false => "is the first of its window and passes",
            };
            notes.hit(Rule::at(&["dedupe"]), format!("{what}: {fields}"));
            if repeats {
                return;
            }
        }
        let share = self.tell_share(event, notes);
        if self.tell_fate(share, event, notes) {
            self.tell_limit(event, now, notes);
        }
    }

    fn tell_share(&mut self, event: EventRef<'_>, notes: &mut Notes) -> Share {
        match &self.choice {
            Choice::All(share) => {
                if !share.is_all() {
                    notes.hit(Rule::at(&["rate"]), format!("the share is {}", share.rate()));
                }
                *share
            }
            Choice::By(path, rates) => {
                let written = rates.written_of(event.get(path), &mut self.text);
                let share = written.map_or(rates.default, |(_, share)| *share);
                let text = format!("the share is {}: {}", share.rate(), values(event, std::slice::from_ref(path)));
                match written {
                    Some((name, _)) => notes.hit(Rule::at(&["rates", name]), text),
                    None => notes.say(format!("{text}, which has no share of its own")),
                }
                share
            }
            Choice::Rules(rules) => {
                for (n, (when, share)) in rules.iter().enumerate() {
                    let rule = Rule::condition(&["rules", &format!("[{n}]"), "when"]);
                    let follows = format!("the share is {}", share.rate());
                    if notes.condition(rule, when, event, (&follows, "")) {
                        return *share;
                    }
                }
                notes.say("no rule holds: all are kept");
                Share::ALL
            }
        }
    }

    /// Whether the event may be kept.
    fn tell_fate(&mut self, share: Share, event: EventRef<'_>, notes: &mut Notes) -> bool {
        if share.is_all() {
            return true;
        }
        if share.is_none() {
            notes.say("a share of 0 keeps none: dropped (sampled)");
            return false;
        }
        if self.chance == Chance::Kept {
            notes.say("kept: tests keep what has a share above 0");
            return true;
        }
        let key = self.key.clone();
        let keyed = key.as_ref().and_then(|key| Some((key, event.get(key)?))).filter(|(_, v)| *v != Value::Null);
        let Some((key, value)) = keyed else {
            let why = key.map_or_else(String::new, |key| format!("there is no `{key}`: "));
            notes.say(format!("{why}decided by chance, {} of 100 are kept", share.rate() * 100.0));
            return true;
        };
        let number = with_text(value, &mut self.text, xxhash_rust::xxh3::xxh3_64);
        let part = number as f64 / 18_446_744_073_709_551_616.0;
        let shown = value_of(event, key).unwrap_or_default();
        let (is, fate) = if share.takes(number) { ("below", "kept") } else { ("not below", "dropped (sampled)") };
        notes.hit(
            Rule::at(&["key"]),
            format!("decided by `{key}`, which is {shown}: its hash falls on {part:.6}, {is} {}: {fate}", share.rate()),
        );
        share.takes(number)
    }

    fn tell_limit(&mut self, event: EventRef<'_>, now: i64, notes: &mut Notes) {
        let Some(limiter) = &self.limit else { return };
        let seen = lock(limiter).look(event, now, &mut self.text);
        let unit = if seen.bytes { "bytes" } else { "events" };
        let fate = if seen.passes { "passes" } else { "turned away (rate_limited)" };
        let by = seen.by.map_or_else(String::new, |by| format!(" of {}", values(event, &[by])));
        notes.hit(
            Rule::at(&["limit"]),
            format!(
                "the bucket{by} holds {:.1} of {} {unit}, {} asked for: {fate}",
                seen.tokens, seen.burst, seen.cost
            ),
        );
    }
}
