"""What compare.py found, as a table for the terminal, as Markdown and as a drawing. All of it comes from the JSON."""

import json
import math
from xml.sax.saxutils import escape


# A share of the machine that other programs may take before the reader is told.
DISTURBED = 0.1


def names(result):
    """Agents, the fastest first; those that never came to an end are left out."""
    return sorted(result["agents"], key=lambda n: -result["agents"][n]["median"]["mbps"])


def first_of(result):
    return next(iter(result["agents"]), None)


def number(x):
    """Three figures that count."""
    if x != x:
        return "–"
    return f"{x:,.0f}" if x >= 100 else f"{x:.1f}" if x >= 10 else f"{x:.2f}"


def rows(result):
    """One row an agent: what the table and the Markdown show."""
    out, first = [], first_of(result)
    for name in result["agents"]:
        agent = result["agents"][name]
        m = agent["median"]
        out.append({
            "agent": f"{name} {agent['version']}".strip(),
            "MB/s": number(m["mbps"]),
            "wall s": number(m["wall"]),
            "CPU s": number(m["cpu"]),
            "peak MiB": f"{m['peak_mib']:.0f}",
            "records out": f"{m['records']:,.0f}",
            f"{first} is faster by": "" if name == first else f"{number(agent['first_is_faster'])}×",
            "and takes less CPU by": "" if name == first else f"{number(agent['cpu_of_first'])}×",
            **({"CPU s of the receiver": number(m["receiver_cpu"])} if "receiver_cpu" in m else {}),
        })
    return out


def remarks(result):
    """What a reader of the figures must know besides."""
    out = []
    if result["absent"]:
        out.append(f"not on PATH and so not run: {', '.join(result['absent'])}")
    if "receiver_mbps" in result:
        out.append(f"the receiver takes {number(result['receiver_mbps'])} MB/s from a sender that only sends")
    disturbed = [f"{name} {m['others']:.0%}" for name in result["agents"] if (m := result["agents"][name]["median"])["others"] > DISTURBED]
    if disturbed:
        out.append(f"the machine was not quiet; what other programs took of it while these ran: {', '.join(disturbed)}")
    out += [f"WRONG: {fault}" for fault in result["faults"]]
    return out


def table(name, result):
    lines = rows(result)
    head = f"{name}: {result['words']}\n{result['lines']:,} lines, {result['bytes'] / 1e6:,.0f} MB; median of {result['rounds']}, agents in turns"
    if not lines:
        return "\n".join([head, "no agent came to an end"] + remarks(result))
    wide = {k: max(len(k), *(len(r[k]) for r in lines)) for k in lines[0]}
    pad = lambda k, v: v.ljust(wide[k]) if k == "agent" else v.rjust(wide[k])
    text = ["  ".join(pad(k, k) for k in wide)] + ["  ".join(pad(k, r[k]) for k in wide) for r in lines]
    return "\n".join([head] + [t.rstrip() for t in text] + remarks(result))


def markdown(all_):
    m = all_["machine"]
    out = [
        "# Compared with other agents",
        "",
        "Written by [`benches/compare/compare.py`](../../benches/compare/README.md) from `compare.json`; not to be edited.",
        f"{m['cores']} cores of {m['cpu']}, {m['system']}. Medians; ratios are taken run by run. What counted gave the right output.",
        "",
        "![MB/s by job and agent](compare.svg)",
    ]
    for name, result in all_["jobs"].items():
        out += ["", f"## {name}", "", f"{result['words'][:1].upper()}{result['words'][1:]}. {result['lines']:,} lines, "
                f"{result['bytes'] / 1e6:,.0f} MB, {result['rounds']} runs of each in turns, {result['when']}.", ""]
        lines = rows(result)
        if lines:
            heads = list(lines[0])
            out += ["| " + " | ".join(heads) + " |", "| --- |" + " ---: |" * (len(heads) - 1)]
            out += ["| " + " | ".join(r.values()) + " |" for r in lines]
        for remark in remarks(result):
            out += ["", f"{remark[:1].upper()}{remark[1:]}."]
    return "\n".join(out) + "\n"


# ---- the drawing ---------------------------------------------------------------------------------------------------

WIDTH, LEFT, RIGHT, BAR, GAP, HEAD, TOP = 760, 132, 210, 18, 6, 44, 58
STYLE = """
  .card { fill: #ffffff; stroke: #d0d7de } .text { fill: #1f2328 } .faint { fill: #59636e } .line { stroke: #d8dee4 }
  .ours { fill: #0969da } .peer { fill: #8c959f } .floor { fill: #c8d1da }
  @media (prefers-color-scheme: dark) {
    .card { fill: #0d1117; stroke: #3d444d } .text { fill: #f0f6fc } .faint { fill: #9198a1 } .line { stroke: #2a313c }
    .ours { fill: #4493f8 } .peer { fill: #6e7681 } .floor { fill: #3d444d }
  }
  text { font: 13px system-ui, -apple-system, "Segoe UI", "Liberation Sans", Helvetica, Arial, sans-serif }
  .title { font-size: 16px; font-weight: 600 } .job { font-weight: 600 } .small { font-size: 11px }
"""


def scale(speeds):
    """Where a speed lies between 0 and 1, and the marks of the axis: by length as long as all can be seen, else by powers of ten."""
    most, least = max(speeds), min(speeds)
    if least >= most / 150:
        return (lambda v: v / most), []
    low, high = math.floor(math.log10(least)), math.log10(most)
    low -= math.log10(least) - low < 0.15  # Room for the shortest bar.
    marks = [10.0**e for e in range(low, math.floor(high) + 1)]
    return (lambda v: (math.log10(v) - low) / (high - low)), marks


def svg(all_):
    """Horizontal bars by job, with their figures beside them, on a card of their own that suits a bright and a dark page."""
    jobs = {n: r for n, r in all_["jobs"].items() if r["agents"]}
    marked = {n: scale([a["median"]["mbps"] for a in r["agents"].values()]) for n, r in jobs.items()}
    tall = lambda n, r: HEAD + len(r["agents"]) * (BAR + GAP) + (18 if marked[n][1] else 4)
    height = TOP + sum(tall(n, r) for n, r in jobs.items()) + 16
    span = WIDTH - LEFT - RIGHT
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>Megabytes of input a second, by job and agent</title><style>{STYLE}</style>",
        f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
        '<text class="text title" x="20" y="30">MB of input a second</text>',
        f'<text class="faint small" x="20" y="48">{escape("median of runs in turns on " + str(all_["machine"]["cores"]) + " cores; longer is better")}</text>',
        f'<text class="faint small" x="{WIDTH - 20}" y="48" text-anchor="end">MB/s · CPU seconds · peak MiB</text>',
    ]
    y = TOP
    for name, result in jobs.items():
        place, marks = marked[name]
        words = result["words"] + (" (log scale)" if marks else "")
        out.append(f'<line class="line" x1="20" x2="{WIDTH - 20}" y1="{y + 8}" y2="{y + 8}"/>')
        out.append(f'<text x="20" y="{y + 30}"><tspan class="text job">{escape(name)}</tspan><tspan class="faint small" dx="10">{escape(words)}</tspan></text>')
        y += HEAD
        foot = y + len(result["agents"]) * (BAR + GAP)
        for mark in marks:
            x = LEFT + place(mark) * span
            out.append(f'<line class="line" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 2}" y2="{foot}"/>')
            out.append(f'<text class="faint small" x="{x:.1f}" y="{foot + 11}" text-anchor="middle">{number(mark) if mark < 1 else f"{mark:,.0f}"}</text>')
        for agent in names(result):
            m = result["agents"][agent]["median"]
            kind = "ours" if agent == first_of(result) else "floor" if agent == "cat" else "peer"
            length = max(2.0, place(m["mbps"]) * span)
            says = f"{number(m['mbps'])} · {number(m['cpu'])} s · {m['peak_mib']:.0f}"
            out.append(f'<text class="text" x="{LEFT - 10}" y="{y + 14}" text-anchor="end">{escape(agent)}</text>')
            out.append(f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2"/>')
            out.append(f'<text class="text" x="{LEFT + length + 8:.1f}" y="{y + 14}">{escape(says)}</text>')
            y += BAR + GAP
        y += 18 if marks else 4
    return "\n".join(out + ["</svg>"]) + "\n"


# ---- files ---------------------------------------------------------------------------------------------------------


def write(out, all_):
    out.mkdir(parents=True, exist_ok=True)
    for name, text in (("compare.json", json.dumps(all_, indent=1) + "\n"), ("compare.md", markdown(all_)), ("compare.svg", svg(all_))):
        (out / name).write_text(text, encoding="utf-8")


def update(out, job, result, machine):
    """Puts one job's figures in the place of its last ones."""
    path = out / "compare.json"
    all_ = json.loads(path.read_text()) if path.exists() else {"jobs": {}}
    all_["machine"] = machine
    all_["jobs"][job] = result
    order = ("passthrough", "main", "ship", "http", "buffer", "syslog")
    all_["jobs"] = {name: all_["jobs"][name] for name in order if name in all_["jobs"]}
    write(out, all_)
