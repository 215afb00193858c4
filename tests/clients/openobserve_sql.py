"""The SQL and the PromQL of the double of OpenObserve: one question a line on stdin, one answer a line on stdout; lines with `keep` bring
rows under a name.

SQL is asked of SQLite in memory, with the functions that OpenObserve adds; rows outside of the time range are not there, columns of
the whole stream are. Percentiles are exact (the server's are approximate). PromQL is the little that dashboards ask:
`agg by (labels) (rate(metric[5m]))` and `agg by (labels) (metric)`; a rate is the slope between the first and the last sample in its
window, resets of counters taken into account.
"""

import json
import re
import sqlite3
import sys
from datetime import datetime, timedelta, timezone

KEPT = {}
UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


def histogram(micros, width="1 minute"):
    if micros is None:
        return None
    number, unit = width.split()
    width = int(number) * UNITS[unit.rstrip("s")] * 1_000_000
    at = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=micros // width * width)
    return at.strftime("%Y-%m-%dT%H:%M:%S")


class Percentile:
    def __init__(self):
        self.values, self.share = [], 0.5

    def step(self, value, share):
        self.share = share
        if value is not None:
            self.values.append(value)

    def finalize(self):
        if not self.values:
            return None
        self.values.sort()
        at = (len(self.values) - 1) * self.share
        low, part = int(at), at - int(at)
        high = min(low + 1, len(self.values) - 1)
        return self.values[low] + (self.values[high] - self.values[low]) * part


def plain(value):
    if isinstance(value, (dict, list)):
        return json.dumps(value)
    return int(value) if isinstance(value, bool) else value


def sql(ask):
    text, rows = ask["sql"], KEPT[ask["rows"]]
    columns = list(dict.fromkeys(key for row in rows for key in row)) or ["_timestamp"]
    base = sqlite3.connect(":memory:")
    base.create_function("histogram", 1, histogram)
    base.create_function("histogram", 2, histogram)
    base.create_function("str_match", 2, lambda field, part: field is not None and part in str(field))
    base.create_function("str_match_ignore_case", 2, lambda field, part: field is not None and part.lower() in str(field).lower())
    base.create_function("re_match", 2, lambda field, what: field is not None and re.search(what, str(field)) is not None)
    base.create_function("match_all", 2, lambda part, row: part.lower() in row.lower())
    base.create_aggregate("approx_percentile_cont", 2, Percentile)
    quoted = ", ".join('"%s"' % column.replace('"', '""') for column in columns)
    base.execute('CREATE TABLE "%s" (%s, "__row")' % (ask["stream"].replace('"', '""'), quoted))
    whole = "match_all" in ask["sql"]
    marks = ", ".join("?" * (len(columns) + 1))
    inside = [row for row in rows if ask["start"] <= row["_timestamp"] < ask["end"]]
    base.executemany(
        'INSERT INTO "%s" VALUES (%s)' % (ask["stream"].replace('"', '""'), marks),
        ([plain(row.get(column)) for column in columns] + [json.dumps(row) if whole else ""] for row in inside),
    )
    text = re.sub(r"match_all\(('(?:[^']|'')*')\)", r"match_all(\1, __row)", text)
    if not re.search(r"\bGROUP\s+BY\b", text, re.I):
        text = re.sub(r"\bHAVING\b", "GROUP BY NULL HAVING", text, flags=re.I)
    found = base.execute(text)
    names = [one[0] for one in found.description]
    hits = [{name: value for name, value in zip(names, row) if value is not None and name != "__row"} for row in found]
    base.close()
    return hits[: ask["size"]]


QUERY = re.compile(r"^(sum|max|min|avg|count)(?: by \(([^)]*)\))? \((?:(rate)\()?(\w+)(?:\[(\d+)m\])?\)+$")


def slope(samples):
    if len(samples) < 2:
        return None
    rise = sum(b[1] - a[1] if b[1] >= a[1] else b[1] for a, b in zip(samples, samples[1:]))
    return rise / ((samples[-1][0] - samples[0][0]) / 1e6)


def promql(ask):
    fits = QUERY.match(ask["promql"])
    if not fits:
        raise ValueError("not understood: " + ask["promql"])
    how, by, rate, metric, minutes = fits.groups()
    labels = [one.strip() for one in (by or "").split(",") if one.strip()]
    window = int(minutes or 5) * 60_000_000
    series = {}
    for row in KEPT.get(ask["rows"].get(metric), []):
        name = tuple(sorted((k, str(v)) for k, v in row.items() if k not in ("_timestamp", "value", "__name__", "__hash__")))
        series.setdefault(name, []).append((row["_timestamp"], row["value"]))
    out = {}
    at = ask["start"]
    while at <= ask["end"]:
        groups = {}
        for name, samples in series.items():
            inside = sorted(one for one in samples if at - window < one[0] <= at)
            value = slope(inside) if rate else (inside[-1][1] if inside else None)
            if value is not None:
                key = tuple((label, dict(name).get(label, "")) for label in labels)
                groups.setdefault(key, []).append(value)
        for key, values in groups.items():
            value = {"sum": sum, "max": max, "min": min, "count": len, "avg": lambda v: sum(v) / len(v)}[how](values)
            out.setdefault(key, []).append([at // 1_000_000, repr(float(value))])
        at += ask["step"]
    return [{"metric": dict(key), "values": values} for key, values in sorted(out.items())]


for line in sys.stdin:
    ask = json.loads(line)
    if "keep" in ask:
        KEPT[ask["keep"]] = ask["rows"]
        continue
    try:
        answer = {"rows": promql(ask) if "promql" in ask else sql(ask)}
    except (sqlite3.Error, ValueError, KeyError, TypeError) as error:
        answer = {"error": str(error)}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
