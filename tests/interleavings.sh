#!/bin/sh
# The real code of acknowledgement, queues and disk buffer in many orders of its threads: lost wake-ups show as deadlocks,
# verdicts that are heard twice or never as failures. TIDEGATE_ORDERS=100000 runs it long; the schedule of a failure is
# printed.
set -eu
cd "$(dirname "$0")/.."
cargo test --locked --features interleavings --lib -- interleavings
