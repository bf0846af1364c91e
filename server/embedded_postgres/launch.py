"""A script that becomes another user, enters a folder, ends with its parent, and executes a program.

    python -I -S launch.py PARENT_PID UID GID FOLDER_FD FILES PROGRAM [ARGUMENT …]
    python -I -S launch.py PARENT_PID UID GID FOLDER_FD FILES

PostgreSQL refuses to run as root, so root gives it another user, which keeps no capability and gains none.
That user may not be able to pass the folders that lead to the data: a home folder is often 0700. So the
folder is entered by its file descriptor while this is still root, and the program knows it as /proc/self/cwd.

What is written in the folder is written here, as its owner: root writes nothing where the server's user
could have placed a link. FILES is a JSON object: the text of each file to write, or null for one to remove.
Without a program, this interrupts the folder's server, as its owner: it can then signal only its own
processes.

On Linux the kernel sends SIGINT, PostgreSQL's fast shutdown, when the parent ends in any way. This is a
separate script because none of it may happen between fork and exec in a parent with threads.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from contextlib import suppress

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


def become(libc: ctypes.CDLL, uid: int, gid: int) -> None:
    """Change from root to another user for good. Capabilities go with the change of all user ids."""
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if sys.platform == "linux":
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def write_files(files: dict[str, str | None]) -> None:
    """Write or remove files of this folder."""
    for name, text in files.items():
        with suppress(FileNotFoundError):
            os.unlink(name)
        if text is not None:
            file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with open(file, "w") as stream:
                stream.write(text)


def interrupt_server() -> None:
    """Send SIGINT to the process that the pid file of this folder names."""
    with suppress(OSError, ValueError), open("postmaster.pid") as file:
        pid = int(file.readline())
        if pid > 1:
            os.kill(pid, signal.SIGINT)


def main(parent: int, uid: int, gid: int, folder: int, files: str, command: list[str]) -> None:
    """Execute the command and never return; without one, interrupt the folder's server."""
    libc = ctypes.CDLL(None)
    os.fchdir(folder)
    os.close(folder)
    os.umask(0o077)
    if uid != os.geteuid():
        become(libc, uid, gid)
    if sys.platform == "linux":
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0)  # after setuid, which clears it
    if os.getppid() != parent:
        sys.exit("the parent has ended")
    if not command:
        interrupt_server()
        return
    write_files(json.loads(files))
    os.execv(command[0], command)  # noqa: S606 - no shell is intended


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5], sys.argv[6:])
