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
# Tests that stop at the first of many things that they try: each of those is a unit of its own, `0081/do_test_CreateTopics`.
IN_PARTS = {"0081": "0081-admin.c"}
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
        return [unit for number in sorted({name[:4] for name in self.declared()}) for unit in self.parts(number)]

    def parts(self, number):
        if number not in IN_PARTS:
            return [number]
        text = (self.source / "tests" / IN_PARTS[number]).read_text()
        functions = re.findall(r"^(?:static )?void\s+(do_test_\w+)\((.*?)^}", text, re.MULTILINE | re.DOTALL)
        return [f"{number}/{name}" for name, body in functions if "SUB_TEST" in body]

    def verdicts(self, unit, address, log, seconds):
        log.parent.mkdir(parents=True, exist_ok=True)
        conf, report = log.with_suffix(".conf"), log.with_suffix(".json")
        conf.write_text(f"bootstrap.servers={address}\ntest.timeout.multiplier=4\ntest.topic.random=true\n")
        report.unlink(missing_ok=True)
        number, _, part = unit.partition("/")
        libraries = f"{self.source}/src:{self.source}/src-cpp"
        shell.run(
            ["./test-runner", "-p1", "-L", "-s", self.scenario], log, seconds, cwd=self.source / "tests",
            env={
                "TESTS": number, **({"SUBTESTS": f"{part}:"} if part else {}), "RDKAFKA_TEST_CONF": str(conf), "TEST_REPORT": str(report),
                "TEST_KAFKA_VERSION": brokers.KAFKA_VERSION, "KAFKA_PATH": str(brokers.KAFKA_HOME), "BROKERS": address,
                "LD_LIBRARY_PATH": f"{libraries}:{os.environ.get('LD_LIBRARY_PATH', '')}",
            })
        if part and f"[ {part}:" not in log.read_text(errors="replace"):
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
