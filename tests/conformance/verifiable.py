"""Kafka's own verifiers of 4.3.1, as its system tests drive them: VerifiableProducer, VerifiableConsumer,
VerifiableShareConsumer, TransactionalMessageCopier and ClientCompatibilityTest.

The programs are Kafka's; a test here is one way of starting them and of counting what they print.
"""
import itertools
import json
import pathlib
import signal
import subprocess
import threading
import time

import brokers
import shell
from suite import FAIL, PASS, Suite

COUNT = 5000
ASSIGNORS = ("RangeAssignor", "RoundRobinAssignor", "StickyAssignor", "CooperativeStickyAssignor")
serial = itertools.count(time.time_ns())


class Tools:
    """Kafka's programs against one node, each test with a topic and a group of its own."""

    def __init__(self, address, log, seconds):
        self.address, self.log, self.until = address, log, time.monotonic() + seconds
        self.topic = self.group = f"verifiable-{next(serial)}"
        self.started, self.changed = [], threading.Condition()

    def start(self, program, *arguments, broker="--bootstrap-server"):
        main = f"org.apache.kafka.tools.{program}"
        command = ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", f"{brokers.KAFKA_HOME / 'libs'}/*", main]
        tool = Tool([*command, broker, self.address, *map(str, arguments)], self.log, self.until, self.changed)
        self.started.append(tool)
        return tool

    def create(self, partitions):
        arguments = ("--create", "--topic", self.topic, "--partitions", partitions)
        self.start("TopicCommand", *arguments).ended_well()

    def produce(self, *arguments, count=COUNT):
        """Produces and checks what it says: each record acknowledged, each (partition, offset) once."""
        said = self.start("VerifiableProducer", "--topic", self.topic, "--max-messages", count, *arguments).ended_well()
        sent = [event for event in said if event["name"] == "producer_send_success"]
        expect(len(sent) == count, f"{len(sent)} of {count} acknowledged")
        places = {(event["partition"], event["offset"]) for event in sent}
        expect("0" in arguments or len(places) == count, f"{len(places)} places for {count} records")
        return sent

    def consumer(self, *arguments):
        return self.start("VerifiableConsumer", "--topic", self.topic, "--group-id", self.group, *arguments)

    def consume(self, *arguments, count=COUNT):
        """Consumes exactly `count` in a group that ends by itself."""
        said = self.consumer("--max-messages", count, *arguments).ended_well()
        expect(consumed(said) == count, f"{consumed(said)} of {count} consumed")
        return said

    def end(self):
        for tool in self.started:
            tool.end()


class Tool:
    """One program: its lines of JSON as they come, its end by its process id. `changed` tells of those of all programs."""

    def __init__(self, command, log, until, changed):
        self.until, self.events, self.changed = until, [], changed
        with open(log, "ab") as errors:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
        self.log = log
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        with open(self.log, "ab") as log:
            for line in self.process.stdout:
                log.write(line)
                log.flush()
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                with self.changed:
                    self.events.append(event)
                    self.changed.notify_all()

    def wait_for(self, enough, what):
        """Waits until `enough(events)` holds."""
        with self.changed:
            held = self.changed.wait_for(lambda: enough(self.events), max(0, self.until - time.monotonic()))
            expect(held, f"never: {what}")

    def ended_well(self, code=0):
        try:
            ended = self.process.wait(max(0, self.until - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise Unmet("did not end in time") from None
        self.reader.join()
        expect(ended == code, f"ended with {ended}")
        return self.events

    def stop(self):
        """The end that an operator asks for: the program leaves its group."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended_well(128 + signal.SIGTERM)

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Unmet(Exception):
    """What a test expected and did not see."""


def expect(held, what):
    if not held:
        raise Unmet(what)


def consumed(events):
    return sum(event["count"] for event in events if event["name"] == "records_consumed")


def owned(events):
    """The partitions that a consumer has after its last rebalance."""
    now = set()
    for event in events:
        names = {(part["topic"], part["partition"]) for part in event.get("partitions", ()) if "topic" in part}
        if event["name"] == "partitions_assigned":
            now |= names
        elif event["name"] == "partitions_revoked":
            now -= names
    return now


def producer(*arguments):
    def test(tools):
        tools.create(3)
        tools.produce(*arguments)
        tools.consume("--enable-autocommit")
    return test


def keys_keep_their_partition(tools):
    tools.create(4)
    sent = tools.produce("--repeating-keys", 20)
    places = {}
    for event in sent:
        places.setdefault(event["key"], set()).add(event["partition"])
    expect(len(places) == 20 and all(len(found) == 1 for found in places.values()), f"keys went to {places}")


def values_arrive_in_order(tools):
    tools.create(1)
    tools.produce("--value-prefix", "7", "--message-create-time", 1_700_000_000_000)
    said = tools.consume("--verbose")
    values = [event["value"] for event in said if event["name"] == "record_data"]
    expect(values == [f"7.{number}" for number in range(COUNT)], "values or their order")


def made_by_first_use(tools):
    tools.produce(count=10)
    tools.consume(count=10)


def assignor(name):
    """Two members share six partitions; one leaves; the other has them all, and nothing is lost or read twice."""
    def test(tools):
        tools.create(6)
        strategy = ("--assignment-strategy", f"org.apache.kafka.clients.consumer.{name}")
        one = tools.consumer("--enable-autocommit", *strategy)
        one.wait_for(lambda events: len(owned(events)) == 6, "one member with all partitions")
        two = tools.consumer("--enable-autocommit", *strategy)
        two.wait_for(lambda events: len(owned(events)) == 3, "the second member with half")
        one.wait_for(lambda events: len(owned(events)) == 3, "the first member with half")
        expect(not owned(one.events) & owned(two.events), "a partition with two owners")
        tools.produce()
        one.wait_for(lambda events: consumed(events) + consumed(two.events) >= COUNT, "all records, by whichever")
        two.stop()
        one.wait_for(lambda events: len(owned(events)) == 6, "the remaining member with all partitions")
        tools.produce()
        one.wait_for(lambda events: consumed(events) + consumed(two.events) >= 2 * COUNT, "what came after")
        expect(consumed(one.stop()) + consumed(two.events) == 2 * COUNT, "a record was read twice")
    return test


def goes_on_from_its_commit(*arguments):
    def test(tools):
        tools.create(2)
        tools.produce()
        said = tools.consume(*arguments)
        committed = [event for event in said if event["name"] == "offsets_committed"]
        expect("--enable-autocommit" in arguments or committed and all(event["success"] for event in committed), "commits")
        tools.produce(count=100)
        tools.consume(*arguments, count=100)
    return test


def static_member_keeps_its_partitions(tools):
    tools.create(4)
    static = ("--session-timeout", 30000, "--group-instance-id")
    one, two = (tools.consumer(*static, name) for name in ("one", "two"))
    two.wait_for(lambda events: len(owned(events)) == 2, "half for each")
    one.wait_for(lambda events: len(owned(events)) == 2, "half for each")
    had, rebalances = owned(two.events), len(one.events)
    two.process.kill()
    again = tools.consumer(*static, "two")
    again.wait_for(lambda events: len(owned(events)) == 2, "the same half again")
    expect(owned(again.events) == had, "another half")
    later = [event["name"] for event in one.events[rebalances:]]
    expect("partitions_revoked" not in later, "the other member was disturbed")


def member_that_dies_is_replaced(tools):
    tools.create(4)
    one = tools.consumer("--session-timeout", 6000)
    two = tools.consumer("--session-timeout", 6000)
    two.wait_for(lambda events: len(owned(events)) == 2, "half for each")
    two.process.kill()
    one.wait_for(lambda events: len(owned(events)) == 4, "all partitions for the one that lives")


def reset_policy_none(tools):
    tools.create(1)
    tools.produce(count=10)
    said = tools.consumer("--reset-policy", "none").ended_well()
    expect(consumed(said) == 0, "a group without offsets and without a policy read something")


def reset_policy_latest(tools):
    tools.create(1)
    tools.produce(count=100)
    reader = tools.consumer("--reset-policy", "latest")
    reader.wait_for(lambda events: len(owned(events)) == 1, "its partition")
    # It looks the end up after it was given the partition: what is written is repeated until some of it has come.
    for _ in range(20):
        tools.produce(count=10)
        if consumed(reader.events):
            break
    expect(0 < consumed(reader.events) <= 200, f"{consumed(reader.events)} records from the end on")


def group_of_the_new_protocol(tools):
    tools.create(3)
    tools.produce()
    tools.consume("--group-protocol", "consumer")


def share_group(tools):
    tools.create(3)
    tools.produce()
    arguments = ("--topic", tools.topic, "--group-id", tools.group, "--max-messages", COUNT)
    said = tools.start("VerifiableShareConsumer", *arguments, "--offset-reset-strategy", "earliest").ended_well()
    expect(consumed(said) >= COUNT, "records of a share group")


def copies_in_transactions(*arguments):
    def test(tools):
        tools.create(1)
        tools.produce(count=1000)
        tools.start(
            "TransactionalMessageCopier", "--input-topic", tools.topic, "--input-partition", 0, "--output-topic",
            f"{tools.topic}-copy", "--consumer-group", tools.group, "--transactional-id", tools.topic, "--transaction-size",
            100, *arguments, broker="--broker-list").ended_well()
        tools.topic += "-copy"
        config = pathlib.Path(f"{tools.log}.config")
        config.write_text("isolation.level=read_committed\n")
        tools.consume("--command-config", config, count=1000)
    return test


def compatibility(tools):
    tools.create(1)
    yes = ("offsets-for-times", "cluster-id", "create-topics", "describe-acls", "describe-configs", "idempotent-producer")
    flags = [part for what in yes for part in (f"--{what}-supported", "True")]
    tools.start(
        "ClientCompatibilityTest", "--topic", tools.topic, "--num-cluster-nodes", 1,
        "--expect-record-too-large-exception", "False", *flags).ended_well()


TESTS = {
    "producer-acks-all": producer("--acks", "-1"),
    "producer-acks-1": producer("--acks", "1"),
    "producer-acks-0": producer("--acks", "0"),
    "producer-throughput": producer("--throughput", "2000"),
    "producer-repeating-keys": keys_keep_their_partition,
    "producer-values-and-times": values_arrive_in_order,
    "topic-made-by-first-use": made_by_first_use,
    **{f"consumer-{name}": assignor(name) for name in ASSIGNORS},
    "consumer-commits": goes_on_from_its_commit(),
    "consumer-autocommits": goes_on_from_its_commit("--enable-autocommit"),
    "consumer-static-member": static_member_keeps_its_partitions,
    "consumer-member-dies": member_that_dies_is_replaced,
    "consumer-reset-none": reset_policy_none,
    "consumer-reset-latest": reset_policy_latest,
    "consumer-group-protocol": group_of_the_new_protocol,
    "share-consumer": share_group,
    "transactional-copier": copies_in_transactions(),
    "transactional-copier-aborts": copies_in_transactions("--enable-random-aborts"),
    "transactional-copier-group": copies_in_transactions("--group-mode", "--use-group-metadata"),
    "client-compatibility": compatibility,
}


class Verifiable(Suite):
    name = "verifiable"
    settings = {"num.partitions": "1", "auto.create.topics.enable": "true"}
    seconds = 120
    jobs = 2
    quick_units = ("producer-acks-all", "producer-values-and-times", "topic-made-by-first-use", "consumer-RangeAssignor",
                   "consumer-CooperativeStickyAssignor", "consumer-commits", "consumer-static-member")

    def build(self):
        brokers.fetch_kafka()

    def units(self):
        return list(TESTS)

    def verdicts(self, unit, address, log, seconds):
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("")
        tools = Tools(address, log, seconds)
        try:
            TESTS[unit](tools)
            return {unit: PASS}
        except (Unmet, KeyError, subprocess.TimeoutExpired) as unmet:
            with open(log, "a") as file:
                file.write(f"conformance: {unmet!r}\n")
            return {unit: FAIL}
        finally:
            tools.end()
