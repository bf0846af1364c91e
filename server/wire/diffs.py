"""Comparisons on the wire: pages of them as JSON."""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Collection, Iterator

import msgspec

from server.domain.errors import InvalidArgument
from server.domain.proposals.partition import RejectedFile
from server.domain.review import hunks as domain
from server.domain.review.changes import ChangeKind, FileChange, statistics
from server.domain.review.comparison import Comparison
from server.domain.review.decisions import Decision, FileDecision
from server.domain.review.unified import hunk_lines
from server.encoding.json_text import decode_surrogates, replace_surrogates
from server.wire.diff_queries import ComparisonQuery
from server.wire.text import model_of

#: Bytes of a page: clients accept messages of 4 MiB by default.
MAX_PAGE_BYTES = 3 << 20
#: Bytes of a file besides its paths, of a hunk besides its lines, and of a line besides its text.
_FILE_BYTES, _HUNK_BYTES, _LINE_BYTES = 384, 96, 8
_NO_LINE_FEED = "\\ No newline at end of file"
#: The first byte of a cursor, by whether it names a file that the proposal rejects.
_CURSOR_BYTES = {False: b"f", True: b"r"}
#: That of one behind the second of several rejected files that are shown with one path, or a later one: its
#: number follows, from 1, in so many bytes.
_SAME_PATH, _NUMBER_BYTES = b"s", 4


class Hunk(msgspec.Struct):
    """Lines that differ. `id` names the hunk in decisions, in each comparison in which its lines, and those
    of the base around it, are the same. `lines` are those of a unified diff: each begins with a space, `-` or
    `+`. The line numbers are those of the lines that differ, from 1; of none, the line that they would be
    before. `truncated`: the lines were left out, because the answer would be too large."""

    id: str
    base_first_line: int
    base_line_count: int
    first_line: int
    line_count: int
    lines: list[str]
    truncated: bool
    decision: Decision | None


class FileDiff(msgspec.Struct):
    """How a file differs. A hash is null where there is no file. A `binary` file has no hunks, and neither
    has one that the proposal rejects. `truncated`: lines or hunks were left out, which the patch has.
    `new_path` is the path that a decision gives the file. One that `needs_new_path` comes in only under such
    a path: the proposal rejects it (`rejection` says why), or its path is not valid on every system.
    `changed_in_draft`: the draft has other changes of the file since the run started. `path_id` names, in
    decisions, a rejected file of which `path` is not the whole path: others may be shown with it, too."""

    path: str
    old_path: str | None
    kind: ChangeKind
    base_sha256: str | None
    sha256: str | None
    base_size_bytes: int
    size_bytes: int
    binary: bool
    added_lines: int
    removed_lines: int
    hunks: list[Hunk]
    truncated: bool
    decision: Decision | None
    new_path: str | None
    needs_new_path: bool
    portability: list[str]
    rejection: str | None
    changed_in_draft: bool
    path_id: str | None


class DiffStatistics(msgspec.Struct):
    """How much differs, without the files that the proposal rejects."""

    added_files: int
    modified_files: int
    deleted_files: int
    renamed_files: int
    added_lines: int
    removed_lines: int


class DiffPage(msgspec.Struct):
    """A page of files that differ, and of those that the proposal rejects, in path order. `etag` is the
    proposal's with these decisions. `base_version` is the version of the draft that it is compared with; null
    when it is compared with another proposal. `statistics` are those of all pages, on the first one."""

    items: list[FileDiff]
    next_cursor: str | None
    etag: str
    base_version: int | None
    statistics: DiffStatistics | None


class DraftDiffPage(DiffPage):
    """A page of files that differ between two versions of a draft. Nothing is decided about them. `version`
    is the one that is shown, `base_version` the one that it is compared with; null for the first version,
    which is compared with no files. `etag` is the draft's."""

    version: int


def draft_diff_page(
    comparison: Comparison, query: ComparisonQuery, paths: Collection[str] | None = None
) -> DraftDiffPage:
    """The page of a comparison of two versions of a draft, as `diff_page`."""
    return model_of(DraftDiffPage, diff_page(comparison, query, paths), version=comparison.version)


def diff_page(
    comparison: Comparison, query: ComparisonQuery, paths: Collection[str] | None = None
) -> DiffPage:
    """The page of a comparison. Takes as long as the comparison of its files, and of all for the first page.

    paths: only files with these; None for all. Raises InvalidArgument for a cursor that no page gave.
    """
    after = _place(query.cursor)
    wanted = [
        (key, entry)
        for key, entry in _entries(comparison)
        if (after is None or key > after) and (paths is None or key[0] in paths)
    ]
    changed = {change.path for change in comparison.changes}
    files: list[FileDiff] = []
    left = MAX_PAGE_BYTES
    for _, entry in wanted[: query.size]:
        if isinstance(entry, FileChange):
            file = _file_diff(comparison, entry, query.context, MAX_PAGE_BYTES)
        else:
            # A decision about a path that has both is about the file that is kept.
            decided = comparison.decisions.get(entry.path) if entry.path not in changed else None
            file = _rejected_diff(entry, decided or FileDecision())
        left -= _size(file)
        if left < 0 and files:
            break
        files.append(file)
    more = len(files) < len(wanted)
    return DiffPage(
        files,
        _cursor(wanted[len(files) - 1][0]) if more else None,
        comparison.etag,
        comparison.base_version,
        _statistics(comparison) if query.cursor is None else None,
    )


_Entry = FileChange | RejectedFile
#: The place of an entry: its shown path, whether it is rejected, its number among those with the same two.
_Key = tuple[str, bool, int]


def _entries(comparison: Comparison) -> list[tuple[_Key, _Entry]]:
    """The entries in order, with their keys. Several rejected files may be shown with one path."""
    counts = Counter[tuple[str, bool]]()
    found: list[tuple[_Key, _Entry]] = []
    entries: tuple[_Entry, ...] = (*comparison.changes, *comparison.rejected)
    for entry in entries:
        shown = _shown_path(entry), isinstance(entry, RejectedFile)
        found.append(((*shown, counts[shown]), entry))
        counts[shown] += 1
    return sorted(found, key=lambda each: each[0])


def _shown_path(entry: _Entry) -> str:
    return entry.shown_path if isinstance(entry, RejectedFile) else replace_surrogates(entry.path)


def _cursor(key: _Key) -> str:
    path, rejected, number = key
    head = _SAME_PATH + number.to_bytes(_NUMBER_BYTES, "big") if number else _CURSOR_BYTES[rejected]
    packed = head + path.encode()
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def _place(cursor: str | None) -> _Key | None:
    if cursor is None:
        return None
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        if packed[:1] == _SAME_PATH:
            number, path = packed[1 : 1 + _NUMBER_BYTES], packed[1 + _NUMBER_BYTES :]
            return path.decode(), True, int.from_bytes(number, "big")
        rejected = {value: key for key, value in _CURSOR_BYTES.items()}[packed[:1]]
        return packed[1:].decode(), rejected, 0
    except (binascii.Error, ValueError, KeyError):
        raise InvalidArgument({"cursor": "is not a cursor of this list"}) from None


def _statistics(comparison: Comparison) -> DiffStatistics:
    found = statistics(comparison.changes)
    return model_of(
        DiffStatistics,
        found,
        added_files=found.added,
        modified_files=found.modified,
        deleted_files=found.deleted,
        renamed_files=found.renamed,
    )


def _file_diff(comparison: Comparison, entry: FileChange, context: int, max_bytes: int) -> FileDiff:
    decision = comparison.decisions.get(entry.path, FileDecision())
    added, removed = entry.line_counts
    hunks = list(_hunks(entry, decision, context, max_bytes))
    return FileDiff(
        path=_shown_path(entry),
        old_path=None if entry.old_path is None else replace_surrogates(entry.old_path),
        kind=entry.kind,
        base_sha256=entry.base.sha256 if entry.base else None,
        sha256=entry.target.sha256 if entry.target else None,
        base_size_bytes=len(entry.base_content),
        size_bytes=len(entry.target_content),
        binary=not entry.is_text,
        added_lines=added,
        removed_lines=removed,
        hunks=hunks,
        truncated=len(hunks) < len(entry.hunks) or any(hunk.truncated for hunk in hunks),
        decision=decision.decision,
        new_path=decision.new_path,
        needs_new_path=entry.path in comparison.faulty_names,
        portability=[mark.value for mark in entry.portability],
        rejection=None,
        changed_in_draft=entry.path in comparison.changed_in_draft,
        path_id=None,
    )


def _rejected_diff(rejected: RejectedFile, decision: FileDecision) -> FileDiff:
    return FileDiff(
        path=rejected.shown_path,
        old_path=None,
        kind=ChangeKind.ADDED,
        base_sha256=None,
        sha256=rejected.sha256,
        base_size_bytes=0,
        size_bytes=rejected.size_bytes or 0,
        binary=False,
        added_lines=0,
        removed_lines=0,
        hunks=[],
        truncated=False,
        decision=decision.decision,
        new_path=decision.new_path,
        needs_new_path=True,
        portability=[],
        rejection=rejected.reason,
        changed_in_draft=False,
        path_id=rejected.path_id,
    )


def _hunks(change: FileChange, decision: FileDecision, context: int, max_bytes: int) -> Iterator[Hunk]:
    """The hunks in about so many bytes: the lines of those that do not fit are left out, then the rest."""
    for index, hunk in enumerate(change.hunks):
        max_bytes -= _HUNK_BYTES
        if max_bytes < 0:
            return
        lines = _lines(change, index, context) if len(hunk.removed) + len(hunk.added) <= max_bytes else []
        size = sum(len(line.encode()) + _LINE_BYTES for line in lines)
        if size > max_bytes:
            lines, size = [], 0
        max_bytes -= size
        yield _hunk(hunk, lines, decision)


def _hunk(hunk: domain.Hunk, lines: list[str], decision: FileDecision) -> Hunk:
    place = hunk.place
    return Hunk(
        hunk.id,
        place.base_line + 1,
        place.base_line_count,
        place.line + 1,
        place.line_count,
        lines,
        not lines,
        decision.hunks.get(hunk.id),
    )


def _lines(change: FileChange, index: int, context: int) -> list[str]:
    lines = []
    for line in hunk_lines(change, index, context):
        lines.append(replace_surrogates(decode_surrogates(line.removesuffix(b"\n"))))
        if not line.endswith(b"\n"):
            lines.append(_NO_LINE_FEED)
    return lines


def _size(file: FileDiff) -> int:
    names = [file.path, file.old_path or "", file.new_path or "", *file.portability]
    size = _FILE_BYTES + sum(len(name.encode()) for name in names)
    for hunk in file.hunks:
        size += _HUNK_BYTES + sum(len(line.encode()) + _LINE_BYTES for line in hunk.lines)
    return size
