"""Key presses in a terminal, or lines of another input, each of which starts the next step."""

from __future__ import annotations

import asyncio
import os
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from server.cli.exit_codes import notice

#: What a terminal sends for Ctrl-D while keys are read one by one.
_END_OF_INPUT = b"\x04"
#: Bytes of one read. A key may send several, such as those of an arrow.
_READ_BYTES = 4096


@contextmanager
def stepping(step: Callable[[], None]) -> Iterator[None]:
    """Call `step` in the event loop for each key, or each line of another input, until the
    block ends. At the end of the input no further call comes."""
    number = sys.stdin.fileno()
    loop = asyncio.get_running_loop()
    terminal = os.isatty(number)
    before = termios.tcgetattr(number) if terminal else None
    if terminal:
        # Each key at once, and Ctrl-C as ever.
        tty.setcbreak(number)
    notice(f"each {'key' if terminal else 'line of standard input'} sends the next frame")

    def _read() -> None:
        while data := os.read(number, _READ_BYTES):
            if terminal and data == _END_OF_INPUT:
                break
            for _ in range(1 if terminal else data.count(b"\n")):
                loop.call_soon_threadsafe(step)

    def _read_until_closed() -> None:
        try:
            _read()
        except (OSError, RuntimeError):
            # The terminal has gone, or the loop is closed.
            return

    # A thread, because a loop cannot wait for a file; a daemon, because nothing ends a read.
    threading.Thread(target=_read_until_closed, name="keys", daemon=True).start()
    try:
        yield
    finally:
        if before is not None:
            termios.tcsetattr(number, termios.TCSADRAIN, before)
