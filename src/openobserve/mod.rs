//! OpenObserve as code: what a configuration keeps on a server, compared with it and put there; questions to it.
//!
//! ```text
//! config    what the user writes            desired   the same, in fields, for a version of the server
//! client    one server, its version         observe   what the server has, in the same fields
//! plan      the difference, by resource     apply     doing it, in the order of dependence
//! state     what apply made, in data_dir    dashboard the short form as the server's
//! sql       the little SQL that is read     query     rows, paged by time
//! presets   what is shipped                 export    rows as the server's text, page by page
//! ```
//!
//! Promises: nothing is changed that the configuration does not name, but for what `apply` made and is told to remove; a second
//! `apply` sends no change; ended anywhere, a second run comes to the same end. Secrets are shown nowhere.

mod apply;
mod client;
mod config;
pub(crate) mod dashboard;
mod desired;
mod export;
mod observe;
mod plan;
mod presets;
mod query;
mod resource;
pub(crate) mod sql;
mod state;
mod version;

pub use apply::{ApplyError, apply};
pub use client::{ApiError, Client};
pub use config::{Preset, ServerConfig, Servers, StreamType};
pub use desired::desired;
pub use export::{Export, Page, all_columns, hash_of, metric_of, time_of};
pub use observe::{World, body, described, list, observe, text};
pub use plan::{Action, Change, FieldChange, Plan, Scope, plan};
pub use presets::with_presets;
pub use query::{PAGE, QueryError, Question, Range, hits, parse_time, promql, rows, search};
pub use resource::{Key, Kind, Observed};
pub use state::State;
pub use version::Version;
