//! What all sources have, with the one difference that lines are told apart by default.

use crate::component::common::{Attach, SourceCommon};
use crate::condition::Condition;
use crate::decoding::{DecodeSetting, InvalidUtf8, OnDecodeError};
use crate::settings::{FieldDoc, Keys, Node, Properties, Reader, SchemaBuilder, Setting, Settings, config};
use std::ops::Deref;

config! {
    /// Settings that all sources have.
    struct HttpKeys {
        /// How lines of text become events. Bodies of JSON, and of formats that say what they are, need no such word.
        decode: DecodeSetting = DecodeSetting::Auto,
        /// What becomes of a line that cannot be decoded.
        on_decode_error: OnDecodeError = OnDecodeError::Keep,
        /// What becomes of bytes that are not UTF-8.
        invalid_utf8: InvalidUtf8 = InvalidUtf8::Replace,
        /// Metadata to copy into fields: `peer`, `user`, `tls.subject`, `http.<variable>`, `host`, `source`, …
        attach: Vec<Attach> = Vec::new(),
        /// Keep only events for which this holds; others are dropped and counted.
        when: Option<Condition> = None,
    }
}

/// Settings that all sources have; `decode` is `auto` unless it says otherwise.
#[derive(Debug, Clone)]
pub struct HttpCommon(SourceCommon);

impl Deref for HttpCommon {
    type Target = SourceCommon;
    fn deref(&self) -> &SourceCommon {
        &self.0
    }
}

impl From<HttpKeys> for HttpCommon {
    fn from(keys: HttpKeys) -> Self {
        let HttpKeys { decode, on_decode_error, invalid_utf8, attach, when } = keys;
        HttpCommon(SourceCommon { decode, on_decode_error, invalid_utf8, attach, when })
    }
}

impl Setting for HttpCommon {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        HttpKeys::read(node, cx).map(Self::from)
    }

    fn schema(g: &mut SchemaBuilder) -> serde_json::Value {
        HttpKeys::schema(g)
    }

    fn describe() -> String {
        HttpKeys::describe()
    }

    fn accepts(node: &Node) -> bool {
        HttpKeys::accepts(node)
    }

    fn fields() -> Vec<FieldDoc> {
        HttpKeys::fields()
    }
}

impl Settings for HttpCommon {
    const NAME: &'static str = "HttpCommon";

    fn about() -> String {
        HttpKeys::about()
    }

    fn field_docs(out: &mut Vec<FieldDoc>) {
        HttpKeys::field_docs(out);
    }

    fn read_keys(keys: &mut Keys<'_>, cx: &mut Reader<'_>) -> Option<Self> {
        HttpKeys::read_keys(keys, cx).map(Self::from)
    }

    fn properties(g: &mut SchemaBuilder, out: &mut Properties) {
        HttpKeys::properties(g, out);
    }
}
