"""Ringmain beside Apache Kafka 4.3.1 (KRaft, one process; as shipped, and flushing every batch) and Tansu, in turns.

Every broker runs alone on one core of this machine, the load (`ringmain bench`) alone on another, the same rows against each."""
import argparse
import fcntl
import pathlib
import shutil
import signal
import sys

import machine
import perf_test
import table
from brokers import HEAP, KINDS, Peer
from machine import TARGET, WORK, Wanting, say
from rows import BEST, ROWS
from session import Session
from store import Store

USAGE = f"""\
rows
{chr(10).join(f"  {row.key:<20} {row.title}" for row in ROWS.values())}

brokers
  ringmain     this tree, built for release; acknowledges after a flush
  kafka        Apache Kafka 4.3.1 as shipped: acknowledges from memory, the kernel writes later
  kafka-flush  the same with log.flush.interval.messages=1: acknowledges after an fsync. This one promises what Ringmain promises
  tansu        Tansu 0.6.0 with its memory engine: nothing is on disk

Both Kafkas have the heap and the flags of their own start script, retention so small that the disk does not fill, and are warmed by
two minutes of mixed load; every run has its own warm-up before anything counts. The brokers take turns, R K F T  T F K R, in
each row of each round; those that wait are stopped (SIGSTOP), and what the last one left to write is written before the next begins.

Every run is kept under target/compare/runs by build, settings, row and turn: the same command again makes what is missing and
then the table, target/compare/compare.html and compare.json. Ratios are Ringmain divided by the other, of pairs of
neighbouring runs with 95 % bootstrap intervals (`ringmain bench report`).

examples
  scripts/compare --quick                                      does it work? its figures mean nothing
  scripts/compare --rows produce,small --brokers ringmain,kafka-flush
  scripts/compare --peer 127.0.0.1:19092=Redpanda              and a broker that runs already (pin it to the server's core yourself)
  scripts/compare --perf-test                                  our load beside kafka-producer-perf-test, same broker, same settings"""


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/compare", description=__doc__, epilog=USAGE, formatter_class=argparse.RawDescriptionHelpFormatter)
    listed = lambda known: lambda text: [check(known, word) for word in text.split(",") if word]
    parser.add_argument("--rows", metavar="ROW,...", type=listed(ROWS), help="only these")
    parser.add_argument("--brokers", metavar="BROKER,...", type=listed(KINDS), default=list(KINDS), help="only these, in this order [all]")
    parser.add_argument("--peer", metavar="HOST:PORT[=NAME]", action="append", default=[], help="a broker that runs already; may be given again")
    parser.add_argument("--rounds", metavar="N", type=int, help="each is two runs of every row and broker [5]")
    parser.add_argument("--seconds", metavar="S", type=float, help="that count, of each run [10]")
    parser.add_argument("--warm-up", metavar="S", type=float, help="of each run, before that [8]")
    parser.add_argument("--warming", metavar="S", type=float, help="of a JVM after its start, by mixed load [120]")
    parser.add_argument("--quick", action="store_true", help="one round, runs of a second, JVMs hardly warmed: to see that it works")
    parser.add_argument("--server-core", metavar="CORE", type=int, default=0, help="the brokers' [0]")
    parser.add_argument("--load-core", metavar="CORE", type=int, default=1, help="the load's [1]")
    parser.add_argument("--data", metavar="DIR", type=pathlib.Path, help="brokers keep their data below it meanwhile [target/compare]")
    parser.add_argument("--memory", metavar="SIZE", default=HEAP, help=f"Ringmain's own; the kernel caches files for Kafka beside its heap [{HEAP}]")
    parser.add_argument("--ringmain", metavar="FILE", type=pathlib.Path, help="this program in place of a release build of this tree")
    parser.add_argument("--perf-test", action="store_true", help="compare our load with Apache Kafka's own, not brokers")
    options = parser.parse_args()
    options.command = sys.argv[1:]
    usual = {"rounds": 1, "seconds": 1.0, "warm_up": 2.0, "warming": 12.0} if options.quick else {"rounds": 5, "seconds": 10.0, "warm_up": 8.0, "warming": 120.0}
    for name, value in usual.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    # Its own directory below, since it is removed at the end.
    options.data = (options.data or WORK).resolve() / "compare-data"
    return options


def check(known, word):
    if word not in known:
        raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(known)}")
    return word


def alone():
    """One comparison at a time: two would measure each other."""
    WORK.mkdir(parents=True, exist_ok=True)
    lock = open(WORK / ".lock", "a+", encoding="ascii")  # held until this process ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise Wanting("another scripts/compare runs in this tree: two would measure each other") from None
    return lock


def ready(options):
    """Everything that is needed, before anything is started."""
    machine.need_cores(options.server_core, options.load_core)
    (WORK / "logs").mkdir(parents=True, exist_ok=True)
    options.data.mkdir(parents=True, exist_ok=True)
    machine.need_room(options.data, options.seconds + options.warm_up)
    options.ringmain = options.ringmain.resolve() if options.ringmain else machine.built()
    options.store = Store(options.ringmain)
    busy = machine.busy_share()
    if busy > 0.1:
        say(f"something else uses {busy:.0%} of this machine: figures are for a quiet one")


def compare(options):
    brokers = [KINDS[key](options) for key in options.brokers] + [Peer(options, text) for text in options.peer]
    for broker in brokers:
        broker.prepare()
    session = Session(options, brokers, options.store)
    floors, floor_notes = table.floor(options)
    session.go()
    files, notes = session.files()
    if options.quick:
        notes.insert(0, "Made by --quick: the figures mean nothing.")
    names = ", ".join(broker.name for broker in brokers if broker.key != "ringmain")
    notes.append(f"Ringmain was built from {machine.commit()}.")
    found, page = table.report(options, files, floors, notes + floor_notes, f"Ringmain beside {names}" if names else "Ringmain alone")
    say()
    table.show(found, session.rows)
    say()
    for note in found["notes"]:
        say(note)
    say(f"\nreport: {page}\ndata:   {page.with_suffix('.json')}")


def main():
    options = arguments()
    # Also where a shell that puts us into the background has turned Ctrl-C off: what was started is ended by us alone.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        with alone():
            try:
                ready(options)
                perf_test.run(options) if options.perf_test else compare(options)
            finally:
                shutil.rmtree(options.data, ignore_errors=True)
    except Wanting as wanting:
        print(f"scripts/compare: {wanting}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nscripts/compare: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
