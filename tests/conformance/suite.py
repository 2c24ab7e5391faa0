"""What every suite of others has: how it is built, which processes it is run as, and what each of them says.

A suite is used unmodified: only its environment, its configuration file and the selection of its tests are ours.
"""
import concurrent.futures
import time

from shell import WORK, say
from verdicts import FAIL, PASS, SKIP, Verdict


# What fails is repeated, on either node alike: some tests of others measure time, or fail one time in three on Kafka too.
TRIES = 3


class Suite:
    """Subclasses set these and write `build`, `units` and `verdicts`."""

    name = ""
    # Kafka's own keys, for both nodes alike.
    settings = {}
    # The port that the suite expects, where it does.
    port = None
    # Seconds that one process may take.
    seconds = 120
    # Processes at a time.
    jobs = 1
    # Units of the quick run: those that Apache Kafka passes surely and that take seconds.
    quick_units = ()

    @property
    def directory(self):
        return WORK / self.name

    def build(self):
        """Fetches and builds the suite under `directory`, unless that has been done."""
        raise NotImplementedError

    def units(self):
        """The names of what is run as one process each, after `build`."""
        raise NotImplementedError

    def verdicts(self, unit, address, log, seconds):
        """Runs one unit against a node; answers {test: PASS, FAIL or SKIP}."""
        raise NotImplementedError

    def run(self, node, units, jobs, limits, listed=frozenset(), tell=lambda verdicts: None):
        """Every unit against one node, a line for each as it ends, which `tell` hears too. Answers {test: Verdict}.

        What is `listed` may fail, and is not repeated."""
        found, done = {}, 0

        def one(unit):
            return self.run_unit(node, unit, limits.get(unit, self.seconds), listed)

        pool = concurrent.futures.ThreadPoolExecutor(jobs)
        try:
            for future in concurrent.futures.as_completed([pool.submit(one, unit) for unit in units]):
                done += 1
                verdicts = future.result()
                found.update(verdicts)
                tell(verdicts)
                for name, verdict in verdicts.items():
                    say(f"  [{done}/{len(units)}] {node.side:8} {name:60} {verdict} {verdict.seconds:.1f} s")
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return found

    def run_unit(self, node, unit, seconds, listed=frozenset()):
        found = self.attempt(node, unit, seconds, "")
        for number in range(2, TRIES + 1):
            failed = [name for name, verdict in found.items() if verdict.what == FAIL and name not in listed]
            if not failed:
                break
            again = self.attempt(node, unit, seconds, f"-{number}")
            for name in failed:
                if again.get(name, found[name]).what == PASS:
                    found[name] = again[name]
                    found[name].tries = number
        return found

    def attempt(self, node, unit, seconds, suffix):
        log = self.directory / "logs" / node.side / f"{unit.replace('/', '-').replace(':', '-')}{suffix}.log"
        if not node.alive():
            return {unit: Verdict(FAIL, 0.0, f"the node has died, see {node.log}")}
        started = time.monotonic()
        verdicts = self.verdicts(unit, node.address, log, seconds)
        took = time.monotonic() - started
        return {name: Verdict(what, took, str(log)) for name, what in verdicts.items()}


__all__ = ["FAIL", "PASS", "SKIP", "Suite"]
