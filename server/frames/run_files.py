"""The files of a run, read from the `files` value of each state frame."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from heapq import merge
from typing import Self, TypeAlias

from server.domain.journal.events import FileChange, UnreadFile
from server.domain.proposals.files import File, FileSet, NotAFile
from server.encoding.frame_delta import FILES_PLACEHOLDER, MEMBERS_PLACEHOLDER
from server.encoding.json_text import dump
from server.frames.file_maps import ReadTextFile, left_to_parser, read_file

#: Contents of fewer bytes are kept in any case: what takes their place is not much smaller.
MIN_RELEASED_BYTES = 1 << 10
#: What Python needs for a file with a path of usual length, besides content and JSON text.
_ENTRY_BYTES = 700
#: Paths that are sorted in one call.
_SORTED_AT_ONCE = 20_000
#: Bytes of the entries of a file map that are not files, at most. They are kept until the run ends, because
#: they are among its files then.
MAX_UNREAD_BYTES = 1 << 20


class TooMuchUnread(Exception):
    """A file map has more entries that are not files than a run remembers."""


class _Digest(bytes):
    """Stands for a text that is no longer kept."""

    @classmethod
    def of(cls, text: bytes) -> Self:
        """That of a text."""
        return cls(blake2b(text, digest_size=32).digest())


@dataclass(frozen=True, slots=True)
class _Released:
    """A file that is no longer kept: event `seq` of the journal has it. digest: of all of the file."""

    seq: int
    digest: bytes

    @classmethod
    def of(cls, file: File, seq: int) -> _Released:
        return cls(seq, _digest_of(file))


@dataclass(frozen=True, slots=True)
class Differing:
    """How a file map differs from another one: it has the same paths, and other entries at some of them."""

    last: Mapping[str, bytes]
    paths: Collection[str]


#: The path of a file, its entry of the file map, and the file.
ChangedFile: TypeAlias = tuple[str, bytes, File]


class RunFiles:
    """The files of a run, and the entries of its file map that are not files."""

    def __init__(self) -> None:
        self._files: dict[str, File | _Released] = {}
        #: The last JSON text of each file, so that an unchanged file is not read again.
        self._texts: dict[str, bytes] = {}
        #: Bytes of the contents and of the texts.
        self._content_bytes = self._text_bytes = 0
        self._unread: dict[str, bytes] = {}
        self._seen = False
        #: The last file map that was read, while nothing else has changed the files, all of which are kept.
        self._last: Mapping[str, bytes] | None = None
        #: Whether the last value was not a file map.
        self._map_unread = False

    @property
    def current(self) -> FileSet:
        """The files as of the last frame, without those that were released."""
        files = {path: file for path, file in self._files.items() if isinstance(file, File)}
        return FileSet(files, self._seen, dict(self._unread))

    @property
    def released(self) -> dict[str, int]:
        """The paths of the files that were released, and the seqs of the events that have them."""
        return {path: file.seq for path, file in self._files.items() if isinstance(file, _Released)}

    @property
    def any(self) -> bool:
        """Whether there is a file, or an entry that is not one."""
        return bool(self._files or self._unread)

    @property
    def seen(self) -> bool:
        """Whether a file map was read."""
        return self._seen

    @property
    def size_bytes(self) -> int:
        """Bytes of the contents and JSON texts that are kept."""
        return self._content_bytes + self._text_bytes

    @property
    def entry_bytes(self) -> int:
        """About the bytes that the files take besides."""
        files_bytes = _ENTRY_BYTES * len(self._files)
        if not self._unread:
            return files_bytes
        return files_bytes + sum(_ENTRY_BYTES + len(text) for text in self._unread.values())

    def release(self, seq: int, changes: Iterable[FileChange]) -> None:
        """Keep only digests of files that event `seq` of the journal has: these changes of it."""
        self._last = None
        for path, file in ((change.path, change.file) for change in changes):
            if file is None or len(file.content) < MIN_RELEASED_BYTES or self._files.get(path) is not file:
                continue
            self._files[path] = _Released.of(file, seq)
            self._content_bytes -= len(file.content)
            text = self._texts.get(path)
            if text is not None and not isinstance(text, _Digest):
                self._texts[path] = _Digest.of(text)
                self._text_bytes += len(self._texts[path]) - len(text)

    def drop(self) -> None:
        """Forget everything, one file after the other: other threads run between two of them."""
        self._last = None
        for held in (self._files, self._texts, self._unread):
            while held:
                held.popitem()

    @property
    def partly_unread(self) -> bool:
        """Whether the last value could not be read, or not wholly: the files are older then."""
        return self._map_unread or bool(self._unread)

    def note_unreadable_map(self) -> None:
        """The next value is not a file map. The files stay."""
        self._map_unread = True

    def read(
        self,
        entries: Mapping[str, bytes],
        differing: Differing | None = None,
        read_text: ReadTextFile = left_to_parser,
    ) -> tuple[tuple[FileChange, ...], tuple[UnreadFile, ...]]:
        """Apply a whole file map: the changes, and the new entries that are not files. differing: how it
        differs from another one, if that is known. read_text: as in `read_file`.

        Raises TooMuchUnread, and applies nothing then.
        """
        found = None if differing is None else self.read_differing(entries, differing, read_text)
        if found is not None:
            return found, ()
        files: dict[str, File | _Released] = {}
        unread: dict[str, bytes] = {}
        texts: dict[str, bytes] = {}
        any_released = False
        for path, text in entries.items():
            known = self._texts.get(path)
            if known == text:
                # Most are the same.
                files[path], texts[path] = self._files[path], text
                continue
            released = isinstance(known, _Digest) or isinstance(self._files.get(path), _Released)
            any_released |= released
            texts[path] = _Digest.of(text) if released else text
            if texts[path] == known:
                files[path] = self._files[path]
            elif text != b"null":
                try:
                    files[path] = read_file(text, read_text)
                except NotAFile:
                    unread[path] = text
        if sum(len(path) + len(text) for path, text in unread.items()) > MAX_UNREAD_BYTES:
            raise TooMuchUnread
        self._seen, self._map_unread = True, False
        changes = self._difference(files, unread.keys())
        self._texts = {path: texts[path] for path in files}
        self._text_bytes = sum(map(len, self._texts.values()))
        self._last = None if unread or any_released else entries
        return changes, self._note_unread(unread)

    def read_differing(
        self, entries: Mapping[str, bytes], differing: Differing, read_text: ReadTextFile
    ) -> tuple[FileChange, ...] | None:
        """As `read`, for a file map all of whose entries are files, as all of the last one's were; None, and
        nothing is applied, for others, and if it differs from another one than the last."""
        if differing.last is not self._last:
            return None
        files = list[tuple[str, File | _Released, File]]()
        for path in sorted(differing.paths):
            old = self._files.get(path)
            if old is None or entries[path] == b"null":
                return None
            try:
                files.append((path, old, read_file(entries[path], read_text)))
            except NotAFile:
                return None
        changes = []
        for path, old, new in files:
            if _is_same(old, new):
                self._text_bytes -= len(self._texts.pop(path))
            else:
                self._put(path, new)
                changes.append(FileChange(path, new, added=False))
            self._texts[path] = entries[path]
            self._text_bytes += len(entries[path])
        self._last, self._map_unread = entries, False
        return tuple(changes)

    def are_those_of(self, entries: Mapping[str, bytes]) -> bool:
        """Whether this is the last file map that was read, and all of its files are kept."""
        return entries is self._last

    def replace(self, changed: Sequence[ChangedFile]) -> bool:
        """Apply other entries of that file map, which has them from now on. Returns whether all of their
        files differ from those before; otherwise nothing is applied."""
        for path, _, file in changed:
            old = self._files.get(path)
            if not isinstance(old, File) or old == file:
                return False
        for path, entry, file in changed:
            self._put(path, file)
            self._texts[path] = entry
            self._text_bytes += len(entry)
        self._map_unread = False
        return True

    def adopt(
        self, files: Mapping[str, File], *, complete: bool
    ) -> tuple[tuple[FileChange, ...], tuple[UnreadFile, ...]]:
        """Apply the files of a state answer: as `read`. complete: there are no others."""
        self._seen, self._last = True, None
        unread = {path: file.content for path, file in files.items() if file.unreadable}
        readable: dict[str, File | _Released] = {
            path: file for path, file in files.items() if not file.unreadable
        }
        if not complete:
            readable = {**{path: file for path, file in self._files.items() if path not in files}, **readable}
            unread = {**{path: text for path, text in self._unread.items() if path not in files}, **unread}
        return self._difference(readable, unread.keys()), self._note_unread(unread)

    def restore(self, changes: Collection[FileChange]) -> None:
        """Apply journalled changes."""
        self._last = None
        for change in changes:
            self._put(change.path, change.file)
        self._seen = self._seen or bool(changes)

    def restore_map(self, entries: Mapping[str, bytes]) -> None:
        """Apply what a journalled file map has beside its files: entries that are not files."""
        self._seen, self._map_unread = True, False
        self._unread, self._last = dict(entries), None

    def restore_unread(self, unread: Collection[UnreadFile]) -> None:
        """Apply journalled entries of a state answer that are not files."""
        self._unread |= {entry.path: entry.json.encode() for entry in unread}
        self._last = None

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

    def _difference(
        self, files: Mapping[str, File | _Released], unread: Collection[str]
    ) -> tuple[FileChange, ...]:
        """Replace the files by `files`. Returns the changes in path order. Files at `unread` paths stay."""
        changes, known = [], self._files
        paths = [path for path in files if files[path] is not known.get(path)]
        paths += [path for path in known if path not in files]
        for path in _sorted(paths):
            old, new = known.get(path), files.get(path)
            # One that was released is in `files` only if it is the same.
            assert not isinstance(new, _Released)
            if _is_same(old, new) or (new is None and path in unread):
                continue
            self._put(path, new)
            changes.append(FileChange(path, new, added=old is None))
        return tuple(changes)

    def _put(self, path: str, file: File | None) -> None:
        self._text_bytes -= len(self._texts.pop(path, b""))
        old = self._files.pop(path, None) if file is None else self._files.get(path)
        if isinstance(old, File):
            self._content_bytes -= len(old.content)
        if file is not None:
            self._files[path] = file
            self._content_bytes += len(file.content)


def _sorted(paths: list[str]) -> Iterable[str]:
    """The paths in order. To sort a hundred thousand would be one call, during which no other thread runs."""
    if len(paths) <= _SORTED_AT_ONCE:
        return sorted(paths)
    return merge(*(sorted(paths[at : at + _SORTED_AT_ONCE]) for at in range(0, len(paths), _SORTED_AT_ONCE)))


def _is_same(old: File | _Released | None, new: File | None) -> bool:
    if isinstance(old, _Released):
        return new is not None and old.digest == _digest_of(new)
    return old == new


def _digest_of(file: File) -> bytes:
    """A digest of all that a file has."""
    members = [file.sha256, file.is_text, file.times, dict(file.extra), file.unreadable]
    return _Digest.of(dump(members))
