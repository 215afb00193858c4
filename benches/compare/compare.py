#!/usr/bin/env python3
"""Run log agents over the same input, side by side, and say how fast each is, what it takes, and whether its output is right.

  compare.py                                   all jobs, tidegate and every other agent that is on PATH
  compare.py main syslog --runs 5              two jobs, five runs of each agent
  compare.py --agents tidegate,vector=/opt/vector/bin/vector
  compare.py --lines 50000 --out /tmp/x        a quick look that leaves the figures in docs/ alone

jobs:
{jobs}

Agents take turns: A B C, A B C, …. A run is over when the last record of the input is out. Then the output is read:
every record that has to be there must be there once, none that has to be dropped, and in `main` no mail address, card number,
password or token of the input. With the HTTP jobs the timed runs are counted, and a shorter run before them is
read. A run whose output is wrong counts for nothing, and the exit status is 1.

Wall time, CPU seconds (of the agent alone, starting and stopping included) and peak resident memory are medians;
ratios are taken run by run, and then their median. Read ratios, not times: machines differ. Use release builds, and let
nothing else run.

With --lines of 100000 or more, or with --out, compare.json, compare.md and compare.svg are written there; jobs that were not
run keep their last figures. Python 3.9 or newer, nothing to install. README.md beside this file says what the agents are told.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import check  # noqa: E402
import corpus  # noqa: E402
import report  # noqa: E402

ROOT = HERE.parents[1]
POLL = 0.002


class Job:
    """What is to be done: from which corpus, into what, with a tenth of DEBUG or all."""

    def __init__(self, name, kind, output, words, feed="file", sampled=False):
        self.name, self.kind, self.output, self.words, self.feed, self.sampled = name, kind, output, words, feed, sampled


JOBS = {j.name: j for j in (
    Job("passthrough", "access", "file", "tail an access log, lines as they are, into a file"),
    Job("main", "app", "file", "tail JSON, decode, normalize, redact, validate, sample, into a file as JSON", sampled=True),
    Job("ship", "app", "http", "as main, over HTTP in batches of 1 MB", sampled=True),
    Job("http", "app", "http", "tail JSON, decode, normalize, over HTTP"),
    Job("buffer", "app", "http", "as http, through a buffer on disk"),
    Job("syslog", "syslog", "file", "RFC 5424 over one TCP connection, parsed, into a file as JSON", feed="tcp"),
)}

# Each agent: its arguments, and how it says its version. Its jobs are those it has a file for under configs/.
AGENTS = {
    "tidegate": {"args": ["run", "--config", "@CONFIG@", "--log-level", "warn"], "version": ["--version"]},
    "vector": {"args": ["--config", "@CONFIG@"], "version": ["--version"], "env": {"VECTOR_LOG": "warn"}},
    "fluent-bit": {"args": ["-c", "@CONFIG@", "-q"], "version": ["--version"]},
    "rsyslogd": {"args": ["-n", "-f", "@CONFIG@", "-i", "@DIR@/pid"], "version": ["-v"]},
    "syslog-ng": {
        "args": ["-F", "-f", "@CONFIG@", "-R", "@DIR@/persist", "-p", "@DIR@/pid", "-c", "@DIR@/ctl", "--no-caps"],
        "version": ["--version"],
    },
    "cat": {"args": ["-c", "exec cat @IN@ > @OUT@"], "program": "sh", "jobs": ["passthrough"], "version": None},
}

__doc__ = __doc__.format(jobs="\n".join(f"  {j.name:12} {j.words}" for j in JOBS.values()))


class Wrong(Exception):
    """A run that counts for nothing, and why."""


def config_of(agent, job):
    return next((HERE / "configs" / agent).glob(f"{job}.[cy]*"), None)


def takes_part(agent, job):
    return job in AGENTS[agent].get("jobs", ()) or config_of(agent, job) is not None


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def send_over_tcp(port, path, give_up):
    """Sends a file over one connection, as fast as it is taken."""
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port))
            break
        except OSError:
            if give_up.wait(0.01):
                return
    try:
        with connection, open(path, "rb") as f:
            connection.sendfile(f)
    except OSError:
        pass  # The agent is gone; the run says so.


class Corpus:
    """Lines of one kind, made once and kept."""

    def __init__(self, folder, kind, lines, seed):
        self.path = folder / f"{kind}-{lines}-{seed}"
        self.lines = lines
        kinds = pathlib.Path(f"{self.path}.kinds")
        if not (self.path.exists() and kinds.exists() and kinds.stat().st_size == lines):
            print(f"making {lines} lines of {kind} …", file=sys.stderr)
            corpus.write(kind, lines, self.path, seed)
        self.kinds = kinds.read_bytes()
        self.bytes = self.path.stat().st_size

    def warm(self):
        for _ in check.chunks(self.path):
            pass


class Receiver:
    """The HTTP end, a process of its own."""

    def __init__(self, low, keep=None):
        command = [sys.executable, str(HERE / "receiver.py"), "--low", str(low), "--marker", corpus.MARKER.decode()]
        self.process = subprocess.Popen(command + (["--keep", str(keep)] if keep else []), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.port = self.said()["port"]

    def said(self):
        return json.loads(self.process.stdout.readline())

    def is_done(self, seconds):
        return bool(select.select([self.process.stdout], [], [], seconds)[0]) and self.said().get("done", False)

    def end(self):
        """Its counts."""
        out, _ = self.process.communicate()
        return json.loads(out.splitlines()[-1])


def receiver_limit(data):
    """MB/s that the receiver takes from a sender that does nothing but send: bodies of 1 MB over one connection."""
    receiver = Receiver(data.lines)
    sent = 0
    start = time.perf_counter()
    with socket.create_connection(("127.0.0.1", receiver.port)) as connection, open(data.path, "rb") as f:
        while body := f.read(1_000_000):
            connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body))
            connection.sendall(body)
            connection.recv(4096)
            sent += len(body)
    wall = time.perf_counter() - start
    receiver.end()
    return sent / 1e6 / wall


class Output:
    """An output file, looked at while it grows."""

    def __init__(self, path):
        self.path, self.size, self.grown = path, -1, time.perf_counter()

    def is_done(self):
        """True once the marked record is in the file: near its end, or, when it grows no more, anywhere."""
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            return False
        now = time.perf_counter()
        if size == self.size:
            if now - self.grown < 1:
                return False
            self.grown = now
            return any(corpus.MARKER in piece for piece in check.chunks(self.path))
        self.size, self.grown = size, now
        with open(self.path, "rb") as f:
            f.seek(max(0, size - 16384))
            return corpus.MARKER in f.read()


def peak_kib(pid):
    """Peak resident memory so far. The figure of wait4 will not do: it counts what this program had when it forked."""
    try:
        with open(f"/proc/{pid}/status") as status:
            return next((int(line.split()[1]) for line in status if line.startswith("VmHWM:")), 0)
    except (OSError, ProcessLookupError):
        return 0


def busy():
    """CPU seconds that the whole machine has worked, or was made to wait by its host, since it started."""
    with open("/proc/stat") as stat:
        user, nice, system, _, _, irq, softirq, steal = map(int, stat.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def end(process):
    """Stops it; its CPU seconds. Waits by itself, as `Popen` would throw the figures away."""
    os.kill(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + 30
    while True:
        pid, status, used = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return used.ru_utime + used.ru_stime
        if time.monotonic() > deadline:
            os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.005)


def run_once(job, agent, program, data, limit, work, read_all=True):
    """One run of one agent: its figures. Raises `Wrong` where it did not end or its output is not right."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{job.name}-{agent}-", dir=work))
    give_up = threading.Event()
    receiver = process = None
    try:
        low, high = check.bounds(data.kinds, job.sampled)
        out, kept = folder / "out.log", folder / "bodies"
        words = {"IN": data.path, "OUT": out, "DIR": folder, "SYSLOG_PORT": free_port(), "HTTP_PORT": 0}
        if job.output == "http":
            receiver = Receiver(low, kept if read_all else None)
            words["HTTP_PORT"] = receiver.port

        def fill(text):
            for name, value in words.items():
                text = text.replace(f"@{name}@", str(value))
            return text

        told = AGENTS[agent]
        if (config := config_of(agent, job.name)) is not None:
            words["CONFIG"] = folder / config.name
            for source in config.parent.iterdir():
                if source == config or source.stem not in JOBS or source.suffix == ".lua":
                    (folder / source.name).write_text(fill(source.read_text()))
        command = [program] + [fill(word) for word in told["args"]]
        os.sync()
        before, own = busy(), time.process_time()
        with open(folder / "agent.log", "wb") as log:
            start = time.perf_counter()
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env={**os.environ, **told.get("env", {})})
        if job.feed == "tcp":
            threading.Thread(target=send_over_tcp, args=(words["SYSLOG_PORT"], data.path, give_up), daemon=True).start()
        output, peak, done = Output(out), 0, False
        while not done and time.perf_counter() - start < limit:
            done = receiver.is_done(POLL) if receiver else output.is_done()
            if not done and os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                done = receiver is None and output.is_done()
                break
            if not AGENTS[agent]["version"]:
                peak = peak_kib(process.pid) or peak  # It ends by itself, and then has none.
            if not done and not receiver:
                time.sleep(POLL)
        wall = time.perf_counter() - start
        all_of_it, own = busy() - before, time.process_time() - own
        peak = peak_kib(process.pid) or peak
        cpu = end(process)
        counts = receiver.end() if receiver else None
        receiver = None
        if not done:
            said = (folder / "agent.log").read_text(errors="replace")[-1500:]
            raise Wrong(f"the last record did not come out within {wall:.0f} s; its log ends:\n{said}")
        result = {"wall": wall, "mbps": data.bytes / 1e6 / wall, "cpu": cpu, "peak_mib": peak / 1024}
        # What neither agent nor receiver nor this program took: a share of what there was.
        rest = all_of_it - cpu - own - (counts["cpu"] if counts else 0)
        result["others"] = max(0.0, rest) / (wall * os.cpu_count())
        if counts:
            result.update(records=counts["records"], requests=counts["requests"], receiver_cpu=counts["cpu"])
            if not low <= counts["records"] <= high:
                raise Wrong(f"{counts['records']} records came, {low} to {high} were expected")
        if not counts or read_all:
            seen = check.Seen.of(kept if counts else out, data.lines)
            if found := check.faults(seen, data.kinds, job.sampled):
                raise Wrong("; ".join(found))
            result["records"] = seen.records
        if job.name == "passthrough" and agent in ("tidegate", "cat") and not check.same_bytes(data.path, out):
            raise Wrong("the output is not the input byte for byte")
        return result
    finally:
        give_up.set()
        if process is not None and process.returncode is None:
            process.kill()
            process.wait()
        if receiver is not None:
            receiver.process.kill()
        shutil.rmtree(folder, ignore_errors=True)


def version(agent, program):
    how = AGENTS[agent]["version"]
    if how is None:
        return ""
    try:
        said = subprocess.run([program] + how, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=10).stdout.decode(errors="replace")
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"\d+\.\d+(\.\d+)*", said)
    return found.group(0) if found else ""


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    return {"cpu": model, "cores": os.cpu_count(), "system": f"{platform.system()} {platform.release()}"}


def programs(wanted, tidegate):
    """The agents that are there, by name and path, and the names of those that are not."""
    here, missing = {}, []
    for word in wanted.split(",") if wanted else AGENTS:
        name, _, path = word.partition("=")
        if name not in AGENTS:
            sys.exit(f"no agent is called {name!r}; there are {', '.join(AGENTS)}")
        path = path or (tidegate if name == "tidegate" else "") or AGENTS[name].get("program", name)
        found = shutil.which(path)
        if found:
            here[name] = os.path.abspath(found)
        elif wanted or name == "tidegate":
            sys.exit(f"{name}: there is no program {path}" + ("; build it with `cargo build --release`" if name == "tidegate" else ""))
        else:
            missing.append(name)
    return here, missing


def median_of(runs):
    return {key: statistics.median(r[key] for r in runs) for key in runs[0]}


def summary(first, turns):
    """Medians of an agent's runs, and ratios to the first agent, run by run."""
    good = [r for r in turns if r]
    if not good:
        return None
    result = {"runs": good, "failed": len(turns) - len(good), "median": median_of(good)}
    pairs = [(a, b) for a, b in zip(first, turns) if a and b]
    if pairs:
        result["first_is_faster"] = statistics.median(b["wall"] / a["wall"] for a, b in pairs)
        result["cpu_of_first"] = statistics.median(b["cpu"] / a["cpu"] for a, b in pairs)
    return result


def compare(job, here, missing, a, work):
    """All runs of one job."""
    agents = {name: path for name, path in here.items() if takes_part(name, job.name)}
    absent = [name for name in missing if takes_part(name, job.name)]
    data = Corpus(work, job.kind, a.lines, a.seed)
    data.warm()
    result = {"lines": a.lines, "bytes": data.bytes, "rounds": a.runs, "seed": a.seed, "when": time.strftime("%Y-%m-%d", time.gmtime()),
              "words": job.words, "absent": absent, "no_part": [n for n in here if n not in agents], "agents": {}, "faults": []}
    turns = {name: [] for name in agents}

    def note(name, what):
        print(f"{job.name}: {name}: {what}", file=sys.stderr, flush=True)

    def fault(name, why):
        note(name, f"WRONG: {why}")
        result["faults"].append(f"{name}: {why}")

    if job.output == "http":
        few = Corpus(work, job.kind, min(a.lines, 50_000), a.seed)
        for name, program in list(agents.items()):
            try:
                run_once(job, name, program, few, a.limit, work)
            except Wrong as why:
                fault(name, why)
                agents.pop(name)
        result["receiver_mbps"] = receiver_limit(data)
        note("the receiver", f"{result['receiver_mbps']:.0f} MB/s from a sender that only sends")
    for n in range(a.runs):
        for name, program in agents.items():
            try:
                turns[name].append(run_once(job, name, program, data, a.limit, work, read_all=job.output == "file"))
                note(name, "run {}: {wall:.2f} s, {mbps:.0f} MB/s, {cpu:.2f} CPU s, {peak_mib:.0f} MiB; others took {others:.0%} of the machine".format(n + 1, **turns[name][-1]))
            except Wrong as why:
                turns[name].append(None)
                fault(name, why)
    first = next(iter(turns), None)
    for name in turns:
        if (s := summary(turns[first], turns[name])) is not None:
            result["agents"][name] = {"version": version(name, here[name]), **s}
    return result


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("jobs", nargs="*", metavar="JOB", help=f"{', '.join(JOBS)} (default: all)")
    p.add_argument("--tidegate", metavar="PATH", help="the program (default: target/release/tidegate, else the one on PATH)")
    p.add_argument("--agents", metavar="A,B=PATH,…", help="these, by name or name=path; ratios are to the first (default: tidegate and all on PATH)")
    p.add_argument("--lines", type=int, default=1_000_000, help="lines of input (default: 1000000)")
    p.add_argument("--runs", type=int, default=3, help="runs of each agent (default: 3)")
    p.add_argument("--seed", type=int, default=1, help="of the lines (default: 1)")
    p.add_argument("--limit", type=float, default=300, help="seconds a run may take (default: 300)")
    p.add_argument("--work", metavar="DIR", help="for inputs, which are kept, and outputs (default: tidegate-compare among the temporary files)")
    p.add_argument("--out", metavar="DIR", help="where the figures go (default: docs/figures)")
    p.add_argument("--render", action="store_true", help="run nothing; write compare.md and compare.svg anew from compare.json")
    a = p.parse_args()
    out = pathlib.Path(a.out or ROOT / "docs/figures")
    if a.render:
        report.write(out, json.loads((out / "compare.json").read_text()))
        return 0
    if unknown := [j for j in a.jobs if j not in JOBS]:
        p.error(f"no job is called {unknown[0]!r}; there are {', '.join(JOBS)}")
    if a.lines < 100:
        p.error("--lines must be 100 or more")
    built = ROOT / "target/release/tidegate"
    here, missing = programs(a.agents, a.tidegate or (str(built) if built.exists() else ""))
    work = pathlib.Path(a.work or pathlib.Path(tempfile.gettempdir()) / "tidegate-compare").resolve()
    work.mkdir(parents=True, exist_ok=True)
    keeps = a.out is not None or a.lines >= 100_000
    wrong = False
    for name in a.jobs or JOBS:
        result = compare(JOBS[name], here, missing, a, work)
        wrong |= bool(result["faults"])
        print("\n" + report.table(name, result), flush=True)
        if keeps:
            report.update(out, name, result, machine())
    if keeps:
        print(f"\nwritten: {out}/compare.json, compare.md, compare.svg")
    else:
        print("\nnot written: fewer than 100000 lines, and no --out")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
