//! Files whose owner is asked about before they are read.

use super::files::Files;
use super::now::Now;
use super::tail::Tail;
use crate::event::Origin;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

impl Files {
    /// Asks about the owner of a file that is about to be read; whether it waits. It is looked at again when it may go on.
    pub(super) fn waits_for_owner(&mut self, key: usize, tail: &mut Tail, now: Now) -> bool {
        let Some(owners) = &mut self.owners else { return false };
        let owner = tail.owner.get_or_insert_default();
        let before = owner.shared.as_ref().map(Arc::as_ptr);
        let is_first = owner.asked == 0;
        let mut until = owners.ask(tail.paths.first(), owner, now.mono);
        if until.is_none() && !self.plan.once {
            until = owner.limit.as_ref().and_then(|limit| limit.wait(now.mono));
        }
        if is_first || owner.shared.as_ref().map(Arc::as_ptr) != before {
            tail.origin = Arc::new(Origin {
                source: self.plan.id.clone(),
                file: Some(tail.paths.first().to_string_lossy().into()),
                host: Some(self.plan.host.clone()),
                shared: owner.shared.clone(),
                // All files of a container stay in order: those before a rotation, and before it was started again.
                order: xxh3_64(
                    tail.paths.first().parent().unwrap_or(tail.paths.first()).as_os_str().as_encoded_bytes(),
                ),
                ..Origin::default()
            });
        }
        if tail.attends != until.is_some() {
            tail.attends = until.is_some();
            match tail.attends {
                true => self.attending.push(key),
                false => self.attending.retain(|other| *other != key),
            }
        }
        if let Some(until) = until {
            self.schedule.look_anew(key, &mut tail.due, until.max(now.mono + 1));
        }
        tail.attends
    }

    /// Has those read that wait, where something has become known.
    pub(super) fn hear_owners(&mut self) {
        let Some(owners) = &mut self.owners else { return };
        if !owners.has_news() {
            return;
        }
        for key in std::mem::take(&mut self.attending) {
            let Some(tail) = self.tails.get_mut(key).filter(|tail| tail.attends) else { continue };
            tail.attends = false;
            self.schedule.queue(key, &mut tail.due);
        }
    }
}
