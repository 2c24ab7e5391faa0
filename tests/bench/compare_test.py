"""scripts/compare without a broker: the order of runs, what is kept and what is made anew, turns by SIGSTOP, and what it says when
something is missing. Brokers are processes that listen and do nothing; runs are made up. Run by scripts/test."""
import contextlib
import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import types
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "scripts/comparing"))
import brokers  # noqa: E402  (their folder has just been named)
import machine  # noqa: E402
import session  # noqa: E402
import store  # noqa: E402
from machine import Wanting  # noqa: E402
from rows import ROWS  # noqa: E402

LISTENER = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(600)"


class Listener(brokers.Broker):
    """A broker as far as turns are concerned."""

    key = name = "ringmain"
    version, durability = "1", "none"

    def command(self, port):
        return [sys.executable, "-c", LISTENER, port]

    def settings(self):
        return []


def listener(key, **traits):
    return type(key, (Listener,), {"key": key, "name": key, **traits})


def state(broker):
    """Of its process: T is stopped."""
    return pathlib.Path(f"/proc/{broker.process.pid}/stat").read_text().rpartition(") ")[2][0]


class Comparison(unittest.TestCase):
    def setUp(self):
        self.scratch = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.scratch)
        for module, name, value in ((store, "WORK", self.scratch), (session, "WORK", self.scratch), (brokers, "WORK", self.scratch),
                                    (brokers, "CATCH_UP_SECONDS", 0),
                                    (machine, "need_room", lambda *_: None), (machine, "settle", lambda _: None)):
            before = getattr(module, name)
            setattr(module, name, value)
            self.addCleanup(setattr, module, name, before)
        self.program = self.scratch / "program"
        self.program.write_text("a build")
        self.runs, self.best, self.failing = [], {}, set()

    def session(self, kinds, rows=("produce",), rounds=1, seconds=1.0):
        core = min(os.sched_getaffinity(0))
        options = types.SimpleNamespace(server_core=core, load_core=core, data=self.scratch / "data", rows=list(rows), rounds=rounds,
                                        seconds=seconds, warm_up=1.0, warming=1.0, ringmain=self.program, command=[])
        with contextlib.redirect_stdout(io.StringIO()):
            made = session.Session(options, [kind(options) for kind in kinds], store.Store(self.program))
        made.bench = lambda *arguments, **more: self.bench(made, *arguments, **more)
        return made

    def bench(self, made, row, broker, path, seconds, warm_up, strict=True):
        """A run, made up; looks that its broker runs and no other does."""
        for other in made.brokers:
            if other.process and not other.fresh:
                # A signal takes its moment; what stays otherwise is a fault.
                until = time.monotonic() + 5
                while (state(other) == "T") == (other is broker) and time.monotonic() < until:
                    pass
                self.assertEqual(state(other) == "T", other is not broker, f"{other.key} while {broker.key} is measured")
        self.runs.append((row.key, broker.key))
        if (row.key, broker.key) in self.failing:
            raise session.RunFailed("it did not go")
        one = {"name": row.suite_row, "question": "", "requests": 10, "requests_per_second": self.best.get(broker.key, 1000.0), "mb_per_second": 1.0,
               "latency": {"acknowledgement": None, "end_to_end": None, "fetch": None}, "server": None, "errors": {}, "generator": {"bottleneck": False}}
        path.write_text(json.dumps({"host": {}, "brokers": [{}], "rows": [one], "command": []}))
        return one

    def go(self, made):
        with contextlib.redirect_stdout(io.StringIO()) as said:
            try:
                made.go()
            finally:
                self.assertTrue(all(broker.process is None for broker in made.brokers), "a broker was left behind")
        return said.getvalue()

    def test_brokers_take_turns_and_only_one_runs(self):
        self.go(self.session([listener("ringmain"), listener("kafka"), listener("tansu", fresh=True)], rows=["produce", "small"], rounds=2))
        there_and_back = ["ringmain", "kafka", "tansu", "tansu", "kafka", "ringmain"]
        self.assertEqual(self.runs, [(row, broker) for _ in range(2) for row in ("produce", "small") for broker in there_and_back])

    def test_what_is_there_is_not_made_again(self):
        kinds = [listener("ringmain"), listener("kafka")]
        self.go(self.session(kinds))
        self.assertEqual(len(self.runs), 4)
        self.go(self.session(kinds))
        self.assertEqual(len(self.runs), 4, "nothing was missing")
        self.go(self.session(kinds, rounds=2))
        self.assertEqual(len(self.runs), 8, "the second round was missing")
        self.go(self.session(kinds, seconds=2.0))
        self.assertEqual(len(self.runs), 12, "other seconds are another run")
        self.go(self.session([kinds[0], listener("kafka", version="2")]))
        self.assertEqual(len(self.runs), 14, "another broker is another run")
        self.program.write_text("another build")
        self.go(self.session(kinds))
        self.assertEqual(len(self.runs), 18)

    def test_a_run_that_was_cut_off_is_made_again(self):
        made = self.session([listener("ringmain"), listener("kafka")])
        self.go(made)
        first = next(made.runs(1))
        first.path.write_text('{"rows": [')
        self.go(made)
        self.assertEqual(self.runs[4:], [("produce", "ringmain")])

    def test_a_rate_is_half_of_the_best_and_whoever_does_not_hold_it_is_left_out(self):
        self.best = {"kafka": 4000.0, "kafka-flush": 1500.0, "ringmain": 9000.0}
        made = self.session([listener("ringmain"), listener("kafka"), listener("kafka-flush")], rows=["end-to-end"])
        self.go(made)
        self.assertEqual([row.key for row in made.rows], ["produce", "end-to-end"], "the row whose rate is taken is run too")
        self.assertEqual(made.rate(ROWS["end-to-end"]), 2000)
        self.assertEqual(self.runs[6:], [("end-to-end", broker) for broker in ("ringmain", "kafka", "kafka", "ringmain")])
        files, notes = made.files()
        self.assertEqual(len(files), 10)
        self.assertTrue(any("kafka-flush is not in" in note for note in notes), notes)
        self.assertTrue(any("2,000 requests/s" in note for note in notes), notes)

    def test_a_rate_of_a_broker_that_is_not_there(self):
        made = self.session([listener("ringmain")], rows=["produce", "end-to-end"])
        self.assertEqual([row.key for row in made.rows], ["produce"])
        self.assertIn("left out", made.notes[0])

    def test_another_broker_may_fail_what_is_compared_may_not(self):
        self.failing = {("produce", "tansu")}
        made = self.session([listener("ringmain"), listener("tansu", fresh=True)], rows=["produce", "small"])
        self.go(made)
        self.assertEqual(self.runs.count(("produce", "tansu")), 2, "tried twice, then never again")
        self.assertEqual(self.runs.count(("small", "tansu")), 2)
        self.assertTrue(any("tansu does not do" in note for note in made.files()[1]))
        self.failing = {("catch-up", "ringmain")}
        with self.assertRaisesRegex(Wanting, "failed twice"):
            self.go(self.session([listener("ringmain")], rows=["catch-up"]))

    def test_answers_without_records_are_no_figure(self):
        good = {"requests": 10, "bytes": 1000, "errors": {}}
        self.assertIsNone(session.no_figure(good))
        for wrong, said in (({"requests": 0}, "0 requests"), ({"errors": {"NOT_LEADER": 1}}, "NOT_LEADER"), ({"bytes": 0}, "single record")):
            self.assertIn(said, session.no_figure({**good, **wrong}))

    def test_a_failure_that_does_not_come_back_is_forgotten(self):
        failures = iter([True])
        made = self.session([listener("ringmain")])
        bench = made.bench

        def once(*arguments, **more):
            if next(failures, False):
                raise session.RunFailed("a hiccup")
            return bench(*arguments, **more)
        made.bench = once
        self.assertIn("once more, because a hiccup", self.go(made))
        self.assertEqual(len(self.runs), 2)

    def test_ctrl_c_ends_every_broker(self):
        made = self.session([listener("ringmain"), listener("kafka")])
        started = []

        def interrupted(*_, **__):
            started.extend(broker.process.pid for broker in made.brokers)
            raise KeyboardInterrupt
        made.bench = interrupted
        with self.assertRaises(KeyboardInterrupt):
            self.go(made)
        self.assertEqual(len(started), 2)
        for pid in started:
            self.assertFalse(pathlib.Path(f"/proc/{pid}").exists(), "the one that was stopped ended too")

    def test_a_broker_that_ends_at_its_start_says_why(self):
        made = self.session([listener("ringmain", command=lambda *_: [sys.executable, "-c", "raise SystemExit('no such disk')"])])
        with self.assertRaisesRegex(Wanting, "(?s)ended at its start.*no such disk"):
            self.go(made)

    def test_what_is_missing_is_said_before_anything_starts(self):
        core = min(os.sched_getaffinity(0))
        with self.assertRaisesRegex(Wanting, "core 4096 .--load-core. is not one"):
            machine.need_cores(core, 4096)
        with self.assertRaisesRegex(Wanting, "a core each"):
            machine.need_cores(core, core)
        options = types.SimpleNamespace(server_core=core, data=self.scratch)
        before, os.environ["PATH"] = os.environ["PATH"], str(self.scratch)
        try:
            with self.assertRaisesRegex(Wanting, "no java"):
                brokers.Kafka(options).prepare()
        finally:
            os.environ["PATH"] = before
        with self.assertRaisesRegex(Wanting, "nobody answers"):
            brokers.Peer(options, f"127.0.0.1:{brokers.free_port()}=Other").prepare()

    def test_a_child_goes_when_we_are_killed(self):
        log = self.scratch / "log"
        code = "import sys, time; sys.path.insert(0, sys.argv[1]); import machine, subprocess;" \
               f"p = subprocess.Popen(['sleep', '600'], preexec_fn=machine.on_core({min(os.sched_getaffinity(0))})); print(p.pid, flush=True); time.sleep(600)"
        with open(log, "wb") as output:
            parent = subprocess.Popen([sys.executable, "-c", code, str(pathlib.Path(machine.__file__).parent)], stdout=output)
        while not log.read_text().strip():
            self.assertIsNone(parent.poll())
        child = int(log.read_text())
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        while (status := pathlib.Path(f"/proc/{child}/stat")).exists() and status.read_text().rpartition(") ")[2][0] != "Z":
            pass


if __name__ == "__main__":
    result = unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"]))
    failed = len(result.failures) + len(result.errors)
    print(f"comparison: {result.testsRun - failed} passed, {failed} failed, 0 skipped")
    sys.exit(1 if failed else 0)
