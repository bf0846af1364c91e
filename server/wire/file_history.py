"""A refinement's files as they were, on the wire: queries, the contract's messages, the JSON of the HTTP
interface."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Self

import msgspec
from pydantic import AfterValidator, Field

from server.domain.errors import InvalidArgument
from server.domain.file_history import blame as domain
from server.domain.file_history.file_history import Blame, FilesAt
from server.domain.journal.file_index import IndexedChange
from server.encoding.json_text import replace_surrogates
from server.wire import messages as m
from server.wire.pages import CURSOR_TEXT, PAGE_NAMES, page_values
from server.wire.text import set_time
from server.wire.validation import DIGITS, MAX_PATH, MAX_SEQ, QueryModel, field_error, renamed_fields

MAX_FILES, DEFAULT_FILES = 1_000, 100

#: The event after which a page's files are, and the number of files before it.
_CURSOR = re.compile(r"([1-9][0-9]{0,9})-([1-9][0-9]{0,8})", re.ASCII)


# --- Queries ---------------------------------------------------------------------------------


def _check_cursor(text: str | None) -> str | None:
    found = _CURSOR.fullmatch(text or "")
    if text and (found is None or int(found[1]) > MAX_SEQ):
        raise field_error("is not a cursor of this list")
    return text


Seq = Annotated[
    int,
    Field(ge=0, le=MAX_SEQ, description="The event after which the files are looked at; 0 for the newest."),
    DIGITS,
]


class FilesAtQuery(QueryModel):
    """Which files of a refinement, after which event."""

    seq: Seq = 0
    path: Annotated[str, Field(max_length=MAX_PATH, description="Only the file at this path.")] = ""
    limit: Annotated[
        int, Field(ge=0, le=MAX_FILES, description="Maximum number of files; 0 for the default."), DIGITS
    ] = DEFAULT_FILES
    cursor: Annotated[
        str | None,
        Field(description=CURSOR_TEXT, json_schema_extra={"pattern": f"^{_CURSOR.pattern}$"}),
        AfterValidator(_check_cursor),
    ] = None

    @property
    def size(self) -> int:
        """Maximum number of files, at least 1."""
        return self.limit or DEFAULT_FILES

    def place(self) -> tuple[int, int]:
        """The event, and the number of files before the page. Raises InvalidArgument for another event than
        the cursor's."""
        if not self.cursor:
            return self.seq, 0
        seq, offset = map(int, self.cursor.split("-"))
        if self.seq not in (0, seq):
            raise InvalidArgument({"cursor": "is of a list after another event"})
        return seq, offset


class BlameQuery(QueryModel):
    """Which lines of which file, after which event."""

    path: Annotated[str, Field(min_length=1, max_length=MAX_PATH, description="The file's path.")]
    seq: Seq = 0
    first_line: Annotated[
        int, Field(ge=0, le=MAX_SEQ, description="The first line, from 1; 0 means 1."), DIGITS
    ] = 0

    @property
    def lines_before(self) -> int:
        """How many lines are not asked for."""
        return max(self.first_line - 1, 0)


def files_at_query(request: m.ListFilesAtRequest) -> FilesAtQuery:
    """The query of a message. Raises InvalidArgument."""
    values = page_values(request) | {"seq": request.seq, "path": request.path}
    with renamed_fields(PAGE_NAMES):
        return FilesAtQuery.model_validate(values)


def blame_query(request: m.BlameFileRequest) -> BlameQuery:
    """The query of a message. Raises InvalidArgument."""
    values = {"path": request.path, "seq": request.seq, "first_line": request.first_line}
    return BlameQuery.model_validate(values)


def _next_cursor(page: FilesAt) -> str | None:
    return None if page.next_offset is None else f"{page.seq}-{page.next_offset}"


# --- Messages --------------------------------------------------------------------------------


def _file_message(file: IndexedChange) -> m.FileAt:
    message = m.FileAt(
        path=replace_surrogates(file.path),
        sha256=file.sha256,
        size_bytes=file.size_bytes,
        binary=not file.is_text,
    )
    _set_event(message, file)
    return message


def _set_event(target: m.FileAt | m.BlameRange, change: IndexedChange) -> None:
    target.seq = change.seq
    target.tool_call_id = replace_surrogates(change.tool_call_id)
    if change.time is not None:
        set_time(target.create_time, change.time)


def files_at_message(page: FilesAt) -> m.ListFilesAtResponse:
    """A page of files (contract: ListFilesAtResponse)."""
    return m.ListFilesAtResponse(
        files=map(_file_message, page.files), next_page_token=_next_cursor(page) or "", seq=page.seq
    )


def blame_message(blame: Blame) -> m.BlameFileResponse:
    """The blame of a file (contract: BlameFileResponse)."""
    message = m.BlameFileResponse(
        file=_file_message(blame.version),
        seq=blame.seq,
        line_count=blame.line_count,
        next_line=0 if blame.next_line is None else blame.next_line + 1,
        truncated=not blame.complete,
    )
    for part in blame.ranges:
        _set_event(
            message.ranges.add(first_line=part.first_line + 1, line_count=part.line_count), part.change
        )
    return message


# --- JSON ------------------------------------------------------------------------------------


class FileAt(msgspec.Struct):
    """A file as it was after an event. `seq`, `created_at`, `tool_call_id`: the event that wrote it last, and
    the tool call, as far as the event shows. `seq` is 0 when the event is before the cursor of the caller's
    share link."""

    path: str
    sha256: str
    size_bytes: int
    binary: bool
    seq: int
    created_at: datetime | None
    tool_call_id: str | None

    @classmethod
    def of(cls, file: IndexedChange) -> Self:
        """The JSON of a file."""
        return cls(
            file.path,
            file.sha256,
            file.size_bytes,
            not file.is_text,
            file.seq,
            file.time,
            file.tool_call_id or None,
        )


class FileAtPage(msgspec.Struct):
    """A page of the files after the event `seq`, in path order. `next_cursor` is null on the last page."""

    items: list[FileAt]
    next_cursor: str | None
    seq: int

    @classmethod
    def of(cls, page: FilesAt) -> Self:
        """The JSON of a page."""
        return cls([FileAt.of(file) for file in page.files], _next_cursor(page), page.seq)


class BlameRange(msgspec.Struct):
    """Consecutive lines that one event wrote. `first_line` counts from 1. `seq`, `created_at` and
    `tool_call_id` are as those of a file."""

    first_line: int
    line_count: int
    seq: int
    created_at: datetime | None
    tool_call_id: str | None

    @classmethod
    def of(cls, part: domain.BlameRange) -> Self:
        """The JSON of a range."""
        change = part.change
        return cls(part.first_line + 1, part.line_count, change.seq, change.time, change.tool_call_id or None)


class FileBlame(msgspec.Struct):
    """Which events wrote the lines of a file as it was after the event `seq`. `next_line` is the `first_line`
    of the next request, null when no ranges follow. `truncated`: not all versions were looked at, so that
    lines of the oldest of these may be older."""

    file: FileAt
    seq: int
    line_count: int
    ranges: list[BlameRange]
    next_line: int | None
    truncated: bool

    @classmethod
    def of(cls, blame: Blame) -> Self:
        """The JSON of a blame."""
        return cls(
            FileAt.of(blame.version),
            blame.seq,
            blame.line_count,
            [BlameRange.of(part) for part in blame.ranges],
            None if blame.next_line is None else blame.next_line + 1,
            not blame.complete,
        )
