"""scripts/conformance: runs suites that others wrote against Apache Kafka and against Ringmain and compares the two."""
import argparse
import json
import re
import signal
import sys

import brokers
import shell
import verdicts
from crates import RustRdkafka, Rskafka
from kgo import Kgo
from librdkafka import Librdkafka, LibrdkafkaNoAutoCreate
from shell import BuildFailed, say
from verdicts import PASS, Verdict
from verifiable import Verifiable

SUITES = {suite.name: suite for suite in (
    Verifiable(), Rskafka(), RustRdkafka(), Librdkafka(), LibrdkafkaNoAutoCreate(), Kgo())}
# A process here gets this much longer than it took against Apache Kafka, so that what hangs does not hold up the rest.
PATIENCE, PATIENCE_SECONDS = 3, 60

USAGE = """
Each suite runs against Apache Kafka and then against Ringmain, each a fresh node on loopback with the same settings. A table
says what each test came to. The exit code is 1 if a test that Apache Kafka passes does not pass here and is not in
tests/conformance/allowed.txt, or if one that is there passes now. Everything is fetched and built once, under
target/conformance/; the node under test is target/debug/ringmain, or RINGMAIN_BIN."""


def arguments():
    parser = argparse.ArgumentParser(
        prog="scripts/conformance", description=__doc__, epilog=USAGE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=[*SUITES, "all"])
    parser.add_argument("--quick", action="store_true", help="a few tests that Kafka passes, against Ringmain alone")
    parser.add_argument("--broker", metavar="HOST:PORT", help="against this node, which runs already, and no other")
    parser.add_argument("--alone", action="store_true", help="against Ringmain; Kafka's verdicts are those of the last run")
    parser.add_argument("--kafka", action="store_true", help="against Apache Kafka alone, to see what it comes to")
    parser.add_argument("--only", metavar="REGEX", help="the tests whose name this matches")
    parser.add_argument("--jobs", type=int, help="processes at a time, in place of the suite's own number")
    return parser.parse_args()


def remembered(suite):
    """What Apache Kafka came to when this suite last ran here: {test: Verdict}."""
    try:
        saved = json.loads((suite.directory / "kafka.json").read_text())
    except (OSError, ValueError):
        return {}
    return {name: Verdict(what, seconds) for name, (what, seconds) in saved.items()}


def remember(suite, found):
    kept = {**remembered(suite), **found}
    text = json.dumps({name: (verdict.what, verdict.seconds) for name, verdict in sorted(kept.items())}, indent=1)
    (suite.directory / "kafka.json").write_text(text)


def unit_of(units, name):
    """The process that a test is part of."""
    return next((unit for unit in units if name == unit or name.startswith((f"{unit}_", f"{unit}/"))), "")


def run_suite(suite, options, allowed):
    say(f"== {suite.name}")
    suite.directory.mkdir(parents=True, exist_ok=True)
    suite.build()
    units = suite.units()
    if options.quick:
        units = [unit for unit in units if unit in suite.quick_units]
    if options.only:
        units = [unit for unit in units if re.search(options.only, unit)]
    jobs = options.jobs or suite.jobs
    if not (options.quick or options.broker or options.alone):
        brokers.fetch_kafka()
        with brokers.Kafka(suite.name, suite.settings, suite.port) as node:
            suite.run(node, units, jobs, {}, tell=lambda found: remember(suite, found))
    reference = {name: verdict for name, verdict in remembered(suite).items() if unit_of(units, name)}
    if options.kafka:
        return verdicts.judge(suite.name, reference, reference, {})
    with under_test(suite, options.broker) as node:
        listed = {test for name, test in allowed if name == suite.name}
        found = suite.run(node, units, jobs, limits(suite, units, reference), listed)
    return verdicts.judge(suite.name, reference, found, allowed)


def under_test(suite, given):
    return brokers.Given(given) if given else brokers.Ringmain(suite.name, suite.settings, suite.port)


def limits(suite, units, reference):
    """Seconds for each unit that Apache Kafka ran before: {unit: seconds}."""
    found = {}
    for name, verdict in reference.items():
        unit = unit_of(units, name)
        found[unit] = max(found.get(unit, 0), min(suite.seconds, verdict.seconds * PATIENCE + PATIENCE_SECONDS))
    return found


def report(name, judgements):
    """The table of one suite. Answers how many tests passed, failed and were let off."""
    say(f"\n{name:66} kafka            ringmain")
    for judgement in judgements:
        why = judgement.complaint or (judgement.reason and f"allowed: {judgement.reason}")
        say(f"  {judgement.name:64} {judgement.kafka!s:16} {judgement.ringmain!s:16} {why}")
    counts = [sum(getattr(judgement, side).what == PASS for judgement in judgements) for side in ("kafka", "ringmain")]
    failed = sum(bool(judgement.complaint) for judgement in judgements)
    listed = sum(bool(judgement.reason) for judgement in judgements)
    say(f"{name}: of {len(judgements)} tests Apache Kafka passes {counts[0]} and Ringmain {counts[1]}; "
        f"{listed} are listed with their reason; {failed} break the promise\n")
    return counts[1], failed, len(judgements) - counts[1] - failed


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = arguments()
    allowed = verdicts.read_allowed()
    totals = [0, 0, 0]
    for suite in SUITES.values() if options.suite == "all" else [SUITES[options.suite]]:
        try:
            # Ended early, by Ctrl-C too, we take the nodes and tests that run along.
            judgements = run_suite(suite, options, allowed)
            totals = [total + count for total, count in zip(totals, report(suite.name, judgements))]
        except BuildFailed as failure:
            say(f"{suite.name}: {failure}")
            totals[1] += 1
        except (SystemExit, KeyboardInterrupt):
            shell.end_all()
            raise
    say("conformance: {} passed, {} failed, {} skipped".format(*totals))
    sys.exit(1 if totals[1] else 0)


if __name__ == "__main__":
    main()
