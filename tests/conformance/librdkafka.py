"""librdkafka's own tests, out of the crate rdkafka-sys: one process per test number.

At full size: the runner's quick mode (-Q) leaves out most parts of a test and calls what is left a pass. The tests that need no
broker are left out. `librdkafka` runs the default scenario, `librdkafka-noautocreate` the one against a node that does not
make topics by itself.
"""
import json
import os
import re

import brokers
import crates
import shell
from suite import FAIL, PASS, SKIP, Suite

STATES = {"PASSED": PASS, "FAILED": FAIL, "RUNNING": FAIL, "DNS": FAIL, "SKIPPED": SKIP}
# Tests that try many things one after another and stop at the first that fails: each of those is a unit of its own, such as
# `0081/do_test_CreateTopics`. Their parts are the functions of a file, or what tells one call of a function from another.
PARTS_OF = {
    "0081": "0081-admin.c", "0113": "0113-cooperative_rebalance.cpp", "0137": "0137-barrier_batch_consume.c",
}
PARTS = {
    "0055": {"standard": ": standard settings", "linger": "linger.ms (", "linger-below-a-second": ": linger.ms < 1000",
             "no-acks": ": no acks", "idempotence": ": idempotence", "transactions": ": transactions"},
    "0061": {"without-transactions": "lag without transactions", "with-transactions": "lag with transactions"},
}
ENTRY = re.compile(r"_TEST\((\d{4}_\w+),(.*?)(?=_TEST\(|\{NULL\}\})", re.DOTALL)


class Librdkafka(Suite):
    name = "librdkafka"
    scenario = "default"
    settings = {"num.partitions": "4", "auto.create.topics.enable": "true"}
    seconds = 600
    # Most of a test is waiting for timers.
    jobs = 3
    quick_units = ("0001", "0004", "0012", "0017", "0022", "0030", "0039")

    @property
    def source(self):
        return shell.WORK / "librdkafka" / "source"

    def build(self):
        brokers.fetch_kafka()  # Some tests call Kafka's scripts.
        done = self.source / ".built"
        if done.exists():
            return
        shell.wants("gcc", "g++", "make")
        crates.copy("rdkafka-sys", self.source, part="librdkafka")
        log = self.source.parent / "build.log"
        shell.build("librdkafka, configure", ["./configure", "--disable-curl", "--disable-sasl"], log, self.source)
        shell.build("librdkafka, library (a minute)", ["make", "libs"], log, self.source)
        shell.build("librdkafka, tests (two minutes)", ["make", "-C", "tests", "build"], log, self.source)
        done.touch()

    def declared(self):
        """The tests of this scenario that need a broker: their full names, as tests/test.c declares them."""
        text = (self.source / "tests/test.c").read_text()
        for name, rest in ENTRY.findall(text[text.index("struct test tests[]"):]):
            scenario = re.search(r'\.scenario = "([^"]*)"', rest)
            local = re.search(r"TEST_F_(LOCAL|MANUAL|KNOWN_ISSUE\b)", rest)
            if not local and self.scenario in (scenario[1] if scenario else "default").split(","):
                yield name

    def units(self):
        numbers = sorted({name[:4] for name in self.declared()})
        return [f"{number}/{part}" if part else number for number in numbers for part in self.parts(number)]

    def parts(self, number):
        """What a number is split into: {name of the part: what the runner's name of it contains}."""
        if number in PARTS:
            return PARTS[number]
        if number not in PARTS_OF:
            return {"": ""}
        text = (self.source / "tests" / PARTS_OF[number]).read_text()
        functions = re.findall(r"^(?:static )?void\s+(\w+)\((.*?)^}", text, re.MULTILINE | re.DOTALL)
        return {name: f"{name}:" for name, body in functions if "SUB_TEST" in body}

    def verdicts(self, unit, address, log, seconds):
        log.parent.mkdir(parents=True, exist_ok=True)
        conf, report = log.with_suffix(".conf"), log.with_suffix(".json")
        conf.write_text(f"bootstrap.servers={address}\ntest.timeout.multiplier=4\ntest.topic.random=true\n")
        report.unlink(missing_ok=True)
        tests = self.source / "tests"
        # The runner keeps the report's path in 128 bytes: hence a relative one.
        number, _, part = unit.partition("/")
        subtests = self.parts(number)[part]
        libraries = f"{self.source}/src:{self.source}/src-cpp"
        shell.run(
            ["./test-runner", "-p1", "-L", "-s", self.scenario], log, seconds, cwd=tests,
            env={
                "TESTS": number, **({"SUBTESTS": subtests} if part else {}), "BROKERS": address,
                "RDKAFKA_TEST_CONF": str(conf), "TEST_REPORT": os.path.relpath(report, tests),
                "TEST_KAFKA_VERSION": brokers.KAFKA_VERSION, "KAFKA_PATH": str(brokers.KAFKA_HOME),
                "LD_LIBRARY_PATH": f"{libraries}:{os.environ.get('LD_LIBRARY_PATH', '')}",
            })
        begun = re.findall(r"\[ (.*) \]$", log.read_text(errors="replace"), re.MULTILINE)
        if part and not any(subtests in name for name in begun):
            return {unit: SKIP}
        said = self.said(number, report)
        return {unit: max(said.values(), key=[SKIP, PASS, FAIL].index)} if part else said

    def said(self, number, report):
        """The runner's report. A test that it does not name, because the runner crashed or hung, has failed."""
        names = [name for name in self.declared() if name.startswith(number)]
        try:
            tests = json.loads(report.read_text(), strict=False)["tests"]
        except (OSError, ValueError, KeyError):
            tests = {}
        return {name: STATES.get(tests.get(name, {}).get("state"), FAIL) for name in names}


class LibrdkafkaNoAutoCreate(Librdkafka):
    name = "librdkafka-noautocreate"
    scenario = "noautocreate"
    settings = {"num.partitions": "4", "auto.create.topics.enable": "false"}
    quick_units = ()
