//! The `stdin` source: lines from standard input; its end ends the run.
//!
//! ```yaml
//! sources: {in: {type: stdin, decode: json}}
//! ```
//!
//! `multiline` joins lines as it does for files; `decode: cri` and `decode: docker` join split messages.
//!
//! Guarantee: what was read is delivered before the program ends; a pipe cannot be read again after a crash. Waits
//! while the workers have enough, and so does whoever writes into the pipe.

use crate::ack::Ack;
use crate::component::{BuildContext, BuildError, Chunk, Frames, RunError, SourceContext, SourceRun};
use crate::config::{Size, config};
use crate::event::{Origin, SlabPool};
use crate::framing::lines::Lines;
use crate::framing::{Framer, LongLines, Multiline, MultilineSetting, Spans, framing};
use crate::plan::SourcePlan;
use crate::sources::common::SourceCommon;
use crate::time::clock;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

config! {
    /// Lines from standard input; its end ends the run.
    pub struct StdinConfig {
        /// Longest line, without its end; a longer one is split, counted.
        pub max_line_bytes: Size = Size::mib(1),
        /// Which lines make one event: `java`, `python`, `go`, `indent`, or a rule.
        pub multiline: Option<MultilineSetting>,
        /// What all sources have.
        flatten pub common: SourceCommon,
    }
}

impl SourcePlan for StdinConfig {
    fn common(&self) -> &SourceCommon {
        &self.common
    }

    fn framing(&self) -> Result<Option<Arc<Multiline>>, BuildError> {
        framing(self.multiline.as_ref(), &self.common.decode)
    }

    fn build(self: Box<Self>, cx: &BuildContext) -> Result<SourceRun, BuildError> {
        let origin = Arc::new(Origin { source: cx.id.clone(), host: Some(cx.host.clone()), ..Origin::default() });
        let max_line = self.max_line_bytes.as_usize().max(1);
        let framer = self.framing()?.map(|rule| Framer::new(rule).with_max_line(max_line));
        Ok(SourceRun::Thread(Box::new(move |cx| run(std::io::stdin(), &cx, &origin, max_line, framer))))
    }
}

/// Bytes read at once.
const SLAB: usize = 256 << 10;
/// How often a reader that waits looks whether the agent stops.
const LOOK: Duration = Duration::from_millis(50);

/// Reads `input` to its end. A read that blocks cannot be called back, so it has a thread of its own, which is left
/// behind when the agent stops first.
fn run(
    mut input: impl Read + Send + 'static,
    cx: &SourceContext,
    origin: &Arc<Origin>,
    max_line: usize,
    mut framer: Option<Framer>,
) -> Result<(), RunError> {
    let (to, reads) = crossbeam_channel::bounded::<std::io::Result<Vec<u8>>>(1);
    let pool = SlabPool::new(SLAB, 8);
    let source = pool.clone();
    std::thread::Builder::new()
        .name("stdin".into())
        .spawn(move || {
            loop {
                let mut buf = source.take();
                buf.resize(SLAB, 0);
                match input.read(&mut buf) {
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Ok(n) => {
                        buf.truncate(n);
                        if to.send(Ok(buf)).is_err() || n == 0 {
                            return;
                        }
                    }
                    Err(error) => {
                        // The other side may be gone; then nobody needs to know.
                        let _gone = to.send(Err(error));
                        return;
                    }
                }
            }
        })
        .map_err(|e| RunError(format!("cannot start a thread: {e}")))?;
    let mut rest: Vec<u8> = Vec::new();
    let mut result = Ok(());
    let split = Lines { max_bytes: max_line, long: LongLines::Split };
    let send = |bytes: Vec<u8>, frames: Option<Frames>| {
        let Some(frames) = frames else { return true };
        let chunk = Chunk {
            frames,
            text: pool.freeze(bytes),
            origin: origin.clone(),
            offset: 0,
            received_at: clock::now_ns(),
            ack: Ack::none(),
        };
        cx.output.send(chunk).is_ok()
    };
    while !cx.shutdown.is_cancelled() {
        let now = clock::monotonic_ns();
        if let Some(framer) = framer.as_mut().filter(|framer| framer.is_expired(now)) {
            let mut spans = Spans::new();
            let left = framer.flush(&rest, 0, &mut spans);
            let unfinished = rest.split_off(left);
            let frames = (!spans.is_empty()).then_some(Frames::Spans(spans));
            if !send(std::mem::replace(&mut rest, unfinished), frames) {
                break;
            }
        }
        let buf = match reads.recv_timeout(LOOK) {
            Ok(Ok(buf)) => buf,
            Ok(Err(error)) => {
                result = Err(RunError(format!("standard input cannot be read: {error}")));
                break;
            }
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => continue,
            Err(crossbeam_channel::RecvTimeoutError::Disconnected) => break,
        };
        if buf.is_empty() {
            break;
        }
        // Whole lines go, what is behind the last line end waits for the rest of its line.
        let mut lines = std::mem::take(&mut rest);
        let searched = lines.len();
        lines.extend_from_slice(&buf);
        let (whole, frames, long) = match &mut framer {
            Some(framer) => {
                let mut spans = Spans::new();
                let whole = framer.frame(&lines, 0, now, &mut spans);
                (whole, (!spans.is_empty()).then_some(Frames::Spans(spans)), framer.take_long())
            }
            None => {
                let taken = split.take(&lines, 0, searched, false, 0);
                (taken.end, taken.frames, taken.long)
            }
        };
        if long > 0 {
            cx.counters.update(|t| t.error("long_lines", long));
        }
        rest.extend_from_slice(&lines[whole..]);
        lines.truncate(whole);
        if !send(lines, frames) {
            break;
        }
    }
    let frames = match &mut framer {
        Some(framer) => {
            let mut spans = Spans::new();
            framer.finish(&rest, 0, clock::monotonic_ns(), &mut spans);
            (!spans.is_empty()).then_some(Frames::Spans(spans))
        }
        None => Some(Frames::Lines { start: 0, end: rest.len() }).filter(|_| !rest.is_empty()),
    };
    send(rest, frames);
    // The end of the input is the end of the run: the other sources stop, and what was read is delivered, however long
    // that takes; a signal limits it.
    cx.shutdown.cancel();
    result
}
