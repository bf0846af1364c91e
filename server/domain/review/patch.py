"""Changes as a patch in git's format: with it, `git apply` turns the base's files into exactly the target's.

Texts are unified diffs, everything else is a binary patch. A patch names files of a folder: a path is without
its slash at the start and without empty segments there.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from server.domain.proposals.files import File, text_bytes
from server.domain.proposals.folder import folder_names
from server.domain.review.changes import ChangeKind, FileChange, diff_files
from server.domain.review.unified import unified_hunks

_MODE = b"100644"
#: Bytes of a line of a binary patch before they are encoded.
_LINE_BYTES = 52
#: Lines that are encoded in one piece.
_PART_LINES = 1000
_NO_BLOB = b"0" * 40
_ESCAPES = {7: b"a", 8: b"b", 9: b"t", 10: b"n", 11: b"v", 12: b"f", 13: b"r", 34: b'"', 92: b"\\"}


@dataclass(frozen=True, slots=True)
class Patch:
    """The changes that a patch has, and the paths that it cannot have.

    left_out: paths of either side that no folder holds beside another file of the same side: the same file by
    another name, or one above it.
    """

    changes: tuple[FileChange, ...]
    left_out: tuple[str, ...] = ()

    def text(self) -> Iterator[bytes]:
        """The patch, in parts of a file's size at most."""
        for change in self.changes:
            yield b"".join(_header(change))
            if change.is_text:
                yield from _text_body(change)
            elif change.base_content != change.target_content:
                yield from _binary_body(change)


def make_patch(base: Mapping[str, File], target: Mapping[str, File]) -> Patch:
    """The patch that turns the base's files into the target's."""
    before, lost = _as_files(base)
    after, also_lost = _as_files(target)
    return Patch(diff_files(before, after), tuple(sorted({*lost, *also_lost})))


def _as_files(files: Mapping[str, File]) -> tuple[dict[str, File], list[str]]:
    """The files by the names that they have in a folder, and the paths of those that have no place there."""
    names, lost = folder_names(files)
    return {name: files[path] for path, name in names.items()}, lost


def _header(change: FileChange) -> Iterator[bytes]:
    yield b"diff --git %b %b\n" % (_quoted(b"a/", change.base_path), _quoted(b"b/", change.path))
    if change.kind is ChangeKind.ADDED:
        yield b"new file mode %b\n" % _MODE
    elif change.kind is ChangeKind.DELETED:
        yield b"deleted file mode %b\n" % _MODE
    elif change.kind is ChangeKind.RENAMED:
        yield b"similarity index %d%%\n" % _similarity(change)
        yield b"rename from %b\n" % _quoted(b"", change.base_path)
        yield b"rename to %b\n" % _quoted(b"", change.path)
    # Binary patches are checked against the whole hash, before and after.
    if change.kind in (ChangeKind.ADDED, ChangeKind.DELETED) or change.base_content != change.target_content:
        mode = b" " + _MODE if change.base and change.target else b""
        yield b"index %b..%b%b\n" % (_blob_hash(change.base), _blob_hash(change.target), mode)


def _similarity(change: FileChange) -> int:
    """How much of the larger side is in both, in percent; only equal contents are 100."""
    if change.base_content == change.target_content:
        return 100
    removed = sum(len(hunk.removed) for hunk in change.hunks)
    size = max(len(change.base_content), len(change.target_content))
    return min(99, 100 * (len(change.base_content) - removed) // size)


def _text_body(change: FileChange) -> Iterator[bytes]:
    if not change.hunks:
        return
    # A tab ends a name with a space in it.
    base, target = (
        quoted + b"\t" if b" " in quoted and not quoted.startswith(b'"') else quoted
        for quoted in (_quoted(b"a/", change.base_path), _quoted(b"b/", change.path))
    )
    yield b"--- %b\n" % (base if change.base else b"/dev/null")
    yield b"+++ %b\n" % (target if change.target else b"/dev/null")
    yield from unified_hunks(change)


def _binary_body(change: FileChange) -> Iterator[bytes]:
    """Both contents: so that the patch can be taken back."""
    yield b"GIT binary patch\n"
    for content in (change.target_content, change.base_content):
        yield b"literal %d\n" % len(content)
        packed = zlib.compress(content)
        for at in range(0, len(packed), _PART_LINES * _LINE_BYTES):
            yield _encoded(packed[at : at + _PART_LINES * _LINE_BYTES])
        yield b"\n"


def _encoded(packed: bytes) -> bytes:
    """The bytes as lines, each after its length: A to Z are 1 to 26, a to z are 27 to 52."""
    digits = base64.b85encode(packed, pad=True)
    width = _LINE_BYTES // 4 * 5
    lines = []
    for at in range(0, len(digits), width):
        size = min(_LINE_BYTES, len(packed) - at // width * _LINE_BYTES)
        lines.append(b"%c%b\n" % (64 + size if size <= 26 else 70 + size, digits[at : at + width]))
    return b"".join(lines)


def _quoted(prefix: bytes, path: str) -> bytes:
    """The path as git writes it: in quotation marks, with escapes, when it has bytes that are not plain."""
    name = prefix + text_bytes(path)
    if all(0x20 <= byte < 0x7F and byte not in _ESCAPES for byte in name):
        return name
    escaped = (
        b"\\" + _ESCAPES[byte]
        if byte in _ESCAPES
        else b"%c" % byte
        if 0x20 <= byte < 0x7F
        else b"\\%03o" % byte
        for byte in name
    )
    return b'"' + b"".join(escaped) + b'"'


def _blob_hash(file: File | None) -> bytes:
    """The hash by which git names a content. It protects nothing here."""
    if file is None:
        return _NO_BLOB
    digest = hashlib.sha1(b"blob %d\0" % len(file.content), usedforsecurity=False)
    digest.update(file.content)
    return digest.hexdigest().encode()
