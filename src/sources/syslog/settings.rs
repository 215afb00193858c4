//! What all sources have, with the one difference that this one's messages are syslog by default.

use crate::component::common::{Attach, SourceCommon};
use crate::condition::Condition;
use crate::decoding::{DecodeSetting, InvalidUtf8, OnDecodeError};
use crate::settings::{FieldDoc, Keys, Node, Properties, Reader, SchemaBuilder, Setting, Settings, config};
use std::ops::Deref;

config! {
    /// Settings that all sources have.
    struct SyslogKeys {
        /// How messages become events.
        decode: DecodeSetting = DecodeSetting::Syslog,
        /// What becomes of a message that cannot be decoded.
        on_decode_error: OnDecodeError = OnDecodeError::Keep,
        /// What becomes of bytes that are not UTF-8.
        invalid_utf8: InvalidUtf8 = InvalidUtf8::Replace,
        /// Metadata to copy into fields: `peer`, `tls.subject`, `host`, `source`, …
        attach: Vec<Attach> = Vec::new(),
        /// Keep only events for which this holds; others are dropped and counted.
        when: Option<Condition> = None,
    }
}

/// Settings that all sources have; `decode` is `syslog` unless it says otherwise.
#[derive(Debug, Clone)]
pub struct SyslogCommon(SourceCommon);

impl Deref for SyslogCommon {
    type Target = SourceCommon;
    fn deref(&self) -> &SourceCommon {
        &self.0
    }
}

impl From<SyslogKeys> for SyslogCommon {
    fn from(keys: SyslogKeys) -> Self {
        let SyslogKeys { decode, on_decode_error, invalid_utf8, attach, when } = keys;
        SyslogCommon(SourceCommon { decode, on_decode_error, invalid_utf8, attach, when })
    }
}

impl Setting for SyslogCommon {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        SyslogKeys::read(node, cx).map(Self::from)
    }

    fn schema(g: &mut SchemaBuilder) -> serde_json::Value {
        SyslogKeys::schema(g)
    }

    fn describe() -> String {
        SyslogKeys::describe()
    }

    fn accepts(node: &Node) -> bool {
        SyslogKeys::accepts(node)
    }

    fn fields() -> Vec<FieldDoc> {
        SyslogKeys::fields()
    }
}

impl Settings for SyslogCommon {
    const NAME: &'static str = "SyslogCommon";

    fn about() -> String {
        SyslogKeys::about()
    }

    fn field_docs(out: &mut Vec<FieldDoc>) {
        SyslogKeys::field_docs(out);
    }

    fn read_keys(keys: &mut Keys<'_>, cx: &mut Reader<'_>) -> Option<Self> {
        SyslogKeys::read_keys(keys, cx).map(Self::from)
    }

    fn properties(g: &mut SchemaBuilder, out: &mut Properties) {
        SyslogKeys::properties(g, out);
    }
}
