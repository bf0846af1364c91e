"""Where files with the runtime's paths are in a folder: in a patch, and in an archive."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable

#: Takes the place of slashes where names are compared: it sorts before any other character, so that what is
#: in a folder follows it. No name has it.
_SEPARATOR = "\0"


def folder_names(paths: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """The names that files have in a folder, by path in path order, and the paths that have no place there.

    A name has no slash at its start and no empty segments. The first of several files with one name gets it,
    and a file does not get the name of a folder above or below another one. Takes a tenth of a second for
    the most files that there may be.
    """
    names: dict[str, str] = {}
    #: The names, in order, with the separator.
    taken: list[str] = []
    lost: list[str] = []
    for path in sorted(paths):
        segments = [segment for segment in path.split("/") if segment]
        key = _SEPARATOR.join(segments)
        at = bisect_left(taken, key)
        if (
            not key
            or _SEPARATOR in path
            or _is_at(key, taken[at : at + 1])
            or _is_below(key, taken[max(at - 1, 0) : at])
        ):
            lost.append(path)
        else:
            names[path] = "/".join(segments)
            insort(taken, key)
    return names, lost


def _is_at(key: str, following: list[str]) -> bool:
    """Whether the name that follows in order is this one, or in a folder of this name."""
    return any(each == key or each.startswith(key + _SEPARATOR) for each in following)


def _is_below(key: str, before: list[str]) -> bool:
    """Whether the name before is that of a folder above: nothing else below it is taken."""
    return any(key.startswith(each + _SEPARATOR) for each in before)
