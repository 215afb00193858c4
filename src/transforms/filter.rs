//! `filter`: keeps the events for which a condition holds.
//!
//! ```yaml
//! loud: {type: filter, inputs: [app], when: 'level in ["WARN", "ERROR"] && !message.contains("probe")'}
//! ```
//!
//! What does not hold, or cannot be said (an absent field, another type), is dropped, `reason="filtered"`; what could not
//! be said is counted apart (`condition_absent`, `condition_type`). Works on each event alone and holds nothing.

use crate::component::plan::TransformPlan;
use crate::component::{BuildContext, Emitter, Notes, Rule, Transform};
use crate::condition::{Condition, Faults};
use crate::error::BuildError;
use crate::event::{Batch, EventRef};
use crate::settings::{Spanned, config};

config! {
    /// Keeps the events for which a condition holds.
    pub struct FilterConfig {
        /// What it reads.
        pub inputs: Vec<Spanned<String>>,
        /// Which events to keep.
        pub when: Condition,
    }
}

impl TransformPlan for FilterConfig {
    fn inputs(&self) -> &[Spanned<String>] {
        &self.inputs
    }

    fn build(self: Box<Self>, _cx: &BuildContext) -> Result<Box<dyn Transform>, BuildError> {
        Ok(Box::new(Filter { when: self.when }))
    }
}

/// Keeps events; see the module's docs.
struct Filter {
    when: Condition,
}

impl Transform for Filter {
    fn apply(&mut self, batch: &mut Batch, out: &mut Emitter<'_>) {
        let mut faults = Faults::default();
        let dropped = batch.retain(|event| self.when.holds(event, &mut faults));
        out.dropped("filtered", dropped as u64);
        faults.drain(|kind, n| out.error(kind, n));
    }

    fn fork(&self) -> Box<dyn Transform> {
        Box::new(Filter { when: self.when.clone() })
    }

    fn explain(&mut self, event: EventRef<'_>, notes: &mut Notes) {
        notes.condition(Rule::condition(&["when"]), &self.when, event, ("kept", "dropped (filtered)"));
    }

    fn rules(&self) -> Vec<Rule> {
        vec![Rule::condition(&["when"])]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::harness::{build, plan, run};
    use super::*;

    #[test]
    fn what_holds_stays_and_the_rest_is_counted() {
        let mut filter = build::<FilterConfig>("{inputs: [a], when: 'n > 1'}").unwrap();
        let ran = run(&mut *filter, &[r#"{"n":1}"#, r#"{"n":2.50}"#, r#"{"m":3}"#, r#"{"n":"3"}"#]);
        assert_eq!(ran.out, [r#"{"n":2.50}"#]);
        assert_eq!((ran.dropped("filtered"), ran.errors("condition_absent"), ran.errors("condition_type")), (3, 1, 1));
        let again = run(&mut *filter.fork(), &[r#"{"n":2}"#]);
        assert_eq!(again.out.len(), 1);
    }

    #[test]
    fn a_bad_condition_is_shown_at_its_column() {
        let said = plan::<FilterConfig>("inputs: [a]\nwhen: 'n => 1'\n").unwrap_err();
        assert!(said.contains("t.yaml:2:10") && said.contains("write `>=`"), "{said}");
    }
}
