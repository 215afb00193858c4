//! What a worker is sent.

use crate::event::Chunk;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// What comes through a worker's channel.
pub enum Message {
    /// Frames of the source with this number.
    Chunk(usize, Chunk),
    /// There is a change to be taken.
    Look,
    /// Lanes that nothing can reach any more go.
    Retire(Box<Retire>),
}

/// Lanes that go.
pub struct Retire {
    /// Numbers of sources.
    pub sources: Vec<usize>,
    /// Numbers of transforms, each behind those it reads; what they hold is put out before they go.
    pub transforms: Vec<usize>,
    /// Numbers of sinks.
    pub sinks: Vec<usize>,
    /// Workers that have not been told yet: the last one flushes what is shared.
    pub left: Arc<AtomicUsize>,
}
