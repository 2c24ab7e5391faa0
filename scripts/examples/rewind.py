"""Rewinding: a consumer goes back to an offset and reads from there again.

Reading removes nothing, so going back is only setting a number. What the group has committed does not change by it:
the committed offset says where a *restarted* consumer begins, the position what this one reads next.

You will see:

    Reading all payments:
      offset 0: Victor Martinez pays $1.23
      offset 1: Katie Morales pays $7.77
      offset 2: Kenneth Merritt pays $9,173.04
      offset 3: Steven Gray pays $4.11
      offset 4: Ronald Rodriguez pays $5.31
      offset 5: Mr. Steven Perkins Jr. pays $8.07
    Position 6, committed 6.
    After seek to 3: position 3, committed 6.
    Reading on gives the last three again:
      offset 3: Steven Gray pays $4.11
      offset 4: Ronald Rodriguez pays $5.31
      offset 5: Mr. Steven Perkins Jr. pays $8.07
    After seek to the beginning comes offset 0: Victor Martinez pays $1.23
"""
from itertools import islice

from faker import Faker
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from lesson import bootstrap_server, fresh_topic

TOPIC = "payments"
server = bootstrap_server(__doc__)
fresh_topic(server, TOPIC, partitions=1)

Faker.seed(8)
fake = Faker()
payments = [f"{fake.name()} pays {fake.pricetag()}" for _ in range(6)]
with KafkaProducer(bootstrap_servers=server) as producer:
    for payment in payments:
        producer.send(TOPIC, value=payment.encode())

ledger = TopicPartition(TOPIC, 0)
with KafkaConsumer(TOPIC, bootstrap_servers=server, group_id="accounting", auto_offset_reset="earliest",
                   enable_auto_commit=False, consumer_timeout_ms=30_000) as consumer:
    print("Reading all payments:")
    for record in islice(consumer, len(payments)):
        print(f"  offset {record.offset}: {record.value.decode()}")
    consumer.commit()
    print(f"Position {consumer.position(ledger)}, committed {consumer.committed(ledger)}.")

    consumer.seek(ledger, 3)
    print(f"After seek to 3: position {consumer.position(ledger)}, committed {consumer.committed(ledger)}.")
    print("Reading on gives the last three again:")
    for record in islice(consumer, 3):
        print(f"  offset {record.offset}: {record.value.decode()}")

    consumer.seek_to_beginning(ledger)
    first = next(consumer)
    print(f"After seek to the beginning comes offset {first.offset}: {first.value.decode()}")
