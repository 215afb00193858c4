//! What a worker and a pipeline in memory do alike.

use crate::component::letter::{Refused, push_envelope};
use crate::event::Batch;

/// Takes the rows that a decoder refused out of a batch. Where somebody reads them, they go into envelopes of the source with the id
/// `reader`, all of the time that `now` gives.
///
/// Shape: `None` where there are none, or nobody reads them.
pub(super) fn take_rejects(
    batch: &mut Batch,
    refused: &[(usize, &'static str)],
    reader: Option<&str>,
    now: impl FnOnce() -> i64,
    json: &mut Vec<u8>,
) -> Option<Batch> {
    let source = reader.filter(|_| !refused.is_empty());
    let mut rejects = source.map(|source| (source, batch.sibling(), now()));
    for &(row, reason) in refused {
        if let Some((source, to, now)) = &mut rejects {
            push_envelope(
                to,
                batch,
                row,
                Refused { component: source, reason: "decode", detail: reason, at: *now },
                json,
            );
        }
        batch.drop_row(row);
    }
    rejects.map(|(_, rejects, _)| rejects)
}
