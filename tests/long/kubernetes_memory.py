#!/usr/bin/env python3
"""Pods that log and rotate, a server that is dead, and a cgroup of 64 MiB: is the agent killed by the kernel, and does everything that is
within the bounds of its buffer and of the kubelet's rotation arrive when the server is back?

  tests/long/kubernetes_memory.py --tidegate target/release/tidegate [--pods 110] [--rate 1000] [--seconds 60] [--limit 64MiB] [--rotate 10MiB]

Needs root and a memory cgroup (v1 or v2); without one it says so and measures resident memory alone. The load is written by this
process, outside of the cgroup. Prints peak memory, whether the kernel killed it, lines written and lines that arrived.
"""
import argparse
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zlib

UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def size(text):
    number, unit = re.fullmatch(r"(\d+)(KiB|MiB|GiB)?", text).groups()
    return int(number) * UNITS.get(unit, 1)


class Cgroup:
    """A memory cgroup of either version; `None` as its folder where there is none to be had."""

    def __init__(self, limit):
        self.folder, self.peak_file = None, None
        for base, limit_file, self.peak_file in (
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes"),
            ("/sys/fs/cgroup", "memory.max", "memory.peak"),
        ):
            folder = pathlib.Path(base) / f"tidegate-{os.getpid()}"
            try:
                folder.mkdir()
                (folder / limit_file).write_text(str(limit))
                self.folder = folder
                return
            except OSError:
                try:
                    folder.rmdir()
                except OSError:
                    pass

    def enter(self):
        if self.folder:
            (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def peak(self):
        return int((self.folder / self.peak_file).read_text()) if self.folder else None

    def remove(self):
        if self.folder:
            for _ in range(50):
                try:
                    return self.folder.rmdir()
                except OSError:
                    time.sleep(0.1)


class Sink(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen = set()
    doubled = 0

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = zlib.decompress(body, 31)
        for event in json.loads(body):
            pod, number = event["message"].split(" ", 2)[:2]
            key = (int(pod), int(number))
            Sink.doubled += key in Sink.seen
            Sink.seen.add(key)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Pods:
    """Writes lines as a runtime does, and rotates as the kubelet does: five files at most, older ones compressed."""

    def __init__(self, root, count, rotate):
        self.files, self.numbers, self.rotate, self.gone = [], [0] * count, rotate, 0
        for n in range(count):
            folder = root / f"load_pod-{n}_00000000-0000-4000-8000-{n:012}" / "app"
            folder.mkdir(parents=True)
            self.files.append(open(folder / "0.log", "ab"))
        self.rotations = 0

    def write(self, lines):
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
        for n, file in enumerate(self.files):
            first = self.numbers[n]
            text = "".join(f"{stamp}.{i % 1000:03}000000Z stdout F {n} {i} {'x' * 180}\n" for i in range(first, first + lines))
            file.write(text.encode())
            file.flush()
            self.numbers[n] += lines
            if file.tell() >= self.rotate:
                self.turn(n)

    def turn(self, n):
        path = pathlib.Path(self.files[n].name)
        self.files[n].close()
        self.rotations += 1
        rotated = sorted(path.parent.glob("0.log.*"))
        for old in rotated[:-3]:
            old.unlink()
            self.gone += 1
        for old in rotated[-3:]:
            if old.suffix != ".gz" and old.exists():
                subprocess.run(["gzip", "-1", str(old)], check=True)
        path.rename(f"{path}.{time.strftime('%Y%m%d', time.gmtime())}-{self.rotations:06}")
        self.files[n] = open(path, "ab")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tidegate", default="target/release/tidegate")
    p.add_argument("--pods", type=int, default=110)
    p.add_argument("--rate", type=int, default=1000, help="lines a second of each pod")
    p.add_argument("--seconds", type=int, default=60)
    p.add_argument("--limit", default="64MiB")
    p.add_argument("--rotate", default="10MiB")
    p.add_argument("--buffer", default="64MiB")
    a = p.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="tidegate-pods-"))
    (work / "pods").mkdir()
    reserved = socket.socket()
    reserved.bind(("127.0.0.1", 0))
    port = reserved.getsockname()[1]
    (work / "tidegate.yaml").write_text(f"""
data_dir: ./data
memory_limit: 16MiB
shutdown_timeout: 5s
sources:
  pods: {{type: kubernetes_logs, paths: ["{work}/pods/*/*/*.log"], metadata: {{from: none}}}}
sinks:
  out:
    type: http
    inputs: [pods]
    url: "http://127.0.0.1:{port}/"
    compression: gzip
    buffer: {{type: disk, max_size: {a.buffer}, when_full: block}}
    retry: {{max: 2s}}
    circuit_breaker: {{reset: 2s}}
""")
    pods, group = Pods(work / "pods", a.pods, size(a.rotate)), Cgroup(size(a.limit))
    with open(work / "said", "wb") as said:
        agent = subprocess.Popen([os.path.abspath(a.tidegate), "run", "--config", "tidegate.yaml"], cwd=work, stderr=said, preexec_fn=group.enter)
    try:
        began = time.monotonic()
        while time.monotonic() - began < a.seconds and agent.poll() is None:
            due = int((time.monotonic() - began) * a.rate)
            if due > pods.numbers[0]:
                pods.write(due - pods.numbers[0])
            time.sleep(0.1)
        written, rate = sum(pods.numbers), sum(pods.numbers) / (time.monotonic() - began)
        status = pathlib.Path(f"/proc/{agent.pid}/status").read_text() if agent.poll() is None else ""
        rss = int((re.search(r"VmHWM:\s+(\d+)", status) or [0, 0])[1]) << 10
        killed = agent.poll() == -signal.SIGKILL
        reserved.close()
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Sink)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        before, quiet = -1, 0
        while agent.poll() is None and len(Sink.seen) < written and quiet < 600:
            quiet = quiet + 1 if len(Sink.seen) == before else 0
            before = len(Sink.seen)
            time.sleep(0.1)
        peak = group.peak()
        killed |= agent.poll() == -signal.SIGKILL
        print(f"lines written: {written} ({rate:.0f} a second), rotations: {pods.rotations}, files the kubelet removed: {pods.gone}")
        print(f"lines that arrived: {len(Sink.seen)} of {written}, twice: {Sink.doubled}")
        print(f"resident at most while the server was dead: {rss / 2**20:.1f} MiB")
        print(f"cgroup of {a.limit}: " + (f"peak {peak / 2**20:.1f} MiB with its page cache" if group.folder else "none to be had on this machine"))
        print("killed by the kernel: " + ("YES" if killed else "no"))
        whole = len(Sink.seen) == written or pods.gone > 0
        return 0 if not killed and whole else 1
    finally:
        if agent.poll() is None:
            agent.terminate()
            agent.wait()
        group.remove()
        if (work / "said").stat().st_size and "KEEP" in os.environ:
            print((work / "said").read_text()[-3000:], file=sys.stderr)
        shutil.rmtree(work)


sys.exit(main())
