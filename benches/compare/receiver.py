#!/usr/bin/env python3
"""The HTTP end: takes bodies, counts the records in them, answers as OpenObserve's `_json` does when it took them all.

Runs as a process of its own, so that its share of the machine can be told: a thread a connection, one buffer a connection, and the
counting is done by `bytearray.count`. Used by compare.py, which speaks to it over its standard input and output.

  receiver.py --low 1000            prints {"port": …}, then {"done": true} once the marked record and at least 1000 have come;
                                    at the end of its input it prints its counts and ends
  receiver.py --low 1000 --keep F   appends all bodies to F, a line each
"""

import argparse
import json
import re
import socket
import sys
import threading
import time

RECORD = b"~"  # stands once in every record of the corpus; a single byte is counted ten times as fast as a word
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.I)
ANSWER = b'{"code":200,"status":[{"name":"compare","successful":%d,"failed":0}]}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"


class Receiver:
    def __init__(self, low, marker, keep=None):
        self.low, self.marker = low, marker
        self.records = self.requests = self.bytes = 0
        self.marked = self.said = False
        self.keep = open(keep, "ab") if keep else None
        self.lock = threading.Lock()
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.socket.getsockname()[1]

    def listen(self):
        while True:
            connection, _ = self.socket.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        buffer, have = bytearray(2 << 20), 0
        with connection:
            while True:
                # The head: everything up to an empty line.
                while (end := buffer.find(b"\r\n\r\n", 0, have)) < 0:
                    if have == len(buffer):
                        return
                    n = connection.recv_into(memoryview(buffer)[have:])
                    if n == 0:
                        return
                    have += n
                head = bytes(buffer[:end + 2])
                length = LENGTH.search(head)
                if length is None and head.startswith(b"POST"):
                    connection.sendall(b"HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    return
                if b"100-continue" in head:
                    connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                start = end + 4
                stop = start + (int(length.group(1)) if length else 0)
                if stop > len(buffer):
                    buffer = buffer + bytearray(stop - len(buffer))
                while have < stop:
                    n = connection.recv_into(memoryview(buffer)[have:stop])
                    if n == 0:
                        return
                    have += n
                records = self.take(buffer, start, stop)
                buffer[:have - stop] = buffer[stop:have]
                have -= stop
                answer = ANSWER % records
                connection.sendall(HEAD % (len(answer), answer))

    def take(self, buffer, start, stop):
        records = buffer.count(RECORD, start, stop)
        marked = buffer.rfind(self.marker, start, stop) >= 0  # Searching backwards is much faster.
        with self.lock:
            self.records += records
            self.requests += 1
            self.bytes += stop - start
            self.marked |= marked
            if self.keep:
                self.keep.write(buffer[start:stop] + b"\n")
                self.keep.flush()
            if self.marked and self.records >= self.low and not self.said:
                self.said = True
                say(done=True)
        return records


def say(**what):
    print(json.dumps(what), flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--low", type=int, required=True, help="records that must come at least")
    p.add_argument("--marker", default="END-OF-CORPUS")
    p.add_argument("--keep", metavar="FILE")
    a = p.parse_args()
    receiver = Receiver(a.low, a.marker.encode(), a.keep)
    threading.Thread(target=receiver.listen, daemon=True).start()
    before = time.process_time()
    say(port=receiver.port)
    sys.stdin.read()
    say(records=receiver.records, requests=receiver.requests, bytes=receiver.bytes, cpu=time.process_time() - before)


if __name__ == "__main__":
    main()
