"""The quarantine on the wire: queries and requests, and the JSON of the HTTP interface.

Nothing here has a value of a frame: shapes, places, counts and times.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

import msgspec
from pydantic import Field

from server.domain.journal.events import StateUpdate, Token
from server.domain.model import Page
from server.domain.quarantine import quarantine as domain
from server.domain.quarantine.entries import Release
from server.domain.quarantine.store import Group, KeptFrame
from server.wire.pages import (
    CURSOR_TEXT,
    DEFAULT_PAGE,
    FRAMES_CURSOR,
    MAX_PAGE,
    SCAN_CURSOR,
    SHAPES_CURSOR,
    PageQuery,
)
from server.wire.text import model_of
from server.wire.validation import DIGITS, MAX_SEQ, WHOLE_NUMBER, QueryModel, RequestModel

# --- Requests --------------------------------------------------------------------------------


class QuarantinedShapesQuery(PageQuery):
    """Which page of the shapes."""

    cursor: Annotated[str | None, Field(description=CURSOR_TEXT, json_schema_extra=SHAPES_CURSOR)] = None
    include_released: Annotated[
        Literal["true", "false"], Field(description="Whether also shapes of which no frame waits.")
    ] = "false"


class QuarantinedFramesQuery(PageQuery):
    """Which page of a shape's frames."""

    cursor: Annotated[str | None, Field(description=CURSOR_TEXT, json_schema_extra=FRAMES_CURSOR)] = None


class QuarantinedFrameQuery(QueryModel):
    """Which frame of a run."""

    seq: Annotated[int, Field(ge=0, le=MAX_SEQ, description="The seq of the event that keeps it."), DIGITS]


class ReleaseQuarantinedShapeRequest(RequestModel):
    """Which page of the reports of a release."""

    limit: Annotated[
        int,
        Field(ge=0, le=MAX_PAGE, description="Maximum number of reports; 0 for the default."),
        WHOLE_NUMBER,
    ] = DEFAULT_PAGE
    cursor: Annotated[
        str | None,
        Field(
            description="`next_cursor` of the previous page; null for the first, which asks the owners of "
            "open runs.",
            json_schema_extra=FRAMES_CURSOR,
        ),
    ] = None

    @property
    def size(self) -> int:
        """Maximum number of reports, at least 1."""
        return self.limit or DEFAULT_PAGE


class ScanQuarantineRequest(RequestModel):
    """Which journals are scanned."""

    cursor: Annotated[
        str | None,
        Field(
            description="`next_cursor` of the previous call; null for the first journals.",
            json_schema_extra=SCAN_CURSOR,
        ),
    ] = None


# --- JSON ------------------------------------------------------------------------------------


class QuarantinedShape(msgspec.Struct):
    """Frames of one shape. `structure` is how they are built, such as
    `{data: {progress: num}, event_type: str}`; empty for frames that are too complex. `waiting_count`: those
    that were not released, or whose release is not carried out yet. `sample_thread_id`, `sample_seq`: where
    one of them is."""

    id: str
    reason: Literal["unknown_type", "malformed", "too_complex"]
    event_type: str
    structure: str
    frame_count: int
    waiting_count: int
    journalled_count: int
    superseded_count: int
    reported_count: int
    run_count: int
    size_bytes: int
    first_at: datetime
    last_at: datetime
    sample_thread_id: UUID
    sample_seq: int

    @classmethod
    def of(cls, group: Group) -> Self:
        """The JSON of a group."""
        outcomes = dict(group.outcomes)
        thread_id, seq = group.example
        return model_of(
            cls,
            group,
            id=group.shape_id,
            frame_count=group.count,
            waiting_count=group.waiting,
            journalled_count=outcomes.get(Release.JOURNALLED, 0),
            superseded_count=outcomes.get(Release.SUPERSEDED, 0),
            reported_count=outcomes.get(Release.REPORTED, 0),
            run_count=group.runs,
            sample_thread_id=thread_id,
            sample_seq=seq,
        )


class QuarantinedShapePage(msgspec.Struct):
    """A page of shapes, those with the newest frames first. `next_cursor` is null on the last page."""

    items: list[QuarantinedShape]
    next_cursor: str | None

    @classmethod
    def of(cls, page: Page) -> Self:
        """The JSON of a page."""
        return cls([QuarantinedShape.of(item) for item in page.items], page.next_token)


class QuarantinedFrame(msgspec.Struct):
    """A frame in quarantine, without its content. `outcome` is what became of it, null while it waits;
    `outcome_seq` the event with what it means, if it is journalled."""

    thread_id: UUID
    seq: int
    kept_at: datetime
    run_ended: bool
    release_requested: bool
    outcome: Release | None
    outcome_seq: int | None

    @classmethod
    def of(cls, frame: KeptFrame) -> Self:
        """The JSON of a record."""
        return model_of(cls, frame, run_ended=frame.ended, release_requested=frame.requested)


class QuarantinedFramePage(msgspec.Struct):
    """A page of frames, by thread and seq. `next_cursor` is null on the last page."""

    items: list[QuarantinedFrame]
    next_cursor: str | None

    @classmethod
    def of(cls, page: Page) -> Self:
        """The JSON of a page."""
        return cls([QuarantinedFrame.of(item) for item in page.items], page.next_token)


class ReportedState(msgspec.Struct):
    """How much a state has."""

    message_count: int
    file_count: int
    todo_count: int
    other_key_count: int


class ReportedToken(msgspec.Struct):
    """How much a token has."""

    character_count: int


class QuarantineReport(msgspec.Struct):
    """What a frame of an ended run means, without its texts: a state, a token, or nothing. One that is not
    `understood` waits."""

    thread_id: UUID
    seq: int
    understood: bool
    state: ReportedState | None = None
    token: ReportedToken | None = None

    @classmethod
    def of(cls, report: domain.Report) -> Self:
        """The JSON of a report."""
        found = cls(report.frame.thread_id, report.frame.seq, report.understood)
        event = report.event
        if isinstance(event, StateUpdate):
            found.state = ReportedState(
                message_count=len(event.messages),
                file_count=len(event.files),
                todo_count=len(event.todos or ()),
                other_key_count=len(event.extra),
            )
        elif isinstance(event, Token):
            found.token = ReportedToken(len(event.text))
        return found


class ReleasedShape(msgspec.Struct):
    """What a release did: `requested_count` frames are released by the owners of open runs, soon; the items
    are reports about those of ended runs. `next_cursor` is null on the last page."""

    requested_count: int
    items: list[QuarantineReport]
    next_cursor: str | None

    @classmethod
    def of(cls, released: domain.Released) -> Self:
        """The JSON of a page."""
        reports = [QuarantineReport.of(report) for report in released.reports]
        return cls(released.requested, reports, released.next_token)


class ScannedQuarantine(msgspec.Struct):
    """What a scan did. `next_cursor` is null once all journals were read."""

    added_count: int
    next_cursor: str | None

    @classmethod
    def of(cls, scanned: domain.Scanned) -> Self:
        """The JSON of a page."""
        return cls(scanned.added, scanned.next_token)
