"""franz-go's tests of package kgo, from the Go module proxy, one process per test.

A test is judged as a whole, but for those whose parts are the same work by another protocol or assignor.
"""
import json
import re
import subprocess

import shell
from shell import ROOT
from suite import FAIL, PASS, SKIP, Suite

PACKAGE = "github.com/twmb/franz-go/pkg/kgo"
IN_PARTS = ("TestGroupETL", "TestTxnEtl", "TestGroupSimple")
SAID = {"PASS": PASS, "FAIL": FAIL, "SKIP": SKIP}


class Kgo(Suite):
    name = "kgo"
    settings = {"num.partitions": "4", "auto.create.topics.enable": "true"}
    seconds = 900
    jobs = 2

    @property
    def binary(self):
        return self.directory / "kgo.test"

    def build(self):
        if self.binary.exists():
            return
        shell.wants("go")
        module = self.directory / "module"
        module.mkdir(parents=True, exist_ok=True)
        for file in ("go.mod", "go.sum"):
            (module / file).write_bytes((ROOT / "tests/conformance/kgo" / file).read_bytes())
        log = self.directory / "build.log"
        shell.build("franz-go from the Go proxy", ["go", "list", "-json=Dir", PACKAGE], log, module,
                    stdout=self.directory / "package.json")
        shell.build("franz-go kgo, go test -c (some minutes)", ["go", "test", "-c", "-o", self.binary, PACKAGE], log, module)

    def units(self):
        listed = subprocess.run([self.binary, "-test.list", "^Test"], capture_output=True, text=True, check=True)
        return listed.stdout.split()

    def verdicts(self, unit, address, log, seconds):
        source = json.loads((self.directory / "package.json").read_text())["Dir"]
        shell.run(
            [self.binary, "-test.v", "-test.run", f"^{unit}$", f"-test.timeout={seconds:.0f}s"],
            log, seconds + 5, cwd=source,
            env={"KGO_SEEDS": address, "KGO_TEST_RF": "1", "KGO_TEST_RECORDS": "5000", "KGO_TEST_MAX_TOPIC_PARTS": "4"})
        said = re.findall(r"^ *--- (PASS|FAIL|SKIP): (\S+) \(", log.read_text(errors="replace"), re.MULTILINE)
        found = {name: SAID[word] for word, name in said}
        parts = {name: what for name, what in found.items() if name != unit}
        return parts if unit in IN_PARTS and parts else {unit: found.get(unit, FAIL)}
