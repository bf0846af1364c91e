"""Decisions about changes, by file and by hunk, and the files that come of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from server.domain.errors import Unprocessable
from server.domain.proposals.files import File
from server.domain.review.changes import ChangeKind, FileChange
from server.domain.review.hunks import Hunk, apply_hunks


class Decision(StrEnum):
    """What is decided about a file or a hunk; the value is the public code."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class DecideFile:
    """The command to decide about a file, or about hunks of it; its fields are already validated.

    path_id: `RejectedFile.path_id` of the file that is meant; None for the first one with the path.
    """

    path: str
    decision: Decision | None
    hunk_ids: tuple[str, ...] = ()
    new_path: str | None = None
    path_id: str | None = None


@dataclass(frozen=True, slots=True)
class FileDecision:
    """What is decided about a change: as a whole, and about hunks by their ids.

    What is not decided counts as accepted. A decision about a hunk goes before the one about its file,
    whichever came later: a hunk that was rejected stays out until that is taken back.

    new_path: the path that a file which is accepted gets; None for its own. sha256: the content of the target
    that the decision about the file is about, None for a deleted file.
    """

    decision: Decision | None = None
    hunks: Mapping[str, Decision] = field(default_factory=dict)
    new_path: str | None = None
    sha256: str | None = None

    def takes(self, hunk: Hunk) -> bool:
        """Whether the hunk comes in."""
        return self.hunks.get(hunk.id, self.decision) is not Decision.REJECTED

    @property
    def takes_file(self) -> bool:
        """Whether the change comes in, as far as nothing is decided about its hunks."""
        return self.decision is not Decision.REJECTED

    @property
    def is_empty(self) -> bool:
        """Whether nothing is decided."""
        return self.decision is None and not self.hunks

    def about(self, sha256: str | None) -> FileDecision:
        """What applies to a file with this content: a decision about the whole file does not apply to other
        content. Decisions about hunks do, because a hunk's id is made from what it changes."""
        return self if self.sha256 == sha256 else FileDecision(hunks=self.hunks)

    def decide(self, commands: Iterable[DecideFile], sha256: str | None) -> FileDecision:
        """With what the commands say about this file, one after the other. sha256: the target's content."""
        decided = self
        # One copy for all commands: a file may have a hundred thousand hunks.
        hunks = dict(self.hunks)
        for command in commands:
            decision = command.decision
            if not command.hunk_ids:
                about = sha256 if decision else None
                decided = FileDecision(decision, new_path=command.new_path, sha256=about)
            for hunk_id in command.hunk_ids:
                # The latest decision is the last.
                hunks.pop(hunk_id, None)
                if decision is not None:
                    hunks[hunk_id] = decision
        return replace(decided, hunks=hunks)


_UNDECIDED = FileDecision()


def apply_decisions(
    base: Mapping[str, File], changes: Iterable[FileChange], decisions: Mapping[str, FileDecision]
) -> dict[str, File]:
    """The base with the changes that come in, in path order.

    A file that is added or deleted is one hunk: it comes in, or goes, as a whole. A renamed file that is
    rejected keeps its old path, with those of its hunks that are accepted. Raises Unprocessable for a new
    path that another file has.
    """
    changes = tuple(changes)
    gone = {change.base_path for change in changes}
    files = {path: file for path, file in base.items() if path not in gone}
    for change in changes:
        decided = _decided_file(change, decisions.get(change.path, _UNDECIDED))
        if decided is not None:
            path, file = decided
            if path in files:
                raise Unprocessable({"decisions": f"two files would have the path {path!a}"})
            files[path] = file
    return dict(sorted(files.items()))


def _decided_file(change: FileChange, decision: FileDecision) -> tuple[str, File] | None:
    """The file that comes of a change, with its path; None if there is none."""
    base, target = change.base, change.target
    if base is None or target is None:
        taken = decision.takes(change.hunks[0]) if decision.hunks and change.hunks else decision.takes_file
        file = target if taken else base
        path = (decision.new_path or change.path) if file is target else change.path
        return None if file is None else (path, file)
    renamed = change.kind is ChangeKind.RENAMED and decision.takes_file
    path = (decision.new_path or change.path) if renamed else change.base_path
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
    Raises Unprocessable for a new path that another file has.
    """
    result = dict(files)
    for path, new_path in new_paths.items():
        if new_path in result:
            raise Unprocessable({"decisions": f"two files would have the path {new_path!a}"})
        result[new_path] = rejected[path]
    return dict(sorted(result.items()))
