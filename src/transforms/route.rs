//! `route`: one input, several named outputs.
//!
//! ```yaml
//! split:
//!   type: route
//!   inputs: [app]
//!   outputs:
//!     errors: 'level == "ERROR"'
//!     slow: 'duration > 1000'
//! # read as split.errors, split.slow and split.other
//! ```
//!
//! An event leaves by every output whose condition holds, and by `other` where none does; nothing leaves by the plain
//! id. Copies beyond the first count as created. What cannot be said (an absent field, another type) does not hold and
//! is counted. Works on each event alone and holds nothing.

use crate::component::plan::TransformPlan;
use crate::component::{BuildContext, Emitter, Notes, Rule, Transform};
use crate::condition::{Condition, Faults};
use crate::error::BuildError;
use crate::event::{Batch, EventRef};
use crate::settings::{Map, Reader, Spanned, config};
use std::sync::Arc;

/// The output for events that no condition wants.
const OTHER: &str = "other";

config! {
    /// Sends each event to every output whose condition holds, and to `other` where none does.
    pub struct RouteConfig {
        /// What it reads.
        pub inputs: Vec<Spanned<String>>,
        /// Outputs by name, each with the condition of its events. They are read as `id.name`; `id.other` is the rest.
        pub outputs: Map<Condition>,
    }
}

impl TransformPlan for RouteConfig {
    fn inputs(&self) -> &[Spanned<String>] {
        &self.inputs
    }

    fn outputs(&self) -> Vec<String> {
        self.outputs.names().chain([OTHER]).map(str::to_owned).collect()
    }

    fn has_default_output(&self) -> bool {
        false
    }

    fn check(&self, cx: &mut Reader<'_>) {
        for (name, _) in self.outputs.iter() {
            let message = match name.value.as_str() {
                OTHER => "`other` is the output of events that no condition wants, and needs none",
                "rejected" => "`rejected` is kept for events that cannot be handled",
                "" => "an output needs a name",
                text if text.contains('.') => "the name of an output has no dots",
                _ => continue,
            };
            cx.error(name.span, message);
        }
    }

    fn build(self: Box<Self>, _cx: &BuildContext) -> Result<Box<dyn Transform>, BuildError> {
        let (names, conditions): (Vec<_>, Vec<_>) = self.outputs.0.into_iter().unzip();
        Ok(Box::new(Route::new(names.into_iter().map(|name| name.value).collect(), conditions)))
    }
}

/// Routes events; see the module's docs.
struct Route {
    /// Of the outputs, in the order of their conditions.
    names: Arc<[String]>,
    conditions: Vec<Condition>,
    /// Rows by output, `other` last; kept for their memory.
    rows: Vec<Vec<u32>>,
}

impl Route {
    fn new(names: Arc<[String]>, conditions: Vec<Condition>) -> Route {
        let rows = vec![Vec::new(); conditions.len() + 1];
        Route { names, conditions, rows }
    }
}

/// Below one in so many events their bytes are copied; above, the tables are, and the text is shared.
const COPY_ONE_IN: usize = 8;

impl Transform for Route {
    fn apply(&mut self, batch: &mut Batch, out: &mut Emitter<'_>) {
        let mut faults = Faults::default();
        let other = self.conditions.len();
        let mut created = 0u64;
        for row in 0..batch.rows() {
            if !batch.is_live(row) {
                continue;
            }
            let event = batch.event(row);
            let mut taken = 0u64;
            for (n, condition) in self.conditions.iter_mut().enumerate() {
                if condition.holds(event, &mut faults) {
                    self.rows[n].push(row as u32);
                    taken += 1;
                }
            }
            if taken == 0 {
                self.rows[other].push(row as u32);
            }
            created += taken.saturating_sub(1);
        }
        out.created(created);
        faults.drain(|kind, n| out.error(kind, n));
        let last = self.rows.iter().rposition(|rows| !rows.is_empty());
        for (n, rows) in self.rows.iter_mut().enumerate() {
            if rows.is_empty() {
                continue;
            }
            let mut part = if Some(n) == last {
                // Nobody needs the batch itself any more; what stays behind is empty.
                let rest = batch.sibling();
                std::mem::replace(batch, rest)
            } else if rows.len() * COPY_ONE_IN < batch.len() {
                let mut part = batch.sibling();
                for row in rows.drain(..) {
                    part.copy_event(batch, row as usize);
                }
                out.emit(n + 1, part);
                continue;
            } else {
                batch.fork()
            };
            keep(&mut part, rows);
            rows.clear();
            out.emit(n + 1, part);
        }
    }

    fn fork(&self) -> Box<dyn Transform> {
        Box::new(Route::new(self.names.clone(), self.conditions.clone()))
    }

    fn explain(&mut self, event: EventRef<'_>, notes: &mut Notes) {
        let mut taken = 0;
        for (name, condition) in self.names.iter().zip(&self.conditions) {
            let follows = format!("leaves by `{name}`");
            let rule = Rule::condition(&["outputs", name]);
            taken += usize::from(notes.condition(rule, condition, event, (&follows, "")));
        }
        if taken == 0 {
            notes.hit(Rule::at(&["outputs"]).which(OTHER), "no condition holds: leaves by `other`");
        }
    }

    fn rules(&self) -> Vec<Rule> {
        let named = self.names.iter().map(|name| Rule::condition(&["outputs", name]));
        named.chain([Rule::at(&["outputs"]).which(OTHER)]).collect()
    }
}

/// Drops every row but these, which are in order.
fn keep(batch: &mut Batch, rows: &[u32]) {
    let mut wanted = rows.iter().copied().peekable();
    for row in 0..batch.rows() {
        if wanted.next_if(|w| *w as usize == row).is_none() {
            batch.drop_row(row);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::harness::{build, plan, run};
    use super::*;
    use proptest::prelude::*;

    const YAML: &str = "{inputs: [a], outputs: {odd: 'n % 2 == 1', big: 'n > 5'}}";

    #[test]
    fn an_event_leaves_by_every_output_that_wants_it() {
        let mut route = build::<RouteConfig>(YAML).unwrap();
        let ran = run(&mut *route, &[r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":7}"#, r#"{"n":6}"#, r#"{"x":1}"#]);
        assert!(ran.out.is_empty(), "nothing leaves by the plain id");
        assert_eq!(ran.output(1), [r#"{"n":1}"#, r#"{"n":7}"#]);
        assert_eq!(ran.output(2), [r#"{"n":7}"#, r#"{"n":6}"#]);
        assert_eq!(ran.output(3), [r#"{"n":2}"#, r#"{"x":1}"#]);
        assert_eq!((ran.delta.created, ran.errors("condition_absent")), (1, 2));
        assert_eq!(plan::<RouteConfig>(YAML).unwrap().outputs(), ["odd", "big", "other"]);
    }

    #[test]
    fn names_that_cannot_be_outputs_are_refused() {
        let said = plan::<RouteConfig>("{inputs: [a], outputs: {other: 'true', a.b: 'true', rejected: 'x ='}}");
        assert!(said.unwrap_err().contains("did you mean `==`?"));
        let said = plan::<RouteConfig>("{inputs: [a], outputs: {other: 'true', a.b: 'true', rejected: 'true'}}");
        assert_eq!(said.unwrap_err().matches("error: ").count(), 3);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_event_is_lost_or_given_to_the_wrong_output(numbers in prop::collection::vec(0i64..12, 0..60)) {
            let mut route = build::<RouteConfig>(YAML).unwrap();
            let input: Vec<String> = numbers.iter().map(|n| format!("{{\"n\":{n}}}")).collect();
            let input: Vec<&str> = input.iter().map(String::as_str).collect();
            for _ in 0..2 {
                let ran = run(&mut *route, &input);
                let expected = |wanted: &dyn Fn(i64) -> bool| -> Vec<String> {
                    numbers.iter().filter(|n| wanted(**n)).map(|n| format!("{{\"n\":{n}}}")).collect()
                };
                prop_assert_eq!(ran.output(1), expected(&|n| n % 2 == 1));
                prop_assert_eq!(ran.output(2), expected(&|n| n > 5));
                prop_assert_eq!(ran.output(3), expected(&|n| n % 2 == 0 && n <= 5));
            }
        }
    }
}
