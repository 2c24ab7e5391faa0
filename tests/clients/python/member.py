"""What the Python programs share of the contract in families.py: records in hexadecimal, and the event log of a member."""
import os
import signal
import sys
import time


def unhex(text):
    return None if text == "-" else bytes.fromhex(text)


def as_hex(data):
    return "-" if data is None else bytes(data).hex()


def records(path):
    """The records of a file as (key, value, [(name, value)])."""
    with open(path) as lines:
        for line in lines:
            key, value, headers = line.rstrip("\n").split("\t")
            pairs = (pair.split("=") for pair in headers.split(",") if pair)
            yield unhex(key), unhex(value), [(name, unhex(data)) for name, data in pairs]


class Log:
    """The event log of one member. It keeps the positions that are delivered and not committed yet."""

    def __init__(self, path, every):
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.every = every
        self.lines, self.positions, self.pending = [], {}, 0
        self.stopping = False
        signal.signal(signal.SIGTERM, self.stop)

    def stop(self, *_):
        self.stopping = True

    def event(self, kind, *words):
        self.lines.append(" ".join([str(time.time_ns() // 1_000_000), kind, *map(str, words)]) + "\n")

    def flush(self):
        """What is flushed outlives the process: the driver ends it by SIGKILL."""
        data = "".join(self.lines).encode()
        self.lines.clear()
        while data:
            data = data[os.write(self.file, data):]

    def delivered(self, partition, offset, key, value, headers):
        """Takes one record; true when it is time to commit."""
        pairs = ",".join(f"{name}={as_hex(data)}" for name, data in headers or ())
        self.event("R", partition, offset, as_hex(key), as_hex(value), pairs)
        self.positions[partition] = offset + 1
        self.pending += 1
        return self.pending >= self.every

    def taken(self):
        """What is to be committed now: {partition: next offset}. Call `committed` with it once the broker has it."""
        taken, self.positions, self.pending = self.positions, {}, 0
        if taken:
            self.event("T", *(f"{partition}:{offset}" for partition, offset in taken.items()))
        self.flush()
        return taken

    def committed(self, taken):
        self.event("C", *(f"{partition}:{offset}" for partition, offset in taken.items()))
        self.flush()

    def assigned(self, partitions):
        self.event("A", *sorted(partitions))
        self.flush()

    def revoked(self, partitions):
        """These are another member's from now on."""
        for partition in partitions:
            self.positions.pop(partition, None)
        self.event("V", *sorted(partitions))
        self.flush()

    def failed(self, error):
        self.event("E", type(error).__name__, str(error).replace("\n", " "))
        self.flush()


def run(produce, consume):
    """Runs one of the two with the arguments of the command line."""
    match sys.argv[1:]:
        case ["produce", broker, topic, path, codec]:
            produce(broker, topic, records(path), codec)
        case ["consume", broker, topic, group, path, every]:
            consume(broker, topic, group, Log(path, int(every)))
        case _:
            sys.exit("usage: produce BROKER TOPIC FILE CODEC | consume BROKER TOPIC GROUP LOG EVERY")
