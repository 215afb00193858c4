//! Events: flat tables over shared bytes, moved in batches. Knows no component and does no I/O.

mod batch;
pub mod json;
mod origin;
mod path;
mod slab;
mod sym;
mod value;

pub use batch::access::{EventMut, EventRef};
pub use batch::{Batch, EventKind, JsonRows, MAX_FIELDS, Packer, Places, UnpackError, Unpacker};
pub use origin::Origin;
pub use path::{FieldPath, Meta, PathError, Segment};
pub use slab::{Slab, SlabPool};
pub use sym::{MAX_KEY_BYTES, MAX_SYMBOLS, Sym};
pub use value::{Form, Str, Value};

#[cfg(test)]
mod tests;
