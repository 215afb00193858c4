//! Names from input to symbols without a look-up in the process-wide table for each field.

use crate::event::Sym;
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
