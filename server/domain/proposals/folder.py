"""Where files with the runtime's paths are in a folder: in a patch, and in an archive."""

from __future__ import annotations

from collections.abc import Iterable


def folder_names(paths: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """The names that files have in a folder, by path in path order, and the paths that have no place there.

    A name has no slash at its start and no empty segments. The first of several files with one name gets it,
    and a file does not get the name of a folder above or below another one.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    folders: set[str] = set()
    lost: list[str] = []
    for path in sorted(paths):
        segments = [segment for segment in path.split("/") if segment]
        name = "/".join(segments)
        above = {"/".join(segments[:count]) for count in range(1, len(segments))}
        if not name or name in taken or name in folders or not above.isdisjoint(taken):
            lost.append(path)
        else:
            names[path] = name
            taken.add(name)
            folders |= above
    return names, lost
