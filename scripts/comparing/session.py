"""The runs of a comparison, in their order: round by round, row by row, and in each row every broker in turn and back again.

    round 1:  produce: R K F T  T F K R    small: R K F T  T F K R   ...
    round 2:  ...

So each broker of a row has two runs a round, each next to the others' in time, and a machine that drifts hits all alike. All
brokers are started first and warmed; those whose turn it is not are stopped (SIGSTOP).
"""
import dataclasses
import statistics
import time

import machine
from machine import WORK, Wanting, say
from rows import BEST, HOLDS, ROWS, WARMING


class RunFailed(Wanting):
    """A run ended without a figure; the text says what it said."""


@dataclasses.dataclass
class Run:
    row: object
    broker: object
    turn: str
    path: object = None


class Session:
    def __init__(self, options, brokers, store):
        self.options, self.brokers, self.store = options, brokers, store
        self.rows, self.notes = chosen_rows(options, brokers)
        self.front, self.started, self.took = None, set(), []

    # ---- What there is to do ----

    def numbers(self, row):
        """What a run of this row depends on besides its flags."""
        options = self.options
        return {"seconds": options.seconds, "warm_up": options.warm_up, "server": options.server_core, "load": options.load_core,
                "rate": self.rate(row) if row.rate_of else None}

    def best(self, broker, of="requests_per_second"):
        """The mean of a broker's two runs of the best row in the first round, or None before they are made."""
        runs = [self.store.read(self.store.path(ROWS[BEST], broker, self.numbers(ROWS[BEST]), f"r1t{turn}")) for turn in (1, 2)]
        return statistics.fmean(run[of] for run in runs) if all(runs) else None

    def rate(self, row):
        """Requests a second of a row at a fixed rate, rounded; None while that is not known."""
        key, share = row.rate_of
        best = self.best(next(broker for broker in self.brokers if broker.key == key))
        return best and round(best * share, -1)

    def takes_part(self, row, broker):
        if self.store.cannot(row, broker, self.numbers(row)):
            return False
        if not row.rate_of or self.rate(row) is None:
            return True
        best = self.best(broker)
        return best is None or best >= self.rate(row) * HOLDS

    def runs(self, round_):
        """The runs of a round, in order; those of a row at a fixed rate show up once the rate is known."""
        for row in self.rows:
            there = [broker for broker in self.brokers if self.takes_part(row, broker)]
            for turn, order in ((1, there), (2, there[::-1])):
                for broker in order:
                    yield Run(row, broker, f"r{round_}t{turn}", self.store.path(row, broker, self.numbers(row), f"r{round_}t{turn}"))

    def missing(self):
        return [run for round_ in range(1, self.options.rounds + 1) for run in self.runs(round_) if not self.store.read(run.path)]

    # ---- Doing it ----

    def go(self):
        """Everything that is missing; ends the brokers whatever happens."""
        todo = self.missing()
        kept = sum(1 for round_ in range(1, self.options.rounds + 1) for _ in self.runs(round_)) - len(todo)
        say(f"{len(todo)} runs to make, {kept} are there ({self.store.place})")
        if not todo:
            return
        try:
            self.start([broker for broker in self.brokers if any(run.broker is broker for run in todo)])
            for round_ in range(1, self.options.rounds + 1):
                for row in self.rows:
                    self.row(round_, row)
        finally:
            for broker in self.brokers:
                broker.end()

    def start(self, brokers):
        """Starts and warms those that stay; each is stopped until its turn."""
        for broker in brokers:
            self.started.add(broker)
            if broker.fresh:
                continue
            say(f"starting {broker.name}")
            broker.start()
            if broker.warms:
                self.warm(broker)
            broker.pause()

    def warm(self, broker):
        pieces = [(key, seconds * self.options.warming / sum(seconds for _, seconds in WARMING)) for key, seconds in WARMING]
        say(f"warming {broker.name}: {self.options.warming:.0f} s of mixed load")
        for key, seconds in pieces:
            try:
                row = self.bench(ROWS[key], broker, WORK / "warming.json", max(seconds, 0.5), 0.0, strict=False)
            except RunFailed as failure:
                # A JVM that is cold may not keep up with its own clients' patience; it warmed all the same.
                say(f"  {key}: {str(failure).splitlines()[-1].strip()}")
                continue
            say(f"  {key}: {figures(row)}")
            (WORK / "warming.json").unlink()

    def row(self, round_, row):
        """One row of one round. Its runs are asked for anew: the rate may have become known, a broker may have given up."""
        for run in list(run for run in self.runs(round_) if run.row is row):
            if self.store.read(run.path) or not self.takes_part(run.row, run.broker):
                continue
            machine.need_room(self.options.data, self.options.seconds + self.options.warm_up)
            begun = time.monotonic()
            try:
                found = self.attempt(run)
            except RunFailed as failure:
                self.give_up(run, failure)
                continue
            self.took.append(time.monotonic() - begun)
            left = len(self.missing()) * statistics.fmean(self.took[-20:])
            say(f"round {round_} of {self.options.rounds}, {run.row.key}, {run.broker.name}: {figures(found)}   ({duration(left)} left)")

    def attempt(self, run):
        """A run, tried twice: what fails once may be a hiccup."""
        made = WORK / "run.json"
        for last in (False, True):
            try:
                self.to_front(run.broker)
                self.bench(run.row, run.broker, made, self.options.seconds, self.options.warm_up)
                return self.store.put(run.path, made, run.broker, run.row, ["scripts/compare", *self.options.command])
            except RunFailed as failure:
                if last:
                    raise
                say(f"{run.row.key}, {run.broker.name}: once more, because {str(failure).splitlines()[0]}")
                if not run.broker.alive() or run.broker.fresh:
                    run.broker.end()
                    self.front = None
        raise AssertionError("the second attempt answers or raises")

    def give_up(self, run, failure):
        """Another's broker may not do every row; what is compared must."""
        if run.broker.key in ("ringmain", "kafka", "kafka-flush"):
            raise Wanting(f"{run.row.key} against {run.broker.name} failed twice: {failure}\nWhat was measured is kept: the same command goes on.")
        say(f"{run.row.key}: {run.broker.name} does not do it: {failure}")
        self.store.put_cannot(run.row, run.broker, self.numbers(run.row), str(failure))

    def to_front(self, broker):
        """It runs, and nobody else does; what was before is deleted and written."""
        before = self.front
        if before and (before is not broker or broker.fresh):
            machine.settle(before.gone)
            if before.fresh:
                before.end()
            else:
                before.pause()
        if broker.fresh or not broker.alive():
            broker.start()
            if broker.warms:
                self.warm(broker)
        broker.go_on()
        self.front = broker
        machine.settle(broker.gone)

    def bench(self, row, broker, made, seconds, warm_up, strict=True):
        """`ringmain bench` on its core; answers the row that it measured."""
        options, log = self.options, WORK / "logs/bench.log"
        topic = [word for setting in (row.topic if broker.bounded else ()) for word in ("--topic-config", setting)]
        rate = ["--rate", str(self.rate(row))] if row.rate_of else []
        rate += ["--metrics", broker.metrics] if broker.metrics else []
        command = [options.ringmain, "bench", "--bootstrap", broker.address, "--broker-name", broker.name, "--rows", row.suite_row,
                   "--seconds", f"{seconds:g}", "--warm-up", f"{warm_up:g}", "--load-cores", str(options.load_core), "--no-floor",
                   "--json", made, *row.flags, *rate, *topic]
        code = machine.run(command, log, core=options.load_core, timeout=seconds + warm_up + 180, cwd=options.data)
        row_made = self.store.read(made)
        if code != 0 or row_made is None:
            raise RunFailed(f"`ringmain bench` ended with {code}; it said\n{machine.tail(log)}")
        if strict and (fault := no_figure(row_made)):
            raise RunFailed(fault)
        return row_made

    def files(self):
        """The runs that are there, each pair next to each other, and what is to be said of those that are not."""
        found = [run for round_ in range(1, self.options.rounds + 1) for run in self.runs(round_) if self.store.read(run.path)]
        notes = list(self.notes)
        for row in self.rows:
            for broker in self.brokers:
                why = self.store.cannot(row, broker, self.numbers(row))
                if why:
                    notes.append(f"{broker.name} does not do “{row.title}”: {why.splitlines()[0]}")
                elif row.rate_of and self.rate(row) and not self.takes_part(row, broker):
                    notes.append(f"{broker.name} is not in “{row.title}”: its best is {self.best(broker):,.0f} requests/s.")
            if row.rate_of and self.rate(row):
                notes.append(f"“{row.title}”: {self.rate(row):,.0f} requests/s ({self.rate(row) * 64 * 1024 / 1e6:,.0f} MB/s of values), "
                             f"half of the mean of the two runs of “{ROWS[BEST].title}” in the first round.")
        return [run.path for run in found], notes


def chosen_rows(options, brokers):
    """The rows that can be run with these brokers, and why others cannot."""
    keys, notes, present = list(options.rows or ROWS), [], {broker.key for broker in brokers}
    for key in list(keys):
        row = ROWS[key]
        if row.rate_of and row.rate_of[0] not in present:
            keys.remove(key)
            notes.append(f"“{row.title}” is left out: its rate is that of {row.rate_of[0]}, which is not among the brokers.")
    if any(ROWS[key].rate_of for key in keys) and BEST not in keys:
        say(f"{BEST} is run too: other rows take their rate from it")
        keys.append(BEST)
    return [row for row in ROWS.values() if row.key in keys], notes


def no_figure(row):
    """Why a run says nothing of its broker, or None."""
    if row["errors"] or not row["requests"]:
        return f"{row['requests']} requests were answered, errors: {row['errors']}"
    if not row["bytes"]:
        return f"{row['requests']} requests were answered, and no answer was about a single record"
    return None


def figures(row):
    latency = row["latency"]["end_to_end"] or row["latency"]["acknowledgement"] or row["latency"]["fetch"]
    words = [f"{row['mb_per_second']:,.1f} MB/s", f"{row['requests_per_second']:,.0f} requests/s"]
    if latency:
        words.append(f"p50 {latency['p50']:.2f} p99 {latency['p99']:.2f} ms")
    if row["server"]:
        words.append(f"{row['server']['cpu_seconds_per_gb']:.2f} CPU s/GB")
    return ", ".join(words) + (" (the load's limit)" if row["generator"]["bottleneck"] else "")


def duration(seconds):
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
