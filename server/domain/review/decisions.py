"""Decisions about changes, by file and by hunk, and the files that come of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from server.domain.errors import InvalidArgument
from server.domain.proposals.files import File
from server.domain.proposals.paths import rejection_of
from server.domain.review.changes import ChangeKind, FileChange
from server.domain.review.hunks import Hunk, apply_hunks


class Decision(StrEnum):
    """What is decided about a file or a hunk; the value is the public code."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class FileDecision:
    """What is decided about a change: as a whole, and about hunks by their ids.

    What is not decided counts as accepted. A decision about a hunk goes before the one about its file,
    whichever came later: a hunk that was rejected stays out until that is taken back.
    """

    decision: Decision | None = None
    hunks: Mapping[str, Decision] = field(default_factory=dict)

    def takes(self, hunk: Hunk) -> bool:
        """Whether the hunk comes in."""
        return self.hunks.get(hunk.id, self.decision) is not Decision.REJECTED

    @property
    def takes_file(self) -> bool:
        """Whether the change comes in, as far as nothing is decided about its hunks."""
        return self.decision is not Decision.REJECTED

    def decide(self, hunk_ids: Iterable[str], decision: Decision | None) -> FileDecision:
        """With the decision about these hunks, or about the file if none are named; None takes one back."""
        ids = tuple(hunk_ids)
        if not ids:
            return replace(self, decision=decision)
        hunks = {hunk_id: known for hunk_id, known in self.hunks.items() if hunk_id not in ids}
        if decision is not None:
            hunks |= dict.fromkeys(ids, decision)
        return replace(self, hunks=hunks)


_UNDECIDED = FileDecision()


def check_decisions(changes: Iterable[FileChange], decisions: Mapping[str, FileDecision]) -> None:
    """Raises InvalidArgument for a decision about a file that does not differ, or a hunk of another file."""
    by_path = {change.path: change for change in changes}
    for path, decision in decisions.items():
        change = by_path.get(path)
        if change is None:
            raise InvalidArgument({"decisions": f"{path!a}: this file does not differ"})
        unknown = set(decision.hunks) - {hunk.id for hunk in change.hunks} if decision.hunks else ()
        if unknown:
            raise InvalidArgument({"decisions": f"{path!a}: it has no hunk {min(unknown)!a}"})


def apply_decisions(
    base: Mapping[str, File], changes: Iterable[FileChange], decisions: Mapping[str, FileDecision]
) -> dict[str, File]:
    """The base with the changes that come in, in path order.

    A file that is added or deleted is one hunk: it comes in, or goes, as a whole. A renamed file that is
    rejected keeps its old path, with those of its hunks that are accepted.
    """
    files = dict(base)
    for change in changes:
        decision = decisions.get(change.path, _UNDECIDED)
        files.pop(change.base_path, None)
        decided = _decided_file(change, decision)
        if decided is not None:
            path, file = decided
            files[path] = file
    return dict(sorted(files.items()))


def _decided_file(change: FileChange, decision: FileDecision) -> tuple[str, File] | None:
    """The file that comes of a change, with its path; None if there is none."""
    base, target = change.base, change.target
    if base is None or target is None:
        taken = decision.takes(change.hunks[0]) if decision.hunks and change.hunks else decision.takes_file
        file = target if taken else base
        return None if file is None else (change.path, file)
    renamed = change.kind is ChangeKind.RENAMED and decision.takes_file
    path = change.path if renamed else change.base_path
    if not decision.hunks or not change.hunks:
        return path, target if decision.takes_file else base
    content = apply_hunks(base.content, filter(decision.takes, change.hunks))
    if content in (base.content, target.content):
        return path, base if content == base.content else target
    return path, replace(target, content=content)


def bring_in(
    files: Mapping[str, File], rejected: Mapping[str, File], new_paths: Mapping[str, str]
) -> dict[str, File]:
    """The files with those of the rejected ones that get a new path, in path order.

    rejected: the files that a proposal rejects, by their path. new_paths: the new path by the rejected one.
    Raises InvalidArgument for a file that is not rejected, and a new path that is dangerous or taken.
    """
    result = dict(files)
    for path, new_path in new_paths.items():
        file = rejected.get(path)
        if file is None:
            raise InvalidArgument({"new_path": f"{path!a} is not a rejected file"})
        reason = rejection_of(new_path)
        if reason is not None:
            raise InvalidArgument({"new_path": f"{new_path!a}: no file may have this path ({reason.value})"})
        if new_path in result:
            raise InvalidArgument({"new_path": f"{new_path!a}: another file has this path"})
        result[new_path] = file
    return dict(sorted(result.items()))
