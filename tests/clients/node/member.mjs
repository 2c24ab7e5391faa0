// What the Node programs share of the contract in families.py: records in hexadecimal, and the event log of a member.
import { openSync, readFileSync, writeSync } from 'node:fs'

const unhex = text => (text === '-' ? null : Buffer.from(text, 'hex'))
const asHex = data => (data === null || data === undefined ? '-' : Buffer.from(data).toString('hex'))

// The records of a file as { key, value, headers: [[name, value]] }.
export function records(path) {
  const lines = readFileSync(path, 'utf8').split('\n')
  lines.pop()
  return lines.map(line => {
    const [key, value, headers] = line.split('\t')
    const pairs = headers.split(',').filter(pair => pair).map(pair => pair.split('='))
    return { key: unhex(key), value: unhex(value), headers: pairs.map(([name, data]) => [name, unhex(data)]) }
  })
}

// The event log of one member. It keeps the positions that are delivered and not committed yet.
class Log {
  constructor(path, every) {
    this.file = openSync(path, 'a')
    this.every = every
    this.lines = []
    this.positions = new Map()
    this.pending = 0
    this.stopping = false
    this.onStop = () => {}
    process.on('SIGTERM', () => {
      this.stopping = true
      this.onStop()
    })
  }

  event(kind, ...words) {
    this.lines.push(`${[Date.now(), kind, ...words].join(' ')}\n`)
  }

  // What is flushed outlives the process: the driver ends it by SIGKILL.
  flush() {
    let data = Buffer.from(this.lines.join(''))
    this.lines = []
    while (data.length > 0) data = data.subarray(writeSync(this.file, data))
  }

  // Takes one record; true when it is time to commit.
  delivered(partition, offset, key, value, headers) {
    const pairs = headers.map(([name, data]) => `${name}=${asHex(data)}`).join(',')
    this.event('R', partition, offset, asHex(key), asHex(value), pairs)
    this.positions.set(partition, BigInt(offset) + 1n)
    return ++this.pending >= this.every
  }

  // Has `send` commit what is delivered and not committed: [[partition, next offset as BigInt]].
  async commit(send) {
    const taken = [...this.positions]
    const words = taken.map(([partition, offset]) => `${partition}:${offset}`)
    this.positions.clear()
    this.pending = 0
    if (taken.length > 0) this.event('T', ...words)
    this.flush()
    if (taken.length === 0) return
    try {
      await send(taken)
      this.event('C', ...words)
      this.flush()
    } catch (error) {
      this.failed(error)
    }
  }

  assigned(partitions) {
    this.event('A', ...partitions)
    this.flush()
  }

  // All that this member had is another's from now on.
  revoked() {
    this.event('V', ...this.positions.keys())
    this.positions.clear()
    this.flush()
  }

  failed(error) {
    const causes = (error.errors ?? []).map(cause => `; ${cause.message}`)
    this.event('E', `${error.name} ${error.message}${causes.join('')}`.replaceAll('\n', ' '))
    this.flush()
  }
}

// Runs one of the two with the arguments of the command line.
export async function run(produce, consume) {
  const [verb, broker, topic, ...rest] = process.argv.slice(2)
  if (verb === 'produce' && rest.length === 2) {
    await produce(broker, topic, records(rest[0]), rest[1])
  } else if (verb === 'consume' && rest.length === 3) {
    await consume(broker, topic, rest[0], new Log(rest[1], Number(rest[2])))
  } else {
    console.error('usage: produce BROKER TOPIC FILE CODEC | consume BROKER TOPIC GROUP LOG EVERY')
    process.exit(2)
  }
}

export const sleep = milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds))
