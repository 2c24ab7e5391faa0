"""Runs a program with less than it wants: limited.py [--no-io-uring] [--memlock BYTES] [--nofile COUNT] -- PROGRAM ...

--no-io-uring sets a seccomp filter that refuses the three io_uring calls with EPERM, as Docker's default profile does.
"""
import ctypes
import os
import resource
import struct
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE_EPERM = 0x7FFF0000, 0x00050000 | 1
IO_URING_SETUP, IO_URING_REGISTER = 425, 427


class Program(ctypes.Structure):
    """struct sock_fprog of linux/filter.h"""
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def refuse_io_uring():
    calls = range(IO_URING_SETUP, IO_URING_REGISTER + 1)
    instructions = [(LOAD_WORD, 0, 0, 0)]  # the number of the call is the first word of struct seccomp_data
    for index, call in enumerate(calls):
        instructions.append((JUMP_IF_EQUAL, len(calls) - index, 0, call))
    instructions += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE_EPERM)]
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
    libc = ctypes.CDLL(None, use_errno=True)
    program = Program(len(instructions), code)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program)):
        raise OSError(ctypes.get_errno(), "prctl")


def main():
    arguments = sys.argv[1:]
    while arguments and arguments[0] != "--":
        flag = arguments.pop(0)
        if flag == "--no-io-uring":
            refuse_io_uring()
        elif flag == "--memlock":
            limit = int(arguments.pop(0))
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
        elif flag == "--nofile":
            limit = int(arguments.pop(0))
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        else:
            sys.exit(__doc__)
    os.execv(arguments[1], arguments[1:])


main()
