#![allow(clippy::unwrap_used)]
use super::*;
use crate::ack::{Ack, Settled};
use crate::event::{EventKind, Origin, Slab, Sym, Value};
use crate::telemetry::ComponentKind;
use proptest::prelude::*;

fn counters() -> Arc<Counters> {
    Counters::new("out", ComponentKind::Sink, "test")
}

/// A batch of one event that pins about `bytes`.
fn batch(n: i64, bytes: usize, ack: Ack) -> Batch {
    let text = Slab::from_vec(vec![b'x'; bytes]);
    let mut batch = Batch::new(text, Origin::of_source("s"), 0, ack);
    batch.push_line(0, bytes, 0);
    batch.event_mut(0).push(Sym::VALUE, Value::I64(n));
    assert_eq!(batch.event(0).kind(), EventKind::Log);
    batch
}

fn number(batch: &Batch) -> i64 {
    batch.event(0).field(Sym::VALUE).unwrap().as_i64().unwrap()
}

fn next(queue: &Queue) -> Option<i64> {
    match queue.recv_timeout(Duration::from_secs(20)) {
        Received::Batch(mut b) => {
            b.ack.take().settle(Verdict::Delivered);
            Some(number(&b))
        }
        Received::Timeout => panic!("nothing came"),
        Received::Closed => None,
    }
}

#[derive(Default)]
struct Verdicts(Mutex<Vec<(u64, Verdict)>>);
impl Settled for Verdicts {
    fn settled(&self, token: u64, verdict: Verdict) {
        self.0.lock().unwrap().push((token, verdict));
    }
}

#[test]
fn a_full_queue_blocks_until_there_is_room_and_loses_nothing() {
    let counters = counters();
    let queue = Queue::new(10_000, FullPolicy::Block, counters.clone());
    let sender = queue.sender();
    let writer = std::thread::spawn(move || (0..100).for_each(|n| sender.send(batch(n, 4_000, Ack::none()))));
    let got: Vec<i64> = std::iter::from_fn(|| next(&queue)).collect();
    writer.join().unwrap();
    assert_eq!(got, (0..100).collect::<Vec<_>>());
    assert_eq!(counters.snapshot().events_in, 100);
}

/// Where a reader has failed, what it took is gone; what is in the queue, and what waits for room there, is not.
#[test]
fn what_a_reader_took_and_did_not_settle_is_counted_when_it_has_failed() {
    let counters = counters();
    let queue = Queue::new(10_000, FullPolicy::Block, counters.clone());
    let sender = queue.sender();
    sender.send(batch(0, 4_000, Ack::none()));
    sender.send(batch(1, 4_000, Ack::none()));
    let taken = queue.try_recv().unwrap();
    let writer = std::thread::spawn(move || (2..4).for_each(|n| sender.send(batch(n, 4_000, Ack::none()))));
    let deadline = Instant::now() + Duration::from_secs(20);
    while queue.lock().waiting == 0 {
        assert!(Instant::now() < deadline, "the third one waits");
        std::thread::yield_now();
    }
    drop(taken);
    assert_eq!((queue.give_up_taken(), queue.give_up_taken()), (1, 0));
    let totals = counters.snapshot();
    assert_eq!((totals.held, totals.dropped["failed"], totals.balance()), (3, 1, 0));
    let got: Vec<i64> = std::iter::from_fn(|| next(&queue)).collect();
    writer.join().unwrap();
    assert_eq!(got, [1, 2, 3]);
}

#[test]
fn dropping_policies_never_block_and_count_and_settle_what_they_drop() {
    for (policy, kept) in [(FullPolicy::DropNewest, vec![0, 1]), (FullPolicy::DropOldest, vec![8, 9])] {
        let counters = counters();
        let verdicts = Arc::new(Verdicts::default());
        let queue = Queue::new(9_000, policy, counters.clone());
        let sender = queue.sender();
        (0..10).for_each(|n| sender.send(batch(n, 4_000, Ack::new(verdicts.clone(), n as u64))));
        drop(sender);
        let got: Vec<i64> = std::iter::from_fn(|| next(&queue)).collect();
        assert_eq!(got, kept, "{policy:?}");
        let totals = counters.snapshot();
        assert_eq!((totals.events_in, totals.dropped["buffer_full"], totals.held), (10, 8, 2));
        assert_eq!(verdicts.0.lock().unwrap().len(), 10);
        assert!(verdicts.0.lock().unwrap().iter().all(|(_, v)| *v != Verdict::Failed));
    }
}

#[test]
fn one_batch_is_let_in_however_large() {
    let queue = Queue::new(100, FullPolicy::Block, counters());
    queue.sender().send(batch(1, 1 << 20, Ack::none()));
    assert_eq!(next(&queue), Some(1));
}

#[test]
fn closing_frees_a_waiting_sender_and_fails_its_batch() {
    let verdicts = Arc::new(Verdicts::default());
    let queue = Queue::new(100, FullPolicy::Block, counters());
    let sender = queue.sender();
    sender.send(batch(1, 1_000, Ack::none()));
    let late = batch(2, 1_000, Ack::new(verdicts.clone(), 2));
    let writer = std::thread::spawn(move || sender.send(late));
    queue.close();
    writer.join().unwrap();
    assert_eq!(*verdicts.0.lock().unwrap(), [(2, Verdict::Failed)]);
}

#[test]
fn a_batch_that_pins_much_more_than_it_uses_waits_as_a_copy() {
    let queue = Queue::new(1 << 20, FullPolicy::Block, counters());
    let mut text = vec![b'{'; 0];
    text.extend_from_slice(b"hello");
    text.resize(300_000, b'x');
    let mut fat = Batch::new(Slab::from_vec(text), Origin::of_source("s"), 0, Ack::none());
    fat.push_line(0, 5, 0);
    fat.push_text_field(Sym::MESSAGE, 0, 5);
    let sender = queue.sender();
    sender.send(fat);
    let Received::Batch(thin) = queue.recv_timeout(Duration::ZERO) else { panic!("nothing there") };
    assert!(thin.pinned_bytes() < 4_096, "{}", thin.pinned_bytes());
    assert!(thin.event(0).field(Sym::MESSAGE).unwrap().as_str().unwrap().is(b"hello"));
}

#[tokio::test]
async fn async_ends_hand_over_in_order() {
    let queue = Queue::new(10_000, FullPolicy::Block, counters());
    let sender = queue.sender();
    let writer = tokio::spawn(async move {
        for n in 0..200 {
            sender.send_async(batch(n, 4_000, Ack::none())).await;
        }
    });
    let mut got = Vec::new();
    while let Some(b) = queue.recv().await {
        got.push(number(&b));
    }
    writer.await.unwrap();
    assert_eq!(got, (0..200).collect::<Vec<_>>());
}

proptest! {
    /// Against a plain list: what is taken out is what was put in less what was dropped, and the gauge is the truth.
    #[test]
    fn random_sends_and_receives_match_a_list(
        policy in prop::sample::select(&[FullPolicy::DropNewest, FullPolicy::DropOldest][..]),
        actions in proptest::collection::vec(prop_oneof![(1usize..6_000).prop_map(Some), Just(None)], 1..60),
    ) {
        let counters = counters();
        let queue = Queue::new(10_000, policy, counters.clone());
        let sender = queue.sender();
        let mut model: VecDeque<(i64, usize)> = VecDeque::new();
        for (n, action) in actions.into_iter().enumerate() {
            match action {
                Some(bytes) => {
                    let b = batch(n as i64, bytes, Ack::none());
                    let bytes = b.pinned_bytes();
                    sender.send(b);
                    let used = |m: &VecDeque<(i64, usize)>| m.iter().map(|x| x.1).sum::<usize>();
                    let fits = |m: &VecDeque<(i64, usize)>| m.is_empty() || used(m) + bytes <= 10_000;
                    if policy == FullPolicy::DropOldest {
                        while !fits(&model) { model.pop_front(); }
                    }
                    if fits(&model) { model.push_back((n as i64, bytes)); }
                }
                None => {
                    let got = queue.try_recv().map(|b| number(&b));
                    prop_assert_eq!(got, model.pop_front().map(|x| x.0));
                }
            }
            prop_assert_eq!(counters.snapshot().gauges.get("buffer_events").copied().unwrap_or(0.0), model.len() as f64);
        }
    }
}

#[test]
fn a_batch_that_is_copied_small_keeps_its_verdict() {
    let verdicts = Arc::new(Verdicts::default());
    let queue = Queue::new(1 << 20, FullPolicy::Block, counters());
    let sender = queue.sender();
    let mut large =
        Batch::new(Slab::from_vec(vec![b'x'; 100_000]), Origin::of_source("s"), 0, Ack::new(verdicts.clone(), 1));
    large.push_line(0, 10, 0);
    large.event_mut(0).push(Sym::VALUE, Value::I64(7));
    sender.send(large);
    let Received::Batch(mut small) = queue.recv_timeout(Duration::from_secs(20)) else { panic!("a batch") };
    assert!(small.pinned_bytes() < 10_000);
    assert_eq!(number(&small), 7);
    small.ack.take().settle(Verdict::Delivered);
    drop(small);
    assert_eq!(*verdicts.0.lock().unwrap(), [(1, Verdict::Delivered)]);
}
