"""Proposals on the wire: the contract's message, the JSON of the HTTP interface."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any, Self
from uuid import UUID

import msgspec

from server.domain import model
from server.domain.model import ProposalStatus, Resolution
from server.domain.proposals.files import File as DomainFile
from server.domain.proposals.files import ListedFile
from server.domain.proposals.partition import MAX_SHOWN_CHARS
from server.domain.proposals.partition import RejectedFile as DomainRejectedFile
from server.encoding.json_text import dump, replace_surrogates
from server.wire import messages as m
from server.wire.files import fill_content
from server.wire.text import dumps, model_of, set_time

STATUS_NUMBERS = {
    status: m.ProposalStatus.Value(f"PROPOSAL_STATUS_{status.name}") for status in ProposalStatus
}
#: The domain's status by the contract's number; the unspecified one has none.
STATUS_BY_NUMBER = {int(number): status for status, number in STATUS_NUMBERS.items()}
RESOLUTION_NUMBERS: dict[Resolution | None, m.Resolution.ValueType] = {
    resolution: m.Resolution.Value(f"RESOLUTION_{resolution.name}") for resolution in Resolution
}


# --- Messages --------------------------------------------------------------------------------


def failure_message(failure: model.Failure) -> m.Failure:
    """Why a run did not complete (contract: Failure)."""
    return m.Failure(reason=replace_surrogates(failure.reason), message=replace_surrogates(failure.message))


def proposal_message(proposal: model.Proposal, omitted: Collection[str] = ()) -> m.Proposal:
    """A proposal with the files that the record has, in path order (contract: Proposal). omitted: paths of
    files whose content is left out."""
    message = m.Proposal(
        id=str(proposal.id),
        draft_id=str(proposal.draft_id),
        workflow_id=str(proposal.workflow_id),
        thread_id=str(proposal.thread_id),
        status=STATUS_NUMBERS[proposal.status],
        user_prompt=replace_surrogates(proposal.user_prompt),
        file_count=proposal.file_count,
        created_by_user_id=str(proposal.created_by_user_id or ""),
        base_version=proposal.base_version,
        includes_base=proposal.includes_base,
        resolution=RESOLUTION_NUMBERS.get(proposal.resolution, m.RESOLUTION_UNSPECIFIED),
        resolution_comment=proposal.resolution_comment or "",
        result_version=proposal.result_version or 0,
        etag=proposal.etag,
        superseded=proposal.superseded,
        stale=proposal.stale,
    )
    if proposal.revises_proposal_id is not None:
        message.revises_proposal_id = str(proposal.revises_proposal_id)
    if proposal.revised_by_proposal_id is not None:
        message.revised_by_proposal_id = str(proposal.revised_by_proposal_id)
    if proposal.waits_for_proposal_id is not None:
        message.waits_for_proposal_id = str(proposal.waits_for_proposal_id)
    if proposal.context_file_path is not None:
        message.context_file_path = replace_surrogates(proposal.context_file_path)
    if proposal.context_selection is not None:
        message.context_selection = replace_surrogates(proposal.context_selection)
    for path in sorted(proposal.files):
        file = message.generated_files.add(
            path=replace_surrogates(path), portability=proposal.portability.get(path, ())
        )
        fill_content(file, proposal.files[path], omitted=path in omitted)
    for path in sorted(proposal.listed_files):
        listed = proposal.listed_files[path]
        message.generated_files.add(
            path=replace_surrogates(path),
            sha256=listed.sha256,
            size_bytes=listed.size_bytes,
            created_at=replace_surrogates(listed.created_at or ""),
            modified_at=replace_surrogates(listed.modified_at or ""),
            portability=proposal.portability.get(path, ()),
        )
    for rejected in proposal.rejected_files:
        message.rejected_files.add(
            path=rejected.shown_path,
            reason=rejected.reason,
            sha256=rejected.sha256 or "",
            size_bytes=rejected.size_bytes or 0,
        )
    set_time(message.create_time, proposal.created_at)
    if proposal.completed_at is not None:
        set_time(message.complete_time, proposal.completed_at)
    if proposal.resolved_by_user_id is not None:
        message.resolved_by_user_id = str(proposal.resolved_by_user_id)
    if proposal.resolved_at is not None:
        set_time(message.resolve_time, proposal.resolved_at)
    if proposal.failure is not None:
        message.failure.CopyFrom(failure_message(proposal.failure))
    return message


def proposals_message(page: model.Page) -> m.ListProposalsResponse:
    """A page of proposals."""
    return m.ListProposalsResponse(
        proposals=map(proposal_message, page.items), next_page_token=page.next_token or ""
    )


# --- JSON ------------------------------------------------------------------------------------


class Failure(msgspec.Struct):
    """Why a run did not complete: a stable code and a sentence."""

    reason: str
    message: str

    @classmethod
    def of(cls, failure: model.Failure | None) -> Self | None:
        """The JSON of a record."""
        return None if failure is None else model_of(cls, failure)


class File(msgspec.Struct, omit_defaults=True):
    """A generated file. `content` is its lines, or one line of base64: `encoding` says so. With `view=basic`
    it is absent, and so is `extra`, which has the runtime's other members. `sha256` and `size_bytes` are
    those of its bytes. `portability` says why some systems cannot store it, or cannot keep it apart from
    another."""

    sha256: str
    size_bytes: int
    content: list[str] | None = None
    encoding: str | None = None
    created_at: str | None = None
    modified_at: str | None = None
    portability: list[str] = []
    extra: dict[str, Any] = {}


class RejectedFile(msgspec.Struct):
    """A file of the run that is not among the generated files. `reason` is stable. Its content can be read
    by `sha256`, which is null for a proposal that an earlier release finished."""

    path: str
    reason: str
    sha256: str | None
    size_bytes: int | None

    @classmethod
    def of(cls, rejected: DomainRejectedFile) -> Self:
        """The JSON of a record."""
        path = rejected.path[:MAX_SHOWN_CHARS]
        return cls(path, rejected.reason, rejected.sha256, rejected.size_bytes)


class Proposal(msgspec.Struct):
    """The result of a refinement. `generated_files` and `rejected_files` are null until the run is over, and
    in lists; `created_by_user_id`, `resolved_by_user_id`, `resolution_comment` and the ids of other proposals
    for a share link. `base_version` is the draft's version that the run started from. With `includes_base`
    the run worked on its files: those that are neither generated nor rejected were deleted. `result_version`
    is the draft's version that accepting it made. `etag` changes with everything that is decided about it.
    While it awaits review, it is `superseded` when another proposal revises it, and `stale` when the draft
    has changed since its run started. While it is queued, it waits for the run of
    `waits_for_proposal_id`."""

    id: UUID
    draft_id: UUID
    workflow_id: UUID
    thread_id: UUID
    status: ProposalStatus
    user_prompt: str
    context_file_path: str | None
    context_selection: str | None
    generated_files: dict[str, File] | None
    rejected_files: list[RejectedFile] | None
    file_count: int
    created_at: datetime
    completed_at: datetime | None
    created_by_user_id: UUID | None
    resolved_by_user_id: UUID | None
    resolved_at: datetime | None
    failure: Failure | None
    base_version: int
    includes_base: bool
    resolution: Resolution | None
    resolution_comment: str | None
    result_version: int | None
    etag: str
    revises_proposal_id: UUID | None
    revised_by_proposal_id: UUID | None
    waits_for_proposal_id: UUID | None
    superseded: bool
    stale: bool

    @classmethod
    def of(cls, proposal: model.Proposal, *, listed: bool = False) -> Self:
        """The JSON of a record, without its files: `proposal_json_parts` adds them."""
        rejected = None
        if proposal.status.terminal and not listed:
            rejected = [RejectedFile.of(each) for each in proposal.rejected_files]
        return model_of(
            cls,
            proposal,
            generated_files=None,
            rejected_files=rejected,
            failure=Failure.of(proposal.failure),
        )


def proposal_json_parts(proposal: model.Proposal) -> Iterator[bytes]:
    """The JSON text of a proposal with its files, in parts that are made as they are asked for.

    The files are written as text, not as models: a model of a file with many short lines takes many times its
    size, and a file's other members may be nested deeper than a model can be written.
    """
    text = dumps(Proposal.of(proposal))
    if not proposal.status.terminal:
        yield text
        return
    # In a string of the text, each of these quotes would follow a backslash.
    before, _, after = text.partition(b'"generated_files":null')
    yield before + b'"generated_files":{'
    comma = b""
    for path in sorted(proposal.files or proposal.listed_files):
        yield comma + dump(path) + b":{"
        marks = proposal.portability.get(path, ())
        if path in proposal.files:
            yield from _file_json_parts(proposal.files[path], marks)
        else:
            yield _described_json(proposal.listed_files[path], marks)
        yield b"}"
        comma = b","
    yield b"}" + after


def _file_json_parts(file: DomainFile, portability: Sequence[str]) -> Iterator[bytes]:
    """The members of a `File` as JSON text."""
    yield _described_json(ListedFile.of(file), portability) + b","
    yield from file.content_json_parts()
    if file.extra:
        extra = b",".join(dump(name) + b":" + text.encode() for name, text in file.extra.items())
        yield b',"extra":{' + extra + b"}"


def _described_json(file: ListedFile, portability: Sequence[str]) -> bytes:
    """The members of a `File` without its content as JSON text."""
    described: dict[str, Any] = {**file.times, "sha256": file.sha256, "size_bytes": file.size_bytes}
    if portability:
        described["portability"] = portability
    return dump(described)[1:-1]


class ProposalPage(msgspec.Struct):
    """A page of proposals, without files. `next_cursor` is null on the last page."""

    items: list[Proposal]
    next_cursor: str | None

    @classmethod
    def of(cls, page: model.Page) -> Self:
        """The JSON of a page."""
        return cls([Proposal.of(item, listed=True) for item in page.items], page.next_token)
