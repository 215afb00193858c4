#!/bin/sh
# Memory over time in the long form: 40,000 rotations (ROTATIONS=n for another number), with clients that come and go, scrapes and a disk
# buffer. Prints what is alive on the heap; fails where that is more after 40,000 than after 25,000.
set -eu
cd "$(dirname "$0")/../.."
TIDEGATE_ROTATIONS="${ROTATIONS:-40000}" cargo test --locked --test it memory::the_heap -- --nocapture
