"""Drafts: a workflow's spec files, in versions that never change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from uuid import UUID

from server.domain.etags import strong_etag
from server.encoding.json_text import decode_surrogates


@dataclass(frozen=True, slots=True)
class DraftVersion:
    """Names a version of a draft."""

    draft_id: UUID
    version: int


@dataclass(frozen=True)
class DraftFile:
    """A file of a draft at a version.

    sha256: of the content, lower-case hex. modified_at: when the version was made that wrote it last.
    content: None when it was not read.
    """

    path: str
    sha256: str
    size_bytes: int
    modified_at: datetime
    content: bytes | None = None

    @cached_property
    def text(self) -> str | None:
        """The content as text, with the lone surrogates that it holds as WTF-8; None when it is not text, or
        was not read."""
        if self.content is None:
            return None
        try:
            return decode_surrogates(self.content)
        except UnicodeDecodeError:
            return None


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


def texts_of(files: Mapping[str, DraftFile]) -> dict[str, str]:
    """The texts of files whose contents were read, by path; files that are not text are left out."""
    return {path: file.text for path, file in files.items() if file.text is not None}


def etag_of(draft_id: UUID, version: int, created_at: datetime) -> str:
    """The strong etag of a draft whose newest version is this one."""
    return strong_etag(version, draft_id, version, f"{created_at.timestamp():.6f}")
