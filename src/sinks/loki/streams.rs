//! Names of streams: the labels of an event, as a request has them, with no more values of a label than are allowed.
//!
//! Made once for each set of values and remembered: an event with the values of the one before costs a comparison, one with
//! those of any other a look-up.

use crate::event::{EventRef, json};
use crate::sinks::delivery::{Groups, KnownNames, Values};
use hashbrown::HashSet;

/// The value of a label that has too many.
const OVERFLOW: &[u8] = b"overflow";

/// Names streams.
pub(super) struct Streams {
    labels: Values,
    /// Of each label the values there were, hashed, and whether it was said that there are more.
    seen: Vec<(HashSet<u64>, bool)>,
    max_values: usize,
    json: bool,
    /// Names of streams by the values of their labels, and the place of that of the event before; `None` where a value in it
    /// is put under `overflow`: there may be any number of these, and none is remembered.
    known: KnownNames,
    place: Option<usize>,
    /// A name that was just made.
    name: Vec<u8>,
    /// Events with such a value that are not counted yet.
    pub(super) overflows: u64,
}

impl Streams {
    /// Of these labels; for requests in JSON or in protocol buffers.
    pub(super) fn new(labels: Values, max_values: usize, json: bool) -> Self {
        // Two orders of labels would be two streams.
        let (seen, labels) = (vec![Default::default(); labels.len()], labels.sorted());
        let (known, place, name) = (KnownNames::default(), None, Vec::new());
        Streams { labels, seen, max_values, json, known, place, name, overflows: 0 }
    }

    /// The labels of an event's stream, without regard to how many values there are.
    pub(super) fn labels_of(&mut self, event: EventRef<'_>) -> Vec<(String, String)> {
        self.look(event);
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let labels: Vec<_> = self.labels.each().map(|(_, label, value)| (label.to_owned(), text(value))).collect();
        if labels.is_empty() { vec![("job".to_owned(), "tidegate".to_owned())] } else { labels }
    }

    /// Finds or makes the name of an event's stream.
    #[inline(always)]
    fn look(&mut self, event: EventRef<'_>) {
        if self.labels.read(event, |_| {}) {
            self.place = self.known.find(self.labels.text());
            if self.place.is_none() {
                self.make();
            }
        }
    }

    /// The group of an event's stream in a body: its name is its labels, as the request has them.
    pub(super) fn group(&mut self, event: EventRef<'_>, groups: &mut Groups) -> u32 {
        self.look(event);
        match self.place {
            Some(place) => groups.of_known(self.known.at(place)),
            None => {
                self.overflows += 1;
                groups.of(&self.name)
            }
        }
    }

    fn make(&mut self) {
        let Streams { labels, seen, max_values, json, name, .. } = self;
        let mut overflowing = false;
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
        if !overflowing {
            self.place = Some(self.known.remember(self.labels.text(), &self.name));
        }
    }
}
