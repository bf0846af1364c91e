"""What a runtime sends besides frames: control frames, and answers over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.hostile.attacks.attack import Aim, Attack, Family
from tests.hostile.attacks.frames import play

FAMILY = Family("connections and answers of the runtime")
_MIB = 1 << 20
#: Room that an answer of 32 MiB, the most that the hub takes, leaves for the form around its content.
_LARGE = 31 * _MIB


@dataclass(frozen=True)
class Harm:
    """What the runtime does in a run. first: what its WebSocket sends, and then nothing; piece: what it
    repeats without end; without either, it is closed at once. state, to_job: its answers, if they are not
    the usual ones."""

    first: bytes = b""
    piece: bytes = b""
    state: bytes = b""
    to_job: bytes = b""


def _fragments() -> Harm:
    return Harm(piece=b"\x01\x01x" + b"\x00\x00" * 30_000 + b"\x80\x00")


def _half(first: bytes) -> Harm:
    """A large message, of which the last byte never comes. first: what comes before its length."""
    return Harm(first=first + b"\x7f" + (15 * _MIB).to_bytes(8, "big") + b"x" * (15 * _MIB - 1))


def _state(files: bytes) -> Harm:
    return Harm(state=b'{"status":"completed","generated_files":{' + files + b"}}")


def _many(count: int) -> Harm:
    return _state(b",".join(b'"/%d":"x"' % number for number in range(count)))


def _empty_values(size: int) -> bytes:
    return b'{"thread_id":[' + b"{}," * (size // 3) + b"NaN]}"


#: By the name of the recording that a job asks for.
ANSWERS: Mapping[str, Callable[[], Harm]] = {
    "pings": lambda: Harm(piece=b"\x89\x00" * 30_000),
    "empty-fragments": _fragments,
    "half-messages": lambda: _half(b"\x81"),
    "half-fragments": lambda: _half(b"\x01\x00\x80"),
    "states-of-many-files": lambda: _many(199_000),
    "states-of-too-many-files": lambda: _many(_LARGE // 14),
    "large-states": lambda: _state(b'"/a.md":"' + b"a line\\n" * (_LARGE // 8) + b'"'),
    "answers-to-jobs": lambda: Harm(to_job=_empty_values(_LARGE)),
}
#: What each does, and how many runs there are at a time.
_WHAT: Mapping[str, tuple[str, int]] = {
    "pings": ("Three runs whose WebSockets send pings without end.", 3),
    "empty-fragments": (
        "Three runs whose WebSockets send messages in 30,000 empty fragments without end.",
        3,
    ),
    "half-messages": (
        "49 runs whose WebSockets send a message of 15 MiB, of which the last byte never comes.",
        49,
    ),
    "half-fragments": ("49 runs likewise, after a first fragment without content.", 49),
    "states-of-many-files": (
        "49 runs whose streams are closed at once, and whose states have 199,000 files.",
        49,
    ),
    "states-of-too-many-files": ("49 runs likewise, whose states have 2.3 million files.", 49),
    "large-states": ("49 runs likewise, whose states have a file of 31 MiB.", 49),
    "answers-to-jobs": (
        "Starts of runs, five at a time, that are answered with 10 million empty objects.",
        5,
    ),
}


def _attack(name: str) -> Attack:
    what, at_once = _WHAT[name]

    async def run(aim: Aim) -> str:
        return await play(aim, name, at_once=at_once, max_runs=8 * at_once)

    return Attack(f"runtime-{name}", what, run, plays=(name,), settings={"IDEO_MAX_CREATES_PER_MINUTE": "0"})


FAMILY.attacks += [_attack(name) for name in ANSWERS]
