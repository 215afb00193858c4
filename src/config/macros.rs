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
        $crate::config::config!(@emit $head $vis $name [$($done)*]);
    };
    (@fields $head:tt $vis:vis $name:ident [$($done:tt)*]
        $(#[$($doc:tt)*])* flatten $fvis:vis $field:ident : $ty:ty $(, $($rest:tt)*)?
    ) => {
        $crate::config::config!(@fields $head $vis $name
            [$($done)* {flatten [$(#[$($doc)*])*] ($fvis) $field ($ty)}] $($($rest)*)?);
    };
    (@fields $head:tt $vis:vis $name:ident [$($done:tt)*]
        $(#[$($doc:tt)*])* $fvis:vis $field:ident : $ty:ty = $default:expr $(, $($rest:tt)*)?
    ) => {
        $crate::config::config!(@fields $head $vis $name
            [$($done)* {default [$(#[$($doc)*])*] ($fvis) $field ($ty) ($default)}] $($($rest)*)?);
    };
    (@fields $head:tt $vis:vis $name:ident [$($done:tt)*]
        $(#[$($doc:tt)*])* $fvis:vis $field:ident : $ty:ty $(, $($rest:tt)*)?
    ) => {
        $crate::config::config!(@fields $head $vis $name
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

        impl $crate::config::Settings for $name {
            const NAME: &'static str = stringify!($name);

            fn about() -> String {
                $crate::config::doc_text(&[$($crate::config::config_doc!($($meta)*)),*])
            }

            #[allow(unused_variables, reason = "a block may have no keys")]
            fn field_docs(out: &mut Vec<$crate::config::FieldDoc>) {
                $($crate::config::config_field!(@docs $kind out [$($($doc)*)*] [$([$($doc)*])*] $field ($ty) $(($default))?);)*
            }

            #[allow(unused_variables, reason = "a block may have no keys")]
            fn read_keys(
                keys: &mut $crate::config::Keys<'_>,
                cx: &mut $crate::config::Reader<'_>,
            ) -> Option<Self> {
                $(let $field: Option<$ty> =
                    $crate::config::config_field!(@read $kind keys cx $field ($ty) $(($default))?);)*
                Some(Self { $($field: $field?),* })
            }

            #[allow(unused_variables, reason = "a block may have no keys")]
            fn properties(g: &mut $crate::config::SchemaBuilder, out: &mut $crate::config::Properties) {
                $($crate::config::config_field!(@schema $kind g out [$([$($doc)*])*] $field ($ty) $(($default))?);)*
            }
        }

        impl $crate::config::Setting for $name {
            fn read(node: &$crate::config::Node, cx: &mut $crate::config::Reader<'_>) -> Option<Self> {
                $crate::config::read_block(node, cx)
            }

            fn schema(g: &mut $crate::config::SchemaBuilder) -> serde_json::Value {
                g.block::<Self>()
            }

            fn describe() -> String {
                "a mapping".to_owned()
            }

            fn accepts(node: &$crate::config::Node) -> bool {
                node.as_map().is_some()
            }

            fn fields() -> Vec<$crate::config::FieldDoc> {
                let mut out = Vec::new();
                <Self as $crate::config::Settings>::field_docs(&mut out);
                out
            }
        }
    };
    ($(#[$($meta:tt)*])* $vis:vis struct $name:ident { $($body:tt)* }) => {
        $crate::config::config!(@fields [$(#[$($meta)*])*] $vis $name [] $($body)*);
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
        <$ty as $crate::config::Settings>::field_docs($out)
    };
    (@docs default $out:ident [$($all:tt)*] [$([$($doc:tt)*])*] $field:ident ($ty:ty) ($default:expr)) => {{
        let default: $ty = $default;
        $out.push($crate::config::field_doc::<$ty>(
            stringify!($field),
            &[$($crate::config::config_doc!($($doc)*)),*],
            Some(&default),
        ))
    }};
    (@docs required $out:ident [$($all:tt)*] [$([$($doc:tt)*])*] $field:ident ($ty:ty)) => {
        $out.push($crate::config::field_doc::<$ty>(
            stringify!($field),
            &[$($crate::config::config_doc!($($doc)*)),*],
            None,
        ))
    };
    (@read flatten $keys:ident $cx:ident $field:ident ($ty:ty)) => {
        <$ty as $crate::config::Settings>::read_keys($keys, $cx)
    };
    (@read default $keys:ident $cx:ident $field:ident ($ty:ty) ($default:expr)) => {
        $crate::config::read_key::<$ty>($keys, $cx, $crate::config::key_name(stringify!($field)), Some(|| $default))
    };
    (@read required $keys:ident $cx:ident $field:ident ($ty:ty)) => {
        $crate::config::read_key::<$ty>($keys, $cx, $crate::config::key_name(stringify!($field)), None)
    };
    (@schema flatten $g:ident $out:ident [$([$($doc:tt)*])*] $field:ident ($ty:ty)) => {
        <$ty as $crate::config::Settings>::properties($g, $out)
    };
    (@schema default $g:ident $out:ident [$([$($doc:tt)*])*] $field:ident ($ty:ty) ($default:expr)) => {{
        let default: $ty = $default;
        $crate::config::field_schema::<$ty>(
            $g,
            $out,
            stringify!($field),
            &[$($crate::config::config_doc!($($doc)*)),*],
            Some(&default),
        )
    }};
    (@schema required $g:ident $out:ident [$([$($doc:tt)*])*] $field:ident ($ty:ty)) => {
        $crate::config::field_schema::<$ty>(
            $g,
            $out,
            stringify!($field),
            &[$($crate::config::config_doc!($($doc)*)),*],
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

        impl $crate::config::Setting for $name {
            fn read(node: &$crate::config::Node, cx: &mut $crate::config::Reader<'_>) -> Option<Self> {
                match node.scalar_text() {
                    $(Some($word) => return Some(Self::$variant),)*
                    _ => {}
                }
                $crate::config::not_a_word(node, cx, &[$($word),*]);
                None
            }

            fn schema(g: &mut $crate::config::SchemaBuilder) -> serde_json::Value {
                let words = $crate::config::words_schema(&[$(($word, &[$($crate::config::config_doc!($($doc)*)),*])),*]);
                g.interpolated(words)
            }

            fn describe() -> String {
                $crate::config::words_in_words(&[$($word),*])
            }

            fn default_text(&self) -> Option<String> {
                Some(self.word().to_owned())
            }

            fn accepts(node: &$crate::config::Node) -> bool {
                [$($word),*].contains(&node.scalar_text().unwrap_or_default())
            }

            fn words() -> Vec<(&'static str, String)> {
                vec![$(($word, $crate::config::doc_text(&[$($crate::config::config_doc!($($doc)*)),*]))),*]
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

        impl $crate::config::Setting for $name {
            fn read(node: &$crate::config::Node, cx: &mut $crate::config::Reader<'_>) -> Option<Self> {
                $(if <$ty as $crate::config::Setting>::accepts(node) {
                    return <$ty as $crate::config::Setting>::read(node, cx).map(Self::$variant);
                })*
                $crate::config::no_form(node, cx, &<Self as $crate::config::Setting>::describe());
                None
            }

            fn schema(g: &mut $crate::config::SchemaBuilder) -> serde_json::Value {
                let forms = vec![$(<$ty as $crate::config::Setting>::schema(g)),*];
                serde_json::json!({"anyOf": forms})
            }

            fn describe() -> String {
                [$(<$ty as $crate::config::Setting>::describe()),*].join(", or ")
            }

            fn default_text(&self) -> Option<String> {
                match self { $(Self::$variant(value) => $crate::config::Setting::default_text(value),)* }
            }

            fn default_json(&self) -> Option<serde_json::Value> {
                match self { $(Self::$variant(value) => $crate::config::Setting::default_json(value),)* }
            }

            fn accepts(node: &$crate::config::Node) -> bool {
                false $(|| <$ty as $crate::config::Setting>::accepts(node))*
            }

            fn words() -> Vec<(&'static str, String)> {
                [$(<$ty as $crate::config::Setting>::words()),*].into_iter().flatten().collect()
            }

            fn fields() -> Vec<$crate::config::FieldDoc> {
                [$(<$ty as $crate::config::Setting>::fields()),*].into_iter().flatten().collect()
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

        impl $crate::config::Setting for $name {
            fn read(node: &$crate::config::Node, cx: &mut $crate::config::Reader<'_>) -> Option<Self> {
                let (word, value) = $crate::config::chosen(
                    node,
                    cx,
                    &[$(($word, $crate::config::config_choice!(@has_value $($ty)?))),*],
                )?;
                match word {
                    $($word => $crate::config::config_choice!(@read $variant cx value $word $(($ty))?),)*
                    _ => None,
                }
            }

            fn schema(g: &mut $crate::config::SchemaBuilder) -> serde_json::Value {
                let mut forms = $crate::config::ChoiceSchema::default();
                $($crate::config::config_choice!(
                    @schema g forms $word [$([$($doc)*])*] $(($ty))?
                );)*
                forms.into_schema(g)
            }

            fn describe() -> String {
                $crate::config::words_in_words(
                    &[$($crate::config::config_choice!(@describe $word $($ty)?)),*]
                )
            }

            fn default_text(&self) -> Option<String> {
                match self { $($crate::config::config_choice!(@pattern $variant $($ty)?) => Some($word.to_owned()),)* }
            }

            fn accepts(node: &$crate::config::Node) -> bool {
                let words = [$($word),*];
                node.scalar_text().is_some_and(|text| words.contains(&text))
                    || node.as_map().is_some_and(|map| matches!(map, [entry] if words.contains(&entry.key.as_str())))
            }

            fn words() -> Vec<(&'static str, String)> {
                vec![$(($word, $crate::config::doc_text(&[$($crate::config::config_doc!($($doc)*)),*]))),*]
            }

            fn fields() -> Vec<$crate::config::FieldDoc> {
                [$($crate::config::config_choice!(@field $word [$([$($doc)*])*] $(($ty))?)),*]
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
        $crate::config::read_chosen::<$ty>($value, $cx, $word).map(Self::$variant)
    };
    (@schema $g:ident $forms:ident $word:literal [$([$($doc:tt)*])*]) => {
        $forms.word($word, &[$($crate::config::config_doc!($($doc)*)),*])
    };
    (@schema $g:ident $forms:ident $word:literal [$([$($doc:tt)*])*] ($ty:ty)) => {
        $forms.value::<$ty>($g, $word, &[$($crate::config::config_doc!($($doc)*)),*])
    };
    (@field $word:literal [$([$($doc:tt)*])*]) => {
        None
    };
    (@field $word:literal [$([$($doc:tt)*])*] ($ty:ty)) => {
        Some($crate::config::field_doc::<Option<$ty>>(
            $word,
            &[$($crate::config::config_doc!($($doc)*)),*],
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

        impl $crate::config::Setting for $name {
            fn read(node: &$crate::config::Node, cx: &mut $crate::config::Reader<'_>) -> Option<Self> {
                match $crate::config::tag(node, cx, &[$($word),*])? {
                    $($word => $crate::config::read_tagged::<$ty>(node, cx).map(Self::$variant),)*
                    _ => None,
                }
            }

            fn schema(g: &mut $crate::config::SchemaBuilder) -> serde_json::Value {
                g.define::<Self>(stringify!($name), |g| {
                    let about = $crate::config::doc_text(&[$($crate::config::config_doc!($($meta)*)),*]);
                    let forms = vec![$($crate::config::tagged_schema::<$ty>(
                        g,
                        $word,
                        &[$($crate::config::config_doc!($($doc)*)),*],
                    )),*];
                    $crate::config::by_type_schema(&about, forms)
                })
            }

            fn describe() -> String {
                format!(
                    "a mapping whose `type` is {}",
                    $crate::config::words_in_words(&[$($word),*])
                )
            }

            fn default_text(&self) -> Option<String> {
                match self { $(Self::$variant(_) => Some(concat!("{type: ", $word, "}").to_owned()),)* }
            }

            fn default_json(&self) -> Option<serde_json::Value> {
                match self { $(Self::$variant(_) => Some(serde_json::json!({"type": $word})),)* }
            }

            fn accepts(node: &$crate::config::Node) -> bool {
                node.as_map().is_some()
            }

            fn fields() -> Vec<$crate::config::FieldDoc> {
                let mut out = Vec::new();
                $($crate::config::tagged_docs::<$ty>(
                    &mut out,
                    $word,
                    &[$($crate::config::config_doc!($($doc)*)),*],
                );)*
                out
            }
        }
    };
}

pub(crate) use {config, config_choice, config_doc, config_enum, config_field, config_tagged, config_union};
