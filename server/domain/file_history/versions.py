"""What the changes of files make: the tree of files, and the versions of one file. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from server.domain.journal.file_index import IndexedChange
from server.encoding.json_text import replace_surrogates

#: What Python needs for a file of the tree, besides its path.
_FILE_BYTES = 500
#: About the bytes of a file in a page, besides its path and its tool call.
_SHOWN_BYTES = 250


def is_shown_as(path: str, shown: str) -> bool:
    """Whether callers see `path` as `shown`. They cannot name lone surrogates, which they see as U+FFFD."""
    return path == shown or replace_surrogates(path) == shown


class Tree:
    """The files that there are after the changes taken, or only those that are shown as one path."""

    def __init__(self, path: str | None = None) -> None:
        self._path = path
        self._files: dict[str, IndexedChange] = {}

    def take(self, change: IndexedChange) -> None:
        """Apply the next change."""
        if self._path is not None and not is_shown_as(change.path, self._path):
            return
        if not change.sha256:
            self._files.pop(change.path, None)
        else:
            self._files[change.path] = change

    @property
    def size_bytes(self) -> int:
        """About the bytes that it takes."""
        return _FILE_BYTES * len(self._files) + sum(map(len, self._files))

    def page(self, offset: int, limit: int, max_bytes: int) -> tuple[Sequence[IndexedChange], bool]:
        """The files in path order from the `offset`-th on: at most `limit`, and about `max_bytes` of them, at
        least one if there is any. And whether there are more."""
        paths = sorted(self._files)[offset:]
        page: list[IndexedChange] = []
        left = max_bytes
        for path in paths[:limit]:
            file = self._files[path]
            left -= _SHOWN_BYTES + len(path.encode("utf-8", "surrogatepass")) + len(file.tool_call_id)
            if page and left < 0:
                break
            page.append(file)
        return page, len(paths) > len(page)


class FileVersions:
    """The changes of the file that is shown as one path."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._changes: dict[str, list[IndexedChange]] = {}

    def take(self, change: IndexedChange) -> None:
        """Note the next change."""
        if is_shown_as(change.path, self._path):
            self._changes.setdefault(change.path, []).append(change)

    def newest_first(self, after_seq: int) -> Sequence[IndexedChange]:
        """The versions since the file was made, or made again; empty when it is deleted.

        One that changes no content is not a version, and of those up to `after_seq` there is only the last.
        """
        # Two paths may be shown as the same: then the one that is exactly this goes first.
        paths = sorted(self._changes, key=lambda path: (path != self._path, path))
        versions: list[IndexedChange] = []
        for change in self._changes[paths[0]] if paths else ():
            if not change.sha256:
                versions.clear()
            elif not versions or versions[-1].sha256 != change.sha256:
                versions.append(change)
        hidden = sum(change.seq <= after_seq for change in versions)
        return versions[max(hidden - 1, 0) :][::-1]
