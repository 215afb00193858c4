//! What is open of container lines is given: when it has waited for long enough, when its file is gone, when there is no room.

use super::files::Files;
use super::now::Now;
use super::parts::{Ancestor, Give};
use super::reader::{Out, Sent, Turn};
use super::tail::{Tail, TailState};
use crate::event::Chunk;

/// Bytes that open container lines of all files of a source may take, or what one file may need where that is more.
const PARTS_ROOM_BYTES: usize = 4 << 20;
/// What is open in one file is left alone up to this.
const SMALL_PARTS_BYTES: usize = 16 << 10;

impl Files {
    /// Whether something that is open has waited for long enough.
    pub(super) fn parts_are_due(&self, tail: &Tail, now: Now) -> bool {
        self.parts_due(tail).is_some_and(|due| due <= now.mono)
    }

    fn parts_due(&self, tail: &Tail) -> Option<u64> {
        tail.parts.as_ref()?.due(self.reader.rules.get(usize::from(tail.rule))?)
    }

    /// Has a file looked at when what is open has waited for long enough.
    pub(super) fn schedule_parts(&mut self, key: usize, tail: &mut Tail) {
        if let Some(due) = self.parts_due(tail) {
            self.schedule.look_at(key, &mut tail.due, due);
        }
    }

    /// What is open of contents that are gone stands in a copy, which is read.
    pub(super) fn forget_parts(&mut self, key: usize, tail: &mut Tail, now: Now, out: &mut dyn Out) {
        if (0..2).any(|n| tail.parts.as_ref().is_some_and(|parts| parts.ancestors(n).next().is_some())) {
            // But not its beginning.
            self.reader.send_parts(key, tail, Give::All, now.wall, out);
        }
        tail.parts.iter_mut().for_each(|parts| parts.forget_open());
    }

    /// Gives what a closed file has open; nothing is read any more.
    pub(super) fn give_closed(&mut self, key: usize, mut tail: Box<Tail>, now: Now, out: &mut dyn Out) -> Turn {
        let turn = self.reader.send_parts(key, &mut tail, Give::All, now.wall, out).unwrap_or(Turn::End);
        self.families.measure(&mut tail);
        self.tails.put(key, tail);
        self.settle_given(key);
        self.release_settled(key);
        turn
    }

    /// With `once`, when all was read: gives what is open.
    /// How that ended, where it could not go on.
    pub(super) fn give_rest(&mut self, now: Now, out: &mut dyn Out) -> Option<Turn> {
        for key in self.tails.keys() {
            let Some(tail) = self.tails.get_mut(key) else { continue };
            let turn = self.reader.send_parts(key, tail, Give::All, now.wall, out);
            self.families.measure(tail);
            if turn.is_some() {
                return turn;
            }
        }
        None
    }

    /// Gives what is open and stands nowhere any more, before the agent stops: files that were deleted, contents that are gone.
    pub(super) fn give_orphans(&mut self, now: &impl Fn() -> Now, out: &mut dyn Out, late: &impl Fn() -> bool) {
        for key in self.tails.keys() {
            for n in 0..2 {
                let Some(tail) = self.tails.get(key) else { continue };
                let Some(parts) = &tail.parts else { continue };
                let gone = |ancestor: &Ancestor| match ancestor {
                    Ancestor::Gone => true,
                    Ancestor::File((key, _)) => self.tails.get(*key).is_none_or(|old| old.is_deleted()),
                };
                if !(tail.state == TailState::Closed || parts.ancestors(n).any(gone)) {
                    continue;
                }
                while let Some(chunk) = self.reader.held.take() {
                    self.send_again(chunk, out);
                    if late() {
                        return;
                    }
                }
                if let Some(tail) = self.tails.get_mut(key) {
                    self.reader.send_parts(key, tail, Give::Stream(n), now().wall, out);
                }
            }
        }
    }

    fn send_again(&mut self, chunk: Chunk, out: &mut dyn Out) {
        if let Sent::Full(chunk) = out.send(chunk) {
            self.reader.held = Some(chunk);
        }
    }

    /// Where all files together have more open than there is room for, the one that has most gives what it has.
    pub(super) fn spare_parts(&mut self, key: usize, tail: &mut Tail, now: Now, out: &mut dyn Out) -> Option<Turn> {
        let held = self.families.measure(tail);
        let most = self.reader.rules.iter().map(|rule| rule.most_open_bytes()).max().unwrap_or(0);
        if self.families.held() <= PARTS_ROOM_BYTES.max(most) || held <= SMALL_PARTS_BYTES || self.reader.held.is_some()
        {
            return None;
        }
        let measured = |tail: &Tail| tail.parts.as_ref().map(|parts| parts.measured());
        let most = self.tails.with_keys().filter_map(|(key, tail)| Some((measured(tail)?, key))).max();
        if let Some((_, other)) = most.filter(|(most, _)| *most > held) {
            self.queue(other);
            return None;
        }
        self.counters.update(|t| t.error("multiline_limit", 1));
        let turn = self.reader.send_parts(key, tail, Give::All, now.wall, out);
        self.families.measure(tail);
        turn
    }
}
