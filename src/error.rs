//! Why a component could not start, or ended that should have gone on.
//!
//! A room's errors are its own and stand beside its code. Here is what is common to all: whose fault it is, and what to do. `Display`
//! is a fragment that does not repeat its cause; the edge puts the causes together once, with [`chain`].

use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::io;

/// What a room says was the cause.
pub type Cause = Box<dyn Error + Send + Sync>;

/// An error with its causes, each once: `cannot listen on udp://[::]:514: permission denied`.
pub fn chain(error: &dyn Error) -> String {
    let mut out = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let text = error.to_string();
        // Some libraries repeat their causes.
        if !out.contains(&text) {
            out.push_str(": ");
            out.push_str(&text);
        }
        next = error.source();
    }
    out
}

/// Why a component could not start.
#[derive(Debug)]
pub enum BuildError {
    /// The configuration asks for what cannot be, wherever it runs.
    Config(Cause),
    /// This host, or a file on it, does not give what the configuration asks for.
    Host {
        /// What it was.
        cause: Cause,
        /// What to do; empty where the cause says it.
        help: &'static str,
    },
}

impl BuildError {
    /// A mistake of the configuration.
    pub fn config(cause: impl Into<Cause>) -> BuildError {
        BuildError::Config(cause.into())
    }

    /// Something of this host.
    pub fn host(cause: impl Into<Cause>) -> BuildError {
        BuildError::Host { cause: cause.into(), help: "" }
    }

    /// Whether another configuration is needed, not another host.
    pub fn is_config(&self) -> bool {
        matches!(self, BuildError::Config(_))
    }

    /// All of it in words: the causes, and what to do.
    pub fn words(&self) -> String {
        match self {
            BuildError::Host { help, .. } if !help.is_empty() => format!("{}; {help}", chain(self)),
            _ => chain(self),
        }
    }

    fn cause(&self) -> &Cause {
        match self {
            BuildError::Config(cause) | BuildError::Host { cause, .. } => cause,
        }
    }
}

impl Display for BuildError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.cause().fmt(f)
    }
}

impl Error for BuildError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause().source()
    }
}

/// Why a component ended that should have gone on.
#[derive(Debug)]
pub enum RunError {
    /// The system gave it no thread, or no runtime for its sockets.
    Thread(io::Error),
    /// A part of it panicked, which is a bug.
    Panicked {
        /// Which part: "a reader".
        who: &'static str,
        /// Its words; empty where they have been logged.
        words: String,
    },
    /// What it reads or writes does not work.
    Io {
        /// What it did: "cannot write to the console".
        doing: String,
        /// Why not.
        source: io::Error,
    },
    /// It gave up.
    Failed(Cause),
}

impl RunError {
    /// It gave up.
    pub fn failed(cause: impl Into<Cause>) -> RunError {
        RunError::Failed(cause.into())
    }

    /// A part of it panicked, whose words have been logged.
    pub fn panicked(who: &'static str) -> RunError {
        RunError::Panicked { who, words: String::new() }
    }

    /// What it reads or writes does not work.
    pub fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> RunError {
        let doing = doing.into();
        move |source| RunError::Io { doing, source }
    }
}

impl Display for RunError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Thread(_) => f.write_str("cannot start a thread"),
            RunError::Panicked { who, words } if words.is_empty() => write!(f, "{who} panicked; this is a bug"),
            RunError::Panicked { who, words } => write!(f, "{who} panicked; this is a bug: {words}"),
            RunError::Io { doing, .. } => f.write_str(doing),
            RunError::Failed(cause) => cause.fmt(f),
        }
    }
}

impl Error for RunError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            RunError::Thread(source) | RunError::Io { source, .. } => Some(source),
            RunError::Panicked { .. } => None,
            RunError::Failed(cause) => cause.source(),
        }
    }
}

/// What is wrong with what one setting names.
#[derive(Debug)]
pub struct SettingError {
    /// The setting: `tls.ca_file`.
    pub setting: &'static str,
    /// What it was.
    pub cause: Cause,
}

impl Display for SettingError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.setting)
    }
}

impl Error for SettingError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_said_once_each_and_what_to_do_last() {
        let full = || io::Error::new(io::ErrorKind::StorageFull, "no room");
        let error = BuildError::host(SettingError { setting: "path", cause: full().into() });
        assert_eq!(error.words(), "`path`: no room");
        assert_eq!((error.to_string(), error.is_config()), ("`path`".to_owned(), false));
        let helped = BuildError::Host { cause: full().into(), help: "make some" };
        assert_eq!(helped.words(), "no room; make some");
        assert_eq!(BuildError::config("no `url`").words(), "no `url`");
        assert_eq!(chain(&RunError::io("cannot write")(full())), "cannot write: no room");
        assert_eq!(chain(&RunError::failed(BuildError::config("odd"))), "odd");
        assert_eq!(RunError::panicked("a reader").to_string(), "a reader panicked; this is a bug");
    }
}
