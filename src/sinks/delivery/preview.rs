//! What a sink would send of one event, for whoever wants to see it.

use super::protocol::{Draft, Protocol};
use super::request_body::{Groups, Record};
use crate::component::plan::Preview;
use crate::event::EventRef;
use crate::time::clock;

/// Shows the record of an event in a request, and the partition (stream, index, address) that it would go to. A record that is no
/// text is shown as the event's JSON.
pub(super) struct Shown<P>(pub(super) P);

impl<P: Protocol> Preview for Shown<P> {
    fn show(&mut self, event: EventRef<'_>, out: &mut Vec<u8>) -> Result<Option<String>, String> {
        let now = clock::now_ns();
        let mut partition = Vec::new();
        self.0.partition(event, now, &mut partition).map_err(|why| why.detail)?;
        let target = self.0.target(&partition);
        let (mut body, mut groups) = (Vec::new(), Groups::default());
        let (mut originals, mut original_ends) = (Vec::new(), Vec::new());
        let mut draft = Draft {
            body: &mut body,
            groups: &mut groups,
            record: Record::default(),
            target: &target,
            now,
            originals: &mut originals,
            original_ends: &mut original_ends,
        };
        self.0.record(event, &mut draft).map_err(|why| why.detail)?;
        let is_text = |text: &str| !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t'));
        match std::str::from_utf8(&body) {
            Ok(text) if is_text(text) => out.extend_from_slice(text.trim_end().as_bytes()),
            _ => event.write_json(out),
        }
        Ok(Some(if target.name.is_empty() { target.url.to_string() } else { target.name }))
    }

    fn series(&mut self, event: EventRef<'_>) -> Vec<Vec<(String, String)>> {
        self.0.labels(event).into_iter().collect()
    }
}
