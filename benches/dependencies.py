#!/usr/bin/env python3
"""Writes docs/dependencies.md: what each dependency brings along, what is built twice, and how long a build takes.

    cargo build --locked --release --timings     # for the times; without it they are left as they are in the file
    benches/dependencies.py [TIMINGS.html]

Python 3 without further packages; `cargo tree` and `cargo metadata` are asked. What stands between the marks is written
anew, the rest of the file is kept.
"""

import collections
import json
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FILE = os.path.join(ROOT, "docs", "dependencies.md")


def cargo(*args):
    return subprocess.run(["cargo", *args], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def tree():
    """What each package needs to run on this platform, build tools and macros included: name version to set of such."""
    needs, path = collections.defaultdict(set), []
    text = cargo("tree", "--locked", "-e", "normal,build", "--prefix", "depth", "--no-dedupe", "-f", " {p}")
    for line in text.splitlines():
        depth, name, version = re.match(r"(\d+) (\S+) v(\S+)", line).groups()
        depth = int(depth)
        path[depth:] = [f"{name} {version}"]
        needs[path[depth]].update(())
        if depth:
            needs[path[depth - 1]].add(path[depth])
    return needs, path[0]


def below(needs, one):
    found, todo = set(), [one]
    while todo:
        for next_one in needs[todo.pop()]:
            if next_one not in found:
                found.add(next_one)
                todo.append(next_one)
    return found


def sizes():
    needs, root = tree()
    every = below(needs, root)
    direct = sorted(needs[root], key=lambda d: -len(below(needs, d)))
    with_it = {d: below(needs, d) | {d} for d in direct}
    lines = [f"{len(every)} crates, {len(direct)} of them direct. *Alone* are those that no other dependency brings.\n"]
    lines.append("| dependency | crates | alone |\n| --- | --- | --- |")
    single = 0
    for d in direct:
        others = set().union(*(with_it[o] for o in direct if o != d))
        if len(with_it[d]) == 1:
            single += 1
            continue
        lines.append(f"| {d} | {len(with_it[d])} | {len(with_it[d] - others)} |")
    lines.append(f"\n{single} more bring nothing but themselves.")
    versions = collections.defaultdict(set)
    for one in every:
        versions[one.split()[0]].add(one.split()[1])
    parents = lambda one: ", ".join(sorted({p.split()[0] for p, c in needs.items() if one in c}))
    lines.append("\nIn several versions:\n\n| crate | needed by |\n| --- | --- |")
    for name in sorted(n for n, v in versions.items() if len(v) > 1):
        for version in sorted(versions[name]):
            lines.append(f"| {name} {version} | {parents(f'{name} {version}')} |")
    return "\n".join(lines)


def times(html):
    text = open(html).read()
    units = json.loads(re.search(r"const UNIT_DATA = (\[.*?\]);", text, re.S).group(1))
    total = re.search(r"Total time:</td>\s*<td>(.*?)</td>", text, re.S).group(1)
    jobs = re.search(r"Max concurrency:</td>\s*<td>.*?jobs=(\d+).*?</td>", text, re.S).group(1)
    whole = sum(u["duration"] for u in units)
    lines = [f"{total.split(' (')[0]} for {len(units)} units with `--jobs {jobs}`.\n"]
    lines.append("| unit | seconds | of all |\n| --- | --- | --- |")
    for unit in sorted(units, key=lambda u: -u["duration"])[:12]:
        name = f"{unit['name']} {unit['version']} {unit.get('target') or ''}".strip()
        lines.append(f"| {name} | {unit['duration']:.1f} | {unit['duration'] / whole:.1%} |")
    return "\n".join(lines)


def put(text, mark, new):
    pattern = re.compile(rf"(<!-- {mark} -->\n).*?(\n<!-- end -->)", re.S)
    if not pattern.search(text):
        sys.exit(f"{FILE} has no mark {mark}")
    return pattern.sub(lambda m: m.group(1) + new + m.group(2), text)


def main():
    with open(FILE) as f:
        text = f.read()
    text = put(text, "crates", sizes())
    if len(sys.argv) > 1:
        text = put(text, "times", times(sys.argv[1]))
    with open(FILE, "w") as f:
        f.write(text)


if __name__ == "__main__":
    main()
