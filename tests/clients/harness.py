"""What the client drivers share: a node under test, the clients as installed, and one result line for scripts/test.

Each driver is a unittest module that ends in `harness.main("name")`. It prints `name: N passed, N failed, N skipped`.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
CLIENTS = TARGET / "clients"
RUN = TARGET / "client-tests"
os.environ.setdefault("RINGMAIN_BIN", str(TARGET / "debug/ringmain"))
os.environ.setdefault("ROOT_TEST_DIR", str(RUN))
sys.path.insert(0, str(ROOT / "tests/privileged"))
from node import BINARY, Node  # noqa: E402  (its folder has just been named)

__all__ = ["BINARY", "KAFKA", "RECORDS", "Node", "ClientTest", "java", "kcat", "main", "ringmain"]

KAFKA = CLIENTS / "kafka-4.3.1"
# The full size of the acceptance list is 100,000; CI runs a tenth.
RECORDS = int(os.environ.get("CLIENT_RECORDS", "10000"))


def find_kcat():
    """The kcat to run, or None."""
    found = shutil.which("kcat")
    unpacked = CLIENTS / "kcat.sh"
    return found or (str(unpacked) if unpacked.exists() else None)


def kcat(node, *arguments, input=None, timeout=120):
    """Runs kcat against a node; answers its stdout as bytes."""
    command = [find_kcat(), "-q", "-b", f"127.0.0.1:{node.port}", *map(str, arguments)]
    done = subprocess.run(command, input=input, capture_output=True, timeout=timeout)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {done.returncode}\n{done.stderr.decode(errors='replace')}\n{node.log()[-2000:]}")
    return done.stdout


def start_kcat(node, *arguments):
    """kcat in the background, its stdout in a pipe."""
    command = [find_kcat(), "-q", "-b", f"127.0.0.1:{node.port}", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def eventually(read, is_enough, seconds=20):
    """What `read` answers once `is_enough` says so, or at the end of the time."""
    until = time.monotonic() + seconds
    while not is_enough(found := read()) and time.monotonic() < until:
        time.sleep(0.1)
    return found


# Where each of Kafka's scripts leads to.
TOOLS = {
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
    "kafka-console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "kafka-producer-perf-test": "org.apache.kafka.tools.ProducerPerformance",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-consumer-perf-test": "org.apache.kafka.tools.ConsumerPerformance",
    "kafka-verifiable-producer": "org.apache.kafka.tools.VerifiableProducer",
    "kafka-verifiable-consumer": "org.apache.kafka.tools.VerifiableConsumer",
    "kafka-dump-log": "org.apache.kafka.tools.DumpLogSegments",
    "kafka-configs": "kafka.admin.ConfigCommand",
    "kafka-delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "kafka-log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "kafka-leader-election": "org.apache.kafka.tools.LeaderElectionCommand",
    "kafka-reassign-partitions": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
    "kafka-acls": "org.apache.kafka.tools.AclCommand",
    "kafka-transactions": "org.apache.kafka.tools.TransactionsCommand",
    "kafka-broker-api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
    "kafka-features": "org.apache.kafka.tools.FeatureCommand",
    "kafka-metadata-quorum": "org.apache.kafka.tools.MetadataQuorumCommand",
    "kafka-client-metrics": "org.apache.kafka.tools.ClientMetricsCommand",
}


def java_is_here():
    return shutil.which("java") is not None and (KAFKA / ".complete").exists()


def java(tool, *arguments, input=None, timeout=180):
    """Runs one of Kafka's tools; answers its stdout. Whatever it prints to stderr is in the error if it fails."""
    command = ["java", "-Xmx512M", "-XX:TieredStopAtLevel=1", "-cp", f"{KAFKA}/*", TOOLS[tool], *map(str, arguments)]
    done = subprocess.run(command, input=input, capture_output=True, text=True, timeout=timeout)
    if done.returncode != 0:
        raise AssertionError(f"{tool} {' '.join(map(str, arguments))}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def ringmain(*arguments, codes=(0,), timeout=120):
    """Runs a command of the program under test; answers its stdout."""
    done = subprocess.run([str(BINARY), *map(str, arguments)], capture_output=True, text=True, timeout=timeout)
    if done.returncode not in codes:
        raise AssertionError(f"ringmain {' '.join(map(str, arguments))}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


class ClientTest(unittest.TestCase):
    """A test with a data directory of its own, removed when all have passed."""

    directories = []

    def setUp(self):
        self.data = RUN / self.id().replace(".", "-")
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.parent.mkdir(parents=True, exist_ok=True)
        self.directories.append(self.data)

    def node(self, *arguments):
        """A node with two shards over this test's directory."""
        return Node(self.data, "--shards", "2", "--memory", "256M", *arguments)


def main(name):
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    failed, skipped = len(result.failures) + len(result.errors), len(result.skipped)
    print(f"{name}: {result.testsRun - failed - skipped} passed, {failed} failed, {skipped} skipped", flush=True)
    if result.wasSuccessful():
        for directory in ClientTest.directories:
            shutil.rmtree(directory, ignore_errors=True)
    sys.exit(0 if result.wasSuccessful() else 1)
