//! From a checked configuration to a blueprint: every component is built. Knows no component by name.

use super::connections::{Allotment, allot, check_connections};
use super::start_error::{LimitError, StartError};
use super::{
    Blueprint, BufferPart, DEFAULT_BUFFER_BYTES, SOURCE_ROOM_BYTES, SinkPart, SourcePart, TransformPart, Upkeep,
};
use crate::buffer::{BufferConfig, FullPolicy, WhenFull, disk};
use crate::component::common::Attach;
use crate::component::plan::{SinkPlan, SourcePlan};
use crate::component::{BuildContext, Chance};
use crate::decoding::Decoder;
use crate::error::BuildError;
use crate::net::sockets::noted;
use crate::pipeline::{AnyPlan, Config};
use crate::storage::data_dir::create_dir;
use crate::telemetry::{ComponentKind, Counters};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Builds every component. Creates `data_dir` (0700) where it is missing.
///
/// Errors: all that went wrong, not the first.
pub fn assemble(config: Config, once: bool) -> Result<Blueprint, Vec<StartError>> {
    assemble_with(config, once, &Reuse { kept: &|_| false, counters: &|_| None })
}

/// What goes on of a graph that runs already.
pub(super) struct Reuse<'a> {
    /// Whether the component with this id goes on as it is and is not built.
    pub(super) kept: &'a dyn Fn(&str) -> bool,
    /// The counters of the component with this id, where they go on.
    pub(super) counters: &'a dyn Fn(&str) -> Option<Arc<Counters>>,
}

/// Paths that the agent itself writes.
pub(super) fn own_files(config: &Config) -> Vec<PathBuf> {
    let mut own_files: Vec<PathBuf> = vec![config.globals.data_dir.clone()];
    for component in &config.components {
        if let AnyPlan::Sink(plan) = &component.plan {
            own_files.extend(plan.writes());
        }
    }
    own_files
}

/// What a component reads: id and output (empty for the default one).
pub(super) fn inputs(component: &crate::pipeline::Component) -> Vec<(Arc<str>, Arc<str>)> {
    let edge =
        |edge: &crate::pipeline::Edge| (Arc::from(&*edge.from), Arc::from(edge.output.as_deref().unwrap_or_default()));
    component.inputs.iter().map(edge).collect()
}

/// What all components are built with alike.
pub(super) struct Surroundings {
    /// Sources read to the end and stop.
    pub(super) once: bool,
    /// Paths that the agent itself writes.
    pub(super) own_files: Arc<Vec<PathBuf>>,
    /// What `sample` leaves to chance.
    pub(super) chance: Chance,
    /// Where state is kept.
    pub(super) data_dir: PathBuf,
    /// Zone of times that name none.
    pub(super) timezone: jiff::tz::TimeZone,
    /// Name of the host.
    pub(super) host: Arc<str>,
    /// Bytes of events that the agent may hold in memory.
    pub(super) memory_limit: usize,
    /// Ids of the components below access logs.
    pub(super) access: HashSet<String>,
}

impl Surroundings {
    /// Those of a configuration.
    pub(super) fn of(config: &Config) -> Surroundings {
        Surroundings {
            once: false,
            own_files: Arc::default(),
            chance: Chance::default(),
            data_dir: config.globals.data_dir.clone(),
            timezone: config.globals.timezone.clone(),
            host: host_name().into(),
            memory_limit: config.globals.memory_limit.as_usize(),
            access: below_access_logs(&config.components),
        }
    }

    /// For the component of these counters, which may have as much of all as it likes.
    pub(super) fn context(&self, counters: Arc<Counters>) -> BuildContext {
        BuildContext {
            id: counters.id.clone(),
            data_dir: self.data_dir.clone(),
            timezone: self.timezone.clone(),
            once: self.once,
            own_files: self.own_files.clone(),
            host: self.host.clone(),
            memory_limit: self.memory_limit,
            working_bytes: usize::MAX,
            connections: u32::MAX,
            handles: 1024,
            reads_access_logs: self.access.contains(&*counters.id),
            chance: self.chance,
            counters,
        }
    }
}

/// As [`assemble`], of those components that do not go on as they are.
pub(super) fn assemble_with(config: Config, once: bool, reuse: &Reuse<'_>) -> Result<Blueprint, Vec<StartError>> {
    let fingerprints = super::change::fingerprints(&config);
    let surroundings = Surroundings { own_files: Arc::new(own_files(&config)), once, ..Surroundings::of(&config) };
    if config.components.is_empty() {
        let text = "nothing runs: the configuration has no sources, only servers, which `tidegate openobserve` takes";
        return Err(vec![StartError::Config { component: None, message: text.to_owned() }]);
    }
    let connections = check_host(&config)?;
    let (globals, mut errors) = (config.globals, Vec::new());
    let memory_limit = globals.memory_limit.as_usize();
    let sinks = config.components.iter().filter(|c| c.kind == ComponentKind::Sink).count();
    let share = default_share(memory_limit, sinks);
    let recent = globals.api.as_ref().map_or(0, |api| api.recent.value);
    let recent_bytes = if once || recent == 0 { 0 } else { recent_share(&config.components, memory_limit) };
    let recent = if recent_bytes == 0 { 0 } else { recent };
    let working = Working::of(&config.components, memory_limit, recent_bytes);
    let mut blueprint = Blueprint {
        sources: Vec::new(),
        transforms: Vec::new(),
        sinks: Vec::new(),
        memory_limit,
        shutdown_timeout: globals.shutdown_timeout,
        threads: globals
            .threads
            .or_else(|| std::thread::available_parallelism().ok())
            .map_or(1, std::num::NonZeroUsize::get),
        fingerprints,
        upkeep: Upkeep { restart: globals.restart.clone(), recent: (recent, recent_bytes), ..Upkeep::default() },
    };
    let queue = |c: &crate::pipeline::Component| {
        let AnyPlan::Sink(plan) = &c.plan else { return None };
        Some((Arc::from(&*c.id.value), queue_bytes(&plan.common().buffer, share)))
    };
    blueprint.upkeep.queues = config.components.iter().filter_map(queue).collect();
    let sends = |c: &&crate::pipeline::Component| matches!(&c.plan, AnyPlan::Sink(plan) if plan.sends_requests());
    blueprint.upkeep.senders = config.components.iter().filter(sends).map(|c| Arc::from(&*c.id.value)).collect();
    for component in config.components {
        if (reuse.kept)(&component.id.value) {
            continue;
        }
        let (kind, inputs) = (component.kind, inputs(&component));
        let id = component.id.value;
        let counters = (reuse.counters)(&id).unwrap_or_else(|| Counters::new(&id, kind, component.type_name));
        let cx = BuildContext {
            working_bytes: match &component.plan {
                AnyPlan::Sink(plan) => working.part(plan.working_bytes()),
                _ => 0,
            },
            connections: connections.of(&id),
            handles: connections.handles_left,
            ..surroundings.context(counters.clone())
        };
        let (built, sockets) = noted(|| match component.plan {
            AnyPlan::Source(plan) => source(plan, counters, &cx).map(|source| blueprint.sources.push(source)),
            AnyPlan::Transform(plan) => {
                let outputs = plan.outputs().iter().map(|o| Arc::from(&**o)).collect();
                plan.build(&cx).map(|transform| {
                    blueprint.transforms.push(TransformPart { counters, transform, outputs, inputs });
                })
            }
            AnyPlan::Sink(plan) => {
                let buffer = buffer_part(&plan.common().buffer, &globals.data_dir, &id, share);
                sink(plan, counters, inputs, buffer, &cx).map(|sink| blueprint.sinks.push(sink))
            }
        });
        blueprint.upkeep.sockets.insert(cx.id.clone(), sockets);
        if let Err(error) = built {
            errors.push(StartError::of(id, &error));
        }
    }
    if errors.is_empty() { Ok(blueprint) } else { Err(errors) }
}

/// Whether the host has what a configuration asks for; the connections that each component may have.
fn check_host(config: &Config) -> Result<Allotment, Vec<StartError>> {
    let (globals, mut errors) = (&config.globals, Vec::new());
    if let Err(error) = create_dir(&globals.data_dir) {
        errors.push(StartError::host(format!(
            "data_dir {} cannot be used: {error}; create it for the agent's user, or set another `data_dir`",
            globals.data_dir.display()
        )));
    }
    let memory_limit = globals.memory_limit.as_usize();
    let fits = check_memory(&config.components, memory_limit);
    if let Err(error) = fits.and_then(|()| check_connections(&config.components, memory_limit)) {
        errors.push(error.into());
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    allot(&config.components, memory_limit, crate::process::handles::limit()).map_err(|error| vec![error.into()])
}

fn source(plan: Box<dyn SourcePlan>, counters: Arc<Counters>, cx: &BuildContext) -> Result<SourcePart, BuildError> {
    let (common, charset, overlaps) = (plan.common().clone(), plan.charset(), plan.overlaps());
    let frames = plan.decoder(cx)?;
    Ok(SourcePart {
        counters,
        run: plan.build(cx)?,
        decoder: Decoder::new(frames, common.on_decode_error).with_charset(charset, common.invalid_utf8),
        when: common.when,
        attach: Attach::pairs(&common.attach),
        overlaps,
    })
}

fn sink(
    plan: Box<dyn SinkPlan>,
    counters: Arc<Counters>,
    inputs: Vec<(Arc<str>, Arc<str>)>,
    buffer: BufferPart,
    cx: &BuildContext,
) -> Result<SinkPart, BuildError> {
    let common = plan.common().clone();
    let (takes_stale, keeps_places) = (plan.takes_stale(), plan.keeps_places());
    Ok(SinkPart {
        counters,
        run: plan.build(cx)?,
        inputs,
        when: common.when,
        takes_stale,
        keeps_places,
        buffer,
        dead_letter: common.dead_letter.map(|d| Arc::from(&*d.value)),
    })
}

/// Ids of the components that get events of a source that decodes access logs.
pub(super) fn below_access_logs(components: &[crate::pipeline::Component]) -> HashSet<String> {
    let decodes = |c: &&crate::pipeline::Component| matches!(&c.plan, AnyPlan::Source(plan) if matches!(plan.common().decode, crate::decoding::DecodeSetting::Access(_)));
    let mut below: HashSet<String> = components.iter().filter(decodes).map(|c| c.id.value.clone()).collect();
    loop {
        let more: Vec<String> = components
            .iter()
            .filter(|c| !below.contains(&c.id.value) && c.inputs.iter().any(|edge| below.contains(&*edge.from)))
            .map(|c| c.id.value.clone())
            .collect();
        if more.is_empty() {
            return below;
        }
        below.extend(more);
    }
}

/// Bytes of the queue in front of a sink with this buffer.
fn queue_bytes(buffer: &BufferConfig, share: usize) -> usize {
    match buffer {
        BufferConfig::Memory(memory) => {
            let max_bytes = memory.max_bytes.map_or(share, |s| s.as_usize());
            let overflows = memory.when_full == WhenFull::Overflow && buffer.disk().is_some();
            if overflows { (max_bytes / 4).min(disk::QUEUE_BYTES) } else { max_bytes }
        }
        BufferConfig::Disk(_) => disk::QUEUE_BYTES.min(share / 2),
    }
}

/// Ids of components that may hold another number of bytes, or connections, than with the limit `before`: all but queues and
/// rooms, whose bounds change while they are used.
pub(super) fn allotted_otherwise(config: &Config, before: usize) -> HashSet<String> {
    let now = config.globals.memory_limit.as_usize();
    if before == now {
        return HashSet::new();
    }
    let handles = crate::process::handles::limit();
    let working = |limit| Working::of(&config.components, limit, 0);
    let connections = |limit| allot(&config.components, limit, handles).ok();
    let (old, new) = ((working(before), connections(before)), (working(now), connections(now)));
    let is_other = |c: &&crate::pipeline::Component| match &c.plan {
        AnyPlan::Sink(plan) => old.0.part(plan.working_bytes()) != new.0.part(plan.working_bytes()),
        AnyPlan::Source(_) => {
            let of = |all: &Option<super::connections::Allotment>| all.as_ref().map(|all| all.of(&c.id.value));
            of(&old.1) != of(&new.1)
        }
        AnyPlan::Transform(_) => false,
    };
    config.components.iter().filter(is_other).map(|c| c.id.value.clone()).collect()
}

fn buffer_part(buffer: &BufferConfig, data_dir: &Path, id: &str, share: usize) -> BufferPart {
    match buffer {
        BufferConfig::Memory(memory) => {
            let max_bytes = memory.max_bytes.map(|s| s.as_usize());
            let Some(config) = buffer.disk().filter(|_| memory.when_full == WhenFull::Overflow) else {
                return BufferPart { max_bytes, policy: memory.when_full.policy(), disk: None, behind_disk: None };
            };
            // What is allowed in memory lies before the disk buffer to a quarter, for what comes while it is written.
            let all = max_bytes.unwrap_or(share);
            let before = (all / 4).min(disk::QUEUE_BYTES);
            let memory = all - before;
            let options = disk::DiskOptions { overflow_of: Some(memory), ..config.options(data_dir, id) };
            BufferPart {
                max_bytes: Some(before),
                policy: FullPolicy::Block,
                disk: Some(disk::stage(options)),
                behind_disk: Some(memory),
            }
        }
        BufferConfig::Disk(config) => BufferPart {
            max_bytes: Some(disk::QUEUE_BYTES.min(share / 2)),
            policy: FullPolicy::Block,
            disk: Some(disk::stage(config.options(data_dir, id))),
            behind_disk: None,
        },
    }
}

/// Bytes of the last frames that are kept of each source: a sixteenth of the limit for all of them, less where buffers leave less.
fn recent_share(components: &[crate::pipeline::Component], limit: usize) -> usize {
    let sources = components.iter().filter(|c| c.kind == ComponentKind::Source).count().max(1);
    let (explicit, room) = asked_memory(components, limit);
    let left = limit.saturating_sub(explicit).saturating_sub(room);
    super::recent::MAX_RECENT_BYTES.min(left.min(limit / 16) / sources)
}

/// Explicit sizes and the working room must fit the limit.
pub(crate) fn check_memory(components: &[crate::pipeline::Component], limit: usize) -> Result<(), LimitError> {
    let (explicit, room) = asked_memory(components, limit);
    if explicit.saturating_add(room) > limit {
        return Err(LimitError::Memory { buffers: explicit, room, limit });
    }
    Ok(())
}

/// Explicit sizes of buffers, and the working room of sources and requests.
fn asked_memory(components: &[crate::pipeline::Component], limit: usize) -> (usize, usize) {
    let (mut explicit, mut sources, mut bodies) = (0usize, 0usize, 0usize);
    for component in components {
        match &component.plan {
            AnyPlan::Sink(plan) => {
                if let BufferConfig::Memory(memory) = &plan.common().buffer {
                    explicit = explicit.saturating_add(memory.max_bytes.map_or(0, |s| s.as_usize()));
                }
                bodies += plan.working_bytes().min(MIN_WORKING_BYTES);
            }
            AnyPlan::Source(_) => sources += 1,
            AnyPlan::Transform(_) => {}
        }
    }
    (explicit, (SOURCE_ROOM_BYTES * sources).min(limit / 4) + bodies.min(limit / 4))
}

/// Bytes of bodies that a sink over the network gets at least.
const MIN_WORKING_BYTES: usize = 128 << 10;
/// Bytes that a disk buffer holds in memory beside its two queues: a group being written, and what the reader has not
/// taken yet.
const DISK_WORKING_BYTES: usize = 4 << 20;

/// What `memory_limit` leaves for bodies of requests, beside queues and the sources' room.
struct Working {
    left: usize,
    wanted: usize,
}

impl Working {
    /// `recent`: bytes of the last frames of each source.
    fn of(components: &[crate::pipeline::Component], limit: usize, recent: usize) -> Working {
        let (mut queues, mut sources, mut wanted) = (0usize, 0usize, 0usize);
        let share = default_share(limit, components.iter().filter(|c| c.kind == ComponentKind::Sink).count());
        for component in components {
            match &component.plan {
                AnyPlan::Source(_) => sources += 1,
                AnyPlan::Transform(_) => {}
                AnyPlan::Sink(plan) => {
                    wanted = wanted.saturating_add(plan.working_bytes());
                    let buffer = &plan.common().buffer;
                    queues = queues.saturating_add(match buffer {
                        BufferConfig::Memory(memory) => memory.max_bytes.map_or(share, |s| s.as_usize()),
                        BufferConfig::Disk(_) => share,
                    });
                    queues = queues.saturating_add(buffer.disk().map_or(0, |_| DISK_WORKING_BYTES));
                }
            }
        }
        let room = (SOURCE_ROOM_BYTES * sources).min(limit / 4);
        let room = room.saturating_add(sources.saturating_mul(recent));
        Working { left: limit.saturating_sub(queues).saturating_sub(room), wanted }
    }

    /// The part of a sink that wants so much.
    fn part(&self, wanted: usize) -> usize {
        if self.wanted <= self.left {
            return wanted;
        }
        let part = wanted as u128 * self.left as u128 / self.wanted.max(1) as u128;
        usize::try_from(part).unwrap_or(usize::MAX).max(MIN_WORKING_BYTES).min(wanted)
    }
}

/// Bytes of the queue of a sink that asks for none: an equal share of half of the limit, 8 MiB at most.
pub(super) fn default_share(limit: usize, sinks: usize) -> usize {
    DEFAULT_BUFFER_BYTES.min(limit / 2 / sinks.max(1))
}

/// The name of this host, as the kernel knows it.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
