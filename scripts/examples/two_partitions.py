"""Two partitions: each is a log of its own, and order holds within a partition only.

Both partitions count their offsets from 0. A reader gets each partition's records in order; how the two are mixed is
chance. So what must stay in order (here: the lines that one host logs) belongs in one partition.

You will see:

    Wrote to partition 0 at offset 0: web-01: line 1, extend extensible portals
    Wrote to partition 1 at offset 0: db-52: line 1, expedite killer metrics
    Wrote to partition 0 at offset 1: web-01: line 2, integrate granular e-commerce
    Wrote to partition 1 at offset 1: db-52: line 2, whiteboard impactful mindshare
    Wrote to partition 0 at offset 2: web-01: line 3, disintermediate visionary mindshare
    Wrote to partition 1 at offset 2: db-52: line 3, empower robust web-readiness
    Partition 0 gave the lines of web-01, in order:
      offset 0: web-01: line 1, extend extensible portals
      offset 1: web-01: line 2, integrate granular e-commerce
      offset 2: web-01: line 3, disintermediate visionary mindshare
    Partition 1 gave the lines of db-52, in order:
      offset 0: db-52: line 1, expedite killer metrics
      offset 1: db-52: line 2, whiteboard impactful mindshare
      offset 2: db-52: line 3, empower robust web-readiness
"""
from itertools import islice

from faker import Faker
from kafka import KafkaConsumer, KafkaProducer

from lesson import bootstrap_server, fresh_topic

TOPIC = "host-logs"
server = bootstrap_server(__doc__)
fresh_topic(server, TOPIC, partitions=2)

Faker.seed(2)
fake = Faker()
hosts = [fake.hostname(0), fake.hostname(0)]
lines = [(number % 2, f"{hosts[number % 2]}: line {number // 2 + 1}, {fake.bs()}") for number in range(6)]

with KafkaProducer(bootstrap_servers=server) as producer:
    for partition, line in lines:
        sent = producer.send(TOPIC, value=line.encode(), partition=partition).get(timeout=30)
        print(f"Wrote to partition {sent.partition} at offset {sent.offset}: {line}")

with KafkaConsumer(TOPIC, bootstrap_servers=server, auto_offset_reset="earliest", consumer_timeout_ms=30_000) as consumer:
    records = list(islice(consumer, len(lines)))

for partition in (0, 1):
    mine = [record for record in records if record.partition == partition]
    print(f"Partition {partition} gave the lines of {hosts[partition]}, in order:")
    for record in mine:
        print(f"  offset {record.offset}: {record.value.decode()}")
