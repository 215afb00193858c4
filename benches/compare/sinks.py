#!/usr/bin/env python3
"""The sinks over HTTP beside each other: the same lines, decoded and normalized, to a server that takes everything.

Each sink in turn, several rounds; wall time, CPU seconds and peak memory of the agent, and its speed beside that of
`openobserve` in the same round. The server keeps nothing: that each sink delivers each event is
what the tests show; here the agent's exit code (`run --once`: 0) and its ledger are looked at.

    benches/compare/sinks.py --tidegate target/release/tidegate --lines 1000000 --runs 5

With `--instructions` valgrind counts what the whole agent does for an event: the difference between two numbers of lines. That does
not depend on what else the machine does; the program must be built for a processor that valgrind knows (profile `instructions`).

    cargo build --profile instructions
    benches/compare/sinks.py --tidegate target/instructions/tidegate --instructions

`--compression` is what all sinks are given: `none` by default. `auto` is what each has by itself, and not the same for all.
"""

import argparse
import http.server
import json
import os
import pathlib
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import corpus  # noqa: E402

SINKS = {
    "openobserve": 'type: openobserve, url: "{url}", organization: default, stream: bench, '
    'auth: {{basic: {{user: "a@example.com", password: b}}}}',
    "elasticsearch": 'type: elasticsearch, endpoints: "{url}", index: bench',
    "loki": 'type: loki, url: "{url}", labels: {{service_name: "{{{{ service }}}}", level: "{{{{ level }}}}"}}',
    "otlp": 'type: otlp, url: "{url}"',
    "http": 'type: http, url: "{url}/in"',
}


class Server(http.server.BaseHTTPRequestHandler):
    """Reads a body and says that all is well, as each system would."""

    protocol_version = "HTTP/1.1"
    # Head and body of an answer leave together, or, where they are longer than the buffer, apart but at once: the second piece
    # would else wait for the acknowledgement of the first, which takes 40 ms. What such answers come from does not wait either.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_POST(self):
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.split("?")[0]
        kind, body = "application/json", b"{}"
        if path.endswith("/_json"):
            status = {"name": "bench", "successful": sent.count(b'{"timestamp":"'), "failed": 0}
            body = json.dumps({"code": 200, "status": [status]}).encode()
        elif path.endswith("/_bulk"):
            # An item for each action, of which each has a line and its document another.
            body = b'{"errors":false,"items":[' + b",".join([b'{"index":{"status":201}}'] * (sent.count(b"\n") // 2)) + b"]}"
        elif path.startswith("/v1/"):
            kind, body = "application/x-protobuf", b""
        self.send_response(204 if path.endswith("/push") else 200)
        self.send_header("Content-Type", kind)
        if not path.endswith("/push"):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not path.endswith("/push"):
            self.wfile.write(body)

    do_GET = do_POST

    def log_message(self, *_):
        pass


def configuration(sink, lines, port, folder, compression):
    """A folder with `t.yaml`, which sends the lines."""
    work = pathlib.Path(tempfile.mkdtemp(dir=folder))
    settings = SINKS[sink].format(url=f"http://127.0.0.1:{port}")
    (work / "t.yaml").write_text(
        f"""data_dir: "{work}/data"
sources: {{in: {{type: file, include: ["{lines}"], decode: json}}}}
transforms: {{shape: {{type: normalize, inputs: [in], schema: log, keep_rest: root}}}}
sinks:
  out: {{{settings}, inputs: [shape], compression: {compression}, healthcheck: false, batch: {{max_bytes: 1MB, timeout: 1s}}}}
"""
    )
    return work


def count(program, sink, lines, port, folder, compression):
    """Instructions of one run, whether all was delivered, what it said."""
    work = configuration(sink, lines, port, folder, compression)
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, "run", "--once", "--config"]
    ran = subprocess.run([*command, str(work / "t.yaml")], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    counted = re.search(r"Collected : (\d+)", ran.stderr)
    if not counted:
        sys.exit(ran.stderr)
    return int(counted.group(1)), ran.returncode == 0, ran.stderr


def run(program, sink, lines, port, folder, compression):
    """One run: wall seconds, CPU seconds, peak MiB, whether all was delivered, what it said."""
    work = configuration(sink, lines, port, folder, compression)
    began = time.monotonic()
    child = subprocess.Popen(
        [program, "run", "--once", "--config", str(work / "t.yaml")], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    peak = [0]
    watch = threading.Thread(target=watch_memory, args=(child.pid, peak))
    watch.start()
    said = child.stderr.read().decode(errors="replace")
    wall = time.monotonic() - began
    _, status, usage = os.wait4(child.pid, 0)
    watch.join()
    cpu = usage.ru_utime + usage.ru_stime
    return wall, cpu, peak[0] / 1024, os.waitstatus_to_exitcode(status) == 0, said


def watch_memory(process, peak):
    """The most that was resident, in KiB, until the process ends. (What `wait4` tells has this program's own in it.)"""
    try:
        while True:
            for line in open(f"/proc/{process}/status"):
                if line.startswith("VmHWM:"):
                    peak[0] = int(line.split()[1])
            time.sleep(0.01)
    except (OSError, ValueError):
        pass


def delivered(said):
    """Events that the ledger says the sink has put out."""
    for line in said.splitlines():
        words = line.split()
        if words[:2] == ["out", "sink"]:
            return int(words[4])
    return 0


def instructions(args, port, folder):
    """A line for each sink: instructions an event, and those of `openobserve` as a share of them."""
    few, many = 2000, 12_000
    files = {n: pathlib.Path(folder) / f"{n}.ndjson" for n in (few, many)}
    for n, path in files.items():
        corpus.write("app", n, path)
    each = {}
    for name in args.sinks.split(","):
        counted = {}
        for n, path in files.items():
            counted[n], well, said = count(args.tidegate, name, path, port, folder, args.compression)
            if not well or delivered(said) != n:
                sys.exit(f"{name}: not everything was delivered\n{said}")
        each[name] = (counted[many] - counted[few]) / (many - few)
    for name, an_event in each.items():
        print(f"{name:<15}{an_event:>9,.0f} instructions an event, openobserve : this {each['openobserve'] / an_event:.2f}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tidegate", default="target/release/tidegate", metavar="PATH")
    p.add_argument("--lines", type=int, default=300_000)
    p.add_argument("--runs", type=int, default=3)
    p.add_argument("--instructions", action="store_true")
    p.add_argument("--compression", default="none")
    p.add_argument("--sinks", default=",".join(SINKS), help="names, with commas")
    args = p.parse_args()
    if "openobserve" not in args.sinks.split(","):
        p.error("--sinks must have openobserve, which the others are compared with")
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        if args.instructions:
            return instructions(args, server.server_address[1], folder)
        lines = pathlib.Path(folder) / "in.ndjson"
        corpus.write("app", args.lines, lines)
        results = {name: [] for name in args.sinks.split(",")}
        for round_ in range(args.runs + 1):
            for name, runs in results.items():
                got = run(args.tidegate, name, lines, server.server_address[1], folder, args.compression)
                if not got[3] or delivered(got[4]) != args.lines:
                    sys.exit(f"{name}: not everything was delivered\n{got[4]}")
                # The first round warms up.
                if round_:
                    runs.append(got)
    print(f"{args.lines} lines, {args.runs} runs in turns, medians; beside openobserve run by run")
    print(f"{'sink':<15}{'wall s':>8}{'CPU s':>8}{'MiB':>7}  {'speed by wall':<24}  speed by CPU")
    for name, runs in results.items():
        middle = [statistics.median(r[n] for r in runs) for n in range(3)]
        ratios = ["  ".join(f"{a[n] / r[n]:.2f}" for a, r in zip(results["openobserve"], runs)) for n in (0, 1)]
        print(f"{name:<15}{middle[0]:>8.2f}{middle[1]:>8.2f}{middle[2]:>7.1f}  {ratios[0]:<24}  {ratios[1]}")


if __name__ == "__main__":
    main()
