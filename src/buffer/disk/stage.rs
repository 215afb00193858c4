//! The threads of a disk buffer.

use super::notes::Notes;
use super::pace::Pace;
use super::reader::{LOOK, Reader};
use super::recover::{self, Cut, LOCK, OpenError, Recovered};
use super::state::{SharedState, fixed};
use super::writer::{Rest, With, Writer};
use super::{DiskOptions, FaultThrottle, MIN_BYTES};
use crate::buffer::{DiskStage, DiskStageContext};
use crate::buffer::{Received, StageSender};
use crate::error::RunError;
use crate::event::Batch;
use crate::storage::{Disk, Storage};
use crate::telemetry::{Counters, Health};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How long the writer waits for batches before it looks after its position.
const IDLE: Duration = Duration::from_millis(100);
/// How long it waits for the reader to take what has just come.
const SOON: Duration = Duration::from_millis(1);

/// A disk buffer, to stand between a sink's queue and the sink.
pub fn stage(options: DiskOptions) -> DiskStage {
    Box::new(move |context| run(&options, Arc::new(Disk), context))
}

/// A folder that is open and recovered; nothing reads or writes it yet.
struct Folder {
    rest: Rest,
    reader: Reader,
    shared: Arc<SharedState>,
}

/// A buffer that is open.
pub(super) struct Opened {
    pub(super) writer: Writer,
    pub(super) reader: Reader,
    #[cfg(test)]
    pub(super) shared: Arc<SharedState>,
}

/// As [`open_folder`], with a writer that is given nothing but a time to drain.
pub(super) fn open(
    options: &DiskOptions,
    storage: Arc<dyn Storage>,
    counters: Arc<Counters>,
    abort: CancellationToken,
) -> Result<Opened, OpenError> {
    let Folder { rest, reader, shared } = open_folder(options, storage.clone(), counters)?;
    let writer = Writer::new(options, storage, shared.clone(), rest, With { abort, ..With::default() });
    Ok(Opened {
        writer,
        reader,
        #[cfg(test)]
        shared,
    })
}

/// Opens the folder, locks it, recovers what is in it.
fn open_folder(options: &DiskOptions, storage: Arc<dyn Storage>, counters: Arc<Counters>) -> Result<Folder, OpenError> {
    let folder = &options.folder;
    let error = |what| move |e| OpenError::Io(what, folder.clone(), e);
    storage.create_dir(folder).map_err(error("make the folder"))?;
    let lock = storage.lock(&folder.join(LOCK)).map_err(|e| match e.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked(folder.clone()),
        _ => OpenError::Io("lock", folder.clone(), e),
    })?;
    let device = storage.identity(folder).map_err(error("look at"))?.device;
    let lock_id = storage.identity(&folder.join(LOCK)).ok();
    let Recovered { mut state, next_epoch, slot, mark, follows, saved, cut, lost } = recover::open(&*storage, folder)?;
    let rest = Rest { next_epoch, slot, mark, follows, saved, lock, lock_id, device };
    let max_bytes = options.max_bytes.max(MIN_BYTES);
    let held = state.held;
    // What lies here from before comes in now: each run's ledger stand alone.
    counters.given(held, 0, crate::time::clock::now_ns());
    counters.update(|t| t.events_resumed += held);
    if held > 0 {
        tracing::info!(component = &*counters.id, events = held, "the disk buffer has events from before");
    }
    state.fixed = fixed(max_bytes);
    let mut notes = Notes::new(storage.clone(), folder, max_bytes, next_epoch);
    notes.renew(&state.snapshot());
    let shared = SharedState::new(state, counters, max_bytes, options.overflow_of, notes);
    let reader = Reader::new(shared.clone(), storage.clone(), folder.clone(), options.max_age, options.max_in_flight());
    if let Some(Cut { piece, certain }) = &cut {
        let (component, folder, bytes) = (&*shared.counters.id, folder.display(), piece.len);
        if *certain {
            tracing::info!(component, %folder, bytes, "cut what a crash has left unfinished; nothing of it was acknowledged");
        } else {
            tracing::warn!(
                component, %folder, bytes,
                "an unfinished record at the end of the disk buffer is set aside and not delivered; nothing shows that it was \
                 acknowledged, which after a loss of power cannot be known for the last moment before it"
            );
            reader.cut(piece);
        }
    }
    if let Some(lost) = &lost {
        reader.lose_end(lost);
    }
    Ok(Folder { rest, reader, shared })
}

/// Lets a batch go past a disk buffer that is empty, where there is room behind it; else gives it back.
pub(super) fn pass(past: Option<&StageSender>, shared: &SharedState, batch: Batch) -> Option<Batch> {
    match past {
        // Only this thread puts anything into the buffer: it stays empty until the batch is in the queue.
        Some(to) if shared.lock().is_empty() => to.try_send(batch),
        _ => Some(batch),
    }
}

/// Opens the folder; waits for what may pass, for as long as there is time to drain: nothing was taken yet, and whoever sends
/// waits.
fn open_patiently(
    options: &DiskOptions,
    storage: &Arc<dyn Storage>,
    counters: &Arc<Counters>,
    abort: &CancellationToken,
    health: &Health,
) -> Result<Folder, RunError> {
    let mut faults = FaultThrottle::default();
    loop {
        match open_folder(options, storage.clone(), counters.clone()) {
            Ok(folder) => return Ok(folder),
            // Nothing was taken yet: whoever sends waits.
            Err(error) if error.may_pass() && !abort.is_cancelled() => {
                faults
                    .say(|| tracing::error!(component = &*counters.id, %error, "cannot open the disk buffer; waiting"));
                counters.update(|t| t.error("disk", 1));
                health.disk_failing(&format!("cannot open the disk buffer: {error}"));
                std::thread::sleep(IDLE);
            }
            Err(error) => return Err(RunError::failed(error)),
        }
    }
}

/// Says what stays for the next start.
fn tell_kept(options: &DiskOptions, shared: &SharedState, counters: &Counters) {
    let (held, failed) = {
        let state = shared.lock();
        shared.publish(&state);
        (state.held, state.failed.len())
    };
    if held > 0 {
        let folder = options.folder.display();
        tracing::info!(component = &*counters.id, events = held, failed, %folder, "the disk buffer keeps events for the next start");
    }
}

fn run(options: &DiskOptions, storage: Arc<dyn Storage>, context: DiskStageContext) -> Result<(), RunError> {
    let DiskStageContext { from, to, refuser, counters, abort, shutdown, health, report } = context;
    let Folder { rest, reader, shared } = open_patiently(options, &storage, &counters, &abort, &health)?;
    let told = shared.lock().told();
    report.tell(told);
    health.disk_working();
    let with = With {
        abort: abort.clone(),
        refuser: Some(refuser),
        pace: Some(Pace::default()),
        sink: Some(to.clone()),
        health: Some(health),
    };
    let mut writer = Writer::new(options, storage, shared.clone(), rest, with);
    let past = options.overflow_of.map(|_| to.clone());
    let reading = {
        let (shutdown, abort) = (shutdown.clone(), abort.clone());
        let name: String = format!("{}-r", counters.id).chars().take(15).collect();
        std::thread::Builder::new().name(name).spawn(move || reader.run(&to, &shutdown, &abort))
    };
    let reading = reading.map_err(RunError::Thread)?;
    loop {
        let due = writer.due();
        let wait = match due {
            Some(due) if writer.sink_is_behind() => due.min(SOON),
            due => due.unwrap_or(IDLE),
        };
        match from.recv_timeout(wait) {
            Received::Batch(batch) => {
                if let Some(batch) = pass(past.as_ref(), &shared, batch) {
                    writer.accept(batch);
                }
            }
            Received::Timeout if writer.sink_stands() => writer.commit(),
            Received::Timeout => {}
            Received::Closed => break,
        }
        if writer.due().is_some_and(|due| due.is_zero()) {
            writer.commit_due(Instant::now());
        }
        writer.housekeeping();
        if let Some(to) = &past {
            shared.memory_bytes.store(to.bytes(), Ordering::Relaxed);
            shared.publish(&shared.lock());
        }
    }
    drop(past);
    shared.memory_bytes.store(0, Ordering::Relaxed);
    writer.close();
    let panicked = loop {
        if reading.is_finished() {
            break reading.join().is_err();
        }
        writer.wait_for_verdicts(LOOK);
        writer.housekeeping();
    };
    // The sink ends now that its queue has no sender; what it still delivers need not be delivered again.
    while !abort.is_cancelled() && !shared.lock().in_flight.is_empty() {
        writer.wait_for_verdicts(LOOK);
        writer.housekeeping();
    }
    writer.look_after_folder();
    let saved = writer.reclaim().and_then(|()| writer.save_position());
    tell_kept(options, &shared, &counters);
    match (panicked, saved) {
        (true, _) => Err(RunError::panicked("the reader of the disk buffer")),
        (false, Err(error)) => {
            tracing::warn!(component = &*counters.id, %error, "the disk buffer's position is not saved: some events will be repeated");
            Ok(())
        }
        (false, Ok(())) => Ok(()),
    }
}
