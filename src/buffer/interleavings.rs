//! The real code of the acknowledgement, the memory queue and the disk buffer, run in many orders of its threads.
#![allow(clippy::unwrap_used)]

use crate::ack::{Ack, Settled, Verdict};
use crate::buffer::{FullPolicy, Queue, Room};
use crate::event::{Batch, EventKind, Origin, Slab, Sym, Value};
use crate::telemetry::{ComponentKind, Counters};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner, future, thread};
use std::sync::{Arc, Mutex};

/// Runs `model` in some thousands of orders; `TIDEGATE_ORDERS` says how many of each kind.
fn explore(model: fn()) {
    let orders = std::env::var("TIDEGATE_ORDERS").ok().and_then(|n| n.parse().ok()).unwrap_or(2000);
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    Runner::new(RandomScheduler::new(orders), config.clone()).run(model);
    Runner::new(PctScheduler::new(3, orders), config).run(model);
}

#[derive(Default)]
pub(crate) struct Heard(Mutex<Vec<(u64, Verdict)>>);

impl Settled for Heard {
    fn settled(&self, token: u64, verdict: Verdict) {
        self.0.lock().unwrap().push((token, verdict));
    }
}

impl Heard {
    /// What was heard, by token; once each.
    pub(crate) fn once(&self) -> Vec<(u64, Verdict)> {
        let mut all = self.0.lock().unwrap().clone();
        all.sort();
        assert!(all.windows(2).all(|w| w[0].0 != w[1].0), "heard twice: {all:?}");
        all
    }
}

pub(crate) fn batch(n: u64, ack: Ack) -> Batch {
    let mut batch = Batch::new(Slab::default(), Origin::of_source("s"), 1_000, ack);
    let row = batch.push_event(EventKind::Log);
    batch.event_mut(row).push(Sym::VALUE, Value::I64(n as i64));
    batch
}

pub(crate) fn number(batch: &Batch) -> u64 {
    batch.event(0).field(Sym::VALUE).unwrap().as_i64().unwrap() as u64
}

#[test]
fn interleavings_of_shares_report_the_worst_verdict_once() {
    explore(|| {
        let heard = Arc::new(Heard::default());
        let ack = Ack::new(heard.clone(), 7);
        let threads: Vec<_> = [Verdict::Delivered, Verdict::Rejected, Verdict::Delivered]
            .into_iter()
            .map(|verdict| {
                let mine = ack.clone();
                thread::spawn(move || {
                    let copy = mine.clone();
                    mine.settle(verdict);
                    copy.settle(Verdict::Delivered);
                })
            })
            .collect();
        ack.settle(Verdict::Delivered);
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(heard.once(), [(7, Verdict::Rejected)]);
    });
}

/// Room for one batch: every send waits for a receive, and every receive for a send.
fn narrow() -> (Arc<Queue>, Arc<Counters>) {
    let counters = Counters::new("out", ComponentKind::Sink, "test");
    (Queue::new(1, FullPolicy::Block, counters.clone()), counters)
}

#[test]
fn interleavings_of_a_full_queue_lose_no_wake_up_and_no_batch() {
    explore(|| {
        let (queue, counters) = narrow();
        let heard = Arc::new(Heard::default());
        let senders: Vec<_> = (0..2u64)
            .map(|sender| {
                let (to, heard) = (queue.sender(), heard.clone());
                thread::spawn(move || {
                    for n in 0..3 {
                        let token = sender * 10 + n;
                        to.send(batch(token, Ack::new(heard.clone(), token)));
                    }
                })
            })
            .collect();
        let mut last = [None, None];
        while let Some(mut batch) = future::block_on(queue.recv()) {
            let n = number(&batch);
            let before = last[(n / 10) as usize].replace(n);
            assert!(before < Some(n), "order");
            counters.update(|t| {
                t.events_out += 1;
                t.held -= 1;
            });
            batch.ack.take().settle(Verdict::Delivered);
            if n == 2 {
                // As soon as there are no senders the end is seen.
                thread::yield_now();
            }
        }
        senders.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(heard.once().len(), 6);
        assert_eq!(counters.snapshot().held, 0);
    });
}

#[test]
fn interleavings_of_async_senders_and_a_close_leave_nobody_waiting() {
    explore(|| {
        let (queue, _) = narrow();
        let heard = Arc::new(Heard::default());
        let senders: Vec<_> = (0..2u64)
            .map(|sender| {
                let (to, heard) = (queue.sender(), heard.clone());
                thread::spawn(move || {
                    for n in 0..2 {
                        let token = sender * 10 + n;
                        let batch = batch(token, Ack::new(heard.clone(), token));
                        if sender == 0 {
                            future::block_on(to.send_async(batch));
                        } else {
                            to.send(batch);
                        }
                    }
                })
            })
            .collect();
        let closing = {
            let queue = queue.clone();
            thread::spawn(move || queue.close())
        };
        let mut received = 0;
        while let Some(mut batch) = future::block_on(queue.recv()) {
            received += 1;
            batch.ack.take().settle(Verdict::Delivered);
        }
        closing.join().unwrap();
        senders.into_iter().for_each(|t| t.join().unwrap());
        while let Some(batch) = queue.try_recv() {
            drop(batch);
        }
        drop(queue);
        let heard = heard.once();
        assert_eq!(heard.len(), 4);
        assert_eq!(heard.iter().filter(|(_, v)| *v == Verdict::Delivered).count(), received);
    });
}

#[test]
fn interleavings_of_a_budget_wake_everybody() {
    explore(|| {
        let room = Room::new(10);
        let threads: Vec<_> = [7, 5, 12]
            .into_iter()
            .map(|bytes| {
                let room = room.clone();
                thread::spawn(move || {
                    for _ in 0..2 {
                        room.acquire(bytes);
                        room.release(bytes);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert!(room.try_acquire(10));
    });
}

#[test]
fn interleavings_of_writer_reader_and_sink_settle_each_batch_once() {
    explore(crate::buffer::disk::interleavings::model);
}

#[test]
fn interleavings_of_two_givers_keep_the_order() {
    explore(crate::buffer::disk::interleavings::two_givers);
}

#[test]
fn interleavings_of_a_reader_and_what_is_dropped_under_it_count_each_batch_once() {
    explore(crate::buffer::disk::interleavings::dropping);
}

#[test]
fn interleavings_of_overflow_keep_the_order() {
    explore(crate::buffer::disk::interleavings::overflow);
}
