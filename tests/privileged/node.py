"""A node under test: started over a directory, watched through its log, stopped or killed by its own process id."""
import os
import pathlib
import random
import re
import signal
import socket
import struct
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("RINGMAIN_BIN", ROOT / "target/release/ringmain"))
WORK = pathlib.Path(os.environ.get("ROOT_TEST_DIR", ROOT / "target/root-tests"))


# Below what the kernel gives to outgoing connections. Linux's own default begins at 32768.
EPHEMERAL = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
PORTS = range(EPHEMERAL - 12_000, EPHEMERAL) if EPHEMERAL > 14_000 else range(2_000, 65_536)
GIVEN = set()


def free_port():
    """A port that nobody has, that this process is not given again, and that no outgoing connection is given: one of the many
    that look for a killed node would take it, and the node could not come back."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in GIVEN:
            GIVEN.add(port)
            return port


class Node:
    def __init__(self, data, *arguments, wait=True, timeout=90, prefix=(), port=None):
        self.port = port or free_port()
        self.data = pathlib.Path(data)
        WORK.mkdir(parents=True, exist_ok=True)
        self.log_path = WORK / f"node-{self.port}.log"
        command = [*prefix, BINARY, "serve", "--data", data, "--listeners", f"PLAINTEXT://127.0.0.1:{self.port}", *arguments]
        with open(self.log_path, "w") as log:
            self.process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        if wait:
            self.wait(timeout)

    def wait(self, timeout=90):
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise AssertionError(f"the node ended with {self.process.returncode}:\n{self.log()}")
            if self.answers():
                return
            time.sleep(0.01)
        raise AssertionError(f"the node did not answer within {timeout} s:\n{self.log()}")

    def answers(self):
        """Whether it answers a request. A connection alone says nothing: the listener of a killed node takes them for a while."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                probe.sendall(struct.pack(">ihhih", 10, 18, 0, 1, -1))  # ApiVersions 0 of no client id
                return len(probe.recv(4)) > 0
        except OSError:
            return False

    def log(self):
        return re.sub(r"\x1b\[[0-9;]*m", "", self.log_path.read_text(errors="replace"))

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        if self.process.wait(15) != 0:
            raise AssertionError(f"a clean stop ended with {self.process.returncode}:\n{self.log()}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()
