"""A proposal compared with the draft or with another proposal, and what is decided about it; versions of a
draft compared. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from server.domain.drafts.changes import name_faults
from server.domain.drafts.draft import Draft, DraftFile
from server.domain.drafts.given import proposed_changes
from server.domain.errors import InvalidArgument, Unprocessable
from server.domain.proposals.files import File
from server.domain.proposals.partition import RejectedFile
from server.domain.review.changes import ChangeKind, FileChange, diff_files
from server.domain.review.decisions import DecideFile, Decision, FileDecision
from server.domain.review.store import ReviewFiles


class DiffBase(StrEnum):
    """What a proposal is compared with; the value is the word over HTTP.

    STARTED_FROM: the version of the draft that its run started from. DRAFT: the newest one.
    """

    STARTED_FROM = "started_from"
    DRAFT = "draft"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs, and what is decided about it.

    etag: of the proposal, or of the draft whose versions are compared. base_version: the version of the draft
    that is compared with; None with another proposal or with no files. version: the version that is compared;
    None for a proposal. rejected: the files that the proposal rejects. decisions: those that apply, by path.
    faulty_names: new files that need a new path to come in. changed_in_draft: the files that the draft has
    changed in another way.
    """

    etag: str
    changes: tuple[FileChange, ...]
    base_version: int | None = None
    version: int | None = None
    rejected: tuple[RejectedFile, ...] = ()
    decisions: Mapping[str, FileDecision] = field(default_factory=dict)
    faulty_names: Collection[str] = ()
    changed_in_draft: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Sides:
    """The files that are compared."""

    before: Mapping[str, File]
    after: Mapping[str, File]


def file_of(file: DraftFile) -> File:
    """A draft's file, whose content was read, as it is compared."""
    return File(file.content or b"", is_text=file.is_text)


def base_files(files: ReviewFiles) -> dict[str, File]:
    """The files of the version that the run started from."""
    return {path: file_of(file) for path, file in files.base.items()}


def draft_files(draft: Draft) -> dict[str, File]:
    """The files of a version, whose contents were read."""
    return {path: file_of(file) for path, file in draft.files.items()}


def with_changes(files: ReviewFiles, before: Mapping[str, File]) -> dict[str, File]:
    """The files with what the proposal changes in the version that its run started from."""
    proposal = files.proposal
    changes = proposed_changes(
        {path: file.sha256 for path, file in files.base.items()},
        {path: file.sha256 for path, file in proposal.files.items()},
        {rejected.path for rejected in proposal.rejected_files},
        includes_base=proposal.includes_base,
    )
    after = {path: file for path, file in before.items() if path not in changes}
    after |= {path: proposal.files[path] for path, sha256 in changes.items() if sha256 is not None}
    return dict(sorted(after.items()))


def sides(files: ReviewFiles, base: DiffBase) -> Sides:
    """What is compared with a version of the draft. With the newest one, only files that the proposal changes
    differ."""
    before = base_files(files) if base is DiffBase.STARTED_FROM else draft_files(files.draft)
    return Sides(before, with_changes(files, before))


def sides_of_proposals(other: ReviewFiles, files: ReviewFiles) -> Sides:
    """What is compared with another proposal."""
    return Sides(with_changes(other, base_files(other)), with_changes(files, base_files(files)))


def sides_of_versions(base: Draft | None, draft: Draft) -> Sides:
    """What is compared of two versions of a draft. base: None for no files."""
    return Sides({} if base is None else draft_files(base), draft_files(draft))


def compare_versions(base: Draft | None, draft: Draft) -> Comparison:
    """The comparison of two versions of a draft. base: None for no files."""
    compared = sides_of_versions(base, draft)
    return Comparison(
        draft.etag,
        diff_files(compared.before, compared.after),
        None if base is None else base.version,
        draft.version,
    )


def compare(files: ReviewFiles, base: DiffBase, other: ReviewFiles | None = None) -> Comparison:
    """The comparison with a version of the draft, or with another proposal."""
    if other is not None:
        compared = sides_of_proposals(other, files)
        return Comparison(files.proposal.etag, diff_files(compared.before, compared.after))
    compared = sides(files, base)
    changes = diff_files(compared.before, compared.after)
    new = {change.path for change in changes if change.kind in (ChangeKind.ADDED, ChangeKind.RENAMED)}
    return Comparison(
        files.proposal.etag,
        changes,
        files.draft.version if base is DiffBase.DRAFT else files.proposal.base_version,
        rejected=files.proposal.rejected_files,
        decisions=holding(changes, files),
        faulty_names=name_faults(new, compared.before.keys()),
        changed_in_draft=_changed_in_draft(changes, files),
    )


def _changed_in_draft(changes: Iterable[FileChange], files: ReviewFiles) -> set[str]:
    """The paths of changes whose file is neither in the draft as it was at the start, nor as proposed."""
    found = set()
    for change in changes:
        before, now = (
            each[change.base_path].sha256 if change.base_path in each else None
            for each in (files.base, files.draft.files)
        )
        target = change.target.sha256 if change.target else None
        if now not in (before, target) or (change.old_path and change.path in files.draft.files):
            found.add(change.path)
    return found


def holding(changes: Iterable[FileChange], files: ReviewFiles) -> dict[str, FileDecision]:
    """The decisions that apply: one about a whole file applies only to the content that it was made for."""
    contents = {rejected.path: rejected.sha256 for rejected in files.proposal.rejected_files}
    # A decision about a path that has both is about the file that is kept.
    contents |= {change.path: change.target.sha256 if change.target else None for change in changes}
    found = {
        path: decision.about(contents[path]) for path, decision in files.decisions.items() if path in contents
    }
    return {path: decision for path, decision in found.items() if not decision.is_empty}


def decide(files: ReviewFiles, commands: Iterable[DecideFile]) -> dict[str, FileDecision]:
    """What is decided, after these commands, about the files that they name.

    Raises InvalidArgument for a file that does not differ, and for a hunk that it does not have;
    Unprocessable for a new path that is not valid on every system, or of a file that is not new.
    """
    comparison = compare(files, DiffBase.STARTED_FROM)
    changes = {change.path: change for change in comparison.changes}
    # Several may be shown with one path: without an id the first one is meant.
    rejected = {
        (each.shown_path, path_id): each
        for each in reversed(comparison.rejected)
        for path_id in (None, each.path_id)
    }
    #: By path, with the content that they are about.
    named: dict[str, tuple[str | None, list[DecideFile]]] = {}
    for index, command in enumerate(commands):
        path = command.path
        change = changes.get(path) if command.path_id is None else None
        if change is not None:
            _check_change(index, command, change)
            sha256 = change.target.sha256 if change.target else None
        elif found := rejected.get((path, command.path_id)):
            path, sha256 = found.path, found.sha256
            _check_rejected(index, command, sha256)
        else:
            raise InvalidArgument({"decisions": f"decision {index} is about a file that does not differ"})
        named.setdefault(path, (sha256, []))[1].append(command)
    decisions = comparison.decisions
    return {
        path: decisions.get(path, FileDecision()).decide(about, sha256)
        for path, (sha256, about) in named.items()
    }


def _check_change(index: int, command: DecideFile, change: FileChange) -> None:
    if not change.hunk_ids.issuperset(command.hunk_ids):
        raise InvalidArgument({"decisions": f"decision {index} is about a hunk that the file does not have"})
    if command.new_path is not None:
        if change.kind not in (ChangeKind.ADDED, ChangeKind.RENAMED):
            raise Unprocessable({"decisions": f"decision {index} gives a new path to a file that is not new"})
        _check_new_path(index, command.new_path)


def _check_rejected(index: int, command: DecideFile, sha256: str | None) -> None:
    if command.hunk_ids:
        raise InvalidArgument({"decisions": f"decision {index} is about a hunk that the file does not have"})
    if command.decision is Decision.ACCEPTED and command.new_path is None:
        raise Unprocessable(
            {"decisions": f"decision {index} accepts a file that needs a new path, and gives none"}
        )
    if command.new_path is not None:
        if sha256 is None:
            raise Unprocessable({"decisions": f"the content of the file of decision {index} is not stored"})
        _check_new_path(index, command.new_path)


def _check_new_path(index: int, path: str) -> None:
    for fault in name_faults([path], ()).values():
        raise Unprocessable({"decisions": f"the new path of decision {index} is not portable: {fault}"})
