"""Choosing a partition with a partitioner of your own.

The producer asks its partitioner where each record goes. Yours gets the key's bytes, all partitions of the topic, and
those that are available just now (that have a leader), and answers with one of them. Here log lines are keyed by their
level: errors get the last partition for themselves, everything else shares the others.

You will see:

    INFO industry: Sharable coherent emulation -> partition 0
    INFO prove: Distributed multi-state info-mediaries -> partition 1
    WARN site: Advanced static time-frame -> partition 0
    ERROR attack: Diverse well-modulated parallelism -> partition 2
    INFO and: Innovative zero-defect algorithm -> partition 1
    INFO than: Future-proofed methodical policy -> partition 0
    ERROR serve: Networked transitional toolset -> partition 2
    WARN will: Optimized hybrid superstructure -> partition 1
    INFO suddenly: Re-engineered leadingedge challenge -> partition 0
    INFO unit: Multi-lateral bandwidth-monitored alliance -> partition 1
    ERROR century: Proactive didactic firmware -> partition 2
    ERROR remember: Optional zero-defect product -> partition 2
    Partition 0 holds 3 INFO, 1 WARN.
    Partition 1 holds 3 INFO, 1 WARN.
    Partition 2 holds 4 ERROR.
"""
from collections import Counter
from itertools import cycle

from faker import Faker
from kafka import KafkaProducer
from kafka.partitioner import Partitioner

from lesson import bootstrap_server, fresh_topic

TOPIC = "log-lines"
server = bootstrap_server(__doc__)
fresh_topic(server, TOPIC, partitions=3)

turns = cycle(range(1000))


def errors_apart(key_bytes, all_partitions, available_partitions):
    """The last partition is for errors only; the others take turns, as far as they are available."""
    *shared, for_errors = all_partitions
    if key_bytes == b"ERROR":
        return for_errors
    usable = [partition for partition in shared if partition in available_partitions] or shared
    return usable[next(turns) % len(usable)]


class ErrorsApart(Partitioner):
    """kafka-python asks an object of this kind; it hands the three things on."""

    def partition(self, topic, key, serialized_key, value, serialized_value, cluster):
        everywhere = sorted(cluster.partitions_for_topic(topic))
        available = sorted(cluster.available_partitions_for_topic(topic))
        return errors_apart(serialized_key, everywhere, available)


Faker.seed(3)
fake = Faker()
levels = [fake.random_element(("INFO", "INFO", "WARN", "ERROR")) for _ in range(12)]
placed = Counter()
with KafkaProducer(bootstrap_servers=server, partitioner=ErrorsApart()) as producer:
    for level in levels:
        line = f"{level} {fake.word()}: {fake.catch_phrase()}"
        sent = producer.send(TOPIC, key=level.encode(), value=line.encode()).get(timeout=30)
        placed[sent.partition, level] += 1
        print(f"{line} -> partition {sent.partition}")

for partition in range(3):
    found = ", ".join(f"{count} {level}" for (where, level), count in sorted(placed.items()) if where == partition)
    print(f"Partition {partition} holds {found}.")
