//! The `blackhole` sink: takes everything, keeps nothing. For measuring and for trying out what stands before it.

use crate::buffer::Received;
use crate::component::common::SinkCommon;
use crate::component::plan::SinkPlan;
use crate::component::{BuildContext, Input, SinkRun};
use crate::error::{BuildError, RunError};
use crate::settings::config;
use crate::time::clock;
use std::time::Duration;

config! {
    /// Takes events and forgets them.
    pub struct BlackholeConfig {
        /// How often the rate is logged. Not at all where it is left out.
        pub print_interval: Option<Duration> = None,
        /// What all sinks have.
        flatten pub common: SinkCommon,
    }
}

impl SinkPlan for BlackholeConfig {
    fn common(&self) -> &SinkCommon {
        &self.common
    }

    fn exposes(&self) -> bool {
        false
    }

    fn build(self: Box<Self>, _cx: &BuildContext) -> Result<SinkRun, BuildError> {
        let every = self.print_interval.filter(|d| !d.is_zero());
        Ok(SinkRun::Thread(Box::new(move |input| run(&input, every))))
    }
}

fn run(input: &Input, every: Option<Duration>) -> Result<(), RunError> {
    input.health().working();
    let mut since = clock::monotonic();
    let (mut events, mut bytes) = (0, 0);
    loop {
        let wait = every.map_or(Duration::from_secs(3600), |every| every.saturating_sub(since.elapsed()));
        match input.recv_timeout(wait) {
            Received::Batch(mut batch) => {
                let n = batch.len() as u64;
                events += n;
                bytes += batch.live_bytes() as u64;
                input.delivered(batch.ack.take(), n, 0, batch.received_at);
                batch.recycle();
            }
            Received::Timeout => {}
            Received::Closed => return Ok(()),
        }
        let Some(every) = every else { continue };
        let took = since.elapsed();
        if took >= every {
            let rate = (events as f64 / took.as_secs_f64()).round();
            tracing::info!(component = %input.counters().id, events, bytes, events_per_second = rate, "swallowed");
            (events, bytes, since) = (0, 0, clock::monotonic());
        }
    }
}
