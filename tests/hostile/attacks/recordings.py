"""Runs of a hostile agent, or of an honest one with large answers: the frames of each, by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Any

MIB = 1 << 20
#: Room that a frame of 16 MiB, the most that the hub takes, leaves for the form around its content.
LARGE = 15 * MIB
END = b'{"event_type": "end", "data": {}}'
_LINE = "a line of a specification as an agent writes it, number %d\n"


def _state(**data: Any) -> bytes:
    return json.dumps({"event_type": "on_state_update", "data": data}).encode()


def _raw_state(name: str, value: bytes) -> bytes:
    return b'{"event_type": "on_state_update", "data": {"' + name.encode() + b'": ' + value + b"}}"


def _token(content: str, metadata: str = "model") -> bytes:
    text = f"(AIMessageChunk(content={content}, id='m'), {{'langgraph_node': '{metadata}'}})"
    return json.dumps({"event_type": "on_llm_stream", "data": {"raw_event": text}}).encode()


def _messages(content: str, more: str = "") -> bytes:
    return _state(messages=f"[AIMessage(content={content}, additional_kwargs={{}}, id='m'{more})]")


def _called(arguments: str) -> bytes:
    return _messages("''", f", tool_calls=[{{'name': 'w', 'args': {{'x': [{arguments}]}}, 'id': 'c'}}]")


def _text(size: int, number: int = 0) -> str:
    line = _LINE % number
    return line * (size // len(line))


def _file(text: str) -> dict[str, Any]:
    return {
        "content": text.split("\n"),
        "created_at": "2026-03-01T12:00:00",
        "modified_at": "2026-03-01T12:00:00",
    }


def _lists(unit: bytes, size: int) -> bytes:
    return b"[" + unit * (size // len(unit)) + b"1]"


def _many_files() -> list[bytes]:
    files = {f"/d{number % 97}/f{number}.md": _file(f"l {number}") for number in range(100_000)}
    return [_state(files=dict(list(files.items())[:count])) for count in (25_000, 50_000, 75_000, 100_000)]


def _deep_files() -> list[bytes]:
    return [_state(files={"/a" * 400 + f"/f{number}": "x" for number in range(14_000)})]


#: A hostile agent's: one run each. What they do is the key of an attack's sentence (frames).
HOSTILE: Mapping[str, tuple[str, Callable[[], list[bytes]]]] = {
    "interpolated-text": (
        "a token whose printed text is an f-string of 150,000 expressions",
        lambda: [_token("f'" + "{a}" * 150_000 + "'")],
    ),
    "printed-numbers": (
        "a token whose printed content is a list of 7 million numbers",
        lambda: [_token("[" + "1," * (7 * MIB) + "1]")],
    ),
    "tool-arguments": (
        "a message whose printed tool arguments are 5 million numbers",
        lambda: [_called("1, " * (5 * MIB) + "1")],
    ),
    "empty-texts": (
        "a message whose printed tool arguments are 3.9 million empty texts",
        lambda: [_called("'', " * 3_900_000 + "''")],
    ),
    "brackets": ("a printed message of 7 million open brackets", lambda: [_messages("[" * LARGE)]),
    "irregular-messages": (
        "60,000 printed messages that no parser reads",
        lambda: [_state(messages="[" + ", ".join(["AIMessage(content=<x y 'z>, id='m')"] * 60_000) + "]")],
    ),
    "empty-lists": (
        "a state whose messages are 5 million empty lists",
        lambda: [_raw_state("messages", _lists(b"[],", LARGE))],
    ),
    "nested-lists": (
        "a state nested 7 million levels deep",
        lambda: [_raw_state("x", b"[" * (LARGE // 2) + b"]" * (LARGE // 2))],
    ),
    "members": (
        "a state with 1.3 million members",
        lambda: [b'{"event_type": "on_state_update", "data": {' + _members(1_300_000) + b"}}"],
    ),
    "deep-files": ("14,000 files, each in 400 folders", _deep_files),
    "long-path": ("a path of 15 MiB", lambda: [_state(files={"/a" * (LARGE // 2): "x"})]),
    "many-files": ("states of 25,000 to 100,000 files", _many_files),
    "line-ends": (
        "a file of 4 million empty lines",
        lambda: [_state(files={"/n.md": {"content": [""] * 3_900_000}})],
    ),
    "large-text": ("a message of 15 MiB of text", lambda: [_messages(repr(_text(LARGE - MIB)))]),
    "large-token": ("a token of 15 MiB of text", lambda: [_token(repr(_text(LARGE - MIB)))]),
    "interrupts": (
        "an interrupt whose value is 5 million empty lists",
        lambda: [_raw_state("__interrupt__", _lists(b"[],", LARGE))],
    ),
    "not-json": ("15 MiB that are not JSON", lambda: [b'{"event_type": "x", "data": {"a": "' + b"z" * LARGE]),
    "token-metadata": (
        "70 tokens, each with metadata of its own of 1 MiB",
        lambda: [_token("'x'", f"\U0001f642{number}" + "m" * (MIB - 500)) for number in range(70)],
    ),
    "tool-calls": (
        "12 tokens of a message, each with 100,000 tool calls of its own",
        lambda: [_calls(number, 100_000) for number in range(12)],
    ),
    "other-keys": (
        "40 states, each with another key, of 12 MiB",
        lambda: [_raw_state(f"key{number}", b'"' + b"v" * (12 * MIB) + b'"') for number in range(40)],
    ),
}


def _calls(number: int, count: int) -> bytes:
    """A piece of a message with so many tool calls."""
    chunks = [{"id": f"call-{number}-{index}", "name": "t", "args": ""} for index in range(count)]
    message = {"type": "AIMessageChunk", "content": "", "id": "m", "tool_call_chunks": chunks}
    return json.dumps({"event_type": "on_llm_stream", "data": {"raw_event": [message, {}]}}).encode()


def _open_values() -> list[bytes]:
    """What a run remembers of its state, a mebibyte of each."""
    todos = [{"content": f"todo {number}", "status": "done"} for number in range(22_000)]
    files = {f"/f{number}.md": _file(str(number)) for number in range(9_000)}
    return [
        _state(todos=todos),
        _state(files=files),
        _raw_state("__interrupt__", b'["' + b"q" * (MIB - 200) + b'"]'),
        _raw_state("files", b'{"/x": [' + b"1," * (MIB // 2 - 200) + b"1]}"),
    ]


def _members(count: int) -> bytes:
    return b",".join(b'"%d":1' % number for number in range(count))


def _large() -> list[bytes]:
    """A file of 10 MB that changes 20 times."""
    return [
        _state(messages=f"m{number}", files={"/large.md": _file(_text(10_000_000, number))})
        for number in range(20)
    ]


def _mebibytes() -> list[bytes]:
    """A file of 1 MiB that changes 60 times, and 12 of them at the end."""
    changes = [
        _state(messages=f"m{number}", files={"/a.md": _file(_text(MIB, number))}) for number in range(60)
    ]
    last = {f"/f{number}.md": _file(_text(MIB, number)) for number in range(12)}
    return [*changes, _state(messages="last", files=last)]


def _long_names() -> list[bytes]:
    """As many files as a proposal may have, with long paths."""
    folders = "/" + "folder/" * 90
    files = {folders + "f" * 230 + f"{number}.md": _file(str(number)) for number in range(5_000)}
    return [_state(messages="m", files=files)]


def _tokens(count: int) -> list[bytes]:
    """That many tokens."""
    return [_token(repr(f"token {number} ")) for number in range(count)]


def _pieces(count: int) -> list[bytes]:
    """That many pieces of the arguments of a tool call, as when an agent writes a file."""
    return [
        json.dumps(
            {
                "event_type": "on_llm_stream",
                "data": {
                    "raw_event": [
                        {
                            "type": "AIMessageChunk",
                            "content": "",
                            "id": "m",
                            "tool_call_chunks": [{"index": 0, "args": f"{number} "}],
                        },
                        {},
                    ]
                },
            }
        ).encode()
        for number in range(count)
    ]


#: Runs that readers catch up with: together they are larger than what readers share.
OLD_RUNS = tuple(f"old-{number}" for number in range(8))

#: Lines of a file that is made to be slow to compare. 250,000 on each side are matched at most.
_COMPARED = 150_000


def _lines(numbers: Iterable[int]) -> list[bytes]:
    """A file with a line for each number."""
    return [_state(messages="m", files={"/n.md": "".join(f"{number}\n" for number in numbers)})]


def _shuffled(seed: int, numbers: Iterable[int] = range(_COMPARED)) -> list[int]:
    shuffled = list(numbers)
    Random(seed).shuffle(shuffled)
    return shuffled


#: Files that are made to be slow to compare with each other.
CRAFTED: Mapping[str, Callable[[], list[bytes]]] = {
    "ordered": lambda: _lines(range(_COMPARED)),
    "shuffled": lambda: _lines(_shuffled(1)),
    "backwards": lambda: _lines(reversed(range(_COMPARED))),
    "thirds": lambda: _lines(number % 3 for number in _shuffled(2)),
    "other-thirds": lambda: _lines(number % 3 for number in _shuffled(3)),
    "blank": lambda: [_state(messages="m", files={"/n.md": "\n" * _COMPARED})],
    "marked": lambda: [_state(messages="m", files={"/n.md": "\nx\n" * (_COMPARED // 2)})],
    "rewritten": lambda: [frame for seed in range(20) for frame in _lines(_shuffled(seed, range(100_000)))],
}

#: Runs whose results are large though their agent is honest.
LARGE_RUNS: Mapping[str, Callable[[], Iterable[bytes]]] = {
    "large": _large,
    "mebibytes": _mebibytes,
    "long": lambda: [*_tokens(50_000), _state(messages="m", files={"/a.md": _file("x")})],
    "frames": lambda: [
        _state(messages=f"m{n}", files={"/a.md": _file(_text(LARGE - 3 * MIB, n))}) for n in range(4)
    ],
    "states": lambda: [
        _state(messages=f"m{n}", files={"/a.md": _file(_text((64 + n % 180) << 10, n))}) for n in range(400)
    ],
    "shapes": lambda: [
        b'{"event_type":"x%d","data":{"a%d":%d}}' % (n % 5000, n % 997, n) for n in range(20_000)
    ],
    "windows": lambda: [
        _state(messages=f"m{number}", files={f"/a{number}.md": _file(_text(200_000, number))})
        for number in range(28)
    ],
    "many": _many_files,
    "names": _long_names,
    "lines": lambda: [_state(messages="m", files={"/n.md": "\n" * 7_000_000})],
    "more-lines": lambda: [_state(messages="m", files={"/n.md": "\n" * 7_000_001})],
    **dict.fromkeys(OLD_RUNS, lambda: [*_pieces(20_000), _state(messages="m", files={"/a.md": _file("x")})]),
}


#: Runs that do not end. A user may have 50 of them, and each remembers what its agent has sent.
OPEN_RUNS: Mapping[str, Callable[[], list[bytes]]] = {
    "open-values": _open_values,
    "open-files": lambda: _many_files()[-1:],
    "open-frames": lambda: list(LARGE_RUNS["frames"]()),
    "open-pieces": lambda: _pieces(50_000),
}


def frames_of(name: str) -> list[bytes]:
    """A recording's frames, with its end if it has one."""
    if name in OPEN_RUNS:
        return OPEN_RUNS[name]()
    if name in CRAFTED:
        return [*CRAFTED[name](), END]
    made = HOSTILE[name][1]() if name in HOSTILE else list(LARGE_RUNS[name]())
    return [*made, END]
