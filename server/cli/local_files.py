"""Files of this machine that commands read and write."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile, mkstemp
from types import TracebackType
from typing import BinaryIO

from server.cli.exit_codes import CommandError


def read_text(file: str) -> str:
    """The text of a file, or of standard input for `-`, with its line ends. Raises CommandError for another
    encoding than UTF-8."""
    content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise CommandError(f"{file} is not text in UTF-8, and this command writes only text") from None


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


def check_folder(target: Path) -> None:
    """Raise CommandError when the folder of a file does not exist."""
    if not target.parent.is_dir():
        raise CommandError(f"{target} cannot be written: the folder {target.parent} does not exist")


class PrivateFiles:
    """New files that only their user can read. They exist once `keep` is called, and not at all when the
    block ends before. force: they replace files that are there."""

    def __init__(self, *, force: bool) -> None:
        self._force = force
        self._files: list[tuple[BinaryIO, str, Path]] = []

    def __enter__(self) -> PrivateFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file, name, _ in self._files:
            file.close()
            with suppress(OSError):
                os.unlink(name)

    def check(self, target: Path) -> None:
        """Raise CommandError for a file that exists and may not be replaced, and for one without a folder."""
        check_folder(target)
        if target.exists() and not self._force:
            raise CommandError(f"{target} exists already: choose another --output, or use --force")

    def open(self, target: Path) -> BinaryIO:
        """A new file, to be written. Raises CommandError, OSError."""
        self.check(target)
        # Its mode is 0600.
        descriptor, name = mkstemp(dir=target.parent, prefix=".ideo-")
        file = os.fdopen(descriptor, "wb")
        self._files.append((file, name, target))
        return file

    def keep(self) -> None:
        """Give the files their names, the first one last: where it is, the others are. Raises CommandError,
        OSError."""
        for file, name, target in reversed(self._files):
            file.flush()
            os.fsync(file.fileno())
            self.check(target)
            os.replace(name, target)
