"""Merging a proposal's changes into a draft that may have changed since, from the common base."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from server.domain.proposals.files import File
from server.domain.review.line_merge import ConflictPlace, merge_texts
from server.domain.review.lines import has_lines
from server.domain.review.renames import find_renames


class MergeStrategy(StrEnum):
    """What to do when both sides changed a file; the value is the public code."""

    REFUSE = "refuse"
    THREE_WAY = "three_way"


class ConflictKind(StrEnum):
    """Why a file cannot be merged; the value is the public code.

    BOTH_MODIFIED: with REFUSE, or because it is not text, or at the places of the conflict. BOTH_ADDED: two
    files want the same path. BOTH_RENAMED: to different paths.
    """

    BOTH_MODIFIED = "both_modified"
    BOTH_ADDED = "both_added"
    BOTH_RENAMED = "both_renamed"
    DELETED_IN_DRAFT = "deleted_in_draft"
    DELETED_IN_PROPOSAL = "deleted_in_proposal"


@dataclass(frozen=True, slots=True)
class MergeConflict:
    """A file that both sides changed.

    path: where it would be. base, draft, proposal: the file on each side, None where it does not exist.
    places: the lines that both changed, for texts that were compared.
    """

    path: str
    kind: ConflictKind
    base: File | None
    draft: File | None
    proposal: File | None
    places: tuple[ConflictPlace, ...] = ()


@dataclass(frozen=True, slots=True)
class Merge:
    """The files in path order. With conflicts they are not to be stored: those in conflict are missing.

    merged_paths: those whose content is neither the draft's nor the proposal's, and those that were resolved.
    unused: paths of resolved files that no conflict has.
    """

    files: Mapping[str, File]
    merged_paths: tuple[str, ...] = ()
    conflicts: tuple[MergeConflict, ...] = ()
    unused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Side:
    """A file on one side: its path there and the file; None of one that is not there."""

    path: str
    file: File | None

    def is_same(self, other: _Side) -> bool:
        """Whether it is the same file at the same place, or on neither side."""
        if self.file is None or other.file is None:
            return self.file is other.file
        return self.path == other.path and self.file.content == other.file.content


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file through all three sides, whatever its path is on each."""

    base: _Side
    draft: _Side
    proposal: _Side

    def conflict(self, kind: ConflictKind, places: tuple[ConflictPlace, ...] = ()) -> MergeConflict:
        """Both sides changed it. Its path is where it would be: the new one, if a side renamed it."""
        in_draft = self.proposal.file is None or self.proposal.path == self.base.path
        path = self.draft.path if in_draft and self.draft.file is not None else self.proposal.path
        return MergeConflict(path, kind, self.base.file, self.draft.file, self.proposal.file, places)


def merge_files(
    base: Mapping[str, File],
    draft: Mapping[str, File],
    proposal: Mapping[str, File],
    strategy: MergeStrategy = MergeStrategy.REFUSE,
    resolved: Mapping[str, File | None] | None = None,
) -> Merge:
    """The draft with the proposal's changes of the base.

    A renamed file is followed: its new path and changes of its text come together, from whichever side.
    resolved: what to use for a file in conflict, by the path that the conflict has; None deletes it.
    """
    placed = _Placed(draft, proposal, resolved or {})
    for entry in _entries(base, draft, proposal):
        outcome = _merge(entry, strategy)
        if isinstance(outcome, MergeConflict):
            placed.refuse(outcome)
        else:
            placed.put(outcome, entry)
    return placed.result()


def _entries(
    base: Mapping[str, File], draft: Mapping[str, File], proposal: Mapping[str, File]
) -> Iterator[_Entry]:
    """The files of all sides, each once: those of the base, then those that came on a side."""
    in_draft, in_proposal = _renamed(base, draft), _renamed(base, proposal)
    for path, file in base.items():
        yield _Entry(
            _Side(path, file),
            _side(draft, in_draft.get(path, path)),
            _side(proposal, in_proposal.get(path, path)),
        )
    new_in_draft = draft.keys() - base.keys() - set(in_draft.values())
    new_in_proposal = proposal.keys() - base.keys() - set(in_proposal.values())
    for path in sorted(new_in_draft | new_in_proposal):
        yield _Entry(
            _Side(path, None),
            _Side(path, draft[path] if path in new_in_draft else None),
            _Side(path, proposal[path] if path in new_in_proposal else None),
        )


def _renamed(base: Mapping[str, File], side: Mapping[str, File]) -> dict[str, str]:
    """The new path of each file that a side renamed, by its path in the base."""
    deleted = {path: file for path, file in base.items() if path not in side}
    added = {path: file for path, file in side.items() if path not in base}
    return {old: path for path, old in find_renames(deleted, added).items()}


def _side(files: Mapping[str, File], path: str) -> _Side:
    return _Side(path, files.get(path))


def _merge(entry: _Entry, strategy: MergeStrategy) -> _Side | MergeConflict:
    """What comes of a file."""
    base, draft, proposal = entry.base, entry.draft, entry.proposal
    if proposal.is_same(base) or proposal.is_same(draft):
        return draft
    if draft.is_same(base):
        return proposal
    if draft.file is None:
        return entry.conflict(ConflictKind.DELETED_IN_DRAFT)
    if proposal.file is None:
        return entry.conflict(ConflictKind.DELETED_IN_PROPOSAL)
    if base.path not in (draft.path, proposal.path) and draft.path != proposal.path:
        return entry.conflict(ConflictKind.BOTH_RENAMED)
    kind = ConflictKind.BOTH_MODIFIED if base.file else ConflictKind.BOTH_ADDED
    if strategy is MergeStrategy.REFUSE:
        return entry.conflict(kind)
    path = proposal.path if draft.path == base.path else draft.path
    content = _merged_content(base.file, draft.file, proposal.file)
    if isinstance(content, bytes):
        return _Side(path, replace(proposal.file, content=content))
    return entry.conflict(kind, content)


def _merged_content(base: File | None, draft: File, proposal: File) -> bytes | tuple[ConflictPlace, ...]:
    """The content of a file that both sides have, or the places of the conflict; none of what is not text."""
    before = base.content if base else b""
    if draft.content == proposal.content or proposal.content == before:
        return draft.content
    if draft.content == before:
        return proposal.content
    if not all(has_lines(each) for each in (base, draft, proposal) if each):
        return ()
    merged = merge_texts(before, draft.content, proposal.content)
    return merged.conflicts or merged.content


class _Placed:
    """The files that have come to their paths so far."""

    def __init__(
        self, draft: Mapping[str, File], proposal: Mapping[str, File], resolved: Mapping[str, File | None]
    ) -> None:
        self._draft, self._proposal, self._resolved = draft, proposal, resolved
        self._files: dict[str, File] = {}
        self._merged: set[str] = set()
        self._conflicts: dict[str, MergeConflict] = {}
        self._used: set[str] = set()

    def put(self, side: _Side, entry: _Entry) -> None:
        """A file comes to its path; a conflict if another one is there, unless that was resolved."""
        path, file = side.path, side.file
        if file is None or path in self._used:
            return
        known = self._files.get(path, file)
        if known.content != file.content or path in self._conflicts:
            draft, proposal = self._draft.get(path), self._proposal.get(path)
            self.refuse(MergeConflict(path, ConflictKind.BOTH_ADDED, None, draft, proposal))
            return
        self._files[path] = file
        if file.content not in [each.file.content for each in (entry.draft, entry.proposal) if each.file]:
            self._merged.add(path)

    def refuse(self, conflict: MergeConflict) -> None:
        """A file is in conflict: its resolution comes to its path, or nothing."""
        path = conflict.path
        self._files.pop(path, None)
        self._merged.discard(path)
        if path not in self._resolved:
            self._conflicts.setdefault(path, conflict)
            return
        self._used.add(path)
        file = self._resolved[path]
        if file is not None:
            self._files[path] = file
            self._merged.add(path)

    def result(self) -> Merge:
        """The merge of all entries."""
        return Merge(
            dict(sorted(self._files.items())),
            tuple(sorted(self._merged)),
            tuple(self._conflicts[path] for path in sorted(self._conflicts)),
            tuple(sorted(set(self._resolved) - self._used)),
        )
