"""Paths of generated files: a corpus of hostile and of good ones, and files really written."""

from __future__ import annotations

import json
import tempfile
import unicodedata
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.domain.proposals.files import File
from server.domain.proposals.paths import (
    MAX_PATH_BYTES,
    MAX_SEGMENT_BYTES,
    PathFault,
    RejectedFile,
    partition_files,
    path_fault,
    path_key,
)
from tests.support.recordings import NAMES, frames

F = PathFault
_DEVICES = ["CON", "con", "PRN", "aux", "NUL", "nul", "COM0", "com1", "COM9", "lpt1", "LPT9", "COM¹", "lpt³"]
_DEVICES += ["CONIN$", "conout$", "CLOCK$", "ＣＯＮ", "ｎｕｌ"]
_CONTROLS = [*range(0x20), 0x7F, *range(0x80, 0xA0), 0x2028, 0x2029]
_DECEPTIVE = [0x00AD, 0x061C, 0x180E, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), 0x2060, 0x2066, 0x2069]
_DECEPTIVE += [0xFEFF, 0xFFF9, 0xE0001, 0xE0041, 0x3164, 0x115F]
_SEPARATORS = ["\\", ":", "／", "＼", "：", "℀", "∕", "⁄", "⧵", "∖", "∶", "︓", "﹕", "﹨"]
_DOTS = [".", "..", " .", ".. ", " .. ", "．", "．．", "․․", "‥"]

_BY_FAULT: dict[PathFault, list[str]] = {
    F.NOT_ABSOLUTE: [
        "",
        "a",
        "a/b",
        "..",
        "../x",
        "../../etc/passwd",
        "./a",
        "~/x",
        "~root/.ssh/id",
        "C:/x",
        "c:\\x",
        "\\\\host\\share",
        "file:///x",
        "%2e%2e/x",
        " /a",
        "\n/a",
        "\ufeff/a",
        "／a",
        "\\a",
        "con",
    ],
    F.LONE_SURROGATE: ["/\ud800", "/a\udfff.md", "/\ud83d", "/\udc00\ud800/x", "/ok/\udcff", "/../\ud800"],
    F.CONTROL_CHARACTER: [f"/a{chr(code)}b.md" for code in _CONTROLS]
    + [f"/..{chr(code)}/etc/passwd" for code in (0, 10, 13, 27, 0x7F)],
    F.DECEPTIVE_CHARACTER: [f"/a{chr(code)}b.md" for code in _DECEPTIVE]
    + ["/report\u202efdp.exe", "/.\u200b./x", "/\ufeffa", "/CON\u00ad", "/a\u2066/b"],
    F.SEPARATOR: [f"/a{mark}b" for mark in _SEPARATORS]
    + [f"/..{mark}..{mark}etc{mark}passwd" for mark in _SEPARATORS]
    + ["/C:/Windows/x", "/x.txt:stream", "/x::$DATA", "/\\\\?\\C:\\x", "/\\x", "/a/..\\..\\b"],
    F.EMPTY_SEGMENT: ["/", "//", "///", "/a/", "/a//b", "//host/share/x", "/a/b//", "//etc/passwd", "/../"],
    F.DOT_SEGMENT: [f"/{dots}" for dots in _DOTS]
    + [f"/{dots}/{dots}/etc/passwd" for dots in _DOTS]
    + [f"/a/b/{dots}/c.md" for dots in _DOTS]
    + [f"/a/{dots}" for dots in _DOTS],
    F.DEVICE_NAME: [f"/{name}{more}" for name, more in product(_DEVICES, ("", ".txt", ".tar.gz", "/x.md"))]
    + ["/a/nul .md", "/a/b/AUX.h"],
    F.TRAILING_DOT_OR_SPACE: [
        "/a.",
        "/a ",
        "/a. ",
        "/a .",
        "/a./b",
        "/a /b",
        "/...",
        "/ ",
        "/a．",
        "/a\u3000",
        "/a\xa0",
        "/a/b.",
        "/a.../b",
        "/a\u2003",
    ],
    F.NOT_NORMALIZED: [
        unicodedata.normalize("NFD", path)
        for path in ("/é.md", "/Å/x", "/ñandú", "/각", "/ắ.md", "/ü/ö/ä", "/Ω\u0301", "/が.md")
    ]
    + ["/\u212b", "/\u2126", "/\u1100\u1161", "/a\u0301\u0323"],
    F.TOO_LONG: [
        "/" + "a" * (MAX_SEGMENT_BYTES + 1),
        "/" + "é" * 128,
        "/x/" + "字" * 86 + "/y",
        "/" + "/".join(["a" * 100] * 11),
        "/a" * 600,
        "/" + "👩" * 64,
    ],
}
#: Each hostile path with what is wrong with it.
HOSTILE = [(path, fault) for fault, paths in _BY_FAULT.items() for path in paths]

GOOD = [
    *("/a", "/a.md", "/THE_SPEC/constitution.md", "/definition.json", "/docs/guides/step_10.md", "/.env"),
    *("/..a", "/a..b", "/...a", "/.a/.b", "/a b/c d.md", "/sp ace's %#\"é.md", "/%2e%2e/x", "/~", "/~x/y"),
    *("/-rf", "/*?", "/<img src=x onerror=alert(1)>.md", "/'; DROP TABLE proposals; --", "/$(id)", "/`id`"),
    *("/{{7*7}}", "/con1", "/console", "/nulls.md", "/com10", "/lpt", "/auxiliary/x", "/com", "/COM1a"),
    *("/字/漢.md", "/Привет.md", "/مرحبا.md", "/👩\u200d💻.md", "/क्\u200dष.md", "/é.md", "/ſ", "/ﬁle", "/①"),
    *("/a,b;c=d&e", "/a+b", "/a@b", "/[x]", "/a|b"),
    *("/" + "a" * MAX_SEGMENT_BYTES, "/" + "/".join(["a" * 92] * 11)),
]


def test_the_corpus_is_large() -> None:
    assert len({path for path, _ in HOSTILE}) >= 300
    among_others = {F.COLLISION, F.UNDER_A_FILE, F.TOO_MANY_FILES, F.TOO_LARGE}
    assert {fault for _, fault in HOSTILE} == set(F) - among_others


def test_every_hostile_path_is_refused_for_what_it_is() -> None:
    told = {path: path_fault(path) for path, _ in HOSTILE}
    assert told == dict(HOSTILE)


@pytest.mark.parametrize("path", GOOD)
def test_a_good_path_is_kept(path: str) -> None:
    assert path_fault(path) is None
    assert len(path.encode()) <= MAX_PATH_BYTES


def test_no_path_of_a_recorded_run_is_refused() -> None:
    paths: set[str] = set()
    for name in NAMES:
        for frame in frames(name):
            data = json.loads(frame)["data"]
            paths.update(data.get("files") or () if isinstance(data, dict) else ())
    assert len(paths) > 20
    assert {path: path_fault(path) for path in paths} == dict.fromkeys(paths)


def outcome(*paths: str, **limits: int) -> tuple[list[str], list[tuple[str, PathFault]]]:
    """The paths that are kept, and the others."""
    kept, rejected = partition_files({path: File(b"12345") for path in paths}, **limits)
    return list(kept), [(each.path, each.fault) for each in rejected]


def test_of_files_that_collide_the_first_in_path_order_is_kept() -> None:
    assert outcome("/b", "/a", "/A", "/B/x") == (
        ["/A", "/B/x"],
        [("/a", F.COLLISION), ("/b", F.COLLISION)],
    )
    assert outcome("/STRASSE", "/straße") == (["/STRASSE"], [("/straße", F.COLLISION)])
    assert outcome("/É", "/é") == (["/É"], [("/é", F.COLLISION)])
    assert outcome("/a", "/a/b") == (["/a"], [("/a/b", F.UNDER_A_FILE)])
    assert outcome("/a", "/a/b", "/A/c", "/ab") == (["/A/c", "/a/b", "/ab"], [("/a", F.COLLISION)])
    assert outcome("/a/x", "/A/y") == (["/A/y", "/a/x"], [])


def test_a_rejected_file_blocks_no_other() -> None:
    assert outcome("/../a", "/a", "/a.") == (
        ["/a"],
        [("/../a", F.DOT_SEGMENT), ("/a.", F.TRAILING_DOT_OR_SPACE)],
    )


def test_files_beyond_the_limits_are_rejected_and_smaller_ones_after_them_kept() -> None:
    assert outcome("/a", "/b", "/c", max_files=2) == (["/a", "/b"], [("/c", F.TOO_MANY_FILES)])
    files = {"/a": File(b"1234"), "/b": File(b"123456789"), "/c": File(b"1")}
    kept, rejected = partition_files(files, max_bytes=6)
    assert list(kept) == ["/a", "/c"]
    assert rejected == (RejectedFile("/b", F.TOO_LARGE),)


_SEGMENTS = st.one_of(
    st.sampled_from(
        ["a", "A", "b", "é", "e\u0301", "..", ".", "", "．．", ".. ", "CON", "nul.md", "a.", "\\..", "~"]
    ),
    st.text(st.sampled_from("aA./\\:~ \0\n\u202e\u200bé．"), max_size=4),
    st.text(max_size=3),
)
_PATHS = st.lists(_SEGMENTS, min_size=1, max_size=4).map(lambda segments: "/" + "/".join(segments))


#: Few enough to meet.
_NEIGHBOURS = st.sampled_from(["/a", "/A", "/a/b", "/A/b", "/A/B/c", "/é", "/É/x"])


@settings(max_examples=300)
@given(st.lists(st.one_of(_PATHS, _NEIGHBOURS), max_size=12))
def test_whatever_is_kept_can_be_written_below_a_folder_and_leaves_it_never(paths: list[str]) -> None:
    files = {path: File(path.encode("utf-8", "surrogatepass")) for path in paths}
    kept, rejected = partition_files(files)
    assert {*kept, *(each.path for each in rejected)} == set(files)
    assert len(kept) + len(rejected) == len(files)
    keys = {path_key(path) for path in kept}
    assert len(keys) == len(kept)
    assert not any(each.startswith(f"{other}/") for each in keys for other in keys)
    with tempfile.TemporaryDirectory() as made:
        root = Path(made).resolve()
        inside = root / "inside"
        inside.mkdir()
        for path, file in kept.items():
            target = inside / path.removeprefix("/")
            assert target.resolve().is_relative_to(inside)
            target.parent.mkdir(parents=True, exist_ok=True)
            assert not target.exists()
            target.write_bytes(file.content)
        assert [each.name for each in root.iterdir()] == ["inside"]
        written = {f"/{each.relative_to(inside)}" for each in inside.rglob("*") if each.is_file()}
        assert written == set(kept)


@pytest.mark.parametrize(("path", "fault"), HOSTILE[::7])
def test_a_hostile_path_among_good_ones_takes_only_itself_away(path: str, fault: PathFault) -> None:
    assert outcome("/good.md", path) == (["/good.md"], [(path, fault)])
