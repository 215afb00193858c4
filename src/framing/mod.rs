//! Framing: where one event's bytes begin and end.

pub mod multiline;
