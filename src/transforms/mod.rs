//! Transforms: one file or folder each; the registry is in this file.

pub mod assignments;
pub mod edit;
pub mod enrich;
pub mod filter;
#[cfg(test)]
pub(crate) mod harness;
pub mod join;
pub mod normalize;
pub mod parse;
pub mod redact;
pub mod route;
pub mod sample;
pub mod validate;

use crate::component::plan::TransformType;

/// Every type of transform.
pub const TYPES: &[TransformType] = &[
    TransformType::of::<normalize::NormalizeConfig>("normalize"),
    TransformType::of::<enrich::EnrichConfig>("enrich"),
    TransformType::of::<filter::FilterConfig>("filter"),
    TransformType::of::<redact::RedactConfig>("redact"),
    TransformType::of::<route::RouteConfig>("route"),
    TransformType::of::<sample::SampleConfig>("sample"),
    TransformType::of::<parse::ParseConfig>("parse"),
    TransformType::of::<join::JoinConfig>("join"),
    TransformType::of::<edit::EditConfig>("edit"),
    TransformType::of::<validate::ValidateConfig>("validate"),
];
