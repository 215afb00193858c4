#!/usr/bin/env bash
# A million rows copied out of a double of OpenObserve: how long it takes and how much memory; 64 MiB at most. The double is the
# slower part of it in a debug build. TIDEGATE_PROGRAM names another program than that of the tests.
set -euo pipefail
cd "$(dirname "$0")/../.."
BACKUP_ROWS="${BACKUP_ROWS:-1000000}" cargo test --locked --test it -- --ignored --nocapture many_rows_are_copied_within_64_mib
