"""The files of a run, read from the `files` value of each state frame."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from server.domain.journal.events import FileChange, UnreadFile
from server.domain.proposals.files import File, FileSet, NotAFile
from server.encoding.frame_delta import FILES_PLACEHOLDER, MEMBERS_PLACEHOLDER
from server.encoding.json_text import dump
from server.frames.file_maps import read_file


class RunFiles:
    """The files of a run, and the entries of its file map that are not files."""

    def __init__(self) -> None:
        self._files: dict[str, File] = {}
        #: The last JSON text of each file, so that an unchanged file is not read again.
        self._texts: dict[str, bytes] = {}
        self._unread: dict[str, bytes] = {}
        self._seen = False
        #: Whether the last value was not a file map.
        self._map_unread = False

    @property
    def current(self) -> FileSet:
        """The files as of the last frame."""
        return FileSet(dict(self._files), self._seen, dict(self._unread))

    @property
    def partly_unread(self) -> bool:
        """Whether the last value could not be read, or not wholly: the files are older then."""
        return self._map_unread or bool(self._unread)

    def note_unreadable_map(self) -> None:
        """The next value is not a file map. The files stay."""
        self._map_unread = True

    def read(self, entries: Mapping[str, bytes]) -> tuple[tuple[FileChange, ...], tuple[UnreadFile, ...]]:
        """Apply a whole file map: the changes, and the new entries that are not files."""
        self._seen, self._map_unread = True, False
        files: dict[str, File] = {}
        unread: dict[str, bytes] = {}
        for path, text in entries.items():
            if text == self._texts.get(path):
                files[path] = self._files[path]
            elif text != b"null":
                try:
                    files[path] = read_file(text)
                except NotAFile:
                    unread[path] = text
        changes = self._difference(files, unread.keys())
        self._texts = {path: entries[path] for path in files}
        return changes, self._note_unread(unread)

    def adopt(self, files: Mapping[str, File]) -> tuple[tuple[FileChange, ...], tuple[UnreadFile, ...]]:
        """Apply the files of a state answer: as `read`."""
        self._seen = True
        unread = {path: file.content for path, file in files.items() if file.unreadable}
        readable = {path: file for path, file in files.items() if not file.unreadable}
        return self._difference(readable, unread.keys()), self._note_unread(unread)

    def restore(self, changes: Collection[FileChange]) -> None:
        """Apply journalled changes."""
        for change in changes:
            self._put(change.path, change.file)
        self._seen = self._seen or bool(changes)

    def restore_map(self, entries: Mapping[str, bytes]) -> None:
        """Apply what a journalled file map has beside its files: entries that are not files."""
        self._seen, self._map_unread = True, False
        self._unread = dict(entries)

    def restore_unread(self, unread: Collection[UnreadFile]) -> None:
        """Apply journalled entries of a state answer that are not files."""
        self._unread |= {entry.path: entry.json.encode() for entry in unread}

    def skeleton(self) -> bytes:
        """The file map with a placeholder for the files."""
        if not self._unread:
            return FILES_PLACEHOLDER
        entries = b",".join(dump(path) + b":" + text for path, text in self._unread.items())
        return b"{" + MEMBERS_PLACEHOLDER + entries + b"}"

    def _note_unread(self, unread: dict[str, bytes]) -> tuple[UnreadFile, ...]:
        """Replace the entries that are not files. Returns the new ones in path order."""
        known, self._unread = self._unread, unread
        return tuple(
            UnreadFile(path, text.decode())
            for path, text in sorted(unread.items())
            if known.get(path) != text
        )

    def _difference(self, files: Mapping[str, File], unread: Collection[str]) -> tuple[FileChange, ...]:
        """Replace the files by `files`. Returns the changes in path order. Files at `unread` paths stay."""
        changes, known = [], self._files
        paths = [path for path in files.keys() | known.keys() if files.get(path) is not known.get(path)]
        for path in sorted(paths):
            old, new = known.get(path), files.get(path)
            if old == new or (new is None and path in unread):
                continue
            self._put(path, new)
            changes.append(FileChange(path, new, added=old is None))
        return tuple(changes)

    def _put(self, path: str, file: File | None) -> None:
        self._texts.pop(path, None)
        if file is None:
            self._files.pop(path, None)
        else:
            self._files[path] = file
