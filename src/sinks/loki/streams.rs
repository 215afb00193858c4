//! Names of streams: the labels of an event, as a request has them, with no more values of a label than are allowed.
//!
//! Made once for each set of values and remembered; an event with the values of the one before costs a comparison.

use crate::event::{EventRef, json};
use crate::sinks::delivery::Values;
use hashbrown::{HashMap, HashSet};

/// The value of a label that has too many.
const OVERFLOW: &[u8] = b"overflow";
/// Streams whose names are remembered.
const KNOWN: usize = 4096;

/// Names streams.
pub(super) struct Streams {
    labels: Values,
    /// Of each label the values there were, hashed, and whether it was said that there are more.
    seen: Vec<(HashSet<u64>, bool)>,
    max_values: usize,
    json: bool,
    /// Names of streams by the values of their labels.
    known: HashMap<Box<[u8]>, Box<[u8]>>,
    /// The name of the stream of the event before; whether a value in it is put under `overflow`.
    name: (Vec<u8>, bool),
    /// Events with such a value that are not counted yet.
    pub(super) overflows: u64,
}

impl Streams {
    /// Of these labels; for requests in JSON or in protocol buffers.
    pub(super) fn new(labels: Values, max_values: usize, json: bool) -> Self {
        // Two orders of labels would be two streams.
        let (seen, labels) = (vec![Default::default(); labels.len()], labels.sorted());
        Streams { labels, seen, max_values, json, known: HashMap::new(), name: Default::default(), overflows: 0 }
    }

    /// The name of an event's stream: its labels, as the request has them.
    pub(super) fn name(&mut self, event: EventRef<'_>) -> &[u8] {
        if self.labels.read(event, |_| {}) {
            match self.known.get(self.labels.text()) {
                Some(name) => self.name = (name.to_vec(), false),
                None => self.make(),
            }
        }
        self.overflows += u64::from(self.name.1);
        &self.name.0
    }

    fn make(&mut self) {
        let Streams { labels, seen, max_values, json, name: (name, overflowing), .. } = self;
        name.clear();
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
        *overflowing = false;
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
            *overflowing = true;
            put(label, OVERFLOW);
        }
        if labels.each().next().is_none() {
            put("job", b"tidegate");
        }
        name.push(b'}');
        // There may be any number of values that are too many: none is remembered.
        if !*overflowing {
            if self.known.len() >= KNOWN {
                self.known.clear();
            }
            self.known.insert(labels.text().into(), name.as_slice().into());
        }
    }
}
