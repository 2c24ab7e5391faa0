"""The rules by which scripts/conformance judges, without a suite and without a node."""
import pathlib
import sys
import tempfile
import unittest

import verdicts
from librdkafka import ENTRY
from suite import Suite
from verdicts import ABSENT, FAIL, PASS, SKIP, Verdict
from verifiable import owned


def complaints(kafka, ringmain, allowed=None):
    judged = verdicts.judge("suite", {name: Verdict(what) for name, what in kafka.items()},
                            {name: Verdict(what) for name, what in ringmain.items()}, allowed or {})
    return [judgement.name for judgement in judged if judgement.complaint]


class Rules(unittest.TestCase):
    def test_what_kafka_passes_must_pass(self):
        for what in (FAIL, SKIP, ABSENT):
            self.assertEqual(complaints({"one": PASS}, {"one": what}), ["one"])
        self.assertEqual(complaints({"one": PASS}, {}), ["one"])
        self.assertEqual(complaints({"one": PASS}, {"one": PASS}), [])

    def test_what_kafka_does_not_pass_is_no_matter(self):
        for what in (FAIL, SKIP):
            self.assertEqual(complaints({"one": what, "two": PASS}, {"one": FAIL, "two": PASS}), [])

    def test_without_kafka_every_failure_counts(self):
        self.assertEqual(complaints({}, {"one": FAIL, "two": PASS}), ["one"])

    def test_the_list_lets_off_and_must_be_true(self):
        allowed = {("suite", "one"): "transactions"}
        self.assertEqual(complaints({"one": PASS}, {"one": FAIL}, allowed), [])
        self.assertEqual(complaints({"one": PASS}, {"one": PASS}, allowed), ["one"])
        self.assertEqual(complaints({"one": PASS}, {"one": FAIL}, {("other", "one"): "transactions"}), ["one"])

    def test_what_is_unsteady_may_pass_or_fail(self):
        allowed = {("suite", "one"): "unsteady: measures time"}
        for what in (PASS, FAIL):
            self.assertEqual(complaints({"one": PASS}, {"one": what}, allowed), [])

    def test_the_list_is_checked(self):
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory, "allowed.txt")
            path.write_text("# a comment\n\nsuite one two words  # why\n")
            self.assertEqual(verdicts.read_allowed(path), {("suite", "one"): "two words"})
            for bad in ("suite one\n", "suite one reason\nsuite one reason\n"):
                path.write_text(bad)
                self.assertRaises(SystemExit, verdicts.read_allowed, path)

    def test_the_committed_list_can_be_read(self):
        verdicts.read_allowed()

    def test_a_later_try_is_told(self):
        class Flaky(Suite):
            name, answers = "flaky", [{"one": FAIL, "two": FAIL}, {"one": PASS, "two": FAIL}, {"one": FAIL, "two": FAIL}]

            def verdicts(self, *_):
                return self.answers.pop(0)

        class Node:
            address, side, alive = "", "ringmain", staticmethod(lambda: True)

        found = Flaky().run_unit(Node, "unit", 1)
        self.assertEqual({name: str(verdict) for name, verdict in found.items()}, {"one": "pass (2 tries)", "two": "FAIL"})
        self.assertEqual(Flaky.answers, [], "tried three times")
        Flaky.answers.append({"one": FAIL})
        self.assertEqual(str(Flaky().run_unit(Node, "unit", 1, {"one"})["one"]), "FAIL", "what is listed is tried once")

    def test_librdkafkas_table_is_read(self):
        found = ENTRY.findall('_TEST(0001_one, 0),\n _TEST(0002_two,\n TEST_F_LOCAL,\n .scenario = "x"),\n {NULL}};')
        self.assertEqual([name for name, _ in found], ["0001_one", "0002_two"])
        self.assertIn("TEST_F_LOCAL", found[1][1])

    def test_partitions_are_owned_until_revoked(self):
        parts = [{"topic": "t", "partition": number} for number in range(2)]
        events = [{"name": "partitions_assigned", "partitions": parts}, {"name": "partitions_revoked", "partitions": parts[:1]}]
        self.assertEqual(owned(events), {("t", 1)})


if __name__ == "__main__":
    result = unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"]))
    failed = len(result.failures) + len(result.errors)
    print(f"conformance rules: {result.testsRun - failed} passed, {failed} failed, 0 skipped")
    sys.exit(1 if failed else 0)
