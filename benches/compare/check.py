"""Whether what came out is what had to come out."""

import re
from collections import Counter

from corpus import Kind

SEQ = re.compile(rb'(?<![a-z])seq(?:=|": ?"?)(\d+)')
# Never seen beyond 16 digits in a row but in cards: every other number of the corpus is shorter or holds letters.
CARD = re.compile(rb"(?<![0-9A-Za-z])4970[ -]?10\d\d[ -]?\d{4}[ -]?\d{4}(?![0-9A-Za-z])")
CANARY = b"CANARY"


def chunks(path, size=8 << 20):
    """A file in pieces that end with a line."""
    with open(path, "rb") as f:
        while piece := f.read(size):
            yield piece + f.readline()


class Seen:
    """How often each number came, and what was leaked, in the text of one output."""

    def __init__(self, count):
        self.times, self.strangers, self.cards, self.canaries, self.records = bytearray(count), 0, 0, 0, 0

    def take(self, text):
        count = len(self.times)
        for n in map(int, SEQ.findall(text)):
            self.records += 1
            if n >= count:
                self.strangers += 1
            elif self.times[n] < 255:
                self.times[n] += 1
        self.canaries += text.count(CANARY)
        if b"4970" in text:
            self.cards += len(CARD.findall(text))

    @classmethod
    def of(cls, path, count):
        seen = cls(count)
        for text in chunks(path):
            seen.take(text)
        return seen


def bounds(kinds, sampled):
    """Fewest and most records that may come out: all, or with `sampled` all that are kept and one in ten of the others."""
    if not sampled:
        return len(kinds), len(kinds)
    kept, low = kinds.count(Kind.KEPT), kinds.count(Kind.SAMPLED)
    # Five standard deviations of a draw at one in ten.
    spread = 5 * (low * 0.09) ** 0.5 + 2
    return kept + max(0, round(low / 10 - spread)), kept + round(low / 10 + spread)


def faults(seen, kinds, sampled):
    """What is wrong, in words; nothing where all is right."""
    table, out = Counter(zip(kinds, seen.times)), []
    how_many = lambda right: sum(n for (kind, times), n in table.items() if right(kind, times))
    first = lambda right: next(i for i, (kind, times) in enumerate(zip(kinds, seen.times)) if right(kind, times))
    questions = [
        ("lost", lambda kind, times: times == 0 and not (sampled and kind != Kind.KEPT)),
        ("came more than once", lambda kind, times: times > 1),
        ("had to be rejected and came out", lambda kind, times: sampled and kind == Kind.INVALID and times > 0),
    ]
    for words, wrong in questions:
        if n := how_many(wrong):
            out.append(f"{n} {words}, the first is number {first(wrong)}")
    if seen.strangers:
        out.append(f"{seen.strangers} numbers that were never in the input")
    low, high = bounds(kinds, sampled)
    if not low <= seen.records <= high:
        out.append(f"{seen.records} records, {low} to {high} were expected")
    if sampled and seen.canaries:
        out.append(f"{seen.canaries} mail addresses, passwords or tokens are still there")
    if sampled and seen.cards:
        out.append(f"{seen.cards} card numbers are still there")
    return out


def same_bytes(a, b):
    with open(a, "rb") as x, open(b, "rb") as y:
        while True:
            p, q = x.read(4 << 20), y.read(4 << 20)
            if p != q:
                return False
            if not p:
                return True
