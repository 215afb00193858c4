#!/usr/bin/env bash
# Tests that failed in a run of all, once more: `tests/unsteady.sh LOG`, LOG being what `cargo test --no-fail-fast` printed.
# A test that depends on chance is a fault of its own, and this does not hide it: each is named with what it said, at the
# end. It passes for now where it succeeds five times in a row, alone; more than three such tests are no chance, and what
# does not compile or fails again has failed.
set -euo pipefail
cd "$(dirname "$0")/.."
log=$1
# Of a target's two lists of failures the last has the names alone.
mapfile -t failed < <(awk '/^failures:$/ { n = 0; next } /^    [A-Za-z0-9_:]+$/ { names[n++] = $1 }
  /^test result/ { for (i = 0; i < n; i++) print names[i]; n = 0 }' "$log" | sort -u)
if [ "${#failed[@]}" -eq 0 ] || [ "${#failed[@]}" -gt 3 ]; then
  echo "tests failed: ${#failed[@]} by name; nothing is tried again"
  exit 1
fi
echo "== ${#failed[@]} failed, tried again alone: ${failed[*]}"
for round in 1 2 3 4 5; do
  # Each must have run: a name that no test has would pass by running nothing.
  cargo test --locked --lib --test it -- --exact "${failed[@]}" > target/ci-again.log 2>&1 || { cat target/ci-again.log; exit 1; }
  passed=$(sed -n 's/^test result: ok\. \([0-9]*\) passed.*/\1/p' target/ci-again.log | awk '{ n += $1 } END { print n + 0 }')
  [ "$passed" -eq "${#failed[@]}" ] || { echo "$passed of ${#failed[@]} ran again in round $round"; exit 1; }
done
for name in "${failed[@]}"; do
  echo "UNSTEADY: $name failed once among all tests and passed five times alone; mend it"
done
