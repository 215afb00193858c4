//! What several templates make of an event: the same as of the event before, or of one of those before it, mostly, and then
//! nothing is made of it again.

use crate::event::{EventRef, Form, Str, Sym, Value};
use crate::settings::Map;
use crate::template::Template;
use hashbrown::HashMap;

/// Named templates, and their values for the event read last.
#[derive(Debug, Clone, Default)]
pub struct Values {
    /// Names, what is made, and the field that is taken as it is where that is all.
    templates: Vec<(String, Template, Option<Sym>)>,
    /// The values, each behind its length (32 bits), and what else tells two events apart; of the event read last, and work
    /// space.
    text: Vec<u8>,
    work: Vec<u8>,
    begun: bool,
}

impl Values {
    /// Of these templates, in this order.
    pub fn new(templates: &Map<Template>) -> Self {
        let each = templates.iter().map(|(name, value)| (name.value.clone(), value.clone(), value.as_field()));
        let templates = each.collect();
        Values { templates, ..Values::default() }
    }

    /// In the order of their names.
    pub fn sorted(mut self) -> Self {
        self.templates.sort_by(|a, b| a.0.cmp(&b.0));
        self
    }

    /// Reads an event; whether something differs from the event before. What `more` appends counts too.
    pub fn read(&mut self, event: EventRef<'_>, more: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.work.clear();
        for (_, value, field) in &self.templates {
            let at = self.work.len();
            self.work.extend_from_slice(&[0; 4]);
            match field {
                None => value.render_or_empty(event, &mut self.work),
                Some(field) => match event.field(*field) {
                    None | Some(Value::Null) => {}
                    Some(Value::Str(Str { bytes, form: Form::Clean | Form::Plain })) => {
                        self.work.extend_from_slice(bytes);
                    }
                    Some(value) => value.append_text(&mut self.work),
                },
            }
            let len = (self.work.len() - at - 4) as u32;
            self.work[at..at + 4].copy_from_slice(&len.to_le_bytes());
        }
        more(&mut self.work);
        let same = std::mem::replace(&mut self.begun, true) && self.work == self.text;
        std::mem::swap(&mut self.work, &mut self.text);
        !same
    }

    /// What tells the event from others.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Number, name and value of each template that has made something of the event.
    pub fn each(&self) -> impl Iterator<Item = (usize, &str, &[u8])> {
        let mut rest = self.text.as_slice();
        let named = self.templates.iter().enumerate().map(move |(n, (name, ..))| {
            let (len, behind) = rest.split_first_chunk::<4>().unwrap_or((&[0; 4], &[]));
            let (value, behind) = behind.split_at((u32::from_le_bytes(*len) as usize).min(behind.len()));
            rest = behind;
            (n, name.as_str(), value)
        });
        named.filter(|(_, _, value)| !value.is_empty())
    }
}

/// Names most that are remembered, and bytes of them and of what they are made of.
const KNOWN: usize = 4096;
const KNOWN_BYTES: usize = 1 << 20;

/// Names that were made of [`Values`], found again by these.
#[derive(Debug, Default)]
pub(super) struct KnownNames {
    places: HashMap<Box<[u8]>, usize>,
    names: Vec<Box<[u8]>>,
    bytes: usize,
    /// How often all were forgotten.
    generation: u32,
}

/// A name that is remembered.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Its place, which it keeps throughout a generation and no other name has.
    pub place: usize,
    /// The generation.
    pub generation: u32,
    /// The name.
    pub name: &'a [u8],
}

impl KnownNames {
    /// The place of the name that was made of these values.
    #[inline]
    pub(super) fn find(&self, values: &[u8]) -> Option<usize> {
        self.places.get(values).copied()
    }

    /// Remembers a name; its place. Where there are too many, all others are forgotten.
    pub(super) fn remember(&mut self, values: &[u8], name: &[u8]) -> usize {
        self.bytes += values.len() + name.len();
        if self.names.len() >= KNOWN || self.bytes > KNOWN_BYTES {
            self.places.clear();
            self.names.clear();
            self.bytes = values.len() + name.len();
            self.generation = self.generation.wrapping_add(1);
        }
        self.places.insert(values.into(), self.names.len());
        self.names.push(name.into());
        self.names.len() - 1
    }

    /// The name at this place.
    #[inline]
    pub(super) fn at(&self, place: usize) -> Known<'_> {
        Known { place, generation: self.generation, name: &self.names[place] }
    }
}

#[cfg(test)]
mod tests {
    use super::super::request_body::Groups;
    use super::*;

    /// Whatever is remembered and forgotten in between, a body's groups are those of the names.
    #[test]
    fn groups_found_by_place_are_those_of_their_names() {
        let mut random = fastrand::Rng::with_seed(16);
        let (mut known, mut groups, mut plain) = (KnownNames::default(), Groups::default(), Groups::default());
        for n in 0..40_000 {
            if n % 7000 == 0 {
                (groups, plain) = Default::default();
            }
            let values = random.u32(0..if n < 20_000 { 30 } else { 9000 }).to_le_bytes();
            // Of two sets of values the same name is made.
            let name = format!("{{a=\"{}\"}}", u32::from_le_bytes(values) / 2);
            let place = known.find(&values).unwrap_or_else(|| known.remember(&values, name.as_bytes()));
            let found = known.at(place);
            assert_eq!(found.name, name.as_bytes());
            let group = groups.of_known(found);
            assert_eq!(group, plain.of(name.as_bytes()));
            assert_eq!(groups.name(group), name.as_bytes());
            assert!(known.names.len() <= KNOWN && known.places.len() == known.names.len());
        }
        assert!(known.generation > 0, "nothing was forgotten");
        known.remember(&[1], &vec![b'x'; KNOWN_BYTES]);
        assert_eq!(known.names.len(), 1, "long names are not kept in numbers");
    }
}
