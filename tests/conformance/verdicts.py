"""What a test said of a node, and what two nodes' verdicts mean together with the committed list.

`allowed.txt` names the tests that Apache Kafka passes and Ringmain does not pass yet, each with its reason. A test that is
skipped here, or was never reached, has not passed. A reason that begins with `unsteady:` is that of a test which may pass
as well: it measures how long something takes.
"""
import dataclasses
import pathlib

PASS, FAIL, SKIP, ABSENT = "pass", "FAIL", "skip", "absent"
UNSTEADY = "unsteady:"
ALLOWED = pathlib.Path(__file__).with_name("allowed.txt")


@dataclasses.dataclass
class Verdict:
    """One test's end on one node."""

    what: str = ABSENT
    seconds: float = 0.0
    log: str = ""
    # 2 and more: it failed before, and passed when repeated.
    tries: int = 1

    def __str__(self):
        return self.what + (f" ({self.tries} tries)" if self.tries > 1 else "")


def read_allowed(path=ALLOWED):
    """The committed list: {(suite, test): reason}. A line is `suite test reason`; `#` begins a comment."""
    allowed = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        words = line.split("#", 1)[0].split(None, 2)
        if not words:
            continue
        if len(words) < 3:
            raise SystemExit(f"{path}:{number}: a line is `suite test reason`")
        key = tuple(words[:2])
        if key in allowed:
            raise SystemExit(f"{path}:{number}: {' '.join(key)} is there twice")
        allowed[key] = words[2].strip()
    return allowed


@dataclasses.dataclass
class Judgement:
    """One test of a suite: what both said, and whether that breaks the promise."""

    name: str
    kafka: Verdict
    ringmain: Verdict
    reason: str = ""

    @property
    def complaint(self):
        """Why this test makes the run fail, or nothing."""
        passes = self.ringmain.what == PASS
        if self.reason:
            unsteady = self.reason.startswith(UNSTEADY)
            return "passes now: take it from allowed.txt" if passes and not unsteady else ""
        if self.kafka.what == PASS and not passes:
            return f"Apache Kafka passes it (log: {self.ringmain.log or 'none'})"
        return ""


def judge(suite, kafka, ringmain, allowed):
    """Every test that either side ran. Without Kafka's verdict a failure counts against us."""
    unknown = Verdict(PASS)
    judgements = []
    for name in sorted(kafka.keys() | ringmain.keys()):
        reference = kafka.get(name, Verdict()) if kafka else unknown
        # A part of a test that only exists where the whole failed is judged by the parts that Kafka has.
        judgements.append(Judgement(name, reference, ringmain.get(name, Verdict()), allowed.get((suite, name), "")))
    return judgements
