"""Apache Kafka's administrative tools, unchanged, against a node of two shards.

What the node does not have must fail in words that say so.
"""
import json
import re
import unittest

import harness
from harness import ClientTest, java


def tool(name, node, *arguments, **how):
    return java(name, "--bootstrap-server", f"127.0.0.1:{node.port}", *arguments, **how)


def configs(node, *arguments):
    return tool("kafka-configs", node, *arguments)


def offsets(node, topic, *arguments):
    """What kafka-get-offsets says: {partition: offset}."""
    found = re.findall(rf"^{topic}:(\d+):(-?\d+)$", tool("kafka-get-offsets", node, "--topic", topic, *arguments), re.MULTILINE)
    return {int(partition): int(offset) for partition, offset in found}


def produce(node, topic, count):
    """Records with one key, so that they are in one partition."""
    tool("kafka-console-producer", node, "--topic", topic, "--reader-property", "parse.key=true",
         "--reader-property", "key.separator=:", input="".join(f"key:{number}\n" for number in range(count)))


@unittest.skipUnless(harness.java_is_here(), "the Java tools are not here")
class JavaAdmin(ClientTest):
    def refused(self, words, *arguments):
        with self.assertRaisesRegex(AssertionError, words):
            tool(*arguments)

    def file(self, name, value):
        path = self.data.parent / f"{self.data.name}-{name}.json"
        path.write_text(json.dumps(value))
        self.addCleanup(path.unlink)
        return path

    def test_kafka_configs_describes_and_alters_topics(self):
        with self.node() as node:
            tool("kafka-topics", node, "--create", "--topic", "t", "--partitions", "2")
            topic = ("--entity-type", "topics", "--entity-name", "t")
            said = configs(node, "--alter", *topic, "--add-config", "retention.ms=5000000,segment.bytes=2000000")
            self.assertIn("Completed updating config for topic t.", said)
            said = configs(node, "--describe", *topic)
            self.assertIn("retention.ms=5000000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=5000000, "
                          "DEFAULT_CONFIG:log.retention.hours=168}", said)
            self.assertEqual(said.count("sensitive="), 2, "only what was set")
            configs(node, "--alter", *topic, "--delete-config", "retention.ms")
            said = configs(node, "--describe", "--all", *topic)
            self.assertRegex(said, r"(?m)^  retention.ms=604800000 ")
            self.assertGreaterEqual(said.count("sensitive="), 33, "every setting of Kafka's")
            self.refused("Not a number of type LONG", "kafka-configs", node, "--alter", *topic, "--add-config", "retention.ms=x")
            self.refused("Unknown topic config name: retentoin.ms", "kafka-configs", node, "--alter", *topic,
                         "--add-config", "retentoin.ms=1")
            self.refused("log compaction is not built yet", "kafka-configs", node, "--alter", *topic,
                         "--add-config", "cleanup.policy=compact")
            self.refused("does not exist", "kafka-configs", node, "--alter", "--entity-type", "topics",
                         "--entity-name", "nope", "--add-config", "retention.ms=1")
            node.kill()
        with self.node() as node:
            self.assertIn("segment.bytes=2000000", tool("kafka-topics", node, "--describe", "--topic", "t"))
            node.stop()

    def test_kafka_configs_describes_and_alters_brokers(self):
        with self.node() as node:
            tool("kafka-topics", node, "--create", "--topic", "t")
            default, one = (("--entity-type", "brokers", *which) for which in (["--entity-default"], ["--entity-name", "1"]))
            configs(node, "--alter", *default, "--add-config", "log.retention.ms=7000000")
            configs(node, "--alter", *one, "--add-config", "log.retention.ms=8000000,message.max.bytes=2000000")
            said = configs(node, "--describe", "--entity-type", "brokers")
            self.assertIn("synonyms={DYNAMIC_BROKER_CONFIG:log.retention.ms=8000000, "
                          "DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=7000000", said)
            self.assertRegex(said, r"Default configs for brokers in the cluster are:\n  log.retention.ms=7000000 ")
            said = tool("kafka-topics", node, "--describe", "--topic", "t")
            self.assertIn("retention.ms=8000000", said)
            self.assertIn("max.message.bytes=2000000", said)
            configs(node, "--alter", *one, "--delete-config", "log.retention.ms")
            self.assertIn("retention.ms=7000000", tool("kafka-topics", node, "--describe", "--topic", "t"))
            self.assertIn("  log.dirs=", configs(node, "--describe", "--all", *one))
            for setting in ("log.dirs=/x", "num.io.threads=4", "log.retention.hours=3"):
                self.refused(r"Cannot update these configs dynamically: \[" + setting.split("=")[0], "kafka-configs", node,
                             "--alter", *one, "--add-config", setting)
            node.stop()

    def test_kafka_configs_says_what_is_not_there(self):
        with self.node() as node:
            for entities in ("users", "clients", "groups", "client-metrics"):
                self.assertEqual(configs(node, "--describe", "--entity-type", entities).strip(), "")
            configs(node, "--describe", "--entity-type", "broker-loggers", "--entity-name", "1")
            user = ("--alter", "--entity-type", "users", "--entity-name", "u", "--add-config")
            self.refused("client quotas are not built", "kafka-configs", node, *user, "producer_byte_rate=1024")
            self.refused("SCRAM credentials are not built", "kafka-configs", node, *user, "SCRAM-SHA-256=[password=x]")
            self.refused("Unknown client metrics configuration: interval.ms", "kafka-client-metrics", node, "--alter",
                         "--name", "m", "--interval", "5000")
            self.refused("No Authorizer is configured on the broker", "kafka-acls", node, "--list")
            self.refused("No Authorizer is configured on the broker", "kafka-acls", node, "--add", "--allow-principal",
                         "User:x", "--operation", "Read", "--topic", "t")
            self.refused("The node does not support DESCRIBE_QUORUM", "kafka-metadata-quorum", node, "describe", "--status")
            self.refused("The node does not support LIST_TRANSACTIONS", "kafka-transactions", node, "list")
            self.assertEqual(tool("kafka-features", node, "describe").strip(), "")
            self.assertRegex(tool("kafka-broker-api-versions", node), r"DescribeTopicPartitions\(75\): 0 \[usable: 0\]")
            node.stop()

    def test_kafka_delete_records_and_log_dirs(self):
        with self.node() as node:
            tool("kafka-topics", node, "--create", "--topic", "t")
            produce(node, "t", 10)
            plan = self.file("records", {"version": 1, "partitions": [{"topic": "t", "partition": 0, "offset": 3}]})
            said = tool("kafka-delete-records", node, "--offset-json-file", plan)
            self.assertIn("partition: t-0\tlow_watermark: 3", said)
            node.kill()
        with self.node() as node:
            self.assertEqual((offsets(node, "t", "--time", "-2"), offsets(node, "t")), ({0: 3}, {0: 10}))
            said = tool("kafka-console-consumer", node, "--topic", "t", "--partition", 0, "--offset", "earliest",
                        "--max-messages", 7, "--timeout-ms", 20000)
            self.assertEqual(said.split(), [str(number) for number in range(3, 10)])
            beyond = self.file("beyond", {"version": 1, "partitions": [{"topic": "t", "partition": 0, "offset": 11}]})
            said = tool("kafka-delete-records", node, "--offset-json-file", beyond)
            self.assertRegex(said, r"partition: t-0\terror: .*OffsetOutOfRange")
            described = json.loads(tool("kafka-log-dirs", node, "--describe").splitlines()[-1])
            (directory,) = described["brokers"][0]["logDirs"]
            self.assertEqual((directory["error"], directory["logDir"]), (None, str(self.data)))
            self.assertEqual([part["partition"] for part in directory["partitions"]], ["t-0"])
            self.assertGreater(directory["partitions"][0]["size"], 100)
            node.stop()

    def test_leader_election_and_reassignment_on_one_node(self):
        with self.node() as node:
            tool("kafka-topics", node, "--create", "--topic", "t", "--partitions", "2")
            elect = ("kafka-leader-election", node, "--election-type", "preferred")
            tool(*elect, "--all-topic-partitions")
            said = tool(*elect, "--topic", "t", "--partition", 0)
            self.assertIn("Valid replica already elected for partitions t-0", said)
            self.refused("UnknownTopicOrPartition", *elect, "--topic", "nope", "--partition", 0)
            move = "kafka-reassign-partitions"
            topics = self.file("topics", {"version": 1, "topics": [{"topic": "t"}]})
            said = tool(move, node, "--generate", "--topics-to-move-json-file", topics, "--broker-list", 1)
            plan = self.file("plan", json.loads(said.strip().splitlines()[-1]))
            said = tool(move, node, "--execute", "--reassignment-json-file", plan)
            self.assertIn("Successfully started partition reassignments for t-0,t-1", said)
            said = tool(move, node, "--verify", "--reassignment-json-file", plan)
            self.assertEqual(said.count("is completed."), 2)
            self.assertIn("No partition reassignments found.", tool(move, node, "--list"))
            said = tool(move, node, "--cancel", "--reassignment-json-file", plan)
            self.assertIn("None of the specified partition reassignments are active.", said)
            node.stop()

    def test_topics_by_pages_and_producers(self):
        with self.node() as node:
            for topic, partitions in (("a", 3), ("b", 2)):
                tool("kafka-topics", node, "--create", "--topic", topic, "--partitions", partitions)
            said = tool("kafka-topics", node, "--describe", "--partition-size-limit-per-response", 2)
            self.assertEqual(re.findall(r"Topic: (\w)\s+Partition: (\d)\s+Leader: 1\s+Replicas: 1\s+Isr: 1", said),
                             [("a", "0"), ("a", "1"), ("a", "2"), ("b", "0"), ("b", "1")])
            produce(node, "b", 5)
            (partition,) = [partition for partition, end in offsets(node, "b").items() if end == 5]
            said = tool("kafka-transactions", node, "describe-producers", "--topic", "b", "--partition", partition)
            self.assertRegex(said, r"(?m)^\d+\s+0\s+-1\s+4\s+\d{13}\s+None")
            node.stop()


if __name__ == "__main__":
    harness.main("Java administration")
