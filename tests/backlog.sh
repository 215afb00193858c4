#!/bin/sh
# A backlog of 5 GB in a disk buffer: start to first delivered record, and resident memory. Takes 6 GB of disk under
# TIDEGATE_BACKLOG_DIR (default: the system's folder of temporary files) and some minutes. Short form: the same test
# without the variables, in the suite.
#
#   tests/backlog.sh [BYTES]
set -eu
cd "$(dirname "$0")/.."
cargo build --locked --release
TIDEGATE_BIN="$(pwd)/target/release/tidegate" TIDEGATE_BACKLOG="${1:-5000000000}" \
    cargo test --locked --test it -- --nocapture a_backlog_is_taken_up
