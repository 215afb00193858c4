#!/usr/bin/env bash
# Whether the program can be built from what the Dockerfile gives its first stage: copies just that, as its COPY lines
# say, and has the compiler check it. Needs no container engine; what the checks of this project left is used again.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
stage=$root/target/image
rm -rf "$stage"
mkdir -p "$stage"
copied=0
while read -r word rest; do
  case $word in
    FROM) [ "$copied" = 0 ] || break ;;
    COPY)
      read -ra parts <<< "$rest"
      to=$stage/${parts[-1]}
      unset 'parts[-1]'
      for from in "${parts[@]}"; do
        if [ -d "$from" ]; then
          mkdir -p "$to" && cp -r "$from/." "$to/"
        else
          case $to in */) mkdir -p "$to" ;; *) mkdir -p "$(dirname "$to")" ;; esac
          cp "$from" "$to"
        fi
        copied=$((copied + 1))
      done ;;
  esac
done < Dockerfile
[ "$copied" -gt 3 ] || { echo "the COPY lines of the Dockerfile were not found" >&2; exit 1; }
cd "$stage"
cargo check --locked --bin tidegate --target-dir "$root/target"
# The copy and the project are one to cargo: without this it would take the project for checked, whatever is in it.
grep -ls 'image/src' "$root"/target/debug/.fingerprint/tidegate-*/dep-* | while read -r dep; do rm -rf "$(dirname "$dep")"; done
echo "$copied paths of the Dockerfile are enough to build the program"
