#!/bin/sh
# Reloads under load in the long form: 1,000 of them (RELOADS=n for another number), each of which changes one component, while clients
# of UDP, TCP, HTTP and a file send. Compares what went in with what came out, and prints the slowest request around each reload, handles
# and memory. TIDEGATE_PROGRAM=path runs another program than the tests' own, such as a release build.
set -eu
cd "$(dirname "$0")/../.."
TIDEGATE_RELOADS="${RELOADS:-1000}" cargo test --locked --test it change::many_reloads -- --nocapture
