"""Fuzz targets for names and contents of files: a run's files, comparisons, merges and patches."""

from __future__ import annotations

import re

from server.domain.proposals.files import File, FileSet
from server.domain.proposals.partition import partition_files
from server.domain.proposals.paths import Portability
from server.domain.review.hunks import apply_hunks, compare
from server.domain.review.line_merge import merge_texts
from server.domain.review.patch import make_patch
from tests.hostile.fuzz_targets.target import Target, text_of

#: Lines of a patch that are not lines of a text.
_HEADERS = re.compile(
    rb"diff --git |new file mode 100644$|deleted file mode 100644$|similarity index \d+%$|rename (from|to) |"
    rb"index [0-9a-f]{40}\.\.[0-9a-f]{40}( 100644)?$|@@ -\d+(,\d+)? \+\d+(,\d+)? @@|"
    rb"\\ No newline at end of file$|GIT binary patch$|literal \d+$|[A-Za-z][!-~]+$|$"
)


def paths(data: bytes) -> None:
    """File names, one a line: none is lost, those that are kept are safe, and meet only with a mark."""
    names = text_of(data).split("\n")
    found = partition_files(FileSet({name: File(name.encode("utf-8", "surrogatepass")) for name in names}))
    assert {*found.kept, *(each.path for each in found.rejected)} == set(names)
    written: dict[str, list[str]] = {}
    for path in found.kept:
        assert not path.startswith("//")
        assert not set("\\\0\r\n") & set(path)
        parts = [part for part in path.split("/") if part]
        assert not {".", "..", ".git"} & {part.casefold() for part in parts}
        written.setdefault("/".join(parts), []).append(path)
    for path, same in written.items():
        for each in same:
            assert len(same) == 1 or Portability.COLLISION in found.portability[each]
            if any(path.startswith(f"{other}/") for other in written):
                assert Portability.UNDER_A_FILE in found.portability[each]


def reviews(data: bytes) -> None:
    """Three texts, divided by NUL: a comparison's hunks turn one into the other, a merge keeps both sides'
    changes when one side has none, and equal changes are no conflict."""
    base, draft, proposal = (*data.split(b"\0", 2), b"", b"")[:3]
    hunks = compare(base, proposal)
    assert apply_hunks(base, hunks) == proposal
    assert apply_hunks(base, []) == base
    assert len({hunk.id for hunk in hunks}) == len(hunks)
    for one, other, expected in ((base, draft, draft), (draft, base, draft), (draft, draft, draft)):
        merged = merge_texts(base, one, other)
        assert (merged.content, merged.conflicts) == (expected, ())
    merge_texts(base, draft, proposal)


def patches(data: bytes) -> None:
    """Patches of two sets of files, a name and a content on two lines: no name begins a line of its own. A
    carriage return stands for a line feed."""
    sides: tuple[dict[str, File], dict[str, File]] = ({}, {})
    lines = data.split(b"\n")
    for number, (name, content) in enumerate(zip(lines[::2], lines[1::2], strict=False)):
        sides[number % 2][text_of(name.replace(b"\r", b"\n"))] = File(content.replace(b"\r", b"\n"))
    patch = make_patch(*sides)
    for part in patch.text():
        for line in part.split(b"\n"):
            assert line[:1] in b" +-" or _HEADERS.match(line), line


TARGETS = {
    "paths": Target(paths, [b"/a/b.md\n/A/B.md\n/../x\n/nul.txt", "/é\n/e\u0301\n/a\u202eb".encode()]),
    "reviews": Target(
        reviews,
        [
            b"a\nb\nc\n\0a\nB\nc\n\0a\nb\nC\n",
            b"a\n\0\0a\nb",
            b"x\r\ny\r\n\0x\ny\n\0x\r\ny",
            b"a\na\na\n\0a\n",
        ],
    ),
    "patches": Target(
        patches,
        [
            b"/a b\nx\ry\n/a b\nx\rz\n",
            b"/a\r*** b\nx\n/c\n\n",
            b'/"q"\t\n1\n/\xc3\xa9\n1\n/b\n\xff\xfe\n/b\n\xff\n',
            b"/a\n1\n/a/b\n1\n",
        ],
    ),
}
