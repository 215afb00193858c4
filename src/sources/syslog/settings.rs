//! What all sources have, with the one difference that this one's messages are syslog by default.

use crate::component::common::{Attach, CommonBy, SourceCommon};
use crate::condition::Condition;
use crate::decoding::{DecodeSetting, InvalidUtf8, OnDecodeError};
use crate::settings::config;

config! {
    /// Settings that all sources have.
    pub struct SyslogKeys {
        /// How messages become events.
        pub decode: DecodeSetting = DecodeSetting::Syslog,
        /// What becomes of a message that cannot be decoded.
        pub on_decode_error: OnDecodeError = OnDecodeError::Keep,
        /// What becomes of bytes that are not UTF-8.
        pub invalid_utf8: InvalidUtf8 = InvalidUtf8::Replace,
        /// Metadata to copy into fields: `peer`, `tls.subject`, `host`, `source`, …
        pub attach: Vec<Attach> = Vec::new(),
        /// Keep only events for which this holds; others are dropped and counted.
        pub when: Option<Condition> = None,
    }
}

/// Settings that all sources have; `decode` is `syslog` unless it says otherwise.
pub type SyslogCommon = CommonBy<SyslogKeys>;

impl From<SyslogKeys> for SourceCommon {
    fn from(keys: SyslogKeys) -> Self {
        let SyslogKeys { decode, on_decode_error, invalid_utf8, attach, when } = keys;
        SourceCommon { decode, on_decode_error, invalid_utf8, attach, when }
    }
}
