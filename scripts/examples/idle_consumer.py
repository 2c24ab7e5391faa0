"""Two consumers in one group, one partition: one works, the other is idle.

Within a group each partition has exactly one owner. With more members than partitions somebody has nothing to do; the
idle member is a spare that takes over when the owner leaves, which the second half shows.

You will see:

    One partition, two members: ann owns 1, ben owns 0.
    ann bakes 4 orders:
      offset 0: 6 rolls for Judy
      offset 1: 2 rolls for Mary
      offset 2: 5 rolls for Deborah
      offset 3: 4 rolls for Daniel
    ben bakes 0 orders:
    Ann goes home: now ben owns 1.
    Three more orders come in, and ben goes on where ann stopped.
    ben bakes 3 orders:
      offset 4: 9 rolls for Miranda
      offset 5: 8 rolls for Amy
      offset 6: 5 rolls for Alexander
"""
from faker import Faker
from kafka import KafkaConsumer, KafkaProducer

from lesson import Member, bootstrap_server, fresh_topic, wait_until, wait_until_settled

TOPIC = "bakery-orders"
server = bootstrap_server(__doc__)
fresh_topic(server, TOPIC, partitions=1)
Faker.seed(5)
fake = Faker()


def join(name):
    consumer = KafkaConsumer(bootstrap_servers=server, group_id="bakery", client_id=name, auto_offset_reset="earliest")
    return Member(consumer, TOPIC)


def write(count):
    with KafkaProducer(bootstrap_servers=server) as producer:
        for _ in range(count):
            producer.send(TOPIC, value=f"{fake.random_int(2, 9)} rolls for {fake.first_name()}".encode())


def show(name, member):
    print(f"{name} bakes {len(member.records)} orders:")
    for record in member.records:
        print(f"  offset {record.offset}: {record.value.decode()}")


ann, ben = join("ann"), join("ben")
wait_until_settled([ann, ben])
print(f"One partition, two members: ann owns {len(ann.owned)}, ben owns {len(ben.owned)}.")

write(4)
wait_until(lambda: len(ann.records) + len(ben.records) == 4)
show("ann", ann)
show("ben", ben)

ann.leave()
wait_until(lambda: ben.owned)
print(f"Ann goes home: now ben owns {len(ben.owned)}.")

write(3)
wait_until(lambda: len(ben.records) == 3)
print("Three more orders come in, and ben goes on where ann stopped.")
show("ben", ben)
ben.leave()
