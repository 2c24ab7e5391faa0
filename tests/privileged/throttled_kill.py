"""kill -9 while the device is slow, so that writes of the killed node are still in flight when the next one starts."""
import os
import pathlib
import shutil
import threading
import time
import unittest

from node import WORK, Node
from wire import Client, batch

ROUNDS = int(os.environ.get("ROOT_TEST_ROUNDS", "10"))


class Throttle:
    """A group whose members write at most so many bytes a second to the disk under the work directory."""

    def __init__(self, bytes_per_second):
        self.group = pathlib.Path("/sys/fs/cgroup/blkio/ringmain-throttled-kill")
        if not self.group.parent.joinpath("blkio.throttle.write_bps_device").exists():
            raise unittest.SkipTest("no cgroup v1 blkio controller")
        self.group.mkdir(exist_ok=True)
        device = os.stat(WORK).st_dev
        limit = f"{os.major(device)}:{os.minor(device)} {bytes_per_second}"
        (self.group / "blkio.throttle.write_bps_device").write_text(limit)

    def add(self, process):
        (self.group / "cgroup.procs").write_text(str(process))

    def close(self):
        for _ in range(200):
            try:
                self.group.rmdir()
                return
            except OSError:
                time.sleep(0.05)


def producer(port, partition, round_number, acknowledged, stop):
    try:
        client = Client(port)
        for number in range(1_000_000):
            if stop.is_set():
                return
            value = b"%d-%d-%d-" % (partition, round_number, number) * 2000
            acknowledged.append((client.produce("slow", partition, batch([value])), value))
    except (OSError, ConnectionError):
        return


class ThrottledKill(unittest.TestCase):
    def test_nothing_acknowledged_is_lost(self):
        WORK.mkdir(parents=True, exist_ok=True)
        throttle = Throttle(8 << 20)
        waited = 0
        data = WORK / "throttled-data"
        shutil.rmtree(data, ignore_errors=True)
        expected = {0: {}, 1: {}}
        try:
            for round_number in range(ROUNDS):
                with Node(data) as node:
                    client = Client(node.port)
                    client.create_topic("slow", 2)
                    waited += "lock" in node.log()
                    for partition, records in expected.items():
                        found = client.read_all("slow", partition)
                        for offset, value in records.items():
                            self.assertEqual(found.get(offset), value, f"round {round_number}, slow-{partition} at {offset}")
                        self.assertEqual(sorted(found), list(range(len(found))), "offsets are contiguous")
                        expected[partition] = found
                    throttle.add(node.process.pid)
                    stop, acknowledged = threading.Event(), {0: [], 1: []}
                    threads = [
                        threading.Thread(target=producer, args=(node.port, partition, round_number, acknowledged[partition], stop))
                        for partition in (0, 1) for _ in range(4)
                    ]
                    for thread in threads:
                        thread.start()
                    time.sleep(2)
                    node.kill()
                    stop.set()
                    for thread in threads:
                        thread.join()
                    for partition, records in acknowledged.items():
                        expected[partition].update(records)
        finally:
            throttle.close()
        total = sum(len(records) for records in expected.values())
        print(f"{ROUNDS} kills, {total} records; {waited} starts waited for the lock of the one before")
        self.assertGreater(waited, 0, "no write of a killed node was in flight when the next one started")


if __name__ == "__main__":
    unittest.main(verbosity=2)
