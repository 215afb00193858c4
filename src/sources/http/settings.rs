//! What all sources have, with the one difference that lines are told apart by default.

use crate::component::common::{Attach, CommonBy, SourceCommon};
use crate::condition::Condition;
use crate::decoding::{DecodeSetting, InvalidUtf8, OnDecodeError};
use crate::settings::config;

config! {
    /// Settings that all sources have.
    pub struct HttpKeys {
        /// How lines of text become events. Bodies of JSON, and of formats that say what they are, need no such word.
        pub decode: DecodeSetting = DecodeSetting::Auto,
        /// What becomes of a line that cannot be decoded.
        pub on_decode_error: OnDecodeError = OnDecodeError::Keep,
        /// What becomes of bytes that are not UTF-8.
        pub invalid_utf8: InvalidUtf8 = InvalidUtf8::Replace,
        /// Metadata to copy into fields: `peer`, `user`, `tls.subject`, `http.<variable>`, `host`, `source`, …
        pub attach: Vec<Attach> = Vec::new(),
        /// Keep only events for which this holds; others are dropped and counted.
        pub when: Option<Condition> = None,
    }
}

/// Settings that all sources have; `decode` is `auto` unless it says otherwise.
pub type HttpCommon = CommonBy<HttpKeys>;

impl From<HttpKeys> for SourceCommon {
    fn from(keys: HttpKeys) -> Self {
        let HttpKeys { decode, on_decode_error, invalid_utf8, attach, when } = keys;
        SourceCommon { decode, on_decode_error, invalid_utf8, attach, when }
    }
}
