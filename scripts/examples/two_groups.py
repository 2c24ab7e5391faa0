"""Two groups: each receives every record.

A group is one subscriber, however many members it has, and each group keeps its own place in the log. Here billing and
shipping read the same orders; shipping comes later and still gets all of them.

You will see:

    Wrote 4 orders.
    Billing reads two orders and stops:
      billing reads offset 0: order 1 of Samantha Washington, Benjaminberg
      billing reads offset 1: order 2 of Julie Wolf, Luistown
      billing has committed offset 2: the next one to read
    Shipping has a place of its own, and reads all four:
      shipping reads offset 0: order 1 of Samantha Washington, Benjaminberg
      shipping reads offset 1: order 2 of Julie Wolf, Luistown
      shipping reads offset 2: order 3 of Robert Blair, Lozanoside
      shipping reads offset 3: order 4 of Cheryl Spencer, Elizabethland
      shipping has committed offset 4: the next one to read
    Billing comes back, and goes on at its own place:
      billing reads offset 2: order 3 of Robert Blair, Lozanoside
      billing reads offset 3: order 4 of Cheryl Spencer, Elizabethland
      billing has committed offset 4: the next one to read
"""
from itertools import islice

from faker import Faker
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from lesson import bootstrap_server, fresh_topic

TOPIC = "shop-orders"
server = bootstrap_server(__doc__)
fresh_topic(server, TOPIC, partitions=1)

Faker.seed(6)
fake = Faker()
orders = [f"order {number} of {fake.name()}, {fake.city()}" for number in range(1, 5)]
with KafkaProducer(bootstrap_servers=server) as producer:
    for order in orders:
        producer.send(TOPIC, value=order.encode())
print(f"Wrote {len(orders)} orders.")


def read(group, count):
    """Joins a group, reads `count` orders, commits how far it came, and leaves."""
    with KafkaConsumer(TOPIC, bootstrap_servers=server, group_id=group, auto_offset_reset="earliest",
                       enable_auto_commit=False, consumer_timeout_ms=30_000) as consumer:
        for record in islice(consumer, count):
            print(f"  {group} reads offset {record.offset}: {record.value.decode()}")
        consumer.commit()
        print(f"  {group} has committed offset {consumer.committed(TopicPartition(TOPIC, 0))}: the next one to read")


print("Billing reads two orders and stops:")
read("billing", 2)
print("Shipping has a place of its own, and reads all four:")
read("shipping", 4)
print("Billing comes back, and goes on at its own place:")
read("billing", 2)
