//! Names from input to symbols without a look-up in the process-wide table for each field.

use crate::event::{Batch, Sym, Value};
use hashbrown::HashMap;

/// Most names one cache remembers by hash; others cost a look-up in the shared table.
const KNOWN: usize = 1024;

/// Remembers the names of the event before, since the next mostly has the same in the same order.
#[derive(Default)]
pub struct KeyCache {
    shape: Vec<Sym>,
    known: HashMap<&'static [u8], Sym>,
}

impl KeyCache {
    /// The symbol of field `n`'s name, which is plain text; `None` for a name that has none.
    #[inline]
    pub fn get(&mut self, n: usize, name: &[u8]) -> Option<Sym> {
        match self.shape.get(n) {
            Some(sym) if sym.text().as_bytes() == name => Some(*sym),
            _ => self.look_up(n, name),
        }
    }

    #[cold]
    fn look_up(&mut self, n: usize, name: &[u8]) -> Option<Sym> {
        let sym = match self.known.get(name) {
            Some(sym) => *sym,
            None => {
                let sym = Sym::from_input(std::str::from_utf8(name).ok()?)?;
                if self.known.len() < KNOWN {
                    self.known.insert(sym.text().as_bytes(), sym);
                }
                sym
            }
        };
        if let Some(place) = self.shape.get_mut(n) {
            *place = sym;
        } else if n == self.shape.len() {
            self.shape.push(sym);
        }
        Some(sym)
    }
}

/// Most numbers that are tried for a name that is taken.
const TRIES: usize = 16;

/// Adds a field whose name is taken in its event: `name_2`, `name_3`, …; `number` is the first to try.
#[cold]
pub(super) fn push_numbered(batch: &mut Batch, row: usize, name: &[u8], number: usize, value: Value<'_>) {
    let mut text = name.to_vec();
    for number in number..number + TRIES {
        text.truncate(name.len());
        text.push(b'_');
        text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        let Some(sym) = std::str::from_utf8(&text).ok().and_then(Sym::from_input) else {
            batch.event_mut(row).push_text(&text, value);
            return;
        };
        if batch.event(row).position(sym).is_none() {
            batch.event_mut(row).push(sym, value);
            return;
        }
    }
    // Names that somebody made to be taken: the last of them has the value.
    if let Some(sym) = std::str::from_utf8(&text).ok().and_then(Sym::from_input) {
        batch.event_mut(row).set_field(sym, value);
    }
}
