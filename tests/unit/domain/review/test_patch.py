"""The patch, as the real git applies it: exactly the target's files, from whatever files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random

import pytest

from server.domain.proposals.files import File, parse_file
from server.domain.review.patch import make_patch
from tests.support.git import contents, git, needs_git, read, write
from tests.support.recordings import NAMES, frames
from tests.unit.domain.review.texts import edited, random_text

#: Names that are quoted, that look like parts of a patch, or that some system cannot store.
HOSTILE_NAMES = [
    "plain.md",
    "a b/c d.md",
    " leading",
    "trailing ",
    'with "quotes"',
    "it's",
    "é.md",
    "e\u0301.md",
    "字/👩\u200d💻.md",
    "x b/x",
    "a/x b/x",
    "b/x",
    "/dev/null",
    "dev null",
    "-rf",
    "--- a",
    "+++ b",
    "@@ -1 +1 @@",
    "a => b",
    "{a => b}/c",
    "rename from x",
    "CON",
    "nul.txt",
    "c:d",
    "~/.profile",
    "what?*|<>",
    "dot.",
    ".gitignore",
    ".gitattributes",
    "/absolute/path",
    "no//segment",
    "\u202egpj.exe",
    "n" * 255,
]


def _versions(name: str) -> Iterator[dict[str, File]]:
    """The files of a recorded run, as its states have them."""
    before: object = None
    for frame in frames(name):
        data = json.loads(frame)["data"]
        found = data.get("files") if isinstance(data, dict) else None
        if isinstance(found, dict) and found != before:
            before = found
            yield {path: parse_file(file) for path, file in found.items()}


def assert_applies(folder: Path, base: Mapping[str, File], target: Mapping[str, File]) -> None:
    """git makes the target of the base, and takes it back."""
    patch = make_patch(base, target)
    assert patch.left_out == ()
    text = b"".join(patch.text())
    write(folder, base)
    for arguments, expected in (((), target), (("--reverse",), base)):
        done = git(folder, "apply", "--whitespace=nowarn", *arguments, stdin=text) if text else None
        assert done is None or (done.returncode, done.stderr) == (0, b""), done.stderr.decode()
        plain = {"/".join(filter(None, path.split("/"))): file for path, file in expected.items()}
        assert read(folder) == contents(plain)


@needs_git
@pytest.mark.parametrize("name", NAMES)
def test_git_applies_the_patches_of_every_recording(name: str, tmp_path: Path) -> None:
    versions = [{}, *_versions(name)]
    middle = versions[len(versions) // 2]
    for number, (base, target) in enumerate([({}, middle), (middle, versions[-1]), ({}, versions[-1])]):
        assert_applies(tmp_path / str(number), base, target)


@needs_git
def test_git_applies_patches_of_files_with_hostile_names(tmp_path: Path) -> None:
    base = {name: File(f"{number}\nsame\n".encode()) for number, name in enumerate(HOSTILE_NAMES)}
    names = list(base)
    modified = {name: File(file.content + b"more\n") for name, file in base.items()}
    renamed = {f"to/{name.lstrip('/')}": base[name] for name in names}
    assert_applies(tmp_path / "modified", base, modified)
    assert_applies(tmp_path / "renamed", base, renamed)
    assert_applies(tmp_path / "added", {}, base)
    assert_applies(tmp_path / "empty", {name: File(b"") for name in names}, modified)


_CONTENTS = {
    "empty": b"",
    "no line feed at the end": b"a\nb",
    "one line feed": b"\n",
    "CRLF": b"a\r\nb\r\nc\r\n",
    "mixed line ends": b"a\r\nb\nc\r\r\n\rd",
    "one carriage return": b"\r",
    "U+0000": b"a\0b\nc\n",
    "lone surrogate": b"a\xed\xa0\x80\n",
    "not UTF-8": bytes(range(256)) * 40,
    "lines of a patch": b"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n\\ No newline at end of file\n",
    "blanks": b" \n\t\n  \n \t \n",
    "a long line": b"x" * 2_000_000,
    "separators that are not line ends": "a\u2028b\u0085c\x0bd\x0ce".encode(),
}


@needs_git
def test_git_applies_patches_between_contents_of_every_form(tmp_path: Path) -> None:
    files = {f"/{name}.txt": File(content, name != "not UTF-8") for name, content in _CONTENTS.items()}
    names = list(files)
    for shift in range(1, len(names), 4):
        target = {name: files[names[(index + shift) % len(names)]] for index, name in enumerate(names)}
        assert_applies(tmp_path / str(shift), files, target)
    assert_applies(tmp_path / "added", {}, files)


@needs_git
def test_git_applies_patches_of_files_that_become_folders_and_swap_names(tmp_path: Path) -> None:
    one, other = File(b"1\n2\n3\n"), File(b"4\n5\n6\n")
    assert_applies(tmp_path / "folder", {"/a": one}, {"/a/b": other})
    assert_applies(tmp_path / "file", {"/a/b": one}, {"/a": other})
    assert_applies(tmp_path / "swap", {"/a": one, "/b": other}, {"/a": other, "/b": one})
    assert_applies(tmp_path / "chain", {"/a": one, "/b": other}, {"/b": one, "/c": other})
    assert_applies(tmp_path / "slash", {"/a": one}, {"a": one})


@needs_git
def test_git_applies_a_patch_of_five_hundred_random_files(tmp_path: Path) -> None:
    random = Random(6)
    base = {f"/{number % 7}/{number}.txt": File(random_text(random, 40, 12)) for number in range(500)}
    target = {path: File(edited(random, file.content, 4)) for path, file in base.items()}
    assert_applies(tmp_path / "files", base, target)


def test_files_that_no_folder_holds_beside_another_are_left_out_and_named() -> None:
    target = {path: File(path.encode()) for path in ("/a", "a", "/a/b", "/c//d", "/c/d", "/e/f", "/e")}
    patch = make_patch({}, target)
    assert [change.path for change in patch.changes] == ["a", "c/d", "e"]
    assert patch.left_out == ("/a/b", "/c/d", "/e/f", "a")


def test_a_name_with_a_space_ends_with_a_tab_for_programs_that_would_cut_it_off() -> None:
    text = b"".join(make_patch({"/a b": File(b"1\n")}, {"/a b": File(b"2\n")}).text())
    assert b"--- a/a b\t\n+++ b/a b\t\n@@ -1 +1 @@\n-1\n+2\n" in text


def test_a_patch_of_equal_files_is_empty() -> None:
    files = {"/a": File(b"x")}
    assert b"".join(make_patch(files, dict(files)).text()) == b""
