"""confluent-kafka (librdkafka) under the contract of families.py; its members rebalance cooperatively."""
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

import member


def produce(broker, topic, records, codec):
    producer = Producer({"bootstrap.servers": broker, "compression.type": codec, "enable.idempotence": True, "linger.ms": 5})
    failures = []

    def done(error, _message):
        if error:
            failures.append(error)

    for key, value, headers in records:
        while True:
            try:
                producer.produce(topic, key=key, value=value, headers=headers, on_delivery=done)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    if producer.flush(60) or failures:
        raise SystemExit(f"not every record is acknowledged: {failures[:1]}")


def consume(broker, topic, group, log):
    consumer = Consumer({
        "bootstrap.servers": broker, "group.id": group, "session.timeout.ms": 6000, "heartbeat.interval.ms": 1000,
        "auto.offset.reset": "earliest", "enable.auto.commit": False, "partition.assignment.strategy": "cooperative-sticky",
    })

    def commit():
        taken = log.taken()
        if not taken:
            return
        try:
            offsets = [TopicPartition(topic, partition, offset) for partition, offset in taken.items()]
            for partition in consumer.commit(offsets=offsets, asynchronous=False):
                if partition.error:
                    raise KafkaException(partition.error)
            log.committed(taken)
        except KafkaException as error:
            log.failed(error)

    def revoked(_consumer, partitions):
        commit()
        log.revoked([partition.partition for partition in partitions])

    consumer.subscribe(
        [topic],
        on_assign=lambda _, partitions: log.assigned([partition.partition for partition in partitions]),
        on_revoke=revoked,
        on_lost=lambda _, partitions: log.revoked([partition.partition for partition in partitions]),
    )
    while not log.stopping:
        for message in consumer.consume(500, timeout=0.2):
            if message.error():
                log.failed(KafkaException(message.error()))
            elif log.delivered(message.partition(), message.offset(), message.key(), message.value(), message.headers()):
                commit()
        log.flush()
    commit()
    consumer.close()


member.run(produce, consume)
