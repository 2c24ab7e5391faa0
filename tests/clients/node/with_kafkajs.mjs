// kafkajs under the contract of families.py, with its default assignor (round robin).
import kafkajs from 'kafkajs'

import { run } from './member.mjs'

const { CompressionTypes, Kafka, logLevel } = kafkajs
const codecs = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP }
// It must not run into its request timeout: it gives up on InitProducerId then, and deals records without a key out anew when
// it sends a batch again, which has other sequence numbers thereby. A disk that stands still for 30 s is all that takes.
const client = broker =>
  new Kafka({
    brokers: [broker], logLevel: logLevel.NOTHING, requestTimeout: 90_000,
    retry: { initialRetryTime: 100, maxRetryTime: 1000, retries: 60 }
  })

async function produce(broker, topic, records, codec) {
  const producer = client(broker).producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  for (let first = 0; first < records.length; first += 1000) {
    const messages = records
      .slice(first, first + 1000)
      .map(({ key, value, headers }) => ({ key, value, headers: Object.fromEntries(headers) }))
    await producer.send({ topic, messages, acks: -1, compression: codecs[codec] })
  }
  await producer.disconnect()
}

async function consume(broker, topic, groupId, log) {
  const consumer = client(broker).consumer({ groupId, sessionTimeout: 6000, heartbeatInterval: 1000, maxWaitTimeInMs: 200 })
  let lastIsRunning = () => true
  // When a consumer's runner stops in the middle of a commit, commitOffsets returns as if it had committed.
  const commit = isRunning =>
    log.commit(async taken => {
      await consumer.commitOffsets(taken.map(([partition, offset]) => ({ topic, partition, offset: offset.toString() })))
      if (!isRunning()) throw new Error('its runner has stopped: nobody knows whether this is committed')
    })
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => log.assigned(payload.memberAssignment[topic] ?? []))
  consumer.on(consumer.events.REBALANCING, () => log.revoked())
  consumer.on(consumer.events.CRASH, ({ payload }) => log.failed(payload.error))
  log.onStop = async () => {
    await commit(lastIsRunning)
    await consumer.stop()
    await consumer.disconnect()
    process.exit(0)
  }
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: false,
    eachBatch: async ({ batch, resolveOffset, heartbeat, isRunning, isStale }) => {
      lastIsRunning = isRunning
      for (const message of batch.messages) {
        if (!isRunning() || isStale() || log.stopping) break
        const headers = Object.entries(message.headers ?? {})
        const due = log.delivered(batch.partition, message.offset, message.key, message.value, headers)
        resolveOffset(message.offset)
        if (due) {
          await commit(isRunning)
          await heartbeat()
        }
      }
      log.flush()
      await heartbeat()
    }
  })
}

await run(produce, consume)
