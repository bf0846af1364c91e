"""A worker of the hub that is killed in the middle of a computation."""

from __future__ import annotations

import sys
from pathlib import Path

from server.worker.worker import BOUNDS

#: Reads a call, and is killed before it answers, as often as its file has bytes.
_PROGRAM = """
import os, signal, sys
from server.worker import messages, process
left = open(sys.argv[1], "rb").read()
if left:
    open(sys.argv[1], "wb").write(left[1:])
    messages.send(1, messages.READY)
    messages.receive(sys.stdin.buffer)
    os.kill(os.getpid(), signal.SIGKILL)
process.main(sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
"""


def killed(kind: str, times: int, folder: Path) -> tuple[str, ...]:
    """The command of a worker of this kind that is killed in so many computations."""
    left = folder / "left"
    left.write_bytes(b"x" * times)
    return sys.executable, "-c", _PROGRAM, str(left), kind, *map(str, BOUNDS[kind])
