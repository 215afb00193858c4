//! Exit codes: part of the interface.

use std::process::ExitCode;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything was done.
    Done = 0,
    /// Something failed while running.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// There are differences (`plan`, `openobserve plan`).
    Differences = 3,
    /// The configuration is wrong (`EX_CONFIG` of sysexits.h).
    BadConfig = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_as_documented() {
        let codes = [Exit::Done, Exit::Failed, Exit::Usage, Exit::Differences, Exit::BadConfig].map(|e| e as u8);
        assert_eq!(codes, [0, 1, 2, 3, 78]);
    }
}
