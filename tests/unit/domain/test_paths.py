"""Paths of generated files: dangerous, marked and portable ones, and files really written."""

from __future__ import annotations

import json
import tempfile
import time
import unicodedata
from itertools import product
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from server.domain.proposals.files import File, FileSet
from server.domain.proposals.partition import partition_files
from server.domain.proposals.paths import (
    MAX_PATH_BYTES,
    MAX_SEGMENT_UNITS,
    MAX_SEGMENTS,
    Portability,
    Rejection,
    path_key,
    portability_marks,
    portability_of,
    rejection_of,
    strict_fault,
)
from tests.support.recordings import NAMES, frames

R, P = Rejection, Portability
_DEVICES = ["CON", "con", "PRN", "aux", "NUL", "nul", "COM0", "com1", "COM9", "lpt1", "LPT9", "COM¹", "lpt³"]
_DEVICES += ["CONIN$", "conout$", "CLOCK$", "ＣＯＮ", "ｎｕｌ"]
_CONTROLS = [*range(0x20), 0x7F, *range(0x80, 0xA0)]
_INVISIBLE = [0x00AD, 0x061C, 0x180E, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), 0x2060, 0x2066, 0x2069]
_INVISIBLE += [0xFEFF, 0xFFF9, 0xE0001, 0xE0041, 0x3164, 0x115F, 0x2028, 0x2029]
_SEPARATORS = ["\\", "／", "＼", "℀", "∕", "⁄", "⧵", "∖", "﹨", "╱", "⧸", "⟋", "╲", "⧹", "⟍"]
_DOTS = [".", "..", " .", ".. ", " .. ", "．", "．．", "․․", "‥", ".\u200b.", "\u200d..", "..:x", "..::$DATA"]
_GIT = [".git", ".GIT", ".Git", ".gıt", "git~1", "GIT~1", "git~2", ".g\u200dit", ".git\u200c", "\ufeff.git"]
_GIT += [
    ".git.",
    ".git ",
    ".git. .",
    " .git",
    ".git::$INDEX_ALLOCATION",
    ".git:x",
    "．git",
    "․git",
    ".ｇｉｔ",
]
_GIT += [".gi\u200ft", ".g\u00adit", ".hg", ".HG", ".jj", ".git.:$I30:$INDEX_ALLOCATION"]

_BY_REJECTION: dict[Rejection, list[str]] = {
    R.NO_FILE_NAME: ["", "/", "//", "///", "/a/", "a/", "/a/b//", "/../"],
    R.LONE_SURROGATE: ["/\ud800", "a\udfff.md", "/\ud83d", "/\udc00\ud800/x", "/ok/\udcff", "/../\ud800"],
    R.CONTROL_CHARACTER: [f"/a{chr(code)}b.md" for code in _CONTROLS]
    + [f"/..{chr(code)}/etc/passwd" for code in (0, 10, 13, 27, 0x7F)]
    + ["\n/a", "\0"],
    R.SEPARATOR: [f"/a{mark}b" for mark in _SEPARATORS]
    + [f"..{mark}..{mark}etc{mark}passwd" for mark in _SEPARATORS]
    + ["\\\\host\\share", "c:\\x", "/\\\\?\\C:\\x", "/\\x", "/a/..\\..\\b", "／a", "\\a"],
    R.EMPTY_SEGMENT: ["//a", "//host/share/x", "//etc/passwd", "///a", "//a//b"],
    R.DOT_SEGMENT: [f"/{dots}" for dots in _DOTS]
    + [f"{dots}/{dots}/etc/passwd" for dots in _DOTS]
    + [f"/a/b/{dots}/c.md" for dots in _DOTS]
    + [f"/a/{dots}" for dots in _DOTS]
    + ["./a", "a/./b", "/a//../b"],
    R.REPOSITORY_FOLDER: [f"/{name}" for name in _GIT]
    + [f"{name}/hooks/pre-commit" for name in _GIT]
    + [f"/vendor/lib/{name}/config" for name in _GIT],
    R.TOO_DEEP: ["/" + "a/" * MAX_SEGMENTS + "a", "a/" * 511 + "a"],
    R.TOO_LONG: [
        "/" + "a" * (MAX_SEGMENT_UNITS + 1),
        "/x/" + "é" * (MAX_SEGMENT_UNITS + 1) + "/y",
        "/" + "👩" * 128,
        "/" + "/".join(["a" * 100] * 11),
        "/" + "字" * 342,
        "/" + "../" * 500,
        "/\ud800" * 1024,
    ],
}
#: Each dangerous path with why it is rejected.
REJECTED = [(path, reason) for reason, paths in _BY_REJECTION.items() for path in paths]

_BY_MARK: dict[Portability, list[str]] = {
    P.DEVICE_NAME: [f"/{name}{more}" for name, more in product(_DEVICES, ("", ".txt", ".tar.gz", "/x.md"))]
    + ["/a/nul .md", "/a/b/AUX.h", "con"],
    P.TRAILING_DOT_OR_SPACE: [
        *("/a.", "/a ", "/a. ", "/a .", "/a./b", "/a /b", "/...", "/ ", " /a", "/. .", "/.. ."),
        *("/a．", "/a\u3000", "/a\xa0", "/a/b.", "/a.../b", "/a\u2003"),
    ],
    P.RESERVED_CHARACTER: [f"/a{mark}b.md" for mark in '?*|<>"']
    + ["/*?", "/<img src=x onerror=alert(1)>.md", '/\'; DROP TABLE "x"; --'],
    P.COLON: [
        "/a:b",
        "C:/x",
        "/C:/Windows/x",
        "/x.txt:stream",
        "/x::$DATA",
        "/a：b",
        "/a∶b",
        "/a︓b",
        "/a﹕b",
    ],
    P.NOT_NORMALIZED: [
        unicodedata.normalize("NFD", path)
        for path in ("/é.md", "/Å/x", "/ñandú", "/각", "/ắ.md", "/ü/ö/ä", "/Ω\u0301", "/が.md")
    ]
    + ["/\u212b", "/\u2126", "/\u1100\u1161", "/a\u0301\u0323"],
    P.DECEPTIVE_CHARACTER: [f"/a{chr(code)}b.md" for code in _INVISIBLE]
    + ["/report\u202efdp.exe", "/\ufeffa", "\ufeff/a", "/a\u2066/b", "/¥100.md", "/₩.md"],
    P.EMPTY_SEGMENT: ["/a//b", "a//b", "/a///b/c"],
    P.HOME_FOLDER: ["~/x", "~root/.ssh/id", "/~", "/~x/y"],
    P.LONG_SEGMENT: ["/" + "字" * 86, "/x/" + "é" * 128 + "/y", "/" + "👩" * 127],
}
#: Each path that only some systems can store, with its mark.
MARKED = [(path, mark) for mark, paths in _BY_MARK.items() for path in paths]

PORTABLE = [
    *("/a", "/a.md", "/THE_SPEC/constitution.md", "/definition.json", "/docs/guides/step_10.md", "/.env"),
    *("/..a", "/a..b", "/...a", "/.a/.b", "/a b/c d.md", "/sp ace's %#é.md", "/%2e%2e/x", "/a~/b~1"),
    *("/-rf", "/$(id)", "/`id`", "/{{7+7}}"),
    *("/con1", "/console", "/nulls.md", "/com10", "/lpt", "/auxiliary/x", "/com", "/COM1a"),
    *("/字/漢.md", "/Привет.md", "/مرحبا.md", "/👩\u200d💻.md", "/क्\u200dष.md", "/é.md", "/ſ", "/ﬁle", "/①"),
    *("/a,b;c=d&e", "/a+b", "/a@b", "/[x]", "/½.md"),
    *("/.gitignore", "/.github/workflows/ci.yml", "/.gitmodules", "/git", "/a.git", "/digit~1", "/.hgignore"),
    *("a", "a/b", "question.txt", "%2e%2e/x", "file/x"),
    *("/" + "a" * MAX_SEGMENT_UNITS, "/" + "/".join(["a" * 92] * 11), "/a" * MAX_SEGMENTS),
]


def test_the_corpora_are_large() -> None:
    assert len({path for path, _ in REJECTED}) >= 250
    assert len({path for path, _ in MARKED}) >= 150
    among_others = {R.TOO_MANY_FILES, R.TOO_LARGE, R.UNREADABLE}
    assert {reason for _, reason in REJECTED} == set(R) - among_others
    assert {mark for _, mark in MARKED} == set(P) - {P.COLLISION, P.ABOVE_A_FILE, P.UNDER_A_FILE}


def test_every_dangerous_path_is_rejected_for_what_it_is() -> None:
    assert {path: rejection_of(path) for path, _ in REJECTED} == dict(REJECTED)


def test_every_path_that_some_systems_cannot_store_is_kept_with_a_mark() -> None:
    assert {path: rejection_of(path) for path, _ in MARKED} == dict.fromkeys(path for path, _ in MARKED)
    assert [(path, mark) for path, mark in MARKED if mark not in portability_of(path)] == []


@pytest.mark.parametrize("path", PORTABLE)
def test_a_portable_path_has_no_mark(path: str) -> None:
    assert (rejection_of(path), portability_of(path)) == (None, ())
    assert len(path.encode()) <= MAX_PATH_BYTES


SEGMENTS = st.text("aX9_-.", max_size=3) | st.sampled_from([*_DEVICES, *_GIT, "nul.txt", "com1.", "console"])


@given(st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join))
def test_a_path_of_plain_names_is_judged_as_it_is_under_a_folder_with_another_name(path: str) -> None:
    assume(not path.startswith("/"))
    under = f"é/{path}"
    assert (rejection_of(path), portability_of(path)) == (rejection_of(under), portability_of(under))


def test_a_path_may_have_several_marks_in_a_fixed_order() -> None:
    assert portability_of('~a:"/nul. ') == (
        *(P.DEVICE_NAME, P.TRAILING_DOT_OR_SPACE, P.RESERVED_CHARACTER, P.COLON),
        P.HOME_FOLDER,
    )


def test_every_path_of_a_recorded_run_is_portable() -> None:
    paths: set[str] = set()
    for name in NAMES:
        for frame in frames(name):
            data = json.loads(frame)["data"]
            paths.update(data.get("files") or () if isinstance(data, dict) else ())
    assert len(paths) > 20
    assert {path: rejection_of(path) for path in paths} == dict.fromkeys(paths)
    assert portability_marks(sorted(paths)) == {}


@pytest.mark.parametrize(
    "paths",
    [
        ("/a", "/A"),
        ("/STRASSE", "/straße"),
        ("/É", "/é", "/e\u0301"),
        ("/\u212b", "/å"),
        ("/a.md", "a.md"),
        ("/a//b", "/a/b", "a/b"),
        ("/a", "/a.", "/a ", "/a. ."),
        ("/a\u200d", "/a"),
        ("/a\u202eb", "/AB"),
    ],
)
def test_paths_that_some_system_takes_for_one_are_all_marked(paths: tuple[str, ...]) -> None:
    marks = portability_marks([*paths, "/other"])
    assert all(P.COLLISION in marks[path] for path in paths)
    assert "/other" not in marks


def test_a_file_above_another_and_the_one_below_it_are_marked() -> None:
    assert portability_marks(["/a", "/a/b", "/ab", "/a/b/c"]) == {
        "/a": (P.ABOVE_A_FILE,),
        "/a/b": (P.ABOVE_A_FILE, P.UNDER_A_FILE),
        "/a/b/c": (P.UNDER_A_FILE,),
    }
    # Also where another system takes them for one.
    assert portability_marks(["/a", "/a/ "])["/a"] == (P.COLLISION, P.ABOVE_A_FILE)
    # Also where only some systems take one for the folder of the other.
    assert portability_marks(["a", "/A/b"]) == {"a": (P.ABOVE_A_FILE,), "/A/b": (P.UNDER_A_FILE,)}
    assert portability_marks(["/a/x", "/A/y"]) == {}


_SEGMENTS = st.one_of(
    st.sampled_from(
        [
            "a",
            "A",
            "b",
            "é",
            "e\u0301",
            "..",
            ".",
            "",
            "．．",
            ".. ",
            "CON",
            "nul.md",
            "a.",
            "\\..",
            "~",
            ".git",
        ]
    ),
    st.text(st.sampled_from("aA./\\:~ \0\n\u202e\u200bé．"), max_size=4),
    st.text(max_size=3),
)
_PATHS = st.builds(
    lambda start, segments: start + "/".join(segments),
    st.sampled_from(["/", ""]),
    st.lists(_SEGMENTS, min_size=1, max_size=4),
)
#: Few enough to meet.
_NEIGHBOURS = st.sampled_from(["/a", "/A", "a", "/a/b", "/A/b", "/A/B/c", "/a//b", "/é", "/É/x"])


@settings(max_examples=100)
@given(st.lists(st.one_of(_PATHS, _NEIGHBOURS), max_size=12))
def test_whatever_is_kept_is_written_below_a_folder_and_unmarked_files_exactly(paths: list[str]) -> None:
    files = {path: File(path.encode("utf-8", "surrogatepass")) for path in paths}
    found = partition_files(FileSet(files))
    assert {*found.kept, *(each.path for each in found.rejected)} == set(files)
    assert len(found.kept) + len(found.rejected) == len(files)
    keys = {path_key(path) for path in found.kept if path not in found.portability}
    assert len(keys) == len(found.kept.keys() - found.portability)
    with tempfile.TemporaryDirectory() as made:
        root = Path(made).resolve()
        inside = root / "inside"
        inside.mkdir()
        for path, file in found.kept.items():
            target = inside / path.removeprefix("/")
            assert target.resolve().is_relative_to(inside)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                exists = target.exists()
                target.write_bytes(file.content)
            except OSError:
                assert path in found.portability
            else:
                assert not exists or P.COLLISION in found.portability[path]
        assert [each.name for each in root.iterdir()] == ["inside"]
        for path, file in found.kept.items():
            if path not in found.portability:
                assert (inside / path.removeprefix("/")).read_bytes() == file.content


@pytest.mark.parametrize(("path", "reason"), REJECTED[::7])
def test_a_dangerous_path_among_good_ones_takes_only_itself_away(path: str, reason: Rejection) -> None:
    found = partition_files(FileSet({"/good.md": File(b""), path: File(b"x")}))
    assert list(found.kept) == ["/good.md"]
    assert [(each.path, each.reason) for each in found.rejected] == [(path, reason.value)]


@pytest.mark.parametrize(
    "path",
    [
        "/a" * (8 << 20),
        "/" + "\u0301" * (8 << 20),
        "\ud800" * (8 << 20),
        "/" * (16 << 20),
        "/" + "ﷺ" * 341,
        "/" + "\u0301\u0327" * 255,
    ],
)
def test_no_path_takes_long(path: str) -> None:
    began = time.thread_time()
    partition_files(FileSet({path: File(b"")}))
    assert time.thread_time() - began < 0.5


def test_many_deep_paths_do_not_take_long() -> None:
    paths = [f"{number:05}" + "/a" * (MAX_SEGMENTS - 1) for number in range(20_000)]
    began = time.thread_time()
    found = partition_files(FileSet(dict.fromkeys(paths, File(b""))))
    assert time.thread_time() - began < 5
    assert (len(found.kept), found.portability) == (5_000, {})


def test_many_colliding_files_above_many_others_do_not_take_long() -> None:
    above = ["a" + "." * number for number in range(200)] + ["\u200b" * number + "a" for number in range(200)]
    above += [f"{'/' * number}a" for number in range(1, 100)]
    below = [f"a/{number}" for number in range(4000)]
    began = time.thread_time()
    marks = portability_marks(sorted({*above, *below}))
    assert time.thread_time() - began < 2
    assert all(P.UNDER_A_FILE in marks[path] for path in below)
    assert all({P.COLLISION, P.ABOVE_A_FILE} <= set(marks[path]) for path in above)


# --- A workflow's own files ------------------------------------------------------------------------


@pytest.mark.parametrize("path", [path for path in PORTABLE if path.startswith("/")])
def test_a_workflow_may_have_every_portable_path_that_is_absolute(path: str) -> None:
    assert strict_fault(["/x.md", path]) is None


@pytest.mark.parametrize(("path", "code"), [*REJECTED[::3], *MARKED[::3]])
def test_a_workflow_may_have_no_path_that_is_rejected_or_marked(path: str, code: str) -> None:
    found = strict_fault(["/x.md", path])
    assert found is not None
    assert found[0] == path
    assert path.startswith("/") != (found[1] == "not_absolute")


def test_a_workflow_may_have_no_paths_that_collide() -> None:
    assert strict_fault(["/b", "/a", "/A"]) == ("/A", "collision")
    assert strict_fault(["/b", "/b/c"]) == ("/b", "above_a_file")
    assert strict_fault(["/b", "a"]) == ("a", "not_absolute")
