"""The messages of reviews: requests read as on the other interface, answers made of its JSON's models."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any
from uuid import UUID

from server.domain.errors import InvalidArgument
from server.domain.proposals.contents import PIECE_BYTES
from server.domain.review import reviews as domain
from server.domain.review.acceptance import AcceptProposal
from server.domain.review.changes import ChangeKind
from server.domain.review.comparison import Comparison, DiffBase
from server.domain.review.decisions import DecideFile, Decision
from server.domain.review.revisions import ReviseProposal
from server.domain.review.unified import CONTEXT_LINES
from server.wire import messages as m
from server.wire.conflicts import conflict_message
from server.wire.diff_queries import ComparisonQuery, DiffQuery
from server.wire.diffs import DiffPage, FileDiff, Hunk, diff_page, draft_diff_page
from server.wire.drafts import draft_message
from server.wire.limits import limits_of
from server.wire.pages import PAGE_NAMES, page_values
from server.wire.proposals import proposal_message
from server.wire.refinements import WHEN_BUSY_BY_NUMBER
from server.wire.reviews import (
    MAX_DECISIONS,
    MAX_HUNK_IDS,
    AcceptedProposal,
    AcceptProposalRequest,
    RejectProposalRequest,
    ReviseProposalRequest,
    SetDecisionsRequest,
)
from server.wire.validation import renamed_fields
from server.wire.workflows import MAX_FILES

_DECISIONS: dict[Decision | None, m.Decision.ValueType] = {
    decision: m.Decision.Value(f"DECISION_{decision.name}") for decision in Decision
}
_KINDS = {kind: m.DiffKind.Value(f"DIFF_KIND_{kind.name}") for kind in ChangeKind}
#: The words over HTTP of the contract's numbers; others are not a word of any.
_DECISION_WORDS = {m.DECISION_UNSPECIFIED: None} | {
    number: decision.value for decision, number in _DECISIONS.items() if decision
}
_BASES = {
    m.DIFF_BASE_UNSPECIFIED: DiffBase.STARTED_FROM,
    m.DIFF_BASE_STARTED_FROM: DiffBase.STARTED_FROM,
    m.DIFF_BASE_DRAFT: DiffBase.DRAFT,
}
_STRATEGIES = {
    m.MERGE_STRATEGY_UNSPECIFIED: "refuse",
    m.MERGE_STRATEGY_REFUSE: "refuse",
    m.MERGE_STRATEGY_THREE_WAY: "three_way",
}
_SIDES = {m.MERGE_SIDE_BASE: "base", m.MERGE_SIDE_DRAFT: "draft", m.MERGE_SIDE_PROPOSAL: "proposal"}
_UNKNOWN = "unknown"
#: The contract's names of members of a query.
_PAGE_NAMES = PAGE_NAMES | {"context": "context_lines"}
#: Paths that a comparison may be asked for.
MAX_PATHS = limits_of(m.DiffProposalRequest, "paths").max_items


# --- Requests --------------------------------------------------------------------------------


def diff_query(request: m.DiffProposalRequest) -> DiffQuery:
    """The query of a message. Raises InvalidArgument."""
    with renamed_fields(_PAGE_NAMES):
        return DiffQuery.model_validate(_page_values(request) | _compared_with(request))


def draft_diff_query(request: m.DiffDraftRequest) -> ComparisonQuery:
    """Which page a message asks for, of the versions of `compared_versions`. Raises InvalidArgument."""
    with renamed_fields(_PAGE_NAMES):
        return ComparisonQuery.model_validate(_page_values(request))


def compared_versions(request: m.DiffDraftRequest | m.ReadDraftPatchRequest) -> dict[str, int | None]:
    """The versions of a draft that a message names, as arguments of the use case."""
    return {"version": request.version or None, "base_version": request.base_version or None}


def _page_values(request: m.DiffProposalRequest | m.DiffDraftRequest) -> dict[str, object]:
    context = request.context_lines if request.HasField("context_lines") else CONTEXT_LINES
    return page_values(request) | {"context": context}


def diff_paths(request: m.DiffProposalRequest | m.DiffDraftRequest) -> frozenset[str] | None:
    """The paths that a message asks for; None for all. Raises InvalidArgument."""
    if len(request.paths) > MAX_PATHS:
        raise InvalidArgument({"paths": f"must be at most {MAX_PATHS} paths"})
    return frozenset(request.paths) or None


def patch_query(request: m.ReadPatchRequest) -> tuple[DiffBase, UUID | None]:
    """What a message asks to compare with. Raises InvalidArgument."""
    query = DiffQuery.model_validate(_compared_with(request))
    return query.base, query.other_proposal_id


def _compared_with(request: m.DiffProposalRequest | m.ReadPatchRequest) -> dict[str, object]:
    return {
        "base": _BASES.get(request.base, _UNKNOWN),
        "other_proposal_id": request.other_proposal_id or None,
    }


def set_decisions(request: m.SetDecisionsRequest) -> tuple[DecideFile, ...]:
    """The commands of a message. Raises InvalidArgument."""
    values = [
        {
            "path": each.path,
            "hunk_ids": list(each.hunk_ids[: MAX_HUNK_IDS + 1]),
            "decision": _DECISION_WORDS.get(each.decision, _UNKNOWN),
            "new_path": each.new_path or None,
            "path_id": each.path_id or None,
        }
        # Of more than there may be, one is enough to refuse them.
        for each in request.decisions[: MAX_DECISIONS + 1]
    ]
    return SetDecisionsRequest.model_validate({"decisions": values}).decisions


def accept_proposal(request: m.AcceptProposalRequest) -> AcceptProposal:
    """The command of a message. Raises InvalidArgument."""
    values = {
        "strategy": _STRATEGIES.get(request.strategy, _UNKNOWN),
        "draft_etag": request.draft_etag or None,
        "resolved_files": list(map(_resolved, request.resolved_files[: MAX_FILES + 1])),
        "comment": request.comment,
    }
    return AcceptProposalRequest.model_validate(values).command()


def _resolved(file: m.ResolvedFile) -> dict[str, Any]:
    kind = file.WhichOneof("content")
    if kind == "side":
        return {"path": file.path, "side": _SIDES.get(file.side, _UNKNOWN)}
    return {"path": file.path} | ({} if kind is None else {kind: getattr(file, kind)})


def rejection_comment(request: m.RejectProposalRequest) -> str:
    """The comment of a message. Raises InvalidArgument."""
    return RejectProposalRequest.model_validate({"comment": request.comment}).comment


def revise_proposal(request: m.ReviseProposalRequest) -> ReviseProposal:
    """The command of a message. Raises InvalidArgument."""
    values = {
        "user_prompt": request.user_prompt,
        "keep_decisions": request.keep_decisions,
        "when_busy": WHEN_BUSY_BY_NUMBER.get(request.when_busy, _UNKNOWN),
    }
    return ReviseProposalRequest.model_validate(values).command()


# --- Messages --------------------------------------------------------------------------------


def diff_message(
    comparison: Comparison, query: ComparisonQuery, paths: Collection[str] | None
) -> m.DiffProposalResponse:
    """The page of a comparison (contract: DiffProposalResponse). Arguments and errors as of `diff_page`."""
    message = m.DiffProposalResponse()
    _fill_page(message, diff_page(comparison, query, paths))
    return message


def draft_diff_message(
    comparison: Comparison, query: ComparisonQuery, paths: Collection[str] | None
) -> m.DiffDraftResponse:
    """The page of a comparison of two versions (contract: DiffDraftResponse), as `diff_message`."""
    page = draft_diff_page(comparison, query, paths)
    message = m.DiffDraftResponse(version=page.version)
    _fill_page(message, page)
    return message


def _fill_page(message: m.DiffProposalResponse | m.DiffDraftResponse, page: DiffPage) -> None:
    message.files.extend(map(_file_message, page.items))
    message.next_page_token = page.next_cursor or ""
    message.etag = page.etag
    message.base_version = page.base_version or 0
    if page.statistics is not None:
        for name in page.statistics.__struct_fields__:
            setattr(message.statistics, name, getattr(page.statistics, name))


def _file_message(file: FileDiff) -> m.FileDiff:
    return m.FileDiff(
        path=file.path,
        old_path=file.old_path or "",
        kind=_KINDS[file.kind],
        base_sha256=file.base_sha256 or "",
        sha256=file.sha256 or "",
        base_size_bytes=file.base_size_bytes,
        size_bytes=file.size_bytes,
        binary=file.binary,
        added_lines=file.added_lines,
        removed_lines=file.removed_lines,
        hunks=map(_hunk_message, file.hunks),
        truncated=file.truncated,
        decision=_DECISIONS.get(file.decision, m.DECISION_UNSPECIFIED),
        new_path=file.new_path or "",
        needs_new_path=file.needs_new_path,
        portability=file.portability,
        rejection=file.rejection or "",
        changed_in_draft=file.changed_in_draft,
        path_id=file.path_id or "",
    )


def _hunk_message(hunk: Hunk) -> m.Hunk:
    return m.Hunk(
        id=hunk.id,
        base_first_line=hunk.base_first_line,
        base_line_count=hunk.base_line_count,
        first_line=hunk.first_line,
        line_count=hunk.line_count,
        lines=hunk.lines,
        truncated=hunk.truncated,
        decision=_DECISIONS.get(hunk.decision, m.DECISION_UNSPECIFIED),
    )


def patch_pieces(
    text: bytes, left_out: int, response: type[m.ReadPatchResponse | m.ReadDraftPatchResponse]
) -> Iterator[m.ReadPatchResponse | m.ReadDraftPatchResponse]:
    """A patch in pieces, at least one. response: the message of a piece."""
    for at in range(0, max(len(text), 1), PIECE_BYTES):
        yield response(data=text[at : at + PIECE_BYTES], left_out_files=0 if at else left_out)


def accepted_message(accepted: domain.Accepted) -> m.AcceptProposalResponse:
    """The response to accepting a proposal."""
    model = AcceptedProposal.of(accepted)
    return m.AcceptProposalResponse(
        proposal=proposal_message(accepted.proposal.without_files()),
        draft=draft_message(accepted.draft),
        changes=[
            m.DraftChange(
                path=each.path, kind=_KINDS[each.kind], sha256=each.sha256 or "", merged=each.merged
            )
            for each in model.changes
        ],
        change_count=model.change_count,
        conflicts=map(conflict_message, model.conflicts),
        conflict_count=model.conflict_count,
        replayed=accepted.replayed,
    )


def rejected_message(reviewed: domain.Reviewed) -> m.RejectProposalResponse:
    """The response to rejecting a proposal."""
    return m.RejectProposalResponse(
        proposal=proposal_message(reviewed.proposal.without_files()), replayed=reviewed.replayed
    )
