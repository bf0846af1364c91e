"""What a change makes of a draft's files: which files it may write, and what differs then. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from server.domain.drafts.draft import DraftFile
from server.domain.errors import Unprocessable
from server.domain.proposals.files import File
from server.domain.proposals.partition import MAX_FILES, MAX_FILES_BYTES
from server.domain.proposals.paths import neighbour_marks, strict_fault

#: Maximum number of a draft's files and of their bytes: what a proposal may have fits a draft.
MAX_DRAFT_FILES, MAX_DRAFT_BYTES = MAX_FILES, MAX_FILES_BYTES


@dataclass(frozen=True, slots=True)
class UpdateDraft:
    """The command to write files, whole, and to delete others; its fields are already validated."""

    files: Mapping[str, str]
    deleted_paths: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs between two versions: hashes (hex) by path, None for a deleted file; and new contents by
    their hashes."""

    hashes: Mapping[str, str | None] = field(default_factory=dict)
    contents: Mapping[str, bytes] = field(default_factory=dict)


def first_version(files: Mapping[str, str]) -> Changes:
    """The changes of a draft's first version, from its texts by path."""
    contents = {path: text.encode() for path, text in files.items()}
    hashes = {path: hashlib.sha256(content).hexdigest() for path, content in contents.items()}
    return Changes(hashes, {hashes[path]: content for path, content in contents.items()})


def updated(before: Mapping[str, DraftFile], hashes: Mapping[str, str], command: UpdateDraft) -> Changes:
    """What a command changes. `hashes`: those of the texts that it writes, by path.

    Raises Unprocessable for a path to delete that the draft does not have, for a new path that is not valid
    on every system, or not beside the other files, and for more files, or bytes, than a draft may have.
    """
    for index, path in enumerate(command.deleted_paths):
        if path not in before:
            raise Unprocessable({"deleted_paths": f"path {index} is not a file of the draft"})
    changed: dict[str, str | None] = {
        path: sha256 for path, sha256 in hashes.items() if path not in before or before[path].sha256 != sha256
    }
    contents = {hashes[path]: command.files[path].encode() for path in changed}
    changed |= dict.fromkeys(command.deleted_paths)
    deleted = set(command.deleted_paths)
    sizes = {path: file.size_bytes for path, file in before.items() if path not in deleted}
    written = list(command.files)
    # A file that is there may be written, whatever its name.
    for path, fault in name_faults(command.files.keys() - before.keys(), {*sizes, *written}).items():
        raise Unprocessable({"files": f"the path of file {written.index(path)} is not portable: {fault}"})
    sizes |= {path: len(command.files[path].encode()) for path in hashes}
    _check_size(sizes.values())
    return Changes(changed, contents)


def restored(before: Mapping[str, DraftFile], earlier: Mapping[str, DraftFile]) -> Changes:
    """The changes that give a draft the files of an earlier version again."""
    return Changes(_differing(before, {path: file.sha256 for path, file in earlier.items()}))


def accepted(before: Mapping[str, DraftFile], after: Mapping[str, File]) -> Changes:
    """The changes that give a draft these files. Raises Unprocessable as `updated`, names excepted."""
    _check_size([len(file.content) for file in after.values()])
    hashes = _differing(before, {path: file.sha256 for path, file in after.items()})
    contents = {file.sha256: file.content for path, file in after.items() if path in hashes}
    return Changes(hashes, contents)


def _differing(before: Mapping[str, DraftFile], wanted: Mapping[str, str]) -> dict[str, str | None]:
    """The wanted hashes that differ, in path order; None for a file that is to be deleted."""
    found = {path: file.sha256 for path, file in before.items()}
    paths = sorted(found.keys() | wanted.keys())
    return {path: wanted.get(path) for path in paths if found.get(path) != wanted.get(path)}


def name_faults(new: Iterable[str], kept: Iterable[str]) -> dict[str, str]:
    """What is wrong with the names of new files: the code by path, in path order, of those that are not
    absolute, not valid on every system, or not beside the other files. What is there keeps its name."""
    paths = sorted(new)
    marks = neighbour_marks(sorted({*paths, *kept}))
    faults = {}
    for path in paths:
        fault = strict_fault([path])
        if fault is not None:
            faults[path] = fault[1]
        elif path in marks:
            faults[path] = min(marks[path]).value
    return faults


def _check_size(sizes: Collection[int]) -> None:
    if len(sizes) > MAX_DRAFT_FILES:
        raise Unprocessable({"files": f"the draft would have more than {MAX_DRAFT_FILES} files"})
    if sum(sizes) > MAX_DRAFT_BYTES:
        raise Unprocessable({"files": f"the draft would have more than {MAX_DRAFT_BYTES} bytes"})
