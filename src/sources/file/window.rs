//! A window over a file's bytes: what was read of it and not sent yet, and where that stands.
//!
//! ```text
//!   base            start           searched          end
//!    │ what the mark  │ no line end    │ not looked at  │
//!    │ covers         │ lies here      │ yet            │
//! ```

use super::identity::{MARK_BYTES, Position};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;

/// See [the module](self).
pub(super) struct Window {
    /// Bytes of the file as they stand there, from `base` on.
    buf: Vec<u8>,
    /// Place in the file of `buf[0]`.
    base: u64,
    /// Index into `buf`, at or before its end once something was read: all before it was dealt with. As much of that is here
    /// as the mark of the place covers.
    start: usize,
    /// Index into `buf`, at or after `start` and at or before its end: no line end lies between the two.
    searched: usize,
}

/// What of a window is looked at for lines.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) buf: &'a [u8],
    /// Where what was not dealt with begins.
    pub(super) start: usize,
    /// No line end lies in `buf[start..searched]`.
    pub(super) searched: usize,
    /// Place in the file of `buf[0]`.
    pub(super) base: u64,
}

impl<'a> View<'a> {
    /// All of `buf`, which stands at `base`.
    pub(super) fn of(buf: &'a [u8], base: u64) -> Self {
        View { buf, start: 0, searched: 0, base }
    }
}

impl Window {
    /// At a place. What its mark covers is in `buf`, or is read first.
    pub(super) fn at(buf: Vec<u8>, place: &Position) -> Self {
        let start = place.mark_len();
        Window { buf, base: place.offset - start as u64, start, searched: start }
    }

    /// The buffer, to be used again.
    pub(super) fn into_buf(self) -> Vec<u8> {
        self.buf
    }

    pub(super) fn view(&self) -> View<'_> {
        View { buf: &self.buf, start: self.start, searched: self.searched, base: self.base }
    }

    pub(super) fn buf(&self) -> &[u8] {
        &self.buf
    }

    pub(super) fn base(&self) -> u64 {
        self.base
    }

    pub(super) fn start(&self) -> usize {
        self.start
    }

    pub(super) fn searched(&self) -> usize {
        self.searched
    }

    /// Where an index stands in the file.
    pub(super) fn place(&self, index: usize) -> u64 {
        self.base + index as u64
    }

    /// Where the window ends in the file.
    pub(super) fn end(&self) -> u64 {
        self.place(self.buf.len())
    }

    /// What was not dealt with.
    pub(super) fn rest(&self) -> &[u8] {
        &self.buf[self.start..]
    }

    /// Makes room where there is none, up to `most` bytes.
    pub(super) fn make_room(&mut self, most: usize) {
        if self.buf.len() == self.buf.capacity() {
            self.buf.reserve_exact(self.buf.capacity().min(most.saturating_sub(self.buf.len())).max(4096));
        }
    }

    /// Reads what follows, as far as there is room; how many bytes there were.
    pub(super) fn fill(&mut self, file: &OwnedFd) -> io::Result<usize> {
        let at = self.end();
        loop {
            match rustix::io::pread(file, spare_capacity(&mut self.buf), at) {
                Err(Errno::INTR) => {}
                read => return read.map_err(io::Error::from),
            }
        }
    }

    /// As above, from a stream; `Ok(0)` where it ends.
    ///
    /// Errors: what was read before is here.
    pub(super) fn fill_from(&mut self, stream: &mut dyn io::Read) -> io::Result<usize> {
        let room = (self.buf.capacity() - self.buf.len()).max(64 << 10) as u64;
        io::Read::read_to_end(&mut io::Read::take(stream, room), &mut self.buf)
    }

    /// All up to this index was dealt with, or is no part of a line.
    pub(super) fn skip_to(&mut self, index: usize) {
        self.start = index.min(self.buf.len());
        self.searched = self.searched.max(self.start);
    }

    /// What follows this index is not here: it is read again where it is wanted.
    pub(super) fn cut(&mut self, index: usize) {
        self.buf.truncate(index);
        self.searched = self.searched.min(index);
    }

    /// There is no line end in what is left.
    pub(super) fn is_searched(&mut self) {
        self.searched = self.buf.len();
    }

    /// All before this index was sent, and what its mark covers stands at the front.
    pub(super) fn advance(&mut self, index: usize) {
        let kept = index.min(MARK_BYTES);
        self.buf.drain(..index - kept);
        self.advanced(index, kept);
    }

    /// As above, with what is left moved to `next`, an empty buffer; the one that was full.
    pub(super) fn advance_into(&mut self, index: usize, mut next: Vec<u8>) -> Vec<u8> {
        let kept = index.min(MARK_BYTES);
        next.extend_from_slice(&self.buf[index - kept..]);
        self.advanced(index, kept);
        std::mem::replace(&mut self.buf, next)
    }

    fn advanced(&mut self, index: usize, kept: usize) {
        self.base += (index - kept) as u64;
        (self.start, self.searched) = (kept, kept);
    }

    /// Goes on at a place after zeros that are not here; all that is was sent up to index `from`.
    pub(super) fn jump(&mut self, from: usize, place: &Position) {
        // What the mark covers: zeros, after what was there before where they are few.
        let known = place.mark_len();
        let zeros = ((place.offset - self.base) as usize - from).min(known);
        let mut before = self.buf[from - (known - zeros)..from].to_vec();
        before.resize(known, 0);
        self.buf.clear();
        self.buf.extend_from_slice(&before);
        (self.base, self.start, self.searched) = (place.offset - known as u64, known, known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(offset: u64) -> Position {
        Position { offset, ..Position::default() }
    }

    #[test]
    fn what_the_mark_covers_stands_before_the_start_however_the_window_moves() {
        let text: Vec<u8> = (0..200).collect();
        for by in [1, 63, 64, 65, 199, 200] {
            let mut window = Window::at(text.clone(), &place(0));
            window.advance(by);
            let mut other = Window::at(text.clone(), &place(0));
            assert_eq!(other.advance_into(by, Vec::new()), text);
            for window in [&window, &other] {
                let kept = by.min(MARK_BYTES);
                assert_eq!((window.start(), window.place(window.start())), (kept, by as u64), "by {by}");
                assert_eq!((window.buf(), window.rest()), (&text[by - kept..], &text[by..]), "by {by}");
                assert_eq!(window.end(), 200);
            }
        }
    }

    #[test]
    fn after_zeros_the_mark_covers_what_was_before_them_too() {
        let text = [7; 100];
        for zeros in [1, 10, 64, 5000] {
            let mut window = Window::at(text.to_vec(), &place(0));
            window.jump(100, &place(100 + zeros));
            let few = (zeros as usize).min(MARK_BYTES);
            let want = [vec![7; MARK_BYTES - few], vec![0; few]].concat();
            assert_eq!((window.buf(), window.start(), window.end()), (&want[..], MARK_BYTES, 100 + zeros), "{zeros}");
        }
    }

    #[test]
    fn what_is_cut_off_counts_as_not_searched() {
        let mut window = Window::at(b"abcdef".to_vec(), &place(0));
        window.is_searched();
        window.cut(3);
        assert_eq!((window.searched(), window.end()), (3, 3));
        window.skip_to(9);
        assert_eq!((window.start(), window.searched(), window.rest()), (3, 3, &b""[..]));
    }
}
