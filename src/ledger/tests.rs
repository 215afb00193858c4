#![allow(clippy::unwrap_used)]
use super::*;
use crate::telemetry::{ComponentKind, Counters};

/// in ─► out ─dead letter─► bin
fn books() -> Books {
    let source = Counters::new("in", ComponentKind::Source, "file");
    let sink = Counters::new("out", ComponentKind::Sink, "openobserve");
    let bin = Counters::new("bin", ComponentKind::Sink, "file");
    Books {
        components: vec![source, sink, bin],
        edges: vec![("out".into(), "in".into(), "".into())],
        dead_letters: vec![("bin".into(), "out".into())],
    }
}

fn read(books: &Books, n: u64) {
    books.components[0].update(|t| {
        t.events_in += n;
        t.events_out += n;
        *t.outputs.entry("".into()).or_default() += n;
    });
}

fn take(books: &Books, n: u64) {
    books.components[1].update(|t| {
        t.events_in += n;
        t.held += n;
    });
}

fn deliver(books: &Books, delivered: u64, refused: u64) {
    books.components[1].update(|t| {
        t.events_out += delivered;
        t.reject_events("refused", refused);
        t.held -= delivered + refused;
    });
    books.components[2].update(|t| {
        t.events_in += refused;
        t.events_out += refused;
    });
}

#[test]
fn runs_add_up_and_what_a_disk_buffer_keeps_is_not_counted_twice() {
    let dir = tempfile::tempdir().unwrap();
    let first = books();
    let keeper = Keeper::open(dir.path(), first.clone()).unwrap();
    read(&first, 100);
    take(&first, 100);
    deliver(&first, 59, 1);
    keeper.end(true).unwrap();
    let second = books();
    let keeper = Keeper::open(dir.path(), second.clone()).unwrap();
    second.components[1].update(|t| {
        t.events_in += 40;
        t.events_resumed += 40;
        t.held += 40;
    });
    read(&second, 10);
    take(&second, 10);
    deliver(&second, 50, 0);
    keeper.end(true).unwrap();
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
    let first = books();
    let keeper = Keeper::open(dir.path(), first.clone()).unwrap();
    read(&first, 100);
    take(&first, 70); // 30 on their way
    deliver(&first, 20, 0);
    keeper.now().write(dir.path()).unwrap();
    take(&first, 30); // nobody will know
    Keeper::open(dir.path(), books()).unwrap();
    let ledger = Ledger::read(dir.path()).unwrap().unwrap();
    assert_eq!(ledger.faults(), Vec::<String>::new());
    assert_eq!((ledger.runs, ledger.killed), (2, 1));
    let account = &ledger.accounts["out"];
    assert_eq!((account.on_its_way, account.unmatched, account.past.left), (30, 0, 50));
}

#[test]
fn what_does_not_add_up_is_named_with_its_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let books = books();
    let keeper = Keeper::open(dir.path(), books.clone()).unwrap();
    read(&books, 100);
    take(&books, 98);
    books.components[1].update(|t| t.held = 90);
    assert_eq!(keeper.now().faults().len(), 1, "on its way is no fault while it runs");
    let faults = keeper.end(true).unwrap().faults();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].contains("`out`: in 98 + created 0 + resumed 0 = 98"), "{faults:?}");
    assert!(faults[0].contains("8 events are not accounted for"), "{faults:?}");
    assert_eq!(faults[1], "`out`: 2 events were put out for it and did not come in");
    // They stay where the next run does better.
    let next = Keeper::open(dir.path(), super::tests::books()).unwrap().now().faults();
    assert_eq!(next.len(), 2, "{next:?}");
}

#[test]
fn a_reader_that_took_more_than_was_put_out_is_a_fault_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let books = books();
    let keeper = Keeper::open(dir.path(), books.clone()).unwrap();
    take(&books, 3);
    assert_eq!(keeper.now().faults(), ["`out`: 3 events came in that nobody has put out for it"]);
}

#[test]
fn a_damaged_ledger_is_set_aside_and_every_flipped_byte_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let keeper = Keeper::open(dir.path(), books()).unwrap();
    keeper.end(true).unwrap();
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
    Keeper::open(dir.path(), books()).unwrap();
    assert_eq!(Ledger::read(dir.path()).unwrap().unwrap().runs, 1);
    assert!(dir.path().join("ledger.damaged").exists());
}

#[test]
fn it_is_written_while_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let books = books();
    let keeper = Keeper::open(dir.path(), books.clone()).unwrap();
    let (stop, stopped) = crossbeam_channel::bounded(0);
    let running = std::thread::spawn(move || keeper.run(&stopped));
    read(&books, 5);
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while Ledger::read(dir.path()).unwrap().unwrap().accounts["in"].run.out != 5 {
        assert!(std::time::Instant::now() < deadline);
        std::thread::park_timeout(Duration::from_millis(10));
    }
    drop(stop);
    running.join().unwrap();
}
