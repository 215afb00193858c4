//! Names of streams: the labels of an event, as a request has them, with no more values of a label than are allowed.
//!
//! Made once for each set of values and remembered; an event with the values of the one before costs a comparison.

use crate::event::{EventRef, json};
use crate::template::Template;
use hashbrown::{HashMap, HashSet};

/// The value of a label that has too many.
const OVERFLOW: &str = "overflow";

/// Names streams.
pub(super) struct Streams {
    /// Sorted by name.
    labels: Vec<(String, Template)>,
    /// Of each label the values there were, hashed.
    values: Vec<HashSet<u64>>,
    max_values: usize,
    json: bool,
    /// Names of streams by the values of their labels.
    known: HashMap<Box<[u8]>, Box<[u8]>>,
    /// The values of the event at hand and of the one before, each behind its length.
    raw: Vec<u8>,
    last: Vec<u8>,
    /// The name of the stream of the event before.
    name: Vec<u8>,
    /// A value in it is put under `overflow`.
    overflowing: bool,
    /// Events with such a value that are not counted yet.
    overflows: u64,
    /// Labels of which that was said.
    said: HashSet<usize>,
}

/// Streams whose names are remembered.
const KNOWN: usize = 4096;

impl Streams {
    /// Of these labels; for requests in JSON or in protocol buffers.
    pub(super) fn new(mut labels: Vec<(String, Template)>, max_values: usize, json: bool) -> Self {
        // Two orders of labels would be two streams.
        labels.sort_by(|a, b| a.0.cmp(&b.0));
        Streams {
            values: vec![HashSet::new(); labels.len()],
            labels,
            max_values,
            json,
            known: HashMap::new(),
            raw: Vec::new(),
            last: Vec::new(),
            name: Vec::new(),
            overflowing: false,
            overflows: 0,
            said: HashSet::new(),
        }
    }

    /// How many events have had a value under `overflow` since this was asked last.
    pub(super) fn take_overflows(&mut self) -> u64 {
        std::mem::take(&mut self.overflows)
    }

    /// The name of an event's stream: its labels, as the request has them.
    pub(super) fn name(&mut self, event: EventRef<'_>) -> &[u8] {
        self.raw.clear();
        for (_, value) in &self.labels {
            let at = self.raw.len();
            self.raw.extend_from_slice(&[0; 4]);
            value.render_or_empty(event, &mut self.raw);
            let len = (self.raw.len() - at - 4) as u32;
            self.raw[at..at + 4].copy_from_slice(&len.to_le_bytes());
        }
        if self.raw != self.last || self.name.is_empty() {
            match self.known.get(self.raw.as_slice()) {
                Some(name) => {
                    self.name = name.to_vec();
                    self.overflowing = false;
                }
                None => self.make(),
            }
            std::mem::swap(&mut self.raw, &mut self.last);
        }
        self.overflows += u64::from(self.overflowing);
        &self.name
    }

    fn make(&mut self) {
        let Streams { labels, values, max_values, json, raw, name, said, .. } = self;
        name.clear();
        name.push(b'{');
        let mut rest = raw.as_slice();
        let mut overflowed = false;
        let mut put = |label: &str, value: &[u8]| {
            if name.len() > 1 {
                name.extend_from_slice(if *json { &b","[..] } else { b", " });
            }
            match *json {
                true => name.extend_from_slice(format!("\"{label}\":\"").as_bytes()),
                false => name.extend_from_slice(format!("{label}=\"").as_bytes()),
            }
            // JSON's escapes are those that Go reads, too.
            json::escape(value, name);
            name.push(b'"');
        };
        let mut any = false;
        for (n, ((label, _), seen)) in labels.iter().zip(values).enumerate() {
            let Some((len, behind)) = rest.split_first_chunk::<4>() else { break };
            let (value, behind) = behind.split_at(u32::from_le_bytes(*len) as usize);
            rest = behind;
            if value.is_empty() {
                continue;
            }
            any = true;
            let hash = xxhash_rust::xxh3::xxh3_64(value);
            if seen.contains(&hash) || seen.len() < *max_values {
                seen.insert(hash);
                put(label, value);
                continue;
            }
            if said.insert(n) {
                tracing::warn!(
                    label = label.as_str(),
                    max_label_values = *max_values,
                    "a label has more values: further ones are put under `overflow`; move it to `structured_metadata`"
                );
            }
            overflowed = true;
            put(label, OVERFLOW.as_bytes());
        }
        if !any {
            put("job", b"tidegate");
        }
        name.push(b'}');
        self.overflowing = overflowed;
        // There may be any number of values that are too many: none is remembered.
        if !overflowed {
            if self.known.len() >= KNOWN {
                self.known.clear();
            }
            self.known.insert(self.raw.as_slice().into(), self.name.as_slice().into());
        }
    }
}
