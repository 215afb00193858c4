//! JSON as the event model needs it: spans instead of trees, nested values left as text until someone asks inside.

mod scan;
mod simd;
mod split;
mod text;
mod tokens;

pub use scan::{MAX_DEPTH, Member, ScanError, Scanner, ValueKind, is_number};
pub(crate) use simd::{Class, find};
pub use split::{SplitError, Values};
pub use text::{escape, is_clean, quote, unescape, write_f64};
pub use tokens::{Child, Children, Token, Tokens, get, key_is, push_nested, remove, set, str_of, value_of};

#[cfg(test)]
mod tests;
