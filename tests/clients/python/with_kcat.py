"""kcat (librdkafka) under the contract of families.py. It commits by itself, in the background and when it ends, so that
its event log has a commit only for a clean end. The member is the kcat process, named by an event `P`."""
import itertools
import os
import re
import signal
import subprocess
import threading

import member

KCAT = os.environ["KCAT"]
# Between key and value, and after each record: bytes that no record of the driver has.
KEY_END, RECORD_END = "\x1e\x1fkey\x1f\x1e", "\x1e\x1fend\x1f\x1e"


def produce(broker, topic, records, codec):
    """One kcat for each run of records with the same headers: it takes them from its arguments."""
    for headers, run in itertools.groupby(records, lambda record: record[2]):
        flags = [part for name, data in headers for part in ("-H", f"{name}={data.decode()}")]
        lines = b"".join((key or b"") + KEY_END.encode() + (value or b"") + RECORD_END.encode() for key, value, _ in run)
        command = [KCAT, "-P", "-b", broker, "-t", topic, "-K", KEY_END, "-D", RECORD_END, "-Z", "-z", codec]
        subprocess.run([*command, "-X", "partitioner=murmur2", *flags], input=lines, check=True)


def follow_rebalances(process, log):
    for line in process.stderr:
        text = line.decode(errors="replace")
        partitions = [int(found) for found in re.findall(r" \[(\d+)\]", text)]
        if "assigned:" in text:
            log.assigned(partitions)
        elif "ERROR" in text:
            log.event("E", text.strip())


def consume(broker, topic, group, log):
    # Lengths first, so that keys and values may have any bytes; -1 is null. -E: a broker that is away is waited for.
    layout = "%p %o %K %S\n%k%s%h\n"
    options = ["auto.offset.reset=earliest", "session.timeout.ms=6000", "heartbeat.interval.ms=1000", "auto.commit.interval.ms=1000"]
    flags = [part for option in options for part in ("-X", option)]
    process = subprocess.Popen(
        [KCAT, "-E", "-b", broker, "-G", group, "-u", "-f", layout, *flags, topic], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL, bufsize=0,
    )
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    log.event("P", process.pid)
    log.flush()
    threading.Thread(target=follow_rebalances, args=[process, log], daemon=True).start()
    output = open(process.stdout.fileno(), "rb", buffering=1 << 20, closefd=False)
    while line := output.readline():
        partition, offset, key_length, value_length = map(int, line.split())
        key, value = (output.read(length) if length >= 0 else None for length in (key_length, value_length))
        headers = [pair.split(b"=", 1) for pair in output.readline().rstrip(b"\n").split(b",") if pair]
        log.delivered(partition, offset, key, value, [(name.decode(), data) for name, data in headers])
        log.flush()
    if process.wait() != 0:
        raise SystemExit(f"kcat ended with {process.returncode}")
    log.committed(log.taken())


member.run(produce, consume)
