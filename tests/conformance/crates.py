"""Suites that are published as Rust crates: fetched by cargo, built by cargo, one process per test.

Each crate's own lock file is used where it has one. `Crate` needs the crate's integration tests only: its unit tests do not
speak to a broker.
"""
import json
import os
import re
import shutil
import subprocess

import shell
from shell import ROOT, WORK, BuildFailed
from suite import FAIL, PASS, SKIP, Suite

# Pinned here and nowhere else.
VERSIONS = {"rdkafka": "0.39.0", "rdkafka-sys": "4.10.0", "rskafka": "0.6.0"}


def toolchain():
    """The toolchain of this repository, in place of the one that a crate's rust-toolchain file names."""
    if shutil.which("rustup") is None:
        return {}
    said = subprocess.run(["rustup", "show", "active-toolchain"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {"RUSTUP_TOOLCHAIN": said.stdout.split()[0]} if said.stdout else {}


def copy(crate, destination, part="."):
    """Fetches a crate from the registry and lays a copy of it, or of a folder in it, at `destination`."""
    shell.wants("cargo")
    scratch = WORK / "crates" / crate
    scratch.mkdir(parents=True, exist_ok=True)
    (scratch / "lib.rs").touch()
    (scratch / "Cargo.toml").write_text(
        f'[package]\nname = "fetch"\nversion = "0.0.0"\nedition = "2021"\n[lib]\npath = "lib.rs"\n[workspace]\n'
        f'[dependencies]\n{crate} = {{ version = "={VERSIONS[crate]}", default-features = false }}\n')
    metadata = scratch / "metadata.json"
    shell.build(f"{crate} {VERSIONS[crate]} from the Rust registry", ["cargo", "metadata", "--format-version", "1"],
                scratch / "fetch.log", scratch, toolchain(), stdout=metadata)
    packages = json.loads(metadata.read_text())["packages"]
    [manifest] = [package["manifest_path"] for package in packages if package["name"] == crate]
    shutil.rmtree(destination, ignore_errors=True)
    shutil.copytree(os.path.join(os.path.dirname(manifest), part), destination)


class Crate(Suite):
    """The integration tests of one crate, each `binary::test` a process of its own."""

    crate = ""
    # `cargo update` of these first: what their lock file names does not build any more.
    updates = ()
    features = ()
    # Tests that return at once and pass, because their environment is not asked for.
    left_out = None
    jobs = 2

    def environment(self, address):
        raise NotImplementedError

    def build(self):
        source, built = self.directory / "source", self.directory / "tests.json"
        if built.exists():
            return
        copy(self.crate, source)
        log = self.directory / "build.log"
        env = {
            "CARGO_TARGET_DIR": str(self.directory / "target"), "CARGO_PROFILE_DEV_DEBUG": "0",
            "CARGO_PROFILE_TEST_DEBUG": "0", **toolchain(),
        }
        for package in self.updates:
            shell.build(f"{self.name}, cargo update {package}", ["cargo", "update", "-p", package], log, source, env)
        messages = self.directory / "build.json"
        features = ["--features", ",".join(self.features)] if self.features else []
        shell.build(f"{self.name}, cargo test --no-run (some minutes)",
                    ["cargo", "test", "--tests", "--no-run", "--message-format=json", *features], log, source, env,
                    stdout=messages)
        binaries = {}
        for line in messages.read_text().splitlines():
            message = json.loads(line)
            target = message.get("target", {})
            if message["reason"] == "compiler-artifact" and message.get("executable") and target.get("kind") == ["test"]:
                binaries[target["name"]] = message["executable"]
        if not binaries:
            raise BuildFailed(f"{self.name}: cargo built no tests, see {log}")
        built.write_text(json.dumps(binaries))

    def binaries(self):
        return json.loads((self.directory / "tests.json").read_text())

    def units(self):
        units = []
        for name, binary in sorted(self.binaries().items()):
            listed = subprocess.run([binary, "--list", "--format", "terse"], capture_output=True, text=True, check=True)
            units += [f"{name}:{test}" for test in re.findall(r"^(\S+): test$", listed.stdout, re.MULTILINE)]
        return [unit for unit in units if not (self.left_out and re.search(self.left_out, unit))]

    def verdicts(self, unit, address, log, seconds):
        name, test = unit.split(":", 1)
        binary = self.binaries()[name]
        code = shell.run([binary, "--exact", test, "--nocapture"], log, seconds, self.directory / "source",
                         self.environment(address))
        if code != 0:
            return {unit: FAIL}
        text = log.read_text(errors="replace")
        ran = re.search(r"^test result: ok\. 1 passed", text, re.MULTILINE)
        return {unit: PASS if ran and not re.search(r"^skipping ", text, re.MULTILINE | re.IGNORECASE) else SKIP}


class Rskafka(Crate):
    name = crate = "rskafka"
    updates = ("rsasl",)
    # Their Java half wants TEST_JAVA_INTEROPT, for which a JVM inside the test downloads jars by itself.
    left_out = r"_java_|rdkafka_consume_rdkafka_nocompression"
    # One of its tests expects that a topic which nobody made stays unknown.
    settings = {"auto.create.topics.enable": "false"}

    def environment(self, address):
        return {"TEST_INTEGRATION": "1", "TEST_BROKER_IMPL": "kafka", "KAFKA_CONNECT": address}


class RustRdkafka(Crate):
    name, crate = "rust-rdkafka", "rdkafka"
    # It asserts these of the broker, and that its port is 9092.
    settings = {"node.id": "0", "num.partitions": "3", "auto.create.topics.enable": "true"}
    port = 9092

    def environment(self, address):
        return {"KAFKA_HOST": address, "RUST_LOG": "off"}
