"""Apache Kafka's own command-line tools, unchanged, against a node of two shards and over its data directory."""
import json
import re
import unittest

import harness
from harness import RECORDS, ClientTest, java, ringmain


def topics(node, *arguments):
    return java("kafka-topics", "--bootstrap-server", f"127.0.0.1:{node.port}", *arguments)


def offsets(node, topic, *arguments):
    """What kafka-get-offsets says: {partition: offset}."""
    lines = java("kafka-get-offsets", "--bootstrap-server", f"127.0.0.1:{node.port}", "--topic", topic, *arguments)
    found = re.findall(rf"^{topic}:(\d+):(-?\d+)$", lines, re.MULTILINE)
    return {int(partition): int(offset) for partition, offset in found}


def produce(node, topic, lines, *arguments):
    java(
        "kafka-console-producer", "--bootstrap-server", f"127.0.0.1:{node.port}", "--topic", topic,
        "--reader-property", "parse.key=true", "--reader-property", "key.separator=:", *arguments,
        input="".join(line + "\n" for line in lines),
    )


def consume(node, topic, partition, offset, count):
    lines = java(
        "kafka-console-consumer", "--bootstrap-server", f"127.0.0.1:{node.port}", "--topic", topic, "--partition", partition,
        "--offset", offset, "--max-messages", count, "--timeout-ms", "20000", "--formatter-property", "print.key=true",
        "--formatter-property", "key.separator=:",
    )
    return lines.splitlines()


def perf(node, topic, count, *properties):
    return java(
        "kafka-producer-perf-test", "--topic", topic, "--num-records", count, "--record-size", "1000", "--throughput", "-1",
        "--bootstrap-server", f"127.0.0.1:{node.port}", "--command-property", *properties,
    )


def dump(path, *arguments):
    return java("kafka-dump-log", "--files", path, *arguments)


@unittest.skipUnless(harness.java_is_here(), "the Java tools are not here")
class JavaTools(ClientTest):
    def test_kafka_topics_creates_lists_describes_alters_and_deletes(self):
        with self.node() as node:
            topics(node, "--create", "--topic", "orders", "--partitions", "3", "--replication-factor", "1",
                   "--config", "retention.ms=86400000")
            topics(node, "--create", "--topic", "gone")
            self.assertEqual(topics(node, "--list").split(), ["gone", "orders"])
            described = topics(node, "--describe", "--topic", "orders")
            self.assertRegex(described, r"Topic: orders\s+TopicId: \S{22}\s+PartitionCount: 3\s+ReplicationFactor: 1")
            self.assertIn("retention.ms=86400000", described)
            self.assertEqual(described.count("Leader: 1"), 3)
            topics(node, "--alter", "--topic", "orders", "--partitions", "5")
            self.assertEqual(topics(node, "--describe", "--topic", "orders").count("Leader: 1"), 5)
            topics(node, "--delete", "--topic", "gone")
            self.assertEqual(topics(node, "--list").split(), ["orders"])
            with self.assertRaisesRegex(AssertionError, "TopicExistsException|already exists"):
                topics(node, "--create", "--topic", "orders")
            with self.assertRaisesRegex(AssertionError, "InvalidReplicationFactor|[Rr]eplication factor"):
                topics(node, "--create", "--topic", "copies", "--replication-factor", "3")
            node.stop()

    def test_console_producer_and_consumer_and_get_offsets(self):
        with self.node() as node:
            topics(node, "--create", "--topic", "words", "--partitions", "2")
            for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
                produce(node, "words", [f"{codec}{number}:text of {codec} {number}" for number in range(50)],
                        "--compression-codec", codec)
            ends = offsets(node, "words")
            self.assertEqual(sum(ends.values()), 250)
            self.assertEqual(offsets(node, "words", "--time", "-2"), {0: 0, 1: 0})
            self.assertEqual(offsets(node, "words", "--time", "earliest"), {0: 0, 1: 0})
            self.assertEqual(offsets(node, "words", "--time", "0"), {0: 0, 1: 0}, "by a timestamp before all")
            latest = offsets(node, "words", "--time", "max-timestamp")
            for partition, end in ends.items():
                self.assertTrue(0 <= latest[partition] < end, "the record with the largest timestamp")
            read = [line for partition, end in ends.items() for line in consume(node, "words", partition, "earliest", end)]
            expected = [f"{codec}{number}:text of {codec} {number}"
                        for codec in ("none", "gzip", "snappy", "lz4", "zstd") for number in range(50)]
            self.assertEqual(sorted(read), sorted(expected))
            partition, end = max(ends.items(), key=lambda item: item[1])
            rest = consume(node, "words", partition, end - 3, 3)
            self.assertEqual(rest, [line for line in consume(node, "words", partition, "earliest", end)][-3:])
            node.stop()

    def test_producer_perf_test_and_what_it_wrote(self):
        with self.node() as node:
            topics(node, "--create", "--topic", "load", "--partitions", "2")
            for codec in ("none", "lz4"):
                said = perf(node, "load", RECORDS, "acks=all", f"compression.type={codec}", "batch.size=65536", "linger.ms=5")
                self.assertIn(f"{RECORDS} records sent", said)
            said = perf(node, "load", RECORDS // 10, "acks=1", "enable.idempotence=false")
            self.assertIn(f"{RECORDS // 10} records sent", said)
            self.assertEqual(sum(offsets(node, "load").values()), RECORDS * 2 + RECORDS // 10)
            node.stop()
        self.check_with_dump_log("load", RECORDS * 2 + RECORDS // 10)

    def test_dump_log_reads_what_kill_9_and_log_close_leave(self):
        with self.node() as node:
            topics(node, "--create", "--topic", "killed", "--partitions", "2", "--config", "segment.bytes=1048576")
            perf(node, "killed", RECORDS // 2, "acks=all", "linger.ms=5")
            ends = offsets(node, "killed")
            node.kill()
        ringmain("log", "close", self.data)
        self.check_with_dump_log("killed", RECORDS // 2)
        ringmain("log", "verify", self.data)
        with self.node() as node:
            self.assertEqual(offsets(node, "killed"), ends, "the closed directory opens with the same ends")
            node.stop()

    def check_with_dump_log(self, topic, count):
        """Kafka reads every segment and index of a topic without a complaint, and its records are `count` in all."""
        records = 0
        for log in sorted(self.data.glob(f"{topic}-*/*.log")):
            said = dump(log, "--deep-iteration", "--max-message-size", str(1 << 20))
            self.assertNotRegex(said, r"isvalid: false|(?i:exception|invalid bytes|mismatch)")
            lines = re.findall(r"^\| offset: (\d+) ", said, re.MULTILINE)
            records += len(lines)
            if lines:
                self.assertEqual(int(lines[0]), int(log.stem), "a segment starts at the offset that it is named by")
            for suffix in (".index", ".timeindex"):
                index = log.with_suffix(suffix)
                self.assertTrue(index.exists(), f"{index} is written at roll and at clean stop")
                said = dump(index, "--verify-index-only")
                self.assertNotRegex(said, r"(?i)mismatch|exception|non-consecutive|out of order|Found timestamp")
                said = dump(index, "--index-sanity-check")
                self.assertIn("passed sanity check", said)
        self.assertEqual(records, count)

    def test_dump_log_prints_every_record_of_the_metadata_log(self):
        with self.node() as node:
            topics(node, "--create", "--topic", "kept", "--partitions", "2", "--config", "retention.ms=86400000",
                   "--config", "segment.bytes=2097152")
            topics(node, "--create", "--topic", "gone")
            topics(node, "--alter", "--topic", "kept", "--partitions", "3")
            topics(node, "--delete", "--topic", "gone")
            produce(node, "kept", ["a:b"])  # idempotent by default: takes a block of producer ids
            kept_id = re.search(r"TopicId: (\S{22})", topics(node, "--describe", "--topic", "kept"))[1]
            node.stop()
        records = []
        for log in sorted(self.data.glob("__cluster_metadata-0/*.log")):
            said = dump(log, "--cluster-metadata-decoder")
            # A record that the decoder does not know is printed as an error in place of its JSON.
            self.assertNotRegex(said, r"(?i)error at|exception|isvalid: false")
            payloads = re.findall(r"^\| offset: .*? payload: ?(.*)$", said, re.MULTILINE)
            # A quorum of one elects itself: that control record is printed under its own name.
            controls = re.findall(r"^\| offset: .*? LeaderChange: ?\{", said, re.MULTILINE)
            printed = len(payloads) + len(controls)
            self.assertEqual(printed, len(re.findall(r"^\| offset: ", said, re.MULTILINE)), "each record is printed")
            records += [json.loads(payload) for payload in payloads]
        by_type = {}
        for record in records:
            by_type.setdefault(record["type"], []).append(record["data"])
        self.assertEqual([topic["name"] for topic in by_type["TOPIC_RECORD"]], ["kept", "gone"])
        self.assertEqual(by_type["TOPIC_RECORD"][0]["topicId"], kept_id)
        self.assertEqual(sorted(partition["partitionId"] for partition in by_type["PARTITION_RECORD"]
                                if partition["topicId"] == kept_id), [0, 1, 2])
        for partition in by_type["PARTITION_RECORD"]:
            self.assertEqual((partition["replicas"], partition["isr"], partition["leader"]), ([1], [1], 1))
        configs = {config["name"]: config["value"] for config in by_type["CONFIG_RECORD"] if config["resourceName"] == "kept"}
        self.assertEqual(configs, {"retention.ms": "86400000", "segment.bytes": "2097152"})
        gone_id = by_type["TOPIC_RECORD"][1]["topicId"]
        self.assertEqual([removed["topicId"] for removed in by_type["REMOVE_TOPIC_RECORD"]], [gone_id])
        self.assertTrue(by_type["PRODUCER_IDS_RECORD"][-1]["nextProducerId"] > 0)
        self.assertTrue(by_type.get("FEATURE_LEVEL_RECORD"), "the log says at which level it is written")


if __name__ == "__main__":
    harness.main("Java tools")
