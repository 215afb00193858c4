#![allow(clippy::unwrap_used)]
use super::*;
use crate::telemetry::{ComponentKind, Counters, OpenedBuffer};

/// in ─► out ─dead letter─► bin
fn run_ledger() -> RunLedger {
    let source = Counters::new("in", ComponentKind::Source, "file");
    let sink = Counters::new("out", ComponentKind::Sink, "openobserve");
    let bin = Counters::new("bin", ComponentKind::Sink, "file");
    RunLedger {
        all_edges: Vec::new(),
        components: vec![source, sink, bin],
        edges: vec![("out".into(), "in".into(), "".into())],
        dead_letters: vec![("bin".into(), "out".into())],
    }
}

fn read(run_ledger: &RunLedger, n: u64) {
    run_ledger.components[0].update(|t| {
        t.events_in += n;
        t.events_out += n;
        *t.outputs.entry("".into()).or_default() += n;
    });
}

fn take(run_ledger: &RunLedger, n: u64) {
    run_ledger.components[1].update(|t| {
        t.events_in += n;
        t.held += n;
    });
}

fn deliver(run_ledger: &RunLedger, delivered: u64, refused: u64) {
    run_ledger.components[1].update(|t| {
        t.events_out += delivered;
        t.reject_events("refused", refused);
        t.held -= delivered + refused;
    });
    run_ledger.components[2].update(|t| {
        t.events_in += refused;
        t.events_out += refused;
    });
}

#[test]
fn runs_add_up_and_what_a_disk_buffer_keeps_is_not_counted_twice() {
    let dir = tempfile::tempdir().unwrap();
    let first = run_ledger();
    let keeper = Keeper::open(dir.path(), first.clone(), None).unwrap();
    read(&first, 100);
    take(&first, 100);
    deliver(&first, 59, 1);
    keeper.end(RunEnd::AtRest).unwrap();
    let second = run_ledger();
    let keeper = Keeper::open(dir.path(), second.clone(), None).unwrap();
    second.components[1].update(|t| {
        t.events_in += 40;
        t.events_resumed += 40;
        t.held += 40;
    });
    read(&second, 10);
    take(&second, 10);
    deliver(&second, 50, 0);
    keeper.end(RunEnd::AtRest).unwrap();
    let ledger = Ledger::read(dir.path()).unwrap().unwrap();
    assert_eq!(ledger.faults(), Vec::<String>::new());
    assert_eq!((ledger.runs, ledger.killed), (2, 0));
    let out = ledger.accounts["out"].total();
    assert_eq!((out.r#in, out.resumed, out.out, out.rejected["refused"], out.held, out.left), (110, 40, 109, 1, 0, 40));
    assert_eq!(ledger.accounts["in"].total().out, 110);
}

#[test]
fn a_killed_run_ends_at_its_last_snapshot_and_balances() {
    let dir = tempfile::tempdir().unwrap();
    let first = run_ledger();
    let keeper = Keeper::open(dir.path(), first.clone(), None).unwrap();
    read(&first, 100);
    take(&first, 70); // 30 on their way
    deliver(&first, 20, 0);
    keeper.now().write(dir.path()).unwrap();
    take(&first, 30); // nobody will know
    Keeper::open(dir.path(), run_ledger(), None).unwrap();
    let ledger = Ledger::read(dir.path()).unwrap().unwrap();
    assert_eq!(ledger.faults(), Vec::<String>::new());
    assert_eq!((ledger.runs, ledger.killed), (2, 1));
    let account = &ledger.accounts["out"];
    assert_eq!((account.on_its_way, account.unmatched, account.past.left), (30, 0, 50));
}

#[test]
fn what_does_not_add_up_is_named_with_its_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let run_ledger = run_ledger();
    let keeper = Keeper::open(dir.path(), run_ledger.clone(), None).unwrap();
    read(&run_ledger, 100);
    take(&run_ledger, 98);
    run_ledger.components[1].update(|t| t.held = 90);
    assert_eq!(keeper.now().faults().len(), 1, "on its way is no fault while it runs");
    let faults = keeper.end(RunEnd::AtRest).unwrap().faults();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].contains("`out`: in 98 + created 0 + resumed 0 = 98"), "{faults:?}");
    assert!(faults[0].contains("8 events are not accounted for"), "{faults:?}");
    assert_eq!(faults[1], "`out`: 2 events were put out for it and did not come in");
    // They stay where the next run does better.
    let next = Keeper::open(dir.path(), super::tests::run_ledger(), None).unwrap().now().faults();
    assert_eq!(next.len(), 2, "{next:?}");
}

#[test]
fn a_reader_that_took_more_than_was_put_out_is_a_fault_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let run_ledger = run_ledger();
    let keeper = Keeper::open(dir.path(), run_ledger.clone(), None).unwrap();
    take(&run_ledger, 3);
    assert_eq!(keeper.now().faults(), ["`out`: 3 events came in that nobody has put out for it"]);
}

#[test]
fn a_damaged_ledger_is_set_aside_and_every_flipped_byte_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let keeper = Keeper::open(dir.path(), run_ledger(), None).unwrap();
    keeper.end(RunEnd::AtRest).unwrap();
    let path = Ledger::path(dir.path());
    let good = std::fs::read(&path).unwrap();
    for n in 0..good.len() {
        let mut bad = good.clone();
        bad[n] ^= 0x10;
        assert!(Ledger::parse(&bad).is_err(), "byte {n}");
        assert!(Ledger::parse(&good[..n]).is_err(), "length {n}");
    }
    std::fs::write(&path, &good[..good.len() / 2]).unwrap();
    assert!(matches!(Ledger::read(dir.path()), Err(LedgerError::Damaged(..))));
    Keeper::open(dir.path(), run_ledger(), None).unwrap();
    assert_eq!(Ledger::read(dir.path()).unwrap().unwrap().runs, 1);
    assert!(dir.path().join("ledger.damaged").exists());
}

#[test]
fn it_is_written_while_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let run_ledger = run_ledger();
    let keeper = Keeper::open(dir.path(), run_ledger.clone(), None).unwrap();
    let (stop, stopped) = crossbeam_channel::bounded(0);
    let running = std::thread::spawn(move || keeper.run(&stopped));
    read(&run_ledger, 5);
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while Ledger::read(dir.path()).unwrap().unwrap().accounts["in"].run.out != 5 {
        assert!(std::time::Instant::now() < deadline);
        std::thread::park_timeout(Duration::from_millis(10));
    }
    drop(stop);
    running.join().unwrap();
}

/// What a disk buffer finds at its start.
fn opened(run_ledger: &RunLedger, found: u64, held: u64) {
    run_ledger.components[1].update(|t| {
        t.events_in += held;
        t.events_resumed += held;
        t.held += held;
        let opened = OpenedBuffer { written: found, first: (found == 0).then_some(0) };
        t.buffer = Some(BufferTotals { written: found, held, settled: found - held, opened });
    });
}

fn corrupt(dir: &Path) -> u64 {
    let ledger = Ledger::read(dir).unwrap().unwrap();
    assert_eq!(ledger.faults(), Vec::<String>::new());
    let out = ledger.accounts["out"].total();
    assert_eq!(ledger.lost().first().map_or(0, |lost| lost.1), out.dropped.get("corrupt").copied().unwrap_or(0));
    out.dropped.get("corrupt").copied().unwrap_or(0)
}

#[test]
fn a_disk_buffer_that_has_less_than_the_ledger_knows_of_has_lost_it() {
    // Found at the next start, held then, and what is counted as lost: all is there; the folder is gone; the end is gone.
    for (found, held, lost) in [(100, 60, 0), (140, 90, 0), (0, 0, 60), (80, 40, 20)] {
        let dir = tempfile::tempdir().unwrap();
        let first = run_ledger();
        let keeper = Keeper::open(dir.path(), first.clone(), None).unwrap();
        opened(&first, 0, 0);
        read(&first, 100);
        take(&first, 100);
        deliver(&first, 40, 0);
        first.components[1]
            .update(|t| t.buffer = Some(BufferTotals { written: 100, held: 60, ..BufferTotals::default() }));
        keeper.now().write(dir.path()).unwrap();
        drop(keeper); // killed
        for _ in 0..2 {
            // Killed before it has opened the buffer: the next one compares.
            Keeper::open(dir.path(), run_ledger(), None).unwrap().now().write(dir.path()).unwrap();
        }
        let second = run_ledger();
        let keeper = Keeper::open(dir.path(), second.clone(), None).unwrap();
        assert_eq!(corrupt(dir.path()), 0);
        opened(&second, found, held);
        // More comes before the ledger has looked.
        second.components[1].update(|t| t.buffer.as_mut().unwrap().written += 1000);
        let totals = keeper.now().accounts["out"].run.clone();
        assert_eq!((totals.dropped.get("corrupt").copied().unwrap_or(0), totals.resumed), (lost, held + lost));
        keeper.end(RunEnd::AtRest).unwrap();
        assert_eq!(corrupt(dir.path()), lost, "{found} {held}");
        assert_eq!(second.components[1].snapshot().balance(), 0);
        // Once only.
        let third = run_ledger();
        let keeper = Keeper::open(dir.path(), third.clone(), None).unwrap();
        opened(&third, found + 1000, held);
        keeper.end(RunEnd::AtRest).unwrap();
        assert_eq!(corrupt(dir.path()), lost, "{found} {held}");
    }
}

#[test]
fn a_buffer_that_has_lost_its_position_is_compared_with_what_it_held() {
    let before = BufferTotals { written: 100, held: 60, settled: 35, ..BufferTotals::default() };
    let missing = |written, first| before.missing(OpenedBuffer { written, first });
    // All is there; what was settled comes again; 10 more were written; the first are gone; the last are; all are.
    let seen = [(100, 35), (100, 0), (110, 35), (100, 60), (80, 0), (0, 0)].map(|(n, first)| missing(n, Some(first)));
    assert_eq!(seen, [0, 0, 0, 25, 20, 60]);
    assert_eq!(missing(100, None), 0, "it knows itself what is missing");
}

#[test]
fn what_commands_have_given_up_is_in_the_ledger_once_and_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let first = run_ledger();
    let keeper = Keeper::open(dir.path(), first.clone(), None).unwrap();
    read(&first, 100);
    take(&first, 100);
    first.components[1]
        .update(|t| t.buffer = Some(BufferTotals { written: 100, held: 100, ..BufferTotals::default() }));
    keeper.end(RunEnd::AtRest).unwrap();
    let note = |component: &str, reason: &str, events, left| {
        let buffer = (left > 0).then_some(BufferTotals { written: 100, held: left, ..BufferTotals::default() });
        let note = Note { at: 1, component: component.into(), reason: reason.into(), events, buffer };
        note.append(dir.path()).unwrap();
    };
    note("out", "corrupt", 30, 70);
    assert_eq!(corrupt(dir.path()), 30);
    // One is torn; one is of a sink that the configuration does not have.
    let path = dir.path().join("ledger.notes");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&whole[..], &whole[..whole.len() - 7]].concat()).unwrap();
    note("gone", "removed", 5, 0);
    let second = run_ledger();
    let keeper = Keeper::open(dir.path(), second.clone(), None).unwrap();
    // The folder is removed by hand then: of what the ledger knew 70 were left.
    opened(&second, 0, 0);
    keeper.end(RunEnd::AtRest).unwrap();
    assert_eq!(corrupt(dir.path()), 100);
    let ledger = Ledger::read(dir.path()).unwrap().unwrap();
    assert_eq!(ledger.accounts["gone"].total().dropped["removed"], 5);
    assert_eq!(ledger.accounts["out"].total().resumed, 100);
    note("out", "removed", 0, 0);
    let keeper = Keeper::open(dir.path(), run_ledger(), None).unwrap();
    keeper.end(RunEnd::AtRest).unwrap();
    assert_eq!(corrupt(dir.path()), 100);
    // A ledger that is begun anew begins after what was noted.
    std::fs::remove_file(Ledger::path(dir.path())).unwrap();
    Keeper::open(dir.path(), run_ledger(), None).unwrap().end(RunEnd::AtRest).unwrap();
    assert_eq!(corrupt(dir.path()), 0);
}

#[test]
fn a_ledger_whose_folder_was_deleted_is_there_again() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");
    let lock = Arc::new(crate::storage::data_dir::lock_data_dir(&dir).unwrap());
    let run_ledger = run_ledger();
    let keeper = Keeper::open(&dir, run_ledger.clone(), Some(lock)).unwrap();
    let (stop, stopped) = crossbeam_channel::bounded(0);
    let running = std::thread::spawn(move || keeper.run(&stopped));
    read(&run_ledger, 5);
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    let wait = |done: &dyn Fn() -> bool| {
        while !done() {
            assert!(std::time::Instant::now() < deadline);
            std::thread::park_timeout(Duration::from_millis(10));
        }
    };
    let is_there = || Ledger::read(&dir).unwrap().is_some_and(|l| l.accounts["in"].run.out == 5);
    wait(&is_there);
    // The keeper may write into it at that moment.
    wait(&|| std::fs::remove_dir_all(&dir).is_ok());
    wait(&is_there);
    wait(&|| dir.join("lock").exists());
    assert!(crate::storage::data_dir::lock_data_dir(&dir).is_err(), "it is this agent's still");
    drop(stop);
    running.join().unwrap();
}
