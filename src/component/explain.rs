//! Why a component does what it does with one event: for `explain`, `try` and the coverage of `test`.
//!
//! A transform is asked ([`Transform::explain`](super::Transform::explain)) by whoever wants to know, before it is given the same
//! event to work on. While the agent runs nobody asks, and nothing here is touched. What is told points at a [`Rule`]: the setting
//! that decided.

use crate::condition::{Condition, Outcome};
use crate::event::EventRef;

/// A setting of a component that decides something.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rule {
    /// Keys, and places in lists, from the component's settings down: `outputs`, `errors`; `rules`, `[0]`, `check`.
    pub path: Vec<String>,
    /// Which of several things that stand at one setting; empty for the setting itself.
    pub which: String,
    /// It may come out true or false, and a test has to show both.
    pub is_condition: bool,
}

impl Rule {
    /// The setting at this path, which either plays a part or does not.
    pub fn at(path: &[&str]) -> Rule {
        Rule { path: path.iter().map(|step| (*step).to_owned()).collect(), which: String::new(), is_condition: false }
    }

    /// A condition at this path.
    pub fn condition(path: &[&str]) -> Rule {
        Rule { is_condition: true, ..Rule::at(path) }
    }

    /// Each element of the list at `key`.
    pub fn each(key: &str, len: usize) -> impl Iterator<Item = Rule> {
        (0..len).map(move |n| Rule::at(&[key, &format!("[{n}]")]))
    }

    /// One of several things at the setting.
    #[must_use]
    pub fn which(self, which: &str) -> Rule {
        Rule { which: which.to_owned(), ..self }
    }

    /// As a path is written: `rules[0].check`.
    pub fn name(&self) -> String {
        let mut out = String::new();
        for step in &self.path {
            out.push_str(if out.is_empty() || step.starts_with('[') { "" } else { "." });
            out.push_str(step);
        }
        if !self.which.is_empty() {
            out.push_str(&format!(" ({})", self.which));
        }
        out
    }
}

/// One thing that is told of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The setting that decided.
    pub rule: Option<Rule>,
    /// Of a condition: how it came out.
    pub outcome: Option<bool>,
    /// Where in the event, where that is one place.
    pub place: Option<String>,
    /// In words.
    pub text: String,
}

/// What is told of one event, in order.
#[derive(Debug, Default)]
pub struct Notes(pub Vec<Note>);

impl Notes {
    /// Tells something that no setting decided.
    pub fn say(&mut self, text: impl Into<String>) {
        self.0.push(Note { rule: None, outcome: None, place: None, text: text.into() });
    }

    /// Tells what a setting did.
    pub fn hit(&mut self, rule: Rule, text: impl Into<String>) {
        self.0.push(Note { rule: Some(rule), outcome: None, place: None, text: text.into() });
    }

    /// The same of one place in the event.
    pub fn hit_at(&mut self, rule: Option<Rule>, place: &str, text: impl Into<String>) {
        self.0.push(Note { rule, outcome: None, place: Some(place.to_owned()), text: text.into() });
    }

    /// Tells how something came out that may be true or false.
    pub fn judged(&mut self, rule: Rule, outcome: bool, text: impl Into<String>) {
        let rule = Rule { is_condition: true, ..rule };
        self.0.push(Note { rule: Some(rule), outcome: Some(outcome), place: None, text: text.into() });
    }

    /// Evaluates a condition of the setting and tells its value, with what follows from it.
    pub fn condition(
        &mut self,
        rule: Rule,
        condition: &Condition,
        event: EventRef<'_>,
        (if_true, if_false): (&str, &str),
    ) -> bool {
        let story = condition.story(event);
        let holds = story.outcome == Outcome::True;
        let follows = if holds { if_true } else { if_false };
        let words = story.words(condition.text());
        self.judged(rule, holds, if follows.is_empty() { words } else { format!("{words}; {follows}") });
        holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_named_as_paths_are_written() {
        assert_eq!(Rule::at(&["rules", "[0]", "check"]).name(), "rules[0].check");
        assert_eq!(Rule::at(&["outputs"]).which("other").name(), "outputs (other)");
        assert_eq!(Rule::at(&["rates", "200"]).name(), "rates.200");
    }
}
