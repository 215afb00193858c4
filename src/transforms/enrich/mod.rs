//! `enrich`: context from elsewhere.
//!
//! ```yaml
//! context:
//!   type: enrich
//!   inputs: [shape]
//!   fields: {env: "${ENV:-dev}", route: "{{ method }} {{ path | default(\"-\") }}"}
//!   host: true                                             # host.{name,os,arch,kernel,cpus,memory}
//!   app: {name: shop, version: "1.4.2", environment: prod} # app.{name,version,environment,pid}
//!   geoip: {from: client_ip, database: /usr/share/GeoIP/GeoLite2-City.mmdb}
//!   user_agent: {from: userAgent}
//!   kubernetes: {pod: kubernetes.pod_name, namespace: kubernetes.namespace_name}   # or {by: ip}
//!   lookup: [{key: userId, table: ./users.csv, to: user}]
//! ```
//!
//! Runs in that order, whatever the order of the keys. What `fields` and `lookup` give replaces what is there. What `host`,
//! `app`, `geoip`, `user_agent` and `kubernetes` give fills in: members that the event has stay as they are, and where the target is
//! there and is no object nothing is written (counted, `enrich_target`). An enrichment that fails leaves the event as it
//! was and is counted; only a template in `fields` whose field is absent, and `on_miss: reject`, send it to
//! `id.rejected`.
//!
//! Files are read at start and again when they change. A change that cannot be used leaves the old content in use, is said
//! and counted (`reload`): a file that is gone, damaged, cut off, empty, of another kind, or without the key or a column
//! that `fields` names. At the start such a file is an error.
//! Answers for addresses and user agents are kept per worker, ready to be copied: at most 8,192 of each, in 2 MiB.

mod cache;
mod explain;
mod geoip;
mod host;
mod kubernetes;
mod lookup;
mod user_agent;
mod watched;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::assignments::{self, Assignments, FieldValue, check_names, may_reject};
use crate::component::plan::TransformPlan;
use crate::component::{BuildContext, Emitter, Notes, Rule, Transform};
use crate::condition::{Condition, Faults};
use crate::error::{BuildError, chain};
use crate::event::{Batch, EventRef, FieldPath, Value, json};
use crate::http::check_address;
use crate::settings::{OneOrMany, Reader, Spanned, config};
use cache::Cache;
use geoip::{Answer, Database};
use lookup::{Form, KeySetting, OnMiss};
use user_agent::{Scratch, Table};
use watched::{FileError, Watched};

pub use kubernetes::KubernetesSetting;
pub use lookup::LookupSetting;

/// Most answers a worker keeps for one `geoip` or `user_agent`, and their bytes.
const CACHE_ENTRIES: usize = 8192;
const CACHE_BYTES: usize = 2 << 20;

config! {
    /// Adds context from elsewhere: constants, the host, places of addresses, user agents, tables.
    pub struct EnrichConfig {
        /// What it reads.
        pub inputs: Vec<Spanned<String>>,
        /// Fields to set: constants of any form, and templates such as `{{ service }}-{{ region }}`.
        pub fields: crate::settings::Map<FieldValue> = crate::settings::Map::default(),
        /// Adds `host`: name, os, arch, kernel, cpus, memory (bytes).
        pub host: bool = false,
        /// Adds `app`: name, version, environment, pid.
        pub app: Option<AppSetting>,
        /// Adds places or networks of addresses.
        pub geoip: OneOrMany<GeoipSetting> = OneOrMany(Vec::new()),
        /// Adds what a user agent says of browser, system and device.
        pub user_agent: Option<UserAgentSetting>,
        /// Adds what the API server knows of the pod that an event names, or that sent it.
        pub kubernetes: Option<KubernetesSetting>,
        /// Adds records of tables.
        pub lookup: OneOrMany<LookupSetting> = OneOrMany(Vec::new()),
    }
}

config! {
    /// The application the events are of.
    pub struct AppSetting {
        /// Its name.
        pub name: Option<String>,
        /// Its version.
        pub version: Option<String>,
        /// Where it runs: `prod`, `staging`.
        pub environment: Option<String>,
        /// Its process; the agent's own where left out.
        pub pid: Option<u32>,
    }
}

config! {
    /// Looks addresses up in a MaxMind database.
    pub struct GeoipSetting {
        /// The field that holds an address.
        pub from: FieldPath,
        /// The database's file (`.mmdb`), read again when it changes.
        pub database: PathBuf,
        /// The object that takes what is found.
        pub to: FieldPath = FieldPath::of_key("geo"),
    }
}

config! {
    /// Takes a user agent apart.
    pub struct UserAgentSetting {
        /// The field that holds it.
        pub from: FieldPath,
        /// The object that takes what is found.
        pub to: FieldPath = FieldPath::of_key("user_agent"),
        /// Patterns in uap-core's format (`regexes.yaml`), instead of the built-in ones.
        pub regexes: Option<PathBuf>,
    }
}

impl TransformPlan for EnrichConfig {
    fn inputs(&self) -> &[Spanned<String>] {
        &self.inputs
    }

    fn outputs(&self) -> Vec<String> {
        let templates = may_reject(&self.fields);
        let misses = self.lookup.iter().any(|lookup| matches!(lookup.on_miss, OnMiss::Reject));
        if templates || misses { vec!["rejected".into()] } else { Vec::new() }
    }

    fn check(&self, cx: &mut Reader<'_>) {
        check_names(&self.fields, cx);
        if let Some(setting) = &self.kubernetes {
            if let Some(url) = &setting.url {
                check_address(cx, "url", url, "https://10.96.0.1:443");
            }
            if setting.to.meta().is_some() {
                cx.error_at("kubernetes", "`to` is metadata, which cannot be set");
            }
        }
    }

    fn build(self: Box<Self>, cx: &BuildContext) -> Result<Box<dyn Transform>, BuildError> {
        let mut steps = Vec::new();
        let fields = Assignments::of(&self.fields)?;
        if !fields.is_empty() {
            steps.push(Step::Fields(fields));
        }
        if self.host {
            steps.push(Step::Put(FieldPath::of_key("host"), host::describe(&cx.host).into()));
        }
        if let Some(app) = &self.app {
            let mut object = serde_json::Map::new();
            for (name, value) in [("name", &app.name), ("version", &app.version), ("environment", &app.environment)] {
                object.extend(value.as_ref().map(|value| (name.to_owned(), value.as_str().into())));
            }
            object.insert("pid".into(), app.pid.unwrap_or_else(std::process::id).into());
            let object = serde_json::Value::Object(object).to_string().into_bytes();
            steps.push(Step::Put(FieldPath::of_key("app"), object.into()));
        }
        let failed = |what: &str, path: &Path, error: FileError| {
            BuildError::host(format!("cannot read {what} {}: {}", path.display(), chain(&error)))
        };
        for geoip in &self.geoip.0 {
            let database = Watched::open(&geoip.database, watched::INTERVAL, Database::open)
                .map_err(|error| failed("the GeoIP database", &geoip.database, error))?;
            steps.push(Step::Geoip {
                from: geoip.from.clone(),
                to: geoip.to.clone(),
                database,
                cache: Cache::new(CACHE_ENTRIES, CACHE_BYTES),
            });
        }
        if let Some(agent) = &self.user_agent {
            let table = match &agent.regexes {
                None => AgentTable::BuiltIn(builtin_table()?),
                Some(path) => {
                    let watched = Watched::open(path, watched::INTERVAL, Table::load);
                    AgentTable::File(watched.map_err(|error| failed("the user-agent patterns", path, error))?)
                }
            };
            steps.push(Step::UserAgent {
                from: agent.from.clone(),
                to: agent.to.clone(),
                table,
                cache: Cache::new(CACHE_ENTRIES, CACHE_BYTES),
                scratch: Scratch::default(),
            });
        }
        if let Some(setting) = &self.kubernetes {
            let to = setting.to.clone();
            steps.push(Step::Kubernetes { to, lookup: kubernetes::Lookup::new(setting) });
        }
        for lookup in &self.lookup.0 {
            let form = Form::of(&lookup.table, lookup.fields.as_ref());
            let path = form.path.clone();
            let table = Watched::open(&path, watched::INTERVAL, move |path, old| form.load(path, old))
                .map_err(|error| failed("the table", &path, error))?;
            let miss = match &lookup.on_miss {
                OnMiss::Keep => Miss::Keep,
                OnMiss::Reject => Miss::Reject,
                OnMiss::Drop => Miss::Drop,
                OnMiss::Default(members) => {
                    let members = members.0.iter().map(|(name, value)| (name.value.clone(), value.clone()));
                    let object = serde_json::Value::Object(members.collect()).to_string();
                    Miss::Default(object.into_bytes().into())
                }
            };
            let (key, to) = (lookup.key.clone(), lookup.to.clone());
            steps.push(Step::Lookup { when: lookup.when.clone(), key, table, to, miss, faults: Faults::default() });
        }
        Ok(Box::new(Enrich { steps, work: Work::default() }))
    }
}

/// The built-in table, made when first asked for.
fn builtin_table() -> Result<Arc<Table>, BuildError> {
    static TABLE: OnceLock<Result<Arc<Table>, String>> = OnceLock::new();
    let table = TABLE.get_or_init(|| Table::builtin().map(Arc::new).map_err(|error| error.to_string()));
    table.clone().map_err(BuildError::host)
}

/// The running transform.
struct Enrich {
    steps: Vec<Step>,
    work: Work,
}

/// Buffers that keep their memory between events.
#[derive(Default)]
struct Work {
    text: Vec<u8>,
    json: Vec<u8>,
    /// Of the events that a lookup is for.
    rows: Vec<usize>,
    assign: assignments::Work,
}

enum AgentTable {
    BuiltIn(Arc<Table>),
    File(Watched<Table>),
}

#[derive(Clone)]
enum Miss {
    Keep,
    Reject,
    Drop,
    Default(Arc<[u8]>),
}

/// One enrichment, done for all events of a batch before the next.
#[expect(clippy::large_enum_variant, reason = "a transform has a handful")]
enum Step {
    Fields(Assignments),
    Put(FieldPath, Arc<[u8]>),
    Geoip {
        from: FieldPath,
        to: FieldPath,
        database: Watched<Database>,
        cache: Cache,
    },
    UserAgent {
        from: FieldPath,
        to: FieldPath,
        table: AgentTable,
        cache: Cache,
        scratch: Scratch,
    },
    Kubernetes {
        to: FieldPath,
        lookup: kubernetes::Lookup,
    },
    Lookup {
        when: Option<Condition>,
        key: KeySetting,
        table: Watched<lookup::Table>,
        to: Option<FieldPath>,
        miss: Miss,
        faults: Faults,
    },
}

/// Counts changes of a file that could not be used.
fn say_refused<T: Send + Sync + 'static>(watched: &Watched<T>, out: &mut Emitter<'_>) {
    let refused = watched.refused();
    if refused > 0 {
        out.error("reload", refused);
        out.example("reload", watched.why().as_bytes());
    }
}

impl Transform for Enrich {
    fn apply(&mut self, batch: &mut Batch, out: &mut Emitter<'_>) {
        let Enrich { steps, work } = self;
        if steps.iter().any(Step::may_reject) {
            out.keep_originals(batch);
        }
        for step in steps {
            step.apply(batch, work, out);
        }
    }

    fn fork(&self) -> Box<dyn Transform> {
        Box::new(Enrich { steps: self.steps.iter().map(Step::fork).collect(), work: Work::default() })
    }

    fn explain(&mut self, event: EventRef<'_>, notes: &mut Notes) {
        self.tell(event, notes);
    }

    fn rules(&self) -> Vec<Rule> {
        self.deciding()
    }
}

impl Step {
    fn may_reject(&self) -> bool {
        match self {
            Step::Fields(fields) => fields.may_reject(),
            Step::Lookup { miss, .. } => matches!(miss, Miss::Reject),
            Step::Put(..) | Step::Geoip { .. } | Step::UserAgent { .. } | Step::Kubernetes { .. } => false,
        }
    }

    fn fork(&self) -> Step {
        match self {
            Step::Fields(fields) => Step::Fields(fields.clone()),
            Step::Put(path, object) => Step::Put(path.clone(), object.clone()),
            Step::Geoip { from, to, database, cache } => {
                Step::Geoip { from: from.clone(), to: to.clone(), database: database.fork(), cache: cache.fork() }
            }
            Step::UserAgent { from, to, table, cache, .. } => Step::UserAgent {
                from: from.clone(),
                to: to.clone(),
                table: match table {
                    AgentTable::BuiltIn(table) => AgentTable::BuiltIn(table.clone()),
                    AgentTable::File(watched) => AgentTable::File(watched.fork()),
                },
                cache: cache.fork(),
                scratch: Scratch::default(),
            },
            Step::Kubernetes { to, lookup } => Step::Kubernetes { to: to.clone(), lookup: lookup.fork() },
            Step::Lookup { when, key, table, to, miss, .. } => Step::Lookup {
                when: when.clone(),
                key: key.clone(),
                table: table.fork(),
                to: to.clone(),
                miss: miss.clone(),
                faults: Faults::default(),
            },
        }
    }

    fn apply(&mut self, batch: &mut Batch, work: &mut Work, out: &mut Emitter<'_>) {
        let mut occupied = 0;
        match self {
            Step::Fields(fields) => fields.apply(batch, &mut work.assign, "enrich_target", out),
            Step::Put(path, object) => {
                for row in 0..batch.rows() {
                    if batch.is_live(row) {
                        occupied += u64::from(!fill_in(batch, row, path, object, &mut work.json));
                    }
                }
            }
            Step::Geoip { from, to, database, cache } => {
                if database.refresh() {
                    cache.clear();
                }
                occupied = locate(batch, (from, to), database.value(), cache, work, out);
                say_refused(database, out);
            }
            Step::UserAgent { from, to, table, cache, scratch } => {
                if let AgentTable::File(watched) = table {
                    if watched.refresh() {
                        cache.clear();
                    }
                    say_refused(watched, out);
                }
                let table = match table {
                    AgentTable::BuiltIn(table) => table,
                    AgentTable::File(watched) => watched.value(),
                };
                for row in 0..batch.rows() {
                    if !batch.is_live(row) {
                        continue;
                    }
                    let Some(text) = text_of(batch, row, from, &mut work.text) else { continue };
                    let answer = cache.get(text, |answer| user_agent::describe(table, text, scratch, answer));
                    occupied += u64::from(!fill_in(batch, row, to, answer, &mut work.json));
                }
            }
            Step::Kubernetes { to, lookup } => {
                let (found, unknown) = lookup.find(batch);
                for (row, object) in found {
                    occupied += u64::from(!fill_in(batch, row, to, &object, &mut work.json));
                }
                out.error("kubernetes_unknown", unknown);
            }
            Step::Lookup { when, key, table, to, miss, faults } => {
                table.refresh();
                say_refused(table, out);
                let mut rows = std::mem::take(&mut work.rows);
                let live = (0..batch.rows()).filter(|row| batch.is_live(*row));
                rows.extend(live.filter(|row| when.as_mut().is_none_or(|when| when.holds(batch.event(*row), faults))));
                occupied = look_up(batch, &rows, key, (table.value(), to.as_ref(), miss), work, out);
                rows.clear();
                work.rows = rows;
                faults.drain(|kind, n| out.error(kind, n));
            }
        }
        out.error("enrich_target", occupied);
    }
}

/// Puts what is known of the address at `from` at `to`; at how many events something else stood there.
fn locate(
    batch: &mut Batch,
    (from, to): (&FieldPath, &FieldPath),
    database: &Database,
    cache: &mut Cache,
    work: &mut Work,
    out: &mut Emitter<'_>,
) -> u64 {
    let (mut occupied, mut odd, mut damaged) = (0, 0, 0);
    for row in 0..batch.rows() {
        if !batch.is_live(row) {
            continue;
        }
        let Some(text) = text_of(batch, row, from, &mut work.text) else { continue };
        let answer = cache.get(text, |answer| match database.describe(text, answer) {
            Answer::Found => {}
            // One byte that begins no object tells why there is none.
            Answer::Unlisted => answer.clear(),
            Answer::NoAddress => answer.splice(.., [b'?']).for_each(drop),
            Answer::Damaged => answer.splice(.., [b'!']).for_each(drop),
        });
        match answer {
            [b'{', ..] => occupied += u64::from(!fill_in(batch, row, to, answer, &mut work.json)),
            b"?" => odd += 1,
            b"!" => damaged += 1,
            _ => {}
        }
    }
    out.error("geoip_address", odd);
    out.error("geoip_database", damaged);
    occupied
}

/// Puts the record of the key into each of these rows; at how many something else stood there.
fn look_up(
    batch: &mut Batch,
    rows: &[usize],
    key: &KeySetting,
    (table, to, miss): (&lookup::Table, Option<&FieldPath>, &Miss),
    work: &mut Work,
    out: &mut Emitter<'_>,
) -> u64 {
    let (mut occupied, mut misses) = (0, 0);
    for &row in rows {
        let record = key_of(batch, row, key, &mut work.text).and_then(|key| table.get(key));
        let record = match (record, miss) {
            (Some(record), _) => record,
            (None, Miss::Default(object)) => object,
            (None, Miss::Keep) => {
                misses += 1;
                continue;
            }
            (None, Miss::Reject) => {
                out.reject(batch, row, "lookup_miss", "the key is not in the table");
                continue;
            }
            (None, Miss::Drop) => {
                batch.drop_row(row);
                out.dropped("lookup_miss", 1);
                continue;
            }
        };
        occupied += u64::from(!replace(batch, row, to, record, &mut work.json));
    }
    out.error("lookup_miss", misses);
    occupied
}

/// The text at `path`, without escapes; `None` where there is none or it is empty.
fn text_of<'a>(batch: &Batch, row: usize, path: &FieldPath, buf: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    let event = batch.event(row);
    let text = event.get(path)?.as_str()?;
    buf.clear();
    text.append_text(buf);
    (!buf.is_empty()).then_some(buf)
}

#[inline]
fn key_of<'a>(batch: &Batch, row: usize, key: &KeySetting, buf: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    buf.clear();
    match key {
        KeySetting::Path(path) => match batch.event(row).get(path)? {
            Value::Null => return None,
            value => value.append_text(buf),
        },
        KeySetting::Template(template) => template.render(batch.event(row), buf).ok()?,
    }
    Some(buf)
}

/// Writes the object at `path`; members that are there stay. `false`, and nothing written, where something stands there
/// that is no object.
fn fill_in(batch: &mut Batch, row: usize, path: &FieldPath, object: &[u8], buf: &mut Vec<u8>) -> bool {
    let there = match batch.event(row).get(path) {
        None | Some(Value::Null) => false,
        Some(Value::Object(old)) => {
            buf.clear();
            merge(old, object, Keep::Old, buf);
            true
        }
        Some(_) => return false,
    };
    let object = if there { &**buf } else { object };
    batch.event_mut(row).set(path, Value::Object(object))
}

/// Writes the members of `object` into the object at `path`, or into the event; members that are there are replaced.
fn replace(batch: &mut Batch, row: usize, path: Option<&FieldPath>, object: &[u8], buf: &mut Vec<u8>) -> bool {
    let Some(path) = path else {
        for child in json::Children::new(object) {
            let (key, value) = (&object[child.key.0..child.key.1], &object[child.value.0..child.value.1]);
            buf.clear();
            json::unescape(key, buf);
            let known = (0..batch.event(row).len()).rev().find(|i| batch.event(row).key_text_at(*i) == &**buf);
            let mut event = batch.event_mut(row);
            match known {
                Some(i) => event.set_at(i, json::value_of(value)),
                None => {
                    event.push_text(buf, json::value_of(value));
                }
            }
        }
        return true;
    };
    let there = match batch.event(row).get(path) {
        None | Some(Value::Null) => false,
        Some(Value::Object(old)) => {
            buf.clear();
            merge(old, object, Keep::New, buf);
            true
        }
        Some(_) => return false,
    };
    let object = if there { &**buf } else { object };
    batch.event_mut(row).set(path, Value::Object(object))
}

/// Which of two members of one name is kept.
#[derive(Clone, Copy, PartialEq)]
enum Keep {
    Old,
    New,
}

/// Appends an object with the members of both.
fn merge(old: &[u8], new: &[u8], keep: Keep, out: &mut Vec<u8>) {
    let has = |object: &[u8], key: &[u8]| {
        json::Children::new(object).any(|child| json::key_is(&object[child.key.0..child.key.1], key))
    };
    out.push(b'{');
    for (object, other, all) in [(old, new, keep == Keep::Old), (new, old, keep == Keep::New)] {
        for child in json::Children::new(object) {
            let mut plain = Vec::new();
            let key = &object[child.key.0..child.key.1];
            let key = if key.contains(&b'\\') {
                json::unescape(key, &mut plain);
                &plain
            } else {
                key
            };
            if !all && has(other, key) {
                continue;
            }
            if out.last() != Some(&b'{') {
                out.push(b',');
            }
            out.extend_from_slice(&object[child.start..child.value.1]);
        }
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests;
