"""Lines of logs in by one client and out by the same, against Ringmain and against Apache Kafka: rates and checksums.

Called by scripts/bench-lines. One partition, so that the lines come back in the order of the file.
"""
import hashlib
import os
import random
import shutil
import subprocess
import sys
import time

import harness

sys.path.insert(0, str(harness.ROOT / "tests/conformance"))
import brokers  # noqa: E402  (its folder has just been named)

WORK = harness.TARGET / "bench-lines"
BYTES_MAX = 8 << 30
PIECE = 32 << 20
SECONDS_MAX = 1800


def access_line(chance, second):
    """A line of a web server, as nginx writes it."""
    agents = ("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "curl/8.5.0", "Go-http-client/2.0",
              "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148")
    ip = ".".join(str(chance.randrange(1, 255)) for _ in range(4))
    path = chance.choice(("/", "/api/v1/orders/%d", "/static/app.%x.js", "/images/%d.webp", "/login", "/search?q=%x"))
    path = path % chance.getrandbits(24) if "%" in path else path
    status = chance.choices((200, 304, 404, 302, 500), (80, 8, 6, 4, 2))[0]
    return (f'{ip} - - [21/Nov/2026:{second // 3600 % 24:02}:{second // 60 % 60:02}:{second % 60:02} +0000] '
            f'"{chance.choice(("GET", "GET", "GET", "POST"))} {path} HTTP/1.1" {status} {chance.randrange(200, 99999)} '
            f'"https://example.org/{chance.getrandbits(20):x}" "{chance.choice(agents)}"\n')


def syslog_line(chance, second):
    """A line of a system's log, as RFC 3164 has it."""
    program, text = chance.choice((
        ("sshd", "Accepted publickey for deploy from 10.%d.%d.7 port %d ssh2" %
         (chance.randrange(256), chance.randrange(256), chance.randrange(1024, 65536))),
        ("kernel", "[%d.%06d] eth0: renamed from veth%06x" %
         (second, chance.randrange(10**6), chance.getrandbits(24))),
        ("systemd", "Started Session %d of User deploy." % chance.randrange(10**6)),
        ("app", 'level=info msg="order stored" id=%032x ms=%d' % (chance.getrandbits(128), chance.randrange(900))),
    ))
    clock = f"{second // 3600 % 24:02}:{second // 60 % 60:02}:{second % 60:02}"
    return f"Nov 21 {clock} host{chance.randrange(40):02} {program}[{chance.randrange(300, 32768)}]: {text}\n"


def lines_file(size):
    """A file of so many bytes or a line less, the same for the same size: pieces of real-looking lines, each changed."""
    path = WORK / f"lines-{size}.log"
    if path.exists():
        return path
    chance = random.Random(20261121)
    lines, made, second = [], 0, 0
    while made < min(PIECE, size):
        make = access_line if chance.random() < 0.7 else syslog_line
        lines.append(make(chance, second).encode())
        made += len(lines[-1])
        second += chance.random() < 0.01
    piece, part = b"".join(lines), path.with_suffix(".part")
    with open(part, "wb") as file:
        for number in range(size // len(piece) + 1):
            changed = piece.replace(b"example.org", b"ex%05d.org" % number).replace(b" host", b" h%03d" % (number % 1000))
            room = size - file.tell()
            file.write(changed if room >= len(changed) else changed[:changed.rfind(b"\n", 0, room) + 1])
    part.rename(path)
    return path


def digest(stream):
    found = hashlib.blake2b()
    while block := stream.read(1 << 20):
        found.update(block)
    return found.hexdigest()


def timed(command, **streams):
    """Runs a command to its end; answers seconds and, where its stdout is a pipe, the digest of it."""
    began = time.monotonic()
    with open(WORK / "stderr", "wb") as errors:
        child = subprocess.Popen([str(part) for part in command], stderr=errors, **streams)
        found = digest(child.stdout) if child.stdout else None
        code = child.wait(SECONDS_MAX)
    if code != 0:
        raise SystemExit(f"bench-lines: {command[0]} ended with {code}:\n{(WORK / 'stderr').read_text(errors='replace')[-2000:]}")
    return time.monotonic() - began, found


def java(tool, *arguments):
    return ["java", "-Xmx512M", "-cp", f"{harness.KAFKA}/*", harness.TOOLS[tool], *arguments]


class Client:
    """How a client writes a file to a topic and reads it back."""

    def __init__(self, name, write, read):
        self.name, self.write, self.read = name, write, read


def clients(count):
    ringmain = os.environ["RINGMAIN_BIN"]
    found = [Client(
        "ringmain produce, consume",
        lambda at, topic, path: [ringmain, "produce", "-b", at, "-t", topic, "-q", path],
        lambda at, topic: [ringmain, "consume", "-b", at, "-t", topic, "-q", "--from-beginning", "--exit-eof"],
    )]
    kcat = harness.find_kcat()
    if kcat:
        found.append(Client(
            "kcat -P, -C",
            lambda at, topic, path: [kcat, "-P", "-q", "-b", at, "-t", topic, "-p", "0", "-l", path],
            lambda at, topic: [kcat, "-C", "-q", "-b", at, "-t", topic, "-p", "0", "-o", "beginning", "-e"],
        ))
    if harness.java_is_here():
        found.append(Client(
            "kafka-console-producer, -consumer",
            lambda at, topic, path: java("kafka-console-producer", "--bootstrap-server", at, "--topic", topic),
            lambda at, topic: java("kafka-console-consumer", "--bootstrap-server", at, "--topic", topic, "--partition", "0",
                                   "--offset", "earliest", "--max-messages", str(count)),
        ))
    return found


def row(node, client, path, expected, size):
    """Writes and reads once; prints the figures. Answers whether the bytes are the same."""
    topic = f"lines-{client.name.split()[0].rstrip(',')}"
    harness.ringmain("topics", "create", topic, "--partitions", "1", "--bootstrap-server", node.address)
    with open(path, "rb") as lines:
        wrote, _ = timed(client.write(node.address, topic, path), stdin=lines, stdout=subprocess.DEVNULL)
    read, found = timed(client.read(node.address, topic), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    same = found == expected
    print(f"{node.side:<10} {client.name:<36} {size / wrote / 1e6:>9.1f} {size / read / 1e6:>9.1f}  "
          f"{'equal' if same else 'DIFFERENT'}", flush=True)
    harness.ringmain("topics", "delete", topic, "--bootstrap-server", node.address)
    return same


def main():
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 10**9
    if not 1 <= size <= BYTES_MAX:
        raise SystemExit(f"bench-lines: {size} bytes: 1 to {BYTES_MAX} are possible")
    WORK.mkdir(parents=True, exist_ok=True)
    path = lines_file(size)
    with open(path, "rb") as lines:
        count = sum(block.count(b"\n") for block in iter(lambda: lines.read(1 << 20), b""))
        lines.seek(0)
        expected = digest(lines)
    size = path.stat().st_size
    print(f"\n{count} lines, {size / 1e6:.1f} MB, {os.cpu_count()} cores; MB/s of lines, acks=all, no compression")
    print(f"{'node':<10} {'client':<36} {'in MB/s':>9} {'out MB/s':>9}  bytes")
    good = True
    sides = [brokers.Ringmain]
    if harness.java_is_here() and shutil.which("mvn"):
        brokers.fetch_kafka()
        sides.append(brokers.Kafka)
    for side in sides:
        with side("lines", {}) as node:
            for client in clients(count):
                good = row(node, client, path, expected, size) and good
    if len(sides) == 1:
        print("Apache Kafka is left out: it needs java and mvn")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
