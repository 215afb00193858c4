//! Where the fields of one event stand.

use super::*;

/// The places of an event's fields by symbol, for many changes to one event: each then costs the same, however many fields
/// there are, where [`EventMut::set_field`] looks through all of them.
#[derive(Default)]
pub struct Places {
    /// By number of symbol: the place of its last field and 1, or 0 where there is none.
    at: Vec<u32>,
    /// Symbols that have an entry other than 0.
    used: Vec<u32>,
    /// A key stands there twice.
    repeated: bool,
}

impl Places {
    /// Looks through an event; forgets the one before.
    pub fn look(&mut self, event: EventRef<'_>) {
        for key in self.used.drain(..) {
            self.at[key as usize] = 0;
        }
        self.repeated = false;
        for (i, field) in event.batch.fields_of(event.row).iter().enumerate() {
            if field.key & LOCAL_KEY == 0 {
                self.put(field.key, i);
            }
        }
    }

    fn put(&mut self, key: u32, i: usize) {
        let n = key as usize;
        if n >= self.at.len() {
            self.at.resize(n + 1, 0);
        }
        match std::mem::replace(&mut self.at[n], i as u32 + 1) {
            0 => self.used.push(key),
            _ => self.repeated = true,
        }
    }

    /// As [`EventMut::set_field`]. Shape: since [`look`](Places::look), the event's fields were changed by this only, or in
    /// their place.
    pub fn set(&mut self, event: &mut EventMut<'_>, key: Sym, value: Value<'_>) {
        if self.repeated {
            return event.set_field(key, value);
        }
        match self.at.get(key.0 as usize) {
            Some(&place) if place > 0 => event.set_at(place as usize - 1, value),
            _ => {
                let i = event.as_ref().len();
                if event.push(key, value) {
                    self.put(key.0, i);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn batch(line: &str) -> Batch {
        let mut batch = Batch::new(Slab::from_vec(line.into()), Origin::of_source("s"), 0, Ack::none());
        JsonRows::default().push(&mut batch, 0, line.len(), 0).unwrap();
        batch
    }

    proptest! {
        #[test]
        fn setting_by_places_is_setting_by_search(
            keys in proptest::collection::vec(0u8..6, 0..6),
            sets in proptest::collection::vec(0u8..9, 0..9),
        ) {
            let members: Vec<String> = keys.iter().enumerate().map(|(n, k)| format!("\"k{k}\":{n}")).collect();
            let line = format!("{{{}}}", members.join(","));
            let (mut a, mut b) = (batch(&line), batch(&line));
            let mut places = Places::default();
            places.look(batch("{\"k1\":1,\"k8\":2}").event(0));
            places.look(a.event(0));
            for (n, k) in sets.iter().enumerate() {
                let key = Sym::from_config(&format!("k{k}"));
                places.set(&mut a.event_mut(0), key, Value::I64(100 + n as i64));
                b.event_mut(0).set_field(key, Value::I64(100 + n as i64));
            }
            let json = |batch: &Batch| {
                let mut out = Vec::new();
                batch.event(0).write_json(&mut out);
                String::from_utf8(out).unwrap()
            };
            prop_assert_eq!(json(&a), json(&b));
        }
    }
}
