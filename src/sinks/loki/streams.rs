//! Names of streams: the labels of an event, as a request has them, with no more values of a label than are allowed.

use crate::event::json;
use crate::sinks::delivery::Values;
use hashbrown::HashSet;

/// The value of a label that has too many.
const OVERFLOW: &[u8] = b"overflow";

/// Names streams.
pub(super) struct Streams {
    /// Of each label the values there were, hashed, and whether it was said that there are more.
    seen: Vec<(HashSet<u64>, bool)>,
    max_values: usize,
    json: bool,
}

impl Streams {
    /// With so many labels; for requests in JSON or in protocol buffers.
    pub(super) fn new(labels: usize, max_values: usize, json: bool) -> Self {
        Streams { seen: vec![Default::default(); labels], max_values, json }
    }

    /// Makes the name of a stream: its labels, as the request has them. `false` where a value in it is put under `overflow`:
    /// there may be any number of these, and none is to be remembered.
    pub(super) fn name(&mut self, labels: &Values, name: &mut Vec<u8>) -> bool {
        let Streams { seen, max_values, json } = self;
        let mut overflowing = false;
        let (between, is) = if *json { (",", ":") } else { (", ", "=") };
        let mut put = |label: &str, value: &[u8]| {
            name.extend_from_slice(if name.is_empty() { "{" } else { between }.as_bytes());
            match *json {
                true => json::quote(label.as_bytes(), name),
                false => name.extend_from_slice(label.as_bytes()),
            }
            name.extend_from_slice(is.as_bytes());
            // JSON's escapes are those that Go reads, too.
            json::quote(value, name);
        };
        for (n, label, value) in labels.each() {
            let (values, said) = &mut seen[n];
            let hash = xxhash_rust::xxh3::xxh3_64(value);
            if values.contains(&hash) || values.len() < *max_values {
                values.insert(hash);
                put(label, value);
                continue;
            }
            if !std::mem::replace(said, true) {
                tracing::warn!(
                    label,
                    max_label_values = *max_values,
                    "a label has more values: further ones are put under `overflow`; move it to `structured_metadata`"
                );
            }
            overflowing = true;
            put(label, OVERFLOW);
        }
        if labels.each().next().is_none() {
            put("job", b"tidegate");
        }
        name.push(b'}');
        !overflowing
    }
}
