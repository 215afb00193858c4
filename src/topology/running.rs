//! The graph that runs: parts that are started, replaced and stopped one by one.
//!
//! Each part has a number, by which workers know their side of it ([`super::worker`]), and which no later part gets. Starting: sinks first,
//! then workers, then sources. Stopping: sources stop reading; workers drain; sinks flush; positions are saved; the ledger
//! is printed by the caller.
//!
//! A change ([`Running::change`]) in this order: added sinks start; workers are told, without waiting for them; what is changed or
//! removed is told to leave. A source that leaves keeps its number until its last chunk is through; its events go to whoever has the
//! place of its readers, and where it is removed, what only it fed stays as long. A changed sink hands its queue to its successor,
//! with what it had not sent; a removed one gets `shutdown_timeout` to deliver.
//!
//! A source or sink that fails is started again after a while ([`super::supervision`]), as a change in which it alone is another; until
//! then its side in the workers stays: nothing comes from the source, whose sockets stay open, and the sink's queue fills. Without a
//! [`Remake`] the first failure stops the graph.

use super::build::default_share;
use super::change::{Comparison, Parts};
use super::recent::Recent;
use super::supervision::{Built, Remake, Supervision, Verdict as Fate};
use super::wiring::{Edge, Node, Readers, dead_letters, edges};
use super::worker::{Change, OutputReaders, SourceReaders, Target, WorkerSink, WorkerSource};
use super::worker::{Worker, WorkerTransform, apply_alone};
use super::{Blueprint, SOURCE_ROOM_BYTES, SinkPart, SourcePart};
use crate::ack::Verdict;
use crate::ack::place::{Board, Report};
use crate::buffer::{DiskStageContext, Queue, Room, StageSender};
use crate::component::{
    DeadLetter, Input, Message, Output, OutputOpen, Retire, SinkRun, SourceContext, SourceRun, Succession, Successors,
    ToDeadLetter, Transform,
};
use crate::error::{RunError, chain};
use crate::net::sockets::Holder;
use crate::pipeline::Fingerprint;
use crate::sync::Locked;
use crate::sync::live::Live;
use crate::tap::graph::{Cover, Graph, input_point, output_point, request_point};
use crate::tap::{self, Hub};
use crate::telemetry::Health;
use crate::telemetry::panics::{caught, words};
use crate::telemetry::watchdog::{Call, Watchdog};
use crate::telemetry::{ComponentKind, Counters, RunLedger};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A part that has ended, or has let its successor go.
struct Ended {
    what: Part,
    /// Number of the source or sink.
    number: usize,
    id: Arc<str>,
    /// Of a sink: which of those that had this number.
    run: u64,
    result: Result<(), RunError>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Source,
    Worker,
    Stage,
    Sink,
    /// A sink that has been replaced: its successor may begin. It has not ended.
    LetGo,
    /// Nothing more comes from a source. It has not ended.
    Output,
}

/// Where a part is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    Runs,
    /// It is no part of the graph any more, and has not ended.
    Leaves,
    Gone,
}

struct SourceSeat {
    id: Arc<str>,
    life: Life,
    fingerprint: Fingerprint,
    counters: Arc<Counters>,
    health: Arc<Health>,
    /// Kept open while it is down.
    sockets: Vec<Holder>,
    room: Arc<Room>,
    readers: SourceReaders,
    leave: CancellationToken,
    stop: CancellationToken,
    deadline: CancellationToken,
    overlaps: bool,
    has_ended: bool,
    /// Nothing comes from it: not yet, or not any more.
    is_dry: bool,
    /// It has let go of its output, without having been told to leave, and has not ended: it waits for verdicts, or is about to fail.
    dried_at: Option<tokio::time::Instant>,
    /// What takes its place when it has ended, by number.
    next: Option<(usize, SourceRun)>,
}

struct TransformSeat {
    id: Arc<str>,
    life: Life,
    fingerprint: Fingerprint,
    counters: Arc<Counters>,
    health: Arc<Health>,
    outputs: Vec<Arc<str>>,
    readers: OutputReaders,
    /// What it redacts with, where it does.
    cover: Option<Cover>,
}

struct SinkSeat {
    id: Arc<str>,
    life: Life,
    fingerprint: Fingerprint,
    counters: Arc<Counters>,
    health: Arc<Health>,
    /// What workers fill.
    queue: Arc<Queue>,
    /// What the sink reads: the same, or what lies behind its disk buffer.
    last: Arc<Queue>,
    all_on_disk: bool,
    dead_letter: Option<Arc<str>>,
    leave: CancellationToken,
    abort: CancellationToken,
    report: Report,
    succession: Succession,
    /// What takes its place when it has let go.
    next: Option<SinkRun>,
    /// What is to run, until it does: an earlier one with its id may not have ended.
    begins: Option<(Option<crate::buffer::DiskStage>, SinkRun)>,
    /// Threads and tasks of it that have not ended.
    running: usize,
    /// How many have had this number.
    run: u64,
    /// It has failed and waits to be started again.
    is_down: bool,
    /// Kept open while it is down.
    sockets: Vec<Holder>,
    /// Bytes of the queue behind its disk buffer.
    behind_disk: usize,
}

/// Lanes that go when the sources among them have ended.
struct Retiring {
    sources: Vec<usize>,
    transforms: Vec<usize>,
    sinks: Vec<usize>,
    /// Workers that have not been sent it.
    unsent: Vec<(usize, Box<Retire>)>,
    is_made: bool,
}

struct WorkerEnd {
    messages: crossbeam_channel::Sender<Message>,
    changes: crossbeam_channel::Sender<Box<Change>>,
}

/// A started topology.
pub struct Running {
    /// Its ledger.
    pub ledger: Live<RunLedger>,
    /// Health of each component that has some, by id.
    pub health: Live<Vec<(Arc<str>, Arc<Health>)>>,
    /// What runs, to compare a configuration with.
    pub parts: Live<Parts>,
    /// The last frames of each source, by id, where they are kept.
    pub recent: Live<HashMap<Arc<str>, Arc<Recent>>>,
    /// What sinks read, by id.
    pub queues: Live<HashMap<Arc<str>, Arc<Queue>>>,
    /// Where its events are looked at.
    pub hub: Arc<Hub>,
    shutdown: CancellationToken,
    deadline: CancellationToken,
    successors: Successors,
    sources: Vec<SourceSeat>,
    transforms: Vec<TransformSeat>,
    sinks: Vec<SinkSeat>,
    /// Ids in the order of the graph.
    order: Vec<Arc<str>>,
    /// Edges of all readers that have had the same ones from the beginning: only of these can be told what must have come.
    steady: Vec<Edge>,
    workers: Vec<WorkerEnd>,
    retiring: Vec<Retiring>,
    board: Arc<Board>,
    tell: mpsc::UnboundedSender<Ended>,
    ended: mpsc::UnboundedReceiver<Ended>,
    open: [usize; 4],
    memory_limit: usize,
    shutdown_timeout: Duration,
    supervision: Supervision,
    /// Frames, and bytes of them, that are kept of each source.
    recent_bounds: (usize, usize),
    /// Sinks that send requests.
    senders: HashSet<Arc<str>>,
    watchdog: Watchdog,
    /// Dropped, it ends the watchdog's thread.
    _watching: crossbeam_channel::Sender<()>,
    summary: Summary,
    /// When the time to drain is over, once it runs.
    drained_at: Option<tokio::time::Instant>,
    forced: bool,
}

/// How a topology ended.
#[derive(Debug, Default)]
pub struct Summary {
    /// Components that failed, with the reason.
    pub failed: Vec<(String, String)>,
    /// Draining took longer than allowed, or was ended by a second signal; what is held is left behind (and will be read
    /// again, or is in a buffer).
    pub timed_out: bool,
    /// Parts that did not end even then: nobody knows what they hold.
    pub stuck: usize,
}

fn worker_source(part: &SourcePart, readers: &SourceReaders, room: &Arc<Room>, call: Call, hub: &Hub) -> WorkerSource {
    WorkerSource {
        point: hub.point(&part.counters.id),
        rejected_point: hub.point(&output_point(&part.counters.id, "rejected")),
        recent: None,
        decoder: part.decoder.fork(),
        when: part.when.clone(),
        attach: part.attach.clone(),
        counters: part.counters.clone(),
        targets: readers.0.clone(),
        rejected: readers.1.clone(),
        room: room.clone(),
        call,
    }
}

fn worker_transform(
    part: &super::TransformPart,
    readers: &OutputReaders,
    call: Call,
    again: bool,
    hub: &Hub,
) -> WorkerTransform {
    let id = &part.counters.id;
    WorkerTransform {
        input_point: hub.point(&input_point(id)),
        points: readers.iter().map(|(output, _)| hub.point(&output_point(id, output))).collect(),
        transform: part.transform.fork(),
        seed: part.transform.fork(),
        careful: part.transform.is_of_program(),
        has_panicked: false,
        origins_give_again: again,
        call,
        counters: part.counters.clone(),
        outputs: readers.clone(),
        rejected: readers.iter().position(|(name, _)| &**name == "rejected"),
    }
}

/// What workers know of a sink is made of this.
struct SinkFront {
    queue: Arc<Queue>,
    when: Option<crate::condition::Condition>,
    takes_stale: bool,
    counters: Arc<Counters>,
}

impl SinkFront {
    fn of(part: &SinkPart, queue: &Arc<Queue>) -> SinkFront {
        SinkFront {
            queue: queue.clone(),
            when: part.when.clone(),
            takes_stale: part.takes_stale,
            counters: part.counters.clone(),
        }
    }

    fn worker_sink(&self, hub: &Hub) -> WorkerSink {
        WorkerSink {
            point: hub.point(&input_point(&self.counters.id)),
            sender: self.queue.sender(),
            when: self.when.clone(),
            takes_stale: self.takes_stale,
            counters: self.counters.clone(),
            several: false,
        }
    }
}

fn queue_of(part: &SinkPart, share: usize) -> Arc<Queue> {
    let bytes = part.buffer.max_bytes.unwrap_or(share);
    match part.buffer.disk {
        None => Queue::new(bytes, part.buffer.policy, part.counters.clone()),
        Some(_) => Queue::before_stage(bytes, part.counters.clone()),
    }
}

fn room_of(memory_limit: usize, sources: usize) -> Arc<Room> {
    Room::new(room_bytes(memory_limit, sources))
}

fn room_bytes(memory_limit: usize, sources: usize) -> usize {
    SOURCE_ROOM_BYTES.min(memory_limit / 4 / sources.max(1))
}

/// The numbers of a blueprint's lanes: each kind from 0, in its order.
fn positions(nodes: &[Node]) -> HashMap<Arc<str>, usize> {
    let mut next = [0usize; 3];
    let mut number = |node: &Node| {
        let next = &mut next[node.kind as usize];
        *next += 1;
        (node.id.clone(), *next - 1)
    };
    nodes.iter().map(&mut number).collect()
}

/// One worker over a blueprint whose sources and sinks are not started, and the queues in front of its sinks by id: for
/// benches and tests that drive it themselves.
pub fn single_worker(blueprint: &Blueprint) -> (Worker, Vec<(Arc<str>, Arc<Queue>)>) {
    let nodes = Node::all(blueprint);
    let numbers = positions(&nodes);
    let readers = Readers::new(&nodes, |node| numbers[&node.id]);
    let share = default_share(blueprint.memory_limit, blueprint.sinks.len());
    let room = room_of(blueprint.memory_limit, blueprint.sources.len());
    let hub = Hub::new();
    let sources = blueprint
        .sources
        .iter()
        .map(|s| worker_source(s, &readers.of_source(&s.counters.id), &room, Call::default(), &hub))
        .collect();
    let transforms = blueprint
        .transforms
        .iter()
        .map(|t| worker_transform(t, &readers.of_transform(&t.counters.id, &t.outputs), Call::default(), false, &hub))
        .collect();
    let queues: Vec<_> = blueprint.sinks.iter().map(|s| (s.counters.id.clone(), queue_of(s, share))).collect();
    let sinks = blueprint.sinks.iter().zip(&queues).map(|(s, (_, q))| SinkFront::of(s, q).worker_sink(&hub)).collect();
    (Worker::new(sources, transforms, sinks), queues)
}

/// Starts everything: sinks first, then workers, then sources. Must be called inside a tokio runtime.
pub fn start(blueprint: Blueprint) -> std::io::Result<Running> {
    start_supervised(blueprint, None)
}

/// As [`start`]; what fails is built anew by `remake` and started again.
pub fn start_supervised(blueprint: Blueprint, remake: Option<Remake>) -> std::io::Result<Running> {
    let nodes = Node::all(&blueprint);
    let Blueprint { memory_limit, shutdown_timeout, threads, .. } = blueprint;
    #[expect(clippy::disallowed_methods, reason = "a few messages in the life of a part, of which there are few")]
    let (tell, ended) = mpsc::unbounded_channel();
    let watchdog = Watchdog::new(blueprint.upkeep.stalled_after);
    let (watching, watched) = crossbeam_channel::bounded(0);
    let looks = watchdog.clone();
    std::thread::Builder::new().name("watchdog".into()).spawn(move || looks.run(&watched))?;
    let mut running = Running {
        ledger: Live::default(),
        health: Live::default(),
        parts: Live::default(),
        recent: Live::default(),
        queues: Live::default(),
        hub: Hub::new(),
        senders: HashSet::new(),
        recent_bounds: blueprint.upkeep.recent,
        shutdown: CancellationToken::new(),
        deadline: CancellationToken::new(),
        successors: Successors::default(),
        sources: Vec::new(),
        transforms: Vec::new(),
        sinks: Vec::new(),
        order: Vec::new(),
        steady: Vec::new(),
        workers: Vec::new(),
        retiring: Vec::new(),
        board: Board::new(0),
        tell,
        ended,
        open: [0; 4],
        memory_limit,
        shutdown_timeout,
        supervision: Supervision::new(remake, blueprint.upkeep.restart.clone()),
        watchdog,
        _watching: watching,
        summary: Summary::default(),
        drained_at: None,
        forced: false,
    };
    let mut started = Vec::new();
    for _ in 0..threads.max(1) {
        // Bytes are bounded by the sources' rooms; the channel's own bound only has to be out of the way.
        let (messages, to_take) = crossbeam_channel::bounded(4096);
        #[expect(clippy::disallowed_methods, reason = "one message a reload, and whoever sends it waits for nobody")]
        let (changes, changes_to_take) = crossbeam_channel::unbounded();
        running.workers.push(WorkerEnd { messages, changes });
        started.push((Worker::new(Vec::new(), Vec::new(), Vec::new()), to_take, changes_to_take));
    }
    let sources = running.take_up(&nodes, blueprint, &Comparison::all_new())?;
    let left = Arc::new(AtomicUsize::new(started.len()));
    for (n, (worker, messages, changes)) in started.into_iter().enumerate() {
        let left = left.clone();
        running.open[Part::Worker as usize] += 1;
        running.spawn(Part::Worker, n, format!("worker-{n}").into(), move || {
            worker.run(messages, changes, || left.fetch_sub(1, Ordering::AcqRel) == 1);
            Ok(())
        })?;
    }
    running.steady = edges(&nodes);
    running.publish(&nodes);
    for (number, run) in sources {
        running.start_source(number, run)?;
    }
    Ok(running)
}

/// A sink that has ended, by a panic too, lets nobody wait for it: what it did not take has failed. Not where another has its
/// queue, or will have.
struct CloseOnDrop {
    queue: Arc<Queue>,
    report: Report,
    replaced: CancellationToken,
    /// It is started again where it fails.
    begins_again: bool,
}

impl CloseOnDrop {
    /// The sink has ended so.
    fn ended(mut self, result: Result<(), RunError>) -> Result<(), RunError> {
        self.begins_again &= result.is_err();
        result
    }
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        if self.replaced.is_cancelled() {
            return;
        }
        self.report.tell_nothing();
        if !self.begins_again {
            shut(&self.queue);
        }
    }
}

/// Lets nobody wait for what reads a queue: what is in it, and what comes, has failed.
fn shut(queue: &Queue) {
    queue.close();
    while let Some(batch) = queue.try_recv() {
        drop(batch);
    }
}

/// How a part ends that panics.
fn panicked(words: &str) -> RunError {
    RunError::Panicked { who: "it", words: words.to_owned() }
}

/// Bytes of the queue between a disk buffer and its sink.
const STAGE_QUEUE_BYTES: usize = 1 << 20;
/// How often it is tried to send to a worker that has a full channel.
const AGAIN: Duration = Duration::from_millis(10);
/// How long a source that has let go of its output has to say that it has failed, before workers end.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl Running {
    /// Cancelled when the agent is to stop; cancel it to stop.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Cancelled when draining is over; cancel it to leave at once.
    pub fn deadline(&self) -> &CancellationToken {
        &self.deadline
    }

    /// Which sinks go on in the next graph: to be set before this one is stopped for it.
    pub fn successors(&self) -> &Successors {
        &self.successors
    }

    // ---- starting -------------------------------------------------------------------------------------------------

    /// Gives numbers to what is built, starts its sinks and tells the workers. Gives the sources that are to be started.
    fn take_up(
        &mut self,
        nodes: &[Node],
        built: Blueprint,
        comparison: &Comparison,
    ) -> std::io::Result<Vec<(usize, SourceRun)>> {
        let count = |kind| nodes.iter().filter(|n| n.kind == kind).count();
        let share = default_share(self.memory_limit, count(ComponentKind::Sink));
        let (sources_in_all, threads) = (count(ComponentKind::Source), self.workers.len());
        // Numbers: what is kept has its own, a changed sink that of the one before.
        let mut numbers: HashMap<Arc<str>, usize> = self.numbers();
        for (n, part) in built.sources.iter().enumerate() {
            numbers.insert(part.counters.id.clone(), self.sources.len() + n);
        }
        for (n, part) in built.transforms.iter().enumerate() {
            numbers.insert(part.counters.id.clone(), self.transforms.len() + n);
        }
        let mut new_sinks = 0;
        for part in &built.sinks {
            if !comparison.is_changed(&part.counters.id) {
                numbers.insert(part.counters.id.clone(), self.sinks.len() + new_sinks);
                new_sinks += 1;
            }
        }
        let counters = built.sources.iter().map(|s| &s.counters).chain(built.transforms.iter().map(|t| &t.counters));
        for counters in counters.chain(built.sinks.iter().map(|s| &s.counters)) {
            counters.update(|t| t.starts += 1);
        }
        let readers = Readers::new(nodes, |node| numbers[&node.id]);
        let (prints, mut sockets) = (built.fingerprints, built.upkeep.sockets);
        self.senders = built.upkeep.senders;
        let mut sockets_of = move |id: &Arc<str>| sockets.remove(id).unwrap_or_default();
        let again = self.supervision.is_on();
        let mut changes: Vec<Change> = (0..threads).map(|_| Change::default()).collect();
        self.board.make_room(self.sinks.len() + new_sinks);

        let mut fronts = Vec::new();
        for part in &built.sinks {
            let number = numbers[&part.counters.id];
            let queue = self.sinks.get(number).map_or_else(|| queue_of(part, share), |seat| seat.queue.clone());
            fronts.push((number, SinkFront::of(part, &queue)));
        }
        // Before any sink starts: one whose queue nobody can send to has come to its end.
        for change in &mut changes {
            change.sinks = fronts.iter().map(|(number, front)| (*number, front.worker_sink(&self.hub))).collect();
        }
        // All queues first: a sink may have another's as its dead letter.
        let queues: HashMap<Arc<str>, Arc<Queue>> = self
            .sinks
            .iter()
            .filter(|seat| seat.life == Life::Runs)
            .map(|seat| (seat.id.clone(), seat.queue.clone()))
            .chain(fronts.iter().map(|(_, front)| (front.counters.id.clone(), front.queue.clone())))
            .collect();
        for (part, (number, front)) in built.sinks.into_iter().zip(&fronts) {
            if *number < self.sinks.len() {
                let print = prints.get(&front.counters.id).cloned().unwrap_or_default();
                self.sinks[*number].sockets = sockets_of(&front.counters.id);
                self.replace_sink(*number, part, print, &queues)?;
            } else {
                let print = prints.get(&front.counters.id).cloned().unwrap_or_default();
                let sockets = sockets_of(&front.counters.id);
                self.start_sink(part, front.queue.clone(), share, &queues, print, sockets)?;
            }
        }

        for part in &built.transforms {
            let number = self.transforms.len();
            let id = &part.counters.id;
            let seat = TransformSeat {
                id: id.clone(),
                life: Life::Runs,
                fingerprint: prints.get(id).cloned().unwrap_or_default(),
                counters: part.counters.clone(),
                health: running_health(),
                outputs: part.outputs.clone(),
                readers: readers.of_transform(id, &part.outputs),
                cover: part.transform.redacts().then(|| cover_of(number, &*part.transform)),
            };
            for change in &mut changes {
                let call = self.watchdog.call("transform", &seat.counters, &seat.health);
                change.transforms.push((number, worker_transform(part, &seat.readers, call, again, &self.hub)));
            }
            self.transforms.push(seat);
        }
        let mut to_start = Vec::new();
        for part in built.sources {
            let number = self.sources.len();
            let id = part.counters.id.clone();
            let seat = SourceSeat {
                id: id.clone(),
                life: Life::Runs,
                fingerprint: prints.get(&id).cloned().unwrap_or_default(),
                counters: part.counters.clone(),
                health: running_health(),
                sockets: sockets_of(&id),
                room: room_of(self.memory_limit, sources_in_all),
                readers: readers.of_source(&id),
                leave: CancellationToken::new(),
                stop: self.shutdown.child_token(),
                overlaps: part.overlaps,
                deadline: self.deadline.child_token(),
                has_ended: false,
                dried_at: None,
                is_dry: true,
                next: None,
            };
            for change in &mut changes {
                let call = self.watchdog.call("decode", &seat.counters, &seat.health);
                let recent = Some(self.recent_of(&id));
                let lane = worker_source(&part, &seat.readers, &seat.room, call, &self.hub);
                change.sources.push((number, WorkerSource { recent, ..lane }));
            }
            let before = self.sources.iter().rposition(|s| s.id == id && !s.has_ended && s.next.is_none());
            match before {
                // One after the other: the later one goes on from where the earlier one has come.
                Some(before) if !part.overlaps => self.sources[before].next = Some((number, part.run)),
                _ => to_start.push((number, part.run)),
            }
            self.sources.push(seat);
        }
        self.order = nodes.iter().map(|n| n.id.clone()).collect();
        self.rewire(&readers, &numbers);
        // Before anything goes the new ways.
        self.hub.set_graph(self.graph_of(nodes, &numbers));
        self.tell_workers(changes, &numbers);
        Ok(to_start)
    }

    /// What is to be known of a graph where its events are looked at.
    fn graph_of(&self, nodes: &[Node], numbers: &HashMap<Arc<str>, usize>) -> Graph {
        let part = |node: &Node| {
            let n = *numbers.get(&node.id)?;
            let (counters, outputs, cover) = match node.kind {
                ComponentKind::Source => (&self.sources.get(n)?.counters, vec![Arc::from("rejected")], None),
                ComponentKind::Transform => {
                    let seat = self.transforms.get(n)?;
                    (&seat.counters, seat.outputs.clone(), seat.cover.clone())
                }
                ComponentKind::Sink => (&self.sinks.get(n)?.counters, Vec::new(), None),
            };
            Some(tap::graph::Part {
                id: node.id.clone(),
                kind: node.kind,
                type_name: counters.type_name,
                inputs: node.inputs.clone(),
                outputs,
                dead_letter: node.dead_letter.clone(),
                sends: self.senders.contains(&node.id),
                cover,
            })
        };
        Graph { parts: nodes.iter().filter_map(part).collect() }
    }

    /// Numbers of all that runs, by id.
    fn numbers(&self) -> HashMap<Arc<str>, usize> {
        let sources = self.sources.iter().enumerate().filter(|(_, s)| s.life == Life::Runs).map(|(n, s)| (&s.id, n));
        let transforms =
            self.transforms.iter().enumerate().filter(|(_, t)| t.life == Life::Runs).map(|(n, t)| (&t.id, n));
        let sinks = self.sinks.iter().enumerate().filter(|(_, s)| s.life == Life::Runs).map(|(n, s)| (&s.id, n));
        sources.chain(transforms).chain(sinks).map(|(id, n)| (id.clone(), n)).collect()
    }

    /// Sets who reads what: by the graph for what is part of it; what leaves feeds whoever has the place of its readers.
    fn rewire(&mut self, readers: &Readers, numbers: &HashMap<Arc<str>, usize>) {
        let transforms: Vec<(Arc<str>, Life)> = self.transforms.iter().map(|t| (t.id.clone(), t.life)).collect();
        let sinks: Vec<(Arc<str>, Life)> = self.sinks.iter().map(|s| (s.id.clone(), s.life)).collect();
        let in_its_place = |target: &Target| {
            let (Target::Transform(n) | Target::Sink(n)) = *target;
            let (id, life) = if let Target::Transform(_) = target { &transforms[n] } else { &sinks[n] };
            match (life, numbers.get(id), target) {
                (Life::Runs, ..) => Some(*target),
                (_, Some(now), Target::Transform(_)) => {
                    transforms.get(*now).filter(|t| t.0 == *id && t.1 == Life::Runs).map(|_| Target::Transform(*now))
                }
                (_, Some(now), Target::Sink(_)) => {
                    sinks.get(*now).filter(|s| s.0 == *id && s.1 == Life::Runs).map(|_| Target::Sink(*now))
                }
                (Life::Leaves, None, _) => Some(*target),
                (Life::Gone, None, _) => None,
            }
        };
        let follow = |targets: &mut Vec<Target>| {
            let mut now: Vec<Target> = Vec::new();
            for target in targets.iter().filter_map(in_its_place) {
                if !now.contains(&target) {
                    now.push(target);
                }
            }
            *targets = now;
        };
        let still_there: HashSet<Arc<str>> =
            self.sources.iter().filter(|seat| seat.life == Life::Runs).map(|seat| seat.id.clone()).collect();
        for seat in &mut self.sources {
            match seat.life {
                Life::Runs => seat.readers = readers.of_source(&seat.id),
                // Another has its place: what still comes goes where that one's events go.
                Life::Leaves if still_there.contains(&seat.id) => seat.readers = readers.of_source(&seat.id),
                Life::Leaves => {
                    follow(&mut seat.readers.0);
                    follow(&mut seat.readers.1);
                }
                Life::Gone => {}
            }
        }
        for seat in &mut self.transforms {
            match seat.life {
                Life::Runs => seat.readers = readers.of_transform(&seat.id, &seat.outputs),
                Life::Leaves => seat.readers.iter_mut().for_each(|(_, targets)| follow(targets)),
                Life::Gone => {}
            }
        }
    }

    fn tell_workers(&mut self, mut changes: Vec<Change>, numbers: &HashMap<Arc<str>, usize>) {
        let in_graph = self.order.iter().filter_map(|id| {
            let n = *numbers.get(id)?;
            self.transforms.get(n).filter(|t| t.id == *id && t.life == Life::Runs).map(|_| n)
        });
        let leaving = self.transforms.iter().enumerate().filter(|(_, t)| t.life == Life::Leaves).map(|(n, _)| n);
        let order: Vec<usize> = leaving.chain(in_graph).collect();
        for change in &mut changes {
            let sources = self.sources.iter().enumerate().filter(|(_, s)| s.life != Life::Gone);
            change.source_readers = sources.map(|(n, s)| (n, s.readers.clone())).collect();
            let transforms = self.transforms.iter().enumerate().filter(|(_, t)| t.life != Life::Gone);
            change.transform_readers = transforms.map(|(n, t)| (n, t.readers.clone())).collect();
            change.order = order.clone();
        }
        for (end, change) in self.workers.iter().zip(changes) {
            // A worker that is gone needs no change, and one that has messages looks by itself.
            _ = end.changes.send(Box::new(change));
            _ = end.messages.try_send(Message::Look);
        }
    }

    fn start_sink(
        &mut self,
        part: SinkPart,
        queue: Arc<Queue>,
        share: usize,
        queues: &HashMap<Arc<str>, Arc<Queue>>,
        fingerprint: Fingerprint,
        sockets: Vec<Holder>,
    ) -> std::io::Result<()> {
        let number = self.sinks.len();
        let id = part.counters.id.clone();
        let health = Arc::new(Health::default());
        // What overflows only in part lies in memory in part.
        let all_on_disk = part.buffer.disk.is_some() && part.buffer.behind_disk.is_none();
        part.counters.update(|t| t.disk_buffer = all_on_disk);
        let report = self.board.report(number);
        if part.buffer.disk.is_some() && !all_on_disk || part.buffer.disk.is_none() && !part.keeps_places {
            report.tell_nothing();
        }
        let (leave, abort) = (self.shutdown.child_token(), self.deadline.child_token());
        let waits = self.sinks.iter().any(|seat| seat.id == id && (seat.running > 0 || seat.begins.is_some()));
        self.sinks.push(SinkSeat {
            id: id.clone(),
            life: Life::Runs,
            fingerprint,
            counters: part.counters,
            health,
            last: queue.clone(),
            queue,
            all_on_disk,
            dead_letter: part.dead_letter,
            leave,
            abort,
            report,
            succession: Succession::default(),
            next: None,
            begins: Some((part.buffer.disk, part.run)),
            running: 0,
            run: 0,
            is_down: false,
            sockets,
            behind_disk: part.buffer.behind_disk.unwrap_or((share / 2).min(STAGE_QUEUE_BYTES)),
        });
        // One that keeps files or a disk buffer under its id has them until it has ended.
        if waits { Ok(()) } else { self.begin_sink(number, queues) }
    }

    /// Starts a sink for the first time, with its disk buffer.
    fn begin_sink(&mut self, number: usize, queues: &HashMap<Arc<str>, Arc<Queue>>) -> std::io::Result<()> {
        let seat = &mut self.sinks[number];
        let Some((stage, run)) = seat.begins.take() else { return Ok(()) };
        if let Some(stage) = stage {
            seat.last = Queue::for_stage(seat.behind_disk, seat.counters.clone());
            let dead_letter = seat.dead_letter.as_ref().and_then(|id| queues.get(id));
            let letters = self.hub.point(&input_point(seat.dead_letter.as_deref().unwrap_or_default()));
            let context = DiskStageContext {
                from: seat.queue.clone(),
                to: StageSender::new(seat.last.sender()),
                refuser: Box::new(ToDeadLetter {
                    counters: seat.counters.clone(),
                    dead_letter: dead_letter.map(|to| DeadLetter { to: to.sender(), point: letters }),
                }),
                counters: seat.counters.clone(),
                abort: seat.abort.clone(),
                shutdown: seat.leave.clone(),
                health: seat.health.clone(),
                report: std::mem::take(&mut seat.report),
            };
            seat.running += 1;
            let id = seat.id.clone();
            self.open[Part::Stage as usize] += 1;
            self.spawn(Part::Stage, number, id, move || stage(context))?;
        }
        let reader = self.sinks[number].last.reader();
        self.run_sink(number, run, reader, queues)
    }

    /// Starts the sinks that waited for another with their id to end.
    fn begin_sinks(&mut self) {
        for number in 0..self.sinks.len() {
            if self.sinks[number].begins.is_none() {
                continue;
            }
            let id = self.sinks[number].id.clone();
            let waits =
                self.sinks[..number].iter().any(|seat| seat.id == id && (seat.running > 0 || seat.begins.is_some()));
            if waits {
                continue;
            }
            let queues = self.sink_queues();
            if let Err(error) = self.begin_sink(number, &queues) {
                self.failed(&id, &format!("cannot start a thread: {error}"));
            }
        }
    }

    fn stage_has_ended(&mut self, number: usize) {
        self.sinks[number].running -= 1;
        self.begin_sinks();
    }

    /// Starts what runs a sink, over its queue.
    fn run_sink(
        &mut self,
        number: usize,
        run: SinkRun,
        reader: u64,
        queues: &HashMap<Arc<str>, Arc<Queue>>,
    ) -> std::io::Result<()> {
        let seat = &mut self.sinks[number];
        seat.run += 1;
        let run_number = seat.run;
        let dead_letter = seat.dead_letter.as_ref().and_then(|id| queues.get(id));
        let letters = self.hub.point(&input_point(seat.dead_letter.as_deref().unwrap_or_default()));
        let input = Input {
            queue: seat.last.clone(),
            counters: seat.counters.clone(),
            dead_letter: dead_letter.map(|to| DeadLetter { to: to.sender(), point: letters }),
            requests: self.hub.point(&request_point(&seat.id)),
            abort: seat.abort.clone(),
            shutdown_allowed: seat.all_on_disk.then(|| seat.leave.clone()),
            successors: self.successors.clone(),
            health: seat.health.clone(),
            report: seat.report.clone(),
            reader,
            succession: seat.succession.clone(),
            call: self.watchdog.call("encode or write", &seat.counters, &seat.health),
        };
        let id = seat.id.clone();
        let closes = CloseOnDrop {
            queue: seat.last.clone(),
            report: seat.report.clone(),
            replaced: seat.succession.replaced.clone(),
            begins_again: self.supervision.is_on(),
        };
        let polls = self.watchdog.call("a poll of its task", &seat.counters, &seat.health);
        seat.running += 1;
        self.open[Part::Sink as usize] += 1;
        match run {
            SinkRun::Thread(run) => self.spawn_run(Part::Sink, number, id, run_number, move || {
                closes.ended(caught(|| run(input)).unwrap_or_else(|words| Err(panicked(&words))))
            })?,
            SinkRun::Task(run) => self.spawn_task(Part::Sink, number, id, run_number, async move {
                let task = std::panic::AssertUnwindSafe(polls.polls(async move { run(input).await }));
                let result = futures::FutureExt::catch_unwind(task).await;
                closes.ended(result.unwrap_or_else(|panic| Err(panicked(&words(&*panic)))))
            }),
        }
        Ok(())
    }

    fn start_source(&mut self, number: usize, run: SourceRun) -> std::io::Result<()> {
        self.sources[number].is_dry = false;
        let seat = &self.sources[number];
        let context = SourceContext {
            output: Output {
                workers: self.workers.iter().map(|w| w.messages.clone()).collect(),
                source: number,
                room: seat.room.clone(),
                counters: seat.counters.clone(),
                _open: Arc::new(OutputOpen(Box::new({
                    let (tell, id) = (self.tell.clone(), seat.id.clone());
                    move || _ = tell.send(Ended { what: Part::Output, number, id: id.clone(), run: 0, result: Ok(()) })
                }))),
            },
            shutdown: seat.stop.clone(),
            leave: seat.leave.clone(),
            deadline: seat.deadline.clone(),
            counters: seat.counters.clone(),
            holdings: self.board.holdings(self.sinks_of(number)),
            call: self.watchdog.call("read", &seat.counters, &seat.health),
            begins_again: self.supervision.is_on(),
        };
        let polls = self.watchdog.call("a poll of its task", &seat.counters, &seat.health);
        let id = seat.id.clone();
        self.open[Part::Source as usize] += 1;
        match run {
            SourceRun::Thread(run) => self.spawn(Part::Source, number, id, move || run(context))?,
            SourceRun::Task(run) => self.spawn_task(Part::Source, number, id, 0, polls.polls(run(context))),
        }
        Ok(())
    }

    /// The sinks that a source's events reach, by number: also by outputs of transforms, but not by dead letters.
    fn sinks_of(&self, source: usize) -> Vec<usize> {
        let (targets, rejected) = &self.sources[source].readers;
        let mut open: Vec<Target> = targets.iter().chain(rejected).copied().collect();
        let mut seen = open.clone();
        while let Some(target) = open.pop() {
            let Target::Transform(n) = target else { continue };
            for target in self.transforms[n].readers.iter().flat_map(|(_, targets)| targets) {
                if !seen.contains(target) {
                    seen.push(*target);
                    open.push(*target);
                }
            }
        }
        seen.into_iter().filter_map(|t| if let Target::Sink(n) = t { Some(n) } else { None }).collect()
    }

    fn spawn(
        &self,
        what: Part,
        number: usize,
        id: Arc<str>,
        run: impl FnOnce() -> Result<(), RunError> + Send + 'static,
    ) -> std::io::Result<()> {
        self.spawn_run(what, number, id, 0, run)
    }

    fn spawn_run(
        &self,
        what: Part,
        number: usize,
        id: Arc<str>,
        run_number: u64,
        run: impl FnOnce() -> Result<(), RunError> + Send + 'static,
    ) -> std::io::Result<()> {
        let tell = self.tell.clone();
        // Linux keeps 15 bytes of a thread's name.
        let name: String = id.chars().take(15).collect();
        std::thread::Builder::new().name(name).spawn(move || {
            let result = caught(run).unwrap_or_else(|words| Err(panicked(&words)));
            _ = tell.send(Ended { what, number, id, run: run_number, result });
        })?;
        Ok(())
    }

    fn spawn_task(
        &self,
        what: Part,
        number: usize,
        id: Arc<str>,
        run_number: u64,
        run: impl Future<Output = Result<(), RunError>> + Send + 'static,
    ) {
        let tell = self.tell.clone();
        let task = tokio::spawn(run);
        tokio::spawn(async move {
            let result = task.await.unwrap_or_else(|error| match error.try_into_panic() {
                Ok(panic) => Err(panicked(&words(&*panic))),
                Err(_) => Err(RunError::failed("it was ended with its runtime")),
            });
            _ = tell.send(Ended { what, number, id, run: run_number, result });
        });
    }

    // ---- changing -------------------------------------------------------------------------------------------------

    /// Bytes of events held in memory at most.
    pub fn memory_limit(&self) -> usize {
        self.memory_limit
    }

    /// What runs, to compare a configuration with: kind, type, fingerprint by id.
    pub(super) fn parts_now(&self) -> Parts {
        let sources =
            self.sources.iter().filter(|s| s.life == Life::Runs).map(|s| (&s.id, &s.counters, s.fingerprint.clone()));
        let transforms = self
            .transforms
            .iter()
            .filter(|t| t.life == Life::Runs)
            .map(|t| (&t.id, &t.counters, t.fingerprint.clone()));
        let sinks =
            self.sinks.iter().filter(|s| s.life == Life::Runs).map(|s| (&s.id, &s.counters, s.fingerprint.clone()));
        let all = sources.chain(transforms).chain(sinks);
        all.map(|(id, counters, print)| (id.clone(), (counters.kind, counters.type_name, print))).collect()
    }

    /// The counters of the component that runs, or ran, under this id with this kind and type: they go on.
    pub fn counters(&self, id: &str, kind: ComponentKind, type_name: &str) -> Option<Arc<Counters>> {
        let ledger = self.ledger.now();
        let is_it = |c: &&Arc<Counters>| &*c.id == id && c.kind == kind && c.type_name == type_name;
        ledger.components.iter().find(is_it).cloned()
    }

    /// Takes over another graph: what is built comes in, what is neither built nor kept leaves. Returns at once.
    ///
    /// Errors: a thread cannot be started; then some of it may have been.
    pub fn change(&mut self, beside: super::change::Beside) -> std::io::Result<()> {
        let comparison = beside.comparison();
        let others = comparison.changed.keys().chain(&comparison.added).chain(&comparison.removed);
        others.for_each(|id| self.supervision.forget(id));
        self.bring_in(beside)
    }

    fn bring_in(&mut self, beside: super::change::Beside) -> std::io::Result<()> {
        let super::change::Beside { nodes, built, comparison } = beside;
        self.supervision.changes += 1;
        self.supervision.limits = Some(built.upkeep.restart.clone());
        self.shutdown_timeout = built.shutdown_timeout;
        self.memory_limit = built.memory_limit;
        let queues = built.upkeep.queues.clone();
        self.recent_bounds = built.upkeep.recent;
        self.recent.now().values().for_each(|recent| recent.set_bounds(self.recent_bounds.0, self.recent_bounds.1));
        let before = self.ledger.now().all_edges.clone();
        // What leaves is marked before anything gets its place.
        let leaving = self.mark_leaving(&comparison);
        let sources = self.take_up(&nodes, built, &comparison)?;
        self.count_steady(&before, &nodes);
        self.publish(&nodes);
        let all = self.sources.iter().filter(|seat| seat.life == Life::Runs).count();
        for seat in self.sources.iter().filter(|seat| seat.life == Life::Runs) {
            seat.room.set_max(room_bytes(self.memory_limit, all));
        }
        for seat in self.sinks.iter().filter(|seat| seat.life == Life::Runs) {
            if let Some(bytes) = queues.get(&seat.id) {
                seat.queue.set_max_bytes(*bytes);
            }
        }
        for number in &leaving.sources {
            self.sources[*number].sockets.clear();
            let seat = &self.sources[*number];
            seat.leave.cancel();
            if seat.overlaps {
                // Its clients have time to come to an end; then it is stopped as at the agent's end.
                self.cancel_later(seat.stop.clone(), self.shutdown_timeout);
                self.cancel_later(seat.deadline.clone(), self.shutdown_timeout * 2);
            } else {
                seat.stop.cancel();
                // One whose successor waits for it has all the time it needs.
                if seat.next.is_none() {
                    self.cancel_later(seat.deadline.clone(), self.shutdown_timeout);
                }
            }
        }
        for number in &leaving.sinks {
            self.sinks[*number].sockets.clear();
            if std::mem::take(&mut self.sinks[*number].is_down) {
                let (run, reader) = (stand_in(self.sinks[*number].all_on_disk), self.sinks[*number].last.reader());
                self.run_sink(*number, run, reader, &HashMap::new())?;
            }
            let seat = &self.sinks[*number];
            seat.queue.let_all_in();
            seat.leave.cancel();
            let (timeout, replaced, abort) =
                (self.shutdown_timeout, seat.succession.replaced.clone(), seat.abort.clone());
            tokio::spawn(async move {
                tokio::select! {
                    // What it has not delivered by then it gives back, to be counted.
                    () = tokio::time::sleep(timeout) => {
                        replaced.cancel();
                        abort.cancel();
                    }
                    () = abort.cancelled() => {}
                }
            });
        }
        self.retire_later(leaving, &nodes);
        for (number, run) in sources {
            self.start_source(number, run)?;
        }
        self.retire();
        Ok(())
    }

    /// Marks all that is neither kept nor a changed sink, which stays where it is.
    fn mark_leaving(&mut self, comparison: &Comparison) -> Retiring {
        let mut leaving = Retiring {
            sources: Vec::new(),
            transforms: Vec::new(),
            sinks: Vec::new(),
            unsent: Vec::new(),
            is_made: false,
        };
        for (n, seat) in self.sources.iter_mut().enumerate() {
            if seat.life == Life::Runs && !comparison.is_kept(&seat.id) {
                seat.life = Life::Leaves;
                leaving.sources.push(n);
            }
        }
        let in_order = self.order.clone();
        for id in &in_order {
            for (n, seat) in self.transforms.iter_mut().enumerate() {
                if seat.id == *id && seat.life == Life::Runs && !comparison.is_kept(&seat.id) {
                    seat.life = Life::Leaves;
                    leaving.transforms.push(n);
                }
            }
        }
        for (n, seat) in self.sinks.iter_mut().enumerate() {
            let stays = comparison.is_kept(&seat.id) || comparison.is_changed(&seat.id);
            if seat.life == Life::Runs && !stays {
                seat.life = Life::Leaves;
                leaving.sinks.push(n);
            }
        }
        leaving
    }

    /// Lets another sink have the queue of one whose settings have changed.
    fn replace_sink(
        &mut self,
        number: usize,
        part: SinkPart,
        fingerprint: Fingerprint,
        queues: &HashMap<Arc<str>, Arc<Queue>>,
    ) -> std::io::Result<()> {
        let old = self.sinks[number].succession.clone();
        if let Some((_, run)) = &mut self.sinks[number].begins {
            // It has not begun: with these settings, then.
            *run = part.run;
            self.sinks[number].fingerprint = fingerprint;
            self.sinks[number].dead_letter = part.dead_letter;
            return Ok(());
        }
        if std::mem::take(&mut self.sinks[number].is_down) {
            // Nobody has its queue.
            let abort = self.deadline.child_token();
            let seat = &mut self.sinks[number];
            (seat.fingerprint, seat.dead_letter) = (fingerprint, part.dead_letter);
            (seat.abort, seat.succession) = (abort, Succession::default());
            seat.health.begins_anew();
            let reader = seat.last.hand_over();
            return self.run_sink(number, part.run, reader, queues);
        }
        let waits = self.sinks[number].next.is_some();
        let abort = self.sinks[number].abort.clone();
        let seat = &mut self.sinks[number];
        seat.fingerprint = fingerprint;
        seat.dead_letter = part.dead_letter;
        seat.next = Some(part.run);
        if waits {
            // The one before has not begun yet: it never does.
            return Ok(());
        }
        seat.abort = self.deadline.child_token();
        old.replaced.cancel();
        seat.last.hand_over();
        self.cancel_later(abort, self.shutdown_timeout);
        let (tell, id) = (self.tell.clone(), self.sinks[number].id.clone());
        tokio::spawn(async move {
            old.let_go.cancelled().await;
            _ = tell.send(Ended { what: Part::LetGo, number, id, run: 0, result: Ok(()) });
        });
        Ok(())
    }

    /// Starts the successor of a sink, where there is one and it has not begun.
    fn succeed_sink(&mut self, number: usize) {
        let Some(run) = self.sinks[number].next.take() else { return };
        self.sinks[number].succession = Succession::default();
        self.sinks[number].health.begins_anew();
        let reader = self.sinks[number].last.reader();
        let queues = self.sink_queues();
        let id = self.sinks[number].id.clone();
        if let Err(error) = self.run_sink(number, run, reader, &queues) {
            self.failed(&id, &format!("cannot start a thread: {error}"));
        }
    }

    fn sink_has_ended(&mut self, number: usize) {
        self.sinks[number].running -= 1;
        self.settle_ended_sink(number);
        self.begin_sinks();
    }

    fn settle_ended_sink(&mut self, number: usize) {
        let seat = &self.sinks[number];
        if seat.life == Life::Runs || self.shutdown.is_cancelled() {
            return self.succeed_sink(number);
        }
        // It was removed, and its time is over: the rest is dropped, but for what lies on disk.
        seat.queue.close();
        seat.last.close();
        if seat.all_on_disk {
            return;
        }
        let mut dropped = 0;
        for queue in [&seat.queue, &seat.last] {
            while let Some(mut batch) = queue.try_recv() {
                dropped += batch.len() as u64;
                batch.ack.take().settle(Verdict::Rejected);
            }
        }
        seat.counters.update(|t| {
            t.drop_events("removed", dropped);
            t.held = t.held.saturating_sub(dropped);
        });
        if dropped > 0 {
            tracing::warn!(component = %seat.id, events = dropped, "the sink was removed and could not deliver these in time: dropped");
        }
    }

    fn sink_queues(&self) -> HashMap<Arc<str>, Arc<Queue>> {
        let running = self.sinks.iter().filter(|seat| seat.life == Life::Runs);
        running.map(|seat| (seat.id.clone(), seat.queue.clone())).collect()
    }

    /// Cancels when a part that leaves has had its time.
    fn cancel_later(&self, token: CancellationToken, timeout: Duration) {
        tokio::spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(timeout) => token.cancel(),
                () = token.cancelled() => {}
            }
        });
    }

    /// Sends lanes away that nothing reaches any more: behind the last chunk of the sources among them. In order of the changes.
    fn retire(&mut self) {
        let mut later = Vec::new();
        for mut going in std::mem::take(&mut self.retiring) {
            if !going.is_made {
                if going.sources.iter().any(|n| !self.sources[*n].is_dry) {
                    later.push(going);
                    continue;
                }
                let left = Arc::new(AtomicUsize::new(self.workers.len()));
                let retire = || Retire {
                    sources: going.sources.clone(),
                    transforms: going.transforms.clone(),
                    sinks: going.sinks.clone(),
                    left: left.clone(),
                };
                going.unsent = (0..self.workers.len()).map(|n| (n, Box::new(retire()))).collect();
                going.is_made = true;
            }
            let mut unsent = Vec::new();
            for (n, retire) in std::mem::take(&mut going.unsent) {
                match self.workers[n].messages.try_send(Message::Retire(retire)) {
                    Ok(()) | Err(crossbeam_channel::TrySendError::Disconnected(_)) => {}
                    Err(crossbeam_channel::TrySendError::Full(Message::Retire(retire))) => unsent.push((n, retire)),
                    Err(crossbeam_channel::TrySendError::Full(_)) => {}
                }
            }
            going.unsent = unsent;
            if !going.unsent.is_empty() {
                later.push(going);
                continue;
            }
            going.sources.iter().for_each(|n| self.sources[*n].life = Life::Gone);
            going.transforms.iter().for_each(|n| self.transforms[*n].life = Life::Gone);
            going.sinks.iter().for_each(|n| self.sinks[*n].life = Life::Gone);
        }
        self.retiring = later;
    }

    /// Notes what is to go, and behind what. What only a removed source feeds stays until nothing comes from that; all else goes
    /// behind the chunks that are in the channels now: what comes later goes the new ways.
    fn retire_later(&mut self, leaving: Retiring, nodes: &[Node]) {
        let is_removed = |seat: &SourceSeat| !nodes.iter().any(|node| node.id == seat.id);
        let (removed, changed): (Vec<usize>, Vec<usize>) =
            leaving.sources.iter().partition(|n| is_removed(&self.sources[**n]));
        let mut fed = HashSet::new();
        for source in &removed {
            let (targets, rejected) = &self.sources[*source].readers;
            let mut open: Vec<Target> = targets.iter().chain(rejected).copied().collect();
            while let Some(target) = open.pop() {
                if let (true, Target::Transform(n)) = (fed.insert(target), target) {
                    open.extend(self.transforms[n].readers.iter().flat_map(|(_, targets)| targets).copied());
                }
            }
        }
        let (fed_transforms, transforms) =
            leaving.transforms.iter().partition(|n| fed.contains(&Target::Transform(**n)));
        let (fed_sinks, sinks) = leaving.sinks.iter().partition(|n| fed.contains(&Target::Sink(**n)));
        let going =
            |sources, transforms, sinks| Retiring { sources, transforms, sinks, unsent: Vec::new(), is_made: false };
        let mut all = vec![going(Vec::new(), transforms, sinks), going(removed, fed_transforms, fed_sinks)];
        all.extend(changed.into_iter().map(|source| going(vec![source], Vec::new(), Vec::new())));
        all.retain(|g| !(g.sources.is_empty() && g.transforms.is_empty() && g.sinks.is_empty()));
        self.retiring.extend(all);
    }

    /// Takes readers off the list of those that can be judged, whose inputs are others than before.
    fn count_steady(&mut self, before: &[Edge], nodes: &[Node]) {
        let now: HashSet<Edge> = edges(nodes).into_iter().collect();
        let then: HashSet<Edge> = before.iter().cloned().collect();
        let unsteady: HashSet<Arc<str>> = now.symmetric_difference(&then).map(|edge| edge.0.clone()).collect();
        self.steady.retain(|edge| !unsteady.contains(&edge.0));
    }

    /// Where the last frames of a source are kept: they go on under its id.
    fn recent_of(&self, id: &Arc<str>) -> Arc<Recent> {
        let all = self.recent.now();
        if let Some(recent) = all.get(id) {
            return recent.clone();
        }
        let recent = Recent::new(self.recent_bounds.0, self.recent_bounds.1);
        let mut all = (*all).clone();
        all.insert(id.clone(), recent.clone());
        self.recent.set(all);
        recent
    }

    /// Puts ledger and health where others look.
    fn publish(&mut self, nodes: &[Node]) {
        let mut ledger =
            RunLedger { all_edges: edges(nodes), dead_letters: dead_letters(nodes), ..RunLedger::default() };
        let steady: HashSet<&Arc<str>> = self.steady.iter().map(|edge| &edge.0).collect();
        ledger.edges = ledger.all_edges.iter().filter(|edge| steady.contains(&edge.0)).cloned().collect();
        ledger.dead_letters.retain(|(to, _)| steady.contains(to));
        let numbers = self.numbers();
        for node in nodes {
            let n = numbers[&node.id];
            ledger.components.push(match node.kind {
                ComponentKind::Source => self.sources[n].counters.clone(),
                ComponentKind::Transform => self.transforms[n].counters.clone(),
                ComponentKind::Sink => self.sinks[n].counters.clone(),
            });
        }
        // What is no part of the graph any more has its line for as long as the process lives.
        for counters in &self.ledger.now().components {
            if !ledger.components.iter().any(|c| Arc::ptr_eq(c, counters)) {
                ledger.components.push(counters.clone());
            }
        }
        for counters in &ledger.components {
            let is_part = numbers.contains_key(&counters.id);
            let up = if self.supervision.waits(&counters.id) { 0.0 } else { 1.0 };
            counters.update(|t| match is_part {
                true => _ = t.gauges.insert(UP, up),
                false => _ = t.gauges.remove(UP),
            });
        }
        self.ledger.set(ledger);
        let health = |node: &Node| match node.kind {
            ComponentKind::Source => self.sources[numbers[&node.id]].health.clone(),
            ComponentKind::Transform => self.transforms[numbers[&node.id]].health.clone(),
            ComponentKind::Sink => self.sinks[numbers[&node.id]].health.clone(),
        };
        self.parts.set(self.parts_now());
        let mut recent = (*self.recent.now()).clone();
        recent.retain(|id, _| self.sources.iter().any(|seat| seat.id == *id && seat.life == Life::Runs));
        self.recent.set(recent);
        let sinks = self.sinks.iter().filter(|seat| seat.life == Life::Runs);
        self.queues.set(sinks.map(|seat| (seat.id.clone(), seat.last.clone())).collect());
        self.health.set(nodes.iter().map(|node| (node.id.clone(), health(node))).collect());
    }

    // ---- stopping -------------------------------------------------------------------------------------------------

    /// Waits until everything has ended: by itself (all sources came to their end), or because of a shutdown, after
    /// which it drains for the shutdown time-out at most. May be dropped and called again.
    pub async fn wait(&mut self) -> Summary {
        let (shutdown, deadline) = (self.shutdown.clone(), self.deadline.clone());
        while self.open.iter().sum::<usize>() > 0 || self.supervision.some_wait() {
            let forced = self.forced;
            if shutdown.is_cancelled() && self.drained_at.is_none() {
                self.drained_at = Some(tokio::time::Instant::now() + self.shutdown_timeout);
                self.last_tries();
            }
            let due = self.supervision.next_due();
            let is_building = self.supervision.is_building();
            let drained_at = self.drained_at.filter(|_| !forced);
            let retires = self.retiring.iter().any(|going| going.is_made)
                || !self.workers.is_empty() && self.sources.iter().any(|seat| seat.dried_at.is_some());
            tokio::select! {
                ended = self.ended.recv() => match ended {
                    Some(ended) => self.note(ended),
                    None => break,
                },
                () = shutdown.cancelled(), if self.drained_at.is_none() => {}
                () = tokio::time::sleep_until(drained_at.unwrap_or_else(tokio::time::Instant::now)), if drained_at.is_some() => self.force(),
                () = deadline.cancelled(), if !forced => self.force(),
                () = tokio::time::sleep_until(due.unwrap_or_else(tokio::time::Instant::now)), if due.is_some() => {
                    let running = self.counters_by_id();
                    self.supervision.build_due(tokio::time::Instant::now(), running);
                }
                built = self.supervision.built(), if is_building => self.begin_again(built),
                () = tokio::time::sleep(AGAIN), if retires => {
                    self.retire();
                    self.end_workers();
                }
                // A part that does not leave even now is left behind with the process.
                () = tokio::time::sleep(Duration::from_secs(3)), if forced => break,
            }
        }
        let mut summary = std::mem::take(&mut self.summary);
        // All parts may have ended, each on its own, before their being told to was seen here.
        summary.timed_out |= self.deadline.is_cancelled();
        summary.stuck = self.open.iter().sum();
        summary
    }

    fn force(&mut self) {
        self.forced = true;
        self.summary.timed_out = true;
        self.deadline.cancel();
        self.sources.iter().for_each(|seat| seat.room.open());
        for seat in &self.sinks {
            self.supervision.give_up(&seat.id);
            seat.queue.close();
            seat.last.close();
        }
    }

    fn failed(&mut self, id: &str, error: &str) {
        tracing::error!(component = %id, %error, "a component has failed; stopping");
        self.summary.failed.push((id.to_owned(), error.to_owned()));
        self.shutdown.cancel();
    }

    fn note(&mut self, ended: Ended) {
        let Ended { what, number, id, run, result } = ended;
        match what {
            Part::LetGo => return self.succeed_sink(number),
            Part::Output => {
                let seat = &mut self.sources[number];
                seat.is_dry = true;
                let fails_perhaps = self.supervision.is_on() && seat.life == Life::Runs && !seat.has_ended;
                seat.dried_at = fails_perhaps.then(tokio::time::Instant::now);
                self.retire();
                return self.end_workers();
            }
            Part::Source | Part::Worker | Part::Stage | Part::Sink => {}
        }
        self.open[what as usize] -= 1;
        match &result {
            Ok(()) => tracing::debug!(component = %id, part = ?what, "ended"),
            Err(error) => match what {
                Part::Source => self.source_failed(number, &chain(error)),
                Part::Sink => self.sink_failed(number, run, &chain(error)),
                _ => self.failed(&id, &chain(error)),
            },
        }
        match what {
            Part::Source => self.source_has_ended(number),
            Part::Sink => self.sink_has_ended(number),
            Part::Stage => self.stage_has_ended(number),
            Part::Worker | Part::LetGo | Part::Output => {}
        }
    }

    fn source_has_ended(&mut self, number: usize) {
        let seat = &mut self.sources[number];
        (seat.has_ended, seat.is_dry, seat.dried_at) = (true, true, None);
        if !self.supervision.waits(&seat.id) {
            seat.sockets.clear();
        }
        if let Some((next, run)) = seat.next.take() {
            let id = seat.id.clone();
            if self.sources[next].life != Life::Runs || self.shutdown.is_cancelled() {
                // It was changed or removed before it could begin, or there is nothing to begin any more.
                self.source_has_ended(next);
            } else if let Err(error) = self.start_source(next, run) {
                self.failed(&id, &format!("cannot start a thread: {error}"));
            }
        }
        self.retire();
        self.end_workers();
    }

    /// Lets workers end when they have done what is there, where nothing more will come.
    fn end_workers(&mut self) {
        // Not when sources have ended: they wait for verdicts of sinks, some of which wait for their end.
        let waits = |seat: &SourceSeat| seat.life == Life::Runs && self.supervision.waits(&seat.id);
        let has_time = |seat: &SourceSeat| seat.dried_at.is_some_and(|at| at.elapsed() < LAST_WORDS);
        let has_time = |seat: &SourceSeat| !self.shutdown.is_cancelled() && has_time(seat);
        let is_over = |seat: &SourceSeat| seat.is_dry && seat.next.is_none() && !waits(seat) && !has_time(seat);
        if self.sources.iter().all(is_over) && self.retiring.is_empty() {
            self.workers.clear();
        }
    }

    // ---- failures -------------------------------------------------------------------------------------------------

    fn source_failed(&mut self, number: usize, error: &str) {
        let seat = &self.sources[number];
        if seat.life != Life::Runs || seat.next.is_some() {
            tracing::warn!(component = %seat.id, error, "a source has failed that another has replaced, or that was removed");
            return;
        }
        let (counters, health) = (seat.counters.clone(), seat.health.clone());
        self.is_down(&counters, &health, error);
    }

    fn sink_failed(&mut self, number: usize, run: u64, error: &str) {
        let seat = &self.sinks[number];
        if seat.life != Life::Runs || seat.next.is_some() || seat.run != run {
            tracing::warn!(component = %seat.id, error, "a sink has failed that another has replaced, or that was removed");
            return;
        }
        let (counters, health) = (seat.counters.clone(), seat.health.clone());
        let is_down = self.is_down(&counters, &health, error);
        let seat = &mut self.sinks[number];
        seat.is_down = is_down;
        if !is_down {
            return shut(&seat.last);
        }
        // What a disk buffer has is not lost with the sink.
        let lost = if Arc::ptr_eq(&seat.queue, &seat.last) { seat.queue.give_up_taken() } else { 0 };
        if lost > 0 {
            tracing::warn!(
                component = %seat.id, events = lost,
                "the sink had these events when it failed: they come again where their origin can give them again"
            );
        }
    }

    /// A part has failed; whether it is started again.
    fn is_down(&mut self, counters: &Arc<Counters>, health: &Health, error: &str) -> bool {
        let id = counters.id.clone();
        counters.update(|t| _ = t.gauges.insert(UP, 0.0));
        // Without workers the graph is at its end.
        if self.shutdown.is_cancelled() || self.workers.is_empty() && counters.kind == ComponentKind::Source {
            self.supervision.give_up(&id);
            self.failed(&id, error);
            return false;
        }
        match self.supervision.failed(counters, tokio::time::Instant::now()) {
            Fate::After(wait) => {
                health.takes_nothing(&format!("down, started again {}s after it failed: {error}", wait.as_secs()));
                tracing::error!(component = %id, error, again_in_s = wait.as_secs(), "a component has failed and is started again");
                true
            }
            Fate::Enough => {
                if self.supervision.is_on() {
                    tracing::error!(component = %id, "it has failed more often than `restart` allows");
                }
                health.takes_nothing(&format!("down: {error}"));
                self.failed(&id, error);
                false
            }
        }
    }

    /// Starts a part that was built anew.
    fn begin_again(&mut self, built: Built) {
        let Built { id, is_stale, result } = built;
        if is_stale || !self.supervision.waits(&id) {
            return; // built once more, where it is still to be
        }
        let error = match result {
            Ok(beside) => {
                self.supervision.began(&id, tokio::time::Instant::now());
                match self.bring_in(beside) {
                    Ok(()) => {
                        return tracing::info!(component = %id, "the component that had failed has been started again");
                    }
                    Err(error) => return self.failed(&id, &format!("cannot start a thread: {error}")),
                }
            }
            Err(error) => error,
        };
        let source = self.sources.iter().rposition(|seat| seat.id == id && seat.life == Life::Runs);
        let sink = self.sinks.iter().rposition(|seat| seat.id == id && seat.life == Life::Runs);
        match (source, sink) {
            (Some(number), _) => {
                self.source_failed(number, &error);
                self.retire();
                self.end_workers();
            }
            (_, Some(number)) => self.sink_failed(number, self.sinks[number].run, &error),
            _ => self.supervision.give_up(&id),
        }
    }

    /// The agent stops: a source that is down stays so; a sink whose events are in memory is tried once more, at once.
    fn last_tries(&mut self) {
        for seat in &mut self.sources {
            seat.sockets.clear();
            self.supervision.give_up(&seat.id);
        }
        for seat in &mut self.sinks {
            seat.sockets.clear();
            if !seat.is_down {
                continue;
            }
            if seat.all_on_disk {
                self.supervision.give_up(&seat.id);
                shut(&seat.last);
            } else {
                self.supervision.hurry(&seat.id, tokio::time::Instant::now());
            }
        }
        self.retire();
        self.end_workers();
    }
}

/// The gauge of whether a component runs.
const UP: &str = "component_up";

/// A `redact` for those who look at what comes to it.
fn cover_of(number: usize, transform: &dyn Transform) -> Cover {
    let seed = Mutex::new(transform.fork());
    let make = move || -> tap::graph::Redactor {
        let mut instance = seed.locked().fork();
        Box::new(move |batch| apply_alone(&mut *instance, batch))
    };
    Cover { number: number as u64, make: Arc::new(make) }
}

fn running_health() -> Arc<Health> {
    let health = Health::default();
    health.started();
    Arc::new(health)
}

/// In the place of a sink that was removed while it was down: drops what comes, counted, or leaves it on disk.
fn stand_in(on_disk: bool) -> SinkRun {
    SinkRun::Task(Box::new(move |input| {
        Box::pin(async move {
            while let Some(mut batch) = input.recv().await {
                if !on_disk {
                    input.dropped(batch.ack.take(), "removed", batch.len() as u64);
                }
            }
            Ok(())
        })
    }))
}
