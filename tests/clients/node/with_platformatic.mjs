// @platformatic/kafka under the contract of families.py, with its default assignor (round robin).
import { Consumer, Producer } from '@platformatic/kafka'

import { run, sleep } from './member.mjs'

// Without a serializer, names are bytes as values are.
const names = headers => new Map(headers.map(([name, data]) => [Buffer.from(name), data]))

async function produce(broker, topic, records, compression) {
  const producer = new Producer({ clientId: 'tests', bootstrapBrokers: [broker], idempotent: true, compression })
  for (let first = 0; first < records.length; first += 1000) {
    const messages = records
      .slice(first, first + 1000)
      .map(({ key, value, headers }) => ({ topic, key: key ?? undefined, value: value ?? undefined, headers: names(headers) }))
    await producer.send({ messages, acks: -1 })
  }
  await producer.close()
}

async function consume(broker, topic, groupId, log) {
  while (!log.stopping) {
    const consumer = new Consumer({
      clientId: 'tests', groupId, bootstrapBrokers: [broker], sessionTimeout: 6000, heartbeatInterval: 1000, maxWaitTime: 200,
      autocommit: false
    })
    const commit = () =>
      log.commit(taken =>
        consumer.commit({ offsets: taken.map(([partition, offset]) => ({ topic, partition, offset, leaderEpoch: -1 })) })
      )
    consumer.on('consumer:group:join', ({ assignments }) =>
      log.assigned((assignments ?? []).filter(found => found.topic === topic).flatMap(found => found.partitions))
    )
    consumer.on('consumer:group:rebalance', () => log.revoked())
    consumer.on('consumer:heartbeat:error', ({ error }) => log.failed(error))
    try {
      const stream = await consumer.consume({ topics: [topic], mode: 'committed', fallbackMode: 'earliest' })
      stream.on('fetch', () => log.flush())
      log.onStop = () => stream.close().catch(() => {})
      for await (const { partition, offset, key, value, headers } of stream) {
        if (log.delivered(partition, offset, key, value, [...headers].map(([name, data]) => [name.toString(), data]))) await commit()
      }
      await commit()
    } catch (error) {
      // A stream is at its end when its broker is away; a new consumer goes on from what is committed.
      log.failed(error)
      log.positions.clear()
      await sleep(200)
    }
    await consumer.close(true).catch(() => {})
  }
  process.exit(0)
}

await run(produce, consume)
