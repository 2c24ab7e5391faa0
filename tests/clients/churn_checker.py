"""Says whether what the members of many groups wrote down fits together: churn_checker.py DIRECTORY

The directory holds the event logs of member_churn.py, a file for each member and one for the producer; each line is
    NANOSECONDS WHO GROUP EVENT ARGUMENT...      with one monotonic clock for all
    assigned GENERATION MEMBER_ID INSTANCE|- PARTITIONS        what SyncGroup answered, written before anyone acts on it
    revoked PARTITIONS | lost PARTITIONS | joining | leaving | left
    processed PARTITION OFFSET OFFSET NUMBER NUMBER GENERATION  a run of records, first and last
    committing ID OFFSETS, then committed ID GENERATION MEMBER_ID OFFSETS | refused ID PARTITION ERROR | commit-failed ID ERROR
    fetching ID PARTITIONS, then fetched ID OFFSETS | fetch-failed ID ERROR
    started OFFSETS                                             committed offsets as the client itself got them after `assigned`
    produced PARTITION OFFSET NUMBER                            the producer's: an acknowledged record
and `final`, with a line GROUP PARTITION COMMITTED END for each group and partition, when all has come to rest.

The rules, each of which compares only what was certainly before with what certainly came after (a request acts at some time
between its asking and its answer, so a later answer alone says nothing):
 lost      every acknowledged record was processed, at its offset, at least once in every group;
 back      a commit that was asked for after another's acknowledgement is not below it, and neither is a committed offset that
           was fetched after it, by whomever and whatever happened to the node in between;
 double    in one generation of a group no partition is assigned to two members, and nobody else's commit of it is taken;
 zombie    once any member has been answered in a generation, no commit of an earlier generation is taken;
 unfinished  in the end every group has committed the end of every partition.
"""
import collections
import pathlib
import sys

Event = collections.namedtuple("Event", "time who group name words")


def read(directory):
    """All events in the order of their time, and the lines of `final` as {(group, partition): (committed, end)}."""
    events = []
    for path in sorted(pathlib.Path(directory).glob("*.events")):
        for line in path.read_text().split("\n")[:-1]:  # what follows the last newline was torn by a kill
            time, who, group, name, *words = line.split(" ")
            events.append(Event(int(time), who, group, name, words))
    events.sort(key=lambda event: event.time)
    final = {}
    for line in (pathlib.Path(directory) / "final").read_text().splitlines():
        group, partition, committed, end = line.split(" ")
        final[group, int(partition)] = int(committed), int(end)
    return events, final


def partitions(word):
    return [] if word == "-" else [int(partition) for partition in word.split(",")]


def offsets(word):
    return {} if word == "-" else dict(map(int, pair.split("=")) for pair in word.split(","))


def owners_of(events):
    """{(generation, partition): {owner}}: a static member is its instance id, whatever its member id is just now."""
    owners = collections.defaultdict(set)
    for event in events:
        if event.name == "assigned":
            generation, member, instance, owned = event.words
            for partition in partitions(owned):
                owners[int(generation), partition].add(member if instance == "-" else instance)
    return owners


class Group:
    """The rules over one group's events, in the order of time."""

    def __init__(self, name, events):
        self.name, self.wrong = name, []
        self.owners = owners_of(events)
        self.generation = 0  # the highest in which anyone has been answered
        self.floor = {}  # {partition: highest acknowledged commit}
        self.open = {}  # {(who, id): (generation, floor) when the request was asked}
        self.given = {}  # {who: (member id or instance, floor) when it was last assigned}
        self.seen = collections.defaultdict(dict)  # {partition: {offset: number}} as processed
        self.counts = collections.Counter(event.name for event in events)
        for (generation, partition), found in self.owners.items():
            if len(found) > 1:
                self.say("double", f"partition {partition} in generation {generation} is assigned to {' and '.join(sorted(found))}")
        for event in events:
            getattr(self, event.name.replace("-", "_"), self.ignore)(event, *event.words)

    def say(self, rule, text):
        self.wrong.append(f"{rule}: group {self.name}: {text}")

    def ignore(self, *_):
        pass

    def assigned(self, event, generation, member, instance, _):
        self.generation = max(self.generation, int(generation))
        self.given[event.who] = (member if instance == "-" else instance), dict(self.floor)

    def committing(self, event, request, _):
        self.open[event.who, request] = self.generation, dict(self.floor)

    def committed(self, event, request, generation, member, taken):
        known, floor = self.open[event.who, request]
        name, _ = self.given[event.who]
        generation, who = int(generation), f"{event.who} ({member})"
        if generation < known:
            self.say("zombie", f"{who} committed in generation {generation} after others were answered in {known}")
        for partition, offset in offsets(taken).items():
            if others := self.owners.get((generation, partition), set()) - {name}:
                self.say("double", f"{who} committed partition {partition} in generation {generation}, which {others} owns")
            self.not_below(floor, partition, offset, f"{who} committed")
            self.floor[partition] = max(offset, self.floor.get(partition, offset))

    def fetching(self, event, request, _):
        self.open[event.who, request] = self.generation, dict(self.floor)

    def fetched(self, event, request, found):
        _, floor = self.open[event.who, request]
        for partition, offset in offsets(found).items():
            self.not_below(floor, partition, offset, f"{event.who} was told")

    def started(self, event, found):
        _, floor = self.given[event.who]
        for partition, offset in offsets(found).items():
            self.not_below(floor, partition, offset, f"{event.who} was started at")

    def not_below(self, floor, partition, offset, who):
        if offset < floor.get(partition, offset):
            self.say("back", f"{who} offset {offset} of partition {partition} after {floor[partition]} was acknowledged")

    def processed(self, _, *words):
        partition, first, last, number, last_number, _ = map(int, words)
        seen = self.seen[partition]
        if last - first != last_number - number:
            self.say("lost", f"partition {partition}: offsets {first} to {last} hold numbers {number} to {last_number}")
        for offset in range(first, last + 1):
            before = seen.setdefault(offset, number + offset - first)
            if before != number + offset - first:
                self.say("lost", f"offset {offset} of partition {partition} was record {before}, then {number + offset - first}")

    def finish(self, produced, final):
        for partition, records in produced.items():
            seen = self.seen[partition]
            missing = [offset for offset, number in records.items() if seen.get(offset) != number]
            if missing:
                self.say("lost", f"{len(missing)} records of partition {partition} were not processed, the first at {missing[0]}")
            if (self.name, partition) not in final:
                self.say("unfinished", f"nothing is said of partition {partition} in the end")
                continue
            committed, end = final[self.name, partition]
            if committed != end or end <= max(records, default=-1):
                self.say("unfinished", f"partition {partition} ends at {end}, committed is {committed}")
            self.not_below(self.floor, partition, committed, "in the end one was told")


def produced_by(events, wrong):
    """{partition: {offset: number}} of the acknowledged records."""
    produced = collections.defaultdict(dict)
    for event in events:
        if event.name == "produced":
            partition, offset, number = map(int, event.words)
            if produced[partition].setdefault(offset, number) != number:
                wrong.append(f"lost: offset {offset} of partition {partition} was acknowledged for two records")
    return produced


def check(events, final):
    """(what is wrong, in words; counts of what was seen)."""
    wrong, counts, by_group = [], collections.Counter(), collections.defaultdict(list)
    for event in events:
        by_group[event.group].append(event)
    produced = produced_by(by_group.pop("-", []), wrong)
    counts["produced"] = sum(map(len, produced.values()))
    for name, group_events in sorted(by_group.items()):
        group = Group(name, group_events)
        group.finish(produced, final)
        wrong += group.wrong
        counts.update(group.counts)
        counts["groups"] += 1
        counts["generations"] += len({generation for generation, _ in group.owners})
    return wrong, counts


def main(directory):
    wrong, counts = check(*read(directory))
    print(", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
    for line in wrong[:40]:
        print(line)
    print(f"{len(wrong)} things are wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
