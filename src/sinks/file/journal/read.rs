//! Reading a journal: what a run before has left, as far as it is whole.

use super::super::known::{Announced, FileId, Known};
use super::super::undo::Step;
use super::Sources;
use super::format::{
    AGAIN, BOOT, DURABLE, END, ENDS, FAILED, GONE, GREW, KNOWN, MAX_BODY_BYTES, PLACE, SOURCE_FILE, VERSION, VERSIONED,
    WRITE,
};
use crate::ack::place::{At, Cut, FileOf, Place, Places};
use hashbrown::HashMap;
use std::sync::Arc;

/// What a journal ends with.
pub(super) struct Read {
    pub(super) files: HashMap<FileId, Known>,
    pub(super) sources: Noted,
    /// Writes of a step that was not ended, or of which it is not known whether its last write came through.
    pub(super) step: Option<Step>,
    pub(super) boot: u64,
    pub(super) version: u32,
    /// Bytes at its end that are torn or damaged.
    pub(super) rest: usize,
}

/// Places as they are noted.
#[derive(Default)]
pub(super) struct Noted {
    places: Places,
    durable: Places,
    numbers: HashMap<u32, Arc<FileOf>>,
}

impl Noted {
    /// What holds of it in the boot `now`, where it was written in the boot `then`.
    pub(super) fn of_boot(self, then: u64, now: u64) -> Sources {
        let same = then == now && now != 0;
        let places = if same { self.places } else { self.durable.clone() };
        Sources { places, durable: self.durable, ..Sources::default() }
    }

    fn place(&self, from: &mut Cut<'_>, number: u32) -> Option<Place> {
        let at = At::cut(from)?;
        Some(Place { file: self.numbers.get(&number)?.clone(), at, from: 0, held: None })
    }
}

/// Reads all that is whole.
pub(super) fn read(bytes: &[u8]) -> Read {
    let mut read = Read { files: HashMap::new(), sources: Noted::default(), step: None, boot: 0, version: 1, rest: 0 };
    let mut left = Cut(bytes);
    loop {
        read.rest = left.0.len();
        if read.rest == 0 || read_record(&mut left, &mut read).is_none() || read.version > VERSION {
            return read;
        }
    }
}

fn read_record(left: &mut Cut<'_>, read: &mut Read) -> Option<()> {
    let (len, crc) = (left.u32()? as usize, left.u32()?);
    let body = left.take(len).filter(|_| len <= MAX_BODY_BYTES)?;
    if crc32c::crc32c(body) != crc {
        return None;
    }
    let mut body = Cut(body);
    match body.u8()? {
        VERSIONED => read.version = body.u32()?,
        BOOT => read.boot = body.u64()?,
        KNOWN => {
            let id = body.u32()?;
            let mut known = Known {
                path: Box::default(),
                dev: body.u64()?,
                ino: body.u64()?,
                len: body.u64()?,
                created: body.u64()? as i64,
                written: body.u64()? as i64,
                boot: body.u64()?,
                rotated: body.u8()? == 1,
            };
            let n = usize::from(body.u16()?);
            known.path = body.take(n)?.into();
            read.confirm();
            read.files.insert(id, known);
        }
        kind @ (GREW | FAILED) => {
            let (id, len, written) = (body.u32()?, body.u64()?, body.u64()? as i64);
            let node = read.files.get(&id).map(|f| (f.dev, f.ino));
            match &mut read.step {
                Some(step) if kind == FAILED => step.failed(node, len),
                _ => read.confirm(),
            }
            if let Some(known) = read.files.get_mut(&id) {
                (known.len, known.written, known.boot) = (len, written, read.boot);
            }
        }
        GONE => {
            read.confirm();
            read.files.remove(&body.u32()?);
        }
        SOURCE_FILE => {
            let number = body.u32()?;
            read.sources.numbers.insert(number, Arc::new(FileOf::cut(&mut body)?));
        }
        PLACE => {
            let (number, durable) = (body.u32()?, body.u8()? == 1);
            let place = read.sources.place(&mut body, number)?;
            if durable {
                read.sources.durable.note(&place);
            }
            read.sources.places.note(&place);
        }
        WRITE => read_write(&mut body, read)?,
        END => {
            let places = read.places(&mut body)?;
            read.confirm();
            read.step = None;
            read.sources.places.note_all(places.iter());
        }
        _ => return None,
    }
    Some(())
}

fn read_write(body: &mut Cut<'_>, read: &mut Read) -> Option<()> {
    let flags = body.u8()?;
    let (written, id) = (body.u64()? as i64, body.u32()?);
    let write = Announced { from: body.u64()?, len: body.u64()?, head: body.u64()?, tail: body.u64()? };
    let places = read.places(body)?;
    read.confirm();
    if flags & DURABLE != 0 {
        read.sources.durable = read.sources.places.clone();
    }
    if let Some(known) = read.files.get_mut(&id) {
        let step = read.step.get_or_insert_default();
        step.announced((known.dev, known.ino), write, flags & AGAIN != 0);
        step.places = (flags & ENDS != 0).then_some(places);
        (known.len, known.written, known.boot) = (write.end(), written, read.boot);
    }
    Some(())
}

impl Read {
    /// As many places as are counted there.
    fn places(&self, body: &mut Cut<'_>) -> Option<Places> {
        let mut places = Places::default();
        for _ in 0..body.u32()? {
            let number = body.u32()?;
            places.note(&self.sources.place(body, number)?);
        }
        Some(places)
    }

    /// Another record than one that says the opposite follows: the last write came through, and with it the step it ends.
    fn confirm(&mut self) {
        if let Some(places) = self.step.as_mut().and_then(|step| step.places.take()) {
            self.sources.places.note_all(places.iter());
            self.step = None;
        }
    }
}
