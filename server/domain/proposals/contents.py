"""The contents of a proposal's files, read by their hash in pieces of bounded size."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from server.domain.errors import InvalidArgument
from server.domain.model import Principal

#: Maximum bytes of a piece.
PIECE_BYTES = 1 << 20
#: Bytes up to which a content is small, and how many of these are read together: thousands of small files
#: would take a statement each. Together they are packed in a turn of the event loop, in 2 ms.
SMALL_CONTENT_BYTES, CONTENTS_TOGETHER = 4 << 10, 16


@dataclass(frozen=True, slots=True)
class ContentPiece:
    """A part of a file's content: its bytes from `offset` on. size_bytes: the size of the whole content."""

    data: bytes
    offset: int
    size_bytes: int

    @property
    def end(self) -> int:
        """The offset of the next piece."""
        return self.offset + len(self.data)


class ContentStore(Protocol):
    """The contents of what holds files: of proposals, with those that they reject, or of drafts."""

    async def read_content(
        self, principal: Principal, holder_id: UUID, sha256: str, /, *, offset: int, max_bytes: int
    ) -> ContentPiece:
        """At most `max_bytes` of the content with the hash `sha256` (lower-case hex), from `offset` on.

        The piece is empty at the content's end and after it. Raises NotFound when the principal may not see
        the holder or it has no such content, DatabaseUnavailable.
        """
        ...


class ArchivedStore(ContentStore, Protocol):
    """One whose contents are read one after the other, for archives."""

    async def read_small(
        self, principal: Principal, holder_id: UUID, hashes: Sequence[str], /
    ) -> Mapping[str, bytes]:
        """Those of the contents with these hashes that have at most SMALL_CONTENT_BYTES, by hash. None when
        the principal may not see the holder. Raises DatabaseUnavailable."""
        ...


async def read_pieces(
    store: ContentStore, principal: Principal, holder_id: UUID, sha256: str, *, offset: int = 0
) -> AsyncIterator[ContentPiece]:
    """The content from `offset` to its end: at least one piece, which may be empty.

    Each piece is read when it is asked for, with the rights that the principal has then. Raises as
    `ContentStore.read_content`, and InvalidArgument for an offset after the end.
    """
    while True:
        piece = await store.read_content(principal, holder_id, sha256, offset=offset, max_bytes=PIECE_BYTES)
        if offset > piece.size_bytes:
            raise InvalidArgument({"offset": f"must be at most {piece.size_bytes}, the size of the content"})
        yield piece
        offset = piece.end
        if offset >= piece.size_bytes:
            return
