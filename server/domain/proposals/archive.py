"""Files of a proposal or a draft as a zip archive, made while it is sent: only a few pieces are in memory."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from typing_extensions import override

from server.domain.drafts.draft import Draft
from server.domain.errors import Conflict
from server.domain.model import Principal, Proposal
from server.domain.off_loop import REQUESTS, SMALL_BYTES
from server.domain.proposals.contents import CONTENTS_TOGETHER, ArchivedStore, read_pieces
from server.domain.proposals.folder import folder_names
from server.domain.proposals.paths import portability_marks

#: Longest comment: the format's own.
MAX_COMMENT_BYTES = 65_535
#: The first and the last second that an entry's time can have, two apart.
_FIRST, _LAST = (1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58)
#: How many times a name is in memory, and what Python needs for a file besides.
_NAME_COPIES, _FILE_BYTES = 6, 1_500
#: A plain file that its owner may write and everybody may read.
_MODE = 0o100644 << 16


@dataclass(frozen=True, slots=True)
class ArchivedFiles:
    """The files of an archive.

    holder_id: the proposal or draft that has the contents. hashes: SHA-256 of each content (hex), by path.
    at: the time of every entry. portability: the marks of paths that have some.
    """

    holder_id: UUID
    hashes: Mapping[str, str]
    at: datetime
    portability: Mapping[str, Sequence[str]]

    @property
    def size_bytes(self) -> int:
        """About the bytes that the archive takes while it is made, besides its contents: it keeps all names
        until its end."""
        return _NAME_COPIES * sum(map(len, self.hashes)) + _FILE_BYTES * len(self.hashes)

    @classmethod
    def of_proposal(cls, proposal: Proposal) -> ArchivedFiles:
        """Those of a proposal that was read with `listed_files`. Raises Conflict while its run goes on."""
        if not proposal.status.terminal:
            raise Conflict("the run has not ended: its proposal has no files yet")
        hashes = {path: file.sha256 for path, file in proposal.listed_files.items()}
        return cls(proposal.id, hashes, proposal.completed_at or proposal.created_at, proposal.portability)

    @classmethod
    def of_draft(cls, draft: Draft) -> ArchivedFiles:
        """Those of a draft at a version."""
        hashes = {path: file.sha256 for path, file in draft.files.items()}
        return cls(draft.id, hashes, draft.created_at, portability_marks(sorted(hashes)))


class _Parts(io.RawIOBase):
    """Where the archive is written: bytes that have not been sent yet."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self.size_bytes = 0

    @override
    def writable(self) -> bool:
        return True

    @override
    def write(self, data: Any, /) -> int:
        self._parts.append(bytes(data))
        self.size_bytes += len(data)
        return len(data)

    def take(self) -> bytes:
        """What was written since the last call."""
        taken = b"".join(self._parts)
        self._parts.clear()
        self.size_bytes = 0
        return taken


async def archive_pieces(
    store: ArchivedStore, principal: Principal, files: ArchivedFiles
) -> AsyncGenerator[bytes, None]:
    """The archive: pieces of at most about 1 MiB, none of them empty.

    Its comment names the files that have marks of portability, and those that are not in it. Each content is
    read when its turn comes, small ones with those that follow, with the rights that the principal has then;
    that raises as `ContentStore.read_content`.
    """
    names, comment = await REQUESTS.run_unless_small(map(len, files.hashes), _names_and_comment, files)
    parts = _Parts()
    archive = zipfile.ZipFile(parts, "w")
    archive.comment = comment
    paths = list(names)
    for start in range(0, len(paths), CONTENTS_TOGETHER):
        together = {path: files.hashes[path] for path in paths[start : start + CONTENTS_TOGETHER]}
        small = await store.read_small(principal, files.holder_id, list(together.values()))
        for path, sha256 in together.items():
            with archive.open(_entry(names[path], files.at), "w") as entry:
                if sha256 in small:
                    entry.write(small[sha256])
                    continue
                async for piece in read_pieces(store, principal, files.holder_id, sha256):
                    await REQUESTS.run_unless_small([len(piece.data)], entry.write, piece.data)
                    if parts.size_bytes > SMALL_BYTES:
                        yield parts.take()
        if parts.size_bytes > SMALL_BYTES:
            yield parts.take()
    await REQUESTS.run(archive.close)
    yield parts.take()


def _names_and_comment(files: ArchivedFiles) -> tuple[dict[str, str], bytes]:
    names, lost = folder_names(files.hashes)
    return names, archive_comment(files.portability, lost)


def _entry(name: str, at: datetime) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, min(max(at.timetuple()[:6], _FIRST), _LAST))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = _MODE
    return entry


def archive_comment(portability: Mapping[str, Sequence[str]], lost: Sequence[str]) -> bytes:
    """What somebody who unpacks the archive should know about its names: a line of ASCII for each file, as
    many as fit. Paths are as in a Python string, because programs show a comment as it is."""
    lines = [f"{path!a}: not in the archive, no folder holds it beside another file" for path in lost]
    lines += [
        f"{path!a}: not for every system ({', '.join(marks)})"
        for path, marks in sorted(portability.items())
        if path not in lost
    ]
    kept: list[str] = []
    room = MAX_COMMENT_BYTES - len(f"and {len(lines)} more files")
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            kept.append(f"and {len(lines) - len(kept)} more files")
            break
        kept.append(line)
    return "\n".join(kept).encode("ascii")
