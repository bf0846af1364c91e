"""Queries of comparisons: what is compared, and which page of it."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import Field

from server.domain.review.comparison import DiffBase
from server.domain.review.unified import CONTEXT_LINES, MAX_CONTEXT_LINES
from server.wire.pages import CURSOR_TEXT, PageQuery
from server.wire.validation import DIGITS, MAX_PATH, MAX_SEQ, UUID_TEXT

#: What a cursor looks like: base64url of `f` or `r` and a path.
DIFF_CURSOR = {"pattern": "^[Zc][A-Za-z0-9_-]+$", "maxLength": 8192}


class ComparisonQuery(PageQuery):
    """Which page of a comparison, and how its files are shown."""

    path: Annotated[str | None, Field(max_length=MAX_PATH, description="Only this file.")] = None
    context: Annotated[
        int, Field(ge=0, le=MAX_CONTEXT_LINES, description="Lines around each hunk."), DIGITS
    ] = CONTEXT_LINES
    cursor: Annotated[str | None, Field(description=CURSOR_TEXT, json_schema_extra=DIFF_CURSOR)] = None


class DiffQuery(ComparisonQuery):
    """What a proposal is compared with, and which page of the comparison."""

    base: Annotated[
        DiffBase,
        Field(
            strict=False,
            description="`started_from`: the version of the draft that the run started from; decisions name "
            "hunks of this comparison. `draft`: the newest version.",
        ),
    ] = DiffBase.STARTED_FROM
    other_proposal_id: Annotated[
        Annotated[UUID, UUID_TEXT] | None,
        Field(description="Another proposal of the same draft to compare it with instead."),
    ] = None


class DraftDiffQuery(ComparisonQuery):
    """Which versions of a draft are compared, and which page of the comparison."""

    version: Annotated[
        int,
        Field(
            ge=0,
            le=MAX_SEQ,
            description="The version to show; 0 for the newest. Name it for every page, so that all of them "
            "show the same one.",
        ),
        DIGITS,
    ] = 0
    base_version: Annotated[
        int,
        Field(ge=0, le=MAX_SEQ, description="The version to compare it with; 0 for the one before it."),
        DIGITS,
    ] = 0
