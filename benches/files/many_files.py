#!/usr/bin/env python3
"""What many files, idling, starting and the size of the program cost: measured, and held against bars.

    cargo build --release
    benches/files/many_files.py --tidegate target/release/tidegate            # everything, about 15 minutes
    benches/files/many_files.py --tidegate target/release/tidegate idle start  # some of it

Measures: idle, busy, latency, known, start, size. Prints a Markdown table; ends with 1 where a bar is missed. Linux,
Python 3 without further packages. Run it with nothing else running: each figure is CPU time or wall time of one process.
Files lie in --dir (default: the folder for temporary files); `known` wants 500,000 inodes and about 2.5 GB there.
"""

import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

TICKS = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20
LINE = b'{"time":"2026-01-01T00:00:00Z","level":"info","message":"request %08d served","path":"/api/v1/items","ms":12}\n'
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))

FILES = """\
data_dir: {dir}/data
sources:
  in: {{type: file, include: ["{dir}/in/{glob}"]}}
sinks:
  out: {{type: file, inputs: [in], path: {dir}/out.log, encoding: text}}
"""

# Every transform there is, for the time to the first event.
ALL = """\
data_dir: {dir}/data
sources:
  in: {{type: file, include: ["{dir}/in/*.log"], decode: json}}
transforms:
  edit: {{type: edit, inputs: [in], set: {{env: test}}}}
  parse: {{type: parse, inputs: [edit], from: details, decode: logfmt, into: detail}}
  shape: {{type: normalize, inputs: [parse], schema: log, keep_rest: root}}
  context: {{type: enrich, inputs: [shape], fields: {{deployment: a}}, host: true, user_agent: {{from: agent}}}}
  clean: {{type: redact, inputs: [context], detect: [secrets, email, credit_card, ipv4]}}
  quality: {{type: validate, inputs: [clean], schema: log}}
  keep: {{type: filter, inputs: [quality], when: 'level != "TRACE"'}}
  way: {{type: route, inputs: [keep], outputs: {{all: 'level != "X"'}}}}
  thin: {{type: sample, inputs: [way.all], by: level, rates: {{DEBUG: 0.1, default: 1.0}}}}
sinks:
  out: {{type: file, inputs: [thin], path: {dir}/out.log}}
"""


class Agent:
    """A run of the program on a configuration."""

    def __init__(self, program, folder, config=None, glob="*.log"):
        path = os.path.join(folder, "tidegate.yaml")
        with open(path, "w") as f:
            f.write((config or FILES).format(dir=folder, glob=glob))
        self.out = os.path.join(folder, "out.log")
        self.log = os.path.join(folder, "agent.log")
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [program, "run", "--config", path], stdout=subprocess.DEVNULL, stderr=open(self.log, "w"), cwd=folder
        )
        self.proc = f"/proc/{self.process.pid}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(120)

    def size(self):
        try:
            return os.stat(self.out).st_size
        except FileNotFoundError:
            return 0

    def wait_for(self, size, limit=110.0, pause=0.0002):
        """Waits until the output has that many bytes; when."""
        deadline = time.monotonic() + limit
        while self.size() < size:
            if time.monotonic() > deadline or self.process.poll() is not None:
                sys.exit(f"the output has {self.size()} of {size} bytes: see {self.log}\n{open(self.log).read()[-2000:]}")
            time.sleep(pause)
        return time.monotonic()

    def cpu(self):
        """Seconds of CPU used so far, by all threads, as the scheduler counts them."""
        total = 0
        for task in os.listdir(f"{self.proc}/task"):
            with contextlib.suppress(FileNotFoundError), open(f"{self.proc}/task/{task}/schedstat") as f:
                total += int(f.read().split()[0])
        return total / 1e9

    def wakeups(self):
        total = 0
        for task in os.listdir(f"{self.proc}/task"):
            with contextlib.suppress(FileNotFoundError), open(f"{self.proc}/task/{task}/status") as f:
                total += int(re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)", f.read()).group(1))
        return total

    def memory(self, what="VmRSS"):
        with open(f"{self.proc}/status") as f:
            return int(re.search(what + r":\s+(\d+) kB", f.read()).group(1)) / 1024

    def syscalls(self, seconds):
        """System calls a second, and the three most frequent; None without strace."""
        if not shutil.which("strace"):
            return None
        table = os.path.join(os.path.dirname(self.out), "strace")
        strace = subprocess.Popen(
            ["strace", "-f", "-c", "-o", table, "-p", str(self.process.pid)], stderr=subprocess.DEVNULL
        )
        time.sleep(seconds)
        strace.send_signal(signal.SIGINT)
        strace.wait()
        calls = {}
        for line in open(table):
            parts = line.split()
            if len(parts) >= 5 and parts[0][0].isdigit() and parts[-1] != "total":
                calls[parts[-1]] = int(parts[3])
        top = sorted(calls.items(), key=lambda c: -c[1])[:3]
        return sum(calls.values()) / seconds, ", ".join(f"{name} {n / seconds:.1f}" for name, n in top)


class Table:
    def __init__(self):
        self.failed = False
        print("| what | figure | bar | |\n| --- | --- | --- | --- |", flush=True)

    def row(self, what, figure, bar="", ok=None):
        self.failed |= ok is False
        word = {None: "", True: "PASS", False: "FAIL"}[ok]
        print(f"| {what} | {figure} | {bar} | {word} |", flush=True)


def make_files(folder, n, lines=3):
    os.makedirs(os.path.join(folder, "in"), exist_ok=True)
    size = 0
    for i in range(n):
        text = b"".join(LINE % (i * lines + j) for j in range(lines))
        size += len(text)
        with open(os.path.join(folder, "in", f"f{i:06}.log"), "wb") as f:
            f.write(text)
    return size


@contextlib.contextmanager
def scratch(args):
    folder = tempfile.mkdtemp(prefix="many_files.", dir=args.dir)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def idle(args, table):
    bars = {0: (None, None), 1: (None, None), 1000: (0.5, 25), 10_000: (1.0, None)}
    for n in args.idle:
        most, mib = bars.get(n, (None, None))
        with scratch(args) as folder:
            size = make_files(folder, n)
            with Agent(args.tidegate, folder) as agent:
                agent.wait_for(size)
                time.sleep(args.settle)
                cpu, wakeups, start = agent.cpu(), agent.wakeups(), time.monotonic()
                time.sleep(args.seconds if n else args.seconds / 2)
                took = time.monotonic() - start
                percent = (agent.cpu() - cpu) / took * 100
                wakeups = (agent.wakeups() - wakeups) / took
                memory = agent.memory()
                table.row(
                    f"{n:,} files idle: of one core", f"{percent:.3f} %", f"{most} %" if most else "",
                    percent <= most if most else None,
                )
                table.row(
                    f"{n:,} files idle: resident", f"{memory:.1f} MiB", f"{mib} MiB" if mib else "",
                    memory <= mib if mib else None,
                )
                table.row(f"{n:,} files idle: wake-ups a second", f"{wakeups:.1f}")
                if calls := agent.syscalls(10):
                    table.row(f"{n:,} files idle: system calls a second", f"{calls[0]:.0f} ({calls[1]})")


def make_corpus(folder, mib):
    path = os.path.join(folder, "corpus")
    block, i = bytearray(), 0
    while len(block) < MIB:
        block += LINE % i
        i += 1
    with open(path, "wb") as f:
        for _ in range(mib):
            f.write(block)
    return path, len(block) * mib, bytes(block)


def drain(args, folder, corpus, size, n, block=None):
    """MB/s of one busy file beside n idle ones: renamed into the folder, or written all the while."""
    before = make_files(folder, n)
    with Agent(args.tidegate, folder) as agent:
        agent.wait_for(before)
        time.sleep(5 if n else 1)
        busy = os.path.join(folder, "in", "zz-busy.log")
        start = time.monotonic()
        if block is None:
            os.link(corpus, busy)
        else:
            with open(busy, "wb", buffering=0) as f:
                for _ in range(size // len(block)):
                    for at in range(0, len(block), 16384):
                        f.write(block[at : at + 16384])
        return size / 1e6 / (agent.wait_for(before + size, pause=0.001) - start)


def busy(args, table):
    with scratch(args) as where:
        corpus, size, block = make_corpus(where, args.corpus)
        for name, parts in (("there at once", None), ("written all the while", block)):
            speeds = {0: [], 10_000: []}
            for _ in range(args.runs):
                for n in speeds:
                    with scratch(args) as folder:
                        speeds[n].append(drain(args, folder, corpus, size, n, parts))
            alone, among = (statistics.median(s) for s in speeds.values())
            table.row(f"a busy file, {name}: alone", f"{alone:,.0f} MB/s")
            table.row(
                f"the same among 10,000 idle ones", f"{among:,.0f} MB/s, {among / alone:.1%}", "95 %", among >= 0.95 * alone
            )


def latency(args, table):
    with scratch(args) as folder:
        size = make_files(folder, 10_000)
        with Agent(args.tidegate, folder) as agent:
            agent.wait_for(size)
            time.sleep(args.settle)
            taken, rng = [], random.Random(1)
            for i in range(args.writes):
                path = os.path.join(folder, "in", f"f{rng.randrange(10_000):06}.log")
                line = LINE % i
                with open(path, "ab", buffering=0) as f:
                    start = time.monotonic()
                    f.write(line)
                size += len(line)
                while agent.size() < size:
                    if time.monotonic() - start > 60:
                        sys.exit(f"a line of {path} never came")
                taken.append((time.monotonic() - start) * 1000)
                time.sleep(rng.uniform(0.01, 0.15))
            taken.sort()
            p50, p99 = taken[len(taken) // 2], taken[len(taken) * 99 // 100]
            table.row(f"a line to one of 10,000 idle files, {args.writes} times: p50", f"{p50:.2f} ms")
            table.row("the same: p99 (longest)", f"{p99:.2f} ms ({taken[-1]:.2f})", "20 ms", p99 <= 20)


def known(args, table):
    n, per = args.known, 1000
    with scratch(args) as folder:
        size, text = 0, LINE % 0
        for d in range((n + per - 1) // per):
            os.makedirs(os.path.join(folder, "in", f"d{d:04}"))
            for i in range(min(per, n - d * per)):
                fd = os.open(os.path.join(folder, "in", f"d{d:04}", f"f{i:03}.log"), os.O_CREAT | os.O_WRONLY, 0o644)
                os.write(fd, text)
                os.close(fd)
                size += len(text)
        with Agent(args.tidegate, folder, glob="*/*.log") as agent:
            at = agent.wait_for(size)
            table.row(f"{n:,} new files: all read", f"{at - agent.started:.2f} s")
            table.row("the same: resident (highest)", f"{agent.memory():.0f} MiB ({agent.memory('VmHWM'):.0f})")
            start = time.monotonic()
            agent.stop()
            table.row("the same: stopping", f"{time.monotonic() - start:.2f} s")
        for what in ("known files, there", "known files, gone"):
            if what.endswith("gone"):
                shutil.rmtree(os.path.join(folder, "in"))
                os.makedirs(os.path.join(folder, "in", "new"))
            for run in range(args.known_runs):
                inside = sorted(os.listdir(os.path.join(folder, "in")))
                line = LINE % (run + 1)
                with open(os.path.join(folder, "in", inside[len(inside) // 2], "f500.log"), "ab") as f:
                    f.write(line)
                with Agent(args.tidegate, folder, glob="*/*.log") as agent:
                    size += len(line)
                    first = agent.wait_for(size) - agent.started
                    table.row(f"{n:,} {what}: start to first event", f"{first:.2f} s", "5 s", first <= 5)
                    time.sleep(args.settle)
                    table.row("the same: resident (highest)", f"{agent.memory():.0f} MiB ({agent.memory('VmHWM'):.0f})")
                    if run == 0:
                        cpu, start = agent.cpu(), time.monotonic()
                        time.sleep(args.seconds / 3)
                        percent = (agent.cpu() - cpu) / (time.monotonic() - start) * 100
                        table.row("the same: of one core, idle", f"{percent:.2f} %")


def start(args, table):
    quick = open(os.path.join(ROOT, "pipelines", "quickstart.yaml")).read()
    for what, config in (("one source, one sink", FILES), ("every transform", ALL), ("quickstart", None)):
        taken = []
        for run in range(args.starts):
            with scratch(args) as folder:
                if config is None:
                    shutil.copytree(os.path.join(ROOT, "examples"), os.path.join(folder, "examples"))
                    config_of = quick.replace("{", "{{").replace("}", "}}")
                else:
                    make_files(folder, 1, 1)
                    config_of = config
                agent = Agent(args.tidegate, folder, config_of)
                if config is None:
                    agent.out = os.path.join(folder, "out/quickstart/payments.ndjson")
                with agent:
                    taken.append((agent.wait_for(1, pause=0.0001) - agent.started) * 1000)
        worst, middle = max(taken), statistics.median(taken)
        table.row(f"start to first event, {what}: median (longest of {len(taken)})", f"{middle:.1f} ms ({worst:.1f})",
                  "50 ms", middle <= 50)


def size(args, table):
    mib = os.stat(args.tidegate).st_size / MIB
    table.row("the program", f"{mib:.2f} MiB", "15 MiB", mib < 15)


MEASURES = {f.__name__: f for f in (idle, busy, latency, known, start, size)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=f"of {', '.join(MEASURES)}; default: all")
    parser.add_argument("--tidegate", default=os.path.join(ROOT, "target/release/tidegate"), metavar="PATH")
    parser.add_argument("--dir", help="where files are made")
    parser.add_argument("--seconds", type=float, default=60, help="length of a measurement of idling")
    parser.add_argument("--settle", type=float, default=15, help="wait before it")
    parser.add_argument("--idle", type=int, nargs="+", default=[0, 1, 1000, 10_000], metavar="FILES")
    parser.add_argument("--runs", type=int, default=5, help="of each kind of `busy`, taking turns")
    parser.add_argument("--corpus", type=int, default=400, metavar="MIB", help="the busy file")
    parser.add_argument("--writes", type=int, default=400, help="of `latency`")
    parser.add_argument("--known", type=int, default=500_000, help="files of `known`")
    parser.add_argument("--known-runs", type=int, default=2)
    parser.add_argument("--starts", type=int, default=20, help="runs of `start`")
    args = parser.parse_args()
    args.tidegate = os.path.abspath(args.tidegate)
    wrong = [m for m in args.measures if m not in MEASURES]
    if wrong:
        parser.error(f"no measure {wrong[0]}: there are {', '.join(MEASURES)}")
    table = Table()
    for name in args.measures or MEASURES:
        MEASURES[name](args, table)
    return 1 if table.failed else 0


if __name__ == "__main__":
    sys.exit(main())
