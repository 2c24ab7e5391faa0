"""Members of many groups join, leave, are killed and come back while the node itself is killed under them; then
churn_checker.py reads what they wrote down. The members are kgo clients (groups-go/), many to a process.

    CHURN_MEMBERS=200 CHURN_GROUPS=50 CHURN_SECONDS=300 CHURN_SEED=7 python3 tests/clients/member_churn.py
is the full size; CI runs a small one.
"""
import dataclasses
import os
import random
import re
import shutil
import signal
import subprocess
import time
import unittest

import churn_checker
import harness
from churn_checker import Event, check
from harness import CLIENTS, RUN, ClientTest, Node

PROGRAM = CLIENTS / "groups/groups"
MEMBERS = int(os.environ.get("CHURN_MEMBERS", "20"))
GROUPS = int(os.environ.get("CHURN_GROUPS", "5"))
SECONDS = int(os.environ.get("CHURN_SECONDS", "35"))
SEED = int(os.environ.get("CHURN_SEED", "1"))
NODE_KILLS = max(2, SECONDS // 45)
PROCESSES = max(4, MEMBERS // 20)
PARTITIONS = 8
RATE = 100
# Every assignor that kgo brings; the last kind of group has static members.
KINDS = ("range", "roundrobin", "sticky", "cooperative-sticky", "cooperative-sticky static")
SETTLE_SECONDS = 90


@dataclasses.dataclass
class Member:
    """One place in a group; whoever fills it is present, or away until a time."""

    name: str
    group: str
    kind: str
    process: int
    back_at: float = 0.0
    present: bool = False


class Process:
    """A process of members, or the producer: it ends when its stdin does."""

    def __init__(self, mode, name, port, logs, *more):
        command = [PROGRAM, mode, "-server", f"127.0.0.1:{port}", "-log", logs, "-name", name, *more]
        self.errors = logs / f"{name}.stderr"
        with open(self.errors, "ab") as errors:
            self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE, stdout=errors, stderr=errors, text=True)

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self, seconds=60):
        self.process.stdin.close()
        if self.process.wait(seconds) != 0:
            raise AssertionError(f"{self.errors.name} ended with {self.process.returncode}: {self.errors.read_text()[-2000:]}")


class Churn:
    """The schedule: what happens is drawn from a seed, so that two runs differ only by their timing."""

    def __init__(self, start_node, port, logs):
        self.start_node, self.port, self.logs = start_node, port, logs
        self.random = random.Random(SEED)
        self.counts = {"left": 0, "members killed": 0, "processes frozen": 0, "nodes killed": 0}
        self.members = [
            Member(f"m{index:03}", f"g{index % GROUPS:02}", KINDS[index % GROUPS % len(KINDS)], index * PROCESSES // MEMBERS)
            for index in range(MEMBERS)
        ]
        self.processes = [None] * PROCESSES
        self.process_back_at = [0.0] * PROCESSES
        self.thaw_at = {}  # {process: when}

    def run(self):
        self.offsets()  # makes the topic and the coordinator's: on a busy machine that may take seconds
        began = time.monotonic()
        node_kills = sorted(began + SECONDS * (number + self.random.uniform(0.4, 0.9)) / NODE_KILLS for number in range(NODE_KILLS))
        producer = Process("produce", "producer", self.port, self.logs, "-rate", str(RATE))
        try:
            while (now := time.monotonic()) < began + SECONDS:
                self.bring_back(now)
                if node_kills and now >= node_kills[0]:
                    node_kills.pop(0)
                    self.kill_node()
                elif now > began + 5:
                    self.disturb(now)
                time.sleep(self.random.uniform(0.3, 1.2) * 20 / max(20, min(MEMBERS, 60)))
            self.bring_back(now + 3600)
            producer.end()
        finally:
            if producer.process.poll() is None:
                producer.kill()

    def bring_back(self, now):
        """Starts what is away and due: processes, then their members. Lets go on what stood still for its time."""
        for process in [process for process, at in self.thaw_at.items() if now >= at]:
            process.signal(signal.SIGCONT)
            del self.thaw_at[process]
        for index, process in enumerate(self.processes):
            if process is None and now >= self.process_back_at[index]:
                self.processes[index] = Process("members", f"p{index}", self.port, self.logs)
        for member in self.members:
            if not member.present and now >= member.back_at and self.processes[member.process]:
                self.processes[member.process].tell(f"join {member.name} {member.group} {member.kind}")
                member.present = True

    def disturb(self, now):
        """A member leaves, or a whole process is killed without a word, or stands still, often for longer than a session lasts;
        each comes back a little later."""
        kind = self.random.random()
        if kind < 0.8:
            if here := [member for member in self.members if member.present]:
                member = self.random.choice(here)
                self.processes[member.process].tell(f"leave {member.name}")
                member.present, member.back_at = False, now + self.random.uniform(0.2, 6)
                self.counts["left"] += 1
        elif kind < 0.9:
            process = self.random.choice(self.processes)
            if process and process not in self.thaw_at:
                process.signal(signal.SIGSTOP)
                self.thaw_at[process] = now + self.random.uniform(3, 12)
                self.counts["processes frozen"] += 1
        elif all(self.processes):
            index = self.random.randrange(PROCESSES)
            self.thaw_at.pop(self.processes[index], None)
            self.processes[index].kill()
            self.processes[index], self.process_back_at[index] = None, now + self.random.uniform(0.2, 9)
            for member in self.members:
                if member.process == index:
                    self.counts["members killed"] += member.present
                    member.present = False

    def kill_node(self):
        """Every other time the members stand still until somebody else has asked what is committed: they would hide a commit
        that the node has forgotten by the next one."""
        self.node.kill()
        stand_still = self.counts["nodes killed"] % 2 == 0
        if stand_still:
            self.signal_members(signal.SIGSTOP)
        time.sleep(self.random.uniform(0, 2))
        self.node = self.start_node(self.port)
        if stand_still:
            self.observe()
            self.signal_members(signal.SIGCONT)
            self.thaw_at = {}
        self.counts["nodes killed"] += 1

    def signal_members(self, number):
        for process in filter(None, self.processes):
            process.signal(number)

    def observe(self):
        """Asks for all committed offsets, as an event of each group."""
        asked, lines, groups = time.monotonic_ns(), self.offsets().splitlines(), {}
        for group, partition, committed, _ in map(str.split, lines):
            groups.setdefault(group, {})[partition] = committed
        with open(self.logs / "observer.events", "a") as log:
            for group, found in groups.items():
                log.write(f"{asked} observer {group} fetching o{asked} {','.join(found)}\n")
                pairs = ",".join(f"{partition}={committed}" for partition, committed in found.items())
                log.write(f"{time.monotonic_ns()} observer {group} fetched o{asked} {pairs}\n")

    def offsets(self):
        """What every group has committed, and where the partitions end, line by line."""
        groups = ",".join(sorted({member.group for member in self.members}))
        command = [PROGRAM, "offsets", "-server", f"127.0.0.1:{self.port}", "-groups", groups]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    def settle(self):
        """Waits until everything written is committed by all groups; answers the last word on it, settled or not."""
        def behind(lines):
            return [line for line in lines.splitlines() if line.split()[2] != line.split()[3]]
        return harness.eventually(self.offsets, lambda lines: not behind(lines), SETTLE_SECONDS)

    def end(self):
        for process in filter(None, self.processes):
            process.end()
        self.processes = [None] * PROCESSES

    def kill_all(self):
        for process in filter(None, self.processes):
            process.kill()


@unittest.skipUnless(PROGRAM.exists(), "the Go members are not here")
class MemberChurn(ClientTest):
    maxDiff = None

    def start_node(self, port=None):
        return Node(self.data, "--shards", "2", "--memory", "256M", "--set", "group.initial.rebalance.delay.ms=500",
                    "--set", f"num.partitions={PARTITIONS}", port=port)

    def test_members_come_and_go_and_nothing_is_lost_or_owned_twice(self):
        logs = RUN / "member-churn"
        shutil.rmtree(logs, ignore_errors=True)
        logs.mkdir(parents=True)
        node = self.start_node()
        churn = Churn(self.start_node, node.port, logs)
        churn.node = node
        try:
            churn.run()
            (logs / "final").write_text(churn.settle())
            churn.end()
            churn.node.stop()
        finally:
            churn.kill_all()
            if churn.node.process.poll() is None:
                churn.node.kill()
        events, final = churn_checker.read(logs)
        wrong, counts = check(events, final)
        print(", ".join(f"{count} {name}" for name, count in {**churn.counts, **counts}.items()), flush=True)
        self.assertEqual(wrong[:20], [], f"{len(wrong)} things are wrong, see {logs}; CHURN_SEED={SEED}")
        self.assert_it_was_a_test(counts, churn.counts)
        self.assert_planted_faults_are_found(events, final)
        shutil.rmtree(logs)

    def assert_it_was_a_test(self, counts, done):
        self.assertEqual(counts["groups"], GROUPS)
        self.assertGreater(counts["produced"], SECONDS * RATE // 4)
        self.assertGreater(counts["committed"], MEMBERS * SECONDS // 20)
        self.assertGreater(counts["generations"], GROUPS * 3)
        self.assertGreaterEqual(done["nodes killed"], 2)
        self.assertGreater(done["members killed"], 0)

    def assert_planted_faults_are_found(self, events, final):
        """One event of a group of this very run is changed, for each rule; the checker must say so."""
        group = events[at_last(events, "processed")].group
        events = [event for event in events if event.group in (group, "-")]
        for rule, plant in PLANTED.items():
            with self.subTest(rule):
                self.assertRegex("\n".join(check(plant(list(events)), final)[0]), f"(?m)^{rule}: ")


def at_last(events, name, is_it=lambda event: True):
    """Where the last event of a name is that fits."""
    return max(index for index, event in enumerate(events) if event.name == name and is_it(event))


def plant_double(events):
    """The last assignment that is not empty is given to somebody else too, in the same generation."""
    index = at_last(events, "assigned", lambda event: event.words[3] != "-")
    event = events[index]
    generation, _, _, owned = event.words
    events.insert(index + 1, event._replace(who="planted", words=[generation, "planted-1", "-", owned]))
    return events


def plant_back(events):
    """The last acknowledged commit is followed by one, asked for later, of an offset lower by one."""
    index = at_last(events, "committed")
    event = events[index]
    request, generation, member, taken = event.words
    partition, offset = next(iter(churn_checker.offsets(taken).items()))
    lower = f"{partition}={offset - 1}"
    events[index + 1:index + 1] = [
        event._replace(name="committing", words=["planted", lower]),
        event._replace(name="committed", words=["planted", generation, member, lower]),
    ]
    return events


def plant_lost(events):
    """All of one group's runs over one record are forgotten."""
    index = at_last(events, "processed")
    group, (partition, _, last, *_) = events[index].group, events[index].words
    return [event for event in events if not (event.name == "processed" and event.group == group and event.words[0] == partition
                                              and int(event.words[1]) <= int(last) <= int(event.words[2]))]


def plant_zombie(events):
    """A commit of the generation before is taken after an answer in the present one."""
    index = at_last(events, "committed", lambda event: int(event.words[1]) > 1)
    event = events[index]
    request, generation, member, taken = event.words
    events[index + 1:index + 1] = [
        event._replace(name="committing", words=["planted", taken]),
        event._replace(name="committed", words=["planted", str(int(generation) - 1), member, taken]),
    ]
    return events


PLANTED = {"double": plant_double, "back": plant_back, "lost": plant_lost, "zombie": plant_zombie}


class TheChecker(unittest.TestCase):
    """The checker over small histories of two members, ann and ben, of which only the named thing is wrong."""

    GOOD = """
        10 producer - produced 0 0 0
        11 producer - produced 0 1 1
        12 producer - produced 1 0 0
        20 ann g assigned 1 ann-1 - 0,1
        21 ann g started 0=-2,1=-2
        22 ann g processed 0 0 0 0 0 1
        23 ann g committing c1 0=1
        24 ann g committed c1 1 ann-1 0=1
        30 ann g revoked 0,1
        40 ann g assigned 2 ann-1 - 1
        41 ben g assigned 2 ben-1 - 0
        42 ben g fetching f1 0
        43 ben g fetched f1 0=1
        44 ben g started 0=1
        45 ben g processed 0 1 1 1 1 2
        46 ben g committing c1 0=2
        47 ben g committed c1 2 ben-1 0=2
        48 ann g processed 1 0 0 0 0 2
        49 ann g committing c2 1=1
        50 ann g committed c2 2 ann-1 1=1
    """
    FINAL = {("g", 0): (2, 2), ("g", 1): (1, 1)}

    def wrong(self, old="", new="", final=None):
        text = self.GOOD
        if old:
            self.assertIn(old, text)
            text = text.replace(old, new)
        events = []
        for line in filter(None, map(str.strip, text.splitlines())):
            time_, who, group, name, *words = line.split()
            events.append(Event(int(time_), who, group, name, words))
        return check(sorted(events, key=lambda event: event.time), final or self.FINAL)[0]

    def assert_only(self, rule, wrong):
        self.assertTrue(wrong, f"a planted {rule} was not found")
        self.assertEqual({re.match(r"\w+", line)[0] for line in wrong}, {rule}, wrong)

    def test_a_good_history_is_good(self):
        self.assertEqual(self.wrong(), [])

    def test_two_owners_in_one_generation(self):
        self.assert_only("double", self.wrong("41 ben g assigned 2 ben-1 - 0", "41 ben g assigned 2 ben-1 - 0,1"))

    def test_a_static_member_that_came_back_is_one_owner_and_two_instances_are_two(self):
        again = "41 ben g assigned 2 ben-1 b 0\n 41 ben g assigned 2 ben-2 b 0"
        self.assertEqual(self.wrong("41 ben g assigned 2 ben-1 - 0", again), [])
        self.assert_only("double", self.wrong("41 ben g assigned 2 ben-1 - 0", again.replace("ben-2 b", "ben-2 c")))

    def test_a_commit_of_a_partition_that_another_owns(self):
        self.assert_only("double", self.wrong("49 ann g committing c2 1=1", "49 ann g committing c9 0=2\n"
                                              "49 ann g committed c9 2 ann-1 0=2\n 49 ann g committing c2 1=1"))

    def test_a_commit_that_goes_back(self):
        planted = "48 ben g committing c8 0=1\n 49 ben g committed c8 2 ben-1 0=1"
        self.assert_only("back", self.wrong("48 ann g processed", f"{planted}\n 48 ann g processed"))

    def test_overlapping_commits_may_be_acknowledged_in_any_order(self):
        self.assertEqual(self.wrong("46 ben g committing c1 0=2", "45 ben g committing c0 0=1\n 46 ben g committing c1 0=2\n"
                                    "48 ben g committed c0 2 ben-1 0=1"), [])

    def test_a_fetched_offset_below_an_acknowledged_one(self):
        self.assert_only("back", self.wrong("fetched f1 0=1", "fetched f1 0=0"))
        self.assert_only("back", self.wrong("fetched f1 0=1", "fetched f1 0=-1"))
        self.assert_only("back", self.wrong("44 ben g started 0=1", "44 ben g started 0=-2"))

    def test_an_offset_fetched_before_the_acknowledgement_says_nothing(self):
        self.assertEqual(self.wrong("45 ben g processed", "46 ann g fetching f7 0\n 48 ann g fetched f7 0=1\n 45 ben g processed"), [])

    def test_a_commit_of_an_earlier_generation(self):
        self.assert_only("zombie", self.wrong("46 ben g committing c1 0=2", "45 ann g committing c7 1=0\n"
                                              "46 ann g committed c7 1 ann-1 1=0\n 46 ben g committing c1 0=2"))

    def test_a_commit_asked_before_the_next_generation_may_be_taken(self):
        self.assertEqual(self.wrong("30 ann g revoked 0,1", "30 ann g committing c6 0=1\n 42 ann g committed c6 1 ann-1 0=1"), [])

    def test_a_lost_record(self):
        self.assert_only("lost", self.wrong("45 ben g processed 0 1 1 1 1 2", "45 ben g revoked -"))
        self.assert_only("lost", self.wrong("48 ann g processed 1 0 0 0 0 2", "48 ann g processed 1 0 0 7 7 2"))
        self.assert_only("lost", self.wrong("12 producer", "12 producer - produced 0 0 5\n 12 producer"))

    def test_an_end_that_is_not_committed_or_below_what_was(self):
        self.assert_only("unfinished", self.wrong(final={("g", 0): (2, 3), ("g", 1): (1, 1)}))
        self.assert_only("unfinished", self.wrong(final={("g", 0): (2, 2)}))
        self.assertIn("back", " ".join(self.wrong(final={("g", 0): (1, 1), ("g", 1): (1, 1)})))


if __name__ == "__main__":
    harness.main("member churn")
