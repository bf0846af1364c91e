"""Which files of a run are a proposal's files, and which it rejects (ADR 0019). No file is lost."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from server.domain.proposals.files import File, FileSet
from server.domain.proposals.paths import Portability, Rejection, portability_marks, rejection_of
from server.encoding.json_text import dump, replace_surrogates

#: Maximum number of files in one proposal, and of bytes in all of them together.
MAX_FILES, MAX_FILES_BYTES = 5_000, 64 << 20
#: Maximum number of rejected files that are listed one by one.
MAX_REJECTED = 5_000
#: How many characters of a rejected path are shown: it may have any length.
MAX_SHOWN_CHARS = 1024


@dataclass(frozen=True, slots=True)
class RejectedFile:
    """A file of the run that is not among the proposal's files.

    reason: a `Rejection`, or a code of an earlier release. sha256 (lower-case hex) and size_bytes: of the
    content, by which it is read; None for a proposal that an earlier release finished. The content of an
    unreadable file is its JSON text.
    """

    path: str
    reason: str
    sha256: str | None = None
    size_bytes: int | None = None

    @property
    def shown_path(self) -> str:
        """The path as callers get it, and name the file by it."""
        return replace_surrogates(self.path[:MAX_SHOWN_CHARS])

    @property
    def path_id(self) -> str | None:
        """Names the file where several are shown with one path; None for one whose whole path is shown."""
        if self.path == self.shown_path:
            return None
        return hashlib.sha256(self.path.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class ProposalFiles:
    """The files of a run as its proposal has them, in path order.

    kept: the proposal's files. portability: the marks of those that not every system can store. contents:
    those of all files, also of the rejected ones, by their SHA-256 in lower-case hex.
    """

    kept: Mapping[str, File] = field(default_factory=dict)
    portability: Mapping[str, tuple[Portability, ...]] = field(default_factory=dict)
    rejected: tuple[RejectedFile, ...] = ()
    contents: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def sizes(self) -> Iterator[int]:
        """Bytes of each file with its path, also of the rejected ones."""
        yield from (len(path) + file.size_bytes for path, file in self.kept.items())
        yield from (len(each.path) + (each.size_bytes or 0) for each in self.rejected)


def partition_files(
    files: FileSet, *, max_files: int = MAX_FILES, max_bytes: int = MAX_FILES_BYTES
) -> ProposalFiles:
    """The proposal's files and the rejected ones. Takes seconds for the largest sets.

    Rejected files beyond `MAX_REJECTED` are one entry without a path, whose content is their JSON text.
    """
    kept: dict[str, File] = {}
    rejected: list[tuple[str, Rejection, bytes]] = []
    size = 0
    for path in sorted(files.by_path):
        file = files.by_path[path]
        reason = Rejection.TOO_MANY_FILES if len(kept) >= max_files else rejection_of(path)
        if reason is None and size + len(file.content) > max_bytes:
            reason = Rejection.TOO_LARGE
        if reason is None:
            kept[path] = file
            size += len(file.content)
        else:
            rejected.append((path, reason, file.content))
    rejected += [(path, Rejection.UNREADABLE, text) for path, text in files.unread.items()]
    rejected.sort(key=lambda entry: entry[0])
    contents = {file.sha256: file.content for file in kept.values()}
    listed = []
    for path, reason, content in _bounded(rejected, files):
        sha256 = hashlib.sha256(content).hexdigest()
        contents[sha256] = content
        listed.append(RejectedFile(path, reason.value, sha256, len(content)))
    return ProposalFiles(kept, portability_marks(list(kept)), tuple(listed), contents)


def _bounded(
    rejected: list[tuple[str, Rejection, bytes]], files: FileSet
) -> Iterator[tuple[str, Rejection, bytes]]:
    yield from rejected[:MAX_REJECTED]
    rest = rejected[MAX_REJECTED:]
    if rest:
        yield "", Rejection.TOO_MANY_FILES, _together(rest, files)


def _together(rejected: Iterable[tuple[str, Rejection, bytes]], files: FileSet) -> bytes:
    """The JSON text of an object of these files, of which there may be a hundred thousand."""
    text = bytearray(b"{")
    for path, reason, content in rejected:
        parts = [content] if reason is Rejection.UNREADABLE else files.by_path[path].legacy_json_parts()
        text += (b"," if len(text) > 1 else b"") + dump(path) + b":"
        for part in parts:
            text += part
    return bytes(text + b"}")
