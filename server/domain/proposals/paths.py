"""Paths of generated files: what keeps a file out of a proposal, and what is only not portable (ADR 0019).

A model wrote the path, and somebody will write a file to it: on Linux, macOS or Windows, from an archive or
by hand. A path that could lead elsewhere, or change how the place is read where the file is written, is
dangerous. A path that only some systems can store, or keep apart from another, is portable to the others.

A path is relative to the root of the files, with or without a slash at its start. Work per path is bounded:
its length is checked first.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from functools import partial

from server.encoding.json_text import replace_surrogates

#: Longest path in bytes of UTF-8, and the most segments that it may have.
MAX_PATH_BYTES, MAX_SEGMENTS = 1024, 100
#: Longest segment that any system stores, in UTF-16 units, and that all store, in bytes of UTF-8.
MAX_SEGMENT_UNITS, MAX_PORTABLE_SEGMENT_BYTES = 255, 255


class Rejection(StrEnum):
    """Why a file of a run is not among the proposal's files; the value is the public code."""

    NO_FILE_NAME = "no_file_name"
    TOO_LONG = "too_long"
    TOO_DEEP = "too_deep"
    LONE_SURROGATE = "lone_surrogate"
    CONTROL_CHARACTER = "control_character"
    SEPARATOR = "separator"
    EMPTY_SEGMENT = "empty_segment"
    DOT_SEGMENT = "dot_segment"
    REPOSITORY_FOLDER = "repository_folder"
    TOO_MANY_FILES = "too_many_files"
    TOO_LARGE = "too_large"
    UNREADABLE = "unreadable"


class Portability(StrEnum):
    """Why some systems cannot store a file, or cannot keep it apart from another; the value is the public
    code."""

    COLLISION = "collision"
    ABOVE_A_FILE = "above_a_file"
    UNDER_A_FILE = "under_a_file"
    DEVICE_NAME = "device_name"
    TRAILING_DOT_OR_SPACE = "trailing_dot_or_space"
    RESERVED_CHARACTER = "reserved_character"
    COLON = "colon"
    NOT_NORMALIZED = "not_normalized"
    DECEPTIVE_CHARACTER = "deceptive_character"
    EMPTY_SEGMENT = "empty_segment"
    HOME_FOLDER = "home_folder"
    LONG_SEGMENT = "long_segment"


_nfc = partial(unicodedata.normalize, "NFC")
_nfd = partial(unicodedata.normalize, "NFD")
_nfkc = partial(unicodedata.normalize, "NFKC")


def _characters(*codes: Iterable[int]) -> frozenset[str]:
    return frozenset(chr(code) for each in codes for code in each)


#: Characters that are invisible or change how the text around them is read. Scripts and emoji need the
#: joiners U+200C and U+200D, which are not among them.
_INVISIBLE = _characters(
    (0x00AD, 0x034F, 0x061C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180E, 0x200B, 0x200E, 0x200F, 0x3164),
    range(0x202A, 0x202F),
    range(0x2060, 0x2070),
    (0xFEFF, 0xFFA0),
    range(0xFFF9, 0xFFFC),
    range(0xE0000, 0xE0080),
)
#: The same with the separators of lines and of paragraphs, and with signs of currencies that code pages of
#: Windows read as a backslash: ¥ and ₩.
_DECEPTIVE = _INVISIBLE | _characters((0x2028, 0x2029, 0x00A5, 0x20A9))
#: What a file system or a reader may ignore in a name.
_IGNORED = dict.fromkeys(map(ord, (*_INVISIBLE, "\u200c", "\u200d")))
#: Slashes of mathematics and of line drawing, which look like separators. NFKC turns others into them.
_LOOK_ALIKES = frozenset("∕⁄⟋⧸╱∖⟍⧵⧹╲")
#: A ratio, which looks like a colon.
_RATIO = "∶"
#: Names of Windows devices, with any extension.
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$", "clock$"]
    + [f"{name}{digit}" for name in ("com", "lpt") for digit in "0123456789¹²³"]
)
#: Folders in which a repository keeps programs and settings that run them, also by their short name on
#: Windows.
_REPOSITORY = re.compile(r"\.(git|hg|jj)|git~[0-9]+")
_RESERVED = frozenset('?*|<>"')
#: A segment as most are: of ASCII letters, digits, `_`, `-` and `.`, without a dot at either end, and no
#: device; and a path of up to 31 of them. To it neither a rejection nor a mark of its own applies.
_PLAIN_SEGMENT = r"(?!(?:con|prn|aux|nul|(?:com|lpt)[0-9])(?:[./]|\Z))[\w-](?:[\w.-]*[\w-])?"
_PLAIN = re.compile(rf"/?(?:{_PLAIN_SEGMENT}/){{0,30}}{_PLAIN_SEGMENT}", re.ASCII | re.IGNORECASE)


def rejection_of(path: str) -> Rejection | None:
    """Why no file may be written at the path; None if one may."""
    if _is_plain(path):
        return None
    # First what bounds the work of the rest.
    if len(path) > MAX_PATH_BYTES:
        return Rejection.TOO_LONG
    if replace_surrogates(path) is not path:
        return Rejection.LONE_SURROGATE
    if len(path.encode()) > MAX_PATH_BYTES:
        return Rejection.TOO_LONG
    if not path or path.endswith("/"):
        return Rejection.NO_FILE_NAME
    if path.removeprefix("/").count("/") >= MAX_SEGMENTS:
        return Rejection.TOO_DEEP
    if any(unicodedata.category(character) == "Cc" for character in set(path)):
        return Rejection.CONTROL_CHARACTER
    if _has_look_alike_separator(path):
        return Rejection.SEPARATOR
    return _segments_rejection(path)


def _is_plain(path: str) -> bool:
    return len(path) <= MAX_SEGMENT_UNITS and _PLAIN.fullmatch(path) is not None


def _segments(path: str) -> list[str]:
    return path.removeprefix("/").split("/")


def _has_look_alike_separator(path: str) -> bool:
    """Whether it has a backslash, or a character that looks like one or like a slash."""
    folded = _nfkc(path)
    return "\\" in folded or folded.count("/") != path.count("/") or not _LOOK_ALIKES.isdisjoint(path)


def _segments_rejection(path: str) -> Rejection | None:
    # Without its first slash the path would still start at the root of the file system.
    if path.startswith("//"):
        return Rejection.EMPTY_SEGMENT
    names = [_bare_name(segment) for segment in _segments(_folded(path))]
    if any(name in (".", "..") for name in names):
        return Rejection.DOT_SEGMENT
    if any(_REPOSITORY.fullmatch(name.rstrip(". ")) for name in names):
        return Rejection.REPOSITORY_FOLDER
    if any(len(segment.encode("utf-16-le")) > 2 * MAX_SEGMENT_UNITS for segment in _segments(path)):
        return Rejection.TOO_LONG
    return None


def _folded(path: str) -> str:
    """The path without look-alikes, what is ignored, and case."""
    return (path if path.isascii() else _nfkc(path).translate(_IGNORED).upper()).casefold()


def _bare_name(segment: str) -> str:
    """The name that a file system may take a folded segment for: without the name of an NTFS stream."""
    return segment.partition(":")[0].strip(" ")


def portability_of(path: str) -> tuple[Portability, ...]:
    """What some systems cannot store about a path that is not rejected, in the order of Portability."""
    if _is_plain(path):
        return ()
    segments = _segments(path)
    folded = segments if path.isascii() else _segments(_nfkc(path))
    marks = {
        Portability.DEVICE_NAME: any(map(_is_device, {*segments, *folded})),
        Portability.TRAILING_DOT_OR_SPACE: any(name.endswith((".", " ")) for name in folded),
        Portability.RESERVED_CHARACTER: not _RESERVED.isdisjoint(path),
        Portability.COLON: _RATIO in path or any(":" in name for name in folded),
        Portability.NOT_NORMALIZED: _nfc(path) != path,
        Portability.DECEPTIVE_CHARACTER: not _DECEPTIVE.isdisjoint(path),
        Portability.EMPTY_SEGMENT: "" in segments,
        Portability.HOME_FOLDER: segments[0].startswith("~"),
        Portability.LONG_SEGMENT: any(
            len(segment.encode()) > MAX_PORTABLE_SEGMENT_BYTES for segment in segments
        ),
    }
    return tuple(mark for mark, holds in marks.items() if holds)


def _is_device(segment: str) -> bool:
    return segment.partition(".")[0].partition(":")[0].rstrip(" ").casefold() in _DEVICES


def path_key(path: str) -> str:
    """A key that is equal for paths that are the same file on some system: without case, normalisation, what
    is ignored, dots and spaces at a segment's end, empty segments, and the slash at the start."""
    folded = path.casefold() if path.isascii() else _nfc(_nfd(path).translate(_IGNORED).casefold())
    return "/".join(name for segment in folded.split("/") if (name := segment.rstrip(". ")))


def _exact_key(path: str) -> str:
    """The same for a system that keeps all names apart."""
    return "/".join(name for name in path.split("/") if name)


def neighbour_marks(paths: Sequence[str]) -> dict[str, set[Portability]]:
    """The marks that paths have because of each other: COLLISION, ABOVE_A_FILE and UNDER_A_FILE."""
    marks: dict[str, set[Portability]] = {}
    for key_of in (path_key, _exact_key):
        by_key: dict[str, list[str]] = {}
        for path in paths:
            by_key.setdefault(key_of(path), []).append(path)
        _mark_neighbours(by_key, marks)
    return marks


def _mark_neighbours(by_key: Mapping[str, list[str]], marks: dict[str, set[Portability]]) -> None:
    def mark(keys: Iterable[str], portability: Portability) -> None:
        for key in keys:
            for path in by_key[key]:
                marks.setdefault(path, set()).add(portability)

    #: Each key that is above or under another, once: there may be thousands of paths on both sides.
    above: set[str] = set()
    under: set[str] = set()
    for key in by_key:
        folder, files = key.rpartition("/")[0], []
        while folder:
            if folder in by_key:
                files.append(folder)
            folder = folder.rpartition("/")[0]
        if files:
            above.update(files)
            under.add(key)
    mark((key for key, same in by_key.items() if len(same) > 1), Portability.COLLISION)
    mark(above, Portability.ABOVE_A_FILE)
    mark(under, Portability.UNDER_A_FILE)


def portability_marks(paths: Sequence[str]) -> dict[str, tuple[Portability, ...]]:
    """The marks of paths that are not rejected, in the order of Portability; portable paths are left out."""
    by_path = neighbour_marks(paths)
    order = list(Portability)
    return {
        path: marks
        for path in paths
        if (marks := tuple(sorted({*portability_of(path), *by_path.get(path, ())}, key=order.index)))
    }


def strict_fault(paths: Sequence[str]) -> tuple[str, str] | None:
    """The first of the paths, in path order, that is not absolute or not valid on every system, with the code
    of what is wrong with it; None if there is none."""
    for path in sorted(paths):
        if not path.startswith("/"):
            return path, "not_absolute"
        rejection = rejection_of(path)
        if rejection is not None:
            return path, rejection.value
    marks = portability_marks(sorted(paths))
    return next(((path, found[0].value) for path, found in marks.items()), None)
