"""The node under docker/seccomp.json, set as a filter without Docker: it starts, serves, stops; without the three io_uring
calls it refuses in words."""
import ctypes
import json
import os
import re
import struct
import subprocess
import sys
import unittest
import urllib.request

PROFILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docker/seccomp.json")
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000


def numbers():
    """The numbers of this machine's system calls, from the kernel's headers as the C compiler has them."""
    text = subprocess.run(["cc", "-E", "-dM", "-include", "sys/syscall.h", "-x", "c", "/dev/null"], check=True,
                          capture_output=True, text=True).stdout
    return {name: int(number) for name, number in re.findall(r"^#define __NR_(\w+) (\d+)$", text, re.MULTILINE)}


class Program(ctypes.Structure):
    """struct sock_fprog of linux/filter.h"""
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def filter_of(profile, without=()):
    known = numbers()
    # A call that the headers here do not know yet, and one that this architecture never had, are no rule.
    allowed = [known[name] for group in profile["syscalls"] for name in group["names"] if name in known and name not in without]
    code = [(LOAD_WORD, 0, 0, 0)]
    for number in allowed:
        code += [(JUMP_IF_EQUAL, 0, 1, number), (RETURN, 0, 0, ALLOW)]
    code.append((RETURN, 0, 0, ERRNO | profile["defaultErrnoRet"]))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code)


def enter(profile, without, command):
    code = filter_of(profile, without)
    libc = ctypes.CDLL(None, use_errno=True)
    program = Program(len(code) // 8, code)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program)):
        raise OSError(ctypes.get_errno(), "prctl")
    os.execv(command[0], command)


if __name__ == "__main__" and sys.argv[1:2] == ["--enter"]:
    with open(PROFILE) as file:
        enter(json.load(file), sys.argv[2].split(","), sys.argv[3:])

import harness  # noqa: E402  (the loader above must not need it)
from node import free_port  # noqa: E402
from harness import BINARY, ClientTest, Node, ringmain  # noqa: E402


class Seccomp(ClientTest):
    def under(self, without=""):
        return [sys.executable, os.path.abspath(__file__), "--enter", without]

    def test_a_node_starts_serves_and_stops_under_the_profile(self):
        metrics = f"127.0.0.1:{free_port()}"
        with Node(self.data, "--shards", "2", "--memory", "256M", "--metrics", metrics, prefix=self.under()) as node:
            server = f"127.0.0.1:{node.port}"
            ringmain("topics", "--bootstrap-server", server, "create", "inside", "--partitions", "2")
            self.assertEqual(ringmain("topics", "--bootstrap-server", server, "list"), "inside\n")
            with urllib.request.urlopen(f"http://{metrics}/healthz", timeout=60) as answer:
                self.assertEqual(answer.read(), b"serving\n")
            node.stop()
        self.assertIn("ok", ringmain("log", "verify", self.data))

    def test_without_the_three_calls_it_refuses_in_words(self):
        without = "io_uring_setup,io_uring_enter,io_uring_register"
        done = subprocess.run([*self.under(without), str(BINARY), "doctor", "--data", str(self.data)], capture_output=True,
                              text=True, timeout=60)
        self.assertEqual(done.returncode, 3, done.stdout + done.stderr)
        self.assertIn("io_uring", done.stdout)


if __name__ == "__main__":
    harness.main("seccomp profile")
