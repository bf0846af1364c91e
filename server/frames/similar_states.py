"""State frames that are like the one before them, without parsing again what is the same in both.

A state frame repeats the agent's whole state, all of its messages and files, and differs from the one before
in a few values. So the last frame is kept as its values and the texts between them. The next frame is
compared with these one after the other. Where a value differs, the new one ends at the text that comes next.
If it is one JSON value, then this is how a parser would have split the frame, too: a value that begins where
a value must begin can end in one place only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from server.domain.runs.quick_frames import MAX_BYTES
from server.encoding.prefix_digests import PrefixDigest
from server.frames import raw_json

#: Bytes of the smallest frame that is kept so: those below it are parsed as fast. Those above MAX_BYTES are
#: read off the event loop.
MIN_BYTES = 4 << 10
#: The most values that are compared: with more, each one is so small that parsing is as fast.
MAX_VALUES = 1_000

_SPACE = rb"[ \t\r\n]*+"
_OPEN, _CLOSE = re.compile(_SPACE + rb"\{"), re.compile(_SPACE + rb"\}")
_NAME = re.compile(rb"%b\"[^\"\\]*+(?>\\.[^\"\\]*+)*+\"%b:%b" % (_SPACE, _SPACE, _SPACE), re.DOTALL)
_COMMA = re.compile(_SPACE + rb",")


@dataclass(frozen=True, slots=True)
class StateForm:
    """A state frame. top, data: the members of the frame, and of its data, as texts, but nothing for the data
    and for its `files`; files: the entries of the file map. between: the texts before, between and after the
    values. changed_bytes: of the values that the frame before does not have. digest: makes the frame's."""

    top: dict[str, bytes]
    data: dict[str, bytes]
    files: dict[str, bytes]
    between: Sequence[bytes]
    changed_bytes: int = 0
    digest: PrefixDigest = field(default_factory=PrefixDigest, compare=False)

    @property
    def size_bytes(self) -> int:
        """Bytes that are kept for it alone, and not for the messages and the files anyway."""
        others = sum(len(value) for name, value in self.data.items() if name != "messages")
        return others + sum(map(len, self.between)) + self.digest.size_bytes

    def next(self, frame: bytes) -> StateForm | None:
        """The next frame if it is like this one; otherwise None, also if only a parser could tell."""
        if len(frame) > MAX_BYTES:
            return None
        between, last = self.between, len(self.between) - 1
        # Most frames are tokens, which end here.
        if not frame.startswith(between[0]):
            return None
        data, files = dict(self.data), dict(self.files)
        at, changed_bytes = len(between[0]), 0
        same_bytes: int | None = None
        for index, (members, name, value) in enumerate(_values(data, files), start=1):
            following = between[index]
            end = at + len(value)
            if not (frame.startswith(value, at) and frame.startswith(following, end)):
                same_bytes = at if same_bytes is None else same_bytes
                end = frame.find(following, at) if index < last else len(frame) - len(following)
                text = frame[at:end]
                if end < at or not _is_value(text):
                    return None
                members[name] = text
                changed_bytes += len(text)
            at = end + len(following)
        # What follows the last value was not looked for.
        if at != len(frame) or not frame.endswith(between[last]):
            return None
        digest = self.digest.of_next(at if same_bytes is None else same_bytes)
        return StateForm(self.top, data, files, between, changed_bytes, digest)


def form_of(
    frame: bytes, top: Mapping[str, bytes], data: Mapping[str, bytes], files: Mapping[str, bytes]
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
    kept, listed = {**data, "files": b""}, dict(files)
    between, at = [], 0
    for members, name, value in _values(kept, listed):
        start = (entries if members is listed else inside)[name]
        between.append(frame[at:start])
        at = start + len(value)
    return StateForm({**top, "data": b""}, kept, listed, (*between, frame[at:]))


def _values(data: dict[str, bytes], files: dict[str, bytes]) -> Iterator[tuple[dict[str, bytes], str, bytes]]:
    """The values in their order in the frame, each with the members that it is one of, and its name."""
    for name, value in data.items():
        if name == "files":
            for path, entry in files.items():
                yield files, path, entry
        else:
            yield data, name, value


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
