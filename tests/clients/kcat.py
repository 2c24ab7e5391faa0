"""kcat (librdkafka) against a node of two shards: everything written is read back the same."""
import json
import unittest

import harness
from harness import RECORDS, ClientTest, kcat

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
PARTITIONS = 4


def consumed(node, topic, partition, *arguments):
    """The records of a partition up to its end as (offset, key, value, headers, timestamp)."""
    lines = kcat(node, "-C", "-t", topic, "-p", partition, "-e", "-J", *arguments).splitlines()
    records = []
    for record in map(json.loads, lines):
        pairs = record.get("headers") or []
        headers = list(zip(pairs[::2], pairs[1::2]))
        records.append((record["offset"], record["key"], record["payload"], headers, record["ts"]))
    return records


def value(number):
    """Values of many lengths, with an empty one now and then."""
    return "" if number % 97 == 5 else f"value-{number}-" + "x" * (number * 7919 % 300)


def key(number):
    return "" if number % 89 == 3 else f"key-{number}"


@unittest.skipUnless(harness.find_kcat(), "kcat is not here")
class Kcat(ClientTest):
    def produce(self, node, topic, partition, first, count, *arguments):
        """Writes `count` records with key and value; kcat takes them from lines."""
        lines = "".join(f"{key(number)}\t{value(number)}\n" for number in range(first, first + count))
        kcat(node, "-P", "-t", topic, "-p", partition, "-K", "\t", *arguments, input=lines.encode())

    def check(self, records, first, count, null_when_empty=False, headers=()):
        self.assertEqual(len(records), count)
        for number, (_, found_key, found_value, found_headers, _) in enumerate(records, first):
            expected_key, expected_value = key(number), value(number)
            if null_when_empty:
                expected_key, expected_value = expected_key or None, expected_value or None
            self.assertEqual((found_key, found_value, found_headers), (expected_key, expected_value, list(headers)))

    def test_records_of_every_codec_come_back_the_same_and_after_a_restart(self):
        each = max(RECORDS // (len(CODECS) * 2), 100)
        headers = [("codec", "x"), ("codec", "again"), ("empty", "")]
        flags = [part for name, text in headers for part in ("-H", f"{name}={text}")]
        with self.node() as node:
            for index, codec in enumerate(CODECS):
                self.produce(node, "codecs", 0, index * 2 * each, each, "-z", codec, *flags)
                # -Z: empty keys and values are sent as null.
                self.produce(node, "codecs", 0, (index * 2 + 1) * each, each, "-z", codec, "-Z")
            before = consumed(node, "codecs", 0)
            node.stop()
        with self.node() as node:
            after = consumed(node, "codecs", 0)
            self.assertEqual(after, before, "a restart changes nothing")
            self.assertEqual([record[0] for record in after], list(range(len(CODECS) * 2 * each)), "offsets are contiguous")
            for index in range(len(CODECS)):
                start = index * 2 * each
                self.check(after[start:start + each], start, each, headers=headers)
                self.check(after[start + each:start + 2 * each], start + each, each, null_when_empty=True)
            middle = len(after) // 2 + 7
            self.assertEqual(consumed(node, "codecs", 0, "-o", middle), after[middle:], "from an offset")
            self.assertEqual(consumed(node, "codecs", 0, "-o", "-5"), after[-5:], "from so many before the end")
            # A timestamp inside a compressed batch names a record, not the batch.
            moment = after[middle][4]
            expected = next(index for index, record in enumerate(after) if record[4] >= moment)
            self.assertEqual(consumed(node, "codecs", 0, "-o", f"s@{moment}"), after[expected:], "from a timestamp")
            node.stop()

    def test_idempotent_with_five_in_flight_across_two_shards(self):
        each = max(RECORDS // PARTITIONS, 100)
        with self.node("--set", f"num.partitions={PARTITIONS}") as node:
            for partition in range(PARTITIONS):
                self.produce(
                    node, "once", partition, partition * each, each, "-X", "enable.idempotence=true", "-X",
                    "max.in.flight=5", "-X", "batch.num.messages=50", "-X", "linger.ms=0",
                )
            for partition in range(PARTITIONS):
                records = consumed(node, "once", partition)
                self.check(records, partition * each, each)
                self.assertEqual([record[0] for record in records], list(range(each)))
            node.stop()

    def test_metadata_names_the_node_and_the_topic(self):
        with self.node("--set", "num.partitions=3") as node:
            self.produce(node, "listed", 0, 1, 1)
            metadata = json.loads(kcat(node, "-L", "-J"))
            self.assertEqual([broker["name"] for broker in metadata["brokers"]], [f"127.0.0.1:{node.port}"])
            topics = {topic["topic"]: topic["partitions"] for topic in metadata["topics"]}
            self.assertEqual(list(topics), ["listed"])
            self.assertEqual([partition["partition"] for partition in topics["listed"]], [0, 1, 2])
            node.stop()

    def test_a_consumer_that_waits_gets_what_comes_later(self):
        with self.node() as node:
            self.produce(node, "later", 0, 1, 1)
            waiting = harness.start_kcat(node, "-C", "-t", "later", "-p", 0, "-o", 1, "-c", 2, "-u")
            self.produce(node, "later", 0, 2, 2)
            found, _ = waiting.communicate(timeout=30)
            self.assertEqual(found.decode().splitlines(), [value(2), value(3)])
            node.stop()

    def test_acks_0_1_and_all_are_read_back(self):
        with self.node() as node:
            for index, acks in enumerate((1, "all", 0)):
                self.produce(node, "acks", 0, index * 100, 100, "-X", f"acks={acks}")
            found = harness.eventually(lambda: consumed(node, "acks", 0), lambda records: len(records) == 300)
            self.check(found, 0, 300)
            node.stop()


if __name__ == "__main__":
    harness.main("kcat")
