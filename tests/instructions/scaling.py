#!/usr/bin/env python3
"""Instructions an event against what grows: the event, its fields, the rules it is held against. Fails where the cost grows
faster than that.

Usage: scaling.py [--quick] [PART OF A NAME]

A table in Markdown for each kind of `benches/work/scaling.rs`. Judged is what one more costs: from the middle of the
range to its end it may be at most half more than over the range as a whole. `--quick` counts three sizes of each.
"""

import ast
import sys

import counting

ROUNDS = 3
MARGIN = 1.5


def main():
    words = [w for w in sys.argv[1:] if w != "--quick"]
    program, worse = counting.program(), []
    for line in counting.callgrind(program, "kinds", only_measured=False)[1].splitlines():
        kind, unit, sizes = line.split("\t")
        if words and words[0] not in kind:
            continue
        sizes = ast.literal_eval(sizes)
        if "--quick" in sys.argv:
            sizes = [sizes[0], sizes[2], sizes[4]]
        counts = [counting.an_event(program, "scaled", kind, n, rounds=ROUNDS)[0] for n in sizes]
        slope = lambda a, b: (counts[b] - counts[a]) / (sizes[b] - sizes[a])
        middle = len(sizes) // 2
        whole, late = slope(0, -1), slope(middle, -1)
        early = slope(0, middle)
        verdict = "linear" if late <= MARGIN * max(early, 0) or late * sizes[-1] < 0.1 * counts[-1] else "worse than linear"
        print(f"| {kind}: " + " | ".join(f"{n:,}" for n in sizes) + f" | one of the {unit} more |")
        print("| --- " * (len(sizes) + 1) + "| --- |")
        print("| instructions | " + " | ".join(f"{c:,.0f}" for c in counts) + f" | {early:,.1f}, then {late:,.1f}: {verdict} |\n", flush=True)
        if verdict != "linear":
            worse.append(kind)
    if worse:
        sys.exit(f"worse than linear: {', '.join(worse)}")


main()
