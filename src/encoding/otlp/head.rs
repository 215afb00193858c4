//! How attributes begin: bytes that are kept for each key.

/// Bytes of a head that are copied at once.
pub(super) const HEAD: usize = 32;

/// How the attribute with a key begins.
#[derive(Debug)]
pub(super) struct Head {
    /// Tag of the attribute, its length, tag of the key, its length, the key, tag of the value. The length is set as it is written.
    pub(super) bytes: [u8; HEAD],
    /// How many of them; 0 where the key is too long for all this.
    pub(super) len: usize,
    pub(super) number: u32,
    pub(super) key: Box<[u8]>,
}

impl Head {
    /// Of attributes that are field `number` of a record, below 16.
    pub(super) fn new(number: u32, key: &[u8]) -> Head {
        let (mut bytes, mut len) = ([0; HEAD], 0);
        if key.len() + 5 <= HEAD {
            len = key.len() + 5;
            bytes[..4].copy_from_slice(&[(number << 3 | 2) as u8, 0, 1 << 3 | 2, key.len() as u8]);
            bytes[4..len - 1].copy_from_slice(key);
            bytes[len - 1] = 2 << 3 | 2;
        }
        Head { bytes, len, number, key: key.into() }
    }
}
