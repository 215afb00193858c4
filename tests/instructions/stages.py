#!/usr/bin/env python3
"""Instructions an event by stage, as tables in Markdown: each stage of benches/work, and the jobs of the comparison as
sums of them.

Usage: stages.py [PART OF A NAME]

Callgrind counts only inside of the function that runs a stage; what the stage takes (a batch, freshly decoded) is made
outside of it, and a first round that does not count fills caches. The figures depend on the compiler and on what the
processor has for copying and searching, not on the machine's load.
"""

import sys

import counting

ROUNDS, EVENTS = 5, 600
# What a decoder is given frames by, which its figure takes in.
FRAMED = {"decoding/json": "framing/lines of JSON", "decoding/text": "framing/lines of access log"}
SHAPE = ["transforms/normalize"]
CHAIN = [*SHAPE, "transforms/redact, three kinds in message", "transforms/validate", "transforms/sample"]
JOBS = {
    "passthrough": ["decoding/text", "encoding/text, in place"],
    "main": ["decoding/json", *CHAIN, "encoding/json, after main"],
    "ship": ["decoding/json", *CHAIN, "encoding/openobserve body"],
    "http": ["decoding/json", *SHAPE, "encoding/openobserve body"],
    "buffer": ["decoding/json", *SHAPE, "disk buffer/pack", "disk buffer/checksum", "encoding/openobserve body"],
    "syslog": ["framing/syslog, by lines", "decoding/syslog 5424", "encoding/json, of syslog"],
}


def main():
    program = counting.program()
    names = counting.callgrind(program, "list", only_measured=False)[1].splitlines()
    part = sys.argv[1] if len(sys.argv) > 1 else ""
    found, left = {}, {}
    print("| stage | instructions an event | an input byte |\n| --- | --- | --- |")
    for name in names:
        if part in name:
            found[name], size, events = counting.an_event(program, "stage", name, rounds=ROUNDS)
            if name == "encoding/json, after main":
                left["main"] = events / EVENTS
            print(f"| {name.replace('/', ': ', 1)} | {found[name]:,.0f} | {found[name] / size:.2f} |", flush=True)
    if part:
        return
    # What a worker adds to decoding: counters, the queue, the acknowledgement.
    overhead = max(found["worker/decode json"] - found["decoding/json"], 0)
    print("\n| job | sum | of it, by stage |\n| --- | --- | --- |")
    for job, stages in JOBS.items():
        rows = []
        for stage in stages:
            cost = found[stage]
            if stage in FRAMED:
                rows.append(("framing", found[FRAMED[stage]]))
                cost -= found[FRAMED[stage]]
            # Behind `sample` there are fewer events.
            share = left["main"] if stage.startswith("encoding/") and "transforms/sample" in stages else 1
            rows.append((stage.replace("/", " ").replace("transforms ", ""), cost * share))
        rows.append(("worker, queue, acknowledgement", overhead))
        listed = ", ".join(f"{name} {cost:,.0f}" for name, cost in rows)
        print(f"| {job} | {sum(cost for _, cost in rows):,.0f} | {listed} |")


main()
