"""A group of readers' connections in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class WriterAtHand(Protocol):
    """A reader that keeps what is written to it."""

    def write_now(self, data: bytes) -> bool:
        """Take bytes. Returns whether it did."""
        ...


class WritersAtHand:
    """Implements `Group`."""

    def __init__(self) -> None:
        self._writers: list[WriterAtHand] = []

    def add(self, writer: WriterAtHand) -> None:
        """As of Group."""
        self._writers.append(writer)

    def remove(self, writer: WriterAtHand) -> None:
        """As of Group."""
        if writer in self._writers:
            self._writers.remove(writer)

    def write(self, data: bytes) -> Sequence[WriterAtHand]:
        """As of Group."""
        late = [writer for writer in self._writers if not writer.write_now(data)]
        self._writers = [writer for writer in self._writers if writer not in late]
        return late
