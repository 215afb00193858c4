//! What another configuration would leave behind: disk buffers and queues with events, checkpoints, dead letters.

use super::report::Orphan;
use crate::buffer::disk::tools;
use crate::pipeline::{AnyPlan, Config};
use crate::sources::file::places;
use crate::telemetry::ComponentKind;
use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;

/// Of sinks and sources of `before` that `after` does not have, or has elsewhere. `held`: events that sinks hold, by id.
pub(super) fn find(before: &Config, after: &Config, held: &HashMap<String, u64>) -> Vec<Orphan> {
    let mut out = buffers(before, after);
    out.extend(queues(before, after, held));
    out.extend(checkpoints(before, after));
    out.extend(dead_letters(before, after));
    out
}

/// Ids of the sinks with a disk buffer.
fn owners(config: &Config) -> Vec<&str> {
    let owns = |c: &&crate::pipeline::Component| matches!(&c.plan, AnyPlan::Sink(plan) if plan.common().buffer.disk().is_some());
    config.components.iter().filter(owns).map(|c| c.id.value.as_str()).collect()
}

fn buffers(before: &Config, after: &Config) -> Vec<Orphan> {
    let data_dir = &before.globals.data_dir;
    let (had, has) = (owners(before), owners(after));
    // Those that nobody owns by now are no matter of this change.
    let orphans = tools::orphans(data_dir, &has).unwrap_or_default().into_iter().filter(|(id, _)| had.contains(&&**id));
    let orphan = |(id, events): (String, u64)| Orphan {
        what: "disk_buffer".to_owned(),
        path: tools::folder(data_dir, &id).display().to_string(),
        id,
        events: Some(events),
        files: None,
        detail:
            "no sink would deliver them: keep a sink with this id and a disk buffer, or look with `tidegate buffer`"
                .into(),
    };
    orphans.map(orphan).collect()
}

fn queues(before: &Config, after: &Config, held: &HashMap<String, u64>) -> Vec<Orphan> {
    let on_disk = owners(before);
    let gone = before.components.iter().filter(|c| c.kind == ComponentKind::Sink).filter(|c| {
        let id = &c.id.value;
        !after.components.iter().any(|a| a.id.value == *id && a.type_name == c.type_name) && !on_disk.contains(&&**id)
    });
    let orphan = |c: &crate::pipeline::Component| {
        let events = *held.get(&c.id.value).filter(|events| **events > 0)?;
        Some(Orphan {
            what: "queue".to_owned(),
            id: c.id.value.clone(),
            events: Some(events),
            detail: "what it has not delivered after `shutdown_timeout` is dropped".to_owned(),
            ..Orphan::default()
        })
    };
    gone.filter_map(orphan).collect()
}

fn checkpoints(before: &Config, after: &Config) -> Vec<Orphan> {
    let reads = |c: &crate::pipeline::Component| matches!(&c.plan, AnyPlan::Source(plan) if plan.reads_files());
    let gone = before
        .components
        .iter()
        .filter(|c| reads(c))
        .filter(|c| !after.components.iter().any(|a| a.id.value == c.id.value && reads(a)));
    let orphan = |c: &crate::pipeline::Component| {
        let folder = before.globals.data_dir.join(&c.id.value);
        let known = places(&folder).ok()??;
        Some(Orphan {
            what: "checkpoint".to_owned(),
            id: c.id.value.clone(),
            events: None,
            files: Some(known.len() as u64),
            path: folder.display().to_string(),
            detail: "it stays; a `file` source with this id would go on from it".to_owned(),
        })
    };
    gone.filter_map(orphan).collect()
}

/// Largest file whose letters are counted.
const MAX_COUNTED: u64 = 1 << 30;

fn dead_letters(before: &Config, after: &Config) -> Vec<Orphan> {
    let takes_letters = |id: &str| {
        before.components.iter().any(|c| match &c.plan {
            AnyPlan::Sink(plan) => plan.common().dead_letter.as_ref().is_some_and(|d| d.value == id),
            _ => false,
        })
    };
    let written_after: Vec<_> = after
        .components
        .iter()
        .filter_map(|c| if let AnyPlan::Sink(plan) = &c.plan { Some(plan.writes()) } else { None })
        .flatten()
        .collect();
    let mut out = Vec::new();
    for c in before.components.iter().filter(|c| takes_letters(&c.id.value)) {
        let AnyPlan::Sink(plan) = &c.plan else { continue };
        for path in plan.writes().into_iter().filter(|path| !written_after.contains(path) && path.exists()) {
            out.push(Orphan {
                what: "dead_letters".to_owned(),
                id: c.id.value.clone(),
                events: count_lines(&path),
                files: None,
                path: path.display().to_string(),
                detail: "they stay as they are: `tidegate replay` feeds them back in".to_owned(),
            });
        }
    }
    out
}

/// Lines of a file; `None` of a folder, and of what is compressed or very large.
fn count_lines(path: &Path) -> Option<u64> {
    let mut file = std::fs::File::open(path).ok()?;
    let meta = file.metadata().ok()?;
    if !meta.is_file() || meta.len() > MAX_COUNTED {
        return None;
    }
    let (mut buffer, mut lines, mut first) = (vec![0; 256 << 10], 0, true);
    loop {
        match file.read(&mut buffer).ok()? {
            0 => return Some(lines),
            // Letters are JSON.
            n if std::mem::take(&mut first) && buffer[..n].first() != Some(&b'{') => return None,
            n => lines += memchr::memchr_iter(b'\n', &buffer[..n]).count() as u64,
        }
    }
}
