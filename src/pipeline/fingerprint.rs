//! Whether a component has changed: its settings after interpolation, and what it reads once at its start.

use std::collections::BTreeSet;
use std::sync::Arc;

/// What tells whether a component's settings are the same as another time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// All of them, but who it reads and the buffer.
    pub settings: u128,
    /// Of a sink: `buffer`.
    pub buffer: u128,
    /// By setting, to tell which are others.
    pub keys: Arc<[(String, u128)]>,
}

impl Fingerprint {
    /// The settings that are not the same.
    pub fn differences(&self, other: &Fingerprint) -> Vec<String> {
        let keys = |of: &Fingerprint| of.keys.iter().cloned().collect::<BTreeSet<_>>();
        let names: BTreeSet<String> =
            keys(self).symmetric_difference(&keys(other)).map(|(name, _)| name.clone()).collect();
        match names.is_empty() {
            true => vec!["what it is told of files and the time zone".to_owned()],
            false => names.into_iter().collect(),
        }
    }
}
