//! A turn of reading a compressed file.

use super::super::archive::Packed;
use super::super::identity::look_into;
use super::super::joined::AtEnd;
use super::super::parts::Ends;
use super::super::tail::Tail;
use super::super::unpack::{Format, MOST_ZSTD_BYTES, Memory, skip};
use super::super::wide::unit_behind;
use super::super::window::Window;
use super::{Reader, Reading, TURN_BYTES, Turn, mark_len};
use std::io::{self, Read};

impl Reader {
    /// As [`read`](Reader::read), for a compressed file.
    pub(super) fn read_packed(&mut self, on: &mut Reading<'_>, packed: &mut Packed) -> Turn {
        if packed.ended {
            return Turn::End;
        }
        let Some(file) = on.tail.handle.get() else { return Turn::End };
        match look_into(file) {
            Ok(look) => {
                let size = on.tail.look.size();
                on.tail.look.note(look);
                if !packed.may_go_on(look.size, size) {
                    return Turn::End;
                }
            }
            Err(e) => return Turn::Failed(e),
        }
        if !packed.has_turn(self.mono) {
            return Turn::Waits;
        }
        if packed.deciding.is_some() {
            return match packed.compare(file, on.tail.look.size(), on.tail.paths.here()) {
                Ok(true) => Turn::More,
                Ok(false) => Turn::End,
                Err(error) => Turn::Failed(error),
            };
        }
        let mut stream = match packed.stream.take() {
            Some(stream) => stream,
            None => match self.open_stream(on.tail, packed) {
                Ok(stream) => stream,
                Err(turn) => return turn,
            },
        };
        let mut buf = self.pool.take();
        buf.append(&mut packed.carry);
        let mut window = Window::at(buf, &on.tail.reading());
        let turn = self.read_stream(on, packed, &mut *stream, &mut window).inspect(|_| {
            // What was not sent stands after the bytes of the mark, where the next turn wants it.
            let start = window.start();
            packed.carry = window.buf()[start - on.tail.reading().mark_len().min(start)..].to_vec();
            packed.stream = (!packed.ended).then_some(stream);
        });
        let turn = turn.unwrap_or_else(|turn| turn);
        drop(self.pool.freeze(window.into_buf()));
        turn
    }

    /// Decompresses up to where the file is read to; a turn where that cannot be.
    fn open_stream(&mut self, tail: &mut Tail, packed: &mut Packed) -> Result<Box<dyn Read + Send>, Turn> {
        let Some(file) = tail.handle.get() else { return Err(Turn::End) };
        let from = tail.reading();
        let skipped = match skip(file, packed.format, packed.allowed(), from.offset, self.hasher) {
            Ok(skipped) => skipped,
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(self.cut(tail, packed)),
            Err(e) => return Err(self.corrupt(tail, packed, &e)),
        };
        let there = skipped.running.at;
        let other = self.check_contents && from.is_proof() && !there.proves(&from);
        if (there.offset, there.mark) != (from.offset, from.mark) || other {
            return Err(Turn::Replaced);
        }
        packed.carry = skipped.running.before().to_vec();
        if from.offset > 0 {
            tail.beginning.note_units(self.units_of(&skipped.beginning));
        }
        Ok(skipped.stream)
    }

    /// Reads on in a stream whose window stands where the file is read to. `Err`: how the turn ended where the stream cannot go
    /// on, and what was not sent is read again, if at all.
    fn read_stream(
        &mut self,
        on: &mut Reading<'_>,
        packed: &mut Packed,
        stream: &mut (dyn Read + Send),
        window: &mut Window,
    ) -> Result<Turn, Turn> {
        let mut budget = TURN_BYTES;
        loop {
            let before = window.buf().len();
            let is_first = before == 0 && window.base() == 0;
            let read = window.fill_from(stream);
            let at_end = matches!(read, Ok(0));
            if is_first {
                on.tail.beginning.note_units(self.units_of(window.buf()));
                window.skip_to(mark_len(window.buf(), on.tail.beginning.units()));
            }
            let ends_line = match on.tail.beginning.units().wide() {
                None => window.buf().last() == Some(&b'\n'),
                Some(wide) => {
                    let start = unit_behind(window.base(), window.start());
                    wide.behind_last_newline(window.buf(), start) == Some(window.buf().len())
                }
            };
            let unfinished = window.buf().len() > window.start() && !ends_line;
            if at_end && unfinished && !packed.cut && !self.once {
                // Members may be added, in which its last line goes on.
                packed.short = Some((on.tail.look.size(), 0));
                return Err(Turn::End);
            }
            let open = if at_end { AtEnd::Finish } else { AtEnd::Keep };
            let taken = self.take(on.tail, window.view(), open, Ends { line: at_end, streams: [false; 2] });
            budget = budget.saturating_sub((window.buf().len() - before) as u64);
            if taken.end > window.start()
                && let Some(turn) = self.send(on, window, taken)
            {
                return Ok(turn);
            }
            window.is_searched();
            match read {
                Ok(0) => {
                    packed.ended = true;
                    if !window.rest().is_empty()
                        && let Some(turn) = self.send_rest(on, window)
                    {
                        return Ok(turn);
                    }
                    return Ok(Turn::End);
                }
                Ok(_) if budget == 0 => return Ok(Turn::More),
                Ok(_) => {}
                // It may be growing; what is there is read again from its beginning when it has grown.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(self.cut(on.tail, packed)),
                Err(e) => return Err(self.corrupt(on.tail, packed, &e)),
            }
        }
    }

    /// The file ends before its stream does.
    fn cut(&mut self, tail: &Tail, packed: &mut Packed) -> Turn {
        if !packed.cut {
            packed.short = Some((tail.look.size(), 0));
        } else if !packed.told {
            packed.told = true;
            self.damaged += 1;
            self.counters.update(|t| t.error("corrupt", 1));
            tracing::error!(file = %tail.paths.here().display(), compressed_bytes = tail.look.size(), offset = tail.at.offset,
                "a compressed file is cut off: it ends before its stream does. What is there was read, what follows is \
                 missing; it is read on if the file grows");
        }
        Turn::End
    }

    /// It cannot be decompressed from here on, or not yet.
    fn corrupt(&mut self, tail: &Tail, packed: &mut Packed, error: &io::Error) -> Turn {
        match Memory::of(error) {
            Some(Memory::Heavy) => {
                packed.heavy = true;
                return Turn::More;
            }
            Some(Memory::TooLarge { needed, most }) => return self.too_large(tail, packed, Some(needed), most),
            // The library has no kind for it; only the first frame is looked at here.
            None if packed.format == Format::Zstd && error.to_string().contains("too much memory") => {
                return self.too_large(tail, packed, None, MOST_ZSTD_BYTES);
            }
            None => {}
        }
        packed.ended = true;
        packed.told = true;
        self.damaged += 1;
        self.counters.update(|t| t.error("corrupt", 1));
        tracing::error!(file = %tail.paths.here().display(), %error, offset = tail.at.offset,
            "a compressed file is damaged: what follows this place in what it holds is lost, unless it is repaired in place");
        Turn::End
    }

    /// It needs more memory than is granted: it is left as it is, and looked at again when it has another size.
    fn too_large(&mut self, tail: &Tail, packed: &mut Packed, needed: Option<u64>, most: u64) -> Turn {
        (packed.short, packed.cut) = (Some((tail.look.size(), 0)), true);
        if std::mem::replace(&mut packed.told, true) {
            return Turn::End;
        }
        self.tell_too_large(tail, packed.format, needed, most);
        Turn::End
    }

    pub(in super::super) fn tell_too_large(&mut self, tail: &Tail, format: Format, needed: Option<u64>, most: u64) {
        self.damaged += 1;
        self.counters.update(|t| t.error("window_too_large", 1));
        let mib = |bytes: u64| format!("{}MiB", bytes.div_ceil(1 << 20));
        let needed = needed.map_or_else(|| format!("more than {}", mib(most)), mib);
        let (granted, file) = (mib(most), tail.paths.here().display());
        match format {
            Format::Xz => tracing::error!(%file, needed, granted, offset = tail.at.offset,
                "an xz file needs a dictionary that is larger than what is granted here: it is left as it is, and not read. \
                 Compress it with `xz -9` or less, and without `dict=` above 64MiB"),
            _ => tracing::error!(%file, needed, granted, offset = tail.at.offset,
                "a zstd file needs a window of more than 128 MiB (`zstd --long=28` and above), which is not granted here: it is \
                 left as it is, and not read. Compress it with `--long=27` or without"),
        }
    }
}
