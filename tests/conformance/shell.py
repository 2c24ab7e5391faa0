"""Running what others wrote: builds with their progress shown, and one test as one process with a limit of time.

Called by the suites and by brokers.py. A process runs in a group of its own, so that its end takes what it started along.
"""
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
WORK = TARGET / "conformance"


# What runs now, to be ended if we are.
running = set()


class BuildFailed(Exception):
    """A suite could not be fetched or built; the text says why and where the log is."""


def say(text):
    print(text, flush=True)


def wants(*programs):
    """Fails with the names of those programs that this machine does not have."""
    absent = [program for program in programs if shutil.which(program) is None]
    if absent:
        raise BuildFailed(f"this needs {', '.join(absent)}")


def build(title, command, log, cwd=None, env=None, stdout=None):
    """One step of a build. Its output goes to `log`; on a terminal its last line shows that it moves."""
    log.parent.mkdir(parents=True, exist_ok=True)
    say(f"  building: {title} (log: {log})")
    started = time.monotonic()
    with open(log, "ab") as output, open(stdout or os.devnull, "wb") as result:
        process = subprocess.Popen(
            ["nice", "-n", "10", *map(str, command)], cwd=cwd, env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL, stdout=result if stdout else output, stderr=output, start_new_session=True)
        running.add(process)
        try:
            while process.poll() is None:
                time.sleep(0.2)
                show_progress(log, time.monotonic() - started)
        finally:
            end(process)
    if process.returncode != 0:
        raise BuildFailed(f"{title}: ended with {process.returncode}, see {log}")
    say(f"  built: {title} in {time.monotonic() - started:.0f} s")


def show_progress(log, seconds):
    if sys.stdout.isatty():
        last = log.read_bytes()[-400:].decode(errors="replace").strip().splitlines()[-1:]
        print(f"\r\033[K  {seconds:4.0f} s {''.join(last)[:100]}", end="\r\033[K", flush=True)


def end(process):
    """Ends a process and all that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    running.discard(process)


def end_all():
    for process in list(running):
        end(process)


def run(command, log, seconds, cwd=None, env=None):
    """Runs one test with stdout and stderr in `log`. Answers its exit code, or None if it did not end in time."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as output:
        process = subprocess.Popen(
            list(map(str, command)), cwd=cwd, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
            stdout=output, stderr=output, start_new_session=True)
        running.add(process)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            output.write(f"\nconformance: ended after {seconds:.0f} s\n".encode())
            return None
        finally:
            end(process)
