//! What all events of a batch share.

use super::Sym;
use std::sync::Arc;

/// Where a batch comes from: its source and, as far as they apply, file, host and peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Id of the source.
    pub source: Arc<str>,
    /// Path of the file.
    pub file: Option<Arc<str>>,
    /// Name of the host.
    pub host: Option<Arc<str>>,
    /// Address of the sender.
    pub peer: Option<Arc<str>>,
    /// Authenticated user.
    pub user: Option<Arc<str>>,
    /// Subject of the client's certificate.
    pub tls_subject: Option<Arc<str>>,
    /// Variables of the request's path and headers that are kept, `@http.<name>`.
    pub http: Vec<(Arc<str>, Arc<str>)>,
    /// Fields that all its events have besides their own.
    pub shared: Option<Arc<Shared>>,
    /// Batches with the same number keep their order: one file, one connection. Hashes to one worker.
    pub order: u64,
}

/// Fields that all events of an origin have, made ready once: a decoder that knows of them puts their text into each batch once,
/// and a reference to it into each event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    /// Names, and values as JSON.
    pub fields: Vec<(Sym, Box<[u8]>)>,
    /// What the message is decoded as, where that is not what the source says: a word of `decode`.
    pub decode: Option<Arc<str>>,
}

impl Origin {
    /// The origin of a source without files or peers.
    pub fn of_source(id: &str) -> Arc<Origin> {
        Arc::new(Origin { source: id.into(), ..Origin::default() })
    }
}
