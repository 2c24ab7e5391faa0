"""What has been measured, on disk: a second start goes on where the first ended.

    target/compare/runs/PROGRAM/ROW-HASH/BROKER-HASH/r1t2.json     one run: the report of `ringmain bench`
    target/compare/runs/PROGRAM/ROW-HASH/BROKER-HASH/cannot        why this broker does not do this row

PROGRAM is the build; the hashes are of everything that the figure depends on: the row's flags, seconds and cores; the broker's settings.
"""
import hashlib
import json
import os

from machine import WORK


def build_of(program):
    """Which build a program is."""
    return hashlib.sha256(program.read_bytes()).hexdigest()[:8]


def digest(*parts):
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:8]


class Store:
    def __init__(self, program):
        # Not by commit: one that changes no program takes nothing away from what was measured.
        self.identity = build_of(program)
        self.place = WORK / "runs" / self.identity

    def folder(self, row, broker, numbers):
        """`numbers`: what else the figure depends on."""
        return self.place / f"{row.key}-{digest(row.suite_row, row.flags, row.topic, numbers)}" / f"{broker.key}-{digest(broker.facts())}"

    def path(self, row, broker, numbers, turn):
        return self.folder(row, broker, numbers) / f"{turn}.json"

    def read(self, path):
        """The one row of a run, or None where there is no whole report."""
        try:
            return json.loads(path.read_text())["rows"][0]
        except (OSError, ValueError, LookupError):
            return None

    def cannot(self, row, broker, numbers):
        """Why a broker does not do a row, or None."""
        path = self.folder(row, broker, numbers) / "cannot"
        return path.read_text() if path.exists() else None

    def put_cannot(self, row, broker, numbers, why):
        folder = self.folder(row, broker, numbers)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cannot").write_text(why)

    def put(self, path, made, broker, row, command):
        """Keeps the report that a run has `made`, told what the runner cannot know; it has seen its own core alone."""
        report = json.loads(made.read_text())
        report["host"].update(cpus=len(os.sched_getaffinity(0)), data_directory=str(broker.data.parent))
        report["brokers"][0].update(broker.facts())
        report["rows"][0].update(name=row.title, question=row.question)
        report["command"] = command
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(report))
        part.rename(path)
        made.unlink()
        return report["rows"][0]
