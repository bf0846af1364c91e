"""Decisions about proposals on the wire: requests, and the JSON of the HTTP interface."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

import msgspec
from pydantic import Field, PlainValidator

from server.domain.errors import InvalidArgument
from server.domain.review import reviews as domain
from server.domain.review.acceptance import AcceptProposal, MergeSide
from server.domain.review.changes import ChangeKind
from server.domain.review.decisions import DecideFile, Decision
from server.domain.review.file_merge import MergeStrategy
from server.domain.review.revisions import ReviseProposal
from server.encoding.json_text import replace_surrogates
from server.wire import messages as m
from server.wire.conflicts import MAX_RESPONSE_BYTES, MergeConflict, fit_conflicts
from server.wire.drafts import Draft
from server.wire.limits import limits_of
from server.wire.proposals import Proposal
from server.wire.refinements import MAX_PROMPT, WhenBusyField
from server.wire.validation import (
    MAX_PATH,
    NOT_BLANK,
    NOT_BLANK_PATTERN,
    STORABLE,
    STORABLE_PATTERN,
    QueryModel,
    RequestModel,
    field_error,
)
from server.wire.workflows import MAX_FILES, MAX_FILES_BYTES, path_error

MAX_DECISIONS = limits_of(m.SetDecisionsRequest, "decisions").max_items
MAX_HUNK_IDS = limits_of(m.FileDecision, "hunk_ids").max_items
MAX_PATH_ID = limits_of(m.FileDecision, "path_id").max_characters
MAX_COMMENT = limits_of(m.AcceptProposalRequest, "comment").max_characters
MAX_ETAG = limits_of(m.AcceptProposalRequest, "draft_etag").max_characters
#: Bytes of the changes that an answer lists, and of one besides its path.
_MAX_CHANGES_BYTES, _CHANGE_BYTES = 2 << 20, 128

Comment = Annotated[
    str,
    Field(max_length=MAX_COMMENT, description="Why.", json_schema_extra=STORABLE_PATTERN),
    STORABLE,
]


# --- Requests --------------------------------------------------------------------------------


class FileDecision(RequestModel):
    """A decision about a file as a whole, or about some of its hunks; null withdraws one."""

    path: Annotated[str, Field(max_length=MAX_PATH, description="The path, as in the comparison.")]
    decision: Annotated[Decision | None, Field(strict=False, description="What is decided.")]
    hunk_ids: Annotated[
        list[str],
        Field(
            default_factory=list,
            max_length=MAX_HUNK_IDS,
            description="The hunks; none for the file as a whole.",
        ),
    ]
    new_path: Annotated[
        str | None,
        Field(
            max_length=MAX_PATH,
            description="The path under which the file is accepted: for one that is new, renamed, or "
            "rejected by the proposal, as a whole, and that is accepted.",
        ),
    ] = None
    path_id: Annotated[
        str | None,
        Field(
            max_length=MAX_PATH_ID,
            description="That of the file in the comparison. Without it, the decision is about the first "
            "file with the path.",
        ),
    ] = None

    def command(self) -> DecideFile:
        """The command. Raises InvalidArgument for a new path where none is allowed."""
        new_path = self.new_path or None
        if new_path is not None:
            wrong = path_error(new_path)
            if self.decision is not Decision.ACCEPTED or self.hunk_ids:
                wrong = "is only for a file that is accepted as a whole"
            if wrong is not None:
                raise InvalidArgument({"new_path": wrong})
        return DecideFile(self.path, self.decision, tuple(self.hunk_ids), new_path, self.path_id or None)


def _validate_decisions(value: object) -> tuple[DecideFile, ...]:
    if not isinstance(value, list | tuple):
        raise field_error("must be a list of decisions")
    if not 1 <= len(value) <= MAX_DECISIONS:
        raise field_error(f"must be 1 to {MAX_DECISIONS} decisions")
    return tuple(map(_decision, range(len(value)), value))


def _decision(index: int, value: object) -> DecideFile:
    try:
        return FileDecision.model_validate(value).command()
    except InvalidArgument as error:
        raise field_error(f"decision {index}: {error.message}") from None


class SetDecisionsRequest(RequestModel):
    """Decisions to take, in their order. What they do not name stays as it was."""

    decisions: Annotated[
        tuple[DecideFile, ...],
        PlainValidator(_validate_decisions, json_schema_input_type=list[FileDecision]),
        Field(description="The decisions.", json_schema_extra={"minItems": 1, "maxItems": MAX_DECISIONS}),
    ]


class ResolvedFile(RequestModel):
    """What to use for a file in conflict: a text, the file of one side, or none."""

    path: Annotated[str, Field(max_length=MAX_PATH, description="The path, as in the conflict.")]
    text: Annotated[
        Annotated[str, Field(json_schema_extra=STORABLE_PATTERN), STORABLE] | None,
        Field(description="This text."),
    ] = None
    side: Annotated[
        MergeSide | None,
        Field(strict=False, description="The file of this side; none when it does not exist there."),
    ] = None
    deleted: Annotated[bool, Field(description="`true`: no file.")] = False

    def choice(self) -> str | MergeSide | None:
        """What to use; None for no file. Raises InvalidArgument unless exactly one is given."""
        if (self.text is not None) + (self.side is not None) + self.deleted != 1:
            raise InvalidArgument({"text": "is missing: give one of text, side and deleted"})
        return self.side if self.text is None else self.text


def _validate_resolved(value: object) -> dict[str, str | MergeSide | None]:
    items = () if value is None else value
    if not isinstance(items, list | tuple) or len(items) > MAX_FILES:
        raise field_error(f"must be a list of at most {MAX_FILES} files")
    resolved: dict[str, str | MergeSide | None] = {}
    for index, item in enumerate(items):
        try:
            file = ResolvedFile.model_validate(item)
            choice = file.choice()
        except InvalidArgument as error:
            raise field_error(f"file {index}: {error.message}") from None
        if file.path in resolved:
            raise field_error(f"file {index}: path: is a duplicate")
        resolved[file.path] = choice
    texts = [text for text in resolved.values() if text and not isinstance(text, MergeSide)]
    if sum(len(text.encode()) for text in texts) > MAX_FILES_BYTES:
        raise field_error(f"must have at most {MAX_FILES_BYTES} bytes together")
    return resolved


class AcceptProposalRequest(RequestModel):
    """How a proposal is to come into the draft."""

    strategy: Annotated[
        MergeStrategy,
        Field(
            strict=False,
            description="What to do with files that were changed in the draft since the run started: "
            "`refuse` when the proposal has other changes of them, or merge them line by line "
            "(`three_way`), and refuse where the changes touch each other.",
        ),
    ] = MergeStrategy.REFUSE
    draft_etag: Annotated[
        str | None,
        Field(
            max_length=MAX_ETAG,
            description="The etag that the draft must have; needed with `resolved_files`, which are for "
            "conflicts with that draft.",
        ),
    ] = None
    resolved_files: Annotated[
        dict[str, str | MergeSide | None],
        PlainValidator(_validate_resolved, json_schema_input_type=list[ResolvedFile] | None),
        Field(
            default_factory=dict,
            description="What to use for files in conflict.",
            json_schema_extra={"maxItems": MAX_FILES},
        ),
    ]
    comment: Comment = ""

    def command(self) -> AcceptProposal:
        """The command. Raises InvalidArgument for resolved files without the draft's etag."""
        draft_etag = (self.draft_etag or "").strip('"') or None
        if self.resolved_files and draft_etag is None:
            raise InvalidArgument({"draft_etag": "is missing: resolved files are for one draft"})
        return AcceptProposal(self.strategy, self.resolved_files, draft_etag, self.comment)


class RejectProposalRequest(RequestModel):
    """Why a proposal is turned down."""

    comment: Comment = ""


class ReviseProposalRequest(RequestModel):
    """What is to be done better in the next round."""

    user_prompt: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_PROMPT,
            description="What is to be done better.",
            json_schema_extra=NOT_BLANK_PATTERN,
        ),
        NOT_BLANK,
        STORABLE,
    ]
    keep_decisions: Annotated[
        bool, Field(description="Whether the next proposal starts with the decisions of this one.")
    ] = False
    when_busy: WhenBusyField = None

    def command(self) -> ReviseProposal:
        """The command."""
        return ReviseProposal(self.user_prompt, self.keep_decisions, self.when_busy)


class AcceptQuery(QueryModel):
    """Whether to accept."""

    validate_only: Annotated[
        Literal["true", "false"],
        Field(description="`true`: say what would be done, and change nothing."),
    ] = "false"


# --- JSON ------------------------------------------------------------------------------------


class DraftChange(msgspec.Struct):
    """A file of the draft that accepting a proposal writes or deletes. `merged`: its content is neither the
    draft's nor the proposal's."""

    path: str
    kind: ChangeKind
    sha256: str | None
    merged: bool


class AcceptedProposal(msgspec.Struct):
    """A proposal that was accepted, and the draft with it, both without files. `changes` are the first
    `change_count` differences of the draft that fit the answer; with `validate_only` they are what would be
    done, and `conflicts` what would stop it."""

    proposal: Proposal
    draft: Draft
    changes: list[DraftChange]
    change_count: int
    conflicts: list[MergeConflict]
    conflict_count: int

    @classmethod
    def of(cls, accepted: domain.Accepted) -> Self:
        """The JSON of a record."""
        count = 0 if accepted.acceptance is None else len(accepted.acceptance.changes.hashes)
        return cls(
            Proposal.of(accepted.proposal, listed=True),
            Draft.of(accepted.draft),
            list(_changes(accepted)),
            count,
            fit_conflicts(accepted.conflicts, MAX_RESPONSE_BYTES),
            len(accepted.conflicts),
        )


def _changes(accepted: domain.Accepted) -> Iterator[DraftChange]:
    """The first changes, in about so many bytes as an answer lists."""
    acceptance, left = accepted.acceptance, _MAX_CHANGES_BYTES
    if acceptance is None:
        return
    merged = set(acceptance.merged_paths)
    for path, sha256 in acceptance.changes.hashes.items():
        left -= len(path.encode("utf-8", "surrogatepass")) + _CHANGE_BYTES
        if left < 0:
            return
        kind = ChangeKind.MODIFIED if path in accepted.before else ChangeKind.ADDED
        if sha256 is None:
            kind = ChangeKind.DELETED
        yield DraftChange(replace_surrogates(path), kind, sha256, path in merged)
