//! How many connections each source may have: held against the process's open files and `memory_limit`, so that clients,
//! however many, leave files, disk buffers and the API theirs.
//!
//! Connections of all sources together have half of the open files, and what they may hold without having shown
//! credentials fits a quarter of `memory_limit`. What is set explicitly must fit; defaults are cut to equal shares of the
//! rest.

use super::start_error::LimitError;
use crate::component::WantedConnections;
use crate::pipeline::{AnyPlan, Component};
use std::collections::HashMap;

/// A default is not cut below this, whatever it costs.
const LEAST: u32 = 16;

/// What each source gets.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Allotment {
    of: HashMap<String, u32>,
    /// Handles that connections leave to everything else.
    pub(super) handles_left: u64,
}

impl Allotment {
    /// The connections of a source; as many as it likes where it has none.
    pub(super) fn of(&self, id: &str) -> u32 {
        self.of.get(id).copied().unwrap_or(u32::MAX)
    }
}

fn wanted(components: &[Component]) -> Vec<(&str, WantedConnections)> {
    let of = |component: &'_ Component| match &component.plan {
        AnyPlan::Source(plan) => plan.connections(),
        _ => None,
    };
    components.iter().filter_map(|c| Some((c.id.value.as_str(), of(c)?))).collect()
}

/// Whether what is set explicitly fits the memory.
///
/// Errors: what does not, and what would.
pub(crate) fn check_connections(components: &[Component], memory_limit: usize) -> Result<(), LimitError> {
    fits_memory(&wanted(components), memory_limit)
}

fn fits_memory(wanted: &[(&str, WantedConnections)], memory_limit: usize) -> Result<(), LimitError> {
    let share = memory_limit / 4;
    let explicit: Vec<_> = wanted.iter().filter(|(_, w)| w.is_explicit).collect();
    let bytes = explicit.iter().map(|(_, w)| w.connections as usize * w.bytes_each).fold(0, usize::saturating_add);
    if bytes <= share {
        return Ok(());
    }
    let asked = explicit.iter().map(|(id, w)| ((*id).to_owned(), w.connections, w.bytes_each)).collect();
    Err(LimitError::Connections { asked, bytes, share })
}

/// Shares the connections out; `handles` may be open in all.
///
/// Errors: what is set explicitly does not fit the open files.
pub(super) fn allot(components: &[Component], memory_limit: usize, handles: u64) -> Result<Allotment, LimitError> {
    share_out(&wanted(components), memory_limit, handles)
}

fn share_out(wanted: &[(&str, WantedConnections)], memory_limit: usize, handles: u64) -> Result<Allotment, LimitError> {
    let half = handles / 2;
    let explicit = || wanted.iter().filter(|(_, w)| w.is_explicit);
    let asked: u64 = explicit().map(|(_, w)| u64::from(w.connections)).sum();
    if asked > half {
        let ids = explicit().map(|(id, _)| (*id).to_owned()).collect();
        return Err(LimitError::Files { ids, asked, files: handles });
    }
    let taken: usize = explicit().map(|(_, w)| w.connections as usize * w.bytes_each).fold(0, usize::saturating_add);
    let defaults = wanted.iter().filter(|(_, w)| !w.is_explicit).count().max(1);
    let bytes = (memory_limit / 4).saturating_sub(taken) / defaults;
    let by_handles = u32::try_from((half - asked) / defaults as u64).unwrap_or(u32::MAX);
    let mut allotment = Allotment::default();
    let mut sum = 0;
    for (id, w) in wanted {
        let connections = if w.is_explicit {
            w.connections
        } else {
            let by_memory = u32::try_from(bytes / w.bytes_each.max(1)).unwrap_or(u32::MAX);
            w.connections.min(by_memory.min(by_handles).max(LEAST))
        };
        sum += u64::from(connections);
        allotment.of.insert((*id).to_owned(), connections);
    }
    allotment.handles_left = handles.saturating_sub(sum);
    Ok(allotment)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MIB: usize = 1 << 20;

    fn wants(connections: u32, is_explicit: bool) -> WantedConnections {
        WantedConnections { connections, is_explicit, bytes_each: 32 << 10 }
    }

    #[test]
    fn defaults_are_cut_to_what_memory_and_handles_allow() {
        let two = [("a", wants(2048, false)), ("b", wants(20_000, false))];
        let allotment = share_out(&two, 24 * MIB, 1 << 20).unwrap();
        assert_eq!((allotment.of("a"), allotment.of("b"), allotment.of("c")), (96, 96, u32::MAX));
        let allotment = share_out(&two, 24 * MIB, 128).unwrap();
        assert_eq!((allotment.of("a"), allotment.of("b"), allotment.handles_left), (32, 32, 64));
        let allotment = share_out(&two, 1 << 40, 1 << 20).unwrap();
        assert_eq!((allotment.of("a"), allotment.of("b")), (2048, 20_000));
        assert_eq!(share_out(&two, 4 * MIB, 1 << 20).unwrap().of("a"), 16);
    }

    #[test]
    fn what_is_set_is_taken_as_it_is_or_refused() {
        let mixed = [("a", wants(100, true)), ("b", wants(2048, false))];
        let allotment = share_out(&mixed, 24 * MIB, 1024).unwrap();
        assert_eq!((allotment.of("a"), allotment.of("b")), (100, 92));
        let said = share_out(&[("a", wants(600, true))], 1 << 40, 1024).unwrap_err().to_string();
        assert!(said.contains("comes to 600") && said.contains("ulimit -n 1200"), "{said}");
        assert!(fits_memory(&mixed, 24 * MIB).is_ok());
        let said = fits_memory(&[("a", wants(2048, true))], 24 * MIB).unwrap_err().to_string();
        let right = "`max_connections: 2048` of `a` (32 KiB each) may hold 64.0 MiB, but connections have a quarter of \
                     `memory_limit`, 6.0 MiB: ask for fewer, or set `memory_limit: 256MiB`";
        assert_eq!(said, right);
    }
}
