//! Texts on their way to people: what a terminal would act on, and what is nobody's business, taken out of them.

pub mod escape;
pub mod mask;
