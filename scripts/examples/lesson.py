"""What the examples share: where the node is, an empty topic, and a group's member that polls in a thread of its own."""
import argparse
import os
import socket
import sys
import threading
import time
import traceback

from kafka import KafkaAdminClient
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError


def bootstrap_server(text):
    """The address given by --bootstrap-server; `text` is the example's own explanation, printed by --help."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap-server", default="localhost:9092", metavar="HOST:PORT")
    server = parser.parse_args().bootstrap_server
    host, _, port = server.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        sys.exit(f"No node answers at {server!r} ({error}). Start one, for example with: cargo run --release")
    return server


def fresh_topic(server, name, partitions):
    """Makes an empty topic. What an earlier run left under this name is deleted, so that an example can be run again."""
    with KafkaAdminClient(bootstrap_servers=server) as admin:
        try:
            admin.delete_topics([name])
        except UnknownTopicOrPartitionError:
            pass
        while True:
            try:
                admin.create_topics({name: {"num_partitions": partitions}}, wait_for_metadata=True)
                return
            except TopicAlreadyExistsError:
                time.sleep(0.1)  # the old one is still being deleted


class Member(threading.Thread, ConsumerRebalanceListener):
    """A consumer that is one member of a group: it polls in a thread of its own, as it would in a program of its own.

    `owned` are the partitions that the group's present generation gives it, `records` all that it has read so far.
    """

    def __init__(self, consumer, topic):
        super().__init__(daemon=True)
        self.consumer, self.owned, self.records, self.generation = consumer, [], [], None
        self.leaving = threading.Event()
        consumer.subscribe([topic], listener=self)
        self.start()

    def on_partitions_revoked(self, revoked):
        self.owned, self.generation = [], None

    def on_partitions_assigned(self, assigned):
        self.owned = sorted(partition.partition for partition in assigned)
        self.generation = self.consumer.group_metadata().generation_id

    def run(self):
        try:
            while not self.leaving.is_set():
                for records in self.consumer.poll(timeout_ms=1_000).values():
                    self.records += records
            self.consumer.close()  # commits what it has read, and leaves the group
        except Exception:
            traceback.print_exc()
            os._exit(1)  # the whole example has failed: nobody is to wait for this member

    def leave(self):
        self.leaving.set()
        self.join()


def wait_until(so):
    """Waits until `so()` is true."""
    while not so():
        time.sleep(0.05)


def wait_until_settled(members):
    """Waits until all members are in the same generation of their group, each with its assignment."""
    wait_until(lambda: all(member.generation for member in members) and len({member.generation for member in members}) == 1)
