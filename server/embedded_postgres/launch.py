"""A script that becomes another user, ends with its parent, and executes a program.

    python -I -S launch.py PARENT_PID UID GID PROGRAM [ARGUMENT …]

PostgreSQL refuses to run as root, so root gives it another user. That user may not be able to enter the
folders that lead to the program and to the data: a home folder is often 0700. The mode of such folders is
not changed. Instead the process keeps the one capability that it needs (Linux; without the capability it
works where the folders are open). PostgreSQL also asks access(2) whether it may run its own programs, and
that call ignores capabilities unless SECBIT_NO_SETUID_FIXUP is set.

On Linux the kernel sends SIGINT, PostgreSQL's fast shutdown, when the parent ends in any way. This is a
separate script because none of it may happen between fork and exec in a parent with threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_SET_SECUREBITS = 28
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC_OVERRIDE = 1


def switch_user(libc: ctypes.CDLL, uid: int, gid: int) -> None:
    """Change from root to another user, and keep only the capability to access files."""
    linux = sys.platform == "linux"
    if linux:
        libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
        libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if linux:
        only = 1 << _CAP_DAC_OVERRIDE
        header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
        if libc.capset(header, struct.pack("=6I", only, only, only, 0, 0, 0)) == 0:
            libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0)


def main(parent: int, uid: int, gid: int, command: list[str]) -> None:
    """Execute the command. Does not return."""
    libc = ctypes.CDLL(None)
    if uid != os.geteuid():
        switch_user(libc, uid, gid)
    if sys.platform == "linux":
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0)  # after setuid, which clears it
    if os.getppid() != parent:
        sys.exit("the parent has ended")
    os.execv(command[0], command)  # noqa: S606 - no shell is intended


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
