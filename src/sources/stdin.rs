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
use crate::framing::{Framer, Multiline, MultilineSetting, Spans, framing};
use crate::plan::SourcePlan;
use crate::sources::common::SourceCommon;
use crate::time::clock;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

config! {
    /// Lines from standard input; its end ends the run.
    pub struct StdinConfig {
        /// Longest line; a longer one is split, counted.
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
        let framer = self.framing()?.map(Framer::new);
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
    let send = |bytes: Vec<u8>, spans: Option<Spans>| {
        let frames = match spans {
            Some(spans) if spans.is_empty() => return true,
            Some(spans) => Frames::Spans(spans),
            None if bytes.is_empty() => return true,
            None => Frames::Lines { start: 0, end: bytes.len() },
        };
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
            if !send(std::mem::replace(&mut rest, unfinished), Some(spans)) {
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
        lines.extend_from_slice(&buf);
        let mut spans = None;
        let whole = match (&mut framer, memchr::memrchr(b'\n', &lines)) {
            (Some(framer), _) => {
                let spans = spans.insert(Spans::new());
                let mut whole = framer.frame(&lines, 0, now, spans);
                if lines.len() - whole - framer.judged() >= max_line {
                    cx.counters.update(|t| t.error("long_lines", 1));
                    let mut behind = Spans::new();
                    framer.finish(&lines[whole..], 0, now, &mut behind);
                    spans.extend(behind.iter().map(|(from, to, at)| (from + whole as u32, to + whole as u32, *at)));
                    whole = lines.len();
                }
                whole
            }
            (None, Some(last)) => last + 1,
            (None, None) if lines.len() >= max_line => {
                cx.counters.update(|t| t.error("long_lines", 1));
                lines.len()
            }
            (None, None) => 0,
        };
        rest.extend_from_slice(&lines[whole..]);
        lines.truncate(whole);
        if !send(lines, spans) {
            break;
        }
    }
    let mut spans = None;
    if let Some(framer) = &mut framer {
        framer.finish(&rest, 0, clock::monotonic_ns(), spans.insert(Spans::new()));
    }
    send(rest, spans);
    // The end of the input is the end of the run: the other sources stop, and what was read is delivered, however long
    // that takes; a signal limits it.
    cx.shutdown.cancel();
    result
}
