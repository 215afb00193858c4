#!/usr/bin/env python3
"""Tests of the comparison itself, and a small run of it.

  benches/compare/test_compare.py                    the debug build, where there is one
  TIDEGATE_BIN=… benches/compare/test_compare.py     another program
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import check  # noqa: E402
import compare  # noqa: E402
import corpus  # noqa: E402
import report  # noqa: E402
from corpus import Kind  # noqa: E402

PROGRAM = pathlib.Path(os.environ.get("TIDEGATE_BIN", HERE.parents[1] / "target/debug/tidegate"))


def made(kind, lines, seed=1):
    texts, kinds = zip(*corpus.blocks(kind, lines, seed))
    return b"".join(texts), b"".join(bytes(k) for k in kinds)


def seen(text, count):
    out = check.Seen(count)
    out.take(text)
    return out


class Lines(unittest.TestCase):
    def test_a_seed_always_makes_the_same_lines_and_another_one_others(self):
        for kind in ("app", "access", "syslog"):
            self.assertEqual(made(kind, 6000), made(kind, 6000))
            self.assertNotEqual(made(kind, 6000)[0], made(kind, 6000, seed=2)[0])

    def test_a_short_corpus_is_the_beginning_of_a_long_one(self):
        for kind in ("app", "access", "syslog"):
            short, long = made(kind, 5000)[0].splitlines(), made(kind, 9000)[0].splitlines()
            self.assertEqual(short[:-1], long[:4999])

    def test_numbers_count_up_and_the_last_line_alone_is_marked(self):
        for kind in ("app", "access", "syslog"):
            text, kinds = made(kind, 5000)
            lines = text.splitlines()
            self.assertEqual(len(lines), 5000)
            self.assertEqual([int(check.SEQ.findall(line)[0]) for line in lines], list(range(5000)))
            self.assertEqual([i for i, line in enumerate(lines) if corpus.MARKER in line], [4999])
            self.assertEqual(len(kinds), 5000)

    def test_app_lines_are_json_of_the_stated_size_with_one_tilde_each(self):
        lines = made("app", 5000)[0].splitlines()
        self.assertTrue(440 < sum(map(len, lines)) / len(lines) < 500)
        for line in lines:
            json.loads(line)
            self.assertEqual(line.count(b"~"), 1)

    def test_kinds_are_what_the_lines_say(self):
        text, kinds = made("app", 20000)
        for line, kind in zip(text.splitlines(), kinds):
            event = json.loads(line)
            if not re.fullmatch("[0-9a-f]{32}", event["traceId"]):
                self.assertEqual(kind, Kind.INVALID)
            else:
                self.assertEqual(kind, Kind.SAMPLED if event["level"] in corpus.LOW else Kind.KEPT)
        self.assertEqual({*kinds}, {Kind.KEPT, Kind.SAMPLED, Kind.INVALID})

    def test_cards_pass_luhn_and_all_secrets_are_found(self):
        text = made("app", 5000)[0]
        cards = check.CARD.findall(text)
        self.assertGreater(len(cards), 100)
        for card in cards:
            digits = [int(c) for c in card.decode() if c.isdigit()]
            doubled = [d if i % 2 == 0 else sum(divmod(2 * d, 10)) for i, d in enumerate(reversed(digits))]
            self.assertEqual((len(digits), sum(doubled) % 10), (16, 0))
        self.assertEqual(text.count(b" on card "), len(cards))

    def test_syslog_lines_are_rfc_5424(self):
        form = re.compile(rb"<\d{1,3}>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \S+ \S+ \S+ \S+ \[\S+( \w+=\"[^\"]*\")+\] .+")
        for line in made("syslog", 5000)[0].splitlines():
            self.assertRegex(line, form)
            self.assertLess(int(line[1:line.index(b">")]), 192)


class Checks(unittest.TestCase):
    def setUp(self):
        self.text, self.kinds = made("app", 5000)
        self.lines = self.text.splitlines(keepends=True)
        debug = [i for i, k in enumerate(self.kinds) if k == Kind.SAMPLED]
        # As a right pipeline would: kept lines, every tenth of the others, nothing secret.
        out = {i for i, k in enumerate(self.kinds) if k == Kind.KEPT} | set(debug[::10])
        hidden = [re.sub(rb"CANARY[.0-9a-f]*|4970[-0-9 ]{12,15}", b"***", line) for line in self.lines]
        self.right, self.left_out = [hidden[i] for i in sorted(out)], debug[1]

    def faults(self, lines, sampled=True):
        return check.faults(seen(b"".join(lines), 5000), self.kinds, sampled)

    def test_a_right_output_is_right(self):
        self.assertEqual(self.faults(self.right), [])
        self.assertEqual(self.faults(self.lines, sampled=False), [])

    def test_lost_repeated_foreign_and_leaked_records_are_found(self):
        invalid = self.kinds.index(Kind.INVALID)
        wrong = {
            "1 lost": self.right[:7] + self.right[8:],
            "1 came more than once": self.right + self.right[-1:],
            "1 numbers that were never in the input": self.right + [b'{"seq":5000}\n'],
            "1 had to be rejected": self.right + [b'{"seq":%d}\n' % invalid],
            "passwords or tokens": self.right[:-1] + [self.right[-1].replace(b"END-", b"CANARY")],
            "1 card numbers": self.right[:-1] + [self.right[-1].replace(b"END", b"4970-1012-3456-7890")],
            "records, ": [line for i, line in enumerate(self.lines) if self.kinds[i] != Kind.INVALID],
        }
        for words, lines in wrong.items():
            self.assertTrue(any(words in fault for fault in self.faults(lines)), f"{words}: {self.faults(lines)}")
        self.assertIn("1 lost, the first is number 3", self.faults(self.lines[:3] + self.lines[4:], sampled=False))

    def test_all_of_the_sampled_or_none_is_out_of_bounds(self):
        low, high = check.bounds(self.kinds, True)
        kept, debug = self.kinds.count(Kind.KEPT), self.kinds.count(Kind.SAMPLED)
        self.assertTrue(kept < low < kept + debug / 10 < high < kept + debug / 5)

    def test_numbers_are_read_in_every_form_that_agents_write(self):
        text = b'{"seq":1}\n{"seq": 2}\n{"seq":"3"}\n"x seq=4"\nGET /?seq=5 \n{"nextseq":6}\n{"myseq=7"}\n'
        self.assertEqual(list(seen(text, 9).times), [0, 1, 1, 1, 1, 1, 0, 0, 0])


def figures():
    def agent(mbps, others):
        run = {"wall": 400 / mbps, "mbps": mbps, "cpu": 1.5, "peak_mib": 20.0, "records": 77000, "others": 0.02}
        return {"version": "1.0", "runs": [run], "failed": 0, "median": run, "first_is_faster": others, "cpu_of_first": others / 2}

    def job(**agents):
        return {"lines": 100000, "bytes": 45600000, "rounds": 1, "seed": 1, "when": "2026-01-01", "words": "a < b & c", "absent": ["vector"],
                "no_part": [], "faults": [], "agents": {n.replace("_", "-"): agent(*v) for n, v in agents.items()}}

    return {"machine": {"cpu": "A & B <C>", "cores": 2, "system": "Linux"},
            "jobs": {"main": job(tidegate=(743.21, 1.0), syslog_ng=(31.5, 23.594)), "syslog": job(tidegate=(600.0, 1.0), vector=(2.0, 300.0))}}


class Reports(unittest.TestCase):
    def test_the_numbers_of_table_and_markdown_come_from_the_figures(self):
        for text in (report.table("main", figures()["jobs"]["main"]), report.markdown(figures())):
            for number in ("743", "31.5", "23.6×", "11.8×", "77,000", "100,000"):
                self.assertIn(number, text)
            self.assertIn("not run: vector", text)
        changed = figures()
        changed["jobs"]["main"]["agents"]["tidegate"]["median"]["mbps"] = 555.5
        self.assertNotIn("743", report.markdown(changed))

    def test_a_wrong_output_is_said(self):
        job = figures()["jobs"]["main"]
        job["faults"] = ["syslog-ng: 3 lost"]
        self.assertIn("WRONG: syslog-ng: 3 lost", report.table("main", job))

    def test_a_machine_that_was_not_quiet_is_said(self):
        job = figures()["jobs"]["main"]
        self.assertNotIn("not quiet", report.table("main", job))
        job["agents"]["syslog-ng"]["median"]["others"] = 0.31
        self.assertIn("not quiet; what other programs took of it while these ran: syslog-ng 31%", report.table("main", job))

    def test_the_drawing_is_xml_and_its_bars_are_as_long_as_the_figures(self):
        root = ElementTree.fromstring(report.svg(figures()))
        space = "{http://www.w3.org/2000/svg}"
        bars = [float(r.get("width")) for r in root.iter(f"{space}rect") if r.get("class") != "card"]
        self.assertEqual(len(bars), 4)
        self.assertAlmostEqual(bars[1] / bars[0], 31.5 / 743.21, places=2)
        words = "".join(root.itertext())
        self.assertIn("743 · 1.50 s · 20", words)
        self.assertEqual(words.count("(log scale)"), 1, "only where a bar would vanish")
        inside = lambda e, key: 0 <= float(e.get(key)) <= float(root.get({"x": "width", "y": "height"}[key]))
        for text in root.iter(f"{space}text"):
            self.assertTrue(inside(text, "x") and inside(text, "y"))

    def test_what_is_drawn_anew_comes_from_the_kept_figures_and_jobs_keep_theirs(self):
        with tempfile.TemporaryDirectory() as folder:
            out, all_ = pathlib.Path(folder), figures()
            for name, job in all_["jobs"].items():
                report.update(out, name, job, all_["machine"])
            self.assertEqual(json.loads((out / "compare.json").read_text())["jobs"], all_["jobs"])
            before = (out / "compare.md").read_text()
            (out / "compare.md").unlink()
            subprocess.run([sys.executable, HERE / "compare.py", "--render", "--out", folder], check=True)
            self.assertEqual((out / "compare.md").read_text(), before)


class Agents(unittest.TestCase):
    def test_every_agent_has_a_part_and_every_placeholder_is_known(self):
        known = {"IN", "OUT", "DIR", "HTTP_PORT", "SYSLOG_PORT"}
        for agent in compare.AGENTS:
            self.assertTrue(any(compare.takes_part(agent, job) for job in compare.JOBS), agent)
        for config in (HERE / "configs").glob("*/*"):
            self.assertLessEqual({*re.findall(r"@([A-Z_]+)@", config.read_text())}, known, config)
        self.assertTrue(all(compare.takes_part("tidegate", job) for job in compare.JOBS))

    def test_the_receiver_counts_over_the_edges_of_packets_and_over_requests(self):
        import socket

        receiver = compare.Receiver(5)
        bodies = [b'[{"seq":0,"u":"~1"},{"seq":1,"u":"~2"}]', b"[" + b"~" * 2 + b"END-OF-CORPUS]", b"~" + b"x" * 3_000_000]
        with socket.create_connection(("127.0.0.1", receiver.port)) as s:
            for body in bodies:
                request = b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body
                for i in (0, 7, 60):
                    s.sendall(request[i:{0: 7, 7: 60, 60: None}[i]])
                self.assertIn(b"200 OK", s.recv(4096))
        self.assertTrue(receiver.is_done(5))
        counts = receiver.end()
        self.assertEqual((counts["records"], counts["requests"], counts["bytes"]), (5, 3, sum(map(len, bodies))))


@unittest.skipUnless(PROGRAM.exists(), f"no {PROGRAM}: a test of the whole needs a build")
class Whole(unittest.TestCase):
    def run_it(self, folder, *args):
        command = [sys.executable, HERE / "compare.py", "--tidegate", PROGRAM, "--runs", "1", "--lines", "3000", "--limit", "60",
                   "--work", folder, "--out", pathlib.Path(folder) / "out", *args]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def test_a_small_run_of_every_job_is_right_and_writes_its_figures(self):
        with tempfile.TemporaryDirectory() as folder:
            done = self.run_it(folder, "--agents", "tidegate,cat")
            self.assertEqual(done.returncode, 0, done.stdout)
            jobs = json.loads((pathlib.Path(folder) / "out/compare.json").read_text())["jobs"]
            self.assertEqual([*jobs], [*compare.JOBS])
            for name, job in jobs.items():
                agents = ["tidegate", "cat"] if name == "passthrough" else ["tidegate"]
                self.assertEqual([*job["agents"]], agents, done.stdout)
                self.assertGreater(job["agents"]["tidegate"]["median"]["peak_mib"], 1)
                if job["words"].find("HTTP") >= 0:
                    self.assertGreater(job["agents"]["tidegate"]["median"]["receiver_cpu"], 0)

    def test_an_agent_whose_output_is_wrong_counts_for_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            liar = pathlib.Path(folder) / "liar"
            # Passes on all lines but the hundredth.
            liar.write_text('#!/bin/sh\nd=$(dirname "$3")\nsed 100d "$(sed -n \'s/.*include: \\["\\(.*\\)"\\].*/\\1/p\' "$3")" > "$d/out.log"\n')
            liar.chmod(0o755)
            done = self.run_it(folder, "passthrough", "--tidegate", liar, "--agents", "tidegate")
            self.assertEqual(done.returncode, 1, done.stdout)
            self.assertIn("1 lost, the first is number 99", done.stdout)
            self.assertIn("no agent came to an end", done.stdout)


if __name__ == "__main__":
    unittest.main()
