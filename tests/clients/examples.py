"""Every example under scripts/examples against a fresh node: it ends by itself and prints what its docstring says.

The text after "You will see:" is compared line by line; what stands there in <angle brackets> may be anything.
BROKER=HOST:PORT runs them against a broker that is already there, for comparison.
"""
import ast
import contextlib
import os
import re
import subprocess
import unittest

import harness
from harness import CLIENTS, ROOT, ClientTest
from node import free_port  # its folder is named by harness

EXAMPLES = ROOT / "scripts/examples"
PYTHON = CLIENTS / "examples/bin/python"
SECONDS = 60


def names():
    return sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem != "lesson")


def promised(name):
    """The lines that an example's docstring says it prints."""
    text = ast.get_docstring(ast.parse((EXAMPLES / f"{name}.py").read_text()))
    _, found, lines = text.partition("You will see:\n\n")
    if not found:
        raise AssertionError(f"{name} does not say what one will see")
    return [line.removeprefix("    ") for line in lines.splitlines()]


def difference(expected, printed):
    """The first line that is not as promised, in words; None if all are."""
    for number in range(max(len(expected), len(printed))):
        line = expected[number] if number < len(expected) else None
        found = printed[number] if number < len(printed) else None
        pattern = None if line is None else ".+".join(map(re.escape, re.split("<[^>]*>", line)))
        if line is None or found is None or not re.fullmatch(pattern, found):
            return f"line {number + 1} is {found!r}, promised was {line!r}"
    return None


class TheComparison(unittest.TestCase):
    """The comparison itself finds what it must find."""

    def test_equal_lines_are_equal_and_brackets_stand_for_anything(self):
        self.assertIsNone(difference(["ann (1) owns 2.", "after <6 to 10> s"], ["ann (1) owns 2.", "after 7 s"]))

    def test_another_a_missing_and_a_further_line_are_differences(self):
        for printed in (["a", "c"], ["a"], ["a", "b", "c"], [], ["b", "a"]):
            self.assertIsNotNone(difference(["a", "b"], printed), printed)
        self.assertIsNotNone(difference(["after <6> s"], ["after  s"]))
        self.assertIsNotNone(difference(["1.5"], ["1x5"]), "a full stop is a full stop")

    def test_every_example_promises_something(self):
        self.assertGreaterEqual(len(names()), 10)
        for name in names():
            self.assertGreaterEqual(len(promised(name)), 5, name)


@unittest.skipUnless(PYTHON.exists(), "the examples' Python packages are not here")
class Examples(ClientTest):
    @contextlib.contextmanager
    def broker(self):
        if "BROKER" in os.environ:
            yield os.environ["BROKER"]
            return
        # As anyone would start it: no setting that a reader of the examples would not have.
        with self.node() as node:
            yield f"127.0.0.1:{node.port}"
            node.stop()

    def run_example(self, name, server):
        command = [PYTHON, EXAMPLES / f"{name}.py", "--bootstrap-server", server]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired as ended:
            self.fail(f"{name} did not end within {SECONDS} s:\n{(ended.stdout or b'').decode()}\n{(ended.stderr or b'').decode()}")
        said = f"{done.stdout}\n{done.stderr}"
        self.assertEqual(done.returncode, 0, said)
        wrong = difference(promised(name), done.stdout.splitlines())
        self.assertIsNone(wrong, f"{name}: {wrong}\n{said}")
        self.assertEqual(done.stderr, "", "nothing else is printed")

    def test_without_a_node_an_example_says_so(self):
        command = [PYTHON, EXAMPLES / "one_partition.py", "--bootstrap-server", f"127.0.0.1:{free_port()}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertRegex(done.stderr, r"\ANo node answers at '127\.0\.0\.1:\d+' \(.*\)\. Start one, .*\n\Z")

    def test_an_example_can_be_run_again_on_the_same_node(self):
        with self.broker() as server:
            self.run_example("two_groups", server)
            self.run_example("two_groups", server)


def test_of(name):
    def run(self):
        with self.broker() as server:
            self.run_example(name, server)
    return run


for example in names():
    setattr(Examples, f"test_{example}", test_of(example))


if __name__ == "__main__":
    harness.main("examples")
