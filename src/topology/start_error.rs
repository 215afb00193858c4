//! Why a configuration without mistakes cannot be run here.

use crate::error::BuildError;
use std::fmt;

/// What keeps a graph from starting. Exit codes follow it: a configuration that cannot be run anywhere is 78, anything else 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartError {
    /// The configuration asks for what cannot be.
    Config {
        /// The component, where it is one's.
        component: Option<String>,
        /// What is wrong and what to do.
        message: String,
    },
    /// This host does not give what it asks for.
    Host {
        /// The component, where it is one's.
        component: Option<String>,
        /// What is wrong and what to do.
        message: String,
    },
}

impl StartError {
    /// Of the component `id`, which cannot be built.
    pub(super) fn of(id: String, error: &BuildError) -> StartError {
        let (component, message) = (Some(id), error.words());
        match error.is_config() {
            true => StartError::Config { component, message },
            false => StartError::Host { component, message },
        }
    }

    /// Of no component.
    pub(super) fn host(message: String) -> StartError {
        StartError::Host { component: None, message }
    }

    /// Whether another configuration is needed, not another host.
    pub fn is_config(&self) -> bool {
        matches!(self, StartError::Config { .. })
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (StartError::Config { component, message } | StartError::Host { component, message }) = self;
        match component {
            Some(id) => write!(f, "`{id}`: {message}"),
            None => f.write_str(message),
        }
    }
}

impl std::error::Error for StartError {}

/// What is asked for does not fit what there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LimitError {
    /// Buffers and working room do not fit `memory_limit`. All in bytes.
    Memory {
        /// What buffers ask for.
        buffers: usize,
        /// What sources and requests work with.
        room: usize,
        /// `memory_limit`.
        limit: usize,
    },
    /// Connections do not fit their quarter of `memory_limit`.
    Connections {
        /// Sources that say how many they want: id, connections, bytes each.
        asked: Vec<(String, u32, usize)>,
        /// Bytes that all of them may hold.
        bytes: usize,
        /// Bytes that they may have.
        share: usize,
    },
    /// Connections do not fit half of the files that the process may have open.
    Files {
        /// Sources that say how many they want.
        ids: Vec<String>,
        /// Connections of all of them.
        asked: u64,
        /// Files that may be open.
        files: u64,
    },
}

impl LimitError {
    /// A component that asks for too much, if it is told which.
    pub(crate) fn component(&self) -> Option<&str> {
        match self {
            LimitError::Memory { .. } => None,
            LimitError::Connections { asked, .. } => asked.first().map(|(id, ..)| id.as_str()),
            LimitError::Files { ids, .. } => ids.first().map(String::as_str),
        }
    }
}

fn mib(bytes: usize) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}

fn kib(bytes: usize) -> String {
    if bytes < 1 << 20 { format!("{} KiB", bytes.div_ceil(1024)) } else { mib(bytes) }
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LimitError::Memory { buffers, room, limit } => write!(
                f,
                "the buffers ask for {} and the working room of sources and requests is {}, but `memory_limit` is {}; raise it or make the buffers smaller",
                mib(*buffers),
                mib(*room),
                mib(*limit)
            ),
            LimitError::Connections { asked, bytes, share } => {
                let of = |(id, connections, each): &(String, u32, usize)| {
                    format!("`max_connections: {connections}` of `{id}` ({} each)", kib(*each))
                };
                let asked: Vec<String> = asked.iter().map(of).collect();
                write!(
                    f,
                    "{} may hold {}, but connections have a quarter of `memory_limit`, {}: ask for fewer, or set `memory_limit: {}MiB`",
                    asked.join(" and "),
                    kib(*bytes),
                    kib(*share),
                    bytes.saturating_mul(4).div_ceil(1 << 20)
                )
            }
            LimitError::Files { ids, asked, files } => {
                let ids: Vec<String> = ids.iter().map(|id| format!("`{id}`")).collect();
                write!(
                    f,
                    "`max_connections` of {} comes to {asked}, but the process may have {files} files open, half of them \
                     connections: ask for fewer, or raise the limit (`ulimit -n {n}`, `LimitNOFILE={n}` of a unit)",
                    ids.join(", "),
                    n = asked.saturating_mul(2)
                )
            }
        }
    }
}

impl std::error::Error for LimitError {}

impl From<LimitError> for StartError {
    fn from(error: LimitError) -> StartError {
        StartError::Config { component: None, message: error.to_string() }
    }
}
