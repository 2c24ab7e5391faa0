"""Apache Kafka's own group tools and consumers, unchanged, against a node of two shards and over its data directory."""
import json
import re
import subprocess
import unittest

import harness
from harness import KAFKA, TOOLS, ClientTest, eventually, java
from java_tools import consume, dump, produce, topics

GROUP_FORMATTERS = "org.apache.kafka.tools.consumer."


def bootstrap(node):
    return "--bootstrap-server", f"127.0.0.1:{node.port}"


def groups(node, *arguments):
    return java("kafka-consumer-groups", *bootstrap(node), *arguments)


def read_group(node, topic, group, count, *arguments):
    """Lines of kafka-console-consumer as a member of a group."""
    said = java("kafka-console-consumer", *bootstrap(node), "--topic", topic, "--group", group, "--max-messages", count,
                "--timeout-ms", "60000", "--command-property", "auto.offset.reset=earliest", *arguments)
    return said.splitlines()


def rows(said):
    """What a table of kafka-consumer-groups shows: a dictionary for each line."""
    lines = [line.split() for line in said.splitlines() if line.strip()]
    head = next(index for index, line in enumerate(lines) if line[0] == "GROUP")
    names = " ".join(lines[head])
    # Two words of one name.
    names = names.replace("COORDINATOR (ID)", "COORDINATOR").replace("ASSIGNMENT-STRATEGY", "STRATEGY").split()
    return [dict(zip(names, line)) for line in lines[head + 1:]]


def offsets_of(node, group):
    """{partition: (committed, end, lag)} as --describe says."""
    return {int(row["PARTITION"]): (row["CURRENT-OFFSET"], row["LOG-END-OFFSET"], row["LAG"])
            for row in rows(groups(node, "--describe", "--group", group))}


def objects(said):
    """JSON objects that stand one after the other, without anything between them."""
    decoder, found, at = json.JSONDecoder(), [], said.find("{")
    while at >= 0:
        one, end = decoder.raw_decode(said, at)
        found.append(one)
        at = said.find("{", end)
    return found


def start(tool, *arguments):
    """A tool in the background, its stdout in a pipe."""
    command = ["java", "-Xmx256M", "-XX:TieredStopAtLevel=1", "-cp", f"{KAFKA}/*", TOOLS[tool], *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


@unittest.skipUnless(harness.java_is_here(), "the Java tools are not here")
class JavaGroups(ClientTest):
    def filled(self, node, topic="words", count=60):
        topics(node, "--create", "--topic", topic, "--partitions", "3")
        lines = [f"{number}:word {number}" for number in range(count)]
        produce(node, topic, lines)
        return sorted(line.split(":", 1)[1] for line in lines)

    def test_console_consumer_with_and_without_a_group(self):
        with self.node() as node:
            expected = self.filled(node)
            said = java("kafka-console-consumer", *bootstrap(node), "--topic", "words", "--from-beginning",
                        "--max-messages", len(expected), "--timeout-ms", "60000")
            self.assertEqual(sorted(said.splitlines()), expected, "neither partition nor group named")
            self.assertEqual(sorted(read_group(node, "words", "readers", len(expected))), expected)
            produce(node, "words", ["k:once more"])
            self.assertEqual(read_group(node, "words", "readers", 1), ["once more"], "it goes on where it ended")
            node.kill()
        with self.node() as node:
            produce(node, "words", ["k:after the death"])
            self.assertEqual(read_group(node, "words", "readers", 1), ["after the death"])
            node.stop()

    def test_consumer_groups_lists_describes_resets_and_deletes(self):
        with self.node() as node:
            expected = self.filled(node)
            read_group(node, "words", "one", len(expected))
            read_group(node, "words", "two", len(expected))
            self.assertEqual(sorted(line for line in groups(node, "--list").splitlines() if line in ("one", "two")),
                             ["one", "two"])
            self.assertIn("Empty", groups(node, "--list", "--state", "--type"))
            ends = offsets_of(node, "one")
            self.assertEqual(sorted(ends), [0, 1, 2])
            self.assertTrue(all(lag == "0" and current == end for current, end, lag in ends.values()), ends)
            total = {partition: int(end) for partition, (_, end, _) in ends.items()}
            self.assertEqual(sum(total.values()), len(expected))
            state = rows(groups(node, "--describe", "--group", "one", "--state"))
            self.assertIn("Empty", " ".join(state[0].values()))
            everything = groups(node, "--describe", "--all-groups")
            self.assertTrue(re.search(r"^one\s", everything, re.M) and re.search(r"^two\s", everything, re.M), everything)

            def reset(*to):
                groups(node, "--group", "one", "--reset-offsets", "--all-topics", *to, "--execute")
                return {partition: int(current) for partition, (current, _, _) in offsets_of(node, "one").items()}

            self.assertEqual(reset("--to-earliest"), {0: 0, 1: 0, 2: 0})
            self.assertEqual(reset("--shift-by", "2"), {0: 2, 1: 2, 2: 2})
            self.assertEqual(reset("--to-offset", "5"), {0: 5, 1: 5, 2: 5})
            self.assertEqual(reset("--to-datetime", "2020-01-01T00:00:00.000"), {0: 0, 1: 0, 2: 0})
            self.assertEqual(reset("--by-duration", "PT0S"), total)
            self.assertEqual(reset("--by-duration", "P1D"), {0: 0, 1: 0, 2: 0})
            self.assertEqual(reset("--to-latest"), total)
            plan = self.data.parent / "plan.csv"
            plan.write_text("words,0,1\nwords,1,2\nwords,2,3\n")
            self.assertEqual(reset("--from-file", plan), {0: 1, 1: 2, 2: 3})
            dry = groups(node, "--group", "one", "--reset-offsets", "--topic", "words:0", "--to-earliest", "--dry-run")
            self.assertEqual(rows(dry)[0]["NEW-OFFSET"], "0")
            left = read_group(node, "words", "one", len(expected) - 6)
            self.assertEqual(len(left), len(expected) - 6)
            said = groups(node, "--group", "one", "--delete-offsets", "--topic", "words:1")
            self.assertIn("Successful", said)
            self.assertEqual(offsets_of(node, "one")[1][0], "-") if 1 in offsets_of(node, "one") else None
            self.assertIn("successful", groups(node, "--delete", "--group", "one"))
            self.assertNotIn("one", groups(node, "--list").split())
            self.assertRegex(groups(node, "--delete", "--group", "one"), "(?i)GroupIdNotFound|does not exist|not found")
            node.stop()

    def test_a_group_with_members_is_described_and_not_deleted(self):
        with self.node() as node:
            self.filled(node)
            member = start("kafka-console-consumer", *bootstrap(node), "--topic", "words", "--group", "live",
                           "--from-beginning")
            try:
                def described():
                    try:
                        return rows(groups(node, "--describe", "--group", "live", "--members", "--verbose"))
                    except (AssertionError, StopIteration):
                        return []

                found = eventually(described, lambda found: found and found[0].get("#PARTITIONS") == "3", 60)
                self.assertEqual(found[0]["#PARTITIONS"], "3")
                self.assertEqual(found[0]["HOST"], "/127.0.0.1")
                self.assertIn("Stable", groups(node, "--describe", "--group", "live", "--state"))
                self.assertRegex(groups(node, "--delete", "--group", "live"), "(?i)GroupNotEmpty|not empty")
                self.assertIn("live", groups(node, "--list").split())
            finally:
                member.terminate()
                member.wait(30)
            # A consumer that is stopped leaves its group.
            eventually(lambda: groups(node, "--describe", "--group", "live", "--state"), lambda said: "Empty" in said, 60)
            self.assertIn("successful", groups(node, "--delete", "--group", "live"))
            node.stop()

    def test_perf_test_and_verifiable_clients(self):
        with self.node() as node:
            count = 2000
            topics(node, "--create", "--topic", "verified", "--partitions", "2")
            said = java("kafka-verifiable-producer", *bootstrap(node), "--topic", "verified", "--max-messages", count,
                        "--throughput", "-1", "--acks", "-1")
            sent = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
            self.assertEqual(sum(1 for one in sent if one["name"] == "producer_send_success"), count)
            consumer = start("kafka-verifiable-consumer", *bootstrap(node), "--topic", "verified", "--group-id", "checked",
                             "--max-messages", count, "--reset-policy", "earliest")
            said, _ = consumer.communicate(timeout=180)
            events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
            consumed = sum(one["count"] for one in events if one["name"] == "records_consumed")
            self.assertEqual(consumed, count)
            committed = [one for one in events if one["name"] == "offsets_committed"]
            self.assertTrue(committed and all(one["success"] for one in committed), committed)
            said = java("kafka-consumer-perf-test", *bootstrap(node), "--topic", "verified", "--num-records", count,
                        "--group", "perf", "--timeout", "60000")
            self.assertRegex(said, rf"(?m), {count},|, {count}\b")
            node.stop()

    def test_kafkas_own_formatters_read_the_offsets_topic(self):
        with self.node() as node:
            expected = self.filled(node, count=12)
            read_group(node, "words", "shown", len(expected))
            ends = {partition: int(end) for partition, (_, end, _) in offsets_of(node, "shown").items()}

            def shown(formatter):
                said = java("kafka-console-consumer", *bootstrap(node), "--topic", "__consumer_offsets", "--from-beginning",
                            "--formatter", GROUP_FORMATTERS + formatter, "--timeout-ms", "8000")
                return objects(said)

            committed = {}
            for record in shown("OffsetsMessageFormatter"):
                if record["key"]["data"]["group"] == "shown":
                    committed[record["key"]["data"]["partition"]] = record["value"]["data"]["offset"]
            self.assertEqual(committed, ends)
            described = [record for record in shown("GroupMetadataMessageFormatter")
                         if record["key"]["data"]["group"] == "shown"]
            self.assertTrue(described)
            members = [record["value"]["data"]["members"] for record in described if record["value"]]
            self.assertTrue(any(one for one in members), "a generation with its members")
            self.assertEqual(members[-1], [], "and without them at the end")
            node.stop()
        # And kafka-dump-log reads the segment itself.
        found = 0
        for log in sorted(self.data.glob("__consumer_offsets-*/*.log")):
            if not log.stat().st_size:
                continue
            said = dump(log, "--offsets-decoder")
            self.assertNotRegex(said, r"(?i)exception|isvalid: false|Failed to decode|UNKNOWN")
            found += len(re.findall(r'"group":"shown"', said))
        self.assertGreaterEqual(found, len(ends) + 2, "offsets and generations")

    def test_two_consumers_of_one_group_share_and_take_over(self):
        with self.node() as node:
            topics(node, "--create", "--topic", "shared", "--partitions", "2")
            arguments = (*bootstrap(node), "--topic", "shared", "--group-id", "pair", "--session-timeout", "6000",
                         "--reset-policy", "earliest")
            first, second = start("kafka-verifiable-consumer", *arguments), start("kafka-verifiable-consumer", *arguments)
            try:
                def members():
                    try:
                        return rows(groups(node, "--describe", "--group", "pair", "--members"))
                    except (AssertionError, StopIteration):
                        return []

                found = eventually(members, lambda found: [one["#PARTITIONS"] for one in found] == ["1", "1"], 60)
                self.assertEqual([one["#PARTITIONS"] for one in found], ["1", "1"])
                second.kill()
                found = eventually(members, lambda found: [one["#PARTITIONS"] for one in found] == ["2"], 60)
                self.assertEqual([one["#PARTITIONS"] for one in found], ["2"], "the one that is left takes over")
            finally:
                for consumer in (first, second):
                    consumer.kill()
                    consumer.communicate()
            node.stop()


if __name__ == "__main__":
    harness.main("Java groups")
