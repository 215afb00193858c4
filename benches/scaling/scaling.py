#!/usr/bin/env python3
"""How speed and cost change with workers, files, sources, sinks and the size of batches.

  cargo build --release
  benches/scaling/scaling.py                       # all tables, a few minutes
  benches/scaling/scaling.py --only sinks --runs 5
  benches/scaling/scaling.py --tidegate PATH --dir /dev/shm

Python 3.9 and Linux are all it needs. The input is the corpus of ../compare (access log and JSON), made once in `--dir`. Each run is
`tidegate run --once`: the clock runs from its start to its end, CPU seconds are the kernel's account of the process. Runs of a
table take turns; what is printed is the median. Every output is read: `passthrough` must have the input's bytes, `main` all lines
that have to come out and about a tenth of those that are sampled, in each sink.

Job `passthrough` tails into a file; job `main` decodes JSON, normalizes, redacts, validates and samples. A table's last column is
CPU time against its first row; where a row costs more than in proportion to what it has more of, `(!)` stands behind it.
"""

import argparse
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "compare"))
import corpus  # noqa: E402

CHAIN = """  shape: {type: normalize, inputs: [%s], schema: log, keep_rest: root}
  clean: {type: redact, inputs: [shape], in: [message], detect: [secrets, credit_card, email]}
  quality:
    type: validate
    inputs: [clean]
    schema: log
    rules:
      - {check: 'traceId.matches("^[0-9a-fA-F]{32}$")', error: "traceId is not 32 hex digits"}
  thin: {type: sample, inputs: [quality], by: level, rates: {DEBUG: 0.1, default: 1.0}}
"""
MARGIN = 1.15  # Noise of a run of half a second.


def resident(pid):
    """Most MiB that the process has had in memory so far."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    peak = re.search(r"VmHWM:\s+(\d+)", status)
    return int(peak.group(1)) / 1024 if peak else 0


class Input:
    """A corpus, whole or split into several files."""

    def __init__(self, job, folder, lines):
        self.job = job
        self.path = folder / f"{job}.{lines}"
        kind = "app" if job == "main" else "access"
        if not self.path.exists():
            corpus.write(kind, lines, self.path)
        self.bytes, self.lines = self.path.stat().st_size, lines
        kinds = pathlib.Path(f"{self.path}.kinds").read_bytes()
        kept, sampled = kinds.count(corpus.Kind.KEPT), kinds.count(corpus.Kind.SAMPLED)
        self.least, self.most = (kept + sampled // 20, kept + sampled // 6) if job == "main" else (lines, lines)

    def split(self, parts):
        """Paths of `parts` files that together are the corpus."""
        if parts == 1:
            return [self.path]
        paths = [self.path.with_name(f"{self.path.name}.{parts}.{n}") for n in range(parts)]
        if not paths[-1].exists():
            data = self.path.read_bytes()
            at = 0
            for n, path in enumerate(paths):
                end = data.find(b"\n", len(data) * (n + 1) // parts - 1) + 1
                path.write_bytes(data[at:end])
                at = end
        return paths

    def check(self, out):
        if self.job == "passthrough":
            wrong = out.stat().st_size != self.bytes
        else:
            with open(out, "rb") as f:
                lines = sum(block.count(b"\n") for block in iter(lambda: f.read(1 << 20), b""))
            wrong = not self.least <= lines <= self.most
        if wrong:
            sys.exit(f"{out} does not have what it is to have")


class Case:
    """One row: a configuration."""

    def __init__(self, name, given, factor=1.0, threads=None, files=1, sources=1, sinks=1, sink="file", batch=None):
        """`factor`: how much more of what the table varies it has than the first row."""
        self.name, self.input, self.factor = name, given, factor
        self.threads, self.files, self.sources, self.sinks, self.sink, self.batch = threads, files, sources, sinks, sink, batch
        self.runs = []

    def yaml(self, folder, port):
        paths = self.input.split(max(self.files, self.sources))
        groups = [paths] if self.sources == 1 else [[p] for p in paths]
        decode = ", decode: json" if self.input.job == "main" else ""
        out = [f"data_dir: {folder}/data"]
        if self.threads:
            out.append(f"threads: {self.threads}")
        out.append("sources:")
        for n, group in enumerate(groups):
            out.append(f"  in{n}: {{type: file, include: [{', '.join(map(str, group))}]{decode}}}")
        inputs = ", ".join(f"in{n}" for n in range(len(groups)))
        if self.input.job == "main":
            out.append("transforms:")
            out.append(CHAIN % inputs)
            inputs = "thin"
        out.append("sinks:")
        encoding = "json" if self.input.job == "main" else "text"
        for n in range(self.sinks):
            more = {
                "file": f"path: {folder}/out{n}.log, encoding: {encoding}",
                "blackhole": "",
                "openobserve": f'url: "http://127.0.0.1:{port}", organization: default, stream: scaling, compression: none, '
                f'auth: {{basic: {{user: "a@example.com", password: b}}}}, batch: {{max_bytes: {self.batch}, timeout: 1s}}',
            }[self.sink]
            out.append(f"  out{n}: {{type: {self.sink}, inputs: [{inputs}]{', ' if more else ''}{more}}}")
        return "\n".join(out) + "\n"

    def run(self, program, folder):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="scaling-", dir=folder))
        receiver, port = None, 0
        try:
            if self.sink == "openobserve":
                command = [sys.executable, str(HERE.parent / "compare" / "receiver.py"), "--low", str(self.input.least)]
                receiver = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                port = int(re.search(r"\d+", receiver.stdout.readline()).group())
            (folder / "tidegate.yaml").write_text(self.yaml(folder, port))
            log = open(folder / "log", "wb")
            command = [program, "run", "--once", "--config", str(folder / "tidegate.yaml"), "--log-level", "warn"]
            began = time.perf_counter()
            child = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
            peak = 0
            while True:
                pid, status, usage = os.wait4(child.pid, os.WNOHANG)
                if pid:
                    break
                peak = max(peak, resident(child.pid))
                time.sleep(0.003)
            took = time.perf_counter() - began
            child.returncode = os.waitstatus_to_exitcode(status)
            if child.returncode != 0:
                sys.exit(f"{self.name}: {(folder / 'log').read_text()[-2000:]}")
            for n in range(self.sinks if self.sink == "file" else 0):
                self.input.check(folder / f"out{n}.log")
            if receiver:
                told = receiver.communicate()[0]
                records = int(re.search(r'"records": (\d+)', told).group(1))
                if not self.input.least <= records <= self.input.most:
                    sys.exit(f"{self.name}: {records} records came")
            self.runs.append((took, usage.ru_utime + usage.ru_stime, peak))
        finally:
            if receiver:
                receiver.kill()
                receiver.wait()
            shutil.rmtree(folder)

    def median(self, column):
        return statistics.median(run[column] for run in self.runs)


def tables(main, passthrough):
    """Title, what is varied, groups of cases; each group is compared with its first."""
    jobs = (main, passthrough)
    numbers = (1, 2, 4, 8)
    return {
        "workers": ("Workers (`threads`)", [
            [Case(f"{i.job}, {files} file{'s' * (files > 1)}, `threads: {t}`", i, 1, threads=t, files=files) for t in (1, 2)]
            for i in jobs for files in (1, 8)
        ]),
        "files": ("Files of one source, the same bytes in all", [
            [Case(f"{i.job}, {n} file{'s' * (n > 1)}", i, 1, files=n) for n in (1, 8, 64)] for i in jobs
        ]),
        "sources": ("Sources, the same bytes in all", [
            [Case(f"{i.job}, {n} source{'s' * (n > 1)}", i, 1, sources=n) for n in numbers] for i in jobs
        ]),
        "sinks": ("Sinks, each of which gets everything", [
            [Case(f"{i.job}, {n} × {kind}", i, n, sinks=n, sink=kind) for n in numbers]
            for i in jobs for kind in ("file", "blackhole")
        ]),
        "batches": ("`batch.max_bytes` of an `openobserve` sink", [
            [Case(f"main, {size}", main, 1, sink="openobserve", batch=size) for size in ("4MiB", "1MiB", "256KiB", "64KiB")]
        ]),
    }


def show(title, groups):
    print(f"\n**{title}**\n")
    print("| case | seconds | MB/s of input | CPU seconds | peak MiB | CPU against the first |")
    print("| --- | --- | --- | --- | --- | --- |")
    for group in groups:
        first = group[0].median(1)
        for case in group:
            took, cpu, resident = (case.median(n) for n in range(3))
            ratio = cpu / first
            worse = " (!)" if ratio > case.factor * MARGIN else ""
            rate = case.input.bytes / 1e6 / took
            print(f"| {case.name} | {took:.2f} | {rate:,.0f} | {cpu:.2f} | {resident:.0f} | {ratio:.2f}{worse} |", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tidegate", default=str(HERE.parents[1] / "target" / "release" / "tidegate"))
    p.add_argument("--lines", type=int, default=300_000, help="of JSON; of the access log six times as many")
    p.add_argument("--runs", type=int, default=3)
    p.add_argument("--only", action="append", help="workers, files, sources, sinks or batches")
    p.add_argument("--dir", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()), help="for input and output")
    a = p.parse_args()
    program = shutil.which(a.tidegate) or sys.exit(f"there is no program {a.tidegate}")
    folder = a.dir / "tidegate-scaling"
    folder.mkdir(parents=True, exist_ok=True)
    # Lines of the access log are shorter, and go through much faster.
    inputs = {"main": Input("main", folder, a.lines), "passthrough": Input("passthrough", folder, 6 * a.lines)}
    for name, (title, groups) in tables(inputs["main"], inputs["passthrough"]).items():
        if a.only and name not in a.only:
            continue
        for _ in range(a.runs):
            for group in groups:
                for case in group:
                    case.run(program, folder)
        show(title, groups)


if __name__ == "__main__":
    main()
