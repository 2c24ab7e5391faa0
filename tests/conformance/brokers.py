"""The nodes that a suite runs against: Apache Kafka, Ringmain, or one that the caller has running.

Each is started fresh by `with`, over an empty directory under target/conformance, on loopback, with the settings that the
suite asks for (Kafka's own keys, the same for both), and is ended by its own process id. `alive` tells a node that died.
"""
import os
import pathlib
import shutil
import socket
import subprocess
import time

import shell
from shell import ROOT, TARGET, WORK, BuildFailed

KAFKA_VERSION = "4.3.1"
KAFKA_HOME = WORK / f"kafka-{KAFKA_VERSION}"
START_SECONDS = 120

# What a node of its own needs: one copy of every internal topic.
KAFKA_SETTINGS = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
}

# Kafka's scripts as far as suites call them, over the same jars.
SCRIPTS = {
    "kafka-topics.sh": "org.apache.kafka.tools.TopicCommand",
    "kafka-acls.sh": "org.apache.kafka.tools.AclCommand",
    "kafka-configs.sh": "kafka.admin.ConfigCommand",
    "kafka-run-class.sh": "",
}


def fetch_kafka():
    """Apache Kafka's jars and thin scripts over them under target/conformance, as a distribution lays them out."""
    libs, done = KAFKA_HOME / "libs", KAFKA_HOME / ".complete"
    if not done.exists():
        shell.wants("java", "mvn")
        libs.mkdir(parents=True, exist_ok=True)
        shell.build(f"Apache Kafka {KAFKA_VERSION} from Maven Central", [
            "mvn", "-B", "-f", ROOT / "tests/conformance/kafka-pom.xml",
            "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies",
            f"-DoutputDirectory={libs}", "-DincludeScope=runtime",
        ], KAFKA_HOME / "fetch.log")
        write_scripts(libs)
        done.touch()
    return KAFKA_HOME


def write_scripts(libs):
    (KAFKA_HOME / "bin").mkdir(exist_ok=True)
    for name, main in SCRIPTS.items():
        script = KAFKA_HOME / "bin" / name
        java = f'java -Xmx256m -XX:TieredStopAtLevel=1 -cp "{libs}/*:${{CLASSPATH:-}}"'
        script.write_text(f'#!/bin/sh\nexec {java} {main} "$@"\n')
        script.chmod(0o755)


def free_port(wanted=None):
    """The wanted port if nobody has it, else one that is free."""
    for port in (wanted, 0) if wanted else (0,):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                return probe.getsockname()[1]
            except OSError:
                shell.say(f"  port {port} is taken: what a suite expects of it cannot hold")
    raise BuildFailed("no port is free")


class Started:
    """A node in a process of its own over an empty directory."""

    side = ""

    def __init__(self, suite, settings, port=None):
        self.directory = WORK / "nodes" / f"{suite}-{self.side}-{os.getpid()}"
        self.settings, self.wanted_port = settings, port

    def __enter__(self):
        self.directory.mkdir(parents=True)
        self.port = free_port(self.wanted_port)
        self.address = f"127.0.0.1:{self.port}"
        self.log = self.directory / "node.log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.wait()
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.directory / "data", ignore_errors=True)

    def alive(self):
        return self.process.poll() is None

    def wait(self):
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            if not self.alive():
                raise BuildFailed(f"{self.side} ended with {self.process.returncode} at its start, see {self.log}")
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                    # Polled before anybody listens, the kernel may once connect a socket to itself.
                    if connection.getsockname() != connection.getpeername():
                        return
            except OSError:
                pass
            time.sleep(0.05)
        self.__exit__()
        raise BuildFailed(f"{self.side} did not answer within {START_SECONDS} s, see {self.log}")


class Kafka(Started):
    side = "kafka"

    def command(self):
        controller = free_port()
        node = self.settings.get("node.id", "1")
        settings = {
            **KAFKA_SETTINGS, "node.id": node, **self.settings,
            "controller.quorum.voters": f"{node}@127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "log.dirs": self.directory / "data",
        }
        file = self.directory / "server.properties"
        file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        java = ["java", "-Xmx768m", "-cp", f"{fetch_kafka() / 'libs'}/*"]
        with open(self.log, "ab") as log:
            formatted = subprocess.run(
                [*java, "kafka.tools.StorageTool", "format", "--config", file, "--cluster-id", "Y29uZm9ybWFuY2UtMDAwMQ"],
                stdout=log, stderr=log, check=False)
        if formatted.returncode != 0:
            raise BuildFailed(f"Apache Kafka's directory could not be formatted, see {self.log}")
        return [*java, "kafka.Kafka", file]


class Ringmain(Started):
    side = "ringmain"

    def command(self):
        binary = pathlib.Path(os.environ.get("RINGMAIN_BIN", TARGET / "debug/ringmain"))
        if not binary.exists():
            raise BuildFailed(f"no node at {binary}: build it, or name it by RINGMAIN_BIN")
        flags = [part for key, value in self.settings.items() for part in ("--set", f"{key}={value}")]
        listeners = ("--listeners", f"PLAINTEXT://127.0.0.1:{self.port}")
        return [binary, "serve", "--data", self.directory / "data", *listeners, "--memory", "512M", "--shards", "2", *flags]


class Given:
    """A node that the caller has running; it is neither started nor ended here, and has the settings that it has."""

    side = "given"

    def __init__(self, address):
        self.address = address

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def alive(self):
        return True
