"""The runtime's file map in JSON, and in Python's printed form where JSON cannot express a value."""

from __future__ import annotations

import base64
import datetime
import json
from collections import OrderedDict, UserDict, defaultdict, deque, namedtuple
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from server.domain.proposals.files import File, NotAFile
from server.frames.file_maps import file_entries, read_file, state_files
from server.frames.interpreter import Interpreter


class Odd:
    """A value whose printed form says nothing."""


@dataclass
class FileData:
    """A runtime's own class of files; a model of pydantic is printed in the same way."""

    content: Any
    mode: int = 7


Pair = namedtuple("Pair", "content encoding")


def files_of(value: object) -> dict[str, File | None]:
    """The files of a map, None for those that cannot be read."""
    text = json.dumps(value if isinstance(value, dict) else str(value)).encode()
    found: dict[str, File | None] = {}
    for path, entry in (file_entries(text) or {}).items():
        try:
            found[path] = read_file(entry)
        except NotAFile:
            found[path] = None
    return found


def printed(**files: Any) -> str:
    """A file map as the runtime prints it."""
    return str({f"/{name}": value for name, value in files.items()})


@pytest.mark.parametrize(
    ("value", "file"),
    [
        ('it\'s\n"x"', File(b'it\'s\n"x"')),
        (b"\x89PNG'\"\\", File(b"\x89PNG'\"\\", False)),
        ({"content": b"\xff\x00"}, File(b"\xff\x00", False)),
        ({"content": b"a'b", "encoding": "utf-8", "mode": 7}, File(b"a'b", False, extra={"mode": "7"})),
        ({"content": ["a", ""], "created_at": "t"}, File(b"a\n", True, "t")),
        ({"content": "b'x'"}, File(b"b'x'")),
        (
            {"content": "x", "modified_at": datetime.date(2025, 1, 2), "by": Odd},
            File(b"x", True, None, "datetime.date(2025, 1, 2)", {"by": json.dumps(str(Odd))}),
        ),
        (bytearray(b"\xff"), File(b"\xff", False)),
        ({"content": bytearray(b"it's")}, File(b"it's", False)),
        ({"content": [b"a", b"\xff"]}, File(b"a\n\xff", False)),
        ({"content": base64.b64encode(b"\xff\x00"), "encoding": "base64"}, File(b"\xff\x00", False)),
        ({"content": b"\xff", "encoding": "base64"}, File(b"\xff", False)),
        ({"content": b"not base64", "encoding": "base64"}, File(b"not base64", False)),
        (FileData("it's (x"), File(b"it's (x", extra={"mode": "7"})),
        (FileData(["a", "b"]), File(b"a\nb", extra={"mode": "7"})),
        (FileData(b"\xff"), File(b"\xff", False, extra={"mode": "7"})),
        (SimpleNamespace(content="x"), File(b"x")),
        (Pair("x", None), File(b"x")),
        (OrderedDict(content="x", by={1}), File(b"x", extra={"by": '"{1}"'})),
        (defaultdict(str, content="x"), File(b"x")),
        (FileData(Odd()), None),
        (SimpleNamespace(text="x"), None),
        (deque(["x"]), None),
        ({"content": [b"a", Odd()]}, None),
        (Odd(), None),
        ({"content": Odd()}, None),
        ({"content": {1, 2}}, None),
        (17, None),
    ],
)
def test_a_printed_map_has_the_files_that_it_had_before_it_was_printed(value: Any, file: File | None) -> None:
    assert files_of(printed(a=value, other="o")) == {"/a": file, "/other": File(b"o")}


@pytest.mark.parametrize(
    "kind", [OrderedDict, UserDict, MappingProxyType, lambda files: defaultdict(dict, files)]
)
def test_the_map_itself_may_be_of_another_class(kind: Any) -> None:
    assert files_of(str(kind({"/a": b"x", "/b": "it's"}))) == {"/a": File(b"x", False), "/b": File(b"it's")}


@pytest.mark.parametrize(
    ("key", "path"),
    [
        (PurePosixPath("/a.md"), "/a.md"),
        (PurePosixPath('/it\'s "a".md'), '/it\'s "a".md'),
        ("PosixPath('/a.md')", "PosixPath('/a.md')"),
    ],
)
def test_a_printed_path_is_the_path_of_its_file(key: Any, path: str) -> None:
    assert files_of(str({key: b"x"})) == {path: File(b"x", False)}


def test_the_printed_forms_of_paths_are_one() -> None:
    for name in ("PosixPath", "PurePosixPath", "Path", "pathlib.PosixPath"):
        assert files_of(f"{{{name}('/a.md'): {{'content': 'x'}}}}") == {"/a.md": File(b"x")}


@pytest.mark.parametrize(
    "key",
    [
        "3",
        "None",
        "b'/a.md'",
        "<Odd>",
        "WindowsPath('C:/a')",
        "PosixPath('/a', '/b')",
        "PosixPath(3)",
        "('/a',)",
    ],
)
def test_an_entry_whose_key_is_not_a_path_is_not_a_file(key: str) -> None:
    assert files_of(f"{{'/b.md': 'y', {key}: 'x'}}") == {"/b.md": File(b"y"), key: None}
    assert file_entries(json.dumps(f"{{{key}: 'x'}}").encode()) is None


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "{",
        "{'/a': 'x'} and more",
        "no map",
        "{1, 2}",
        "[{'/a': 'x'}]",
        "",
        "dict(",
        "dict()",
        "dict({'/a': 'x'}) and more",
        "dict([1, 2])",
    ],
)
def test_another_text_is_not_a_file_map(text: str) -> None:
    assert file_entries(json.dumps(text).encode()) is None


def test_a_printed_map_without_a_file_still_shows_its_paths() -> None:
    assert files_of("{'/a': <x>}") == {"/a": None}


def test_a_run_whose_file_map_is_printed_has_its_files_and_rejects_what_cannot_be_read() -> None:
    interpreter = Interpreter()
    data = {"messages": "[]", "files": printed(a=b"\xff", b="x", c=Odd)}
    interpreter.interpret(json.dumps({"event_type": "on_state_update", "data": data}).encode())
    assert interpreter.files.by_path == {"/a": File(b"\xff", False), "/b": File(b"x")}
    assert interpreter.files.unread.keys() == {"/c"}


def test_an_entry_of_a_state_that_cannot_be_read_is_among_its_files_as_such() -> None:
    files = state_files(b'{"/a": "x", "/b": 7, "/c": null}')
    assert files == {"/a": File(b"x"), "/b": File(b"7", unreadable=True)}
    interpreter = Interpreter()
    (update,) = interpreter.adopt(files)
    assert [change.path for change in update.files] == ["/a"]  # type: ignore[union-attr]
    assert (interpreter.files.by_path, interpreter.files.unread) == ({"/a": File(b"x")}, {"/b": b"7"})
    assert interpreter.adopt(files) == ()
    restored = Interpreter()
    restored.restore(update, b"")
    assert restored.files == interpreter.files
