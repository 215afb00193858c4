#!/usr/bin/env python3
"""Run the agent for an hour under rotation and reconnects, and print how fast its memory grows.

The agent tails files and delivers every line twice: over HTTP, through a disk buffer, to a server that refuses connections,
closes them in the middle, answers 503 and comes back, all the time; and into a file that is rotated and carried away.
Files are appended to at a steady rate and rotated in every usual way: renamed, renamed and compressed, copied and
truncated, deleted for good with others of new names in their place.

Memory (resident, and the private part of it), open handles, threads and the size of `data_dir` are sampled. At the end every
line must have arrived at both ends, what arrived more than once is counted, and the growth is the slope of a line
through the samples of the second half (least squares), with its standard error. The error takes into account that neighbouring
samples resemble each other. "flat": the slope plus two standard errors is below the limit. "grows": the slope minus two is
above it. "open": neither; run it longer.

With --volume the question is another one: does memory depend on how much has gone through? A corpus file is copied and
tailed again and again through the job `main` (normalize, redact, validate, sample) into a rotated file, as fast as it goes.

  tests/soak.py --minutes 60 --rate 2000                 an hour
  tests/soak.py --minutes 60 --reload 20                 the same, with a SIGHUP every 20 s
  tests/soak.py --volume 20GB                            20 GB; takes 3 GB of disk at most

Exit status: 0 nothing lost and flat (or open), 1 lost, grown, above --ceiling, or the agent ended on its own.
Python 3.9 or newer, Linux; nothing to install.
"""

import argparse
import asyncio
import csv
import gzip
import json
import os
import pathlib
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
SEQ = re.compile(rb'"seq": ?(\d+)')

SOAK = """\
data_dir: "{dir}/data"
api: {{listen: "127.0.0.1:{api}"}}
sources:
  in: {{type: file, include: ["{dir}/logs/*"], decode: json}}
transforms:
  shape: {{type: normalize, inputs: [in], schema: log, keep_rest: root}}
  clean: {{type: redact, inputs: [shape], in: [message], detect: [secrets, credit_card, email]}}
sinks:
  http:
    type: openobserve
    inputs: [clean]
    url: "http://127.0.0.1:{port}"
    stream: soak
    auth: {{basic: {{user: "soak@example.com", password: soak}}}}
    batch: {{max_bytes: 256KiB, timeout: 1s}}
    retry: {{initial: 100ms, max: 1s}}
    circuit_breaker: {{reset: 1s}}
    timeout: 5s
    compression: gzip
    buffer: {{type: disk, max_size: 256MiB, when_full: block}}
  file: {{type: file, inputs: [clean], path: "{dir}/out/sink.log", rotate: {{size: 8MiB}}}}
"""

VOLUME = """\
data_dir: "{dir}/data"
api: {{listen: "127.0.0.1:{api}"}}
sources:
  in: {{type: file, include: ["{dir}/logs/*.log"], decode: json}}
transforms:
  shape: {{type: normalize, inputs: [in], schema: log, keep_rest: root}}
  clean: {{type: redact, inputs: [shape], in: [message], detect: [secrets, credit_card, email]}}
  quality:
    type: validate
    inputs: [clean]
    schema: log
    rules: [{{check: 'traceId.matches("^[0-9a-fA-F]{{32}}$")', error: "traceId is not 32 hex digits"}}]
  thin: {{type: sample, inputs: [quality], by: level, rates: {{DEBUG: 0.1, default: 1.0}}}}
sinks:
  file: {{type: file, inputs: [thin], path: "{dir}/out/sink.log", rotate: {{size: 128MiB, keep: 1}}}}
"""


class Seen:
    """How often each sequence number has come."""

    def __init__(self):
        self.times = bytearray()
        self.lock = threading.Lock()

    def take(self, text):
        numbers = [int(n) for n in SEQ.findall(text)]
        with self.lock:
            if numbers and (most := max(numbers)) >= len(self.times):
                self.times.extend(bytes(most + 1 - len(self.times) + 65536))
            for n in numbers:
                if self.times[n] < 255:
                    self.times[n] += 1
        return len(numbers)

    def missing(self, count):
        with self.lock:
            return self.times[:count].count(0) + max(0, count - len(self.times))

    def repeated(self):
        with self.lock:
            return sum(self.times) - (len(self.times) - self.times.count(0))

    def strangers(self, count):
        """Numbers that were never written."""
        with self.lock:
            return len(self.times[count:]) - self.times[count:].count(0)


class Server(threading.Thread):
    """Takes records as OpenObserve's `_json` does, and is as unreliable as it is told to be."""

    def __init__(self, seen, seed):
        super().__init__(daemon=True)
        self.seen, self.random = seen, random.Random(seed)
        self.steady = threading.Event()
        self.ready = threading.Event()
        self.port = 0
        self.did = dict.fromkeys(("answered", "refused 503", "closed early", "closed in the body", "closed unanswered", "slow", "away"), 0)

    async def serve(self, reader, writer):
        self.open.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: *(\d+)", head, re.I)
                length = int(length.group(1)) if length else 0
                dice = 1.0 if self.steady.is_set() else self.random.random()
                if length and dice < 0.02:
                    self.did["closed in the body"] += 1
                    await reader.readexactly(min(length, 1000))
                    return
                body = await reader.readexactly(length)
                if not head.startswith(b"POST"):
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                    continue
                if dice < 0.05:
                    self.did["refused 503"] += 1
                    writer.write(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
                    continue
                if b"gzip" in head:
                    body = gzip.decompress(body)
                n = self.seen.take(body)
                if dice < 0.07:
                    self.did["closed unanswered"] += 1
                    return
                if dice < 0.09:
                    self.did["slow"] += 1
                    await asyncio.sleep(0.5)
                answer = b'{"code":200,"status":[{"name":"soak","successful":%d,"failed":0}]}' % n
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(answer), answer))
                self.did["answered"] += 1
                if dice < 0.11:
                    self.did["closed early"] += 1
                    await writer.drain()
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open.discard(writer)
            writer.close()

    async def main(self):
        self.open = set()
        listen = lambda: asyncio.start_server(self.serve, "127.0.0.1", self.port, limit=1 << 20)
        server = await listen()
        self.port = server.sockets[0].getsockname()[1]
        self.ready.set()
        while not self.steady.is_set():
            await asyncio.sleep(self.random.uniform(2, 8))
            if self.steady.is_set():
                break
            # Away: nobody listens, and what was connected is cut.
            server.close()
            for writer in list(self.open):
                writer.transport.abort()
            self.did["away"] += 1
            await asyncio.sleep(self.random.uniform(0.5, 3))
            server = await listen()
        await asyncio.Event().wait()

    def run(self):
        asyncio.run(self.main())


class Logs(threading.Thread):
    """Writes lines at a steady rate, and rotates: each file in its own way."""

    WAYS = ("create", "gzip", "copytruncate", "pod")

    def __init__(self, folder, rate, files, every, until, seed, stall=0):
        super().__init__(daemon=True)
        self.folder, self.rate, self.every, self.until, self.stall = folder, rate, every, until, stall
        self.random = random.Random(seed)
        self.written = self.bytes = self.rotations = 0
        self.logs = []
        for i in range(files):
            way = self.WAYS[i % len(self.WAYS)]
            self.logs.append({"way": way, "name": f"{way}-{i}", "at": every * (1 + i / files), "turn": 0, "rest": b"", "gone": []})
            self.open(self.logs[-1])

    def path(self, log, suffix=""):
        name = f"{log['name']}-{log['turn']}.log" if log["way"] == "pod" else f"{log['name']}.log"
        return self.folder / (name + suffix)

    def open(self, log):
        log["file"] = open(self.path(log), "ab", buffering=0)

    def line(self):
        n, self.written = self.written, self.written + 1
        now, r = time.time(), self.random.random()
        level = "debug" if r < 0.2 else "INFO" if r < 0.9 else "ERROR"
        text = "é" * int(r * 40) if n % 7 == 0 else "x" * int(r * 200)
        return (
            f'{{"timestamp":{int(now * 1000)},"level":"{level}","service":"shop-{n % 9}","seq":{n},'
            f'"message":"order {n} of user{n % 999}@example.com, password=hunter{n % 77} {text}"}}\n'
        ).encode()

    def rotate(self, log):
        self.rotations += 1
        log["file"].write(log["rest"])
        log["rest"] = b""
        path, way = self.path(log), log["way"]
        if way == "copytruncate":
            self.shift(log, ".{}")
            shutil.copyfile(path, self.path(log, ".1"))
            # A busy host: the copy is there, and the original not cut yet.
            time.sleep(self.random.uniform(0, self.stall))
            log["file"].truncate(0)
            return
        log["file"].close()
        if way == "create":
            self.shift(log, ".{}")
            path.rename(self.path(log, ".1"))
        elif way == "gzip":
            self.shift(log, ".{}.gz")
            aside = self.path(log, ".1")
            path.rename(aside)
            self.open(log)
            with open(aside, "rb") as plain, gzip.open(self.path(log, ".1.gz"), "wb", 1) as packed:
                shutil.copyfileobj(plain, packed)
            aside.unlink()
            return
        else:  # pod: its file goes some time after its end, and the next one has another name
            log["gone"].append(path)
            if len(log["gone"]) > 2:
                log["gone"].pop(0).unlink()
            log["turn"] += 1
        self.open(log)

    def shift(self, log, suffix, keep=3):
        """x.3 goes, x.2 becomes x.3, x.1 becomes x.2."""
        name = lambda i: self.path(log, suffix.format(i))
        name(keep).unlink(missing_ok=True)
        for i in range(keep - 1, 0, -1):
            if name(i).exists():
                name(i).rename(name(i + 1))

    def run(self):
        start = time.monotonic()
        while (now := time.monotonic()) < self.until:
            due = int((now - start) * self.rate) - self.written
            share = -(-due // len(self.logs))
            for log in self.logs:
                block = log["rest"] + b"".join(self.line() for _ in range(min(share, due)))
                due = max(0, due - share)
                # A tenth of the writes ends within a line.
                cut = len(block) - (self.random.randrange(1, 40) if block and self.random.random() < 0.1 else 0)
                log["file"].write(block[:cut])
                log["rest"] = block[cut:]
                self.bytes += len(block)
                if now - start > log["at"]:
                    log["at"] += self.every
                    self.rotate(log)
            time.sleep(0.02)
        for log in self.logs:
            log["file"].write(log["rest"])
            log["file"].close()


def collect(folder, seen, last=False):
    """Counts and removes what the file sink has set aside; at the end its last file as well."""
    for path in sorted(folder.iterdir()):
        if last or path.name != "sink.log":
            seen.take(path.read_bytes())
            path.unlink()


def du(folder):
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(base, name)).st_blocks * 512
            except FileNotFoundError:
                pass
    return total


def look(pid, data):
    """What the process takes now."""
    status = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status") if ":" in line)
    kib = lambda key: int(status[key].split()[0])
    try:
        rollup = dict(line.split(":", 1) for line in open(f"/proc/{pid}/smaps_rollup") if ":" in line)
        pss = int(rollup["Pss"].split()[0])
    except (OSError, KeyError):
        pss = 0
    return {
        "rss_kib": kib("VmRSS"), "anon_kib": kib("RssAnon"), "pss_kib": pss, "peak_kib": kib("VmHWM"),
        "handles": len(os.listdir(f"/proc/{pid}/fd")), "threads": kib("Threads"), "data_dir_kib": du(data) // 1024,
    }


def slope(xs, ys):
    """Least squares: slope and its standard error, widened for the correlation of neighbours (AR(1))."""
    n = len(xs)
    mx, my = statistics.fmean(xs), statistics.fmean(ys)
    sxx = sum((x - mx) ** 2 for x in xs)
    if n < 4 or sxx == 0:
        return float("nan"), float("nan")
    b = sum((x - mx) * (y - my) for x, y in zip(xs, ys)) / sxx
    rest = [y - my - b * (x - mx) for x, y in zip(xs, ys)]
    square = sum(r * r for r in rest)
    error = (square / (n - 2) / sxx) ** 0.5
    near = sum(p * q for p, q in zip(rest, rest[1:])) / square if square else 0.0
    near = min(max(near, 0.0), 0.95)
    return b, error * ((1 + near) / (1 - near)) ** 0.5


def verdict(b, error, limit):
    if b != b:
        return "too few samples"
    return "flat" if b + 2 * error < limit else "grows" if b - 2 * error > limit else "open"


def bytes_of(text):
    number, unit = re.fullmatch(r"([\d.]+)\s*([kMG]?i?B?)", text).groups()
    return int(float(number) * {"k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "": 1}[unit.rstrip("B")])


def free_port():
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def metrics(api):
    """All samples of the agent's own metrics page, by their line up to the value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{api}/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if line and line[0] != "#")


def of(samples, name, component):
    return sum(float(v) for k, v in samples.items() if k.startswith(name + "{") and f'component_id="{component}"' in k)


class Agent:
    def __init__(self, program, config, folder, fields):
        self.folder, self.data = folder, folder / "data"
        for name in ("logs", "out", "data"):
            (folder / name).mkdir()
        self.api = free_port()
        path = folder / "tidegate.yaml"
        path.write_text(config.format(dir=folder, api=self.api, **fields))
        self.log = open(folder / "agent.log", "wb")
        self.process = subprocess.Popen([program, "run", "--config", path, "--log-level", "warn"], stdout=self.log, stderr=self.log)
        end = time.monotonic() + 20
        while True:
            try:
                metrics(self.api)
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    sys.exit("the agent does not start:\n" + self.said())
                time.sleep(0.1)

    def said(self, lines=20):
        return "\n".join((self.folder / "agent.log").read_text(errors="replace").splitlines()[-lines:])

    def end(self):
        """SIGTERM; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return "killed"


class Table:
    """Samples, shown while they come and kept for the file."""

    def __init__(self, first, path):
        self.rows, self.first, self.path = [], first, path

    def add(self, row, show):
        self.rows.append(row)
        if len(self.rows) == 1:
            print("".join(f"{k:>14}" for k in row), flush=True)
        if show:
            print("".join(f"{v:>14}" if isinstance(v, int) else f"{v:>14.2f}" for v in row.values()), flush=True)
        if self.path:
            with open(self.path, "w", newline="") as f:
                out = csv.DictWriter(f, row)
                out.writeheader()
                out.writerows(self.rows)

    def second_half(self, key):
        half = self.rows[len(self.rows) // 2:]
        return [r[self.first] for r in half], [r[key] for r in half]


def judge(table, unit, limits, why_not=""):
    """Prints the slopes and whether all are below their limits; with a reason why not, they are shown only."""
    good = True
    print(f"\nslope over the second half, a {unit}:")
    result = {}
    for key, limit in limits.items():
        b, error = slope(*table.second_half(key))
        says = "not judged" + why_not if limit is None or why_not else verdict(b, error, limit)
        bound = "" if limit is None else f" (limit {limit:g})"
        print(f"  {key:14} {b:+10.2f} ± {error:.2f}{bound}: {says}")
        result[key] = {"slope": b, "standard_error": error, "limit": limit, "verdict": says}
        good &= says != "grows"
    return good, result


def soak(a, folder):
    over_http, in_file = Seen(), Seen()
    server = Server(over_http, a.seed)
    server.start()
    server.ready.wait()
    agent = Agent(a.tidegate, SOAK, folder, {"port": server.port})
    start = time.monotonic()
    logs = Logs(folder / "logs", a.rate, a.files, a.rotate, start + a.minutes * 60, a.seed, a.stall)
    logs.start()
    table, shown, reloads, whims = Table("hours", a.samples), start, 0, random.Random(a.seed + 2)
    while logs.is_alive():
        now = time.monotonic()
        if agent.process.poll() is not None:
            print(f"the agent ended with {agent.process.returncode}:\n{agent.said()}")
            return False, {}
        collect(folder / "out", in_file)
        row = {"hours": (now - start) / 3600, "lines": logs.written, "rotations": logs.rotations, "away": server.did["away"]}
        table.add({**row, **look(agent.process.pid, agent.data)}, now >= shown)
        shown = shown if now < shown else now + max(a.every, a.minutes)
        if a.reload and now - start > a.reload * (reloads + 1):
            reloads += 1
            agent.process.send_signal(signal.SIGHUP)
        if a.freeze:
            time.sleep(whims.uniform(0, a.every))
            agent.process.send_signal(signal.SIGSTOP)
            time.sleep(whims.uniform(0, a.freeze))
            agent.process.send_signal(signal.SIGCONT)
        logs.join(a.every)
    server.steady.set()
    end = time.monotonic() + 120
    while time.monotonic() < end and agent.process.poll() is None:
        samples = metrics(agent.api)
        # A reload begins the counters anew; then the file is as far as what is held says.
        done = of(samples, "tidegate_events_held", "file") == 0 if reloads else of(samples, "tidegate_events_out_total", "file") >= logs.written
        if done and not over_http.missing(logs.written):
            break
        time.sleep(0.2)
    last = look(agent.process.pid, agent.data) if agent.process.poll() is None else {}
    status = agent.end()
    collect(folder / "out", in_file, last=True)
    lost = {}
    print(f"\n{logs.written} lines, {logs.bytes / 1e6:.0f} MB, {logs.rotations} rotations, {reloads} reloads; the server: "
          + ", ".join(f"{v} {k}" for k, v in server.did.items()))
    for name, seen in (("http", over_http), ("file", in_file)):
        lost[name] = {"missing": seen.missing(logs.written), "repeated": seen.repeated(), "never written": seen.strangers(logs.written)}
        print(f"{name}: " + ", ".join(f"{v} {k}" for k, v in lost[name].items()))
    print(f"drained: {last}; exit status {status}\n{agent.said(8)}")
    limits = {"rss_kib": a.limit, "anon_kib": a.limit, "pss_kib": None, "handles": a.limit_handles, "threads": a.limit_handles, "data_dir_kib": None}
    good, slopes = judge(table, "hour", limits, "" if a.minutes >= 10 else ": in less than 10 minutes it is still settling")
    peak = max(r["peak_kib"] for r in table.rows)
    print(f"peak resident {peak / 1024:.1f} MiB")
    good &= not any(l["missing"] or l["never written"] for l in lost.values()) and status == 0 and peak <= a.ceiling * 1024
    return good, {"lines": logs.written, "bytes": logs.bytes, "rotations": logs.rotations, "reloads": reloads, "server": server.did,
                  "ends": lost, "slopes": slopes, "peak_kib": peak, "exit": status}


def volume(a, folder):
    corpus = folder / "corpus"
    lines = 500_000
    subprocess.run([sys.executable, ROOT / "benches/compare/corpus.py", "app", str(lines), "--out", corpus], check=True)
    size, want = corpus.stat().st_size, bytes_of(a.volume)
    copies = -(-want // size)
    agent = Agent(a.tidegate, VOLUME, folder, {})
    table, made, read = Table("GB", a.samples), 0, 0
    start, waiting, sizes = time.monotonic(), [], []
    while read < copies:
        if agent.process.poll() is not None:
            print(f"the agent ended with {agent.process.returncode}:\n{agent.said()}")
            return False, {}
        # Two copies at most are there: the one that is read and the next one. The first line tells them apart.
        while made < copies and len(waiting) < 2:
            made += 1
            path = folder / "logs" / f"{made}.log"
            first = b'{"level":"INFO","message":"copy %d","traceId":"%032x"}\n' % (made, made)
            with open(corpus, "rb") as source, open(path.with_suffix(".tmp"), "wb") as copy:
                copy.write(first)
                copy.flush()
                while os.copy_file_range(source.fileno(), copy.fileno(), 1 << 30):
                    pass
            path.with_suffix(".tmp").rename(path)
            waiting.append(path)
            sizes.append((sizes[-1] if sizes else 0) + size + len(first))
        samples = metrics(agent.api)
        events = of(samples, "tidegate_events_in_total", "in")
        come = events * size / lines
        while waiting and events >= (read + 1) * (lines + 1):
            waiting.pop(0).unlink()
            read += 1
        row = {"GB": come / 1e9, "seconds": time.monotonic() - start}
        table.add({**row, **look(agent.process.pid, agent.data)}, not table.rows or come / 1e9 - shown >= want / 20e9)
        if len(table.rows) == 1 or come / 1e9 - shown >= want / 20e9:
            shown = come / 1e9
        time.sleep(0.1)
    seconds = time.monotonic() - start
    expected = copies * (lines + 1)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        samples = metrics(agent.api)
        if of(samples, "tidegate_events_in_total", "quality") >= expected and not of(samples, "tidegate_events_held", "file"):
            break
        time.sleep(0.1)
    took = int(of(samples, "tidegate_events_in_total", "quality"))
    status = agent.end()
    print(f"\n{sizes[-1] / 1e9:.1f} GB in {seconds:.1f} s, {sizes[-1] / 1e6 / seconds:.0f} MB/s with the copying; {took} of {expected} events"
          f" checked; exit status {status}\n{agent.said(8)}")
    good, slopes = judge(table, "GB", {"rss_kib": a.limit_volume, "anon_kib": a.limit_volume, "pss_kib": None, "handles": 1, "threads": 1})
    peak = max(r["peak_kib"] for r in table.rows)
    print(f"peak resident {peak / 1024:.1f} MiB")
    good &= took == expected and status == 0 and peak <= a.ceiling * 1024
    return good, {"bytes": sizes[-1], "seconds": seconds, "events": took, "expected": expected, "slopes": slopes, "peak_kib": peak, "exit": status}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tidegate", default=str(ROOT / "target/release/tidegate"), help="the program (default: %(default)s)")
    p.add_argument("--minutes", type=float, default=60, help="how long lines are written (default: 60)")
    p.add_argument("--rate", type=int, default=2000, help="lines a second, all files together (default: 2000)")
    p.add_argument("--files", type=int, default=8, help="files written to, a quarter of them rotated in each way (default: 8)")
    p.add_argument("--rotate", type=float, default=15, help="seconds between two rotations of a file (default: 15)")
    p.add_argument("--reload", type=float, default=0, help="seconds between two SIGHUPs (default: none is sent)")
    p.add_argument("--freeze", type=float, default=0, help="after each sample stop the process for so many seconds at most, as a busy host does (default: 0)")
    p.add_argument("--stall", type=float, default=0, help="seconds at most between the copy and the cut of a copytruncate (default: 0)")
    p.add_argument("--every", type=float, default=5, help="seconds between two samples (default: 5)")
    p.add_argument("--volume", metavar="SIZE", help="drain so much, as fast as it goes, instead: 20GB")
    p.add_argument("--limit", type=float, default=1024, help="KiB an hour that memory may grow; what is remembered of files that are gone is full after half an hour at the default 32 rotations a minute: docs/files.md (default: 1024)")
    p.add_argument("--limit-handles", type=float, default=4, help="handles, and threads, an hour (default: 4)")
    p.add_argument("--limit-volume", type=float, default=64, help="KiB a GB with --volume (default: 64)")
    p.add_argument("--ceiling", type=float, default=40, help="MiB resident at most (default: 40)")
    p.add_argument("--seed", type=int, default=1, help="of the server's whims and the lines (default: 1)")
    p.add_argument("--dir", help="where to work (default: a new folder among the temporary files, removed if all was well)")
    p.add_argument("--samples", metavar="CSV", help="write the samples there")
    p.add_argument("--json", metavar="FILE", help="write the result there")
    a = p.parse_args()
    if not shutil.which(a.tidegate):
        sys.exit(f"{a.tidegate}: no such program; build it with `cargo build --release`, or name it with --tidegate")
    a.tidegate = os.path.abspath(shutil.which(a.tidegate))
    folder = pathlib.Path(tempfile.mkdtemp(prefix="soak-", dir=a.dir)).resolve()
    good, result = (volume if a.volume else soak)(a, folder)
    if a.json:
        pathlib.Path(a.json).write_text(json.dumps(result, indent=1) + "\n")
    print("passed" if good else f"FAILED; {folder} is kept")
    if good:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
