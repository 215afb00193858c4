#!/usr/bin/env bash
# The dist build, guided by a profile: builds once with counters, lets that build run (tools/train.sh), builds again
# with what was counted. The program is at target/HOST/dist/tidegate.
#
#   tools/pgo.sh            needs an llvm-profdata as new as the compiler's LLVM:
#                           `rustup component add llvm-tools`, or Debian's llvm-22 for Rust 1.95
#   RUSTFLAGS=… tools/pgo.sh  what else the compiler is to be told, for instance -C target-feature=+crt-static
set -euo pipefail
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
major=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
flags=${RUSTFLAGS:-}
out=$PWD/target/pgo
profdata=
for candidate in "$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata" "llvm-profdata-$major" llvm-profdata; do
  command -v "$candidate" >/dev/null && { profdata=$candidate; break; }
done
[ -n "$profdata" ] || {
  echo "no llvm-profdata: \`rustup component add llvm-tools\`, or install llvm-$major" >&2
  exit 1
}
rm -rf "$out/counted" "$out/tidegate.profdata"
RUSTFLAGS="$flags -Cprofile-generate=$out/counted" \
  cargo build --profile dist --locked --bin tidegate --target "$host" --target-dir "$out"
tools/train.sh "$out/$host/dist/tidegate"
"$profdata" merge -o "$out/tidegate.profdata" "$out/counted"
RUSTFLAGS="$flags -Cprofile-use=$out/tidegate.profdata" \
  cargo build --profile dist --locked --bin tidegate --target "$host"
ls -l "target/$host/dist/tidegate"
