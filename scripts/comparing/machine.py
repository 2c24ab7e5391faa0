"""What a comparison needs of the machine: its programs, cores, memory, disk; and the state in which a run begins.

Whatever is missing is a `Wanting`, whose text says what to do about it.
"""
import ctypes
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
WORK = TARGET / "compare"

# What a run at full rate writes before retention deletes the first of it, and for whoever else uses the disk.
DISK_MOST, DISK_LEAST, DISK_PER_SECOND = 12 << 30, 2 << 30, 1 << 29
MEMORY_LEAST = 6 << 30
DIRTY_MOST = 64 << 20


class Wanting(Exception):
    """Something is not here that is needed."""


def say(text=""):
    print(text, flush=True)


def need_cores(server, load):
    usable = os.sched_getaffinity(0)
    for core, whose in ((server, "--server-core"), (load, "--load-core")):
        if core not in usable:
            raise Wanting(f"core {core} ({whose}) is not one that this process may use: {sorted(usable)}")
    if server == load:
        raise Wanting("the broker and the load need a core each: --server-core and --load-core are the same")


def need_room(directory, seconds):
    """For runs of so many seconds."""
    free, needed = shutil.disk_usage(directory).free, min(DISK_MOST, DISK_LEAST + int(seconds * DISK_PER_SECOND))
    if free < needed:
        raise Wanting(f"{directory} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB are needed: make room, or name "
                      "another disk by --data (what has been measured is kept)")
    available = meminfo("MemAvailable")
    if available < MEMORY_LEAST:
        raise Wanting(f"{available / 1e9:.1f} GB of memory are available, {MEMORY_LEAST / 1e9:.0f} GB are needed: end something, or "
                      "compare fewer brokers at a time by --brokers")


def meminfo(name):
    with open("/proc/meminfo", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(f"{name}:"))


def busy_share(seconds=1.0):
    """Share of all cores' time that something used."""
    def ticks():
        with open("/proc/stat", encoding="ascii") as file:
            fields = [int(word) for word in file.readline().split()[1:9]]
        return sum(fields) - fields[3] - fields[4], sum(fields)
    (busy, whole), _ = ticks(), time.sleep(seconds)
    busy_after, whole_after = ticks()
    return (busy_after - busy) / max(1, whole_after - whole)


def settle(gone):
    """Waits until what the last run left is deleted (`gone` says so) and written: no run pays for another's pages."""
    until = time.monotonic() + 30
    while not gone() and time.monotonic() < until:
        time.sleep(0.1)
    os.sync()
    while meminfo("Dirty") > DIRTY_MOST and time.monotonic() < until:
        time.sleep(0.2)
        os.sync()


PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


def on_core(core):
    """For Popen's preexec_fn: the child runs on this core alone, and ends if we are killed."""
    def before():
        os.sched_setaffinity(0, {core})
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    return before


def run(command, log, core=None, timeout=None, cwd=None):
    """Runs a command to its end, its output in `log`; answers its exit code. Ctrl-C ends it too."""
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [str(word) for word in command], cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            preexec_fn=on_core(core) if core is not None else None, start_new_session=True)
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            return -signal.SIGALRM
        finally:
            end(process)


def end(process):
    """Ends a process that we started: asked first, then made to. A stopped one would not hear it."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGCONT)
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def tail(log, lines=12):
    try:
        return "\n".join("  " + line for line in pathlib.Path(log).read_text(errors="replace").strip().splitlines()[-lines:])
    except OSError as error:
        return f"  {error}"


def built():
    """The release build of this tree."""
    say("building Ringmain (release)")
    if subprocess.run(["cargo", "build", "--release", "--locked", "--quiet"], cwd=ROOT, check=False).returncode != 0:
        raise Wanting("Ringmain does not build, see above")
    return TARGET / "release/ringmain"


def commit():
    """Which sources these are, as git has it."""
    found = subprocess.run(["git", "describe", "--always", "--dirty", "--exclude", "*"], cwd=ROOT, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def on_terminal():
    return sys.stdout.isatty()
