"""What is noted in the quarantine with the events of a commit."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from server.domain.quarantine.shapes import Shape


class Release(StrEnum):
    """What became of a frame that was released. The values are stored."""

    #: What it means is journalled, at a later seq.
    JOURNALLED = "journalled"
    #: What it means was replaced by what came after it, or adds nothing: nothing is journalled.
    SUPERSEDED = "superseded"
    #: Its run had ended, so what it means is only reported.
    REPORTED = "reported"


@dataclass(frozen=True, slots=True)
class Kept:
    """The frame in the event `seq` is kept uninterpreted."""

    seq: int
    shape: Shape
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PutBack:
    """What the kept frame in the event `seq` means is journalled as the event `at`."""

    seq: int
    at: int


QuarantineEntry: TypeAlias = Kept | PutBack
