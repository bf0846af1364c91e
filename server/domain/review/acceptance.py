"""What accepting a proposal makes of the draft. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from server.domain.drafts.changes import Changes, accepted, name_faults
from server.domain.errors import InvalidArgument, Unprocessable
from server.domain.proposals.files import File
from server.domain.review.changes import diff_files
from server.domain.review.comparison import base_files, draft_files, file_of, holding, with_changes
from server.domain.review.conflicts import ShownConflict, shown_conflicts
from server.domain.review.decisions import apply_decisions, bring_in
from server.domain.review.file_merge import Merge, MergeStrategy, merge_files
from server.domain.review.store import ReviewFiles


class MergeSide(StrEnum):
    """One of the three texts of a merge; the value is the word over HTTP."""

    BASE = "base"
    DRAFT = "draft"
    PROPOSAL = "proposal"


@dataclass(frozen=True, slots=True)
class AcceptProposal:
    """The command to accept a proposal; its fields are already validated.

    resolved: what to use for a file in conflict, by the path that the conflict has: a text, the file of a
    side, or None for no file. draft_etag: of the draft that it is to come into, None for whichever it is.
    """

    strategy: MergeStrategy = MergeStrategy.REFUSE
    resolved: Mapping[str, str | MergeSide | None] = field(default_factory=dict)
    draft_etag: str | None = None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What comes of it: the changes of the draft, with the paths of files whose content is neither the
    draft's nor the proposal's. With conflicts there are no changes."""

    changes: Changes
    merged_paths: tuple[str, ...] = ()
    conflicts: tuple[ShownConflict, ...] = ()


def plan_acceptance(files: ReviewFiles, command: AcceptProposal) -> Acceptance:
    """What comes of accepting the proposal into the draft as it is now.

    Raises InvalidArgument for a resolved file that no conflict has, Unprocessable for a new file whose name
    is not valid on every system, and for more files, or bytes, than a draft may have.
    """
    base = base_files(files)
    draft = draft_files(files.draft)
    decided = _decided(files, base)
    merge = merge_files(base, draft, decided, command.strategy)
    if command.resolved:
        texts = _resolved(command.resolved, merge)
        merge = merge_files(base, draft, decided, command.strategy, texts)
    if merge.unused:
        raise InvalidArgument({"resolved_files": f"no conflict has the path {merge.unused[0]!a}"})
    if merge.conflicts:
        return Acceptance(Changes(), conflicts=tuple(shown_conflicts(merge.conflicts)))
    # Beside what came into the draft meanwhile.
    _check_names(merge.files.keys() - draft.keys(), merge.files)
    return Acceptance(accepted(files.draft.files, merge.files), merge.merged_paths)


def _decided(files: ReviewFiles, base: Mapping[str, File]) -> dict[str, File]:
    """The base with what is not rejected. Raises Unprocessable."""
    changes = diff_files(base, with_changes(files, base))
    decisions = holding(changes, files)
    rejected = {path: file_of(file) for path, file in files.rejected.items()}
    # The path of a file that is kept may also be that of one that is rejected: a decision is about the first.
    changed = {change.path for change in changes}
    new_paths = {
        path: decision.new_path
        for path, decision in decisions.items()
        if decision.new_path is not None and path in rejected and path not in changed
    }
    decided = bring_in(apply_decisions(base, changes, decisions), rejected, new_paths)
    _check_names(decided.keys() - base.keys(), decided)
    return decided


def _check_names(new: Iterable[str], files: Iterable[str]) -> None:
    """Raise Unprocessable for new files whose names are not valid on every system, or not beside the
    others."""
    faults = name_faults(new, files)
    for path, fault in faults.items():
        others = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise Unprocessable({"decisions": f"{path!a} needs a new path: {fault}{others}"})


def _resolved(chosen: Mapping[str, str | MergeSide | None], merge: Merge) -> dict[str, File | None]:
    """The files that are to be used, by the path of their conflict."""
    conflicts = {conflict.path: conflict for conflict in merge.conflicts}
    files: dict[str, File | None] = {}
    for path, choice in chosen.items():
        if isinstance(choice, MergeSide):
            files[path] = getattr(conflicts[path], choice.value) if path in conflicts else None
        else:
            files[path] = None if choice is None else File(choice.encode())
    return files
