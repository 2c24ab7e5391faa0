"""Round-robin assignment: five partitions among three members.

The members bring the assignor; the group's leader (one of the members) computes the assignment and the node hands it
out. Round-robin sorts the members and deals the partitions like cards: with five cards and three players two get two
and one gets one.

You will see:

    ann owns 2 of 5 partitions: 0, 3.
    ben owns 2 of 5 partitions: 1, 4.
    cem owns 1 of 5 partitions: 2.
    Wrote 10 tickets, two to each partition.
    ann answers 4 tickets:
      partition 0, offset 0: Steven asks about disintermediate real-time channels
      partition 0, offset 1: Gary asks about streamline one-to-one channels
      partition 3, offset 0: Angela asks about re-intermediate revolutionary architectures
      partition 3, offset 1: Jamie asks about enhance next-generation infrastructures
    ben answers 4 tickets:
      partition 1, offset 0: Jacob asks about innovate clicks-and-mortar supply-chains
      partition 1, offset 1: William asks about re-contextualize innovative architectures
      partition 4, offset 0: Gary asks about grow cutting-edge communities
      partition 4, offset 1: Kendra asks about redefine best-of-breed interfaces
    cem answers 2 tickets:
      partition 2, offset 0: Wesley asks about productize strategic supply-chains
      partition 2, offset 1: Kristine asks about matrix sticky technologies
"""
from faker import Faker
from kafka import KafkaConsumer, KafkaProducer
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from lesson import Member, bootstrap_server, fresh_topic, wait_until, wait_until_settled

TOPIC, PARTITIONS = "support-tickets", 5
server = bootstrap_server(__doc__)
fresh_topic(server, TOPIC, PARTITIONS)


def join(name):
    consumer = KafkaConsumer(bootstrap_servers=server, group_id="support", client_id=name, auto_offset_reset="earliest",
                             partition_assignment_strategy=[RoundRobinPartitionAssignor])
    return Member(consumer, TOPIC)


desks = {"ann": join("ann"), "ben": join("ben"), "cem": join("cem")}
wait_until_settled(desks.values())
for name, desk in desks.items():
    print(f"{name} owns {len(desk.owned)} of {PARTITIONS} partitions: {', '.join(map(str, desk.owned))}.")

Faker.seed(9)
fake = Faker()
tickets = [f"{fake.first_name()} asks about {fake.bs()}" for _ in range(2 * PARTITIONS)]
with KafkaProducer(bootstrap_servers=server) as producer:
    for number, ticket in enumerate(tickets):
        producer.send(TOPIC, value=ticket.encode(), partition=number % PARTITIONS)
print(f"Wrote {len(tickets)} tickets, two to each partition.")

wait_until(lambda: sum(len(desk.records) for desk in desks.values()) == len(tickets))
for name, desk in desks.items():
    print(f"{name} answers {len(desk.records)} tickets:")
    for record in sorted(desk.records, key=lambda record: (record.partition, record.offset)):
        print(f"  partition {record.partition}, offset {record.offset}: {record.value.decode()}")
    desk.leave()
