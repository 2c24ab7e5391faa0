"""scripts/compare --perf-test: our load beside kafka-producer-perf-test, against the same Apache Kafka, at the same fixed rate.

Both send the same records in the same batches over one connection to one partition, in turns. What should agree is what the
broker is made to do (CPU) and how long an answer takes (p50). Where the two differ by design, and what is done about it:
  - the tool times a record from `send`, so the time in which its batch fills is in it; our load times a batch from when it was due.
    Of the tool's records the last of each batch count. What is left in theirs is the wait for its sender's thread, which shares
    the core with the one that fills the next batches of a burst: much where a batch has 64 records, little where it has one.
    So a request is timed in both from its handing to the network as well, and there nothing is left of it.
  - the tool pauses in steps of milliseconds and then sends what it owes in a burst; our load sends at even moments, unless told
    otherwise by --arrivals: here it sends when the tool did in the run before. One run at even moments says what that makes.
  - the tool counts whole milliseconds; its own program is run, with a finer clock beside its own (TimedProducerPerformance.java).
"""
import dataclasses
import json
import os
import queue
import random
import re
import statistics
import subprocess
import threading
import time

import machine
import table
from brokers import JARS, Kafka
from machine import ROOT, WORK, Wanting, say
from rows import BOUNDED, Row
from session import duration
from store import digest

OURS, TOOL, EVENLY = "ringmain bench", "kafka-producer-perf-test", "ringmain bench at even moments"
ARRIVALS = "arrivals.txt"
# A JVM that produces is cold for a while too.
TOOL_WARM_UP = 20.0
RECORD = 1024


@dataclasses.dataclass(frozen=True)
class Shape:
    """One load as both are told it. `batch_size`: what holds this many records and not one more (61 bytes, and 1,033 for each)."""
    key: str
    title: str
    records: int
    batch_size: int
    linger_ms: int

    def properties(self, address):
        return (f"bootstrap.servers={address}", "acks=all", "enable.idempotence=false", "compression.type=none", "max.in.flight.requests.per.connection=5",
                f"batch.size={self.batch_size}", f"linger.ms={self.linger_ms}", "buffer.memory=134217728")

    def row(self):
        flags = ("--record-bytes", str(RECORD), "--batch-records", str(self.records), "--partitions", "1", "--connections", "1", "--in-flight", "5",
                 "--acks", "all")
        return Row(self.key, self.title, "Do two loads see the same broker?", "half-rate", flags, (("p50", "ms p50"), ("p99", "ms p99"), ("CPU", "CPU s/GB")))


SHAPES = (
    Shape("one", "one record of 1 KiB a request, one connection, half rate", 1, 1, 0),
    Shape("batches", "64 records of 1 KiB a batch, one connection, half rate", 64, 61 + 64 * 1033 + 100, 100),
)


def run(options):
    broker = Kafka(options)
    broker.prepare()
    classes = compiled()
    try:
        say(f"starting {broker.name}")
        broker.start()
        test = Test(options, broker, classes)
        test.warm()
        for shape in SHAPES:
            test.find_rate(shape)
        for round_ in range(1, options.rounds + 1):
            for shape in SHAPES:
                # Ours always after the tool, whose moments it repeats.
                for turn, tool in enumerate((TOOL, OURS, TOOL, OURS), 1):
                    test.turn(shape, tool, f"r{round_}t{(turn + 1) // 2}", f"round {round_} of {options.rounds}")
        for shape in SHAPES:
            test.turn(shape, EVENLY, "once", "once")
    finally:
        broker.end()
    test.report()


def compiled():
    """The tool with the finer clock."""
    source, classes, log = ROOT / "scripts/comparing/TimedProducerPerformance.java", WORK / "classes", WORK / "logs/javac.log"
    classes.mkdir(parents=True, exist_ok=True)
    try:
        code = machine.run(["javac", "-cp", f"{JARS}/*", "-d", classes, source], log)
    except FileNotFoundError:
        raise Wanting("there is no javac: --perf-test needs a JDK, 17 or later") from None
    if code != 0:
        raise Wanting(f"{source} does not compile; javac says\n{machine.tail(log)}")
    return classes


class Test:
    def __init__(self, options, broker, classes):
        self.options, self.broker, self.classes = options, broker, classes
        self.rates = {}
        self.payloads = WORK / "payloads"
        letters = random.Random(42)
        self.payloads.write_text("\n".join("".join(letters.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=RECORD)) for _ in range(64)))

    def folder(self, shape, tool):
        options, key = self.options, tool.replace(" ", "-")
        return options.store.place / f"perf-{shape.key}-{digest(shape, options.seconds, options.warm_up, self.broker.facts())}" / key

    def warm(self):
        say(f"warming it by both loads: {self.options.warming:.0f} s")
        each = self.options.warming / 4
        for shape in SHAPES:
            self.bench(shape, [], max(1.0, each), 0.0)
            self.tool(shape, 2000 if shape.records == 1 else 20000, max(1.0, each), 1.0)

    def find_rate(self, shape):
        """Half of what the lesser of the two does as fast as it goes; kept, so that a second start has the same."""
        file = self.folder(shape, OURS).parent / "rate.json"
        if not file.exists():
            options, template = self.options, WORK / "rate.json"
            ours = self.bench(shape, [], options.seconds, options.warm_up, template)["records_per_second"]
            theirs = self.tool(shape, -1, options.seconds, options.warm_up + TOOL_WARM_UP)["records_per_second"]
            rate = round(min(ours, theirs) / 2 / shape.records) * shape.records
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"rate": rate, "ours": ours, "theirs": theirs, "template": json.loads(template.read_text())}))
        found = json.loads(file.read_text())
        self.rates[shape.key] = found
        say(f"{shape.key}: as fast as it goes, {OURS} {found['ours']:,.0f} and {TOOL} {found['theirs']:,.0f} records/s; "
            f"compared at {found['rate']:,.0f}, half of the lesser")

    def turn(self, shape, tool, turn, where):
        path = self.folder(shape, tool) / f"{turn}.json"
        if self.options.store.read(path):
            return
        machine.need_room(self.options.data, self.options.seconds)
        machine.settle(self.broker.gone)
        rate, begun = self.rates[shape.key]["rate"], time.monotonic()
        made = WORK / "run.json"
        arrivals = self.folder(shape, TOOL) / f"{turn}.arrivals"
        # The broker is as long at the same load by either: a change of load cools its compiled code, and its writing back begins late.
        times = self.options.seconds, self.options.warm_up + TOOL_WARM_UP
        if tool == OURS:
            self.bench(shape, ["--arrivals", arrivals], *times, made)
        elif tool == EVENLY:
            self.bench(shape, ["--rate", f"{rate / shape.records:.3f}"], *times, made)
        else:
            made.write_text(json.dumps(self.as_report(shape, self.tool(shape, rate, *times))))
            arrivals.parent.mkdir(parents=True, exist_ok=True)
            (WORK / ARRIVALS).rename(arrivals)
        report = json.loads(made.read_text())
        report["brokers"][0].update(self.broker.facts(), name=tool, version=None)
        report["host"].update(cpus=len(os.sched_getaffinity(0)), data_directory=str(self.options.data))
        report["rows"][0].update(name=shape.title, question=shape.row().question)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report))
        row = report["rows"][0]
        latency = row["latency"]["acknowledgement"]
        say(f"{where}, {shape.key}, {tool}: p50 {latency['p50']:.3f} p99 {latency['p99']:.2f} ms, {row['records_per_second']:,.0f} records/s, "
            f"{row['server']['cpu_seconds_per_gb']:.3f} CPU s/GB   ({duration(time.monotonic() - begun)})")

    def bench(self, shape, when, seconds, warm_up, made=WORK / "rate.json"):
        """Our load: the flags that say when it sends; as fast as it goes without."""
        row, log = shape.row(), WORK / "logs/bench.log"
        topic = [word for setting in BOUNDED for word in ("--topic-config", setting)]
        name = "half-rate" if when else "produce-64k"
        command = [self.options.ringmain, "bench", "--bootstrap", self.broker.address, "--rows", name, "--seconds", f"{seconds:g}", "--warm-up",
                   f"{warm_up:g}", "--load-cores", self.options.load_core, "--no-floor", "--json", made, *row.flags, *when, *topic]
        code = machine.run(command, log, core=self.options.load_core, timeout=seconds + warm_up + 180, cwd=self.options.data)
        found = self.options.store.read(made)
        if code != 0 or found is None:
            raise Wanting(f"`ringmain bench` ended with {code}; it said\n{machine.tail(log)}")
        return found

    def make_topic(self, name):
        """As our load makes its own: anew, and bounded."""
        topics, log = [self.options.ringmain, "topics"], WORK / "logs/topic.log"
        server = ["--bootstrap-server", self.broker.address]
        machine.run([*topics, "delete", name, *server], log, timeout=60)
        settings = [word for setting in ("retention.ms=-1", *BOUNDED) for word in ("--config", setting)]
        until = time.monotonic() + 30
        # A broker deletes in its own time, and until then the name is taken.
        while machine.run([*topics, "create", name, "--partitions", "1", *settings, *server], log, timeout=60) != 0:
            if time.monotonic() > until:
                raise Wanting(f"the topic {name} could not be made; `ringmain topics create` said\n{machine.tail(log)}")
            time.sleep(0.2)

    def tool(self, shape, rate, seconds, warm_up):
        """kafka-producer-perf-test: what it measured in the window, and what the broker used meanwhile."""
        topic = f"perf-{shape.key}"
        self.make_topic(topic)
        count = int((rate if rate > 0 else 400_000) * (warm_up + seconds + 1))
        command = ["java", "-Xmx1G", f"-Dwindow.from.seconds={warm_up}", f"-Dwindow.seconds={seconds}", f"-Dbatch.records={shape.records}",
                   f"-Darrivals={WORK / ARRIVALS}", "-cp", f"{self.classes}:{JARS}/*",
                   "org.apache.kafka.tools.TimedProducerPerformance", "--topic", topic, "--num-records", count, "--throughput", rate,
                   "--payload-file", self.payloads, "--print-metrics", "--command-property", *shape.properties(self.broker.address)]
        watch = Watch([str(word) for word in command], self.options.load_core, self.broker.process.pid, WORK / "logs/perf-test.log")
        return watch.window(warm_up, seconds, rate <= 0)

    def as_report(self, shape, found):
        """What the tool measured, in the form of our reports, so that one place makes the statistics of both."""
        rate = self.rates[shape.key]
        template = rate["template"]
        template["rows"][0]["parameters"].update(mode="rate", rate_per_second=rate["rate"] / shape.records)
        seconds, records = self.options.seconds, found["latency"]["count"] * shape.records
        # Batches have heads: the same bytes for the same records.
        moved = round(records * template["rows"][0]["bytes"] / template["rows"][0]["records"])
        cpu = found["cpu_seconds"]
        return {**template, "rows": [{
            **template["rows"][0], "requests": round(records / found["records_per_request"]), "records": records, "bytes": moved,
            "requests_per_second": records / found["records_per_request"] / seconds, "records_per_second": records / seconds,
            "mb_per_second": moved / 1e6 / seconds, "errors": {}, "stages": [], "series": [],
            "latency": {"acknowledgement": found["latency"], "service": found["service"], "end_to_end": None, "fetch": None},
            "server": {**template["rows"][0]["server"], "cpu_seconds": cpu, "cpu_seconds_per_gb": cpu / (moved / 1e9),
                       "cpu_us_per_request": cpu * 1e6 / max(1, records / found["records_per_request"]), "cpu_share": cpu / seconds},
            "generator": {"cpu_share": found["tool_cpu_seconds"] / seconds, "lag": None, "bottleneck": False,
                          "note": f"It said, of all records: {found['total']}. Its records queued {found['queue_ms']:.2f} ms on the average "
                                  f"before they were sent; a request took {found['request_ms']:.2f} ms and had {found['records_per_request']:.1f} records."}}]}

    def inside(self, shape, turns):
        """What the two agree on, and what lies inside each of them: a line for the report, of the medians of all runs."""
        def p50(kind, which):
            return [self.options.store.read(self.folder(shape, which) / f"{turn}.json")["latency"][kind]["p50"] for turn in turns]
        tool, ours = p50("service", TOOL), p50("service", OURS)
        ratio = statistics.median(own / other for own, other in zip(ours, tool))
        whole = [statistics.median(p50("acknowledgement", which)) for which in (TOOL, OURS)]
        return (f"“{shape.title}”: p50 of a request from its handing to the network to its answer, {TOOL} {statistics.median(tool):.3f} ms, "
                f"{OURS} {statistics.median(ours):.3f} ms (ratio {ratio:.2f}); from when it was due, {whole[0]:.3f} and {whole[1]:.3f} ms.")

    def report(self):
        files, notes = [], []
        turns = [f"r{round_}t{turn}" for round_ in range(1, self.options.rounds + 1) for turn in (1, 2)]
        for shape in SHAPES:
            rate = self.rates[shape.key]
            evenly = self.options.store.read(self.folder(shape, EVENLY) / "once.json")["latency"]["acknowledgement"]
            notes.append(f"“{shape.title}”: {rate['rate']:,.0f} records/s; at even moments instead of the tool's own, p50 "
                         f"{evenly['p50']:.3f} and p99 {evenly['p99']:.2f} ms. As fast as it goes: {OURS} {rate['ours']:,.0f}, {TOOL} {rate['theirs']:,.0f}.")
            notes.append(self.inside(shape, turns))
            files += [self.folder(shape, tool) / f"{turn}.json" for turn in turns for tool in (TOOL, OURS)]
        found, page = table.report(self.options, files, [], notes, f"{OURS} beside {TOOL}, against {self.broker.name}", head=OURS, name="perf-test")
        say()
        table.show(found, [shape.row() for shape in SHAPES], head=OURS)
        say()
        for one in found["comparisons"]:
            if one["head"] == OURS and one["metric"] in ("p50", "CPU"):
                verdict = "agree within 10 %" if 0.9 <= one["ratio"] <= 1.1 else "differ by more than 10 %"
                say(f"{one['row']}, {one['metric']}: {verdict} (ratio {one['ratio']:.3f})")
        for row in found["rows"]:
            if found["brokers"][row["broker"]]["name"] == TOOL:
                say(f"{row['name']}: {row['generator']['note']}")
        for note in notes:
            say(note)
        say(f"\nreport: {page}\ndata:   {page.with_suffix('.json')}")


class Watch:
    """The tool as it runs: its two marks, its metrics, and the broker's CPU in its window."""

    def __init__(self, command, core, broker, log):
        self.broker, self.log, self.lines, self.marks = broker, log, [], queue.Queue()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                        preexec_fn=machine.on_core(core), start_new_session=True)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if line.startswith("@begun"):
                self.marks.put(time.monotonic())
        self.marks.put(None)

    def window(self, warm_up, seconds, cut):
        """`cut`: it has more records than it can send, so that it is ended after its window."""
        try:
            begun = self.marks.get(timeout=60)
            if begun is None:
                self.fail()
            broker, tool = [], []
            for until in (begun + warm_up, begun + warm_up + seconds):
                time.sleep(max(0.0, until - time.monotonic()))
                broker.append(cpu_seconds(self.broker))
                tool.append(cpu_seconds(self.process.pid))
            if not cut:
                self.process.wait(seconds + warm_up + 120)
                self.reader.join(10)
        except (queue.Empty, subprocess.TimeoutExpired):
            self.fail()
        finally:
            machine.end(self.process)
        self.log.write_text("\n".join(self.lines))
        if cut:
            return {"records_per_second": self.last_rate()}
        return self.found(broker[1] - broker[0], tool[1] - tool[0])

    def last_rate(self):
        """Of the lines that the tool prints each five seconds: N records sent, X records/sec ..."""
        rates = [float(match[1]) for line in self.lines if (match := re.search(r"records sent, ([\d.]+) records/sec", line))]
        if not rates:
            self.fail()
        return statistics.median(rates[-2:])

    def found(self, broker_cpu, tool_cpu):
        json_line = next((line[1:] for line in self.lines if line.startswith("@{")), None)
        if json_line is None:
            self.fail()
        measured = json.loads(json_line)
        total = next((line for line in reversed(self.lines) if "99.9th" in line), "nothing")
        return {**measured, "cpu_seconds": broker_cpu, "tool_cpu_seconds": tool_cpu, "total": total,
                "records_per_request": self.metric("records-per-request-avg") or 1.0, "queue_ms": self.metric("record-queue-time-avg"),
                "request_ms": self.metric("request-latency-avg")}

    def metric(self, name):
        """As --print-metrics has it: producer-metrics:NAME:{client-id=...} : 1.234"""
        found = [float(match[1]) for line in self.lines if (match := re.match(rf"producer-metrics:{name}:\{{[^}}]*\}}\s*:\s*([\d.]+)", line))]
        return found[0] if found else 0.0

    def fail(self):
        self.log.write_text("\n".join(self.lines))
        raise Wanting(f"{TOOL} did not do it; it said\n{machine.tail(self.log)}")


def cpu_seconds(pid):
    """User and system time of a process and all its threads so far."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


TICKS = os.sysconf("SC_CLK_TCK")
