#!/usr/bin/env python3
"""Instructions an event, counted by callgrind, beside the figures that are kept.

Usage: check.py [--update]

Builds benches/instructions.rs with the profile `instructions`, runs each chain with two numbers of rounds and takes the
difference, so that starting up does not count. More than 5 % above the kept figure is a failure; more than 5 % below asks
for an update. Figures of another compiler, C library or kind of processor are shown and not judged.
"""

import json
import pathlib
import subprocess
import sys

import counting

KEPT = pathlib.Path(__file__).with_name("expected.json")
EVENTS, FEW, MANY, MARGIN = 600, 5, 25, 0.05


def surroundings():
    """What else decides about the count: the compiler, the C library, and what the processor has for copying and searching."""
    first = lambda *command: subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[0]
    flags = next((line for line in open("/proc/cpuinfo") if line.startswith("flags")), "").split()
    wanted = ("sse4_2", "avx", "avx2", "bmi2", "erms", "fsrm", "avx512f", "avx512vl")
    return [first("rustc", "--version"), first("ldd", "--version"), first("valgrind", "--version"),
            " ".join(flag for flag in wanted if flag in flags)]


def main():
    program = counting.program()
    here = surroundings()
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {"counted_with": here, "instructions_per_event": {}}
    now, wrong = {}, []
    for chain in ("json", "main", "syslog"):
        few, many = (counting.callgrind(program, chain, rounds, only_measured=False)[0] for rounds in (FEW, MANY))
        now[chain] = round((many - few) / (EVENTS * (MANY - FEW)))
        before = kept["instructions_per_event"].get(chain)
        change = f"{now[chain] / before - 1:+.1%}" if before else "new"
        print(f"{chain:8} {now[chain]:6} instructions an event, kept {before}, {change}")
        if before and abs(now[chain] / before - 1) > MARGIN:
            wrong.append(chain)
    if "--update" in sys.argv:
        KEPT.write_text(json.dumps({"counted_with": here, "instructions_per_event": now}, indent=2) + "\n")
    elif kept["counted_with"] != here:
        print(f"not judged: the figures were counted with {kept['counted_with']}, these with {here}")
    elif wrong:
        sys.exit(f"more than {MARGIN:.0%} from what is kept: {', '.join(wrong)}; if that is meant, run with --update")


main()
