#!/usr/bin/env bash
# Runs a build through what agents spend their time on, so that an instrumented one writes a profile of it.
#
#   tools/train.sh PROGRAM [LINES]
#
# Everything is made up by the program's own `demo` source; it is its own server too, on free ports of 127.0.0.1.
set -euo pipefail
program=$(realpath "$1")
lines=${2:-200000}
work=$(mktemp -d)
servers=()
trap 'kill "${servers[@]}" 2>/dev/null || true; wait || true; rm -rf "$work"' EXIT
cd "$work"

once() { # NAME: the configuration on standard input, run to its end
  { echo "data_dir: $work/data-$1"; cat; } > "$1.yaml"
  "$program" run --once --log-level error --config "$1.yaml" > "$1.said" 2>&1 || { cat "$1.said" >&2; exit 1; }
}

serve() { # NAME: the same in the background, until the end of this script
  { echo "data_dir: $work/data-$1"; cat; } > "$1.yaml"
  "$program" run --log-level error --config "$1.yaml" > "$1.said" 2>&1 &
  servers+=($!)
}

free_port() { # one that nobody listens on
  local port
  while port=$((20000 + RANDOM % 40000)); (: < "/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
  echo "$port"
}

await_port() {
  for _ in $(seq 600); do (: < "/dev/tcp/127.0.0.1/$1") 2>/dev/null && return; sleep 0.1; done
  echo "nothing listens on port $1" >&2
  exit 1
}

for format in json access syslog logfmt; do
  once "make-$format" <<EOF
sources:
  in: {type: demo, format: $format, rate: 0, count: $lines, decode: text}
sinks:
  out: {type: file, inputs: [in], path: "$work/$format.log", encoding: text}
EOF
done

once passthrough <<EOF
sources:
  in: {type: file, include: ["$work/access.log"], decode: text}
sinks:
  out: {type: file, inputs: [in], path: "$work/passthrough.out", encoding: text}
EOF

once main <<EOF
sources:
  in: {type: file, include: ["$work/json.log"], decode: json}
transforms:
  shape: {type: normalize, inputs: [in], schema: log, keep_rest: root}
  mask: {type: redact, inputs: [shape], in: [message], detect: [secrets, credit_card, email]}
  check:
    type: validate
    inputs: [mask]
    schema: log
    rules:
      - {check: 'message.matches("[a-z]")', error: "no words"}
  thin: {type: sample, inputs: [check], by: level, rates: {DEBUG: 0.1, default: 1.0}}
sinks:
  out: {type: file, inputs: [thin], path: "$work/main.out", encoding: json}
EOF

once decode <<EOF
sources:
  access: {type: file, include: ["$work/access.log"], decode: access}
  logfmt: {type: file, include: ["$work/logfmt.log"], decode: logfmt}
sinks:
  out: {type: file, inputs: [access, logfmt], path: "$work/decode.out", encoding: json}
EOF

http=$(free_port)
syslog=$(free_port)
serve servers <<EOF
sources:
  http: {type: http, listen: "127.0.0.1:$http"}
  syslog: {type: syslog, listen: "tcp://127.0.0.1:$syslog"}
sinks:
  none: {type: blackhole, inputs: [http]}
  out: {type: file, inputs: [syslog], path: "$work/syslog.out", encoding: json}
EOF
await_port "$http"
await_port "$syslog"

for compression in none zstd; do
  for buffer in "type: memory" "type: disk, max_size: 64MiB"; do
    once "ship-$compression-${buffer:6:4}" <<EOF
sources:
  in: {type: file, include: ["$work/json.log"], decode: json}
transforms:
  shape: {type: normalize, inputs: [in], schema: log, keep_rest: root}
sinks:
  out:
    type: openobserve
    inputs: [shape]
    url: "http://127.0.0.1:$http"
    organization: default
    stream: train
    auth: {basic: {user: "a@example.com", password: b}}
    compression: $compression
    batch: {max_bytes: 1MB}
    buffer: {$buffer}
EOF
  done
done
cat syslog.log > "/dev/tcp/127.0.0.1/$syslog"
for _ in $(seq 600); do
  [ "$(cat syslog.out 2>/dev/null | wc -l)" -ge "$lines" ] && break
  sleep 0.1
done

# A training that did less than it says would make a build that is slow in silence.
for out in passthrough decode syslog; do
  n=$(wc -l < "$out.out")
  [ "$n" -ge "$lines" ] || { echo "$out: $n of $lines lines" >&2; exit 1; }
done
[ "$(wc -l < main.out)" -ge $((lines / 2)) ] || { echo "main: too few lines" >&2; exit 1; }
echo "trained on $lines lines of each format"
