"""What the node promises, on real file systems: the image is copied right after the last acknowledgement.

A loop device's backing file holds what the node's writes have brought to the device, and no more: metadata that the
file system still has in memory is missing from a copy, as it would be after a power failure. Every record that was
acknowledged at acks=all must be in the copy, or the node must have said at its start that this mount cannot promise it.
And the device must have seen a flush between a write and its acknowledgement.
"""
import pathlib
import subprocess
import time
import unittest

from node import WORK, Node
from wire import Client, batch

# The journal of each shard takes 128 MiB and the reserve for a full disk 256 MiB.
IMAGE_BYTES = 2 << 30


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout.strip()


def unmount(place):
    """The kernel closes the files of a ring a while after the process has ended, killed or not, and until then it is busy."""
    until = time.monotonic() + 15
    while True:
        try:
            return run("umount", place)
        except AssertionError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


class Image:
    """A file system in a file, mounted through a loop device."""

    def __init__(self, name, mkfs, options="", source=None):
        WORK.mkdir(parents=True, exist_ok=True)
        self.path, self.mount_point, self.options = WORK / f"{name}.img", WORK / f"{name}.mnt", options
        self.mounted = False
        if source is None:
            self.path.unlink(missing_ok=True)
            with open(self.path, "wb") as image:
                image.truncate(IMAGE_BYTES)
            run(*mkfs, self.path)
        self.mount_point.mkdir(exist_ok=True)
        self.device = run("losetup", "--find", "--show", self.path)

    def mount(self):
        run("mount", *(["-o", self.options] if self.options else []), self.device, self.mount_point)
        self.mounted = True

    def flushes(self):
        """Flush requests that the device has completed (Documentation/block/stat.rst, field 16)."""
        fields = pathlib.Path(f"/sys/block/{pathlib.Path(self.device).name}/stat").read_text().split()
        return int(fields[15])

    def close(self):
        if self.mounted:
            unmount(self.mount_point)
            self.mounted = False
        run("losetup", "--detach", self.device)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.close()
        finally:
            self.path.unlink(missing_ok=True)


def load(client, topic, partitions, rounds, size):
    """Writes at acks=all, several requests under way; answers {(partition, offset): value} of what was acknowledged."""
    acknowledged = {}
    for round_number in range(rounds):
        sent = []
        for partition in range(partitions):
            value = f"{topic}-{partition}-{round_number}-".encode() * (size // 16 + 1)
            client.send_produce(topic, partition, batch([value]))
            sent.append((partition, value))
        for partition, value in sent:
            error, offset = client.receive_produce(topic)
            assert error == 0, f"Produce {topic}-{partition}: error {error}"
            acknowledged[partition, offset] = value
    return acknowledged


class FileSystems(unittest.TestCase):
    def check(self, name, mkfs, options="", promised=True, before_load=None):
        with Image(name, mkfs, options) as image:
            image.mount()
            data = image.mount_point / "data"
            with Node(data) as node:
                client = Client(node.port)
                # Segments of 1 MiB, Kafka's smallest, so that the load rolls and recycles; one topic of a single
                # small record, whose bytes are in the journal alone.
                client.create_topic("rolls", 2, [("segment.bytes", "1048576"), ("retention.bytes", "8388608")])
                client.create_topic("tiny", 3)
                before = image.flushes()
                acknowledged = {"tiny": load(client, "tiny", 3, 1, 100)}
                if promised:
                    self.assertGreater(image.flushes(), before, "no flush reached the device before the acknowledgement")
                else:
                    self.assertIn("no flush reaches the device", node.log(), "the node took such a mount without a word")
                acknowledged["rolls"] = load(client, "rolls", 2, 40, 16 << 10)
                if before_load is not None:
                    before_load(data)
                    acknowledged["rolls"].update(load(client, "rolls", 2, 4, 16 << 10))
                acknowledged["rolls"].update(load(client, "rolls", 2, 60, 30 << 10))
                node.freeze()
                copy = WORK / f"{name}-copy.img"
                run("cp", "--sparse=always", image.path, copy)
            if promised:
                self.read_back(name, mkfs, copy, acknowledged)
            copy.unlink(missing_ok=True)

    def read_back(self, name, mkfs, copy, acknowledged):
        with Image(f"{name}-copy", mkfs, source=copy) as image:
            # XFS refuses to mount two file systems of one UUID; the original is still mounted.
            image.options = "nouuid" if "xfs" in mkfs[0] else ""
            image.mount()
            with Node(image.mount_point / "data") as node:
                client = Client(node.port)
                for topic, records in acknowledged.items():
                    for partition in {partition for partition, _ in records}:
                        found = client.read_all(topic, partition)
                        for (owner, offset), value in records.items():
                            if owner == partition and (offset in found or offset >= min(found, default=0)):
                                self.assertEqual(found.get(offset), value, f"{topic}-{partition} at {offset}")
                        last = max(offset for owner, offset in records if owner == partition)
                        self.assertIn(last, found, f"{topic}-{partition}: the last acknowledged record")
                node.stop()

    def test_ext4(self):
        self.check("ext4", ["mkfs.ext4", "-q", "-F"])

    def test_ext4_data_journal(self):
        """Such a mount has no O_DIRECT: the node refuses it, in words."""
        with Image("ext4-data-journal", ["mkfs.ext4", "-q", "-F"], "data=journal") as image:
            image.mount()
            with Node(image.mount_point / "data", wait=False) as node:
                self.assertNotEqual(node.process.wait(60), 0)
                self.assertRegex(node.log(), r"(?i)O_DIRECT|direct I/O")

    def test_ext4_nobarrier(self):
        self.check("ext4-nobarrier", ["mkfs.ext4", "-q", "-F"], "nobarrier", promised=False)

    def test_xfs(self):
        self.check("xfs", ["mkfs.xfs", "-q", "-f"])

    def test_xfs_after_a_reflink_copy_of_the_live_segment(self):
        def reflink(data):
            for segment in data.glob("rolls-*/*.log"):
                run("cp", "--reflink=always", segment, segment.parent.parent.parent / f"{segment.parent.name}-{segment.name}")

        self.check("xfs-reflink", ["mkfs.xfs", "-q", "-f"], before_load=reflink)


if __name__ == "__main__":
    unittest.main(verbosity=2)
