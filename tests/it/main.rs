//! Tests of the program from outside, and of whole pipelines.

mod config_commands;
