"""Which proposals a request asks for, and how much of one."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from server.domain.errors import InvalidArgument
from server.domain.model import ProposalStatus, Resolution
from server.domain.proposals.store import SEARCHED_CHARS, ProposalFilter
from server.wire import messages as m
from server.wire.limits import limits_of
from server.wire.pages import CURSOR_TEXT, PAGE_NAMES, PROPOSALS_CURSOR, PageQuery, page_values
from server.wire.proposals import RESOLUTION_NUMBERS, STATUS_BY_NUMBER
from server.wire.validation import STORABLE, UUID_TEXT, QueryModel, renamed_fields

#: Longest text that proposals are searched for.
MAX_SEARCH = limits_of(m.ListProposalsRequest, "text").max_characters

_RESOLUTION_WORDS = {int(number): each.value for each, number in RESOLUTION_NUMBERS.items() if each}


class ProposalsQuery(PageQuery):
    """Which page of which proposals."""

    cursor: Annotated[str | None, Field(description=CURSOR_TEXT, json_schema_extra=PROPOSALS_CURSOR)] = None
    workflow_id: Annotated[
        Annotated[UUID, UUID_TEXT] | None, Field(description="Only those of this workflow.")
    ] = None
    status: Annotated[
        ProposalStatus | None, Field(strict=False, description="Only those in this status.")
    ] = None
    resolution: Annotated[
        Literal["accepted", "rejected", "none"] | None,
        Field(description="Only those about which this was decided; `none`: neither."),
    ] = None
    text: Annotated[
        str | None,
        Field(
            max_length=MAX_SEARCH,
            description=f"Only those that have this text, in upper or lower case, in the first "
            f"{SEARCHED_CHARS} characters of the request or in the path of the file that it is about.",
        ),
        STORABLE,
    ] = None

    @property
    def filter(self) -> ProposalFilter:
        """Which proposals the page is of."""
        unresolved = self.resolution == "none"
        return ProposalFilter(
            workflow_id=self.workflow_id,
            status=self.status,
            resolution=Resolution(self.resolution) if self.resolution and not unresolved else None,
            unresolved=unresolved,
            text=self.text or None,
        )


class ProposalQuery(QueryModel):
    """How much of a proposal."""

    view: Annotated[
        Literal["basic", "full"],
        Field(description="`basic`: the files without their contents and the runtime's other members."),
    ] = "full"


def proposals_query(request: m.ListProposalsRequest) -> ProposalsQuery:
    """The query of a message. Raises InvalidArgument."""
    values = page_values(request)
    if request.workflow_id:
        values["workflow_id"] = request.workflow_id
    if request.status:
        values["status"] = STATUS_BY_NUMBER.get(request.status, "unknown")
    if request.resolution and request.unresolved:
        raise InvalidArgument({"unresolved": "excludes `resolution`"})
    if request.resolution:
        values["resolution"] = _RESOLUTION_WORDS.get(request.resolution, "unknown")
    if request.unresolved:
        values["resolution"] = "none"
    if request.text:
        values["text"] = request.text
    with renamed_fields(PAGE_NAMES):
        return ProposalsQuery.model_validate(values)
