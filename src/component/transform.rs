//! What a transform is, and where it puts what leaves it.

use super::explain::{Notes, Rule};
use super::letter::{Refused, push_envelope};
use crate::event::{Batch, EventRef};
use crate::telemetry::example_of;
use crate::time::clock;
use std::sync::Arc;
use std::time::Duration;

/// Changes batches: pure and synchronous, no I/O, no waiting, no clock (a batch carries its own time).
///
/// Each worker has its own instance, made by [`fork`](Transform::fork) from the one that was built.
pub trait Transform: Send {
    /// Takes a batch; what stays live in it leaves by the default output.
    ///
    /// Every event that came in must stay live, or be accounted for by one call on `out` ([`Emitter::dropped`],
    /// [`Emitter::reject`], [`Emitter::emit`], [`Emitter::held`]); the worker checks the sum in debug builds.
    fn apply(&mut self, batch: &mut Batch, out: &mut Emitter<'_>);

    /// Another instance for another worker; what must be one (limits, windows) is shared behind it.
    fn fork(&self) -> Box<dyn Transform>;

    /// Whether it may be given events again that it has seen in a call which panicked: not where it keeps of them what lets it see
    /// repeats or sums, as these are shared by all instances and go on.
    fn may_redo(&self) -> bool {
        true
    }

    /// Whether code of the embedding program runs in it: then a copy of each batch is kept while it works, so that a panic costs no
    /// more than the event that made it.
    fn is_of_program(&self) -> bool {
        false
    }

    /// Whether it redacts: what comes to it is shown to nobody but as it would leave it.
    fn redacts(&self) -> bool {
        false
    }

    /// Whether it may keep events beyond the call that gave them: then no sink is told how far a source has come.
    fn keeps_events(&self) -> bool {
        false
    }

    /// How often [`tick`](Transform::tick) is to be called; `None` for never.
    fn tick_interval(&self) -> Option<Duration> {
        None
    }

    /// Called about every `tick_interval`, on any worker, with the time in nanoseconds since 1970 UTC.
    fn tick(&mut self, _now: i64, _out: &mut Emitter<'_>) {}

    /// Called once, on one worker, when no more batches will come: emit what is held.
    fn finish(&mut self, _now: i64, _out: &mut Emitter<'_>) {}

    /// Tells why it will do with this event what it will do; then it is given the event. Asked by `explain` and `test` alone, never
    /// while the agent runs. Changes nothing that [`apply`](Transform::apply) goes by; may be slow.
    fn explain(&mut self, _event: EventRef<'_>, _notes: &mut Notes) {}

    /// All settings that [`explain`](Transform::explain) may point at, in the order of the settings.
    fn rules(&self) -> Vec<Rule> {
        Vec::new()
    }
}

/// What a transform does with events besides passing them on.
pub struct Emitter<'a> {
    pub(crate) component: &'a str,
    pub(crate) rejected_read: bool,
    /// Nobody reads `rejected`, but somebody looks at it: what is dropped for that leaves by it all the same, to its end.
    pub(crate) rejected_shown: bool,
    pub(crate) rejects: Option<Batch>,
    /// The batch as it came, where the transform changes events before it may reject them.
    pub(crate) originals: Option<Batch>,
    pub(crate) outputs: Vec<(usize, Batch)>,
    pub(crate) delta: &'a mut Delta,
    pub(crate) json: &'a mut Vec<u8>,
    /// When it rejected first: the time of all letters of one call.
    pub(crate) rejected_at: Option<i64>,
}

/// Sums of one call of a transform, published by the worker.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    pub(crate) created: u64,
    pub(crate) held: i64,
    pub(crate) dropped: Vec<(&'static str, u64)>,
    pub(crate) rejected: Vec<(&'static str, u64)>,
    pub(crate) errors: Vec<(&'static str, u64)>,
    pub(crate) rules: Vec<(&'static str, Arc<str>, u64)>,
    pub(crate) examples: Vec<(&'static str, String)>,
}

fn add(list: &mut Vec<(&'static str, u64)>, reason: &'static str, n: u64) {
    if n == 0 {
        return;
    }
    match list.iter_mut().find(|(r, _)| *r == reason) {
        Some((_, sum)) => *sum += n,
        None => list.push((reason, n)),
    }
}

impl<'a> Emitter<'a> {
    pub(crate) fn new(component: &'a str, rejected_read: bool, delta: &'a mut Delta, json: &'a mut Vec<u8>) -> Self {
        Emitter {
            component,
            rejected_read,
            rejected_shown: false,
            rejects: None,
            originals: None,
            outputs: Vec::new(),
            delta,
            json,
            rejected_at: None,
        }
    }

    /// Counts events that the transform has dropped from the batch.
    pub fn dropped(&mut self, reason: &'static str, events: u64) {
        add(&mut self.delta.dropped, reason, events);
    }

    /// Counts events that the transform made beyond those that came in.
    pub fn created(&mut self, events: u64) {
        self.delta.created += events;
    }

    /// Counts events taken out of the batch to be emitted later (positive), or emitted now from there (negative).
    pub fn held(&mut self, events: i64) {
        self.delta.held += events;
    }

    /// Counts mistakes that did not end an event.
    pub fn error(&mut self, kind: &'static str, n: u64) {
        add(&mut self.delta.errors, kind, n);
    }

    /// Shows one error of a kind to whoever reads the log; call it once a batch, and only where there is one.
    pub fn example(&mut self, kind: &'static str, text: &[u8]) {
        if self.delta.examples.iter().all(|(k, _)| *k != kind) {
            self.delta.examples.push((kind, example_of(text)));
        }
    }

    /// Adds to a counter `tidegate_<metric>_total{rule="…"}`.
    pub fn count_rule(&mut self, metric: &'static str, rule: &Arc<str>, n: u64) {
        if n > 0 {
            self.delta.rules.push((metric, rule.clone(), n));
        }
    }

    /// Puts a batch out by the named output with this number: from 1, its place among the names the plan gave (0 is the default output).
    ///
    pub fn emit(&mut self, output: usize, batch: Batch) {
        self.outputs.push((output, batch));
    }

    /// Keeps the batch as it is: what is rejected from now on goes as it is here, whatever is done to it meanwhile.
    pub fn keep_originals(&mut self, batch: &Batch) {
        self.originals = (self.rejected_read || self.rejected_shown).then(|| batch.snapshot());
    }

    /// Takes the event in `row` out of the batch and puts it, as it is now or as it was
    /// [kept](Emitter::keep_originals), into an envelope to the `rejected` output. Where nobody reads that output it is counted as dropped, `reason="rejected_unread"`.
    pub fn reject(&mut self, batch: &mut Batch, row: usize, reason: &'static str, detail: &str) {
        if self.rejected_read {
            add(&mut self.delta.rejected, reason, 1);
        } else {
            add(&mut self.delta.dropped, "rejected_unread", 1);
            if !self.rejected_shown {
                batch.drop_row(row);
                return;
            }
        }
        let rejects = self.rejects.get_or_insert_with(|| batch.sibling());
        let from = self.originals.as_ref().unwrap_or(batch);
        // The batch's own time may be long past: it may have waited, or be a replayed letter.
        let now = *self.rejected_at.get_or_insert_with(clock::now_ns);
        let refused = Refused { component: self.component, reason, detail, at: now };
        push_envelope(rejects, from, row, refused, self.json);
        batch.drop_row(row);
    }
}
