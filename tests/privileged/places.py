"""Start-up messages that take root to provoke: a full disk, an overlay."""
import os
import subprocess
import unittest

from filesystems import Image, run, unmount
from node import BINARY, WORK, Node
from wire import Client, batch


def doctor(data):
    done = subprocess.run([str(BINARY), "doctor", "--data", str(data)], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


class Places(unittest.TestCase):
    def test_a_disk_that_fills_refuses_before_it_is_full_and_loses_nothing(self):
        with Image("full", ["mkfs.ext4", "-q", "-F"]) as image:
            image.mount()
            ballast = image.mount_point / "ballast"
            with Node(image.mount_point / "data") as node:
                client = Client(node.port)
                client.create_topic("fills", 1)
                acknowledged = {client.produce("fills", 0, batch([b"before"])): b"before"}
                run("sh", "-c", f"head -c 4G /dev/zero > {ballast} 2>/dev/null || true")
                refused = None
                for number in range(2000):
                    value = b"%08d" % number * 16384
                    client.send_produce("fills", 0, batch([value]))
                    error, offset = client.receive_produce("fills")
                    if error:
                        refused = error
                        break
                    acknowledged[offset] = value
                self.assertEqual(refused, 56, "KAFKA_STORAGE_ERROR on a full disk")
                self.assertIn("full", node.log())
                self.assertEqual(client.read_all("fills", 0), acknowledged, "reads go on")
                code, text = doctor(image.mount_point / "data")
                self.assertNotEqual(code, 0)
                self.assertIn("space", text)
                ballast.unlink()
                for _ in range(100):
                    client.send_produce("fills", 0, batch([b"after"]))
                    error, offset = client.receive_produce("fills")
                    if not error:
                        break
                    subprocess.run(["sleep", "0.1"], check=True)
                self.assertEqual(error, 0, "the refusal clears when space returns")
                node.stop()

    def test_a_clean_stop_on_a_full_disk_takes_the_reserve_and_the_next_start_serves_what_is_there(self):
        with Image("full-stop", ["mkfs.ext4", "-q", "-F"]) as image:
            image.mount()
            data, ballast = image.mount_point / "data", image.mount_point / "ballast"
            with Node(data) as node:
                client = Client(node.port)
                client.create_topic("fills", 1)
                acknowledged = {client.produce("fills", 0, batch([b"before"])): b"before"}
                # Less than the reserve is left, and less than two whole journals.
                free = os.statvfs(image.mount_point)
                run("fallocate", "-l", free.f_bavail * free.f_frsize - (200 << 20), ballast)
                for number in range(2000):
                    value = b"%08d" % number * 8192
                    client.send_produce("fills", 0, batch([value]))
                    error, offset = client.receive_produce("fills")
                    if error:
                        break
                    acknowledged[offset] = value
                self.assertEqual(error, 56, "KAFKA_STORAGE_ERROR on a full disk")
                node.stop()
                self.assertIn("stopped cleanly", node.log())
            with Node(data) as node:
                self.assertRegex(node.log(), r"disk space: \d+ MiB free of which \d+ MiB are kept in reserve\. Appends would be refused: free")
                client = Client(node.port)
                found = client.read_all("fills", 0)
                self.assertEqual({offset: found.get(offset) for offset in acknowledged}, acknowledged, "what is there can be read")
                node.stop()
            code, text = doctor(image.mount_point / "new")
            self.assertNotEqual(code, 0, "a new directory has nothing to serve")
            self.assertRegex(text, r"disk space +\d+ MiB free")
            ballast.unlink()
            with Node(data) as node:
                found = Client(node.port).read_all("fills", 0)
                self.assertEqual({offset: found.get(offset) for offset in acknowledged}, acknowledged)
                self.assertIn("start=Clean", node.log())
                node.stop()

    def test_an_overlay_is_named_and_flushed_file_by_file(self):
        with Image("overlay", ["mkfs.ext4", "-q", "-F"]) as image:
            image.mount()
            base = image.mount_point
            for name in ("lower", "upper", "work", "merged"):
                (base / name).mkdir()
            run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work", base / "merged")
            try:
                _, text = doctor(base / "merged" / "data")
                self.assertIn("overlay", text)
                with Node(base / "merged" / "data") as node:
                    self.assertIn("overlay", node.log())
                    Client(node.port).create_topic("works", 1)
                    Client(node.port).produce("works", 0, batch([b"value"]))
                    node.stop()
            finally:
                unmount(base / "merged")


if __name__ == "__main__":
    WORK.mkdir(parents=True, exist_ok=True)
    unittest.main(verbosity=2)
