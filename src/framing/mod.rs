//! Framing: where one event's bytes begin and end.

mod config;
pub mod multiline;

pub use config::{ModeSetting, MultilineSetting, PresetSetting, RuleSetting};
