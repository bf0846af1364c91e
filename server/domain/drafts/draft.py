"""Drafts: a workflow's spec files, in versions that never change."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from uuid import UUID

from server.encoding.json_text import decode_surrogates

#: Hexadecimal digits of an etag's digest: 64 bits tell the few versions apart that may have had one number.
_ETAG_DIGITS = 16


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


def etag_of(draft_id: UUID, version: int, created_at: datetime) -> str:
    """The strong etag of a draft whose newest version is this one.

    The time is a part of it: a database that lost commits counts on from an earlier version, and then another
    version has the same number.
    """
    text = f"{draft_id} {version} {created_at.timestamp():.6f}"
    return f"{version}-{hashlib.sha256(text.encode()).hexdigest()[:_ETAG_DIGITS]}"


@dataclass(frozen=True, slots=True)
class IfMatch:
    """The etags of which a write needs one to be the draft's. any_version: whichever the draft's is."""

    etags: frozenset[str] = frozenset()
    any_version: bool = False

    def matches(self, etag: str) -> bool:
        """Whether the draft with this etag may be written."""
        return self.any_version or etag in self.etags
