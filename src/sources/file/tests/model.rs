//! Random actions beside a plain model.
