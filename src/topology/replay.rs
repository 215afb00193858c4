//! The part of a configuration that lies behind one component, fed with dead letters: for `tidegate replay`.
//!
//! Everything that is reached from the component by default and named outputs is built as configured, with two differences.
//! Buffers are in memory: the letters stay in their file, which is all the durability that is needed, and the agent may be
//! using the ones on disk. And what ends as a letter again (`rejected` outputs, dead letters of sinks) goes to one sink of
//! the replay's own, not into the file that may be just being read.

use super::build::assemble;
use super::{Blueprint, BufferPart, SinkPart, SourcePart, StartError};
use crate::buffer::FullPolicy;
use crate::component::common::Attach;
use crate::component::{SinkRun, SourceRun};
use crate::decoding::{Decoder, OnDecodeError, TextDecoder};
use crate::pipeline::{AnyPlan, Config};
use crate::settings::Asked;
use crate::telemetry::{ComponentKind, Counters};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Id of the source of letters; no component can be called so.
pub const LETTERS: &str = "replay.letters";
/// Id of the sink of what was refused again.
pub const REFUSED: &str = "replay.refused";

fn wrong(component: Option<&str>, message: String) -> Vec<StartError> {
    vec![StartError::Host { component: component.map(str::to_owned), message }]
}

/// Ids of the components that events which are put into `to` may come to; a source is none of them.
///
/// Errors: there is no such component; it leads nowhere.
fn reached(config: &Config, to: &str) -> Result<BTreeSet<String>, Vec<StartError>> {
    let Some(target) = config.components.iter().find(|c| c.id.value == to) else {
        let ids: Vec<&str> = config.components.iter().map(|c| c.id.value.as_str()).collect();
        return Err(wrong(None, format!("there is no component `{to}`; there are {}", ids.join(", "))));
    };
    let mut reached: BTreeSet<String> = BTreeSet::new();
    if target.kind != ComponentKind::Source {
        reached.insert(to.to_owned());
    }
    // Components stand behind those they read, so one pass finds all.
    for component in &config.components {
        let reads = |from: &str, output: &Option<String>| {
            output.as_deref() != Some("rejected") && (reached.contains(from) || from == to)
        };
        if component.inputs.iter().any(|edge| reads(&edge.from, &edge.output)) {
            reached.insert(component.id.value.clone());
        }
    }
    if reached.is_empty() {
        return Err(wrong(Some(to), "nobody reads it, so there is nowhere to replay to".into()));
    }
    Ok(reached)
}

/// What the settings behind the component `to` ask of an event's metadata. A source's own do not count: its events have
/// passed them.
///
/// Errors: there is no such component; it leads nowhere.
pub fn metadata_asked(config: &Config, to: &str) -> Result<Vec<Asked>, Vec<StartError>> {
    let reached = reached(config, to)?;
    let components = config.components.iter().filter(|c| reached.contains(&c.id.value));
    Ok(components.flat_map(|c| c.asks.iter().cloned()).collect())
}

/// Builds what lies behind the component `to`. A source's letters go to whoever reads it, with what it attaches. `alone`: no
/// agent uses the `data_dir`, so that sinks that keep state in it may be part of this.
///
/// Errors: there is no such component; it leads nowhere; something cannot be built.
pub fn assemble_replay(
    mut config: Config,
    to: &str,
    alone: bool,
    letters: SourceRun,
    refused: SinkRun,
) -> Result<Blueprint, Vec<StartError>> {
    let reached = reached(&config, to)?;
    let attach = config.components.iter().find_map(|c| match &c.plan {
        AnyPlan::Source(plan) if c.id.value == to => Some(Attach::pairs(&plan.common().attach)),
        _ => None,
    });
    let mut entered = Vec::new();
    let mut rejecting = Vec::new();
    config.components.retain(|c| reached.contains(&c.id.value));
    for component in &mut config.components {
        let id = component.id.value.clone();
        if id == to || component.inputs.iter().any(|e| e.from == to && e.output.is_none() && !reached.contains(to)) {
            entered.push(id.clone());
        }
        component.inputs.retain(|e| reached.contains(&e.from) && e.output.as_deref() != Some("rejected"));
        match &component.plan {
            AnyPlan::Transform(plan) if plan.outputs().iter().any(|o| o == "rejected") => rejecting.push(id),
            AnyPlan::Sink(plan) if !alone && !plan.writes().is_empty() => {
                let message = format!(
                    "an agent runs on this data_dir, and this sink would write the same files beside it: stop the agent, or replay to a component that does not lead to `{id}`"
                );
                return Err(wrong(Some(&id), message));
            }
            _ => {}
        }
    }
    let mut blueprint = assemble(config, true)?;
    let letters_id: Arc<str> = LETTERS.into();
    for part in &mut blueprint.transforms {
        if entered.iter().any(|id| **id == *part.counters.id) {
            part.inputs.push((letters_id.clone(), "".into()));
        }
    }
    for part in &mut blueprint.sinks {
        if entered.iter().any(|id| **id == *part.counters.id) {
            part.inputs.push((letters_id.clone(), "".into()));
        }
        part.buffer = BufferPart { max_bytes: None, policy: FullPolicy::Block, disk: None, behind_disk: None };
        part.dead_letter = Some(REFUSED.into());
    }
    blueprint.sources.push(SourcePart {
        counters: Counters::new(LETTERS, ComponentKind::Source, "replay"),
        run: letters,
        decoder: Decoder::new(Box::new(TextDecoder), OnDecodeError::Keep),
        when: None,
        attach: attach.unwrap_or_default(),
        overlaps: false,
    });
    blueprint.sinks.push(SinkPart {
        counters: Counters::new(REFUSED, ComponentKind::Sink, "replay"),
        run: refused,
        inputs: rejecting.into_iter().map(|id| (id.into(), "rejected".into())).collect(),
        takes_stale: false,
        keeps_places: false,
        when: None,
        buffer: BufferPart { max_bytes: None, policy: FullPolicy::Block, disk: None, behind_disk: None },
        dead_letter: None,
    });
    Ok(blueprint)
}
