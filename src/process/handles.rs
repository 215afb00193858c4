//! How many files and sockets the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::OnceLock;

/// The limit of open handles, raised as far as allowed the first time somebody asks.
pub(crate) fn limit() -> u64 {
    static LIMIT: OnceLock<u64> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        let limit = getrlimit(Resource::Nofile);
        let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if limit.current != limit.maximum
            && let Err(error) = setrlimit(Resource::Nofile, wanted)
        {
            tracing::debug!(%error, "the limit of open files stays as it is");
        }
        getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
    })
}
