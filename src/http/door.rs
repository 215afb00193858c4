//! What a client shows at a door of the agent, and what it is compared with: the API's, an http source's.

use crate::settings::{Secret, config};
use sha2::{Digest, Sha256};

config! {
    /// User and password.
    pub struct UserPassword {
        /// The user.
        pub user: String,
        /// The password.
        pub password: Secret,
    }
}

impl UserPassword {
    /// What `Authorization: Basic` has, before it is encoded.
    pub fn pair(&self) -> String {
        format!("{}:{}", self.user, self.password.reveal())
    }
}

/// A text that somebody has to know. It is compared by its digest, all of it: neither place nor length of a difference shows
/// in the time it takes.
#[derive(Clone, Copy, Debug)]
pub struct KnownText([u8; 32]);

impl KnownText {
    /// This text.
    pub fn of(text: &[u8]) -> KnownText {
        KnownText(Sha256::digest(text).into())
    }

    /// Whether both are the same.
    pub fn is(&self, given: &KnownText) -> bool {
        std::hint::black_box(self.0.iter().zip(&given.0).fold(0, |difference, (x, y)| difference | (x ^ y))) == 0
    }

    /// Whether one of these is this; all of them are compared.
    pub fn is_one_of(&self, known: &[KnownText]) -> bool {
        known.iter().fold(false, |found, want| found | want.is(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_itself_and_no_other() {
        let known = [KnownText::of(b"a"), KnownText::of(b"token")];
        assert!(KnownText::of(b"token").is_one_of(&known));
        for other in [&b"tokeN"[..], b"", b"token1"] {
            assert!(!KnownText::of(other).is_one_of(&known));
        }
    }
}
