"""aiokafka under the contract of families.py; its members use the round-robin assignor."""
import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError

import member


async def produce(broker, topic, records, codec):
    codec = None if codec == "none" else codec
    async with AIOKafkaProducer(bootstrap_servers=broker, compression_type=codec, enable_idempotence=True, linger_ms=5) as producer:
        sent = [await producer.send(topic, key=key, value=value, headers=headers) for key, value, headers in records]
        await asyncio.gather(*sent)


async def consume(broker, topic, group, log):
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker, group_id=group, session_timeout_ms=6000, heartbeat_interval_ms=1000,
        auto_offset_reset="earliest", enable_auto_commit=False, partition_assignment_strategy=[RoundRobinPartitionAssignor],
    )

    async def commit():
        taken = log.taken()
        if not taken:
            return
        try:
            await consumer.commit({TopicPartition(topic, partition): offset for partition, offset in taken.items()})
            log.committed(taken)
        except KafkaError as error:
            log.failed(error)

    class Listener(ConsumerRebalanceListener):
        async def on_partitions_revoked(self, revoked):
            await commit()
            log.revoked([partition.partition for partition in revoked])

        async def on_partitions_assigned(self, assigned):
            log.assigned([partition.partition for partition in assigned])

    consumer.subscribe([topic], listener=Listener())
    await consumer.start()
    try:
        while not log.stopping:
            for partition, messages in (await consumer.getmany(timeout_ms=200)).items():
                for message in messages:
                    # The group rebalances in the background, while this waits for a commit too.
                    if partition not in consumer.assignment():
                        break
                    if log.delivered(message.partition, message.offset, message.key, message.value, message.headers):
                        await commit()
            log.flush()
        await commit()
    finally:
        await consumer.stop()


member.run(lambda *arguments: asyncio.run(produce(*arguments)), lambda *arguments: asyncio.run(consume(*arguments)))
