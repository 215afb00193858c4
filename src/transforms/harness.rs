//! Test support: a transform from its YAML, run over lines outside any topology, with its ledger.
#![allow(clippy::unwrap_used)]

use crate::ack::Ack;
use crate::component::plan::TransformPlan;
use crate::component::{BuildContext, Delta, Emitter, Transform};
use crate::error::BuildError;
use crate::event::{Batch, JsonRows, Origin, Slab};
use crate::settings::{Settings, read_and_check};
use crate::telemetry::{ComponentKind, Counters};
use std::collections::BTreeMap;
use std::sync::Arc;

/// 2026-01-02T03:04:05.678Z
pub(crate) const NOW: i64 = 1_767_323_045_678_000_000;

/// What a run over lines gave.
#[derive(Debug, Default)]
pub(crate) struct Ran {
    /// Lines that left by the default output.
    pub(crate) out: Vec<String>,
    /// Lines that left by other outputs (or by emission to the default one), by number.
    pub(crate) emitted: Vec<(usize, Vec<String>)>,
    /// Envelopes.
    pub(crate) rejected: Vec<String>,
    pub(crate) delta: Delta,
}

impl Ran {
    /// Events dropped for a reason.
    pub(crate) fn dropped(&self, reason: &str) -> u64 {
        self.delta.dropped.iter().find(|(r, _)| *r == reason).map_or(0, |(_, n)| *n)
    }

    /// Mistakes of a kind.
    pub(crate) fn errors(&self, kind: &str) -> u64 {
        self.delta.errors.iter().find(|(k, _)| *k == kind).map_or(0, |(_, n)| *n)
    }

    /// What was emitted by an output.
    pub(crate) fn output(&self, number: usize) -> Vec<String> {
        self.emitted.iter().filter(|(n, _)| *n == number).flat_map(|(_, lines)| lines.clone()).collect()
    }

    fn check_ledger(&self, came: usize) {
        let dropped: u64 = self.delta.dropped.iter().map(|(_, n)| n).sum();
        let rejected: u64 = self.delta.rejected.iter().map(|(_, n)| n).sum();
        let emitted: usize = self.emitted.iter().map(|(_, lines)| lines.len()).sum();
        let out = (self.out.len() + emitted) as u64;
        let held = i128::from(self.delta.held);
        assert_eq!(
            came as i128 + i128::from(self.delta.created),
            i128::from(out + dropped + rejected) + held,
            "the ledger balances: {self:?}"
        );
        assert_eq!(rejected, self.rejected.len() as u64);
    }
}

/// The transform's plan from its YAML, without `type`; or what is said of it.
pub(crate) fn plan<C: Settings + TransformPlan>(yaml: &str) -> Result<Box<C>, String> {
    let none = BTreeMap::<String, String>::new();
    let (config, report) = read_and_check("t.yaml", yaml, &none, C::check);
    config.map(Box::new).ok_or_else(|| report.render())
}

/// What transforms are built with.
pub(crate) fn context() -> BuildContext {
    BuildContext {
        id: "t".into(),
        data_dir: std::env::temp_dir(),
        timezone: jiff::tz::TimeZone::UTC,
        counters: Counters::new("t", ComponentKind::Transform, "test"),
        once: true,
        own_files: Arc::default(),
        host: "h".into(),
        memory_limit: 24 << 20,
        working_bytes: usize::MAX,
        connections: u32::MAX,
        handles: 1024,
        reads_access_logs: false,
        chance: Default::default(),
    }
}

/// The transform from its YAML.
pub(crate) fn build<C: Settings + TransformPlan>(yaml: &str) -> Result<Box<dyn Transform>, BuildError> {
    plan::<C>(yaml).unwrap_or_else(|said| panic!("{said}")).build(&context())
}

/// A batch of JSON lines, received at a time.
pub(crate) fn batch_at(lines: &[&str], received_at: i64) -> Batch {
    let mut text = Vec::new();
    let mut spans = Vec::new();
    for line in lines {
        spans.push((text.len(), text.len() + line.len()));
        text.extend_from_slice(line.as_bytes());
        text.push(b'\n');
    }
    let mut batch = Batch::new(Slab::from_vec(text), Origin::of_source("s"), received_at, Ack::none());
    let mut rows = JsonRows::default();
    for (start, end) in spans {
        rows.push(&mut batch, start, end, start as u64).unwrap();
    }
    batch
}

/// The live events as JSON lines.
pub(crate) fn lines(batch: &Batch) -> Vec<String> {
    let line = |event: crate::event::EventRef<'_>| {
        let mut out = Vec::new();
        event.write_json(&mut out);
        String::from_utf8(out).unwrap()
    };
    batch.iter().map(line).collect()
}

/// Runs a transform over lines received at a time; checks its ledger.
pub(crate) fn run_at(transform: &mut dyn Transform, input: &[&str], received_at: i64) -> Ran {
    let mut batch = batch_at(input, received_at);
    let (mut ran, mut json) = (Ran::default(), Vec::new());
    let mut emitter = Emitter::new("t", true, &mut ran.delta, &mut json);
    transform.apply(&mut batch, &mut emitter);
    let (rejects, outputs) = (emitter.rejects.take(), std::mem::take(&mut emitter.outputs));
    ran.out = lines(&batch);
    ran.emitted = outputs.iter().map(|(n, b)| (*n, lines(b))).collect();
    ran.rejected = rejects.iter().flat_map(lines).collect();
    ran.check_ledger(input.len());
    ran
}

/// [`run_at`] with [`NOW`].
pub(crate) fn run(transform: &mut dyn Transform, input: &[&str]) -> Ran {
    run_at(transform, input, NOW)
}

/// Lets time pass (`finish`: to the end) and takes what comes out.
pub(crate) fn tick(transform: &mut dyn Transform, now: i64, finish: bool) -> Ran {
    let (mut ran, mut json) = (Ran::default(), Vec::new());
    let mut emitter = Emitter::new("t", true, &mut ran.delta, &mut json);
    if finish {
        transform.finish(now, &mut emitter);
    } else {
        transform.tick(now, &mut emitter);
    }
    let outputs = std::mem::take(&mut emitter.outputs);
    ran.emitted = outputs.iter().map(|(n, b)| (*n, lines(b))).collect();
    ran.check_ledger(0);
    ran
}
