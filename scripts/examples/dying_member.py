"""A member that dies: its partitions go to the others, and nothing is lost.

Ann runs in a process of her own, which is killed without a word. The node hears no heartbeat of hers for
session_timeout_ms, takes her out of the group, and the next generation gives her partition to ben. He begins at her
last committed offset: what she had processed but not committed comes twice. That is "at least once".

You will see:

    Ann and ben have one partition each.
    ann delivers partition 0, offset 0: a letter to Jessica Lane
    ann delivers partition 0, offset 1: a letter to Caitlin Meyer
    ann delivers partition 0, offset 2: a letter to Amanda Dalton DDS
    ann dies.
    ben delivers partition 1, offset 0: a letter to Robert Colon
    ben delivers partition 1, offset 1: a letter to David Cisneros
    ben delivers partition 1, offset 2: a letter to Drew Leonard
    ben delivers partition 1, offset 3: a letter to Randall Haas
    ben delivers partition 1, offset 4: a letter to Cesar Everett
    Ben gets ann's partition about <6 to 10> s after her death.
    ben delivers partition 0, offset 2: a letter to Amanda Dalton DDS
    ben delivers partition 0, offset 3: a letter to Michael Stanley
    ben delivers partition 0, offset 4: a letter to Lisa Williams
    Then come 0 more: what ann had committed is not delivered again, and nothing was lost.
"""
import multiprocessing
import os
import signal
import time

from faker import Faker
from kafka import KafkaConsumer, KafkaProducer

from lesson import bootstrap_server, fresh_topic

TOPIC = "letters"


def join(server, name):
    return KafkaConsumer(TOPIC, bootstrap_servers=server, group_id="post-office", client_id=name, auto_offset_reset="earliest",
                         enable_auto_commit=False, session_timeout_ms=6_000, heartbeat_interval_ms=2_000, max_poll_records=1)


def deliver(name, record):
    print(f"{name} delivers partition {record.partition}, offset {record.offset}: {record.value.decode()}", flush=True)


def live_and_die(server):
    """Ann: commits after each of the first two letters, and dies after the third, before she can commit it."""
    ann = join(server, "ann")
    for count, record in enumerate(ann, start=1):
        deliver("ann", record)
        if count == 3:
            print("ann dies.", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        ann.commit()


def main():
    server = bootstrap_server(__doc__)
    fresh_topic(server, TOPIC, partitions=2)
    ann = multiprocessing.Process(target=live_and_die, args=[server])
    ann.start()
    ben = join(server, "ben")
    while len(ben.assignment()) != 1:  # one of the two: the other is ann's
        ben.poll(timeout_ms=5_000)
    print("Ann and ben have one partition each.", flush=True)

    Faker.seed(10)
    fake = Faker()
    with KafkaProducer(bootstrap_servers=server) as producer:
        for number in range(10):
            producer.send(TOPIC, value=f"a letter to {fake.name()}".encode(), partition=number % 2)

    ann.join()  # waits until she is dead
    died = time.monotonic()
    for number in range(8):  # his own five, and of ann's five those three that she has not committed
        record = next(ben)
        if number == 5:
            print(f"Ben gets ann's partition about {time.monotonic() - died:.0f} s after her death.")
        deliver("ben", record)
        ben.commit()
    more = ben.poll(timeout_ms=2_000)
    print(f"Then come {len(more)} more: what ann had committed is not delivered again, and nothing was lost.")
    ben.close()


if __name__ == "__main__":
    main()
