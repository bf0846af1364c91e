"""State frames that are like the one before them, without parsing again what is the same in both.

A state frame repeats the agent's whole state, all of its messages and files, and differs from the one before
in a few values. So the last frame is kept as its values and the texts between them. The next frame is
compared with these one after the other. Where a value differs, the new one ends at the text that comes next.
If it is one JSON value, then this is how a parser would have split the frame, too: a value that begins where
a value must begin can end in one place only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeAlias

from server.domain.runs.quick_frames import MAX_BYTES
from server.encoding.frame_delta import Piece, pieces_digest, pieces_of
from server.frames import raw_json
from server.frames.run_files import Differing

#: Bytes of the smallest frame that is kept so: those below it are parsed as fast. Those above MAX_BYTES are
#: read off the event loop.
MIN_BYTES = 4 << 10
#: The most values that are compared: with more, each one is so small that parsing is as fast.
MAX_VALUES = 1_000

_SPACE = rb"[ \t\r\n]*+"
_OPEN, _CLOSE = re.compile(_SPACE + rb"\{"), re.compile(_SPACE + rb"\}")
_NAME = re.compile(rb"%b\"[^\"\\]*+(?>\\.[^\"\\]*+)*+\"%b:%b" % (_SPACE, _SPACE, _SPACE), re.DOTALL)
_COMMA = re.compile(_SPACE + rb",")


#: Which members a value is one of, those of the data or those of the file map, and its name.
_Name: TypeAlias = tuple[bool, str]


class Split(Protocol):
    """A state frame as its values and the texts before, between and after them."""

    @property
    def digest(self) -> bytes:
        """The frame's digest."""
        ...

    @property
    def size_bytes(self) -> int:
        """Bytes that are kept."""
        ...

    def next(self, frame: bytes) -> tuple[Self, list[tuple[int, bytes]]] | None:
        """The next frame, with the indexes of the values that differ and their texts; None if it differs in
        more than values, and also if only a parser could tell."""
        ...


class SplitInPython:
    """Implements `Split`."""

    def __init__(
        self, frame: bytes, pieces: Sequence[Piece], between: Sequence[bytes], values: Sequence[bytes]
    ) -> None:
        self.digest = pieces_digest(frame, pieces)
        self._frame, self._pieces, self._between, self._values = frame, pieces, between, values

    @classmethod
    def of(cls, frame: bytes, places: Sequence[tuple[int, int]]) -> Self:
        """That of a frame. places: where each value begins and ends."""
        ends = (0, *(end for _, end in places))
        starts = (*(start for start, _ in places), len(frame))
        between = [frame[end:start] for end, start in zip(ends, starts, strict=True)]
        return cls(frame, pieces_of(frame), between, [frame[start:end] for start, end in places])

    @property
    def size_bytes(self) -> int:
        """As in `Split`."""
        return len(self._frame) + sum(map(len, self._between)) + sum(map(len, self._values))

    def next(self, frame: bytes) -> tuple[Self, list[tuple[int, bytes]]] | None:
        """As in `Split`."""
        between, last = self._between, len(self._values) - 1
        # Most frames are tokens, which end here.
        if not frame.startswith(between[0]):
            return None
        values, changed = list(self._values), list[tuple[int, bytes]]()
        at = len(between[0])
        for index, value in enumerate(self._values):
            following = between[index + 1]
            end = at + len(value)
            if not (frame.startswith(value, at) and frame.startswith(following, end)):
                end = frame.find(following, at) if index < last else len(frame) - len(following)
                text = frame[at:end]
                if end < at or not _is_value(text):
                    return None
                values[index] = text
                changed.append((index, text))
            at = end + len(following)
        # What follows the last value was not looked for.
        if at != len(frame) or not frame.endswith(between[-1]):
            return None
        pieces = pieces_of(frame, self._frame, self._pieces)
        return type(self)(frame, pieces, between, values), changed


#: Splits a frame of proper JSON whose values stand at these places.
SplitFrame: TypeAlias = Callable[[bytes, Sequence[tuple[int, int]]], Split]


@dataclass(slots=True)
class StateForm:
    """A state frame. top, data: the members of the frame, and of its data, as texts, but nothing for the data
    and for its `files`; they are the same objects in the next frame if none of them differs. files: the
    entries of the file map. names: of the values of `split`. changed_bytes: of the values that the frame
    before does not have. differing: how `files` differs from that frame's."""

    top: dict[str, bytes]
    data: dict[str, bytes]
    files: dict[str, bytes]
    names: Sequence[_Name]
    split: Split
    changed_bytes: int = 0
    differing: Differing | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes that are kept for it alone, and not for the messages and the files anyway."""
        return self.split.size_bytes

    def replace_files(self, split: Split, entries: Iterable[tuple[str, bytes]]) -> None:
        """Be the next frame, which differs in these entries of its file map alone. split: its own."""
        self.split, self.changed_bytes, self.differing = split, 0, None
        self.files.update(entries)

    def next(self, frame: bytes) -> StateForm | None:
        """The next frame if it is like this one; otherwise None, also if only a parser could tell."""
        found = self.split.next(frame) if len(frame) <= MAX_BYTES else None
        if found is None:
            return None
        split, changed = found
        data, files = self.data, dict(self.files)
        changed_bytes, paths = 0, list[str]()
        for index, text in changed:
            is_file, name = self.names[index]
            if is_file:
                paths.append(name)
                files[name] = text
            else:
                data = {**data, name: text}
            changed_bytes += len(text)
        differing = Differing(self.files, paths)
        return StateForm(self.top, data, files, self.names, split, changed_bytes, differing)


def form_of(
    frame: bytes,
    top: Mapping[str, bytes],
    data: Mapping[str, bytes],
    files: dict[str, bytes],
    split: SplitFrame = SplitInPython.of,
) -> StateForm | None:
    """The form of a state frame of proper JSON, of whose members these are the texts; None if it is not kept,
    or if one of its objects has a name twice."""
    if not files or not MIN_BYTES <= len(frame) <= MAX_BYTES or len(data) + len(files) > MAX_VALUES:
        return None
    starts = _starts(frame, 0, top)
    inside = starts and _starts(frame, starts["data"], data)
    entries = inside and _starts(frame, inside["files"], files)
    if not inside or entries is None:
        return None
    names, places = list[_Name](), list[tuple[int, int]]()
    for name, value in data.items():
        if name == "files":
            names += [(True, path) for path in files]
            places += [(entries[path], entries[path] + len(entry)) for path, entry in files.items()]
        else:
            names.append((False, name))
            places.append((inside[name], inside[name] + len(value)))
    kept = {**data, "files": b""}
    return StateForm({**top, "data": b""}, kept, files, names, split(frame, places))


def _starts(text: bytes, at: int, members: Mapping[str, bytes]) -> dict[str, int] | None:
    """Where the values of the object at `at` begin; None if its members are not these, in this order."""
    opening = _OPEN.match(text, at)
    if opening is None:
        return None
    starts: dict[str, int] = {}
    here = opening.end()
    for name, value in members.items():
        written = _NAME.match(text, here)
        if written is None or not text.startswith(value, written.end()):
            return None
        starts[name] = written.end()
        here = written.end() + len(value)
        comma = _COMMA.match(text, here)
        here = here if comma is None else comma.end()
    return starts if _CLOSE.match(text, here) is not None else None


def _is_value(text: bytes) -> bool:
    """Whether the text is one JSON value, without space around it."""
    if text[:1].isspace() or text[-1:].isspace() or not raw_json.is_utf8(text):
        return False
    found = raw_json.strict_items(b"[%b]" % text)
    return found is not None and len(found) == 1
