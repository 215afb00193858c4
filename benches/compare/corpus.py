#!/usr/bin/env python3
"""Make log lines for benchmarks: the same for the same seed, each with a number of its own, the last one marked.

  corpus.py access 1000000 --out access.log     Apache's combined access log, about 215 bytes a line
  corpus.py app    1000000 --out app.log        JSON of a web shop's services, about 470 bytes a line
  corpus.py syslog 1000000 --out syslog.log     RFC 5424 with structured data, about 190 bytes a message

Beside FILE it writes FILE.kinds, a byte a line: what a right pipeline does with it (see `Kind`).

What is secret in `app` can be told from everything else: user names and tokens hold a `CANARY`, cards begin with 4970 10.
Whatever pipeline has redacted the messages must not show either. A `~` stands once in each line of `app`, so that a receiver can
count records as fast as bytes are searched.
"""

import argparse
import random
import sys
import time

MARKER = b"END-OF-CORPUS"
BLOCK = 4096
START = 1_760_000_000


class Kind:
    """What becomes of a line in the job `main`."""

    KEPT = 0  # comes out, once
    SAMPLED = 1  # of level DEBUG: one in ten comes out
    INVALID = 2  # its traceId is wrong: never comes out


LEVELS = ("INFO", "INFO", "INFO", "info", "Information", "notice", "INFO", "info", "DEBUG", "debug", "trace", "DEBUG", "WARN",
          "warning", "ERROR", "error")
LOW = {"DEBUG", "debug", "trace"}
SERVICES = ("basket", "billing", "catalogue", "delivery", "gateway", "login", "search", "stock")
REGIONS = ("eu-central-1", "eu-west-3", "us-east-2", "ap-south-1")
BROWSERS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0.0.0 Safari/537.36",
    "okhttp/4.12.0",
)
METHODS = ("GET", "GET", "GET", "POST")
PAGES = ("/", "/basket", "/api/v2/items", "/api/v2/items/search", "/img/logo.svg", "/account/orders", "/health", "/api/v2/stock")
STATUS = (200, 200, 200, 200, 204, 304, 404, 500)


def luhn(digits):
    """The digit that makes a card number right."""
    total = sum(sum(divmod(2 * int(d), 10)) if i % 2 == 0 else int(d) for i, d in enumerate(reversed(digits)))
    return digits + str(-total % 10)


def cards(rng):
    """Card numbers with a right check digit, as people and programs write them."""
    out = []
    for i in range(64):
        n = luhn("497010" + f"{rng.randrange(10**9):09d}")
        groups = (n[:4], n[4:8], n[8:12], n[12:])
        out.append(n if i % 4 == 0 else ("-" if i % 4 == 1 else " ").join(groups))
    return out


# Half of them hold something that must not get out.
TEXTS = (
    lambda a, b, h, card: f"GET /api/v2/items/{a} answered 200 after {b} ms, {b * 7} bytes",
    lambda a, b, h, card: f"order {a} placed, {b % 90} items, total {b}.95 EUR",
    lambda a, b, h, card: f"mail to CANARY.{h}@shop-customers.example.com queued as {a}",
    lambda a, b, h, card: f"login of user {a} failed: password=CANARY{h} does not match",
    lambda a, b, h, card: f"charge of {b}.50 EUR on card {card} declined by the bank, order {a}",
    lambda a, b, h, card: f"call to the stock service refused, token: CANARY{h} expired {b} s ago",
    lambda a, b, h, card: f"no entry for item {a} in the cache, price read from the database in {b} ms \\u2013 slow",
    lambda a, b, h, card: f"client 198.51.100.{b & 255} is back, session s{h} goes on – nothing lost",
)


def stamps(start, zone=0):
    """Year to second of the seconds from `start` on, as a table that grows."""
    return lambda s, known={}: known.get(s) or known.setdefault(s, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(start + s + zone)))


def app(rng, first, count, state):
    """A block of JSON lines, and their kinds."""
    if not state:
        state.update(utc=stamps(START), east=stamps(START, 7200), cards=cards(random.Random(4970)))
    utc, east, card = state["utc"], state["east"], state["cards"]
    hexed, dice = rng.randbytes(BLOCK * 32).hex(), rng.randbytes(BLOCK * 12)
    lines, kinds = [], bytearray(count)
    for i in range(count):
        n, x, d = first + i, 64 * i, 12 * i
        seconds, ms = divmod(n * 3, 1000)
        shape = n & 7
        if shape < 2:
            stamp = str((START + seconds) * 1000 + ms)
        elif shape == 2:
            stamp = f'"{east(seconds)}.{ms:03d}+02:00"'
        else:
            stamp = f'"{utc(seconds)}.{ms:03d}Z"'
        level = LEVELS[dice[d] & 15]
        a, b = dice[d + 1] << 8 | dice[d + 2], dice[d + 3] << 3 | dice[d + 4] & 7
        h = hexed[x + 48:x + 60]
        text = TEXTS[dice[d + 5] & 7](a, b, h, card[dice[d + 6] & 63])
        trace = hexed[x:x + 32]
        if a % 500 == 7:
            trace, kinds[i] = trace[:20], Kind.INVALID
        elif level in LOW:
            kinds[i] = Kind.SAMPLED
        lines.append(
            f'{{"timestamp":{stamp},"level":"{level}","service":"{SERVICES[dice[d + 7] & 7]}","message":"{text}","traceId":"{trace}",'
            f'"spanId":"s{hexed[x + 32:x + 47]}","seq":{n},"userId":"~{a}","remote":"203.0.113.{dice[d + 8]}",'
            f'"tags":{{"region":"{REGIONS[dice[d + 9] & 3]}","release":"2.{dice[d + 9] >> 4}.{dice[d + 10] >> 3}"}},'
            f'"agent":"{BROWSERS[dice[d + 11] & 3]}","elapsed":{b},"cached":{"true" if b & 1 else "false"}}}\n'
        )
    return "".join(lines), kinds


def access(rng, first, count, state):
    if not state:
        state["time"] = lambda s, known={}: known.get(s) or known.setdefault(
            s, time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(START + s)))
    stamp, dice, lines = state["time"], rng.randbytes(BLOCK * 8), []
    for i in range(count):
        n, d = first + i, 8 * i
        lines.append(
            f'203.0.113.{dice[d]} - shopper{dice[d + 1]} [{stamp(n * 3 // 1000)}] "{METHODS[dice[d + 2] & 3]} '
            f'{PAGES[dice[d + 3] & 7]}?seq={n} HTTP/1.1" {STATUS[dice[d + 4] & 7]} {dice[d + 5] << 8 | dice[d + 6]} '
            f'"https://shop.example.org/start" "{BROWSERS[dice[d + 7] & 3]}"\n'
        )
    return "".join(lines), bytes(count)


def syslog(rng, first, count, state):
    if not state:
        state["utc"] = stamps(START)
    utc, dice, lines = state["utc"], rng.randbytes(BLOCK * 8), []
    for i in range(count):
        n, d = first + i, 8 * i
        seconds, ms = divmod(n * 3, 1000)
        lines.append(
            f'<{dice[d] % 184}>1 {utc(seconds)}.{ms:03d}Z web-{dice[d + 1] & 15}.shop.example.org {SERVICES[dice[d + 2] & 7]} '
            f'{1000 + dice[d + 3]} REQ{dice[d + 4]} [request@32473 region="{REGIONS[dice[d + 5] & 3]}" release="2.{dice[d + 5] >> 4}"] '
            f'item {dice[d + 6] << 8 | dice[d + 7]} served in {dice[d + 6]} ms from the cache seq={n}\n'
        )
    return "".join(lines), bytes(count)


def last(kind, n):
    """The marked line: of a level that is never sampled away."""
    mark, at = MARKER.decode(), time.gmtime(START + n * 3 // 1000)
    if kind == "app":
        return (f'{{"timestamp":"{time.strftime("%Y-%m-%dT%H:%M:%S", at)}.000Z","level":"ERROR","service":"basket","message":"{mark}",'
                f'"traceId":"{n:032x}","spanId":"s0","seq":{n},"userId":"~0"}}\n')
    if kind == "access":
        return (f'203.0.113.1 - - [{time.strftime("%d/%b/%Y:%H:%M:%S +0000", at)}] "GET /{mark}?seq={n} HTTP/1.1" 200 0 "-" "-"\n')
    return f'<11>1 {time.strftime("%Y-%m-%dT%H:%M:%S", at)}.000Z web-0.shop.example.org basket 1 END [request@32473 region="-"] {mark} seq={n}\n'


def blocks(kind, lines, seed=1):
    """The corpus, block by block: bytes and kinds."""
    make, rng, state = {"app": app, "access": access, "syslog": syslog}[kind], random.Random(f"{kind} {seed}"), {}
    for first in range(0, lines - 1, BLOCK):
        # A block takes as much chance as a whole one, so that a shorter corpus is the beginning of a longer one.
        rng_of_block = random.Random(rng.getrandbits(64))
        text, kinds = make(rng_of_block, first, min(BLOCK, lines - 1 - first), state)
        yield text.encode(), kinds
    yield last(kind, lines - 1).encode(), bytes(1)


def write(kind, lines, path, seed=1):
    """Writes the corpus to `path` and the kinds beside it."""
    with open(path, "wb") as out, open(f"{path}.kinds", "wb") as kinds:
        for text, kind_of in blocks(kind, lines, seed):
            out.write(text)
            kinds.write(kind_of)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("kind", choices=("access", "app", "syslog"))
    p.add_argument("lines", type=int)
    p.add_argument("--out", required=True, metavar="FILE")
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    if a.lines < 1:
        sys.exit("at least one line")
    write(a.kind, a.lines, a.out, a.seed)


if __name__ == "__main__":
    main()
