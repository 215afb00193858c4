//! Series that go on when the configuration is read again.
//!
//! A sink that ends then ends no series: the one of the same id that takes over may go on with them at once. It is given
//! their names, and ends those that have not come again after a while, as a Prometheus does with the series of a target that
//! is gone from its configuration.

use crate::sync::Locked;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, MutexGuard};

/// Which sink it is, and where it sends to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Whose {
    pub(super) data_dir: PathBuf,
    pub(super) id: String,
    pub(super) url: String,
}

/// Labels of series, as a write request has them.
type Names = HashSet<Box<[u8]>>;

/// What was left and not taken up yet: between two graphs of one process, so nobody else can hold it.
static LEFT: LazyLock<Mutex<Vec<(Whose, Names)>>> = LazyLock::new(Mutex::default);

fn left() -> MutexGuard<'static, Vec<(Whose, Names)>> {
    LEFT.locked()
}

/// A URL as it may be shown: where to, without what may be a secret.
fn address(url: &str) -> &str {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    &url[..end]
}

/// Leaves the series to the next of this sink.
pub(super) fn leave(whose: &Whose, names: Names) {
    let mut left = left();
    left.retain(|(other, _)| (&other.data_dir, &other.id) != (&whose.data_dir, &whose.id));
    left.push((whose.clone(), names));
}

/// Takes up what a sink before left, if it did.
pub(super) fn take_up(whose: &Whose) -> Names {
    let mut left = left();
    let same_sink = |other: &Whose| (&other.data_dir, &other.id) == (&whose.data_dir, &whose.id);
    let Some(at) = left.iter().position(|(other, _)| same_sink(other)) else { return Names::new() };
    let (before, names) = left.swap_remove(at);
    if before == *whose {
        return names;
    }
    tracing::info!(
        component = whose.id,
        series = names.len(),
        url = address(&before.url),
        "the server that series were sent to is another now; the one before shows their last values for a while"
    );
    Names::new()
}
