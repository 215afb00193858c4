//! Time: parsing and writing timestamps.
