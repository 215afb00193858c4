//! The macros that define a setting once: struct or enum, reader, schema and reference come from one text.
//!
//! | Macro | Reads | Example |
//! |---|---|---|
//! | [`config!`] | a block of keys | `{include: [...], start_at: end}` |
//! | [`config_enum!`] | one of several words | `beginning` |
//! | [`config_union!`] | the first form that the value has the shape of | `java` or `{start: ...}` |
//! | [`config_choice!`] | a word, or a mapping of exactly one of several keys | `json` or `{regex: {pattern: ...}}` |
//! | [`config_tagged!`] | a block whose `type` says which | `{type: disk, max_size: 1GiB}` |
//!
//! Doc comments become descriptions. A key without default is required, unless its type is an `Option`.

/// Defines a block of settings. See [the module](self).
macro_rules! config {
    (@fields $head:tt $vis:vis $name:ident [$($done:tt)*]) => {
        $crate::settings::config!(@emit $head $vis $name [$($done)*]);
    };
    (@fields $head:tt $vis:vis $name:ident [$($done:tt)*]
        $(#[$($doc:tt)*])* flatten $fvis:vis $field:ident : $ty:ty $(, $($rest:tt)*)?
    ) => {
        $crate::settings::config!(@fields $head $vis $name
            [$($done)* {flatten [$(#[$($doc)*])*] ($fvis) $field ($ty)}] $($($rest)*)?);
    };
    (@fields $head:tt $vis:vis $name:ident [$($done:tt)*]
        $(#[$($doc:tt)*])* $fvis:vis $field:ident : $ty:ty = $default:expr $(, $($rest:tt)*)?
    ) => {
        $crate::settings::config!(@fields $head $vis $name
            [$($done)* {default [$(#[$($doc)*])*] ($fvis) $field ($ty) ($default)}] $($($rest)*)?);
    };
    (@fields $head:tt $vis:vis $name:ident [$($done:tt)*]
        $(#[$($doc:tt)*])* $fvis:vis $field:ident : $ty:ty $(, $($rest:tt)*)?
    ) => {
        $crate::settings::config!(@fields $head $vis $name
            [$($done)* {required [$(#[$($doc)*])*] ($fvis) $field ($ty)}] $($($rest)*)?);
    };
    (@emit [$(#[$($meta:tt)*])*] $vis:vis $name:ident
        [$({$kind:ident [$(#[$($doc:tt)*])*] ($fvis:vis) $field:ident ($ty:ty) $(($default:expr))?})*]
    ) => {
        $(#[$($meta)*])*
        #[derive(Debug, Clone)]
        $vis struct $name {
            $($(#[$($doc)*])* $fvis $field: $ty,)*
        }

        impl $crate::settings::Settings for $name {
            const NAME: &'static str = stringify!($name);

            fn about() -> String {
                $crate::settings::doc_text(&[$($crate::settings::config_doc!($($meta)*)),*])
            }

            #[allow(unused_variables, reason = "a block may have no keys")]
            fn field_docs(out: &mut Vec<$crate::settings::FieldDoc>) {
                $($crate::settings::config_field!(@docs $kind out [$($($doc)*)*] [$([$($doc)*])*] $field ($ty) $(($default))?);)*
            }

            #[allow(unused_variables, reason = "a block may have no keys")]
            fn read_keys(
                keys: &mut $crate::settings::Keys<'_>,
                cx: &mut $crate::settings::Reader<'_>,
            ) -> Option<Self> {
                $(let $field: Option<$ty> =
                    $crate::settings::config_field!(@read $kind keys cx $field ($ty) $(($default))?);)*
                Some(Self { $($field: $field?),* })
            }

            #[allow(unused_variables, reason = "a block may have no keys")]
            fn properties(g: &mut $crate::settings::SchemaBuilder, out: &mut $crate::settings::Properties) {
                $($crate::settings::config_field!(@schema $kind g out [$([$($doc)*])*] $field ($ty) $(($default))?);)*
            }
        }

        impl $crate::settings::Setting for $name {
            fn read(node: &$crate::settings::Node, cx: &mut $crate::settings::Reader<'_>) -> Option<Self> {
                $crate::settings::read_block(node, cx)
            }

            fn schema(g: &mut $crate::settings::SchemaBuilder) -> serde_json::Value {
                g.block::<Self>()
            }

            fn describe() -> String {
                "a mapping".to_owned()
            }

            fn accepts(node: &$crate::settings::Node) -> bool {
                node.as_map().is_some()
            }

            fn fields() -> Vec<$crate::settings::FieldDoc> {
                let mut out = Vec::new();
                <Self as $crate::settings::Settings>::field_docs(&mut out);
                out
            }
        }
    };
    ($(#[$($meta:tt)*])* $vis:vis struct $name:ident { $($body:tt)* }) => {
        $crate::settings::config!(@fields [$(#[$($meta)*])*] $vis $name [] $($body)*);
    };
}

/// One attribute's doc text; empty for other attributes.
macro_rules! config_doc {
    (doc = $text:expr) => {
        $text
    };
    ($($other:tt)*) => {
        ""
    };
}

/// What [`config!`] writes for one key.
macro_rules! config_field {
    (@docs flatten $out:ident [$($all:tt)*] [$([$($doc:tt)*])*] $field:ident ($ty:ty)) => {
        <$ty as $crate::settings::Settings>::field_docs($out)
    };
    (@docs default $out:ident [$($all:tt)*] [$([$($doc:tt)*])*] $field:ident ($ty:ty) ($default:expr)) => {{
        let default: $ty = $default;
        $out.push($crate::settings::field_doc::<$ty>(
            stringify!($field),
            &[$($crate::settings::config_doc!($($doc)*)),*],
            Some(&default),
        ))
    }};
    (@docs required $out:ident [$($all:tt)*] [$([$($doc:tt)*])*] $field:ident ($ty:ty)) => {
        $out.push($crate::settings::field_doc::<$ty>(
            stringify!($field),
            &[$($crate::settings::config_doc!($($doc)*)),*],
            None,
        ))
    };
    (@read flatten $keys:ident $cx:ident $field:ident ($ty:ty)) => {
        <$ty as $crate::settings::Settings>::read_keys($keys, $cx)
    };
    (@read default $keys:ident $cx:ident $field:ident ($ty:ty) ($default:expr)) => {
        $crate::settings::read_key::<$ty>($keys, $cx, $crate::settings::key_name(stringify!($field)), Some(|| $default))
    };
    (@read required $keys:ident $cx:ident $field:ident ($ty:ty)) => {
        $crate::settings::read_key::<$ty>($keys, $cx, $crate::settings::key_name(stringify!($field)), None)
    };
    (@schema flatten $g:ident $out:ident [$([$($doc:tt)*])*] $field:ident ($ty:ty)) => {
        <$ty as $crate::settings::Settings>::properties($g, $out)
    };
    (@schema default $g:ident $out:ident [$([$($doc:tt)*])*] $field:ident ($ty:ty) ($default:expr)) => {{
        let default: $ty = $default;
        $crate::settings::field_schema::<$ty>(
            $g,
            $out,
            stringify!($field),
            &[$($crate::settings::config_doc!($($doc)*)),*],
            Some(&default),
        )
    }};
    (@schema required $g:ident $out:ident [$([$($doc:tt)*])*] $field:ident ($ty:ty)) => {
        $crate::settings::field_schema::<$ty>(
            $g,
            $out,
            stringify!($field),
            &[$($crate::settings::config_doc!($($doc)*)),*],
            None,
        )
    };
}

/// Defines a setting that is one of several words. See [the module](self).
macro_rules! config_enum {
    ($(#[$($meta:tt)*])* $vis:vis enum $name:ident {
        $($(#[$($doc:tt)*])* $variant:ident = $word:literal),* $(,)?
    }) => {
        $(#[$($meta)*])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        $vis enum $name {
            $($(#[$($doc)*])* $variant,)*
        }

        impl $name {
            /// The word for it in a configuration.
            #[allow(dead_code, reason = "not every setting is written out again")]
            $vis fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl $crate::settings::Setting for $name {
            fn read(node: &$crate::settings::Node, cx: &mut $crate::settings::Reader<'_>) -> Option<Self> {
                match node.scalar_text() {
                    $(Some($word) => return Some(Self::$variant),)*
                    _ => {}
                }
                $crate::settings::not_a_word(node, cx, &[$($word),*]);
                None
            }

            fn schema(g: &mut $crate::settings::SchemaBuilder) -> serde_json::Value {
                let words = $crate::settings::words_schema(&[$(($word, &[$($crate::settings::config_doc!($($doc)*)),*])),*]);
                g.interpolated(words)
            }

            fn describe() -> String {
                $crate::settings::words_in_words(&[$($word),*])
            }

            fn default_text(&self) -> Option<String> {
                Some(self.word().to_owned())
            }

            fn accepts(node: &$crate::settings::Node) -> bool {
                [$($word),*].contains(&node.scalar_text().unwrap_or_default())
            }

            fn words() -> Vec<(&'static str, String)> {
                vec![$(($word, $crate::settings::doc_text(&[$($crate::settings::config_doc!($($doc)*)),*]))),*]
            }
        }
    };
}

/// Defines a setting of several forms told apart by shape. See [the module](self).
///
/// A value that has the shape of none is reported with all forms; one whose shape fits a form is read as that form, so its
/// mistakes are reported inside it.
macro_rules! config_union {
    ($(#[$($meta:tt)*])* $vis:vis enum $name:ident {
        $($(#[$($doc:tt)*])* $variant:ident($ty:ty)),* $(,)?
    }) => {
        $(#[$($meta)*])*
        #[derive(Debug, Clone)]
        $vis enum $name {
            $($(#[$($doc)*])* $variant($ty),)*
        }

        impl $crate::settings::Setting for $name {
            fn read(node: &$crate::settings::Node, cx: &mut $crate::settings::Reader<'_>) -> Option<Self> {
                $(if <$ty as $crate::settings::Setting>::accepts(node) {
                    return <$ty as $crate::settings::Setting>::read(node, cx).map(Self::$variant);
                })*
                $crate::settings::no_form(node, cx, &<Self as $crate::settings::Setting>::describe());
                None
            }

            fn schema(g: &mut $crate::settings::SchemaBuilder) -> serde_json::Value {
                let forms = vec![$(<$ty as $crate::settings::Setting>::schema(g)),*];
                serde_json::json!({"anyOf": forms})
            }

            fn describe() -> String {
                [$(<$ty as $crate::settings::Setting>::describe()),*].join(", or ")
            }

            fn default_text(&self) -> Option<String> {
                match self { $(Self::$variant(value) => $crate::settings::Setting::default_text(value),)* }
            }

            fn default_json(&self) -> Option<serde_json::Value> {
                match self { $(Self::$variant(value) => $crate::settings::Setting::default_json(value),)* }
            }

            fn accepts(node: &$crate::settings::Node) -> bool {
                false $(|| <$ty as $crate::settings::Setting>::accepts(node))*
            }

            fn words() -> Vec<(&'static str, String)> {
                [$(<$ty as $crate::settings::Setting>::words()),*].into_iter().flatten().collect()
            }

            fn fields() -> Vec<$crate::settings::FieldDoc> {
                [$(<$ty as $crate::settings::Setting>::fields()),*].into_iter().flatten().collect()
            }
        }
    };
}

/// Defines a setting that is a word, or a mapping with exactly one of several keys. See [the module](self).
///
/// A variant with a value may also be written as its bare word where all its keys have defaults.
macro_rules! config_choice {
    ($(#[$($meta:tt)*])* $vis:vis enum $name:ident {
        $($(#[$($doc:tt)*])* $variant:ident $(($ty:ty))? = $word:literal),* $(,)?
    }) => {
        $(#[$($meta)*])*
        #[derive(Debug, Clone)]
        $vis enum $name {
            $($(#[$($doc)*])* $variant $(($ty))?,)*
        }

        impl $crate::settings::Setting for $name {
            fn read(node: &$crate::settings::Node, cx: &mut $crate::settings::Reader<'_>) -> Option<Self> {
                let (word, value) = $crate::settings::chosen(
                    node,
                    cx,
                    &[$(($word, $crate::settings::config_choice!(@has_value $($ty)?))),*],
                )?;
                match word {
                    $($word => $crate::settings::config_choice!(@read $variant cx value $word $(($ty))?),)*
                    _ => None,
                }
            }

            fn schema(g: &mut $crate::settings::SchemaBuilder) -> serde_json::Value {
                let mut forms = $crate::settings::ChoiceSchema::default();
                $($crate::settings::config_choice!(
                    @schema g forms $word [$([$($doc)*])*] $(($ty))?
                );)*
                forms.into_schema(g)
            }

            fn describe() -> String {
                $crate::settings::words_in_words(
                    &[$($crate::settings::config_choice!(@describe $word $($ty)?)),*]
                )
            }

            fn default_text(&self) -> Option<String> {
                match self { $($crate::settings::config_choice!(@pattern $variant $($ty)?) => Some($word.to_owned()),)* }
            }

            fn accepts(node: &$crate::settings::Node) -> bool {
                let words = [$($word),*];
                node.scalar_text().is_some_and(|text| words.contains(&text))
                    || node.as_map().is_some_and(|map| matches!(map, [entry] if words.contains(&entry.key.as_str())))
            }

            fn words() -> Vec<(&'static str, String)> {
                vec![$(($word, $crate::settings::doc_text(&[$($crate::settings::config_doc!($($doc)*)),*]))),*]
            }

            fn fields() -> Vec<$crate::settings::FieldDoc> {
                [$($crate::settings::config_choice!(@field $word [$([$($doc)*])*] $(($ty))?)),*]
                    .into_iter()
                    .flatten()
                    .collect()
            }
        }
    };
    (@has_value) => { false };
    (@has_value $ty:ty) => { true };
    (@pattern $variant:ident) => { Self::$variant };
    (@pattern $variant:ident $ty:ty) => { Self::$variant(_) };
    (@describe $word:literal) => { $word };
    (@describe $word:literal $ty:ty) => { concat!("{", $word, ": …}") };
    (@read $variant:ident $cx:ident $value:ident $word:literal) => {{
        _ = $value;
        Some(Self::$variant)
    }};
    (@read $variant:ident $cx:ident $value:ident $word:literal ($ty:ty)) => {
        $crate::settings::read_chosen::<$ty>($value, $cx, $word).map(Self::$variant)
    };
    (@schema $g:ident $forms:ident $word:literal [$([$($doc:tt)*])*]) => {
        $forms.word($word, &[$($crate::settings::config_doc!($($doc)*)),*])
    };
    (@schema $g:ident $forms:ident $word:literal [$([$($doc:tt)*])*] ($ty:ty)) => {
        $forms.value::<$ty>($g, $word, &[$($crate::settings::config_doc!($($doc)*)),*])
    };
    (@field $word:literal [$([$($doc:tt)*])*]) => {
        None
    };
    (@field $word:literal [$([$($doc:tt)*])*] ($ty:ty)) => {
        Some($crate::settings::field_doc::<Option<$ty>>(
            $word,
            &[$($crate::settings::config_doc!($($doc)*)),*],
            None,
        ))
    };
}

/// Defines a block whose key `type` says which of several blocks it is. See [the module](self).
macro_rules! config_tagged {
    ($(#[$($meta:tt)*])* $vis:vis enum $name:ident {
        $($(#[$($doc:tt)*])* $variant:ident($ty:ty) = $word:literal),* $(,)?
    }) => {
        $(#[$($meta)*])*
        #[derive(Debug, Clone)]
        $vis enum $name {
            $($(#[$($doc)*])* $variant($ty),)*
        }

        impl $crate::settings::Setting for $name {
            fn read(node: &$crate::settings::Node, cx: &mut $crate::settings::Reader<'_>) -> Option<Self> {
                match $crate::settings::tag(node, cx, &[$($word),*])? {
                    $($word => $crate::settings::read_tagged::<$ty>(node, cx).map(Self::$variant),)*
                    _ => None,
                }
            }

            fn schema(g: &mut $crate::settings::SchemaBuilder) -> serde_json::Value {
                g.define::<Self>(stringify!($name), |g| {
                    let about = $crate::settings::doc_text(&[$($crate::settings::config_doc!($($meta)*)),*]);
                    let forms = vec![$($crate::settings::tagged_schema::<$ty>(
                        g,
                        $word,
                        &[$($crate::settings::config_doc!($($doc)*)),*],
                    )),*];
                    $crate::settings::by_type_schema(&about, forms)
                })
            }

            fn describe() -> String {
                format!(
                    "a mapping whose `type` is {}",
                    $crate::settings::words_in_words(&[$($word),*])
                )
            }

            fn default_text(&self) -> Option<String> {
                match self { $(Self::$variant(_) => Some(concat!("{type: ", $word, "}").to_owned()),)* }
            }

            fn default_json(&self) -> Option<serde_json::Value> {
                match self { $(Self::$variant(_) => Some(serde_json::json!({"type": $word})),)* }
            }

            fn accepts(node: &$crate::settings::Node) -> bool {
                node.as_map().is_some()
            }

            fn fields() -> Vec<$crate::settings::FieldDoc> {
                let mut out = Vec::new();
                $($crate::settings::tagged_docs::<$ty>(
                    &mut out,
                    $word,
                    &[$($crate::settings::config_doc!($($doc)*)),*],
                );)*
                out
            }
        }
    };
}

/// Makes a type of its own small language (a template, a condition, a regular expression) a setting: a string with a text to show
/// again. One that is `listed` stands in a list only where a list of them is asked for.
macro_rules! text_setting {
    (listed $type:ty, $description:literal, |$text:ident, $node:ident, $cx:ident| $read:expr, |$value:ident| $shown:expr) => {
        impl $crate::settings::Setting for $type {
            $crate::settings::text_setting!(@body $description, |$text, $node, $cx| $read, |$value| $shown);
        }
    };
    ($type:ty, $description:literal, |$text:ident, $node:ident, $cx:ident| $read:expr, |$value:ident| $shown:expr) => {
        impl $crate::settings::Setting for $type {
            $crate::settings::text_setting!(@body $description, |$text, $node, $cx| $read, |$value| $shown);

            fn lone() -> bool {
                true
            }
        }
    };
    (@body $description:literal, |$text:ident, $node:ident, $cx:ident| $read:expr, |$value:ident| $shown:expr) => {
        fn read($node: &$crate::settings::Node, $cx: &mut $crate::settings::Reader<'_>) -> Option<Self> {
            let $text = $crate::settings::read_string($node, $cx, &<Self as $crate::settings::Setting>::describe())?;
            $read
        }

        fn schema(_: &mut $crate::settings::SchemaBuilder) -> serde_json::Value {
            serde_json::json!({"type": "string"})
        }

        fn describe() -> String {
            $description.into()
        }

        fn default_text(&self) -> Option<String> {
            let $value = self;
            Some($shown)
        }

        fn accepts(node: &$crate::settings::Node) -> bool {
            node.as_str().is_some()
        }
    };
}

pub(crate) use {
    config, config_choice, config_doc, config_enum, config_field, config_tagged, config_union, text_setting,
};
