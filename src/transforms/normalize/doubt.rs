//! Dates that can be read in two ways.

use crate::time::{Doubt, TimestampReader};

/// Keeps the first doubtful date of a batch.
#[cold]
pub(super) fn note_doubt(reader: &TimestampReader, text: &[u8], kept: &mut Option<(Doubt, String)>) {
    if kept.is_none() {
        *kept = reader.doubt(text).map(|doubt| (doubt, String::from_utf8_lossy(text).chars().take(80).collect()));
    }
}

/// Says which date can be read in two ways.
#[cold]
pub(super) fn say_doubt(component: &str, (doubt, example): &(Doubt, String)) {
    let other = &doubt.other;
    match &doubt.taken {
        Some(taken) => tracing::warn!(
            component, example = %example,
            "dates can be read in two ways: this one was taken as `{taken}`, and `{other}` fits as well; leave the one in `formats` \
             that is meant (said once)"
        ),
        None => tracing::warn!(
            component, example = %example,
            "dates can be read in two ways, and are not read for that: say in `formats` whether it is `{other}` (said once)"
        ),
    }
}
