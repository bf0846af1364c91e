"""Files of this machine that commands read and write."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from server.cli.exit_codes import CommandError


def read_text(file: str) -> str:
    """The text of a file, or of standard input for `-`, with its line ends. Raises CommandError for another
    encoding than UTF-8."""
    content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise CommandError(f"{file} is not a text in UTF-8: a draft takes texts") from None


async def save(pieces: AsyncIterator[bytes], target: Path) -> int:
    """Write the pieces into a file, which exists only once it is whole. Returns their bytes.

    Raises what the pieces raise, OSError.
    """
    size_bytes = 0
    with NamedTemporaryFile(dir=target.parent, prefix=".ideo-", delete=False) as file:
        try:
            async for piece in pieces:
                size_bytes += file.write(piece)
            file.flush()
            # A temporary file is readable by its user alone; this one gets the permissions of any new file.
            mask = os.umask(0)
            os.umask(mask)
            os.fchmod(file.fileno(), 0o666 & ~mask)
            os.replace(file.name, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(file.name)
            raise
    return size_bytes
