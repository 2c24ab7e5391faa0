"""One partition: records come back in the order in which they were written.

A topic is a log. Each record gets the next free number, its offset, and keeps it for ever. Reading takes nothing away:
a second consumer that begins at the beginning finds the same records at the same offsets.

You will see:

    Wrote 5 page views to page-views, partition 0: offsets 0, 1, 2, 3, 4.
    The first consumer reads:
      offset 0: 36.9.241.52 GET /main/posts
      offset 1: 182.183.243.37 GET /tags
      offset 2: 7.30.84.20 GET /tags/posts
      offset 3: 215.82.5.38 GET /explore/list/app
      offset 4: 32.150.208.79 GET /blog/explore
    The second consumer reads the same: True.
"""
from itertools import islice

from faker import Faker
from kafka import KafkaConsumer, KafkaProducer

from lesson import bootstrap_server, fresh_topic

TOPIC = "page-views"
server = bootstrap_server(__doc__)
fresh_topic(server, TOPIC, partitions=1)

Faker.seed(1)
fake = Faker()
views = [f"{fake.ipv4_public()} GET /{fake.uri_path()}" for _ in range(5)]

with KafkaProducer(bootstrap_servers=server) as producer:
    sent = [producer.send(TOPIC, value=view.encode()) for view in views]
    offsets = [future.get(timeout=30).offset for future in sent]  # get() waits for the node's acknowledgement
print(f"Wrote {len(views)} page views to {TOPIC}, partition 0: offsets {', '.join(map(str, offsets))}.")


def read_all():
    # Without a group_id a consumer reads every partition of its topics by itself; "earliest" begins at offset 0.
    with KafkaConsumer(TOPIC, bootstrap_servers=server, auto_offset_reset="earliest", consumer_timeout_ms=30_000) as consumer:
        return [(record.offset, record.value.decode()) for record in islice(consumer, len(views))]


first = read_all()
print("The first consumer reads:")
for offset, view in first:
    print(f"  offset {offset}: {view}")
print(f"The second consumer reads the same: {read_all() == first}.")
