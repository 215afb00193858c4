//! Events: flat tables over shared bytes, moved in batches. Knows no component and does no I/O.

mod batch;
mod chunk;
pub mod json;
mod origin;
mod path;
mod setting;
mod slab;
mod sym;
mod value;

pub(crate) use batch::access::Spot;
pub use batch::access::{EventMut, EventRef};
pub(crate) use batch::push_run;
pub use batch::{Batch, EventKind, JsonRows, Packer, Places, Unpacker};
pub use chunk::{Chunk, Frames};
pub use origin::{Origin, Shared};
pub use path::{FieldPath, Meta, Segment};
pub use slab::{Slab, SlabPool};
pub(crate) use sym::RUN;
pub use sym::{MAX_SYMBOLS, Sym};
pub use value::{Form, Str, Value};

#[cfg(test)]
mod tests;
