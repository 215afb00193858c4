//! Settings that all sources have, and those that all sinks have.

use crate::buffer::BufferConfig;
use crate::condition::Condition;
use crate::decoding::{DecodeSetting, InvalidUtf8, OnDecodeError};
use crate::event::{FieldPath, Meta, Sym};
use crate::settings::{
    FieldDoc, Keys, Node, Properties, Reader, SchemaBuilder, Setting, Settings, Spanned, config, read_string,
};
use std::marker::PhantomData;
use std::ops::Deref;

config! {
    /// Settings that all sources have.
    pub struct SourceCommon {
        /// How frames become events.
        pub decode: DecodeSetting = DecodeSetting::Text,
        /// What becomes of a frame that cannot be decoded.
        pub on_decode_error: OnDecodeError = OnDecodeError::Keep,
        /// What becomes of bytes that are not UTF-8.
        pub invalid_utf8: InvalidUtf8 = InvalidUtf8::Replace,
        /// Metadata to copy into fields: `file`, `host`, `source`, `offset`, `peer`, …
        pub attach: Vec<Attach> = Vec::new(),
        /// Keep only events for which this holds; others are dropped and counted.
        pub when: Option<Condition> = None,
    }
}

/// [`SourceCommon`] read by the keys `K`, which have other defaults and other words about them.
#[derive(Debug, Clone)]
pub struct CommonBy<K>(SourceCommon, PhantomData<fn() -> K>);

impl<K> Deref for CommonBy<K> {
    type Target = SourceCommon;
    fn deref(&self) -> &SourceCommon {
        &self.0
    }
}

impl<K: Settings + Into<SourceCommon>> CommonBy<K> {
    fn of(keys: K) -> Self {
        CommonBy(keys.into(), PhantomData)
    }
}

impl<K: Settings + Into<SourceCommon>> Setting for CommonBy<K> {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        K::read(node, cx).map(Self::of)
    }

    fn schema(g: &mut SchemaBuilder) -> serde_json::Value {
        K::schema(g)
    }

    fn describe() -> String {
        K::describe()
    }

    fn accepts(node: &Node) -> bool {
        K::accepts(node)
    }

    fn fields() -> Vec<FieldDoc> {
        K::fields()
    }
}

impl<K: Settings + Into<SourceCommon>> Settings for CommonBy<K> {
    const NAME: &'static str = K::NAME;

    fn about() -> String {
        K::about()
    }

    fn field_docs(out: &mut Vec<FieldDoc>) {
        K::field_docs(out);
    }

    fn read_keys(keys: &mut Keys<'_>, cx: &mut Reader<'_>) -> Option<Self> {
        K::read_keys(keys, cx).map(Self::of)
    }

    fn properties(g: &mut SchemaBuilder, out: &mut Properties) {
        K::properties(g, out);
    }
}

config! {
    /// Settings that all sinks have.
    pub struct SinkCommon {
        /// What it reads: ids, `id.output`, globs over ids. Not needed where the sink is only someone's dead letter.
        pub inputs: Vec<Spanned<String>> = Vec::new(),
        /// Take only events for which this holds; others are dropped for this sink and counted.
        pub when: Option<Condition> = None,
        /// The queue in front of the sink.
        pub buffer: BufferConfig = BufferConfig::default(),
        /// Id of the sink that takes what this one cannot deliver.
        pub dead_letter: Option<Spanned<String>> = None,
    }
}

/// One entry of `attach`: metadata that is copied into a field.
#[derive(Debug, Clone, PartialEq)]
pub struct Attach(pub Meta);

impl Attach {
    /// The pairs of path and field that [`component::attach`](crate::component::attach()) takes.
    pub fn pairs(list: &[Attach]) -> Vec<(FieldPath, Sym)> {
        let pair = |a: &Attach| (FieldPath::of_meta(a.0.clone()), Sym::from_config(&a.0.field_name()));
        list.iter().map(pair).collect()
    }
}

impl Setting for Attach {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let text = read_string(node, cx, &Self::describe())?;
        let name = text.strip_prefix('@').unwrap_or(text);
        match Meta::from_config(name) {
            Some(meta) => {
                cx.asks([meta.name()]);
                Some(Attach(meta))
            }
            None => {
                cx.error(node.span, format!("unknown metadata `{name}`")).suggest(name, Meta::NAMES.iter().copied());
                None
            }
        }
    }

    fn schema(_g: &mut SchemaBuilder) -> serde_json::Value {
        let names: Vec<&str> = Meta::NAMES.to_vec();
        serde_json::json!({"anyOf": [{"enum": names}, {"type": "string", "pattern": "^(@.+|http\\..+|.*\\$\\{.*)$"}]})
    }

    fn describe() -> String {
        format!("the name of metadata: {}, http.<variable>", Meta::NAMES.join(", "))
    }
}

/// Says at the start that a source has fewer connections than by default.
pub fn say_cut(component: &str, connections: u32, default: u32, bytes_each: usize) {
    if connections < default {
        tracing::info!(
            component,
            connections,
            default,
            "fewer connections than by default, so that they fit a quarter of `memory_limit` ({} KiB each) and half of the \
             files that may be open ({})",
            bytes_each >> 10,
            crate::process::handles::limit()
        );
    }
}
