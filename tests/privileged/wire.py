"""Just enough of the Kafka protocol, by hand, to write records durably and read them back.

Only what the tests that need root use: no client library has to be installed for root. Produce v7, Fetch v11,
ListOffsets v1, CreateTopics v2.
"""
import socket
import struct

CRC_TABLE = []
for byte in range(256):
    crc = byte
    for _ in range(8):
        crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    CRC_TABLE.append(crc)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def varint(value):
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def batch(values):
    body = b""
    for index, value in enumerate(values):
        record = b"\0" + varint(0) + varint(index) + varint(-1) + varint(len(value)) + value + varint(0)
        body += varint(len(record)) + record
    covered = struct.pack(">hiqqqhii", 0, len(values) - 1, 1700000000000, 1700000000000, -1, -1, -1, len(values)) + body
    return struct.pack(">qiibI", 0, len(covered) + 9, -1, 2, crc32c(covered)) + covered


def values(records):
    """(offset, value) of every record in a run of uncompressed batches."""
    found, at = [], 0
    while len(records) - at >= 61:
        base, length = struct.unpack_from(">qi", records, at)
        end = at + 12 + length
        if end > len(records):
            break
        stored, = struct.unpack_from(">I", records, at + 17)
        if crc32c(records[at + 21:end]) != stored:
            raise AssertionError(f"wrong CRC in the batch at offset {base}")
        count, = struct.unpack_from(">i", records, at + 57)
        position = at + 61
        for _ in range(count):
            _, position = read_varint(records, position)
            position += 1
            _, position = read_varint(records, position)
            delta, position = read_varint(records, position)
            key, position = read_varint(records, position)
            position += max(key, 0)
            length, position = read_varint(records, position)
            found.append((base + delta, bytes(records[position:position + length])))
            position += length
            headers, position = read_varint(records, position)
            assert headers == 0
        at = end
    return found


def read_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at


def text(value):
    return struct.pack(">h", len(value)) + value.encode()


class Client:
    """One connection, one request at a time."""

    def __init__(self, port, timeout=30):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.correlation = 0

    def close(self):
        self.socket.close()

    def send(self, key, version, body):
        self.correlation += 1
        frame = struct.pack(">hhi", key, version, self.correlation) + text("root-test") + body
        self.socket.sendall(struct.pack(">i", len(frame)) + frame)

    def receive(self):
        length, = struct.unpack(">i", self.exactly(4))
        return self.exactly(length)[4:]

    def exactly(self, count):
        data = bytearray()
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise ConnectionError("the node closed the connection")
            data += piece
        return bytes(data)

    def create_topic(self, topic, partitions=1, configs=()):
        body = struct.pack(">i", 1) + text(topic) + struct.pack(">ihi", partitions, 1, 0)
        body += struct.pack(">i", len(configs)) + b"".join(text(name) + text(value) for name, value in configs)
        self.send(19, 2, body + struct.pack(">ib", 30000, 0))
        answer = self.receive()
        error, = struct.unpack_from(">h", answer, 4 + 4 + 2 + len(topic))
        if error not in (0, 36):
            raise AssertionError(f"CreateTopics {topic}: error {error}")

    def send_produce(self, topic, partition, payload, acks=-1):
        body = struct.pack(">hhii", -1, acks, 30000, 1) + text(topic) + struct.pack(">iii", 1, partition, len(payload)) + payload
        self.send(0, 7, body)

    def receive_produce(self, topic):
        """(error, base offset)"""
        return struct.unpack_from(">hq", self.receive(), 4 + 2 + len(topic) + 4 + 4)

    def produce(self, topic, partition, payload, acks=-1):
        self.send_produce(topic, partition, payload, acks)
        error, offset = self.receive_produce(topic)
        if error:
            raise AssertionError(f"Produce {topic}-{partition}: error {error}")
        return offset

    def fetch(self, topic, partition, offset, max_wait_ms=0, max_bytes=1 << 20):
        body = struct.pack(">iiiibii", -1, max_wait_ms, 1, max_bytes, 0, 0, -1) + struct.pack(">i", 1) + text(topic)
        body += struct.pack(">iiiqqi", 1, partition, -1, offset, -1, max_bytes) + struct.pack(">i", 0) + text("")
        self.send(1, 11, body)
        answer = self.receive()
        at = 4 + 2 + 4 + 4 + 2 + len(topic) + 4
        error, = struct.unpack_from(">h", answer, at + 4)
        if error:
            raise AssertionError(f"Fetch {topic}-{partition} at {offset}: error {error}")
        aborted, = struct.unpack_from(">i", answer, at + 30)
        at += 34 + max(aborted, 0) * 16 + 4
        length, = struct.unpack_from(">i", answer, at)
        return answer[at + 4:at + 4 + max(length, 0)]

    def latest(self, topic, partition):
        return self.list_offset(topic, partition, -1)

    def earliest(self, topic, partition):
        return self.list_offset(topic, partition, -2)

    def list_offset(self, topic, partition, timestamp):
        body = struct.pack(">i", -1) + struct.pack(">i", 1) + text(topic) + struct.pack(">iiq", 1, partition, timestamp)
        self.send(2, 1, body)
        answer = self.receive()
        error, _, offset = struct.unpack_from(">hqq", answer, 4 + 2 + len(topic) + 4 + 4)
        if error:
            raise AssertionError(f"ListOffsets {topic}-{partition}: error {error}")
        return offset

    def read_all(self, topic, partition):
        """{offset: value} of everything that retention has left, up to the high watermark."""
        found, offset, end = {}, self.earliest(topic, partition), self.latest(topic, partition)
        while offset < end:
            records = values(self.fetch(topic, partition, offset))
            if not records:
                raise AssertionError(f"{topic}-{partition}: nothing at {offset}, below the end {end}")
            found.update(record for record in records if record[0] >= offset)
            offset = records[-1][0] + 1
        return found
