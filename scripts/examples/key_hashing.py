"""Key hashing: records with the same key go to the same partition, and so stay in order.

Unless told otherwise a producer computes murmur2(key), clears the sign bit and takes the rest of the division by the
number of partitions. Everyone can compute the same: the example says beforehand where each customer's orders will be.
(More partitions later would send keys elsewhere: the divisor changes.)

You will see:

    alexanderfitzgerald@example.org: murmur2 is 1656695971, so expect partition 1.
    andresuarez@example.net: murmur2 is 849740505, so expect partition 0.
    meredithcooke@example.org: murmur2 is 1551426935, so expect partition 2.
    morganjean@example.com: murmur2 is 1907564774, so expect partition 2.
    Wrote 12 orders of 4 customers, in turns.
    alexanderfitzgerald@example.org: all in partition 1, in order: 4 x LightGray paint, 3 x Teal paint, 1 x SandyBrown paint.
    andresuarez@example.net: all in partition 0, in order: 3 x Khaki paint, 4 x Lavender paint, 5 x MistyRose paint.
    meredithcooke@example.org: all in partition 2, in order: 2 x MidnightBlue paint, 5 x SaddleBrown paint, 4 x Maroon paint.
    morganjean@example.com: all in partition 2, in order: 3 x Ivory paint, 4 x SlateGray paint, 4 x PaleGreen paint.
"""
from itertools import islice

from faker import Faker
from kafka import KafkaConsumer, KafkaProducer
from kafka.partitioner import murmur2

from lesson import bootstrap_server, fresh_topic

TOPIC, PARTITIONS = "orders-by-customer", 3
server = bootstrap_server(__doc__)
fresh_topic(server, TOPIC, PARTITIONS)

Faker.seed(15)
fake = Faker()
customers = [fake.email() for _ in range(4)]
for customer in customers:
    number = murmur2(customer.encode()) & 0x7FFFFFFF
    print(f"{customer}: murmur2 is {number}, so expect partition {number % PARTITIONS}.")

orders = [(customer, f"{fake.random_int(1, 5)} x {fake.color_name()} paint") for _ in range(3) for customer in customers]
with KafkaProducer(bootstrap_servers=server) as producer:
    for customer, order in orders:
        producer.send(TOPIC, key=customer.encode(), value=order.encode())
print(f"Wrote {len(orders)} orders of {len(customers)} customers, in turns.")

with KafkaConsumer(TOPIC, bootstrap_servers=server, auto_offset_reset="earliest", consumer_timeout_ms=30_000) as consumer:
    records = list(islice(consumer, len(orders)))
for customer in customers:
    mine = [record for record in records if record.key == customer.encode()]
    partitions = ", ".join(str(partition) for partition in {record.partition for record in mine})
    print(f"{customer}: all in partition {partitions}, in order: {', '.join(record.value.decode() for record in mine)}.")
