#!/bin/sh
# kill -9 in the long form: 200 of them for each way (KILLS=n for another number). Prints what was repeated at servers, and in which
# requests it had been in flight. TIDEGATE_PROGRAM=path runs another program than the tests' own, such as a release build.
set -eu
cd "$(dirname "$0")/../.."
TIDEGATE_KILLS="${KILLS:-200}" cargo test --locked --test it kills:: -- --nocapture --test-threads=1
