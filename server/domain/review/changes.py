"""How one set of files differs from another: a change for each file that differs, with its hunks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from server.domain.proposals.files import File
from server.domain.proposals.paths import Portability, portability_marks
from server.domain.review.hunks import Hunk, compare
from server.domain.review.lines import has_lines
from server.domain.review.renames import find_renames


class ChangeKind(StrEnum):
    """What becomes of a file; the value is the public code."""

    ADDED = "added"
    MODIFIED = "modified"
    DELETED = "deleted"
    RENAMED = "renamed"


@dataclass(frozen=True)
class FileChange:
    """A file that differs.

    path: the target's; the base's for a deleted file. old_path: the base's, of a renamed file. base, target:
    the file on both sides; None where it does not exist. portability: the marks that the path has among the
    target's.
    """

    path: str
    kind: ChangeKind
    base: File | None
    target: File | None
    old_path: str | None = None
    portability: tuple[Portability, ...] = ()

    @property
    def base_path(self) -> str:
        """The path in the base, also of a file that is not there."""
        return self.path if self.old_path is None else self.old_path

    @property
    def base_content(self) -> bytes:
        """The base's bytes; none if the file is not there."""
        return self.base.content if self.base else b""

    @property
    def target_content(self) -> bytes:
        """The target's bytes; none if the file is not there."""
        return self.target.content if self.target else b""

    @cached_property
    def is_text(self) -> bool:
        """Whether all that there is of it is text, so that it has hunks."""
        return all(has_lines(file) for file in (self.base, self.target) if file is not None)

    @cached_property
    def hunks(self) -> tuple[Hunk, ...]:
        """The hunks, in order; none when it is not text, is empty, or was only renamed."""
        return compare(self.base_content, self.target_content) if self.is_text else ()

    @cached_property
    def hunk_ids(self) -> frozenset[str]:
        """The ids of the hunks."""
        return frozenset(hunk.id for hunk in self.hunks)

    @cached_property
    def line_counts(self) -> tuple[int, int]:
        """How many lines come in, and how many go."""
        places = [hunk.place for hunk in self.hunks]
        return sum(each.line_count for each in places), sum(each.base_line_count for each in places)


@dataclass(frozen=True, slots=True)
class Statistics:
    """How many files differ, in which way, and by how many lines."""

    added: int = 0
    modified: int = 0
    deleted: int = 0
    renamed: int = 0
    added_lines: int = 0
    removed_lines: int = 0


def diff_files(base: Mapping[str, File], target: Mapping[str, File]) -> tuple[FileChange, ...]:
    """The changes, in path order. A file is its bytes: times and the runtime's other members do not count.

    Hunks are compared when they are first asked for, so that a page costs what it shows.
    """
    deleted = {path: file for path, file in base.items() if path not in target}
    added = {path: file for path, file in target.items() if path not in base}
    renames = find_renames(deleted, added)
    marks = portability_marks(sorted(target))
    old_paths = set(renames.values())
    changes = [
        FileChange(path, ChangeKind.DELETED, file, None)
        for path, file in deleted.items()
        if path not in old_paths
    ]
    for path, file in target.items():
        old_path = renames.get(path)
        before = base.get(path if old_path is None else old_path)
        if old_path is None and before is not None and before.content == file.content:
            continue
        kind = ChangeKind.ADDED if before is None else ChangeKind.MODIFIED
        if old_path is not None:
            kind = ChangeKind.RENAMED
        changes.append(FileChange(path, kind, before, file, old_path, marks.get(path, ())))
    return tuple(sorted(changes, key=lambda change: change.path))


def statistics(changes: Iterable[FileChange]) -> Statistics:
    """The figures of the changes together."""
    changes = tuple(changes)
    kinds = [change.kind for change in changes]
    return Statistics(
        kinds.count(ChangeKind.ADDED),
        kinds.count(ChangeKind.MODIFIED),
        kinds.count(ChangeKind.DELETED),
        kinds.count(ChangeKind.RENAMED),
        sum(change.line_counts[0] for change in changes),
        sum(change.line_counts[1] for change in changes),
    )
