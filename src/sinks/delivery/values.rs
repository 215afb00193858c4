//! What several templates make of an event: the same as of the event before, mostly, and then nothing is made of it again.

use crate::event::EventRef;
use crate::settings::Map;
use crate::template::Template;

/// Named templates, and their values for the event read last.
#[derive(Debug, Clone, Default)]
pub struct Values {
    templates: Vec<(String, Template)>,
    /// The values, each behind its length (32 bits), and what else tells two events apart; of the event read last, and work
    /// space.
    text: Vec<u8>,
    work: Vec<u8>,
    begun: bool,
}

impl Values {
    /// Of these templates, in this order.
    pub fn new(templates: &Map<Template>) -> Self {
        let templates = templates.iter().map(|(name, value)| (name.value.clone(), value.clone())).collect();
        Values { templates, ..Values::default() }
    }

    /// In the order of their names.
    pub fn sorted(mut self) -> Self {
        self.templates.sort_by(|a, b| a.0.cmp(&b.0));
        self
    }

    /// How many templates there are.
    pub fn len(&self) -> usize {
        self.templates.len()
    }

    /// Reads an event; whether something differs from the event before. What `more` appends counts too.
    pub fn read(&mut self, event: EventRef<'_>, more: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.work.clear();
        for (_, value) in &self.templates {
            let at = self.work.len();
            self.work.extend_from_slice(&[0; 4]);
            value.render_or_empty(event, &mut self.work);
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
        let named = self.templates.iter().enumerate().map(move |(n, (name, _))| {
            let (len, behind) = rest.split_first_chunk::<4>().unwrap_or((&[0; 4], &[]));
            let (value, behind) = behind.split_at((u32::from_le_bytes(*len) as usize).min(behind.len()));
            rest = behind;
            (n, name.as_str(), value)
        });
        named.filter(|(_, _, value)| !value.is_empty())
    }
}
