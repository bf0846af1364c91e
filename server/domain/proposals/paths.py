"""Paths of generated files: which of them may leave the hub as files (ADR 0019).

A model wrote the path, and somebody will write a file to it: on Linux, macOS or Windows, from an archive or
by hand. A file whose path could lead elsewhere, hide another file or deceive a reader is left out of the
proposal; the proposal says which files and why. The journal has all of them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from server.domain.proposals.files import File
from server.encoding.json_text import replace_surrogates

#: Longest path, and longest segment between slashes, in bytes of UTF-8.
MAX_PATH_BYTES, MAX_SEGMENT_BYTES = 1024, 255
#: Maximum number of files in one proposal, and of bytes in all of them together.
MAX_FILES, MAX_FILES_BYTES = 5_000, 64 << 20


class PathFault(Enum):
    """What is wrong with a file's path, or with the file next to the others; the value is the public code."""

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
    """A file of the run that the proposal leaves out."""

    path: str
    fault: PathFault


#: Names of Windows devices, with any extension.
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$", "clock$"]
    + [f"{name}{digit}" for name in ("com", "lpt") for digit in "0123456789¹²³"]
)
#: Characters that are invisible or change how the text around them is read, except the joiners U+200C and
#: U+200D, which scripts and emoji need.
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

#: Category of control characters, and of separators of lines and of paragraphs.
_CONTROL_CATEGORIES = ("Cc", "Zl", "Zp")
#: Division slash, fraction slash, reverse solidus operator, set minus, ratio: they look like separators.
_LOOK_ALIKES = frozenset("∕⁄⧵∖∶")


def path_fault(path: str) -> PathFault | None:
    """The first fault of one path, in the order of PathFault; None for a good path."""
    return _character_fault(path) or _segment_fault(path[1:].split("/")) or _form_fault(path)


def _character_fault(path: str) -> PathFault | None:
    if not path.startswith("/"):
        return PathFault.NOT_ABSOLUTE
    if replace_surrogates(path) is not path:
        return PathFault.LONE_SURROGATE
    if any(unicodedata.category(character) in _CONTROL_CATEGORIES for character in path):
        return PathFault.CONTROL_CHARACTER
    return None if _DECEPTIVE.isdisjoint(path) else PathFault.DECEPTIVE_CHARACTER


def _segment_fault(segments: Sequence[str]) -> PathFault | None:
    # Names that another program's folding would turn into forbidden ones are refused too.
    folded = [unicodedata.normalize("NFKC", segment) for segment in segments]
    if any(_has_separator(segment) for segment in segments):
        return PathFault.SEPARATOR
    if "" in segments:
        return PathFault.EMPTY_SEGMENT
    if any(segment.strip(" ") in (".", "..") for segment in (*segments, *folded)):
        return PathFault.DOT_SEGMENT
    if any(_is_device(segment) for segment in (*segments, *folded)):
        return PathFault.DEVICE_NAME
    if any(unicodedata.normalize("NFKC", segment[-1]) in (".", " ") for segment in segments):
        return PathFault.TRAILING_DOT_OR_SPACE
    return None


def _form_fault(path: str) -> PathFault | None:
    if unicodedata.normalize("NFC", path) != path:
        return PathFault.NOT_NORMALIZED
    longest = max(len(segment.encode()) for segment in path[1:].split("/"))
    return PathFault.TOO_LONG if len(path.encode()) > MAX_PATH_BYTES or longest > MAX_SEGMENT_BYTES else None


def _has_separator(segment: str) -> bool:
    """Whether it holds a backslash, a colon, or a character that looks like one of those or like a slash."""
    folded = unicodedata.normalize("NFKC", segment)
    return any(mark in folded for mark in "/\\:") or not _LOOK_ALIKES.isdisjoint(segment)


def _is_device(segment: str) -> bool:
    return segment.split(".", 1)[0].rstrip(" ").casefold() in _DEVICES


def path_key(path: str) -> str:
    """A key that is equal for paths that are the same on a case-insensitive file system."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


class _Partition:
    """The files kept so far."""

    def __init__(self, *, max_files: int, max_bytes: int) -> None:
        self.kept: dict[str, File] = {}
        self._max_files, self._max_bytes = max_files, max_bytes
        self._keys: set[str] = set()
        self._folders: set[str] = set()
        self._size = 0

    def add(self, path: str, file: File) -> PathFault | None:
        """Keep the file, or return why it is rejected."""
        key = path_key(path)
        parents = [key[:index] for index, character in enumerate(key) if character == "/" and index]
        size = self._size + len(file.content)
        if key in self._keys or key in self._folders:
            return PathFault.COLLISION
        if not self._keys.isdisjoint(parents):
            return PathFault.UNDER_A_FILE
        if len(self.kept) >= self._max_files:
            return PathFault.TOO_MANY_FILES
        if size > self._max_bytes:
            return PathFault.TOO_LARGE
        self._keys.add(key)
        self._folders.update(parents)
        self._size = size
        self.kept[path] = file
        return None


def partition_files(
    files: Mapping[str, File], *, max_files: int = MAX_FILES, max_bytes: int = MAX_FILES_BYTES
) -> tuple[dict[str, File], tuple[RejectedFile, ...]]:
    """The files that a proposal keeps, and those that it rejects, both in path order.

    When files collide, the first in path order is kept: `/A` before `/a`, `/a` before `/a/b`.
    """
    partition = _Partition(max_files=max_files, max_bytes=max_bytes)
    rejected: list[RejectedFile] = []
    for path in sorted(files):
        fault = path_fault(path) or partition.add(path, files[path])
        if fault is not None:
            rejected.append(RejectedFile(path, fault))
    return partition.kept, tuple(rejected)
