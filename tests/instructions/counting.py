"""Building benches/instructions.rs and counting what it does."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def program():
    """The program, built with the profile `instructions`."""
    if not shutil.which("valgrind"):
        sys.exit("valgrind is not installed")
    out = subprocess.run(
        ["cargo", "build", "--locked", "--profile", "instructions", "--bench", "instructions", "--message-format=json"],
        cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
    ).stdout
    messages = (json.loads(line) for line in out.splitlines())
    return next(m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == "instructions")


def callgrind(program, *arguments, only_measured):
    """Instructions of one run, and what it printed; `only_measured`: those inside of the function `measured`."""
    toggle = ["--toggle-collect=*measured*"] if only_measured else []
    # The allocator's tuning and the environment's size must not matter.
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    ran = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *toggle, program, *map(str, arguments)],
        check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )
    return int(re.search(r"Collected : (\d+)", ran.stderr).group(1)), ran.stdout


def an_event(program, *arguments, rounds):
    """Instructions an event, bytes of an event, and events of a round, of a stage or of something scaled."""
    counted, said = callgrind(program, *arguments, rounds, only_measured=True)
    events, size = map(int, re.match(r"(\d+) events, (\d+) bytes", said).groups())
    if not counted:
        sys.exit(f"nothing was counted for {arguments}: the function `measured` was not found")
    return counted / (events * rounds), size / events, events
