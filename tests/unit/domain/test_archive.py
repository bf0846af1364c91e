"""Names in a folder, and what an archive says about them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.domain.proposals.archive import MAX_COMMENT_BYTES, archive_comment
from server.domain.proposals.folder import folder_names

PATHS = st.lists(st.text(alphabet="a/", max_size=6), unique=True, max_size=8)


@given(PATHS)
def test_every_path_has_a_name_of_its_own_or_is_lost(paths: list[str]) -> None:
    names, lost = folder_names(paths)
    assert sorted([*names, *lost]) == sorted(paths)
    assert len(set(names.values())) == len(names)
    for name in names.values():
        assert name
        assert "" not in name.split("/")
        assert not any(other.startswith(f"{name}/") for other in names.values())


def test_a_comment_is_ascii_on_one_line_for_each_file() -> None:
    marked = {"/\u202egpj.\x1b[2J": ("deceptive_character",)}
    assert archive_comment(marked, []) == (
        rb"'/\u202egpj.\x1b[2J': not for every system (deceptive_character)"
    )


def test_a_comment_says_how_many_files_it_has_no_room_for() -> None:
    marks = {f"/{number:0100}": ("collision",) for number in range(1000)}
    comment = archive_comment(marks, [])
    assert MAX_COMMENT_BYTES - 200 < len(comment) <= MAX_COMMENT_BYTES
    lines = comment.decode().splitlines()
    assert lines[-1] == f"and {1000 - len(lines) + 1} more files"
