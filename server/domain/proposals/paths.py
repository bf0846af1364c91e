"""Paths of generated files: which of them may leave the hub as files (ADR 0019).

A runtime's path is text that a model wrote, and somebody will write a file there: on Linux, macOS or
Windows, out of an archive or by hand. A path that could land elsewhere, hide another file or deceive who
reads it keeps its file out of the proposal; the proposal says which and why. The journal has all of them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from server.domain.proposals.files import File

#: Longest path, and longest part between slashes, in bytes of UTF-8.
MAX_PATH_BYTES, MAX_SEGMENT_BYTES = 1024, 255
#: Most files of one proposal, and most bytes of all of them.
MAX_FILES, MAX_FILES_BYTES = 5_000, 64 << 20


class PathFault(Enum):
    """What is wrong with a file's path, or with the file among the others; the value is the code that
    callers see."""

    NOT_ABSOLUTE = "not_absolute"
    LONE_SURROGATE = "lone_surrogate"
    CONTROL_CHARACTER = "control_character"
    DECEPTIVE_CHARACTER = "deceptive_character"
    SEPARATOR = "separator"
    EMPTY_SEGMENT = "empty_segment"
    DOT_SEGMENT = "dot_segment"
    DEVICE_NAME = "device_name"
    TRAILING_DOT_OR_SPACE = "trailing_dot_or_space"
    NOT_NORMALIZED = "not_normalized"
    TOO_LONG = "too_long"
    COLLISION = "collision"
    UNDER_A_FILE = "under_a_file"
    TOO_MANY_FILES = "too_many_files"
    TOO_LARGE = "too_large"


@dataclass(frozen=True, slots=True)
class RejectedFile:
    """A file that the run made and the proposal does not have."""

    path: str
    fault: PathFault


#: Names that Windows takes for devices, whatever extension follows.
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$", "clock$"]
    + [f"{name}{digit}" for name in ("com", "lpt") for digit in "0123456789¹²³"]
)
#: Characters that change how text around them is read, or cannot be seen. The joiners U+200C and U+200D are
#: no such: scripts and emoji need them.
_DECEPTIVE = frozenset(
    chr(code)
    for codes in (
        (0x00AD, 0x034F, 0x061C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180E, 0x200B, 0x200E, 0x200F, 0x3164),
        range(0x202A, 0x202F),
        range(0x2060, 0x2070),
        (0xFEFF, 0xFFA0),
        range(0xFFF9, 0xFFFC),
        range(0xE0000, 0xE0080),
    )
    for code in codes
)


def path_fault(path: str) -> PathFault | None:
    """What is wrong with one path: the first that applies, in the order of PathFault; None for nothing."""
    if not path.startswith("/"):
        return PathFault.NOT_ABSOLUTE
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return PathFault.LONE_SURROGATE
    for character in path:
        if unicodedata.category(character) in ("Cc", "Zl", "Zp"):
            return PathFault.CONTROL_CHARACTER
    if not _DECEPTIVE.isdisjoint(path):
        return PathFault.DECEPTIVE_CHARACTER
    segments = path[1:].split("/")
    if any(_separates(segment) for segment in segments):
        return PathFault.SEPARATOR
    if "" in segments:
        return PathFault.EMPTY_SEGMENT
    compatible = [unicodedata.normalize("NFKC", segment) for segment in segments]
    # Names that another program's folding would turn into these are refused as well.
    if any(segment.strip(" ") in (".", "..") for segment in (*segments, *compatible)):
        return PathFault.DOT_SEGMENT
    if any(_is_device(segment) for segment in (*segments, *compatible)):
        return PathFault.DEVICE_NAME
    if any(unicodedata.normalize("NFKC", segment[-1]) in (".", " ") for segment in segments):
        return PathFault.TRAILING_DOT_OR_SPACE
    if unicodedata.normalize("NFC", path) != path:
        return PathFault.NOT_NORMALIZED
    if size > MAX_PATH_BYTES or any(len(segment.encode()) > MAX_SEGMENT_BYTES for segment in segments):
        return PathFault.TOO_LONG
    return None


def _separates(segment: str) -> bool:
    """Whether it holds a backslash, a colon, or a character that is one of those or a slash in disguise."""
    folded = unicodedata.normalize("NFKC", segment)
    return any(mark in folded for mark in "/\\:") or not _LOOK_ALIKES.isdisjoint(segment)


#: Division slash, fraction slash, reverse solidus operator, set minus, ratio: they look like separators.
_LOOK_ALIKES = frozenset("∕⁄⧵∖∶")


def _is_device(segment: str) -> bool:
    return segment.split(".", 1)[0].rstrip(" ").casefold() in _DEVICES


def path_key(path: str) -> str:
    """What is equal for paths that a file system which ignores case takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


def partition_files(
    files: Mapping[str, File], *, most: int = MAX_FILES, most_bytes: int = MAX_FILES_BYTES
) -> tuple[dict[str, File], tuple[RejectedFile, ...]]:
    """The files that a proposal keeps, and those that it does not, both in path order.

    Of files that collide the first in path order is kept: `/A` before `/a`, `/a` before `/a/b`.
    """
    kept: dict[str, File] = {}
    rejected: list[RejectedFile] = []
    taken: set[str] = set()
    folders: set[str] = set()
    size = 0
    for path in sorted(files):
        fault = path_fault(path)
        if fault is None:
            key = path_key(path)
            above = [key[:place] for place, character in enumerate(key) if character == "/" and place]
            file_bytes = len(files[path].content)
            if key in taken or key in folders:
                fault = PathFault.COLLISION
            elif not taken.isdisjoint(above):
                fault = PathFault.UNDER_A_FILE
            elif len(kept) >= most:
                fault = PathFault.TOO_MANY_FILES
            elif size + file_bytes > most_bytes:
                fault = PathFault.TOO_LARGE
            else:
                taken.add(key)
                folders.update(above)
                size += file_bytes
                kept[path] = files[path]
        if fault is not None:
            rejected.append(RejectedFile(path, fault))
    return kept, tuple(rejected)
