//! Framing: where one event's bytes begin and end.

mod config;
mod framer;
pub(crate) mod lines;
pub mod multiline;
pub mod syslog;

pub use config::{ModeSetting, MultilineSetting, PresetSetting, RuleSetting, framing};
pub use framer::{Framer, Spans};
pub use lines::LongLines;
pub use multiline::Multiline;
