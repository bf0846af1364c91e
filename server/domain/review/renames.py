"""Which deleted files come back under another path: renames, as far as the contents show them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from server.domain.proposals.files import File
from server.domain.review.lines import split_lines

#: The least part of the larger file that a renamed file keeps, in bytes of distinct lines.
MIN_SIMILARITY = 0.5
#: Pairs of files, and lines of them, that are compared at most to find similar files: a few tenths of a
#: second's work. Above, only equal files are renames.
MAX_PAIRS, MAX_COMPARED_LINES = 40_000, 1_000_000


def find_renames(deleted: Mapping[str, File], added: Mapping[str, File]) -> dict[str, str]:
    """The old path of each added file that is a renamed one, by its new path. Each deleted file is used once.

    Equal contents come first, those with the same file name before others, then the most similar texts.
    """
    renames: dict[str, str] = {}
    _pair_equal(deleted, added, renames, lambda path, file: (file.sha256, path.rpartition("/")[2]))
    _pair_equal(deleted, added, renames, lambda path, file: (file.sha256, ""))
    used = set(renames.values())
    left = {path: file for path, file in deleted.items() if path not in used and _is_comparable(file)}
    new = {path: file for path, file in added.items() if path not in renames and _is_comparable(file)}
    for _, path, old in sorted(_similar_files(left, new)):
        if path not in renames and old not in used:
            renames[path] = old
            used.add(old)
    return renames


def _pair_equal(
    deleted: Mapping[str, File],
    added: Mapping[str, File],
    renames: dict[str, str],
    key_of: Callable[[str, File], tuple[str, str]],
) -> None:
    """Add the pairs of files with the same key, in path order."""
    used = set(renames.values())
    by_key: dict[tuple[str, str], list[str]] = {}
    for path in sorted(deleted, reverse=True):
        # An empty file is equal to any other: that one became the other means nothing.
        if path not in used and deleted[path].content:
            by_key.setdefault(key_of(path, deleted[path]), []).append(path)
    for path in sorted(added):
        candidates = by_key.get(key_of(path, added[path])) if path not in renames and by_key else None
        if candidates:
            renames[path] = candidates.pop()


def _is_comparable(file: File) -> bool:
    return file.is_text and bool(file.content)


def _similar_files(
    deleted: Mapping[str, File], added: Mapping[str, File]
) -> Iterator[tuple[float, str, str]]:
    """How similar two files are, as a negative number, with the new and the old path, for those that are
    similar enough."""
    if len(deleted) * len(added) > MAX_PAIRS:
        return
    pairs = [
        (old, path)
        for old, one in deleted.items()
        for path, other in added.items()
        if min(len(one.content), len(other.content))
        >= MIN_SIMILARITY * max(len(one.content), len(other.content))
    ]
    counts = {path: file.content.count(b"\n") + 1 for each in (deleted, added) for path, file in each.items()}
    if sum(counts[old] + counts[path] for old, path in pairs) > MAX_COMPARED_LINES:
        return
    lines = {path: set(split_lines(file.content)) for each in (deleted, added) for path, file in each.items()}
    sizes = {path: sum(map(len, distinct)) for path, distinct in lines.items()}
    for old, path in pairs:
        kept = sum(map(len, lines[old] & lines[path])) / max(sizes[old], sizes[path])
        if kept >= MIN_SIMILARITY:
            yield -kept, path, old
