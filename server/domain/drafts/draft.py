"""Drafts: a workflow's spec files, in versions that never change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from server.domain.etags import strong_etag
from server.encoding.json_text import byte_pieces, decode_surrogates

#: Bytes of a content that are looked at in one call.
_PIECE_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class DraftVersion:
    """Names a version of a draft."""

    draft_id: UUID
    version: int


class DraftFile(NamedTuple):
    """A file of a draft at a version. A tuple: one of thousands takes a quarter of the time to make.

    sha256: of the content, lower-case hex. modified_at: when the version was made that wrote it last.
    content: None when it was not read.
    """

    path: str
    sha256: str
    size_bytes: int
    modified_at: datetime
    content: bytes | None = None

    @property
    def text(self) -> str | None:
        """The content as text, with the lone surrogates that it holds as WTF-8; None when it is not text, or
        was not read. Made each time: kept, it would take up to four times the content's bytes."""
        return None if self.content is None else text_of(self.content)

    @property
    def is_text(self) -> bool:
        """Whether there is a `text`."""
        return self.content is not None and is_text(self.content)


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft at one of its versions, which count from 1.

    etag: of the newest version. proposal_id: the proposal that this version came from. restored_version: the
    version whose files it has again, 0 for none. files: by path; empty where only the version is described.
    """

    id: UUID
    workflow_id: UUID
    version: int
    latest_version: int
    etag: str
    created_at: datetime
    created_by_user_id: UUID
    proposal_id: UUID | None = None
    restored_version: int = 0
    files: Mapping[str, DraftFile] = field(default_factory=dict)


def text_of(content: bytes) -> str | None:
    """The text of a content, as `DraftFile.text`."""
    try:
        return decode_surrogates(content)
    except UnicodeDecodeError:
        return None


def is_text(content: bytes) -> bool:
    """Whether a content has a text, which is not made as a whole."""
    return all(text_of(piece) is not None for piece in byte_pieces(content, _PIECE_BYTES))


def text_paths(files: Mapping[str, DraftFile]) -> set[str]:
    """The paths of files that are text. One whose text has lone surrogates takes 50 ms for a MiB."""
    return {path for path, file in files.items() if file.is_text}


def texts_of(files: Mapping[str, DraftFile]) -> dict[str, str]:
    """The texts of files whose contents were read, by path; files that are not text are left out."""
    texts = ((path, file.text) for path, file in files.items())
    return {path: text for path, text in texts if text is not None}


def sizes_of(files: Mapping[str, DraftFile]) -> Iterator[int]:
    """Bytes of each file with its path, as far as they were read."""
    return (len(path) + len(file.content or b"") for path, file in files.items())


def etag_of(draft_id: UUID, version: int, created_at: datetime) -> str:
    """The strong etag of a draft whose newest version is this one."""
    return strong_etag(version, draft_id, version, f"{created_at.timestamp():.6f}")
