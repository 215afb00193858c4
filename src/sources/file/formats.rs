//! What a file is by its first bytes: text, compressed in a way that is read here, or in one that is not.
//!
//! No text is taken for something compressed. Signatures that are text themselves (`BZh9`, `PK`, `LZIP`, `]`) count only with
//! the bytes after them that no text has there: a NUL, a control character, or what is not UTF-8.

/// What the first bytes of a file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sniff {
    /// Nothing that is known here: it is read as it is.
    Plain,
    Gzip,
    Zstd,
    Xz,
    Bzip2,
    /// Compressed in a way that is not read here: its name.
    Foreign(&'static str),
    /// All there is may be the beginning of a signature. Only for heads shorter than [`SNIFF_BYTES`].
    Short,
}

/// As many first bytes as [`sniff`] ever needs.
pub(super) const SNIFF_BYTES: usize = 32;

/// One byte of a signature.
#[derive(Clone, Copy)]
enum Is {
    Byte(u8),
    Any,
    From(u8, u8),
    /// These bits have this value.
    Bits(u8, u8),
}

impl Is {
    fn fits(self, byte: u8) -> bool {
        match self {
            Is::Byte(wanted) => byte == wanted,
            Is::Any => true,
            Is::From(least, most) => (least..=most).contains(&byte),
            Is::Bits(mask, value) => byte & mask == value,
        }
    }
}

use Is::{Any, Bits, Byte as B, From};

/// Signatures that lie where they lie in every file of their kind. Sources: RFC 1952, RFC 8878, xz-file-format 1.2.1,
/// APPNOTE.TXT 6.3.10, 7zFormat.txt, and `file`'s magic for the rest.
const SIGNATURES: &[(Sniff, &[Is])] = &[
    // Deflate, and no flag that is reserved.
    (Sniff::Gzip, &[B(0x1f), B(0x8b), B(0x08), Bits(0xe0, 0)]),
    (Sniff::Zstd, &[B(0x28), B(0xb5), B(0x2f), B(0xfd), Bits(0x08, 0)]),
    (Sniff::Xz, &[B(0xfd), B(b'7'), B(b'z'), B(b'X'), B(b'Z'), B(0)]),
    // The magic of a block, its CRC, and the place of the first byte, which is below 900,000: its first eight bits are 6 at most.
    (
        Sniff::Bzip2,
        &[
            B(b'B'),
            B(b'Z'),
            B(b'h'),
            From(b'1', b'9'),
            B(0x31),
            B(0x41),
            B(0x59),
            B(0x26),
            B(0x53),
            B(0x59),
            Any,
            Any,
            Any,
            Any,
            From(0, 6),
        ],
    ),
    // One without blocks.
    (
        Sniff::Bzip2,
        &[B(b'B'), B(b'Z'), B(b'h'), From(b'1', b'9'), B(0x17), B(0x72), B(0x45), B(0x38), B(0x50), B(0x90)],
    ),
    // Version and flags, then the method, which is below 256.
    (Sniff::Foreign("zip"), &[B(b'P'), B(b'K'), B(3), B(4), Any, Any, Any, Any, Any, B(0)]),
    // An empty one: number of this disk.
    (Sniff::Foreign("zip"), &[B(b'P'), B(b'K'), B(5), B(6), B(0), B(0), B(0), B(0)]),
    // Spanned ones, and ones that were meant to be.
    (
        Sniff::Foreign("zip"),
        &[B(b'P'), B(b'K'), B(7), B(8), B(b'P'), B(b'K'), B(3), B(4), Any, Any, Any, Any, Any, B(0)],
    ),
    (
        Sniff::Foreign("zip"),
        &[B(b'P'), B(b'K'), B(b'0'), B(b'0'), B(b'P'), B(b'K'), B(3), B(4), Any, Any, Any, Any, Any, B(0)],
    ),
    (Sniff::Foreign("7z"), &[B(b'7'), B(b'z'), B(0xbc), B(0xaf), B(0x27), B(0x1c)]),
    // Blocks of 8 MiB, decompressed: the size of the first is below 16 MiB.
    (Sniff::Foreign("lz4"), &[B(0x02), B(0x21), B(0x4c), B(0x18), Any, Any, Any, B(0)]),
    (Sniff::Foreign("lzop"), &[B(0x89), B(b'L'), B(b'Z'), B(b'O'), B(0), B(b'\r'), B(b'\n'), B(0x1a), B(b'\n')]),
    // Version, size of the dictionary, and the range coder's first byte.
    (Sniff::Foreign("lzip"), &[B(b'L'), B(b'Z'), B(b'I'), B(b'P'), B(1), Any, B(0)]),
    // 9 to 16 bits a code, with or without block mode.
    (Sniff::Foreign("compress"), &[B(0x1f), B(0x9d), From(0x09, 0x10)]),
    (Sniff::Foreign("compress"), &[B(0x1f), B(0x9d), From(0x89, 0x90)]),
    (Sniff::Foreign("snappy"), &[B(0xff), B(6), B(0), B(0), B(b's'), B(b'N'), B(b'a'), B(b'P'), B(b'p'), B(b'Y')]),
    (Sniff::Foreign("rar"), &[B(b'R'), B(b'a'), B(b'r'), B(b'!'), B(0x1a), B(7), B(0)]),
    (Sniff::Foreign("rar"), &[B(b'R'), B(b'a'), B(b'r'), B(b'!'), B(0x1a), B(7), B(1), B(0)]),
];

/// What a file that begins with `head` is.
///
/// Shape: may be empty; more than [`SNIFF_BYTES`] is looked at only where a zstd file begins with what is to be skipped.
pub(super) fn sniff(head: &[u8]) -> Sniff {
    let mut answer = Sniff::Plain;
    let fixed = SIGNATURES.iter().map(|(kind, signature)| (*kind, fits(head, signature)));
    for (kind, fit) in fixed.chain([skippable(head), lz4(head), lzma(head)]) {
        match fit {
            Fit::Yes => return kind,
            Fit::SoFar => answer = Sniff::Short,
            Fit::No => {}
        }
    }
    answer
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    Yes,
    No,
    /// There is less than the signature.
    SoFar,
}

fn fits(head: &[u8], signature: &[Is]) -> Fit {
    if !head.iter().zip(signature).all(|(byte, is)| is.fits(*byte)) {
        Fit::No
    } else if head.len() < signature.len() {
        Fit::SoFar
    } else {
        Fit::Yes
    }
}

/// A frame to be skipped, as pzstd and seekable files have it: its length is below 16 MiB, and a frame of zstd follows, as
/// far as that is seen. (Both are text in themselves: `P*M` and a control character.)
fn skippable(head: &[u8]) -> (Sniff, Fit) {
    const SIGNATURE: &[Is] = &[From(0x50, 0x5f), B(0x2a), B(0x4d), B(0x18), Any, Any, Any, B(0)];
    let mut rest = head;
    loop {
        let fit = fits(rest, SIGNATURE);
        let first = rest.len() == head.len();
        match (fit, rest) {
            (Fit::Yes, [_, _, _, _, a, b, c, _, after @ ..]) => {
                let len = u32::from_le_bytes([*a, *b, *c, 0]) as usize;
                match after.get(len..) {
                    Some(next) if !next.is_empty() => rest = next,
                    _ => return (Sniff::Zstd, Fit::Yes),
                }
            }
            _ if first => return (Sniff::Zstd, fit),
            (Fit::SoFar, _) => return (Sniff::Zstd, Fit::Yes),
            _ => break,
        }
    }
    if fits(rest, &[B(0x28), B(0xb5), B(0x2f), B(0xfd)]) != Fit::No {
        return (Sniff::Zstd, Fit::Yes);
    }
    let (kind, fit) = lz4(rest);
    (kind, if fit == Fit::No { Fit::No } else { Fit::Yes })
}

/// A frame of lz4: where the size of its first block stands depends on its flags. Source: lz4_Frame_format.md 1.6.3.
fn lz4(head: &[u8]) -> (Sniff, Fit) {
    const SIGNATURE: &[Is] = &[B(0x04), B(0x22), B(0x4d), B(0x18), Bits(0xc2, 0x40), Bits(0x8f, 0)];
    let kind = Sniff::Foreign("lz4");
    let fit = fits(head, SIGNATURE);
    let (Fit::Yes, [_, _, _, _, flags, _, rest @ ..]) = (fit, head) else { return (kind, fit) };
    let size_of_contents = if flags & 0x08 != 0 { 8 } else { 0 };
    let dictionary = if flags & 0x01 != 0 { 4 } else { 0 };
    // Behind a checksum of the header; 4 MiB at most, and a bit for blocks that are not compressed.
    let block = rest.get(size_of_contents + dictionary + 1..).unwrap_or_default();
    (kind, fits(block, &[Any, Any, From(0, 0x40), Bits(0x7f, 0)]))
}

/// What `lzma` and `xz --format=lzma` write has no signature: settings that are always these, the size of the dictionary
/// (2ⁿ or 2ⁿ + 2ⁿ⁻¹), the size of the contents, and the range coder's first byte. Source: lzma-file-format.txt; the same is
/// asked by `xz`.
fn lzma(head: &[u8]) -> (Sniff, Fit) {
    const SIGNATURE: &[Is] = &[B(0x5d), B(0), B(0), Any, Any, Any, Any, Any, Any, Any, Any, Any, Any, B(0)];
    let kind = Sniff::Foreign("lzma");
    let fit = fits(head, SIGNATURE);
    let (Fit::Yes, [_, d0, d1, d2, d3, s0, s1, s2, s3, s4, s5, s6, s7, ..]) = (fit, head) else { return (kind, fit) };
    let dictionary = u32::from_le_bytes([*d0, *d1, *d2, *d3]);
    let size = u64::from_le_bytes([*s0, *s1, *s2, *s3, *s4, *s5, *s6, *s7]);
    let settings = dictionary >= 4096 && matches!(dictionary >> dictionary.trailing_zeros(), 1 | 3);
    let fit = settings && (size == u64::MAX || size < 1 << 38);
    (kind, if fit { Fit::Yes } else { Fit::No })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    /// What the tools make of two lines, and of nothing: as hexadecimal digits, the first bytes of longer ones.
    const REAL: &[(&str, Sniff, &str)] = &[
        ("gzip", Sniff::Gzip, "1f8b0800000000000003cbc9cc4b55c8cf4be5ca01314acaf3b9008bd7f47512000000"),
        ("gzip with a name", Sniff::Gzip, "1f8b080813e80c6b03007000cbc9cc4b55c8cf4be5ca01314acaf3b9008bd7f47512000000"),
        ("zstd", Sniff::Zstd, "28b52ffd24129100006c696e65206f6e650a6c696e652074776f0a2b8cb7ee"),
        ("zstd --no-check", Sniff::Zstd, "28b52ffd20129100006c696e65206f6e650a6c696e652074776f0a"),
        ("zstd of a pipe", Sniff::Zstd, "28b52ffd04589100006c696e65206f6e650a6c696e652074776f0a2b8cb7ee"),
        (
            "pzstd",
            Sniff::Zstd,
            "502a4d18040000001f00000028b52ffd04589100006c696e65206f6e650a6c696e652074776f0a2b8cb7ee",
        ),
        (
            "xz",
            Sniff::Xz,
            "fd377a585a000004e6d6b4460200210116000000742fe5a30100116c696e65206f6e650a6c696e652074776f0a000000",
        ),
        ("xz of nothing", Sniff::Xz, "fd377a585a000004e6d6b446000000001cdf44211fb6f37d010000000004595a"),
        (
            "lzma",
            Sniff::Foreign("lzma"),
            "5d00008000ffffffffffffffff00361a4a1f08a18e66b26e666b1b1c1a0cb0333cfff8ac6400",
        ),
        (
            "lzma -9",
            Sniff::Foreign("lzma"),
            "5d00000004ffffffffffffffff00361a4a1f08a18e66b26e666b1b1c1a0cb0333cfff8ac6400",
        ),
        (
            "bzip2",
            Sniff::Bzip2,
            "425a68393141592653598c77bfde000004d1800010400002258480200031064c40c869a68f0b2c20989c278bb9229c28",
        ),
        (
            "bzip2 -1",
            Sniff::Bzip2,
            "425a68313141592653598c77bfde000004d1800010400002258480200031064c40c869a68f0b2c20989c278bb9229c28",
        ),
        ("bzip2 of nothing", Sniff::Bzip2, "425a683917724538509000000000"),
        (
            "zip",
            Sniff::Foreign("zip"),
            "504b0304140000000800bc187e5d8bd7f475110000001200000001001c0070555409000313e80c6b13e80c6b75780b00",
        ),
        (
            "zip -0",
            Sniff::Foreign("zip"),
            "504b03040a0000000000bc187e5d8bd7f475120000001200000001001c0070555409000313e80c6b13e80c6b75780b00",
        ),
        ("zip of nothing", Sniff::Foreign("zip"), "504b0506000000000000000000000000000000000000"),
        ("zip, spanned", Sniff::Foreign("zip"), "504b0708504b0304140000000800bc187e5d8bd7f47511000000"),
        ("zip, spanned into one", Sniff::Foreign("zip"), "504b3030504b0304140000000800bc187e5d8bd7f47511000000"),
        (
            "7z",
            Sniff::Foreign("7z"),
            "377abcaf271c00047f44f4ac16000000000000004a000000000000009baa56a30100116c696e65206f6e650a6c696e65",
        ),
        ("lz4", Sniff::Foreign("lz4"), "04224d186440a7120000806c696e65206f6e650a6c696e652074776f0a000000009700d6ef"),
        (
            "lz4 --content-size",
            Sniff::Foreign("lz4"),
            "04224d186c4012000000000000001b120000806c696e65206f6e650a6c696e652074776f0a000000009700d6ef",
        ),
        ("lz4 of nothing", Sniff::Foreign("lz4"), "04224d186440a700000000055dcc02"),
        ("lz4 -l", Sniff::Foreign("lz4"), "02214c1814000000f0036c696e65206f6e650a6c696e652074776f0a"),
        (
            "lzop",
            Sniff::Foreign("lzop"),
            "894c5a4f000d0a1a0a104020a00940010503000009000081a46b0ce8130000000001703a79047400000012000000123d",
        ),
        (
            "lzip",
            Sniff::Foreign("lzip"),
            "4c5a4950010c00361a4a1f08a18e66b26e666b1b1c399848b31fff5a1000008bd7f47512000000000000003300000000",
        ),
        ("compress", Sniff::Foreign("compress"), "1f9d906cd2b82903e2cd4005010782a073e78d02"),
        ("compress -b 9", Sniff::Foreign("compress"), "1f9d896cd2b82903e2cd4005010782a073e78d02"),
        (
            "snappy",
            Sniff::Foreign("snappy"),
            "ff060000734e61507059011600008a3f3b6f6c696e65206f6e650a6c696e652074776f0a",
        ),
        ("rar 4", Sniff::Foreign("rar"), "526172211a0700cf907300000d00000000000000"),
        ("rar 5", Sniff::Foreign("rar"), "526172211a0701003392b5e50a010506000501018080"),
    ];

    fn bytes(digits: &str) -> Vec<u8> {
        let digit = |c: u8| char::from(c).to_digit(16).unwrap() as u8;
        digits.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
    }

    #[test]
    fn what_tools_write_is_known_as_soon_as_enough_of_it_is_there() {
        for (tool, kind, digits) in REAL {
            let file = bytes(digits);
            assert_eq!(sniff(&file), *kind, "{tool}");
            let mut known = false;
            for len in 0..=file.len() {
                let now = sniff(&file[..len]);
                assert!(now == *kind || (now == Sniff::Short && !known), "{tool}, {len} bytes: {now:?}");
                assert!(now == *kind || len < SNIFF_BYTES, "{tool}: {len} bytes are enough");
                known = now == *kind;
            }
        }
    }

    #[test]
    fn frames_to_be_skipped_are_what_follows_them() {
        let frame = |len: usize| [&[0x5a, 0x2a, 0x4d, 0x18, len as u8, 0, 0, 0], &vec![b'x'; len][..]].concat();
        let file = |digits: &str| [frame(0), frame(9), bytes(digits)].concat();
        assert_eq!(sniff(&file("28b52ffd24129100006c")), Sniff::Zstd);
        assert_eq!(sniff(&file("04224d186440a7120000806c")), Sniff::Foreign("lz4"));
        assert_eq!(sniff(&file("6c696e65206f6e65")), Sniff::Plain);
        for len in 8..file("28b52ffd").len() {
            assert_eq!(sniff(&file("28b52ffd")[..len]), Sniff::Zstd, "{len}");
        }
    }

    #[test]
    fn what_begins_like_a_signature_and_goes_on_as_text_is_text() {
        for text in [
            "BZh",
            "BZh9 is the beginning of a bzip2 file",
            "BZh91AY&SY is its signature",
            "BZh91AY&SY1234\n",
            "PK",
            "PK\n",
            "PK003 failed",
            "PK00PK",
            "Rar!",
            "Rar! said the bear",
            "LZIP",
            "LZIP\x01ll\n",
            "7z a x.7z",
            "]",
            "] done\n",
            "]\0\0\0",
            "P",
            "P*M",
            "P*M\x18text\n",
            "(",
            "\x04\"M\x18d@text and more text\n",
            "\x02!L\x18text\n",
            "\x1f\n",
            "\u{feff}line\n",
            "",
        ] {
            let short = sniff(text.as_bytes());
            assert!(matches!(short, Sniff::Plain | Sniff::Short), "{text:?}: {short:?}");
            let line = format!("{text}, and as much more as it takes to tell\n");
            assert_eq!(sniff(line.as_bytes()), Sniff::Plain, "{line:?}");
        }
        // What was reserved for a file and is not written yet.
        let mut reserved = b"]".to_vec();
        reserved.resize(4096, 0);
        assert_eq!(sniff(&reserved), Sniff::Plain);
        assert_eq!(sniff(&[0; 4096]), Sniff::Plain);
        // No method but deflate was ever in use, and no flag above 0x10.
        assert_eq!(sniff(b"\x1f\x8b\x07\x00text"), Sniff::Plain);
        assert_eq!(sniff(b"\x1f\x8b\x08\x80text"), Sniff::Plain);
    }

    proptest! {
        #[test]
        fn no_text_is_compressed(
            which in 0usize..REAL.len(),
            cut in 0usize..48,
            text in "(\\PC|\t|\r|\n|\x1b){0,60}",
        ) {
            // Text of its own, and text that begins as far as text can as something compressed.
            let real = bytes(REAL[which].2);
            for len in [0, cut.min(real.len())] {
                let beginning = std::str::from_utf8(&real[..len]).unwrap_or("");
                let beginning = beginning.split('\0').next().unwrap_or("");
                let line = format!("{beginning}{text}");
                let answer = sniff(line.as_bytes());
                prop_assert!(matches!(answer, Sniff::Plain | Sniff::Short), "{:?}: {:?}", line, answer);
                prop_assert!(answer == Sniff::Plain || line.len() < SNIFF_BYTES, "{:?}: {:?}", line, answer);
            }
        }

        #[test]
        fn more_bytes_never_undo_what_is_known(bytes in prop::collection::vec(any::<u8>(), 0..64), which in 0usize..REAL.len(), cut in 0usize..24) {
            let mut file = self::bytes(REAL[which].2);
            file.truncate(cut);
            file.extend_from_slice(&bytes);
            let mut before = Sniff::Short;
            for len in 0..file.len().min(SNIFF_BYTES) {
                let now = sniff(&file[..len]);
                // But for what follows a frame to be skipped.
                let skips = matches!(before, Sniff::Zstd | Sniff::Foreign("lz4")) && file.get(1) == Some(&0x2a);
                prop_assert!(before == Sniff::Short || now == before || skips, "{:?} after {:?}: {:?}", now, before, &file[..len]);
                before = now;
            }
        }

        #[test]
        fn what_the_libraries_write_is_known(data in prop::collection::vec(any::<u8>(), 0..300), level in 0u32..10) {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
            gzip.write_all(&data).unwrap();
            prop_assert_eq!(sniff(&gzip.finish().unwrap()), Sniff::Gzip);
            prop_assert_eq!(sniff(&zstd::encode_all(&data[..], level as i32).unwrap()), Sniff::Zstd);
            let mut snappy = snap::write::FrameEncoder::new(Vec::new());
            snappy.write_all(&data).unwrap();
            let snappy = snappy.into_inner().unwrap();
            prop_assert_eq!(sniff(&snappy), if data.is_empty() { Sniff::Short } else { Sniff::Foreign("snappy") });
        }
    }
}
