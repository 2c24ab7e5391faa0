"""Every client family against a node of two shards: its group reads back what it produced while members come and die, and
goes on from its committed offsets when the node is killed.

    python3 tests/clients/families.py                    all of them, several at a time (CLIENT_JOBS, 3 if not set)
    python3 tests/clients/families.py Sarama             one of them
    CLIENT_RECORDS=100000 ...                            the full size; 3,000 if not set
    CLIENT_BROKER=kafka KAFKA_JARS=... ...               against Apache Kafka 4.3.1

Each family has a program under tests/clients/<language>/ with this contract:

    PROGRAM produce BROKER TOPIC FILE CODEC
        sends the records of FILE in their order and ends with 0 when all are acknowledged. A line is
        `key TAB value TAB name=value,name=value`, all but the names in hexadecimal; `-` is null.
    PROGRAM consume BROKER TOPIC GROUP LOG EVERY
        reads as a member of the group, from the beginning where nothing is committed. Session 6 s, no automatic commits:
        it commits synchronously after every EVERY records, before partitions are taken from it, and on SIGTERM, upon which
        it leaves the group and ends with 0. It appends its events to LOG, a line each, first the time in milliseconds:
          R partition offset key value headers    a record is delivered      A p p    partitions are assigned
          T p:offset p:offset                     a commit begins            V p p    partitions are taken away
          C p:offset p:offset                     it is acknowledged         E text   something went wrong
"""
import concurrent.futures
import dataclasses
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import group_log
import harness
from harness import CLIENTS, RUN, ClientTest, Node, ringmain

RECORDS = int(os.environ.get("CLIENT_RECORDS", "3000"))
PARTITIONS = 6
EVERY = RECORDS // 20 + 7
# What is slow: a session of 6 s that has to end, and 100,000 records through a debug build.
PATIENCE = 90 + RECORDS // 200
HERE = pathlib.Path(__file__).resolve().parent
ON_KAFKA = os.environ.get("CLIENT_BROKER") == "kafka"
if ON_KAFKA:
    from kafka_node import KafkaNode


@dataclasses.dataclass
class Family:
    """How a family is run, and what of the contract it cannot keep."""

    command: list
    codec: str
    needs: pathlib.Path
    environment: dict = dataclasses.field(default_factory=dict)
    # Records of one header set after another instead of changing ones.
    headers_change_every: int = 1
    nulls: bool = True
    empties: bool = True
    # Its commits are all in its event log.
    commits_are_told: bool = True
    # It begins where it is committed when it is given a partition, and delivers no more of one that is taken from it.
    keeps_generations_apart: bool = True

    def is_here(self):
        return self.needs.exists()


def python(name, codec, **options):
    interpreter = CLIENTS / "python/bin/python"
    return Family([interpreter, HERE / f"python/{name}.py"], codec, interpreter, **options)


def go(name, codec, **options):
    return Family([CLIENTS / "go/bin" / name], codec, CLIENTS / "go/bin" / name, **options)


def node(name, codec, **options):
    return Family(["node", CLIENTS / f"node/{name}.mjs"], codec, CLIENTS / f"node/{name}.mjs", **options)


def rust(name, codec, **options):
    return Family([CLIENTS / "rust/debug" / name], codec, CLIENTS / "rust/debug" / name, **options)


FAMILIES = {
    "ConfluentKafka": python("with_confluent_kafka", "zstd"),
    "KafkaPython": python("with_kafka_python", "gzip"),
    "Aiokafka": python("with_aiokafka", "snappy"),
    "KafkaClients": Family(
        ["java", "-Xmx256M", "-XX:TieredStopAtLevel=1", "-cp", f"{CLIENTS / 'java'}:{harness.KAFKA}/*", "Client"],
        "lz4", CLIENTS / "java/Client.class",
    ),
    "FranzGo": go("franz", "snappy"),
    "Sarama": go("sarama", "zstd"),
    # It reads what is empty as null. What it has fetched it goes on to deliver and commit after a rebalance, with what it
    # fetches again from the offset that was committed before.
    "Segmentio": go("segmentio", "lz4", empties=False, keeps_generations_apart=False),
    "Kafkajs": node("with_kafkajs", "gzip"),
    # Its stream too goes on with what it had.
    "Platformatic": node("with_platformatic", "lz4", keeps_generations_apart=False),
    "Rdkafka": rust("rdkafka", "lz4"),
    "Rskafka": rust("rskafka", "snappy"),
    # kcat takes headers from its arguments, and an empty key or value for null.
    "Kcat": Family(
        [sys.executable, HERE / "python/with_kcat.py"], "gzip", pathlib.Path(harness.find_kcat() or CLIENTS / "kcat.sh"),
        environment={"KCAT": harness.find_kcat() or ""}, headers_change_every=max(RECORDS // 5, 1), empties=False,
        commits_are_told=False,
    ),
}


class TheChecker(unittest.TestCase):
    """It finds what it is there to find."""

    def logs(self, *texts):
        """Event logs of members over the records 0 to 4, written in short: `R partition offset number`."""
        directory = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        records = group_log.Records("checker")
        records.write(directory / "records", 5)
        lines = {number: line for line, number in records.numbers.items()}
        members = []
        for index, text in enumerate(texts):
            events = [event.split() for event in text.split(";")]
            events = [[*event[:-1], lines[int(event[-1])]] if event[1] == "R" else event for event in events]
            path = directory / f"member-{index}.log"
            path.write_text("".join(" ".join(event) + "\n" for event in events))
            members.append(group_log.EventLog(path, records))
            members[-1].read()
        return members, records

    def check(self, *texts):
        members, records = self.logs(*texts)
        group_log.check(members, records)
        group_log.check_starts(members, commits_are_told=True)

    whole = "1 R 0 0 0; 1 R 0 1 1; 2 T 0:2; 3 C 0:2; 4 R 1 0 2; 4 R 1 1 3"

    def test_what_was_not_committed_may_come_again(self):
        self.check(self.whole, "9 R 1 0 2; 9 R 1 1 3; 9 R 0 2 4")

    def test_what_is_acknowledged_after_the_assignment_comes_too_late_for_it(self):
        self.check(self.whole, "1 A 0; 9 R 0 1 1; 9 R 0 2 4; 1 T 0:1")
        with self.assertRaisesRegex(AssertionError, "committed before up to 2"):
            self.check(self.whole, "4 A 0; 9 R 0 1 1; 9 R 0 2 4; 1 T 0:1")

    def test_the_last_commit_of_a_partition_counts(self):
        [member], _ = self.logs("1 C 0:2 1:5; 2 C 0:9; 3 C 0:4")
        self.assertEqual(group_log.last_committed(member), {0: 4, 1: 5})

    def test_a_commit_without_an_answer_may_be_taken_or_not(self):
        [member], _ = self.logs("1 T 0:2; 1 C 0:2; 2 T 0:9 1:5; 3 C 0:9 1:5; 4 T 0:4; 5 T 2:7")
        self.assertEqual(group_log.possible_commits(member), {0: {9, 4}, 1: {5}, 2: {None, 7}})

    def test_a_clean_end_commits_what_is_neither_committed_nor_taken_away(self):
        [member], _ = self.logs("1 R 0 0 0; 1 R 1 0 1; 2 T 0:1; 3 R 2 0 2; 4 V 1; 5 R 0 1 3")
        self.assertEqual(member.pending, {0: 2, 2: 1})

    def test_faults_are_found(self):
        for text, found in {
            "9 R 0 3 4": "no offset 2",
            "9 R 1 0 2": "lost",
            "9 R 0 1 1; 9 R 0 2 4": "committed before up to 2",
            "9 R 1 1 3; 9 R 0 2 4": "where nobody committed",
            "9 R 1 1 2; 9 R 0 2 4": "has record",
            "9 R 0 2 4; 9 R 0 3 4": "is at",
        }.items():
            with self.subTest(text), self.assertRaisesRegex(AssertionError, found):
                self.check(self.whole, text)

    def test_another_order_and_other_bytes_are_found(self):
        with self.assertRaisesRegex(AssertionError, "order"):
            self.check("1 R 0 0 1; 1 R 0 1 0; 1 R 0 2 2; 1 R 0 3 3; 1 R 0 4 4")
        members, _ = self.logs(self.whole)
        with self.assertRaisesRegex(AssertionError, "nobody sent"):
            members[0].take("1", "R", "0 2 00 01 ")


class FamilyTest(ClientTest):
    """A node, a topic, and the members of one group."""

    family = None

    def setUp(self):
        super().setUp()
        self.files = self.data.with_name(self.data.name + "-files")
        shutil.rmtree(self.files, ignore_errors=True)
        self.files.mkdir(parents=True)
        self.records = group_log.Records(
            self.id(), self.family.headers_change_every, nulls=self.family.nulls, empties=self.family.empties)
        self.members, self.producers, self.numbers = [], [], itertools.count(1)
        self.environment = {**os.environ, **self.family.environment}
        self.broker = None
        self.start_broker()
        self.addCleanup(self.end)
        ringmain("topics", "create", "events", "--partitions", PARTITIONS, "--server", self.address())

    def start_broker(self):
        port = self.broker.port if self.broker else None
        settings = ["group.initial.rebalance.delay.ms=0", "auto.create.topics.enable=false"]
        if ON_KAFKA:
            self.broker = KafkaNode(self.data, *settings, port=port)
        else:
            flags = [part for setting in settings for part in ("--set", setting)]
            self.broker = Node(self.data, "--shards", "2", "--memory", "256M", *flags, port=port)

    def restart_after_kill(self):
        self.broker.kill()
        self.start_broker()

    def end(self):
        for member in self.members:
            member.end()
        for producer in self.producers:
            if producer.poll() is None:
                producer.kill()
                producer.wait()
        if self.broker.process.poll() is None:
            self.broker.kill()

    def remove_directories(self):
        """Frees some hundred megabytes before the next test begins."""
        for directory in (self.data, self.files):
            shutil.rmtree(directory, ignore_errors=True)

    def address(self):
        return f"127.0.0.1:{self.broker.port}"

    def run_program(self, *arguments):
        return [str(part) for part in (*self.family.command, *arguments)]

    def start_producing(self, count):
        """The next records are on their way; answers the process."""
        path = self.records.write(self.files / f"records-{next(self.numbers)}", count)
        command = self.run_program("produce", self.address(), "events", path, self.family.codec)
        with open(path.with_suffix(".stderr"), "wb") as errors:
            process = subprocess.Popen(command, stdout=errors, stderr=errors, stdin=subprocess.DEVNULL, env=self.environment)
        self.producers.append(process)
        return process

    def finish_producing(self, process):
        if process.wait(PATIENCE) != 0:
            texts = [path.read_text(errors="replace") for path in self.files.glob("*.stderr")]
            self.fail(f"produce ended with {process.returncode}:\n{''.join(texts)[-3000:]}")

    def produce(self, count):
        self.finish_producing(self.start_producing(count))

    def join(self):
        log = self.files / f"member-{next(self.numbers)}.log"
        command = self.run_program("consume", self.address(), "events", "group", log, EVERY)
        self.members.append(group_log.Member(command, log, self.records, self.environment))
        return self.members[-1]

    def join_and_own(self):
        member = self.join()
        member.wait("it owns something", lambda: any(member.assignments), PATIENCE)
        return member

    def wait_for_all(self, reader):
        """Until the members together have every record; `reader` is the one who lives."""
        def complete():
            return len(group_log.seen(self.members)) == len(self.records.numbers)
        reader.wait("the group has every record", complete, PATIENCE)

    def group(self):
        """The group as its coordinator has it. A dead member's log cannot say whether its last commit was taken."""
        return json.loads(ringmain("groups", "describe", "group", "--json", "--server", self.address()))

    def uncommitted(self, group=None):
        """What the group has still to commit, as its coordinator has it: {partition: (committed, end)}."""
        found = (group or self.group())["partitions"]
        ends = {each["partition"]: (each["committed"] or 0, each["log_end"]) for each in found}
        return {partition: (committed, end) for partition, (committed, end) in ends.items() if committed != end}

    def wait_for_tail(self, reader):
        """Until `reader` has the group for itself and was given all that is not committed: nobody else will commit it."""
        def complete():
            group = self.group()
            # What was taken from it before it became so is in its log by now.
            reader.read()
            alone = group["state"] == "Stable" and len(group["members"]) == 1
            owns_all = alone and all(found["member"] is not None for found in group["partitions"])
            return owns_all and all(
                reader.pending.get(partition) == end for partition, (_, end) in self.uncommitted(group).items())
        try:
            reader.wait("it has the group and what was not committed", complete, PATIENCE)
        except AssertionError as late:
            raise AssertionError(f"{late}\nthe coordinator: {self.group()}") from None

    def commit_all(self, reader):
        """The clean end of `reader`, who has the group for itself: now all is committed."""
        self.wait_for_tail(reader)
        reader.stop()
        if not self.family.keeps_generations_apart and self.uncommitted():
            # It may have committed less once more. A member without a past has nothing to go on with.
            last = self.join_and_own()
            self.wait_for_tail(last)
            last.stop()
        self.assertEqual(self.uncommitted(), {}, "all is committed")

    def check(self):
        group_log.check(self.members, self.records)
        if self.family.keeps_generations_apart:
            group_log.check_starts(self.members, self.family.commits_are_told)


class GroupTests:
    """What every family with groups is put through."""

    def test_nothing_is_lost_while_members_join_and_die(self):
        third = RECORDS // 3
        self.produce(third)
        first = self.join()
        first.wait("it reads", lambda: first.deliveries, PATIENCE)
        second = self.join_and_own()
        self.produce(third)
        for member in (first, second):
            member.wait("it has a share of what came later", lambda member=member: any(
                delivery.number >= third for delivery in member.deliveries), PATIENCE)
        producing = self.start_producing(RECORDS - 2 * third)
        already = len(first.deliveries)
        first.wait("it dies amid its work", lambda: len(first.deliveries) > already, PATIENCE)
        first.kill()
        self.finish_producing(producing)
        self.wait_for_all(second)
        self.commit_all(second)
        self.check()

    def test_a_killed_node_gives_back_what_was_committed(self):
        half = RECORDS // 2
        self.produce(half)
        first = self.join()
        self.wait_for_all(first)
        self.produce(RECORDS - half)
        first.wait("it is amid the second half", lambda: len(group_log.seen([first])) > half, PATIENCE)
        self.restart_after_kill()
        # It outlives the node. What is produced now, it can have from the restarted node alone.
        self.produce(RECORDS // 10)
        self.wait_for_all(first)
        while self.family.commits_are_told and group_log.last_committed(first) == group_log.delivered_ends([first]):
            self.produce(1)
            self.wait_for_all(first)
        first.kill()
        self.restart_after_kill()
        if self.family.commits_are_told:
            possible = group_log.possible_commits(first)
            for found in self.group()["partitions"]:
                self.assertIn(found["committed"], possible.get(found["partition"], {None}), f"partition {found['partition']}")
        tail = self.uncommitted()
        second = self.join_and_own()
        if self.family.commits_are_told:
            second.wait("it has the uncommitted tail", lambda: all(
                group_log.delivered_ends([second]).get(partition) == end for partition, (_, end) in tail.items()), PATIENCE)
            second.stop()
            begins = {start.partition: start.offset for start in group_log.starts(second)}
            self.assertEqual(begins, {partition: committed for partition, (committed, _) in tail.items()})
        self.produce(PARTITIONS * 5)
        if second.process.poll() is not None:
            second = self.join()
        self.wait_for_all(second)
        second.stop()
        self.restart_after_kill()
        third = self.join_and_own()
        before = len(self.records.numbers)
        self.produce(PARTITIONS * 5)
        self.wait_for_all(third)
        third.stop()
        self.assertEqual({delivery.number for delivery in third.deliveries if delivery.number < before}, set(), "committed, and again")
        self.check()


class PartitionTests:
    """What a family without groups is put through: it reads every partition from its beginning, before and after a kill."""

    def test_it_reads_on_when_the_node_was_killed(self):
        half = RECORDS // 2
        self.produce(half)
        first = self.join()
        self.wait_for_all(first)
        self.restart_after_kill()
        self.produce(RECORDS - half)
        self.wait_for_all(first)
        first.stop()
        second = self.join()
        second.wait("it has all", lambda: len(second.deliveries) == RECORDS, PATIENCE)
        second.stop()
        group_log.check([first], self.records)
        group_log.check([second], self.records)


def test_class(name, family):
    tests = PartitionTests if name == "Rskafka" else GroupTests
    made = type(name, (tests, FamilyTest), {"family": family})
    return unittest.skipUnless(family.is_here(), f"{name} is not here")(made)


def chosen_tests():
    # scripts/test counts what is not here.
    yield from unittest.defaultTestLoader.loadTestsFromTestCase(TheChecker)
    names = sys.argv[1:] or [name for name, family in FAMILIES.items() if family.is_here()]
    for name in names:
        yield from unittest.defaultTestLoader.loadTestsFromTestCase(test_class(name, FAMILIES[name]))


def run_one(test):
    result, started = unittest.TestResult(), time.monotonic()
    test.run(result)
    if result.wasSuccessful() and not result.skipped and isinstance(test, FamilyTest):
        test.remove_directories()
    word = "ok" if result.wasSuccessful() else "FAILED"
    if result.skipped:
        word = f"skipped: {result.skipped[0][1]}"
    with PRINTING:
        print(f"{test.id().removeprefix('__main__.')} ... {word} ({time.monotonic() - started:.1f} s)", flush=True)
        for _, text in result.failures + result.errors:
            print(text, flush=True)
    return result


PRINTING = threading.Lock()


def main():
    with concurrent.futures.ThreadPoolExecutor(int(os.environ.get("CLIENT_JOBS", "3"))) as pool:
        results = list(pool.map(run_one, chosen_tests()))
    failed = sum(not result.wasSuccessful() for result in results)
    skipped = sum(len(result.skipped) for result in results)
    print(f"client families: {len(results) - failed - skipped} passed, {failed} failed, {skipped} skipped", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
