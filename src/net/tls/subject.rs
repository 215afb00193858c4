//! What is read of a certificate: its subject as text, most specific part first (`CN=web-1,O=Shop`, RFC 4514), and when it
//! holds.

use crate::time::Civil;
use std::fmt::Write;
use std::ops::RangeInclusive;

/// The fields of a certificate in DER from its validity on.
fn from_validity(certificate: &[u8]) -> Option<&[u8]> {
    let (_, certificate) = element(&mut &*certificate, SEQUENCE)?;
    let (_, fields) = element(&mut &*certificate, SEQUENCE)?;
    let mut fields = fields;
    if fields.first() == Some(&VERSION) {
        element(&mut fields, VERSION)?;
    }
    element(&mut fields, INTEGER)?; // serial number
    element(&mut fields, SEQUENCE)?; // signature algorithm
    element(&mut fields, SEQUENCE)?; // issuer
    Some(fields)
}

/// When a certificate in DER holds: seconds since 1970 UTC. `None` where it is no certificate.
pub fn validity(certificate: &[u8]) -> Option<RangeInclusive<i64>> {
    let (_, mut both) = element(&mut from_validity(certificate)?, SEQUENCE)?;
    let mut next = || any(&mut both).and_then(|(tag, text)| seconds(tag, text));
    Some(next()?..=next()?)
}

/// UTCTime (`YYMMDDhhmmssZ`, from 1950 on) or GeneralizedTime (`YYYYMMDDhhmmssZ`), as RFC 5280 demands them.
fn seconds(tag: u8, text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z').filter(|t| t.bytes().all(|c| c.is_ascii_digit()))?;
    let (year, rest) = match (tag, text.len()) {
        (0x17, 12) => (text[..2].parse::<i32>().ok()?, &text[2..]),
        (0x18, 14) => (text[..4].parse::<i32>().ok()?, &text[4..]),
        _ => return None,
    };
    let year = if tag == 0x18 { year } else { year + if year < 50 { 2000 } else { 1900 } };
    let two = |at: usize| rest[at..at + 2].parse::<u8>().ok();
    let civil = Civil {
        year,
        month: two(0)?,
        day: two(2)?,
        hour: two(4)?,
        minute: two(6)?,
        second: two(8)?,
        ..Civil::from_ns(0)
    };
    // Beyond what nanoseconds hold: far ahead, as certificates without an end have it.
    civil.is_real().then(|| civil.to_ns(0).map_or(i64::MAX, |ns| ns.div_euclid(1_000_000_000)))
}

/// The subject of a certificate in DER; `None` where it is no certificate. Empty where the subject is.
pub fn subject(certificate: &[u8]) -> Option<String> {
    let mut fields = from_validity(certificate)?;
    element(&mut fields, SEQUENCE)?; // validity
    let (_, mut name) = element(&mut fields, SEQUENCE)?;
    let mut parts = Vec::new();
    while !name.is_empty() {
        let (_, mut set) = element(&mut name, SET)?;
        let mut part = String::new();
        while !set.is_empty() {
            let (_, mut pair) = element(&mut set, SEQUENCE)?;
            let (_, oid) = element(&mut pair, OID)?;
            let (tag, value) = any(&mut pair)?;
            if !part.is_empty() {
                part.push('+');
            }
            push_type(oid, &mut part);
            part.push('=');
            push_value(&text(tag, value), &mut part);
        }
        parts.push(part);
    }
    parts.reverse();
    Some(parts.join(","))
}

const INTEGER: u8 = 0x02;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0]`, explicit.
const VERSION: u8 = 0xa0;

/// Takes the next element, which must have this tag: the tag and its content.
fn element<'d>(der: &mut &'d [u8], tag: u8) -> Option<(u8, &'d [u8])> {
    any(der).filter(|(found, _)| *found == tag)
}

/// Takes the next element: its tag and its content.
fn any<'d>(der: &mut &'d [u8]) -> Option<(u8, &'d [u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let bytes =
            rest.split_at_checked(usize::from(first & 0x7f)).filter(|(bytes, _)| (1..=3).contains(&bytes.len()))?;
        length = bytes.0.iter().fold(0, |n, b| n << 8 | usize::from(*b));
        rest = bytes.1;
    }
    let (content, rest) = rest.split_at_checked(length)?;
    *der = rest;
    Some((tag, content))
}

/// The name of an attribute's type, or its numbers.
fn push_type(oid: &[u8], out: &mut String) {
    const NAMES: [(&[u8], &str); 12] = [
        (&[0x55, 4, 3], "CN"),
        (&[0x55, 4, 5], "serialNumber"),
        (&[0x55, 4, 6], "C"),
        (&[0x55, 4, 7], "L"),
        (&[0x55, 4, 8], "ST"),
        (&[0x55, 4, 9], "STREET"),
        (&[0x55, 4, 10], "O"),
        (&[0x55, 4, 11], "OU"),
        (&[0x55, 4, 12], "title"),
        (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], "emailAddress"),
        (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID"),
        (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
    ];
    if let Some((_, name)) = NAMES.iter().find(|(bytes, _)| *bytes == oid) {
        out.push_str(name);
        return;
    }
    let (mut number, mut first) = (0u64, true);
    for byte in oid {
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        let written = match first {
            true => write!(out, "{}.{}", (number / 40).min(2), number - (number / 40).min(2) * 40),
            false => write!(out, ".{number}"),
        };
        debug_assert!(written.is_ok(), "a String takes everything");
        (number, first) = (0, false);
    }
}

/// The text of a string in one of ASN.1's encodings.
fn text(tag: u8, value: &[u8]) -> String {
    match tag {
        // BMPString
        0x1e => {
            let units = value.chunks_exact(2).map(|pair| u16::from(pair[0]) << 8 | u16::from(pair[1]));
            char::decode_utf16(units).map(|c| c.unwrap_or('\u{fffd}')).collect()
        }
        // TeletexString: Latin 1 in practice.
        0x14 => value.iter().map(|b| char::from(*b)).collect(),
        _ => String::from_utf8_lossy(value).into_owned(),
    }
}

/// Appends a value, with what has a meaning of its own escaped.
fn push_value(value: &str, out: &mut String) {
    let last = value.chars().count().saturating_sub(1);
    for (n, c) in value.chars().enumerate() {
        let edge = (c == ' ' && (n == 0 || n == last)) || (c == '#' && n == 0);
        match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' => out.extend(['\\', c]),
            c if edge => out.extend(['\\', c]),
            c if c.is_control() => {
                let written = write!(out, "\\{:02X}", u32::from(c));
                debug_assert!(written.is_ok(), "a String takes everything");
            }
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    fn of(file: &str) -> Vec<u8> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(file);
        CertificateDer::from_pem_file(path).unwrap().to_vec()
    }

    #[test]
    fn subjects_are_written_most_specific_first() {
        assert_eq!(subject(&of("cert.pem")).unwrap(), "CN=localhost");
        assert_eq!(subject(&of("client.pem")).unwrap(), "CN=web-1,OU=Müll\\, Abfuhr,O=Shop,C=DE");
    }

    #[test]
    fn validity_is_read_in_both_forms() {
        let all = validity(&of("cert.pem")).unwrap();
        assert!(all.start() < all.end() && *all.start() > 1_600_000_000, "{all:?}");
        assert_eq!(seconds(0x17, b"700101000001Z"), Some(1));
        assert_eq!(seconds(0x17, b"491231235959Z"), Some(2_524_607_999));
        assert_eq!(seconds(0x18, b"20260504030201Z"), Some(1_777_863_721));
        assert_eq!(seconds(0x18, b"99991231235959Z"), Some(i64::MAX));
        for (tag, text) in
            [(0x17, &b"20260504030201Z"[..]), (0x18, b"20261304030201Z"), (0x17, b"7001010000Z"), (2, b"x")]
        {
            assert_eq!(seconds(tag, text), None);
        }
    }

    #[test]
    fn unknown_types_are_numbers() {
        let mut out = String::new();
        push_type(&[0x2b, 6, 1, 4, 1, 0x82, 0x37, 60], &mut out);
        assert_eq!(out, "1.3.6.1.4.1.311.60");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(flips in proptest::collection::vec((0usize..900, 0u8..=255), 1..6), cut in 0usize..900) {
            let mut der = of("client.pem");
            for (at, byte) in flips {
                let at = at % der.len();
                der[at] = byte;
            }
            der.truncate(cut.max(1));
            _ = (subject(&der), validity(&der));
        }
    }
}
