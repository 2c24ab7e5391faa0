"""kafka-python under the contract of families.py; its members use the sticky assignor."""
from kafka import AsyncConsumerRebalanceListener, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

import member


def produce(broker, topic, records, codec):
    producer = KafkaProducer(bootstrap_servers=broker, compression_type=None if codec == "none" else codec, acks="all", linger_ms=5)
    sent = [producer.send(topic, key=key, value=value, headers=headers) for key, value, headers in records]
    producer.flush(60)
    for future in sent:
        future.get(60)
    producer.close()


def consume(broker, topic, group, log):
    consumer = KafkaConsumer(
        bootstrap_servers=broker, group_id=group, session_timeout_ms=6000, heartbeat_interval_ms=1000,
        auto_offset_reset="earliest", enable_auto_commit=False, partition_assignment_strategy=[StickyPartitionAssignor],
    )

    def offsets(taken):
        return {TopicPartition(topic, partition): OffsetAndMetadata(offset, "", -1) for partition, offset in taken.items()}

    def commit():
        taken = log.taken()
        if not taken:
            return
        try:
            consumer.commit(offsets(taken))
            log.committed(taken)
        except KafkaError as error:
            log.failed(error)

    class Listener(AsyncConsumerRebalanceListener):
        async def on_partitions_revoked(self, revoked):
            taken = log.taken()
            if taken:
                try:
                    await consumer.commit_async(offsets(taken))
                    log.committed(taken)
                except KafkaError as error:
                    log.failed(error)
            log.revoked([partition.partition for partition in revoked])

        async def on_partitions_assigned(self, assigned):
            log.assigned([partition.partition for partition in assigned])

        async def on_partitions_lost(self, lost):
            log.revoked([partition.partition for partition in lost])

    # Where it first hears of the topic's partitions after it has joined, it joins again at once; and that join has been seen
    # to go round in circles for ever, with Apache Kafka too.
    consumer.partitions_for_topic(topic)
    consumer.subscribe([topic], listener=Listener())
    while not log.stopping:
        for messages in consumer.poll(timeout_ms=200).values():
            for message in messages:
                if log.delivered(message.partition, message.offset, message.key, message.value, message.headers):
                    commit()
        log.flush()
    commit()
    consumer.close(autocommit=False)


member.run(produce, consume)
