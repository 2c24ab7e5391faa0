"""The event logs of a group's members, and what must hold over all of them. See families.py for the events."""
import collections
import os
import random
import signal
import subprocess
import time


class Records:
    """Records that no two are the same of, and the lines of the contract that name them."""

    def __init__(self, seed, headers_change_every=1, nulls=True, empties=True):
        self.random = random.Random(seed)
        self.headers_change_every, self.nulls, self.empties = headers_change_every, nulls, empties
        # By "key value headers" in hexadecimal, as they stand in the events.
        self.numbers = {}

    def _record(self, number):
        size = self.random.choices([self.random.randrange(200), self.random.randrange(1500), 40_000], [900, 97, 3])[0]
        # One half compresses well, the other not at all.
        body = b"%d " % number + (self.random.randbytes(size) if number % 2 else b"all work and no play " * (size // 20))
        key = b"key-%d" % self.random.randrange(500)
        kind = number % 23
        if kind == 0 and self.nulls:
            key = None
        elif kind == 1 and self.nulls:
            key, body = b"null-%d" % number, None
        elif kind == 2 and self.empties:
            key, body = b"empty-%d" % number, b""
        block = number // self.headers_change_every
        headers = [("block", b"%d" % block)] if block % 3 else []
        if headers and self.empties:
            headers.append(("empty", b""))
        if self.headers_change_every == 1 and block % 3 == 2:
            headers.append(("raw", self.random.randbytes(9)))
        return key, body, headers

    def write(self, path, count):
        """Makes the next records, as a file for `produce`."""
        with open(path, "w") as file:
            for number in range(len(self.numbers), len(self.numbers) + count):
                key, value, headers = self._record(number)
                pairs = ",".join(f"{name}={data.hex()}" for name, data in headers)
                words = ["-" if data is None else data.hex() for data in (key, value)] + [pairs]
                file.write("\t".join(words) + "\n")
                self.numbers[" ".join(words)] = number
        return path


class Delivery:
    """One record as one member saw it."""

    __slots__ = ("time", "partition", "offset", "number")

    def __init__(self, time, partition, offset, number):
        self.time, self.partition, self.offset, self.number = time, partition, offset, number


class EventLog:
    """The event log of a member, as far as it is read."""

    def __init__(self, log_path, records):
        self.log_path, self.records = log_path, records
        self.file, self.rest = None, ""
        self.deliveries, self.assignments, self.assigned_at, self.errors = [], [], [], []
        # {partition: next offset} of what is delivered, and neither committed nor taken away since: what a clean end commits.
        self.pending = {}
        # (time, {partition: next offset}) of commits begun, and of those that the broker acknowledged.
        self.tried, self.committed = [], []
        self.member_pid = None

    def read(self):
        """Reads what the log has gained."""
        if self.file is None:
            if not self.log_path.exists():
                return
            self.file = open(self.log_path)
        text = self.rest + self.file.read()
        *lines, self.rest = text.split("\n")
        for line in lines:
            self.take(*line.split(" ", 2))

    def take(self, time, kind, words=""):
        """Takes one event."""
        if kind == "R":
            partition, offset, record = words.split(" ", 2)
            if (number := self.records.numbers.get(record)) is None:
                raise AssertionError(f"{self.log_path}: nobody sent what is at {partition}:{offset}: {record[:300]}")
            self.deliveries.append(Delivery(int(time), int(partition), int(offset), number))
            self.pending[int(partition)] = int(offset) + 1
        elif kind in "TC":
            offsets = {int(partition): int(offset) for partition, offset in (word.split(":") for word in words.split())}
            (self.tried if kind == "T" else self.committed).append((int(time), offsets))
            if kind == "T":
                self.pending = {partition: offset for partition, offset in self.pending.items() if offsets.get(partition) != offset}
        elif kind == "A":
            self.assignments.append([int(partition) for partition in words.split()])
            self.assigned_at.append(int(time))
        elif kind == "V":
            for partition in words.split():
                self.pending.pop(int(partition), None)
        elif kind == "P":
            self.member_pid = int(words)
        elif kind == "E":
            self.errors.append(words)


class Member(EventLog):
    """A process that consumes in a group, and its event log."""

    def __init__(self, command, log_path, records, environment=None):
        super().__init__(log_path, records)
        self.error_path = log_path.with_suffix(".stderr")
        with open(self.error_path, "wb") as errors:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, env=environment)
        self.member_pid = self.process.pid

    def wait(self, what, until, seconds=90):
        """Waits until `until` holds over this log."""
        end = time.monotonic() + seconds
        self.read()
        while not until():
            if self.process.poll() is not None:
                self.read()
                if until():
                    return
                raise AssertionError(f"{self.story()}\nended with {self.process.returncode} before {what}")
            if time.monotonic() > end:
                raise AssertionError(f"{self.story()}\nnot within {seconds} s: {what}")
            time.sleep(0.02)
            self.read()

    def kill(self):
        os.kill(self.member_pid, signal.SIGKILL)
        self.process.wait(20)
        self.read()

    def stop(self):
        """A clean end: it commits and leaves."""
        self.process.terminate()
        try:
            code = self.process.wait(90)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.story()}\ndoes not end") from None
        self.read()
        if code != 0:
            raise AssertionError(f"{self.story()}\nended with {code}")

    def end(self):
        """Leaves no process behind, whatever went wrong."""
        if self.process.poll() is None:
            self.kill()

    def story(self):
        """What to read when this member has not done what it should."""
        stderr = self.error_path.read_text(errors="replace")[-3000:]
        ends = collections.Counter(delivery.partition for delivery in self.deliveries)
        return (f"{self.log_path}: {len(self.deliveries)} records, by partition {dict(ends)}, assigned {self.assignments}, "
                f"last commit {self.committed[-1:]}, errors {self.errors[-10:]}\n{stderr}")


def seen(members):
    return {delivery.number for member in members for delivery in member.deliveries}


def last_committed(member):
    """What one member was last told of each partition: {partition: next offset}. A member that was given a partition again
    may commit less than it had: the last word is what counts, as in the coordinator."""
    return {partition: offset for _, offsets in member.committed for partition, offset in offsets.items()}


def possible_commits(member):
    """What the coordinator may have from a member that was killed: {partition: offsets}, None for nothing. That is what it was
    last told, and whatever it has tried since: such a commit is taken, or not, and nobody lives to write down which."""
    told = {partition: (time, offset) for time, offsets in member.committed for partition, offset in offsets.items()}
    possible = {partition: {offset} for partition, (_, offset) in told.items()}
    for time, offsets in member.tried:
        for partition, offset in offsets.items():
            if time >= told.get(partition, (0,))[0]:
                possible.setdefault(partition, {None}).add(offset)
    return possible


def delivered_ends(members):
    """How far each partition is delivered: {partition: next offset}."""
    ends = {}
    for member in members:
        for delivery in member.deliveries:
            ends[delivery.partition] = max(delivery.offset + 1, ends.get(delivery.partition, 0))
    return ends


def starts(member):
    """The deliveries that do not follow the one before in their partition: where this member began, or began again."""
    expected = {}
    for delivery in member.deliveries:
        if expected.get(delivery.partition) != delivery.offset:
            yield delivery
        expected[delivery.partition] = delivery.offset + 1


def check(members, records):
    """Nothing lost, nothing changed, nothing out of order, and one place for each record."""
    places, numbers = {}, {}
    for member in members:
        for delivery in member.deliveries:
            place = (delivery.partition, delivery.offset)
            if places.setdefault(place, delivery.number) != delivery.number:
                raise AssertionError(f"{place} has record {places[place]} and record {delivery.number}")
            if numbers.setdefault(delivery.number, place) != place:
                raise AssertionError(f"record {delivery.number} is at {numbers[delivery.number]} and at {place}")
    lost = set(records.numbers.values()) - set(numbers)
    if lost:
        raise AssertionError(f"{len(lost)} of {len(records.numbers)} records are lost, the first {sorted(lost)[:5]}")
    ordered = collections.defaultdict(list)
    for (partition, offset), number in sorted(places.items()):
        if offset != len(ordered[partition]):
            raise AssertionError(f"partition {partition} has no offset {len(ordered[partition])}")
        ordered[partition].append(number)
    for partition, found in ordered.items():
        if found != sorted(found):
            raise AssertionError(f"partition {partition} is not in the order of its producer")


def check_starts(members, commits_are_told):
    """Nothing twice but what was not committed.

    Every place where a member begins is one that some member tried to commit, or the beginning; and it lies not below a
    commit that was acknowledged before the member was assigned anything: only then does it ask where to begin, and what is
    acknowledged between that and the first delivery comes too late for it. `commits_are_told`: the logs tell all commits.
    """
    tried, acknowledged = collections.defaultdict(set), collections.defaultdict(list)
    for member in members:
        for _, offsets in member.tried:
            for partition, offset in offsets.items():
                tried[partition].add(offset)
        for time, offsets in member.committed:
            for partition, offset in offsets.items():
                acknowledged[partition].append((time, offset))
    for member in members:
        for start in starts(member):
            asked = max((time for time in member.assigned_at if time <= start.time), default=start.time)
            committed = max((offset for time, offset in acknowledged[start.partition] if time < asked), default=0)
            what = f"{member.log_path}: partition {start.partition} begins at {start.offset}"
            if start.offset < committed:
                raise AssertionError(f"{what}, which was committed before up to {committed}")
            if commits_are_told and start.offset not in tried[start.partition] | {0}:
                raise AssertionError(f"{what}, where nobody committed: {sorted(tried[start.partition])[-5:]}")
