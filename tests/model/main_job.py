#!/usr/bin/env python3
"""Check the output of the `main` benchmark job against an independent model of it.

usage: main_job.py INPUT OUTPUT

INPUT holds JSON application logs, one object a line; OUTPUT is what came out of
decode json -> normalize (log, keep_rest root) -> redact message (secrets, credit_card, email)
-> validate (traceId is 32 hex digits) -> sample (DEBUG 0.1).

The model is written from the specification with Python's own json and re modules and shares no code with the agent.
Every non-DEBUG record must be there, byte for byte, once and in order; of the DEBUG ones 10 % within 1 %, each with
`sample_rate`. Prints a summary; exits 1 at the first difference.
"""
import datetime
import json
import re
import sys

LEVELS = {"DEBUG": "DEBUG", "TRACE": "DEBUG", "INFO": "INFO", "INFORMATION": "INFO", "WARN": "WARN",
          "WARNING": "WARN", "ERROR": "ERROR", "FATAL": "ERROR", "CRITICAL": "ERROR"}
SECRET = r"(?P<key>\b(?:password|token)\s*[:=]\s*)(?P<value>[^\s,;&\"'}]+)"
CARD = r"(?P<card>(?<![\d-])\d(?:[ -]?\d){11,18}(?![\d-]))"
EMAIL = r"(?P<email>[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,})"
ANY = re.compile("|".join([SECRET, CARD, EMAIL]), re.IGNORECASE)


def luhn(text):
    total = 0
    for i, c in enumerate(reversed([int(c) for c in text if c.isdigit()])):
        total += c if i % 2 == 0 else (2 * c if c < 5 else 2 * c - 9)
    return total % 10 == 0


def redact(text):
    def one(m):
        if m.group("value"):
            return m.group("key") + "***"
        if m.group("card"):
            return "***" if luhn(m.group("card")) else m.group(0)
        return "***"
    return ANY.sub(one, text)


def expected(line):
    event = json.loads(line)
    t = event["timestamp"]
    if isinstance(t, int):
        at = datetime.datetime.fromtimestamp(t // 1000, datetime.timezone.utc)
        event["timestamp"] = at.strftime("%Y-%m-%dT%H:%M:%S.") + "%03dZ" % (t % 1000)
    event["level"] = LEVELS.get(event["level"].strip().upper(), "INFO")
    event["message"] = redact(event["message"])
    if not re.fullmatch("[0-9a-fA-F]{32}", event["traceId"]):
        return None
    return event


def dump(event):
    return json.dumps(event, ensure_ascii=False, separators=(",", ":"))


def main():
    source, output = sys.argv[1:3]
    debug_in = debug_out = kept = 0
    with open(source, encoding="utf-8") as given, open(output, encoding="utf-8", newline="\n") as got:
        out = got.readline()
        for number, line in enumerate(given, 1):
            want = expected(line)
            if want is None:
                continue
            if want["level"] == "DEBUG":
                debug_in += 1
                if out == dump({**want, "sample_rate": 0.1}) + "\n":
                    debug_out += 1
                    out = got.readline()
                continue
            if out != dump(want) + "\n":
                sys.exit(f"line {number} of the input:\n  {line}should be\n  {dump(want)}\nbut the next record out is\n  {out}")
            kept += 1
            out = got.readline()
        if out:
            sys.exit(f"a record too many: {out}")
    share = debug_out / debug_in if debug_in else 0.1
    print(f"{kept} records other than DEBUG are right; {debug_out} of {debug_in} DEBUG ones came out ({share:.2%})")
    if debug_in > 20_000 and not 0.09 <= share <= 0.11:
        sys.exit("the share of DEBUG records is not 10 % within 1 %")


main()
