"""Two partitions with two consumers in one group: each member has one partition, and the work is shared.

Every record goes to exactly one of the two. More partitions than members would be shared out as evenly as possible;
with fewer, somebody is idle (see idle_consumer.py).

You will see:

    ann owns partition 0.
    ben owns partition 1.
    Wrote 8 parcels, to the two partitions in turns.
    ann carries 4 parcels:
      partition 0, offset 0: parcel 1 to 60181 Aguilar Parkways Apt. 016
      partition 0, offset 1: parcel 3 to 08246 Amber Ports
      partition 0, offset 2: parcel 5 to 8657 Ward Gateway
      partition 0, offset 3: parcel 7 to 749 David Manor Apt. 527
    ben carries 4 parcels:
      partition 1, offset 0: parcel 2 to 31860 Stacey Roads Apt. 996
      partition 1, offset 1: parcel 4 to 219 Nathan Plaza Apt. 909
      partition 1, offset 2: parcel 6 to 319 Fox Wells
      partition 1, offset 3: parcel 8 to 18955 Wheeler Prairie Suite 114
"""
from faker import Faker
from kafka import KafkaConsumer, KafkaProducer

from lesson import Member, bootstrap_server, fresh_topic, wait_until, wait_until_settled

TOPIC = "parcels"
server = bootstrap_server(__doc__)
fresh_topic(server, TOPIC, partitions=2)


def join(name):
    consumer = KafkaConsumer(bootstrap_servers=server, group_id="couriers", client_id=name, auto_offset_reset="earliest")
    return Member(consumer, TOPIC)


couriers = {"ann": join("ann"), "ben": join("ben")}
wait_until_settled(couriers.values())
for name, courier in couriers.items():
    print(f"{name} owns partition {', '.join(map(str, courier.owned))}.")

Faker.seed(7)
fake = Faker()
parcels = [f"parcel {number} to {fake.street_address()}" for number in range(1, 9)]
with KafkaProducer(bootstrap_servers=server) as producer:
    for number, parcel in enumerate(parcels):
        producer.send(TOPIC, value=parcel.encode(), partition=number % 2)
print(f"Wrote {len(parcels)} parcels, to the two partitions in turns.")

wait_until(lambda: sum(len(courier.records) for courier in couriers.values()) == len(parcels))
for name, courier in couriers.items():
    print(f"{name} carries {len(courier.records)} parcels:")
    for record in courier.records:
        print(f"  partition {record.partition}, offset {record.offset}: {record.value.decode()}")
    courier.leave()
