"""The rows of a comparison: each a row of `ringmain bench`, with the flags that make it the same for every broker.

A rate is that of another row, so that it is known only when that row has run: `rate_of` is (broker, share of its best rate).
"""
import dataclasses

KIB = 1024
# Small enough that no disk fills at any broker's rate, large enough that rolling a segment is rare (every third second of the
# fastest row): 10 partitions of two or three of these are 4 GB.
SEGMENT = 128 << 20
BOUNDED = (f"segment.bytes={SEGMENT}", f"retention.bytes={SEGMENT}")
# A consumer that is behind must still find what it has not read, however far behind it gets in one run.
UNREAD = (f"segment.bytes={SEGMENT}", f"retention.bytes={1 << 30}")
BEST = "produce"


@dataclasses.dataclass(frozen=True)
class Row:
    """`suite_row`: what `ringmain bench --rows` calls it. `figures`: (metric of the comparison, what the table calls it)."""
    key: str
    title: str
    question: str
    suite_row: str
    flags: tuple
    figures: tuple
    topic: tuple = BOUNDED
    rate_of: tuple = None


FULL_BATCHES = ("--record-bytes", "1024", "--batch-records", "64", "--partitions", "10", "--connections", "8")
RATE_FIGURES = (("throughput", "MB/s"), ("p99", "ms p99"))

ROWS = {row.key: row for row in (
    Row(BEST, "produce, 1 KiB records in 64 KiB batches, acks=all", "How much does one core take in?",
        "produce-64k", (*FULL_BATCHES, "--in-flight", "2", "--acks", "all"), RATE_FIGURES),
    Row("small", "one record per request, 64 connections, acks=all", "How many requests of one record of 100 bytes does one core answer?",
        "small", ("--record-bytes", "100", "--batch-records", "1", "--partitions", "10", "--connections", "64", "--in-flight", "1",
                  "--acks", "all"), (("requests", "requests/s"), ("p99", "ms p99"))),
    Row("tail", "tail consume, 3 consumers", "How much comes in while three consumers read it as it comes?",
        "tail", (*FULL_BATCHES, "--in-flight", "2", "--consumers", "3", "--acks", "all"), (("delivered", "MB/s read"), ("p99", "ms p99")), topic=UNREAD),
    Row("catch-up", "catch-up, 4 connections, 1 MiB fetches", "How fast is what was written before read?",
        "catch-up", ("--record-bytes", "1024", "--batch-records", "64", "--partitions", "4", "--connections", "4", "--fetch-bytes", str(1 << 20),
                     "--fill-bytes", str(1 << 30)), RATE_FIGURES, topic=()),
    Row("end-to-end", "end to end at half of the best rate of Kafka as shipped",
        "How old is a record when a consumer has it, at a rate that Apache Kafka as shipped holds easily?",
        "end-to-end", (*FULL_BATCHES, "--consumers", "1", "--acks", "all"), (("p50", "ms p50"), ("p99", "ms p99"), ("p99.9", "ms p99.9")),
        rate_of=("kafka", 0.5)),
    Row("end-to-end-durable", "end to end at half of the best rate of Kafka with flush.messages=1",
        "And at a rate that Apache Kafka holds when it too flushes before it answers?",
        "end-to-end", (*FULL_BATCHES, "--consumers", "1", "--acks", "all"), (("p50", "ms p50"), ("p99", "ms p99"), ("p99.9", "ms p99.9")),
        rate_of=("kafka-flush", 0.5)),
)}

# Of a rate that is fixed: a broker whose own best is below this takes no part, its latency would say only how long the run was.
HOLDS = 1.1

# A JVM on one core needs about two minutes of mixed load; a change of load makes it fall back for a while, so mixed it is.
WARMING = (("produce", 30), ("small", 30), ("tail", 20), ("produce", 10), ("catch-up", 10), ("small", 20))
