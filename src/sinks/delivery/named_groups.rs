//! Groups of a body by names that templates give.

use super::request_body::Groups;
use super::values::{KnownNames, Values};
use crate::event::EventRef;

/// Groups of records by what templates make of their events: a name is made once for each set of values.
#[derive(Debug)]
pub struct NamedGroups {
    values: Values,
    known: KnownNames,
    /// The place of the event before; `None` where its name is not remembered but the one at hand.
    place: Option<usize>,
    name: Vec<u8>,
}

impl NamedGroups {
    /// By these values.
    pub fn new(values: Values) -> Self {
        NamedGroups { values, known: KnownNames::default(), place: None, name: Vec::new() }
    }

    /// The group of an event in a body, and whether its name is one that is remembered. What `more` appends tells groups apart too;
    /// `name` makes the name of a new one of the values, and says whether there are so few of its kind that it may be remembered.
    #[inline]
    pub fn of(
        &mut self,
        event: EventRef<'_>,
        groups: &mut Groups,
        more: impl FnOnce(&mut Vec<u8>),
        name: impl FnOnce(&Values, &mut Vec<u8>) -> bool,
    ) -> (u32, bool) {
        self.look(event, more, name);
        match self.place {
            Some(place) => (groups.of_known(self.known.at(place)), true),
            None => (groups.of(&self.name), false),
        }
    }

    /// The values of an event, which is looked at as [`of`](Self::of) looks at it.
    #[inline]
    pub fn look(
        &mut self,
        event: EventRef<'_>,
        more: impl FnOnce(&mut Vec<u8>),
        name: impl FnOnce(&Values, &mut Vec<u8>) -> bool,
    ) -> &Values {
        if self.values.read(event, more) {
            self.place = self.known.find(self.values.text());
            if self.place.is_none() {
                self.name.clear();
                if name(&self.values, &mut self.name) {
                    self.place = Some(self.known.remember(self.values.text(), &self.name));
                }
            }
        }
        &self.values
    }
}
