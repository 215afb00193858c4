//! Protocol buffers as they lie in memory: fields of one message, one after the other, borrowed; and the little that is
//! needed to write some.
//!
//! No message is built: whoever reads one picks fields by number and goes into nested messages himself. Unknown fields
//! are passed over. Every length is checked against what is there; groups (given up since 2011) are malformed.
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

use std::fmt;

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wire<'a> {
    /// Integers, booleans, enumerations.
    Varint(u64),
    /// `fixed64`, `sfixed64`, `double`.
    Fixed64(u64),
    /// `fixed32`, `sfixed32`, `float`.
    Fixed32(u32),
    /// Text, bytes, messages, packed lists.
    Bytes(&'a [u8]),
}

impl<'a> Wire<'a> {
    /// The bytes of text, a message, or a packed list.
    pub fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Wire::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed("a field has another type than its message says")),
        }
    }

    /// An unsigned number of any width.
    pub fn u64(self) -> Result<u64, Malformed> {
        match self {
            Wire::Varint(n) | Wire::Fixed64(n) => Ok(n),
            Wire::Fixed32(n) => Ok(u64::from(n)),
            Wire::Bytes(_) => Err(Malformed("a field has another type than its message says")),
        }
    }

    /// A number with a sign, not zigzag.
    pub fn i64(self) -> Result<i64, Malformed> {
        self.u64().map(|n| n as i64)
    }

    /// A number with a sign, zigzag (`sint32`, `sint64`).
    pub fn sint(self) -> Result<i64, Malformed> {
        self.u64().map(unzigzag)
    }

    /// A `double`.
    pub fn f64(self) -> Result<f64, Malformed> {
        match self {
            Wire::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(Malformed("a field has another type than its message says")),
        }
    }
}

/// The number that zigzag wrote as `n`.
pub fn unzigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

/// The fields of one message in order: number and value.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of `message`.
    pub fn new(message: &'a [u8]) -> Self {
        Fields { rest: message }
    }

    /// Bytes of the message behind the fields that were taken.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    fn step(&mut self) -> Result<(u32, Wire<'a>), Malformed> {
        let key = varint(&mut self.rest)?;
        let number = u32::try_from(key >> 3).ok().filter(|n| (1..1 << 29).contains(n));
        let number = number.ok_or(Malformed("a field has a number that no field can have"))?;
        let value = match key & 7 {
            0 => Wire::Varint(varint(&mut self.rest)?),
            1 => Wire::Fixed64(u64::from_le_bytes(take(&mut self.rest)?)),
            2 => {
                let len = varint(&mut self.rest)?;
                let len = usize::try_from(len).ok().filter(|len| *len <= self.rest.len());
                let (bytes, rest) = self.rest.split_at(len.ok_or(Malformed("a field is longer than its message"))?);
                self.rest = rest;
                Wire::Bytes(bytes)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(take(&mut self.rest)?)),
            _ => return Err(Malformed("a field has a type that does not exist")),
        };
        Ok((number, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Wire<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.rest = &[];
        }
        Some(step)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (bytes, behind) = rest.split_first_chunk::<N>().ok_or(Malformed("a message ends within a field"))?;
    *rest = behind;
    Ok(*bytes)
}

/// A variable-length number at the head of `rest`, which moves behind it.
pub fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut n = 0u64;
    for (i, byte) in rest.iter().take(10).enumerate() {
        n |= u64::from(byte & 0x7f).checked_shl(7 * i as u32).unwrap_or(0);
        if byte & 0x80 == 0 {
            *rest = &rest[i + 1..];
            return Ok(n);
        }
    }
    Err(Malformed(if rest.len() < 10 {
        "a message ends within a field"
    } else {
        "a number is longer than numbers are"
    }))
}

/// Appends the numbers of a repeated field of 64-bit fixed width, packed or one by one.
pub fn repeated_fixed64(value: Wire<'_>, out: &mut Vec<u64>) -> Result<(), Malformed> {
    match value {
        Wire::Bytes(packed) => {
            let (numbers, rest) = packed.as_chunks::<8>();
            out.extend(numbers.iter().map(|n| u64::from_le_bytes(*n)));
            if rest.is_empty() { Ok(()) } else { Err(Malformed("a list of numbers ends within one")) }
        }
        Wire::Fixed64(n) => {
            out.push(n);
            Ok(())
        }
        _ => Err(Malformed("a field has another type than its message says")),
    }
}

/// Appends the numbers of a repeated field of variable width, packed or one by one.
pub fn repeated_varint(value: Wire<'_>, out: &mut Vec<u64>) -> Result<(), Malformed> {
    match value {
        Wire::Bytes(mut packed) => {
            while !packed.is_empty() {
                out.push(varint(&mut packed)?);
            }
            Ok(())
        }
        Wire::Varint(n) => {
            out.push(n);
            Ok(())
        }
        _ => Err(Malformed("a field has another type than its message says")),
    }
}

/// Appends a variable-length number.
#[inline]
pub fn push_varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// How many bytes a variable-length number has.
#[inline]
pub fn varint_len(n: u64) -> usize {
    // Seven bits in each; 0 has one byte.
    (70 - (n | 1).leading_zeros() as usize) / 7
}

/// Appends a field of variable width.
#[inline]
pub fn push_number(field: u32, n: u64, out: &mut Vec<u8>) {
    push_varint(u64::from(field) << 3, out);
    push_varint(n, out);
}

/// Appends a field of 64 bits.
#[inline]
pub fn push_fixed64(field: u32, bits: u64, out: &mut Vec<u8>) {
    push_varint(u64::from(field) << 3 | 1, out);
    out.extend_from_slice(&bits.to_le_bytes());
}

/// Appends a field of 32 bits.
#[inline]
pub fn push_fixed32(field: u32, bits: u32, out: &mut Vec<u8>) {
    push_varint(u64::from(field) << 3 | 5, out);
    out.extend_from_slice(&bits.to_le_bytes());
}

/// Appends a field of text or bytes.
#[inline]
pub fn push_bytes(field: u32, bytes: &[u8], out: &mut Vec<u8>) {
    push_varint(u64::from(field) << 3 | 2, out);
    push_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Bytes kept for the length of a message whose length is not known yet.
const LENGTH: usize = 5;

/// Appends a field that is a message, which `write` appends.
///
/// The length is written in [`LENGTH`] bytes whatever it is, which every reader takes: nothing has to be moved.
pub fn push_message<T>(field: u32, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    push_varint(u64::from(field) << 3 | 2, out);
    let at = out.len();
    out.extend_from_slice(&[0; LENGTH]);
    let result = write(out);
    let mut n = out.len() - at - LENGTH;
    for (i, byte) in out[at..at + LENGTH].iter_mut().enumerate() {
        *byte = n as u8 & 0x7f | if i < LENGTH - 1 { 0x80 } else { 0 };
        n >>= 7;
    }
    result
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_reads_back() {
        let mut out = Vec::new();
        push_number(1, 300, &mut out);
        push_fixed64(2, 1.5f64.to_bits(), &mut out);
        push_fixed32(3, 7, &mut out);
        push_message(4, &mut out, |out| push_bytes(1, b"inner", out));
        push_number(5, u64::MAX, &mut out);
        let fields: Vec<_> = Fields::new(&out).map(Result::unwrap).collect();
        assert_eq!(fields[0], (1, Wire::Varint(300)));
        assert_eq!((fields[1].0, fields[1].1.f64().unwrap()), (2, 1.5));
        assert_eq!(fields[2], (3, Wire::Fixed32(7)));
        let inner = Fields::new(fields[3].1.bytes().unwrap()).next().unwrap().unwrap();
        assert_eq!(inner, (1, Wire::Bytes(b"inner")));
        assert_eq!(fields[4].1.i64().unwrap(), -1);
        assert_eq!([0, 1, 2, 3].map(unzigzag), [0, -1, 1, -2]);
    }

    #[test]
    fn what_is_broken_is_said_to_be_once() {
        for (bytes, why) in [
            (&b"\x0a\x05abc"[..], "longer than its message"),
            (b"\x09\x01\x02", "ends within a field"),
            (b"\x08", "ends within a field"),
            (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "longer than numbers are"),
            (b"\x0b\x01", "type that does not exist"),
            (b"\x00\x01", "no field can have"),
            (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "longer than its message"),
        ] {
            let read: Vec<_> = Fields::new(bytes).collect();
            let error = read.last().unwrap().unwrap_err();
            assert!(error.0.contains(why), "{bytes:?}: {error}");
            assert_eq!(read.len(), 1);
        }
        let mut numbers = Vec::new();
        assert!(repeated_fixed64(Wire::Bytes(&[0; 9]), &mut numbers).is_err());
        assert!(repeated_varint(Wire::Bytes(&[0x80]), &mut numbers).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_go_on_for_ever(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Fields::new(&bytes).count() <= bytes.len());
        }

        #[test]
        fn numbers_survive(n in any::<u64>()) {
            let mut out = Vec::new();
            push_varint(n, &mut out);
            let mut rest = &out[..];
            prop_assert_eq!(varint_len(n), out.len());
            prop_assert_eq!(varint_len(n >> (n % 64)), { let mut out = Vec::new(); push_varint(n >> (n % 64), &mut out); out.len() });
            prop_assert_eq!(varint(&mut rest), Ok(n));
            prop_assert!(rest.is_empty());
        }
    }
}
