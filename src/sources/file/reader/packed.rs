//! A turn of reading a compressed file.

use super::super::archive::Packed;
use super::super::identity::look_into;
use super::super::joined::Open;
use super::super::tail::Tail;
use super::super::unpack::{Format, MOST_ZSTD_BYTES, Memory, skip};
use super::super::wide::unit_behind;
use super::{Out, Reader, TURN_BYTES, Turn, mark_len};
use std::io::{self, Read};

impl Reader {
    /// As [`read`](Reader::read), for a compressed file.
    pub(super) fn read_packed(
        &mut self,
        key: usize,
        tail: &mut Tail,
        packed: &mut Packed,
        wall: i64,
        out: &mut dyn Out,
    ) -> Turn {
        if packed.ended {
            return Turn::End;
        }
        let Some(file) = &tail.file else { return Turn::End };
        match look_into(file) {
            Ok(look) => {
                let size = tail.looked.0;
                (tail.looked, tail.changed, tail.seen) = ((look.size, look.modified), look.changed, wall);
                if let Some((short, _)) = packed.short {
                    if look.size == short && (!packed.cut || packed.told) {
                        return Turn::End;
                    }
                    // All of it is decompressed again: not with each piece that is added.
                    if look.size != size && look.size < short * 2 {
                        return Turn::End;
                    }
                    if look.size != short {
                        (packed.short, packed.cut, packed.told) = (None, false, false);
                    }
                }
            }
            Err(e) => return Turn::Failed(e),
        }
        if !packed.has_turn(self.mono) {
            return Turn::Waits;
        }
        if packed.deciding.is_some() {
            return match packed.compare(file, tail.looked.0, &tail.path) {
                Ok(true) => Turn::More,
                Ok(false) => Turn::End,
                Err(error) => Turn::Failed(error),
            };
        }
        let mut stream = match packed.stream.take() {
            Some(stream) => stream,
            None => {
                let from = tail.reading();
                let skipped = match skip(file, packed.format, packed.allowed(), from.offset, self.hasher) {
                    Ok(skipped) => skipped,
                    Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return self.cut(tail, packed),
                    Err(e) => return self.corrupt(tail, packed, &e),
                };
                let there = skipped.running.at;
                let other = self.check_contents && from.is_proof() && !there.proves(&from);
                if (there.offset, there.mark) != (from.offset, from.mark) || other {
                    return Turn::Replaced;
                }
                packed.carry = skipped.running.before().to_vec();
                if from.offset > 0 {
                    tail.units = self.units_of(&skipped.beginning);
                }
                skipped.stream
            }
        };
        let mut buf = self.pool.take();
        buf.append(&mut packed.carry);
        let from = tail.reading();
        let mut start = from.mark_len();
        let mut base = from.offset - start as u64;
        let mut searched = start;
        let mut budget = TURN_BYTES;
        let turn = loop {
            let room = (buf.capacity() - buf.len()).max(64 << 10) as u64;
            let before = buf.len();
            let read = (&mut stream).take(room).read_to_end(&mut buf);
            let at_end = matches!(read, Ok(0));
            let open = if at_end { Open::Finish } else { Open::Keep };
            if before == 0 && base == 0 {
                tail.units = self.units_of(&buf);
                start = mark_len(&buf, tail.units);
                searched = start;
            }
            let ends_line = match tail.units.wide() {
                None => buf.last() == Some(&b'\n'),
                Some(wide) => wide.behind_last_newline(&buf, unit_behind(base, start)) == Some(buf.len()),
            };
            let unfinished = buf.len() > start && !ends_line;
            if at_end && unfinished && !packed.cut && !self.once {
                // Members may be added, in which its last line goes on.
                packed.short = Some((tail.looked.0, 0));
                drop(self.pool.freeze(buf));
                return Turn::End;
            }
            let taken = match (&mut self.matcher, &mut self.judge, &mut tail.parts) {
                (matcher, ..) if let Some(wide) = tail.units.wide() => {
                    let skipping = tail.at.skipping;
                    self.lines.take_wide(wide, matcher.as_mut(), &buf, start, searched, skipping, base, open)
                }
                (_, Some(judge), Some(parts)) => {
                    self.lines.take_parts(parts, judge, &buf, start, searched, base, self.mono, at_end, [false; 2])
                }
                (Some(matcher), ..) => self.lines.take_joined(matcher, &buf, start, tail.at.skipping, base, open),
                (None, ..) => self.lines.take(&buf, start, searched, tail.at.skipping, base),
            };
            budget = budget.saturating_sub((buf.len() - before) as u64);
            if taken.end > start
                && let Some(turn) = self.send(key, tail, &mut buf, &mut base, &mut start, taken, wall, out)
            {
                break turn;
            }
            searched = buf.len();
            match read {
                Ok(0) => {
                    packed.ended = true;
                    if buf.len() > start
                        && let Some(turn) = self.send_rest(key, tail, &mut buf, &mut base, &mut start, wall, out)
                    {
                        break turn;
                    }
                    break Turn::End;
                }
                Ok(_) if budget == 0 => break Turn::More,
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                    // It may be growing; what is there is read again from its beginning when it has grown.
                    drop(self.pool.freeze(buf));
                    return self.cut(tail, packed);
                }
                Err(e) => {
                    drop(self.pool.freeze(buf));
                    return self.corrupt(tail, packed, &e);
                }
            }
        };
        // What was not sent stands behind the bytes of the mark, where the next turn wants it.
        packed.carry = buf[start - tail.reading().mark_len().min(start)..].to_vec();
        packed.stream = (!packed.ended).then_some(stream);
        drop(self.pool.freeze(buf));
        turn
    }

    /// The file ends before its stream does.
    fn cut(&mut self, tail: &Tail, packed: &mut Packed) -> Turn {
        if !packed.cut {
            packed.short = Some((tail.looked.0, 0));
        } else if !packed.told {
            packed.told = true;
            self.damaged += 1;
            self.counters.update(|t| t.error("corrupt", 1));
            tracing::error!(file = %tail.path.display(), compressed_bytes = tail.looked.0, offset = tail.at.offset,
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
        tracing::error!(file = %tail.path.display(), %error, offset = tail.at.offset,
            "a compressed file is damaged: what follows this place in what it holds is lost, unless it is repaired in place");
        Turn::End
    }

    /// It needs more memory than is granted: it is left as it is, and looked at again when it has another size.
    fn too_large(&mut self, tail: &Tail, packed: &mut Packed, needed: Option<u64>, most: u64) -> Turn {
        (packed.short, packed.cut) = (Some((tail.looked.0, 0)), true);
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
        let (granted, file) = (mib(most), tail.path.display());
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
