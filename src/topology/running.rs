//! Starting and stopping, in order: sources stop reading; workers drain; sinks flush; positions are saved; the
//! ledger is printed by the caller.

use super::build::default_share;
use super::worker::{SinkLane, SourceLane, Target, TransformLane, Worker};
use super::{Blueprint, DiskStageContext, SOURCE_ROOM_BYTES};
use crate::buffer::{Queue, QueueSender, Room, StageSender};
use crate::component::{
    DeadLetter, Health, Input, Output, Refuser, RunError, SinkRun, SourceContext, SourceRun, Successors,
};
use crate::place::{Board, Report};
use crate::telemetry::Books;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A part that has ended.
struct Ended {
    what: Part,
    id: Arc<str>,
    result: Result<(), RunError>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Source,
    Worker,
    Stage,
    Sink,
}

/// A started topology.
pub struct Running {
    /// Its books.
    pub books: Books,
    /// Health of each component that has some, by id.
    pub health: Vec<(Arc<str>, Arc<Health>)>,
    shutdown: CancellationToken,
    deadline: CancellationToken,
    successors: Successors,
    queues: Vec<Arc<Queue>>,
    rooms: Vec<Arc<Room>>,
    ended: mpsc::Receiver<Ended>,
    open: [usize; 4],
    shutdown_timeout: Duration,
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

/// Who reads what, and one queue per sink: what is needed to make workers.
struct Wiring {
    source_targets: Vec<(Vec<Target>, Vec<Target>)>,
    outputs: Vec<Vec<(Arc<str>, Vec<Target>)>>,
    queues: Vec<Arc<Queue>>,
    /// Holds every queue open until the workers and dead letters have senders of their own.
    senders: Vec<QueueSender>,
    rooms: Vec<Arc<Room>>,
    books: Books,
}

impl Wiring {
    fn new(blueprint: &Blueprint) -> Wiring {
        let Blueprint { sources, transforms, sinks, memory_limit, .. } = blueprint;
        let mut books = Books::default();
        books.components.extend(sources.iter().map(|s| s.counters.clone()));
        books.components.extend(transforms.iter().map(|t| t.counters.clone()));
        books.components.extend(sinks.iter().map(|s| s.counters.clone()));
        let mut readers: HashMap<(Arc<str>, Arc<str>), Vec<Target>> = HashMap::new();
        let all = transforms.iter().enumerate().map(|(n, t)| (Target::Transform(n), &t.counters.id, &t.inputs));
        let all = all.chain(sinks.iter().enumerate().map(|(n, s)| (Target::Sink(n), &s.counters.id, &s.inputs)));
        for (target, id, inputs) in all {
            for (from, output) in inputs {
                let targets = readers.entry((from.clone(), output.clone())).or_default();
                if !targets.contains(&target) {
                    targets.push(target);
                    books.edges.push((id.clone(), from.clone(), output.clone()));
                }
            }
        }
        for sink in sinks {
            if let Some(to) = &sink.dead_letter {
                books.dead_letters.push((to.clone(), sink.counters.id.clone()));
            }
        }
        let mut readers_of =
            |id: &Arc<str>, output: &str| readers.remove(&(id.clone(), Arc::from(output))).unwrap_or_default();
        let source_targets =
            sources.iter().map(|s| (readers_of(&s.counters.id, ""), readers_of(&s.counters.id, "rejected"))).collect();
        let outputs = transforms
            .iter()
            .map(|t| {
                let id = &t.counters.id;
                std::iter::once((Arc::from(""), readers_of(id, "")))
                    .chain(t.outputs.iter().map(|o| (o.clone(), readers_of(id, o))))
                    .collect()
            })
            .collect();
        let share = default_share(*memory_limit, sinks.len());
        let queues: Vec<Arc<Queue>> = sinks
            .iter()
            .map(|s| {
                let bytes = s.buffer.max_bytes.unwrap_or(share);
                match s.buffer.disk {
                    None => Queue::new(bytes, s.buffer.policy, s.counters.clone()),
                    Some(_) => Queue::before_stage(bytes, s.counters.clone()),
                }
            })
            .collect();
        let senders = queues.iter().map(|q| q.sender()).collect();
        let room = SOURCE_ROOM_BYTES.min(memory_limit / 4 / sources.len().max(1));
        let rooms = sources.iter().map(|_| Room::new(room)).collect();
        Wiring { source_targets, outputs, queues, senders, rooms, books }
    }

    /// The sinks that a source's events reach, by number: also by outputs of transforms, but not by dead letters.
    fn sinks_of(&self, source: usize) -> Vec<usize> {
        let (targets, rejected) = &self.source_targets[source];
        let mut open: Vec<Target> = targets.iter().chain(rejected).copied().collect();
        let mut seen = open.clone();
        while let Some(target) = open.pop() {
            let Target::Transform(n) = target else { continue };
            for target in self.outputs[n].iter().flat_map(|(_, targets)| targets) {
                if !seen.contains(target) {
                    seen.push(*target);
                    open.push(*target);
                }
            }
        }
        seen.into_iter().filter_map(|t| if let Target::Sink(n) = t { Some(n) } else { None }).collect()
    }

    /// One worker with its own instances of everything.
    fn worker(&self, blueprint: &Blueprint) -> Worker {
        let sources = blueprint.sources.iter().zip(&self.source_targets).zip(&self.rooms);
        let sources = sources.map(|((s, (targets, rejected)), room)| SourceLane {
            decoder: s.decoder.fork(),
            when: s.when.clone(),
            attach: s.attach.clone(),
            counters: s.counters.clone(),
            targets: targets.clone(),
            rejected: rejected.clone(),
            room: room.clone(),
        });
        let transforms = blueprint.transforms.iter().zip(&self.outputs).map(|(t, outputs)| TransformLane {
            transform: t.transform.fork(),
            counters: t.counters.clone(),
            outputs: outputs.clone(),
            rejected: outputs.iter().position(|(name, _)| &**name == "rejected"),
        });
        let sinks = blueprint.sinks.iter().zip(&self.senders).map(|(s, sender)| SinkLane {
            sender: sender.clone(),
            when: s.when.clone(),
            takes_stale: s.takes_stale,
            counters: s.counters.clone(),
            several: false,
        });
        Worker::new(sources.collect(), transforms.collect(), sinks.collect())
    }
}

/// One worker over a blueprint whose sources and sinks are not started, and the queues in front of its sinks by id: for
/// benches and tests that drive it themselves.
pub fn single_worker(blueprint: &Blueprint) -> (Worker, Vec<(Arc<str>, Arc<Queue>)>) {
    let wiring = Wiring::new(blueprint);
    let ids = blueprint.sinks.iter().map(|s| s.counters.id.clone());
    (wiring.worker(blueprint), ids.zip(wiring.queues.iter().cloned()).collect())
}

/// Starts everything: sinks first, then workers, then sources. Must be called inside a tokio runtime.
pub fn start(blueprint: Blueprint) -> std::io::Result<Running> {
    let wiring = Wiring::new(&blueprint);
    let count = blueprint.threads.max(1);
    let workers: Vec<Worker> = (0..count).map(|_| wiring.worker(&blueprint)).collect();
    let reached: Vec<Vec<usize>> = (0..blueprint.sources.len()).map(|n| wiring.sinks_of(n)).collect();
    let Wiring { queues, senders, rooms, books, .. } = wiring;
    let Blueprint { sources, sinks, memory_limit, shutdown_timeout, .. } = blueprint;
    let (tell, ended) = mpsc::channel(sources.len() + 2 * sinks.len() + count);
    let mut running = Running {
        books,
        health: Vec::new(),
        shutdown: CancellationToken::new(),
        deadline: CancellationToken::new(),
        successors: Successors::default(),
        queues: queues.clone(),
        rooms: rooms.clone(),
        ended,
        open: [0; 4],
        shutdown_timeout,
    };

    let by_id: HashMap<Arc<str>, usize> = sinks.iter().enumerate().map(|(n, s)| (s.counters.id.clone(), n)).collect();
    let share = default_share(memory_limit, sinks.len());
    let board = Board::new(sinks.len());
    for (n, sink) in sinks.into_iter().enumerate() {
        let id = sink.counters.id.clone();
        let dead_letter = sink.dead_letter.and_then(|id| by_id.get(&id).copied());
        let dead_letter = dead_letter.map(|to| DeadLetter { to: queues[to].sender() });
        let mut queue = queues[n].clone();
        // What overflows only in part lies in memory in part.
        let all_on_disk = sink.buffer.disk.is_some() && sink.buffer.behind_disk.is_none();
        sink.counters.update(|t| t.disk_buffer = all_on_disk);
        let may_leave = all_on_disk.then(|| running.shutdown.clone());
        let health = Arc::new(Health::default());
        running.health.push((id.clone(), health.clone()));
        let mut report = board.report(n);
        if sink.buffer.disk.is_some() && !all_on_disk || sink.buffer.disk.is_none() && !sink.keeps_places {
            report.tell_nothing();
        }
        if let Some(stage) = sink.buffer.disk {
            let bytes = sink.buffer.behind_disk.unwrap_or((share / 2).min(STAGE_QUEUE_BYTES));
            let second = Queue::for_stage(bytes, sink.counters.clone());
            running.queues.push(second.clone());
            let context = DiskStageContext {
                from: queue,
                to: StageSender::new(second.sender()),
                refuser: Refuser { counters: sink.counters.clone(), dead_letter: dead_letter.clone() },
                counters: sink.counters.clone(),
                abort: running.deadline.clone(),
                shutdown: running.shutdown.clone(),
                health: health.clone(),
                report: std::mem::take(&mut report),
            };
            queue = second;
            running.open[Part::Stage as usize] += 1;
            spawn(&tell, Part::Stage, id.clone(), move || stage(context))?;
        }
        let abort = running.deadline.clone();
        let successors = running.successors.clone();
        let input = Input {
            queue: queue.clone(),
            counters: sink.counters,
            dead_letter,
            abort,
            may_leave,
            successors,
            health,
            report: report.clone(),
        };
        running.open[Part::Sink as usize] += 1;
        match sink.run {
            SinkRun::Thread(run) => spawn(&tell, Part::Sink, id, move || {
                let _closes = CloseOnDrop(queue, report);
                run(input)
            })?,
            SinkRun::Task(run) => spawn_task(&tell, Part::Sink, id, async move {
                let _closes = CloseOnDrop(queue, report);
                run(input).await
            }),
        }
    }

    let mut channels = Vec::new();
    let left = Arc::new(AtomicUsize::new(count));
    for (n, worker) in workers.into_iter().enumerate() {
        // Bytes are bounded by the sources' rooms; the channel's own bound only has to be out of the way.
        let (to, chunks) = crossbeam_channel::bounded(4096);
        channels.push(to);
        let left = left.clone();
        running.open[Part::Worker as usize] += 1;
        spawn(&tell, Part::Worker, format!("worker-{n}").into(), move || {
            worker.run(chunks, || left.fetch_sub(1, Ordering::AcqRel) == 1);
            Ok(())
        })?;
    }
    drop(senders);

    // A source whose end is the end of the run stops the others by it; draining is not limited by that.
    let sources_stop = running.shutdown.child_token();
    for (n, source) in sources.into_iter().enumerate() {
        let id = source.counters.id.clone();
        let context = SourceContext {
            output: Output {
                workers: channels.clone(),
                source: n,
                room: rooms[n].clone(),
                counters: source.counters.clone(),
            },
            shutdown: sources_stop.clone(),
            deadline: running.deadline.clone(),
            counters: source.counters,
            holdings: board.holdings(reached[n].clone()),
        };
        running.open[Part::Source as usize] += 1;
        match source.run {
            SourceRun::Thread(run) => spawn(&tell, Part::Source, id, move || run(context))?,
            SourceRun::Task(run) => spawn_task(&tell, Part::Source, id, run(context)),
        }
    }
    Ok(running)
}

/// A sink that has ended, by a panic too, lets nobody wait for it: what it did not take has failed.
struct CloseOnDrop(Arc<Queue>, Report);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.1.tell_nothing();
        self.0.close();
        while let Some(batch) = self.0.try_recv() {
            drop(batch);
        }
    }
}

/// Bytes of the queue between a disk buffer and its sink.
const STAGE_QUEUE_BYTES: usize = 1 << 20;

fn spawn(
    tell: &mpsc::Sender<Ended>,
    what: Part,
    id: Arc<str>,
    run: impl FnOnce() -> Result<(), RunError> + Send + 'static,
) -> std::io::Result<()> {
    let tell = tell.clone();
    // Linux keeps 15 bytes of a thread's name.
    let name: String = id.chars().take(15).collect();
    std::thread::Builder::new().name(name).spawn(move || {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
            .unwrap_or_else(|_| Err(RunError("it panicked; this is a bug".into())));
        // The channel has room for every part's end.
        let _gone = tell.try_send(Ended { what, id, result });
    })?;
    Ok(())
}

fn spawn_task(
    tell: &mpsc::Sender<Ended>,
    what: Part,
    id: Arc<str>,
    run: impl Future<Output = Result<(), RunError>> + Send + 'static,
) {
    let tell = tell.clone();
    let task = tokio::spawn(run);
    tokio::spawn(async move {
        let result = task.await.unwrap_or_else(|_| Err(RunError("it panicked; this is a bug".into())));
        let _gone = tell.try_send(Ended { what, id, result });
    });
}

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

    /// Waits until everything has ended: by itself (all sources came to their end), or because of a shutdown, after
    /// which it drains for the shutdown time-out at most.
    pub async fn wait(&mut self) -> Summary {
        let mut summary = Summary::default();
        let shutdown = self.shutdown.clone();
        let timeout = self.shutdown_timeout;
        let drain_time_is_over = async move {
            shutdown.cancelled().await;
            tokio::time::sleep(timeout).await;
        };
        let deadline = self.deadline.clone();
        tokio::pin!(drain_time_is_over);
        let mut forced = false;
        while self.open.iter().sum::<usize>() > 0 {
            tokio::select! {
                ended = self.ended.recv() => match ended {
                    Some(ended) => self.note(ended, &mut summary),
                    None => break,
                },
                () = &mut drain_time_is_over, if !forced => {
                    forced = true;
                    self.force(&mut summary);
                }
                () = deadline.cancelled(), if !forced => {
                    forced = true;
                    self.force(&mut summary);
                }
                // A part that does not leave even now is left behind with the process.
                () = tokio::time::sleep(Duration::from_secs(3)), if forced => break,
            }
        }
        // All parts may have ended, each on its own, before their being told to was seen here.
        summary.timed_out |= self.deadline.is_cancelled();
        summary.stuck = self.open.iter().sum();
        summary
    }

    fn force(&mut self, summary: &mut Summary) {
        summary.timed_out = true;
        self.deadline.cancel();
        for room in &self.rooms {
            room.open();
        }
        for queue in &self.queues {
            queue.close();
        }
    }

    fn note(&mut self, ended: Ended, summary: &mut Summary) {
        self.open[ended.what as usize] -= 1;
        match &ended.result {
            Ok(()) => tracing::debug!(component = %ended.id, part = ?ended.what, "ended"),
            Err(error) => {
                tracing::error!(component = %ended.id, %error, "a component has failed; stopping");
                summary.failed.push((ended.id.to_string(), error.to_string()));
                self.shutdown.cancel();
            }
        }
    }
}
