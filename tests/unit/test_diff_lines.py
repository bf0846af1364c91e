"""What the terminal shows of a comparison."""

from __future__ import annotations

import re
from typing import Any

import pytest

from server.cli.diff import file_lines, has_colours

EVIL = "ok \x1b]0;title\x07 \x9b31m \u202eabc \ud800 \r"
FILE: dict[str, Any] = {
    "path": "/a.md",
    "old_path": None,
    "kind": "modified",
    "base_size_bytes": 1,
    "size_bytes": 2,
    "binary": False,
    "added_lines": 1,
    "removed_lines": 0,
    "hunks": [],
    "truncated": False,
    "decision": None,
    "new_path": None,
    "needs_new_path": False,
    "portability": [],
    "rejection": None,
    "changed_in_draft": False,
}
HUNK: dict[str, Any] = {
    "id": "3f2a91c07d21" * 2,
    "base_first_line": 3,
    "base_line_count": 0,
    "first_line": 3,
    "line_count": 1,
    "lines": [" one", " two", "+\tnew", " three"],
    "truncated": False,
    "decision": None,
}


def shown(**changed: Any) -> list[str]:
    return [line for line, _ in file_lines(FILE | changed, hunks=True)]


def test_a_hunk_is_shown_as_a_unified_diff_does_with_the_start_of_its_id() -> None:
    assert shown(hunks=[HUNK]) == [
        "modified  /a.md  +1 -0",
        "@@ -1,3 +1,4 @@ 3f2a91c07d21",
        " one",
        " two",
        "+\tnew",
        " three",
    ]
    alone = HUNK | {"lines": ["+\tnew"], "decision": "rejected"}
    assert shown(hunks=[alone])[1] == "@@ -2,0 +3,1 @@ 3f2a91c07d21  rejected"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"kind": "renamed", "old_path": "/b.md"}, "renamed   /b.md -> /a.md  +1 -0"),
        ({"decision": "rejected", "changed_in_draft": True}, "  (rejected, changed in the draft, too)"),
        (
            {"rejection": "dot_segment", "needs_new_path": True},
            "  (not among the files: dot segment, needs a",
        ),
        ({"needs_new_path": True, "new_path": "/c.md"}, "  (as /c.md)"),
        ({"binary": True, "portability": ["device_name"]}, "  (binary, 1 to 2 bytes, device name)"),
    ],
)
def test_what_else_is_to_be_known_about_a_file_is_in_its_line(changed: dict[str, Any], expected: str) -> None:
    (line,) = shown(**changed)
    assert expected in line


def test_no_text_of_a_comparison_is_obeyed_by_the_terminal() -> None:
    evil = dict.fromkeys(("path", "old_path", "kind", "decision", "new_path", "rejection"), EVIL)
    lines = shown(**evil, portability=[EVIL], hunks=[HUNK | {"id": EVIL, "lines": [f"+{EVIL}", EVIL]}])
    assert re.search("[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", "".join(lines)) is None
    assert "\\x1b]0;title\\x07" in "".join(lines)


def test_a_pipe_has_no_colours() -> None:
    assert not has_colours()
