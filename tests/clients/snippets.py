"""The snippets of README.md, as they stand there, against a fresh node: each writes a record and reads it back in a group.

    CLIENT_BROKER=kafka KAFKA_JARS=...    against Apache Kafka 4.3.1
"""
import os
import pathlib
import re
import shutil
import subprocess
import unittest

import harness
from harness import CLIENTS, ROOT, ClientTest

ON_KAFKA = os.environ.get("CLIENT_BROKER") == "kafka"
if ON_KAFKA:
    from kafka_node import KafkaNode
SECONDS = 120


def snippets():
    """What README.md shows under each language's name."""
    shown = re.findall(r"<summary>(.*?)</summary>\n\n```\w+\n(.*?)```\n", (ROOT / "README.md").read_text(), re.DOTALL)
    return dict(shown)


def run(command, directory, **environment):
    done = subprocess.run(
        [str(part) for part in command], cwd=directory, env={**os.environ, **environment}, capture_output=True, text=True,
        timeout=SECONDS, stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


class Snippets(ClientTest):
    def setUp(self):
        super().setUp()
        broker = KafkaNode(self.data) if ON_KAFKA else self.node()
        self.broker = self.enterContext(broker)
        self.directory = self.data.with_name(self.data.name + "-files")
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir()
        self.directories.append(self.directory)

    def write(self, language, path):
        """The snippet as a file, with the address of this test's node."""
        text = snippets()[language]
        self.assertIn("127.0.0.1:9092", text)
        path = self.directory / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("127.0.0.1:9092", f"127.0.0.1:{self.broker.port}"))
        return path

    def need(self, place):
        if not pathlib.Path(place).exists():
            self.skipTest(f"{place} is not here")
        return place

    def test_python(self):
        python = self.need(CLIENTS / "python/bin/python")
        printed = run([python, self.write("Python", "hello.py")], self.directory)
        self.assertEqual(printed, "hello from Python\n")

    def test_java(self):
        self.need(CLIENTS / "java/Client.class")
        printed = run(["java", "-cp", f"{harness.KAFKA}/*", self.write("Java", "Hello.java")], self.directory)
        self.assertEqual(printed, "hello from Java\n")

    def test_go(self):
        go = self.need(CLIENTS / "go/bin").parent
        self.write("Go", "hello.go")
        for name in ("go.mod", "go.sum"):
            shutil.copy(ROOT / "tests/clients/go" / name, self.directory)
        places = {"GOPATH": str(go), "GOMODCACHE": str(go / "pkg/mod"), "GOCACHE": str(go / "cache")}
        self.assertEqual(run(["go", "run", "hello.go"], self.directory, **places), "hello from Go\n")

    def test_node(self):
        self.need(CLIENTS / "node/with_kafkajs.mjs")
        hello = self.write("Node", "hello.mjs")
        (self.directory / "node_modules").symlink_to(CLIENTS / "node/node_modules")
        printed = run(["node", hello], self.directory)
        # kafkajs writes its log to stdout too.
        self.assertEqual([line for line in printed.splitlines() if not line.startswith("{")], ["hello from Node"])

    def test_rust(self):
        self.need(CLIENTS / "rust/debug/rdkafka")
        self.write("Rust", "src/bin/hello.rs")
        package = ROOT / "tests/clients/rust"
        for name in ("Cargo.toml", "Cargo.lock", "src/lib.rs"):
            shutil.copy(package / name, self.directory / name)
        # The same target directory: what is built for the family is there.
        command = ["cargo", "run", "--quiet", "--locked", "--bin", "hello"]
        self.assertEqual(run(command, self.directory, CARGO_TARGET_DIR=str(CLIENTS / "rust")), "hello from Rust\n")

    def test_kcat(self):
        kcat = harness.find_kcat()
        if kcat is None:
            self.skipTest("kcat is not here")
        named = self.directory / "bin/kcat"
        named.parent.mkdir()
        named.symlink_to(kcat)
        path = f"{named.parent}{os.pathsep}{os.environ['PATH']}"
        self.assertEqual(run(["sh", "-e", self.write("kcat", "hello.sh")], self.directory, PATH=path), "hello from kcat\n")


if __name__ == "__main__":
    harness.main("README snippets")
